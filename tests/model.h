// model.h - recordings made by hand, for the tests of what is behind the sampler. Include it after pyprof.h.
#ifndef MODEL_H
#define MODEL_H

#define AT(type, array, i) (((type *)(array).data)[i])   // as the header's own, which it undefines
#define IN(type, pieces, i) (*(type *)pyprof__piece_item(&(pieces), i))
#define MOMENT(model, i) IN(pyprof__moment, (model).moments, i)
enum { NONE = -1 };                                       // (int) of the header's id for "no such thing"
static const uint64_t ms = 1000000;                       // ns

typedef struct { pyprof__pool pool; pyprof__model model; uint64_t last[64]; } recording;   // last: moment of each thread; it stays where it is

static inline void recording_begin(recording *r, const pyprof_allocator *allocator)
{
    memset(r, 0, sizeof *r);
    pyprof__pool_init(&r->pool, allocator, UINT64_MAX);
    pyprof__model_init(&r->model, &r->pool);
    r->model.rate_hz = 100;
    r->model.timeline_s = 60;
    r->model.start_ns = r->model.last_ns = 5000 * ms;
    r->model.unix_offset = 1700000000.25 - 5;   // it began at 22:13:20.25 on 2023-11-14
    CHECK(pyprof__model_begin(&r->model, 4242, 0));
}

static inline void recording_end(recording *r)
{
    pyprof__model_free(&r->model);
    CHECK_INT(r->pool.used, 0);
}

static inline uint32_t add_thread(recording *r, const char *name, uint64_t native)   // -> member
{
    uint32_t id = (uint32_t)r->model.threads.count;
    pyprof__recorded_thread *member = pyprof__push(&r->pool, &r->model.threads);
    CHECK(member != NULL);
    member->native = native;
    member->ident = 0x7f0000000000u + native;
    member->wanted = 1;
    member->first_ns = member->last_ns = r->model.start_ns;
    member->name = pyprof__model_string(&r->model, name);
    member->node = pyprof__model_node(&r->model, 0, pyprof__model_pseudo(&r->model, name, PYPROF_KIND_THREAD, (int32_t)id + 1));
    r->model.stats.threads = r->model.threads.count;
    return id;
}

static inline uint32_t thread_node(const recording *r, uint32_t member) { return AT(pyprof__recorded_thread, r->model.threads, member).node; }

// The node below parent of line `line` of a function whose first line is `first`.
static inline uint32_t add_frame(recording *r, uint32_t parent, const char *file, const char *qualname, int first, int line)
{
    const char *dot = strrchr(qualname, '.');
    pyprof__source_range place = { line, line, 4, 17 };
    pyprof__function function;
    memset(&function, 0, sizeof function);
    function.name = pyprof__model_string(&r->model, dot && dot[1] ? dot + 1 : qualname);
    function.qualname = pyprof__model_string(&r->model, qualname);
    function.file = pyprof__model_path(&r->model, file);
    function.first_line = first;
    function.kind = PYPROF_KIND_PYTHON;
    return pyprof__model_node(&r->model, parent, pyprof__model_location(&r->model, &function, &place));
}

static inline void add_values(recording *r, uint32_t node, int64_t samples, int64_t wall, int64_t cpu, int waiting)
{
    pyprof__model_add(&r->model, PYPROF_SAMPLES, node, samples);
    pyprof__model_add(&r->model, PYPROF_WALL_NS, node, wall);
    pyprof__model_add(&r->model, PYPROF_CPU_NS, node, cpu);
    pyprof__model_add(&r->model, PYPROF_WAIT_NS, node, waiting ? wall : 0);
    pyprof__model_add(&r->model, PYPROF_WAIT_SAMPLES, node, waiting ? samples : 0);
}

// What the sampler does for each sample, `count` times, 10 ms apart, the first one ending at `at` ms.
static inline void add_samples(recording *r, uint32_t member, uint32_t node, uint64_t at, int count, int waiting)
{
    for (int i = 0; i < count; i++) {
        pyprof__moment moment;
        memset(&moment, 0, sizeof moment);
        moment.end_ns = r->model.start_ns + (at + 10 * (uint64_t)i) * ms;
        moment.start_ns = moment.end_ns - 10 * ms;
        moment.wall_ns = 10 * ms;
        moment.cpu_ns = waiting ? 0 : 9 * ms;
        moment.thread = member;
        moment.node = node;
        moment.count = 1;
        moment.state = waiting ? PYPROF__IS_WAITING : 0;
        add_values(r, node, 1, 10 * (int64_t)ms, waiting ? 0 : 9 * (int64_t)ms, waiting);
        pyprof__model_moment(&r->model, &moment, &r->last[member]);
        AT(pyprof__recorded_thread, r->model.threads, member).last_ns = moment.end_ns;
        r->model.stats.asked++;
        r->model.stats.samples++;
        if (moment.end_ns > r->model.last_ns) r->model.last_ns = moment.end_ns;
    }
    r->model.recorded_ns = r->model.last_ns - r->model.start_ns;
}

