// What a query asks for is the same in tables, visits and files: which time counts, which stacks, and what of them is shown.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"
#include <fnmatch.h>
#include <math.h>

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
        const pyprof__moment *moment = pyprof__moment_at(&profile->model, i);
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
        int whole = format == PYPROF_FORMAT_JSON || format == PYPROF_FORMAT_HTML;
        if (whole) CHECK(same_bytes(output, with_idle));
        if (!whole && !pyprof__is_memory(default_metric(format))) CHECK(!same_bytes(output, with_idle));
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
    refused((pyprof_query){ .from_s = -1 }, "from_s");
    refused((pyprof_query){ .from_s = NAN }, "from_s");
    refused((pyprof_query){ .to_s = INFINITY }, "to_s");
    refused((pyprof_query){ .to_s = NAN }, "to_s");
    refused((pyprof_query){ .from_s = 2, .to_s = 1 }, "from_s is not before to_s");
    refused((pyprof_query){ .from_s = 2, .to_s = 2 }, "from_s is not before to_s");
}

// ---- which stacks, and what of them: by definition ---------------------------------------------------------------------
// Alternatives without \ in them
static int matches(const char *globs, const char *text)
{
    char copy[256], *rest = copy;
    if (!globs) return 0;
    snprintf(copy, sizeof copy, "%s", globs);
    for (char *one; (one = strsep(&rest, "|")) != NULL;)
        if (fnmatch(one, text, 0) == 0) return 1;
    return 0;
}

static uint32_t parent(uint32_t node) { return AT(const pyprof__node, profile->model.nodes, node).parent; }
static int kind(uint32_t node) { return pyprof__function_of(profile, node)->kind; }

static int names(uint32_t node, const char *globs)
{
    const pyprof__function *function = pyprof__function_of(profile, node);
    return matches(globs, pyprof__text(profile, function->name)) || matches(globs, pyprof__text(profile, function->qualname))
        || matches(globs, pyprof__label(profile, pyprof__location_of(profile, node)->function));
}

static int in_file(uint32_t node, const char *globs) { return matches(globs, pyprof__text(profile, pyprof__function_of(profile, node)->file)); }
static int is_such(uint32_t node, const char *globs) { return names(node, globs) || in_file(node, globs); }

enum { DEEP = 512 };
typedef struct { uint32_t path[DEEP]; int depth; uint32_t thread; } stack;

static stack stack_of(uint32_t node)   // root first, without the thread
{
    stack s = { { 0 }, 0, 0 };
    for (; node && kind(node) != PYPROF_KIND_THREAD; node = parent(node)) {
        memmove(s.path + 1, s.path, (DEEP - 1) * sizeof *s.path);
        s.path[0] = node;
        CHECK(++s.depth < DEEP);
    }
    s.thread = node;
    return s;
}

// The stack as the query shows it; 0 = not at all.
static int show(const pyprof_query *query, stack *s)
{
    int focus = !query->function && !query->file, task = !query->task, shown = 0, begun = !query->show_from;
    if (!s->thread || (query->thread && !matches(query->thread, pyprof__text(profile, pyprof__function_of(profile, s->thread)->name)))) return 0;
    if (query->process && !matches(query->process, "4242") && !matches(query->process, "host")) return 0;
    for (int i = 0; i < s->depth; i++) {
        if ((!query->function || names(s->path[i], query->function)) && (!query->file || in_file(s->path[i], query->file))) focus = 1;
        if (kind(s->path[i]) == PYPROF_KIND_TASK && names(s->path[i], query->task)) task = 1;
        if (is_such(s->path[i], query->ignore)) return 0;
    }
    for (int i = 0; i < s->depth; i++) {
        if (is_such(s->path[i], query->hide)) continue;
        if (is_such(s->path[i], query->show_from)) begun = 1;
        if (begun) s->path[shown++] = s->path[i];
    }
    s->depth = shown;
    return focus && task && begun;
}

typedef struct { char *key; int64_t values[PYPROF_METRIC_COUNT]; } entry;
typedef struct { entry entries[2000]; size_t count; } entries;

static entry *entry_of(entries *all, const char *key)
{
    for (size_t i = 0; i < all->count; i++) if (!strcmp(all->entries[i].key, key)) return &all->entries[i];
    CHECK(all->count < 2000);
    all->entries[all->count].key = strdup(key);
    memset(all->entries[all->count].values, 0, sizeof all->entries->values);
    return &all->entries[all->count++];
}

