// Differences of profiles, on recordings made by hand.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"

typedef struct { uint64_t native; const char *name; int shift, extra, gone; } variant;   // shift: lines added above everything

// A thread `name`: run > load (5 samples) and run > parse (3); extra: parse has that many more, and more > new; gone: no load.
static void record(recording *r, const variant *v)
{
    uint32_t main_thread = add_thread(r, "MainThread", v->native), worker = add_thread(r, v->name, v->native + 1);
    uint32_t run = add_frame(r, thread_node(r, main_thread), "/srv/app.py", "App.run", 10 + v->shift, 14 + v->shift);
    if (!v->gone) add_samples(r, main_thread, add_frame(r, run, "/srv/io.py", "load", 3, 5), 10, 5, 0);
    uint32_t parse = add_frame(r, run, "/srv/app.py", "App.parse", 30 + v->shift, 33 + v->shift);
    add_samples(r, main_thread, parse, 60, 3 + v->extra, 0);
    if (v->extra) add_samples(r, main_thread, add_frame(r, run, "/srv/app.py", "App.new", 50 + v->shift, 51 + v->shift), 200, v->extra, 0);
    add_samples(r, worker, add_frame(r, thread_node(r, worker), "/srv/app.py", "App.wait", 70 + v->shift, 71 + v->shift), 10, 4, 1);
    pyprof__model_add(&r->model, PYPROF_LIVE_BYTES, parse, 1000 + 100 * v->extra);
    r->model.heap.mode = PYPROF_HEAP_EXACT;
    r->model.heap.domains[PYPROF_DOMAIN_OBJ].live_bytes = 1000 + 100 * v->extra;
    r->model.heap.sizes[5] = 10 - v->extra;
}

static pyprof_profile *profile_with(const variant *v, const pyprof_allocator *allocator)
{
    recording r;
    recording_begin(&r, allocator);
    record(&r, v);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

static pyprof_profile *profile_of(uint64_t native, const char *name, int shift, int extra, int gone)
{
    variant v = { native, name, shift, extra, gone };
    return profile_with(&v, NULL);
}

static pyprof_profile *difference(const pyprof_profile *before, const pyprof_profile *after, const pyprof_diff_options *options)
{
    pyprof_profile *delta = NULL;
    pyprof_result result = pyprof_diff(before, after, options, &delta);
    if (result) printf("%s\n", pyprof_last_error());
    CHECK_INT(result, PYPROF_OK);
    return delta;
}

static pyprof_row rows[64];

static size_t top(const pyprof_profile *profile, pyprof_query query)
{
    size_t count;
    memset(rows, 0, sizeof rows);
    query.include_idle = 1;
    CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, 64, &count), PYPROF_OK);
    return count;
}

static const pyprof_row *row(const char *name)
{
    for (size_t i = 0; i < 64; i++)
        if (rows[i].name && !strcmp(rows[i].name, name)) return &rows[i];
    return NULL;
}

static int64_t all_values(const pyprof_profile *profile)
{
    int64_t any = 0;
    for (size_t metric = 0; metric < PYPROF_METRIC_COUNT; metric++)
        for (size_t i = 0; i < profile->model.columns[metric].count; i++) any |= IN(int64_t, profile->model.columns[metric], i);
    return any;
}

TEST(equal_profiles_have_no_difference)
{
    pyprof_profile *before = profile_of(1, "w", 0, 2, 0), *after = profile_of(1, "w", 0, 2, 0);
    for (int group = PYPROF_GROUP_FUNCTION; group <= PYPROF_GROUP_THREAD; group++) {
        pyprof_diff_options options = { .group = group };
        pyprof_profile *delta = difference(before, after, &options);
        pyprof_info info;
        CHECK_INT(all_values(delta), 0);
        CHECK_INT(pyprof_profile_info(delta, &info), PYPROF_OK);
        CHECK_INT(info.threads, 2);
        CHECK_INT(info.domains[PYPROF_DOMAIN_OBJ].live_bytes, 0);
        CHECK_STR(info.program, "host");
        CHECK(group || info.nodes == before->model.nodes.count);
        for (int by = PYPROF_GROUP_FUNCTION; by <= PYPROF_GROUP_THREAD; by++) CHECK_INT(top(delta, (pyprof_query){ .group = by }), 0);
        pyprof_profile_free(delta);
    }
}

TEST(growth_new_and_gone_functions_are_told)
{
    pyprof_profile *delta = difference(profile_of(1, "w", 0, 0, 0), profile_of(1, "w", 0, 2, 1), NULL);
    CHECK_INT(top(delta, (pyprof_query){ .sort = PYPROF_SAMPLES }), 4);
    CHECK_STR(rows[0].name, "new");     // as many as parse, but new
    CHECK_STR(rows[1].name, "parse");
    CHECK_STR(rows[2].name, "run");     // nothing of its own, and less below it
    CHECK_STR(rows[3].name, "load");
    CHECK_INT(row("new")->self[PYPROF_SAMPLES], 2);
    CHECK_INT(row("parse")->self[PYPROF_SAMPLES], 2);
    CHECK_INT(row("parse")->self[PYPROF_LIVE_BYTES], 200);
    CHECK_INT(row("load")->self[PYPROF_SAMPLES], -5);
    CHECK_INT(row("load")->self[PYPROF_WALL_NS], -50 * (int64_t)ms);
    CHECK_INT(row("run")->total[PYPROF_SAMPLES], -1);
    CHECK(row("wait") == NULL);
    pyprof_info info;
    CHECK_INT(pyprof_profile_info(delta, &info), PYPROF_OK);
    CHECK_INT(info.total[PYPROF_SAMPLES], -1);
    CHECK_INT(info.domains[PYPROF_DOMAIN_OBJ].live_bytes, 200);
    CHECK_INT(info.sizes[5], -2);
    CHECK(delta->model.moments.count == 0 && delta->model.gauges.count == 0);
}

static int count_stacks(void *user, const pyprof_item *item)
{
    if (item->kind == PYPROF_ITEM_STACK) ++*(int *)user;
    return 0;
}

