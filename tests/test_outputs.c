// Every format and option on recordings that chance made: byte for byte as they were when tests/golden/outputs.sums was
// written (UPDATE_GOLDEN=1 writes it anew; OUTPUTS=FOLDER keeps the outputs themselves, to compare those of two versions).
// What a golden file shows for one recording, this shows for many: a change of structure changes no output.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"
#include <fcntl.h>
#include <sys/stat.h>

// ---- every output, and its sum ---------------------------------------------------------------------------------------
static const pyprof_query by_thread = { .thread = "w*" }, by_file = { .file = "*main.py" }, idle = { .include_idle = 1 };
static const pyprof_output options[] = {
    { .title = NULL }, { .lines = 1 }, { .split_threads = 1 }, { .filter = &by_thread }, { .filter = &by_file, .lines = 1 }, { .filter = &idle },
    { .paths = PYPROF_PATHS_BASE, .sources = 1 }, { .paths = PYPROF_PATHS_HASHED, .title = HOSTILE }, { .sources = -1 },
    { .metric = PYPROF_CPU_NS }, { .metric = PYPROF_GIL_WAIT_NS }, { .metric = PYPROF_SAMPLES }, { .metric = PYPROF_LIVE_BYTES },
    { .metric = PYPROF_ALLOC_BLOCKS, .split_threads = 1 }, { .metric = PYPROF_PEAK_BYTES }, { .metric = PYPROF_UNKNOWN_NS }, { .python = 0x0308 },
};

typedef struct { output_text sums; uint64_t number; } summing;

static void keep(const char *name, output_text out)
{
    char path[300];
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", getenv("OUTPUTS"), name);
    CHECK((f = fopen(path, "w")) != NULL);
    CHECK_INT(fwrite(out.data, 1, out.size, f), out.size);
    CHECK_INT(fclose(f), 0);
}

// A line for each format: bytes of all options together, and their FNV-1a hash.
static void sum_up(summing *s, const pyprof_profile *profile, const char *what)
{
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
        uint64_t hash = 14695981039346656037u;
        size_t size = 0;
        char line[128];
        for (uint32_t i = 0; i < COUNT(options); i++) {
            pyprof_output output = options[i];
            output_text out = { calloc(1, 1), 0 };
            output.format = format;
            hash = (hash ^ (unsigned)pyprof_write(profile, &output, append, &out)) * 1099511628211u;
            if (format == PYPROF_FORMAT_HTML) out = html_data(out);
            for (size_t b = 0; b < out.size; b++) hash = (hash ^ (unsigned char)out.data[b]) * 1099511628211u;
            snprintf(line, sizeof line, "%s%u.%d.%u", what, (unsigned)s->number, format, i);
            if (out.size && getenv("OUTPUTS")) keep(line, out);
            size += out.size;
            free(out.data);
        }
        if (!size) continue;
        snprintf(line, sizeof line, "%s%u.%d %zu %016llx\n", what, (unsigned)s->number, format, size, (unsigned long long)hash);
        append(&s->sums, line, strlen(line));
    }
}

TEST_LIMIT(outputs_stay_as_they_are, 300)
{
    char folder[] = "/tmp/pyprof-outputs-XXXXXX", here[1024];
    summing s = { { calloc(1, 1), 0 }, 0 };
    pyprof_profile *before = NULL, *delta = NULL;
    CHECK(getcwd(here, sizeof here) && mkdtemp(folder) && chdir(folder) == 0);
    FILE *f = fopen("hot.py", "w");   // of one file the source is there
    for (int i = 1; i <= 20; i++) fprintf(f, "line_%d = work(%d)  # <&>\n", i, i);
    fclose(f);
    // A modification time before the recording: a file that was changed since shows no source.
    CHECK_INT(utimensat(AT_FDCWD, "hot.py", (struct timespec[2]){ { 1600000000, 0 }, { 1600000000, 0 } }, 0), 0);
    for (s.number = 0; s.number < 8; s.number++) {
        pyprof_profile *profile = some_profile(s.number);
        sum_up(&s, profile, "");
        if (s.number % 2) {
            CHECK_INT(pyprof_diff(before, profile, NULL, &delta), PYPROF_OK);
            sum_up(&s, delta, "difference-");
            pyprof_profile_free(delta);
            pyprof_profile_free(before);
            pyprof_profile_free(profile);
        } else before = profile;
    }
    CHECK_INT(remove("hot.py"), 0);
    CHECK_INT(chdir(here), 0);
    CHECK_INT(rmdir(folder), 0);
    same_as_golden("outputs.sums", s.sums);
}
TEST_MAIN
