// The rows of a report's tables, on recordings that chance made: their numbers are sums over the nodes of the model.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"

enum { RECORDINGS = 24 };
static pyprof_profile *profile;
static pyprof__selection selection;
static pyprof_output output = { .full = 1 };   // all rows
static pyprof__report report;
static pyprof__rows rows;

static void open_report(pyprof_profile *of)
{
    profile = of;
    CHECK(pyprof__select(&selection, profile, output.filter, PYPROF_STATES_ALL));
    pyprof__report_init(&report, &selection, &output);
}

static void close_report(void)
{
    pyprof__report_free(&report);
    CHECK_INT(report.pool.used, 0);
    pyprof__selection_free(&selection);
    pyprof_profile_free(profile);
}

static pyprof__report_table table_of(const char *heading)
{
    for (size_t i = 0; i < COUNT(pyprof__time_tables); i++)
        if (strstr(pyprof__time_tables[i].heading, heading)) return pyprof__time_tables[i];
    for (size_t i = 0; i < COUNT(pyprof__memory_facts); i++)
        if (strstr(pyprof__memory_facts[i].heading, heading)) return pyprof__memory_facts[i];
    printf("no table %s\n", heading);
    CHECK(!"table");
    return pyprof__time_tables[0];
}

static const pyprof__report_row *row(size_t i) { return &AT(const pyprof__report_row, rows.rows, i); }
static const pyprof__report_row *part(const pyprof__report_row *of, size_t i)
{
    CHECK(i < of->count && of->first + i < rows.parts.count);
    return &AT(const pyprof__report_row, rows.parts, of->first + i);
}

static void make(const pyprof__report_table *table) { CHECK(pyprof__rows_make(&rows, &report, table)); }

static int64_t sum_of(size_t column)
{
    int64_t sum = 0;
    for (size_t i = 0; i < rows.rows.count; i++) sum += row(i)->values[column];
    return sum;
}

// ---- what the model says -----------------------------------------------------------------------------------------------
static int64_t value(int metric, uint32_t node)   // metric 0 = running
{
    if (metric) return pyprof__model_value(&profile->model, (pyprof_metric)metric, node);
    return value(PYPROF_WALL_NS, node) - value(PYPROF_WAIT_NS, node);
}

static int64_t all_of(int metric)
{
    int64_t sum = 0;
    for (uint32_t node = 0; node < profile->model.nodes.count; node++) sum += value(metric, node);
    return sum;
}

static int64_t all_active(void) { return all_of(PYPROF_WALL_NS) - all_of(PYPROF_IDLE_NS); }   // 100 % of time

static uint32_t parent(uint32_t node) { return AT(const pyprof__node, profile->model.nodes, node).parent; }
static int kind(uint32_t node) { return pyprof__function_of(profile, node)->kind; }

static uint32_t thread(uint32_t node)   // the node of its thread
{
    while (parent(node)) node = parent(node);
    return node;
}

static uint32_t owner(uint32_t node)   // the frame that a leaf lies under
{
    uint32_t up = node;
    while (up && (kind(up) == PYPROF_KIND_NATIVE || kind(up) == PYPROF_KIND_WAIT)) up = parent(up);
    return kind(up) == PYPROF_KIND_THREAD || !up ? node : up;
}

// ---- tables of time ----------------------------------------------------------------------------------------------------
static void check_threads(const char *heading, int with_samples)
{
    pyprof__report_table table = table_of(heading);
    table.most = 1000;
    make(&table);
    for (size_t i = 0; i < rows.rows.count; i++) {
        uint32_t at = AT(const pyprof__recorded_thread, profile->model.threads, row(i)->recorded).node;
        for (size_t k = 0; k < PYPROF__COLUMNS && table.columns[k].cell; k++) {
            int64_t want = 0;
            for (uint32_t node = 1; node < profile->model.nodes.count; node++) want += thread(node) == at ? value(table.columns[k].metric, node) : 0;
            CHECK_INT(row(i)->values[k], want);
        }
    }
    if (with_samples) CHECK_INT(sum_of(2), all_of(0));
    pyprof__rows_free(&rows);
}

TEST(threads)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        open_report(some_profile(n));
        check_threads("\nThreads", 1);
        check_threads("\nThe GIL", 0);
        check_threads("\nMemory by the thread", 0);
        close_report();
    }
}

