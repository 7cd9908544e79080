// The writers for classic tools: pstats, callgrind, perf script, massif, DHAT, tables, lcov. What was written is read back by
// strict readers: its structure, its sums, on recordings that chance made. Golden files are in test_writers.c and
// test_memory_writers.c.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"
#include "parsed.h"

enum { PROFILES = 24 };

// For each profile and metric that it has, with and without threads apart.
static void each_metric(void (*check)(const pyprof_profile *profile, pyprof_output output))
{
    static const pyprof_query idle_too = { .include_idle = 1 };
    for (uint64_t number = 0; number < PROFILES; number++) {
        pyprof_profile *profile = some_profile(number);
        for (size_t i = 0; i < COUNT(pyprof__metrics); i++) {
            int metric = pyprof__metrics[i].metric;
            if (!pyprof__has_metric(profile, metric)) continue;
            check(profile, (pyprof_output){ .metric = metric, .split_threads = (int)(number % 2), .filter = number % 4 > 1 ? &idle_too : NULL });
        }
        pyprof_profile_free(profile);
    }
}

// What the output is a picture of; free it with pyprof__selection_free.
static pyprof__selection selected(const pyprof_profile *profile, pyprof_output output)
{
    pyprof__selection selection;
    size_t row = 0;
    while (pyprof__formats[row].format != output.format) row++;
    CHECK(pyprof__select(&selection, profile, output.filter, pyprof__states_written(&output, row)));
    return selection;
}

// ---- pstats: a reader of marshal ---------------------------------------------------------------------------------------
typedef struct { const char *at, *end; } marshal;
typedef struct { char file[400], name[400]; int64_t line, calls, own_calls; double self, total; } pstats_row;

static uint64_t little(marshal *m, int bytes)
{
    uint64_t value = 0;
    CHECK(m->end - m->at >= bytes);
    for (int i = 0; i < bytes; i++) value |= (uint64_t)(unsigned char)*m->at++ << (8 * i);
    return value;
}

static void marshal_op(marshal *m, char op) { CHECK_INT(*m->at, op); m->at++; }

static int64_t marshal_int(marshal *m)
{
    if (*m->at == 'i') return m->at++, (int32_t)little(m, 4);
    marshal_op(m, 'l');
    int digits = (int)little(m, 4);
    int64_t value = 0;
    for (int i = 0; i < digits; i++) value |= (int64_t)little(m, 2) << (15 * i);
    CHECK(value > INT32_MAX);
    return value;
}

static double marshal_double(marshal *m)
{
    double value;
    marshal_op(m, 'g');
    uint64_t bits = little(m, 8);
    memcpy(&value, &bits, 8);
    return value;
}

static void marshal_text(marshal *m, char *text, size_t capacity)
{
    marshal_op(m, 'u');
    size_t size = little(m, 4);
    CHECK(size < capacity && m->end - m->at >= (long long)size);
    memcpy(text, m->at, size);
    text[size] = '\0';
    m->at += size;
    for (size_t at = 0, n; at < size; at += n) CHECK(pyprof__utf8_next(text + at, &n) != 0xfffd || n == 3);
}

static void marshal_tuple(marshal *m, uint64_t size) { marshal_op(m, '('); CHECK_INT(little(m, 4), size); }

static void marshal_row(marshal *m, pstats_row *row, uint64_t size)
{
    marshal_tuple(m, 3);
    marshal_text(m, row->file, sizeof row->file);
    row->line = marshal_int(m);
    marshal_text(m, row->name, sizeof row->name);
    marshal_tuple(m, size);
    row->calls = marshal_int(m);
    row->own_calls = marshal_int(m);
    row->self = marshal_double(m);
    row->total = marshal_double(m);
    CHECK(row->calls == row->own_calls && row->calls >= 1);
    CHECK(row->self >= 0 && row->total >= row->self - 1e-9);
}

static int same_row(const pstats_row *a, const pstats_row *b) { return a->line == b->line && !strcmp(a->name, b->name) && !strcmp(a->file, b->file); }
static double off(double a, double b) { return a > b ? a - b : b - a; }

