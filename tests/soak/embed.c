// Initialises and finalises Python over and over while a session runs across all of it. CPython itself loses memory at
// each turn, so embed.py runs this twice, with the profiler and without, and compares.
//
//   soak_embed CYCLES with|without
//
// Prints one line of NAME=NUMBER words; exits 1 with a message if something is wrong.
#include "../../pyprof.h"
#include <dirent.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void Py_InitializeEx(int signals);   // Python.h is not needed
int PyRun_SimpleString(const char *source);
int Py_FinalizeEx(void);

enum { MAX_BYTES = 8 << 20 };

#define CHECK(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))
static void fail(int line, const char *what)
{
    fprintf(stderr, "embed.c:%d: CHECK(%s); last error: %s\n", line, what, pyprof_last_error());
    exit(1);
}

// Threads that end, code that is made and dropped, and half a thread: a daemon that Py_Finalize finds asleep.
static const char work[] =
    "import threading, time\n"
    "def spin(end):\n"
    "    while time.perf_counter() < end: sum(range(50))\n"
    "def fresh(i):\n"
    "    space = {}\n"
    "    exec(compile('def f(n):\\n    for _ in range(n): pass\\n', '/fresh/%d.py' % i, 'exec'), space)\n"
    "    space['f'](500)\n"
    "threads = [threading.Thread(target=spin, args=(time.perf_counter() + 0.005,)) for _ in range(2)]\n"
    "for t in threads: t.start()\n"
    "for i in range(20): fresh(i)\n"
    "for t in threads: t.join()\n";

// ---- an allocator that counts ------------------------------------------------------------------------------------------
static atomic_llong live;

static void *count_alloc(void *user, size_t size)
{
    (void)user;
    atomic_fetch_add(&live, (long long)size);
    return malloc(size);
}

static void count_free(void *user, void *memory, size_t size)
{
    (void)user;
    atomic_fetch_sub(&live, (long long)size);
    free(memory);
}

// ---- what the process holds --------------------------------------------------------------------------------------------
static long entries(const char *path)
{
    DIR *folder = opendir(path);
    long count = -3;   // . and .. and, among descriptors, this one
    CHECK(folder != NULL);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static long lines_and(const char *path, const char *name, long *kib)   // lines; the sum of the values so named
{
    char line[1024];
    long count = 0;
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    for (*kib = 0; fgets(line, sizeof line, file); count++)
        if (strncmp(line, name, strlen(name)) == 0) *kib += strtol(line + strlen(name), NULL, 10);
    fclose(file);
    return count;
}

// A thread that was joined is listed until the kernel has ended it, which takes that thread a CPU.
static void wait_for_threads(long count)
{
    struct timespec moment = { 0, 2000000 };
    for (int i = 0; i < 2500 && entries("/proc/self/task") + 1 > count; i++) nanosleep(&moment, NULL);
}

static void tell(const char *when)
{
    long kib, none, maps;
    malloc_trim(0);
    (void)lines_and("/proc/self/status", "RssAnon:", &kib);
    maps = lines_and("/proc/self/maps", "there is no such line", &none);
    printf("%s_fds=%ld %s_tasks=%ld %s_maps=%ld %s_kib=%ld %s_live=%lld ", when, entries("/proc/self/fd"), when,
           entries("/proc/self/task") + 1, when, maps, when, kib, when, (long long)atomic_load(&live));
}

// ---- cycles --------------------------------------------------------------------------------------------------------------
static pyprof *start(double rate)
{
    pyprof_config config;
    pyprof *session;
    memset(&config, 0, sizeof config);
    config.rate_hz = rate;
    config.timeline_s = 0.5;
    config.max_bytes = MAX_BYTES;
    config.allocator.alloc = count_alloc;
    config.allocator.free = count_free;
    CHECK(pyprof_start(&config, &session) == PYPROF_OK);
    return session;
}

static unsigned long long samples_of(pyprof *session)
{
    pyprof_stats stats;
    CHECK(pyprof_get_stats(session, &stats) == PYPROF_OK);
    CHECK(stats.own_bytes <= MAX_BYTES);
    return stats.samples;
}

static void one(void)   // an interpreter's life
{
    Py_InitializeEx(0);
    CHECK(PyRun_SimpleString(work) == 0);
    CHECK(Py_FinalizeEx() == 0);
}

static void short_session(void)   // begins with the interpreter alive, ends after it
{
    pyprof_profile *profile;
    pyprof *session;
    Py_InitializeEx(0);
    session = start(5000);
    CHECK(PyRun_SimpleString(work) == 0);
    CHECK(Py_FinalizeEx() == 0);
    CHECK(pyprof_stop(session, &profile) == PYPROF_OK);
    pyprof_profile_free(profile);
}

static void run(long count, int with, pyprof *session, long *blind)
{
    for (long i = 0; i < count; i++) {
        unsigned long long before = with ? samples_of(session) : 0;
        if (with && i % 10 == 9) short_session();
        else one();
        if (with && samples_of(session) == before) ++*blind;   // a life that was not seen at all
    }
}

static void finish(pyprof *session, long blind)
{
    pyprof_profile *profile;
    pyprof_stats stats;
    CHECK(pyprof_stop(session, &profile) == PYPROF_OK);
    CHECK(pyprof_profile_stats(profile, &stats) == PYPROF_OK);
    CHECK(stats.asked == stats.samples + stats.missed + stats.rejected);
    pyprof_profile_free(profile);
    CHECK(!strstr(stats.degraded, "max_bytes"));   // a busy machine may starve it
    printf("samples=%llu missed=%llu rejected=%llu blind=%ld ", (unsigned long long)stats.samples,
           (unsigned long long)stats.missed, (unsigned long long)stats.rejected, blind);
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? strtol(argv[1], NULL, 10) : 0, blind = 0;
    int with = argc > 2 && strcmp(argv[2], "with") == 0;
    pyprof *session = NULL;
    if (count < 2) return 2;
    // glibc raises the size from which a block is mapped by itself when such a block is freed; then CPython's sparse
    // tables, 128 KiB and more, lie in the heap and are resident. Fixed, the two runs can be compared.
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_ARENA_MAX, 1);
    one();
    if (with) short_session();
    wait_for_threads(1);
    tell("before");
    if (with) session = start(2000);
    run(count / 10 + 1, with, session, &blind);
    blind = 0;
    wait_for_threads(1 + with);
    tell("first");
    run(count / 2, with, session, &blind);
    wait_for_threads(1 + with);
    tell("middle");
    run(count - count / 2, with, session, &blind);
    wait_for_threads(1 + with);
    tell("last");
    if (with) finish(session, blind);
    wait_for_threads(1);
    tell("after");
    printf("\n");
    return 0;
}
