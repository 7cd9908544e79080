// Plugins that carry a copy of the profiler each: many at once, loaded and unloaded in the middle of
// sessions, replaced or deleted on disk meanwhile, without /proc. CAMPAIGN_PLUGIN names the plugin,
// CAMPAIGN_BIG_PLUGIN the one with big TLS.
#include "campaign.h"
#include "plugin.h"
#include <dlfcn.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef struct {
    void *handle;
    __typeof__(plugin_start) *start;
    __typeof__(plugin_stop) *stop;
    __typeof__(plugin_error) *error;
} plugin;

enum { MOST_PLUGINS = 32 };

static void copied(const char *to)
{
    char command[1000];
    snprintf(command, sizeof command, "cp '%s' '%s'", getenv("CAMPAIGN_PLUGIN"), to);
    if (system(command) != 0) fatal("%s", command);
}

static int loaded(plugin *p, const char *path)
{
    p->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!p->handle) return 0;
    *(void **)&p->start = dlsym(p->handle, "plugin_start");
    *(void **)&p->stop = dlsym(p->handle, "plugin_stop");
    *(void **)&p->error = dlsym(p->handle, "plugin_error");
    return 1;
}

static void must_load(plugin *p, const char *path)
{
    if (!loaded(p, path)) fatal("%s", dlerror());
}

// ---- many -------------------------------------------------------------------------------------------------
static int many(char **words)   // COUNT: all sample at a time, by turns
{
    int count = atoi(words[0]);
    plugin p[MOST_PLUGINS];
    if (count > MOST_PLUGINS) fatal("too many");
    python_begins();
    for (int i = 0; i < count; i++) {
        char path[32];
        snprintf(path, sizeof path, "./p%d.so", i);
        copied(path);
        step("plugin %d", i);
        if (!loaded(&p[i], path)) fatal("plugin %d: %s", i, dlerror());
    }
    for (int i = 0; i < count; i++) {
        int result = p[i].start(PYPROF_HEAP_OFF, PYPROF_CAPTURE_AUTO);
        if (result != PYPROF_OK) wrong("plugin %d: %s", i, p[i].error());
    }
    run("busy(0.5)\n");
    for (int i = 0; i < count; i++) {
        long samples = p[i].stop();
        if (samples <= 0) wrong("plugin %d: %ld samples: %s", i, samples, p[i].error());
    }
    return done("%d copies of the profiler sample at a time", count);
}

// ---- unloaded, deleted, replaced --------------------------------------------------------------------------
static void on_disk(const char *what, const char *path)
{
    char next[100];
    snprintf(next, sizeof next, "%s.new", path);
    if (strcmp(what, "unlink") == 0 && unlink(path) != 0) fatal("unlink");
    if (strcmp(what, "replace") != 0) return;
    copied(next);
    if (rename(next, path) != 0) fatal("rename");
}

static void hide_proc(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0) cannot("no right to hide /proc");
}

static int unloaded(char **words)   // keep|unlink|replace|no-proc|newline HEAP CAPTURE stop|go-on
{
    const char *what = words[0], *path = strcmp(what, "newline") == 0 ? "./plug\nin.so" : "./plugin.so";
    int stops = strcmp(words[3], "stop") == 0, result;
    plugin p;
    pid_t pid;
    copied(path);
    python_begins();
    must_load(&p, path);
    on_disk(what, path);
    if (strcmp(what, "no-proc") == 0) hide_proc();
    result = p.start(atoi(words[1]), atoi(words[2]));
    if (result != PYPROF_OK) {
        if (result != PYPROF_ERR_UNSUPPORTED && result != PYPROF_ERR_DENIED && result != PYPROF_ERR_NO_PYTHON)
            wrong("start: %s: %s", pyprof_result_string((pyprof_result)result), p.error());
        return done("refused: %s", p.error());
    }
    run("busy(0.1)\nkept = [[object() for _ in range(100)] for _ in range(100)]\n");
    if (stops && p.stop() < 0) wrong("stop: %s", p.error());
    step("unload");
    dlclose(p.handle);
    run("busy(0.1)\ndel kept\nkept = [[object() for _ in range(100)] for _ in range(100)]\n");
    pid = fork();   // the handlers of fork stay, too
    if (pid == 0) _exit(0);
    if (ended(pid) != 0) wrong("fork after the unload");
    raise(SIGURG);
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("%s, then unloaded", what);
}

