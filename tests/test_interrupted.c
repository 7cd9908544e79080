// System calls that a signal interrupts: EINTR is no error of a save, or of anything else.
#include "test.h"
#include "inside.h"
#include <sys/file.h>

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

// The program's own functions of these names are called in place of the C library's.
int openat(int folder, const char *path, int flags, ...) { return interrupted() ? -1 : (int)syscall(SYS_openat, folder, path, flags, 0600); }
ssize_t read(int fd, void *to, size_t size) { return interrupted() ? -1 : syscall(SYS_read, fd, to, size); }
ssize_t pread(int fd, void *to, size_t size, off_t offset) { return interrupted() ? -1 : syscall(SYS_pread64, fd, to, size, offset); }
ssize_t write(int fd, const void *from, size_t size) { return interrupted() ? -1 : syscall(SYS_write, fd, from, size); }
int fstat(int fd, struct stat *info) { return interrupted() ? -1 : (int)syscall(SYS_fstat, fd, info); }
int fsync(int fd) { return interrupted() ? -1 : (int)syscall(SYS_fsync, fd); }
int flock(int fd, int operation) { return interrupted() ? -1 : (int)syscall(SYS_flock, fd, operation); }

int fstatat(int folder, const char *path, struct stat *info, int flags)
{
    return interrupted() ? -1 : (int)syscall(SYS_newfstatat, folder, path, info, flags);
}

ssize_t readlinkat(int folder, const char *path, char *to, size_t size)
{
    return interrupted() ? -1 : syscall(SYS_readlinkat, folder, path, to, size);
}

int close(int fd)   // the descriptor is free whatever it says
{
    int result = (int)syscall(SYS_close, fd);
    return interrupted() ? -1 : result;
}

int renameat(int folder, const char *from, int other, const char *to)
{
    if (interrupting == 2) {
        CHECK_INT(syscall(SYS_renameat, folder, from, other, to), 0);
        errno = EINTR;
        return -1;
    }
    return interrupted() ? -1 : (int)syscall(SYS_renameat, folder, from, other, to);
}

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
