// Shows:  a C extension module that includes the header: Python code profiles itself with `import pyprof`.
// Build:  cc -shared -fPIC $(python3-config --includes) examples/04_module.c -pthread
//            -o build/pyprof$(python3-config --extension-suffix)
// Run:    PYTHONPATH=build python3 -c "
//         import pyprof
//         with pyprof.profile('out.svg'):               # writes a flame graph at the end
//             print(sum(i * i for i in range(10 ** 7)))
//         with pyprof.start(rate_hz=1000) as session:   # keeps the profile
//             print(sum(i * i for i in range(10 ** 7)))
//         print(session.profile.top(1)[0]['qualname'], session.stats()['samples'])"
// Prints: 333333283333335000000 twice, then: <genexpr> and the number of samples
#include <Python.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

#define CODE(function) ((void *)(uintptr_t)(function))   // ISO C: no cast from a function to a void pointer
#define KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

typedef struct {
    PyObject *error;
    PyTypeObject *session_type, *profile_type;
} module_state;

typedef struct {
    PyObject_HEAD
    PyObject *module;
    pyprof_profile *profile;
} profile_object;

typedef struct {
    PyObject_HEAD
    PyObject *module;
    pyprof *session;               // a token: pyprof itself answers for one that has ended
    PyObject *path;                // bytes: where __exit__ saves; or NULL
    _Atomic(PyObject *) profile;   // set once, by the call that ended the session
} session_object;

// Names in the order of pyprof.h's enumerations.
static const char *const metrics[] = {NULL,     "samples",     "wall_ns", "cpu_ns",
                                      "gil_ns", "gil_wait_ns", "wait_ns"};
static const char *const groups[] = {"function", "line", "file", "thread"};
static const char *const heaps[] = {"off", "sampled", "exact"};
static const char *const kinds[] = {"python", "native", "zone", "pseudo", "thread", "process"};
static const char *const formats[] = {
    NULL, "json", "txt", "svg", "html", "folded", "speedscope.json", "pb.gz", "prof", "cpuprofile",
    "heapprofile", "trace.json", "firefox.json", "callgrind", "pkl", "linux-perf.txt", "massif", "dhat.json",
    "om.txt"};
#define LOOK_UP(names, name) look_up(#names, names, sizeof names / sizeof names[0], name)

// The index of name; 0 without a name; -1 and ValueError for one that is not there.
static int look_up(const char *what, const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; name != NULL && i < count; i++)
        if (names[i] != NULL && strcmp(names[i], name) == 0)
            return (int)i;
    if (name == NULL)
        return 0;
    PyErr_Format(PyExc_ValueError, "'%s' is none of pyprof's %s", name, what);
    return -1;
}

static PyObject *text_object(const char *text, size_t size)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "replace");
}

// Raises pyprof.Error with the detail as its text and the pyprof_result as its code.
static PyObject *fail(PyObject *module, pyprof_result result)
{
    const module_state *state = PyModule_GetState(module);
    const char *detail = pyprof_last_error();
    PyObject *text = text_object(detail, strlen(detail));
    PyObject *error = text != NULL ? PyObject_CallFunctionObjArgs(state->error, text, NULL) : NULL;
    PyObject *code = PyLong_FromLong((long)result);
    if (error != NULL && code != NULL && PyObject_SetAttrString(error, "code", code) == 0)
        PyErr_SetObject(state->error, error);
    Py_XDECREF(text);
    Py_XDECREF(error);
    Py_XDECREF(code);
    return NULL;
}

static PyObject *stats_object(const pyprof_stats *s)
{
    return Py_BuildValue(
        "{sKsKsKsK sKsKsKsK sKsKsKsK sKsKsKsK sKss}",
        "asked", s->asked, "samples", s->samples, "missed", s->missed, "rejected", s->rejected,
        "retried", s->retried, "unfrozen", s->unfrozen, "truncated", s->truncated, "recovered", s->recovered,
        "timeline_dropped", s->timeline_dropped, "threads", s->threads, "interpreters", s->interpreters,
        "own_cpu_ns", s->own_cpu_ns, "own_bytes", s->own_bytes, "late_max_ns", s->late_max_ns,
        "late_mean_ns", s->late_mean_ns, "gap_ns", s->gap_ns, "thinned", s->thinned,
        "degraded", s->degraded);
}

