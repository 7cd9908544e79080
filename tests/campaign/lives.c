// Lives: Python initialised and finalised again and again, interpreters that come and go, a main thread that
// leaves, a process that ends on another thread, and a program that runs with another's rights.
#include "campaign.h"
#include <sys/wait.h>

// ---- initialise and finalise again ------------------------------------------------------------------------
static const char daemon_thread[] =
    "import threading, time\n"
    "daemon = threading.Thread(target=lambda: [time.sleep(0.0001) for _ in range(10**6)], daemon=True)\n"
    "daemon.start()\n";
static const char life[] =
    "def made(): return [bytearray(j) for j in range(200)]\n"
    "class Late:\n"
    "    def __del__(self): made()\n"
    "late = [Late() for _ in range(30)]\n"
    "late.append(late)\n"
    "kept = made()\n";

// A daemon thread may sleep through Py_FinalizeEx and want the GIL of the next life, with a state of the last one:
// no host bears that, with or without a profiler. So only the last life has one.
static void one_life(long i, pyprof **session, const pyprof_config *c, int traced, int last)
{
    pyprof_profile *profile;
    Py_InitializeEx(0);
    if (last) run("%s", daemon_thread);
    run("%s", life);
    if (traced && i % 3 == 0)   // some Pythons have tracemalloc in their first life only
        run("try:\n"
            "    import tracemalloc\n"
            "    tracemalloc.start()\n"
            "    kept = made()\n"
            "    if %d: tracemalloc.stop()\n"
            "except RuntimeError: pass\n", i % 6 == 0);
    if (i % 5 == 0) {
        if (pyprof_snapshot(*session, NULL, &profile) != PYPROF_OK)
            wrong("snapshot: %s", pyprof_last_error());
        else pyprof_profile_free(profile);
    }
    if (i % 7 == 6) {
        pyprof_profile_free(stopped(*session));
        *session = started(c);
    }
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
}

static int lives(char **words)   // COUNT HEAP TRACED
{
    long count = atol(words[0]);
    pyprof_config c = config(5000, atoi(words[1]));
    pyprof *session = started(&c);   // before Python is there
    pyprof_stats stats;
    int files = descriptors();
    double begin = now();
    for (long i = 0; i < count; i++) {
        step("life %ld", i);
        one_life(i, &session, &c, atoi(words[2]), i == count - 1);
    }
    stats = stats_of(session);
    balanced(stats);
    if (!stats.samples) wrong("the last session has no samples");
    if (descriptors() > files + 2) wrong("%d descriptors at the begin, %d at the end", files, descriptors());
    pyprof_profile_free(stopped(session));
    return done("%ld lives in %.0f s", count, now() - begin);
}

static atomic_int over;
static atomic_long sessions, refused;
static int heap_wanted;

static void *restarts(void *unused)   // sessions begin and end at any moment of Python's lives
{
    unsigned seed = 3;
    (void)unused;
    while (!atomic_load(&over)) {
        pyprof_config c = config(3000, heap_wanted);
        pyprof_profile *profile = NULL;
        pyprof *session;
        int result = pyprof_start(&c, &session);
        if (result != PYPROF_OK) {
            if (result != PYPROF_ERR_BUSY && result != PYPROF_ERR_NO_PYTHON)
                wrong("start: %s", named(result));
            atomic_fetch_add(&refused, 1);
            nap(0.0005);
            continue;
        }
        atomic_fetch_add(&sessions, 1);
        nap(0.00001 * below(&seed, 2500));
        result = pyprof_stop(session, &profile);
        if (result != PYPROF_OK) wrong("stop: %s", named(result));
        pyprof_profile_free(profile);
    }
    return NULL;
}

