// Profiles: labels, totals of recursive functions, what queries choose, how reports group and merge.
#include "test.h"
#include "inside.h"
#include "model.h"

static void check_stem(const char *file, const char *want)
{
    pyprof__slice stem = pyprof__stem(file);
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)stem.size, stem.text);
    CHECK_STR(text, want);
}

TEST(stems)
{
    const char *cases[][2] = { { "/a/b.py", "b" }, { "b.py", "b" }, { "/a/pkg/__init__.py", "pkg" }, { "pkg/__main__.py", "pkg" }, { "__init__.py", "__init__" },
                               { "/__init__.py", "__init__" }, { "<string>", "<string>" }, { "", "" }, { ".py", ".py" }, { "/a/b.pyc", "b.pyc" }, { "/a/", "" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_stem(cases[i][0], cases[i][1]);
}

static recording r;
static uint32_t main_thread, worker;
static pyprof_profile *profile;

// main: outer > fib > fib > fib; worker: outer of another file, waiting two thirds of the time
static void make(void)
{
    recording_begin(&r, NULL);
    main_thread = add_thread(&r, "MainThread", 1);
    worker = add_thread(&r, "worker-1", 2);
    uint32_t outer = add_frame(&r, thread_node(&r, main_thread), "/a/x.py", "outer", 1, 2);
    uint32_t one = add_frame(&r, outer, "/a/x.py", "fib", 10, 11), two = add_frame(&r, one, "/a/x.py", "fib", 10, 12), three = add_frame(&r, two, "/a/x.py", "fib", 10, 11);
    uint32_t other = add_frame(&r, thread_node(&r, worker), "/b/x.py", "outer", 1, 5);
    add_samples(&r, main_thread, outer, 10, 1, 0);
    add_samples(&r, main_thread, one, 20, 2, 0);
    add_samples(&r, main_thread, two, 40, 4, 0);
    add_samples(&r, main_thread, three, 80, 8, 0);
    add_samples(&r, worker, other, 10, 16, 0);
    add_samples(&r, worker, other, 170, 32, 1);
    profile = seal(&r, 0);
}

static pyprof_row rows[32];

static size_t top(pyprof_query query)
{
    size_t count;
    CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, 32, &count), PYPROF_OK);
    return count;
}

static const pyprof_row *row(const char *qualname, const char *file, int line)
{
    for (size_t i = 0; i < 32; i++)
        if (rows[i].qualname && !strcmp(rows[i].qualname, qualname) && !strcmp(rows[i].file, file) && rows[i].line == line) return &rows[i];
    printf("no row %s %s:%d\n", qualname, file, line);
    CHECK(!"row");
    return NULL;
}

TEST(recursion_counts_once)
{
    make();
    CHECK_INT(top((pyprof_query){ .include_idle = 1, .sort = PYPROF_SAMPLES, .by_total = 1 }), 3);
    CHECK_STR(rows[0].file, "/b/x.py");
    CHECK_INT(row("fib", "/a/x.py", 10)->total[PYPROF_SAMPLES], 14);
    CHECK_INT(row("fib", "/a/x.py", 10)->self[PYPROF_SAMPLES], 14);
    CHECK_INT(row("outer", "/a/x.py", 1)->total[PYPROF_SAMPLES], 15);
    CHECK_INT(row("outer", "/a/x.py", 1)->self[PYPROF_WALL_NS], 10 * ms);
    CHECK_INT(top((pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_LINE }), 4);
    CHECK_INT(row("fib", "/a/x.py", 11)->total[PYPROF_SAMPLES], 14);
    CHECK_INT(row("fib", "/a/x.py", 11)->self[PYPROF_SAMPLES], 10);
    CHECK_INT(row("fib", "/a/x.py", 12)->total[PYPROF_SAMPLES], 12);
    CHECK_INT(top((pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_FILE }), 2);
    CHECK_INT(row("/a/x.py", "/a/x.py", 0)->total[PYPROF_SAMPLES], 15);
    CHECK_INT(top((pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_THREAD }), 2);
    CHECK_INT(row("MainThread", "", 0)->self[PYPROF_SAMPLES], 15);
    CHECK_INT(row("worker-1", "", 0)->total[PYPROF_SAMPLES], 48);
}

