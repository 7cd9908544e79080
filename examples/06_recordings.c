// Shows:  recordings that were saved as JSON: loaded again, written in other formats, compared, joined, listed.
// Build:  cc -pthread examples/06_recordings.c -o recordings
// Prints: with "top app_profile.json" the ten functions that ran longest; otherwise "wrote OUT"
#include <stdio.h>
#include <string.h>
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

enum { MOST = 64 };

static int usage(void)
{
    fputs("usage: recordings convert IN.json OUT       OUT: app.svg, app.pb.gz, app.prof, app.trace.json ...\n"
          "       recordings compare BEFORE AFTER OUT  OUT: change.txt, change.svg, change.folded, change.pb.gz\n"
          "       recordings merge OUT IN.json...      each recording becomes a process of its own\n"
          "       recordings top IN.json [FUNCTION]    FUNCTION: only stacks with such a function, as in \"app.*\"\n",
          stderr);
    return 2;
}

static void list(const pyprof_profile *profile, const char *function)
{
    pyprof_query query = { .function = function };   // idle time is left out, waiting is not
    pyprof_row rows[10];
    size_t count = 0;
    if (pyprof_top(profile, &query, rows, sizeof *rows, 10, &count) != PYPROF_OK) return;
    for (size_t i = 0; i < count && i < 10; i++)
        printf("%9.3f s running, %9.3f s waiting  %s  %s:%d\n",
               1e-9 * (double)(rows[i].self[PYPROF_WALL_NS] - rows[i].self[PYPROF_WAIT_NS]),
               1e-9 * (double)rows[i].self[PYPROF_WAIT_NS], rows[i].qualname, rows[i].file, (int)rows[i].line);
}

int main(int argc, char **argv)
{
    pyprof_profile *loaded[MOST] = { NULL }, *made = NULL;
    const char *verb = argc > 2 ? argv[1] : "", *out = NULL;
    int top = !strcmp(verb, "top"), merge = !strcmp(verb, "merge"), compare = !strcmp(verb, "compare");
    int first = merge ? 3 : 2, last = merge ? argc : compare ? 4 : 3, count = last - first, result = PYPROF_OK;
    if (!(top || merge || compare || !strcmp(verb, "convert")) || argc < last + !(top || merge) || count < 1 || count > MOST)
        return usage();
    for (int i = 0; i < count && result == PYPROF_OK; i++) result = pyprof_load(argv[first + i], &loaded[i]);
    out = merge ? argv[2] : argv[last];
    if (result == PYPROF_OK && merge) result = pyprof_merge((const pyprof_profile *const *)loaded, (size_t)count, NULL, &made);
    if (result == PYPROF_OK && compare) result = pyprof_diff(loaded[0], loaded[1], NULL, &made);
    if (result == PYPROF_OK && top) list(loaded[0], argc > 3 ? argv[3] : NULL);
    if (result == PYPROF_OK && !top) result = pyprof_save(made ? made : loaded[0], out, NULL);
    if (result != PYPROF_OK) fprintf(stderr, "recordings: %s\n", pyprof_last_error());
    else if (!top) printf("wrote %s\n", out);
    pyprof_profile_free(made);
    for (int i = 0; i < count; i++) pyprof_profile_free(loaded[i]);
    return result != PYPROF_OK;
}
