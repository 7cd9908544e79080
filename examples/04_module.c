// Shows:  a C extension module that includes the header: Python code profiles itself. This is the module's inside,
//         _pyprof; pyprof.py beside it adds the with statement, the decorator, python -m pyprof and %pyprof.
// Build:  make examples; or by hand:
//         cc -shared -fPIC -O2 $(python3-config --includes) examples/04_module.c -pthread
//            -o build/_pyprof$(python3-config --extension-suffix) && cp examples/pyprof.py build/
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
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"

#define CODE(function) ((void *)(uintptr_t)(function))   // ISO C: no cast from a function to a void pointer
#define KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))
#define COUNT(array) (sizeof(array) / sizeof *(array))
// Other threads run meanwhile. The calls that may install allocation hooks keep the GIL: with it the hooks go in at once.
#define RELEASED(call) do { Py_BEGIN_ALLOW_THREADS result = (call); Py_END_ALLOW_THREADS } while (0)

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
    int heap;
    _Atomic(PyObject *) profile;   // set once, by the call that ended the session
} session_object;

// Names in the order of pyprof.h's enumerations.
static const char *const metrics[] = {NULL, "samples", "wall_ns", "cpu_ns", "gil_ns", "gil_wait_ns", "wait_ns", "native_ns", "calls",
    "exceptions", "alloc_bytes", "alloc_blocks", "live_bytes", "live_blocks", "peak_bytes", "peak_blocks", "temp_blocks", "gpu_ns",
    "gpu_bytes", "wait_samples", "resident_bytes", "live_age_ms", "idle_ns", "cpu_wait_ns", "nogil_ns", "gil_block_ns", "unknown_ns",
    "idle_samples", "gil_samples", "alloc_doubt", "live_doubt", "peak_doubt"};
static const char *const groups[] = {"function", "line", "file", "thread", "leaf"};
static const char *const heaps[] = {"off", "sampled", "exact"};
static const char *const captures[] = {"auto", "copy", "signal"};
static const char *const forks[] = {"stop", "start"};
static const char *const shortened[] = {"full", "base", "hashed"};
static const char *const states[] = {"default", "all", "running", "waiting", "gil", "native"};
static const char *const scales[] = {"none", "time", "count"};
static const char *const growths[] = {"steady", "plateau", "growing", "unsure"};
static const char *const heap_states[] = {"off", "pending", "on", "lost"};
static const char *const kinds[] = {"python", "native", "zone", "pseudo", "thread", "process", "wait", "task"};
static const char *const locals[] = {"off", "masked", "all"};
static const char *const results[] = {"OK", "ARGUMENT", "STATE", "BUSY", "MEMORY", "IO", "FORMAT", "NO_PYTHON", "UNSUPPORTED", "DENIED",
    "NO_PROCESS", "DISABLED", "BUDGET"};
static const char *const formats[] = {NULL, "json", "txt", "svg", "html", "folded", "speedscope.json", "pb.gz", "prof", "cpuprofile",
    "heapprofile", "trace.json", "firefox.json", "callgrind", "pkl", "linux-perf.txt", "massif", "dhat.json", "om.txt",
    "perfetto-trace", "otlp.pb", "table.csv", "info", "prompt.txt"};
#define WORD(names, value) ((value) >= 0 && (size_t)(value) < COUNT(names) ? (names)[value] : "?")

// ---- keyword arguments that are fields of a structure -------------------------------------------------------

typedef enum { TRUTH, INTEGER, LONG_INTEGER, UNSIGNED, SIZE, REAL, STRING, CHOICE } field_kind;
typedef struct {
    const char *name;
    field_kind kind;
    size_t offset;
    const char *const *words;   // of a CHOICE
    size_t count;
} field;

#define FIELD(structure, kind, name) {#name, kind, offsetof(structure, name), NULL, 0}
#define CHOICES(structure, name, words) {#name, CHOICE, offsetof(structure, name), words, COUNT(words)}
static const field config_fields[] = {
    FIELD(pyprof_config, LONG_INTEGER, pid), FIELD(pyprof_config, REAL, rate_hz),
    {"rate", REAL, offsetof(pyprof_config, rate_hz), NULL, 0}, FIELD(pyprof_config, REAL, duration_s),
    CHOICES(pyprof_config, heap, heaps), FIELD(pyprof_config, SIZE, heap_interval_bytes), FIELD(pyprof_config, SIZE, heap_max_bytes),
    CHOICES(pyprof_config, capture, captures), FIELD(pyprof_config, TRUTH, children), FIELD(pyprof_config, TRUTH, native),
    FIELD(pyprof_config, REAL, timeline_s), FIELD(pyprof_config, UNSIGNED, max_depth), FIELD(pyprof_config, SIZE, max_bytes),
    CHOICES(pyprof_config, paths, shortened), FIELD(pyprof_config, STRING, thread_filter), FIELD(pyprof_config, TRUTH, opcodes),
    CHOICES(pyprof_config, after_fork, forks), FIELD(pyprof_config, STRING, checkpoint), FIELD(pyprof_config, REAL, checkpoint_s),
    FIELD(pyprof_config, REAL, max_cpu), {NULL, TRUTH, 0, NULL, 0}};
static const field query_fields[] = {
    CHOICES(pyprof_query, sort, metrics), FIELD(pyprof_query, TRUTH, by_total), CHOICES(pyprof_query, group, groups),
    FIELD(pyprof_query, STRING, thread), FIELD(pyprof_query, STRING, file), FIELD(pyprof_query, STRING, function),
    FIELD(pyprof_query, TRUTH, include_idle), CHOICES(pyprof_query, states, states), FIELD(pyprof_query, STRING, ignore),
    FIELD(pyprof_query, STRING, hide), FIELD(pyprof_query, STRING, show_from), FIELD(pyprof_query, STRING, process),
    FIELD(pyprof_query, STRING, task), FIELD(pyprof_query, REAL, from_s), FIELD(pyprof_query, REAL, to_s),
    {NULL, TRUTH, 0, NULL, 0}};