static int life_race(char **words)   // COUNT HEAP
{
    long count = atol(words[0]);
    double begin = now();
    pthread_t thread;
    heap_wanted = atoi(words[1]);
    pthread_create(&thread, NULL, restarts, NULL);
    for (long i = 0; i < count; i++) {
        step("life %ld", i);
        Py_InitializeEx(0);
        run("%s", life);
        run("import json, re, argparse\nfor _ in range(4): made()\n");
        if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    }
    atomic_store(&over, 1);
    pthread_join(thread, NULL);
    if (!atomic_load(&sessions)) wrong("no session could start");
    return done("%ld lives beside %ld sessions, %ld refused, in %.0f s", count, atomic_load(&sessions),
                atomic_load(&refused), now() - begin);
}

// ---- interpreters -----------------------------------------------------------------------------------------
static PyThreadState *new_interpreter(int own_gil)
{
#if PY_VERSION_HEX >= 0x030c0000
    if (own_gil) {
        PyThreadState *state = NULL;
        PyInterpreterConfig wanted = { .allow_threads = 1, .check_multi_interp_extensions = 1,
                                       .gil = PyInterpreterConfig_OWN_GIL };
        PyStatus status = Py_NewInterpreterFromConfig(&state, &wanted);
        return PyStatus_Exception(status) ? NULL : state;
    }
#else
    if (own_gil) cannot("this Python has one GIL for all interpreters");
#endif
    return Py_NewInterpreter();
}

static int interpreters(char **words)   // COUNT HEAP OWN_GIL
{
    long count = atol(words[0]);
    int own_gil = atoi(words[2]);
    pyprof_config c = config(2000, atoi(words[1]));
    pyprof *session;
    pyprof_stats stats;
    pyprof_profile *profile;
    PyThreadState *first;
    double begin = now();
    python_begins();
    if (!own_gil) python_works();
    session = started(&c);
    first = PyThreadState_Get();
    for (long i = 0; i < count; i++) {
        PyThreadState *state;
        step("interpreter %ld", i);
        state = new_interpreter(own_gil);
        if (!state) fatal("Python makes no interpreter");
        run("def made(n): return [object() for _ in range(n)]\nkept = [made(i) for i in range(60)]\n");
        Py_EndInterpreter(state);
        PyThreadState_Swap(first);
        if (i % 20 == 0 && pyprof_snapshot(session, NULL, &profile) == PYPROF_OK)
            pyprof_profile_free(profile);
    }
    stats = stats_of(session);
    balanced(stats);
    if (!stats.samples) wrong("no samples");
    pyprof_profile_free(stopped(session));
    if (!own_gil) python_rests();
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("%ld interpreters in %.0f s, %llu samples", count, now() - begin,
                (unsigned long long)stats.samples);
}

// ---- the main thread leaves -------------------------------------------------------------------------------
static void *after_main(void *session)
{
    pyprof_config c = config(1000, PYPROF_HEAP_OFF);
    pyprof *second;
    pyprof_profile *profile = NULL;
    pyprof_stats before;
    PyGILState_STATE gil;
    int result;
    nap(0.2);
    gil = PyGILState_Ensure();
    step("the main thread has left");
    before = stats_of(session);
    run("busy(0.5)\n");
    honest(session, before, 1000, 0.5, "after the main thread left");
    step("a second session");
    result = pyprof_start(&c, &second);
    if (result == PYPROF_OK) {
        under_way(second);
        before = stats_of(second);
        run("busy(0.5)\n");
        honest(second, before, 1000, 0.5, "in a session begun after that");
        if (stats_of(second).samples == before.samples)
            wrong("the second session has no samples: %s", stats_of(second).degraded);
        pyprof_profile_free(stopped(second));
    } else wrong("start: %s", named(result));
    result = pyprof_stop(session, &profile);
    if (result != PYPROF_OK) wrong("stop: %s", named(result));
    step("a session alone");
    second = started(&c);
    under_way(second);
    before = stats_of(second);
    run("busy(0.5)\n");
    honest(second, before, 1000, 0.5, "in a session begun alone");
    if (stats_of(second).samples == before.samples)
        wrong("a session alone has no samples: %s", stats_of(second).degraded);
    pyprof_profile_free(stopped(second));
    if (profile && pyprof_save(profile, "left.json", NULL) != PYPROF_OK)
        wrong("save: %s", pyprof_last_error());
    PyGILState_Release(gil);
    whole("left.json", 1);
    _exit(done("three sessions after the main thread left"));
}

