// What a thread was running, as the thread itself sees it: a signal at random times, whose handler notes the innermost
// Python code object of its own thread. Nothing moves meanwhile, so this is exact.
// Build: cc -shared -fPIC -O2 -pthread tests/oracle/truth.c -o BUILD/oracle_truth.so
#define _GNU_SOURCE
#define PYPROF_STATIC
#define PYPROF_IMPLEMENTATION
#include "../../pyprof.h"
#include <signal.h>

#define NO 0xffffffffu   // PYPROF__NO, which the header takes back: the version has no such field
#define EXPORT __attribute__((visibility("default")))

enum { TRUTH_MOST = 1 << 20 };
static struct {
    pyprof__layout layout;
    char *thread;                // its PyThreadState
    timer_t timer;
    double mean_ns;
    uint64_t random;
    uint64_t codes[TRUTH_MOST];  // code objects; 0 = none
    volatile size_t count;
} truth;

static uint64_t truth_get(uint64_t address, int *good)   // frames popped a moment ago may lie in memory that is gone
{
    uint64_t value = 0;
    struct iovec to = { &value, sizeof value }, from = { (void *)(uintptr_t)address, sizeof value };
    if (address && process_vm_readv(getpid(), &to, 1, &from, 1, 0) == sizeof value) return value;
    *good = 0;
    return 0;
}

static unsigned truth_byte(uint64_t address, int *good) { return (unsigned)(truth_get(address, good) & 255); }

static int truth_entry(uint64_t frame, int *good)   // does a C eval loop begin with it?
{
    const pyprof__layout *at = &truth.layout;
    if (at->frame_entry != NO) return truth_byte(frame + at->frame_entry, good) != 0;
    return truth_byte(frame + at->frame_owner, good) >= at->owner_shim;
}

// In 3.11 and 3.12 an eval loop that has just begun is linked before it says what it runs: then the loop below tells.
static uint64_t truth_top(int *good)
{
    const pyprof__layout *at = &truth.layout;
    uint64_t loop, below, top = truth_get((uint64_t)(uintptr_t)truth.thread + at->thread_frame, good), frame;
    int steps = 0;
    if (at->cframe_current == NO || !top) return top;
    loop = truth_get(top + at->cframe_previous, good);
    top = truth_get(top + at->cframe_current, good);
    if (!loop) return top;
    below = truth_get(loop + at->cframe_current, good);
    for (frame = top; frame && *good && !truth_entry(frame, good) && steps++ < 1000;)
        frame = truth_get(frame + at->frame_previous, good);
    if (*good && frame && truth_get(frame + at->frame_previous, good) == below) return top;
    *good = 1;
    return below;
}

// The innermost frame that the interpreter itself would show. 0 = none.
static uint64_t truth_code(void)
{
    const pyprof__layout *at = &truth.layout;
    int good = 1;
    uint64_t frame = truth_top(&good), code;
    for (; frame && good; frame = truth_get(frame + at->frame_previous, &good)) {
        if (at->frame_owner != NO && truth_byte(frame + at->frame_owner, &good) >= at->owner_shim) continue;
        code = truth_get(frame + at->frame_code, &good) & ~(uint64_t)3;
        if (!code) continue;
        if (at->code_traceable != NO && at->instr_form == PYPROF__INSTR_POINTER && at->frame_tlbc == NO &&
            truth_byte(frame + at->frame_owner, &good) != at->owner_generator) {
            int64_t place = (int64_t)(truth_get(frame + at->frame_instr, &good) - code - at->code_bytes) / 2;
            if (place < (int32_t)truth_get(code + at->code_traceable, &good)) continue;   // it makes its cells: hidden
        }
        return good ? code : 0;
    }
    return 0;
}

static void truth_again(void)
{
    struct itimerspec next;
    uint64_t wait;
    truth.random = truth.random * 6364136223846793005u + 1442695040888963407u;
    wait = 1000 + (uint64_t)(2 * truth.mean_ns * ((double)(truth.random >> 11) / 9007199254740992.0));
    memset(&next, 0, sizeof next);
    next.it_value.tv_sec = (time_t)(wait / 1000000000u);
    next.it_value.tv_nsec = (long)(wait % 1000000000u);
    timer_settime(truth.timer, 0, &next, NULL);
}

static void truth_handler(int number)
{
    int saved = errno;
    (void)number;
    if (truth.count < TRUTH_MOST) truth.codes[truth.count++] = truth_code();
    truth_again();
    errno = saved;
}

// By the thread that is to be seen, with the GIL. 0 = it runs.
EXPORT int truth_start(unsigned version, int free_threaded, double mean_ns, unsigned long long seed);
int truth_start(unsigned version, int free_threaded, double mean_ns, unsigned long long seed)
{
    char *(*get)(void);
    struct sigaction action;
    struct sigevent event;
    *(void **)&get = dlsym(RTLD_DEFAULT, "PyThreadState_Get");
    if (!get || pyprof__layout_choose(&truth.layout, version, free_threaded, NULL) != PYPROF_OK) return 1;
    truth.thread = get();
    truth.mean_ns = mean_ns;
    truth.random = seed;
    truth.count = 0;
    memset(&action, 0, sizeof action);
    action.sa_handler = truth_handler;
    action.sa_flags = SA_RESTART;
    if (sigaction(SIGPROF, &action, NULL)) return 2;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGPROF;
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, &truth.timer)) return 3;
    truth_again();
    return 0;
}

EXPORT size_t truth_stop(const uint64_t **codes);
size_t truth_stop(const uint64_t **codes)
{
    timer_delete(truth.timer);
    *codes = truth.codes;
    return truth.count;
}
