// Copies of memory that may be gone: never a crash, never half an answer; the mirror says what memory says.
#include "test.h"
#include "inside.h"
#include "model.h"

enum { PAGE = 4096 };

static pyprof__origin opened(pyprof__method method)
{
    pyprof__origin origin;
    if (!pyprof__origin_try(&origin, &pyprof__own_proc, method)) SKIP(method == PYPROF__BY_MEMFD ? "no memfd here" : "no process_vm_readv here");
    return origin;
}

static unsigned char *pages(size_t count)   // whose bytes tell their place
{
    unsigned char *p = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    for (size_t i = 0; i < count * PAGE; i++) p[i] = (unsigned char)(i * 31 + (i >> 8));
    return p;
}

static uint64_t address(const void *p) { return (uint64_t)(uintptr_t)p; }

static void check_copies(pyprof__method method)
{
    pyprof__origin origin = opened(method);
    unsigned char to[2 * PAGE], *p = pages(4);
    CHECK(pyprof__copy(&origin, to, address(p) + 5, PAGE) && !memcmp(to, p + 5, PAGE));
    CHECK_INT(mprotect(p + PAGE, PAGE, PROT_NONE), 0);
    CHECK_INT(munmap(p + 3 * PAGE, PAGE), 0);
    CHECK(pyprof__copy(&origin, to, address(p), PAGE));
    CHECK(!pyprof__copy(&origin, to, address(p) + 1, PAGE));           // its last byte is behind the border: a short read
    CHECK(!pyprof__copy(&origin, to, address(p) + PAGE, 1));           // PROT_NONE
    CHECK(!pyprof__copy(&origin, to, address(p) + 2 * PAGE - 1, 2));   // begins in it
    CHECK(pyprof__copy(&origin, to, address(p) + 3 * PAGE - 8, 8));
    CHECK(!pyprof__copy(&origin, to, address(p) + 3 * PAGE - 8, 16));  // unmapped
    const uint64_t nowhere[] = { 0, 8, 4095, 0x800000000000u, 0xffff800000000000u, UINT64_MAX - 7, UINT64_MAX };
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) CHECK(!pyprof__copy(&origin, to, nowhere[i], 16));
    pyprof__origin_close(&origin);
}

TEST(copies_by_writev) { check_copies(PYPROF__BY_WRITEV); }
TEST(copies_by_readv) { check_copies(PYPROF__BY_READV); }
TEST(copies_by_memfd) { check_copies(PYPROF__BY_MEMFD); }

static void check_mirror(pyprof__method method)
{
    pyprof__origin origin = opened(method);
    pyprof__pool pool;
    pyprof__mirror mirror;
    unsigned char *p = pages(64), to[5000];
    uint64_t random = 7;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    for (size_t i = 3; i < 64; i += 7) CHECK_INT(mprotect(p + i * PAGE, PAGE, PROT_NONE), 0);
    for (int epoch = 0; epoch < 50; epoch++) {
        unsigned char wanted[4] = { epoch & 1, epoch >> 1 & 1, 1, epoch & 1 };
        pyprof__mirror_begin(&mirror);
        for (size_t i = 0; i < 64; i++) if (i % 7 != 3) p[i * PAGE + (size_t)epoch * 80]++;   // what was copied before is stale
        if (epoch % 5) pyprof__mirror_prefetch(&mirror, wanted, 4);
        for (uint32_t owner = 0; owner < 4; owner++) {
            pyprof__mirror_own(&mirror, owner);
            for (int i = 0; i < 20; i++) {
                size_t at = pyprof__random(&random) % (60 * PAGE), size = pyprof__random(&random) % sizeof to;
                int readable = 1;
                for (size_t page = at / PAGE; size && page <= (at + size - 1) / PAGE; page++) readable &= page % 7 != 3;
                CHECK_INT(pyprof__read(&mirror, to, address(p) + at, size), readable);
                CHECK(!readable || !memcmp(to, p + at, size));
            }
        }
    }
    pyprof__mirror_free(&mirror);
    CHECK_INT(pool.used, 0);
    pyprof__origin_close(&origin);
}