static const field output_fields[] = {
    CHOICES(pyprof_output, format, formats), CHOICES(pyprof_output, metric, metrics), FIELD(pyprof_output, TRUTH, split_threads),
    FIELD(pyprof_output, TRUTH, lines), CHOICES(pyprof_output, paths, shortened), FIELD(pyprof_output, INTEGER, sources),
    FIELD(pyprof_output, INTEGER, python), FIELD(pyprof_output, STRING, title), FIELD(pyprof_output, TRUTH, compact),
    FIELD(pyprof_output, TRUTH, full),
    {NULL, TRUTH, 0, NULL, 0}};
static const field diff_fields[] = {   // "group" is also a query's: it is looked for here first
    CHOICES(pyprof_diff_options, group, groups), CHOICES(pyprof_diff_options, scale, scales), {NULL, TRUTH, 0, NULL, 0}};
static const field merge_fields[] = {FIELD(pyprof_merge_options, TRUTH, as_one), {NULL, TRUTH, 0, NULL, 0}};
static const field dump_fields[] = {
    FIELD(pyprof_dump_options, UNSIGNED, max_depth), FIELD(pyprof_dump_options, TRUTH, native),
    CHOICES(pyprof_dump_options, paths, shortened), CHOICES(pyprof_dump_options, locals, locals),
    FIELD(pyprof_dump_options, UNSIGNED, max_locals), FIELD(pyprof_dump_options, UNSIGNED, max_value),
    FIELD(pyprof_dump_options, STRING, core), FIELD(pyprof_dump_options, STRING, executable), {NULL, TRUTH, 0, NULL, 0}};
static const field snapshot_fields[] = {
    FIELD(pyprof_snapshot_options, TRUTH, reset), FIELD(pyprof_snapshot_options, REAL, last_s), {NULL, TRUTH, 0, NULL, 0}};

// The index of the word; -1 and an exception for one that is not there.
static int look_up(const field *one, PyObject *value)
{
    const char *name = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    if (PyBool_Check(value))   // heap=True
        return value == Py_True;
    for (size_t i = 0; name != NULL && i < one->count; i++)
        if (one->words[i] != NULL && strcmp(one->words[i], name) == 0)
            return (int)i;
    if (PyErr_Occurred())
        return -1;
    PyObject *known = PyUnicode_FromString("");
    for (size_t i = 0; known != NULL && i < one->count; i++)
        if (one->words[i] != NULL)
            Py_SETREF(known, PyUnicode_FromFormat("%U%s%s", known, PyUnicode_GET_LENGTH(known) ? ", " : "", one->words[i]));
    if (known != NULL)
        PyErr_Format(PyExc_ValueError, "%s is %R: not one of %U", one->name, value, known);
    Py_XDECREF(known);
    return -1;
}

// The text of a string or path, in the encoding of file names; it lives as long as the list.
static const char *text_of(PyObject *value, PyObject *keep)
{
    PyObject *bytes = NULL;
    if (!PyUnicode_FSConverter(value, &bytes))
        return NULL;
    int kept = PyList_Append(keep, bytes);
    Py_DECREF(bytes);
    return kept == 0 ? PyBytes_AS_STRING(bytes) : NULL;
}

static void put(const field *one, PyObject *value, void *structure, PyObject *keep)
{
    char *at = (char *)structure + one->offset;
    if (value == Py_None)
        return;   // the default
    if (one->kind == TRUTH)
        *(int *)(void *)at = PyObject_IsTrue(value);
    else if (one->kind == INTEGER)
        *(int *)(void *)at = (int)PyLong_AsLong(value);
    else if (one->kind == LONG_INTEGER)
        *(int64_t *)(void *)at = PyLong_AsLongLong(value);
    else if (one->kind == REAL)
        *(double *)(void *)at = PyFloat_AsDouble(value);
    else if (one->kind == STRING)
        *(const char **)(void *)at = text_of(value, keep);
    else if (one->kind == CHOICE)
        *(int *)(void *)at = look_up(one, value);
    else if (one->kind == SIZE)
        *(uint64_t *)(void *)at = PyLong_AsUnsignedLongLong(value);
    else {
        unsigned long number = PyLong_AsUnsignedLong(value);
        *(uint32_t *)(void *)at = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
    }
}

static const field *find_field(const field *fields, PyObject *name)
{
    while (fields != NULL && fields->name != NULL && PyUnicode_CompareWithASCIIString(name, fields->name) != 0)
        fields++;
    return fields != NULL && fields->name != NULL ? fields : NULL;
}

// Fills in a structure, and what is not in it in a second one. Strings live as long as the list that is returned; NULL =
// an exception.
static PyObject *read_options(const char *function, PyObject *options, const field *fields, void *structure, const field *others,
                              void *other)
{
    PyObject *keep = PyList_New(0), *name, *value;
    Py_ssize_t at = 0;
    while (keep != NULL && options != NULL && !PyErr_Occurred() && PyDict_Next(options, &at, &name, &value)) {
        const field *one = find_field(fields, name);
        if (one != NULL)
            put(one, value, structure, keep);
        else if ((one = find_field(others, name)) != NULL)
            put(one, value, other, keep);
        else
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
    }
    if (PyErr_Occurred())
        Py_CLEAR(keep);
    return keep;
}

