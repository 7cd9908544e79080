// The writers for Chrome's developer tools and for the Firefox Profiler: golden files, sums, order of time, hostile names.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"
#include "parsed.h"

enum { MIB = 1024 * 1024 };
static const pyprof_query everything = { .include_idle = 1 };

static uint32_t add_pseudo(recording *r, uint32_t parent, const char *name, pyprof_kind kind)
{
    return pyprof__model_node(&r->model, parent, pyprof__model_pseudo(&r->model, name, kind, 0));
}

// One sample of 10 ms in a state.
static void add_moment(recording *r, uint32_t member, uint32_t node, uint64_t at, uint32_t state)
{
    pyprof__moment moment;
    memset(&moment, 0, sizeof moment);
    moment.end_ns = r->model.start_ns + at * ms;
    moment.start_ns = moment.end_ns - 10 * ms;
    moment.wall_ns = 10 * ms + 1234;
    moment.cpu_ns = state & PYPROF__IS_WAITING ? 0 : 9 * ms + 567;
    moment.thread = member;
    moment.node = node;
    moment.count = 1;
    moment.state = state;
    pyprof__model_columns(&r->model, &moment);
    pyprof__model_moment(&r->model, &moment, &r->last[member]);
    if (moment.end_ns > r->model.last_ns) r->model.last_ns = moment.end_ns;
    r->model.recorded_ns = r->model.last_ns - r->model.start_ns;
}

// Three threads, the second one the busiest; recursion, two lines of one function, C, waits, GC, an import; time that is not
// on the time line, lost time; memory and gauges.
static void record(recording *r, const char *name)
{
    uint32_t main_thread = add_thread(r, "MainThread", 100), worker = add_thread(r, name, 101), idle = add_thread(r, "idle", 102);
    uint32_t top = add_frame(r, thread_node(r, main_thread), "/srv/my app/main.py", "<module>", 1, 30);
    uint32_t run = add_frame(r, top, "/srv/my app/main.py", "App.run", 10, 14);
    uint32_t again = add_frame(r, top, "/srv/my app/main.py", "App.run", 10, 15);
    uint32_t zlib = add_pseudo(r, again, "<native> zlib.compress", PYPROF_KIND_NATIVE);
    uint32_t gil = add_pseudo(r, run, "[GIL]", PYPROF_KIND_WAIT);
    uint32_t import = add_pseudo(r, top, "<import json>", PYPROF_KIND_PSEUDO);
    uint32_t load = add_frame(r, import, "<frozen importlib._bootstrap>", "_load", 3, 5);
    uint32_t start = add_frame(r, thread_node(r, worker), name, name, 7, 8);
    uint32_t fib = add_frame(r, start, "/srv/my app/fib.py", "fib", 3, 5), fib2 = add_frame(r, fib, "/srv/my app/fib.py", "fib", 3, 5);
    uint32_t gc = add_pseudo(r, fib, "<GC>", PYPROF_KIND_PSEUDO);
    uint32_t sleep = add_pseudo(r, add_frame(r, thread_node(r, idle), "/usr/lib/python3/threading.py", "Event.wait", 640, 655), "[sleep]", PYPROF_KIND_WAIT);
    uint32_t lost = add_pseudo(r, thread_node(r, worker), "<lost>", PYPROF_KIND_PSEUDO);
    const uint32_t held = PYPROF__HAS_GIL;
    for (uint64_t at = 10; at <= 150; at += 10) {
        add_moment(r, worker, at == 60 ? gc : at % 40 ? fib2 : at == 80 ? start : fib, at, at == 20 ? held | PYPROF__IS_RAISING : held);
        add_moment(r, idle, sleep, at, PYPROF__IS_WAITING | PYPROF__IS_IDLE);
        if (at == 100) continue;   // nobody saw the main thread
        add_moment(r, main_thread, at <= 30 ? load : at == 40 ? gil : at <= 60 ? run : at <= 80 ? zlib : again, at,
                   at == 40 ? PYPROF__IS_WAITING | PYPROF__WANTS_GIL : at > 60 && at <= 80 ? PYPROF__IS_NATIVE | PYPROF__IS_NOGIL : held);
    }
    add_values(r, lost, 0, 7 * (int64_t)ms, 0, 0);
    add_values(r, run, 2, 20 * (int64_t)ms + 999, 18 * (int64_t)ms, 0);   // no longer on the time line
    add_blocks(r, load, 1000, 5000, 2000, 3000);
    add_blocks(r, fib2, 3 * MIB, 5, 2, 3);
    add_blocks(r, start, 512, 70, 0, 7);
    for (uint64_t i = 0; i < 4; i++) {
        add_gauge(r, i * 50, (int64_t)(40 + i * i) * MIB, (int64_t)(8 - i) * MIB);
        AT(pyprof__gauge, r->model.gauges, i).facts.user_ns = (int64_t)(i * 80 * ms);
        AT(pyprof__gauge, r->model.gauges, i).facts.threads = 3;
    }
    r->model.heap.mode = PYPROF_HEAP_EXACT;
}

