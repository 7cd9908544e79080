// The command line of pyprof: one table of commands, one of options. --help, the man page and the completions
// for shells are made from them (pyprof_help.h).
#ifndef PYPROF_CLI_H
#define PYPROF_CLI_H
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {   // commands, as bits: an option belongs to some of them
    CLI_RECORD = 1, CLI_TOP = 2, CLI_DUMP = 4, CLI_REPORT = 8, CLI_FLAMEGRAPH = 16, CLI_DIFF = 32, CLI_MERGE = 64,
    CLI_CONVERT = 128, CLI_COMPLETION = 256, CLI_HELP = 512,
    CLI_LIVE = CLI_RECORD | CLI_TOP,                                          // they sample a process
    CLI_SAVED = CLI_REPORT | CLI_FLAMEGRAPH | CLI_DIFF | CLI_CONVERT,         // they show recordings
    CLI_ALL = 1023
};
enum { CLI_USAGE = 2, CLI_FAILED = 1, CLI_MOST_OUTPUTS = 32, CLI_MOST_OPTIONS = 80 };

struct cli_options {
    int command;                   // its bit
    int64_t pid;                   // 0 = none
    char **program;                // the command to start, NULL-terminated; NULL = none
    double rate_hz, duration_s;    // duration_s 0 = unlimited
    double delay_s;                // top: between two refreshes
    int subprocesses, threads, gil, idle, native, nonblocking, function, nolineno, lines, full_filenames;
    int heap;                      // pyprof_heap_mode
    int format;                    // pyprof_format; 0 = by the suffix
    int metric;                    // pyprof_metric; 0 = the format's own
    int quiet, json, compact, full, as_one, locals, secrets, sources, paths, scale, rows, count;
    const char *core, *executable, *title;
    pyprof_query query;            // sort, group, states and filters, as options gave them
    const char *output[CLI_MOST_OUTPUTS];
    int outputs;
    const char **input;            // recordings: of --input, and words that are not options
    int inputs;
    char given[CLI_MOST_OPTIONS];  // which rows of cli_option_table were on the command line: cli_given()
};

// ---- text of others, on a terminal --------------------------------------------
// Names and paths can hold anything. A terminal must obey none of it, and a line must read as it is.
struct cli_range { uint32_t first, last; };
static const struct cli_range cli_unshown[] = {   // controls, directions of writing, invisible: shown as their numbers
    { 0x0, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x600, 0x605 }, { 0x61c, 0x61c }, { 0x6dd, 0x6dd }, { 0x70f, 0x70f }, { 0x890, 0x891 },
    { 0x8e2, 0x8e2 }, { 0x180e, 0x180e }, { 0x200b, 0x200c }, { 0x200e, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xd800, 0xdfff },
    { 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xfffe, 0xffff }, { 0x110bd, 0x110bd }, { 0x110cd, 0x110cd },
    { 0x13430, 0x1343f }, { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe00ff },
};
#define CLI_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CLI_IN(ranges, code) cli_in(ranges, CLI_COUNT(ranges), code)

static int cli_in(const struct cli_range *ranges, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > ranges[middle].last) low = middle + 1;
        else high = middle;
    }
    return low < count && code >= ranges[low].first;
}

// The next character of UTF-8; 0xffffffff = the byte is not part of one.
static uint32_t cli_decode(const char **text)
{
    const unsigned char *at = (const unsigned char *)*text;
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    int size = *at < 0x80 ? 1 : *at >= 0xf0 && *at < 0xf5 ? 4 : *at >= 0xe0 && *at < 0xf0 ? 3 : *at >= 0xc2 && *at < 0xe0 ? 2 : 0, i;
    uint32_t code = size < 2 ? *at : (uint32_t)(*at & (0x7f >> size));
    *text += 1;
    if (!size) return 0xffffffff;
    for (i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0xffffffff;
        code = code << 6 | (at[i] & 0x3f);
    }
    if (code < least[size] || code > 0x10ffff) return 0xffffffff;
    *text += size - 1;
    return code;
}

static int cli_is_unsafe(uint32_t code)   // a terminal would obey it, or not show it
{
    return code == 0xffffffff || code == 0x200d || (code & 0xfffe) == 0xfffe || CLI_IN(cli_unshown, code);
}

