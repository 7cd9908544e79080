// Sandboxes and limits: a seccomp filter refuses calls, or ends the thread that makes one; address space,
// descriptors, threads and file sizes run out. The host goes on, and a session that cannot see says so.
#include "campaign.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// ---- filters ----------------------------------------------------------------------------------------------
enum { MOST_CALLS = 12 };
// need: 0 = the host itself makes none of these calls; 1 = it bears a refusal; 2 = not even that
typedef struct { const char *name; int need; long calls[MOST_CALLS]; } call_set;

#ifdef SYS_open
#define OLD_FILE_CALLS SYS_open, SYS_readlink,
#else
#define OLD_FILE_CALLS
#endif

static const call_set sets[] = {   // what the profiler's thread calls, and what its sessions and files need
    { "copies", 0, { SYS_process_vm_writev, SYS_process_vm_readv } },
    { "writev", 0, { SYS_process_vm_writev } },
    { "copies-memfd", 0, { SYS_process_vm_writev, SYS_process_vm_readv, SYS_memfd_create } },
    { "copies-pwritev", 0, { SYS_process_vm_writev, SYS_process_vm_readv, SYS_pwritev, SYS_pwritev2 } },
    { "placement", 0, { SYS_sched_setaffinity, SYS_sched_getaffinity, SYS_sched_setattr, SYS_getcpu,
        SYS_setpriority } },
    { "membarrier", 0, { SYS_membarrier } },
    { "signals", 0, { SYS_tgkill, SYS_rt_tgsigqueueinfo, SYS_perf_event_open } },
    { "proc", 1, { OLD_FILE_CALLS SYS_openat, SYS_readlinkat } },
    { "threads", 1, { SYS_clone, SYS_clone3 } },
    { "mremap", 1, { SYS_mremap, SYS_madvise } },
    { "memory", 2, { SYS_mmap, SYS_mremap } },
    { "reads", 1, { SYS_read, SYS_pread64 } },
    { "clock", 1, { SYS_clock_nanosleep, SYS_nanosleep } },
    { "times", 1, { SYS_clock_gettime, SYS_getrusage, SYS_times } },
    { "sockets", 1, { SYS_socket, SYS_bind, SYS_getsockname, SYS_getpeername } },
    { "names", 1, { SYS_prctl, SYS_sysinfo, SYS_uname } },
    { "stat", 1, { SYS_fstat, SYS_newfstatat, SYS_statx, SYS_mincore } },
    { "close", 1, { SYS_close, SYS_fcntl } },
};

static const call_set *set_named(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (strcmp(sets[i].name, name) == 0) return &sets[i];
    fatal("there is no set %s", name);
    return NULL;
}

static unsigned action_named(const char *name)
{
    if (strcmp(name, "KILL_THREAD") == 0) return SECCOMP_RET_KILL_THREAD;
    if (strcmp(name, "EPERM") == 0) return SECCOMP_RET_ERRNO | EPERM;
    if (strcmp(name, "ENOSYS") == 0) return SECCOMP_RET_ERRNO | ENOSYS;
    fatal("there is no action %s", name);
    return 0;
}

