// Line tables of every form: known ones, and bytes that are none. (tests/py compares with the interpreters themselves.)
#include "test.h"
#include "inside.h"

#define TABLE(...) (const unsigned char[]){ __VA_ARGS__ }, sizeof (const unsigned char[]){ __VA_ARGS__ }

static void check_place(pyprof__source_range got, int line, int end_line, int column, int end_column)
{
    CHECK_INT(got.line, line);
    CHECK_INT(got.end_line, end_line);
    CHECK_INT(got.column, column);
    CHECK_INT(got.end_column, end_column);
}

static pyprof__source_range place(int form, const unsigned char *table, size_t size, int first, int64_t instruction)
{
    pyprof__source_range found;
    memset(&found, 0x55, sizeof found);
    pyprof__locate(form, table, size, first, instruction, &found);
    return found;
}

static int line(int form, const unsigned char *table, size_t size, int first, int64_t instruction)
{
    pyprof__source_range found = place(form, table, size, first, instruction);
    check_place(found, found.line, found.line, -1, -1);
    return found.line;
}

TEST(lnotab)   // 3.8, 3.9: Objects/lnotab_notes.txt
{
    enum { F = PYPROF__LINES_LNOTAB };
    const int want[] = { 1, 1, 1, 2, 2, 7, 7, 5 };   // lines of units 0...
    for (int i = 0; i < 8; i++) CHECK_INT(line(F, TABLE(6, 1, 4, 5, 4, 0xfe), 1, i), want[i]);
    CHECK_INT(line(F, TABLE(6, 1, 4, 5, 4, 0xfe), 1, 1000), 5);
    CHECK_INT(line(F, TABLE(0, 127, 0, 10, 2, 1), 1, 0), 138);   // more than a byte holds
    CHECK_INT(line(F, TABLE(255, 0, 45, 1), 1, 149), 1);
    CHECK_INT(line(F, TABLE(255, 0, 45, 1), 1, 150), 2);
    CHECK_INT(line(F, TABLE(9), 4, 5), 4);                        // half an entry
    CHECK_INT(line(F, NULL, 0, 4, 5), 4);
    CHECK_INT(line(F, TABLE(0, 0x80), 4, 0), 0);                  // before the first line
}

TEST(lines_of_310)
{
    enum { F = PYPROF__LINES_310 };
    const int want[] = { 10, 11, 11, 0, 9, 0 };
    for (int i = 0; i < 6; i++) CHECK_INT(line(F, TABLE(2, 0, 4, 1, 2, 0x80, 2, 0xfe), 10, i), want[i]);
    CHECK_INT(line(F, NULL, 0, 10, 0), 0);
}

TEST(locations_of_311)   // Objects/locations.md: one entry of each kind
{
    enum { F = PYPROF__LINES_LOCATIONS };
    const unsigned char table[] = {
        0x80 | 0 << 3 | 1, 0x35,                 // short: two units, column 3 to 8
        0x80 | 9 << 3 | 0, 0x71,                 //        column 79 to 80
        0x80 | 10 << 3 | 0, 5, 200,              // one line, columns
        0x80 | 12 << 3 | 0, 1, 2,                // two lines on
        0x80 | 13 << 3 | 0, 0x03,                // no column, one line back
        0x80 | 14 << 3 | 0, 0x14, 3, 0x41, 2, 8, // long: ten lines on, to three below; column 129 - 1, 8 - 1
        0x80 | 15 << 3 | 7,                      // none, eight units
        0x80 | 14 << 3 | 0, 0, 0, 0, 0,          // long, without columns
    };
    check_place(place(F, table, sizeof table, 100, 0), 100, 100, 3, 8);
    check_place(place(F, table, sizeof table, 100, 1), 100, 100, 3, 8);
    check_place(place(F, table, sizeof table, 100, 2), 100, 100, 79, 80);
    check_place(place(F, table, sizeof table, 100, 3), 100, 100, 5, 200);
    check_place(place(F, table, sizeof table, 100, 4), 102, 102, 1, 2);
    check_place(place(F, table, sizeof table, 100, 5), 101, 101, -1, -1);
    check_place(place(F, table, sizeof table, 100, 6), 111, 114, 128, 7);
    check_place(place(F, table, sizeof table, 100, 7), 0, 0, -1, -1);
    check_place(place(F, table, sizeof table, 100, 14), 0, 0, -1, -1);
    check_place(place(F, table, sizeof table, 100, 15), 111, 111, -1, -1);
    check_place(place(F, table, sizeof table, 100, 16), 0, 0, -1, -1);   // behind its end
    check_place(place(F, table, sizeof table, 100, INT32_MAX), 0, 0, -1, -1);
    check_place(place(F, table, 13, 100, 6), 0, 0, -1, -1);             // cut within the entry
    check_place(place(F, TABLE(0x35, 0x80), 100, 0), 0, 0, -1, -1);     // does not begin with an entry
}

