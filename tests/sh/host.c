// A host for the tests beside it: embeds Python in one of many ways, does what its argument says, exits 0 if all was well.
//   WITH_PYTHON_H    Python.h comes before pyprof.h: link-time binding
//   LINKED           the implementation is in another object
//   WITH_DLOPEN      libpython is loaded at run time, for itself (RTLD_LOCAL): LIBPYTHON names it
#ifdef WITH_PYTHON_H
#include <Python.h>
#else
void Py_InitializeEx(int signals);
int PyRun_SimpleString(const char *source);
int Py_FinalizeEx(void);
#endif
#ifndef LINKED
#define PYPROF_IMPLEMENTATION
#endif
#ifndef TEST_HEADER
#define TEST_HEADER "pyprof.h"   // lower.h: see inside.py
#endif
#include TEST_HEADER
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))
static void fail(int line, const char *what)
{
    fprintf(stderr, "host.c:%d: CHECK(%s); last error: %s\n", line, what, pyprof_last_error());
    exit(1);
}

static struct { void (*start)(int); int (*run)(const char *); int (*finish)(void); } python;

static void load(void *into, const char *name)
{
    void *symbol = dlsym(dlopen(getenv("LIBPYTHON"), RTLD_NOW | RTLD_LOCAL), name);
    if (!symbol) fprintf(stderr, "%s\n", dlerror());
    CHECK(symbol != NULL);
    memcpy(into, &symbol, sizeof symbol);
}

static void resolve(void)
{
#ifdef WITH_DLOPEN
    load(&python.start, "Py_InitializeEx");
    load(&python.run, "PyRun_SimpleString");
    load(&python.finish, "Py_FinalizeEx");
#else
    (void)load;
    python.start = Py_InitializeEx;
    python.run = PyRun_SimpleString;
    python.finish = Py_FinalizeEx;
#endif
}

static void spin(double seconds)
{
    char source[256];
    snprintf(source, sizeof source, "import time\ndef spin(end):\n    while time.time() < end: sum(range(100))\nspin(time.time() + %g)\n", seconds);
    CHECK(python.run(source) == 0);
}

static pyprof *start(double rate)
{
    pyprof_config config;
    pyprof *session;
    memset(&config, 0, sizeof config);
    config.rate_hz = rate;
    CHECK(pyprof_start(&config, &session) == PYPROF_OK);
    return session;
}

static pyprof_stats stats_of(pyprof *session)
{
    pyprof_stats stats;
    CHECK(pyprof_get_stats(session, &stats) == PYPROF_OK);
    if (stats.degraded[0]) fprintf(stderr, "degraded: %s\n", stats.degraded);
    return stats;
}

static void spin_on(pyprof *session, double seconds, unsigned long long samples)   // that long, and until so many are taken
{
    unsigned long long before = stats_of(session).samples;
    int tries = 0;
    do spin(seconds);
    while (stats_of(session).samples < before + samples && ++tries < 50);
}

static void stop(pyprof *session, long at_least)   // the profile knows spin, and has so many samples of it
{
    pyprof_profile *profile;
    pyprof_info info;
    pyprof_row rows[100];
    size_t count, i;
    long found = 0;
    CHECK(pyprof_stop(session, &profile) == PYPROF_OK);
    CHECK(pyprof_profile_info(profile, &info) == PYPROF_OK);
    CHECK(pyprof_top(profile, NULL, rows, sizeof *rows, 100, &count) == PYPROF_OK);
    for (i = 0; i < count && i < 100; i++)
        if (strcmp(rows[i].qualname, "spin") == 0) found += (long)rows[i].total[PYPROF_SAMPLES];
    fprintf(stderr, "Python %s, %ld samples of spin\n", info.python, found);
    CHECK(found >= at_least / 3);   // machines are shared
    CHECK(strcmp(info.python, getenv("VERSION")) == 0);
    pyprof_profile_free(profile);
}

static void found(void)   // the runtime, and what it runs
{
    python.start(0);
    pyprof *session = start(1000);
    spin_on(session, 0.3, 100);
    stop(session, 100);
    CHECK(python.finish() == 0);
}

