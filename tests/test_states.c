// What a recording says of the states of threads, on one made by hand: tables that fold leaves, the report on waiting, native
// code, the GIL and lines with their source, JSON, flame graph, visit, differences. Golden files as in test_writers.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include <sys/time.h>

static const char app[] =
    "import zlib\n\n\n"
    "def load(path):\n"
    "\tdata = open(path, 'rb').read()   # \x1b[31m \xe2\x82\xac \xff and a line that goes on and on and on and on and on and on and on and on and on\n"
    "\treturn zlib.compress(data) + bytes(sorted(data))\n\n\n"
    "def main():\n"
    "    while True:\n"
    "        load(queue.get())   \r\n";

// In a folder of its own with app.py, older than the recording.
static void write_app(const char *text, size_t size, time_t when)
{
    struct timeval times[2] = { { when, 0 }, { when, 0 } };
    FILE *f = fopen("app.py", "w");
    CHECK(f && fwrite(text, 1, size, f) == size && fclose(f) == 0);
    CHECK_INT(utimes("app.py", times), 0);
}

static char folder[] = "/tmp/pyprof-test-XXXXXX";
static void leave(void) { if (chdir("/") == 0) { char command[64]; snprintf(command, sizeof command, "rm -rf %s", folder); if (system(command)) perror(folder); } }

static void in_a_folder(void)
{
    CHECK(mkdtemp(folder) && chdir(folder) == 0);
    atexit(leave);
    write_app(app, sizeof app - 1, 1600000000);
}

static uint32_t add_leaf(recording *r, uint32_t parent, const char *name, pyprof_kind kind)
{
    return pyprof__model_node(&r->model, parent, pyprof__model_pseudo(&r->model, name, kind, 0));
}

static uint32_t add_span(recording *r, uint32_t parent, const char *name, int first, int line, int column, int end_column)
{
    pyprof__source_range place = { line, line, column, end_column };
    pyprof__function function;
    memset(&function, 0, sizeof function);
    function.name = function.qualname = pyprof__model_string(&r->model, name);
    function.file = pyprof__model_path(&r->model, "app.py");
    function.first_line = first;
    return pyprof__model_node(&r->model, parent, pyprof__model_location(&r->model, &function, &place));
}

// 10 ms samples as the sampler adds them; block: so many ms others waited in each
static void add_state(recording *r, uint32_t member, uint32_t node, uint64_t at, int count, uint32_t state, uint64_t block)
{
    for (int i = 0; i < count; i++) {
        pyprof__moment moment;
        memset(&moment, 0, sizeof moment);
        moment.end_ns = r->model.start_ns + (at + 10 * (uint64_t)i) * ms;
        moment.start_ns = moment.end_ns - 10 * ms;
        moment.wall_ns = 10 * ms;
        moment.cpu_ns = state & PYPROF__IS_WAITING ? 0 : 9 * ms;
        moment.block_ns = block * ms;
        moment.thread = member;
        moment.node = node;
        moment.count = 1;
        moment.state = state;
        pyprof__model_columns(&r->model, &moment);
        pyprof__model_moment(&r->model, &moment, &r->last[member]);
        r->model.stats.asked++;
        r->model.stats.samples++;
        if (moment.end_ns > r->model.last_ns) r->model.last_ns = moment.end_ns;
    }
    r->model.recorded_ns = r->model.last_ns - r->model.start_ns;
}

static void add_pair(recording *r, uint32_t waiter, uint32_t holder, uint64_t wait)
{
    pyprof__rivals *pair = pyprof__push(&r->pool, &r->model.rivals);
    *pair = (pyprof__rivals){ waiter, holder, wait * ms };
}

static void add_facts(recording *r, uint64_t at, int64_t scale)
{
    pyprof__gauge *gauge = pyprof__push(&r->pool, &r->model.gauges);
    gauge->ns = r->model.start_ns + at * ms;
    gauge->facts = (pyprof_process){ (40 + scale) << 20, 0, 1000000000 + 250000000 * scale, 10000000 * scale, 1000 + 700 * scale, 5 * scale,
                                     100 * scale, scale / 2, 4 - scale % 2, 10 + scale };
}