TEST(idle_time_is_left_out_unless_wanted)
{
    make();
    uint32_t other = (uint32_t)r.model.nodes.count - 1;   // of what it waits for, most is work
    pyprof__model_add(&r.model, PYPROF_IDLE_SAMPLES, other, 30);
    pyprof__model_add(&r.model, PYPROF_IDLE_NS, other, 300 * (int64_t)ms);
    profile = seal(&r, 0);
    top((pyprof_query){ .by_total = 1 });
    CHECK_INT(row("outer", "/b/x.py", 1)->total[PYPROF_SAMPLES], 18);
    CHECK_INT(row("outer", "/b/x.py", 1)->total[PYPROF_WALL_NS], 180 * ms);
    CHECK_INT(row("outer", "/b/x.py", 1)->total[PYPROF_WAIT_NS], 20 * ms);
    top((pyprof_query){ .by_total = 1, .include_idle = 1 });
    CHECK_INT(row("outer", "/b/x.py", 1)->total[PYPROF_WALL_NS], 480 * ms);
}

TEST(queries_choose_stacks)
{
    make();
    const struct { pyprof_query query; int64_t samples; } cases[] = {
        { { .thread = "Main*" }, 15 }, { { .thread = "worker-?" }, 48 }, { { .thread = "[mM]ainThread" }, 15 }, { { .thread = "Main" }, 0 },
        { { .function = "fib" }, 14 }, { { .function = "x.fib" }, 14 }, { { .function = "outer" }, 63 }, { { .function = "*uter", .file = "/a/*" }, 15 },
        { { .file = "*/x.py" }, 63 }, { { .file = "/b/*", .thread = "Main*" }, 0 }, { { .function = "MainThread" }, 0 }, { { .file = "" }, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pyprof__selection selection;
        CHECK(pyprof__select(&selection, profile, &cases[i].query, 0));
        if (selection.all[PYPROF_SAMPLES] != cases[i].samples) printf("case %zu\n", i);
        CHECK_INT(selection.all[PYPROF_SAMPLES], cases[i].samples);
        pyprof__selection_free(&selection);
        CHECK_INT(selection.pool.used, 0);
    }
}

TEST(labels_are_unique)
{
    make();
    CHECK_STR(pyprof__label(profile, pyprof__location_of(profile, 3)->function), "x.outer (/a/x.py:1)");
    CHECK_STR(pyprof__label(profile, pyprof__location_of(profile, 4)->function), "x.fib");
    for (uint32_t i = 0; i < profile->model.functions.count; i++)
        for (uint32_t k = 0; k < i; k++) CHECK(strcmp(pyprof__label(profile, i), pyprof__label(profile, k)));
}

TEST(labels_of_lookalikes)   // two functions of one place, whose names alone differ
{
    recording_begin(&r, NULL);
    uint32_t thread = thread_node(&r, add_thread(&r, "t", 1));
    pyprof__source_range place = { 1, 1, 0, 0 };
    for (int i = 0; i < 2; i++) {
        pyprof__function function = { pyprof__model_string(&r.model, i ? "g" : "f"), pyprof__model_string(&r.model, "C.f"), pyprof__model_string(&r.model, "x.py"), 1, PYPROF_KIND_PYTHON, 0, 0 };
        add_values(&r, pyprof__model_node(&r.model, thread, pyprof__model_location(&r.model, &function, &place)), 1, 1, 1, 0);
    }
    profile = seal(&r, 0);
    uint32_t count = (uint32_t)profile->model.functions.count;
    CHECK(strcmp(pyprof__label(profile, count - 1), pyprof__label(profile, count - 2)));
}

static void add_namesake(uint32_t parent, int32_t column, uint32_t content)
{
    pyprof__source_range place = { 6, 6, column, column + 1 };
    uint32_t name = pyprof__model_string(&r.model, "<lambda>");
    pyprof__function function = { name, name, pyprof__model_string(&r.model, "/x.py"), 6, PYPROF_KIND_PYTHON, column, content };
    add_values(&r, pyprof__model_node(&r.model, parent, pyprof__model_location(&r.model, &function, &place)), 1, 1, 1, 0);
}

TEST(labels_of_namesakes)   // of one name and place: by the column where that differs, otherwise by what they do
{
    static const struct { int32_t column; uint32_t content; const char *label, *title; } cases[] = {
        { 5, 0x12345678, "x.<lambda> (/x.py:6:5)", "<lambda> (column 5)" },
        { 9, 0x12345678, "x.<lambda> (/x.py:6) #123456", "<lambda> #123456" },
        { 9, 0x22345678, "x.<lambda> (/x.py:6) #223456", "<lambda> #223456" },
    };
    recording_begin(&r, NULL);
    uint32_t thread = thread_node(&r, add_thread(&r, "t", 1));
    for (size_t i = 0; i < 3; i++) add_namesake(thread, cases[i].column, cases[i].content);
    profile = seal(&r, 0);
    uint32_t first = (uint32_t)profile->model.functions.count - 3;
    size_t count;
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_STR(pyprof__label(profile, first + i), cases[i].label);
        CHECK_STR(pyprof__title(profile, first + i), cases[i].title);
    }
    CHECK_INT(pyprof_top(profile, NULL, rows, sizeof rows[0], 32, &count), PYPROF_OK);
    for (size_t i = 0; i < count; i++) CHECK(strcmp(rows[i].name, "<lambda>") == 0 && strcmp(rows[i].qualname, rows[i].name));
    CHECK_INT(count, 3);
}