// ---- Profile ----------------------------------------------------------------------------------------------

static PyObject *profile_new(PyObject *module, pyprof_profile *profile)
{
    const module_state *state = PyModule_GetState(module);
    profile_object *self = PyObject_New(profile_object, state->profile_type);
    if (self == NULL) {
        pyprof_profile_free(profile);
        return NULL;
    }
    Py_INCREF(module);
    self->module = module;
    self->profile = profile;
    return (PyObject *)self;
}

static void profile_dealloc(PyObject *object)
{
    profile_object *self = (profile_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    pyprof_profile_free(self->profile);
    Py_DECREF(self->module);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *profile_save(PyObject *object, PyObject *args, PyObject *options)
{
    static char *names[] = {"path", "format", NULL};
    profile_object *self = (profile_object *)object;
    pyprof_output output = {0};
    PyObject *path = NULL;
    const char *format = NULL;
    pyprof_result result = PYPROF_ERR_ARGUMENT;
    if (!PyArg_ParseTupleAndKeywords(args, options, "O&|z:save", names, PyUnicode_FSConverter, &path,
                                     &format))
        return NULL;
    output.format = LOOK_UP(formats, format);
    if (output.format >= 0) {
        Py_BEGIN_ALLOW_THREADS
        result = pyprof_save(self->profile, PyBytes_AS_STRING(path), &output);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(path);
    if (result == PYPROF_OK)
        Py_RETURN_NONE;
    return output.format >= 0 ? fail(self->module, result) : NULL;
}

static int write_to_stream(void *stream, const void *data, size_t size)
{
    return fwrite(data, 1, size, stream) != size;
}

static PyObject *profile_text(PyObject *object, PyObject *unused)
{
    (void)unused;
    profile_object *self = (profile_object *)object;
    const pyprof_output output = {.format = PYPROF_FORMAT_TEXT};
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL)
        return PyErr_NoMemory();
    pyprof_result result;
    Py_BEGIN_ALLOW_THREADS
    result = pyprof_write(self->profile, &output, write_to_stream, stream);
    Py_END_ALLOW_THREADS
    int closed = fclose(stream) == 0;
    PyObject *value = NULL;
    if (result != PYPROF_OK)
        fail(self->module, result);
    else
        value = closed ? text_object(text, size) : PyErr_NoMemory();
    free(text);
    return value;
}

static PyObject *metrics_object(const int64_t *values)
{
    return Py_BuildValue("{sLsLsLsLsLsL}", metrics[1], values[1], metrics[2], values[2], metrics[3],
                         values[3], metrics[4], values[4], metrics[5], values[5], metrics[6], values[6]);
}

static PyObject *row_object(const pyprof_row *row)
{
    PyObject *name = text_object(row->name, strlen(row->name));
    PyObject *qualname = text_object(row->qualname, strlen(row->qualname));
    PyObject *file = text_object(row->file, strlen(row->file));
    const char *kind = row->kind >= 0 && row->kind <= PYPROF_KIND_PROCESS ? kinds[row->kind] : "?";
    return Py_BuildValue("{sNsNsN sisssNsN}", "name", name, "qualname", qualname, "file", file,
                         "line", row->line, "kind", kind, "self", metrics_object(row->self),
                         "total", metrics_object(row->total));
}

static PyObject *profile_top(PyObject *object, PyObject *args, PyObject *options)
{
    static char *names[] = {"n", "sort", "group", "by_total", "include_idle", NULL};
    profile_object *self = (profile_object *)object;
    pyprof_query query = {0};
    const char *sort = NULL, *group = NULL;
    Py_ssize_t n = 10;
    size_t count = 0;
    if (!PyArg_ParseTupleAndKeywords(args, options, "|nzzpp:top", names, &n, &sort, &group, &query.by_total,
                                     &query.include_idle))
        return NULL;
    query.sort = LOOK_UP(metrics, sort);
    query.group = LOOK_UP(groups, group);
    if (query.sort < 0 || query.group < 0)
        return NULL;
    size_t capacity = n > 0 && n < 100000 ? (size_t)n : n > 0 ? 100000 : 0;
    pyprof_row *rows = calloc(capacity + 1, sizeof *rows);
    if (rows == NULL)
        return PyErr_NoMemory();
    pyprof_result result = pyprof_top(self->profile, &query, rows, sizeof *rows, capacity, &count);
    PyObject *list = result == PYPROF_OK ? PyList_New(0) : fail(self->module, result);
    for (size_t i = 0; list != NULL && i < count && i < capacity; i++) {
        PyObject *row = row_object(&rows[i]);
        if (row == NULL || PyList_Append(list, row) != 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    free(rows);
    return list;
}

static PyObject *profile_stats(PyObject *object, PyObject *unused)
{
    (void)unused;
    profile_object *self = (profile_object *)object;
    pyprof_stats stats;
    pyprof_result result = pyprof_profile_stats(self->profile, &stats);
    return result == PYPROF_OK ? stats_object(&stats) : fail(self->module, result);
}

static PyMethodDef profile_methods[] = {
    {"save", KEYWORDS(profile_save), METH_VARARGS | METH_KEYWORDS,
     "save(path, format=None)\n"
     "The format (svg, json, txt, folded, ...) is by default the path's extension."},
    {"text", profile_text, METH_NOARGS, "text() -> str\nThe report a person reads."},
    {"top", KEYWORDS(profile_top), METH_VARARGS | METH_KEYWORDS,
     "top(n=10, sort=None, group='function', by_total=False, include_idle=False) -> list of dict\n"
     "sort: samples, wall_ns, cpu_ns, gil_ns, gil_wait_ns, wait_ns; by default the wall time spent running.\n"
     "group: function, line, file, thread."},
    {"stats", profile_stats, METH_NOARGS, "stats() -> dict\nHow good the recording is, and what it cost."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot profile_slots[] = {
    {Py_tp_dealloc, CODE(profile_dealloc)},
    {Py_tp_methods, profile_methods},
    {Py_tp_doc, "An immutable recording: save it, or ask it where the time went."},
    {0, NULL}};

// ---- Session ----------------------------------------------------------------------------------------------

static PyObject *session_new(PyObject *module, PyObject *path, PyObject *args, PyObject *options)
{
    static char *names[] = {"rate_hz",   "duration_s",    "timeline_s",
                            "max_depth", "thread_filter", "heap",       NULL};
    const module_state *state = PyModule_GetState(module);
    pyprof_config config = {0};
    const char *heap = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, options, "|d$ddIzz:start", names, &config.rate_hz,
                                     &config.duration_s, &config.timeline_s, &config.max_depth,
                                     &config.thread_filter, &heap))
        return NULL;
    config.heap = LOOK_UP(heaps, heap);
    if (config.heap < 0)
        return NULL;
    session_object *self = PyObject_New(session_object, state->session_type);
    if (self == NULL)
        return NULL;
    Py_INCREF(module);
    Py_XINCREF(path);
    self->module = module;
    self->path = path;
    atomic_init(&self->profile, NULL);
    pyprof_result result;
    Py_BEGIN_ALLOW_THREADS
    result = pyprof_start(&config, &self->session);
    Py_END_ALLOW_THREADS
    if (result == PYPROF_OK)
        return (PyObject *)self;
    fail(module, result);
    Py_DECREF(self);
    return NULL;
}

static void session_dealloc(PyObject *object)
{
    session_object *self = (session_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    pyprof_stop(self->session, NULL);   // PYPROF_ERR_STATE where it has ended already
    Py_XDECREF(atomic_load(&self->profile));
    Py_XDECREF(self->path);
    Py_DECREF(self->module);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *session_stop(PyObject *object, PyObject *unused)
{
    (void)unused;
    session_object *self = (session_object *)object;
    pyprof_profile *profile = NULL;
    pyprof_result result;
    Py_BEGIN_ALLOW_THREADS
    result = pyprof_stop(self->session, &profile);
    Py_END_ALLOW_THREADS
    if (result != PYPROF_OK)
        return fail(self->module, result);
    PyObject *value = profile_new(self->module, profile);
    Py_XINCREF(value);
    atomic_store(&self->profile, value);
    return value;
}

static PyObject *session_snapshot(PyObject *object, PyObject *args, PyObject *options)
{
    static char *names[] = {"reset", "last_s", NULL};
    session_object *self = (session_object *)object;
    pyprof_snapshot_options choice = {0};
    pyprof_profile *profile = NULL;
    pyprof_result result;
    if (!PyArg_ParseTupleAndKeywords(args, options, "|pd:snapshot", names, &choice.reset, &choice.last_s))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = pyprof_snapshot(self->session, &choice, &profile);
    Py_END_ALLOW_THREADS
    return result == PYPROF_OK ? profile_new(self->module, profile) : fail(self->module, result);
}

static PyObject *session_switch(PyObject *object, pyprof_result (*to)(pyprof *session))
{
    session_object *self = (session_object *)object;
    pyprof_result result;
    Py_BEGIN_ALLOW_THREADS
    result = to(self->session);
    Py_END_ALLOW_THREADS
    if (result != PYPROF_OK)
        return fail(self->module, result);
    Py_RETURN_NONE;
}

static PyObject *session_pause(PyObject *object, PyObject *unused)
{
    (void)unused;
    return session_switch(object, pyprof_pause);
}

static PyObject *session_resume(PyObject *object, PyObject *unused)
{
    (void)unused;
    return session_switch(object, pyprof_resume);
}

static PyObject *session_stats(PyObject *object, PyObject *unused)
{
    session_object *self = (session_object *)object;
    PyObject *profile = atomic_load(&self->profile);
    pyprof_stats stats;
    if (profile != NULL)
        return profile_stats(profile, unused);
    pyprof_result result = pyprof_get_stats(self->session, &stats);
    return result == PYPROF_OK ? stats_object(&stats) : fail(self->module, result);
}

static PyObject *session_profile(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *profile = atomic_load(&((session_object *)object)->profile);
    PyObject *value = profile != NULL ? profile : Py_None;
    Py_INCREF(value);
    return value;
}

static PyObject *session_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    Py_INCREF(object);
    return object;
}

static PyObject *session_exit(PyObject *object, PyObject *exception)
{
    (void)exception;   // a recording of work that failed is worth keeping too
    const session_object *self = (session_object *)object;
    PyObject *profile = session_profile(object, NULL);
    if (profile == Py_None) {
        Py_DECREF(profile);
        profile = session_stop(object, NULL);
    }
    if (profile == NULL || self->path == NULL) {
        Py_XDECREF(profile);
        return profile != NULL ? Py_BuildValue("") : NULL;
    }
    PyObject *done = PyObject_CallMethod(profile, "save", "O", self->path);
    Py_DECREF(profile);
    return done;
}

static PyMethodDef session_methods[] = {
    {"stop", session_stop, METH_NOARGS, "stop() -> Profile\nEnds the session; .profile is the result, too."},
    {"snapshot", KEYWORDS(session_snapshot), METH_VARARGS | METH_KEYWORDS,
     "snapshot(reset=False, last_s=0) -> Profile\nWhat was recorded so far; sampling goes on."},
    {"pause", session_pause, METH_NOARGS, "pause()"},
    {"resume", session_resume, METH_NOARGS, "resume()"},
    {"stats", session_stats, METH_NOARGS, "stats() -> dict\nHow good the recording is, and what it costs."},
    {"__enter__", session_enter, METH_NOARGS, NULL},
    {"__exit__", session_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef session_getset[] = {
    {"profile", session_profile, NULL, "The Profile of a session that was stopped; None before.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot session_slots[] = {
    {Py_tp_dealloc, CODE(session_dealloc)},
    {Py_tp_methods, session_methods},
    {Py_tp_getset, session_getset},
    {Py_tp_doc, "A recording under way. A with statement stops it."},
    {0, NULL}};

// ---- the module -------------------------------------------------------------------------------------------

static PyObject *module_start(PyObject *module, PyObject *args, PyObject *options)
{
    return session_new(module, NULL, args, options);
}

static PyObject *module_profile(PyObject *module, PyObject *args, PyObject *options)
{
    PyObject *path = NULL;
    if (!PyArg_ParseTuple(args, "O&:profile", PyUnicode_FSConverter, &path))
        return NULL;
    PyObject *none = PyTuple_New(0);
    PyObject *session = none != NULL ? session_new(module, path, none, options) : NULL;
    Py_XDECREF(none);
    Py_DECREF(path);
    return session;
}

static PyMethodDef module_methods[] = {
    {"start", KEYWORDS(module_start), METH_VARARGS | METH_KEYWORDS,
     "start(rate_hz=100, *, duration_s=0, timeline_s=60, max_depth=1024, thread_filter=None, heap='off')\n"
     "-> Session: starts to record every thread."},
    {"profile", KEYWORDS(module_profile), METH_VARARGS | METH_KEYWORDS,
     "profile(path, **options) -> Session\n"
     "start(**options), for a with statement that saves to path at its end."},
    {NULL, NULL, 0, NULL}};

#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
#define TYPE_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION)
#else
#define TYPE_FLAGS Py_TPFLAGS_DEFAULT   // before 3.10
#endif

// A type whose objects only this module makes.
static PyTypeObject *add_type(PyObject *module, const char *attribute, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromSpec(spec);
#ifndef Py_TPFLAGS_DISALLOW_INSTANTIATION
    if (type != NULL)
        type->tp_new = NULL;
#endif
    if (type != NULL && PyObject_SetAttrString(module, attribute, (PyObject *)type) != 0)
        Py_CLEAR(type);
    return type;
}

static int module_exec(PyObject *module)
{
    static PyType_Spec session = {"pyprof.Session", sizeof(session_object), 0, TYPE_FLAGS, session_slots};
    static PyType_Spec profile = {"pyprof.Profile", sizeof(profile_object), 0, TYPE_FLAGS, profile_slots};
    module_state *state = PyModule_GetState(module);
    state->error = PyErr_NewExceptionWithDoc("pyprof.Error", "code is the pyprof_result.", NULL, NULL);
    if (state->error == NULL || PyObject_SetAttrString(module, "Error", state->error) != 0)
        return -1;
    state->session_type = add_type(module, "Session", &session);
    state->profile_type = add_type(module, "Profile", &profile);
    if (state->session_type == NULL || state->profile_type == NULL)
        return -1;
    return PyModule_AddStringConstant(module, "__version__", pyprof_version());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    const module_state *state = PyModule_GetState(module);
    Py_VISIT(state->error);
    Py_VISIT(state->session_type);
    Py_VISIT(state->profile_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->error);
    Py_CLEAR(state->session_type);
    Py_CLEAR(state->profile_type);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, CODE(module_exec)},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL}};

static PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "pyprof",
    .m_doc = "A sampling profiler inside the process: start(), or `with pyprof.profile('out.svg'):`.",
    .m_size = sizeof(module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free};

PyMODINIT_FUNC PyInit_pyprof(void)
{
    return PyModuleDef_Init(&module_def);
}
