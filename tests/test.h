// test.h - the test harness: one C file is one program full of tests. Include it first:
//
//     #include "test.h"
//     #include "inside.h"
//
//     TEST(sum) { CHECK(1 < 2); CHECK_INT(1 + 1, 2); CHECK_STR("a", "a"); }
//     TEST_LIMIT(soak, 120) { if (!ready()) SKIP("not ready"); }
//     TEST_MAIN
//
// inside.h declares all that pyprof.h has inside, see inside.py; a test that changes the header by macros of its own
// defines PYPROF_IMPLEMENTATION and includes "../pyprof.h" instead.
//
// Each test runs in a process of its own, which is the program itself started anew: threads and globals are fresh, and a
// crash costs one test. The first check that fails ends the test; what it printed is shown then, and only then.
//     build/test_text [TEXT]          the tests whose "program: name" contains TEXT;  -l lists them
//     build/test_text --run NAME      one test in this very process, for a debugger
// TEST_SLOW=10 in the environment multiplies the time limits, for valgrind and the like.
#ifndef TEST_H
#define TEST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST(name) TEST_LIMIT(name, 60)
#define TEST_LIMIT(name, seconds) \
    static void test__run_##name(void); \
    static test__case test__case_##name = { #name, test__run_##name, seconds, NULL }; \
    __attribute__((constructor)) static void test__register_##name(void) { test__register(&test__case_##name); } \
    static void test__run_##name(void)
#define TEST_MAIN int main(int argc, char **argv) { return test__main(argc, argv); }

#define CHECK(condition) ((condition) ? (void)0 : test__fail(__FILE__, __LINE__, "CHECK(%s)", #condition))
#define CHECK_INT(got, want) test__check_int(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))
#define CHECK_STR(got, want) test__check_str(__FILE__, __LINE__, #got, got, want)
#define SKIP(reason) test__skip(reason)

typedef struct test__case {
    const char *name;
    void (*run)(void);
    double limit_s;
    struct test__case *next;
} test__case;

enum { TEST__SKIPPED = 77, TEST__SHOWN = 16384 };   // exit status; bytes of output shown, the last ones
enum { TEST__PASS, TEST__FAIL, TEST__SKIP };

static test__case *test__first, **test__end = &test__first;

static inline void test__register(test__case *test)
{
    *test__end = test;
    test__end = &test->next;
}

__attribute__((noreturn, format(printf, 3, 4)))
static inline void test__fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(1);
}

static inline void test__check_int(const char *file, int line, const char *what, long long got, long long want)
{
    if (got != want) test__fail(file, line, "%s is %lld, not %lld", what, got, want);
}

static inline void test__check_str(const char *file, int line, const char *what, const char *got, const char *want)
{
    if (got == want || (got && want && !strcmp(got, want))) return;
    test__fail(file, line, "%s is \"%s\", not \"%s\"", what, got ? got : "(NULL)", want ? want : "(NULL)");
}

__attribute__((noreturn))
static inline void test__skip(const char *reason)
{
    printf("%s\n", reason);
    fflush(stdout);
    _exit(TEST__SKIPPED);
}

// make test-long: all that a test can do. With a sanitizer that would take ten times as long: there, the short form.
static inline int test_long(void)
{
    const char *all = getenv("TEST_LONG");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    all = NULL;
#endif
    return all && *all;
}

static inline double test__now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// Becomes the program itself with --run NAME, in a process group of its own, writing to the file output.
__attribute__((noreturn))
static inline void test__exec(const char *name, int output, const sigset_t *mask)
{
    static char program[4096];   // valgrind answers readlink with the right name, but cannot exec /proc/self/exe
    char *const args[] = { program_invocation_name, (char[]){ "--run" }, strdup(name), NULL };
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (dup2(output, 1) >= 0 && dup2(output, 2) >= 0 && readlink("/proc/self/exe", program, sizeof program - 1) > 0)
        execv(program, args);
    _exit(127);
}