TEST(a_function_that_moved_in_its_file_is_the_same)
{
    int stacks = 0;
    pyprof_profile *delta = difference(profile_of(1, "w", 0, 0, 0), profile_of(1, "w", 40, 1, 0), NULL);
    CHECK_INT(pyprof_visit(delta, &(pyprof_query){ .include_idle = 1 }, count_stacks, &stacks), PYPROF_OK);
    CHECK_INT(stacks, 2);
    CHECK_INT(top(delta, (pyprof_query){ .group = PYPROF_GROUP_LINE }), 3);   // and run's line above them
    CHECK_INT(row("parse")->line, 73);
    CHECK_INT(row("parse")->self[PYPROF_SAMPLES], 1);
    CHECK_INT(row("new")->self[PYPROF_SAMPLES], 1);
}

TEST(namesakes_are_matched_by_their_lines)
{
    recording r[2];
    pyprof_profile *profiles[2];
    for (int i = 0; i < 2; i++) {   // the same two functions of one name; an edit above them moved only one
        recording_begin(&r[i], NULL);
        uint32_t thread = add_thread(&r[i], "t", 1), node = thread_node(&r[i], thread);
        add_samples(&r[i], thread, add_frame(&r[i], node, "/x.py", "C.f", 10, 11), 10, 1, 0);
        add_samples(&r[i], thread, add_frame(&r[i], node, "/x.py", "C.f", 50 + i, 52 + i), 20, 2, 0);
        profiles[i] = seal(&r[i], 0);
    }
    CHECK_INT(top(difference(profiles[0], profiles[1], NULL), (pyprof_query){ .sort = PYPROF_SAMPLES }), 2);
    CHECK(rows[0].line == 51 && rows[0].self[PYPROF_SAMPLES] == 2);
    CHECK(rows[1].line == 50 && rows[1].self[PYPROF_SAMPLES] == -2);
}

typedef struct { int line, column; uint32_t content; int count; } namesake;

static pyprof_profile *profile_of_namesakes(const namesake *list, size_t count, int qualified)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 1), node = thread_node(&r, thread);
    if (qualified) add_samples(&r, thread, add_frame(&r, node, "/y.py", "C.g", 1, 1), 1, 1, 0);
    for (size_t i = 0; i < count; i++) {
        pyprof__source_range place = { list[i].line + 1, list[i].line + 1, qualified ? 4 : -1, qualified ? 5 : -1 };
        uint32_t name = pyprof__model_string(&r.model, "<lambda>");
        pyprof__function function = { name, name, pyprof__model_string(&r.model, "/x.py"), list[i].line, PYPROF_KIND_PYTHON, list[i].column,
                                      list[i].content };
        add_samples(&r, thread, pyprof__model_node(&r.model, node, pyprof__model_location(&r.model, &function, &place)), 10 + 10 * i, list[i].count, 0);
    }
    return seal(&r, 0);
}

TEST(functions_of_one_place_find_themselves)
{
    static const struct { namesake before[2], after[2]; int qualified; size_t rows; int64_t most, least; } cases[] = {
        { { { 6, 5, 1, 3 }, { 6, 9, 2, 1 } }, { { 6, 5, 1, 3 }, { 6, 9, 2, 1 } }, 1, 0, 0, 0 },     // as before
        { { { 6, 5, 1, 3 }, { 6, 9, 2, 1 } }, { { 7, 5, 1, 3 }, { 7, 9, 2, 4 } }, 1, 1, 3, 3 },     // moved
        { { { 6, 5, 1, 3 }, { 6, 9, 2, 1 } }, { { 6, 5, 3, 5 }, { 6, 9, 2, 1 } }, 1, 1, 2, 2 },     // one edited
        { { { 6, 5, 1, 3 }, { 6, 9, 2, 1 } }, { { 6, 5, 3, 3 }, { 6, 9, 4, 1 } }, 1, 0, 0, 0 },     // both: another version of Python
        { { { 6, 0, 1, 3 }, { 6, 0, 2, 1 } }, { { 6, 0, 1, 3 }, { 6, 0, 4, 1 } }, 0, 0, 0, 0 },     // one edited, no columns
        { { { 6, 0, 1, 3 }, { 6, 0, 2, 1 } }, { { 6, 0, 3, 3 }, { 6, 0, 4, 1 } }, 0, 4, 3, -3 },    // both: nothing tells which is which
        { { { 6, 0, 1, 3 }, { 9, 0, 2, 1 } }, { { 6, 0, 3, 3 }, { 9, 0, 4, 1 } }, 0, 0, 0, 0 },     // their lines do
        { { { 6, 0, 1, 3 }, { 9, 0, 2, 1 } }, { { 7, 0, 1, 3 }, { 9, 0, 2, 1 } }, 0, 2, 3, -3 },    // moved: may be another class's method
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pyprof_profile *delta = difference(profile_of_namesakes(cases[i].before, 2, cases[i].qualified),
                                           profile_of_namesakes(cases[i].after, 2, cases[i].qualified), NULL);
        size_t count = top(delta, (pyprof_query){ .sort = PYPROF_SAMPLES });
        CHECK_INT(count, cases[i].rows);
        CHECK(count == 0 || (rows[0].self[PYPROF_SAMPLES] == cases[i].most && rows[count - 1].self[PYPROF_SAMPLES] == cases[i].least));
    }
}

TEST(methods_without_qualified_names_are_not_guessed_at)   // before 3.11 neither names nor columns tell them apart
{
    recording r[2];
    pyprof_profile *profiles[2];
    for (int i = 0; i < 2; i++) {
        pyprof__source_range place = { 11 + i, 0, -1, -1 };
        pyprof__function function;
        recording_begin(&r[i], NULL);
        memset(&function, 0, sizeof function);
        function.name = function.qualname = pyprof__model_string(&r[i].model, "__init__");
        function.file = pyprof__model_string(&r[i].model, "/x.py");
        function.first_line = 10 + i;
        uint32_t thread = thread_node(&r[i], add_thread(&r[i], "t", 1));
        add_values(&r[i], pyprof__model_node(&r[i].model, thread, pyprof__model_location(&r[i].model, &function, &place)), 1, 1, 1, 0);
        profiles[i] = seal(&r[i], 0);
    }
    CHECK_INT(top(difference(profiles[0], profiles[1], NULL), (pyprof_query){ .sort = PYPROF_SAMPLES }), 2);
}

