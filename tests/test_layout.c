// The facts about versions: every row is complete, and an interpreter's own table is believed only where it makes sense.
#include "test.h"
#include "inside.h"

enum { FIELDS = sizeof pyprof__fields / sizeof *pyprof__fields, POSITIONS = sizeof pyprof__positions / sizeof *pyprof__positions };
static const uint32_t missing = 0xffffffffu;

static uint32_t field(const pyprof__layout *layout, size_t i) { return ((const uint32_t *)(const void *)layout)[i]; }

TEST(rows_are_complete)
{
    static const char *const always[] = { "interp_next", "interp_id", "interp_threads", "thread_next", "thread_interp", "thread_ident", "frame_previous",
        "frame_code", "frame_instr", "frame_size", "code_filename", "code_name", "code_firstline", "code_linetable", "type_name", "str_length", "bytes_data" };
    for (uint32_t minor = 8; minor <= (PYPROF__NEWEST & 255); minor++)
        for (int free_threaded = 0; free_threaded <= (minor >= 13); free_threaded++) {
            pyprof__layout layout;
            CHECK_INT(pyprof__layout_choose(&layout, 0x03000000u | minor << 16, free_threaded, NULL), PYPROF_OK);
            CHECK_INT(layout.object_type, free_threaded ? 24 : 8);
            for (size_t i = 0; i < FIELDS; i++) {
                uint32_t value = field(&layout, i);
                if (value != missing && value > pyprof__fields[i].most) printf("3.%u %s\n", minor, pyprof__fields[i].name);
                CHECK(value == missing || value <= pyprof__fields[i].most);
                for (size_t k = 0; k < sizeof always / sizeof *always; k++) CHECK(strcmp(always[k], pyprof__fields[i].name) || value != missing);
            }
            CHECK_INT(layout.lines_form, minor < 10 ? PYPROF__LINES_LNOTAB : minor == 10 ? PYPROF__LINES_310 : PYPROF__LINES_LOCATIONS);
            CHECK_INT(layout.code_qualname == missing, minor < 11);
            CHECK_INT(layout.frame_owner == missing, minor < 11);
            CHECK(layout.frame_previous + 8 <= layout.frame_size && layout.frame_code + 8 <= layout.frame_size && layout.frame_instr + 4 <= layout.frame_size);
        }
}

TEST(versions_not_known)
{
    static const struct { uint32_t version; int free_threaded; } none[] = { { 0x03070000, 0 }, { (PYPROF__NEWEST + 1) << 16, 0 }, { 0x030c0000, 1 }, { 0x02070000, 0 }, { 0x04000000, 0 }, { 0, 0 } };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        pyprof__layout layout;
        CHECK_INT(pyprof__layout_choose(&layout, none[i].version, none[i].free_threaded, NULL), PYPROF_ERR_UNSUPPORTED);
        CHECK(strstr(pyprof_last_error(), "not supported") != NULL);
    }
}

// A table as that version's interpreter has it: the row's own offsets, where its positions say.
static void write_table(char *table, uint32_t minor, const pyprof__layout *row)
{
    memset(table, 0, PYPROF__OFFSETS_SIZE);
    for (size_t i = 0; i < POSITIONS; i++) {
        uint32_t at = pyprof__position(i, minor);
        uint64_t own = field(row, pyprof__positions[i].field);
        if (!strncmp(pyprof__fields[pyprof__positions[i].field].name, "gil_", 4)) own += row->interp_own_gil;
        if (at != missing && field(row, pyprof__positions[i].field) != missing) memcpy(table + at, &own, sizeof own);
    }
}

