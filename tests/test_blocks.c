// The table of blocks that the heap tracker keeps: what an entry holds, and entries that come, grow and go.
#include "test.h"
#include "inside.h"

static uint64_t seed = 1;
static uint64_t some(int bits) { return pyprof__random(&seed) & PYPROF__ONES(bits); }

TEST(an_entry_holds_it_all)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t address = some(45) << 3, size = some(i % 40), here;
        const void *at = (const void *)(uintptr_t)address;
        uint32_t site = (uint32_t)some(22), birth = (uint32_t)some(28);
        pyprof__entry entry;
        here = pyprof__block_here(at);
        CHECK(size <= PYPROF__ONES(39) && here <= PYPROF__ONES(PYPROF__HERE_BITS));
        pyprof__entry_make(&entry, here, size, i & 3, site, birth);
        CHECK(pyprof__block_of(pyprof__shard_of(at), here) == address);
        CHECK(pyprof__entry_here(&entry) == here);
        CHECK(pyprof__entry_size(&entry) == size);
        CHECK(pyprof__entry_site(&entry) == site && pyprof__entry_birth(&entry) == birth && pyprof__entry_domain(&entry) == (i & 3));
    }
}

enum { BLOCKS = 400000 };

// As an allocator gives them.
static const void *block(uint64_t i) { return (const void *)(uintptr_t)(0x7f0000000000u + i * 48); }

static void add(uint64_t i)
{
    pyprof__entry entry;
    pyprof__entry_make(&entry, pyprof__block_here(block(i)), i, PYPROF_DOMAIN_OBJ, 1 + (uint32_t)(i & 0xffff), 0);
    CHECK(pyprof__block_add(block(i), &entry, pyprof__hot.tracking));
}

static int take(uint64_t i)
{
    pyprof__entry entry;
    int found = pyprof__block_take(block(i), &entry);
    if (found) CHECK(pyprof__entry_size(&entry) == i && pyprof__entry_site(&entry) == 1 + (i & 0xffff));
    return found;
}

TEST(blocks_that_come_and_go)
{
    uint64_t i;
    pyprof__heap.max_bytes = UINT64_MAX;
    for (i = 0; i < BLOCKS; i++) add(i);
    CHECK(pyprof__heap.table_bytes < 32ull * BLOCKS);
    for (i = 0; i < BLOCKS; i++) if (i % 3) CHECK(take(i));
    for (i = 0; i < BLOCKS; i++) CHECK(i % 3 || !take(BLOCKS + i));
    for (i = 0; i < BLOCKS; i++) CHECK(take(i) == (i % 3 == 0));
    for (i = 0; i < PYPROF__SHARDS; i++) CHECK(pyprof__shards[i].count == 0 && pyprof__shards[i].waiting == 0);
}

TEST(a_table_that_may_not_grow)
{
    uint64_t i, fit = 0;
    pyprof__blocks_drop();
    pyprof__heap.max_bytes = 1 << 20;
    for (i = 0; i < BLOCKS; i++) {
        pyprof__entry entry;
        pyprof__entry_make(&entry, pyprof__block_here(block(i)), i, PYPROF_DOMAIN_OBJ, 1, 0);
        fit += (uint64_t)pyprof__block_add(block(i), &entry, pyprof__hot.tracking);
    }
    CHECK(fit > 30000 && fit < 100000);
    CHECK(pyprof__heap.table_bytes <= 1 << 20);
    for (i = 0; i < BLOCKS; i++) {
        pyprof__entry entry;
        fit -= (uint64_t)pyprof__block_take(block(i), &entry);
    }
    CHECK_INT(fit, 0);
}