static void before(void)   // started before there is an interpreter
{
    pyprof *session = start(1000);
    struct timespec moment = { 0, 20000000 };
    nanosleep(&moment, NULL);
    CHECK(stats_of(session).samples == 0);
    python.start(0);
    spin_on(session, 0.3, 100);
    CHECK(stats_of(session).threads == 1);
    stop(session, 100);
    CHECK(python.finish() == 0);
}

static const char threads[] =   // some end at once, some never
    "import threading, time\n"
    "def spin():\n    while True: sum(range(100))\n"
    "for i in range(3): threading.Thread(target=spin, daemon=True).start()\n"
    "for i in range(20): threading.Thread(target=time.sleep, args=(0,)).start()\n"
    "time.sleep(0.2)\n";

static void finalize(void)   // while the sampler sweeps
{
    python.start(0);
    pyprof *session = start(5000);
    CHECK(python.run(threads) == 0);
    CHECK(python.finish() == 0);
    struct timespec moment = { 0, 50000000 };
    nanosleep(&moment, NULL);
    unsigned long long samples = stats_of(session).samples;
    nanosleep(&moment, NULL);
    CHECK(stats_of(session).samples == samples);   // nobody is there any more
    stop(session, 50);
}

static int lives(void) { return getenv("TEST_LONG") ? 20 : 6; }

static void again(void)   // one session through several interpreters
{
    pyprof *session = start(2000);
    for (int i = 0; i < lives(); i++) {
        unsigned long long samples = stats_of(session).samples;
        python.start(0);
        spin_on(session, 0.05, 11);
        CHECK(stats_of(session).samples > samples + 10);
        CHECK(python.finish() == 0);
    }
    CHECK(stats_of(session).rejected <= stats_of(session).samples / 20);
    stop(session, (unsigned)lives() * 10);
}

static void renew(void)   // a session for each of several interpreters, ended after its interpreter
{
    for (int i = 0; i < lives(); i++) {
        python.start(0);
        pyprof *session = start(2000);
        spin_on(session, 0.05, 10);
        CHECK(python.finish() == 0);
        stop(session, 10);
    }
}

// ---- plugins: shared objects with a copy of the library of their own -------------------------------------------------
typedef struct { void *object; int (*start)(void); long (*stop)(void); } plugin;

static plugin open_plugin(const char *path)
{
    plugin p;
    void *symbol;
    p.object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!p.object) fprintf(stderr, "%s\n", dlerror());
    CHECK(p.object != NULL);
    symbol = dlsym(p.object, "plugin_start");
    memcpy(&p.start, &symbol, sizeof symbol);
    symbol = dlsym(p.object, "plugin_stop");
    memcpy(&p.stop, &symbol, sizeof symbol);
    CHECK(p.start && p.stop);
    return p;
}

static void copies(void)   // three copies sample at the same time
{
    python.start(0);
    plugin one = open_plugin(getenv("PLUGIN1")), two = open_plugin(getenv("PLUGIN2"));
    pyprof *session = start(1000);
    CHECK(one.start() == 0);
    CHECK(two.start() == 0);
    spin(0.4);
    CHECK(one.stop() >= 100);
    spin(0.1);
    CHECK(two.stop() >= 100);
    stop(session, 100);
    CHECK(python.finish() == 0);
}

static void unload(void)   // dlclose, while its thread runs in it
{
    python.start(0);
    plugin one = open_plugin(getenv("PLUGIN1"));
    CHECK(one.start() == 0);
    spin(0.1);
    CHECK(dlclose(one.object) == 0);
    spin(0.2);
    CHECK(dlopen(getenv("PLUGIN1"), RTLD_NOW | RTLD_NOLOAD) != NULL);
    CHECK(one.stop() >= 50);
    CHECK(python.finish() == 0);
}

static void absent(void)   // no Python, and the reason says so
{
    pyprof *session;
    CHECK(pyprof_start(NULL, &session) == PYPROF_ERR_NO_PYTHON);
    fprintf(stderr, "%s\n", pyprof_last_error());
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } modes[] = {
        { "found", found }, { "before", before }, { "finalize", finalize }, { "again", again }, { "renew", renew },
        { "copies", copies }, { "unload", unload },
    };
#ifdef WITH_DLOPEN
    absent();
#else
    (void)absent;
#endif
    resolve();
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (argc > 1 && strcmp(argv[1], modes[i].name) == 0) return modes[i].run(), 0;
    return 2;
}
