// Assertions about a profile, for tests. They use the public API only and fit any test harness.
//
//     PYPROF_ASSERT_SELF_MS(profile, "escape", 20);            runs for at most 20 ms itself, without what it calls
//     PYPROF_ASSERT_TOTAL_MS(profile, "render", 200);          takes at most 200 ms, with what it calls and waits for
//     PYPROF_ASSERT_NONE_OVER_MS(profile, "*/shop/*", 100);    no function of these files (NULL = all) runs longer itself
//     PYPROF_ASSERT_NEVER_CALLED(profile, "debug_dump");       is in no stack
//     PYPROF_ASSERT_NO_GROWTH(profile);                        no line's memory grows until the end
//     PYPROF_ASSERT_PEAK_BYTES(profile, "load", 1 << 20);      had at most 1 MiB at the high-water mark (NULL = the program)
//     PYPROF_ASSERT_ALLOCATIONS(profile, "parse", 1000);       made at most 1000 allocations (exact tracking only)
//
// Functions are globs, as in pyprof_query.function. Times are sums over all calls and threads in the recording.
//
// Samples have an error. An assertion holds, or fails, only if the bound lies outside the 95 % interval of the value;
// otherwise it is undecided, and its message says how many samples, or what tracking, would decide it.
//
//     bench.c:41: self time of escape is 31.2 ms +- 4.1 ms, allowed are 20 ms (187 samples)
//     bench.c:42: undecided: total time of render is 190.0 ms +- 27.0 ms, allowed are 200 ms: ...
//
// By default messages go to stderr, and pyprof_assert_status() is the exit status of a program: 0 all hold, 1 one failed,
// 77 none failed, but one is undecided (Automake and Meson count that as skipped). With a harness define one or both of
// these before the #include; message is a string, and line and file are those of the assertion:
//
//     #define PYPROF_ASSERT_FAILED(message)    fail_msg("%s", message)                    cmocka
//     #define PYPROF_ASSERT_FAILED(message)    ck_abort_msg("%s", message)                Check
//     #define PYPROF_ASSERT_UNDECIDED(message) (print_message("%s\n", message), skip())   cmocka: the test counts as skipped
#ifndef PYPROF_ASSERT_H
#define PYPROF_ASSERT_H
#include "../pyprof.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum pyprof_assert_verdict { PYPROF_ASSERT_HOLDS = 0, PYPROF_ASSERT_FAILS = 1, PYPROF_ASSERT_IS_UNDECIDED = 2 };
struct pyprof_assertion {
    const char *file;
    int line;
    char message[900];
};

static inline int *pyprof_assert_count(int verdict)   // how many of this verdict there were
{
    static int counts[3];
    return &counts[verdict];
}

static inline int pyprof_assert_status(void)
{
    return *pyprof_assert_count(PYPROF_ASSERT_FAILS) > 0 ? 1 : *pyprof_assert_count(PYPROF_ASSERT_IS_UNDECIDED) > 0 ? 77 : 0;
}

static inline void pyprof_assert_print(const char *message)
{
    fprintf(stderr, "%s\n", message);
}

#ifndef PYPROF_ASSERT_FAILED
#define PYPROF_ASSERT_FAILED(message) pyprof_assert_print(message)
#endif
#ifndef PYPROF_ASSERT_UNDECIDED
#define PYPROF_ASSERT_UNDECIDED(message) pyprof_assert_print(message)
#endif

#define PYPROF_ASSERT_TELL(call)                                                                  \
    do {                                                                                          \
        struct pyprof_assertion pyprof_assertion;                                                 \
        int pyprof_assert_said;                                                                   \
        pyprof_assertion.file = __FILE__, pyprof_assertion.line = __LINE__;                       \
        pyprof_assert_said = call;                                                                \
        ++*pyprof_assert_count(pyprof_assert_said);                                               \
        if (pyprof_assert_said == PYPROF_ASSERT_FAILS) PYPROF_ASSERT_FAILED(pyprof_assertion.message); \
        if (pyprof_assert_said == PYPROF_ASSERT_IS_UNDECIDED) PYPROF_ASSERT_UNDECIDED(pyprof_assertion.message); \
    } while (0)

