// libpyprof_test.so: the whole library with its symbols visible, for the tests in tests/py, which call it with ctypes
// from the very interpreter that is profiled. Build: cc -shared -fPIC -O2 -pthread tests/dll.c -o BUILD/libpyprof_test.so
#define _GNU_SOURCE
#define PYPROF_DLL
#define PYPROF_IMPLEMENTATION
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

// ---- faults, by chance: reads of foreign memory that fail (1), come short (2) or return garbage (4), and copies of a
// thread's frames that do not agree (8) --------------------------------------------------------------------------------
static struct { double rate, apart; unsigned kinds, window_ns, slow_ns, coarse; uint64_t random; } test_fault;

static uint64_t test_random(void)
{
    uint64_t x = __atomic_add_fetch(&test_fault.random, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 27;
}

static void test_wait(uint64_t ns)
{
    struct timespec now;
    uint64_t end;
    if (!ns) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    end = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + ns;
    do clock_gettime(CLOCK_MONOTONIC, &now); while ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec < end);
}

static struct { uint64_t calls, bytes; } test_copies;   // guarded copies so far: each is a system call

static int test_chance(double rate)
{
    return rate > 0 && (double)(test_random() >> 11) / 9007199254740992.0 < rate;
}

static size_t test_read(void *to, size_t size, size_t done)
{
    uint64_t kind;
    size_t i;
    __atomic_add_fetch(&test_copies.calls, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&test_copies.bytes, size, __ATOMIC_RELAXED);
    if (test_fault.slow_ns) test_wait(test_random() % test_fault.slow_ns);
    if (!test_chance(test_fault.rate)) return done;
    do kind = (uint64_t)1 << test_random() % 3; while (!(kind & test_fault.kinds));
    if (kind == 1 || size == 0) return 0;
    if (kind == 2) return done ? test_random() % done : 0;
    for (i = 0; i < done; i++)
        if (test_random() % 16 == 0) ((unsigned char *)to)[i] = (unsigned char)test_random();
    return done;
}

EXPORT void pyprof_test_faults(double rate, unsigned kinds, uint64_t seed);
void pyprof_test_faults(double rate, unsigned kinds, uint64_t seed)
{
    test_fault.rate = kinds & 7 ? rate : 0;
    test_fault.apart = kinds & 8 ? rate : 0;
    test_fault.kinds = kinds;
    test_fault.random = seed;
}

// Widens the window in which a thread must stand still: whatever is wrong with the proof shows up more often.
static void test_window(void) { test_wait(test_fault.window_ns); }

EXPORT void pyprof_test_window(unsigned ns);
void pyprof_test_window(unsigned ns) { test_fault.window_ns = ns; }

// Lets time pass after every guarded read, up to ns by chance: two reads that have to belong together seldom do then.
EXPORT void pyprof_test_slow(unsigned ns);
void pyprof_test_slow(unsigned ns) { test_fault.slow_ns = ns; }

// CPU time that deciding the states of threads took, ns; how many threads and sweeps that were. Starts afresh.
static struct { uint64_t begin, ns, threads, sweeps; } test_decided;

static void test_decide(size_t threads)
{
    struct timespec now;
    uint64_t ns;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (!threads) { test_decided.begin = ns; return; }
    test_decided.ns += ns - test_decided.begin;
    test_decided.threads += threads;
    test_decided.sweeps++;
}

EXPORT void pyprof_test_decided(uint64_t *ns, uint64_t *threads, uint64_t *sweeps);
void pyprof_test_decided(uint64_t *ns, uint64_t *threads, uint64_t *sweeps)
{
    *ns = test_decided.ns;
    *threads = test_decided.threads;
    *sweeps = test_decided.sweeps;
    memset(&test_decided, 0, sizeof test_decided);
}

EXPORT uint64_t pyprof_test_copies(int bytes);
uint64_t pyprof_test_copies(int bytes)
{
    return __atomic_load_n(bytes ? &test_copies.bytes : &test_copies.calls, __ATOMIC_RELAXED);
}

// As on systems whose CPU clocks move by the tick: for sessions that start the sampler after this call.
EXPORT void pyprof_test_coarse(unsigned on);
void pyprof_test_coarse(unsigned on) { test_fault.coarse = on; }