TEST(threads_of_another_run_pair_up_by_name)
{
    pyprof_profile *delta = difference(profile_of(100, "worker", 0, 0, 0), profile_of(200, "worker", 0, 0, 0), NULL);
    CHECK_INT(all_values(delta), 0);
    CHECK_INT(delta->model.threads.count, 2);
    CHECK_INT(AT(pyprof__recorded_thread, delta->model.threads, 1).native, 201);
    delta = difference(profile_of(100, "worker", 0, 0, 0), profile_of(200, "other", 0, 0, 0), NULL);
    CHECK_INT(delta->model.threads.count, 3);
    CHECK_INT(top(delta, (pyprof_query){ .group = PYPROF_GROUP_THREAD, .sort = PYPROF_SAMPLES }), 2);
    CHECK_INT(row("other")->total[PYPROF_SAMPLES], 4);
    CHECK_INT(row("worker")->total[PYPROF_SAMPLES], -4);
    CHECK(top(delta, (pyprof_query){ .sort = PYPROF_SAMPLES }) == 0);   // the same functions, in another thread
}

static pyprof_profile *threads_of(const char *const *names, const uint64_t *natives, const int *samples, int count, uint64_t started)
{
    recording r;
    recording_begin(&r, NULL);
    for (int i = 0; i < count; i++) {
        uint32_t thread = add_thread(&r, names[i], natives[i]);
        AT(pyprof__recorded_thread, r.model.threads, thread).started = started + (started ? natives[i] : 0);
        add_samples(&r, thread, add_frame(&r, thread_node(&r, thread), "/x.py", "f", 1, 2), 10, samples[i], 0);
    }
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

TEST(threads_of_one_name_pair_up_by_id_then_in_order)
{
    const char *const same[] = { "w", "w", "w" };
    pyprof_profile *before = threads_of(same, (uint64_t[]){ 1, 2, 3 }, (int[]){ 1, 2, 4 }, 3, 0);
    pyprof_profile *after = threads_of(same, (uint64_t[]){ 9, 3, 8 }, (int[]){ 11, 24, 32 }, 3, 0);
    CHECK_INT(top(difference(before, after, NULL), (pyprof_query){ .group = PYPROF_GROUP_THREAD, .sort = PYPROF_SAMPLES }), 3);
    CHECK(rows[0].total[PYPROF_SAMPLES] == 30 && rows[1].total[PYPROF_SAMPLES] == 20 && rows[2].total[PYPROF_SAMPLES] == 10);
    after = threads_of(same, (uint64_t[]){ 5 }, (int[]){ 1 }, 1, 0);
    CHECK_INT(difference(before, after, NULL)->model.threads.count, 3);
    CHECK_INT(difference(after, before, NULL)->model.threads.count, 3);
}

TEST(more_threads_of_one_name_than_before)   // a server's: each has a partner at most, the others are new
{
    enum { MOST = 8 };
    static const char *names[MOST];
    static uint64_t natives[MOST];
    static int samples[MOST];
    for (int i = 0; i < MOST; i++) { names[i] = i == 1 || i >= 4 ? "w" : "x"; natives[i] = 100 + (uint64_t)i; samples[i] = 1 + i % 3; }
    for (int few = 1; few < MOST; few++) {
        pyprof_profile *before = threads_of(names, natives, samples, few, 0);
        for (int i = 0; i < MOST; i++) natives[i] += 1000;
        pyprof_profile *after = threads_of(names, natives, samples, MOST, 0), *delta = difference(before, after, NULL), *back;
        CHECK_INT(delta->model.threads.count, MOST);
        int64_t sum = 0;
        size_t count = top(delta, (pyprof_query){ .group = PYPROF_GROUP_THREAD, .sort = PYPROF_SAMPLES });
        for (size_t i = 0; i < count; i++) sum += rows[i].total[PYPROF_SAMPLES];
        for (int i = few; i < MOST; i++) sum -= samples[i];
        CHECK_INT(sum, 0);
        CHECK_INT(count, MOST - few);   // the others are the same as before
        back = difference(after, before, NULL);
        CHECK_INT(back->model.threads.count, MOST);
    }
}

TEST(a_renamed_thread_of_this_process_is_the_same)
{
    pyprof_profile *before = threads_of((const char *[]){ "Thread-1", "w" }, (uint64_t[]){ 1, 2 }, (int[]){ 3, 5 }, 2, 77);
    pyprof_profile *after = threads_of((const char *[]){ "w", "pool" }, (uint64_t[]){ 1, 2 }, (int[]){ 3, 6 }, 2, 77);
    pyprof_profile *delta = difference(before, after, NULL);
    CHECK_INT(delta->model.threads.count, 2);
    CHECK_INT(top(delta, (pyprof_query){ .group = PYPROF_GROUP_THREAD, .sort = PYPROF_SAMPLES }), 1);
    CHECK(rows[0].total[PYPROF_SAMPLES] == 1 && !strcmp(rows[0].name, "pool"));
}

TEST(a_filter_chooses_stacks)
{
    const struct { pyprof_query query; int group; int64_t samples; size_t nodes; } cases[] = {
        { { .thread = "Main*" }, 0, -1, 7 },                  { { .thread = "w" }, 0, 0, 4 },
        { { .file = "/srv/io.py" }, 0, -5, 5 },               { { .function = "App.parse" }, 0, 2, 5 },
        { { .function = "app.App.run" }, 0, -1, 7 },          { { .function = "nothing" }, 0, 0, 3 },
        { { .function = "App.parse" }, PYPROF_GROUP_LINE, 2, 4 }, { { .file = "/srv/io.py" }, PYPROF_GROUP_FILE, -5, 4 },
        { { .thread = "Main*" }, PYPROF_GROUP_THREAD, -1, 3 }, { { .sort = PYPROF_CPU_NS }, 0, -1, 8 },
    };
    pyprof_profile *before = profile_of(1, "w", 0, 0, 0), *after = profile_of(1, "w", 0, 2, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pyprof_diff_options options = { .filter = &cases[i].query, .group = cases[i].group };
        pyprof_info info;
        pyprof_profile *delta = difference(before, after, &options);
        printf("case %zu\n", i);
        CHECK_INT(pyprof_profile_info(delta, &info), PYPROF_OK);
        CHECK_INT(info.total[PYPROF_SAMPLES], cases[i].samples);
        CHECK_INT(info.nodes, cases[i].nodes);   // the root, two threads, and the way to the stacks
        pyprof_profile_free(delta);
    }
}

TEST(grouped_differences_keep_only_lines_files_or_threads)
{
    pyprof_profile *before = profile_of(1, "w", 0, 0, 0), *after = profile_of(1, "w", 0, 2, 1);
    pyprof_profile *delta = difference(before, after, &(pyprof_diff_options){ .group = PYPROF_GROUP_LINE });
    CHECK_INT(delta->depth, 2);
    CHECK_INT(top(delta, (pyprof_query){ .group = PYPROF_GROUP_LINE, .sort = PYPROF_SAMPLES }), 3);
    CHECK(row("load")->line == 5 && row("load")->total[PYPROF_SAMPLES] == -5 && row("parse")->self[PYPROF_SAMPLES] == 2);
    delta = difference(before, after, &(pyprof_diff_options){ .group = PYPROF_GROUP_FILE });
    CHECK_INT(delta->depth, 2);
    CHECK_INT(top(delta, (pyprof_query){ .group = PYPROF_GROUP_FILE, .sort = PYPROF_SAMPLES }), 2);
    CHECK(row("/srv/app.py")->self[PYPROF_SAMPLES] == 4 && row("/srv/io.py")->self[PYPROF_SAMPLES] == -5);
    delta = difference(before, after, &(pyprof_diff_options){ .group = PYPROF_GROUP_THREAD });
    CHECK_INT(delta->depth, 1);
    CHECK_INT(top(delta, (pyprof_query){ .group = PYPROF_GROUP_THREAD, .sort = PYPROF_SAMPLES }), 1);
    CHECK(row("MainThread")->total[PYPROF_SAMPLES] == -1 && row("MainThread")->total[PYPROF_LIVE_BYTES] == 200);
}

static pyprof_profile *random_profile(uint32_t salt, int stacks)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t node, thread = add_thread(&r, "t", 1);
    for (int i = 0; i < stacks; i++) {
        char name[32], file[32];
        node = thread_node(&r, thread);
        for (uint32_t depth = random_below(12) + 1; depth > 0; depth--) {
            uint32_t f = random_below(6) + (random_below(9) ? 0 : salt);
            snprintf(name, sizeof name, "C.f%u", f);
            snprintf(file, sizeof file, "/m%u.py", f % 3);
            node = add_frame(&r, node, file, name, (int)f * 10 + 1, (int)(f * 10 + random_below(3) + 1));
        }
        add_values(&r, node, 1, 7, 3, i & 1);
        pyprof__model_add(&r.model, PYPROF_IDLE_NS, node, i % 8 == 3 ? 7 : 0);
        pyprof__model_add(&r.model, PYPROF_IDLE_SAMPLES, node, i % 8 == 3);
        pyprof__model_add(&r.model, PYPROF_LIVE_BYTES, node, random_below(1000));
    }
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

TEST(rows_of_the_difference_are_differences_of_rows)   // on random trees, in every grouping
{
    static pyprof_row first[64];
    for (uint32_t round = 0; round < 20; round++)
        for (int group = PYPROF_GROUP_FUNCTION; group <= PYPROF_GROUP_THREAD; group++) {
            pyprof_profile *before = random_profile(round, 200), *after = random_profile(round + 3, 300), *delta = difference(before, after, NULL);
            size_t count = top(after, (pyprof_query){ .group = group });
            CHECK(count > 0 && count <= 64);
            memcpy(first, rows, sizeof rows);
            top(before, (pyprof_query){ .group = group });
            for (size_t i = 0; i < 64; i++)
                for (size_t k = 0; k < 64 && rows[i].name; k++)
                    if (first[k].name && !strcmp(first[k].qualname, rows[i].qualname) && first[k].line == rows[i].line)
                        for (int metric = 0; metric < PYPROF_METRIC_COUNT; metric++) {
                            first[k].self[metric] -= rows[i].self[metric];
                            first[k].total[metric] -= rows[i].total[metric];
                        }
            top(delta, (pyprof_query){ .group = group });
            for (size_t i = 0; i < 64 && first[i].name; i++)
                for (size_t k = 0; k < 64; k++)
                    if (rows[k].name && !strcmp(first[i].qualname, rows[k].qualname) && first[i].line == rows[k].line)
                        CHECK(!memcmp(first[i].self, rows[k].self, sizeof rows->self) && !memcmp(first[i].total, rows[k].total, sizeof rows->total));
            for (size_t i = 1; i < 64 && rows[i].name; i++) CHECK(pyprof__rank_value(&rows[i], 0, 0) <= pyprof__rank_value(&rows[i - 1], 0, 0));
            pyprof_profile_free(before);
            pyprof_profile_free(after);
            pyprof_profile_free(delta);
        }
}

static pyprof_profile *profile_of_files(const char *const *files, const int *samples)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 1);
    for (int i = 0; i < 4 && files[i]; i++)
        add_samples(&r, thread, add_frame(&r, thread_node(&r, thread), files[i], "main", 3, 4), 10 + 100 * (uint64_t)i, samples[i], 0);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