TEST(mirror_by_writev) { check_mirror(PYPROF__BY_WRITEV); }
TEST(mirror_by_readv) { check_mirror(PYPROF__BY_READV); }
TEST(mirror_by_memfd) { check_mirror(PYPROF__BY_MEMFD); }

TEST(memfd_of_somebody_else)   // the host closed all descriptors and opened a file: it is not written to
{
    char path[] = "/tmp/pyprof-test-XXXXXX", byte = 1;
    pyprof__origin origin = opened(PYPROF__BY_MEMFD);
    int fd = mkstemp(path);
    CHECK(fd >= 0 && unlink(path) == 0 && dup2(fd, origin.fd) == origin.fd);
    CHECK(!pyprof__copy(&origin, &byte, address(path), 1));
    CHECK_INT(lseek(fd, 0, SEEK_END), 0);
    close(fd);
    pyprof__origin_close(&origin);
}

TEST(mirror_is_one_moment)   // within an epoch a block is not read again, whatever happens to it
{
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    pyprof__pool pool;
    pyprof__mirror mirror;
    uint64_t *p = (uint64_t *)(void *)pages(1);
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    p[3] = 100;
    CHECK_INT(pyprof__read_pointer(&mirror, address(p + 3)), 100);
    p[3] = 200;
    CHECK_INT(pyprof__read_pointer(&mirror, address(p + 3)), 100);
    pyprof__mirror_begin(&mirror);
    CHECK_INT(pyprof__read_pointer(&mirror, address(p + 3)), 200);
    CHECK_INT(pyprof__read_pointer(&mirror, 16), 0);
}

TEST(mirror_prefetches_blocks_in_use)
{
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    pyprof__pool pool;
    pyprof__mirror mirror;
    unsigned char *p = pages(400), wanted[2] = { 0, 1 }, byte;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    for (uint32_t owner = 0; owner < 2; owner++) {
        pyprof__mirror_own(&mirror, owner);
        for (size_t i = 0; i < 200; i++) CHECK(pyprof__read(&mirror, &byte, address(p + (owner * 200 + i) * PAGE), 1));
    }
    CHECK_INT(mprotect(p + 300 * PAGE, PAGE, PROT_NONE), 0);
    pyprof__mirror_begin(&mirror);
    pyprof__mirror_prefetch(&mirror, wanted, 2);
    CHECK_INT(mprotect(p, 400 * PAGE, PROT_NONE), 0);   // only what has been fetched is there now
    for (size_t i = 0; i < 400; i++) CHECK_INT(pyprof__read(&mirror, &byte, address(p + i * PAGE), 1), i >= 200 && i != 300);
}

TEST(mirror_forgets_only_blocks_out_of_use)   // planned blocks are still fetched ahead, as one copy
{
    enum { MANY = 1500, PLANNED = 40 };
    pyprof__origin origin = opened(PYPROF__BY_READV);
    unsigned char *p = pages(MANY), wanted[2] = { 1, 0 }, byte;
    pyprof__pool pool;
    pyprof__mirror mirror;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    pyprof__mirror_own(&mirror, 1);
    for (size_t i = 0; i < MANY; i++) CHECK(pyprof__read(&mirror, &byte, address(p + i * PAGE), 1));
    for (int epoch = 0; epoch < 70; epoch++) {
        pyprof__mirror_begin(&mirror);
        pyprof__mirror_prefetch(&mirror, wanted, 2);
        if (epoch) CHECK_INT(mirror.bytes.count, PLANNED * 256);
        for (uint32_t owner = 0; owner < 2; owner++) {   // the second owner needs nothing any more
            pyprof__mirror_own(&mirror, owner);
            for (size_t i = 0; i < PLANNED && owner == 0; i++) {
                p[(i * 7 + 3) * PAGE] = (unsigned char)(epoch + (int)i);
                CHECK(pyprof__read(&mirror, &byte, address(p + (i * 7 + 3) * PAGE), 1));
                if (epoch) CHECK_INT(byte, (unsigned char)(epoch - 1 + (int)i));   // as it was when it was fetched
            }
        }
        if (epoch) CHECK_INT(mirror.misses, 0);
    }
    CHECK(mirror.blocks.count < 100);
    CHECK(pyprof__read(&mirror, &byte, address(p + 1000 * PAGE), 1));
    pyprof__mirror_free(&mirror);
}

