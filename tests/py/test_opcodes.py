"""Opcodes: the header's tables against each interpreter's own, and what instructions call."""
import ast
import ctypes
import dis
import importlib
import json
import opcode
import os
import sys
import textwrap
import threading
import time
import tokenize
import types
import zlib

import bind
from bind import test

MINOR = sys.version_info[1]
if bind.FREE_THREADED and MINOR < 13:
    raise SystemExit('no such build')


def entry(number):
    """(name, caches, act, is a call) of the header's opcode for this version."""
    name = ctypes.create_string_buffer(300)
    caches, act = ctypes.c_int(), ctypes.c_int()
    call = bind.released.pyprof_test_opcode(MINOR, number, name, ctypes.byref(caches), ctypes.byref(act))
    return name.value.decode(), caches.value, act.value, call


def own_names():
    """The interpreter's own: number -> name."""
    names = {number: name for name, number in opcode.opmap.items() if number < 256}
    specialised = getattr(opcode, '_specialized_opmap', {})
    if not specialised and MINOR in (11, 12):
        specialised = {name: number for number, name in enumerate(dis._all_opname[:256]) if not name.startswith('<')}
    for name, number in specialised.items():
        names.setdefault(number, name)
    if MINOR == 11:
        names[255] = 'DO_TRACING'   # Include/opcode.h, not in opcode.py
    return names


def own_families():
    """Specialised name -> the name it stands for."""
    families = getattr(opcode, '_specializations', None)
    if families is None:
        try:
            from _opcode_metadata import _specializations as families
        except ImportError:
            families = {}
    return {name: base for base, names in families.items() for name in names}


def own_caches():
    caches = getattr(opcode, '_inline_cache_entries', {})
    if isinstance(caches, list):
        caches = {opcode.opname[number]: n for number, n in enumerate(caches)}
    return caches


@test
def names_are_the_interpreter_s():
    own = own_names()
    wrong = ['%d: %s, here %s' % (number, own.get(number, '-'), entry(number)[0] or '-')
             for number in range(256) if own.get(number, '') != entry(number)[0]]
    assert not wrong, wrong
    assert len(own) > 100


@test
def caches_are_the_interpreter_s():
    families, caches, wrong = own_families(), own_caches(), []
    for number, name in own_names().items():
        base = families.get(name, name).replace('INSTRUMENTED_', '')
        if base in ('LINE', 'INSTRUCTION', 'ENTER_EXECUTOR', 'TRACE_RECORD'):
            continue   # they stand in the place of another one
        if caches.get(base, 0) != entry(number)[1]:
            wrong.append((name, caches.get(base, 0), entry(number)[1]))
    assert not wrong, wrong
    if MINOR >= 11:
        assert sum(map(bool, (entry(number)[1] for number in range(256)))) > 40


@test
def call_opcodes_are_those_with_call_in_their_name():
    """By another rule than the header's."""
    families, wrong = own_families(), []
    for number, name in own_names().items():
        base = families.get(name, name).replace('INSTRUMENTED_', '')
        call = base in ('CALL_FUNCTION', 'CALL_FUNCTION_KW', 'CALL_FUNCTION_EX', 'CALL_METHOD', 'CALL', 'CALL_KW', 'PRECALL')
        if call != bool(entry(number)[3]):
            wrong.append(name)
    assert not wrong, wrong
    assert sum(bool(entry(number)[3]) for number in range(256)) >= 4


@test
def loads_and_jumps_are_known():
    """Each opcode that jumps forward is known to jump, and each that loads by name to load."""
    acts = {entry(number)[0]: entry(number)[2] for number in range(256)}
    jump, jump_to = acts['JUMP_FORWARD'], acts.get('JUMP_ABSOLUTE')
    for numbers, want in ((opcode.hasjrel, jump), (opcode.hasjabs, jump_to)):
        for number in numbers:
            name = opcode.opname[number]
            if number < 256 and 'BACKWARD' not in name and 'END_ASYNC_FOR' not in name:
                assert acts[name] == want, name
    kinds = {}
    for number in opcode.hasname:
        name = opcode.opname[number]
        if number < 256 and name.startswith('LOAD_'):
            kinds.setdefault(acts[name], []).append(name)
    assert 0 not in kinds, kinds[0]
    for name, base in own_families().items():
        if base in ('LOAD_GLOBAL', 'LOAD_ATTR', 'LOAD_METHOD', 'LOAD_SUPER_ATTR', 'CALL', 'CALL_KW') and name in acts:
            assert acts[name] == acts[base], name