TEST(files_of_another_checkout_are_the_same)
{
    static const struct { const char *before[4], *after[4]; size_t rows; int64_t most, least; } cases[] = {
        { { "/opt/a/proj/x.py" }, { "/srv/b/proj/x.py" }, 1, 1, 1 },
        { { "/old/x.py" }, { "/new/x.py" }, 1, 1, 1 },                               // one script
        { { "x.py" }, { "/new/x.py" }, 1, 1, 1 },
        { { "/p/x.py", "/p/sub/x.py" }, { "/q/x.py", "/q/sub/x.py" }, 2, 2, 1 },     // the longest tail first
        { { "/p/x.py" }, { "/q/x.py", "/q/sub/x.py" }, 3, 4, -1 },                   // two, and none is longer
        { { "/p/sub/x.py" }, { "/q/x.py", "/q/sub/x.py" }, 2, 3, 2 },
        { { "/p/a/x.py", "/p/b/x.py" }, { "/q/c/x.py" }, 3, 2, -2 },                 // never two to one
        { { "/p/a/__init__.py" }, { "/q/b/__init__.py" }, 2, 2, -1 },                // another package
        { { "/p/a/__init__.py" }, { "/q/a/__init__.py" }, 1, 1, 1 },
        { { "/v/lib/python3.11/site-packages/foo/util.py" }, { "/w/lib/python3.12/site-packages/foo/util.py" }, 1, 1, 1 },
        { { "/v/lib/python3.11/site-packages/foo/util.py" }, { "/v/lib/python3.11/site-packages/bar/util.py" }, 2, 2, -1 },
        { { "/usr/lib/python3.11/json/decoder.py" }, { "/opt/lib/python3.13/json/decoder.py" }, 1, 1, 1 },
        { { "/usr/lib/python3.11/json/decoder.py" }, { "/usr/lib/python3.11/base64/decoder.py" }, 2, 2, -1 },
        { { "/p/x.py", "/q/x.py" }, { "/p/x.py", "/r/x.py" }, 2, 2, 1 },             // an equal path is no other file's
        { { "/p/x.py" }, { "/q/my_x.py" }, 2, 2, -1 },
        { { "" }, { "/q/x.py" }, 2, 2, -1 },
        { { "/" }, { "//" }, 2, 2, -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pyprof_profile *before = profile_of_files(cases[i].before, (const int[]){ 1, 2, 3, 4 });
        pyprof_profile *after = profile_of_files(cases[i].after, (const int[]){ 2, 4, 5, 6 }), *delta = difference(before, after, NULL);
        size_t count = top(delta, (pyprof_query){ .sort = PYPROF_SAMPLES });
        printf("case %zu\n", i);
        CHECK_INT(count, cases[i].rows);
        CHECK_INT(rows[0].self[PYPROF_SAMPLES], cases[i].most);
        CHECK_INT(rows[count - 1].self[PYPROF_SAMPLES], cases[i].least);
        if (count == 1) CHECK_STR(rows[0].file, cases[i].after[0]);
        pyprof_profile_free(before);
        pyprof_profile_free(after);
        pyprof_profile_free(delta);
    }
}

TEST(threads_with_numbers_in_their_names_pair_up)
{
    const char *const first[] = { "worker-12", "ThreadPoolExecutor-0_1", "ThreadPoolExecutor-0_0" }, *const then[] = { "ThreadPoolExecutor-0_0", "worker-12", "ThreadPoolExecutor-0_1" };
    pyprof_profile *before = threads_of(first, (uint64_t[]){ 1, 2, 3 }, (int[]){ 1, 2, 4 }, 3, 77);
    pyprof_profile *after = threads_of(then, (uint64_t[]){ 1, 2, 3 }, (int[]){ 4, 1, 2 }, 3, 99);
    ((pyprof__recorded_process *)after->model.processes.data)->pid++;
    CHECK_INT(all_values(difference(before, after, NULL)), 0);
}

static int64_t sum_of(const pyprof__pieces *column)
{
    int64_t sum = 0;
    for (size_t i = 0; i < column->count; i++) sum += IN(int64_t, *column, i);
    return sum;
}

TEST(earlier_values_and_changes_add_up_to_the_later_ones)   // node by node, under every scale
{
    for (uint32_t round = 0; round < 12; round++) {
        pyprof_profile *before = random_profile(round, 200 + (int)round), *after = random_profile(round + 3, 300);
        pyprof_diff_options options = { .scale = (int)round % 3 };
        before->model.recorded_ns = 7000;
        after->model.recorded_ns = 7000 + 999 * round;
        pyprof_profile *delta = difference(before, after, &options), *back = difference(after, before, NULL);
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {
            int64_t was = sum_of(&before->model.columns[metric]), is = sum_of(&after->model.columns[metric]), sum = 0;
            int64_t wait = metric == PYPROF_WALL_NS ? PYPROF_WAIT_NS : metric == PYPROF_SAMPLES ? PYPROF_WAIT_SAMPLES
                : metric == PYPROF_WAIT_NS ? PYPROF_IDLE_NS : metric == PYPROF_WAIT_SAMPLES ? PYPROF_IDLE_SAMPLES : 0;
            for (uint32_t i = 0; i < delta->model.nodes.count; i++) {
                int64_t earlier = pyprof__before_value(delta, metric, i), later = earlier + pyprof__model_value(&delta->model, (pyprof_metric)metric, i);
                CHECK(earlier >= 0 && later >= 0);
                if (wait) CHECK(pyprof__before_value(delta, (int)wait, i) <= earlier);
                CHECK((AT(unsigned char, delta->seen, i) & 1) || earlier == 0);
                CHECK((AT(unsigned char, delta->seen, i) & 2) || later == 0);
                sum += later;
            }
            CHECK_INT(sum, is);
            if (options.scale == PYPROF_SCALE_COUNT && was) was = is;
            if (options.scale == PYPROF_SCALE_TIME && metric != PYPROF_LIVE_BYTES)
                was = (int64_t)((double)was * (7000 + 999 * round) / 7000 + 0.5);
            int64_t off = sum_of(&delta->earlier[metric]) - was;
            CHECK(off == 0 || (wait && options.scale == PYPROF_SCALE_TIME && off >= -2 && off <= 2));
            CHECK_INT(sum_of(&back->model.columns[metric]) + is, sum_of(&before->model.columns[metric]));
        }
        CHECK_INT(delta->scale, options.scale);
        CHECK(delta->compared[0].recorded_ns == 7000 && delta->compared[1].recorded_ns == 7000 + 999 * round);
        pyprof_profile_free(before);
        pyprof_profile_free(after);
        pyprof_profile_free(delta);
        pyprof_profile_free(back);
    }
}

TEST(what_cannot_be_scaled_is_refused)
{
    pyprof_profile *before = profile_of(1, "w", 0, 0, 0), *after = profile_of(1, "w", 0, 2, 1), *delta;
    pyprof_diff_options options = { .scale = PYPROF_SCALE_TIME };
    before->model.recorded_ns = 0;
    CHECK_INT(pyprof_diff(before, after, &options, &delta), PYPROF_ERR_ARGUMENT);
    CHECK(delta == NULL && strstr(pyprof_last_error(), "earlier recording has no time"));
    CHECK_INT(pyprof_diff(after, before, &options, &delta), PYPROF_ERR_ARGUMENT);
    CHECK(strstr(pyprof_last_error(), "later recording has no time"));
    pyprof_query nothing = { .function = "nothing" };
    options.scale = PYPROF_SCALE_COUNT;
    options.filter = &nothing;
    CHECK_INT(pyprof_diff(after, before, &options, &delta), PYPROF_ERR_ARGUMENT);
    CHECK(strstr(pyprof_last_error(), "no samples"));
    options.filter = NULL;
    delta = difference(before, after, &options);   // memory: 1000 to 1200 bytes
    CHECK_INT(sum_of(&delta->model.columns[PYPROF_LIVE_BYTES]), 0);
    CHECK_INT(sum_of(&delta->model.columns[PYPROF_SAMPLES]), 0);
    options.scale = 3;
    CHECK_INT(pyprof_diff(after, before, &options, &delta), PYPROF_ERR_ARGUMENT);
}

TEST(quality_of_two_snapshots_and_of_two_recordings)
{
    pyprof_profile *before = profile_of(1, "w", 0, 0, 0), *after = profile_of(1, "w", 0, 9, 0);
    pyprof_stats stats;
    before->model.stats.missed = 3;
    after->model.stats.missed = after->model.stats.rejected_by_cause[1] = 5;
    strcpy(before->model.stats.degraded, "slow");
    pyprof_profile_stats(difference(before, after, NULL), &stats);
    CHECK(stats.missed == 2 && stats.asked == 18 && stats.rejected_by_cause[1] == 5);
    CHECK_STR(stats.degraded, "slow");
    ((pyprof__recorded_process *)after->model.processes.data)->pid++;   // another run
    after->model.heap.mode = 0;
    before->model.stats.degraded[0] = 0;
    pyprof_profile_stats(difference(before, after, NULL), &stats);
    CHECK(stats.missed == 8 && stats.asked == 12 + 30);
    CHECK_STR(stats.degraded, "memory was tracked only before");
}

TEST(history_without_memory)
{
    pyprof_profile *profile = profile_of(1, "w", 0, 2, 1);
    pyprof__model *model = &profile->model;
    uint32_t node = 0;
    CHECK(pyprof__model_history_row(model, node));
    while (model->history.count < model->history.capacity) CHECK(pyprof__push(model->pool, &model->history));
    profile->pool.limit = profile->pool.used;
    CHECK(!pyprof__model_history_row(model, ++node));
    CHECK(!pyprof__model_history(model, node));   // not a row that is not there
    CHECK(pyprof__model_history(model, 0));
}

TEST(history_is_that_of_after)
{
    pyprof_profile *before = profile_of(1, "w", 0, 0, 0), *after = profile_of(1, "w", 0, 2, 1);
    for (int side = 0; side < 2; side++) {
        pyprof_profile *profile = side ? after : before;
        for (uint32_t i = 0; i < profile->model.nodes.count; i++) {
            pyprof__marks *row = pyprof__model_history_row(&profile->model, i);
            CHECK(row);
            for (int m = 0; m < PYPROF__MARKS; m++) row->bytes[m] = (float)(side ? i : 1000);
        }
        profile->model.heap.marks = 3;
    }
    for (int group = 0; group <= PYPROF_GROUP_THREAD; group++) {
        pyprof_profile *delta = difference(before, after, &(pyprof_diff_options){ .group = group });
        double sum = 0, want = 0;
        for (size_t i = 0; i < delta->model.history.count; i++)
            for (int m = 0; m < PYPROF__MARKS; m++) sum += (double)AT(pyprof__marks, delta->model.history, i).bytes[m];
        for (size_t i = 0; i < after->model.nodes.count; i++) want += (double)i * PYPROF__MARKS;
        CHECK_INT(sum, want);
        CHECK(delta->model.history.count <= delta->model.nodes.count + 1);
        CHECK(delta->model.history_at.count <= delta->model.nodes.count);
        size_t count;
        CHECK_INT(pyprof_leaks(delta, NULL, NULL, sizeof(pyprof_leak), 0, &count), PYPROF_ERR_STATE);
    }
}

TEST(formats_that_hold_differences)
{
    pyprof_profile *delta = difference(profile_of(1, "w", 0, 0, 0), profile_of(1, "w", 0, 2, 1), NULL);
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
        output_text out = { calloc(1, 1), 0 };
        pyprof_result result = pyprof_write(delta, &(pyprof_output){ .format = format }, append, &out);
        int holds = format == PYPROF_FORMAT_JSON || format == PYPROF_FORMAT_TEXT || format == PYPROF_FORMAT_PPROF || format == PYPROF_FORMAT_FOLDED;
        if (holds) CHECK_INT(result, PYPROF_OK);
        CHECK((result == PYPROF_OK) == (out.size > 0));
        if (format == PYPROF_FORMAT_SPEEDSCOPE) CHECK(result == PYPROF_ERR_UNSUPPORTED && strstr(pyprof_last_error(), ".speedscope.json"));
        if (format == PYPROF_FORMAT_JSON) CHECK(is_json(out.data) && strstr(out.data, "\"diff\": true"));
        if (format == PYPROF_FORMAT_JSON) CHECK(strstr(out.data, "\"compared\": {\"scale\": \"none\"") && strstr(out.data, "\"before\": {\n\"samples\": ["));
        if (format == PYPROF_FORMAT_JSON) CHECK(strstr(out.data, "io.load\": {\"samples\": -5, \"time\": -0.050000000"));
    }
    CHECK_INT(pyprof_save(delta, "/nowhere/x.pkl", NULL), PYPROF_ERR_UNSUPPORTED);
    CHECK(strstr(pyprof_last_error(), ".pkl"));
    golden("difference.txt", delta, (pyprof_output){ .format = PYPROF_FORMAT_TEXT });
    golden("difference.folded", delta, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED });
    delta = difference(profile_of(1, "w", 0, 0, 0), profile_of(1, "w", 0, 2, 1), &(pyprof_diff_options){ .group = PYPROF_GROUP_FILE });
    output_text out = written(delta, (pyprof_output){ .format = PYPROF_FORMAT_JSON, .paths = PYPROF_PATHS_BASE });
    CHECK(strstr(out.data, "app.py") && !strstr(out.data, "/srv"));
}

