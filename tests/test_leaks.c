// The places whose memory grows, and the verdicts on them, on recordings made by hand.
#include "test.h"
#include "inside.h"
#include "model.h"

static recording r;
static uint32_t frame;
static pyprof_leak leaks[16];
static size_t leak_count;

static void heap_begin(int mode, uint32_t marks)
{
    recording_begin(&r, NULL);
    r.model.heap.mode = mode;
    r.model.heap.interval = mode == PYPROF_HEAP_SAMPLED ? 512 << 10 : 0;
    r.model.heap.marks = marks;
    for (uint32_t i = 0; i < marks; i++) r.model.heap.mark_ns[i] = r.model.start_ns + (i + 1) * 1000 * ms;
    r.model.last_ns = r.model.start_ns + (marks + 1) * 1000 * ms;
    frame = add_frame(&r, thread_node(&r, add_thread(&r, "MainThread", 1)), "/srv/app.py", "App.run", 10, 14);
}

static void history(uint32_t node, uint32_t mark, double bytes)
{
    pyprof__marks *row = pyprof__model_history_row(&r.model, node);
    CHECK(row);
    row->bytes[mark] = (float)bytes;
}

// Sampled: small blocks, all of them in doubt. churn: those of each mark are new ones; otherwise nothing is ever freed.
static void place_births(uint32_t node, const double *bytes, double churn)
{
    uint32_t marks = r.model.heap.marks, i;
    if (r.model.heap.mode != PYPROF_HEAP_SAMPLED) return;
    CHECK(pyprof__births_make(&r.model));
    pyprof__births *births = pyprof__model_births(&r.model, node);
    for (i = 0; i <= marks; i++) births->born[i] = (float)(churn > 0 ? 0 : i ? bytes[i] - bytes[i - 1] : bytes[0]);
    if (churn > 0) births->born[marks] = (float)bytes[marks];
    memcpy(births->born_doubt, births->born, sizeof births->born);
    for (i = 0; i < marks; i++) births->doubt[i] = (float)bytes[i];
    pyprof__model_add(&r.model, PYPROF_LIVE_DOUBT, node, (int64_t)bytes[marks]);
}

// bytes: one a mark, and those at the end. churn: bytes freed meanwhile.
static uint32_t place(const char *qualname, int line, const double *bytes, double churn)
{
    uint32_t node = add_frame(&r, frame, "/srv/app.py", qualname, line - 1, line), i;
    for (i = 0; i < r.model.heap.marks; i++) history(node, i, bytes[i]);
    pyprof__model_add(&r.model, PYPROF_LIVE_BYTES, node, (int64_t)bytes[i]);
    pyprof__model_add(&r.model, PYPROF_LIVE_BLOCKS, node, (int64_t)bytes[i] / 100);
    pyprof__model_add(&r.model, PYPROF_LIVE_AGE_MS, node, (int64_t)bytes[i] / 100 * 2500);
    pyprof__model_add(&r.model, PYPROF_ALLOC_BYTES, node, (int64_t)(bytes[i] + churn));
    place_births(node, bytes, churn);
    return node;
}

static void find_leaks(const pyprof_query *query)
{
    pyprof_profile *profile = seal(&r, 0);
    memset(leaks, 0, sizeof leaks);
    CHECK_INT(pyprof_leaks(profile, query, leaks, sizeof *leaks, 16, &leak_count), PYPROF_OK);
    recording_end(&r);   // leaks' strings are the profile's, which stays
}

static int verdict(int mode, uint32_t marks, const double *bytes, double churn)
{
    heap_begin(mode, marks);
    place("App.f", 21, bytes, churn);
    find_leaks(NULL);
    CHECK(leak_count <= 1);
    return leak_count ? leaks[0].growth : PYPROF_GROWTH_STEADY;
}

enum { GROWING = PYPROF_GROWTH_GROWING, PLATEAU = PYPROF_GROWTH_PLATEAU, STEADY = PYPROF_GROWTH_STEADY, UNSURE = PYPROF_GROWTH_UNSURE };

