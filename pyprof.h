// pyprof.h - v0.1.0 - the profiler an application that embeds CPython carries in itself - MIT or public domain
// One C header, libc and pthreads only. No Python.h, no GIL, no signals: a thread reads the frames of all others.
#if defined(PYPROF_IMPLEMENTATION) && !defined(_GNU_SOURCE) && !defined(_FEATURES_H)
#define _GNU_SOURCE 1   // syscall() and MAP_ANONYMOUS under -std=c11; has no effect once a system header was seen
#endif
#ifndef PYPROF_H
#define PYPROF_H
/*
QUICK START
    In one file of the program:

        #define PYPROF_IMPLEMENTATION
        #include "pyprof.h"

    Around the work, in any file, on any thread, with or without the GIL:

        pyprof *session;
        pyprof_profile *profile;
        if (pyprof_start(NULL, &session) != PYPROF_OK) puts(pyprof_last_error());
        run_python();
        pyprof_stop(session, &profile);
        pyprof_save(profile, "profile.svg", NULL);
        pyprof_profile_free(profile);

    Build: cc host.c -pthread (and whatever the program links already; -ldl before glibc 2.34).
    Or call pyprof_start_from_env() once and let users set PROFILING=1.

WHAT IT MEASURES
    Wall time and CPU time of every Python thread of every interpreter, by stack, function and line; how much of it
    was spent waiting, and for what; with the GIL and wanting it, and because of whom; in C functions; importing
    (<import NAME>), collecting garbage (<GC>); tasks of asyncio. And how good the recording is: every sample that was
    lost, retried, cut or not proven is counted.
    Memory, sampled or exact, by the same stacks: allocated, live, at the high-water mark, temporary; what leaks.

WHAT IT DOES NOT MEASURE YET
    Native frames, other processes. Asking for them gives PYPROF_ERR_UNSUPPORTED, never silence.

CONTENTS (grep "\[SECTION\]" for the places; the order is bottom up, no section calls one below it)
    API        the declarations: all a caller reads
    PLATFORM   clocks, threads, CPU placement, files
    MEMORY     allocator, growable array, hash index
    TEXT       strings, UTF-8, numbers without a locale
    COPY       guarded copies of foreign memory, batched
    LAYOUT     where CPython keeps things: one row a version
    RUNTIME    finds the interpreter in the process, and its version
    CODE       code object -> names, file, line table
    FRAMES     thread state -> frames
    THREADS    interpreters, thread states, the GIL's holder, names
    PROFILE    the model: one call tree, columns of metrics, time line
    SAMPLER    one sweep over all threads; freeze-frame capture
    HEAP       allocation hooks, sampled and exact
    SNAPSHOT   the immutable profile: labels, totals, tables, differences, leaks, views
    WRITERS    JSON, text, folded, SVG, speedscope, pprof, pickle
    SESSION    sessions, the sampler thread, fork, environment
    PUBLIC     the API functions

CONFIGURATION MACROS
    In exactly one file:  PYPROF_IMPLEMENTATION   the code, not only the declarations (C11 or C++17)
    In every file alike:  PYPROF_STATIC           all functions static (then each file needs PYPROF_IMPLEMENTATION)
                          PYPROF_DLL              symbols visible outside the shared object (default: hidden)
                          PYPROF_DISABLE          typed stubs that return PYPROF_ERR_DISABLED; no code, no thread
    Beside the first:     PYPROF_INTERPOSE_MALLOC defines malloc and mmap, so that heap tracking sees what C allocates,
                                                  too: in a program or a preload library, not in a module

SUPPORTED
    Linux on x86-64 and aarch64, CPython 3.8 to 3.15 and its free-threaded builds. Elsewhere it compiles and every
    function returns PYPROF_ERR_UNSUPPORTED.

THREADS, GIL, SIGNALS
    Every function may be called from any thread, with or without the GIL, before Py_Initialize and after Py_Finalize;
    none takes the GIL or waits for it; none is async-signal-safe. "waits": it may wait for the sampler to finish the
    sweep under way (well under a millisecond). The sampler thread blocks all signals; it sends none and installs no
    handler unless PYPROF_CAPTURE_SIGNAL asks for it.

ERRORS AND LOGGING
    Functions return a pyprof_result; pyprof_last_error() tells the detail in one sentence. Nothing is printed unless
    a logger is set or PROFILING=1 asks for it. The sampler never stops the host: it counts what it cannot read.
*/
// ============================================================================
// [SECTION] API -- the declarations: all a caller reads
//   Runs on    the caller's thread
//   Uses       stdint.h and stddef.h
//   Promise    C99 and C++11; names and values never change their meaning
// ============================================================================
#include <stddef.h>
#include <stdint.h>

#define PYPROF_VERSION_MAJOR 0
#define PYPROF_VERSION_MINOR 1
#define PYPROF_VERSION_PATCH 0
#define PYPROF_VERSION_STRING "0.1.0"

#if defined(PYPROF_DISABLE)
#define PYPROF_API static inline
#elif defined(PYPROF_STATIC) && defined(__GNUC__)
#define PYPROF_API static __attribute__((unused))
#elif defined(PYPROF_STATIC)
#define PYPROF_API static
#elif defined(PYPROF_DLL) && defined(__GNUC__)
#define PYPROF_API extern __attribute__((visibility("default")))
#elif defined(__GNUC__)
#define PYPROF_API extern __attribute__((visibility("hidden")))
#else
#define PYPROF_API extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

// A session is a token, never dereferenced: an ended one gives PYPROF_ERR_STATE for ever.
typedef struct pyprof pyprof;
// An immutable result. Its strings live until pyprof_profile_free.
typedef struct pyprof_profile pyprof_profile;

typedef enum pyprof_result {
    PYPROF_OK = 0,
    PYPROF_ERR_ARGUMENT = 1,      // fix the call: a value is out of range or a pointer is NULL
    PYPROF_ERR_STATE = 2,         // the session has ended, or is not in the state the call needs
    PYPROF_ERR_BUSY = 3,          // try later: all sessions taken, or somebody else holds what is process-wide
    PYPROF_ERR_MEMORY = 4,        // the allocator returned NULL
    PYPROF_ERR_IO = 5,            // the file or stream: pyprof_last_error names it and the reason
    PYPROF_ERR_FORMAT = 6,        // unknown format or file extension, or a file that is not ours
    PYPROF_ERR_NO_PYTHON = 7,     // no CPython runtime in the process: pyprof_last_error says where it looked
    PYPROF_ERR_UNSUPPORTED = 8,   // this version, platform or feature is not supported
    PYPROF_ERR_DENIED = 9,        // the system refuses a right that is needed
    PYPROF_ERR_NO_PROCESS = 10,   // no process of that pid
    PYPROF_ERR_DISABLED = 11,     // PROFILING is unset, empty or 0; or built with PYPROF_DISABLE
    PYPROF_ERR_BUDGET = 12        // max_bytes is too small for what was asked
} pyprof_result;

// Metrics are columns of the call tree. 0 means "the default one" where a metric is asked for.
typedef enum pyprof_metric {
    PYPROF_SAMPLES = 1,       // samples taken
    PYPROF_WALL_NS = 2,       // wall time, ns
    PYPROF_CPU_NS = 3,        // CPU time of the thread, ns
    PYPROF_GIL_NS = 4,        // wall time of samples whose thread held the GIL, running or not
    PYPROF_GIL_WAIT_NS = 5,   // of those that waited for the GIL
    PYPROF_WAIT_NS = 6,       // of those whose thread was not running: it waited in the kernel, for the GIL or for a CPU
    PYPROF_NATIVE_NS = 7,     // of those that ran in a C function called from the line shown, or without the GIL
    PYPROF_CALLS = 8,
    PYPROF_EXCEPTIONS = 9,    // samples in which an exception was on its way up; only proven ones are looked at
    PYPROF_ALLOC_BYTES = 10,  // allocated, whatever became of it; a realloc counts as a free and an allocation
    PYPROF_ALLOC_BLOCKS = 11,
    PYPROF_LIVE_BYTES = 12,   // not freed yet
    PYPROF_LIVE_BLOCKS = 13,
    PYPROF_PEAK_BYTES = 14,   // live when the process had the most live bytes
    PYPROF_PEAK_BLOCKS = 15,
    PYPROF_TEMP_BLOCKS = 16,  // freed by their thread before it had allocated 4 more (sampled: 4 KiB more)
    PYPROF_GPU_NS = 17,
    PYPROF_GPU_BYTES = 18,
    PYPROF_WAIT_SAMPLES = 19, // those samples
    PYPROF_RESIDENT_BYTES = 20, // resident set of the process: on the time line only
    PYPROF_LIVE_AGE_MS = 21,  // the ages of all live blocks added up, ms
    PYPROF_IDLE_NS = 22,      // part of WAIT_NS: in a call in which a thread waits for work: sleep, select, accept, queue.get...
    PYPROF_CPU_WAIT_NS = 23,  // part of WAIT_NS: ready to run, waiting for a CPU
    PYPROF_NOGIL_NS = 24,     // part of NATIVE_NS: running without the GIL
    PYPROF_GIL_BLOCK_NS = 25, // time others waited for the GIL while this one held it, added up over the waiting threads
    PYPROF_UNKNOWN_NS = 26,   // part of WAIT_NS: nothing told whether the thread ran or waited, or for what it waited
    PYPROF_ALLOC_DOUBT = 29,  // sampled: bytes D of ALLOC_BYTES that are estimated: it is right to
    PYPROF_LIVE_DOUBT = 30,   //     +- 1.96 * sqrt(heap_interval_bytes * D) in 95 of 100 cases; so are
    PYPROF_PEAK_DOUBT = 31,   //     LIVE_ and PEAK_BYTES. Small blocks are in doubt, much larger ones are not
    PYPROF_METRIC_COUNT = 32
} pyprof_metric;

typedef enum pyprof_kind {
    PYPROF_KIND_PYTHON = 0, PYPROF_KIND_NATIVE = 1, PYPROF_KIND_ZONE = 2,
    PYPROF_KIND_PSEUDO = 3,   // <native>, <truncated>, <lost>, <GC>, <import NAME>, <between samples>: no function of the program
    PYPROF_KIND_THREAD = 4, PYPROF_KIND_PROCESS = 5,
    PYPROF_KIND_WAIT = 6,     // a leaf that says what the frame above it waits for: [read file data.bin], [GIL]
    PYPROF_KIND_TASK = 7      // an asyncio task: the frames below it are its coroutines
} pyprof_kind;

typedef enum pyprof_format {
    PYPROF_FORMAT_AUTO = 0,         // by the longest matching suffix of the file name
    PYPROF_FORMAT_JSON = 1,         // .json             the native format, holds everything
    PYPROF_FORMAT_TEXT = 2,         // .txt              one page a person reads
    PYPROF_FORMAT_SVG = 3,          // .svg              interactive flame graph
    PYPROF_FORMAT_HTML = 4,         // .html
    PYPROF_FORMAT_FOLDED = 5,       // .folded           flamegraph.pl, inferno, speedscope
    PYPROF_FORMAT_SPEEDSCOPE = 6,   // .speedscope.json
    PYPROF_FORMAT_PPROF = 7,        // .pb.gz            go tool pprof, Pyroscope, Parca
    PYPROF_FORMAT_PSTATS = 8,       // .prof
    PYPROF_FORMAT_CPUPROFILE = 9,   // .cpuprofile
    PYPROF_FORMAT_HEAPPROFILE = 10, // .heapprofile
    PYPROF_FORMAT_TRACE = 11,       // .trace.json
    PYPROF_FORMAT_FIREFOX = 12,     // .firefox.json
    PYPROF_FORMAT_CALLGRIND = 13,   // .callgrind
    PYPROF_FORMAT_PICKLE = 14,      // .pkl             tracemalloc.Snapshot.load
    PYPROF_FORMAT_PERF = 15,        // .linux-perf.txt
    PYPROF_FORMAT_MASSIF = 16,      // .massif
    PYPROF_FORMAT_DHAT = 17,        // .dhat.json
    PYPROF_FORMAT_OPENMETRICS = 18, // .om.txt
    PYPROF_FORMAT_COUNT = 19
} pyprof_format;

typedef enum pyprof_heap_mode { PYPROF_HEAP_OFF = 0, PYPROF_HEAP_SAMPLED = 1, PYPROF_HEAP_EXACT = 2 } pyprof_heap_mode;
typedef enum pyprof_capture { PYPROF_CAPTURE_AUTO = 0, PYPROF_CAPTURE_COPY = 1, PYPROF_CAPTURE_SIGNAL = 2 } pyprof_capture;
typedef enum pyprof_paths { PYPROF_PATHS_FULL = 0, PYPROF_PATHS_BASE = 1, PYPROF_PATHS_HASHED = 2 } pyprof_paths;
typedef enum pyprof_group {
    PYPROF_GROUP_FUNCTION = 0, PYPROF_GROUP_LINE = 1, PYPROF_GROUP_FILE = 2, PYPROF_GROUP_THREAD = 3,
    PYPROF_GROUP_LEAF = 4           // what was waited for, and C functions: the leaves of kind WAIT and NATIVE
} pyprof_group;
// Who asked for memory: CPython's domains (PyMem_RawMalloc, PyMem_Malloc, PyObject_Malloc), or malloc and mmap themselves
typedef enum pyprof_domain {
    PYPROF_DOMAIN_RAW = 0, PYPROF_DOMAIN_MEM = 1, PYPROF_DOMAIN_OBJ = 2, PYPROF_DOMAIN_NATIVE = 3, PYPROF_DOMAIN_COUNT = 4
} pyprof_domain;
// What the live bytes of a place did over the recording
typedef enum pyprof_growth {
    PYPROF_GROWTH_STEADY = 0,       // no growth that could be told from chance
    PYPROF_GROWTH_PLATEAU = 1,      // it grew, and stopped: a cache, a pool
    PYPROF_GROWTH_GROWING = 2,      // it grew to the end
    PYPROF_GROWTH_UNSURE = 3        // it grew, and may go on: too little was seen of its end
} pyprof_growth;
typedef enum pyprof_heap_state {
    PYPROF_HEAP_STATE_OFF = 0, PYPROF_HEAP_STATE_PENDING = 1, PYPROF_HEAP_STATE_ON = 2, PYPROF_HEAP_STATE_LOST = 3
} pyprof_heap_state;
typedef enum pyprof_level { PYPROF_LEVEL_ERROR = 1, PYPROF_LEVEL_WARNING = 2, PYPROF_LEVEL_INFO = 3 } pyprof_level;
typedef enum pyprof_event { PYPROF_EVENT_DURATION = 1, PYPROF_EVENT_HOOKS_LOST = 2, PYPROF_EVENT_DEGRADED = 3 } pyprof_event;

// Why a stack was not counted as a sample; index into pyprof_stats.rejected_by_cause.
typedef enum pyprof_cause {
    PYPROF_CAUSE_UNREADABLE = 0,  // memory went away while it was read
    PYPROF_CAUSE_CHAIN = 1,       // the chain of frames did not end where it must
    PYPROF_CAUSE_CODE = 2,        // a frame's code was no code object
    PYPROF_CAUSE_MOVED = 3,       // the thread ran on during every attempt
    PYPROF_CAUSE_LIST = 4,        // the list of threads changed during every attempt
    PYPROF_CAUSE_NAME = 5,        // a name or line table could not be read
    PYPROF_CAUSE_MEMORY = 6,      // no memory for the stack
    PYPROF_CAUSE_COUNT = 8
} pyprof_cause;

typedef struct pyprof_allocator {   // both functions or none; thread-safe; never PyMem
    void *(*alloc)(void *user, size_t size);
    void (*free)(void *user, void *memory, size_t size);
    void *user;
} pyprof_allocator;
typedef struct pyprof_logger {      // called on the sampler thread or the caller's; must not call pyprof functions
    void (*fn)(void *user, pyprof_level level, const char *message);
    void *user;
} pyprof_logger;
// Called on the sampler thread; may call any pyprof function. pyprof_stop waits for it: where a thread that holds the GIL may
// call that, a callback must not wait for the GIL.
typedef struct pyprof_on_event {
    void (*fn)(void *user, pyprof *session, pyprof_event event, const char *detail);
    void *user;
} pyprof_on_event;

typedef struct pyprof_config {      // zero every field you do not set: 0 = default
    int64_t pid;                    // 0 = this process (others: not yet)
    double rate_hz;                 // samples a second, up to 100,000 (default 100)
    double duration_s;              // pause by itself after so many seconds; still needs pyprof_stop (default: none)
    int heap;                       // pyprof_heap_mode (default off)
    uint64_t heap_interval_bytes;   // mean bytes between heap samples (512 KiB)
    uint64_t heap_max_bytes;        // cap of the heap table (1 GiB)
    int capture;                    // pyprof_capture. AUTO: the sampler runs where the GIL's holder runs, which stops that; COPY: it
                                    // stays where it is and reads running threads until that converges; SIGNAL: as COPY, but a
                                    // thread that runs is held by SIGURG for some 20 us. While one session wants COPY or SIGNAL,
                                    // it holds for all.
    int children;                   // follow child processes (not yet)
    int native;                     // native frames (not yet)
    double timeline_s;              // seconds of time line kept (60; negative: none)
    uint32_t max_depth;             // frames kept of a stack, innermost first (1024)
    uint64_t max_bytes;             // cap of the profiler's own memory (256 MiB)
    int paths;                      // pyprof_paths: file names full, base name only, or hashed
    const char *thread_filter;      // glob on thread names: only these are recorded (default all)
    pyprof_allocator allocator;     // default malloc
    pyprof_logger logger;           // default silent
    pyprof_on_event on_event;       // default none
    int opcodes;                    // 1: frames tell the opcode, too, and samples of one line at different opcodes are kept apart;
                                    // frames of memory have none (default 0)
    uint64_t reserved[7];           // 0
} pyprof_config;

typedef struct pyprof_snapshot_options {
    int reset;                      // start afresh after the copy; no sample falls between
    double last_s;                  // only the last so many seconds, from the time line (0 = everything)
    uint64_t reserved[4];
} pyprof_snapshot_options;

typedef struct pyprof_query {
    int sort;                       // pyprof_metric (default: wall time spent running)
    int by_total;                   // 0 = by self, 1 = by total
    int group;                      // pyprof_group
    const char *thread;             // globs (* ? [a-z]); NULL = all; stacks of matching threads
    const char *file;               //   stacks with a frame of such a file
    const char *function;           //   stacks with a frame of such a function (qualname, or stem.qualname)
    int include_idle;               // count time in which the thread only waited
    uint64_t reserved[4];
} pyprof_query;

typedef struct pyprof_output {
    int format;                     // pyprof_format (default: by the file's extension)
    int metric;                     // pyprof_metric (default: the format's own)
    const pyprof_query *filter;     // which stacks (default: all; the flame graph leaves idle time out)
    int split_threads;              // keep threads apart where the format merges them
    int lines;                      // one frame per line instead of per function
    int paths;                      // pyprof_paths, as in pyprof_config
    int sources;                    // source lines: 0 = the text report shows the hottest, 1 = the JSON has them, too, -1 = never
    int python;                     // 0xMMmm: the Python that is to load the .pkl (default: the one recorded)
    const char *title;
    uint64_t reserved[4];
} pyprof_output;

typedef struct pyprof_diff_options {
    const pyprof_query *filter;     // which stacks take part, by its thread, file and function (default: all)
    int group;                      // 0: the stacks stay, and pyprof_top tells functions, lines, files. PYPROF_GROUP_LINE, _FILE, _THREAD:
    uint64_t reserved[4];           //   of each thread only the lines or files, or nothing, with their own values (self)
} pyprof_diff_options;
typedef struct pyprof_dump_options { uint32_t max_depth; int native; int paths; uint64_t reserved[4]; } pyprof_dump_options;

typedef struct pyprof_row {
    const char *name, *qualname, *file;
    int32_t line;                   // first line of the function, or the line when grouped by line
    int32_t kind;                   // pyprof_kind
    int64_t self[PYPROF_METRIC_COUNT], total[PYPROF_METRIC_COUNT];
} pyprof_row;

typedef struct pyprof_frame {
    const char *name, *qualname, *file;
    const char *label;              // stem.qualname as in the JSON, unique within the profile
    int32_t line, end_line;         // 0 = unknown
    int32_t column, end_column;     // UTF-8 bytes from 0; -1 = unknown (before 3.11)
    int32_t first_line;             // of the function
    int32_t kind;                   // pyprof_kind
    const char *opcode;             // of the instruction, as it was specialised when first seen: "LOAD_ATTR_SLOT"; NULL = not recorded
} pyprof_frame;

typedef struct pyprof_thread {
    uint64_t thread_id;             // the kernel's
    uint64_t ident;                 // Python's threading.get_ident()
    int64_t interpreter;
    const char *name;
    double first_seen, last_seen;   // Unix seconds
    int64_t total[PYPROF_METRIC_COUNT];
} pyprof_thread;

typedef enum pyprof_item_kind {
    PYPROF_ITEM_THREAD = 1,         // thread, total
    PYPROF_ITEM_NODE = 2,           // + stack (root first, the node's own frame last), self, total: the tree, parents first
    PYPROF_ITEM_STACK = 3,          // the same for each node that has samples of its own
    PYPROF_ITEM_STATE = 4,          // the time line, oldest first: + timestamp, count, self
    PYPROF_ITEM_MEMORY = 5,         // the time line of the process, every 100 ms: timestamp, process; self: LIVE_BYTES (traced), RESIDENT_BYTES
    PYPROF_ITEM_GIL = 6,            // a pair: thread waited for the GIL while other held it; self: GIL_WAIT_NS
    PYPROF_ITEM_HOLD = 7,           // the longest time that thread held the GIL while somebody waited: stack, timestamp (of its end);
                                    //   self: GIL_NS, known to one sample's distance
    PYPROF_ITEM_TASK = 8            // what tasks of asyncio that did not run awaited (3.14 and later): thread, stack (the task, then its
                                    //   coroutines, each awaiting the next), count; self: WAIT_NS, task-seconds: no part of other totals
} pyprof_item_kind;

typedef struct pyprof_process {     // facts of the process at one moment; counted from its start
    int64_t resident_bytes, traced_bytes;   // resident_bytes 0: not known (no /proc)
    int64_t user_ns, system_ns;     // CPU time
    int64_t voluntary_switches, involuntary_switches;
    int64_t minor_faults, major_faults;   // pages: without and with reading from a disk
    int64_t threads;                // of the OS, Python's or not; 0 = not known
    int64_t gc_runs;                // collections of all generations, of the main interpreter; -1 = unknown
} pyprof_process;

typedef struct pyprof_item {        // valid during the call only; its strings as long as the profile
    int kind;                       // pyprof_item_kind
    const pyprof_thread *thread;
    const pyprof_frame *stack;
    size_t depth;
    const int64_t *self, *total;    // PYPROF_METRIC_COUNT values each, or NULL
    double timestamp;               // Unix seconds
    uint64_t count;
    const pyprof_thread *other;     // GIL: who held it; else NULL
    const pyprof_process *process;  // MEMORY; else NULL
} pyprof_item;

enum { PYPROF_SIZES = 48 };
typedef struct pyprof_domain_total { int64_t alloc_bytes, alloc_blocks, live_bytes, live_blocks; } pyprof_domain_total;

typedef struct pyprof_info {
    int64_t pid;
    const char *program;            // name of the program, or of the script an interpreter runs
    const char *python;             // "3.12.1"
    int free_threaded;
    double start, duration_s;       // Unix seconds; seconds recorded, pauses and gaps left out
    double rate_hz;
    int64_t total[PYPROF_METRIC_COUNT];
    size_t threads, interpreters, functions, nodes;
    int heap;                       // pyprof_heap_mode
    uint64_t heap_interval_bytes;   // sampled: mean bytes between samples
    double peak_time;               // Unix seconds of the high-water mark; 0 = none
    pyprof_domain_total domains[PYPROF_DOMAIN_COUNT];
    int64_t sizes[PYPROF_SIZES];    // blocks allocated, by size: [i] counts those of 2^(i-1)+1 to 2^i bytes
} pyprof_info;

typedef struct pyprof_stats {
    uint64_t asked;                 // ticks x threads alive at the tick
    uint64_t samples;               // stacks recorded
    uint64_t missed;                // nobody looked at the tick, and the thread ran before somebody did (x threads)
    uint64_t rejected;              // the stack could not be read truthfully
    uint64_t rejected_by_cause[PYPROF_CAUSE_COUNT];
    uint64_t retried, unfrozen;     // read again; read while the thread ran, accepted after converging
    uint64_t truncated;             // cut at max_depth, the innermost frames kept
    uint64_t recovered;             // samples of ticks looked at too late, of threads that have not run since the tick: as exact as any
    uint64_t timeline_dropped;      // time line entries dropped for lack of memory
    uint64_t threads, interpreters; // seen so far
    uint64_t own_cpu_ns, own_bytes; // of the profiler itself
    uint64_t late_max_ns, late_mean_ns;   // wake-up after the deadline
    uint64_t gap_ns;                // time nobody could see: suspended, stopped
    int heap_state;                 // pyprof_heap_state
    uint64_t heap_samples;          // blocks noted
    uint64_t heap_dropped;          // blocks not noted for lack of room (degraded says of what): live values are a lower bound
    uint64_t heap_live_bytes, heap_live_blocks, heap_peak_bytes;   // traced memory now, and at most (sampled: estimates)
    uint64_t heap_reserved_bytes;   // of anonymous mappings that may not be written, or have MAP_NORESERVE: no part of the live bytes
    char degraded[256];             // why the recording is worse than it should be; empty when it is not
} pyprof_stats;

typedef struct pyprof_allocation {
    const void *address;            // where the block begins
    size_t size;                    // bytes asked for
    uint64_t thread_id;             // the kernel's, of the thread that allocated it
    double timestamp;               // Unix seconds, when, to 16 ms
    char where[256];                // "file:line in function", the innermost frame; "<native>" without any
    int domain;                     // pyprof_domain
    uint64_t reserved[4];
} pyprof_allocation;

typedef struct pyprof_leak {        // a place whose live memory grew: see pyprof_leaks
    const char *name, *qualname, *file;
    int32_t line;
    int growth;                     // pyprof_growth
    int64_t live_bytes, live_blocks;
    int64_t grown_bytes;            // since the first mark
    double bytes_per_s;             // of growth over the later half of the marks
    int64_t error_bytes;            // half of the 95 % interval of live_bytes or grown_bytes; 0 = exact
    double mean_age_s;              // of the live blocks
    uint64_t reserved[4];
} pyprof_leak;

typedef int pyprof_write_fn(void *user, const void *data, size_t size);   // nonzero aborts: PYPROF_ERR_IO
typedef int pyprof_visit_fn(void *user, const pyprof_item *item);         // nonzero ends the visit early: PYPROF_OK

// Starts a session. Up to 8 share one sampler thread; the highest rate wins, the others thin. Before Py_Initialize
// sampling begins when the runtime comes up.
//   threads  any, waits     GIL  not needed
//   returns  OK, ARGUMENT, BUSY, MEMORY, NO_PYTHON, UNSUPPORTED, DENIED, BUDGET; *session = NULL on failure
PYPROF_API pyprof_result pyprof_start(const pyprof_config *config, pyprof **session);
// Ends the session, always. profile may be NULL: then the recording is dropped.
//   threads  any, waits; from on_event too     GIL  not needed
//   returns  OK, ARGUMENT, STATE, MEMORY; *profile = NULL on failure
PYPROF_API pyprof_result pyprof_stop(pyprof *session, pyprof_profile **profile);
// Copies what was recorded; sampling goes on. options may be NULL.
//   threads  any, waits     GIL  not needed
//   returns  OK, ARGUMENT, STATE, MEMORY
PYPROF_API pyprof_result pyprof_snapshot(pyprof *session, const pyprof_snapshot_options *options, pyprof_profile **profile);
// Pausing twice or resuming a running session is fine. A pause is no part of the recorded time.
//   threads  any, waits     GIL  not needed     returns  OK, ARGUMENT, STATE
PYPROF_API pyprof_result pyprof_pause(pyprof *session);
PYPROF_API pyprof_result pyprof_resume(pyprof *session);
// Drops what was recorded so far.
//   threads  any, waits     GIL  not needed     returns  OK, ARGUMENT, STATE, MEMORY
PYPROF_API pyprof_result pyprof_reset(pyprof *session);
// The high-water mark starts afresh from what is live now, for all sessions.
//   threads  any, waits     GIL  not needed     returns  OK, ARGUMENT, STATE (the session does not track memory)
PYPROF_API pyprof_result pyprof_reset_peak(pyprof *session);
// How good the recording is, and what it costs, so far.
//   threads  any, waits     GIL  not needed     returns  OK, ARGUMENT, STATE
PYPROF_API pyprof_result pyprof_get_stats(const pyprof *session, pyprof_stats *stats);
// NULL is fine.   threads  any, but not while another thread uses this profile     GIL  not needed
PYPROF_API void pyprof_profile_free(pyprof_profile *profile);

// Writes a file: complete or not at all, mode 0600, never through a symbolic link. "-" is standard output.
//   threads  any     GIL  not needed
//   returns  OK, ARGUMENT, FORMAT, IO, MEMORY, UNSUPPORTED
PYPROF_API pyprof_result pyprof_save(const pyprof_profile *profile, const char *path, const pyprof_output *output);
// Hands the same bytes to fn. output->format must be set.
//   threads  any; fn runs on the caller's     GIL  not needed
//   returns  OK, ARGUMENT, FORMAT, IO (fn returned nonzero), MEMORY, UNSUPPORTED
PYPROF_API pyprof_result pyprof_write(const pyprof_profile *profile, const pyprof_output *output, pyprof_write_fn *fn, void *user);
// Not yet: UNSUPPORTED.   threads  any     GIL  not needed     returns  UNSUPPORTED, ARGUMENT
PYPROF_API pyprof_result pyprof_load(const char *path, pyprof_profile **profile);
// A profile whose values are after's less before's, negative where something shrank. Both stay as they are; options may be
// NULL. A difference has no time line, cannot be compared again, and only some formats hold it (JSON, text, pprof). Threads
// are matched by name, functions by name and file even where they moved in it.
//   threads  any     GIL  not needed
//   returns  OK, ARGUMENT, MEMORY; *delta = NULL on failure
PYPROF_API pyprof_result pyprof_diff(const pyprof_profile *before, const pyprof_profile *after, const pyprof_diff_options *options,
                                     pyprof_profile **delta);
// The first capacity rows of the table asked for; *count = rows there are. row_size = sizeof(pyprof_row).
//   threads  any     GIL  not needed     returns  OK, ARGUMENT, MEMORY
PYPROF_API pyprof_result pyprof_top(const pyprof_profile *profile, const pyprof_query *query, pyprof_row *rows, size_t row_size,
                                    size_t capacity, size_t *count);
// Calls fn for threads, nodes, stacks, the time line, that of the process, pairs and longest holds of the GIL, waiting tasks, in
// this order.
//   threads  any; fn runs on the caller's     GIL  not needed     returns  OK, ARGUMENT, MEMORY
PYPROF_API pyprof_result pyprof_visit(const pyprof_profile *profile, const pyprof_query *query, pyprof_visit_fn *fn, void *user);
//   threads  any     GIL  not needed     returns  OK, ARGUMENT
PYPROF_API pyprof_result pyprof_profile_info(const pyprof_profile *profile, pyprof_info *info);
PYPROF_API pyprof_result pyprof_profile_stats(const pyprof_profile *profile, pyprof_stats *stats);
// The first capacity places whose live memory grew: the fastest growing first, then those that may go on, plateaus
// last. *count = places there are.
// query->group says what a place is (query NULL: a line), its filters choose stacks. row_size = sizeof(pyprof_leak).
//   threads  any     GIL  not needed     returns  OK, ARGUMENT, MEMORY, STATE (no heap data, or a difference)
PYPROF_API pyprof_result pyprof_leaks(const pyprof_profile *profile, const pyprof_query *query, pyprof_leak *rows, size_t row_size,
                                      size_t capacity, size_t *count);
// One sweep over every thread, 0 = this process; needs no session.
//   threads  any, waits     GIL  not needed
//   returns  OK, ARGUMENT, MEMORY, NO_PYTHON, UNSUPPORTED, STATE (the interpreter is not initialised)
PYPROF_API pyprof_result pyprof_dump(int64_t pid, const pyprof_dump_options *options, pyprof_profile **profile);
// Where was the block that contains this address allocated? Sampled: only blocks that were sampled are known, and only by
// the address they begin at.
//   threads  any     GIL  not needed
//   returns  OK, ARGUMENT, STATE (no such block is known, or the session does not track memory)
PYPROF_API pyprof_result pyprof_find_allocation(const pyprof *session, const void *address, pyprof_allocation *found);

// Does what PROFILING and the PYPROF_* variables ask for, and writes the files at exit, or when pyprof_stop ends the
// session. Call it once.
//   threads  any     GIL  not needed
//   returns  DISABLED (PROFILING unset, empty or 0), else as pyprof_start; ARGUMENT: a variable's value, printed on stderr
PYPROF_API pyprof_result pyprof_start_from_env(pyprof **session);
// threads  any     GIL  not needed; static strings, except pyprof_last_error: this thread's, until its next pyprof call
PYPROF_API const char *pyprof_result_string(pyprof_result result);
PYPROF_API const char *pyprof_last_error(void);
PYPROF_API const char *pyprof_version(void);

#ifdef __cplusplus
}
#endif

// The whole API as functions that only return a code: for PYPROF_DISABLE and for platforms without an implementation.
#define PYPROF__STUBS(api, code, text) \
    api pyprof_result pyprof_start(const pyprof_config *config, pyprof **session) { (void)config; if (session) *session = NULL; return code; } \
    api pyprof_result pyprof_stop(pyprof *session, pyprof_profile **profile) { (void)session; if (profile) *profile = NULL; return code; } \
    api pyprof_result pyprof_snapshot(pyprof *session, const pyprof_snapshot_options *options, pyprof_profile **profile) \
        { (void)session; (void)options; if (profile) *profile = NULL; return code; } \
    api pyprof_result pyprof_pause(pyprof *session) { (void)session; return code; } \
    api pyprof_result pyprof_resume(pyprof *session) { (void)session; return code; } \
    api pyprof_result pyprof_reset(pyprof *session) { (void)session; return code; } \
    api pyprof_result pyprof_reset_peak(pyprof *session) { (void)session; return code; } \
    api pyprof_result pyprof_get_stats(const pyprof *session, pyprof_stats *stats) { (void)session; (void)stats; return code; } \
    api void pyprof_profile_free(pyprof_profile *profile) { (void)profile; } \
    api pyprof_result pyprof_save(const pyprof_profile *profile, const char *path, const pyprof_output *output) \
        { (void)profile; (void)path; (void)output; return code; } \
    api pyprof_result pyprof_write(const pyprof_profile *profile, const pyprof_output *output, pyprof_write_fn *fn, void *user) \
        { (void)profile; (void)output; (void)fn; (void)user; return code; } \
    api pyprof_result pyprof_load(const char *path, pyprof_profile **profile) { (void)path; if (profile) *profile = NULL; return code; } \
    api pyprof_result pyprof_diff(const pyprof_profile *before, const pyprof_profile *after, const pyprof_diff_options *options, \
        pyprof_profile **delta) \
        { (void)before; (void)after; (void)options; if (delta) *delta = NULL; return code; } \
    api pyprof_result pyprof_top(const pyprof_profile *profile, const pyprof_query *query, pyprof_row *rows, size_t row_size, \
        size_t capacity, size_t *count) \
        { (void)profile; (void)query; (void)rows; (void)row_size; (void)capacity; if (count) *count = 0; return code; } \
    api pyprof_result pyprof_visit(const pyprof_profile *profile, const pyprof_query *query, pyprof_visit_fn *fn, void *user) \
        { (void)profile; (void)query; (void)fn; (void)user; return code; } \
    api pyprof_result pyprof_profile_info(const pyprof_profile *profile, pyprof_info *info) { (void)profile; (void)info; return code; } \
    api pyprof_result pyprof_profile_stats(const pyprof_profile *profile, pyprof_stats *stats) { (void)profile; (void)stats; return code; } \
    api pyprof_result pyprof_leaks(const pyprof_profile *profile, const pyprof_query *query, pyprof_leak *rows, size_t row_size, \
        size_t capacity, size_t *count) \
        { (void)profile; (void)query; (void)rows; (void)row_size; (void)capacity; if (count) *count = 0; return code; } \
    api pyprof_result pyprof_dump(int64_t pid, const pyprof_dump_options *options, pyprof_profile **profile) \
        { (void)pid; (void)options; if (profile) *profile = NULL; return code; } \
    api pyprof_result pyprof_find_allocation(const pyprof *session, const void *address, pyprof_allocation *found) \
        { (void)session; (void)address; (void)found; return code; } \
    api pyprof_result pyprof_start_from_env(pyprof **session) { if (session) *session = NULL; return code; } \
    api const char *pyprof_result_string(pyprof_result result) { return result == PYPROF_OK ? "ok" : text; } \
    api const char *pyprof_last_error(void) { return text; } \
    api const char *pyprof_version(void) { return PYPROF_VERSION_STRING; }

#if defined(PYPROF_DISABLE)
PYPROF__STUBS(PYPROF_API, PYPROF_ERR_DISABLED, "built with PYPROF_DISABLE")
#endif

#endif   // PYPROF_H: reading the API? Stop here.

#if defined(PYPROF_IMPLEMENTATION) && !defined(PYPROF__IMPLEMENTED)
#define PYPROF__IMPLEMENTED
#if defined(PYPROF_DISABLE)
// The stubs above are all there is.
#elif !defined(__linux__) || !defined(__LP64__) || !(defined(__x86_64__) || defined(__aarch64__))
#define PYPROF__NOTHING
PYPROF__STUBS(PYPROF__NOTHING, PYPROF_ERR_UNSUPPORTED, "pyprof needs Linux on x86-64 or aarch64")
#undef PYPROF__NOTHING
#elif defined(__GLIBC__) && !defined(__USE_MISC)
#error "pyprof.h: include it with PYPROF_IMPLEMENTATION before any system header, or compile with -D_GNU_SOURCE or -std=gnu11"
#else

// ============================================================================
// [SECTION] PLATFORM -- clocks, threads, CPU placement, files
//   Runs on    any thread
//   Uses       libc, pthreads, Linux
//   Promise    the only place that asks which operating system or processor this is
// ============================================================================
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if defined(PYPROF_STATIC)
#define PYPROF__DEF PYPROF_API
#else
#define PYPROF__DEF
#endif
#define PYPROF__COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PYPROF__NONE 0xffffffffu      // no id: of a string, node, thread...

static const uint64_t pyprof__second = 1000000000u;   // ns

// The detail behind a result code. Per thread, so that errors of two threads never mix.
static __thread char pyprof__error_text[512];

__attribute__((format(printf, 2, 3)))
static pyprof_result pyprof__fail(pyprof_result result, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(pyprof__error_text, sizeof pyprof__error_text, format, list);
    va_end(list);
    return result;
}

static pyprof_result pyprof__fail_memory(const char *what)
{
    return pyprof__fail(PYPROF_ERR_MEMORY, "no memory for %s", what);
}

// ---- clocks ----------------------------------------------------------------
// A system call past libc, and past libraries that fake a program's time (libfaketime): they stand in front of
// clock_gettime, nanosleep and, where they are built so, of syscall itself. Returns -errno where it fails.
static long pyprof__kernel(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ __volatile__("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
    return number;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ __volatile__("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                         : "memory", "cc");
    return x0;
#endif
}

#if defined(__x86_64__)
#define PYPROF__VDSO_CLOCK "__vdso_clock_gettime"
#else
#define PYPROF__VDSO_CLOCK "__kernel_clock_gettime"
#endif
typedef int pyprof__clock_fn(clockid_t id, struct timespec *now);   // 0 = read

static int pyprof__clock_call(clockid_t id, struct timespec *now)
{
    return (int)pyprof__kernel(SYS_clock_gettime, id, (long)(intptr_t)now, 0, 0, 0, 0);
}

// The function that the kernel maps into every process to read a clock without a system call: 20 ns, not 100 to
// 300. Its file has a table of symbols, with the table of their names right behind.
static pyprof__clock_fn *pyprof__clock_find(void)
{
    const char *base = (const char *)(uintptr_t)getauxval(AT_SYSINFO_EHDR), *names = NULL;
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)base;
    const Elf64_Phdr *part = base ? (const Elf64_Phdr *)(const void *)(base + head->e_phoff) : NULL;
    const Elf64_Dyn *dynamic = NULL;
    const Elf64_Sym *symbol = NULL;
    pyprof__clock_fn *found = pyprof__clock_call;
    uintptr_t address, moved = 0;
    int i;
    for (i = 0; base && i < head->e_phnum; i++) {
        if (part[i].p_type == PT_LOAD && !moved) moved = (uintptr_t)base + part[i].p_offset - part[i].p_vaddr;
        if (part[i].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)(const void *)(base + part[i].p_offset);
    }
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_STRTAB) names = (const char *)(dynamic->d_un.d_ptr + moved);
        if (dynamic->d_tag == DT_SYMTAB) symbol = (const Elf64_Sym *)(dynamic->d_un.d_ptr + moved);
    }
    for (; symbol && (uintptr_t)(symbol + 1) <= (uintptr_t)names; symbol++) {
        if (!symbol->st_value || strcmp(names + symbol->st_name, PYPROF__VDSO_CLOCK) != 0) continue;
        address = symbol->st_value + moved;
        memcpy(&found, &address, sizeof found);
    }
    return found;
}

static pyprof__clock_fn *pyprof__clock_read;   // NULL = not looked for yet

static uint64_t pyprof__clock(clockid_t id)   // ns; 0 = no such clock
{
    struct timespec now = { 0, 0 };
    pyprof__clock_fn *read = __atomic_load_n(&pyprof__clock_read, __ATOMIC_RELAXED);
    if (!read) __atomic_store_n(&pyprof__clock_read, read = pyprof__clock_find(), __ATOMIC_RELAXED);
    if ((id == CLOCK_MONOTONIC || id == CLOCK_REALTIME ? read : pyprof__clock_call)(id, &now) != 0) return 0;
    return (uint64_t)now.tv_sec * pyprof__second + (uint64_t)now.tv_nsec;
}

static uint64_t pyprof__now(void) { return pyprof__clock(CLOCK_MONOTONIC); }

// CPU time of a thread of this process, ns; 0 = it is gone. The clock id is the kernel's own encoding (CPUCLOCK_PERTHREAD
// | CPUCLOCK_SCHED in its posix-timers.h), because pthread_getcpuclockid wants a pthread_t that is known to be alive.
static uint64_t pyprof__thread_cpu(int64_t tid)
{
    return pyprof__clock((clockid_t)(~(uint32_t)tid << 3 | 6u));
}

static uint64_t pyprof__own_cpu(void) { return pyprof__clock(CLOCK_THREAD_CPUTIME_ID); }

// A thread's CPU clock proves that it did not run only where the clock moves with every instruction. Sandboxes give
// clocks that move by the tick.
static int pyprof__cpu_clock_is_fine(void)
{
    uint64_t changes = 0, last = pyprof__own_cpu();
    int i;
    for (i = 0; i < 100; i++) {
        uint64_t now = pyprof__own_cpu();
        changes += now != last;
        last = now;
    }
    return changes >= 50;
}

// Above the main thread's first frame; 0 = unknown. The kernel put some random bytes there.
static uint64_t pyprof__stack_end(void) { return getauxval(AT_RANDOM); }

static const char *pyprof__started_as(void)   // the path that this process was started by
{
    const char *path = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    return path ? path : "";
}

static uint64_t pyprof__address_end(void)   // of this process: the kernel puts the stack right below it
{
    uint64_t end = 1u << 30, on_stack = pyprof__stack_end();
    while (end && end <= on_stack) end *= 2;
    return on_stack ? end - 4096 : UINT64_MAX;
}

// ---- threads ---------------------------------------------------------------
static int64_t pyprof__gettid(void) { return (int64_t)syscall(SYS_gettid); }

static uint64_t pyprof__random(uint64_t *state)   // splitmix64
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// Sleeps until an absolute time, or until *word is no longer value.
static void pyprof__sleep_until(uint32_t *word, uint32_t value, uint64_t deadline)
{
    struct timespec until;
    until.tv_sec = (time_t)(deadline / pyprof__second);
    until.tv_nsec = (long)(deadline % pyprof__second);
    pyprof__kernel(SYS_futex, (long)(intptr_t)word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, (long)value,
                   (long)(intptr_t)&until, 0, (long)FUTEX_BITSET_MATCH_ANY);
}

static void pyprof__nap(long ns)   // lets whoever waits for this CPU run on
{
    struct timespec moment = { 0, 0 };
    moment.tv_nsec = ns;
    pyprof__kernel(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)(intptr_t)&moment, 0, 0, 0);
}

static void pyprof__wake(uint32_t *word)
{
    __atomic_add_fetch(word, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

// A thread of ours: all signals blocked, so that the host's handlers never run on its small stack.
static int pyprof__thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error) return error;
    pthread_attr_setstacksize(&attributes, 512 * 1024);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

// Name, timer slack and scheduler slice, of the calling thread only. Each is a wish: none is needed.
static void pyprof__thread_tune(void)
{
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; } slice;
    prctl(PR_SET_NAME, "pyprof", 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);    // the default, 50 us, is half a period at 10 kHz
    memset(&slice, 0, sizeof slice);
    slice.size = sizeof slice;
    slice.runtime = 100000;                  // ns; Linux 6.12 schedules a short slice sooner
    syscall(SYS_sched_setattr, 0, &slice, 0);
}

// ---- CPU placement -----------------------------------------------------------
typedef struct { unsigned long word[16]; } pyprof__cpus;   // 1024 CPUs

static int pyprof__cpus_get(pyprof__cpus *set)
{
    memset(set, 0, sizeof *set);
    return syscall(SYS_sched_getaffinity, 0, sizeof *set, set) > 0;
}

static int pyprof__cpus_set(const pyprof__cpus *set) { return syscall(SYS_sched_setaffinity, 0, sizeof *set, set) == 0; }

static int pyprof__cpus_has(const pyprof__cpus *set, int cpu)
{
    if (cpu < 0 || cpu >= 1024) return 0;
    return (int)(set->word[(unsigned)cpu / 64] >> ((unsigned)cpu % 64) & 1);
}

static int pyprof__cpus_only(int cpu)
{
    pyprof__cpus set;
    memset(&set, 0, sizeof set);
    set.word[(unsigned)cpu / 64] = 1ul << ((unsigned)cpu % 64);
    return pyprof__cpus_set(&set);
}

static char *pyprof__thread_pointer(void)
{
    char *pointer;
#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
#define PYPROF__RSEQ_SIGNATURE 0x53053053u
#define PYPROF__FENCE() __asm__ __volatile__("mfence" ::: "memory")
#else
#define PYPROF__RSEQ_SIGNATURE 0xd428bc00u
#define PYPROF__FENCE() __asm__ __volatile__("dmb ish" ::: "memory")
    __asm__("mrs %0, tpidr_el0" : "=r"(pointer));
#endif
    return pointer;
}

// The kernel writes the CPU of every thread into its rseq area before the thread runs user code (glibc >= 2.35 registers
// one for each). Returns what to add to a pthread_t to get the address of that word; 0 = there is none.
static int64_t pyprof__cpu_word_offset(void)
{
    const ptrdiff_t *offset = (const ptrdiff_t *)dlsym(NULL, "__rseq_offset");
    const unsigned *size = (const unsigned *)dlsym(NULL, "__rseq_size");
    char *thread = pyprof__thread_pointer();
    if (!offset || !size || *size == 0) return 0;
    if (*(volatile int32_t *)(void *)(thread + *offset + 4) < 0) return 0;
    return (int64_t)(thread - (char *)(uintptr_t)pthread_self()) + (int64_t)*offset + 4;
}

// Was this thread switched out? The kernel clears rseq_cs when it switches out a thread whose instruction lies outside of
// the critical section described there, and this one describes none (kernel/rseq.c; the abort address must be preceded by
// the signature that glibc registered). Another user of rseq in between, such as an allocator, counts as "it was".
typedef struct { uint32_t version, flags; uint64_t start_ip, length, abort_ip; } pyprof__rseq_section;

static const uint32_t pyprof__rseq_code[3] = { PYPROF__RSEQ_SIGNATURE, 0, 0 };
static pyprof__rseq_section pyprof__rseq_nowhere __attribute__((aligned(32))) = { 0, 0, 0, 0, 0 };

static volatile uint64_t *pyprof__rseq_word(int64_t cpu_word)
{
    return (volatile uint64_t *)((uintptr_t)pthread_self() + (uintptr_t)cpu_word + 4);
}

static void pyprof__switches_watch(int64_t cpu_word)
{
    pyprof__rseq_nowhere.start_ip = (uint64_t)(uintptr_t)&pyprof__rseq_code[2];
    pyprof__rseq_nowhere.length = 1;
    pyprof__rseq_nowhere.abort_ip = (uint64_t)(uintptr_t)&pyprof__rseq_code[1];
    PYPROF__FENCE();
    *pyprof__rseq_word(cpu_word) = (uint64_t)(uintptr_t)&pyprof__rseq_nowhere;
    PYPROF__FENCE();
}

static int pyprof__switches_none(int64_t cpu_word)   // since then
{
    PYPROF__FENCE();
    return *pyprof__rseq_word(cpu_word) == (uint64_t)(uintptr_t)&pyprof__rseq_nowhere;
}

// Where a condition variable counts those that wait, in eighths: glibc, whose word for that (__wrefs) has moved between versions.
// Its lowest bits say how the variable was made: a fresh one with both of them set tells which word it is. 0 = not known.
static uint32_t pyprof__waiters_offset(void)
{
    union { pthread_cond_t cond; uint32_t words[sizeof(pthread_cond_t) / 4]; } u;
    pthread_condattr_t how;
    uint32_t i, found = 0, count = 0;
    memset(&u, 0, sizeof u);
    if (pthread_condattr_init(&how) != 0) return 0;
    if (pthread_condattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0 && pthread_condattr_setclock(&how, CLOCK_MONOTONIC) == 0
        && pthread_cond_init(&u.cond, &how) == 0) {
        for (i = 0; i < PYPROF__COUNT(u.words); i++)
            if (u.words[i]) { found = u.words[i] == 3 ? i * 4 : 0; count++; }
        pthread_cond_destroy(&u.cond);
    }
    pthread_condattr_destroy(&how);
    return count == 1 ? found : 0;
}

static int pyprof__cpu_here(int64_t cpu_word)   // of the calling thread
{
    unsigned cpu = 0;
    if (cpu_word) return *(volatile int32_t *)((uintptr_t)pthread_self() + (uintptr_t)cpu_word);
    return syscall(SYS_getcpu, &cpu, NULL, NULL) == 0 ? (int)cpu : -1;
}

// Reads a small file whole; returns its size, -1 = it cannot be read. The text ends with a NUL.
static ssize_t pyprof__read_file(int folder, const char *path, char *text, size_t capacity)
{
    size_t size = 0;
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    while (size < capacity - 1) {
        ssize_t got = read(fd, text + size, capacity - 1 - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += (size_t)got;
    }
    close(fd);
    text[size] = 0;
    return (ssize_t)size;
}

// ---- what /proc tells of this process ------------------------------------------------
// Its folder is opened when a sampler starts: after a chroot /proc can be reached through that descriptor only.
// The number is high, to leave the low ones to programs that count on them.
enum { PYPROF__PROC_FD = 200 };

static struct {
    pthread_mutex_t lock;
    int64_t pid;                 // whose folder it is
    int users, fd;               // -1 = there is no such folder
    int foreign;                 // it numbers threads as another pid namespace does
    uint64_t device, inode;      // of the folder: a host that closes all descriptors may use the number itself
    const char *lack;            // what cannot be told, and why; NULL = nothing is known to be missing
} pyprof__proc = { PTHREAD_MUTEX_INITIALIZER, 0, 0, -1, 0, 0, 0, NULL };

static void pyprof__proc_lacks(const char *what)
{
    __atomic_store_n(&pyprof__proc.lack, what, __ATOMIC_RELAXED);
}

static int pyprof__proc_holds(void)   // the descriptor is still the folder's
{
    struct stat info;
    return pyprof__proc.fd >= 0 && fstat(pyprof__proc.fd, &info) == 0
        && (uint64_t)info.st_ino == pyprof__proc.inode && (uint64_t)info.st_dev == pyprof__proc.device;
}

static void pyprof__proc_look(void)   // under the lock
{
    char text[8192], *ids = NULL;
    struct stat info;
    int foreign, low = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = errno;
    int high = low >= 0 ? fcntl(low, F_DUPFD_CLOEXEC, PYPROF__PROC_FD) : -1;
    if (high >= 0) close(low);
    pyprof__proc.fd = high >= 0 ? high : low;
    if (low < 0 || fstat(pyprof__proc.fd, &info) != 0) {
        pyprof__proc_lacks(error == EMFILE || error == ENFILE
                           ? "no file descriptor is free to read /proc: what threads wait for is unknown"
                           : "/proc cannot be reached: what threads wait for is unknown");
        return;
    }
    pyprof__proc.inode = (uint64_t)info.st_ino;
    pyprof__proc.device = (uint64_t)info.st_dev;
    if (pyprof__read_file(pyprof__proc.fd, "status", text, sizeof text) > 0) ids = strstr(text, "\nNSpid:\t");
    if (ids) ids[strcspn(ids + 1, "\n") + 1] = 0;
    foreign = ids && strchr(ids + 8, '\t');   // one id a namespace, from that of /proc to ours
    __atomic_store_n(&pyprof__proc.foreign, foreign, __ATOMIC_RELAXED);
    if (foreign)
        pyprof__proc_lacks("/proc is that of another pid namespace: what threads wait for is unknown");
}

static void pyprof__proc_drop(void)   // under the lock, or after a fork
{
    if (pyprof__proc_holds()) close(pyprof__proc.fd);
    pyprof__proc.fd = -1;
    pyprof__proc.users = 0;
    __atomic_store_n(&pyprof__proc.foreign, 0, __ATOMIC_RELAXED);
}

static void pyprof__proc_leave(void)
{
    pthread_mutex_lock(&pyprof__proc.lock);
    if (pyprof__proc.users > 1) pyprof__proc.users--;
    else pyprof__proc_drop();
    pthread_mutex_unlock(&pyprof__proc.lock);
}

static void pyprof__proc_forked(void)   // the folder is the parent's
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&pyprof__proc.lock, &fresh, sizeof fresh);
    pyprof__proc_drop();
}

static void pyprof__proc_use(void)
{
    int64_t own = (int64_t)getpid(), pid = __atomic_load_n(&pyprof__proc.pid, __ATOMIC_RELAXED);
    if (pid && pid != own) pyprof__proc_forked();   // where no handler told
    pthread_mutex_lock(&pyprof__proc.lock);
    __atomic_store_n(&pyprof__proc.pid, own, __ATOMIC_RELAXED);
    if (pyprof__proc.users++ == 0) {
        pyprof__proc_lacks(NULL);
        pyprof__proc_look();
    }
    pthread_mutex_unlock(&pyprof__proc.lock);
}

static int pyprof__proc_folder(void)   // -1 = there is none
{
    int fd;
    pthread_mutex_lock(&pyprof__proc.lock);
    if (pyprof__proc.users && !pyprof__proc_holds()) pyprof__proc_look();
    fd = pyprof__proc.fd;
    pthread_mutex_unlock(&pyprof__proc.lock);
    return fd;
}

// Where a name below that folder is: for openat and the like. Without a descriptor of it, by its path.
static int pyprof__proc_place(const char *name, char *path, size_t capacity)
{
    int folder = pyprof__proc_folder();
    snprintf(path, capacity, "%s%s", folder < 0 ? "/proc/self/" : "", name);
    return folder < 0 ? AT_FDCWD : folder;
}

static ssize_t pyprof__proc_read(const char *name, char *text, size_t capacity)   // as pyprof__read_file
{
    char path[128];
    int folder = pyprof__proc_place(name, path, sizeof path);
    return pyprof__read_file(folder, path, text, capacity);
}

static int pyprof__proc_link(const char *name, char *text, size_t capacity)   // 1 = read; 0: the text is empty
{
    char path[128];
    int folder = pyprof__proc_place(name, path, sizeof path);
    ssize_t size = readlinkat(folder, path, text, capacity - 1);
    text[size > 0 ? size : 0] = 0;
    return size > 0;
}

static ssize_t pyprof__task_read(int64_t tid, const char *name, char *text, size_t capacity)   // of a thread
{
    char path[96];
    snprintf(path, sizeof path, "task/%lld/%s", (long long)tid, name);
    if (__atomic_load_n(&pyprof__proc.foreign, __ATOMIC_RELAXED)) return -1;
    return pyprof__proc_read(path, text, capacity);
}

// Its stat from that field on; NULL = unknown. Field 2, the name, may hold anything, ')' too.
static const char *pyprof__task_stat(int64_t tid, int field, char *text, size_t capacity)
{
    const char *at = pyprof__task_read(tid, "stat", text, capacity) > 0 ? strrchr(text, ')') : NULL;
    int i;
    for (i = 2; at && i < field; i++) at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

static int pyprof__cpu_from_proc(int64_t tid)   // without rseq; -1 = unknown
{
    char text[1024];
    const char *at = pyprof__task_stat(tid, 39, text, sizeof text);
    return at ? atoi(at) : -1;
}

static uint64_t pyprof__run_delay(int64_t tid)   // ns that a thread of this process has waited for a CPU so far; 0 = unknown
{
    char text[128], *at;
    at = pyprof__task_read(tid, "schedstat", text, sizeof text) > 0 ? strchr(text, ' ') : NULL;
    return at ? strtoull(at, NULL, 10) : 0;
}

enum { PYPROF__LAST_MOVED = 1 };

// When a thread of this process was last on a CPU, as far as the scheduler has accounted for it: ns of the scheduler's clock, which
// is told to begin with (se.exec_start, kernel/sched/debug.c). 0 = not told, LAST_MOVED = it was moved to another CPU and did not run there yet.
static uint64_t pyprof__last_run(int64_t tid)
{
    char text[256], *at;
    uint64_t ns = 0;
    int digits = 0;
    at = pyprof__task_read(tid, "sched", text, sizeof text) > 0 ? strstr(text, "exec_start") : NULL;
    if (at) at = strchr(at, ':');
    if (!at) return 0;
    for (at += 1 + strspn(at + 1, " "); *at >= '0' && *at <= '9'; at++) ns = ns * 10 + (uint64_t)(*at - '0');   // ms
    if (*at++ != '.') return 0;
    for (; *at >= '0' && *at <= '9' && digits < 6; at++, digits++) ns = ns * 10 + (uint64_t)(*at - '0');
    return digits < 6 ? 0 : ns ? ns : (uint64_t)PYPROF__LAST_MOVED;
}

static int pyprof__signal_is_blocked(int64_t tid, int signal)   // by a thread of this process; also if it has ended
{
    char text[4096], *at;
    at = pyprof__task_read(tid, "status", text, sizeof text) > 0 ? strstr(text, "\nSigBlk:") : NULL;
    return !at || (strtoull(at + 8, NULL, 16) >> (signal - 1) & 1);
}

// ---- what a thread waits for in the kernel ----------------------------------------
// The system call a thread of this process is in, from /proc/self/task/TID/syscall. The file is root's while the
// process cannot be dumped (after setuid, PR_SET_DUMPABLE 0); the kernel's function, in wchan, is for all to read.
typedef struct {
    long number;               // -1: blocked, but in no system call (a page fault)
    uint64_t argument[6];
    char function[48];         // PYPROF__CALL_BY_NAME: may be empty or cut
} pyprof__call;
enum { PYPROF__CALL_BY_NAME = -2 };

typedef enum {
    PYPROF__WAITS_PLAIN,        // the verb says it all
    PYPROF__WAITS_FD,           // argument 0 is a descriptor
    PYPROF__WAITS_PATH,         // a path; not shown
    PYPROF__WAITS_FUTEX, PYPROF__WAITS_POLL, PYPROF__WAITS_SELECT, PYPROF__WAITS_EPOLL, PYPROF__WAITS_ACCEPT, PYPROF__WAITS_CONNECT,
    PYPROF__WAITS_SLEEP
} pyprof__waits;

// Calls that block. Not every processor has each of them.
static const struct { long number; const char *verb; pyprof__waits form; int idle; } pyprof__calls[] = {   // idle: waits for work
    { SYS_futex, "futex", PYPROF__WAITS_FUTEX, 0 },
    { SYS_nanosleep, "sleep", PYPROF__WAITS_SLEEP, 1 }, { SYS_clock_nanosleep, "sleep", PYPROF__WAITS_SLEEP, 1 },
    { SYS_read, "read", PYPROF__WAITS_FD, 0 }, { SYS_pread64, "read", PYPROF__WAITS_FD, 0 }, { SYS_readv, "read", PYPROF__WAITS_FD, 0 },
    { SYS_preadv, "read", PYPROF__WAITS_FD, 0 }, { SYS_write, "write", PYPROF__WAITS_FD, 0 }, { SYS_pwrite64, "write", PYPROF__WAITS_FD, 0 },
    { SYS_writev, "write", PYPROF__WAITS_FD, 0 }, { SYS_pwritev, "write", PYPROF__WAITS_FD, 0 },
    { SYS_recvfrom, "recv", PYPROF__WAITS_FD, 0 }, { SYS_recvmsg, "recv", PYPROF__WAITS_FD, 0 }, { SYS_recvmmsg, "recv", PYPROF__WAITS_FD, 0 },
    { SYS_sendto, "send", PYPROF__WAITS_FD, 0 }, { SYS_sendmsg, "send", PYPROF__WAITS_FD, 0 }, { SYS_sendmmsg, "send", PYPROF__WAITS_FD, 0 },
    { SYS_sendfile, "send", PYPROF__WAITS_FD, 0 }, { SYS_splice, "splice", PYPROF__WAITS_FD, 0 },
    { SYS_copy_file_range, "copy", PYPROF__WAITS_FD, 0 },
    { SYS_accept, "accept", PYPROF__WAITS_ACCEPT, 1 }, { SYS_accept4, "accept", PYPROF__WAITS_ACCEPT, 1 },
    { SYS_connect, "connect", PYPROF__WAITS_CONNECT, 0 },
    { SYS_ppoll, "poll", PYPROF__WAITS_POLL, 1 }, { SYS_pselect6, "select", PYPROF__WAITS_SELECT, 1 },
    { SYS_epoll_pwait, "epoll", PYPROF__WAITS_EPOLL, 1 },
    { SYS_wait4, "wait child", PYPROF__WAITS_PLAIN, 0 }, { SYS_waitid, "wait child", PYPROF__WAITS_PLAIN, 0 },
    { SYS_rt_sigtimedwait, "wait signal", PYPROF__WAITS_PLAIN, 1 }, { SYS_rt_sigsuspend, "wait signal", PYPROF__WAITS_PLAIN, 1 },
    { SYS_fsync, "fsync", PYPROF__WAITS_FD, 0 }, { SYS_fdatasync, "fsync", PYPROF__WAITS_FD, 0 }, { SYS_flock, "flock", PYPROF__WAITS_FD, 0 },
    { SYS_fcntl, "lock", PYPROF__WAITS_FD, 0 }, { SYS_ioctl, "ioctl", PYPROF__WAITS_FD, 0 }, { SYS_close, "close", PYPROF__WAITS_FD, 0 },
    { SYS_getdents64, "list", PYPROF__WAITS_FD, 0 }, { SYS_fstat, "stat", PYPROF__WAITS_FD, 0 }, { SYS_ftruncate, "truncate", PYPROF__WAITS_FD, 0 },
    { SYS_fallocate, "allocate", PYPROF__WAITS_FD, 0 },
    { SYS_openat, "open", PYPROF__WAITS_PATH, 0 }, { SYS_unlinkat, "unlink", PYPROF__WAITS_PATH, 0 }, { SYS_mkdirat, "mkdir", PYPROF__WAITS_PATH, 0 },
    { SYS_mmap, "mmap", PYPROF__WAITS_PLAIN, 0 }, { SYS_munmap, "munmap", PYPROF__WAITS_PLAIN, 0 },
    { SYS_madvise, "madvise", PYPROF__WAITS_PLAIN, 0 },
    { SYS_mprotect, "mprotect", PYPROF__WAITS_PLAIN, 0 }, { SYS_brk, "brk", PYPROF__WAITS_PLAIN, 0 }, { SYS_msync, "msync", PYPROF__WAITS_PLAIN, 0 },
    { SYS_sync, "sync", PYPROF__WAITS_PLAIN, 0 }, { SYS_getrandom, "getrandom", PYPROF__WAITS_PLAIN, 0 },
    { SYS_semtimedop, "semaphore", PYPROF__WAITS_PLAIN, 0 }, { SYS_msgrcv, "message queue", PYPROF__WAITS_PLAIN, 0 },
    { SYS_mq_timedreceive, "message queue", PYPROF__WAITS_PLAIN, 0 }, { SYS_io_getevents, "aio", PYPROF__WAITS_PLAIN, 0 },
#ifdef SYS_io_uring_enter
    { SYS_io_uring_enter, "io_uring", PYPROF__WAITS_PLAIN, 0 },
#endif
#ifdef SYS_poll
    { SYS_poll, "poll", PYPROF__WAITS_POLL, 1 }, { SYS_select, "select", PYPROF__WAITS_SELECT, 1 },
    { SYS_epoll_wait, "epoll", PYPROF__WAITS_EPOLL, 1 },
    { SYS_pause, "wait signal", PYPROF__WAITS_PLAIN, 1 }, { SYS_open, "open", PYPROF__WAITS_PATH, 0 }, { SYS_stat, "stat", PYPROF__WAITS_PATH, 0 },
    { SYS_rename, "rename", PYPROF__WAITS_PATH, 0 }, { SYS_unlink, "unlink", PYPROF__WAITS_PATH, 0 }, { SYS_mkdir, "mkdir", PYPROF__WAITS_PATH, 0 },
    { SYS_newfstatat, "stat", PYPROF__WAITS_PATH, 0 },
#endif
};

typedef enum { PYPROF__CALL_UNKNOWN, PYPROF__CALL_RUNS, PYPROF__CALL_BLOCKED } pyprof__call_state;   // runs: or could

static int pyprof__function_read(int64_t tid, char *function, size_t capacity)   // 1 = there is a name
{
    ssize_t size = pyprof__task_read(tid, "wchan", function, capacity);
    if (size <= 0 || strcmp(function, "0") == 0) function[0] = 0;
    return function[0] != 0;
}

// wchan is 0 for a thread that could run, and where the kernel keeps names to itself.
static pyprof__call_state pyprof__call_name(int64_t tid, pyprof__call *call)
{
    char text[1024];
    const char *state = NULL;
    memset(call, 0, sizeof *call);
    call->number = PYPROF__CALL_BY_NAME;
    if (pyprof__function_read(tid, call->function, sizeof call->function)) return PYPROF__CALL_BLOCKED;
    state = pyprof__task_stat(tid, 3, text, sizeof text);
    if (!state || *state == 'X' || *state == 'Z') return PYPROF__CALL_UNKNOWN;
    if (*state == 'R') return PYPROF__CALL_RUNS;
    pyprof__function_read(tid, call->function, sizeof call->function);   // it may just have gone to sleep
    return PYPROF__CALL_BLOCKED;
}

#define PYPROF__NO_RIGHTS "the process gave up its rights (setuid, PR_SET_DUMPABLE): "
#define PYPROF__NO_CALLS "/proc shows no system calls here: "
#define PYPROF__BY_NAME "what threads wait for is told by the kernel's function, without file or peer"
#define PYPROF__NO_NAME "that threads wait is known, not for what"

static void pyprof__call_lacks(int error, const pyprof__call *call)
{
    int rights = error == EACCES || error == EPERM;
    if (call->function[0])
        pyprof__proc_lacks(rights ? PYPROF__NO_RIGHTS PYPROF__BY_NAME : PYPROF__NO_CALLS PYPROF__BY_NAME);
    else if (!__atomic_load_n(&pyprof__proc.lack, __ATOMIC_RELAXED))
        pyprof__proc_lacks(rights ? PYPROF__NO_RIGHTS PYPROF__NO_NAME : PYPROF__NO_CALLS PYPROF__NO_NAME);
}

static pyprof__call_state pyprof__call_read(int64_t tid, pyprof__call *call)
{
    char text[256], *at = text;
    pyprof__call_state state;
    int i, error;
    if (pyprof__task_read(tid, "syscall", text, sizeof text) <= 0) {
        error = errno;
        state = pyprof__call_name(tid, call);
        if (state == PYPROF__CALL_BLOCKED) pyprof__call_lacks(error, call);
        return state;
    }
    if (text[0] == 'r') return PYPROF__CALL_RUNS;
    memset(call, 0, sizeof *call);
    call->number = strtol(at, &at, 10);
    for (i = 0; i < 6 && *at == ' ' && call->number >= 0; i++) call->argument[i] = strtoull(at + 1, &at, 16);
    return PYPROF__CALL_BLOCKED;
}

// The folder entry of a descriptor: "/a/data.bin", "socket:[123]", "pipe:[123]", "anon_inode:[eventfd]". No call to the file
// itself: one on a file system that hangs would block the sampler, too.
static int pyprof__fd_link(int64_t tid, int fd, char *text, size_t capacity)
{
    char name[64];
    snprintf(name, sizeof name, "task/%lld/fd/%d", (long long)tid, fd);
    return pyprof__proc_link(name, text, capacity);
}

static int pyprof__fd_type(int fd)   // S_IFMT of the file's mode, as the kernel remembers it; 0 = unknown
{
#ifdef SYS_statx
    uint32_t info[64];                      // struct statx: stx_mode is a 16-bit field at 28
    if (syscall(SYS_statx, fd, "", 0x1000 | 0x4000, 1, info) == 0) return (int)(info[7] & 0xf000);   // AT_EMPTY_PATH, AT_STATX_DONT_SYNC; STATX_TYPE
#endif
    (void)fd;
    return 0;
}

static void pyprof__address_text(const struct sockaddr_storage *address, socklen_t size, char *text, size_t capacity)
{
    const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)(const void *)address;
    const struct sockaddr_un *local = (const struct sockaddr_un *)(const void *)address;
    const size_t name = offsetof(struct sockaddr_un, sun_path);
    char host[64] = "";
    if (address->ss_family == AF_INET && inet_ntop(AF_INET, &ipv4->sin_addr, host, sizeof host))
        snprintf(text, capacity, "%s:%u", host, ntohs(ipv4->sin_port));
    else if (address->ss_family == AF_INET6 && inet_ntop(AF_INET6, &ipv6->sin6_addr, host, sizeof host))
        snprintf(text, capacity, "[%s]:%u", host, ntohs(ipv6->sin6_port));
    else if (address->ss_family == AF_UNIX && size > name && local->sun_path[0])
        snprintf(text, capacity, "unix:%.*s", (int)(size - name), local->sun_path);
    else snprintf(text, capacity, "%s", address->ss_family == AF_UNIX ? "unix" : "socket");
}

static void pyprof__socket_text(int fd, int own, char *text, size_t capacity)   // own: its address, not the peer's
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    int got;
    memset(&address, 0, sizeof address);
    got = own ? -1 : getpeername(fd, (struct sockaddr *)&address, &size);
    if (got != 0) {
        size = sizeof address;
        got = getsockname(fd, (struct sockaddr *)&address, &size);
    }
    if (got == 0) pyprof__address_text(&address, size, text, capacity);
    else snprintf(text, capacity, "socket");
}

typedef struct {               // what is waited for
    char verb[32], target[256];    // "read file", "/a/data.bin"; target empty: none that is known
    int path, idle;                // target is a path; it waits for work
    uint64_t futex;                // address; 0 = it is none
    int some_futex, some_poll;     // it is one whose address is not known; its arguments
} pyprof__wait;

// Kernel functions in which threads wait, as wchan names them (Linux 4.14 to 6.18): how the names begin, since
// compilers add to them. The first that fits counts. Where several calls wait in one function the verb tells no more.
static const struct { const char *verb; int idle; const char *functions[5]; } pyprof__functions[] = {
    { "futex", 0, { "futex_", "__futex_wait", "do_futex" } },
    { "sleep", 1, { "hrtimer_nanosleep", "do_nanosleep", "common_nsleep" } },
    { "read pipe", 0, { "pipe_read", "anon_pipe_read", "fifo_pipe_read" } },
    { "write pipe", 0, { "pipe_write", "anon_pipe_write", "fifo_pipe_write" } },
    { "pipe", 0, { "pipe_wait" } },                              // to read or to write, up to 5.4
    { "open", 0, { "wait_for_partner", "fifo_open" } },
    { "recv", 0, { "unix_stream_read_generic", "unix_stream_data_wait", "sk_wait_data", "tcp_recvmsg" } },
    { "recv or accept", 0, { "__skb_wait_for_more_packets" } },   // of datagrams; accept of a local socket
    { "accept", 1, { "inet_csk_accept", "unix_accept" } },
    { "connect", 0, { "inet_wait_for_connect", "__inet_stream_connect", "sk_stream_wait_connect" } },
    { "send or connect", 0, { "unix_wait_for_peer" } },
    { "send", 0, { "sk_stream_wait_memory", "sock_alloc_send_pskb", "sock_wait_for_wmem" } },
    { "I/O", 0, { "wait_woken" } },                              // sockets, both ways; terminals; inotify
    { "poll", 0, { "poll_schedule_timeout", "do_sys_poll", "do_poll", "do_select" } },
    { "epoll", 1, { "ep_poll", "do_epoll_wait" } },
    { "read", 0, { "do_wait_intr" } },                           // eventfd, timerfd, signalfd
    { "wait child", 0, { "do_wait", "kernel_waitid", "kernel_clone", "_do_fork" } },   // the last two: vfork
    { "read eventfd", 0, { "eventfd_read" } }, { "write eventfd", 0, { "eventfd_write" } },
    { "read timerfd", 0, { "timerfd_read" } }, { "read signalfd", 0, { "signalfd_" } },
    { "read inotify", 0, { "inotify_read" } },
    { "read tty", 0, { "n_tty_read" } }, { "write tty", 0, { "n_tty_write" } },
    { "wait signal", 1, { "do_sigtimedwait", "sigsuspend", "__do_sys_pause", "sys_pause", "__x64_sys_pause" } },
    { "flock", 0, { "locks_lock_inode_wait", "flock_lock_inode_wait" } },
    { "lock", 0, { "fcntl_setlk", "do_lock_file_wait" } },
    { "io_uring", 0, { "io_cqring_wait" } }, { "aio", 0, { "read_events" } },
    { "semaphore", 0, { "do_semtimedop", "__do_semtimedop" } },
    { "message queue", 0, { "do_msgrcv", "do_msgsnd", "wq_sleep" } },
    { "getrandom", 0, { "wait_for_random_bytes" } },
    { "disk", 0, { "folio_wait_", "__folio_lock", "wait_on_page_", "__wait_on_buffer", "submit_bio_wait" } },
    { "disk", 0, { "jbd2_", "rq_qos_wait", "blk_mq_get_tag" } },
    { "nfs", 0, { "nfs_", "nfs4_", "rpc_wait_bit" } }, { "fuse", 0, { "request_wait_answer" } },
    { "page fault", 0, { "do_user_addr_fault", "exc_page_fault", "handle_mm_fault", "do_page_fault" } },
    { "page fault", 0, { "do_swap_page", "handle_userfault" } },
    { "stopped", 0, { "do_signal_stop", "ptrace_stop", "do_freezer_trap" } },
};

static size_t pyprof__function_find(const char *function)   // the row; PYPROF__COUNT(pyprof__functions) = none
{
    size_t i, k;
    for (i = 0; i < PYPROF__COUNT(pyprof__functions); i++)
        for (k = 0; k < PYPROF__COUNT(pyprof__functions[i].functions); k++) {
            const char *begins = pyprof__functions[i].functions[k];
            if (begins && strncmp(function, begins, strlen(begins)) == 0) return i;
        }
    return i;
}

static void pyprof__wait_name(pyprof__wait *wait, const char *function)
{
    size_t i = pyprof__function_find(function);
    if (i < PYPROF__COUNT(pyprof__functions)) {
        snprintf(wait->verb, sizeof wait->verb, "%s", pyprof__functions[i].verb);
        wait->idle = pyprof__functions[i].idle;
        wait->some_futex = i == 0;
        wait->some_poll = strcmp(wait->verb, "poll") == 0;
    } else if (*function) snprintf(wait->verb, sizeof wait->verb, "kernel %.24s", function);
    else memcpy(wait->verb, "blocked", 8);
}

static void pyprof__wait_fd(pyprof__wait *wait, const char *verb, int64_t tid, int fd, int own)
{
    char link[4096];
    const char *what = "file";
    size_t size;
    int type;
    snprintf(wait->verb, sizeof wait->verb, "%s", verb);
    if (!pyprof__fd_link(tid, fd, link, sizeof link)) return;
    if (strncmp(link, "socket:", 7) == 0) { pyprof__socket_text(fd, own, wait->target, sizeof wait->target); return; }
    type = link[0] == '/' ? pyprof__fd_type(fd) : 0;
    if (strncmp(link, "pipe:", 5) == 0) what = "pipe";
    else if (strncmp(link, "/dev/pts/", 9) == 0 || strncmp(link, "/dev/tty", 8) == 0) what = "tty";
    else if (strncmp(link, "anon_inode:[", 12) == 0) { what = link + 12; link[strcspn(link, "]")] = 0; }
    else if (link[0] == '/') {
        what = type == S_IFIFO ? "pipe" : type == S_IFDIR ? "folder" : type == S_IFCHR || type == S_IFBLK ? "device" : "file";
        size = strlen(link);
        wait->path = size < sizeof link - 1;   // else it may be cut, and its end a folder's name
        if (size >= sizeof wait->target) snprintf(wait->target, sizeof wait->target, "%.*s", (int)sizeof wait->target - 1, strrchr(link, '/'));
        else memcpy(wait->target, link, size + 1);
        if (!wait->path) wait->target[0] = 0;
    }
    snprintf(wait->verb, sizeof wait->verb, "%s %.16s", verb, what);
}

static void pyprof__wait_many(pyprof__wait *wait, const char *verb, uint64_t count)   // few names for all the numbers there can be
{
    uint64_t round = 16;
    while (round <= count / 2) round *= 2;
    if (count <= 16) snprintf(wait->verb, sizeof wait->verb, "%s %u fd%s", verb, (unsigned)count, count == 1 ? "" : "s");
    else snprintf(wait->verb, sizeof wait->verb, "%s %llu+ fds", verb, (unsigned long long)round);
}

static uint64_t pyprof__bits(const uint64_t *words, size_t count)
{
    uint64_t bits = 0;
    size_t i;
    for (i = 0; i < count; i++) bits += (uint64_t)__builtin_popcountll(words[i]);
    return bits;
}

// ---- holding a thread by a signal -----------------------------------------------
// The handler does nothing but wait, for 2 ms at most: all reading is done by the sampler. The signal is SIGURG, because its
// default action is to be ignored: one that is still pending when the program executes another one must not end that.
enum { PYPROF__HOLD_SIGNAL = SIGURG, PYPROF__HOLD_ASKED = 1, PYPROF__HOLD_HELD, PYPROF__HOLD_MOST_NS = 2000000 };

static struct {
    uint32_t word;              // futex: number of the request * 4 + its state; 0 = there is none
    int installed;
    struct sigaction before;
} pyprof__hold;

static void pyprof__hold_wait(uint32_t value, uint64_t end)   // while the word has this value
{
    while (__atomic_load_n(&pyprof__hold.word, __ATOMIC_ACQUIRE) == value && pyprof__now() < end)
        pyprof__sleep_until(&pyprof__hold.word, value, end);
}

static int pyprof__hold_change(uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&pyprof__hold.word, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static uint64_t pyprof__hold_cookie(void)   // what a request's number is added to: another copy of this file has another
{
    return (uint64_t)(uintptr_t)&pyprof__hold * 0x9e3779b97f4a7c15u;
}

static void pyprof__hold_notify(void) { syscall(SYS_futex, &pyprof__hold.word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0); }

static void pyprof__on_signal(int number, siginfo_t *info, void *context)
{
    int error = errno;
    uint64_t value = (uint64_t)(uintptr_t)info->si_value.sival_ptr - pyprof__hold_cookie();
    uint32_t asked = (uint32_t)value;
    if (info->si_code == SI_QUEUE && info->si_pid == getpid() && value >> 32 == 0) {   // ours, but it may come too late
        if (pyprof__hold_change(asked, asked + 1)) {
            pyprof__hold_notify();
            pyprof__hold_wait(asked + 1, pyprof__now() + PYPROF__HOLD_MOST_NS);
            pyprof__hold_change(asked + 1, 0);
        }
    } else if (pyprof__hold.before.sa_flags & SA_SIGINFO) pyprof__hold.before.sa_sigaction(number, info, context);
    else if (pyprof__hold.before.sa_handler != SIG_DFL && pyprof__hold.before.sa_handler != SIG_IGN) pyprof__hold.before.sa_handler(number);
    errno = error;
}

static int pyprof__hold_is_ours(struct sigaction *now)
{
    return sigaction(PYPROF__HOLD_SIGNAL, NULL, now) == 0 && (now->sa_flags & SA_SIGINFO) && now->sa_sigaction == pyprof__on_signal;
}

static int pyprof__hold_install(void)   // 1 = the handler is ours
{
    struct sigaction action;
    if (pyprof__hold.installed) return pyprof__hold_is_ours(&action);
    if (!pyprof__hold_is_ours(&action)) pyprof__hold.before = action;   // a forked child finds its parent's
    memset(&action, 0, sizeof action);
    action.sa_sigaction = pyprof__on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    pyprof__hold.installed = sigaction(PYPROF__HOLD_SIGNAL, &action, NULL) == 0;
    return pyprof__hold.installed;
}

static void pyprof__hold_uninstall(void)   // unless somebody has put a handler of theirs on top
{
    struct sigaction now;
    if (pyprof__hold.installed && pyprof__hold_is_ours(&now)) sigaction(PYPROF__HOLD_SIGNAL, &pyprof__hold.before, NULL);
    pyprof__hold.installed = 0;
}

// Stops a thread of this process. 1 = it is held until pyprof__hold_end or for 2 ms; 0 = it has ended, blocks the signal or
// did not get a CPU in time. One at a time.
static int pyprof__hold_begin(int64_t tid)
{
    static uint32_t number;
    siginfo_t info;
    uint32_t asked = (++number << 2) | PYPROF__HOLD_ASKED;
    memset(&info, 0, sizeof info);
    info.si_signo = PYPROF__HOLD_SIGNAL;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = (void *)(uintptr_t)(pyprof__hold_cookie() + asked);
    __atomic_store_n(&pyprof__hold.word, asked, __ATOMIC_RELEASE);
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)tid, PYPROF__HOLD_SIGNAL, &info) == 0) pyprof__hold_wait(asked, pyprof__now() + 1000000);
    return !pyprof__hold_change(asked, 0) && __atomic_load_n(&pyprof__hold.word, __ATOMIC_ACQUIRE) == asked + 1;
}

static int pyprof__hold_end(void)   // 1 = it was held to the end
{
    uint32_t word = __atomic_load_n(&pyprof__hold.word, __ATOMIC_ACQUIRE);
    int held = word % 4 == PYPROF__HOLD_HELD && pyprof__hold_change(word, 0);
    pyprof__hold_notify();
    return held;
}

// The kernel's thread id lies at a fixed place in glibc's and musl's struct pthread: found by looking for our own.
// CPython before 3.11 keeps only the pthread_t. 0 = not found.
static int64_t pyprof__tid_offset(void)
{
    const char *self = (const char *)(uintptr_t)pthread_self();
    int32_t own = (int32_t)pyprof__gettid();
    int64_t offset;
    for (offset = 16; offset < 1024; offset += 4)
        if (*(const volatile int32_t *)(const void *)(self + offset) == own) return offset;
    return 0;
}

// ---- files -------------------------------------------------------------------
// A file becomes the new one or stays the old one: written beside it, then renamed.
typedef struct {
    int fd, folder;                 // folder -1: standard output
    char name[256], temporary[64];
} pyprof__file;

static int pyprof__write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return -1;
        data += done;
        size -= (size_t)done;
    }
    return 0;
}

static pyprof_result pyprof__file_check_target(const pyprof__file *file, const char *path)
{
    struct stat info;
    const char *what = NULL;
    if (fstatat(file->folder, file->name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return PYPROF_OK;
        return pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    if (S_ISLNK(info.st_mode)) what = "a symbolic link";
    else if (S_ISDIR(info.st_mode)) what = "a directory";
    else if (S_ISFIFO(info.st_mode)) what = "a FIFO";
    else if (!S_ISREG(info.st_mode)) what = "not a regular file";
    return what ? pyprof__fail(PYPROF_ERR_IO, "cannot write %s: it is %s", path, what) : PYPROF_OK;
}

static pyprof_result pyprof__file_open_folder(pyprof__file *file, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t folder_size = slash ? (size_t)(slash - path) : 0;
    char folder[4096];
    if (*name == 0) return pyprof__fail(PYPROF_ERR_IO, "cannot write %s: it names a directory", *path ? path : "''");
    if (strlen(name) >= sizeof file->name || folder_size >= sizeof folder)
        return pyprof__fail(PYPROF_ERR_IO, "cannot write %.100s...: %s", path, strerror(ENAMETOOLONG));
    memcpy(file->name, name, strlen(name) + 1);
    memcpy(folder, slash == path ? "/" : slash ? path : ".", slash && slash != path ? folder_size : 1);
    folder[slash && slash != path ? folder_size : 1] = 0;
    file->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->folder < 0) return pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    return PYPROF_OK;
}

static pyprof_result pyprof__file_open(pyprof__file *file, const char *path)
{
    static uint32_t serial;
    int tries;
    pyprof_result result;
    memset(file, 0, sizeof *file);
    file->fd = 1;
    file->folder = -1;
    if (strcmp(path, "-") == 0) return PYPROF_OK;
    result = pyprof__file_open_folder(file, path);
    if (result != PYPROF_OK) return result;
    result = pyprof__file_check_target(file, path);
    for (tries = 0; result == PYPROF_OK && tries < 100 && (tries == 0 || (file->fd < 0 && errno == EEXIST)); tries++) {   // one left by a killed run
        snprintf(file->temporary, sizeof file->temporary, ".pyprof-%ld-%u.tmp", (long)getpid(),
                 __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED));
        file->fd = openat(file->folder, file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    }
    if (result == PYPROF_OK) {
        if (file->fd < 0) result = pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    if (result != PYPROF_OK) close(file->folder);
    return result;
}

// result: how writing went so far. Anything but PYPROF_OK leaves the old file untouched.
static pyprof_result pyprof__file_close(pyprof__file *file, const char *path, pyprof_result result)
{
    if (file->folder < 0) return result;
    if (result == PYPROF_OK && fsync(file->fd) != 0 && errno != EINVAL && errno != EROFS)
        result = pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    if (close(file->fd) != 0 && result == PYPROF_OK)
        result = pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    if (result == PYPROF_OK && renameat(file->folder, file->temporary, file->folder, file->name) != 0)
        result = pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    if (result == PYPROF_OK) fsync(file->folder);
    else unlinkat(file->folder, file->temporary, 0);
    close(file->folder);
    return result;
}

// A full disk quota (SIGXFSZ) or a closed pipe (SIGPIPE) must be an error of ours, not the end of the host.
typedef struct { sigset_t set, before; } pyprof__quiet;

static void pyprof__quiet_begin(pyprof__quiet *quiet)
{
    sigemptyset(&quiet->set);
    sigaddset(&quiet->set, SIGXFSZ);
    sigaddset(&quiet->set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &quiet->set, &quiet->before);
}

static void pyprof__quiet_end(pyprof__quiet *quiet)
{
    static const int caught[] = { SIGXFSZ, SIGPIPE };
    struct timespec no_time = { 0, 0 };
    sigset_t pending;
    size_t i;
    sigpending(&pending);
    for (i = 0; i < PYPROF__COUNT(caught); i++) {
        sigset_t one;
        if (sigismember(&quiet->before, caught[i]) || !sigismember(&pending, caught[i])) continue;
        sigemptyset(&one);
        sigaddset(&one, caught[i]);
        sigtimedwait(&one, NULL, &no_time);
    }
    pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
}

// ---- pages and locks for the allocation hooks: they run inside malloc, so nothing here may call it -------------------
static size_t pyprof__page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void *pyprof__pages(size_t size)   // zeroed, and no memory until it is touched; NULL = none
{
    void *pages = (void *)syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0ul);
    return pages == MAP_FAILED ? NULL : pages;
}

static void *pyprof__pages_resize(void *pages, size_t size, size_t wanted)   // what they hold stays; NULL = none, all is as it was
{
    void *moved = (void *)syscall(SYS_mremap, pages, size, wanted, 1ul);   // MREMAP_MAYMOVE: declared only with _GNU_SOURCE
    return moved == MAP_FAILED ? NULL : moved;
}

static void pyprof__pages_free(void *pages, size_t size)
{
    if (pages) syscall(SYS_munmap, pages, size);
}

static void pyprof__pages_clear(void *pages, size_t size)   // gives the memory back; they read as zeros
{
    if (pages) syscall(SYS_madvise, pages, size, MADV_DONTNEED);
}

// It will be written soon: one call instead of a page fault for each page. MADV_POPULATE_WRITE, since Linux 5.14.
static void pyprof__pages_touch(void *memory, size_t size)
{
    uintptr_t begin = ((uintptr_t)memory + 4095) & ~(uintptr_t)4095, end = ((uintptr_t)memory + size) & ~(uintptr_t)4095;
    if (end > begin) syscall(SYS_madvise, begin, end - begin, 23ul);
}

static int pyprof__try_lock(uint32_t *lock) { return __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) == 0; }
static void pyprof__unlock(uint32_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }

// Orders what all threads of the process do: after it, each has seen what was written before, and what it wrote is seen here.
// MEMBARRIER_CMD_PRIVATE_EXPEDITED (registered by the first call); where there is none, time must do.
static void pyprof__order_threads(void)
{
    if (syscall(SYS_membarrier, 8, 0, 0) == 0) return;
    if (syscall(SYS_membarrier, 16, 0, 0) != 0 || syscall(SYS_membarrier, 8, 0, 0) != 0) pyprof__nap(1000000);
}

static int pyprof__thread_exists(int64_t tid)
{
    long pid = pyprof__kernel(SYS_getpid, 0, 0, 0, 0, 0, 0);   // not libc's: libfaketime fakes that, too
    return pyprof__kernel(SYS_tgkill, pid, (long)tid, 0, 0, 0, 0) == 0;
}

static int64_t pyprof__resident(void)   // bytes of this process in memory; 0 = unknown
{
    char text[128], *at;
    if (pyprof__proc_read("statm", text, sizeof text) <= 0) return 0;
    at = strchr(text, ' ');
    return at ? (int64_t)strtoull(at, NULL, 10) * (int64_t)pyprof__page_size() : 0;
}

static int64_t pyprof__timeval_ns(const struct timeval *time) { return (int64_t)time->tv_sec * 1000000000 + (int64_t)time->tv_usec * 1000; }

static void pyprof__process_facts(pyprof_process *facts)   // what the kernel counts: some 10 us
{
    struct rusage usage;
    struct stat info;
    char path[32];
    int folder = pyprof__proc_place("task", path, sizeof path);
    facts->resident_bytes = pyprof__resident();
    if (fstatat(folder, path, &info, 0) == 0) facts->threads = (int64_t)info.st_nlink - 2;   // links: one for each
    if (getrusage(RUSAGE_SELF, &usage) != 0) return;
    facts->user_ns = pyprof__timeval_ns(&usage.ru_utime);
    facts->system_ns = pyprof__timeval_ns(&usage.ru_stime);
    facts->voluntary_switches = usage.ru_nvcsw;
    facts->involuntary_switches = usage.ru_nivcsw;
    facts->minor_faults = usage.ru_minflt;
    facts->major_faults = usage.ru_majflt;
}

// Variables of a thread that hooks can use at any time: in a shared object that was loaded late, an ordinary one is
// allocated when it is first touched, by malloc.
#define PYPROF__EARLY_TLS static __thread __attribute__((tls_model("initial-exec")))

PYPROF__EARLY_TLS uint32_t pyprof__inside;   // this thread is inside a hook, or does something of ours: its allocations are not the host's

// ============================================================================
// [SECTION] MEMORY -- allocator, growable array, hash index
//   Runs on    any thread; a pool belongs to one at a time
//   Uses       PLATFORM
//   Promise    every byte is counted and stays below the pool's limit; running out is an answer, not an end
// ============================================================================
typedef struct { pyprof_allocator allocator; uint64_t used, limit; int refused; } pyprof__pool;   // refused: the allocator gave nothing, once

static void *pyprof__default_alloc(void *user, size_t size)
{
    uint32_t inside = pyprof__inside;
    void *memory;
    (void)user;
    pyprof__inside = 1;
    memory = malloc(size);
    pyprof__inside = inside;
    return memory;
}

static void pyprof__default_free(void *user, void *memory, size_t size)
{
    uint32_t inside = pyprof__inside;
    (void)user;
    (void)size;
    pyprof__inside = 1;
    free(memory);
    pyprof__inside = inside;
}

static void pyprof__pool_init(pyprof__pool *pool, const pyprof_allocator *allocator, uint64_t limit)
{
    memset(pool, 0, sizeof *pool);
    if (allocator && allocator->alloc) pool->allocator = *allocator;
    else {
        pool->allocator.alloc = pyprof__default_alloc;
        pool->allocator.free = pyprof__default_free;
    }
    pool->limit = limit;
}

static void *pyprof__alloc(pyprof__pool *pool, size_t size)   // zeroed; NULL = no memory or past the limit
{
    void *memory;
    if (size == 0 || pool->used > pool->limit || size > pool->limit - pool->used) return NULL;
    memory = pool->allocator.alloc(pool->allocator.user, size);
    if (!memory) { pool->refused = 1; return NULL; }
    pool->used += size;
    memset(memory, 0, size);
    return memory;
}

static void pyprof__free(pyprof__pool *pool, void *memory, size_t size)
{
    if (!memory) return;
    pool->used -= size;
    pool->allocator.free(pool->allocator.user, memory, size);
}

typedef struct { void *data; size_t count, capacity, item; } pyprof__array;   // item = bytes each

#define PYPROF__AT(type, array, i) (((type *)(array).data)[i])

static void pyprof__array_init(pyprof__array *array, size_t item)
{
    memset(array, 0, sizeof *array);
    array->item = item;
}

static int pyprof__array_reserve(pyprof__pool *pool, pyprof__array *array, size_t extra)
{
    size_t need = array->count + extra, capacity = array->capacity ? array->capacity : need > 16 ? need : 16;   // a copy gets no more
    void *data;
    if (need <= array->capacity) return 1;
    while (capacity < need) capacity += capacity / 2 + 8;
    data = pyprof__alloc(pool, capacity * array->item);
    if (!data) return 0;
    if (need * array->item >= 1u << 18) pyprof__pages_touch(data, need * array->item);
    if (array->count) memcpy(data, array->data, array->count * array->item);
    pyprof__free(pool, array->data, array->capacity * array->item);
    array->data = data;
    array->capacity = capacity;
    return 1;
}

static void *pyprof__push(pyprof__pool *pool, pyprof__array *array)   // a new zeroed item; NULL = no memory
{
    char *item;
    if (!pyprof__array_reserve(pool, array, 1)) return NULL;
    item = (char *)array->data + array->count++ * array->item;
    memset(item, 0, array->item);
    return item;
}

static void pyprof__array_free(pyprof__pool *pool, pyprof__array *array)
{
    pyprof__free(pool, array->data, array->capacity * array->item);
    array->data = NULL;
    array->count = array->capacity = 0;
}

static int pyprof__array_copy(pyprof__pool *pool, pyprof__array *to, const pyprof__array *from)
{
    pyprof__array_init(to, from->item);
    if (from->count == 0) return 1;
    if (!pyprof__array_reserve(pool, to, from->count)) return 0;
    memcpy(to->data, from->data, from->count * from->item);
    to->count = from->count;
    return 1;
}

// Hash index: from a key to the number of an item kept elsewhere. A slot is hash<<32 | number+1, 0 = free, so that
// growing never looks at the items.
typedef struct { uint64_t *slots; size_t mask, count; } pyprof__index;
typedef int pyprof__same_fn(const void *context, uint32_t item, const void *key);

static uint64_t pyprof__mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9fb21c651e98df25u;
    return hash ^ hash >> 32;
}

static void pyprof__index_put(pyprof__index *index, uint64_t slot)
{
    size_t at = (size_t)(slot >> 32) & index->mask;
    while (index->slots[at]) at = (at + 1) & index->mask;
    index->slots[at] = slot;
}

static uint32_t pyprof__index_find(const pyprof__index *index, uint64_t hash, pyprof__same_fn *same, const void *context, const void *key)
{
    size_t at;
    if (!index->slots) return PYPROF__NONE;
    for (at = (size_t)(hash >> 32) & index->mask; index->slots[at]; at = (at + 1) & index->mask) {
        uint32_t item = (uint32_t)index->slots[at] - 1;
        if (index->slots[at] >> 32 == hash >> 32 && same(context, item, key)) return item;
    }
    return PYPROF__NONE;
}

static int pyprof__index_grow(pyprof__pool *pool, pyprof__index *index, size_t items)   // for that many, and more than now
{
    pyprof__index grown;
    size_t i, capacity = index->slots ? (index->mask + 1) * 2 : 64;
    while (items * 3 >= (capacity - 1) * 2) capacity *= 2;
    grown.slots = (uint64_t *)pyprof__alloc(pool, capacity * sizeof *grown.slots);
    grown.mask = capacity - 1;
    grown.count = index->count;
    if (!grown.slots) return 0;
    for (i = 0; index->slots && i <= index->mask; i++)
        if (index->slots[i]) pyprof__index_put(&grown, index->slots[i]);
    pyprof__free(pool, index->slots, index->slots ? (index->mask + 1) * sizeof *index->slots : 0);
    *index = grown;
    return 1;
}

static int pyprof__index_add(pyprof__pool *pool, pyprof__index *index, uint64_t hash, uint32_t item)
{
    if ((!index->slots || index->count * 3 >= index->mask * 2) && !pyprof__index_grow(pool, index, index->count)) return 0;
    pyprof__index_put(index, (hash & 0xffffffff00000000u) | (item + 1));
    index->count++;
    return 1;
}

static void pyprof__index_free(pyprof__pool *pool, pyprof__index *index)
{
    pyprof__free(pool, index->slots, index->slots ? (index->mask + 1) * sizeof *index->slots : 0);
    memset(index, 0, sizeof *index);
}

// ============================================================================
// [SECTION] TEXT -- strings, UTF-8, numbers without a locale
//   Runs on    any thread
//   Uses       MEMORY
//   Promise    what comes out is valid UTF-8, whatever came in
// ============================================================================
static void pyprof__copy_text(char *to, size_t capacity, const char *from)   // cut where it does not fit
{
    size_t size = strlen(from);
    if (size >= capacity) size = capacity - 1;
    memmove(to, from, size);
    to[size] = 0;
}

static uint64_t pyprof__hash_text(const char *text, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u ^ size;
    size_t i;
    for (i = 0; i < size; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return pyprof__mix(hash, 0x5bd1e995u);
}

// Interned strings, one after the other, each with its NUL. Number 0 is the empty string.
typedef struct { pyprof__array bytes, starts; pyprof__index index; } pyprof__strings;

static const char *pyprof__string(const pyprof__strings *strings, uint32_t id)
{
    if (id >= strings->starts.count) return "";
    return (const char *)strings->bytes.data + PYPROF__AT(uint32_t, strings->starts, id);
}

typedef struct { const char *text; size_t size; } pyprof__slice;

static int pyprof__same_string(const void *context, uint32_t item, const void *key)
{
    const pyprof__slice *slice = (const pyprof__slice *)key;
    const char *text = pyprof__string((const pyprof__strings *)context, item);
    return memcmp(text, slice->text, slice->size) == 0 && text[slice->size] == 0;
}

static uint32_t pyprof__intern(pyprof__pool *pool, pyprof__strings *strings, const char *text, size_t size)
{
    pyprof__slice key;
    uint64_t hash = pyprof__hash_text(text, size);
    uint32_t id, *start;
    key.text = text;
    key.size = size;
    // memcmp in pyprof__same_string may look past a shorter string's NUL: keep it inside the allocation.
    if (!pyprof__array_reserve(pool, &strings->bytes, size * 2 + 2)) return PYPROF__NONE;
    id = pyprof__index_find(&strings->index, hash, pyprof__same_string, strings, &key);
    if (id != PYPROF__NONE) return id;
    start = (uint32_t *)pyprof__push(pool, &strings->starts);
    if (!start) return PYPROF__NONE;
    if (!pyprof__index_add(pool, &strings->index, hash, (uint32_t)strings->starts.count - 1)) {
        strings->starts.count--;
        return PYPROF__NONE;
    }
    *start = (uint32_t)strings->bytes.count;
    memcpy((char *)strings->bytes.data + strings->bytes.count, text, size);
    strings->bytes.count += size;
    ((char *)strings->bytes.data)[strings->bytes.count++] = 0;
    return (uint32_t)strings->starts.count - 1;
}

static int pyprof__strings_init(pyprof__pool *pool, pyprof__strings *strings)
{
    memset(strings, 0, sizeof *strings);
    pyprof__array_init(&strings->bytes, 1);
    pyprof__array_init(&strings->starts, sizeof(uint32_t));
    return pyprof__intern(pool, strings, "", 0) == 0;
}

static void pyprof__strings_free(pyprof__pool *pool, pyprof__strings *strings)
{
    pyprof__array_free(pool, &strings->bytes);
    pyprof__array_free(pool, &strings->starts);
    pyprof__index_free(pool, &strings->index);
}

// One character as UTF-8; what is no character (lone surrogates) becomes U+FFFD. Returns its 1 to 4 bytes.
static size_t pyprof__utf8(char *out, uint32_t c)
{
    if (c < 0x80) { out[0] = (char)c; return 1; }
    if (c < 0x800) { out[0] = (char)(0xc0 | c >> 6); out[1] = (char)(0x80 | (c & 63)); return 2; }
    if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff) c = 0xfffd;
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

// The next character of a byte string, and its length; bytes that are not UTF-8 read as one U+FFFD each.
static uint32_t pyprof__utf8_next(const char *text, size_t *length)
{
    static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *s = (const unsigned char *)text;
    size_t need = s[0] < 0x80 ? 1 : s[0] >= 0xf0 && s[0] < 0xf8 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc0 && s[0] < 0xe0 ? 2 : 0;
    uint32_t c = need == 1 ? s[0] : need == 2 ? s[0] & 31u : need == 3 ? s[0] & 15u : s[0] & 7u;
    size_t i;
    *length = 1;
    if (need == 0) return 0xfffd;
    for (i = 1; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0xfffd;
        c = c << 6 | (s[i] & 63u);
    }
    if (c < smallest[need] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff) return 0xfffd;
    *length = need;
    return c;
}

// Copies text as valid UTF-8 into out, cut at a character's border if it does not fit. Returns the size.
static size_t pyprof__utf8_repair(char *out, size_t capacity, const char *text)
{
    size_t size = 0, length;
    while (*text) {
        char one[4];
        size_t n = pyprof__utf8(one, pyprof__utf8_next(text, &length));
        if (size + n >= capacity) break;
        memcpy(out + size, one, n);
        size += n;
        text += length;
    }
    out[size] = 0;
    return size;
}

// Characters that change how the rest of a line is shown: control, bidirectional, line separators, byte order mark.
static int pyprof__is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e)
        || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff || c == 0xfffe || c == 0xffff;
}

// value with the given digits after a point, never a comma. Returns the size.
static size_t pyprof__format_fixed(char *out, size_t capacity, double value, int digits)
{
    uint64_t scale = 1, whole, part;
    double size;
    int i, n;
    for (i = 0; i < digits; i++) scale *= 10;
    if (!(value > -9e15 && value < 9e15)) value = 0;   // NaN and infinities too
    size = value < 0 ? -value : value;
    whole = (uint64_t)size;
    part = (uint64_t)((size - (double)whole) * (double)scale + 0.5);
    if (part >= scale) { whole++; part -= scale; }
    if (digits == 0) n = snprintf(out, capacity, "%s%llu", value < 0 && whole ? "-" : "", (unsigned long long)whole);
    else n = snprintf(out, capacity, "%s%llu.%0*llu", value < 0 && (whole || part) ? "-" : "", (unsigned long long)whole, digits,
                      (unsigned long long)part);
    return n < 0 ? 0 : (size_t)n;
}

// ============================================================================
// [SECTION] COPY -- guarded copies of foreign memory, batched
//   Runs on    the sampler thread, or a caller's during start
//   Uses       MEMORY
//   Promise    an address that cannot be read is an answer, never a fault; no signal handler is needed for it
// ============================================================================
typedef enum { PYPROF__BY_WRITEV, PYPROF__BY_READV, PYPROF__BY_MEMFD } pyprof__method;

typedef struct {
    pyprof__method method;
    int64_t pid;
    int fd;                // PYPROF__BY_MEMFD: the kernel copies our memory in and out of this file
    uint64_t inode;        // of that file: a host that closes all descriptors may get the number for a file of its own
    uint64_t end;          // no address of a program lies behind it
} pyprof__source;

// Tests define this to let reads fail, come short or return garbage: size bytes were wanted at to, done were copied.
#ifndef PYPROF__TEST_READ
#define PYPROF__TEST_READ(to, size, done) (done)
#endif
#ifndef PYPROF__TEST_FINE            // are CPU clocks fine?
#define PYPROF__TEST_FINE(fine) (fine)
#endif
#ifndef PYPROF__TEST_DECIDE          // before (0) and after the states of so many threads are decided
#define PYPROF__TEST_DECIDE(threads) ((void)0)
#endif
#ifndef PYPROF__TEST_WINDOW          // between the first and the last copy of a window
#define PYPROF__TEST_WINDOW() ((void)0)
#endif

// memfd: pwritev reports EFAULT for bad addresses like any system call, and needs no right to inspect a process.
static ssize_t pyprof__gather_memfd(const pyprof__source *source, void *to, const struct iovec *from, int pieces)
{
    struct stat info;
    ssize_t in;
    if (fstat(source->fd, &info) != 0 || (uint64_t)info.st_ino != source->inode) return -1;
    in = pwritev(source->fd, from, pieces, 0);
    return in <= 0 ? in : pread(source->fd, to, (size_t)in, 0);
}

// Copies the pieces of foreign memory, one behind the other, to where `to` points; returns how many bytes, fewer than
// size where an address cannot be read. process_vm_readv pins every piece it reads (0.35 us each). In our own process
// the other direction does the same: the pieces are what process_vm_writev takes from its caller, which costs 10 ns
// each, and only the target is pinned.
static size_t pyprof__gather(const pyprof__source *source, void *to, const struct iovec *from, int pieces, size_t size)
{
    struct iovec target;
    ssize_t done;
    target.iov_base = to;
    target.iov_len = size;
    if (source->method == PYPROF__BY_MEMFD) done = pyprof__gather_memfd(source, to, from, pieces);
    else if (source->method == PYPROF__BY_READV)
        done = (ssize_t)syscall(SYS_process_vm_readv, (pid_t)source->pid, &target, 1ul, from, (unsigned long)pieces, 0ul);
    else done = (ssize_t)syscall(SYS_process_vm_writev, (pid_t)source->pid, from, (unsigned long)pieces, &target, 1ul, 0ul);
    return PYPROF__TEST_READ(to, size, done < 0 ? 0 : (size_t)done);
}

// One piece outside of all that programs can have, and the kernel refuses the whole call.
static int pyprof__is_address(const pyprof__source *source, uint64_t from, size_t size)
{
    return from >= 4096 && from < source->end && size < source->end - from;
}

static int pyprof__copy(const pyprof__source *source, void *to, uint64_t from, size_t size)   // 1 = all of it
{
    struct iovec piece;
    if (!pyprof__is_address(source, from, size)) return 0;
    piece.iov_base = (void *)(uintptr_t)from;
    piece.iov_len = size;
    return pyprof__gather(source, to, &piece, 1, size) == size;
}

static int pyprof__source_try(pyprof__source *source, pyprof__method method)   // 1 = it works here
{
    uint64_t probe = 0x70797072, copy = 0;
    struct iovec piece;
    struct stat info;
    memset(source, 0, sizeof *source);
    source->method = method;
    source->pid = getpid();
    source->fd = -1;
    source->end = pyprof__address_end();
    piece.iov_base = &probe;
    piece.iov_len = sizeof probe;
    if (method == PYPROF__BY_MEMFD) {
        source->fd = (int)syscall(SYS_memfd_create, "pyprof", 1u /* MFD_CLOEXEC */);
        if (source->fd < 0 || fstat(source->fd, &info) != 0) return 0;
        source->inode = (uint64_t)info.st_ino;
    }
    pyprof__gather(source, &copy, &piece, 1, sizeof copy);
    return copy == probe;
}

static void pyprof__source_close(pyprof__source *source)
{
    if (source->fd >= 0) close(source->fd);
    source->fd = -1;
}

// Takes the first way that works here: seccomp filters and old sandboxes refuse the first two.
static pyprof_result pyprof__source_open(pyprof__source *source)
{
    int error;
    if (pyprof__source_try(source, PYPROF__BY_WRITEV) || pyprof__source_try(source, PYPROF__BY_READV)) return PYPROF_OK;
    error = errno;
    if (pyprof__source_try(source, PYPROF__BY_MEMFD)) return PYPROF_OK;
    pyprof__source_close(source);
    return pyprof__fail(PYPROF_ERR_DENIED, "cannot read memory safely: process_vm_readv: %s; memfd: %s", strerror(error), strerror(errno));
}

// The mirror: local copies of small blocks, valid for one epoch. What an owner (a thread) touched when it was last walked,
// in that order, is its plan: it is fetched ahead in one system call, and looked up without searching. Only the rest
// costs a call each; where that gets frequent (very deep stacks), whole pages are read.
//
//      foreign address -> block base -> plan or index -> block number -> offset in bytes, the copies of this epoch
//
// Owners: the thread in slot n is PYPROF__OWN_THREADS + n
enum { PYPROF__OWN_LISTS, PYPROF__OWN_NAMES, PYPROF__OWN_TWINS, PYPROF__OWN_AWAITS, PYPROF__OWN_THREADS };
enum { PYPROF__BLOCK = 256, PYPROF__BATCH = 512, PYPROF__MAX_BLOCKS = 1 << 17, PYPROF__PAGE = 4096, PYPROF__FEW_MISSES = 8, PYPROF__TWINS = 256 };

typedef struct { uint64_t base; uint32_t epoch, offset; } pyprof__block;   // offset PYPROF__NONE = unreadable
typedef struct { pyprof__array ids, next; } pyprof__plan;                  // uint32_t block numbers: last time's, this time's

typedef struct {
    const pyprof__source *source;
    pyprof__pool *pool;
    pyprof__array blocks, bytes, plans;
    pyprof__index index;
    uint32_t epoch, owner, last;           // last: the block used last
    uint32_t cursor, misses;               // the place in the owner's plan; blocks not fetched ahead in this epoch
    size_t twins;                          // so many blocks were copied twice
    uint64_t twins_ns;                     // what that takes for each, as usual
    uint64_t unreadable;                   // the block at which that stopped, 0 = none
    size_t touched;                        // blocks in all plans, roughly
    int direct;                            // what is read belongs to the thread that reads: plain loads
} pyprof__mirror;

static void pyprof__mirror_init(pyprof__mirror *mirror, pyprof__pool *pool, const pyprof__source *source)
{
    memset(mirror, 0, sizeof *mirror);
    mirror->source = source;
    mirror->pool = pool;
    mirror->epoch = 1;
    mirror->last = mirror->owner = PYPROF__NONE;
    pyprof__array_init(&mirror->blocks, sizeof(pyprof__block));
    pyprof__array_init(&mirror->bytes, 1);
    pyprof__array_init(&mirror->plans, sizeof(pyprof__plan));
}

static void pyprof__mirror_clear(pyprof__mirror *mirror)   // forgets all blocks, keeps the bytes of this epoch
{
    size_t i;
    mirror->blocks.count = 0;
    mirror->last = PYPROF__NONE;
    pyprof__index_free(mirror->pool, &mirror->index);
    for (i = 0; i < mirror->plans.count; i++) {
        pyprof__plan *plan = &PYPROF__AT(pyprof__plan, mirror->plans, i);
        plan->ids.count = plan->next.count = 0;
    }
}

static void pyprof__mirror_free(pyprof__mirror *mirror)
{
    size_t i;
    for (i = 0; i < mirror->plans.count; i++) {
        pyprof__array_free(mirror->pool, &PYPROF__AT(pyprof__plan, mirror->plans, i).ids);
        pyprof__array_free(mirror->pool, &PYPROF__AT(pyprof__plan, mirror->plans, i).next);
    }
    pyprof__index_free(mirror->pool, &mirror->index);
    pyprof__array_free(mirror->pool, &mirror->blocks);
    pyprof__array_free(mirror->pool, &mirror->bytes);
    pyprof__array_free(mirror->pool, &mirror->plans);
}

static int pyprof__same_block(const void *context, uint32_t item, const void *key)
{
    return PYPROF__AT(const pyprof__block, *(const pyprof__array *)context, item).base == *(const uint64_t *)key;
}

static uint32_t pyprof__mirror_block(pyprof__mirror *mirror, uint64_t base)   // its number, new or known; PYPROF__NONE = no memory
{
    uint64_t hash = pyprof__mix(0x1234567, base) << 32 | 1;
    uint32_t id = pyprof__index_find(&mirror->index, hash, pyprof__same_block, &mirror->blocks, &base);
    pyprof__block *block;
    if (id != PYPROF__NONE) return id;
    if (mirror->blocks.count >= PYPROF__MAX_BLOCKS) pyprof__mirror_clear(mirror);
    block = (pyprof__block *)pyprof__push(mirror->pool, &mirror->blocks);
    if (!block) return PYPROF__NONE;
    block->base = base;
    id = (uint32_t)mirror->blocks.count - 1;
    if (pyprof__index_add(mirror->pool, &mirror->index, hash, id)) return id;
    mirror->blocks.count--;
    return PYPROF__NONE;
}

// Fetches blocks that are not of this epoch yet. A short count tells which one could not be read: it is skipped.
static void pyprof__mirror_batch(pyprof__mirror *mirror, const uint32_t *ids, int count)
{
    struct iovec from[PYPROF__BATCH];
    int i, whole, bad, first = 0;
    if (!pyprof__array_reserve(mirror->pool, &mirror->bytes, (size_t)count * PYPROF__BLOCK)) return;
    for (i = 0; i < count; i++) {
        from[i].iov_base = (void *)(uintptr_t)PYPROF__AT(pyprof__block, mirror->blocks, ids[i]).base;
        from[i].iov_len = PYPROF__BLOCK;
    }
    for (; first < count; first += whole + bad) {
        char *to = (char *)mirror->bytes.data + mirror->bytes.count;
        whole = (int)(pyprof__gather(mirror->source, to, from + first, count - first, (size_t)(count - first) * PYPROF__BLOCK) / PYPROF__BLOCK);
        bad = 1;
        if (whole == 0 && count - first > 1) {   // refused as a whole?
            whole = pyprof__gather(mirror->source, to, from + first, 1, PYPROF__BLOCK) == PYPROF__BLOCK;
            bad = !whole;
        }
        for (i = first; i < count && i < first + whole + bad; i++) {
            pyprof__block *block = &PYPROF__AT(pyprof__block, mirror->blocks, ids[i]);
            block->epoch = mirror->epoch;
            block->offset = i < first + whole ? (uint32_t)mirror->bytes.count : PYPROF__NONE;
            if (i < first + whole) mirror->bytes.count += PYPROF__BLOCK;
        }
    }
}

static void pyprof__mirror_miss(pyprof__mirror *mirror, uint32_t id)   // fetches the block, or its page
{
    uint32_t ids[PYPROF__PAGE / PYPROF__BLOCK];
    uint64_t base = PYPROF__AT(pyprof__block, mirror->blocks, id).base & ~(uint64_t)(PYPROF__PAGE - 1);
    int i, count = 0;
    if (mirror->misses++ < PYPROF__FEW_MISSES || mirror->blocks.count + PYPROF__COUNT(ids) > PYPROF__MAX_BLOCKS) {
        pyprof__mirror_batch(mirror, &id, 1);
        return;
    }
    for (i = 0; i < (int)PYPROF__COUNT(ids); i++) {
        uint32_t near = pyprof__mirror_block(mirror, base + (uint64_t)i * PYPROF__BLOCK);
        if (near != PYPROF__NONE && PYPROF__AT(pyprof__block, mirror->blocks, near).epoch != mirror->epoch) ids[count++] = near;
    }
    pyprof__mirror_batch(mirror, ids, count);
}

// The block's number: as planned, or a few steps on (a call more or less), or by searching.
static uint32_t pyprof__mirror_expect(pyprof__mirror *mirror, uint64_t base)
{
    pyprof__plan *plan = mirror->owner < mirror->plans.count ? &PYPROF__AT(pyprof__plan, mirror->plans, mirror->owner) : NULL;
    uint32_t id = PYPROF__NONE, i, *note;
    for (i = mirror->cursor; plan && i < plan->ids.count && i < mirror->cursor + 4 && id == PYPROF__NONE; i++)
        if (PYPROF__AT(pyprof__block, mirror->blocks, PYPROF__AT(uint32_t, plan->ids, i)).base == base) id = PYPROF__AT(uint32_t, plan->ids, i);
    if (id != PYPROF__NONE) mirror->cursor = i;
    else id = pyprof__mirror_block(mirror, base);
    note = plan && id != PYPROF__NONE && plan->next.count < PYPROF__MAX_BLOCKS ? (uint32_t *)pyprof__push(mirror->pool, &plan->next) : NULL;
    if (note) *note = id;
    return id;
}

static const char *pyprof__mirror_fetch(pyprof__mirror *mirror, uint64_t base)   // the block's bytes, until the next call; NULL = unreadable
{
    const pyprof__block *block;
    uint32_t id = mirror->last;
    if (id == PYPROF__NONE || PYPROF__AT(pyprof__block, mirror->blocks, id).base != base) id = pyprof__mirror_expect(mirror, base);
    mirror->last = id;
    if (id == PYPROF__NONE) return NULL;
    if (PYPROF__AT(pyprof__block, mirror->blocks, id).epoch != mirror->epoch) pyprof__mirror_miss(mirror, id);
    block = &PYPROF__AT(pyprof__block, mirror->blocks, id);
    return block->epoch != mirror->epoch || block->offset == PYPROF__NONE ? NULL : (const char *)mirror->bytes.data + block->offset;
}

static int pyprof__read(pyprof__mirror *mirror, void *to, uint64_t from, size_t size)   // 1 = all of it
{
    char *out = (char *)to;
    if (!pyprof__is_address(mirror->source, from, size + PYPROF__BLOCK)) return 0;
    if (mirror->direct) { memcpy(to, (const void *)(uintptr_t)from, size); return 1; }
    while (size > 0) {
        size_t offset = (size_t)(from & (PYPROF__BLOCK - 1));
        size_t n = size < PYPROF__BLOCK - offset ? size : PYPROF__BLOCK - offset;
        const char *bytes = pyprof__mirror_fetch(mirror, from - offset);
        if (!bytes) return 0;
        memcpy(out, bytes + offset, n);
        out += n;
        from += n;
        size -= n;
    }
    return 1;
}

static int pyprof__read_long(pyprof__mirror *mirror, void *to, uint64_t from, size_t size)   // the same past the mirror
{
    return mirror->direct ? pyprof__read(mirror, to, from, size) : pyprof__copy(mirror->source, to, from, size);
}

static uint64_t pyprof__read_pointer(pyprof__mirror *mirror, uint64_t from)   // 0 = unreadable, or it is 0
{
    uint64_t value = 0;
    return pyprof__read(mirror, &value, from, sizeof value) ? value : 0;
}

static void pyprof__mirror_own(pyprof__mirror *mirror, uint32_t owner)   // who touches what is read from here on; PYPROF__NONE = nobody
{
    if (mirror->owner < mirror->plans.count) {   // what the last one touched is its plan
        pyprof__plan *plan = &PYPROF__AT(pyprof__plan, mirror->plans, mirror->owner);
        pyprof__array done = plan->ids;
        plan->ids = plan->next;
        plan->next = done;
        plan->next.count = 0;
    }
    while (owner != PYPROF__NONE && mirror->plans.count <= owner) {
        pyprof__plan *added = (pyprof__plan *)pyprof__push(mirror->pool, &mirror->plans);
        if (!added) break;
        pyprof__array_init(&added->ids, sizeof(uint32_t));
        pyprof__array_init(&added->next, sizeof(uint32_t));
    }
    mirror->owner = owner;
    mirror->cursor = 0;
    mirror->last = PYPROF__NONE;   // the plan shall begin with the block it begins with
}

// Fetches blocks twice in one call, first from the last to the first, then back: where both copies of something agree, it
// held for all the time between, and all that agrees held in the middle. What changes most should come first: its copies
// are made nanoseconds apart. A copy before these two brings the memory into this CPU's cache, or the first would take far
// longer than the second; one after them shows what only came round again. Only right after pyprof__mirror_begin.
static void pyprof__mirror_twice(pyprof__mirror *mirror, const uint64_t *bases, size_t count)
{
    struct iovec from[4 * PYPROF__TWINS];
    size_t i, size = 4 * count * PYPROF__BLOCK, done;
    uint64_t begin, each, usual;
    mirror->unreadable = 0;
    if (count == 0 || !pyprof__array_reserve(mirror->pool, &mirror->bytes, size)) return;
    for (i = 0; i < count; i++) {
        from[i].iov_base = (void *)(uintptr_t)bases[count - 1 - i];
        from[i].iov_len = PYPROF__BLOCK;
        from[count + i] = from[3 * count + i] = from[3 * count - 1 - i] = from[i];
    }
    begin = pyprof__now();
    done = pyprof__gather(mirror->source, mirror->bytes.data, from, (int)(4 * count), size);
    each = (pyprof__now() - begin + 200) / (count + 10) + 1;
    usual = mirror->twins_ns;
    mirror->twins_ns = each < usual || usual == 0 ? each : usual + (usual + 31) / 32;
    for (i = 0; i < count && (count + i + 1) * PYPROF__BLOCK <= done; i++) {
        uint32_t id = pyprof__mirror_block(mirror, bases[count - 1 - i]);
        if (id == PYPROF__NONE) return;
        PYPROF__AT(pyprof__block, mirror->blocks, id).epoch = mirror->epoch;
        PYPROF__AT(pyprof__block, mirror->blocks, id).offset = (uint32_t)((count + i) * PYPROF__BLOCK);
    }
    if (done < size) mirror->unreadable = (uint64_t)(uintptr_t)from[done / PYPROF__BLOCK].iov_base;
    mirror->twins = done == size && each * 2 <= 3 * mirror->twins_ns ? count : 0;   // interrupted, it takes longer: anything can happen
    mirror->bytes.count = size;
}

// Do the copies of this agree, the two around the middle or all three? 1 = yes
static int pyprof__twins_agree(pyprof__mirror *mirror, uint64_t from, size_t size, int three)
{
    const size_t n = mirror->twins;
    while (size > 0) {
        size_t offset = (size_t)(from & (PYPROF__BLOCK - 1)), part = size < PYPROF__BLOCK - offset ? size : PYPROF__BLOCK - offset;
        const char *one = pyprof__mirror_fetch(mirror, from - offset), *bytes = (const char *)mirror->bytes.data;
        size_t at = one ? (size_t)(one - bytes) / PYPROF__BLOCK : 0;
        if (!one || at < n || at >= 2 * n) return 0;
        if (memcmp(one + offset, bytes + (4 * n - 1 - at) * PYPROF__BLOCK + offset, part) != 0) return 0;
        if (three && memcmp(one + offset, bytes + (2 * n + at) * PYPROF__BLOCK + offset, part) != 0) return 0;
        from += part;
        size -= part;
    }
    return 1;
}

// All copies are stale from here on. When most blocks known are in no plan any more, all are forgotten.
static void pyprof__mirror_begin(pyprof__mirror *mirror)
{
    size_t i, planned = 0;
    pyprof__mirror_own(mirror, PYPROF__NONE);
    mirror->bytes.count = 0;
    mirror->misses = 0;
    mirror->twins = 0;
    mirror->epoch++;
    if (mirror->epoch % 64 || mirror->blocks.count < 1024) return;
    for (i = 0; i < mirror->plans.count; i++) planned += PYPROF__AT(pyprof__plan, mirror->plans, i).ids.count;
    if (planned * 2 < mirror->blocks.count) pyprof__mirror_clear(mirror);
}

// Fetches, in as few calls as possible, what the wanted owners touched when they were walked before.
static void pyprof__mirror_prefetch(pyprof__mirror *mirror, const unsigned char *wanted, size_t owners)
{
    uint32_t ids[PYPROF__BATCH];
    int count = 0;
    size_t owner, i;
    for (owner = 0; owner < owners && owner < mirror->plans.count; owner++) {
        const pyprof__array *plan = &PYPROF__AT(const pyprof__plan, mirror->plans, owner).ids;
        for (i = 0; i < plan->count && wanted[owner]; i++) {
            pyprof__block *block = &PYPROF__AT(pyprof__block, mirror->blocks, PYPROF__AT(const uint32_t, *plan, i));
            if (block->epoch == mirror->epoch) continue;
            block->epoch = mirror->epoch;        // the batch says so, too, and where it is
            block->offset = PYPROF__NONE;
            ids[count++] = PYPROF__AT(const uint32_t, *plan, i);
            if (count < PYPROF__BATCH) continue;
            pyprof__mirror_batch(mirror, ids, count);
            count = 0;
        }
    }
    pyprof__mirror_batch(mirror, ids, count);
}

// ============================================================================
// [SECTION] LAYOUT -- where CPython keeps things: one row a version
//   Runs on    any thread
//   Uses       TEXT
//   Promise    the only place with facts that differ between versions; an offset table that the interpreter brings
//              along (3.13 and later) is preferred, after every number in it was checked
// ============================================================================
#define PYPROF__NO 0xffffffffu   // the version has no such field

typedef enum { PYPROF__LINES_LNOTAB, PYPROF__LINES_310, PYPROF__LINES_LOCATIONS } pyprof__lines_form;
typedef enum { PYPROF__INSTR_BYTES, PYPROF__INSTR_UNITS, PYPROF__INSTR_POINTER } pyprof__instr_form;
typedef enum { PYPROF__ATTRS_DICT, PYPROF__ATTRS_311, PYPROF__ATTRS_312, PYPROF__ATTRS_INLINE } pyprof__attrs_form;

// Offsets in bytes, by structure, then what differs in kind. X(field, largest offset that makes sense)
#define PYPROF__FIELDS(X) \
    X(runtime_head, 1u << 20) X(runtime_gil, 1u << 20) \
    X(interp_next, 1u << 20) X(interp_id, 1u << 20) X(interp_threads, 1u << 20) X(interp_gil, 1u << 20) X(interp_modules, 1u << 20) \
    X(interp_generation, 1u << 20) \
    X(gil_enabled, 1u << 20) X(gil_holder, 1u << 20) X(gil_locked, 1u << 20) \
    X(thread_next, 4096) X(thread_interp, 4096) X(thread_frame, 4096) X(cframe_current, 4096) X(cframe_previous, 4096) \
    X(thread_ident, 4096) X(thread_native, 4096) \
    X(thread_serial, 4096) X(thread_status, 4096) X(status_mask, ~0u) X(status_alive, ~0u) X(thread_base, 4096) \
    X(frame_size, 512) X(frame_previous, 512) X(frame_code, 512) X(frame_instr, 512) X(frame_owner, 512) X(frame_tlbc, 512) X(frame_entry, 512) \
    X(code_filename, 512) X(code_name, 512) X(code_qualname, 512) X(code_firstline, 512) X(code_linetable, 512) X(code_traceable, 512) \
    X(code_bytes, 512) X(code_units, 512) X(code_version, 512) X(code_tlbc, 512) \
    X(object_type, 64) X(type_name, 512) X(type_basicsize, 512) X(type_dictoffset, 512) X(type_keys, 4096) \
    X(str_length, 128) X(str_state, 128) X(str_ascii, 128) X(str_compact, 128) X(str_kind_shift, 32) X(str_is_compact, ~0u) X(str_is_ascii, ~0u) \
    X(bytes_size, 128) X(bytes_data, 128) X(dict_keys, 128) X(dict_values, 128) X(long_digits, 128) X(module_dict, 128) \
    X(runtime_gc, 1u << 20) X(interp_gc, 1u << 20) X(gc_collecting, 4096) X(gc_frame, 4096) X(gc_stats, 4096) X(gc_young, 64) X(gc_old, 64) \
    X(status_attached, ~0u) X(thread_exception, 4096) X(frame_locals, 512) \
    X(code_consts, 512) X(code_names, 512) X(code_locals, 512) X(code_cells, 512) X(code_free, 512) X(code_string, 512) X(tuple_items, 128) \
    X(opcodes, 255) \
    X(task_coro, 512) X(task_name, 512) X(gen_frame, 512) X(gen_state, 512) X(gen_awaits, ~0u) X(frame_stack, 512) X(awaited, 64) \
    X(lines_form, 8) X(instr_form, 8) X(attrs_form, 8)

typedef struct {
#define PYPROF__X(field, most) uint32_t field;
    PYPROF__FIELDS(PYPROF__X)
#undef PYPROF__X
} pyprof__layout;

static const struct { const char *name; uint32_t most; } pyprof__fields[] = {
#define PYPROF__X(field, most) { #field, most },
    PYPROF__FIELDS(PYPROF__X)
#undef PYPROF__X
};

#define PYPROF__N PYPROF__NO
// Sources: offsetof() over each version's own Include/ headers (pycore_runtime.h, pycore_interp.h, pystate.h,
// frameobject.h or pycore_frame.h, code.h, unicodeobject.h, object.h, pycore_dict.h), x86-64 and aarch64 alike.
// Columns, line by line: runtime: head gil; interp: next id threads gil modules code-generation; gil: enabled holder locked
//                        thread: next interp frame cframe (its current, previous) ident native serial status mask alive base
//                        frame:  size previous code instr owner tlbc is_entry
//                        code:   filename name qualname firstline linetable traceable bytes units version tlbc
//                        object and type: type name basicsize dictoffset keys
//                        str: length state ascii compact shift is_compact is_ascii; bytes; dict; long; module
//                        collector: its place in the runtime (3.8) or the interpreter; in it: collecting, frame, statistics (young, old:
//                        how many entries, behind a pointer); status bit attached (where the GIL does not tell), exception, locals
//                        code:   consts names locals(plus)names cellvars freevars code (a bytes object); tuple's items; whose opcodes
//                        asyncio: coro and name of a Task (FutureObj_HEAD and TaskObj in Modules/_asynciomodule.c); coroutines: frame
//                        state state-when-it-awaits (FRAME_SUSPENDED_YIELD_FROM); a frame's stack pointer (not an index), and how far
//                        below what is awaited lies (_PyGen_yf in Objects/genobject.c); forms
static const struct { uint32_t version, free_threaded; pyprof__layout at; } pyprof__layouts[] = {
    { 0x0308, 0, { 32, 1152,   0, 16, 8, PYPROF__N, 56, PYPROF__N,   PYPROF__N, 8, 16,
        8, 16, 24, PYPROF__N, PYPROF__N, 176, PYPROF__N, 256, PYPROF__N, 0, 0, PYPROF__N,
        120, 24, 32, 104, PYPROF__N, PYPROF__N, PYPROF__N,
        104, 112, PYPROF__N, 40, 120, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        8, 24, 32, 288, 872,
        16, 32, 48, 72, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        344, PYPROF__N, 200, PYPROF__N, 128, PYPROF__N, PYPROF__N, PYPROF__N, 88, 360,
        56, 64, 72, 88, 80, 48, 24, 8,
        PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        PYPROF__LINES_LNOTAB, PYPROF__INSTR_BYTES, PYPROF__ATTRS_DICT } },
    { 0x0309, 0, { 32, 352,    0, 24, 8, PYPROF__N, 856, PYPROF__N,   PYPROF__N, 8, 16,
        8, 16, 24, PYPROF__N, PYPROF__N, 176, PYPROF__N, 256, PYPROF__N, 0, 0, PYPROF__N,
        120, 24, 32, 104, PYPROF__N, PYPROF__N, PYPROF__N,
        104, 112, PYPROF__N, 40, 120, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        8, 24, 32, 288, 864,
        16, 32, 48, 72, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        PYPROF__N, 616, 200, PYPROF__N, 128, PYPROF__N, PYPROF__N, PYPROF__N, 88, 360,
        56, 64, 72, 88, 80, 48, 24, 9,
        PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        PYPROF__LINES_LNOTAB, PYPROF__INSTR_BYTES, PYPROF__ATTRS_DICT } },
    { 0x030a, 0, { 32, 352,    0, 24, 8, PYPROF__N, 856, PYPROF__N,   PYPROF__N, 8, 16,
        8, 16, 24, PYPROF__N, PYPROF__N, 176, PYPROF__N, 256, PYPROF__N, 0, 0, PYPROF__N,
        112, 24, 32, 96, PYPROF__N, PYPROF__N, PYPROF__N,
        104, 112, PYPROF__N, 40, 120, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        8, 24, 32, 288, 872,
        16, 32, 48, 72, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        PYPROF__N, 616, 200, PYPROF__N, 128, PYPROF__N, PYPROF__N, PYPROF__N, 88, 352,
        56, 64, 72, 88, 80, 48, 24, 10,
        PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        PYPROF__LINES_310, PYPROF__INSTR_UNITS, PYPROF__ATTRS_DICT } },
    { 0x030b, 0, { 40, 360,    0, 48, 16, PYPROF__N, 888, PYPROF__N,   PYPROF__N, 8, 16,
        8, 16, 56, 8, 16, 152, 160, 240, 24, 1, 1, PYPROF__N,
        80, 48, 32, 56, 69, PYPROF__N, 68,
        112, 120, 128, 72, 136, 168, 184, 16, PYPROF__N, PYPROF__N,
        8, 24, 32, 288, 872,
        16, 32, 48, 72, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        PYPROF__N, 648, 200, PYPROF__N, 128, PYPROF__N, PYPROF__N, PYPROF__N, 96, 72,
        24, 32, 96, PYPROF__N, PYPROF__N, PYPROF__N, 24, 11,
        PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_311 } },
    { 0x030c, 0, { 40, PYPROF__N,   0, 8, 72, 384, 944, PYPROF__N,   PYPROF__N, 8, 16,
        8, 16, 56, 0, 8, 136, 144, 224, 24, 0xe1, 1, PYPROF__N,
        80, 8, 0, 56, 70, PYPROF__N, PYPROF__N,
        112, 120, 128, 68, 136, 176, 192, 16, 92, PYPROF__N,
        8, 24, 32, 288, 880,
        16, 32, 40, 56, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        PYPROF__N, 112, 200, PYPROF__N, 128, PYPROF__N, PYPROF__N, PYPROF__N, 96, 72,
        24, 32, 96, PYPROF__N, PYPROF__N, PYPROF__N, 24, 12,
        136, 144, 72, 67, 0xff, PYPROF__N, PYPROF__N,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_312 } },
    { 0x030d, 0, { 632, PYPROF__N,   7264, 7272, 7344, 16, 7656, PYPROF__N,   PYPROF__N, 8, 16,
        8, 16, 72, PYPROF__N, PYPROF__N, 152, 160, 224, 32, 0x1c1, 1, PYPROF__N,
        80, 8, 0, 56, 70, PYPROF__N, PYPROF__N,
        112, 120, 128, 68, 136, 184, 200, 16, 92, PYPROF__N,
        8, 24, 32, 288, 880,
        16, 32, 40, 56, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        PYPROF__N, 7400, 200, PYPROF__N, 128, PYPROF__N, PYPROF__N, PYPROF__N, 112, 72,
        24, 32, 96, PYPROF__N, PYPROF__N, PYPROF__N, 24, 13,
        120, 128, 72, 67, 0xff, PYPROF__N, PYPROF__N,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_INLINE } },
    { 0x030e, 0, { 808, PYPROF__N,   7272, 7280, 7344, 16, 7688, 7992,   PYPROF__N, 8, 16,
        8, 16, 72, PYPROF__N, PYPROF__N, 152, 160, 224, 32, 0xe1, 1, PYPROF__N,
        88, 8, 0, 56, 74, PYPROF__N, PYPROF__N,
        112, 120, 128, 68, 136, 192, 208, 16, 92, PYPROF__N,
        8, 24, 32, 288, 880,
        16, 32, 40, 56, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        PYPROF__N, 7408, 192, PYPROF__N, 120, PYPROF__N, PYPROF__N, PYPROF__N, 112, 80,
        24, 32, 96, PYPROF__N, PYPROF__N, PYPROF__N, 32, 14,
        PYPROF__N, PYPROF__N, 72, 67, 0xff, 64, 8,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_INLINE } },
    { 0x030f, 0, { 936, PYPROF__N,   7264, 7272, 7336, 16, 7592, 7944,   PYPROF__N, 8, 16,
        8, 16, 72, PYPROF__N, PYPROF__N, 176, 184, 248, 32, 0xe1, 1, 80,
        88, 8, 0, 56, 74, PYPROF__N, PYPROF__N,
        112, 120, 128, 68, 136, 192, 208, 16, 92, PYPROF__N,
        8, 24, 32, 288, 888,
        16, 32, 40, 56, 2, 0x20, 0x40,   16, 32,   32, 40,   24,   16,
        PYPROF__N, 7400, 112, 120, 104, 11, 3, PYPROF__N, 136, 80,
        24, 32, 96, PYPROF__N, PYPROF__N, PYPROF__N, 32, 15,
        PYPROF__N, PYPROF__N, 72, 67, 2, 64, 16,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_INLINE } },
    { 0x030d, 1, { 632, PYPROF__N,   7264, 7272, 7344, 16, 7664, PYPROF__N,   0, 16, 24,
        8, 16, 72, PYPROF__N, PYPROF__N, 152, 160, 224, 32, 0x1c1, 1, PYPROF__N,
        80, 8, 0, 56, 70, PYPROF__N, PYPROF__N,
        128, 136, 144, 84, 152, 200, 216, 32, 108, PYPROF__N,
        24, 40, 48, 304, 896,
        32, 48, 56, 72, 2, 0x20, 0x40,   32, 48,   48, 56,   40,   32,
        PYPROF__N, 7400, 200, PYPROF__N, 128, PYPROF__N, PYPROF__N, 0x10, 112, 72,
        40, 48, 112, PYPROF__N, PYPROF__N, PYPROF__N, 40, 13,
        136, 144, 88, 83, 0xff, PYPROF__N, PYPROF__N,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_INLINE } },
    { 0x030e, 1, { 808, PYPROF__N,   7272, 7280, 7344, 16, 7712, 8024,   0, 16, 24,
        8, 16, 72, PYPROF__N, PYPROF__N, 152, 160, 224, 32, 0xe1, 1, PYPROF__N,
        88, 8, 0, 56, 78, 72, PYPROF__N,
        128, 136, 144, 84, 152, 208, 232, 32, 108, 224,
        24, 40, 48, 304, 896,
        32, 48, 56, 72, 8, 0x800, 0x1000,   32, 48,   48, 56,   40,   32,
        PYPROF__N, 7408, 192, PYPROF__N, 120, PYPROF__N, PYPROF__N, 0x10, 112, 80,
        40, 48, 112, PYPROF__N, PYPROF__N, PYPROF__N, 48, 14,
        PYPROF__N, PYPROF__N, 88, 83, 0xff, 64, 8,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_INLINE } },
    { 0x030f, 1, { 936, PYPROF__N,   7264, 7272, 7336, 16, 7592, 7952,   0, 16, 24,
        8, 16, 72, PYPROF__N, PYPROF__N, 176, 184, 248, 32, 0xe1, 1, 80,
        88, 8, 0, 56, 78, 72, PYPROF__N,
        128, 136, 144, 84, 152, 208, 232, 32, 108, 224,
        24, 40, 48, 304, 904,
        32, 48, 56, 72, 8, 0x800, 0x1000,   32, 48,   48, 56,   40,   32,
        PYPROF__N, 7400, 112, 120, 104, 1, 1, 0x10, 136, 80,
        40, 48, 112, PYPROF__N, PYPROF__N, PYPROF__N, 48, 15,
        PYPROF__N, PYPROF__N, 88, 83, 2, 64, 16,
        PYPROF__LINES_LOCATIONS, PYPROF__INSTR_POINTER, PYPROF__ATTRS_INLINE } },
};

// Where the interpreter's own table, _Py_DebugOffsets (Include/internal/pycore_debug_offsets.h), keeps each of them:
// bytes from its start, the same columns. It is the first thing in _PyRuntime and starts with "xdebugpy".
static const struct { uint32_t version, size, gil; pyprof__layout at; } pyprof__debug_offsets[] = {
    { 0x030d, 584, 120, { 40, PYPROF__N,   64, 56, 72, 112, 88, PYPROF__N,   128, 144, 136,
        168, 176, 184, PYPROF__N, PYPROF__N, 192, 200, PYPROF__N, 216, PYPROF__N, PYPROF__N, PYPROF__N,
        224, 232, 240, 248, 264, PYPROF__N, PYPROF__N,
        280, 288, 296, 312, 304, PYPROF__N, 344, 416, PYPROF__N, PYPROF__N,
        360, 376, PYPROF__N, PYPROF__N, PYPROF__N,
        552, 544, 560, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,   520, 528,   456, 464,   504,
        PYPROF__N,
        PYPROF__N, 80, 576, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, 256,
        PYPROF__N, PYPROF__N, 328, PYPROF__N, PYPROF__N, PYPROF__N, 408, PYPROF__N,
        PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,
        PYPROF__N, PYPROF__N, PYPROF__N } },
    { 0x030e, 760, 128, { 40, PYPROF__N,   64, 56, 72, 120, 96, 160,   136, 152, 144,
        192, 200, 208, PYPROF__N, PYPROF__N, 216, 224, PYPROF__N, 240, PYPROF__N, PYPROF__N, PYPROF__N,
        248, 256, 264, 272, 288, 304, PYPROF__N,
        320, 328, 336, 352, 344, PYPROF__N, 384, 464, PYPROF__N, 392,
        408, 424, PYPROF__N, PYPROF__N, PYPROF__N,
        632, 624, 640, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N,   600, 608,   536, 544,   584,
        PYPROF__N,
        PYPROF__N, 88, 656, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, PYPROF__N, 280,
        PYPROF__N, PYPROF__N, 368, PYPROF__N, PYPROF__N, PYPROF__N, 456, PYPROF__N,
        PYPROF__N, PYPROF__N, 680, 688, PYPROF__N, 296, PYPROF__N,
        PYPROF__N, PYPROF__N, PYPROF__N } },
    { 0x030f, 888, 128, { 40, PYPROF__N,   64, 56, 72, 120, 96, 160,   136, 152, 144,
        192, 200, 208, PYPROF__N, PYPROF__N, 240, 248, PYPROF__N, 264, PYPROF__N, PYPROF__N, 216,
        312, 320, 328, 336, 352, 368, PYPROF__N,
        384, 392, 400, 416, 408, PYPROF__N, 448, 560, PYPROF__N, 456,
        472, 488, 512, 520, 536,
        728, 720, 736, 744, PYPROF__N, PYPROF__N, PYPROF__N,   696, 704,   632, 640,   680,
        PYPROF__N,
        PYPROF__N, 88, 760, 768, 784, PYPROF__N, PYPROF__N, PYPROF__N, 288, 344,
        PYPROF__N, PYPROF__N, 432, PYPROF__N, PYPROF__N, PYPROF__N, 552, PYPROF__N,
        PYPROF__N, PYPROF__N, 808, 816, PYPROF__N, 360, PYPROF__N,
        PYPROF__N, PYPROF__N, PYPROF__N } },
};
#undef PYPROF__N

enum { PYPROF__TABLE_SINCE = 0x030d0000 };
enum { PYPROF__OFFSETS_VERSION = 8, PYPROF__OFFSETS_FREE_THREADED = 16, PYPROF__OFFSETS_SIZE = 888 };

// sizeof(_PyRuntimeState) tells the version of an interpreter without symbols. From 3.13 on the table tells.
static const struct { uint32_t size, version; } pyprof__runtime_sizes[] = {
    { 1464, 0x0308 }, { 656, 0x0309 }, { 672, 0x030a }, { 166688, 0x030b }, { 459944, 0x030c },
};

// What follows from other offsets and is in no table.
static void pyprof__layout_derive(pyprof__layout *layout, uint32_t base_gil)
{
    uint32_t header = layout->object_type + 8;   // sizeof(PyObject)
    layout->gil_holder -= base_gil;
    layout->gil_locked -= base_gil;
    if (layout->gil_enabled != PYPROF__NO) layout->gil_enabled -= base_gil;
    layout->str_compact = layout->str_ascii + 16;
    layout->module_dict = header;
    layout->code_traceable = layout->code_bytes - (layout->code_tlbc != PYPROF__NO ? 24 : 16);
    if (layout->gc_young == PYPROF__NO) layout->gc_stats = layout->gc_collecting - 72;   // of three generations, just before it
}

// Overwrites a row's offsets with the interpreter's own. 1 = all of them are plausible.
static int pyprof__layout_refine(pyprof__layout *layout, const pyprof__layout *positions, uint32_t gil, int free_threaded, const char *table,
                                 size_t *bad)
{
    uint32_t *to = (uint32_t *)(void *)layout;
    const uint32_t *from = (const uint32_t *)(const void *)positions;
    uint64_t value;
    size_t i;
    for (i = 0; i < PYPROF__COUNT(pyprof__fields); i++) {
        if (from[i] == PYPROF__NO || to[i] == PYPROF__NO) continue;   // tlbc and enabled: only in free-threaded builds
        memcpy(&value, table + from[i], sizeof value);
        if (value > pyprof__fields[i].most) { *bad = i; return 0; }
        to[i] = (uint32_t)value;
    }
    (void)free_threaded;
    memcpy(&value, table + gil, sizeof value);
    if (value > layout->gil_holder || value > layout->gil_locked) { *bad = offsetof(pyprof__layout, gil_holder) / 4; return 0; }
    pyprof__layout_derive(layout, (uint32_t)value);
    return 1;
}

// version: PY_VERSION_HEX. table: the interpreter's own offsets, or NULL before 3.13.
static pyprof_result pyprof__layout_choose(pyprof__layout *layout, uint32_t version, int free_threaded, const char *table)
{
    size_t i, bad = 0;
    int found = 0;
    for (i = 0; i < PYPROF__COUNT(pyprof__layouts); i++) {
        if (pyprof__layouts[i].version != version >> 16 || (int)pyprof__layouts[i].free_threaded != free_threaded) continue;
        *layout = pyprof__layouts[i].at;
        found = 1;
    }
    if (!found)
        return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "CPython %u.%u%s is not supported: pyprof %s knows 3.8 to 3.15",
                            version >> 24, version >> 16 & 255u, free_threaded ? " (free-threaded)" : "", PYPROF_VERSION_STRING);
    for (i = 0; table && i < PYPROF__COUNT(pyprof__debug_offsets); i++) {
        if (pyprof__debug_offsets[i].version != version >> 16) continue;
        if (!pyprof__layout_refine(layout, &pyprof__debug_offsets[i].at, pyprof__debug_offsets[i].gil, free_threaded, table, &bad))
            return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "the offset table of this CPython %u.%u makes no sense: %s",
                                version >> 24, version >> 16 & 255u, pyprof__fields[bad].name);
    }
    return PYPROF_OK;
}

// ---- opcodes: their names and numbers, and what has to be known of them to tell what a call calls ----------------------
// One string a version, of Lib/opcode.py (to 3.12) or Include/opcode_ids.h: a number sets what the next name gets, names
// count on from there, and A..B stands for those from A to B in the version before, gaps included. Free-threaded builds
// have the same numbers. tests/py/test_opcodes.py compares them with each interpreter's own.
static const struct { uint32_t minor; const char *names; } pyprof__opcode_names[] = {
    {  8, "1 POP_TOP ROT_TWO ROT_THREE DUP_TOP DUP_TOP_TWO ROT_FOUR 9 NOP UNARY_POSITIVE UNARY_NEGATIVE UNARY_NOT 15 UNARY_INVERT "
          "BINARY_MATRIX_MULTIPLY INPLACE_MATRIX_MULTIPLY 19 BINARY_POWER BINARY_MULTIPLY 22 BINARY_MODULO BINARY_ADD BINARY_SUBTRACT BINARY_SUBSCR "
          "BINARY_FLOOR_DIVIDE BINARY_TRUE_DIVIDE INPLACE_FLOOR_DIVIDE INPLACE_TRUE_DIVIDE 50 GET_AITER GET_ANEXT BEFORE_ASYNC_WITH BEGIN_FINALLY "
          "END_ASYNC_FOR INPLACE_ADD INPLACE_SUBTRACT INPLACE_MULTIPLY 59 INPLACE_MODULO STORE_SUBSCR DELETE_SUBSCR BINARY_LSHIFT BINARY_RSHIFT "
          "BINARY_AND BINARY_XOR BINARY_OR INPLACE_POWER GET_ITER GET_YIELD_FROM_ITER PRINT_EXPR LOAD_BUILD_CLASS YIELD_FROM GET_AWAITABLE 75 "
          "INPLACE_LSHIFT INPLACE_RSHIFT INPLACE_AND INPLACE_XOR INPLACE_OR 81 WITH_CLEANUP_START WITH_CLEANUP_FINISH RETURN_VALUE IMPORT_STAR "
          "SETUP_ANNOTATIONS YIELD_VALUE POP_BLOCK END_FINALLY POP_EXCEPT STORE_NAME DELETE_NAME UNPACK_SEQUENCE FOR_ITER UNPACK_EX STORE_ATTR "
          "DELETE_ATTR STORE_GLOBAL DELETE_GLOBAL 100 LOAD_CONST LOAD_NAME BUILD_TUPLE BUILD_LIST BUILD_SET BUILD_MAP LOAD_ATTR COMPARE_OP "
          "IMPORT_NAME IMPORT_FROM JUMP_FORWARD JUMP_IF_FALSE_OR_POP JUMP_IF_TRUE_OR_POP JUMP_ABSOLUTE POP_JUMP_IF_FALSE POP_JUMP_IF_TRUE "
          "LOAD_GLOBAL 122 SETUP_FINALLY 124 LOAD_FAST STORE_FAST DELETE_FAST 130 RAISE_VARARGS CALL_FUNCTION MAKE_FUNCTION BUILD_SLICE 135 "
          "LOAD_CLOSURE LOAD_DEREF STORE_DEREF DELETE_DEREF 141 CALL_FUNCTION_KW CALL_FUNCTION_EX SETUP_WITH EXTENDED_ARG LIST_APPEND SET_ADD "
          "MAP_ADD LOAD_CLASSDEREF BUILD_LIST_UNPACK BUILD_MAP_UNPACK BUILD_MAP_UNPACK_WITH_CALL BUILD_TUPLE_UNPACK BUILD_SET_UNPACK "
          "SETUP_ASYNC_WITH FORMAT_VALUE BUILD_CONST_KEY_MAP BUILD_STRING BUILD_TUPLE_UNPACK_WITH_CALL 160 LOAD_METHOD CALL_METHOD CALL_FINALLY "
          "POP_FINALLY" },
    {  9, "1 POP_TOP..INPLACE_TRUE_DIVIDE 48 RERAISE WITH_EXCEPT_START GET_AITER..BEFORE_ASYNC_WITH 54 END_ASYNC_FOR..GET_AWAITABLE "
          "LOAD_ASSERTION_ERROR INPLACE_LSHIFT..INPLACE_OR 82 LIST_TO_TUPLE RETURN_VALUE..POP_BLOCK 89 POP_EXCEPT..LOAD_GLOBAL IS_OP CONTAINS_OP "
          "121 JUMP_IF_NOT_EXC_MATCH SETUP_FINALLY..LOAD_CLASSDEREF 154 SETUP_ASYNC_WITH..BUILD_STRING 160 LOAD_METHOD CALL_METHOD LIST_EXTEND "
          "SET_UPDATE DICT_MERGE DICT_UPDATE" },
    { 10, "1 POP_TOP..INPLACE_TRUE_DIVIDE GET_LEN MATCH_MAPPING MATCH_SEQUENCE MATCH_KEYS COPY_DICT_WITHOUT_KEYS 49 "
          "WITH_EXCEPT_START..DELETE_GLOBAL ROT_N LOAD_CONST..CONTAINS_OP RERAISE 121 JUMP_IF_NOT_EXC_MATCH..DELETE_FAST 129 GEN_START "
          "RAISE_VARARGS..LOAD_CLASSDEREF 152 MATCH_CLASS 154 SETUP_ASYNC_WITH..DICT_UPDATE" },
    { 11, "CACHE POP_TOP PUSH_NULL BINARY_OP_ADAPTIVE BINARY_OP_ADD_FLOAT BINARY_OP_ADD_INT BINARY_OP_ADD_UNICODE BINARY_OP_INPLACE_ADD_UNICODE "
          "BINARY_OP_MULTIPLY_FLOAT NOP..UNARY_NOT BINARY_OP_MULTIPLY_INT BINARY_OP_SUBTRACT_FLOAT UNARY_INVERT BINARY_OP_SUBTRACT_INT "
          "BINARY_SUBSCR_ADAPTIVE BINARY_SUBSCR_DICT BINARY_SUBSCR_GETITEM BINARY_SUBSCR_LIST_INT BINARY_SUBSCR_TUPLE_INT CALL_ADAPTIVE "
          "CALL_PY_EXACT_ARGS CALL_PY_WITH_DEFAULTS BINARY_SUBSCR COMPARE_OP_ADAPTIVE COMPARE_OP_FLOAT_JUMP COMPARE_OP_INT_JUMP COMPARE_OP_STR_JUMP "
          "GET_LEN..MATCH_KEYS EXTENDED_ARG_QUICK PUSH_EXC_INFO CHECK_EXC_MATCH CHECK_EG_MATCH JUMP_BACKWARD_QUICK LOAD_ATTR_ADAPTIVE "
          "LOAD_ATTR_INSTANCE_VALUE LOAD_ATTR_MODULE LOAD_ATTR_SLOT LOAD_ATTR_WITH_HINT LOAD_CONST__LOAD_FAST LOAD_FAST__LOAD_CONST "
          "LOAD_FAST__LOAD_FAST LOAD_GLOBAL_ADAPTIVE LOAD_GLOBAL_BUILTIN WITH_EXCEPT_START..BEFORE_ASYNC_WITH BEFORE_WITH END_ASYNC_FOR "
          "LOAD_GLOBAL_MODULE LOAD_METHOD_ADAPTIVE LOAD_METHOD_CLASS LOAD_METHOD_MODULE LOAD_METHOD_NO_DICT STORE_SUBSCR DELETE_SUBSCR "
          "LOAD_METHOD_WITH_DICT LOAD_METHOD_WITH_VALUES PRECALL_ADAPTIVE PRECALL_BOUND_METHOD PRECALL_BUILTIN_CLASS "
          "PRECALL_BUILTIN_FAST_WITH_KEYWORDS GET_ITER..LOAD_BUILD_CLASS PRECALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS PRECALL_NO_KW_BUILTIN_FAST "
          "LOAD_ASSERTION_ERROR RETURN_GENERATOR PRECALL_NO_KW_BUILTIN_O PRECALL_NO_KW_ISINSTANCE PRECALL_NO_KW_LEN PRECALL_NO_KW_LIST_APPEND "
          "PRECALL_NO_KW_METHOD_DESCRIPTOR_FAST PRECALL_NO_KW_METHOD_DESCRIPTOR_NOARGS LIST_TO_TUPLE..YIELD_VALUE ASYNC_GEN_WRAP PREP_RERAISE_STAR "
          "POP_EXCEPT..DELETE_GLOBAL SWAP LOAD_CONST..JUMP_IF_TRUE_OR_POP PRECALL_NO_KW_METHOD_DESCRIPTOR_O POP_JUMP_FORWARD_IF_FALSE "
          "POP_JUMP_FORWARD_IF_TRUE LOAD_GLOBAL..RERAISE COPY PRECALL_NO_KW_STR_1 BINARY_OP SEND LOAD_FAST..DELETE_FAST PRECALL_NO_KW_TUPLE_1 "
          "POP_JUMP_FORWARD_IF_NOT_NONE POP_JUMP_FORWARD_IF_NONE RAISE_VARARGS GET_AWAITABLE MAKE_FUNCTION BUILD_SLICE JUMP_BACKWARD_NO_INTERRUPT "
          "MAKE_CELL LOAD_CLOSURE..DELETE_DEREF JUMP_BACKWARD PRECALL_NO_KW_TYPE_1 CALL_FUNCTION_EX PRECALL_PYFUNC EXTENDED_ARG..LOAD_CLASSDEREF "
          "COPY_FREE_VARS RESUME_QUICK RESUME MATCH_CLASS STORE_ATTR_ADAPTIVE STORE_ATTR_INSTANCE_VALUE FORMAT_VALUE..BUILD_STRING STORE_ATTR_SLOT "
          "STORE_ATTR_WITH_HINT LOAD_METHOD STORE_FAST__LOAD_FAST LIST_EXTEND..DICT_UPDATE PRECALL STORE_FAST__STORE_FAST STORE_SUBSCR_ADAPTIVE "
          "STORE_SUBSCR_DICT STORE_SUBSCR_LIST_INT CALL KW_NAMES POP_JUMP_BACKWARD_IF_NOT_NONE POP_JUMP_BACKWARD_IF_NONE POP_JUMP_BACKWARD_IF_FALSE "
          "POP_JUMP_BACKWARD_IF_TRUE UNPACK_SEQUENCE_ADAPTIVE UNPACK_SEQUENCE_LIST UNPACK_SEQUENCE_TUPLE UNPACK_SEQUENCE_TWO_TUPLE 255 DO_TRACING" },
    { 12, "CACHE..PUSH_NULL INTERPRETER_EXIT END_FOR END_SEND BINARY_OP_ADD_FLOAT..BINARY_OP_ADD_UNICODE NOP BINARY_OP_INPLACE_ADD_UNICODE "
          "UNARY_NEGATIVE UNARY_NOT BINARY_OP_MULTIPLY_FLOAT BINARY_OP_MULTIPLY_INT UNARY_INVERT BINARY_OP_SUBTRACT_FLOAT RESERVED "
          "BINARY_OP_SUBTRACT_INT BINARY_SUBSCR_DICT..BINARY_SUBSCR_TUPLE_INT CALL_PY_EXACT_ARGS..BINARY_SUBSCR BINARY_SLICE STORE_SLICE "
          "CALL_BOUND_METHOD_EXACT_ARGS CALL_BUILTIN_CLASS GET_LEN..MATCH_KEYS CALL_BUILTIN_FAST_WITH_KEYWORDS PUSH_EXC_INFO..CHECK_EG_MATCH "
          "CALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS CALL_NO_KW_BUILTIN_FAST CALL_NO_KW_BUILTIN_O CALL_NO_KW_ISINSTANCE CALL_NO_KW_LEN "
          "CALL_NO_KW_LIST_APPEND CALL_NO_KW_METHOD_DESCRIPTOR_FAST CALL_NO_KW_METHOD_DESCRIPTOR_NOARGS CALL_NO_KW_METHOD_DESCRIPTOR_O "
          "CALL_NO_KW_STR_1 CALL_NO_KW_TUPLE_1 WITH_EXCEPT_START..END_ASYNC_FOR CLEANUP_THROW CALL_NO_KW_TYPE_1 COMPARE_OP_FLOAT COMPARE_OP_INT "
          "COMPARE_OP_STR STORE_SUBSCR DELETE_SUBSCR FOR_ITER_LIST FOR_ITER_TUPLE FOR_ITER_RANGE FOR_ITER_GEN LOAD_SUPER_ATTR_ATTR "
          "LOAD_SUPER_ATTR_METHOD GET_ITER GET_YIELD_FROM_ITER LOAD_ATTR_CLASS LOAD_BUILD_CLASS LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN "
          "LOAD_ATTR_INSTANCE_VALUE LOAD_ASSERTION_ERROR RETURN_GENERATOR LOAD_ATTR_MODULE LOAD_ATTR_PROPERTY LOAD_ATTR_SLOT LOAD_ATTR_WITH_HINT "
          "LOAD_ATTR_METHOD_LAZY_DICT LOAD_ATTR_METHOD_NO_DICT LOAD_ATTR_METHOD_WITH_VALUES RETURN_VALUE LOAD_CONST__LOAD_FAST SETUP_ANNOTATIONS "
          "LOAD_FAST__LOAD_CONST LOAD_LOCALS LOAD_FAST__LOAD_FAST POP_EXCEPT..JUMP_FORWARD LOAD_GLOBAL_BUILTIN LOAD_GLOBAL_MODULE "
          "STORE_ATTR_INSTANCE_VALUE POP_JUMP_IF_FALSE POP_JUMP_IF_TRUE LOAD_GLOBAL..COPY RETURN_CONST BINARY_OP..DELETE_FAST LOAD_FAST_CHECK "
          "POP_JUMP_IF_NOT_NONE POP_JUMP_IF_NONE RAISE_VARARGS..JUMP_BACKWARD LOAD_SUPER_ATTR CALL_FUNCTION_EX LOAD_FAST_AND_CLEAR "
          "EXTENDED_ARG..MAP_ADD STORE_ATTR_SLOT COPY_FREE_VARS YIELD_VALUE RESUME MATCH_CLASS STORE_ATTR_WITH_HINT STORE_FAST__LOAD_FAST "
          "FORMAT_VALUE..BUILD_STRING STORE_FAST__STORE_FAST STORE_SUBSCR_DICT STORE_SUBSCR_LIST_INT UNPACK_SEQUENCE_LIST LIST_EXTEND..DICT_UPDATE "
          "UNPACK_SEQUENCE_TUPLE UNPACK_SEQUENCE_TWO_TUPLE SEND_GEN 171 CALL KW_NAMES CALL_INTRINSIC_1 CALL_INTRINSIC_2 LOAD_FROM_DICT_OR_GLOBALS "
          "LOAD_FROM_DICT_OR_DEREF 237 INSTRUMENTED_LOAD_SUPER_ATTR INSTRUMENTED_POP_JUMP_IF_NONE INSTRUMENTED_POP_JUMP_IF_NOT_NONE "
          "INSTRUMENTED_RESUME INSTRUMENTED_CALL INSTRUMENTED_RETURN_VALUE INSTRUMENTED_YIELD_VALUE INSTRUMENTED_CALL_FUNCTION_EX "
          "INSTRUMENTED_JUMP_FORWARD INSTRUMENTED_JUMP_BACKWARD INSTRUMENTED_RETURN_CONST INSTRUMENTED_FOR_ITER INSTRUMENTED_POP_JUMP_IF_FALSE "
          "INSTRUMENTED_POP_JUMP_IF_TRUE INSTRUMENTED_END_FOR INSTRUMENTED_END_SEND INSTRUMENTED_INSTRUCTION INSTRUMENTED_LINE" },
    { 13, "CACHE BEFORE_ASYNC_WITH BEFORE_WITH BINARY_OP_INPLACE_ADD_UNICODE BINARY_SLICE BINARY_SUBSCR CHECK_EG_MATCH CHECK_EXC_MATCH "
          "CLEANUP_THROW DELETE_SUBSCR END_ASYNC_FOR END_FOR END_SEND EXIT_INIT_CHECK FORMAT_SIMPLE FORMAT_WITH_SPEC GET_AITER RESERVED GET_ANEXT "
          "GET_ITER GET_LEN GET_YIELD_FROM_ITER INTERPRETER_EXIT LOAD_ASSERTION_ERROR LOAD_BUILD_CLASS LOAD_LOCALS MAKE_FUNCTION MATCH_KEYS "
          "MATCH_MAPPING MATCH_SEQUENCE NOP POP_EXCEPT POP_TOP PUSH_EXC_INFO PUSH_NULL RETURN_GENERATOR RETURN_VALUE SETUP_ANNOTATIONS STORE_SLICE "
          "STORE_SUBSCR TO_BOOL UNARY_INVERT UNARY_NEGATIVE UNARY_NOT WITH_EXCEPT_START BINARY_OP BUILD_CONST_KEY_MAP BUILD_LIST BUILD_MAP "
          "BUILD_SET BUILD_SLICE BUILD_STRING BUILD_TUPLE CALL CALL_FUNCTION_EX CALL_INTRINSIC_1 CALL_INTRINSIC_2 CALL_KW COMPARE_OP CONTAINS_OP "
          "CONVERT_VALUE COPY COPY_FREE_VARS DELETE_ATTR DELETE_DEREF DELETE_FAST DELETE_GLOBAL DELETE_NAME DICT_MERGE DICT_UPDATE ENTER_EXECUTOR "
          "EXTENDED_ARG FOR_ITER GET_AWAITABLE IMPORT_FROM IMPORT_NAME IS_OP JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT JUMP_FORWARD LIST_APPEND "
          "LIST_EXTEND LOAD_ATTR LOAD_CONST LOAD_DEREF LOAD_FAST LOAD_FAST_AND_CLEAR LOAD_FAST_CHECK LOAD_FAST_LOAD_FAST LOAD_FROM_DICT_OR_DEREF "
          "LOAD_FROM_DICT_OR_GLOBALS LOAD_GLOBAL LOAD_NAME LOAD_SUPER_ATTR MAKE_CELL MAP_ADD MATCH_CLASS POP_JUMP_IF_FALSE POP_JUMP_IF_NONE "
          "POP_JUMP_IF_NOT_NONE POP_JUMP_IF_TRUE RAISE_VARARGS RERAISE RETURN_CONST SEND SET_ADD SET_FUNCTION_ATTRIBUTE SET_UPDATE STORE_ATTR "
          "STORE_DEREF STORE_FAST STORE_FAST_LOAD_FAST STORE_FAST_STORE_FAST STORE_GLOBAL STORE_NAME SWAP UNPACK_EX UNPACK_SEQUENCE YIELD_VALUE 149 "
          "RESUME BINARY_OP_ADD_FLOAT..BINARY_OP_ADD_UNICODE BINARY_OP_MULTIPLY_FLOAT BINARY_OP_MULTIPLY_INT BINARY_OP_SUBTRACT_FLOAT "
          "BINARY_OP_SUBTRACT_INT..BINARY_SUBSCR_LIST_INT BINARY_SUBSCR_STR_INT BINARY_SUBSCR_TUPLE_INT CALL_ALLOC_AND_ENTER_INIT "
          "CALL_BOUND_METHOD_EXACT_ARGS CALL_BOUND_METHOD_GENERAL CALL_BUILTIN_CLASS CALL_BUILTIN_FAST CALL_BUILTIN_FAST_WITH_KEYWORDS "
          "CALL_BUILTIN_O CALL_ISINSTANCE CALL_LEN CALL_LIST_APPEND CALL_METHOD_DESCRIPTOR_FAST CALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS "
          "CALL_METHOD_DESCRIPTOR_NOARGS CALL_METHOD_DESCRIPTOR_O CALL_NON_PY_GENERAL CALL_PY_EXACT_ARGS CALL_PY_GENERAL CALL_STR_1 CALL_TUPLE_1 "
          "CALL_TYPE_1 COMPARE_OP_FLOAT..COMPARE_OP_STR CONTAINS_OP_DICT CONTAINS_OP_SET FOR_ITER_GEN FOR_ITER_LIST FOR_ITER_RANGE FOR_ITER_TUPLE "
          "LOAD_ATTR_CLASS LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN LOAD_ATTR_INSTANCE_VALUE LOAD_ATTR_METHOD_LAZY_DICT..LOAD_ATTR_METHOD_WITH_VALUES "
          "LOAD_ATTR_MODULE LOAD_ATTR_NONDESCRIPTOR_NO_DICT LOAD_ATTR_NONDESCRIPTOR_WITH_VALUES LOAD_ATTR_PROPERTY..LOAD_ATTR_WITH_HINT "
          "LOAD_GLOBAL_BUILTIN LOAD_GLOBAL_MODULE LOAD_SUPER_ATTR_ATTR LOAD_SUPER_ATTR_METHOD RESUME_CHECK SEND_GEN STORE_ATTR_INSTANCE_VALUE "
          "STORE_ATTR_SLOT STORE_ATTR_WITH_HINT STORE_SUBSCR_DICT STORE_SUBSCR_LIST_INT TO_BOOL_ALWAYS_TRUE TO_BOOL_BOOL TO_BOOL_INT TO_BOOL_LIST "
          "TO_BOOL_NONE TO_BOOL_STR UNPACK_SEQUENCE_LIST UNPACK_SEQUENCE_TUPLE UNPACK_SEQUENCE_TWO_TUPLE 236 INSTRUMENTED_RESUME "
          "INSTRUMENTED_END_FOR INSTRUMENTED_END_SEND INSTRUMENTED_RETURN_VALUE INSTRUMENTED_RETURN_CONST INSTRUMENTED_YIELD_VALUE "
          "INSTRUMENTED_LOAD_SUPER_ATTR INSTRUMENTED_FOR_ITER INSTRUMENTED_CALL INSTRUMENTED_CALL_KW INSTRUMENTED_CALL_FUNCTION_EX "
          "INSTRUMENTED_INSTRUCTION INSTRUMENTED_JUMP_FORWARD INSTRUMENTED_JUMP_BACKWARD INSTRUMENTED_POP_JUMP_IF_TRUE "
          "INSTRUMENTED_POP_JUMP_IF_FALSE INSTRUMENTED_POP_JUMP_IF_NONE INSTRUMENTED_POP_JUMP_IF_NOT_NONE INSTRUMENTED_LINE" },
    { 14, "CACHE BINARY_SLICE BUILD_TEMPLATE BINARY_OP_INPLACE_ADD_UNICODE CALL_FUNCTION_EX CHECK_EG_MATCH..DELETE_SUBSCR END_FOR..GET_AITER "
          "GET_ANEXT GET_ITER RESERVED GET_LEN..INTERPRETER_EXIT LOAD_BUILD_CLASS..NOP NOT_TAKEN POP_EXCEPT POP_ITER POP_TOP..BINARY_OP "
          "BUILD_INTERPOLATION BUILD_LIST..CALL CALL_INTRINSIC_1..DICT_UPDATE END_ASYNC_FOR EXTENDED_ARG..LOAD_ATTR LOAD_COMMON_CONSTANT "
          "LOAD_CONST..LOAD_FAST_AND_CLEAR LOAD_FAST_BORROW LOAD_FAST_BORROW_LOAD_FAST_BORROW LOAD_FAST_CHECK..LOAD_NAME LOAD_SMALL_INT "
          "LOAD_SPECIAL LOAD_SUPER_ATTR..RERAISE SEND..YIELD_VALUE 128 RESUME..BINARY_OP_ADD_UNICODE BINARY_OP_EXTEND BINARY_OP_MULTIPLY_FLOAT "
          "BINARY_OP_MULTIPLY_INT BINARY_OP_SUBSCR_DICT BINARY_OP_SUBSCR_GETITEM BINARY_OP_SUBSCR_LIST_INT BINARY_OP_SUBSCR_LIST_SLICE "
          "BINARY_OP_SUBSCR_STR_INT BINARY_OP_SUBSCR_TUPLE_INT BINARY_OP_SUBTRACT_FLOAT BINARY_OP_SUBTRACT_INT "
          "CALL_ALLOC_AND_ENTER_INIT..CALL_ISINSTANCE CALL_KW_BOUND_METHOD CALL_KW_NON_PY CALL_KW_PY CALL_LEN..FOR_ITER_TUPLE JUMP_BACKWARD_JIT "
          "JUMP_BACKWARD_NO_JIT LOAD_ATTR_CLASS LOAD_ATTR_CLASS_WITH_METACLASS_CHECK LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN..LOAD_ATTR_WITH_HINT "
          "LOAD_CONST_IMMORTAL LOAD_CONST_MORTAL LOAD_GLOBAL_BUILTIN..UNPACK_SEQUENCE_TWO_TUPLE 234 INSTRUMENTED_END_FOR INSTRUMENTED_POP_ITER "
          "INSTRUMENTED_END_SEND INSTRUMENTED_FOR_ITER INSTRUMENTED_INSTRUCTION INSTRUMENTED_JUMP_FORWARD INSTRUMENTED_NOT_TAKEN "
          "INSTRUMENTED_POP_JUMP_IF_TRUE..INSTRUMENTED_POP_JUMP_IF_NOT_NONE INSTRUMENTED_RESUME INSTRUMENTED_RETURN_VALUE INSTRUMENTED_YIELD_VALUE "
          "INSTRUMENTED_END_ASYNC_FOR INSTRUMENTED_LOAD_SUPER_ATTR INSTRUMENTED_CALL..INSTRUMENTED_CALL_FUNCTION_EX INSTRUMENTED_JUMP_BACKWARD "
          "INSTRUMENTED_LINE ENTER_EXECUTOR" },
    { 15, "CACHE..GET_ANEXT GET_LEN RESERVED INTERPRETER_EXIT..GET_AWAITABLE GET_ITER IMPORT_FROM..YIELD_VALUE 128 "
          "RESUME..BINARY_OP_SUBSCR_TUPLE_INT BINARY_OP_SUBSCR_USTR_INT BINARY_OP_SUBTRACT_FLOAT..CALL_BUILTIN_O CALL_EX_NON_PY_GENERAL CALL_EX_PY "
          "CALL_ISINSTANCE..FOR_ITER_TUPLE FOR_ITER_VIRTUAL GET_ITER_SELF GET_ITER_VIRTUAL JUMP_BACKWARD_JIT..LOAD_ATTR_WITH_HINT "
          "LOAD_GLOBAL_BUILTIN..RESUME_CHECK RESUME_CHECK_JIT SEND_ASYNC_GEN SEND_GEN SEND_VIRTUAL "
          "STORE_ATTR_INSTANCE_VALUE..UNPACK_SEQUENCE_TWO_TUPLE 233 INSTRUMENTED_END_FOR..ENTER_EXECUTOR TRACE_RECORD" },
};

typedef enum {
    PYPROF__OP_OTHER, PYPROF__OP_SKIP,          // skip: pushes nothing that counts
    PYPROF__OP_NAME, PYPROF__OP_LOCAL, PYPROF__OP_PAIR, PYPROF__OP_CELL, PYPROF__OP_CONST, PYPROF__OP_COMMON,   // pair: two locals
    PYPROF__OP_ATTR, PYPROF__OP_SUPER, PYPROF__OP_SPECIAL, PYPROF__OP_ITEM, PYPROF__OP_COPY, PYPROF__OP_WITH,
    PYPROF__OP_PRECALL, PYPROF__OP_CALL, PYPROF__OP_EXTENDED, PYPROF__OP_MAKE,
    PYPROF__OP_JUMP, PYPROF__OP_JUMP_TO, PYPROF__OP_JUMP_IF   // forward; to a place; to a place until 3.10, forward since
} pyprof__act;

// What opcodes do, by the longest of these that the name begins with (less INSTRUMENTED_). pops: until 3.10, how many the
// stack loses, before it gets `pushes`: a digit, or n: as many as the argument says, m: twice that, p: one more, q: two more,
// x: two and its lowest bit, f: one and its third, u: two and its bits; ?: not known. caches: units behind it, 3.11 to 3.15.
static const struct { const char *name, *caches; pyprof__act act; char pops; unsigned char pushes; } pyprof__opcode_acts[] = {
    { "BEFORE_WITH", NULL, PYPROF__OP_WITH, '?', 0 }, { "BINARY_", NULL, PYPROF__OP_OTHER, '2', 1 },
    { "BINARY_OP", "11155", PYPROF__OP_OTHER, '2', 1 }, { "BINARY_OP_SUBSCR_", "00055", PYPROF__OP_ITEM, '2', 1 },
    { "BINARY_SLICE", NULL, PYPROF__OP_ITEM, '3', 1 }, { "BINARY_SUBSCR", "41100", PYPROF__OP_ITEM, '2', 1 },
    { "BUILD_CONST_KEY_MAP", NULL, PYPROF__OP_OTHER, 'p', 1 }, { "BUILD_LIST", NULL, PYPROF__OP_OTHER, 'n', 1 },
    { "BUILD_MAP", NULL, PYPROF__OP_OTHER, 'm', 1 }, { "BUILD_MAP_UNPACK", NULL, PYPROF__OP_OTHER, 'n', 1 },
    { "BUILD_SET", NULL, PYPROF__OP_OTHER, 'n', 1 }, { "BUILD_SLICE", NULL, PYPROF__OP_OTHER, 'n', 1 },
    { "BUILD_STRING", NULL, PYPROF__OP_OTHER, 'n', 1 }, { "BUILD_TUPLE", NULL, PYPROF__OP_OTHER, 'n', 1 },
    { "CALL", "43333", PYPROF__OP_CALL, '?', 0 }, { "CALL_EX_", "00001", PYPROF__OP_CALL, '?', 0 },
    { "CALL_FINALLY", NULL, PYPROF__OP_JUMP, '?', 0 }, { "CALL_FUNCTION", NULL, PYPROF__OP_CALL, 'p', 1 },
    { "CALL_FUNCTION_EX", "00001", PYPROF__OP_CALL, 'x', 1 }, { "CALL_FUNCTION_KW", NULL, PYPROF__OP_CALL, 'q', 1 },
    { "CALL_INTRINSIC_", NULL, PYPROF__OP_OTHER, '?', 0 }, { "CALL_KW", "00033", PYPROF__OP_CALL, '?', 0 },
    { "CALL_METHOD", NULL, PYPROF__OP_CALL, 'q', 1 }, { "CALL_METHOD_DESCRIPTOR_", "03333", PYPROF__OP_CALL, '?', 0 },
    { "COMPARE_OP", "21111", PYPROF__OP_OTHER, '2', 1 }, { "CONTAINS_OP", "00111", PYPROF__OP_OTHER, '2', 1 },
    { "COPY", NULL, PYPROF__OP_COPY, '?', 0 }, { "COPY_", NULL, PYPROF__OP_OTHER, '?', 0 }, { "DICT_MERGE", NULL, PYPROF__OP_OTHER, '1', 0 },
    { "DICT_UPDATE", NULL, PYPROF__OP_OTHER, '1', 0 }, { "DUP_TOP", NULL, PYPROF__OP_OTHER, '1', 2 },
    { "DUP_TOP_TWO", NULL, PYPROF__OP_OTHER, '?', 0 }, { "ENTER_EXECUTOR", "00111", PYPROF__OP_OTHER, '?', 0 },
    { "EXTENDED_ARG", NULL, PYPROF__OP_EXTENDED, '?', 0 }, { "FORMAT_VALUE", NULL, PYPROF__OP_OTHER, 'f', 1 },
    { "FOR_ITER", "01111", PYPROF__OP_JUMP, '?', 0 }, { "GET_AWAITABLE", NULL, PYPROF__OP_OTHER, '1', 1 },
    { "GET_ITER", "00001", PYPROF__OP_OTHER, '1', 1 }, { "INPLACE_", NULL, PYPROF__OP_OTHER, '2', 1 }, { "IS_OP", NULL, PYPROF__OP_OTHER, '2', 1 },
    { "JUMP_ABSOLUTE", NULL, PYPROF__OP_JUMP_TO, '?', 0 }, { "JUMP_BACKWARD", "00111", PYPROF__OP_OTHER, '?', 0 },
    { "JUMP_BACKWARD_NO_INTERRUPT", NULL, PYPROF__OP_OTHER, '?', 0 }, { "JUMP_FORWARD", NULL, PYPROF__OP_JUMP, '?', 0 },
    { "JUMP_IF_", NULL, PYPROF__OP_JUMP_IF, '?', 0 }, { "KW_NAMES", NULL, PYPROF__OP_SKIP, '?', 0 },
    { "LIST_EXTEND", NULL, PYPROF__OP_OTHER, '1', 0 }, { "LIST_TO_TUPLE", NULL, PYPROF__OP_OTHER, '1', 1 },
    { "LOAD_ASSERTION_ERROR", NULL, PYPROF__OP_COMMON, '0', 1 }, { "LOAD_ATTR", "49999", PYPROF__OP_ATTR, '1', 1 },
    { "LOAD_BUILD_CLASS", NULL, PYPROF__OP_OTHER, '0', 1 }, { "LOAD_CLASSDEREF", NULL, PYPROF__OP_CELL, '0', 1 },
    { "LOAD_CLOSURE", NULL, PYPROF__OP_OTHER, '0', 1 }, { "LOAD_COMMON_CONSTANT", NULL, PYPROF__OP_COMMON, '?', 0 },
    { "LOAD_CONST", NULL, PYPROF__OP_CONST, '0', 1 }, { "LOAD_DEREF", NULL, PYPROF__OP_CELL, '0', 1 },
    { "LOAD_FAST", NULL, PYPROF__OP_LOCAL, '0', 1 }, { "LOAD_FAST_BORROW_LOAD_", NULL, PYPROF__OP_PAIR, '?', 0 },
    { "LOAD_FAST_LOAD_FAST", NULL, PYPROF__OP_PAIR, '?', 0 }, { "LOAD_FROM_DICT_OR_DEREF", NULL, PYPROF__OP_CELL, '?', 0 },
    { "LOAD_FROM_DICT_OR_GLOBALS", NULL, PYPROF__OP_NAME, '?', 0 }, { "LOAD_GLOBAL", "54444", PYPROF__OP_NAME, '0', 1 },
    { "LOAD_METHOD", "A0000", PYPROF__OP_ATTR, '1', 2 }, { "LOAD_NAME", NULL, PYPROF__OP_NAME, '0', 1 },
    { "LOAD_SPECIAL", NULL, PYPROF__OP_SPECIAL, '?', 0 }, { "LOAD_SUPER_ATTR", "01111", PYPROF__OP_SUPER, '?', 0 },
    { "MAKE_FUNCTION", NULL, PYPROF__OP_MAKE, 'u', 1 }, { "NOP", NULL, PYPROF__OP_SKIP, '0', 0 }, { "NOT_TAKEN", NULL, PYPROF__OP_SKIP, '?', 0 },
    { "POP_JUMP_FORWARD_", NULL, PYPROF__OP_JUMP, '?', 0 }, { "POP_JUMP_IF_", "00111", PYPROF__OP_JUMP_IF, '?', 0 },
    { "POP_TOP", NULL, PYPROF__OP_OTHER, '1', 0 }, { "PRECALL", "10000", PYPROF__OP_PRECALL, '?', 0 },
    { "PUSH_NULL", NULL, PYPROF__OP_SKIP, '?', 0 }, { "RESUME", "00001", PYPROF__OP_OTHER, '?', 0 }, { "SEND", "01111", PYPROF__OP_JUMP, '?', 0 },
    { "SETUP_", NULL, PYPROF__OP_JUMP, '?', 0 }, { "SETUP_ANNOTATIONS", NULL, PYPROF__OP_OTHER, '?', 0 },
    { "SET_FUNCTION_", NULL, PYPROF__OP_MAKE, '?', 0 }, { "SET_UPDATE", NULL, PYPROF__OP_OTHER, '1', 0 },
    { "STORE_ATTR", "44444", PYPROF__OP_OTHER, '2', 0 }, { "STORE_DEREF", NULL, PYPROF__OP_OTHER, '1', 0 },
    { "STORE_FAST", NULL, PYPROF__OP_OTHER, '1', 0 }, { "STORE_FAST_LOAD_FAST", NULL, PYPROF__OP_OTHER, '?', 0 },
    { "STORE_GLOBAL", NULL, PYPROF__OP_OTHER, '1', 0 }, { "STORE_NAME", NULL, PYPROF__OP_OTHER, '1', 0 },
    { "STORE_SUBSCR", "11111", PYPROF__OP_OTHER, '3', 0 }, { "SWAP", NULL, PYPROF__OP_COPY, '?', 0 },
    { "TO_BOOL", "00333", PYPROF__OP_OTHER, '?', 0 }, { "UNARY_", NULL, PYPROF__OP_OTHER, '1', 1 },
    { "UNPACK_SEQUENCE", "11111", PYPROF__OP_OTHER, '?', 0 }, { "YIELD_FROM", NULL, PYPROF__OP_OTHER, '2', 1 },
    { "YIELD_VALUE", NULL, PYPROF__OP_OTHER, '1', 1 },
};

typedef struct {
    const char *name;          // not terminated: size bytes; NULL = no such opcode
    unsigned char size, act, caches, pushes;   // act: pyprof__act
    char pops;
} pyprof__opcode;

typedef struct {
    pyprof__opcode at[256];
    uint32_t minor;            // the version
    unsigned char calls[32];   // a bit an opcode
} pyprof__opcodes;

static const char *pyprof__word_end(const char *word)
{
    while (*word && *word != ' ' && !(word[0] == '.' && word[1] == '.')) word++;
    return word;
}

static int pyprof__opcode_number(const pyprof__opcode *opcodes, const char *name, size_t size)   // 256 = none
{
    int i;
    for (i = 0; i < 256; i++)
        if (opcodes[i].size == size && memcmp(opcodes[i].name, name, size) == 0) break;
    return i;
}

// Reads one version's string; before: those of the version before.
static void pyprof__opcodes_read(pyprof__opcode *opcodes, const pyprof__opcode *before, const char *names)
{
    int next = 0, first, last;
    while (*names && next < 256) {
        const char *end = pyprof__word_end(names);
        if (*names >= '0' && *names <= '9') next = atoi(names);
        else if (*end == '.') {
            first = pyprof__opcode_number(before, names, (size_t)(end - names));
            names = end + 2;
            end = pyprof__word_end(names);
            last = pyprof__opcode_number(before, names, (size_t)(end - names));
            while (first <= last && first < 256 && next < 256) opcodes[next++] = before[first++];
        } else {
            opcodes[next].name = names;
            opcodes[next++].size = (unsigned char)(end - names);
        }
        names = *end ? end + 1 : end;
    }
}

static void pyprof__opcode_learn(pyprof__opcode *opcode, uint32_t minor)   // what it does
{
    const char *name = opcode->name;
    size_t size = opcode->size, best = 0, i;
    char digit;
    if (size > 13 && memcmp(name, "INSTRUMENTED_", 13) == 0) { name += 13; size -= 13; }
    opcode->pops = '?';
    for (i = 0; i < PYPROF__COUNT(pyprof__opcode_acts); i++) {
        size_t length = strlen(pyprof__opcode_acts[i].name);
        if (length > size || length <= best || memcmp(name, pyprof__opcode_acts[i].name, length) != 0) continue;
        best = length;
        digit = pyprof__opcode_acts[i].caches && minor >= 11 && minor <= 15 ? pyprof__opcode_acts[i].caches[minor - 11] : '0';
        opcode->act = (unsigned char)pyprof__opcode_acts[i].act;
        opcode->caches = (unsigned char)(digit == 'A' ? 10 : digit - '0');
        opcode->pops = pyprof__opcode_acts[i].pops;
        opcode->pushes = pyprof__opcode_acts[i].pushes;
    }
    if (opcode->act == PYPROF__OP_JUMP_IF) opcode->act = minor < 11 ? PYPROF__OP_JUMP_TO : PYPROF__OP_JUMP;
}

static void pyprof__opcodes_make(pyprof__opcodes *opcodes, uint32_t minor)
{
    pyprof__opcode before[256];
    size_t i;
    memset(opcodes, 0, sizeof *opcodes);
    opcodes->minor = minor;
    for (i = 0; i < PYPROF__COUNT(pyprof__opcode_names) && pyprof__opcode_names[i].minor <= minor; i++) {
        memcpy(before, opcodes->at, sizeof before);
        memset(opcodes->at, 0, sizeof opcodes->at);
        pyprof__opcodes_read(opcodes->at, before, pyprof__opcode_names[i].names);
    }
    for (i = 0; i < 256; i++) {
        pyprof__opcode *opcode = &opcodes->at[i];
        if (!opcode->name) continue;
        pyprof__opcode_learn(opcode, minor);
        if (opcode->act == PYPROF__OP_CALL || opcode->act == PYPROF__OP_PRECALL) opcodes->calls[i / 8] |= (unsigned char)(1u << i % 8);
    }
}

// 3.14 has no opcode of its own for x[y]: it is BINARY_OP with NB_SUBSCR (Include/opcode.h).
static pyprof__act pyprof__opcode_act(const pyprof__opcodes *opcodes, unsigned number, uint32_t argument)
{
    const pyprof__opcode *opcode = &opcodes->at[number];
    if (opcodes->minor >= 14 && argument == 26 && opcode->size == 9 && memcmp(opcode->name, "BINARY_OP", 9) == 0) return PYPROF__OP_ITEM;
    return (pyprof__act)opcode->act;
}

static int pyprof__opcode_calls(const pyprof__opcodes *opcodes, unsigned opcode) { return opcodes->calls[opcode / 8] >> opcode % 8 & 1; }

// Is it what the compiler wrote, or a specialised form of it? Not so are those that stand in another one's place while
// tracing (3.12 and later: INSTRUMENTED_LINE, INSTRUMENTED_INSTRUCTION) and numbers that are no opcode.
static int pyprof__opcode_is_plain(const pyprof__opcodes *opcodes, unsigned number)
{
    const pyprof__opcode *opcode = &opcodes->at[number];
    return opcode->name && !(opcode->size == 17 && memcmp(opcode->name, "INSTRUMENTED_LINE", 17) == 0)
        && !(opcode->size == 24 && memcmp(opcode->name, "INSTRUMENTED_INSTRUCTION", 24) == 0);
}

// Which of the code's names the opcode loads: the low bits of the argument mean something else in LOAD_GLOBAL (3.11: push a
// NULL, too), LOAD_ATTR (3.12: as a method) and LOAD_SUPER_ATTR (two of them).
static uint32_t pyprof__opcode_name_index(const pyprof__opcodes *opcodes, unsigned number, uint32_t argument)
{
    const pyprof__opcode *opcode = &opcodes->at[number];
    if (opcode->act == PYPROF__OP_SUPER) return argument >> 2;
    if (opcode->act == PYPROF__OP_ATTR && opcodes->minor >= 12) return argument >> 1;
    return opcodes->minor >= 11 && opcode->size >= 11 && memcmp(opcode->name, "LOAD_GLOBAL", 11) == 0 ? argument >> 1 : argument;
}

// How many values the instruction takes off the stack, until 3.10; -1 = not known.
static int pyprof__opcode_pops(const pyprof__opcode *opcode, uint32_t argument)
{
    uint32_t n = argument > 255 ? 255 : argument;
    switch (opcode->pops) {
    case 'n': return (int)n;
    case 'm': return (int)n * 2;
    case 'p': return (int)n + 1;
    case 'q': return (int)n + 2;
    case 'x': return 2 + (int)(n & 1);
    case 'f': return 1 + (int)(n >> 2 & 1);
    case 'u': return 2 + (int)((n & 1) + (n >> 1 & 1) + (n >> 2 & 1) + (n >> 3 & 1));
    default: return opcode->pops >= '0' && opcode->pops <= '9' ? opcode->pops - '0' : -1;
    }
}

// What LOAD_SPECIAL and LOAD_COMMON_CONSTANT load (3.14, Lib/opcode.py): first what can be called, then of instances the type
enum { PYPROF__COMMON_CALLABLE = 7 };
static const char *const pyprof__special_names[] = { "__enter__", "__exit__", "__aenter__", "__aexit__" };
static const char *const pyprof__common_names[] = {
    "AssertionError", "NotImplementedError", "tuple", "all", "any", "list", "set", "NoneType", "str",
};

// asyncio's own table, Py_AsyncioModuleDebugOffsets (Modules/_asynciomodule.c, 3.14 and later): 13 words in the section
// .AsyncioDebug of _asyncio*.so, or of the program that has it built in.
enum { PYPROF__ASYNCIO_WORDS = 13 };
typedef struct {
    uint32_t task_name, task_coro, task_node;           // of a Task
    uint32_t interp_tasks, thread_task, thread_tasks;   // thread_task: the running one; _tasks: heads of lists of all of them
} pyprof__asyncio;

static int pyprof__layout_asyncio(pyprof__asyncio *asyncio, const uint64_t *table)   // 1 = every number makes sense
{
    static const struct { uint8_t word, size; uint32_t most; } places[] = {   // the word, and that of its structure's size
        { 1, 0, 512 }, { 5, 0, 512 }, { 6, 0, 512 }, { 8, 7, 1u << 20 }, { 11, 9, 1u << 17 }, { 12, 9, 1u << 17 },
    };
    uint32_t *to = (uint32_t *)(void *)asyncio;
    size_t i;
    for (i = 0; i < PYPROF__COUNT(places); i++) {
        uint64_t value = table[places[i].word];
        if (value % 8 || value > places[i].most || value + 8 > table[places[i].size]) return 0;
        to[i] = (uint32_t)value;
    }
    return 1;
}

// How the C API behaves, by version.
typedef struct {
    int own_state;   // the thread state that is current is the thread's own: a thread-local variable (3.12, Python/pystate.c)
} pyprof__habits;

static pyprof__habits pyprof__layout_habits(uint32_t version)
{
    pyprof__habits habits;
    habits.own_state = version >= 0x030c0000;
    return habits;
}

static void pyprof__version_text(uint32_t version, char *text, size_t capacity)   // "3.13.0rc1"
{
    uint32_t level = version >> 4 & 15u, serial = version & 15u;
    const char *suffix = level == 10 ? "a" : level == 11 ? "b" : level == 12 ? "rc" : "";
    int n = snprintf(text, capacity, "%u.%u.%u%s", version >> 24, version >> 16 & 255u, version >> 8 & 255u, suffix);
    if (*suffix && n > 0 && (size_t)n < capacity) snprintf(text + n, capacity - (size_t)n, "%u", serial);
}

static int pyprof__version_of(const char *text)   // "3.13.0rc1" -> 0x030d; 0 = no version
{
    char *dot;
    unsigned long major = strtoul(text, &dot, 10), minor = *dot == '.' ? strtoul(dot + 1, NULL, 10) : 0;
    return major > 0 && major < 128 && minor < 256 ? (int)(major << 8 | minor) : 0;
}

// tracemalloc's traces: (domain, size, frames), later (domain, size, frames, number of frames); 0 = none that is known
static int pyprof__trace_items(int version) { return version >> 8 != 3 || version < 0x0306 ? 0 : version < 0x0309 ? 3 : 4; }

// ============================================================================
// [SECTION] RUNTIME -- finds the interpreter in the process, and its version
//   Runs on    the thread that calls pyprof_start, or the sampler's
//   Uses       COPY, LAYOUT
//   Promise    works for libpython linked or loaded RTLD_LOCAL, and for static programs with or without symbols;
//              when it fails it says what it looked at
// ============================================================================
typedef struct {
    uint64_t address;       // of _PyRuntime; 0 = not found
    uint32_t version;       // PY_VERSION_HEX; the lower 16 bits may be 0
    int free_threaded;
    pyprof__layout layout;
    char where[160];        // how it was found
} pyprof__runtime;

#if defined(Py_PYTHON_H)
// Python.h came first: bind at link time. Weak, so that a module loaded by a program without these symbols still loads,
// and under another C name, so that a declaration in CPython's internal headers does not clash.
#ifdef __cplusplus
extern "C" {
#endif
extern const char pyprof__linked_runtime[] __asm__("_PyRuntime") __attribute__((weak));
#ifdef __cplusplus
}
#endif
static uint64_t pyprof__linked_address(void) { return (uint64_t)(uintptr_t)pyprof__linked_runtime; }
static uint32_t pyprof__linked_version(void) { return (uint32_t)PY_VERSION_HEX; }
#else
static uint64_t pyprof__linked_address(void) { return 0; }
static uint32_t pyprof__linked_version(void) { return 0; }
#endif

// ---- symbols and sections of an ELF file ------------------------------------
typedef struct { uint64_t runtime, runtime_size, py_version, get_version; const char *name; uint64_t named; } pyprof__symbols;   // 0 = not there

typedef struct { int fd; pyprof__pool *pool; Elf64_Ehdr header; Elf64_Shdr *sections; } pyprof__elf;

static int pyprof__pread(int fd, void *to, size_t size, uint64_t offset)
{
    return pread(fd, to, size, (off_t)offset) == (ssize_t)size;
}

static int pyprof__elf_open(pyprof__elf *elf, pyprof__pool *pool, const char *path)
{
    size_t size;
    memset(elf, 0, sizeof *elf);
    elf->pool = pool;
    elf->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (elf->fd < 0) return 0;
    if (pyprof__pread(elf->fd, &elf->header, sizeof elf->header, 0) && memcmp(elf->header.e_ident, ELFMAG, SELFMAG) == 0
        && elf->header.e_ident[EI_CLASS] == ELFCLASS64 && elf->header.e_phentsize == sizeof(Elf64_Phdr)) {
        size = elf->header.e_shnum * sizeof(Elf64_Shdr);
        if (elf->header.e_shentsize == sizeof(Elf64_Shdr) && size > 0) elf->sections = (Elf64_Shdr *)pyprof__alloc(pool, size);
        if (elf->sections && !pyprof__pread(elf->fd, elf->sections, size, elf->header.e_shoff)) memset(elf->sections, 0, size);
        return 1;
    }
    close(elf->fd);
    return 0;
}

static void pyprof__elf_close(pyprof__elf *elf)
{
    pyprof__free(elf->pool, elf->sections, elf->header.e_shnum * sizeof(Elf64_Shdr));
    close(elf->fd);
}

static uint64_t pyprof__elf_bias(pyprof__elf *elf, uint64_t mapped_at)   // what to add to an address of the file
{
    Elf64_Phdr segment;
    int i;
    if (elf->header.e_type != ET_DYN) return 0;
    for (i = 0; i < elf->header.e_phnum; i++) {
        if (!pyprof__pread(elf->fd, &segment, sizeof segment, elf->header.e_phoff + (uint64_t)i * sizeof segment)) break;
        if (segment.p_type == PT_LOAD) return mapped_at - (segment.p_vaddr - segment.p_offset);
    }
    return mapped_at;
}

static char *pyprof__elf_section(pyprof__elf *elf, uint32_t index, size_t *size)   // its bytes; free with *size + 1
{
    char *data;
    if (index >= elf->header.e_shnum || elf->sections[index].sh_size >= 256u << 20) return NULL;
    *size = (size_t)elf->sections[index].sh_size;
    data = (char *)pyprof__alloc(elf->pool, *size + 1);
    if (!data) return NULL;
    if (pyprof__pread(elf->fd, data, *size, elf->sections[index].sh_offset)) return data;
    pyprof__free(elf->pool, data, *size + 1);
    return NULL;
}

static void pyprof__elf_take(pyprof__symbols *found, const char *name, const Elf64_Sym *symbol)
{
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0) return;
    if (strcmp(name, "_PyRuntime") == 0) { found->runtime = symbol->st_value; found->runtime_size = symbol->st_size; }
    else if (strcmp(name, "Py_Version") == 0) found->py_version = symbol->st_value;
    else if (strcmp(name, "Py_GetVersion") == 0) found->get_version = symbol->st_value;
    if (found->name && strcmp(name, found->name) == 0) found->named = symbol->st_value;
}

static void pyprof__elf_symbols(pyprof__elf *elf, const Elf64_Shdr *table, pyprof__symbols *found)
{
    size_t names_size = 0, count = (size_t)(table->sh_size / sizeof(Elf64_Sym)), at, i;
    char *names = pyprof__elf_section(elf, table->sh_link, &names_size);
    static const size_t chunk = 1024;
    Elf64_Sym *symbols = (Elf64_Sym *)pyprof__alloc(elf->pool, chunk * sizeof *symbols);
    for (at = 0; names && symbols && at < count; at += chunk) {
        size_t n = count - at < chunk ? count - at : chunk;
        if (!pyprof__pread(elf->fd, symbols, n * sizeof *symbols, table->sh_offset + at * sizeof *symbols)) break;
        for (i = 0; i < n; i++)
            if (symbols[i].st_name < names_size) pyprof__elf_take(found, names + symbols[i].st_name, &symbols[i]);
    }
    pyprof__free(elf->pool, symbols, chunk * sizeof *symbols);
    pyprof__free(elf->pool, names, names_size + 1);
}

static const Elf64_Shdr *pyprof__elf_named(pyprof__elf *elf, const char *name)   // a section by its name, NULL = none
{
    const Elf64_Shdr *found = NULL;
    size_t size = 0;
    char *names = elf->sections ? pyprof__elf_section(elf, elf->header.e_shstrndx, &size) : NULL;
    uint32_t i;
    for (i = 0; names && i < elf->header.e_shnum && !found; i++)
        if (elf->sections[i].sh_name < size && strcmp(names + elf->sections[i].sh_name, name) == 0) found = &elf->sections[i];
    pyprof__free(elf->pool, names, size + 1);
    return found;
}

// .dynsym, then .symtab, then the section that CPython 3.10 and later put _PyRuntime in: it survives strip.
static int pyprof__elf_find(pyprof__elf *elf, pyprof__symbols *found)
{
    static const uint32_t kinds[] = { SHT_DYNSYM, SHT_SYMTAB };
    const Elf64_Shdr *section;
    size_t k;
    uint32_t i;
    memset(found, 0, sizeof *found);
    if (!elf->sections) return 0;
    for (k = 0; k < PYPROF__COUNT(kinds) && !found->runtime; k++)
        for (i = 0; i < elf->header.e_shnum; i++)
            if (elf->sections[i].sh_type == kinds[k]) pyprof__elf_symbols(elf, &elf->sections[i], found);
    if (found->runtime) return 1;
    section = pyprof__elf_named(elf, ".PyRuntime");
    found->runtime = section ? section->sh_addr : 0;
    found->runtime_size = section ? section->sh_size : 0;
    return found->runtime != 0;
}

// ---- version -----------------------------------------------------------------
static uint32_t pyprof__parse_version(const char *text)   // "3.9.18..." -> 0x030912f0; 0 = no version
{
    unsigned long minor, patch;
    char *end;
    if (strncmp(text, "3.", 2) != 0 || text[2] < '0' || text[2] > '9') return 0;
    minor = strtoul(text + 2, &end, 10);
    if (*end != '.' || minor > 255) return 0;
    patch = strtoul(end + 1, &end, 10);
    return 0x03000000u | (uint32_t)minor << 16 | (uint32_t)(patch & 255) << 8 | 0xf0u;
}

typedef const char *pyprof__get_version_fn(void);

// Py_GetVersion: no GIL, a static buffer (Python/getversion.c). Up to 3.10 each call writes it anew: while another thread is in
// it, it can be empty for a moment.
static uint32_t pyprof__call_get_version(uint64_t address)
{
    pyprof__get_version_fn *fn;
    void *pointer = (void *)(uintptr_t)address;
    uint32_t version = 0;
    int tries;
    if (!address) return 0;
    memcpy(&fn, &pointer, sizeof fn);
    for (tries = 0; tries < 100 && !version; tries++) version = pyprof__parse_version(fn());
    return version;
}

static uint32_t pyprof__version_by_size(uint64_t size)
{
    size_t i;
    for (i = 0; i < PYPROF__COUNT(pyprof__runtime_sizes); i++)
        if (pyprof__runtime_sizes[i].size == size) return pyprof__runtime_sizes[i].version << 16;
    return 0;
}

// The first bytes of _PyRuntime from 3.13 on. Written so that our own program does not contain the text itself.
static int pyprof__has_table(const pyprof__source *source, uint64_t address)
{
    char text[9] = "xDEBUGPY";
    char cookie[8];
    int i;
    for (i = 1; text[i]; i++) text[i] = (char)(text[i] | 32);
    return pyprof__copy(source, cookie, address, sizeof cookie) && memcmp(cookie, text, sizeof cookie) == 0;
}

static pyprof_result pyprof__runtime_identify(pyprof__runtime *runtime, const pyprof__source *source, const pyprof__symbols *symbols)
{
    char table[PYPROF__OFFSETS_SIZE];
    uint64_t number = 0;
    runtime->address = symbols->runtime;
    runtime->version = 0;
    runtime->free_threaded = 0;
    memset(table, 0, sizeof table);
    if (pyprof__has_table(source, runtime->address)) {
        if (!pyprof__copy(source, table, runtime->address, sizeof table))
            return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "_PyRuntime at %s is not readable", runtime->where);
        memcpy(&number, table + PYPROF__OFFSETS_VERSION, sizeof number);
        runtime->version = (uint32_t)number;
        memcpy(&number, table + PYPROF__OFFSETS_FREE_THREADED, sizeof number);
        runtime->free_threaded = number != 0;
        return pyprof__layout_choose(&runtime->layout, runtime->version, runtime->free_threaded, table);
    }
    if (symbols->py_version && pyprof__copy(source, &number, symbols->py_version, sizeof number)) runtime->version = (uint32_t)number;
    if (!runtime->version) runtime->version = pyprof__call_get_version(symbols->get_version);
    if (!runtime->version) runtime->version = pyprof__version_by_size(symbols->runtime_size);
    if (!runtime->version)
        return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "found _PyRuntime (%s) but not which CPython it is: no Py_Version, no Py_GetVersion, size %llu",
                            runtime->where, (unsigned long long)symbols->runtime_size);
    return pyprof__layout_choose(&runtime->layout, runtime->version, 0, NULL);
}

// ---- the files mapped into the process ----------------------------------------
typedef struct { uint64_t start, end; char path[512]; int writable, offset_zero; } pyprof__mapping;

static char *pyprof__read_maps(pyprof__pool *pool, size_t *capacity)
{
    for (*capacity = 256 * 1024; *capacity <= 64u << 20; *capacity *= 4) {
        char *text = (char *)pyprof__alloc(pool, *capacity);
        ssize_t size = text ? pyprof__proc_read("maps", text, *capacity) : -1;
        if (size >= 0 && (size_t)size < *capacity - 1) return text;
        pyprof__free(pool, text, *capacity);
        if (size < 0) break;
    }
    return NULL;
}

static const char *pyprof__next_mapping(const char *at, pyprof__mapping *mapping)   // NULL = no more
{
    const char *end = at && *at ? strchr(at, '\n') : NULL;
    const char *path;
    char *stop;
    size_t size;
    if (!end) return NULL;
    mapping->start = strtoull(at, &stop, 16);
    mapping->end = strtoull(stop + 1, &stop, 16);
    mapping->writable = stop[1] == 'r' && stop[2] == 'w';
    mapping->offset_zero = strtoull(stop + 6, NULL, 16) == 0;
    path = (const char *)memchr(stop, '/', (size_t)(end - stop));
    if (!path) path = (const char *)memchr(stop, '[', (size_t)(end - stop));
    size = path ? (size_t)(end - path) : 0;
    if (size >= sizeof mapping->path) size = 0;
    if (size) memcpy(mapping->path, path, size);
    mapping->path[size] = 0;
    return end + 1;
}

// 0 = the program itself, 1 = a name with "python" in it, 2 = the rest, -1 = no file
static int pyprof__mapping_rank(const pyprof__mapping *mapping, const char *program)
{
    const char *name = strrchr(mapping->path, '/');
    if (!name || !mapping->offset_zero || strncmp(mapping->path, "/dev/", 5) == 0) return -1;
    if (strcmp(mapping->path, program) == 0) return 0;
    return strstr(name, "python") ? 1 : 2;
}

static int pyprof__runtime_in_file(pyprof__runtime *runtime, pyprof__pool *pool, const pyprof__mapping *mapping, pyprof__symbols *symbols)
{
    pyprof__elf elf;
    uint64_t bias;
    int found;
    if (!pyprof__elf_open(&elf, pool, mapping->path)) return 0;
    bias = pyprof__elf_bias(&elf, mapping->start);
    found = pyprof__elf_find(&elf, symbols);
    pyprof__elf_close(&elf);
    if (!found) return 0;
    symbols->runtime += bias;
    if (symbols->py_version) symbols->py_version += bias;
    if (symbols->get_version) symbols->get_version += bias;
    snprintf(runtime->where, sizeof runtime->where, "in %.140s", mapping->path);
    return 1;
}

// ---- programs stripped of symbols and sections --------------------------------
// From 3.13 on the table's cookie stands in a writable segment. Before, the runtime holds a pointer to the newest
// interpreter, whose threads point back at it: two words that agree with each other, in .bss.
static int pyprof__looks_like_runtime(const pyprof__source *source, const pyprof__layout *layout, uint64_t interp)
{
    uint64_t thread = 0, back = 0, ident = 0;
    if (!pyprof__copy(source, &thread, interp + layout->interp_threads, 8) || thread < 4096 || thread % 8) return 0;
    if (!pyprof__copy(source, &back, thread + layout->thread_interp, 8) || back != interp) return 0;
    return pyprof__copy(source, &ident, thread + layout->thread_ident, 8) && ident > 4096 && ident % 64 == 0;
}

static uint64_t pyprof__scan_segment(const pyprof__source *source, const pyprof__mapping *mapping, const pyprof__layout *layout)
{
    uint64_t words[512], at;
    size_t i;
    for (at = mapping->start; at + sizeof words <= mapping->end; at += sizeof words - 8) {
        if (!pyprof__copy(source, words, at, sizeof words)) return 0;
        for (i = 0; i + 1 < PYPROF__COUNT(words); i++) {
            if (!layout && pyprof__has_table(source, at + i * 8)) return at + i * 8;
            if (!layout || words[i] < 4096 || words[i] != words[i + 1] || words[i] % 8) continue;   // head == main
            if (pyprof__looks_like_runtime(source, layout, words[i])) return at + i * 8 - layout->runtime_head;
        }
        if (!layout) at -= 8;
    }
    return 0;
}

// The version of a program without symbols: the literal of PY_VERSION among its read-only data.
// minor: 0x030c for 3.12, 0 = any.
static uint32_t pyprof__scan_version(const pyprof__source *source, const pyprof__mapping *mapping, uint32_t minor)
{
    char text[4096 + 16];
    uint64_t at, size;
    uint32_t version;
    size_t i;
    for (at = mapping->start; at < mapping->end; at += 4096) {
        size = mapping->end - at < sizeof text - 1 ? mapping->end - at : sizeof text - 1;
        if (!pyprof__copy(source, text, at, (size_t)size)) return 0;
        text[size] = 0;
        for (i = 1; i + 8 < size; i++) {
            if (text[i] != '3' || text[i - 1] == '.' || (text[i - 1] >= '0' && text[i - 1] <= '9')) continue;   // it may be the tail of a path
            version = pyprof__parse_version(text + i);
            if (!version || version >= PYPROF__TABLE_SINCE || strlen(text + i) > 8) continue;
            if (!minor || version >> 16 == minor) return version;
        }
    }
    return 0;
}

static int pyprof__runtime_by_scan(pyprof__runtime *runtime, const pyprof__source *source, const char *maps, const char *program,
                                   pyprof__symbols *symbols)
{
    pyprof__mapping mapping;
    pyprof__layout layout;
    uint32_t version = 0;
    int in_program = 0;
    const char *at = maps;
    memset(symbols, 0, sizeof *symbols);
    while ((at = pyprof__next_mapping(at, &mapping)) != NULL && !version)
        if (strcmp(mapping.path, program) == 0 && !mapping.writable) version = pyprof__scan_version(source, &mapping, 0);
    at = maps;
    while ((at = pyprof__next_mapping(at, &mapping)) != NULL && !symbols->runtime) {
        in_program = strcmp(mapping.path, program) == 0 || (in_program && (mapping.path[0] == 0 || strcmp(mapping.path, "[heap]") == 0));
        if (!in_program || !mapping.writable || mapping.end - mapping.start > 64u << 20) continue;
        if (!version) symbols->runtime = pyprof__scan_segment(source, &mapping, NULL);
        else if (pyprof__layout_choose(&layout, version, 0, NULL) == PYPROF_OK) symbols->runtime = pyprof__scan_segment(source, &mapping, &layout);
    }
    snprintf(runtime->where, sizeof runtime->where, "by its shape in %.120s", program);
    if (version) symbols->runtime_size = 0;
    runtime->version = version;
    return symbols->runtime != 0;
}

// Only the size of _PyRuntime told the version: the text of PY_VERSION in the same file tells the rest.
static void pyprof__version_refine(pyprof__runtime *runtime, const pyprof__source *source, const char *maps, const char *path)
{
    pyprof__mapping mapping;
    const char *at = maps;
    uint32_t version;
    while (runtime->version && !(runtime->version & 0xffffu) && (at = pyprof__next_mapping(at, &mapping)) != NULL) {
        if (mapping.writable || strcmp(mapping.path, path) != 0) continue;
        version = pyprof__scan_version(source, &mapping, runtime->version >> 16);
        if (version) runtime->version = version;
    }
}

static pyprof_result pyprof__runtime_search(pyprof__runtime *runtime, pyprof__pool *pool, const pyprof__source *source, const char *maps)
{
    char program[512];
    pyprof__symbols symbols;
    pyprof__mapping mapping;
    const char *at;
    int rank, looked_at = 0;
    pyprof__proc_link("exe", program, sizeof program);
    for (rank = 0; rank <= 2; rank++) {
        at = maps;
        while ((at = pyprof__next_mapping(at, &mapping)) != NULL) {
            if (pyprof__mapping_rank(&mapping, program) != rank) continue;
            looked_at++;
            if (pyprof__runtime_in_file(runtime, pool, &mapping, &symbols)) {
                pyprof_result result = pyprof__runtime_identify(runtime, source, &symbols);
                pyprof__version_refine(runtime, source, maps, mapping.path);
                return result;
            }
        }
    }
    if (pyprof__runtime_by_scan(runtime, source, maps, program, &symbols)) {
        uint32_t version = runtime->version;
        if (!version) return pyprof__runtime_identify(runtime, source, &symbols);
        runtime->address = symbols.runtime;
        return pyprof__layout_choose(&runtime->layout, version, 0, NULL);
    }
    return pyprof__fail(PYPROF_ERR_NO_PYTHON, "no CPython in this process (%.160s): looked for _PyRuntime in the dynamic symbols, in the symbols "
                        "and .PyRuntime sections of %d mapped files, and for its shape in the program's data", program, looked_at);
}

// Finds the runtime of this process. Costs microseconds where the dynamic linker knows it, else up to some milliseconds.
static pyprof_result pyprof__runtime_find(pyprof__runtime *runtime, pyprof__pool *pool, const pyprof__source *source)
{
    pyprof__symbols symbols;
    size_t capacity;
    char *maps;
    pyprof_result result;
    memset(runtime, 0, sizeof *runtime);
    memset(&symbols, 0, sizeof symbols);
    symbols.runtime = pyprof__linked_address();
    if (symbols.runtime) {
        runtime->address = symbols.runtime;
        snprintf(runtime->where, sizeof runtime->where, "at link time");
        if (pyprof__has_table(source, symbols.runtime)) return pyprof__runtime_identify(runtime, source, &symbols);
        runtime->version = pyprof__linked_version();
        return pyprof__layout_choose(&runtime->layout, runtime->version, 0, NULL);
    }
    symbols.runtime = (uint64_t)(uintptr_t)dlsym(NULL, "_PyRuntime");
    if (symbols.runtime) {
        symbols.py_version = (uint64_t)(uintptr_t)dlsym(NULL, "Py_Version");
        symbols.get_version = (uint64_t)(uintptr_t)dlsym(NULL, "Py_GetVersion");
        snprintf(runtime->where, sizeof runtime->where, "by the dynamic linker");
        return pyprof__runtime_identify(runtime, source, &symbols);
    }
    maps = pyprof__read_maps(pool, &capacity);
    if (!maps) return pyprof__fail(PYPROF_ERR_DENIED, "cannot read /proc/self/maps: %s", strerror(errno));
    result = pyprof__runtime_search(runtime, pool, source, maps);
    pyprof__free(pool, maps, capacity);
    return result;
}

// ---- asyncio's table ----------------------------------------------------------------------
static int pyprof__asyncio_in_file(pyprof__asyncio *asyncio, pyprof__pool *pool, const pyprof__source *source, const pyprof__mapping *mapping)
{
    uint64_t table[PYPROF__ASYNCIO_WORDS];
    const Elf64_Shdr *section;
    pyprof__elf elf;
    int found = 0;
    if (!pyprof__elf_open(&elf, pool, mapping->path)) return 0;
    section = pyprof__elf_named(&elf, ".AsyncioDebug");
    if (section && section->sh_size >= sizeof table
        && pyprof__copy(source, table, section->sh_addr + pyprof__elf_bias(&elf, mapping->start), sizeof table))
        found = pyprof__layout_asyncio(asyncio, table);
    pyprof__elf_close(&elf);
    return found;
}

// Finds it among the files mapped: first in those that have the module in their name, then in all. Takes some milliseconds.
static int pyprof__asyncio_find(pyprof__asyncio *asyncio, pyprof__pool *pool, const pyprof__source *source)
{
    pyprof__mapping mapping;
    const char *at;
    size_t capacity;
    char *maps = pyprof__read_maps(pool, &capacity);
    int pass, found = 0;
    for (pass = 0; maps && pass < 2 && !found; pass++) {
        at = maps;
        while (!found && (at = pyprof__next_mapping(at, &mapping)) != NULL) {
            const char *name = strrchr(mapping.path, '/');
            if (!name || !mapping.offset_zero || strncmp(mapping.path, "/dev/", 5) == 0) continue;
            if ((pass == 0) == (strstr(name, "_asyncio") != NULL)) found = pyprof__asyncio_in_file(asyncio, pool, source, &mapping);
        }
    }
    pyprof__free(pool, maps, maps ? capacity : 0);
    return found;
}

// ---- functions of its C API -------------------------------------------------------------
static uint64_t pyprof__elf_function(pyprof__pool *pool, const char *path, uint64_t mapped_at, const char *name)   // by the symbols of the file
{
    pyprof__elf elf;
    pyprof__symbols symbols;
    uint64_t bias = 0;
    uint32_t i;
    memset(&symbols, 0, sizeof symbols);
    symbols.name = name;
    if (!pyprof__elf_open(&elf, pool, path)) return 0;
    for (i = 0; elf.sections && i < elf.header.e_shnum && !symbols.named; i++)
        if (elf.sections[i].sh_type == SHT_SYMTAB) pyprof__elf_symbols(&elf, &elf.sections[i], &symbols);
    if (symbols.named) bias = pyprof__elf_bias(&elf, mapped_at);
    pyprof__elf_close(&elf);
    return symbols.named ? symbols.named + bias : 0;
}

// A function of the interpreter that was found. NULL = it cannot be reached: a program without symbols.
static void *pyprof__runtime_function(const pyprof__runtime *runtime, pyprof__pool *pool, const char *name)
{
    struct { const char *file; void *base; const char *symbol; void *address; } info = { NULL, NULL, NULL, NULL };   // Dl_info of dlfcn.h
    int (*where)(const void *, void *);
    void *found = dlsym(NULL, name), *library = dlsym(NULL, "dladdr");   // declared only with _GNU_SOURCE
    if (found || !library) return found;
    memcpy(&where, &library, sizeof where);
    if (!where((const void *)(uintptr_t)runtime->address, &info) || !info.file) return NULL;
    library = dlopen(info.file, RTLD_LAZY | RTLD_NOLOAD);   // loaded with RTLD_LOCAL
    found = library ? dlsym(library, name) : NULL;
    if (library) dlclose(library);
    if (found) return found;
    return (void *)(uintptr_t)pyprof__elf_function(pool, "/proc/self/exe", (uint64_t)(uintptr_t)info.base, name);
}

// ============================================================================
// [SECTION] CODE -- code object -> names, file, line table
//   Runs on    the sampler thread
//   Uses       COPY, LAYOUT, TEXT
//   Promise    a code object is known by what it holds, not by its address alone: one that died and whose address
//              was used again never lends its name to another
// ============================================================================
typedef struct { int32_t line, end_line, column, end_column; } pyprof__place;   // line 0, columns -1: unknown

// ---- line tables: untrusted bytes, so every read is bounded and every loop consumes at least one -----------------
static int32_t pyprof__clamp_line(int64_t line) { return line > 0 && line < INT32_MAX / 2 ? (int32_t)line : 0; }

// 3.8 and 3.9 (Objects/lnotab_notes.txt): pairs of byte delta, signed line delta.
static void pyprof__locate_lnotab(const unsigned char *table, size_t size, int32_t first_line, int64_t offset, pyprof__place *place)
{
    int64_t line = first_line, address = 0;
    size_t i;
    for (i = 0; i + 1 < size; i += 2) {
        address += table[i];
        if (address > offset) break;
        line += (signed char)table[i + 1];
    }
    place->line = pyprof__clamp_line(line);
}

// 3.10 (Objects/lnotab_notes.txt, PEP 626): ranges; a line delta of -128 is a range without a line.
static void pyprof__locate_310(const unsigned char *table, size_t size, int32_t first_line, int64_t offset, pyprof__place *place)
{
    int64_t line = first_line, end = 0;
    size_t i;
    for (i = 0; i + 1 < size; i += 2) {
        int delta = (signed char)table[i + 1];
        if (delta != -128) line += delta;
        end += table[i];
        if (offset >= end) continue;
        place->line = delta == -128 ? 0 : pyprof__clamp_line(line);
        return;
    }
}

typedef struct { const unsigned char *at, *end; int bad; } pyprof__reader;

static unsigned pyprof__reader_byte(pyprof__reader *reader)
{
    if (reader->at >= reader->end) { reader->bad = 1; return 0; }
    return *reader->at++;
}

static uint32_t pyprof__reader_varint(pyprof__reader *reader)   // 6 bits a byte, low end first
{
    uint32_t value = 0;
    unsigned shift = 0, byte;
    do {
        byte = pyprof__reader_byte(reader);
        if (shift > 28) { reader->bad = 1; return 0; }
        value |= (byte & 63u) << shift;
        shift += 6;
    } while ((byte & 64u) && !reader->bad);
    return value;
}

static int64_t pyprof__reader_svarint(pyprof__reader *reader)
{
    uint32_t value = pyprof__reader_varint(reader);
    return value & 1 ? -(int64_t)(value >> 1) : (int64_t)(value >> 1);
}

// One entry of a 3.11 location table (Objects/locations.md). Moves *line on.
static void pyprof__location_entry(pyprof__reader *reader, unsigned code, int64_t *line, pyprof__place *place)
{
    unsigned byte;
    uint32_t end_line, column, end_column;
    place->column = place->end_column = -1;
    if (code == 15) { place->line = place->end_line = 0; return; }
    if (code == 13 || code == 14) *line += pyprof__reader_svarint(reader);
    else if (code >= 10) *line += code - 10;
    place->line = place->end_line = pyprof__clamp_line(*line);
    if (code == 14) {
        end_line = pyprof__reader_varint(reader);
        column = pyprof__reader_varint(reader);
        end_column = pyprof__reader_varint(reader);
        place->end_line = pyprof__clamp_line(*line + end_line);
        place->column = (int32_t)column - 1;
        place->end_column = (int32_t)end_column - 1;
    } else if (code >= 10 && code <= 12) {
        place->column = (int32_t)pyprof__reader_byte(reader);
        place->end_column = (int32_t)pyprof__reader_byte(reader);
    } else if (code < 10) {
        byte = pyprof__reader_byte(reader);
        place->column = (int32_t)(code * 8 + (byte >> 4));
        place->end_column = place->column + (int32_t)(byte & 15u);
    }
}

static void pyprof__locate_311(const unsigned char *table, size_t size, int32_t first_line, int64_t unit, pyprof__place *place)
{
    pyprof__reader reader;
    pyprof__place found;
    int64_t line = first_line, at = 0;
    reader.at = table;
    reader.end = table + size;
    reader.bad = 0;
    while (reader.at < reader.end) {
        unsigned head = pyprof__reader_byte(&reader);
        if (!(head & 128u)) return;
        pyprof__location_entry(&reader, head >> 3 & 15u, &line, &found);
        if (reader.bad) return;
        at += (head & 7u) + 1;
        if (unit < at) { *place = found; return; }
    }
}

// The place of an instruction. instruction counts code units of two bytes.
static void pyprof__locate(int form, const unsigned char *table, size_t size, int32_t first_line, int64_t instruction, pyprof__place *place)
{
    place->line = place->end_line = 0;
    place->column = place->end_column = -1;
    if (form == PYPROF__LINES_LNOTAB) pyprof__locate_lnotab(table, size, first_line, instruction * 2, place);
    else if (form == PYPROF__LINES_310) pyprof__locate_310(table, size, first_line, instruction * 2, place);
    else pyprof__locate_311(table, size, first_line, instruction, place);
    if (form != PYPROF__LINES_LOCATIONS) place->end_line = place->line;
}

// ---- Python strings ---------------------------------------------------------
enum { PYPROF__MAX_CHARS = 4096, PYPROF__MAX_TABLE = 1 << 20 };

static uint32_t pyprof__read_u32(pyprof__mirror *mirror, uint64_t from)
{
    uint32_t value = 0;
    pyprof__read(mirror, &value, from, sizeof value);
    return value;
}

// Reads a str as UTF-8 into out, which holds PYPROF__MAX_CHARS * 4 + 8 bytes. Longer ones end in "...". -1 = no str.
static ssize_t pyprof__read_str(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t address, char *out)
{
    unsigned char raw[512];
    uint64_t length = 0, data, done = 0;
    uint32_t state, kind;
    size_t size = 0, i;
    if (address % 8 || !pyprof__read(mirror, &length, address + layout->str_length, sizeof length) || length >= 1u << 30) return -1;
    state = pyprof__read_u32(mirror, address + layout->str_state);
    kind = state >> layout->str_kind_shift & 7u;
    if (kind != 1 && kind != 2 && kind != 4) return -1;
    if ((state & layout->str_is_compact) && (state & layout->str_is_ascii)) data = address + layout->str_ascii;
    else if (state & layout->str_is_compact) data = address + layout->str_compact;
    else data = pyprof__read_pointer(mirror, address + layout->str_compact);
    while (done < length && done < PYPROF__MAX_CHARS) {
        uint64_t chars = length - done < sizeof raw / kind ? length - done : sizeof raw / kind;
        if (chars > PYPROF__MAX_CHARS - done) chars = PYPROF__MAX_CHARS - done;
        if (!pyprof__read(mirror, raw, data + done * kind, (size_t)chars * kind)) return -1;
        for (i = 0; i < chars; i++) {
            uint32_t c = raw[i];
            uint16_t half;
            if (kind == 2) { memcpy(&half, raw + i * 2, 2); c = half; }
            if (kind == 4) memcpy(&c, raw + i * 4, 4);
            size += pyprof__utf8(out + size, c ? c : 0xfffd);
        }
        done += chars;
    }
    if (done < length) { memcpy(out + size, "...", 3); size += 3; }
    out[size] = 0;
    return (ssize_t)size;
}

// ---- the cache ----------------------------------------------------------------
typedef struct {               // what makes a code object the same one: all of it is read again for every sample
    uint64_t address, filename, name, qualname, linetable;
    uint64_t print;            // of what these hold: without a version of its own (3.8 to 3.11), all addresses can come again
    int32_t first_line;
    uint32_t units, version, padding;
} pyprof__code_key;

// Functions that mean more than others: importlib's, whose first local variable names the module; finalizers.
typedef enum { PYPROF__ROLE_NONE, PYPROF__ROLE_IMPORT, PYPROF__ROLE_FINALIZER } pyprof__role;

typedef struct {
    pyprof__code_key key;
    uint32_t name, qualname, file;     // strings
    uint32_t table, table_size;        // its line table, in tables
    int32_t kind;                      // pyprof_kind
    int32_t role;                      // pyprof__role
} pyprof__code;

typedef struct {               // where in which code
    uint32_t code;
    int32_t instruction;
    pyprof__place place;
    uint32_t callee;           // 0 = not looked up yet, 1 = it is no call, else 2 + the string: what it calls
    uint32_t opcode;           // 0 = not looked up yet, else 1 + the string: its opcode's name
    uint64_t names;            // what the code's names were then
} pyprof__spot;
typedef struct { uint64_t address, stamp; uint32_t code; } pyprof__memo;                    // what was at an address lately

// Spots that are no place in Python code
enum { PYPROF__SPOT_NATIVE, PYPROF__SPOT_TRUNCATED, PYPROF__SPOT_LOST, PYPROF__SPOT_GC, PYPROF__SPOTS_PSEUDO };
static const char *const pyprof__pseudo_names[] = { "<native>", "<truncated>", "<lost>", "<GC>" };

typedef struct {
    pyprof__pool *pool;
    const pyprof__layout *layout;
    pyprof__strings strings;
    pyprof__array codes, tables, spots;
    pyprof__index code_index, spot_index;
    pyprof__index import_index;            // <import NAME>: codes, by name
    uint32_t imports;                      // so many of them
    uint64_t importers[4];                 // addresses of importlib's function: each interpreter may have its own
    uint32_t importer;                     // the one to replace next
    pyprof__memo *memo;        // PYPROF__MEMOS of them
    uint64_t stamp;            // of an interpreter: changes when one of its code objects dies (3.14 and later); 0 = unknown
    uint64_t code_type;        // PyCode_Type, learnt from the first code object seen
    uint32_t generation;       // changes when the cache is emptied: spot numbers start afresh
    uint32_t decoded;          // code objects read since the window opened
    int asyncio;               // a function of asyncio's was seen
    uint64_t str_type, int_type, await_types[6];   // as code_type
    pyprof__index task_index;  // spots of tasks by their names
    uint32_t tasks;            // so many
    char *text;                // room for one decoded string
    pyprof__opcodes *opcodes;
} pyprof__codes;

enum { PYPROF__TEXT_SIZE = PYPROF__MAX_CHARS * 4 + 8, PYPROF__MAX_DECODED = 64, PYPROF__MAX_CODES = 100000, PYPROF__MEMOS = 1024,
      PYPROF__MAX_IMPORTS = 4096 };

static int pyprof__codes_fill(pyprof__codes *codes)   // the pseudo spots; 0 = no memory
{
    size_t i;
    if (!pyprof__strings_init(codes->pool, &codes->strings)) return 0;
    for (i = 0; i < PYPROF__SPOTS_PSEUDO; i++) {
        pyprof__code *code = (pyprof__code *)pyprof__push(codes->pool, &codes->codes);
        pyprof__spot *spot = (pyprof__spot *)pyprof__push(codes->pool, &codes->spots);
        if (!code || !spot) return 0;
        code->name = code->qualname = pyprof__intern(codes->pool, &codes->strings, pyprof__pseudo_names[i], strlen(pyprof__pseudo_names[i]));
        code->kind = PYPROF_KIND_PSEUDO;
        spot->code = (uint32_t)i;
        spot->place.column = spot->place.end_column = -1;
    }
    return 1;
}

static int pyprof__codes_init(pyprof__codes *codes, pyprof__pool *pool, const pyprof__layout *layout)
{
    memset(codes, 0, sizeof *codes);
    codes->pool = pool;
    codes->layout = layout;
    pyprof__array_init(&codes->codes, sizeof(pyprof__code));
    pyprof__array_init(&codes->tables, 1);
    pyprof__array_init(&codes->spots, sizeof(pyprof__spot));
    codes->text = (char *)pyprof__alloc(pool, PYPROF__TEXT_SIZE);
    codes->memo = (pyprof__memo *)pyprof__alloc(pool, PYPROF__MEMOS * sizeof *codes->memo);
    codes->opcodes = (pyprof__opcodes *)pyprof__alloc(pool, sizeof *codes->opcodes);
    if (!codes->text || !codes->memo || !codes->opcodes) return 0;
    pyprof__opcodes_make(codes->opcodes, layout->opcodes);
    return pyprof__codes_fill(codes);
}

static void pyprof__codes_distrust(pyprof__codes *codes)   // every code object is looked at again
{
    if (codes->memo) memset(codes->memo, 0, PYPROF__MEMOS * sizeof *codes->memo);
}

static void pyprof__codes_clear(pyprof__codes *codes)
{
    pyprof__strings_free(codes->pool, &codes->strings);
    codes->codes.count = codes->tables.count = codes->spots.count = 0;
    pyprof__index_free(codes->pool, &codes->code_index);
    pyprof__index_free(codes->pool, &codes->spot_index);
    pyprof__index_free(codes->pool, &codes->import_index);
    codes->imports = 0;
    pyprof__index_free(codes->pool, &codes->task_index);
    codes->tasks = 0;
    pyprof__codes_distrust(codes);
}

static void pyprof__codes_free(pyprof__codes *codes)
{
    pyprof__codes_clear(codes);
    pyprof__array_free(codes->pool, &codes->codes);
    pyprof__array_free(codes->pool, &codes->tables);
    pyprof__array_free(codes->pool, &codes->spots);
    pyprof__free(codes->pool, codes->text, codes->text ? PYPROF__TEXT_SIZE : 0);
    pyprof__free(codes->pool, codes->memo, codes->memo ? PYPROF__MEMOS * sizeof *codes->memo : 0);
    pyprof__free(codes->pool, codes->opcodes, codes->opcodes ? sizeof *codes->opcodes : 0);
}

static int pyprof__codes_renew(pyprof__codes *codes)   // empties it when it has grown large; between sweeps only
{
    if (codes->codes.count < PYPROF__MAX_CODES && codes->pool->used < codes->pool->limit / 2) return 1;
    pyprof__codes_clear(codes);
    codes->generation++;
    return pyprof__codes_fill(codes);
}

static uint64_t pyprof__hash_bytes(const void *data, size_t size)   // size is a multiple of 8
{
    uint64_t hash = size, word;
    size_t i;
    for (i = 0; i < size; i += 8) {
        memcpy(&word, (const char *)data + i, 8);
        hash = pyprof__mix(hash, word);
    }
    return hash;
}

static int pyprof__same_code(const void *context, uint32_t item, const void *key)
{
    return memcmp(&PYPROF__AT(pyprof__code, *(const pyprof__array *)context, item).key, key, sizeof(pyprof__code_key)) == 0;
}

static int pyprof__is_type(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t type, const char *name, uint64_t *known)
{
    char text[32];
    uint64_t at;
    size_t size = strlen(name) + 1;
    if (*known) return type == *known;
    at = pyprof__read_pointer(mirror, type + codes->layout->type_name);
    if (!at || !pyprof__read(mirror, text, at, size) || memcmp(text, name, size) != 0) return 0;
    __atomic_store_n(known, type, __ATOMIC_RELAXED);   // HEAP reads them without its lock
    return 1;
}

static int pyprof__is_code(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t type)
{
    return pyprof__is_type(codes, mirror, type, "code", &codes->code_type);
}

#define PYPROF__FIELD_AT(to, buffer, offset) memcpy(&(to), (buffer) + (offset), sizeof(to))

// Of a str that is hashed (all names are): its hash. Else of its first characters, as for bytes.
static uint64_t pyprof__print_of(pyprof__mirror *mirror, uint64_t print, uint64_t object, uint32_t size_at, uint32_t hash_at, uint32_t data_at)
{
    uint64_t words[16], size = 0, hash = ~(uint64_t)0;
    size_t i, n;
    memset(words, 0, sizeof words);
    pyprof__read(mirror, &size, object + size_at, sizeof size);
    if (hash_at) pyprof__read(mirror, &hash, object + hash_at, sizeof hash);
    print = pyprof__mix(pyprof__mix(print, size), hash);
    if (hash != ~(uint64_t)0) return print;
    n = size < sizeof words ? (size_t)size : sizeof words;
    pyprof__read(mirror, words, object + data_at, n);
    for (i = 0; i * 8 < n; i++) print = pyprof__mix(print, words[i]);
    return print;
}

static uint64_t pyprof__code_print(pyprof__codes *codes, pyprof__mirror *mirror, const pyprof__code_key *key)
{
    const pyprof__layout *layout = codes->layout;
    uint32_t hash_at = layout->str_length + 8;   // PyASCIIObject: length, hash, state
    uint64_t print = pyprof__print_of(mirror, 1, key->name, layout->str_length, hash_at, layout->str_ascii);
    if (key->qualname) print = pyprof__print_of(mirror, print, key->qualname, layout->str_length, hash_at, layout->str_ascii);
    print = pyprof__print_of(mirror, print, key->filename, layout->str_length, hash_at, layout->str_ascii);
    return pyprof__print_of(mirror, print, key->linetable, layout->bytes_size, 0, layout->bytes_data);
}

// Reads the identity of the code object at address. 0 = read, else a pyprof_cause + 1.
static int pyprof__code_key_read(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t address, pyprof__code_key *key)
{
    const pyprof__layout *layout = codes->layout;
    char raw[256];
    uint64_t type, refs;
    memset(key, 0, sizeof *key);
    if (address % 8) return PYPROF_CAUSE_CODE + 1;
    if (!pyprof__read(mirror, raw, address, layout->code_linetable + 8)) return PYPROF_CAUSE_UNREADABLE + 1;
    PYPROF__FIELD_AT(type, raw, layout->object_type);
    if (!pyprof__is_code(codes, mirror, type)) return PYPROF_CAUSE_CODE + 1;
    PYPROF__FIELD_AT(refs, raw, 0);
    if (layout->object_type == 8 && ((uint32_t)refs == 0 || (refs >> 32 & 0xffff))) return PYPROF_CAUSE_CODE + 1;   // dead, or free: a link
    key->address = address;
    PYPROF__FIELD_AT(key->filename, raw, layout->code_filename);
    PYPROF__FIELD_AT(key->name, raw, layout->code_name);
    PYPROF__FIELD_AT(key->linetable, raw, layout->code_linetable);
    PYPROF__FIELD_AT(key->first_line, raw, layout->code_firstline);
    if (layout->code_qualname != PYPROF__NO) PYPROF__FIELD_AT(key->qualname, raw, layout->code_qualname);
    if (layout->code_units != PYPROF__NO) PYPROF__FIELD_AT(key->units, raw, layout->code_units);
    if (layout->code_version != PYPROF__NO) PYPROF__FIELD_AT(key->version, raw, layout->code_version);
    if (!key->version) key->print = pyprof__code_print(codes, mirror, key);
    return 0;
}

static uint32_t pyprof__code_string(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t address)
{
    ssize_t size = pyprof__read_str(mirror, codes->layout, address, codes->text);
    return size < 0 ? PYPROF__NONE : pyprof__intern(codes->pool, &codes->strings, codes->text, (size_t)size);
}

static int pyprof__code_table(pyprof__codes *codes, pyprof__mirror *mirror, pyprof__code *code)
{
    uint64_t size = 0, at = code->key.linetable;
    if (!pyprof__read(mirror, &size, at + codes->layout->bytes_size, sizeof size) || size > PYPROF__MAX_TABLE) return 0;
    if (!pyprof__array_reserve(codes->pool, &codes->tables, (size_t)size + 1)) return 0;
    code->table = (uint32_t)codes->tables.count;
    code->table_size = (uint32_t)size;
    if (size > 0 && !pyprof__read_long(mirror, (char *)codes->tables.data + code->table, at + codes->layout->bytes_data, (size_t)size)) return 0;
    codes->tables.count += (size_t)size;
    return 1;
}

// _find_and_load(name, import_) is the function that every import that has to load something goes through, in all versions
// (Lib/importlib/_bootstrap.py).
static int32_t pyprof__code_role(const pyprof__codes *codes, const pyprof__code *code)
{
    const char *name = pyprof__string(&codes->strings, code->name);
    if (strcmp(name, "__del__") == 0) return PYPROF__ROLE_FINALIZER;
    if (strcmp(name, "_find_and_load") != 0 || strcmp(pyprof__string(&codes->strings, code->qualname), name) != 0) return PYPROF__ROLE_NONE;
    return strcmp(pyprof__string(&codes->strings, code->file), "<frozen importlib._bootstrap>") == 0 ? PYPROF__ROLE_IMPORT : PYPROF__ROLE_NONE;
}

// Decodes a code object never seen before. 0 = done, else a pyprof_cause + 1.
static int pyprof__code_decode(pyprof__codes *codes, pyprof__mirror *mirror, const pyprof__code_key *key, uint32_t *id)
{
    pyprof__code code;
    pyprof__code *added;
    memset(&code, 0, sizeof code);
    code.key = *key;
    code.file = pyprof__code_string(codes, mirror, key->filename);
    code.name = pyprof__code_string(codes, mirror, key->name);
    code.qualname = key->qualname ? pyprof__code_string(codes, mirror, key->qualname) : code.name;
    if (code.file == PYPROF__NONE || code.name == PYPROF__NONE || code.qualname == PYPROF__NONE) return PYPROF_CAUSE_NAME + 1;
    if (!pyprof__code_table(codes, mirror, &code)) return PYPROF_CAUSE_NAME + 1;
    code.role = pyprof__code_role(codes, &code);
    if (code.role == PYPROF__ROLE_IMPORT) codes->importers[codes->importer++ % PYPROF__COUNT(codes->importers)] = key->address;
    added = (pyprof__code *)pyprof__push(codes->pool, &codes->codes);
    if (!added) return PYPROF_CAUSE_MEMORY + 1;
    *added = code;
    *id = (uint32_t)codes->codes.count - 1;
    if (!pyprof__index_add(codes->pool, &codes->code_index, pyprof__hash_bytes(key, sizeof *key), *id)) return PYPROF_CAUSE_MEMORY + 1;
    codes->decoded++;
    if (!codes->asyncio && strstr(pyprof__string(&codes->strings, code.file), "/asyncio/"))
        codes->asyncio = strcmp(pyprof__string(&codes->strings, code.qualname), "<module>") != 0;
    return 0;
}

// The number of the code object at address. Its identity is read again each time, unless the interpreter says that none
// has died since. 0 = found, else a pyprof_cause + 1.
static int pyprof__code_find(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t address, uint32_t *id)
{
    pyprof__memo *memo = &codes->memo[(address >> 4 ^ address >> 14) & (PYPROF__MEMOS - 1)];
    int known = memo->address == address, cause;
    pyprof__code_key key;
    *id = memo->code;
    if (known && codes->stamp && memo->stamp == codes->stamp) return 0;
    cause = pyprof__code_key_read(codes, mirror, address, &key);
    if (cause) return cause;
    if (!known || memcmp(&PYPROF__AT(pyprof__code, codes->codes, *id).key, &key, sizeof key) != 0) {
        *id = pyprof__index_find(&codes->code_index, pyprof__hash_bytes(&key, sizeof key), pyprof__same_code, &codes->codes, &key);
        if (*id == PYPROF__NONE) cause = pyprof__code_decode(codes, mirror, &key, id);
        if (cause) return cause;
    }
    memo->address = address;
    memo->stamp = codes->stamp;
    memo->code = *id;
    return 0;
}

static int pyprof__same_spot(const void *context, uint32_t item, const void *key)
{
    const pyprof__spot *spot = &PYPROF__AT(pyprof__spot, *(const pyprof__array *)context, item);
    const pyprof__spot *want = (const pyprof__spot *)key;
    return spot->code == want->code && spot->instruction == want->instruction;
}

// The number of (code, instruction), its line decoded the first time. PYPROF__NONE = no memory.
static uint32_t pyprof__spot_find(pyprof__codes *codes, uint32_t code_id, int64_t instruction)
{
    const pyprof__code *code = &PYPROF__AT(pyprof__code, codes->codes, code_id);
    pyprof__spot want;
    pyprof__spot *added;
    uint64_t hash;
    uint32_t id;
    if (instruction < -1 || instruction > INT32_MAX) instruction = INT32_MAX;   // no such place: the line stays unknown
    if (code->key.units && instruction >= (int64_t)code->key.units) instruction = INT32_MAX;
    memset(&want, 0, sizeof want);
    want.code = code_id;
    want.instruction = (int32_t)instruction;
    hash = pyprof__mix(pyprof__mix(1, code_id), (uint32_t)want.instruction);
    id = pyprof__index_find(&codes->spot_index, hash, pyprof__same_spot, &codes->spots, &want);
    if (id != PYPROF__NONE) return id;
    pyprof__locate((int)codes->layout->lines_form, (const unsigned char *)codes->tables.data + code->table, code->table_size,
                   code->key.first_line, instruction < 0 ? 0 : instruction, &want.place);
    if (want.place.line <= 0) want.place.line = want.place.end_line = instruction == INT32_MAX ? 0 : code->key.first_line;
    added = (pyprof__spot *)pyprof__push(codes->pool, &codes->spots);
    if (!added || !pyprof__index_add(codes->pool, &codes->spot_index, hash, (uint32_t)codes->spots.count - 1)) return PYPROF__NONE;
    *added = want;
    return (uint32_t)codes->spots.count - 1;
}

// ---- <import NAME> ------------------------------------------------------------
static int pyprof__is_importer(const pyprof__codes *codes, uint64_t address)
{
    size_t i;
    for (i = 0; i < PYPROF__COUNT(codes->importers); i++)
        if (codes->importers[i] == address) return 1;
    return 0;
}

static int pyprof__is_str(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t object)
{
    uint64_t type = object % 8 ? 0 : pyprof__read_pointer(mirror, object + codes->layout->object_type);
    return type && pyprof__is_type(codes, mirror, type, "str", &codes->str_type);
}

static int pyprof__same_import(const void *context, uint32_t item, const void *key)
{
    const pyprof__codes *codes = (const pyprof__codes *)context;
    return strcmp(pyprof__string(&codes->strings, PYPROF__AT(const pyprof__code, codes->codes, item).name), (const char *)key) == 0;
}

// The number of the code that stands for the import of the module that a str names: one for each name, up to a limit; what
// is no name, and those beyond the limit, share one. PYPROF__NONE = no memory.
static uint32_t pyprof__import_find(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t object)
{
    static const char nameless[] = "<import>";
    char name[256], text[300];
    uint64_t hash;
    uint32_t id;
    pyprof__code *added;
    memcpy(text, nameless, sizeof nameless);
    if (pyprof__is_str(codes, mirror, object) && pyprof__read_str(mirror, codes->layout, object, codes->text) > 0) {
        pyprof__utf8_repair(name, sizeof name, codes->text);
        snprintf(text, sizeof text, "<import %s>", name);
    }
    for (;; memcpy(text, nameless, sizeof nameless)) {
        hash = pyprof__hash_text(text, strlen(text));
        id = pyprof__index_find(&codes->import_index, hash, pyprof__same_import, codes, text);
        if (id != PYPROF__NONE) return id;
        if (codes->imports < PYPROF__MAX_IMPORTS || strcmp(text, nameless) == 0) break;
    }
    added = (pyprof__code *)pyprof__push(codes->pool, &codes->codes);
    if (!added) return PYPROF__NONE;
    id = (uint32_t)codes->codes.count - 1;
    added->name = added->qualname = pyprof__intern(codes->pool, &codes->strings, text, strlen(text));
    added->kind = PYPROF_KIND_PSEUDO;
    codes->imports++;
    return added->name != PYPROF__NONE && pyprof__index_add(codes->pool, &codes->import_index, hash, id) ? id : PYPROF__NONE;
}

// ---- frames that are no Python code ----------------------------------------------------
// The spot of a name: a C function, what a thread waits for. target: a path (in the code's file) or an address (in its qualname),
// kept apart from the name because some sessions do not want it. PYPROF__NONE = no memory, or not known and not to be added.
static uint32_t pyprof__spot_known(pyprof__codes *codes, pyprof_kind kind, const char *name, const char *target, int is_path, int add)
{
    pyprof__code code;
    pyprof__code *added;
    uint64_t hash;
    uint32_t id, from = (uint32_t)codes->codes.count;
    memset(&code, 0, sizeof code);
    code.kind = (int32_t)kind;
    code.key.address = 1;   // no code object: they are aligned
    code.key.name = pyprof__hash_text(name, strlen(name));
    code.key.filename = pyprof__hash_text(target, strlen(target));
    code.key.units = (uint32_t)kind * 2 + (is_path != 0);
    hash = pyprof__hash_bytes(&code.key, sizeof code.key);
    id = pyprof__index_find(&codes->code_index, hash, pyprof__same_code, &codes->codes, &code.key);
    if (id != PYPROF__NONE || !add) return id == PYPROF__NONE ? PYPROF__NONE : pyprof__spot_find(codes, id, 0);
    code.name = pyprof__intern(codes->pool, &codes->strings, name, strlen(name));
    code.qualname = is_path || kind != PYPROF_KIND_WAIT ? code.name : pyprof__intern(codes->pool, &codes->strings, target, strlen(target));
    code.file = pyprof__intern(codes->pool, &codes->strings, is_path ? target : "", is_path ? strlen(target) : 0);
    if (code.name == PYPROF__NONE || code.qualname == PYPROF__NONE || code.file == PYPROF__NONE) return PYPROF__NONE;
    added = (pyprof__code *)pyprof__push(codes->pool, &codes->codes);
    if (!added) return PYPROF__NONE;
    *added = code;
    if (!pyprof__index_add(codes->pool, &codes->code_index, hash, from)) return PYPROF__NONE;
    return pyprof__spot_find(codes, from, 0);
}

static uint32_t pyprof__spot_named(pyprof__codes *codes, pyprof_kind kind, const char *name, const char *target, int is_path)
{
    return pyprof__spot_known(codes, kind, name, target, is_path, 1);
}

// ---- instructions: what a spot's opcode is, and what it calls ----------------------------------------------------------
// Read from the live bytecode, once a spot. The code object may be dead or another one by now: all reads are guarded, its
// identity is read again behind them, and whatever does not fit is no call. The opcodes are those of the code object's own
// bytecode; a thread's copy of it (3.14 and later, free-threaded) may be specialised otherwise, but is the same program.
enum { PYPROF__UNITS = 512, PYPROF__LINKS = 16, PYPROF__CALLEE_SIZE = 256 };

typedef struct { pyprof__place place; uint32_t argument, unit; unsigned char opcode, act; } pyprof__step;   // an instruction

typedef struct {               // the instructions up to one of a code object's, the last of them; unit: 2 bytes
    pyprof__codes *codes;
    pyprof__mirror *mirror;
    const pyprof__code *code;
    int64_t from, last;        // units in bytes
    int count, first;          // steps; those before the first one are in doubt
    unsigned char bytes[PYPROF__UNITS * 2];
    pyprof__step steps[PYPROF__UNITS];
} pyprof__window;

static int pyprof__window_read(pyprof__window *window, pyprof__codes *codes, pyprof__mirror *mirror, const pyprof__spot *spot)   // 1 = done
{
    const pyprof__layout *layout = codes->layout;
    uint64_t at, size = 0;
    window->codes = codes;
    window->mirror = mirror;
    window->code = &PYPROF__AT(const pyprof__code, codes->codes, spot->code);
    window->count = window->first = 0;
    window->last = spot->instruction;
    window->from = spot->instruction < PYPROF__UNITS ? 0 : spot->instruction - PYPROF__UNITS + 1;
    if (spot->instruction < 0 || spot->instruction == INT32_MAX) return 0;
    if (layout->code_string == PYPROF__NO) at = window->code->key.address + layout->code_bytes;
    else {
        at = pyprof__read_pointer(mirror, window->code->key.address + layout->code_string);
        if (!at || !pyprof__read(mirror, &size, at + layout->bytes_size, sizeof size)) return 0;
        if (size > PYPROF__MAX_TABLE || (uint64_t)window->last >= size / 2) return 0;
        at += layout->bytes_data;
    }
    return pyprof__read_long(mirror, window->bytes, at + (uint64_t)window->from * 2, (size_t)(window->last - window->from + 1) * 2);
}

// Is the code object still the one that the cache knows? Asked after the reads that have to be its own.
static int pyprof__window_holds(const pyprof__window *window)
{
    const pyprof__layout *layout = window->codes->layout;
    const pyprof__code_key *key = &window->code->key;
    uint64_t filename, name, linetable;
    int32_t first_line;
    char raw[256];
    if (!pyprof__read_long(window->mirror, raw, key->address, layout->code_linetable + 8)) return 0;
    PYPROF__FIELD_AT(filename, raw, layout->code_filename);
    PYPROF__FIELD_AT(name, raw, layout->code_name);
    PYPROF__FIELD_AT(linetable, raw, layout->code_linetable);
    PYPROF__FIELD_AT(first_line, raw, layout->code_firstline);
    return filename == key->filename && name == key->name && linetable == key->linetable && first_line == key->first_line;
}

// The instructions of units begin to end (without it), which stand at one place. begin is where one begins.
static void pyprof__window_add(pyprof__window *window, int64_t begin, int64_t end, const pyprof__place *place)
{
    const pyprof__opcodes *opcodes = window->codes->opcodes;
    uint32_t extended = 0;
    int64_t unit;
    if (end > window->last + 1) end = window->last + 1;
    for (unit = begin; unit >= window->from && unit < end && window->count < PYPROF__UNITS; unit++) {
        const unsigned char *byte = window->bytes + (unit - window->from) * 2;
        pyprof__step *step = &window->steps[window->count];
        extended = extended << 8 | byte[1];
        if (opcodes->at[*byte].act == PYPROF__OP_EXTENDED) continue;
        step->place = *place;
        step->argument = extended;
        step->unit = (uint32_t)unit;
        step->opcode = *byte;
        step->act = (unsigned char)pyprof__opcode_act(opcodes, *byte, extended);
        window->count++;
        unit += opcodes->at[*byte].caches;
        extended = 0;
        if (opcodes->minor >= 11 && !pyprof__opcode_is_plain(opcodes, *byte)) return;   // how long it is, is not known
    }
}

static int pyprof__same_place(const pyprof__place *a, const pyprof__place *b) { return memcmp(a, b, sizeof *a) == 0; }

// 3.11 and later: the location table tells where instructions begin, and the place of each.
static void pyprof__window_locate(pyprof__window *window)
{
    pyprof__reader reader;
    pyprof__place place = { 0, 0, -1, -1 }, next = { 0, 0, -1, -1 };
    int64_t line = window->code->key.first_line, begin = 0, at = 0;
    reader.at = (const unsigned char *)window->codes->tables.data + window->code->table;
    reader.end = reader.at + window->code->table_size;
    reader.bad = 0;
    while (reader.at < reader.end && at <= window->last) {
        unsigned head = pyprof__reader_byte(&reader);
        pyprof__location_entry(&reader, head >> 3 & 15u, &line, &next);
        if (reader.bad || !(head & 128u)) return;
        if (!pyprof__same_place(&place, &next)) {   // one instruction can have two entries
            pyprof__window_add(window, begin, at, &place);
            begin = at;
            place = next;
        }
        at += (head & 7u) + 1;
    }
    pyprof__window_add(window, begin, at, &place);
}

// Decodes the instructions. 1 = the last one is the spot's, or the spot is in its caches
static int pyprof__window_decode(pyprof__window *window)
{
    static const pyprof__place nowhere = { 0, 0, -1, -1 };
    const pyprof__step *last;
    if (window->codes->layout->lines_form == PYPROF__LINES_LOCATIONS) pyprof__window_locate(window);
    else pyprof__window_add(window, window->from, window->last + 1, &nowhere);
    window->first = window->from > 0;   // it may have lost the upper half of its argument
    if (window->count <= window->first) return 0;
    last = &window->steps[window->count - 1];
    return window->last - last->unit <= window->codes->opcodes->at[last->opcode].caches;
}

static int64_t pyprof__step_target(const pyprof__window *window, const pyprof__step *step)   // the unit it may jump to; -1 = none
{
    const pyprof__opcodes *opcodes = window->codes->opcodes;
    int64_t by = opcodes->minor < 10 ? step->argument / 2 : step->argument;   // bytes, later units
    if (step->act == PYPROF__OP_JUMP_TO) return by;
    return step->act == PYPROF__OP_JUMP ? (int64_t)step->unit + 1 + opcodes->at[step->opcode].caches + by : -1;
}

// Does a jump from before the step `before` land behind it, at step i at most? Then what lies on the stack there can come
// from elsewhere: (a or b).sort()
static int pyprof__window_lands(const pyprof__window *window, int before, int i)
{
    int64_t target;
    int k;
    for (k = window->first; k < before; k++) {
        target = pyprof__step_target(window, &window->steps[k]);
        if (target > window->steps[before].unit && target <= window->steps[i].unit) return 1;
    }
    return 0;
}

// ---- which instruction made the deepest value that another one takes: a call's function, an attribute's object; -1 = not known
static int pyprof__maker_by_stack(const pyprof__window *window, int i)   // until 3.10
{
    const pyprof__opcode *at = window->codes->opcodes->at;
    int want = pyprof__opcode_pops(&at[window->steps[i].opcode], window->steps[i].argument) - 1, k, pops;
    for (k = i - 1; want >= 0 && k >= window->first; k--) {
        const pyprof__step *step = &window->steps[k];
        pops = pyprof__opcode_pops(&at[step->opcode], step->argument);
        if (pops < 0) return -1;
        if (want < at[step->opcode].pushes) return pyprof__window_lands(window, k, i) ? -1 : k;
        want += pops - at[step->opcode].pushes;
    }
    return -1;
}

static int pyprof__same_start(const pyprof__place *a, const pyprof__place *b)
{
    return a->line == b->line && a->column == b->column && a->line > 0 && a->column >= 0;
}

static int pyprof__is_constant(const pyprof__step *step) { return step->act == PYPROF__OP_CONST || step->act == PYPROF__OP_COMMON; }

static int pyprof__ends_within(const pyprof__place *inner, const pyprof__place *outer)   // and before it does
{
    return inner->end_line < outer->end_line || (inner->end_line == outer->end_line && inner->end_column < outer->end_column);
}

// k stands where call i starts. An attribute on another line starts at its own name (Python/compile.c,
// update_start_location_to_match_attr), and so does the call of it.
static int pyprof__maker_beyond(const pyprof__window *window, int k, int i)
{
    int m, found = window->steps[k].act != PYPROF__OP_PAIR, moved = 0;   // of a pair it takes the second one
    while (found) {
        found = 0;
        if (k + 1 < i && window->steps[k + 1].act == PYPROF__OP_ATTR) { k++; moved = found = 1; continue; }
        for (m = k + 1; moved && m < i && !found; m++) {
            if (window->steps[m].act != PYPROF__OP_CALL || !pyprof__same_start(&window->steps[m].place, &window->steps[k].place)) continue;
            k = m;
            found = 1;
        }
    }
    return k;
}

// 3.11 and later: it starts where the call starts and ends before the call does. Only of a decorator, and of what `with`
// calls, the place is that of the callee.
static int pyprof__maker_by_place(const pyprof__window *window, int i)
{
    const pyprof__place *call = &window->steps[i].place;
    int k, makes = 0;
    for (k = i - 1; k >= window->first; k--) {
        const pyprof__step *step = &window->steps[k];
        int same = pyprof__same_place(&step->place, call);
        makes |= step->act == PYPROF__OP_MAKE;
        if (same && step->act == PYPROF__OP_MAKE) return -1;   // a comprehension, a class
        if (same && step->act == PYPROF__OP_COMMON && step->argument < PYPROF__COMMON_CALLABLE) return k;   // assert
        if (!pyprof__same_start(&step->place, call) || step->act == PYPROF__OP_SKIP || pyprof__is_constant(step)) continue;   // names of arguments
        if (pyprof__ends_within(&step->place, call)) return pyprof__maker_beyond(window, k, i);
        if (!same || (!makes && step->act != PYPROF__OP_SPECIAL)) continue;   // the same call, compiled twice
        if ((step->act >= PYPROF__OP_NAME && step->act <= PYPROF__OP_ITEM) || step->act == PYPROF__OP_CALL) return k;
    }
    return -1;
}

static int pyprof__maker(const pyprof__window *window, int i)
{
    if (window->codes->layout->lines_form != PYPROF__LINES_LOCATIONS) return pyprof__maker_by_stack(window, i);
    if (window->steps[i].act != PYPROF__OP_ATTR) return pyprof__maker_by_place(window, i);
    return i > window->first && !pyprof__window_lands(window, i - 1, i) ? i - 1 : -1;   // it takes what was pushed last
}

// __exit__(None, None, None), called by the end of a with statement: all of it has the place of what stands after `with`.
// *maker = the instruction that made that, -1 = not known
static int pyprof__is_exit(const pyprof__window *window, int i, int *maker)
{
    const pyprof__step *steps = window->steps;
    int k;
    if (window->codes->layout->lines_form != PYPROF__LINES_LOCATIONS) return 0;
    for (k = i - 3; k < i; k++)
        if (k < window->first || !pyprof__is_constant(&steps[k]) || !pyprof__same_place(&steps[k].place, &steps[i].place)) return 0;
    for (k = i - 4; k >= window->first; k--)
        if ((steps[k].act == PYPROF__OP_WITH || steps[k].act == PYPROF__OP_SPECIAL) && pyprof__same_place(&steps[k].place, &steps[i].place)) break;
    *maker = k - 1 >= window->first ? k - 1 : -1;
    return 1;
}

// ---- their names ---------------------------------------------------------------------------------------------------------
static uint64_t pyprof__tuple_item(const pyprof__window *window, uint32_t tuple_at, uint32_t i, uint64_t *size)   // 0 = none
{
    const pyprof__layout *layout = window->codes->layout;
    uint64_t tuple = tuple_at == PYPROF__NO ? 0 : pyprof__read_pointer(window->mirror, window->code->key.address + tuple_at);
    *size = 0;
    if (!tuple || tuple % 8 || !pyprof__read(window->mirror, size, tuple + layout->bytes_size, 8) || *size > PYPROF__MAX_TABLE) return 0;
    return i < *size ? pyprof__read_pointer(window->mirror, tuple + layout->tuple_items + (uint64_t)i * 8) : 0;
}

static uint64_t pyprof__step_name(const pyprof__window *window, const pyprof__step *step, int first)   // the str, 0 = none
{
    const pyprof__layout *layout = window->codes->layout;
    uint32_t i = step->argument;
    uint64_t size, found;
    switch (step->act) {
    case PYPROF__OP_PAIR: return pyprof__tuple_item(window, layout->code_locals, first ? i >> 4 : i & 15u, &size);
    case PYPROF__OP_LOCAL: return pyprof__tuple_item(window, layout->code_locals, i, &size);
    case PYPROF__OP_CELL:
        if (layout->code_cells == PYPROF__NO) return pyprof__tuple_item(window, layout->code_locals, i, &size);
        found = pyprof__tuple_item(window, layout->code_cells, i, &size);
        return found || i < size ? found : pyprof__tuple_item(window, layout->code_free, i - (uint32_t)size, &size);
    default: return pyprof__tuple_item(window, layout->code_names, pyprof__opcode_name_index(window->codes->opcodes, step->opcode, i), &size);
    }
}

typedef struct {               // a name, written from its end to its begin
    char text[PYPROF__CALLEE_SIZE];
    size_t at;
    int first;                 // the instruction that comes next was found by its place: of two in one, it is the first
} pyprof__callee;

static int pyprof__callee_put(pyprof__callee *callee, const char *text)   // in front; 0 = it does not fit
{
    size_t size = strlen(text);
    if (size > callee->at) return 0;
    callee->at -= size;
    memcpy(callee->text + callee->at, text, size);
    return 1;
}

static int pyprof__callee_put_name(pyprof__callee *callee, const pyprof__window *window, const pyprof__step *step)
{
    char *text = window->codes->text;
    uint64_t name = pyprof__step_name(window, step, callee->first);
    return pyprof__read_str(window->mirror, window->codes->layout, name, text) > 0 && pyprof__callee_put(callee, text);
}

// ", ".join: the constant's type
static int pyprof__callee_put_type(pyprof__callee *callee, const pyprof__window *window, const pyprof__step *step)
{
    const pyprof__layout *layout = window->codes->layout;
    char name[16];
    uint64_t size, at, object = pyprof__tuple_item(window, layout->code_consts, step->argument, &size);
    memset(name, 0, sizeof name);
    if (!object) return 0;
    at = pyprof__read_pointer(window->mirror, pyprof__read_pointer(window->mirror, object + layout->object_type) + layout->type_name);
    return at && pyprof__read(window->mirror, name, at, sizeof name - 1) && pyprof__callee_put(callee, name);
}

// One link of the chain a.b().c, from its end on: the name, or what else the callee was made by. Returns the step to go on
// with, -1 = it is whole, -2 = the rest is not known.
static int pyprof__callee_link(pyprof__callee *callee, const pyprof__window *window, int i)
{
    const pyprof__step *step = &window->steps[i];
    int maker, named = callee->at < sizeof callee->text - 1;
    switch (step->act) {
    case PYPROF__OP_SKIP: return i - 1 >= window->first ? i - 1 : -2;
    case PYPROF__OP_NAME: case PYPROF__OP_LOCAL: case PYPROF__OP_PAIR: case PYPROF__OP_CELL:
        return pyprof__callee_put_name(callee, window, step) ? -1 : -2;
    case PYPROF__OP_CONST: return named && pyprof__callee_put_type(callee, window, step) ? -1 : -2;
    case PYPROF__OP_COMMON:
        if (step->argument >= PYPROF__COUNT(pyprof__common_names) || (!named && step->argument >= PYPROF__COMMON_CALLABLE)) return -2;
        return pyprof__callee_put(callee, pyprof__common_names[step->argument]) ? -1 : -2;
    case PYPROF__OP_SUPER: return pyprof__callee_put_name(callee, window, step) && pyprof__callee_put(callee, "super().") ? -1 : -2;
    case PYPROF__OP_SPECIAL:
        if (step->argument >= PYPROF__COUNT(pyprof__special_names)) return -2;
        if (!pyprof__callee_put(callee, pyprof__special_names[step->argument]) || !pyprof__callee_put(callee, ".")) return -2;
        for (i--; i >= window->first && (window->steps[i].act == PYPROF__OP_COPY || window->steps[i].act == PYPROF__OP_SPECIAL); i--) continue;
        return i >= window->first ? i : -2;
    case PYPROF__OP_ATTR:
        if (!pyprof__callee_put_name(callee, window, step) || !pyprof__callee_put(callee, ".")) return -2;
        break;
    case PYPROF__OP_CALL: case PYPROF__OP_ITEM:
        if (step->act == PYPROF__OP_ITEM && !named) return -2;
        if (!pyprof__callee_put(callee, step->act == PYPROF__OP_CALL ? "()" : "[]")) return -2;
        break;
    default: return -2;
    }
    maker = pyprof__maker(window, i);
    callee->first = step->act != PYPROF__OP_ATTR;
    return maker >= 0 ? maker : -2;
}

// The name of what the last step calls, as the source spells it, less arguments and keys: a.b().c; .c where only the end of
// it is known, "" where nothing is.
static const char *pyprof__window_callee(const pyprof__window *window, pyprof__callee *callee)
{
    int i = window->count - 1, left = PYPROF__LINKS, maker = -1;
    callee->at = sizeof callee->text - 1;
    callee->text[callee->at] = 0;
    callee->first = 1;
    if (i > window->first && window->steps[i - 1].act == PYPROF__OP_PRECALL) i--;   // 3.11: the first half of the call
    if (pyprof__is_exit(window, i, &maker)) {
        pyprof__callee_put(callee, ".__exit__");
        for (i = maker; i >= window->first && (window->steps[i].act == PYPROF__OP_COPY || window->steps[i].act == PYPROF__OP_SPECIAL); i--) continue;
    } else i = pyprof__maker(window, i);
    while (i >= 0 && left-- > 0) i = pyprof__callee_link(callee, window, i);
    return callee->text[callee->at] == '(' || callee->text[callee->at] == '[' ? "" : callee->text + callee->at;
}

// Until 3.11 a code object has no version of its own: one evaluated after the other, x.f() and x.g() are the same but for
// what co_names holds.
static uint64_t pyprof__names_print(pyprof__codes *codes, pyprof__mirror *mirror, const pyprof__code *code)
{
    const pyprof__layout *layout = codes->layout;
    uint64_t items[8], size = 0, tuple;
    size_t i, n;
    if (code->key.version) return 0;
    memset(items, 0, sizeof items);
    tuple = pyprof__read_pointer(mirror, code->key.address + layout->code_names);
    if (!tuple || !pyprof__read(mirror, &size, tuple + layout->bytes_size, sizeof size)) return 1;
    n = size < PYPROF__COUNT(items) ? (size_t)size : PYPROF__COUNT(items);
    if (n && !pyprof__read(mirror, items, tuple + layout->tuple_items, n * 8)) return 1;
    for (i = 0; i < n; i++) size = pyprof__mix(size, items[i]);
    return size;
}

// What does the instruction call? 0 = it is no call, else 1 + the string of the callee's name, "" where that cannot be told.
static uint32_t pyprof__spot_callee(pyprof__codes *codes, pyprof__mirror *mirror, uint32_t spot_id)
{
    pyprof__window window;
    pyprof__callee callee;
    pyprof__spot *spot = &PYPROF__AT(pyprof__spot, codes->spots, spot_id);
    const unsigned char *last;
    const char *name;
    uint64_t names;
    uint32_t string;
    if (PYPROF__AT(pyprof__code, codes->codes, spot->code).kind != PYPROF_KIND_PYTHON || spot->instruction < 0) return 0;
    if (spot->callee == 1) return 0;
    names = pyprof__names_print(codes, mirror, &PYPROF__AT(pyprof__code, codes->codes, spot->code));
    if (spot->callee && spot->names == names) return spot->callee - 1;
    spot->callee = 0;
    spot->names = names;
    if (!pyprof__window_read(&window, codes, mirror, spot)) return 0;
    last = window.bytes + (window.last - window.from) * 2;
    if (!pyprof__opcode_calls(codes->opcodes, *last)) {
        if (pyprof__opcode_is_plain(codes->opcodes, *last) && pyprof__window_holds(&window)) spot->callee = 1;
        return 0;
    }
    if (!pyprof__window_decode(&window)) return 0;
    name = window.steps[window.count - 1].unit == (uint32_t)window.last ? pyprof__window_callee(&window, &callee) : NULL;
    if (!pyprof__window_holds(&window)) return 0;
    string = name ? pyprof__intern(codes->pool, &codes->strings, name, strlen(name)) : PYPROF__NONE;
    if (name && string == PYPROF__NONE) return 0;
    spot->callee = name ? 2 + string : 1;
    return spot->callee - 1;
}

// The string of the name of the instruction's opcode, specialised or not as it was when it was first asked for; 0 = "", not known.
static uint32_t pyprof__spot_opcode(pyprof__codes *codes, pyprof__mirror *mirror, uint32_t spot_id)
{
    pyprof__window window;
    pyprof__spot *spot = &PYPROF__AT(pyprof__spot, codes->spots, spot_id);
    const pyprof__opcode *opcode;
    uint32_t string;
    int decoded;
    if (spot->opcode) return spot->opcode - 1;
    if (PYPROF__AT(pyprof__code, codes->codes, spot->code).kind != PYPROF_KIND_PYTHON) return 0;
    if (!pyprof__window_read(&window, codes, mirror, spot)) return 0;
    decoded = pyprof__window_decode(&window);
    if (!pyprof__window_holds(&window)) return 0;
    opcode = decoded ? &codes->opcodes->at[window.steps[window.count - 1].opcode] : NULL;
    string = opcode && opcode->name ? pyprof__intern(codes->pool, &codes->strings, opcode->name, opcode->size) : 0;
    if (string == PYPROF__NONE) return 0;
    spot->opcode = 1 + string;
    return string;
}

// ---- tasks of asyncio ---------------------------------------------------------
enum { PYPROF__MAX_TASKS = 1000, PYPROF__TASK_SIZE = 200 };

static int pyprof__same_task(const void *context, uint32_t item, const void *key)
{
    const pyprof__codes *codes = (const pyprof__codes *)context;
    const pyprof__spot *spot = &PYPROF__AT(const pyprof__spot, codes->spots, item);
    return strcmp(pyprof__string(&codes->strings, PYPROF__AT(const pyprof__code, codes->codes, spot->code).name), (const char *)key) == 0;
}

// The name of the task whose name object lies at address: a str, or a number as long as nobody asked for it (3.12 and later,
// Modules/_asynciomodule.c). asyncio numbers the tasks that nobody named: those are one. text holds PYPROF__TASK_SIZE bytes. 0 = none.
static int pyprof__task_name(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t address, char *text)
{
    static const char numbered[] = "Task-";
    uint64_t type = pyprof__read_pointer(mirror, address + codes->layout->object_type);
    size_t n = sizeof numbered - 1;
    pyprof__copy_text(text, PYPROF__TASK_SIZE, "Task-*");
    if (!address || !type) return 0;
    if (pyprof__is_type(codes, mirror, type, "int", &codes->int_type)) return 1;
    if (!pyprof__is_type(codes, mirror, type, "str", &codes->str_type)) return 0;
    if (pyprof__read_str(mirror, codes->layout, address, codes->text) < 0) return 0;
    if (strncmp(codes->text, numbered, n) == 0 && codes->text[n] && strspn(codes->text + n, "0123456789") == strlen(codes->text + n)) return 1;
    pyprof__utf8_repair(text, PYPROF__TASK_SIZE, codes->text[0] ? codes->text : "<unnamed task>");
    return 1;
}

// The spot that stands for a task of that name. PYPROF__NONE = no memory.
static uint32_t pyprof__task_spot(pyprof__codes *codes, const char *name)
{
    uint64_t hash = pyprof__hash_text(name, strlen(name));
    uint32_t id = pyprof__index_find(&codes->task_index, hash, pyprof__same_task, codes, name);
    pyprof__code *code;
    pyprof__spot *spot;
    if (id != PYPROF__NONE) return id;
    if (codes->tasks >= PYPROF__MAX_TASKS && strcmp(name, "<more tasks>") != 0) {
        name = "<more tasks>";
        hash = pyprof__hash_text(name, strlen(name));
        id = pyprof__index_find(&codes->task_index, hash, pyprof__same_task, codes, name);
        if (id != PYPROF__NONE) return id;
    }
    code = (pyprof__code *)pyprof__push(codes->pool, &codes->codes);
    spot = code ? (pyprof__spot *)pyprof__push(codes->pool, &codes->spots) : NULL;
    if (!spot) return PYPROF__NONE;
    code->name = code->qualname = pyprof__intern(codes->pool, &codes->strings, name, strlen(name));
    code->kind = PYPROF_KIND_TASK;
    spot->code = (uint32_t)codes->codes.count - 1;
    spot->instruction = -1;
    spot->place.column = spot->place.end_column = -1;
    id = (uint32_t)codes->spots.count - 1;
    if (code->name == PYPROF__NONE || !pyprof__index_add(codes->pool, &codes->task_index, hash, id)) return PYPROF__NONE;
    codes->tasks++;
    return id;
}

// ============================================================================
// [SECTION] FRAMES -- thread state -> frames
//   Runs on    the sampler thread, the GIL not held
//   Uses       CODE
//   Promise    a chain that does not end where it must is refused with the cause, never shortened in silence
// ============================================================================
typedef struct {
    pyprof__array spots;       // uint32_t, innermost first
    int truncated;
} pyprof__stack;

typedef struct {
    uint64_t code, instruction, previous;
    uint64_t local;            // the first local variable, where it lies within what is read anyhow (3.11 and later); else 0
    unsigned owner;
    int32_t tlbc;
    int entry;                 // of a C eval loop
} pyprof__raw_frame;

enum { PYPROF__OWNER_THREAD = 0, PYPROF__OWNER_GENERATOR = 1, PYPROF__OWNER_SHIM = 3, PYPROF__AGAIN = 100 };

static int pyprof__frame_read(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t at, pyprof__raw_frame *frame)
{
    char raw[512];
    int32_t lasti;
    if (!pyprof__read(mirror, raw, at, layout->frame_size)) return 0;
    memset(frame, 0, sizeof *frame);
    PYPROF__FIELD_AT(frame->previous, raw, layout->frame_previous);
    PYPROF__FIELD_AT(frame->code, raw, layout->frame_code);
    frame->code &= ~(uint64_t)3;   // 3.14 tags references in the low bits (Include/internal/pycore_stackref.h)
    if (layout->instr_form == PYPROF__INSTR_POINTER) PYPROF__FIELD_AT(frame->instruction, raw, layout->frame_instr);
    else {
        PYPROF__FIELD_AT(lasti, raw, layout->frame_instr);
        frame->instruction = (uint64_t)(int64_t)(layout->instr_form == PYPROF__INSTR_BYTES && lasti > 0 ? lasti / 2 : lasti);
    }
    if (layout->frame_locals + 8 <= layout->frame_size) PYPROF__FIELD_AT(frame->local, raw, layout->frame_locals);
    if (layout->frame_owner != PYPROF__NO) frame->owner = (unsigned char)raw[layout->frame_owner];
    if (layout->frame_tlbc != PYPROF__NO) PYPROF__FIELD_AT(frame->tlbc, raw, layout->frame_tlbc);
    frame->entry = layout->frame_entry != PYPROF__NO ? raw[layout->frame_entry] != 0 : frame->owner >= PYPROF__OWNER_SHIM;
    return 1;
}

// The frame's place in its code, in code units; INT32_MAX = it has none there, INT64_MAX = unreadable. Free-threaded 3.14 and
// later give each thread a copy of the bytecode (Python/index_pool.c, co_tlbc): array 0 is the code object's own.
static int64_t pyprof__frame_instruction(pyprof__mirror *mirror, const pyprof__layout *layout, const pyprof__raw_frame *frame)
{
    uint64_t start = frame->code + layout->code_bytes, table = 0, size = 0;
    if (layout->instr_form != PYPROF__INSTR_POINTER) return (int64_t)frame->instruction;
    if (frame->tlbc > 0) {
        if (!pyprof__read(mirror, &table, frame->code + layout->code_tlbc, sizeof table)) return INT64_MAX;
        if (!table) return INT32_MAX;
        if (!pyprof__read(mirror, &size, table, sizeof size)) return INT64_MAX;
        if ((uint64_t)frame->tlbc >= size || size > 1u << 20) return INT32_MAX;
        if (!pyprof__read(mirror, &start, table + 8 + (uint64_t)frame->tlbc * 8, sizeof start)) return INT64_MAX;
        if (!start) return INT32_MAX;
    }
    return ((int64_t)frame->instruction - (int64_t)start) / 2;
}

// A frame whose prologue has not finished (it is still making its cells): the interpreter hides it, so do we
// (_PyFrame_IsIncomplete in Include/internal/pycore_frame.h). -1 = unreadable
static int pyprof__frame_is_incomplete(pyprof__mirror *mirror, const pyprof__layout *layout, const pyprof__raw_frame *frame, int64_t instruction)
{
    int32_t traceable = 0;
    if (layout->code_traceable == PYPROF__NO || frame->owner == PYPROF__OWNER_GENERATOR) return 0;
    return pyprof__read(mirror, &traceable, frame->code + layout->code_traceable, sizeof traceable) ? instruction < traceable : -1;
}

static int pyprof__stack_push(pyprof__codes *codes, pyprof__stack *stack, uint32_t spot)
{
    uint32_t *item = spot == PYPROF__NONE ? NULL : (uint32_t *)pyprof__push(codes->pool, &stack->spots);
    if (!item) return PYPROF_CAUSE_MEMORY + 1;
    *item = spot;
    return 0;
}

static int pyprof__stack_insert(pyprof__codes *codes, pyprof__stack *stack, size_t place, uint32_t spot)
{
    int cause = pyprof__stack_push(codes, stack, spot);
    uint32_t *spots = (uint32_t *)stack->spots.data;
    if (cause) return cause;
    memmove(spots + place + 1, spots + place, (stack->spots.count - 1 - place) * sizeof *spots);
    spots[place] = spot;
    return 0;
}

typedef struct { uint64_t at; pyprof__raw_frame frame; } pyprof__link;
typedef struct {               // a frame
    uint64_t at, instruction;
    uint32_t place;            // so many spots lie inside of it
    int32_t role;
    int from_c;                // C called it: a C eval loop began with it (up to 3.10 that is not known: any may)
} pyprof__walked;

// A task of asyncio that may be running, and where the frame of its coroutine lies: within the coroutine. The walk knows the
// place of the task by that address and by nothing else: the loops, eager tasks and generators around it do not matter.
typedef struct { uint64_t task, frame; } pyprof__task;
enum { PYPROF__LOOPS = 16 };

typedef struct {               // what a walk needs and changes
    pyprof__codes *codes;
    pyprof__mirror *mirror;
    pyprof__stack *stack;
    uint32_t max_depth;
    uint64_t last_address;     // recursion: the same code object as in the frame before needs no second look
    uint32_t last_code;
    int unsure;                // 3.11, 3.12: the first entry frame has still to prove that its eval loop has set it up
    uint64_t below;            // the frame that must lie below that entry frame
    uint64_t root;             // the outermost frame reached
    pyprof__array *links;      // NULL, or where to note the frames (pyprof__link), leaving their code alone
    pyprof__array *steps;      // NULL, or where to note the frames (pyprof__walked) of a thread that collects garbage
    uint64_t gc_frame;         // 3.15: the frame that triggered the collection; 0 = nothing is being collected
    uint32_t gc_met;           // it was met after so many spots, or links, less one; 0 = it was not
    pyprof__task tasks[PYPROF__LOOPS];
    uint32_t task_count;
    uint32_t task_coro_at, task_name_at;   // offsets in a Task
    uint32_t task_at;          // links: the task lies outside of so many, 0 = of none
    uint64_t task, task_named; // it, and its name
    char task_text[PYPROF__TASK_SIZE];
} pyprof__walk;

// The frame may be gone since it was noted. Is it still what it was, so that what its variable refers to is alive?
static int pyprof__frame_holds(const pyprof__walk *walk, uint64_t at, const pyprof__raw_frame *frame, uint64_t local)
{
    const pyprof__layout *layout = walk->codes->layout;
    const pyprof__source *source = walk->mirror->source;
    uint64_t code = 0, previous = 0, now = 0;
    return pyprof__copy(source, &code, at + layout->frame_code, sizeof code) && (code & ~(uint64_t)3) == frame->code
        && pyprof__copy(source, &previous, at + layout->frame_previous, sizeof previous) && previous == frame->previous
        && pyprof__copy(source, &now, at + layout->frame_locals, sizeof now) && now == local;
}

// <import NAME>, outside of the frame of importlib's function that loads the module NAME.
static int pyprof__walk_import(pyprof__walk *walk, uint64_t at, const pyprof__raw_frame *frame)
{
    uint64_t local = frame->local;
    uint32_t code;
    if (!local && !walk->links) local = pyprof__read_pointer(walk->mirror, at + walk->codes->layout->frame_locals);
    code = pyprof__import_find(walk->codes, walk->mirror, local & ~(uint64_t)3);   // 3.14 tags it
    if (walk->links && local && !pyprof__frame_holds(walk, at, frame, local)) return PYPROF_CAUSE_MOVED + 1;
    return pyprof__stack_push(walk->codes, walk->stack, code == PYPROF__NONE ? PYPROF__NONE : pyprof__spot_find(walk->codes, code, 0));
}

static int pyprof__walk_frame(pyprof__walk *walk, uint64_t at, const pyprof__raw_frame *frame)
{
    const pyprof__layout *layout = walk->codes->layout;
    pyprof__walked *step;
    int64_t instruction;
    int32_t role;
    int incomplete, cause = 0;
    if (frame->code != walk->last_address) {
        cause = pyprof__code_find(walk->codes, walk->mirror, frame->code, &walk->last_code);
        walk->last_address = cause ? 0 : frame->code;
    }
    if (cause) return cause;
    instruction = pyprof__frame_instruction(walk->mirror, layout, frame);
    incomplete = instruction == INT64_MAX ? -1 : pyprof__frame_is_incomplete(walk->mirror, layout, frame, instruction);
    if (incomplete < 0) return PYPROF_CAUSE_UNREADABLE + 1;
    if (incomplete)   // it cannot have called anybody yet, unless to collect garbage
        return walk->links && walk->stack->spots.count ? PYPROF_CAUSE_CHAIN + 1 : 0;
    role = PYPROF__AT(const pyprof__code, walk->codes->codes, walk->last_code).role;
    if (walk->steps) {
        step = (pyprof__walked *)pyprof__push(walk->codes->pool, walk->steps);
        if (!step) return PYPROF_CAUSE_MEMORY + 1;
        step->at = at;
        step->instruction = frame->instruction;
        step->place = (uint32_t)walk->stack->spots.count;
        step->role = role;
        step->from_c = layout->frame_owner == PYPROF__NO || frame->entry;
    }
    cause = pyprof__stack_push(walk->codes, walk->stack, pyprof__spot_find(walk->codes, walk->last_code, instruction));
    return cause || role != PYPROF__ROLE_IMPORT ? cause : pyprof__walk_import(walk, at, frame);
}

static int pyprof__walk_note(pyprof__walk *walk, uint64_t at, const pyprof__raw_frame *frame)
{
    pyprof__link *link = (pyprof__link *)pyprof__push(walk->codes->pool, walk->links);
    if (!link) return PYPROF_CAUSE_MEMORY + 1;
    link->at = at;
    link->frame = *frame;
    if (!frame->local && pyprof__is_importer(walk->codes, frame->code))   // up to 3.10
        link->frame.local = pyprof__read_pointer(walk->mirror, at + walk->codes->layout->frame_locals);
    return 0;
}

static void pyprof__walk_meet(pyprof__walk *walk)   // the frame that triggered the collection
{
    walk->gc_met = (uint32_t)(walk->links ? walk->links->count : walk->stack->spots.count) + 1;
}

static void pyprof__walk_shim(pyprof__walk *walk)   // a C eval loop's own frame: the loop began with the one noted last
{
    pyprof__array *steps = walk->links ? walk->links : walk->steps;
    if (!steps || !steps->count) return;
    if (walk->links) PYPROF__AT(pyprof__link, *steps, steps->count - 1).frame.entry = 1;
    else PYPROF__AT(pyprof__walked, *steps, steps->count - 1).from_c = 1;
}

static void pyprof__walk_begin(pyprof__walk *walk)
{
    walk->unsure = 0;
    walk->root = 0;
    walk->gc_met = walk->task_at = 0;
    walk->stack->spots.count = 0;
    walk->stack->truncated = 0;
    if (walk->links) walk->links->count = 0;
    if (walk->steps) walk->steps->count = 0;
}

// Behind (outside of) a frame: is it that of a task's coroutine? What cannot be told is left out.
static int pyprof__walk_task(pyprof__walk *walk, uint64_t at)
{
    uint32_t i;
    for (i = 0; i < walk->task_count && walk->tasks[i].frame != at; i++) {}
    if (i == walk->task_count || walk->task_at) return 0;
    walk->task = walk->tasks[i].task;
    walk->task_named = pyprof__read_pointer(walk->mirror, walk->task + walk->task_name_at);
    if (!pyprof__task_name(walk->codes, walk->mirror, walk->task_named, walk->task_text)) return 0;
    if (!walk->links) return pyprof__stack_push(walk->codes, walk->stack, pyprof__task_spot(walk->codes, walk->task_text));
    walk->task_at = (uint32_t)walk->links->count;
    return 0;
}

// A coroutine, or what leads to one: it is then awaited through the first member of an object (Objects/genobject.c). 0 = neither.
static uint64_t pyprof__await_coroutine(pyprof__codes *codes, pyprof__mirror *mirror, uint64_t object)
{
    static const char *const names[] = { "coroutine", "generator", "async_generator", "coroutine_wrapper", "async_generator_asend",
                                         "async_generator_athrow" };
    uint64_t type = 0;
    uint32_t i;
    if (!object || object % 8 || !pyprof__read(mirror, &type, object + codes->layout->object_type, sizeof type)) return 0;
    for (i = 0; i < PYPROF__COUNT(names) && !pyprof__is_type(codes, mirror, type, names[i], &codes->await_types[i]); i++) {}
    if (i == PYPROF__COUNT(names)) return 0;
    return i < 3 ? object : pyprof__read_pointer(mirror, object + codes->layout->object_type + 8);
}

// What a task that does not run waits for: its name and the frames of the coroutines, the outermost first, each of which awaits
// the next. 0 = they stand in stack, else a pyprof_cause + 1.
static int pyprof__await_chain(pyprof__walk *walk, const pyprof__asyncio *asyncio, uint64_t task)
{
    const pyprof__layout *layout = walk->codes->layout;
    uint64_t coroutine = pyprof__read_pointer(walk->mirror, task + asyncio->task_coro), top;
    pyprof__raw_frame frame;
    int64_t instruction;
    unsigned char state = 0;
    uint32_t code, depth;
    int cause;
    if (!pyprof__task_name(walk->codes, walk->mirror, pyprof__read_pointer(walk->mirror, task + asyncio->task_name), walk->task_text))
        return PYPROF_CAUSE_NAME + 1;
    cause = pyprof__stack_push(walk->codes, walk->stack, pyprof__task_spot(walk->codes, walk->task_text));
    for (depth = 0; cause == 0 && depth < walk->max_depth; depth++) {
        coroutine = pyprof__await_coroutine(walk->codes, walk->mirror, coroutine);
        if (!coroutine) break;
        if (!pyprof__read(walk->mirror, &state, coroutine + layout->gen_state, 1)) return PYPROF_CAUSE_UNREADABLE + 1;
        if (!pyprof__frame_read(walk->mirror, layout, coroutine + layout->gen_frame, &frame)) return PYPROF_CAUSE_UNREADABLE + 1;
        if (frame.owner != PYPROF__OWNER_GENERATOR || frame.previous) return PYPROF_CAUSE_MOVED + 1;   // it is over, or it runs
        cause = pyprof__code_find(walk->codes, walk->mirror, frame.code, &code);
        if (cause) return cause;
        instruction = pyprof__frame_instruction(walk->mirror, layout, &frame);
        if (instruction == INT64_MAX) return PYPROF_CAUSE_UNREADABLE + 1;
        cause = pyprof__stack_push(walk->codes, walk->stack, pyprof__spot_find(walk->codes, code, instruction));
        if (state != layout->gen_awaits) break;
        top = pyprof__read_pointer(walk->mirror, coroutine + layout->gen_frame + layout->frame_stack);
        if (top % 8 || top - coroutine > 1u << 16) return PYPROF_CAUSE_CHAIN + 1;   // its values lie in the coroutine, behind the frame
        coroutine = pyprof__read_pointer(walk->mirror, top - layout->awaited) & ~(uint64_t)3;
    }
    return cause;
}

// Walks from the innermost frame to the root. base: where the chain must end (3.15), 0 = at NULL.
// 0 = whole, PYPROF__AGAIN = too many new code objects for one window, else a pyprof_cause + 1.
static int pyprof__walk_chain(pyprof__walk *walk, uint64_t at, uint64_t base)
{
    const pyprof__layout *layout = walk->codes->layout;
    pyprof__raw_frame frame = { 0, 0, 0, 0, 0, 0, 0 };
    uint64_t mark = 0;     // Brent's cycle finding: torn chains of recycled frames bite their own tails
    uint32_t steps = 0, next_mark = 16;
    int cause;
    walk->last_address = 0;
    for (; at != base; at = frame.previous) {
        if (at == walk->gc_frame) pyprof__walk_meet(walk);
        if (at == 0 || at % 8 || at == mark || steps++ > walk->max_depth * 4 + 64) return PYPROF_CAUSE_CHAIN + 1;
        if (steps == next_mark) { mark = at; next_mark *= 2; }
        if (walk->stack->spots.count >= walk->max_depth || (walk->links && walk->links->count >= walk->max_depth)) {
            walk->stack->truncated = 1;
            return pyprof__stack_push(walk->codes, walk->stack, PYPROF__SPOT_TRUNCATED);
        }
        if (!pyprof__frame_read(walk->mirror, layout, at, &frame)) return PYPROF_CAUSE_UNREADABLE + 1;
        if (frame.previous == at) return PYPROF_CAUSE_CHAIN + 1;
        if (walk->unsure && frame.entry) {
            if (frame.previous != walk->below) return PYPROF_CAUSE_CHAIN + 1;
            walk->unsure = 0;
        }
        walk->root = at;
        if (frame.owner >= PYPROF__OWNER_SHIM) {
            if (frame.owner > 8) return PYPROF_CAUSE_CHAIN + 1;
            pyprof__walk_shim(walk);
            continue;
        }
        if (frame.code == 0) {   // the innermost frame, just being popped
            if (walk->stack->spots.count || (walk->links && walk->links->count)) return PYPROF_CAUSE_CHAIN + 1;
            continue;
        }
        cause = walk->links ? pyprof__walk_note(walk, at, &frame) : pyprof__walk_frame(walk, at, &frame);
        if (cause == 0 && walk->task_count) cause = pyprof__walk_task(walk, at);
        if (cause) return cause;
        if (walk->codes->decoded >= PYPROF__MAX_DECODED) return PYPROF__AGAIN;
    }
    if (base && base == walk->gc_frame) pyprof__walk_meet(walk);
    // From 3.11 on only a frame that a C eval loop began with can be the outermost one: a generator's may have been cut off.
    return layout->frame_owner != PYPROF__NO && walk->root && !frame.entry ? PYPROF_CAUSE_CHAIN + 1 : 0;
}

static int pyprof__walk_below(pyprof__walk *walk, uint64_t at, uint64_t base)   // from a frame to the root
{
    pyprof__walk_begin(walk);
    return at ? pyprof__walk_chain(walk, at, base) : 0;
}

// Walks a whole thread. Where tstate points to a _PyCFrame on the C stack (3.11, 3.12), a C eval loop that was stopped
// while it starts has linked its own but not yet filled in current_frame (_PyEval_EvalFrameDefault in Python/ceval.c):
// what stands there is left over from an earlier call. The loop's entry frame tells: it must lie on the frame that the
// loop below was running; else that one is the innermost.
static int pyprof__walk_from(pyprof__walk *walk, uint64_t thread, uint64_t base)
{
    const pyprof__layout *layout = walk->codes->layout;
    uint64_t at, loop = 0, chain = 0;
    int cause;
    walk->below = 0;
    pyprof__walk_begin(walk);
    if (!pyprof__read(walk->mirror, &at, thread + layout->thread_frame, sizeof at)) return PYPROF_CAUSE_UNREADABLE + 1;
    if (layout->cframe_current != PYPROF__NO && at) {
        chain = at;
        if (!pyprof__read(walk->mirror, &loop, at + layout->cframe_previous, sizeof loop)) return PYPROF_CAUSE_UNREADABLE + 1;
        if (!pyprof__read(walk->mirror, &at, at + layout->cframe_current, sizeof at)) return PYPROF_CAUSE_UNREADABLE + 1;
        if (loop && !pyprof__read(walk->mirror, &walk->below, loop + layout->cframe_current, sizeof walk->below)) return PYPROF_CAUSE_UNREADABLE + 1;
        walk->unsure = loop != 0;
    }
    if (chain && (walk->unsure ? loop : at) == 0 && chain - thread > 4096) return PYPROF_CAUSE_CHAIN + 1;
    cause = at == 0 && !walk->unsure ? 0 : pyprof__walk_chain(walk, at, base);   // at 0: attached, but no Python code runs
    if (!walk->unsure || cause == PYPROF__AGAIN || walk->stack->truncated) return cause;
    if (!walk->below || walk->links) return PYPROF_CAUSE_CHAIN + 1;   // its first loop is about to begin, or it runs: try again
    return pyprof__walk_below(walk, walk->below, base);
}

// ============================================================================
// [SECTION] THREADS -- interpreters, thread states, the GIL's holder, names
//   Runs on    the sampler thread, the GIL not held
//   Uses       FRAMES
//   Promise    lists and names are read without a lock, so everything read is checked and every loop is bounded
// ============================================================================
enum { PYPROF__MAX_INTERPRETERS = 256, PYPROF__MAX_THREADS = 8192, PYPROF__NAME_SIZE = 64 };

typedef struct {               // one thread state, known from one sweep to the next; address 0 = a free slot
    uint64_t address, interp, serial, ident;
    int64_t interp_id, native; // native: the kernel's thread id
    uint64_t top, base;        // frame pointer (or _PyCFrame) as listed; where its chain must end
    uint64_t clock_ns;         // its CPU clock as the window opened, before anything was copied,
    int64_t clock_native;      // and whose clock that was
    int clock_cpu;             // and where it ran, if the clock is too coarse
    uint32_t clock_window;     // and in which window
    uint64_t cpu_ns;           // its CPU clock at this sweep
    uint64_t last_cpu_ns;      // and at the one before; 0 = there was none
    uint64_t proven_cpu_ns;    // the clock and the frame pointer at which stack was proven; 0 = not yet
    uint64_t proven_top;
    uint32_t tick;             // the sweep it was last listed in
    uint32_t version;          // changes with the stack
    int started;               // it has ids of its own
    int holder, shared_tid;    // holds its GIL; another thread state bears the same native id
    int clocked;               // clock_ns is of this window
    int fresh, pending, unfrozen, waiting,
        cause;   // of this sweep; fresh: its clock was not read yet; cause: 0 = stack is good, else a pyprof_cause + 1
    uint64_t root, trial_root; // the outermost frame: as proven, of the last walk
    uint64_t other_root;       // one seen lately that is not the proven one, and how often in a row
    uint32_t other_seen, vote_tick;
    int attached;              // it may run Python code now; only known without a GIL
    int raising, trial_raising;      // an exception is on its way up: with the stack proven, as of the last walk
    int collecting, trial_collecting;   // its stack holds <GC>
    int listens;               // it does not block the signal
    uint32_t deaf, deaf_until; // so often in a row it did not take a signal; not asked again before that sweep
    uint32_t stable;           // cause set: so many outer frames of stack are sure all the same
    size_t codes_from, codes_to;             // code objects first read during its walk
    pyprof__stack stack, trial;
    pyprof__array twins;       // uint64_t: the blocks to read twice when it has to be read while it runs
    char name[PYPROF__NAME_SIZE];
    uint32_t named, name_tries;   // 1 = Python's name, not the kernel's
    uint64_t name_cpu_ns;         // its CPU clock when its name was last looked for
    uint32_t state, leaf;         // of this sweep: bits (see PROFILE); the spot below its frames, PYPROF__NONE = none
    uint64_t left, left_cpu_ns;   // when it left the CPU, by the scheduler's clock, and its own CPU clock when that was read; 0 = it was not
    uint32_t ran_state, ran_leaf; // state and leaf at off_ns, when it left the CPU, where ticks are told late
    uint32_t decided;             // the sweep of which the state was last told
    int elsewhere;                // it runs on another CPU than the one the sampler waited for
    int stayed;                   // it has wanted the GIL since the sweep before
    int put_off;                  // it is not told of this one: so many others had to be looked at
    uint32_t blocks, rival;       // so many wait for the GIL it holds; the slot of the thread that holds what it waits for
    uint64_t rival_serial;        // and which state that is
    uint32_t held_by;             // of its GIL: how often it has changed hands
    uint32_t native_callee, native_leaf;         // the C function called lately (see CODE), and its leaf
    uint32_t spell, spell_leaf;                  // what it waits for: state bits, leaf
    uint32_t spell_version, spell_switches;      // and with which stack, and how often the GIL had changed hands
    int spell_assumed, view;                     // nobody looked; see pyprof__view_of
    uint64_t known_ns;            // when its state was first listed
    uint64_t off_ns;              // it has not run since then: 0 = not since the sweep before; the sweep's own time = it ran until then
    uint64_t spell_ns, spell_at;  // its CPU clock when it was looked at what it waits for; 0 = it was not; and when that was
    uint64_t awaits_ns;           // when its waiting tasks were last looked at
} pyprof__thread;

typedef struct {               // of the garbage collector of an interpreter
    int collecting;
    uint64_t frame;            // 3.15: the one that triggered the collection
    uint64_t runs;             // up to 3.14: collections so far
    uint64_t thread;           // up to 3.14: the address of the thread state that collects; 0 = unknown
} pyprof__gc;

typedef struct {
    uint64_t address, interp, holder, stamp;   // stamp: see pyprof__codes
    int locked, enabled;
    uint32_t switches, slot;                   // how often it has changed hands; the thread that holds it, PYPROF__NONE = none that is known
    uint32_t waiters, queued, maybe, unseen;   // in its queue, 0 = not known; known to be there; seen there once; who else may be
    pyprof__gc gc;
} pyprof__gil;

// Up to 3.14 the interpreter does not say who collects, nor from where. Who does is who held the GIL when the collection was
// first seen. That is sure only if it has held it since before; else it is believed until its frames move: what runs then
// may be a finalizer, but also another thread's code, while that finalizer waits. What lies outside of the collection on the
// stack does not move until it is over; frames inside of that are finalizers and callbacks.
typedef struct {               // of an interpreter: the collection under way, if there is one
    uint64_t interp, thread, runs;
    uint64_t refuted;          // it cannot have been this one
    uint32_t tick;             // the sweep in which the interpreter was last seen
    uint32_t calm_switches;    // of the GIL, when nothing was being collected
    int calm, active, sure;    // that is known; a collection is under way; it is sure who collects
    int maybe_new;             // one more was counted: this one's end is near, or it is the next one
    pyprof__array outside;     // pyprof__walked, innermost first: those frames, as far as they are needed
    pyprof__array steps;       // the frames of the last walk
    uint32_t first;            // so many of these lie inside; PYPROF__NONE = it cannot have been this thread
} pyprof__collection;

enum { PYPROF__MAX_OUTSIDE = 64 };

typedef struct { uint64_t interp, dict; } pyprof__current;   // 3.12, 3.13: the dict of an interpreter's running tasks

typedef struct {
    pyprof__pool *pool;
    pyprof__mirror *mirror;
    const pyprof__runtime *runtime;
    int64_t tid_offset;
    uint32_t tick, waiters_offset;
    uint64_t now_ns;           // of this sweep: when the sampler got its CPU
    pyprof__array threads;     // pyprof__thread; slot numbers stay
    pyprof__array gils;        // pyprof__gil, of this sweep
    pyprof__array interps;     // uint64_t addresses, of this sweep
    pyprof__array collections; // pyprof__collection
    size_t hint;               // the slot to look at first
    uint64_t active_interp, active;   // where threading._active was found
    pyprof__asyncio asyncio;
    uint32_t asyncio_tries;
    int has_asyncio;           // 3.14 and later: all of asyncio is known; 3.12, 3.13: only task_name and task_coro
    pyprof__array current;     // pyprof__current
} pyprof__threads;

static void pyprof__threads_init(pyprof__threads *list, pyprof__pool *pool, pyprof__mirror *mirror, const pyprof__runtime *runtime)
{
    memset(list, 0, sizeof *list);
    list->pool = pool;
    list->mirror = mirror;
    list->runtime = runtime;
    list->tid_offset = pyprof__tid_offset();
    list->waiters_offset = pyprof__waiters_offset();
    pyprof__array_init(&list->threads, sizeof(pyprof__thread));
    pyprof__array_init(&list->gils, sizeof(pyprof__gil));
    pyprof__array_init(&list->interps, sizeof(uint64_t));
    pyprof__array_init(&list->collections, sizeof(pyprof__collection));
    pyprof__array_init(&list->current, sizeof(pyprof__current));
}

static void pyprof__threads_free(pyprof__threads *list)
{
    size_t i;
    for (i = 0; i < list->threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, list->threads, i);
        pyprof__array_free(list->pool, &thread->stack.spots);
        pyprof__array_free(list->pool, &thread->trial.spots);
        pyprof__array_free(list->pool, &thread->twins);
    }
    for (i = 0; i < list->collections.count; i++) {
        pyprof__array_free(list->pool, &PYPROF__AT(pyprof__collection, list->collections, i).outside);
        pyprof__array_free(list->pool, &PYPROF__AT(pyprof__collection, list->collections, i).steps);
    }
    pyprof__array_free(list->pool, &list->collections);
    pyprof__array_free(list->pool, &list->threads);
    pyprof__array_free(list->pool, &list->gils);
    pyprof__array_free(list->pool, &list->interps);
    pyprof__array_free(list->pool, &list->current);
}

static pyprof__thread *pyprof__thread_slot(pyprof__threads *list, uint64_t address, uint64_t serial)   // known, free or new
{
    pyprof__thread *slot = NULL, *thread;
    size_t i, at = list->hint;
    for (i = 0; i < list->threads.count; i++, at++) {   // the list keeps its order: mostly the slot after the last one
        if (at >= list->threads.count) at = 0;
        thread = &PYPROF__AT(pyprof__thread, list->threads, at);
        list->hint = at + 1;
        if (thread->address == address && thread->serial == serial) return thread;
        if (!slot && (thread->address == 0 || thread->tick + 1 < list->tick)) slot = thread;
    }
    if (!slot) {
        slot = (pyprof__thread *)pyprof__push(list->pool, &list->threads);
        if (!slot) return NULL;
        pyprof__array_init(&slot->stack.spots, sizeof(uint32_t));
        pyprof__array_init(&slot->trial.spots, sizeof(uint32_t));
        pyprof__array_init(&slot->twins, sizeof(uint64_t));
    }
    slot->address = address;
    slot->serial = serial;
    slot->cpu_ns = slot->proven_cpu_ns = 0;
    slot->stack.spots.count = slot->twins.count = 0;
    slot->deaf = slot->deaf_until = 0;
    slot->listens = 0;
    slot->raising = slot->collecting = 0;
    slot->version++;
    slot->name[0] = 0;
    slot->named = slot->name_tries = 0;
    slot->name_cpu_ns = slot->spell_ns = slot->awaits_ns = 0;
    slot->known_ns = slot->off_ns = list->now_ns;
    slot->decided = 0;
    slot->state = 0;
    slot->native_leaf = PYPROF__NONE;
    slot->started = 0;
    slot->tick = 0;
    return slot;
}

static int64_t pyprof__native_id(pyprof__threads *list, const char *raw, uint64_t ident)
{
    const pyprof__layout *layout = &list->runtime->layout;
    uint64_t native = 0;
    int32_t tid = 0;
    if (layout->thread_native != PYPROF__NO) PYPROF__FIELD_AT(native, raw, layout->thread_native);
    else if (list->tid_offset && pyprof__read(list->mirror, &tid, ident + (uint64_t)list->tid_offset, sizeof tid)) native = (uint64_t)tid;
    return (int64_t)native;
}

// Lists the thread state at address; *next = the one after it. 0 = the list is being changed.
static int pyprof__thread_list_one(pyprof__threads *list, uint64_t address, uint64_t interp, int64_t interp_id, uint64_t *next)
{
    const pyprof__layout *layout = &list->runtime->layout;
    char raw[512];
    uint64_t owner, serial, ident;
    int64_t native;
    uint32_t status = 0;
    int attached;
    pyprof__thread *thread;
    if (address % 8 || !pyprof__read(list->mirror, raw, address, layout->thread_serial + 8)) return 0;
    PYPROF__FIELD_AT(*next, raw, layout->thread_next);
    PYPROF__FIELD_AT(owner, raw, layout->thread_interp);
    PYPROF__FIELD_AT(serial, raw, layout->thread_serial);
    PYPROF__FIELD_AT(ident, raw, layout->thread_ident);
    if (owner != interp) return 0;
    if (layout->thread_status != PYPROF__NO) {
        PYPROF__FIELD_AT(status, raw, layout->thread_status);
        if ((status & layout->status_mask) != layout->status_alive) return 1;   // coming or going: no frames to read
    }
    attached = layout->status_attached != PYPROF__NO && (status & layout->status_attached);
    native = ident ? pyprof__native_id(list, raw, ident) : 0;
    if (native == 0) return 1;   // not bound to an OS thread yet
    thread = pyprof__thread_slot(list, address, serial);
    if (!thread) return 0;
    PYPROF__FIELD_AT(thread->top, raw, layout->thread_frame);
    thread->base = layout->thread_base == PYPROF__NO ? 0 : pyprof__read_pointer(list->mirror, address + layout->thread_base);
    thread->interp = interp;
    thread->interp_id = interp_id;
    thread->attached = attached;
    if (thread->ident != ident || thread->native != native) {   // what was learnt by the ids before is of another thread
        thread->started = 0;
        thread->name[0] = 0;
        thread->named = thread->name_tries = 0;
    }
    thread->ident = ident;
    thread->native = native;
    if (thread->tick != list->tick) {
        thread->last_cpu_ns = thread->cpu_ns;
        thread->fresh = thread->pending = 1;
        thread->unfrozen = thread->waiting = 0;
        thread->cause = PYPROF_CAUSE_MOVED + 1;
    }
    thread->tick = list->tick;
    return 1;
}

static uint64_t pyprof__gc_address(const pyprof__runtime *runtime, uint64_t interp)
{
    const pyprof__layout *layout = &runtime->layout;
    return layout->interp_gc == PYPROF__NO ? runtime->address + layout->runtime_gc : interp + layout->interp_gc;
}

// What tells whether garbage is being collected: these bytes, and from where.
enum { PYPROF__GC_SIZE = 128 };

static uint32_t pyprof__gc_first(const pyprof__layout *layout) { return layout->gc_frame == PYPROF__NO ? layout->gc_stats : layout->gc_collecting; }

static size_t pyprof__gc_range(const pyprof__runtime *runtime, uint64_t interp, uint64_t *from)   // 0 = not known
{
    const pyprof__layout *layout = &runtime->layout;
    uint32_t first = pyprof__gc_first(layout);
    uint32_t last = layout->gc_frame == PYPROF__NO ? layout->gc_collecting + 4 : layout->gc_frame + 8;
    *from = pyprof__gc_address(runtime, interp) + first;
    return last > first && last - first <= PYPROF__GC_SIZE ? last - first : 0;
}

static void pyprof__gc_parse(const pyprof__layout *layout, const char *raw, pyprof__gc *gc)
{
    uint32_t first = pyprof__gc_first(layout), collecting, i;
    uint64_t runs;
    memset(gc, 0, sizeof *gc);
    memcpy(&collecting, raw + (layout->gc_collecting - first), sizeof collecting);
    gc->collecting = collecting != 0;
    if (!gc->collecting) return;
    if (layout->gc_frame != PYPROF__NO) memcpy(&gc->frame, raw + (layout->gc_frame - first), sizeof gc->frame);
    else for (i = 0; i < 3; i++) {
        memcpy(&runs, raw + i * 24, sizeof runs);
        gc->runs += runs;
    }
}

static void pyprof__gc_read(pyprof__mirror *mirror, const pyprof__runtime *runtime, uint64_t interp, pyprof__gc *gc)
{
    char raw[PYPROF__GC_SIZE];
    uint64_t from;
    size_t size = pyprof__gc_range(runtime, interp, &from);
    memset(gc, 0, sizeof *gc);
    if (size && pyprof__read(mirror, raw, from, size)) pyprof__gc_parse(&runtime->layout, raw, gc);
}

// Collections of all generations so far: what gc.get_stats() tells. -1 = unknown. struct gc_generation_stats begins with their
// number (3 of them, 24 bytes each); from 3.15 on they are rings, of which the largest number counts (struct gc_stats in
// Include/internal/pycore_interp_structs.h: 64 bytes each, the number at 16; behind each ring 8 bytes).
static int64_t pyprof__gc_runs(const pyprof__source *source, const pyprof__runtime *runtime)
{
    const pyprof__layout *layout = &runtime->layout;
    int64_t word[256], runs = 0, most;
    uint64_t interp = 0, at;
    size_t ring, i, place = 0, items[3], rings = layout->gc_young == PYPROF__NO ? 0 : 3, words = 9;
    if (!pyprof__copy(source, &interp, runtime->address + layout->runtime_head + 8, sizeof interp) || !interp) return -1;   // interpreters.main
    at = pyprof__gc_address(runtime, interp) + layout->gc_stats;
    if (rings) {
        items[0] = layout->gc_young;
        items[1] = items[2] = layout->gc_old;
        words = (items[0] + items[1] + items[2]) * 8 + 3;
        if (words > PYPROF__COUNT(word) || !pyprof__copy(source, &at, at, sizeof at)) return -1;
    }
    if (!pyprof__copy(source, word, at, words * sizeof *word)) return -1;
    for (ring = 0; ring < rings; ring++, place++) {
        for (most = 0, i = 0; i < items[ring]; i++, place += 8)
            if (word[place + 2] > most) most = word[place + 2];
        runs += most;
    }
    return rings ? runs : word[0] + word[3] + word[6];
}

static int pyprof__gil_read(pyprof__threads *list, uint64_t interp)
{
    const pyprof__layout *layout = &list->runtime->layout;
    pyprof__gil gil;
    pyprof__gil *added;
    memset(&gil, 0, sizeof gil);
    gil.interp = interp;
    gil.slot = PYPROF__NONE;
    gil.address = layout->interp_gil == PYPROF__NO ? list->runtime->address + layout->runtime_gil
                                                   : pyprof__read_pointer(list->mirror, interp + layout->interp_gil);
    if (gil.address) {   // it has none yet while it comes up
        gil.holder = pyprof__read_pointer(list->mirror, gil.address + layout->gil_holder);
        gil.locked = (int)pyprof__read_u32(list->mirror, gil.address + layout->gil_locked);
        gil.switches = pyprof__read_u32(list->mirror, gil.address + layout->gil_locked + 8);   // switch_number (Include/internal/pycore_gil.h)
        if (list->waiters_offset)                                                               // and behind it cond
            gil.waiters = pyprof__read_u32(list->mirror, gil.address + layout->gil_locked + 16 + list->waiters_offset) / 8;
        gil.enabled = layout->gil_enabled == PYPROF__NO || pyprof__read_u32(list->mirror, gil.address + layout->gil_enabled);
    }
    if (layout->interp_generation != PYPROF__NO && pyprof__read(list->mirror, &gil.stamp, interp + layout->interp_generation, sizeof gil.stamp))
        gil.stamp = pyprof__mix(interp, gil.stamp) | 1;
    pyprof__gc_read(list->mirror, list->runtime, interp, &gil.gc);
    added = (pyprof__gil *)pyprof__push(list->pool, &list->gils);
    if (added) *added = gil;
    return added != NULL;
}

static int pyprof__interp_list(pyprof__threads *list, uint64_t interp, uint64_t *next)
{
    const pyprof__layout *layout = &list->runtime->layout;
    uint64_t thread = 0, id = 0, *added;
    int count = 0;
    if (!pyprof__read(list->mirror, next, interp + layout->interp_next, sizeof *next)) return 0;
    if (!pyprof__read(list->mirror, &id, interp + layout->interp_id, sizeof id) || id > 1u << 30) return 0;
    if (!pyprof__read(list->mirror, &thread, interp + layout->interp_threads, sizeof thread)) return 0;
    added = (uint64_t *)pyprof__push(list->pool, &list->interps);
    if (!added || !pyprof__gil_read(list, interp)) return 0;
    *added = interp;
    for (; thread; count++)
        if (count >= PYPROF__MAX_THREADS || !pyprof__thread_list_one(list, thread, interp, (int64_t)id, &thread)) return 0;
    return 1;
}

static const pyprof__gil *pyprof__gil_of(const pyprof__threads *list, uint64_t interp)
{
    size_t i;
    for (i = 0; i < list->gils.count; i++)
        if (PYPROF__AT(pyprof__gil, list->gils, i).interp == interp) return &PYPROF__AT(pyprof__gil, list->gils, i);
    return NULL;
}

// Up to 3.11 a new thread's state is made by its creator and bears the creator's ids until the thread has started
// (_PyThreadState_Prealloc in Python/pystate.c): an older state of the same interpreter has the same ids. While a new
// state is put in front, the list can end there for a moment: then the older ones are those of the sweep before.
static int pyprof__thread_has_started(const pyprof__threads *list, const pyprof__thread *thread)
{
    int listed = 0, lately = 0;
    size_t i;
    for (i = 0; i < list->threads.count; i++) {
        const pyprof__thread *other = &PYPROF__AT(const pyprof__thread, list->threads, i);
        int same = other->native == thread->native || other->ident == thread->ident;   // between the two one is set, the other not yet
        if (other->interp != thread->interp || other->serial >= thread->serial || other->tick + 1 < list->tick
            || other->address == thread->address) continue;   // the state that lay here before is gone
        if (same && other->tick == list->tick) return 0;
        listed |= other->tick == list->tick;
        lately |= same;
    }
    return listed || !lately;
}

// Does it hold the GIL, with the ids it was listed with? It may have started, and set them, since its state was read; what was
// read before that may speak of a dead thread whose state lay at this address, what is read now of the one after it.
static int pyprof__thread_holds(const pyprof__threads *list, const pyprof__gil *gil, const pyprof__thread *thread)
{
    const pyprof__layout *layout = &list->runtime->layout;
    const pyprof__source *source = list->mirror->source;
    uint64_t holder = 0, ident = 0, serial = 0, native = (uint64_t)thread->native;
    if (!thread->holder || !pyprof__copy(source, &holder, gil->address + layout->gil_holder, sizeof holder) || holder != thread->address) return 0;
    if (!pyprof__copy(source, &ident, thread->address + layout->thread_ident, sizeof ident) || ident != thread->ident) return 0;
    if (layout->thread_native != PYPROF__NO && !pyprof__copy(source, &native, thread->address + layout->thread_native, sizeof native)) return 0;
    if (!pyprof__copy(source, &serial, thread->address + layout->thread_serial, sizeof serial) || serial != thread->serial) return 0;
    return (int64_t)native == thread->native;
}

// 3.11, 3.12: where the _PyCFrame of a running thread state lies tells on whose C stack it runs. The main thread's is known.
static int pyprof__is_on_main_stack(const pyprof__threads *list, const pyprof__thread *thread)
{
    uint64_t end = pyprof__stack_end();
    if (list->runtime->layout.cframe_current == PYPROF__NO || thread->native != list->mirror->source->pid) return 0;
    return thread->top < end && end - thread->top < 64u << 20;
}

// A state without frames beside another one of the same OS thread in the same interpreter: made to work for another
// interpreter (Python/crossinterp.c) or by PyGILState_Ensure. The thread is where its frames are.
static int pyprof__thread_is_spare(const pyprof__threads *list, const pyprof__thread *thread)
{
    size_t i;
    if (thread->top != 0 && thread->top != thread->base) return 0;
    for (i = 0; i < list->threads.count; i++) {
        const pyprof__thread *other = &PYPROF__AT(const pyprof__thread, list->threads, i);
        if (other->tick == list->tick && other->native == thread->native && other->interp == thread->interp && other->top != 0
            && other->top != other->base) return 1;
    }
    return 0;
}

// Several thread states of one native id: one OS thread in several interpreters, or an id gone stale because the state
// was handed to another OS thread (3.10, 3.12). Its clock then proves nothing, unless it is seen on that thread's stack.
static void pyprof__threads_relate(pyprof__threads *list)
{
    int may_be_stale = list->runtime->layout.attrs_form != PYPROF__ATTRS_INLINE;
    size_t i, k;
    for (i = 0; i < list->threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, list->threads, i);
        const pyprof__gil *gil;
        if (thread->tick != list->tick) continue;
        gil = pyprof__gil_of(list, thread->interp);
        thread->held_by = gil ? gil->switches : 0;
        thread->holder = gil && gil->enabled && gil->locked == 1 && gil->holder == thread->address;
        if (!thread->started) thread->started = !may_be_stale || pyprof__thread_has_started(list, thread) || pyprof__thread_holds(list, gil, thread);
        if (!thread->started || pyprof__thread_is_spare(list, thread)) { thread->tick--; continue; }
        thread->shared_tid = 0;
        for (k = 0; k < list->threads.count && may_be_stale && list->interps.count > 1 && !thread->shared_tid; k++) {
            const pyprof__thread *other = &PYPROF__AT(pyprof__thread, list->threads, k);
            thread->shared_tid = k != i && other->tick == list->tick && other->native == thread->native;
        }
        if (thread->shared_tid && pyprof__is_on_main_stack(list, thread)) thread->shared_tid = 0;
    }
}

// ---- who collects garbage, up to 3.14 ------------------------------------------------
static pyprof__collection *pyprof__collection_of(pyprof__threads *list, uint64_t interp)   // NULL = its interpreter is new
{
    size_t i;
    for (i = 0; i < list->collections.count; i++)
        if (PYPROF__AT(pyprof__collection, list->collections, i).interp == interp) return &PYPROF__AT(pyprof__collection, list->collections, i);
    return NULL;
}

static pyprof__collection *pyprof__collection_new(pyprof__threads *list, uint64_t interp)   // NULL = no memory
{
    pyprof__collection *collection = NULL;
    size_t i;
    for (i = 0; i < list->collections.count && !collection; i++) {
        collection = &PYPROF__AT(pyprof__collection, list->collections, i);
        if (collection->tick + 1 >= list->tick) collection = NULL;   // else of an interpreter that is gone
    }
    if (!collection) {
        collection = (pyprof__collection *)pyprof__push(list->pool, &list->collections);
        if (!collection) return NULL;
        pyprof__array_init(&collection->outside, sizeof(pyprof__walked));
        pyprof__array_init(&collection->steps, sizeof(pyprof__walked));
    }
    collection->interp = interp;
    collection->calm = collection->active = 0;
    return collection;
}

// Who collects, as far as can be told: the one thread of the interpreter that may run, by its GIL, or without one because the
// world is stopped for it. 0 = unknown. *sure: there is no other, or nobody else has had the GIL since nothing was collected.
static uint64_t pyprof__collector(const pyprof__threads *list, const pyprof__gil *gil, const pyprof__collection *collection, int *sure)
{
    int held = gil->enabled && collection->calm && collection->calm_switches == gil->switches, threads = 0, running = 0;
    uint64_t last = 0, runner = 0, holder = 0;
    size_t i;
    for (i = 0; i < list->threads.count; i++) {
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, list->threads, i);
        if (thread->tick != list->tick || thread->interp != gil->interp) continue;
        last = thread->address;
        threads++;
        if (held && gil->holder == thread->address) holder = thread->address;
        if (!(gil->enabled ? thread->holder : thread->attached)) continue;
        runner = thread->address;
        running++;
    }
    *sure = threads == 1 || holder;
    return threads == 1 ? last : holder ? holder : running == 1 ? runner : 0;
}

// The count goes up before the callbacks for the end of a collection run: one more run may still be the same collection.
static void pyprof__collection_see(pyprof__threads *list, pyprof__gil *gil)
{
    pyprof__collection *collection = pyprof__collection_of(list, gil->interp);
    uint64_t thread;
    int same, sure;
    if (!collection) collection = pyprof__collection_new(list, gil->interp);
    if (!collection) return;
    collection->tick = list->tick;
    if (!gil->gc.collecting) {
        collection->active = 0;
        collection->calm = 1;
        collection->calm_switches = gil->switches;
        return;
    }
    thread = pyprof__collector(list, gil, collection, &sure);
    same = collection->active && (collection->runs == gil->gc.runs || (collection->runs + 1 == gil->gc.runs && collection->thread == thread));
    if (!same) {
        if (collection->active) collection->calm = 0;   // it was calm in between, but how many switches ago?
        collection->active = 1;
        collection->thread = collection->refuted = 0;
        collection->outside.count = 0;
    }
    collection->maybe_new = same && (collection->maybe_new || collection->runs != gil->gc.runs);
    collection->runs = gil->gc.runs;
    if (!collection->thread && thread != collection->refuted) {
        collection->thread = thread;
        collection->sure = sure;
    }
    gil->gc.thread = collection->thread;
}

// Are the frames from a step of the last walk outwards the known ones from k on?
static int pyprof__collection_matches(const pyprof__collection *collection, size_t i, size_t k)
{
    const pyprof__walked *step = (const pyprof__walked *)collection->steps.data, *known = (const pyprof__walked *)collection->outside.data;
    while (i < collection->steps.count && k < collection->outside.count && step[i].at == known[k].at && step[i].instruction == known[k].instruction) {
        i++;
        k++;
    }
    return i == collection->steps.count || k == collection->outside.count;
}

// How many frames of the thread that collects lie inside of the collection: the outermost of those that moved, and what C did
// not call from outside of them. At first sight only finalizers are known to (__del__). PYPROF__NONE = it cannot be that thread.
static uint32_t pyprof__collection_inside(const pyprof__collection *collection)
{
    const pyprof__walked *step = (const pyprof__walked *)collection->steps.data, *known = (const pyprof__walked *)collection->outside.data;
    size_t i, k, count = collection->steps.count, first = 0;
    for (k = 0; k < collection->outside.count && (k == 0 || !collection->maybe_new); k++)
        for (i = 0; i < count; i++) {
            if (step[i].at != known[k].at || !pyprof__collection_matches(collection, i, k)) continue;
            if (i == 0 || (step[i - 1].from_c && (collection->sure || step[i - 1].role == PYPROF__ROLE_FINALIZER))) return (uint32_t)i;
        }
    if (collection->outside.count && !collection->maybe_new) return PYPROF__NONE;
    for (i = 0; i < count; i++)
        if (step[i].role == PYPROF__ROLE_FINALIZER && step[i].from_c) first = i + 1;
    return (uint32_t)first;
}

// Puts <GC> where a walk that is done says; *collecting = it is in the stack, or -1 = that thread cannot be the one. 0 = done,
// else a pyprof_cause + 1.
static int pyprof__collection_place(pyprof__collection *collection, pyprof__walk *walk, int *collecting)
{
    size_t place = walk->gc_met ? walk->gc_met - 1 : walk->stack->spots.count;
    *collecting = 0;
    if (collection) {
        collection->first = pyprof__collection_inside(collection);
        if (collection->first == PYPROF__NONE) { *collecting = -1; return 0; }
        if (collection->first < collection->steps.count) place = PYPROF__AT(pyprof__walked, collection->steps, collection->first).place;
    } else if (!walk->gc_met) return 0;
    if (walk->stack->truncated && place >= walk->stack->spots.count) return 0;
    *collecting = 1;
    return pyprof__stack_insert(walk->codes, walk->stack, place, PYPROF__SPOT_GC);
}

static void pyprof__collection_learn(pyprof__threads *list, pyprof__collection *collection)   // its thread stood still during the last walk
{
    size_t count = collection->first == PYPROF__NONE ? 0 : collection->steps.count - collection->first;
    collection->outside.count = 0;
    collection->maybe_new = 0;
    if (collection->first == PYPROF__NONE) {
        collection->refuted = collection->thread;
        collection->thread = 0;
    }
    if (count > PYPROF__MAX_OUTSIDE) count = PYPROF__MAX_OUTSIDE;
    if (count == 0 || !pyprof__array_reserve(list->pool, &collection->outside, count)) return;
    memcpy(collection->outside.data, (const pyprof__walked *)collection->steps.data + collection->first, count * sizeof(pyprof__walked));
    collection->outside.count = count;
}

static uint32_t pyprof__thread_at(const pyprof__threads *list, uint64_t address)   // its slot, PYPROF__NONE = it is not listed
{
    size_t i;
    for (i = 0; i < list->threads.count; i++) {
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, list->threads, i);
        if (thread->tick == list->tick && thread->address == address) return (uint32_t)i;
    }
    return PYPROF__NONE;
}

// Lists all threads of all interpreters. 0 = the list was being changed, or memory ran out: try again.
static int pyprof__threads_list(pyprof__threads *list)
{
    uint64_t interp = 0;
    size_t i;
    list->gils.count = list->interps.count = 0;
    if (!pyprof__read(list->mirror, &interp, list->runtime->address + list->runtime->layout.runtime_head, sizeof interp)) return 0;
    while (interp)
        if (list->interps.count >= PYPROF__MAX_INTERPRETERS || !pyprof__interp_list(list, interp, &interp)) return 0;
    pyprof__threads_relate(list);
    for (i = 0; i < list->gils.count; i++) {   // its holder may be a thread of another interpreter
        pyprof__gil *gil = &PYPROF__AT(pyprof__gil, list->gils, i);
        gil->slot = gil->enabled && gil->locked == 1 ? pyprof__thread_at(list, gil->holder) : PYPROF__NONE;
    }
    for (i = 0; i < list->gils.count && list->runtime->layout.gc_frame == PYPROF__NO; i++)
        pyprof__collection_see(list, &PYPROF__AT(pyprof__gil, list->gils, i));
    return 1;
}

// ---- what a thread waits for -------------------------------------------------------
static void pyprof__wait_poll(const pyprof__source *source, int64_t tid, const pyprof__call *call, pyprof__wait *wait)
{
    struct pollfd one;
    uint64_t count = (uint32_t)call->argument[1];   // the kernel takes the lower half of the register
    if (count == 0) { wait->idle = 1; memcpy(wait->verb, "sleep", 6); return; }
    if (count > 1 || !pyprof__copy(source, &one, call->argument[0], sizeof one)) { pyprof__wait_many(wait, "poll", count); return; }
    pyprof__wait_fd(wait, "poll", tid, one.fd, 0);
    wait->idle = 0;   // how Python waits for a socket with a timeout; a selector is known by its function
}

static void pyprof__wait_select(const pyprof__source *source, const pyprof__call *call, pyprof__wait *wait)
{
    uint64_t words[16], count = 0;
    uint32_t highest = (uint32_t)call->argument[0];
    size_t size = highest <= 1024 ? (highest + 63) / 64 : 16;
    int i;
    for (i = 1; i <= 3; i++)
        if (call->argument[i] && pyprof__copy(source, words, call->argument[i], size * 8)) count += pyprof__bits(words, size);
    if (highest == 0 || count == 0) memcpy(wait->verb, "sleep", 6);
    else pyprof__wait_many(wait, "select", count);
}

static void pyprof__wait_connect(const pyprof__source *source, const pyprof__call *call, pyprof__wait *wait)
{
    struct sockaddr_storage address;
    size_t size = call->argument[2] < sizeof address ? (size_t)call->argument[2] : sizeof address;
    memset(&address, 0, sizeof address);
    if (size >= sizeof(sa_family_t) && pyprof__copy(source, &address, call->argument[1], size))
        pyprof__address_text(&address, (socklen_t)size, wait->target, sizeof wait->target);
}

static void pyprof__wait_describe(const pyprof__source *source, int64_t tid, const pyprof__call *call, pyprof__wait *wait)
{
    size_t i, count = PYPROF__COUNT(pyprof__calls);
    memset(wait, 0, sizeof *wait);
    if (call->number == PYPROF__CALL_BY_NAME) { pyprof__wait_name(wait, call->function); return; }
    for (i = 0; i < count && pyprof__calls[i].number != call->number; i++) {}
    if (i == count) {
        snprintf(wait->verb, sizeof wait->verb, call->number < 0 ? "page fault" : "system call %ld", call->number);
        return;
    }
    snprintf(wait->verb, sizeof wait->verb, "%s", pyprof__calls[i].verb);
    wait->idle = pyprof__calls[i].idle;
    switch (pyprof__calls[i].form) {
    case PYPROF__WAITS_FD: pyprof__wait_fd(wait, pyprof__calls[i].verb, tid, (int)call->argument[0], 0); break;
    case PYPROF__WAITS_ACCEPT: pyprof__wait_fd(wait, pyprof__calls[i].verb, tid, (int)call->argument[0], 1); break;
    case PYPROF__WAITS_CONNECT: pyprof__wait_connect(source, call, wait); break;
    case PYPROF__WAITS_POLL: pyprof__wait_poll(source, tid, call, wait); break;
    case PYPROF__WAITS_SELECT: pyprof__wait_select(source, call, wait); break;
    case PYPROF__WAITS_FUTEX: wait->futex = call->argument[0]; break;
    // How many descriptors an epoll has would have to be read from /proc/self/fdinfo, which stops whoever uses it: milliseconds.
    case PYPROF__WAITS_EPOLL: case PYPROF__WAITS_PLAIN: case PYPROF__WAITS_PATH: case PYPROF__WAITS_SLEEP: break;
    }
}

// ---- names: threading._active, {ident: Thread}, and Thread._name ------------------------------------------------
typedef struct {               // a dict, or the values of an instance, as a list of entries
    uint64_t entries, values;  // values 0: in the entries
    uint32_t count, stride, key_at;
} pyprof__dict;

// Include/cpython/dictobject.h and Objects/dict-common.h up to 3.10, Include/internal/pycore_dict.h from 3.11 on
static int pyprof__dict_keys(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t keys, pyprof__dict *dict)
{
    unsigned char raw[40];
    uint64_t size, count;
    if (!keys || !pyprof__read(mirror, raw, keys, sizeof raw)) return 0;
    dict->key_at = 8;
    dict->stride = 24;
    if (layout->attrs_form == PYPROF__ATTRS_DICT) {
        PYPROF__FIELD_AT(size, raw, 8);
        PYPROF__FIELD_AT(count, raw, 32);
        dict->entries = keys + 40 + size * (size <= 0xff ? 1u : size <= 0xffff ? 2u : 4u);
    } else {
        PYPROF__FIELD_AT(count, raw, 24);
        if (raw[9] > 32) return 0;
        dict->entries = keys + 32 + ((uint64_t)1 << raw[9]);
        if (raw[10] != 0) { dict->stride = 16; dict->key_at = 0; }
    }
    dict->count = (uint32_t)count;
    return count < 1u << 20;
}

static int pyprof__dict_open(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t address, pyprof__dict *dict)
{
    memset(dict, 0, sizeof *dict);
    if (!address) return 0;
    dict->values = pyprof__read_pointer(mirror, address + layout->dict_values);
    if (dict->values && layout->attrs_form == PYPROF__ATTRS_INLINE) dict->values += 8;
    return pyprof__dict_keys(mirror, layout, pyprof__read_pointer(mirror, address + layout->dict_keys), dict);
}

// The attributes of an instance, wherever its version keeps them (Objects/dictobject.c, Include/internal/pycore_object.h).
static int pyprof__attributes(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t object, pyprof__dict *dict)
{
    uint64_t type = pyprof__read_pointer(mirror, object + layout->object_type), values = 0, where;
    unsigned char head[4];
    memset(dict, 0, sizeof *dict);
    if (layout->attrs_form == PYPROF__ATTRS_DICT)
        return pyprof__dict_open(mirror, layout, pyprof__read_pointer(mirror, object + (pyprof__read_pointer(mirror,
                                 type + layout->type_dictoffset) & 0xffff)),
                                 dict);
    if (layout->attrs_form == PYPROF__ATTRS_311) values = pyprof__read_pointer(mirror, object - 32);
    if (layout->attrs_form == PYPROF__ATTRS_312) {
        values = pyprof__read_pointer(mirror, object - 24);
        values = values & 1 ? values + 1 : 0;
    }
    if (layout->attrs_form == PYPROF__ATTRS_INLINE) {
        where = object + (pyprof__read_pointer(mirror, type + layout->type_basicsize) & 0xffff);
        if (pyprof__read(mirror, head, where, sizeof head) && head[3] == 1) values = where + 8;
    }
    if (!values) return pyprof__dict_open(mirror, layout, pyprof__read_pointer(mirror, object - (layout->object_type == 8 ? 24 : 8)), dict);
    dict->values = values;
    return pyprof__dict_keys(mirror, layout, pyprof__read_pointer(mirror, type + layout->type_keys), dict);
}

static int pyprof__dict_entry(pyprof__mirror *mirror, const pyprof__dict *dict, uint32_t i, uint64_t *key, uint64_t *value)
{
    uint64_t pair[2];
    if (!pyprof__read(mirror, pair, dict->entries + (uint64_t)i * dict->stride + dict->key_at, sizeof pair)) return 0;
    *key = pair[0];
    *value = dict->values ? pyprof__read_pointer(mirror, dict->values + (uint64_t)i * 8) : pair[1];
    return *key != 0 && *value != 0;
}

static int pyprof__str_is(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t str, const char *text)   // ASCII
{
    char raw[128];
    uint64_t length;
    size_t size = strlen(text);
    if (!pyprof__read(mirror, raw, str, layout->str_ascii + size)) return 0;
    PYPROF__FIELD_AT(length, raw, layout->str_length);
    return length == size && memcmp(raw + layout->str_ascii, text, size) == 0;
}

static uint64_t pyprof__dict_get(pyprof__mirror *mirror, const pyprof__layout *layout, const pyprof__dict *dict, const char *name)
{
    uint64_t key, value;
    uint32_t i;
    for (i = 0; i < dict->count && i < 65536; i++)
        if (pyprof__dict_entry(mirror, dict, i, &key, &value) && pyprof__str_is(mirror, layout, key, name)) return value;
    return 0;
}

static uint64_t pyprof__long_value(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t object)   // up to 64 bits
{
    uint32_t digits[3] = { 0, 0, 0 };   // 30 bits each (Include/cpython/longintrepr.h)
    uint64_t size = pyprof__read_pointer(mirror, object + layout->long_digits - 8);
    uint64_t count = layout->attrs_form >= PYPROF__ATTRS_312 ? size >> 3 : size;
    if (count > 3 || !pyprof__read(mirror, digits, object + layout->long_digits, count * 4)) return 0;
    return (uint64_t)digits[0] | (uint64_t)digits[1] << 30 | (uint64_t)digits[2] << 60;
}

static void pyprof__thread_name_set(pyprof__threads *list, uint64_t interp, uint64_t ident, const char *name)
{
    size_t i;
    for (i = 0; i < list->threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, list->threads, i);
        if (thread->ident != ident || thread->interp != interp || thread->tick != list->tick) continue;
        if (!thread->named && pyprof__thread_cpu(thread->native) == 0) continue;   // it has ended, its ident may be another one's
        pyprof__utf8_repair(thread->name, sizeof thread->name, name);
        thread->named = 1;
    }
}

// What a module of an interpreter holds under a name; 0 = it is not imported, or has no such name.
static uint64_t pyprof__module_value(pyprof__mirror *mirror, const pyprof__layout *layout, uint64_t interp, const char *module, const char *name)
{
    pyprof__dict dict;
    uint64_t found;
    if (!pyprof__dict_open(mirror, layout, pyprof__read_pointer(mirror, interp + layout->interp_modules), &dict)) return 0;
    found = pyprof__dict_get(mirror, layout, &dict, module);
    if (!found || !pyprof__dict_open(mirror, layout, pyprof__read_pointer(mirror, found + layout->module_dict), &dict)) return 0;
    return pyprof__dict_get(mirror, layout, &dict, name);
}

static void pyprof__names_of_interp(pyprof__threads *list, uint64_t interp, char *text, int again)
{
    pyprof__mirror *mirror = list->mirror;
    const pyprof__layout *layout = &list->runtime->layout;
    pyprof__dict active, attributes;
    uint64_t key, thread, name;
    uint32_t i;
    if (list->active_interp != interp || again) {
        list->active_interp = interp;
        list->active = pyprof__module_value(mirror, layout, interp, "threading", "_active");
    }
    if (!pyprof__dict_open(mirror, layout, list->active, &active)) return;
    for (i = 0; i < active.count && i < PYPROF__MAX_THREADS; i++) {
        if (!pyprof__dict_entry(mirror, &active, i, &key, &thread)) continue;
        if (!pyprof__attributes(mirror, layout, thread, &attributes)) continue;
        name = pyprof__dict_get(mirror, layout, &attributes, "_name");
        if (name && pyprof__read_str(mirror, layout, name, text) > 0)
            pyprof__thread_name_set(list, interp, pyprof__long_value(mirror, layout, key), text);
    }
}

// ---- tasks of asyncio ---------------------------------------------------------
// The running one: from 3.14 on the thread state points to it; 3.12 and 3.13 have a dict {loop: task} of each interpreter
// (enter_task in Modules/_asynciomodule.c).
// Looks for what tells the tasks, where that is still to be found: milliseconds, once a second at most.
static void pyprof__tasks_find(pyprof__threads *list)
{
    const pyprof__layout *layout = &list->runtime->layout;
    size_t i;
    pyprof__current *current;
    if (layout->gen_frame == PYPROF__NO) return;
    if (layout->task_coro == PYPROF__NO) {
        if (!list->has_asyncio) list->has_asyncio = pyprof__asyncio_find(&list->asyncio, list->pool, list->mirror->source);
        list->asyncio_tries += list->asyncio_tries < 6;   // a minute apart at last: it may have been left out of this Python
        return;
    }
    list->asyncio.task_coro = layout->task_coro;
    list->asyncio.task_name = layout->task_name;
    pyprof__mirror_begin(list->mirror);
    list->current.count = 0;
    for (i = 0; i < list->interps.count; i++) {
        uint64_t interp = PYPROF__AT(uint64_t, list->interps, i);
        uint64_t dict = pyprof__module_value(list->mirror, layout, interp, "_asyncio", "_current_tasks");
        current = dict ? (pyprof__current *)pyprof__push(list->pool, &list->current) : NULL;
        if (!current) continue;
        current->interp = interp;
        current->dict = dict;
    }
}

static void pyprof__walk_expect_task(const pyprof__threads *list, pyprof__walk *walk, uint64_t task)   // it may be met
{
    uint64_t coro = task && task % 8 == 0 ? pyprof__read_pointer(walk->mirror, task + list->asyncio.task_coro) : 0;
    if (!coro || coro % 8 || walk->task_count >= PYPROF__LOOPS) return;
    walk->tasks[walk->task_count].task = task;
    walk->tasks[walk->task_count++].frame = coro + list->runtime->layout.gen_frame;
}

// The tasks that may be running on a thread. Costs one word in memory that is fetched with the thread state, or that dict.
static void pyprof__walk_tasks(const pyprof__threads *list, pyprof__walk *walk, const pyprof__thread *thread)
{
    const pyprof__layout *layout = &list->runtime->layout;
    uint64_t dict = 0, used = 0, key, task;
    pyprof__dict tasks;
    size_t i;
    walk->task_count = walk->task_at = 0;
    walk->task_coro_at = list->asyncio.task_coro;
    walk->task_name_at = list->asyncio.task_name;
    if (list->has_asyncio) {
        pyprof__walk_expect_task(list, walk, pyprof__read_pointer(walk->mirror, thread->address + list->asyncio.thread_task));
        return;
    }
    for (i = 0; i < list->current.count; i++)
        if (PYPROF__AT(pyprof__current, list->current, i).interp == thread->interp) dict = PYPROF__AT(pyprof__current, list->current, i).dict;
    if (dict) used = pyprof__read_pointer(walk->mirror, dict + layout->dict_keys - 16);   // ma_used
    if (!used || !pyprof__dict_open(walk->mirror, layout, dict, &tasks)) return;
    for (i = 0; i < tasks.count && i < 256 && used; i++) {   // those that left are empty entries until it is made anew
        if (!pyprof__dict_entry(walk->mirror, &tasks, (uint32_t)i, &key, &task)) continue;
        pyprof__walk_expect_task(list, walk, task);
        used--;
    }
}

static void pyprof__name_from_kernel(pyprof__thread *thread)
{
    char text[64];
    ssize_t size;
    if (thread->native == (int64_t)getpid()) { memcpy(thread->name, "MainThread", 11); return; }
    size = pyprof__task_read(thread->native, "comm", text, sizeof text);
    if (size > 0 && text[size - 1] == '\n') text[size - 1] = 0;
    pyprof__utf8_repair(thread->name, sizeof thread->name, size > 0 ? text : "");
}

// Is there a thread whose name may be found now? A thread can begin before threading knows it. One that has not run since
// its name was last looked for is as unknown as it was; the first tries do not trust its clock, which may be a coarse one.
static int pyprof__names_missing(const pyprof__threads *list)
{
    size_t i;
    for (i = 0; i < list->threads.count; i++) {
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, list->threads, i);
        if (thread->tick != list->tick || thread->named || thread->name_tries >= 64) continue;
        if (thread->name_tries < 8 || thread->name_cpu_ns != thread->cpu_ns) return 1;
    }
    return 0;
}

// Reads the names of all listed threads; text holds PYPROF__TEXT_SIZE bytes. all: also looks for threading again, which
// takes some 0.5 ms; otherwise it takes 10 us and more: not at every sweep.
static void pyprof__names_read(pyprof__threads *list, char *text, int all)
{
    const unsigned char wanted[] = { 0, 1 };
    size_t i;
    pyprof__mirror_begin(list->mirror);
    pyprof__mirror_prefetch(list->mirror, wanted, sizeof wanted);
    pyprof__mirror_own(list->mirror, PYPROF__OWN_NAMES);
    for (i = 0; i < list->interps.count; i++) pyprof__names_of_interp(list, PYPROF__AT(uint64_t, list->interps, i), text, all);
    for (i = 0; i < list->threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, list->threads, i);
        if (thread->tick != list->tick || thread->named) continue;
        if (thread->name_tries++ % 16 == 0) pyprof__name_from_kernel(thread);
        thread->name_cpu_ns = thread->cpu_ns;
    }
}

// ============================================================================
// [SECTION] PROFILE -- the model: one call tree, columns of metrics, time line
//   Runs on    the sampler thread or a caller, under the lock of SESSION
//   Uses       TEXT, CODE (what a spot is)
//   Promise    arrays without pointers: a snapshot is a copy of each
//
//      node = (parent, location)     location = (function, line, columns)     function = (kind, names, file, first line)
//      node 0 is the root, its children are threads, below them the frames, root first
// ============================================================================
typedef struct { uint32_t name, qualname, file; int32_t first_line, kind; } pyprof__function;
typedef struct { uint32_t function; pyprof__place place; uint32_t opcode; } pyprof__location;   // opcode: string, 0 = not recorded
typedef struct { uint32_t parent, location; } pyprof__node;

typedef struct {               // one OS thread in one interpreter
    uint64_t native, ident, serial, started;   // started: kernel's start time, tells a reused id from the same thread
    int64_t interp_id;
    uint32_t node, name, wanted;               // name: string; wanted: it passes the thread filter
    int32_t seen;
    uint64_t first_ns, last_ns;                // CLOCK_MONOTONIC
    uint64_t hold_ns, hold_end_ns;             // the longest time it held the GIL while somebody waited; 0 = never
    uint32_t hold_node, padding;               // its stack then
} pyprof__member;

// The state of a thread in a sample: bits, and the column that takes its wall time
enum {
    PYPROF__IS_WAITING = 1, PYPROF__HAS_GIL = 2, PYPROF__WANTS_GIL = 4, PYPROF__IS_IDLE = 8, PYPROF__IS_NATIVE = 16, PYPROF__IS_NOGIL = 32,
    PYPROF__WANTS_CPU = 64, PYPROF__IS_RAISING = 128, PYPROF__IS_UNKNOWN = 256
};
static const struct { uint32_t bit; pyprof_metric metric; } pyprof__states[] = {
    { PYPROF__IS_WAITING, PYPROF_WAIT_NS }, { PYPROF__HAS_GIL, PYPROF_GIL_NS }, { PYPROF__WANTS_GIL, PYPROF_GIL_WAIT_NS },
    { PYPROF__IS_IDLE, PYPROF_IDLE_NS }, { PYPROF__IS_NATIVE, PYPROF_NATIVE_NS }, { PYPROF__IS_NOGIL, PYPROF_NOGIL_NS },
    { PYPROF__WANTS_CPU, PYPROF_CPU_WAIT_NS }, { PYPROF__IS_UNKNOWN, PYPROF_UNKNOWN_NS },
};

// Below a thread: CPU time burnt between two samples of which none found it running, or while it was no Python thread; other time that
// no sample was taken in.
static const char pyprof__between_name[] = "<between samples>";

typedef struct {               // consecutive identical samples of a thread
    uint64_t start_ns, end_ns, wall_ns, cpu_ns, block_ns;   // block_ns: others waited for its GIL so long
    uint32_t thread, node, count, state;
} pyprof__moment;

typedef struct { uint64_t ns; pyprof_process facts; } pyprof__gauge;
typedef struct { uint32_t waiter, holder; uint64_t ns; } pyprof__rivals;   // members: waiter waited for the GIL that holder held

typedef struct { uint32_t node, padding; uint64_t ns, count; } pyprof__waited;   // tasks that did not run: seconds, and how often seen so

enum { PYPROF__MARKS = 16 };   // even

typedef struct { float bytes[PYPROF__MARKS]; } pyprof__marks;
// Sampled only: how much of those bytes is in doubt; and of what lives at the end, the bytes born before the
// first mark, between the first and the second, ... after the last, and how much of them is in doubt
typedef struct {
    float doubt[PYPROF__MARKS], born[PYPROF__MARKS + 1], born_doubt[PYPROF__MARKS + 1];
} pyprof__births;

typedef struct {               // what a heap tracker says of the whole process
    int mode;                  // pyprof_heap_mode
    uint64_t interval;         // sampled: mean bytes between samples
    uint64_t peak_ns;          // when the high-water mark was reached
    pyprof_domain_total domains[PYPROF_DOMAIN_COUNT];
    int64_t sizes[PYPROF_SIZES];
    uint64_t mark_ns[PYPROF__MARKS];   // when the marks of the history were taken, ascending
    uint32_t marks;
} pyprof__heap_facts;

typedef struct {
    pyprof__pool *pool;
    pyprof__strings strings;
    pyprof__array functions, locations, nodes, members, moments;
    pyprof__array gauges;          // the time line of the process
    pyprof__array rivals;
    pyprof__array waited;          // by what they awaited
    pyprof__array history;         // pyprof__marks, row 0 is empty: live bytes of a node at each mark
    pyprof__array history_at;      // uint32_t a node: its row; shorter than the nodes: the rest 0
    pyprof__array births;          // pyprof__births, a row for each of the history; empty = exact
    pyprof__heap_facts heap;
    pyprof__array columns[PYPROF_METRIC_COUNT];   // int64_t a node, its own value; empty = the metric was never used
    pyprof__index function_index, location_index, node_index, waited_index;
    size_t moments_first;          // the oldest moment still wanted
    uint64_t moments_gone;         // those forgotten so far: a moment's number is this + its place
    uint64_t start_ns, recorded_ns, last_ns;
    double unix_offset;            // Unix seconds = ns / 1e9 + unix_offset
    double rate_hz, timeline_s;
    pyprof_stats stats;
    int paths;
    int opcodes;                   // locations tell them
} pyprof__model;

static void pyprof__model_init(pyprof__model *model, pyprof__pool *pool)
{
    size_t i;
    memset(model, 0, sizeof *model);
    model->pool = pool;
    pyprof__array_init(&model->functions, sizeof(pyprof__function));
    pyprof__array_init(&model->locations, sizeof(pyprof__location));
    pyprof__array_init(&model->nodes, sizeof(pyprof__node));
    pyprof__array_init(&model->members, sizeof(pyprof__member));
    pyprof__array_init(&model->moments, sizeof(pyprof__moment));
    pyprof__array_init(&model->gauges, sizeof(pyprof__gauge));
    pyprof__array_init(&model->rivals, sizeof(pyprof__rivals));
    pyprof__array_init(&model->waited, sizeof(pyprof__waited));
    pyprof__array_init(&model->history, sizeof(pyprof__marks));
    pyprof__array_init(&model->history_at, sizeof(uint32_t));
    pyprof__array_init(&model->births, sizeof(pyprof__births));
    for (i = 0; i < PYPROF_METRIC_COUNT; i++) pyprof__array_init(&model->columns[i], sizeof(int64_t));
}

static void pyprof__model_free(pyprof__model *model)
{
    size_t i;
    pyprof__strings_free(model->pool, &model->strings);
    pyprof__array_free(model->pool, &model->functions);
    pyprof__array_free(model->pool, &model->locations);
    pyprof__array_free(model->pool, &model->nodes);
    pyprof__array_free(model->pool, &model->members);
    pyprof__array_free(model->pool, &model->moments);
    pyprof__array_free(model->pool, &model->gauges);
    pyprof__array_free(model->pool, &model->rivals);
    pyprof__array_free(model->pool, &model->waited);
    pyprof__index_free(model->pool, &model->waited_index);
    pyprof__array_free(model->pool, &model->history);
    pyprof__array_free(model->pool, &model->history_at);
    pyprof__array_free(model->pool, &model->births);
    for (i = 0; i < PYPROF_METRIC_COUNT; i++) pyprof__array_free(model->pool, &model->columns[i]);
    pyprof__index_free(model->pool, &model->function_index);
    pyprof__index_free(model->pool, &model->location_index);
    pyprof__index_free(model->pool, &model->node_index);
}

static int pyprof__same_function(const void *context, uint32_t item, const void *key)
{
    return memcmp(&PYPROF__AT(pyprof__function, *(const pyprof__array *)context, item), key, sizeof(pyprof__function)) == 0;
}

static int pyprof__same_location(const void *context, uint32_t item, const void *key)
{
    return memcmp(&PYPROF__AT(pyprof__location, *(const pyprof__array *)context, item), key, sizeof(pyprof__location)) == 0;
}

static int pyprof__same_node(const void *context, uint32_t item, const void *key)
{
    return memcmp(&PYPROF__AT(pyprof__node, *(const pyprof__array *)context, item), key, sizeof(pyprof__node)) == 0;
}

// Finds or adds an item of an array that an index covers; items are plain data without padding. PYPROF__NONE = no memory.
static uint32_t pyprof__unique(pyprof__pool *pool, pyprof__array *array, pyprof__index *index, pyprof__same_fn *same, const void *item)
{
    const uint32_t *words = (const uint32_t *)item;
    uint64_t hash = array->item;
    size_t i;
    uint32_t id;
    void *added;
    for (i = 0; i < array->item / 4; i++) hash = pyprof__mix(hash, words[i]);
    id = pyprof__index_find(index, hash, same, array, item);
    if (id != PYPROF__NONE) return id;
    added = pyprof__push(pool, array);
    if (!added) return PYPROF__NONE;
    memcpy(added, item, array->item);
    id = (uint32_t)array->count - 1;
    if (pyprof__index_add(pool, index, hash, id)) return id;
    array->count--;
    return PYPROF__NONE;
}

static uint32_t pyprof__model_string(pyprof__model *model, const char *text)
{
    return pyprof__intern(model->pool, &model->strings, text, strlen(text));
}

// Folder names can be secrets. Hashed ones can still be told apart, and keep their ending.
static uint32_t pyprof__model_path(pyprof__model *model, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    char text[64];
    if (model->paths == PYPROF_PATHS_BASE) return pyprof__model_string(model, base);
    if (model->paths != PYPROF_PATHS_HASHED || *path == 0) return pyprof__model_string(model, path);
    snprintf(text, sizeof text, "%016llx%.8s", (unsigned long long)pyprof__hash_text(path, strlen(path)), dot ? dot : "");
    return pyprof__model_string(model, text);
}

static uint32_t pyprof__model_instruction(pyprof__model *model, const pyprof__function *function, const pyprof__place *place, uint32_t opcode)
{
    pyprof__location location;
    location.opcode = opcode;
    location.function = pyprof__unique(model->pool, &model->functions, &model->function_index, pyprof__same_function, function);
    location.place = *place;
    if (function->name == PYPROF__NONE || function->qualname == PYPROF__NONE || function->file == PYPROF__NONE) return PYPROF__NONE;
    if (opcode == PYPROF__NONE) return PYPROF__NONE;
    if (location.function == PYPROF__NONE) return PYPROF__NONE;
    return pyprof__unique(model->pool, &model->locations, &model->location_index, pyprof__same_location, &location);
}

static uint32_t pyprof__model_location(pyprof__model *model, const pyprof__function *function, const pyprof__place *place)
{
    return pyprof__model_instruction(model, function, place, 0);
}

static uint32_t pyprof__model_node(pyprof__model *model, uint32_t parent, uint32_t location)
{
    pyprof__node node;
    node.parent = parent;
    node.location = location;
    if (location == PYPROF__NONE) return PYPROF__NONE;
    return pyprof__unique(model->pool, &model->nodes, &model->node_index, pyprof__same_node, &node);
}

// A pseudo function: a thread (number tells equal names apart), the root, <native>...
static uint32_t pyprof__model_pseudo(pyprof__model *model, const char *name, pyprof_kind kind, int32_t number)
{
    static const pyprof__place nowhere = { 0, 0, -1, -1 };
    pyprof__function function;
    memset(&function, 0, sizeof function);
    function.name = function.qualname = pyprof__model_string(model, name);
    function.first_line = number;
    function.kind = (int32_t)kind;
    return pyprof__model_location(model, &function, &nowhere);
}

static int pyprof__model_begin(pyprof__model *model)   // the root; 0 = no memory
{
    return pyprof__strings_init(model->pool, &model->strings) && pyprof__model_node(model, 0, pyprof__model_pseudo(model, "all",
                                                                                    PYPROF_KIND_PROCESS, 0)) == 0;
}

// "[read file data.bin]": the target as far as the session wants to know it.
static uint32_t pyprof__model_wait(pyprof__model *model, const char *verb, const char *address, const char *path)
{
    char text[512];
    const char *slash = strrchr(path, '/'), *target = *path ? path : strcmp(address, verb) == 0 ? "" : address;
    if (model->paths == PYPROF_PATHS_HASHED) target = "";
    if (model->paths == PYPROF_PATHS_BASE && *path && slash) target = slash + 1;
    if (model->paths == PYPROF_PATHS_BASE && !*path && strncmp(target, "unix:", 5) == 0) target = "unix";
    snprintf(text, sizeof text, "[%s%s%s]", verb, *target ? " " : "", target);
    return pyprof__model_string(model, text);
}

static uint32_t pyprof__model_spot(pyprof__model *model, const pyprof__codes *codes, uint32_t spot_id)   // -> location
{
    const pyprof__spot *spot = &PYPROF__AT(pyprof__spot, codes->spots, spot_id);
    const pyprof__code *code = &PYPROF__AT(pyprof__code, codes->codes, spot->code);
    pyprof__function function;
    uint32_t opcode = 0;
    memset(&function, 0, sizeof function);
    function.name = pyprof__model_string(model, pyprof__string(&codes->strings, code->name));
    function.qualname = pyprof__model_string(model, pyprof__string(&codes->strings, code->qualname));
    function.file = pyprof__model_path(model, pyprof__string(&codes->strings, code->file));
    if (code->kind == PYPROF_KIND_WAIT) {
        function.name = function.qualname = pyprof__model_wait(model, pyprof__string(&codes->strings, code->name),
            pyprof__string(&codes->strings, code->qualname), pyprof__string(&codes->strings, code->file));
        function.file = 0;
    }
    function.first_line = code->key.first_line;
    function.kind = code->kind;
    if (model->opcodes && spot->opcode > 1) opcode = pyprof__model_string(model, pyprof__string(&codes->strings, spot->opcode - 1));
    return pyprof__model_instruction(model, &function, &spot->place, opcode);
}

static void pyprof__model_add(pyprof__model *model, pyprof_metric metric, uint32_t node, int64_t value)
{
    pyprof__array *column = &model->columns[metric];
    size_t before = column->count, need = model->nodes.count;
    if (value == 0) return;
    if (column->count < need) {
        if (!pyprof__array_reserve(model->pool, column, need - before)) return;
        memset((int64_t *)column->data + before, 0, (need - before) * sizeof(int64_t));
        column->count = need;
    }
    ((int64_t *)column->data)[node] += value;
}

// What a moment is worth in each column; value gets PYPROF_METRIC_COUNT of them.
static void pyprof__moment_values(const pyprof__moment *moment, int64_t *values)
{
    size_t i;
    memset(values, 0, PYPROF_METRIC_COUNT * sizeof *values);
    values[PYPROF_SAMPLES] = moment->count;
    values[PYPROF_WALL_NS] = (int64_t)moment->wall_ns;
    values[PYPROF_CPU_NS] = (int64_t)moment->cpu_ns;
    values[PYPROF_GIL_BLOCK_NS] = (int64_t)moment->block_ns;
    values[PYPROF_WAIT_SAMPLES] = moment->state & PYPROF__IS_WAITING ? (int64_t)moment->count : 0;
    values[PYPROF_EXCEPTIONS] = moment->state & PYPROF__IS_RAISING ? (int64_t)moment->count : 0;
    for (i = 0; i < PYPROF__COUNT(pyprof__states); i++)
        if (moment->state & pyprof__states[i].bit) values[pyprof__states[i].metric] = (int64_t)moment->wall_ns;
}

static void pyprof__model_columns(pyprof__model *model, const pyprof__moment *moment)
{
    int64_t values[PYPROF_METRIC_COUNT];
    int i;
    pyprof__moment_values(moment, values);
    for (i = 0; i < PYPROF_METRIC_COUNT; i++) pyprof__model_add(model, (pyprof_metric)i, moment->node, values[i]);
}

static int64_t pyprof__model_value(const pyprof__model *model, pyprof_metric metric, uint32_t node)
{
    const pyprof__array *column = &model->columns[metric];
    return node < column->count ? PYPROF__AT(int64_t, *column, node) : 0;
}

static uint32_t pyprof__history_row(const pyprof__model *model, uint32_t node)   // 0 = it has none
{
    return node < model->history_at.count ? PYPROF__AT(const uint32_t, model->history_at, node) : 0;
}

static const pyprof__marks *pyprof__model_history(const pyprof__model *model, uint32_t node)   // NULL = it has none
{
    uint32_t row = pyprof__history_row(model, node);
    return row ? &PYPROF__AT(const pyprof__marks, model->history, row) : NULL;
}

static pyprof__births *pyprof__model_births(const pyprof__model *model, uint32_t node)   // NULL = it has none
{
    uint32_t row = pyprof__history_row(model, node);
    return row && row < model->births.count ? &PYPROF__AT(pyprof__births, model->births, row) : NULL;
}

static int pyprof__births_make(pyprof__model *model)   // a row for each of the history. 0 = no memory
{
    size_t have = model->births.count, need = model->history.count;
    if (have >= need) return 1;
    if (!pyprof__array_reserve(model->pool, &model->births, need - have)) return 0;
    memset((pyprof__births *)model->births.data + have, 0, (need - have) * sizeof(pyprof__births));
    model->births.count = need;
    return 1;
}

static pyprof__marks *pyprof__model_history_row(pyprof__model *model, uint32_t node)   // made if need be; NULL = no memory
{
    size_t have = model->history_at.count;
    uint32_t *row;
    pyprof__marks *added;
    if (model->history.count == 0 && !pyprof__push(model->pool, &model->history)) return NULL;
    if (node >= have) {
        if (!pyprof__array_reserve(model->pool, &model->history_at, model->nodes.count - have)) return NULL;
        memset((uint32_t *)model->history_at.data + have, 0, (model->nodes.count - have) * sizeof(uint32_t));
        model->history_at.count = model->nodes.count;
    }
    row = &PYPROF__AT(uint32_t, model->history_at, node);
    if (*row) return &PYPROF__AT(pyprof__marks, model->history, *row);
    added = (pyprof__marks *)pyprof__push(model->pool, &model->history);
    if (added) *row = (uint32_t)model->history.count - 1;
    return added;
}

// ---- tasks that wait: their time is no thread's, so no column of the tree --------------------------------------------
static int pyprof__same_waited(const void *context, uint32_t item, const void *key)
{
    return PYPROF__AT(const pyprof__waited, *(const pyprof__array *)context, item).node == *(const uint32_t *)key;
}

static int pyprof__model_waited(pyprof__model *model, uint32_t node, uint64_t ns)   // 0 = no memory
{
    uint64_t hash = pyprof__mix(7, node);
    uint32_t id = pyprof__index_find(&model->waited_index, hash, pyprof__same_waited, &model->waited, &node);
    pyprof__waited *waited;
    if (id == PYPROF__NONE) {
        waited = (pyprof__waited *)pyprof__push(model->pool, &model->waited);
        if (!waited) return 0;
        waited->node = node;
        id = (uint32_t)model->waited.count - 1;
        if (!pyprof__index_add(model->pool, &model->waited_index, hash, id)) { model->waited.count--; return 0; }
    }
    waited = &PYPROF__AT(pyprof__waited, model->waited, id);
    waited->ns += ns;
    waited->count++;
    return 1;
}

// ---- time line ---------------------------------------------------------------
static void pyprof__moments_trim(pyprof__model *model, uint64_t now)   // forgets what is older than timeline_s
{
    uint64_t keep = (uint64_t)(model->timeline_s * 1e9);
    pyprof__moment *moments = (pyprof__moment *)model->moments.data;
    while (model->moments_first < model->moments.count && moments[model->moments_first].end_ns + keep < now) model->moments_first++;
    if (model->moments_first < 1024 || model->moments_first < model->moments.count / 2) return;
    model->moments.count -= model->moments_first;
    memmove(moments, moments + model->moments_first, model->moments.count * sizeof *moments);
    model->moments_gone += model->moments_first;
    model->moments_first = 0;
}

// last: the number + 1 of the thread's latest moment, 0 = none.
static int pyprof__moment_extend(pyprof__model *model, const pyprof__moment *moment, uint64_t last)
{
    uint64_t place = last - 1 - model->moments_gone;
    pyprof__moment *before;
    if (last <= model->moments_gone + model->moments_first || place >= model->moments.count) return 0;
    before = &PYPROF__AT(pyprof__moment, model->moments, place);
    if (before->node != moment->node || before->state != moment->state || moment->start_ns > before->end_ns + 1) return 0;
    // An entry that goes on for ever would keep all that came after it.
    if (moment->end_ns - before->start_ns > (uint64_t)(model->timeline_s * 1e9) / 4) return 0;
    before->end_ns = moment->end_ns;
    before->wall_ns += moment->wall_ns;
    before->cpu_ns += moment->cpu_ns;
    before->block_ns += moment->block_ns;
    before->count++;
    return 1;
}

static void pyprof__model_moment(pyprof__model *model, const pyprof__moment *moment, uint64_t *last)
{
    pyprof__moment *added;
    if (model->timeline_s < 0) return;
    pyprof__moments_trim(model, moment->end_ns);
    if (pyprof__moment_extend(model, moment, *last)) return;
    // A quarter of the memory at most: the tree is worth more than the time line.
    if ((model->moments.count + 1) * sizeof *moment * 4 < model->pool->limit) {
        added = (pyprof__moment *)pyprof__push(model->pool, &model->moments);
        if (added) {
            *added = *moment;
            *last = model->moments_gone + model->moments.count;
            return;
        }
    }
    model->stats.timeline_dropped++;
}

// ---- merging a part of one model into another: for windows of the time line ------------------------------------------
static int pyprof__model_copy_tables(pyprof__model *to, const pyprof__model *from)
{
    return pyprof__array_copy(to->pool, &to->strings.bytes, &from->strings.bytes)
        && pyprof__array_copy(to->pool, &to->strings.starts, &from->strings.starts)
        && pyprof__array_copy(to->pool, &to->functions, &from->functions)
        && pyprof__array_copy(to->pool, &to->locations, &from->locations)
        && pyprof__array_copy(to->pool, &to->nodes, &from->nodes)
        && pyprof__array_copy(to->pool, &to->members, &from->members);
}

static int pyprof__model_copy_moments(pyprof__model *to, const pyprof__model *from, uint64_t since)
{
    size_t i;
    for (i = from->moments_first; i < from->moments.count; i++) {
        const pyprof__moment *moment = &PYPROF__AT(pyprof__moment, from->moments, i);
        pyprof__moment *added;
        if (moment->end_ns < since) continue;
        added = (pyprof__moment *)pyprof__push(to->pool, &to->moments);
        if (!added) return 0;
        *added = *moment;
    }
    return 1;
}

// The columns of a window: from the time line, whose moments may reach over its border by one run of equal samples.
static void pyprof__model_columns_since(pyprof__model *to, uint64_t since)
{
    size_t i;
    for (i = 0; i < to->moments.count; i++) {
        pyprof__moment *moment = &PYPROF__AT(pyprof__moment, to->moments, i);
        uint64_t length = moment->end_ns - moment->start_ns, inside = moment->start_ns >= since ? length : moment->end_ns - since;
        double part = length ? (double)inside / (double)length : 1.0;
        if (part < 1.0) {
            moment->start_ns = since;
            moment->wall_ns = (uint64_t)((double)moment->wall_ns * part);
            moment->cpu_ns = (uint64_t)((double)moment->cpu_ns * part);
            moment->block_ns = (uint64_t)((double)moment->block_ns * part);
            moment->count = (uint32_t)((double)moment->count * part + 0.5);
        }
        pyprof__model_columns(to, moment);
    }
}

// What has a time of its own is cut to the window; of sums over the whole recording (who waited for whose GIL, what tasks awaited)
// nobody knows how much falls into it.
static void pyprof__model_cut(pyprof__model *to, uint64_t since)
{
    pyprof__gauge *gauges = (pyprof__gauge *)to->gauges.data;
    size_t i, gone = 0;
    while (gone < to->gauges.count && gauges[gone].ns < since) gone++;
    to->gauges.count -= gone;
    if (gone && to->gauges.count) memmove(gauges, gauges + gone, to->gauges.count * sizeof *gauges);
    to->rivals.count = to->waited.count = 0;
    for (i = 0; i < to->members.count; i++) {
        pyprof__member *member = &PYPROF__AT(pyprof__member, to->members, i);
        if (member->hold_end_ns < since + member->hold_ns) member->hold_ns = 0;
    }
}

// A copy for reading: no index. window_ns 0 = everything. 0 = no memory (to is then to be freed all the same).
static int pyprof__model_copy(pyprof__model *to, pyprof__pool *pool, const pyprof__model *from, uint64_t window_ns)
{
    uint64_t since = 0;
    size_t i;
    pyprof__model_init(to, pool);
    to->start_ns = from->start_ns;
    to->recorded_ns = from->recorded_ns;
    to->last_ns = from->last_ns;
    to->unix_offset = from->unix_offset;
    to->rate_hz = from->rate_hz;
    to->timeline_s = from->timeline_s;
    to->stats = from->stats;
    to->paths = from->paths;
    to->heap = from->heap;
    if (window_ns && window_ns < from->last_ns - from->start_ns) {
        since = from->last_ns - window_ns;
        to->start_ns = since;
        if (to->recorded_ns > window_ns) to->recorded_ns = window_ns;
    }
    if (!pyprof__model_copy_tables(to, from) || !pyprof__model_copy_moments(to, from, since)) return 0;
    if (!pyprof__array_copy(pool, &to->gauges, &from->gauges) || !pyprof__array_copy(pool, &to->rivals, &from->rivals)) return 0;
    if (!pyprof__array_copy(pool, &to->waited, &from->waited)) return 0;
    if (!pyprof__array_copy(pool, &to->history, &from->history) || !pyprof__array_copy(pool, &to->history_at, &from->history_at)) return 0;
    if (!pyprof__array_copy(pool, &to->births, &from->births)) return 0;
    if (since) {
        pyprof__model_columns_since(to, since);
        pyprof__model_cut(to, since);
    }
    for (i = 0; !since && i < PYPROF_METRIC_COUNT; i++)
        if (!pyprof__array_copy(pool, &to->columns[i], &from->columns[i])) return 0;
    return 1;
}

// ============================================================================
// [SECTION] SAMPLER -- one sweep over all threads; freeze-frame capture
//   Runs on    the sampler thread, the GIL not held
//   Uses       THREADS
//   Promise    a stack is accepted when it is proven that its thread did not run while it was copied; else when its top did
//              not change while it was read twice, and counted as unfrozen; else it is rejected and counted by cause
//
// How a thread is frozen without a signal: the sampler sleeps on the CPU of the thread that holds the GIL. When its timer
// fires there, the kernel takes that thread off the CPU, and nobody else may change a Python frame. The proof is the
// thread's CPU clock: it moves with every instruction, and it did not move between the start and the end of the copy. A
// thread whose clock has not moved since its stack was last proven still has that stack: it is not even read.
// ============================================================================
typedef struct { uint32_t slot, first, count; uint64_t ns; } pyprof__await;   // a task of that thread: its spots, the time since the last look
enum { PYPROF__MAX_AWAITS = 1000, PYPROF__AWAITS_NS = 100000000 };
enum { PYPROF__ATTEMPTS = 6, PYPROF__TRIES = 100, PYPROF__DEEP = 32, PYPROF__INNER = 8, PYPROF__WINDOW_NS = 2000000, PYPROF__STARVED_NS = 100000000,
      PYPROF__STARVED_TICKS = 3, PYPROF__LOOKS = 64, PYPROF__TARGETS = 1000, PYPROF__LEAF_SIZE = 300,
      PYPROF__AHEAD_NS = 200000000, PYPROF__AHEAD_CPUS = 64, PYPROF__SWITCH_NS = 40000, PYPROF__BLUR_NS = 4000,
      PYPROF__ASK_FIRST = 2, PYPROF__GIL_SIZE = 224 };
// LOOKS: at what threads wait for, a sweep; TARGETS: files and peers told apart; AHEAD_NS: how long the scheduler's clock of another
// CPU is trusted to keep its distance; SWITCH_NS: from one thread on a CPU to the next, at most;
// BLUR_NS: of that moment, as told; GIL_SIZE: at most, of struct _gil_runtime_state

typedef struct {
    pyprof__pool pool;
    pyprof__source source;
    pyprof__mirror mirror;
    pyprof__runtime runtime;
    pyprof__codes codes;
    pyprof__threads list;
    pyprof__array wanted;          // unsigned char an owner of blocks: they are worth fetching ahead
    int64_t cpu_word;              // pthread_t + this = the CPU the thread is on; 0 = ask /proc
    int fine_clock, may_move;      // the CPU clock is a proof; the sampler may change its own CPU
    int names_opcodes;             // a session wants them
    int stay, by_signal;           // a session wants the sampler to stay where it is; threads that run are held by a signal
    int cpu;                       // where the sampler is pinned, -1 = nowhere
    pyprof__cpus allowed;
    uint32_t max_depth;
    pyprof__array links, doubtful;     // pyprof__link: the frames of a thread that runs; the last ones that did not hold
    uint64_t twins[PYPROF__TWINS];     // blocks to read twice
    size_t twin_count;
    uint64_t retried, stuck_until;
    uint64_t busy_ns, busy_due;    // what the sampler ran and waited for a CPU so far, as noted lately; when to note it again
    int stuck_cpu;                 // starved there lately, -1 = nowhere
    uint32_t window;               // number of the window
    uint32_t starved;              // ticks in a row
    uint64_t decided_ns, own_ns;           // when the states were last decided, and the sampler's CPU clock then;
    uint64_t elapsed_ns, took_ns;          // how long since the time before, and what the sampler took of it
    uint64_t slept_own_ns;         // its CPU clock when it last fell asleep; 0 = not known
    uint64_t came_ns;              // when it got the CPU it is on
    int hopped;                    // to another one, in this sweep
    int late;                      // this sweep tells of ticks that were due before the sampler got a CPU
    uint64_t mine;                 // when it got that CPU, by the scheduler's clock there; 0 = it was not asked in this sweep
    struct { int64_t ns; uint64_t at; } ahead[PYPROF__AHEAD_CPUS];   // of some CPUs: their scheduler's clock less ours, as it was then
    uint32_t looks, targets;       // of this sweep, at what threads wait for; different files and peers so far
    int listed, listed_now;        // this sweep has a list of threads; it was read in the window that is open
    const char *degraded;          // why captures are not frozen, NULL = they are
    pyprof__array awaits;          // pyprof__await: the tasks found waiting after this sweep
    pyprof__stack awaiting;        // their spots
    uint64_t awaits_due, awaits_cost;
    int awaits_cut;                // there were more than are looked at
} pyprof__sweeper;

static void pyprof__sweeper_close(pyprof__sweeper *sweeper)
{
    pyprof__threads_free(&sweeper->list);
    pyprof__codes_free(&sweeper->codes);
    pyprof__mirror_free(&sweeper->mirror);
    pyprof__array_free(&sweeper->pool, &sweeper->wanted);
    pyprof__array_free(&sweeper->pool, &sweeper->links);
    pyprof__array_free(&sweeper->pool, &sweeper->doubtful);
    pyprof__array_free(&sweeper->pool, &sweeper->awaits);
    pyprof__array_free(&sweeper->pool, &sweeper->awaiting.spots);
    pyprof__source_close(&sweeper->source);
    pyprof__proc_leave();
}

// Everything but the thread: may be called on the thread that calls pyprof_start.
static pyprof_result pyprof__sweeper_open(pyprof__sweeper *sweeper, const pyprof_allocator *allocator, uint64_t max_bytes, uint32_t max_depth,
                                          int may_move)
{
    pyprof_result result;
    memset(sweeper, 0, sizeof *sweeper);
    pyprof__pool_init(&sweeper->pool, allocator, max_bytes);
    sweeper->max_depth = max_depth;
    sweeper->may_move = may_move;
    sweeper->cpu = sweeper->stuck_cpu = -1;
    result = pyprof__source_open(&sweeper->source);
    if (result != PYPROF_OK) return result;
    pyprof__proc_use();
    pyprof__array_init(&sweeper->wanted, 1);
    pyprof__array_init(&sweeper->links, sizeof(pyprof__link));
    pyprof__array_init(&sweeper->doubtful, sizeof(pyprof__link));
    pyprof__array_init(&sweeper->awaits, sizeof(pyprof__await));
    pyprof__array_init(&sweeper->awaiting.spots, sizeof(uint32_t));
    pyprof__mirror_init(&sweeper->mirror, &sweeper->pool, &sweeper->source);
    pyprof__threads_init(&sweeper->list, &sweeper->pool, &sweeper->mirror, &sweeper->runtime);
    result = pyprof__runtime_find(&sweeper->runtime, &sweeper->pool, &sweeper->source);
    if (result == PYPROF_OK && !pyprof__codes_init(&sweeper->codes, &sweeper->pool, &sweeper->runtime.layout))
        result = pyprof__fail_memory("the sampler");
    if (result != PYPROF_OK) pyprof__sweeper_close(sweeper);
    return result;
}

// On the sampler's own thread, before the first sweep: what concerns this thread alone.
static void pyprof__sweeper_settle(pyprof__sweeper *sweeper)
{
    pyprof__thread_tune();
    sweeper->fine_clock = PYPROF__TEST_FINE(pyprof__cpu_clock_is_fine());
    sweeper->cpu_word = pyprof__cpu_word_offset();
    if (!pyprof__cpus_get(&sweeper->allowed)) sweeper->may_move = 0;
    if (!sweeper->fine_clock && !sweeper->cpu_word)
        sweeper->degraded = "the CPU clocks of this system are too coarse to prove that a thread stood still";
}

// ---- where threads run ----------------------------------------------------------
static int pyprof__cpu_of(pyprof__sweeper *sweeper, const pyprof__thread *thread)   // as of this window; -1 = unknown
{
    int32_t cpu = -1;
    if (!sweeper->cpu_word) return pyprof__cpu_from_proc(thread->native);
    return pyprof__read(&sweeper->mirror, &cpu, thread->ident + (uint64_t)sweeper->cpu_word, sizeof cpu) ? cpu : -1;
}

static int pyprof__cpu_now(const pyprof__sweeper *sweeper, const pyprof__thread *thread)   // -1 = unknown
{
    int32_t cpu = -1;
    if (!sweeper->cpu_word) return -1;
    return pyprof__copy(&sweeper->source, &cpu, thread->ident + (uint64_t)sweeper->cpu_word, sizeof cpu) ? cpu : -1;
}

static int pyprof__go_to(pyprof__sweeper *sweeper, int cpu)   // 1 = the sampler moved there
{
    pyprof__cpus now;
    if (!sweeper->may_move || sweeper->stay || cpu == sweeper->cpu || cpu == sweeper->stuck_cpu || !pyprof__cpus_has(&sweeper->allowed, cpu))
        return 0;
    if (pyprof__cpus_only(cpu)) {
        sweeper->cpu = cpu;
        sweeper->slept_own_ns = 0;
        sweeper->came_ns = pyprof__now() - PYPROF__SWITCH_NS;
        sweeper->hopped = 1;
        return 1;
    }
    if (pyprof__cpus_set(&sweeper->allowed) && pyprof__cpus_get(&now) && !pyprof__cpus_has(&now, cpu)) {   // the cpuset was changed
        sweeper->cpu = -1;
        return 0;
    }
    sweeper->may_move = 0;
    sweeper->degraded = "the system refuses to place the sampler on a CPU";
    return 0;
}

static uint64_t pyprof__threads_ran(const pyprof__sweeper *sweeper)   // since the sweep before, all together
{
    uint64_t ran = 0;
    size_t i;
    for (i = 0; i < sweeper->list.threads.count; i++) {
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, sweeper->list.threads, i);
        if (thread->tick == sweeper->list.tick && thread->last_cpu_ns && thread->cpu_ns > thread->last_cpu_ns)
            ran += thread->cpu_ns - thread->last_cpu_ns;
    }
    return ran;
}

// Was the sampler late because it waited for a CPU, or was busy itself? What is compared is at most a second older than its being late.
static int pyprof__was_queued(pyprof__sweeper *sweeper, uint64_t late)
{
    return pyprof__run_delay(pyprof__gettid()) + pyprof__own_cpu() - sweeper->busy_ns >= late / 2;
}

static void pyprof__busy_note(pyprof__sweeper *sweeper, uint64_t now)   // once a second
{
    if (now < sweeper->busy_due) return;
    sweeper->busy_ns = pyprof__run_delay(pyprof__gettid()) + pyprof__own_cpu();
    sweeper->busy_due = now + pyprof__second;
}

// A CPU taken by a real-time thread starves the sampler, which learns it by being late while threads run: then it keeps away from
// that CPU for ten seconds. What runs there meanwhile is read by copying. Where nobody runs either, it misses nothing.
static void pyprof__watch_lateness(pyprof__sweeper *sweeper, uint64_t now, uint64_t late)   // after a sweep
{
    pyprof__cpus others = sweeper->allowed;
    if (sweeper->stuck_cpu >= 0 && now > sweeper->stuck_until) sweeper->stuck_cpu = -1;
    if (late < PYPROF__STARVED_NS || sweeper->cpu < 0) { sweeper->starved = 0; return; }
    if (pyprof__threads_ran(sweeper) < late / 4 || !pyprof__was_queued(sweeper, late)) return;
    if (++sweeper->starved < PYPROF__STARVED_TICKS && late < PYPROF__STARVED_NS * 5) return;
    sweeper->starved = 0;
    sweeper->stuck_cpu = sweeper->cpu;
    sweeper->stuck_until = now + 10 * pyprof__second;
    sweeper->cpu = -1;
    others.word[(unsigned)sweeper->stuck_cpu / 64] &= ~(1ul << ((unsigned)sweeper->stuck_cpu % 64));
    if (!pyprof__cpus_set(&others)) pyprof__cpus_set(&sweeper->allowed);
    sweeper->degraded = "the sampler was starved on the CPU of the thread it follows and kept away from it for a while";
}

// ---- one window --------------------------------------------------------------------
static unsigned char *pyprof__wanted(pyprof__sweeper *sweeper)   // one flag an owner of blocks
{
    size_t need = sweeper->list.threads.count + PYPROF__OWN_THREADS, i;
    unsigned char *flags;
    sweeper->wanted.count = 0;
    if (!pyprof__array_reserve(&sweeper->pool, &sweeper->wanted, need)) return NULL;
    flags = (unsigned char *)sweeper->wanted.data;
    flags[PYPROF__OWN_LISTS] = 1;
    flags[PYPROF__OWN_NAMES] = flags[PYPROF__OWN_TWINS] = flags[PYPROF__OWN_AWAITS] = 0;
    for (i = PYPROF__OWN_THREADS; i < need; i++) {
        const pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i - PYPROF__OWN_THREADS);
        flags[i] = (unsigned char)(thread->address != 0 && thread->pending);
    }
    sweeper->wanted.count = need;
    return flags;
}

// The clocks come first: what is copied before a clock is read is not covered by it. A thread not known yet has to wait
// for the next window.
static void pyprof__window_clocks(pyprof__sweeper *sweeper)
{
    size_t i;
    sweeper->window++;
    if (!sweeper->fine_clock && sweeper->cpu_word) pyprof__switches_watch(sweeper->cpu_word);
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        int listed = thread->tick == sweeper->list.tick;
        if (thread->address == 0 || (listed && !thread->pending) || thread->tick + 1 < sweeper->list.tick) continue;
        thread->clock_native = thread->native;
        thread->clock_window = sweeper->window;
        thread->clock_ns = pyprof__thread_cpu(thread->native);
        if (!sweeper->fine_clock) thread->clock_cpu = pyprof__cpu_now(sweeper, thread);
    }
}

// Opens a window: forgets all copies, fetches what will be needed, lists the threads. 0 = the list was being changed.
static int pyprof__window_open(pyprof__sweeper *sweeper)
{
    const unsigned char *flags = pyprof__wanted(sweeper);
    pyprof__window_clocks(sweeper);
    pyprof__mirror_begin(&sweeper->mirror);
    if (flags) pyprof__mirror_prefetch(&sweeper->mirror, flags, sweeper->wanted.count);
    PYPROF__TEST_WINDOW();
    sweeper->listed_now = 1;
    pyprof__mirror_own(&sweeper->mirror, PYPROF__OWN_LISTS);
    sweeper->codes.decoded = 0;
    return pyprof__threads_list(&sweeper->list);
}

// Does <GC> belong in a thread's stack? Who collects can become known, or turn out wrong, while the thread stands still.
static int pyprof__should_collect(const pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    if (!gil || !gil->gc.collecting) return 0;
    return sweeper->runtime.layout.gc_frame == PYPROF__NO ? gil->gc.thread == thread->address : thread->collecting;
}

// Is the thread known not to have run since its stack was proven?
static int pyprof__is_unchanged(const pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    return sweeper->fine_clock && !thread->shared_tid && thread->proven_cpu_ns && thread->proven_cpu_ns == thread->cpu_ns
        && thread->proven_top == thread->top && thread->collecting == pyprof__should_collect(sweeper, thread);
}

// What a walk of the thread has to look for where garbage is being collected, as gc tells.
static pyprof__collection *pyprof__walk_expect(pyprof__sweeper *sweeper, pyprof__walk *walk, const pyprof__thread *thread, const pyprof__gc *gc)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    pyprof__collection *collection = NULL;
    if (!gil) return NULL;
    walk->gc_frame = gc->frame;
    if (gc->collecting && gil->gc.thread == thread->address) collection = pyprof__collection_of(&sweeper->list, thread->interp);
    if (collection) walk->steps = &collection->steps;
    return collection;
}

static void pyprof__walk_thread(pyprof__sweeper *sweeper, pyprof__thread *thread, size_t slot)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    pyprof__collection *collection;
    pyprof__walk walk;
    pyprof__gc gc;
    memset(&walk, 0, sizeof walk);
    walk.codes = &sweeper->codes;
    walk.mirror = &sweeper->mirror;
    walk.stack = &thread->trial;
    walk.max_depth = sweeper->max_depth;
    thread->trial_collecting = 0;
    thread->codes_from = sweeper->codes.codes.count;
    sweeper->codes.stamp = gil && sweeper->listed_now ? gil->stamp : 0;
    pyprof__mirror_own(&sweeper->mirror, (uint32_t)slot + PYPROF__OWN_THREADS);
    if (gil && sweeper->listed_now) gc = gil->gc;
    else pyprof__gc_read(&sweeper->mirror, &sweeper->runtime, thread->interp, &gc);   // the list was read earlier
    collection = pyprof__walk_expect(sweeper, &walk, thread, &gc);
    pyprof__walk_tasks(&sweeper->list, &walk, thread);
    thread->cause = pyprof__walk_from(&walk, thread->address, thread->base);
    thread->trial_root = walk.root;
    thread->trial_raising = pyprof__read_pointer(&sweeper->mirror, thread->address + sweeper->runtime.layout.thread_exception) != 0;
    if (thread->cause == 0) thread->cause = pyprof__collection_place(collection, &walk, &thread->trial_collecting);
    if (thread->cause == 0 && thread->trial.spots.count == 0)
        thread->cause = pyprof__stack_push(&sweeper->codes, &thread->trial, PYPROF__SPOT_NATIVE);
    thread->codes_to = sweeper->codes.codes.count;
}

// The trial becomes the thread's stack.
static void pyprof__accept(pyprof__sweeper *sweeper, pyprof__thread *thread, int unfrozen)
{
    pyprof__stack *old = &thread->stack, *fresh = &thread->trial, swap;
    pyprof__collection *collection = thread->trial_collecting ? pyprof__collection_of(&sweeper->list, thread->interp) : NULL;
    if (collection) pyprof__collection_learn(&sweeper->list, collection);
    thread->collecting = thread->trial_collecting > 0;
    thread->raising = !unfrozen && thread->trial_raising;
    thread->pending = 0;
    thread->unfrozen = unfrozen;
    thread->proven_cpu_ns = unfrozen ? 0 : thread->cpu_ns;
    if (!unfrozen) thread->root = thread->trial_root;
    thread->proven_top = thread->top;
    if (old->truncated == fresh->truncated && old->spots.count == fresh->spots.count
        && memcmp(old->spots.data, fresh->spots.data, fresh->spots.count * sizeof(uint32_t)) == 0) return;
    swap = *old;
    *old = *fresh;
    *fresh = swap;
    thread->version++;
}

// What was read while the thread was not proven to stand still may be wrong: let no later sample find it.
static void pyprof__doubt(pyprof__sweeper *sweeper, pyprof__thread *thread)
{
    size_t i;
    for (i = thread->codes_from; i < thread->codes_to; i++) PYPROF__AT(pyprof__code, sweeper->codes.codes, i).key.address = 0;
    if (thread->codes_from < thread->codes_to) pyprof__codes_distrust(&sweeper->codes);
}

// Did the thread not run since the window opened? Its CPU clock tells; where clocks are coarse it does if the sampler has
// been on the thread's CPU from the beginning to the end without a break.
static int pyprof__did_not_run(const pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    int here;
    if (thread->shared_tid || pyprof__thread_cpu(thread->native) != thread->cpu_ns) return 0;
    if (sweeper->fine_clock) return 1;
    if (!sweeper->cpu_word || thread->clock_cpu < 0 || !pyprof__switches_none(sweeper->cpu_word)) return 0;
    here = pyprof__cpu_here(sweeper->cpu_word);
    return thread->clock_cpu == here && pyprof__cpu_now(sweeper, thread) == here && pyprof__switches_none(sweeper->cpu_word);
}

// Does the GIL still belong to the same thread, and did that thread stand still? Then no other of its interpreter's
// threads can have changed a frame, whatever else they did.
static int pyprof__gil_is_frozen(const pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    const pyprof__layout *layout = &sweeper->runtime.layout;
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    const pyprof__thread *holder = NULL;
    uint64_t now = 0;
    uint32_t locked = 0;
    size_t i;
    if (!gil || !gil->enabled || gil->locked != 1) return 0;
    for (i = 0; i < sweeper->list.threads.count && !holder; i++) {
        const pyprof__thread *other = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        if (other->holder && other->address == gil->holder && other->tick == sweeper->list.tick) holder = other;
    }
    if (!holder || !pyprof__did_not_run(sweeper, holder)) return 0;
    return pyprof__copy(&sweeper->source, &now, gil->address + layout->gil_holder, sizeof now) && now == holder->address
        && pyprof__copy(&sweeper->source, &locked, gil->address + layout->gil_locked, sizeof locked) && locked == 1;
}

static int pyprof__stood_still(const pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    if (pyprof__did_not_run(sweeper, thread)) return 1;
    return !thread->holder && pyprof__gil_is_frozen(sweeper, thread);
}

// Decides who has to be walked in this window.
static void pyprof__window_sort(pyprof__sweeper *sweeper)
{
    size_t i;
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        if (thread->tick != sweeper->list.tick || (!thread->fresh && !thread->pending)) continue;
        thread->clocked = thread->clock_window == sweeper->window && thread->clock_native == thread->native;
        if (!thread->clocked) continue;
        thread->cpu_ns = thread->clock_ns;
        if (thread->cpu_ns == 0) { thread->tick--; continue; }   // the OS thread has ended, its state is about to go
        if (thread->fresh) thread->waiting = thread->cpu_ns == thread->last_cpu_ns;
        thread->fresh = 0;
        thread->pending = !pyprof__is_unchanged(sweeper, thread);
        if (!thread->pending) thread->cause = 0;
    }
}

// Does the thread wait at this instant? Its clock stands still and it does not hold the GIL. The one thread that stands
// still because the sampler has taken its CPU is the holder; where nobody holds the GIL, one that ran lately on this CPU.
static int pyprof__is_waiting(pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    int ran = thread->cpu_ns != thread->last_cpu_ns;
    if (!ran) return 1;
    if (thread->holder || thread->shared_tid || !sweeper->fine_clock || pyprof__thread_cpu(thread->native) != thread->cpu_ns) return 0;
    return (gil && gil->enabled && gil->locked == 1) || pyprof__cpu_of(sweeper, thread) != pyprof__cpu_here(sweeper->cpu_word);
}

// Free-threaded builds: what runs on another CPU at this moment is read there. Not worth a look with a GIL, whose holder the
// sampler has already followed, unless it may not.
static int pyprof__runs_elsewhere(pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    if ((gil && gil->enabled && !sweeper->stay) || !sweeper->fine_clock) return 0;
    if (pyprof__cpu_of(sweeper, thread) == pyprof__cpu_here(sweeper->cpu_word)) return 0;
    return pyprof__thread_cpu(thread->native) != thread->cpu_ns;
}

typedef struct {
    int remaining;     // threads still without a stack
    int again;         // some only for lack of time
    int halfway;       // some that stood still in the middle of a call: their frames are not linked up yet
} pyprof__outcome;

// Walks everybody pending and accepts who stood still.
static pyprof__outcome pyprof__window_walk(pyprof__sweeper *sweeper)
{
    pyprof__outcome outcome = { 0, 0, 0 };
    size_t i;
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        if (thread->tick != sweeper->list.tick || !thread->pending) continue;
        thread->codes_from = thread->codes_to = 0;
        if (!thread->clocked || sweeper->codes.decoded >= PYPROF__MAX_DECODED) thread->cause = PYPROF__AGAIN;
        else if (pyprof__runs_elsewhere(sweeper, thread)) thread->cause = PYPROF_CAUSE_MOVED + 1;
        else pyprof__walk_thread(sweeper, thread, i);
    }
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        int still;
        if (thread->tick != sweeper->list.tick || !thread->pending) continue;
        still = !thread->clocked || pyprof__stood_still(sweeper, thread);
        thread->waiting = pyprof__is_waiting(sweeper, thread);
        if (!still) pyprof__doubt(sweeper, thread);
        if (still && thread->cause == 0) pyprof__accept(sweeper, thread, 0);
        else {
            outcome.remaining++;
            outcome.again |= still && thread->cause == PYPROF__AGAIN;
            outcome.halfway |= still && thread->cause != PYPROF__AGAIN;
            if (!still && thread->cause == 0) thread->cause = PYPROF_CAUSE_MOVED + 1;
        }
    }
    return outcome;
}

// The thread to follow: a pending one that holds a GIL, on this CPU if there is one; else any pending one; else a holder.
// Interpreters with a GIL of their own have a holder each.
static pyprof__thread *pyprof__to_follow(pyprof__sweeper *sweeper)
{
    pyprof__thread *found = NULL;
    int best = 0, rank;
    size_t i;
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        if (thread->tick != sweeper->list.tick || (!thread->holder && !thread->pending)) continue;
        rank = !thread->pending ? 1 : 2 + 2 * thread->holder;
        if (rank > 1 && rank + 1 > best && pyprof__cpu_of(sweeper, thread) == sweeper->cpu) rank++;
        if (rank > best) { best = rank; found = thread; }
    }
    return found;
}

// Goes to the CPU of a thread that runs there. One that is off its CPU is frozen already, and whoever has that CPU may keep it for long.
static int pyprof__follow(pyprof__sweeper *sweeper, const pyprof__thread *thread)   // 1 = the sampler moved there
{
    int cpu = pyprof__cpu_of(sweeper, thread);
    if (cpu == sweeper->cpu) return 0;
    if (sweeper->fine_clock && thread->clock_window && sweeper->cpu >= 0 && pyprof__thread_cpu(thread->native) == thread->clock_ns) return 0;
    return pyprof__go_to(sweeper, cpu);
}

static void pyprof__windows(pyprof__sweeper *sweeper)
{
    uint64_t end = pyprof__now() + PYPROF__WINDOW_NS;
    pyprof__outcome outcome = { 0, 0, 0 };
    int attempt, rounds = 0, attempts = sweeper->may_move && !sweeper->stay ? PYPROF__ATTEMPTS : 1;
    sweeper->listed = 0;
    for (attempt = 0; attempt < attempts || (!sweeper->listed && attempt < PYPROF__ATTEMPTS); attempt += !outcome.again) {
        pyprof__thread *follow;
        outcome.again = 0;
        if (!pyprof__window_open(sweeper)) { sweeper->retried++; continue; }
        sweeper->listed = 1;
        follow = pyprof__to_follow(sweeper);
        if (follow && follow->holder && pyprof__follow(sweeper, follow) && !pyprof__window_open(sweeper)) continue;
        pyprof__window_sort(sweeper);
        outcome = pyprof__window_walk(sweeper);
        if (outcome.remaining == 0) break;
        if (!outcome.again) sweeper->retried += (uint64_t)outcome.remaining;
        if (++rounds > 200 || (!outcome.again && pyprof__now() > end)) break;
        follow = pyprof__to_follow(sweeper);
        if (follow && !outcome.again && pyprof__follow(sweeper, follow)) continue;
        if (outcome.halfway) pyprof__nap(1000l << 2 * attempt);   // longer and longer: others may get the CPU first
    }
}

// ---- PYPROF_CAPTURE_SIGNAL -----------------------------------------------------------
static void pyprof__prefetch_alone(pyprof__sweeper *sweeper, size_t slot)
{
    unsigned char *flags = (unsigned char *)sweeper->wanted.data;
    memset(flags, 0, sweeper->wanted.count);
    if (slot + PYPROF__OWN_THREADS < sweeper->wanted.count) flags[slot + PYPROF__OWN_THREADS] = 1;
    pyprof__mirror_prefetch(&sweeper->mirror, flags, sweeper->wanted.count);
}

static void pyprof__walk_alone(pyprof__sweeper *sweeper, pyprof__thread *thread, size_t slot)
{
    pyprof__mirror_begin(&sweeper->mirror);
    pyprof__prefetch_alone(sweeper, slot);
    PYPROF__TEST_WINDOW();
    sweeper->codes.decoded = 0;
    sweeper->listed_now = 0;
    pyprof__walk_thread(sweeper, thread, slot);
}

// Only a thread that is on a CPU is interrupted: its clock moves from one reading to the next. All others stand still.
static void pyprof__hold_and_walk(pyprof__sweeper *sweeper, pyprof__thread *thread, size_t slot)
{
    struct sigaction now;
    int attempt, held;
    if (thread->shared_tid || thread->deaf_until > sweeper->list.tick) return;
    if (!pyprof__hold_is_ours(&now)) {
        sweeper->degraded = "the handler for SIGURG was replaced: threads that run are read by copying";
        return;
    }
    if (!thread->listens && pyprof__signal_is_blocked(thread->native, PYPROF__HOLD_SIGNAL)) {   // it would be left pending
        thread->deaf_until = sweeper->list.tick + 1000;
        return;
    }
    thread->listens = 1;
    for (attempt = 0; attempt < PYPROF__ATTEMPTS && thread->pending; attempt++) {
        uint64_t clock = pyprof__thread_cpu(thread->native);
        if (clock == 0 || clock == pyprof__thread_cpu(thread->native)) return;
        if (!pyprof__hold_begin(thread->native)) {
            thread->deaf_until = sweeper->list.tick + (1u << thread->deaf);   // it may block the signal: each wait for it is dear
            thread->deaf += thread->deaf < 8;
            thread->listens = 0;
            return;
        }
        thread->deaf = 0;
        pyprof__walk_alone(sweeper, thread, slot);
        held = pyprof__hold_end();
        if (!held) pyprof__doubt(sweeper, thread);
        if (held && thread->cause == 0) {
            pyprof__accept(sweeper, thread, 0);
            thread->proven_cpu_ns = 0;   // it goes on at once: the clock read before says nothing about this stack
        } else sweeper->retried++;
    }
}

// ---- when freezing fails -------------------------------------------------------------
// A chain cut short while it was read ends at a frame that is not the thread's outermost one. Which frame that is was
// proven earlier; where nothing ever was, or where the program now runs from another root, the readings vote.
static int pyprof__root_is_known(pyprof__thread *thread, uint32_t tick)
{
    uint32_t need = thread->root ? 32 : 8;
    if (thread->trial.truncated) return 1;
    if (thread->trial_root == thread->root) { thread->other_seen = 0; return 1; }
    // Without a clock of its own: without the GIL it moves little, and with it the clock it claims is likely its own.
    if (thread->shared_tid && (!thread->holder || pyprof__thread_cpu(thread->native) == thread->clock_ns)) return 1;
    if (thread->vote_tick == tick) return 0;   // one vote a sweep: what is wrong is wrong for many tries
    thread->vote_tick = tick;
    if (thread->other_seen == 0) thread->other_root = thread->trial_root;
    if (thread->trial_root != thread->other_root) { thread->other_seen--; return 0; }
    if (++thread->other_seen < need) return 0;
    thread->root = thread->other_root;
    return 1;
}

// What a walk touched, in that order, and behind it what was read twice before.
static void pyprof__twins_add(pyprof__sweeper *sweeper, uint64_t base)
{
    size_t i;
    for (i = 0; i < sweeper->twin_count; i++)
        if (sweeper->twins[i] == base) return;
    if (sweeper->twin_count < PYPROF__TWINS) sweeper->twins[sweeper->twin_count++] = base;
}

static void pyprof__twins_learn(pyprof__sweeper *sweeper, size_t aside)   // aside: so many were touched before the walk began
{
    const pyprof__mirror *mirror = &sweeper->mirror;
    const pyprof__array *ids = PYPROF__OWN_TWINS < mirror->plans.count ? &PYPROF__AT(const pyprof__plan, mirror->plans, PYPROF__OWN_TWINS).ids : NULL;
    uint64_t before[PYPROF__TWINS];
    size_t i, known = ids ? ids->count : 0, count = sweeper->twin_count, inner;
    memcpy(before, sweeper->twins, count * sizeof *before);
    sweeper->twin_count = 0;
    if (aside > known) aside = known;
    inner = known - aside < PYPROF__INNER ? known - aside : (size_t)PYPROF__INNER;   // the head and the innermost frames change most
    for (i = 0; i < known && i < PYPROF__TWINS; i++) {
        size_t nth = i < inner ? aside + i : i < inner + aside ? i - inner : i;
        const pyprof__block *block = &PYPROF__AT(const pyprof__block, mirror->blocks, PYPROF__AT(const uint32_t, *ids, nth));
        if (block->epoch != mirror->epoch || block->offset != PYPROF__NONE) pyprof__twins_add(sweeper, block->base);
    }
    for (i = 0; i < count && i < PYPROF__TWINS / 4; i++)   // one that cannot be read would stop the copy each time
        if (before[i] != mirror->unreadable) pyprof__twins_add(sweeper, before[i]);
}

static size_t pyprof__twins_touched(const pyprof__mirror *mirror)   // so far
{
    return PYPROF__OWN_TWINS < mirror->plans.count ? PYPROF__AT(const pyprof__plan, mirror->plans, PYPROF__OWN_TWINS).next.count : 0;
}

static int pyprof__head_held(pyprof__sweeper *sweeper, const pyprof__thread *thread)   // what says where the top is
{
    const pyprof__layout *layout = &sweeper->runtime.layout;
    pyprof__mirror *mirror = &sweeper->mirror;
    uint64_t loop, head = thread->address + layout->thread_frame;
    if (!pyprof__twins_agree(mirror, head, 8, 0)) return 0;
    if (layout->cframe_current == PYPROF__NO) return 1;
    head = pyprof__read_pointer(mirror, head);
    if (!head || !pyprof__twins_agree(mirror, head + layout->cframe_current, 8, 0)) return 0;
    loop = pyprof__read_pointer(mirror, head + layout->cframe_previous);
    return pyprof__twins_agree(mirror, head + layout->cframe_previous, 8, 0)
        && (!loop || pyprof__twins_agree(mirror, loop + layout->cframe_current, 8, 0));
}

// Did a frame hold? The innermost one may have moved on within its function. A caller stands still while its callee runs, with
// all its locals and its value stack: where the callee's frame follows (3.11 and later), all between is compared. A loop that
// came round to the same calls in the meantime has moved something there.
static int pyprof__link_held(pyprof__sweeper *sweeper, const pyprof__link *link, const pyprof__link *callee, int outer)
{
    const pyprof__layout *layout = &sweeper->runtime.layout;
    pyprof__mirror *mirror = &sweeper->mirror;
    size_t width = layout->instr_form == PYPROF__INSTR_POINTER ? 8 : 4;
    if (!pyprof__twins_agree(mirror, link->at + layout->frame_previous, 8, outer)) return 0;
    if (!pyprof__twins_agree(mirror, link->at + layout->frame_code, 8, outer)) return 0;
    if (!callee) return 1;
    if (layout->frame_owner != PYPROF__NO && callee->at > link->at && callee->at - link->at < 2048)
        return pyprof__twins_agree(mirror, link->at, (size_t)(callee->at - link->at), outer);
    if (link->frame.local && !pyprof__twins_agree(mirror, link->at + layout->frame_locals, 8, outer)) return 0;
    return pyprof__twins_agree(mirror, link->at + layout->frame_instr, width, outer);
}

// Did all that was walked hold while both copies were made? A stack too deep to be read twice as a whole is read on from the
// last frame that held; while that is on the stack, those below it do not change: it is looked at once more.
static int pyprof__links_held(pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    const pyprof__layout *layout = &sweeper->runtime.layout;
    const pyprof__link *last = NULL;
    char raw[512];
    size_t i;
    if (!pyprof__head_held(sweeper, thread)) return 0;
    for (i = 0; i < sweeper->links.count; i++) {
        const pyprof__link *link = &PYPROF__AT(const pyprof__link, sweeper->links, i);
        if (pyprof__link_held(sweeper, link, i ? link - 1 : NULL, i > 1)) { last = link; continue; }
        if (i < PYPROF__DEEP || sweeper->twin_count < PYPROF__TWINS) return 0;
        return pyprof__copy(&sweeper->source, raw, last->at, layout->frame_size)
            && memcmp(raw + layout->frame_previous, &last->frame.previous, 8) == 0;
    }
    return 1;
}

// Did the task that was met hold? All of what it was told by is compared: a task that ended and the one that came after it
// often lie at the same place.
static int pyprof__task_held(pyprof__sweeper *sweeper, const pyprof__walk *walk, const pyprof__thread *thread)
{
    const pyprof__layout *layout = &sweeper->runtime.layout;
    pyprof__mirror *mirror = &sweeper->mirror;
    if (!walk->task_at) return 1;
    if (sweeper->list.has_asyncio && !pyprof__twins_agree(mirror, thread->address + sweeper->list.asyncio.thread_task, 8, 0)) return 0;
    return pyprof__twins_agree(mirror, walk->task + walk->task_coro_at, 8, 0)
        && pyprof__twins_agree(mirror, walk->task + walk->task_name_at, 8, 0)
        && pyprof__twins_agree(mirror, walk->task_named, layout->str_compact + strlen(walk->task_text), 0);
}

// The codes of frames that held. 0 = a stack, else a pyprof_cause + 1.
static int pyprof__links_resolve(pyprof__sweeper *sweeper, pyprof__walk *walk, const pyprof__array *links, pyprof__collection *collection,
                                 pyprof__thread *thread)
{
    size_t i;
    uint32_t met = walk->gc_met;   // counted in links
    int cause = 0, truncated = walk->stack->truncated;
    walk->gc_met = 0;
    walk->stack->spots.count = 0;
    walk->last_address = 0;
    sweeper->codes.stamp = 0;
    for (i = 0; i < links->count && cause == 0; i++) {
        const pyprof__link *link = &PYPROF__AT(const pyprof__link, *links, i);
        const pyprof__raw_frame *frame = &link->frame;
        if (met == i + 1) walk->gc_met = (uint32_t)walk->stack->spots.count + 1;
        cause = pyprof__walk_frame(walk, link->at, frame);
        if (cause == 0 && walk->codes->layout->code_units != PYPROF__NO && pyprof__frame_instruction(walk->mirror, walk->codes->layout, frame)
            > (int64_t)PYPROF__AT(pyprof__code, walk->codes->codes, walk->last_code).key.units) cause = PYPROF_CAUSE_CHAIN + 1;
        if (cause == 0 && i + 1 == walk->task_at)
            cause = pyprof__stack_push(walk->codes, walk->stack, pyprof__task_spot(walk->codes, walk->task_text));
    }
    if (met && met == links->count + 1) walk->gc_met = (uint32_t)walk->stack->spots.count + 1;
    if (cause == 0) cause = pyprof__collection_place(collection, walk, &thread->trial_collecting);
    if (cause == 0 && truncated) cause = pyprof__stack_push(walk->codes, walk->stack, PYPROF__SPOT_TRUNCATED);
    if (cause == 0 && walk->stack->spots.count == 0) cause = pyprof__stack_push(walk->codes, walk->stack, PYPROF__SPOT_NATIVE);
    return cause;
}

// Code objects first read while the thread ran: one that is still the same now was alive all the while, and its names are
// its own. 0 = one was not.
static int pyprof__codes_confirm(pyprof__sweeper *sweeper, size_t from)
{
    pyprof__code_key key;
    size_t i;
    int good = 1;
    if (from < sweeper->codes.codes.count) pyprof__mirror_begin(&sweeper->mirror);
    for (i = from; i < sweeper->codes.codes.count; i++) {
        pyprof__code *code = &PYPROF__AT(pyprof__code, sweeper->codes.codes, i);
        if (code->key.address == 0) continue;
        if (pyprof__code_key_read(&sweeper->codes, &sweeper->mirror, code->key.address, &key) == 0
            && memcmp(&key, &code->key, sizeof key) == 0) continue;
        code->key.address = 0;
        good = 0;
    }
    if (!good) pyprof__codes_distrust(&sweeper->codes);
    return good;
}

// One try to read a thread that runs. 0 = trial is its stack, else a pyprof_cause + 1.
static int pyprof__converge_once(pyprof__sweeper *sweeper, pyprof__thread *thread, size_t slot, int tasks)
{
    size_t codes = sweeper->codes.codes.count;
    pyprof__collection *collection;
    pyprof__walk walk;
    pyprof__gc gc;
    char before[PYPROF__GC_SIZE], after[PYPROF__GC_SIZE];
    uint64_t gc_from;
    size_t aside, gc_size;
    int cause, held;
    memset(&walk, 0, sizeof walk);
    walk.codes = &sweeper->codes;
    walk.mirror = &sweeper->mirror;
    walk.stack = &thread->trial;
    walk.max_depth = sweeper->max_depth;
    walk.links = &sweeper->links;
    sweeper->links.count = 0;
    gc_size = pyprof__gc_range(&sweeper->runtime, thread->interp, &gc_from);   // read apart: it changes all the time on the other CPU
    memset(&gc, 0, sizeof gc);
    if (gc_size && pyprof__copy(&sweeper->source, before, gc_from, gc_size)) pyprof__gc_parse(&sweeper->runtime.layout, before, &gc);
    else gc_size = 0;
    pyprof__mirror_begin(&sweeper->mirror);
    pyprof__mirror_twice(&sweeper->mirror, sweeper->twins, sweeper->twin_count);
    pyprof__mirror_own(&sweeper->mirror, PYPROF__OWN_TWINS);
    if (tasks) pyprof__walk_tasks(&sweeper->list, &walk, thread);
    collection = pyprof__walk_expect(sweeper, &walk, thread, &gc);
    aside = pyprof__twins_touched(&sweeper->mirror);
    cause = pyprof__walk_from(&walk, thread->address, thread->base);
    held = cause == 0 && pyprof__links_held(sweeper, thread) && pyprof__task_held(sweeper, &walk, thread)
        && (!gc_size || (pyprof__copy(&sweeper->source, after, gc_from, gc_size) && memcmp(before, after, gc_size) == 0));
    pyprof__mirror_own(&sweeper->mirror, PYPROF__NONE);
    pyprof__twins_learn(sweeper, aside);
    if (!held && cause == 0 && walk.root == thread->root && !walk.stack->truncated) {   // its outer part may be sure
        pyprof__array swap = sweeper->doubtful;
        sweeper->doubtful = sweeper->links;
        sweeper->links = swap;
    }
    if (!held) return cause ? cause : PYPROF_CAUSE_MOVED + 1;
    thread->trial_root = walk.root;
    sweeper->codes.decoded = 0;
    pyprof__prefetch_alone(sweeper, slot);
    pyprof__mirror_own(&sweeper->mirror, (uint32_t)slot + PYPROF__OWN_THREADS);
    cause = pyprof__links_resolve(sweeper, &walk, &sweeper->links, collection, thread);
    if (cause == 0 && !pyprof__root_is_known(thread, sweeper->list.tick)) cause = PYPROF_CAUSE_CHAIN + 1;
    return pyprof__codes_confirm(sweeper, codes) || cause ? cause : PYPROF_CAUSE_CODE + 1;
}

// Reads a thread that runs until nothing that says what its stack is has changed while it was read twice.
static void pyprof__converge(pyprof__sweeper *sweeper, pyprof__thread *thread, size_t slot)
{
    int attempt;
    sweeper->twin_count = thread->twins.count;   // what was read last time
    if (thread->twins.count) memcpy(sweeper->twins, thread->twins.data, thread->twins.count * sizeof *sweeper->twins);
    thread->cause = PYPROF_CAUSE_MOVED + 1;
    sweeper->doubtful.count = 0;
    for (attempt = 0; attempt < PYPROF__TRIES && thread->cause; attempt++) {
        thread->cause = pyprof__converge_once(sweeper, thread, slot, attempt < PYPROF__TRIES / 2);   // the rest of the stack is worth more
        sweeper->retried += thread->cause != 0;
    }
    if (thread->cause == 0) pyprof__accept(sweeper, thread, 1);
    thread->twins.count = 0;
    if (!pyprof__array_reserve(&sweeper->pool, &thread->twins, sweeper->twin_count)) return;
    if (sweeper->twin_count) memcpy(thread->twins.data, sweeper->twins, sweeper->twin_count * sizeof *sweeper->twins);
    thread->twins.count = sweeper->twin_count;
}

// What of a stack that could not be read is sure all the same: the outer frames that the last good one and the latest
// doubtful one that was whole have in common.
static void pyprof__keep_stable(pyprof__sweeper *sweeper, pyprof__thread *thread)
{
    size_t codes = sweeper->codes.codes.count, n = thread->stack.spots.count, m, k = 0;
    const uint32_t *good = (const uint32_t *)thread->stack.spots.data, *doubtful;
    pyprof__walk walk;
    thread->stable = 0;
    if (sweeper->doubtful.count == 0 || thread->stack.truncated) return;
    memset(&walk, 0, sizeof walk);
    walk.codes = &sweeper->codes;
    walk.mirror = &sweeper->mirror;
    walk.stack = &thread->trial;
    thread->trial.truncated = 0;
    pyprof__mirror_begin(&sweeper->mirror);
    if (pyprof__links_resolve(sweeper, &walk, &sweeper->doubtful, NULL, thread) == 0) {
        doubtful = (const uint32_t *)thread->trial.spots.data;
        m = thread->trial.spots.count;
        while (k < n && k < m && good[n - 1 - k] == doubtful[m - 1 - k]) k++;
        thread->stable = (uint32_t)k;
    }
    pyprof__codes_confirm(sweeper, codes);
}

// ---- why a thread takes time ------------------------------------------------------------
// Functions of the standard library in which a thread waits for work: file and name.
static const char *const pyprof__idle_functions[][2] = {
    { "threading.py", "wait" }, { "threading.py", "join" }, { "threading.py", "_wait_for_tstate_lock" }, { "threading.py", "_shutdown" },
    { "queue.py", "get" }, { "queue.py", "join" }, { "thread.py", "_worker" }, { "selectors.py", "select" }, { "selectors.py", "_select" },
    { "socket.py", "accept" }, { "connection.py", "accept" }, { "connection.py", "wait" },
};

static int pyprof__is_idle_function(const pyprof__codes *codes, uint32_t spot)
{
    const pyprof__code *code = &PYPROF__AT(const pyprof__code, codes->codes, PYPROF__AT(const pyprof__spot, codes->spots, spot).code);
    const char *file = pyprof__string(&codes->strings, code->file), *name = pyprof__string(&codes->strings, code->name);
    const char *slash = strrchr(file, '/');
    size_t i;
    for (i = 0; i < PYPROF__COUNT(pyprof__idle_functions); i++)
        if (strcmp(pyprof__idle_functions[i][1], name) == 0 && strcmp(pyprof__idle_functions[i][0], slash ? slash + 1 : file) == 0) return 1;
    return 0;
}

// The leaf of a wait. After so many different files and peers only the kind of wait is told of new ones: they must not fill the
// memory.
static uint32_t pyprof__wait_leaf(pyprof__sweeper *sweeper, const pyprof__wait *wait)
{
    char target[sizeof wait->target * 3];
    size_t known = sweeper->codes.codes.count;
    uint32_t spot;
    pyprof__utf8_repair(target, sizeof target, wait->target);
    spot = pyprof__spot_known(&sweeper->codes, PYPROF_KIND_WAIT, wait->verb, target, wait->path && target[0], sweeper->targets < PYPROF__TARGETS);
    if (spot == PYPROF__NONE && target[0]) {
        sweeper->degraded = "so many different files and peers were waited for that new ones are not named";
        return pyprof__spot_named(&sweeper->codes, PYPROF_KIND_WAIT, wait->verb, "", 0);
    }
    sweeper->targets += target[0] != 0 && sweeper->codes.codes.count > known;
    return spot;
}

static uint32_t pyprof__gil_leaf(pyprof__sweeper *sweeper) { return pyprof__spot_named(&sweeper->codes, PYPROF_KIND_WAIT, "GIL", "", 0); }

// A thread that waits for the GIL wakes up every 5 ms to ask for it (Python/ceval_gil.h, take_gil): its clock moves a little, its
// stack does not.
static int pyprof__still_wants_gil(const pyprof__thread *thread, uint64_t now)
{
    uint64_t waited = now - thread->spell_at;
    return thread->spell_ns && (thread->spell & PYPROF__WANTS_GIL) && !thread->holder && thread->spell_version == thread->version
        && thread->cpu_ns - thread->spell_ns <= 30000 * (1 + waited / 5000000);
}

static uint32_t pyprof__running_state(const pyprof__thread *thread, const pyprof__gil *gil)
{
    if (thread->holder) return PYPROF__HAS_GIL;
    return gil && gil->enabled ? PYPROF__IS_NOGIL | PYPROF__IS_NATIVE : 0;
}

// It ran all the time since the last sweep, but for what the sampler took and a little: it still does.
static int pyprof__ran_through(const pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    uint64_t elapsed = sweeper->elapsed_ns;
    return thread->last_cpu_ns && thread->cpu_ns - thread->last_cpu_ns + sweeper->took_ns >= elapsed - elapsed / 64;
}

static int pyprof__is_moving(pyprof__sweeper *sweeper, const pyprof__thread *thread)   // it runs at this moment, on another CPU
{
    if (pyprof__cpu_of(sweeper, thread) == pyprof__cpu_here(sweeper->cpu_word)) return 0;
    return !sweeper->fine_clock || thread->unfrozen || pyprof__thread_cpu(thread->native) != thread->cpu_ns;
}

// The sampler has been on the CPU nearly all the time since the sweep before, and the thread did not run.
static int pyprof__had_no_time(const pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    return thread->decided + 1 == sweeper->list.tick && sweeper->fine_clock && thread->cpu_ns == thread->last_cpu_ns
        && sweeper->elapsed_ns < sweeper->took_ns + PYPROF__SWITCH_NS;
}

// What is known of a thread without looking at it. What it waits for stays the same until its clock moves. One that stands still
// now and ran before is UNSEEN: it waits, or the sampler has stopped it.
enum { PYPROF__VIEW_STILL, PYPROF__VIEW_RUNS, PYPROF__VIEW_SAME, PYPROF__VIEW_MAYBE, PYPROF__VIEW_UNSEEN };   // MAYBE: it waited for the GIL

static int pyprof__view_of(pyprof__sweeper *sweeper, const pyprof__thread *thread)
{
    int runs = !thread->waiting && (thread->holder || pyprof__ran_through(sweeper, thread) || pyprof__is_moving(sweeper, thread));
    int same = !runs && sweeper->fine_clock && thread->spell_ns && thread->spell_ns == thread->cpu_ns && !(thread->spell & PYPROF__WANTS_CPU);
    if (pyprof__had_no_time(sweeper, thread)) return PYPROF__VIEW_STILL;
    if (same || thread->stayed) {
        if (thread->spell_assumed) return PYPROF__VIEW_MAYBE;
        return same || thread->spell_switches == thread->held_by ? PYPROF__VIEW_SAME : PYPROF__VIEW_MAYBE;   // nobody got it since
    }
    return runs ? PYPROF__VIEW_RUNS : PYPROF__VIEW_UNSEEN;
}

static void pyprof__spell_begin(pyprof__thread *thread, uint64_t now, int assumed)
{
    thread->spell_ns = thread->cpu_ns;
    thread->spell_at = now;
    thread->spell_version = thread->version;
    thread->spell_switches = thread->held_by;
    thread->spell_assumed = assumed;
}

// It is in the GIL's queue: that has been concluded.
static void pyprof__spell_assume(pyprof__sweeper *sweeper, pyprof__thread *thread, uint64_t now)
{
    thread->waiting = 1;
    if (thread->view == PYPROF__VIEW_MAYBE) return;
    thread->spell = PYPROF__WANTS_GIL;
    thread->spell_leaf = pyprof__gil_leaf(sweeper);
    pyprof__spell_begin(thread, now, 1);
}

// time.sleep is a select up to 3.10: where the call's arguments cannot be read, its name tells it from others.
static void pyprof__wait_for_time(pyprof__sweeper *sweeper, const pyprof__thread *thread, pyprof__wait *wait)
{
    const char *name, *last;
    uint32_t callee = 0;
    if (!wait->some_poll || thread->cause || thread->stack.spots.count == 0) return;
    callee = pyprof__spot_callee(&sweeper->codes, &sweeper->mirror, PYPROF__AT(uint32_t, thread->stack.spots, 0));
    name = callee ? pyprof__string(&sweeper->codes.strings, callee - 1) : "";
    last = strrchr(name, '.');
    if (strcmp(last ? last + 1 : name, "sleep") != 0) return;
    memcpy(wait->verb, "sleep", 6);
    wait->idle = 1;
}

// Looks at what a thread waits for that seems to stand still. 1 = known.
static int pyprof__spell(pyprof__sweeper *sweeper, pyprof__thread *thread)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    uint64_t now = pyprof__now();
    int wanted_gil = pyprof__still_wants_gil(thread, now) && !thread->spell_assumed;
    pyprof__call call;
    pyprof__wait wait;
    thread->spell = 0;
    thread->spell_leaf = PYPROF__NONE;
    thread->spell_ns = 0;
    if (sweeper->looks++ >= PYPROF__LOOKS) { thread->put_off = 1; return 0; }
    switch (pyprof__call_read(thread->native, &call)) {
    case PYPROF__CALL_UNKNOWN:
        thread->spell = PYPROF__IS_UNKNOWN;
        break;
    case PYPROF__CALL_RUNS:   // woken up, but it has not got the GIL yet
        if (!wanted_gil && !sweeper->fine_clock) { thread->waiting = 0; return 0; }   // it runs
        thread->spell = wanted_gil ? PYPROF__WANTS_GIL : PYPROF__WANTS_CPU;
        if (wanted_gil) thread->spell_leaf = pyprof__gil_leaf(sweeper);
        break;
    case PYPROF__CALL_BLOCKED:
        pyprof__wait_describe(&sweeper->source, thread->native, &call, &wait);
        pyprof__wait_for_time(sweeper, thread, &wait);
        if (wait.some_futex ? wanted_gil : wait.futex && gil && wait.futex - gil->address < PYPROF__GIL_SIZE) {
            thread->spell = PYPROF__WANTS_GIL;
            memcpy(wait.verb, "GIL", 4);
        } else if (wait.idle || (thread->cause == 0 && pyprof__is_idle_function(&sweeper->codes, PYPROF__AT(uint32_t, thread->stack.spots, 0))))
            thread->spell = PYPROF__IS_IDLE;
        thread->spell_leaf = pyprof__wait_leaf(sweeper, &wait);
    }
    if (sweeper->fine_clock && pyprof__thread_cpu(thread->native) != thread->cpu_ns) {   // it went on: all that may be of something else
        thread->spell = 0;
        thread->spell_leaf = PYPROF__NONE;
        return 0;
    }
    pyprof__spell_begin(thread, now, 0);
    return 1;
}

static void pyprof__meet_rival(const pyprof__sweeper *sweeper, pyprof__thread *thread, const pyprof__gil *gil)   // who holds the GIL that it wants
{
    if (!gil || gil->holder == thread->address || gil->slot == PYPROF__NONE) return;
    thread->rival = gil->slot;
    thread->rival_serial = PYPROF__AT(const pyprof__thread, sweeper->list.threads, gil->slot).serial;
}

static void pyprof__state_waits(pyprof__sweeper *sweeper, pyprof__thread *thread, const pyprof__gil *gil)   // as its spell tells
{
    thread->state = PYPROF__IS_WAITING | thread->spell;
    if (thread->holder && !(thread->spell & PYPROF__WANTS_GIL)) thread->state |= PYPROF__HAS_GIL;   // it can be the last that had it
    thread->leaf = thread->spell_leaf;
    if (thread->spell & PYPROF__WANTS_GIL) pyprof__meet_rival(sweeper, thread, gil);
}

// queued: it is in the GIL's queue.
static void pyprof__state_of(pyprof__sweeper *sweeper, pyprof__thread *thread, uint64_t now, int queued)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    thread->leaf = PYPROF__NONE;
    thread->rival = PYPROF__NONE;
    thread->state = pyprof__running_state(thread, gil);
    if (queued) pyprof__spell_assume(sweeper, thread, now);
    else if (thread->view == PYPROF__VIEW_RUNS) thread->spell_ns = 0;
    else if (thread->view == PYPROF__VIEW_SAME || pyprof__spell(sweeper, thread)) thread->waiting = 1;
    if (thread->waiting && !thread->put_off) pyprof__state_waits(sweeper, thread, gil);
}

// ---- who ran at the tick ------------------------------------------------------------------
// On the CPU that the sampler has taken one thread was running when it came. The scheduler notes for each thread when it last ran: for
// that one it is the moment at which the sampler came, for one that waited in the queue, or fell asleep, it was before.
// Each CPU has a scheduler's clock of its own, from which time that a hypervisor took is left out.
static void pyprof__ask_mine(pyprof__sweeper *sweeper)
{
    if (!sweeper->mine) sweeper->mine = pyprof__last_run(pyprof__gettid());
}

static void pyprof__ahead_learn(pyprof__sweeper *sweeper, uint64_t mine, uint64_t now)
{
    int here = pyprof__cpu_here(sweeper->cpu_word);
    if (mine <= PYPROF__LAST_MOVED || here < 0) return;
    sweeper->ahead[here % PYPROF__AHEAD_CPUS].ns = (int64_t)(mine - now);
    sweeper->ahead[here % PYPROF__AHEAD_CPUS].at = now;
}

// Since when a thread that stands still has been off its CPU; *until = it was on this one until the sampler came. 0 = not told. One that
// was moved to another CPU's queue is not the one that the sampler stopped: then it is "before this sweep", and no more is known.
static uint64_t pyprof__off_since(pyprof__sweeper *sweeper, pyprof__thread *thread, int *until)
{
    int first = thread->left_cpu_ns && thread->left_cpu_ns == thread->cpu_ns, cpu = pyprof__cpu_of(sweeper, thread);
    int here = pyprof__cpu_here(sweeper->cpu_word);
    uint64_t last, woke = sweeper->list.now_ns, off;
    *until = 0;
    if (sweeper->looks++ >= PYPROF__LOOKS) { thread->put_off = 1; return 0; }
    last = first ? thread->left : pyprof__last_run(thread->native);
    if (last == 0 || cpu < 0) return 0;
    if (last == PYPROF__LAST_MOVED) return woke - PYPROF__SWITCH_NS - 1;
    if (cpu == here && first && sweeper->mine > PYPROF__LAST_MOVED && !sweeper->hopped) {
        *until = last + PYPROF__BLUR_NS >= sweeper->mine;
        return sweeper->came_ns - (sweeper->mine - last);
    }
    // This thread's own last account is the one for which decide_states has asked for its CPU time.
    if (cpu == here) pyprof__ahead_learn(sweeper, pyprof__last_run(pyprof__gettid()), sweeper->decided_ns);
    if (!sweeper->ahead[cpu % PYPROF__AHEAD_CPUS].at || woke > PYPROF__AHEAD_NS + sweeper->ahead[cpu % PYPROF__AHEAD_CPUS].at) return 0;
    off = last - (uint64_t)sweeper->ahead[cpu % PYPROF__AHEAD_CPUS].ns;
    *until = cpu == here && off + PYPROF__BLUR_NS >= sweeper->came_ns;
    return off;
}

// It ran while it was looked at, because the sampler had lost the CPU: nothing is known of what it did before.
static void pyprof__state_moved(pyprof__thread *thread, uint64_t off)
{
    thread->state = (thread->state & PYPROF__HAS_GIL) | PYPROF__IS_WAITING | PYPROF__IS_UNKNOWN;
    thread->off_ns = off;
}

static void pyprof__state_unknown(pyprof__sweeper *sweeper, pyprof__thread *thread)
{
    pyprof__state_moved(thread, sweeper->list.now_ns);
    sweeper->degraded = "the system does not tell which threads had a CPU: where their clocks do not either, that is unknown";
}

// What a thread did when the sampler came, and since when it has not run, where its clock has moved since the sweep before.
static void pyprof__state_weigh(pyprof__sweeper *sweeper, pyprof__thread *thread)
{
    const pyprof__gil *gil = pyprof__gil_of(&sweeper->list, thread->interp);
    uint64_t woke = sweeper->list.now_ns, off;
    int until, here = pyprof__cpu_of(sweeper, thread) == pyprof__cpu_here(sweeper->cpu_word);
    int wants = (thread->state & (PYPROF__WANTS_CPU | PYPROF__IS_UNKNOWN)) != 0;
    if (thread->put_off || thread->cpu_ns == thread->last_cpu_ns) return;
    if (thread->stayed && (thread->state & PYPROF__WANTS_GIL)) return;   // it stands where it stood
    thread->off_ns = woke;
    thread->elsewhere = 0;
    if (thread->waiting && !wants) {
        off = sweeper->late ? pyprof__off_since(sweeper, thread, &until) : 0;
        if (off && off < woke) thread->off_ns = off;
        return;
    }
    if (!wants && pyprof__is_moving(sweeper, thread)) { thread->elsewhere = 1; return; }
    if (!wants && pyprof__ran_through(sweeper, thread)) { thread->elsewhere = sweeper->hopped; return; }
    off = pyprof__off_since(sweeper, thread, &until);
    if (thread->put_off) return;
    if (off == 0 && here) { pyprof__state_unknown(sweeper, thread); return; }
    if (here && off > woke + PYPROF__SWITCH_NS && !sweeper->hopped) { pyprof__state_moved(thread, off); return; }
    if (until) {   // it ran until then
        if (wants) { thread->state = pyprof__running_state(thread, gil); thread->waiting = 0; thread->leaf = PYPROF__NONE; }
        thread->elsewhere = sweeper->hopped;
        return;
    }
    if (off && off < woke) thread->off_ns = off;
    if (wants) return;
    thread->waiting = pyprof__spell(sweeper, thread);   // it had left the CPU before: why?
    if (thread->waiting) pyprof__state_waits(sweeper, thread, gil);
    else if (!thread->put_off) pyprof__state_moved(thread, pyprof__now());
}

// Off the GIL, not blocked, and at an instruction that only lets others have their turn (3.10 and later: Python/ceval.c,
// CHECK_EVAL_BREAKER): it is about to take the GIL again.
static int pyprof__takes_gil(pyprof__sweeper *sweeper, const pyprof__thread *thread, const pyprof__gil *gil)
{
    static const char *const polls[] = { "JUMP_BACKWARD", "JUMP_ABSOLUTE", "POP_JUMP_BACKWARD", "RESUME",
                                         "INSTRUMENTED_JUMP_B", "INSTRUMENTED_RESUME" };
    const char *opcode;
    size_t i;
    if (!gil || !gil->enabled || thread->holder || thread->cause || thread->stack.spots.count == 0) return 0;
    if ((thread->state & PYPROF__IS_WAITING) && !(thread->state & PYPROF__WANTS_CPU)) return 0;
    if (sweeper->codes.opcodes->minor < 10) return 0;
    opcode = pyprof__string(&sweeper->codes.strings,
                            pyprof__spot_opcode(&sweeper->codes, &sweeper->mirror, PYPROF__AT(uint32_t, thread->stack.spots, 0)));
    for (i = 0; i < PYPROF__COUNT(polls); i++)
        if (strncmp(opcode, polls[i], strlen(polls[i])) == 0) return 1;
    return 0;
}

// The leaf of a thread that runs in C code called by its innermost Python line.
static void pyprof__native_leaf(pyprof__sweeper *sweeper, pyprof__thread *thread, uint32_t *state, uint32_t *leaf)
{
    char name[PYPROF__LEAF_SIZE];
    uint32_t spot, callee;
    if ((*state & PYPROF__IS_WAITING) || thread->cause || thread->stack.spots.count == 0) return;
    spot = PYPROF__AT(uint32_t, thread->stack.spots, 0);
    callee = pyprof__spot_callee(&sweeper->codes, &sweeper->mirror, spot);
    if (!callee) return;
    *state |= PYPROF__IS_NATIVE;
    if (thread->native_callee != callee || thread->native_leaf == PYPROF__NONE) {
        const char *text = pyprof__string(&sweeper->codes.strings, callee - 1);
        snprintf(name, sizeof name, *text ? "<native> %s" : "<native>", text);
        thread->native_leaf = pyprof__spot_named(&sweeper->codes, PYPROF_KIND_NATIVE, name, "", 0);
        thread->native_callee = callee;
    }
    *leaf = thread->native_leaf;
}

// The first of the interpreters that share a GIL counts for all.
static pyprof__gil *pyprof__queue_of(pyprof__threads *list, const pyprof__thread *thread)
{
    const pyprof__gil *gil = pyprof__gil_of(list, thread->interp);
    size_t i;
    for (i = 0; gil && i < list->gils.count; i++)
        if (PYPROF__AT(pyprof__gil, list->gils, i).address == gil->address) return &PYPROF__AT(pyprof__gil, list->gils, i);
    return NULL;
}

static void pyprof__decide_state(pyprof__sweeper *sweeper, pyprof__thread *thread, uint64_t now, int queued)
{
    pyprof__gil *queue = pyprof__queue_of(&sweeper->list, thread);
    pyprof__state_of(sweeper, thread, now, queued);
    if (queue) queue->queued += thread->waiting && (thread->spell & PYPROF__WANTS_GIL);
    pyprof__state_weigh(sweeper, thread);
    if (thread->put_off) return;
    thread->decided = sweeper->list.tick;
    if (pyprof__takes_gil(sweeper, thread, queue)) {
        thread->state = PYPROF__IS_WAITING | PYPROF__WANTS_GIL;
        thread->leaf = pyprof__gil_leaf(sweeper);
        pyprof__meet_rival(sweeper, thread, pyprof__gil_of(&sweeper->list, thread->interp));
    }
    pyprof__native_leaf(sweeper, thread, &thread->state, &thread->leaf);
    if (!sweeper->late) return;
    thread->ran_state = pyprof__running_state(thread, queue);
    thread->ran_leaf = PYPROF__NONE;
    pyprof__native_leaf(sweeper, thread, &thread->ran_state, &thread->ran_leaf);
}

// When it got its CPU: as long ago as it has run since it slept.
static void pyprof__came(pyprof__sweeper *sweeper, uint64_t now, uint64_t own)
{
    uint64_t woke = sweeper->list.now_ns, came = now - (own - sweeper->slept_own_ns);
    int lost = came >= woke || came + PYPROF__SWITCH_NS < woke;   // it did not keep its CPU since then
    sweeper->came_ns = lost ? woke - PYPROF__SWITCH_NS : came;
    if (sweeper->mine && !lost) pyprof__ahead_learn(sweeper, sweeper->mine, came);
}

static void pyprof__state_kept(const pyprof__sweeper *sweeper, pyprof__thread *thread, pyprof__gil *queue)   // as it was a moment ago
{
    thread->decided = sweeper->list.tick;
    thread->waiting = (thread->state & PYPROF__IS_WAITING) != 0;
    if (queue) queue->queued += (thread->state & PYPROF__WANTS_GIL) != 0;
}

// To look at a thread takes microseconds. But when there are as many in the GIL's queue as are known to be and may be, all
// of these are; and when there are as many as are known to be and were seen there before, none of those has left it: else one may
// have had the GIL since, and may sleep by now, with its stack as before and its clock hardly moved.
static void pyprof__decide_unsure(pyprof__sweeper *sweeper, int view, uint64_t now)
{
    size_t i, count = sweeper->list.threads.count;
    for (i = 0; i < count; i++) {   // where looks run out changes from sweep to sweep
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, (i + sweeper->list.tick) % count);
        pyprof__gil *queue;
        int queued;
        if (thread->tick != sweeper->list.tick || thread->view != view) continue;
        queue = pyprof__queue_of(&sweeper->list, thread);
        queued = queue && queue->waiters && queue->waiters >= queue->queued + queue->maybe + queue->unseen;
        if (queue) *(view == PYPROF__VIEW_MAYBE ? &queue->maybe : &queue->unseen) -= 1;
        pyprof__decide_state(sweeper, thread, now, queued);
    }
}

// What each thread does at the moment, and for whom it waits.
static void pyprof__decide_states(pyprof__sweeper *sweeper)
{
    uint64_t now = pyprof__now(), own = pyprof__own_cpu();
    pyprof__gil *queue;
    size_t i;
    sweeper->looks = 0;
    sweeper->elapsed_ns = now - sweeper->decided_ns;
    sweeper->took_ns = own - sweeper->own_ns;
    sweeper->decided_ns = now;
    sweeper->own_ns = own;
    if (sweeper->slept_own_ns) pyprof__came(sweeper, now, own);
    pyprof__mirror_own(&sweeper->mirror, PYPROF__NONE);
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        thread->blocks = 0;
        if (thread->tick != sweeper->list.tick) continue;
        thread->stayed = pyprof__still_wants_gil(thread, now);
        thread->view = pyprof__view_of(sweeper, thread);
        thread->put_off = 0;
        queue = pyprof__queue_of(&sweeper->list, thread);
        if (queue) queue->maybe += thread->view == PYPROF__VIEW_MAYBE;
        if (queue) queue->unseen += thread->view == PYPROF__VIEW_UNSEEN;
        if (thread->view == PYPROF__VIEW_STILL) pyprof__state_kept(sweeper, thread, queue);
        else if (thread->view < PYPROF__VIEW_MAYBE) pyprof__decide_state(sweeper, thread, now, 0);
    }
    pyprof__decide_unsure(sweeper, PYPROF__VIEW_UNSEEN, now);
    pyprof__decide_unsure(sweeper, PYPROF__VIEW_MAYBE, now);
    for (i = 0; i < sweeper->list.threads.count; i++) {
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, sweeper->list.threads, i);
        if (thread->tick == sweeper->list.tick && thread->rival != PYPROF__NONE)
            PYPROF__AT(pyprof__thread, sweeper->list.threads, thread->rival).blocks++;
    }
}

// The sampler can lose its CPU at any time, and then nobody tells any more when the thread that had it before has left it: so that is
// asked first, of threads that ran at the sweep before, if they did not run all the time.
static void pyprof__ask_first(pyprof__sweeper *sweeper)
{
    uint64_t elapsed = sweeper->list.now_ns - sweeper->decided_ns, clock;
    size_t i;
    int asked = 0;
    for (i = 0; i < sweeper->list.threads.count && asked < PYPROF__ASK_FIRST; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        thread->left_cpu_ns = 0;
        if (thread->tick + 1 != sweeper->list.tick || (thread->waiting && !(thread->state & PYPROF__WANTS_CPU))) continue;
        clock = pyprof__thread_cpu(thread->native);
        asked++;
        if (clock == thread->cpu_ns || clock - thread->cpu_ns + sweeper->took_ns >= elapsed - elapsed / 64) continue;
        pyprof__ask_mine(sweeper);
        thread->left = pyprof__last_run(thread->native);
        thread->left_cpu_ns = clock;
    }
}

// The cache was emptied: the stacks hold numbers of the old one.
static void pyprof__forget_stacks(pyprof__threads *list)
{
    size_t i;
    for (i = 0; i < list->threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, list->threads, i);
        thread->stack.spots.count = thread->trial.spots.count = 0;
        thread->proven_cpu_ns = thread->spell_ns = 0;
        thread->native_leaf = PYPROF__NONE;
        thread->stable = 0;
        thread->version++;
    }
}

// One sweep: every thread of every interpreter gets a stack or a cause. 0 = the interpreter is not there. It may also find
// that nothing can be listed at the moment.
static int pyprof__sweep(pyprof__sweeper *sweeper, uint64_t came)   // came: when the sampler got its CPU
{
    uint64_t head = 0;
    uint32_t generation = sweeper->codes.generation;
    size_t i;
    sweeper->list.tick++;
    sweeper->list.now_ns = came;
    sweeper->listed = sweeper->hopped = 0;
    if (!pyprof__copy(&sweeper->source, &head, sweeper->runtime.address + sweeper->runtime.layout.runtime_head, sizeof head)) return 1;
    if (head == 0 || !pyprof__codes_renew(&sweeper->codes)) return 0;
    if (generation != sweeper->codes.generation) {
        pyprof__forget_stacks(&sweeper->list);
        sweeper->targets = 0;
    }
    sweeper->mine = 0;
    if (sweeper->fine_clock) pyprof__ask_first(sweeper);
    for (i = 0; i < sweeper->list.threads.count; i++) {   // who was read last time will be read again
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        if (thread->tick + 1 != sweeper->list.tick) thread->pending = 0;
        else thread->pending = !thread->waiting;
    }
    pyprof__windows(sweeper);
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        if (thread->tick != sweeper->list.tick || !thread->pending) continue;
        if (sweeper->by_signal) pyprof__hold_and_walk(sweeper, thread, i);
        if (thread->pending) pyprof__converge(sweeper, thread, i);
        if (thread->pending) pyprof__keep_stable(sweeper, thread);
    }
    PYPROF__TEST_DECIDE(0);
    pyprof__decide_states(sweeper);
    PYPROF__TEST_DECIDE(sweeper->list.threads.count);
    return 1;
}

// ---- tasks that wait -----------------------------------------------------------------
// The tasks of a thread, linked in a ring (3.14 and later: asyncio_tasks_head in Include/internal/pycore_tstate.h), the oldest
// first. 0 = not now, 2 = there are more.
static int pyprof__awaits_of(pyprof__sweeper *sweeper, pyprof__thread *thread, uint32_t slot, uint64_t now)
{
    const pyprof__asyncio *asyncio = &sweeper->list.asyncio;
    uint64_t head = thread->address + asyncio->thread_tasks, node = pyprof__read_pointer(&sweeper->mirror, head), task;
    uint64_t running = pyprof__read_pointer(&sweeper->mirror, thread->address + asyncio->thread_task);
    pyprof__walk walk;
    uint32_t steps;
    memset(&walk, 0, sizeof walk);
    walk.codes = &sweeper->codes;
    walk.mirror = &sweeper->mirror;
    walk.stack = &sweeper->awaiting;
    walk.max_depth = sweeper->max_depth;
    for (steps = 0; node && node != head && sweeper->awaits.count < PYPROF__MAX_AWAITS && steps < 2 * PYPROF__MAX_AWAITS; steps++) {
        size_t first = sweeper->awaiting.spots.count;
        pyprof__await *await;
        if (node % 8) return 0;
        task = node - asyncio->task_node;
        node = pyprof__read_pointer(&sweeper->mirror, node);
        if (sweeper->codes.decoded >= PYPROF__MAX_DECODED) return 0;   // the rest when these are known
        if (task == running) continue;
        if (pyprof__await_chain(&walk, asyncio, task) != 0 || sweeper->awaiting.spots.count < first + 2) {
            sweeper->awaiting.spots.count = first;
            continue;
        }
        await = (pyprof__await *)pyprof__push(&sweeper->pool, &sweeper->awaits);
        if (!await) return 0;
        await->slot = slot;
        await->first = (uint32_t)first;
        await->count = (uint32_t)(sweeper->awaiting.spots.count - first);
        // Not for a gap in which nobody ran, nor for long stretches in which the thread could not be read.
        await->ns = thread->awaits_ns ? now - thread->awaits_ns : 0;
        if (await->ns > 2 * PYPROF__AWAITS_NS + 40 * sweeper->awaits_cost) await->ns = 2 * PYPROF__AWAITS_NS + 40 * sweeper->awaits_cost;
    }
    return node == head ? 1 : node ? 2 : 0;
}

// Reads what the waiting tasks of all threads await: ten times a second, and 5 % of the time, at most. Right after a sweep: what
// a thread that has not run since then looks like is as true as its stack.
static void pyprof__awaits_read(pyprof__sweeper *sweeper, uint64_t now)
{
    unsigned char wanted[PYPROF__OWN_AWAITS + 1];
    uint64_t begin = pyprof__now(), took;
    size_t i;
    sweeper->awaits.count = sweeper->awaiting.spots.count = 0;
    if (!sweeper->list.has_asyncio || now < sweeper->awaits_due) return;
    memset(wanted, 0, sizeof wanted);
    wanted[PYPROF__OWN_AWAITS] = 1;
    pyprof__mirror_begin(&sweeper->mirror);
    pyprof__mirror_prefetch(&sweeper->mirror, wanted, sizeof wanted);
    pyprof__mirror_own(&sweeper->mirror, PYPROF__OWN_AWAITS);
    sweeper->codes.decoded = 0;
    sweeper->codes.stamp = 0;
    for (i = 0; i < sweeper->list.threads.count; i++) {
        pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
        size_t awaits = sweeper->awaits.count, spots = sweeper->awaiting.spots.count;
        int whole;
        if (thread->tick != sweeper->list.tick || thread->pending || (thread->awaits_ns && now - thread->awaits_ns < PYPROF__AWAITS_NS)) continue;
        thread->codes_from = sweeper->codes.codes.count;
        whole = pyprof__awaits_of(sweeper, thread, (uint32_t)i, now);
        thread->codes_to = sweeper->codes.codes.count;
        if (!pyprof__stood_still(sweeper, thread)) { pyprof__doubt(sweeper, thread); whole = 0; }
        if (whole) { thread->awaits_ns = now; sweeper->awaits_cut |= whole == 2; continue; }
        sweeper->awaits.count = awaits;
        sweeper->awaiting.spots.count = spots;
    }
    pyprof__mirror_own(&sweeper->mirror, PYPROF__NONE);
    took = pyprof__now() - begin;
    // The cost as usual, slow to rise: it may have lost the CPU this time.
    sweeper->awaits_cost = sweeper->awaits_cost && took > 2 * sweeper->awaits_cost ? 2 * sweeper->awaits_cost : took;
    sweeper->awaits_due = now + 20 * sweeper->awaits_cost;
}

// After a sweep: wait for the next one where the GIL's holder is.
static void pyprof__sweep_done(pyprof__sweeper *sweeper)
{
    const pyprof__thread *follow = pyprof__to_follow(sweeper);
    if (follow && follow->holder) pyprof__follow(sweeper, follow);
}

static void pyprof__sweeper_sleep(pyprof__sweeper *sweeper, uint32_t *word, uint32_t value, uint64_t until)
{
    sweeper->slept_own_ns = pyprof__own_cpu();
    pyprof__sleep_until(word, value, until);
}

// Proves the layout on a live thread before anything is reported: lists the threads, walks them, decodes a name.
// OK also when there is no thread to prove it on yet (*proven = 0).
static pyprof_result pyprof__self_check(pyprof__sweeper *sweeper, int attempts, int *proven)
{
    const pyprof__runtime *runtime = &sweeper->runtime;
    char version[32];
    int attempt, listed = 0, cause = 0, walked = 0;
    size_t i;
    *proven = 0;
    for (attempt = 0; attempt < attempts && !*proven; attempt++) {
        sweeper->list.tick++;
        if (attempt) pyprof__sleep_until((uint32_t *)(void *)&sweeper->listed, (uint32_t)sweeper->listed, pyprof__now() + 200000);
        if (!pyprof__window_open(sweeper)) continue;
        listed = 1;
        if (sweeper->list.interps.count == 0) return PYPROF_OK;
        for (i = 0; i < sweeper->list.threads.count && !*proven; i++) {
            pyprof__thread *thread = &PYPROF__AT(pyprof__thread, sweeper->list.threads, i);
            if (thread->tick != sweeper->list.tick) continue;
            sweeper->codes.decoded = 0;
            pyprof__walk_thread(sweeper, thread, i);
            pyprof__doubt(sweeper, thread);
            thread->pending = 1;
            if (thread->cause == 0 && thread->trial_root == 0) continue;   // it runs no Python code: proves nothing
            walked++;
            cause = thread->cause;
            *proven = cause == 0 || cause == PYPROF__AGAIN;
        }
        if (!walked && attempt > 2) return PYPROF_OK;   // no Python code runs on any thread
    }
    if (*proven) return PYPROF_OK;
    if (sweeper->pool.refused) return pyprof__fail_memory("the sampler");
    pyprof__version_text(runtime->version, version, sizeof version);
    return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "CPython %s%s (_PyRuntime %s) does not keep its data where pyprof expects: %s", version,
                        runtime->free_threaded ? " free-threaded" : "", runtime->where,
                        !listed ? "the list of threads makes no sense" : cause == PYPROF_CAUSE_CODE + 1 ? "a frame has no code object"
                        : cause == PYPROF_CAUSE_NAME + 1 ? "names cannot be read" : "the chain of frames makes no sense");
}

// ============================================================================
// [SECTION] HEAP -- allocation hooks, sampled and exact
//   Runs on    the threads that allocate, with or without the GIL; the sampler thread; callers of the API
//   Uses       CODE, FRAMES, PROFILE
//   Promise    a hook never waits for the GIL, calls no Python function, touches no reference count and allocates nothing;
//              once they were installed, the hooks stay valid for ever: taken out, they pass everything through
//
// The hooks stand in CPython's three allocator domains (PyMem_SetAllocator) and, with PYPROF_INTERPOSE_MALLOC, in malloc
// itself. Most calls pass after two comparisons: each thread counts down the bytes to its next sample, and a small filter
// tells which blocks that are freed can be among those noted. Exact mode is the same with a sample at every block.
//
//      block -> shard -> entry (address, size, domain, site, birth)           16 bytes, open addressing
//      site = a node of the heap's own tree: (parent, code, instruction)      its counters stand beside, by the same number
//
// A site below a thread's root is counted by that thread alone: no atomic operations. What other threads free there is
// counted apart. Snapshots read the counters while they change.
// ============================================================================
typedef struct {                 // PyMemAllocatorEx in Include/cpython/pymem.h: the same in all versions
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t count, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
} pyprof__pymem;

typedef struct {                 // of CPython's C API, found by name
    void (*get_allocator)(int domain, pyprof__pymem *allocator);
    void (*set_allocator)(int domain, pyprof__pymem *allocator);
    int (*add_pending_call)(int (*call)(void *), void *argument);
    void *(*this_thread)(void);  // the thread's own state, with or without the GIL
    int (*is_finalizing)(void);
    void *(*attached)(void);     // the thread state that holds the GIL; or the thread's own, if attached: see pyprof__habits
    void *(*main_interpreter)(void);
} pyprof__python_api;

enum { PYPROF__DOMAINS = 3, PYPROF__BELOW = 16, PYPROF__SHARDS = 256, PYPROF__FRONT = 16, PYPROF__FILTER = 65536,
       PYPROF__CODE_FILTER = 4096, PYPROF__BUCKETS = 1 << 18,
       PYPROF__CODE_BUCKETS = 1 << 13, PYPROF__HEAP_DEPTH = 4096, PYPROF__LIVES = 65536, PYPROF__RECENT = 4, PYPROF__TEMP_BYTES = 4096,
       PYPROF__MEMO_SITES = 256, PYPROF__FLUSH = 16384, PYPROF__BIRTH = 16, PYPROF__HASH_BITS = 45, PYPROF__HERE_BITS = 37,
       PYPROF__SITES_MOST = 1 << 22, PYPROF__SITES_LEAST = 1 << 12, PYPROF__SEGMENTS = 11,
       PYPROF__REACHED = 100 };

#if defined(PYPROF_INTERPOSE_MALLOC)
#define PYPROF__LEAN (SIZE_MAX / 2)   // any call of CPython's may reach malloc or mmap, where we stand too: each one is marked
#define PYPROF__MARKED(call) pyprof__inside = 1, call, pyprof__inside = 0
#else
#define PYPROF__LEAN 400         // bytes; smaller blocks come from pymalloc itself (512, less what the debug allocator adds)
#define PYPROF__MARKED(call) call
#endif

// A block. The hash of its address is as good as the address, and the shard tells its first 8 bits; the site is never 0.
//      what   37 bits of the hash, 22 bits site, 2 bits domain, 3 bits of the size     0 = free
//      more   36 bits of the size, 28 bits birth (16 ms)
typedef struct { uint64_t what, more; } pyprof__entry;
typedef struct {
    uint32_t lock, count, capacity, steps;
    pyprof__entry *entries;
    uint32_t waiting;
    pyprof__entry front[PYPROF__FRONT];   // the newest, so many as are waiting; most are free again before they are entered
} __attribute__((aligned(64))) pyprof__shard;

typedef struct { uint32_t parent, next; uint32_t code; int32_t instruction; } pyprof__site_key;   // next: in its bucket
typedef struct { uint64_t bytes, blocks, births; } pyprof__flow;     // births: of each block, PYPROF__BIRTH ms, added up
typedef struct {
    pyprof__flow in, out;                // counted by the owner alone
    pyprof__flow gone;                   // freed by other threads
    uint64_t temp, peak_bytes, peak_blocks;
    uint32_t epoch, owner;               // peak_*: what was live when the heap's epoch became this; owner: number of a life
} pyprof__site;

// Of frames, as last seen. name: of importlib's: tells which module it loads; else 0
typedef struct { uint64_t *frame, *instruction, *code, *name; uint32_t *site; } pyprof__chain;
typedef struct { uint64_t address; uint32_t epoch, version, code, spare; } pyprof__code_memo;
typedef struct { uint64_t code, instruction; uint32_t parent, site; } pyprof__site_memo;
typedef struct { uint64_t tid, started, first_ns; uint32_t root, ended; } pyprof__life;     // one thread, kept after its end
// Sampled only, of a site: the bytes in doubt (see pyprof__weigh) of its flows, at the high-water mark, and
// at each mark
typedef struct { uint64_t in, out, gone, peak; float marks[PYPROF__MARKS]; } pyprof__site_doubt;

typedef struct pyprof__allocating pyprof__allocating;
struct pyprof__allocating {      // a thread that allocates; never freed, used again after the thread's end
    pyprof__allocating *next;
    uint64_t tid, holder;        // tid: 0 = it is not in use; holder: the thread that used it last
    uint32_t life, root, native; // life: its number + 1
    uint32_t generation;         // of the heap, when it was last used
    uint64_t random, spent, drawn, sampled;   // bytes counted down before the present countdown; the present countdown; samples
    int64_t unflushed, keeps;    // of the live bytes: not told the others yet; so much need not be
    pyprof_domain_total in[PYPROF_DOMAIN_COUNT];   // live_*: what this thread freed
    uint64_t sizes[PYPROF_SIZES];
    struct { const void *block; uint64_t spent; } recent[PYPROF__RECENT];
    uint32_t recent_at, code_epoch, depth, capacity;
    uint32_t named;              // no frame of the chain from here on has a name
    uint32_t base;               // the site that the chain begins below
    uint32_t busy;               // it is at the sites
    int cut;                     // the last chain had more frames than are kept
    pyprof__code_memo codes[PYPROF__MEMO_SITES];
    pyprof__site_memo sites[PYPROF__MEMO_SITES];
    pyprof__chain chain, fresh;  // root first: the last one; innermost first: what of the new one is not in it
};

typedef struct { uint64_t address; uint32_t code, next; } pyprof__code_at;

// The sites from number first on. Each segment is as large as all before it, so that address space is taken as it is
// needed: RLIMIT_AS counts it, used or not. They stay where they are, because every thread that allocates looks at them.
typedef struct {
    pyprof__site *sites;
    pyprof__site_key *keys;
    float *history;
    pyprof__site_doubt *doubts;  // NULL: exact
    uint32_t first, count;
} pyprof__segment;

typedef struct {
    pid_t pid;                   // a child that was made by a bare clone() finds another one
    int users, mode, noting;     // sessions; pyprof_heap_mode, 0 = nobody looks; new blocks are noted
    int state;                   // pyprof_heap_state
    int frozen;                  // the interpreter shuts down: what lived then is what is told
    int wanted, calling, lost;   // hooks shall be there; a pending call is under way; 1: they had been taken out, 2: the interpreter began anew
    void *(*verified[PYPROF__DOMAINS])(void *, size_t);   // allocators on top of ours, below which ours are
    void *(*strange[PYPROF__DOMAINS])(void *, size_t);    // one on top of which ours cannot go in
    int in[PYPROF__DOMAINS];     // ours are on top, or somebody else may call them
    uint64_t python_begin, python_end;   // the addresses of the interpreter's file
    uint64_t interval, max_bytes, called_ns;
    uint32_t max_depth;
    pyprof__python_api api;
    pyprof__layout layout;
    pyprof__habits habits;
    uint64_t start_ns;
    pyprof__source source;
    pyprof__mirror mirror;       // reads directly
    pyprof__pool pool;
    pyprof__codes codes;
    uint32_t code_malloc, code_mmap;   // pseudo code
    uint32_t importer;           // the code whose frames get <import NAME>; PYPROF__NONE = not seen yet
    uint32_t names_lock, threads_lock, settle_lock, segments_lock;
    void *claim;                 // the mapping that says that a tracker is at work in this process
    pyprof__array addresses;     // pyprof__code_at
    uint32_t address_free;       // first free one + 1
    uint32_t code_buckets[PYPROF__CODE_BUCKETS];
    uint32_t code_epoch;         // changes when a known code object dies
    uint32_t *buckets;           // of sites; number, 0 = none
    pyprof__segment segments[PYPROF__SEGMENTS];
    int doubtful;                // the segments have doubts: the tracking they were made for is sampled
    uint32_t site_count, site_limit;   // number 0 is the root
    pyprof__life *lives;
    uint32_t life_count;
    pyprof__allocating *threads;
    pyprof_domain_total ended[PYPROF_DOMAIN_COUNT];
    uint64_t ended_sizes[PYPROF_SIZES];
    uint64_t ended_sampled;
    uint64_t table_bytes, dropped;
    int64_t live, peak;          // bytes; threads keep up to PYPROF__FLUSH each to themselves
    uint32_t epoch, clock_ms, peak_ms;
    uint64_t mark_ns[PYPROF__MARKS], mark_step, mark_due;
    uint32_t marks;
    int full;                    // of sites, once
    int refused;                 // the system gave no memory for a table, once
    uint64_t reserved;           // bytes of mappings that are no memory yet; under the lock of the ranges
    int lost_live;               // hooks were lost: live memory is counted afresh
} pyprof__tracker;

static struct {                  // what every call looks at
    uint32_t generation;         // changes when tracking begins or ends
    uint32_t mask;               // of the filter: 0 = every block is looked up
    const pyprof__pymem *below[PYPROF_DOMAIN_COUNT];
} pyprof__hot __attribute__((aligned(64)));

static unsigned char pyprof__filter[PYPROF__FILTER], pyprof__code_filter[PYPROF__CODE_FILTER];
static pyprof__pymem pyprof__below[PYPROF__DOMAINS][PYPROF__BELOW];   // every allocator that was ever below ours
static pyprof__shard pyprof__shards[PYPROF__SHARDS];
static struct { uint32_t lock; size_t size; pyprof__entry *entries; } pyprof__aside;   // what was in a shard that grows

// A part of an anonymous mapping. It is memory while the program may use it, otherwise a reservation of addresses.
typedef struct {
    uint64_t begin, end;
    uint32_t site, birth, below, above;
    uint32_t counts;             // it is memory
} pyprof__range;

static struct {                  // a treap by address: what was mapped can be unmapped, moved and protected in parts
    uint32_t lock, generation;   // generation: of the heap, when these were noted
    uint32_t root, spare, count; // numbers in the list, 0 = none; spare: the first of those to be used again, linked by below
    size_t bytes;
    pyprof__range *list;
} pyprof__ranges;
static pyprof__tracker pyprof__heap;

typedef struct { int64_t left; uint32_t generation, probe; pyprof__allocating *self; } pyprof__own_heap;   // left: bytes to the next sample
PYPROF__EARLY_TLS pyprof__own_heap pyprof__own;

#define PYPROF__HOT static inline __attribute__((always_inline))
#define PYPROF__GET(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define PYPROF__SET(x, value) __atomic_store_n(&(x), (value), __ATOMIC_RELAXED)
#define PYPROF__BUMP(x, by) PYPROF__SET(x, PYPROF__GET(x) + (by))   // by the one thread that counts there

static void pyprof__heap_forked(void)   // a child finds everything off; what the parent had is never looked at again
{
    if (pyprof__heap.pid == 0) return;   // it never was on
    pyprof__heap.pid = getpid();
    pyprof__pages_free(pyprof__heap.claim, 4096);
    pyprof__heap.claim = NULL;
    pyprof__heap.mode = pyprof__heap.users = pyprof__heap.wanted = pyprof__heap.noting = pyprof__heap.calling = 0;
    pyprof__heap.state = PYPROF_HEAP_STATE_OFF;
    pyprof__heap.threads = NULL;
    pyprof__heap.names_lock = pyprof__heap.threads_lock = pyprof__heap.settle_lock = pyprof__heap.segments_lock = 0;
    memset(pyprof__shards, 0, sizeof pyprof__shards);
    memset(&pyprof__ranges, 0, sizeof pyprof__ranges);
    pyprof__aside.lock = 0;
    memset(pyprof__filter, 0, sizeof pyprof__filter);
    memset(pyprof__code_filter, 0, sizeof pyprof__code_filter);
    PYPROF__SET(pyprof__hot.mask, PYPROF__FILTER - 1);
    pyprof__hot.generation++;
}

__attribute__((noinline))
static void pyprof__heap_wait(uint32_t *lock)
{
    int tries = 0, error = errno;
    while (!pyprof__try_lock(lock)) {
        if (++tries < 100) continue;
        if (tries % 1000 == 0 && pyprof__heap.pid != getpid()) pyprof__heap_forked();   // its holder stayed in the parent
        pyprof__nap(20000);
    }
    errno = error;
}

static inline void pyprof__heap_lock(uint32_t *lock)
{
    if (!pyprof__try_lock(lock)) pyprof__heap_wait(lock);
}

// ---- chance ----------------------------------------------------------------------
static double pyprof__ln(double x)   // of a normal number above 0
{
    uint64_t bits;
    double m, s, s2, sum = 0;
    int e, i;
    memcpy(&bits, &x, sizeof bits);
    e = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) { m /= 2; e++; }
    s = (m - 1) / (m + 1);
    s2 = s * s;
    for (i = 19; i >= 1; i -= 2) sum = sum * s2 + 2.0 / i;
    return e * 0.6931471805599453 + s * sum;
}

static double pyprof__exp_minus(double x)   // e to the power of -x, for x >= 0
{
    double r, sum = 1;
    uint64_t bits;
    int k, i;
    if (x > 700) return 0;
    k = (int)(x / 0.6931471805599453);
    r = x - k * 0.6931471805599453;
    for (i = 18; i >= 1; i--) sum = 1 - sum * r / i;
    bits = (uint64_t)(1023 - k) << 52;
    memcpy(&r, &bits, sizeof r);
    return sum * r;
}

static int64_t pyprof__draw(uint64_t *random, uint64_t interval)   // bytes until the next sample: exponentially distributed
{
    double u = ((double)(pyprof__random(random) >> 11) + 0.5) / 9007199254740992.0;
    double bytes = -pyprof__ln(u) * (double)interval;
    return bytes < 9e18 ? (int64_t)bytes : INT64_MAX / 2;
}

// What a block stands for. Sampled: with P = 1 - exp(-size / interval) it was noted, so it stands for 1 / P blocks.
// Blocks are counted in 1/65536 then. An empty block counts as a byte, or it would never be seen.
// doubt: the variance of an estimate is the sum of bytes * bytes * (1 - P) over its samples. Divided by the interval
// that is a number of bytes: those that the samples stand for if blocks are small, next to none if each is noted anyway.
typedef struct { uint64_t bytes, blocks, doubt; } pyprof__weight;
PYPROF__HOT pyprof__weight pyprof__weigh(uint64_t size)
{
    pyprof__weight weight = { size, 1, 0 };
    double missed, bytes, interval = (double)pyprof__heap.interval;
    if (PYPROF__GET(pyprof__heap.mode) != PYPROF_HEAP_SAMPLED) return weight;   // sites have no doubts then
    missed = pyprof__exp_minus((double)(size + 1) / interval);
    bytes = (double)size / (1 - missed);
    weight.bytes = (uint64_t)(bytes + 0.5);
    weight.blocks = (uint64_t)(65536.0 / (1 - missed) + 0.5);
    weight.doubt = (uint64_t)(bytes * missed * (bytes / interval) + 0.5);
    return weight;
}

static uint64_t pyprof__whole_blocks(uint64_t blocks)
{
    return PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_EXACT ? blocks : (blocks + 32768) / 65536;
}

// ---- the table of blocks --------------------------------------------------------------
#define PYPROF__ONES(bits) (((uint64_t)1 << (bits)) - 1)

// Of so many bits as an address has, without its last three; no two have the same.
static uint64_t pyprof__block_hash(const void *block)
{
    return ((uint64_t)(uintptr_t)block >> 3) * 0x13c6ef372fe9u & PYPROF__ONES(PYPROF__HASH_BITS);
}

static uint64_t pyprof__hash_block(uint64_t hash) { return (hash * 0x16d7d9ae9859u & PYPROF__ONES(PYPROF__HASH_BITS)) << 3; }   // its inverse
static uint64_t pyprof__filter_at(uint64_t hash) { return hash >> (PYPROF__HASH_BITS - 16); }
static uint64_t pyprof__code_filter_at(uint64_t hash) { return hash >> (PYPROF__HASH_BITS - 12); }

static uint64_t pyprof__entry_here(const pyprof__entry *entry) { return entry->what & PYPROF__ONES(PYPROF__HERE_BITS); }   // of the hash
static uint32_t pyprof__entry_site(const pyprof__entry *entry) { return (uint32_t)(entry->what >> 37 & PYPROF__ONES(22)); }
static int pyprof__entry_domain(const pyprof__entry *entry) { return (int)(entry->what >> 59 & 3); }
static uint64_t pyprof__entry_size(const pyprof__entry *entry) { return entry->what >> 61 << 36 | (entry->more & PYPROF__ONES(36)); }
static uint32_t pyprof__entry_birth(const pyprof__entry *entry) { return (uint32_t)(entry->more >> 36); }

static void pyprof__entry_make(pyprof__entry *entry, uint64_t hash, uint64_t size, int domain, uint32_t site, uint32_t birth)
{
    entry->what = (hash & PYPROF__ONES(PYPROF__HERE_BITS)) | (uint64_t)site << 37 | (uint64_t)domain << 59 | size >> 36 << 61;
    entry->more = (size & PYPROF__ONES(36)) | (uint64_t)birth << 36;
}

static pyprof__shard *pyprof__shard_of(uint64_t hash) { return &pyprof__shards[hash >> PYPROF__HERE_BITS]; }
static uint32_t pyprof__home(const pyprof__shard *shard, const pyprof__entry *entry)
{
    return (uint32_t)(pyprof__entry_here(entry) * shard->capacity >> PYPROF__HERE_BITS);
}

static void pyprof__shard_put(pyprof__shard *shard, const pyprof__entry *entry)   // there is room
{
    uint32_t at = pyprof__home(shard, entry);
    while (shard->entries[at].what) at = at + 1 == shard->capacity ? 0 : at + 1;
    shard->entries[at] = *entry;
    shard->count++;
}

static size_t pyprof__shard_bytes(uint32_t capacity) { return ((size_t)capacity * sizeof(pyprof__entry) + 4095) & ~(size_t)4095; }

static int pyprof__set_aside(const pyprof__entry *entries, size_t size)   // under its lock
{
    if (size > pyprof__aside.size) {
        pyprof__pages_free(pyprof__aside.entries, pyprof__aside.size);
        pyprof__aside.entries = (pyprof__entry *)pyprof__pages(2 * size);
        pyprof__aside.size = pyprof__aside.entries ? 2 * size : 0;
    }
    if (pyprof__aside.entries && size) memcpy(pyprof__aside.entries, entries, size);
    return size == 0 || pyprof__aside.entries;
}

static void pyprof__shard_refill(pyprof__shard *shard, uint32_t count)   // with what was set aside
{
    uint32_t i;
    memset(shard->entries, 0, count * sizeof(pyprof__entry));
    shard->count = 0;
    for (i = 0; i < count; i++)
        if (pyprof__aside.entries[i].what) pyprof__shard_put(shard, &pyprof__aside.entries[i]);
}

// By a half, when 77 % are used: 31 bytes a block at most. The first steps differ from shard to shard, so that they never
// grow together. A shard's pages are kept: new ones would cost more than all the rest.
__attribute__((noinline))
static int pyprof__shard_grow(pyprof__shard *shard)
{
    uint32_t number = (uint32_t)(shard - pyprof__shards), before = shard->capacity;
    size_t bytes, had = pyprof__shard_bytes(before);
    int error = errno;
    uint64_t capacity = 4096 / sizeof(pyprof__entry);
    pyprof__entry *entries = NULL;
    if (shard->steps == 1) capacity = (uint64_t)before * 3 / 2 + (uint64_t)before * number / 512;
    if (shard->steps > 1) capacity = (uint64_t)before * 3 / 2;
    bytes = pyprof__shard_bytes((uint32_t)capacity);
    if (capacity >> 26 || PYPROF__GET(pyprof__heap.table_bytes) + bytes > pyprof__heap.max_bytes) return 0;
    pyprof__heap_lock(&pyprof__aside.lock);
    if (pyprof__set_aside(shard->entries, had))
        entries = (pyprof__entry *)(had ? pyprof__pages_resize(shard->entries, had, bytes) : pyprof__pages(bytes));
    if (entries) {
        __atomic_fetch_add(&pyprof__heap.table_bytes, bytes - had, __ATOMIC_RELAXED);
        shard->entries = entries;
        shard->capacity = (uint32_t)(bytes / sizeof(pyprof__entry));
        shard->steps++;
        pyprof__shard_refill(shard, before);
    }
    pyprof__unlock(&pyprof__aside.lock);
    if (!entries) PYPROF__SET(pyprof__heap.refused, 1);
    errno = error;
    return entries != NULL;
}

// Enters the waiting blocks, all at once: each is a cache miss, but the CPU waits for many together. 0 = no room.
__attribute__((noinline))
static int pyprof__shard_settle(pyprof__shard *shard)
{
    uint32_t i;
    uint64_t count = (uint64_t)shard->count + shard->waiting;
    while (count * 100 > (uint64_t)shard->capacity * 77)
        if (!pyprof__shard_grow(shard)) break;
    if (count * 100 > (uint64_t)shard->capacity * 95) return 0;
    for (i = 0; i < shard->waiting; i++)
        __builtin_prefetch(&shard->entries[pyprof__home(shard, &shard->front[i])], 1);
    for (i = 0; i < shard->waiting; i++) pyprof__shard_put(shard, &shard->front[i]);
    shard->waiting = 0;
    return 1;
}

PYPROF__HOT pyprof__entry *pyprof__shard_find(pyprof__shard *shard, uint64_t hash)   // NULL = not there
{
    pyprof__entry want;
    uint32_t i, at;
    want.what = hash & PYPROF__ONES(PYPROF__HERE_BITS);
    for (i = shard->waiting; i-- > 0;)
        if (pyprof__entry_here(&shard->front[i]) == want.what) return &shard->front[i];
    if (!shard->count) return NULL;
    for (at = pyprof__home(shard, &want); shard->entries[at].what; at = at + 1 == shard->capacity ? 0 : at + 1)
        if (pyprof__entry_here(&shard->entries[at]) == want.what) return &shard->entries[at];
    return NULL;
}

static void pyprof__shard_remove(pyprof__shard *shard, pyprof__entry *entry)   // what follows closes the gap
{
    uint32_t hole, at, home;
    if (entry >= shard->front && entry < shard->front + PYPROF__FRONT) { *entry = shard->front[--shard->waiting]; return; }
    for (hole = at = (uint32_t)(entry - shard->entries);;) {
        at = at + 1 == shard->capacity ? 0 : at + 1;
        if (!shard->entries[at].what) break;
        home = pyprof__home(shard, &shard->entries[at]);
        if (hole <= at ? home > hole && home <= at : home > hole || home <= at) continue;
        shard->entries[hole] = shard->entries[at];
        hole = at;
    }
    memset(&shard->entries[hole], 0, sizeof shard->entries[hole]);
    shard->count--;
}

static void pyprof__filter_change(unsigned char *filter, uint64_t at, int by)   // a count that stops at 255 stays there
{
    unsigned char old = PYPROF__GET(filter[at]);
    while (old != 255 && !(old == 0 && by < 0)
           && !__atomic_compare_exchange_n(&filter[at], &old, (unsigned char)(old + by), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

// 0 = no room, or tracking has ended meanwhile
PYPROF__HOT int pyprof__block_add(uint64_t hash, const pyprof__entry *entry, uint32_t generation)
{
    pyprof__shard *shard = pyprof__shard_of(hash);
    int added = 0;
    pyprof__heap_lock(&shard->lock);
    if (generation == PYPROF__GET(pyprof__hot.generation) && (shard->waiting < PYPROF__FRONT || pyprof__shard_settle(shard))) {
        shard->front[shard->waiting++] = *entry;
        if (PYPROF__GET(pyprof__hot.mask)) pyprof__filter_change(pyprof__filter, pyprof__filter_at(hash), 1);
        added = 1;
    }
    pyprof__unlock(&shard->lock);
    return added;
}

PYPROF__HOT int pyprof__block_take(uint64_t hash, pyprof__entry *entry)   // 0 = it is not noted
{
    pyprof__shard *shard = pyprof__shard_of(hash);
    pyprof__entry *found;
    pyprof__heap_lock(&shard->lock);
    found = pyprof__shard_find(shard, hash);
    if (found) {
        *entry = *found;
        pyprof__shard_remove(shard, found);
        if (PYPROF__GET(pyprof__hot.mask)) pyprof__filter_change(pyprof__filter, pyprof__filter_at(hash), -1);
    }
    pyprof__unlock(&shard->lock);
    return found != NULL;
}

static void pyprof__blocks_drop(void)
{
    uint32_t i;
    for (i = 0; i < PYPROF__SHARDS; i++) {
        pyprof__shard *shard = &pyprof__shards[i];
        pyprof__heap_lock(&shard->lock);
        if (shard->entries) pyprof__pages_free(shard->entries, pyprof__shard_bytes(shard->capacity));
        shard->entries = NULL;
        shard->count = shard->capacity = shard->steps = shard->waiting = 0;
        pyprof__unlock(&shard->lock);
    }
    pyprof__heap_lock(&pyprof__aside.lock);
    pyprof__pages_free(pyprof__aside.entries, pyprof__aside.size);
    pyprof__aside.entries = NULL;
    pyprof__aside.size = 0;
    pyprof__unlock(&pyprof__aside.lock);
    pyprof__heap.table_bytes = 0;
    memset(pyprof__filter, 0, sizeof pyprof__filter);
}

static void pyprof__ranges_drop(void)
{
    pyprof__heap_lock(&pyprof__ranges.lock);
    pyprof__pages_free(pyprof__ranges.list, pyprof__ranges.bytes);
    pyprof__ranges.list = NULL;
    pyprof__ranges.bytes = 0;
    pyprof__ranges.root = pyprof__ranges.spare = pyprof__ranges.count = pyprof__ranges.generation = 0;
    pyprof__heap.reserved = 0;
    pyprof__unlock(&pyprof__ranges.lock);
}

// ---- code objects, by address: their death is seen, for it is a free ---------------------------------------------------
static uint64_t pyprof__code_hash(uint64_t address) { return pyprof__mix(0x636f6465, address >> 4); }

static uint32_t *pyprof__code_place(uint64_t address)   // the link that leads to it, or to 0
{
    uint32_t *link = &pyprof__heap.code_buckets[pyprof__code_hash(address) >> 16 & (PYPROF__CODE_BUCKETS - 1)];
    while (*link && PYPROF__AT(pyprof__code_at, pyprof__heap.addresses, *link - 1).address != address)
        link = &PYPROF__AT(pyprof__code_at, pyprof__heap.addresses, *link - 1).next;
    return link;
}

static void pyprof__code_died(const void *block)
{
    uint32_t *link, id;
    pyprof__heap_lock(&pyprof__heap.names_lock);
    link = pyprof__code_place((uint64_t)(uintptr_t)block);
    if ((id = *link) != 0) {
        pyprof__code_at *at = &PYPROF__AT(pyprof__code_at, pyprof__heap.addresses, id - 1);
        *link = at->next;
        at->next = pyprof__heap.address_free;
        at->address = 0;
        pyprof__heap.address_free = id;
        pyprof__filter_change(pyprof__code_filter, pyprof__code_filter_at(pyprof__block_hash(block)), -1);
        __atomic_add_fetch(&pyprof__heap.code_epoch, 1, __ATOMIC_RELEASE);
    }
    pyprof__unlock(&pyprof__heap.names_lock);
}

// Reads a code object. Equal ones (a function made anew each time) are one. PYPROF__NONE = unreadable, or no memory.
static uint32_t pyprof__heap_decode(uint64_t address)
{
    pyprof__codes *codes = &pyprof__heap.codes;
    pyprof__code_key raw;
    pyprof__code code, *added;
    size_t tables = codes->tables.count;
    const unsigned char *table;
    uint32_t id, i;
    uint64_t hash;
    if (pyprof__code_key_read(codes, &pyprof__heap.mirror, address, &raw)) return PYPROF__NONE;
    memset(&code, 0, sizeof code);
    code.key = raw;
    code.file = pyprof__code_string(codes, &pyprof__heap.mirror, raw.filename);
    code.name = pyprof__code_string(codes, &pyprof__heap.mirror, raw.name);
    code.qualname = raw.qualname ? pyprof__code_string(codes, &pyprof__heap.mirror, raw.qualname) : code.name;
    if (code.file == PYPROF__NONE || code.name == PYPROF__NONE || code.qualname == PYPROF__NONE) return PYPROF__NONE;
    if (!pyprof__code_table(codes, &pyprof__heap.mirror, &code)) return PYPROF__NONE;
    table = (const unsigned char *)codes->tables.data + code.table;
    for (hash = code.table_size, i = 0; i < code.table_size; i++) hash = (hash ^ table[i]) * 0x100000001b3u;
    code.key.address = code.key.version = 0;   // from here on the key says what is in it
    code.key.filename = code.file;
    code.key.name = code.name;
    code.key.qualname = code.qualname;
    code.key.linetable = code.key.print = hash;
    id = pyprof__index_find(&codes->code_index, pyprof__hash_bytes(&code.key, sizeof code.key), pyprof__same_code, &codes->codes, &code.key);
    if (id != PYPROF__NONE) { codes->tables.count = tables; return id; }
    added = (pyprof__code *)pyprof__push(codes->pool, &codes->codes);
    if (!added) return PYPROF__NONE;
    *added = code;
    id = (uint32_t)codes->codes.count - 1;
    if (pyprof__code_role(codes, &code) == PYPROF__ROLE_IMPORT) PYPROF__SET(pyprof__heap.importer, id);
    return pyprof__index_add(codes->pool, &codes->code_index, pyprof__hash_bytes(&code.key, sizeof code.key), id) ? id : PYPROF__NONE;
}

__attribute__((noinline))
static uint32_t pyprof__heap_code_new(uint64_t address)   // under the lock
{
    pyprof__code_at *at;
    int error = errno;
    uint32_t id = pyprof__heap_decode(address), number = pyprof__heap.address_free, *bucket;
    if (id == PYPROF__NONE) return PYPROF__NONE;
    if (number) pyprof__heap.address_free = PYPROF__AT(pyprof__code_at, pyprof__heap.addresses, number - 1).next;
    else {
        if (!pyprof__push(&pyprof__heap.pool, &pyprof__heap.addresses)) return PYPROF__NONE;
        number = (uint32_t)pyprof__heap.addresses.count;
    }
    bucket = &pyprof__heap.code_buckets[pyprof__code_hash(address) >> 16 & (PYPROF__CODE_BUCKETS - 1)];
    at = &PYPROF__AT(pyprof__code_at, pyprof__heap.addresses, number - 1);
    at->address = address;
    at->code = id;
    at->next = *bucket;
    *bucket = number;
    pyprof__filter_change(pyprof__code_filter, pyprof__code_filter_at(pyprof__block_hash((const void *)(uintptr_t)address)), 1);
    errno = error;
    return id;
}

static uint64_t pyprof__at(uint64_t address)   // of our own thread: it cannot change meanwhile
{
    uint64_t value;
    memcpy(&value, (const void *)(uintptr_t)address, sizeof value);
    return value;
}

static uint32_t pyprof__at32(uint64_t address)
{
    uint32_t value;
    memcpy(&value, (const void *)(uintptr_t)address, sizeof value);
    return value;
}

static uint32_t pyprof__heap_code(pyprof__allocating *self, uint64_t address)
{
    pyprof__code_memo *memo = &self->codes[(address >> 4 ^ address >> 12) & (PYPROF__MEMO_SITES - 1)];
    uint32_t version = pyprof__heap.layout.code_version != PYPROF__NO ? pyprof__at32(address + pyprof__heap.layout.code_version) : 0, *link, code;
    uint32_t epoch = __atomic_load_n(&pyprof__heap.code_epoch, __ATOMIC_ACQUIRE);
    if (memo->address == address && memo->epoch == epoch && memo->version == version) return memo->code;
    pyprof__heap_lock(&pyprof__heap.names_lock);
    link = pyprof__code_place(address);
    code = *link ? PYPROF__AT(pyprof__code_at, pyprof__heap.addresses, *link - 1).code : pyprof__heap_code_new(address);
    pyprof__unlock(&pyprof__heap.names_lock);
    if (code == PYPROF__NONE) return code;
    memo->address = address;
    memo->epoch = epoch;
    memo->version = version;
    memo->code = code;
    return code;
}

// ---- sites ---------------------------------------------------------------------------------
static inline pyprof__segment *pyprof__segment_of(uint32_t site)
{
    return &pyprof__heap.segments[20 - __builtin_clz(site | PYPROF__SITES_LEAST / 2)];
}

static inline pyprof__site *pyprof__site_at(uint32_t site)
{
    const pyprof__segment *segment = pyprof__segment_of(site);
    return &segment->sites[site - segment->first];
}

static inline pyprof__site_key *pyprof__site_key_at(uint32_t site)
{
    const pyprof__segment *segment = pyprof__segment_of(site);
    return &segment->keys[site - segment->first];
}

static float *pyprof__site_history(uint32_t site)   // PYPROF__MARKS of them
{
    const pyprof__segment *segment = pyprof__segment_of(site);
    return &segment->history[(size_t)(site - segment->first) * PYPROF__MARKS];
}

static inline pyprof__site_doubt *pyprof__site_doubt_at(uint32_t site)   // sampled only
{
    const pyprof__segment *segment = pyprof__segment_of(site);
    return &segment->doubts[site - segment->first];
}

static size_t pyprof__segment_bytes(uint32_t count)
{
    size_t each = sizeof(pyprof__site) + sizeof(pyprof__site_key) + PYPROF__MARKS * sizeof(float);
    return count * (each + (pyprof__heap.doubtful ? sizeof(pyprof__site_doubt) : 0));
}

static uint32_t pyprof__site_limit(void) { return __atomic_load_n(&pyprof__heap.site_limit, __ATOMIC_ACQUIRE); }
static uint32_t pyprof__segment_first(uint32_t site)
{
    return site < PYPROF__SITES_LEAST ? 0 : 0x80000000u >> __builtin_clz(site);
}

static int pyprof__segment_is_there(uint32_t site)
{
    return __atomic_load_n(&pyprof__segment_of(site)->sites, __ATOMIC_ACQUIRE) != NULL;
}

static uint32_t pyprof__heap_sites(void)   // how many there are; the last ones may be just being made
{
    uint32_t count = __atomic_load_n(&pyprof__heap.site_count, __ATOMIC_ACQUIRE), limit = pyprof__site_limit();
    if (count > limit) count = limit;
    if (count && !pyprof__segment_is_there(count - 1)) count = pyprof__segment_first(count - 1);
    return count;
}

// Is there such a site, or can its segment be had? The system refuses that once: then no more sites are made.
__attribute__((noinline))
static int pyprof__segment_new(uint32_t site)
{
    pyprof__segment *segment = pyprof__segment_of(site);
    uint32_t first = pyprof__segment_first(site), count = first ? first : (uint32_t)PYPROF__SITES_LEAST;
    pyprof__site *sites = NULL;
    int error = errno;
    pyprof__heap_lock(&pyprof__heap.segments_lock);
    if (count > pyprof__heap.site_limit - first) count = pyprof__heap.site_limit - first;
    if (!segment->sites && site < pyprof__heap.site_limit) {
        sites = (pyprof__site *)pyprof__pages(pyprof__segment_bytes(count));
        segment->first = first;
        segment->count = count;
        segment->keys = (pyprof__site_key *)(void *)(sites + count);
        segment->history = (float *)(void *)(segment->keys + count);
        segment->doubts = pyprof__heap.doubtful
            ? (pyprof__site_doubt *)(void *)(segment->history + (size_t)count * PYPROF__MARKS) : NULL;
        if (!sites) PYPROF__SET(pyprof__heap.refused, 1);
        if (!sites) __atomic_store_n(&pyprof__heap.site_limit, first, __ATOMIC_RELEASE);
        __atomic_store_n(&segment->sites, sites, __ATOMIC_RELEASE);
    }
    pyprof__unlock(&pyprof__heap.segments_lock);
    errno = error;
    return segment->sites && site < pyprof__site_limit();
}

static uint32_t pyprof__site_new(uint32_t parent, uint32_t code, int32_t instruction, uint32_t *bucket, uint32_t owner)   // PYPROF__NONE = all used
{
    uint32_t id = __atomic_fetch_add(&pyprof__heap.site_count, 1, __ATOMIC_RELAXED), first;
    pyprof__site_key *key;
    if (id >= pyprof__site_limit() || (!pyprof__segment_is_there(id) && !pyprof__segment_new(id))) {
        __atomic_fetch_sub(&pyprof__heap.site_count, 1, __ATOMIC_RELAXED);
        PYPROF__SET(pyprof__heap.full, 1);
        return PYPROF__NONE;
    }
    key = pyprof__site_key_at(id);
    key->parent = parent;
    key->code = code;
    key->instruction = instruction;
    pyprof__site_at(id)->epoch = PYPROF__GET(pyprof__heap.epoch);
    __atomic_store_n(&pyprof__site_at(id)->owner, owner, __ATOMIC_RELEASE);   // never 0: from here on it may be looked at
    first = PYPROF__GET(*bucket);
    do key->next = first;
    while (!__atomic_compare_exchange_n(bucket, &first, id, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    return id;
}

// What lies below a thread's root is found and added by that thread alone; only the buckets are shared.
static uint32_t pyprof__site_find(uint32_t parent, uint32_t code, int32_t instruction, uint32_t owner)
{
    uint64_t hash = pyprof__mix(pyprof__mix(parent, code), (uint32_t)instruction);
    uint32_t *bucket = &pyprof__heap.buckets[hash >> 20 & (PYPROF__BUCKETS - 1)], id;
    for (id = __atomic_load_n(bucket, __ATOMIC_ACQUIRE); id; id = pyprof__site_key_at(id)->next) {
        const pyprof__site_key *key = pyprof__site_key_at(id);
        if (key->parent == parent && key->code == code && key->instruction == instruction) return id;
    }
    return pyprof__site_new(parent, code, instruction, bucket, owner);
}

// ---- threads ---------------------------------------------------------------------------------
// What a thread keeps to itself the others do not see when they look for the high-water mark: all of it where there is
// one thread, 0.1 % of a large heap, nothing of a small one.
static void pyprof__flush_live(pyprof__allocating *self)
{
    int64_t live = __atomic_add_fetch(&pyprof__heap.live, PYPROF__GET(self->unflushed), __ATOMIC_RELAXED);
    PYPROF__SET(self->unflushed, 0);
    if (PYPROF__GET(pyprof__heap.life_count) <= 1) live = PYPROF__FLUSH;
    else live = live < 1 << 24 ? 0 : live >> 10 < PYPROF__FLUSH ? live >> 10 : (int64_t)PYPROF__FLUSH;
    PYPROF__SET(self->keeps, live);
}

static int64_t pyprof__hand_over(int64_t *counter)   // takes what a thread counted; it has ended, or is the caller
{
    int64_t value = PYPROF__GET(*counter);
    PYPROF__SET(*counter, 0);
    return value;
}

static void pyprof__allocating_end(pyprof__allocating *self)   // what it counted goes to the ended ones. Under the lock of the threads
{
    size_t i;
    for (i = 0; i < PYPROF_DOMAIN_COUNT; i++) {
        PYPROF__BUMP(pyprof__heap.ended[i].alloc_bytes, pyprof__hand_over(&self->in[i].alloc_bytes));
        PYPROF__BUMP(pyprof__heap.ended[i].alloc_blocks, pyprof__hand_over(&self->in[i].alloc_blocks));
        PYPROF__BUMP(pyprof__heap.ended[i].live_bytes, pyprof__hand_over(&self->in[i].live_bytes));
        PYPROF__BUMP(pyprof__heap.ended[i].live_blocks, pyprof__hand_over(&self->in[i].live_blocks));
    }
    for (i = 0; i < PYPROF_SIZES; i++) {
        PYPROF__BUMP(pyprof__heap.ended_sizes[i], PYPROF__GET(self->sizes[i]));
        PYPROF__SET(self->sizes[i], 0);
    }
    PYPROF__BUMP(pyprof__heap.ended_sampled, PYPROF__GET(self->sampled));
    PYPROF__SET(self->sampled, 0);
    pyprof__flush_live(self);
    if (PYPROF__GET(self->life)) PYPROF__SET(pyprof__heap.lives[PYPROF__GET(self->life) - 1].ended, 1);
    PYPROF__SET(self->tid, 0);
}

static char *pyprof__chain_place(pyprof__chain *chain, char *memory, size_t frames)   // where the memory behind it begins
{
    chain->frame = (uint64_t *)(void *)memory;
    chain->instruction = chain->frame + frames;
    chain->code = chain->instruction + frames;
    chain->name = chain->code + frames;
    chain->site = (uint32_t *)(void *)(chain->name + frames);
    return (char *)(chain->site + frames);
}

static pyprof__allocating *pyprof__allocating_new(uint32_t depth)
{
    size_t frames = ((size_t)depth + 2 + 15) & ~(size_t)15, own = (sizeof(pyprof__allocating) + 63) & ~(size_t)63;
    char *pages = (char *)pyprof__pages(own + 2 * frames * (4 * sizeof(uint64_t) + sizeof(uint32_t)));
    pyprof__allocating *self = (pyprof__allocating *)(void *)pages;
    if (!pages) return NULL;
    pyprof__chain_place(&self->fresh, pyprof__chain_place(&self->chain, pages + own, frames), frames);
    self->capacity = depth;
    return self;
}

// The record of this thread: one whose thread has ended, or a new one. NULL = no memory.
// One that is not in use. A thread that was stopped in the midst of an allocation looks at its own once more, in a
// later tracking: as nobody else's it never says of another thread that it has left the sites.
static pyprof__allocating *pyprof__allocating_spare(int64_t tid, uint32_t depth)   // NULL = there is none
{
    pyprof__allocating *self;
    for (self = pyprof__heap.threads; self; self = self->next)
        if (PYPROF__GET(self->tid) == 0 && self->holder == (uint64_t)tid && self->capacity >= depth) return self;
    for (self = pyprof__heap.threads; self; self = self->next)
        if (PYPROF__GET(self->tid) == 0 && self->capacity >= depth && !pyprof__thread_exists((int64_t)self->holder)) return self;
    return NULL;
}

static pyprof__allocating *pyprof__allocating_begin(uint32_t generation)
{
    int64_t tid = pyprof__gettid();
    pyprof__allocating *self;
    uint32_t depth = pyprof__heap.max_depth;
    pyprof__life *life;
    pyprof__heap_lock(&pyprof__heap.threads_lock);
    for (self = pyprof__heap.threads; self; self = self->next)
        if (PYPROF__GET(self->tid) == (uint64_t)tid) pyprof__allocating_end(self);   // its number is used again: that one is gone
    self = pyprof__allocating_spare(tid, depth);
    if (!self && (self = pyprof__allocating_new(depth)) != NULL) {
        self->next = pyprof__heap.threads;
        __atomic_store_n(&pyprof__heap.threads, self, __ATOMIC_RELEASE);
    }
    if (self) {
        PYPROF__SET(self->tid, (uint64_t)tid);
        self->holder = (uint64_t)tid;
        self->generation = generation;
        self->depth = 0;
        self->cut = 0;
        self->random = pyprof__now() ^ (uint64_t)tid << 40 ^ (uint64_t)(uintptr_t)self;
        self->spent = self->drawn = 0;
        PYPROF__SET(self->keeps, 0);
        if (PYPROF__GET(pyprof__heap.life_count) < PYPROF__LIVES) PYPROF__BUMP(pyprof__heap.life_count, 1);   // the rest shares one
        PYPROF__SET(self->life, PYPROF__GET(pyprof__heap.life_count));
        life = &pyprof__heap.lives[self->life - 1];
        if (life->root == 0) {
            life->tid = (uint64_t)tid;
            life->first_ns = pyprof__now();
            life->root = pyprof__site_find(0, PYPROF__NONE, (int32_t)self->life, self->life);
        }
        self->root = life->root;
        self->native = PYPROF__SPOT_NATIVE;
        memset(self->codes, 0, sizeof self->codes);
        memset(self->sites, 0, sizeof self->sites);
        memset(self->recent, 0, sizeof self->recent);
    }
    pyprof__unlock(&pyprof__heap.threads_lock);
    return self && self->root != PYPROF__NONE ? self : NULL;
}

// ---- the stack of the thread that allocates -----------------------------------------------------
static uint64_t pyprof__own_state(int domain)   // of its thread state; 0 = none
{
    void *state = NULL;
    // Else the one that is current is somebody else's, unless the caller holds the GIL: as MEM and OBJ must.
    if (pyprof__heap.habits.own_state || domain == PYPROF_DOMAIN_MEM || domain == PYPROF_DOMAIN_OBJ) state = pyprof__heap.api.attached();
    if (!state && pyprof__heap.api.this_thread) state = pyprof__heap.api.this_thread();
    return (uint64_t)(uintptr_t)state;
}

static int32_t pyprof__own_instruction(uint64_t at, uint64_t code, uint64_t raw)   // in code units; INT32_MIN = the frame is not complete yet
{
    const pyprof__layout *layout = &pyprof__heap.layout;
    pyprof__raw_frame frame;
    int64_t instruction;
    memset(&frame, 0, sizeof frame);
    frame.code = code;
    frame.instruction = raw;
    if (layout->instr_form != PYPROF__INSTR_POINTER) {
        int32_t lasti = (int32_t)raw;
        return layout->instr_form == PYPROF__INSTR_BYTES && lasti > 0 ? lasti / 2 : lasti;
    }
    if (layout->frame_owner != PYPROF__NO) frame.owner = *(const unsigned char *)(uintptr_t)(at + layout->frame_owner);
    if (layout->frame_tlbc != PYPROF__NO) frame.tlbc = (int32_t)pyprof__at32(at + layout->frame_tlbc);
    instruction = pyprof__frame_instruction(&pyprof__heap.mirror, layout, &frame);
    if (pyprof__frame_is_incomplete(&pyprof__heap.mirror, layout, &frame, instruction) > 0) return INT32_MIN;
    return instruction < -1 || instruction > INT32_MAX ? INT32_MAX : (int32_t)instruction;
}

// What tells the name in an importer's first local variable from others: a str's hash (it is a key of sys.modules).
static uint64_t pyprof__own_name(uint64_t at)
{
    uint64_t name = pyprof__at(at + pyprof__heap.layout.frame_locals) & ~(uint64_t)3, hash = ~(uint64_t)0;   // -1: not computed yet
    if (name && pyprof__at(name + pyprof__heap.layout.object_type) == PYPROF__GET(pyprof__heap.codes.str_type))
        hash = pyprof__at(name + pyprof__heap.layout.str_length + 8);
    return (hash == ~(uint64_t)0 ? name : hash) | 1;
}

__attribute__((noinline))
static uint32_t pyprof__import_site(pyprof__allocating *self, uint32_t parent, uint64_t at, uint64_t *name)   // of <import NAME>
{
    uint64_t local = pyprof__at(at + pyprof__heap.layout.frame_locals) & ~(uint64_t)3;
    uint32_t code, site;
    int error = errno;
    pyprof__site_memo *memo;
    *name = pyprof__own_name(at);
    memo = &self->sites[(*name >> 1 ^ parent * 31u) & (PYPROF__MEMO_SITES - 1)];
    if (memo->instruction == *name && memo->code == 1 && memo->parent == parent) return memo->site;   // 1: the address of no code
    pyprof__heap_lock(&pyprof__heap.names_lock);
    code = pyprof__import_find(&pyprof__heap.codes, &pyprof__heap.mirror, local);
    pyprof__unlock(&pyprof__heap.names_lock);
    errno = error;
    site = code == PYPROF__NONE ? PYPROF__NONE : pyprof__site_find(parent, code, 0, self->life);
    if (site == PYPROF__NONE) return parent;
    memo->instruction = *name;
    memo->code = 1;
    memo->parent = parent;
    memo->site = site;
    return site;
}

static uint32_t pyprof__frame_site(pyprof__allocating *self, uint32_t parent, uint64_t at, uint64_t code, uint64_t raw, uint64_t *name)
{
    pyprof__site_memo *memo = &self->sites[(raw ^ raw >> 8 ^ code >> 4 ^ parent * 31u) & (PYPROF__MEMO_SITES - 1)];
    int32_t instruction;
    uint32_t id, site;
    *name = 0;
    if (memo->instruction == raw && memo->code == code && memo->parent == parent) return memo->site;
    instruction = pyprof__own_instruction(at, code, raw);
    if (instruction == INT32_MIN) return parent;
    id = pyprof__heap_code(self, code);
    if (id != PYPROF__NONE && id == PYPROF__GET(pyprof__heap.importer)) parent = pyprof__import_site(self, parent, at, name);
    site = id == PYPROF__NONE ? PYPROF__NONE : pyprof__site_find(parent, id, instruction, self->life);
    if (site == PYPROF__NONE) { PYPROF__SET(pyprof__heap.full, 1); return parent; }   // counted at the deepest one known
    if (*name) return site;   // the next time it may load another module
    memo->instruction = raw;
    memo->code = code;
    memo->parent = parent;
    memo->site = site;
    return site;
}

// Of the thread's last chain: how much of it, from the root on, still holds. What does not goes to self->fresh, innermost
// first. Each frame is compared, because every caller may have moved on; what is equal from some frame down to the root
// needs no more than that. In most versions the instruction is an address, which tells the code, too.
typedef struct { uint32_t fresh, top, left; int run; } pyprof__overlap;   // left: entries of the chain, from the root, that may match yet

static void pyprof__overlap_break(pyprof__allocating *self, pyprof__overlap *o)   // a run that did not reach the root
{
    uint32_t i;
    for (i = o->top; o->run && i > o->left; i--, o->fresh++) {
        self->fresh.frame[o->fresh] = self->chain.frame[i - 1];
        self->fresh.instruction[o->fresh] = self->chain.instruction[i - 1];
        self->fresh.code[o->fresh] = self->chain.code[i - 1];
    }
    o->run = 0;
}

static int pyprof__overlap_find(const pyprof__allocating *self, pyprof__overlap *o, uint64_t frame)   // is it close by in the chain?
{
    uint32_t i = o->left, least = i > 16 ? i - 16 : 0;
    while (i > least && self->chain.frame[i - 1] != frame) i--;
    if (i == least) return 0;
    o->left = i;
    return 1;
}

static int pyprof__is_shim(uint64_t frame, uint32_t owner)   // a frame of C's own
{
    return owner != PYPROF__NO && *(const unsigned char *)(uintptr_t)(frame + owner) >= PYPROF__OWNER_SHIM;
}

// The chain's entries below left, down to least, that are the frames from *at on; how many are left then.
static inline size_t pyprof__overlap_run_by(const pyprof__chain *chain, size_t left, size_t least, uint64_t *at, int pointer)
{
    const pyprof__layout *layout = &pyprof__heap.layout;
    const size_t previous = layout->frame_previous, instruction = layout->frame_instr, code = layout->frame_code;
    const uint64_t *frames = chain->frame, *instructions = chain->instruction;
    uint64_t frame = *at, known, address;
    for (; left > least; left--) {
        known = frames[left - 1];
        __asm__("" : "=r"(address) : "0"(known));   // frame, if it holds; but the CPU has it before it followed the chain up to here
        if (known != frame) break;
        if (pointer ? pyprof__at(address + instruction) != instructions[left - 1]
            : pyprof__at32(address + instruction) != instructions[left - 1] || pyprof__at(address + code) != chain->code[left - 1]) break;
        frame = pyprof__at(address + previous);
    }
    *at = frame;
    return left;
}

__attribute__((noinline))   // the loop wants all registers
static uint32_t pyprof__overlap_run(const pyprof__chain *chain, uint32_t left, uint32_t most, uint64_t *at, uint64_t base)
{
    const pyprof__layout *layout = &pyprof__heap.layout;
    size_t i = left, least = left > most ? left - most : 0;
    for (;;) {
        if (layout->instr_form == PYPROF__INSTR_POINTER) i = pyprof__overlap_run_by(chain, i, least, at, 1);
        else i = pyprof__overlap_run_by(chain, i, least, at, 0);
        if (!*at || *at == base || !pyprof__is_shim(*at, layout->frame_owner)) return (uint32_t)i;
        *at = pyprof__at(*at + layout->frame_previous);
    }
}

static uint32_t pyprof__own_chain(pyprof__allocating *self, uint64_t thread, pyprof__overlap *o)   // how many frames there are
{
    const pyprof__layout *layout = &pyprof__heap.layout;
    const int pointer = layout->instr_form == PYPROF__INSTR_POINTER;
    uint64_t at = pyprof__at(thread + layout->thread_frame), base = layout->thread_base == PYPROF__NO ? 0 : pyprof__at(thread + layout->thread_base);
    uint64_t code, instruction;
    uint32_t n = 0, most = pyprof__heap.max_depth;
    if (layout->cframe_current != PYPROF__NO && at) at = pyprof__at(at + layout->cframe_current);
    while (at && at != base && n < most) {
        code = pyprof__at(at + layout->frame_code) & ~(uint64_t)3;
        instruction = pointer ? pyprof__at(at + layout->frame_instr) : pyprof__at32(at + layout->frame_instr);
        if (pyprof__overlap_find(self, o, at)) {
            if (self->chain.instruction[o->left - 1] == instruction && self->chain.code[o->left - 1] == code) {
                o->run = 1;
                o->top = o->left;
                o->left = pyprof__overlap_run(&self->chain, o->top, most - n, &at, base);
                n += o->top - o->left;
                if (!at || at == base || n >= most) break;
                pyprof__overlap_break(self, o);
                continue;
            }
            o->left--;   // it has moved on
        }
        if (code && !pyprof__is_shim(at, layout->frame_owner)) {
            self->fresh.frame[o->fresh] = at;
            self->fresh.code[o->fresh] = code;
            self->fresh.instruction[o->fresh++] = instruction;
            n++;
        }
        at = pyprof__at(at + layout->frame_previous);
    }
    if (o->left || (n >= most) != self->cut) pyprof__overlap_break(self, o);   // cut: the last chain ended for its length
    self->cut = n >= most;
    return n;
}

static void pyprof__chain_site(pyprof__allocating *self, uint32_t i)   // of the frame number i of the chain, from the root
{
    pyprof__chain *chain = &self->chain;
    uint32_t parent = i ? chain->site[i - 1] : self->base;
    chain->site[i] = pyprof__frame_site(self, parent, chain->frame[i], chain->code[i], chain->instruction[i], &chain->name[i]);
    if (chain->name[i]) self->named = i + 1;
}

// The frames that are as they were may be importing another module than before: the same calls, made again.
static void pyprof__chain_rename(pyprof__allocating *self, uint32_t kept)
{
    const pyprof__chain *chain = &self->chain;
    uint32_t i, named = self->named < kept ? self->named : kept;
    while (named && !chain->name[named - 1]) named--;
    self->named = named;
    for (i = 0; i < named && (!chain->name[i] || chain->name[i] == pyprof__own_name(chain->frame[i])); i++) {}
    if (i == named) return;
    for (; i < kept; i++) pyprof__chain_site(self, i);
}

static uint32_t pyprof__own_site(pyprof__allocating *self, int domain)   // of an allocation that happens now
{
    uint64_t thread = pyprof__own_state(domain);
    uint32_t epoch = __atomic_load_n(&pyprof__heap.code_epoch, __ATOMIC_ACQUIRE), n, kept, site = self->root, leaf = PYPROF__NONE;
    pyprof__overlap overlap = { 0, 0, 0, 0 };
    if (self->code_epoch != epoch) {   // a code object died: its address, and all that was remembered of it, may be another's
        self->code_epoch = epoch;
        self->depth = 0;
        memset(self->sites, 0, sizeof self->sites);
    }
    overlap.left = self->depth;
    n = thread ? pyprof__own_chain(self, thread, &overlap) : 0;
    kept = overlap.run ? overlap.top : 0;
    if (self->named) pyprof__chain_rename(self, kept);
    if (!kept && n >= pyprof__heap.max_depth) leaf = pyprof__site_find(site, PYPROF__SPOT_TRUNCATED, 0, self->life);
    if (!kept) self->base = leaf != PYPROF__NONE ? leaf : site;
    site = kept ? self->chain.site[kept - 1] : self->base;
    for (; overlap.fresh; kept++) {
        self->chain.frame[kept] = self->fresh.frame[--overlap.fresh];
        self->chain.code[kept] = self->fresh.code[overlap.fresh];
        self->chain.instruction[kept] = self->fresh.instruction[overlap.fresh];
        pyprof__chain_site(self, kept);
        site = self->chain.site[kept];
    }
    self->depth = kept;
    if (site != self->root && domain != PYPROF_DOMAIN_NATIVE) return site;
    leaf = pyprof__site_find(site, self->native, 0, self->life);
    return leaf == PYPROF__NONE ? site : leaf;
}

// ---- counting ------------------------------------------------------------------------------------
static uint64_t pyprof__site_live(const pyprof__site *site)
{
    int64_t live = (int64_t)(PYPROF__GET(site->in.bytes) - PYPROF__GET(site->out.bytes) - PYPROF__GET(site->gone.bytes));
    return live > 0 ? (uint64_t)live : 0;
}

static uint64_t pyprof__site_live_blocks(const pyprof__site *site)
{
    int64_t live = (int64_t)(PYPROF__GET(site->in.blocks) - PYPROF__GET(site->out.blocks) - PYPROF__GET(site->gone.blocks));
    return live > 0 ? (uint64_t)live : 0;
}

static uint64_t pyprof__site_live_doubt(uint32_t at)
{
    const pyprof__site_doubt *doubt = pyprof__site_doubt_at(at);
    uint64_t out = PYPROF__GET(doubt->out) + PYPROF__GET(doubt->gone), in = PYPROF__GET(doubt->in);
    return in > out ? in - out : 0;
}

PYPROF__HOT void pyprof__site_keep(uint32_t at)   // before it changes: what it had at the high-water mark
{
    pyprof__site *site = pyprof__site_at(at);
    uint32_t epoch = PYPROF__GET(pyprof__heap.epoch);
    if (PYPROF__GET(site->epoch) == epoch) return;
    if (PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_SAMPLED)
        PYPROF__SET(pyprof__site_doubt_at(at)->peak, pyprof__site_live_doubt(at));
    PYPROF__SET(site->peak_bytes, pyprof__site_live(site));
    PYPROF__SET(site->peak_blocks, pyprof__site_live_blocks(site));
    PYPROF__SET(site->epoch, epoch);
}

PYPROF__HOT void pyprof__count_live(pyprof__allocating *self, int64_t change)
{
    int64_t unflushed = PYPROF__GET(self->unflushed) + change, keeps = PYPROF__GET(self->keeps), total = PYPROF__GET(pyprof__heap.live) + unflushed;
    PYPROF__SET(self->unflushed, unflushed);
    if (total > PYPROF__GET(pyprof__heap.peak)) {
        PYPROF__SET(pyprof__heap.peak, total);
        PYPROF__SET(pyprof__heap.peak_ms, PYPROF__GET(pyprof__heap.clock_ms));
        PYPROF__BUMP(pyprof__heap.epoch, 1);
    }
    if (unflushed > keeps || unflushed < -keeps) pyprof__flush_live(self);
}

PYPROF__HOT void pyprof__flow_add(pyprof__flow *flow, uint64_t bytes, uint64_t blocks, uint32_t birth)
{
    PYPROF__BUMP(flow->bytes, bytes);
    PYPROF__BUMP(flow->blocks, blocks);
    PYPROF__BUMP(flow->births, blocks * birth);
}

static void pyprof__flow_gone(pyprof__flow *flow, uint64_t bytes, uint64_t blocks, uint64_t births)
{
    __atomic_fetch_add(&flow->bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&flow->blocks, blocks, __ATOMIC_RELAXED);
    __atomic_fetch_add(&flow->births, births, __ATOMIC_RELAXED);
}

static void pyprof__count_in(pyprof__allocating *self, uint32_t at, uint64_t size, int domain, uint32_t birth)
{
    pyprof__site *site = pyprof__site_at(at);
    pyprof__weight weight = pyprof__weigh(size);
    pyprof_domain_total *total = &self->in[domain];
    uint32_t class_of = size > 1 ? 64 - (uint32_t)__builtin_clzll(size - 1) : 0;
    pyprof__site_keep(at);
    pyprof__flow_add(&site->in, weight.bytes, weight.blocks, birth);
    if (weight.doubt) PYPROF__BUMP(pyprof__site_doubt_at(at)->in, weight.doubt);
    PYPROF__BUMP(total->alloc_bytes, (int64_t)weight.bytes);
    PYPROF__BUMP(total->alloc_blocks, (int64_t)weight.blocks);
    PYPROF__BUMP(self->sizes[class_of < PYPROF_SIZES ? class_of : PYPROF_SIZES - 1], weight.blocks);
    PYPROF__BUMP(self->sampled, 1);
    pyprof__count_live(self, (int64_t)weight.bytes);
}

static int pyprof__was_recent(pyprof__allocating *self, const void *block)   // was it among this thread's last allocations?
{
    uint64_t now = self->spent + self->drawn - (uint64_t)pyprof__own.left;
    size_t i;
    for (i = 0; i < PYPROF__RECENT; i++) {
        if (self->recent[i].block != block) continue;
        self->recent[i].block = NULL;
        return PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_EXACT || now - self->recent[i].spent <= PYPROF__TEMP_BYTES;
    }
    return 0;
}

static void pyprof__count_out(pyprof__allocating *self, const void *block, const pyprof__entry *entry)
{
    uint32_t birth = pyprof__entry_birth(entry);
    uint32_t at = pyprof__entry_site(entry);
    pyprof__site *site = pyprof__site_at(at);
    pyprof__weight weight = pyprof__weigh(pyprof__entry_size(entry));
    pyprof_domain_total *total = &self->in[pyprof__entry_domain(entry)];
    pyprof__site_keep(at);
    if (site->owner == self->life && self->life < PYPROF__LIVES) {
        pyprof__flow_add(&site->out, weight.bytes, weight.blocks, birth);
        if (weight.doubt) PYPROF__BUMP(pyprof__site_doubt_at(at)->out, weight.doubt);
        if (pyprof__was_recent(self, block)) PYPROF__BUMP(site->temp, weight.blocks);
    } else {
        pyprof__flow_gone(&site->gone, weight.bytes, weight.blocks, weight.blocks * birth);
        if (weight.doubt)
            __atomic_fetch_add(&pyprof__site_doubt_at(at)->gone, weight.doubt, __ATOMIC_RELAXED);
    }
    PYPROF__BUMP(total->live_bytes, (int64_t)weight.bytes);
    PYPROF__BUMP(total->live_blocks, (int64_t)weight.blocks);
    pyprof__count_live(self, -(int64_t)weight.bytes);
}

static void pyprof__heap_forget_live(void)   // the hooks were away: nobody knows what was freed
{
    uint32_t i;
    int64_t bytes = 0;
    pyprof__heap_lock(&pyprof__heap.names_lock);
    memset(pyprof__heap.code_buckets, 0, sizeof pyprof__heap.code_buckets);
    memset(pyprof__code_filter, 0, sizeof pyprof__code_filter);
    pyprof__heap.addresses.count = pyprof__heap.address_free = 0;
    __atomic_add_fetch(&pyprof__heap.code_epoch, 1, __ATOMIC_RELEASE);
    pyprof__unlock(&pyprof__heap.names_lock);
    pyprof__blocks_drop();
    pyprof__ranges_drop();
    if (PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_EXACT) pyprof__filter[0] = 255;
    for (i = 0; i < pyprof__heap_sites(); i++) {
        pyprof__site *site = pyprof__site_at(i);
        uint64_t live = pyprof__site_live(site), blocks = pyprof__site_live_blocks(site);
        pyprof__site_keep(i);
        bytes += (int64_t)live;
        pyprof__flow_gone(&site->gone, live, blocks, site->in.births - site->out.births - site->gone.births);
        if (PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_SAMPLED)
            __atomic_fetch_add(&pyprof__site_doubt_at(i)->gone, pyprof__site_live_doubt(i), __ATOMIC_RELAXED);
    }
    __atomic_fetch_sub(&pyprof__heap.live, bytes, __ATOMIC_RELAXED);
}

__attribute__((noinline))
static int pyprof__heap_thaw(void)   // has the next life of the interpreter begun? Then count afresh. 1 = tracking goes on
{
    int frozen = 1, error = errno;
    if (pyprof__heap.api.is_finalizing() || !pyprof__heap.api.main_interpreter()) return 0;
    if (!__atomic_compare_exchange_n(&pyprof__heap.frozen, &frozen, 2, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return frozen == 0;
    pyprof__heap_forget_live();
    PYPROF__SET(pyprof__heap.lost, PYPROF__GET(pyprof__heap.lost) | 2);
    PYPROF__SET(pyprof__heap.frozen, 0);
    errno = error;
    return 1;
}

// ---- the slow side of the hooks. errno stays as it was: whoever here calls the system sees to that ----------
__attribute__((noinline))
static pyprof__allocating *pyprof__own_renew(uint32_t generation)
{
    pyprof__allocating *self = pyprof__own.self;
    int error = errno;
    if (pyprof__heap.pid != getpid()) return NULL;   // a child made by a bare clone()
    if (!self || self->generation != generation || self->tid != (uint64_t)pyprof__gettid()) self = pyprof__allocating_begin(generation);
    pyprof__own.self = self;
    pyprof__own.generation = generation;
    pyprof__own.left = 0;
    errno = error;
    return self;
}

static inline pyprof__allocating *pyprof__own_record(uint32_t generation)
{
    pyprof__allocating *self = pyprof__own.self;
    return pyprof__own.generation == generation && self && PYPROF__GET(self->tid) ? self : pyprof__own_renew(generation);
}

// A thread whose countdown is over, or not yet begun: shall this block be noted? Begins the next countdown.
static int pyprof__countdown(pyprof__allocating *self, size_t size)
{
    int fresh = self->drawn == 0, over;
    if (PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_EXACT) return 1;
    if (fresh) { self->drawn = (uint64_t)pyprof__draw(&self->random, pyprof__heap.interval) + 1; pyprof__own.left = (int64_t)self->drawn; }
    pyprof__own.left -= (int64_t)size + 1;
    over = pyprof__own.left < 0;
    if (over) {
        self->spent += self->drawn + (uint64_t)-pyprof__own.left;
        self->drawn = (uint64_t)pyprof__draw(&self->random, pyprof__heap.interval) + 1;
        pyprof__own.left = (int64_t)self->drawn;
    }
    return over;
}

// While a thread is busy, nobody begins another tracking and gives the sites away. 0 = that has happened already.
static inline int pyprof__get_busy(pyprof__allocating *self, uint32_t generation)
{
    PYPROF__SET(self->busy, 1);
    __asm__ __volatile__("" ::: "memory");   // the rest of the fence is pyprof__order_threads
    if (generation == PYPROF__GET(pyprof__hot.generation)) return 1;
    PYPROF__SET(self->busy, 0);
    return 0;
}

static inline void pyprof__be_idle(pyprof__allocating *self) { __atomic_store_n(&self->busy, 0, __ATOMIC_RELEASE); }

static void pyprof__note(int domain, const void *block, size_t size, uint32_t generation)
{
    pyprof__allocating *self = pyprof__own.self;
    pyprof__entry entry;
    uint64_t hash = pyprof__block_hash(block);
    uint32_t site, birth = PYPROF__GET(pyprof__heap.clock_ms) / PYPROF__BIRTH;
    if (!block || !self || ((uintptr_t)block & 7) || (uint64_t)size >> 39 || !pyprof__get_busy(self, generation)) return;
    __builtin_prefetch(pyprof__shard_of(hash), 1);
    self->native = domain == PYPROF_DOMAIN_NATIVE ? pyprof__heap.code_malloc : (uint32_t)PYPROF__SPOT_NATIVE;
    site = pyprof__own_site(self, domain);
    pyprof__entry_make(&entry, hash, size, domain, site, birth);
    if (!pyprof__block_add(hash, &entry, generation)) {
        if (generation == PYPROF__GET(pyprof__hot.generation)) __atomic_fetch_add(&pyprof__heap.dropped, 1, __ATOMIC_RELAXED);
        pyprof__be_idle(self);
        return;
    }
    pyprof__count_in(self, site, size, domain, birth);
    pyprof__be_idle(self);
    self->recent[self->recent_at].block = block;
    self->recent[self->recent_at].spent = self->spent + self->drawn - (uint64_t)pyprof__own.left;
    self->recent_at = (self->recent_at + 1) % PYPROF__RECENT;
}

// Is this allocation to be noted? Called first, with depth 0; the generation it returns is not 0 then.
PYPROF__HOT uint32_t pyprof__wants(size_t size)
{
    uint32_t generation = __atomic_load_n(&pyprof__hot.generation, __ATOMIC_ACQUIRE);
    pyprof__allocating *self;
    if (!PYPROF__GET(pyprof__heap.mode)) {   // nobody looks: not for a while
        pyprof__own.generation = generation;
        pyprof__own.left = 1 << 20;
        return 0;
    }
    self = pyprof__own_record(generation);
    if (!self || !pyprof__countdown(self, size)) return 0;
    if (PYPROF__GET(pyprof__heap.frozen) && !pyprof__heap_thaw()) return 0;
    return PYPROF__GET(pyprof__heap.noting) ? generation : 0;
}

PYPROF__HOT void pyprof__forget(const void *block, uint32_t *generation, pyprof__entry *entry)   // *generation 0 = it was not noted
{
    uint32_t now = __atomic_load_n(&pyprof__hot.generation, __ATOMIC_ACQUIRE);
    uint64_t hash = pyprof__block_hash(block);
    *generation = 0;
    if (!PYPROF__GET(pyprof__heap.mode) || PYPROF__GET(pyprof__heap.frozen)) return;
    if (pyprof__heap.api.is_finalizing()) {   // from here on Python takes everything apart
        PYPROF__SET(pyprof__heap.frozen, 1);
        return;
    }
    if (PYPROF__GET(pyprof__code_filter[pyprof__code_filter_at(hash)])) pyprof__code_died(block);
    if (pyprof__block_take(hash, entry)) *generation = now;
}

PYPROF__HOT void pyprof__gone(uint32_t generation, const void *block, const pyprof__entry *entry)   // after pyprof__forget
{
    pyprof__allocating *self = generation && generation == PYPROF__GET(pyprof__hot.generation) ? pyprof__own_record(generation) : NULL;
    if (!self || !pyprof__get_busy(self, generation)) return;
    pyprof__count_out(self, block, entry);
    pyprof__be_idle(self);
}

typedef struct { int domain; uint32_t generation; } pyprof__hooked;

static inline void pyprof__go_in(pyprof__hooked *call, int domain, size_t size)
{
    pyprof__inside = 1;
    call->domain = domain;
    if (pyprof__own.probe == 1 + (uint32_t)domain) pyprof__own.probe = PYPROF__REACHED;
    call->generation = size == SIZE_MAX || pyprof__own.probe ? 0 : pyprof__wants(size);
    // Until CPython's domains are hooked, its own blocks would count here, and code objects would die unseen.
    if (domain == PYPROF_DOMAIN_NATIVE && PYPROF__GET(pyprof__heap.state) != PYPROF_HEAP_STATE_ON) call->generation = 0;
}

static inline void *pyprof__come_out(const pyprof__hooked *call, void *block, size_t size)
{
    if (call->generation) pyprof__note(call->domain, block, size, call->generation);
    pyprof__inside = 0;
    return block;
}

__attribute__((noinline))
static void *pyprof__slow_malloc(int domain, size_t size)
{
    const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE);
    pyprof__hooked call;
    if (pyprof__inside) return below->malloc(below->context, size);
    pyprof__go_in(&call, domain, size);
    return pyprof__come_out(&call, below->malloc(below->context, size), size);
}

__attribute__((noinline))
static void *pyprof__slow_calloc(int domain, size_t count, size_t size)
{
    const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE);
    size_t all = size && count > SIZE_MAX / 2 / size ? SIZE_MAX : count * size;
    pyprof__hooked call;
    if (pyprof__inside) return below->calloc(below->context, count, size);
    pyprof__go_in(&call, domain, all);
    return pyprof__come_out(&call, below->calloc(below->context, count, size), all);
}

// The old block leaves the table before the real call, because its address can be another's the moment it is free; it
// comes back when the call fails. NULL from C's realloc(block, 0) is no failure: the block was freed.
__attribute__((noinline))
static void *pyprof__slow_realloc(int domain, void *block, size_t size)
{
    const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE);
    pyprof__hooked call;
    pyprof__entry entry;
    uint32_t known = 0;
    int freed;
    void *moved;
    if (pyprof__inside) return below->realloc(below->context, block, size);
    pyprof__go_in(&call, domain, size);
    if (block) pyprof__forget(block, &known, &entry);
    moved = below->realloc(below->context, block, size);
    freed = moved || (size == 0 && domain == PYPROF_DOMAIN_NATIVE);
    if (known && (freed || !pyprof__block_add(pyprof__block_hash(block), &entry, known))) pyprof__gone(known, block, &entry);
    return pyprof__come_out(&call, moved, size);
}

__attribute__((noinline))
static void pyprof__slow_free(int domain, void *block)
{
    const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE);
    pyprof__entry entry;
    uint32_t known;
    if (pyprof__inside || !block) { below->free(below->context, block); return; }
    pyprof__inside = 1;
    pyprof__forget(block, &known, &entry);
    pyprof__gone(known, block, &entry);
    below->free(below->context, block);
    pyprof__inside = 0;
}

// ---- the hooks: a block that is neither sampled nor known passes after a few instructions ----------------------------------
// 1 = so much can be allocated before the thread's next sample
static inline int pyprof__passes(size_t size)
{
    int64_t left = pyprof__own.left - (int64_t)size - 1;
    if (size > PYPROF__LEAN || left < 0 || pyprof__own.generation != PYPROF__GET(pyprof__hot.generation)) return 0;
    pyprof__own.left = left;
    return 1;
}

static inline int pyprof__is_known(const void *block)   // 0 = surely not
{
    uint64_t hash = pyprof__block_hash(block);
    return PYPROF__GET(pyprof__filter[pyprof__filter_at(hash) & PYPROF__GET(pyprof__hot.mask)])
        | PYPROF__GET(pyprof__code_filter[pyprof__code_filter_at(hash)]);
}

// In the raw domain, and in malloc, we can be inside a call of another domain, or of ours.
#define PYPROF__HOOKS(name, domain, inside) \
    static void *pyprof__##name##_malloc(void *context, size_t size) \
    { \
        const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE); \
        void *block; \
        (void)context; \
        if ((inside) || !pyprof__passes(size)) return pyprof__slow_malloc(domain, size); \
        PYPROF__MARKED(block = below->malloc(below->context, size)); \
        return block; \
    } \
    static void *pyprof__##name##_calloc(void *context, size_t count, size_t size) \
    { \
        const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE); \
        void *block; \
        (void)context; \
        if ((inside) || (count | size) >> 31 || !pyprof__passes(count * size)) return pyprof__slow_calloc(domain, count, size); \
        PYPROF__MARKED(block = below->calloc(below->context, count, size)); \
        return block; \
    } \
    static void *pyprof__##name##_realloc(void *context, void *block, size_t size) \
    { \
        const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE); \
        void *moved; \
        (void)context; \
        if ((inside) || pyprof__is_known(block) || !pyprof__passes(size)) return pyprof__slow_realloc(domain, block, size); \
        PYPROF__MARKED(moved = below->realloc(below->context, block, size)); \
        return moved; \
    } \
    static void pyprof__##name##_free(void *context, void *block) \
    { \
        const pyprof__pymem *below = __atomic_load_n(&pyprof__hot.below[domain], __ATOMIC_ACQUIRE); \
        (void)context; \
        if (pyprof__is_known(block)) pyprof__slow_free(domain, block); \
        else below->free(below->context, block); \
    }
PYPROF__HOOKS(raw, PYPROF_DOMAIN_RAW, pyprof__inside)
PYPROF__HOOKS(mem, PYPROF_DOMAIN_MEM, 0)
PYPROF__HOOKS(obj, PYPROF_DOMAIN_OBJ, 0)

static const pyprof__pymem pyprof__hooks[PYPROF__DOMAINS] = {
    { NULL, pyprof__raw_malloc, pyprof__raw_calloc, pyprof__raw_realloc, pyprof__raw_free },
    { NULL, pyprof__mem_malloc, pyprof__mem_calloc, pyprof__mem_realloc, pyprof__mem_free },
    { NULL, pyprof__obj_malloc, pyprof__obj_calloc, pyprof__obj_realloc, pyprof__obj_free },
};

// ---- malloc and mmap themselves: only in the file that defines PYPROF_INTERPOSE_MALLOC -----------------------------------------
#if defined(PYPROF_INTERPOSE_MALLOC)
PYPROF__HOOKS(native, PYPROF_DOMAIN_NATIVE, pyprof__inside)

enum { PYPROF__EARLY = 65536 };

static struct {                  // what stands behind ours
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    void *(*memalign)(size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    int (*munmap)(void *, size_t);
    void *(*mremap)(void *, size_t, size_t, int, ...);
    int (*mprotect)(void *, size_t, int);
    char early[PYPROF__EARLY] __attribute__((aligned(16)));   // for what dlsym needs while we look for malloc
    size_t early_used;
    int looking;
} pyprof__libc;

static void *pyprof__libc_early(size_t size)   // zeroed; never given back
{
    size_t at = __atomic_fetch_add(&pyprof__libc.early_used, (size + 31) & ~(size_t)15, __ATOMIC_RELAXED);
    if (at + size + 16 > PYPROF__EARLY) return NULL;
    memcpy(pyprof__libc.early + at, &size, sizeof size);
    return pyprof__libc.early + at + 16;
}

static int pyprof__is_early(const void *block)
{
    return (uintptr_t)block - (uintptr_t)pyprof__libc.early < PYPROF__EARLY;
}

static void *pyprof__libc_malloc(void *context, size_t size) { (void)context; return pyprof__libc.malloc(size); }
static void *pyprof__libc_calloc(void *context, size_t count, size_t size) { (void)context; return pyprof__libc.calloc(count, size); }
static void *pyprof__libc_realloc(void *context, void *block, size_t size)
{
    size_t before;
    void *moved;
    (void)context;
    if (!pyprof__is_early(block)) return pyprof__libc.realloc(block, size);
    memcpy(&before, (const char *)block - 16, sizeof before);
    moved = pyprof__libc.malloc(size);
    if (moved) memcpy(moved, block, before < size ? before : size);
    return moved;
}
static void pyprof__libc_free(void *context, void *block)
{
    (void)context;
    if (!pyprof__is_early(block)) pyprof__libc.free(block);
}

static const pyprof__pymem pyprof__libc_allocator = { NULL, pyprof__libc_malloc, pyprof__libc_calloc, pyprof__libc_realloc, pyprof__libc_free };

__attribute__((noinline))
static int pyprof__libc_find(void)   // 0 = dlsym is at it, and needs memory for that
{
    static const struct { const char *name; size_t offset; } names[] = {
        { "malloc", offsetof(__typeof__(pyprof__libc), malloc) }, { "calloc", offsetof(__typeof__(pyprof__libc), calloc) },
        { "realloc", offsetof(__typeof__(pyprof__libc), realloc) }, { "free", offsetof(__typeof__(pyprof__libc), free) },
        { "memalign", offsetof(__typeof__(pyprof__libc), memalign) }, { "aligned_alloc", offsetof(__typeof__(pyprof__libc), aligned_alloc) },
        { "mmap", offsetof(__typeof__(pyprof__libc), mmap) }, { "munmap", offsetof(__typeof__(pyprof__libc), munmap) },
        { "mremap", offsetof(__typeof__(pyprof__libc), mremap) }, { "mprotect", offsetof(__typeof__(pyprof__libc), mprotect) },
    };
    size_t i;
    if (__atomic_exchange_n(&pyprof__libc.looking, 1, __ATOMIC_ACQUIRE)) return 0;
    for (i = 0; i < PYPROF__COUNT(names); i++) {
        void *found = dlsym((void *)-1l, names[i].name);   // RTLD_NEXT
        memcpy((char *)&pyprof__libc + names[i].offset, &found, sizeof found);
    }
    __atomic_store_n(&pyprof__hot.below[PYPROF_DOMAIN_NATIVE], &pyprof__libc_allocator, __ATOMIC_RELEASE);
    return 1;
}

static inline int pyprof__libc_ready(void)
{
    return __atomic_load_n(&pyprof__hot.below[PYPROF_DOMAIN_NATIVE], __ATOMIC_ACQUIRE) != NULL || pyprof__libc_find();
}

// ---- whose malloc is called? Another allocator can stand in front of ours or behind it, and a library loaded with
// RTLD_DEEPBIND calls that of its own libraries. What is not seen because of that is told.
typedef struct {                 // dl_phdr_info of link.h, declared only with _GNU_SOURCE
    uint64_t bias;
    const char *path;
    const Elf64_Phdr *segments;
    uint16_t count;
    unsigned long long loaded, unloaded;   // objects, so far
} pyprof__object;

typedef int pyprof__object_fn(const pyprof__object *object, size_t size, void *user);

typedef struct { uint64_t address, begin, end; char name[64]; } pyprof__object_at;   // what the object at an address spans

static struct {                  // found when tracking begins
    int (*each)(pyprof__object_fn *fn, void *user);   // dl_iterate_phdr: the dynamic linker's other lock is held during constructors
    pyprof__object_at ours, front, behind;            // address 0 = there is none
    unsigned long long changes;
    uint64_t due, scan, step;
    uint32_t lock, told;         // told: 1 = the reason holds in every session, 2 = it was found in this one; 0 = there is none
    char reason[200];
} pyprof__objects;

static void pyprof__object_span(const pyprof__object *object, uint64_t *begin, uint64_t *end)
{
    uint16_t i;
    for (*begin = UINT64_MAX, *end = 0, i = 0; i < object->count; i++) {
        uint64_t from = object->bias + object->segments[i].p_vaddr, to = from + object->segments[i].p_memsz;
        if (object->segments[i].p_type != PT_LOAD) continue;
        if (from < *begin) *begin = from;
        if (to > *end) *end = to;
    }
}

static void pyprof__object_name(const pyprof__object *object, char *name, size_t capacity)
{
    const char *slash = strrchr(object->path, '/');
    snprintf(name, capacity, "%.60s", !object->path[0] ? "the program" : slash ? slash + 1 : object->path);
}

static int pyprof__object_matches(const pyprof__object *object, size_t size, void *user)
{
    pyprof__object_at *at = (pyprof__object_at *)user;
    (void)size;
    pyprof__object_span(object, &at->begin, &at->end);
    if (at->address < at->begin || at->address >= at->end) return 0;
    pyprof__object_name(object, at->name, sizeof at->name);
    return 1;
}

static int pyprof__object_find(pyprof__object_at *at, const char *symbol, uint64_t address)   // 0 = there is none; symbol NULL: by address
{
    void *found = symbol ? dlsym(NULL, symbol) : NULL;
    memset(at, 0, sizeof *at);
    at->address = symbol ? (uint64_t)(uintptr_t)found : address;
    if (at->address && pyprof__objects.each && pyprof__objects.each(pyprof__object_matches, at)) return 1;
    at->address = 0;
    return 0;
}

static void pyprof__objects_tell(uint32_t told, const char *format, const char *name, const char *other)
{
    snprintf(pyprof__objects.reason, sizeof pyprof__objects.reason, format, name, other);
    __atomic_store_n(&pyprof__objects.told, told, __ATOMIC_RELEASE);
}

static void pyprof__objects_find_once(void)   // which objects have a malloc, or an operator new, that is not ours?
{
    pyprof__object_at libc, news, *ours = &pyprof__objects.ours, *front = &pyprof__objects.front, *behind = &pyprof__objects.behind;
    void *each = dlsym(NULL, "dl_iterate_phdr");
    memcpy(&pyprof__objects.each, &each, sizeof each);
    if (!pyprof__libc_ready() || !pyprof__object_find(ours, NULL, (uint64_t)(uintptr_t)&pyprof__objects)) return;
    pyprof__object_find(&libc, "getpid", 0);
    pyprof__object_find(behind, NULL, (uint64_t)(uintptr_t)pyprof__libc.malloc);
    pyprof__object_find(front, "malloc", 0);
    if (behind->begin == libc.begin) behind->address = 0;
    if (front->begin == ours->begin) front->address = 0;
    if (front->address)
        pyprof__objects_tell(1, "heap: malloc of %s stands in front of ours: native memory is not counted", front->name, "");
    else if (behind->address && pyprof__object_find(&news, "_Znwm", 0) && news.begin == behind->begin)
        pyprof__objects_tell(1, "heap: operator new of %s does not call malloc: what C++ allocates is not counted", news.name, "");
}

static void pyprof__objects_find(void)   // when tracking begins
{
    pyprof__heap_lock(&pyprof__objects.lock);
    if (!pyprof__objects.ours.address) pyprof__objects_find_once();
    if (pyprof__objects.told == 2) pyprof__objects.told = 0;   // that library may be gone
    pyprof__objects.changes = 0;
    pyprof__unlock(&pyprof__objects.lock);
}

static int pyprof__is_allocator(const void *code)   // does the code belong to an allocator that is not ours?
{
    const pyprof__object_at *front = &pyprof__objects.front, *behind = &pyprof__objects.behind;
    uint64_t at = (uint64_t)(uintptr_t)code;
    return (front->address && at >= front->begin && at < front->end) || (behind->address && at >= behind->begin && at < behind->end);
}

typedef struct { const pyprof__object *object; uint64_t begin, end, symbols, names; uint64_t other; } pyprof__object_scan;

// Among these relocations: the place that leads to malloc. It leads into the object itself until it is used for the first time.
static void pyprof__object_relocations(pyprof__object_scan *scan, uint64_t table, uint64_t size)
{
    const Elf64_Rela *at = (const Elf64_Rela *)(uintptr_t)table, *end = at + size / sizeof *at;
    for (; at < end && !scan->other; at++) {
        const Elf64_Sym *symbol = (const Elf64_Sym *)(uintptr_t)scan->symbols + ELF64_R_SYM(at->r_info);
        uint64_t leads_to;
        if (!ELF64_R_SYM(at->r_info) || strcmp((const char *)(uintptr_t)(scan->names + symbol->st_name), "malloc") != 0) continue;
        leads_to = pyprof__at(scan->object->bias + at->r_offset);
        if (leads_to - pyprof__objects.ours.begin < pyprof__objects.ours.end - pyprof__objects.ours.begin) continue;
        if (leads_to - scan->begin >= scan->end - scan->begin) scan->other = leads_to;
    }
}

static uint64_t pyprof__object_malloc(const pyprof__object *object)   // the malloc it calls, if that is another's; 0 = not known to be
{
    static const int64_t wanted[] = { DT_SYMTAB, DT_STRTAB, DT_RELA, DT_RELASZ, DT_RELACOUNT, DT_JMPREL, DT_PLTRELSZ };
    uint64_t found[PYPROF__COUNT(wanted)] = { 0, 0, 0, 0, 0, 0, 0 };
    pyprof__object_scan scan = { object, 0, 0, 0, 0, 0 };
    const Elf64_Dyn *entry = NULL;
    size_t i;
    pyprof__object_span(object, &scan.begin, &scan.end);
    for (i = 0; i < object->count; i++)
        if (object->segments[i].p_type == PT_DYNAMIC) entry = (const Elf64_Dyn *)(uintptr_t)(object->bias + object->segments[i].p_vaddr);
    for (; entry && entry->d_tag != DT_NULL; entry++)
        for (i = 0; i < PYPROF__COUNT(wanted); i++)
            if (entry->d_tag == wanted[i]) found[i] = entry->d_un.d_val;
    for (i = 0; i < PYPROF__COUNT(wanted); i++)   // the dynamic linker has made addresses of them, or not yet
        if (found[i] && found[i] < scan.begin && wanted[i] != DT_RELASZ && wanted[i] != DT_RELACOUNT && wanted[i] != DT_PLTRELSZ)
            found[i] += object->bias;
    scan.symbols = found[0];
    scan.names = found[1];
    if (!scan.symbols || !scan.names) return 0;
    if (found[2]) pyprof__object_relocations(&scan, found[2] + found[4] * sizeof(Elf64_Rela), found[3] - found[4] * sizeof(Elf64_Rela));
    if (found[5]) pyprof__object_relocations(&scan, found[5], found[6]);
    return scan.other;
}

typedef struct { int scan; uint64_t other; char name[64]; } pyprof__objects_look;

static int pyprof__object_looks(const pyprof__object *object, size_t size, void *user)
{
    pyprof__objects_look *look = (pyprof__objects_look *)user;
    (void)size;
    if (object->loaded + object->unloaded != pyprof__objects.changes) {
        pyprof__objects.changes = object->loaded + object->unloaded;
        look->scan = 1;
        pyprof__objects.step = 0;
    }
    if (!look->scan) return 1;
    look->other = pyprof__object_malloc(object);
    if (look->other) pyprof__object_name(object, look->name, sizeof look->name);
    return look->other != 0;
}

// On the sampler thread ten times a second, and when a profile is made: has a library come that calls another malloc? What
// it calls is known when it has called it, so all are looked through again, ever less often.
static void pyprof__objects_watch(int at_once)
{
    pyprof__objects_look look = { at_once, 0, "" };
    pyprof__object_at other;
    uint64_t now = pyprof__now();
    if (!PYPROF__GET(pyprof__heap.mode) || !pyprof__objects.ours.address || PYPROF__GET(pyprof__objects.told)) return;
    if ((!at_once && now < PYPROF__GET(pyprof__objects.due)) || !pyprof__try_lock(&pyprof__objects.lock)) return;
    look.scan |= now >= pyprof__objects.scan;
    pyprof__objects.each(pyprof__object_looks, &look);
    PYPROF__SET(pyprof__objects.due, now + pyprof__second / 10);
    if (look.scan) pyprof__objects.step = pyprof__objects.step ? 2 * pyprof__objects.step : pyprof__second / 10;
    if (look.scan) pyprof__objects.scan = now + pyprof__objects.step;
    if (look.other && pyprof__object_find(&other, NULL, look.other))   // otherwise it is just being loaded
        pyprof__objects_tell(2, "heap: %s calls malloc of %s, not ours: what it allocates is not counted", look.name, other.name);
    pyprof__unlock(&pyprof__objects.lock);
}

static const char *pyprof__objects_reason(void)   // NULL = nothing is amiss
{
    return __atomic_load_n(&pyprof__objects.told, __ATOMIC_ACQUIRE) ? pyprof__objects.reason : NULL;
}

// Anonymous mappings are few, and may be unmapped in parts: they have a table of their own. Each counts for itself in
// sampled mode, too. The table is never locked during a system call. What a call may take away is taken out of the tree
// before it, because another thread can be given the same addresses the moment the call is done; it comes back when the
// call fails.
// By chance: the higher one is on top.
static uint64_t pyprof__range_rank(uint32_t number) { return pyprof__mix(0x72616e6b, number); }

static uint32_t pyprof__ranges_join(uint32_t low, uint32_t high)   // all of low lies below all of high
{
    pyprof__range *list = pyprof__ranges.list;
    if (!low || !high) return low | high;
    if (pyprof__range_rank(low) > pyprof__range_rank(high)) {
        list[low].above = pyprof__ranges_join(list[low].above, high);
        return low;
    }
    list[high].below = pyprof__ranges_join(low, list[high].below);
    return high;
}

static void pyprof__ranges_split(uint32_t tree, uint64_t at, uint32_t *low, uint32_t *high)   // low: those that begin below at
{
    pyprof__range *list = pyprof__ranges.list;
    if (!tree) *low = *high = 0;
    else if (list[tree].begin < at) {
        *low = tree;
        pyprof__ranges_split(list[tree].above, at, &list[tree].above, high);
    } else {
        *high = tree;
        pyprof__ranges_split(list[tree].below, at, low, &list[tree].below);
    }
}

static void pyprof__ranges_insert(uint32_t tree)   // one by one: other threads' ranges may have come between them
{
    uint32_t below, above, low, high;
    if (!tree) return;
    below = pyprof__ranges.list[tree].below;
    above = pyprof__ranges.list[tree].above;
    pyprof__ranges.list[tree].below = pyprof__ranges.list[tree].above = 0;
    pyprof__ranges_insert(below);
    pyprof__ranges_split(pyprof__ranges.root, pyprof__ranges.list[tree].begin, &low, &high);
    pyprof__ranges.root = pyprof__ranges_join(pyprof__ranges_join(low, tree), high);
    pyprof__ranges_insert(above);
}

static int pyprof__ranges_grow(void)   // 0 = no room
{
    size_t had = pyprof__ranges.bytes, bytes = had ? 2 * had : 16384;
    void *list;
    if (PYPROF__GET(pyprof__heap.table_bytes) + bytes - had > pyprof__heap.max_bytes) return 0;
    list = had ? pyprof__pages_resize(pyprof__ranges.list, had, bytes) : pyprof__pages(bytes);
    if (!list) { PYPROF__SET(pyprof__heap.refused, 1); return 0; }
    __atomic_fetch_add(&pyprof__heap.table_bytes, bytes - had, __ATOMIC_RELAXED);
    pyprof__ranges.list = (pyprof__range *)list;
    pyprof__ranges.bytes = bytes;
    if (!had) pyprof__ranges.count = 1;
    return 1;
}

static uint32_t pyprof__range_new(pyprof__range range)   // 0 = no room
{
    uint32_t number = pyprof__ranges.spare;
    if (number) pyprof__ranges.spare = pyprof__ranges.list[number].below;
    else if ((pyprof__ranges.count + 1) * sizeof range <= pyprof__ranges.bytes || pyprof__ranges_grow())
        number = pyprof__ranges.count++;
    else {
        __atomic_fetch_add(&pyprof__heap.dropped, 1, __ATOMIC_RELAXED);
        return 0;
    }
    range.below = range.above = 0;
    pyprof__ranges.list[number] = range;
    return number;
}

static uint64_t pyprof__range_weight(void)   // of a block
{
    return PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_EXACT ? 1 : 65536;
}

static void pyprof__range_came(pyprof__allocating *self, const pyprof__range *range)   // memory, from this thread's own site
{
    pyprof_domain_total *total = &self->in[PYPROF_DOMAIN_NATIVE];
    pyprof__site *site = pyprof__site_at(range->site);
    uint64_t bytes = range->end - range->begin, blocks = pyprof__range_weight();
    pyprof__site_keep(range->site);
    pyprof__flow_add(&site->in, bytes, blocks, range->birth);
    PYPROF__BUMP(total->alloc_bytes, (int64_t)bytes);
    PYPROF__BUMP(total->alloc_blocks, (int64_t)blocks);
    pyprof__count_live(self, (int64_t)bytes);
}

// Of memory. A range that is cut in two is one block more, as if one had come back: blocks is below 0 then.
static void pyprof__range_went(pyprof__allocating *self, const pyprof__range *range, uint64_t bytes, int64_t blocks)
{
    pyprof_domain_total *total = &self->in[PYPROF_DOMAIN_NATIVE];
    blocks *= (int64_t)pyprof__range_weight();
    pyprof__site_keep(range->site);
    pyprof__flow_gone(&pyprof__site_at(range->site)->gone, bytes, (uint64_t)blocks,
                      (uint64_t)(blocks * range->birth));
    PYPROF__BUMP(total->live_bytes, (int64_t)bytes);
    PYPROF__BUMP(total->live_blocks, blocks);
    pyprof__count_live(self, -(int64_t)bytes);
}

static void pyprof__range_end(pyprof__allocating *self, const pyprof__range *range, uint64_t bytes)   // so much of its end is gone
{
    if (!range->counts) PYPROF__BUMP(pyprof__heap.reserved, 0 - bytes);
    else pyprof__range_went(self, range, bytes, bytes == range->end - range->begin);
}

static void pyprof__ranges_forget(pyprof__allocating *self, uint32_t tree)   // what is not in the big tree
{
    pyprof__range *range;
    if (!tree) return;
    range = &pyprof__ranges.list[tree];
    pyprof__ranges_forget(self, range->below);
    pyprof__ranges_forget(self, range->above);
    pyprof__range_end(self, range, range->end - range->begin);
    range->below = pyprof__ranges.spare;
    pyprof__ranges.spare = tree;
}

static uint32_t pyprof__ranges_around(uint64_t address)   // the range that goes on beyond address, or is the next one; 0 = none
{
    uint32_t at = pyprof__ranges.root, found = 0;
    while (at) {
        const pyprof__range *range = &pyprof__ranges.list[at];
        if (range->end > address) found = at;
        at = range->end > address ? range->below : range->above;
    }
    return found;
}

static void pyprof__ranges_cut(pyprof__allocating *self, uint64_t at)   // no range has it inside after this
{
    uint32_t number = pyprof__ranges_around(at), rest;
    pyprof__range range = pyprof__ranges.list[number];
    if (!number || range.begin >= at) return;
    range.begin = at;
    rest = pyprof__range_new(range);
    if (rest && range.counts) pyprof__range_went(self, &range, 0, -1);
    if (!rest) pyprof__range_end(self, &pyprof__ranges.list[number], range.end - at);   // no room: it is not noted any more
    pyprof__ranges.list[number].end = at;
    pyprof__ranges_insert(rest);
}

static uint32_t pyprof__ranges_take(pyprof__allocating *self, uint64_t begin, uint64_t end)   // out of the tree; 0 = nothing is there
{
    uint32_t first = begin < end ? pyprof__ranges_around(begin) : 0, low, high, tree;
    if (!first || pyprof__ranges.list[first].begin >= end) return 0;
    pyprof__ranges_cut(self, begin);
    pyprof__ranges_cut(self, end);
    pyprof__ranges_split(pyprof__ranges.root, begin, &low, &tree);
    pyprof__ranges_split(tree, end, &tree, &high);
    pyprof__ranges.root = pyprof__ranges_join(low, high);
    return tree;
}

static pyprof__allocating *pyprof__ranges_lock(uint32_t generation)   // NULL = nobody looks: not locked
{
    pyprof__allocating *self = PYPROF__GET(pyprof__heap.mode) && !PYPROF__GET(pyprof__heap.frozen) ? pyprof__own_record(generation) : NULL;
    if (!self || !pyprof__get_busy(self, generation)) return NULL;
    pyprof__heap_lock(&pyprof__ranges.lock);
    return self;
}

static void pyprof__ranges_unlock(pyprof__allocating *self)
{
    pyprof__unlock(&pyprof__ranges.lock);
    pyprof__be_idle(self);
}

static uint64_t pyprof__in_pages(size_t size)
{
    uint64_t rest = pyprof__page_size() - 1;
    return (size + rest) & ~rest;
}

// What a system call is about to do to a range of addresses. errno stays as it was.
typedef struct {
    uint32_t generation, tree;
    int counts;                  // memory was there; -1: nothing is known of it
} pyprof__remapping;

static void pyprof__remap_begin(pyprof__remapping *call, const void *address, size_t size)
{
    uint64_t begin = (uint64_t)(uintptr_t)address;
    int error = errno;
    pyprof__allocating *self;
    call->generation = __atomic_load_n(&pyprof__hot.generation, __ATOMIC_ACQUIRE);
    call->tree = 0;
    call->counts = -1;
    if (pyprof__inside || !size || !PYPROF__GET(pyprof__ranges.root) || begin & (pyprof__page_size() - 1)) return;
    pyprof__inside = 1;
    self = pyprof__ranges_lock(call->generation);
    if (self && pyprof__ranges.generation == call->generation) {
        call->tree = pyprof__ranges_take(self, begin, begin + pyprof__in_pages(size));
        if (call->tree) call->counts = (int)pyprof__ranges.list[call->tree].counts;
    }
    if (self) pyprof__ranges_unlock(self);
    pyprof__inside = 0;
    errno = error;
}

static int pyprof__is_mapped(uint64_t address)
{
    unsigned char resident;
    return syscall(SYS_mincore, address, pyprof__page_size(), &resident) == 0 || errno != ENOMEM;
}

// gone 0: the call failed. One that replaces mappings can have unmapped them all the same.
static void pyprof__remap_end(const pyprof__remapping *call, int gone)
{
    int error = errno;
    pyprof__allocating *self;
    if (!call->tree) return;
    pyprof__inside = 1;
    self = pyprof__ranges_lock(call->generation);
    if (self && pyprof__ranges.generation == call->generation) {
        if (gone || !pyprof__is_mapped(pyprof__ranges.list[call->tree].begin)) pyprof__ranges_forget(self, call->tree);
        else pyprof__ranges_insert(call->tree);
    }
    if (self) pyprof__ranges_unlock(self);
    pyprof__inside = 0;
    errno = error;
}

// The site is found before the lock is taken: that can take locks of its own.
static pyprof__allocating *pyprof__ranges_lock_new(pyprof__range *range, uint32_t generation)   // a new range; NULL = not to be noted
{
    int noting = PYPROF__GET(pyprof__heap.noting) && PYPROF__GET(pyprof__heap.state) == PYPROF_HEAP_STATE_ON;
    int looks = noting && PYPROF__GET(pyprof__heap.mode) && !PYPROF__GET(pyprof__heap.frozen);
    pyprof__allocating *self = looks ? pyprof__own_record(generation) : NULL;
    if (!self || !pyprof__get_busy(self, generation)) return NULL;
    self->native = pyprof__heap.code_mmap;
    range->site = pyprof__own_site(self, PYPROF_DOMAIN_NATIVE);
    range->birth = PYPROF__GET(pyprof__heap.clock_ms) / PYPROF__BIRTH;
    pyprof__heap_lock(&pyprof__ranges.lock);
    if (pyprof__ranges.generation != generation) pyprof__ranges.root = pyprof__ranges.spare = 0;
    if (pyprof__ranges.generation != generation) pyprof__ranges.count = pyprof__ranges.list ? 1 : 0;
    pyprof__ranges.generation = generation;
    return self;
}

static void pyprof__mapping_add(const void *address, size_t size, int counts)
{
    uint32_t generation = __atomic_load_n(&pyprof__hot.generation, __ATOMIC_ACQUIRE), number;
    int error = errno;
    pyprof__range range = { 0, 0, 0, 0, 0, 0, 0 };
    pyprof__allocating *self;
    if (pyprof__inside || !PYPROF__GET(pyprof__heap.mode)) return;
    pyprof__inside = 1;
    self = pyprof__ranges_lock_new(&range, generation);
    if (self) {
        range.begin = (uint64_t)(uintptr_t)address;
        range.end = range.begin + pyprof__in_pages(size);
        range.counts = (uint32_t)counts;
        pyprof__ranges_forget(self, pyprof__ranges_take(self, range.begin, range.end));   // unmapped unseen
        number = pyprof__range_new(range);
        if (number && counts) pyprof__range_came(self, &range);
        else if (number) PYPROF__BUMP(pyprof__heap.reserved, range.end - range.begin);
        pyprof__ranges_insert(number);
        pyprof__ranges_unlock(self);
    }
    pyprof__inside = 0;
    errno = error;
}

static int pyprof__is_protected(uint64_t begin, uint64_t end, uint32_t counts)   // is all that is known there so already?
{
    uint32_t at = pyprof__ranges_around(begin);
    while (at && pyprof__ranges.list[at].begin < end && pyprof__ranges.list[at].counts == counts)
        at = pyprof__ranges_around(pyprof__ranges.list[at].end);
    return !at || pyprof__ranges.list[at].begin >= end;
}

static void pyprof__ranges_protect(pyprof__allocating *self, uint32_t tree, const pyprof__range *now)   // what is not in the big tree
{
    pyprof__range *range;
    if (!tree) return;
    range = &pyprof__ranges.list[tree];
    pyprof__ranges_protect(self, range->below, now);
    pyprof__ranges_protect(self, range->above, now);
    if (range->counts == now->counts) return;
    pyprof__range_end(self, range, range->end - range->begin);
    range->counts = now->counts;
    range->site = now->site;
    range->birth = now->birth;
    if (range->counts) pyprof__range_came(self, range);
    else PYPROF__BUMP(pyprof__heap.reserved, range->end - range->begin);
}

// The addresses stay whose they are, so all of it is done after the system call.
static void pyprof__mapping_protect(const void *address, size_t size, uint32_t counts)
{
    uint32_t generation = __atomic_load_n(&pyprof__hot.generation, __ATOMIC_ACQUIRE), tree;
    uint64_t begin = (uint64_t)(uintptr_t)address, end = begin + pyprof__in_pages(size);
    int error = errno, same = 1;
    pyprof__range now = { 0, 0, 0, 0, 0, 0, 0 };
    pyprof__allocating *self = pyprof__ranges_lock(generation);
    if (self) {
        same = pyprof__ranges.generation != generation || pyprof__is_protected(begin, end, counts);
        pyprof__ranges_unlock(self);
    }
    self = same ? NULL : counts ? pyprof__ranges_lock_new(&now, generation) : pyprof__ranges_lock(generation);
    if (self) {
        now.counts = counts;
        tree = pyprof__ranges_take(self, begin, end);
        pyprof__ranges_protect(self, tree, &now);
        pyprof__ranges_insert(tree);
        pyprof__ranges_unlock(self);
    }
    errno = error;
}

static void *pyprof__aligned(void *(*const *made)(size_t, size_t), size_t alignment, size_t size)   // by one of what stands behind
{
    pyprof__hooked call;
    if (!pyprof__libc_ready()) return NULL;
    if (pyprof__inside || pyprof__passes(size)) return (*made)(alignment, size);
    pyprof__go_in(&call, PYPROF_DOMAIN_NATIVE, size);
    return pyprof__come_out(&call, (*made)(alignment, size), size);
}

#ifdef __cplusplus
#define PYPROF__THROWS noexcept
extern "C" {
#else
#define PYPROF__THROWS
#endif
#define PYPROF__INTERPOSED __attribute__((visibility("default")))

PYPROF__INTERPOSED void *malloc(size_t size) PYPROF__THROWS
{
    return pyprof__libc_ready() ? pyprof__native_malloc(NULL, size) : pyprof__libc_early(size);
}

PYPROF__INTERPOSED void *calloc(size_t count, size_t size) PYPROF__THROWS
{
    if (pyprof__libc_ready()) return pyprof__native_calloc(NULL, count, size);
    return size && count > PYPROF__EARLY / size ? NULL : pyprof__libc_early(count * size);
}

PYPROF__INTERPOSED void *realloc(void *block, size_t size) PYPROF__THROWS
{
    return pyprof__libc_ready() ? pyprof__native_realloc(NULL, block, size) : block ? NULL : pyprof__libc_early(size);
}

PYPROF__INTERPOSED void free(void *block) PYPROF__THROWS
{
    if (block && pyprof__libc_ready()) pyprof__native_free(NULL, block);
}

PYPROF__INTERPOSED void free_sized(void *block, size_t size) PYPROF__THROWS;   // C23: a hint is added
PYPROF__INTERPOSED void free_aligned_sized(void *block, size_t alignment, size_t size) PYPROF__THROWS;
PYPROF__INTERPOSED void free_sized(void *block, size_t size) PYPROF__THROWS { (void)size; free(block); }
PYPROF__INTERPOSED void free_aligned_sized(void *block, size_t alignment, size_t size) PYPROF__THROWS
{
    (void)alignment;
    (void)size;
    free(block);
}

PYPROF__INTERPOSED void *reallocarray(void *block, size_t count, size_t size) PYPROF__THROWS
{
    if (!size || count <= SIZE_MAX / 2 / size) return realloc(block, count * size);
    errno = ENOMEM;
    return NULL;
}

PYPROF__INTERPOSED void *memalign(size_t alignment, size_t size) PYPROF__THROWS;   // of malloc.h, as the next one
PYPROF__INTERPOSED void *pvalloc(size_t size) PYPROF__THROWS;
PYPROF__INTERPOSED void *memalign(size_t alignment, size_t size) PYPROF__THROWS
{
    return pyprof__aligned(&pyprof__libc.memalign, alignment, size);
}

PYPROF__INTERPOSED void *aligned_alloc(size_t alignment, size_t size) PYPROF__THROWS
{
    return pyprof__aligned(&pyprof__libc.aligned_alloc, alignment, size);
}

PYPROF__INTERPOSED void *valloc(size_t size) PYPROF__THROWS
{
    return pyprof__aligned(&pyprof__libc.memalign, pyprof__page_size(), size);
}

PYPROF__INTERPOSED void *pvalloc(size_t size) PYPROF__THROWS   // whole pages
{
    size_t rest = pyprof__page_size() - 1, whole = (size + rest) & ~rest;
    if (whole >= size) return pyprof__aligned(&pyprof__libc.memalign, rest + 1, whole);
    errno = ENOMEM;
    return NULL;
}

PYPROF__INTERPOSED int posix_memalign(void **block, size_t alignment, size_t size) PYPROF__THROWS
{
    int error = errno;
    void *made;
    if (alignment < sizeof(void *) || (alignment & (alignment - 1))) return EINVAL;
    made = pyprof__aligned(&pyprof__libc.memalign, alignment, size);
    errno = error;
    if (!made) return ENOMEM;
    *block = made;
    return 0;
}

static int pyprof__maps_memory(int protection, int flags)
{
    return (protection & PROT_WRITE) && !(flags & MAP_NORESERVE);
}

// Another allocator's mappings do not count: what it makes of them is counted, or said not to be.
static void *pyprof__map(void *address, size_t size, int protection, int flags, int fd, off_t offset, const void *caller)
{
    pyprof__remapping over;
    void *made;
    if (!pyprof__libc_ready()) return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
    pyprof__remap_begin(&over, address, flags & MAP_FIXED ? size : 0);
    made = pyprof__libc.mmap(address, size, protection, flags, fd, offset);
    pyprof__remap_end(&over, made != MAP_FAILED);
    if (made != MAP_FAILED && (flags & MAP_ANONYMOUS) && !pyprof__is_allocator(caller))
        pyprof__mapping_add(made, size, pyprof__maps_memory(protection, flags));
    return made;
}

PYPROF__INTERPOSED void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) PYPROF__THROWS
{
    return pyprof__map(address, size, protection, flags, fd, offset, __builtin_return_address(0));
}

PYPROF__INTERPOSED void *mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset) PYPROF__THROWS
{
    return pyprof__map(address, size, protection, flags, fd, offset, __builtin_return_address(0));
}

PYPROF__INTERPOSED int munmap(void *address, size_t size) PYPROF__THROWS
{
    pyprof__remapping call;
    int result;
    if (!pyprof__libc_ready()) return (int)syscall(SYS_munmap, address, size);
    pyprof__remap_begin(&call, address, size);
    result = pyprof__libc.munmap(address, size);
    pyprof__remap_end(&call, result == 0);
    return result;
}

// A moved or resized mapping is a free and an allocation, as a realloc is. MREMAP_FIXED is 2, MREMAP_DONTUNMAP is 4.
PYPROF__INTERPOSED void *mremap(void *address, size_t size, size_t wanted, int flags, ...) PYPROF__THROWS
{
    pyprof__remapping from, over;
    void *target = NULL, *moved;
    va_list more;
    va_start(more, flags);
    if (flags & (2 | 4)) target = va_arg(more, void *);
    va_end(more);
    if (!pyprof__libc_ready()) return (void *)syscall(SYS_mremap, address, size, wanted, flags, target);
    pyprof__remap_begin(&from, address, size);
    pyprof__remap_begin(&over, target, flags & 2 ? wanted : 0);
    moved = pyprof__libc.mremap(address, size, wanted, flags, target);
    pyprof__remap_end(&over, moved != MAP_FAILED);
    pyprof__remap_end(&from, moved != MAP_FAILED && !(flags & 4));
    if (moved != MAP_FAILED && from.counts >= 0) pyprof__mapping_add(moved, wanted, from.counts);
    return moved;
}

// Memory that nobody may touch is a reservation again. Taking away the right to write alone changes nothing: what was
// written stays.
static int pyprof__protected(void *address, size_t size, int protection, int result)
{
    int counts = (protection & PROT_WRITE) != 0;
    if (result || pyprof__inside || !PYPROF__GET(pyprof__ranges.root)) return result;
    if (!counts && protection != PROT_NONE) return result;
    pyprof__inside = 1;
    pyprof__mapping_protect(address, size, (uint32_t)counts);
    pyprof__inside = 0;
    return 0;
}

PYPROF__INTERPOSED int mprotect(void *address, size_t size, int protection) PYPROF__THROWS
{
    int ready = pyprof__libc_ready();
    return pyprof__protected(address, size, protection, ready ? pyprof__libc.mprotect(address, size, protection)
                             : (int)syscall(SYS_mprotect, address, size, protection));
}

PYPROF__INTERPOSED int pkey_mprotect(void *address, size_t size, int protection, int key) PYPROF__THROWS
{
    int plain = key == -1, result = (int)(plain ? syscall(SYS_mprotect, address, size, protection)
                                          : syscall(SYS_pkey_mprotect, address, size, protection, key));
    return pyprof__protected(address, size, protection, result);
}
#ifdef __cplusplus
}
#endif
#else
static void pyprof__objects_find(void) {}
static void pyprof__objects_watch(int at_once) { (void)at_once; }
static const char *pyprof__objects_reason(void) { return NULL; }
#endif   // PYPROF_INTERPOSE_MALLOC

// ---- going in and out: with the GIL, because other threads read the table of allocators without a lock ---------------------
static int pyprof__reaches_us(const pyprof__pymem *top, int domain)   // does an allocation there come by the domain's hook?
{
    static const size_t sizes[] = { 1, 600, 9000, 1u << 20 };   // a pool seldom calls what is below it for small blocks
    int64_t left = pyprof__own.left;
    void *block;
    size_t i;
    int reached = 0;
    for (i = 0; i < PYPROF__COUNT(sizes) && !reached; i++) {
        pyprof__own.left = -1;
        pyprof__own.probe = 1 + (uint32_t)domain;   // pymalloc may call the raw domain
        block = top->malloc(top->context, sizes[i]);
        reached = pyprof__own.probe == PYPROF__REACHED;
        pyprof__own.probe = 0;
        pyprof__own.left = left;
        if (block) top->free(top->context, block);
    }
    return reached;
}

// Our hooks were there, and the allocator on top does not call them now. Is it certain that it never will? Then they can go
// in on top of it; otherwise each would call the other without end. CPython's own call what is below them each time.
static int pyprof__never_calls_us(const pyprof__pymem *top, int domain)
{
    uint64_t at;
    memcpy(&at, &top->malloc, sizeof at);
    if (memcmp(top, pyprof__hot.below[domain], sizeof *top) == 0) return 1;   // somebody took ours out
    return at >= pyprof__heap.python_begin && at < pyprof__heap.python_end;
}

// Our hook gets the context of the allocator below it, and ignores what it is called with: callers read context and
// function one after the other, and may find one of ours and one of theirs.
// 0 = they cannot go in, or too many allocators have come and gone; 1 = they are in, 2 = they had to go in
static int pyprof__hook_in(int domain)
{
    pyprof__pymem top, ours = pyprof__hooks[domain];
    size_t i;
    pyprof__heap.api.get_allocator(domain, &top);
    if (top.malloc == ours.malloc) return 1;
    if (pyprof__heap.in[domain]) {
        if (top.malloc == pyprof__heap.strange[domain]) return 0;
        if (pyprof__reaches_us(&top, domain)) return 1;
        if (!pyprof__never_calls_us(&top, domain)) { pyprof__heap.strange[domain] = top.malloc; return 0; }
    }
    for (i = 0; i < PYPROF__BELOW && pyprof__below[domain][i].malloc; i++)
        if (memcmp(&pyprof__below[domain][i], &top, sizeof top) == 0) break;
    if (i == PYPROF__BELOW) return 0;
    pyprof__below[domain][i] = top;   // whole before the first call can come
    __atomic_store_n(&pyprof__hot.below[domain], &pyprof__below[domain][i], __ATOMIC_RELEASE);
    ours.context = top.context;
    pyprof__heap.in[domain] = 1;
    pyprof__heap.strange[domain] = NULL;
    pyprof__heap.api.set_allocator(domain, &ours);
    return 2;
}

static void pyprof__hook_out(int domain)
{
    pyprof__pymem top;
    pyprof__heap.api.get_allocator(domain, &top);
    if (top.malloc != pyprof__hooks[domain].malloc) return;   // somebody is above us: ours stay, and pass everything through
    top = *pyprof__hot.below[domain];
    pyprof__heap.api.set_allocator(domain, &top);
    pyprof__heap.in[domain] = 0;
}

static int pyprof__holds_gil(void)   // this thread, surely
{
    void *attached = pyprof__heap.api.attached();
    return attached && (pyprof__heap.habits.own_state || attached == pyprof__heap.api.this_thread());
}

static int pyprof__heap_settle(void *unused)   // a pending call, or called by one who holds the GIL
{
    int domain, whole = 1, went_in = 0, wanted = PYPROF__GET(pyprof__heap.wanted);
    (void)unused;
    pyprof__heap_lock(&pyprof__heap.settle_lock);
    for (domain = 0; domain < PYPROF__DOMAINS; domain++) {
        int in = wanted ? pyprof__hook_in(domain) : 0;
        if (!wanted) pyprof__hook_out(domain);
        whole &= in != 0;
        went_in |= in == 2;
        if (in == 2) pyprof__heap.verified[domain] = NULL;
    }
    if (went_in && PYPROF__GET(pyprof__heap.state) == PYPROF_HEAP_STATE_ON) {   // they had been taken out
        pyprof__heap_forget_live();
        PYPROF__SET(pyprof__heap.lost, 1);
    }
    PYPROF__SET(pyprof__heap.state, !wanted ? PYPROF_HEAP_STATE_OFF : whole ? PYPROF_HEAP_STATE_ON : PYPROF_HEAP_STATE_LOST);
    PYPROF__SET(pyprof__heap.calling, 0);
    pyprof__unlock(&pyprof__heap.settle_lock);
    return 0;
}

// Gets the hooks in or out, now or as soon as Python's main thread gets to it. There must be an interpreter. From 3.9 to 3.12
// a call that another thread adds waits until the main thread takes the GIL again (COMPUTE_EVAL_BREAKER in Python/ceval.c).
static void pyprof__heap_request(void)
{
    if (pyprof__holds_gil()) { pyprof__heap_settle(NULL); return; }
    // A call can get lost at the end of a life of the interpreter.
    if (!PYPROF__GET(pyprof__heap.calling) || pyprof__now() - pyprof__heap.called_ns > pyprof__second / 2) {
        PYPROF__SET(pyprof__heap.calling, 1);
        pyprof__heap.called_ns = pyprof__now();
        if (pyprof__heap.api.add_pending_call(pyprof__heap_settle, NULL) != 0) PYPROF__SET(pyprof__heap.calling, 0);   // full: again later
    }
}

// ---- beginning and end of tracking -----------------------------------------------------------------------------------------
static void *pyprof__heap_pages(void *user, size_t size) { (void)user; return pyprof__pages(size); }
static void pyprof__heap_pages_free(void *user, void *memory, size_t size) { (void)user; pyprof__pages_free(memory, size); }

static uint32_t pyprof__heap_pseudo(const char *name)   // a code object that is none
{
    pyprof__codes *codes = &pyprof__heap.codes;
    pyprof__code *code = (pyprof__code *)pyprof__push(codes->pool, &codes->codes);
    if (!code) return PYPROF__SPOT_NATIVE;
    code->name = code->qualname = pyprof__intern(codes->pool, &codes->strings, name, strlen(name));
    code->kind = PYPROF_KIND_NATIVE;
    return (uint32_t)codes->codes.count - 1;
}

// Nobody is at the sites. 0 = no memory, not even for few of them
static int pyprof__heap_regions(uint64_t max_bytes, int sampled)
{
    uint64_t limit;
    uint32_t i;
    for (i = 0; i < PYPROF__SEGMENTS; i++) {   // those of the last tracking
        pyprof__pages_free(pyprof__heap.segments[i].sites, pyprof__segment_bytes(pyprof__heap.segments[i].count));
        pyprof__heap.segments[i].sites = NULL;
    }
    pyprof__heap.doubtful = sampled;
    limit = max_bytes / 2 / pyprof__segment_bytes(1);
    pyprof__heap.site_limit = limit < PYPROF__SITES_MOST ? (uint32_t)limit : (uint32_t)PYPROF__SITES_MOST;
    if (!pyprof__heap.buckets) pyprof__heap.buckets = (uint32_t *)pyprof__pages(PYPROF__BUCKETS * sizeof(uint32_t));
    if (!pyprof__heap.lives) pyprof__heap.lives = (pyprof__life *)pyprof__pages(PYPROF__LIVES * sizeof(pyprof__life));
    return pyprof__heap.buckets && pyprof__heap.lives && limit >= PYPROF__SITES_LEAST && pyprof__segment_new(0);
}

static void pyprof__heap_clear(void)   // gives back what the last tracking used; the regions stay
{
    uint32_t i;
    pyprof__pages_clear(pyprof__heap.buckets, PYPROF__BUCKETS * sizeof(uint32_t));
    pyprof__pages_clear(pyprof__heap.lives, PYPROF__LIVES * sizeof(pyprof__life));
    for (i = 0; i < PYPROF__SEGMENTS; i++)
        pyprof__pages_clear(pyprof__heap.segments[i].sites, pyprof__segment_bytes(pyprof__heap.segments[i].count));
}

static void pyprof__heap_forget(void)   // all that was counted; under the locks
{
    pyprof__allocating *thread;
    pyprof__blocks_drop();
    pyprof__ranges_drop();
    for (thread = pyprof__heap.threads; thread; thread = thread->next) { pyprof__allocating_end(thread); PYPROF__SET(thread->unflushed, 0); }
    memset(pyprof__heap.ended, 0, sizeof pyprof__heap.ended);
    memset(pyprof__heap.ended_sizes, 0, sizeof pyprof__heap.ended_sizes);
    memset(pyprof__heap.code_buckets, 0, sizeof pyprof__heap.code_buckets);
    memset(pyprof__code_filter, 0, sizeof pyprof__code_filter);
    pyprof__heap.ended_sampled = pyprof__heap.dropped = 0;
    pyprof__heap.site_count = 1;
    pyprof__heap.life_count = pyprof__heap.address_free = pyprof__heap.marks = 0;
    pyprof__heap.addresses.count = 0;
    pyprof__heap.live = pyprof__heap.peak = 0;
    pyprof__heap.peak_ms = pyprof__heap.clock_ms = 0;
    pyprof__heap.mark_step = pyprof__second / 10;
    pyprof__heap.start_ns = pyprof__now();
    pyprof__heap.mark_due = pyprof__heap.start_ns + pyprof__heap.mark_step;
    pyprof__heap.full = pyprof__heap.frozen = pyprof__heap.refused = 0;
    pyprof__heap.reserved = 0;
    pyprof__heap.code_epoch++;
    pyprof__heap.epoch++;
}

static int pyprof__heap_codes(uint64_t max_bytes)   // 0 = no memory
{
    static const pyprof_allocator pages = { pyprof__heap_pages, pyprof__heap_pages_free, NULL };
    pyprof__pool_init(&pyprof__heap.pool, &pages, max_bytes);
    pyprof__array_init(&pyprof__heap.addresses, sizeof(pyprof__code_at));
    memset(&pyprof__heap.source, 0, sizeof pyprof__heap.source);
    pyprof__heap.source.fd = -1;
    pyprof__heap.source.end = pyprof__address_end();
    pyprof__mirror_init(&pyprof__heap.mirror, &pyprof__heap.pool, &pyprof__heap.source);
    pyprof__heap.mirror.direct = 1;
    if (!pyprof__codes_init(&pyprof__heap.codes, &pyprof__heap.pool, &pyprof__heap.layout)) return 0;
    pyprof__heap.importer = PYPROF__NONE;
    pyprof__heap.code_malloc = pyprof__heap_pseudo("<malloc>");
    pyprof__heap.code_mmap = pyprof__heap_pseudo("<mmap>");
    return 1;
}

static pyprof_result pyprof__heap_api(const pyprof__runtime *runtime)
{
    static const struct { const char *name; size_t offset; } names[] = {
        { "PyMem_GetAllocator", offsetof(pyprof__python_api, get_allocator) }, { "PyMem_SetAllocator", offsetof(pyprof__python_api, set_allocator) },
        { "Py_AddPendingCall", offsetof(pyprof__python_api, add_pending_call) },
        { "PyGILState_GetThisThreadState", offsetof(pyprof__python_api, this_thread) },
        { "_PyThreadState_UncheckedGet", offsetof(pyprof__python_api, attached) },
        { "_Py_IsFinalizing", offsetof(pyprof__python_api, is_finalizing) },
        { "PyInterpreterState_Main", offsetof(pyprof__python_api, main_interpreter) },
    };
    static const char *const since_313[] = { NULL, NULL, NULL, NULL, "PyThreadState_GetUnchecked", "Py_IsFinalizing", NULL };

    pyprof__pool pool;
    size_t i;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    for (i = 0; i < PYPROF__COUNT(names); i++) {
        void *found = pyprof__runtime_function(runtime, &pool, names[i].name);
        if (!found && since_313[i]) found = pyprof__runtime_function(runtime, &pool, since_313[i]);
        if (!found) return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "heap: this Python's C API cannot be reached: no %s (found it %s)", names[i].name,
                                        runtime->where);
        memcpy((char *)&pyprof__heap.api + names[i].offset, &found, sizeof found);
    }
    return PYPROF_OK;
}

// One tracker a process, however many copies of this header its shared objects have. The claim is a mapping that
// /proc/self/maps shows to all of them; a forked child drops it.
static int pyprof__claim(void **claim)   // 0 = another copy has it
{
    static const char name[] = "pyprof-heap-1";
    pyprof__pool pool;
    pyprof__mapping mapping;
    size_t capacity;
    char *maps;
    const char *at;
    int fd, taken = 0;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    at = maps = pyprof__read_maps(&pool, &capacity);
    while ((at = pyprof__next_mapping(at, &mapping)) != NULL)
        taken |= strncmp(mapping.path, "/memfd:", 7) == 0 && strncmp(mapping.path + 7, name, sizeof name - 1) == 0;
    pyprof__free(&pool, maps, capacity);
    if (taken) return 0;
    fd = (int)syscall(SYS_memfd_create, name, 1u /* MFD_CLOEXEC */);
    *claim = fd >= 0 ? mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (*claim == MAP_FAILED) *claim = NULL;   // refused here: then nobody can tell
    if (fd >= 0) close(fd);
    return 1;
}

static void pyprof__unclaim(void **claim)
{
    pyprof__pages_free(*claim, 4096);
    *claim = NULL;
}

static void pyprof__heap_python(void)   // finds where the interpreter's code is
{
    pyprof__pool pool;
    pyprof__mapping mapping;
    uint64_t within;
    size_t capacity;
    char *maps, path[sizeof mapping.path] = "";
    const char *at;
    memcpy(&within, &pyprof__heap.api.get_allocator, sizeof within);
    pyprof__heap.python_begin = pyprof__heap.python_end = 0;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    maps = pyprof__read_maps(&pool, &capacity);
    for (at = maps; (at = pyprof__next_mapping(at, &mapping)) != NULL;)
        if (within >= mapping.start && within < mapping.end) memcpy(path, mapping.path, sizeof path);
    for (at = maps; path[0] && (at = pyprof__next_mapping(at, &mapping)) != NULL;) {
        if (strcmp(mapping.path, path) != 0) continue;
        if (!pyprof__heap.python_begin) pyprof__heap.python_begin = mapping.start;
        pyprof__heap.python_end = mapping.end;
    }
    pyprof__free(&pool, maps, capacity);
}

// Waits for the threads that are still at the sites of the last tracking. 0 = one of them does not get on.
static int pyprof__heap_quiet(void)
{
    const pyprof__allocating *thread;
    int tries = 0;
    pyprof__order_threads();
    for (thread = __atomic_load_n(&pyprof__heap.threads, __ATOMIC_ACQUIRE); thread; thread = thread->next)
        while (__atomic_load_n(&thread->busy, __ATOMIC_ACQUIRE) && pyprof__thread_exists((int64_t)thread->tid)) {
            if (++tries > 2000) return 0;
            pyprof__nap(500000);
        }
    return 1;
}

typedef struct { int mode; uint64_t interval, table_bytes, bytes; uint32_t depth; } pyprof__heap_wish;

static pyprof_result pyprof__heap_start(const pyprof__heap_wish *wish, const pyprof__runtime *runtime)   // nobody tracks yet
{
    pyprof_result result = pyprof__heap_api(runtime);
    int whole;
    if (result != PYPROF_OK) return result;
    if (pyprof__heap.pid != getpid() && pyprof__heap.pid) pyprof__heap_forked();
    pyprof__heap.pid = getpid();
    if (!pyprof__heap_quiet()) return pyprof__fail(PYPROF_ERR_BUSY, "heap: a thread is still about to leave the tracking before");
    if (!pyprof__claim(&pyprof__heap.claim))
        return pyprof__fail(PYPROF_ERR_BUSY, "heap: another copy of pyprof.h in this process tracks memory already");
    pyprof__objects_find();
    pyprof__heap_python();
    pyprof__heap.layout = runtime->layout;
    pyprof__heap.habits = pyprof__layout_habits(runtime->version);
    pyprof__heap_lock(&pyprof__heap.names_lock);
    if (pyprof__heap.codes.pool) pyprof__codes_free(&pyprof__heap.codes);
    pyprof__array_free(&pyprof__heap.pool, &pyprof__heap.addresses);
    memset(pyprof__heap.code_buckets, 0, sizeof pyprof__heap.code_buckets);
    whole = pyprof__heap_regions(wish->bytes, wish->mode == PYPROF_HEAP_SAMPLED)
        && pyprof__heap_codes(wish->bytes / 4);
    pyprof__unlock(&pyprof__heap.names_lock);
    if (!whole) {
        pyprof__unclaim(&pyprof__heap.claim);
        return pyprof__fail_memory("the heap tracker");
    }
    pyprof__heap_clear();
    pyprof__heap.interval = wish->interval;
    pyprof__heap.max_bytes = wish->table_bytes;
    pyprof__heap.max_depth = wish->depth < PYPROF__HEAP_DEPTH ? wish->depth : (uint32_t)PYPROF__HEAP_DEPTH;
    pyprof__heap_forget();
    PYPROF__SET(pyprof__hot.mask, wish->mode == PYPROF_HEAP_EXACT ? 0 : (uint32_t)PYPROF__FILTER - 1);
    PYPROF__SET(pyprof__filter[0], (unsigned char)(wish->mode == PYPROF_HEAP_EXACT ? 255 : 0));   // exact: every block may be known
    pyprof__heap.noting = 1;
    __atomic_store_n(&pyprof__heap.mode, wish->mode, __ATOMIC_RELEASE);
    __atomic_add_fetch(&pyprof__hot.generation, 1, __ATOMIC_RELEASE);
    PYPROF__SET(pyprof__heap.wanted, 1);
    PYPROF__SET(pyprof__heap.state, PYPROF_HEAP_STATE_PENDING);
    pyprof__heap.lost = pyprof__heap.calling = 0;
    memset(pyprof__heap.verified, 0, sizeof pyprof__heap.verified);
    return PYPROF_OK;
}

static void pyprof__heap_end(void)   // the last session is gone
{
    __atomic_store_n(&pyprof__heap.mode, 0, __ATOMIC_RELEASE);
    PYPROF__SET(pyprof__hot.mask, PYPROF__FILTER - 1);
    __atomic_add_fetch(&pyprof__hot.generation, 1, __ATOMIC_RELEASE);
    PYPROF__SET(pyprof__heap.wanted, 0);
    PYPROF__SET(pyprof__heap.state, PYPROF_HEAP_STATE_OFF);
    pyprof__blocks_drop();
    pyprof__ranges_drop();
    memset(pyprof__code_filter, 0, sizeof pyprof__code_filter);
    pyprof__heap_clear();
    pyprof__unclaim(&pyprof__heap.claim);
}

// ---- housekeeping, on the sampler thread ------------------------------------------------------------------------------------
static int64_t pyprof__heap_live(void)   // bytes
{
    int64_t live = PYPROF__GET(pyprof__heap.live);
    const pyprof__allocating *thread;
    for (thread = __atomic_load_n(&pyprof__heap.threads, __ATOMIC_ACQUIRE); thread; thread = thread->next) live += PYPROF__GET(thread->unflushed);
    return live > 0 ? live : 0;
}

static void pyprof__heap_reap(void)   // threads that have ended
{
    pyprof__allocating *thread;
    pyprof__heap_lock(&pyprof__heap.threads_lock);
    for (thread = pyprof__heap.threads; thread; thread = thread->next)
        if (PYPROF__GET(thread->tid) && !pyprof__thread_exists((int64_t)PYPROF__GET(thread->tid))) pyprof__allocating_end(thread);
    pyprof__unlock(&pyprof__heap.threads_lock);
}

static void pyprof__marks_halve(float *marks)   // every second one goes
{
    uint32_t m;
    for (m = 0; m < PYPROF__MARKS / 2; m++) marks[m] = marks[2 * m + 1];
}

// A mark: what lives at each site now. Sixteen at most: then every second one goes, and the next ones come half as often.
static void pyprof__heap_mark(uint64_t now)
{
    uint32_t sites = pyprof__heap_sites(), i, m;
    int sampled = PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_SAMPLED;
    if (PYPROF__GET(pyprof__heap.marks) == PYPROF__MARKS) {
        for (i = 0; i < sites; i++) pyprof__marks_halve(pyprof__site_history(i));
        for (i = 0; sampled && i < sites; i++) pyprof__marks_halve(pyprof__site_doubt_at(i)->marks);
        for (m = 0; m < PYPROF__MARKS / 2; m++) pyprof__heap.mark_ns[m] = pyprof__heap.mark_ns[2 * m + 1];
        pyprof__heap.marks = PYPROF__MARKS / 2;
        pyprof__heap.mark_step *= 2;
    }
    m = pyprof__heap.marks++;
    for (i = 0; i < sites; i++) pyprof__site_history(i)[m] = (float)pyprof__site_live(pyprof__site_at(i));
    for (i = 0; sampled && i < sites; i++)
        pyprof__site_doubt_at(i)->marks[m] = (float)pyprof__site_live_doubt(i);
    pyprof__heap.mark_ns[m] = now;
    pyprof__heap.mark_due = now + pyprof__heap.mark_step;
}

// Are the hooks where they should be? CPython 3.12 and later resets the allocators when it is initialised again. Another
// tool's on top of ours are tried by somebody who holds the GIL: tracemalloc's want it. Returns what was found lost.
static int pyprof__heap_watch(int running)   // running: there is an interpreter
{
    pyprof__pymem top;
    int domain, ours = 0, on = PYPROF__GET(pyprof__heap.state) == PYPROF_HEAP_STATE_ON, lost = PYPROF__GET(pyprof__heap.lost);
    PYPROF__SET(pyprof__heap.lost, 0);
    if (!running) memset(pyprof__heap.verified, 0, sizeof pyprof__heap.verified);
    if (!running) return lost;
    if (PYPROF__GET(pyprof__heap.frozen)) pyprof__heap_thaw();
    for (domain = 0; domain < PYPROF__DOMAINS; domain++) {
        pyprof__heap.api.get_allocator(domain, &top);
        ours += top.malloc == pyprof__hooks[domain].malloc;
        if (!on || top.malloc == pyprof__heap.verified[domain]) continue;
        if (top.malloc == pyprof__hooks[domain].malloc) { pyprof__heap.verified[domain] = NULL; continue; }
        pyprof__heap.verified[domain] = top.malloc;
        on = 0;
    }
    if (ours == PYPROF__DOMAINS && PYPROF__GET(pyprof__heap.state) == PYPROF_HEAP_STATE_PENDING) {
        PYPROF__SET(pyprof__heap.state, PYPROF_HEAP_STATE_ON);
        on = 1;
    }
    if (PYPROF__GET(pyprof__heap.wanted) != on || PYPROF__GET(pyprof__heap.calling)) pyprof__heap_request();
    return lost;
}

// ---- looking up ------------------------------------------------------------------------------------------------------------
static const pyprof__entry *pyprof__shard_around(const pyprof__shard *shard, uint64_t byte, uint64_t *begin)   // the block that has it
{
    uint64_t number = (uint64_t)(shard - pyprof__shards) << PYPROF__HERE_BITS;
    uint32_t i;
    for (i = 0; i < shard->waiting + shard->capacity; i++) {
        const pyprof__entry *entry = i < shard->waiting ? &shard->front[i] : &shard->entries[i - shard->waiting];
        *begin = pyprof__hash_block(number | pyprof__entry_here(entry));
        if (entry->what && byte >= *begin && byte - *begin < pyprof__entry_size(entry)) return entry;
    }
    return NULL;
}

// By where it begins; exact: or by any of its bytes. 0 = there is none
static int pyprof__heap_find(const void *address, pyprof__entry *entry, uint64_t *begin)
{
    uint64_t hash = pyprof__block_hash(address);
    const pyprof__entry *found = NULL;
    uint32_t s;
    for (s = 0; s <= PYPROF__SHARDS && !found; s++) {
        pyprof__shard *shard = s ? &pyprof__shards[s - 1] : pyprof__shard_of(hash);
        pyprof__heap_lock(&shard->lock);
        *begin = (uint64_t)(uintptr_t)address;
        if (s > 0) found = pyprof__shard_around(shard, (uint64_t)(uintptr_t)address, begin);
        else if (((uintptr_t)address & 7) == 0) found = pyprof__shard_find(shard, hash);
        if (found) *entry = *found;
        pyprof__unlock(&shard->lock);
    }
    return found != NULL;
}

// ---- from sites to the nodes of a recording ----------------------------------------------------------------------------------
typedef struct { uint64_t bytes, blocks, temp, doubt; } pyprof__counted;

typedef struct {                 // what a session knows of the heap's tree
    pyprof__array nodes;         // uint32_t, by site: its node in the session's model
    pyprof__array locations;     // uint32_t location + 1, by spot of the heap's code
    pyprof__array before;        // pyprof__counted by site: what had been allocated when the recording began, or was reset
    pyprof_domain_total domains[PYPROF_DOMAIN_COUNT];   // likewise
    uint64_t sizes[PYPROF_SIZES];
    uint32_t generation;
} pyprof__heap_view;

static void pyprof__heap_view_init(pyprof__heap_view *view)
{
    memset(view, 0, sizeof *view);
    pyprof__array_init(&view->nodes, sizeof(uint32_t));
    pyprof__array_init(&view->locations, sizeof(uint32_t));
    pyprof__array_init(&view->before, sizeof(pyprof__counted));
}

static void pyprof__heap_view_free(pyprof__heap_view *view, pyprof__pool *pool)
{
    pyprof__array_free(pool, &view->nodes);
    pyprof__array_free(pool, &view->locations);
    pyprof__array_free(pool, &view->before);
}

static void pyprof__heap_totals(pyprof_domain_total *domains, uint64_t *sizes)   // live_*: freed
{
    const pyprof__allocating *thread;
    size_t i;
    memcpy(domains, pyprof__heap.ended, sizeof pyprof__heap.ended);
    memcpy(sizes, pyprof__heap.ended_sizes, sizeof pyprof__heap.ended_sizes);
    for (thread = __atomic_load_n(&pyprof__heap.threads, __ATOMIC_ACQUIRE); thread; thread = thread->next) {
        for (i = 0; i < PYPROF_DOMAIN_COUNT; i++) {
            domains[i].alloc_bytes += PYPROF__GET(thread->in[i].alloc_bytes);
            domains[i].alloc_blocks += PYPROF__GET(thread->in[i].alloc_blocks);
            domains[i].live_bytes += PYPROF__GET(thread->in[i].live_bytes);
            domains[i].live_blocks += PYPROF__GET(thread->in[i].live_blocks);
        }
        for (i = 0; i < PYPROF_SIZES; i++) sizes[i] += PYPROF__GET(thread->sizes[i]);
    }
}

static int pyprof__heap_view_begin(pyprof__heap_view *view, pyprof__pool *pool)   // from here on the session counts. 0 = no memory
{
    uint32_t i, count = pyprof__heap_sites();
    int sampled;
    if (!pyprof__array_reserve(pool, &view->before, count > view->before.count ? count - view->before.count : 0)) return 0;
    view->nodes.count = view->locations.count = view->before.count = 0;
    sampled = PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_SAMPLED;
    pyprof__heap_totals(view->domains, view->sizes);
    for (i = 0; i < count; i++) {
        const pyprof__site *site = pyprof__site_at(i);
        pyprof__counted *counted = &PYPROF__AT(pyprof__counted, view->before, i);
        counted->bytes = PYPROF__GET(site->in.bytes);
        counted->blocks = PYPROF__GET(site->in.blocks);
        counted->temp = PYPROF__GET(site->temp);
        counted->doubt = sampled ? PYPROF__GET(pyprof__site_doubt_at(i)->in) : 0;
    }
    view->before.count = count;
    return 1;
}

static uint32_t pyprof__heap_location(pyprof__heap_view *view, pyprof__model *model, const pyprof__site_key *key)   // PYPROF__NONE = no memory
{
    pyprof__codes *codes = &pyprof__heap.codes;
    uint32_t spot, location, *known = NULL;
    size_t before = view->locations.count;
    pyprof__heap_lock(&pyprof__heap.names_lock);
    spot = pyprof__spot_find(codes, key->code, key->instruction);
    if (spot != PYPROF__NONE && pyprof__array_reserve(model->pool, &view->locations, spot < before ? 0 : spot + 1 - before)) {
        while (view->locations.count <= spot) ((uint32_t *)view->locations.data)[view->locations.count++] = 0;
        known = &PYPROF__AT(uint32_t, view->locations, spot);
    }
    location = known && *known ? *known - 1 : spot == PYPROF__NONE ? PYPROF__NONE : pyprof__model_spot(model, codes, spot);
    pyprof__unlock(&pyprof__heap.names_lock);
    if (known && location != PYPROF__NONE) *known = location + 1;
    return location;
}

// Finds nodes for the sites that came since the last time. root(user, life) finds the node of a thread, 0 = it is not
// wanted. 0 = no memory for some: they share their callers'.
typedef uint32_t pyprof__root_fn(void *user, const pyprof__life *life);

static int pyprof__heap_view_extend(pyprof__heap_view *view, pyprof__model *model, pyprof__root_fn *root, void *user)
{
    uint32_t i, count = pyprof__heap_sites(), *nodes;
    int whole = 1;
    if (view->nodes.count >= count) return 1;
    if (!pyprof__array_reserve(model->pool, &view->nodes, count - view->nodes.count)) return 0;
    nodes = (uint32_t *)view->nodes.data;
    for (i = (uint32_t)view->nodes.count; i < count; i++) {
        const pyprof__site_key *key = pyprof__site_key_at(i);
        uint32_t parent, made;
        if (i && !__atomic_load_n(&pyprof__site_at(i)->owner, __ATOMIC_ACQUIRE)) { count = i; break; }   // just being made
        parent = key->parent < i ? nodes[key->parent] : 0;
        nodes[i] = parent;
        if (i == 0 || (key->parent != 0 && parent == 0)) continue;
        if (key->parent == 0) {
            if (key->instruction > 0 && key->instruction <= PYPROF__LIVES) nodes[i] = root(user, &pyprof__heap.lives[key->instruction - 1]);
            continue;
        }
        made = pyprof__model_node(model, parent, pyprof__heap_location(view, model, key));
        if (made != PYPROF__NONE) nodes[i] = made;
        else whole = 0;
    }
    view->nodes.count = count;
    return whole;
}

static void pyprof__heap_view_doubts(pyprof__model *model, uint32_t node, uint32_t site, uint64_t before)
{
    const pyprof__site_doubt *doubt = pyprof__site_doubt_at(site);
    uint64_t live = pyprof__site_live_doubt(site);
    int kept = PYPROF__GET(pyprof__site_at(site)->epoch) == PYPROF__GET(pyprof__heap.epoch);
    pyprof__model_add(model, PYPROF_ALLOC_DOUBT, node, (int64_t)(PYPROF__GET(doubt->in) - before));
    pyprof__model_add(model, PYPROF_LIVE_DOUBT, node, (int64_t)live);
    pyprof__model_add(model, PYPROF_PEAK_DOUBT, node, (int64_t)(kept ? PYPROF__GET(doubt->peak) : live));
}

// Writes the heap's columns into a copy of the session's model.
static void pyprof__heap_view_fill(const pyprof__heap_view *view, pyprof__model *model)
{
    static const pyprof__counted nothing = { 0, 0, 0, 0 };
    int sampled = PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_SAMPLED;
    uint32_t i, epoch = PYPROF__GET(pyprof__heap.epoch);
    uint64_t now = (pyprof__now() - pyprof__heap.start_ns) / 1000000 / PYPROF__BIRTH;
    for (i = 1; i < view->nodes.count; i++) {
        const pyprof__site *site = pyprof__site_at(i);
        const pyprof__counted *before = i < view->before.count ? &PYPROF__AT(const pyprof__counted, view->before, i) : &nothing;
        uint32_t node = PYPROF__AT(const uint32_t, view->nodes, i);
        uint64_t live, blocks, births, age, peak, peak_blocks;
        if (!node || !PYPROF__GET(site->in.blocks)) continue;
        live = pyprof__site_live(site);
        blocks = pyprof__site_live_blocks(site);
        births = PYPROF__GET(site->in.births) - PYPROF__GET(site->out.births) - PYPROF__GET(site->gone.births);
        age = blocks * now > births ? pyprof__whole_blocks(blocks * now - births) * PYPROF__BIRTH : 0;
        peak = PYPROF__GET(site->epoch) == epoch ? PYPROF__GET(site->peak_bytes) : live;
        peak_blocks = PYPROF__GET(site->epoch) == epoch ? PYPROF__GET(site->peak_blocks) : blocks;
        pyprof__model_add(model, PYPROF_ALLOC_BYTES, node, (int64_t)(PYPROF__GET(site->in.bytes) - before->bytes));
        pyprof__model_add(model, PYPROF_ALLOC_BLOCKS, node, (int64_t)pyprof__whole_blocks(PYPROF__GET(site->in.blocks) - before->blocks));
        pyprof__model_add(model, PYPROF_LIVE_BYTES, node, (int64_t)live);
        pyprof__model_add(model, PYPROF_LIVE_BLOCKS, node, (int64_t)pyprof__whole_blocks(blocks));
        pyprof__model_add(model, PYPROF_PEAK_BYTES, node, (int64_t)peak);
        pyprof__model_add(model, PYPROF_PEAK_BLOCKS, node, (int64_t)pyprof__whole_blocks(peak_blocks));
        pyprof__model_add(model, PYPROF_TEMP_BLOCKS, node, (int64_t)pyprof__whole_blocks(PYPROF__GET(site->temp) - before->temp));
        pyprof__model_add(model, PYPROF_LIVE_AGE_MS, node, (int64_t)age);
        if (sampled) pyprof__heap_view_doubts(model, node, i, before->doubt);
    }
}

static int pyprof__has_history(const pyprof__heap_view *view, uint32_t site)
{
    float any = 0;
    uint32_t m;
    for (m = 0; m < pyprof__heap.marks; m++) any += pyprof__site_history(site)[m];
    return any > 0 && PYPROF__AT(const uint32_t, view->nodes, site);
}

static int pyprof__heap_view_history(const pyprof__heap_view *view, pyprof__model *model)   // 0 = no memory
{
    uint32_t i, m;
    size_t rows = 1;
    for (i = 1; i < view->nodes.count; i++) rows += (size_t)pyprof__has_history(view, i);
    if (rows == 1) return 1;
    if (!pyprof__array_reserve(model->pool, &model->history, rows)) return 0;
    for (i = 1; i < view->nodes.count; i++) {
        pyprof__marks *row;
        if (!pyprof__has_history(view, i)) continue;
        row = pyprof__model_history_row(model, PYPROF__AT(const uint32_t, view->nodes, i));
        if (!row) return 0;
        for (m = 0; m < pyprof__heap.marks; m++) row->bytes[m] += pyprof__site_history(i)[m];
    }
    return 1;
}

// Counts a block that lives among the births of its site's node.
static void pyprof__heap_born(const pyprof__heap_view *view, pyprof__model *model, uint32_t site, uint32_t birth,
                              const pyprof__weight *weight)
{
    const uint64_t *marks = pyprof__heap.mark_ns;
    pyprof__births *births;
    uint32_t k = 0;
    if (site >= view->nodes.count) return;   // newer than the profile
    births = pyprof__model_births(model, PYPROF__AT(const uint32_t, view->nodes, site));
    if (!births) return;
    while (k < pyprof__heap.marks && birth > (marks[k] - pyprof__heap.start_ns) / 1000000 / PYPROF__BIRTH) k++;
    births->born[k] += (float)weight->bytes;
    births->born_doubt[k] += (float)weight->doubt;
}

static void pyprof__heap_born_shard(const pyprof__heap_view *view, pyprof__model *model, pyprof__shard *shard)
{
    uint32_t i, front;
    pyprof__heap_lock(&shard->lock);
    for (i = 0, front = shard->waiting; i < front + shard->capacity; i++) {
        const pyprof__entry *entry = i < front ? &shard->front[i] : &shard->entries[i - front];
        pyprof__weight weight;
        if (!entry->what) continue;
        weight = pyprof__weigh(pyprof__entry_size(entry));
        pyprof__heap_born(view, model, pyprof__entry_site(entry), pyprof__entry_birth(entry), &weight);
    }
    pyprof__unlock(&shard->lock);
}

#if defined(PYPROF_INTERPOSE_MALLOC)
static void pyprof__heap_born_mappings(const pyprof__heap_view *view, pyprof__model *model)
{
    uint32_t at = 0;
    pyprof__heap_lock(&pyprof__ranges.lock);
    if (pyprof__ranges.generation == pyprof__hot.generation) at = pyprof__ranges_around(0);
    while (at) {
        const pyprof__range *range = &pyprof__ranges.list[at];
        pyprof__weight weight = { range->end - range->begin, 0, 0 };   // it is no sample: no doubt
        if (range->counts) pyprof__heap_born(view, model, range->site, range->birth, &weight);
        at = pyprof__ranges_around(range->end);
    }
    pyprof__unlock(&pyprof__ranges.lock);
}
#else
static void pyprof__heap_born_mappings(const pyprof__heap_view *view, pyprof__model *model)
{
    (void)view;
    (void)model;
}
#endif

// Sampled: between which marks the blocks were born that live now, and how much of each mark's bytes is in
// doubt. That tells what came and stayed from what came and went. There are few samples; exact, nothing is in
// doubt. 0 = no memory.
static int pyprof__heap_view_births(const pyprof__heap_view *view, pyprof__model *model)
{
    uint32_t i, m;
    if (PYPROF__GET(pyprof__heap.mode) != PYPROF_HEAP_SAMPLED || model->history.count == 0) return 1;
    if (!pyprof__births_make(model)) return 0;
    for (i = 1; i < view->nodes.count; i++) {
        pyprof__births *births = pyprof__model_births(model, PYPROF__AT(const uint32_t, view->nodes, i));
        for (m = 0; births && m < pyprof__heap.marks; m++) births->doubt[m] += pyprof__site_doubt_at(i)->marks[m];
    }
    for (i = 0; i < PYPROF__SHARDS; i++) pyprof__heap_born_shard(view, model, &pyprof__shards[i]);
    pyprof__heap_born_mappings(view, model);
    return 1;
}

static void pyprof__heap_view_facts(const pyprof__heap_view *view, pyprof__heap_facts *facts)
{
    uint64_t sizes[PYPROF_SIZES];
    pyprof_domain_total now[PYPROF_DOMAIN_COUNT];
    size_t i;
    pyprof__heap_totals(now, sizes);
    memset(facts, 0, sizeof *facts);
    facts->mode = PYPROF__GET(pyprof__heap.mode);
    facts->interval = facts->mode == PYPROF_HEAP_SAMPLED ? pyprof__heap.interval : 0;
    facts->peak_ns = pyprof__heap.peak ? pyprof__heap.start_ns + (uint64_t)PYPROF__GET(pyprof__heap.peak_ms) * 1000000 : 0;
    for (i = 0; i < PYPROF_DOMAIN_COUNT; i++) {   // live: all that was allocated less all that was freed, since tracking began
        facts->domains[i].live_bytes = now[i].alloc_bytes - now[i].live_bytes;
        facts->domains[i].live_blocks = (int64_t)pyprof__whole_blocks((uint64_t)(now[i].alloc_blocks - now[i].live_blocks));
        facts->domains[i].alloc_bytes = now[i].alloc_bytes - view->domains[i].alloc_bytes;
        facts->domains[i].alloc_blocks = (int64_t)pyprof__whole_blocks((uint64_t)(now[i].alloc_blocks - view->domains[i].alloc_blocks));
    }
    for (i = 0; i < PYPROF_SIZES; i++) facts->sizes[i] = (int64_t)pyprof__whole_blocks(sizes[i] - view->sizes[i]);
    facts->marks = PYPROF__GET(pyprof__heap.marks);
    memcpy(facts->mark_ns, pyprof__heap.mark_ns, sizeof facts->mark_ns);
}

static uint64_t pyprof__heap_noted(void)   // blocks
{
    uint64_t noted = pyprof__heap.ended_sampled;
    const pyprof__allocating *thread;
    for (thread = __atomic_load_n(&pyprof__heap.threads, __ATOMIC_ACQUIRE); thread; thread = thread->next) noted += PYPROF__GET(thread->sampled);
    return noted;
}

static uint64_t pyprof__heap_live_blocks(void)
{
    pyprof_domain_total domains[PYPROF_DOMAIN_COUNT];
    uint64_t sizes[PYPROF_SIZES];
    int64_t blocks = 0;
    size_t i;
    pyprof__heap_totals(domains, sizes);
    for (i = 0; i < PYPROF_DOMAIN_COUNT; i++) blocks += domains[i].alloc_blocks - domains[i].live_blocks;
    return blocks > 0 ? pyprof__whole_blocks((uint64_t)blocks) : 0;
}

static uint64_t pyprof__heap_bytes(void)   // what the tracker itself takes
{
    uint64_t marks = PYPROF__GET(pyprof__heap.marks) ? PYPROF__MARKS * sizeof(float) : 0;
    uint64_t doubt = PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_SAMPLED ? sizeof(pyprof__site_doubt) : 0;
    uint64_t each = sizeof(pyprof__site) + sizeof(pyprof__site_key) + marks + doubt;
    return PYPROF__GET(pyprof__heap.table_bytes) + pyprof__heap_sites() * each + pyprof__heap.pool.used;
}

// "file:line in function" of a site, and the kernel's id of its thread
static uint64_t pyprof__heap_where(uint32_t site, char *where, size_t capacity)
{
    pyprof__codes *codes = &pyprof__heap.codes;
    uint32_t spot = PYPROF__NONE;
    const pyprof__site_key *named = pyprof__site_key_at(site), *caller = pyprof__site_key_at(named->parent);
    pyprof__heap_lock(&pyprof__heap.names_lock);
    if (named->parent && caller->parent && PYPROF__AT(pyprof__code, codes->codes, named->code).kind == PYPROF_KIND_NATIVE)
        named = caller;   // the line that called malloc
    if (named->parent) spot = pyprof__spot_find(codes, named->code, named->instruction);
    if (spot != PYPROF__NONE) {
        const pyprof__spot *at = &PYPROF__AT(pyprof__spot, codes->spots, spot);
        const pyprof__code *code = &PYPROF__AT(pyprof__code, codes->codes, at->code);
        const char *name = pyprof__string(&codes->strings, code->qualname), *file = pyprof__string(&codes->strings, code->file);
        size_t length = strlen(file), most = 120;
        if (code->kind != PYPROF_KIND_PYTHON) snprintf(where, capacity, "%s", name);
        else snprintf(where, capacity, "%s%s:%ld in %.100s", length > most ? "..." : "", length > most ? file + length - most : file,
                      (long)at->place.line, name);
    } else pyprof__copy_text(where, capacity, "<native>");
    pyprof__unlock(&pyprof__heap.names_lock);
    while (site && pyprof__site_key_at(site)->parent) site = pyprof__site_key_at(site)->parent;
    spot = site ? (uint32_t)pyprof__site_key_at(site)->instruction : 0;
    return spot && spot <= PYPROF__LIVES ? pyprof__heap.lives[spot - 1].tid : 0;
}

static void pyprof__heap_reset_peak(void)
{
    int64_t live = pyprof__heap_live();
    PYPROF__SET(pyprof__heap.peak, live);
    PYPROF__SET(pyprof__heap.peak_ms, PYPROF__GET(pyprof__heap.clock_ms));
    __atomic_add_fetch(&pyprof__heap.epoch, 1, __ATOMIC_RELAXED);
}

// ============================================================================
// [SECTION] SNAPSHOT -- the immutable profile: labels, totals, tables, differences, leaks, views
//   Runs on    the caller's thread
//   Uses       PROFILE
//   Promise    a profile never changes once it is sealed, so any number of threads may read it
// ============================================================================
struct pyprof_profile {
    pyprof__pool pool;
    pyprof__model model;
    pyprof__array labels;          // uint32_t a function: its name, unique in this profile
    uint32_t program, python;      // strings
    int64_t pid;
    int free_threaded;
    uint32_t interpreters;
    uint32_t depth;                // of the deepest node
    int is_diff;                   // values are differences: they can be negative
    const pyprof_profile *before;  // text: an earlier snapshot to compare with, or NULL; not ours
    pyprof__array seen;            // a difference's node: unsigned char, 1 = it was there before, 2 = after
};

static const char *const pyprof__kind_names[] = { "python", "native", "zone", "pseudo", "thread", "process", "wait", "task" };

static const char *pyprof__text(const pyprof_profile *profile, uint32_t id) { return pyprof__string(&profile->model.strings, id); }

static const pyprof__location *pyprof__location_of(const pyprof_profile *profile, uint32_t node)
{
    return &PYPROF__AT(const pyprof__location, profile->model.locations, PYPROF__AT(const pyprof__node, profile->model.nodes, node).location);
}

static const pyprof__function *pyprof__function_of(const pyprof_profile *profile, uint32_t node)
{
    return &PYPROF__AT(const pyprof__function, profile->model.functions, pyprof__location_of(profile, node)->function);
}

static uint32_t pyprof__parent_of(const pyprof_profile *profile, uint32_t node)
{
    return PYPROF__AT(const pyprof__node, profile->model.nodes, node).parent;
}

// What is no function of the program, but says what the one above it does: a C function, or what is waited for
static int pyprof__is_leaf(int kind) { return kind == PYPROF_KIND_NATIVE || kind == PYPROF_KIND_WAIT; }

// Whose row of a table a node's own values belong to: a leaf's are those of the frame it lies under.
static uint32_t pyprof__row_node(const pyprof_profile *profile, uint32_t node)
{
    uint32_t up = node;
    while (up && pyprof__is_leaf(pyprof__function_of(profile, up)->kind)) up = pyprof__parent_of(profile, up);
    return pyprof__parent_of(profile, up) ? up : node;   // a thread that has no frame
}

static const char *pyprof__label(const pyprof_profile *profile, uint32_t function)
{
    return pyprof__text(profile, PYPROF__AT(uint32_t, profile->labels, function));
}

static int pyprof__is_doubt(int metric)
{
    return metric >= PYPROF_ALLOC_DOUBT && metric <= PYPROF_PEAK_DOUBT;
}

static int pyprof__is_memory(int metric)
{
    return (metric >= PYPROF_ALLOC_BYTES && metric <= PYPROF_TEMP_BLOCKS) || metric == PYPROF_LIVE_AGE_MS
        || pyprof__is_doubt(metric);
}

// Was it measured? A column nobody used is empty: it may still be a metric that every recording has, with nothing in it.
static int pyprof__has_metric(const pyprof_profile *profile, int metric)
{
    if (profile->model.columns[metric].count) return 1;
    if (pyprof__is_memory(metric)) return profile->model.heap.mode != PYPROF_HEAP_OFF;
    return (metric >= PYPROF_SAMPLES && metric <= PYPROF_NATIVE_NS) || metric == PYPROF_EXCEPTIONS || metric == PYPROF_WAIT_SAMPLES
        || (metric >= PYPROF_IDLE_NS && metric <= PYPROF_UNKNOWN_NS);
}

static double pyprof__unix(const pyprof__model *model, uint64_t ns) { return (double)ns / 1e9 + model->unix_offset; }

// ---- labels: stem.qualname, made unique ----------------------------------------
// stem = the file's name without folder and ".py"; for __init__.py and __main__.py the folder's name.
static pyprof__slice pyprof__stem(const char *file)
{
    pyprof__slice stem;
    const char *slash = strrchr(file, '/');
    const char *base = slash ? slash + 1 : file, *folder;
    stem.text = base;
    stem.size = strlen(base);
    if (stem.size > 3 && strcmp(base + stem.size - 3, ".py") == 0) stem.size -= 3;
    if (!slash || slash == file || (strcmp(base, "__init__.py") != 0 && strcmp(base, "__main__.py") != 0)) return stem;
    for (folder = slash; folder > file && folder[-1] != '/'; folder--) {}
    stem.text = folder;
    stem.size = (size_t)(slash - folder);
    return stem;
}

// How much it takes to be unique: 0 = the name, 1 = and the place, 2 = and the number of the function in this profile.
static uint32_t pyprof__make_label(pyprof_profile *profile, const pyprof__function *function, int detail)
{
    const char *qualname = pyprof__text(profile, function->qualname), *file = pyprof__text(profile, function->file);
    pyprof__slice stem = pyprof__stem(file);
    size_t capacity = stem.size + strlen(qualname) + strlen(file) + 60;
    char *text = (char *)pyprof__alloc(&profile->pool, capacity);
    int size;
    uint32_t id, member = (uint32_t)function->first_line - 1;
    if (!text) return PYPROF__NONE;
    if (function->kind == PYPROF_KIND_THREAD && member < profile->model.members.count)   // names of threads need not differ
        size = snprintf(text, capacity, "%s (%llu)", qualname, (unsigned long long)PYPROF__AT(pyprof__member, profile->model.members, member).native);
    else if (function->kind != PYPROF_KIND_PYTHON) size = snprintf(text, capacity, "%s", qualname);
    else size = snprintf(text, capacity, "%.*s.%s", (int)stem.size, stem.text, qualname);
    if (detail && size > 0 && function->kind != PYPROF_KIND_PYTHON)
        size += snprintf(text + size, capacity - (size_t)size, " (%s)", pyprof__kind_names[function->kind]);
    else if (detail && size > 0) size += snprintf(text + size, capacity - (size_t)size, " (%s:%ld)", file, (long)function->first_line);
    if (detail > 1 && size > 0)
        size += snprintf(text + size, capacity - (size_t)size, " #%u",
                         (unsigned)(function - (const pyprof__function *)profile->model.functions.data));
    id = pyprof__intern(&profile->pool, &profile->model.strings, text, size > 0 ? (size_t)size : 0);
    pyprof__free(&profile->pool, text, capacity);
    return id;
}

typedef struct { uint32_t label, function; } pyprof__labelled;

static int pyprof__by_label(const void *a, const void *b)
{
    const pyprof__labelled *x = (const pyprof__labelled *)a, *y = (const pyprof__labelled *)b;
    return x->label != y->label ? (x->label < y->label ? -1 : 1) : x->function < y->function ? -1 : x->function > y->function;
}

// Equal labels get more detail. 0 = no memory.
static int pyprof__labels_part(pyprof_profile *profile, pyprof__labelled *items, size_t count, int detail)
{
    uint32_t *labels = (uint32_t *)profile->labels.data;
    size_t i;
    for (i = 0; i < count; i++) {
        items[i].label = labels[i];
        items[i].function = (uint32_t)i;
    }
    qsort(items, count, sizeof *items, pyprof__by_label);
    for (i = 0; i < count; i++) {   // equal labels are neighbours now
        const pyprof__function *function = &PYPROF__AT(pyprof__function, profile->model.functions, items[i].function);
        if (function->kind != PYPROF_KIND_PYTHON && function->kind != PYPROF_KIND_TASK && !pyprof__is_leaf(function->kind)) continue;
        if ((i == 0 || items[i - 1].label != items[i].label) && (i + 1 == count || items[i + 1].label != items[i].label)) continue;
        labels[items[i].function] = pyprof__make_label(profile, function, detail);
        if (labels[items[i].function] == PYPROF__NONE) return 0;
    }
    return 1;
}

static int pyprof__labels_make(pyprof_profile *profile)   // 0 = no memory
{
    size_t i, count = profile->model.functions.count;
    pyprof__labelled *items = (pyprof__labelled *)pyprof__alloc(&profile->pool, (count + 1) * sizeof *items);
    int whole = items != NULL;
    pyprof__array_init(&profile->labels, sizeof(uint32_t));
    for (i = 0; i < count && whole; i++) {
        uint32_t *label = (uint32_t *)pyprof__push(&profile->pool, &profile->labels);
        if (label) *label = pyprof__make_label(profile, &PYPROF__AT(pyprof__function, profile->model.functions, i), 0);
        whole = label && *label != PYPROF__NONE;
    }
    whole = whole && pyprof__labels_part(profile, items, count, 1) && pyprof__labels_part(profile, items, count, 2);
    pyprof__free(&profile->pool, items, (count + 1) * sizeof *items);
    return whole;
}

static void pyprof__profile_free(pyprof_profile *profile)
{
    pyprof_allocator allocator = profile->pool.allocator;
    pyprof__array_free(&profile->pool, &profile->labels);
    pyprof__array_free(&profile->pool, &profile->seen);
    pyprof__model_free(&profile->model);
    allocator.free(allocator.user, profile, sizeof *profile);
}

static int pyprof__measure_depth(pyprof_profile *profile)   // 0 = no memory
{
    size_t count = profile->model.nodes.count, i;
    uint32_t *depth = (uint32_t *)pyprof__alloc(&profile->pool, count * sizeof *depth);
    for (i = 1; depth && i < count; i++) {
        depth[i] = depth[pyprof__parent_of(profile, (uint32_t)i)] + 1;
        if (depth[i] > profile->depth) profile->depth = depth[i];
    }
    pyprof__free(&profile->pool, depth, count * sizeof *depth);
    return depth != NULL;
}

// A profile from a copy of a model. window_ns 0 = everything. NULL = no memory.
static pyprof_profile *pyprof__profile_new(const pyprof__model *model, uint64_t window_ns, const pyprof_allocator *allocator)
{
    pyprof_profile *profile = (pyprof_profile *)allocator->alloc(allocator->user, sizeof *profile);
    if (!profile) return NULL;
    memset(profile, 0, sizeof *profile);
    pyprof__pool_init(&profile->pool, allocator, UINT64_MAX);
    profile->pid = getpid();
    if (pyprof__model_copy(&profile->model, &profile->pool, model, window_ns) && pyprof__labels_make(profile) && pyprof__measure_depth(profile))
        return profile;
    pyprof__profile_free(profile);
    return NULL;
}

// ---- selection: the columns a query asks for, self and total -----------------------
typedef struct {
    pyprof__pool pool;
    const pyprof_profile *profile;
    size_t count;                                  // nodes
    int64_t *self[PYPROF_METRIC_COUNT], *total[PYPROF_METRIC_COUNT];   // NULL = never used
    int64_t all[PYPROF_METRIC_COUNT];
    unsigned char *chosen;                         // a node: its own values are part of the selection
    int without_idle;                              // waiting was taken off the samples and their wall time
} pyprof__selection;

static void pyprof__selection_free(pyprof__selection *selection)
{
    size_t i, bytes = selection->count * sizeof(int64_t);
    for (i = 0; i < PYPROF_METRIC_COUNT; i++) {
        pyprof__free(&selection->pool, selection->self[i], bytes);
        pyprof__free(&selection->pool, selection->total[i], bytes);
    }
    pyprof__free(&selection->pool, selection->chosen, selection->count);
}

static int pyprof__glob(const char *pattern, const char *text) { return !pattern || fnmatch(pattern, text, 0) == 0; }

static int pyprof__function_matches(const pyprof_profile *profile, uint32_t id, const pyprof_query *query)
{
    const pyprof__function *function = &PYPROF__AT(const pyprof__function, profile->model.functions, id);
    if (function->kind == PYPROF_KIND_THREAD || function->kind == PYPROF_KIND_PROCESS) return 0;
    if (!pyprof__glob(query->file, pyprof__text(profile, function->file))) return 0;
    return pyprof__glob(query->function, pyprof__text(profile, function->qualname)) || pyprof__glob(query->function, pyprof__label(profile, id));
}

// A node is chosen when its thread matches and a frame on its way to the root does. Parents come before children.
static int pyprof__choose(pyprof__selection *selection, const pyprof_query *query)
{
    const pyprof_profile *profile = selection->profile;
    int frames = query && (query->file || query->function);
    uint32_t i;
    selection->chosen = (unsigned char *)pyprof__alloc(&selection->pool, selection->count);
    if (!selection->chosen) return 0;
    for (i = 0; i < selection->count; i++) {
        uint32_t parent = pyprof__parent_of(profile, i);
        unsigned char state = i ? selection->chosen[parent] : 0;   // bit 0: thread matches, bit 1: so does a frame
        const pyprof__function *function = pyprof__function_of(profile, i);
        if (function->kind == PYPROF_KIND_THREAD)
            state = (unsigned char)pyprof__glob(query ? query->thread : NULL, pyprof__text(profile, function->name));
        if (!frames || pyprof__function_matches(profile, pyprof__location_of(profile, i)->function, query)) state |= 2;
        selection->chosen[i] = state;
    }
    for (i = 0; i < selection->count; i++) selection->chosen[i] = selection->chosen[i] == 3;
    return 1;
}

static int pyprof__select_column(pyprof__selection *selection, pyprof_metric metric, pyprof_metric idle)
{
    const pyprof__model *model = &selection->profile->model;
    size_t bytes = selection->count * sizeof(int64_t);
    int64_t *self = (int64_t *)pyprof__alloc(&selection->pool, bytes), *total = (int64_t *)pyprof__alloc(&selection->pool, bytes);
    uint32_t i;
    selection->self[metric] = self;
    selection->total[metric] = total;
    if (!self || !total) return 0;
    for (i = 0; i < selection->count; i++)
        if (selection->chosen[i]) self[i] = total[i] = pyprof__model_value(model, metric, i) - (idle ? pyprof__model_value(model, idle, i) : 0);
    for (i = (uint32_t)selection->count; i-- > 1;) total[pyprof__parent_of(selection->profile, i)] += total[i];
    selection->all[metric] = total[0];
    return 1;
}

// query NULL = everything. without_idle: as if query->include_idle were 0. 0 = no memory.
static int pyprof__select(pyprof__selection *selection, const pyprof_profile *profile, const pyprof_query *query, int without_idle)
{
    uint32_t metric;
    memset(selection, 0, sizeof *selection);
    pyprof__pool_init(&selection->pool, &profile->pool.allocator, UINT64_MAX);
    selection->profile = profile;
    selection->count = profile->model.nodes.count;
    selection->without_idle = without_idle;
    if (!pyprof__choose(selection, query)) return 0;
    for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {
        pyprof_metric idle = without_idle && metric == PYPROF_WALL_NS ? PYPROF_WAIT_NS : without_idle && metric == PYPROF_SAMPLES
            ? PYPROF_WAIT_SAMPLES : (pyprof_metric)0;
        if (profile->model.columns[metric].count && !pyprof__select_column(selection, (pyprof_metric)metric, idle)) return 0;
    }
    return 1;
}

static int64_t pyprof__self(const pyprof__selection *selection, int metric, uint32_t node)
{
    return selection->self[metric] ? selection->self[metric][node] : 0;
}
static int64_t pyprof__total(const pyprof__selection *selection, int metric, uint32_t node)
{
    return selection->total[metric] ? selection->total[metric][node] : 0;
}

// The GIL is no thing of stacks: of a query only its thread counts.
static int pyprof__member_wanted(const pyprof_profile *profile, const pyprof_query *query, uint32_t id)
{
    const pyprof__array *members = &profile->model.members;
    const pyprof__member *member = id < members->count ? &PYPROF__AT(const pyprof__member, *members, id) : NULL;
    return member && member->wanted && pyprof__glob(query ? query->thread : NULL, pyprof__text(profile, member->name));
}

// Who waited says whose pair it is.
static int pyprof__rivals_wanted(const pyprof_profile *profile, const pyprof_query *query, const pyprof__rivals *pair)
{
    return pair->ns && pair->holder < profile->model.members.count && pyprof__member_wanted(profile, query, pair->waiter);
}

// ---- grouping: rows of a table ----------------------------------------------------------
// In tables of functions, lines and files a leaf is no row: its own values are self of the frame it lies under, so that
// "self" is the time in which that was the innermost frame. PYPROF_GROUP_LEAF has the leaves alone; one more group, for
// formats that need an entry for each label, has functions, and leaves without a self.
enum { PYPROF__GROUP_LABEL = -1 };

typedef struct { uint32_t what, line; } pyprof__group_key;   // line: or the kind

static pyprof__group_key pyprof__key_of(const pyprof_profile *profile, uint32_t node, int group)
{
    const pyprof__location *location = pyprof__location_of(profile, node);
    pyprof__group_key key;
    key.line = 0;
    key.what = location->function;
    if (group == PYPROF_GROUP_LINE) key.line = (uint32_t)location->place.line;
    if (group == PYPROF_GROUP_FILE) key.what = pyprof__function_of(profile, node)->file;
    if (group == PYPROF_GROUP_LEAF) {
        key.what = pyprof__function_of(profile, node)->name;
        key.line = (uint32_t)pyprof__function_of(profile, node)->kind;
    }
    return key;
}

static int pyprof__same_key(const void *context, uint32_t item, const void *key)
{
    return memcmp(&PYPROF__AT(pyprof__group_key, *(const pyprof__array *)context, item), key, sizeof(pyprof__group_key)) == 0;
}

// Recursion: a node below another of the same row adds nothing to that row's total.
static int pyprof__is_outermost(const pyprof_profile *profile, uint32_t node, int group, const pyprof__group_key *key)
{
    uint32_t up = node;
    while ((up = pyprof__parent_of(profile, up)) != 0) {
        pyprof__group_key above = pyprof__key_of(profile, up, group);
        int is_thread = pyprof__function_of(profile, up)->kind == PYPROF_KIND_THREAD;
        if (above.what == key->what && above.line == key->line && is_thread == (group == PYPROF_GROUP_THREAD))
            return 0;
    }
    return 1;
}

static void pyprof__row_name(const pyprof_profile *profile, uint32_t node, int group, pyprof_row *row)
{
    const pyprof__function *function = pyprof__function_of(profile, node);
    row->file = group == PYPROF_GROUP_LEAF ? "" : pyprof__text(profile, function->file);
    row->kind = function->kind;
    if (group == PYPROF_GROUP_FILE && !*row->file) row->file = "(no file)";
    row->name = group == PYPROF_GROUP_FILE ? row->file : pyprof__text(profile, function->name);
    row->qualname = group == PYPROF_GROUP_FILE ? row->name : pyprof__text(profile, function->qualname);
    row->line = function->first_line;
    if (group == PYPROF_GROUP_LINE) row->line = pyprof__location_of(profile, node)->place.line;
    if (group == PYPROF_GROUP_FILE || group == PYPROF_GROUP_THREAD || group == PYPROF_GROUP_LEAF) row->line = 0;
}

typedef struct {
    pyprof__pool pool;
    pyprof__array rows, keys;      // pyprof_row, pyprof__group_key
    pyprof__array known;           // of a difference: unsigned char a row, 1 = it was there before
    pyprof__index index;
} pyprof__table;

static void pyprof__table_free(pyprof__table *table)
{
    pyprof__array_free(&table->pool, &table->rows);
    pyprof__array_free(&table->pool, &table->keys);
    pyprof__array_free(&table->pool, &table->known);
    pyprof__index_free(&table->pool, &table->index);
}

// The row of a node, made if need be; NULL = no memory
static pyprof_row *pyprof__table_row(pyprof__table *table, const pyprof_profile *profile, uint32_t node, int group)
{
    pyprof__group_key key = pyprof__key_of(profile, node, group);
    uint32_t id = pyprof__unique(&table->pool, &table->keys, &table->index, pyprof__same_key, &key);
    if (id == PYPROF__NONE) return NULL;
    if (id == table->rows.count) {
        pyprof_row *row = (pyprof_row *)pyprof__push(&table->pool, &table->rows);
        if (!row || (profile->is_diff && !pyprof__push(&table->pool, &table->known))) return NULL;
        pyprof__row_name(profile, node, group, row);
    }
    if (profile->is_diff) PYPROF__AT(unsigned char, table->known, id) |= PYPROF__AT(const unsigned char, profile->seen, node) & 1;
    return &PYPROF__AT(pyprof_row, table->rows, id);
}

// Adds the values of a node: to the row of `owner` its own ones, to its own row, if it has one, all at and below it.
static int pyprof__table_add(pyprof__table *table, const pyprof__selection *selection, uint32_t node, uint32_t owner, int group)   // 0 = no memory
{
    const pyprof_profile *profile = selection->profile;
    int by_total = group == PYPROF_GROUP_THREAD, metric;
    pyprof_row *row = pyprof__table_row(table, profile, owner, group);
    pyprof__group_key key;
    if (!row) return 0;
    for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++)
        row->self[metric] += by_total ? pyprof__total(selection, metric, node) : pyprof__self(selection, metric, node);
    if (owner != node && group != PYPROF__GROUP_LABEL) return 1;
    row = pyprof__table_row(table, profile, node, group);
    key = pyprof__key_of(profile, node, group);
    if (!row) return 0;
    if (group != PYPROF_GROUP_LEAF && !pyprof__is_outermost(profile, node, group, &key)) return 1;
    for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++)
        row->total[metric] += group == PYPROF_GROUP_LEAF ? pyprof__self(selection, metric, node) : pyprof__total(selection, metric, node);
    return 1;
}

// What did not change is no row of a difference.
static void pyprof__table_changed_only(pyprof__table *table)
{
    size_t i, metric, kept = 0;
    for (i = 0; i < table->rows.count; i++) {
        const pyprof_row *row = &PYPROF__AT(pyprof_row, table->rows, i);
        int64_t any = 0;
        for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++) any |= row->self[metric] | row->total[metric];
        if (!any) continue;
        if (kept < i) PYPROF__AT(pyprof_row, table->rows, kept) = *row;
        PYPROF__AT(pyprof__group_key, table->keys, kept) = PYPROF__AT(pyprof__group_key, table->keys, i);
        PYPROF__AT(unsigned char, table->known, kept) = PYPROF__AT(unsigned char, table->known, i);
        kept++;
    }
    table->rows.count = table->keys.count = table->known.count = kept;
}

static int pyprof__any_total(const pyprof__selection *selection, uint32_t node)
{
    int metric;
    for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++)
        if (pyprof__total(selection, metric, node)) return 1;
    return 0;
}

// Does the query want a row for this node? Of a query for functions or files only those are rows; leaves are asked for by
// the stack they end.
static int pyprof__row_wanted(const pyprof__selection *selection, const pyprof_query *query, uint32_t node, int group)
{
    const pyprof_profile *profile = selection->profile;
    int kind = pyprof__function_of(profile, node)->kind, by_stack = group == PYPROF_GROUP_THREAD || group == PYPROF_GROUP_LEAF;
    if ((kind == PYPROF_KIND_THREAD) != (group == PYPROF_GROUP_THREAD)) return 0;
    if (group == PYPROF_GROUP_LEAF && !pyprof__is_leaf(kind)) return 0;
    if (query && !by_stack && (query->file || query->function)
        && !pyprof__function_matches(profile, pyprof__location_of(profile, node)->function, query)) return 0;
    return selection->chosen[node] || pyprof__any_total(selection, node);
}

static int pyprof__table_make(pyprof__table *table, const pyprof__selection *selection, const pyprof_query *query, int group)
{
    const pyprof_profile *profile = selection->profile;
    uint32_t node;
    memset(table, 0, sizeof *table);
    pyprof__pool_init(&table->pool, &profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&table->rows, sizeof(pyprof_row));
    pyprof__array_init(&table->keys, sizeof(pyprof__group_key));
    pyprof__array_init(&table->known, 1);
    for (node = 1; node < selection->count; node++) {
        uint32_t owner = group == PYPROF_GROUP_LEAF ? node : pyprof__row_node(profile, node);
        if (!pyprof__row_wanted(selection, query, owner, group)) continue;
        if (owner != node && !selection->chosen[node] && !pyprof__any_total(selection, node)) continue;
        if (!pyprof__table_add(table, selection, node, owner, group)) return 0;
    }
    if (profile->is_diff) pyprof__table_changed_only(table);
    return 1;
}

// Order of rows: by the value asked for, what is new in a difference first, then by name, so that equal profiles give equal tables.
typedef struct { const pyprof_row *row; int64_t value; int known; } pyprof__ranked;

static int pyprof__by_value(const void *a, const void *b)
{
    const pyprof__ranked *x = (const pyprof__ranked *)a, *y = (const pyprof__ranked *)b;
    int order;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    if (x->known != y->known) return x->known - y->known;
    order = strcmp(x->row->qualname, y->row->qualname);
    if (order == 0) order = strcmp(x->row->file, y->row->file);
    return order ? order : x->row->line < y->row->line ? -1 : x->row->line > y->row->line;
}

// sort 0 = wall time spent running
static int64_t pyprof__rank_value(const pyprof_row *row, int sort, int by_total)
{
    const int64_t *values = by_total ? row->total : row->self;
    return sort ? values[sort] : values[PYPROF_WALL_NS] - values[PYPROF_WAIT_NS];
}

static pyprof__ranked *pyprof__rank(pyprof__table *table, int sort, int by_total)   // free with count * sizeof; NULL = none
{
    size_t i, count = table->rows.count;
    pyprof__ranked *ranked = count ? (pyprof__ranked *)pyprof__alloc(&table->pool, count * sizeof *ranked) : NULL;
    for (i = 0; ranked && i < count; i++) {
        ranked[i].row = &PYPROF__AT(pyprof_row, table->rows, i);
        ranked[i].value = pyprof__rank_value(ranked[i].row, sort, by_total);
        ranked[i].known = table->known.count ? PYPROF__AT(unsigned char, table->known, i) : 0;
    }
    if (ranked) qsort(ranked, count, sizeof *ranked, pyprof__by_value);
    return ranked;
}

// ---- difference: the tree of two profiles, each value the second one's less the first one's ----------------------
typedef struct {
    const pyprof_profile *from;
    pyprof__array functions;                    // the same functions, with the difference's strings
    pyprof__array numbers;                      // a function: its number in the difference
    pyprof__array shifts;                       // int32_t a function: how far it moved within its file
    pyprof__array strings, locations, nodes;    // their numbers in the difference
    pyprof__array threads;                      // a node: the difference's node of its thread; empty where the stacks stay
    pyprof__array partners;                     // a member: the same thread of the other side
    pyprof__selection filter;                   // filter.chosen NULL = all
    unsigned char *needed;                      // a node: it, or one below it, is chosen (flat: it, or it is a thread); NULL = all
} pyprof__diff_side;

typedef struct {
    pyprof__pool pool;
    pyprof_profile *to;
    pyprof__diff_side sides[2];                 // before, after
    int group;                                  // 0 = by stack
} pyprof__differ;

static int pyprof__numbers(pyprof__pool *pool, pyprof__array *array, size_t count)   // as many PYPROF__NONE; 0 = no memory
{
    pyprof__array_init(array, sizeof(uint32_t));
    if (!pyprof__array_reserve(pool, array, count)) return 0;
    if (count) memset(array->data, 0xff, count * sizeof(uint32_t));
    array->count = count;
    return 1;
}

static int pyprof__diff_filter(pyprof__differ *differ, pyprof__diff_side *side, const pyprof_query *filter)
{
    uint32_t i;
    pyprof__pool_init(&side->filter.pool, &differ->pool.allocator, UINT64_MAX);
    side->filter.profile = side->from;
    side->filter.count = side->from->model.nodes.count;
    if (!filter || (!filter->thread && !filter->file && !filter->function)) return 1;
    side->needed = (unsigned char *)pyprof__alloc(&differ->pool, side->filter.count);
    if (!side->needed || !pyprof__choose(&side->filter, filter)) return 0;
    memcpy(side->needed, side->filter.chosen, side->filter.count);
    for (i = (uint32_t)side->filter.count; i-- > 1;) {
        if (!differ->group) side->needed[pyprof__parent_of(side->from, i)] |= side->needed[i];
        else if (pyprof__function_of(side->from, i)->kind == PYPROF_KIND_THREAD) side->needed[i] = 1;
    }
    return 1;
}

static uint32_t pyprof__diff_string(pyprof__differ *differ, pyprof__diff_side *side, uint32_t id)
{
    uint32_t *slot = &PYPROF__AT(uint32_t, side->strings, id);
    if (*slot == PYPROF__NONE) *slot = pyprof__model_string(&differ->to->model, pyprof__text(side->from, id));
    return *slot;
}

static int pyprof__diff_open(pyprof__differ *differ, pyprof__diff_side *side, const pyprof_query *filter)   // 0 = no memory
{
    const pyprof__model *model = &side->from->model;
    pyprof__pool *pool = &differ->pool;
    size_t i;
    pyprof__array_init(&side->shifts, sizeof(int32_t));
    if (!pyprof__diff_filter(differ, side, filter) || !pyprof__numbers(pool, &side->strings, model->strings.starts.count)) return 0;
    if (!pyprof__numbers(pool, &side->locations, model->locations.count) || !pyprof__numbers(pool, &side->nodes, model->nodes.count)) return 0;
    if (!pyprof__numbers(pool, &side->threads, differ->group ? model->nodes.count : 0)) return 0;
    if (!pyprof__numbers(pool, &side->partners, model->members.count)) return 0;
    if (!pyprof__array_reserve(pool, &side->shifts, model->functions.count)) return 0;   // zeroes
    if (!pyprof__numbers(pool, &side->numbers, model->functions.count)) return 0;
    if (!pyprof__array_copy(pool, &side->functions, &model->functions)) return 0;
    for (i = 0; i < model->functions.count; i++) {
        pyprof__function *function = &PYPROF__AT(pyprof__function, side->functions, i);
        function->name = pyprof__diff_string(differ, side, function->name);
        function->qualname = pyprof__diff_string(differ, side, function->qualname);
        function->file = pyprof__diff_string(differ, side, function->file);
        if (function->name == PYPROF__NONE || function->qualname == PYPROF__NONE || function->file == PYPROF__NONE) return 0;
    }
    return 1;
}

static void pyprof__diff_close(pyprof__differ *differ, pyprof__diff_side *side)
{
    pyprof__array_free(&differ->pool, &side->functions);
    pyprof__array_free(&differ->pool, &side->numbers);
    pyprof__array_free(&differ->pool, &side->shifts);
    pyprof__array_free(&differ->pool, &side->strings);
    pyprof__array_free(&differ->pool, &side->locations);
    pyprof__array_free(&differ->pool, &side->nodes);
    pyprof__array_free(&differ->pool, &side->threads);
    pyprof__array_free(&differ->pool, &side->partners);
    pyprof__free(&differ->pool, side->needed, side->filter.count);
    pyprof__free(&side->filter.pool, side->filter.chosen, side->filter.count);
}

// Does this Python tell qualified names, or are methods of different classes namesakes? The same versions tell columns.
static int pyprof__has_qualnames(const pyprof_profile *profile)
{
    size_t i;
    for (i = 0; i < profile->model.functions.count; i++) {
        const pyprof__function *function = &PYPROF__AT(const pyprof__function, profile->model.functions, i);
        if (function->kind == PYPROF_KIND_PYTHON && function->qualname != function->name) return 1;
    }
    for (i = 0; i < profile->model.locations.count; i++)
        if (PYPROF__AT(const pyprof__location, profile->model.locations, i).place.column >= 0) return 1;
    return 0;
}

typedef struct { uint32_t count[2], only[2]; } pyprof__namesakes;   // functions of one name and file on each side

// A function that has no namesake is the same one even if edits above it moved it: its lines are counted from its first.
static int pyprof__diff_moved(pyprof__differ *differ)   // 0 = no memory
{
    pyprof__array keys, found;
    pyprof__index index;
    size_t side, i;
    int whole = 1;
    memset(&index, 0, sizeof index);
    pyprof__array_init(&keys, sizeof(pyprof__function));
    pyprof__array_init(&found, sizeof(pyprof__namesakes));
    for (side = 0; side < 2; side++)
        for (i = 0; whole && i < differ->sides[side].functions.count; i++) {
            pyprof__function key = PYPROF__AT(pyprof__function, differ->sides[side].functions, i);
            uint32_t id;
            if (key.kind != PYPROF_KIND_PYTHON) continue;
            key.first_line = 0;
            id = pyprof__unique(&differ->pool, &keys, &index, pyprof__same_function, &key);
            whole = id != PYPROF__NONE && (id < found.count || pyprof__push(&differ->pool, &found));
            if (!whole) break;
            PYPROF__AT(pyprof__namesakes, found, id).count[side]++;
            PYPROF__AT(pyprof__namesakes, found, id).only[side] = (uint32_t)i;
        }
    for (i = 0; whole && i < found.count; i++) {
        const pyprof__namesakes *both = &PYPROF__AT(const pyprof__namesakes, found, i);
        pyprof__function *moved = &PYPROF__AT(pyprof__function, differ->sides[0].functions, both->only[0]);
        int32_t line = PYPROF__AT(pyprof__function, differ->sides[1].functions, both->only[1]).first_line;
        if (both->count[0] != 1 || both->count[1] != 1 || moved->first_line <= 0 || line <= 0) continue;
        PYPROF__AT(int32_t, differ->sides[0].shifts, both->only[0]) = line - moved->first_line;
        moved->first_line = line;
    }
    pyprof__array_free(&differ->pool, &keys);
    pyprof__array_free(&differ->pool, &found);
    pyprof__index_free(&differ->pool, &index);
    return whole;
}

// ---- its threads: the same ones, else those of one name --------------------------------------------------------
typedef struct { uint64_t key[4]; uint32_t side, member; } pyprof__candidate;

static int pyprof__by_candidate(const void *a, const void *b)
{
    const pyprof__candidate *x = (const pyprof__candidate *)a, *y = (const pyprof__candidate *)b;
    int i;
    for (i = 0; i < 4; i++)
        if (x->key[i] != y->key[i]) return x->key[i] < y->key[i] ? -1 : 1;
    return x->side != y->side ? (x->side < y->side ? -1 : 1) : x->member < y->member ? -1 : x->member > y->member;
}

// pass 0: one thread of one process, whatever it is called; 1: of the same name and native id; 2: of the same name.
static int pyprof__candidate_key(pyprof__differ *differ, uint32_t side, uint32_t member_id, int pass, pyprof__candidate *candidate)
{
    const pyprof__member *member = &PYPROF__AT(const pyprof__member, differ->sides[side].from->model.members, member_id);
    uint32_t name = pyprof__diff_string(differ, &differ->sides[side], member->name);
    memset(candidate, 0, sizeof *candidate);
    candidate->side = side;
    candidate->member = member_id;
    if (pass == 0 && (!member->started || differ->sides[0].from->pid != differ->sides[1].from->pid)) return 0;
    candidate->key[0] = pass == 0 ? member->started : name;
    candidate->key[1] = pass < 2 ? member->native : 0;
    candidate->key[2] = pass < 2 ? (uint64_t)member->interp_id : 0;
    candidate->key[3] = pass == 0 ? member->ident : 0;
    return 1;
}

static void pyprof__diff_pair(pyprof__differ *differ, const pyprof__candidate *candidates, size_t count)   // sorted
{
    size_t i, end, before;
    for (i = 0; i < count; i = end) {
        for (end = i; end < count && memcmp(candidates[end].key, candidates[i].key, sizeof candidates[i].key) == 0; end++) {}
        for (before = i; before < end && candidates[before].side == 0; before++) {}
        for (; i < before && before < end; i++, before++) {
            PYPROF__AT(uint32_t, differ->sides[0].partners, candidates[i].member) = candidates[before].member;
            PYPROF__AT(uint32_t, differ->sides[1].partners, candidates[before].member) = candidates[i].member;
        }
    }
}

static int pyprof__diff_threads(pyprof__differ *differ)   // 0 = no memory
{
    pyprof__array list;
    uint32_t side, i;
    int pass, whole = 1;
    pyprof__array_init(&list, sizeof(pyprof__candidate));
    for (pass = 0; pass < 3 && whole; pass++) {
        list.count = 0;
        for (side = 0; side < 2; side++)
            for (i = 0; i < differ->sides[side].partners.count && whole; i++) {
                pyprof__candidate candidate, *added;
                if (PYPROF__AT(uint32_t, differ->sides[side].partners, i) != PYPROF__NONE) continue;
                if (!pyprof__candidate_key(differ, side, i, pass, &candidate)) continue;
                added = (pyprof__candidate *)pyprof__push(&differ->pool, &list);
                if (added) *added = candidate;
                whole = added != NULL;
            }
        if (list.count) qsort(list.data, list.count, sizeof(pyprof__candidate), pyprof__by_candidate);
        pyprof__diff_pair(differ, (const pyprof__candidate *)list.data, list.count);
    }
    pyprof__array_free(&differ->pool, &list);
    return whole;
}

static uint64_t pyprof__diff_time(const pyprof__differ *differ, uint64_t ns)   // before's clock -> after's
{
    double moved = (double)ns + (differ->sides[0].from->model.unix_offset - differ->sides[1].from->model.unix_offset) * 1e9;
    return moved > 0 ? (uint64_t)moved : 0;
}

static int pyprof__diff_member(pyprof__differ *differ, pyprof__diff_side *side, uint32_t i, const pyprof_query *filter)   // 0 = no memory
{
    const pyprof__member *from = &PYPROF__AT(const pyprof__member, side->from->model.members, i);
    const char *name = pyprof__text(side->from, from->name);
    pyprof__model *model = &differ->to->model;
    uint32_t partner = PYPROF__AT(uint32_t, side->partners, i);
    pyprof__diff_side *before = &differ->sides[0];
    pyprof__member *member = (pyprof__member *)pyprof__push(model->pool, &model->members);
    if (!member) return 0;
    *member = *from;
    member->hold_ns = member->hold_end_ns = member->hold_node = 0;
    member->name = pyprof__diff_string(differ, side, from->name);
    member->node = pyprof__model_node(model, 0, pyprof__model_pseudo(model, name, PYPROF_KIND_THREAD, (int32_t)model->members.count));
    if (member->name == PYPROF__NONE || member->node == PYPROF__NONE) return 0;
    if (side == before) {
        member->first_ns = pyprof__diff_time(differ, from->first_ns);
        member->last_ns = pyprof__diff_time(differ, from->last_ns);
    } else if (partner != PYPROF__NONE) {
        const pyprof__member *other = &PYPROF__AT(const pyprof__member, before->from->model.members, partner);
        if (other->node < before->nodes.count) PYPROF__AT(uint32_t, before->nodes, other->node) = member->node;
        member->wanted |= other->wanted;
    }
    if (from->node < side->nodes.count) PYPROF__AT(uint32_t, side->nodes, from->node) = member->node;
    if (filter && !pyprof__glob(filter->thread, name)) member->wanted = 0;
    return 1;
}

static int pyprof__diff_members(pyprof__differ *differ, const pyprof_query *filter)   // after's, then those that are gone
{
    uint32_t side, i;
    for (side = 2; side-- > 0;)
        for (i = 0; i < differ->sides[side].partners.count; i++) {
            if (side == 0 && PYPROF__AT(uint32_t, differ->sides[0].partners, i) != PYPROF__NONE) continue;
            if (!pyprof__diff_member(differ, &differ->sides[side], i, filter)) return 0;
        }
    return 1;
}

// ---- its tree -----------------------------------------------------------------------------------------------------
static uint32_t pyprof__diff_function(pyprof__differ *differ, pyprof__diff_side *side, uint32_t id)
{
    pyprof__model *to = &differ->to->model;
    pyprof__function function = PYPROF__AT(pyprof__function, side->functions, id);
    uint32_t *slot = &PYPROF__AT(uint32_t, side->numbers, id), file = function.file;
    if (*slot != PYPROF__NONE) return *slot;
    if (differ->group == PYPROF_GROUP_FILE && function.kind != PYPROF_KIND_THREAD) {
        memset(&function, 0, sizeof function);
        function.file = file;
        function.name = function.qualname = *pyprof__text(differ->to, file) ? file : pyprof__model_string(to, "(no file)");
        function.kind = PYPROF_KIND_PSEUDO;
        if (function.name == PYPROF__NONE) return PYPROF__NONE;
    }
    *slot = pyprof__unique(to->pool, &to->functions, &to->function_index, pyprof__same_function, &function);
    return *slot;
}

static uint32_t pyprof__diff_location(pyprof__differ *differ, pyprof__diff_side *side, uint32_t id)
{
    static const pyprof__place nowhere = { 0, 0, -1, -1 };
    pyprof__model *to = &differ->to->model;
    const pyprof__location *from = &PYPROF__AT(const pyprof__location, side->from->model.locations, id);
    int64_t shift = PYPROF__AT(int32_t, side->shifts, from->function);
    uint32_t *slot = &PYPROF__AT(uint32_t, side->locations, id);
    pyprof__location location = *from;
    if (*slot != PYPROF__NONE) return *slot;
    if (shift && location.place.line > 0) location.place.line = pyprof__clamp_line(location.place.line + shift);
    if (shift && location.place.end_line > 0) location.place.end_line = pyprof__clamp_line(location.place.end_line + shift);
    if (differ->group) {
        int32_t line = differ->group == PYPROF_GROUP_LINE ? location.place.line : 0;
        location.place = nowhere;
        location.place.line = line;
    }
    location.function = pyprof__diff_function(differ, side, from->function);
    if (location.opcode) location.opcode = differ->group ? 0 : pyprof__model_string(to, pyprof__text(side->from, from->opcode));
    if (location.function == PYPROF__NONE || location.opcode == PYPROF__NONE) return PYPROF__NONE;
    *slot = pyprof__unique(to->pool, &to->locations, &to->location_index, pyprof__same_location, &location);
    return *slot;
}

// The difference's node of node i, whose parent is done already. Trees of one program grew in much the same order: the node
// behind the one before's is tried first. PYPROF__NONE = no memory.
static uint32_t pyprof__diff_node(pyprof__differ *differ, pyprof__diff_side *side, uint32_t i)
{
    const pyprof__node *from = &PYPROF__AT(const pyprof__node, side->from->model.nodes, differ->group ? pyprof__row_node(side->from, i) : i);
    pyprof__model *to = &differ->to->model;
    uint32_t next = PYPROF__AT(uint32_t, side->nodes, i - 1) + 1;
    pyprof__node node;
    node.parent = PYPROF__AT(uint32_t, differ->group ? side->threads : side->nodes, from->parent);
    if (differ->group == PYPROF_GROUP_THREAD && pyprof__function_of(side->from, i)->kind != PYPROF_KIND_THREAD) return node.parent;
    node.location = pyprof__diff_location(differ, side, from->location);
    if (node.location == PYPROF__NONE) return PYPROF__NONE;
    if (next < to->nodes.count && pyprof__same_node(&to->nodes, next, &node)) return next;
    return pyprof__unique(to->pool, &to->nodes, &to->node_index, pyprof__same_node, &node);
}

// Room for as many more; what there is for one side is mostly there for the other, too.
static int pyprof__diff_room(pyprof__pool *pool, pyprof__array *array, pyprof__index *index, size_t count)   // 0 = no memory
{
    if (count <= array->count) return 1;
    return pyprof__array_reserve(pool, array, count - array->count) && pyprof__index_grow(pool, index, count);
}

// Which nodes there are on this side. Those not chosen have done their part then: the values of their stacks do not count.
static int pyprof__diff_seen(pyprof__differ *differ, const pyprof__diff_side *side, unsigned char bit)   // 0 = no memory
{
    pyprof__array *seen = &differ->to->seen;
    size_t before = seen->count, i;
    uint32_t *nodes = (uint32_t *)side->nodes.data;
    if (!pyprof__array_reserve(&differ->to->pool, seen, differ->to->model.nodes.count - before)) return 0;
    seen->count = differ->to->model.nodes.count;
    memset((char *)seen->data + before, 0, seen->count - before);
    for (i = 0; i < side->nodes.count; i++) {
        if (nodes[i] != PYPROF__NONE && (!side->needed || side->needed[i])) PYPROF__AT(unsigned char, *seen, nodes[i]) |= bit;
        if (side->filter.chosen && !side->filter.chosen[i]) nodes[i] = PYPROF__NONE;
    }
    return 1;
}

static int pyprof__diff_nodes(pyprof__differ *differ, pyprof__diff_side *side, unsigned char bit)   // 0 = no memory
{
    uint32_t i, *nodes = (uint32_t *)side->nodes.data, *threads = (uint32_t *)side->threads.data;
    const pyprof__model *from = &side->from->model;
    pyprof__model *to = &differ->to->model;
    if (!differ->group && !side->needed && !pyprof__diff_room(to->pool, &to->nodes, &to->node_index, from->nodes.count)) return 0;
    if (!differ->group && !side->needed && !pyprof__diff_room(to->pool, &to->locations, &to->location_index, from->locations.count)) return 0;
    nodes[0] = 0;
    if (differ->group) threads[0] = 0;
    for (i = 1; i < side->nodes.count; i++) {
        int wanted = !side->needed || side->needed[i];
        if (wanted && nodes[i] == PYPROF__NONE && (nodes[i] = pyprof__diff_node(differ, side, i)) == PYPROF__NONE) return 0;
        if (!differ->group) continue;
        threads[i] = pyprof__function_of(side->from, i)->kind == PYPROF_KIND_THREAD ? nodes[i] : threads[pyprof__parent_of(side->from, i)];
    }
    return pyprof__diff_seen(differ, side, bit);
}

static int pyprof__diff_column(pyprof__differ *differ, size_t metric)   // 0 = no memory
{
    pyprof__array *column = &differ->to->model.columns[metric];
    size_t side, i, count = differ->to->model.nodes.count;
    uint64_t *to;   // unsigned: values of hostile files wrap around
    if (!differ->sides[0].from->model.columns[metric].count && !differ->sides[1].from->model.columns[metric].count) return 1;
    if (!pyprof__array_reserve(&differ->to->pool, column, count)) return 0;   // zeroes
    column->count = count;
    to = (uint64_t *)column->data;
    for (side = 0; side < 2; side++) {
        const pyprof__diff_side *one = &differ->sides[side];
        const pyprof__array *from = &one->from->model.columns[metric];
        const uint32_t *nodes = (const uint32_t *)one->nodes.data;
        for (i = 0; i < from->count && i < one->nodes.count; i++) {
            uint64_t value = (uint64_t)PYPROF__AT(const int64_t, *from, i);
            if (nodes[i] != PYPROF__NONE) to[nodes[i]] += side ? value : 0 - value;
        }
    }
    return 1;
}

// After's history. 0 = no memory.
static int pyprof__diff_history(pyprof__differ *differ)
{
    const pyprof__diff_side *after = &differ->sides[1];
    const uint32_t *nodes = (const uint32_t *)after->nodes.data;
    uint32_t i, mark;
    for (i = 0; i < after->nodes.count; i++) {
        const pyprof__marks *from = pyprof__model_history(&after->from->model, i);
        pyprof__marks *row;
        if (!from || nodes[i] == PYPROF__NONE) continue;
        row = pyprof__model_history_row(&differ->to->model, nodes[i]);
        if (!row) return 0;
        for (mark = 0; mark < PYPROF__MARKS; mark++) row->bytes[mark] += from->bytes[mark];
    }
    return 1;
}

// ---- its facts ------------------------------------------------------------------------------------------------------
// Of two snapshots of one recording the quality is that of the time between them; of two recordings, that of both.
static void pyprof__diff_stats(const pyprof_profile *from, const pyprof_profile *after, pyprof_stats *stats)
{
    const pyprof_stats *before = &from->model.stats;
    uint64_t *counts[] = { &stats->asked, &stats->samples, &stats->missed, &stats->rejected, &stats->retried, &stats->unfrozen, &stats->truncated,
                           &stats->recovered, &stats->timeline_dropped, &stats->own_cpu_ns, &stats->gap_ns, &stats->heap_samples,
                           &stats->heap_dropped };
    const uint64_t others[] = { before->asked, before->samples, before->missed, before->rejected, before->retried, before->unfrozen,
                                before->truncated, before->recovered, before->timeline_dropped, before->own_cpu_ns, before->gap_ns,
                                before->heap_samples,
                                before->heap_dropped };
    int between = from->pid == after->pid && from->model.start_ns == after->model.start_ns;
    size_t i;
    *stats = after->model.stats;
    for (i = 0; i < PYPROF__COUNT(counts); i++) between = between && *counts[i] >= others[i];
    for (i = 0; i < PYPROF__COUNT(counts); i++) *counts[i] = between ? *counts[i] - others[i] : *counts[i] + others[i];
    for (i = 0; i < PYPROF_CAUSE_COUNT; i++)
        stats->rejected_by_cause[i] = between ? stats->rejected_by_cause[i] - before->rejected_by_cause[i]
            : stats->rejected_by_cause[i] + before->rejected_by_cause[i];
    if (!stats->degraded[0]) memcpy(stats->degraded, before->degraded, sizeof stats->degraded);
    if (!stats->degraded[0] && !from->model.heap.mode != !after->model.heap.mode)
        snprintf(stats->degraded, sizeof stats->degraded, "memory was tracked only %s", after->model.heap.mode ? "after" : "before");
}

static void pyprof__diff_heap(const pyprof__heap_facts *before, const pyprof__heap_facts *after, pyprof__heap_facts *to)
{
    size_t i;
    *to = *after;
    if (!to->mode) { to->mode = before->mode; to->interval = before->interval; }
    for (i = 0; i < PYPROF_DOMAIN_COUNT; i++) {
        to->domains[i].alloc_bytes -= before->domains[i].alloc_bytes;
        to->domains[i].alloc_blocks -= before->domains[i].alloc_blocks;
        to->domains[i].live_bytes -= before->domains[i].live_bytes;
        to->domains[i].live_blocks -= before->domains[i].live_blocks;
    }
    for (i = 0; i < PYPROF_SIZES; i++) to->sizes[i] -= before->sizes[i];
}

static int pyprof__diff_facts(pyprof__differ *differ)   // 0 = no memory
{
    const pyprof_profile *before = differ->sides[0].from, *after = differ->sides[1].from;
    pyprof_profile *to = differ->to;
    pyprof__model *model = &to->model;
    model->start_ns = after->model.start_ns;
    model->recorded_ns = after->model.recorded_ns;
    model->last_ns = after->model.last_ns;
    model->unix_offset = after->model.unix_offset;
    model->rate_hz = after->model.rate_hz;
    model->timeline_s = after->model.timeline_s;
    model->paths = after->model.paths;
    pyprof__diff_stats(before, after, &model->stats);
    pyprof__diff_heap(&before->model.heap, &after->model.heap, &model->heap);
    to->is_diff = 1;
    to->pid = after->pid;
    to->free_threaded = after->free_threaded;
    to->interpreters = after->interpreters;
    to->program = pyprof__diff_string(differ, &differ->sides[1], after->program);
    to->python = pyprof__diff_string(differ, &differ->sides[1], after->python);
    return to->program != PYPROF__NONE && to->python != PYPROF__NONE;
}

static int pyprof__diff_fill(pyprof__differ *differ, const pyprof_query *filter)   // 0 = no memory
{
    pyprof__diff_side *before = &differ->sides[0], *after = &differ->sides[1];
    size_t metric;
    if (!pyprof__model_begin(&differ->to->model)) return 0;
    if (!pyprof__diff_open(differ, before, filter) || !pyprof__diff_open(differ, after, filter)) return 0;
    if (pyprof__has_qualnames(before->from) && pyprof__has_qualnames(after->from) && !pyprof__diff_moved(differ)) return 0;
    if (!pyprof__diff_threads(differ) || !pyprof__diff_members(differ, filter)) return 0;
    if (!pyprof__diff_nodes(differ, after, 2) || !pyprof__diff_history(differ) || !pyprof__diff_nodes(differ, before, 1)) return 0;
    for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++)   // doubts do not subtract
        if (!pyprof__is_doubt((int)metric) && !pyprof__diff_column(differ, metric)) return 0;
    return pyprof__diff_facts(differ) && pyprof__labels_make(differ->to) && pyprof__measure_depth(differ->to);
}

static pyprof_profile *pyprof__profile_diff(const pyprof_profile *before, const pyprof_profile *after, const pyprof_diff_options *options)
{
    const pyprof_allocator *allocator = &after->pool.allocator;
    pyprof_profile *made = (pyprof_profile *)allocator->alloc(allocator->user, sizeof *made);
    pyprof__differ differ;
    int whole;
    if (!made) return NULL;
    memset(made, 0, sizeof *made);
    memset(&differ, 0, sizeof differ);
    pyprof__pool_init(&made->pool, allocator, UINT64_MAX);
    pyprof__pool_init(&differ.pool, allocator, UINT64_MAX);
    pyprof__model_init(&made->model, &made->pool);
    pyprof__array_init(&made->seen, 1);
    differ.to = made;
    differ.sides[0].from = before;
    differ.sides[1].from = after;
    differ.group = options ? options->group : 0;
    whole = pyprof__diff_fill(&differ, options ? options->filter : NULL);
    pyprof__diff_close(&differ, &differ.sides[0]);
    pyprof__diff_close(&differ, &differ.sides[1]);
    if (whole) return made;
    pyprof__profile_free(made);
    return NULL;
}

// ---- leaks: places whose live memory grew ---------------------------------------------------------------------------
// What lives at a place, in bytes; and how much of that is in doubt: 0 in exact recordings, see pyprof__weigh
typedef struct { double bytes, doubt; } pyprof__level;

typedef struct {                 // live bytes of a place over time: at each mark, and at the end
    size_t count;
    double at[PYPROF__MARKS + 1];         // seconds since the first mark
    pyprof__level live[PYPROF__MARKS + 1];
    pyprof__level kept[PYPROF__MARKS + 1];   // of that, what lives at the end, too
    double interval;             // bytes between samples; 0 = exact
    double block;                // bytes of a mean block
} pyprof__series;

typedef struct {
    uint32_t node;               // one of its nodes
    int64_t live_bytes, live_blocks, age_ms;
    pyprof__level end, marks[PYPROF__MARKS], born[PYPROF__MARKS + 1];   // born: see pyprof__births
} pyprof__leak_site;

typedef struct { pyprof__pool pool; pyprof__array sites, keys, leaks; pyprof__index index; } pyprof__leak_table;

static double pyprof__sqrt(double value)   // sqrt is in libm, which nobody links for us
{
    double root = value > 1 ? value : 1, next;
    if (!(value > 0)) return 0;
    while ((next = (root + value / root) / 2) < root) root = next;
    return root;
}

// Half of the 95 % confidence interval of an estimate of which so many bytes are in doubt.
static double pyprof__sampling_error(const pyprof__heap_facts *heap, double doubt)
{
    return heap->mode == PYPROF_HEAP_SAMPLED ? 1.96 * pyprof__sqrt((double)heap->interval * doubt) : 0;
}

// The frame that asked for the memory: the innermost of Python; <malloc> and the like have none of their own.
static uint32_t pyprof__leak_node(const pyprof_profile *profile, uint32_t node, int group)
{
    uint32_t up = node;
    if (group == PYPROF_GROUP_THREAD) {
        while (pyprof__parent_of(profile, up)) up = pyprof__parent_of(profile, up);
        return up;
    }
    while (up && pyprof__function_of(profile, up)->kind != PYPROF_KIND_PYTHON) up = pyprof__parent_of(profile, up);
    return up ? up : node;
}

static void pyprof__level_add(pyprof__level *level, double bytes, double doubt)
{
    level->bytes += bytes;
    level->doubt += doubt;
}

static void pyprof__leak_history(pyprof__leak_site *site, const pyprof__model *model, uint32_t node)
{
    const pyprof__marks *history = pyprof__model_history(model, node);
    const pyprof__births *births = pyprof__model_births(model, node);
    double live = (double)pyprof__model_value(model, PYPROF_LIVE_BYTES, node);
    double doubt = (double)pyprof__model_value(model, PYPROF_LIVE_DOUBT, node);
    uint32_t i, marks = model->heap.marks;
    for (i = 0; history && i < marks; i++)
        pyprof__level_add(&site->marks[i], (double)history->bytes[i], births ? (double)births->doubt[i] : 0);
    for (i = 0; births && i <= marks; i++)
        pyprof__level_add(&site->born[i], (double)births->born[i], (double)births->born_doubt[i]);
    if (!history) pyprof__level_add(&site->born[marks], live, doubt);   // nothing lived there at any mark
    pyprof__level_add(&site->end, (double)(float)live, doubt);          // as rounded as the marks
}

static int pyprof__leak_count(pyprof__leak_table *table, const pyprof_profile *profile, uint32_t node, int group)   // 0 = no memory
{
    const pyprof__model *model = &profile->model;
    uint32_t at = pyprof__leak_node(profile, node, group), id;
    int64_t live = pyprof__model_value(model, PYPROF_LIVE_BYTES, node);
    pyprof__group_key key;
    pyprof__leak_site *site;
    if (live == 0 && !pyprof__model_history(model, node)) return 1;
    key = pyprof__key_of(profile, at, group);
    id = pyprof__unique(&table->pool, &table->keys, &table->index, pyprof__same_key, &key);
    if (id == PYPROF__NONE || (id == table->sites.count && !pyprof__push(&table->pool, &table->sites))) return 0;
    site = &PYPROF__AT(pyprof__leak_site, table->sites, id);
    if (!site->node) site->node = at;
    site->live_bytes += live;
    site->live_blocks += pyprof__model_value(model, PYPROF_LIVE_BLOCKS, node);
    site->age_ms += pyprof__model_value(model, PYPROF_LIVE_AGE_MS, node);
    pyprof__leak_history(site, model, node);
    return 1;
}

static pyprof__level pyprof__level_least(pyprof__level a, pyprof__level b)
{
    if (a.bytes > b.bytes) a.bytes = b.bytes;
    if (a.doubt > b.doubt) a.doubt = b.doubt;
    return a;
}

// Of what lived at each mark, what still lives at the end. Sampled, the births tell; exact, all that can be.
static void pyprof__series_kept(pyprof__series *series, const pyprof__leak_site *site)
{
    size_t i, last = series->count - 1;
    pyprof__level born = { 0, 0 };
    for (i = 0; i < last; i++) {
        pyprof__level_add(&born, site->born[i].bytes, site->born[i].doubt);
        series->kept[i] = pyprof__level_least(series->live[i], series->live[last]);
        if (series->interval > 0) series->kept[i] = pyprof__level_least(series->kept[i], born);
    }
    series->kept[last] = series->live[last];
}

static void pyprof__series_make(const pyprof__model *model, const pyprof__leak_site *site, pyprof__series *series)   // there is a mark
{
    const pyprof__heap_facts *heap = &model->heap;
    double end = model->last_ns > heap->mark_ns[0] ? (double)(model->last_ns - heap->mark_ns[0]) / 1e9 : 0, last;
    size_t i, n = heap->marks;
    for (i = 0; i < n; i++) {
        series->at[i] = (double)(heap->mark_ns[i] - heap->mark_ns[0]) / 1e9;
        series->live[i] = site->marks[i];
    }
    last = series->at[n - 1];
    if (n < 2 || end - last > last / (double)(n - 1) / 4) series->at[n++] = end;   // no mark was taken just now
    series->live[n - 1] = site->end;
    series->count = n;
    series->interval = heap->mode == PYPROF_HEAP_SAMPLED ? (double)heap->interval : 0;
    series->block = site->live_blocks > 0 ? (double)site->live_bytes / (double)site->live_blocks : 0;
    pyprof__series_kept(series, site);
}

static double pyprof__series_growth(const pyprof__series *series, size_t from)   // to the end
{
    return series->live[series->count - 1].bytes - series->live[from].bytes;
}

// The variance of that growth, by the samples. Those of blocks that live at both ends add none, and those
// that came and went in between are in neither: what counts is what was born since and lives, and what lived
// then and is gone.
static double pyprof__series_variance(const pyprof__series *series, size_t from)
{
    double born = series->live[series->count - 1].doubt - series->kept[from].doubt;
    return series->interval * (born + series->live[from].doubt - series->kept[from].doubt);
}

static int pyprof__series_grew(const pyprof__series *series, size_t from, double deviations)
{
    double growth = pyprof__series_growth(series, from);
    return growth > 0 && growth * growth > deviations * deviations * pyprof__series_variance(series, from);
}

static double pyprof__series_slope(const pyprof__series *series, size_t from)   // least squares, bytes a second
{
    double n = (double)(series->count - from), t = 0, y = 0, tt = 0, ty = 0;
    size_t i;
    for (i = from; i < series->count; i++) {
        t += series->at[i] / n;
        y += series->live[i].bytes / n;
    }
    for (i = from; i < series->count; i++) {
        tt += (series->at[i] - t) * (series->at[i] - t);
        ty += (series->at[i] - t) * (series->live[i].bytes - y);
    }
    return tt > 0 ? ty / tt : 0;
}

// The variance of what a leak of a constant rate does: samples are taken by chance, and the blocks come by
// chance, too.
static double pyprof__series_chance(const pyprof__series *series, pyprof__level level)
{
    return series->interval * level.doubt + series->block * level.bytes;
}

static pyprof__level pyprof__level_less(pyprof__level a, pyprof__level b)
{
    a.bytes -= b.bytes;
    a.doubt -= b.doubt;
    return a;
}

// Did it grow slower from there on than before, more than by chance? If the rate was the same, `ratio` times
// what was gained before, less what was gained since, is 0 on average.
static int pyprof__series_slowed(const pyprof__series *series, size_t from)
{
    size_t last = series->count - 1;
    double all = pyprof__series_growth(series, 0), since = pyprof__series_growth(series, from);
    double ratio = (series->at[last] - series->at[from]) / series->at[from];
    double less = ratio * (all - since) - since;
    double early = pyprof__series_chance(series, pyprof__level_less(series->kept[from], series->kept[0]));
    double late = pyprof__series_chance(series, pyprof__level_less(series->kept[last], series->kept[from]));
    double gone = pyprof__series_chance(series, pyprof__level_less(series->live[from], series->kept[from]));
    double first = pyprof__series_chance(series, pyprof__level_less(series->live[0], series->kept[0]));
    double seen = ratio * ratio * early + late, constant = ratio * (early + late);
    double variance = (1 + ratio) * (1 + ratio) * gone + ratio * ratio * first;
    variance += seen > constant ? seen : constant;
    return less > 0 && less * less > 2.75 * 2.75 * variance;
}

// Three looks at one question: together they are wrong about a constant leak once in a hundred times.
static int pyprof__series_stopped(const pyprof__series *series)
{
    size_t n = series->count;
    return pyprof__series_slowed(series, n / 3) || pyprof__series_slowed(series, n / 2)
        || pyprof__series_slowed(series, n - 1 - (n + 1) / 3);
}

// Is it up for the last third; or for three points at least, and never was before? Not so saw-tooths.
static int pyprof__series_stays(const pyprof__series *series)
{
    size_t n = series->count, i, up = n, ups = 0;
    double first = series->live[0].bytes, high = first, half;
    for (i = 1; i < n; i++) if (series->live[i].bytes > high) high = series->live[i].bytes;
    half = first + (high - first) / 2;
    for (i = n; i-- > 0 && series->live[i].bytes >= half;) up = i;
    for (i = 0; i < n; i++) ups += series->live[i].bytes >= half;
    return up + (n + 1) / 3 < n || (up + 3 <= n && ups == n - up);
}

// Does it grow in several steps? Not so what jumped up once.
static int pyprof__series_climbs(const pyprof__series *series, size_t from)
{
    size_t i, rising = 0;
    double largest = 0;
    for (i = from + 1; i < series->count; i++) {
        double step = series->live[i].bytes - series->live[i - 1].bytes;
        rising += step > 0;
        if (step > largest) largest = step;
    }
    return rising >= 2 && largest < 0.75 * pyprof__series_growth(series, from);
}

// Does it grow to the end? More lives there than at any mark of the first half, and than when the last third
// began; its low points rose, too, which those of a saw-tooth do not.
static int pyprof__series_goes_on(const pyprof__series *series)
{
    size_t n = series->count, begin = n - 1 - (n + 1) / 3, half = n / 2, i;
    double low = series->live[n - 1].bytes, mean = 0;
    for (i = 0; i < half; i++) {
        if (!pyprof__series_grew(series, i, i < n / 3 ? 1.96 : 1.64)) return 0;
        mean += series->live[i].bytes / (double)half;
    }
    for (i = begin; i < n; i++) if (series->live[i].bytes < low) low = series->live[i].bytes;
    return low >= mean && pyprof__series_climbs(series, half) && pyprof__series_grew(series, begin, 1);
}

// Did it grow in the last third at less than half the rate of the second?
static int pyprof__series_eases(const pyprof__series *series)
{
    size_t last = series->count - 1, begin = last - (last + 2) / 3, middle = last / 3;
    double late = pyprof__series_growth(series, begin), before = pyprof__series_growth(series, middle) - late;
    double time = series->at[last] - series->at[begin], time_before = series->at[begin] - series->at[middle];
    return late * time_before < before / 2 * time;
}

// Growing: to the end, and not slowing down. Plateau: not to the end, and chance alone would hardly make that
// look so. What is neither may go on. Before there are four marks nobody can tell.
static int pyprof__series_judge(const pyprof__series *series, size_t marks)
{
    int stopped, goes_on;
    if (marks < 4) return PYPROF_GROWTH_STEADY;
    stopped = pyprof__series_stopped(series);
    goes_on = pyprof__series_goes_on(series);
    if (goes_on && !(stopped && pyprof__series_eases(series))) return PYPROF_GROWTH_GROWING;
    if (!pyprof__series_grew(series, 0, 1.96) || !pyprof__series_stays(series)) return PYPROF_GROWTH_STEADY;
    return stopped && !goes_on ? PYPROF_GROWTH_PLATEAU : PYPROF_GROWTH_UNSURE;
}

// Half of the 95 % confidence interval of what lives, or of what it grew by: the wider one.
static double pyprof__leak_error(const pyprof__series *series)
{
    double live = series->interval * series->live[series->count - 1].doubt;
    double growth = pyprof__series_variance(series, 0);
    return 1.96 * pyprof__sqrt(live > growth ? live : growth);
}

static int pyprof__leak_add(pyprof__leak_table *table, const pyprof_profile *profile, const pyprof__leak_site *site, int group)   // 0 = no memory
{
    pyprof__series series;
    pyprof_leak *leak;
    pyprof_row row;
    int growth;
    pyprof__series_make(&profile->model, site, &series);
    growth = pyprof__series_judge(&series, profile->model.heap.marks);
    if (growth == PYPROF_GROWTH_STEADY) return 1;
    leak = (pyprof_leak *)pyprof__push(&table->pool, &table->leaks);
    if (!leak) return 0;
    pyprof__row_name(profile, site->node, group, &row);
    leak->name = row.name;
    leak->qualname = row.qualname;
    leak->file = row.file;
    leak->line = row.line;
    leak->growth = growth;
    leak->live_bytes = site->live_bytes;
    leak->live_blocks = site->live_blocks;
    leak->grown_bytes = (int64_t)pyprof__series_growth(&series, 0);
    leak->bytes_per_s = pyprof__series_slope(&series, series.count / 2);
    leak->error_bytes = (int64_t)pyprof__leak_error(&series);
    leak->mean_age_s = site->live_blocks > 0 ? (double)site->age_ms / (double)site->live_blocks / 1000 : 0;
    return 1;
}

// By pyprof_growth: its name in JSON and in a report, and its rank there
static const struct { const char *key, *words; int rank; } pyprof__verdicts[] = {
    { "steady", "steady", 3 }, { "plateau", "grew, stopped", 2 }, { "growing", "growing", 0 },
    { "unsure", "grew, may go on", 1 },
};

static int pyprof__by_leak(const void *a, const void *b)
{
    const pyprof_leak *x = (const pyprof_leak *)a, *y = (const pyprof_leak *)b;
    int order;
    if (x->growth != y->growth) return pyprof__verdicts[x->growth].rank - pyprof__verdicts[y->growth].rank;
    if (x->growth == PYPROF_GROWTH_GROWING && (x->bytes_per_s < y->bytes_per_s || x->bytes_per_s > y->bytes_per_s))
        return x->bytes_per_s > y->bytes_per_s ? -1 : 1;
    if (x->grown_bytes != y->grown_bytes) return x->grown_bytes > y->grown_bytes ? -1 : 1;
    order = strcmp(x->qualname, y->qualname);
    if (order == 0) order = strcmp(x->file, y->file);
    return order ? order : x->line < y->line ? -1 : x->line > y->line;
}

static void pyprof__leaks_free(pyprof__leak_table *table)
{
    pyprof__array_free(&table->pool, &table->sites);
    pyprof__array_free(&table->pool, &table->keys);
    pyprof__array_free(&table->pool, &table->leaks);
    pyprof__index_free(&table->pool, &table->index);
}

static int pyprof__leaks_make(pyprof__leak_table *table, const pyprof_profile *profile, const pyprof_query *query)   // 0 = no memory
{
    int group = query ? query->group : PYPROF_GROUP_LINE, whole;
    pyprof__selection selection;
    uint32_t i;
    memset(table, 0, sizeof *table);
    memset(&selection, 0, sizeof selection);
    pyprof__pool_init(&table->pool, &profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&table->sites, sizeof(pyprof__leak_site));
    pyprof__array_init(&table->keys, sizeof(pyprof__group_key));
    pyprof__array_init(&table->leaks, sizeof(pyprof_leak));
    selection.pool = table->pool;
    selection.profile = profile;
    selection.count = profile->model.nodes.count;
    whole = pyprof__choose(&selection, query);
    for (i = 1; whole && i < selection.count; i++) whole = !selection.chosen[i] || pyprof__leak_count(table, profile, i, group);
    for (i = 0; whole && profile->model.heap.marks && i < table->sites.count; i++)
        whole = pyprof__leak_add(table, profile, &PYPROF__AT(const pyprof__leak_site, table->sites, i), group);
    if (whole && table->leaks.count) qsort(table->leaks.data, table->leaks.count, sizeof(pyprof_leak), pyprof__by_leak);
    pyprof__selection_free(&selection);
    return whole;
}

// ---- view: the tree as a report shows it, threads merged or not, one metric -------------------
typedef struct {
    uint32_t parent, first_child, next_sibling, depth;   // 0 = none: node 0 is the root
    const char *label, *file;
    int32_t line;
    int kind;                                            // pyprof_kind
    int64_t self, total;
    int64_t parts[3];                                    // of the total: pyprof__view_parts
} pyprof__view_node;

static const pyprof_metric pyprof__view_parts[] = { PYPROF_NATIVE_NS, PYPROF_WAIT_NS, PYPROF_GIL_WAIT_NS };

typedef struct {
    const pyprof__view_node *nodes;
    size_t count;
    uint32_t max_depth;
    int unit;                                            // 0 = count, 1 = ns, 2 = bytes
    int splits, waiting;                                 // the total is time that has those parts; and waiting is one of them
    const char *metric_name;
} pyprof__view;

typedef struct {
    pyprof__pool pool;
    pyprof__array nodes, keys, map, sorted;              // keys: pyprof__view_key a node; map: view node of each model node
    pyprof__index index;
    pyprof__strings strings;
    pyprof__view view;
} pyprof__view_maker;

typedef struct { uint32_t parent, function, line; } pyprof__view_key;

static const struct { const char *name; int unit; } pyprof__metric_names[PYPROF_METRIC_COUNT] = {
    { "", 0 }, { "samples", 0 }, { "wall time", 1 }, { "CPU time", 1 }, { "GIL held", 1 }, { "GIL wait", 1 }, { "waiting", 1 },
    { "native time", 1 }, { "calls", 0 }, { "exceptions", 0 }, { "allocated bytes", 2 }, { "allocated blocks", 0 }, { "live bytes", 2 },
    { "live blocks", 0 }, { "peak bytes", 2 }, { "peak blocks", 0 }, { "temporary blocks", 0 }, { "GPU time", 1 }, { "GPU bytes", 2 },
    { "waiting samples", 0 }, { "resident bytes", 2 }, { "age of live blocks in ms", 0 }, { "idle", 1 }, { "waiting for a CPU", 1 },
    { "native time without the GIL", 1 }, { "GIL wait caused", 1 }, { "", 0 }, { "", 0 }, { "", 0 },
    { "allocated bytes in doubt", 2 }, { "live bytes in doubt", 2 }, { "peak bytes in doubt", 2 }
};

static void pyprof__view_free(pyprof__view_maker *maker)
{
    pyprof__array_free(&maker->pool, &maker->nodes);
    pyprof__array_free(&maker->pool, &maker->keys);
    pyprof__array_free(&maker->pool, &maker->map);
    pyprof__array_free(&maker->pool, &maker->sorted);
    pyprof__index_free(&maker->pool, &maker->index);
    pyprof__strings_free(&maker->pool, &maker->strings);
}

static int pyprof__same_view_key(const void *context, uint32_t item, const void *key)
{
    return memcmp(&PYPROF__AT(pyprof__view_key, *(const pyprof__array *)context, item), key, sizeof(pyprof__view_key)) == 0;
}

static uint32_t pyprof__view_find(pyprof__view_maker *maker, const pyprof_profile *profile, uint32_t node, const pyprof__view_key *key)
{
    const pyprof__function *function = pyprof__function_of(profile, node);
    uint32_t id = pyprof__unique(&maker->pool, &maker->keys, &maker->index, pyprof__same_view_key, key);
    pyprof__view_node *added;
    if (id == PYPROF__NONE || id < maker->nodes.count) return id;
    added = (pyprof__view_node *)pyprof__push(&maker->pool, &maker->nodes);
    if (!added) return PYPROF__NONE;
    added->parent = key->parent;
    added->depth = id ? PYPROF__AT(pyprof__view_node, maker->nodes, key->parent).depth + 1 : 0;
    added->kind = function->kind;
    added->file = pyprof__text(profile, function->file);
    added->line = key->line ? (int32_t)key->line : function->kind == PYPROF_KIND_THREAD ? 0 : function->first_line;
    added->label = pyprof__label(profile, key->function);
    if (added->depth > maker->view.max_depth) maker->view.max_depth = added->depth;
    return id;
}

// Sums the selected values of the model's nodes into the view's.
static int pyprof__view_fill(pyprof__view_maker *maker, const pyprof__selection *selection, int metric, int split_threads, int lines)
{
    const pyprof_profile *profile = selection->profile;
    uint32_t i, k;
    for (i = 0; i < selection->count; i++) {
        const pyprof__location *location = pyprof__location_of(profile, i);
        uint32_t *mapped = (uint32_t *)pyprof__push(&maker->pool, &maker->map);
        pyprof__view_key key;
        if (!mapped) return 0;
        key.parent = i ? PYPROF__AT(uint32_t, maker->map, pyprof__parent_of(profile, i)) : 0;
        key.function = location->function;
        key.line = lines && location->place.line > 0 ? (uint32_t)location->place.line : 0;
        if (pyprof__total(selection, metric, i) == 0 && i) *mapped = PYPROF__NONE;   // nothing selected in or below it
        else if (!split_threads && pyprof__function_of(profile, i)->kind == PYPROF_KIND_THREAD) *mapped = key.parent;
        else *mapped = pyprof__view_find(maker, profile, i, &key);
        if (*mapped == PYPROF__NONE) {
            if (pyprof__total(selection, metric, i) != 0) return 0;
            *mapped = key.parent;
            continue;
        }
        PYPROF__AT(pyprof__view_node, maker->nodes, *mapped).self += pyprof__self(selection, metric, i);
        for (k = 0; k < PYPROF__COUNT(pyprof__view_parts); k++)
            PYPROF__AT(pyprof__view_node, maker->nodes, *mapped).parts[k] += pyprof__self(selection, (int)pyprof__view_parts[k], i);
    }
    for (i = 0; i < maker->nodes.count; i++)
        PYPROF__AT(pyprof__view_node, maker->nodes, i).total = PYPROF__AT(pyprof__view_node, maker->nodes, i).self;
    for (i = (uint32_t)maker->nodes.count; i-- > 1;) {
        const pyprof__view_node *node = &PYPROF__AT(pyprof__view_node, maker->nodes, i);
        pyprof__view_node *parent = &PYPROF__AT(pyprof__view_node, maker->nodes, node->parent);
        parent->total += node->total;
        for (k = 0; k < PYPROF__COUNT(pyprof__view_parts); k++) parent->parts[k] += node->parts[k];
    }
    return 1;
}

// "label:line" for views by line; the strings stand still only once all are made.
static int pyprof__view_line_labels(pyprof__view_maker *maker)
{
    size_t i;
    pyprof__array ids;
    int whole = pyprof__strings_init(&maker->pool, &maker->strings);
    pyprof__array_init(&ids, sizeof(uint32_t));
    for (i = 0; i < maker->nodes.count && whole; i++) {
        const pyprof__view_node *node = &PYPROF__AT(pyprof__view_node, maker->nodes, i);
        uint32_t *id = (uint32_t *)pyprof__push(&maker->pool, &ids);
        size_t capacity = strlen(node->label) + 16;
        char *text = (char *)pyprof__alloc(&maker->pool, capacity);
        int size = text ? snprintf(text, capacity, PYPROF__AT(pyprof__view_key, maker->keys, i).line ? "%s:%ld" : "%s", node->label,
                                   (long)node->line) : 0;
        whole = id && text;
        if (whole) *id = pyprof__intern(&maker->pool, &maker->strings, text, (size_t)size);
        whole = whole && *id != PYPROF__NONE;
        pyprof__free(&maker->pool, text, capacity);
    }
    for (i = 0; i < maker->nodes.count && whole; i++)
        PYPROF__AT(pyprof__view_node, maker->nodes, i).label = pyprof__string(&maker->strings, PYPROF__AT(uint32_t, ids, i));
    pyprof__array_free(&maker->pool, &ids);
    return whole;
}

typedef struct { uint32_t parent, id; const char *label, *file; int32_t line; } pyprof__sibling;

static int pyprof__by_siblings(const void *a, const void *b)
{
    const pyprof__sibling *x = (const pyprof__sibling *)a, *y = (const pyprof__sibling *)b;
    int order = x->parent != y->parent ? (x->parent < y->parent ? -1 : 1) : strcmp(x->label, y->label);
    if (order == 0) order = strcmp(x->file, y->file);
    return order ? order : x->line != y->line ? (x->line < y->line ? -1 : 1) : x->id < y->id ? -1 : x->id > y->id;
}

static int pyprof__view_link(pyprof__view_maker *maker)   // children sorted by label
{
    pyprof__view_node *nodes = (pyprof__view_node *)maker->nodes.data;
    pyprof__sibling *siblings;
    uint32_t i;
    pyprof__array_init(&maker->sorted, sizeof(pyprof__sibling));
    if (!pyprof__array_reserve(&maker->pool, &maker->sorted, maker->nodes.count)) return 0;
    siblings = (pyprof__sibling *)maker->sorted.data;
    for (i = 0; i < maker->nodes.count; i++) {
        siblings[i].parent = nodes[i].parent;
        siblings[i].id = i;
        siblings[i].label = nodes[i].label;
        siblings[i].file = nodes[i].file;
        siblings[i].line = nodes[i].line;
    }
    qsort(siblings, maker->nodes.count, sizeof *siblings, pyprof__by_siblings);
    for (i = (uint32_t)maker->nodes.count; i-- > 0;) {   // from the last to the first: each goes to the front
        pyprof__view_node *node = &nodes[siblings[i].id];
        if (siblings[i].id == 0) continue;
        node->next_sibling = nodes[node->parent].first_child;
        nodes[node->parent].first_child = siblings[i].id;
    }
    return 1;
}

static int pyprof__view_make(pyprof__view_maker *maker, const pyprof__selection *selection, int metric, int split_threads,
                             int lines)   // 0 = no memory
{
    memset(maker, 0, sizeof *maker);
    pyprof__pool_init(&maker->pool, &selection->profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&maker->nodes, sizeof(pyprof__view_node));
    pyprof__array_init(&maker->keys, sizeof(pyprof__view_key));
    pyprof__array_init(&maker->map, sizeof(uint32_t));
    if (!pyprof__view_fill(maker, selection, metric, split_threads, lines)) return 0;
    if (lines && !pyprof__view_line_labels(maker)) return 0;
    if (!pyprof__view_link(maker)) return 0;
    maker->view.nodes = (const pyprof__view_node *)maker->nodes.data;
    maker->view.count = maker->nodes.count;
    maker->view.unit = pyprof__metric_names[metric].unit;
    maker->view.splits = metric == PYPROF_WALL_NS;
    maker->view.waiting = !selection->without_idle;
    maker->view.metric_name = pyprof__metric_names[metric].name;
    return 1;
}

// ============================================================================
// [SECTION] WRITERS -- JSON, text, folded, SVG, speedscope, pprof, pickle
//   Runs on    the caller's thread
//   Uses       SNAPSHOT
//   Promise    a format is one part of this section and one row of the table at its end; parts never call each other;
//              names are hostile and go out only through the put function of their format
// ============================================================================
typedef struct pyprof__sink pyprof__sink;
struct pyprof__sink {            // buffered output; remembers that it failed, so that writers need not ask
    pyprof_write_fn *fn;
    void *user;
    int failed;
    size_t used;
    char buffer[16384];
};

static void pyprof__flush(pyprof__sink *s)
{
    if (!s->failed && s->used && s->fn(s->user, s->buffer, s->used) != 0) s->failed = 1;
    s->used = 0;
}

static void pyprof__put_bytes(pyprof__sink *s, const void *data, size_t size)
{
    const char *from = (const char *)data;
    while (size > 0 && !s->failed) {
        size_t n = sizeof s->buffer - s->used;
        if (n > size) n = size;
        memcpy(s->buffer + s->used, from, n);
        s->used += n;
        from += n;
        size -= n;
        if (s->used == sizeof s->buffer) pyprof__flush(s);
    }
}

static void pyprof__put(pyprof__sink *s, const char *text) { pyprof__put_bytes(s, text, strlen(text)); }

__attribute__((format(printf, 2, 3)))
static void pyprof__put_format(pyprof__sink *s, const char *format, ...)   // integers and short strings of ours only
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    pyprof__put(s, text);
}

static void pyprof__put_int(pyprof__sink *s, int64_t value)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do { text[--at] = (char)('0' + rest % 10); rest /= 10; } while (rest);
    if (value < 0) text[--at] = '-';
    pyprof__put_bytes(s, text + at, sizeof text - at);
}

static void pyprof__put_fixed(pyprof__sink *s, double value, int digits)
{
    char text[64];
    pyprof__put_bytes(s, text, pyprof__format_fixed(text, sizeof text, value, digits));
}

// Seconds from ns, exactly
static void pyprof__put_seconds(pyprof__sink *s, int64_t ns)
{
    uint64_t rest = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    pyprof__put_format(s, "%s%llu.%09llu", ns < 0 ? "-" : "", (unsigned long long)(rest / pyprof__second),
                       (unsigned long long)(rest % pyprof__second));
}

// Text for people: what would change how the line is shown appears as an escape.
static void pyprof__put_visible(pyprof__sink *s, const char *text)
{
    const char *end = text + 400;   // the page stays a page
    size_t length;
    for (; *text; text += length) {
        uint32_t c = pyprof__utf8_next(text, &length);
        if (text > end) { pyprof__put(s, "..."); return; }
        if (pyprof__is_unsafe(c) || (c == ' ' && !text[1])) pyprof__put_format(s, c < 256 ? "\\x%02x" : "\\u%04x", c);
        else if (c == 0xfffd && length == 1) pyprof__put(s, "\xef\xbf\xbd");
        else pyprof__put_bytes(s, text, length);
    }
}

static void pyprof__put_xml(pyprof__sink *s, const char *text)
{
    size_t length;
    for (; *text; text += length) {
        uint32_t c = pyprof__utf8_next(text, &length);
        if (c == '&') pyprof__put(s, "&amp;");
        else if (c == '<') pyprof__put(s, "&lt;");
        else if (c == '>') pyprof__put(s, "&gt;");
        else if (c == '"') pyprof__put(s, "&quot;");
        else if (c == '\'') pyprof__put(s, "&#39;");
        else if (pyprof__is_unsafe(c)) pyprof__put_format(s, c < 256 ? "\\x%02x" : "\\u%04x", c);
        else if (c == 0xfffd && length == 1) pyprof__put(s, "\xef\xbf\xbd");
        else pyprof__put_bytes(s, text, length);
    }
}

static void pyprof__put_json(pyprof__sink *s, const char *text)   // with its quotes; safe inside HTML too
{
    size_t length;
    pyprof__put(s, "\"");
    for (; *text; text += length) {
        uint32_t c = pyprof__utf8_next(text, &length);
        if (c == '"' || c == '\\') { char pair[3] = { '\\', (char)c, 0 }; pyprof__put(s, pair); }
        else if (c == '\n' || c == '\t' || c == '\r') pyprof__put(s, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        else if (c < 0x20 || c == 0x7f || c == 0x2028 || c == 0x2029 || (c == '<' && (text[1] == '/' || text[1] == '!')) || c == 0xfffe
                 || c == 0xffff)
            pyprof__put_format(s, "\\u%04x", c);
        else if (c == 0xfffd && length == 1) pyprof__put(s, "\xef\xbf\xbd");
        else pyprof__put_bytes(s, text, length);
    }
    pyprof__put(s, "\"");
}

static void pyprof__put_little(pyprof__sink *s, uint64_t value, int bytes)   // least significant byte first
{
    char text[8];
    int i;
    for (i = 0; i < bytes; i++) text[i] = (char)(value >> (8 * i) & 255u);
    pyprof__put_bytes(s, text, (size_t)bytes);
}

static void pyprof__put_key(pyprof__sink *s, const char *key)   // a key of ours
{
    pyprof__put(s, "\"");
    pyprof__put(s, key);
    pyprof__put(s, "\": ");
}

typedef struct {                 // what a writer gets
    pyprof__sink *sink;
    const pyprof_profile *profile;
    const pyprof_output *output;
    pyprof__selection *selection;
    int metric;                  // never 0
} pyprof__job;

// The short names of metrics in files
static const char *const pyprof__metric_keys[PYPROF_METRIC_COUNT] = {
    "", "samples", "wall_ns", "cpu_ns", "gil_ns", "gil_wait_ns", "wait_ns", "native_ns", "calls", "exceptions", "alloc_bytes", "alloc_blocks",
    "live_bytes", "live_blocks", "peak_bytes", "peak_blocks", "temp_blocks", "gpu_ns", "gpu_bytes", "wait_samples", "resident_bytes",
    "live_age_ms", "idle_ns", "cpu_wait_ns", "nogil_ns", "gil_block_ns", "unknown_ns", "", "",
    "alloc_doubt", "live_doubt", "peak_doubt"
};
static const char *const pyprof__heap_modes[] = { "off", "sampled", "exact" };
static const char *const pyprof__domain_names[PYPROF_DOMAIN_COUNT] = { "raw", "mem", "obj", "native" };
static const char *const pyprof__cause_names[PYPROF_CAUSE_COUNT] = { "unreadable", "chain", "code", "moved", "list", "name", "memory", "" };

// ---- lines of source: read when a file is written, and shown only if they are still those that ran -------------------
enum {
    PYPROF__SCRIPT_BYTES = 4 << 20,     // of a file; larger ones are left out
    PYPROF__SCRIPT_LINE = 1000,         // bytes of a line
    PYPROF__SCRIPT_COLUMNS = 100        // of a line in the text report
};
typedef enum { PYPROF__SCRIPT_NO_MEMORY, PYPROF__SCRIPT_UNREADABLE, PYPROF__SCRIPT_CHANGED, PYPROF__SCRIPT_READ } pyprof__script_state;
typedef struct { char *text; size_t size, room; pyprof__array lines; } pyprof__script;   // lines: uint32_t, where each begins

// May sources be shown? Who wants no paths in a file wants no sources in it.
static int pyprof__script_allowed(const pyprof__job *job)
{
    return job->output->sources >= 0 && job->profile->model.paths == PYPROF_PATHS_FULL && !job->profile->is_diff;
}

static void pyprof__script_free(pyprof__pool *pool, pyprof__script *source)
{
    pyprof__free(pool, source->text, source->room);
    pyprof__array_free(pool, &source->lines);
}

// Names of files come from the program: nothing is opened but regular files, and no more is read than they had then.
static pyprof__script_state pyprof__script_open(const char *path, double start, int *fd, size_t *size)
{
    struct stat info;
    *fd = -1;
    if (!*path || *path == '<' || stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return PYPROF__SCRIPT_UNREADABLE;
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > PYPROF__SCRIPT_BYTES) return PYPROF__SCRIPT_UNREADABLE;
    if ((double)info.st_mtime > start) return PYPROF__SCRIPT_CHANGED;
    *size = (size_t)info.st_size;
    return PYPROF__SCRIPT_READ;
}

static int pyprof__script_lines(pyprof__pool *pool, pyprof__script *source)   // 0 = no memory
{
    size_t at;
    for (at = 0; at < source->size; at++) {
        uint32_t *line = at == 0 || source->text[at - 1] == '\n' ? (uint32_t *)pyprof__push(pool, &source->lines) : NULL;
        if (line) *line = (uint32_t)at;
        else if (at == 0 || source->text[at - 1] == '\n') return 0;
    }
    return 1;
}

// start: Unix seconds of the recording. Free it, whatever comes back.
static pyprof__script_state pyprof__script_read(pyprof__pool *pool, pyprof__script *source, const char *path, double start)
{
    size_t size = 0;
    int fd;
    pyprof__script_state state = pyprof__script_open(path, start, &fd, &size);
    memset(source, 0, sizeof *source);
    pyprof__array_init(&source->lines, sizeof(uint32_t));
    if (state == PYPROF__SCRIPT_READ) {
        source->text = (char *)pyprof__alloc(pool, size + 8);   // zeroes behind the text: a character cut in two ends there
        if (source->text) source->room = size + 8;
        else state = PYPROF__SCRIPT_NO_MEMORY;
    }
    while (state == PYPROF__SCRIPT_READ && source->size < size) {
        ssize_t got = read(fd, source->text + source->size, size - source->size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        source->size += (size_t)got;
    }
    if (fd >= 0) close(fd);
    if (state == PYPROF__SCRIPT_READ && !pyprof__script_lines(pool, source)) state = PYPROF__SCRIPT_NO_MEMORY;
    return state;
}

static pyprof__slice pyprof__script_line(const pyprof__script *source, int64_t number)   // from 1; text NULL = there is none
{
    pyprof__slice line = { NULL, 0 };
    size_t end;
    if (number < 1 || (uint64_t)number > source->lines.count) return line;
    line.text = source->text + PYPROF__AT(const uint32_t, source->lines, number - 1);
    end = (uint64_t)number < source->lines.count ? PYPROF__AT(const uint32_t, source->lines, number) : source->size;
    line.size = end - PYPROF__AT(const uint32_t, source->lines, number - 1);
    while (line.size && strchr(" \t\r\n", line.text[line.size - 1])) line.size--;   // a NUL, too
    return line;
}

// Is the function still where the recording has it? On its first line stands its name, or that of a decorator.
static int pyprof__script_fits(const pyprof__script *source, const pyprof_profile *profile, const pyprof__function *function)
{
    pyprof__slice line = pyprof__script_line(source, function->first_line);
    const char *name = pyprof__text(profile, function->name);
    size_t size, at = 0;
    if (strcmp(name, "<lambda>") == 0) name = "lambda";
    if (*name == '<') return function->first_line <= 1 || line.text;   // <module>: its first line may be a blank one
    while (at < line.size && (line.text[at] == ' ' || line.text[at] == '\t')) at++;
    if (at < line.size && line.text[at] == '@') return 1;
    for (size = strlen(name); at + size <= line.size; at++)
        if (memcmp(line.text + at, name, size) == 0) return 1;
    return 0;
}

// ---- folded: frame;frame;frame COUNT --------------------------------------------------------
static void pyprof__put_folded_name(pyprof__sink *s, const char *text)
{
    size_t length;
    for (; *text; text += length) {
        uint32_t c = pyprof__utf8_next(text, &length);
        if (c == ';') pyprof__put(s, ":");
        else if (pyprof__is_unsafe(c)) pyprof__put_format(s, c < 256 ? "\\x%02x" : "\\u%04x", c);
        else if (c == 0xfffd && length == 1) pyprof__put(s, "\xef\xbf\xbd");
        else pyprof__put_bytes(s, text, length);
    }
}

static pyprof_result pyprof__write_folded(pyprof__job *job)
{
    pyprof__view_maker maker;
    uint32_t *path = NULL, depth, node = 0, i;
    int64_t scale;
    pyprof_result result = PYPROF_OK;
    if (pyprof__view_make(&maker, job->selection, job->metric, job->output->split_threads, job->output->lines))
        path = (uint32_t *)pyprof__alloc(&maker.pool, (maker.view.max_depth + 1) * sizeof *path);
    if (!path) result = pyprof__fail_memory("the folded stacks");
    scale = maker.view.unit == 1 ? 1000 : 1;   // ns as us: other tools keep counts in 32 bits
    while (result == PYPROF_OK) {              // depth first, children in order: the lines come out sorted by stack
        const pyprof__view_node *at = &maker.view.nodes[node];
        if (at->self / scale > 0 && at->depth > 0) {
            for (depth = at->depth, i = node; depth > 0; depth--, i = maker.view.nodes[i].parent) path[depth - 1] = i;
            for (i = 0; i < at->depth; i++) {
                if (i) pyprof__put(job->sink, ";");
                pyprof__put_folded_name(job->sink, maker.view.nodes[path[i]].label);
            }
            pyprof__put(job->sink, " ");
            pyprof__put_int(job->sink, at->self / scale);
            pyprof__put(job->sink, "\n");
        }
        if (at->first_child) { node = at->first_child; continue; }
        while (node && !maker.view.nodes[node].next_sibling) node = maker.view.nodes[node].parent;
        if (node == 0) break;
        node = maker.view.nodes[node].next_sibling;
    }
    pyprof__free(&maker.pool, path, path ? (maker.view.max_depth + 1) * sizeof *path : 0);
    pyprof__view_free(&maker);
    return result;
}

// ---- JSON: the native format ------------------------------------------------------------------
// Labels are written millions of times: each is escaped once.
typedef struct { pyprof__pool pool; pyprof__strings strings; pyprof__array ids; } pyprof__escaped;
typedef struct { pyprof__array *bytes; pyprof__pool *pool; } pyprof__to_array;

static int pyprof__append(void *user, const void *data, size_t size)   // a pyprof_write_fn
{
    pyprof__to_array *to = (pyprof__to_array *)user;
    if (!pyprof__array_reserve(to->pool, to->bytes, size)) return 1;
    memcpy((char *)to->bytes->data + to->bytes->count, data, size);
    to->bytes->count += size;
    return 0;
}

static void pyprof__json_stats(pyprof__sink *s, const pyprof_stats *stats)
{
    const struct { const char *key; uint64_t value; } rows[] = {
        { "asked", stats->asked }, { "samples", stats->samples }, { "missed", stats->missed }, { "rejected", stats->rejected },
        { "retried", stats->retried }, { "unfrozen", stats->unfrozen }, { "truncated", stats->truncated }, { "recovered", stats->recovered },
        { "timeline_dropped", stats->timeline_dropped }, { "threads", stats->threads }, { "interpreters", stats->interpreters },
        { "own_cpu_ns", stats->own_cpu_ns }, { "own_bytes", stats->own_bytes }, { "late_max_ns", stats->late_max_ns },
        { "late_mean_ns", stats->late_mean_ns }, { "gap_ns", stats->gap_ns }, { "heap_state", (uint64_t)stats->heap_state },
        { "heap_samples", stats->heap_samples }, { "heap_dropped", stats->heap_dropped }, { "heap_live_bytes", stats->heap_live_bytes },
        { "heap_live_blocks", stats->heap_live_blocks }, { "heap_peak_bytes", stats->heap_peak_bytes },
        { "heap_reserved_bytes", stats->heap_reserved_bytes },
    };
    size_t i;
    for (i = 0; i < PYPROF__COUNT(rows); i++) {
        pyprof__put_key(s, rows[i].key);
        pyprof__put_int(s, (int64_t)rows[i].value);
        pyprof__put(s, ", ");
    }
    pyprof__put(s, "\"rejected_by_cause\": {");
    for (i = 0; i < PYPROF_CAUSE_COUNT && *pyprof__cause_names[i]; i++) {
        if (i) pyprof__put(s, ", ");
        pyprof__put_key(s, pyprof__cause_names[i]);
        pyprof__put_int(s, (int64_t)stats->rejected_by_cause[i]);
    }
    pyprof__put(s, "}, \"degraded\": ");
    pyprof__put_json(s, stats->degraded);
}

static void pyprof__json_head(const pyprof__job *job)
{
    const pyprof_profile *profile = job->profile;
    const pyprof__model *model = &profile->model;
    pyprof__sink *s = job->sink;
    pyprof__put(s, "{\n\"format\": \"pyprof\", \"version\": 1, \"exporter\": \"pyprof.h " PYPROF_VERSION_STRING "\",\n\"process_name\": ");
    pyprof__put_json(s, pyprof__text(profile, profile->program));
    pyprof__put_format(s, ", \"pid\": %lld, \"python\": ", (long long)profile->pid);
    pyprof__put_json(s, pyprof__text(profile, profile->python));
    if (profile->is_diff) pyprof__put(s, ", \"diff\": true");
    pyprof__put_format(s, ", \"free_threaded\": %s,\n\"start\": ", profile->free_threaded ? "true" : "false");
    pyprof__put_fixed(s, pyprof__unix(model, model->start_ns), 6);
    pyprof__put(s, ", \"duration\": ");
    pyprof__put_seconds(s, (int64_t)model->recorded_ns);
    pyprof__put(s, ", \"rate_hz\": ");
    pyprof__put_fixed(s, model->rate_hz, 3);
    pyprof__put(s, ",\n\"stats\": {");
    pyprof__json_stats(s, &model->stats);
    pyprof__put(s, "},\n");
}

static void pyprof__json_threads(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t i, written = 0;
    int metric;
    pyprof__put(job->sink, "\"threads\": [");
    for (i = 0; i < model->members.count; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, i);
        if (!member->wanted) continue;
        pyprof__put(job->sink, written++ ? ",\n  " : "\n  ");
        pyprof__put_format(job->sink, "{\"thread_id\": %lld, \"ident\": %llu, \"interpreter\": %lld, \"name\": ", (long long)member->native,
                           (unsigned long long)member->ident, (long long)member->interp_id);
        pyprof__put_json(job->sink, pyprof__text(job->profile, member->name));
        pyprof__put(job->sink, ", \"first_seen\": ");
        pyprof__put_fixed(job->sink, pyprof__unix(model, member->first_ns), 6);
        pyprof__put(job->sink, ", \"last_seen\": ");
        pyprof__put_fixed(job->sink, pyprof__unix(model, member->last_ns), 6);
        pyprof__put_format(job->sink, ", \"node\": %u", member->node);
        for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++)
            if (job->selection->total[metric])
                pyprof__put_format(job->sink, ", \"%s\": %lld", pyprof__metric_keys[metric],
                                   (long long)pyprof__total(job->selection, metric, member->node));
        pyprof__put(job->sink, "}");
    }
    pyprof__put(job->sink, "],\n");
}

static void pyprof__json_frames(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t i;
    pyprof__put(job->sink, "\"frames\": [");
    for (i = 0; i < model->locations.count; i++) {
        const pyprof__location *location = &PYPROF__AT(const pyprof__location, model->locations, i);
        const pyprof__function *function = &PYPROF__AT(const pyprof__function, model->functions, location->function);
        int threadlike = function->kind == PYPROF_KIND_THREAD;
        pyprof__put(job->sink, i ? ",\n  {\"name\": " : "\n  {\"name\": ");
        pyprof__put_json(job->sink, pyprof__text(job->profile, function->name));
        pyprof__put(job->sink, ", \"qualname\": ");
        pyprof__put_json(job->sink, pyprof__text(job->profile, function->qualname));
        pyprof__put(job->sink, ", \"label\": ");
        pyprof__put_json(job->sink, pyprof__label(job->profile, location->function));
        pyprof__put(job->sink, ", \"file\": ");
        pyprof__put_json(job->sink, pyprof__text(job->profile, function->file));
        pyprof__put_format(job->sink, ", \"line\": %ld, \"end_line\": %ld, \"column\": %ld, \"end_column\": %ld, "
                           "\"first_line\": %ld, \"kind\": \"%s\"",
                           (long)location->place.line, (long)location->place.end_line, (long)location->place.column, (long)location->place.end_column,
                           threadlike ? 0L : (long)function->first_line, pyprof__kind_names[function->kind]);
        if (location->opcode) pyprof__put_format(job->sink, ", \"opcode\": \"%s\"", pyprof__text(job->profile, location->opcode));
        pyprof__put(job->sink, "}");
    }
    pyprof__put(job->sink, "],\n");
}

static void pyprof__json_row_memory(const pyprof__job *job, const pyprof_row *row)
{
    int metric;
    for (metric = PYPROF_ALLOC_BYTES; metric <= PYPROF_TEMP_BLOCKS; metric++) {
        if (!job->selection->self[metric]) continue;
        pyprof__put_format(job->sink, ", \"%s\": %lld, \"self_%s\": %lld", pyprof__metric_keys[metric], (long long)row->total[metric],
                           pyprof__metric_keys[metric], (long long)row->self[metric]);
    }
}

static void pyprof__json_row_states(const pyprof__job *job, const pyprof_row *row)
{
    static const struct { int metric; const char *key; } columns[] = {
        { PYPROF_GIL_NS, "gil_time" }, { PYPROF_GIL_WAIT_NS, "gil_wait_time" }, { PYPROF_GIL_BLOCK_NS, "gil_block_time" },
        { PYPROF_CPU_WAIT_NS, "cpu_wait_time" }, { PYPROF_IDLE_NS, "idle_time" }, { PYPROF_NATIVE_NS, "native_time" },
        { PYPROF_NOGIL_NS, "nogil_time" }, { PYPROF_UNKNOWN_NS, "unknown_time" },
    };
    size_t i;
    for (i = 0; i < PYPROF__COUNT(columns); i++) {
        if (!job->selection->self[columns[i].metric]) continue;
        pyprof__put_format(job->sink, ", \"%s\": ", columns[i].key);
        pyprof__put_seconds(job->sink, row->total[columns[i].metric]);
        pyprof__put_format(job->sink, ", \"self_%s\": ", columns[i].key);
        pyprof__put_seconds(job->sink, row->self[columns[i].metric]);
    }
    if (job->selection->self[PYPROF_EXCEPTIONS])
        pyprof__put_format(job->sink, ", \"exceptions\": %lld, \"self_exceptions\": %lld", (long long)row->total[PYPROF_EXCEPTIONS],
                           (long long)row->self[PYPROF_EXCEPTIONS]);
}

static pyprof_result pyprof__json_functions(const pyprof__job *job)
{
    pyprof__table table;
    pyprof__ranked *ranked = NULL;
    size_t i, written = 0;
    pyprof_result result = PYPROF_OK;
    if (!pyprof__table_make(&table, job->selection, NULL, PYPROF__GROUP_LABEL)) result = pyprof__fail_memory("the functions");
    else ranked = pyprof__rank(&table, PYPROF_WALL_NS, 1);
    if (result == PYPROF_OK && !ranked && table.rows.count) result = pyprof__fail_memory("the functions");
    pyprof__put(job->sink, "\"functions\": {");
    for (i = 0; ranked && i < table.rows.count; i++) {
        const pyprof_row *row = ranked[i].row;
        uint32_t function = PYPROF__AT(pyprof__group_key, table.keys, (size_t)(row - (const pyprof_row *)table.rows.data)).what;
        pyprof__put(job->sink, written++ ? ",\n  " : "\n  ");
        pyprof__put_json(job->sink, pyprof__label(job->profile, function));
        pyprof__put_format(job->sink, ": {\"samples\": %lld, \"time\": ", (long long)row->total[PYPROF_SAMPLES]);
        pyprof__put_seconds(job->sink, row->total[PYPROF_WALL_NS]);
        pyprof__put_format(job->sink, ", \"self_samples\": %lld, \"self_time\": ", (long long)row->self[PYPROF_SAMPLES]);
        pyprof__put_seconds(job->sink, row->self[PYPROF_WALL_NS]);
        pyprof__put(job->sink, ", \"cpu_time\": ");
        pyprof__put_seconds(job->sink, row->total[PYPROF_CPU_NS]);
        pyprof__put(job->sink, ", \"wait_time\": ");
        pyprof__put_seconds(job->sink, row->total[PYPROF_WAIT_NS]);
        pyprof__json_row_states(job, row);
        pyprof__json_row_memory(job, row);
        pyprof__put(job->sink, ", \"file\": ");
        pyprof__put_json(job->sink, row->file);
        pyprof__put_format(job->sink, ", \"line\": %ld, \"kind\": \"%s\"}", (long)row->line, pyprof__kind_names[row->kind]);
    }
    pyprof__put(job->sink, "},\n");
    pyprof__free(&table.pool, ranked, table.rows.count * sizeof *ranked);
    pyprof__table_free(&table);
    return result;
}

static void pyprof__json_tree(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t i, metric, written = 0;
    pyprof__put(job->sink, "\"tree\": {\"parent\": [");
    for (i = 0; i < model->nodes.count; i++) {
        if (i) pyprof__put(job->sink, ",");
        pyprof__put_int(job->sink, i ? (int64_t)PYPROF__AT(const pyprof__node, model->nodes, i).parent : -1);
    }
    pyprof__put(job->sink, "],\n\"frame\": [");
    for (i = 0; i < model->nodes.count; i++) {
        if (i) pyprof__put(job->sink, ",");
        pyprof__put_int(job->sink, (int64_t)PYPROF__AT(const pyprof__node, model->nodes, i).location);
    }
    pyprof__put(job->sink, "],\n\"self\": {");
    for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {
        if (!job->selection->self[metric]) continue;
        pyprof__put(job->sink, written++ ? ",\n" : "\n");
        pyprof__put_key(job->sink, pyprof__metric_keys[metric]);
        pyprof__put(job->sink, "[");
        for (i = 0; i < job->selection->count; i++) {
            if (i) pyprof__put(job->sink, ",");
            pyprof__put_int(job->sink, job->selection->self[metric][i]);
        }
        pyprof__put(job->sink, "]");
    }
    pyprof__put(job->sink, "}},\n");
}

static void pyprof__json_heap(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    const pyprof__heap_facts *heap = &model->heap;
    pyprof__sink *s = job->sink;
    size_t i, sizes = PYPROF_SIZES;
    int metric;
    pyprof__put_format(s, "\"mode\": \"%s\", \"interval_bytes\": %llu, \"peak_time\": ", pyprof__heap_modes[heap->mode],
                       (unsigned long long)heap->interval);
    if (heap->peak_ns) pyprof__put_fixed(s, pyprof__unix(model, heap->peak_ns), 6);
    else pyprof__put(s, "null");
    for (metric = PYPROF_ALLOC_BYTES; metric <= PYPROF_TEMP_BLOCKS; metric++)
        pyprof__put_format(s, ", \"%s\": %lld", pyprof__metric_keys[metric], (long long)job->selection->all[metric]);
    for (metric = PYPROF_ALLOC_DOUBT; pyprof__is_doubt(metric) && heap->mode == PYPROF_HEAP_SAMPLED; metric++)
        pyprof__put_format(s, ", \"%s\": %lld", pyprof__metric_keys[metric], (long long)job->selection->all[metric]);
    pyprof__put(s, ",\n\"domains\": {");
    for (i = 0; i < PYPROF_DOMAIN_COUNT; i++) {
        const pyprof_domain_total *domain = &heap->domains[i];
        pyprof__put_format(s, "%s\"%s\": {\"alloc_bytes\": %lld, \"alloc_blocks\": %lld, \"live_bytes\": %lld, \"live_blocks\": %lld}",
                           i ? ", " : "", pyprof__domain_names[i], (long long)domain->alloc_bytes, (long long)domain->alloc_blocks,
                           (long long)domain->live_bytes, (long long)domain->live_blocks);
    }
    pyprof__put(s, "},\n\"sizes\": [");
    while (sizes > 0 && heap->sizes[sizes - 1] == 0) sizes--;
    for (i = 0; i < sizes; i++) pyprof__put_format(s, i ? ",%lld" : "%lld", (long long)heap->sizes[i]);
    pyprof__put(s, "]");
}

static int pyprof__json_leaks(const pyprof__job *job)   // 0 = no memory
{
    pyprof__leak_table table;
    pyprof__sink *s = job->sink;
    size_t i;
    int whole = pyprof__leaks_make(&table, job->profile, NULL);
    pyprof__put(s, ",\n\"leaks\": [");
    for (i = 0; whole && i < table.leaks.count; i++) {
        const pyprof_leak *leak = &PYPROF__AT(const pyprof_leak, table.leaks, i);
        pyprof__put(s, i ? ",\n  {\"function\": " : "\n  {\"function\": ");
        pyprof__put_json(s, leak->qualname);
        pyprof__put(s, ", \"file\": ");
        pyprof__put_json(s, leak->file);
        pyprof__put_format(s, ", \"line\": %ld, \"growth\": \"%s\", \"live_bytes\": %lld, \"live_blocks\": %lld, \"grown_bytes\": %lld, "
                           "\"error_bytes\": %lld, \"bytes_per_s\": ", (long)leak->line,
                           pyprof__verdicts[leak->growth].key, (long long)leak->live_bytes,
                           (long long)leak->live_blocks, (long long)leak->grown_bytes, (long long)leak->error_bytes);
        pyprof__put_fixed(s, leak->bytes_per_s, 3);
        pyprof__put(s, ", \"mean_age_s\": ");
        pyprof__put_fixed(s, leak->mean_age_s, 3);
        pyprof__put(s, "}");
    }
    pyprof__put(s, "]");
    pyprof__leaks_free(&table);
    return whole;
}

static pyprof_result pyprof__json_memory(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    pyprof__sink *s = job->sink;
    size_t i;
    if (model->heap.mode == PYPROF_HEAP_OFF && model->gauges.count == 0) return PYPROF_OK;
    pyprof__put(s, "\"memory\": {");
    if (model->heap.mode != PYPROF_HEAP_OFF) pyprof__json_heap(job);
    else pyprof__put(s, "\"mode\": \"off\"");
    if (model->heap.mode != PYPROF_HEAP_OFF && !job->profile->is_diff && !pyprof__json_leaks(job))
        return pyprof__fail_memory("the leaks");
    pyprof__put(s, ",\n\"timeline\": [");
    for (i = 0; i < model->gauges.count; i++) {
        const pyprof__gauge *gauge = &PYPROF__AT(const pyprof__gauge, model->gauges, i);
        pyprof__put(s, i ? ",\n  [" : "\n  [");
        pyprof__put_fixed(s, pyprof__unix(model, gauge->ns), 3);
        pyprof__put_format(s, ", %lld, %lld]", (long long)gauge->facts.resident_bytes, (long long)gauge->facts.traced_bytes);
    }
    pyprof__put(s, "]},\n");
    return PYPROF_OK;
}

// "stack": [...], "lines": [...], "frames": [...] of a node, root first, the thread's node left out
static void pyprof__json_stack(pyprof__sink *s, const pyprof_profile *profile, uint32_t node, uint32_t *path)
{
    uint32_t depth = 0, i, part;
    static const char *const parts[] = { "\"stack\": [", "], \"lines\": [", "], \"frames\": [" };
    for (; node && pyprof__function_of(profile, node)->kind != PYPROF_KIND_THREAD; node = pyprof__parent_of(profile, node)) path[depth++] = node;
    for (part = 0; part < 3; part++) {
        pyprof__put(s, parts[part]);
        for (i = depth; i-- > 0;) {
            if (part == 0) pyprof__put_json(s, pyprof__label(profile, pyprof__location_of(profile, path[i])->function));
            else if (part == 1) pyprof__put_int(s, pyprof__location_of(profile, path[i])->place.line);
            else pyprof__put_int(s, (int64_t)PYPROF__AT(const pyprof__node, profile->model.nodes, path[i]).location);
            if (i) pyprof__put(s, ", ");
        }
    }
    pyprof__put(s, "]");
}

// The same stack comes again and again: its text is made once a node and copied.
static int pyprof__json_cached_stack(pyprof__escaped *cache, const pyprof__job *job, uint32_t node, uint32_t *path)
{
    pyprof__slice *slot = &PYPROF__AT(pyprof__slice, cache->ids, node);
    if (!slot->size) {
        pyprof__sink *side = (pyprof__sink *)pyprof__alloc(&cache->pool, sizeof *side);
        pyprof__to_array to;
        size_t before = cache->strings.bytes.count;
        int whole;
        if (!side) return 0;
        to.bytes = &cache->strings.bytes;
        to.pool = &cache->pool;
        side->fn = pyprof__append;
        side->user = &to;
        pyprof__json_stack(side, job->profile, node, path);
        pyprof__flush(side);
        slot->text = NULL;
        slot->size = cache->strings.bytes.count - before;
        PYPROF__AT(size_t, cache->strings.starts, node) = before;
        whole = !side->failed;
        pyprof__free(&cache->pool, side, sizeof *side);
        if (!whole) return 0;
    }
    pyprof__put_bytes(job->sink, (const char *)cache->strings.bytes.data + PYPROF__AT(size_t, cache->strings.starts, node), slot->size);
    return 1;
}

// One word for the state of a thread: what kept it from running comes first.
static const char *pyprof__json_state(uint32_t state)
{
    static const struct { uint32_t bit; const char *word; } words[] = {
        { PYPROF__WANTS_GIL, "gil" }, { PYPROF__WANTS_CPU, "cpu" }, { PYPROF__IS_IDLE, "idle" }, { PYPROF__IS_WAITING, "waiting" },
        { PYPROF__IS_NOGIL, "nogil" }, { PYPROF__IS_NATIVE, "native" },
    };
    size_t i;
    for (i = 0; i < PYPROF__COUNT(words); i++)
        if (state & words[i].bit) return words[i].word;
    return "running";
}

static int pyprof__json_moment(pyprof__escaped *cache, const pyprof__job *job, const pyprof__moment *moment, uint32_t *path, int first)
{
    const pyprof__model *model = &job->profile->model;
    const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, moment->thread);
    pyprof__put(job->sink, first ? "\n  " : ",\n  ");
    pyprof__put_format(job->sink, "{\"thread_id\": %lld, ", (long long)member->native);
    if (!pyprof__json_cached_stack(cache, job, moment->node, path)) return 0;
    pyprof__put(job->sink, ", \"timestamp\": ");
    pyprof__put_fixed(job->sink, pyprof__unix(model, moment->start_ns), 6);
    pyprof__put_format(job->sink, ", \"count\": %u, \"wall_ns\": %llu, \"cpu_ns\": %llu, \"waiting\": %s, \"state\": \"%s\", "
                       "\"thread\": %u, \"node\": %u}", moment->count, (unsigned long long)moment->wall_ns,
                       (unsigned long long)moment->cpu_ns, moment->state & PYPROF__IS_WAITING ? "true" : "false",
                       pyprof__json_state(moment->state), moment->thread, moment->node);
    return 1;
}

static pyprof_result pyprof__json_samples(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    pyprof__escaped cache;
    uint32_t *path;
    size_t i;
    int whole, first = 1;
    memset(&cache, 0, sizeof cache);
    pyprof__pool_init(&cache.pool, &job->profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&cache.ids, sizeof(pyprof__slice));
    pyprof__array_init(&cache.strings.bytes, 1);
    pyprof__array_init(&cache.strings.starts, sizeof(size_t));
    path = (uint32_t *)pyprof__alloc(&cache.pool, (job->profile->depth + 1) * sizeof *path);
    whole = path && pyprof__array_reserve(&cache.pool, &cache.ids, model->nodes.count) && pyprof__array_reserve(&cache.pool, &cache.strings.starts,
            model->nodes.count);
    pyprof__put(job->sink, "\"samples\": [");
    for (i = 0; whole && i < model->moments.count; i++) {
        const pyprof__moment *moment = &PYPROF__AT(const pyprof__moment, model->moments, i);
        if (!job->selection->chosen[moment->node]) continue;
        whole = pyprof__json_moment(&cache, job, moment, path, first);
        first = 0;
    }
    pyprof__put(job->sink, "]\n}\n");
    pyprof__free(&cache.pool, path, path ? (job->profile->depth + 1) * sizeof *path : 0);
    pyprof__array_free(&cache.pool, &cache.ids);
    pyprof__array_free(&cache.pool, &cache.strings.bytes);
    pyprof__array_free(&cache.pool, &cache.strings.starts);
    return whole ? PYPROF_OK : pyprof__fail_memory("the time line");
}

static void pyprof__json_pairs(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t i, written = 0;
    pyprof__put(job->sink, "\"gil\": {\"pairs\": [");
    for (i = 0; i < model->rivals.count; i++) {
        const pyprof__rivals *pair = &PYPROF__AT(const pyprof__rivals, model->rivals, i);
        if (!pyprof__rivals_wanted(job->profile, job->output->filter, pair)) continue;
        pyprof__put(job->sink, written++ ? ",\n  " : "\n  ");
        pyprof__put_format(job->sink, "{\"waiter\": %lld, \"holder\": %lld, \"wait_ns\": %llu, \"waiter_thread\": %u, \"holder_thread\": %u}",
                           (long long)PYPROF__AT(const pyprof__member, model->members, pair->waiter).native,
                           (long long)PYPROF__AT(const pyprof__member, model->members, pair->holder).native, (unsigned long long)pair->ns,
                           pair->waiter, pair->holder);
    }
    pyprof__put(job->sink, "],\n\"holds\": [");
}

static pyprof_result pyprof__json_gil(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t bytes = (job->profile->depth + 1) * sizeof(uint32_t), written = 0;
    uint32_t i, *path;
    if (job->profile->is_diff) return PYPROF_OK;
    path = (uint32_t *)pyprof__alloc(&job->selection->pool, bytes);
    if (!path) return pyprof__fail_memory("the stacks");
    pyprof__json_pairs(job);
    for (i = 0; i < model->members.count; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, i);
        if (!member->hold_ns || !pyprof__member_wanted(job->profile, job->output->filter, i)) continue;
        pyprof__put(job->sink, written++ ? ",\n  " : "\n  ");
        pyprof__put_format(job->sink, "{\"thread_id\": %lld, \"hold_ns\": %llu, \"end\": ", (long long)member->native,
                           (unsigned long long)member->hold_ns);
        pyprof__put_fixed(job->sink, pyprof__unix(model, member->hold_end_ns), 6);
        pyprof__put(job->sink, ", ");
        pyprof__json_stack(job->sink, job->profile, member->hold_node, path);
        pyprof__put_format(job->sink, ", \"thread\": %u, \"node\": %u}", i, member->hold_node);
    }
    pyprof__put(job->sink, "]},\n");
    pyprof__free(&job->selection->pool, path, bytes);
    return PYPROF_OK;
}

// Facts of the process over time: a row each, after their names
static void pyprof__json_process(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t i, k;
    if (job->profile->is_diff) return;
    pyprof__put(job->sink, "\"process\": {\"columns\": [\"timestamp\", \"resident_bytes\", \"traced_bytes\", \"user_ns\", \"system_ns\",\n  "
                "\"voluntary_switches\", \"involuntary_switches\", \"minor_faults\", \"major_faults\", \"threads\", \"gc_runs\"],\n\"timeline\": [");
    for (i = 0; i < model->gauges.count; i++) {
        const pyprof__gauge *gauge = &PYPROF__AT(const pyprof__gauge, model->gauges, i);
        const pyprof_process *facts = &gauge->facts;
        const int64_t values[] = { facts->resident_bytes, facts->traced_bytes, facts->user_ns, facts->system_ns, facts->voluntary_switches,
                                   facts->involuntary_switches, facts->minor_faults, facts->major_faults, facts->threads, facts->gc_runs };
        pyprof__put(job->sink, i ? ",\n  [" : "\n  [");
        pyprof__put_fixed(job->sink, pyprof__unix(model, gauge->ns), 3);
        for (k = 0; k < PYPROF__COUNT(values); k++) {
            pyprof__put(job->sink, ", ");
            pyprof__put_int(job->sink, values[k]);
        }
        pyprof__put(job->sink, "]");
    }
    pyprof__put(job->sink, "]},\n");
}

// "source": of each file that is still the one that ran, the lines that stand in stacks
typedef struct { uint32_t file, function; int32_t line; } pyprof__json_line;

static int pyprof__by_json_line(const void *a, const void *b)
{
    const pyprof__json_line *x = (const pyprof__json_line *)a, *y = (const pyprof__json_line *)b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return x->line != y->line ? (x->line < y->line ? -1 : 1) : x->function < y->function ? -1 : x->function > y->function;
}

static int pyprof__json_lines(const pyprof__job *job, pyprof__pool *pool, pyprof__array *lines)   // 0 = no memory
{
    const pyprof__model *model = &job->profile->model;
    size_t i, node;
    unsigned char *used = (unsigned char *)pyprof__alloc(pool, model->locations.count + 1);
    int whole = used != NULL;
    for (node = 1; whole && node < job->selection->count; node++)
        if (pyprof__any_total(job->selection, (uint32_t)node)) used[PYPROF__AT(const pyprof__node, model->nodes, node).location] = 1;
    for (i = 0; whole && i < model->locations.count; i++) {
        const pyprof__location *location = &PYPROF__AT(const pyprof__location, model->locations, i);
        const pyprof__function *function = &PYPROF__AT(const pyprof__function, model->functions, location->function);
        pyprof__json_line *line;
        if (!used[i] || location->place.line <= 0 || function->kind != PYPROF_KIND_PYTHON) continue;
        line = (pyprof__json_line *)pyprof__push(pool, lines);
        if (line) {
            line->file = function->file;
            line->function = location->function;
            line->line = location->place.line;
        }
        whole = line != NULL;
    }
    if (whole && lines->count) qsort(lines->data, lines->count, sizeof(pyprof__json_line), pyprof__by_json_line);
    pyprof__free(pool, used, model->locations.count + 1);
    return whole;
}

static void pyprof__json_source_line(pyprof__sink *s, pyprof__slice line)   // it is followed by a line's end, or zeroes
{
    char text[PYPROF__SCRIPT_LINE + 1];
    size_t size = line.size < sizeof text ? line.size : sizeof text - 1;
    while (size < line.size && size && ((unsigned char)line.text[size] & 0xc0) == 0x80) size--;   // not through a character
    memcpy(text, line.text, size);
    text[size] = 0;
    pyprof__put_json(s, text);
}

static pyprof__script_state pyprof__json_file(const pyprof__job *job, pyprof__pool *pool, const pyprof__json_line *lines, size_t count, int *files)
{
    const pyprof__model *model = &job->profile->model;
    const char *path = pyprof__text(job->profile, lines[0].file);
    pyprof__script source;
    pyprof__script_state state = pyprof__script_read(pool, &source, path, pyprof__unix(model, model->start_ns));
    size_t i, written = 0;
    for (i = 0; state == PYPROF__SCRIPT_READ && i < count; i++)
        if (!pyprof__script_fits(&source, job->profile, &PYPROF__AT(const pyprof__function, model->functions, lines[i].function))
            || !pyprof__script_line(&source, lines[i].line).text)
            state = PYPROF__SCRIPT_CHANGED;
    if (state == PYPROF__SCRIPT_READ) {
        pyprof__put(job->sink, (*files)++ ? ",\n  " : "\n  ");
        pyprof__put_json(job->sink, path);
        for (i = 0; i < count; i++) {
            if (i && lines[i].line == lines[i - 1].line) continue;
            pyprof__put_format(job->sink, written++ ? ", \"%ld\": " : ": {\"%ld\": ", (long)lines[i].line);
            pyprof__json_source_line(job->sink, pyprof__script_line(&source, lines[i].line));
        }
        pyprof__put(job->sink, "}");
    }
    pyprof__script_free(pool, &source);
    return state;
}

static pyprof_result pyprof__json_source(const pyprof__job *job)
{
    pyprof__pool pool;
    pyprof__array lines;
    size_t i, end;
    int files = 0, whole;
    if (job->output->sources <= 0 || !pyprof__script_allowed(job)) return PYPROF_OK;
    pyprof__pool_init(&pool, &job->profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&lines, sizeof(pyprof__json_line));
    whole = pyprof__json_lines(job, &pool, &lines);
    pyprof__put(job->sink, "\"source\": {");
    for (i = 0; whole && i < lines.count; i = end) {
        const pyprof__json_line *first = &PYPROF__AT(const pyprof__json_line, lines, i);
        for (end = i; end < lines.count && PYPROF__AT(const pyprof__json_line, lines, end).file == first->file; end++) {}
        whole = pyprof__json_file(job, &pool, first, end - i, &files) != PYPROF__SCRIPT_NO_MEMORY;
    }
    pyprof__put(job->sink, "},\n");
    pyprof__array_free(&pool, &lines);
    return whole ? PYPROF_OK : pyprof__fail_memory("the source lines");
}

static int pyprof__json_tasks(const pyprof__job *job)   // what waiting tasks awaited. 0 = no memory
{
    const pyprof__model *model = &job->profile->model;
    pyprof__pool pool;
    size_t i, written = 0, size = (job->profile->depth + 1) * sizeof(uint32_t);
    uint32_t *path;
    if (model->waited.count == 0) return 1;
    pyprof__pool_init(&pool, &job->profile->pool.allocator, UINT64_MAX);
    path = (uint32_t *)pyprof__alloc(&pool, size);
    if (!path) return 0;
    pyprof__put(job->sink, "\"tasks\": [");
    for (i = 0; i < model->waited.count; i++) {
        const pyprof__waited *waited = &PYPROF__AT(const pyprof__waited, model->waited, i);
        uint32_t thread = waited->node, up;
        if (!job->selection->chosen[waited->node]) continue;
        while ((up = pyprof__parent_of(job->profile, thread)) != 0) thread = up;
        pyprof__put(job->sink, written++ ? ",\n  {\"thread\": " : "\n  {\"thread\": ");
        pyprof__put_json(job->sink, pyprof__text(job->profile, pyprof__function_of(job->profile, thread)->name));
        pyprof__put_format(job->sink, ", \"node\": %u, \"count\": %llu, \"wait_ns\": %llu, ", waited->node, (unsigned long long)waited->count,
                           (unsigned long long)waited->ns);
        pyprof__json_stack(job->sink, job->profile, waited->node, path);
        pyprof__put(job->sink, "}");
    }
    pyprof__put(job->sink, "],\n");
    pyprof__free(&pool, path, size);
    return 1;
}

static pyprof_result pyprof__write_json(pyprof__job *job)
{
    pyprof_result result;
    pyprof__json_head(job);
    pyprof__json_threads(job);
    pyprof__json_frames(job);
    result = pyprof__json_functions(job);
    if (result != PYPROF_OK) return result;
    pyprof__json_tree(job);
    result = pyprof__json_memory(job);
    if (result == PYPROF_OK) result = pyprof__json_gil(job);
    pyprof__json_process(job);
    if (result == PYPROF_OK) result = pyprof__json_source(job);
    if (result == PYPROF_OK && !pyprof__json_tasks(job)) result = pyprof__fail_memory("the tasks");
    return result == PYPROF_OK ? pyprof__json_samples(job) : result;
}

// ---- SVG: an interactive flame graph in one file --------------------------------------------------
// Without scripts (in an image viewer) it is still a readable picture. Geometry is in percent of the window, so the
// picture follows its width; the script zooms by moving these percentages and reads name, numbers and source of a frame
// from the lines of the frame's <title>.
enum {
    PYPROF__SVG_WIDTH = 1200,         // until the script makes the picture as wide as the window
    PYPROF__SVG_TOP = 104,            // heading, note and the two lines on the frame under the pointer
    PYPROF__SVG_ROW = 18,             // the script places a text in its row as pyprof__svg_put_label does
    PYPROF__SVG_FOOT = 56,
    PYPROF__SVG_NARROWEST = 1000,     // a frame of less than 1/1000 of the width, about a pixel, is not drawn
    PYPROF__SVG_LABEL_BYTES = 704     // 161 columns of 4 bytes fit into the widest frame
};

typedef struct { double limit, unit; const char *suffix; int digits; } pyprof__svg_scale;

static const pyprof__svg_scale pyprof__svg_times[] = {
    { 1e3, 1.0, " ns", 0 }, { 1e6, 1e3, " &#181;s", 2 }, { 1e9, 1e6, " ms", 2 }, { 6e11, 1e9, " s", 2 },
    { 7.2e12, 6e10, " min", 1 }, { 0.0, 3.6e12, " h", 2 }
};
static const pyprof__svg_scale pyprof__svg_sizes[] = {
    { 1024.0, 1.0, " B", 0 }, { 1048576.0, 1024.0, " KiB", 1 }, { 1073741824.0, 1048576.0, " MiB", 1 },
    { 1099511627776.0, 1073741824.0, " GiB", 2 }, { 0.0, 1099511627776.0, " TiB", 2 }
};

typedef struct { const char *name; int hue, hues, saturation, lightness; } pyprof__svg_family;

// By the kind of a node. The hue of Python is its file's, so that a module's frames stand out together.
static const pyprof__svg_family pyprof__svg_families[] = {
    { "Python, a hue for each file", 8, 46, 90, 66 }, { "native", 206, 16, 62, 74 },
    { "zone", 96, 28, 42, 70 }, { "other", 220, 1, 10, 80 }, { "thread", 170, 12, 42, 68 }, { "waiting", 262, 14, 34, 80 },
    { "garbage collection", 336, 10, 58, 74 }, { "import, task", 120, 14, 34, 66 }
};
enum { PYPROF__SVG_OTHER = 3, PYPROF__SVG_WAITING = 5, PYPROF__SVG_GC = 6, PYPROF__SVG_TASK = 7 };

// Said twice: for a system in dark mode, scripts or not, and for the key `d`.
#define PYPROF__SVG_DARK \
    "--page: #17181b; --ink: #ecebe8; --soft: #a09c95; --line: #3f4147; --field: #222327; " \
    "--label: #14100c; --wash: .84; --dim: .25; --hit: #f07fe6; --ring: #8ab4f8; --bad: #f28b82;"

static const char *const pyprof__svg_style[] = {
    ".pyprof { --page: #fcfbf9; --ink: #24211e; --soft: #6b665f; --line: #d8d3cb; --field: #ffffff;",
    "  --label: #211a14; --wash: 1; --dim: .36; --hit: #f07fe6; --ring: #0b57d0; --bad: #b3261e;",
    "  background: var(--page); }",
    "@media (prefers-color-scheme: dark) { .pyprof:not([data-theme=light]) { " PYPROF__SVG_DARK " } }",
    ".pyprof[data-theme=dark] { " PYPROF__SVG_DARK " }",
    ".pyprof, .pyprof .tools * { font: 12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }",
    ".pyprof .page { fill: var(--page); }",
    ".pyprof text { fill: var(--ink); white-space: pre; }",
    ".pyprof .heading { font-size: 17px; font-weight: 600; }",
    ".pyprof .note, .pyprof .values, .pyprof .legend text { fill: var(--soft); }",
    ".pyprof .frames text, .pyprof .ruler, .pyprof .name { font: 12px ui-monospace, Menlo, Consolas,",
    "  'DejaVu Sans Mono', monospace; }",
    ".pyprof .frames text { fill: var(--label); pointer-events: none; }",
    ".pyprof .frames .up text, .pyprof.searching .frames :not(.hit) > text { fill: var(--ink); }",
    ".pyprof .name { font-weight: 600; }",
    ".pyprof .ruler { visibility: hidden; }",
    ".pyprof .frames { cursor: pointer; }",
    ".pyprof .frames g { outline: none; }",
    ".pyprof .frames rect { stroke: var(--page); stroke-width: .8px; }",
    ".pyprof .frames rect, .pyprof .legend rect { fill-opacity: var(--wash); rx: 2px; }",
    ".pyprof .frames .off { display: none; }",
    ".pyprof.searching .frames rect { fill-opacity: calc(var(--dim) * 1.6); }",
    ".pyprof .frames .up rect { fill-opacity: var(--dim); }",
    ".pyprof .frames .hit rect { fill: var(--hit); fill-opacity: 1; }",
    ".pyprof .frames .up.hit rect { fill-opacity: .5; }",
    ".pyprof .frames g:hover rect { stroke: var(--ink); stroke-width: 1.4px; }",
    ".pyprof .frames g:focus-visible rect { stroke: var(--ring); stroke-width: 4px; }",
    ".pyprof:not(.live) foreignObject { display: none; }",
    ".pyprof .tools { display: flex; gap: 6px; align-items: center; justify-content: flex-end;",
    "  padding: 8px 2px 2px; }",
    ".pyprof .tools * { box-sizing: border-box; height: 28px; border: 1px solid var(--line);",
    "  border-radius: 6px; background: var(--field); color: var(--ink); padding: 0 10px;",
    "  white-space: nowrap; }",
    ".pyprof .tools input { width: 230px; min-width: 80px; }",
    ".pyprof .tools output { border: 0; background: none; font-weight: 600; line-height: 28px; }",
    ".pyprof .tools button { cursor: pointer; }",
    ".pyprof .tools button:hover { border-color: var(--soft); }",
    ".pyprof .tools [aria-pressed=true] { color: var(--ring); border-color: var(--ring); }",
    ".pyprof .tools [aria-invalid=true] { border-color: var(--bad); }",
    ".pyprof .tools :focus-visible { outline: 2px solid var(--ring); outline-offset: 0; }",
    ".pyprof .tools [hidden], .pyprof .tools :empty:not(input) { display: none; }",
    "@media (max-width: 760px) { .pyprof .tools :is([name=flip], [name=theme]) { display: none; } }",
    "@media print { .pyprof foreignObject { display: none; } }"
};

// The toolbar is XHTML: an SVG has no input box of its own. It shows only where the script runs.
static const char *const pyprof__svg_tools[] = {
    "<text class='ruler' y='-99'></text>",
    "<foreignObject width='99%' height='40'><div xmlns='http://www.w3.org/1999/xhtml' class='tools'>",
    "<output aria-live='polite'></output>",
    "<button name='reset' title='Esc' hidden='hidden'>Reset zoom</button>",
    "<input name='search' type='search' spellcheck='false' aria-label='Search'",
    "  placeholder='Search (regular expression)'/>",
    "<button name='case' title='Match case (Ctrl-I)' aria-pressed='true'>Aa</button>",
    "<button name='flip' title='Root on top or at the bottom (i)'>Icicle</button>",
    "<button name='theme' title='Dark or light (d)'>Dark</button>",
    "</div></foreignObject>"
};

// Names are shown with textContent and setAttribute only: the script never makes markup out of text.
static const char *const pyprof__svg_script[] = {
    "(() => {",
    "'use strict';",
    "const root = document.currentScript.closest('svg'), alone = root === document.documentElement;",
    "const area = root.querySelector('.frames'), bar = root.querySelector('.bar');",
    "const find = selector => bar.querySelector(selector);",
    "const box = find('[name=search]'), ruler = find('.ruler'), whole = find('.name').textContent;",
    "const hint = 'Click a frame to zoom, / to search, arrow keys to walk, i to flip, d for dark or light';",
    "const TOP = Number(area.dataset.top), ROW = Number(area.dataset.row), PAD = 4;",
    "const frames = [], numberOf = new Map(), advances = new Map();",
    "let rows = 0, zoomed = 0, focused = 0, pattern = null, matchCase = true, icicle = false, hash = '';",

    // One record a frame, parents before children: a frame's descendants are the records up to its `end`.
    "function collect() {",
    "    const path = [], elements = area.querySelectorAll('g');",
    "    const bottom = Number(elements[0].children[1].getAttribute('y'));",
    "    elements.forEach((g, number) => {",
    "        const [title, rect, text] = g.children, read = name => parseFloat(rect.getAttribute(name));",
    "        const [name, values, source] = title.textContent.split('\\n');",
    "        const x = read('x'), y = read('y'), width = read('width'), depth = (bottom - y) / ROW;",
    "        frames.push({",
    "            g, rect, text, name, values, source, x, width, depth, parent: depth ? path[depth - 1] : -1,",
    "            end: number + 1, left: x, span: width, y, label: text ? text.textContent : '', style: '',",
    "            shown: true, hit: false, covered: false,",
    "        });",
    "        numberOf.set(g, number);",
    "        path[depth] = number;",
    "        rows = Math.max(rows, depth + 1);",
    "        g.setAttribute('role', 'treeitem');",
    "        g.setAttribute('aria-level', depth + 1);",
    "        g.setAttribute('tabindex', number ? -1 : 0);",
    "    });",
    "    for (let i = frames.length - 1; i > 0; i--) {",
    "        const parent = frames[frames[i].parent];",
    "        parent.end = Math.max(parent.end, frames[i].end);",
    "    }",
    "}",

    // All letters now, as each costs a layout, and between others: a lone space would count as nothing.
    "function measure() {",
    "    const letters = new Set(frames.map(f => f.name).join('.') + '.');",
    "    const width = text => { ruler.textContent = text; return ruler.getComputedTextLength(); };",
    "    const around = width('xx');",
    "    for (const letter of letters) advances.set(letter, width(`x${letter}x`) - around);",
    "    ruler.textContent = '';",
    "}",

    "function fit(name, room) {",
    "    const dots = 2 * advances.get('.');",
    "    let used = 0, kept = '';",
    "    for (const letter of name) {",
    "        used += advances.get(letter);",
    "        if (used > room) return kept.length > 2 ? kept + '..' : '';",
    "        if (used + dots <= room) kept += letter;",
    "    }",
    "    return name;",
    "}",

    "function place(f, left, span, pixels) {",
    "    const y = TOP + ROW * (icicle ? f.depth : rows - 1 - f.depth), room = span * pixels - 2 * PAD;",
    "    const label = room > 12 ? fit(f.name, room) : '';",
    "    const moved = left !== f.left || span !== f.span || y !== f.y;",
    "    if (label && !f.text) {",
    "        f.text = f.g.appendChild(document.createElementNS(root.namespaceURI, 'text'));",
    "        f.text.setAttribute('dx', PAD);",
    "    }",
    "    if (label !== f.label) f.text.textContent = label;",
    "    if (label && (moved || !f.label)) {",
    "        f.text.setAttribute('x', left.toFixed(6) + '%');",
    "        f.text.setAttribute('y', y + 13);",
    "    }",
    "    if (moved) {",
    "        f.rect.setAttribute('x', left.toFixed(6) + '%');",
    "        f.rect.setAttribute('width', span.toFixed(6) + '%');",
    "        f.rect.setAttribute('y', y);",
    "    }",
    "    Object.assign(f, { left, span, y, label });",
    "}",

    // Brings the frames in line with zoom, search, view and window width, writing only what has changed.
    "function draw() {",
    "    const target = frames[zoomed], scale = 100 / target.width, above = new Set();",
    "    const { left, width } = frames[0].rect.getBoundingClientRect();",
    "    for (let i = target.parent; i >= 0; i = frames[i].parent) above.add(i);",
    "    let matched = 0;",
    "    frames.forEach((f, i) => {",
    "        const up = above.has(i), inMatch = i > 0 && frames[f.parent].covered;",
    "        f.shown = up || (i >= zoomed && i < target.end);",
    "        f.covered = inMatch || f.hit;",
    "        if (f.shown && f.hit && !inMatch) matched += up ? 100 : f.width * scale;",
    "        if (up) place(f, 0, 100, width / 100);",
    "        else if (f.shown) place(f, (f.x - target.x) * scale, f.width * scale, width / 100);",
    "        const style = f.shown ? (up ? 'up' : '') + (f.hit ? ' hit' : '') : 'off';",
    "        if (style !== f.style) f.g.setAttribute('class', style);",
    "        f.style = style;",
    "    });",
    "    if (pattern) find('output').textContent = `Matched: ${Math.min(matched, 100).toFixed(1)}%`;",
    "    if (!frames[focused].shown) makeStop(zoomed);",
    "    find('[name=reset]').hidden = !zoomed;",
    "    find('[name=flip]').textContent = icicle ? 'Flame' : 'Icicle';",
    "    const tool = [...find('.tools').children].find(element => element.offsetWidth);",
    "    const room = tool ? tool.getBoundingClientRect().left - left - 12 : width;",
    "    find('.clip').setAttribute('width', Math.max(room, 0));",
    "    describe();",
    "}",

    // The two lines above the frames: the frame under the pointer, else the zoomed one, else everything.
    "function describe(number = zoomed || -1) {",
    "    const f = frames[number], inside = zoomed && number >= zoomed;",
    "    const share = inside ? `; ${f.span.toFixed(2)}% of the zoomed frame` : '';",
    "    const source = f && f.source ? `  \\u00b7  ${f.source}` : '';",
    "    find('.name').textContent = f ? f.name : whole;",
    "    find('.values').textContent = f ? f.values + share + source : hint;",
    "}",

    // A zoom is a step in the browser's history, so that Back zooms out; a letter of a search is not.
    "function save(step) {",
    "    const state = new URLSearchParams();",
    "    if (zoomed) state.set('zoom', zoomed);",
    "    if (box.value) state.set('search', box.value);",
    "    if (!matchCase) state.set('case', 'ignore');",
    "    if (icicle) state.set('view', 'icicle');",
    "    hash = '#' + state;",
    "    if (alone && step) location.hash = hash;",
    "    else if (alone) location.replace(hash);",
    "}",

    "function restore() {",
    "    hash = location.hash || '#';",
    "    const state = new URLSearchParams(alone ? hash.slice(1) : ''), number = Number(state.get('zoom'));",
    "    zoomed = frames[number] ? number : 0;",
    "    matchCase = state.get('case') !== 'ignore';",
    "    icicle = state.get('view') === 'icicle';",
    "    search(state.get('search') || '');",
    "}",

    "function search(text) {",
    "    let problem = '';",
    "    pattern = null;",
    "    try {",
    "        if (text) pattern = new RegExp(text, matchCase ? '' : 'i');",
    "    } catch (error) {",
    "        problem = error.message;",
    "    }",
    "    for (const f of frames) f.hit = pattern !== null && pattern.test(f.name);",
    "    if (box.value !== text) box.value = text;",
    "    box.title = problem;",
    "    box.setAttribute('aria-invalid', problem !== '');",
    "    find('output').textContent = problem && 'Not a valid pattern';",
    "    find('[name=case]').setAttribute('aria-pressed', matchCase);",
    "    root.classList.toggle('searching', pattern !== null);",
    "    draw();",
    "}",

    "function update(text = box.value) {",
    "    search(text);",
    "    save(false);",
    "}",

    "function zoom(number) {",
    "    if (number === zoomed || !frames[number]) return;",
    "    zoomed = number;",
    "    draw();",
    "    save(true);",
    "}",

    // Tab stops at one frame only; from there the arrow keys lead to the others.
    "function makeStop(number) {",
    "    frames[focused].g.setAttribute('tabindex', -1);",
    "    focused = number;",
    "    frames[focused].g.setAttribute('tabindex', 0);",
    "}",

    "function focus(number) {",
    "    if (!frames[number]) return;",
    "    frames[number].g.focus();",
    "    const hidden = TOP - frames[number].rect.getBoundingClientRect().top;",
    "    if (alone && hidden > 0) window.scrollBy(0, -hidden);",
    "}",

    "function walk(step, wanted) {",
    "    let i = focused + step;",
    "    while (frames[i] && !(frames[i].shown && wanted(frames[i]))) i += step;",
    "    focus(i);",
    "}",

    "function toChild() {",
    "    let widest = 0;",
    "    for (let i = focused + 1; i < frames[focused].end; i = frames[i].end)",
    "        if (!widest || frames[i].width > frames[widest].width) widest = i;",
    "    if (widest) focus(widest);",
    "}",

    "function toParent() { focus(frames[focused].parent); }",

    "function showRoot() { if (alone) window.scrollTo(0, icicle ? 0 : root.getAttribute('height')); }",

    "function paint(dark) {",
    "    root.dataset.theme = dark ? 'dark' : 'light';",
    "    find('[name=theme]').textContent = dark ? 'Light' : 'Dark';",
    "}",

    "const actions = {",
    "    reset() { zoom(0); },",
    "    case() { matchCase = !matchCase; update(); },",
    "    flip() { icicle = !icicle; update(); showRoot(); },",
    "    theme() { paint(root.dataset.theme === 'light'); },",
    "    find() { box.focus(); box.select(); },",
    "    out() { zoom(frames[zoomed].parent); },",
    "    leave() { if (zoomed) zoom(0); else update(''); },",
    "};",
    "const inRow = f => f.depth === frames[focused].depth, isHit = f => f.hit;",
    "const keys = {",
    "    ArrowUp() { if (icicle) toParent(); else toChild(); },",
    "    ArrowDown() { if (icicle) toChild(); else toParent(); },",
    "    ArrowLeft() { walk(-1, inRow); }, ArrowRight() { walk(1, inRow); },",
    "    n() { walk(1, isHit); }, N() { walk(-1, isHit); }, Home() { focus(zoomed); },",
    "    Enter() { zoom(focused); }, ' '() { zoom(focused); }, Backspace: actions.out, u: actions.out,",
    "    i: actions.flip, d: actions.theme, '/': actions.find, Escape: actions.leave,",
    "};",
    "const keysAnywhere = { F3: actions.find, 'ctrl+f': actions.find, 'ctrl+i': actions.case };",
    "const keysInBox = {",
    "    Escape() { box.blur(); update(''); }, Enter() { box.blur(); walk(1, isHit); },",
    "};",

    "(alone ? document : root).addEventListener('keydown', event => {",
    "    const typing = event.target === box, onButton = event.target.closest('button');",
    "    const key = (event.ctrlKey || event.metaKey ? 'ctrl+' : '') + event.key;",
    "    const action = keysAnywhere[key] || (typing ? keysInBox : keys)[key];",
        // Ctrl-F pressed again, inside the box, is for the browser's own search.
    "    if (!action || event.altKey || (typing && key === 'ctrl+f')) return;",
    "    if (onButton && (key === ' ' || key === 'Enter')) return;",
    "    event.preventDefault();",
    "    action();",
    "});",
    // Not mouseover and mouseleave: these come too when the arrow keys scroll frames along under the pointer.
    "root.addEventListener('mousemove', event => describe(numberOf.get(event.target.closest('g'))));",
    "area.addEventListener('click', event => zoom(numberOf.get(event.target.closest('g'))));",
    // Not on `area`: an SVG element that listens to this becomes a stop of the Tab key itself.
    "document.addEventListener('focusin', event => {",
    "    if (!numberOf.has(event.target)) return;",
    "    makeStop(numberOf.get(event.target));",
    "    describe(focused);",
    "});",
    "box.addEventListener('input', () => update());",
    "find('.tools').addEventListener('click', event => (actions[event.target.name] || (() => {}))());",
    "window.addEventListener('resize', draw);",
    "window.addEventListener('hashchange', () => { if ((location.hash || '#') !== hash) restore(); });",
    "window.addEventListener('scroll', () => {",
    "    if (alone) bar.setAttribute('transform', `translate(0 ${window.scrollY})`);",
    "});",

    "const dark = window.matchMedia('(prefers-color-scheme: dark)');",
    "dark.addEventListener('change', () => paint(dark.matches));",
    "paint(dark.matches);",
    "root.classList.add('live');",
    "root.setAttribute('role', 'group');",
    "root.setAttribute('width', '100%');",
    "root.removeAttribute('viewBox');",
    "collect();",
    "measure();",
    "restore();",
    "showRoot();",
    "})();"
};

#define PYPROF__SVG_PUT_LINES(s, lines) pyprof__svg_put_lines(s, lines, sizeof(lines) / sizeof((lines)[0]))

static void pyprof__svg_put_lines(pyprof__sink *s, const char *const *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pyprof__put(s, lines[i]);
        pyprof__put(s, "\n");
    }
}

static void pyprof__svg_put_attribute(pyprof__sink *s, const char *name, int64_t value)
{
    pyprof__put(s, " ");
    pyprof__put(s, name);
    pyprof__put(s, "=\"");
    pyprof__put_int(s, value);
    pyprof__put(s, "\"");
}

static void pyprof__svg_put_percent(pyprof__sink *s, const char *name, double value)
{
    pyprof__put(s, " ");
    pyprof__put(s, name);
    pyprof__put(s, "=\"");
    pyprof__put_fixed(s, value, 6);
    pyprof__put(s, "%\"");
}

static void pyprof__svg_put_count(pyprof__sink *s, int64_t value)
{
    char text[32];
    int at = (int)sizeof text - 1, digits = 0;
    uint64_t rest = value < 0 ? 0u - (uint64_t)value : (uint64_t)value;
    text[at] = '\0';
    do {
        if (digits > 0 && digits % 3 == 0) text[--at] = ',';
        text[--at] = (char)('0' + (int)(rest % 10u));
        rest /= 10u;
        digits++;
    } while (rest != 0);
    if (value < 0) text[--at] = '-';
    pyprof__put(s, text + at);
}

static void pyprof__svg_put_amount(pyprof__sink *s, const pyprof__view *v, int64_t value)
{
    const pyprof__svg_scale *scale = v->unit == 2 ? pyprof__svg_sizes : pyprof__svg_times;
    double number = (double)value;
    if (v->unit == 0) {
        pyprof__svg_put_count(s, value);
        pyprof__put(s, " ");
        pyprof__put_xml(s, v->metric_name);
        return;
    }
    while (scale->limit > 0.0 && number >= scale->limit) scale++;
    pyprof__put_fixed(s, number / scale->unit, scale->digits);
    pyprof__put(s, scale->suffix);
}

static uint32_t pyprof__svg_hash(const char *text)
{
    uint32_t hash = 2166136261u;   // FNV-1a, and mixed at the end: its low bits alone are poor
    for (; *text != '\0'; text++) hash = (hash ^ (uint32_t)(unsigned char)*text) * 16777619u;
    hash ^= hash >> 16;
    hash *= 0x85EBCA6Bu;
    return hash ^ (hash >> 13);
}

// Red (0), green (8) or blue (4) of an HSL colour, in whole numbers so that no machine rounds otherwise.
static unsigned pyprof__svg_channel(int which, int hue, int saturation, int lightness)
{
    int turn = (which * 30 + hue) % 360, swing = turn - 90 < 270 - turn ? turn - 90 : 270 - turn;
    int chroma = saturation * (lightness < 50 ? lightness : 100 - lightness);
    if (swing > 30) swing = 30;
    if (swing < -30) swing = -30;
    return (unsigned)((lightness * 3000 - chroma * swing) / 100 * 255 / 3000);
}

static void pyprof__svg_put_fill(pyprof__sink *s, int hue, int saturation, int lightness)
{
    static const int which[] = { 0, 8, 4 };
    static const char hex[] = "0123456789abcdef";
    char text[] = " fill=\"#000000\"";
    for (int i = 0; i < 3; i++) {
        unsigned channel = pyprof__svg_channel(which[i], hue, saturation, lightness);
        text[8 + 2 * i] = hex[channel >> 4 & 15u];
        text[9 + 2 * i] = hex[channel & 15u];
    }
    pyprof__put(s, text);
}

static int pyprof__svg_kind(const pyprof__view_node *n)   // its family
{
    if (n->kind == PYPROF_KIND_WAIT) return PYPROF__SVG_WAITING;
    if (n->kind == PYPROF_KIND_TASK || (n->kind == PYPROF_KIND_PSEUDO && strncmp(n->label, "<import ", 8) == 0)) return PYPROF__SVG_TASK;
    if (n->kind == PYPROF_KIND_PSEUDO && strcmp(n->label, "<GC>") == 0) return PYPROF__SVG_GC;
    return n->kind >= 0 && n->kind <= 4 ? n->kind : PYPROF__SVG_OTHER;
}

// What the hover text says of a frame that has no file
static const char *pyprof__svg_kind_text(const pyprof__view_node *n)
{
    static const char *const texts[] = { "", "C function", "zone", "", "thread", "what the frame below waits for", "garbage collection", "import" };
    return n->kind == PYPROF_KIND_TASK ? "asyncio task" : texts[pyprof__svg_kind(n)];
}

static void pyprof__svg_put_colour(pyprof__sink *s, const pyprof__view_node *n)
{
    const pyprof__svg_family *family = &pyprof__svg_families[pyprof__svg_kind(n)];
    uint32_t name = pyprof__svg_hash(n->label);
    uint32_t tint = n->kind == 0 && n->file[0] != '\0' ? pyprof__svg_hash(n->file) : name >> 8;
    int hue = family->hue + (int)(tint % (uint32_t)family->hues);
    pyprof__svg_put_fill(s, hue, family->saturation, family->lightness + (int)(name % 9u));
}

// Columns a character may take, from its first byte: two for the wide scripts, and more for control and bidi
// characters, which are written out. Only the picture without scripts relies on it.
static int pyprof__svg_columns(unsigned char byte)
{
    if ((byte & 0xC0u) == 0x80u) return 0;
    if (byte < 0x20u || byte == 0x7Fu || byte == 0xE2u) return 8;
    return byte >= 0xE3u ? 2 : 1;
}

static void pyprof__svg_shorten(char *out, const char *label, int room)
{
    size_t at = 0, kept = 0;
    int used = 0;
    for (; label[at] != '\0' && used <= room && at + 3 < PYPROF__SVG_LABEL_BYTES; at++) {
        used += pyprof__svg_columns((unsigned char)label[at]);
        if (used <= room - 2) kept = at + 1;
    }
    if (label[at] == '\0' && used <= room) kept = at;
    if (label[kept] != '\0' && kept < 3) kept = 0;
    memcpy(out, label, kept);
    memcpy(out + kept, "..", 3);
    if (kept == 0 || label[kept] == '\0') out[kept] = '\0';
}

// Goes over the frames wide enough to draw, parents before children.
typedef struct { const pyprof__view_node *nodes; double all, left; uint32_t at; } pyprof__svg_walk;

static pyprof__svg_walk pyprof__svg_begin(const pyprof__view *v)
{
    pyprof__svg_walk walk = { v->nodes, 1.0, 0.0, 0 };
    if (v->nodes[0].total > 0) walk.all = (double)v->nodes[0].total;
    return walk;
}

static double pyprof__svg_children_total(const pyprof__view_node *nodes, uint32_t at)
{
    double sum = 0.0;
    for (uint32_t child = nodes[at].first_child; child != 0; child = nodes[child].next_sibling)
        sum += (double)nodes[child].total;
    return sum;
}

static int pyprof__svg_next(pyprof__svg_walk *walk)
{
    const pyprof__view_node *nodes = walk->nodes;
    uint32_t above = walk->at, at = nodes[above].first_child;
    for (;;) {
        for (; at != 0; at = nodes[at].next_sibling) {
            double total = (double)nodes[at].total;
            if (total > 0.0 && total * (double)PYPROF__SVG_NARROWEST >= walk->all) {
                walk->at = at;
                return 1;
            }
            walk->left += total;
        }
        if (above == 0) return 0;
        // From the right edge of the last child to that of its parent, where the next sibling begins.
        walk->left += (double)nodes[above].total - pyprof__svg_children_total(nodes, above);
        at = nodes[above].next_sibling;
        above = nodes[above].parent;
    }
}

typedef struct { int64_t drawn, narrow, rows, height; unsigned kinds; } pyprof__svg_plan;

static pyprof__svg_plan pyprof__svg_measure(const pyprof__view *v)
{
    pyprof__svg_plan plan = { 0, 0, 0, PYPROF__SVG_TOP + PYPROF__SVG_FOOT, 0 };
    pyprof__svg_walk walk;
    if (v->count == 0) return plan;
    walk = pyprof__svg_begin(v);
    do {
        const pyprof__view_node *n = &v->nodes[walk.at];
        if ((int64_t)n->depth >= plan.rows) plan.rows = (int64_t)n->depth + 1;
        plan.kinds |= 1u << pyprof__svg_kind(n);
        plan.drawn++;
    } while (pyprof__svg_next(&walk));
    for (size_t i = 1; i < v->count; i++) plan.narrow += v->nodes[i].total > 0;
    plan.narrow -= plan.drawn - 1;
    plan.height += plan.rows * PYPROF__SVG_ROW;
    return plan;
}

// How the time of a frame splits; nothing where all of it is Python's. With waiting left out only running time does.
static void pyprof__svg_put_split(pyprof__sink *s, const pyprof__view *v, const pyprof__view_node *n)
{
    int64_t native = n->parts[0], wait = v->waiting ? n->parts[1] : 0, gil = v->waiting ? n->parts[2] : 0, python = n->total - native - wait;
    const struct { const char *text; int64_t value; } rows[] = {
        { "% Python", python > 0 ? python : 0 }, { "% native", native }, { "% waiting", wait }, { "% for the GIL", gil },
    };
    size_t i, written = 0;
    if (!v->splits || (native == 0 && wait == 0)) return;
    for (i = 0; i < PYPROF__COUNT(rows); i++) {
        if (rows[i].value == 0) continue;
        pyprof__put(s, written++ ? ", " : "; ");
        pyprof__put_fixed(s, 100.0 * (double)rows[i].value / (double)n->total, 1);
        pyprof__put(s, rows[i].text);
    }
}

static void pyprof__svg_put_title(pyprof__sink *s, const pyprof__view *v, uint32_t at, double all)
{
    const pyprof__view_node *n = &v->nodes[at];
    pyprof__put(s, "<g><title>");
    pyprof__put_xml(s, n->label);
    pyprof__put(s, "\n");
    pyprof__svg_put_amount(s, v, n->total);
    pyprof__put(s, ", ");
    pyprof__put_fixed(s, 100.0 * (double)n->total / all, 2);
    pyprof__put(s, "% of all; self ");
    pyprof__svg_put_amount(s, v, n->self);
    pyprof__put(s, ", ");
    pyprof__put_fixed(s, 100.0 * (double)n->self / all, 2);
    pyprof__put(s, "%");
    pyprof__svg_put_split(s, v, n);
    if (n->file[0] == '\0' && *pyprof__svg_kind_text(n)) {
        pyprof__put(s, "\n");
        pyprof__put(s, pyprof__svg_kind_text(n));
    } else if (n->file[0] != '\0') {
        pyprof__put(s, "\n");
        pyprof__put_xml(s, n->file);
        if (n->line > 0) pyprof__put(s, ":");
        if (n->line > 0) pyprof__put_int(s, n->line);
    }
    pyprof__put(s, "</title>");
}

static void pyprof__svg_put_label(pyprof__sink *s, const char *label, double left, double width, int64_t y)
{
    char text[PYPROF__SVG_LABEL_BYTES];
    // The frames have 98 percent of the picture, less 4 pixels on each side; a column is 7.3 pixels at most.
    int room = (int)((width / 100.0 * 0.98 * (double)PYPROF__SVG_WIDTH - 8.0) / 7.3);
    pyprof__svg_shorten(text, label, room);
    if (text[0] == '\0') return;
    pyprof__put(s, "<text");
    pyprof__svg_put_percent(s, "x", left);
    pyprof__svg_put_attribute(s, "y", y + 13);
    pyprof__put(s, " dx=\"4\">");
    pyprof__put_xml(s, text);
    pyprof__put(s, "</text>");
}

static void pyprof__svg_put_frame(pyprof__sink *s, const pyprof__view *v, int64_t rows,
                                  const pyprof__svg_walk *walk)
{
    const pyprof__view_node *n = &v->nodes[walk->at];
    double left = 100.0 * walk->left / walk->all, width = 100.0 * (double)n->total / walk->all;
    int64_t y = PYPROF__SVG_TOP + (rows - 1 - (int64_t)n->depth) * PYPROF__SVG_ROW;
    if (walk->at == 0) width = 100.0;   // even if nothing was recorded
    pyprof__svg_put_title(s, v, walk->at, walk->all);
    pyprof__put(s, "<rect");
    pyprof__svg_put_percent(s, "x", left);
    pyprof__svg_put_attribute(s, "y", y);
    pyprof__svg_put_percent(s, "width", width);
    pyprof__svg_put_attribute(s, "height", PYPROF__SVG_ROW);
    pyprof__svg_put_colour(s, n);
    pyprof__put(s, "/>");
    pyprof__svg_put_label(s, n->label, left, width, y);
    pyprof__put(s, "</g>\n");
}

static void pyprof__svg_put_frames(pyprof__sink *s, const pyprof__view *v, int64_t rows)
{
    // In an element of their own: Chromium takes seconds over 20,000 children of the outermost one.
    pyprof__put(s, "<svg class=\"frames\" x=\"1%\" width=\"98%\" role=\"tree\" aria-label=\"Flame graph\"");
    pyprof__svg_put_attribute(s, "data-top", PYPROF__SVG_TOP);
    pyprof__svg_put_attribute(s, "data-row", PYPROF__SVG_ROW);
    pyprof__put(s, ">\n");
    if (v->count > 0) {
        pyprof__svg_walk walk = pyprof__svg_begin(v);
        do pyprof__svg_put_frame(s, v, rows, &walk);
        while (pyprof__svg_next(&walk));
    }
    pyprof__put(s, "</svg>\n");
}

static void pyprof__svg_put_text(pyprof__sink *s, const char *name, int64_t y, const char *text)
{
    pyprof__put(s, "<text class=\"");
    pyprof__put(s, name);
    pyprof__put(s, "\" x=\"1%\"");
    pyprof__svg_put_attribute(s, "y", y);
    pyprof__put(s, ">");
    pyprof__put_xml(s, text);
    pyprof__put(s, "</text>\n");
}

// Stands after the frames, on top of them: the script keeps it in sight while a tall graph is scrolled.
static void pyprof__svg_put_bar(pyprof__sink *s, const pyprof__view *v, const char *title, const char *note)
{
    int empty = v->count == 0 || v->nodes[0].total <= 0;
    pyprof__put(s, "<g class=\"bar\">\n<rect class=\"page\" width=\"100%\" fill=\"#fcfbf9\"");
    pyprof__svg_put_attribute(s, "height", PYPROF__SVG_TOP);
    pyprof__put(s, "/>\n<svg class=\"clip\" x=\"1%\" width=\"98%\" height=\"36\">");
    pyprof__put(s, "<text class=\"heading\" y=\"27\">");
    pyprof__put_xml(s, title);
    pyprof__put(s, "</text></svg>\n");
    pyprof__svg_put_text(s, "note", 47, note);
    pyprof__put(s, "<text class=\"name\" x=\"1%\" y=\"77\">");
    if (empty) pyprof__put(s, "Nothing was recorded");
    if (!empty) pyprof__svg_put_amount(s, v, v->nodes[0].total);
    if (!empty && v->unit != 0) {
        pyprof__put(s, " ");
        pyprof__put_xml(s, v->metric_name);
    }
    pyprof__put(s, empty ? "</text>\n" : " in all</text>\n");
    pyprof__svg_put_text(s, "values", 94, "");
    PYPROF__SVG_PUT_LINES(s, pyprof__svg_tools);
    pyprof__put(s, "</g>\n");
}

static void pyprof__svg_put_legend(pyprof__sink *s, unsigned kinds, int64_t y)
{
    int64_t x = 0;
    pyprof__put(s, "<svg class=\"legend\" x=\"1%\" width=\"98%\">\n");
    for (int kind = 0; kind < (int)PYPROF__COUNT(pyprof__svg_families); kind++) {
        const pyprof__svg_family *family = &pyprof__svg_families[kind];
        if ((kinds >> kind & 1u) == 0) continue;
        pyprof__put(s, "<rect width=\"12\" height=\"12\"");
        pyprof__svg_put_attribute(s, "x", x);
        pyprof__svg_put_attribute(s, "y", y - 10);
        pyprof__svg_put_fill(s, family->hue + family->hues / 2, family->saturation, family->lightness + 4);
        pyprof__put(s, "/><text");
        pyprof__svg_put_attribute(s, "x", x + 18);
        pyprof__svg_put_attribute(s, "y", y);
        pyprof__put(s, ">");
        pyprof__put(s, family->name);
        pyprof__put(s, "</text>\n");
        x += 46 + 6 * (int64_t)strlen(family->name);
    }
    pyprof__put(s, "</svg>\n");
}

static void pyprof__svg_put_foot(pyprof__sink *s, const pyprof__svg_plan *plan)
{
    pyprof__svg_put_legend(s, plan->kinds, plan->height - 31);
    pyprof__put(s, "<text class=\"note\" x=\"1%\"");
    pyprof__svg_put_attribute(s, "y", plan->height - 12);
    pyprof__put(s, ">");
    pyprof__svg_put_count(s, plan->drawn);
    pyprof__put(s, plan->drawn == 1 ? " frame" : " frames");
    if (plan->narrow > 0) {
        pyprof__put(s, " (");
        pyprof__svg_put_count(s, plan->narrow);
        pyprof__put(s, plan->narrow == 1 ? " frame too narrow to draw)" : " frames too narrow to draw)");
    }
    pyprof__put(s, "</text>\n");
}

static void pyprof__svg_put_head(pyprof__sink *s, const char *title, int64_t height)
{
    pyprof__put(s, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg version=\"1.1\" class=\"pyprof\"");
    pyprof__svg_put_attribute(s, "width", PYPROF__SVG_WIDTH);
    pyprof__svg_put_attribute(s, "height", height);
    pyprof__put(s, " viewBox=\"0 0 ");
    pyprof__put_int(s, PYPROF__SVG_WIDTH);
    pyprof__put(s, " ");
    pyprof__put_int(s, height);
    pyprof__put(s, "\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">\n<title>");
    pyprof__put_xml(s, title);
    pyprof__put(s, "</title>\n<style><![CDATA[\n");
    PYPROF__SVG_PUT_LINES(s, pyprof__svg_style);
    pyprof__put(s, "]]></style>\n<rect class=\"page\" width=\"100%\" height=\"100%\" fill=\"#fcfbf9\"/>\n");
}

static void pyprof__svg_write(pyprof__sink *s, const pyprof__view *v, const char *title, const char *note)
{
    pyprof__svg_plan plan = pyprof__svg_measure(v);
    pyprof__svg_put_head(s, title, plan.height);
    pyprof__svg_put_frames(s, v, plan.rows);
    pyprof__svg_put_foot(s, &plan);
    pyprof__svg_put_bar(s, v, title, note);
    if (plan.drawn > 0) {
        pyprof__put(s, "<script><![CDATA[\n");
        PYPROF__SVG_PUT_LINES(s, pyprof__svg_script);
        pyprof__put(s, "]]></script>\n");
    }
    pyprof__put(s, "</svg>\n");
}

// What part of the recording is unusable, in percent, and one line on how good it is
static double pyprof__lost_percent(const pyprof_stats *stats)
{
    return stats->asked ? 100.0 * (double)(stats->missed + stats->rejected) / (double)stats->asked : 0.0;
}

// How the recording was made, for the line below the heading
static void pyprof__svg_note_time(const pyprof__job *job, char *note, size_t capacity)
{
    const pyprof__model *model = &job->profile->model;
    char seconds[32], rate[32], lost[32], idle[32];
    int64_t left_out = 0;
    size_t i;
    if (!job->output->filter && (job->metric == PYPROF_WALL_NS || job->metric == PYPROF_SAMPLES))
        for (i = 0; i < model->columns[PYPROF_WAIT_NS].count; i++) left_out += PYPROF__AT(int64_t, model->columns[PYPROF_WAIT_NS], i);
    pyprof__format_fixed(seconds, sizeof seconds, (double)model->recorded_ns / 1e9, 1);
    pyprof__format_fixed(rate, sizeof rate, model->rate_hz, 0);
    pyprof__format_fixed(lost, sizeof lost, pyprof__lost_percent(&model->stats), 2);
    pyprof__format_fixed(idle, sizeof idle, (double)left_out / 1e9, 1);
    snprintf(note, capacity, "%s s at %s Hz, %llu samples, %s%% lost%s%s%s", seconds, rate, (unsigned long long)model->stats.samples, lost,
             left_out == 0 ? "" : "; ", left_out == 0 ? "" : idle, left_out == 0 ? "" : " thread-seconds of waiting left out");
}

static void pyprof__svg_note_memory(const pyprof__job *job, char *note, size_t capacity)
{
    const pyprof__model *model = &job->profile->model;
    char seconds[32], interval[32], dropped[96] = "";
    int sampled = model->heap.mode == PYPROF_HEAP_SAMPLED;
    pyprof__format_fixed(seconds, sizeof seconds, (double)model->recorded_ns / 1e9, 1);
    pyprof__format_fixed(interval, sizeof interval, (double)model->heap.interval / 1024, 0);
    if (model->stats.heap_dropped)
        snprintf(dropped, sizeof dropped, "; a lower bound: there was no room for %llu more", (unsigned long long)model->stats.heap_dropped);
    snprintf(note, capacity, "%s; %s s recorded, %s%s%s%s", pyprof__metric_names[job->metric].name, seconds,
             sampled ? "estimated from a sample every " : "every block noted", sampled ? interval : "", sampled ? " KiB" : "", dropped);
}

static pyprof_result pyprof__write_svg(pyprof__job *job)
{
    const char *program = pyprof__text(job->profile, job->profile->program), *python = pyprof__text(job->profile, job->profile->python);
    const char *metric = job->metric == PYPROF_WALL_NS ? "" : pyprof__metric_names[job->metric].name;   // time is what people expect
    pyprof__view_maker maker;
    char title[256], note[256];
    pyprof_result result = PYPROF_OK;
    if (job->output->title) snprintf(title, sizeof title, "%.250s", job->output->title);
    else snprintf(title, sizeof title, "%.100s%s%s (CPython %.40s)", program, *metric ? ": " : "", metric, python);
    if (pyprof__is_memory(job->metric)) pyprof__svg_note_memory(job, note, sizeof note);
    else pyprof__svg_note_time(job, note, sizeof note);
    if (pyprof__view_make(&maker, job->selection, job->metric, job->output->split_threads, job->output->lines))
        pyprof__svg_write(job->sink, &maker.view, title, note);
    else result = pyprof__fail_memory("the flame graph");
    pyprof__view_free(&maker);
    return result;
}

// ---- text: one page a person reads ------------------------------------------------------------------
static void pyprof__put_padded(pyprof__sink *s, const char *text, size_t width)   // right-aligned
{
    size_t size = strlen(text);
    for (; size < width; size++) pyprof__put(s, " ");
    pyprof__put(s, text);
}

static void pyprof__put_column(pyprof__sink *s, double value, int digits, const char *unit, size_t width)
{
    char text[64];
    size_t size = pyprof__format_fixed(text, sizeof text, value, digits);
    snprintf(text + size, sizeof text - size, "%s", unit);
    pyprof__put_padded(s, text, width);
}

// "12.3 MiB"
static const char *pyprof__size_text(char *text, size_t capacity, double bytes)
{
    static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB" };
    size_t unit = 0, size;
    for (; unit < PYPROF__COUNT(units) - 1 && (bytes >= 1024 || bytes <= -1024); unit++) bytes /= 1024;
    size = pyprof__format_fixed(text, capacity, bytes, unit > 2 ? 2 : unit > 0);
    snprintf(text + size, capacity - size, "%s", units[unit]);
    return text;
}

static const char *pyprof__count_text(char *text, size_t capacity, int64_t count)   // "1,234,567"
{
    size_t size, i;
    snprintf(text, capacity, "%lld", (long long)count);
    for (i = 3; (size = strlen(text)) > i + (count < 0) && size + 1 < capacity; i += 4) {
        memmove(text + size - i + 1, text + size - i, i + 1);
        text[size - i] = ',';
    }
    return text;
}

static void pyprof__put_size(pyprof__sink *s, double bytes, size_t width)   // width 0: as wide as it is
{
    char text[64];
    pyprof__put_padded(s, pyprof__size_text(text, sizeof text, bytes), width);
}

static void pyprof__put_count(pyprof__sink *s, int64_t count, size_t width)
{
    char text[40];
    pyprof__put_padded(s, pyprof__count_text(text, sizeof text, count), width);
}

static void pyprof__put_date(pyprof__sink *s, double unix_seconds)
{
    time_t seconds = (time_t)unix_seconds;
    struct tm date;
    if (gmtime_r(&seconds, &date))
        pyprof__put_format(s, "%04d-%02d-%02d %02d:%02d:%02d UTC", date.tm_year + 1900, date.tm_mon + 1, date.tm_mday, date.tm_hour, date.tm_min,
                           date.tm_sec);
}

static void pyprof__text_head(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    pyprof__sink *s = job->sink;
    pyprof__put_visible(s, pyprof__text(job->profile, job->profile->program));
    pyprof__put_format(s, ", pid %lld, CPython ", (long long)job->profile->pid);
    pyprof__put_visible(s, pyprof__text(job->profile, job->profile->python));
    pyprof__put(s, job->profile->free_threaded ? " free-threaded\n" : "\n");
    pyprof__put_fixed(s, (double)model->recorded_ns / 1e9, 2);
    pyprof__put(s, " s recorded at ");
    pyprof__put_fixed(s, model->rate_hz, 0);
    pyprof__put(s, " Hz, from ");
    pyprof__put_date(s, pyprof__unix(model, model->start_ns));
    pyprof__put_format(s, "; %llu threads, %u interpreters\n\n", (unsigned long long)model->stats.threads, job->profile->interpreters);
}

static void pyprof__text_degraded(const pyprof__job *job)
{
    if (!job->profile->model.stats.degraded[0]) return;
    pyprof__put(job->sink, "Degraded: ");
    pyprof__put_visible(job->sink, job->profile->model.stats.degraded);
    pyprof__put(job->sink, "\n");
}

static void pyprof__text_quality(const pyprof__job *job)
{
    const pyprof_stats *stats = &job->profile->model.stats;
    double elapsed = (double)job->profile->model.recorded_ns;
    pyprof__sink *s = job->sink;
    size_t i;
    pyprof__put_format(s, "How good it is: %llu of %llu samples asked for; ", (unsigned long long)stats->samples, (unsigned long long)stats->asked);
    pyprof__put_fixed(s, pyprof__lost_percent(stats), 2);
    pyprof__put_format(s, " %% lost (%llu missed, %llu rejected", (unsigned long long)stats->missed, (unsigned long long)stats->rejected);
    for (i = 0; i < PYPROF_CAUSE_COUNT; i++)
        if (stats->rejected_by_cause[i]) pyprof__put_format(s, ": %s %llu", pyprof__cause_names[i], (unsigned long long)stats->rejected_by_cause[i]);
    pyprof__put_format(s, ")\n    %llu read while the thread ran, %llu read again, %llu cut at the depth limit, "
                       "%llu moments of the time line dropped\n",
                       (unsigned long long)stats->unfrozen, (unsigned long long)stats->retried, (unsigned long long)stats->truncated,
                           (unsigned long long)stats->timeline_dropped);
    if (stats->recovered)
        pyprof__put_format(s, "    %llu looked at late, of threads that had not run since: as exact as the others\n",
                           (unsigned long long)stats->recovered);
    pyprof__put(s, "    woken ");
    pyprof__put_fixed(s, (double)stats->late_mean_ns / 1e6, 3);
    pyprof__put(s, " ms late on average, ");
    pyprof__put_fixed(s, (double)stats->late_max_ns / 1e6, 3);
    pyprof__put(s, " ms at most; not seen (suspended): ");
    pyprof__put_fixed(s, (double)stats->gap_ns / 1e9, 2);
    pyprof__put(s, " s\nWhat it cost: ");
    pyprof__put_fixed(s, elapsed > 0 ? 100.0 * (double)stats->own_cpu_ns / elapsed : 0, 2);
    pyprof__put(s, " % of one CPU, ");
    pyprof__put_fixed(s, (double)stats->own_bytes / 1048576.0, 1);
    pyprof__put(s, " MiB\n");
    pyprof__text_degraded(job);
}

static double pyprof__percent(int64_t part, int64_t all) { return all ? 100.0 * (double)part / (double)all : 0; }

static void pyprof__text_moment(const pyprof__job *job, uint64_t ns)
{
    const pyprof__model *model = &job->profile->model;
    if (ns >= model->start_ns) {
        pyprof__put_fixed(job->sink, (double)(ns - model->start_ns) / 1e9, 2);
        pyprof__put(job->sink, " s after the start");
    } else pyprof__put_date(job->sink, pyprof__unix(model, ns));
}

static void pyprof__put_time(pyprof__sink *s, int64_t ns, size_t width)   // 0 stays out of the way
{
    if (ns) pyprof__put_column(s, (double)ns / 1e9, 2, " s", width);
    else pyprof__put_padded(s, "-", width);
}

static void pyprof__put_thread(const pyprof__job *job, uint32_t id)
{
    const pyprof__member *member = &PYPROF__AT(const pyprof__member, job->profile->model.members, id);
    pyprof__put_visible(job->sink, pyprof__text(job->profile, member->name));
    pyprof__put_format(job->sink, " (%lld", (long long)member->native);
    if (member->interp_id) pyprof__put_format(job->sink, ", interpreter %lld", (long long)member->interp_id);
    pyprof__put(job->sink, ")");
}

static void pyprof__text_threads(const pyprof__job *job)
{
    static const int parts[] = { PYPROF_NATIVE_NS, PYPROF_NOGIL_NS, PYPROF_WAIT_NS, PYPROF_GIL_WAIT_NS, PYPROF_CPU_WAIT_NS, PYPROF_IDLE_NS };
    const pyprof__model *model = &job->profile->model;
    pyprof__sink *s = job->sink;
    uint32_t i, k, shown = 0;
    pyprof__put(s, "\nThreads: running, of that in C functions, and without the GIL; waiting, of that for the GIL, for a CPU, and idle\n"
                "       wall        CPU    running     native     no GIL    waiting    for GIL    for CPU       idle   thread\n");
    for (i = 0; i < model->members.count && shown < 40; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, i);
        int64_t wall = pyprof__total(job->selection, PYPROF_WALL_NS, member->node);
        if (!member->wanted || pyprof__total(job->selection, PYPROF_SAMPLES, member->node) == 0) continue;
        shown++;
        pyprof__put_time(s, wall, 11);
        pyprof__put_time(s, pyprof__total(job->selection, PYPROF_CPU_NS, member->node), 11);
        pyprof__put_time(s, wall - pyprof__total(job->selection, PYPROF_WAIT_NS, member->node), 11);
        for (k = 0; k < PYPROF__COUNT(parts); k++) pyprof__put_time(s, pyprof__total(job->selection, parts[k], member->node), 11);
        pyprof__put(s, "   ");
        pyprof__put_thread(job, i);
        pyprof__put(s, "\n");
    }
    if (shown == 40) pyprof__put_format(s, "    ... %llu threads in all\n", (unsigned long long)model->stats.threads);
}

static void pyprof__text_where(pyprof__sink *s, const pyprof_row *row)   // the end of a line
{
    pyprof__put(s, "   ");
    pyprof__put_visible(s, row->qualname);
    if (row->file[0] && row->file != row->name) {
        pyprof__put(s, "  ");
        pyprof__put_visible(s, row->file);
        if (row->line) pyprof__put_format(s, ":%ld", (long)row->line);
    }
    pyprof__put(s, "\n");
}

static void pyprof__text_row(pyprof__sink *s, const pyprof_row *row, double all)
{
    double self = (double)(row->self[PYPROF_WALL_NS] - row->self[PYPROF_WAIT_NS]),
        total = (double)(row->total[PYPROF_WALL_NS] - row->total[PYPROF_WAIT_NS]);
    pyprof__put_column(s, self / 1e9, 2, " s", 10);
    pyprof__put_column(s, all > 0 ? 100.0 * self / all : 0, 1, " %", 9);
    pyprof__put_column(s, total / 1e9, 2, " s", 11);
    pyprof__put_column(s, all > 0 ? 100.0 * total / all : 0, 1, " %", 9);
    pyprof__put_column(s, (double)row->total[PYPROF_WAIT_NS] / 1e9, 2, " s", 11);
    pyprof__text_where(s, row);
}

static pyprof_result pyprof__text_table(const pyprof__job *job, const char *heading, int group, int by_total, size_t most)
{
    pyprof__table table;
    pyprof__ranked *ranked = NULL;
    double all = (double)(job->selection->all[PYPROF_WALL_NS] - job->selection->all[PYPROF_WAIT_NS]);
    size_t i, count = 0;
    int whole = pyprof__table_make(&table, job->selection, job->output->filter, group);
    if (whole) ranked = pyprof__rank(&table, 0, by_total);
    if (ranked) count = table.rows.count;
    pyprof__put(job->sink, "\n");
    pyprof__put(job->sink, heading);
    pyprof__put(job->sink, "\n      self        %      total        %    waiting   where\n");
    for (i = 0; i < count && i < most && (ranked[i].value > 0 || i < 3); i++) pyprof__text_row(job->sink, ranked[i].row, all);
    if (count > i) pyprof__put_format(job->sink, "    ... %llu more\n", (unsigned long long)(count - i));
    whole = whole && (ranked || table.rows.count == 0);
    pyprof__free(&table.pool, ranked, table.rows.count * sizeof *ranked);
    pyprof__table_free(&table);
    return whole ? PYPROF_OK : pyprof__fail_memory("a table");
}

static void pyprof__text_stack(pyprof__sink *s, const pyprof__view *view, uint32_t node)
{
    double all = (double)view->nodes[0].total, value = (double)view->nodes[node].self;
    int lines = 0;
    if (view->unit == 2) pyprof__put_size(s, value, 10);
    else if (view->unit == 0) pyprof__put_count(s, view->nodes[node].self, 10);
    else pyprof__put_column(s, value / 1e9, 2, " s", 10);
    pyprof__put_column(s, all > 0 ? 100.0 * value / all : 0, 1, " %", 9);
    pyprof__put(s, "   ");
    for (; node; node = view->nodes[node].parent, lines++) {
        if (lines == 24) { pyprof__put(s, "\n                      ..."); break; }
        if (lines)
            pyprof__put(s, view->nodes[node].kind == PYPROF_KIND_THREAD ? "\n                      in thread " : "\n                      from ");
        pyprof__put_visible(s, view->nodes[node].label);
    }
    pyprof__put(s, "\n");
}

static pyprof_result pyprof__text_stacks(const pyprof__job *job, int metric, const char *heading)
{
    pyprof__selection running;
    pyprof__view_maker maker;
    uint32_t best[5], node;
    size_t count = 0, i, at;
    int whole = pyprof__select(&running, job->profile, job->output->filter, 1);
    memset(&maker, 0, sizeof maker);
    if (whole) whole = pyprof__view_make(&maker, &running, metric, 1, 1);
    for (node = 1; whole && node < maker.view.count; node++) {   // insertion into a short sorted list
        int64_t value = maker.view.nodes[node].self;
        for (at = count; at > 0 && value > maker.view.nodes[best[at - 1]].self; at--) {}
        if (value <= 0 || at == PYPROF__COUNT(best)) continue;
        if (count < PYPROF__COUNT(best)) count++;
        for (i = count - 1; i > at; i--) best[i] = best[i - 1];
        best[at] = node;
    }
    pyprof__put(job->sink, heading);
    for (i = 0; i < count; i++) pyprof__text_stack(job->sink, &maker.view, best[i]);
    if (maker.pool.allocator.free) pyprof__view_free(&maker);
    pyprof__selection_free(&running);
    return whole ? PYPROF_OK : pyprof__fail_memory("the hottest stacks");
}

// ---- text: what was waited for, C functions, the GIL -----------------------------------------------------------------
// A call site: the line of Python, or what stands for it, and the leaf below it
enum { PYPROF__LEAF_ANY = 0x7ffffffd, PYPROF__LEAF_CPU, PYPROF__LEAF_UNKNOWN };   // all together; a CPU; nobody knows
typedef struct { uint32_t leaf, function, line; } pyprof__callsite_key;            // leaf: its function, or one of these
typedef struct { pyprof__callsite_key key; int64_t value, extra; } pyprof__callsite;       // of two metrics
typedef struct { size_t first, count; uint32_t leaf; int64_t value, extra; } pyprof__leaf;   // its sites stand together
typedef struct { pyprof__pool pool; pyprof__array keys, sites, leaves; pyprof__index index; int64_t value; } pyprof__callsites;

static void pyprof__callsites_free(pyprof__callsites *sites)
{
    pyprof__array_free(&sites->pool, &sites->keys);
    pyprof__array_free(&sites->pool, &sites->sites);
    pyprof__array_free(&sites->pool, &sites->leaves);
    pyprof__index_free(&sites->pool, &sites->index);
}

static int pyprof__same_callsite(const void *context, uint32_t item, const void *key)
{
    return memcmp(&PYPROF__AT(pyprof__callsite_key, *(const pyprof__array *)context, item), key, sizeof(pyprof__callsite_key)) == 0;
}

static int pyprof__by_callsite(const void *a, const void *b)
{
    const pyprof__callsite *x = (const pyprof__callsite *)a, *y = (const pyprof__callsite *)b;
    if (x->key.leaf != y->key.leaf) return x->key.leaf < y->key.leaf ? -1 : 1;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    if (x->key.function != y->key.function) return x->key.function < y->key.function ? -1 : 1;
    return x->key.line < y->key.line ? -1 : x->key.line > y->key.line;
}

static int pyprof__by_leaf_value(const void *a, const void *b)
{
    const pyprof__leaf *x = (const pyprof__leaf *)a, *y = (const pyprof__leaf *)b;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    return x->leaf < y->leaf ? -1 : x->leaf > y->leaf;
}

// leaf: that of a node that is none itself
static int pyprof__callsites_add(pyprof__callsites *sites, const pyprof_profile *profile, uint32_t node, uint32_t leaf, int64_t value, int64_t extra)
{
    const pyprof__location *at = pyprof__location_of(profile, pyprof__row_node(profile, node));
    pyprof__callsite_key key = { leaf, at->function, (uint32_t)at->place.line };
    pyprof__callsite *site;
    uint32_t id;
    if (value <= 0) return 1;
    if (leaf != PYPROF__LEAF_ANY && pyprof__is_leaf(pyprof__function_of(profile, node)->kind))
        key.leaf = pyprof__location_of(profile, node)->function;
    id = pyprof__unique(&sites->pool, &sites->keys, &sites->index, pyprof__same_callsite, &key);
    if (id == PYPROF__NONE || (id == sites->sites.count && !pyprof__push(&sites->pool, &sites->sites))) return 0;
    site = &PYPROF__AT(pyprof__callsite, sites->sites, id);
    site->key = key;
    site->value += value;
    site->extra += extra;
    sites->value += value;
    return 1;
}

static int pyprof__callsites_leaves(pyprof__callsites *sites)   // 0 = no memory
{
    pyprof__leaf *leaf = NULL;
    size_t i;
    if (sites->sites.count) qsort(sites->sites.data, sites->sites.count, sizeof(pyprof__callsite), pyprof__by_callsite);
    for (i = 0; i < sites->sites.count; i++) {
        const pyprof__callsite *site = &PYPROF__AT(const pyprof__callsite, sites->sites, i);
        if (!leaf || leaf->leaf != site->key.leaf) {
            leaf = (pyprof__leaf *)pyprof__push(&sites->pool, &sites->leaves);
            if (!leaf) return 0;
            leaf->leaf = site->key.leaf;
            leaf->first = i;
        }
        leaf->count++;
        leaf->value += site->value;
        leaf->extra += site->extra;
    }
    if (sites->leaves.count) qsort(sites->leaves.data, sites->leaves.count, sizeof(pyprof__leaf), pyprof__by_leaf_value);
    return 1;
}

// Where `metric` less `minus` was spent; by_leaf: and in or for what. 0 = no memory; free it all the same.
static int pyprof__callsites_make(pyprof__callsites *sites, const pyprof__job *job, int metric, int minus, int extra, int by_leaf)
{
    uint32_t node;
    memset(sites, 0, sizeof *sites);
    pyprof__pool_init(&sites->pool, &job->profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&sites->keys, sizeof(pyprof__callsite_key));
    pyprof__array_init(&sites->sites, sizeof(pyprof__callsite));
    pyprof__array_init(&sites->leaves, sizeof(pyprof__leaf));
    for (node = 1; node < job->selection->count; node++) {
        int64_t value = pyprof__self(job->selection, metric, node) - pyprof__self(job->selection, minus, node);
        int64_t cpu = metric == PYPROF_WAIT_NS ? pyprof__self(job->selection, PYPROF_CPU_WAIT_NS, node) : 0;
        if (value <= 0) continue;
        if (!pyprof__callsites_add(sites, job->profile, node, by_leaf ? PYPROF__LEAF_UNKNOWN : PYPROF__LEAF_ANY, value - cpu,
                                   pyprof__self(job->selection, extra, node))) return 0;
        if (!pyprof__callsites_add(sites, job->profile, node, PYPROF__LEAF_CPU, cpu, 0)) return 0;
    }
    return pyprof__callsites_leaves(sites);
}

static const char *pyprof__leaf_name(const pyprof_profile *profile, uint32_t leaf)
{
    return leaf == PYPROF__LEAF_CPU ? "(a CPU)" : leaf == PYPROF__LEAF_UNKNOWN ? "(not known)" : pyprof__label(profile, leaf);
}

static void pyprof__put_callsite(const pyprof__job *job, const pyprof__callsite *site)
{
    const pyprof__function *function = &PYPROF__AT(const pyprof__function, job->profile->model.functions, site->key.function);
    const char *file = pyprof__text(job->profile, function->file);
    pyprof__put(job->sink, "   ");
    pyprof__put_visible(job->sink, site->key.function == site->key.leaf ? "(no Python frame)" : pyprof__text(job->profile, function->qualname));
    if (*file) pyprof__put(job->sink, "  ");
    pyprof__put_visible(job->sink, file);
    if (*file && site->key.line) pyprof__put_format(job->sink, ":%u", (unsigned)site->key.line);
}

// A leaf and where it was called: on one line if that was one place, else the most important ones below it
static void pyprof__text_leaf(const pyprof__job *job, const pyprof__callsites *sites, const pyprof__leaf *leaf)
{
    const pyprof__callsite *site = &PYPROF__AT(const pyprof__callsite, sites->sites, leaf->first);
    size_t i;
    pyprof__put(job->sink, "   ");
    pyprof__put_visible(job->sink, pyprof__leaf_name(job->profile, leaf->leaf));
    for (i = 0; i < leaf->count && i < 3 && (i == 0 || site[i].value * 10 >= leaf->value); i++) {
        if (leaf->count > 1) {
            pyprof__put(job->sink, "\n");
            pyprof__put_time(job->sink, site[i].value, 33);
        }
        pyprof__put_callsite(job, &site[i]);
    }
    pyprof__put(job->sink, "\n");
}

static void pyprof__text_idle(const pyprof__job *job, const pyprof__callsites *sites)   // in short: it is seldom what one looks for
{
    size_t i;
    for (i = 0; i < sites->leaves.count && i < 5; i++) {
        const pyprof__leaf *leaf = &PYPROF__AT(const pyprof__leaf, sites->leaves, i);
        pyprof__put(job->sink, i ? ", " : "    idle: ");
        pyprof__put_time(job->sink, leaf->value, 0);
        pyprof__put(job->sink, " ");
        pyprof__put_visible(job->sink, pyprof__leaf_name(job->profile, leaf->leaf));
    }
    if (i < sites->leaves.count) pyprof__put(job->sink, ", ...");
    if (i) pyprof__put(job->sink, "\n");
}

static int pyprof__text_waiting(const pyprof__job *job)   // 0 = no memory
{
    pyprof__callsites waits, idle;
    pyprof__sink *s = job->sink;
    size_t i;
    int whole = pyprof__callsites_make(&waits, job, PYPROF_WAIT_NS, PYPROF_IDLE_NS, 0, 1);
    whole = pyprof__callsites_make(&idle, job, PYPROF_IDLE_NS, 0, 0, 1) && whole;
    if (waits.leaves.count || idle.leaves.count) {
        pyprof__put(s, "\nWaiting, by what was waited for: ");
        pyprof__put_column(s, (double)waits.value / 1e9, 2, " s, and ", 0);
        pyprof__put_column(s, (double)idle.value / 1e9, 2, " s idle, in calls that wait for work\n", 0);
    }
    if (waits.leaves.count) pyprof__put(s, "      time        %   for, where\n");
    for (i = 0; whole && i < waits.leaves.count && i < 10; i++) {
        const pyprof__leaf *leaf = &PYPROF__AT(const pyprof__leaf, waits.leaves, i);
        pyprof__put_time(s, leaf->value, 10);
        pyprof__put_column(s, pyprof__percent(leaf->value, waits.value), 1, " %", 9);
        pyprof__text_leaf(job, &waits, leaf);
    }
    if (waits.leaves.count > i) pyprof__put_format(s, "    ... %llu more\n", (unsigned long long)(waits.leaves.count - i));
    if (whole) pyprof__text_idle(job, &idle);
    pyprof__callsites_free(&waits);
    pyprof__callsites_free(&idle);
    return whole;
}

static int pyprof__text_native(const pyprof__job *job)   // 0 = no memory
{
    pyprof__callsites sites;
    pyprof__sink *s = job->sink;
    int64_t running = job->selection->all[PYPROF_WALL_NS] - job->selection->all[PYPROF_WAIT_NS];
    size_t i;
    int whole = pyprof__callsites_make(&sites, job, PYPROF_NATIVE_NS, 0, PYPROF_NOGIL_NS, 1);
    if (sites.leaves.count) pyprof__put(s, "\nC functions, by time spent running in them\n      time        %     no GIL   function, where\n");
    for (i = 0; whole && i < sites.leaves.count && i < 10; i++) {
        const pyprof__leaf *leaf = &PYPROF__AT(const pyprof__leaf, sites.leaves, i);
        pyprof__put_time(s, leaf->value, 10);
        pyprof__put_column(s, pyprof__percent(leaf->value, running), 1, " %", 9);
        pyprof__put_time(s, leaf->extra, 11);
        pyprof__text_leaf(job, &sites, leaf);
    }
    if (sites.leaves.count > i) pyprof__put_format(s, "    ... %llu more\n", (unsigned long long)(sites.leaves.count - i));
    pyprof__callsites_free(&sites);
    return whole;
}

static void pyprof__gil_threads(const pyprof__job *job)
{
    static const int columns[] = { PYPROF_GIL_NS, PYPROF_GIL_WAIT_NS, PYPROF_GIL_BLOCK_NS };
    const pyprof__model *model = &job->profile->model;
    uint32_t i, k, shown = 0;
    pyprof__put(job->sink, "\nThe GIL: who held it, who waited for it, who made others wait\n       held     waited  made wait   thread\n");
    for (i = 0; i < model->members.count && shown < 20; i++) {
        uint32_t node = PYPROF__AT(const pyprof__member, model->members, i).node;
        int64_t any = 0;
        for (k = 0; k < PYPROF__COUNT(columns); k++) any |= pyprof__total(job->selection, columns[k], node);
        if (!any || !pyprof__member_wanted(job->profile, job->output->filter, i)) continue;
        shown++;
        for (k = 0; k < PYPROF__COUNT(columns); k++) pyprof__put_time(job->sink, pyprof__total(job->selection, columns[k], node), 11);
        pyprof__put(job->sink, "   ");
        pyprof__put_thread(job, i);
        pyprof__put(job->sink, "\n");
    }
}

static int pyprof__by_rivals(const void *a, const void *b)
{
    const pyprof__rivals *x = (const pyprof__rivals *)a, *y = (const pyprof__rivals *)b;
    if (x->ns != y->ns) return x->ns > y->ns ? -1 : 1;
    if (x->waiter != y->waiter) return x->waiter < y->waiter ? -1 : 1;
    return x->holder < y->holder ? -1 : x->holder > y->holder;
}

static int pyprof__gil_pairs(const pyprof__job *job)   // 0 = no memory
{
    pyprof__pool *pool = &job->selection->pool;
    pyprof__array pairs;
    size_t i, shown = 0;
    if (!pyprof__array_copy(pool, &pairs, &job->profile->model.rivals)) return 0;
    if (pairs.count) qsort(pairs.data, pairs.count, sizeof(pyprof__rivals), pyprof__by_rivals);
    for (i = 0; i < pairs.count && shown < 10; i++) {
        const pyprof__rivals *pair = &PYPROF__AT(const pyprof__rivals, pairs, i);
        if (!pyprof__rivals_wanted(job->profile, job->output->filter, pair)) continue;
        if (!shown++) pyprof__put(job->sink, "  Who waited for whom\n");
        pyprof__put_time(job->sink, (int64_t)pair->ns, 11);
        pyprof__put(job->sink, "   ");
        pyprof__put_thread(job, pair->waiter);
        pyprof__put(job->sink, " for ");
        pyprof__put_thread(job, pair->holder);
        pyprof__put(job->sink, "\n");
    }
    pyprof__array_free(pool, &pairs);
    return 1;
}

static void pyprof__gil_hold(const pyprof__job *job)   // the longest one while somebody waited
{
    const pyprof_profile *profile = job->profile;
    const pyprof__model *model = &profile->model;
    const pyprof__member *longest = NULL;
    pyprof__callsite site;
    uint32_t i, lines, node;
    for (i = 0; i < model->members.count; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, i);
        if (pyprof__member_wanted(profile, job->output->filter, i) && member->hold_ns > (longest ? longest->hold_ns : 0)) longest = member;
    }
    if (!longest) return;
    pyprof__put(job->sink, "  Held longest while others waited: ");
    pyprof__put_column(job->sink, (double)longest->hold_ns / 1e9, 3, " s by ", 0);
    pyprof__put_thread(job, (uint32_t)(longest - (const pyprof__member *)model->members.data));
    pyprof__put(job->sink, ", until ");
    pyprof__text_moment(job, longest->hold_end_ns);
    for (node = longest->hold_node, lines = 0; pyprof__parent_of(profile, node) && lines < 6; node = pyprof__parent_of(profile, node), lines++) {
        const pyprof__location *at = pyprof__location_of(profile, node);
        site.key.leaf = PYPROF__LEAF_ANY;
        site.key.function = at->function;
        site.key.line = (uint32_t)at->place.line;
        pyprof__put(job->sink, lines ? "\n         from" : "\n           in");
        pyprof__put_callsite(job, &site);
    }
    pyprof__put(job->sink, "\n");
}

static int pyprof__gil_sites(const pyprof__job *job, int metric, const char *heading)   // 0 = no memory
{
    pyprof__callsites sites;
    size_t i;
    int whole = pyprof__callsites_make(&sites, job, metric, 0, 0, 0);
    if (whole && sites.sites.count) pyprof__put(job->sink, heading);
    for (i = 0; whole && i < sites.sites.count && i < 5; i++) {
        const pyprof__callsite *site = &PYPROF__AT(const pyprof__callsite, sites.sites, i);
        pyprof__put_time(job->sink, site->value, 11);
        pyprof__put_callsite(job, site);
        pyprof__put(job->sink, "\n");
    }
    pyprof__callsites_free(&sites);
    return whole;
}

static int pyprof__text_gil(const pyprof__job *job)   // 0 = no memory
{
    if (job->selection->all[PYPROF_GIL_WAIT_NS] == 0 && job->selection->all[PYPROF_GIL_BLOCK_NS] == 0) return 1;   // nobody waited for it
    pyprof__gil_threads(job);
    if (!pyprof__gil_pairs(job)) return 0;
    pyprof__gil_hold(job);
    return pyprof__gil_sites(job, PYPROF_GIL_WAIT_NS, "  Where it was waited for most\n")
        && pyprof__gil_sites(job, PYPROF_GIL_BLOCK_NS, "  Where it was held most while others waited\n");
}

static int pyprof__text_exceptions(const pyprof__job *job)   // 0 = no memory
{
    pyprof__table table;
    pyprof__ranked *ranked = NULL;
    int64_t all = job->selection->all[PYPROF_EXCEPTIONS];
    size_t i;
    int whole;
    if (all == 0) return 1;
    whole = pyprof__table_make(&table, job->selection, job->output->filter, PYPROF_GROUP_FUNCTION);
    if (whole) ranked = pyprof__rank(&table, PYPROF_EXCEPTIONS, 0);
    pyprof__put(job->sink, "\nExceptions on their way up, by function\n   samples        %   where\n");
    for (i = 0; ranked && i < table.rows.count && i < 8 && ranked[i].value > 0; i++) {
        pyprof__put_count(job->sink, ranked[i].value, 10);
        pyprof__put_column(job->sink, pyprof__percent(ranked[i].value, all), 1, " %", 9);
        pyprof__text_where(job->sink, ranked[i].row);
    }
    whole = whole && (ranked || table.rows.count == 0);
    pyprof__free(&table.pool, ranked, table.rows.count * sizeof *ranked);
    pyprof__table_free(&table);
    return whole;
}

// ---- text: the process ----------------------------------------------------------------------------------------------
static void pyprof__text_resident(const pyprof__job *job, const char *heading)
{
    const pyprof__model *model = &job->profile->model;
    const pyprof__gauge *gauges = (const pyprof__gauge *)model->gauges.data;
    size_t i, most = 0, count = model->gauges.count;
    for (i = 0; i < count; i++) if (gauges[i].facts.resident_bytes > gauges[most].facts.resident_bytes) most = i;
    if (count == 0 || gauges[most].facts.resident_bytes == 0) return;   // 0: not known, there was no /proc
    pyprof__put(job->sink, heading);
    pyprof__put_size(job->sink, (double)gauges[0].facts.resident_bytes, 0);
    pyprof__put(job->sink, " first, ");
    pyprof__put_size(job->sink, (double)gauges[most].facts.resident_bytes, 0);
    pyprof__put(job->sink, " at most (");
    pyprof__text_moment(job, gauges[most].ns);
    pyprof__put(job->sink, "), ");
    pyprof__put_size(job->sink, (double)gauges[count - 1].facts.resident_bytes, 0);
    pyprof__put(job->sink, " last\n");
}

// Gauges count from the start of the process: what the recording saw is the difference.
static void pyprof__text_process(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    const pyprof__gauge *gauges = (const pyprof__gauge *)model->gauges.data;
    const pyprof_process *first, *last;
    pyprof__sink *s = job->sink;
    int64_t threads = 0;
    size_t i, begin = 0, count = model->gauges.count;
    if (count == 0) return;
    while (begin + 1 < count && gauges[begin + 1].ns <= model->start_ns) begin++;   // a window has those before it, too
    first = &gauges[begin].facts;
    last = &gauges[count - 1].facts;
    for (i = begin; i < count; i++) if (gauges[i].facts.threads > threads) threads = gauges[i].facts.threads;
    pyprof__put(s, "The process: ");
    pyprof__put_column(s, (double)(last->user_ns - first->user_ns) / 1e9, 2, " s CPU in user mode, ", 0);
    pyprof__put_column(s, (double)(last->system_ns - first->system_ns) / 1e9, 2, " s in the kernel; ", 0);
    if (threads) {
        pyprof__put_count(s, last->threads, 0);
        pyprof__put(s, " threads at the end, ");
        pyprof__put_count(s, threads, 0);
        pyprof__put(s, " at most");
    } else pyprof__put(s, "number of threads not known");
    if (first->gc_runs >= 0 && last->gc_runs >= 0) {
        pyprof__put(s, "; ");
        pyprof__put_count(s, last->gc_runs - first->gc_runs, 0);
        pyprof__put(s, " garbage collections");
    }
    pyprof__put(s, "\n    context switches: ");
    pyprof__put_count(s, last->voluntary_switches - first->voluntary_switches, 0);
    pyprof__put(s, " to wait, ");
    pyprof__put_count(s, last->involuntary_switches - first->involuntary_switches, 0);
    pyprof__put(s, " forced; page faults: ");
    pyprof__put_count(s, last->minor_faults - first->minor_faults, 0);
    pyprof__put(s, " minor, ");
    pyprof__put_count(s, last->major_faults - first->major_faults, 0);
    pyprof__put(s, " from disk\n");
    pyprof__text_resident(job, "    resident: ");
}

// ---- text: lines and their source ---------------------------------------------------------------------------------------
// Running time of a line is Python's or native; waiting is apart.
static void pyprof__text_split(pyprof__sink *s, int64_t run, int64_t native, int64_t wait)
{
    pyprof__put_time(s, run - native, 11);
    pyprof__put_time(s, native, 11);
    pyprof__put_time(s, wait, 11);
}

static int pyprof__text_lines(const pyprof__job *job)   // 0 = no memory
{
    enum { MOST = 15 };
    pyprof__table table;
    pyprof__ranked *ranked = NULL;
    int64_t all = job->selection->all[PYPROF_WALL_NS] - job->selection->all[PYPROF_WAIT_NS];
    size_t i, count = 0;
    int whole = pyprof__table_make(&table, job->selection, job->output->filter, PYPROF_GROUP_LINE);
    if (whole) ranked = pyprof__rank(&table, 0, 0);
    if (ranked) count = table.rows.count;
    pyprof__put(job->sink, "\nLines, by time spent running on them (self)\n      self        %     Python     native    waiting   where\n");
    for (i = 0; i < count && i < MOST && (ranked[i].value > 0 || i < 3); i++) {
        const int64_t *self = ranked[i].row->self;
        pyprof__put_column(job->sink, (double)ranked[i].value / 1e9, 2, " s", 10);
        pyprof__put_column(job->sink, pyprof__percent(ranked[i].value, all), 1, " %", 9);
        pyprof__text_split(job->sink, ranked[i].value, self[PYPROF_NATIVE_NS], self[PYPROF_WAIT_NS]);
        pyprof__text_where(job->sink, ranked[i].row);
    }
    if (count > i) pyprof__put_format(job->sink, "    ... %llu more\n", (unsigned long long)(count - i));
    whole = whole && (ranked || table.rows.count == 0);
    pyprof__free(&table.pool, ranked, table.rows.count * sizeof *ranked);
    pyprof__table_free(&table);
    return whole;
}

enum { PYPROF__HOT_FUNCTIONS = 4, PYPROF__HOT_LINES = 6 };   // how many functions are shown, and lines of each

typedef struct { int64_t run, native, wait; } pyprof__heat;
typedef struct {                 // of a function
    pyprof__heat heat;
    int32_t line;
    uint32_t spans;              // that ran
    int64_t most;                // run of the hottest span,
    pyprof__place span;          // which is this
    int shown;
} pyprof__hot_line;

typedef struct {
    const pyprof__job *job;
    pyprof__pool pool;
    pyprof__array places, functions;   // pyprof__heat a location, a function
    pyprof__array lines;               // pyprof__hot_line
} pyprof__hottest;

// The heat of each location, and of each function. 0 = no memory.
static int pyprof__hot_measure(pyprof__hottest *hot)
{
    const pyprof__selection *selection = hot->job->selection;
    const pyprof__model *model = &hot->job->profile->model;
    uint32_t node, i;
    if (!pyprof__array_reserve(&hot->pool, &hot->places, model->locations.count)) return 0;   // zeroes
    if (!pyprof__array_reserve(&hot->pool, &hot->functions, model->functions.count)) return 0;
    for (node = 1; node < selection->count; node++) {
        uint32_t owner = pyprof__row_node(hot->job->profile, node);
        int64_t wait = pyprof__self(selection, PYPROF_WAIT_NS, node), native = pyprof__self(selection, PYPROF_NATIVE_NS, node);
        pyprof__heat *heats[2];
        heats[0] = &PYPROF__AT(pyprof__heat, hot->places, PYPROF__AT(const pyprof__node, model->nodes, owner).location);
        heats[1] = &PYPROF__AT(pyprof__heat, hot->functions, pyprof__location_of(hot->job->profile, owner)->function);
        for (i = 0; i < 2; i++) {
            heats[i]->run += pyprof__self(selection, PYPROF_WALL_NS, node) - wait;
            heats[i]->native += native;
            heats[i]->wait += wait;
        }
    }
    return 1;
}

static size_t pyprof__hot_choose(const pyprof__hottest *hot, uint32_t *best)   // the hottest functions with a share worth a look
{
    const pyprof__model *model = &hot->job->profile->model;
    int64_t all = hot->job->selection->all[PYPROF_WALL_NS] - hot->job->selection->all[PYPROF_WAIT_NS];
    size_t count = 0, at, i;
    uint32_t id;
    for (id = 0; id < model->functions.count; id++) {
        int64_t run = PYPROF__AT(const pyprof__heat, hot->functions, id).run;
        if (PYPROF__AT(const pyprof__function, model->functions, id).kind != PYPROF_KIND_PYTHON || run <= 0 || run * 20 < all) continue;
        for (at = count; at > 0 && run > PYPROF__AT(const pyprof__heat, hot->functions, best[at - 1]).run; at--) {}
        if (at == PYPROF__HOT_FUNCTIONS) continue;
        if (count < PYPROF__HOT_FUNCTIONS) count++;
        for (i = count - 1; i > at; i--) best[i] = best[i - 1];
        best[at] = id;
    }
    return count;
}

static int pyprof__by_hot_line(const void *a, const void *b)
{
    const pyprof__hot_line *x = (const pyprof__hot_line *)a, *y = (const pyprof__hot_line *)b;
    return x->line < y->line ? -1 : x->line > y->line;
}

// One entry a location first, then one a line. 0 = no memory.
static int pyprof__hot_lines(pyprof__hottest *hot, uint32_t function)
{
    const pyprof__model *model = &hot->job->profile->model;
    pyprof__hot_line *lines;
    size_t i, kept = 0;
    hot->lines.count = 0;
    for (i = 0; i < model->locations.count; i++) {
        const pyprof__location *location = &PYPROF__AT(const pyprof__location, model->locations, i);
        const pyprof__heat *heat = &PYPROF__AT(const pyprof__heat, hot->places, i);
        pyprof__hot_line *line;
        if (location->function != function || location->place.line <= 0 || (heat->run <= 0 && heat->wait <= 0)) continue;
        line = (pyprof__hot_line *)pyprof__push(&hot->pool, &hot->lines);
        if (!line) return 0;
        line->heat = *heat;
        line->line = location->place.line;
        line->spans = heat->run > 0;
        line->most = heat->run;
        line->span = location->place;
    }
    lines = (pyprof__hot_line *)hot->lines.data;
    if (lines) qsort(lines, hot->lines.count, sizeof *lines, pyprof__by_hot_line);
    for (i = 0; i < hot->lines.count; i++) {
        pyprof__hot_line *to = &lines[kept], one = lines[i];
        if (i == 0 || lines[kept - 1].line != one.line) { *to = one; kept++; continue; }
        to--;
        to->heat.run += one.heat.run;
        to->heat.native += one.heat.native;
        to->heat.wait += one.heat.wait;
        to->spans += one.spans;
        if (one.most > to->most || (one.most == to->most && one.span.column < to->span.column)) { to->most = one.most; to->span = one.span; }
    }
    hot->lines.count = kept;
    return 1;
}

static void pyprof__hot_mark(pyprof__hottest *hot)   // the lines to be shown: those that ran longest
{
    pyprof__hot_line *lines = (pyprof__hot_line *)hot->lines.data;
    size_t i, k;
    for (k = 0; k < PYPROF__HOT_LINES; k++) {
        pyprof__hot_line *best = NULL;
        for (i = 0; i < hot->lines.count; i++)
            if (!lines[i].shown && lines[i].heat.run > (best ? best->heat.run : 0)) best = &lines[i];
        if (best) best->shown = 1;
    }
}

// A line of source, as far as it fits; with marks: a blank for each column up to the bytes from..to, and ^ for those
static void pyprof__put_source(pyprof__sink *s, pyprof__slice line, int marks, size_t from, size_t to)
{
    size_t at = 0, column = 0, length, width, i;
    for (; at < line.size && column < PYPROF__SCRIPT_COLUMNS && !(marks && at >= to); at += length, column += width) {
        uint32_t c = pyprof__utf8_next(line.text + at, &length);
        int unsafe = pyprof__is_unsafe(c);
        width = c == '\t' ? 8 - column % 8 : unsafe ? (c < 256 ? 4 : 6) : 1;
        if (marks || c == '\t') for (i = 0; i < width; i++) pyprof__put(s, marks && at >= from ? "^" : " ");
        else if (unsafe) pyprof__put_format(s, c < 256 ? "\\x%02x" : "\\u%04x", c);
        else if (c == 0xfffd && length == 1) pyprof__put(s, "\xef\xbf\xbd");
        else pyprof__put_bytes(s, line.text + at, length);
    }
    if (!marks && at < line.size) pyprof__put(s, "...");
}

// One line with its times; hot NULL: it was never seen. Below it, what part of it was the hottest of several.
static void pyprof__hot_put(pyprof__sink *s, const pyprof__hot_line *hot, int64_t number, pyprof__slice text)
{
    if (hot) pyprof__text_split(s, hot->heat.run, hot->heat.native, hot->heat.wait);
    else pyprof__put_padded(s, "", 33);
    pyprof__put_format(s, "%8lld", (long long)number);
    if (text.size) {
        pyprof__put(s, "  ");
        pyprof__put_source(s, text, 0, 0, 0);
    }
    pyprof__put(s, "\n");
    if (!hot || !hot->shown || hot->spans < 2 || hot->span.column < 0 || (size_t)hot->span.column >= text.size) return;
    if (hot->span.column > PYPROF__SCRIPT_COLUMNS / 2) return;
    pyprof__put_padded(s, "", 43);
    pyprof__put_source(s, text, 1, (size_t)hot->span.column, hot->span.end_line == hot->line && hot->span.end_column > hot->span.column
                       ? (size_t)hot->span.end_column : text.size);
    pyprof__put(s, "\n");
}

static size_t pyprof__script_indent(pyprof__slice line)
{
    size_t at = 0;
    while (at < line.size && (line.text[at] == ' ' || line.text[at] == '\t')) at++;
    return at;
}

// Is it a line to be shown beside a hot one: not empty, and inside of the function?
static int pyprof__hot_neighbour(const pyprof__script *source, const char *name, int32_t first_line, int64_t number)
{
    pyprof__slice line = pyprof__script_line(source, number), first = pyprof__script_line(source, first_line);
    if (!line.size || number < first_line) return 0;
    if (*name == '<') return strcmp(name, "<module>") == 0;
    return pyprof__script_indent(line) > pyprof__script_indent(first);
}

// The hot lines, each between its neighbours where there is a source
static void pyprof__hot_print(const pyprof__hottest *hot, const pyprof__script *source, const char *name, int32_t first_line)
{
    const pyprof__hot_line *lines = (const pyprof__hot_line *)hot->lines.data;
    pyprof__slice nothing = { NULL, 0 };
    int64_t at = 0, last = 0, end;
    size_t i, next = 0;
    for (i = 0; i < hot->lines.count; i++) {
        if (!lines[i].shown) continue;
        at = source ? (int64_t)lines[i].line - 1 : lines[i].line;
        end = source ? (int64_t)lines[i].line + 1 : lines[i].line;
        if (at <= last) at = last + 1;
        else if (last && source && at > last + 1) pyprof__put(hot->job->sink, "                                     ...\n");
        for (; at <= end; at++) {
            while (next < hot->lines.count && lines[next].line < at) next++;
            if (at != lines[i].line && !pyprof__hot_neighbour(source, name, first_line, at)) continue;
            pyprof__hot_put(hot->job->sink, next < hot->lines.count && lines[next].line == at ? &lines[next] : NULL, at,
                            source ? pyprof__script_line(source, at) : nothing);
            last = at;
        }
    }
}

static int pyprof__hot_function(pyprof__hottest *hot, uint32_t id)   // 0 = no memory
{
    static const char *const notes[] = { "", "\n", "  (source changed since)\n", "\n" };
    const pyprof_profile *profile = hot->job->profile;
    const pyprof__function *function = &PYPROF__AT(const pyprof__function, profile->model.functions, id);
    const char *file = pyprof__text(profile, function->file);
    pyprof__script source;
    pyprof__script_state state;
    if (!pyprof__hot_lines(hot, id)) return 0;
    pyprof__hot_mark(hot);
    state = pyprof__script_read(&hot->pool, &source, file, pyprof__unix(&profile->model, profile->model.start_ns));
    if (state == PYPROF__SCRIPT_READ && (!pyprof__script_fits(&source, profile, function) || (hot->lines.count
        && !pyprof__script_line(&source, PYPROF__AT(const pyprof__hot_line, hot->lines, hot->lines.count - 1).line).text)))
        state = PYPROF__SCRIPT_CHANGED;
    if (state != PYPROF__SCRIPT_NO_MEMORY) {
        pyprof__put(hot->job->sink, "  ");
        pyprof__put_visible(hot->job->sink, pyprof__text(profile, function->qualname));
        pyprof__put(hot->job->sink, "  ");
        pyprof__put_visible(hot->job->sink, file);
        pyprof__put_format(hot->job->sink, ":%ld%s", (long)function->first_line, notes[state]);
        pyprof__hot_print(hot, state == PYPROF__SCRIPT_READ ? &source : NULL, pyprof__text(profile, function->name), function->first_line);
    }
    pyprof__script_free(&hot->pool, &source);
    return state != PYPROF__SCRIPT_NO_MEMORY;
}

static int pyprof__text_source(const pyprof__job *job)   // 0 = no memory
{
    pyprof__hottest hot;
    uint32_t best[PYPROF__HOT_FUNCTIONS];
    size_t i, count = 0;
    int whole;
    if (!pyprof__script_allowed(job)) return 1;
    memset(&hot, 0, sizeof hot);
    hot.job = job;
    pyprof__pool_init(&hot.pool, &job->profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&hot.places, sizeof(pyprof__heat));
    pyprof__array_init(&hot.functions, sizeof(pyprof__heat));
    pyprof__array_init(&hot.lines, sizeof(pyprof__hot_line));
    whole = pyprof__hot_measure(&hot);
    if (whole) count = pyprof__hot_choose(&hot, best);
    if (count) pyprof__put(job->sink, "\nThe hottest functions, line by line\n     Python     native    waiting    line\n");
    for (i = 0; i < count && whole; i++) whole = pyprof__hot_function(&hot, best[i]);
    pyprof__array_free(&hot.pool, &hot.places);
    pyprof__array_free(&hot.pool, &hot.functions);
    pyprof__array_free(&hot.pool, &hot.lines);
    return whole;
}

// ---- text: a difference: what became more, what became less --------------------------------------------------------------
static void pyprof__put_change(pyprof__sink *s, int64_t value, int unit, size_t width)   // unit as in pyprof__metric_names
{
    static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB" };
    char text[64];
    size_t size = value > 0, i = 0;
    double shown = unit == 1 ? (double)value / 1e9 : (double)value;
    text[0] = '+';
    for (; unit == 2 && i < 4 && (shown >= 1024 || shown <= -1024); i++) shown /= 1024;
    size += pyprof__format_fixed(text + size, sizeof text - size, shown, unit == 1 ? 3 : i ? 1 : 0);
    if (unit) snprintf(text + size, sizeof text - size, "%s", unit == 1 ? " s" : units[i]);
    pyprof__put_padded(s, text, width);
}

static void pyprof__text_change(pyprof__sink *s, const pyprof_row *row, int metric)   // metric 0 = running
{
    if (metric) {
        pyprof__put_change(s, row->self[metric], 2, 12);
        pyprof__put_change(s, row->total[metric], 2, 13);
        pyprof__put_change(s, row->self[PYPROF_LIVE_BLOCKS], 0, 13);
        pyprof__put_change(s, row->self[PYPROF_ALLOC_BYTES], 2, 13);
    } else {
        pyprof__put_change(s, row->self[PYPROF_WALL_NS] - row->self[PYPROF_WAIT_NS], 1, 12);
        pyprof__put_change(s, row->total[PYPROF_WALL_NS] - row->total[PYPROF_WAIT_NS], 1, 13);
        pyprof__put_change(s, row->total[PYPROF_NATIVE_NS], 1, 13);
        pyprof__put_change(s, row->total[PYPROF_WAIT_NS], 1, 13);
        pyprof__put_change(s, row->total[PYPROF_GIL_WAIT_NS], 1, 13);
    }
    pyprof__text_where(s, row);
}

static pyprof_result pyprof__text_changes(const pyprof__job *job, const char *heading, int group, int metric)
{
    enum { MOST = 15 };
    pyprof__table table;
    pyprof__ranked *ranked = NULL;
    size_t i, count = 0, more = 0, less = 0;
    int whole = pyprof__table_make(&table, job->selection, job->output->filter, group);
    if (whole) ranked = pyprof__rank(&table, metric, 0);
    if (ranked) count = table.rows.count;
    for (i = 0; i < count; i++) {
        more += ranked[i].value > 0;
        less += ranked[i].value < 0;
    }
    pyprof__put(job->sink, "\n");
    pyprof__put(job->sink, heading);
    pyprof__put(job->sink, metric ? "\n        self        total       blocks    allocated   where\n"
                : "\n        self        total       native      waiting      for GIL   where\n");
    for (i = 0; i < more && i < MOST; i++) pyprof__text_change(job->sink, ranked[i].row, metric);
    if (more > i) pyprof__put_format(job->sink, "    ... %llu more grew\n", (unsigned long long)(more - i));
    for (i = 0; i < less && i < MOST; i++) pyprof__text_change(job->sink, ranked[count - 1 - i].row, metric);
    if (less > i) pyprof__put_format(job->sink, "    ... %llu more shrank\n", (unsigned long long)(less - i));
    if (!more && !less) pyprof__put(job->sink, "    no difference\n");
    whole = whole && (ranked || table.rows.count == 0);
    pyprof__free(&table.pool, ranked, table.rows.count * sizeof *ranked);
    pyprof__table_free(&table);
    return whole ? PYPROF_OK : pyprof__fail_memory("a table");
}

static pyprof_result pyprof__write_text_diff(const pyprof__job *job)
{
    const int64_t *all = job->selection->all;
    pyprof__sink *s = job->sink;
    pyprof_result result = PYPROF_OK;
    pyprof__put(s, "A difference, after less before: + is more, - is less\nAll in all: ");
    pyprof__put_change(s, all[PYPROF_WALL_NS] - all[PYPROF_WAIT_NS], 1, 0);
    pyprof__put(s, " running, ");
    pyprof__put_change(s, all[PYPROF_CPU_NS], 1, 0);
    pyprof__put(s, " CPU, ");
    pyprof__put_change(s, all[PYPROF_WAIT_NS], 1, 0);
    pyprof__put(s, " waiting");
    if (job->profile->model.heap.mode) {
        pyprof__put(s, "; ");
        pyprof__put_change(s, all[PYPROF_LIVE_BYTES], 2, 0);
        pyprof__put(s, " live, ");
        pyprof__put_change(s, all[PYPROF_ALLOC_BYTES], 2, 0);
        pyprof__put(s, " allocated");
    }
    pyprof__put(s, "\nThe later one: ");
    pyprof__text_head(job);
    pyprof__text_quality(job);
    if (job->selection->self[PYPROF_WALL_NS])
        result = pyprof__text_changes(job, "Functions, by the time spent running in them (self)", PYPROF_GROUP_FUNCTION, 0);
    if (result == PYPROF_OK && job->profile->model.heap.mode)
        result = pyprof__text_changes(job, "Lines, by the live memory they allocated (self)", PYPROF_GROUP_LINE, PYPROF_LIVE_BYTES);
    return result;
}

// ---- the memory report -----------
// Its tables, each of a pair of columns and one of its own
typedef struct { int bytes, blocks, doubt, extra; const char *what, *head, *extra_head; } pyprof__memory_table;
static const pyprof__memory_table pyprof__memory_tables[] = {
    { PYPROF_LIVE_BYTES, PYPROF_LIVE_BLOCKS, PYPROF_LIVE_DOUBT, PYPROF_LIVE_AGE_MS, "alive now", "alive",
      "mean age" },
    { PYPROF_PEAK_BYTES, PYPROF_PEAK_BLOCKS, PYPROF_PEAK_DOUBT, 0, "at the high-water mark", "then", "" },
    { PYPROF_ALLOC_BYTES, PYPROF_ALLOC_BLOCKS, PYPROF_ALLOC_DOUBT, PYPROF_TEMP_BLOCKS, "allocated",
      "allocated", "temporary" },
};

// "12.3 MiB (+- 1.2 MiB) in 1,234 blocks"
static void pyprof__text_amount(const pyprof__job *job, int bytes, int blocks, int doubt, const char *what)
{
    const int64_t *all = job->selection->all;
    pyprof__put_size(job->sink, (double)all[bytes], 0);
    pyprof__put(job->sink, what);
    if (job->profile->model.heap.mode == PYPROF_HEAP_SAMPLED) {
        pyprof__put(job->sink, " (+- ");
        pyprof__put_size(job->sink, pyprof__sampling_error(&job->profile->model.heap, (double)all[doubt]), 0);
        pyprof__put(job->sink, ")");
    }
    pyprof__put(job->sink, " in ");
    pyprof__put_count(job->sink, all[blocks], 0);
    pyprof__put(job->sink, " blocks");
}

static void pyprof__text_memory_quality(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    pyprof__sink *s = job->sink;
    if (model->heap.mode == PYPROF_HEAP_SAMPLED) {
        char interval[40];
        pyprof__size_text(interval, sizeof interval, (double)model->heap.interval);
        pyprof__put_format(s, "    sampled: one sample in %s allocated, %llu blocks noted; 95 of 100 estimates are "
                           "off by less than +-\n", interval, (unsigned long long)model->stats.heap_samples);
    } else pyprof__put(s, "    exact: each block is noted by itself\n");
    if (model->stats.heap_reserved_bytes) {
        char reserved[40];
        pyprof__size_text(reserved, sizeof reserved, (double)model->stats.heap_reserved_bytes);
        pyprof__put_format(s, "    %s more are reserved addresses, which may not be written yet or have MAP_NORESERVE\n", reserved);
    }
    if (model->stats.heap_dropped)
        pyprof__put_format(s, "    a lower bound: there was no room to note %llu more blocks\n", (unsigned long long)model->stats.heap_dropped);
    if (model->stats.heap_state == PYPROF_HEAP_STATE_PENDING) pyprof__put(s, "    the allocators of Python were not hooked yet\n");
    if (model->stats.heap_state == PYPROF_HEAP_STATE_LOST)
        pyprof__put(s, "    a lower bound: somebody else replaced the hooks on Python's allocators\n");
}

static void pyprof__text_memory_head(const pyprof__job *job, int sort)
{
    const pyprof__model *model = &job->profile->model;
    pyprof__sink *s = job->sink;
    pyprof__put(s, "Memory: ");
    pyprof__text_amount(job, PYPROF_LIVE_BYTES, PYPROF_LIVE_BLOCKS, PYPROF_LIVE_DOUBT, " traced now");
    pyprof__put(s, "\n    ");
    pyprof__text_amount(job, PYPROF_PEAK_BYTES, PYPROF_PEAK_BLOCKS, PYPROF_PEAK_DOUBT, " at most");
    if (model->heap.peak_ns) {
        pyprof__put(s, ", ");
        pyprof__text_moment(job, model->heap.peak_ns);
    }
    pyprof__put(s, "\n    ");
    pyprof__text_amount(job, PYPROF_ALLOC_BYTES, PYPROF_ALLOC_BLOCKS, PYPROF_ALLOC_DOUBT,
                        " allocated in all");
    pyprof__put(s, ", ");
    pyprof__put_fixed(s, pyprof__percent(job->selection->all[PYPROF_TEMP_BLOCKS], job->selection->all[PYPROF_ALLOC_BLOCKS]), 1);
    pyprof__put(s, " % of them temporary\n");
    pyprof__text_memory_quality(job);
    if (sort) pyprof__text_resident(job, "    resident set of the process: ");   // the whole report has it elsewhere
}

static void pyprof__text_memory_row(const pyprof__job *job, const pyprof__memory_table *table, const int64_t *values, double share)
{
    pyprof__sink *s = job->sink;
    int64_t bytes = values[table->bytes], blocks = values[table->blocks], extra = values[table->extra];
    pyprof__put_size(s, (double)bytes, 11);
    pyprof__put_column(s, share, 1, " %", 9);
    if (job->profile->model.heap.mode == PYPROF_HEAP_SAMPLED)
        pyprof__put_size(s, pyprof__sampling_error(&job->profile->model.heap, (double)values[table->doubt]), 11);
    pyprof__put_count(s, blocks, 14);
    pyprof__put_size(s, blocks > 0 ? (double)bytes / (double)blocks : 0, 11);
    if (table->extra == PYPROF_LIVE_AGE_MS) pyprof__put_column(s, blocks > 0 ? (double)extra / (double)blocks / 1e3 : 0, 1, " s", 11);
    if (table->extra == PYPROF_TEMP_BLOCKS) pyprof__put_column(s, pyprof__percent(extra, blocks), 1, " %", 11);
}

// The first rows of a table, by self or total of the metric `sort`. 0 = no memory.
static int pyprof__text_ranking(const pyprof__job *job, pyprof__table *rows, const pyprof__memory_table *table, const char *heading, int sort,
                                int by_total, size_t most)
{
    pyprof__ranked *ranked = pyprof__rank(rows, sort, by_total);
    size_t i, count = 0, shown;
    while (ranked && count < rows->rows.count && ranked[count].value > 0) count++;
    shown = count < most ? count : most;
    pyprof__put_format(job->sink, "\n%s, by %s\n", heading, pyprof__metric_names[sort].name);
    pyprof__put_padded(job->sink, table->head, 11);
    pyprof__put(job->sink, "        %");
    if (job->profile->model.heap.mode == PYPROF_HEAP_SAMPLED) pyprof__put(job->sink, "         +-");
    pyprof__put(job->sink, "        blocks    average");
    if (table->extra) pyprof__put_padded(job->sink, table->extra_head, 11);
    pyprof__put(job->sink, "   where\n");
    for (i = 0; i < shown; i++) {
        const pyprof_row *row = ranked[i].row;
        pyprof__text_memory_row(job, table, by_total ? row->total : row->self, pyprof__percent(ranked[i].value, job->selection->all[sort]));
        pyprof__text_where(job->sink, row);
    }
    if (count > shown) pyprof__put_format(job->sink, "    ... %llu more\n", (unsigned long long)(count - shown));
    pyprof__free(&rows->pool, ranked, rows->rows.count * sizeof *ranked);
    return ranked || rows->rows.count == 0;
}

static void pyprof__text_domains(const pyprof__job *job)
{
    static const char *const names[PYPROF_DOMAIN_COUNT] = { "PyMem_RawMalloc", "PyMem_Malloc", "PyObject_Malloc", "malloc, mmap" };
    size_t i;
    pyprof__put(job->sink, "\nAllocators\n      alive        blocks  allocated          blocks   by\n");
    for (i = 0; i < PYPROF_DOMAIN_COUNT; i++) {
        const pyprof_domain_total *domain = &job->profile->model.heap.domains[i];
        if (!domain->alloc_blocks && !domain->live_blocks) continue;
        pyprof__put_size(job->sink, (double)domain->live_bytes, 11);
        pyprof__put_count(job->sink, domain->live_blocks, 14);
        pyprof__put_size(job->sink, (double)domain->alloc_bytes, 11);
        pyprof__put_count(job->sink, domain->alloc_blocks, 16);
        pyprof__put_format(job->sink, "   %s\n", names[i]);
    }
}

static void pyprof__text_memory_threads(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    static const int columns[] = { PYPROF_LIVE_BYTES, PYPROF_PEAK_BYTES, PYPROF_ALLOC_BYTES };
    size_t i, column, shown = 0, left_out = 0;
    pyprof__put(job->sink, "\nMemory by the thread that allocated it\n      alive    at most  allocated   thread\n");
    for (i = 0; i < model->members.count; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, i);
        int64_t any = 0;
        for (column = 0; column < PYPROF__COUNT(columns); column++) any |= pyprof__total(job->selection, columns[column], member->node);
        if (!any) continue;
        if (shown == 20) { left_out++; continue; }
        shown++;
        for (column = 0; column < PYPROF__COUNT(columns); column++)
            pyprof__put_size(job->sink, (double)pyprof__total(job->selection, columns[column], member->node), 11);
        pyprof__put(job->sink, "   ");
        pyprof__put_visible(job->sink, pyprof__text(job->profile, member->name));
        pyprof__put_format(job->sink, " (%lld)\n", (long long)member->native);
    }
    if (left_out) pyprof__put_format(job->sink, "    ... %llu more\n", (unsigned long long)left_out);
}

static void pyprof__text_sizes(const pyprof__job *job)
{
    static const char bar[] = "########################################";
    const int64_t *sizes = job->profile->model.heap.sizes;
    int64_t most = 0, all = 0;
    size_t i, first = 0, end = PYPROF_SIZES;
    for (i = 0; i < PYPROF_SIZES; i++) { all += sizes[i]; most = sizes[i] > most ? sizes[i] : most; }
    if (most <= 0) return;
    while (sizes[first] <= 0) first++;
    while (sizes[end - 1] <= 0) end--;
    pyprof__put(job->sink, "\nSizes of the blocks allocated\n      up to        blocks        %\n");
    for (i = first; i < end; i++) {
        double part = (double)sizes[i] / (double)most * (double)(sizeof bar - 1);
        if (sizes[i] <= 0) {
            if (sizes[i - 1] > 0) pyprof__put(job->sink, "        ...\n");
            continue;
        }
        pyprof__put_size(job->sink, (double)((uint64_t)1 << i), 11);
        pyprof__put_count(job->sink, sizes[i], 14);
        pyprof__put_column(job->sink, pyprof__percent(sizes[i], all), 1, " %   ", 12);
        pyprof__put_bytes(job->sink, bar, part < 1 ? 1 : (size_t)(part + 0.5));
        pyprof__put(job->sink, "\n");
    }
}

// What is shown of the metric that was asked for, beside lines
static int pyprof__text_memory_more(const pyprof__job *job, const pyprof__memory_table *table, int sort)
{
    pyprof__table rows;
    int whole = pyprof__table_make(&rows, job->selection, job->output->filter, PYPROF_GROUP_FUNCTION);
    whole = whole && pyprof__text_ranking(job, &rows, table, "Functions and what they call", sort, 1, 15);
    pyprof__table_free(&rows);
    whole = whole && pyprof__table_make(&rows, job->selection, job->output->filter, PYPROF_GROUP_FILE)
        && pyprof__text_ranking(job, &rows, table, "Files", sort, 0, 10);
    pyprof__table_free(&rows);
    return whole && pyprof__text_stacks(job, sort, "\nLargest stacks, innermost first\n") == PYPROF_OK;
}

// sort: the metric whose table comes first, and with more of it; 0 = each has the same
static pyprof_result pyprof__text_memory_tables(const pyprof__job *job, int sort)
{
    pyprof__table lines;
    size_t i, first = 0;
    int whole = pyprof__table_make(&lines, job->selection, job->output->filter, PYPROF_GROUP_LINE);
    for (i = 0; i < PYPROF__COUNT(pyprof__memory_tables); i++) {
        const pyprof__memory_table *table = &pyprof__memory_tables[i];
        if (sort && (table->bytes == sort || table->blocks == sort || table->extra == sort)) first = i;
    }
    for (i = 0; i < PYPROF__COUNT(pyprof__memory_tables) && whole; i++) {
        const pyprof__memory_table *table = &pyprof__memory_tables[(first + i) % PYPROF__COUNT(pyprof__memory_tables)];
        int asked = sort && i == 0;
        whole = pyprof__text_ranking(job, &lines, table, "Lines", asked ? sort : table->bytes, 0, asked ? 30 : 10);
        if (whole && asked) whole = pyprof__text_memory_more(job, table, sort);
    }
    pyprof__table_free(&lines);
    return whole ? PYPROF_OK : pyprof__fail_memory("the memory report");
}

static pyprof_result pyprof__text_leaks(const pyprof__job *job)
{
    enum { MOST = 15 };
    pyprof__leak_table table;
    pyprof__sink *s = job->sink;
    pyprof_query query;
    size_t i;
    int whole;
    memset(&query, 0, sizeof query);
    if (job->output->filter) query = *job->output->filter;
    query.group = PYPROF_GROUP_LINE;
    whole = pyprof__leaks_make(&table, job->profile, &query);
    if (whole && table.leaks.count) pyprof__put(s, "\nLines whose live memory grew: leaks, and what may be caches\n"
                                                "                     alive        grown         +-       a minute   mean age   where\n");
    for (i = 0; whole && i < table.leaks.count && i < MOST; i++) {
        const pyprof_leak *leak = &PYPROF__AT(const pyprof_leak, table.leaks, i);
        pyprof_row row;
        memset(&row, 0, sizeof row);
        row.name = leak->name;
        row.qualname = leak->qualname;
        row.file = leak->file;
        row.line = leak->line;
        pyprof__put_padded(s, pyprof__verdicts[leak->growth].words, 15);
        pyprof__put_size(s, (double)leak->live_bytes, 11);
        pyprof__put_size(s, (double)leak->grown_bytes, 13);
        pyprof__put_size(s, (double)leak->error_bytes, 11);
        pyprof__put_size(s, leak->growth == PYPROF_GROWTH_GROWING ? leak->bytes_per_s * 60 : 0, 15);
        pyprof__put_format(s, "%9ld s", (long)(leak->mean_age_s + 0.5));
        pyprof__text_where(s, &row);
    }
    if (whole && table.leaks.count > MOST) pyprof__put_format(s, "    ... %llu more\n", (unsigned long long)(table.leaks.count - MOST));
    pyprof__leaks_free(&table);
    return whole ? PYPROF_OK : pyprof__fail_memory("the leaks");
}

static pyprof_result pyprof__text_since(const pyprof__job *job)   // what changed since an earlier snapshot
{
    pyprof_profile *delta;
    pyprof__selection selection;
    pyprof__job changes = *job;
    char heading[128];
    pyprof_result result;
    if (!job->profile->before) return PYPROF_OK;
    delta = pyprof__profile_diff(job->profile->before, job->profile, NULL);
    if (!delta) return pyprof__fail_memory("the difference");
    snprintf(heading, sizeof heading, "Lines, by the growth of their live memory since the snapshot %ld s before",
             (long)((double)(job->profile->model.last_ns - job->profile->before->model.last_ns) / 1e9 + 0.5));
    changes.profile = delta;
    changes.selection = &selection;
    if (pyprof__select(&selection, delta, job->output->filter, 0))
        result = pyprof__text_changes(&changes, heading, PYPROF_GROUP_LINE, PYPROF_LIVE_BYTES);
    else result = pyprof__fail_memory("the difference");
    pyprof__selection_free(&selection);
    pyprof__profile_free(delta);
    return result;
}

// sort 0: as a part of the whole report
static pyprof_result pyprof__text_memory(const pyprof__job *job, int sort)
{
    pyprof_result result;
    if (job->profile->model.heap.mode == PYPROF_HEAP_OFF) return PYPROF_OK;
    if (!sort) pyprof__put(job->sink, "\n");
    pyprof__text_memory_head(job, sort);
    result = pyprof__text_leaks(job);
    if (result == PYPROF_OK) result = pyprof__text_since(job);
    if (result == PYPROF_OK) result = pyprof__text_memory_tables(job, sort);
    pyprof__text_domains(job);
    pyprof__text_memory_threads(job);
    pyprof__text_sizes(job);
    return result;
}

// What a task awaits: its coroutines from the outermost to the one that waits, and where that one does.
static void pyprof__text_awaited(const pyprof__job *job, uint32_t node)
{
    const pyprof__location *location = pyprof__location_of(job->profile, node);
    const pyprof__function *function = pyprof__function_of(job->profile, node);
    uint32_t path[8], depth = 0, up = node;
    for (; pyprof__function_of(job->profile, up)->kind != PYPROF_KIND_TASK && pyprof__parent_of(job->profile, up); depth++) {
        if (depth < PYPROF__COUNT(path)) path[depth] = up;
        up = pyprof__parent_of(job->profile, up);
    }
    pyprof__put_visible(job->sink, pyprof__text(job->profile, pyprof__function_of(job->profile, up)->name));
    pyprof__put(job->sink, depth > PYPROF__COUNT(path) ? ": ..." : ":");
    if (depth > PYPROF__COUNT(path)) depth = PYPROF__COUNT(path);
    while (depth-- > 0) {
        pyprof__put(job->sink, " ");
        pyprof__put_visible(job->sink, pyprof__text(job->profile, pyprof__function_of(job->profile, path[depth])->qualname));
        if (depth) pyprof__put(job->sink, " >");
    }
    pyprof__put(job->sink, "  ");
    pyprof__put_visible(job->sink, pyprof__text(job->profile, function->file));
    pyprof__put_format(job->sink, ":%ld\n", (long)location->place.line);
}

static void pyprof__text_tasks(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    const pyprof__waited *best[10];
    size_t count = 0, all = 0, i, k, at;
    for (i = 0; i < model->waited.count; i++) {   // insertion into a short sorted list
        const pyprof__waited *waited = &PYPROF__AT(const pyprof__waited, model->waited, i);
        if (!job->selection->chosen[waited->node] || waited->ns == 0) continue;
        all++;
        for (at = count; at > 0 && waited->ns > best[at - 1]->ns; at--) {}
        if (at == PYPROF__COUNT(best)) continue;
        if (count < PYPROF__COUNT(best)) count++;
        for (k = count - 1; k > at; k--) best[k] = best[k - 1];
        best[at] = waited;
    }
    if (count == 0) return;
    pyprof__put(job->sink, "\nWaiting tasks, by the seconds that tasks waited there, added up (no part of the times above)\n    waited   task\n");
    for (i = 0; i < count; i++) {
        pyprof__put_column(job->sink, (double)best[i]->ns / 1e9, 2, " s", 10);
        pyprof__put(job->sink, "   ");
        pyprof__text_awaited(job, best[i]->node);
    }
    if (all > count) pyprof__put_format(job->sink, "    ... %llu more\n", (unsigned long long)(all - count));
}

static pyprof_result pyprof__write_text(pyprof__job *job)
{
    pyprof_result result;
    if (job->output->title) {
        pyprof__put_visible(job->sink, job->output->title);
        pyprof__put(job->sink, "\n");
    }
    if (job->profile->is_diff) return pyprof__write_text_diff(job);
    pyprof__text_head(job);
    if (pyprof__is_memory(job->metric)) {
        pyprof__text_degraded(job);
        return pyprof__text_memory(job, job->metric);
    }
    pyprof__text_quality(job);
    pyprof__text_process(job);
    pyprof__text_threads(job);
    result = pyprof__text_table(job, "Functions, by time spent running in them (self)", PYPROF_GROUP_FUNCTION, 0, 15);
    if (result == PYPROF_OK)
        result = pyprof__text_table(job, "Functions, by time spent running in and below them (total)", PYPROF_GROUP_FUNCTION, 1, 10);
    if (result == PYPROF_OK && (!pyprof__text_lines(job) || !pyprof__text_source(job))) result = pyprof__fail_memory("the lines");
    if (result == PYPROF_OK && (!pyprof__text_native(job) || !pyprof__text_waiting(job) || !pyprof__text_gil(job) || !pyprof__text_exceptions(job)))
        result = pyprof__fail_memory("the report");
    if (result == PYPROF_OK) result = pyprof__text_table(job, "Files, by time spent running in them (self)", PYPROF_GROUP_FILE, 0, 8);
    if (result == PYPROF_OK)
        result = pyprof__text_stacks(job, PYPROF_WALL_NS, "\nHottest stacks, by time spent running, innermost first\n");
    if (result == PYPROF_OK) pyprof__text_tasks(job);
    return result == PYPROF_OK ? pyprof__text_memory(job, 0) : result;
}

// ---- speedscope: https://www.speedscope.app/file-format-schema.json, one sampled profile a thread ---------------
// In order of time where the time line holds the whole recording, else one sample per stack.
static int pyprof__timeline_is_whole(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    int64_t wall = 0, all = 0;
    size_t i;
    if (job->metric != PYPROF_WALL_NS || (job->output->filter && !job->output->filter->include_idle)) return 0;
    for (i = 0; i < model->moments.count; i++) wall += (int64_t)PYPROF__AT(const pyprof__moment, model->moments, i).wall_ns;
    for (i = 0; i < model->columns[PYPROF_WALL_NS].count; i++) all += PYPROF__AT(int64_t, model->columns[PYPROF_WALL_NS], i);
    return wall == all;
}

static void pyprof__speedscope_stack(pyprof__sink *s, const pyprof_profile *profile, uint32_t node, uint32_t *path)
{
    uint32_t depth = 0;
    for (; node && pyprof__function_of(profile, node)->kind != PYPROF_KIND_THREAD; node = pyprof__parent_of(profile, node)) path[depth++] = node;
    pyprof__put(s, "[");
    while (depth-- > 0) {
        pyprof__put_int(s, (int64_t)PYPROF__AT(const pyprof__node, profile->model.nodes, path[depth]).location);
        if (depth) pyprof__put(s, ",");
    }
    pyprof__put(s, "]");
}

typedef struct { uint32_t node; int64_t weight; } pyprof__weighted;

static int pyprof__speedscope_list(const pyprof__job *job, pyprof__pool *pool, uint32_t member_id, const uint32_t *owner, int by_time,
                                   pyprof__array *list)
{
    const pyprof__model *model = &job->profile->model;
    size_t i, count = by_time ? model->moments.count : job->selection->count;
    list->count = 0;
    for (i = 0; i < count; i++) {
        const pyprof__moment *moment = by_time ? &PYPROF__AT(const pyprof__moment, model->moments, i) : NULL;
        uint32_t node = moment ? moment->node : (uint32_t)i;
        int64_t weight = moment ? (int64_t)moment->wall_ns : pyprof__self(job->selection, job->metric, node);
        pyprof__weighted *item;
        if (owner[node] != member_id || weight == 0 || !job->selection->chosen[node]) continue;
        item = (pyprof__weighted *)pyprof__push(pool, list);
        if (!item) return 0;
        item->node = node;
        item->weight = weight;
    }
    return 1;
}

static void pyprof__speedscope_thread(const pyprof__job *job, const pyprof__member *member, const pyprof__array *list, uint32_t *path, int first)
{
    static const char *const units[] = { "none", "nanoseconds", "bytes" };
    pyprof__sink *s = job->sink;
    int64_t sum = 0;
    size_t i;
    for (i = 0; i < list->count; i++) sum += PYPROF__AT(const pyprof__weighted, *list, i).weight;
    pyprof__put(s, first ? "\n{\"type\": \"sampled\", \"name\": " : ",\n{\"type\": \"sampled\", \"name\": ");
    pyprof__put_json(s, pyprof__text(job->profile, member->name));
    pyprof__put_format(s, ", \"unit\": \"%s\", \"startValue\": 0, \"endValue\": %lld,\n\"samples\": [",
                       units[pyprof__metric_names[job->metric].unit], (long long)sum);
    for (i = 0; i < list->count; i++) {
        if (i) pyprof__put(s, ",");
        pyprof__speedscope_stack(s, job->profile, PYPROF__AT(const pyprof__weighted, *list, i).node, path);
    }
    pyprof__put(s, "],\n\"weights\": [");
    for (i = 0; i < list->count; i++) {
        if (i) pyprof__put(s, ",");
        pyprof__put_int(s, PYPROF__AT(const pyprof__weighted, *list, i).weight);
    }
    pyprof__put(s, "]}");
}

static void pyprof__speedscope_frames(const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t i;
    for (i = 0; i < model->locations.count; i++) {
        const pyprof__location *location = &PYPROF__AT(const pyprof__location, model->locations, i);
        const char *file = pyprof__text(job->profile, PYPROF__AT(const pyprof__function, model->functions, location->function).file);
        pyprof__put(job->sink, i ? ",\n{\"name\": " : "\n{\"name\": ");
        pyprof__put_json(job->sink, pyprof__label(job->profile, location->function));
        if (*file) { pyprof__put(job->sink, ", \"file\": "); pyprof__put_json(job->sink, file); }
        if (location->place.line > 0) pyprof__put_format(job->sink, ", \"line\": %ld", (long)location->place.line);
        pyprof__put(job->sink, "}");
    }
}

// Which thread each node belongs to. Parents come before children.
static void pyprof__owners(const pyprof_profile *profile, uint32_t *owner)
{
    uint32_t i;
    for (i = 0; i < profile->model.nodes.count; i++) owner[i] = i ? owner[pyprof__parent_of(profile, i)] : PYPROF__NONE;
    for (i = 0; i < profile->model.members.count; i++) {
        uint32_t node = PYPROF__AT(const pyprof__member, profile->model.members, i).node;
        if (node < profile->model.nodes.count) owner[node] = i;
    }
    for (i = 1; i < profile->model.nodes.count; i++)
        if (pyprof__parent_of(profile, i) != 0) owner[i] = owner[pyprof__parent_of(profile, i)];
}

static pyprof_result pyprof__write_speedscope(pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    pyprof__pool pool;
    pyprof__array list;
    uint32_t *path, *owner, i;
    char name[256];
    int by_time = pyprof__timeline_is_whole(job), first = 1, whole;
    pyprof__pool_init(&pool, &job->profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&list, sizeof(pyprof__weighted));
    path = (uint32_t *)pyprof__alloc(&pool, (job->profile->depth + 1) * sizeof *path);
    owner = (uint32_t *)pyprof__alloc(&pool, model->nodes.count * sizeof *owner);
    whole = path && owner;
    if (whole) pyprof__owners(job->profile, owner);
    pyprof__put(job->sink, "{\"$schema\": \"https://www.speedscope.app/file-format-schema.json\", "
                "\"exporter\": \"pyprof.h@" PYPROF_VERSION_STRING "\", \"name\": ");
    snprintf(name, sizeof name, pyprof__is_memory(job->metric) ? "%.200s: %s" : "%.200s", pyprof__text(job->profile, job->profile->program),
             pyprof__metric_names[job->metric].name);
    pyprof__put_json(job->sink, job->output->title ? job->output->title : name);
    pyprof__put(job->sink, ",\n\"shared\": {\"frames\": [");
    pyprof__speedscope_frames(job);
    pyprof__put(job->sink, "]},\n\"profiles\": [");
    for (i = 0; i < model->members.count && whole; i++) {
        whole = pyprof__speedscope_list(job, &pool, i, owner, by_time, &list);
        if (!whole || list.count == 0) continue;
        pyprof__speedscope_thread(job, &PYPROF__AT(const pyprof__member, model->members, i), &list, path, first);
        first = 0;
    }
    pyprof__put(job->sink, "]}\n");
    pyprof__array_free(&pool, &list);
    pyprof__free(&pool, path, path ? (job->profile->depth + 1) * sizeof *path : 0);
    pyprof__free(&pool, owner, owner ? model->nodes.count * sizeof *owner : 0);
    return whole ? PYPROF_OK : pyprof__fail_memory("the speedscope file");
}

// ---- pprof: github.com/google/pprof/proto/profile.proto, in gzip with stored blocks (RFC 1951, 1952) ---------------
typedef struct { pyprof__pool pool; pyprof__array out, part; pyprof__strings strings; int failed; } pyprof__proto;

static void pyprof__proto_bytes(pyprof__proto *p, pyprof__array *to, const void *data, size_t size)
{
    if (p->failed || !pyprof__array_reserve(&p->pool, to, size + 1)) { p->failed = 1; return; }
    if (size) memcpy((char *)to->data + to->count, data, size);
    to->count += size;
}

static void pyprof__proto_varint(pyprof__proto *p, pyprof__array *to, uint64_t value)
{
    unsigned char bytes[10];
    size_t n = 0;
    do { bytes[n++] = (unsigned char)((value & 127) | (value > 127 ? 128 : 0)); value >>= 7; } while (value);
    pyprof__proto_bytes(p, to, bytes, n);
}

static void pyprof__proto_int(pyprof__proto *p, pyprof__array *to, uint32_t field, uint64_t value)
{
    pyprof__proto_varint(p, to, field << 3);
    pyprof__proto_varint(p, to, value);
}

static void pyprof__proto_block(pyprof__proto *p, pyprof__array *to, uint32_t field, const void *data, size_t size)
{
    pyprof__proto_varint(p, to, field << 3 | 2);
    pyprof__proto_varint(p, to, size);
    pyprof__proto_bytes(p, to, data, size);
}

static uint64_t pyprof__proto_string(pyprof__proto *p, const char *text)
{
    uint32_t id = pyprof__intern(&p->pool, &p->strings, text, strlen(text));
    if (id == PYPROF__NONE) p->failed = 1;
    return id == PYPROF__NONE ? 0 : id;
}

static void pyprof__proto_end(pyprof__proto *p, uint32_t field)   // the message being built becomes a field of the profile
{
    pyprof__proto_block(p, &p->out, field, p->part.data, p->part.count);
    p->part.count = 0;
}

// The columns of a pprof file: time always, memory if it was tracked, under the names that go tool pprof knows
static const struct { int metric; const char *type, *unit; } pyprof__pprof_types[] = {
    { PYPROF_SAMPLES, "samples", "count" }, { PYPROF_WALL_NS, "wall", "nanoseconds" }, { PYPROF_CPU_NS, "cpu", "nanoseconds" },
    { PYPROF_WAIT_NS, "waiting", "nanoseconds" },
    { PYPROF_ALLOC_BLOCKS, "alloc_objects", "count" }, { PYPROF_ALLOC_BYTES, "alloc_space", "bytes" },
    { PYPROF_LIVE_BLOCKS, "inuse_objects", "count" }, { PYPROF_LIVE_BYTES, "inuse_space", "bytes" },
    { PYPROF_PEAK_BLOCKS, "peak_objects", "count" }, { PYPROF_PEAK_BYTES, "peak_space", "bytes" },
    { PYPROF_TEMP_BLOCKS, "temp_objects", "count" },
};

static void pyprof__pprof_period(pyprof__proto *p, const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    int memory = pyprof__is_memory(job->metric);
    uint64_t interval = model->heap.interval ? model->heap.interval : 1;
    pyprof__proto_int(p, &p->part, 1, pyprof__proto_string(p, memory ? "space" : "wall"));
    pyprof__proto_int(p, &p->part, 2, pyprof__proto_string(p, memory ? "bytes" : "nanoseconds"));
    pyprof__proto_end(p, 11);
    pyprof__proto_int(p, &p->out, 12, memory ? interval : (uint64_t)(1e9 / (model->rate_hz > 0 ? model->rate_hz : 1)));
}

static void pyprof__pprof_comments(pyprof__proto *p, const pyprof__model *model)
{
    char quality[256];
    snprintf(quality, sizeof quality, "asked %llu, samples %llu, missed %llu, rejected %llu, unfrozen %llu, truncated %llu",
             (unsigned long long)model->stats.asked,
             (unsigned long long)model->stats.samples, (unsigned long long)model->stats.missed, (unsigned long long)model->stats.rejected,
             (unsigned long long)model->stats.unfrozen, (unsigned long long)model->stats.truncated);
    pyprof__proto_int(p, &p->out, 13, pyprof__proto_string(p, quality));
    if (model->heap.mode != PYPROF_HEAP_OFF) {
        snprintf(quality, sizeof quality, "memory %s, interval_bytes %llu, blocks not noted %llu", pyprof__heap_modes[model->heap.mode],
                 (unsigned long long)model->heap.interval, (unsigned long long)model->stats.heap_dropped);
        pyprof__proto_int(p, &p->out, 13, pyprof__proto_string(p, quality));
    }
    if (model->stats.degraded[0]) pyprof__proto_int(p, &p->out, 13, pyprof__proto_string(p, model->stats.degraded));
}

static void pyprof__pprof_head(pyprof__proto *p, const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    const char *main_type = "wall";
    size_t i;
    for (i = 0; i < PYPROF__COUNT(pyprof__pprof_types); i++) {
        if (!pyprof__has_metric(job->profile, pyprof__pprof_types[i].metric)) continue;
        pyprof__proto_int(p, &p->part, 1, pyprof__proto_string(p, pyprof__pprof_types[i].type));
        pyprof__proto_int(p, &p->part, 2, pyprof__proto_string(p, pyprof__pprof_types[i].unit));
        pyprof__proto_end(p, 1);
        if (pyprof__pprof_types[i].metric == job->metric) main_type = pyprof__pprof_types[i].type;
    }
    pyprof__proto_int(p, &p->out, 9, (uint64_t)(pyprof__unix(model, model->start_ns) * 1e9));
    pyprof__proto_int(p, &p->out, 10, model->recorded_ns);
    pyprof__pprof_period(p, job);
    pyprof__proto_int(p, &p->out, 14, pyprof__proto_string(p, main_type));
    pyprof__pprof_comments(p, model);
}

static void pyprof__pprof_tables(pyprof__proto *p, const pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    size_t i;
    pyprof__proto_int(p, &p->part, 1, 1);   // one mapping: everything has names already, nothing is to be symbolised
    pyprof__proto_int(p, &p->part, 5, pyprof__proto_string(p, pyprof__text(job->profile, job->profile->program)));
    for (i = 7; i <= 9; i++) pyprof__proto_int(p, &p->part, (uint32_t)i, 1);
    pyprof__proto_end(p, 3);
    for (i = 0; i < model->functions.count; i++) {   // system_name stays empty: equal to name, pprof would strip "<module>"
        const pyprof__function *function = &PYPROF__AT(const pyprof__function, model->functions, i);
        pyprof__proto_int(p, &p->part, 1, i + 1);
        pyprof__proto_int(p, &p->part, 2, pyprof__proto_string(p, pyprof__label(job->profile, (uint32_t)i)));
        pyprof__proto_int(p, &p->part, 4, pyprof__proto_string(p, pyprof__text(job->profile, function->file)));
        if (function->first_line > 0) pyprof__proto_int(p, &p->part, 5, (uint64_t)function->first_line);
        pyprof__proto_end(p, 5);
    }
    for (i = 0; i < model->locations.count; i++) {
        const pyprof__location *location = &PYPROF__AT(const pyprof__location, model->locations, i);
        unsigned char line[48];
        pyprof__array inner;
        pyprof__array_init(&inner, 1);
        inner.data = line;
        inner.capacity = sizeof line;   // three short varints: it never grows
        pyprof__proto_int(p, &inner, 1, location->function + 1);
        if (location->place.line > 0) pyprof__proto_int(p, &inner, 2, (uint64_t)location->place.line);
        if (location->place.column >= 0) pyprof__proto_int(p, &inner, 3, (uint64_t)location->place.column + 1);
        pyprof__proto_int(p, &p->part, 1, i + 1);
        pyprof__proto_int(p, &p->part, 2, 1);
        pyprof__proto_block(p, &p->part, 4, inner.data, inner.count);
        pyprof__proto_end(p, 4);
    }
}

static void pyprof__pprof_label(pyprof__proto *p, const char *key, const char *text, int64_t number)   // text or number
{
    unsigned char label[48];
    pyprof__array inner;
    pyprof__array_init(&inner, 1);
    inner.data = label;
    inner.capacity = sizeof label;
    pyprof__proto_int(p, &inner, 1, pyprof__proto_string(p, key));
    pyprof__proto_int(p, &inner, text ? 2 : 3, text ? pyprof__proto_string(p, text) : (uint64_t)number);
    pyprof__proto_block(p, &p->part, 3, inner.data, inner.count);
}

static void pyprof__pprof_sample(pyprof__proto *p, const pyprof__job *job, uint32_t node, pyprof__array *packed)
{
    const pyprof_profile *profile = job->profile;
    uint32_t up = node;
    size_t i;
    packed->count = 0;
    for (; up && pyprof__function_of(profile, up)->kind != PYPROF_KIND_THREAD; up = pyprof__parent_of(profile, up))
        pyprof__proto_varint(p, packed, (uint64_t)PYPROF__AT(const pyprof__node, profile->model.nodes, up).location + 1);
    pyprof__proto_block(p, &p->part, 1, packed->data, packed->count);
    packed->count = 0;
    for (i = 0; i < PYPROF__COUNT(pyprof__pprof_types); i++)
        if (pyprof__has_metric(profile, pyprof__pprof_types[i].metric))
            pyprof__proto_varint(p, packed, (uint64_t)pyprof__self(job->selection, pyprof__pprof_types[i].metric, node));
    pyprof__proto_block(p, &p->part, 2, packed->data, packed->count);
    if (pyprof__is_leaf(pyprof__function_of(profile, node)->kind))
        pyprof__pprof_label(p, "kind", pyprof__kind_names[pyprof__function_of(profile, node)->kind], 0);
    for (i = 0; up && i < profile->model.members.count; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, profile->model.members, i);
        if (member->node != up) continue;
        pyprof__pprof_label(p, "thread", pyprof__text(profile, member->name), 0);
        pyprof__pprof_label(p, "thread_id", NULL, member->native ? (int64_t)member->native : 0);
        break;
    }
    pyprof__proto_end(p, 2);
}

static int pyprof__pprof_any(const pyprof__job *job, uint32_t node)   // has it values of its own?
{
    size_t i;
    int any = 0;
    for (i = 0; i < PYPROF__COUNT(pyprof__pprof_types); i++) any |= pyprof__self(job->selection, pyprof__pprof_types[i].metric, node) != 0;
    return any;
}

static uint32_t pyprof__crc32(const unsigned char *data, size_t size)
{
    uint32_t table[256], crc = 0xffffffffu;
    size_t i, k;
    for (i = 0; i < 256; i++)
        for (table[i] = (uint32_t)i, k = 0; k < 8; k++) table[i] = table[i] & 1 ? table[i] >> 1 ^ 0xedb88320u : table[i] >> 1;
    for (i = 0; i < size; i++) crc = table[(crc ^ data[i]) & 255] ^ crc >> 8;
    return ~crc;
}

static void pyprof__put_gzip(pyprof__sink *s, const unsigned char *data, size_t size)
{
    static const unsigned char head[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };   // no time: equal profiles, equal files
    size_t at = 0;
    pyprof__put_bytes(s, head, sizeof head);
    do {
        size_t n = size - at < 65535 ? size - at : 65535;
        pyprof__put_little(s, at + n == size, 1);
        pyprof__put_little(s, (uint32_t)n, 2);
        pyprof__put_little(s, (uint32_t)n ^ 0xffffu, 2);
        pyprof__put_bytes(s, data + at, n);
        at += n;
    } while (at < size);
    pyprof__put_little(s, pyprof__crc32(data, size), 4);
    pyprof__put_little(s, (uint32_t)size, 4);
}

static pyprof_result pyprof__write_pprof(pyprof__job *job)
{
    pyprof__proto p;
    pyprof__array packed;
    uint32_t i;
    int failed;
    memset(&p, 0, sizeof p);
    pyprof__pool_init(&p.pool, &job->profile->pool.allocator, UINT64_MAX);
    pyprof__array_init(&p.out, 1);
    pyprof__array_init(&p.part, 1);
    pyprof__array_init(&packed, 1);
    if (!pyprof__strings_init(&p.pool, &p.strings)) p.failed = 1;
    pyprof__pprof_head(&p, job);
    pyprof__pprof_tables(&p, job);
    for (i = 1; i < job->selection->count; i++)
        if (pyprof__pprof_any(job, i)) pyprof__pprof_sample(&p, job, i, &packed);
    for (i = 0; i < p.strings.starts.count; i++) {
        const char *text = pyprof__string(&p.strings, i);
        pyprof__proto_block(&p, &p.out, 6, text, strlen(text));
    }
    failed = p.failed;
    if (!failed) pyprof__put_gzip(job->sink, (const unsigned char *)p.out.data, p.out.count);
    pyprof__array_free(&p.pool, &packed);
    pyprof__array_free(&p.pool, &p.out);
    pyprof__array_free(&p.pool, &p.part);
    pyprof__strings_free(&p.pool, &p.strings);
    return failed ? pyprof__fail_memory("the pprof file") : PYPROF_OK;
}

// ---- pickle: a tracemalloc.Snapshot, protocol 2 ---------------------------------------------------------------------------
// tracemalloc counts traces, so each block is one: the bytes of a stack are spread over its blocks. Of very many blocks
// one trace stands for several; what "pyprof" says in the Snapshot's __dict__ tells, and with what the blocks were found.
enum {
    PYPROF__PICKLE_TRACES = 200000,          // from there on; a stack has one at least
    PYPROF__PICKLE_NATIVE = 0x70797072       // the domain of what malloc and mmap gave out; Python's own has 0
};

typedef struct {
    pyprof__sink *sink;
    const pyprof_profile *profile;
    uint32_t *files, *places;                // of each string, of each location: its number in the unpickler's memo + 1
    uint32_t memo;                           // numbers used
    int items;                               // of a trace
} pyprof__pickler;

static void pyprof__pickle_op(pyprof__sink *s, char op, uint64_t value, int bytes)
{
    pyprof__put_bytes(s, &op, 1);
    pyprof__put_little(s, value, bytes);
}

static void pyprof__pickle_int(pyprof__sink *s, int64_t value)
{
    if (value >= 0 && value < 256) pyprof__pickle_op(s, 'K', (uint64_t)value, 1);
    else if (value >= 0 && value < 65536) pyprof__pickle_op(s, 'M', (uint64_t)value, 2);
    else if (value >= INT32_MIN && value <= INT32_MAX) pyprof__pickle_op(s, 'J', (uint64_t)value, 4);
    else {
        pyprof__put(s, "\x8a\x08");
        pyprof__put_little(s, (uint64_t)value, 8);
    }
}

static void pyprof__pickle_text(pyprof__sink *s, const char *text)   // repaired: its size has to be known before
{
    size_t size = 0, length;
    char one[4];
    const char *at;
    for (at = text; *at; at += length) size += pyprof__utf8(one, pyprof__utf8_next(at, &length));
    pyprof__pickle_op(s, 'X', size, 4);
    for (at = text; *at; at += length) pyprof__put_bytes(s, one, pyprof__utf8(one, pyprof__utf8_next(at, &length)));
}

static void pyprof__pickle_get(pyprof__sink *s, uint32_t number)
{
    if (number < 256) pyprof__pickle_op(s, 'h', number, 1);
    else pyprof__pickle_op(s, 'j', number, 4);
}

static uint32_t pyprof__pickle_keep(pyprof__pickler *p)   // what was written last; its number
{
    if (p->memo < 256) pyprof__pickle_op(p->sink, 'q', p->memo, 1);
    else pyprof__pickle_op(p->sink, 'r', p->memo, 4);
    return p->memo++;
}

// (file, line). What is no Python code has its name for a file, as tracemalloc's own "<unknown>".
static void pyprof__pickle_place(pyprof__pickler *p, uint32_t node)
{
    const pyprof__function *function = pyprof__function_of(p->profile, node);
    uint32_t location = PYPROF__AT(const pyprof__node, p->profile->model.nodes, node).location;
    int python = function->kind == PYPROF_KIND_PYTHON;
    uint32_t file = python ? function->file : function->name;
    if (p->places[location]) { pyprof__pickle_get(p->sink, p->places[location] - 1); return; }
    if (p->files[file]) pyprof__pickle_get(p->sink, p->files[file] - 1);
    else {
        pyprof__pickle_text(p->sink, pyprof__text(p->profile, file));
        p->files[file] = pyprof__pickle_keep(p) + 1;
    }
    pyprof__pickle_int(p->sink, python ? pyprof__location_of(p->profile, node)->place.line : 0);
    pyprof__put(p->sink, "\x86");
    p->places[location] = pyprof__pickle_keep(p) + 1;
}

static int64_t pyprof__pickle_frames(pyprof__pickler *p, uint32_t node)   // most recent first; returns how many
{
    int64_t count = 0;
    pyprof__put(p->sink, "(");
    for (; node && pyprof__function_of(p->profile, node)->kind != PYPROF_KIND_THREAD; node = pyprof__parent_of(p->profile, node), count++)
        pyprof__pickle_place(p, node);
    if (count == 0) {   // a trace needs a frame
        pyprof__pickle_text(p->sink, "<unknown>");
        pyprof__pickle_int(p->sink, 0);
        pyprof__put(p->sink, "\x86");
    }
    pyprof__put(p->sink, "t");
    return count ? count : 1;
}

// How many traces for the next `blocks` of `all` blocks, `before` of which have theirs
static int64_t pyprof__pickle_traces(int64_t before, int64_t blocks, int64_t all)
{
    double scale = (double)PYPROF__PICKLE_TRACES / (double)all;
    int64_t traces;
    if (all <= PYPROF__PICKLE_TRACES) return blocks;
    traces = (int64_t)((double)(before + blocks) * scale) - (int64_t)((double)before * scale);
    return traces > 0 ? traces : 1;
}

static void pyprof__pickle_stack(pyprof__pickler *p, uint32_t node, int64_t bytes, int64_t traces)
{
    int64_t domain = 0, frames = 0, i;
    uint32_t kept = 0;
    for (; pyprof__function_of(p->profile, node)->kind == PYPROF_KIND_NATIVE; node = pyprof__parent_of(p->profile, node))
        domain = PYPROF__PICKLE_NATIVE;
    for (i = 0; i < traces; i++) {
        if (p->items == 4) pyprof__put(p->sink, "(");
        pyprof__pickle_int(p->sink, domain);
        pyprof__pickle_int(p->sink, bytes / traces + (i < bytes % traces));
        if (i) pyprof__pickle_get(p->sink, kept);
        else frames = pyprof__pickle_frames(p, node);
        if (i == 0 && traces > 1) kept = pyprof__pickle_keep(p);
        if (p->items == 4) pyprof__pickle_int(p->sink, frames);
        pyprof__put(p->sink, p->items == 4 ? "t" : "\x87");
    }
}

// The blocks of a node; bytes without a block, as estimates may have them, are one. -1 = less than nothing
static int64_t pyprof__pickle_blocks(const pyprof__job *job, int metric, uint32_t node)
{
    int64_t bytes = pyprof__self(job->selection, metric, node), blocks = pyprof__self(job->selection, metric + 1, node);
    return bytes < 0 || blocks < 0 ? -1 : blocks == 0 && bytes > 0 ? 1 : blocks;
}

static void pyprof__pickle_about(const pyprof__job *job, int metric, int64_t blocks, int64_t traces)
{
    const pyprof__model *model = &job->profile->model;
    pyprof__sink *s = job->sink;
    char note[256];
    const struct { const char *key; int64_t value; } rows[] = {
        { "interval_bytes", (int64_t)model->heap.interval }, { "bytes", job->selection->all[metric] }, { "blocks", blocks }, { "traces", traces },
        { "blocks_not_noted", (int64_t)model->stats.heap_dropped }, { "native_domain", PYPROF__PICKLE_NATIVE },
    };
    size_t i;
    snprintf(note, sizeof note, "%s%s", model->heap.mode == PYPROF_HEAP_SAMPLED ? "estimated from samples; " : "", traces == blocks
             ? "a trace is a block" : "sizes add up, but a trace stands for several blocks: multiply counts by blocks / traces");
    pyprof__pickle_text(s, "pyprof");
    pyprof__put(s, "}(");
    pyprof__pickle_text(s, "exporter");
    pyprof__pickle_text(s, "pyprof.h " PYPROF_VERSION_STRING);
    pyprof__pickle_text(s, "metric");
    pyprof__pickle_text(s, pyprof__metric_keys[metric]);
    pyprof__pickle_text(s, "mode");
    pyprof__pickle_text(s, pyprof__heap_modes[model->heap.mode]);
    pyprof__pickle_text(s, "note");
    pyprof__pickle_text(s, note);
    for (i = 0; i < PYPROF__COUNT(rows); i++) {
        pyprof__pickle_text(s, rows[i].key);
        pyprof__pickle_int(s, rows[i].value);
    }
    pyprof__put(s, "u");
}

static void pyprof__pickle_snapshot(pyprof__pickler *p, const pyprof__job *job, int metric, int64_t all)
{
    int64_t before = 0, traces = 0;
    uint32_t node;
    pyprof__put(p->sink, "\x80\x02" "ctracemalloc\nSnapshot\n)\x81}(");
    pyprof__pickle_text(p->sink, "traces");
    pyprof__put(p->sink, "ctracemalloc\n_Traces\n)\x81}");
    pyprof__pickle_text(p->sink, "_traces");
    pyprof__put(p->sink, "(");
    for (node = 0; node < job->selection->count; node++) {
        int64_t blocks = pyprof__pickle_blocks(job, metric, node), some = blocks ? pyprof__pickle_traces(before, blocks, all) : 0;
        if (some) pyprof__pickle_stack(p, node, pyprof__self(job->selection, metric, node), some);
        before += blocks;
        traces += some;
    }
    pyprof__put(p->sink, "tsb");
    pyprof__pickle_text(p->sink, "traceback_limit");
    pyprof__pickle_int(p->sink, job->profile->depth > 1 ? job->profile->depth : 1);
    pyprof__pickle_about(job, metric, all, traces);
    pyprof__put(p->sink, "ub.");
}

static pyprof_result pyprof__write_pickle(pyprof__job *job)
{
    const pyprof__model *model = &job->profile->model;
    int python = job->output->python ? job->output->python : pyprof__version_of(pyprof__text(job->profile, job->profile->python));
    int metric = job->metric - (job->metric - PYPROF_ALLOC_BYTES) % 2;   // bytes; blocks are the next
    pyprof__pickler p;
    int64_t all = 0;
    uint32_t node;
    int whole;
    if (job->metric < PYPROF_ALLOC_BYTES || job->metric > PYPROF_PEAK_BLOCKS)
        return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "a .pkl holds live, peak or allocated memory, not %s", pyprof__metric_names[job->metric].name);
    for (node = 0; node < job->selection->count; node++) {
        int64_t blocks = pyprof__pickle_blocks(job, metric, node);
        if (blocks < 0) return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "a .pkl cannot hold negative values, as comparisons have them");
        all += blocks;
    }
    p.sink = job->sink;
    p.profile = job->profile;
    p.memo = 0;
    p.items = pyprof__trace_items(python) == 3 ? 3 : 4;
    p.files = (uint32_t *)pyprof__alloc(&job->selection->pool, model->strings.starts.count * sizeof *p.files);
    p.places = (uint32_t *)pyprof__alloc(&job->selection->pool, model->locations.count * sizeof *p.places);
    whole = p.files && p.places;
    if (whole) pyprof__pickle_snapshot(&p, job, metric, all);
    pyprof__free(&job->selection->pool, p.files, model->strings.starts.count * sizeof *p.files);
    pyprof__free(&job->selection->pool, p.places, model->locations.count * sizeof *p.places);
    return whole ? PYPROF_OK : pyprof__fail_memory("the snapshot");
}

// ---- the table of formats -------------------------------------------------------------------------------
typedef pyprof_result pyprof__writer(pyprof__job *job);

static const struct { int format; const char *suffix; pyprof__writer *write; int metric, without_idle, holds_diffs; } pyprof__formats[] = {
    // format                   suffix             writer                     metric           leaves idle time out, holds negative values
    { PYPROF_FORMAT_JSON,       ".json",           pyprof__write_json,        PYPROF_WALL_NS,  0, 1 },
    { PYPROF_FORMAT_TEXT,       ".txt",            pyprof__write_text,        PYPROF_WALL_NS,  0, 1 },
    { PYPROF_FORMAT_SVG,        ".svg",            pyprof__write_svg,         PYPROF_WALL_NS,  1, 0 },
    { PYPROF_FORMAT_HTML,       ".html",           NULL,                      PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_FOLDED,     ".folded",         pyprof__write_folded,      PYPROF_SAMPLES,  0, 0 },
    { PYPROF_FORMAT_SPEEDSCOPE, ".speedscope.json", pyprof__write_speedscope, PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_PPROF,      ".pb.gz",          pyprof__write_pprof,       PYPROF_WALL_NS,  0, 1 },
    { PYPROF_FORMAT_PSTATS,     ".prof",           NULL,                      PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_CPUPROFILE, ".cpuprofile",     NULL,                      PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_HEAPPROFILE, ".heapprofile",   NULL,                      PYPROF_LIVE_BYTES, 0, 0 },
    { PYPROF_FORMAT_TRACE,      ".trace.json",     NULL,                      PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_FIREFOX,    ".firefox.json",   NULL,                      PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_CALLGRIND,  ".callgrind",      NULL,                      PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_PICKLE,     ".pkl",            pyprof__write_pickle,      PYPROF_LIVE_BYTES, 0, 0 },
    { PYPROF_FORMAT_PERF,       ".linux-perf.txt", NULL,                      PYPROF_WALL_NS,  0, 0 },
    { PYPROF_FORMAT_MASSIF,     ".massif",         NULL,                      PYPROF_LIVE_BYTES, 0, 0 },
    { PYPROF_FORMAT_DHAT,       ".dhat.json",      NULL,                      PYPROF_LIVE_BYTES, 0, 0 },
    { PYPROF_FORMAT_OPENMETRICS, ".om.txt",        NULL,                      PYPROF_SAMPLES,  0, 0 },
};

static int pyprof__format_by_suffix(const char *path)   // the longest suffix wins; 0 = none
{
    size_t i, best = 0, size = strlen(path);
    int format = 0;
    for (i = 0; i < PYPROF__COUNT(pyprof__formats); i++) {
        size_t n = strlen(pyprof__formats[i].suffix);
        if (n <= best || n >= size + 1 || strcmp(path + size - n, pyprof__formats[i].suffix) != 0) continue;
        best = n;
        format = pyprof__formats[i].format;
    }
    return format;
}

static pyprof_result pyprof__output_check(const pyprof_output *output, int format, int is_diff, size_t *row)
{
    for (*row = 0; *row < PYPROF__COUNT(pyprof__formats) && pyprof__formats[*row].format != format; ++*row) {}
    if (*row == PYPROF__COUNT(pyprof__formats)) return pyprof__fail(PYPROF_ERR_FORMAT, "unknown format %d", format);
    if (!pyprof__formats[*row].write) return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "writing %s is not supported yet", pyprof__formats[*row].suffix);
    if (is_diff && !pyprof__formats[*row].holds_diffs)
        return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "%s cannot hold a difference: its values can be negative", pyprof__formats[*row].suffix);
    if (output->metric < 0 || output->metric >= PYPROF_METRIC_COUNT || (output->metric && !*pyprof__metric_keys[output->metric]))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "unknown metric %d", output->metric);
    if (output->paths < 0 || output->paths > PYPROF_PATHS_HASHED)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "paths is %d: no such value", output->paths);
    if (output->python && !pyprof__trace_items(output->python))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "python is 0x%x: no version whose tracemalloc is known", (unsigned)output->python);
    return PYPROF_OK;
}

static pyprof_result pyprof__metric_check(const pyprof_profile *profile, const pyprof_output *output, size_t row)
{
    int metric = output->metric ? output->metric : pyprof__formats[row].metric;
    if (pyprof__has_metric(profile, metric)) return PYPROF_OK;
    return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "this recording has no %s%s", pyprof__metric_names[metric].name,
                        pyprof__is_memory(metric) ? ": memory was not tracked (pyprof_config.heap)" : "");
}

// "[read file /a/data.bin]", "[recv 10.0.0.1:5432]" with less of the target, as a session with these paths has it
static uint32_t pyprof__wait_with_paths(pyprof__model *model, const char *name)
{
    const char *socket = strstr(name, " unix:"), *path = socket ? NULL : strstr(name, " /"), *base = strrchr(name, '/');
    const char *address = socket ? socket : path ? NULL : strstr(name, ":");
    char text[600];
    size_t end = strlen(name);
    while (address && address > name && *address != ' ') address--;
    if (!path && !address) return pyprof__model_string(model, name);
    if (model->paths == PYPROF_PATHS_BASE && path) snprintf(text, sizeof text, "%.*s %s", (int)(path - name), name, base + 1);
    else if (model->paths == PYPROF_PATHS_BASE && strncmp(address, " unix:", 6) != 0) snprintf(text, sizeof text, "%s", name);
    else snprintf(text, sizeof text, "%.*s%s%s", (int)((path ? path : address) - name), name,
                  model->paths == PYPROF_PATHS_BASE ? " unix" : "", end && name[end - 1] == ']' ? "]" : "");
    return pyprof__model_string(model, text);
}

// The same profile with file names reduced. NULL = no memory.
static pyprof_profile *pyprof__with_paths(const pyprof_profile *profile, int paths)
{
    pyprof_profile *made = pyprof__profile_new(&profile->model, 0, &profile->pool.allocator);
    size_t i;
    int whole = made != NULL;
    if (!made) return NULL;
    made->model.paths = paths;
    for (i = 0; i < made->model.functions.count && whole; i++) {
        pyprof__function *function = &PYPROF__AT(pyprof__function, made->model.functions, i);
        int by_file = function->name == function->file;   // a difference by file
        function->file = pyprof__model_path(&made->model, pyprof__text(profile, function->file));
        if (by_file) function->name = function->qualname = function->file;
        if (function->kind == PYPROF_KIND_WAIT)
            function->name = function->qualname = pyprof__wait_with_paths(&made->model, pyprof__text(profile, function->name));
        whole = function->file != PYPROF__NONE && function->name != PYPROF__NONE;
    }
    pyprof__array_free(&made->pool, &made->labels);
    made->program = profile->program;   // the copy has the same strings first
    made->python = profile->python;
    made->pid = profile->pid;
    made->free_threaded = profile->free_threaded;
    made->interpreters = profile->interpreters;
    made->is_diff = profile->is_diff;
    whole = whole && pyprof__array_copy(&made->pool, &made->seen, &profile->seen);
    if (whole && pyprof__labels_make(made)) return made;
    pyprof__profile_free(made);
    return NULL;
}

static pyprof_result pyprof__write_with(const pyprof_profile *profile, const pyprof_output *output, size_t row, pyprof_write_fn *fn, void *user)
{
    pyprof__selection selection;
    pyprof__job job;
    pyprof__sink *sink;
    pyprof_result result;
    sink = (pyprof__sink *)profile->pool.allocator.alloc(profile->pool.allocator.user, sizeof *sink);
    if (!sink) return pyprof__fail_memory("the output buffer");
    sink->fn = fn;
    sink->user = user;
    sink->failed = 0;
    sink->used = 0;
    job.sink = sink;
    job.profile = profile;
    job.output = output;
    job.selection = &selection;
    job.metric = output->metric ? output->metric : pyprof__formats[row].metric;
    if (!pyprof__select(&selection, profile, output->filter, output->filter && pyprof__formats[row].format != PYPROF_FORMAT_TEXT
                        ? !output->filter->include_idle : pyprof__formats[row].without_idle))   // text tells running and waiting apart itself
        result = pyprof__fail_memory("the output");
    else result = pyprof__formats[row].write(&job);
    pyprof__flush(sink);
    if (result == PYPROF_OK && sink->failed) result = pyprof__fail(PYPROF_ERR_IO, "the write callback refused the data");
    pyprof__selection_free(&selection);
    profile->pool.allocator.free(profile->pool.allocator.user, sink, sizeof *sink);
    return result;
}

static pyprof_result pyprof__write_profile(const pyprof_profile *profile, const pyprof_output *output, int format, pyprof_write_fn *fn, void *user)
{
    pyprof_profile *changed = NULL;
    size_t row;
    pyprof_result result = pyprof__output_check(output, format, profile->is_diff, &row);
    if (result == PYPROF_OK) result = pyprof__metric_check(profile, output, row);
    if (result != PYPROF_OK) return result;
    if (output->paths && !(changed = pyprof__with_paths(profile, output->paths))) return pyprof__fail_memory("the output");
    result = pyprof__write_with(changed ? changed : profile, output, row, fn, user);
    if (changed) pyprof__profile_free(changed);
    return result;
}

static int pyprof__to_file(void *user, const void *data, size_t size)   // a pyprof_write_fn; errno tells why
{
    return pyprof__write_all(((pyprof__file *)user)->fd, (const char *)data, size);
}

static pyprof_result pyprof__save_path(const pyprof_profile *profile, const char *path, const pyprof_output *output)
{
    pyprof_output none;
    pyprof__file file;
    pyprof__quiet quiet;
    pyprof_result result;
    size_t row;
    int format;
    memset(&none, 0, sizeof none);
    if (!output) output = &none;
    format = output->format ? output->format : pyprof__format_by_suffix(path);
    if (!format) return pyprof__fail(PYPROF_ERR_FORMAT, "cannot write %s: unknown file extension, and no format was asked for", path);
    result = pyprof__output_check(output, format, profile->is_diff, &row);
    if (result == PYPROF_OK) result = pyprof__metric_check(profile, output, row);
    if (result != PYPROF_OK) return result;
    pyprof__quiet_begin(&quiet);
    result = pyprof__file_open(&file, path);
    if (result == PYPROF_OK) {
        errno = 0;
        result = pyprof__write_profile(profile, output, format, pyprof__to_file, &file);
        if (result == PYPROF_ERR_IO) pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
        result = pyprof__file_close(&file, path, result);
    }
    pyprof__quiet_end(&quiet);
    return result;
}

// ============================================================================
// [SECTION] SESSION -- sessions, the sampler thread, fork, environment
//   Runs on    callers' threads and the sampler thread; pyprof__lock guards the sessions, pyprof__control starts and stops
//   Uses       SAMPLER, WRITERS
//   Promise    a session is a token; a forked child finds everything off; nothing is freed that another thread may touch
// ============================================================================
enum { PYPROF__SESSIONS = 8, PYPROF__MEMBERS = 4096, PYPROF__MIN_BYTES = 4 << 20, PYPROF__MOST_DEPTH = 10000000, PYPROF__RIVALS = 1024,
       PYPROF__ACCOUNTS = 16384, PYPROF__DUE = 512, PYPROF__PROMPT_NS = 200000, PYPROF__LEAVE_NS = 25000,
       PYPROF__ELSEWHERE_NS = 4000000, PYPROF__SETTLED = 8 };
static const uint64_t pyprof__patience = 5000000000u;   // ns a session's end waits for a sampler that gets no CPU

typedef struct {                 // a tick of the sampler, late or not
    uint64_t now, late;          // when it got its CPU, and how long after the first of the ticks that were due
    uint64_t last, skipped;      // when it had it before; ticks that were due before at[0], when is not told
    uint64_t at[PYPROF__DUE];    // when each was due
    uint32_t count;
    double rate;
} pyprof__tick;

// Time is counted by clocks, samples only say where it was spent. What a thread did of it on a CPU goes to samples in which it ran, the
// rest to the others: from one sample of a kind to the next, each gets half. So the sums are right even if samples of a kind are missed.
typedef struct {                 // time of one kind
    int64_t ns;                  // since the last sample of this kind
    uint32_t node, state;        // of that sample; node 0 = there was none
    uint64_t moment;             // its number + 1 on the time line
} pyprof__share;

typedef struct {                 // the time of an OS thread, through all thread states that it had
    uint64_t native;
    uint64_t cpu_ns, look_ns;    // its CPU clock when it was last looked at, and when that was
    uint64_t tick, due;          // the session's tick then; so many of the session's ticks are told
    uint64_t spell;              // the session's number of spells then
    uint64_t looks;              // so often in a row
    int64_t debt_ns;             // CPU time that is to be told once it is known to live on
    uint64_t outside_ns;         // CPU time in which it was no Python thread
    uint64_t moment;             // the number + 1 of its latest moment on the time line
    uint32_t member, padding;
    pyprof__share runs, waits;
} pyprof__account;

typedef struct {                 // what a session remembers of a thread slot of the sampler
    uint64_t address, serial;    // whose slot it was
    int64_t native;
    uint32_t member;             // PYPROF__NONE = not yet
    uint32_t account;            // PYPROF__NONE = none yet
    uint32_t version, node;      // the stack it had, and its node
    int truncated;               // the stack it had was cut
    uint32_t leaf, leaf_under, leaf_node;   // the latest leaf: spot, the node it lies under, its own; 0 = none
    uint32_t hold_number;        // it has held the GIL since this change of hands
    uint64_t hold_ns;            // for so long, with others waiting
    pyprof__array spots, nodes;  // uint32_t each, root first: the last path
} pyprof__seat;

typedef struct {
    uint64_t generation;         // of the token; odd = in use
    int paused, ended;           // ended: duration_s is over
    pyprof_config config;
    char thread_filter[256];
    pyprof__pool pool;
    pyprof__model model;
    pyprof__array seats;         // pyprof__seat, by thread slot
    pyprof__array accounts;      // pyprof__account
    pyprof__index account_index;
    uint64_t due, due_ns[PYPROF__DUE];   // ticks so far, and when the latest of them were due: number n at n % DUE
    uint64_t due_now, took_ns;   // since threads were last looked at: ticks, and CPU time of the sampler
    uint64_t spells;             // it was paused, or time was left out, so often
    pyprof__array spot_map;      // uint32_t location + 1 by spot number
    uint32_t spot_generation;
    double phase;                // of its own rate within the sampler's
    uint64_t tick, last_ns;      // its ticks; when the last one was
    uint64_t awake_ns;           // when it began, or went on after a pause
    uint64_t ticks_late, late_sum;
    uint64_t own_cpu_start;
    int heap;                    // it tracks memory
    pyprof__heap_view view;
    int events;                  // bit per pyprof_event waiting to be delivered
    char event_detail[256];
} pyprof__session;

typedef struct {
    pid_t pid;                   // of the process all this belongs to; a forked child sees its own differ
    pyprof__session sessions[PYPROF__SESSIONS];
    int alive, joinable;         // the sampler thread runs; it has to be joined
    pthread_t thread;
    int64_t tid;                 // of that thread, 0 = it has not begun yet
    uint32_t wake;               // futex word: something changed
    int delivering;              // session whose callback runs + 1, 0 = none
    pyprof__sweeper sweeper;     // the sampler thread's while alive
    int proven;                  // the layout was checked on a live thread
    int doubts;                  // how often that failed so far,
    uint64_t doubted_ns;         // and since when
    char refused[320];           // why nothing can be sampled
    uint64_t own_cpu_ns, own_cpu_due;   // as read lately, when to read it again
    int atfork;                  // the handler is registered
    pyprof *env_session;
    pid_t env_pid;
    char env_prefix[1024], env_formats[256];
    int env_sources;             // pyprof_output.sources
    int env_quiet, env_claim;
    double env_interval;         // seconds between memory snapshots
    uint32_t env_wake;           // futex word: the run is over
    int env_threaded;            // the thread that writes them is there
    pthread_t env_thread;
} pyprof__global;

static pthread_mutex_t pyprof__lock = PTHREAD_MUTEX_INITIALIZER;      // sessions; held for microseconds
static pthread_mutex_t pyprof__control = PTHREAD_MUTEX_INITIALIZER;   // start and stop of the sampler thread
static pyprof__global pyprof__g;
static __thread int pyprof__is_sampler;

// ---- fork ---------------------------------------------------------------------
// The child has no sampler thread, and the locks may be held by threads it does not have. What was recorded is the
// parent's: it is left alone, never freed, because the memory may have been changing at the moment of the fork.
static void pyprof__after_fork(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    int i;
    memcpy(&pyprof__lock, &fresh, sizeof fresh);
    memcpy(&pyprof__control, &fresh, sizeof fresh);
    for (i = 0; i < PYPROF__SESSIONS; i++) pyprof__g.sessions[i].generation += pyprof__g.sessions[i].generation & 1;
    pyprof__g.alive = pyprof__g.joinable = pyprof__g.delivering = 0;
    pyprof__g.env_threaded = 0;
    pyprof__heap_forked();
    pyprof__proc_forked();
    pyprof__g.pid = getpid();
    pyprof__is_sampler = 0;
}

static void pyprof__enter(void)   // every API function that touches sessions; a raw clone() runs no atfork handler
{
    if (pyprof__g.pid && pyprof__g.pid != getpid()) pyprof__after_fork();
}

// A plugin's code must stay mapped while its thread runs: pin the shared object this code is in, if it is in one.
static void pyprof__pin(pyprof__pool *pool)
{
    size_t capacity;
    char *maps = pyprof__read_maps(pool, &capacity);
    const char *at = maps;
    uint64_t here = (uint64_t)(uintptr_t)(const void *)pyprof__kind_names;
    char program[512];
    pyprof__mapping mapping;
    pyprof__proc_link("exe", program, sizeof program);
    while ((at = pyprof__next_mapping(at, &mapping)) != NULL)
        if (here >= mapping.start && here < mapping.end && mapping.path[0] == '/' && strcmp(mapping.path, program) != 0)
            dlopen(mapping.path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    pyprof__free(pool, maps, capacity);
}

// ---- tokens ------------------------------------------------------------------
static pyprof *pyprof__token(int slot)
{
    return (pyprof *)(uintptr_t)(pyprof__g.sessions[slot].generation << 8 | (uint64_t)(slot + 1) << 1 | 1);
}

static pyprof__session *pyprof__session_of(const pyprof *token)   // under the lock; NULL = ended, or never was
{
    uint64_t bits = (uint64_t)(uintptr_t)token, slot = (bits >> 1 & 127) - 1;
    if (!(bits & 1) || slot >= PYPROF__SESSIONS || pyprof__g.sessions[slot].generation != bits >> 8) return NULL;
    return pyprof__g.sessions[slot].generation & 1 ? &pyprof__g.sessions[slot] : NULL;
}

static pyprof_result pyprof__no_session(const pyprof *token)
{
    if (!token) return pyprof__fail(PYPROF_ERR_ARGUMENT, "session is NULL");
    return pyprof__fail(PYPROF_ERR_STATE, "the session has ended, or is no session of this process");
}

// Notes why a recording is worse than it should be: every reason once, as far as there is room.
static void pyprof__degrade(pyprof__session *session, const char *reason)
{
    char *text = session->model.stats.degraded;
    size_t used = strlen(text), room = sizeof session->model.stats.degraded - used;
    if (!reason || strstr(text, reason) || strlen(reason) + 3 > room) return;
    snprintf(text + used, room, "%s%s", used ? "; " : "", reason);
    pyprof__copy_text(session->event_detail, sizeof session->event_detail, reason);
    session->events |= 1 << PYPROF_EVENT_DEGRADED;
}

// ---- recording a sweep ------------------------------------------------------------
static uint64_t pyprof__thread_started(int64_t tid)   // field 22 of its stat: clock ticks since boot; 0 = unknown
{
    char text[1024];
    const char *at = pyprof__task_stat(tid, 22, text, sizeof text);
    return at ? strtoull(at, NULL, 10) : 0;
}

// One OS thread in one interpreter is one thread of the recording, however many thread states it goes through
// (PyGILState_Ensure makes one a call); a thread id used again by another thread is another.
static uint32_t pyprof__member_find(pyprof__session *session, const pyprof__thread *thread, uint64_t now)
{
    pyprof__array *members = &session->model.members;
    uint64_t started = 0;
    uint32_t i;
    for (i = (uint32_t)members->count; i-- > 0;) {
        pyprof__member *member = &PYPROF__AT(pyprof__member, *members, i);
        if (member->ident == 0 && member->native == (uint64_t)thread->native && now < member->first_ns + pyprof__second) {   // it allocated first
            if (now < member->first_ns) member->first_ns = now;
            member->ident = thread->ident;
            member->serial = thread->serial;
            member->interp_id = thread->interp_id;
            return i;
        }
        if (member->native != (uint64_t)thread->native || member->interp_id != thread->interp_id || member->ident != thread->ident) continue;
        if (member->serial == thread->serial) return i;
        if (!started) started = pyprof__thread_started(thread->native);
        if (started && member->started == started) { member->serial = thread->serial; return i; }
    }
    if (members->count >= PYPROF__MEMBERS) return PYPROF__MEMBERS - 1;   // thread storms: the rest shares one
    return PYPROF__NONE;
}

static uint32_t pyprof__member_new(pyprof__session *session, const pyprof__thread *thread, uint64_t now)
{
    pyprof__model *model = &session->model;
    uint32_t id = (uint32_t)model->members.count;
    const char *name = id + 1 == PYPROF__MEMBERS ? "<more threads>" : thread->name[0] ? thread->name : "<unnamed>";
    pyprof__member *member = (pyprof__member *)pyprof__push(model->pool, &model->members);
    if (!member) return PYPROF__NONE;
    member->native = (uint64_t)thread->native;
    member->ident = thread->ident;
    member->serial = thread->serial;
    member->interp_id = thread->interp_id;
    member->started = pyprof__thread_started(thread->native);
    member->first_ns = now;
    member->wanted = (uint32_t)pyprof__glob(session->config.thread_filter, name);
    member->name = pyprof__model_string(model, name);
    member->node = pyprof__model_node(model, 0, pyprof__model_pseudo(model, name, PYPROF_KIND_THREAD, (int32_t)id + 1));
    if (member->name != PYPROF__NONE && member->node != PYPROF__NONE) return id;
    model->members.count--;
    return PYPROF__NONE;
}

// A thread's name can come, or change, after it was first seen.
static void pyprof__member_rename(pyprof__session *session, uint32_t id, const pyprof__thread *thread)
{
    pyprof__model *model = &session->model;
    pyprof__member *member = &PYPROF__AT(pyprof__member, model->members, id);
    pyprof__location *location;
    uint32_t name, wanted;
    if (!thread->name[0] || id + 1 == PYPROF__MEMBERS || strcmp(pyprof__string(&model->strings, member->name), thread->name) == 0) return;
    name = pyprof__model_string(model, thread->name);
    if (name == PYPROF__NONE) return;
    member->name = name;
    wanted = (uint32_t)pyprof__glob(session->config.thread_filter, thread->name);
    if (wanted != member->wanted) session->view.nodes.count = 0;   // what it allocated belongs in now, or no more
    member->wanted = wanted;
    location = &PYPROF__AT(pyprof__location, model->locations, PYPROF__AT(pyprof__node, model->nodes, member->node).location);
    PYPROF__AT(pyprof__function, model->functions, location->function).name = name;
    PYPROF__AT(pyprof__function, model->functions, location->function).qualname = name;
}

// The node of a thread that allocates: usually it was sampled already. A pyprof__root_fn.
static uint32_t pyprof__heap_root(void *user, const pyprof__life *life)
{
    pyprof__session *session = (pyprof__session *)user;
    pyprof__array *members = &session->model.members;
    pyprof__thread thread;
    uint32_t i;
    for (i = (uint32_t)members->count; i-- > 0;) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, *members, i);
        if (member->native == life->tid && member->last_ns + pyprof__second > life->first_ns) return member->wanted ? member->node : 0;
    }
    memset(&thread, 0, sizeof thread);
    thread.native = (int64_t)life->tid;
    thread.interp_id = -1;
    i = members->count >= PYPROF__MEMBERS ? PYPROF__MEMBERS - 1 : pyprof__member_new(session, &thread, life->first_ns);
    if (i == PYPROF__NONE) return 0;
    if (PYPROF__AT(pyprof__member, *members, i).last_ns == 0) PYPROF__AT(pyprof__member, *members, i).last_ns = pyprof__now();
    return PYPROF__AT(pyprof__member, *members, i).wanted ? PYPROF__AT(pyprof__member, *members, i).node : 0;
}

static pyprof__seat *pyprof__seat_of(pyprof__session *session, size_t slot)   // NULL = no memory
{
    while (session->seats.count <= slot) {
        pyprof__seat *added = (pyprof__seat *)pyprof__push(&session->pool, &session->seats);
        if (!added) return NULL;
        added->member = added->account = PYPROF__NONE;
        pyprof__array_init(&added->spots, sizeof(uint32_t));
        pyprof__array_init(&added->nodes, sizeof(uint32_t));
    }
    return &PYPROF__AT(pyprof__seat, session->seats, slot);
}

static int pyprof__seat_take(pyprof__session *session, pyprof__seat *seat, const pyprof__thread *thread, uint64_t now)
{
    if (seat->address != thread->address || seat->serial != thread->serial || seat->native != thread->native) {
        seat->address = thread->address;
        seat->serial = thread->serial;
        seat->native = thread->native;
        seat->member = PYPROF__NONE;
        seat->account = PYPROF__NONE;
    }
    if (seat->member == PYPROF__NONE) {   // somebody else than before, or the recording was reset
        seat->member = pyprof__member_find(session, thread, now);
        if (seat->member == PYPROF__NONE) seat->member = pyprof__member_new(session, thread, now);
        seat->spots.count = seat->nodes.count = 0;
        seat->leaf_node = 0;
        seat->hold_ns = 0;
        seat->version = thread->version - 1;
    }
    if (seat->member == PYPROF__NONE) return 0;
    pyprof__member_rename(session, seat->member, thread);
    return 1;
}

static uint32_t pyprof__map_spot(pyprof__session *session, const pyprof__codes *codes, uint32_t spot)   // -> location
{
    pyprof__array *map = &session->spot_map;
    uint32_t location;
    if (map->count < codes->spots.count) {
        size_t extra = codes->spots.count - map->count;
        if (!pyprof__array_reserve(&session->pool, map, extra)) return PYPROF__NONE;
        memset((uint32_t *)map->data + map->count, 0, extra * sizeof(uint32_t));
        map->count += extra;
    }
    location = PYPROF__AT(uint32_t, *map, spot);
    if (location) return location - 1;
    location = pyprof__model_spot(&session->model, codes, spot);
    if (location != PYPROF__NONE) PYPROF__AT(uint32_t, *map, spot) = location + 1;
    return location;
}

// The node of a thread's stack. What it shares with the thread's last stack, from the root on, is not looked up again.
static uint32_t pyprof__stack_node(pyprof__session *session, const pyprof__codes *codes, pyprof__seat *seat, const pyprof__stack *stack)
{
    uint32_t depth = (uint32_t)stack->spots.count, node = PYPROF__AT(pyprof__member, session->model.members, seat->member).node, i, spot, child;
    uint32_t limit = session->config.max_depth, cut = depth - (uint32_t)stack->truncated > limit ? depth - limit : 0;
    size_t kept = 0;
    for (i = cut ? cut - 1 : 0; i < depth; i++) {
        spot = PYPROF__AT(uint32_t, stack->spots, depth - 1 - i);
        if (cut && i == cut - 1) spot = PYPROF__SPOT_TRUNCATED;
        if (kept < seat->spots.count && PYPROF__AT(uint32_t, seat->spots, kept) == spot) {
            node = PYPROF__AT(uint32_t, seat->nodes, kept++);
            continue;
        }
        seat->spots.count = seat->nodes.count = kept;
        child = pyprof__model_node(&session->model, node, pyprof__map_spot(session, codes, spot));
        if (child == PYPROF__NONE || !pyprof__array_reserve(&session->pool, &seat->spots, 1) || !pyprof__array_reserve(&session->pool,
            &seat->nodes, 1)) {
            pyprof__degrade(session, "max_bytes is used up: new stacks are counted at the deepest frame already known");
            seat->truncated = 1;
            return node;
        }
        node = child;
        ((uint32_t *)seat->spots.data)[seat->spots.count++] = spot;
        ((uint32_t *)seat->nodes.data)[seat->nodes.count++] = node;
        kept++;
    }
    seat->spots.count = seat->nodes.count = kept;
    seat->truncated = cut != 0 || stack->truncated;
    return node;
}

static uint32_t pyprof__pseudo_node(pyprof__session *session, uint32_t parent, const char *name)   // below a node; parent itself = no memory
{
    pyprof__model *model = &session->model;
    uint32_t node = pyprof__model_node(model, parent, pyprof__model_pseudo(model, name, PYPROF_KIND_PSEUDO, 0));
    return node == PYPROF__NONE ? parent : node;
}

// The time of a sample that could not be read stays in the totals, below the part of the stack that is sure.
static uint32_t pyprof__lost_node(pyprof__session *session, const pyprof__seat *seat, const pyprof__thread *thread)
{
    uint32_t parent = PYPROF__AT(pyprof__member, session->model.members, seat->member).node;
    if (seat->version == thread->version && thread->stable && thread->stable <= seat->nodes.count)
        parent = PYPROF__AT(uint32_t, seat->nodes, thread->stable - 1);
    return pyprof__pseudo_node(session, parent, pyprof__pseudo_names[PYPROF__SPOT_LOST]);
}

static void pyprof__count_rejected(pyprof_stats *stats, int cause, uint64_t count)   // a pyprof_cause + 1
{
    stats->rejected += count;
    stats->rejected_by_cause[cause - 1 < 0 || cause - 1 >= PYPROF_CAUSE_COUNT ? PYPROF_CAUSE_MOVED : cause - 1] += count;
}

// What the innermost frame waits for, or the C function it has called, is a node below it.
static uint32_t pyprof__leaf_node(pyprof__session *session, const pyprof__codes *codes, pyprof__seat *seat, uint32_t leaf)
{
    if (leaf == PYPROF__NONE) return seat->node;
    if (seat->leaf == leaf && seat->leaf_under == seat->node && seat->leaf_node) return seat->leaf_node;
    seat->leaf_node = pyprof__model_node(&session->model, seat->node, pyprof__map_spot(session, codes, leaf));
    if (seat->leaf_node == PYPROF__NONE) {
        seat->leaf_node = 0;
        return seat->node;
    }
    seat->leaf = leaf;
    seat->leaf_under = seat->node;
    return seat->leaf_node;
}

static void pyprof__record_rival(pyprof__session *session, uint32_t waiter, uint32_t slot, uint64_t holder, uint64_t wall)
{
    pyprof__model *model = &session->model;
    const pyprof__seat *seat = slot < session->seats.count ? &PYPROF__AT(const pyprof__seat, session->seats, slot) : NULL;
    pyprof__rivals *rivals = (pyprof__rivals *)model->rivals.data;
    size_t i;
    if (!seat || seat->member == PYPROF__NONE || seat->serial != holder) return;   // who sat there before is not the one
    for (i = 0; i < model->rivals.count && (rivals[i].waiter != waiter || rivals[i].holder != seat->member); i++) {}
    if (i == model->rivals.count) {
        if (i >= PYPROF__RIVALS || !pyprof__push(model->pool, &model->rivals)) return;
        rivals = (pyprof__rivals *)model->rivals.data;
        rivals[i].waiter = waiter;
        rivals[i].holder = seat->member;
    }
    rivals[i].ns += wall;
}

// Who waits for whom, and how long one thread has held the GIL without a break while somebody waited.
static void pyprof__record_gil(pyprof__session *session, pyprof__seat *seat, const pyprof__thread *thread, uint32_t node, uint64_t now,
                               uint64_t wall)
{
    pyprof__member *member = &PYPROF__AT(pyprof__member, session->model.members, seat->member);
    if (thread->rival != PYPROF__NONE) pyprof__record_rival(session, seat->member, thread->rival, thread->rival_serial, wall);
    if (!thread->holder || !thread->blocks) { seat->hold_ns = 0; return; }
    if (seat->hold_number != thread->held_by) seat->hold_ns = 0;
    seat->hold_number = thread->held_by;
    seat->hold_ns += wall;
    if (seat->hold_ns <= member->hold_ns) return;
    member->hold_ns = seat->hold_ns;
    member->hold_end_ns = now;
    member->hold_node = node;
}

// ---- the time of threads ------------------------------------------------------------
static int pyprof__same_account(const void *context, uint32_t item, const void *key)
{
    return PYPROF__AT(const pyprof__account, *(const pyprof__array *)context, item).native == *(const uint64_t *)key;
}

// Adds time to a sample that is recorded already.
static void pyprof__share_add(pyprof__session *session, const pyprof__share *share, int64_t ns, int ran)
{
    pyprof__model *model = &session->model;
    uint64_t place = share->moment - 1 - model->moments_gone;
    pyprof__moment moment;
    memset(&moment, 0, sizeof moment);
    moment.node = share->node;
    moment.state = share->state;
    moment.wall_ns = (uint64_t)ns;
    moment.cpu_ns = ran ? (uint64_t)ns : 0;
    pyprof__model_columns(model, &moment);
    if (share->moment <= model->moments_gone + model->moments_first || place >= model->moments.count) return;
    PYPROF__AT(pyprof__moment, model->moments, place).wall_ns += moment.wall_ns;
    PYPROF__AT(pyprof__moment, model->moments, place).cpu_ns += moment.cpu_ns;
}

// A sample takes its part: half of the time since the one before, which gets the other half. Returns ns.
static uint64_t pyprof__share_take(pyprof__session *session, pyprof__share *share, int ran)
{
    int64_t ns = share->ns, half = share->node ? ns / 2 : 0;
    if (ns <= 0) return 0;
    if (half) pyprof__share_add(session, share, half, ran);
    share->ns = 0;
    return (uint64_t)(ns - half);
}

static void pyprof__share_settle(pyprof__session *session, const pyprof__account *account, pyprof__share *share, int ran)
{
    pyprof__share between = *share;
    if (share->ns <= 0) return;
    if (!between.node) {   // it was never seen doing that
        between.moment = 0;
        between.state = ran ? 0 : PYPROF__IS_WAITING | PYPROF__IS_UNKNOWN;
        between.node = pyprof__pseudo_node(session, PYPROF__AT(pyprof__member, session->model.members, account->member).node, pyprof__between_name);
    }
    pyprof__share_add(session, &between, share->ns, ran);
    share->ns = 0;
}

// All that is known of a thread's time goes where it belongs as far as can be told now: a part of the recording ends.
static void pyprof__account_settle(pyprof__session *session, pyprof__account *account)
{
    pyprof__share outside;
    if (account->member == PYPROF__NONE || !PYPROF__AT(pyprof__member, session->model.members, account->member).wanted) return;
    pyprof__share_settle(session, account, &account->runs, 1);
    pyprof__share_settle(session, account, &account->waits, 0);
    memset(&outside, 0, sizeof outside);
    outside.ns = (int64_t)account->outside_ns;
    pyprof__share_settle(session, account, &outside, 1);
    account->outside_ns = 0;
}

static void pyprof__accounts_settle(pyprof__session *session)
{
    size_t i;
    for (i = 0; i < session->accounts.count; i++) pyprof__account_settle(session, &PYPROF__AT(pyprof__account, session->accounts, i));
}

static void pyprof__accounts_forget(pyprof__session *session)   // there are too many
{
    size_t i;
    session->accounts.count = 0;
    pyprof__index_free(&session->pool, &session->account_index);
    for (i = 0; i < session->seats.count; i++) PYPROF__AT(pyprof__seat, session->seats, i).account = PYPROF__NONE;
}

static void pyprof__account_renew(pyprof__account *account, uint64_t now)   // the model is a new one: what was recorded has been told
{
    memset(&account->runs, 0, sizeof account->runs);
    memset(&account->waits, 0, sizeof account->waits);
    account->outside_ns = account->moment = 0;
    account->debt_ns = 0;
    account->member = PYPROF__NONE;
    if (account->look_ns < now) account->look_ns = now;
}

static pyprof__account *pyprof__account_of(pyprof__session *session, pyprof__seat *seat)   // NULL = no memory
{
    uint64_t native = (uint64_t)seat->native, hash = pyprof__mix(11, native);
    uint32_t id = seat->account;
    pyprof__account *account;
    if (id == PYPROF__NONE) id = pyprof__index_find(&session->account_index, hash, pyprof__same_account, &session->accounts, &native);
    if (id == PYPROF__NONE) {
        if (session->accounts.count >= PYPROF__ACCOUNTS) {
            pyprof__accounts_settle(session);
            pyprof__accounts_forget(session);
        }
        account = (pyprof__account *)pyprof__push(&session->pool, &session->accounts);
        if (!account) return NULL;
        account->native = native;
        account->member = PYPROF__NONE;
        id = (uint32_t)session->accounts.count - 1;
        if (!pyprof__index_add(&session->pool, &session->account_index, hash, id)) { session->accounts.count--; return NULL; }
    }
    seat->account = id;
    account = &PYPROF__AT(pyprof__account, session->accounts, id);
    account->member = seat->member;
    return account;
}

// Splits the time since a thread was last looked at by its CPU clock.
static void pyprof__account_pass(pyprof__account *account, uint64_t wall, uint64_t cpu)
{
    account->runs.ns += (int64_t)cpu;
    account->waits.ns += (int64_t)wall - (int64_t)cpu;   // below 0 for a moment: the two clocks are not read at once
    if (++account->looks == PYPROF__SETTLED) {
        account->runs.ns += account->debt_ns;
        account->debt_ns = 0;
    }
}

// A thread that was not there at the tick before. It can have begun at any time since, and where the recording meets one in a period, as
// many end in one unseen: the whole period is told as the sample finds it. If it lives on, its clock puts that right.
static void pyprof__account_meet(pyprof__account *account, const pyprof__thread *thread, uint64_t period, int runs)
{
    int known = account->cpu_ns && thread->cpu_ns >= account->cpu_ns;   // the same OS thread: it was outside of Python
    uint64_t cpu = runs ? period : 0, clock = known ? thread->cpu_ns - account->cpu_ns : thread->cpu_ns;
    account->looks = 0;
    account->debt_ns = 0;
    if (known) {
        account->outside_ns += clock;
        if (cpu > account->outside_ns) cpu = account->outside_ns;
        account->outside_ns -= cpu;
    } else if (clock <= period) account->debt_ns = (int64_t)clock - (int64_t)cpu;
    pyprof__account_pass(account, period, cpu);
}

static void pyprof__account_note(const pyprof__session *session, pyprof__account *account, const pyprof__thread *thread, uint64_t now)
{
    account->cpu_ns = thread->cpu_ns;
    account->look_ns = now;
    account->tick = session->tick;
    account->spell = session->spells;
}

// Of a thread: ticks told now; those at which it stood where it stands, in the state it is in; those at which it was about to leave the
// CPU there; of these those looked at late.
typedef struct { uint64_t ticks, stood, ran, late; } pyprof__told;

// A tick that was due at most PROMPT_NS ago is told by what is found now: that is how long it takes to get there anyway; ELSEWHERE_NS
// for a thread that runs on another CPU, and so has nothing to do with why the sampler came late. So is one due
// LEAVE_NS before the thread left the CPU: the timer of the sampler has taken it away, but another process was given the CPU first.
static pyprof__told pyprof__account_ticks(const pyprof__session *session, const pyprof__account *account, const pyprof__thread *thread,
                                          uint64_t now, uint64_t since, int stood)
{
    pyprof__told told = { session->due - since, 0, 0, 0 };
    uint64_t n, off = thread->off_ns, at = 0;
    int waits = (thread->state & PYPROF__IS_WAITING) != 0, prompt;
    if (stood && off <= account->look_ns) told.stood = told.ticks;
    else for (n = session->due; n > since && n + PYPROF__DUE > session->due; n--, told.stood++) {
        at = session->due_ns[(n - 1) % PYPROF__DUE];
        if (at < off) break;
    }
    prompt = told.ticks && off <= now
        && now - session->due_ns[(session->due - 1) % PYPROF__DUE] < (!waits && thread->elsewhere ? PYPROF__ELSEWHERE_NS : PYPROF__PROMPT_NS);
    if (told.stood == 0 && prompt) told.stood = 1;
    else if (told.stood < told.ticks && waits && at && at < off && off - at < PYPROF__LEAVE_NS) told.ran = 1;
    told.late = told.stood + told.ran - (uint64_t)(prompt && told.stood);
    return told;
}

// Looks at a thread's clock, and at which ticks it was seen.
static pyprof__told pyprof__account_look(pyprof__session *session, pyprof__account *account, const pyprof__thread *thread, uint64_t now)
{
    int runs = !(thread->state & PYPROF__IS_WAITING) && !thread->put_off;
    int goes_on = account->tick && account->spell == session->spells && thread->cpu_ns >= account->cpu_ns
        && (account->tick + 1 >= session->tick || thread->known_ns <= account->look_ns);
    pyprof__told told = { 0, 0, 0, 0 };
    if (goes_on && thread->put_off) return told;   // all is told later
    if (!goes_on) account->due = session->due - session->due_now;
    if (goes_on) pyprof__account_pass(account, now - account->look_ns, thread->cpu_ns - account->cpu_ns);
    else pyprof__account_meet(account, thread, now - session->last_ns, runs);
    if (!thread->put_off) {
        told = pyprof__account_ticks(session, account, thread, now, account->due, goes_on && !runs);
        account->due = session->due;
    }
    pyprof__account_note(session, account, thread, now);
    if (!goes_on && told.ticks > 1) told.ticks = told.stood + told.ran ? told.stood + told.ran : 1;   // a new one was not there at all of them
    return told;
}

// ---- recording a sweep, part two ---------------------------------------------------------
static uint32_t pyprof__sample_node(pyprof__session *session, const pyprof__codes *codes, pyprof__seat *seat, const pyprof__thread *thread,
                                    uint32_t leaf)
{
    if (thread->cause) return pyprof__lost_node(session, seat, thread);
    if (seat->version != thread->version || seat->spots.count == 0) {
        seat->node = pyprof__stack_node(session, codes, seat, &thread->stack);
        seat->version = thread->version;
    }
    return pyprof__leaf_node(session, codes, seat, leaf);
}

// The part of the time that a sample stands for. One of which nothing tells whether the thread ran takes of both kinds.
static void pyprof__sample_time(pyprof__session *session, pyprof__account *account, pyprof__moment *moment)
{
    int waits = (moment->state & PYPROF__IS_WAITING) != 0, unknown = (moment->state & PYPROF__IS_UNKNOWN) != 0;
    if (!waits || unknown) moment->cpu_ns = pyprof__share_take(session, &account->runs, 1);
    moment->wall_ns = moment->cpu_ns;
    if (waits) moment->wall_ns += pyprof__share_take(session, &account->waits, 0);
}

static void pyprof__sample_keep(pyprof__account *account, const pyprof__moment *moment, uint64_t number)   // it may get more
{
    pyprof__share *share = moment->state & PYPROF__IS_WAITING ? &account->waits : &account->runs;
    share->node = moment->node;
    share->state = moment->state;
    share->moment = number;
}

// While it is looked at, a thread that ran stands where it is, and waits for the CPU that the sampler has.
static void pyprof__sample_taken(pyprof__session *session, pyprof__account *account, const pyprof__moment *moment)
{
    pyprof__share taken;
    int64_t ns = account->waits.ns < (int64_t)session->took_ns ? account->waits.ns : (int64_t)session->took_ns;
    if (moment->state & PYPROF__IS_WAITING || ns <= 0) return;
    taken.node = moment->node;
    taken.state = (moment->state & PYPROF__HAS_GIL) | PYPROF__IS_WAITING | PYPROF__WANTS_CPU;
    taken.moment = 0;
    pyprof__share_add(session, &taken, ns, 0);
    account->waits.ns -= ns;
}

static void pyprof__record_sample(pyprof__session *session, pyprof__account *account, pyprof__seat *seat, const pyprof__thread *thread,
                                  pyprof__moment *moment, uint64_t wall)
{
    pyprof__model *model = &session->model;
    pyprof__sample_time(session, account, moment);
    if (thread->cause) {
        pyprof__count_rejected(&model->stats, thread->cause, moment->count);
        moment->count = 0;
    } else {
        model->stats.truncated += seat->truncated ? moment->count : 0;
        model->stats.samples += moment->count;
        model->stats.unfrozen += thread->unfrozen ? moment->count : 0;
        if (thread->raising) moment->state |= PYPROF__IS_RAISING;
        moment->block_ns = wall * thread->blocks;
        pyprof__record_gil(session, seat, thread, moment->node, moment->end_ns, wall);
    }
    pyprof__model_columns(model, moment);
    if (!thread->cause) pyprof__model_moment(model, moment, &account->moment);
    pyprof__sample_keep(account, moment, thread->cause ? 0 : account->moment);
    pyprof__sample_taken(session, account, moment);
}

static void pyprof__record_thread(pyprof__session *session, const pyprof__codes *codes, const pyprof__thread *thread, size_t slot, uint64_t now)
{
    pyprof__model *model = &session->model;
    pyprof__seat *seat = pyprof__seat_of(session, slot);
    pyprof__account *account = seat && pyprof__seat_take(session, seat, thread, now) ? pyprof__account_of(session, seat) : NULL;
    uint64_t before;
    pyprof__told told;
    pyprof__moment moment;
    if (!account) {
        model->stats.asked++;
        pyprof__count_rejected(&model->stats, PYPROF_CAUSE_MEMORY + 1, 1);
        return;
    }
    PYPROF__AT(pyprof__member, model->members, seat->member).last_ns = now;
    before = account->tick && account->spell == session->spells ? account->look_ns : session->last_ns;
    told = pyprof__account_look(session, account, thread, now);
    if (!PYPROF__AT(pyprof__member, model->members, seat->member).wanted) return;
    model->stats.asked += told.ticks;
    model->stats.missed += told.ticks - told.stood - told.ran;
    model->stats.recovered += thread->cause ? 0 : told.late;
    memset(&moment, 0, sizeof moment);
    moment.start_ns = before;
    moment.end_ns = now;
    moment.thread = seat->member;
    if (told.ran) {
        moment.count = (uint32_t)told.ran;
        moment.state = thread->ran_state;
        moment.node = pyprof__sample_node(session, codes, seat, thread, thread->ran_leaf);
        if (told.stood) moment.end_ns = thread->off_ns;
        pyprof__record_sample(session, account, seat, thread, &moment, 0);
        moment.start_ns = moment.end_ns;
        moment.end_ns = now;
    }
    if (!told.stood) return;
    moment.count = (uint32_t)told.stood;
    moment.state = thread->state;
    moment.node = pyprof__sample_node(session, codes, seat, thread, thread->leaf);
    pyprof__record_sample(session, account, seat, thread, &moment, now - session->last_ns);
}

// Time in which nobody ran, and the sampler did not wait for a CPU, was a suspend or a SIGSTOP: a gap, not a burst.
static int pyprof__was_suspended(pyprof__sweeper *sweeper, const pyprof__tick *tick)
{
    return tick->late >= pyprof__second && pyprof__threads_ran(sweeper) < tick->late / 50 && !pyprof__was_queued(sweeper, tick->late);
}

static void pyprof__record_stats(pyprof__session *session, const pyprof__sweeper *sweeper, const pyprof__tick *tick, uint64_t retried)
{
    pyprof_stats *stats = &session->model.stats;
    size_t i;
    if (session->spot_generation != sweeper->codes.generation) {
        session->spot_generation = sweeper->codes.generation;
        session->spot_map.count = 0;
        for (i = 0; i < session->seats.count; i++)
            PYPROF__AT(pyprof__seat, session->seats, i).spots.count = PYPROF__AT(pyprof__seat, session->seats, i).leaf_node = 0;
    }
    session->tick++;
    session->ticks_late++;
    session->late_sum += tick->late;
    stats->late_mean_ns = session->late_sum / session->ticks_late;
    if (tick->late > stats->late_max_ns) stats->late_max_ns = tick->late;
    stats->retried += retried;
    if (sweeper->list.interps.count > stats->interpreters) stats->interpreters = sweeper->list.interps.count;
    pyprof__degrade(session, sweeper->degraded);
    pyprof__degrade(session, __atomic_load_n(&pyprof__proc.lack, __ATOMIC_RELAXED));
}

// Looks up the opcodes of all stacks of this sweep, for the sessions that want them.
static void pyprof__look_opcodes(pyprof__sweeper *sweeper)
{
    size_t i, k;
    for (i = 0; i < sweeper->list.threads.count; i++) {
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, sweeper->list.threads, i);
        if (thread->tick != sweeper->list.tick || thread->cause) continue;
        for (k = 0; k < thread->stack.spots.count; k++)
            pyprof__spot_opcode(&sweeper->codes, &sweeper->mirror, PYPROF__AT(const uint32_t, thread->stack.spots, k));
    }
    for (k = 0; k < sweeper->awaiting.spots.count; k++)
        pyprof__spot_opcode(&sweeper->codes, &sweeper->mirror, PYPROF__AT(const uint32_t, sweeper->awaiting.spots, k));
}

// The ticks of this session among those of the sampler that are over.
static void pyprof__record_due(pyprof__session *session, const pyprof__tick *tick)
{
    double ratio = session->config.rate_hz / tick->rate;
    uint64_t before = session->due, many;
    uint32_t i;
    session->phase += ratio * (double)tick->skipped;
    for (many = (uint64_t)session->phase, session->phase -= (double)many; many; many--, session->due++)
        session->due_ns[session->due % PYPROF__DUE] = tick->last;
    for (i = 0; i < tick->count; i++) {
        session->phase += ratio;
        if (session->phase < 0.999999) continue;
        session->phase -= 1;
        session->due_ns[session->due++ % PYPROF__DUE] = tick->at[i];
    }
    session->due_now += session->due - before;
}

static void pyprof__record_gap(pyprof__session *session, const pyprof__tick *tick)   // time that nobody could see
{
    uint64_t gap = tick->late < tick->now - session->last_ns ? tick->late : tick->now - session->last_ns;
    session->model.stats.gap_ns += tick->late;
    session->last_ns += gap;
    session->spells++;
    session->due -= session->due_now - 1;
    session->due_now = 1;
    session->due_ns[(session->due - 1) % PYPROF__DUE] = tick->now;
}

static void pyprof__record(pyprof__session *session, pyprof__sweeper *sweeper, const pyprof__tick *tick, int present, uint64_t retried)
{
    pyprof__model *model = &session->model;
    size_t i;
    if (session->paused) return;
    session->took_ns += present ? sweeper->took_ns : 0;
    pyprof__record_due(session, tick);
    if (!session->due_now || (present && !sweeper->listed)) return;   // where no thread could be seen its ticks are told later
    if (present && pyprof__was_suspended(sweeper, tick)) pyprof__record_gap(session, tick);
    pyprof__record_stats(session, sweeper, tick, retried);
    for (i = 0; i < sweeper->list.threads.count && present; i++) {
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, sweeper->list.threads, i);
        if (thread->tick == sweeper->list.tick) pyprof__record_thread(session, &sweeper->codes, thread, i, tick->now);
    }
    model->recorded_ns += tick->now - session->last_ns;
    session->last_ns = model->last_ns = tick->now;
    session->due_now = session->took_ns = 0;
    model->stats.threads = model->members.count;
    if (session->config.duration_s > 0 && (double)model->recorded_ns >= session->config.duration_s * 1e9) {
        session->paused = session->ended = 1;
        session->events |= 1 << PYPROF_EVENT_DURATION;
    }
}

// The tasks that were found waiting, below their threads.
static void pyprof__record_awaits(pyprof__session *session, const pyprof__sweeper *sweeper)
{
    pyprof__model *model = &session->model;
    size_t i;
    uint64_t since;
    uint32_t k, node;
    if (session->paused || session->spot_generation != sweeper->codes.generation) return;
    if (sweeper->awaits_cut) pyprof__degrade(session, "so many tasks waited that not all could be looked at");
    for (i = 0; i < sweeper->awaits.count; i++) {
        const pyprof__await *await = &PYPROF__AT(const pyprof__await, sweeper->awaits, i);
        const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, sweeper->list.threads, await->slot);
        const pyprof__seat *seat = await->slot < session->seats.count ? &PYPROF__AT(const pyprof__seat, session->seats, await->slot) : NULL;
        if (!seat || seat->address != thread->address || seat->serial != thread->serial || seat->member == PYPROF__NONE) continue;
        if (!PYPROF__AT(const pyprof__member, model->members, seat->member).wanted) continue;
        node = PYPROF__AT(const pyprof__member, model->members, seat->member).node;
        for (k = 0; k < await->count && node != PYPROF__NONE; k++)
            node = pyprof__model_node(model, node, pyprof__map_spot(session, &sweeper->codes,
                                      PYPROF__AT(const uint32_t, sweeper->awaiting.spots, await->first + k)));
        since = session->last_ns - session->awake_ns;   // a pause is no part of it
        if (node != PYPROF__NONE && pyprof__model_waited(model, node, await->ns < since ? await->ns : since)) continue;
        pyprof__degrade(session, "max_bytes is used up: new stacks are counted at the deepest frame already known");
    }
}

// ---- the sampler thread -------------------------------------------------------------
typedef struct { uint64_t period, base, number, deadline, last, random; double rate; uint32_t seen; } pyprof__schedule;
// ---- memory: what is due ten times a second ------------------------------------------------
enum { PYPROF__GAUGES = 4096, PYPROF__HOUSE_NS = 100000000 };

// The memory time line: 100 ms apart. When it gets long, every second one of the older half goes.
static void pyprof__gauge_add(pyprof__model *model, const pyprof__gauge *gauge)
{
    pyprof__gauge *gauges = (pyprof__gauge *)model->gauges.data, *added;
    size_t i, half = model->gauges.count / 2;
    if (model->gauges.count >= PYPROF__GAUGES) {
        for (i = 0; i < half / 2; i++) gauges[i] = gauges[2 * i + 1];
        memmove(gauges + half / 2, gauges + half, (model->gauges.count - half) * sizeof *gauges);
        model->gauges.count -= half - half / 2;
    }
    added = (pyprof__gauge *)pyprof__push(model->pool, &model->gauges);
    if (added) *added = *gauge;
}

static void pyprof__heap_reasons(pyprof__session *session)   // why memory is worse known than it should be
{
    int refused = PYPROF__GET(pyprof__heap.refused);
    pyprof__degrade(session, pyprof__objects_reason());
    if (PYPROF__GET(pyprof__heap.full) && refused)
        pyprof__degrade(session, "heap: the system gives no more memory: blocks from new stacks are counted at the deepest "
                        "frame known");
    else if (PYPROF__GET(pyprof__heap.full))
        pyprof__degrade(session, "heap: max_bytes is used up: blocks from new stacks are counted at the deepest frame known");
    if (PYPROF__GET(pyprof__heap.dropped))
        pyprof__degrade(session, refused ? "heap: the system gives no more memory: live memory is a lower bound"
                        : "heap: heap_max_bytes is used up: live memory is a lower bound");
}

static void pyprof__house_session(pyprof__session *session, const pyprof__gauge *gauge, int lost)
{
    if (!(session->generation & 1) || session->ended) return;
    pyprof__gauge_add(&session->model, gauge);
    if (!session->heap) return;
    if (!pyprof__heap_view_extend(&session->view, &session->model, pyprof__heap_root, session))
        pyprof__degrade(session, "max_bytes is used up: new stacks are counted at the deepest frame already known");
    pyprof__heap_reasons(session);
    if (!lost) return;
    pyprof__degrade(session, lost & 1 ? "heap: the allocation hooks were taken out: live memory is counted from when they were back"
                    : "heap: the interpreter was started anew: live memory is counted from there");
    if (lost & 1) session->events |= 1 << PYPROF_EVENT_HOOKS_LOST;
}

typedef struct { uint64_t due, reap; } pyprof__house;

static void pyprof__keep_house(pyprof__house *house, uint64_t now, int running, int64_t gc_runs)   // under the lock
{
    pyprof__gauge gauge;
    int i, lost = 0;
    house->due = now + PYPROF__HOUSE_NS;
    if (PYPROF__GET(pyprof__heap.users) && PYPROF__GET(pyprof__heap.state) != PYPROF_HEAP_STATE_ON) house->due = now + PYPROF__HOUSE_NS / 10;
    memset(&gauge, 0, sizeof gauge);
    gauge.ns = now;
    pyprof__process_facts(&gauge.facts);
    gauge.facts.gc_runs = gc_runs;
    if (PYPROF__GET(pyprof__heap.users)) {
        lost = pyprof__heap_watch(running);
        if (now > house->reap) {
            pyprof__heap_reap();
            house->reap = now + pyprof__second;
        }
        if (now >= pyprof__heap.mark_due) pyprof__heap_mark(now);
        gauge.facts.traced_bytes = pyprof__heap_live();
    }
    for (i = 0; i < PYPROF__SESSIONS; i++) pyprof__house_session(&pyprof__g.sessions[i], &gauge, lost);
}

static void pyprof__heap_tick(uint64_t now)   // ages are measured by this clock
{
    if (!PYPROF__GET(pyprof__heap.users)) return;
    PYPROF__SET(pyprof__heap.clock_ms, (uint32_t)((now - pyprof__heap.start_ns) / 1000000));
    pyprof__objects_watch(0);
}

// When to read the threads' names: at the latest, and if one is missing. When to look for asyncio's tasks again
typedef struct { uint64_t due, soon, cost, tasks; } pyprof__names;

// The highest rate of the running sessions; 0 = none runs, -1 = there is none at all. Under the lock.
static double pyprof__wanted_rate(pyprof__sweeper *sweeper)
{
    double rate = 0;
    int i, any = 0, stay = 0, by_signal = 0, opcodes = 0;
    uint32_t depth = 1;
    for (i = 0; i < PYPROF__SESSIONS; i++) {
        const pyprof__session *session = &pyprof__g.sessions[i];
        if (!(session->generation & 1)) continue;
        any = 1;
        stay |= session->config.capture != PYPROF_CAPTURE_AUTO;
        by_signal |= session->config.capture == PYPROF_CAPTURE_SIGNAL;
        opcodes |= session->config.opcodes;
        if (session->config.max_depth > depth) depth = session->config.max_depth;
        if (!session->paused && session->config.rate_hz > rate) rate = session->config.rate_hz;
    }
    sweeper->max_depth = depth;
    if (stay && sweeper->cpu >= 0 && pyprof__cpus_set(&sweeper->allowed)) sweeper->cpu = -1;
    sweeper->stay = stay;
    if (by_signal && !sweeper->by_signal && !pyprof__hold_install()) sweeper->degraded = "the handler for SIGURG could not be installed";
    if (!by_signal && sweeper->by_signal) pyprof__hold_uninstall();
    sweeper->by_signal = by_signal;
    sweeper->names_opcodes = opcodes;
    return any ? rate : -1;
}

// One deadline a period, at a random place in it: exact on average, in step with nothing. Absolute, so that being late
// once delays nothing else.
static void pyprof__schedule_next(pyprof__schedule *schedule)
{
    schedule->deadline = schedule->base + schedule->number * schedule->period + pyprof__random(&schedule->random) % schedule->period;
}

static void pyprof__schedule_rate(pyprof__schedule *schedule, double rate)
{
    if (schedule->rate >= rate && schedule->rate <= rate) return;
    schedule->rate = rate;
    schedule->period = rate > 0 ? (uint64_t)(1e9 / rate) : 3600 * pyprof__second;
    schedule->base = pyprof__now();
    schedule->number = 0;
    pyprof__schedule_next(schedule);
}

// The sampler is here now: which ticks were due, and when is the next one?
static void pyprof__schedule_collect(pyprof__schedule *schedule, uint64_t now, pyprof__tick *tick)
{
    uint64_t behind = now > schedule->deadline ? (now - schedule->base) / schedule->period - schedule->number : 0;
    tick->skipped = tick->count = 0;
    tick->now = now;
    tick->rate = schedule->rate;
    tick->late = now - schedule->deadline;
    tick->last = schedule->last;
    schedule->last = now;
    if (behind > PYPROF__DUE - 2) {
        tick->skipped = behind - (PYPROF__DUE - 2);
        schedule->number += tick->skipped;
        pyprof__schedule_next(schedule);
    }
    while (schedule->deadline <= now && tick->count < PYPROF__DUE) {
        tick->at[tick->count++] = schedule->deadline;
        schedule->number++;
        pyprof__schedule_next(schedule);
    }
}

static void pyprof__deliver_events(void)
{
    int i, event;
    for (i = 0; i < PYPROF__SESSIONS; i++) {
        pyprof__session *session = &pyprof__g.sessions[i];
        pyprof_on_event on_event;
        char detail[256];
        pyprof *token;
        int events;
        pthread_mutex_lock(&pyprof__lock);
        events = session->generation & 1 ? session->events : 0;
        session->events = 0;
        on_event = session->config.on_event;
        memcpy(detail, session->event_detail, sizeof detail);
        token = pyprof__token(i);
        if (events && on_event.fn) pyprof__g.delivering = i + 1;
        pthread_mutex_unlock(&pyprof__lock);
        for (event = PYPROF_EVENT_DURATION; events && on_event.fn && event <= PYPROF_EVENT_DEGRADED; event++)
            if (events & 1 << event)
                on_event.fn(on_event.user, token, (pyprof_event)event, event == PYPROF_EVENT_DURATION ? "duration_s is over" : detail);
        __atomic_store_n(&pyprof__g.delivering, 0, __ATOMIC_RELEASE);
    }
}

// Before the first sweep, as soon as there is an interpreter: does it look as expected?
static int pyprof__prove(pyprof__sweeper *sweeper)
{
    pyprof_result result;
    int i;
    if (pyprof__g.proven) return 1;
    if (pyprof__g.refused[0]) return 0;
    result = pyprof__self_check(sweeper, 3, &pyprof__g.proven);
    if (result == PYPROF_OK) return 1;
    // While the interpreter comes up, much of it is half made: only what stays senseless is refused.
    if (pyprof__g.doubts++ == 0) pyprof__g.doubted_ns = pyprof__now();
    if (pyprof__g.doubts < 100 || pyprof__now() - pyprof__g.doubted_ns < 3 * pyprof__second) return 0;
    pthread_mutex_lock(&pyprof__lock);
    pyprof__copy_text(pyprof__g.refused, sizeof pyprof__g.refused, pyprof__error_text);
    for (i = 0; i < PYPROF__SESSIONS; i++)
        if (pyprof__g.sessions[i].generation & 1) pyprof__degrade(&pyprof__g.sessions[i], pyprof__g.refused);
    pthread_mutex_unlock(&pyprof__lock);
    return 0;
}

static void pyprof__tick_once(pyprof__sweeper *sweeper, pyprof__schedule *schedule, pyprof__names *names)
{
    pyprof__tick tick;
    uint64_t retried = sweeper->retried;
    int i, present;
    pyprof__schedule_collect(schedule, pyprof__now(), &tick);
    sweeper->late = tick.late > PYPROF__PROMPT_NS || tick.count > 1;
    present = pyprof__prove(sweeper) && pyprof__sweep(sweeper, tick.now);
    if (present) pyprof__watch_lateness(sweeper, tick.now, tick.late);
    if (present && (tick.now > names->due || (tick.now > names->soon && pyprof__names_missing(&sweeper->list)))) {   // 5 % of the time at most
        uint64_t begin = pyprof__now(), took;
        int all = tick.now > names->due;
        pyprof__names_read(&sweeper->list, sweeper->codes.text, all || !sweeper->list.active);
        took = pyprof__now() - begin;
        if (all) names->due = tick.now + pyprof__second;
        if (!all || !sweeper->list.active) names->cost = took > names->cost ? names->cost + names->cost / 4 : took > 1000 ? took : 1000;
        names->soon = tick.now + 20 * names->cost;   // the cost as usual: it may have lost the CPU this time
    }
    if (present && sweeper->codes.asyncio && tick.now > names->tasks) {
        pyprof__tasks_find(&sweeper->list);
        names->tasks = tick.now + (pyprof__second << sweeper->list.asyncio_tries);
    }
    if (present) pyprof__awaits_read(sweeper, tick.now);
    if (present && sweeper->names_opcodes) pyprof__look_opcodes(sweeper);
    pthread_mutex_lock(&pyprof__lock);
    if (tick.now > pyprof__g.own_cpu_due) {   // reading the clock of a running thread makes the scheduler think again about it
        pyprof__g.own_cpu_ns = pyprof__own_cpu();
        pyprof__g.own_cpu_due = tick.now + 10000000;
    }
    for (i = 0; i < PYPROF__SESSIONS; i++) {
        pyprof__session *session = &pyprof__g.sessions[i];
        if (!(session->generation & 1)) continue;
        pyprof__record(session, sweeper, &tick, present, sweeper->retried - retried);
        if (present && sweeper->awaits.count) pyprof__record_awaits(session, sweeper);
    }
    pthread_mutex_unlock(&pyprof__lock);
    pyprof__busy_note(sweeper, tick.now);
    pyprof__deliver_events();
    pyprof__sweep_done(sweeper);
}

static void *pyprof__sampler_main(void *argument)
{
    pyprof__sweeper *sweeper = (pyprof__sweeper *)argument;
    pyprof__schedule schedule;
    pyprof__names names = { 0, 0, 50000, 0 };
    pyprof__house house = { 0, 0 };
    uint64_t until, head;
    int64_t runs;
    double rate;
    memset(&schedule, 0, sizeof schedule);
    schedule.rate = -1;
    schedule.random = pyprof__now() ^ (uint64_t)pyprof__gettid() << 32;
    pyprof__is_sampler = 1;
    pyprof__inside = 1;
    __atomic_store_n(&pyprof__g.tid, pyprof__gettid(), __ATOMIC_RELEASE);
    pyprof__sweeper_settle(sweeper);
    for (;;) {
        schedule.seen = __atomic_load_n(&pyprof__g.wake, __ATOMIC_ACQUIRE);
        pthread_mutex_lock(&pyprof__lock);
        rate = pyprof__wanted_rate(sweeper);
        if (rate < 0) break;
        pthread_mutex_unlock(&pyprof__lock);
        pyprof__schedule_rate(&schedule, rate);
        until = PYPROF__GET(pyprof__heap.users) && house.due < schedule.deadline ? house.due : schedule.deadline;
        if (pyprof__now() < until) pyprof__sweeper_sleep(sweeper, &pyprof__g.wake, schedule.seen, until);
        pyprof__heap_tick(pyprof__now());
        if (rate > 0 && pyprof__now() >= schedule.deadline) pyprof__tick_once(sweeper, &schedule, &names);
        if (pyprof__now() < house.due) continue;
        if (!pyprof__copy(&sweeper->source, &head, sweeper->runtime.address + sweeper->runtime.layout.runtime_head, sizeof head)) head = 0;
        runs = head ? pyprof__gc_runs(&sweeper->source, &sweeper->runtime) : -1;
        pthread_mutex_lock(&pyprof__lock);
        pyprof__keep_house(&house, pyprof__now(), head != 0, runs);
        pthread_mutex_unlock(&pyprof__lock);
    }
    pyprof__g.alive = 0;                 // under the lock: a new session sees it and starts a new thread
    pthread_mutex_unlock(&pyprof__lock);
    pyprof__sweeper_close(sweeper);
    return NULL;
}

// The kernel can end a thread alone: a seccomp filter that kills threads.
static int pyprof__sampler_is_gone(void)
{
    int64_t tid = __atomic_load_n(&pyprof__g.tid, __ATOMIC_ACQUIRE);
    return tid && !pyprof__thread_exists(tid);
}

// Waits for a sampler thread that has ended or is about to. Under pyprof__control.
static void pyprof__join(void)
{
    if (!pyprof__g.joinable) return;
    pthread_join(pyprof__g.thread, NULL);
    pyprof__g.joinable = 0;
}

// Opens the sampler and starts its thread; a session must be in use already, or the thread ends at once.
static pyprof_result pyprof__sampler_start(void)
{
    int error;
    pyprof__g.tid = 0;
    __atomic_store_n(&pyprof__g.alive, 1, __ATOMIC_RELEASE);
    error = pyprof__thread_start(&pyprof__g.thread, pyprof__sampler_main, &pyprof__g.sweeper);
    if (error == 0) { pyprof__g.joinable = 1; return PYPROF_OK; }
    pyprof__g.alive = 0;
    pyprof__sweeper_close(&pyprof__g.sweeper);
    return pyprof__fail(PYPROF_ERR_BUSY, "cannot start the sampler thread: %s", strerror(error));
}

// A part of the recording ends now: the time since the last tick is told as far as clocks tell it, and ticks that were due and that the
// sampler had no CPU for. Under the lock.
static void pyprof__account_end(pyprof__session *session, pyprof__account *account, uint64_t now, uint64_t due)
{
    uint64_t cpu = account->tick == session->tick && account->spell == session->spells ? pyprof__thread_cpu((int64_t)account->native) : 0;
    pyprof_stats *stats = &session->model.stats;
    if (cpu < account->cpu_ns || cpu == 0 || account->member == PYPROF__NONE) return;
    if (PYPROF__AT(pyprof__member, session->model.members, account->member).wanted) {
        stats->asked += due;
        stats->missed += due;
    }
    pyprof__account_pass(account, now - account->look_ns, cpu - account->cpu_ns);
    account->cpu_ns = cpu;
    account->look_ns = now;
}

static void pyprof__record_end(pyprof__session *session)
{
    pyprof__model *model = &session->model;
    uint64_t now = pyprof__now(), wall = now - session->last_ns, due = (uint64_t)((double)wall * session->config.rate_hz / 1e9);
    size_t i;
    if (session->paused) { pyprof__accounts_settle(session); return; }
    if (due < 3 || wall < 50000000) due = 0;   // not late
    for (i = 0; i < session->accounts.count; i++)
        pyprof__account_end(session, &PYPROF__AT(pyprof__account, session->accounts, i), now, due);
    if (session->tick == 0 && due) {           // it never saw a thread; the one that ends the session was there
        model->stats.missed += due;
        model->stats.asked += due;
    }
    if (due && wall > model->stats.late_max_ns) model->stats.late_max_ns = wall;
    pyprof__accounts_settle(session);
    model->recorded_ns += wall;
    session->last_ns = model->last_ns = now;
}

// ---- starting and ending a session ---------------------------------------------------
static pyprof_result pyprof__config_check(const pyprof_config *config)
{
    static const struct { size_t offset; const char *name, *what; } later[] = {
        { offsetof(pyprof_config, children), "children", "following child processes" },
        { offsetof(pyprof_config, native), "native", "native frames" },
    };
    size_t i;
    int value;
    if (!(config->rate_hz >= 0 && config->rate_hz <= 100000))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "rate_hz is %g: it must be 0 (for the default) to 100000", config->rate_hz);
    if (config->rate_hz > 0 && config->rate_hz < 0.001)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "rate_hz is %g: the lowest is 0.001", config->rate_hz);
    if (!(config->duration_s >= 0 && config->duration_s < 1e9))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "duration_s is %g: it must be 0 (no end) or more", config->duration_s);
    if (!(config->timeline_s > -1e9 && config->timeline_s < 1e9)) return pyprof__fail(PYPROF_ERR_ARGUMENT, "timeline_s is %g", config->timeline_s);
    if (config->capture < 0 || config->capture > PYPROF_CAPTURE_SIGNAL)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "capture is %d: no such value", config->capture);
    if (config->heap_interval_bytes > (uint64_t)1 << 40)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "heap_interval_bytes is %llu: the most is 2^40", (unsigned long long)config->heap_interval_bytes);
    if (config->heap < 0 || config->heap > PYPROF_HEAP_EXACT) return pyprof__fail(PYPROF_ERR_ARGUMENT, "heap is %d: no such value", config->heap);
    if (config->paths < 0 || config->paths > PYPROF_PATHS_HASHED)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "paths is %d: no such value", config->paths);
    if (config->opcodes < 0 || config->opcodes > 1) return pyprof__fail(PYPROF_ERR_ARGUMENT, "opcodes is %d: 0 or 1", config->opcodes);
    if (!config->allocator.alloc != !config->allocator.free)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "allocator: alloc and free are needed both, or none");
    if (config->max_depth > PYPROF__MOST_DEPTH)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "max_depth is %u: the most is %d", config->max_depth, PYPROF__MOST_DEPTH);
    if (config->max_bytes && config->max_bytes < PYPROF__MIN_BYTES)
        return pyprof__fail(PYPROF_ERR_BUDGET, "max_bytes is %llu: a session needs %d", (unsigned long long)config->max_bytes, PYPROF__MIN_BYTES);
    if (config->thread_filter && strlen(config->thread_filter) > 255)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "thread_filter is longer than 255 bytes");
    for (i = 0; i < PYPROF__COUNT(config->reserved); i++)
        if (config->reserved[i]) return pyprof__fail(PYPROF_ERR_ARGUMENT, "reserved must be 0: is the config zeroed?");
    if (config->pid != 0 && config->pid != getpid())
        return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "pid is %lld: profiling another process is not supported yet", (long long)config->pid);
    for (i = 0; i < PYPROF__COUNT(later); i++) {
        memcpy(&value, (const char *)config + later[i].offset, sizeof value);
        if (value) return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "%s is %d: %s is not supported yet", later[i].name, value, later[i].what);
    }
    return PYPROF_OK;
}

static void pyprof__config_defaults(pyprof_config *config)
{
    if (!(config->rate_hz > 0)) config->rate_hz = 100;
    if (!(config->timeline_s < 0) && !(config->timeline_s > 0)) config->timeline_s = 60;
    if (!config->max_depth) config->max_depth = 1024;
    if (!config->max_bytes) config->max_bytes = 256u << 20;
    if (!config->heap_interval_bytes) config->heap_interval_bytes = 512u << 10;
    if (!config->heap_max_bytes) config->heap_max_bytes = 1u << 30;
}

static void pyprof__seats_free(pyprof__session *session)
{
    size_t i;
    for (i = 0; i < session->seats.count; i++) {
        pyprof__array_free(&session->pool, &PYPROF__AT(pyprof__seat, session->seats, i).spots);
        pyprof__array_free(&session->pool, &PYPROF__AT(pyprof__seat, session->seats, i).nodes);
    }
    pyprof__array_free(&session->pool, &session->seats);
    pyprof__array_free(&session->pool, &session->accounts);
    pyprof__index_free(&session->pool, &session->account_index);
    pyprof__array_free(&session->pool, &session->spot_map);
}

// An empty model, its time starting at start_ns. 0 = no memory. Under the lock, or before the session is in use.
static int pyprof__session_clear(pyprof__session *session, uint64_t start_ns)
{
    uint64_t monotonic = pyprof__now(), now = pyprof__clock(CLOCK_REALTIME);
    size_t i;
    pyprof__model_init(&session->model, &session->pool);
    session->model.start_ns = session->model.last_ns = session->last_ns = session->awake_ns = start_ns;
    session->model.unix_offset = ((double)now - (double)monotonic) / 1e9;
    session->model.rate_hz = session->config.rate_hz;
    session->model.timeline_s = session->config.timeline_s;
    session->model.paths = session->config.paths;
    session->model.opcodes = session->config.opcodes;
    session->ticks_late = session->late_sum = 0;
    session->own_cpu_start = __atomic_load_n(&pyprof__g.own_cpu_ns, __ATOMIC_RELAXED);
    session->spot_map.count = 0;
    for (i = 0; i < session->seats.count; i++) PYPROF__AT(pyprof__seat, session->seats, i).member = PYPROF__NONE;
    for (i = 0; i < session->accounts.count; i++) pyprof__account_renew(&PYPROF__AT(pyprof__account, session->accounts, i), start_ns);
    return pyprof__model_begin(&session->model) && (!session->heap || pyprof__heap_view_begin(&session->view, &session->pool));
}

// The recording starts anew at start_ns, or stays as it is: 0 = no memory. Under the lock.
static int pyprof__session_renew(pyprof__session *session, uint64_t start_ns)
{
    pyprof__model before = session->model, made;
    int whole = pyprof__session_clear(session, start_ns);
    made = session->model;
    if (!whole) session->model = before;
    pyprof__model_free(whole ? &before : &made);
    return whole;
}

static void pyprof__session_drop(pyprof__session *session)
{
    pyprof__seats_free(session);
    pyprof__heap_view_free(&session->view, &session->pool);
    pyprof__model_free(&session->model);
}

static pyprof_result pyprof__session_open(const pyprof_config *config, int *slot)   // under the lock
{
    pyprof__session *session;
    uint64_t generation;
    for (*slot = 0; *slot < PYPROF__SESSIONS && pyprof__g.sessions[*slot].generation & 1; ++*slot) {}
    if (*slot == PYPROF__SESSIONS) return pyprof__fail(PYPROF_ERR_BUSY, "all %d sessions are in use", PYPROF__SESSIONS);
    session = &pyprof__g.sessions[*slot];
    generation = session->generation;
    memset(session, 0, sizeof *session);
    session->generation = generation;
    session->config = *config;
    if (config->thread_filter) {
        pyprof__copy_text(session->thread_filter, sizeof session->thread_filter, config->thread_filter);
        session->config.thread_filter = session->thread_filter;
    }
    pyprof__pool_init(&session->pool, &config->allocator, config->max_bytes / 4 * 3);
    pyprof__array_init(&session->seats, sizeof(pyprof__seat));
    pyprof__array_init(&session->accounts, sizeof(pyprof__account));
    pyprof__array_init(&session->spot_map, sizeof(uint32_t));
    pyprof__heap_view_init(&session->view);
    if (!pyprof__session_clear(session, pyprof__now())) {
        pyprof__session_drop(session);
        return pyprof__fail_memory("the session");
    }
    session->generation++;
    return PYPROF_OK;
}

// The stats of a session as of now, under the lock.
static void pyprof__session_stats(const pyprof__session *session, pyprof_stats *stats)
{
    *stats = session->model.stats;
    stats->own_cpu_ns = pyprof__g.own_cpu_ns > session->own_cpu_start ? pyprof__g.own_cpu_ns - session->own_cpu_start : 0;
    stats->own_bytes = session->pool.used + pyprof__g.sweeper.pool.used;
    if (!session->heap) return;
    stats->own_bytes += pyprof__heap_bytes();
    stats->heap_state = PYPROF__GET(pyprof__heap.state);
    stats->heap_samples = pyprof__heap_noted();
    stats->heap_dropped = PYPROF__GET(pyprof__heap.dropped);
    stats->heap_live_bytes = (uint64_t)pyprof__heap_live();
    stats->heap_live_blocks = pyprof__heap_live_blocks();
    stats->heap_peak_bytes = (uint64_t)PYPROF__GET(pyprof__heap.peak);
    stats->heap_reserved_bytes = PYPROF__GET(pyprof__heap.reserved);
}

// The name people know the program by: of the executable, or of the script that an interpreter runs. Nothing else of
// the command line is looked at: it can hold secrets.
static void pyprof__program_name(char *name, size_t capacity)
{
    char text[4096], *at, *base, *end;
    ssize_t size;
    if (!pyprof__proc_link("exe", text, sizeof text))
        pyprof__copy_text(text, sizeof text, pyprof__started_as());
    base = strrchr(text, '/');
    pyprof__utf8_repair(name, capacity, base ? base + 1 : text);
    if (strncmp(name, "python", 6) != 0) return;
    size = pyprof__proc_read("cmdline", text, sizeof text);
    end = text + (size > 0 ? size : 0);
    for (at = text + strlen(text) + 1; at < end; at += strlen(at) + 1) {
        if (strcmp(at, "-c") == 0 || strcmp(at, "-") == 0) return;
        if (strcmp(at, "-m") == 0) { at += 3; break; }
        if (strcmp(at, "-W") == 0 || strcmp(at, "-X") == 0) { at += 3; continue; }
        if (at[0] != '-') break;
    }
    if (at >= end || !*at) return;
    pyprof__utf8_repair(name, capacity, pyprof__stem(at).text);
    name[pyprof__stem(at).size < capacity ? pyprof__stem(at).size : capacity - 1] = 0;
}

static pyprof_result pyprof__profile_seal(pyprof_profile *profile, const pyprof__runtime *runtime)
{
    char name[256], version[32];
    pyprof__program_name(name, sizeof name);
    pyprof__version_text(runtime->version, version, sizeof version);
    profile->program = pyprof__intern(&profile->pool, &profile->model.strings, name, strlen(name));
    profile->python = pyprof__intern(&profile->pool, &profile->model.strings, version, strlen(version));
    profile->free_threaded = runtime->free_threaded;
    profile->interpreters = (uint32_t)profile->model.stats.interpreters;
    return profile->program == PYPROF__NONE || profile->python == PYPROF__NONE ? pyprof__fail_memory("the profile") : PYPROF_OK;
}

static pyprof_result pyprof__session_profile(pyprof__session *session, double last_s, pyprof_profile **profile)   // under the lock
{
    pyprof_profile *made;
    if (session->heap && !pyprof__heap_view_extend(&session->view, &session->model, pyprof__heap_root, session))
        pyprof__degrade(session, "max_bytes is used up: new stacks are counted at the deepest frame already known");
    made = pyprof__profile_new(&session->model, last_s > 0 ? (uint64_t)(last_s * 1e9) : 0, &session->pool.allocator);
    if (!made) return pyprof__fail_memory("the profile");
    if (session->heap) {
        pyprof__heap_reasons(session);
        pyprof__heap_view_fill(&session->view, &made->model);
        pyprof__heap_view_facts(&session->view, &made->model.heap);
        if (!pyprof__heap_view_history(&session->view, &made->model)
            || !pyprof__heap_view_births(&session->view, &made->model)) made->model.heap.marks = 0;
    }
    pyprof__session_stats(session, &made->model.stats);
    if (pyprof__profile_seal(made, &pyprof__g.sweeper.runtime) != PYPROF_OK) {
        pyprof__profile_free(made);
        return PYPROF_ERR_MEMORY;
    }
    *profile = made;
    return PYPROF_OK;
}

// ---- memory tracking of a session ------------------------------------------------------------
static pyprof_result pyprof__heap_join(pyprof__session *session)   // under the lock
{
    const pyprof_config *config = &session->config;
    pyprof__heap_wish wish;
    pyprof_result result = PYPROF_OK;
    wish.mode = config->heap;
    wish.interval = config->heap_interval_bytes;
    wish.table_bytes = config->heap_max_bytes;
    wish.bytes = config->max_bytes;
    wish.depth = config->max_depth;
    if (PYPROF__GET(pyprof__heap.users) == 0) result = pyprof__heap_start(&wish, &pyprof__g.sweeper.runtime);
    else if (PYPROF__GET(pyprof__heap.mode) != wish.mode)
        result = pyprof__fail(PYPROF_ERR_BUSY, "heap: another session tracks memory in the other mode");
    else if (wish.mode == PYPROF_HEAP_SAMPLED && pyprof__heap.interval != wish.interval)
        result = pyprof__fail(PYPROF_ERR_BUSY, "heap_interval_bytes is %llu: another session samples every %llu bytes",
                              (unsigned long long)wish.interval, (unsigned long long)pyprof__heap.interval);
    if (result != PYPROF_OK) return result;
    PYPROF__BUMP(pyprof__heap.users, 1);
    session->heap = 1;
    return pyprof__heap_view_begin(&session->view, &session->pool) ? PYPROF_OK : pyprof__fail_memory("the session");
}

static void pyprof__heap_noting(void)   // new blocks are noted unless every session that tracks memory is paused; under the lock
{
    int i, noting = 0;
    for (i = 0; i < PYPROF__SESSIONS; i++) {
        const pyprof__session *session = &pyprof__g.sessions[i];
        noting |= (session->generation & 1) && session->heap && !session->paused;
    }
    PYPROF__SET(pyprof__heap.noting, noting);
}

static void pyprof__heap_leave(pyprof__session *session)   // under the lock
{
    if (!session->heap) return;
    session->heap = 0;
    PYPROF__BUMP(pyprof__heap.users, -1);
    if (PYPROF__GET(pyprof__heap.users) == 0) pyprof__heap_end();
    else pyprof__heap_noting();
}

static int pyprof__is_running(void)   // is there an interpreter?
{
    const pyprof__sweeper *sweeper = &pyprof__g.sweeper;
    uint64_t head = 0;
    return pyprof__copy(&sweeper->source, &head, sweeper->runtime.address + sweeper->runtime.layout.runtime_head, sizeof head) && head != 0;
}

// ---- one sweep without a session ---------------------------------------------------------
typedef struct { pyprof__sweeper sweeper; pyprof__session session; pyprof_result result; char error[512]; } pyprof__dump_job;

// Sweeps until every thread was read: the caller may still be on its way to stand still.
static int pyprof__dump_sweep(pyprof__sweeper *sweeper)
{
    uint32_t word = 0;
    int attempt, rejected = 1;
    size_t i;
    for (attempt = 0; attempt < 2 || (attempt < 20 && rejected); attempt++) {   // two: who stands still with the GIL waits
        if (attempt) pyprof__sleep_until(&word, 0, pyprof__now() + 1000000);
        if (!pyprof__sweep(sweeper, pyprof__now())) return 0;
        for (rejected = 0, i = 0; i < sweeper->list.threads.count; i++) {
            const pyprof__thread *thread = &PYPROF__AT(const pyprof__thread, sweeper->list.threads, i);
            rejected |= thread->tick == sweeper->list.tick && thread->cause != 0;
        }
    }
    return 1;
}

// On a thread of its own: the caller's CPU placement is not ours to change, and the caller stands still meanwhile.
static void *pyprof__dump_main(void *argument)
{
    pyprof__dump_job *job = (pyprof__dump_job *)argument;
    pyprof__tick tick;
    int proven;
    pyprof__is_sampler = 1;
    pyprof__sweeper_settle(&job->sweeper);
    memset(&tick, 0, sizeof tick);
    job->result = pyprof__self_check(&job->sweeper, 50, &proven);
    if (job->result == PYPROF_OK && !pyprof__dump_sweep(&job->sweeper))
        job->result = pyprof__fail(PYPROF_ERR_STATE, "the Python interpreter is not initialised");
    if (job->result == PYPROF_OK && job->sweeper.codes.asyncio) {   // now that it is known: with the tasks
        pyprof__tasks_find(&job->sweeper.list);
        pyprof__forget_stacks(&job->sweeper.list);
        pyprof__dump_sweep(&job->sweeper);
        pyprof__awaits_read(&job->sweeper, pyprof__now());
    }
    if (job->result == PYPROF_OK) {
        pyprof__names_read(&job->sweeper.list, job->sweeper.codes.text, 1);
        tick.now = tick.at[0] = pyprof__now();
        tick.count = 1;
        tick.rate = job->session.config.rate_hz;
        pyprof__record(&job->session, &job->sweeper, &tick, 1, 0);
        pyprof__record_awaits(&job->session, &job->sweeper);
        job->session.model.stats.own_cpu_ns = pyprof__own_cpu();
    }
    memcpy(job->error, pyprof__error_text, sizeof job->error);
    return NULL;
}

// ---- PROFILING=1 ---------------------------------------------------------------------------
__attribute__((format(printf, 2, 3)))
static void pyprof__say(int quiet, const char *format, ...)
{
    char text[1400];
    va_list list;
    int size;
    if (quiet) return;
    va_start(list, format);
    size = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (size > 0) pyprof__write_all(2, text, strlen(text));
}

static const char *pyprof__getenv(const char *name)   // nothing in set-user-id programs
{
    typedef char *fn(const char *);
    fn *secure;
    void *found = dlsym(NULL, "secure_getenv");
    if (!found) return getenv(name);
    memcpy(&secure, &found, sizeof secure);
    return secure(name);
}

static int pyprof__env_number(const char *name, double least, double most, double *value)   // 0 = bad, said on stderr
{
    const char *text = pyprof__getenv(name);
    double whole = 0, part = 0.1;
    const char *at = text;
    if (!text || !*text) return 1;
    for (; *at >= '0' && *at <= '9'; at++) whole = whole * 10 + (*at - '0');
    if (*at == '.') for (at++; *at >= '0' && *at <= '9'; at++, part /= 10) whole += (*at - '0') * part;
    if (*at == 0 && at != text && whole >= least && whole <= most) { *value = whole; return 1; }
    pyprof__fail(PYPROF_ERR_ARGUMENT, "%s=%.100s: not a number from %g to %g", name, text, least, most);
    return 0;
}

static int pyprof__env_formats(char *formats, size_t capacity)
{
    const char *text = pyprof__getenv("PYPROF_FORMATS");
    char suffix[80], *save = NULL, *word;
    size_t row;
    pyprof_output none;
    memset(&none, 0, sizeof none);
    if (!text || !*text) text = "json,svg,txt";
    if (strlen(text) >= capacity) { pyprof__fail(PYPROF_ERR_ARGUMENT, "PYPROF_FORMATS: longer than %d characters", (int)capacity - 1); return 0; }
    memcpy(formats, text, strlen(text) + 1);
    {
        char copy[256];
        pyprof__copy_text(copy, sizeof copy, formats);
        for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
            snprintf(suffix, sizeof suffix, ".%.70s", word);
            if (pyprof__output_check(&none, pyprof__format_by_suffix(suffix), 0, &row) == PYPROF_OK
                && strcmp(pyprof__formats[row].suffix, suffix) == 0)
                continue;
            pyprof__fail(PYPROF_ERR_ARGUMENT, "PYPROF_FORMATS=%.100s: no format '%.60s' can be written", text, word);
            return 0;
        }
    }
    return 1;
}

// One run at a time owns a prefix. The claim is a socket name without a file: the kernel drops it with the process.
static int pyprof__env_claim(const char *prefix)   // 0 = somebody else's
{
    struct sockaddr_un name;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), taken;
    if (fd < 0) return 1;
    memset(&name, 0, sizeof name);
    name.sun_family = AF_UNIX;
    snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "pyprof-%u-%016llx", (unsigned)geteuid(), (unsigned long long)pyprof__hash_text(prefix,
             strlen(prefix)));
    taken = bind(fd, (const struct sockaddr *)&name, (socklen_t)sizeof name) != 0 && errno == EADDRINUSE;
    if (taken) close(fd);
    else pyprof__g.env_claim = fd;
    return !taken;
}

static void pyprof__env_prefix(char *prefix, size_t capacity)
{
    const char *out = pyprof__getenv("PYPROF_OUT"), *folder = pyprof__getenv("TMPDIR");
    char name[256], target[1100], here[512];
    struct stat info;
    size_t size;
    pyprof__program_name(name, sizeof name);
    if (out && *out == '/') pyprof__copy_text(prefix, capacity, out);
    else if (out && *out) snprintf(prefix, capacity, "%s/%.500s", getcwd(here, sizeof here) ? here : ".", out);   // the program may go elsewhere
    else snprintf(prefix, capacity, "%s/%s", folder && *folder ? folder : "/tmp", name);
    snprintf(target, sizeof target, "%.1000s_profile.json", prefix);
    size = strlen(prefix);
    if ((lstat(target, &info) == 0 && info.st_uid != geteuid()) || !pyprof__env_claim(prefix))
        snprintf(prefix + size, capacity - size, ".%ld", (long)getpid());
}

static void pyprof__env_save(const pyprof_profile *profile, const char *name, const pyprof_output *output, int quiet)
{
    char path[1300];
    snprintf(path, sizeof path, "%s_%s", pyprof__g.env_prefix, name);
    if (pyprof__save_path(profile, path, output) != PYPROF_OK) pyprof__say(0, "pyprof: %s\n", pyprof__error_text);
    else pyprof__say(quiet, "pyprof: wrote %s\n", path);
}

// The memory report as of now, and the same for Python: tracemalloc.Snapshot.load.
static void pyprof__env_memory(const pyprof_profile *profile, int quiet)
{
    pyprof_output text;
    memset(&text, 0, sizeof text);
    text.metric = PYPROF_LIVE_BYTES;
    pyprof__env_save(profile, "memory_snapshot.txt", &text, quiet);
    pyprof__env_save(profile, "memory_snapshot.pkl", NULL, quiet);
}

static int pyprof__env_sources(int *sources)   // 0 = bad, told by pyprof_last_error
{
    const char *text = pyprof__getenv("PYPROF_SOURCES");
    *sources = 0;
    if (!text || !*text) return 1;
    *sources = strcmp(text, "0") == 0 ? -1 : strcmp(text, "1") == 0;
    if (*sources) return 1;
    pyprof__fail(PYPROF_ERR_ARGUMENT, "PYPROF_SOURCES=%.100s: not 0 or 1", text);
    return 0;
}

static void pyprof__env_write(const pyprof_profile *profile)
{
    pyprof_output final, output;
    char formats[256], name[300], *save = NULL, *word;
    memcpy(formats, pyprof__g.env_formats, sizeof formats);
    memset(&output, 0, sizeof output);
    output.sources = pyprof__g.env_sources;
    for (word = strtok_r(formats, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        snprintf(name, sizeof name, "profile.%s", word);
        pyprof__env_save(profile, name, &output, pyprof__g.env_quiet);
    }
    if (!profile->model.heap.mode) return;
    pyprof__env_memory(profile, pyprof__g.env_quiet);
    memset(&final, 0, sizeof final);
    final.metric = PYPROF_LIVE_BYTES;
    pyprof__env_save(profile, "memory_final.txt", &final, pyprof__g.env_quiet);
}

// ============================================================================
// [SECTION] PUBLIC -- the API functions
//   Runs on    any thread, with or without the GIL
//   Uses       SESSION
//   Promise    as said at each declaration
// ============================================================================
// Called at exit, and when the session of PROFILING=1 is stopped.
static void pyprof__at_exit(void)
{
    if (pyprof__g.env_session && pyprof__g.env_pid == getpid()) pyprof_stop(pyprof__g.env_session, NULL);
}

// The variables of PROFILING=1. The config's strings live as long as the environment.
static pyprof_result pyprof__env_config(pyprof_config *config)
{
    const char *heap = pyprof__getenv("PYPROF_HEAP"), *quiet = pyprof__getenv("PYPROF_QUIET"), *opcodes = pyprof__getenv("PYPROF_OPCODES");
    memset(config, 0, sizeof *config);
    config->opcodes = opcodes && strcmp(opcodes, "1") == 0;
    if (opcodes && *opcodes && !config->opcodes && strcmp(opcodes, "0") != 0)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "PYPROF_OPCODES=%.100s: not 0 or 1", opcodes);
    config->rate_hz = 100;
    pyprof__g.env_quiet = quiet && *quiet && strcmp(quiet, "0") != 0;
    if (!pyprof__env_number("PYPROF_RATE", 0.001, 100000, &config->rate_hz)) return PYPROF_ERR_ARGUMENT;
    pyprof__g.env_interval = 60;
    if (!pyprof__env_number("PYPROF_INTERVAL", 0.1, 1e9, &pyprof__g.env_interval)) return PYPROF_ERR_ARGUMENT;
    if (!pyprof__env_formats(pyprof__g.env_formats, sizeof pyprof__g.env_formats)) return PYPROF_ERR_ARGUMENT;
    if (!pyprof__env_sources(&pyprof__g.env_sources)) return PYPROF_ERR_ARGUMENT;
    config->heap = PYPROF_HEAP_SAMPLED;
    if (!heap || !*heap || strcmp(heap, "sampled") == 0) return PYPROF_OK;
    config->heap = strcmp(heap, "exact") == 0 ? PYPROF_HEAP_EXACT : PYPROF_HEAP_OFF;
    if (config->heap || strcmp(heap, "off") == 0) return PYPROF_OK;
    return pyprof__fail(PYPROF_ERR_ARGUMENT, "PYPROF_HEAP=%.100s: not off, sampled or exact", heap);
}

static const char *const pyprof__result_texts[] = {
    "ok", "bad argument", "wrong state", "busy", "out of memory", "input/output error", "unknown format", "no CPython in the process",
    "not supported", "permission denied", "no such process", "disabled", "memory budget too small",
};

PYPROF__DEF const char *pyprof_result_string(pyprof_result result)
{
    size_t i = (size_t)result;
    return i < PYPROF__COUNT(pyprof__result_texts) ? pyprof__result_texts[i] : "unknown result";
}

PYPROF__DEF const char *pyprof_last_error(void) { return pyprof__error_text; }

PYPROF__DEF const char *pyprof_version(void) { return PYPROF_VERSION_STRING; }

static void pyprof__control_lock(void) { if (!pyprof__is_sampler) pthread_mutex_lock(&pyprof__control); }
static void pyprof__control_unlock(void) { if (!pyprof__is_sampler) pthread_mutex_unlock(&pyprof__control); }

// The session joins the sampler that runs. *alive = there is one.
static pyprof_result pyprof__join_running(const pyprof_config *config, int *slot, int *alive)
{
    pyprof_result result = PYPROF_OK;
    pthread_mutex_lock(&pyprof__lock);
    *alive = pyprof__g.alive;
    if (*alive) result = pyprof__session_open(config, slot);
    pthread_mutex_unlock(&pyprof__lock);
    return result;
}

static void pyprof__start_undo(int slot)   // under pyprof__control
{
    pyprof__session *session = &pyprof__g.sessions[slot];
    pthread_mutex_lock(&pyprof__lock);
    pyprof__heap_leave(session);
    session->generation++;
    pyprof__session_drop(session);
    pthread_mutex_unlock(&pyprof__lock);
}

static pyprof_result pyprof__start_heap(int slot)
{
    pyprof_result result;
    int running;
    pthread_mutex_lock(&pyprof__lock);
    result = pyprof__heap_join(&pyprof__g.sessions[slot]);
    running = result == PYPROF_OK && pyprof__is_running();
    pyprof__heap_noting();
    pthread_mutex_unlock(&pyprof__lock);
    if (running) pyprof__heap_request();
    else if (result == PYPROF_OK && !pyprof__below[0][0].malloc) {   // nobody else uses the allocators yet
        pyprof__heap_settle(NULL);
        PYPROF__SET(pyprof__heap.state, PYPROF_HEAP_STATE_PENDING);   // if there was an interpreter before, the next one drops them
    }
    return result;
}

static pyprof_result pyprof__start_first(const pyprof_config *config, int *slot)   // nobody samples yet
{
    pyprof__sweeper *sweeper = &pyprof__g.sweeper;
    pyprof_result result;
    pyprof__join();
    pyprof__g.refused[0] = 0;
    result = pyprof__sweeper_open(sweeper, &config->allocator, config->max_bytes / 4, config->max_depth, config->capture == PYPROF_CAPTURE_AUTO);
    if (result != PYPROF_OK) return result;
    pyprof__g.doubts = 0;
    result = pyprof__self_check(sweeper, 50, &pyprof__g.proven);
    pthread_mutex_lock(&pyprof__lock);
    pyprof__g.own_cpu_ns = 0;
    if (result == PYPROF_OK) result = pyprof__session_open(config, slot);
    pthread_mutex_unlock(&pyprof__lock);
    if (result != PYPROF_OK) { pyprof__sweeper_close(sweeper); return result; }
    pyprof__pin(&sweeper->pool);
    result = pyprof__sampler_start();
    if (result == PYPROF_OK) return result;
    pyprof__g.sessions[*slot].generation++;
    pyprof__session_drop(&pyprof__g.sessions[*slot]);
    return result;
}

static int pyprof__any_session(void)   // under the lock
{
    int i, any = 0;
    for (i = 0; i < PYPROF__SESSIONS; i++) any |= (int)(pyprof__g.sessions[i].generation & 1);
    return any;
}

// The last session is gone: lets the sampler thread end. A callback on it may start a session again: then it stays.
// So it does if it gets no CPU for long: it ends when it gets one, or serves the next session.
static void pyprof__sampler_stop(void)
{
    uint64_t end = pyprof__now() + pyprof__patience;
    int alive, any;
    if (pyprof__is_sampler || !pyprof__g.joinable) return;
    do {
        pthread_mutex_lock(&pyprof__lock);
        if (pyprof__sampler_is_gone()) pyprof__g.alive = 0;
        alive = pyprof__g.alive;
        any = pyprof__any_session();
        pthread_mutex_unlock(&pyprof__lock);
        if (any || pyprof__now() > end) return;
        if (alive) { pyprof__wake(&pyprof__g.wake); pyprof__nap(20000); }
    } while (alive);
    pyprof__join();
}

PYPROF__DEF pyprof_result pyprof_start(const pyprof_config *config, pyprof **session)
{
    pyprof_config copy;
    pyprof_result result;
    int slot = 0, alive;
    if (!session) return pyprof__fail(PYPROF_ERR_ARGUMENT, "session is NULL");
    *session = NULL;
    memset(&copy, 0, sizeof copy);
    if (config) copy = *config;
    result = pyprof__config_check(&copy);
    if (result != PYPROF_OK) return result;
    pyprof__config_defaults(&copy);
    pyprof__enter();
    pyprof__control_lock();
    pyprof__g.pid = getpid();
    if (!pyprof__g.atfork) pyprof__g.atfork = pthread_atfork(NULL, NULL, pyprof__after_fork) == 0;
    result = pyprof__join_running(&copy, &slot, &alive);
    if (!alive) result = pyprof__start_first(&copy, &slot);
    if (result == PYPROF_OK && copy.heap) {
        result = pyprof__start_heap(slot);
        if (result != PYPROF_OK) { pyprof__start_undo(slot); pyprof__sampler_stop(); }
    }
    if (result == PYPROF_OK) {
        *session = pyprof__token(slot);
        pyprof__wake(&pyprof__g.wake);
        if (copy.logger.fn) copy.logger.fn(copy.logger.user, PYPROF_LEVEL_INFO, "pyprof: sampling");
    } else if (copy.logger.fn) copy.logger.fn(copy.logger.user, PYPROF_LEVEL_ERROR, pyprof__error_text);
    pyprof__control_unlock();
    return result;
}

PYPROF__DEF pyprof_result pyprof_stop(pyprof *session, pyprof_profile **profile)
{
    pyprof__session *found;
    pyprof_profile *made = NULL;
    pyprof_result result = PYPROF_OK;
    int slot = 0, from_env, unhook = 0;
    if (profile) *profile = NULL;
    pyprof__enter();
    pyprof__objects_watch(1);
    pyprof__control_lock();
    if (session && session == pyprof__g.env_session && pyprof__g.env_threaded) {
        pyprof__wake(&pyprof__g.env_wake);
        pthread_join(pyprof__g.env_thread, NULL);
        pyprof__g.env_threaded = 0;
        pyprof__g.env_wake = 0;
    }
    pthread_mutex_lock(&pyprof__lock);
    found = pyprof__session_of(session);
    from_env = found && session == pyprof__g.env_session && pyprof__g.env_pid == getpid();
    if (found) {
        slot = (int)(found - pyprof__g.sessions) + 1;
        if (profile || from_env) pyprof__record_end(found);
        if (profile || from_env) result = pyprof__session_profile(found, 0, &made);
        unhook = found->heap && PYPROF__GET(pyprof__heap.users) == 1 && pyprof__is_running();
        pyprof__heap_leave(found);
        found->generation++;
        pyprof__session_drop(found);
        if (from_env) pyprof__g.env_session = NULL;
    } else result = pyprof__no_session(session);
    pthread_mutex_unlock(&pyprof__lock);
    if (unhook) pyprof__heap_request();
    while (!pyprof__is_sampler && slot && !pyprof__sampler_is_gone()
           && __atomic_load_n(&pyprof__g.delivering, __ATOMIC_ACQUIRE) == slot) pyprof__nap(20000);
    pyprof__sampler_stop();
    if (from_env && made) pyprof__env_write(made);
    if (from_env && pyprof__g.env_claim > 0) { close(pyprof__g.env_claim); pyprof__g.env_claim = 0; }
    pyprof__control_unlock();
    if (profile) *profile = made;
    else if (made) pyprof__profile_free(made);
    return result;
}

PYPROF__DEF pyprof_result pyprof_snapshot(pyprof *session, const pyprof_snapshot_options *options, pyprof_profile **profile)
{
    pyprof__session *found;
    pyprof_result result;
    double last_s = options ? options->last_s : 0;
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    *profile = NULL;
    if (!(last_s >= 0 && last_s < 1e9)) return pyprof__fail(PYPROF_ERR_ARGUMENT, "last_s is %g: it must be 0 (everything) or more", last_s);
    pyprof__enter();
    pyprof__objects_watch(1);
    pthread_mutex_lock(&pyprof__lock);
    found = pyprof__session_of(session);
    if (!found) result = pyprof__no_session(session);
    else if (last_s > 0 && found->config.timeline_s < 0)
        result = pyprof__fail(PYPROF_ERR_STATE, "last_s needs a time line, and timeline_s is negative");
    else {
        pyprof__record_end(found);
        result = pyprof__session_profile(found, last_s, profile);
    }
    if (result == PYPROF_OK && options && options->reset && !pyprof__session_renew(found, found->last_ns)) {   // no time falls between the parts
        pyprof__profile_free(*profile);
        *profile = NULL;
        result = pyprof__fail_memory("the session");
    }
    pthread_mutex_unlock(&pyprof__lock);
    return result;
}

static pyprof_result pyprof__pause_or_resume(pyprof *session, int paused)
{
    pyprof__session *found;
    pyprof_result result = PYPROF_OK;
    pyprof__enter();
    pthread_mutex_lock(&pyprof__lock);
    found = pyprof__session_of(session);
    if (!found) result = pyprof__no_session(session);
    else if (!paused && found->ended) result = pyprof__fail(PYPROF_ERR_STATE, "duration_s is over: the session can only be stopped");
    else if (found->paused != paused) {
        uint64_t now = pyprof__now();
        if (paused) {   // the time since the last tick belongs to no sample: it is left out
            found->paused = 1;
        } else {
            found->paused = 0;
            found->last_ns = found->awake_ns = now;
            found->spells++;
            found->due_now = 0;
        }
        pyprof__heap_noting();
    }
    pthread_mutex_unlock(&pyprof__lock);
    if (result == PYPROF_OK) pyprof__wake(&pyprof__g.wake);
    return result;
}

PYPROF__DEF pyprof_result pyprof_pause(pyprof *session) { return pyprof__pause_or_resume(session, 1); }
PYPROF__DEF pyprof_result pyprof_resume(pyprof *session) { return pyprof__pause_or_resume(session, 0); }

PYPROF__DEF pyprof_result pyprof_reset(pyprof *session)
{
    pyprof__session *found;
    pyprof_result result = PYPROF_OK;
    pyprof__enter();
    pthread_mutex_lock(&pyprof__lock);
    found = pyprof__session_of(session);
    if (!found) result = pyprof__no_session(session);
    else if (!pyprof__session_renew(found, pyprof__now())) result = pyprof__fail_memory("the session");
    pthread_mutex_unlock(&pyprof__lock);
    return result;
}

static pyprof__session *pyprof__heap_session(const pyprof *token, pyprof_result *result)   // under the lock
{
    pyprof__session *found = pyprof__session_of(token);
    *result = PYPROF_OK;
    if (found && found->heap) return found;
    *result = found ? pyprof__fail(PYPROF_ERR_STATE, "the session does not track memory: heap was off") : pyprof__no_session(token);
    return NULL;
}

PYPROF__DEF pyprof_result pyprof_reset_peak(pyprof *session)
{
    pyprof_result result;
    pyprof__enter();
    pthread_mutex_lock(&pyprof__lock);
    if (pyprof__heap_session(session, &result)) pyprof__heap_reset_peak();
    pthread_mutex_unlock(&pyprof__lock);
    return result;
}

PYPROF__DEF pyprof_result pyprof_get_stats(const pyprof *session, pyprof_stats *stats)
{
    pyprof__session *found;
    pyprof_result result = PYPROF_OK;
    if (!stats) return pyprof__fail(PYPROF_ERR_ARGUMENT, "stats is NULL");
    pyprof__enter();
    pthread_mutex_lock(&pyprof__lock);
    found = pyprof__session_of(session);
    if (found) pyprof__session_stats(found, stats);
    else result = pyprof__no_session(session);
    pthread_mutex_unlock(&pyprof__lock);
    return result;
}

PYPROF__DEF void pyprof_profile_free(pyprof_profile *profile)
{
    if (profile) pyprof__profile_free(profile);
}

PYPROF__DEF pyprof_result pyprof_save(const pyprof_profile *profile, const char *path, const pyprof_output *output)
{
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    if (!path || !*path) return pyprof__fail(PYPROF_ERR_ARGUMENT, "path is %s", path ? "empty" : "NULL");
    return pyprof__save_path(profile, path, output);
}

PYPROF__DEF pyprof_result pyprof_write(const pyprof_profile *profile, const pyprof_output *output, pyprof_write_fn *fn, void *user)
{
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    if (!output) return pyprof__fail(PYPROF_ERR_ARGUMENT, "output is NULL");
    if (!fn) return pyprof__fail(PYPROF_ERR_ARGUMENT, "fn is NULL");
    if (!output->format) return pyprof__fail(PYPROF_ERR_FORMAT, "no format was asked for, and there is no file name to tell it");
    return pyprof__write_profile(profile, output, output->format, fn, user);
}

PYPROF__DEF pyprof_result pyprof_load(const char *path, pyprof_profile **profile)
{
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    *profile = NULL;
    if (!path) return pyprof__fail(PYPROF_ERR_ARGUMENT, "path is NULL");
    return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "cannot load %s: loading profiles is not supported yet", path);
}

static pyprof_result pyprof__query_check(const pyprof_query *query)
{
    if (!query) return PYPROF_OK;
    if (query->sort < 0 || query->sort >= PYPROF_METRIC_COUNT || (query->sort && !*pyprof__metric_keys[query->sort]))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "sort is %d: no such metric", query->sort);
    if (query->group < 0 || query->group > PYPROF_GROUP_LEAF) return pyprof__fail(PYPROF_ERR_ARGUMENT, "group is %d: no such value", query->group);
    return PYPROF_OK;
}

PYPROF__DEF pyprof_result pyprof_diff(const pyprof_profile *before, const pyprof_profile *after, const pyprof_diff_options *options,
                                      pyprof_profile **delta)
{
    pyprof_result result = pyprof__query_check(options ? options->filter : NULL);
    if (!delta) return pyprof__fail(PYPROF_ERR_ARGUMENT, "delta is NULL");
    *delta = NULL;
    if (!before || !after) return pyprof__fail(PYPROF_ERR_ARGUMENT, "%s is NULL", before ? "after" : "before");
    if (before->is_diff || after->is_diff)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "%s is a difference already", before->is_diff ? "before" : "after");
    if (result != PYPROF_OK) return result;
    if (options && (options->group < 0 || options->group > PYPROF_GROUP_THREAD))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "group is %d: no such value", options->group);
    *delta = pyprof__profile_diff(before, after, options);
    return *delta ? PYPROF_OK : pyprof__fail_memory("the difference");
}

PYPROF__DEF pyprof_result pyprof_top(const pyprof_profile *profile, const pyprof_query *query, pyprof_row *rows, size_t row_size, size_t capacity,
                                     size_t *count)
{
    pyprof__selection selection;
    pyprof__table table;
    pyprof__ranked *ranked = NULL;
    pyprof_result result = pyprof__query_check(query);
    size_t i;
    if (count) *count = 0;
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    if (!count) return pyprof__fail(PYPROF_ERR_ARGUMENT, "count is NULL");
    if (!rows && capacity) return pyprof__fail(PYPROF_ERR_ARGUMENT, "rows is NULL");
    if (row_size != sizeof(pyprof_row))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "row_size is %llu: this pyprof's rows have %llu", (unsigned long long)row_size,
                            (unsigned long long)sizeof(pyprof_row));
    if (result != PYPROF_OK) return result;
    memset(&table, 0, sizeof table);
    if (!pyprof__select(&selection, profile, query, query && !query->include_idle) || !pyprof__table_make(&table, &selection, query, query
        ? query->group : 0))
        result = pyprof__fail_memory("the table");
    if (result == PYPROF_OK && table.rows.count) {
        ranked = pyprof__rank(&table, query && query->sort ? query->sort : query && !query->include_idle ? PYPROF_WALL_NS : 0, query
                              && query->by_total);
        if (!ranked) result = pyprof__fail_memory("the table");
    }
    if (ranked) *count = table.rows.count;
    for (i = 0; ranked && i < capacity && i < *count; i++) rows[i] = *ranked[i].row;
    pyprof__free(&table.pool, ranked, ranked ? table.rows.count * sizeof *ranked : 0);
    if (table.pool.allocator.free) pyprof__table_free(&table);
    pyprof__selection_free(&selection);
    return result;
}

PYPROF__DEF pyprof_result pyprof_leaks(const pyprof_profile *profile, const pyprof_query *query, pyprof_leak *rows, size_t row_size,
                                       size_t capacity, size_t *count)
{
    pyprof__leak_table table;
    pyprof_result result = pyprof__query_check(query);
    size_t i;
    if (count) *count = 0;
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    if (!count) return pyprof__fail(PYPROF_ERR_ARGUMENT, "count is NULL");
    if (!rows && capacity) return pyprof__fail(PYPROF_ERR_ARGUMENT, "rows is NULL");
    if (row_size != sizeof(pyprof_leak))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "row_size is %llu: this pyprof's leaks have %llu", (unsigned long long)row_size,
                            (unsigned long long)sizeof(pyprof_leak));
    if (result != PYPROF_OK) return result;
    if (query && query->group == PYPROF_GROUP_LEAF) return pyprof__fail(PYPROF_ERR_ARGUMENT, "leaves leak no memory: their callers do");
    if (profile->is_diff) return pyprof__fail(PYPROF_ERR_STATE, "a difference has no course over time: ask the later profile for its leaks");
    if (!profile->model.heap.mode) return pyprof__fail(PYPROF_ERR_STATE, "the profile has no memory data: the session did not track memory");
    if (pyprof__leaks_make(&table, profile, query)) {
        *count = table.leaks.count;
        for (i = 0; i < capacity && i < *count; i++) rows[i] = PYPROF__AT(pyprof_leak, table.leaks, i);
    } else result = pyprof__fail_memory("the leaks");
    pyprof__leaks_free(&table);
    return result;
}

// ---- visit ----------------------------------------------------------------------------
typedef struct {
    const pyprof_profile *profile;
    pyprof__selection *selection;
    pyprof_visit_fn *fn;
    void *user;
    pyprof_thread *threads;       // one a member
    pyprof_frame *stack;
    uint32_t *owner, *path;
    int stopped;
} pyprof__visitor;

static void pyprof__frame_fill(const pyprof_profile *profile, uint32_t node, pyprof_frame *frame)
{
    const pyprof__location *location = pyprof__location_of(profile, node);
    const pyprof__function *function = pyprof__function_of(profile, node);
    frame->name = pyprof__text(profile, function->name);
    frame->qualname = pyprof__text(profile, function->qualname);
    frame->file = pyprof__text(profile, function->file);
    frame->label = pyprof__label(profile, location->function);
    frame->line = location->place.line;
    frame->end_line = location->place.end_line;
    frame->column = location->place.column;
    frame->end_column = location->place.end_column;
    frame->opcode = location->opcode ? pyprof__text(profile, location->opcode) : NULL;
    frame->first_line = function->first_line;
    frame->kind = function->kind;
}

static size_t pyprof__visit_stack(pyprof__visitor *visitor, uint32_t node)   // its depth
{
    size_t depth = 0, i;
    for (; node && pyprof__function_of(visitor->profile, node)->kind != PYPROF_KIND_THREAD; node = pyprof__parent_of(visitor->profile, node))
        visitor->path[depth++] = node;
    for (i = 0; i < depth; i++) pyprof__frame_fill(visitor->profile, visitor->path[depth - 1 - i], &visitor->stack[i]);
    return depth;
}

static void pyprof__visit_threads(pyprof__visitor *visitor)
{
    const pyprof__model *model = &visitor->profile->model;
    size_t i;
    int metric;
    for (i = 0; i < model->members.count && !visitor->stopped; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, i);
        pyprof_thread *thread = &visitor->threads[i];
        pyprof_item item;
        thread->thread_id = member->native;
        thread->ident = member->ident;
        thread->interpreter = member->interp_id;
        thread->name = pyprof__text(visitor->profile, member->name);
        thread->first_seen = pyprof__unix(model, member->first_ns);
        thread->last_seen = pyprof__unix(model, member->last_ns);
        for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++) thread->total[metric] = pyprof__total(visitor->selection, metric, member->node);
        if (!member->wanted) continue;
        memset(&item, 0, sizeof item);
        item.kind = PYPROF_ITEM_THREAD;
        item.thread = thread;
        item.total = thread->total;
        visitor->stopped = visitor->fn(visitor->user, &item);
    }
}

static void pyprof__visit_nodes(pyprof__visitor *visitor, int kind)
{
    uint32_t node;
    int metric;
    for (node = 1; node < visitor->selection->count && !visitor->stopped; node++) {
        int64_t self[PYPROF_METRIC_COUNT], total[PYPROF_METRIC_COUNT], any = 0;
        pyprof_item item;
        if (visitor->owner[node] == PYPROF__NONE || pyprof__function_of(visitor->profile, node)->kind == PYPROF_KIND_THREAD) continue;
        for (metric = 0; metric < PYPROF_METRIC_COUNT; metric++) {
            self[metric] = pyprof__self(visitor->selection, metric, node);
            total[metric] = pyprof__total(visitor->selection, metric, node);
            any |= kind == PYPROF_ITEM_STACK ? self[metric] : total[metric];
        }
        if (!any) continue;
        memset(&item, 0, sizeof item);
        item.kind = kind;
        item.thread = &visitor->threads[visitor->owner[node]];
        item.depth = pyprof__visit_stack(visitor, node);
        item.stack = visitor->stack;
        item.self = self;
        item.total = total;
        visitor->stopped = visitor->fn(visitor->user, &item);
    }
}

static void pyprof__visit_states(pyprof__visitor *visitor)
{
    const pyprof__model *model = &visitor->profile->model;
    size_t i;
    for (i = 0; i < model->moments.count && !visitor->stopped; i++) {
        const pyprof__moment *moment = &PYPROF__AT(const pyprof__moment, model->moments, i);
        int64_t self[PYPROF_METRIC_COUNT];
        pyprof_item item;
        if (!visitor->selection->chosen[moment->node]) continue;
        pyprof__moment_values(moment, self);
        memset(&item, 0, sizeof item);
        item.kind = PYPROF_ITEM_STATE;
        item.thread = &visitor->threads[moment->thread];
        item.depth = pyprof__visit_stack(visitor, moment->node);
        item.stack = visitor->stack;
        item.self = self;
        item.timestamp = pyprof__unix(model, moment->start_ns);
        item.count = moment->count;
        visitor->stopped = visitor->fn(visitor->user, &item);
    }
}

static void pyprof__visit_memory(pyprof__visitor *visitor)
{
    const pyprof__model *model = &visitor->profile->model;
    size_t i;
    for (i = 0; i < model->gauges.count && !visitor->stopped; i++) {
        const pyprof__gauge *gauge = &PYPROF__AT(const pyprof__gauge, model->gauges, i);
        int64_t self[PYPROF_METRIC_COUNT];
        pyprof_item item;
        memset(self, 0, sizeof self);
        self[PYPROF_LIVE_BYTES] = gauge->facts.traced_bytes;
        self[PYPROF_RESIDENT_BYTES] = gauge->facts.resident_bytes;
        memset(&item, 0, sizeof item);
        item.kind = PYPROF_ITEM_MEMORY;
        item.self = self;
        item.timestamp = pyprof__unix(model, gauge->ns);
        item.process = &gauge->facts;
        visitor->stopped = visitor->fn(visitor->user, &item);
    }
}

static void pyprof__visit_gil(pyprof__visitor *visitor, const pyprof_query *query)   // who waited for whom; the longest holds
{
    const pyprof__model *model = &visitor->profile->model;
    int64_t self[PYPROF_METRIC_COUNT];
    pyprof_item item;
    size_t i;
    for (i = 0; i < model->rivals.count && !visitor->stopped; i++) {
        const pyprof__rivals *rivals = &PYPROF__AT(const pyprof__rivals, model->rivals, i);
        if (!pyprof__rivals_wanted(visitor->profile, query, rivals)) continue;
        memset(self, 0, sizeof self);
        memset(&item, 0, sizeof item);
        self[PYPROF_GIL_WAIT_NS] = (int64_t)rivals->ns;
        item.kind = PYPROF_ITEM_GIL;
        item.thread = &visitor->threads[rivals->waiter];
        item.other = &visitor->threads[rivals->holder];
        item.self = self;
        visitor->stopped = visitor->fn(visitor->user, &item);
    }
    for (i = 0; i < model->members.count && !visitor->stopped; i++) {
        const pyprof__member *member = &PYPROF__AT(const pyprof__member, model->members, i);
        if (!member->hold_ns || !pyprof__member_wanted(visitor->profile, query, (uint32_t)i)) continue;
        memset(self, 0, sizeof self);
        memset(&item, 0, sizeof item);
        self[PYPROF_GIL_NS] = (int64_t)member->hold_ns;
        item.kind = PYPROF_ITEM_HOLD;
        item.thread = &visitor->threads[i];
        item.depth = pyprof__visit_stack(visitor, member->hold_node);
        item.stack = visitor->stack;
        item.self = self;
        item.timestamp = pyprof__unix(model, member->hold_end_ns);
        visitor->stopped = visitor->fn(visitor->user, &item);
    }
}

static void pyprof__visit_tasks(pyprof__visitor *visitor)
{
    const pyprof__model *model = &visitor->profile->model;
    int64_t self[PYPROF_METRIC_COUNT];
    pyprof_item item;
    size_t i;
    for (i = 0; i < model->waited.count && !visitor->stopped; i++) {
        const pyprof__waited *waited = &PYPROF__AT(const pyprof__waited, model->waited, i);
        if (!visitor->selection->chosen[waited->node] || visitor->owner[waited->node] == PYPROF__NONE) continue;
        memset(self, 0, sizeof self);
        memset(&item, 0, sizeof item);
        self[PYPROF_WAIT_NS] = (int64_t)waited->ns;
        item.kind = PYPROF_ITEM_TASK;
        item.thread = &visitor->threads[visitor->owner[waited->node]];
        item.depth = pyprof__visit_stack(visitor, waited->node);
        item.stack = visitor->stack;
        item.self = self;
        item.count = waited->count;
        visitor->stopped = visitor->fn(visitor->user, &item);
    }
}

PYPROF__DEF pyprof_result pyprof_visit(const pyprof_profile *profile, const pyprof_query *query, pyprof_visit_fn *fn, void *user)
{
    pyprof__selection selection;
    pyprof__visitor visitor;
    pyprof__pool *pool = &selection.pool;
    size_t members, nodes;
    pyprof_result result = pyprof__query_check(query);
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    if (!fn) return pyprof__fail(PYPROF_ERR_ARGUMENT, "fn is NULL");
    if (result != PYPROF_OK) return result;
    members = (profile->model.members.count + 1) * sizeof(pyprof_thread);
    nodes = (profile->model.nodes.count + 1) * sizeof(uint32_t);
    memset(&visitor, 0, sizeof visitor);
    visitor.profile = profile;
    visitor.selection = &selection;
    visitor.fn = fn;
    visitor.user = user;
    if (pyprof__select(&selection, profile, query, query && !query->include_idle)) {
        visitor.threads = (pyprof_thread *)pyprof__alloc(pool, members);
        visitor.stack = (pyprof_frame *)pyprof__alloc(pool, (profile->depth + 1) * sizeof(pyprof_frame));
        visitor.path = (uint32_t *)pyprof__alloc(pool, (profile->depth + 1) * sizeof(uint32_t));
        visitor.owner = (uint32_t *)pyprof__alloc(pool, nodes);
    }
    if (visitor.threads && visitor.stack && visitor.path && visitor.owner) {
        pyprof__owners(profile, visitor.owner);
        pyprof__visit_threads(&visitor);
        pyprof__visit_nodes(&visitor, PYPROF_ITEM_NODE);
        pyprof__visit_nodes(&visitor, PYPROF_ITEM_STACK);
        pyprof__visit_states(&visitor);
        pyprof__visit_memory(&visitor);
        pyprof__visit_gil(&visitor, query);
        pyprof__visit_tasks(&visitor);
    } else result = pyprof__fail_memory("the visit");
    pyprof__free(pool, visitor.threads, members);
    pyprof__free(pool, visitor.stack, (profile->depth + 1) * sizeof(pyprof_frame));
    pyprof__free(pool, visitor.path, (profile->depth + 1) * sizeof(uint32_t));
    pyprof__free(pool, visitor.owner, nodes);
    pyprof__selection_free(&selection);
    return result;
}

PYPROF__DEF pyprof_result pyprof_profile_info(const pyprof_profile *profile, pyprof_info *info)
{
    const pyprof__model *model;
    size_t metric, i;
    if (!profile || !info) return pyprof__fail(PYPROF_ERR_ARGUMENT, "%s is NULL", profile ? "info" : "profile");
    model = &profile->model;
    memset(info, 0, sizeof *info);
    info->pid = profile->pid;
    info->program = pyprof__text(profile, profile->program);
    info->python = pyprof__text(profile, profile->python);
    info->free_threaded = profile->free_threaded;
    info->start = pyprof__unix(model, model->start_ns);
    info->duration_s = (double)model->recorded_ns / 1e9;
    info->rate_hz = model->rate_hz;
    info->threads = model->members.count;
    info->interpreters = profile->interpreters;
    info->functions = model->functions.count;
    info->nodes = model->nodes.count;
    info->heap = model->heap.mode;
    info->heap_interval_bytes = model->heap.interval;
    info->peak_time = model->heap.peak_ns ? pyprof__unix(model, model->heap.peak_ns) : 0;
    memcpy(info->domains, model->heap.domains, sizeof info->domains);
    memcpy(info->sizes, model->heap.sizes, sizeof info->sizes);
    for (metric = 1; metric < PYPROF_METRIC_COUNT; metric++)
        for (i = 0; i < model->columns[metric].count; i++) info->total[metric] += PYPROF__AT(int64_t, model->columns[metric], i);
    return PYPROF_OK;
}

PYPROF__DEF pyprof_result pyprof_profile_stats(const pyprof_profile *profile, pyprof_stats *stats)
{
    if (!profile || !stats) return pyprof__fail(PYPROF_ERR_ARGUMENT, "%s is NULL", profile ? "stats" : "profile");
    *stats = profile->model.stats;
    return PYPROF_OK;
}

static pyprof_result pyprof__dump_run(pyprof__dump_job *job, pyprof_profile **profile)
{
    pthread_t thread;
    pyprof_profile *made;
    int error = pyprof__thread_start(&thread, pyprof__dump_main, job);
    if (error) return pyprof__fail(PYPROF_ERR_BUSY, "cannot start a thread for the dump: %s", strerror(error));
    pthread_join(thread, NULL);
    if (job->result != PYPROF_OK) return pyprof__fail(job->result, "%s", job->error);
    made = pyprof__profile_new(&job->session.model, 0, &job->session.pool.allocator);
    if (!made) return pyprof__fail_memory("the profile");
    made->model.stats.own_bytes = job->session.pool.used + job->sweeper.pool.used;
    if (pyprof__profile_seal(made, &job->sweeper.runtime) == PYPROF_OK) { *profile = made; return PYPROF_OK; }
    pyprof__profile_free(made);
    return PYPROF_ERR_MEMORY;
}

PYPROF__DEF pyprof_result pyprof_dump(int64_t pid, const pyprof_dump_options *options, pyprof_profile **profile)
{
    pyprof__dump_job *job;
    pyprof_result result;
    if (!profile) return pyprof__fail(PYPROF_ERR_ARGUMENT, "profile is NULL");
    *profile = NULL;
    if (pid != 0 && pid != getpid())
        return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "pid is %lld: dumping another process is not supported yet", (long long)pid);
    if (options && options->native) return pyprof__fail(PYPROF_ERR_UNSUPPORTED, "native frames are not supported yet");
    if (options && options->max_depth > PYPROF__MOST_DEPTH)
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "max_depth is %u: the most is %d", options->max_depth, PYPROF__MOST_DEPTH);
    if (options && (options->paths < 0 || options->paths > PYPROF_PATHS_HASHED))
        return pyprof__fail(PYPROF_ERR_ARGUMENT, "paths is %d: no such value", options->paths);
    job = (pyprof__dump_job *)calloc(1, sizeof *job);
    if (!job) return pyprof__fail_memory("the dump");
    pyprof__pool_init(&job->session.pool, NULL, UINT64_MAX);
    if (options) job->session.config.max_depth = options->max_depth;
    if (options) job->session.config.paths = options->paths;
    pyprof__config_defaults(&job->session.config);
    result = pyprof__sweeper_open(&job->sweeper, NULL, UINT64_MAX, job->session.config.max_depth, 1);
    if (result == PYPROF_OK) {
        pyprof__array_init(&job->session.seats, sizeof(pyprof__seat));
        pyprof__array_init(&job->session.accounts, sizeof(pyprof__account));
        pyprof__array_init(&job->session.spot_map, sizeof(uint32_t));
        if (pyprof__session_clear(&job->session, pyprof__now())) result = pyprof__dump_run(job, profile);
        else result = pyprof__fail_memory("the dump");
        pyprof__session_drop(&job->session);
        pyprof__sweeper_close(&job->sweeper);
    }
    free(job);
    return result;
}

PYPROF__DEF pyprof_result pyprof_find_allocation(const pyprof *session, const void *address, pyprof_allocation *found)
{
    pyprof__entry entry;
    uint64_t begin;
    pyprof__session *of;
    pyprof_result result;
    if (!found) return pyprof__fail(PYPROF_ERR_ARGUMENT, "found is NULL");
    memset(found, 0, sizeof *found);
    pyprof__enter();
    pthread_mutex_lock(&pyprof__lock);
    of = pyprof__heap_session(session, &result);
    if (of && !pyprof__heap_find(address, &entry, &begin))
        result = pyprof__fail(PYPROF_ERR_STATE, "no block is known at %p: it was not allocated while memory was tracked%s, or is free again", address,
                              PYPROF__GET(pyprof__heap.mode) == PYPROF_HEAP_SAMPLED ? ", was not sampled" : "");
    else if (of) {
        found->address = (const void *)(uintptr_t)begin;
        found->size = (size_t)pyprof__entry_size(&entry);
        found->domain = pyprof__entry_domain(&entry);
        found->timestamp = pyprof__unix(&of->model, pyprof__heap.start_ns + (uint64_t)pyprof__entry_birth(&entry) * PYPROF__BIRTH * 1000000);
        found->thread_id = pyprof__heap_where(pyprof__entry_site(&entry), found->where, sizeof found->where);
    }
    pthread_mutex_unlock(&pyprof__lock);
    return result;
}

// The thread of PROFILING=1 that writes a memory snapshot every so many seconds.
static void *pyprof__env_main(void *unused)
{
    uint64_t due = pyprof__now();
    pyprof_profile *profile, *before = NULL;
    pyprof__inside = 1;
    for (;;) {
        due += (uint64_t)(pyprof__g.env_interval * 1e9);
        while (pyprof__now() < due && !__atomic_load_n(&pyprof__g.env_wake, __ATOMIC_ACQUIRE)) pyprof__sleep_until(&pyprof__g.env_wake, 0, due);
        if (__atomic_load_n(&pyprof__g.env_wake, __ATOMIC_ACQUIRE)) break;
        if (pyprof_snapshot(pyprof__g.env_session, NULL, &profile) != PYPROF_OK) continue;
        profile->before = before;
        pyprof__env_memory(profile, 1);
        profile->before = NULL;
        pyprof_profile_free(before);
        before = profile;
        if (pyprof__now() > due) due = pyprof__now();
    }
    pyprof_profile_free(before);
    return unused;
}

PYPROF__DEF pyprof_result pyprof_start_from_env(pyprof **session)
{
    const char *profiling = pyprof__getenv("PROFILING");
    pyprof_config config;
    pyprof *started = NULL;
    pyprof_result result;
    if (session) *session = NULL;
    if (!profiling || !*profiling || strcmp(profiling, "0") == 0) return pyprof__fail(PYPROF_ERR_DISABLED, "PROFILING is not set to 1");
    if (strcmp(profiling, "1") != 0) result = pyprof__fail(PYPROF_ERR_ARGUMENT, "PROFILING=%.100s: not 0 or 1", profiling);
    else if (pyprof__g.env_session && pyprof__g.env_pid == getpid())
        return pyprof__fail(PYPROF_ERR_STATE, "PROFILING=1 has started a session already");
    else result = pyprof__env_config(&config);
    if (result == PYPROF_OK) result = pyprof_start(&config, &started);
    if (result == PYPROF_ERR_UNSUPPORTED && config.heap && !pyprof__getenv("PYPROF_HEAP")) {   // nobody asked for it
        pyprof__say(pyprof__g.env_quiet, "pyprof: %s; memory is not tracked\n", pyprof__error_text);
        config.heap = PYPROF_HEAP_OFF;
        result = pyprof_start(&config, &started);
    }
    if (result != PYPROF_OK) {
        pyprof__say(0, "pyprof: %s; the program goes on unprofiled\n", pyprof__error_text);
        return result;
    }
    pyprof__env_prefix(pyprof__g.env_prefix, sizeof pyprof__g.env_prefix);
    pyprof__g.env_session = started;
    if (!pyprof__g.env_pid) atexit(pyprof__at_exit);
    pyprof__g.env_pid = getpid();
    pyprof__say(pyprof__g.env_quiet, "pyprof: profiling pid %ld at %g Hz; at exit it writes %s_profile.{%s}\n", (long)getpid(), config.rate_hz,
                pyprof__g.env_prefix, pyprof__g.env_formats);
    if (config.heap) {
        pyprof__g.env_threaded = pyprof__thread_start(&pyprof__g.env_thread, pyprof__env_main, NULL) == 0;
        pyprof__say(pyprof__g.env_quiet, "pyprof: tracking memory (%s), a snapshot every %g s: %s_memory_snapshot.{txt,pkl}\n",
                    config.heap == PYPROF_HEAP_EXACT ? "every block" : "sampled", pyprof__g.env_interval, pyprof__g.env_prefix);
    }
    if (session) *session = started;
    return PYPROF_OK;
}

// What only this file uses. PYPROF_IMPLEMENTATION stays, so that including it again is noticed and does nothing.
#undef PYPROF__COUNT
#undef PYPROF__RSEQ_SIGNATURE
#undef PYPROF__FENCE
#undef PYPROF__VDSO_CLOCK
#undef PYPROF__NO_RIGHTS
#undef PYPROF__NO_CALLS
#undef PYPROF__BY_NAME
#undef PYPROF__NO_NAME
#undef PYPROF__TEST_READ
#undef PYPROF__TEST_WINDOW
#undef PYPROF__TEST_DECIDE
#undef PYPROF__TEST_FINE
#undef PYPROF__NONE
#undef PYPROF__AT
#undef PYPROF__NO
#undef PYPROF__FIELDS
#undef PYPROF__FIELD_AT
#undef PYPROF__DEF
#undef PYPROF__EARLY_TLS
#undef PYPROF__LEAN
#undef PYPROF__MARKED
#undef PYPROF__THROWS
#undef PYPROF__INTERPOSED
#undef PYPROF__GET
#undef PYPROF__SET
#undef PYPROF__BUMP
#undef PYPROF__HOOKS
#undef PYPROF__SVG_DARK
#undef PYPROF__SVG_PUT_LINES
#endif   // supported platform
#endif   // PYPROF_IMPLEMENTATION