static void check_pstats(const pyprof_profile *profile, pyprof_output output)
{
    static pstats_row rows[4000], callers[40000];
    size_t count = 0, calls = 0, roots = 0;
    double unit = pyprof__metric_row(output.metric)->unit == PYPROF__UNIT_NS ? 1e9 : 1, sum = 0, most = 0, all;
    output.format = PYPROF_FORMAT_PSTATS;
    output_text out = written(profile, output);
    pyprof__selection selection = selected(profile, output);
    marshal m = { out.data, out.data + out.size };
    for (marshal_op(&m, '{'); *m.at != '0'; count++) {
        double self = 0;
        CHECK(count < COUNT(rows));
        marshal_row(&m, &rows[count], 5);
        sum += rows[count].self;
        if (rows[count].total > most) most = rows[count].total;
        for (size_t i = 0; i < count; i++) CHECK(!same_row(&rows[i], &rows[count]));
        marshal_op(&m, '{');
        if (*m.at == '0') roots++;
        for (; *m.at != '0'; calls++) {
            CHECK(calls < COUNT(callers));
            marshal_row(&m, &callers[calls], 4);
            CHECK(callers[calls].total <= rows[count].total && callers[calls].calls <= rows[count].calls);
            self += callers[calls].self;
        }
        m.at++;
        CHECK(off(self, rows[count].self) <= 1e-9 * (1 + self) || !strcmp(rows[count].name, "all"));
    }
    CHECK(m.at + 1 == m.end);
    for (size_t i = 0; i < calls; i++) {   // each caller is a function
        size_t k = 0;
        while (k < count && !same_row(&callers[i], &rows[k])) k++;
        CHECK(k < count);
    }
    all = (double)selection.all[output.metric] / unit;
    CHECK(off(sum, all) <= 1e-6 * (1 + all) && off(most, all) <= 1e-6 * (1 + all));
    CHECK_INT(roots, 1);
    pyprof__selection_free(&selection);
    free(out.data);
}

TEST(pstats_sums) { each_metric(check_pstats); }

TEST(pstats_of_files_with_one_name)   // the file says nothing by which they could be told apart
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 100);
    add_samples(&r, thread, add_frame(&r, thread_node(&r, thread), "/a/x.py", "f", 1, 2), 10, 3, 0);
    add_samples(&r, thread, add_frame(&r, thread_node(&r, thread), "/b/x.py", "f", 1, 2), 90, 4, 0);
    check_pstats(seal(&r, 0), (pyprof_output){ .metric = PYPROF_WALL_NS, .paths = PYPROF_PATHS_BASE });
}

TEST(pstats_of_nothing)
{
    recording r;
    recording_begin(&r, NULL);
    check_pstats(seal(&r, 0), (pyprof_output){ .metric = PYPROF_WALL_NS });
}

// ---- callgrind: a reader -----------------------------------------------------------------------------------------------
enum { NAMES = 4000, EVENTS = 40 };
typedef struct {
    char *name[2][NAMES];                  // files, functions
    size_t events;
    long long summary[EVENTS], sum[EVENTS];
    long long self[NAMES], called[NAMES];  // by function, of the first event
    char *line;
} callgrind;

static size_t callgrind_name(callgrind *c, int kind, char *text)   // "(1) name" or "(1)"
{
    char *end;
    CHECK(*text == '(');
    size_t id = strtoul(text + 1, &end, 10);
    CHECK(id > 0 && id < NAMES && *end == ')');
    CHECK((end[1] == ' ') == !c->name[kind][id]);
    if (end[1]) { CHECK(end[2] && end[2] != ' '); c->name[kind][id] = strdup(end + 2); }
    return id;
}

static void callgrind_costs(callgrind *c, char *line, long long *values, int inclusive)
{
    char *at;
    CHECK(strtol(line, &at, 10) >= 0);
    for (size_t i = 0; i < c->events; i++) {
        CHECK_INT(*at, ' ');
        values[i] = strtoll(at, &at, 10);
        CHECK(values[i] >= 0);
        if (!inclusive) c->sum[i] += values[i];
    }
    CHECK_INT(*at, '\0');
}

