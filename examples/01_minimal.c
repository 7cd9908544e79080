// Shows:  from #include to a flame graph in a program that embeds Python.
// Build:  cc -pthread examples/01_minimal.c -o minimal $(python3-config --includes --ldflags --embed)
// Prints: wrote profile.svg   (open it in a browser; another path may be given as argument)
#include <Python.h>
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

static const char work[] = "def squares(n): return sum(i * i for i in range(n))\n"
                           "def words(n): return sorted(str(i) for i in range(n))\n"
                           "for i in range(100): squares(20000), words(10000)\n";

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "profile.svg";
    pyprof *session = NULL;
    pyprof_profile *profile = NULL;
    Py_Initialize();
    int failed = pyprof_start(NULL, &session) || PyRun_SimpleString(work) || pyprof_stop(session, &profile) ||
                 pyprof_save(profile, path, NULL);
    printf("%s %s\n", failed ? "failed:" : "wrote", failed ? pyprof_last_error() : path);
    pyprof_profile_free(profile);
    Py_Finalize();
    return failed;
}