#define PYPROF_ASSERT_SELF_MS(profile, function, ms) \
    PYPROF_ASSERT_TELL(pyprof_assert_self(&pyprof_assertion, profile, function, ms))
#define PYPROF_ASSERT_TOTAL_MS(profile, function, ms) \
    PYPROF_ASSERT_TELL(pyprof_assert_total(&pyprof_assertion, profile, function, ms))
#define PYPROF_ASSERT_NONE_OVER_MS(profile, file, ms) \
    PYPROF_ASSERT_TELL(pyprof_assert_none_over(&pyprof_assertion, profile, file, ms))
#define PYPROF_ASSERT_NEVER_CALLED(profile, function) \
    PYPROF_ASSERT_TELL(pyprof_assert_never(&pyprof_assertion, profile, function))
#define PYPROF_ASSERT_NO_GROWTH(profile) PYPROF_ASSERT_TELL(pyprof_assert_no_growth(&pyprof_assertion, profile))
#define PYPROF_ASSERT_PEAK_BYTES(profile, function, bytes) \
    PYPROF_ASSERT_TELL(pyprof_assert_peak(&pyprof_assertion, profile, function, bytes))
#define PYPROF_ASSERT_ALLOCATIONS(profile, function, blocks) \
    PYPROF_ASSERT_TELL(pyprof_assert_blocks(&pyprof_assertion, profile, function, blocks))

// ---- arithmetic -------------------------------------------------------------
static inline double pyprof_assert_root(double square)   // without libm
{
    double root = square > 1 ? square : 1;
    int i;
    if (square <= 0) return 0;
    for (i = 0; i < 200; i++) root = (root + square / root) / 2;
    return root;
}

// Half of the 95 % interval of a time that n of N samples stand for. A time without a sample can have up to three, in 95
// of 100 cases. each: the time of a sample.
static inline double pyprof_assert_error(double n, double all, double each)
{
    double share = all > 0 && n < all ? n / all : 1;
    return n > 0 ? 1.96 * each * pyprof_assert_root(n * (1 - share) + 1) : 3 * each;
}

static inline int pyprof_assert_verdict_of(double value, double error, double bound)
{
    return value + error <= bound ? PYPROF_ASSERT_HOLDS : value - error > bound ? PYPROF_ASSERT_FAILS : PYPROF_ASSERT_IS_UNDECIDED;
}

__attribute__((format(printf, 3, 4)))
static inline int pyprof_assert_say(struct pyprof_assertion *told, int verdict, const char *format, ...)
{
    __builtin_va_list list;
    int used = snprintf(told->message, sizeof told->message, "%s:%d: %s", told->file, told->line,
                        verdict == PYPROF_ASSERT_IS_UNDECIDED ? "undecided: " : "");
    size_t at = used < 0 ? 0 : (size_t)used < sizeof told->message ? (size_t)used : sizeof told->message - 1;
    __builtin_va_start(list, format);
    vsnprintf(told->message + at, sizeof told->message - at, format, list);
    __builtin_va_end(list);
    return verdict;
}

static inline int pyprof_assert_broken(struct pyprof_assertion *told)   // the profile cannot be read
{
    return pyprof_assert_say(told, PYPROF_ASSERT_FAILS, "%s", pyprof_last_error());
}

// ---- time -------------------------------------------------------------------
struct pyprof_assert_time {
    double ns, samples;            // of the function
    double all_samples, each_ns;   // of the recording: its samples, the time of one
    double rate_hz;
};

