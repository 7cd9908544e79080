// Shows:  assertions about a profile as tests of cmocka. What is undecided is skipped.
// Build:  cc -pthread examples/asserts/with_cmocka.c -o build/with_cmocka -lcmocka $(python3-config --includes --ldflags --embed)
// Prints: [  PASSED  ] 3 test(s). With --regress they fail.
#ifndef LINKED   // the implementation is in another file
#define PYPROF_IMPLEMENTATION
#endif
#define PYPROF_ASSERT_FAILED(message) fail_msg("%s", message)
#define PYPROF_ASSERT_UNDECIDED(message) (print_message("%s\n", message), skip())
#include "shop.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static pyprof_profile *profile;

static void is_quick(void **state)
{
    (void)state;
    PYPROF_ASSERT_SELF_MS(profile, "escape_slowly", 60);
}

static void has_no_debugging(void **state)
{
    (void)state;
    PYPROF_ASSERT_NEVER_CALLED(profile, "debug_dump");
}

static void does_not_grow(void **state)
{
    (void)state;
    PYPROF_ASSERT_NO_GROWTH(profile);
    PYPROF_ASSERT_PEAK_BYTES(profile, "render", 1 << 20);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_quick), cmocka_unit_test(has_no_debugging), cmocka_unit_test(does_not_grow)};
    profile = shop_recorded(argc > 1 && strcmp(argv[1], "--regress") == 0);
    if (!profile) return 2;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pyprof_profile_free(profile);
    return failed > 0;
}