static pyprof_profile *example(const char *name)
{
    recording r;
    recording_begin(&r, NULL);
    record(&r, name);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

static const parsed *parsed_as(const pyprof_profile *profile, pyprof_output output) { return parse(written(profile, output).data); }

static int64_t selected(const pyprof_profile *profile, pyprof_output output, int metric)
{
    pyprof_info info;
    CHECK_INT(pyprof_profile_info(profile, &info), PYPROF_OK);
    CHECK(!output.filter || (!output.filter->thread && !output.filter->function));
    return info.total[metric];
}

// ---- golden files ----------------------------------------------------------------------------------------------------
TEST(golden_cpuprofile) { golden("example.cpuprofile", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_CPUPROFILE, .filter = &everything }); }
TEST(golden_heapprofile) { golden("memory.heapprofile", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_HEAPPROFILE }); }
TEST(golden_trace) { golden("example.trace.json", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_TRACE, .filter = &everything }); }
TEST(golden_firefox) { golden("example.firefox.json", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_FIREFOX, .filter = &everything }); }

// ---- cpuprofile --------------------------------------------------------------------------------------------------
// Sums and structure; -> microseconds.
static int64_t check_cpuprofile(const pyprof_profile *profile, pyprof_output output)
{
    output.format = PYPROF_FORMAT_CPUPROFILE;
    const parsed *all = parsed_as(profile, output), *nodes = get(all, "nodes"), *node = nodes->first, *child;
    const parsed *sample = get(all, "samples")->first, *delta = get(all, "timeDeltas")->first;
    long long most = 0, sum = 0, ticks = 0, *used;
    for (; node; node = node->next) if (get(node, "id")->integer > most) most = get(node, "id")->integer;
    used = calloc((size_t)most + 1, sizeof *used);
    node = nodes->first;
    CHECK_STR(get(get(node, "callFrame"), "functionName")->text, "(root)");
    CHECK_INT(get(node, "id")->integer, 1);
    used[1] = 1;
    for (; node; node = node->next) {   // a node's number is in its parent's children, before it
        CHECK_INT(used[get(node, "id")->integer]++, 1);
        for (child = get(node, "children")->first; child; child = child->next) {
            CHECK(child->integer <= most);
            CHECK_INT(used[child->integer]++, 0);
        }
        ticks = 0;
        for (child = get(node, "positionTicks")->first; child; child = child->next) {
            CHECK(get(child, "line")->integer > 0);
            ticks += get(child, "ticks")->integer;
        }
        CHECK(ticks == get(node, "hitCount")->integer || (ticks == 0 && !get(get(node, "callFrame"), "url")->text[0]));
    }
    for (long long id = 1; id <= most; id++) CHECK(used[id] != 1);
    CHECK_INT(get(all, "samples")->count, get(all, "timeDeltas")->count);
    CHECK_INT(delta->integer, 0);
    for (; sample; sample = sample->next, delta = delta->next) {
        CHECK(used[sample->integer] == 2);
        CHECK(delta->integer >= 0);
        CHECK((sample->next == NULL) == (sample->integer == 1) || get(all, "samples")->count > 1);
        sum += delta->integer;
    }
    CHECK_INT(get(all, "endTime")->integer - get(all, "startTime")->integer, sum);
    return sum;
}