TEST(courses_of_exact_recordings)
{
    double line[17], cache[17], late[17], flat[17], step[17], falling[17], creeping[17], stairs[17], dip[17], hasty[17];
    for (int i = 0; i < 17; i++) {
        line[i] = 1000 * i;
        cache[i] = i < 6 ? 1000 * i : 6000;
        late[i] = i < 12 ? 5000 : 5000 + 1000 * (i - 11);
        flat[i] = 123456789;
        step[i] = i < 14 ? 100 : 100000;
        falling[i] = 100000 - 1000 * i;
        creeping[i] = 1e9 + 64 * i;        // as floats these are the same from mark to mark
        stairs[i] = 1000 * (i / 2);
        hasty[i] = i < 13 ? 5000 : 5000 + 1000 * (i - 13);   // in the last three seconds of sixteen
        dip[i] = 1000 * i + (i % 2 ? 2500 : 0);   // a leak below work that comes and goes
    }
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, line, 0), GROWING);
    CHECK_INT(leaks[0].grown_bytes, 16000);
    CHECK_INT(leaks[0].live_bytes, 16000);
    CHECK_INT(leaks[0].live_blocks, 160);
    CHECK_INT(leaks[0].bytes_per_s + 0.5, 1000);
    CHECK_INT(leaks[0].error_bytes, 0);
    CHECK_INT(leaks[0].mean_age_s * 10, 25);
    CHECK_STR(leaks[0].qualname, "App.f");
    CHECK_STR(leaks[0].file, "/srv/app.py");
    CHECK_INT(leaks[0].line, 21);
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, cache, 0), PLATEAU);
    CHECK_INT(leaks[0].grown_bytes, 6000);
    CHECK_INT(leaks[0].bytes_per_s, 0);
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, late, 0), GROWING);
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, hasty, 0), UNSURE);     // one step of the work
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, flat, 1e12), STEADY);
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, step, 0), UNSURE);      // it may stay up there: too early to say
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, falling, 0), STEADY);
    CHECK(verdict(PYPROF_HEAP_EXACT, 16, creeping, 0) != STEADY);
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, stairs, 0), GROWING);
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 16, dip, 0), GROWING);
    CHECK_INT(verdict(PYPROF_HEAP_EXACT, 4, line, 0), GROWING);
    for (uint32_t marks = 0; marks < 4; marks++) CHECK_INT(verdict(PYPROF_HEAP_EXACT, marks, line, 0), STEADY);
}

TEST(growth_for_less_than_half_a_second_is_unsure)
{
    double line[17];
    for (int i = 0; i < 17; i++) line[i] = 1000 * i;
    for (uint64_t apart = 33; apart <= 34; apart++) {   // the first tenth of the growth does not count
        heap_begin(PYPROF_HEAP_EXACT, 16);
        for (uint64_t i = 0; i < 16; i++) r.model.heap.mark_ns[i] = r.model.start_ns + (i + 1) * apart * ms;
        r.model.last_ns = r.model.start_ns + 17 * apart * ms;
        place("App.f", 21, line, 0);
        find_leaks(NULL);
        CHECK(leak_count == 1);
        CHECK_INT(leaks[0].growth, apart == 33 ? UNSURE : GROWING);
    }
}

TEST(a_mark_at_the_very_end)   // is the end, and no interval without growth
{
    double line[17];
    for (int i = 0; i < 17; i++) line[i] = 1000 * (i < 15 ? i : 15);
    for (uint64_t before_last = 0; before_last < 2; before_last++) {
        heap_begin(PYPROF_HEAP_EXACT, 16);
        r.model.last_ns = r.model.heap.mark_ns[15] - before_last * 5 * ms;
        place("App.f", 21, line, 0);
        find_leaks(NULL);
        CHECK(leak_count == 1 && leaks[0].growth == GROWING && leaks[0].bytes_per_s > 999 && leaks[0].bytes_per_s < 1001);
    }
}