enum { WAITS = PYPROF__IS_WAITING, HOLDS = PYPROF__HAS_GIL, NATIVE = HOLDS | PYPROF__IS_NATIVE, FREE = PYPROF__IS_NATIVE | PYPROF__IS_NOGIL };
enum { WALL = 500, RUNS = 250, WAITED = 250, IDLE = 140 };   // ms

// main reads, compresses and sorts; a worker, of a name to choose, does the same and waits for the GIL; a poller is idle.
static void record(recording *r, const char *name)
{
    uint32_t main_thread = add_thread(r, "MainThread", 100), worker = add_thread(r, name, 101), poller = add_thread(r, "poller", 102);
    uint32_t top = add_span(r, thread_node(r, main_thread), "main", 9, 11, 8, 25), own = add_span(r, thread_node(r, worker), "main", 9, 11, 8, 25);
    uint32_t reads = add_span(r, top, "load", 4, 5, 8, 31), reads2 = add_span(r, own, "load", 4, 5, 8, 31);
    uint32_t zip = add_span(r, top, "load", 4, 6, 8, 27), sorts = add_span(r, top, "load", 4, 6, 36, 48), sorts2 = add_span(r, own, "load", 4, 6, 36, 48);
    uint32_t sorted = add_leaf(r, sorts, "<native> sorted", PYPROF_KIND_NATIVE), poll = add_frame(r, thread_node(r, poller), "/lib/selectors.py", "select", 400, 415);
    add_state(r, main_thread, add_leaf(r, reads, "[read file /data/in.bin]", PYPROF_KIND_WAIT), 10, 5, WAITS, 0);
    add_state(r, main_thread, add_leaf(r, zip, "<native> zlib.compress", PYPROF_KIND_NATIVE), 60, 4, FREE, 0);
    add_state(r, main_thread, sorted, 100, 10, NATIVE, 4);
    add_state(r, main_thread, sorts, 200, 1, HOLDS, 0);
    add_state(r, main_thread, top, 210, 3, HOLDS | PYPROF__IS_RAISING, 0);
    add_state(r, main_thread, add_leaf(r, top, "<GC>", PYPROF_KIND_PSEUDO), 240, 2, HOLDS, 2);
    add_state(r, worker, add_leaf(r, reads2, "[read file /data/in.bin]", PYPROF_KIND_WAIT), 10, 1, WAITS, 0);
    add_state(r, worker, add_leaf(r, sorts2, "[GIL]", PYPROF_KIND_WAIT), 20, 4, WAITS | PYPROF__WANTS_GIL, 0);
    add_state(r, worker, add_leaf(r, sorts2, "<native> sorted", PYPROF_KIND_NATIVE), 60, 5, NATIVE, 0);
    add_state(r, worker, reads2, 110, 1, WAITS | PYPROF__WANTS_CPU, 0);
    add_state(r, poller, add_leaf(r, poll, "[poll 3 fds]", PYPROF_KIND_WAIT), 10, 14, WAITS | PYPROF__IS_IDLE, 0);
    add_pair(r, worker, main_thread, 30);
    add_pair(r, main_thread, worker, 2);
    AT(pyprof__recorded_thread, r->model.threads, main_thread).hold_ns = 110 * ms;
    AT(pyprof__recorded_thread, r->model.threads, main_thread).hold_end_ns = r->model.start_ns + 210 * ms;
    AT(pyprof__recorded_thread, r->model.threads, main_thread).hold_node = sorted;
    AT(pyprof__recorded_thread, r->model.threads, worker).hold_ns = 20 * ms;
    AT(pyprof__recorded_thread, r->model.threads, worker).hold_end_ns = r->model.start_ns + 80 * ms;
    AT(pyprof__recorded_thread, r->model.threads, worker).hold_node = sorts2;
    for (int i = 0; i < 3; i++) add_facts(r, 100 * (uint64_t)i, i);
}

