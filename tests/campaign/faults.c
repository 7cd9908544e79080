// Every call that can fail does so: the first, the second ... the last of its kind, once and for ever, while
// a scenario uses all of the API. SQLite is tested like this. Needs LD_PRELOAD=libcampaign_shim.so.
#include "campaign.h"
#include "shim.h"
#include <dlfcn.h>
#include <limits.h>
#include <sys/stat.h>

enum { STEPS = 11, FOR_EVER = 1, RESULTS = PYPROF_ERR_BUDGET + 1 };
enum { START, STATS, SNAPSHOT, SAVE_SNAPSHOT, PAUSE, STOP, FIRST_SAVE };

// -1: was not reached; unnamed: failed and gave no reason
typedef struct { int result[STEPS]; int unnamed; } outcome;

static const char *const step_names[STEPS] = { "start", "get_stats", "snapshot", "save of the snapshot",
    "pause and resume",
    "stop", "save .json", "save .svg", "save .pb.gz", "save .pkl", "save .txt" };
static const char *const outputs[] = { "out/b.json", "out/b.svg", "out/b.pb.gz", "out/b.pkl", "out/b.txt" };

// refused: kinds that fail always, so that the profiler comes to this one
typedef struct { const char *name; int kind, manner, capture; unsigned long refused; } fault_kind;
enum { NO_COPIES = 1 << SHIM_VM_WRITEV | 1 << SHIM_VM_READV };

static const fault_kind kinds[] = {
    { "malloc", SHIM_MALLOC, SHIM_ERROR, 0, 0 },
    { "mmap", SHIM_MMAP, SHIM_ERROR, 0, 0 },
    { "mremap", SHIM_MREMAP, SHIM_ERROR, 0, 0 },
    { "madvise", SHIM_MADVISE, SHIM_ERROR, 0, 0 },
    { "pthread_create", SHIM_PTHREAD_CREATE, SHIM_ERROR, 0, 0 },
    { "open", SHIM_OPEN, SHIM_ERROR, 0, 0 },
    { "open-eintr", SHIM_OPEN, SHIM_EINTR, 0, 0 },
    { "open-readonly", SHIM_OPEN, SHIM_READ_ONLY, 0, 0 },
    { "read", SHIM_READ, SHIM_ERROR, 0, 0 },
    { "read-eintr", SHIM_READ, SHIM_EINTR, 0, 0 },
    { "write", SHIM_WRITE, SHIM_ERROR, 0, 0 },
    { "write-eintr", SHIM_WRITE, SHIM_EINTR, 0, 0 },
    { "write-short", SHIM_WRITE, SHIM_SHORT, 0, 0 },
    { "write-quota", SHIM_WRITE, SHIM_QUOTA, 0, 0 },
    { "fsync", SHIM_FSYNC, SHIM_ERROR, 0, 0 },
    { "fsync-eintr", SHIM_FSYNC, SHIM_EINTR, 0, 0 },
    { "rename", SHIM_RENAME, SHIM_ERROR, 0, 0 },
    { "unlink", SHIM_UNLINK, SHIM_ERROR, 0, 1 << SHIM_RENAME },
    { "close", SHIM_CLOSE, SHIM_ERROR, 0, 0 },
    { "close-eintr", SHIM_CLOSE, SHIM_EINTR, 0, 0 },
    { "stat", SHIM_STAT, SHIM_ERROR, 0, 0 },
    { "readlink", SHIM_READLINK, SHIM_ERROR, 0, 0 },
    { "process_vm_writev", SHIM_VM_WRITEV, SHIM_ERROR, 0, 0 },
    { "process_vm_writev-short", SHIM_VM_WRITEV, SHIM_SHORT, 0, 0 },
    { "process_vm_readv", SHIM_VM_READV, SHIM_ERROR, 0, 1 << SHIM_VM_WRITEV },
    { "memfd_create", SHIM_MEMFD, SHIM_ERROR, 0, NO_COPIES },
    { "pwritev", SHIM_PWRITEV, SHIM_ERROR, 0, NO_COPIES },
    { "affinity", SHIM_AFFINITY, SHIM_ERROR, 0, 0 },
    { "membarrier", SHIM_MEMBARRIER, SHIM_ERROR, 0, 0 },
    { "sigqueue", SHIM_SIGQUEUE, SHIM_ERROR, PYPROF_CAPTURE_SIGNAL, 0 },
};