static void forget(entries *all)
{
    for (size_t i = 0; i < all->count; i++) free(all->entries[i].key);
    all->count = 0;
}

static size_t add_place(char *key, size_t used, const char *label, int line, int column)
{
    used += (size_t)snprintf(key + used, 100000 - used, "\n%s:%d:%d", label, line, column);
    CHECK(used < 100000);
    return used;
}

static const char *key_of(const stack *s)
{
    static char key[100000];
    size_t used = (size_t)snprintf(key, sizeof key, "%s %u", pyprof__text(profile, pyprof__function_of(profile, s->thread)->name),
                                   (unsigned)pyprof__function_of(profile, s->thread)->first_line + 99);
    for (int i = 0; i < s->depth; i++) {
        const pyprof__location *at = pyprof__location_of(profile, s->path[i]);
        used = add_place(key, used, pyprof__label(profile, at->function), at->place.line, at->place.column);
    }
    return key;
}

static int collect(void *user, const pyprof_item *item)
{
    static char key[100000];
    entries *all = (entries *)user;
    size_t used = 0;
    if (item->kind != PYPROF_ITEM_STACK && item->kind != PYPROF_ITEM_STATE) return 0;
    used = (size_t)snprintf(key, sizeof key, "%s %llu", item->thread->name, (unsigned long long)item->thread->thread_id);
    for (size_t i = 0; i < item->depth; i++) used = add_place(key, used, item->stack[i].label, item->stack[i].line, item->stack[i].column);
    entry *to = entry_of(&all[item->kind == PYPROF_ITEM_STATE], key);
    for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) to->values[metric] += item->self[metric];
    return 0;
}

static int has_values(const entry *one)
{
    int64_t any = 0;
    for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) any |= one->values[metric];
    return any != 0;
}

static void same_entries(entries *got, const entries *want)
{
    size_t with_values = 0, found = 0;
    for (size_t i = 0; i < want->count; i++) {
        if (!has_values(&want->entries[i])) continue;
        with_values++;
        const entry *other = entry_of(got, want->entries[i].key);
        if (memcmp(other->values, want->entries[i].values, sizeof other->values)) printf("%s\n", other->key);
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) CHECK_INT(other->values[metric], want->entries[i].values[metric]);
    }
    for (size_t i = 0; i < got->count; i++) found += (size_t)has_values(&got->entries[i]);
    CHECK_INT(found, with_values);
}

// Every stack and every entry of the time line of a query (of all states) is what its definition says.
static void check_definition(pyprof_query query)
{
    static entries got[2], want[2];
    query.states = PYPROF_STATES_ALL;
    for (uint32_t node = 1; node < nodes(); node++) {
        stack s = stack_of(node);
        if (kind(node) == PYPROF_KIND_THREAD || !show(&query, &s) || !s.depth) continue;
        entry *to = entry_of(&want[0], key_of(&s));
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) to->values[metric] += value(metric, node);
    }
    for (size_t i = 0; i < profile->model.moments.count; i++) {
        const pyprof__moment *moment = pyprof__moment_at(&profile->model, i);
        int64_t values[PYPROF_METRIC_COUNT];
        stack s = stack_of(moment->node);
        if (!show(&query, &s)) continue;
        entry *to = entry_of(&want[1], key_of(&s));
        pyprof__moment_values(moment, values);
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) to->values[metric] += values[metric];
    }
    CHECK_INT(pyprof_visit(profile, &query, collect, got), PYPROF_OK);
    same_entries(&got[0], &want[0]);
    same_entries(&got[1], &want[1]);
    for (int i = 0; i < 2; i++) forget(&got[i]), forget(&want[i]);
}

// ---- the same in tables and files --------------------------------------------------------------------------------------
static int64_t in_json(pyprof_query query, const char *key)   // the sum of all entries of `functions`
{
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_JSON, .filter = &query });
    const char *at = strstr(out.data, "\n\"functions\": {"), *end = strstr(out.data, "\n\"tree\": {");
    int64_t sum = 0;
    CHECK(at && end);
    while ((at = strstr(at, key)) && at < end) sum += atoll(at += strlen(key));
    free(out.data);
    return sum;
}

