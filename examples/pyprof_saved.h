// pyprof report, flamegraph, diff, merge, convert: recordings that were saved.
#ifndef PYPROF_SAVED_H
#define PYPROF_SAVED_H
#include "pyprof_files.h"

static int cli_inputs(const struct cli_options *options, int least, int most)
{
    const struct cli_command *command = cli_command_of(options->command);
    int i, streams = 0;
    for (i = 0; i < options->inputs; i++) streams += strcmp(options->input[i], "-") == 0;
    if (streams > 1) return cli_misuse(options, "- as a recording more than once");
    if (options->inputs >= least && options->inputs <= most) return 0;
    if (options->inputs > most) return cli_misuse(options, "too many files: pyprof %s %s", command->name, command->operands);
    return cli_misuse(options, "which file? pyprof %s %s", command->name, command->operands);
}

// Writes all outputs, and says so.
static int cli_write_all(const struct cli_options *options, const pyprof_profile *profile)
{
    int i, status = 0;
    char name[4200];
    for (i = 0; i < options->outputs; i++) {
        if (cli_save(options, profile, options->output[i]) != 0) { status = CLI_FAILED; continue; }
        if (options->quiet || strcmp(options->output[i], "-") == 0) continue;
        cli_written_name(profile, options->output[i], name, sizeof name);
        cli_tell("wrote %s", name);
    }
    return status;
}

// ---- report: a table ------------------------------------------------------------------
static const char *cli_metric_name(int metric)
{
    const struct cli_name *name;
    for (name = cli_metrics; name->name; name++)
        if (name->value == metric) return name->name;
    return "?";
}

static int cli_is_time(int metric)
{
    static const int times[] = { 0, PYPROF_WALL_NS, PYPROF_CPU_NS, PYPROF_GIL_NS, PYPROF_GIL_WAIT_NS, PYPROF_WAIT_NS, PYPROF_NATIVE_NS, PYPROF_GPU_NS,
                                 PYPROF_IDLE_NS, PYPROF_CPU_WAIT_NS, PYPROF_NOGIL_NS, PYPROF_GIL_BLOCK_NS, PYPROF_UNKNOWN_NS };
    size_t i;
    for (i = 0; i < sizeof times / sizeof times[0]; i++)
        if (times[i] == metric) return 1;
    return 0;
}

static int64_t cli_value(const int64_t *values, int metric)   // 0 = running
{
    return metric ? values[metric] : values[PYPROF_WALL_NS] - values[PYPROF_WAIT_NS];
}

static void cli_print_value(int metric, int64_t value)
{
    if (cli_is_time(metric)) printf("%12.3f", 1e-9 * (double)value);
    else printf("%12lld", (long long)value);
}

static void cli_print_row(const pyprof_row *row, int metric, double whole)
{
    char text[600];
    const char *name = row->qualname && *row->qualname ? row->qualname : row->name;
    cli_print_value(metric, cli_value(row->self, metric));
    if (whole > 0) printf(" %6.1f %%", 100 * (double)cli_value(row->self, metric) / whole);
    cli_print_value(metric, cli_value(row->total, metric));
    if (row->file && *row->file && row->line > 0 && strcmp(name, row->file) != 0) snprintf(text, sizeof text, "%s  %s:%d", name, row->file, (int)row->line);
    else snprintf(text, sizeof text, "%s", name);
    if (row->process && *row->process) snprintf(text + strlen(text), sizeof text - strlen(text), "  %s", row->process);
    cli_clean(text);
    printf("  %s\n", text);
}

static void cli_json_value(const char *key, int metric, int64_t value)
{
    if (cli_is_time(metric)) printf(",\"%s\":%.9f", key, 1e-9 * (double)value);
    else printf(",\"%s\":%lld", key, (long long)value);
}

static void cli_json_row(const pyprof_row *row, int metric)
{
    putchar('{');
    cli_json_text("name", row->name);
    putchar(',');
    cli_json_text("qualname", row->qualname);
    putchar(',');
    cli_json_text("file", row->file);
    printf(",\"line\":%d", (int)row->line);
    if (row->process) {
        putchar(',');
        cli_json_text("process", row->process);
    }
    cli_json_value("self", metric, cli_value(row->self, metric));
    cli_json_value("total", metric, cli_value(row->total, metric));
    cli_json_value("self_error", metric, row->self_error);
    cli_json_value("total_error", metric, row->total_error);
    putchar('}');
}

