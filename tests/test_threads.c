// Sessions of many threads at once, and threads that end in the middle of it. The Python is made by hand: a runtime with one
// interpreter, its threads without a frame, a lock for a GIL, and a table of allocators. For make tsan.
#include "test.h"
#define Py_PYTHON_H
#define PY_VERSION_HEX 0x030b07f0
#define PYPROF__TEST_PATIENCE 300000000u
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

// ---- the Python ------------------------------------------------------------------------------------------------------
enum { THREADS = 8, HOSTS = 4, STATE = 4096 };
char fake_runtime[1 << 20] __asm__("_PyRuntime");
static char fake_interp[1 << 20], fake_states[HOSTS][STATE], fake_cframe[64];
static pthread_mutex_t fake_gil = PTHREAD_MUTEX_INITIALIZER;
static int (*fake_call)(void *);   // the pending one
static __thread void *fake_state;  // of this thread, while it has the GIL

typedef struct { void *context, *(*malloc)(void *, size_t), *(*calloc)(void *, size_t, size_t), *(*realloc)(void *, void *, size_t); void (*free)(void *, void *); } fake_allocator;

static void *fake_malloc(void *context, size_t size) { return (void)context, malloc(size ? size : 1); }
static void *fake_calloc(void *context, size_t count, size_t size) { return (void)context, calloc(count ? count : 1, size ? size : 1); }
static void *fake_realloc(void *context, void *block, size_t size) { return (void)context, realloc(block, size ? size : 1); }
static void fake_free(void *context, void *block) { (void)context; free(block); }
static fake_allocator fake_table[3] = { { NULL, fake_malloc, fake_calloc, fake_realloc, fake_free }, { NULL, fake_malloc, fake_calloc, fake_realloc, fake_free },
                                        { NULL, fake_malloc, fake_calloc, fake_realloc, fake_free } };

void PyMem_GetAllocator(int domain, fake_allocator *allocator);
void PyMem_SetAllocator(int domain, const fake_allocator *allocator);
int Py_AddPendingCall(int (*call)(void *), void *argument);
void *PyGILState_GetThisThreadState(void);
void *_PyThreadState_UncheckedGet(void);
int _Py_IsFinalizing(void);
void *PyInterpreterState_Main(void);