static int64_t in_tree(pyprof_query query, const char *key)   // the sum of a column of the JSON's tree
{
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_JSON, .filter = &query });
    const char *at = strstr(strstr(out.data, "\n\"tree\": {"), key);
    int64_t sum = 0;
    if (at) for (at += strlen(key); *at != ']'; at++) {
        char *end;
        sum += strtoll(at + (*at == ',' || *at == '['), &end, 10);
        at = end - 1;
        if (end[0] == ']') break;
    }
    free(out.data);
    return sum;
}

static void check_everywhere(pyprof_query query)
{
    query.states = 0;
    query.include_idle = 1;
    sums found = visited(query);
    pyprof_query by_thread = query;
    by_thread.group = PYPROF_GROUP_THREAD;
    int64_t samples = in_table(by_thread, PYPROF_SAMPLES), wall = in_table(by_thread, PYPROF_WALL_NS);   // with stacks that are hidden to the root
    CHECK(found.all[PYPROF_SAMPLES] <= samples && (query.hide || found.all[PYPROF_SAMPLES] == samples));
    CHECK(found.all[PYPROF_WALL_NS] <= wall && (query.hide || found.all[PYPROF_WALL_NS] == wall));
    CHECK_INT(found.line[PYPROF_SAMPLES] <= samples, 1);
    CHECK_INT(in_folded(query, PYPROF_SAMPLES), samples);
    CHECK_INT(in_speedscope(query, PYPROF_WALL_NS), wall);
    CHECK_INT(in_tree(query, "\"wall_ns\": ["), wall);
    if (!query.function && !query.file) CHECK(in_json(query, "\"self_samples\": ") <= samples);
    if (profile->model.heap.mode && !query.from_s && !query.to_s) CHECK(in_table(by_thread, PYPROF_LIVE_BYTES) >= found.all[PYPROF_LIVE_BYTES]);
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {   // and no writer stumbles
        pyprof_output output = { .format = format, .filter = &query, .paths = format % 3 };
        output_text out = { calloc(1, 1), 0 };
        pyprof_result result = pyprof_write(profile, &output, append, &out);
        if (result != PYPROF_OK && result != PYPROF_ERR_UNSUPPORTED) printf("%s\n", pyprof_last_error());
        CHECK(result == PYPROF_OK || result == PYPROF_ERR_UNSUPPORTED);
        free(out.data);
    }
}

static const char *some_globs(void)
{
    static const char *const globs[] = { "fib", "App.run*|parse", "*main.py", "<module>", "[[]*", "*.fib|*load*", "nothing", "*", "<native>*|[[]GIL]", "*threading*",
                                         "Task-*", "run", "main.App.run" };
    return draw(2) ? NULL : globs[draw(COUNT(globs))];
}

TEST_LIMIT(stacks_are_what_the_query_says, 100)
{
    static const char *const of_threads[] = { NULL, NULL, "worker", "Main*|nobody", "*" };
    static const char *const of_processes[] = { NULL, NULL, NULL, "4242", "ho*|7", "7" };
    static const char *const of_tasks[] = { NULL, NULL, NULL, NULL, "Task-*|x", "nobody" };
    uint64_t chance = 1;
    for (uint64_t n = 0; n < (test_long() ? 48 : 16); n++) {
        profile = some_profile(n);
        seed = chance;
        for (int i = 0; i < 6; i++) {
            pyprof_query query = { .function = some_globs(), .file = some_globs(), .ignore = some_globs(), .hide = some_globs(), .show_from = some_globs(),
                                   .thread = of_threads[draw(COUNT(of_threads))], .process = of_processes[draw(COUNT(of_processes))],
                                   .task = of_tasks[draw(COUNT(of_tasks))] };
            if (draw(2)) query.function = NULL;
            if (draw(2)) query.file = NULL;
            check_definition(query);
            if (i < 2) check_everywhere(query);
        }
        for (int i = 0; i < 2; i++) {   // one field alone
            check_definition((pyprof_query){ .hide = some_globs() });
            check_definition((pyprof_query){ .show_from = some_globs() });
            check_definition((pyprof_query){ .ignore = some_globs() });
        }
        chance = seed;
        pyprof_profile_free(profile);
    }
}