static int filter(const call_set *set, unsigned action, unsigned flags)
{
    struct sock_filter code[2 * MOST_CALLS + 2];
    struct sock_fprog program = { 0, code };
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < MOST_CALLS && (i == 0 || set->calls[i]); i++) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)set->calls[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program.len = n;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

// Under a mere refusal the profiler still has a way to see: another copy, another place to run.
static int sees(const call_set *set, unsigned action)
{
    return action != SECCOMP_RET_KILL_THREAD && set->need == 0 && strncmp(set->name, "copies-", 7) != 0;
}

static void must_filter(const call_set *set, unsigned action)
{
    if (filter(set, action, SECCOMP_FILTER_FLAG_TSYNC) != 0) cannot("no seccomp here: %s", strerror(errno));
}

static const char *refusals(int result)   // NULL = pyprof_start may say so in a sandbox
{
    switch (result) {
    case PYPROF_OK: case PYPROF_ERR_DENIED: case PYPROF_ERR_UNSUPPORTED: case PYPROF_ERR_MEMORY:
    case PYPROF_ERR_NO_PYTHON: case PYPROF_ERR_BUSY: case PYPROF_ERR_BUDGET: return NULL;
    default: return pyprof_result_string((pyprof_result)result);
    }
}

enum { RATE = 1000 };
static const double BUSY_S = 0.3;

// Busy Python, a look at the stats, stop, save. A session that cannot be stopped hangs: run.py sees that.
static void use(pyprof *session, const char *when, int must_see, int may_save)
{
    pyprof_stats before;
    pyprof_profile *profile = NULL;
    int result;
    under_way(session);
    before = stats_of(session);
    run("busy(%f)\nkept = [bytearray(i) for i in range(3000)]\n", BUSY_S);
    honest(session, before, RATE, BUSY_S, when);
    if (must_see && stats_of(session).samples == before.samples)
        wrong("%s: no samples: %s", when, stats_of(session).degraded);
    step("stop");
    result = pyprof_stop(session, &profile);
    if (result != PYPROF_OK && result != PYPROF_ERR_MEMORY) wrong("stop: %s", named(result));
    step("save");
    result = PYPROF_OK;
    if (may_save && profile) result = pyprof_save(profile, "sandbox.json", NULL);
    if (result != PYPROF_OK && result != PYPROF_ERR_IO && result != PYPROF_ERR_MEMORY)
        wrong("save: %s", named(result));
    pyprof_profile_free(profile);
}

// Before|after SET ACTION HEAP: every thread of the process has the filter
static int filtered(char **words)
{
    int after = strcmp(words[0], "after") == 0, result;
    const call_set *set = set_named(words[1]);
    unsigned action = action_named(words[2]);
    pyprof_config c = config(RATE, atoi(words[3]));
    pyprof *session = NULL;
    pyprof_stats before;
    python_begins();
    run("import json, struct, zlib\nbusy(0.01)\n");
    if (!after) must_filter(set, action);
    step("start");
    result = pyprof_start(&c, &session);
    if (refusals(result)) wrong("start: %s", named(result));
    if (!session) return done("start is refused: %s", named(result));
    if (after) {
        under_way(session);
        before = stats_of(session);
        run("busy(%f)\n", BUSY_S);
        honest(session, before, RATE, BUSY_S, "before the filter");
        must_filter(set, action);
    }
    use(session, "under the filter", sees(set, action), action != SECCOMP_RET_KILL_THREAD || !set->need);
    return done("the session ended");
}

// ---- the profiler's thread alone has the filter -----------------------------------------------------------
// It asks the allocator of its session for memory: there it meets the filter.
static struct { const call_set *set; unsigned action; atomic_int wanted, installed; long host; } trap;

static void *trap_alloc(void *user, size_t size)
{
    (void)user;
    if (atomic_load(&trap.wanted) && syscall(SYS_gettid) != trap.host && atomic_exchange(&trap.wanted, 0)) {
        if (filter(trap.set, trap.action, 0) != 0) cannot("no seccomp here");
        atomic_store(&trap.installed, 1);
    }
    return malloc(size);
}

static void trap_free(void *user, void *memory, size_t size) { (void)user, (void)size; free(memory); }

static void until_installed(void)   // new code all the time: the tables of the sampler must grow
{
    double end = now() + 20;
    for (int i = 0; !atomic_load(&trap.installed); i++) {
        if (now() > end) cannot("the profiler's thread asks for no memory");
        run("for i in range(100):\n"
            "    name = 'f_%d_%%d' %% i\n"
            "    text = 'def %%s(): busy(0.001)\\n%%s()\\n' %% (name, name)\n"
            "    exec(compile(text, '/new/%%s.py' %% name, 'exec'))\n", i);
    }
}

// SET ACTION CAPTURE: only the profiler's thread has the filter, after start
static int inner_filter(char **words)
{
    pyprof_config c = config(RATE, PYPROF_HEAP_OFF);
    pyprof *session;
    int result;
    trap.set = set_named(words[0]);
    trap.action = action_named(words[1]);
    trap.host = syscall(SYS_gettid);
    c.capture = atoi(words[2]);
    c.allocator.alloc = trap_alloc;
    c.allocator.free = trap_free;
    python_begins();
    session = started(&c);
    run("busy(0.05)\n");
    atomic_store(&trap.wanted, 1);
    until_installed();
    use(session, "with the filter in the profiler's thread", sees(trap.set, trap.action), 1);
    step("start again");
    c = config(RATE, PYPROF_HEAP_OFF);
    result = pyprof_start(&c, &session);
    if (refusals(result)) wrong("start again: %s", named(result));
    if (result != PYPROF_OK && trap.action != SECCOMP_RET_KILL_THREAD)
        wrong("start again: %s", named(result));
    if (result == PYPROF_OK) use(session, "in the next session", trap.action != SECCOMP_RET_KILL_THREAD, 1);
    return done("the session ended, the next one too");
}

static int list_sets(char **words)
{
    (void)words;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) printf("%s %d\n", sets[i].name, sets[i].need);
    return RIGHT;
}