TEST(views_merge_threads_or_lines)
{
    static const struct { int split, lines; size_t nodes; uint32_t depth; } cases[] = { { 0, 0, 6, 4 }, { 1, 0, 8, 5 }, { 0, 1, 6, 4 }, { 1, 1, 8, 5 } };
    make();
    for (size_t i = 0; i < 4; i++) {
        pyprof__selection selection;
        pyprof__view_maker maker;
        CHECK(pyprof__select(&selection, profile, NULL, 0) && pyprof__view_make(&maker, &selection, PYPROF_SAMPLES, cases[i].split, cases[i].lines));
        CHECK_INT(maker.view.count, cases[i].nodes);
        CHECK_INT(maker.view.max_depth, cases[i].depth);
        CHECK_INT(maker.view.nodes[0].total, 63);
        for (uint32_t k = 0; k < maker.view.count; k++) {   // children sorted, and their totals add up
            int64_t sum = maker.view.nodes[k].self;
            const char *before = "";
            for (uint32_t c = maker.view.nodes[k].first_child; c; c = maker.view.nodes[c].next_sibling) {
                CHECK(strcmp(before, maker.view.nodes[c].label) <= 0);
                before = maker.view.nodes[c].label;
                sum += maker.view.nodes[c].total;
            }
            CHECK_INT(sum, maker.view.nodes[k].total);
        }
        pyprof__view_free(&maker);
        pyprof__selection_free(&selection);
    }
}

static int count_items(void *user, const pyprof_item *item)
{
    int64_t *counts = (int64_t *)user;
    counts[item->kind]++;
    if (item->kind == PYPROF_ITEM_STACK || item->kind == PYPROF_ITEM_STATE) counts[item->kind + 4] += item->self[PYPROF_SAMPLES];
    CHECK(item->kind == PYPROF_ITEM_THREAD || (item->depth > 0 && item->stack[0].kind == PYPROF_KIND_PYTHON));
    return counts[0] && !--counts[0];
}

TEST(visits)
{
    int64_t counts[PYPROF_ITEM_FINDING + 1] = { 0 }, stopped[PYPROF_ITEM_FINDING + 1] = { 3 };
    make();
    CHECK_INT(pyprof_visit(profile, NULL, count_items, counts), PYPROF_OK);
    CHECK(counts[PYPROF_ITEM_THREAD] == 2 && counts[PYPROF_ITEM_NODE] == 5 && counts[PYPROF_ITEM_STACK] == 5 && counts[PYPROF_ITEM_STATE] == 6);
    CHECK(counts[PYPROF_ITEM_STACK + 4] == 63 && counts[PYPROF_ITEM_STATE + 4] == 63);
    CHECK_INT(pyprof_visit(profile, NULL, count_items, stopped), PYPROF_OK);
    CHECK(stopped[PYPROF_ITEM_THREAD] == 2 && stopped[PYPROF_ITEM_NODE] == 1 && stopped[PYPROF_ITEM_STACK] == 0);
    CHECK(counts[PYPROF_ITEM_FINDING] == 0);   // only if it is asked for
}

