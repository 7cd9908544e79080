// Pools that count and end at their limit, arrays, and the index; and each allocation failing once.
#include "test.h"
#include "inside.h"
#include "model.h"

static uint32_t number(const pyprof__array *array, size_t i) { return AT(uint32_t, *array, i); }

TEST(pool_stops_at_its_limit)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    pyprof__pool pool;
    pyprof__pool_init(&pool, &allocator, 1000);
    char *all = pyprof__alloc(&pool, 1000);
    CHECK(all != NULL);
    for (int i = 0; i < 1000; i++) CHECK_INT(all[i], 0);
    CHECK(pyprof__alloc(&pool, 1) == NULL);
    CHECK_INT(c.calls, 1);   // not even asked
    pyprof__free(&pool, all, 1000);
    CHECK_INT(pool.used, 0);
    CHECK(pyprof__alloc(&pool, 1001) == NULL && pyprof__alloc(&pool, SIZE_MAX) == NULL && pyprof__alloc(&pool, 0) == NULL);
    char *part = pyprof__alloc(&pool, 400);
    CHECK(part && pyprof__alloc(&pool, 601) == NULL);
    pyprof__free(&pool, part, 400);
    pyprof__free(&pool, NULL, 5);
    CHECK(pool.used == 0 && c.live == 0);
}

TEST(array_grows_and_keeps)
{
    pyprof__pool pool;
    pyprof__array array, copy;
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__array_init(&array, sizeof(uint32_t));
    for (uint32_t i = 0; i < 10000; i++) {
        uint32_t *item = pyprof__push(&pool, &array);
        CHECK(item && *item == 0);
        *item = i * 7;
    }
    CHECK(pyprof__array_copy(&pool, &copy, &array));
    for (uint32_t i = 0; i < 10000; i++) CHECK(number(&array, i) == i * 7 && number(&copy, i) == i * 7);
    CHECK_INT(copy.count, 10000);
    array.count = 5;
    CHECK_INT(*(uint32_t *)pyprof__push(&pool, &array), 0);   // zeroed again
    pyprof__array_free(&pool, &array);
    pyprof__array_free(&pool, &copy);
    CHECK(pool.used == 0 && array.data == NULL);
}

TEST(array_out_of_memory_stays_as_it_was)
{
    pyprof__pool pool;
    pyprof__array array;
    pyprof__pool_init(&pool, NULL, 4000);
    pyprof__array_init(&array, 8);
    size_t count = 0;
    while (pyprof__push(&pool, &array)) ((uint64_t *)array.data)[count] = count, count++;
    CHECK(count > 100 && array.count == count);
    for (size_t i = 0; i < count; i++) CHECK_INT(((uint64_t *)array.data)[i], i);
    CHECK(!pyprof__array_reserve(&pool, &array, 1000000));
    CHECK_INT(array.count, count);
}

static int same_number(const void *context, uint32_t item, const void *key)
{
    return number((const pyprof__array *)context, item) == *(const uint32_t *)key;
}

static void fill_index(uint64_t (*hash)(uint32_t))
{
    pyprof__pool pool;
    pyprof__array array;
    pyprof__index index;
    memset(&index, 0, sizeof index);
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__array_init(&array, sizeof(uint32_t));
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t key = i * 3;
        CHECK_INT(pyprof__index_find(&index, hash(key), same_number, &array, &key), 0xffffffffu);
        *(uint32_t *)pyprof__push(&pool, &array) = key;
        CHECK(pyprof__index_add(&pool, &index, hash(key), i));
    }
    for (uint32_t key = 0; key < 9000; key++)
        CHECK_INT(pyprof__index_find(&index, hash(key), same_number, &array, &key), key % 3 ? 0xffffffffu : key / 3);
    CHECK(index.count == 3000 && index.count < index.mask);
    pyprof__index_free(&pool, &index);
    pyprof__array_free(&pool, &array);
    CHECK_INT(pool.used, 0);
}

static uint64_t mixed(uint32_t key) { return pyprof__mix(17, key); }
static uint64_t equal(uint32_t key) { return (uint64_t)(key % 5 + 1) << 32; }
static uint64_t low(uint32_t key) { return key; }   // the upper half is all that counts
TEST(index_with_good_hashes) { fill_index(mixed); }
TEST(index_with_equal_hashes) { fill_index(equal); }
TEST(index_with_hashes_in_the_lower_half) { fill_index(low); }