static void (*arm)(int, long, long, int);
static long (*disarm)(void);
static void (*refuse)(unsigned long);

static void note(outcome *o, int at, int result)
{
    o->result[at] = result;
    o->unnamed += result != PYPROF_OK && !*pyprof_last_error();
}

static void many_blocks(void)   // so many that the tables of memory must grow
{
    enum { BLOCKS = 400000 };
    static void *kept[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) kept[i] = PyMem_RawMalloc(16);
    for (int i = 0; i < BLOCKS; i++) PyMem_RawFree(kept[i]);
}

static void runs_python(void)   // a thread that runs must be held by a signal to be read
{
    PyGILState_STATE gil = PyGILState_Ensure();
    run("busy(0.02)\n");
    PyGILState_Release(gil);
}

static outcome scenario(const fault_kind *kind, double seconds)
{
    pyprof_config c = config(2000, PYPROF_HEAP_EXACT);
    pyprof *session = NULL;
    pyprof_profile *early = NULL, *late = NULL;
    pyprof_stats stats;
    outcome o;
    o.unnamed = 0;
    for (int i = 0; i < STEPS; i++) o.result[i] = -1;
    c.capture = kind->capture;
    note(&o, START, pyprof_start(&c, &session));
    if (kind->kind == SHIM_MREMAP) many_blocks();
    if (kind->capture == PYPROF_CAPTURE_SIGNAL) runs_python();
    nap(seconds);
    if (session) {
        note(&o, STATS, pyprof_get_stats(session, &stats));
        note(&o, SNAPSHOT, pyprof_snapshot(session, NULL, &early));
        if (early) note(&o, SAVE_SNAPSHOT, pyprof_save(early, "out/a.json", NULL));
        note(&o, PAUSE, pyprof_pause(session) || pyprof_resume(session));
        note(&o, STOP, pyprof_stop(session, &late));
    }
    for (int i = 0; late && i < STEPS - FIRST_SAVE; i++)
        note(&o, FIRST_SAVE + i, pyprof_save(late, outputs[i], NULL));
    pyprof_profile_free(early);
    pyprof_profile_free(late);
    return o;
}

// NULL = every result is one that the API names
static const char *unexpected(const outcome *o, int must_succeed)
{
    static char text[200];
    for (int i = 0; i < STEPS; i++) {
        int r = o->result[i];
        int allowed = r <= PYPROF_OK || (!must_succeed && (r == PYPROF_ERR_MEMORY || r == PYPROF_ERR_BUDGET ||
            (i == START && (r == PYPROF_ERR_DENIED || r == PYPROF_ERR_UNSUPPORTED ||
                            r == PYPROF_ERR_NO_PYTHON ||
                            r == PYPROF_ERR_BUSY)) ||
            ((i == SAVE_SNAPSHOT || i >= FIRST_SAVE) && r == PYPROF_ERR_IO)));
        if (allowed) continue;
        snprintf(text, sizeof text, "%s gave %s", step_names[i], pyprof_result_string((pyprof_result)r));
        return text;
    }
    return NULL;
}

static void files_are_whole(void)
{
    whole("out/a.json", 0);
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) whole(outputs[i], 0);
}

typedef struct { long tried, failed, failures[RESULTS]; int descriptors, tasks; } tally;

static void judge(const fault_kind *kind, const outcome *o, int must_succeed, tally *t)
{
    const char *why = unexpected(o, must_succeed);
    int failed = 0;
    if (why) wrong("%s", why);
    if (o->unnamed) wrong("%d calls failed and pyprof_last_error is empty", o->unnamed);
    for (int i = 0; i < STEPS; i++)
        if (o->result[i] > 0 && o->result[i] < RESULTS) t->failures[o->result[i]]++, failed = 1;
    t->failed += failed;
    if (kind->kind != SHIM_UNLINK && entries("out", ".pyprof") > 0) {
        wrong("%d temporary files are left", entries("out", ".pyprof"));
        if (system("rm -f out/.pyprof*") != 0) fatal("rm");
    }
    if (descriptors() != t->descriptors || tasks() != t->tasks) settled(t->descriptors, t->tasks);
    t->descriptors = descriptors(), t->tasks = tasks();   // what was told is not told again
}

