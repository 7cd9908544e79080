"""The line decoders: against the interpreter's own over the whole standard library, against tables made here whose
meaning is known (so that every version's decoder is tested on every version), and against hostile bytes."""
import ctypes
import dis
import marshal
import importlib.util
import os
import random
import sys
import sysconfig
import time
import types
import warnings

import bind

MINOR = sys.version_info[1]
LIMIT = 2000   # code units: longer code objects are compared at so many places
NONE = (0, 0, -1, -1)


def prepare():
    library = bind.released
    library.pyprof_test_location.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int,
                                             ctypes.c_int] + [ctypes.POINTER(ctypes.c_int)] * 4
    library.pyprof_test_locations.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
                                              ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    library.pyprof_test_locations.restype = None
    library.pyprof_test_hostile.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int]
    return library


def decode(library, minor, table, first_line, count, step=1):
    """Line, end line, column and end column of every step-th instruction."""
    places = (count + step - 1) // step
    out = (ctypes.c_int * (4 * places))()
    library.pyprof_test_locations(minor, table, len(table), first_line, count, step, out)
    flat = iter(out)
    return list(zip(flat, flat, flat, flat))


# --- the standard library -------------------------------------------------------------------------------------------


def table_of(code):
    return code.co_linetable if MINOR >= 10 else code.co_lnotab


def truth(code):
    """The same as decode, from the interpreter."""
    count = len(code.co_code) // 2
    if MINOR >= 11:
        return [(line or 0, end_line or 0, -1 if column is None else column, -1 if end_column is None else end_column)
                for line, end_line, column, end_column in code.co_positions()]
    lines = [0] * count
    if MINOR == 10:
        for start, end, line in code.co_lines():
            for i in range(start // 2, end // 2):
                lines[i] = line or 0
    else:
        starts = list(dis.findlinestarts(code))
        ends = [start for start, _ in starts[1:]] + [2 * count]
        before = starts[0][0] if starts else 2 * count
        for i in range(before // 2):
            lines[i] = code.co_firstlineno
        for (start, line), end in zip(starts, ends):
            for i in range(start // 2, end // 2):
                lines[i] = line
    return lines


def objects(code):
    stack = [code]
    while stack:
        code = stack.pop()
        yield code
        stack.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))


def load(path):
    """The module's code: from its .pyc when that is fresh, else compiled."""
    try:
        cached = importlib.util.cache_from_source(path)
        with open(cached, 'rb') as file:
            data = file.read()
        if data[:4] == importlib.util.MAGIC_NUMBER:
            return marshal.loads(data[16:])
    except (OSError, ValueError, EOFError, TypeError, NotImplementedError):
        pass
    try:
        with open(path, 'rb') as file:
            source = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return compile(source, path, 'exec', dont_inherit=True)
    except (SyntaxError, ValueError, OSError, RecursionError, UnicodeError, MemoryError):
        return None   # made to be wrong, for the tests of lib2to3 and of the compiler


def files():
    root = sysconfig.get_paths()['stdlib']
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ('__pycache__', 'site-packages', 'dist-packages'))
        for name in sorted(names):
            if name.endswith('.py'):
                yield os.path.join(folder, name)


def compare(library, code, stats):
    count = len(code.co_code) // 2
    step = max(1, count // LIMIT)
    expected = truth(code)[::step]
    got = decode(library, MINOR, table_of(code), code.co_firstlineno, count, step)
    if MINOR < 11:
        got = [place[0] for place in got]
    stats['objects'] += 1
    stats['places'] += len(expected)
    if got != expected:
        for i, (one, other) in enumerate(zip(got, expected)):
            if one != other:
                stats['wrong'] += 1
                if stats['wrong'] <= 20:
                    print('%s:%d %s, instruction %d: got %r, expected %r' % (
                        code.co_filename, code.co_firstlineno, code.co_name, i * step, one, other))
        bind.equal(len(got), len(expected))


def part(library, paths, stats):
    for path in paths:
        code = load(path)
        if code is not None:
            stats['files'] += 1
            for one in objects(code):
                compare(library, one, stats)


@bind.test(limit=240)
def standard_library():
    library = prepare()
    paths = list(files())[::bind.length(1, 25)]
    begin = time.monotonic()
    children, keys = [], ('files', 'objects', 'places', 'wrong')
    for i in range(2):   # a process for each half
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                stats = dict.fromkeys(keys, 0)
                part(library, paths[i::2], stats)
                sys.stdout.flush()
                os.write(writer, repr([stats[key] for key in keys]).encode())
                code = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writer)
        children.append((pid, reader))
    total = [0] * len(keys)
    for pid, reader in children:
        with open(reader, 'rb') as file:
            data = file.read()
        bind.equal(os.waitpid(pid, 0)[1], 0, 'exit status')
        total = [a + int(b) for a, b in zip(total, data.decode().strip('[]').split(','))]
    stats = dict(zip(keys, total))
    print('%r in %.1f s' % (stats, time.monotonic() - begin))
    bind.equal(stats['wrong'], 0, 'differences')
    bind.check(stats['objects'] > 2000 and stats['files'] > bind.length(150, 50), 'too little was compared: %r', stats)


