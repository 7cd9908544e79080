// Prints where a CPython keeps things, from its own headers: a line for each field of PYPROF__FIELDS in pyprof.h.
//
//     cc -DPy_BUILD_CORE -I/usr/include/python3.11 -I/usr/include/python3.11/internal tests/layout.c && ./a.out
//     field 176        the value
//     @field 240       where _Py_DebugOffsets has it (3.13 and later)
//
// -DPy_GIL_DISABLED=1 makes it a free-threaded build. Nothing of the interpreter is linked or called. What only C files of
// CPython tell is not printed: tests/layout.py has the list, and compares the rest with pyprof.h.
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#define SINCE(minor) (PY_VERSION_HEX >= (0x03000000 + ((minor) << 16)))

#include <frameobject.h>
#if SINCE(9)
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#endif
#include <internal/pycore_pystate.h>
#include <internal/pycore_gil.h>
#if SINCE(9)
#include <internal/pycore_gc.h>
#endif
#if SINCE(11)
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_long.h>
#include <internal/pycore_moduleobject.h>
#include <internal/pycore_object.h>
#endif
#if SINCE(14)
#include <internal/pycore_interpframe_structs.h>
#endif
#if SINCE(11)
typedef _PyInterpreterFrame frame;
#else
typedef PyFrameObject frame;
#endif

static void value(const char *field, size_t is) { printf("%s %zu\n", field, is); }
#define IS(field, is) value(#field, (size_t)(is))
#define AT(field, type, member) value(#field, offsetof(type, member))
#define TABLE(field, member) value("@" #field, offsetof(_Py_DebugOffsets, member))

// What the word is in which `set` sets some bits of a structure of bits.
#define BITS(field, type, set, is) do { \
        type bits; \
        uint32_t word; \
        memset(&bits, 0, sizeof bits); \
        set; \
        memcpy(&word, &bits, sizeof word); \
        value(#field, is); \
    } while (0)

static void runtime_and_interpreter(void)
{
    AT(runtime_head, _PyRuntimeState, interpreters.head);
#if SINCE(9)
    AT(runtime_finalizing, _PyRuntimeState, _finalizing);
#else
    AT(runtime_finalizing, _PyRuntimeState, finalizing);
#endif
    AT(runtime_main, _PyRuntimeState, interpreters.main);
    AT(interp_next, PyInterpreterState, next);
    AT(interp_id, PyInterpreterState, id);
#if SINCE(11)
    AT(interp_threads, PyInterpreterState, threads.head);
#else
    AT(interp_threads, PyInterpreterState, tstate_head);
#endif
#if SINCE(12)
    AT(interp_gil, PyInterpreterState, ceval.gil);
    AT(interp_own_gil, PyInterpreterState, _gil);
    AT(interp_modules, PyInterpreterState, imports.modules);
#else
    AT(runtime_gil, _PyRuntimeState, ceval.gil);
    AT(interp_modules, PyInterpreterState, modules);
#endif
#if SINCE(9)
    AT(interp_gc, PyInterpreterState, gc);
#else
    AT(runtime_gc, _PyRuntimeState, gc);
    AT(runtime_finishing, _PyRuntimeState, ceval.pending.finishing);
#endif
#if SINCE(14)
    AT(interp_generation, PyInterpreterState, _code_object_generation);
#endif
}

static void gil_and_gc(void)
{
#ifdef Py_GIL_DISABLED
    AT(gil_enabled, struct _gil_runtime_state, enabled);
#endif
    AT(gil_holder, struct _gil_runtime_state, last_holder);
    AT(gil_locked, struct _gil_runtime_state, locked);
    AT(gil_switches, struct _gil_runtime_state, switch_number);
    AT(gil_cond, struct _gil_runtime_state, cond);
    IS(gc_item, sizeof(struct gc_generation_stats));
    AT(gc_runs, struct gc_generation_stats, collections);
    AT(gc_collecting, struct _gc_runtime_state, collecting);
    AT(gc_stats, struct _gc_runtime_state, generation_stats);
#if SINCE(15)
    AT(gc_frame, struct _gc_runtime_state, frame);
    IS(gc_young, GC_YOUNG_STATS_SIZE);
    IS(gc_old, GC_OLD_STATS_SIZE);
    IS(gc_tail, sizeof(struct gc_old_stats_buffer) - GC_OLD_STATS_SIZE * sizeof(struct gc_generation_stats));
#endif
}