static void cli_json_table(const pyprof_profile *profile, int metric, double whole, const pyprof_row *rows, size_t shown, size_t count)
{
    pyprof_info info;
    pyprof_stats stats;
    size_t i;
    pyprof_profile_info(profile, &info);
    pyprof_profile_stats(profile, &stats);
    putchar('{');
    cli_json_text("program", info.program ? info.program : "");
    printf(",\"pid\":%lld,\"recordings\":%zu,\"duration\":%.9f,\"rate_hz\":%g,\"asked\":%llu,\"samples\":%llu,\"lost\":%llu,", (long long)info.pid,
           info.recordings, info.duration_s, info.rate_hz, (unsigned long long)stats.asked, (unsigned long long)stats.samples,
           (unsigned long long)(stats.missed + stats.rejected));
    cli_json_text("degraded", stats.degraded);
    putchar(',');
    cli_json_text("metric", cli_metric_name(metric));
    putchar(',');
    cli_json_text("unit", cli_is_time(metric) ? "s" : "");
    cli_json_value("all", metric, (int64_t)whole);
    printf(",\"count\":%zu,\"rows\":[", count);
    for (i = 0; i < shown; i++) {
        fputs(i ? ",\n" : "\n", stdout);
        cli_json_row(&rows[i], metric);
    }
    puts("]}");
}

static int cli_print_table(const struct cli_options *options, const pyprof_profile *profile)
{
    size_t count = 0, i, capacity = (size_t)options->rows;
    pyprof_row *rows = calloc(capacity, sizeof *rows);
    pyprof_query query = options->query, by_thread = options->query;
    int metric = query.sort;
    double whole = 0;
    pyprof_row *threads;
    if (!rows) return cli_fail("no memory");
    // What 100 % is: the sum over all threads.
    by_thread.group = PYPROF_GROUP_THREAD;
    by_thread.by_total = 0;
    if (pyprof_top(profile, &by_thread, rows, sizeof *rows, 0, &count) == PYPROF_OK && (threads = calloc(count + 1, sizeof *threads)) != NULL) {
        if (pyprof_top(profile, &by_thread, threads, sizeof *threads, count, &count) == PYPROF_OK)
            for (i = 0; i < count; i++) whole += (double)cli_value(threads[i].total, metric);
        free(threads);
    }
    if (pyprof_top(profile, &query, rows, sizeof *rows, capacity, &count) != PYPROF_OK) {
        free(rows);
        return cli_fail("%s", pyprof_last_error());
    }
    if (options->json) {
        cli_json_table(profile, metric, whole, rows, count < capacity ? count : capacity, count);
        free(rows);
        return 0;
    }
    printf("%12s %s%12s  by %s%s\n", "self", whole > 0 ? "       % " : "", "total", cli_metric_name(metric), cli_is_time(metric) ? ", in seconds" : "");
    for (i = 0; i < count && i < capacity; i++) cli_print_row(&rows[i], metric, whole);
    if (count > capacity) printf("%zu more; --rows N shows N of them\n", count - capacity);
    free(rows);
    return 0;
}

// The text on a terminal: headings bold, findings yellow, and bold what has the mark of own code. Lines come in pieces.
struct cli_page { char line[4096]; size_t used; int after_gap; };

static void cli_page_line(struct cli_page *page)   // without its end
{
    const char *line = page->line, *mark = strstr(line, " * "), *colour = NULL, *at = line;
    if (*line == ' ' && mark) at = mark + 1, colour = "\033[1m";
    else if (strncmp(line, "- ", 2) == 0) colour = "\033[33m";
    else if (page->after_gap && *line && *line != ' ') colour = "\033[1m";
    if (colour) printf("%.*s%s%s\033[0m", (int)(at - line), line, colour, at);
    else fputs(line, stdout);
}

static int cli_page_write(void *user, const void *data, size_t size)
{
    struct cli_page *page = user;
    const char *text = data;
    size_t i;
    for (i = 0; i < size; i++) {
        int full = page->used + 1 == sizeof page->line;
        if (text[i] != '\n') page->line[page->used++] = text[i];
        if (text[i] != '\n' && !full) continue;
        page->line[page->used] = 0;
        cli_page_line(page);
        if (text[i] == '\n') putchar('\n');
        page->after_gap = text[i] == '\n' && page->used == 0;
        page->used = 0;
    }
    return ferror(stdout);
}

static int cli_is_coloured(void)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    return isatty(1) && term && *term && strcmp(term, "dumb") != 0 && !(no_colour && *no_colour);
}