TEST(mirror_keeps_the_last_epoch_only_where_it_is_small)   // so that one with many blocks does not need twice its memory
{
    enum { MANY = 1200, FEW = 48 };   // whole pages
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    unsigned char *p = pages(MANY * 256 / PAGE), byte;
    pyprof__pool pool;
    pyprof__mirror mirror;
    pyprof__pool_init(&pool, NULL, 1 << 20);
    pyprof__mirror_init(&mirror, &pool, &origin);
    for (int epoch = 0; epoch < 12; epoch++) {
        size_t count = epoch % 4 < 2 ? MANY : FEW;
        pyprof__mirror_begin(&mirror);
        pyprof__mirror_own(&mirror, 0);
        for (size_t i = 0; i < count; i++) CHECK(pyprof__read(&mirror, &byte, address(p + i * 256), 1));
        CHECK_INT(mirror.bytes.count, count * 256);
        CHECK(mirror.before.count <= FEW * 256);
    }
    pyprof__mirror_begin(&mirror);
    CHECK_INT(mirror.before.count, FEW * 256);
    CHECK(mirror.before.capacity + mirror.bytes.capacity <= 4 * FEW * 256);
    pyprof__mirror_free(&mirror);
    CHECK_INT(pool.used, 0);
}

TEST(mirror_beside_impossible_addresses)   // the kernel refuses a whole call for one of them
{
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    pyprof__pool pool;
    pyprof__mirror mirror;
    unsigned char *p = pages(20), byte;
    const unsigned char wanted[1] = { 1 };
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    for (int end = 0; end < 2; end++, origin.end = UINT64_MAX)   // also where the end of the addresses is not known
        for (int epoch = 0; epoch < 4; epoch++) {
            pyprof__mirror_begin(&mirror);
            if (epoch) pyprof__mirror_prefetch(&mirror, wanted, 1);
            pyprof__mirror_own(&mirror, 0);
            for (size_t i = 0; i < 20; i++) {
                CHECK(pyprof__read(&mirror, &byte, address(p + i * PAGE), 1) && byte == p[i * PAGE]);
                if (i % 3 == 1) CHECK(!pyprof__read(&mirror, &byte, 0x37fb800000000u + i * 4096, 1));
            }
        }
    pyprof__mirror_free(&mirror);
}

TEST(blocks_read_twice)
{
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    pyprof__pool pool;
    pyprof__mirror mirror;
    unsigned char *p = pages(10);
    uint64_t bases[10];
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    for (size_t i = 0; i < 10; i++) bases[i] = address(p + (9 - i) * PAGE);
    pyprof__mirror_twice(&mirror, bases, 10);
    for (size_t i = 0; i < 10; i++) CHECK(pyprof__twins_agree(&mirror, bases[i] + i * 8, 250 - i * 8, 1));
    CHECK(!pyprof__twins_agree(&mirror, bases[0] + 250, 8, 0));       // its end lies in a block that was not read twice
    CHECK(!pyprof__twins_agree(&mirror, bases[0] + 1024, 8, 0));
    ((unsigned char *)mirror.bytes.data)[26 * 256 + 40] ^= 1;      // the second copy of the seventh block
    for (size_t i = 0; i < 10; i++) CHECK_INT(pyprof__twins_agree(&mirror, bases[i], 100, 0), i != 6);
    ((unsigned char *)mirror.bytes.data)[32 * 256 + 40] ^= 1;      // the third copy of the eighth one
    for (size_t i = 0; i < 10; i++) CHECK_INT(pyprof__twins_agree(&mirror, bases[i], 100, 1), i != 6 && i != 7);
    CHECK_INT(mprotect(p, PAGE, PROT_NONE), 0);                    // the last one
    pyprof__mirror_begin(&mirror);
    pyprof__mirror_twice(&mirror, bases, 10);
    CHECK(!pyprof__twins_agree(&mirror, bases[0], 8, 0));          // only one copy was made
    pyprof__mirror_free(&mirror);
}