TEST(cpuprofile_has_all_time)
{
    const pyprof_output outputs[] = { { .filter = &everything }, { .filter = &everything, .lines = 1 }, { .filter = &everything, .metric = PYPROF_CPU_NS },
                                      { .filter = &everything, .metric = PYPROF_GIL_WAIT_NS }, { .filter = &everything, .paths = PYPROF_PATHS_HASHED } };
    pyprof_profile *profile = example(HOSTILE);
    for (size_t i = 0; i < COUNT(outputs); i++)
        CHECK_INT(check_cpuprofile(profile, outputs[i]), selected(profile, outputs[i], outputs[i].metric ? outputs[i].metric : PYPROF_WALL_NS) / 1000);
}

TEST(cpuprofile_of_chance)
{
    for (uint64_t number = 0; number < 24; number++) {
        pyprof_profile *profile = some_profile(number);
        for (int metric = PYPROF_WALL_NS; metric < PYPROF_METRIC_COUNT; metric++) {
            const pyprof__metric *row = pyprof__metric_row(metric);
            if (!row || row->unit != PYPROF__UNIT_NS || !pyprof__has_metric(profile, metric)) continue;
            pyprof_output output = { .metric = metric, .filter = &everything, .lines = number % 2 };
            CHECK_INT(check_cpuprofile(profile, output), selected(profile, output, metric) / 1000);
        }
    }
}

// ---- heapprofile -------------------------------------------------------------------------------------------------
static int64_t heap_sum(const parsed *node, int64_t *by_id, int64_t most)
{
    int64_t sum = get(node, "selfSize")->integer, id = get(node, "id")->integer;
    CHECK(id > 0 && id <= most && by_id[id] == -1);
    by_id[id] = sum;
    for (const parsed *child = get(node, "children")->first; child; child = child->next) sum += heap_sum(child, by_id, most);
    return sum;
}

static int64_t check_heapprofile(const pyprof_profile *profile, pyprof_output output)
{
    output.format = PYPROF_FORMAT_HEAPPROFILE;
    const parsed *all = parsed_as(profile, output);
    int64_t most = 2 * (int64_t)profile->model.nodes.count, *by_id = malloc(((size_t)most + 1) * sizeof *by_id), sum, samples = 0, ordinal = 0;
    for (int64_t i = 0; i <= most; i++) by_id[i] = -1;
    CHECK_STR(get(get(get(all, "head"), "callFrame"), "functionName")->text, "(root)");
    sum = heap_sum(get(all, "head"), by_id, most);
    for (const parsed *sample = get(all, "samples")->first; sample; sample = sample->next) {
        CHECK_INT(get(sample, "size")->integer, by_id[get(sample, "nodeId")->integer]);
        CHECK_INT(get(sample, "ordinal")->integer, ++ordinal);
        samples += get(sample, "size")->integer;
    }
    CHECK_INT(samples, sum);
    return sum;
}

TEST(heapprofile_has_all_bytes)
{
    static const int metrics[] = { PYPROF_LIVE_BYTES, PYPROF_ALLOC_BYTES, PYPROF_PEAK_BYTES };
    for (uint64_t number = 0; number < 24; number++) {
        pyprof_profile *profile = number ? some_profile(number) : example(HOSTILE);
        for (size_t i = 0; i < COUNT(metrics); i++) {
            pyprof_output output = { .metric = metrics[i], .split_threads = number % 2, .lines = number % 3 == 0 };
            if (pyprof__has_metric(profile, metrics[i])) CHECK_INT(check_heapprofile(profile, output), selected(profile, output, metrics[i]));
        }
    }
}

// ---- trace events ------------------------------------------------------------------------------------------------
static const int trace_metrics[] = { PYPROF_SAMPLES, PYPROF_WALL_NS, PYPROF_CPU_NS, PYPROF_WAIT_NS, PYPROF_GIL_NS, PYPROF_GIL_WAIT_NS };
typedef struct { double start, end, inside; long long tid; } slice;