static char *starts(char *line, const char *key) { size_t n = strlen(key); return strncmp(line, key, n) ? NULL : line + n; }

static void callgrind_head(callgrind *c, char **rest)
{
    char *line, *at;
    for (line = strtok_r(*rest, "\n", rest); !starts(line, "events:"); line = strtok_r(NULL, "\n", rest)) CHECK(line != NULL);
    for (at = line + 7; *at; c->events++) { CHECK_INT(*at, ' '); CHECK(at[1] >= 'A' && at[1] <= 'Z'); at += 1 + strcspn(at + 1, " "); }
    CHECK(c->events && c->events < EVENTS);
    CHECK((at = starts(strtok_r(NULL, "\n", rest), "summary:")) != NULL);
    for (size_t i = 0; i < c->events; i++) c->summary[i] = strtoll(at, &at, 10);
}

static void callgrind_body(callgrind *c, char *rest)
{
    char *line, *at;
    long long values[EVENTS];
    size_t caller = 0, callee = 0;
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        if ((at = starts(line, "fl=")) || (at = starts(line, "cfi="))) callgrind_name(c, 0, at);
        else if ((at = starts(line, "fn="))) caller = callgrind_name(c, 1, at);
        else if ((at = starts(line, "cfn="))) callee = callgrind_name(c, 1, at);
        else if ((at = starts(line, "calls="))) {
            CHECK(strtoll(at, &at, 10) >= 1 && *at == ' ' && strtoll(at, &at, 10) >= 0 && !*at);
            CHECK(caller && callee);
            callgrind_costs(c, strtok_r(NULL, "\n", &rest), values, 1);
            c->called[callee] += values[0];
            if (caller == callee) CHECK_INT(values[0], 0);
        } else { CHECK(caller); callgrind_costs(c, line, values, 0); c->self[caller] += values[0]; }
    }
}

static void check_callgrind(const pyprof_profile *profile, pyprof_output output)
{
    static callgrind c;
    long long unit = pyprof__metric_row(output.metric)->unit == PYPROF__UNIT_NS ? 1000 : 1;
    memset(&c, 0, sizeof c);
    output.format = PYPROF_FORMAT_CALLGRIND;
    output_text out = written(profile, output);
    pyprof__selection selection = selected(profile, output);
    char *rest = out.data;
    callgrind_head(&c, &rest);
    callgrind_body(&c, rest);
    CHECK_INT(c.summary[0], selection.all[output.metric] / unit);
    for (size_t i = 0; i < c.events; i++) CHECK_INT(c.sum[i], c.summary[i]);
    pyprof__selection_free(&selection);
    free(out.data);
}

TEST(callgrind_sums) { each_metric(check_callgrind); }

TEST(callgrind_counts_recursion_once)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 100);
    uint32_t top = add_frame(&r, thread_node(&r, thread), "a.py", "<module>", 1, 9);
    uint32_t f = add_frame(&r, top, "a.py", "f", 2, 3), f2 = add_frame(&r, f, "a.py", "f", 2, 3), g = add_frame(&r, f2, "a.py", "g", 5, 6);
    add_samples(&r, thread, add_frame(&r, add_frame(&r, g, "a.py", "f", 2, 4), "a.py", "g", 5, 7), 10, 3, 0);   // f f g f g
    add_samples(&r, thread, f2, 90, 1, 0);
    output_text out = written(seal(&r, 0), (pyprof_output){ .format = PYPROF_FORMAT_CALLGRIND });
    CHECK(strstr(out.data, "\nfn=(4)\n3 10000 1 9000\n"
                           "cfi=(1)\ncfn=(4)\ncalls=4 2\n3 0 0 0\n"                    // f calls itself
                           "cfi=(1)\ncfn=(5) a.g\ncalls=3 5\n3 30000 3 27000\n\n") != NULL);
    CHECK(strstr(out.data, "\n7 30000 3 27000\ncfi=(1)\ncfn=(4)\ncalls=3 2\n6 30000 3 27000\n") != NULL);   // g calls f
    CHECK(strstr(out.data, "\n4 ") == NULL);   // the second call of g by f is part of the first
}