TEST(tables_of_changes_have_every_change_once)
{
    for (uint32_t round = 0; round < 20; round++) {
        pyprof_profile *before = random_profile(round, 200), *after = random_profile(round + 3, 300), *delta = difference(before, after, NULL), earlier;
        pyprof__selection selection, first;
        pyprof__report report;
        pyprof_output output = { 0 };
        int64_t sum[PYPROF_METRIC_COUNT] = { 0 };
        CHECK(pyprof__select(&selection, delta, NULL, 0) && pyprof__select_earlier(&first, &earlier, &selection, NULL));
        pyprof__report_init(&report, &selection, &output);
        for (size_t i = 0; i < sizeof pyprof__changes / sizeof *pyprof__changes; i++) {
            pyprof__report_table table = pyprof__changes[i];
            pyprof__rows made;
            table.most = 1000;
            CHECK(pyprof__rows_make(&made, &report, &table));
            for (size_t k = 0; k < made.rows.count; k++) {
                const pyprof__report_row *at = &AT(const pyprof__report_row, made.rows, k);
                CHECK(at->values[1] - at->values[0] == at->values[2] && at->values[2] != 0 && at->values[0] >= 0 && at->values[1] >= 0);
                if (k) CHECK(llabs(at->values[2]) <= llabs(at[-1].values[2]));
                if (!table.by_total) sum[table.sort] += at->values[2];
                CHECK(pyprof__is_memory(table.sort ? table.sort : PYPROF_WALL_NS) ? at->values[4] == 0 : at->values[4] > 0);
            }
            pyprof__rows_free(&made);
        }
        CHECK_INT(sum[0], selection.all[PYPROF_WALL_NS] - selection.all[PYPROF_WAIT_NS]);
        CHECK_INT(sum[PYPROF_WAIT_NS], selection.all[PYPROF_WAIT_NS]);
        CHECK_INT(sum[PYPROF_LIVE_BYTES], selection.all[PYPROF_LIVE_BYTES]);
        pyprof__report_free(&report);
        pyprof__selection_free(&selection);
        pyprof__selection_free(&first);
    }
}

