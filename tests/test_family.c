// The processes below another one: who belongs to a family, and what looking for them costs.
#include "test.h"
#include "inside.h"

static pyprof__family family;

static void family_of(int64_t pid) { CHECK(pyprof__family_open(&family, NULL, pid, 0)); }

static void say(int fd, pid_t pid) { CHECK_INT(write(fd, &pid, sizeof pid), (long long)sizeof pid); }

static pid_t hear(int fd)
{
    pid_t pid = 0;
    CHECK_INT(read(fd, &pid, sizeof pid), (long long)sizeof pid);
    return pid;
}

static int knows(pid_t pid)
{
    const pyprof__descendant *one = pyprof__family_find(&family, pid);
    return one && !one->ended_ns;
}

// Scans until the process is found, or for so long.
static int finds(pid_t pid, double seconds)
{
    double end = test__now() + seconds;
    do {
        pyprof__family_scan(&family, pyprof__now());
        if (knows(pid)) return 1;
        usleep(2000);
    } while (test__now() < end);
    return 0;
}

static pid_t sleeper(void)   // a child that only lives
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); for (;;) pause(); }
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

TEST(children_there_at_the_start_and_later_ones)
{
    pid_t early = sleeper(), late;
    size_t i, count;
    family_of(getpid());
    CHECK(!knows(early));
    CHECK(finds(early, 10));
    late = sleeper();
    CHECK(finds(late, 10));
    count = family.list.count;
    CHECK_INT(count, 3);
    for (i = 0; i < 20; i++) pyprof__family_scan(&family, pyprof__now() + i * 1000000000);   // all processes, again and again
    CHECK_INT(family.list.count, count);
    end(early);
    CHECK(!pyprof__descendant_read(pyprof__family_find(&family, early), pyprof__now()));
    CHECK(pyprof__descendant_read(pyprof__family_find(&family, late), pyprof__now()));
    pyprof__family_tidy(&family, pyprof__now() + 10000000000u);
    CHECK_INT(family.list.count, 2);
    end(late);
    pyprof__family_close(&family);
    CHECK_INT(family.pool.used, 0);
}

static void *wait_for_ever(void *unused) { for (;;) pause(); return unused; }

TEST(threads_are_no_children)
{
    pthread_t threads[5];
    family_of(getpid());
    pyprof__family_scan(&family, pyprof__now());
    for (size_t i = 0; i < 5; i++) CHECK_INT(pthread_create(&threads[i], NULL, wait_for_ever, NULL), 0);
    for (int i = 0; i < 5; i++) pyprof__family_scan(&family, pyprof__now());
    CHECK_INT(family.list.count, 1);
}

TEST(strangers_are_no_children)
{
    pid_t root = sleeper(), sibling = sleeper();   // forked by the same parent: with the same image
    family_of(root);
    for (int i = 0; i < 5; i++) pyprof__family_scan(&family, pyprof__now());
    CHECK_INT(family.list.count, 1);
    CHECK(family.shared_image != 0);
    end(sibling);
    end(root);
}

// The program itself with another task, as a child that executed a program: "daemon" forks twice, a moment apart.
static pid_t child_of(const char *name, int output)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", output);
        setenv("TEST_OUTPUT", number, 1);
        execl("/proc/self/exe", "test_family", "--run", name, (char *)NULL);
        _exit(1);
    }
    return pid;
}

static int output(void)   // of such a child; -1 = this is a test like others
{
    return getenv("TEST_OUTPUT") ? atoi(getenv("TEST_OUTPUT")) : -1;
}

static void daemon_of(void (*between)(void), int pause_us)
{
    pid_t pid = fork();
    if (pid == 0) {
        between();
        usleep((useconds_t)pause_us);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, 0);
            usleep(100000);                      // until it has another parent
            say(output(), getpid());
            sleep(30);
        }
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    sleep(30);
}

static void nothing(void) {}
static void own_session(void) { setsid(); }

static void finds_daemon(const char *name)
{
    int ends[2];
    pid_t root, found;
    CHECK_INT(pipe(ends), 0);
    root = child_of(name, ends[1]);
    usleep(20000);
    family_of(root);
    for (int i = 0; i < 10; i++) { pyprof__family_scan(&family, pyprof__now()); usleep(10000); }
    found = hear(ends[0]);
    CHECK(finds(found, 5));
    kill(found, SIGKILL);
    end(root);
}

TEST(daemon_quick)
{
    if (output() >= 0) { daemon_of(nothing, 0); return; }
    if (!pyprof__images_differ(getpid())) SKIP("programs lie at fixed places: a daemon has nothing of its family");
    finds_daemon("daemon_quick");
}
TEST(daemon_slow) { if (output() >= 0) daemon_of(own_session, 50000); else finds_daemon("daemon_slow"); }

TEST(exec_is_the_same_process)
{
    int ends[2];
    pid_t child;
    CHECK_INT(pipe(ends), 0);
    family_of(getpid());
    pyprof__family_scan(&family, pyprof__now());
    child = fork();
    if (child == 0) {
        char byte;
        CHECK_INT(read(ends[0], &byte, 1), 1);
        execl("/bin/sleep", "sleep", "30", (char *)NULL);
        _exit(1);
    }
    CHECK(finds(child, 10));
    pyprof__descendant *one = pyprof__family_find(&family, child);
    uint64_t image = one->line.image;
    CHECK(image == pyprof__family_at(&family, 0)->line.image);
    CHECK_INT(pyprof__same_memory(getpid(), child) > 0, 0);
    CHECK_INT(write(ends[1], "x", 1), 1);
    for (int i = 0; i < 5000 && one->line.image == image; i++) {
        usleep(1000);
        CHECK(pyprof__descendant_read(one, pyprof__now()));
    }
    CHECK(one->line.image != image);
    for (int i = 0; i < 15; i++) pyprof__family_scan(&family, pyprof__now() + (uint64_t)i * 1000000000);
    CHECK_INT(family.list.count, 2);
    end(child);
}

// What a second of following 100 processes costs: prints it.
TEST(cost_of_a_hundred)
{
    pid_t pids[100];
    struct timespec now;
    double begin;
    for (int i = 0; i < 100; i++) pids[i] = sleeper();
    family_of(getpid());
    CHECK(finds(pids[99], 10));
    CHECK_INT(family.list.count, 101);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    begin = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    for (int i = 0; i < 1000; i++) pyprof__family_scan(&family, pyprof__now());
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    printf("%.2f us a scan\n", 1e3 * ((double)now.tv_sec + 1e-9 * (double)now.tv_nsec - begin));
    for (int i = 0; i < 100; i++) end(pids[i]);
}

TEST_MAIN
