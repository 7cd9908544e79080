// Shows:  assertions about a profile as tests of Check. What is undecided is told on stderr, and does not fail.
// Build:  cc -pthread examples/asserts/with_check.c -o build/with_check $(pkg-config --libs check) $(python3-config --includes --ldflags --embed)
// Prints: 100%: Checks: 3, Failures: 0, Errors: 0. With --regress they fail.
#ifndef LINKED   // the implementation is in another file
#define PYPROF_IMPLEMENTATION
#endif
#define PYPROF_ASSERT_FAILED(message) ck_abort_msg("%s", message)
#include "shop.h"
#include <check.h>

static pyprof_profile *profile;

START_TEST(is_quick)
{
    PYPROF_ASSERT_SELF_MS(profile, "escape_slowly", 60);
}
END_TEST

START_TEST(has_no_debugging)
{
    PYPROF_ASSERT_NEVER_CALLED(profile, "debug_dump");
}
END_TEST

START_TEST(does_not_grow)
{
    PYPROF_ASSERT_NO_GROWTH(profile);
    PYPROF_ASSERT_PEAK_BYTES(profile, "render", 1 << 20);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("shop");
    TCase *tests = tcase_create("profile");
    SRunner *runner = srunner_create(suite);
    profile = shop_recorded(argc > 1 && strcmp(argv[1], "--regress") == 0);
    if (!profile) return 2;
    tcase_add_test(tests, is_quick);
    tcase_add_test(tests, has_no_debugging);
    tcase_add_test(tests, does_not_grow);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);   // each test in a forked child: the profile is read there, which is fine
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    pyprof_profile_free(profile);
    return failed > 0;
}