SOURCES = {
    'blank lines': 'x = 1\n' + '\n' * 1000 + 'y = 2\n' + '\n' * 70000 + 'z = 3\n',
    'backwards': 'f(\n' * 40 + '1' + '\n)' * 40 + '\n',
    'wide': 'x = (1,' + ' ' * 300 + 'y,' + ' ' * 70000 + 'z)\n',
    'long': ''.join('v%d = %d + w\n' % (i, i + 1000) for i in range(3000)),
    'loop': 'while a:\n' + ''.join('    b%d = a\n' % i for i in range(2000)) + '    if c: break\nelse:\n    d()\n',
    'try': 'try:\n    a()\nexcept A as e:\n    b()\nexcept B:\n    c()\nelse:\n    d()\nfinally:\n    e()\n' * 30,
    'with': 'with a() as b, \\\n        c() as d:\n    e()\n' * 20,
    'docstring': '"""' + 'line\n' * 500 + '"""\n@a\n@b\nclass C:\n    """doc"""\n    x: int = 1\n    def f(self): ...\n',
    'empty': '', 'comment': '# nothing\n', 'pass': '\n\n\npass\n', 'non-ascii': '\u00e9 = "\u4e2d\U0001f40d" + \u00e9()\n',
    'async': 'async def f():\n    async with a as b:\n        async for c in d:\n            await e\n            yield [x async for x in y]\n',
    'asserts': ''.join('assert a[%d], (\n    b)\n' % i for i in range(300)),
}


@bind.test
def hard_sources():
    library = prepare()
    stats = dict.fromkeys(('objects', 'places', 'wrong'), 0)
    for name, source in SOURCES.items():
        for first in bind.length((1, 2, 127, 128, 129, 255, 256, 32767, 100000, 1 << 24), (1, 128, 1 << 24)):
            code = compile(source, '<%s>' % name, 'exec')
            for one in objects(code):
                compare(library, one.replace(co_firstlineno=one.co_firstlineno + first - 1), stats)
    bind.equal(stats['wrong'], 0, 'differences')


@bind.test
def against_addr2line():
    """A second opinion: the C function that tracebacks use."""
    library = prepare()
    addr2line = ctypes.pythonapi.PyCode_Addr2Line
    addr2line.argtypes, addr2line.restype = [ctypes.py_object, ctypes.c_int], ctypes.c_int
    for name in ('argparse', 'typing', 'json.decoder', 'asyncio.tasks', 'ast'):
        code = load(importlib.util.find_spec(name).origin)
        for one in objects(code):
            count = len(one.co_code) // 2
            got = [place[0] for place in decode(library, MINOR, table_of(one), one.co_firstlineno, count)]
            expected = [max(0, addr2line(one, 2 * i)) for i in range(count)]
            bind.equal(got, expected, one.co_name)


# --- tables made here, for all versions ---------------------------------------------------------------------------


def signed(n):
    return n & 255


