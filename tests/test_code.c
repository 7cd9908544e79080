// Line tables of every form: known ones, and bytes that are none. (tests/py compares with the interpreters themselves.)
#include "test.h"
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

#define TABLE(...) (const unsigned char[]){ __VA_ARGS__ }, sizeof (const unsigned char[]){ __VA_ARGS__ }

static void check_place(pyprof__place got, int line, int end_line, int column, int end_column)
{
    CHECK_INT(got.line, line);
    CHECK_INT(got.end_line, end_line);
    CHECK_INT(got.column, column);
    CHECK_INT(got.end_column, end_column);
}

static pyprof__place place(int form, const unsigned char *table, size_t size, int first, int64_t instruction)
{
    pyprof__place found;
    memset(&found, 0x55, sizeof found);
    pyprof__locate(form, table, size, first, instruction, &found);
    return found;
}

static int line(int form, const unsigned char *table, size_t size, int first, int64_t instruction)
{
    pyprof__place found = place(form, table, size, first, instruction);
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
    for (int round = 0; round < 300000; round++) {
        size_t size = pyprof__random(&random) % 40;
        unsigned char *table = page + 4096 - size;
        for (size_t i = 0; i < size; i++) table[i] = (unsigned char)(pyprof__random(&random) | (round & 1 ? 0x80 : 0));
        int form = round % 3, first = (int)pyprof__random(&random) >> (pyprof__random(&random) % 32);
        int64_t instruction = round % 5 ? (int64_t)(pyprof__random(&random) % 100) : INT32_MAX;
        pyprof__place found = place(form, table, size, first, instruction);
        CHECK(found.line >= 0 && found.end_line >= 0 && found.column >= -1 && found.end_column >= -1);
        CHECK(found.line != 0x55555555 && found.end_line != 0x55555555 && found.column != 0x55555555 && found.end_column != 0x55555555);
    }
}

TEST_MAIN
