// What a query asks for is the same in tables, visits and files: which time counts, which stacks, and what of them is shown.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"

enum { RECORDINGS = 24, ROWS = 1000 };
static pyprof_profile *profile;
static pyprof_row rows[ROWS];
static size_t row_count;

static int64_t value(int metric, uint32_t node) { return pyprof__model_value(&profile->model, (pyprof_metric)metric, node); }
static uint32_t nodes(void) { return (uint32_t)profile->model.nodes.count; }

// ---- what users see of a query -----------------------------------------------------------------------------------------
typedef struct { int64_t all[PYPROF_METRIC_COUNT], line[PYPROF_METRIC_COUNT]; } sums;

static int add_item(void *user, const pyprof_item *item)
{
    sums *to = (sums *)user;
    for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {
        if (item->kind == PYPROF_ITEM_STACK) to->all[metric] += item->self[metric];
        if (item->kind == PYPROF_ITEM_STATE) to->line[metric] += item->self[metric];
    }
    return 0;
}

static sums visited(pyprof_query query)
{
    sums found;
    memset(&found, 0, sizeof found);
    CHECK_INT(pyprof_visit(profile, &query, add_item, &found), PYPROF_OK);
    return found;
}

static int64_t in_table(pyprof_query query, int metric)   // the sum of all rows
{
    int64_t sum = 0;
    CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, ROWS, &row_count), PYPROF_OK);
    CHECK(row_count <= ROWS);
    for (size_t i = 0; i < row_count; i++) sum += rows[i].self[metric];
    return sum;
}

static int64_t in_folded(pyprof_query query, int metric)   // the sum of all lines
{
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .metric = metric, .filter = &query, .split_threads = 1 });
    int64_t sum = 0;
    for (char *at = out.data, *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        *end = '\0';
        sum += atoll(strrchr(at, ' '));
    }
    free(out.data);
    return sum;
}

static int64_t in_speedscope(pyprof_query query, int metric)   // the sum of all ends
{
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE, .metric = metric, .filter = &query });
    int64_t sum = 0;
    for (const char *at = out.data; (at = strstr(at, "\"endValue\": ")) != NULL; at++) sum += atoll(at + 12);
    free(out.data);
    return sum;
}

// ---- which time counts -------------------------------------------------------------------------------------------------
// By the definition of each, from the columns of the model
static int64_t of_states(int counted, int metric, uint32_t node)   // metric: SAMPLES or WALL_NS
{
    int time = metric == PYPROF_WALL_NS;
    int64_t all = value(metric, node), waiting = value(time ? PYPROF_WAIT_NS : PYPROF_WAIT_SAMPLES, node);
    int64_t idle = value(time ? PYPROF_IDLE_NS : PYPROF_IDLE_SAMPLES, node), held = value(time ? PYPROF_GIL_NS : PYPROF_GIL_SAMPLES, node);
    int64_t native = value(PYPROF_NATIVE_NS, node), runs = value(PYPROF_WALL_NS, node) - value(PYPROF_WAIT_NS, node);
    switch (counted) {
    case PYPROF_STATES_DEFAULT: return all - idle;
    case PYPROF_STATES_RUNNING: return all - waiting;
    case PYPROF_STATES_WAITING: return waiting - idle;
    case PYPROF_STATES_GIL: return held;
    case PYPROF_STATES_NATIVE: return time ? native : native == 0 ? 0 : native >= runs ? all - waiting
        : (int64_t)((double)(all - waiting) * (double)native / (double)runs + 0.5);
    }
    return all;
}

static int64_t all_of(int counted, int metric)
{
    int64_t sum = 0;
    for (uint32_t node = 1; node < nodes(); node++) sum += of_states(counted, metric, node);
    return sum;
}

static int64_t line_of(int counted, int metric)   // from the time line, by the state of each entry
{
    int64_t sum = 0;
    for (size_t i = 0; i < profile->model.moments.count; i++) {
        const pyprof__moment *moment = &AT(const pyprof__moment, profile->model.moments, i);
        int waits = (moment->state & PYPROF__IS_WAITING) != 0, idle = (moment->state & PYPROF__IS_IDLE) != 0;
        int in = counted == PYPROF_STATES_ALL || (counted == PYPROF_STATES_DEFAULT && !idle) || (counted == PYPROF_STATES_RUNNING && !waits)
            || (counted == PYPROF_STATES_WAITING && waits && !idle) || (counted == PYPROF_STATES_GIL && moment->state & PYPROF__HAS_GIL)
            || (counted == PYPROF_STATES_NATIVE && moment->state & PYPROF__IS_NATIVE);
        if (in) sum += metric == PYPROF_SAMPLES ? (int64_t)moment->count : (int64_t)moment->wall_ns;
    }
    return sum;
}