#define PYPROF__TEST_READ(to, size, done) test_read(to, size, done)
#define PYPROF__TEST_AGREES(agrees) ((agrees) && !test_chance(test_fault.apart))
#define PYPROF__TEST_WINDOW() test_window()
#define PYPROF__TEST_DECIDE(threads) test_decide(threads)
#define PYPROF__TEST_FINE(fine) ((fine) && !test_fault.coarse)
#ifndef TEST_HEADER
#define TEST_HEADER "../pyprof.h"   // lower.h: see inside.py
#endif
#include TEST_HEADER
#include "big.h"

static int decoder_of(int minor_version) { return minor_version < 10 ? 0 : minor_version == 10 ? 1 : 2; }

// The header's private decoder. instruction counts code units: byte offset / 2.
EXPORT int pyprof_test_location(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction,
                                int *line, int *end_line, int *col, int *end_col);
int pyprof_test_location(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction,
                         int *line, int *end_line, int *col, int *end_col)
{
    pyprof__source_range place;
    memset(&place, 0x55, sizeof place);   // whatever the decoder does not set is seen
    pyprof__locate(decoder_of(minor_version), table, size, first_line, instruction, &place);
    *line = place.line;
    *end_line = place.end_line;
    *col = place.column;
    *end_col = place.end_column;
    return 0;
}

// The same for instructions 0, step, 2 step ... below count; out takes four numbers for each.
EXPORT void pyprof_test_locations(int minor_version, const unsigned char *table, size_t size, int first_line, int count,
                                  int step, int *out);
void pyprof_test_locations(int minor_version, const unsigned char *table, size_t size, int first_line, int count,
                           int step, int *out)
{
    for (int i = 0; i < count; i += step, out += 4)
        (void)pyprof_test_location(minor_version, table, size, first_line, i, out, out + 1, out + 2, out + 3);
}

// Decodes the table from memory that ends exactly where the table ends, before a page that cannot be read.
// Returns 0, or which rule the answer broke.
EXPORT int pyprof_test_hostile(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction);
int pyprof_test_hostile(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction)
{
    enum { AREA = 1 << 20 };
    static unsigned char *area;
    int line, end_line, col, end_col;
    if (!area) {
        area = (unsigned char *)mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED || mprotect(area + AREA, 4096, PROT_NONE)) abort();
    }
    if (size > AREA) return -1;
    unsigned char *copy = area + AREA - size;
    if (size) memcpy(copy, table, size);
    (void)pyprof_test_location(minor_version, copy, size, first_line, instruction, &line, &end_line, &col, &end_col);
    if (line < 0 || end_line < 0) return 1;                         // 0 = unknown
    if (line == 0x55555555 || end_line == 0x55555555) return 2;     // not set
    if (col < -1 || end_col < -1) return 3;                         // -1 = unknown
    if (col == 0x55555555 || end_col == 0x55555555) return 4;
    return 0;
}

// ---- opcodes and what they call ----------------------------------------------------------------------------------------
// Of opcode `number` of CPython 3.minor: its name ("" = none), caches behind it, and what it does. 1 = it is a call
// The value of a field of LAYOUT in 3.minor, and where the interpreter's own table has it; name: "" after the last.
EXPORT uint32_t pyprof_test_layout(int minor, int free_threaded, unsigned i, char *name, uint32_t *position);
uint32_t pyprof_test_layout(int minor, int free_threaded, unsigned i, char *name, uint32_t *position)
{
    pyprof__layout layout;
    name[0] = 0;
    if (i >= sizeof pyprof__fields / sizeof *pyprof__fields || pyprof__layout_choose(&layout, 0x03000000u | (uint32_t)minor << 16, free_threaded, NULL)) return 0;
    strcpy(name, pyprof__fields[i].name);
    *position = 0xffffffffu;
    for (size_t k = 0; k < sizeof pyprof__positions / sizeof *pyprof__positions; k++)
        if (pyprof__positions[k].field == i) *position = pyprof__position(k, (uint32_t)minor);
    return ((const uint32_t *)(const void *)&layout)[i];
}

