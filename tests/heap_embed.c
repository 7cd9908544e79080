// The heap tracker in a program that initialises and finalises Python over and over: CPython 3.12 and later forget the
// allocation hooks when they come up again, the older ones keep them, so that a second installation finds the first.
//
//   heap_embed lives|across|early|late|beside CYCLES
//
// lives: a session in each life, ended before or after Py_Finalize in turn. across: one session through all lives.
// early: it begins before Py_Initialize. late: it begins after Py_Finalize, and sees the next life. beside: another thread,
// without the GIL, starts and stops sessions all the time.
// Prints one line of NAME=NUMBER words; exits 1 with a message if something is wrong.
#include "../pyprof.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void Py_InitializeEx(int signals);   // Python.h is not needed
int PyRun_SimpleString(const char *source);
int Py_FinalizeEx(void);
void *PyEval_SaveThread(void);
void PyEval_RestoreThread(void *state);

#define CHECK(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))
static void fail(int line, const char *what)
{
    fprintf(stderr, "heap_embed.c:%d: CHECK(%s); last error: %s\n", line, what, pyprof_last_error());
    exit(1);
}

// 20,000 blocks, of which 2,000 stay for the life of the interpreter.
static const char work[] =
    "import threading\n"
    "def churn(kept):\n"
    "    for i in range(10000): kept[i % 1000] = b'x' * (i % 1000 + 2)\n"
    "kept = [[None] * 1000, [None] * 1000]\n"
    "threads = [threading.Thread(target=churn, args=(k,)) for k in kept]\n"
    "for t in threads: t.start()\n"
    "for t in threads: t.join()\n"
    "import gc\n"
    "gc.collect()\n";

enum { BLOCKS = 20000 };
static atomic_int events;

static void event(void *user, pyprof *session, pyprof_event what, const char *detail)
{
    (void)user;
    (void)session;
    (void)detail;
    if (what == PYPROF_EVENT_HOOKS_LOST) atomic_fetch_add(&events, 1);
}

static pyprof *start(void)
{
    pyprof_config config;
    pyprof *session;
    memset(&config, 0, sizeof config);
    config.heap = PYPROF_HEAP_EXACT;
    config.on_event.fn = event;
    CHECK(pyprof_start(&config, &session) == PYPROF_OK);
    return session;
}

static int state_of(pyprof *session)
{
    pyprof_stats stats;
    CHECK(pyprof_get_stats(session, &stats) == PYPROF_OK);
    return stats.heap_state;
}

static void run(const char *source) { CHECK(PyRun_SimpleString(source) == 0); }

// As a host that waits for something. From 3.9 to 3.12 a call that the sampler asked for is seen when this thread takes the GIL again.
static void idle(void)
{
    void *state = PyEval_SaveThread();
    usleep(1000);
    PyEval_RestoreThread(state);
}

static long long allocated(pyprof *session)
{
    pyprof_profile *profile;
    pyprof_info info;
    CHECK(pyprof_snapshot(session, NULL, &profile) == PYPROF_OK);
    CHECK(pyprof_profile_info(profile, &info) == PYPROF_OK);
    CHECK(info.total[PYPROF_LIVE_BLOCKS] >= 0 && info.total[PYPROF_LIVE_BYTES] >= 0);
    pyprof_profile_free(profile);
    return info.total[PYPROF_ALLOC_BLOCKS];
}

static void stop(pyprof *session, long long least)
{
    pyprof_profile *profile;
    pyprof_info info;
    CHECK(pyprof_stop(session, &profile) == PYPROF_OK);
    CHECK(pyprof_profile_info(profile, &info) == PYPROF_OK);
    CHECK(info.total[PYPROF_ALLOC_BLOCKS] >= least);
    pyprof_profile_free(profile);
}

static void lives(long count)
{
    for (long i = 0; i < count; i++) {
        pyprof *session;
        Py_InitializeEx(0);
        session = start();
        CHECK(state_of(session) == PYPROF_HEAP_STATE_ON);   // this thread holds the GIL
        run(work);
        CHECK(allocated(session) >= BLOCKS);
        if (i % 3 == 0) stop(session, BLOCKS);
        run(work);
        CHECK(Py_FinalizeEx() == 0);
        if (i % 3 != 0) stop(session, 2 * BLOCKS);
    }
}