static void thread(void)
{
    AT(thread_next, PyThreadState, next);
    AT(thread_interp, PyThreadState, interp);
    AT(thread_ident, PyThreadState, thread_id);
    AT(thread_serial, PyThreadState, id);
#if SINCE(11)
    AT(thread_native, PyThreadState, native_thread_id);
#endif
#if SINCE(13)
    AT(thread_frame, PyThreadState, current_frame);
#elif SINCE(11)
    AT(thread_frame, PyThreadState, cframe);
    AT(cframe_current, _PyCFrame, current_frame);
    AT(cframe_previous, _PyCFrame, previous);
#else
    AT(thread_frame, PyThreadState, frame);
#endif
#if SINCE(12)
    PyThreadState state;
    AT(thread_status, PyThreadState, _status);
    BITS(status_mask, __typeof__(state._status), bits.initialized = bits.finalizing = bits.cleared = bits.finalized = 1, word);
    BITS(status_alive, __typeof__(state._status), bits.initialized = 1, word);
#ifdef Py_GIL_DISABLED
    BITS(status_attached, __typeof__(state._status), bits.active = 1, word);
#endif
    AT(thread_exception, PyThreadState, current_exception);
#else
#if SINCE(11)
    AT(thread_status, PyThreadState, _initialized);   // an int: 0 or 1
    IS(status_mask, 1);
    IS(status_alive, 1);
#endif
    AT(thread_exception, PyThreadState, curexc_type);
#endif
#if SINCE(15)
    AT(thread_base, PyThreadState, base_frame);
#endif
}

static void frames(void)
{
#if SINCE(11)
    IS(owner_generator, FRAME_OWNED_BY_GENERATOR);
#endif
#if SINCE(14)
    IS(owner_shim, FRAME_OWNED_BY_INTERPRETER);
#elif SINCE(12)
    IS(owner_shim, FRAME_OWNED_BY_CSTACK);
#endif
#if SINCE(11)
    IS(frame_size, sizeof(frame));
    AT(frame_previous, frame, previous);
    AT(frame_locals, frame, localsplus);
    AT(frame_owner, frame, owner);
#else
    AT(frame_previous, frame, f_back);
    AT(frame_instr, frame, f_lasti);
    AT(frame_locals, frame, f_localsplus);
#endif
    AT(frame_globals, frame, f_globals);
    AT(frame_builtins, frame, f_builtins);
#if SINCE(13)
    AT(frame_code, frame, f_executable);
    AT(frame_instr, frame, instr_ptr);
#else
    AT(frame_code, frame, f_code);
#endif
#if SINCE(11) && !SINCE(13)
    AT(frame_instr, frame, prev_instr);
#endif
#if SINCE(11) && !SINCE(12)
    AT(frame_entry, frame, is_entry);
#endif
#if SINCE(14)
    AT(frame_stack, frame, stackpointer);
#ifdef Py_GIL_DISABLED
    AT(frame_tlbc, frame, tlbc_index);
#endif
#endif
}

