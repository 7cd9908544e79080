// The first screen of the text report: at most 24 lines of 110 columns, whatever was recorded, and its numbers are sums over
// the nodes of the model. The call tree is compared with one that is made here in another way: path by path.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"

enum { RECORDINGS = 24, LINES = 24, WIDTH = 110 };

// ---- a screen ----------------------------------------------------------------------------------------------------------
static size_t width_of(const char *at, const char *end)   // in columns: of what is not ASCII, some take two
{
    size_t columns = 0, length;
    for (; at < end; at += length) {
        uint32_t c = pyprof__utf8_next(at, &length);
        columns += c < 0x1100 || c == 0xfffd ? 1 : 2;
    }
    return columns;
}

// The part before the first empty line.
static char *screen_of(const pyprof_profile *profile, pyprof_output output)
{
    output.format = PYPROF_FORMAT_TEXT;
    char *text = written(profile, output).data, *end = strstr(text, "\n\n"), *at = text;
    size_t lines = 0;
    CHECK(end != NULL);
    end[1] = 0;
    for (; *at; at = strchr(at, '\n') + 1, lines++) {
        const char *stop = strchr(at, '\n');
        if (width_of(at, stop) > WIDTH) printf("%zu columns: %.*s\n", width_of(at, stop), (int)(stop - at), at);
        CHECK(width_of(at, stop) <= WIDTH);
        if (stop == at || stop[-1] == ' ') printf("%.*s|\n", (int)(stop - at), at);
        CHECK(stop > at && stop[-1] != ' ');
        for (const char *c = at; c < stop; c++) CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
    }
    if (lines > LINES) printf("%zu lines:\n%s", lines, text);
    CHECK(lines <= LINES);
    return text;
}

static char *time_screen(const pyprof_profile *profile) { return screen_of(profile, (pyprof_output){ .title = NULL }); }

static const pyprof_output outputs[] = {
    { .title = NULL }, { .full = 1 }, { .title = HOSTILE HOSTILE HOSTILE }, { .paths = PYPROF_PATHS_BASE }, { .paths = PYPROF_PATHS_HASHED },
    { .metric = PYPROF_LIVE_BYTES }, { .metric = PYPROF_PEAK_BLOCKS }, { .metric = PYPROF_TEMP_BLOCKS }, { .metric = PYPROF_ALLOC_BYTES, .full = 1 },
};

static void check_screens(const pyprof_profile *profile)
{
    for (size_t i = 0; i < COUNT(outputs); i++)
        if (!outputs[i].metric || profile->model.heap.mode) free(screen_of(profile, outputs[i]));
}

TEST(screens_of_recordings_that_chance_made)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof_profile *profile = some_profile(n);
        check_screens(profile);
        for (int chosen = 0; chosen < PYPROF_STATES_COUNT; chosen++)
            free(screen_of(profile, (pyprof_output){ .filter = &(pyprof_query){ .states = chosen } }));
        free(screen_of(profile, (pyprof_output){ .filter = &(pyprof_query){ .thread = "w*" } }));
        free(screen_of(profile, (pyprof_output){ .filter = &(pyprof_query){ .function = "nothing" } }));
        pyprof_profile_free(profile);
    }
}

TEST(screens_of_differences_and_of_several_in_one)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof_profile *before = some_profile(n), *after = some_profile(n + 1), *made;
        const pyprof_profile *both[] = { before, after, before };
        CHECK_INT(pyprof_diff(before, after, NULL, &made), PYPROF_OK);
        free(time_screen(made));
        pyprof_profile_free(made);
        for (int as_one = 0; as_one < 2; as_one++) {
            CHECK_INT(pyprof_merge(both, 3, &(pyprof_merge_options){ .as_one = as_one }, &made), PYPROF_OK);
            check_screens(made);
            pyprof_profile_free(made);
        }
        pyprof_profile_free(before);
        pyprof_profile_free(after);
    }
}

