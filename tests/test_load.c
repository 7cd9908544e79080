// pyprof_load: what is loaded and saved again has the same bytes in every format; everything else is refused with its place
// and a reason, and nothing leaks.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"
#include <fcntl.h>
#include <sys/stat.h>

// ---- loading from memory ---------------------------------------------------------------------------------------------
typedef struct { const char *data; size_t size, step; } memory_source;   // step: bytes at a time, 0 = all

static ssize_t from_memory(void *user, char *to, size_t room)
{
    memory_source *from = (memory_source *)user;
    size_t n = from->size < room ? from->size : room;
    if (from->step && n > from->step) n = from->step;
    memcpy(to, from->data, n);
    from->data += n;
    from->size -= n;
    return (ssize_t)n;
}

static pyprof_result load_text(output_text text, size_t step, const pyprof_allocator *allocator, pyprof_profile **profile)
{
    memory_source from = { text.data, text.size, step };
    *profile = NULL;
    return pyprof__load(from_memory, &from, "a.json", allocator, profile);
}

static pyprof_profile *loaded(output_text text)
{
    pyprof_profile *profile;
    pyprof_result result = load_text(text, 0, NULL, &profile);
    if (result) printf("%s\n", pyprof_last_error());
    CHECK_INT(result, PYPROF_OK);
    return profile;
}

static output_text as_json(const pyprof_profile *profile, int compact)
{
    return written(profile, (pyprof_output){ .format = PYPROF_FORMAT_JSON, .compact = compact });
}

// ---- the same bytes again --------------------------------------------------------------------------------------------
static const pyprof_query by_thread = { .thread = "w*" }, by_file = { .file = "*main.py" }, idle = { .include_idle = 1 };
static const pyprof_output options[] = {
    { .title = NULL }, { .compact = 1 }, { .lines = 1 }, { .split_threads = 1 }, { .filter = &by_thread }, { .filter = &by_file, .lines = 1 },
    { .filter = &idle }, { .paths = PYPROF_PATHS_BASE, .sources = 1 }, { .paths = PYPROF_PATHS_HASHED, .title = HOSTILE }, { .sources = -1 },
    { .metric = PYPROF_CPU_NS }, { .metric = PYPROF_GIL_WAIT_NS }, { .metric = PYPROF_SAMPLES }, { .metric = PYPROF_LIVE_BYTES },
    { .metric = PYPROF_ALLOC_BLOCKS, .split_threads = 1 }, { .metric = PYPROF_PEAK_BYTES }, { .metric = PYPROF_UNKNOWN_NS }, { .python = 0x0308 },
};

static void same_text(output_text a, output_text b, const char *what)
{
    size_t same = 0, from;
    while (same < a.size && same < b.size && a.data[same] == b.data[same]) same++;
    if (same == a.size && same == b.size) return;
    from = same > 60 ? same - 60 : 0;
    printf("%s: differs at byte %zu:\n%.160s\nis not\n%.160s\n", what, same, a.data + from, b.data + from);
    CHECK(!"the same");
}

// In every format, with every option, also with a table of growth against another profile.
static void same_outputs(const pyprof_profile *one, const pyprof_profile *two, uint64_t number)
{
    char what[80];
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++)
        for (uint32_t i = 0; i < COUNT(options); i++) {
            pyprof_output output = options[i];
            output_text a = { calloc(1, 1), 0 }, b = { calloc(1, 1), 0 };
            output.format = format;
            pyprof_result result = pyprof_write(one, &output, append, &a);
            snprintf(what, sizeof what, "recording %u, format %d, option %u", (unsigned)number, format, i);
            CHECK_INT(pyprof_write(two, &output, append, &b), result);
            same_text(b, a, what);
            free(a.data);
            free(b.data);
        }
}

// Through both shapes, in small and large steps.
static void same_again(pyprof_profile *profile, uint64_t number)
{
    pyprof_profile *again[2];
    for (int compact = 0; compact < 2; compact++) {
        output_text text = as_json(profile, compact);
        CHECK_INT(load_text(text, compact ? 1 : 0, NULL, &again[compact]), PYPROF_OK);
        same_text(as_json(again[compact], compact), text, "JSON");
        free(text.data);
    }
    same_outputs(profile, again[0], number);
    same_text(as_json(again[1], 0), as_json(profile, 0), "compact to JSON");
    pyprof_profile_free(again[0]);
    pyprof_profile_free(again[1]);
}

TEST_LIMIT(chance_recordings_come_back, 120)
{
    pyprof_profile *before = NULL, *delta;
    for (uint64_t number = 0; number < 24; number++) {
        pyprof_profile *profile = some_profile(number);
        same_again(profile, number);
        if (number % 2) {
            for (int group = 0; group <= PYPROF_GROUP_THREAD; group++) {
                pyprof_diff_options how = { .group = group };
                CHECK_INT(pyprof_diff(before, profile, &how, &delta), PYPROF_OK);
                same_again(delta, number + 1000 + 100 * (unsigned)group);
                pyprof_profile_free(delta);
            }
            pyprof_profile_free(before);
            pyprof_profile_free(profile);
        } else before = profile;
    }
}
TEST_MAIN
