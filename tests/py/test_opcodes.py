"""Opcodes: the header's tables against each interpreter's own, and what instructions call."""
import ast
import ctypes
import dis
import opcode
import sys
import textwrap
import types

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
def calls_are_what_is_named_so():
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


def callees(source, mode='exec'):
    """What the calls of the source call, in the order of the bytecode."""
    found = []
    for code in codes_of(compile(textwrap.dedent(source), 'test', mode)):
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
             ('(a or b).f()', ['.f']), ('(a if b else c).f()', ['.f']), ('[1, 2].index(2)', ['.index']),
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


bind.run()