TEST(sawtooth_memory_is_no_leak)   // of any period and phase
{
    int growing = 0, plateau = 0;
    for (int i = 0; i < 2000; i++) {
        double bytes[17], period = 1.3 + 7 * random_unit(), phase = random_unit(), whole;
        for (int k = 0; k < 17; k++) {
            whole = (double)k / period + phase;
            bytes[k] = 1e6 * (whole - (double)(int)whole);
        }
        int found = verdict(PYPROF_HEAP_EXACT, 16, bytes, 1e8);
        growing += found == GROWING;
        plateau += found == PLATEAU;
    }
    printf("%d growing, %d plateaus of 2000\n", growing, plateau);
    CHECK(growing <= 20 && plateau <= 100);
}

static double poisson(double mean)   // mean < 500
{
    double product = random_unit(), limit = 1 - mean / 1048576;
    int k = 0;
    for (int i = 0; i < 20; i++) limit *= limit;   // exp(-mean), without libm
    for (; product > limit; k++) product *= random_unit();
    return k;
}

// Samples of 512 KiB each: what is live at a mark is another set of blocks each time, so that its estimate jumps.
TEST(sampling_noise_is_no_growth)
{
    static const double means[] = { 0.2, 1, 3, 10, 40, 200 };
    for (size_t m = 0; m < sizeof means / sizeof *means; m++) {
        int growing = 0, any = 0;
        for (int i = 0; i < 200; i++) {
            double bytes[17], churn = 0;
            for (int k = 0; k < 17; k++) churn += bytes[k] = 524288 * poisson(means[m]);
            int found = verdict(PYPROF_HEAP_SAMPLED, 16, bytes, churn);
            growing += found == GROWING;
            any += found != STEADY;
        }
        printf("%g samples: %d growing, %d others of 200\n", means[m], growing, any - growing);
        CHECK(growing <= 2 && any <= 10);
    }
}

TEST(a_cache_that_is_full_and_keeps_replacing)   // sampled: fills in a third of the time
{
    int growing = 0, plateau = 0;
    for (int i = 0; i < 200; i++) {
        double bytes[17], churn = 0;
        for (int k = 0; k < 17; k++) churn += bytes[k] = 524288 * poisson(k < 6 ? 100.0 * k / 6 : 100);
        int found = verdict(PYPROF_HEAP_SAMPLED, 16, bytes, churn);
        growing += found == GROWING;
        plateau += found == PLATEAU;
    }
    printf("%d growing, %d plateaus of 200\n", growing, plateau);
    CHECK(growing <= 10 && plateau >= 180);
}

TEST(sampled_leaks_are_found)   // 0.75, 2 and 5 samples a mark, nothing is ever freed
{
    static const struct { double mean; int least; } cases[] = { { 0.75, 180 }, { 2, 196 }, { 5, 200 } };
    for (size_t m = 0; m < sizeof cases / sizeof *cases; m++) {
        int growing = 0;
        for (int i = 0; i < 200; i++) {
            double bytes[17], live = 0;
            for (int k = 0; k < 17; k++) bytes[k] = live += 524288 * poisson(cases[m].mean);
            growing += verdict(PYPROF_HEAP_SAMPLED, 16, bytes, 0) == GROWING;
            CHECK(leaks[0].error_bytes > 0);
        }
        printf("%g samples a mark: %d of 200 growing\n", cases[m].mean, growing);
        CHECK(growing >= cases[m].least);
    }
}

TEST(error_of_the_estimate)
{
    double bytes[17];
    for (int i = 0; i < 17; i++) bytes[i] = 524288.0 * 25 * i;
    CHECK_INT(verdict(PYPROF_HEAP_SAMPLED, 16, bytes, 0), GROWING);
    CHECK_INT(leaks[0].error_bytes, 1.96 * 524288 * 20);
    for (double x = 0; x < 1e18; x = x * 3 + 0.01) CHECK(pyprof__sqrt(x * x) >= x * 0.999999 && pyprof__sqrt(x * x) <= x * 1.000001);
    CHECK(pyprof__sqrt(-1) == 0);
}