static int64_t weight_of(const pyprof__report_table *table, const pyprof__report_row *one)   // of a thread
{
    int64_t sum = one->values[0];
    for (size_t k = 1; k < PYPROF__COLUMNS && table->columns[k].cell; k++) {
        if (table->columns[0].metric != PYPROF_WALL_NS) sum += one->values[k];
        else if (table->columns[k].metric == PYPROF_IDLE_NS) sum -= one->values[k];
    }
    return sum;
}

// Half of the rows: none that is left out matters more than one that is there; the order stays.
static size_t check_half_of_threads(const char *heading)
{
    pyprof__report_table table = table_of(heading);
    char shown[1000] = "";
    int64_t least = INT64_MAX;
    size_t all;
    table.most = 1000;
    make(&table);
    all = rows.rows.count;
    pyprof__rows_free(&rows);
    if (all < 2 || all > sizeof shown) return 0;
    table.most = all / 2;
    make(&table);
    CHECK(rows.rows.count == all / 2 && rows.more == all - all / 2);
    for (size_t i = 0; i < rows.rows.count; i++) {
        CHECK(i == 0 || row(i - 1)->recorded < row(i)->recorded);
        shown[row(i)->recorded] = 1;
        if (weight_of(&table, row(i)) < least) least = weight_of(&table, row(i));
    }
    pyprof__rows_free(&rows);
    table.most = 1000;
    make(&table);
    for (size_t i = 0; i < rows.rows.count; i++)
        CHECK(shown[row(i)->recorded] || weight_of(&table, row(i)) <= least);
    pyprof__rows_free(&rows);
    return 1;
}

TEST(of_many_threads_the_ones_that_matter_are_shown)
{
    size_t halved = 0;
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        open_report(some_profile(n));
        halved += check_half_of_threads("\nThreads") + check_half_of_threads("\nThe GIL") + check_half_of_threads("\nMemory by the thread");
        close_report();
    }
    CHECK(halved > 10);
}

static int is_of(const pyprof__report_row *a, uint32_t node, int group)   // does the node belong to that row?
{
    const pyprof__location *at = pyprof__location_of(profile, node);
    const pyprof__function *function = pyprof__function_of(profile, node);
    const char *file = pyprof__text(profile, function->file);
    if (group == PYPROF_GROUP_FILE) return strcmp(a->name, *file ? file : "(no file)") == 0;
    if (file == pyprof__text(profile, function->name)) file = "";
    return strcmp(a->name, pyprof__title(profile, at->function)) == 0 && strcmp(a->file, file) == 0
        && a->line == (group == PYPROF_GROUP_LINE ? at->place.line : function->first_line);
}

static void check_groups(pyprof__report_table table)
{
    int64_t want_all = 0;
    table.most = 1000;
    make(&table);
    for (uint32_t node = 1; node < profile->model.nodes.count; node++)
        want_all += kind(owner(node)) == PYPROF_KIND_THREAD ? 0 : value(table.columns[0].metric, node);
    if (!table.by_total && !table.columns[0].total) CHECK_INT(sum_of(0), want_all);
    CHECK_INT(rows.all, table.sort ? all_of(table.sort) : all_active());
    for (size_t i = 0; i < rows.rows.count; i++)
        for (size_t k = 0; k < PYPROF__COLUMNS && table.columns[k].cell; k++) {
            const pyprof__column *column = &table.columns[k];
            int64_t want = 0, got = 0;
            if (column->total) continue;
            for (uint32_t node = 1; node < profile->model.nodes.count; node++) {
                if (kind(owner(node)) == PYPROF_KIND_THREAD || !is_of(row(i), owner(node), table.group)) continue;
                want += value(column->metric, node);
                if (column->other && column->cell < PYPROF__PERCENT) want -= value(column->other, node);
            }
            for (size_t other = 0; other < rows.rows.count; other++)   // namesakes, if there are some
                if (!strcmp(row(other)->name, row(i)->name) && !strcmp(row(other)->file, row(i)->file) && row(other)->line == row(i)->line)
                    got += row(other)->values[k];
            CHECK_INT(got, want);
        }
    pyprof__rows_free(&rows);
}

TEST(functions_lines_and_files)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        open_report(some_profile(n));
        check_groups(table_of("(self)\n"));
        check_groups(table_of("\nLines"));
        check_groups(table_of("\nFiles"));
        if (selection.all[PYPROF_EXCEPTIONS]) check_groups(table_of("\nExceptions"));
        for (size_t i = 0; i < COUNT(pyprof__memory_tables) && profile->model.heap.mode; i++) check_groups(pyprof__memory_tables[i]);
        close_report();
    }
}