// ---- perf script: a reader -----------------------------------------------------------------------------------------------
typedef struct { char who[300]; double time; long long events, periods; } perf_thread;

// "comm pid/tid time: period event: " -> its thread
static perf_thread *perf_head(char *line, perf_thread *threads, size_t *count, const char *event, long long *period)
{
    char *who = strtok_r(line, " ", &line), *ids = strtok_r(NULL, " ", &line), *time = strtok_r(NULL, " ", &line), *end, key[300];
    size_t i = 0;
    double seconds = strtod(time, &end);
    CHECK_STR(end, ":");
    CHECK(strtoll(ids, &end, 10) == 4242 && *end == '/');
    CHECK(strtoll(end + 1, &end, 10) > 0 && !*end);
    *period = strtoll(strtok_r(NULL, " ", &line), &end, 10);
    CHECK(*period > 0 && !*end);
    CHECK(starts(line, event) && !strcmp(line + strlen(event), ": "));
    snprintf(key, sizeof key, "%s %s", who, ids);
    while (i < *count && strcmp(threads[i].who, key)) i++;
    if (i == *count) { CHECK(i < 64); ++*count; memcpy(threads[i].who, key, sizeof key); }
    CHECK(seconds >= threads[i].time);   // in order
    threads[i].time = seconds;
    threads[i].events++;
    threads[i].periods += *period;
    return &threads[i];
}

static long long perf_events(char *text, const char *event, long long *periods)
{
    perf_thread threads[64];
    size_t count = 0, frames = 0;
    long long events = 0, period;
    memset(threads, 0, sizeof threads);
    *periods = 0;
    for (char *line = text, *next; *line; line = next) {
        next = strchr(line, '\n');
        CHECK(next != NULL);
        *next++ = '\0';
        if (!*line) { CHECK(frames > 0); frames = 0; continue; }
        if (*line == '\t') {   // address, name, (file)
            char *end;
            CHECK(strtoull(line, &end, 16) < 100000 && end == line + 17 && *end == ' ' && end[1] != '(');
            CHECK(next[-2] == ')' && strrchr(line, '(')[-1] == ' ' && !strchr(strrchr(line, '('), ' '));
            frames++;
            continue;
        }
        CHECK_INT(frames, 0);
        perf_head(line, threads, &count, event, &period);
        *periods += period;
        events++;
    }
    return events;
}

static void check_perf(const pyprof_profile *profile, pyprof_output output)
{
    long long periods, events;
    if (pyprof__is_memory(output.metric) && output.metric != PYPROF_LIVE_BYTES) return;   // one is enough: they are many events
    output.format = PYPROF_FORMAT_PERF;
    output_text out = written(profile, output);
    pyprof__selection selection = selected(profile, output);
    events = perf_events(out.data, pyprof__metric_row(output.metric)->key, &periods);
    CHECK_INT(periods, selection.all[output.metric]);
    CHECK(events <= 2 * PYPROF__PERF_EVENTS);
    if (output.metric == PYPROF_SAMPLES) CHECK_INT(events, selection.all[PYPROF_SAMPLES]);
    pyprof__selection_free(&selection);
    free(out.data);
}

TEST(perf_sums) { each_metric(check_perf); }

TEST(perf_of_many_samples)   // fewer events, each for several samples; no sum changes, every stack is there
{
    recording r;
    long long periods, events;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 100), top = add_frame(&r, thread_node(&r, thread), "a.py", "f", 1, 2);
    uint32_t rare = add_frame(&r, top, "a.py", "rare", 8, 9);
    add_values(&r, top, 3000000, 30000000001, 0, 0);
    add_values(&r, rare, 1, 12345, 0, 0);
    pyprof_profile *profile = seal(&r, 0);
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_PERF });
    CHECK_INT(occurrences(out.data, "a.rare "), 1);
    events = perf_events(out.data, "wall_ns", &periods);
    CHECK_INT(events, PYPROF__PERF_EVENTS + 1);
    CHECK_INT(periods, 30000012346);
}