EXPORT int pyprof_test_opcode(int minor, int number, char *name, int *caches, int *act);
int pyprof_test_opcode(int minor, int number, char *name, int *caches, int *act)
{
    static pyprof__opcodes opcodes;
    if (opcodes.minor != (uint32_t)minor) pyprof__opcodes_make(&opcodes, (uint32_t)minor);
    const pyprof__opcode *opcode = &opcodes.at[number & 255];
    if (opcode->name) memcpy(name, opcode->name, opcode->size);
    name[opcode->size] = 0;
    *caches = opcode->caches;
    *act = opcode->act;
    return pyprof__opcode_calls(&opcodes, (unsigned)number & 255u);
}

static struct { int open; pyprof__origin origin; pyprof__pool pool; pyprof__layout layout; pyprof__mirror mirror; pyprof__codes codes; } test_reader;

static int test_reader_find(uint32_t version, int free_threaded, uint64_t code, uint32_t *id)   // 0 = it is read
{
    if (!test_reader.open) {
        pyprof__pool_init(&test_reader.pool, NULL, UINT64_MAX);
        if (pyprof__origin_open(&test_reader.origin, &pyprof__own_proc) != PYPROF_OK) return -2;
        if (pyprof__layout_choose(&test_reader.layout, version, free_threaded, NULL) != PYPROF_OK) return -3;
        pyprof__mirror_init(&test_reader.mirror, &test_reader.pool, &test_reader.origin);
        if (!pyprof__codes_init(&test_reader.codes, &test_reader.pool, &test_reader.layout)) return -4;
        test_reader.open = 1;
    }
    pyprof__mirror_begin(&test_reader.mirror);
    return pyprof__code_find(&test_reader.codes, &test_reader.mirror, code, id) ? -1 : 0;
}

// What tells the code object from its namesakes, and the column where its code begins. anew: nothing is known of it yet
EXPORT int64_t pyprof_test_content(uint32_t version, int free_threaded, uint64_t code, int anew, int *column);
int64_t pyprof_test_content(uint32_t version, int free_threaded, uint64_t code, int anew, int *column)
{
    uint32_t id;
    if (test_reader.open && anew) pyprof__codes_clear(&test_reader.codes);
    if (test_reader.open && anew && !pyprof__codes_fill(&test_reader.codes)) return -4;
    int error = test_reader_find(version, free_threaded, code, &id);
    if (error) return error;
    *column = ((const pyprof__code *)test_reader.codes.codes.data)[id].column;
    return ((const pyprof__code *)test_reader.codes.codes.data)[id].content;
}

// Instruction `instruction` (in units) of the code object at `code`, read as the sampler reads it, in this process. callee and
// opcode: room for 300 bytes each. 0 = no call, 1 = a call, less: not read
EXPORT int pyprof_test_spot(uint32_t version, int free_threaded, uint64_t code, int instruction, char *callee, char *opcode);
int pyprof_test_spot(uint32_t version, int free_threaded, uint64_t code, int instruction, char *callee, char *opcode)
{
    uint32_t id, spot, found, again, named;
    *callee = *opcode = 0;
    int error = test_reader_find(version, free_threaded, code, &id);
    if (error) return error;
    spot = pyprof__spot_find(&test_reader.codes, id, instruction);
    if (spot == UINT32_MAX) return -5;
    found = pyprof__spot_callee(&test_reader.codes, &test_reader.mirror, spot);
    again = pyprof__spot_callee(&test_reader.codes, &test_reader.mirror, spot);
    if (found != again && !(test_fault.rate > 0)) return -6;
    if (found) snprintf(callee, 300, "%s", pyprof__string(&test_reader.codes.strings, found - 1));
    named = pyprof__spot_opcode(&test_reader.codes, &test_reader.mirror, spot);
    snprintf(opcode, 300, "%s", pyprof__string(&test_reader.codes.strings, named));
    return found != 0;
}

// What one thread was seen to call, by a sampler of its own: samples of it, those at a call, those at a call of that name.
typedef struct { int64_t native; int rounds, samples, calls, named; const char *want; char other[300]; pyprof__sweeper sweeper; } test_caller;