// 100 functions of one thread, and so many samples of each; slow: the first one has 20 % more of them.
static pyprof_profile *sampled_functions(int samples, int slow)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 1), nodes[100];
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "f%d", i);
        nodes[i] = add_frame(&r, thread_node(&r, thread), "/x.py", name, i + 1, i + 1);
    }
    for (int i = 0; i < samples; i++) {
        uint32_t f = random_below(100 + 99 * (i & 1 ? 9 : 0));   // f0 has some 5 times as many as the others
        add_values(&r, nodes[f % 100 && i % 10 == 9 ? 0 : f % 100], 1, 10 * (int64_t)ms, 10 * (int64_t)ms, 0);
    }
    int64_t more = slow ? pyprof__model_value(&r.model, PYPROF_SAMPLES, nodes[0]) / 5 : 0;
    add_values(&r, nodes[0], more, more * 10 * (int64_t)ms, more * 10 * (int64_t)ms, 0);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

TEST(changes_by_chance_are_told_from_real_ones)
{
    size_t chance = 0, real = 0, good = 0;
    for (int round = 0; round < 100; round++) {
        pyprof_profile *delta = difference(sampled_functions(10000, 0), sampled_functions(10000, 0), NULL);
        static pyprof_row many[128];
        size_t count;
        CHECK_INT(pyprof_top(delta, &(pyprof_query){ .include_idle = 1 }, many, sizeof *many, 128, &count), PYPROF_OK);
        size_t within = 100 - count;
        for (size_t i = 0; i < count; i++) {
            int64_t change = many[i].self[PYPROF_WALL_NS];
            CHECK(many[i].self_before > 0 && many[i].self_before == many[i].total_before && many[i].self_error == many[i].total_error);
            within += llabs(change) <= many[i].self_error;
        }
        good += within >= 90;
        chance += within;
        delta = difference(sampled_functions(10000, 0), sampled_functions(10000, 1), NULL);
        CHECK_INT(pyprof_top(delta, NULL, many, sizeof *many, 128, &count), PYPROF_OK);
        CHECK_STR(many[0].name, "f0");
        CHECK(many[0].self_before > 900 * 10 * (int64_t)ms);
        real += many[0].self[PYPROF_WALL_NS] > many[0].self_error;
    }
    printf("%zu of 10000 within chance, %zu of 100 real, %zu times 90 of 100\n", chance, real, good);
    CHECK(chance >= 9450 && chance <= 9650);   // some 95 %
    CHECK(real >= 98 && good >= 95);
}