static void copy_words(void *to, const void *from)   // as CPython's readers and writers of the table, which no lock orders
{
    for (size_t i = 0; i < sizeof(fake_allocator) / sizeof(void *); i++)
        __atomic_store_n((void **)to + i, __atomic_load_n((void *const *)from + i, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}
void PyMem_GetAllocator(int domain, fake_allocator *allocator) { copy_words(allocator, &fake_table[domain]); }
void PyMem_SetAllocator(int domain, const fake_allocator *allocator) { copy_words(&fake_table[domain], allocator); }
void *PyGILState_GetThisThreadState(void) { return fake_state; }
void *_PyThreadState_UncheckedGet(void) { return fake_state; }
int _Py_IsFinalizing(void) { return 0; }
void *PyInterpreterState_Main(void) { return fake_interp; }
int Py_AddPendingCall(int (*call)(void *), void *argument)
{
    (void)argument;
    __atomic_store_n(&fake_call, call, __ATOMIC_RELEASE);
    return 0;
}

static void take_gil(void *state)
{
    int (*call)(void *);
    pthread_mutex_lock(&fake_gil);
    fake_state = state;
    call = __atomic_exchange_n(&fake_call, NULL, __ATOMIC_ACQUIRE);
    if (call) call(NULL);
}

static void drop_gil(void)
{
    fake_state = NULL;
    pthread_mutex_unlock(&fake_gil);
}

static void put(char *at, uint32_t offset, const void *value)
{
    uint64_t word = (uint64_t)(uintptr_t)value;
    memcpy(at + offset, &word, sizeof word);
}

// The interpreter comes up. Thread states: of so many threads that are not there yet.
static void fake_init(void)
{
    pyprof__layout at;
    CHECK_INT(pyprof__layout_choose(&at, PY_VERSION_HEX, 0, NULL), PYPROF_OK);
    for (int i = 0; i < HOSTS; i++) {
        if (i + 1 < HOSTS) put(fake_states[i], at.thread_next, fake_states[i + 1]);
        put(fake_states[i], at.thread_interp, fake_interp);
        put(fake_states[i], at.thread_frame, fake_cframe);
        put(fake_states[i], at.thread_serial, (void *)(uintptr_t)(i + 1));
    }
    put(fake_interp, at.interp_threads, fake_states[0]);
    put(fake_runtime, at.runtime_head, fake_interp);
    put(fake_runtime, at.runtime_head + 8, fake_interp);
}

static void host_begins(int number)   // before a session reads it
{
    pyprof__layout at;
    pyprof__layout_choose(&at, PY_VERSION_HEX, 0, NULL);
    put(fake_states[number], at.thread_native, (void *)(uintptr_t)pyprof__gettid());
    put(fake_states[number], at.thread_ident, (void *)(uintptr_t)pthread_self());
}

// ---- threads of the host that allocate -------------------------------------------------------------------------------
static int hosts_ready, hosts_end;
static pthread_t hosts[HOSTS];

static void *host_main(void *argument)
{
    int number = (int)(intptr_t)argument;
    void *kept[16] = { NULL };
    host_begins(number);
    __atomic_add_fetch(&hosts_ready, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&hosts_ready, __ATOMIC_ACQUIRE) < HOSTS) usleep(100);
    for (unsigned i = 0; !__atomic_load_n(&hosts_end, __ATOMIC_ACQUIRE); i++) {
        fake_allocator top;
        int domain = (int)(i % 3);
        if (domain) take_gil(fake_states[number]);
        PyMem_GetAllocator(domain, &top);
        if (kept[i % 16]) top.free(top.context, kept[i % 16]);
        kept[i % 16] = i % 5 ? top.malloc(top.context, i % 700) : top.calloc(top.context, 3, i % 300);
        if (i % 7 == 0) kept[i % 16] = top.realloc(top.context, kept[i % 16], i % 900);
        if (domain) drop_gil();
        if (i % 64 == 0) usleep(50);
    }
    return NULL;
}

static void hosts_start(void)
{
    fake_init();
    for (int i = 0; i < HOSTS; i++) CHECK_INT(pthread_create(&hosts[i], NULL, host_main, (void *)(intptr_t)i), 0);
    while (__atomic_load_n(&hosts_ready, __ATOMIC_ACQUIRE) < HOSTS) usleep(100);
}

static void hosts_stop(void)
{
    __atomic_store_n(&hosts_end, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < HOSTS; i++) pthread_join(hosts[i], NULL);
}

// ---- all functions from eight threads --------------------------------------------------------------------------------
static int heap_mode, told, rounds;

static void on_event(void *user, pyprof *session, pyprof_event event, const char *detail)
{
    pyprof_stats stats;
    (void)user, (void)event, (void)detail;
    pyprof_get_stats(session, &stats);
    __atomic_add_fetch(&told, 1, __ATOMIC_RELAXED);
}

static void use(pyprof *session, unsigned *seed)
{
    pyprof_snapshot_options options = { .reset = rand_r(seed) % 2 };
    pyprof_profile *profile = NULL;
    pyprof_allocation found;
    pyprof_stats stats;
    CHECK_INT(pyprof_get_stats(session, &stats), PYPROF_OK);
    if (rand_r(seed) % 3 == 0) CHECK_INT(pyprof_snapshot(session, &options, &profile), PYPROF_OK);
    pyprof_profile_free(profile);
    if (rand_r(seed) % 4 == 0) { pyprof_pause(session); pyprof_resume(session); }
    if (rand_r(seed) % 4 == 0) CHECK_INT(pyprof_reset(session), PYPROF_OK);
    if (rand_r(seed) % 4 == 0) pyprof_reset_peak(session);
    if (rand_r(seed) % 4 == 0) pyprof_find_allocation(session, &found, &found);
    if (rand_r(seed) % 16 == 0 && pyprof_dump(0, NULL, &profile) == PYPROF_OK) pyprof_profile_free(profile);
}

static void *session_main(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    char checkpoint[64];
    snprintf(checkpoint, sizeof checkpoint, "/tmp/pyprof-test-%ld-%u.json", (long)getpid(), seed);
    for (int i = 0; i < rounds; i++) {
        pyprof_config config = { .rate_hz = 1000 + rand_r(&seed) % 5000, .max_bytes = 4 << 20, .timeline_s = -1, .on_event = { on_event, NULL } };
        pyprof *session = NULL;
        pyprof_profile *profile = NULL;
        int gil = rand_r(&seed) % 3 == 0;
        if (rand_r(&seed) % 2) config.heap = heap_mode;
        if (rand_r(&seed) % 4 == 0) config.checkpoint = checkpoint;
        if (rand_r(&seed) % 3 == 0) config.duration_s = 0.0005;
        if (gil) take_gil(fake_states[0]);
        pyprof_result result = pyprof_start(&config, &session);
        if (result != PYPROF_OK) CHECK_INT(result, PYPROF_ERR_BUSY);
        else {
            if (rand_r(&seed) % 4 == 0) usleep(500);
            use(session, &seed);
            CHECK_INT(pyprof_stop(session, rand_r(&seed) % 2 ? &profile : NULL), PYPROF_OK);
            pyprof_profile_free(profile);
            CHECK_INT(pyprof_stop(session, NULL), PYPROF_ERR_STATE);
        }
        if (gil) drop_gil();
    }
    unlink(checkpoint);
    return NULL;
}

static void eight_threads(int heap)
{
    pthread_t threads[THREADS];
    heap_mode = heap;
    rounds = 30;
    hosts_start();
    for (int i = 0; i < THREADS; i++) CHECK_INT(pthread_create(&threads[i], NULL, session_main, (void *)(uintptr_t)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    hosts_stop();
    CHECK(!pyprof__g.alive && !pyprof__g.joinable);
    printf("%d events\n", __atomic_load_n(&told, __ATOMIC_RELAXED));
}

TEST_LIMIT(eight_threads_without_memory, 120) { eight_threads(PYPROF_HEAP_OFF); }
TEST_LIMIT(eight_threads_with_memory_sampled, 120) { eight_threads(PYPROF_HEAP_SAMPLED); }
TEST_LIMIT(eight_threads_with_memory_exact, 120) { eight_threads(PYPROF_HEAP_EXACT); }

TEST_MAIN
