// libheap_count.so: what tests/py/heap.py holds the heap tracker against. An allocator for CPython's three domains
// that counts by itself, to lie below the tracker's hooks; and work that allocates: storms, threads that CPython does not
// know, long lists of blocks. It knows nothing of how the tracker works. Functions that allocate in the domains MEM and
// OBJ, or change hooks, want the GIL: call them through ctypes.PyDLL.
// Build: cc -shared -fPIC -O2 -pthread tests/heap_count.c -o BUILD/libheap_count.so -ldl
#define _GNU_SOURCE
#include "../pyprof.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
enum { DOMAINS = 3 };

typedef struct allocator {   // PyMemAllocatorEx
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t count, size_t size);
    void *(*realloc)(void *ctx, void *block, size_t size);
    void (*free)(void *ctx, void *block);
} allocator;

static struct {
    void (*get)(int domain, allocator *);
    void (*set)(int domain, allocator *);
    void *(*malloc[DOMAINS])(size_t);
    void *(*calloc[DOMAINS])(size_t, size_t);
    void *(*realloc[DOMAINS])(void *, size_t);
    void (*free[DOMAINS])(void *);
} python;

static struct {
    pyprof_result (*start)(const pyprof_config *, pyprof **);
    pyprof_result (*stop)(pyprof *, pyprof_profile **);
    pyprof_result (*snapshot)(pyprof *, const pyprof_snapshot_options *, pyprof_profile **);
    pyprof_result (*get_stats)(const pyprof *, pyprof_stats *);
    pyprof_result (*profile_info)(const pyprof_profile *, pyprof_info *);
    void (*profile_free)(pyprof_profile *);
} library;

static void find(void *from, const char *name, void *to)
{
    void *address = dlsym(from, name);
    if (!address) {
        fprintf(stderr, "heap_count.c: there is no %s\n", name);
        abort();
    }
    memcpy(to, &address, sizeof address);
}

// Finds CPython's functions, and those of the library that ctypes has loaded from that path.
EXPORT void heap_begin(const char *path);
void heap_begin(const char *path)
{
    static const char *const families[DOMAINS] = { "PyMem_Raw", "PyMem_", "PyObject_" };
    void *self = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    char name[64];
    find(RTLD_DEFAULT, "PyMem_GetAllocator", &python.get);
    find(RTLD_DEFAULT, "PyMem_SetAllocator", &python.set);
    for (int i = 0; i < DOMAINS; i++) {
        (void)snprintf(name, sizeof name, "%sMalloc", families[i]);
        find(RTLD_DEFAULT, name, &python.malloc[i]);
        (void)snprintf(name, sizeof name, "%sCalloc", families[i]);
        find(RTLD_DEFAULT, name, &python.calloc[i]);
        (void)snprintf(name, sizeof name, "%sRealloc", families[i]);
        find(RTLD_DEFAULT, name, &python.realloc[i]);
        (void)snprintf(name, sizeof name, "%sFree", families[i]);
        find(RTLD_DEFAULT, name, &python.free[i]);
    }
    find(self, "pyprof_start", &library.start);
    find(self, "pyprof_stop", &library.stop);
    find(self, "pyprof_snapshot", &library.snapshot);
    find(self, "pyprof_get_stats", &library.get_stats);
    find(self, "pyprof_profile_info", &library.profile_info);
    find(self, "pyprof_profile_free", &library.profile_free);
}

// ---- the table: every live block, its size and domain ------------------------------------------------------------------
enum { STRIPES = 256 };
typedef struct entry { uintptr_t address; size_t size_and_domain; } entry;
static struct stripe { pthread_mutex_t lock; entry *entries; size_t capacity, used; } stripes[STRIPES];

static size_t hash(uintptr_t address) { return (size_t)((uint64_t)(address >> 4) * 0x9e3779b97f4a7c15u); }
static struct stripe *stripe_of(uintptr_t address) { return &stripes[hash(address) >> 56]; }

static size_t slot_of(const struct stripe *s, uintptr_t address)   // its own, or the empty one where it belongs
{
    size_t i = hash(address) >> 16 & (s->capacity - 1);
    while (s->entries[i].address && s->entries[i].address != address) i = (i + 1) & (s->capacity - 1);
    return i;
}