// ---- massif: a reader --------------------------------------------------------------------------------------------------
// Reads a tree; -> its bytes. The parts of a place are never more than the place.
static long long massif_tree(char **rest, int level, int *nodes)
{
    char *line = strsep(rest, "\n"), *at;
    long long children, bytes, sum = 0;
    CHECK(line != NULL && (int)strspn(line, " ") == level && line[level] == 'n');
    children = strtoll(line + level + 1, &at, 10);
    CHECK(starts(at, ": "));
    bytes = strtoll(at + 2, &at, 10);
    CHECK(*at == ' ' && bytes > 0 && level < 32);
    if (level) CHECK((starts(at, " 0x") && strchr(at, ':') && at[strlen(at) - 1] == ')') || (starts(at, " in ") && strstr(at, "below massif's threshold (1.00%)")));
    ++*nodes;
    for (long long i = 0; i < children; i++) sum += massif_tree(rest, level + 1, nodes);
    CHECK(sum <= bytes);
    if (!level) CHECK_INT(sum, bytes);
    return bytes;
}

static void check_massif(const pyprof_profile *profile, pyprof_output output)
{
    static const char *const words[] = { "snapshot=", "#-----------", "time=", "mem_heap_B=", "mem_heap_extra_B=0", "mem_stacks_B=0", "heap_tree=" };
    char *line, *value[8];
    long long bytes, time = -1;
    int snapshots = 0, peaks = 0, nodes = 0;
    output.format = PYPROF_FORMAT_MASSIF;
    if (output.metric != PYPROF_LIVE_BYTES && output.metric != PYPROF_PEAK_BYTES) {
        CHECK_INT(pyprof_write(profile, &output, append, &(output_text){ NULL, 0 }), PYPROF_ERR_UNSUPPORTED);
        return;
    }
    output_text out = written(profile, output);
    pyprof__selection selection = selected(profile, output);
    char *rest = out.data;
    CHECK(starts(strsep(&rest, "\n"), "desc: ") && starts(strsep(&rest, "\n"), "cmd: "));
    CHECK_STR(strsep(&rest, "\n"), "time_unit: ms");
    while ((line = strsep(&rest, "\n")) != NULL && *line) {
        CHECK_STR(line, "#-----------");
        for (int i = 0; i < 7; i++) CHECK((value[i] = starts(strsep(&rest, "\n"), words[i])) != NULL);
        CHECK_INT(atoi(value[0]), snapshots++);
        CHECK(atoll(value[2]) >= time);
        time = atoll(value[2]);
        bytes = atoll(value[3]);
        if (!strcmp(value[6], "empty")) continue;
        CHECK_INT(massif_tree(&rest, 0, &nodes), bytes);
        if (!strcmp(value[6], "peak")) { peaks++; CHECK_INT(bytes, selection.all[PYPROF_PEAK_BYTES]); }
        else { CHECK_STR(value[6], "detailed"); CHECK_INT(bytes, selection.all[PYPROF_LIVE_BYTES]); CHECK(!rest || !*rest); }
    }
    CHECK(peaks == (selection.all[PYPROF_PEAK_BYTES] > 0) && snapshots <= 100 && (nodes || !selection.all[PYPROF_LIVE_BYTES]));
    pyprof__selection_free(&selection);
    free(out.data);
}

static void each_metric_of_memory(void (*check)(const pyprof_profile *profile, pyprof_output output))
{
    for (uint64_t number = 0; number < PROFILES; number++) {
        pyprof_profile *profile = some_profile(number);
        for (size_t i = 0; i < COUNT(pyprof__metrics); i++)
            if (pyprof__metrics[i].from == PYPROF__FROM_HEAP && pyprof__has_metric(profile, pyprof__metrics[i].metric))
                check(profile, (pyprof_output){ .metric = pyprof__metrics[i].metric });
        pyprof_profile_free(profile);
    }
}

