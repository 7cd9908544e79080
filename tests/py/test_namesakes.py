"""Functions of one name, file and first line: two rows where their code differs, one where it is the same."""
import ctypes
import os
import subprocess
import sys
import textwrap
import time

import bind
from bind import test

MINOR = sys.version_info[1]
VERSION = sys.hexversion
EXACT = 2
WALL_NS, ALLOC_BYTES = 2, 10
FILE = sys._getframe().f_code.co_filename   # as profiles tell it: 3.8 keeps the path as it was given


def content(function, anew=True):
    """(what tells it from its namesakes, the column where its code begins)"""
    code = getattr(function, '__code__', function)
    column = ctypes.c_int()
    read = bind.held.pyprof_test_content
    read.restype, read.argtypes = ctypes.c_int64, [ctypes.c_uint32, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    found = read(VERSION, int(bind.FREE_THREADED), id(code), anew, ctypes.byref(column))
    bind.check(found > 0, 'read: %d', found)
    return found, column.value


def made(source, name='f', file='<template>'):
    scope = {}
    exec(compile(textwrap.dedent(source), file, 'exec'), scope)
    return scope[name]


# --- contents -----------------------------------------------------------------------------------------------------------

PAIRS = [   # bodies of f(a, b) that differ in one thing each
    ('a + b', 'a - b'), ('a < b', 'a > b'), ('a + 1', 'a + 2'), ('a + 1000', 'a + 2000'), ('a + 0.5', 'a + 0.1'), ('a', 'b'),
    ('a * "x"', 'a * "y"'), ('a * b"x"', 'a * b"y"'), ('a * 1j', 'a * 2j'), ('a in (1, 2)', 'a in (1, 3)'), ('a + -2000', 'a + 2000'),
    ('a.x', 'a.y'), ('g(a)', 'h(a)'), ('a == 2**70', 'a == 2**71'), ('(lambda: a + 7000)', '(lambda: a + 8000)'),
    ('[i + 500 for i in a]', '[i + 600 for i in a]'), ('True', 'None'), ('a', 'a + b'), ('a == %r' % ('x' * 5000), 'a == %r' % ('x' * 4000 + 'y' * 1000)),
    ('f"{a}x"', 'f"{a}y"'),   # not -a and ~a: from 3.11 on opcodes do not count
]
FORM = 'def f(a, b):\n    return %s\n'


@test
def different_functions_have_different_contents():
    same = [(one, other) for one, other in PAIRS if content(made(FORM % one))[0] == content(made(FORM % other))[0]
            and len(one) < 4000]   # of long texts only the beginning counts
    bind.equal(same, [], 'pairs that look the same')


@test
def equal_code_is_equal():
    for pair in PAIRS:
        for body in pair:
            bind.equal(content(made(FORM % body)), content(made(FORM % body)), body)
    for count in (0, 5):   # the place does not count, nor the file
        moved = made('\n' * count + FORM % 'a + 5000', file='<other %d>' % count)
        bind.equal(content(moved)[0], content(made(FORM % 'a + 5000'))[0], 'content of what was moved')


@test
def functions_at_a_reused_address_are_told_apart():
    """Made for one call. All that tells it from the one before it may be a number."""
    code, seen, reused = made(FORM % 'a + 0.5').__code__, {}, 0
    for number in (0.5, 0.1, 0.5, 0.2) * 50:
        other = code.replace(co_consts=(None, number))
        told, at = content(other, anew=False), id(other)
        reused += seen.get(at, number) != number
        bind.equal(told[0], content(other)[0], 'content of %r' % number)
        content(other, anew=False)
        seen[at] = number
        del other
    print(reused, 'times another one at its place')
    bind.check(reused or bind.FREE_THREADED or MINOR > 11, 'none got the memory of another one')


BUSY = """
def f(a, b):
    total, kept, o = 0, {}, type('O', (), dict(x=1, m=lambda self: 1))()
    for i in range(a):
        if i %% 3:
            continue
        total += i * b + o.x + len((i, a)) - o.m()
        kept[i & 7] = total > i
        x, y = (i, total)
        while x > 5:
            x -= 3
            if x == 7:
                continue
            str(x), [1, 2][0], kept.get(x), sum([x], %d)
    return total
"""


@test
def running_it_changes_nothing():
    """The interpreter rewrites bytecode: specialised, traced."""
    function = made(BUSY % 3)
    seen = {content(function)}
    for i in range(200):
        function(100, 2)
        seen.add(content(function))
    function(20, 2.5)
    seen.add(content(function))

    def tracer(frame, event, argument):
        frame.f_trace_opcodes = True
        seen.add(content(function))
        return tracer
    sys.settrace(tracer)
    try:
        function(10, 2)
    finally:
        sys.settrace(None)
    seen.add(content(function))
    if hasattr(sys, 'monitoring'):
        events = sys.monitoring.events
        sys.monitoring.use_tool_id(3, 'test')
        for wanted in (events.LINE, events.LINE | events.INSTRUCTION | events.JUMP | events.BRANCH | events.CALL):
            sys.monitoring.set_events(3, wanted)
            sys.monitoring.register_callback(3, events.LINE, lambda code, line: sys.monitoring.DISABLE if line % 2 else None)
            function(10, 2)
            seen.add(content(function))
        sys.monitoring.set_events(3, 0)
        sys.monitoring.free_tool_id(3)
        seen.add(content(function))
    bind.equal(len(seen), 1, 'contents of one function, %r' % seen)


@test
def every_run_tells_the_same():
    program = 'import sys; sys.path.insert(0, %r); import test_namesakes as t; ' \
              'print([t.content(t.made(t.FORM %% body)) for pair in t.PAIRS for body in pair])' % os.path.dirname(os.path.abspath(FILE))
    told = {subprocess.check_output([sys.executable, '-c', program, bind.BUILD], env=dict(os.environ, PYTHONHASHSEED=seed)) for seed in '123'}
    bind.equal(len(told), 1, 'what three runs tell')


# --- recordings -----------------------------------------------------------------------------------------------------------


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


one, two = (lambda: spin(0.09)), (lambda: spin(0.03))   # two functions on one line


def by_label(profile, word):
    """{label: seconds} of the functions whose qualname ends so."""
    found = {}
    for name, one in profile.json()['functions'].items():
        if word in name:
            found[name] = one['time']
    return found


def made_for(name, seconds):
    """As a template engine does: compiled for this call; the next one may get its memory."""
    function = made('def %s():\n    spin(%r)\n' % (name, seconds), name)
    function.__globals__['spin'] = spin
    function()


def run_all():
    for _ in range(8):
        one(), two()
        made_for('render', 0.09), made_for('render', 0.03)
        made_for('again', 0.03)   # equal each time: one row


def shares(found):
    whole = sum(found.values())
    return sorted(seconds / whole for seconds in found.values())


@test
def two_functions_of_one_place():
    with bind.record(rate_hz=500) as r:
        run_all()
    lambdas, templates, again = (by_label(r.profile, word) for word in ('.<lambda>', '.render', '.again'))
    print(lambdas, templates, again)
    for found in (lambdas, templates):
        bind.equal(len(found), 2, 'rows, of %r' % found)
        bind.near(shares(found)[0], 0.25, 0, 0.1, 'the share of the shorter one')
    bind.equal(len(again), 1, 'rows of equal code, of %r' % again)
    if MINOR >= 11:   # (file:line:column), where the code begins
        with open(FILE) as file:
            line = next(text for text in file if text.startswith('one, two ='))
        for label in lambdas:
            number = int(label.rstrip(')').rsplit(':', 1)[1])
            bind.check(line[number - 1:].startswith('spin'), 'the column of %s', label)
    rows = [row for row in r.profile.top() if row.name == '<lambda>']
    bind.equal(len({row.qualname for row in rows}), 2, 'qualnames in the table, of %r' % [row.qualname for row in rows])
    text = r.profile.write(2).decode()
    bind.check(any(row.qualname in text for row in rows), '%r in the text report', [row.qualname for row in rows])


@test
def namesakes_have_their_own_allocations():
    kept = []
    keep = [(lambda: kept.append(bytes(1000))), (lambda: kept.append(bytes(3000)))]
    with bind.record(heap=EXACT, lib=bind.held) as r:
        for function in keep:
            for _ in range(10):
                function()
    found = sorted(row.total[ALLOC_BYTES] for row in r.profile.top() if row.name == '<lambda>')
    print(found)
    bind.equal(len(found), 2, 'rows')
    bind.check(10000 <= found[0] < 20000 and 30000 <= found[1] < 40000, '%r', found)


@test
def code_without_end():
    """A program that evaluates a thousand expressions, each another one, does not get a thousand rows."""
    with bind.record(heap=EXACT, lib=bind.held) as r:
        kept = [eval('bytes(%d)' % (i + 1000)) for i in range(1000)]
    rows = [row for row in r.profile.top() if row.name == '<module>' and row.file == '<string>']
    print(len(kept), len(rows))
    bind.check(100 < len(rows) < 300, '%d rows', len(rows))
    bind.enough(sum(row.total[ALLOC_BYTES] for row in rows) > 1400000, 'all that they allocate')


@test
def recordings_of_two_runs_match():
    """A difference: each of the two is the same function in the other recording."""
    def profile():
        with bind.record(rate_hz=200) as r:
            for _ in range(5):
                one(), two()
        return r.profile
    before, after = profile(), profile()
    delta = after.diff(before)
    rows = [row for row in delta.top() if row.name == '<lambda>']
    print([(row.qualname, row.total[WALL_NS] / 1e9) for row in rows])
    for row in rows:
        bind.near(row.total[WALL_NS] / 1e9, 0, 0, 0.14, 'the difference of ' + row.qualname)


if __name__ == '__main__':   # not where a test imports this
    bind.run()
