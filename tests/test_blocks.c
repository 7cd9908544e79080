// The table of blocks that the heap tracker keeps: what an entry holds, and entries that come, grow and go.
#include "test.h"
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

static uint64_t seed = 1;
static uint64_t some(int bits) { return pyprof__random(&seed) & PYPROF__ONES(bits); }

TEST(an_entry_holds_it_all)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t address = some(45) << 3, size = some(i % 40), hash = pyprof__block_hash((const void *)(uintptr_t)address);
        uint32_t site = (uint32_t)some(22), birth = (uint32_t)some(28);
        pyprof__entry entry;
        CHECK(size <= PYPROF__ONES(39) && hash <= PYPROF__ONES(PYPROF__HASH_BITS));
        pyprof__entry_make(&entry, hash, size, i & 3, site, birth);
        CHECK(pyprof__hash_block(hash) == address);
        CHECK(pyprof__entry_here(&entry) == (hash & PYPROF__ONES(PYPROF__HERE_BITS)));
        CHECK(pyprof__entry_size(&entry) == size);
        CHECK(pyprof__entry_site(&entry) == site && pyprof__entry_birth(&entry) == birth && pyprof__entry_domain(&entry) == (i & 3));
    }
}

enum { BLOCKS = 400000 };

static uint64_t block(uint64_t i) { return 0x7f0000000000u + i * 48; }   // as an allocator gives them

static void add(uint64_t i)
{
    uint64_t hash = pyprof__block_hash((const void *)(uintptr_t)block(i));
    pyprof__entry entry;
    pyprof__entry_make(&entry, hash, i, PYPROF_DOMAIN_OBJ, 1 + (uint32_t)(i & 0xffff), 0);
    CHECK(pyprof__block_add(hash, &entry, pyprof__hot.generation));
}

static int take(uint64_t i)
{
    pyprof__entry entry;
    int found = pyprof__block_take(pyprof__block_hash((const void *)(uintptr_t)block(i)), &entry);
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
        uint64_t hash = pyprof__block_hash((const void *)(uintptr_t)block(i));
        pyprof__entry entry;
        pyprof__entry_make(&entry, hash, i, PYPROF_DOMAIN_OBJ, 1, 0);
        fit += (uint64_t)pyprof__block_add(hash, &entry, pyprof__hot.generation);
    }
    CHECK(fit > 30000 && fit < 100000);
    CHECK(pyprof__heap.table_bytes <= 1 << 20);
    for (i = 0; i < BLOCKS; i++) {
        pyprof__entry entry;
        fit -= (uint64_t)pyprof__block_take(pyprof__block_hash((const void *)(uintptr_t)block(i)), &entry);
    }
    CHECK_INT(fit, 0);
}

TEST_MAIN
