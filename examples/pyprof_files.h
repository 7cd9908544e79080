// The files that pyprof reads and writes.
#ifndef PYPROF_FILES_H
#define PYPROF_FILES_H
#include "pyprof_cli.h"

// ---- names -----------------------------------------------------------------------------
// The format of a file name, by its longest known suffix. 0 = none.
static int cli_format_of(const char *path)
{
    const struct cli_name *name;
    size_t length = strlen(path), best = 0;
    int format = 0;
    for (name = cli_formats; name->name; name++) {
        size_t suffix = strlen(name->note);
        if (suffix <= best || suffix > length || strcmp(path + length - suffix, name->note) != 0) continue;
        best = suffix;
        format = name->value;
    }
    return format;
}

static const char *cli_suffix_of(int format)
{
    const struct cli_name *name;
    for (name = cli_formats; name->name; name++)
        if (name->value == format) return name->note;
    return "";
}

static const char *cli_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// The format in which a file is to be written. A name without any suffix is a flame graph, as for py-spy.
static int cli_format_for(const struct cli_options *options, const char *path)
{
    int format = options->format ? options->format : cli_format_of(path);
    if (format || strchr(cli_base(path), '.')) return format;
    return options->command == CLI_MERGE ? PYPROF_FORMAT_JSON : strcmp(path, "-") ? PYPROF_FORMAT_SVG : PYPROF_FORMAT_TEXT;
}

// ---- reading --------------------------------------------------------------------------
static pyprof_profile *cli_load(const char *path)   // NULL = the reason was printed
{
    pyprof_profile *profile = NULL;
    if (pyprof_load(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &profile) == PYPROF_OK) return profile;
    cli_fail("%s", pyprof_last_error());
    return NULL;
}

// A recording of nothing. With it pyprof.h tells whether it can write a file before there is anything to write.
static const char cli_nothing[] =
    "{\"format\":\"pyprof\",\"version\":1,\"process_name\":\"\",\"python\":\"\",\"free_threaded\":false,\"rate_hz\":100,"
    "\"start_ns\":1,\"last_ns\":1,\"recorded_ns\":0,\"unix_offset_ns\":0,\"timeline_s\":60,\"interpreters\":0,\"paths\":\"full\","
    "\"processes\":[{\"pid\":1,\"started\":0,\"node\":0}],\"stats\":{},\"threads\":[],\"frames\":[{\"name\":\"all\","
    "\"qualname\":\"all\",\"label\":\"all\",\"file\":\"\",\"line\":0,\"end_line\":0,\"column\":-1,\"end_column\":-1,"
    "\"kind\":\"process\",\"first_line\":0,\"function\":0}],\"tree\":{\"parent\":[-1],\"frame\":[0],\"self\":{},\"total\":{}},"
    "\"samples\":[]}";

static pyprof_profile *cli_empty(void)   // NULL = it cannot be made here
{
    pyprof_profile *profile = NULL;
    char path[40];
    int channel[2];
    if (pipe2(channel, O_CLOEXEC) != 0) return NULL;
    snprintf(path, sizeof path, "/dev/fd/%d", channel[0]);
    if (write(channel[1], cli_nothing, sizeof cli_nothing - 1) == (ssize_t)(sizeof cli_nothing - 1)) {
        close(channel[1]);
        channel[1] = -1;
        if (pyprof_load(path, &profile) != PYPROF_OK) profile = NULL;
    }
    if (channel[1] >= 0) close(channel[1]);
    close(channel[0]);
    return profile;
}

// ---- writing --------------------------------------------------------------------------
// Filters apply to every file but the JSON, unless one was asked for: it has everything.
static int cli_is_filtered(const struct cli_options *options)
{
    static const pyprof_query none;
    pyprof_query query;
    memcpy(&query, &options->query, sizeof query);
    query.sort = query.group = query.by_total = 0;
    return memcmp(&query, &none, sizeof query) != 0;
}