static pyprof_profile *example(void)
{
    recording r;
    recording_begin(&r, NULL);
    record(&r, "worker");
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

static const pyprof_query everything = { .include_idle = 1 }, running = { .states = PYPROF_STATES_RUNNING };

// ---- golden files ----------------------------------------------------------------------------------------------------
static void golden_with_source(const char *file, int format)
{
    char *here = getcwd(NULL, 0);
    in_a_folder();
    output_text out = written(example(), (pyprof_output){ .format = format, .sources = 1 });
    CHECK_INT(chdir(here), 0);
    same_as_golden(file, out);
}

TEST(golden_text) { golden_with_source("states.txt", PYPROF_FORMAT_TEXT); }
TEST(golden_json) { golden_with_source("states.json", PYPROF_FORMAT_JSON); }
TEST(golden_svg) { golden("states.svg", example(), (pyprof_output){ .format = PYPROF_FORMAT_SVG, .filter = &everything }); }
TEST(golden_svg_without_waiting) { golden("running.svg", example(), (pyprof_output){ .format = PYPROF_FORMAT_SVG, .filter = &running }); }
TEST(golden_folded) { golden("states.folded", example(), (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .metric = PYPROF_WALL_NS }); }

// ---- tables ------------------------------------------------------------------------------------------------------------
static pyprof_row rows[64];
static size_t row_count;

static size_t top(const pyprof_profile *profile, pyprof_query query)
{
    memset(rows, 0, sizeof rows);
    CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, 64, &row_count), PYPROF_OK);
    return row_count;
}

static const pyprof_row *row(const char *name, int line)
{
    for (size_t i = 0; i < row_count; i++)
        if (!strcmp(rows[i].name, name) && rows[i].line == line) return &rows[i];
    printf("no row %s:%d\n", name, line);
    CHECK(!"row");
    return NULL;
}

static int64_t self_of(int metric)
{
    int64_t sum = 0;
    for (size_t i = 0; i < row_count; i++) sum += rows[i].self[metric];
    return sum;
}

TEST(leaves_are_self_of_the_frame_above)
{
    pyprof_profile *profile = example();
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1 }), 4);
    CHECK_INT(row("load", 4)->self[PYPROF_WALL_NS], 310 * ms);
    CHECK_INT(row("load", 4)->total[PYPROF_WALL_NS], 310 * ms);
    CHECK_INT(row("load", 4)->self[PYPROF_NATIVE_NS], 190 * ms);
    CHECK_INT(row("load", 4)->self[PYPROF_NOGIL_NS], 40 * ms);
    CHECK_INT(row("load", 4)->self[PYPROF_WAIT_NS], 110 * ms);
    CHECK_INT(row("main", 9)->self[PYPROF_WALL_NS], 30 * ms);
    CHECK_INT(row("main", 9)->total[PYPROF_WALL_NS], 360 * ms);
    CHECK_INT(row("<GC>", 0)->self[PYPROF_WALL_NS], 20 * ms);
    CHECK_INT(row("select", 400)->self[PYPROF_IDLE_NS], IDLE * ms);
    for (int group = PYPROF_GROUP_FUNCTION; group <= PYPROF_GROUP_THREAD; group++) {
        top(profile, (pyprof_query){ .include_idle = 1, .group = group });
        CHECK_INT(self_of(PYPROF_WALL_NS), WALL * ms);
        CHECK_INT(self_of(PYPROF_SAMPLES), WALL / 10);
        CHECK_INT(self_of(PYPROF_WAIT_NS), WAITED * ms);
        CHECK_INT(self_of(PYPROF_GIL_BLOCK_NS), 44 * ms);
        top(profile, (pyprof_query){ .group = group });
        CHECK_INT(self_of(PYPROF_WALL_NS), (WALL - IDLE) * ms);
        CHECK_INT(self_of(PYPROF_WAIT_NS), (WAITED - IDLE) * ms);
        top(profile, (pyprof_query){ .group = group, .states = PYPROF_STATES_RUNNING });
        CHECK_INT(self_of(PYPROF_WALL_NS), RUNS * ms);
    }
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_LINE }), 5);
    CHECK_INT(row("load", 6)->self[PYPROF_WALL_NS], 240 * ms);
    CHECK_INT(row("load", 6)->self[PYPROF_GIL_WAIT_NS], 40 * ms);
    CHECK_INT(row("load", 5)->self[PYPROF_CPU_WAIT_NS], 10 * ms);
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_FILE }), 3);
    CHECK_INT(row("app.py", 0)->self[PYPROF_WALL_NS], 340 * ms);
}

