// libsoak_count.so: an allocator for pyprof_config that knows how much of it is out. The sampler allocates without the
// GIL, so this cannot be Python. Build: cc -shared -fPIC tests/soak/count.c -o BUILD/libsoak_count.so
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

static atomic_llong bytes, blocks, most;

EXPORT void *soak_alloc(void *user, size_t size);
void *soak_alloc(void *user, size_t size)
{
    (void)user;
    void *memory = malloc(size);
    if (!memory) return NULL;
    long long now = atomic_fetch_add(&bytes, (long long)size) + (long long)size, old = atomic_load(&most);
    while (now > old && !atomic_compare_exchange_weak(&most, &old, now)) { }
    atomic_fetch_add(&blocks, 1);
    return memory;
}

EXPORT void soak_free(void *user, void *memory, size_t size);
void soak_free(void *user, void *memory, size_t size)
{
    (void)user;
    if (!memory) return;
    atomic_fetch_sub(&bytes, (long long)size);
    atomic_fetch_sub(&blocks, 1);
    free(memory);
}

EXPORT long long soak_bytes(void);
long long soak_bytes(void) { return atomic_load(&bytes); }

EXPORT long long soak_blocks(void);
long long soak_blocks(void) { return atomic_load(&blocks); }

EXPORT long long soak_most(void);   // the most bytes that were out at once, since the last call
long long soak_most(void) { return atomic_exchange(&most, atomic_load(&bytes)); }