TEST(a_saved_recording_has_the_same_screen)
{
    char path[] = "/tmp/pyprof-screen-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && close(fd) == 0);
    for (uint64_t n = 0; n < RECORDINGS; n += 5) {
        pyprof_profile *profile = some_profile(n), *loaded;
        CHECK_INT(pyprof_save(profile, path, &(pyprof_output){ .format = PYPROF_FORMAT_JSON }), PYPROF_OK);
        CHECK_INT(pyprof_load(path, &loaded), PYPROF_OK);
        for (size_t i = 0; i < COUNT(outputs); i++) {
            if (outputs[i].metric && !profile->model.heap.mode) continue;
            char *one = screen_of(profile, outputs[i]), *other = screen_of(loaded, outputs[i]);
            CHECK_STR(other, one);
            free(one);
            free(other);
        }
        pyprof_profile_free(loaded);
        pyprof_profile_free(profile);
    }
    CHECK_INT(remove(path), 0);
}

// ---- the call tree -----------------------------------------------------------------------------------------------------
typedef struct { uint32_t functions[64]; int foreign[64]; size_t count; } path;

static int is_in(const char *file, const char *folder) { return strncmp(file, folder, strlen(folder)) == 0; }

static int foreign(const pyprof_profile *profile, uint32_t function)   // 1: of the standard library; 2: an import
{
    const pyprof__function *at = &AT(const pyprof__function, profile->model.functions, function);
    if (at->kind == PYPROF_KIND_PSEUDO) return strncmp(pyprof__text(profile, at->name), "<import", 7) == 0 ? 2 : 0;
    return at->kind == PYPROF_KIND_PYTHON && is_in(pyprof__text(profile, at->file), "/usr/lib/python3");
}

// One call more: unless it is code of others below such code; and calls that come once more go back to where they began.
static void path_add(path *p, uint32_t function, int is_foreign)
{
    if (is_foreign && p->count && p->foreign[p->count - 1] >= is_foreign) return;
    CHECK(p->count < COUNT(p->functions));
    p->functions[p->count] = function;
    p->foreign[p->count++] = is_foreign;
    for (size_t period = 1; period <= 4 && 2 * period <= p->count; period++) {
        size_t same = 0;
        while (same < period && p->functions[p->count - 1 - same] == p->functions[p->count - 1 - same - period]) same++;
        if (same < period) continue;
        p->count -= period;
        return;
    }
}

static path path_of(const pyprof_profile *profile, uint32_t node)
{
    path p = { .count = 0 };
    if (node == 0) return p;
    const pyprof__node *at = &AT(const pyprof__node, profile->model.nodes, node);
    uint32_t function = AT(const pyprof__location, profile->model.locations, at->location).function;
    int kind = AT(const pyprof__function, profile->model.functions, function).kind;
    p = path_of(profile, at->parent);
    if (kind != PYPROF_KIND_THREAD && kind != PYPROF_KIND_PROCESS && kind != PYPROF_KIND_TASK) path_add(&p, function, foreign(profile, function));
    return p;
}

static path path_of_branch(const pyprof__branch *branches, uint32_t at)
{
    path p = { .count = 0 };
    if (!at) return p;
    p = path_of_branch(branches, branches[at].parent);
    p.functions[p.count++] = branches[at].function;
    return p;
}

static int begins(const path *a, const path *with)
{
    return with->count <= a->count && memcmp(a->functions, with->functions, with->count * sizeof *with->functions) == 0;
}

static int64_t active(const pyprof_profile *profile, uint32_t node)
{
    return pyprof__model_value(&profile->model, PYPROF_WALL_NS, node) - pyprof__model_value(&profile->model, PYPROF_IDLE_NS, node);
}