static int cli_print_text(const struct cli_options *options, const pyprof_profile *profile)
{
    pyprof_output output = cli_output(options, PYPROF_FORMAT_TEXT);
    struct cli_page page;
    if (!cli_is_coloured()) return cli_save(options, profile, "-");
    memset(&page, 0, sizeof page);
    if (pyprof_write(profile, &output, cli_page_write, &page) != PYPROF_OK) return cli_fail("%s", pyprof_last_error());
    return fflush(stdout) == 0 ? 0 : cli_fail("cannot write the report: %s", strerror(errno));
}

static int cli_report(struct cli_options *options)
{
    pyprof_profile *profile;
    int table = cli_given(options, "sort") || cli_given(options, "group") || cli_given(options, "total") || cli_given(options, "rows")
        || options->json;
    int status = cli_inputs(options, 1, 1);
    if (status || !(profile = cli_load(options->input[0]))) return status ? status : CLI_FAILED;
    if (table) status = cli_print_table(options, profile);
    else {
        options->format = PYPROF_FORMAT_TEXT;
        status = cli_print_text(options, profile);
    }
    pyprof_profile_free(profile);
    return status;
}

// ---- flamegraph, convert ----------------------------------------------------------------
static int cli_convert(struct cli_options *options)
{
    pyprof_profile *profile = NULL;
    char name[4200];
    int status = cli_inputs(options, 1, 1);
    const char *input = options->inputs ? options->input[0] : "";
    if (status) return status;
    if (options->command == CLI_FLAMEGRAPH && !options->format) options->format = PYPROF_FORMAT_SVG;
    if (!options->outputs && options->command == CLI_CONVERT && !options->format) return cli_misuse(options, "write what? pyprof convert -i IN -o OUT");
    if (!options->outputs && strcmp(input, "-") == 0) options->output[options->outputs++] = "-";
    else if (!options->outputs) {
        size_t length = strlen(input);
        if (length > 5 && strcmp(input + length - 5, ".json") == 0) length -= 5;
        snprintf(name, sizeof name, "%.*s%s", (int)length, input, cli_suffix_of(options->format));
        options->output[options->outputs++] = name;
    }
    status = cli_check_outputs(options);
    if (!status && !(profile = cli_load(input))) status = CLI_FAILED;
    if (!status) status = cli_write_all(options, profile);
    pyprof_profile_free(profile);
    return status;
}

// ---- diff, merge ------------------------------------------------------------------------
static int cli_diff(struct cli_options *options)
{
    pyprof_profile *before = NULL, *after = NULL, *delta = NULL;
    pyprof_diff_options how;
    pyprof_query filter;   // stacks are chosen first; which time counts is told to the writer
    int states = options->query.states, idle = options->query.include_idle, status = cli_inputs(options, 2, 2);
    if (status) return status;
    memset(&how, 0, sizeof how);
    filter = options->query;
    filter.states = filter.include_idle = 0;
    how.filter = &filter;
    how.group = options->query.group;
    how.scale = options->scale;
    memset(&options->query, 0, sizeof options->query);
    options->query.states = states;
    options->query.include_idle = idle;
    if (!options->outputs) options->output[options->outputs++] = "-";
    status = cli_check_outputs(options);
    if (!status && (!(before = cli_load(options->input[0])) || !(after = cli_load(options->input[1])))) status = CLI_FAILED;
    if (!status && pyprof_diff(before, after, &how, &delta) != PYPROF_OK) status = cli_fail("%s", pyprof_last_error());
    if (!status) status = cli_write_all(options, delta);
    pyprof_profile_free(before);
    pyprof_profile_free(after);
    pyprof_profile_free(delta);
    return status;
}

static int cli_merge(struct cli_options *options)
{
    pyprof_profile **loaded = calloc((size_t)options->inputs + 1, sizeof *loaded), *merged = NULL;
    pyprof_merge_options how;
    int status = loaded ? cli_inputs(options, 1, 1 << 20) : cli_fail("no memory"), i;
    memset(&how, 0, sizeof how);
    how.as_one = options->as_one;
    if (!status && !options->outputs) status = cli_misuse(options, "write where? pyprof merge IN... -o OUT");
    if (!status) status = cli_check_outputs(options);
    for (i = 0; i < options->inputs && !status; i++)
        if (!(loaded[i] = cli_load(options->input[i]))) status = CLI_FAILED;
    if (!status && pyprof_merge((const pyprof_profile *const *)loaded, (size_t)options->inputs, &how, &merged) != PYPROF_OK)
        status = cli_fail("%s", pyprof_last_error());
    for (i = 0; loaded && i < options->inputs; i++) pyprof_profile_free(loaded[i]);
    free(loaded);
    if (!status) status = cli_write_all(options, merged);
    pyprof_profile_free(merged);
    return status;
}
#endif
