// Writes the recordings of the golden files in every format that can hold them, for the programs that open such files.
//
//   interop_make FOLDER     FOLDER/example.SUFFIX and FOLDER/memory.SUFFIX; prints the names
//   interop_make FOLDER pages   also pages alone: hostile.html, with 100,000 names, diff.html, merged.html, empty.html
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
// As many functions as asked for, whose names and files try to be markup, script, or something else that is not a name.
static void record_hostile(recording *r, int count)
{
    static const char *const parts[] = { "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\"'`--><svg onload=alert(1)>", "javascript:alert(1)",
        "${alert(1)}", "\xe2\x80\xae" "abc", "__proto__", "constructor", "\xf0\x9f\x90\x8d", "&lt;b&gt;", "{{7*7}}", "\xff\xfe", "a;b\nc\r", "%s%n" };
    int kinds = (int)(sizeof parts / sizeof *parts);
    uint32_t thread = add_thread(r, "<b onclick=alert(1)>Main</b>", 100), top = thread_node(r, thread);
    for (int i = 0; i < count; i++) {
        char name[100], file[100];
        snprintf(name, sizeof name, "%s %d", parts[i % kinds], i);
        snprintf(file, sizeof file, "/srv/%s/%d.py", parts[i / kinds % kinds], i % 1000);
        uint32_t node = add_frame(r, top, file, name, i % 500 + 1, i % 500 + 2);
        if (i % 3 == 0) node = add_frame(r, node, file, parts[i % kinds], 7, 8);
        add_samples(r, thread, node, (uint64_t)i, 1, i % 2);
    }
}

static void save_page(const char *folder, const char *name, const pyprof_profile *profile)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.html", folder, name);
    CHECK_INT(pyprof_save(profile, path, NULL), PYPROF_OK);
    printf("%s\n", path);
}

static void save_pages(const char *folder)
{
    pyprof_profile *one = example(HOSTILE), *other = example("other"), *made;
    const pyprof_profile *both[] = { one, other };
    CHECK_INT(pyprof_diff(one, other, NULL, &made), PYPROF_OK);
    save_page(folder, "diff", made);
    CHECK_INT(pyprof_merge(both, 2, NULL, &made), PYPROF_OK);
    save_page(folder, "merged", made);
    for (int count = 0; count <= 100000; count += 100000) {
        recording r;
        recording_begin(&r, NULL);
        if (count) record_hostile(&r, count);
        save_page(folder, count ? "hostile" : "empty", seal(&r, 0));
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 && (argc != 3 || strcmp(argv[2], "pages"))) return fprintf(stderr, "interop_make FOLDER [pages] | -l\n"), 2;
    if (!strcmp(argv[1], "-l")) {
        for (size_t i = 0, n = 0; i < sizeof pyprof__formats / sizeof *pyprof__formats; i++)
            if (pyprof__formats[i].write && pyprof__formats[i].format != PYPROF_FORMAT_PICKLE)   // PROFILING=1 writes that by itself
                printf("%s%s", n++ ? "," : "", pyprof__formats[i].suffix + 1);
        return printf("\n"), 0;
    }
    save_example(argv[1]);
    save_memory(argv[1]);
    if (argc == 3) save_pages(argv[1]);
    return 0;
}
#endif