static void check_tree(const pyprof_profile *profile)
{
    static path paths[20000];
    pyprof_output output = { .full = 1 };
    pyprof__selection selection;
    pyprof__report report;
    size_t count = profile->model.nodes.count;
    CHECK(pyprof__select(&selection, profile, NULL, PYPROF_STATES_ALL) && count < COUNT(paths));
    pyprof__report_init(&report, &selection, &output);
    pyprof__report_names(&report);
    CHECK(pyprof__tree_make(&report, 0));
    const pyprof__branch *branches = report.tree.branches.data;
    for (uint32_t node = 0; node < count; node++) paths[node] = path_of(profile, node);
    for (uint32_t at = 0; at < report.tree.branches.count; at++) {
        path p = path_of_branch(branches, at);
        int64_t total = 0, self = 0, waiting = 0;
        for (uint32_t node = 0; node < count; node++) {
            if (!begins(&paths[node], &p)) continue;
            total += active(profile, node);
            if (paths[node].count == p.count) self += active(profile, node);
            waiting += pyprof__model_value(&profile->model, PYPROF_WAIT_NS, node) - pyprof__model_value(&profile->model, PYPROF_IDLE_NS, node);
        }
        CHECK_INT(branches[at].total, total);
        CHECK_INT(branches[at].self, self);
        CHECK_INT(branches[at].waiting, waiting);
        for (uint32_t child = branches[at].first_child; child; child = branches[child].next_sibling) {
            CHECK_INT(branches[child].parent, at);
            CHECK(!branches[child].next_sibling || branches[child].total >= branches[branches[child].next_sibling].total);
        }
    }
    CHECK_INT(report.tree.whole, report.whole);
    pyprof__report_free(&report);
    CHECK_INT(report.pool.used, 0);
    pyprof__selection_free(&selection);
}

TEST(the_tree_is_a_sum_over_paths)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof_profile *profile = some_profile(n);
        check_tree(profile);
        pyprof_profile_free(profile);
    }
}

// Rows: each child is below its parent, from 1 % on; of a table with room for few rows, no more come.
TEST(rows_of_the_tree)
{
    for (uint64_t n = 0; n < RECORDINGS; n++)
        for (size_t most = 1; most < 12; most += 3) {
            pyprof_profile *profile = some_profile(n);
            pyprof_output output = { .full = 0 };
            pyprof__selection selection;
            pyprof__report report;
            pyprof__rows rows;
            pyprof__report_table table = pyprof__tree_table;
            table.most = most;
            CHECK(pyprof__select(&selection, profile, NULL, PYPROF_STATES_ALL));
            pyprof__report_init(&report, &selection, &output);
            CHECK(pyprof__rows_make(&rows, &report, &table));
            const pyprof__report_row *row = rows.rows.data;
            CHECK(rows.rows.count <= most);
            CHECK(rows.rows.count > 0 || report.whole == 0);
            for (size_t i = 0; i < rows.rows.count; i++) {
                size_t above = i;
                CHECK(row[i].values[0] > 0 && (double)row[i].values[0] * 100 >= (double)report.whole && row[i].count > 0);
                CHECK(i ? row[i].mark <= row[i - 1].mark + 1 : row[i].mark == 0);
                while (above > 0 && row[i].mark && row[above].mark >= row[i].mark) above--;
                CHECK(row[i].values[0] <= row[above].values[0] || !row[i].mark);
            }
            pyprof__rows_free(&rows);
            pyprof__report_free(&report);
            pyprof__selection_free(&selection);
            pyprof_profile_free(profile);
        }
}

static recording rec;
static uint32_t below(uint32_t node, const char *file, const char *name, int line) { return add_frame(&rec, node, file, name, line, line + 1); }
static uint32_t leaf(uint32_t node, const char *name, int kind)
{
    return pyprof__model_node(&rec.model, node, pyprof__model_pseudo(&rec.model, name, (pyprof_kind)kind, 0));
}

static char *finished(void)
{
    pyprof_profile *profile = seal(&rec, 0);
    char *screen = time_screen(profile);
    pyprof_profile_free(profile);
    recording_end(&rec);
    return screen;
}

static void check_has(const char *screen, const char *line)
{
    if (!strstr(screen, line)) printf("%s\nhas no %s\n", screen, line);
    CHECK(strstr(screen, line));
}

