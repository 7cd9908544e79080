// Shows:  an embedding host with threads of its own that becomes its own profiler when PROFILING=1 is set.
// Build:  cc -pthread examples/host.c -o build/host $(python3-config --includes --ldflags --embed)
// Run:    PROFILING=1 build/host SCRIPT.py [ARGUMENTS...]
// Prints: the script's own output; with PROFILING=1 then the text report of all threads and the files written
//         at exit, otherwise how to set it.
//
// While the script runs, two host threads call Python too: "status" keeps a compressed log of the process,
// "watch" backs up files of the standard library, as a host does that reloads changed scripts.
#include <Python.h>
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

static const char jobs_source[] =
    "import os, time, zlib\n"
    "page, archive, backup = [], [], {}\n"
    "\n"
    "def memory():\n"
    "    with open('/proc/self/status') as lines:\n"
    "        return next((line.split()[1] for line in lines if line.startswith('VmRSS')), '?')\n"
    "\n"
    "def status():\n"
    "    page.append('%.3f %s KiB, %d files\\n' % (time.monotonic(), memory(), len(backup)))\n"
    "    if len(page) == 20:\n"
    "        archive.append(zlib.compress(''.join(page).encode(), 9))\n"
    "        page.clear()\n"
    "\n"
    "def changed(folder):\n"
    "    for entry in os.scandir(folder):\n"
    "        if entry.is_file() and backup.get(entry.path, (0,))[0] != entry.stat().st_mtime:\n"
    "            yield entry\n"
    "\n"
    "def watch():\n"
    "    for entry, _ in zip(changed(os.path.dirname(os.__file__)), range(2)):\n"
    "        with open(entry.path, 'rb') as file:\n"
    "            backup[entry.path] = entry.stat().st_mtime, zlib.compress(file.read(), 6)\n";

struct job {
    const char *name;
    long period_ms;
    PyObject *module;
    pthread_t thread;
};

static atomic_bool jobs_end;
static char files[4096];   // PREFIX of the files that the environment session writes
static time_t started;

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "host: %s: %s\n", what, why);
    return 1;
}

// ---- the host's own threads -------------------------------------------------------------------------------

static void *run_job(void *argument)
{
    const struct job *job = argument;
    const struct timespec period = {job->period_ms / 1000, job->period_ms % 1000 * 1000000};
    int failed = 0;
    pthread_setname_np(pthread_self(), job->name);
    while (!failed && !atomic_load(&jobs_end)) {
        PyGILState_STATE gil = PyGILState_Ensure();
        PyObject *result = PyObject_CallMethod(job->module, job->name, NULL);
        failed = result == NULL;
        if (failed)
            PyErr_Print();
        Py_XDECREF(result);
        PyGILState_Release(gil);
        nanosleep(&period, NULL);
    }
    return NULL;
}

static PyObject *load_jobs(void)
{
    PyObject *code = Py_CompileString(jobs_source, "host_jobs.py", Py_file_input);
    PyObject *module = code != NULL ? PyImport_ExecCodeModule("host_jobs", code) : NULL;
    Py_XDECREF(code);
    if (module == NULL)
        PyErr_Print();
    return module;
}

// ---- the script -------------------------------------------------------------------------------------------

static int start_python(int argc, char **argv)
{
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;   // all that follows the script's name is the script's
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, argv[0]);
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesArgv(&config, argc - 1, argv + 1);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return PyStatus_Exception(status) ? complain("cannot start Python", status.err_msg) : 0;
}

// What an uncaught exception means for the exit status, as python itself has it.
static int exit_status(void)
{
    if (!PyErr_ExceptionMatches(PyExc_SystemExit)) {
        PyErr_Print();
        return 1;
    }
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *error = PyErr_GetRaisedException();
#else
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
#endif
    PyObject *code = PyObject_GetAttrString(error, "code");
    int status = 1;
    if (code == Py_None)
        status = 0;
    else if (code != NULL && PyLong_Check(code))
        status = (int)PyLong_AsLong(code);
    else if (code != NULL)
        PySys_FormatStderr("%S\n", code);
    Py_XDECREF(code);
    Py_XDECREF(error);
    return status;
}