// COUNT: load, sample, unload; a plugin that stays loaded comes back with its state
static int reloads(char **words)
{
    long count = atol(words[0]), samples = 0;
    double begin = now();
    int files = 0;
    copied("./plugin.so");
    python_begins();
    python_works();
    for (long i = 0; i < count; i++) {
        plugin p;
        long got;
        step("load %ld", i);
        must_load(&p, "./plugin.so");
        if (p.start(i % 3 == 0 ? PYPROF_HEAP_EXACT : PYPROF_HEAP_OFF, PYPROF_CAPTURE_AUTO) != PYPROF_OK)
            wrong("start: %s", p.error());
        else {
            run("busy(0.005)\n");
            got = p.stop();
            if (got < 0) wrong("stop: %s", p.error());
            samples += got;
        }
        dlclose(p.handle);
        if (i == 1) files = descriptors();
    }
    if (count > 2 && descriptors() > files) wrong("%d descriptors, %d at the begin", descriptors(), files);
    if (!samples) wrong("no samples");
    python_rests();
    return done("%ld loads, %ld samples, in %.0f s", count, samples, now() - begin);
}

// ---- big thread-local memory, two copies by turns ---------------------------------------------------------
static int big_tls(char **words)
{
    plugin p;
    int result;
    long samples;
    (void)words;
    python_begins();
    // The header has a variable that makes all thread-local memory of its plugin static; little fits there
    if (!loaded(&p, getenv("CAMPAIGN_BIG_PLUGIN"))) {
        const char *why = dlerror();
        if (strstr(why, "static TLS")) cannot("a plugin with the header and much memory of threads: %s", why);
        fatal("%s", why);
    }
    result = p.start(PYPROF_HEAP_OFF, PYPROF_CAPTURE_AUTO);
    if (result != PYPROF_OK) fatal("start: %s", p.error());
    run("busy(0.3)\n");
    samples = p.stop();
    if (samples <= 0) wrong("%ld samples: %s", samples, p.error());
    return done("%ld samples beside big thread-local memory", samples);
}

// STEPS SEED CAPTURE: sessions of two copies, with memory or with signals, and tracemalloc
static int two(char **words)
{
    long steps = atol(words[0]), began = 0, busy = 0;
    unsigned seed = (unsigned)atoi(words[1]);
    int capture = atoi(words[2]), on[2] = { 0, 0 };
    plugin p[2];
    python_begins();
    for (int i = 0; i < 2; i++) {
        char path[32];
        snprintf(path, sizeof path, "./two%d.so", i);
        copied(path);
        must_load(&p[i], path);
    }
    run("import tracemalloc\nkept = []\n");
    for (long i = 0; i < steps; i++) {
        unsigned what = below(&seed, 6);
        step("seed %s, step %ld", words[1], i);
        if (what < 2 && on[what]) {
            if (p[what].stop() < 0) wrong("stop: %s", p[what].error());
            on[what] = 0;
        } else if (what < 2) {
            int heap = capture == PYPROF_CAPTURE_SIGNAL ? PYPROF_HEAP_OFF : 1 + (int)below(&seed, 2);
            int result = p[what].start(heap, capture);
            if (result == PYPROF_ERR_BUSY) busy++;
            else if (result != PYPROF_OK) wrong("start: %s", p[what].error());
            else began++, on[what] = 1;
        } else if (what == 2)
            run("tracemalloc.stop() if tracemalloc.is_tracing() else tracemalloc.start(3)\n");
        else if (what == 3)
            run("kept = [bytearray(i) for i in range(300)]\nmore = [[j] for j in range(100)]\n");
        else if (what == 4) { Py_BEGIN_ALLOW_THREADS nap(0.0003 * below(&seed, 20)); Py_END_ALLOW_THREADS }
        else { run("del kept[:]\nbusy(0.003)\n"); if (capture == PYPROF_CAPTURE_SIGNAL) raise(SIGURG); }
    }
    for (int i = 0; i < 2; i++)
        if (on[i]) p[i].stop();
    run("kept = [bytearray(i) for i in range(3000)]\ndel kept\n");
    if (!began) wrong("no session could start");
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("%ld steps: %ld sessions, %ld found it busy", steps, began, busy);
}

const campaign_mode plugin_modes[] = {
    { "many", "COUNT", "any number of copies can be loaded and sample", many },
    { "unloaded", "keep|unlink|replace|no-proc|newline HEAP CAPTURE stop|go-on",
        "pinned, or refused; never called when gone", unloaded },
    { "reloads", "COUNT", "loaded and unloaded again and again", reloads },
    { "big-tls", "", "the sampler's stack bears it", big_tls },
    { "two", "STEPS SEED CAPTURE", "two copies by turns", two },
    { NULL, NULL, NULL, NULL },
};
