// Assertions about profiles (examples/pyprof_assert.h), on recordings made by hand: what holds, fails, and is undecided.
#include "test.h"
#include "inside.h"
static void heard(int failed, const char *message);
#define PYPROF_ASSERT_FAILED(message) heard(1, message)
#define PYPROF_ASSERT_UNDECIDED(message) heard(0, message)
#include "../examples/pyprof_assert.h"
#include "model.h"

static char said[1000];
static int fails, undecided;
static recording r;
static pyprof_profile *profile;

// 400 samples of 10 ms: 100 in App.render itself, 200 in App.escape below it, 100 in main.
static void shop(int heap)
{
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 1);
    uint32_t main_node = add_frame(&r, thread_node(&r, thread), "/srv/shop/app.py", "main", 1, 2);
    uint32_t render = add_frame(&r, main_node, "/srv/shop/app.py", "App.render", 10, 12);
    uint32_t escape = add_frame(&r, render, "/srv/shop/text.py", "App.escape", 20, 21);
    add_samples(&r, thread, main_node, 10, 100, 0);
    add_samples(&r, thread, render, 1010, 100, 0);
    add_samples(&r, thread, escape, 2010, 200, 0);
    r.model.heap.mode = heap;
    r.model.heap.interval = heap == PYPROF_HEAP_SAMPLED ? 512 << 10 : 0;
    if (heap) add_blocks(&r, escape, 1 << 20, 40, 10, 20);
    if (heap == PYPROF_HEAP_SAMPLED) pyprof__model_add(&r.model, PYPROF_PEAK_DOUBT, escape, 20 << 20);
    profile = seal(&r, 0);
    CHECK(profile);
}

#define HOLDS(assertion) (fails = undecided = 0, said[0] = '\0'); assertion; CHECK_STR(said, ""); CHECK_INT(fails + undecided, 0)
#define FAILS(assertion, words) (fails = undecided = 0); assertion; CHECK_INT(fails, 1); tells(__LINE__, words)
#define UNDECIDED(assertion, words) (fails = undecided = 0); assertion; CHECK_INT(undecided, 1); tells(__LINE__, words)

static void heard(int failed, const char *message)
{
    snprintf(said, sizeof said, "%s", message);
    if (failed) fails++;
    else undecided++;
}

static void tells(int line, const char *words)   // the whole message
{
    char wanted[1200];
    snprintf(wanted, sizeof wanted, "%s:%d: %s", __FILE__, line, words);
    CHECK_STR(said, wanted);
}

TEST(self_time_holds_fails_and_is_undecided)
{
    shop(PYPROF_HEAP_OFF);
    HOLDS(PYPROF_ASSERT_SELF_MS(profile, "App.render", 1300));
    FAILS(PYPROF_ASSERT_SELF_MS(profile, "App.render", 800), "self time of App.render is 1000.0 ms +- 170.9 ms, allowed are 800 ms (100 samples)");
    UNDECIDED(PYPROF_ASSERT_SELF_MS(profile, "render", 1100),
              "undecided: self time of render is 1000.0 ms +- 170.9 ms, allowed are 1100 ms: the recording has 400 samples, it takes some 1169 (rate_hz 293)");
    FAILS(PYPROF_ASSERT_SELF_MS(profile, "App.*", 2000), "self time of App.* is 3000.0 ms +- 170.9 ms, allowed are 2000 ms (300 samples)");
    UNDECIDED(PYPROF_ASSERT_SELF_MS(profile, "App.render", 1000), "undecided: self time of App.render is 1000.0 ms +- 170.9 ms, allowed are 1000 ms "
              "(100 samples): too close to be told apart");
}

TEST(total_time_counts_a_stack_once)
{
    shop(PYPROF_HEAP_OFF);
    HOLDS(PYPROF_ASSERT_TOTAL_MS(profile, "main", 4100));
    FAILS(PYPROF_ASSERT_TOTAL_MS(profile, "App.*", 2700), "total time of App.* is 3000.0 ms +- 170.9 ms, allowed are 2700 ms (300 samples)");
}

TEST(a_function_without_a_sample_has_up_to_three)
{
    shop(PYPROF_HEAP_OFF);
    HOLDS(PYPROF_ASSERT_SELF_MS(profile, "App.dump", 30));
    UNDECIDED(PYPROF_ASSERT_TOTAL_MS(profile, "App.dump", 15),
              "undecided: total time of App.dump is 0.0 ms +- 30.0 ms, allowed are 15 ms: the recording has 400 samples, it takes some 801 (rate_hz 201)");
}

TEST(none_over_names_the_function)
{
    shop(PYPROF_HEAP_OFF);
    HOLDS(PYPROF_ASSERT_NONE_OVER_MS(profile, NULL, 2300));
    FAILS(PYPROF_ASSERT_NONE_OVER_MS(profile, "*/text.py", 1500), "self time of App.escape (/srv/shop/text.py:20) is 2000.0 ms +- 197.0 ms, allowed are "
          "1500 ms (200 samples)");
    HOLDS(PYPROF_ASSERT_NONE_OVER_MS(profile, "*/app.py", 1500));
}

