// What every format keeps, whichever it is: the same bytes to a path, a descriptor and a callback, and in each run; no half
// file; an error at the first write that fails; memory within bounds. The formats are those that have a writer.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"
#include "big.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { FORMATS = sizeof pyprof__formats / sizeof *pyprof__formats, PROFILES = 6 };
static char folder[64];

static const char *in(const char *name)
{
    static char path[2][300];
    static int next;
    if (!folder[0]) CHECK(mkdtemp(strcpy(folder, "/tmp/pyprof-formats-XXXXXX")) != NULL);
    snprintf(path[next ^= 1], sizeof *path, "%s/%s", folder, name);
    return path[next];
}

static int entries(void)   // files in the folder
{
    int count = -2;
    DIR *list = opendir(in("."));
    CHECK(list != NULL);
    while (readdir(list)) count++;
    closedir(list);
    return count;
}

static void gone(void) { CHECK_INT(rmdir(folder), 0); }

static output_text content(const char *path)
{
    output_text got = { calloc(1, 1), 0 };
    char part[65536];
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) append(&got, part, n);
    fclose(f);
    return got;
}

static int same(output_text one, output_text other) { return one.size == other.size && !memcmp(one.data, other.data, one.size); }

// Each format that can hold the recording: output is what it takes, want what came out.
static void each_format(const pyprof_profile *profile, void (*check)(const pyprof_profile *profile, pyprof_output output, output_text want))
{
    for (size_t i = 0; i < FORMATS; i++) {
        pyprof_output output = { .format = pyprof__formats[i].format };
        output_text want = { calloc(1, 1), 0 };
        pyprof_result result = pyprof_write(profile, &output, append, &want);
        if (result == PYPROF_OK) {
            CHECK(want.size > 0);
            check(profile, output, want);
        } else CHECK(result == PYPROF_ERR_UNSUPPORTED && want.size == 0);   // no writer, or no such metric
        free(want.data);
    }
}

static void of_some(void (*check)(const pyprof_profile *profile, pyprof_output output, output_text want))
{
    for (uint64_t i = 0; i < PROFILES; i++) {
        pyprof_profile *profile = some_profile(i);
        each_format(profile, check);
        pyprof_profile_free(profile);
    }
}

// ---- where it goes ---------------------------------------------------------------------------------------------------
static void check_targets(const pyprof_profile *profile, pyprof_output output, output_text want)
{
    char descriptor[32];
    int fd = open(in("shared"), O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    CHECK_INT(pyprof_save(profile, in("file"), &output), PYPROF_OK);   // a name without a suffix: the format was given
    CHECK(same(content(in("file")), want));
    snprintf(descriptor, sizeof descriptor, "/dev/fd/%d", fd);
    CHECK_INT(pyprof_save(profile, descriptor, &output), PYPROF_OK);
    CHECK(same(content(in("shared")), want));
    close(fd);
    CHECK_INT(entries(), 2);
    unlink(in("file"));
    unlink(in("shared"));
}

TEST(paths_descriptors_and_callbacks_get_the_same) { of_some(check_targets); gone(); }

static void check_suffix(const pyprof_profile *profile, pyprof_output output, output_text want)
{
    char name[64];
    size_t row = 0;
    while (pyprof__formats[row].format != output.format) row++;
    snprintf(name, sizeof name, "a.b%s", pyprof__formats[row].suffix);
    CHECK_INT(pyprof_save(profile, in(name), NULL), PYPROF_OK);
    CHECK(same(content(in(name)), want));
    unlink(in(name));
}

TEST(the_suffix_chooses) { of_some(check_suffix); gone(); }

// ---- the same bytes --------------------------------------------------------------------------------------------------
static long long far_live;

static void *far_alloc(void *user, size_t size)   // not where malloc would put it, and never zero
{
    (void)user;
    char *at = malloc(size + 4096);
    if (!at) return NULL;
    far_live += (long long)size;
    return memset(at + 4096, 0xa5, size);
}

static void far_free(void *user, void *memory, size_t size)
{
    (void)user;
    if (!memory) return;
    far_live -= (long long)size;
    free((char *)memory - 4096);
}

static void check_again(const pyprof_profile *profile, pyprof_output output, output_text want)
{
    const pyprof_allocator elsewhere = { far_alloc, far_free, NULL };
    output_text again = written(profile, output), other;
    pyprof_profile *copy = pyprof__profile_new(&profile->model, 0, &elsewhere);   // the same recording, in other memory
    CHECK(same(again, want) && copy != NULL);
    copy->program = profile->program;
    copy->python = profile->python;
    copy->interpreters = profile->interpreters;
    other = written(copy, output);
    if (!same(other, want)) printf("format %d: differs in other memory\n", output.format);
    CHECK(same(other, want));
    pyprof_profile_free(copy);
    CHECK_INT(far_live, 0);
    free(again.data);
    free(other.data);
}

TEST(output_depends_on_the_recording_alone) { of_some(check_again); }

// ---- writes that fail ------------------------------------------------------------------------------------------------
typedef struct { long calls, fail_at; size_t size; } failing;

static int fail_once(void *user, const void *data, size_t size)
{
    failing *f = (failing *)user;
    (void)data;
    f->size += size;
    return ++f->calls == f->fail_at;
}

static counting taken;

static pyprof_profile *counted_profile(uint32_t stacks, uint32_t moments, int heap)
{
    pyprof_allocator allocator = counting_allocator(&taken);
    recording r;
    recording_begin(&r, &allocator);
    CHECK(big_fill(&r.model, stacks, moments, heap));
    pyprof_profile *profile = seal(&r, 0);
    CHECK(profile != NULL);
    recording_end(&r);
    return profile;
}

TEST(each_write_fails_once)
{
    pyprof_profile *profile = counted_profile(104, 1000, 1);
    long long before = taken.live;
    for (size_t i = 0; i < FORMATS; i++) {
        pyprof_output output = { .format = pyprof__formats[i].format };
        failing f = { 0, 0, 0 };
        if (!pyprof__formats[i].write) continue;
        CHECK_INT(pyprof_write(profile, &output, fail_once, &f), PYPROF_OK);
        for (long calls = f.calls, n = 1; n <= calls; n++) {
            f = (failing){ 0, n, 0 };
            CHECK_INT(pyprof_write(profile, &output, fail_once, &f), PYPROF_ERR_IO);
            CHECK(pyprof_last_error()[0]);
            CHECK_INT(f.calls, n);   // it is not asked again
            CHECK_INT(taken.live, before);
        }
    }
    pyprof_profile_free(profile);
    CHECK_INT(taken.live, 0);
}

static void check_full(const pyprof_profile *profile, pyprof_output output, output_text want)
{
    char descriptor[32];
    int fd = open("/dev/full", O_WRONLY), left;
    CHECK(fd >= 0 && want.size);
    snprintf(descriptor, sizeof descriptor, "/dev/fd/%d", fd);
    CHECK_INT(pyprof_save(profile, descriptor, &output), PYPROF_ERR_IO);
    CHECK(strstr(pyprof_last_error(), "No space left") != NULL);
    close(fd);
    fd = open(in("before"), O_WRONLY | O_CREAT, 0600);
    CHECK_INT(write(fd, "before", 6), 6);
    close(fd);
    left = entries();
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ (want.size - 1) / 2, RLIM_INFINITY }), 0);
    CHECK_INT(pyprof_save(profile, in("new"), &output), PYPROF_ERR_IO);
    CHECK_INT(pyprof_save(profile, in("before"), &output), PYPROF_ERR_IO);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }), 0);
    CHECK_INT(entries(), left);   // the old file or the new one, never half
    CHECK_STR(content(in("before")).data, "before");
    unlink(in("before"));
}

