// What the mixed workloads (parts.py) need of a host in C: a thread that calls Python again and again,
// interpreters that idle on the thread that made them, and a bare thread with a sampler's timer, to see for
// how many ticks that alone is late. No Python header: functions of Python are looked up. Build: cc -shared
// -fPIC -O2 -pthread host.c -o oracle_host.so
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static uint64_t clock_ns(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// --- a thread that calls Python: an audio callback, a database driver, a pool of workers -------------------

static struct {
    pthread_t thread;
    void (*call)(void);   // of ctypes: PyGILState_Ensure, the call, PyGILState_Release, so a thread state for each call
    volatile int stop;
    uint64_t cpu_ns, calls, tid;
} caller;

static void *caller_main(void *unused)
{
    caller.tid = (uint64_t)syscall(SYS_gettid);
    for (; !caller.stop; caller.calls++) caller.call();
    caller.cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    return unused;
}

EXPORT int host_calls_start(void (*call)(void));
int host_calls_start(void (*call)(void))
{
    caller.call = call;
    caller.stop = 0;
    caller.calls = 0;
    return pthread_create(&caller.thread, NULL, caller_main, NULL);
}

// Without the GIL. values: CPU time, calls, the kernel's number of the thread.
EXPORT void host_calls_stop(uint64_t *values);
void host_calls_stop(uint64_t *values)
{
    caller.stop = 1;
    pthread_join(caller.thread, NULL);
    values[0] = caller.cpu_ns;
    values[1] = caller.calls;
    values[2] = caller.tid;
}

// --- interpreters that idle on this thread -----------------------------------------------------------------

// With the GIL. How many could be made.
EXPORT int host_interpreters(int count);
int host_interpreters(int count)
{
    void *(*make)(void), *(*swap)(void *), *(*get)(void), *mine;
    int made = 0;
    *(void **)&make = dlsym(RTLD_DEFAULT, "Py_NewInterpreter");
    *(void **)&swap = dlsym(RTLD_DEFAULT, "PyThreadState_Swap");
    *(void **)&get = dlsym(RTLD_DEFAULT, "PyThreadState_Get");
    if (!make || !swap || !get) return 0;
    for (mine = get(); made < count && make(); made++) swap(mine);
    swap(mine);
    return made;
}

// --- a bare thread with the timer of a sampler -------------------------------------------------------------

static struct {
    pthread_t thread;
    uint64_t period_ns, ticks, late, random;
    volatile int stop;
} bare;

static uint64_t bare_random(uint64_t below)
{
    bare.random = bare.random * 6364136223846793005u + 1442695040888963407u;
    return (bare.random >> 33) % below;
}

// One deadline a period, at random inside it. Deadlines that have gone by when it
// wakes for an earlier one are late.
static void *bare_main(void *unused)
{
    uint64_t begin = clock_ns(CLOCK_MONOTONIC), period = 0, now;
    while (!bare.stop) {
        uint64_t at = begin + period * bare.period_ns + bare_random(bare.period_ns);
        struct timespec until;
        until.tv_sec = (time_t)(at / 1000000000u);
        until.tv_nsec = (long)(at % 1000000000u);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
        now = (clock_ns(CLOCK_MONOTONIC) - begin) / bare.period_ns;
        if (now > period + 1) bare.late += now - period - 1;   // whole periods slept through
        bare.ticks += now > period ? now - period : 1;
        period = now > period ? now : period + 1;
    }
    return unused;
}

EXPORT int host_bare_start(double rate_hz);
int host_bare_start(double rate_hz)
{
    memset(&bare, 0, sizeof bare);
    bare.period_ns = (uint64_t)(1e9 / rate_hz);
    return pthread_create(&bare.thread, NULL, bare_main, NULL);
}

// values: ticks that were due, those that it was late for.
EXPORT void host_bare_stop(uint64_t *values);
void host_bare_stop(uint64_t *values)
{
    bare.stop = 1;
    pthread_join(bare.thread, NULL);
    values[0] = bare.ticks;
    values[1] = bare.late;
}