TEST(never_called_takes_300_samples)
{
    shop(PYPROF_HEAP_OFF);
    HOLDS(PYPROF_ASSERT_NEVER_CALLED(profile, "App.dump"));
    FAILS(PYPROF_ASSERT_NEVER_CALLED(profile, "escape"), "escape was called: main > App.render > App.escape");
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 1);
    add_samples(&r, thread, thread_node(&r, thread), 10, 60, 0);
    profile = seal(&r, 0);
    UNDECIDED(PYPROF_ASSERT_NEVER_CALLED(profile, "escape"), "undecided: escape is in none of 60 samples: it takes 300 to exclude 1 % of the time (rate_hz 501)");
}

TEST(a_recording_without_samples_decides_nothing)
{
    recording_begin(&r, NULL);
    add_thread(&r, "MainThread", 1);
    profile = seal(&r, 0);
    UNDECIDED(PYPROF_ASSERT_SELF_MS(profile, "main", 100), "undecided: self time of main: the recording has no samples");
    UNDECIDED(PYPROF_ASSERT_NONE_OVER_MS(profile, NULL, 100), "undecided: self time of functions that no sample saw: the recording has no samples");
    CHECK_INT(pyprof_assert_status(), 77);
}

TEST(peak_bytes_exact)
{
    shop(PYPROF_HEAP_EXACT);
    HOLDS(PYPROF_ASSERT_PEAK_BYTES(profile, "escape", 20 << 20));
    FAILS(PYPROF_ASSERT_PEAK_BYTES(profile, NULL, 1000), "the program had 20971520 bytes +- 0 at the peak, allowed are 1000");
    HOLDS(PYPROF_ASSERT_PEAK_BYTES(profile, "App.dump", 0));
    HOLDS(PYPROF_ASSERT_ALLOCATIONS(profile, "App.render", 40));
    FAILS(PYPROF_ASSERT_ALLOCATIONS(profile, "App.render", 39), "App.render made 40 allocations, allowed are 39");
    CHECK_INT(pyprof_assert_status(), 1);
}

TEST(peak_bytes_sampled)
{
    shop(PYPROF_HEAP_SAMPLED);
    HOLDS(PYPROF_ASSERT_PEAK_BYTES(profile, "escape", 28 << 20));
    FAILS(PYPROF_ASSERT_PEAK_BYTES(profile, "escape", 10 << 20), "escape had 20971520 bytes +- 6499141 at the peak, allowed are 10485760");
    UNDECIDED(PYPROF_ASSERT_PEAK_BYTES(profile, "escape", 22 << 20), "undecided: escape had 20971520 bytes +- 6499141 at the peak, allowed are 23068672: "
              "it takes a sample every 54591 bytes (heap_interval_bytes), or PYPROF_HEAP_EXACT");
    UNDECIDED(PYPROF_ASSERT_PEAK_BYTES(profile, "App.dump", 1 << 20), "undecided: App.dump had 0 bytes +- 1572864 at the peak, allowed are 1048576: "
              "it takes a sample every 349525 bytes (heap_interval_bytes), or PYPROF_HEAP_EXACT");
    UNDECIDED(PYPROF_ASSERT_ALLOCATIONS(profile, NULL, 100), "undecided: the program made about 40 allocations, allowed are 100: counting them takes "
              "PYPROF_HEAP_EXACT");
}

TEST(without_memory_its_assertions_are_undecided)
{
    shop(PYPROF_HEAP_OFF);
    UNDECIDED(PYPROF_ASSERT_PEAK_BYTES(profile, NULL, 1), "undecided: bytes at the peak: no memory was tracked; set config.heap");
    UNDECIDED(PYPROF_ASSERT_NO_GROWTH(profile), "undecided: growth: no memory was tracked; set config.heap");
    UNDECIDED(PYPROF_ASSERT_ALLOCATIONS(profile, NULL, 1), "undecided: allocations: no memory was tracked; set config.heap");
}

TEST(growth_fails)
{
    shop(PYPROF_HEAP_EXACT);
    HOLDS(PYPROF_ASSERT_NO_GROWTH(profile));
    recording_begin(&r, NULL);
    uint32_t node = add_frame(&r, thread_node(&r, add_thread(&r, "MainThread", 1)), "/srv/shop/app.py", "App.keep", 30, 31);
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    r.model.heap.marks = 8;
    pyprof__marks *row = pyprof__model_history_row(&r.model, node);
    for (uint32_t i = 0; i < 8; i++) {
        r.model.heap.mark_ns[i] = r.model.start_ns + (i + 1) * 1000 * ms;
        row->bytes[i] = (float)(i + 1) * 1048576;
    }
    r.model.last_ns = r.model.start_ns + 9000 * ms;
    r.model.recorded_ns = 9000 * ms;
    add_blocks(&r, node, 1048576, 9, 9, 9);
    profile = seal(&r, 0);
    FAILS(PYPROF_ASSERT_NO_GROWTH(profile), "memory of App.keep (/srv/shop/app.py:31) grows: 8.0 MiB +- 0.0 MiB in 9.0 s, at most none allowed");
}

TEST_MAIN