// ---- limits -----------------------------------------------------------------------------------------------
typedef struct { const char *name; int number; } limit_kind;
static const limit_kind limit_kinds[] = {
    { "as", RLIMIT_AS }, { "data", RLIMIT_DATA }, { "nofile", RLIMIT_NOFILE }, { "fsize", RLIMIT_FSIZE },
    { "nproc", RLIMIT_NPROC }, { "stack", RLIMIT_STACK },
};

static long address_space(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld", &pages) != 1) fatal("/proc/self/statm");
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void set_limit(const char *name, long value)   // as and data: so many KiB more than now
{
    for (size_t i = 0; i < sizeof limit_kinds / sizeof *limit_kinds; i++) {
        int number = limit_kinds[i].number;
        rlim_t most = (rlim_t)(number == RLIMIT_AS || number == RLIMIT_DATA ?
                               address_space() + value * 1024 : value);
        // What it tells goes to a file, too
        struct rlimit limit = { most, number == RLIMIT_FSIZE ? RLIM_INFINITY : most };
        if (strcmp(limit_kinds[i].name, name) != 0) continue;
        if (number == RLIMIT_NPROC) {
            if (geteuid() == 0 && setuid(65534) != 0) cannot("setuid");
        }
        if (setrlimit(number, &limit) != 0) fatal("setrlimit: %s", strerror(errno));
        return;
    }
    fatal("there is no limit %s", name);
}

static int limited(char **words)   // before|after LIMIT VALUE HEAP
{
    int after = strcmp(words[0], "after") == 0, result;
    pyprof_config c = config(RATE, atoi(words[3]));
    pyprof *session = NULL;
    pyprof_stats before;
    pyprof_profile *profile = NULL;
    python_begins();
    run("import json, struct, zlib\nbusy(0.01)\n");
    if (!after) set_limit(words[1], atol(words[2]));
    step("start");
    result = pyprof_start(&c, &session);
    if (refusals(result)) wrong("start: %s", named(result));
    if (!session) return done("start is refused: %s", named(result));
    if (after) set_limit(words[1], atol(words[2]));
    under_way(session);
    before = stats_of(session);
    // Python itself may be out of memory
    PyRun_SimpleString("try:\n"
                       "    busy(0.3)\n"
                       "    kept = [bytearray(i) for i in range(3000)]\n"
                       "except MemoryError: pass\n");
    honest(session, before, RATE, BUSY_S, "under the limit");
    step("stop");
    result = pyprof_stop(session, &profile);
    if (result != PYPROF_OK && result != PYPROF_ERR_MEMORY) wrong("stop: %s", named(result));
    step("save");
    if (profile) result = pyprof_save(profile, "limited.json", NULL);
    if (profile && result != PYPROF_OK && result != PYPROF_ERR_IO && result != PYPROF_ERR_MEMORY)
        wrong("save: %s", named(result));
    pyprof_profile_free(profile);
    if (entries(".", ".pyprof") > 0) wrong("%d temporary files are left", entries(".", ".pyprof"));
    if (result == PYPROF_OK && strcmp(words[1], "fsize") == 0)
        wrong("a file larger than the limit was written");
    files_may_grow();
    return done("the last call gave %s", named(result));
}

const campaign_mode sandbox_modes[] = {
    { "filtered", "before|after SET ACTION HEAP", "the host goes on; no blind session looks perfect",
        filtered },
    { "inner-filter", "SET ACTION CAPTURE", "the same, where only the profiler's thread has the filter",
        inner_filter },
    { "filters", "", "lists the sets of calls, and how much the host needs them", list_sets },
    { "limited", "before|after LIMIT VALUE HEAP", "refused, or recorded, or told", limited },
    { NULL, NULL, NULL, NULL },
};