static void check_states(int counted)
{
    pyprof_query query = { .states = counted };
    sums found = visited(query);
    CHECK_INT(found.all[PYPROF_SAMPLES], all_of(counted, PYPROF_SAMPLES));
    CHECK_INT(found.all[PYPROF_WALL_NS], all_of(counted, PYPROF_WALL_NS));
    CHECK_INT(found.line[PYPROF_WALL_NS], line_of(counted, PYPROF_WALL_NS));
    CHECK_INT(found.line[PYPROF_SAMPLES], line_of(counted, PYPROF_SAMPLES));
    query.group = PYPROF_GROUP_THREAD;
    CHECK_INT(in_table(query, PYPROF_SAMPLES), found.all[PYPROF_SAMPLES]);
    CHECK_INT(in_table(query, PYPROF_WALL_NS), found.all[PYPROF_WALL_NS]);
    CHECK_INT(in_folded(query, PYPROF_SAMPLES), found.all[PYPROF_SAMPLES]);
    CHECK(in_folded(query, PYPROF_WALL_NS) <= found.all[PYPROF_WALL_NS] / 1000);
    CHECK(in_folded(query, PYPROF_WALL_NS) > found.all[PYPROF_WALL_NS] / 1000 - (int64_t)nodes());
    CHECK_INT(in_speedscope(query, PYPROF_WALL_NS), found.all[PYPROF_WALL_NS]);
}

TEST_LIMIT(states_count_their_part_everywhere, 60)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        profile = some_profile(n);
        for (int counted = 0; counted < PYPROF_STATES_COUNT; counted++) check_states(counted);
        pyprof_profile_free(profile);
    }
}

TEST(running_waiting_and_idle_are_all)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        profile = some_profile(n);
        sums all = visited((pyprof_query){ .states = PYPROF_STATES_ALL }), runs = visited((pyprof_query){ .states = PYPROF_STATES_RUNNING });
        sums waits = visited((pyprof_query){ .states = PYPROF_STATES_WAITING }), active = visited((pyprof_query){ .states = PYPROF_STATES_DEFAULT });
        for (int i = 0; i < 2; i++) {
            const int64_t *all_, *runs_, *waits_, *active_;
            all_ = i ? all.line : all.all, runs_ = i ? runs.line : runs.all, waits_ = i ? waits.line : waits.all, active_ = i ? active.line : active.all;
            CHECK_INT(runs_[PYPROF_WALL_NS] + waits_[PYPROF_WALL_NS] + all_[PYPROF_IDLE_NS], all_[PYPROF_WALL_NS]);
            CHECK_INT(runs_[PYPROF_SAMPLES] + waits_[PYPROF_SAMPLES] + all_[PYPROF_IDLE_SAMPLES], all_[PYPROF_SAMPLES]);
            CHECK_INT(runs_[PYPROF_WALL_NS] + waits_[PYPROF_WALL_NS], active_[PYPROF_WALL_NS]);
            CHECK_INT(runs_[PYPROF_SAMPLES] + waits_[PYPROF_SAMPLES], active_[PYPROF_SAMPLES]);
            CHECK_INT(active_[PYPROF_WALL_NS] - active_[PYPROF_WAIT_NS], runs_[PYPROF_WALL_NS]);
            CHECK_INT(runs_[PYPROF_CPU_NS], all_[PYPROF_CPU_NS]);
            CHECK_INT(active_[PYPROF_CPU_NS], all_[PYPROF_CPU_NS]);
            CHECK_INT(active_[PYPROF_IDLE_NS], i ? 0 : all_[PYPROF_IDLE_NS]);   // what was left out
            CHECK(!waits_[PYPROF_CPU_NS] && !runs_[PYPROF_WAIT_NS]);
            CHECK_INT(waits_[PYPROF_WAIT_NS], waits_[PYPROF_WALL_NS]);
            CHECK_INT(waits_[PYPROF_GIL_WAIT_NS], all_[PYPROF_GIL_WAIT_NS]);
        }
        pyprof_profile_free(profile);
    }
}

static int same_bytes(pyprof_output a, pyprof_output b)
{
    output_text x = written(profile, a), y = written(profile, b);
    int same = x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    free(x.data);
    free(y.data);
    return same;
}

static int default_metric(int format)
{
    size_t i = 0;
    while (pyprof__formats[i].format != format) i++;
    return pyprof__formats[i].metric;
}