TEST(errors_of_sampled_memory_come_from_both_sides)
{
    pyprof_profile *sides[2];
    for (int i = 0; i < 2; i++) {
        recording r;
        recording_begin(&r, NULL);
        uint32_t node = add_frame(&r, thread_node(&r, add_thread(&r, "t", 1)), "/x.py", "f", 1, 2);
        add_values(&r, node, 1, 1, 1, 0);
        add_blocks(&r, node, 100, 5000 + 2000 * i, 3000 + 1000 * i, 3000);
        pyprof__model_add(&r.model, PYPROF_LIVE_DOUBT, node, 300000 + 100000 * i);
        r.model.heap.mode = PYPROF_HEAP_SAMPLED;
        r.model.heap.interval = i ? 1000 : 2000;
        sides[i] = seal(&r, 0);
    }
    pyprof_profile *delta = difference(sides[0], sides[1], NULL);
    CHECK_INT(top(delta, (pyprof_query){ .sort = PYPROF_LIVE_BYTES }), 1);
    CHECK_INT(rows[0].self[PYPROF_LIVE_BYTES], 100000);
    CHECK_INT(rows[0].self_before, 300000);
    CHECK_INT(rows[0].self[PYPROF_LIVE_DOUBT], 400000 + 300000 * 2);    // in units of the later interval
    CHECK_INT(rows[0].self_error, (int64_t)(1.96 * pyprof__sqrt(1000. * (400000 + 600000)) + 0.5));
    CHECK_INT(top(delta, (pyprof_query){ .sort = PYPROF_LIVE_BLOCKS }), 1);
    CHECK(llabs(rows[0].self_error * 100 - (int64_t)(1.96 * pyprof__sqrt(1000. * 1000000))) <= 100);
    CHECK(strstr(written_as(delta, PYPROF_FORMAT_TEXT).data, "Not alike: memory sampled every 2000 and 1000 bytes"));
    CHECK_INT(top(sides[1], (pyprof_query){ .sort = PYPROF_LIVE_BYTES }), 1);
    CHECK_INT(rows[0].self_error, (int64_t)(1.96 * pyprof__sqrt(1000. * 400000) + 0.5));
    CHECK(rows[0].self_before == 0);
    delta = difference(sides[0], sides[1], &(pyprof_diff_options){ .scale = PYPROF_SCALE_COUNT });
    CHECK_INT(sum_of(&delta->model.columns[PYPROF_LIVE_DOUBT]), 400000 + (int64_t)(600000 * 16. / 9 + 0.5));
}