// ---- results ------------------------------------------------------------------------------------------------

static PyObject *text_object(const char *text)
{
    return text != NULL ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape") : Py_BuildValue("");
}

static int set_item(PyObject *dict, const char *name, PyObject *value)   // takes the reference; 0 = an exception
{
    int done = dict != NULL && value != NULL && PyDict_SetItemString(dict, name, value) == 0;
    Py_XDECREF(value);
    return done;
}

// Raises pyprof.Error with the detail as its text, the pyprof_result as its code, and that one's name.
static PyObject *fail(PyObject *module, pyprof_result result)
{
    const module_state *state = PyModule_GetState(module);
    PyObject *text = text_object(pyprof_last_error());
    PyObject *error = text != NULL ? PyObject_CallFunctionObjArgs(state->error, text, NULL) : NULL;
    PyObject *code = PyLong_FromLong((long)result), *name = PyUnicode_FromString(WORD(results, (int)result));
    if (error != NULL && code != NULL && name != NULL && PyObject_SetAttrString(error, "code", code) == 0
        && PyObject_SetAttrString(error, "name", name) == 0)
        PyErr_SetObject(state->error, error);
    Py_XDECREF(text);
    Py_XDECREF(error);
    Py_XDECREF(code);
    Py_XDECREF(name);
    return NULL;
}

static PyObject *done(PyObject *module, pyprof_result result)
{
    if (result != PYPROF_OK)
        return fail(module, result);
    Py_RETURN_NONE;
}

#define STAT(name) {#name, offsetof(pyprof_stats, name)}
static const struct { const char *name; size_t offset; } counts[] = {
    STAT(asked), STAT(samples), STAT(missed), STAT(rejected), STAT(retried), STAT(unfrozen), STAT(truncated), STAT(recovered),
    STAT(timeline_dropped), STAT(threads), STAT(interpreters), STAT(own_cpu_ns), STAT(own_bytes), STAT(late_max_ns),
    STAT(late_mean_ns), STAT(gap_ns), STAT(heap_samples), STAT(heap_dropped), STAT(heap_live_bytes), STAT(heap_live_blocks),
    STAT(heap_peak_bytes), STAT(heap_reserved_bytes), STAT(thinned), STAT(processes),
    STAT(processes_missed)};

static PyObject *stats_object(const pyprof_stats *stats)
{
    PyObject *dict = PyDict_New();
    int good = dict != NULL;
    for (size_t i = 0; good && i < COUNT(counts); i++) {
        uint64_t value;
        memcpy(&value, (const char *)stats + counts[i].offset, sizeof value);
        good = set_item(dict, counts[i].name, PyLong_FromUnsignedLongLong(value));
    }
    good = good && set_item(dict, "heap_state", PyUnicode_FromString(WORD(heap_states, stats->heap_state)))
           && set_item(dict, "degraded", text_object(stats->degraded)) && set_item(dict, "ended", PyBool_FromLong(stats->ended));
    if (!good)
        Py_CLEAR(dict);
    return dict;
}

// Memory that was not tracked has no values, not zeros.
static PyObject *metrics_object(const int64_t *values, int heap)
{
    PyObject *dict = PyDict_New();
    for (int i = 1; dict != NULL && i < PYPROF_METRIC_COUNT; i++) {
        int memory = (i >= PYPROF_ALLOC_BYTES && i <= PYPROF_TEMP_BLOCKS) || i == PYPROF_LIVE_AGE_MS || i >= PYPROF_ALLOC_DOUBT;
        int never = i == PYPROF_CALLS || i == PYPROF_GPU_NS || i == PYPROF_GPU_BYTES || i == PYPROF_RESIDENT_BYTES;
        if ((memory && !heap) || (never && values[i] == 0))
            continue;
        if (!set_item(dict, metrics[i], PyLong_FromLongLong(values[i])))
            Py_CLEAR(dict);
    }
    return dict;
}

// ---- Profile ------------------------------------------------------------------------------------------------

static PyObject *profile_new(PyObject *module, pyprof_profile *profile)
{
    const module_state *state = PyModule_GetState(module);
    profile_object *self = PyObject_GC_New(profile_object, state->profile_type);
    if (self == NULL) {
        pyprof_profile_free(profile);
        return NULL;
    }
    Py_INCREF(module);
    self->module = module;
    self->profile = profile;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int visit_type(PyObject *object, visitproc visit, void *arg)
{
#if PY_VERSION_HEX >= 0x03090000   // before, the collector did not count this reference
    Py_VISIT(Py_TYPE(object));
#else
    (void)object; (void)visit; (void)arg;
#endif
    return 0;
}

static int profile_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((profile_object *)object)->module);
    return visit_type(object, visit, arg);
}