def make_lnotab(rng, first, count):
    """3.8 and 3.9: pairs of byte and line steps; the line counts for all that follows."""
    table, lines, line, addr = bytearray(), [], first, 0
    while addr < 2 * count:
        step = 2 * rng.choice([0, 1, 1, 2, 3, 10, 127])
        for _ in range(step // 2):
            if len(lines) < count:
                lines.append(line)
        addr += step
        delta = rng.choice([0, 1, 1, 2, 5, 127, -1, -3, -128])
        if line + delta < 1:
            delta = 1
        line += delta
        table += bytes([step, signed(delta)])
    return bytes(table), [(line, 0, -1, -1) for line in lines]


def make_ranges(rng, first, count):
    """3.10: a range of bytes and a line step that counts for this range; -128 = no line."""
    table, lines, line = bytearray(), [], first
    while len(lines) < count:
        units = rng.choice([0, 1, 1, 2, 3, 10, 127])
        if rng.random() < 0.15:
            table += bytes([2 * units, 128])
            lines += [0] * units
            continue
        delta = rng.choice([0, 1, 1, 2, 5, 127, -1, -3, -127])
        if line + delta < 1:
            delta = 1
        line += delta
        table += bytes([2 * units, signed(delta)])
        lines += [line] * units
    return bytes(table), [(line, 0, -1, -1) for line in lines[:count]]


def varint(n):
    out = bytearray()
    while n >= 64:
        out.append(64 | n & 63)
        n >>= 6
    out.append(n)
    return bytes(out)


def svarint(n):
    return varint(-n << 1 | 1 if n < 0 else n << 1)


def make_locations(rng, first, count):
    """3.11 and later: an entry of one byte and more for up to eight code units."""
    table, places, line = bytearray(), [], first
    while len(places) < count:
        units = rng.randint(1, 8)
        code = rng.choice([0, 1, 4, 9, 10, 11, 12, 13, 13, 14, 14, 14, 15])
        table.append(128 | code << 3 | units - 1)
        if code <= 9:
            byte = rng.randrange(128)
            table.append(byte)
            column = code * 8 + (byte >> 4)
            place = (line, line, column, column + (byte & 15))
        elif code <= 12:
            line += code - 10
            column, end = rng.randrange(256), rng.randrange(256)
            table += bytes([column, end])
            place = (line, line, column, end)
        elif code == 15:
            place = NONE
        else:
            delta = rng.choice([0, 1, -1, 31, 32, -32, 1000, -1000, 70000, 1 << 24])
            if line + delta < 1 or line + delta > 1 << 29:
                delta = 0
            line += delta
            table += svarint(delta)
            place = (line, line, -1, -1)
            if code == 14:
                more = rng.choice([0, 1, 63, 64, 5000])
                column, end = (rng.choice([-1, 0, 1, 62, 63, 255, 256, 70000]) for _ in range(2))
                table += varint(more) + varint(column + 1) + varint(end + 1)
                place = (line, line + more, column, end)
        places += [place] * units
    return bytes(table), places[:count]


MAKERS = {9: make_lnotab, 10: make_ranges, 13: make_locations}


def known_tables(minor):
    library = prepare()
    rng = random.Random(minor)
    for i in range(3000):
        first, count = rng.choice([1, 1, 2, 100, 100000]), rng.randint(1, 200)
        table, expected = MAKERS[minor](rng, first, count)
        got = decode(library, minor, table, first, count)
        if minor < 11:
            got = [(place[0], 0, -1, -1) for place in got]
        if got != expected:
            print('table %d: %r, first line %d' % (i, table.hex(), first))
        bind.equal(got, expected, 'the places of table %d' % i)


@bind.test
def known_tables_of_38_and_39():
    known_tables(9)


@bind.test
def known_tables_of_310():
    known_tables(10)


@bind.test
def known_tables_of_311_and_later():
    known_tables(13)


@bind.test
def old_tables_have_no_columns():
    library = prepare()
    rng = random.Random(5)
    for minor in (8, 9, 10):
        table, _ = MAKERS[max(minor, 9)](rng, 1, 50)
        for place in decode(library, minor, table, 1, 50):
            bind.equal(place[2:], (-1, -1), 'columns')


# --- hostile bytes --------------------------------------------------------------------------------------------------


def fuzz(minor):
    """The table ends where its memory ends: a byte too far is a crash. One call must not take long, whatever it says."""
    library = prepare()
    rng = random.Random(1000 + minor)
    hostile, begin, longest = library.pyprof_test_hostile, time.monotonic(), 0.0
    cases = 0
    while cases < bind.length(40000, 16000):
        kind = cases % 8
        first = rng.choice([1, 0, -1, 1, 100, (1 << 31) - 1, -(1 << 31), 1 << 30])
        instruction = rng.choice([0, 1, 5, 100, 4000, -1, -2, (1 << 31) - 1, -(1 << 31), 1 << 30, 1 << 16])
        table, _ = MAKERS[minor](rng, 1, rng.randint(1, 60)) if kind < 5 else (b'', None)
        if kind == 1:
            table = table[:rng.randint(0, len(table))]
        elif kind in (2, 3):
            table = bytearray(table)
            for _ in range(rng.randint(1, 4)):
                table[rng.randrange(len(table))] = rng.choice([0, 1, 63, 64, 127, 128, 129, 254, 255, rng.randrange(256)])
            table = bytes(table)
        elif kind == 4:
            at = rng.randrange(len(table))
            table = table[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 12))) + table[at:]
        elif kind == 5:
            table = bytes(rng.randrange(256) for _ in range(rng.randint(0, 60)))
        elif kind == 6:
            table = bytes([rng.choice([0, 64, 127, 128, 240, 248, 255])]) * rng.randint(0, 400)
        elif kind == 7:
            table = bytes([rng.randrange(128, 256)]) + bytes(rng.choice([127, 255, 64, 191]) for _ in range(rng.randint(0, 40)))
        start = time.perf_counter()
        broke = hostile(minor, table, len(table), first, instruction)
        longest = max(longest, time.perf_counter() - start)
        bind.check(not broke, 'rule %d broken by table %s, first line %d, instruction %d', broke, table.hex(), first, instruction)
        cases += 1
    print('%d cases in %.1f s, the longest call %.2f ms' % (cases, time.monotonic() - begin, 1000 * longest))
    for byte in range(0, 256, bind.length(1, 5)):   # long ones
        start = time.perf_counter()
        broke = hostile(minor, bytes([byte]) * 1000000, 1000000, 1, (1 << 31) - 1)
        bind.check(not broke, 'rule %d broken by a million bytes %02x', broke, byte)
        bind.check(time.perf_counter() - start < 1, 'a million bytes %02x took %.1f s', byte, time.perf_counter() - start)