static void code(void)
{
    AT(code_filename, PyCodeObject, co_filename);
    AT(code_name, PyCodeObject, co_name);
    AT(code_firstline, PyCodeObject, co_firstlineno);
    AT(code_consts, PyCodeObject, co_consts);
    AT(code_names, PyCodeObject, co_names);
    AT(code_stack, PyCodeObject, co_stacksize);
    AT(func_name, PyFunctionObject, func_name);
#if SINCE(10)
    AT(code_linetable, PyCodeObject, co_linetable);
#else
    AT(code_linetable, PyCodeObject, co_lnotab);
#endif
#if SINCE(11)
    AT(code_qualname, PyCodeObject, co_qualname);
    AT(code_exceptions, PyCodeObject, co_exceptiontable);
    AT(code_kinds, PyCodeObject, co_localspluskinds);
    AT(code_traceable, PyCodeObject, _co_firsttraceable);
    AT(code_bytes, PyCodeObject, co_code_adaptive);
    AT(code_units, PyCodeObject, ob_base.ob_size);
    AT(code_locals, PyCodeObject, co_localsplusnames);
#else
    AT(code_locals, PyCodeObject, co_varnames);
    AT(code_cells, PyCodeObject, co_cellvars);
    AT(code_free, PyCodeObject, co_freevars);
    AT(code_string, PyCodeObject, co_code);
    AT(frame_values, frame, f_valuestack);
    AT(frame_block_count, frame, f_iblock);
    AT(frame_blocks, frame, f_blockstack);
#endif
#if SINCE(12)
    AT(code_version, PyCodeObject, co_version);
#endif
#if SINCE(14) && defined(Py_GIL_DISABLED)
    AT(code_tlbc, PyCodeObject, co_tlbc);
    AT(tlbc_entries, _PyCodeArray, entries);
#endif
}

static void objects(void)
{
    PyASCIIObject str;
    AT(object_type, PyObject, ob_type);
#ifndef Py_GIL_DISABLED
    AT(object_refs, PyObject, ob_refcnt);
#endif
    IS(object_data, sizeof(PyObject));
    AT(type_name, PyTypeObject, tp_name);
    AT(type_basicsize, PyTypeObject, tp_basicsize);
    AT(type_flags, PyTypeObject, tp_flags);
#if SINCE(11)
    IS(type_managed, Py_TPFLAGS_MANAGED_DICT);
#else
    IS(type_managed, 0);
#endif
    IS(type_of_types, Py_TPFLAGS_TYPE_SUBCLASS);
    AT(type_dict, PyTypeObject, tp_dict);
    AT(type_mro, PyTypeObject, tp_mro);
    AT(type_dictoffset, PyTypeObject, tp_dictoffset);
    AT(type_keys, PyHeapTypeObject, ht_cached_keys);
    AT(str_length, PyASCIIObject, length);
    AT(str_hash, PyASCIIObject, hash);
    AT(str_state, PyASCIIObject, state);
    IS(str_ascii, sizeof(PyASCIIObject));
    IS(str_compact, sizeof(PyCompactUnicodeObject));
    BITS(str_is_compact, __typeof__(str.state), bits.compact = 1, word);
    BITS(str_is_ascii, __typeof__(str.state), bits.ascii = 1, word);
    BITS(str_kind_shift, __typeof__(str.state), bits.kind = 1, (size_t)__builtin_ctz(word));
    AT(bytes_size, PyBytesObject, ob_base.ob_size);
    AT(bytes_data, PyBytesObject, ob_sval);
    AT(tuple_items, PyTupleObject, ob_item);
    AT(dict_used, PyDictObject, ma_used);
    AT(dict_keys, PyDictObject, ma_keys);
    AT(dict_values, PyDictObject, ma_values);
#if SINCE(12)
    AT(long_size, PyLongObject, long_value.lv_tag);
    IS(long_shift, NON_SIZE_BITS);
    AT(long_digits, PyLongObject, long_value.ob_digit);
    AT(gen_frame, PyGenObject, gi_iframe);
    AT(gen_state, PyGenObject, gi_frame_state);
#if SINCE(13)
    IS(gen_awaits, (unsigned char)FRAME_SUSPENDED_YIELD_FROM);
#else
    IS(gen_awaits, (unsigned char)FRAME_SUSPENDED);
#endif
#else
    AT(long_size, struct _longobject, ob_base.ob_size);
    IS(long_shift, 0);
    AT(long_digits, struct _longobject, ob_digit);
#endif
#if SINCE(11)
    AT(module_dict, PyModuleObject, md_dict);
    AT(keys_index, struct _dictkeysobject, dk_log2_index_bytes);
    AT(keys_kind, struct _dictkeysobject, dk_kind);
    AT(keys_count, struct _dictkeysobject, dk_nentries);
    AT(keys_indices, struct _dictkeysobject, dk_indices);
    IS(entry_size, sizeof(PyDictKeyEntry));
    AT(entry_key, PyDictKeyEntry, me_key);
    AT(values_head, struct _dictvalues, values);
#endif
#if SINCE(13)
    AT(values_valid, struct _dictvalues, valid);
#endif
#ifdef MANAGED_DICT_OFFSET
    IS(managed_dict, -MANAGED_DICT_OFFSET);
#endif
}