TEST(older_rows_are_filled_in)
{
    pyprof_profile *delta = difference(profile_of(1, "w", 0, 0, 0), profile_of(1, "w", 0, 2, 1), NULL);
    size_t size = offsetof(pyprof_row, self_before), count;
    char *old = calloc(5, size);
    memset(old + 4 * size, 7, size);
    CHECK_INT(pyprof_top(delta, &(pyprof_query){ .sort = PYPROF_SAMPLES }, (pyprof_row *)(void *)old, size, 4, &count), PYPROF_OK);
    CHECK_INT(count, 4);
    for (size_t i = 0; i < size; i++) CHECK(old[4 * size + i] == 7);
    pyprof_row last;
    memcpy(&last, old + 3 * size, size);
    CHECK_STR(last.name, "load");
    CHECK_INT(pyprof_top(delta, NULL, (pyprof_row *)(void *)old, size - 8, 1, &count), PYPROF_ERR_ARGUMENT);
    free(old);
}

TEST(folded_differences_have_every_stack_of_both)
{
    for (uint32_t round = 0; round < 10; round++) {
        pyprof_profile *before = random_profile(round, 200), *after = random_profile(round + 3, 300), *delta = difference(before, after, NULL);
        for (int split = 0; split < 2; split++) {
            output_text both = written(delta, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .split_threads = split });
            output_text sides[2] = { written(before, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .split_threads = split }),
                                     written(after, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .split_threads = split }) };
            size_t lines[2] = { 0, 0 };
            for (char *line = both.data, *end; *line; line = end + 1) {
                long values[2];
                end = strchr(line, '\n');
                *end = 0;
                char *second = strrchr(line, ' ');
                *second = 0;
                char *first = strrchr(line, ' ');
                *first = 0;
                values[0] = atol(first + 1);
                values[1] = atol(second + 1);
                CHECK(values[0] >= 0 && values[1] >= 0 && values[0] + values[1] > 0);
                for (int side = 0; side < 2; side++) {
                    static char want[4096];
                    if (!values[side]) continue;
                    lines[side]++;
                    snprintf(want, sizeof want, "%s %ld\n", line, values[side]);
                    CHECK(strstr(sides[side].data, want));
                }
            }
            for (int side = 0; side < 2; side++) CHECK_INT(lines[side], occurrences(sides[side].data, "\n"));
        }
    }
}

TEST(diff_rejects_invalid_arguments)
{
    pyprof_profile *before = profile_of(1, "w", 0, 0, 0), *after = profile_of(1, "w", 0, 2, 1), *delta = difference(before, after, NULL), *out;
    pyprof_query bad = { .sort = 99 };
    const struct { const pyprof_profile *before, *after; pyprof_diff_options options; } cases[] = {
        { NULL, after, { 0 } }, { before, NULL, { 0 } }, { delta, after, { 0 } }, { before, delta, { 0 } }, { before, after, { .group = 4 } },
        { before, after, { .group = -1 } }, { before, after, { .filter = &bad } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        out = before;
        CHECK_INT(pyprof_diff(cases[i].before, cases[i].after, &cases[i].options, &out), PYPROF_ERR_ARGUMENT);
        CHECK(out == NULL && pyprof_last_error()[0]);
    }
    CHECK_INT(pyprof_diff(before, after, NULL, NULL), PYPROF_ERR_ARGUMENT);
}

TEST(each_allocation_of_a_difference_fails_once)
{
    static const pyprof_query query = { .function = "App.*" };
    static const pyprof_diff_options options[] = { { .filter = NULL, .group = 0 }, { .filter = &query, .group = 0 }, { .filter = NULL, .group = PYPROF_GROUP_LINE },
                                                   { .filter = &query, .group = PYPROF_GROUP_FILE }, { .filter = NULL, .group = PYPROF_GROUP_THREAD } };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        counting c;
        pyprof_allocator allocator = counting_allocator(&c);
        variant one = { 1, "w", 0, 0, 0 }, two = { 1, "v", 3, 2, 1 };
        pyprof_profile *before = profile_with(&one, &allocator), *after = profile_with(&two, &allocator), *delta = NULL;
        pyprof_result result = PYPROF_OK;
        failures f = { &c, 0, 0 };
        while (fails_next(&f, result, 20)) {
            result = pyprof_diff(before, after, &options[i], &delta);
            CHECK((result == PYPROF_OK) == (delta != NULL));
            if (delta) pyprof_profile_free(delta);
        }
    }
}

TEST_MAIN