static void test_caller_note(test_caller *job)
{
    pyprof__sweeper *sweeper = &job->sweeper;
    for (size_t i = 0; i < sweeper->list.threads.count; i++) {
        const pyprof__thread *thread = (const pyprof__thread *)sweeper->list.threads.data + i;
        if (thread->native != job->native || thread->tick != sweeper->list.tick || thread->cause || !thread->stack.spots.count) continue;
        uint32_t callee = pyprof__spot_callee(&sweeper->codes, &sweeper->mirror, *(const uint32_t *)thread->stack.spots.data);
        const char *name = callee ? pyprof__string(&sweeper->codes.strings, callee - 1) : NULL;
        job->samples++;
        job->calls += name != NULL;
        if (name && !strcmp(name, job->want)) job->named++;
        else if (name) snprintf(job->other, sizeof job->other, "%s", name);
    }
}

static void *test_caller_main(void *argument)
{
    test_caller *job = (test_caller *)argument;
    uint32_t word = 0;
    int proven;
    pyprof__own.is_sampler = 1;
    pyprof__sweeper_settle(&job->sweeper);
    if (pyprof__self_check(&job->sweeper, 50, &proven) != PYPROF_OK) return NULL;
    while (job->rounds--) {
        pyprof__sleep_until(&word, 0, pyprof__now() + 1000000);
        if (pyprof__sweep(&job->sweeper, pyprof__now())) test_caller_note(job);
    }
    return NULL;
}

EXPORT int pyprof_test_calls(int64_t native, int rounds, const char *want, int *found, char *other);
int pyprof_test_calls(int64_t native, int rounds, const char *want, int *found, char *other)
{
    test_caller *job = (test_caller *)calloc(1, sizeof *job);
    pthread_t thread;
    if (!job || pyprof__sweeper_open(&job->sweeper, 0, NULL, UINT64_MAX, 1024, 1) != PYPROF_OK) return -1;
    job->native = native;
    job->rounds = rounds;
    job->want = want;
    if (pyprof__thread_start(&thread, test_caller_main, job)) return -2;
    pthread_join(thread, NULL);
    found[0] = job->samples;
    found[1] = job->calls;
    found[2] = job->named;
    strcpy(other, job->other);
    pyprof__sweeper_close(&job->sweeper);
    free(job);
    return 0;
}

// ---- profiles made by hand: a tree, frame by frame, and values for its nodes ------------------------------------------
typedef struct { pyprof__pool pool; pyprof__model model; uint64_t last[64]; } test_recording;   // last: moment of each thread

static uint32_t test_frame(test_recording *made, uint32_t parent, int kind, const char *file, const char *name, int number, int line)
{
    pyprof__source_range place = { line, line, -1, -1 };
    pyprof__function function;
    memset(&function, 0, sizeof function);
    function.name = function.qualname = pyprof__model_string(&made->model, name);
    function.file = pyprof__model_string(&made->model, file);
    function.first_line = number;
    function.kind = kind;
    return pyprof__model_node(&made->model, parent, pyprof__model_location(&made->model, &function, &place));
}

// One thread, which is node 1. mode and interval as in pyprof_config; mode 0: without memory.
EXPORT void *pyprof_test_model(int mode, uint64_t interval);
void *pyprof_test_model(int mode, uint64_t interval)
{
    test_recording *made = (test_recording *)calloc(1, sizeof *made);
    pyprof__recorded_thread *member;
    if (!made) abort();
    pyprof__pool_init(&made->pool, NULL, UINT64_MAX);
    pyprof__model_init(&made->model, &made->pool);
    if (!pyprof__model_begin(&made->model, getpid(), 0)) abort();
    made->model.heap.mode = mode;
    made->model.heap.interval = interval;
    member = (pyprof__recorded_thread *)pyprof__push(&made->pool, &made->model.threads);
    member->wanted = 1;
    member->native = 77;
    member->name = pyprof__model_string(&made->model, "MainThread");
    member->node = test_frame(made, 0, PYPROF_KIND_THREAD, "", "MainThread", 1, 0);
    return made;
}