static void profile_dealloc(PyObject *object)
{
    profile_object *self = (profile_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    pyprof_profile_free(self->profile);
    Py_XDECREF(self->module);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static int has_heap(const profile_object *self)
{
    pyprof_info info;
    return pyprof_profile_info(self->profile, &info) == PYPROF_OK && info.heap != PYPROF_HEAP_OFF;
}

static PyObject *profile_save(PyObject *object, PyObject *args, PyObject *options)
{
    profile_object *self = (profile_object *)object;
    pyprof_output output = {0};
    pyprof_query query = {0};
    PyObject *path = NULL;
    pyprof_result result = PYPROF_ERR_ARGUMENT;
    if (!PyArg_ParseTuple(args, "O&:save", PyUnicode_FSConverter, &path))
        return NULL;
    PyObject *keep = read_options("save", options, output_fields, &output, query_fields, &query);
    output.filter = &query;
    if (keep != NULL)
        RELEASED(pyprof_save(self->profile, PyBytes_AS_STRING(path), &output));
    Py_DECREF(path);
    Py_XDECREF(keep);
    return keep != NULL ? done(self->module, result) : NULL;
}

static int write_to_stream(void *stream, const void *data, size_t size)
{
    return fwrite(data, 1, size, stream) != size;
}

static PyObject *write_bytes(profile_object *self, const pyprof_output *output)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL)
        return PyErr_NoMemory();
    pyprof_result result;
    int closed;
    Py_BEGIN_ALLOW_THREADS
    result = pyprof_write(self->profile, output, write_to_stream, stream);
    closed = fclose(stream) == 0;
    Py_END_ALLOW_THREADS
    PyObject *value = NULL;
    if (result != PYPROF_OK)
        fail(self->module, result);
    else
        value = closed ? PyBytes_FromStringAndSize(text, (Py_ssize_t)size) : PyErr_NoMemory();
    free(text);
    return value;
}

static PyObject *profile_write(PyObject *object, PyObject *args, PyObject *options)
{
    pyprof_output output = {0};
    pyprof_query query = {0};
    PyObject *format;
    if (!PyArg_ParseTuple(args, "O:write", &format))
        return NULL;
    PyObject *keep = read_options("write", options, output_fields, &output, query_fields, &query);
    output.filter = &query;
    output.format = keep != NULL ? look_up(&output_fields[0], format) : -1;
    PyObject *bytes = output.format > 0 ? write_bytes((profile_object *)object, &output) : NULL;
    Py_XDECREF(keep);
    return bytes;
}

static PyObject *profile_text(PyObject *object, PyObject *unused)
{
    (void)unused;
    const pyprof_output output = {.format = PYPROF_FORMAT_TEXT};
    PyObject *bytes = write_bytes((profile_object *)object, &output);
    PyObject *text = bytes != NULL ? PyUnicode_DecodeUTF8(PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes), "replace") : NULL;
    Py_XDECREF(bytes);
    return text;
}

static PyObject *row_object(const pyprof_row *row, int heap)
{
    return Py_BuildValue("{sNsNsN sisssNsN sLsLsLsLsN}", "name", text_object(row->name), "qualname", text_object(row->qualname),
                         "file", text_object(row->file), "line", row->line, "kind", WORD(kinds, row->kind),
                         "self", metrics_object(row->self, heap), "total", metrics_object(row->total, heap),
                         "self_before", row->self_before, "total_before", row->total_before, "self_error", row->self_error,
                         "total_error", row->total_error, "process", text_object(row->process));
}

// NULL in rows: a list was not to be had. Takes the reference to row.
static int append(PyObject *rows, PyObject *row)
{
    int good = rows != NULL && row != NULL && PyList_Append(rows, row) == 0;
    Py_XDECREF(row);
    return good;
}

static PyObject *profile_top(PyObject *object, PyObject *args, PyObject *options)
{
    profile_object *self = (profile_object *)object;
    pyprof_query query = {0};
    Py_ssize_t n = 10;
    size_t count = 0;
    if (!PyArg_ParseTuple(args, "|n:top", &n))
        return NULL;
    PyObject *keep = read_options("top", options, query_fields, &query, NULL, NULL);
    if (keep == NULL)
        return NULL;
    size_t capacity = n > 0 && n < 100000 ? (size_t)n : n > 0 ? 100000 : 0;
    pyprof_row *rows = calloc(capacity + 1, sizeof *rows);
    pyprof_result result = PYPROF_ERR_MEMORY;
    if (rows != NULL)
        RELEASED(pyprof_top(self->profile, &query, rows, sizeof *rows, capacity, &count));
    Py_DECREF(keep);
    PyObject *list = rows == NULL ? PyErr_NoMemory() : result == PYPROF_OK ? PyList_New(0) : fail(self->module, result);
    int heap = has_heap(self);
    for (size_t i = 0; list != NULL && i < count && i < capacity; i++)
        if (!append(list, row_object(&rows[i], heap)))
            Py_CLEAR(list);
    free(rows);
    return list;
}

static PyObject *profile_leaks(PyObject *object, PyObject *args, PyObject *options)
{
    profile_object *self = (profile_object *)object;
    pyprof_query query = {.group = PYPROF_GROUP_LINE};
    Py_ssize_t n = 10;
    size_t count = 0;
    if (!PyArg_ParseTuple(args, "|n:leaks", &n))
        return NULL;
    PyObject *keep = read_options("leaks", options, query_fields, &query, NULL, NULL);
    if (keep == NULL)
        return NULL;
    size_t capacity = n > 0 && n < 100000 ? (size_t)n : n > 0 ? 100000 : 0;
    pyprof_leak *rows = calloc(capacity + 1, sizeof *rows);
    pyprof_result result = PYPROF_ERR_MEMORY;
    if (rows != NULL)
        RELEASED(pyprof_leaks(self->profile, &query, rows, sizeof *rows, capacity, &count));
    Py_DECREF(keep);
    PyObject *list = rows == NULL ? PyErr_NoMemory() : result == PYPROF_OK ? PyList_New(0) : fail(self->module, result);
    for (size_t i = 0; list != NULL && i < count && i < capacity; i++) {
        const pyprof_leak *leak = &rows[i];
        if (!append(list, Py_BuildValue("{sNsNsN siss sLsLsL sdsLsd}", "name", text_object(leak->name), "qualname",
                                        text_object(leak->qualname), "file", text_object(leak->file), "line", leak->line,
                                        "growth", WORD(growths, leak->growth), "live_bytes", leak->live_bytes, "live_blocks",
                                        leak->live_blocks, "grown_bytes", leak->grown_bytes, "bytes_per_s", leak->bytes_per_s,
                                        "error_bytes", leak->error_bytes, "mean_age_s", leak->mean_age_s)))
            Py_CLEAR(list);
    }
    free(rows);
    return list;
}