static inline int pyprof_assert_time_says(struct pyprof_assertion *told, const struct pyprof_assert_time *time, const char *what,
                                          const char *function, double ms)
{
    double value = time->ns / 1e6, error = pyprof_assert_error(time->samples, time->all_samples, time->each_ns) / 1e6;
    double distance = value > ms ? value - ms : ms - value, more = distance > 0 ? error / distance : 1e9;
    int verdict = pyprof_assert_verdict_of(value, error, ms);
    if (time->all_samples <= 0) return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "%s of %s: the recording has no samples", what, function);
    if (time->samples > 0) more *= more;   // the error shrinks with the root of the number of samples
    if (verdict != PYPROF_ASSERT_IS_UNDECIDED)
        return pyprof_assert_say(told, verdict, "%s of %s is %.1f ms +- %.1f ms, allowed are %.6g ms (%.0f samples)", what, function,
                                 value, error, ms, time->samples);
    if (more > 1e4)
        return pyprof_assert_say(told, verdict, "%s of %s is %.1f ms +- %.1f ms, allowed are %.6g ms (%.0f samples): too close to be told apart",
                                 what, function, value, error, ms, time->samples);
    return pyprof_assert_say(told, verdict, "%s of %s is %.1f ms +- %.1f ms, allowed are %.6g ms: the recording has %.0f samples, it takes "
                             "some %.0f (rate_hz %.0f)", what, function, value, error, ms, time->all_samples, time->all_samples * more + 1,
                             time->rate_hz * more + 1);
}

// All rows of a table; the caller frees them. NULL: pyprof_last_error, or no memory.
static inline pyprof_row *pyprof_assert_rows(const pyprof_profile *profile, const pyprof_query *query, size_t *count)
{
    pyprof_row *rows = NULL;
    if (pyprof_top(profile, query, NULL, sizeof(pyprof_row), 0, count) != PYPROF_OK) return NULL;
    rows = (pyprof_row *)calloc(*count + 1, sizeof *rows);
    if (rows && pyprof_top(profile, query, rows, sizeof *rows, *count, count) == PYPROF_OK) return rows;
    free(rows);
    return NULL;
}

static inline void pyprof_assert_whole(const pyprof_info *info, int running, struct pyprof_assert_time *time)
{
    double wall = (double)(info->total[PYPROF_WALL_NS] - (running ? info->total[PYPROF_WAIT_NS] : 0));
    double samples = (double)(info->total[PYPROF_SAMPLES] - (running ? info->total[PYPROF_WAIT_SAMPLES] : 0));
    time->ns = time->samples = 0;
    time->all_samples = (double)info->total[PYPROF_SAMPLES];
    time->rate_hz = info->rate_hz;
    time->each_ns = samples > 0 ? wall / samples : info->rate_hz > 0 ? 1e9 / info->rate_hz : 1e7;
}

// The time that the stacks with such a function took, in all threads: each stack counts once, also in recursion.
static inline int pyprof_assert_total(struct pyprof_assertion *told, const pyprof_profile *profile, const char *function, double ms)
{
    struct pyprof_assert_time time;
    pyprof_query query;
    pyprof_info info;
    pyprof_row *rows;
    size_t count, i;
    memset(&query, 0, sizeof query);
    query.function = function;
    query.group = PYPROF_GROUP_THREAD;
    query.states = PYPROF_STATES_ALL;
    if (pyprof_profile_info(profile, &info) != PYPROF_OK) return pyprof_assert_broken(told);
    rows = pyprof_assert_rows(profile, &query, &count);
    if (!rows) return pyprof_assert_broken(told);
    pyprof_assert_whole(&info, 0, &time);
    for (i = 0; i < count; i++) {
        time.ns += (double)rows[i].total[PYPROF_WALL_NS];
        time.samples += (double)rows[i].total[PYPROF_SAMPLES];
    }
    if (time.samples > 0) time.each_ns = time.ns / time.samples;
    free(rows);
    return pyprof_assert_time_says(told, &time, "total time", function, ms);
}