TEST(leaves_alone)
{
    pyprof_profile *profile = example();
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_LEAF, .sort = PYPROF_WALL_NS }), 5);
    const struct { const char *name; int kind; int64_t wall; } want[] = {
        { "<native> sorted", PYPROF_KIND_NATIVE, 150 }, { "[poll 3 fds]", PYPROF_KIND_WAIT, 140 }, { "[read file /data/in.bin]", PYPROF_KIND_WAIT, 60 },
        { "<native> zlib.compress", PYPROF_KIND_NATIVE, 40 }, { "[GIL]", PYPROF_KIND_WAIT, 40 },
    };
    for (size_t i = 0; i < 5; i++) {
        CHECK_STR(rows[i].name, want[i].name);
        CHECK(rows[i].kind == want[i].kind && rows[i].line == 0 && rows[i].file[0] == 0 && rows[i].self[PYPROF_WALL_NS] == want[i].wall * (int64_t)ms);
        CHECK(!memcmp(rows[i].self, rows[i].total, sizeof rows[i].self));
    }
    // by stack: of the worker; below a function, a file; of the leaf itself
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_LEAF, .thread = "w*" }), 3);
    CHECK_INT(row("<native> sorted", 0)->self[PYPROF_WALL_NS], 50 * ms);
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_LEAF, .function = "load" }), 4);
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_LEAF, .file = "/lib/*" }), 1);
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .group = PYPROF_GROUP_LEAF, .function = "<native>*" }), 2);
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .function = "load", .thread = "w*" }), 1);
    CHECK_INT(row("load", 4)->self[PYPROF_WALL_NS], 110 * ms);
}

TEST(leaves_that_lie_under_no_frame_are_rows)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 1), native = add_leaf(&r, thread_node(&r, thread), "<native>", PYPROF_KIND_NATIVE);
    add_state(&r, thread, native, 10, 2, FREE, 0);
    add_state(&r, thread, add_leaf(&r, native, "[futex]", PYPROF_KIND_WAIT), 30, 3, WAITS, 0);
    add_state(&r, thread, add_leaf(&r, thread_node(&r, thread), "<native>", PYPROF_KIND_PSEUDO), 60, 4, HOLDS, 0);
    add_state(&r, thread, add_leaf(&r, add_frame(&r, thread_node(&r, thread), "x.py", "f", 1, 2), "x.f", PYPROF_KIND_TASK), 100, 1, HOLDS, 0);
    pyprof_profile *profile = seal(&r, 0);
    CHECK_INT(top(profile, (pyprof_query){ .include_idle = 1, .sort = PYPROF_WALL_NS }), 5);
    CHECK_INT(self_of(PYPROF_WALL_NS), 100 * ms);
    CHECK_STR(rows[0].name, "<native>");
    CHECK_STR(rows[1].name, "[futex]");
    // Labels are keys in the JSON: each is of one function only.
    output_text out = written_as(profile, PYPROF_FORMAT_JSON);
    CHECK(is_json(out.data));
    CHECK_INT(occurrences(out.data, "\n  \"<native>\": {"), 1);
    CHECK_INT(occurrences(out.data, "\n  \"<native> (native)\": {"), 1);
    CHECK_INT(occurrences(out.data, "\n  \"x.f (x.py:1)\": {"), 1);
    CHECK_INT(occurrences(out.data, "\n  \"x.f (task)\": {"), 1);
}