// ---- what programs do, block by block, in 17 s -----------------------------------------------------------------------
enum { BLOCK = 50000, R = 524288 };
static int course_mode, course_marks;
static pyprof__births course_births;
static double levels[17], doubts[17], blocks_left;

static void course_begin(int mode, int marks)
{
    course_mode = mode;
    course_marks = marks;
    memset(&course_births, 0, sizeof course_births);
    memset(levels, 0, sizeof levels);
    memset(doubts, 0, sizeof doubts);
    blocks_left = 0;
}

static double mark_at(int i) { return (i + 1) * 17.0 / (course_marks + 1); }   // after the last one: the end

static void block(double born, double died, double size)
{
    double missed = 1, weight = size, doubt = 0;
    int k = 0;
    if (course_mode == PYPROF_HEAP_SAMPLED) {
        missed = pyprof__exp_minus(size / R);
        if (random_unit() < missed) return;
        weight = size / (1 - missed);
        doubt = weight * weight * missed / R;
    }
    for (int i = 0; i <= course_marks; i++) {
        if (born > mark_at(i) || died <= mark_at(i)) continue;
        levels[i] += weight;
        doubts[i] += doubt;
    }
    if (died <= 17) return;
    while (k < course_marks && born > mark_at(k)) k++;
    course_births.born[k] += (float)weight;
    course_births.born_doubt[k] += (float)doubt;
    blocks_left += weight / size;
}

static int course_verdict(void)
{
    heap_begin(course_mode, (uint32_t)course_marks);
    uint32_t node = add_frame(&r, frame, "/srv/app.py", "App.f", 20, 21);
    for (int i = 0; i < course_marks; i++) history(node, (uint32_t)i, levels[i]);
    if (course_mode == PYPROF_HEAP_SAMPLED) {
        CHECK(pyprof__births_make(&r.model));
        for (int i = 0; i < course_marks; i++) course_births.doubt[i] = (float)doubts[i];
        *pyprof__model_births(&r.model, node) = course_births;
    }
    pyprof__model_add(&r.model, PYPROF_LIVE_BYTES, node, (int64_t)levels[course_marks]);
    pyprof__model_add(&r.model, PYPROF_LIVE_BLOCKS, node, (int64_t)(blocks_left + 0.5));
    pyprof__model_add(&r.model, PYPROF_LIVE_DOUBT, node, (int64_t)doubts[course_marks]);
    find_leaks(NULL);
    return leak_count ? leaks[0].growth : STEADY;
}

// From `from` to `to` blocks come, at a constant rate, so much as makes that many intervals; each lives at least so long, and
// at most twice as long. 0 = for ever.
static void blocks_come(double from, double to, double intervals, double lives)
{
    double each = (to - from) / (intervals * R / BLOCK);
    for (double at = from + each * random_unit(); at < to; at += each)
        block(at, lives > 0 ? at + lives * (1 + random_unit()) : 99, BLOCK);
}

static void passing(double level) { if (level > 0) blocks_come(0, 17.01, level * 17 / 0.075, 0.05); }   // so much lives at a time

static void leak(double intervals, double level)
{
    blocks_come(mark_at(0), 17, intervals, 0);
    passing(level);
}

static void leak_by_chance(double intervals, double level)   // of large blocks, each of them 4 intervals
{
    double each = (17 - mark_at(0)) / (intervals / 4), at = mark_at(0);
    while ((at += each * pyprof__ln(1 / (1 - random_unit()))) < 17) block(at, 99, 4.0 * R);
    passing(level);
}

static void warm_up_and_leak(double intervals, double level)
{
    blocks_come(1, 4, 5 * intervals, 0);
    leak(intervals, level);
}

static void cache_stops(double intervals, double level)
{
    blocks_come(1, 5, intervals, 0);
    passing(level);
}