TEST(rows_that_are_left_out)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof__report_table table = table_of("\nLines");
        size_t all;
        open_report(some_profile(n));
        table.most = 1000;
        make(&table);
        all = rows.rows.count + rows.more;
        for (size_t i = 1; i < rows.rows.count; i++) CHECK(row(i - 1)->values[0] >= row(i)->values[0]);
        pyprof__rows_free(&rows);
        table.most = 4;
        make(&table);
        CHECK(rows.rows.count <= 4);
        CHECK_INT(rows.rows.count + rows.more, all);
        pyprof__rows_free(&rows);
        close_report();
    }
}

static void check_leaves(const char *heading, int metric, int less)
{
    pyprof__report_table table = table_of(heading);
    int64_t want = 0, extra = 0;
    table.most = 1000;
    make(&table);
    for (uint32_t node = 1; node < profile->model.nodes.count; node++) {
        int64_t one = value(metric, node) - (less ? value(less, node) : 0);
        want += one > 0 ? one : 0;
        if (one > 0 && table.columns[2].metric) extra += value(table.columns[2].metric, node);
    }
    CHECK_INT(sum_of(0), want);
    if (table.columns[2].metric) CHECK_INT(sum_of(2), extra);
    for (size_t i = 0; i < rows.rows.count; i++) {
        int64_t parts = 0;
        for (size_t k = 0; k < row(i)->count; k++) parts += part(row(i), k)->values[0];
        CHECK(row(i)->more ? parts < row(i)->values[0] : parts == row(i)->values[0]);
        CHECK(row(i)->count > 0 && (i == 0 || row(i)->values[0] <= row(i - 1)->values[0]));
    }
    CHECK(!rows.shown || rows.all == all_active());
    pyprof__rows_free(&rows);
}

static void check_places(const char *heading, int metric)   // the largest sum of a place is that of the first row
{
    pyprof__report_table table = table_of(heading);
    size_t places = 0;
    int64_t most = 0;
    make(&table);
    for (uint32_t node = 1; node < profile->model.nodes.count && rows.shown; node++) {
        const pyprof__location *at = pyprof__location_of(profile, owner(node));
        int64_t sum = 0, before = 0;
        for (uint32_t i = 1; i < profile->model.nodes.count; i++) {
            const pyprof__location *other = pyprof__location_of(profile, owner(i));
            if (other->function != at->function || other->place.line != at->place.line) continue;
            if (i < node) before += value(metric, i);
            sum += value(metric, i);
        }
        places += value(metric, node) > 0 && before == 0;
        most = sum > most ? sum : most;
    }
    if (rows.rows.count) CHECK_INT(row(0)->values[0], most);
    CHECK_INT(rows.rows.count + rows.more, places);
    pyprof__rows_free(&rows);
}

TEST(what_was_waited_for_and_called)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        open_report(some_profile(n));
        check_leaves("\nC functions", PYPROF_NATIVE_NS, 0);
        check_leaves("\nWaiting, by", PYPROF_WAIT_NS, PYPROF_IDLE_NS);
        check_leaves("    idle", PYPROF_IDLE_NS, 0);
        check_places("  Where it was waited for", PYPROF_GIL_WAIT_NS);
        check_places("  Where it was held", PYPROF_GIL_BLOCK_NS);
        close_report();
    }
}

TEST(pairs_and_the_longest_hold)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof__report_table pairs = table_of("  Who waited"), hold = table_of("  Held longest");
        int64_t want = 0, longest = 0;
        open_report(some_profile(n));
        make(&pairs);
        for (size_t i = 0; i < profile->model.rivals.count; i++) want += (int64_t)AT(const pyprof__rivals, profile->model.rivals, i).ns;
        if (rows.shown) CHECK_INT(sum_of(0), want);
        pyprof__rows_free(&rows);
        make(&hold);
        for (size_t i = 0; i < profile->model.threads.count; i++) {
            int64_t ns = (int64_t)AT(const pyprof__recorded_thread, profile->model.threads, i).hold_ns;
            longest = ns > longest ? ns : longest;
        }
        CHECK(!rows.shown || row(0)->values[0] == longest);
        for (size_t i = 0; rows.shown && i < row(0)->count; i++) CHECK(*part(row(0), i)->name);
        pyprof__rows_free(&rows);
        close_report();
    }
}