TEST(every_metric_sorts)
{
    pyprof_profile *profile = example();
    for (int metric = 0; metric < PYPROF_METRIC_COUNT + 2; metric++)
        for (int by_total = 0; by_total < 2; by_total++) {
            pyprof_query query = { .sort = metric, .by_total = by_total, .include_idle = 1 };
            pyprof_result result = pyprof_top(profile, &query, rows, sizeof *rows, 64, &row_count);
            CHECK_INT(result, !metric || pyprof__metric_row(metric) ? PYPROF_OK : PYPROF_ERR_ARGUMENT);
            for (size_t i = 1; metric && i < row_count; i++)
                CHECK(by_total ? rows[i - 1].total[metric] >= rows[i].total[metric] : rows[i - 1].self[metric] >= rows[i].self[metric]);
        }
    const struct { int metric, by_total; const char *first; } cases[] = {
        { PYPROF_NATIVE_NS, 0, "load" }, { PYPROF_GIL_WAIT_NS, 0, "load" }, { PYPROF_IDLE_NS, 0, "select" }, { PYPROF_EXCEPTIONS, 0, "main" },
        { PYPROF_GIL_NS, 1, "main" }, { PYPROF_CPU_WAIT_NS, 0, "load" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        top(profile, (pyprof_query){ .sort = cases[i].metric, .by_total = cases[i].by_total, .include_idle = 1 });
        CHECK_STR(rows[0].name, cases[i].first);
    }
    CHECK_INT(pyprof_top(profile, &(pyprof_query){ .group = PYPROF_GROUP_LEAF + 1 }, rows, sizeof *rows, 64, &row_count), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_top(profile, &(pyprof_query){ .sort = -1 }, rows, sizeof *rows, 64, &row_count), PYPROF_ERR_ARGUMENT);
}

// ---- source ------------------------------------------------------------------------------------------------------------
static output_text report(const pyprof_profile *profile, int sources)
{
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .sources = sources });
    check_harmless(out.data, 1);
    return out;
}

static void check_source(const char *holds, const char *lacks)
{
    output_text out = report(example(), 0);
    if (!strstr(out.data, holds) || (lacks && strstr(out.data, lacks))) printf("%s\n", out.data);
    CHECK(strstr(out.data, holds));
    CHECK(!lacks || !strstr(out.data, lacks));
}

TEST(source_is_shown_only_if_the_file_is_the_one_that_ran)
{
    in_a_folder();
    check_source("zlib.compress(data)", "changed since");
    write_app(app, sizeof app - 1, 1700000002);          // newer than the recording
    check_source("load  app.py:4  (source changed since)\n", "zlib.compress(data)");
    check_source("     0.01 s     0.19 s     0.04 s       6\n", "zlib.compress(data)");
    write_app(app + 12, sizeof app - 13, 1600000000);    // a line is gone, and the file's time says nothing
    check_source("load  app.py:4  (source changed since)\n", "zlib.compress(data)");
    write_app(app, 80, 1600000000);                       // shorter
    check_source("load  app.py:4  (source changed since)\n", "return");
    write_app(app, 0, 1600000000);
    check_source("load  app.py:4  (source changed since)\n", NULL);
    CHECK_INT(truncate("app.py", (4 << 20) + 1), 0);
    struct timeval old[2] = { { 1600000000, 0 }, { 1600000000, 0 } };
    CHECK_INT(utimes("app.py", old), 0);
    check_source("load  app.py:4\n", "changed since");
    CHECK_INT(unlink("app.py"), 0);
    check_source("load  app.py:4\n", "changed since");
    CHECK_INT(mkfifo("app.py", 0600), 0);                 // nobody writes to it: opening it would wait for ever
    check_source("load  app.py:4\n", "changed since");
    CHECK(unlink("app.py") == 0 && mkdir("app.py", 0700) == 0);
    check_source("load  app.py:4\n", "changed since");
}