static void check_preferred(uint32_t minor, int free_threaded)
{
    static char table[PYPROF__OFFSETS_SIZE];
    pyprof__layout row, layout;
    uint32_t version = 0x03000000u | minor << 16;
    uint64_t bad = 1u << 30;
    CHECK_INT(pyprof__layout_choose(&row, version, free_threaded, NULL), PYPROF_OK);
    write_table(table, minor, &row);
    CHECK_INT(pyprof__layout_choose(&layout, version, free_threaded, table), PYPROF_OK);
    for (size_t i = 0; i < FIELDS; i++) {
        if (field(&layout, i) != field(&row, i)) printf("3.%u %s\n", minor, pyprof__fields[i].name);
        CHECK_INT(field(&layout, i), field(&row, i));   // our row and the table say the same
    }
    for (size_t i = 0; i < POSITIONS; i++) {            // each field out of range, one after the other
        uint32_t at = pyprof__position(i, minor);
        if (at == missing || field(&row, pyprof__positions[i].field) == missing) continue;
        CHECK(at + 8 <= PYPROF__OFFSETS_SIZE);
        write_table(table, minor, &row);
        memcpy(table + at, &bad, sizeof bad);
        CHECK_INT(pyprof__layout_choose(&layout, version, free_threaded, table), PYPROF_ERR_UNSUPPORTED);
        CHECK(strstr(pyprof_last_error(), pyprof__fields[pyprof__positions[i].field].name) != NULL);
    }
    row.thread_frame += 8;                              // an interpreter that differs from our row is right
    row.object_type += 8;                               // and what follows from that is right, too
    row.object_data += 8;
    row.module_dict += 8;
    row.func_name += 8;
    row.rlock_owner += 8;
    write_table(table, minor, &row);
    CHECK_INT(pyprof__layout_choose(&layout, version, free_threaded, table), PYPROF_OK);
    CHECK(!memcmp(&layout, &row, sizeof row));
}

TEST(tables_are_preferred_and_checked)
{
    for (uint32_t minor = PYPROF__TABLE_SINCE >> 16 & 255; minor <= (PYPROF__NEWEST & 255); minor++)
        for (int free_threaded = 0; free_threaded < 2; free_threaded++) check_preferred(minor, free_threaded);
}

TEST(tables_of_asyncio)   // as 3.14.10 and 3.15.2 have them, and a free-threaded 3.14
{
    static const uint64_t tables[][PYPROF__ASYNCIO_WORDS] = {
        { 168, 136, 96, 108, 109, 128, 152, 225864, 10880, 936, 864, 872, 880 }, { 168, 136, 96, 108, 109, 128, 152, 226240, 10856, 1104, 1024, 1032, 1048 },
        { 192, 152, 112, 124, 125, 144, 168, 246528, 17632, 15520, 856, 864, 872 },
    };
    static const int used[] = { 1, 5, 6, 8, 11, 12 };
    static const uint64_t bad[] = { 4, (uint64_t)1 << 40, 0xffffffffffffffff };
    for (size_t t = 0; t < 3; t++) {
        pyprof__asyncio found;
        CHECK(pyprof__layout_asyncio(&found, tables[t]));
        CHECK_INT(found.task_name, tables[t][1]);
        CHECK_INT(found.task_coro, tables[t][5]);
        CHECK_INT(found.task_node, tables[t][6]);
        CHECK_INT(found.interp_tasks, tables[t][8]);
        CHECK_INT(found.thread_task, tables[t][11]);
        CHECK_INT(found.thread_tasks, tables[t][12]);
        for (size_t i = 0; i < 6; i++)
            for (size_t k = 0; k < 3; k++) {
                uint64_t table[PYPROF__ASYNCIO_WORDS];
                memcpy(table, tables[t], sizeof table);
                table[used[i]] = bad[k] == 4 ? table[used[i]] + 4 : bad[k];
                CHECK(!pyprof__layout_asyncio(&found, table));
            }
        for (int size = 0; size < 3; size++) {   // a structure too small for what it holds
            uint64_t table[PYPROF__ASYNCIO_WORDS];
            memcpy(table, tables[t], sizeof table);
            table[size == 0 ? 0 : size == 1 ? 7 : 9] = 16;
            CHECK(!pyprof__layout_asyncio(&found, table));
        }
    }
}

TEST_MAIN