TEST(calls_that_share_a_row)   // code of others is one row; recursion is none; a wait ends the row
{
    static const char library[] = "/usr/lib/python3.12/http/client.py", package[] = "/srv/venv/lib/python3.12/site-packages/requests/api.py";
    recording_begin(&rec, NULL);
    uint32_t thread = add_thread(&rec, "MainThread", 1), node = below(thread_node(&rec, thread), "/usr/lib/python3.12/runpy.py", "_run_code", 80);
    node = below(below(node, "/srv/app/main.py", "<module>", 1), "/srv/app/shop.py", "price", 5);
    uint32_t price = node;
    for (int i = 0; i < 5; i++) node = below(node, "/srv/app/shop.py", "price", 5);   // recursion
    node = below(below(below(node, package, "get", 62), package, "request", 14), library, "read", 400);
    add_samples(&rec, thread, leaf(node, "[recv 127.0.0.1:45811]", PYPROF_KIND_WAIT), 10, 83, 1);
    add_samples(&rec, thread, below(price, "/srv/app/shop.py", "unique", 9), 840, 17, 0);
    char *screen = finished();
    check_has(screen, "\n100 % of the time is 1.00 s: running and waiting, without idle time; * your code\n");
    check_has(screen, "\n    1.00 s  100.0 %         -    0.83 s * <module> > price (shop.py:5)\n");
    check_has(screen, "\n    0.83 s   83.0 %    0.83 s    0.83 s     get (api.py:62) > [recv 127.0.0.1:45811]\n");
    check_has(screen, "\n    0.17 s   17.0 %    0.17 s         - *   unique (shop.py:9)\n");
    check_has(screen, "\n    0.83 s   83.0 %   [recv 127.0.0.1:45811]  read  client.py:401\n");
    CHECK(!strstr(screen, "_run_code") && !strstr(screen, "busiest threads"));
    free(screen);
}

TEST(imports_are_folded)
{
    static const char importlib[] = "<frozen importlib._bootstrap>";
    recording_begin(&rec, NULL);
    uint32_t thread = add_thread(&rec, "MainThread", 1), node = below(thread_node(&rec, thread), "/srv/app.py", "<module>", 1);
    uint32_t json = below(leaf(node, "<import json>", PYPROF_KIND_PSEUDO), importlib, "_find_and_load", 1170);
    json = below(below(json, importlib, "exec_module", 900), "/usr/lib/python3.12/json/__init__.py", "<module>", 1);
    json = leaf(json, "<import json.decoder>", PYPROF_KIND_PSEUDO);
    add_samples(&rec, thread, below(json, "/usr/lib/python3.12/json/decoder.py", "<module>", 1), 10, 30, 0);
    uint32_t own = below(leaf(node, "<import helpers>", PYPROF_KIND_PSEUDO), importlib, "_find_and_load", 1170);
    add_samples(&rec, thread, below(below(own, importlib, "exec_module", 900), "/srv/helpers.py", "<module>", 1), 310, 70, 0);
    char *screen = finished();
    check_has(screen, "\n    0.30 s   30.0 %    0.30 s         -     <import json>\n");
    check_has(screen, "\n    0.70 s   70.0 %    0.70 s         - *   <module> (helpers.py:1)\n");
    CHECK(!strstr(screen, "json.decoder") && !strstr(screen, "exec_module (") && !strstr(screen, "_find_and_load ("));
    free(screen);
}

TEST(mutual_recursion_has_one_row_for_each_function)
{
    recording_begin(&rec, NULL);
    uint32_t thread = add_thread(&rec, "MainThread", 1), node = thread_node(&rec, thread);
    for (int i = 0; i < 12; i++) node = below(node, "/srv/parse.py", i % 2 ? "term" : "expr", i % 2 ? 20 : 10);
    add_samples(&rec, thread, node, 10, 50, 0);
    char *screen = finished();
    check_has(screen, " * expr > term");
    CHECK_INT(occurrences(strstr(screen, "call tree"), "term"), 2);   // there and in the table of functions
    free(screen);
}