// Unsafe characters, and bytes that are no UTF-8, become question marks.
static void cli_clean(char *text)
{
    const char *in = text;
    char *out = text;
    while (*in) {
        const char *from = in;
        if (cli_is_unsafe(cli_decode(&in))) *out++ = '?';
        else while (from < in) *out++ = *from++;
    }
    *out = 0;
}

// They are shown by their numbers: \x1b, \u202e.
static void cli_print(FILE *file, const char *text)
{
    while (*text) {
        const char *from = text;
        uint32_t code = cli_decode(&text);
        if (!cli_is_unsafe(code)) fwrite(from, 1, (size_t)(text - from), file);
        else if (code == 0xffffffff || code < 0x100) fprintf(file, "\\x%02x", code == 0xffffffff ? (unsigned char)*from : code);
        else fprintf(file, code > 0xffff ? "\\U%08x" : "\\u%04x", code);
    }
}

// ---- errors -------------------------------------------------------------------
static void cli_say(const char *format, va_list list)
{
    char text[8192];
    vsnprintf(text, sizeof text, format, list);
    fputs("pyprof: ", stderr);
    cli_print(stderr, text);
    fputc('\n', stderr);
}

__attribute__((format(printf, 1, 2)))
static void cli_tell(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    cli_say(format, list);
    va_end(list);
}

__attribute__((format(printf, 1, 2)))
static int cli_fail(const char *format, ...)   // the status of a command that could not do its work
{
    va_list list;
    va_start(list, format);
    cli_say(format, list);
    va_end(list);
    return CLI_FAILED;
}

// ---- JSON -----------------------------------------------------------------------
static void cli_json_text(const char *key, const char *text)   // the strings of a profile are UTF-8
{
    const unsigned char *at = (const unsigned char *)text;
    if (key) printf("\"%s\":", key);
    putchar('"');
    for (; at && *at; at++) {
        if (*at == '"' || *at == '\\') printf("\\%c", *at);
        else if (*at < 0x20) printf("\\u%04x", *at);
        else putchar(*at);
    }
    putchar('"');
}

// ---- words that stand for numbers of pyprof.h -------------------------------------
struct cli_name {
    const char *name;
    int value;
    const char *note;              // formats: the suffix; NULL = not listed, an alias
};