TEST(sums_stay)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        profile = some_profile(n);
        sums all = visited((pyprof_query){ .states = PYPROF_STATES_ALL, .group = PYPROF_GROUP_THREAD });
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {   // of threads: what is hidden to the root is theirs
            pyprof_query hiding = { .states = PYPROF_STATES_ALL, .group = PYPROF_GROUP_THREAD, .hide = "fib|*main.py|[[]*" }, plain = hiding;
            plain.hide = NULL;
            CHECK_INT(in_table(hiding, metric), in_table(plain, metric));
        }
        static const char *const globs[] = { "fib", "*.fib|App.*", "<native>*", "nothing", "run|load" };
        for (size_t i = 0; i < COUNT(globs); i++) {   // focus and ignore of one glob share all of it
            sums with = visited((pyprof_query){ .states = PYPROF_STATES_ALL, .function = globs[i] });
            sums without = visited((pyprof_query){ .states = PYPROF_STATES_ALL, .ignore = globs[i] });
            for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {
                CHECK_INT(with.all[metric] + without.all[metric], all.all[metric]);
                CHECK_INT(with.line[metric] + without.line[metric], all.line[metric]);
            }
        }
        pyprof_profile_free(profile);
    }
}

TEST(alternatives_of_globs)
{
    static const struct { const char *globs, *text; int want; } cases[] = {
        { "a|b", "a", 1 }, { "a|b", "b", 1 }, { "a|b", "a|b", 0 }, { "a\\|b", "a|b", 1 }, { "a\\|b|c", "c", 1 }, { "a\\|b|c", "a|b", 1 }, { "|x", "", 1 },
        { "x|", "", 1 }, { "x|y", "", 0 }, { "a*|b?", "bc", 1 }, { "a*|b?", "b", 0 }, { "", "", 1 }, { "a\\", "a", 0 }, { "[ab]|c", "b", 1 }, { NULL, "x", 1 },
    };
    char deep[PYPROF__GLOB_BYTES + 10];
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (pyprof__globs(cases[i].globs, cases[i].text) != cases[i].want) printf("%s on %s\n", cases[i].globs, cases[i].text);
        CHECK_INT(pyprof__globs(cases[i].globs, cases[i].text), cases[i].want);
    }
    memset(deep, 'x', sizeof deep);
    deep[PYPROF__GLOB_BYTES - 1] = '|';
    strcpy(deep + PYPROF__GLOB_BYTES, "y");
    CHECK(pyprof__globs(deep, "y"));
    profile = some_profile(1);
    in_table((pyprof_query){ .ignore = deep }, PYPROF_SAMPLES);
    deep[PYPROF__GLOB_BYTES - 1] = 'x';
    strcpy(deep + PYPROF__GLOB_BYTES, "|y");
    refused((pyprof_query){ .ignore = deep }, "ignore");
    refused((pyprof_query){ .show_from = deep }, "show_from");
}

// ---- a part of the time ------------------------------------------------------------------------------------------------
static void check_range(double from_s, double to_s)
{
    uint64_t start = profile->model.start_ns + (uint64_t)(from_s * 1e9), end = to_s > 0 ? profile->model.start_ns + (uint64_t)(to_s * 1e9) : UINT64_MAX;
    sums found = visited((pyprof_query){ .states = PYPROF_STATES_ALL, .from_s = from_s, .to_s = to_s });
    double wall = 0, cut = 0;
    for (size_t i = 0; i < profile->model.moments.count; i++) {
        const pyprof__moment *moment = pyprof__moment_at(&profile->model, i);
        uint64_t a = moment->start_ns > start ? moment->start_ns : start, b = moment->end_ns < end ? moment->end_ns : end;
        if (b <= a) continue;
        cut += b - a < moment->end_ns - moment->start_ns;
        wall += (double)moment->wall_ns * (double)(b - a) / (double)(moment->end_ns - moment->start_ns);
    }
    CHECK(fabs((double)found.all[PYPROF_WALL_NS] - wall) <= 2 * cut + 1);
    for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) CHECK_INT(found.all[metric], found.line[metric]);
    CHECK(found.all[PYPROF_LIVE_BYTES] == 0);
}

