// Loads whatever bytes it is given, and reads what was loaded: no crash, no leak, no answer but OK, FORMAT and MEMORY. With
// libFuzzer (make fuzz) the bytes come from there. make test replays the files of corpus/ (tests/test_load.c includes this
// file); with FUZZ_REPLAY it is a program that replays files and folders.
#ifndef FUZZ_INSIDE
#define PYPROF_IMPLEMENTATION
#define PYPROF_STATIC
#include "../../pyprof.h"
#endif
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const uint8_t *data; size_t size; } block;

static ssize_t from_block(void *user, char *to, size_t room)
{
    block *from = (block *)user;
    size_t n = from->size < room ? from->size : room;
    if (n) memcpy(to, from->data, n);
    from->data += n;
    from->size -= n;
    return (ssize_t)n;
}

static int ignore(void *user, const void *data, size_t size) { (void)data; *(size_t *)user += size; return 0; }

static void complain(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, pyprof_last_error());
    abort();
}

// What every writer and reader of profiles does with it. Which format: chosen by the bytes.
static void use(const pyprof_profile *profile, const uint8_t *data, size_t size)
{
    pyprof_output output;
    pyprof_info info;
    pyprof_stats stats;
    unsigned chosen = 0;
    size_t written = 0, i;
    for (i = 0; i < size; i++) chosen = chosen * 31 + data[i];
    memset(&output, 0, sizeof output);
    output.format = (int)(chosen % (PYPROF_FORMAT_COUNT - 1)) + 1;
    output.compact = chosen >> 8 & 1;
    output.sources = -1;
    if ((chosen >> 16 & 7) == 0) pyprof_write(profile, &output, ignore, &written);   // slow: not each time
    if (pyprof_profile_info(profile, &info) || pyprof_profile_stats(profile, &stats)) complain("info");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    block from = { data, size };
    pyprof_profile *profile = NULL;
    pyprof_result result = pyprof__load(from_block, &from, "fuzz", NULL, &profile);
    if (result != PYPROF_OK && result != PYPROF_ERR_FORMAT && result != PYPROF_ERR_MEMORY) complain("result");
    if ((result == PYPROF_OK) != (profile != NULL)) complain("profile");
    if (result == PYPROF_OK) use(profile, data, size);
    pyprof_profile_free(profile);
    return 0;
}

#if defined(FUZZ_REPLAY) || defined(FUZZ_INSIDE)
static int replay(const char *path)   // 0 = it was read
{
    uint8_t *data = (uint8_t *)malloc(1 << 20);
    FILE *file = fopen(path, "rb");
    size_t size = file && data ? fread(data, 1, 1 << 20, file) : 0;
    if (!file || !data) { perror(path); return 1; }
    fclose(file);
    data = (uint8_t *)realloc(data, size ? size : 1);   // a read beyond its end is found
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

// -> the number of files; -1 = one could not be read
static int replay_all(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    char file[4096];
    int count = 0;
    if (!folder) return replay(path) ? -1 : 1;
    while (count >= 0 && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        count = replay(file) ? -1 : count + 1;
    }
    closedir(folder);
    return count;
}
#endif

#ifdef FUZZ_REPLAY
int main(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) {
        int count = replay_all(argv[i]);
        if (count < 0) return 1;
        printf("%s: %d files\n", argv[i], count);
    }
    return 0;
}
#endif
