// LD_PRELOAD=libcampaign_shim.so: calls of libc that come from libpyprof_campaign.so fail on purpose. Those
// of Python and of the host go through: what is tried is the profiler, not they. Used by the modes of
// faults.c.
#define _GNU_SOURCE
#include "shim.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int armed = SHIM_NONE, manner;
static atomic_long count, first, last;          // the calls that fail: from first to last
static atomic_ulong refused;                    // kinds that fail always, whatever is armed
static uintptr_t begin, end;                    // where the profiler's code is

static int find_profiler(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    if (!info->dlpi_name || !strstr(info->dlpi_name, "libpyprof_campaign")) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, to = from + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        if (!begin || from < begin) begin = from;
        if (to > end) end = to;
    }
    return 1;
}

__attribute__((constructor)) static void find(void) { dl_iterate_phdr(find_profiler, NULL); }

void shim_arm(int kind, long from, long to, int how)
{
    atomic_store(&armed, SHIM_NONE);
    atomic_store(&count, 0);
    atomic_store(&first, from);
    atomic_store(&last, to);
    atomic_store(&manner, how);
    atomic_store(&armed, kind);
}

void shim_refuse(unsigned long kinds) { atomic_store(&refused, kinds); }

long shim_disarm(void)
{
    atomic_store(&armed, SHIM_NONE);
    return atomic_load(&count);
}

static int fails(int kind, const void *caller)
{
    long n;
    if ((uintptr_t)caller < begin || (uintptr_t)caller >= end) return 0;
    if (atomic_load(&refused) >> kind & 1) return 1;
    if (atomic_load(&armed) != kind) return 0;
    n = atomic_fetch_add(&count, 1) + 1;
    return n >= atomic_load(&first) && n <= atomic_load(&last);
}

static int reason(int otherwise)
{
    switch (atomic_load(&manner)) {
    case SHIM_EINTR: return EINTR;
    case SHIM_QUOTA: return EDQUOT;
    case SHIM_READ_ONLY: return EROFS;
    default: return otherwise;
    }
}

#define CALLER __builtin_return_address(0)
#define FAIL(kind, error) do { if (fails(kind, CALLER)) { errno = reason(error); return -1; } } while (0)
#define FAIL_POINTER(kind, what) do { if (fails(kind, CALLER)) { errno = ENOMEM; return what; } } while (0)
#define REAL(name) static __typeof__(name) *real; if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)
#define MODE_OF(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

// ---- memory and threads -----------------------------------------------------------------------------------
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

void *malloc(size_t size) { FAIL_POINTER(SHIM_MALLOC, NULL); return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { FAIL_POINTER(SHIM_MALLOC, NULL); return __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { FAIL_POINTER(SHIM_MALLOC, NULL); return __libc_realloc(old, size); }

void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    FAIL_POINTER(SHIM_MMAP, (void *)-1);
    return (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*begins)(void *),
                   void *argument)
{
    REAL(pthread_create);
    if (fails(SHIM_PTHREAD_CREATE, CALLER)) return EAGAIN;
    return real(thread, attributes, begins, argument);
}

// ---- files ------------------------------------------------------------------------------------------------
int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode);
    FAIL(SHIM_OPEN, EMFILE);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags, mode);
    FAIL(SHIM_OPEN, EMFILE);
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

ssize_t read(int file, void *to, size_t size)
{
    REAL(read);
    FAIL(SHIM_READ, EIO);
    return real(file, to, size);
}

ssize_t pread(int file, void *to, size_t size, off_t at)
{
    REAL(pread);
    FAIL(SHIM_READ, EIO);
    return real(file, to, size, at);
}

ssize_t write(int file, const void *from, size_t size)
{
    REAL(write);
    if (atomic_load(&manner) == SHIM_SHORT)
        return real(file, from, size && fails(SHIM_WRITE, CALLER) ? 1 : size);
    FAIL(SHIM_WRITE, ENOSPC);
    return real(file, from, size);
}

int fsync(int file) { REAL(fsync); FAIL(SHIM_FSYNC, EIO); return real(file); }

int renameat(int from, const char *old, int to, const char *new)
{
    REAL(renameat);
    FAIL(SHIM_RENAME, EIO);
    return real(from, old, to, new);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat);
    FAIL(SHIM_UNLINK, EIO);
    return real(folder, path, flags);
}

int close(int file)   // has closed it whatever it says: as Linux does
{
    REAL(close);
    if (fails(SHIM_CLOSE, CALLER)) { real(file); errno = reason(EIO); return -1; }
    return real(file);
}

int fstat(int file, struct stat *to) { REAL(fstat); FAIL(SHIM_STAT, EIO); return real(file, to); }
int stat(const char *path, struct stat *to) { REAL(stat); FAIL(SHIM_STAT, EIO); return real(path, to); }
int lstat(const char *path, struct stat *to) { REAL(lstat); FAIL(SHIM_STAT, EIO); return real(path, to); }

int fstatat(int folder, const char *path, struct stat *to, int flags)
{
    REAL(fstatat);
    FAIL(SHIM_STAT, EIO);
    return real(folder, path, to, flags);
}

ssize_t readlinkat(int folder, const char *path, char *to, size_t size)
{
    REAL(readlinkat);
    FAIL(SHIM_READLINK, EACCES);
    return real(folder, path, to, size);
}

ssize_t pwritev(int file, const struct iovec *from, int pieces, off_t at)
{
    REAL(pwritev);
    FAIL(SHIM_PWRITEV, ENOSPC);
    return real(file, from, pieces, at);
}

// ---- calls that the profiler makes by number --------------------------------------------------------------
static const struct { long number; int kind, error; } by_number[] = {
    { SYS_mmap, SHIM_MMAP, ENOMEM }, { SYS_mremap, SHIM_MREMAP, ENOMEM },
        { SYS_madvise, SHIM_MADVISE, ENOMEM },
    { SYS_process_vm_writev, SHIM_VM_WRITEV, EPERM }, { SYS_process_vm_readv, SHIM_VM_READV, EPERM },
    { SYS_memfd_create, SHIM_MEMFD, ENOSYS }, { SYS_sched_setaffinity, SHIM_AFFINITY, EPERM },
    { SYS_sched_getaffinity, SHIM_AFFINITY, EPERM }, { SYS_membarrier, SHIM_MEMBARRIER, ENOSYS },
    { SYS_statx, SHIM_STAT, ENOSYS }, { SYS_rt_tgsigqueueinfo, SHIM_SIGQUEUE, EAGAIN },
};

static long real_syscall(long n, long a, long b, long c, long d, long e, long f)
{
    static long (*real)(long, ...);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(n, a, b, c, d, e, f);
}

long syscall(long n, ...)
{
    const void *caller = CALLER;
    long word[6], result;
    va_list list;
    va_start(list, n);
    for (int i = 0; i < 6; i++) word[i] = va_arg(list, long);
    va_end(list);
    for (size_t i = 0; i < sizeof by_number / sizeof *by_number; i++)
        if (by_number[i].number == n && !(n == SYS_process_vm_writev && atomic_load(&manner) == SHIM_SHORT) &&
            fails(by_number[i].kind, caller)) {
            errno = by_number[i].error;
            return -1;
        }
    result = real_syscall(n, word[0], word[1], word[2], word[3], word[4], word[5]);
    if (n == SYS_process_vm_writev && atomic_load(&manner) == SHIM_SHORT && result > 1 &&
        fails(SHIM_VM_WRITEV, caller))
        return result / 2;
    return result;
}