TEST(one_default_everywhere)
{
    const pyprof_query none = { .sort = 0 }, idle = { .include_idle = 1 }, all = { .states = PYPROF_STATES_ALL };
    profile = some_profile(6);
    CHECK(profile->model.columns[PYPROF_IDLE_NS].count > 0);
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
        pyprof_output output = { .format = format }, empty = output, with_idle = output, with_all = output;
        output_text out = { calloc(1, 1), 0 };
        if (pyprof_write(profile, &output, append, &out) != PYPROF_OK) continue;   // not yet, or of memory only
        empty.filter = &none;
        with_idle.filter = &idle;
        with_all.filter = &all;
        CHECK(same_bytes(output, empty));
        CHECK(same_bytes(with_idle, with_all));
        if (format == PYPROF_FORMAT_JSON) CHECK(same_bytes(output, with_idle));
        if (format != PYPROF_FORMAT_JSON && !pyprof__is_memory(default_metric(format))) CHECK(!same_bytes(output, with_idle));
        free(out.data);
    }
    sums by_default = visited(none);
    CHECK_INT(pyprof_top(profile, NULL, rows, sizeof *rows, ROWS, &row_count), PYPROF_OK);
    size_t count = row_count;
    int64_t first = rows[0].self[PYPROF_WALL_NS];
    CHECK_INT(in_table((pyprof_query){ .group = PYPROF_GROUP_THREAD }, PYPROF_WALL_NS), by_default.all[PYPROF_WALL_NS]);
    in_table(none, PYPROF_WALL_NS);
    CHECK(row_count == count && rows[0].self[PYPROF_WALL_NS] == first);
    CHECK(by_default.all[PYPROF_WALL_NS] < visited(idle).all[PYPROF_WALL_NS]);
    CHECK_INT(in_folded(none, PYPROF_WALL_NS) / 1000, by_default.all[PYPROF_WALL_NS] / 1000000);
}

// ---- what is refused ---------------------------------------------------------------------------------------------------
TEST(metrics_without_values_in_a_state_are_refused_by_name)
{
    static const struct { int states, metric; } cases[] = {
        { PYPROF_STATES_RUNNING, PYPROF_IDLE_NS }, { PYPROF_STATES_RUNNING, PYPROF_WAIT_NS }, { PYPROF_STATES_RUNNING, PYPROF_GIL_NS },
        { PYPROF_STATES_WAITING, PYPROF_CPU_NS }, { PYPROF_STATES_GIL, PYPROF_CPU_NS }, { PYPROF_STATES_NATIVE, PYPROF_EXCEPTIONS },
    };
    profile = some_profile(1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        pyprof_query query = { .states = cases[i].states, .sort = cases[i].metric };
        pyprof_output output = { .format = PYPROF_FORMAT_FOLDED, .metric = cases[i].metric, .filter = &query };
        output_text out = { calloc(1, 1), 0 };
        CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, ROWS, &row_count), PYPROF_ERR_UNSUPPORTED);
        CHECK(strstr(pyprof_last_error(), pyprof__metric_row(cases[i].metric)->name) != NULL);
        CHECK_INT(pyprof_write(profile, &output, append, &out), PYPROF_ERR_UNSUPPORTED);
        CHECK(strstr(pyprof_last_error(), pyprof__metric_row(cases[i].metric)->name) && out.size == 0);
        query.sort = PYPROF_LIVE_BYTES;   // memory is of no state
        CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, ROWS, &row_count), PYPROF_OK);
    }
}

static void refused(pyprof_query query, const char *name)
{
    pyprof_output output = { .format = PYPROF_FORMAT_FOLDED, .filter = &query };
    pyprof_diff_options options = { .filter = &query };
    pyprof_leak leak;
    pyprof_profile *delta;
    output_text out = { calloc(1, 1), 0 };
    pyprof_result results[5];
    results[0] = pyprof_top(profile, &query, rows, sizeof *rows, ROWS, &row_count);
    results[1] = pyprof_visit(profile, &query, add_item, &out);
    results[2] = pyprof_leaks(profile, &query, &leak, sizeof leak, 1, &row_count);
    results[3] = pyprof_diff(profile, profile, &options, &delta);
    results[4] = pyprof_write(profile, &output, append, &out);
    for (int i = 0; i < 5; i++) CHECK_INT(results[i], PYPROF_ERR_ARGUMENT);
    if (!strstr(pyprof_last_error(), name)) printf("%s is not in: %s\n", name, pyprof_last_error());
    CHECK(strstr(pyprof_last_error(), name) && out.size == 0);
    free(out.data);
}

TEST(bad_values_are_refused_by_name)
{
    profile = some_profile(1);
    refused((pyprof_query){ .sort = -1 }, "sort is -1");
    refused((pyprof_query){ .group = 99 }, "group is 99");
    refused((pyprof_query){ .states = -1 }, "states is -1");
    refused((pyprof_query){ .states = PYPROF_STATES_COUNT }, "states is 6");
}

TEST_MAIN
