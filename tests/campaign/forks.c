// Forks from many threads while sessions run, memory is tracked and profiles are saved: fork, os.fork of
// Python, raw clone, _Fork, vfork and posix_spawn. A child that hangs is found by run.py, which tells where.
#include "campaign.h"
#include <dlfcn.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { CHILD_RIGHT = 0, CHILD_START = 3, CHILD_STOP = 4, CHILD_MEMORY = 5, CHILD_SAVE = 6, MOST_FORKERS = 16,
    KEPT = 50 };
// plain: the child has a session of its own, and every tenth one generations below it; heap: the same with
// memory tracked; quick: it only allocates; python: os.fork; clone: by the system call, or _Fork
typedef enum { QUICK, PLAIN, HEAP, PYTHON, CLONE, SPAWN, MANNERS } manner;
static const char *const manners[MANNERS] = { "quick", "plain", "heap", "python", "clone", "spawn" };

static manner how;
static long each;
static atomic_long forked, bad;
static atomic_int over;
// Seconds from fork to the child's first step, one a fork; shared with the children
static double *cost;
static pyprof *parents;

extern char **environ;

// ---- what a child does ------------------------------------------------------------------------------------
static int uses_memory(void)   // blocks of the parent's hooks, and of none
{
    void *kept[KEPT];
    for (int i = 0; i < KEPT; i++) {
        kept[i] = PyMem_RawMalloc((size_t)(i * 37 + 1));
        if (!kept[i]) return 0;
        memset(kept[i], i, (size_t)(i * 37 + 1));
    }
    for (int i = 0; i < KEPT; i++) {
        if (*(unsigned char *)kept[i] != i) return 0;
        PyMem_RawFree(kept[i]);
    }
    return 1;
}

static int child(void)
{
    pyprof_config c = config(2000, how == HEAP ? PYPROF_HEAP_EXACT : PYPROF_HEAP_OFF);
    pyprof *session = NULL;
    pyprof_profile *profile = NULL;
    pyprof_stats stats;
    if (!uses_memory()) return CHILD_MEMORY;
    if (pyprof_get_stats(parents, &stats) != PYPROF_ERR_STATE) return CHILD_STOP;   // the parent's, not ours
    if (pyprof_stop(parents, NULL) != PYPROF_ERR_STATE) return CHILD_STOP;
    c.max_bytes = 8 << 20;
    if (pyprof_start(&c, &session) != PYPROF_OK) {
        printf("in the child: start: %s\n", pyprof_last_error());
        return CHILD_START;
    }
    nap(0.002);
    if (!uses_memory()) return CHILD_MEMORY;
    if (pyprof_stop(session, &profile) != PYPROF_OK) return CHILD_STOP;
    pyprof_profile_free(profile);
    return CHILD_RIGHT;
}

