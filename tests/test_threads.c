// Sessions of many threads at once, and threads that end in the middle of it. The Python is made by hand: a runtime with one
// interpreter, its threads without a frame, a lock for a GIL, and a table of allocators. For make tsan.
#include "test.h"
#define Py_PYTHON_H
#define PY_VERSION_HEX 0x030b07f0
static unsigned long long patience_ns = 5000000000u;   // as of any process; tests that wait until it is over have less
#define PYPROF__TEST_PATIENCE patience_ns
#define PYPROF__TEST_PROCESSES 5
static int no_way;   // bits: these ways of reading memory fail
#define PYPROF__TEST_READ(to, size, done) (__atomic_load_n(&no_way, __ATOMIC_RELAXED) & 1 << origin->method ? 0 : (done))
#define PYPROF_IMPLEMENTATION
#ifndef TEST_HEADER
#define TEST_HEADER "../pyprof.h"   // lower.h: see inside.py
#endif
#include TEST_HEADER
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

// Where tools stand between the program and the kernel, threads that the kernel ends are not for them.
#if defined(__SANITIZE_THREAD__)
#define TOOLED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TOOLED 1
#endif
#endif
#ifndef TOOLED
#define TOOLED 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ADDRESSES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESSES 1
#endif
#endif
#ifndef ADDRESSES
#define ADDRESSES 0
#endif

static int tooled(void) { return TOOLED || strstr(getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "", "vgpreload"); }

// ---- the Python ------------------------------------------------------------------------------------------------------
enum { THREADS = 8, HOSTS = 4, STATE = 4096 };
char fake_runtime[1 << 20] __asm__("_PyRuntime");
extern const unsigned long Py_Version;
const unsigned long Py_Version = PY_VERSION_HEX;   // who reads this process from outside finds it among the symbols
static char fake_interp[1 << 20], fake_states[HOSTS][STATE];
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
int Py_IsInitialized(void);
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
int Py_IsInitialized(void) { return 1; }
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
        put(fake_states[i], at.thread_frame, fake_states[i] + STATE / 2);   // no frame there
        put(fake_states[i], at.thread_serial, (void *)(uintptr_t)(i + 1));
        put(fake_states[i], at.thread_status, (void *)(uintptr_t)at.status_alive);
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
    pyprof_stats stats = { 0 };
    (void)user, (void)event, (void)detail;
    pyprof_get_stats(session, &stats);
    __atomic_add_fetch(&told, 1, __ATOMIC_RELAXED);
}