static void table(void)
{
#if SINCE(13)
    TABLE(runtime_finalizing, runtime_state.finalizing);
    TABLE(runtime_head, runtime_state.interpreters_head);
    TABLE(interp_next, interpreter_state.next);
    TABLE(interp_id, interpreter_state.id);
    TABLE(interp_threads, interpreter_state.threads_head);
    TABLE(interp_gil, interpreter_state.ceval_gil);
    TABLE(interp_own_gil, interpreter_state.gil_runtime_state);
    TABLE(interp_modules, interpreter_state.imports_modules);
    TABLE(interp_gc, interpreter_state.gc);
    TABLE(gil_enabled, interpreter_state.gil_runtime_state_enabled);
    TABLE(gil_holder, interpreter_state.gil_runtime_state_holder);
    TABLE(gil_locked, interpreter_state.gil_runtime_state_locked);
    TABLE(gc_collecting, gc.collecting);
    TABLE(thread_next, thread_state.next);
    TABLE(thread_interp, thread_state.interp);
    TABLE(thread_frame, thread_state.current_frame);
    TABLE(thread_ident, thread_state.thread_id);
    TABLE(thread_native, thread_state.native_thread_id);
    TABLE(thread_status, thread_state.status);
    TABLE(frame_size, interpreter_frame.size);
    TABLE(frame_previous, interpreter_frame.previous);
    TABLE(frame_code, interpreter_frame.executable);
    TABLE(frame_instr, interpreter_frame.instr_ptr);
    TABLE(frame_owner, interpreter_frame.owner);
    TABLE(frame_locals, interpreter_frame.localsplus);
    TABLE(code_filename, code_object.filename);
    TABLE(code_name, code_object.name);
    TABLE(code_qualname, code_object.qualname);
    TABLE(code_firstline, code_object.firstlineno);
    TABLE(code_linetable, code_object.linetable);
    TABLE(code_bytes, code_object.co_code_adaptive);
    TABLE(code_units, tuple_object.ob_size);   // of any object of variable size
    TABLE(code_locals, code_object.localsplusnames);
    TABLE(code_kinds, code_object.localspluskinds);
    TABLE(object_type, pyobject.ob_type);
    TABLE(type_name, type_object.tp_name);
    TABLE(str_length, unicode_object.length);
    TABLE(str_state, unicode_object.state);
    TABLE(str_ascii, unicode_object.asciiobject_size);
    TABLE(bytes_size, bytes_object.ob_size);
    TABLE(bytes_data, bytes_object.ob_sval);
    TABLE(tuple_items, tuple_object.ob_item);
    TABLE(long_digits, long_object.ob_digit);
    TABLE(dict_keys, dict_object.ma_keys);
    TABLE(dict_values, dict_object.ma_values);
#endif
#if SINCE(14)
    TABLE(interp_generation, interpreter_state.code_object_generation);
    TABLE(frame_tlbc, interpreter_frame.tlbc_index);
    TABLE(frame_stack, interpreter_frame.stackpointer);
    TABLE(code_tlbc, code_object.co_tlbc);
    TABLE(gen_frame, gen_object.gi_iframe);
    TABLE(gen_state, gen_object.gi_frame_state);
#endif
#if SINCE(15)
    TABLE(gc_frame, gc.frame);
    TABLE(gc_stats, gc.generation_stats);
    TABLE(thread_base, thread_state.base_frame);
    TABLE(thread_exception, thread_state.current_exception);
    TABLE(type_basicsize, type_object.tp_basicsize);
    TABLE(type_dictoffset, type_object.tp_dictoffset);
    TABLE(type_keys, heap_type_object.ht_cached_keys);
    TABLE(str_compact, unicode_object.compactunicodeobject_size);
#endif
}

int main(void)
{
    runtime_and_interpreter();
    gil_and_gc();
    thread();
    frames();
    code();
    objects();
    table();
    return 0;
}