// The first four are the names of py-spy.
static const struct cli_name cli_formats[] = {
    { "flamegraph", PYPROF_FORMAT_SVG, ".svg" },
    { "raw", PYPROF_FORMAT_FOLDED, ".folded" },
    { "speedscope", PYPROF_FORMAT_SPEEDSCOPE, ".speedscope.json" },
    { "chrometrace", PYPROF_FORMAT_TRACE, ".trace.json" },
    { "json", PYPROF_FORMAT_JSON, ".json" },
    { "text", PYPROF_FORMAT_TEXT, ".txt" },
    { "svg", PYPROF_FORMAT_SVG, ".svg" },
    { "html", PYPROF_FORMAT_HTML, ".html" },
    { "folded", PYPROF_FORMAT_FOLDED, ".folded" },
    { "pprof", PYPROF_FORMAT_PPROF, ".pb.gz" },
    { "pstats", PYPROF_FORMAT_PSTATS, ".prof" },
    { "cpuprofile", PYPROF_FORMAT_CPUPROFILE, ".cpuprofile" },
    { "heapprofile", PYPROF_FORMAT_HEAPPROFILE, ".heapprofile" },
    { "trace", PYPROF_FORMAT_TRACE, ".trace.json" },
    { "firefox", PYPROF_FORMAT_FIREFOX, ".firefox.json" },
    { "callgrind", PYPROF_FORMAT_CALLGRIND, ".callgrind" },
    { "pickle", PYPROF_FORMAT_PICKLE, ".pkl" },
    { "perf", PYPROF_FORMAT_PERF, ".linux-perf.txt" },
    { "massif", PYPROF_FORMAT_MASSIF, ".massif" },
    { "dhat", PYPROF_FORMAT_DHAT, ".dhat.json" },
    { "openmetrics", PYPROF_FORMAT_OPENMETRICS, ".om.txt" },
    { "perfetto", PYPROF_FORMAT_PERFETTO, ".perfetto-trace" },
    { "otlp", PYPROF_FORMAT_OTLP, ".otlp.pb" },
    { "table", PYPROF_FORMAT_TABLE, ".table.csv" },
    { "lcov", PYPROF_FORMAT_LCOV, ".info" },
    { "prompt", PYPROF_FORMAT_PROMPT, ".prompt.txt" },
    { NULL, 0, NULL }
};
static const struct cli_name cli_metrics[] = {
    { "running", 0, "" },
    { "wall", PYPROF_WALL_NS, "" }, { "cpu", PYPROF_CPU_NS, "" }, { "samples", PYPROF_SAMPLES, "" },
    { "wait", PYPROF_WAIT_NS, "" }, { "idle", PYPROF_IDLE_NS, "" }, { "cpu-wait", PYPROF_CPU_WAIT_NS, "" },
    { "unknown", PYPROF_UNKNOWN_NS, "" }, { "gil", PYPROF_GIL_NS, "" }, { "gil-wait", PYPROF_GIL_WAIT_NS, "" },
    { "gil-block", PYPROF_GIL_BLOCK_NS, "" }, { "native", PYPROF_NATIVE_NS, "" }, { "nogil", PYPROF_NOGIL_NS, "" },
    { "exceptions", PYPROF_EXCEPTIONS, "" }, { "alloc", PYPROF_ALLOC_BYTES, "" },
    { "alloc-blocks", PYPROF_ALLOC_BLOCKS, "" }, { "live", PYPROF_LIVE_BYTES, "" },
    { "live-blocks", PYPROF_LIVE_BLOCKS, "" }, { "peak", PYPROF_PEAK_BYTES, "" },
    { "peak-blocks", PYPROF_PEAK_BLOCKS, "" }, { "temp", PYPROF_TEMP_BLOCKS, "" },
    { "self", 0, NULL }, { "time", 0, NULL }, { "memory", PYPROF_LIVE_BYTES, NULL },   // other words for some of them
    { NULL, 0, NULL }
};
static const struct cli_name cli_groups[] = {
    { "function", PYPROF_GROUP_FUNCTION, "" }, { "line", PYPROF_GROUP_LINE, "" }, { "file", PYPROF_GROUP_FILE, "" },
    { "thread", PYPROF_GROUP_THREAD, "" }, { "leaf", PYPROF_GROUP_LEAF, "" }, { NULL, 0, NULL }
};
static const struct cli_name cli_states[] = {
    { "default", PYPROF_STATES_DEFAULT, "" }, { "all", PYPROF_STATES_ALL, "" },
    { "running", PYPROF_STATES_RUNNING, "" }, { "waiting", PYPROF_STATES_WAITING, "" },
    { "gil", PYPROF_STATES_GIL, "" }, { "native", PYPROF_STATES_NATIVE, "" }, { NULL, 0, NULL }
};
static const struct cli_name cli_scales[] = {
    { "none", PYPROF_SCALE_NONE, "" }, { "time", PYPROF_SCALE_TIME, "" }, { "count", PYPROF_SCALE_COUNT, "" },
    { NULL, 0, NULL }
};
static const struct cli_name cli_paths[] = {
    { "full", PYPROF_PATHS_FULL, "" }, { "base", PYPROF_PATHS_BASE, "" }, { "hashed", PYPROF_PATHS_HASHED, "" },
    { NULL, 0, NULL }
};
static const struct cli_name cli_heaps[] = {
    { "sampled", PYPROF_HEAP_SAMPLED, "" }, { "exact", PYPROF_HEAP_EXACT, "" }, { NULL, 0, NULL }
};

