// Shows:  a plugin host that is not linked to Python: it loads libpython for itself (RTLD_LOCAL), needs no
//         Python.h, and pyprof finds the interpreter all the same.
// Build:  cc examples/03_plugin_host.c -o build/03_plugin_host -pthread -ldl
// Run:    build/03_plugin_host LIBPYTHON.so [SCRIPT.py]      (or LIBPYTHON=... in the environment)
// Prints: the ten functions that ran longest, such as
//           self ms  total ms  function
//             612.4     612.4  is_prime  (<string>:1)
//             103.0     715.9  primes  (<string>:3)
//
// RTLD_LOCAL also hides libpython from Python's own C extensions; where those are not linked to libpython, as
// with pyenv, the script must do with the modules built into the interpreter.
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char run_script[] = "import os, sys\n"
                                 "sys.argv = [os.environ['PLUGIN_SCRIPT']]\n"
                                 "with open(sys.argv[0]) as f: exec(compile(f.read(), f.name, 'exec'))\n";

static const char run_primes[] = "def is_prime(n):\n"
                                 "    return all(n % i for i in range(2, int(n ** 0.5) + 1))\n"
                                 "def primes(n):\n"
                                 "    return [i for i in range(2, n) if is_prime(i)]\n"
                                 "print(len(primes(300000)), 'primes below 300000')\n";

static struct {
    void (*initialize)(int signals);
    int (*run)(const char *source);
    int (*finalize)(void);
} python;

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "plugin host: %s: %s\n", what, why);
    return 1;
}

// C has no cast from the object pointer that dlsym returns to a function pointer, so the bytes are copied.
static int resolve(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static int print_top(const pyprof_profile *profile)
{
    pyprof_row rows[10];
    size_t count = 0;
    if (pyprof_top(profile, NULL, rows, sizeof rows[0], 10, &count) != PYPROF_OK)
        return complain("pyprof_top", pyprof_last_error());
    printf("  self ms  total ms  function\n");
    for (size_t i = 0; i < count && i < 10; i++)
        printf("%9.1f %9.1f  %s  (%s:%d)\n", (double)rows[i].self[PYPROF_WALL_NS] / 1e6,
               (double)rows[i].total[PYPROF_WALL_NS] / 1e6, rows[i].qualname, rows[i].file, rows[i].line);
    return 0;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : getenv("LIBPYTHON");
    if (path == NULL)
        return complain("usage", "03_plugin_host LIBPYTHON.so [SCRIPT.py], or set LIBPYTHON");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return complain("cannot load Python", dlerror());
    if (!resolve(library, "Py_InitializeEx", &python.initialize) ||
        !resolve(library, "PyRun_SimpleString", &python.run) ||
        !resolve(library, "Py_FinalizeEx", &python.finalize))
        return complain(path, "this is not libpython");
    if (argc > 2 && setenv("PLUGIN_SCRIPT", argv[2], 1) != 0)
        return complain("setenv", "out of memory");

    pyprof *session;
    pyprof_profile *profile;
    pyprof_config config = {.rate_hz = 500};
    python.initialize(0);   // 0: leave the host's signal handlers alone
    if (pyprof_start(&config, &session) != PYPROF_OK)
        return complain("pyprof_start", pyprof_last_error());
    int failed = python.run(argc > 2 ? run_script : run_primes) != 0;
    if (pyprof_stop(session, &profile) != PYPROF_OK)
        return complain("pyprof_stop", pyprof_last_error());
    failed |= python.finalize() != 0;   // the profile needs no Python any more
    failed |= print_top(profile);
    pyprof_profile_free(profile);
    return failed;
}