// ---- what a screen has in special cases --------------------------------------------------------------------------------
TEST(nothing_was_recorded)
{
    recording_begin(&rec, NULL);
    char *screen = finished();
    check_has(screen, "100 % of the time is 0.00 s");
    free(screen);
}

TEST(threads_that_are_only_idle)
{
    recording_begin(&rec, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t thread = add_thread(&rec, "poller", 100 + i);
        uint32_t node = leaf(below(thread_node(&rec, thread), "/srv/app.py", "serve", 3), "[poll 3 fds]", PYPROF_KIND_WAIT);
        add_values(&rec, node, 100, 1000 * (int64_t)ms, 0, 1);
        pyprof__model_add(&rec.model, PYPROF_IDLE_NS, node, 1000 * (int64_t)ms);
        pyprof__model_add(&rec.model, PYPROF_IDLE_SAMPLES, node, 100);
    }
    char *screen = finished();
    check_has(screen, "100 % of the time is 0.00 s");
    check_has(screen, "\nIdle: 3.00 s [poll 3 fds] in serve (app.py:4)\n");
    check_has(screen, "\n    0.00 s        -         -    1.00 s   poller (100)\n");
    CHECK(!strstr(screen, "call tree"));
    free(screen);
}

TEST(two_hundred_threads)   // the five with most time, running or waiting, are shown
{
    recording_begin(&rec, NULL);
    for (uint32_t i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof name, "worker-%u", i);
        uint32_t thread = add_thread(&rec, name, 1000 + i), node = below(thread_node(&rec, thread), "/srv/app.py", "work", 3);
        add_values(&rec, node, 1 + i, (1 + i) * 10 * (int64_t)ms, 0, i % 2);
    }
    char *screen = finished();
    for (uint32_t i = 0, shown = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof name, "worker-%u (", i);
        shown += strstr(screen, name) != NULL;
        CHECK_INT(strstr(screen, name) != NULL, i >= 195 && shown <= 5);
    }
    CHECK(strstr(screen, "worker-199") < strstr(screen, "worker-195"));
    free(screen);
}

TEST(only_memory)   // no sample was taken
{
    recording_begin(&rec, NULL);
    uint32_t thread = add_thread(&rec, "MainThread", 1), node = below(thread_node(&rec, thread), "/srv/cache.py", "remember", 14);
    rec.model.heap.mode = PYPROF_HEAP_EXACT;
    add_blocks(&rec, node, 1 << 20, 50, 40, 45);
    pyprof_profile *profile = seal(&rec, 0);
    char *screen = time_screen(profile), *live = screen_of(profile, (pyprof_output){ .metric = PYPROF_LIVE_BYTES });
    check_has(screen, "\nMemory: 40.0 MiB alive, 45.0 MiB at most, 50.0 MiB allocated, 0.0 % temporary\n");
    check_has(live, "\n   40.0 MiB  100.0 % * remember (cache.py:14)\n");
    check_has(live, "\n   45.0 MiB  100.0 % * remember  cache.py:15\n");
    CHECK(!strstr(live, "How good"));
    free(screen);
    free(live);
    pyprof_profile_free(profile);
    recording_end(&rec);
}

