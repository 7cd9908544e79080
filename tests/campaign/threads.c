// Threads: sessions started and stopped by many at a time, threads that are cancelled in the middle of it,
// callbacks that want the GIL.
#include "campaign.h"

// ---- start and stop ---------------------------------------------------------------------------------------
enum { MOST_THREADS = 64, WARM_UP = 50 };
#ifdef __SANITIZE_THREAD__
enum { UNDER_TSAN = 1 };    // its own memory grows
#else
enum { UNDER_TSAN = 0 };
#endif
static atomic_long cycled, busy_found;
static long cycles_each;
static int heap_wanted;

// All sessions taken, or another heap mode
static int allowed_refusal(int result) { return result == PYPROF_ERR_BUSY; }

static void use_session(pyprof *session, unsigned *seed)
{
    pyprof_profile *profile = NULL;
    int result;
    if (below(seed, 4) == 0) nap(0.0005);
    if (below(seed, 5) == 0) {
        result = pyprof_snapshot(session, NULL, &profile);
        if (result != PYPROF_OK) wrong("snapshot: %s", named(result));
        pyprof_profile_free(profile);
        profile = NULL;
    }
    if (below(seed, 7) == 0 && (pyprof_pause(session) || pyprof_resume(session)))
        wrong("pause: %s", pyprof_last_error());
    if (below(seed, 11) == 0 && pyprof_reset(session)) wrong("reset: %s", pyprof_last_error());
    result = pyprof_stop(session, below(seed, 2) ? &profile : NULL);
    if (result != PYPROF_OK) wrong("stop: %s", named(result));
    pyprof_profile_free(profile);
    if (pyprof_stop(session, NULL) != PYPROF_ERR_STATE) wrong("a session was stopped twice");
}

static void *cycler(void *number)
{
    unsigned seed = (unsigned)(uintptr_t)number;
    for (long i = 0; i < cycles_each; i++) {
        pyprof_config c = config(1000 + below(&seed, 9000), below(&seed, 2) ? heap_wanted : PYPROF_HEAP_OFF);
        int with_gil = below(&seed, 3) == 0, result;
        PyGILState_STATE gil = PyGILState_UNLOCKED;
        pyprof *session = NULL;
        c.max_bytes = 4 << 20;
        c.timeline_s = -1;
        if (with_gil) gil = PyGILState_Ensure();
        result = pyprof_start(&c, &session);
        if (allowed_refusal(result)) atomic_fetch_add(&busy_found, 1);
        else if (result != PYPROF_OK) wrong("start: %s", named(result));
        else use_session(session, &seed);
        if (with_gil) PyGILState_Release(gil);
        atomic_fetch_add(&cycled, 1);
        still_alive();
    }
    return NULL;
}

enum { ALLOCATING = 8, BLOCKS_HELD = 100 };
static atomic_int cycles_over;

static void *allocates_raw(void *unused)   // without the GIL: hooks of memory come and go under its feet
{
    (void)unused;
    while (!atomic_load(&cycles_over)) {
        unsigned char *held[BLOCKS_HELD];
        for (int i = 0; i < BLOCKS_HELD; i++) {
            held[i] = PyMem_RawMalloc((size_t)i + 1);
            memset(held[i], i, (size_t)i + 1);
        }
        for (int i = 0; i < BLOCKS_HELD; i++) {
            held[i] = PyMem_RawRealloc(held[i], (size_t)i + 30);
            if (held[i][i] != i) wrong("a block lost what it held");
            PyMem_RawFree(held[i]);
        }
        nap(0.0002);
    }
    return NULL;
}