// Waits until the process ends or the time is over, and ends whatever it has left running. Returns its status.
static inline int test__wait(pid_t pid, double limit_s, const sigset_t *child_ended, int *late)
{
    siginfo_t info = { 0 };
    double left, deadline = test__now() + limit_s;
    while (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid && (left = deadline - test__now()) > 0) {
        struct timespec timeout = { (time_t)left, (long)(1e9 * (left - (double)(time_t)left)) };
        sigtimedwait(child_ended, NULL, &timeout);
    }
    int status = 0;
    *late = !info.si_pid;
    kill(-pid, SIGKILL);   // not yet reaped: the group cannot be somebody else's
    waitpid(pid, &status, 0);
    return status;
}

// The end of a file as text; the buffer is reused.
static inline char *test__tail(int file)
{
    static char text[TEST__SHOWN + 1];
    off_t size = lseek(file, 0, SEEK_END);
    ssize_t got = pread(file, text, TEST__SHOWN, size > TEST__SHOWN ? size - TEST__SHOWN : 0);
    while (got > 0 && text[got - 1] == '\n') got--;
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static inline int test__report(const char *label, int status, int late, double seconds, char *output)
{
    const char *last = strrchr(output, '\n');
    if (!late && WIFEXITED(status) && WEXITSTATUS(status) == TEST__SKIPPED)
        return printf("skip  %s: %s\n", label, last ? last + 1 : output), TEST__SKIP;
    if (!late && status == 0) return printf("ok    %s (%.2f s)\n", label, seconds), TEST__PASS;
    printf("FAIL  %s (%.2f s)", label, seconds);
    if (late) printf(": still running, killed");
    else if (WIFSIGNALED(status)) printf(": killed by signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 1) printf(": exit status %d", WEXITSTATUS(status));
    printf("\n");
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n")) printf("      %s\n", line);
    return TEST__FAIL;
}

static inline int test__run_once(const test__case *test, const char *label, int again)
{
    const char *slow = getenv("TEST_SLOW");
    sigset_t child_ended, mask;
    FILE *output = tmpfile();
    if (!output) return perror("tmpfile"), TEST__FAIL;
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_ended, &mask);
    double start = test__now();
    pid_t pid = fork();
    if (pid == 0) test__exec(test->name, fileno(output), &mask);
    if (pid < 0) return perror("fork"), TEST__FAIL;
    setpgid(pid, pid);   // both sides do it, so that it is done before either needs it
    int late, status = test__wait(pid, test->limit_s * (slow ? atof(slow) : 1), &child_ended, &late);
    char *said = test__tail(fileno(output));
    int failed = late || (status != 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == TEST__SKIPPED));
    if (again && failed) printf("a try of %s: %s\n", label, said);
    int result = again && failed ? TEST__FAIL : test__report(label, status, late, test__now() - start, said);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    fclose(output);
    return result;
}

// In CI (TEST_AGAIN=2) a test that failed has so many more tries, as in tests/py/bind.py.
static inline int test__run_one(const test__case *test, const char *label)
{
    const char *more = getenv("TEST_AGAIN");
    for (int again = more ? atoi(more) : 0;; again--) {
        int result = test__run_once(test, label, again > 0);
        if (again <= 0 || result != TEST__FAIL) return result;
    }
}

static inline int test__main(int argc, char **argv)
{
    int results[3] = { 0, 0, 0 };
    int list = argc > 1 && !strcmp(argv[1], "-l"), here = argc > 2 && !strcmp(argv[1], "--run");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const test__case *test = test__first; test; test = test->next) {
        char label[256];
        snprintf(label, sizeof label, "%s: %s", program_invocation_short_name, test->name);
        if (here && !strcmp(argv[2], test->name)) return test->run(), 0;
        if (here || (argc > 1 && !list && !strstr(label, argv[1]))) continue;
        if (list) printf("%s\n", label);
        else results[test__run_one(test, label)]++;
    }
    if (here) return fprintf(stderr, "no test %s\n", argv[2]), 2;
    if (!list) printf("%d passed, %d failed, %d skipped\n", results[TEST__PASS], results[TEST__FAIL], results[TEST__SKIP]);
    return results[TEST__FAIL] > 0;
}
#endif
