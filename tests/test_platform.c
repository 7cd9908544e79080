// Files that are whole or not there at all, clocks, and what the kernel tells about threads.
#include "test.h"

#include "inside.h"
#include <sched.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/resource.h>

static int syncs;
int fsync(int fd) { syncs++; return (int)syscall(SYS_fsync, fd); }   // called in place of the C library's

static char dir[64];

static const char *in(const char *name)   // a path in a fresh folder, which becomes the current one
{
    static char path[128];
    if (!dir[0]) {
        strcpy(dir, "/tmp/pyprof-test-XXXXXX");
        CHECK(mkdtemp(dir) && chdir(dir) == 0);
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char *content(const char *path)
{
    static char text[4096];
    CHECK(pyprof__read_file(AT_FDCWD, path, text, sizeof text) >= 0);
    return text;
}

static pyprof_result save(const char *path, const char *text, pyprof_result result)   // result: how writing it goes
{
    pyprof__file file;
    pyprof_result opened = pyprof__file_open(&file, path);
    if (opened != PYPROF_OK) return opened;
    CHECK_INT(pyprof__write_all(file.fd, text, strlen(text)), 0);
    return pyprof__file_close(&file, path, result);
}

static int entries(void)   // of the folder
{
    int count = 0;
    DIR *folder = opendir(dir);
    while (readdir(folder)) count++;
    closedir(folder);
    return count - 2;
}

TEST(file_is_private)
{
    struct stat info;
    umask(0);
    CHECK_INT(save(in("new"), "hello", PYPROF_OK), PYPROF_OK);
    CHECK_STR(content(in("new")), "hello");
    CHECK_INT(stat(in("new"), &info), 0);
    CHECK_INT(info.st_mode, S_IFREG | 0600);
    CHECK_INT(entries(), 1);
}

TEST(file_in_the_current_folder)
{
    in("");
    CHECK_INT(save("here", "hello", PYPROF_OK), PYPROF_OK);
    CHECK_STR(content(in("here")), "hello");
}

TEST(file_replaced_at_once)
{
    struct stat before, after;
    put(in("file"), "old");
    CHECK_INT(stat(in("file"), &before), 0);
    int reader = open(in("file"), O_RDONLY);
    CHECK_INT(save(in("file"), "new", PYPROF_OK), PYPROF_OK);
    char text[8] = "";
    CHECK_INT(read(reader, text, sizeof text), 3);   // who has it open keeps what it was
    CHECK_STR(text, "old");
    CHECK_STR(content(in("file")), "new");
    CHECK_INT(stat(in("file"), &after), 0);
    CHECK(before.st_ino != after.st_ino);
}

TEST(old_file_stays_when_writing_fails)
{
    put(in("file"), "old");
    CHECK_INT(save(in("file"), "half", PYPROF_ERR_IO), PYPROF_ERR_IO);
    CHECK_STR(content(in("file")), "old");
    CHECK_INT(entries(), 1);
}

TEST(only_regular_files_are_replaced)
{
    put(in("target"), "precious");
    CHECK(symlink("target", in("link")) == 0 && symlink("nowhere", in("dangling")) == 0);
    CHECK(mkfifo(in("fifo"), 0600) == 0 && mkdir(in("folder"), 0700) == 0);
    const char *names[] = { "link", "dangling", "fifo", "folder", "folder/", "missing/file", "target/file", "" };
    const char *why[] = { "symbolic link", "symbolic link", "FIFO", "directory", "directory", "No such file", "Not a directory", "directory" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_INT(save(in(names[i]), "new", PYPROF_OK), PYPROF_ERR_IO);
        if (!strstr(pyprof_last_error(), why[i])) printf("%s: %s\n", names[i], pyprof_last_error());
        CHECK(strstr(pyprof_last_error(), why[i]) && strstr(pyprof_last_error(), in(names[i])));
    }
    CHECK_STR(content(in("target")), "precious");
    CHECK_INT(entries(), 5);
}

TEST(names_too_long)
{
    char path[6000];
    memset(path, 'a', sizeof path);
    path[300] = '\0';
    CHECK_INT(save(path, "", PYPROF_OK), PYPROF_ERR_IO);
    path[300] = '/';
    path[sizeof path - 3] = '/';
    path[sizeof path - 1] = '\0';
    CHECK_INT(save(path, "", PYPROF_OK), PYPROF_ERR_IO);
}

// A process that is killed while it saves, with half of the file written. Returns the name of what it left.
static const char *killed_save(const char *path)
{
    static char left[64];
    pyprof__file file;
    int ends[2], status;
    CHECK_INT(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        if (pyprof__file_open(&file, path) != PYPROF_OK || pyprof__write_all(file.fd, "half", 4) != 0) _exit(1);
        if (write(ends[1], file.temporary, sizeof left) != sizeof left) _exit(1);
        kill(getpid(), SIGKILL);
    }
    CHECK_INT(read(ends[0], left, sizeof left), sizeof left);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    close(ends[0]);
    close(ends[1]);
    return left;
}

TEST(killed_saves_leave_nothing_for_long)
{
    char first[64];
    pyprof__file file;
    strcpy(first, killed_save(in("a")));
    CHECK(access(first, F_OK) == 0 && strlen(first) < 50);
    CHECK(strcmp(first, killed_save(in("b"))) != 0);   // which took the first away: one file is left
    CHECK_INT(entries(), 1);
    CHECK_INT(pyprof__file_open(&file, in("c")), PYPROF_OK);
    CHECK_INT(entries(), 1);
    CHECK_INT(save(in("d"), "new", PYPROF_OK), PYPROF_OK);   // what is being written is not taken away
    CHECK_INT(entries(), 2);
    CHECK_INT(pyprof__file_close(&file, in("c"), PYPROF_OK), PYPROF_OK);
    CHECK(access("c", F_OK) == 0 && access("d", F_OK) == 0);
    CHECK_INT(entries(), 2);
}

TEST(only_stale_files_of_ours_are_removed)
{
    static const char tail[] = "-0123456789abcdef.tmp";
    char own[64], other[64], name[128];
    const struct timespec old[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
    snprintf(own, sizeof own, ".pyprof-%08x", (unsigned)pyprof__machine());
    snprintf(other, sizeof other, ".pyprof-%08x", (unsigned)pyprof__machine() ^ 1);
    put(in("precious"), "precious");
    CHECK_INT(chdir(dir), 0);
    const char *kept[] = { "%s-0123456789abcde0.tmp.txt", "%s-0123456789ABCDEF.tmp", "x%s-0123456789abcdef.tmp", "%s-0123456789abcde.tmp", "%s-123.tmp" };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        snprintf(name, sizeof name, kept[i], own);
        put(name, "kept");
    }
    put(".pyprof-1234-1.tmp", "of another version");
    snprintf(name, sizeof name, "%s%s", own, tail);
    CHECK_INT(symlink("precious", name), 0);
    snprintf(name, sizeof name, "%s-1111111111111111.tmp", own);
    CHECK_INT(link("precious", name), 0);
    snprintf(name, sizeof name, "%s-2222222222222222.tmp", own);
    CHECK_INT(mkdir(name, 0700), 0);
    snprintf(name, sizeof name, "%s-3333333333333333.tmp", own);
    CHECK_INT(mkfifo(name, 0600), 0);
    snprintf(name, sizeof name, "%s-4444444444444444.tmp", own);
    put(name, "of another user");
    if (geteuid() == 0) CHECK_INT(chown(name, 12345, 12345), 0);
    else unlink(name);
    snprintf(name, sizeof name, "%s%s", other, tail);
    put(name, "of another machine, maybe being written");
    int before = entries();
    CHECK_INT(save("file", "new", PYPROF_OK), PYPROF_OK);
    CHECK_INT(entries(), before + 1);
    CHECK_INT(utimensat(AT_FDCWD, name, old, 0), 0);
    snprintf(name, sizeof name, "%s-5555555555555555.tmp", own);
    put(name, "of a process that was killed");
    CHECK_INT(save("file", "new", PYPROF_OK), PYPROF_OK);   // takes both away
    CHECK_INT(entries(), before);
    CHECK_STR(content("precious"), "precious");
}

TEST(a_large_folder_is_not_read_whole)
{
    char name[300], text[8192];
    in("");
    for (int i = 0; i < 1600; i++) {
        snprintf(name, sizeof name, "%0250d", i);
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && close(fd) == 0);
    }
    int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), reads = 0, rest = 0;
    while (syscall(SYS_getdents64, folder, text, sizeof text) > 0) reads++;
    CHECK(reads > PYPROF__STALE_READS + 10);
    for (int i = 0; i < 20; i++) {   // where it begins is left to chance
        CHECK_INT(lseek(folder, 0, SEEK_SET), 0);
        pyprof__stale_clean(folder);
        rest += syscall(SYS_getdents64, folder, text, sizeof text) > 0;
    }
    CHECK(rest > 0);
    CHECK_INT(save("file", "new", PYPROF_OK), PYPROF_OK);
}

