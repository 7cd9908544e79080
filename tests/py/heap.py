"""What tests of the heap tracker share: an allocator that counts by itself (tests/heap_count.c), and code that knows what
it allocates.
"""
import ctypes
import inspect
import linecache
import os
import sys
import time
import types
from ctypes import POINTER, Structure, byref, c_double, c_int, c_int64, c_long, c_size_t, c_uint32, c_uint64, c_void_p

import bind
from bind import (ALLOC_BLOCKS, ALLOC_BYTES, HEAP_STATE_ON, LIVE_BLOCKS, LIVE_BYTES, TEMP_BLOCKS,
                  running)   # noqa: F401: for the tests, as running

OFF, SAMPLED, EXACT = bind.HEAP_OFF, bind.HEAP_SAMPLED, bind.HEAP_EXACT
RAW, MEM, OBJ = bind.DOMAIN_RAW, bind.DOMAIN_MEM, bind.DOMAIN_OBJ
for file in __file__, sys.modules['__main__'].__file__:
    linecache.getlines(file)   # as they run: an edit meanwhile would move the lines that are found later
PAGE = 1000   # what a block made by keep() is asked for
HEADER = sys.getsizeof(b'')   # of a bytes object; the rest is its text


# --- libheap_count.so -------------------------------------------------------------------------------------------------

DOMAINS, BY_SIZE = bind.DomainTotal * bind.DOMAIN_COUNT, c_int64 * bind.SIZES


class Reading(Structure):
    _fields_ = [('ours', DOMAINS), ('counted', DOMAINS), ('our_sizes', BY_SIZE), ('counted_sizes', BY_SIZE),
                ('our_total', bind.METRICS), ('stats', bind.Stats), ('counted_peak', c_int64)]


class Errand(Structure):
    _fields_ = [('config', POINTER(bind.Config)), ('session', c_void_p), ('profile', c_void_p), ('stop', c_int),
                ('result', c_int), ('state', c_int), ('done', c_int)]


SIZES = POINTER(c_uint32)
FUNCTIONS = {   # name: (result, arguments)
    'begin': (None, ctypes.c_char_p), 'install': (None,), 'pool': (None, c_int, c_size_t, c_size_t),
    'pool_off': (None, c_int, c_size_t, c_size_t, c_void_p), 'circle': (c_void_p, c_int, c_size_t),
    'allocators': (None, c_void_p), 'put_back': (None, c_void_p, ctypes.c_uint),
    'start': (c_int, POINTER(bind.Config), POINTER(c_void_p)), 'count': (None,),
    'read': (c_int, c_void_p, POINTER(Reading)), 'reading_size': (c_size_t,),
    'storm_new': (c_void_p, c_uint64, c_size_t), 'storm': (None, c_void_p, c_long, ctypes.c_uint, c_int),
    'storm_end': (None, c_void_p), 'threads': (None, c_int, c_uint64, c_long, c_int), 'threads_join': (None,),
    'threads_free': (None,), 'stranger': (c_int64, c_int, c_size_t), 'stranger_free': (None,),
    'spin': (None, c_int), 'spin_end': (None,), 'hold': (c_long, c_long, c_double),
    'elsewhere': (c_int, POINTER(Errand), c_double), 'run': (c_void_p, c_int, SIZES, c_size_t, c_size_t),
    'take': (c_void_p, c_int, c_size_t, c_size_t), 'block': (c_void_p, c_void_p, c_size_t), 'give': (None, c_void_p),
    'resize': (None, c_int, SIZES, c_size_t), 'temporary': (c_void_p, c_int, c_size_t, c_size_t),
    'ask': (c_long, c_void_p, c_double), 'fail': (None, c_long, c_long), 'asked': (c_long,), 'out': (c_long,),
}


class Functions:
    """heap_NAME as NAME"""

    def __init__(self, loader):
        library = loader(os.path.join(bind.BUILD, 'libheap_count.so'))
        self.library = library
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(library, 'heap_' + name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)


held, released = Functions(ctypes.PyDLL), Functions(ctypes.CDLL)
held.begin(os.fsencode(bind.LIBRARY))
assert held.reading_size() == ctypes.sizeof(Reading)


def allocators():
    words = (c_size_t * 15)()
    held.allocators(ctypes.cast(words, c_void_p))
    return list(words)


def start(heap=EXACT, lib=None, **config):
    """A session whose hooks are in: it is started with the GIL held."""
    session = bind.Session(lib or bind.held, heap=heap, **config)
    bind.equal(session.stats().heap_state, HEAP_STATE_ON, 'heap state')
    return session


def start_counted(**config):
    """The same, on top of the counting allocator; both count from the same moment."""
    config = bind.fill(bind.Config(), heap=EXACT, **config)
    token = c_void_p()
    code = held.start(byref(config), byref(token))
    if code:
        raise bind.Error('start', code, bind.held.last_error().decode())
    session = bind.Session.__new__(bind.Session)
    session.lib, session.config, session.token = bind.held, config, token.value
    return session


def read(session=None):
    """What both sides count, at one moment."""
    reading = Reading()
    code = held.read(session.token if session else None, byref(reading))
    bind.equal(code, 0, 'result of reading')
    return reading


def table(domains):
    return [[getattr(domain, name) for name in ('alloc_bytes', 'alloc_blocks', 'live_bytes', 'live_blocks')]
            for domain in domains[:3]]


