// libpyprof_test.so: the whole library with its symbols visible, for the tests in tests/py, which call it with ctypes
// from the very interpreter that is profiled. Build: cc -shared -fPIC -O2 -pthread tests/dll.c -o BUILD/libpyprof_test.so
#define PYPROF_DLL
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

static int decoder_of(int minor_version) { return minor_version < 10 ? 0 : minor_version == 10 ? 1 : 2; }

// The header's private decoder. instruction counts code units: byte offset / 2.
EXPORT int pyprof_test_location(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction,
                                int *line, int *end_line, int *col, int *end_col);
int pyprof_test_location(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction,
                         int *line, int *end_line, int *col, int *end_col)
{
    pyprof__place place;
    memset(&place, 0x55, sizeof place);   // whatever the decoder does not set is seen
    pyprof__locate(decoder_of(minor_version), table, size, first_line, instruction, &place);
    *line = place.line;
    *end_line = place.end_line;
    *col = place.column;
    *end_col = place.end_column;
    return 0;
}

// The same for instructions 0, step, 2 step ... below count; out takes four numbers for each.
EXPORT void pyprof_test_locations(int minor_version, const unsigned char *table, size_t size, int first_line, int count,
                                  int step, int *out);
void pyprof_test_locations(int minor_version, const unsigned char *table, size_t size, int first_line, int count,
                           int step, int *out)
{
    for (int i = 0; i < count; i += step, out += 4)
        (void)pyprof_test_location(minor_version, table, size, first_line, i, out, out + 1, out + 2, out + 3);
}

// Decodes the table from memory that ends exactly where the table ends, before a page that cannot be read.
// Returns 0, or which rule the answer broke.
EXPORT int pyprof_test_hostile(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction);
int pyprof_test_hostile(int minor_version, const unsigned char *table, size_t size, int first_line, int instruction)
{
    enum { AREA = 1 << 20 };
    static unsigned char *area;
    int line, end_line, col, end_col;
    if (!area) {
        area = (unsigned char *)mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED || mprotect(area + AREA, 4096, PROT_NONE)) abort();
    }
    if (size > AREA) return -1;
    unsigned char *copy = area + AREA - size;
    if (size) memcpy(copy, table, size);
    (void)pyprof_test_location(minor_version, copy, size, first_line, instruction, &line, &end_line, &col, &end_col);
    if (line < 0 || end_line < 0) return 1;                         // 0 = unknown
    if (line == 0x55555555 || end_line == 0x55555555) return 2;     // not set
    if (col < -1 || end_col < -1) return 3;                         // -1 = unknown
    if (col == 0x55555555 || end_col == 0x55555555) return 4;
    return 0;
}

// sizeof of every structure that bind.py mirrors, so that the two cannot drift apart unseen; 0 = no such structure.
EXPORT size_t pyprof_test_size(const char *name);
size_t pyprof_test_size(const char *name)
{
    static const struct { const char *name; size_t size; } sizes[] = {
        { "Allocator", sizeof(pyprof_allocator) },   { "Logger", sizeof(pyprof_logger) },
        { "OnEvent", sizeof(pyprof_on_event) },      { "Config", sizeof(pyprof_config) },
        { "SnapshotOptions", sizeof(pyprof_snapshot_options) }, { "Query", sizeof(pyprof_query) },
        { "Output", sizeof(pyprof_output) },         { "DiffOptions", sizeof(pyprof_diff_options) },
        { "DumpOptions", sizeof(pyprof_dump_options) }, { "Row", sizeof(pyprof_row) },
        { "Frame", sizeof(pyprof_frame) },           { "Thread", sizeof(pyprof_thread) },
        { "Item", sizeof(pyprof_item) },             { "Info", sizeof(pyprof_info) },
        { "Stats", sizeof(pyprof_stats) },           { "Allocation", sizeof(pyprof_allocation) },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (!strcmp(sizes[i].name, name)) return sizes[i].size;
    return 0;
}