// Slices of a thread nest, and come with the outer one first.
static void check_nesting(const parsed *events)
{
    slice open[400];
    size_t depth = 0;
    for (const parsed *event = events->first; event; event = event->next) {
        if (get(event, "ph")->text[0] != 'X') continue;
        slice at = { get(event, "ts")->number, get(event, "ts")->number + get(event, "dur")->number, 0, get(event, "tid")->integer };
        CHECK(at.end >= at.start);
        if (depth && open[0].tid != at.tid) depth = 0;
        while (depth && open[depth - 1].end <= at.start + 1e-6 && !(open[depth - 1].end >= at.end - 1e-6 && at.end - at.start < 1e-6)) depth--;
        if (depth && open[depth - 1].end < at.end - 1e-6) printf("%f %f in %f %f\n", at.start, at.end, open[depth - 1].start, open[depth - 1].end);
        CHECK(!depth || (open[depth - 1].start <= at.start + 1e-6 && open[depth - 1].end >= at.end - 1e-6));
        CHECK(depth < COUNT(open));
        open[depth++] = at;
    }
}

static void check_trace(const pyprof_profile *profile, pyprof_output output)
{
    output.format = PYPROF_FORMAT_TRACE;
    const parsed *all = parsed_as(profile, output), *events = get(all, "traceEvents");
    int64_t sums[COUNT(trace_metrics)] = { 0 };
    for (const parsed *event = events->first; event; event = event->next) {
        CHECK(strchr("MCX", get(event, "ph")->text[0]) != NULL);
        CHECK(get(event, "ts")->number >= 0);
        CHECK(get(event, "pid")->type == '0' && get(event, "tid")->type == '0');
        for (size_t i = 0; has(event, "args") && i < COUNT(trace_metrics); i++) {
            const char *key = pyprof__metric_row(trace_metrics[i])->key;
            if (has(get(event, "args"), key)) sums[i] += get(get(event, "args"), key)->integer;
        }
    }
    check_nesting(events);
    for (size_t i = 0; i < COUNT(trace_metrics); i++)
        if (!output.metric || output.metric == trace_metrics[i]) CHECK_INT(sums[i], selected(profile, output, trace_metrics[i]));
}

TEST(trace_has_all_time)
{
    for (uint64_t number = 0; number < 24; number++) {
        pyprof_profile *profile = number ? some_profile(number) : example(HOSTILE);
        check_trace(profile, (pyprof_output){ .filter = &everything, .lines = number % 2 });
        for (size_t i = 0; i < COUNT(trace_metrics); i++) check_trace(profile, (pyprof_output){ .filter = &everything, .metric = trace_metrics[i] });
    }
}

// What a slice is called, when it was, and whose it is
static void check_slice(const parsed *events, const char *name, long long tid, double ts, double dur)
{
    int found = 0;
    for (const parsed *event = events->first; event; event = event->next)
        found += get(event, "ph")->text[0] == 'X' && !strcmp(get(event, "name")->text, name) && get(event, "tid")->integer == tid
            && get(event, "ts")->number == ts && get(event, "dur")->number == dur;
    if (found != 1) printf("%s: %d\n", name, found);
    CHECK_INT(found, 1);
}

TEST(trace_slices_are_where_the_samples_were)
{
    const parsed *events = get(parsed_as(example("w"), (pyprof_output){ .format = PYPROF_FORMAT_TRACE, .filter = &everything }), "traceEvents");
    check_slice(events, "main.<module>", 100, 0, 90000);        // then nobody saw it for 10 ms
    check_slice(events, "main.<module>", 100, 100000, 50000);
    check_slice(events, "<import json>", 100, 0, 30000);
    check_slice(events, "main.App.run", 100, 30000, 60000);     // two lines of it, one slice
    check_slice(events, "[GIL]", 100, 30000, 10000);
    check_slice(events, "<native> zlib.compress", 100, 60000, 20000);
    check_slice(events, "w.w", 101, 0, 150000);
    check_slice(events, "<GC>", 101, 50000, 10000);
    check_slice(events, "not on the time line", 100, 150000, 20000.999);
    check_slice(events, "<lost>", 101, 150000, 7000);
    check_slice(events, "[sleep]", 102, 0, 150000);
}

