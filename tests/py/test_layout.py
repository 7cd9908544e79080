"""LAYOUT: each version's row against that CPython's own headers, as far as they are installed (tests/layout.py)."""
import ctypes
import os
import sys

import bind
from bind import check, equal, skip, test

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import layout  # noqa: E402  tests/layout.py

TABLE = layout.table()
FOLDERS = layout.folders()


def row(minor, free_threaded):
    """{name: value} as the library has it, and {"@name": position in the interpreter's table}."""
    name, position, found, i = ctypes.create_string_buffer(100), ctypes.c_uint32(), {}, 0
    of = bind.released.pyprof_test_layout
    of.restype = ctypes.c_uint32
    while True:
        value = of(minor, free_threaded, i, name, ctypes.byref(position))
        if not name.value:
            return found
        found[name.value.decode()] = value
        if '@' + name.value.decode() in TABLE:
            found['@' + name.value.decode()] = position.value
        i += 1


@test
def table_is_read_as_the_library_reads_it():
    for minor in range(layout.OLDEST, layout.newest() + 1):
        for free_threaded in range(1 + (minor >= layout.OLDEST_FREE_THREADED)):
            ours = {name: layout.value_in(history, minor, free_threaded) for name, history in TABLE.items()}
            found = row(minor, free_threaded)
            equal(sorted(found), sorted(ours))
            equal({name: value for name, value in found.items() if isinstance(ours[name], int)},
                  {name: value for name, value in ours.items() if isinstance(value, int)}, '3.%d' % minor)


def compare(minor):
    folders = [folder for folder in FOLDERS if layout.version(folder)[1] == minor and os.path.isdir(os.path.join(folder, 'internal'))]
    if not folders:
        skip('no internal headers of 3.%d are installed' % minor)
    for folder in folders:
        for free_threaded in range(1 + (minor >= layout.OLDEST_FREE_THREADED)):
            theirs = layout.dump(folder, free_threaded)
            if isinstance(theirs, str):
                skip(theirs)
            check(len(theirs) > 45, '%d values', len(theirs))
            equal(layout.differences(TABLE, theirs, minor, free_threaded), [], '%s%s' % (folder, ' free-threaded' * free_threaded))


for version in range(layout.OLDEST, layout.newest() + 1):
    test(lambda minor=version: compare(minor), name='row_of_3_%d_is_that_of_its_headers' % version)


@test
def a_difference_is_seen_and_written():
    found = layout.differences({'thread_ident': [(8, 176)], 'task_coro': [(12, 136)]}, {'thread_ident': 184, 'code_new': 8}, 16, 0)
    equal(found, [('thread_ident', 176, 184), ('code_new', layout.NO, 8)])
    text = '    X(thread_ident, 4096, {8, 176}, {15, 184}) \\\n    PYPROF__X(thread_ident, {13, 192})\n'
    changed = layout.written(text, [('thread_ident', 176, 200), ('@thread_ident', 192, 240)], 16)
    equal(changed, text.replace('{15, 184}', '{15, 184}, {16, 200}').replace('{13, 192}', '{13, 192}, {16, 240}'))
    equal(layout.written(changed, [('thread_ident', 200, layout.NO)], 16), changed.replace('{16, 200}', '{16, PYPROF__NO}'))
    text = 'X(gen_frame, 512, {12, 72}, {113, 88})'   # those of free-threaded builds come last
    equal(layout.written(text, [('gen_frame', 72, 80)], 16), text.replace('{113', '{16, 80}, {113'))


bind.run()