TEST_LIMIT(a_part_of_the_time_has_its_part_of_the_moments, 60)
{
    for (uint64_t n = 0; n < (test_long() ? RECORDINGS : RECORDINGS / 3); n++) {
        profile = some_profile(n);
        double whole = (double)(profile->model.last_ns - profile->model.start_ns) / 1e9;
        if (!profile->model.moments.count) continue;
        for (int i = 0; i < 5; i++) {
            double from = whole * (i * 37 % 100) / 137, to = from + (whole - from) * (1 + i) / 6;
            check_range(from, to);
            if (from > 0) check_range(from, 0);
            if (to > from) check_everywhere((pyprof_query){ .from_s = from, .to_s = to, .hide = i % 2 ? "fib" : NULL });
        }
        // parts that meet have it all, to the last sample and ns
        sums all = visited((pyprof_query){ .states = PYPROF_STATES_ALL }), sum = all;
        memset(&sum, 0, sizeof sum);
        for (int i = 0; i < 3; i++) {
            sums one = visited((pyprof_query){ .states = PYPROF_STATES_ALL, .from_s = whole * i / 3, .to_s = i < 2 ? whole * (i + 1) / 3 : 0 });
            for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) sum.line[metric] += one.line[metric];
        }
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) CHECK_INT(sum.line[metric], all.line[metric]);
        pyprof_profile_free(profile);
    }
}

TEST(what_the_time_line_does_not_hold_is_said)
{
    recording r;
    recording_begin(&r, NULL);
    r.model.timeline_s = 1;
    uint32_t thread = add_thread(&r, "w", 1), node = add_frame(&r, thread_node(&r, thread), "a.py", "f", 1, 2);
    for (int i = 0; i < 10; i++) add_samples(&r, thread, i % 2 ? node : thread_node(&r, thread), 10 + 400 * (uint64_t)i, 20, 0);
    profile = seal(&r, 0);
    pyprof_query part = { .from_s = 1.5, .to_s = 3.2 }, none = { .from_s = 0.5, .to_s = 1 }, inside = { .from_s = 3, .to_s = 3.5 };
    CHECK_INT(visited(part).line[PYPROF_SAMPLES] > 0, 1);
    CHECK_STR(pyprof_last_error(), "the time line holds only 2.8 s to 3.8 s");
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .filter = &part });
    CHECK(strstr(out.data, "Degraded: the time line holds only 2.8 s to 3.8 s\n") != NULL);
    out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .filter = &inside });
    CHECK(!strstr(out.data, "the time line holds only"));
    CHECK_INT(pyprof_top(profile, &none, rows, sizeof *rows, ROWS, &row_count), PYPROF_ERR_UNSUPPORTED);
    CHECK_STR(pyprof_last_error(), "the time line holds only 2.8 s to 3.8 s");
    pyprof_query late = { .from_s = 9 };
    CHECK_INT(pyprof_visit(profile, &late, add_item, NULL), PYPROF_ERR_UNSUPPORTED);
    r.model.moments.count = r.model.moments.first = 0;
    profile = seal(&r, 0);
    CHECK_INT(pyprof_visit(profile, &inside, add_item, NULL), PYPROF_ERR_UNSUPPORTED);
    CHECK_STR(pyprof_last_error(), "this recording has no time line: from_s, to_s");
}

TEST(memory_of_a_part_of_the_time_is_not_known)
{
    pyprof_query query = { .from_s = 0.1, .to_s = 0.3, .sort = PYPROF_LIVE_BYTES };
    pyprof_output output = { .format = PYPROF_FORMAT_SVG, .metric = PYPROF_ALLOC_BYTES, .filter = &query };
    pyprof_leak leak;
    output_text out = { calloc(1, 1), 0 };
    profile = some_profile(1);
    CHECK(profile->model.heap.mode && profile->model.moments.count);
    CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, ROWS, &row_count), PYPROF_ERR_UNSUPPORTED);
    CHECK_STR(pyprof_last_error(), "live bytes of a part of the time is not known: from_s, to_s");
    CHECK_INT(pyprof_write(profile, &output, append, &out), PYPROF_ERR_UNSUPPORTED);
    CHECK(strstr(pyprof_last_error(), "allocated bytes") != NULL);
    CHECK_INT(pyprof_leaks(profile, &query, &leak, sizeof leak, 1, &row_count), PYPROF_ERR_UNSUPPORTED);
}