TEST(trace_counters_of_the_process)
{
    const parsed *events = get(parsed_as(example("w"), (pyprof_output){ .format = PYPROF_FORMAT_TRACE }), "traceEvents");
    int resident = 0, traced = 0, cpu = 0;
    for (const parsed *event = events->first; event; event = event->next) {
        if (get(event, "ph")->text[0] != 'C') continue;
        const parsed *args = get(event, "args");
        if (has(args, "percent")) { CHECK_INT(get(args, "percent")->integer, 160); CHECK_INT(get(event, "ts")->integer, 50000 * cpu++); continue; }
        if (!strcmp(get(event, "name")->text, "resident memory")) { CHECK_INT(get(args, "bytes")->integer, (40 + resident * resident) * MIB); resident++; }
        else { CHECK_STR(get(event, "name")->text, "traced memory"); CHECK_INT(get(args, "bytes")->integer, (8 - traced) * MIB); traced++; }
    }
    CHECK_INT(resident, 4);
    CHECK_INT(traced, 4);
    CHECK_INT(cpu, 3);
}

// ---- firefox -----------------------------------------------------------------------------------------------------
// Value i of a column; it must be there.
static const parsed *cell(const parsed *table, const char *column, long long i)
{
    const parsed *value = get(table, column)->first;
    CHECK(i >= 0 && i < get(table, "length")->integer);
    while (i-- > 0) value = value->next;
    return value;
}

// All columns of a table are equally long.
static void check_table(const parsed *table)
{
    for (const parsed *column = table->first; column; column = column->next)
        if (column->type == '[') CHECK_INT(column->count, get(table, "length")->integer);
}

// Every number refers to a row, every stack to one before it.
static void check_indexes(const parsed *all, const parsed *thread)
{
    static const struct { const char *table, *column, *to; } links[] = {
        { "samples", "stack", "stackTable" }, { "stackTable", "prefix", "stackTable" }, { "stackTable", "frame", "frameTable" },
        { "frameTable", "func", "funcTable" }, { "frameTable", "category", "categories" }, { "funcTable", "name", "stringArray" },
        { "funcTable", "fileName", "stringArray" }, { "markers", "name", "stringArray" }, { "markers", "category", "categories" },
        { "nativeAllocations", "stack", "stackTable" },
    };
    for (size_t i = 0; i < COUNT(links); i++) {
        long long rows = !strcmp(links[i].to, "categories") ? (long long)get(get(all, "meta"), "categories")->count
            : !strcmp(links[i].to, "stringArray") ? (long long)get(get(all, "shared"), "stringArray")->count : get(get(thread, links[i].to), "length")->integer, row = 0;
        if (!has(thread, links[i].table)) continue;
        check_table(get(thread, links[i].table));
        for (const parsed *value = get(get(thread, links[i].table), links[i].column)->first; value; value = value->next, row++)
            CHECK(value->type == 'n' || (value->integer >= 0 && value->integer < (links[i].to == links[i].table ? row : rows)));
    }
}

static void check_firefox(const pyprof_profile *profile, pyprof_output output, int metric)
{
    output.format = PYPROF_FORMAT_FIREFOX;
    const parsed *all = parsed_as(profile, output);
    int unit = pyprof__metric_row(metric)->unit;
    int64_t cpu = 0, live = 0, allocated = 0;
    double sum = 0, last;
    CHECK_INT(get(get(all, "meta"), "preprocessedProfileVersion")->integer, 57);
    for (const parsed *thread = get(all, "threads")->first; thread; thread = thread->next) {
        const parsed *samples = get(thread, "samples");
        check_indexes(all, thread);
        CHECK_STR(get(samples, "weightType")->text, unit == PYPROF__UNIT_NS ? "tracing-ms" : unit == PYPROF__UNIT_BYTES ? "bytes" : "samples");
        last = 0;
        for (const parsed *time = get(samples, "time")->first; time; time = time->next) { CHECK(time->number >= last); last = time->number; }
        for (const parsed *weight = get(samples, "weight")->first; weight; weight = weight->next) sum += weight->number;
        for (const parsed *used = get(samples, "threadCPUDelta")->first; used; used = used->next) cpu += used->integer;
        CHECK(cell(samples, "stack", get(samples, "length")->integer - 1)->type == 'n');
        if (!has(thread, "nativeAllocations")) continue;
        CHECK(get(get(thread, "nativeAllocations"), "length")->integer > 0);   // the Profiler cannot bear a table without rows
        for (const parsed *bytes = get(get(thread, "nativeAllocations"), "weight")->first; bytes; bytes = bytes->next) {
            live += bytes->integer;
            if (bytes->integer > 0) allocated += bytes->integer;
        }
    }
    CHECK_INT((int64_t)(sum * (unit == PYPROF__UNIT_NS ? 1e6 : 1) + 0.5), selected(profile, output, metric));
    if (metric == PYPROF_WALL_NS || metric == PYPROF_CPU_NS) CHECK_INT(cpu, selected(profile, output, PYPROF_CPU_NS));
    if (profile->model.heap.mode != PYPROF_HEAP_OFF) {
        CHECK_INT(live, selected(profile, output, PYPROF_LIVE_BYTES));
        CHECK(allocated >= selected(profile, output, PYPROF_ALLOC_BYTES));
    }
}