typedef struct {
    PyObject *list;   // NULL: an exception
    int kind, heap;
} visitor;

static PyObject *frame_object(const pyprof_frame *frame)
{
    return Py_BuildValue("{sNsNsNsN sisiss}", "name", text_object(frame->name), "qualname", text_object(frame->qualname),
                         "file", text_object(frame->file), "label", text_object(frame->label), "line", frame->line,
                         "first_line", frame->first_line, "kind", WORD(kinds, frame->kind));
}

static PyObject *thread_object(const pyprof_thread *thread)
{
    return Py_BuildValue("{sNsNsKsKsL}", "name", text_object(thread->name), "process", text_object(thread->process), "thread_id",
                         thread->thread_id, "ident", thread->ident, "interpreter", (long long)thread->interpreter);
}

// The fields of an item beside its thread. one: of the thread, which becomes a part of the result.
static PyObject *with_stack(PyObject *one, const pyprof_item *item, int heap)
{
    PyObject *frames = PyList_New(0);
    for (size_t i = 0; frames != NULL && i < item->depth; i++)
        if (!append(frames, frame_object(&item->stack[i])))
            Py_CLEAR(frames);
    if (item->kind == PYPROF_ITEM_STACK)
        return Py_BuildValue("{sNsNsN}", "thread", one, "stack", frames, "self", metrics_object(item->self, heap));
    return Py_BuildValue("{sNsNsNsNsOsO}", "thread", one, "stack", frames, "name", text_object(item->local->name), "value",
                         text_object(item->local->value), "masked", item->local->masked ? Py_True : Py_False, "sure",
                         item->local->sure ? Py_True : Py_False);
}

static PyObject *with_wait(PyObject *one, const pyprof_item *item)
{
    const pyprof_wait *wait = item->wait;
    return Py_BuildValue("{sNsNsNsNsNsLsOsi}", "thread", one, "kind", text_object(wait->kind), "what", text_object(wait->what),
                         "how", text_object(wait->how), "holder", item->other ? thread_object(item->other) : text_object(NULL),
                         "waited_ns", (long long)wait->waited_ns, "timed", wait->timed ? Py_True : Py_False, "deadlock",
                         wait->deadlock);
}

// Runs with the GIL.
static int visit_item(void *user, const pyprof_item *item)
{
    visitor *to = user;
    if (item->kind != to->kind)
        return 0;
    PyObject *one = thread_object(item->thread);
    if (item->kind == PYPROF_ITEM_THREAD) {
        if (one != NULL && !set_item(one, "total", metrics_object(item->thread->total, to->heap)))
            Py_CLEAR(one);
    } else if (item->kind == PYPROF_ITEM_WAIT)
        one = with_wait(one, item);
    else
        one = with_stack(one, item, to->heap);
    if (!append(to->list, one))
        Py_CLEAR(to->list);
    return to->list == NULL;
}

static PyObject *visit_all(PyObject *object, PyObject *args, PyObject *options, const char *function, int kind)
{
    profile_object *self = (profile_object *)object;
    pyprof_query query = {0};
    if (PyTuple_GET_SIZE(args) != 0)
        return PyErr_Format(PyExc_TypeError, "%s() takes only keyword arguments", function);
    PyObject *keep = read_options(function, options, query_fields, &query, NULL, NULL);
    if (keep == NULL)
        return NULL;
    visitor to = {PyList_New(0), kind, has_heap(self)};
    pyprof_result result = PYPROF_OK;
    if (to.list != NULL)
        result = pyprof_visit(self->profile, &query, visit_item, &to);
    Py_DECREF(keep);
    if (to.list == NULL || result == PYPROF_OK)
        return to.list;
    Py_DECREF(to.list);
    return fail(self->module, result);
}

static PyObject *profile_stacks(PyObject *object, PyObject *args, PyObject *options)
{
    return visit_all(object, args, options, "stacks", PYPROF_ITEM_STACK);
}

static PyObject *profile_threads(PyObject *object, PyObject *args, PyObject *options)
{
    return visit_all(object, args, options, "threads", PYPROF_ITEM_THREAD);
}

static PyObject *profile_waits(PyObject *object, PyObject *args, PyObject *options)
{
    return visit_all(object, args, options, "waits", PYPROF_ITEM_WAIT);
}

static PyObject *profile_locals(PyObject *object, PyObject *args, PyObject *options)
{
    return visit_all(object, args, options, "locals", PYPROF_ITEM_LOCAL);
}

static PyObject *profile_stats(PyObject *object, PyObject *unused)
{
    (void)unused;
    profile_object *self = (profile_object *)object;
    pyprof_stats stats;
    pyprof_result result = pyprof_profile_stats(self->profile, &stats);
    return result == PYPROF_OK ? stats_object(&stats) : fail(self->module, result);
}