static void one(const fault_kind *kind, long from, long to, int with_gil, tally *t)
{
    PyGILState_STATE gil = PyGILState_UNLOCKED;
    outcome o;
    if (with_gil) gil = PyGILState_Ensure();
    arm(kind->kind, from, to, kind->manner);
    o = scenario(kind, 0.004);
    disarm();
    if (with_gil) PyGILState_Release(gil);
    judge(kind, &o, kind->manner == SHIM_EINTR || (kind->manner == SHIM_SHORT &&
                                                   (kind->kind == SHIM_WRITE || to == from)), t);
    if (++t->tried % 5 == 0) files_are_whole();
    if (t->tried % 7 == 0) {   // and afterwards everything works
        refuse(0);
        o = scenario(kind, 0.004);
        judge(kind, &o, 1, t);
        refuse(kind->refused);
    }
}

// EINTR ends: a signal is over some time
static long to_last(const fault_kind *kind, long from, int for_ever)
{
    if (kind->manner == SHIM_EINTR) return for_ever ? from + 2 : from;
    return for_ever ? LONG_MAX : from;
}

// What a scenario cannot do without: if no call of it ever was refused, the shim does not work.
static int must_hurt(const fault_kind *kind)
{
    return kind->manner == SHIM_ERROR && (kind->kind == SHIM_MALLOC || kind->kind == SHIM_PTHREAD_CREATE ||
        kind->kind == SHIM_OPEN || kind->kind == SHIM_WRITE || kind->kind == SHIM_FSYNC ||
            kind->kind == SHIM_RENAME);
}

static void try_all(const fault_kind *kind, long most, tally *t)
{
    long calls, stride;
    PyGILState_STATE gil = PyGILState_Ensure();   // then the hooks of memory go in at once
    arm(kind->kind, 0, 0, kind->manner);
    scenario(kind, 0.006);
    calls = disarm();
    PyGILState_Release(gil);
    stride = calls / most + 1;
    for (int for_ever = 0; for_ever <= FOR_EVER; for_ever++)
        for (long n = 1; n <= calls + 1; n += n < 30 ? 1 : stride) {
            step("%s: call %ld of %ld fails%s", kind->name, n, calls, for_ever ? ", and all after it" : "");
            one(kind, n, to_last(kind, n, for_ever), (int)(n & 1), t);
        }
    if (!calls) cannot("the profiler makes no such call here");
    if (must_hurt(kind) && !t->failed) wrong("no result shows any of the faults");
}

static const fault_kind *kind_named(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    fatal("there is no kind %s", name);
    return NULL;
}

static int faults(char **words)   // KIND MOST
{
    const fault_kind *kind = kind_named(words[0]);
    char failures[300] = "";
    tally t;
    PyThreadState *main_state;
    *(void **)&arm = dlsym(RTLD_DEFAULT, "shim_arm");
    *(void **)&disarm = dlsym(RTLD_DEFAULT, "shim_disarm");
    *(void **)&refuse = dlsym(RTLD_DEFAULT, "shim_refuse");
    if (!arm || !disarm || !refuse) fatal("LD_PRELOAD has no shim");
    memset(&t, 0, sizeof t);
    python_begins();
    python_works();
    main_state = PyEval_SaveThread();
    mkdir("out", 0755);
    for (int i = 0; i < 2; i++) {
        outcome o = scenario(kind, 0.01);
        if (unexpected(&o, 1)) fatal("without any fault: %s", unexpected(&o, 1));
    }
    t.descriptors = descriptors(), t.tasks = tasks();
    refuse(kind->refused);
    try_all(kind, atol(words[1]), &t);
    refuse(0);
    files_are_whole();
    PyEval_RestoreThread(main_state);
    python_rests();
    for (int i = 1; i < RESULTS; i++)
        if (t.failures[i])
            snprintf(failures + strlen(failures), sizeof failures - strlen(failures), ", %ld %s",
                     t.failures[i],
                     pyprof_result_string((pyprof_result)i));
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("%ld scenarios, %ld had an error%s", t.tried, t.failed, failures);
}

static int fault_kinds(char **words)
{
    (void)words;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) printf("%s\n", kinds[i].name);
    return RIGHT;
}

const campaign_mode faults_modes[] = {
    { "faults", "KIND MOST", "errors are told, files stay whole, nothing is left, afterwards all works",
        faults },
    { "kinds", "", "lists the kinds of faults", fault_kinds },
    { NULL, NULL, NULL, NULL },
};
