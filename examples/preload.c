// Shows:  profiling a program that nobody prepared for it.
// Build:  cc -shared -fPIC examples/preload.c -o build/libpyprof.so -pthread -ldl
// Run:    PROFILING=1 LD_PRELOAD=$PWD/build/libpyprof.so python3 app.py
// Prints: the pid at the start, the names of the files at the end: /tmp/app_profile.json, .svg and .txt.
//         PYPROF_OUT=PREFIX puts them elsewhere.
//
// Child processes inherit both variables; those without Python (sh, env, git) start nothing and say nothing.
// os._exit and os.exec* end a program without its exit handlers, so both are caught here and write the files
// first. A signal that kills the program loses the recording.
#define PYPROF_INTERPOSE_MALLOC   // buffers of C extensions are told with the Python line that caused them
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

static struct {
    void (*exit)(int status);
    int (*execv)(const char *path, char *const argv[]);
    int (*execve)(const char *path, char *const argv[], char *const envp[]);
} next;   // what this library stands in front of

static pid_t profiled;   // whose recording it is: not that of a forked child, which shares all else
static pyprof *session;
static clockid_t writer_clock;   // CPU time of the thread that writes
static sem_t leaving;
static atomic_bool written;

// ---- at the start -----------------------------------------------------------------------------------------

// An interpreter shows its C API, be it linked statically or not; a stripped one can only be told by name.
static int is_python(void)
{
    char path[4096];
    if (dlsym(RTLD_DEFAULT, "Py_BytesMain") != NULL || dlsym(RTLD_DEFAULT, "Py_Main") != NULL)
        return 1;
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    path[size > 0 ? size : 0] = '\0';
    const char *slash = strrchr(path, '/');
    return strncmp(slash != NULL ? slash + 1 : path, "python", 6) == 0;
}

static void *write_when_leaving(void *unused)
{
    while (sem_wait(&leaving) != 0) {
    }
    pyprof_stop(session, NULL);   // writes the files, as at exit
    atomic_store(&written, 1);
    return unused;
}

static void resolve(const char *name, void *function)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof symbol);
}

__attribute__((constructor)) static void begin(void)
{
    resolve("_exit", &next.exit);
    resolve("execv", &next.execv);
    resolve("execve", &next.execve);
    if (getenv("PROFILING") == NULL || !is_python() || pyprof_start_from_env(&session) != PYPROF_OK)
        return;   // a reason worth telling has been told
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);   // the program's signals are for the program's threads
    if (sem_init(&leaving, 0, 0) == 0 && pthread_create(&thread, NULL, write_when_leaving, NULL) == 0 &&
        pthread_getcpuclockid(thread, &writer_clock) == 0)
        profiled = getpid();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

// ---- at the end -------------------------------------------------------------------------------------------

// May run in a signal handler, or in a child that vfork lends all memory: so it only asks the thread above to
// write. It waits while that thread gets on; one whose handler interrupted the owner of a lock never would.
static void leave(void)
{
    const struct timespec moment = {0, 1000000};
    struct timespec used = {0, 0}, before = used;
    if (profiled == 0 || getpid() != profiled)
        return;
    sem_post(&leaving);
    for (int idle_ms = 0; idle_ms < 2000 && !atomic_load(&written); idle_ms++) {
        syscall(SYS_nanosleep, &moment, NULL);   // not libc's: that of a program with a faked time is another
        if (syscall(SYS_clock_gettime, writer_clock, &used) == 0 && used.tv_nsec != before.tv_nsec)
            idle_ms = 0;
        before = used;
    }
}

PUBLIC _Noreturn void _exit(int status)
{
    leave();
    if (next.exit != NULL)
        next.exit(status);
    for (;;)
        syscall(SYS_exit_group, status);
}

PUBLIC _Noreturn void _Exit(int status)
{
    _exit(status);
}

// An exec that is bound to fail, as those of a search through PATH, does not end the recording.
PUBLIC int execve(const char *path, char *const argv[], char *const envp[])
{
    if (access(path, X_OK) == 0)
        leave();
    return next.execve != NULL ? next.execve(path, argv, envp) : (int)syscall(SYS_execve, path, argv, envp);
}

PUBLIC int execv(const char *path, char *const argv[])
{
    if (next.execv == NULL)
        return execve(path, argv, environ);
    if (access(path, X_OK) == 0)
        leave();
    return next.execv(path, argv);
}