TEST(firefox_has_all_of_it)
{
    static const int metrics[] = { PYPROF_WALL_NS, PYPROF_CPU_NS, PYPROF_SAMPLES, PYPROF_GIL_WAIT_NS, PYPROF_LIVE_BYTES, PYPROF_ALLOC_BYTES };
    for (uint64_t number = 0; number < 24; number++) {
        pyprof_profile *profile = number ? some_profile(number) : example(HOSTILE);
        for (size_t i = 0; i < COUNT(metrics); i++)
            if (pyprof__has_metric(profile, metrics[i]))
                check_firefox(profile, (pyprof_output){ .filter = &everything, .metric = metrics[i], .lines = number % 2 }, metrics[i]);
    }
}

TEST(firefox_samples_are_where_they_were)
{
    const parsed *all = parsed_as(example("w"), (pyprof_output){ .format = PYPROF_FORMAT_FIREFOX, .filter = &everything });
    const parsed *thread = get(all, "threads")->first->next, *samples = get(thread, "samples"), *markers = get(thread, "markers");
    static const double times[] = { 0, 30, 40, 60, 80, 90, 100, 150, 170.000999 };   // load, [GIL], run, zlib, again, nobody, again, the rest, the end
    CHECK_STR(get(thread, "name")->text, "MainThread");
    CHECK_INT(get(samples, "length")->integer, COUNT(times));
    for (size_t i = 0; i < COUNT(times); i++) CHECK(cell(samples, "time", (long long)i)->number == times[i]);
    CHECK(cell(samples, "stack", 5)->type == 'n' && cell(samples, "weight", 5)->integer == 0);
    CHECK_INT(cell(samples, "threadCPUDelta", 0)->integer, 0);
    CHECK_INT(cell(samples, "threadCPUDelta", 1)->integer, 3 * (9 * ms + 567));
    CHECK_INT(get(markers, "length")->integer, 2);
    CHECK(cell(markers, "startTime", 0)->number == 30 && cell(markers, "endTime", 0)->number == 40);
    CHECK_STR(get(cell(markers, "data", 0), "type")->text, "GIL wait");
    CHECK_STR(get(cell(markers, "data", 1), "type")->text, "not on the time line");
    const parsed *counters = get(all, "counters");
    CHECK_INT(counters->count, 3);
    CHECK_INT(get(get(counters->first, "samples"), "count")->first->integer, 40 * MIB);
    CHECK_INT(get(get(counters->first, "samples"), "count")->first->next->integer, MIB);
}

TEST(a_recording_of_memory_alone_has_its_time_line)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 100);
    add_blocks(&r, add_frame(&r, thread_node(&r, thread), "a.py", "f", 1, 2), 100, 10, 5, 7);
    add_gauge(&r, 0, MIB, 10);
    add_gauge(&r, 500, 2 * MIB, 30);
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    r.model.recorded_ns = 600 * ms;
    pyprof_profile *profile = seal(&r, 0);
    const parsed *fox = parsed_as(profile, (pyprof_output){ .format = PYPROF_FORMAT_FIREFOX }), *table = get(get(fox, "threads")->first, "samples");
    check_firefox(profile, (pyprof_output){ .title = "t" }, PYPROF_WALL_NS);
    CHECK_INT(get(table, "length")->integer, 2);
    CHECK(cell(table, "time", 1)->number == 600 && cell(table, "stack", 0)->type == 'n');
    CHECK_INT(get(fox, "counters")->count, 3);
    CHECK_INT(occurrences(written_as(profile, PYPROF_FORMAT_TRACE).data, "\"ph\": \"C\""), 2 + 2 + 1);
    check_cpuprofile(profile, (pyprof_output){ .title = "t" });
    CHECK_INT(check_heapprofile(profile, (pyprof_output){ .title = "t" }), 500);
}