// The stack of a node as one line; columns do not count
static const char *stack_text(uint32_t node, char *text, size_t size)
{
    size_t used = 0;
    for (text[0] = '\0'; node; node = parent(node)) {
        const pyprof__location *at = pyprof__location_of(profile, node);
        used += (size_t)snprintf(text + used, size - used, at->place.line > 0 ? "%s:%ld\n" : "%s\n", pyprof__label(profile, at->function), (long)at->place.line);
        CHECK(used < size);
    }
    return text;
}

TEST(stacks)
{
    static char stack[100000], other[100000];
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof__report_table table = table_of("\nHottest stacks");
        int64_t most = 0;
        char label[1000];
        open_report(some_profile(n));
        make(&table);
        CHECK_INT(rows.all, all_active());
        for (uint32_t node = 1; node < profile->model.nodes.count; node++) most = value(0, node) > most ? value(0, node) : most;
        CHECK(rows.rows.count > 0 && row(0)->values[0] >= most);
        for (size_t i = 0; i < rows.rows.count; i++) {
            int64_t want = 0;
            size_t used = 0;
            if (row(i)->more) continue;
            for (size_t k = 0; k < row(i)->count; k++) {
                snprintf(label, sizeof label, "%s\n", part(row(i), k)->name);
                used += (size_t)snprintf(stack + used, sizeof stack - used, "%s", label);
            }
            for (uint32_t node = 1; node < profile->model.nodes.count; node++)
                want += strcmp(stack_text(node, other, sizeof other), stack) == 0 ? value(0, node) : 0;
            CHECK_INT(row(i)->values[0], want);
        }
        pyprof__rows_free(&rows);
        close_report();
    }
}

TEST(tasks)
{
    pyprof__report_table table = table_of("\nWaiting tasks");
    open_report(some_profile(3));
    make(&table);
    CHECK_INT(rows.rows.count, 1);
    CHECK_INT(row(0)->values[0], 700 * ms);
    CHECK_STR(row(0)->name, "Task-1");
    CHECK_INT(row(0)->count, 1);
    CHECK_STR(part(row(0), 0)->name, "fetch");
    CHECK_STR(row(0)->file, "/srv/app/main.py");
    CHECK_INT(row(0)->line, 9);
    pyprof__rows_free(&rows);
    close_report();
}

// A function with a line more than are shown, without a source: the lines that ran longest, by number
TEST(hot_lines)
{
    pyprof__report_table table = table_of("\nThe hottest functions");
    recording r;
    recording_begin(&r, NULL);
    uint32_t t = add_thread(&r, "MainThread", 1);
    for (int line = 1; line <= PYPROF__HOT_LINES + 1; line++) {
        uint32_t node = add_frame(&r, thread_node(&r, t), "/none.py", "f", 1, line);
        add_values(&r, node, line, line * (int64_t)ms, 0, 0);
        add_values(&r, node, 1, 5 * (int64_t)ms, 0, 1);
        pyprof__model_add(&r.model, PYPROF_NATIVE_NS, node, line);
    }
    open_report(seal(&r, 0));
    make(&table);
    CHECK_INT(rows.rows.count, 1);
    CHECK_STR(row(0)->name, "f");
    CHECK_INT(row(0)->values[0], PYPROF__SCRIPT_UNREADABLE);
    CHECK_INT(row(0)->count, PYPROF__HOT_LINES);
    for (size_t i = 0; i < row(0)->count; i++) {
        CHECK_INT(part(row(0), i)->line, i + 2);
        CHECK_INT(part(row(0), i)->values[0], (int64_t)(i + 2) * ((int64_t)ms - 1));
        CHECK_INT(part(row(0), i)->values[1], i + 2);
        CHECK_INT(part(row(0), i)->values[2], 5 * ms);
    }
    pyprof__rows_free(&rows);
    close_report();
    recording_end(&r);
}

// ---- tables of memory, and of differences ------------------------------------------------------------------------------
TEST(domains_and_sizes)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof__report_table domains = table_of("\nAllocators"), sizes = table_of("\nSizes");
        int64_t live = 0, blocks = 0;
        open_report(some_profile(n));
        make(&domains);
        for (int i = 0; i < PYPROF_DOMAIN_COUNT; i++) live += profile->model.heap.domains[i].live_bytes;
        CHECK_INT(sum_of(0), live);
        pyprof__rows_free(&rows);
        make(&sizes);
        for (int i = 0; i < PYPROF_SIZES; i++) blocks += profile->model.heap.sizes[i];
        CHECK_INT(sum_of(1), blocks);
        CHECK_INT(rows.all, blocks);
        pyprof__rows_free(&rows);
        close_report();
    }
}