TEST(massif_sums) { each_metric_of_memory(check_massif); }

TEST(massif_of_long_recordings)   // at most 100 snapshots, the largest moments among them
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 100);
    add_blocks(&r, add_frame(&r, thread_node(&r, thread), "a.py", "f", 1, 2), 10, 30, 10, 20);
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    for (uint64_t i = 0; i < 5000; i++) add_gauge(&r, i * 100, 0, i == 777 ? 123456789 : (int64_t)i);
    r.model.last_ns = r.model.start_ns + 500000 * ms;
    pyprof_profile *profile = seal(&r, 0);
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_MASSIF });
    CHECK(occurrences(out.data, "snapshot=") <= 100 && occurrences(out.data, "snapshot=") > 90);
    CHECK_INT(occurrences(out.data, "time=77700\nmem_heap_B=123456789\n"), 1);
    pyprof_query some = { .thread = "x*" };   // the process's memory says nothing about some stacks
    out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_MASSIF, .filter = &some });
    CHECK_INT(occurrences(out.data, "snapshot="), 1);
}

// ---- DHAT --------------------------------------------------------------------------------------------------------------
static void check_dhat(const pyprof_profile *profile, pyprof_output output)
{
    static const struct { const char *key; int metric; } columns[] = {
        { "tb", PYPROF_ALLOC_BYTES }, { "tbk", PYPROF_ALLOC_BLOCKS }, { "gb", PYPROF_PEAK_BYTES }, { "gbk", PYPROF_PEAK_BLOCKS },
        { "eb", PYPROF_LIVE_BYTES }, { "ebk", PYPROF_LIVE_BLOCKS },
    };
    int64_t sums[COUNT(columns)] = { 0 };
    output.format = PYPROF_FORMAT_DHAT;
    output_text out = written(profile, output);
    pyprof__selection selection = selected(profile, output);
    const parsed *all = parse(out.data), *frames = get(all, "ftbl");
    CHECK(is_json(out.data));
    CHECK_STR(frames->first->text, "[root]");
    for (const parsed *point = get(all, "pps")->first; point; point = point->next) {
        for (size_t i = 0; i < COUNT(columns); i++) sums[i] += get(point, columns[i].key)->integer;
        CHECK(get(point, "mb")->integer >= get(point, "eb")->integer && get(point, "mb")->integer >= get(point, "gb")->integer);
        CHECK(!has(point, "tl"));   // lifetimes are not known
        CHECK(get(point, "fs")->count > 0);
        for (const parsed *frame = get(point, "fs")->first; frame; frame = frame->next)
            CHECK(frame->integer > 0 && frame->integer < (long long)frames->count);
    }
    for (size_t i = 0; i < COUNT(columns); i++) CHECK_INT(sums[i], selection.all[columns[i].metric]);
    pyprof__selection_free(&selection);
    free(out.data);
}

TEST(dhat_sums) { each_metric_of_memory(check_dhat); }

// ---- table: a strict reader of RFC 4180 ------------------------------------------------------------------------------------
// The next cell, unquoted, in place; *last = it ends its line.
static char *csv_cell(char **rest, int *last)
{
    char *from = *rest, *to, *cell = from;
    if (*from == '"') {
        for (cell = to = ++from; *from != '"' || from[1] == '"'; *to++ = *from++) {
            CHECK(*from && *from != '\n');
            if (*from == '"') from++;
        }
        from++;
    } else {
        from += strcspn(from, ",\r");
        to = from;
        CHECK(!memchr(cell, '"', (size_t)(from - cell)));
    }
    *last = *from == '\r';
    CHECK(*from == ',' || starts(from, "\r\n"));
    *rest = from + (*last ? 2 : 1);
    *to = '\0';
    CHECK(!*cell || !strchr("=+@\t", *cell));
    return cell;
}

