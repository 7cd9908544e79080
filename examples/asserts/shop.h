// What the three programs beside this one have in common: a shop in Python, and a recording of what it does.
#ifndef SHOP_H
#define SHOP_H
#include <Python.h>   // first, as it asks
#include "../pyprof_assert.h"

static const char shop[] =
    "import time\n"
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
    "kept = []\n"
    "def serve():\n"
    "    rows = [('a < b & c' * 5, str(i)) for i in range(100)]\n"
    "    end = time.monotonic() + 1.2\n"
    "    while time.monotonic() < end:\n"
    "        page = render(rows)\n"
    "        if regress: kept.append(page * 3)\n"
    "        time.sleep(0.004)\n";

// Runs the shop for 1.2 s. NULL, and a message on stderr, if it cannot be recorded. The caller frees the profile.
static pyprof_profile *shop_recorded(int regress)
{
    pyprof_config config = {.rate_hz = 1000, .heap = PYPROF_HEAP_EXACT};
    pyprof_profile *profile = NULL;
    pyprof *session;
    Py_Initialize();
    if (PyRun_SimpleString(shop) != 0 || (regress && PyRun_SimpleString("regress = True") != 0)) return NULL;
    if (pyprof_start(&config, &session) != PYPROF_OK) return fprintf(stderr, "%s\n", pyprof_last_error()), NULL;
    int raised = PyRun_SimpleString("serve()");
    if (pyprof_stop(session, &profile) != PYPROF_OK) fprintf(stderr, "%s\n", pyprof_last_error());
    Py_Finalize();
    if (raised != 0) pyprof_profile_free(profile), profile = NULL;
    return profile;
}

#endif
