// The writers for classic tools: pstats, callgrind, perf script, massif, DHAT, tables, lcov. What was written is read back by
// strict readers: its structure, its sums, on recordings that chance made. Golden files are in test_writers.c and
// test_memory_writers.c.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"

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
TEST_MAIN