static PyObject *profile_info(PyObject *object, PyObject *unused)
{
    (void)unused;
    profile_object *self = (profile_object *)object;
    pyprof_info info;
    pyprof_result result = pyprof_profile_info(self->profile, &info);
    if (result != PYPROF_OK)
        return fail(self->module, result);
    return Py_BuildValue("{sLsNsNsO sdsdsd snsnsnsn sssdsnsN}", "pid", (long long)info.pid, "program", text_object(info.program),
                         "python", text_object(info.python), "free_threaded", info.free_threaded ? Py_True : Py_False,
                         "start", info.start, "duration_s", info.duration_s, "rate_hz", info.rate_hz,
                         "threads", (Py_ssize_t)info.threads, "interpreters", (Py_ssize_t)info.interpreters,
                         "functions", (Py_ssize_t)info.functions, "nodes", (Py_ssize_t)info.nodes,
                         "heap", WORD(heaps, info.heap), "peak_time", info.peak_time, "recordings", (Py_ssize_t)info.recordings,
                         "total", metrics_object(info.total, info.heap));
}

static PyMethodDef profile_methods[] = {
    {"save", KEYWORDS(profile_save), METH_VARARGS | METH_KEYWORDS,
     "save(path, *, format=None, metric=None, lines=False, title=None, ..., hide=None, ...)\n"
     "The format (svg, json, txt, folded, ...) is by default the path's suffix. The fields of pyprof_output and of its\n"
     "filter, a pyprof_query, are keywords."},
    {"write", KEYWORDS(profile_write), METH_VARARGS | METH_KEYWORDS, "write(format, **as_for_save) -> bytes"},
    {"text", profile_text, METH_NOARGS, "text() -> str\nThe report a person reads."},
    {"top", KEYWORDS(profile_top), METH_VARARGS | METH_KEYWORDS,
     "top(n=10, *, sort=None, group='function', by_total=False, include_idle=False, ...) -> list of dict\n"
     "sort: samples, wall_ns, cpu_ns, wait_ns, live_bytes, ...; by default the wall time spent running. group: function,\n"
     "line, file, thread, leaf. All fields of pyprof_query are keywords."},
    {"leaks", KEYWORDS(profile_leaks), METH_VARARGS | METH_KEYWORDS,
     "leaks(n=10, **query) -> list of dict\nThe lines whose live memory grew, the fastest growing first."},
    {"stacks", KEYWORDS(profile_stacks), METH_VARARGS | METH_KEYWORDS,
     "stacks(**query) -> list of dict\nEach stack with samples of its own: thread, stack (root first), self."},
    {"waits", KEYWORDS(profile_waits), METH_VARARGS | METH_KEYWORDS,
     "waits(**query) -> list of dict\nOf a dump: what each waiting thread waits for, and which thread has it."},
    {"locals", KEYWORDS(profile_locals), METH_VARARGS | METH_KEYWORDS,
     "locals(**query) -> list of dict\nOf a dump with locals: each variable, of the last frame of its stack."},
    {"threads", KEYWORDS(profile_threads), METH_VARARGS | METH_KEYWORDS, "threads(**query) -> list of dict"},
    {"stats", profile_stats, METH_NOARGS, "stats() -> dict\nHow good the recording is, and what it cost."},
    {"info", profile_info, METH_NOARGS, "info() -> dict\nProgram, Python, start, duration, totals."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot profile_slots[] = {
    {Py_tp_dealloc, CODE(profile_dealloc)},
    {Py_tp_traverse, CODE(profile_traverse)},
    {Py_tp_methods, profile_methods},
    {Py_tp_doc, "An immutable recording: save it, or ask it where the time went."},
    {0, NULL}};

// ---- Session ------------------------------------------------------------------------------------------------

static PyObject *module_start(PyObject *module, PyObject *args, PyObject *options)
{
    const module_state *state = PyModule_GetState(module);
    pyprof_config config = {0};
    if (!PyArg_ParseTuple(args, "|d:start", &config.rate_hz))
        return NULL;
    PyObject *keep = read_options("start", options, config_fields, &config, NULL, NULL);
    session_object *self = keep != NULL ? PyObject_GC_New(session_object, state->session_type) : NULL;
    if (self == NULL) {
        Py_XDECREF(keep);
        return NULL;
    }
    Py_INCREF(module);
    self->module = module;
    self->session = NULL;
    self->heap = config.heap;
    atomic_init(&self->profile, NULL);
    PyObject_GC_Track(self);
    pyprof_result result;
    if (config.heap)
        result = pyprof_start(&config, &self->session);
    else
        RELEASED(pyprof_start(&config, &self->session));
    Py_DECREF(keep);
    if (result == PYPROF_OK)
        return (PyObject *)self;
    fail(module, result);
    Py_DECREF(self);
    return NULL;
}

static int session_traverse(PyObject *object, visitproc visit, void *arg)
{
    session_object *self = (session_object *)object;
    Py_VISIT(self->module);
    PyObject *profile = atomic_load(&self->profile);
    Py_VISIT(profile);
    return visit_type(object, visit, arg);
}

static void session_dealloc(PyObject *object)
{
    session_object *self = (session_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->session != NULL)
        pyprof_stop(self->session, NULL);   // PYPROF_ERR_STATE where it has ended already
    Py_XDECREF(atomic_load(&self->profile));
    Py_XDECREF(self->module);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyObject *session_stop(PyObject *object, PyObject *unused)
{
    (void)unused;
    session_object *self = (session_object *)object;
    pyprof_profile *profile = NULL;
    pyprof_result result;
    if (self->heap)
        result = pyprof_stop(self->session, &profile);
    else
        RELEASED(pyprof_stop(self->session, &profile));
    if (result != PYPROF_OK)
        return fail(self->module, result);
    PyObject *value = profile_new(self->module, profile);
    Py_XINCREF(value);
    atomic_store(&self->profile, value);
    return value;
}

static PyObject *session_snapshot(PyObject *object, PyObject *args, PyObject *options)
{
    session_object *self = (session_object *)object;
    pyprof_snapshot_options choice = {0};
    pyprof_profile *profile = NULL;
    pyprof_result result;
    if (!PyArg_ParseTuple(args, "|pd:snapshot", &choice.reset, &choice.last_s))
        return NULL;
    PyObject *keep = read_options("snapshot", options, snapshot_fields, &choice, NULL, NULL);
    if (keep == NULL)
        return NULL;
    Py_DECREF(keep);
    RELEASED(pyprof_snapshot(self->session, &choice, &profile));
    return result == PYPROF_OK ? profile_new(self->module, profile) : fail(self->module, result);
}

static PyObject *session_switch(PyObject *object, pyprof_result (*to)(pyprof *session))
{
    session_object *self = (session_object *)object;
    pyprof_result result;
    RELEASED(to(self->session));
    return done(self->module, result);
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

static PyObject *session_reset(PyObject *object, PyObject *unused)
{
    (void)unused;
    return session_switch(object, pyprof_reset);
}

static PyObject *session_reset_peak(PyObject *object, PyObject *unused)
{
    (void)unused;
    return session_switch(object, pyprof_reset_peak);
}

static PyObject *session_stats(PyObject *object, PyObject *unused)
{
    session_object *self = (session_object *)object;
    PyObject *profile = atomic_load(&self->profile);
    pyprof_stats stats;
    pyprof_result result;
    if (profile != NULL)
        return profile_stats(profile, unused);
    RELEASED(pyprof_get_stats(self->session, &stats));
    return result == PYPROF_OK ? stats_object(&stats) : fail(self->module, result);
}

static PyObject *session_find(PyObject *object, PyObject *args)
{
    session_object *self = (session_object *)object;
    pyprof_allocation found;
    unsigned long long address;
    pyprof_result result;
    if (!PyArg_ParseTuple(args, "K:find_allocation", &address))
        return NULL;
    RELEASED(pyprof_find_allocation(self->session, (const void *)(uintptr_t)address, &found));
    if (result != PYPROF_OK)
        return fail(self->module, result);
    return Py_BuildValue("{sKsKsKsdsN}", "address", (unsigned long long)(uintptr_t)found.address, "size",
                         (unsigned long long)found.size, "thread_id", found.thread_id, "timestamp", found.timestamp, "where",
                         text_object(found.where));
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
    PyObject *profile = session_profile(object, NULL);
    if (profile == Py_None)
        Py_SETREF(profile, session_stop(object, NULL));
    if (profile == NULL)
        return NULL;
    Py_DECREF(profile);
    Py_RETURN_NONE;
}

static PyMethodDef session_methods[] = {
    {"stop", session_stop, METH_NOARGS, "stop() -> Profile\nEnds the session; .profile is the result, too."},
    {"snapshot", KEYWORDS(session_snapshot), METH_VARARGS | METH_KEYWORDS,
     "snapshot(reset=False, last_s=0) -> Profile\nWhat was recorded so far; sampling goes on."},
    {"pause", session_pause, METH_NOARGS, "pause()"},
    {"resume", session_resume, METH_NOARGS, "resume()"},
    {"reset", session_reset, METH_NOARGS, "reset()\nDrops what was recorded so far."},
    {"reset_peak", session_reset_peak, METH_NOARGS, "reset_peak()\nThe high-water mark starts anew from the memory that is live now."},
    {"stats", session_stats, METH_NOARGS, "stats() -> dict\nHow good the recording is, and what it costs."},
    {"find_allocation", session_find, METH_VARARGS,
     "find_allocation(address) -> dict\nWhere the block at this address was allocated (with heap tracking)."},
    {"__enter__", session_enter, METH_NOARGS, NULL},
    {"__exit__", session_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef session_getset[] = {
    {"profile", session_profile, NULL, "The Profile of a session that was stopped; None before.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot session_slots[] = {
    {Py_tp_dealloc, CODE(session_dealloc)},
    {Py_tp_traverse, CODE(session_traverse)},
    {Py_tp_methods, session_methods},
    {Py_tp_getset, session_getset},
    {Py_tp_doc, "A recording under way. A with statement stops it, and so does losing the last reference to it."},
    {0, NULL}};

// ---- the module ---------------------------------------------------------------------------------------------

static PyObject *module_load(PyObject *module, PyObject *args)
{
    PyObject *path = NULL;
    pyprof_profile *profile = NULL;
    pyprof_result result;
    if (!PyArg_ParseTuple(args, "O&:load", PyUnicode_FSConverter, &path))
        return NULL;
    RELEASED(pyprof_load(PyBytes_AS_STRING(path), &profile));
    Py_DECREF(path);
    return result == PYPROF_OK ? profile_new(module, profile) : fail(module, result);
}

static const pyprof_profile *profile_of(PyObject *module, PyObject *object)   // borrowed
{
    const module_state *state = PyModule_GetState(module);
    if (Py_TYPE(object) == state->profile_type)
        return ((profile_object *)object)->profile;
    PyErr_Format(PyExc_TypeError, "a pyprof.Profile is needed, not %R", object);
    return NULL;
}

static PyObject *module_diff(PyObject *module, PyObject *args, PyObject *options)
{
    PyObject *before, *after;
    pyprof_diff_options choice = {0};
    pyprof_query query = {0};
    pyprof_profile *delta = NULL;
    pyprof_result result;
    if (!PyArg_ParseTuple(args, "OO:diff", &before, &after))
        return NULL;
    const pyprof_profile *first = profile_of(module, before), *second = first != NULL ? profile_of(module, after) : NULL;
    PyObject *keep = second != NULL ? read_options("diff", options, diff_fields, &choice, query_fields, &query) : NULL;
    if (keep == NULL)
        return NULL;
    choice.filter = &query;
    RELEASED(pyprof_diff(first, second, &choice, &delta));
    Py_DECREF(keep);
    return result == PYPROF_OK ? profile_new(module, delta) : fail(module, result);
}

static PyObject *module_merge(PyObject *module, PyObject *args, PyObject *options)
{
    PyObject *given, *list = NULL;
    pyprof_merge_options choice = {0};
    pyprof_profile *merged = NULL;
    pyprof_result result = PYPROF_ERR_MEMORY;
    if (!PyArg_ParseTuple(args, "O:merge", &given) || (list = PySequence_Tuple(given)) == NULL)   // ours: it cannot change
        return NULL;
    size_t count = (size_t)PyTuple_GET_SIZE(list), i = 0;
    const pyprof_profile **profiles = calloc(count + 1, sizeof *profiles);
    PyObject *keep = profiles != NULL ? read_options("merge", options, merge_fields, &choice, NULL, NULL) : PyErr_NoMemory();
    while (keep != NULL && i < count && (profiles[i] = profile_of(module, PyTuple_GET_ITEM(list, (Py_ssize_t)i))) != NULL)
        i++;
    if (keep != NULL && i == count)
        RELEASED(pyprof_merge(profiles, count, &choice, &merged));
    free(profiles);
    Py_DECREF(list);
    Py_XDECREF(keep);
    if (keep == NULL || i < count)
        return NULL;
    return result == PYPROF_OK ? profile_new(module, merged) : fail(module, result);
}

static PyObject *module_dump(PyObject *module, PyObject *args, PyObject *options)
{
    long long pid = 0;
    pyprof_dump_options choice = {0};
    pyprof_profile *profile = NULL;
    pyprof_result result;
    if (!PyArg_ParseTuple(args, "|L:dump", &pid))
        return NULL;
    PyObject *keep = read_options("dump", options, dump_fields, &choice, NULL, NULL);
    if (keep == NULL)
        return NULL;
    RELEASED(pyprof_dump(pid, &choice, &profile));
    Py_DECREF(keep);
    return result == PYPROF_OK ? profile_new(module, profile) : fail(module, result);
}

// Can such a file be written? Saving by a metric that does not exist fails before anything is written; another error
// is about the name, its suffix or the format.
static PyObject *module_check_output(PyObject *module, PyObject *args)
{
    PyObject *path = NULL;
    pyprof_output output = {.metric = PYPROF_METRIC_COUNT};
    pyprof_profile *profile = NULL;
    pyprof_result result;
    if (!PyArg_ParseTuple(args, "O&:_check_output", PyUnicode_FSConverter, &path))
        return NULL;
    RELEASED(pyprof_dump(0, NULL, &profile));
    if (result == PYPROF_OK)
        result = pyprof_save(profile, PyBytes_AS_STRING(path), &output);
    Py_DECREF(path);
    if (strncmp(pyprof_last_error(), "unknown metric", 14) == 0)
        result = PYPROF_OK;
    PyObject *value = done(module, result);
    pyprof_profile_free(profile);
    return value;
}

static PyMethodDef module_methods[] = {
    {"start", KEYWORDS(module_start), METH_VARARGS | METH_KEYWORDS,
     "start(rate_hz=100, *, duration_s=0, heap='off', timeline_s=60, max_depth=1024, thread_filter=None, ...) -> Session\n"
     "Starts to record every thread. The fields of pyprof_config are keywords."},
    {"load", module_load, METH_VARARGS, "load(path) -> Profile\nOf a file that was saved as JSON."},
    {"diff", KEYWORDS(module_diff), METH_VARARGS | METH_KEYWORDS,
     "diff(before, after, *, group=None, scale='none', **query) -> Profile\nThe values after minus those before."},
    {"merge", KEYWORDS(module_merge), METH_VARARGS | METH_KEYWORDS,
     "merge(profiles, *, as_one=False) -> Profile\nOne of several."},
    {"dump", KEYWORDS(module_dump), METH_VARARGS | METH_KEYWORDS,
     "dump(pid=0, *, locals=\"off\", core=None, ...) -> Profile\n"
     "Where every thread is now: see Profile.stacks(), waits(), and, with locals=\"masked\" or \"all\", locals()."},
    {"_check_output", module_check_output, METH_VARARGS, "_check_output(path)\nRaises what saving to such a name would."},
    {NULL, NULL, 0, NULL}};

#ifdef Py_TPFLAGS_DISALLOW_INSTANTIATION
#define TYPE_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION)
#else
#define TYPE_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC)   // before 3.10
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
    PyType_Spec session = {"pyprof.Session", sizeof(session_object), 0, TYPE_FLAGS, session_slots};
    PyType_Spec profile = {"pyprof.Profile", sizeof(profile_object), 0, TYPE_FLAGS, profile_slots};
    module_state *state = PyModule_GetState(module);
    PyObject *names = PyTuple_New((Py_ssize_t)COUNT(formats) - 1);
    for (size_t i = 1; names != NULL && i < COUNT(formats); i++)
        PyTuple_SET_ITEM(names, (Py_ssize_t)i - 1, PyUnicode_FromString(formats[i]));
    if (names == NULL || PyModule_AddObject(module, "_formats", names) != 0)
        return -1;
    state->error = PyErr_NewExceptionWithDoc("pyprof.Error", "code is the pyprof_result, name its name: 'FORMAT'.", NULL, NULL);
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
    .m_name = "_pyprof",
    .m_doc = "The inside of pyprof.",
    .m_size = sizeof(module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free};

PyMODINIT_FUNC PyInit__pyprof(void)
{
    return PyModuleDef_Init(&module_def);
}