static pyprof_output cli_output(const struct cli_options *options, int format)
{
    pyprof_output output;
    int everything = format == PYPROF_FORMAT_JSON && (options->command == CLI_RECORD || !cli_is_filtered(options));
    memset(&output, 0, sizeof output);
    output.format = format;
    output.metric = options->metric;
    output.filter = everything ? NULL : &options->query;
    output.split_threads = options->threads;
    output.lines = options->lines;
    output.paths = options->paths;
    output.title = options->title;
    output.compact = options->compact;
    output.full = options->full;
    return output;
}

static int cli_swallow(void *user, const void *data, size_t size)
{
    (void)user, (void)data, (void)size;
    return 0;
}

// Can a file be created there? Nothing is: a file of that name may belong to a run that still goes on.
static int cli_check_folder(const char *path)
{
    char folder[4096];
    struct stat info;
    const char *slash = strrchr(path, '/');
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return cli_fail("cannot write %s: Is a directory", path);
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + (slash == path) : 1, slash ? path : ".");
    if (stat(folder, &info) != 0) return cli_fail("cannot write %s: there is no folder %s", path, folder);
    if (!S_ISDIR(info.st_mode)) return cli_fail("cannot write %s: %s is not a folder", path, folder);
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return access(path, W_OK) == 0 ? 0 : cli_fail("cannot write %s: %s", path, strerror(errno));
    return access(folder, W_OK | X_OK) == 0 ? 0 : cli_fail("cannot write %s: %s: %s", path, folder, strerror(errno));
}

// Tells what is wrong with the files to be written, before the work begins.
static int cli_check_outputs(const struct cli_options *options)
{
    pyprof_profile *empty = cli_empty();
    int i, streams = 0, status = 0;
    for (i = 0; i < options->outputs && !status; i++) {
        const char *path = options->output[i];
        int format = cli_format_for(options, path);
        pyprof_output output = cli_output(options, format);
        streams += strcmp(path, "-") == 0;
        if (streams > 1) status = cli_misuse(options, "--output - more than once");
        else if (!format)
            status = cli_misuse(options, "cannot tell the format of %s by its suffix; --format tells it, as in --format %s", path, cli_formats[0].name);
        else if (empty && pyprof_write(empty, &output, cli_swallow, NULL) != PYPROF_OK
                 && !(options->heap && strstr(pyprof_last_error(), "memory was not tracked")) && options->command == CLI_RECORD)
            status = strstr(pyprof_last_error(), "memory was not tracked")
                ? cli_misuse(options, "%s shows memory, which is recorded with --heap", path) : cli_misuse(options, "%s: %s", path, pyprof_last_error());
        else if (strcmp(path, "-") != 0 && !strchr(path, '%')) status = cli_check_folder(path);
    }
    pyprof_profile_free(empty);
    return status;
}

static int cli_save(const struct cli_options *options, const pyprof_profile *profile, const char *path)
{
    pyprof_output output = cli_output(options, cli_format_for(options, path));
    if (pyprof_save(profile, path, &output) == PYPROF_OK) return 0;
    return cli_fail("%s", pyprof_last_error());
}

// The name that pyprof_save gives to a file: %p, %t, %h in it are filled in.
static void cli_written_name(const pyprof_profile *profile, const char *pattern, char *name, size_t capacity)
{
    pyprof_info info;
    char host[80] = "", when[32] = "";
    struct tm local;
    time_t start;
    size_t used = 0;
    pyprof_profile_info(profile, &info);
    start = (time_t)info.start;
    gethostname(host, sizeof host - 1);
    if (localtime_r(&start, &local)) strftime(when, sizeof when, "%Y%m%d-%H%M%S", &local);
    for (name[0] = 0; *pattern && used + 1 < capacity; pattern++) {
        if (*pattern != '%') used += (size_t)snprintf(name + used, capacity - used, "%c", *pattern);
        else switch (*++pattern) {
        case 'p': used += (size_t)snprintf(name + used, capacity - used, "%lld", (long long)info.pid); break;
        case 't': used += (size_t)snprintf(name + used, capacity - used, "%s", when); break;
        case 'h': used += (size_t)snprintf(name + used, capacity - used, "%s", host); break;
        default: used += (size_t)snprintf(name + used, capacity - used, "%%"); break;
        }
    }
}
#endif