static void cache_slows(double intervals, double level)   // what is left to fill halves every second
{
    for (double n = 0; n < intervals * R / BLOCK; n++) block(pyprof__ln(1 / (1 - random_unit())) / 0.6931, 99, BLOCK);
    passing(level);
}

static void cache_replaces(double intervals, double level)   // full at 5 s
{
    for (double n = 0; n < intervals * R / BLOCK; n++)
        for (double at = 1 + 4 * random_unit(), next; at < 17; at = next) block(at, next = at + 4 * random_unit(), BLOCK);
    passing(level);
}

static void ring(double intervals, double level)   // of blocks of 2 intervals, the oldest replaced; full at 5.3 s
{
    double each = 5.3 / (intervals / 2);
    for (double at = each * random_unit(); at < 17; at += each) block(at, at + 5.3, 2.0 * R);
    passing(level);
}

static void saw_tooth(double intervals, double level)
{
    double period = 1.3 + 7 * random_unit();
    for (double begin = -period * random_unit(); begin < 17; begin += period)
        for (double n = 0; n < intervals * R / BLOCK; n++) block(begin + period * random_unit(), begin + period, BLOCK);
    passing(level);
}

static void burst_early(double intervals, double level)
{
    blocks_come(2.1, 2.6, intervals, 0);
    passing(level);
}

static void burst_late(double intervals, double level)
{
    blocks_come(13.2, 13.9, intervals, 0);
    passing(level);
}

static void nothing(double intervals, double level) { passing(level + intervals * 0); }

static const struct {
    const char *name;
    void (*run)(double intervals, double level);   // what grows, in intervals; and of temporaries, what lives at a time
    double intervals, level;
    int growing, stopped, least_growing, least_stopped;   // percent of the seeds: at most, at most, at least, at least
} courses[] = {
    { "leak", leak, 12, 0, 100, 1, 90, 0 },
    { "leak, few temporaries", leak, 12, 0.1, 100, 1, 85, 0 },
    { "leak, temporaries", leak, 16, 1, 100, 1, 60, 0 },
    { "leak", leak, 24, 0, 100, 1, 98, 0 },
    { "leak, temporaries", leak, 100, 5, 100, 1, 98, 0 },
    { "leak, many temporaries", leak, 100, 30, 100, 1, 80, 0 },
    { "leak", leak, 1000, 0, 100, 0, 100, 0 },
    { "slow leak", leak, 4, 0, 100, 1, 0, 0 },
    { "leak of 4 large blocks", leak_by_chance, 16, 0, 100, 1, 0, 0 },
    { "leak of 12 large blocks", leak_by_chance, 48, 0.3, 100, 1, 70, 0 },
    { "leak of 100 large blocks", leak_by_chance, 400, 1, 100, 1, 98, 0 },
    { "warm-up, then a leak", warm_up_and_leak, 30, 0.3, 100, 5, 80, 0 },
    { "cache that stops", cache_stops, 12, 0, 5, 100, 0, 50 },
    { "cache that stops, temporaries", cache_stops, 12, 0.3, 5, 100, 0, 40 },
    { "cache that stops, temporaries", cache_stops, 100, 3, 5, 100, 0, 90 },
    { "cache that stops", cache_stops, 1000, 0, 0, 100, 0, 100 },
    { "cache that fills ever slower", cache_slows, 300, 0.3, 5, 100, 0, 30 },
    { "cache that replaces", cache_replaces, 12, 0, 5, 100, 0, 0 },
    { "cache that replaces", cache_replaces, 100, 0, 5, 100, 0, 90 },
    { "cache that replaces, temporaries", cache_replaces, 300, 5, 5, 100, 0, 95 },
    { "ring of blocks", ring, 50, 0, 5, 100, 0, 0 },
    { "ring of blocks, temporaries", ring, 300, 1, 5, 100, 0, 50 },
    { "saw-tooth", saw_tooth, 12, 0.3, 5, 5, 0, 0 },
    { "saw-tooth", saw_tooth, 200, 0, 5, 5, 0, 0 },
    { "burst at the start", burst_early, 12, 0.3, 5, 100, 0, 70 },
    { "burst at the start", burst_early, 100, 3, 5, 100, 0, 90 },
    { "burst late", burst_late, 12, 0.3, 5, 1, 0, 0 },
    { "burst late", burst_late, 100, 3, 5, 1, 0, 0 },
    { "temporaries", nothing, 0, 3, 5, 5, 0, 0 },
    { "temporaries", nothing, 0, 30, 5, 5, 0, 0 },
};