// Blocks of few shards leave room for a page of each other shard.
TEST(a_full_table_has_room_for_other_memory)
{
    uint64_t i, fit = 0;
    pyprof__blocks_drop();
    CHECK(pyprof__heap.table_bytes == 0 && pyprof__heap.begun == 0);
    pyprof__heap.max_bytes = 3 << 20;
    for (i = 0; i < 100000; i++) {
        const void *at = (const void *)(uintptr_t)(0x7f0000000000u + i % 2048 * 16 + i / 2048 * (1u << 23));
        pyprof__entry entry;
        pyprof__entry_make(&entry, pyprof__block_here(at), 1, PYPROF_DOMAIN_OBJ, 1, 0);
        fit += (uint64_t)pyprof__block_add(at, &entry, pyprof__hot.tracking);
    }
    CHECK(pyprof__heap.begun < 40 && fit > 10000 && fit < 100000);
    for (i = 0; i < PYPROF__SHARDS; i++) {
        const void *at = (const void *)(uintptr_t)(0x7e0000000000u + i * 32768);
        pyprof__entry entry;
        pyprof__entry_make(&entry, pyprof__block_here(at), 1, PYPROF_DOMAIN_OBJ, 1, 0);
        if (!pyprof__shard_of(at)->capacity)
            for (int n = 0; n <= PYPROF__FRONT; n++) CHECK(pyprof__block_add(at, &entry, pyprof__hot.tracking));
    }
    CHECK(pyprof__heap.begun == PYPROF__SHARDS && pyprof__heap.table_bytes <= 3 << 20);
    pyprof__blocks_drop();
    CHECK(pyprof__heap.table_bytes == 0 && pyprof__heap.begun == 0);
}

// Programs go through their memory in order: what lies together is found together.
TEST(neighbours_stay_neighbours)
{
    for (int i = 0; i < 10000; i++) {
        uint64_t chunk = some(33) << 15, line = chunk + (some(8) << 7);
        pyprof__shard shard = { .capacity = 1 + (uint32_t)some(20) };
        pyprof__entry one, other;
        pyprof__entry_make(&one, pyprof__block_here((const void *)(uintptr_t)(line + (some(4) << 3))), 1, 0, 1, 0);
        pyprof__entry_make(&other, pyprof__block_here((const void *)(uintptr_t)(line + (some(4) << 3))), 1, 0, 1, 0);
        CHECK(pyprof__home(&shard, &one) < shard.capacity);
        CHECK_INT(pyprof__home(&shard, &other), pyprof__home(&shard, &one));
        CHECK(pyprof__shard_of((const void *)(uintptr_t)line) == pyprof__shard_of((const void *)(uintptr_t)chunk));
    }
}

// ---- the high-water mark --------------------------------------------------------------------------------------------
enum { SITES = 8, STEPS = 60000 };
static struct { uint64_t bytes[SITES], blocks[SITES], peak_bytes[SITES], peak_blocks[SITES], total, peak; } seen;
static uint32_t sites[SITES], bucket;
static struct { uint64_t size; int site; } alive[STEPS];
static int living;

static void count(pyprof__allocating_thread *self, int in, int site, uint64_t size)
{
    pyprof__entry entry;
    if (!sites[site]) sites[site] = pyprof__site_new(0, 0, site, &bucket, 1);
    pyprof__entry_make(&entry, 0, size, PYPROF_DOMAIN_OBJ, sites[site], 0);
    if (in) pyprof__count_in(self, sites[site], size, PYPROF_DOMAIN_OBJ, 0);
    else pyprof__count_out(self, NULL, &entry);
    seen.bytes[site] += in ? size : (uint64_t)0 - size;
    seen.blocks[site] += in ? 1 : (uint64_t)-1;
    seen.total += in ? size : (uint64_t)0 - size;
    if (seen.total <= seen.peak) return;
    seen.peak = seen.total;
    memcpy(seen.peak_bytes, seen.bytes, sizeof seen.bytes);
    memcpy(seen.peak_blocks, seen.blocks, sizeof seen.blocks);
}

