// Memory: hosts that put allocators of their own above and below the profiler's hooks, in every order, with
// tracemalloc.
#include "campaign.h"

enum { DOMAINS = 3 };
static const PyMemAllocatorDomain domains[DOMAINS] = { PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ };

// ---- a pool: small blocks come from chunks; chunks and large blocks from the allocator below -------------
enum { HEAD = 16, MOST_CHUNKS = 1 << 14 };
static size_t largest = 4096, chunk_size = 1 << 18;   // of blocks that come from chunks; of chunks
typedef struct {
    PyMemAllocatorEx below;
    char *chunks[MOST_CHUNKS];      // blocks in them are not used again: that would hide faults
    int count;
    size_t used;                    // of the last chunk
    pthread_mutex_t lock;
} pool;
static pool pools[DOMAINS];

static int is_pooled(const pool *p, const void *block)
{
    for (int i = p->count - 1; i >= 0; i--)
        if ((const char *)block >= p->chunks[i] && (const char *)block < p->chunks[i] + chunk_size) return 1;
    return 0;
}

static size_t size_of(const void *pooled)   // stands before the block
{
    size_t size;
    memcpy(&size, (const char *)pooled - HEAD, sizeof size);
    return size;
}

static char *from_chunk(pool *p, size_t bytes)
{
    char *at = NULL;
    pthread_mutex_lock(&p->lock);
    if ((!p->count || p->used + bytes > chunk_size) && p->count < MOST_CHUNKS) {
        char *chunk = p->below.malloc(p->below.ctx, chunk_size);
        if (chunk) p->chunks[p->count++] = chunk, p->used = 0;
    }
    if (p->count && p->used + bytes <= chunk_size) at = p->chunks[p->count - 1] + p->used, p->used += bytes;
    pthread_mutex_unlock(&p->lock);
    return at;
}

static void *pool_malloc(void *context, size_t size)
{
    pool *p = context;
    char *at;
    if (size > largest) return p->below.malloc(p->below.ctx, size);
    at = from_chunk(p, (size + HEAD + 15) & ~(size_t)15);
    if (!at) return NULL;
    memcpy(at, &size, sizeof size);
    return at + HEAD;
}

static void *pool_calloc(void *context, size_t count, size_t size)
{
    void *block = pool_malloc(context, count * size);
    return block ? memset(block, 0, count * size) : NULL;
}

static void pool_free(void *context, void *block)
{
    pool *p = context;
    if (block && !is_pooled(p, block)) p->below.free(p->below.ctx, block);
}

static void *pool_realloc(void *context, void *old, size_t size)
{
    pool *p = context;
    void *block;
    if (!old) return pool_malloc(context, size);
    if (!is_pooled(p, old)) return p->below.realloc(p->below.ctx, old, size);
    block = pool_malloc(context, size);
    return block ? memcpy(block, old, size_of(old) < size ? size_of(old) : size) : NULL;
}

static void pool_on_top(void)
{
    for (int d = 0; d < DOMAINS; d++) {
        PyMemAllocatorEx all = { &pools[d], pool_malloc, pool_calloc, pool_realloc, pool_free };
        pthread_mutex_init(&pools[d].lock, NULL);
        PyMem_GetAllocator(domains[d], &pools[d].below);
        PyMem_SetAllocator(domains[d], &all);
    }
}

static void allocates(const char *how)
{
    run("kept = []\n"
        "for i in range(100):\n"
        "    kept.append([bytearray(300) for _ in range(100)])\n"
        "    %s\n"
        "kept = [[object() for _ in range(i)] for i in range(200)]\n", how);
}

// first|last|on-top small|all ROUNDS: the pool goes in before the first session, after it, or over hooks that
// are in; it has the small blocks, or nearly all
static int pooling(char **words)
{
    int first = strcmp(words[0], "first") == 0, on_top = strcmp(words[0], "on-top") == 0;
    long rounds = atol(words[2]), tracked = 0;
    pyprof_config c = config(100, PYPROF_HEAP_EXACT);
    pyprof *session = NULL;
    pyprof_stats stats;
    if (strcmp(words[1], "all") == 0) largest = 1 << 21, chunk_size = 1 << 22;
    if (first) pool_on_top();
    if (on_top) python_begins();
    session = started(&c);
    if (!first) pool_on_top();
    if (!on_top) python_begins();
    for (long i = 0; i < rounds; i++) {
        step("round %ld", i);
        allocates("time.sleep(0.0005)");
        stats = stats_of(session);
        if (stats.heap_state == PYPROF_HEAP_STATE_ON && !stats.heap_live_bytes && !stats.degraded[0])
            wrong("memory is tracked, nothing is live, and degraded says nothing");
        if (stats.heap_state != PYPROF_HEAP_STATE_ON && !stats.degraded[0])
            wrong("memory is not tracked (%d), and degraded says nothing", stats.heap_state);
        balanced(stats);
        tracked += stats.heap_state == PYPROF_HEAP_STATE_ON;
        pyprof_profile_free(stopped(session));
        allocates("pass");
        session = started(&c);
    }
    pyprof_profile_free(stopped(session));
    allocates("pass");
    if (!tracked) wrong("memory was tracked in no session");
    return done("%ld sessions, the pool %s, it has %s blocks; memory was tracked in %ld", rounds + 1,
                words[0], words[1], tracked);
}