// ---- commands ------------------------------------------------------------------
struct cli_command {
    int bit;
    const char *name, *operands, *summary, *text;
    const char *examples[8];       // pairs: a command line, and what it does
};
static const struct cli_command cli_command_table[] = {
    { CLI_RECORD, "record", "[-o FILE]... (--pid PID | [--] COMMAND...)",
      "Record a running program, or a command from its first instruction",
      "The recording ends after --duration seconds, when the program ends, or with Ctrl-C or SIGTERM; then the files are "
      "written. A COMMAND that still runs then goes on; its exit status is that of pyprof, 128 plus the number of the "
      "signal that ended it. The suffix of FILE chooses the format; .json holds everything and can be shown, compared "
      "and converted later. Without -o the flame graph is called PROGRAM-TIME.svg.",
      { "pyprof record -o app.svg --pid 4242 --duration 60", "a running program, for a minute, as a flame graph",
        "pyprof record -o app.json -o app.svg -- python app.py", "a command, into two files",
        "pyprof record -o all.json --subprocesses --pid 4242", "a server with all of its workers",
        "pyprof record -o memory.json --heap -- python app.py", "memory, too" } },
    { CLI_TOP, "top", "[--pid PID | --input FILE | [--] COMMAND...]",
      "Show live where a program spends its time, like top(1)",
      "With --input the table of a saved recording. Without a terminal, a table is printed after each interval.",
      { "pyprof top --pid 4242", "a running program",
        "pyprof top --input app.json", "a saved recording" } },
    { CLI_DUMP, "dump", "--pid PID",
      "Show the stack of every thread, and what it waits for, once",
      "The program is not stopped. This works on programs that hang, too.",
      { "pyprof dump --pid 4242", "what each thread is doing",
        "pyprof dump --pid 4242 --locals", "and with which local variables" } },
    { CLI_REPORT, "report", "FILE",
      "Print a saved recording as text",
      "The whole report, or with --sort, --group or --json one table. FILE is a .json that record or the library wrote; - is "
      "standard input.",
      { "pyprof report app.json", "the report",
        "pyprof report app.json --sort wait --group line", "the lines that wait longest",
        "pyprof report app.json --json --rows 5", "the five hottest functions, for a script",
        "pyprof report app.json --thread 'worker*' --states running", "only what some threads ran" } },
    { CLI_FLAMEGRAPH, "flamegraph", "[--input] FILE [--output OUT.svg]",
      "Draw a saved recording as a flame graph",
      "Without --output the picture is called like the recording, with the suffix .svg.",
      { "pyprof flamegraph --input app.json --output app.svg", "a picture of the time",
        "pyprof flamegraph app.json -o live.svg --metric live", "of the memory that is alive" } },
    { CLI_DIFF, "diff", "BEFORE AFTER [-o FILE]...",
      "Compare two recordings",
      "The changes from one recording to another, as text, or as a red and blue flame graph if FILE ends in .svg.",
      { "pyprof diff before.json after.json", "the report of the changes",
        "pyprof diff before.json after.json -o change.svg --scale time", "drawn, as if both had run for the same time" } },
    { CLI_MERGE, "merge", "IN... -o OUT",
      "Join several recordings into one",
      "Each recording becomes a process of its own, or with --as-one all are one process.",
      { "pyprof merge app.*_profile.json -o all.json", "the workers of a server" } },
    { CLI_CONVERT, "convert", "-i IN -o OUT...",
      "Write a saved recording in other formats",
      "The suffix of OUT chooses the format, unless --format does. - is standard input or output.",
      { "pyprof convert -i app.json -o app.prof", "for pstats and snakeviz",
        "pyprof convert -i app.json -o app.pb.gz -o app.speedscope.json", "for two other programs",
        "pyprof convert -i app.json -f raw -o - | flamegraph.pl >app.svg", "into a pipe" } },
    { CLI_COMPLETION, "completion", "bash | zsh | fish",
      "Print the completion script for a shell", "",
      { "source <(pyprof completion bash)", "in ~/.bashrc" } },
    { CLI_HELP, "help", "[COMMAND]", "Explain a command", "", { "pyprof help record", "as pyprof record --help" } },
    { 0, NULL, NULL, NULL, NULL, { NULL } }
};