TEST(a_full_disk_leaves_no_half_file) { of_some(check_full); gone(); }

// ---- memory ----------------------------------------------------------------------------------------------------------
static long long peak;

static void *peak_alloc(void *user, size_t size)
{
    void *got = counting_alloc(user, size);
    if (taken.live > peak) peak = taken.live;
    return got;
}

static int count_bytes(void *user, const void *data, size_t size) { return (void)data, *(size_t *)user += size, 0; }

// JSON keeps the text of each stack that the time line has, the text report and what is made of its findings their rows, SVG and HTML
// their rectangles: to be made smaller.
static long long most_of(int format)
{
    switch (format) {
    case PYPROF_FORMAT_JSON: return 160ll << 20;
    case PYPROF_FORMAT_TEXT: case PYPROF_FORMAT_PROMPT: case PYPROF_FORMAT_SVG: case PYPROF_FORMAT_HTML: return 96ll << 20;
    default: return 64ll << 20;
    }
}

// Bytes and time beyond the profile's own, for so many stacks and entries of the time line
static void check_peaks(uint32_t stacks, uint32_t moments)
{
    pyprof_profile *profile = counted_profile(stacks, moments, 1);
    long long before = taken.live;
    profile->pool.allocator.alloc = peak_alloc;
    for (size_t i = 0; i < FORMATS; i++) {
        pyprof_output output = { .format = pyprof__formats[i].format };
        size_t size = 0;
        double begin = test__now();
        peak = 0;
        if (!pyprof__formats[i].write) continue;
        CHECK_INT(pyprof_write(profile, &output, count_bytes, &size), PYPROF_OK);
        printf("%-16s %6.1f MB extra, %7.1f MB written, %.2f s\n", pyprof__formats[i].suffix, (double)(peak - before) / 1e6, (double)size / 1e6,
               test__now() - begin);
        CHECK(peak - before <= most_of(output.format));
        CHECK_INT(taken.live, before);
    }
    pyprof_profile_free(profile);
    CHECK_INT(taken.live, 0);
}

TEST_LIMIT(writers_take_little_memory, 600)
{
    int all = test_long();
    check_peaks(all ? 50000 : 3000, all ? 1000000 : 60000);
}

// ---- names with %p, %t, %h --------------------------------------------------------------------------------------------
TEST(names_with_pid_time_and_host)
{
    pyprof_profile *profile = some_profile(1);   // of process 4242, begun at 22:13:20 UTC on 2023-11-14
    char host[256], want[600];
    setenv("TZ", "UTC", 1);
    CHECK_INT(gethostname(host, sizeof host), 0);
    snprintf(want, sizeof want, "4242-20231114-221320-%s-%%p%%.svg", host);
    CHECK_INT(pyprof_save(profile, in("%p-%t-%h-%%p%%.svg"), NULL), PYPROF_OK);
    CHECK(same(content(in(want)), written_as(profile, PYPROF_FORMAT_SVG)));
    CHECK_INT(unlink(in(want)), 0);
    CHECK_INT(pyprof_save(profile, in("%p"), &(pyprof_output){ .format = PYPROF_FORMAT_FOLDED }), PYPROF_OK);
    CHECK_INT(unlink(in("4242")), 0);
    const char *refused[] = { "%x.svg", "a%.svg", "a.svg%", "50%d.json" };   // as pyprof_config.checkpoint
    for (size_t i = 0; i < COUNT(refused); i++) {
        CHECK_INT(pyprof_save(profile, in(refused[i]), NULL), PYPROF_ERR_ARGUMENT);
        CHECK(strstr(pyprof_last_error(), refused[i]) && strstr(pyprof_last_error(), "%p (pid)"));
    }
    CHECK_INT(entries(), 0);
    gone();
}
TEST_MAIN