TEST(a_hundred_planted_names_stop_no_save)
{
    char name[64];
    in("");
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, ".pyprof-%ld-%d.tmp", (long)getpid(), i);
        put(name, "rubbish");
    }
    CHECK_INT(save(in("file"), "new", PYPROF_OK), PYPROF_OK);
    CHECK_STR(content(in("file")), "new");
}

// As filters of system calls do: from now on this call has this error.
static void refuse_call(uint32_t number, uint32_t error)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof rules / sizeof *rules, rules };
    CHECK_INT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) SKIP("no filters of system calls here");
}

TEST(without_locks_nothing_is_taken_for_stale)
{
    pyprof__file file;
    char left[64];
    int status;
    in("");
    pid_t child = fork();
    if (child == 0) {
        refuse_call(SYS_flock, EPERM);
        strcpy(left, killed_save("other"));
        if (save("file", "new", PYPROF_OK) != PYPROF_OK || pyprof__file_open(&file, "more") != PYPROF_OK) _exit(1);
        _exit(access(left, F_OK) != 0 || entries() != 3);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST__SKIPPED) SKIP("no filters of system calls here");
    CHECK_INT(status, 0);
    CHECK_INT(save("file", "new", PYPROF_OK), PYPROF_OK);   // this one has locks: it cannot know
    CHECK_INT(entries(), 3);
}