static void check_marks(void)
{
    CHECK(pyprof__heap.peak == (int64_t)seen.peak);
    for (int i = 0; i < SITES; i++) {
        const pyprof__heap_site *site = pyprof__site_at(sites[i]);
        int kept = site->epoch == pyprof__heap.epoch;
        if (!sites[i]) continue;
        CHECK((kept ? site->peak_bytes : pyprof__site_live(site)) == seen.peak_bytes[i]);
        CHECK((kept ? site->peak_blocks : pyprof__site_live_blocks(site)) == seen.peak_blocks[i]);
    }
}

static pyprof__allocating_thread *counting_begins(void)
{
    pyprof__allocating_thread *self = pyprof__allocating_new(16);
    CHECK(self);
    self->life = 1;
    pyprof__heap.mode = PYPROF_HEAP_EXACT;
    pyprof__heap.epoch = 7;
    pyprof__heap.life_count = pyprof__heap.site_count = 1;
    pyprof__heap.site_limit = PYPROF__SITES_LEAST;
    return self;
}

// Each site has what it had at the latest maximum, whatever came after: of all sites, sites that come later, too.
TEST(marks_of_any_order)
{
    pyprof__allocating_thread *self = counting_begins();
    for (int i = 0; i < STEPS; i++) {
        int rises = i / 500 % 3 != 2, at = living ? (int)(some(30) % (uint64_t)living) : 0;
        if (living == 0 || (some(10) < 600) == rises) {
            alive[living].size = some(4) ? some(9) : 0;
            alive[living].site = (int)some(3) * (i > STEPS / 8);
            count(self, 1, alive[living].site, alive[living].size);
            living++;
        } else {
            count(self, 0, alive[at].site, alive[at].size);
            alive[at] = alive[--living];
        }
        check_marks();
    }
    CHECK(living > 100 && sites[SITES - 1] && seen.peak > seen.total);
}

TEST(a_heap_that_grows_keeps_nothing)
{
    pyprof__allocating_thread *self = counting_begins();
    for (int i = 0; i < 1000; i++) count(self, 1, i % SITES, 100);
    CHECK_INT(pyprof__heap.epoch, 7);
    count(self, 0, 0, 100);
    count(self, 1, 1, 100);
    count(self, 1, 2, 1);
    CHECK_INT(pyprof__heap.epoch, 8);
    check_marks();
}

// ---- hooks that were lost: all blocks are dropped while other threads go on ------------------------------------------
static int dropping;

static void *drops(void *unused)
{
    while (__atomic_load_n(&dropping, __ATOMIC_RELAXED)) pyprof__blocks_drop();
    return unused;
}

static int is_passed_over(uint64_t i)   // it is in the table, and the filter says that it is not
{
    pyprof__shard *shard = pyprof__shard_of(block(i));
    int passed;
    pyprof__heap_lock(&shard->lock);
    passed = pyprof__shard_find(shard, pyprof__block_here(block(i))) && !pyprof__is_known(block(i));
    pyprof__unlock(&shard->lock);
    return passed;
}