TEST(long_and_hostile_names)
{
    static char longest[3000];
    memset(longest, 'x', sizeof longest - 1);
    static const char *const names[] = {
        HOSTILE, BROKEN, longest, " ", "", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
    };
    for (size_t i = 0; i < COUNT(names); i++)
        for (size_t k = i; k <= i + (size_t)(i + 1 < COUNT(names)); k++) {
            recording_begin(&rec, NULL);
            rec.model.heap.mode = PYPROF_HEAP_SAMPLED;
            rec.model.heap.interval = 1 << 19;
            for (uint32_t t = 0; t < 3; t++) {
                uint32_t thread = add_thread(&rec, names[i], 1 + t), node = thread_node(&rec, thread);
                for (int depth = 0; depth < 12; depth++) node = below(node, names[k], depth % 3 ? names[i] : names[k], depth);
                add_samples(&rec, thread, leaf(node, names[i], PYPROF_KIND_WAIT), 10, 3, 1);
                uint32_t idle = leaf(node, names[k], PYPROF_KIND_WAIT);
                add_values(&rec, idle, 100, 1000 * (int64_t)ms, 0, 1);
                pyprof__model_add(&rec.model, PYPROF_IDLE_NS, idle, 500 * (int64_t)ms);
                add_blocks(&rec, node, 1000, 50, 40, 45);
            }
            snprintf(rec.model.stats.degraded, sizeof rec.model.stats.degraded, "%.250s", names[k]);
            pyprof_profile *profile = seal(&rec, 0), *delta;
            profile->program = pyprof__intern(&profile->pool, &profile->model.strings, names[i], strlen(names[i]));
            profile->python = pyprof__intern(&profile->pool, &profile->model.strings, names[k], strlen(names[k]));
            if (i == k || test_long()) check_screens(profile);
            else free(time_screen(profile));
            pyprof_profile *other = some_profile(i);
            CHECK_INT(pyprof_diff(other, profile, NULL, &delta), PYPROF_OK);
            free(time_screen(delta));
            pyprof_profile_free(delta);
            pyprof_profile_free(other);
            pyprof_profile_free(profile);
            recording_end(&rec);
        }
}

// ---- names -------------------------------------------------------------------------------------------------------------
TEST(paths_are_as_short_as_they_may_be)
{
    static const char *const cases[][2] = {
        { "/srv/app/main.py", "app/main.py" }, { "/srv/other/main.py", "other/main.py" }, { "/srv/app/shop.py", "app/shop.py" },
        { "shop.py", "shop.py" }, { "a-shop.py", "a-shop.py" },
        { "/x/fib/__init__.py", "x/fib/__init__.py" }, { "/y/fib/__init__.py", "y/fib/__init__.py" },
        { "/x/solo/__main__.py", "solo/__main__.py" }, { "<string>", "<string>" }, { "<frozen runpy>", "<frozen runpy>" },
        { "C:\\w\\one.py", "one.py" },
        { "/long/way/xone.py", "xone.py" }, { "/a/b/", "/a/b/" }, { "/", "/" },
    };
    pyprof_output output = { .full = 0 };
    pyprof__selection selection;
    pyprof__report report;
    recording_begin(&rec, NULL);
    uint32_t thread = add_thread(&rec, "t", 1), node = thread_node(&rec, thread);
    for (size_t i = 0; i < COUNT(cases); i++) node = below(node, cases[i][0], "f", 1 + (int)i);
    for (size_t i = 0; i < COUNT(cases); i++) node = below(node, cases[i][0], "g", 1 + (int)i);
    pyprof_profile *profile = seal(&rec, 0);
    CHECK(pyprof__select(&selection, profile, NULL, PYPROF_STATES_ALL));
    pyprof__report_init(&report, &selection, &output);
    pyprof__report_names(&report);
    for (size_t i = 0; i < profile->model.functions.count; i++) {
        const char *file = pyprof__text(profile, AT(const pyprof__function, profile->model.functions, i).file), *want = file;
        for (size_t k = 0; k < COUNT(cases); k++) if (strcmp(cases[k][0], file) == 0) want = cases[k][1];
        if (want[strlen(want) - 1 + (*want == 0)] != '/') CHECK_STR(pyprof__short_path_of(&report, file), want);
    }
    pyprof__report_free(&report);
    pyprof__selection_free(&selection);
    pyprof_profile_free(profile);
    recording_end(&rec);
}