static void check_course(size_t c, int mode, int marks, int seeds)
{
    int told[4] = { 0 }, growing, stopped;
    model_seed = 5 + 64 * c + 8 * (uint64_t)mode + (uint64_t)marks / 8;   // the same whichever courses run
    for (int i = 0; i < seeds; i++) {
        course_begin(mode, marks);
        courses[c].run(courses[c].intervals, courses[c].level);
        told[course_verdict()]++;
    }
    growing = told[GROWING] * 100;
    stopped = told[PLATEAU] * 100;
    printf("%-7s %2d marks %-32s %4g R, %3g R: of %d %4d growing, %4d stopped, %4d may go on, %4d steady\n",
           mode == PYPROF_HEAP_EXACT ? "exact" : "sampled", marks, courses[c].name, courses[c].intervals, courses[c].level, seeds,
           told[GROWING], told[PLATEAU], told[UNSURE], told[STEADY]);
    CHECK(growing >= courses[c].least_growing * seeds && growing <= courses[c].growing * seeds);
    CHECK(stopped >= courses[c].least_stopped * seeds && stopped <= courses[c].stopped * seeds);
}

TEST_LIMIT(verdicts_on_what_programs_do, 120)   // as often as SEEDS says; in make test long courses less often, and with 8 marks and 16 by turns
{
    const char *more = getenv("SEEDS");
    int times = more ? atoi(more) : 1, all = test_long();
    for (int mode = PYPROF_HEAP_SAMPLED; mode <= PYPROF_HEAP_EXACT; mode++)
        for (size_t c = 0; c < sizeof courses / sizeof *courses; c++)
            for (int marks = 8; marks <= 16; marks += 8)
                if (all || (marks == 16) == (c + (size_t)mode) % 2)
                    check_course(c, mode, marks, (courses[c].intervals <= 50 && (courses[c].level < 1 || all) ? 200 : all ? 50 : 20) * times);
}

TEST(places_are_python_frames_and_sorted)
{
    double slow[17], fast[17], small[17], large[17];
    for (int i = 0; i < 17; i++) {
        slow[i] = 100 * i;
        fast[i] = 1000 * i;
        small[i] = i < 4 ? 10 * i : 40;
        large[i] = i < 4 ? 10000 * i : 40000;
    }
    heap_begin(PYPROF_HEAP_EXACT, 16);
    place("App.slow", 21, slow, 0);
    place("App.small", 31, small, 0);
    uint32_t fast_node = place("App.fast", 41, fast, 0), native;
    place("App.large", 51, large, 0);
    static const char *const calls[] = { "<malloc>", "<mmap>" };
    for (int k = 0; k < 2; k++) {
        native = pyprof__model_node(&r.model, fast_node, pyprof__model_pseudo(&r.model, calls[k], PYPROF_KIND_NATIVE, 0));
        for (uint32_t i = 0; i < 16; i++) history(native, i, fast[i]);
        pyprof__model_add(&r.model, PYPROF_LIVE_BYTES, native, (int64_t)fast[16]);
    }
    native = pyprof__model_node(&r.model, thread_node(&r, 0), pyprof__model_pseudo(&r.model, "<malloc>", PYPROF_KIND_NATIVE, 0));
    for (uint32_t i = 0; i < 16; i++) history(native, i, 2 * slow[i]);   // no Python frame at all
    pyprof__model_add(&r.model, PYPROF_LIVE_BYTES, native, 2 * (int64_t)slow[16]);
    find_leaks(NULL);
    CHECK_INT(leak_count, 5);
    static const char *const order[] = { "fast", "<malloc>", "slow", "large", "small" };
    for (int i = 0; i < 5; i++) CHECK_STR(leaks[i].name, order[i]);
    CHECK_INT(leaks[0].live_bytes, 48000);
    CHECK(leaks[2].growth == GROWING && leaks[3].growth == PLATEAU);
}