TEST(no_block_is_passed_over_after_a_drop)
{
    pthread_t thread;
    uint64_t i, added = 0, passed = 0;
    pyprof__heap.max_bytes = UINT64_MAX;
    pyprof__hot.mask = PYPROF__FILTER - 1;
    dropping = 1;
    CHECK(pthread_create(&thread, NULL, drops, NULL) == 0);
    for (i = 0; i < BLOCKS && !passed; i++) {
        add(i);
        if (i >= 40) passed += (uint64_t)is_passed_over(i - 40);
        added++;
    }
    __atomic_store_n(&dropping, 0, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK_INT(passed, 0);
    pyprof__blocks_drop();
    CHECK(added == BLOCKS && pyprof__heap.table_bytes == 0);
    for (i = 0; i < PYPROF__FILTER; i++) CHECK(!pyprof__filter[i]);
    pyprof__hot.mask = 0;
}

// ---- what a sample stands for, and how sure that is ------------------------------------------------------------------
static double unit(void) { return ((double)some(30) + 0.5) / (double)(1 << 30); }

typedef struct { int count; uint64_t size; } crowd;
static const crowd crowds[][4] = {
    { { 20000, 3000 } },
    { { 400, 200000 } },
    { { 200, 524288 } },
    { { 60, 4 * 524288 } },
    { { 20000, 3000 }, { 400, 200000 }, { 60, 4 * 524288 }, { 5, 1 << 30 } },
};

// Noted as chance will have it: is the truth within 1.96 deviations? half: of that interval, added up
static int covered(const crowd *population, double *half)
{
    double truth = 0, estimate = 0, doubt = 0, error;
    for (int c = 0; c < 4; c++)
        for (int i = 0; i < population[c].count; i++) {
            pyprof__weight weight;
            truth += (double)population[c].size;
            if (unit() < pyprof__exp_minus((double)population[c].size / (double)pyprof__heap.interval)) continue;
            weight = pyprof__weigh(population[c].size);
            estimate += (double)weight.bytes;
            doubt += (double)weight.doubt;
        }
    error = pyprof__sqrt((double)pyprof__heap.interval * doubt) * 1.96;
    *half += error;
    return estimate - truth <= error && truth - estimate <= error;
}

TEST(errors_cover_the_truth)
{
    const int times = test_long() ? 500 : 100;
    pyprof__heap.mode = PYPROF_HEAP_SAMPLED;
    pyprof__heap.interval = 524288;
    for (size_t p = 0; p < sizeof crowds / sizeof *crowds; p++) {
        int inside = 0;
        double half = 0, bytes = 0;
        for (int i = 0; i < times; i++) inside += covered(crowds[p], &half);
        for (int c = 0; c < 4; c++) bytes += (double)crowds[p][c].count * (double)crowds[p][c].size;
        printf("mix %zu: %.1f %% covered, +- %.1f %%; as small blocks +- %.1f %%\n", p, inside * 100.0 / times,
               half / times / bytes * 100, 196 * pyprof__sqrt(524288 / bytes));
        CHECK(inside >= times * 90 / 100 && inside <= times * 99 / 100);
    }
}

TEST(doubt_of_any_size)   // never more than the bytes, of small blocks nearly all, of large ones next to nothing; exact: none
{
    pyprof__heap.mode = PYPROF_HEAP_SAMPLED;
    pyprof__heap.interval = 524288;
    for (uint64_t size = 0; size <= (uint64_t)1 << 38; size = size * 5 / 4 + 1) {
        pyprof__weight weight = pyprof__weigh(size);
        CHECK(weight.doubt <= weight.bytes);
        if (size > 100 && size < 5000) CHECK(weight.doubt > weight.bytes * 98 / 100);
        if (size > 20 * 524288) CHECK(weight.doubt < 10);
    }
    pyprof__heap.mode = PYPROF_HEAP_EXACT;
    CHECK(pyprof__weigh(5000).doubt == 0 && pyprof__weigh(5000).bytes == 5000);
}

// While a table grows its old pages are gone already, and it does not know of the new ones.
TEST(a_child_frees_nothing_that_may_have_been_growing)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pyprof__heap_forked();   // it never was on
    pyprof__heap.pid = 1;
    CHECK(pages != MAP_FAILED && pyprof__heap_codes(UINT64_MAX));
    pyprof__aside.entries = (pyprof__entry *)pages;
    pyprof__aside.size = size;
    pyprof__heap.addresses.data = pages;
    pyprof__heap.addresses.capacity = size / pyprof__heap.addresses.item;
    pyprof__heap_forked();
    pyprof__blocks_drop();
    pyprof__array_free(&pyprof__heap.pool, &pyprof__heap.addresses);
    CHECK(pyprof__heap.codes.pool == NULL);
    CHECK(msync(pages, size, MS_ASYNC) == 0);   // it is still there
    munmap(pages, size);
}

TEST_MAIN