TEST(source_of_any_bytes)
{
    in_a_folder();
    char text[5000];
    for (unsigned seed = 1; seed < 60; seed++) {
        size_t size = 0, lines = 3;
        uint32_t state = seed * 2654435761u;
        for (size_t i = 0; i < lines; i++) text[size++] = '\n';
        size += (size_t)sprintf(text + size, "def load():\n");
        while (size < sizeof text) {
            state = state * 1664525u + 1013904223u;
            text[size++] = (char)(state >> 24 < 6 ? '\n' : state >> 24 < 12 ? '\t' : state >> 16);
        }
        write_app(text, size, 1600000000);
        check_json(example(), NULL);
        output_text out = report(example(), 0);
        CHECK(!strstr(out.data, "load  app.py:4  (source changed since)"));
        for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n")) CHECK(strlen(line) < 1000);
        out = written(example(), (pyprof_output){ .format = PYPROF_FORMAT_JSON, .sources = 1 });
        CHECK(is_json(out.data) && strlen(out.data) == out.size);
    }
}

TEST(source_can_be_kept_out)
{
    in_a_folder();
    const struct { pyprof_output output; int text, json; } cases[] = {
        { { .sources = 0 }, 1, 0 }, { { .sources = 1 }, 1, 1 }, { { .sources = -1 }, 0, 0 }, { { .sources = 1, .paths = PYPROF_PATHS_BASE }, 0, 0 },
        { { .sources = 1, .paths = PYPROF_PATHS_HASHED }, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PPROF; format++) {
            pyprof_output output = cases[i].output;
            output.format = format;
            output_text out = written(example(), output);
            int want = format == PYPROF_FORMAT_JSON ? cases[i].json : format == PYPROF_FORMAT_TEXT || format == PYPROF_FORMAT_HTML ? cases[i].text : 0;
            CHECK_INT(strstr(out.data, "sorted(data)") != NULL, want);
        }
}

TEST(targets_obey_paths)
{
    const struct { const char *name, *base, *hashed; } cases[] = {
        { "[read file /a b /data.bin]", "[read file data.bin]", "[read file]" }, { "[recv 127.0.0.1:5432]", "[recv 127.0.0.1:5432]", "[recv]" },
        { "[accept unix:/run/x]", "[accept unix]", "[accept]" }, { "[poll 3 fds]", "[poll 3 fds]", "[poll 3 fds]" }, { "[GIL]", "[GIL]", "[GIL]" },
        { "[recv ::1:80]", "[recv ::1:80]", "[recv]" }, { "", "", "" }, { ":", ":", "" }, { "/", "/", "/" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int paths = PYPROF_PATHS_BASE; paths <= PYPROF_PATHS_HASHED; paths++) {
            recording r;
            recording_begin(&r, NULL);
            r.model.paths = paths;
            CHECK_STR(pyprof__string(&r.model.strings, pyprof__wait_with_paths(&r.model, cases[i].name)),
                      paths == PYPROF_PATHS_BASE ? cases[i].base : cases[i].hashed);
            recording_end(&r);
        }
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PPROF; format++)
        for (int paths = PYPROF_PATHS_FULL; paths <= PYPROF_PATHS_HASHED; paths++) {
            output_text out = written(example(), (pyprof_output){ .format = format, .paths = paths, .filter = &everything });
            const char *wants[] = { "[read file /data/in.bin]", "[read file in.bin]", "[read file]" };
            for (int i = 0; i < 3; i++) CHECK_INT(memmem(out.data, out.size, wants[i], strlen(wants[i])) != NULL, i == paths);
        }
}

// ---- what is left out where there is nothing to say ---------------------------------------------------------------------
TEST(sections_without_content)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 1);
    add_state(&r, thread, add_frame(&r, thread_node(&r, thread), "x.py", "f", 1, 2), 10, 3, HOLDS, 0);
    output_text out = report(seal(&r, 0), 0);
    const char *absent[] = { "\nThe GIL:", "\nWaiting", "\nC functions", "\nExceptions", "\nThe process" };
    for (size_t i = 0; i < 5; i++) CHECK(!strstr(out.data, absent[i]));
    out = report(example(), 0);
    for (size_t i = 0; i < 5; i++) CHECK(strstr(out.data, absent[i]));
}