static void cycle_with(int threads, long each)
{
    pthread_t thread[MOST_THREADS], allocating[ALLOCATING];
    int others = heap_wanted ? ALLOCATING : 0;
    cycles_each = each;
    atomic_store(&cycles_over, 0);
    for (int i = 0; i < others; i++) pthread_create(&allocating[i], NULL, allocates_raw, NULL);
    for (int i = 0; i < threads; i++) pthread_create(&thread[i], NULL, cycler, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    atomic_store(&cycles_over, 1);
    for (int i = 0; i < others; i++) pthread_join(allocating[i], NULL);
}

static int cycles(char **words)   // THREADS EACH HEAP
{
    int threads = atoi(words[0]), files, threads_before;
    PyThreadState *main_state;
    long memory, grown, count, allowed;
    double begin;
    if (threads > MOST_THREADS) fatal("too many threads");
    heap_wanted = atoi(words[2]);
    python_begins();
    python_works();
    main_state = PyEval_SaveThread();
    cycle_with(threads, WARM_UP);
    files = descriptors(), threads_before = tasks(), memory = resident_kib(), begin = now();
    atomic_store(&cycled, 0);
    step("cycles");
    cycle_with(threads, atol(words[1]));
    begin = now() - begin;
    settled(files, threads_before);
    grown = resident_kib() - memory;
    count = atomic_load(&cycled);
    allowed = 16 * 1024 + count / 100000 * 8;   // fragments of malloc's arenas, then two pages for 100,000
    if (grown > allowed && !UNDER_TSAN) wrong("memory grew by %ld KiB", grown);
    if (atomic_load(&busy_found) == count) wrong("not one session could start");
    PyEval_RestoreThread(main_state);
    python_rests();
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("%ld cycles by %d threads in %.0f s, %ld found it busy, memory %+ld KiB", count, threads,
                begin,
                atomic_load(&busy_found), grown);
}

// ---- pthread_cancel ---------------------------------------------------------------------------------------
static void *cancelled(void *unused)
{
    (void)unused;
    for (;;) {
        pyprof_config c = config(1000, PYPROF_HEAP_OFF);
        pyprof_profile *profile = NULL;
        pyprof *session;
        c.max_bytes = 4 << 20;
        if (pyprof_start(&c, &session) != PYPROF_OK) continue;
        pyprof_stop(session, &profile);
        if (profile) pyprof_save(profile, "cancelled.json", NULL);
        pyprof_profile_free(profile);
        pthread_testcancel();   // here it may; a session between start and stop stays with whom began it
    }
    return NULL;
}

static void works_still(void)   // a session that a cancelled thread left running takes a place: of 8
{
    pyprof_config c = config(1000, PYPROF_HEAP_OFF);
    pyprof *session;
    int result = pyprof_start(&c, &session);
    if (result != PYPROF_OK) fatal("start: %s", named(result));
    result = pyprof_stop(session, NULL);
    if (result != PYPROF_OK) wrong("stop: %s", named(result));
}

static int cancels(char **words)   // COUNT
{
    long count = atol(words[0]);
    int files, threads_before;
    unsigned seed = 3;
    double begin = now();
    python_begins();
    python_works();
    PyEval_SaveThread();
    works_still();
    files = descriptors(), threads_before = tasks();
    for (long i = 0; i < count; i++) {
        pthread_t thread;
        step("cancel %ld", i);
        pthread_create(&thread, NULL, cancelled, NULL);
        nap(0.002 + 0.00001 * below(&seed, 700));
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        works_still();
    }
    settled(files, threads_before);
    works_still();
    if (entries(".", ".pyprof") > 0) wrong("%d temporary files are left", entries(".", ".pyprof"));
    whole("cancelled.json", 1);
    return done("%ld threads cancelled in start, stop and save in %.0f s", count, now() - begin);
}

// ---- a callback that waits for the GIL --------------------------------------------------------------------
static atomic_int in_callback, callback_done;

static void wants_gil(void *user, pyprof *session, pyprof_event event, const char *detail)
{
    PyGILState_STATE gil;
    (void)user, (void)session, (void)event, (void)detail;
    atomic_store(&in_callback, 1);
    nap(0.05);
    gil = PyGILState_Ensure();
    PyGILState_Release(gil);
    atomic_store(&callback_done, 1);
}

static void *stops(void *session)
{
    int result;
    while (!atomic_load(&in_callback)) nap(0.001);
    result = pyprof_stop(session, NULL);
    if (result != PYPROF_OK) wrong("stop: %s", named(result));
    return NULL;
}

// One thread stops the session, another holds the GIL and starts one; all while the callback waits for the
// GIL.
static int callback_gil(char **words)   // ROUNDS
{
    long rounds = atol(words[0]);
    python_begins();
    for (long i = 0; i < rounds; i++) {
        pyprof_config c = config(1000, PYPROF_HEAP_OFF);
        pyprof *session, *second = NULL;
        pthread_t stopper;
        int result;
        atomic_store(&in_callback, 0);
        atomic_store(&callback_done, 0);
        c.duration_s = 0.02;
        c.on_event.fn = wants_gil;
        session = started(&c);
        pthread_create(&stopper, NULL, stops, session);
        Py_BEGIN_ALLOW_THREADS
        while (!atomic_load(&in_callback)) nap(0.001);
        nap(0.02);
        Py_END_ALLOW_THREADS
        step("round %ld: start with the GIL held, a callback wants it, a stop waits for the callback", i);
        c = config(1000, PYPROF_HEAP_OFF);
        result = pyprof_start(&c, &second);
        if (result != PYPROF_OK && result != PYPROF_ERR_BUSY) wrong("start: %s", named(result));
        if (second) run("busy(0.01)\n");
        if (second) pyprof_profile_free(stopped(second));
        Py_BEGIN_ALLOW_THREADS
        pthread_join(stopper, NULL);
        while (!atomic_load(&callback_done)) nap(0.001);
        Py_END_ALLOW_THREADS
    }
    return done("%ld rounds", rounds);
}

const campaign_mode thread_modes[] = {
    { "cycles", "THREADS EACH HEAP", "every start that may succeed does; nothing is left", cycles },
    { "cancels", "COUNT", "no lock, descriptor or file is left behind", cancels },
    { "callback-gil", "ROUNDS", "no deadlock", callback_gil },
    { NULL, NULL, NULL, NULL },
};