// ---- each allocation fails once ------------------------------------------------------------------------------------
static int make_profile(recording *r, const pyprof_allocator *allocator)   // 1 = whole
{
    static const pyprof__source_range place = { 3, 3, 0, 9 };
    char name[32];
    memset(r, 0, sizeof *r);
    pyprof__pool_init(&r->pool, allocator, UINT64_MAX);
    pyprof__model_init(&r->model, &r->pool);
    r->model.timeline_s = 60;
    int whole = pyprof__model_begin(&r->model, getpid(), 0);
    for (int i = 0; i < 100 && whole; i++) {
        pyprof__function function;
        memset(&function, 0, sizeof function);
        snprintf(name, sizeof name, "function%d", i / 2);
        function.name = function.qualname = pyprof__model_string(&r->model, name);
        function.file = pyprof__model_string(&r->model, i % 2 ? "/a/x.py" : "/b/x.py");
        uint32_t node = pyprof__model_node(&r->model, (uint32_t)i / 3, pyprof__model_location(&r->model, &function, &place));
        whole = node != (uint32_t)NONE;
        if (whole) pyprof__model_add(&r->model, PYPROF_SAMPLES, node, 1);
    }
    pyprof_profile *profile = whole ? pyprof__profile_new(&r->model, 0, allocator) : NULL;
    whole = profile != NULL;
    if (profile) pyprof_profile_free(profile);
    pyprof__model_free(&r->model);
    return whole;
}

TEST(each_allocation_of_a_profile_fails_once)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    recording r;
    int n = 1, whole = 0;
    for (; !whole; n++) {
        c.calls = 0;
        c.fail_at = n;
        whole = make_profile(&r, &allocator);
        CHECK_INT(c.live, 0);
        CHECK_INT(r.pool.used, 0);
        CHECK(n < 1000);
    }
    CHECK(n > 10);
    printf("%d allocations\n", n);
}

// ---- the decoded code objects ------------------------------------------------------------------------------------
static pyprof__pool pool;
static pyprof__codes codes;

static int make_codes(const pyprof_allocator *allocator)   // 1 = whole
{
    static pyprof__layout layout;   // of no version
    pyprof__pool_init(&pool, allocator, UINT64_MAX);
    return pyprof__codes_init(&codes, &pool, &layout);
}

static void check_whole(void)
{
    CHECK_INT(codes.spots.count, PYPROF__SPOTS_PSEUDO);
    for (uint32_t i = 0; i < PYPROF__SPOTS_PSEUDO; i++)
        CHECK_STR(pyprof__string(&codes.strings, AT(pyprof__code, codes.codes, i).name), pyprof__pseudo_names[i]);
}

TEST(each_allocation_of_the_code_objects_fails_once)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    int n, whole = 0;
    for (n = 1; !whole; n++) {
        c.calls = 0;
        c.fail_at = n;
        whole = make_codes(&allocator);
        if (whole) check_whole();
        pyprof__codes_free(&codes);
        pyprof__codes_free(&codes);   // the second time there is nothing
        CHECK(c.live == 0 && pool.used == 0 && n < 100);
    }
    CHECK(n > 8);
}

TEST(each_allocation_of_a_new_beginning_fails_once)   // when there are too many of them
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    int n, whole = 0;
    for (n = 1; !whole; n++) {
        c.fail_at = 0;
        CHECK(make_codes(&allocator));
        while (codes.codes.count < PYPROF__MAX_CODES) CHECK(pyprof__push(&pool, &codes.codes));
        c.calls = 0;
        c.fail_at = n;
        whole = pyprof__codes_renew(&codes);
        uint32_t emptied = codes.emptied;
        CHECK(pyprof__codes_renew(&codes));
        check_whole();
        CHECK(whole == (codes.emptied == emptied));   // who holds numbers of spots learns of it after a failure, too
        pyprof__codes_free(&codes);
        CHECK(c.live == 0 && n < 100);
    }
    CHECK(n > 3);
}

TEST_MAIN
