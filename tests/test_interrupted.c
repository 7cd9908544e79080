// System calls that a signal interrupts: EINTR is no error of a save, or of anything else.
#include "test.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>

static int interrupting;           // 1: every other call is; 2: every other call is, although its work is done
static long interruptions;

static int interrupted(void)
{
    static long calls;
    if (!interrupting || ++calls % 2 == 0) return 0;
    interruptions++;
    errno = EINTR;
    return 1;
}

static int test_openat(int folder, const char *path, int flags, ...) { return interrupted() ? -1 : openat(folder, path, flags, 0600); }
static ssize_t test_read(int fd, void *to, size_t size) { return interrupted() ? -1 : read(fd, to, size); }
static ssize_t test_pread(int fd, void *to, size_t size, off_t offset) { return interrupted() ? -1 : pread(fd, to, size, offset); }
static ssize_t test_write(int fd, const void *from, size_t size) { return interrupted() ? -1 : write(fd, from, size); }
static int test_fstat(int fd, struct stat *info) { return interrupted() ? -1 : fstat(fd, info); }
static int test_fstatat(int folder, const char *path, struct stat *info, int flags) { return interrupted() ? -1 : fstatat(folder, path, info, flags); }
static int test_fsync(int fd) { return interrupted() ? -1 : fsync(fd); }
static int test_flock(int fd, int operation) { return interrupted() ? -1 : flock(fd, operation); }
static ssize_t test_readlinkat(int folder, const char *path, char *to, size_t size) { return interrupted() ? -1 : readlinkat(folder, path, to, size); }

static int test_close(int fd)   // the descriptor is free whatever it says
{
    int result = close(fd);
    return interrupted() ? -1 : result;
}

static int test_renameat(int folder, const char *from, int other, const char *to)
{
    if (interrupting == 2) {
        CHECK_INT(renameat(folder, from, other, to), 0);
        errno = EINTR;
        return -1;
    }
    return interrupted() ? -1 : renameat(folder, from, other, to);
}

#define openat test_openat
#define read(fd, to, size) test_read(fd, to, size)
#define pread test_pread
#define write test_write
#define fstat test_fstat
#define fstatat test_fstatat
#define fsync test_fsync
#define flock test_flock
#define readlinkat test_readlinkat
#define close test_close
#define renameat test_renameat
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

static void save_interrupted(int how, const char *text)
{
    pyprof__file file;
    char now[100];
    interrupting = how;
    CHECK_INT(pyprof__file_open(&file, "file"), PYPROF_OK);
    CHECK_INT(pyprof__write_all(file.fd, text, strlen(text)), 0);
    if (pyprof__file_close(&file, "file", PYPROF_OK) != PYPROF_OK) test__fail(__FILE__, __LINE__, "%s", pyprof_last_error());
    CHECK_INT(pyprof__read_file(AT_FDCWD, "file", now, sizeof now), (ssize_t)strlen(text));
    CHECK_STR(now, text);
    interrupting = 0;
}

TEST(saves_that_signals_interrupt)
{
    char dir[] = "/tmp/pyprof-test-XXXXXX";
    int i, entries = 0;
    DIR *folder;
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    for (i = 0; i < 10; i++) save_interrupted(1 + i % 2, i % 4 < 2 ? "one" : "another");
    CHECK(interruptions > 10);
    CHECK((folder = opendir(".")) != NULL);
    while (readdir(folder)) entries++;
    closedir(folder);
    CHECK_INT(entries, 3);
}

TEST(reads_that_signals_interrupt)
{
    char text[4096], path[4096];
    pyprof__elf elf;
    pyprof__pool pool;
    interrupting = 1;
    pyprof__pool_init(&pool, NULL, 1 << 26);
    pyprof__proc_use(&pyprof__own_proc);
    CHECK(pyprof__proc_read(&pyprof__own_proc, "statm", text, sizeof text) > 0 && strchr(text, '\n'));
    CHECK(pyprof__proc_link(&pyprof__own_proc, "exe", path, sizeof path));
    CHECK(pyprof__elf_open(&elf, &pool, path));
    CHECK(elf.sections != NULL);
    pyprof__elf_close(&elf);
    CHECK(interruptions > 3);
}

TEST_MAIN