@bind.test(limit=120)
def hostile_tables_of_38_and_39():
    fuzz(9)


@bind.test(limit=120)
def hostile_tables_of_310():
    fuzz(10)


@bind.test(limit=120)
def hostile_tables_of_311_and_later():
    fuzz(13)


@bind.test
def damaged_entries_tell_nothing():
    """What cannot be decoded is unknown; what stands before it still counts."""
    library = prepare()
    good = bytes([128 | 13 << 3]) + svarint(5)   # one unit, line 15
    whole = bytes([128 | 14 << 3]) + svarint(1000) + varint(100) + varint(200) + varint(300)
    bind.equal(decode(library, 13, good + whole, 10, 2), [(15, 15, -1, -1), (1015, 1115, 199, 299)])
    for size in range(len(whole)):
        bind.equal(decode(library, 13, good + whole[:size], 10, 2), [(15, 15, -1, -1), NONE], 'cut after %d bytes' % size)
    for code in range(0, 13):
        entry = bytes([128 | code << 3, 1, 2])
        bind.equal(decode(library, 13, good + entry[:1], 10, 2)[1], NONE, 'code %d, cut' % code)
    for byte in (0, 1, 13 << 3, 127):   # no header: the high bit is missing
        bind.equal(decode(library, 13, good + bytes([byte]) + whole, 10, 3), [(15, 15, -1, -1), NONE, NONE], 'header %d' % byte)
    for size in range(6, 12):   # numbers that do not end
        bind.equal(decode(library, 13, good + bytes([128 | 13 << 3]) + b'\x7f' * size + b'\x01', 10, 2)[1], NONE, 'a number of %d bytes' % size)
    bind.equal(decode(library, 13, good, 10, 3), [(15, 15, -1, -1), NONE, NONE], 'past the end')
    bind.equal([place[0] for place in decode(library, 10, bytes([2, 5, 2]), 10, 3)], [15, 0, 0], 'half a pair')
    bind.equal([place[0] for place in decode(library, 9, bytes([2, 5, 2]), 10, 3)], [10, 15, 15], 'half a pair')
    bind.equal(decode(library, 13, bytes([128 | 13 << 3]) + svarint(-20) + good, 10, 2), [NONE, NONE], 'lines below 1')
    bind.equal(decode(library, 10, bytes([2, 0xec, 2, 20]), 10, 2), [NONE, (10, 10, -1, -1)], 'lines below 1')


@bind.test
def no_table_at_all():
    library = prepare()
    for minor in (8, 10, 13):
        for instruction in (0, 1, -1, 1000):
            bind.equal(library.pyprof_test_hostile(minor, b'', 0, 7, instruction), 0)


if __name__ == '__main__':
    bind.run()