static pyprof_profile *leaking(const pyprof_allocator *allocator)
{
    double line[17];
    for (int i = 0; i < 17; i++) line[i] = 1000 * i;
    heap_begin(PYPROF_HEAP_EXACT, 16);
    for (int i = 0; i < 3; i++) place("App.f", 21 + i, line, 0);
    place("App.g", 41, line, 0);
    pyprof_profile *profile = pyprof__profile_new(&r.model, 0, allocator);
    recording_end(&r);
    return profile;
}

TEST(leaks_by_group_and_filter)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    const struct { pyprof_query query; size_t count; int64_t live; } cases[] = {
        { { .group = PYPROF_GROUP_LINE }, 4, 16000 }, { { .group = PYPROF_GROUP_FUNCTION }, 4, 16000 }, { { .group = PYPROF_GROUP_FILE }, 1, 64000 },
        { { .group = PYPROF_GROUP_THREAD }, 1, 64000 }, { { .group = PYPROF_GROUP_LINE, .function = "App.g" }, 1, 16000 },
        { { .group = PYPROF_GROUP_LINE, .thread = "x" }, 0, 0 }, { { .group = PYPROF_GROUP_FILE, .file = "/srv/*" }, 1, 64000 },
    };
    pyprof_profile *profile = leaking(&allocator);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        printf("case %zu\n", i);
        memset(leaks, 0, sizeof leaks);
        CHECK_INT(pyprof_leaks(profile, &cases[i].query, leaks, sizeof *leaks, 16, &leak_count), PYPROF_OK);
        CHECK_INT(leak_count, cases[i].count);
        CHECK_INT(leaks[0].live_bytes, cases[i].live);
    }
    CHECK_INT(pyprof_leaks(profile, NULL, leaks, sizeof *leaks, 1, &leak_count), PYPROF_OK);
    CHECK_INT(leak_count, 4);
    CHECK_INT(pyprof_leaks(profile, NULL, NULL, sizeof *leaks, 0, &leak_count), PYPROF_OK);
    CHECK_INT(leak_count, 4);
}

TEST(leaks_rejects_invalid_arguments)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    pyprof_profile *profile = leaking(&allocator);
    pyprof_query bad = { .group = 9 };
    CHECK_INT(pyprof_leaks(NULL, NULL, leaks, sizeof *leaks, 1, &leak_count), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_leaks(profile, NULL, NULL, sizeof *leaks, 1, &leak_count), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_leaks(profile, NULL, leaks, sizeof *leaks, 1, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_leaks(profile, NULL, leaks, sizeof *leaks - 8, 1, &leak_count), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_leaks(profile, &bad, leaks, sizeof *leaks, 1, &leak_count), PYPROF_ERR_ARGUMENT);
    profile->model.heap.mode = PYPROF_HEAP_OFF;
    CHECK_INT(pyprof_leaks(profile, NULL, leaks, sizeof *leaks, 1, &leak_count), PYPROF_ERR_STATE);
    CHECK_INT(leak_count, 0);
}

TEST(each_allocation_of_leaks_fails_once)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    pyprof_profile *profile = leaking(&allocator);
    pyprof_result result = PYPROF_OK;
    failures f = { &c, 0, 0 };
    while (fails_next(&f, result, 4)) {
        result = pyprof_leaks(profile, NULL, leaks, sizeof *leaks, 16, &leak_count);
        CHECK(result == PYPROF_OK || leak_count == 0);
    }
}

TEST_MAIN