TEST(a_recording_of_nothing)
{
    recording r;
    recording_begin(&r, NULL);
    pyprof_profile *profile = seal(&r, 0);
    check_firefox(profile, (pyprof_output){ .title = "t" }, PYPROF_WALL_NS);
    check_cpuprofile(profile, (pyprof_output){ .title = "t" });
    check_trace(profile, (pyprof_output){ .title = "t" });
}

// ---- the same in all of them -------------------------------------------------------------------------------------
// Sums of a query in each format: microseconds, nanoseconds of slices, nanoseconds of samples.
static void check_agreement(const pyprof_profile *profile, const pyprof_query *filter, int metric)
{
    pyprof_output output = { .filter = filter, .metric = metric, .format = PYPROF_FORMAT_TRACE };
    int64_t us = check_cpuprofile(profile, output), slices = 0, samples = 0;
    for (const parsed *event = get(parsed_as(profile, output), "traceEvents")->first; event; event = event->next) {
        const parsed *args = has(event, "args") ? get(event, "args") : NULL;
        if (args && has(args, pyprof__metric_row(metric)->key)) slices += get(args, pyprof__metric_row(metric)->key)->integer;
    }
    output.format = PYPROF_FORMAT_FIREFOX;
    for (const parsed *thread = get(parsed_as(profile, output), "threads")->first; thread; thread = thread->next)
        for (const parsed *weight = get(get(thread, "samples"), "weight")->first; weight; weight = weight->next)
            samples += (int64_t)(weight->number * 1e6 + 0.5);
    CHECK_INT(samples, slices);
    CHECK_INT(slices / 1000, us);
}

TEST(all_agree_on_any_query)
{
    const pyprof_query queries[] = {
        { .thread = "w*" }, { .function = "*fib*" }, { .file = "*main.py", .include_idle = 1 }, { .states = PYPROF_STATES_RUNNING }, { .states = PYPROF_STATES_WAITING },
        { .states = PYPROF_STATES_GIL }, { .states = PYPROF_STATES_NATIVE }, { .thread = "nobody" }, { .states = PYPROF_STATES_ALL },
    };
    for (uint64_t number = 0; number < 12; number++) {
        pyprof_profile *profile = number ? some_profile(number) : example(HOSTILE);
        check_agreement(profile, NULL, PYPROF_WALL_NS);
        for (size_t i = 0; i < COUNT(queries); i++) {
            check_agreement(profile, &queries[i], PYPROF_WALL_NS);
            if (!queries[i].states) check_agreement(profile, &queries[i], PYPROF_CPU_NS);
        }
    }
}

TEST(files_say_that_idle_time_is_left_out)
{
    static const int timed[] = { PYPROF_FORMAT_CPUPROFILE, PYPROF_FORMAT_TRACE, PYPROF_FORMAT_FIREFOX };
    pyprof_profile *profile = example("w");
    for (size_t i = 0; i < COUNT(timed); i++) {
        CHECK_INT(occurrences(written_as(profile, timed[i]).data, "\"0.15 thread-seconds of waiting for work left out\""), 1);
        CHECK_INT(occurrences(written(profile, (pyprof_output){ .format = timed[i], .filter = &everything }).data, "left out"), 0);
    }
}

