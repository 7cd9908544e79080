// big.h - a recording as large as asked for, the same in each run. Include it after pyprof.h, or its inside.
#ifndef BIG_H
#define BIG_H
enum { BIG_THREADS = 8, BIG_FUNCTIONS = 3000, BIG_FILES = 200 };
#define BIG_NONE 0xffffffffu   // the header's id for "no such thing", which it undefines
typedef struct { uint64_t seed; pyprof__model *model; uint32_t nodes[BIG_THREADS]; } big_recording;

static inline uint32_t big_draw(big_recording *big, uint32_t below)
{
    big->seed = big->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((big->seed >> 32) * below) >> 32);
}

// A thread, its node below the root. 0 = no memory
static inline int big_thread(big_recording *big, uint32_t i)
{
    pyprof__model *model = big->model;
    pyprof__recorded_thread *thread = (pyprof__recorded_thread *)pyprof__push(model->pool, &model->threads);
    char name[32];
    if (!thread) return 0;
    memset(thread, 0, sizeof *thread);
    snprintf(name, sizeof name, i ? "worker-%u" : "MainThread", (unsigned)i);
    thread->native = 1000 + i;
    thread->ident = 0x7f0000001000u + i;
    thread->wanted = 1;
    thread->first_ns = thread->last_ns = model->start_ns;
    thread->name = pyprof__model_string(model, name);
    big->nodes[i] = thread->node = pyprof__model_node(model, 0, pyprof__model_pseudo(model, name, PYPROF_KIND_THREAD, (int32_t)i + 1));
    model->stats.threads = i + 1;
    return 1;
}

// One more frame below the node: one of BIG_FUNCTIONS, each of which has four lines.
static inline uint32_t big_frame(big_recording *big, uint32_t parent)
{
    pyprof__model *model = big->model;
    uint32_t number = big_draw(big, BIG_FUNCTIONS);
    int line = (int)(number % 40 * 25 + 2 + big_draw(big, 4));
    pyprof__source_range place = { line, line, 4, 30 };
    pyprof__function function;
    char text[96];
    memset(&function, 0, sizeof function);
    snprintf(text, sizeof text, "Service%u.handle_%u", (unsigned)(number / 10), (unsigned)number);
    function.qualname = pyprof__model_string(model, text);
    function.name = pyprof__model_string(model, strchr(text, '.') + 1);
    snprintf(text, sizeof text, "/srv/app/package_%u/module_%u.py", (unsigned)(number % BIG_FILES / 20), (unsigned)(number % BIG_FILES));
    function.file = pyprof__model_path(model, text);
    function.first_line = (int)(number % 40 * 25 + 1);
    function.kind = PYPROF_KIND_PYTHON;
    return pyprof__model_node(model, parent, pyprof__model_location(model, &function, &place));
}

static inline void big_blocks(big_recording *big, uint32_t node)
{
    int64_t size = 16 + big_draw(big, 4000), all = 1 + big_draw(big, 100), live = big_draw(big, (uint32_t)all);
    pyprof__model_add(big->model, PYPROF_ALLOC_BYTES, node, size * all);
    pyprof__model_add(big->model, PYPROF_ALLOC_BLOCKS, node, all);
    pyprof__model_add(big->model, PYPROF_LIVE_BYTES, node, size * live);
    pyprof__model_add(big->model, PYPROF_LIVE_BLOCKS, node, live);
    pyprof__model_add(big->model, PYPROF_PEAK_BYTES, node, size * live);
    pyprof__model_add(big->model, PYPROF_PEAK_BLOCKS, node, live);
}

// The stacks of each thread in the order of a walk through its tree: before[i] is the stack below which stack i was made, or i.
static inline int big_walk(const uint32_t *before, uint32_t stacks, uint32_t *walk)
{
    uint32_t *child = (uint32_t *)calloc(2 * (size_t)stacks + 1, sizeof *child), *beside = child + stacks, count[BIG_THREADS] = { 0 };
    if (!child) return 0;
    for (uint32_t i = stacks; i-- > 0;) {   // lists of children, as numbers + 1; those of the threads are made of what is below none
        if (before[i] == i) continue;
        beside[i] = child[before[i]];
        child[before[i]] = i + 1;
    }
    for (uint32_t i = 0; i < stacks; i++) {
        uint32_t at = i;
        if (before[i] != i) continue;
        for (;;) {
            walk[count[i % BIG_THREADS]++ * BIG_THREADS + i % BIG_THREADS] = at;
            if (child[at]) { at = child[at] - 1; continue; }
            while (at != i && !beside[at]) at = before[at];
            if (at == i) break;
            at = beside[at] - 1;
        }
    }
    free(child);
    return 1;
}