TEST(numbers_for_names_cannot_be_guessed)
{
    uint64_t a = pyprof__unguessable(), b = pyprof__unguessable();
    CHECK(a != b && a >> 32 != b >> 32);
    refuse_call(SYS_getrandom, ENOSYS);
    a = pyprof__unguessable();
    b = pyprof__unguessable();
    CHECK(a != b && a >> 32 != b >> 32);
}

TEST(hasty_saves_do_not_wait_for_the_disk)
{
    pyprof__file file;
    CHECK_INT(save(in("file"), "old", PYPROF_OK), PYPROF_OK);
    CHECK_INT(syncs, 2);   // of the file and of its folder
    CHECK_INT(pyprof__file_open(&file, in("file")), PYPROF_OK);
    file.hasty = 1;
    CHECK_INT(pyprof__write_all(file.fd, "new", 3), 0);
    CHECK_INT(pyprof__file_close(&file, in("file"), PYPROF_OK), PYPROF_OK);
    CHECK_INT(syncs, 2);
    CHECK_STR(content(in("file")), "new");
}

static pyprof_result write_there(const char *path, const char *text)
{
    pyprof__quiet quiet;
    pyprof__file file;
    pyprof__quiet_begin(&quiet);
    pyprof_result result = pyprof__file_open(&file, path);
    if (result == PYPROF_OK) {
        if (pyprof__file_write(&file, text, strlen(text)) != 0) result = pyprof__fail(PYPROF_ERR_IO, "cannot write %s: %s", path, strerror(errno));
        result = pyprof__file_close(&file, path, result);
    }
    pyprof__quiet_end(&quiet);
    return result;
}

#define REFUSED(path, why) do { \
    CHECK_INT(write_there(path, "x"), PYPROF_ERR_IO); \
    if (!strstr(pyprof_last_error(), path) || !strstr(pyprof_last_error(), why)) CHECK_STR(pyprof_last_error(), path " and " why); \
} while (0)