// A frame below the node `parent`; returns its node, the same one for the same frame. The texts are taken as they are.
EXPORT uint32_t pyprof_test_model_frame(void *model, uint32_t parent, int kind, const char *file, const char *name, int line);
uint32_t pyprof_test_model_frame(void *model, uint32_t parent, int kind, const char *file, const char *name, int line)
{
    return test_frame((test_recording *)model, parent, kind, file, name, 1, line);
}

EXPORT void pyprof_test_model_add(void *model, uint32_t node, int metric, int64_t value);
void pyprof_test_model_add(void *model, uint32_t node, int metric, int64_t value)
{
    pyprof__model_add(&((test_recording *)model)->model, (pyprof_metric)metric, node, value);
}

// One more thread, 63 at most; returns its number. Its frames stand below its node.
EXPORT uint32_t pyprof_test_model_thread(void *model, const char *name, uint32_t *node);
uint32_t pyprof_test_model_thread(void *model, const char *name, uint32_t *node)
{
    test_recording *made = (test_recording *)model;
    uint32_t id = (uint32_t)made->model.threads.count;
    pyprof__recorded_thread *member = (pyprof__recorded_thread *)pyprof__push(&made->pool, &made->model.threads);
    if (!member || id >= 64) abort();
    member->wanted = 1;
    member->native = 77 + id;
    member->first_ns = member->last_ns = made->model.start_ns;
    member->name = pyprof__model_string(&made->model, name);
    member->node = *node = test_frame(made, 0, PYPROF_KIND_THREAD, "", name, (int)id + 1, 0);
    return id;
}

// A sample of 1 ms of that thread at that node, with an entry of the time line, 1 ms after the one before.
EXPORT void pyprof_test_model_sample(void *model, uint32_t thread, uint32_t node, int waiting);
void pyprof_test_model_sample(void *model, uint32_t thread, uint32_t node, int waiting)
{
    test_recording *made = (test_recording *)model;
    pyprof__moment moment;
    memset(&moment, 0, sizeof moment);
    made->model.timeline_s = 1e9;
    moment.start_ns = made->model.last_ns > made->model.start_ns ? made->model.last_ns : made->model.start_ns;
    moment.end_ns = made->model.last_ns = moment.start_ns + 1000000;
    moment.wall_ns = 1000000;
    moment.cpu_ns = waiting ? 0 : 1000000;
    moment.state = waiting ? PYPROF__IS_WAITING : 0;
    moment.thread = thread;
    moment.node = node;
    moment.count = 1;
    pyprof__model_columns(&made->model, &moment);
    pyprof__model_moment(&made->model, &moment, &made->last[thread]);
    ((pyprof__recorded_thread *)made->model.threads.data)[thread].last_ns = moment.end_ns;
    made->model.recorded_ns = moment.end_ns - made->model.start_ns;
}

// The profile; the model is gone then. python: "3.12.1"
EXPORT pyprof_profile *pyprof_test_model_seal(void *model, const char *python);
pyprof_profile *pyprof_test_model_seal(void *model, const char *python)
{
    test_recording *made = (test_recording *)model;
    pyprof_profile *profile = pyprof__profile_new(&made->model, 0, &made->pool.allocator);
    if (!profile) abort();
    profile->program = pyprof__intern(&profile->pool, &profile->model.strings, "made by hand", 12);
    profile->python = pyprof__intern(&profile->pool, &profile->model.strings, python, strlen(python));
    pyprof__model_free(&made->model);
    free(made);
    return profile;
}

// A recording of so many stacks and entries of the time line, with memory: see big.h.
EXPORT pyprof_profile *pyprof_test_big(uint32_t stacks, uint32_t moments, int heap);
pyprof_profile *pyprof_test_big(uint32_t stacks, uint32_t moments, int heap)
{
    test_recording *made = (test_recording *)pyprof_test_model(0, 0);
    made->model.threads.count = 0;
    made->model.start_ns = made->model.last_ns = 5000000000u;
    made->model.unix_offset = 1700000000.25 - 5;
    if (!big_fill(&made->model, stacks, moments, heap)) abort();
    return pyprof_test_model_seal(made, "3.12.1");
}