TEST(leaks)
{
    for (uint64_t n = 1; n < RECORDINGS; n++) {
        static pyprof_leak leaks[1000];
        const pyprof_query by_line = { .group = PYPROF_GROUP_LINE };
        size_t count;
        open_report(some_profile(n));
        if (profile->model.heap.mode) {
            CHECK_INT(pyprof_leaks(profile, &by_line, leaks, sizeof *leaks, 1000, &count), PYPROF_OK);
            make(&pyprof__leaks_table);
            CHECK_INT(rows.rows.count + rows.more, count);
            for (size_t i = 0; i < rows.rows.count; i++) {
                CHECK_INT(row(i)->values[0], leaks[i].growth);
                CHECK_INT(row(i)->values[1], leaks[i].live_bytes);
                CHECK_INT(row(i)->values[2], leaks[i].grown_bytes);
                CHECK_INT(row(i)->values[3], leaks[i].error_bytes);
                CHECK_INT(row(i)->line, leaks[i].line);
                CHECK_INT(row(i)->rate, leaks[i].growth == PYPROF_GROWTH_GROWING ? leaks[i].bytes_per_s * 60 : 0);
            }
            pyprof__rows_free(&rows);
        }
        close_report();
    }
}

TEST(means_shares_and_errors)   // computed from the values of a row
{
    open_report(some_profile(2));
    CHECK_INT(profile->model.heap.mode, PYPROF_HEAP_SAMPLED);
    make(&pyprof__memory_tables[2]);
    CHECK(rows.rows.count > 0);
    for (size_t i = 0; i < rows.rows.count; i++) {
        const int64_t *values = row(i)->values;
        CHECK(pyprof__cell_value(&rows, row(i), 1) == 100.0 * (double)values[0] / (double)all_of(PYPROF_ALLOC_BYTES));
        CHECK(pyprof__cell_value(&rows, row(i), 2) == pyprof__sampling_error(&profile->model.heap, (double)values[2]));
        CHECK(pyprof__cell_value(&rows, row(i), 4) == (double)values[0] / (double)values[3]);
        CHECK(pyprof__cell_value(&rows, row(i), 5) == 100.0 * (double)values[5] / (double)values[3]);
    }
    pyprof__rows_free(&rows);
    close_report();
}

static void check_changes(pyprof__report_table table)
{
    int64_t want = 0, got = 0;
    table.most = 1000;
    make(&table);
    for (uint32_t node = 1; node < profile->model.nodes.count; node++) want += kind(owner(node)) == PYPROF_KIND_THREAD ? 0 : value(table.sort, node);
    for (size_t i = 0; i < rows.parts.count; i++) {
        CHECK(AT(const pyprof__report_row, rows.parts, i).values[0] < 0);
        got += AT(const pyprof__report_row, rows.parts, i).values[0];
    }
    for (size_t i = 0; i < rows.rows.count; i++) CHECK(row(i)->values[0] > 0);
    CHECK_INT(sum_of(0) + got, want);
    pyprof__rows_free(&rows);
}

TEST(changes)
{
    for (uint64_t n = 0; n < RECORDINGS; n += 2) {
        pyprof_profile *before = some_profile(n), *after = some_profile(n + 1), *delta;
        CHECK_INT(pyprof_diff(before, after, NULL, &delta), PYPROF_OK);
        open_report(delta);
        check_changes(pyprof__changes_of_memory);
        close_report();
        pyprof_profile_free(before);
        pyprof_profile_free(after);
    }
}

TEST(the_process)
{
    for (uint64_t n = 0; n < RECORDINGS; n++) {
        pyprof__process_seen seen;
        open_report(some_profile(n));
        size_t begin = 0, count = profile->model.gauges.count;
        CHECK_INT(pyprof__report_process(&profile->model, &seen), count > 0);
        if (count == 0) { close_report(); continue; }
        const pyprof__gauge *gauges = profile->model.gauges.data;
        while (begin + 1 < count && gauges[begin + 1].ns <= profile->model.start_ns) begin++;
        const pyprof_process *first = &gauges[begin].facts, *last = &gauges[count - 1].facts;
        int64_t most = 0;
        for (size_t i = 0; i < count; i++) most = gauges[i].facts.resident_bytes > most ? gauges[i].facts.resident_bytes : most;
        CHECK_INT(seen.seen.user_ns, last->user_ns - first->user_ns);
        CHECK_INT(seen.seen.minor_faults, last->minor_faults - first->minor_faults);
        CHECK_INT(seen.seen.gc_runs, last->gc_runs - first->gc_runs);
        CHECK_INT(seen.threads_most, last->threads);
        CHECK_INT(seen.resident_first, gauges[0].facts.resident_bytes);
        CHECK_INT(seen.resident_most, most);
        CHECK_INT(seen.seen.resident_bytes, last->resident_bytes);
        close_report();
    }
}

