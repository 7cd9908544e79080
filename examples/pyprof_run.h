// Commands that pyprof starts, sessions on other processes, signals: what record and top share.
#ifndef PYPROF_RUN_H
#define PYPROF_RUN_H
#include <sys/prctl.h>
#include "pyprof_cli.h"

static double cli_now(void)   // seconds
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#define CLI_ALL_TIME 999999999L   // seconds: the whole time line, as far as max_bytes goes

// ---- signals: they are not handled but waited for ---------------------------------------
static sigset_t cli_waited, cli_mask_before;
static int cli_holds_signals;

static void cli_hold_signals(void)   // before any thread starts
{
    struct sigaction before;
    sigemptyset(&cli_waited);
    sigaddset(&cli_waited, SIGINT);
    sigaddset(&cli_waited, SIGTERM);
    if (sigaction(SIGHUP, NULL, &before) != 0 || before.sa_handler != SIG_IGN) sigaddset(&cli_waited, SIGHUP);   // nohup
    sigaddset(&cli_waited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &cli_waited, &cli_mask_before);
    cli_holds_signals = 1;
}

// Waits until a time for a signal. 0 = none came.
static int cli_wait_signal(double until, siginfo_t *info)
{
    double left = until - cli_now();
    struct timespec time = { 0, 0 };
    int number;
    if (left > 0) {
        time.tv_sec = (time_t)left;
        time.tv_nsec = (long)(1e9 * (left - (double)time.tv_sec));
    }
    number = sigtimedwait(&cli_waited, info, &time);
    return number > 0 ? number : 0;
}

// ---- commands ------------------------------------------------------------------------
struct cli_child {
    pid_t pid;                     // 0 = none
    int ended, status;             // as of a shell: 128 + signal
};

static void cli_run_program(char **program, char **variables, int channel)   // in the child; does not return
{
    int error;
    for (; variables && *variables; variables++) putenv(*variables);
    signal(SIGPIPE, SIG_DFL);
    if (cli_holds_signals) sigprocmask(SIG_SETMASK, &cli_mask_before, NULL);
    execvp(program[0], program);
    error = errno;
    if (write(channel, &error, sizeof error) < 0) _exit(126);
    _exit(error == ENOENT ? 127 : 126);
}

// Starts a command with more variables in its environment ("NAME=VALUE", NULL-terminated, or NULL). Returns an exit
// status: 127 = there is no such command, 126 = it cannot be run.
static int cli_start(char **program, char **variables, struct cli_child *child)
{
    int channel[2], error = 0;
    ssize_t got;
    memset(child, 0, sizeof *child);
    if (pipe2(channel, O_CLOEXEC) != 0) return cli_fail("cannot start %s: %s", program[0], strerror(errno));
    fflush(NULL);
    child->pid = fork();
    if (child->pid == 0) cli_run_program(program, variables, channel[1]);
    close(channel[1]);
    if (child->pid < 0) error = errno;
    else while ((got = read(channel[0], &error, sizeof error)) < 0 && errno == EINTR) {}
    close(channel[0]);
    if (!error) return 0;
    if (child->pid > 0) waitpid(child->pid, NULL, 0);
    child->pid = 0;
    cli_fail("cannot start %s: %s", program[0], strerror(error));
    return error == ENOENT ? 127 : 126;
}

// Has it ended? It stays a zombie until cli_reap, so its pid stays its own.
static int cli_has_ended(struct cli_child *child)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (!child->ended && waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
        child->ended = 1;
        child->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    }
    return child->ended;
}

static void cli_reap(struct cli_child *child)
{
    if (child->pid > 0) waitpid(child->pid, NULL, child->ended ? 0 : WNOHANG);
}

// ---- sessions --------------------------------------------------------------------------
static pyprof_config cli_config(const struct cli_options *options, int64_t pid)
{
    pyprof_config config;
    memset(&config, 0, sizeof config);
    config.pid = pid;
    config.rate_hz = options->rate_hz;
    config.children = options->subprocesses;
    config.native = options->native;
    config.paths = options->paths;
    return config;
}

// pyprof_start. Native stacks are left out where they are not supported.
static pyprof_result cli_session(pyprof_config *config, pyprof **session)
{
    pyprof_result result = pyprof_start(config, session);
    if (result != PYPROF_ERR_UNSUPPORTED || !config->native) return result;
    config->native = 0;
    return pyprof_start(config, session);
}

// A command was started so many seconds ago: may a session on it succeed a little later? Its Python has to start first.
static int cli_too_early(pyprof_result result, double since)
{
    return result == PYPROF_ERR_NO_PYTHON || result == PYPROF_ERR_STATE || result == PYPROF_ERR_BUSY
        || (result == PYPROF_ERR_UNSUPPORTED && since < 0.5);   // a version that is not there yet cannot be read
}

// When to try again: ever later, and the tries may cost half of the time, as a command need not be Python.
static double cli_next_try(double begin, double last)
{
    double now = cli_now(), pause = (now - begin) / 20;
    if (pause > 0.05) pause = 0.05;
    if (pause < now - last) pause = now - last;
    return now + (pause < 0.001 ? 0.001 : pause);
}
#endif