TEST(a_block_that_stops_the_copy_is_told_and_left_out)
{
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    static pyprof__sweeper sweeper;
    unsigned char *p = pages(16);
    int tries;
    memset(&sweeper, 0, sizeof sweeper);
    pyprof__pool_init(&sweeper.pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&sweeper.mirror, &sweeper.pool, &origin);
    CHECK_INT(mprotect(p + 6 * PAGE, PAGE, PROT_NONE), 0);
    CHECK_INT(mprotect(p + 9 * PAGE, PAGE, PROT_NONE), 0);
    for (tries = 0; tries < 6; tries++) {   // touched: eight blocks, two of which cannot be read; the first two before the walk
        unsigned char word[8];
        pyprof__mirror_begin(&sweeper.mirror);
        pyprof__mirror_twice(&sweeper.mirror, sweeper.twins, sweeper.twin_count);
        pyprof__mirror_own(&sweeper.mirror, PYPROF__OWN_TWINS);
        for (size_t i = 3; i < 11 && (tries < 2 || sweeper.mirror.twins == 0); i++)
            CHECK_INT(pyprof__read(&sweeper.mirror, word, address(p) + i * PAGE, 8), i != 6 && i != 9);
        if (tries == 0) {                   // as after a walk that went astray by half
            for (size_t i = 0; i < 8; i++) sweeper.twins[sweeper.twin_count++] = address(p) + (i + 3) * PAGE;
        }
        pyprof__mirror_own(&sweeper.mirror, 0xffffffffu);
        if (tries == 1) CHECK_INT(sweeper.mirror.unreadable, address(p) + 9 * PAGE);
        pyprof__twins_learn(&sweeper, 2);
        if (tries >= 3) CHECK(sweeper.mirror.unreadable == 0 && sweeper.mirror.bytes.count > 0);
    }
    CHECK_INT(sweeper.twin_count, 6);
    CHECK_INT(sweeper.twins[0], address(p) + 5 * PAGE);   // what the walk touched first
    pyprof__mirror_free(&sweeper.mirror);
    pyprof__origin_close(&origin);
}

TEST(mirror_forgets_blocks_out_of_use)
{
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    pyprof__pool pool;
    pyprof__mirror mirror;
    unsigned char *p = pages(1000), byte;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    for (size_t i = 0; i < 4000; i++) CHECK(pyprof__read(&mirror, &byte, address(p + i * 1024), 1));
    for (int epoch = 0; epoch < 200; epoch++) {
        pyprof__mirror_begin(&mirror);
        for (size_t i = 0; i < 10; i++) CHECK(pyprof__read(&mirror, &byte, address(p + i * 1024), 1) && byte == p[i * 1024]);
    }
    CHECK(mirror.blocks.count < 100);   // of 4,000: the ten in use and their neighbours
}

TEST(mirror_with_little_memory)
{
    pyprof__origin origin = opened(PYPROF__BY_WRITEV);
    pyprof__pool pool;
    pyprof__mirror mirror;
    unsigned char *p = pages(100), byte;
    pyprof__pool_init(&pool, NULL, 60000);
    pyprof__mirror_init(&mirror, &pool, &origin);
    int got = 0, all = 0;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < 100; i++, all++)
            if (pyprof__read(&mirror, &byte, address(p + i * PAGE), 1)) { CHECK_INT(byte, p[i * PAGE]); got++; }
    CHECK(got > 10 && got < all && pool.used <= 60000);
}

TEST_MAIN