// Two recordings of one process id in one profile: each is a process of its own, with its threads.
TEST(merged_recordings_are_apart)
{
    const pyprof_profile *both[2] = { example("w"), example("w") };
    pyprof_profile *merged = NULL;
    long long pids[16] = { 0 }, tids[16] = { 0 };
    int names = 0;
    CHECK_INT(pyprof_merge(both, 2, NULL, &merged), PYPROF_OK);
    check_agreement(merged, &everything, PYPROF_WALL_NS);
    check_trace(merged, (pyprof_output){ .filter = &everything });
    check_firefox(merged, (pyprof_output){ .filter = &everything }, PYPROF_WALL_NS);
    const parsed *events = get(parsed_as(merged, (pyprof_output){ .format = PYPROF_FORMAT_TRACE, .filter = &everything }), "traceEvents");
    for (const parsed *event = events->first; event; event = event->next) {
        if (get(event, "ph")->text[0] != 'M' || strcmp(get(event, "name")->text, "thread_name")) continue;
        for (int i = 0; i < names; i++) CHECK(pids[i] != get(event, "pid")->integer || tids[i] != get(event, "tid")->integer);
        pids[names] = get(event, "pid")->integer;
        tids[names++] = get(event, "tid")->integer;
    }
    CHECK_INT(names, 6);
}

// ---- what each of them refuses ---------------------------------------------------------------------------------------
TEST(metrics_that_a_format_cannot_hold_are_refused)
{
    static const struct { int format, metric; const char *why; } cases[] = {
        { PYPROF_FORMAT_CPUPROFILE, PYPROF_LIVE_BYTES, ".cpuprofile holds time, not live bytes" },
        { PYPROF_FORMAT_CPUPROFILE, PYPROF_SAMPLES, ".cpuprofile holds time, not samples" },
        { PYPROF_FORMAT_HEAPPROFILE, PYPROF_WALL_NS, ".heapprofile holds bytes, not wall time" },
        { PYPROF_FORMAT_HEAPPROFILE, PYPROF_LIVE_BLOCKS, ".heapprofile holds bytes, not live blocks" },
        { PYPROF_FORMAT_TRACE, PYPROF_LIVE_BYTES, ".trace.json holds time, not live bytes" },
        { PYPROF_FORMAT_FIREFOX, PYPROF_LIVE_BLOCKS, ".firefox.json holds time, samples and bytes, not live blocks" },
    };
    pyprof_profile *profile = example("w");
    for (size_t i = 0; i < COUNT(cases); i++) {
        output_text out = { calloc(1, 1), 0 };
        pyprof_output output = { .format = cases[i].format, .metric = cases[i].metric };
        CHECK_INT(pyprof_write(profile, &output, append, &out), PYPROF_ERR_UNSUPPORTED);
        CHECK_STR(pyprof_last_error(), cases[i].why);
        CHECK_INT(out.size, 0);
    }
}

static const int formats[] = { PYPROF_FORMAT_CPUPROFILE, PYPROF_FORMAT_HEAPPROFILE, PYPROF_FORMAT_TRACE, PYPROF_FORMAT_FIREFOX };

TEST(a_difference_is_refused)
{
    pyprof_profile *profile = example("w"), *delta;
    CHECK_INT(pyprof_diff(profile, example("w"), NULL, &delta), PYPROF_OK);
    for (size_t i = 0; i < COUNT(formats); i++) {
        output_text out = { calloc(1, 1), 0 };
        CHECK_INT(pyprof_write(delta, &(pyprof_output){ .format = formats[i] }, append, &out), PYPROF_ERR_UNSUPPORTED);
        CHECK_INT(out.size, 0);
    }
}

TEST(each_allocation_can_fail)
{
    for (size_t i = 0; i < COUNT(formats); i++) each_allocation_fails_once(record, (pyprof_output){ .format = formats[i] });
}

TEST(hostile_names_are_strict_json)
{
    const char *names[] = { HOSTILE, BROKEN };
    for (size_t i = 0; i < 2 * COUNT(formats); i++) {
        output_text out = written(example(names[i % 2]), (pyprof_output){ .format = formats[i / 2], .title = names[i % 2], .filter = &everything });
        CHECK(is_json(out.data));
        CHECK_INT(occurrences(out.data, "</"), 0);
    }
}

TEST(folders_can_be_left_out)
{
    for (size_t i = 0; i < COUNT(formats); i++)
        for (int paths = PYPROF_PATHS_FULL; paths <= PYPROF_PATHS_HASHED; paths++)
            CHECK_INT(occurrences(written(example("w"), (pyprof_output){ .format = formats[i], .paths = paths }).data, "/srv/") > 0, paths == PYPROF_PATHS_FULL);
}

TEST_MAIN
