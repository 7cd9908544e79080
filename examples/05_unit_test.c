// Shows:  a unit test that asserts on a profile: runs Python under the profiler, then checks where time went.
// Build:  cc -pthread examples/05_unit_test.c -o build/05_unit_test
//            $(python3-config --includes --ldflags --embed)
// Prints: ok    render: at most 5 % of the time in escape_slowly itself (took 0.0 %)
//         ok    render: debug_dump is never called
//         and so on, exit status 0. With --regress the code under test is worse: FAIL lines, exit status 1.
#include <Python.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

static const char code_under_test[] =
    "regress = False\n"
    "def escape(text):\n"
    "    return text.replace('&', '&amp;').replace('<', '&lt;')\n"
    "def escape_slowly(text):\n"
    "    result = ''\n"
    "    for c in text: result += {'&': '&amp;', '<': '&lt;'}.get(c, c)\n"
    "    return result\n"
    "def debug_dump(rows):\n"
    "    return '\\n'.join(repr(row) for row in rows)\n"
    "def render(rows):\n"
    "    cell = escape_slowly if regress else escape\n"
    "    if regress: debug_dump(rows)\n"
    "    return ''.join('<tr><td>%s<td>%s\\n' % (cell(a), cell(b)) for a, b in rows)\n"
    "def test_render():\n"
    "    rows = [('a < b & c' * 5, str(i)) for i in range(1000)]\n"
    "    for i in range(300): render(rows)\n";

static int failures;

static void check(int good, const char *rule, const char *detail)
{
    printf("%-5s %s%s\n", good ? "ok" : "FAIL", rule, detail);
    failures += !good;
}

// Counts the threads' time, idle time left out; the share of a function is measured against it.
static int64_t running(const int64_t *metric)
{
    return metric[PYPROF_WALL_NS] - metric[PYPROF_WAIT_NS];
}

// The function may take at most so many percent of the time by itself, callees not counted.
static void assert_self_at_most(const pyprof_profile *profile, const char *function, double percent)
{
    pyprof_row rows[200];
    pyprof_info info;
    size_t count = 0;
    int64_t self = 0;
    char rule[120], detail[600];
    snprintf(rule, sizeof rule, "render: at most %.0f %% of the time in %s itself", percent, function);
    if (pyprof_top(profile, NULL, rows, sizeof rows[0], 200, &count) || pyprof_profile_info(profile, &info)) {
        snprintf(detail, sizeof detail, ": %s", pyprof_last_error());
        check(0, rule, detail);
        return;
    }
    for (size_t i = 0; i < count && i < 200; i++)
        if (fnmatch(function, rows[i].qualname, 0) == 0)
            self += running(rows[i].self);
    double took = 100.0 * (double)self / (double)(running(info.total) > 0 ? running(info.total) : 1);
    snprintf(detail, sizeof detail, " (took %.1f %%)", took);
    check(took <= percent, rule, detail);
}

struct search {
    const char *function;
    char path[300];   // how it was reached: render > debug_dump
};

static int find_call(void *user, const pyprof_item *item)
{
    struct search *search = user;
    if (item->kind != PYPROF_ITEM_NODE || item->depth == 0 ||
        fnmatch(search->function, item->stack[item->depth - 1].qualname, 0) != 0)
        return 0;
    size_t used = 0;
    for (size_t i = 0; i < item->depth && used < sizeof search->path; i++)
        used += (size_t)snprintf(search->path + used, sizeof search->path - used, "%s%s",
                                 i > 0 ? " > " : ": ", item->stack[i].qualname);
    return 1;   // one is enough
}

// The function must appear in no stack.
static void assert_never_called(const pyprof_profile *profile, const char *function)
{
    struct search search = {function, ""};
    char rule[120];
    snprintf(rule, sizeof rule, "render: %s is never called", function);
    pyprof_result result = pyprof_visit(profile, NULL, find_call, &search);
    check(result == PYPROF_OK && search.path[0] == '\0', rule, result ? pyprof_last_error() : search.path);
}

int main(int argc, char **argv)
{
    pyprof *session;
    pyprof_profile *profile;
    pyprof_stats stats;
    pyprof_config config = {.rate_hz = 1000};
    int regress = argc > 1 && strcmp(argv[1], "--regress") == 0;
    Py_Initialize();
    if (PyRun_SimpleString(code_under_test) != 0 || (regress && PyRun_SimpleString("regress = True") != 0))
        return 2;
    if (pyprof_start(&config, &session) != PYPROF_OK) {
        fprintf(stderr, "cannot profile: %s\n", pyprof_last_error());
        return 2;
    }
    int raised = PyRun_SimpleString("test_render()") != 0;
    if (pyprof_stop(session, &profile) != PYPROF_OK || pyprof_profile_stats(profile, &stats) != PYPROF_OK) {
        fprintf(stderr, "cannot profile: %s\n", pyprof_last_error());
        return 2;
    }
    check(!raised, "render: raises nothing", "");
    check(stats.samples >= 50, "render: enough samples to judge by", "");
    assert_self_at_most(profile, "escape_slowly", 5);
    assert_never_called(profile, "debug_dump");
    pyprof_profile_free(profile);
    Py_Finalize();
    return failures > 0;
}