TEST(the_text_tells_running_and_waiting_apart_whatever_the_filter)
{
    const pyprof_query thread = { .thread = "w*" };
    output_text out = written(example(), (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .filter = &thread });
    CHECK(strstr(out.data, "     0.11 s     0.05 s     0.05 s     0.05 s          -     0.06 s     0.04 s     0.01 s          -   worker (101)\n"));
    CHECK(strstr(out.data, "     0.03 s   worker (101) for MainThread (100)\n"));
    CHECK(!strstr(out.data, "MainThread (100) for") && !strstr(out.data, "poll 3 fds") && !strstr(out.data, "-0."));
    CHECK(strstr(out.data, "Held longest while others waited: 0.020 s by worker (101)"));
}

// ---- JSON --------------------------------------------------------------------------------------------------------------
TEST(states_have_words)
{
    const struct { uint32_t state; const char *word; } cases[] = {
        { 0, "running" }, { HOLDS, "running" }, { NATIVE, "native" }, { FREE, "nogil" }, { WAITS, "waiting" }, { WAITS | PYPROF__IS_IDLE, "idle" },
        { WAITS | PYPROF__WANTS_CPU | NATIVE, "cpu" }, { WAITS | PYPROF__WANTS_GIL, "gil" }, { WAITS | HOLDS, "waiting" }, { FREE | WAITS, "waiting" },
        { HOLDS | PYPROF__IS_RAISING, "running" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) CHECK_STR(pyprof__json_state(cases[i].state), cases[i].word);
}

TEST(json_of_parts)
{
    const pyprof_query queries[] = { { .thread = "poller" }, { .thread = "nobody" }, { .function = "load" }, { .file = "app.py", .include_idle = 1 } };
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) check_json(example(), &queries[i]);
    output_text out = written(example(), (pyprof_output){ .format = PYPROF_FORMAT_JSON, .filter = &queries[0] });
    CHECK(strstr(out.data, "\"gil\": {\"pairs\": [],\n\"holds\": []}"));
}

// ---- visit -------------------------------------------------------------------------------------------------------------
typedef struct { int pairs, holds, facts; char text[2000]; } visited;

static int visit(void *user, const pyprof_item *item)
{
    visited *v = (visited *)user;
    size_t used = strlen(v->text);
    CHECK((item->other != NULL) == (item->kind == PYPROF_ITEM_GIL));
    CHECK((item->process != NULL) == (item->kind == PYPROF_ITEM_MEMORY));
    if (item->kind == PYPROF_ITEM_GIL) {
        v->pairs++;
        snprintf(v->text + used, sizeof v->text - used, "%s for %s %lld\n", item->thread->name, item->other->name,
                 (long long)item->self[PYPROF_GIL_WAIT_NS] / 1000000);
    }
    if (item->kind == PYPROF_ITEM_HOLD) {
        v->holds++;
        snprintf(v->text + used, sizeof v->text - used, "%s %lld until %.2f in %s of %d\n", item->thread->name, (long long)item->self[PYPROF_GIL_NS] / 1000000,
                 item->timestamp, item->stack[item->depth - 1].name, (int)item->depth);
    }
    if (item->kind == PYPROF_ITEM_MEMORY) {
        CHECK_INT(item->process->user_ns, 1000000000 + 250000000 * (int64_t)v->facts);
        CHECK(item->process->resident_bytes == item->self[PYPROF_RESIDENT_BYTES] && item->process->gc_runs == 10 + v->facts);
        v->facts++;
    }
    return 0;
}

TEST(the_visit_tells_of_the_gil_and_the_process)
{
    visited v = { 0 };
    CHECK_INT(pyprof_visit(example(), NULL, visit, &v), PYPROF_OK);
    CHECK(v.pairs == 2 && v.holds == 2 && v.facts == 3);
    CHECK_STR(v.text, "worker for MainThread 30\nMainThread for worker 2\n"
              "MainThread 110 until 1700000000.46 in <native> sorted of 3\nworker 20 until 1700000000.33 in load of 2\n");
    memset(&v, 0, sizeof v);
    CHECK_INT(pyprof_visit(example(), &(pyprof_query){ .thread = "w*" }, visit, &v), PYPROF_OK);
    CHECK_STR(v.text, "worker for MainThread 30\nworker 20 until 1700000000.33 in load of 2\n");
    CHECK_INT(v.facts, 3);
}