TEST(a_report_remembers_that_there_was_no_memory)   // its tables after that have no rows
{
    counting c;
    open_report(some_profile(11));
    pyprof_allocator before = profile->pool.allocator, allocator = counting_allocator(&c);
    profile->pool.allocator = allocator;
    pyprof__report_init(&report, &selection, &output);
    c.fail_at = 1;
    CHECK(!pyprof__rows_make(&rows, &report, &pyprof__memory_tables[0]));
    CHECK(report.failed);
    CHECK(!pyprof__rows_make(&rows, &report, &pyprof__time_tables[0]));
    pyprof__report_free(&report);
    CHECK_INT(c.live, 0);
    profile->pool.allocator = before;
    close_report();
}

TEST(what_grew_since_an_earlier_snapshot)   // as a part of the text, where the profile knows one
{
    pyprof_profile *before = some_profile(2), *after = some_profile(4);
    CHECK(!strstr(written_as(after, PYPROF_FORMAT_TEXT).data, "since the snapshot"));
    after->before = before;
    CHECK_INT(occurrences(written_as(after, PYPROF_FORMAT_TEXT).data, "\nLines, by the growth of their live memory since the snapshot "), 1);
    pyprof_profile_free(after);
    pyprof_profile_free(before);
}

// ---- without memory ----------------------------------------------------------------------------------------------------
static void check_fails_well(const pyprof__report_table *table)   // at each allocation: 0 comes back, and nothing is kept
{
    counting c;
    pyprof_allocator before = profile->pool.allocator, allocator = counting_allocator(&c);
    profile->pool.allocator = allocator;
    for (long n = 1;; n++) {
        int whole;
        c = (counting){ 0, n, 0, 0 };
        pyprof__report_init(&report, &selection, &output);
        whole = pyprof__rows_make(&rows, &report, table);
        if (whole) pyprof__rows_free(&rows);
        pyprof__report_free(&report);
        CHECK_INT(c.live, 0);
        CHECK_INT(whole, c.calls < n);
        if (whole) break;
    }
    profile->pool.allocator = before;
}

TEST(no_memory)
{
    open_report(some_profile(11));
    CHECK(profile->model.heap.mode);
    for (size_t i = 0; i < COUNT(pyprof__time_tables); i++) check_fails_well(&pyprof__time_tables[i]);
    for (size_t i = 0; i < COUNT(pyprof__memory_tables); i++) check_fails_well(&pyprof__memory_tables[i]);
    for (size_t i = 0; i < COUNT(pyprof__memory_facts); i++) check_fails_well(&pyprof__memory_facts[i]);
    check_fails_well(&pyprof__memory_stacks);
    check_fails_well(&pyprof__leaks_table);
    close_report();
}

// ---- the largest of many -----------------------------------------------------------------------------------------------
TEST(top)
{
    for (int n = 0; n < 1000; n++) {
        pyprof__top top = { 1 + random_below(10), 0, 0, { 0 }, { 0 } };
        int64_t values[40];
        uint32_t count = random_below(40), positive = 0;
        for (uint32_t i = 0; i < count; i++) {
            values[i] = (int64_t)random_below(12) - 2;
            positive += values[i] > 0;
            pyprof__top_offer(&top, i, values[i]);
        }
        CHECK_INT(top.all, positive);
        CHECK_INT(top.count, positive < top.most ? positive : top.most);
        for (uint32_t i = 0; i < top.count; i++) {   // as often as one is the next: no larger one is left, and none as large before it
            CHECK_INT(top.values[i], values[top.ids[i]]);
            for (uint32_t k = 0; k < count; k++) CHECK(values[k] < top.values[i] || (values[k] == top.values[i] && k >= top.ids[i]));
            values[top.ids[i]] = -1;
        }
    }
}
TEST_MAIN