static int run_script(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return complain(path, strerror(errno));
    PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    const char *slash = strrchr(path, '/');
    PyObject *name = PyUnicode_DecodeFSDefault(path);
    PyObject *folder = PyUnicode_DecodeFSDefaultAndSize(path, slash != NULL ? slash - path : 0);
    PyObject *search = PySys_GetObject("path");
    PyObject *result = NULL;
    if (name != NULL && folder != NULL && search != NULL && PyList_Insert(search, 0, folder) == 0 &&
        PyDict_SetItemString(globals, "__file__", name) == 0)
        result = PyRun_FileEx(file, path, Py_file_input, globals, globals, 1);
    int status = result != NULL ? 0 : exit_status();
    Py_XDECREF(result);
    Py_XDECREF(folder);
    Py_XDECREF(name);
    return status;
}

static int run_with_jobs(const char *path)
{
    struct job jobs[] = {{.name = "status", .period_ms = 200}, {.name = "watch", .period_ms = 500}};
    const size_t count = sizeof jobs / sizeof jobs[0];
    size_t running = 0;
    int status = 1;
    PyObject *module = load_jobs();
    for (; module != NULL && running < count; running++) {
        jobs[running].module = module;
        if (pthread_create(&jobs[running].thread, NULL, run_job, &jobs[running]) != 0)
            break;
    }
    if (running == count)
        status = run_script(path);
    atomic_store(&jobs_end, 1);
    Py_BEGIN_ALLOW_THREADS
    while (running > 0)
        pthread_join(jobs[--running].thread, NULL);
    Py_END_ALLOW_THREADS
    Py_XDECREF(module);
    return status;
}

// ---- the profile ------------------------------------------------------------------------------------------

// Runs after the library has written its files, because it was registered before pyprof_start_from_env.
static void list_files(void)
{
    char pid[24], pattern[sizeof files + 40];
    glob_t found;
    struct stat info;
    snprintf(pid, sizeof pid, ".%ld", (long)getpid());   // in the names where another run has the plain ones
    for (int i = 0; i < 4 && files[0] != '\0'; i++) {
        const char *ending = i % 2 == 0 ? "_profile.*" : "_memory_*";
        snprintf(pattern, sizeof pattern, "%s%s%s", files, i < 2 ? "" : pid, ending);
        if (glob(pattern, 0, NULL, &found) != 0)
            continue;
        for (size_t j = 0; j < found.gl_pathc; j++)
            if (stat(found.gl_pathv[j], &info) == 0 && info.st_mtime >= started)
                printf("%10lld bytes  %s\n", (long long)info.st_size, found.gl_pathv[j]);
        globfree(&found);
    }
}

static pyprof *start_profiling(void)
{
    pyprof *session;
    started = time(NULL);
    atexit(list_files);
    pyprof_result result = pyprof_start_from_env(&session);
    if (result == PYPROF_ERR_DISABLED)
        complain("not profiled", "to see where the time goes, set PROFILING=1");
    else if (result != PYPROF_OK)
        complain("not profiled", pyprof_last_error());
    return session;
}

static int print_report(pyprof *session)
{
    const pyprof_output text = {.format = PYPROF_FORMAT_TEXT};
    const char *prefix = getenv("PYPROF_OUT");
    const char *folder = getenv("TMPDIR");
    pyprof_profile *profile;
    pyprof_info info;
    if (pyprof_snapshot(session, NULL, &profile) != PYPROF_OK)
        return complain("no report", pyprof_last_error());
    fflush(stdout);   // pyprof_save writes to the descriptor, not to the stream
    int failed = pyprof_save(profile, "-", &text) || pyprof_profile_info(profile, &info);
    if (failed)
        complain("no report", pyprof_last_error());
    else if (prefix != NULL && prefix[0] != '\0')
        snprintf(files, sizeof files, "%s", prefix);
    else
        snprintf(files, sizeof files, "%s/%s", folder != NULL ? folder : "/tmp", info.program);
    pyprof_profile_free(profile);
    return failed;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return complain("usage", "host SCRIPT.py [ARGUMENTS...]");
    pyprof *session = start_profiling();
    if (start_python(argc, argv) != 0)
        return 1;
    int status = run_with_jobs(argv[1]);
    status |= Py_FinalizeEx() != 0;   // also writes out what Python still buffers
    if (session != NULL)
        status |= print_report(session);
    return status;
}
