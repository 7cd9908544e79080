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

TEST_MAIN