// ---- differences -------------------------------------------------------------------------------------------------------
TEST(a_difference_of_states)
{
    recording r;
    recording_begin(&r, NULL);
    record(&r, "worker");
    pyprof_profile *before = seal(&r, 0), *delta;
    uint32_t sorted = AT(pyprof__recorded_thread, r.model.threads, 0).hold_node;
    add_state(&r, 0, sorted, 300, 7, NATIVE, 3);
    AT(pyprof__rivals, r.model.rivals, 0).ns += 5;
    pyprof_profile *after = seal(&r, 0);
    for (int group = PYPROF_GROUP_FUNCTION; group <= PYPROF_GROUP_THREAD; group++) {
        visited v = { 0 };
        CHECK_INT(pyprof_diff(before, after, &(pyprof_diff_options){ .group = group }, &delta), PYPROF_OK);
        CHECK_INT(pyprof_visit(delta, NULL, visit, &v), PYPROF_OK);
        CHECK(v.pairs == 0 && v.holds == 0 && v.facts == 0);
        CHECK_INT(top(delta, (pyprof_query){ .include_idle = 1, .group = group }), 1 + (group < PYPROF_GROUP_FILE && delta->depth > 2));
        CHECK_INT(rows[0].self[PYPROF_NATIVE_NS], 70 * ms);
        CHECK_INT(rows[0].self[PYPROF_GIL_BLOCK_NS], 21 * ms);
        CHECK_INT(rows[0].self[PYPROF_WAIT_NS], 0);
        CHECK_STR(rows[0].name, group == PYPROF_GROUP_THREAD ? "MainThread" : group == PYPROF_GROUP_FILE ? "app.py" : "load");
        output_text out = report(delta, 0);
        CHECK(!strstr(out.data, "GIL:") && is_json(written_as(delta, PYPROF_FORMAT_JSON).data));
        pyprof_profile_free(delta);
    }
    CHECK_INT(pyprof_diff(before, after, &(pyprof_diff_options){ .group = PYPROF_GROUP_LEAF }, &delta), PYPROF_ERR_ARGUMENT);
    size_t leaks;
    CHECK_INT(pyprof_leaks(after, &(pyprof_query){ .group = PYPROF_GROUP_LEAF }, NULL, sizeof(pyprof_leak), 0, &leaks), PYPROF_ERR_ARGUMENT);
}

// ---- memory, hostile names -----------------------------------------------------------------------------------------------
TEST(text_without_memory) { in_a_folder(); each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_TEXT }); }
TEST(json_without_memory) { in_a_folder(); each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_JSON, .sources = 1 }); }
TEST(svg_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_SVG }); }

TEST(hostile_names)
{
    const char *names[] = { HOSTILE, BROKEN };
    for (size_t i = 0; i < 2; i++) {
        recording r;
        recording_begin(&r, NULL);
        record(&r, names[i]);
        uint32_t frame = add_frame(&r, thread_node(&r, 1), names[i], names[i], 1, 2);
        for (int kind = PYPROF_KIND_PYTHON; kind <= PYPROF_KIND_TASK; kind++) {
            if (kind == PYPROF_KIND_THREAD || kind == PYPROF_KIND_PROCESS) continue;
            add_state(&r, 1, add_leaf(&r, frame, names[i], (pyprof_kind)kind), 300 + 10 * (uint64_t)kind, 1, kind == PYPROF_KIND_WAIT ? WAITS : NATIVE, 1);
        }
        pyprof_profile *profile = seal(&r, 0);
        report(profile, 1);
        check_json(profile, NULL);
        check_harmless(written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SVG, .filter = &everything }).data, 1);
    }
}

TEST_MAIN