static void use(pyprof *session, unsigned *seed)
{
    pyprof_snapshot_options options = { .reset = rand_r(seed) % 2 };
    pyprof_profile *profile = NULL;
    pyprof_allocation found;
    pyprof_stats stats = { 0 };
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
    rounds = TOOLED ? 10 : 30;
    hosts_start();
    for (int i = 0; i < THREADS; i++) CHECK_INT(pthread_create(&threads[i], NULL, session_main, (void *)(uintptr_t)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    hosts_stop();
    CHECK(!pyprof__g.samplers[0].alive && !pyprof__g.samplers[0].joinable);
    printf("%d events\n", __atomic_load_n(&told, __ATOMIC_RELAXED));
}

TEST_LIMIT(eight_threads_without_memory, 120) { eight_threads(PYPROF_HEAP_OFF); }
TEST_LIMIT(eight_threads_with_memory_sampled, 120) { eight_threads(PYPROF_HEAP_SAMPLED); }
TEST_LIMIT(eight_threads_with_memory_exact, 120) { eight_threads(PYPROF_HEAP_EXACT); }

// ---- sessions that cannot see ----------------------------------------------------------------------------------------
static pyprof *started(double duration_s, pyprof_on_event event)
{
    // max_cpu: otherwise a slow machine, or a tool that slows it, has something to tell.
    pyprof_config config = { .rate_hz = 1000, .max_cpu = 1000, .duration_s = duration_s, .on_event = event };
    pyprof *session = NULL;
    CHECK_INT(pyprof_start(&config, &session), PYPROF_OK);
    return session;
}

static pyprof *recording(void) { return started(0, (pyprof_on_event){ NULL, NULL }); }

static pyprof_stats stats_of(const pyprof *session)
{
    pyprof_stats stats = { 0 };
    CHECK_INT(pyprof_get_stats(session, &stats), PYPROF_OK);
    return stats;
}

static void wait_for_samples(const pyprof *session, uint64_t more)
{
    uint64_t before = stats_of(session).samples;
    while (stats_of(session).samples < before + more) usleep(1000);
}

static pyprof_stats wait_until_degraded(const pyprof *session)
{
    pyprof_stats stats = { 0 };
    do { usleep(1000); stats = stats_of(session); } while (!stats.degraded[0]);
    printf("%s\n", stats.degraded);
    return stats;
}

TEST(nothing_can_be_read)
{
    hosts_start();
    pyprof *session = recording();
    pyprof_profile *profile;
    pyprof_stats before, now;
    wait_for_samples(session, 20);
    __atomic_store_n(&no_way, 7, __ATOMIC_RELAXED);
    before = stats_of(session);
    now = wait_until_degraded(session);
    CHECK(strstr(now.degraded, "memory can no longer be read"));
    CHECK(now.missed > before.missed + HOSTS * 50);   // of each thread, in 100 ms at least
    CHECK_INT(pyprof_snapshot(session, NULL, &profile), PYPROF_OK);
    CHECK_INT(pyprof_profile_stats(profile, &now), PYPROF_OK);
    CHECK(now.degraded[0] && now.asked > before.asked + HOSTS * 50 && now.samples + now.missed + now.rejected == now.asked);
    pyprof_profile_free(profile);
    __atomic_store_n(&no_way, 0, __ATOMIC_RELAXED);
    wait_for_samples(session, 20);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    hosts_stop();
}

TEST(memory_that_was_never_readable)
{
    fake_init();
    pyprof *session = recording();
    pyprof_profile *profile;
    pyprof_stats stats = { 0 };
    __atomic_store_n(&no_way, 7, __ATOMIC_RELAXED);
    wait_until_degraded(session);
    CHECK_INT(pyprof_stop(session, &profile), PYPROF_OK);
    CHECK_INT(pyprof_profile_stats(profile, &stats), PYPROF_OK);
    CHECK(stats.degraded[0] && stats.asked >= 50 && stats.missed + stats.rejected + stats.samples == stats.asked);
    pyprof_profile_free(profile);
}

TEST(another_way_to_read_is_taken)
{
    hosts_start();
    pyprof *session = recording();
    wait_for_samples(session, 20);
    __atomic_store_n(&no_way, 1 << PYPROF__BY_WRITEV, __ATOMIC_RELAXED);
    CHECK(strstr(wait_until_degraded(session).degraded, "another way"));
    wait_for_samples(session, 20);
    // Sanitizers take the third way, pwritev, for an access of ours: to what other threads change, or that is none of ours.
    if (!tooled() && !ADDRESSES) __atomic_store_n(&no_way, 1 << PYPROF__BY_WRITEV | 1 << PYPROF__BY_READV, __ATOMIC_RELAXED);
    wait_for_samples(session, 20);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    hosts_stop();
}

TEST(no_python_code_is_no_doubt)   // the threads of this Python have no frame
{
    pyprof__sweeper sweeper;
    int proven;
    hosts_start();
    CHECK_INT(pyprof__sweeper_open(&sweeper, 0, NULL, UINT64_MAX, 100, 1), PYPROF_OK);
    CHECK_INT(pyprof__self_check(&sweeper, 3, &proven), PYPROF_OK);
    CHECK_INT(proven, 0);
    pyprof__sweeper_close(&sweeper);
    hosts_stop();
}

// ---- targets ---------------------------------------------------------------------------------------------------------
typedef struct { pyprof__sweeper sweeper; pyprof__method method; int number, sweeps, seen; } reader;

static pthread_barrier_t halves;

static int threads_seen(pyprof__sweeper *sweeper)
{
    int count = 0;
    CHECK(pyprof__sweep(sweeper, pyprof__now()));
    for (size_t i = 0; i < sweeper->list.listed.count && sweeper->listed; i++)
        count += pyprof__listed(&sweeper->list, i)->tick == sweeper->list.tick;
    return count;
}

// The second one reads in another way, which fails in the second half; and it is read three times as often.
static void *reader_main(void *argument)
{
    reader *r = argument;
    pyprof__target *target = &r->sweeper.target;
    pyprof__proc *proc = target->origin.proc;
    pyprof__origin_close(&target->origin);
    if (!pyprof__origin_try(&target->origin, proc, r->method)) r->sweeps = 0;
    pyprof__sweeper_settle(&r->sweeper);
    for (int half = 0; half < 2; half++) {
        pthread_barrier_wait(&halves);
        if (half == 1 && r->number == 1) __atomic_store_n(&no_way, 1 << r->method, __ATOMIC_RELAXED);
        for (int i = 0; i < r->sweeps; i++) {
            int seen = threads_seen(&r->sweeper);
            CHECK_INT(seen, half == 1 && r->number == 1 ? 0 : HOSTS);
            r->seen += seen;
        }
    }
    return NULL;
}

TEST(two_targets_do_not_see_each_others_state)
{
    static reader readers[2] = { { .method = PYPROF__BY_READV, .sweeps = 100 }, { .method = PYPROF__BY_MEMFD, .number = 1, .sweeps = 300 } };
    pthread_t threads[2];
    if (tooled() || ADDRESSES) readers[1].method = PYPROF__BY_WRITEV;   // see another_way_to_read_is_taken
    hosts_start();
    pthread_barrier_init(&halves, NULL, 2);
    for (int i = 0; i < 2; i++) CHECK_INT(pyprof__sweeper_open(&readers[i].sweeper, i ? getpid() : 0, NULL, UINT64_MAX, 100, 0), PYPROF_OK);
    CHECK_INT(pyprof__own_proc.users, 2);
    for (int i = 0; i < 2; i++) CHECK_INT(pthread_create(&threads[i], NULL, reader_main, &readers[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    if (!readers[0].sweeps || !readers[1].sweeps) SKIP("one of the two ways to read memory does not work here");
    for (int i = 0; i < 2; i++) {
        const pyprof__sweeper *sweeper = &readers[i].sweeper;
        CHECK_INT(sweeper->list.tick, 2 * readers[i].sweeps);
        CHECK_INT(readers[i].seen, HOSTS * readers[i].sweeps * (i ? 1 : 2));
        CHECK_INT(sweeper->target.origin.method, readers[i].method);
        CHECK(sweeper->target.started && sweeper->target.started == readers[0].sweeper.target.started);
    }
    __atomic_store_n(&no_way, 0, __ATOMIC_RELAXED);
    pyprof__sweeper_close(&readers[1].sweeper);
    CHECK_INT(pyprof__own_proc.users, 1);
    pyprof__sweeper_settle(&readers[0].sweeper);
    CHECK_INT(threads_seen(&readers[0].sweeper), HOSTS);
    pyprof__sweeper_close(&readers[0].sweeper);
    hosts_stop();
}

TEST(a_target_can_be_another_process)
{
    static pyprof__sweeper sweeper;
    int ready[2], status;
    pid_t child;
    CHECK_INT(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        fake_init();
        host_begins(0);
        pyprof__layout at;
        pyprof__layout_choose(&at, PY_VERSION_HEX, 0, NULL);
        put(fake_states[0], at.thread_next, NULL);
        CHECK_INT(write(ready[1], "", 1), 1);
        for (;;) pause();
    }
    CHECK_INT(read(ready[0], &status, 1), 1);
    pyprof_result result = pyprof__sweeper_open(&sweeper, child, NULL, UINT64_MAX, 100, 0);
    if (result == PYPROF_ERR_DENIED) SKIP("not even a child can be read here");
    if (result != PYPROF_OK) printf("%s\n", pyprof__error_text());
    CHECK_INT(result, PYPROF_OK);
    pyprof__sweeper_settle(&sweeper);
    CHECK_INT(threads_seen(&sweeper), 1);   // this process has no interpreter
    CHECK_INT(pyprof__listed(&sweeper.list, 0)->native, child);
    CHECK(sweeper.target.started >= pyprof__thread_started(&pyprof__own_proc, getpid()));
    kill(child, SIGKILL);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(threads_seen(&sweeper), 0);
    pyprof__sweeper_close(&sweeper);
    CHECK_INT(pyprof__sweeper_open(&sweeper, child, NULL, UINT64_MAX, 100, 0), PYPROF_ERR_NO_PROCESS);
}

static pthread_t first_thread;

static void *after_first(void *session)
{
    char text[100];
    pthread_join(first_thread, NULL);
    while (syscall(SYS_tgkill, getpid(), getpid(), 0) == 0 && pyprof__read_file(AT_FDCWD, "/proc/self/maps", text, sizeof text) > 0) usleep(100);
    wait_for_samples((pyprof *)session, 20);
    CHECK(!stats_of((pyprof *)session).degraded[0]);
    CHECK_INT(pyprof_stop((pyprof *)session, NULL), PYPROF_OK);
    wait_for_samples(recording(), 20);
    CHECK(pyprof__proc_read(&pyprof__own_proc, "maps", text, sizeof text) > 0 && pyprof__resident(&pyprof__own_proc) > 0);
    _exit(0);
    return NULL;
}

TEST(the_main_thread_leaves)
{
    int status;
    if (tooled()) SKIP("not with this tool");
    if (fork() == 0) {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        hosts_start();
        first_thread = pthread_self();
        pthread_create(&thread, NULL, after_first, recording());
        pthread_exit(NULL);
    }
    CHECK(wait(&status) > 0 && status == 0);
}

// ---- threads that are ended ------------------------------------------------------------------------------------------
static int kill_at(const long *calls, int count)   // every thread that makes one of these system calls; 1 = so it will be
{
    struct sock_filter code[16] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)) };
    struct sock_fprog program = { 0, code };
    int size = 1;
    for (int i = 0; i < count; i++) {
        code[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        code[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD);
    }
    code[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program.len = (unsigned short)size;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

static void sampler_ends(const long *calls, int count)
{
    if (tooled()) SKIP("not with this tool");
    hosts_start();
    pyprof *session = recording(), *other;
    pyprof_profile *profile;
    pyprof_stats stats = { 0 };
    wait_for_samples(session, 20);
    if (!kill_at(calls, count)) SKIP("no filters of system calls here");
    CHECK(strstr(wait_until_degraded(session).degraded, "the sampler thread was ended"));
    usleep(100000);
    CHECK_INT(pyprof_start(NULL, &other), PYPROF_ERR_BUSY);
    CHECK_INT(pyprof_stop(session, &profile), PYPROF_OK);
    CHECK_INT(pyprof_profile_stats(profile, &stats), PYPROF_OK);
    CHECK(stats.samples >= 20 && stats.missed >= HOSTS * 50 && stats.degraded[0]);
    CHECK(!pyprof__g.samplers[0].alive && !pyprof__g.samplers[0].joinable);
    pyprof_profile_free(profile);
    hosts_stop();
}

TEST(a_filter_kills_the_sampler_where_it_reads)
{
    static const long calls[] = { SYS_process_vm_writev, SYS_process_vm_readv };
    sampler_ends(calls, 2);
}

TEST(a_filter_kills_the_sampler_where_it_opens_files)   // also under the locks
{
    static const long calls[] = { SYS_openat };
    sampler_ends(calls, 1);
}

static void ends(void *user, pyprof *session, pyprof_event event, const char *detail)
{
    (void)user, (void)session, (void)event, (void)detail;
    pthread_exit(NULL);
}

TEST(a_callback_ends_the_sampler)
{
    hosts_start();
    pyprof *session = started(0.01, (pyprof_on_event){ ends, NULL }), *other;
    pyprof_profile *profile;
    CHECK(strstr(wait_until_degraded(session).degraded, "the sampler thread was ended"));
    CHECK_INT(pyprof_start(NULL, &other), PYPROF_ERR_BUSY);
    CHECK_INT(pyprof_stop(session, &profile), PYPROF_OK);
    pyprof_profile_free(profile);
    int joined = 0;
    for (int i = 0; i < 5; i++) {
        session = recording();
        wait_for_samples(session, 20);
        CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
        joined += !pyprof__g.samplers[0].joinable;
    }
    CHECK(joined >= 3);   // stop waits for the thread, as in any process, unless it gets no CPU
    hosts_stop();
}

static void *owner_main(void *session)   // ends with both locks
{
    pyprof__control_lock();
    pyprof__sessions_lock();
    if (session) pyprof__session_of((pyprof *)session);
    return NULL;
}

static void owner_ends(pyprof *session)
{
    pthread_t owner;
    pthread_create(&owner, NULL, owner_main, session);
    pthread_join(owner, NULL);
}

TEST(the_owner_of_the_locks_ends)
{
    if (tooled()) SKIP("not with this tool");
    hosts_start();
    pyprof *session = recording(), *other = recording();
    pyprof_profile *profile = (pyprof_profile *)&profile;
    owner_ends(NULL);   // it changed none
    wait_for_samples(session, 20);
    owner_ends(session);
    CHECK_INT(pyprof_snapshot(session, NULL, &profile), PYPROF_ERR_STATE);
    CHECK(profile == NULL);
    CHECK_INT(pyprof_reset(session), PYPROF_ERR_STATE);
    stats_of(session);
    wait_for_samples(other, 20);
    CHECK_INT(pyprof_stop(session, &profile), PYPROF_ERR_STATE);
    CHECK(profile == NULL && strstr(pyprof_last_error(), "lost"));
    CHECK_INT(pyprof_stop(other, &profile), PYPROF_OK);
    pyprof_profile_free(profile);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_ERR_STATE);
    session = recording();
    wait_for_samples(session, 20);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    hosts_stop();
}

// ---- threads that end, and leave what they had to others -------------------------------------------------------------
// No lock and no join orders them: what an ended thread had, the next one takes because the kernel knows that thread no longer.
static int64_t leaver_tid;

static void *leaver_main(void *error)
{
    int64_t tid = pyprof__gettid();
    void *kept[40];
    for (int i = 0; i < 40; i++) {
        fake_allocator top;
        PyMem_GetAllocator(0, &top);
        kept[i] = top.malloc(top.context, 100000);
        if (i % 2) top.free(top.context, kept[i]);
    }
    if (error) CHECK_INT(pyprof_save(NULL, "", NULL), PYPROF_ERR_ARGUMENT);
    __atomic_store_n(&leaver_tid, tid, __ATOMIC_RELAXED);
    return NULL;
}

static void leaver_comes_and_goes(void *error)
{
    pthread_attr_t detached;
    pthread_t thread;
    int64_t tid;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    __atomic_store_n(&leaver_tid, 0, __ATOMIC_RELAXED);
    CHECK_INT(pthread_create(&thread, &detached, leaver_main, error), 0);
    while (!(tid = __atomic_load_n(&leaver_tid, __ATOMIC_RELAXED)) || pyprof__thread_exists(tid)) usleep(100);
}

static size_t records(void)
{
    size_t count = 0;
    pyprof__heap_lock(&pyprof__heap.threads_lock);
    for (const pyprof__allocating_thread *self = pyprof__heap.threads; self; self = self->next) count++;
    pyprof__unlock(&pyprof__heap.threads_lock);
    return count;
}

TEST(the_text_of_an_ended_thread_is_taken_over)
{
    int error = 1;
    // This thread has all the others.
    for (int i = 1; i < PYPROF__DETAILS; i++) __atomic_store_n(&pyprof__details[i].tid, (uint32_t)pyprof__gettid(), __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++) {
        leaver_comes_and_goes(&error);
        CHECK_INT(__atomic_load_n(&pyprof__details[0].tid, __ATOMIC_RELAXED), __atomic_load_n(&leaver_tid, __ATOMIC_RELAXED));
    }
}

static void record_is_taken_over(int heap)
{
    pyprof_config config = { .heap = heap, .heap_interval_bytes = 50000 };
    pyprof *session = NULL;
    fake_init();
    take_gil(fake_states[0]);
    CHECK_INT(pyprof_start(&config, &session), PYPROF_OK);
    drop_gil();
    CHECK_INT(stats_of(session).heap_state, PYPROF_HEAP_STATE_ON);
    leaver_comes_and_goes(NULL);
    size_t before = records();
    for (int i = 0; i < 3; i++) {
        pyprof__sessions_lock();
        pyprof__heap_reap();
        pyprof__sessions_unlock();
        leaver_comes_and_goes(NULL);
    }
    CHECK_INT(records(), before);
    CHECK(stats_of(session).heap_samples >= 4);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
}

TEST(the_record_of_an_ended_thread_is_taken_over_exact) { record_is_taken_over(PYPROF_HEAP_EXACT); }
TEST(the_record_of_an_ended_thread_is_taken_over_sampled) { record_is_taken_over(PYPROF_HEAP_SAMPLED); }

// ---- the end of the process, while others call -----------------------------------------------------------------------
static void *saving_main(void *path)   // starts and ends the thread that writes files, again and again
{
    pyprof_config config = { .rate_hz = 1000, .max_bytes = 4 << 20, .timeline_s = -1, .checkpoint = (const char *)path, .checkpoint_s = 0.1 };
    pyprof *session;
    for (;;) {
        if (pyprof_start(&config, &session) == PYPROF_OK) CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
        if (pyprof__env_token()) pyprof_stop(pyprof__env_token(), NULL);
    }
    return NULL;
}

// Called last. The rest of exit under ThreadSanitizer takes a second, and refuses threads that have ended and that nobody has
// joined yet.
static int reported;
#if TOOLED
void __tsan_on_report(void *report);
void __tsan_on_report(void *report) { __atomic_store_n(&reported, report != NULL, __ATOMIC_RELAXED); }
#endif
static void leaves(void) { syscall(SYS_exit_group, __atomic_load_n(&reported, __ATOMIC_RELAXED)); }

static void exits_in_the_middle(int profiling)
{
    static char folder[] = "/tmp/pyprof-test-XXXXXX", path[64];
    pthread_t threads[3];
    pid_t pids[4];
    int status;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/%%p.json", folder);
    setenv("PROFILING", "1", 1);
    setenv("PYPROF_OUT", folder, 1);
    setenv("PYPROF_QUIET", "1", 1);
    setenv("PYPROF_FORMATS", "json", 1);
    fake_init();
    host_begins(0);
    for (unsigned i = 0; i < 4; i++) {   // each end needs a process
        if ((pids[i] = fork()) != 0) continue;
        atexit(leaves);
        for (int k = 0; k < 3; k++) CHECK_INT(pthread_create(&threads[k], NULL, saving_main, path), 0);
        usleep(10000);
        if (profiling) CHECK_INT(pyprof_start_from_env(NULL), PYPROF_OK);
        usleep(i * 3777);
        exit(0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_INT(waitpid(pids[i], &status, 0), pids[i]);
        CHECK_INT(status, 0);
    }
    snprintf(path, sizeof path, "rm -r %s", folder);
    CHECK_INT(system(path), 0);
}

TEST(exit_while_threads_start_and_stop) { exits_in_the_middle(0); }
TEST(exit_while_threads_end_what_profiling_started) { exits_in_the_middle(1); }

// ---- cancellation ----------------------------------------------------------------------------------------------------
static void *cancelled_main(void *path)
{
    for (;;) {
        pyprof_config config = { .rate_hz = 1000, .max_bytes = 4 << 20, .heap = PYPROF_HEAP_EXACT, .checkpoint = (const char *)path };
        pyprof_profile *profile = NULL;
        pyprof *session;
        CHECK_INT(pyprof_start(&config, &session), PYPROF_OK);
        CHECK_INT(pyprof_stop(session, &profile), PYPROF_OK);
        if (pyprof_save(profile, (const char *)path, NULL) != PYPROF_OK) printf("%s\n", pyprof_last_error());
        pyprof_profile_free(profile);
        pthread_testcancel();
    }
    return NULL;
}

static int files_open(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

TEST(threads_are_cancelled)
{
    char path[64];
    int before = files_open();
    snprintf(path, sizeof path, "/tmp/pyprof-test-%ld.json", (long)getpid());
    fake_init();
    for (int i = 0; i < (TOOLED ? 15 : 60); i++) {
        pthread_t thread;
        pyprof *session;
        pthread_create(&thread, NULL, cancelled_main, path);
        usleep(100 + (unsigned)i * 70);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        session = recording();
        CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    }
    CHECK_INT(files_open(), before);
    unlink(path);
}

// ---- callbacks -------------------------------------------------------------------------------------------------------
static int in_callback, go_on;

static void waits(void *user, pyprof *session, pyprof_event event, const char *detail)
{
    (void)session, (void)event, (void)detail;
    __atomic_store_n(&in_callback, 1, __ATOMIC_RELEASE);
    if (user) { take_gil(user); drop_gil(); }
    else while (!__atomic_load_n(&go_on, __ATOMIC_ACQUIRE)) usleep(100);
    __atomic_store_n(&in_callback, 2, __ATOMIC_RELEASE);
}

static void *stop_main(void *session)
{
    CHECK_INT(pyprof_stop((pyprof *)session, NULL), PYPROF_OK);
    CHECK_INT(__atomic_load_n(&in_callback, __ATOMIC_ACQUIRE), 2);
    return NULL;
}

TEST(one_stops_while_others_start)   // its callback takes its time
{
    hosts_start();
    pyprof *slow = started(0.01, (pyprof_on_event){ waits, NULL }), *session;
    pthread_t stopper;
    while (!__atomic_load_n(&in_callback, __ATOMIC_ACQUIRE)) usleep(100);
    pthread_create(&stopper, NULL, stop_main, slow);
    while (pyprof_get_stats(slow, &(pyprof_stats){ 0 }) == PYPROF_OK) usleep(100);
    for (int i = 0; i < 3; i++) {
        session = recording();
        CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    }
    session = recording();
    CHECK_INT(__atomic_load_n(&in_callback, __ATOMIC_ACQUIRE), 1);
    __atomic_store_n(&go_on, 1, __ATOMIC_RELEASE);
    pthread_join(stopper, NULL);
    wait_for_samples(session, 20);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    CHECK(!pyprof__g.samplers[0].alive && !pyprof__g.samplers[0].joinable);
    hosts_stop();
}

TEST(a_callback_waits_for_the_gil)   // which the one that stops its session has
{
    char state[STATE] = "", other[STATE] = "";
    patience_ns = 300000000;
    fake_init();
    take_gil(state);
    pyprof *session = started(0.01, (pyprof_on_event){ waits, other }), *next;
    while (!__atomic_load_n(&in_callback, __ATOMIC_ACQUIRE)) usleep(100);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    CHECK_INT(__atomic_load_n(&in_callback, __ATOMIC_ACQUIRE), 1);
    next = recording();
    drop_gil();
    while (__atomic_load_n(&in_callback, __ATOMIC_ACQUIRE) != 2) usleep(100);
    CHECK_INT(pyprof_stop(next, NULL), PYPROF_OK);
    CHECK(!pyprof__g.samplers[0].alive && !pyprof__g.samplers[0].joinable);
}

static void logs(void *user, pyprof_level level, const char *message)
{
    (void)user, (void)level, (void)message;
    __atomic_store_n(&in_callback, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&go_on, __ATOMIC_ACQUIRE)) usleep(100);
}

static void *log_main(void *unused)
{
    pyprof_config config = { .rate_hz = 100, .logger = { logs, NULL } };
    pyprof *session;
    CHECK_INT(pyprof_start(&config, &session), PYPROF_OK);
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    return unused;
}

TEST(a_logger_takes_its_time)
{
    pthread_t thread;
    fake_init();
    pthread_create(&thread, NULL, log_main, NULL);
    while (!__atomic_load_n(&in_callback, __ATOMIC_ACQUIRE)) usleep(100);
    pyprof *session = recording();
    CHECK_INT(pyprof_stop(session, NULL), PYPROF_OK);
    __atomic_store_n(&go_on, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
}

// ---- processes below another one -------------------------------------------------------------------------------------
enum { KIDS = 4 };

static void kid(unsigned ms)   // a process with one Python thread
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    host_begins(0);
    usleep(1000 * ms);
    _exit(0);
}

// A process, with Python, whose children come and go: KIDS at a time, of 0 to 60 ms, or of 60 s. Returns its pid.
static pid_t tree_start(int stays)
{
    pid_t root = fork();
    unsigned seed = 1;
    int kids = 0;
    CHECK(root >= 0);
    if (root) return root;
    pyprof__layout at;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fake_init();
    host_begins(0);
    pyprof__layout_choose(&at, PY_VERSION_HEX, 0, NULL);
    put(fake_states[0], at.thread_next, NULL);
    for (;;) {
        unsigned ms = stays ? 60000 : (unsigned)rand_r(&seed) % 60;
        if (kids < (stays ? stays : KIDS)) {
            if (fork() == 0) kid(ms);
            kids++;
        } else if (waitpid(-1, NULL, 0) > 0) kids--;
    }
}

static void tree_end(pid_t root)
{
    kill(root, SIGKILL);
    CHECK_INT(waitpid(root, NULL, 0), root);
}

static pid_t tree;

static void *tree_main(void *argument)   // follows them, again and again
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < rounds; i++) {
        pyprof_config config = { .pid = tree, .children = 1, .rate_hz = 200 + rand_r(&seed) % 1000, .timeline_s = -1, .on_event = { on_event, NULL } };
        pyprof *session = NULL;
        pyprof_profile *profile = NULL;
        pyprof_stats stats = { 0 };
        if (rand_r(&seed) % 2) config.max_bytes = 8 << 20;
        pyprof_result result = pyprof_start(&config, &session);
        if (result != PYPROF_OK) {
            printf("%s\n", pyprof_last_error());
            CHECK(result == PYPROF_ERR_BUSY || result == PYPROF_ERR_DENIED);
            continue;
        }
        for (int k = rand_r(&seed) % 4; k >= 0; k--) {
            usleep((unsigned)rand_r(&seed) % 20000);
            use(session, &seed);
        }
        CHECK_INT(pyprof_get_stats(session, &stats), PYPROF_OK);
        CHECK(stats.processes >= 1 && stats.processes <= 5);
        CHECK_INT(pyprof_stop(session, rand_r(&seed) % 2 ? &profile : NULL), PYPROF_OK);
        pyprof_profile_free(profile);
        CHECK_INT(pyprof_stop(session, NULL), PYPROF_ERR_STATE);
    }
    return NULL;
}

static int tree_is_refused(void)
{
    pyprof_config config = { .pid = tree, .children = 1 };
    pyprof *session;
    pyprof_result result;
    for (int i = 0; i < 1000; i++) {   // it may just begin
        result = pyprof_start(&config, &session);
        if (result == PYPROF_OK) { pyprof_stop(session, NULL); return 0; }
        if (result == PYPROF_ERR_DENIED) return 1;
        usleep(10000);
    }
    printf("%s\n", pyprof_last_error());
    CHECK_INT(result, PYPROF_OK);
    return 1;
}

static void no_thread_is_left(void)
{
    char text[100];
    long tasks = 2;
    for (int i = 0; i < 1000 && tasks > 1; i++) {
        const char *at = pyprof__proc_read(&pyprof__own_proc, "stat", text, sizeof text) > 0 ? strrchr(text, ')') : NULL;
        for (int k = 0; at && k < 18; k++) at = strchr(at + 1, ' ');
        tasks = at ? strtol(at, NULL, 10) : 2;
        if (TOOLED) tasks--;   // the tool has one
        if (tasks > 1) usleep(10000);
    }
    CHECK(tasks <= 1);
}

TEST_LIMIT(processes_come_and_go_under_four_sessions, 120)
{
    pthread_t threads[4];
    tree = tree_start(0);
    if (tree_is_refused()) SKIP("not even a child can be read here");
    rounds = TOOLED ? 6 : 12;
    for (int i = 0; i < 4; i++) CHECK_INT(pthread_create(&threads[i], NULL, tree_main, (void *)(uintptr_t)(i + 1)), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    tree_end(tree);
    no_thread_is_left();
    printf("%d events\n", __atomic_load_n(&told, __ATOMIC_RELAXED));
}

// Calls with the token of a session that begins, ends or has ended, while the next one begins in its place.
static pyprof *last_token;
static int tokens_end, stopped;

static void *token_main(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    pyprof_stats stats;
    pyprof *token;
    while (!__atomic_load_n(&tokens_end, __ATOMIC_ACQUIRE)) {
        token = __atomic_load_n(&last_token, __ATOMIC_ACQUIRE);
        pyprof_get_stats(token, &stats);
        if (rand_r(&seed) % 16 == 0) pyprof_reset(token);
        if (rand_r(&seed) % 256 == 0 && pyprof_stop(token, NULL) == PYPROF_OK) __atomic_add_fetch(&stopped, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void token_given(void *user, pyprof *session, pyprof_event event, const char *detail)
{
    (void)user, (void)event, (void)detail;
    __atomic_store_n(&last_token, session, __ATOMIC_RELEASE);   // pyprof_start may not have returned
}

TEST_LIMIT(a_token_is_used_while_the_next_session_begins, 120)
{
    pyprof_config config = { .children = 1, .rate_hz = 1000, .timeline_s = -1, .on_event = { token_given, NULL } };
    pthread_t threads[3];
    pyprof *session = NULL;
    int starts = 100;
    tree = tree_start(0);
    if (tree_is_refused()) SKIP("not even a child can be read here");
    config.pid = tree;
    for (int i = 0; i < 3; i++) CHECK_INT(pthread_create(&threads[i], NULL, token_main, (void *)(uintptr_t)(i + 1)), 0);
    for (int i = 0; i < starts; i++) {
        CHECK_INT(pyprof_start(&config, &session), PYPROF_OK);
        __atomic_store_n(&last_token, session, __ATOMIC_RELEASE);
        usleep((unsigned)(i % 8) * 300);
        if (pyprof_stop(session, NULL) == PYPROF_OK) __atomic_add_fetch(&stopped, 1, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&tokens_end, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    tree_end(tree);
    CHECK_INT(stopped, starts);
    no_thread_is_left();
}

// The one that ends the session waits for the callbacks of all its processes: what they use may be freed next.
static int kin_in, kin_out, stop_over;

static void kin_waits(void *user, pyprof *session, pyprof_event event, const char *detail)
{
    (void)user, (void)session, (void)event, (void)detail;
    if (__atomic_load_n(&pyprof__g.sessions[0].sampler->tid, __ATOMIC_ACQUIRE) == pyprof__gettid()) return;   // of the root
    __atomic_add_fetch(&kin_in, 1, __ATOMIC_RELAXED);
    while (!__atomic_load_n(&go_on, __ATOMIC_ACQUIRE)) usleep(100);
    __atomic_add_fetch(&kin_out, 1, __ATOMIC_RELAXED);
}

static void *kin_stop_main(void *session)
{
    CHECK_INT(pyprof_stop((pyprof *)session, NULL), PYPROF_OK);
    CHECK_INT(__atomic_load_n(&kin_out, __ATOMIC_RELAXED), __atomic_load_n(&kin_in, __ATOMIC_RELAXED));
    __atomic_store_n(&stop_over, 1, __ATOMIC_RELEASE);
    return NULL;
}

TEST(the_callback_of_a_child_is_waited_for)
{
    pyprof_config config = { .children = 1, .rate_hz = 1000, .on_event = { kin_waits, NULL } };
    pyprof *session = NULL;
    pthread_t stopper;
    patience_ns = 300000000;
    tree = tree_start(2);
    if (tree_is_refused()) SKIP("not even a child can be read here");
    config.pid = tree;
    CHECK_INT(pyprof_start(&config, &session), PYPROF_OK);
    while (stats_of(session).processes < 3) usleep(1000);
    __atomic_store_n(&no_way, 7, __ATOMIC_RELAXED);   // all degrade
    while (__atomic_load_n(&kin_in, __ATOMIC_RELAXED) < 2) usleep(1000);
    CHECK_INT(pthread_create(&stopper, NULL, kin_stop_main, session), 0);
    while (pyprof_get_stats(session, &(pyprof_stats){ 0 }) == PYPROF_OK) usleep(100);
    usleep(400000);   // longer than its patience with threads that get no CPU
    CHECK_INT(__atomic_load_n(&stop_over, __ATOMIC_ACQUIRE), 0);
    __atomic_store_n(&go_on, 1, __ATOMIC_RELEASE);
    pthread_join(stopper, NULL);
    tree_end(tree);
}

// At the limits: so many processes are recorded, the others count as missed, and the session tells that.
static void processes_limited(uint64_t max_bytes, const char *words, uint64_t most)
{
    pyprof_config config = { .children = 1, .rate_hz = 200, .max_bytes = max_bytes };
    pyprof_stats stats = { 0 };
    pyprof_profile *profile = NULL;
    pyprof *session = NULL;
    tree = tree_start(12);
    if (tree_is_refused()) SKIP("not even a child can be read here");
    config.pid = tree;
    CHECK_INT(pyprof_start(&config, &session), PYPROF_OK);
    for (int i = 0; i < 3000 && stats.processes + stats.processes_missed < 13; i++) {
        usleep(10000);
        CHECK_INT(pyprof_get_stats(session, &stats), PYPROF_OK);
    }
    tree_end(tree);
    CHECK_INT(pyprof_stop(session, &profile), PYPROF_OK);
    CHECK_INT(pyprof_profile_stats(profile, &stats), PYPROF_OK);
    printf("%d recorded, %d missed: %s\n", (int)stats.processes, (int)stats.processes_missed, stats.degraded);
    CHECK_INT(stats.processes + stats.processes_missed, 13);
    CHECK(stats.processes >= 1 && stats.processes <= most);
    CHECK(strstr(stats.degraded, words) != NULL);
    pyprof_profile_free(profile);
    no_thread_is_left();
}

TEST(processes_more_than_the_most) { processes_limited(0, "more than 5 processes: the others are counted as missed", 5); }
TEST(processes_more_than_the_memory) { processes_limited(6 << 20, "max_bytes is used up: further processes are counted as missed", 4); }

TEST_MAIN