// ---- what a snapshot takes while the sampler waits -------------------------------------------------------------------
static counting counted;

static uint32_t long_recording(int frames)   // of one thread, with so many lines of a function; returns the first one's node
{
    pyprof_allocator allocator = counting_allocator(&counted);
    recording_begin(&r, &allocator);
    r.model.timeline_s = 1e6;
    main_thread = add_thread(&r, "MainThread", 1);
    for (int i = 0; i < frames; i++) add_frame(&r, thread_node(&r, main_thread), "/a/x.py", "f", 1, 2 + i);
    return (uint32_t)r.model.nodes.count - (uint32_t)frames;
}

static void long_samples(uint32_t first, uint32_t frames, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) add_samples(&r, main_thread, first + (uint32_t)(i % frames), 10 * i + 10, 1, 0);
}

static long long taken(void)   // bytes that a snapshot allocates under the lock
{
    long long before = counted.live, took;
    pyprof_profile *made = pyprof__profile_take(&r.model, 0, &r.pool.allocator);
    took = counted.live - before;
    pyprof__profile_free(made);
    CHECK_INT(counted.live, before);
    return took;
}

TEST(a_snapshot_copies_neither_moments_nor_columns)
{
    uint32_t first = long_recording(5000);
    long_samples(first, 5000, 0, 10000);
    long long few = taken(), many;
    long_samples(first, 5000, 10000, 100000);
    CHECK_INT(r.model.moments.count, 100000);
    many = taken();
    CHECK(many - few >= 0 && many - few <= 90000 / PYPROF__PIECE * (long long)sizeof(void *) + 64);
    for (uint32_t node = first; node < first + 5000; node++) pyprof__model_add(&r.model, PYPROF_GIL_NS, node, 1);
    CHECK(taken() - many <= 5100 / PYPROF__PIECE * (long long)sizeof(void *) + 64);
    recording_end(&r);
    CHECK_INT(counted.live, 0);
}

static uint64_t sums_of(const pyprof_profile *made)   // of all that can change in the recording
{
    uint64_t sum = made->model.moments.count;
    for (size_t i = 0; i < made->model.moments.count; i++) {
        const pyprof__moment *one = pyprof__moment_at(&made->model, i);
        sum = pyprof__mix(pyprof__mix(pyprof__mix(sum, one->wall_ns), one->end_ns), one->node << 8 | one->count);
    }
    for (uint32_t node = 0; node < made->model.nodes.count; node++)
        sum = pyprof__mix(sum, (uint64_t)pyprof__model_value(&made->model, PYPROF_WALL_NS, node));
    return sum;
}

TEST(a_snapshot_stays_as_it_was)   // however the recording goes on, and whichever is freed first
{
    for (int order = 0; order < 4; order++) {
        uint32_t first = long_recording(600);
        pyprof_profile *made[3], *copy;
        uint64_t sums[3];
        r.model.timeline_s = order & 1 ? 1 : 1e6;   // 1 s: the oldest moments are forgotten meanwhile
        for (uint64_t i = 0; i < 3; i++) {
            long_samples(first, 600, 1000 * i, 1000 * i + 999);
            made[i] = seal(&r, 0);
            sums[i] = sums_of(made[i]);
            add_samples(&r, main_thread, first + (uint32_t)((1000 * i + 998) % 600), 10 * (1000 * i + 999) + 10, 1, 0);   // one more of the last
        }
        long_samples(first, 600, 3000, 6000);
        for (int i = 0; i < 3; i++) CHECK(sums_of(made[i]) == sums[i]);
        copy = pyprof__profile_copy(made[1]);
        if (order & 2) recording_end(&r);
        for (int i = 0; i < 3; i++) {
            CHECK(sums_of(made[i]) == sums[i] && sums_of(copy) == sums[1]);
            pyprof_profile_free(made[i]);
        }
        if (!(order & 2)) recording_end(&r);
        CHECK(sums_of(copy) == sums[1]);
        pyprof_profile_free(copy);
        CHECK_INT(counted.live, 0);
    }
}