static inline int pyprof_assert_names(const pyprof_row *row, const char *function)   // does the glob match the row?
{
    return fnmatch(function, row->qualname, 0) == 0 || fnmatch(function, row->name, 0) == 0;
}

// Rows of functions by the time they ran themselves.
static inline pyprof_row *pyprof_assert_running(const pyprof_profile *profile, const char *function, const char *file, size_t *count)
{
    pyprof_query query;
    memset(&query, 0, sizeof query);
    query.function = function;
    query.file = file;
    query.states = PYPROF_STATES_RUNNING;
    return pyprof_assert_rows(profile, &query, count);
}

static inline void pyprof_assert_add(struct pyprof_assert_time *time, const pyprof_row *row)
{
    time->ns += (double)row->self[PYPROF_WALL_NS];
    time->samples += (double)row->self[PYPROF_SAMPLES];
    if (time->samples > 0) time->each_ns = time->ns / time->samples;
}

static inline int pyprof_assert_self(struct pyprof_assertion *told, const pyprof_profile *profile, const char *function, double ms)
{
    struct pyprof_assert_time time;
    pyprof_info info;
    pyprof_row *rows;
    size_t count, i;
    if (pyprof_profile_info(profile, &info) != PYPROF_OK) return pyprof_assert_broken(told);
    rows = pyprof_assert_running(profile, function, NULL, &count);
    if (!rows) return pyprof_assert_broken(told);
    pyprof_assert_whole(&info, 1, &time);
    for (i = 0; i < count; i++)
        if (pyprof_assert_names(&rows[i], function)) pyprof_assert_add(&time, &rows[i]);
    free(rows);
    return pyprof_assert_time_says(told, &time, "self time", function, ms);
}

// A function that fails decides, then one that is undecided; a function without a sample has some time, too.
static inline int pyprof_assert_none_over(struct pyprof_assertion *told, const pyprof_profile *profile, const char *file, double ms)
{
    struct pyprof_assert_time time;
    struct pyprof_assertion one = *told;
    pyprof_info info;
    pyprof_row *rows;
    size_t count, i;
    int verdict, said;
    if (pyprof_profile_info(profile, &info) != PYPROF_OK) return pyprof_assert_broken(told);
    rows = pyprof_assert_running(profile, NULL, file, &count);
    if (!rows) return pyprof_assert_broken(told);
    pyprof_assert_whole(&info, 1, &time);
    verdict = pyprof_assert_time_says(told, &time, "self time", "functions that no sample saw", ms);
    for (i = 0; i < count && verdict != PYPROF_ASSERT_FAILS; i++) {
        char name[300];
        if (rows[i].kind != PYPROF_KIND_PYTHON || (file && fnmatch(file, rows[i].file, 0) != 0)) continue;
        pyprof_assert_whole(&info, 1, &time);
        pyprof_assert_add(&time, &rows[i]);
        snprintf(name, sizeof name, "%s (%s:%d)", rows[i].qualname, rows[i].file, (int)rows[i].line);
        said = pyprof_assert_time_says(&one, &time, "self time", name, ms);
        if (said == PYPROF_ASSERT_FAILS || (said && !verdict)) verdict = said, *told = one;
    }
    free(rows);
    return verdict;
}

// ---- calls ------------------------------------------------------------------
struct pyprof_assert_search {
    const char *function;
    char path[400];   // how it was reached: render > debug_dump
};

static inline int pyprof_assert_found(void *user, const pyprof_item *item)
{
    struct pyprof_assert_search *search = (struct pyprof_assert_search *)user;
    size_t used = 0, i;
    if (item->kind != PYPROF_ITEM_NODE || item->depth == 0) return 0;
    if (fnmatch(search->function, item->stack[item->depth - 1].qualname, 0) && fnmatch(search->function, item->stack[item->depth - 1].name, 0))
        return 0;
    for (i = 0; i < item->depth && used < sizeof search->path; i++) {
        int wrote = snprintf(search->path + used, sizeof search->path - used, "%s%s", i > 0 ? " > " : "", item->stack[i].qualname);
        if (wrote > 0) used += (size_t)wrote;
    }
    return 1;   // one is enough
}