// ---- a host that wraps and unwraps ------------------------------------------------------------------------
typedef struct { PyMemAllocatorEx below; atomic_long blocks; } wrapper;
enum { WRAPPERS = 4 };
static wrapper wrappers[WRAPPERS][DOMAINS];

static void *wrap_malloc(void *w, size_t size)
{
    atomic_fetch_add(&((wrapper *)w)->blocks, 1);
    return ((wrapper *)w)->below.malloc(((wrapper *)w)->below.ctx, size);
}

static void *wrap_calloc(void *w, size_t count, size_t size)
{
    atomic_fetch_add(&((wrapper *)w)->blocks, 1);
    return ((wrapper *)w)->below.calloc(((wrapper *)w)->below.ctx, count, size);
}

static void *wrap_realloc(void *w, void *old, size_t size)
{
    return ((wrapper *)w)->below.realloc(((wrapper *)w)->below.ctx, old, size);
}

static void wrap_free(void *w, void *block) { ((wrapper *)w)->below.free(((wrapper *)w)->below.ctx, block); }

static void wrap(int n, int from)
{
    for (int d = from; d < DOMAINS; d++) {
        PyMemAllocatorEx all = { &wrappers[n][d], wrap_malloc, wrap_calloc, wrap_realloc, wrap_free };
        PyMem_GetAllocator(domains[d], &wrappers[n][d].below);
        PyMem_SetAllocator(domains[d], &all);
    }
}

static void unwrap(int n, int from)   // as hosts do it: whatever went in on top of it is gone, too
{
    for (int d = from; d < DOMAINS; d++) PyMem_SetAllocator(domains[d], &wrappers[n][d].below);
}

// ---- everything by chance: sessions of both modes, wrappers, tracemalloc, threads that allocate -----------
enum { SESSIONS = 3 };
enum { UNTRACED = -1 };
typedef struct {
    pyprof *session[SESSIONS];
    int wrapped, traced;            // wrappers in place; how many of them are below tracemalloc
    int workers;                    // threads allocate meanwhile: then the host must not touch the raw domain
    long began, busy, lost;
    unsigned seed;
} walk;

static void turn_session(walk *w, int i)
{
    pyprof_config c = config(500, below(&w->seed, 2) ? PYPROF_HEAP_EXACT : PYPROF_HEAP_SAMPLED);
    int result;
    c.heap_interval_bytes = 4096;
    if (w->session[i]) {
        pyprof_stats stats = stats_of(w->session[i]);
        w->lost += stats.heap_state == PYPROF_HEAP_STATE_LOST;
        pyprof_profile_free(stopped(w->session[i]));
        w->session[i] = NULL;
        return;
    }
    result = pyprof_start(&c, &w->session[i]);
    if (result == PYPROF_OK) w->began++;
    else if (result == PYPROF_ERR_BUSY) w->busy++;
    else wrong("start: %s", named(result));
}

static void turn(walk *w)
{
    switch (below(&w->seed, 7)) {
    case 0: case 1: turn_session(w, (int)below(&w->seed, SESSIONS)); break;
    // The last that came goes first; tracemalloc in between would be taken out with it, which is the host's
    // fault
    case 2:
        if (w->wrapped < WRAPPERS && below(&w->seed, 2)) wrap(w->wrapped++, w->workers);
        else if (w->wrapped > (w->traced == UNTRACED ? 0 : w->traced)) unwrap(--w->wrapped, w->workers);
        break;
    case 3:
        if (w->traced == UNTRACED) { run("tracemalloc.start(3)\n"); w->traced = w->wrapped; }
        else if (w->traced == w->wrapped) { run("tracemalloc.stop()\n"); w->traced = UNTRACED; }
        break;
    case 4: run("kept = [bytearray(i) for i in range(300)]\nmore = [[j] for j in range(100)]\n"); break;
    case 5: run("del kept[:]\nfor i in range(200): more = [None] * i\n"); break;
    default: Py_BEGIN_ALLOW_THREADS nap(0.0003 * below(&w->seed, 15)); Py_END_ALLOW_THREADS
    }
}