// ---- one example of each, by hand --------------------------------------------------------------------------------------
static const char *folded(pyprof_query query)
{
    return written(profile, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .filter = &query }).data;
}

TEST(examples)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "w", 1), top = add_frame(&r, thread_node(&r, thread), "/s/a.py", "main", 1, 2);
    uint32_t log = add_frame(&r, top, "/lib/log.py", "log", 1, 2), work = add_frame(&r, log, "/s/a.py", "work", 5, 6);
    uint32_t direct = add_frame(&r, top, "/s/a.py", "work", 5, 6), again = add_frame(&r, direct, "/s/a.py", "main", 1, 2);
    add_samples(&r, thread, log, 10, 1, 0);
    add_samples(&r, thread, work, 20, 2, 0);
    add_samples(&r, thread, direct, 40, 4, 0);
    add_samples(&r, thread, again, 80, 8, 0);
    profile = seal(&r, 0);
    CHECK_STR(folded((pyprof_query){ .sort = 0 }), "a.main;a.work 4\na.main;a.work;a.main 8\na.main;log.log 1\na.main;log.log;a.work 2\n");
    CHECK_STR(folded((pyprof_query){ .hide = "/lib/*" }), "a.main 1\na.main;a.work 6\na.main;a.work;a.main 8\n");
    CHECK_STR(folded((pyprof_query){ .hide = "main" }), "a.work 12\nlog.log 1\nlog.log;a.work 2\n");
    CHECK_STR(folded((pyprof_query){ .show_from = "work" }), "a.work 6\na.work;a.main 8\n");
    CHECK_STR(folded((pyprof_query){ .show_from = "log|work" }), "a.work 4\na.work;a.main 8\nlog.log 1\nlog.log;a.work 2\n");
    CHECK_STR(folded((pyprof_query){ .show_from = "log", .hide = "log" }), "");
    CHECK_STR(folded((pyprof_query){ .ignore = "log" }), "a.main;a.work 4\na.main;a.work;a.main 8\n");
    CHECK_STR(folded((pyprof_query){ .function = "log", .hide = "/lib/*" }), "a.main 1\na.main;a.work 2\n");
    CHECK_STR(folded((pyprof_query){ .from_s = 0.03, .to_s = 0.05 }), "a.main;a.work 2\n");
    CHECK_STR(folded((pyprof_query){ .process = "4243" }), "");
    CHECK_INT(in_table((pyprof_query){ .hide = "log" }, PYPROF_SAMPLES), 15);   // names of rows live as long as the profile
    CHECK_STR(rows[0].name, "main");
    CHECK_INT(row_count, 2);
    pyprof_diff_options options = { .filter = &(pyprof_query){ .hide = "log" } };
    pyprof_profile *delta;
    CHECK_INT(pyprof_diff(profile, profile, &options, &delta), PYPROF_OK);
    CHECK_INT(delta->model.functions.count, 4);   // root, thread, main, work
}

// ---- without memory ----------------------------------------------------------------------------------------------------
TEST(each_allocation_of_a_part_fails_once)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    recording r;
    recording_begin(&r, &allocator);
    uint32_t thread = add_thread(&r, "w", 1), top = add_frame(&r, thread_node(&r, thread), "/s/a.py", "main", 1, 2);
    add_samples(&r, thread, add_frame(&r, top, "/lib/log.py", "log", 1, 2), 10, 3, 0);
    add_blocks(&r, top, 10, 5, 3, 4);
    pyprof__model_history_row(&r.model, top)->bytes[0] = 30;
    CHECK(pyprof__model_waited(&r.model, top, 5));
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    profile = seal(&r, 0);
    const pyprof_query queries[] = { { .hide = "log" }, { .from_s = 0.005 } };
    for (size_t i = 0; i < COUNT(queries); i++) {
        pyprof_result result = PYPROF_ERR_MEMORY;
        long long before = c.live;
        int fails = 0;
        for (; result == PYPROF_ERR_MEMORY; fails++) {
            c.calls = 0;
            c.fail_at = fails + 1;
            result = pyprof_top(profile, &queries[i], rows, sizeof *rows, ROWS, &row_count);
            CHECK_INT(c.live, before);
        }
        CHECK_INT(result, PYPROF_OK);
        CHECK(fails > 10 && c.calls < c.fail_at);
    }
}

TEST_MAIN