static void check_table(const pyprof_profile *profile, pyprof_output output)
{
    char *cell, key[64], names[80][64];
    int last = 0, columns = 0, wanted = -1, memory = pyprof__is_memory(output.metric);
    const pyprof__metric *row = pyprof__metric_row(output.metric);
    long long sum = 0;
    output.format = PYPROF_FORMAT_TABLE;
    output_text out = written(profile, output);
    pyprof__selection selection = selected(profile, output);
    char *rest = out.data;
    snprintf(key, sizeof key, memory ? row->unit == PYPROF__UNIT_COUNT ? "num_allocations" : "size" : "self_%s", row->key);
    for (; !last; columns++) {
        CHECK(columns < 80);
        snprintf(names[columns], sizeof names[columns], "%s", csv_cell(&rest, &last));
        if (!strcmp(names[columns], key)) wanted = columns;
    }
    while (*rest) {
        last = 0;
        for (int i = 0; i < columns; i++) {
            CHECK(!last);
            cell = csv_cell(&rest, &last);
            if (i == wanted) sum += atoll(cell);
        }
        CHECK(last);
    }
    if (memory || wanted >= 0) CHECK_INT(sum, selection.all[output.metric]);
    pyprof__selection_free(&selection);
    free(out.data);
}

TEST(table_sums) { each_metric(check_table); }

TEST(table_holds_no_formula)
{
    static const char *const names[] = { "=1+1", "+f", "-f", "@f", "a\",=1", "'=f" };
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "=thread()", 100);
    for (size_t i = 0; i < COUNT(names); i++) {
        uint32_t node = add_frame(&r, thread_node(&r, thread), names[i], names[i], 1, 2);
        add_samples(&r, thread, node, 10, 1, 0);
        add_blocks(&r, node, 10, 1, 1, 1);
    }
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    pyprof_profile *profile = seal(&r, 0);
    check_table(profile, (pyprof_output){ .metric = PYPROF_WALL_NS });
    check_table(profile, (pyprof_output){ .metric = PYPROF_LIVE_BYTES });
    output_text out = written_as(profile, PYPROF_FORMAT_TABLE);
    CHECK(strstr(out.data, "\r\n\"'=1+1\",\"'=1+1\",1,python,1,1,10000000,10000000,") != NULL);
    CHECK(strstr(out.data, "\r\n\"'-f\",\"'-f\",") && strstr(out.data, "\r\n\"a\"\",=1\",\"a\"\",=1\","));
    out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_TABLE, .metric = PYPROF_LIVE_BYTES });
    CHECK(strstr(out.data, "\r\npython,1,10,100,\"'=thread()\",\"'=1+1.=1+1;=1+1;2\"\r\n") != NULL);
}

// ---- lcov --------------------------------------------------------------------------------------------------------------
TEST(lcov_of_recursion_and_c)   // a line has its own time, and that of C below it; lines of two functions are one
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 100);
    uint32_t f = add_frame(&r, thread_node(&r, thread), "/b.py", "f", 1, 2), again = add_frame(&r, f, "/b.py", "f", 1, 2);
    add_samples(&r, thread, again, 10, 3, 0);
    add_samples(&r, thread, add_native(&r, again), 40, 2, 0);
    add_samples(&r, thread, add_frame(&r, f, "/b.py", "f.<locals>.<lambda>", 2, 2), 60, 1, 0);
    add_samples(&r, thread, add_frame(&r, f, "/a\n.py", "g", 7, 9), 70, 1, 0);
    pyprof_profile *profile = seal(&r, 0);
    CHECK_STR(written_as(profile, PYPROF_FORMAT_LCOV).data, "TN:\nSF:/a\\x0a.py\nDA:9,10000\nLF:1\nLH:1\nend_of_record\n"
                                                            "TN:\nSF:/b.py\nDA:2,60000\nLF:1\nLH:1\nend_of_record\n");
    CHECK_INT(occurrences(written(profile, (pyprof_output){ .format = PYPROF_FORMAT_LCOV, .metric = PYPROF_SAMPLES }).data, "DA:2,6\n"), 1);
}
TEST_MAIN