// Samples in turn of all threads, 1 ms each; a third of them wait. A thread goes to one of the next 40 stacks of the walk, so that
// consecutive samples have frames in common, as in a program; now and then to any other.
static inline void big_moments(big_recording *big, const uint32_t *stack_nodes, const uint32_t *walk, uint32_t stacks, uint32_t moments)
{
    pyprof__model *model = big->model;
    uint64_t last[BIG_THREADS] = { 0 }, step = 1000000;
    uint32_t at[BIG_THREADS] = { 0 }, each = stacks / BIG_THREADS;
    for (uint32_t i = 0; i < moments; i++) {
        pyprof__moment moment;
        uint32_t state = big_draw(big, 3), thread = i % BIG_THREADS;
        memset(&moment, 0, sizeof moment);
        at[thread] = (big_draw(big, 50) ? at[thread] + 20 * each - 20 + big_draw(big, 41) : big_draw(big, each)) % each;
        moment.start_ns = model->start_ns + i / BIG_THREADS * step;
        moment.end_ns = moment.start_ns + step;
        moment.wall_ns = step;
        moment.state = state == 0 ? (uint32_t)PYPROF__IS_WAITING : state == 1 ? (uint32_t)PYPROF__HAS_GIL : 0;
        moment.cpu_ns = state == 0 ? 0 : step - big_draw(big, 1000);
        moment.thread = thread;
        moment.node = stack_nodes[walk[at[thread] * BIG_THREADS + thread]];
        moment.count = 1;
        pyprof__model_columns(model, &moment);
        pyprof__model_moment(model, &moment, &last[thread]);
        model->stats.asked++;
        model->stats.samples++;
        ((pyprof__recorded_thread *)model->threads.data)[thread].last_ns = model->last_ns = moment.end_ns;
    }
    model->recorded_ns = model->last_ns - model->start_ns;
}

// A model that has begun gets so many stacks (a multiple of 8, some 20 frames deep) and entries of the time line; heap: memory, too.
static inline int big_fill(pyprof__model *model, uint32_t stacks, uint32_t moments, int heap)
{
    big_recording big;
    uint32_t *stack_nodes = (uint32_t *)malloc(3 * (size_t)stacks * sizeof *stack_nodes), *before = stack_nodes + stacks, *walk = before + stacks;
    int whole = stack_nodes != NULL;
    memset(&big, 0, sizeof big);
    big.seed = 1;
    big.model = model;
    model->timeline_s = 1e9;
    for (uint32_t i = 0; i < BIG_THREADS; i++) whole = whole && big_thread(&big, i);
    for (uint32_t i = 0; whole && i < stacks; i++) {   // of thread i % BIG_THREADS: an earlier stack, and some frames below it
        uint32_t node;
        before[i] = i < BIG_THREADS || !big_draw(&big, 50) ? i : big_draw(&big, i / BIG_THREADS) * BIG_THREADS + i % BIG_THREADS;
        node = before[i] == i ? big.nodes[i % BIG_THREADS] : stack_nodes[before[i]];
        for (uint32_t more = 1 + big_draw(&big, 4); more && node != BIG_NONE; more--) node = big_frame(&big, node);
        whole = node != BIG_NONE;
        stack_nodes[i] = node;
        if (heap && whole) big_blocks(&big, node);
    }
    if (heap) {
        model->heap.mode = PYPROF_HEAP_EXACT;
        model->heap.peak_ns = model->start_ns + 1000000;
        model->stats.heap_state = PYPROF_HEAP_STATE_ON;
    }
    whole = whole && big_walk(before, stacks, walk);
    if (whole) big_moments(&big, stack_nodes, walk, stacks, moments);
    free(stack_nodes);
    return whole;
}
#endif