TEST(varints_that_never_end)
{
    unsigned char table[64];
    memset(table, 0x7f, sizeof table);
    table[0] = 0x80 | 14 << 3;
    for (size_t size = 0; size <= sizeof table; size++) check_place(place(PYPROF__LINES_LOCATIONS, table, size, 1, 0), 0, 0, -1, -1);
}

TEST(random_tables)   // which end exactly before a page that cannot be read
{
    uint64_t random = 12345;
    unsigned char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED && mprotect(page + 4096, 4096, PROT_NONE) == 0);
    for (int round = 0; round < 100000; round++) {
        size_t size = pyprof__random(&random) % 40;
        unsigned char *table = page + 4096 - size;
        for (size_t i = 0; i < size; i++) table[i] = (unsigned char)(pyprof__random(&random) | (round & 1 ? 0x80 : 0));
        int form = round % 3, first = (int)pyprof__random(&random) >> (pyprof__random(&random) % 32);
        int64_t instruction = round % 5 ? (int64_t)(pyprof__random(&random) % 100) : INT32_MAX;
        pyprof__source_range found = place(form, table, size, first, instruction);
        CHECK(found.line >= 0 && found.end_line >= 0 && found.column >= -1 && found.end_column >= -1);
        CHECK(found.line != 0x55555555 && found.end_line != 0x55555555 && found.column != 0x55555555 && found.end_column != 0x55555555);
    }
}

// ---- instructions: code objects made of random bytes -------------------------------------------------------------------
typedef struct { pyprof__origin origin; pyprof__pool pool; pyprof__layout layout; pyprof__mirror mirror; pyprof__codes codes; } reader;

static void reader_open(reader *r, uint32_t minor, int free_threaded)
{
    pyprof__pool_init(&r->pool, NULL, UINT64_MAX);
    CHECK_INT(pyprof__origin_open(&r->origin, &pyprof__own_proc), PYPROF_OK);
    CHECK_INT(pyprof__layout_choose(&r->layout, 0x03000000u | minor << 16, free_threaded, NULL), PYPROF_OK);
    pyprof__mirror_init(&r->mirror, &r->pool, &r->origin);
    CHECK(pyprof__codes_init(&r->codes, &r->pool, &r->layout));
}

static void reader_close(reader *r)
{
    pyprof__codes_free(&r->codes);
    pyprof__mirror_free(&r->mirror);
    CHECK_INT((int64_t)r->pool.used, 0);
    pyprof__origin_close(&r->origin);
}

static void put64(unsigned char *at, uint64_t value) { memcpy(at, &value, sizeof value); }

// A str, and a tuple of it and of addresses at random, where most of the code object's pointers go.
static void make_names(reader *r, unsigned char *str, unsigned char *tuple, uint64_t *random)
{
    uint32_t state = 1u << r->layout.str_kind_shift | r->layout.str_is_compact | r->layout.str_is_ascii;
    put64(str + r->layout.str_length, 4);
    memcpy(str + r->layout.str_state, &state, sizeof state);
    memcpy(str + r->layout.str_ascii, "name", 5);
    put64(tuple + r->layout.bytes_size, 60);
    for (unsigned i = 0; i < 60; i++) put64(tuple + r->layout.tuple_items + 8 * i, i % 4 ? (uint64_t)(uintptr_t)str : pyprof__random(random));
}