TEST(a_recording_at_its_limit_goes_on_beside_a_snapshot)   // pieces of its own take the place of those that are shared
{
    uint32_t first = long_recording(600);
    long_samples(first, 600, 0, 1200);
    profile = seal(&r, 0);
    r.pool.limit = r.pool.used;
    long_samples(first, 600, 1200, 1800);
    for (uint32_t node = first; node < first + 600; node++) CHECK_INT(pyprof__model_value(&r.model, PYPROF_SAMPLES, node), 3);
    CHECK(r.pool.used <= r.pool.limit);
    pyprof_profile_free(profile);
    recording_end(&r);
    CHECK_INT(counted.live, 0);
}

TEST(each_allocation_of_a_snapshot_fails_once)
{
    for (int recent = 0; recent < 2; recent++) {
        uint32_t first = long_recording(600);
        failures f = { &counted, 0, 0 };
        pyprof_result result = PYPROF_OK;
        long_samples(first, 600, 0, 1200);
        while (fails_next(&f, result, 10)) {
            profile = pyprof__profile_new(&r.model, recent ? 3000 * ms : 0, &r.pool.allocator);
            result = profile ? PYPROF_OK : PYPROF_ERR_MEMORY;
            if (profile) pyprof_profile_free(profile);
        }
        recording_end(&r);
        CHECK_INT(counted.live, 0);
    }
}

TEST(changes_beside_a_snapshot_that_find_no_memory)   // the snapshot stays as it was; each value is counted, or it is not
{
    uint32_t first = long_recording(600);
    long_samples(first, 600, 0, 1200);
    profile = seal(&r, 0);
    uint64_t sum = sums_of(profile);
    for (int turn = 1; turn < 40; turn++) {
        counted.calls = 0;
        counted.fail_at = turn;
        long_samples(first, 600, 1200 + 10 * (uint64_t)turn, 1210 + 10 * (uint64_t)turn);
        CHECK(sums_of(profile) == sum);
        if (turn % 8) continue;
        pyprof_profile_free(profile);
        counted.fail_at = 0;
        profile = seal(&r, 0);
        sum = sums_of(profile);
    }
    pyprof_profile_free(profile);
    recording_end(&r);
    CHECK_INT(counted.live, 0);
}

// ---- snapshots on other threads ------------------------------------------------------------------------------------
static pthread_mutex_t recording_lock = PTHREAD_MUTEX_INITIALIZER;
static int recording_is_over;

static void *takes_snapshots(void *unused)
{
    for (int over = 0; !over;) {
        pthread_mutex_lock(&recording_lock);
        over = recording_is_over;
        pyprof_profile *made = pyprof__profile_take(&r.model, over ? 0 : 500 * ms, &r.pool.allocator);
        pthread_mutex_unlock(&recording_lock);
        made = pyprof__profile_finish(made);
        CHECK(made && sums_of(made) == sums_of(made));
        pyprof_profile_free(made);
    }
    return unused;
}

TEST(snapshots_are_read_and_freed_while_the_recording_goes_on)
{
    pthread_t threads[2];
    recording_begin(&r, NULL);
    r.model.timeline_s = 20;
    main_thread = add_thread(&r, "MainThread", 1);
    uint32_t first = add_frame(&r, thread_node(&r, main_thread), "/a/x.py", "f", 1, 2), frames = 300;
    for (uint32_t i = 1; i < frames; i++) add_frame(&r, thread_node(&r, main_thread), "/a/x.py", "f", 1, 2 + (int)i);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, takes_snapshots, NULL);
    for (uint64_t i = 0; i < 200; i++) {
        pthread_mutex_lock(&recording_lock);
        long_samples(first, frames, 50 * i, 50 * i + 50);
        recording_is_over = i == 199;
        pthread_mutex_unlock(&recording_lock);
        if (i % 10 == 0) usleep(1000);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (uint32_t node = first; node < first + frames; node++)
        CHECK_INT(pyprof__model_value(&r.model, PYPROF_SAMPLES, node), 10000 / frames + (node - first < 10000 % frames));
    recording_end(&r);
}

TEST_MAIN