static void across(long count)
{
    pyprof *session = NULL;
    long seen = 0, lost = 0;
    for (long i = 0; i < count; i++) {
        long long before;
        Py_InitializeEx(0);
        if (!session) session = start();
        for (int wait = 0; i && wait < 2500; wait++) {   // the tracker may need a second to see that all is new
            before = allocated(session);
            run("for i in range(1000): pass\n");
            if (state_of(session) == PYPROF_HEAP_STATE_ON && allocated(session) - before > 500) break;
            idle();
        }
        before = allocated(session);
        run(work);
        if (state_of(session) == PYPROF_HEAP_STATE_LOST) lost++;
        else if (allocated(session) - before >= BLOCKS) seen++;
        CHECK(Py_FinalizeEx() == 0);
    }
    printf("state=%d seen=%ld lost=%ld ", state_of(session), seen, lost);
    stop(session, BLOCKS);
}

static void early(void)
{
    pyprof *session = start();
    CHECK(state_of(session) == PYPROF_HEAP_STATE_PENDING || state_of(session) == PYPROF_HEAP_STATE_ON);
    CHECK(allocated(session) == 0);
    Py_InitializeEx(0);
    for (int i = 0; i < 2000 && state_of(session) != PYPROF_HEAP_STATE_ON; i++) {
        run("for i in range(100): pass\n");
        idle();
    }
    CHECK(state_of(session) == PYPROF_HEAP_STATE_ON);
    run(work);
    CHECK(allocated(session) >= BLOCKS);
    CHECK(Py_FinalizeEx() == 0);
    stop(session, BLOCKS);
}

static void late(long count)
{
    for (long i = 0; i < count; i++) {
        pyprof *session;
        Py_InitializeEx(0);
        run(work);
        CHECK(Py_FinalizeEx() == 0);
        session = start();
        Py_InitializeEx(0);
        for (int wait = 0; wait < 2000 && state_of(session) != PYPROF_HEAP_STATE_ON; wait++) {
            run("for i in range(100): pass\n");
            idle();
        }
        CHECK(state_of(session) == PYPROF_HEAP_STATE_ON);
        run(work);
        CHECK(allocated(session) >= BLOCKS);
        CHECK(Py_FinalizeEx() == 0);
        stop(session, BLOCKS);
    }
}

static atomic_int over;

static void *besides(void *unused)
{
    pyprof_config config;
    pyprof *session;
    memset(&config, 0, sizeof config);
    config.heap = PYPROF_HEAP_EXACT;
    while (!atomic_load(&over)) {
        if (pyprof_start(&config, &session) != PYPROF_OK) continue;   // the interpreter was coming or going
        usleep(200);
        CHECK(pyprof_stop(session, NULL) == PYPROF_OK);
    }
    return unused;
}

// 3.8 takes no more calls from before the functions of atexit run, and is finalizing only after them.
static void beside(long count)
{
    pthread_t thread;
    for (long i = 0; i < count; i++) {
        Py_InitializeEx(0);
        if (i == 0) CHECK(pthread_create(&thread, NULL, besides, NULL) == 0);
        if (i % 4 == 0) run("import atexit, time\natexit.register(time.sleep, 0.05)\n");
        run("kept = [bytearray(i) for i in range(1000)]\n");
        CHECK(Py_FinalizeEx() == 0);
    }
    atomic_store(&over, 1);
    CHECK(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    if (argc < 3) return 2;
    if (strcmp(argv[1], "lives") == 0) lives(count);
    else if (strcmp(argv[1], "across") == 0) across(count);
    else if (strcmp(argv[1], "early") == 0) early();
    else if (strcmp(argv[1], "late") == 0) late(count);
    else if (strcmp(argv[1], "beside") == 0) beside(count);
    else return 2;
    printf("events=%d\n", atomic_load(&events));
    return 0;
}