// A code object in `area`, whose pointers go anywhere in it, and a line table of its own. Instructions begin at code_bytes.
static void make_code(reader *r, unsigned char *area, size_t size, uint64_t *random, unsigned kind)
{
    const pyprof__layout *at = &r->layout;
    const uint32_t pointers[] = { at->code_filename, at->code_name, at->code_linetable, at->code_names, at->code_locals, at->code_consts, at->code_cells,
                                  at->code_free, at->code_string };
    pyprof__code *code = (pyprof__code *)pyprof__push(&r->pool, &r->codes.codes);
    for (size_t i = 0; i < size; i++) area[i] = (unsigned char)(pyprof__random(random) % 4 ? pyprof__random(random) : 0);
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++) {
        uint64_t to = kind & 1 ? pyprof__random(random) : (uint64_t)(uintptr_t)area + pyprof__random(random) % size / 8 * 8;
        if (i > 2 && pyprof__random(random) % 8) to = (uint64_t)(uintptr_t)area + size / 2;
        if (pointers[i] != 0xffffffffu) memcpy(area + pointers[i], &to, 8);
    }
    make_names(r, area + size - 256, area + size / 2, random);
    for (unsigned i = 0; i < 1000; i += 2) {                  // more calls and names than chance would make
        unsigned char *byte = area + 544 + i, opcode = (unsigned char)pyprof__random(random);
        unsigned act = r->codes.opcodes->at[opcode].act;
        if (act >= PYPROF__OP_NAME && act <= PYPROF__OP_EXTENDED) *byte = opcode;
        if (pyprof__random(random) % 2) byte[1] &= 15;
    }
    if (at->code_string != 0xffffffffu && kind & 2) {   // 1000 bytes of code
        put64(area + at->code_string, (uint64_t)(uintptr_t)area + 512);
        put64(area + 512 + at->bytes_size, 1000);
    }
    memset(code, 0, sizeof *code);
    code->key.address = (uint64_t)(uintptr_t)area;
    memcpy(&code->key.filename, area + at->code_filename, 8);
    memcpy(&code->key.name, area + at->code_name, 8);
    memcpy(&code->key.linetable, area + at->code_linetable, 8);
    memcpy(&code->key.first_line, area + at->code_firstline, 4);
    code->table = (uint32_t)r->codes.tables.count;
    CHECK(pyprof__array_reserve(&r->pool, &r->codes.tables, 4096));
    unsigned char *table = (unsigned char *)r->codes.tables.data + code->table;
    for (uint32_t n = (uint32_t)(pyprof__random(random) % 300); n; n--) {   // entries without a gap, most of them on one line
        unsigned kind_of = (unsigned)(pyprof__random(random) % 8 ? pyprof__random(random) % 2 : pyprof__random(random) % 16);
        table[code->table_size++] = (unsigned char)(0x80 | kind_of << 3 | pyprof__random(random) % 8);
        for (unsigned k = kind_of < 10 ? 1 : kind_of < 13 ? 2 : kind_of == 13 ? 1 : kind_of == 14 ? 4 : 0; k; k--)
            table[code->table_size++] = (unsigned char)(pyprof__random(random) % 3 ? pyprof__random(random) & 15 : pyprof__random(random) & 127);
    }
    if (kind & 4 && code->table_size) table[pyprof__random(random) % code->table_size] = (unsigned char)pyprof__random(random);
    r->codes.tables.count += code->table_size;
}

TEST(random_instructions)
{
    enum { AREA = 4096 };
    unsigned char *area = mmap(NULL, 2 * AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t random = 4711;
    int calls = 0, named = 0;
    CHECK(area != MAP_FAILED && mprotect(area + AREA, AREA, PROT_NONE) == 0);
    for (uint32_t minor = 8; minor <= 15; minor++) {
        reader r;
        reader_open(&r, minor, minor > 12 && minor % 2);
        for (unsigned round = 0; round < (test_long() ? 1000u : 250u); round++) {
            pyprof__mirror_begin(&r.mirror);
            make_code(&r, area, AREA, &random, round);
            for (int i = 0; i < 20; i++) {
                uint32_t spot = pyprof__spot_find(&r.codes, (uint32_t)r.codes.codes.count - 1, (int64_t)(pyprof__random(&random) % (round % 3 ? 400 : 1500)));
                uint32_t callee = pyprof__spot_callee(&r.codes, &r.mirror, spot), opcode = pyprof__spot_opcode(&r.codes, &r.mirror, spot);
                CHECK(callee <= r.codes.strings.starts.count && opcode < r.codes.strings.starts.count);
                calls += callee != 0;
                named += callee > 1;
            }
        }
        reader_close(&r);
    }
    CHECK(calls > 250 && named > 5);   // or nothing was tried
}

TEST(opcodes_of_all_versions)
{
    for (uint32_t minor = 8; minor <= 15; minor++) {
        static pyprof__opcodes opcodes;
        int names = 0, calls = 0;
        pyprof__opcodes_make(&opcodes, minor);
        for (unsigned i = 0; i < 256; i++) {
            const pyprof__opcode *opcode = &opcodes.at[i];
            names += opcode->name != NULL;
            calls += pyprof__opcode_calls(&opcodes, i);
            if (!opcode->name) { CHECK_INT(opcode->size, 0); continue; }
            CHECK(opcode->size > 1 && opcode->size < 48 && opcode->caches <= 10);
            for (unsigned k = 0; k < opcode->size; k++)
                CHECK((opcode->name[k] >= 'A' && opcode->name[k] <= 'Z') || opcode->name[k] == '_' || (k && opcode->name[k] >= '0' && opcode->name[k] <= '9'));
            CHECK_INT(pyprof__opcode_number(opcodes.at, opcode->name, opcode->size), (int)i);   // no name twice
        }
        CHECK(names > 110 && names < 250 && calls >= 4 && calls < 50);
        CHECK_INT(pyprof__opcode_number(opcodes.at, "NOPE", 4), 256);
    }
    for (uint32_t minor = 0; minor < 8; minor++) {   // not known: nothing is a call
        static pyprof__opcodes none;
        pyprof__opcodes_make(&none, minor);
        for (unsigned i = 0; i < 256; i++) CHECK(!none.at[i].name && !pyprof__opcode_calls(&none, i));
    }
}

TEST_MAIN
