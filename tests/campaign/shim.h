// What faults.c asks of shim.c: which calls of the profiler fail, and how.
#ifndef CAMPAIGN_SHIM_H
#define CAMPAIGN_SHIM_H

enum {   // the kinds of calls
    SHIM_NONE = -1, SHIM_MALLOC, SHIM_MMAP, SHIM_MREMAP, SHIM_MADVISE, SHIM_PTHREAD_CREATE, SHIM_OPEN,
    SHIM_READ, SHIM_WRITE, SHIM_FSYNC, SHIM_RENAME, SHIM_UNLINK, SHIM_CLOSE, SHIM_STAT, SHIM_READLINK,
    SHIM_PWRITEV, SHIM_VM_WRITEV, SHIM_VM_READV, SHIM_MEMFD, SHIM_AFFINITY, SHIM_MEMBARRIER, SHIM_SIGQUEUE
};

enum {   // the manners of failing
    SHIM_ERROR,       // the error that is usual for the call
    SHIM_SHORT,       // write takes one byte; process_vm_writev half of what it was given
    SHIM_EINTR, SHIM_QUOTA, SHIM_READ_ONLY
};

// From now on the calls of this kind are counted, and those from the `from`th to the `to`th fail; 0, 0: none
// does.
void shim_arm(int kind, long from, long to, int how);
long shim_disarm(void);   // how many calls there were
void shim_refuse(unsigned long kinds);   // 1 << kind: all calls of these kinds fail besides

#endif
