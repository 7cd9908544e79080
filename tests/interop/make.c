// Writes the recordings of the golden files in every format that can hold them, for the programs that open such files.
//
//   interop_make FOLDER     FOLDER/example.SUFFIX and FOLDER/memory.SUFFIX; prints the names
//   interop_make -l         the suffixes of all formats with a writer, as PYPROF_FORMATS takes them
//
// Build: twice, with RECORDINGS="\"../test_writers.c\"" and "\"../test_memory_writers.c\"", linked by part.
#include "../test.h"
#undef TEST
#undef TEST_LIMIT
#undef TEST_MAIN
#define TEST(name) __attribute__((unused)) static void test_##name(void)   // of the tests only the recordings are used
#define TEST_LIMIT(name, seconds) TEST(name)
#define TEST_MAIN

void save_memory(const char *folder);

#ifdef INTEROP_MEMORY
#include "../test_memory_writers.c"
#define PREFIX "memory"
#define EXAMPLE exact()
#define SAVE save_memory
#else
#include "../test_writers.c"
#define PREFIX "example"
#define EXAMPLE example(HOSTILE)
#define SAVE save_example
static
#endif
void SAVE(const char *folder)
{
    pyprof_profile *profile = EXAMPLE;
    for (size_t i = 0; i < sizeof pyprof__formats / sizeof *pyprof__formats; i++) {
        char path[512];
        if (!pyprof__formats[i].write) continue;
        snprintf(path, sizeof path, "%s/" PREFIX "%s", folder, pyprof__formats[i].suffix);
        pyprof_result result = pyprof_save(profile, path, NULL);
        if (result == PYPROF_OK) printf("%s\n", path);
        else printf("%s: %s\n", path, pyprof_last_error());
        CHECK(result == PYPROF_OK || result == PYPROF_ERR_UNSUPPORTED);   // the recording lacks the format's metric
    }
    pyprof_profile_free(profile);
}

#ifndef INTEROP_MEMORY
int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "interop_make FOLDER | -l\n"), 2;
    if (!strcmp(argv[1], "-l")) {
        for (size_t i = 0, n = 0; i < sizeof pyprof__formats / sizeof *pyprof__formats; i++)
            if (pyprof__formats[i].write && pyprof__formats[i].format != PYPROF_FORMAT_PICKLE)   // PROFILING=1 writes that by itself
                printf("%s%s", n++ ? "," : "", pyprof__formats[i].suffix + 1);
        return printf("\n"), 0;
    }
    save_example(argv[1]);
    save_memory(argv[1]);
    return 0;
}
#endif