// Samples cannot prove that a function was never called, only that it took next to no time: with 300 samples less than 1 %
// of it, in 95 of 100 cases. Exact memory tracking sees each call that allocates, however short it is.
static inline int pyprof_assert_never(struct pyprof_assertion *told, const pyprof_profile *profile, const char *function)
{
    struct pyprof_assert_search search;
    pyprof_query query;
    pyprof_info info;
    double samples;
    memset(&query, 0, sizeof query);
    query.function = function;
    query.states = PYPROF_STATES_ALL;
    search.function = function;
    search.path[0] = '\0';
    if (pyprof_profile_info(profile, &info) != PYPROF_OK || pyprof_visit(profile, &query, pyprof_assert_found, &search) != PYPROF_OK)
        return pyprof_assert_broken(told);
    samples = (double)info.total[PYPROF_SAMPLES];
    if (search.path[0]) return pyprof_assert_say(told, PYPROF_ASSERT_FAILS, "%s was called: %s", function, search.path);
    if (samples >= 300) return PYPROF_ASSERT_HOLDS;
    return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "%s is in none of %.0f samples: it takes 300 to exclude 1 %% of the time "
                             "(rate_hz %.0f)", function, samples, samples > 0 ? info.rate_hz * 300 / samples + 1 : 1000.0);
}

// ---- memory -----------------------------------------------------------------
static inline int pyprof_assert_untracked(struct pyprof_assertion *told, const char *what)
{
    return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "%s: no memory was tracked; set config.heap", what);
}

static inline int pyprof_assert_no_growth(struct pyprof_assertion *told, const pyprof_profile *profile)
{
    pyprof_leak leak;
    pyprof_info info;
    size_t count = 0;
    memset(&leak, 0, sizeof leak);
    if (pyprof_profile_info(profile, &info) != PYPROF_OK) return pyprof_assert_broken(told);
    if (info.heap == PYPROF_HEAP_OFF) return pyprof_assert_untracked(told, "growth");
    if (pyprof_leaks(profile, NULL, &leak, sizeof leak, 1, &count) != PYPROF_OK) return pyprof_assert_broken(told);
    if (count && leak.growth == PYPROF_GROWTH_GROWING)
        return pyprof_assert_say(told, PYPROF_ASSERT_FAILS, "memory of %s (%s:%d) grows: %.1f MiB +- %.1f MiB in %.1f s, at most none allowed",
                                 leak.qualname, leak.file, (int)leak.line, (double)leak.grown_bytes / 1048576,
                                 (double)leak.error_bytes / 1048576, info.duration_s);
    if (count && leak.growth == PYPROF_GROWTH_UNSURE)
        return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "memory of %s (%s:%d) grew by %.1f MiB and may go on: it takes a longer "
                                 "recording than %.1f s, or PYPROF_HEAP_EXACT", leak.qualname, leak.file, (int)leak.line,
                                 (double)leak.grown_bytes / 1048576, info.duration_s);
    if (info.duration_s < 1)
        return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "growth: it takes a recording of 1 s, this one has %.2f s", info.duration_s);
    return PYPROF_ASSERT_HOLDS;
}

// A metric of memory, of the stacks with such a function; NULL = of all.
static inline int pyprof_assert_memory(const pyprof_profile *profile, const char *function, int metric, int doubt, double *value, double *doubted)
{
    pyprof_query query;
    pyprof_row *rows;
    size_t count, i;
    memset(&query, 0, sizeof query);
    query.function = function;
    query.group = PYPROF_GROUP_THREAD;
    query.sort = metric;
    rows = pyprof_assert_rows(profile, &query, &count);
    *value = *doubted = 0;
    for (i = 0; rows && i < count; i++) {
        *value += (double)rows[i].total[metric];
        *doubted += (double)rows[i].total[doubt];
    }
    free(rows);
    return rows != NULL;
}