// ---- what it costs to wake up at all: a sampler that samples nothing, for the benchmarks ------------------------------
static struct { pthread_t thread, target; double rate; uint32_t stop; uint64_t cpu_ns; } test_sleeper;

static void *test_sleeper_main(void *unused)
{
    pyprof__schedule schedule;
    int64_t cpu_word = pyprof__cpu_word_offset();
    pyprof__tick tick;
    int here = -1;
    memset(&schedule, 0, sizeof schedule);
    schedule.rate = -1;
    pyprof__thread_tune();
    pyprof__schedule_rate(&schedule, test_sleeper.rate);
    while (!__atomic_load_n(&test_sleeper.stop, __ATOMIC_ACQUIRE)) {
        int cpu = cpu_word ? *(volatile int32_t *)((uintptr_t)test_sleeper.target + (uintptr_t)cpu_word) : here;
        if (cpu != here && pyprof__cpus_only(cpu)) here = cpu;
        if (pyprof__now() < schedule.deadline) pyprof__sleep_until(&test_sleeper.stop, 0, schedule.deadline);
        pyprof__schedule_collect(&schedule, pyprof__now(), &tick);
    }
    test_sleeper.cpu_ns = pyprof__own_cpu();
    return unused;
}

EXPORT int pyprof_test_sleeper_start(double rate);
int pyprof_test_sleeper_start(double rate)
{
    test_sleeper.rate = rate;
    test_sleeper.target = pthread_self();
    test_sleeper.stop = 0;
    return pyprof__thread_start(&test_sleeper.thread, test_sleeper_main, NULL);
}

EXPORT uint64_t pyprof_test_sleeper_stop(void);
uint64_t pyprof_test_sleeper_stop(void)   // returns its CPU time in ns
{
    pyprof__wake(&test_sleeper.stop);
    pthread_join(test_sleeper.thread, NULL);
    return test_sleeper.cpu_ns;
}

// ---- what is known about a process: facts of its pyprof__target as JSON, or the error --------------------------------
static size_t test_target_threads(const pyprof__target *target, char *text, size_t capacity)
{
    uint64_t idents[64];
    size_t count = pyprof__target_idents(target, idents, NULL, 64), i, n = 0;
    int32_t cpu, tid;
    for (i = 0; i < count && n + 100 < capacity; i++) {
        cpu = tid = -1;
        if (target->cpu_word) pyprof__copy(&target->origin, &cpu, idents[i] + (uint64_t)target->cpu_word, sizeof cpu);
        if (target->tid_offset) pyprof__copy(&target->origin, &tid, idents[i] + (uint64_t)target->tid_offset, sizeof tid);
        n += (size_t)snprintf(text + n, capacity - n, "%s[%llu, %d, %d, %lld]", i ? ", " : "", (unsigned long long)idents[i], cpu, tid,
                              (long long)pyprof__task_outside(target->origin.proc, tid));
    }
    return n;
}

EXPORT int pyprof_test_target(int64_t pid, char *text, size_t capacity);
int pyprof_test_target(int64_t pid, char *text, size_t capacity)
{
    static pyprof__target target;
    char version[32];
    pyprof__pool pool;
    pyprof_result result;
    size_t n;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    result = pyprof__target_open(&target, &pool, pid);
    if (result != PYPROF_OK) {
        snprintf(text, capacity, "%s", pyprof__error_text());
        return (int)result;
    }
    pyprof__version_text(target.runtime.version, version, sizeof version);
    n = (size_t)snprintf(text, capacity, "{\"version\": \"%s\", \"where\": \"%s\", \"method\": %d, \"cpu_word\": %lld, \"tid_offset\": %lld, "
                         "\"waiters_offset\": %u, \"started\": %llu, \"main\": %lld, \"leaked\": %llu, \"threads\": [", version, target.runtime.where,
                         (int)target.origin.method, (long long)target.cpu_word, (long long)target.tid_offset, target.waiters_offset,
                         (unsigned long long)target.started, (long long)pyprof__main_of(target.origin.proc), (unsigned long long)pool.used);
    n += test_target_threads(&target, text + n, capacity - n);
    snprintf(text + n, capacity - n, "]}");
    pyprof__target_close(&target);
    return 0;
}