// ---- memory ------------------------------------------------------------------------------------------------------------
// Below parent: the leaf of what malloc gave out.
static inline uint32_t add_native(recording *r, uint32_t parent)
{
    return pyprof__model_node(&r->model, parent, pyprof__model_pseudo(&r->model, "<malloc>", PYPROF_KIND_NATIVE, 0));
}

// Blocks of one size: so many were allocated, so many are alive, so many were at the peak.
static inline void add_blocks(recording *r, uint32_t node, int64_t size, int64_t allocated, int64_t live, int64_t peak)
{
    pyprof__model_add(&r->model, PYPROF_ALLOC_BYTES, node, size * allocated);
    pyprof__model_add(&r->model, PYPROF_ALLOC_BLOCKS, node, allocated);
    pyprof__model_add(&r->model, PYPROF_LIVE_BYTES, node, size * live);
    pyprof__model_add(&r->model, PYPROF_LIVE_BLOCKS, node, live);
    pyprof__model_add(&r->model, PYPROF_PEAK_BYTES, node, size * peak);
    pyprof__model_add(&r->model, PYPROF_PEAK_BLOCKS, node, peak);
    pyprof__model_add(&r->model, PYPROF_LIVE_AGE_MS, node, live * 40);
}

static inline void add_gauge(recording *r, uint64_t at, int64_t resident, int64_t traced)   // at: ms
{
    pyprof__gauge *gauge = pyprof__push(&r->pool, &r->model.gauges);
    CHECK(gauge != NULL);
    gauge->ns = r->model.start_ns + at * ms;
    gauge->facts.resident_bytes = resident;
    gauge->facts.traced_bytes = traced;
}

static inline pyprof_profile *seal(recording *r, uint64_t recent_ns)   // as a profile of a fixed process; NULL = no memory
{
    pyprof_profile *profile = pyprof__profile_new(&r->model, recent_ns, &r->pool.allocator);
    if (!profile) return NULL;
    profile->program = pyprof__intern(&profile->pool, &profile->model.strings, "host", 4);
    profile->python = pyprof__intern(&profile->pool, &profile->model.strings, "3.12.1", 6);
    profile->interpreters = 1;
    return profile;
}

// ---- numbers by chance, the same in each run -------------------------------------------------------------------------
static uint64_t model_seed = 1;

static inline uint32_t random_below(uint32_t n)
{
    model_seed = model_seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((model_seed >> 32) * n) >> 32);
}

static inline double random_unit(void) { return ((double)random_below(1u << 30) + 0.5) / (double)(1u << 30); }

// ---- an allocator that counts what it gave out, and fails once when asked to -----------------------------------------
typedef struct { long calls, fail_at; long long live, most; } counting;   // most: of live, so far

static inline void *counting_alloc(void *user, size_t size)
{
    counting *c = (counting *)user;
    if (++c->calls == c->fail_at) return NULL;
    c->live += (long long)size;
    if (c->live > c->most) c->most = c->live;
    return malloc(size);
}

static inline void counting_free(void *user, void *memory, size_t size)
{
    ((counting *)user)->live -= memory ? (long long)size : 0;
    free(memory);
}

static inline pyprof_allocator counting_allocator(counting *c)
{
    pyprof_allocator allocator = { counting_alloc, counting_free, c };
    memset(c, 0, sizeof *c);
    return allocator;
}

// while (fails_next(&f, result, LEAST)) result = ...: lets the first allocation of the call fail, then the second, and so on,
// until the call succeeds. No failure may leave memory behind; there must be more than LEAST.
typedef struct { counting *c; long long live; int turns; } failures;

static inline int fails_next(failures *f, pyprof_result result, int least)
{
    if (f->turns) CHECK_INT(f->c->live, f->live);
    else f->live = f->c->live;
    if (f->turns && result != PYPROF_ERR_MEMORY) {
        CHECK_INT(result, PYPROF_OK);
        CHECK(f->turns > least && f->c->calls < f->c->fail_at);
        return 0;
    }
    f->c->calls = 0;
    f->c->fail_at = ++f->turns;
    return 1;
}
#endif