static int main_leaves(char **words)   // HEAP
{
    pyprof_config c = config(1000, atoi(words[0]));
    pyprof *session;
    pthread_t thread;
    python_begins();
    session = started(&c);
    PyEval_SaveThread();
    pthread_create(&thread, NULL, after_main, session);
    pthread_exit(NULL);
}

// ---- the process ends on another thread, in the middle of snapshots and saves -----------------------------
enum { STATUS_OF_THE_END = 7 };
static const char *manner;

static void *ends(void *unused)
{
    (void)unused;
    nap(0.05);
    if (strcmp(manner, "exit") == 0) exit(STATUS_OF_THE_END);
    if (strcmp(manner, "quick_exit") == 0) quick_exit(STATUS_OF_THE_END);
    _exit(STATUS_OF_THE_END);
}

static void child_that_ends(int heap)
{
    pyprof_config c = config(5000, heap);
    pyprof *session;
    pyprof_profile *profile;
    pthread_t thread;
    python_begins();
    python_works();
    session = started(&c);
    run("time.sleep(0.05)\n");
    pthread_create(&thread, NULL, ends, NULL);
    PyEval_SaveThread();
    while (pyprof_snapshot(session, NULL, &profile) == PYPROF_OK) {
        pyprof_save(profile, "ending.json", NULL);
        pyprof_profile_free(profile);
    }
    for (;;) nap(1);   // the end has begun
}

static int endings(char **words)   // COUNT MANNER HEAP
{
    long count = atol(words[0]);
    manner = words[1];
    for (long i = 0; i < count; i++) {
        pid_t pid;
        int status;
        step("%s %ld", manner, i);
        pid = fork();
        if (pid == 0) child_that_ends(atoi(words[2]));
        status = ended(pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS_OF_THE_END) wrong("it ended with %x", status);
    }
    python_begins();
    PyEval_SaveThread();
    whole("ending.json", 0);
    return done("%ld programs ended by %s on another thread", count, manner);
}

// ---- another's rights -------------------------------------------------------------------------------------
// Run from a set-user-id copy: the environment asks for files, none may come
static int as_another(char **words)
{
    pyprof *session = NULL;
    int result;
    (void)words;
    if (getuid() == geteuid()) cannot("this file system knows no set-user-id");
    python_begins();
    result = pyprof_start_from_env(&session);
    if (result != PYPROF_ERR_DISABLED || session) wrong("start_from_env: %s", named(result));
    run("busy(0.3)\n");
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("start_from_env is off with another's rights");
}

static int from_environment(char **words)   // the same without: files do come
{
    pyprof *session = NULL;
    int result;
    (void)words;
    python_begins();
    result = pyprof_start_from_env(&session);
    if (result != PYPROF_OK) wrong("start_from_env: %s", named(result));
    run("busy(0.3)\n");
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("profiled as the environment asks");
}

const campaign_mode life_modes[] = {
    { "lives", "COUNT HEAP TRACED", "sessions outlive Python, hooks stay valid", lives },
    { "life-race", "COUNT HEAP", "sessions begin and end at any moment of Python's lives", life_race },
    { "interpreters", "COUNT HEAP OWN_GIL", "interpreters come and go", interpreters },
    { "main-leaves", "HEAP", "sessions see the other threads after pthread_exit of the main thread",
        main_leaves },
    { "endings", "COUNT MANNER HEAP", "exit, quick_exit, _exit on another thread: the status is kept",
        endings },
    { "as-another", "", "set-user-id: the environment is ignored", as_another },
    { "from-environment", "", "the same without other rights", from_environment },
    { NULL, NULL, NULL, NULL },
};
