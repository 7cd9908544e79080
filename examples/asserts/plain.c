// Shows:  assertions about a profile in a test of plain C.
// Build:  cc -pthread examples/asserts/plain.c -o build/plain $(python3-config --includes --ldflags --embed)
// Prints: only what does not hold. Exit status 0, 1 (with --regress), or 77: nothing failed, something is undecided.
#ifndef LINKED   // the implementation is in another file
#define PYPROF_IMPLEMENTATION
#endif
#include "shop.h"

int main(int argc, char **argv)
{
    pyprof_profile *profile = shop_recorded(argc > 1 && strcmp(argv[1], "--regress") == 0);
    if (!profile) return 2;
    PYPROF_ASSERT_SELF_MS(profile, "escape_slowly", 60);
    PYPROF_ASSERT_TOTAL_MS(profile, "serve", 60000);
    PYPROF_ASSERT_NONE_OVER_MS(profile, NULL, 60000);
    PYPROF_ASSERT_NEVER_CALLED(profile, "debug_dump");
    PYPROF_ASSERT_NO_GROWTH(profile);
    PYPROF_ASSERT_PEAK_BYTES(profile, "render", 1 << 20);
    PYPROF_ASSERT_ALLOCATIONS(profile, "debug_dump", 0);
    pyprof_profile_free(profile);
    return pyprof_assert_status();
}