static void grow(struct stripe *s)
{
    entry *old = s->entries;
    size_t count = s->capacity;
    s->capacity = count ? 2 * count : 64;
    s->entries = (entry *)calloc(s->capacity, sizeof *s->entries);
    if (!s->entries) abort();
    for (size_t i = 0; i < count; i++)
        if (old[i].address) s->entries[slot_of(s, old[i].address)] = old[i];
    free(old);
}

static void put(uintptr_t address, size_t size, int domain)
{
    struct stripe *s = stripe_of(address);
    size_t i;
    pthread_mutex_lock(&s->lock);
    if (4 * s->used >= 3 * s->capacity) grow(s);
    i = slot_of(s, address);
    if (s->entries[i].address) {
        fprintf(stderr, "heap_count.c: one address twice\n");
        abort();
    }
    s->entries[i].address = address;
    s->entries[i].size_and_domain = size << 2 | (size_t)domain;
    s->used++;
    pthread_mutex_unlock(&s->lock);
}

static int take(uintptr_t address, size_t *size, int *domain)   // 0 = a block from before
{
    struct stripe *s = stripe_of(address);
    size_t i, j, home, mask;
    int found;
    pthread_mutex_lock(&s->lock);
    found = s->capacity && s->entries[i = slot_of(s, address)].address;
    if (found) {
        mask = s->capacity - 1;
        *size = s->entries[i].size_and_domain >> 2;
        *domain = (int)(s->entries[i].size_and_domain & 3);
        s->used--;
        s->entries[i].address = 0;
        for (j = (i + 1) & mask; s->entries[j].address; j = (j + 1) & mask) {   // closes the hole
            home = hash(s->entries[j].address) >> 16 & mask;
            if (((j - home) & mask) < ((j - i) & mask)) continue;
            s->entries[i] = s->entries[j];
            s->entries[j].address = 0;
            i = j;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

// ---- the counters ------------------------------------------------------------------------------------------------------
static struct { atomic_llong alloc_bytes, alloc_blocks, live_bytes, live_blocks; } counts[DOMAINS];
static atomic_llong sizes[PYPROF_SIZES], live, peak;
static atomic_int counting;

static void clear(void)
{
    for (int i = 0; i < STRIPES; i++) {
        pthread_mutex_lock(&stripes[i].lock);
        if (stripes[i].entries) memset(stripes[i].entries, 0, stripes[i].capacity * sizeof(entry));
        stripes[i].used = 0;
        pthread_mutex_unlock(&stripes[i].lock);
    }
    memset(counts, 0, sizeof counts);
    memset(sizes, 0, sizeof sizes);
    atomic_store(&live, 0);
    atomic_store(&peak, 0);
}

static int class_of(size_t size) { return size <= 1 ? 0 : 64 - __builtin_clzll((unsigned long long)size - 1); }

static void more(int domain, size_t size, int blocks)   // blocks = 0: it was away only while realloc failed
{
    long long now, most = atomic_load(&peak);
    atomic_fetch_add(&counts[domain].live_bytes, (long long)size);
    atomic_fetch_add(&counts[domain].live_blocks, 1);
    now = atomic_fetch_add(&live, (long long)size) + (long long)size;
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now)) { }
    if (!blocks) return;
    atomic_fetch_add(&counts[domain].alloc_bytes, (long long)size);
    atomic_fetch_add(&counts[domain].alloc_blocks, 1);
    atomic_fetch_add(&sizes[class_of(size)], 1);
}

static int less(void *block, size_t *size, int *domain)
{
    if (!block || !atomic_load(&counting) || !take((uintptr_t)block, size, domain)) return 0;
    atomic_fetch_sub(&counts[*domain].live_bytes, (long long)*size);
    atomic_fetch_sub(&counts[*domain].live_blocks, 1);
    atomic_fetch_sub(&live, (long long)*size);
    return 1;
}

// ---- the allocator -----------------------------------------------------------------------------------------------------
static struct layer { allocator below; int domain; } layers[DOMAINS];
static _Thread_local int depth;                     // CPython's allocators of large objects call that of RAW
static _Thread_local int fail_next, fail_nested;    // the next call fails; the next one that another call makes

static int must_fail(void)
{
    int *which = depth ? &fail_nested : &fail_next;
    return *which ? (*which)--, 1 : 0;
}

static void noted(const struct layer *l, void *block, size_t size)
{
    if (!block || depth || !atomic_load(&counting)) return;
    put((uintptr_t)block, size, l->domain);
    more(l->domain, size, 1);
}

static void *count_malloc(void *ctx, size_t size)
{
    struct layer *l = (struct layer *)ctx;
    void *block;
    if (must_fail()) return NULL;
    depth++;
    block = l->below.malloc(l->below.ctx, size);
    depth--;
    noted(l, block, size);
    return block;
}

static void *count_calloc(void *ctx, size_t count, size_t size)
{
    struct layer *l = (struct layer *)ctx;
    void *block;
    if (must_fail() || (size && count > (size_t)-1 / size)) return NULL;
    depth++;
    block = l->below.calloc(l->below.ctx, count, size);
    depth--;
    noted(l, block, count * size);
    return block;
}

static void *count_realloc(void *ctx, void *old, size_t size)
{
    struct layer *l = (struct layer *)ctx;
    size_t old_size = 0;
    int old_domain = 0, known;
    void *block;
    if (must_fail()) return NULL;
    known = !depth && less(old, &old_size, &old_domain);   // first: another thread may get the address at once
    depth++;
    block = l->below.realloc(l->below.ctx, old, size);
    depth--;
    if (!block && known) {
        put((uintptr_t)old, old_size, old_domain);
        more(old_domain, old_size, 0);
    }
    noted(l, block, size);
    return block;
}

static void count_free(void *ctx, void *block)
{
    struct layer *l = (struct layer *)ctx;
    size_t size;
    int domain;
    if (!depth) (void)less(block, &size, &domain);
    depth++;
    l->below.free(l->below.ctx, block);
    depth--;
}

// Over whatever is there. It stays: once only.
EXPORT void heap_install(void);
void heap_install(void)
{
    for (int i = 0; i < DOMAINS; i++) {
        allocator ours = { &layers[i], count_malloc, count_calloc, count_realloc, count_free };
        layers[i].domain = i;
        python.get(i, &layers[i].below);
        python.set(i, &ours);
    }
}

// An allocator that hands out parts of chunks for blocks up to a limit: those calls do not reach what is below it.
typedef struct pool {
    allocator below;
    char *chunks[4096], *at, *end;
    size_t count, limit, chunk;
} pool;
static pool pools[2][DOMAINS];

static int is_part(const pool *p, const char *block)
{
    for (size_t i = p->count; i-- > 0;)
        if (block >= p->chunks[i] && block < p->chunks[i] + p->chunk) return 1;
    return 0;
}

static void *pool_malloc(void *ctx, size_t size)
{
    pool *p = ctx;
    size_t want = (size + 31) & ~(size_t)15;
    if (size > p->limit) return p->below.malloc(p->below.ctx, size);
    if (p->count == 0 || (size_t)(p->end - p->at) < want) {
        char *chunk = p->count < 4096 ? p->below.malloc(p->below.ctx, p->chunk) : NULL;
        if (!chunk) return NULL;
        p->chunks[p->count++] = p->at = chunk;
        p->end = chunk + p->chunk;
    }
    p->at += want;
    memcpy(p->at - want, &size, sizeof size);
    return p->at - want + 16;
}

static void *pool_calloc(void *ctx, size_t count, size_t size)
{
    void *block = pool_malloc(ctx, count * size);
    return block ? memset(block, 0, count * size) : NULL;
}

static void pool_free(void *ctx, void *block)
{
    pool *p = ctx;
    if (block && !is_part(p, block)) p->below.free(p->below.ctx, block);
}

static void *pool_realloc(void *ctx, void *block, size_t size)
{
    pool *p = ctx;
    size_t had;
    if (block && !is_part(p, block)) return p->below.realloc(p->below.ctx, block, size);
    void *made = pool_malloc(ctx, size);
    if (!made || !block) return made;
    memcpy(&had, (char *)block - 16, sizeof had);
    return memcpy(made, block, had < size ? had : size);
}

// Over whatever is there, in the domains MEM and OBJ, which have the GIL. There are two; each stays: once only.
EXPORT void heap_pool(int number, size_t limit, size_t chunk);
void heap_pool(int number, size_t limit, size_t chunk)
{
    for (int i = 1; i < DOMAINS; i++) {
        pool *p = &pools[number][i];
        allocator ours = { p, pool_malloc, pool_calloc, pool_realloc, pool_free };
        p->limit = limit;
        p->chunk = chunk;
        python.get(i, &p->below);
        python.set(i, &ours);
    }
}

// The same, but it is taken off again before anything is allocated. all: what to put back, later on.
EXPORT void heap_pool_off(int number, size_t limit, size_t chunk, allocator *all);
void heap_pool_off(int number, size_t limit, size_t chunk, allocator *all)
{
    heap_pool(number, limit, chunk);
    for (int i = 0; i < DOMAINS; i++) python.get(i, &all[i]);
    for (int i = 1; i < DOMAINS; i++) python.set(i, &pools[number][i].below);
}

// While a pool is on top of what is on top of it, for a moment: a block that is allocated, resized and freed. Returns where
// it was.
EXPORT void *heap_circle(int number, size_t size);
void *heap_circle(int number, size_t size)
{
    pool *p = &pools[number][2];
    allocator before = p->below, top, ours = { p, pool_malloc, pool_calloc, pool_realloc, pool_free };
    void *block, *moved;
    python.get(2, &top);
    p->below = top;
    python.set(2, &ours);
    block = python.calloc[2](1, size);
    moved = python.realloc[2](block, 2 * size);
    python.free[2](moved ? moved : block);
    block = python.malloc[2](size);
    python.free[2](block);
    p->below = before;
    python.set(2, &top);
    return block;
}

// The allocators as they are: 5 words for each domain.
EXPORT void heap_allocators(allocator *all);
void heap_allocators(allocator *all)
{
    for (int i = 0; i < DOMAINS; i++) python.get(i, &all[i]);
}

// What others do who stop tracing: they put back what they had found, in those domains (a bit for each).
EXPORT void heap_put_back(const allocator *all, unsigned domains);
void heap_put_back(const allocator *all, unsigned domains)
{
    for (int i = 0; i < DOMAINS; i++) {
        allocator copy = all[i];
        if (domains >> i & 1) python.set(i, &copy);
    }
}

// From here on (again) both count the same, if nothing else allocates: hold the GIL, and let no other thread run.
EXPORT int heap_start(const pyprof_config *config, pyprof **session);
int heap_start(const pyprof_config *config, pyprof **session)
{
    int result = (int)library.start(config, session);
    clear();
    atomic_store(&counting, 1);
    return result;
}

EXPORT void heap_count(void);   // without a session
void heap_count(void)
{
    clear();
    atomic_store(&counting, 1);
}

typedef struct reading {
    pyprof_domain_total ours[PYPROF_DOMAIN_COUNT], counted[PYPROF_DOMAIN_COUNT];
    int64_t our_sizes[PYPROF_SIZES], counted_sizes[PYPROF_SIZES];
    int64_t our_total[PYPROF_METRIC_COUNT];
    pyprof_stats stats;
    int64_t counted_peak;
} reading;

static void read_counts(reading *to)
{
    for (int i = 0; i < DOMAINS; i++) {
        pyprof_domain_total *c = &to->counted[i];
        c->alloc_bytes = atomic_load(&counts[i].alloc_bytes);
        c->alloc_blocks = atomic_load(&counts[i].alloc_blocks);
        c->live_bytes = atomic_load(&counts[i].live_bytes);
        c->live_blocks = atomic_load(&counts[i].live_blocks);
    }
    for (int i = 0; i < PYPROF_SIZES; i++) to->counted_sizes[i] = atomic_load(&sizes[i]);
    to->counted_peak = atomic_load(&peak);
}

// Both sides at one moment. session = NULL: only what was counted here.
EXPORT int heap_read(pyprof *session, reading *to);
int heap_read(pyprof *session, reading *to)
{
    pyprof_profile *profile;
    pyprof_info info;
    int result;
    memset(to, 0, sizeof *to);
    read_counts(to);
    if (!session) return 0;
    if ((result = (int)library.get_stats(session, &to->stats)) != 0) return result;
    if ((result = (int)library.snapshot(session, NULL, &profile)) != 0) return result;
    result = (int)library.profile_info(profile, &info);
    memcpy(to->ours, info.domains, sizeof to->ours);
    memcpy(to->our_sizes, info.sizes, sizeof to->our_sizes);
    memcpy(to->our_total, info.total, sizeof to->our_total);
    library.profile_free(profile);
    return result;
}

EXPORT size_t heap_reading_size(void);
size_t heap_reading_size(void) { return sizeof(reading); }

// ---- storms: every kind of call, at random -----------------------------------------------------------------------------
typedef struct storm { uint64_t random; size_t count; int threads; struct { unsigned char *block; size_t size; int domain; } slots[]; } storm;

static uint64_t next(uint64_t *random)
{
    uint64_t x = *random += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static size_t any_size(uint64_t *random)
{
    uint64_t kind = next(random) % 100, x = next(random);
    if (kind < 5) return 0;
    if (kind < 70) return 1 + x % 512;
    if (kind < 95) return 1 + x % 8192;
    return 1 + x % 300000;
}

EXPORT storm *heap_storm_new(uint64_t seed, size_t count);
storm *heap_storm_new(uint64_t seed, size_t count)
{
    storm *s = (storm *)calloc(1, sizeof *s + count * sizeof s->slots[0]);
    if (!s) abort();
    s->random = seed;
    s->count = count;
    return s;
}

static void *fresh(storm *s, int domain, size_t size)
{
    allocator top;
    size_t part = 1 + next(&s->random) % 16;
    switch (next(&s->random) % 32) {
    case 0: return python.malloc[domain]((size_t)1 << 62);                 // there is not so much
    case 1: return python.calloc[domain]((size_t)-1 / 2, 3);               // CPython sees to it
    case 2: python.get(domain, &top); return top.calloc(top.ctx, (size_t)-1 / 2, 3);   // who is on top has to
    case 3: case 4: case 5: case 6: return python.realloc[domain](NULL, size);
    case 7: case 8: case 9: case 10: return python.calloc[domain](part, size / part);
    case 11: return python.calloc[domain](0, size);
    default: return python.malloc[domain](size);
    }
}

static size_t usable(void *block, size_t asked) { return block ? asked : 0; }

static void storm_step(storm *s, unsigned domains)
{
    size_t i = next(&s->random) % s->count, size = any_size(&s->random);
    unsigned char *block = s->slots[i].block;
    int domain = s->slots[i].domain;
    if (!block) {
        do domain = (int)(next(&s->random) % DOMAINS); while (!(domains >> domain & 1));
        s->slots[i].block = (unsigned char *)fresh(s, domain, size);
        s->slots[i].domain = domain;
    } else if (!(domains >> domain & 1)) {
        return;   // needs the GIL
    } else if (next(&s->random) % 100 < 45) {
        python.free[domain](block);
        s->slots[i].block = NULL;
    } else {
        block = (unsigned char *)python.realloc[domain](block, size);
        if (!block) return;
        s->slots[i].block = block;
        if (usable(block, size)) block[0] = block[size - 1] = 1;
    }
}

// domains: a bit for each. faults: some calls fail.
EXPORT void heap_storm(storm *s, long steps, unsigned domains, int faults);
void heap_storm(storm *s, long steps, unsigned domains, int faults)
{
    while (steps--) {
        uint64_t chance = faults ? next(&s->random) % 100 : 99;
        fail_next = chance < 5;
        fail_nested = chance >= 5 && chance < 10;
        storm_step(s, domains);
        fail_next = fail_nested = 0;
    }
}

EXPORT void heap_storm_end(storm *s);   // frees all that is left
void heap_storm_end(storm *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->slots[i].block) python.free[s->slots[i].domain](s->slots[i].block);
    free(s);
}

// ---- threads that CPython does not know ----------------------------------------------------------------------------------
enum { THREADS = 16 };
static struct worker { pthread_t thread; storm *storm; long steps; int faults; int64_t tid; } workers[THREADS];
static int worker_count;

static void *worker_main(void *argument)
{
    struct worker *w = (struct worker *)argument;
    w->tid = (int64_t)syscall(SYS_gettid);
    heap_storm(w->storm, w->steps, 1u << PYPROF_DOMAIN_RAW, w->faults);
    return NULL;
}

EXPORT void heap_threads(int count, uint64_t seed, long steps, int faults);
void heap_threads(int count, uint64_t seed, long steps, int faults)
{
    for (worker_count = 0; worker_count < count; worker_count++) {
        struct worker *w = &workers[worker_count];
        w->storm = heap_storm_new(seed + (uint64_t)worker_count, 2000);
        w->steps = steps;
        w->faults = faults;
        if (pthread_create(&w->thread, NULL, worker_main, w)) abort();
    }
}

EXPORT void heap_threads_join(void);
void heap_threads_join(void)
{
    for (int i = 0; i < worker_count; i++) pthread_join(workers[i].thread, NULL);
}

EXPORT void heap_threads_free(void);   // from this thread: the blocks of threads that have ended
void heap_threads_free(void)
{
    for (int i = 0; i < worker_count; i++) heap_storm_end(workers[i].storm);
    worker_count = 0;
}

// A few RAW blocks by a thread that CPython does not know. Returns its id.
static struct { int count; size_t size; void *blocks[64]; int64_t tid; } stranger;

static void *stranger_main(void *unused)
{
    stranger.tid = (int64_t)syscall(SYS_gettid);
    for (int i = 0; i < stranger.count; i++) stranger.blocks[i] = python.malloc[0](stranger.size);
    return unused;
}

EXPORT int64_t heap_stranger(int count, size_t size);
int64_t heap_stranger(int count, size_t size)
{
    pthread_t thread;
    stranger.count = count;
    stranger.size = size;
    if (pthread_create(&thread, NULL, stranger_main, NULL)) abort();
    pthread_join(thread, NULL);
    return stranger.tid;
}

EXPORT void heap_stranger_free(void);
void heap_stranger_free(void)
{
    while (stranger.count) python.free[0](stranger.blocks[--stranger.count]);
}

// ---- who waits for whom ----------------------------------------------------------------------------------------------------
static atomic_long progress;
static atomic_int spinning;
static pthread_t spinners[THREADS];
static int spinner_count;

static void *spinner_main(void *unused)
{
    uint64_t random = (uint64_t)syscall(SYS_gettid);
    while (atomic_load(&spinning)) {
        void *block = python.malloc[0](1 + next(&random) % 2000);
        block = python.realloc[0](block, 1 + next(&random) % 2000);
        python.free[0](block);
        atomic_fetch_add(&progress, 1);
    }
    return unused;
}

EXPORT void heap_spin(int count);
void heap_spin(int count)
{
    atomic_store(&spinning, 1);
    for (spinner_count = 0; spinner_count < count; spinner_count++)
        if (pthread_create(&spinners[spinner_count], NULL, spinner_main, NULL)) abort();
}

EXPORT void heap_spin_end(void);
void heap_spin_end(void)
{
    atomic_store(&spinning, 0);
    while (spinner_count) pthread_join(spinners[--spinner_count], NULL);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// Holds the GIL (if called with it) until the threads that allocate got that much further; gives up after so many seconds.
// Returns how far they got.
EXPORT long heap_hold(long steps, double seconds);
long heap_hold(long steps, double seconds)
{
    long begin = atomic_load(&progress);
    double end = now() + seconds;
    while (atomic_load(&progress) - begin < steps && now() < end) usleep(1000);
    return atomic_load(&progress) - begin;
}

// Asks for the statistics for so many seconds. Returns how often they came.
EXPORT long heap_ask(const pyprof *session, double seconds);
long heap_ask(const pyprof *session, double seconds)
{
    double end = now() + seconds;
    long count = 0;
    pyprof_stats stats;
    while (now() < end && library.get_stats(session, &stats) == PYPROF_OK) count++;
    return count;
}

typedef struct errand {   // pyprof_start or pyprof_stop on another thread, while the caller holds the GIL
    const pyprof_config *config;
    pyprof *session;
    pyprof_profile *profile;
    int stop, result, state;
    atomic_int done;
} errand;

static void *errand_main(void *argument)
{
    errand *e = (errand *)argument;
    pyprof_stats stats;
    e->result = (int)(e->stop ? library.stop(e->session, &e->profile) : library.start(e->config, &e->session));
    if (!e->stop && !e->result && library.get_stats(e->session, &stats) == PYPROF_OK) e->state = stats.heap_state;
    atomic_store(&e->done, 1);
    return NULL;
}

// -1: it did not return within so many seconds.
EXPORT int heap_elsewhere(errand *e, double seconds);
int heap_elsewhere(errand *e, double seconds)
{
    pthread_t thread;
    double end = now() + seconds;
    atomic_store(&e->done, 0);
    if (pthread_create(&thread, NULL, errand_main, e)) abort();
    pthread_detach(thread);
    while (!atomic_load(&e->done) && now() < end) usleep(200);
    return atomic_load(&e->done) ? e->result : -1;
}

// ---- blocks by the number --------------------------------------------------------------------------------------------------
typedef struct run { int domain; size_t count; void *blocks[]; } run;

// Allocates them all, in this order; keeps every keep-th (0 = none) and frees the others at once.
EXPORT run *heap_run(int domain, const uint32_t *size, size_t count, size_t keep);
run *heap_run(int domain, const uint32_t *size, size_t count, size_t keep)
{
    run *r = (run *)malloc(sizeof *r + (keep ? count / keep + 1 : 0) * sizeof r->blocks[0]);
    if (!r) abort();
    r->domain = domain;
    r->count = 0;
    for (size_t i = 0; i < count; i++) {
        void *block = python.malloc[domain](size[i]);
        if (keep && i % keep == 0) r->blocks[r->count++] = block;
        else python.free[domain](block);
    }
    return r;
}

// As many blocks of one size.
EXPORT run *heap_take(int domain, size_t size, size_t count);
run *heap_take(int domain, size_t size, size_t count)
{
    run *r = (run *)malloc(sizeof *r + count * sizeof r->blocks[0]);
    if (!r) abort();
    r->domain = domain;
    for (r->count = 0; r->count < count; r->count++) r->blocks[r->count] = python.malloc[domain](size);
    return r;
}

EXPORT void *heap_block(const run *r, size_t i);
void *heap_block(const run *r, size_t i) { return r->blocks[i]; }

EXPORT void heap_give(run *r);
void heap_give(run *r)
{
    for (size_t i = 0; i < r->count; i++) python.free[r->domain](r->blocks[i]);
    free(r);
}

// One block that goes through all these sizes, and is freed.
EXPORT void heap_resize(int domain, const uint32_t *size, size_t count);
void heap_resize(int domain, const uint32_t *size, size_t count)
{
    void *block = NULL;
    for (size_t i = 0; i < count; i++) block = python.realloc[domain](block, size[i]);
    python.free[domain](block);
}

// So many times: a block, then others, which stay, then it is freed. Returns the others.
EXPORT run *heap_temporary(int domain, size_t times, size_t others);
run *heap_temporary(int domain, size_t times, size_t others)
{
    run *r = (run *)malloc(sizeof *r + (times * others + 1) * sizeof r->blocks[0]);
    if (!r) abort();
    r->domain = domain;
    r->count = 0;
    for (size_t i = 0; i < times; i++) {
        void *block = python.malloc[domain](100);
        for (size_t j = 0; j < others; j++) r->blocks[r->count++] = python.malloc[domain](100);
        python.free[domain](block);
    }
    return r;
}

// ---- an allocator for pyprof_config that fails -----------------------------------------------------------------------------
static atomic_long asked, out, first_bad, last_bad;   // calls so far; blocks out; the calls that fail, from and to

EXPORT void heap_fail(long from, long to);
void heap_fail(long from, long to)
{
    atomic_store(&asked, 0);
    atomic_store(&first_bad, from);
    atomic_store(&last_bad, to);
}

EXPORT long heap_asked(void);
long heap_asked(void) { return atomic_load(&asked); }

EXPORT long heap_out(void);
long heap_out(void) { return atomic_load(&out); }

EXPORT void *heap_own_alloc(void *user, size_t size);
void *heap_own_alloc(void *user, size_t size)
{
    long n = atomic_fetch_add(&asked, 1) + 1;
    void *memory = n >= atomic_load(&first_bad) && n <= atomic_load(&last_bad) ? user : malloc(size);   // user is NULL
    if (memory) atomic_fetch_add(&out, 1);
    return memory;
}

EXPORT void heap_own_free(void *user, void *memory, size_t size);
void heap_own_free(void *user, void *memory, size_t size)
{
    (void)user;
    (void)size;
    if (memory) atomic_fetch_sub(&out, 1);
    free(memory);
}