def agree(session, what=''):
    """Both sides count the same, to the byte."""
    r = read(session)
    for _ in range(100):   # a thread that ends frees its state without the GIL
        if table(r.ours) == table(r.counted):
            break
        time.sleep(0.01)
        r = read(session)
    print(what, table(r.counted))
    bind.equal(table(r.ours), table(r.counted), 'RAW, MEM, OBJ of alloc bytes and blocks, live bytes and blocks: ' + what)
    bind.equal(list(r.our_sizes), list(r.counted_sizes), 'blocks by size')
    total = [sum(column) for column in zip(*table(r.counted))]
    bind.equal(list(r.our_total)[ALLOC_BYTES:LIVE_BLOCKS + 1], total, 'the totals of the profile')
    bind.equal([r.stats.heap_live_bytes, r.stats.heap_live_blocks], total[2:], 'heap_live_bytes and _blocks')
    bind.equal(r.stats.heap_dropped, 0, 'heap_dropped')
    return r


def sane(profile):
    """What holds for every profile: the tree adds up to the totals, and nothing is negative."""
    total = profile.info().total
    sums = [0] * bind.METRIC_COUNT
    for item in profile.visit(bind.ITEM_STACK):
        for metric in range(ALLOC_BYTES, TEMP_BLOCKS + 1):
            bind.check(item.self[metric] >= 0, 'metric %d of %r is %d', metric, item.stack[-1:], item.self[metric])
            sums[metric] += item.self[metric]
    for metric in range(ALLOC_BYTES, TEMP_BLOCKS + 1):
        bind.equal(sums[metric], total[metric], 'sum of metric %d' % metric)
    return total


# --- code that knows what it allocates --------------------------------------------------------------------------------


def line(function, mark='# here'):
    """The number of the one line of the function that bears the mark."""
    code = function.__code__
    first = code.co_firstlineno
    lines = inspect.getblock(linecache.getlines(code.co_filename)[first - 1:])
    found = [first + i for i, text in enumerate(lines) if mark in text]
    bind.equal(len(found), 1, 'lines with %s' % mark)
    return found[0]


def shelf(count):
    return [None] * count


def keep(kept, size=PAGE):
    """One block of that size for each place in kept, and nothing else."""
    text = size - HEADER
    for i in range(len(kept)):
        kept[i] = b'x' * text   # here


def rows(profile, group=bind.GROUP_LINE, **query):
    """{(name, line): self} of the lines that allocated"""
    found = {}
    for row in profile.top(group=group, **query):
        if any(row.self[ALLOC_BYTES:TEMP_BLOCKS + 1]):
            key = row.name, row.line
            found[key] = [a + b for a, b in zip(found.get(key, [0] * bind.METRIC_COUNT), row.self)]
    return found


def at(profile, function, mark='# here', **query):
    """The metrics of that line."""
    return rows(profile, **query).get((function.__name__, line(function, mark)), [0] * bind.METRIC_COUNT)


def four(values):
    return values[ALLOC_BYTES:LIVE_BLOCKS + 1]


def blocks(count, live=None, size=PAGE):
    """The same four of count blocks, of which so many are alive."""
    live = count if live is None else live
    return [count * size, count, live * size, live]


def fib(n):
    if n < 2:
        return
    fib(n - 1)
    fib(n - 2)


space = {}
exec(compile('def at(kept, i, text):\n    kept[i] = b"x" * text\n', '', 'exec'), space)
TELLER = space['at'].__code__


def teller(number, path='/heap/teller_%d.py'):
    """A function at_N whose one allocation is on line N, of a file teller_N: fresh code each time."""
    names = {name: 'at_%d' % number for name in ('co_name', 'co_qualname') if hasattr(TELLER, name)}
    return types.FunctionType(TELLER.replace(co_filename=path % number, co_firstlineno=number - 1, **names), {})


def tell(count, rng, kept):
    """Code that comes, allocates one block that stays, and goes."""
    for i in range(count):
        teller(2 + rng.randrange(500))(kept, i, PAGE - HEADER)


def true_names(profile, traced=bind.FREE_THREADED):
    """Every row of such a function is told with its own line and file. Returns the live blocks of all. What CPython makes
    when it enters a function is at the line of its def: the frame objects that trace functions are given, and, in
    free-threaded builds, each thread's copy of the instructions."""
    count = 0
    for row in profile.top(group=bind.GROUP_LINE):
        if row.name.startswith('at_'):
            number = int(row.name[3:])
            if row.self[ALLOC_BLOCKS] or row.self[LIVE_BLOCKS]:
                bind.equal(row.file, '/heap/teller_%d.py' % number, 'file of ' + row.name)
                bind.check(row.line == number or traced and row.line == number - 1, '%s is at line %d', row.name, row.line)
                bind.check(traced or row.self[LIVE_BYTES] == row.self[LIVE_BLOCKS] * PAGE, 'bytes at ' + row.name)
                count += row.self[LIVE_BYTES] // PAGE * (row.line == number)
        elif 'teller_' in (row.file or ''):
            bind.check(row.name == '<module>', 'a function %s in %s', row.name, row.file)
    return count


def find(session, address):
    found = bind.Allocation()
    bind.call('find_allocation', session.token, address, byref(found), lib=bind.held)
    return found