// ---- options --------------------------------------------------------------------
enum cli_kind { CLI_FLAG, CLI_COUNT, CLI_NUMBER, CLI_INTEGER, CLI_DURATION, CLI_PID, CLI_WORD, CLI_INPUT, CLI_OUTPUT, CLI_CHOICE, CLI_SPECIAL };
struct cli_option {
    int commands;
    const char *name;              // "rate": --rate
    char letter;                   // 'r': -r; 0 = none
    const char *argument;          // "HZ"; "[=exact]": may be left out; NULL = there is none
    const char *initial;           // its value if the option is not given; NULL = none
    const char *help;
    enum cli_kind kind;
    size_t place;                  // in struct cli_options
    const struct cli_name *choices;
    const char *also;              // another spelling
    int py_spy;                    // py-spy has this option, and means the same
};
#define CLI_AT(field) offsetof(struct cli_options, field)
static const struct cli_option cli_option_table[] = {
    { CLI_LIVE | CLI_DUMP, "pid", 'p', "PID", NULL, "the process to look at, decimal or hexadecimal (0x...)", CLI_PID, CLI_AT(pid), NULL, NULL, 1 },
    { CLI_RECORD | CLI_FLAMEGRAPH | CLI_DIFF | CLI_MERGE | CLI_CONVERT, "output", 'o', "FILE", NULL,
      "write to FILE; may be given several times; - is standard output; %p, %t and %h in it are the pid, the time and the host",
      CLI_OUTPUT, 0, NULL, NULL, 1 },
    { CLI_TOP, "input", 0, "FILE", NULL, "show this recording", CLI_INPUT, 0, NULL, NULL, 0 },
    { CLI_REPORT | CLI_FLAMEGRAPH | CLI_CONVERT, "input", 'i', "FILE", NULL, "the recording to read", CLI_INPUT, 0, NULL, NULL, 0 },
    { CLI_RECORD | CLI_FLAMEGRAPH | CLI_DIFF | CLI_MERGE | CLI_CONVERT, "format", 'f', "FORMAT", NULL,
      "the format of all files, whatever their suffixes are", CLI_CHOICE, CLI_AT(format), cli_formats, NULL, 1 },
    { CLI_LIVE, "duration", 'd', "SECONDS", "unlimited", "end after so many seconds", CLI_DURATION, CLI_AT(duration_s), NULL, NULL, 1 },
    { CLI_LIVE, "rate", 'r', "HZ", "100", "samples a second; auto: as many as 1 % of a CPU allows", CLI_NUMBER, CLI_AT(rate_hz), NULL, NULL, 1 },
    { CLI_LIVE | CLI_DUMP, "subprocesses", 's', NULL, NULL, "follow child processes, too", CLI_FLAG, CLI_AT(subprocesses), NULL, "children", 1 },
    { CLI_RECORD, "heap", 0, "[=MODE]", NULL, "record memory, too; only for a COMMAND", CLI_CHOICE, CLI_AT(heap), cli_heaps, NULL, 0 },
    { CLI_RECORD, "threads", 't', NULL, NULL, "keep threads apart in formats that join them", CLI_FLAG, CLI_AT(threads), NULL, NULL, 1 },
    { CLI_TOP, "threads", 't', NULL, NULL, "begin with the table of threads", CLI_FLAG, CLI_AT(threads), NULL, NULL, 1 },
    { CLI_FLAMEGRAPH | CLI_CONVERT | CLI_DIFF, "threads", 't', NULL, NULL, "keep threads apart in formats that join them", CLI_FLAG, CLI_AT(threads), NULL, NULL, 0 },
    { CLI_LIVE | CLI_SAVED, "gil", 'g', NULL, NULL, "only time in which the thread held the GIL", CLI_FLAG, CLI_AT(gil), NULL, NULL, 1 },
    { CLI_LIVE, "idle", 'i', NULL, NULL, "count waiting for work (sleep, select, accept...), too", CLI_FLAG, CLI_AT(idle), NULL, NULL, 1 },
    { CLI_SAVED, "idle", 0, NULL, NULL, "count waiting for work (sleep, select, accept...), too", CLI_FLAG, CLI_AT(idle), NULL, NULL, 0 },
    { CLI_LIVE | CLI_DUMP, "native", 'n', NULL, NULL, "C functions that Python calls, by name; so it is without this, too: C frames below them are not unwound", CLI_FLAG, CLI_AT(native), NULL, NULL, 1 },
    { CLI_RECORD | CLI_FLAMEGRAPH | CLI_CONVERT | CLI_DIFF, "lines", 0, NULL, NULL, "one frame for each line, not for each function", CLI_FLAG, CLI_AT(lines), NULL, NULL, 0 },
    { CLI_LIVE, "function", 'F', NULL, NULL, "one frame for each function; so it is without this, too", CLI_FLAG, CLI_AT(function), NULL, NULL, 1 },
    { CLI_RECORD, "nolineno", 0, NULL, NULL, "no lines of source; so it is without this, too", CLI_FLAG, CLI_AT(nolineno), NULL, NULL, 1 },
    { CLI_LIVE | CLI_DUMP, "full-filenames", 0, NULL, NULL, "whole paths; so it is without this, too", CLI_FLAG, CLI_AT(full_filenames), NULL, NULL, 1 },
    { CLI_LIVE | CLI_DUMP, "nonblocking", 0, NULL, NULL, "never stop the process; so it is without this, too", CLI_FLAG, CLI_AT(nonblocking), NULL, NULL, 1 },
    { CLI_TOP, "delay", 0, "SECONDS", "1", "between two refreshes", CLI_NUMBER, CLI_AT(delay_s), NULL, NULL, 1 },
    { CLI_TOP, "count", 0, "N", NULL, "end after so many tables", CLI_INTEGER, CLI_AT(count), NULL, NULL, 0 },
    { CLI_DUMP, "locals", 'l', NULL, NULL, "local variables, shortened (-ll: less so); values of names such as password, token, key are masked", CLI_COUNT, CLI_AT(locals), NULL, NULL, 1 },
    { CLI_DUMP, "secrets", 0, NULL, NULL, "do not mask values", CLI_FLAG, CLI_AT(secrets), NULL, NULL, 0 },
    { CLI_DUMP, "json", 'j', NULL, NULL, "as JSON", CLI_FLAG, CLI_AT(json), NULL, NULL, 1 },
    { CLI_DUMP, "core", 'c', "FILE", NULL, "read this core file, not a process", CLI_WORD, CLI_AT(core), NULL, NULL, 1 },
    { CLI_DUMP, "executable", 0, "FILE", NULL, "the program of the core file, if it is not where it was", CLI_WORD, CLI_AT(executable), NULL, NULL, 0 },
    { CLI_REPORT, "json", 'j', NULL, NULL, "the table as JSON; times are in seconds", CLI_FLAG, CLI_AT(json), NULL, NULL, 0 },
    { CLI_REPORT | CLI_TOP, "sort", 0, "METRIC", "running", "sort by this metric", CLI_CHOICE, CLI_AT(query.sort), cli_metrics, NULL, 0 },
    { CLI_REPORT | CLI_TOP, "total", 0, NULL, NULL, "sort by the time in a function and in what it calls", CLI_FLAG, CLI_AT(query.by_total), NULL, NULL, 0 },
    { CLI_REPORT | CLI_TOP | CLI_DIFF, "group", 0, "GROUP", "function", "what a row is", CLI_CHOICE, CLI_AT(query.group), cli_groups, NULL, 0 },
    { CLI_REPORT | CLI_TOP | CLI_DIFF, "rows", 0, "N", "20", "so many rows", CLI_INTEGER, CLI_AT(rows), NULL, "limit", 0 },
    { CLI_FLAMEGRAPH | CLI_CONVERT | CLI_DIFF | CLI_RECORD | CLI_REPORT, "metric", 0, "METRIC", NULL, "show this metric; without it that of the format: time, or live memory",
      CLI_CHOICE, CLI_AT(metric), cli_metrics, NULL, 0 },
    { CLI_DIFF, "scale", 0, "SCALE", "none", "multiply the earlier values to make recordings comparable", CLI_CHOICE, CLI_AT(scale), cli_scales, NULL, 0 },
    { CLI_MERGE, "as-one", 0, NULL, NULL, "all recordings are one process; threads of one name are one thread", CLI_FLAG, CLI_AT(as_one), NULL, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "states", 0, "STATES", "default", "the time that counts; default: all but waiting for work", CLI_CHOICE, CLI_AT(query.states), cli_states, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "thread", 0, "GLOB", NULL, "only threads with such a name", CLI_WORD, CLI_AT(query.thread), NULL, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "process", 0, "GLOB", NULL, "only processes with such a name or pid", CLI_WORD, CLI_AT(query.process), NULL, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "task", 0, "GLOB", NULL, "only stacks below such an asyncio task", CLI_WORD, CLI_AT(query.task), NULL, NULL, 0 },
    { CLI_SAVED, "function", 'F', "GLOB", NULL, "only stacks with such a function", CLI_WORD, CLI_AT(query.function), NULL, "focus", 0 },
    { CLI_TOP, "focus", 0, "GLOB", NULL, "only stacks with such a function", CLI_WORD, CLI_AT(query.function), NULL, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "file", 0, "GLOB", NULL, "only stacks with such a file", CLI_WORD, CLI_AT(query.file), NULL, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "ignore", 0, "GLOB", NULL, "no stack with such a function or file", CLI_WORD, CLI_AT(query.ignore), NULL, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "hide", 0, "GLOB", NULL, "leave such frames out of stacks", CLI_WORD, CLI_AT(query.hide), NULL, NULL, 0 },
    { CLI_SAVED | CLI_TOP, "show-from", 0, "GLOB", NULL, "begin stacks at the first such frame", CLI_WORD, CLI_AT(query.show_from), NULL, NULL, 0 },
    { CLI_SAVED, "from", 0, "SECONDS", NULL, "only from this second of the recording on", CLI_NUMBER, CLI_AT(query.from_s), NULL, NULL, 0 },
    { CLI_SAVED, "to", 0, "SECONDS", NULL, "only until this second of the recording", CLI_NUMBER, CLI_AT(query.to_s), NULL, NULL, 0 },
    { CLI_RECORD | CLI_FLAMEGRAPH | CLI_CONVERT | CLI_DIFF, "paths", 0, "PATHS", "full", "how file names are shown", CLI_CHOICE, CLI_AT(paths), cli_paths, NULL, 0 },
    { CLI_RECORD | CLI_FLAMEGRAPH | CLI_CONVERT | CLI_DIFF, "title", 0, "TEXT", NULL, "the title of the picture or report", CLI_WORD, CLI_AT(title), NULL, NULL, 0 },
    { CLI_RECORD | CLI_MERGE | CLI_CONVERT, "compact", 0, NULL, NULL, "shorter JSON", CLI_FLAG, CLI_AT(compact), NULL, NULL, 0 },
    { CLI_RECORD | CLI_DIFF | CLI_MERGE | CLI_CONVERT | CLI_REPORT, "full", 0, NULL, NULL, "text: also rows below 1 %, whole paths, all about quality",
      CLI_FLAG, CLI_AT(full), NULL, NULL, 0 },
    { CLI_RECORD | CLI_FLAMEGRAPH | CLI_DIFF | CLI_MERGE | CLI_CONVERT | CLI_TOP, "quiet", 'q', NULL, NULL, "print errors only", CLI_FLAG, CLI_AT(quiet), NULL, NULL, 0 },
    { CLI_ALL, "help", 'h', NULL, NULL, "explain this command", CLI_SPECIAL, 0, NULL, NULL, 1 },
    { CLI_ALL, "version", 'V', NULL, NULL, "print the version", CLI_SPECIAL, 0, NULL, NULL, 1 },
    { 0, NULL, 0, NULL, NULL, NULL, CLI_FLAG, 0, NULL, NULL, 0 }
};

static const struct cli_command *cli_command_of(int bit)
{
    const struct cli_command *command = cli_command_table;
    while (command->bit && command->bit != bit) command++;
    return command->bit ? command : NULL;
}


_Static_assert(sizeof cli_option_table / sizeof cli_option_table[0] <= CLI_MOST_OPTIONS, "struct cli_options has no room for all of them");

static int cli_given(const struct cli_options *options, const char *name)   // was it on the command line?
{
    const struct cli_option *option;
    for (option = cli_option_table; option->name; option++)
        if (options->given[option - cli_option_table] && strcmp(option->name, name) == 0) return 1;
    return 0;
}
#endif