static int with_grandchildren(int generations)
{
    pid_t pid;
    int status = 0;
    if (generations == 0) return child();
    pid = fork();
    if (pid == 0) _exit(with_grandchildren(generations - 1));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int child_of_python(void)   // fork from C, where another thread may hold the GIL: only without it
{
    static const char code[] =
        "def forks():\n"
        "    import os\n"
        "    kept = [bytearray(i) for i in range(200)]\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        kept = [[i] for i in range(200)]\n"
        "        os._exit(0)\n"
        "    status = os.waitpid(pid, 0)[1]\n"
        "    assert status == 0, status\n"
        "forks()\n";
    PyGILState_STATE gil = PyGILState_Ensure();
    int result = PyRun_SimpleString(code);
    PyGILState_Release(gil);
    return result;
}

// ---- forking ----------------------------------------------------------------------------------------------
static pid_t one_fork(long i)
{
    double begin = now();
    pid_t pid;
    if (how == CLONE) {
        static pid_t (*forks)(void);
        if (!forks) *(void **)&forks = dlsym(RTLD_DEFAULT, "_Fork");
        pid = i % 2 && forks ? forks() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    } else pid = fork();
    if (pid == 0) {
        cost[i] = now() - begin;
        if (how == QUICK) _exit(uses_memory() ? CHILD_RIGHT : CHILD_MEMORY);
        _exit(i % 10 == 0 && how != CLONE ? with_grandchildren(2) : child());
    }
    return pid;
}

static void one_spawn(long i)   // neither runs what is to be run at a fork; both leave the parent as it was
{
    char *words[] = { "true", NULL };
    pid_t pid;
    int status;
    if (i % 2) {
        if (posix_spawn(&pid, "/bin/true", NULL, NULL, words, environ) != 0) return;
    } else {
        pid = vfork();
        if (pid == 0) { execve("/bin/true", words, environ); _exit(1); }
        if (pid < 0) return;
    }
    status = ended(pid);
    if (status) atomic_fetch_add(&bad, 1), wrong("spawned: status %x", status);
}

static void *forker(void *first)
{
    for (long i = (long)first, end = i + each; i < end; i++) {
        atomic_fetch_add(&forked, 1);
        step("%s fork %ld", manners[how], i);
        if (how == SPAWN) one_spawn(i);
        else if (how == PYTHON) { if (child_of_python() != 0) atomic_fetch_add(&bad, 1), wrong("os.fork"); }
        else {
            pid_t pid = one_fork(i);
            int status = pid < 0 ? 0 : ended(pid);
            if (pid < 0) nap(0.01);
            if (status) atomic_fetch_add(&bad, 1), wrong("the child ended with %x", status);
        }
    }
    return NULL;
}

static void *saver(void *unused)   // forks find the profiler in the middle of snapshots and saves
{
    pyprof_profile *profile;
    (void)unused;
    while (!atomic_load(&over)) {
        if (pyprof_snapshot(parents, NULL, &profile) != PYPROF_OK) { wrong("snapshot"); break; }
        if (pyprof_save(profile, "forks.json", NULL) != PYPROF_OK) wrong("save: %s", pyprof_last_error());
        pyprof_profile_free(profile);
        nap(0.005);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static long sorted_costs(void)   // how many were noted
{
    long n = 0;
    for (long i = 0; i < atomic_load(&forked); i++)
        if (cost[i] > 0) cost[n++] = cost[i];
    qsort(cost, (size_t)n, sizeof *cost, by_value);
    return n;
}

static double at_share(long costs, double share)
{
    return costs ? cost[(long)((double)(costs - 1) * share)] : 0;
}

static double forks_per_second(long threads)
{
    pthread_t forkers[MOST_FORKERS];
    double begin = now();
    for (long i = 0; i < threads; i++) pthread_create(&forkers[i], NULL, forker, (void *)(i * each));
    for (long i = 0; i < threads; i++) pthread_join(forkers[i], NULL);
    return (double)(threads * each) / (now() - begin);
}

static int forks(char **words)   // MANNER THREADS EACH
{
    long threads = atol(words[1]), wanted, costs;
    pyprof_config c = config(5000, PYPROF_HEAP_EXACT);
    PyThreadState *main_state;
    pthread_t saves;
    pyprof_stats before, after;
    double rate, waited;
    each = atol(words[2]);
    wanted = threads * each;
    for (how = QUICK; how < MANNERS && strcmp(manners[how], words[0]) != 0;) how++;
    if (how == MANNERS || threads > MOST_FORKERS) fatal("manner, or too many threads");
    cost = mmap(NULL, (size_t)wanted * sizeof *cost, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                0);
    python_begins();
    python_works();
    parents = started(&c);
    main_state = PyEval_SaveThread();
    nap(0.1);
    pthread_create(&saves, NULL, saver, NULL);
    rate = forks_per_second(threads);
    atomic_store(&over, 1);
    pthread_join(saves, NULL);
    before = stats_of(parents);
    waited = now();
    while ((after = stats_of(parents)).samples == before.samples && now() < waited + 10) nap(0.01);
    if (after.samples == before.samples) wrong("the parent samples no more");
    if (after.heap_state != PYPROF_HEAP_STATE_ON)
        wrong("the parent's memory is no longer tracked: %d", after.heap_state);
    balanced(after);
    pyprof_profile_free(stopped(parents));
    whole("forks.json", 1);
    PyEval_RestoreThread(main_state);
    python_rests();
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    costs = sorted_costs();
    return done("%ld forks by %ld threads at %.0f a second, %ld bad; %.0f us to the child, 99 %% within %.0f",
                wanted, threads, rate, atomic_load(&bad), at_share(costs, 0.5) * 1e6,
                at_share(costs, 0.99) * 1e6);
}

const campaign_mode fork_modes[] = {
    { "forks", "MANNER THREADS EACH", "no child hangs or dies; the parent goes on", forks },
    { NULL, NULL, NULL, NULL },
};