TEST(pipes_with_a_reader_and_devices)
{
    char text[16] = "";
    in("");
    CHECK(mkfifo("fifo", 0600) == 0 && symlink("/dev/null", "link") == 0 && symlink("fifo", "other") == 0);
    REFUSED("fifo", "no program reads");
    int reader = open("fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    CHECK_INT(write_there("fifo", "through"), PYPROF_OK);
    CHECK_INT(read(reader, text, sizeof text), 7);
    CHECK_STR(text, "through");
    if (geteuid() == 0) {
        CHECK_INT(chown("fifo", 12345, 12345), 0);
        REFUSED("fifo", "another user");
    }
    CHECK_INT(write_there("/dev/null", "nowhere"), PYPROF_OK);
    REFUSED("link", "symbolic link");
    REFUSED("other", "symbolic link");
    REFUSED("/dev/zero", "a device");
    CHECK_INT(entries(), 3);
}

TEST(a_pipe_is_written_whole_even_if_its_reader_is_slow)
{
    enum { SIZE = 300000 };
    static char text[SIZE + 1];
    int status = -1, ended = 0;
    size_t size = 0;
    ssize_t n;
    in("");
    memset(text, 'x', SIZE);
    CHECK_INT(mkfifo("fifo", 0600), 0);
    int reader = open("fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    pid_t child = fork();
    if (child == 0) {
        close(reader);
        _exit(write_there("fifo", text) != PYPROF_OK);
    }
    usleep(50000);
    while ((n = read(reader, text, SIZE)) > 0 || !ended) {
        if (n > 0) size += (size_t)n;
        else if (!(ended = waitpid(child, &status, WNOHANG) == child)) usleep(1000);
    }
    CHECK_INT(status, 0);
    CHECK_INT(size, SIZE);
}

TEST(descriptors_of_the_process)
{
    enum { SIZE = 300000 };
    static char text[SIZE + 1];
    char path[32], got[16] = "";
    int ends[2], status, fd = open(in("log"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_INT(write(fd, "before ", 7), 7);
    CHECK(dup2(fd, 61) == 61);
    CHECK_INT(write_there("/dev/fd/61", "and"), PYPROF_OK);   // where the file is, not at its start
    CHECK_INT(write_there("/proc/self/fd/61", " after"), PYPROF_OK);
    CHECK_STR(content(in("log")), "before and after");
    REFUSED("/dev/fd/62", "no such descriptor");
    CHECK(open("log", O_RDONLY | O_CLOEXEC) >= 0 && dup2(open("log", O_RDONLY | O_CLOEXEC), 62) == 62);
    REFUSED("/dev/fd/62", "for reading only");
    REFUSED("/dev/fd/062", "");
    REFUSED("/dev/fd/", "");
    REFUSED("/dev/stdin", "symbolic link");
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    CHECK_INT(write_there(path, "socket"), PYPROF_OK);
    CHECK_INT(read(ends[1], got, sizeof got), 6);
    int before = dup(1);
    CHECK(dup2(ends[0], 1) == 1);
    pyprof_result result = write_there("/dev/stdout", "stdout");
    dup2(before, 1);
    CHECK_INT(result, PYPROF_OK);
    CHECK_INT(read(ends[1], got, sizeof got), 6);
    CHECK_STR(got, "stdout");
    CHECK(pipe2(ends, O_NONBLOCK) == 0);   // a program that writes to it without waiting
    memset(text, 'x', SIZE);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
    pid_t child = fork();
    if (child == 0) _exit(write_there(path, text) != PYPROF_OK);
    close(ends[1]);
    CHECK_INT(fcntl(ends[0], F_SETFL, 0), 0);
    size_t size = 0;
    usleep(20000);
    for (ssize_t n; (n = read(ends[0], text, SIZE)) > 0;) size += (size_t)n;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    CHECK_INT(size, SIZE);
    CHECK_INT(entries(), 1);
}

TEST(size_limit_is_an_error_not_a_signal)
{
    struct rlimit limit = { 1000, 1000 };
    char big[2000] = { 0 };
    pyprof__quiet quiet;
    pyprof__file file;
    in("");
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
    pyprof__quiet_begin(&quiet);
    CHECK_INT(pyprof__file_open(&file, in("file")), PYPROF_OK);
    CHECK_INT(pyprof__write_all(file.fd, big, sizeof big), -1);
    CHECK_INT(pyprof__file_close(&file, in("file"), PYPROF_ERR_IO), PYPROF_ERR_IO);
    pyprof__quiet_end(&quiet);
    CHECK_INT(entries(), 0);
    int ends[2];
    CHECK_INT(pipe(ends), 0);
    close(ends[0]);
    pyprof__quiet_begin(&quiet);
    CHECK_INT(pyprof__write_all(ends[1], "x", 1), -1);
    pyprof__quiet_end(&quiet);
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    CHECK(!sigismember(&mask, SIGPIPE) && !sigismember(&mask, SIGXFSZ));
}

// ---- the signal that holds a thread --------------------------------------------------------------------------------
static struct sigaction chained[2];
static volatile int urgent[2];

static void chain_to(int i, int number, siginfo_t *info, void *context)
{
    if (++urgent[i] > 1000) _exit(9);   // for ever
    if (chained[i].sa_flags & SA_SIGINFO) chained[i].sa_sigaction(number, info, context);
    else if (chained[i].sa_handler != SIG_DFL && chained[i].sa_handler != SIG_IGN) chained[i].sa_handler(number);
}

static void chain_0(int number, siginfo_t *info, void *context) { chain_to(0, number, info, context); }
static void chain_1(int number, siginfo_t *info, void *context) { chain_to(1, number, info, context); }

static void handle(void (*handler)(int, siginfo_t *, void *), struct sigaction *before)   // as a program does
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    CHECK_INT(sigaction(SIGURG, &action, before), 0);
}

static void urge(int first, int second)   // how often each handler of the program runs
{
    urgent[0] = urgent[1] = 0;
    CHECK_INT(raise(SIGURG), 0);
    CHECK_INT(urgent[0], first);
    CHECK_INT(urgent[1], second);
}

TEST(handlers_that_hand_on_to_ours)
{
    struct sigaction now;
    handle(chain_0, &chained[0]);
    CHECK(pyprof__halt_install());
    urge(1, 0);
    handle(chain_1, &chained[1]);                  // on top of ours
    urge(1, 1);
    for (int i = 0; i < 3; i++) {
        pyprof__halt_uninstall();
        urge(1, 1);
        CHECK(pyprof__halt_install());
        urge(1, 1);
    }
    CHECK_INT(sigaction(SIGURG, &chained[1], NULL), 0);   // the program takes its handler away: ours is on top again
    CHECK(pyprof__halt_is_ours(&now));
    urge(1, 0);
    pyprof__halt_uninstall();
    CHECK(sigaction(SIGURG, NULL, &now) == 0 && now.sa_sigaction == chain_0);
    handle(chain_1, NULL);                         // again, with what it found the first time: ours
    CHECK(pyprof__halt_install());
    for (int i = 0; i < 20; i++) urge(0, 1);
    pyprof__halt_uninstall();
    CHECK(sigaction(SIGURG, NULL, &now) == 0 && now.sa_sigaction == chain_1);
}

TEST(a_handler_that_was_dropped_is_installed_again)
{
    struct sigaction now;
    CHECK(pyprof__halt_install());
    handle(chain_0, &chained[0]);
    pyprof__halt_uninstall();
    CHECK(signal(SIGURG, SIG_DFL) != SIG_ERR);
    CHECK(pyprof__halt_install());
    CHECK(pyprof__halt_is_ours(&now));
    urge(0, 0);
    pyprof__halt_uninstall();
    CHECK(sigaction(SIGURG, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
}

// ---- errors ------------------------------------------------------------------------------------------------------
enum { ERRING = 300 };   // more than there are entries
static pthread_barrier_t all_failed, all_looked;
static const char *own_errors[ERRING];

static void *fails(void *argument)   // argument: its number; those that wait for each other are alive at the same time
{
    int number = *(int *)argument;
    char text[16];
    if (pyprof_last_error()[0]) return NULL;   // a new thread has none
    snprintf(text, sizeof text, "error %d", number);
    pyprof__fail(PYPROF_ERR_BUSY, "%s", text);
    if (number >= 0) pthread_barrier_wait(&all_failed);
    own_errors[number < 0 ? 0 : number] = strcmp(pyprof_last_error(), text) == 0 ? "text" : strdup(pyprof_last_error());
    if (number >= 0) pthread_barrier_wait(&all_looked);
    return NULL;
}

TEST(each_thread_has_its_own_error)
{
    static pthread_t threads[ERRING];
    static int numbers[ERRING];
    int i, named = 0;
    CHECK_STR(pyprof_last_error(), "");
    pyprof__fail(PYPROF_ERR_IO, "mine");
    pthread_barrier_init(&all_failed, NULL, ERRING);
    pthread_barrier_init(&all_looked, NULL, ERRING);
    for (i = 0; i < ERRING; i++) CHECK_INT(pthread_create(&threads[i], NULL, fails, (numbers[i] = i, &numbers[i])), 0);
    for (i = 0; i < ERRING; i++) pthread_join(threads[i], NULL);
    for (i = 0; i < ERRING; i++) {
        if (strcmp(own_errors[i], "text") == 0) continue;
        CHECK_STR(own_errors[i], pyprof_result_string(PYPROF_ERR_BUSY));   // there was no room for its text
        named++;
    }
    CHECK_INT(named, ERRING - (PYPROF__DETAILS - 1));
    CHECK_STR(pyprof_last_error(), "mine");
    for (i = 0; i < ERRING; i++) {   // those have ended: there is room again
        own_errors[0] = "";
        numbers[0] = -1 - i;
        CHECK_INT(pthread_create(&threads[0], NULL, fails, &numbers[0]), 0);
        pthread_join(threads[0], NULL);
        CHECK_STR(own_errors[0], "text");
    }
    CHECK_STR(pyprof_last_error(), "mine");
}

TEST(a_forked_child_keeps_its_last_error)
{
    int status;
    pyprof__fail(PYPROF_ERR_IO, "before the fork");
    pid_t child = fork();
    if (child == 0) {
        if (strcmp(pyprof_last_error(), "before the fork") != 0) _exit(1);
        pyprof__fail(PYPROF_ERR_IO, "of the child");
        _exit(strcmp(pyprof_last_error(), "of the child") != 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    CHECK_STR(pyprof_last_error(), "before the fork");
}

// ---- threads -----------------------------------------------------------------------------------------------------
typedef struct { int64_t tid; char *self; int cpu, fd; volatile int stop, busy; } other;

static void *live(void *argument)
{
    other *o = (other *)argument;
    o->self = (char *)(uintptr_t)pthread_self();
    o->cpu = -1;
    __atomic_store_n(&o->tid, pyprof__gettid(), __ATOMIC_RELEASE);
    while (!__atomic_load_n(&o->stop, __ATOMIC_RELAXED)) {
        if (!__atomic_load_n(&o->busy, __ATOMIC_RELAXED)) usleep(1000);
    }
    return NULL;
}

static pthread_t launch(other *o)
{
    pthread_t thread;
    memset(o, 0, sizeof *o);
    CHECK_INT(pyprof__thread_start(&thread, live, o), 0);
    while (!__atomic_load_n(&o->tid, __ATOMIC_ACQUIRE)) usleep(1000);
    return thread;
}

static void land(pthread_t thread, other *o)
{
    __atomic_store_n(&o->stop, 1, __ATOMIC_RELAXED);
    CHECK_INT(pthread_join(thread, NULL), 0);
}

TEST(thread_cpu_clock)
{
    other o;
    pthread_t thread = launch(&o);
    if (!pyprof__cpu_clock_is_fine()) SKIP("this kernel's thread clocks are coarse");
    uint64_t idle = pyprof__thread_cpu(&pyprof__own_proc, o.tid);
    usleep(50000);
    CHECK(idle > 0 && pyprof__thread_cpu(&pyprof__own_proc, o.tid) - idle < 20000000);
    __atomic_store_n(&o.busy, 1, __ATOMIC_RELAXED);
    uint64_t end = pyprof__now() + 5000000000u;
    while (pyprof__thread_cpu(&pyprof__own_proc, o.tid) - idle < 50000000) CHECK(pyprof__now() < end);
    land(thread, &o);
    while (pyprof__thread_cpu(&pyprof__own_proc, o.tid)) CHECK(pyprof__now() < end);   // gone, soon after the join
}

TEST(threads_of_ours_take_no_signals)
{
    other o;
    char path[64], text[4096];
    pthread_t thread = launch(&o);
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)o.tid);
    CHECK(pyprof__read_file(AT_FDCWD, path, text, sizeof text) > 0);
    char *blocked = strstr(text, "SigBlk:");
    CHECK(blocked != NULL);
    unsigned long long mask = strtoull(blocked + 7, NULL, 16);
    const int signals[] = { SIGINT, SIGTERM, SIGALRM, SIGPROF, SIGUSR1, SIGUSR2, SIGCHLD };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) CHECK(mask >> (signals[i] - 1) & 1);
    sigset_t mine;
    pthread_sigmask(SIG_BLOCK, NULL, &mine);
    CHECK(!sigismember(&mine, SIGINT));
    land(thread, &o);
}

TEST(cpu_word_says_where_a_thread_runs)
{
    int64_t offset = pyprof__cpu_word_offset();
    pyprof__cpus all;
    if (!offset) SKIP("no rseq here");
    CHECK(pyprof__cpus_get(&all));
    for (int cpu = 0, tried = 0; cpu < 1024 && tried < 4; cpu++) {
        if (!pyprof__cpus_has(&all, cpu)) continue;
        CHECK(pyprof__cpus_only(cpu));
        CHECK_INT(*(volatile int32_t *)(void *)((char *)(uintptr_t)pthread_self() + offset), cpu);
        CHECK_INT(pyprof__cpu_from_proc(&pyprof__own_proc, pyprof__gettid()), cpu);
        tried++;
    }
    CHECK(pyprof__cpus_set(&all));
    other o;
    pthread_t thread = launch(&o);
    int32_t there = *(volatile int32_t *)(void *)(o.self + offset);
    CHECK(there >= 0 && pyprof__cpus_has(&all, there));
    land(thread, &o);
}

static void *in_recv(void *arg)
{
    char byte;
    other *o = arg;
    __atomic_store_n(&o->tid, pyprof__gettid(), __ATOMIC_RELEASE);
    while (recv(o->fd, &byte, 1, 0) < 0) {}
    return NULL;
}

static void launch_in_recv(other *o)
{
    pthread_t thread;
    int pair[2];
    memset(o, 0, sizeof *o);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    o->fd = pair[0];
    CHECK_INT(pthread_create(&thread, NULL, in_recv, o), 0);
    while (!__atomic_load_n(&o->tid, __ATOMIC_ACQUIRE)) {}
}

static void blocked(int64_t tid, pyprof__call *call)   // waits until it is
{
    uint64_t end = pyprof__now() + 10 * pyprof__second;
    while (pyprof__call_read(&pyprof__own_proc, tid, call) != PYPROF__CALL_BLOCKED || call->number == -1) CHECK(pyprof__now() < end);
}

TEST(waits_of_a_process_without_rights_are_told_by_name)
{
    pyprof__call call;
    pyprof__wait wait;
    other o;
    pyprof__proc_use(&pyprof__own_proc);
    launch_in_recv(&o);
    blocked(o.tid, &call);
    CHECK_INT(call.number, SYS_recvfrom);
    CHECK(!pyprof__own_proc.lack);
    if (geteuid() == 0) CHECK_INT(setuid(65534), 0);
    CHECK_INT(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), 0);
    blocked(o.tid, &call);
    CHECK_INT(call.number, PYPROF__CALL_BY_NAME);
    memset(&wait, 0, sizeof wait);
    pyprof__wait_name(&wait, call.function);
    CHECK_STR(wait.verb, call.function[0] ? "recv" : "blocked");   // a kernel without names
    CHECK(strstr(pyprof__own_proc.lack, "gave up its rights"));
    CHECK(pyprof__cpu_from_proc(&pyprof__own_proc, o.tid) >= 0 && !pyprof__signal_is_blocked(&pyprof__own_proc, o.tid, SIGURG));
    CHECK(pyprof__resident(&pyprof__own_proc) > 0);
    CHECK_INT(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    blocked(o.tid, &call);
    CHECK_INT(call.number, SYS_recvfrom);
    CHECK_INT(pyprof__call_read(&pyprof__own_proc, 0x7ffffff0, &call), PYPROF__CALL_UNKNOWN);
}

TEST(names_of_kernel_functions)
{
    static const struct { const char *function, *verb; int idle, futex; } known[] = {
        { "futex_do_wait", "futex", 0, 1 }, { "futex_wait_queue_me", "futex", 0, 1 }, { "hrtimer_nanosleep", "sleep", 1, 0 },
        { "poll_schedule_timeout.constprop.0", "poll", 0, 0 }, { "do_wait", "wait child", 0, 0 }, { "do_wait_intr_irq", "read", 0, 0 },
        { "inet_csk_accept", "accept", 1, 0 }, { "ep_poll", "epoll", 1, 0 }, { "wait_woken", "I/O", 0, 0 },
        { "do_sigtimedwait.isra.0", "wait signal", 1, 0 }, { "a_function_of_a_later_kernel", "kernel a_function_of_a_later_ke", 0, 0 },
        { "", "blocked", 0, 0 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        pyprof__wait wait;
        memset(&wait, 0, sizeof wait);
        pyprof__wait_name(&wait, known[i].function);
        CHECK_STR(wait.verb, known[i].verb);
        CHECK_INT(wait.idle, known[i].idle);
        CHECK_INT(wait.some_futex, known[i].futex);
    }
    for (size_t i = 0; i < sizeof pyprof__functions / sizeof *pyprof__functions; i++)
        for (size_t k = 0; k < 5 && pyprof__functions[i].functions[k]; k++)   // none hides behind an earlier row
            CHECK_INT(pyprof__function_find(pyprof__functions[i].functions[k]), i);
}

TEST(the_folder_of_proc_is_kept)
{
    struct stat info;
    char name[256];
    int fd;
    pyprof__proc_use(&pyprof__own_proc);
    fd = pyprof__own_proc.fd;
    CHECK(fd >= PYPROF__PROC_FD && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    close(fd);                                              // a host that closes all descriptors
    CHECK(pyprof__cpu_from_proc(&pyprof__own_proc, pyprof__gettid()) >= 0 && pyprof__proc_is_open(&pyprof__own_proc));
    fd = pyprof__own_proc.fd;
    CHECK_INT(dup2(0, fd), fd);                             // and gets the number for a file of its own
    CHECK(pyprof__cpu_from_proc(&pyprof__own_proc, pyprof__gettid()) >= 0 && pyprof__own_proc.fd != fd && pyprof__proc_is_open(&pyprof__own_proc));
    CHECK_INT(pyprof__own_proc.users, 1);
    pyprof__proc_use(&pyprof__own_proc);
    pyprof__proc_leave(&pyprof__own_proc);
    CHECK(pyprof__proc_is_open(&pyprof__own_proc));
    fd = pyprof__own_proc.fd;
    CHECK_INT(dup2(0, fd), fd);
    pyprof__proc_leave(&pyprof__own_proc);
    CHECK_INT(fstat(fd, &info), 0);                         // not ours to close
    pyprof__proc_use(&pyprof__own_proc);
    fd = pyprof__own_proc.fd;
    pyprof__proc_leave(&pyprof__own_proc);
    CHECK(fstat(fd, &info) != 0);
    CHECK(pyprof__resident(&pyprof__own_proc) > 0);                          // without a descriptor: by its path
    if (geteuid() != 0) SKIP("the rest needs root");
    pyprof__proc_use(&pyprof__own_proc);
    fd = pyprof__own_proc.fd;
    CHECK_INT(chroot(in("")), 0);
    CHECK(pyprof__resident(&pyprof__own_proc) > 0 && pyprof__cpu_from_proc(&pyprof__own_proc, pyprof__gettid()) >= 0 && pyprof__proc_link(&pyprof__own_proc, "exe", name, sizeof name));
    CHECK(strstr(name, "test_platform") && !pyprof__own_proc.lack);
    close(fd);
    CHECK_INT(pyprof__resident(&pyprof__own_proc), 0);
    CHECK(strstr(pyprof__own_proc.lack, "/proc cannot be reached"));
}

TEST(a_forked_child_does_not_read_its_parents_folder)
{
    struct stat info;
    int status, fd;
    pid_t child;
    pyprof__proc_use(&pyprof__own_proc);
    fd = pyprof__own_proc.fd;
    child = fork();
    if (child == 0) {
        pyprof__after_fork();
        int gone = fstat(fd, &info) != 0;
        pyprof__proc_use(&pyprof__own_proc);
        _exit(gone && pyprof__cpu_from_proc(&pyprof__own_proc, pyprof__gettid()) >= 0 && pyprof__cpu_from_proc(&pyprof__own_proc, getppid()) == -1 ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(pyprof__proc_is_open(&pyprof__own_proc));
}

TEST(clocks_are_those_of_the_kernel)
{
    struct timespec libc;
    uint64_t before, after, by_call;
    CHECK(getauxval(AT_SYSINFO_EHDR) == 0 || pyprof__clock_find() != pyprof__clock_call);
    for (int i = 0; i < 2; i++) {
        clockid_t id = i ? CLOCK_REALTIME : CLOCK_MONOTONIC;
        before = pyprof__clock(id);
        CHECK_INT(pyprof__clock_call(id, &libc), 0);
        by_call = (uint64_t)libc.tv_sec * pyprof__second + (uint64_t)libc.tv_nsec;
        after = pyprof__clock(id);
        CHECK(before <= by_call && by_call <= after);
        CHECK_INT(clock_gettime(id, &libc), 0);
        CHECK((uint64_t)libc.tv_sec * pyprof__second + (uint64_t)libc.tv_nsec >= after);
    }
    CHECK_INT(pyprof__clock(12345), 0);
    before = pyprof__now();
    pyprof__nap(3000000);
    CHECK(pyprof__now() - before >= 3000000);
}

TEST(thread_id_in_the_thread_structure)
{
    int64_t offset = pyprof__tid_offset();
    other o;
    CHECK(offset > 0);
    launch(&o);
    CHECK_INT(*(int32_t *)(void *)(o.self + offset), o.tid);
    CHECK_INT(pyprof__cpu_from_proc(&pyprof__own_proc, 0x7ffffff0), -1);
}

typedef struct { pthread_cond_t cond; pthread_mutex_t mutex; int over; } queue;

static void *in_a_queue(void *arg)
{
    queue *q = arg;
    pthread_mutex_lock(&q->mutex);
    while (!q->over) pthread_cond_wait(&q->cond, &q->mutex);
    pthread_mutex_unlock(&q->mutex);
    return NULL;
}

TEST(threads_in_a_queue_are_counted)
{
    uint32_t offset = pyprof__waiters_offset(), count = 0;
    queue q = { PTHREAD_COND_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, 0 };
    pthread_t threads[5];
#ifdef __GLIBC__
    CHECK(offset > 0);
#endif
    if (!offset) SKIP("this C library does not tell");
    for (int i = 0; i < 5; i++) CHECK_INT(pthread_create(&threads[i], NULL, in_a_queue, &q), 0);
    for (int i = 0; i < 5000 && count != 5; i++) {
        usleep(1000);
        count = *(volatile uint32_t *)(void *)((char *)&q.cond + offset) / 8;
    }
    CHECK_INT(count, 5);
    pthread_mutex_lock(&q.mutex);
    q.over = 1;
    pthread_cond_broadcast(&q.cond);
    pthread_mutex_unlock(&q.mutex);
    for (int i = 0; i < 5; i++) pthread_join(threads[i], NULL);
    CHECK_INT(*(volatile uint32_t *)(void *)((char *)&q.cond + offset) / 8, 0);
}

TEST(sleep_ends_at_the_deadline_or_when_woken)
{
    uint32_t word = 5;
    uint64_t before = pyprof__now();
    pyprof__sleep_until(&word, 5, before + 30000000);
    CHECK(pyprof__now() >= before + 30000000);
    before = pyprof__now();
    pyprof__sleep_until(&word, 4, before + 9000000000u);   // already another value
    CHECK(pyprof__now() < before + 5000000000u);
    pyprof__wake(&word);
    CHECK_INT(word, 6);
}

static void *sleeps(void *unused) { for (;;) pause(); return unused; }

TEST(the_place_of_the_thread_id)   // also where that is 1, as other numbers there are
{
    int status;
    pthread_t thread;
    int64_t offset = pyprof__tid_offset();
    CHECK(offset > 0);
    CHECK_INT(*(const int32_t *)(const void *)((const char *)pthread_self() + offset), pyprof__gettid());
    if (unshare(CLONE_NEWPID) != 0) SKIP("a pid namespace cannot be made here");
    pid_t child = fork();
    if (child == 0) {
        CHECK_INT(getpid(), 1);
        CHECK_INT(pthread_create(&thread, NULL, sleeps, NULL), 0);
        _exit(pyprof__tid_offset() == offset ? 0 : 3);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
}

TEST_MAIN