static inline int pyprof_assert_peak(struct pyprof_assertion *told, const pyprof_profile *profile, const char *function, double bytes)
{
    double value, doubted, error, distance;
    pyprof_stats stats;
    pyprof_info info;
    int verdict;
    if (pyprof_profile_info(profile, &info) != PYPROF_OK || pyprof_profile_stats(profile, &stats) != PYPROF_OK) return pyprof_assert_broken(told);
    if (info.heap == PYPROF_HEAP_OFF) return pyprof_assert_untracked(told, "bytes at the peak");
    if (!pyprof_assert_memory(profile, function, PYPROF_PEAK_BYTES, PYPROF_PEAK_DOUBT, &value, &doubted)) return pyprof_assert_broken(told);
    function = function ? function : "the program";
    error = info.heap == PYPROF_HEAP_EXACT ? 0 : 1.96 * pyprof_assert_root((double)info.heap_interval_bytes * doubted);
    if (info.heap != PYPROF_HEAP_EXACT && value <= 0) error = 3 * (double)info.heap_interval_bytes;   // what no sample saw
    verdict = pyprof_assert_verdict_of(value, error, bytes);
    distance = value > bytes ? value - bytes : bytes - value;
    if (stats.heap_dropped && verdict != PYPROF_ASSERT_FAILS)
        return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "bytes at the peak of %s: %.0f blocks were not noted; raise heap_max_bytes",
                                 function, (double)stats.heap_dropped);
    if (verdict != PYPROF_ASSERT_IS_UNDECIDED)
        return pyprof_assert_say(told, verdict, "%s had %.0f bytes +- %.0f at the peak, allowed are %.0f", function, value, error, bytes);
    if (value > 0) distance *= distance / error;
    return pyprof_assert_say(told, verdict, "%s had %.0f bytes +- %.0f at the peak, allowed are %.0f: it takes a sample every %.0f bytes "
                             "(heap_interval_bytes), or PYPROF_HEAP_EXACT", function, value, error, bytes,
                             distance > 0 ? (double)info.heap_interval_bytes * distance / (error > 0 ? error : 1) : 0.0);
}

static inline int pyprof_assert_blocks(struct pyprof_assertion *told, const pyprof_profile *profile, const char *function, double blocks)
{
    double value, unused;
    pyprof_stats stats;
    pyprof_info info;
    if (pyprof_profile_info(profile, &info) != PYPROF_OK || pyprof_profile_stats(profile, &stats) != PYPROF_OK) return pyprof_assert_broken(told);
    if (info.heap == PYPROF_HEAP_OFF) return pyprof_assert_untracked(told, "allocations");
    if (!pyprof_assert_memory(profile, function, PYPROF_ALLOC_BLOCKS, PYPROF_ALLOC_DOUBT, &value, &unused)) return pyprof_assert_broken(told);
    function = function ? function : "the program";
    if (info.heap != PYPROF_HEAP_EXACT)
        return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "%s made about %.0f allocations, allowed are %.0f: counting them takes "
                                 "PYPROF_HEAP_EXACT", function, value, blocks);
    if (stats.heap_dropped && value <= blocks)
        return pyprof_assert_say(told, PYPROF_ASSERT_IS_UNDECIDED, "allocations of %s: %.0f blocks were not noted; raise heap_max_bytes", function,
                                 (double)stats.heap_dropped);
    return pyprof_assert_say(told, value <= blocks ? PYPROF_ASSERT_HOLDS : PYPROF_ASSERT_FAILS, "%s made %.0f allocations, allowed are %.0f", function,
                             value, blocks);
}

#endif