static int orders(char **words)   // STEPS SEED DEBUG: 1 = with Python's debug hooks
{
    long steps = atol(words[0]);
    walk w;
    double begin = now();
    memset(&w, 0, sizeof w);
    w.seed = (unsigned)atoi(words[1]);
    w.traced = UNTRACED;
    w.workers = (int)(w.seed & 1);
    if (atoi(words[2])) setenv("PYTHONMALLOC", "debug", 1);
    python_begins();
    run("import tracemalloc\nkept = []\n");
    if (w.workers) python_works();
    for (long i = 0; i < steps; i++) {
        step("seed %s, step %ld", words[1], i);
        turn(&w);
    }
    for (int i = 0; i < SESSIONS; i++)
        if (w.session[i]) turn_session(&w, i);
    run("kept = [bytearray(i) for i in range(3000)]\ndel kept\ntracemalloc.stop()\n");
    if (w.workers) python_rests();
    if (!w.began) wrong("no session could start");
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("%ld steps: %ld sessions, %ld found it busy, %ld lost their hooks, in %.0f s", steps,
                w.began, w.busy, w.lost,
                now() - begin);
}

// ---- bounds and hostile Python ----------------------------------------------------------------------------
static const char *const suffixes[] = { "json", "txt", "svg", "folded", "speedscope.json", "pb.gz", "pkl" };

// Hostile.py PHASE AMOUNT HZ MAX_KIB: runs it under an exact session; all formats are whole
static int script(char **words)
{
    pyprof_config c = config(atof(words[2]), PYPROF_HEAP_EXACT);
    uint64_t most = (uint64_t)atol(words[3]) * 1024;
    pyprof *session;
    pyprof_profile *profile;
    pyprof_stats stats;
    PyThreadState *main_state;
    c.max_bytes = c.heap_max_bytes = most;
    c.max_depth = 100000;
    python_begins();
    session = started(&c);
    run("import hostile\nhostile.begin('%s', %s)\n", words[0], words[1]);
    stats = stats_of(session);
    balanced(stats);
    if (!stats.samples) wrong("no samples");
    if (stats.own_bytes > 2 * most)
        wrong("%llu bytes of its own, %llu were allowed", (unsigned long long)stats.own_bytes,
                                          (unsigned long long)(2 * most));
    profile = stopped(session);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char path[64];
        int result;
        snprintf(path, sizeof path, "hostile.%s", suffixes[i]);
        step("save %s", path);
        result = pyprof_save(profile, path, NULL);
        if (result != PYPROF_OK) wrong("save of %s: %s", path, named(result));
        main_state = PyEval_SaveThread();
        whole(path, 1);
        PyEval_RestoreThread(main_state);
    }
    pyprof_profile_free(profile);
    run("hostile.end()\n");
    if (Py_FinalizeEx() != 0) wrong("Py_FinalizeEx failed");
    return done("%s %s: %llu samples, %llu rejected", words[0], words[1], (unsigned long long)stats.samples,
                (unsigned long long)stats.rejected);
}

static int bounds(char **words)   // SECONDS THREADS HZ: memory stays flat, whatever was recorded
{
    double seconds = atof(words[0]);
    pyprof_config c = config(atof(words[2]), PYPROF_HEAP_OFF);
    pyprof *session;
    pyprof_stats stats;
    PyThreadState *main_state;
    long half = 0, end;
    c.timeline_s = 2;
    c.max_cpu = 1;
    python_begins();
    run("import threading\nstop = []\n"
        "def waits():\n    while not stop: time.sleep(0.05)\n"
        "threads = [threading.Thread(target=waits) for _ in range(%s)]\n"
        "for t in threads: t.start()\n", words[1]);
    session = started(&c);
    main_state = PyEval_SaveThread();
    nap(3);   // the time line is full
    for (int part = 0; part < 20; part++) {
        step("part %d", part);
        if (part == 10) half = resident_kib();
        nap(seconds / 20);
    }
    end = resident_kib();
    stats = stats_of(session);
    balanced(stats);
    if (end > half + 1024) wrong("memory grew from %ld to %ld KiB", half, end);
    if (stats.own_bytes > c.max_bytes) wrong("%llu bytes of its own", (unsigned long long)stats.own_bytes);
    pyprof_profile_free(stopped(session));
    PyEval_RestoreThread(main_state);
    run("stop.append(1)\nfor t in threads: t.join()\n");
    return done("%llu samples of %llu ticks, memory %+ld KiB in the second half",
                (unsigned long long)stats.samples,
                (unsigned long long)stats.asked, end - half);
}

const campaign_mode heap_modes[] = {
    { "pooling", "first|last|on-top small|all ROUNDS", "a pool above the hooks, or below: no recursion",
        pooling },
    { "orders", "STEPS SEED DEBUG", "sessions, wrappers, tracemalloc in any order: nothing breaks", orders },
    { "script", "PHASE AMOUNT HZ MAX_KIB", "hostile.py: all files are whole, memory is bounded", script },
    { "bounds", "SECONDS THREADS HZ", "memory is flat", bounds },
    { NULL, NULL, NULL, NULL },
};