TEST(packages_are_the_readers_own_where_there_is_nothing_else)
{
    static const char *const homes[] = { "/usr/lib/python3.12/json/tool.py", "/venv/lib/python3.12/site-packages/flask/app.py", "/srv/app.py" };
    static const char *const words[] = { "; * code\n", "; * packages\n", "; * your code\n" };
    for (size_t n = 0; n < COUNT(homes); n++) {
        recording_begin(&rec, NULL);
        uint32_t thread = add_thread(&rec, "MainThread", 1), node = thread_node(&rec, thread);
        for (size_t i = 0; i <= n; i++) node = below(node, homes[i], "run", 7);
        add_samples(&rec, thread, node, 10, 50, 0);
        char *screen = finished();
        check_has(screen, words[n]);
        check_has(screen, " * run");
        free(screen);
    }
}

// ---- rows from 1 % on --------------------------------------------------------------------------------------------------
TEST(rows_below_one_percent_are_counted_only)
{
    recording_begin(&rec, NULL);
    uint32_t thread = add_thread(&rec, "MainThread", 1), node = thread_node(&rec, thread);
    add_samples(&rec, thread, below(node, "/srv/app.py", "hot", 3), 10, 980, 0);
    add_samples(&rec, thread, below(node, "/srv/app.py", "just", 13), 9810, 10, 0);
    add_samples(&rec, thread, below(node, "/srv/app.py", "rare", 23), 9910, 9, 0);
    add_samples(&rec, thread, below(node, "/srv/app.py", "once", 33), 10000, 1, 0);
    pyprof_profile *profile = seal(&rec, 0);
    char *few = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_TEXT }).data;
    char *all = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .full = 1 }).data;
    char *table = strstr(few, "\nFunctions, by time spent running in them"), *end = strstr(table, "\n\n");
    CHECK(strstr(table, "just") < end && strstr(table, "    ... 2 more\n") < end);
    CHECK(strstr(table, "    ... 2 more\n") != NULL && strstr(all, "rare  /srv/app.py:23\n") && strstr(all, "once  /srv/app.py:33\n"));
    CHECK(!strstr(few, "rare  app.py:23\n") || strstr(few, "rare  app.py:23\n") > strstr(few, "\nThe hottest"));
    CHECK(strstr(all, "\n    0 read while the thread ran") && !strstr(few, "\n    0 read while the thread ran"));
    free(few);
    free(all);
    pyprof_profile_free(profile);
    recording_end(&rec);
}

TEST(a_bad_recording_is_told_in_full)
{
    for (int bad = 0; bad < 2; bad++) {
        recording_begin(&rec, NULL);
        uint32_t thread = add_thread(&rec, "MainThread", 1);
        add_samples(&rec, thread, below(thread_node(&rec, thread), "/srv/app.py", "hot", 3), 10, 98, 0);
        rec.model.stats.missed = bad ? 2 : 0;
        rec.model.stats.asked += bad ? 2 : 0;
        pyprof_profile *profile = seal(&rec, 0);
        char *text = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_TEXT }).data;
        CHECK_INT(strstr(text, "see below") != NULL, bad);
        CHECK_INT(strstr(text, "98 of 100 samples asked for; 2.00 % lost (2 missed") != NULL, bad);
        free(text);
        pyprof_profile_free(profile);
        recording_end(&rec);
    }
}

// ---- without memory ----------------------------------------------------------------------------------------------------
static int drop(void *user, const void *data, size_t size) { (void)user; (void)data; (void)size; return 0; }

TEST(each_allocation_of_a_report_fails_once)
{
    for (uint64_t n = 2; n < (test_long() ? 12 : 3); n += 9)
        for (size_t i = 0; i < COUNT(outputs); i += test_long() ? 1 : 5) {
            pyprof_profile *profile = some_profile(n);
            pyprof_allocator before = profile->pool.allocator;
            pyprof_output output = outputs[i];
            counting c;
            failures f = { &c, 0, 0 };
            pyprof_result result = PYPROF_OK;
            output.format = PYPROF_FORMAT_TEXT;
            if (output.paths) { pyprof_profile_free(profile); continue; }
            profile->pool.allocator = counting_allocator(&c);
            while (fails_next(&f, result, 20)) result = pyprof_write(profile, &output, drop, NULL);
            profile->pool.allocator = before;
            pyprof_profile_free(profile);
        }
}
TEST_MAIN