# --- what an instruction calls ----------------------------------------------------------------------------------------

def spot(code, instruction):
    """(is a call, callee, opcode)"""
    callee, name = ctypes.create_string_buffer(300), ctypes.create_string_buffer(300)
    read = bind.released.pyprof_test_spot(ctypes.c_uint32(sys.hexversion), int(bind.FREE_THREADED), ctypes.c_uint64(id(code)),
                                           instruction, callee, name)
    assert read >= 0, read
    return read, callee.value.decode(), name.value.decode()


def codes_of(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


def is_call(instruction):
    name = getattr(instruction, 'baseopname', instruction.opname).replace('INSTRUMENTED_', '')
    return name in ('CALL', 'CALL_KW', 'CALL_FUNCTION_EX', 'CALL_FUNCTION', 'CALL_FUNCTION_KW', 'CALL_METHOD', 'PRECALL')


KEPT = []   # an object that is still there cannot be taken for another one


def callees(source, mode='exec'):
    """What the calls of the source call, in the order of the bytecode."""
    found = []
    KEPT.append(compile(textwrap.dedent(source), 'test', mode))
    for code in codes_of(KEPT[-1]):
        for instruction in dis.get_instructions(code):
            call, callee, _ = spot(code, instruction.offset // 2)
            assert bool(call) == is_call(instruction), instruction
            if call and instruction.opname != 'PRECALL':
                found.append(callee)
    return found


@test
def names_of_callees():
    names = (('f(x)', ['f']), ('zlib.compress(x)', ['zlib.compress']), ('a.b.c.d(x)', ['a.b.c.d']),
             ('f(g(x))', ['g', 'f']), ('f(g(x), h(y))', ['g', 'h', 'f']), ('f(x)(y)', ['f', 'f()']),
             ('a.b(1).c(2)', ['a.b', 'a.b().c']), ('f(a.b(1), c=d.e(2), *z)', ['a.b', 'd.e', 'f']),
             ('d["k"](x)', ['']), ('d["k"].sort()', ['d[].sort']), ('d[f(x)].sort()', ['f', 'd[].sort']),
             ('f(x, y=1)', ['f']), ('a.f(x, y=1)', ['a.f']), ('f(*x)', ['f']), ('f(*x, **y)', ['f']), ('a.f(1, *x, y=2)', ['a.f']),
             ('", ".join(x)', ['str.join']), ('b"".join(x)', ['bytes.join']), ('(a + b).f()', ['.f']),
             ('(a or b).f()', ['.f']), ('x = (a if b else c).f(d) + e', ['.f']), ('[1, 2].index(2)', ['.index']),
             ('f(a + b, -c, [1, x], {1: x}, (x, y), x[1], not x)', ['f']),
             ('f(\n    x,\n    g(\n        y),\n)', ['g', 'f']),
             ('(a\n .b(1)\n .c(2)\n .d(3))', ['a.b', 'a.b().c', 'a.b().c().d']),
             ('(a\n .b(1)\n .c(*x))', ['a.b', 'a.b().c']), ('(a\n .b\n .c(x=1))', ['a.b.c']),
             ('x = y\n@f\ndef g(): pass', ['f']), ('@a.b(1)\ndef g(): pass', ['a.b', 'a.b()']),
             ('def f(x):\n    return x.y(x)', ['x.y']), ('def f(x):\n    return x(x)', ['x']),
             ('def f(x):\n    def g():\n        return x(x.y(1))', ['x.y', 'x']),
             ('def f(x, y):\n    x.a(y)\n    y.b(x)\n    g(x, y.c())', ['x.a', 'y.b', 'y.c', 'g']),
             ('a.b; c.d(1)', ['c.d']), ('x = 1\nx += 1', []), ('x[1]; x.y; x + 1; -x', []))
    for source, want in names:
        got = callees(source)
        assert got == want, (source, got, want)


@test
def names_of_callees_in_blocks():
    assert 'g' in callees('x = [g(y) for y in z]')
    assert callees('def f():\n    for x in a.b(1):\n        while c(x):\n            d.e(x)\n')[:3] == ['a.b', 'c', 'd.e']
    assert 'f' in callees('try:\n    f(x)\nfinally:\n    g(y)') and 'g' in callees('try:\n    f(x)\nfinally:\n    g(y)')
    assert set(callees('with a.b as c:\n    f(x)')) <= {'f', '.__exit__', 'a.b.__exit__', 'a.b.__enter__', ''}
    assert set(callees('with open(x) as c:\n    f(x)')) <= {'f', 'open', '.__exit__', 'open().__exit__', 'open().__enter__', ''}
    if MINOR >= 14:
        assert callees('with a.b as c:\n    f(x)')[0] == 'a.b.__enter__'
        assert callees('with open(x) as c:\n    f(x)') [:2] == ['open', 'open().__enter__']
    assert callees('class A(B):\n    def f(self):\n        return super().f(1)')[-1] == 'super().f'
    assert 'x.' + 'y' * 200 in callees('x.%s(1)' % ('y' * 200))
    assert callees('x.%s(1)' % ('y' * 300)) in ([''], ['.'])
    many = '\n'.join('n%d.m%d(1)' % (i, i) for i in range(400))   # arguments of more than 8 bits, and far from the first instruction
    assert callees(many) == ['n%d.m%d' % (i, i) for i in range(400)]


class Oracle(ast.NodeVisitor):
    """What the calls of a module call, by its syntax tree: place -> names; for Pythons without places: line -> names."""
    def __init__(self, tree):
        self.names, self.classes = {}, []
        self.visit(tree)

    def mangled(self, name):
        if name.startswith('__') and not name.endswith('__') and self.classes and self.classes[-1].strip('_'):
            return '_%s%s' % (self.classes[-1].lstrip('_'), name)
        return name

    def chain(self, node):
        if isinstance(node, ast.Name):
            return self.mangled(node.id)
        if isinstance(node, ast.Attribute):
            return '%s.%s' % (self.chain(node.value), self.mangled(node.attr))
        if isinstance(node, ast.Call):
            return self.chain(node.func) + '()'
        if isinstance(node, ast.Subscript):
            return self.chain(node.value) + '[]'
        if isinstance(node, ast.Constant):
            return type(node.value).__name__
        return '?'   # the rest cannot be told

    def add(self, node, name):
        """name: of a callee that is called where the node stands."""
        last = 'x' if MINOR >= 11 else None
        key = (node.end_lineno, node.end_col_offset) if last else node.lineno
        self.names.setdefault(key, set()).add(name)

    def visit_Call(self, node):
        name = self.chain(node.func)
        for line in range(node.lineno, node.end_lineno + 1) if MINOR < 11 else [0]:
            if MINOR < 11:
                self.names.setdefault(line, set()).add(name)
        if MINOR >= 11:
            self.add(node, name)
        self.generic_visit(node)

    def decorated(self, node):
        for decorator in node.decorator_list:
            for line in range(decorator.lineno, node.lineno + 1) if MINOR < 11 else [0]:
                self.names.setdefault(line, set()).add(self.chain(decorator))
            self.add(decorator, self.chain(decorator))
        if isinstance(node, ast.ClassDef):
            self.classes.append(node.name)
            self.generic_visit(node)
            self.classes.pop()
        else:
            self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = decorated

    def visit_With(self, node):
        for item in node.items:
            for name in ('__enter__', '__exit__', '__aenter__', '__aexit__'):
                self.add(item.context_expr, '%s.%s' % (self.chain(item.context_expr), name))
                self.add(node, '%s.%s' % (self.chain(item.context_expr), name))
        self.generic_visit(node)

    visit_AsyncWith = visit_With


def is_told(callee, names):
    """The whole name, or the end of one whose begin cannot be told, or nothing."""
    return callee in ('', 'AssertionError') or callee in names or (callee.startswith('.') and any(name.endswith(callee) for name in names))


@test
def names_of_callees_in_the_library():
    """Every call of some modules (a third of them in make test), against their syntax trees: no wrong name, and few unknown ones."""
    told = calls = 0
    wrong, partial = [], []
    for module in ('argparse', 'ast', 'base64', 'calendar', 'collections', 'configparser', 'csv', 'dataclasses', 'datetime',
                   'difflib', 'enum', 'fractions', 'functools', 'gettext', 'inspect', 'json.decoder', 'json.encoder', 'logging',
                   'os', 'pprint', 'random', 'shutil', 'statistics', 'subprocess', 'tarfile', 'textwrap', 'threading',
                   'tokenize', 'typing', 'unittest.mock', 'uuid', 'zipfile', 'asyncio.base_events', 'asyncio.tasks')[::bind.length(1, 3)]:
        path = importlib.import_module(module).__file__
        with tokenize.open(path) as file:
            source = file.read()
        oracle = Oracle(ast.parse(source))
        KEPT.append(compile(source, path, 'exec'))
        for code in codes_of(KEPT[-1]):
            line = code.co_firstlineno
            for instruction in dis.get_instructions(code):
                if MINOR < 11 and instruction.starts_line:
                    line = instruction.starts_line
                if not is_call(instruction) or instruction.opname == 'PRECALL':
                    continue
                call, callee, _ = spot(code, instruction.offset // 2)
                assert call, instruction
                if MINOR >= 11:
                    places = instruction.positions
                    names = oracle.names.get((places.end_lineno, places.end_col_offset), set())
                else:
                    names = oracle.names.get(line, set())
                calls += 1
                told += bool(callee and not callee.startswith('.'))
                if not is_told(callee, names):
                    wrong.append((path, line if MINOR < 11 else instruction.positions, callee, names))
                elif not callee and names:
                    partial.append((path, line if MINOR < 11 else instruction.positions.lineno, names))
    print('%d calls, %.1f %% told whole' % (calls, 100.0 * told / calls))
    print('\n'.join(map(repr, partial[::max(1, len(partial) // 30)])))
    assert not wrong, (len(wrong), wrong[:20])
    assert calls > bind.length(5000, 1000) and told > 0.8 * calls, (calls, told)


# --- the same of threads that run --------------------------------------------------------------------------------------

def calls_of(work, want, rounds=150):
    """(samples, those at a call, those at a call of `want`, the last other name) of a thread in work(stop)."""
    stop, ids = [], []

    def run():
        ids.append(ctypes.CDLL(None).syscall(186 if os.uname().machine == 'x86_64' else 178))   # gettid
        work(stop)

    thread = threading.Thread(target=run)
    thread.start()
    while not ids:
        time.sleep(0.01)
    time.sleep(0.1)
    found, other = (ctypes.c_int * 3)(), ctypes.create_string_buffer(300)
    code = bind.released.pyprof_test_calls(ctypes.c_int64(ids[0]), rounds, want.encode(), found, other)
    stop.append(1)
    thread.join()
    assert code == 0, code
    return found[0], found[1], found[2], other.value.decode()


@test
def threads_that_wait():
    lock = threading.Lock()

    def sleep(stop):
        while not stop:
            time.sleep(0.5)

    def acquire(stop):
        while not stop:
            lock.acquire(
                timeout=0.5)

    lock.acquire()
    for work, want in ((sleep, 'time.sleep'), (acquire, 'lock.acquire')):
        samples, calls, named, other = calls_of(work, want)
        assert samples > 30 and named >= 0.9 * samples, (want, samples, calls, named, other)


@test
def threads_in_c_functions():
    data, blob, text = list(range(300000)), os.urandom(1 << 20), 'ab' * 200000

    def compress(stop):
        while not stop:
            zlib.compress(blob, 9)

    def sort(stop):
        while not stop:
            sorted(data, key=str)

    def method(stop):
        values = {'k': data}
        while not stop:
            values['k'].count(-1)

    def replace(stop):
        while not stop:
            text.replace('a', 'cd').replace(
                'b', 'ef')

    for work, want, part in ((compress, 'zlib.compress', 0.8), (sort, 'sorted', 0.8), (method, 'values[].count', 0.8),
                             (replace, 'text.replace', 0.1)):
        samples, calls, named, other = calls_of(work, want)
        assert samples > 30, (want, samples)
        bind.enough(named >= part * samples, '%r', (want, samples, calls, named, other))   # the thread may have had no CPU all the while
        assert calls == named or part < 0.5, (want, samples, calls, named, other)


@test
def threads_in_python_code():
    """x += 1 is never a call, and a loop of Python calls hardly ever: its callee has a frame of its own."""
    def spin(stop):
        x = 0
        while not stop:
            x += 1

    def attributes(stop):
        value = types.SimpleNamespace(x=1, y=[1, 2])
        while not stop:
            value.x = value.x + value.y[0]

    for work in (spin, attributes):
        samples, calls, named, other = calls_of(work, 'spin')
        assert samples > 30 and calls == 0, (samples, calls, other)


def frames_of(**config):
    """The innermost frames of a thread that sleeps and one that spins: [(opcode, line)]."""
    stop = []

    def sleeper():
        while not stop:
            time.sleep(0.2)

    def spinner():
        x = y = 0
        while not stop:
            x += 1; y += x - y; x -= y - 1   # noqa: E702

    threads = [threading.Thread(target=sleeper), threading.Thread(target=spinner)]
    session = bind.Session(rate_hz=500, **config)
    for thread in threads:
        thread.start()
    time.sleep(0.6)
    profile = session.stop()
    stop.append(1)
    for thread in threads:
        thread.join()
    stacks = [item.stack for item in profile.visit(bind.ITEM_STACK) if item.stack]
    data = json.loads(profile.write(bind.JSON))
    return ([stack[-1] for stack in stacks if stack[-1].name == 'sleeper'],
            [stack[-1] for stack in stacks if stack[-1].name == 'spinner'], stacks, data)


@test
def opcodes_on_request():
    sleeping, spinning, stacks, data = frames_of(opcodes=1)
    own = set(own_names().values())
    assert {frame.opcode for stack in stacks for frame in stack if frame.kind == bind.KIND_PYTHON} <= own | {None}
    calls = [frame.opcode for frame in sleeping if 'CALL' in frame.opcode]
    assert calls and sleeping[0].opcode, sleeping
    spins = {frame.opcode for frame in spinning}
    bind.enough(len(spins) > 3, 'opcodes: %r', spins)
    assert not any('CALL' in name for name in spins), spins
    lines = {}
    for frame in spinning:
        lines.setdefault(frame.line, set()).add(frame.opcode)
    bind.enough(max(len(names) for names in lines.values()) > 3, 'one line, several nodes: %r', lines)
    recorded = {frame.get('opcode') for frame in data['frames'] if frame['name'] == 'spinner'}
    assert spins <= recorded, (spins, recorded)


@test
def no_opcodes_unless_asked_for():
    sleeping, spinning, stacks, data = frames_of()
    assert {frame.opcode for stack in stacks for frame in stack} == {None}
    assert not any('opcode' in frame for frame in data['frames'])
    with_bad = bind.fill(bind.Config(), opcodes=2)
    session = ctypes.c_void_p()
    assert bind.released.start(ctypes.byref(with_bad), ctypes.byref(session)) == bind.ARGUMENT


bind.run()
