"""The heap tracker against an allocator that counts by itself (tests/heap_count.c), and against code that knows what
it allocates.

Exact mode is compared to the byte and to the block, both sides read in one call that holds the GIL. In free-threaded
builds, and where other threads may run, only what stands still is compared.
"""
import asyncio
import collections
import contextlib
import ctypes
import gc
import inspect
import itertools
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from ctypes import POINTER, Structure, byref, c_double, c_int, c_int64, c_long, c_size_t, c_uint32, c_uint64, c_void_p

import bind

ALLOC_BYTES, ALLOC_BLOCKS, LIVE_BYTES, LIVE_BLOCKS, PEAK_BYTES, PEAK_BLOCKS, TEMP_BLOCKS = range(10, 17)
LIVE_AGE_MS = 21
ALLOC_DOUBT, LIVE_DOUBT = 29, 30
OFF, SAMPLED, EXACT = range(3)
STATE_OFF, STATE_PENDING, STATE_ON, STATE_LOST = range(4)
RAW, MEM, OBJ = range(3)
GROWTH_STEADY, GROWTH_PLATEAU, GROWTH_GROWING, GROWTH_UNSURE = range(4)
EVENT_HOOKS_LOST = 2
FILE = sys._getframe().f_code.co_filename   # as profiles tell it: 3.8 keeps the path as it was given
with open(FILE, encoding='utf-8') as source:
    SOURCE = source.readlines()   # as it runs: who edits the file meanwhile moves the lines that inspect finds later
PAGE = 1000   # what a block made by keep() is asked for
HEADER = sys.getsizeof(b'')   # of a bytes object; the rest is its text


# --- libheap_count.so -------------------------------------------------------------------------------------------------


class Reading(Structure):
    _fields_ = [('ours', bind.DomainTotal * 4), ('counted', bind.DomainTotal * 4), ('our_sizes', c_int64 * 48),
                ('counted_sizes', c_int64 * 48), ('our_total', bind.METRICS), ('stats', bind.Stats),
                ('counted_peak', c_int64)]


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
    bind.equal(session.stats().heap_state, STATE_ON, 'heap state')
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
    first = function.__code__.co_firstlineno
    lines = inspect.getblock(SOURCE[first - 1:])
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


@contextlib.contextmanager
def running(target, *arguments, name=None, count=1):
    threads = [threading.Thread(target=target, args=arguments, name=name) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()


def numbers(values):
    return (c_uint32 * len(values))(*values)


# --- a: exact to the byte ---------------------------------------------------------------------------------------------


@bind.test
def nothing_is_asked_of_the_counter_twice():
    """The counting allocator by itself: what Python allocates and frees balances."""
    held.install()
    held.count()
    gc.collect()
    before = read()
    kept = shelf(1000)
    keep(kept)
    middle = read()
    kept = None
    after = read()
    grown = middle.counted[OBJ].live_blocks - before.counted[OBJ].live_blocks
    bind.check(1000 <= grown < 1020, '%d blocks of 1000', grown)
    bind.check(abs(after.counted[OBJ].live_blocks - before.counted[OBJ].live_blocks) < 20, 'not all is freed')


@bind.test
def a_few_blocks_are_counted_to_the_byte():
    held.install()
    session = start_counted()
    agree(session, 'at once')
    kept = shelf(100)
    keep(kept)
    agree(session, 'kept')
    kept = None
    agree(session, 'freed')
    sane(session.stop())


@bind.test
def tables_that_grow():
    """Blocks enough for every part of the table to grow several times; half of them go, in another order than they came."""
    held.install()
    session = start_counted()
    runs = [held.take(domain, 40, 100000) for domain in (RAW, MEM, OBJ, OBJ)]
    agree(session, 'all')
    held.give(runs.pop(1))
    held.give(runs.pop())
    agree(session, 'half')
    for run in runs:
        held.give(run)
    agree(session, 'none')
    sane(session.stop())


@bind.test
def every_kind_of_call_in_every_domain():
    """Zero bytes, NULL, realloc to zero, calloc that overflows, calls that fail."""
    held.install()
    session = start_counted()
    for domain in RAW, MEM, OBJ:
        for seed in range(5):
            storm = held.storm_new(seed, 50)
            held.storm(storm, 2000, 1 << domain, 1)
            agree(session, 'domain %d' % domain)
            held.storm_end(storm)
            agree(session, 'domain %d, freed' % domain)
    r = agree(session)
    bind.equal(r.stats.heap_peak_bytes, r.counted_peak, 'the peak')
    sane(session.stop())


def storms(threads, steps, rounds=3):
    """So many Python threads and as many that CPython does not know; agree at every quiet moment."""
    session = start_counted()

    def work(storm, domains):
        for _ in range(steps // 250):
            held.storm(storm, 250, domains, 1)

    def work_without(storm):
        for _ in range(steps // 250):
            released.storm(storm, 250, 1, 1)

    for turn in range(rounds):
        all_storms = [released.storm_new(100 * turn + i, 500) for i in range(threads)]
        with contextlib.ExitStack() as stack:
            for i, storm in enumerate(all_storms):
                stack.enter_context(running(work_without, storm) if i % 4 == 3 else running(work, storm, 7))
            held.threads(threads, 1000 * turn, steps, 1)
            released.threads_join()
        agree(session, 'round %d' % turn)
        held.threads_free()
        for storm in all_storms:
            held.storm_end(storm)
        gc.collect()
        agree(session, 'round %d, freed' % turn)
    sane(session.stop())


@bind.test(limit=180)
def a_storm_of_eight_threads():
    held.install()
    storms(4, 20000)


@bind.test(limit=180)
def a_storm_after_the_host_allocated_for_long():
    """Blocks from before that are freed or grow while we look on: nobody knew them."""
    held.install()
    storm = held.storm_new(5, 5000)
    held.storm(storm, 20000, 7, 0)
    taken = held.take(OBJ, 40, 100000)
    session = start_counted()
    held.storm(storm, 20000, 7, 1)
    agree(session, 'mixed')
    held.give(taken)
    agree(session, 'the old ones are freed')
    held.storm_end(storm)
    agree(session, 'all are freed')
    session.stop()


@bind.test
def pausing_and_going_on():
    """While it pauses new blocks are not noted, frees are seen; afterwards blocks of both kinds are freed."""
    session = start()
    first, second, third = shelf(100), shelf(50), shelf(25)
    keep(first)
    session.pause()
    keep(second)
    del first[60:]
    session.resume()
    keep(third)
    bind.equal(four(at(session.snapshot(), keep)), blocks(125, 85), 'first, without the freed, and third')
    second = None
    bind.equal(four(at(session.snapshot(), keep)), blocks(125, 85), 'second was never seen')
    first = third = None
    profile = session.stop()
    bind.equal(four(at(profile, keep)), blocks(125, 0), 'all are freed')
    sane(profile)


@bind.test
def a_reset_keeps_what_lives():
    session = start()
    first, second = shelf(100), shelf(30)
    keep(first)
    session.reset()
    bind.equal(four(at(session.snapshot(), keep)), [0, 0, 100 * PAGE, 100], 'after reset')
    keep(second)
    del first[40:]
    bind.equal(four(at(session.snapshot(reset=1), keep)), [30 * PAGE, 30, 70 * PAGE, 70], 'snapshot with reset')
    first = None
    profile = session.stop()
    bind.equal(four(at(profile, keep)), [0, 0, 30 * PAGE, 30], 'at the end')
    sane(profile)


@bind.test
def two_sessions_share_the_tracker():
    first = start()
    kept, more = shelf(100), shelf(50)
    keep(kept)
    second = start(rate_hz=10)
    keep(more)
    bind.fails(bind.BUSY, 'heap', bind.Session, heap=SAMPLED)
    bind.fails(bind.BUSY, 'heap', bind.Session, bind.held, heap=SAMPLED, heap_interval_bytes=4096)
    with bind.record() as other:   # without memory it may join
        pass
    bind.equal(other.profile.info().heap, OFF, 'heap of a session that did not ask')
    bind.equal(four(at(first.stop(), keep)), blocks(150), 'the first')
    del more[10:]
    values = four(at(second.stop(), keep))
    bind.equal(values[:2], [50 * PAGE, 50], 'allocated in the second')
    bind.check(values[2:] in ([10 * PAGE, 10], [110 * PAGE, 110]), 'live in the second: %r', values)
    sampled = start(SAMPLED, heap_interval_bytes=4096)
    bind.fails(bind.BUSY, 'heap', bind.Session, heap=SAMPLED, heap_interval_bytes=8192)
    bind.fails(bind.BUSY, 'heap', bind.Session, heap=EXACT)
    sampled.stop()


# --- b: sampled, without bias -----------------------------------------------------------------------------------------

INTERVAL = 2048
EACH = 8 << 20   # bytes a pattern allocates in a session


def filled(sizes):
    """These sizes, over and over, until they are EACH bytes."""
    result, total = [], 0
    for size in itertools.cycle(sizes):
        if total >= EACH:
            return result
        result.append(size)
        total += size


def patterns():
    rng = random.Random(1)
    return {
        'small': filled([64]),
        'as_the_interval': filled([INTERVAL]),
        'one_and_many': filled([8, 4 * INTERVAL - 8]),
        'sawtooth': filled([INTERVAL * i // 8 for i in range(1, 16)]),
        'mixed': filled([int(2 ** rng.uniform(3, 15)) for _ in range(2000)]),
    }


def spread(sizes):
    """The variance of the estimates of bytes and of blocks when each byte is hit by chance, one in INTERVAL."""
    chance = [(size, -math.expm1(-size / INTERVAL)) for size in sizes]
    return sum(s * s * (1 - p) / p for s, p in chance), sum((1 - p) / p for _, p in chance)


def small(sizes):
    return held.run(OBJ, sizes, len(sizes), 2)


def as_the_interval(sizes):
    return held.run(MEM, sizes, len(sizes), 2)


def one_and_many(sizes):
    return held.run(RAW, sizes, len(sizes), 2)


def sawtooth(sizes):
    return held.run(OBJ, sizes, len(sizes), 2)


def mixed(sizes):
    return held.run(OBJ, sizes, len(sizes), 2)


def close(estimates, truth, variance, what):
    """The mean of the estimates is the truth, and they are spread as chance does it."""
    count = len(estimates)
    mean = sum(estimates) / count
    deviation = math.sqrt(sum((e - mean) ** 2 for e in estimates) / (count - 1))
    sigma = math.sqrt(variance)
    print('%-30s mean error %+.3f %%, standard deviation %.3f %% (theory %.3f)' % (
        what, 100 * (mean / truth - 1), 100 * deviation / truth, 100 * sigma / truth))
    limit = 4.5 * sigma / math.sqrt(count)
    bind.near(mean, truth, 0, min(limit, 0.005 * truth) if limit < 0.006 * truth else limit, what)
    bind.near(deviation, sigma, 0.25, what='the spread of ' + what)


def covered(pairs, truth, what):
    """How often the truth is within the errors told: about 95 of 100 times, also where blocks are larger than the interval."""
    inside = sum(abs(estimate - truth) <= 1.96 * math.sqrt(INTERVAL * doubt) for estimate, doubt in pairs)
    print('%-30s %d of %d cover the truth' % (what, inside, len(pairs)))
    bind.check(0.88 <= inside / len(pairs) <= 0.995, '%s: %d of %d cover the truth', what, inside, len(pairs))


@bind.test(limit=300)
def sampling_is_without_bias():
    """200 sessions: patterns whose period is that of the sampling, sizes far below it and far above."""
    sizes = {name: numbers(values) for name, values in patterns().items()}
    work = [globals()[name] for name in sizes]
    estimates = {name: [] for name in sizes}
    doubts = {name: [] for name in sizes}
    for _ in range(200):
        session = start(SAMPLED, heap_interval_bytes=INTERVAL, rate_hz=1)
        runs = [function(sizes[function.__name__]) for function in work]
        profile = session.stop()
        for run in runs:
            held.give(run)
        found = {row.name: row.self for row in profile.top(group=bind.GROUP_FUNCTION)}
        for name in sizes:
            estimates[name].append(found[name][ALLOC_BYTES:LIVE_BLOCKS + 1])
            doubts[name].append((found[name][ALLOC_DOUBT], found[name][LIVE_DOUBT]))
    bind.equal(profile.info().heap_interval_bytes, INTERVAL, 'heap_interval_bytes')
    for name, values in sizes.items():
        whole, kept = list(values), list(values)[::2]
        for i, (part, what) in enumerate([(whole, 'bytes'), (whole, 'blocks'), (kept, 'live bytes'), (kept, 'live blocks')]):
            truth = len(part) if i % 2 else sum(part)
            close([e[i] for e in estimates[name]], truth, spread(part)[i % 2], '%s, %s' % (name, what))
            if i % 2 == 0:
                covered([(e[i], d[i // 2]) for e, d in zip(estimates[name], doubts[name])], truth, '%s, %s' % (name, what))


@bind.test(limit=120)
def sampled_blocks_that_grow():
    """realloc counts as a free and an allocation."""
    steps = filled([100, 5000, 300, 20000, 64])
    sizes = numbers(steps)

    def resized():
        held.resize(RAW, sizes, len(sizes))

    estimates = []
    for _ in range(60):
        session = start(SAMPLED, heap_interval_bytes=INTERVAL, rate_hz=1)
        resized()
        profile = session.stop()
        found = {row.name: row.self for row in profile.top(group=bind.GROUP_FUNCTION)}['resized']
        estimates.append(found)
        bind.equal(found[LIVE_BLOCKS], 0, 'live blocks')
    close([e[ALLOC_BYTES] for e in estimates], sum(steps), spread(steps)[0], 'bytes')
    close([e[ALLOC_BLOCKS] for e in estimates], len(steps), spread(steps)[1], 'blocks')


@bind.test
def sampled_lines_in_tens_of_thousands():
    """The doubts of each line are its own, however many there are; those of blocks that others free go, too."""
    lines, interval, code = 20000, 1000, {}
    text = 'def f%d():\n' + '    kept.append(b"x" * size)\n' * 100 + 'f%d()\n'
    body = compile(''.join(text % (i, i) for i in range(lines // 100)), 'lines.py', 'exec')
    missed = math.exp(-3)   # of blocks of three intervals
    for goes in 0, lines // 2:
        code.update(size=3 * interval - bytes.__basicsize__, kept=[])
        session = start(SAMPLED, heap_interval_bytes=interval, rate_hz=1)
        exec(body, code)
        thread = threading.Thread(target=code['kept'].__delitem__, args=[slice(0, goes)])
        thread.start()
        thread.join()
        time.sleep(0.4)   # for marks
        found = [row.self for row in session.stop().top(group=bind.GROUP_LINE) if row.file == 'lines.py']
        found = [row for row in found if 3 * interval < row[LIVE_BYTES] < 4 * interval]
        bind.near(len(found), (1 - missed) * (lines - goes), 0.02, 0, 'lines')
        doubt = sum(row[LIVE_DOUBT] for row in found) / sum(row[LIVE_BYTES] for row in found)
        bind.near(doubt, 3 * missed / (1 - missed), 0.01, 0, 'the part of them in doubt')


@bind.test
def sampled_totals_agree():
    """The tree, the totals, the domains and the statistics tell one story; what was freed is gone."""
    sizes = numbers(patterns()['mixed'])
    expected = sum(-math.expm1(-size / INTERVAL) for size in sizes)
    session = start(SAMPLED, heap_interval_bytes=INTERVAL)
    runs = [held.run(domain, sizes, len(sizes), 2) for domain in (RAW, MEM, OBJ)]
    profile, stats = session.snapshot(), session.stats()
    total, info = sane(profile), profile.info()
    for i, metric in enumerate([ALLOC_BYTES, ALLOC_BLOCKS, LIVE_BYTES, LIVE_BLOCKS]):   # blocks are rounded, node by node
        bind.near(sum(row[i] for row in table(info.domains)), total[metric], 0, i % 2 * info.nodes, 'sum of the domains')
    bind.near(stats.heap_samples, 3 * expected, 0.1, what='blocks noted')
    for domain in RAW, MEM, OBJ:
        bind.near(info.domains[domain].alloc_bytes, sum(sizes), 0.1, what='bytes of domain %d' % domain)
        bind.near(info.domains[domain].live_bytes, sum(list(sizes)[::2]), 0.1, what='live bytes of domain %d' % domain)
    for run in runs:
        held.give(run)
    after = session.stop().info().total
    bind.check(after[LIVE_BYTES] < total[LIVE_BYTES] / 20, '%d live bytes are left', after[LIVE_BYTES])


@bind.test
def the_default_interval():
    session = start(SAMPLED)
    info = session.stop().info()
    bind.equal((info.heap, info.heap_interval_bytes), (SAMPLED, 512 << 10), 'mode and interval')
    bind.equal(start(EXACT).stop().info().heap, EXACT, 'mode')


# --- c: nothing that was not there ------------------------------------------------------------------------------------


def fib(n):
    if n < 2:
        return
    fib(n - 1)
    fib(n - 2)


@bind.test
def recursion_allocates_nothing():
    """21,891 calls: what CPython itself allocates for frames, the counter knows."""
    gc.disable()   # it empties the list of free frames
    held.install()
    held.count()
    fib(20)
    before = read().counted[:3]
    fib(20)
    plain = sum(a.alloc_blocks - b.alloc_blocks for a, b in zip(read().counted[:3], before))
    session = start_counted()
    fib(20)
    before = agree(session, 'once')
    fib(20)
    after = agree(session, 'twice')
    grown = after.our_total[ALLOC_BLOCKS] - before.our_total[ALLOC_BLOCKS]
    print('%d blocks, without the tracker %d' % (grown, plain))
    bind.check(grown < plain + 400, '%d blocks; without the tracker %d', grown, plain)   # reading takes some, too
    bind.check(grown < 1000, '%d blocks of 21,891 calls', grown)
    found = rows(session.stop(), bind.GROUP_FUNCTION)
    bind.check(sum(values[ALLOC_BLOCKS] for (name, _), values in found.items() if name == 'fib') < 200, 'fib: %r', found)


# --- d: leaks ---------------------------------------------------------------------------------------------------------

LEAKED = []


def leak_small(kept, begin):
    text = 100 - HEADER
    for i in range(begin, begin + 50):
        kept[i] = b'x' * text   # here


def leak_large(kept, begin):
    text = 70000 - HEADER
    for i in range(begin, begin + 5):
        kept[i] = b'x' * text   # here


def no_leak():
    for text in range(50, 5000, 50):
        kept = b'x' * text   # here
    return len(kept)


def fill_cache(cache, turn):
    text = PAGE - HEADER
    for i in range(500 if turn == 0 else 0):
        cache[i] = b'x' * text   # here


@bind.test(limit=120)
def leaks_are_found_where_they_are():
    turns = 40
    kept_small, kept_large, cache = shelf(50 * turns), shelf(5 * turns), dict.fromkeys(range(500))
    session = start()
    for turn in range(turns):
        leak_small(kept_small, 50 * turn)
        leak_large(kept_large, 5 * turn)
        no_leak()
        fill_cache(cache, turn)
        session.snapshot().free()
        time.sleep(0.1)
    profile = session.stop()
    bind.equal(four(at(profile, leak_small)), blocks(50 * turns, size=100), 'leak_small')
    bind.equal(four(at(profile, leak_large)), blocks(5 * turns, size=70000), 'leak_large')
    bind.equal(four(at(profile, fill_cache))[3], 500, 'blocks in the cache')
    bind.equal(four(at(profile, no_leak))[1:], [99 * turns, 0, 0], 'no_leak')
    top = profile.top(group=bind.GROUP_LINE, sort=LIVE_BLOCKS)
    bind.equal([(row.name, row.line, row.file) for row in top[:2]],
               [('leak_small', line(leak_small), FILE), ('fill_cache', line(fill_cache), FILE)], 'most live blocks')
    check_leaks(profile.leaks(), turns)


def check_leaks(leaks, turns):
    told = {(leak.name.decode(), leak.line): leak for leak in leaks}
    print([(key, leak.growth, leak.live_blocks, leak.grown_bytes) for key, leak in told.items()])
    for function, count, size in (leak_small, 50 * turns, 100), (leak_large, 5 * turns, 70000):
        leak = told[function.__name__, line(function)]
        bind.equal((leak.live_blocks, leak.live_bytes, leak.growth, leak.error_bytes),
                   (count, count * size, GROWTH_GROWING, 0), function.__name__)
        bind.check(count * size * 0.8 <= leak.grown_bytes <= count * size, 'grown by %d', leak.grown_bytes)
    cache = told.get(('fill_cache', line(fill_cache)))
    bind.check(cache is None or cache.growth != GROWTH_GROWING, 'a cache that is full is told as growing')
    growing = [key for key, leak in told.items() if leak.growth == GROWTH_GROWING and leak.grown_bytes > 20000]
    bind.equal(sorted(key[0] for key in growing), ['leak_large', 'leak_small'], 'growing')


TURNS = 80   # of 50 ms; the amounts are those of sampling with an interval of 4096 bytes


def leaks_little(kept, turn):
    text = 1200   # not folded into a constant then
    kept.append(b'x' * text)   # here: 24 intervals in all


def leaks_and_uses(kept, turn):
    kept.append([str(j) * 3 for j in range(60)])   # here: with temporaries


def fills_a_cache(cache, turn):
    for i in range(20):
        cache.setdefault(turn % 25, b'x' * 8000)   # here: full after 25 turns, but for what is thrown away


def replaces_in_a_cache(cache, turn):
    cache[turn % 25] = b'x' * 8000   # here


def fills_and_empties(kept, turn):
    if turn % 16 == 15:
        kept.clear()
    kept.append(b'x' * 8000)   # here


def grows_early(kept, turn):
    text = 1000 if turn == 14 else 0
    for _ in range(200 if text else 0):
        kept.append(b'x' * text)   # here


def grows_late(kept, turn):
    text = 1000 if turn == 62 else 0
    for _ in range(200 if text else 0):
        kept.append(b'x' * text)   # here


COURSES = [   # what may be told of each: sampled, exact
    (leaks_little, [GROWTH_GROWING, GROWTH_UNSURE], [GROWTH_GROWING]),
    (leaks_and_uses, [GROWTH_GROWING], [GROWTH_GROWING]),
    (fills_a_cache, [GROWTH_PLATEAU, GROWTH_UNSURE], [GROWTH_PLATEAU]),
    (replaces_in_a_cache, [GROWTH_STEADY, GROWTH_PLATEAU, GROWTH_UNSURE], [GROWTH_PLATEAU]),
    (fills_and_empties, [GROWTH_STEADY, GROWTH_UNSURE], [GROWTH_STEADY, GROWTH_UNSURE]),
    (grows_early, [GROWTH_PLATEAU, GROWTH_UNSURE], [GROWTH_PLATEAU]),
    (grows_late, [GROWTH_STEADY, GROWTH_UNSURE], [GROWTH_STEADY, GROWTH_UNSURE]),
]


def verdicts(mode):
    """Turn n happens at n * 50 ms, so that rates are what they are meant to be on a busy machine, too."""
    kept = {function: {} if 'cache' in function.__name__ else [] for function, _, _ in COURSES}
    session = start(mode, heap_interval_bytes=4096 if mode == SAMPLED else 0)
    begin = time.monotonic()
    for turn in range(TURNS):
        for function, store in kept.items():
            function(store, turn)
        time.sleep(max(0, begin + 0.05 * (turn + 1) - time.monotonic()))
    profile = session.stop()
    leaks = sorted(profile.leaks(), key=lambda leak: leak.live_bytes)   # up to 3.11 comprehensions have a name of their own
    print('mode %d: %d leaks, %d live bytes, %d samples' % (mode, len(leaks), profile.info().total[LIVE_BYTES], profile.stats().samples))
    return {leak.line: leak.growth for leak in leaks if leak.file.decode() == FILE}


def wrong_verdicts(mode):
    told = verdicts(mode)
    print(mode, [(function.__name__, told.get(line(function), GROWTH_STEADY)) for function, _, _ in COURSES])
    return {function.__name__ for function, *expected in COURSES
            if told.get(line(function), GROWTH_STEADY) not in expected[mode - SAMPLED]}


@bind.test(limit=120)
def verdicts_of_leaks_and_caches():
    """What chance tells wrongly once in a hundred times it does not tell twice."""
    for mode in SAMPLED, EXACT:
        wrong = wrong_verdicts(mode)
        wrong = wrong and wrong & wrong_verdicts(mode)
        bind.check(not wrong, 'mode %d: %r', mode, sorted(wrong))


# --- e: in and out ----------------------------------------------------------------------------------------------------


@bind.test(limit=120)
def in_and_out_a_thousand_times():
    before = allocators()
    kept = shelf(1000)
    for i in range(int(os.environ.get('SESSIONS', 1000))):
        session = start([SAMPLED, EXACT][i % 2], rate_hz=1)
        text = 600 + i % 3000
        for j in range(i % 10, 1000, 10):
            kept[j] = b'x' * text
        if i % 4 == 0:
            bind.call('stop', session.token, None, lib=bind.held)
        else:
            profile = session.stop()
            bind.check(profile.info().total[LIVE_BLOCKS] >= 0, 'live blocks')
            profile.free()
        if i % 100 == 0:
            bind.equal(allocators(), before, 'the allocators after session %d' % i)
    bind.equal(allocators(), before, 'the allocators at the end')
    bind.equal(len(bind.tasks()), 1, 'threads')


@bind.test(limit=120)
def out_and_in_without_the_gil():
    """The same from calls that released the GIL: the main thread does it when it runs Python again."""
    before = allocators()
    for i in range(100):
        session = bind.Session(bind.released, heap=EXACT, rate_hz=1)
        bind.check(session.stats().heap_state in (STATE_PENDING, STATE_ON), 'state %d', session.stats().heap_state)
        bind.eventually(lambda: session.stats().heap_state == STATE_ON, 'hooks in')
        kept = shelf(10)
        keep(kept)
        bind.equal(four(at(session.stop(), keep)), blocks(10), 'session %d' % i)
    bind.eventually(lambda: allocators() == before, 'hooks out')


def out_with_live_blocks(count):
    """Millions of blocks that the tracker knows outlive it, and another one that does not know them."""
    session = start()
    runs = [held.take(OBJ, 24, count), held.take(RAW, 24, count // 10), held.take(MEM, 24, count // 10)]
    total = session.snapshot().info().total
    bind.check(total[LIVE_BLOCKS] >= sum([count, count // 10, count // 10]), '%d live blocks', total[LIVE_BLOCKS])
    bind.equal(session.stop().stats().heap_dropped, 0, 'dropped')
    held.give(runs.pop())
    session = start()
    held.give(runs.pop())
    total = session.snapshot().info().total
    bind.check(0 <= total[LIVE_BLOCKS] < 1000, '%d live blocks', total[LIVE_BLOCKS])
    begin = time.perf_counter()
    session.stop()
    held.give(runs.pop())
    print('%d blocks; out in %.3f s with their frees' % (count, time.perf_counter() - begin))


@bind.test(limit=120)
def out_with_a_million_blocks():
    out_with_live_blocks(int(os.environ.get('BLOCKS', 1000000)))


@bind.test(limit=120)
def a_tracker_that_is_full():
    """heap_max_bytes: new blocks are not added, frees are still seen, and it is told."""
    session = start(heap_max_bytes=1 << 20)
    taken = held.take(OBJ, 32, 200000)
    stats = session.stats()
    bind.check(stats.heap_dropped > 100000, 'dropped: %r', stats)
    profile = session.snapshot()
    total = sane(profile)
    bind.check(stats.own_bytes < 256 << 20, 'own bytes: %r', stats)
    bind.check(1000 < total[LIVE_BLOCKS] < 200000, '%d live blocks', total[LIVE_BLOCKS])
    held.give(taken)
    total = session.snapshot().info().total
    bind.check(0 <= total[LIVE_BLOCKS] < 1000, '%d live blocks after all were freed', total[LIVE_BLOCKS])
    dropped = session.stats().heap_dropped
    kept = shelf(100)
    keep(kept)   # there is room again
    bind.equal(four(at(session.snapshot(), keep))[2:], [100 * PAGE, 100], 'kept')
    bind.check(session.stats().heap_dropped - dropped < 10, 'dropped though there is room')
    sane(session.stop())


# --- f: who waits for whom --------------------------------------------------------------------------------------------


@bind.test
def raw_allocations_do_not_wait_for_the_gil():
    for mode in SAMPLED, EXACT:
        session = start(mode, heap_interval_bytes=0 if mode == EXACT else 4096)
        held.spin(4)
        try:
            got = held.hold(2000, 20)
        finally:
            released.spin_end()
        print('%d rounds while the GIL was held' % got)
        bind.check(got >= 2000, 'only %d rounds while the GIL was held', got)
        sane(session.stop())


@bind.test
def start_and_stop_do_not_wait_for_the_gil():
    before = allocators()
    for _ in range(10):
        config = bind.fill(bind.Config(), heap=EXACT)
        errand = Errand(config=ctypes.pointer(config))
        code = held.elsewhere(byref(errand), 10)   # this thread holds the GIL meanwhile
        bind.equal((code, errand.state), (0, STATE_PENDING), 'start: result and state')
        stats = bind.Stats()

        def state():
            bind.call('get_stats', errand.session, byref(stats))
            return stats.heap_state
        bind.eventually(lambda: state() == STATE_ON, 'hooks in')
        kept = shelf(100)
        keep(kept)
        errand.stop = 1
        bind.equal(held.elsewhere(byref(errand), 10), 0, 'stop')
        bind.equal(four(at(bind.Profile(errand.profile), keep)), blocks(100), 'blocks')
        kept = None
        bind.eventually(lambda: allocators() == before, 'hooks out')


@bind.test
def start_and_stop_before_the_hooks_are_in():
    """Pending, and already over: nothing may come later."""
    before = allocators()
    for _ in range(50):
        config = bind.fill(bind.Config(), heap=EXACT)
        errand = Errand(config=ctypes.pointer(config))
        bind.equal(held.elsewhere(byref(errand), 10), 0, 'start')
        errand.stop = 1
        bind.equal(held.elsewhere(byref(errand), 10), 0, 'stop')
        bind.Profile(errand.profile).free()
    for _ in range(1000):
        time.sleep(0)
    bind.eventually(lambda: allocators() == before, 'hooks out')
    session = start()
    kept = shelf(10)
    keep(kept)
    bind.equal(four(at(session.stop(), keep)), blocks(10), 'a session afterwards')


@bind.test
def sessions_come_and_go_while_threads_allocate():
    before = allocators()
    sys.setswitchinterval(0.0002)
    held.spin(4)
    end = threading.Event()

    def churn():
        kept = shelf(50)
        while not end.is_set():
            keep(kept)
    try:
        with running(churn, count=2):
            try:
                for i in range(bind.length(200, 60)):
                    session = bind.Session(bind.held if i % 3 else bind.released, heap=1 + i % 2, rate_hz=1,
                                           heap_interval_bytes=0 if i % 2 else 1024)
                    time.sleep(random.random() * 0.005)
                    profile = session.stop()
                    if i % 10 == 0:
                        sane(profile)
            finally:
                end.set()
    finally:
        released.spin_end()
    bind.eventually(lambda: allocators() == before, 'hooks out')


# --- g: others that hook ----------------------------------------------------------------------------------------------


def traced(text):
    kept = b'x' * text   # here
    return kept


class Party:
    """tracemalloc (t, T: start, stop) and the tracker (p, P), in the order that a word tells."""

    def __init__(self):
        self.session, self.kept = None, []

    def step(self, letter):
        if letter == 't':
            tracemalloc.start()
        elif letter == 'T':
            tracemalloc.stop()   # it puts back what it found: if it came first, we are out
            if self.session:
                bind.eventually(lambda: self.found(traced(5000)), 'we come back')
        elif letter == 'p':
            self.session = bind.Session(bind.held, heap=EXACT)
        else:
            profile, self.session = self.session.stop(), None
            sane(profile)
            bind.check(four(at(profile, traced))[1] >= 1, 'nothing was seen')
        self.look()

    def found(self, block):
        allocation = bind.Allocation()
        try:
            bind.call('find_allocation', self.session.token, id(block), byref(allocation), lib=bind.held)
        except bind.Error as error:
            bind.equal(error.code, bind.STATE, 'result')
            return False
        bind.equal((allocation.size, allocation.domain), (5000 + HEADER, OBJ), 'size and domain that we know')
        return True

    def look(self):
        self.kept.append(traced(5000))
        if tracemalloc.is_tracing():
            where = tracemalloc.get_object_traceback(self.kept[-1])
            bind.equal(where[0].lineno, line(traced), 'the line that tracemalloc knows')
        if self.session:
            bind.check(self.found(self.kept[-1]), 'we do not see it')
        if len(self.kept) > 3:
            self.kept = self.kept[3:]   # blocks of the one are freed under the other


ORDERS = ['tTpP', 'pPtT', 'tpTP', 'tpPT', 'ptPT', 'ptTP', 'tpPpTP', 'ptPpTP', 'ptPpPT', 'pttTPtT', 'ptPTpP']


@bind.test(limit=40)
def tracemalloc_and_we_in_any_order():
    before = allocators()
    for _ in range(3):
        for order in ORDERS:
            party = Party()
            print(order)
            for letter in order:
                party.step(letter)
    party = None
    gc.collect()
    start().stop()
    bind.equal(allocators(), before, 'the allocators')
    fib(15)
    session = start()
    kept = shelf(100)
    keep(kept)
    bind.equal(four(at(session.stop(), keep)), blocks(100), 'a session after all that')


@bind.test
def hooks_that_others_take_out():
    """One who came first and goes first puts back what he had found. We notice, say so and come back."""
    for domains in 7, 1 << RAW, 1 << MEM, 1 << OBJ:
        told = []
        on_event = bind.OnEvent(fn=bind.EVENT_FN(lambda user, session, event, detail: told.append(event)))
        base = (c_size_t * 15)(*allocators())
        session = start(on_event=on_event)
        session.lib = bind.released   # the callback takes the GIL, and stop() waits for it
        kept = shelf(100)
        keep(kept)
        time.sleep(0.2)   # what is pending from the start is done
        held.put_back(base, domains)
        bind.eventually(lambda: EVENT_HOOKS_LOST in told, 'the event; domains %d' % domains, 10)
        bind.eventually(lambda: session.stats().heap_state == STATE_ON, 'hooks in again')
        for domain in RAW, MEM, OBJ:
            run = held.take(domain, 100, 10)
            find(session, held.block(run, 0))
            held.give(run)
        kept = None
        stats = session.stats()
        bind.check(b'heap' in stats.degraded, 'not told: %r', stats)
        bind.equal(sane(session.stop())[LIVE_BYTES] >= 0, True)
        bind.equal(allocators(), list(base), 'the allocators')


@bind.test(limit=30)
def tracemalloc_on_top_and_the_gil_held():
    """Its hook waits for the GIL: whoever calls it while others wait for him waits for ever."""
    for mode in EXACT, SAMPLED:
        session = start(mode)
        tracemalloc.start()
        asked = held.ask(session.token, bind.length(2.5))   # with the GIL
        tracemalloc.stop()
        print('%d answers' % asked)
        session.stop()


@bind.test
def hooks_on_top_of_ours_are_left_alone():
    """Whoever came later stays when we go; when they go and put us back, nothing is counted twice or for ever."""
    base = allocators()
    session = start()
    held.install()   # on top of ours, for ever
    on_top = allocators()
    held.count()
    kept = shelf(100)
    keep(kept)
    bind.equal(four(at(session.stop(), keep)), blocks(100), 'below another hook')
    bind.equal(allocators(), on_top, 'the hooks that came later')
    for _ in range(50):
        session = start()
        keep(kept)
        bind.equal(four(at(session.stop(), keep)), blocks(100), 'again')
    r = read()
    bind.check(r.counted[OBJ].alloc_blocks >= 5100, 'the other hook lives')
    bind.check(base != on_top, 'hooks')


def see_all(session, count=3000):
    """From now on each block is counted, once."""
    def seen():
        block, found = bytes(700) * 2, bind.Allocation()
        try:
            bind.call('find_allocation', session.token, id(block), byref(found), lib=session.lib)
        except bind.Error as error:
            return bind.equal(error.code, bind.STATE, 'result')
        return found.size == len(block) + HEADER
    bind.eventually(seen, 'the hooks are on top')
    kept = shelf(count)
    before = four(at(session.snapshot(), keep))
    keep(kept)
    after = four(at(session.snapshot(), keep))
    if not tracemalloc.is_tracing():   # its own blocks are counted, too
        bind.equal([b - a for a, b in zip(before, after)], blocks(count), 'new blocks')
    bind.equal(session.stats().heap_state, STATE_ON, 'heap state')
    return kept


POOLS = (4096, 1 << 18), (1 << 21, 1 << 22)   # limit and chunk: the second hides everything


def below_a_pool(limit, chunk):
    """The hooks go in on top of an allocator that keeps calls from them, although those below it stay where they are."""
    session = start()
    held.pool(0, limit, chunk)
    covered = [bytes(100) * 10 for _ in range(100)]
    bind.eventually(lambda: b'covered' in session.stats().degraded, 'it is told')
    kept = see_all(session)
    large = bytes(2 << 20)   # here
    profile = session.stop()
    bind.equal(four(at(profile, below_a_pool)), [len(large) + HEADER, 1] * 2, 'the large block')
    sane(profile)
    on_top = allocators()
    for _ in range(5):
        session = start()
        kept = see_all(session, 100)
        session.stop()
        bind.equal(allocators(), on_top, 'the allocators')
    return covered, kept


@bind.test
def a_pool_on_top_of_ours():
    below_a_pool(*POOLS[0])


@bind.test
def a_pool_that_hides_everything():
    below_a_pool(*POOLS[1])


@bind.test
def two_pools():
    """Each covers the hooks that went in on top of the one before."""
    session = start()
    kept = []
    for number in 0, 1:
        held.pool(number, *POOLS[number])
        kept += see_all(session)
    session.stop()
    start().stop()
    session = start()
    kept += see_all(session)
    tracemalloc.start()
    kept += see_all(session)
    tracemalloc.stop()
    kept += see_all(session)
    session.stop()


@bind.test
def a_pool_taken_off_and_put_back():
    """What was below it when it was put on is called again, although our hooks were taken out meanwhile."""
    base = allocators()
    for number in 0, 1:
        words = (c_size_t * 15)()   # of which RAW stays as it was
        session = start()
        held.pool_off(number, *(POOLS[number] + (words,)))
        session.stop()
        bind.equal(allocators(), base, 'the allocators')
        held.put_back(words, 1 << MEM | 1 << OBJ)
        bind.equal(allocators()[5:], list(words)[5:], 'the pool is back')
        session = start()
        kept = see_all(session)
        session.stop()
        bind.equal(allocators()[5:], list(words)[5:], 'the hooks went out')
        base = allocators()
    print(len(kept))


@bind.test
def a_pool_below_tracemalloc():
    """That its allocator calls what is below it each time does not tell that the call gets to us."""
    session = start()
    held.pool(0, *POOLS[1])
    tracemalloc.start()
    kept = see_all(session)
    tracemalloc.stop()
    kept += see_all(session)
    session.stop()


@bind.test
def a_pool_that_two_copies_cover():
    """Copies of the header in two shared objects, in turn: the hooks of the one stay below those of the other."""
    with bind.folder() as folder:
        path = os.path.join(folder, 'libcopy.so')
        shutil.copy(bind.LIBRARY, path)
        copy = bind._load(lambda _: ctypes.PyDLL(path))
    kept = []
    for number in 0, 1:
        session = start(lib=copy)
        held.pool(number, *POOLS[number])
        kept += see_all(session)
        session.stop()
        session = start()
        kept += see_all(session)
        session.stop()


@bind.test
def allocators_in_a_circle():
    """Who puts an allocator on top of hooks that are on top of it: the calls come to an end, and it is told."""
    start().stop()
    session = start()
    held.pool(0, *POOLS[0])
    see_all(session)
    address = held.circle(0, 5000)
    bind.check(address, "CPython's own allocator was known")
    bind.eventually(lambda: b'without end' in session.stats().degraded, 'it is told')
    see_all(session)
    session.stop()
    see_all(start())


@bind.test
def allocators_in_a_circle_of_others():
    """The same, where no other allocator is known: there is no memory."""
    held.pool(0, *POOLS[0])
    session = start()
    bind.equal(held.circle(0, 5000), None, 'the block')
    bind.eventually(lambda: b'without end' in session.stats().degraded, 'it is told')
    see_all(session)
    session.stop()


def again(name, **environment):
    """That test, in a process with this environment."""
    process = subprocess.Popen([sys.executable, os.path.abspath(FILE), bind.BUILD, '--run', name], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env=dict(os.environ, **environment))
    try:
        said, _ = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError('%s with %r hangs' % (name, environment))
    bind.check(process.returncode == 0, '%s with %r: exit code %d\n%s', name, environment, process.returncode,
               said.decode('utf-8', 'replace'))


def allocators_there_are():
    names = ['malloc', 'malloc_debug', 'debug']
    return names + (['mimalloc', 'mimalloc_debug'] if bind.FREE_THREADED else ['pymalloc', 'pymalloc_debug'])


@bind.test(limit=300)
def with_every_pythonmalloc():
    for name in bind.several(*allocators_there_are()[::-1]):
        if bind.FREE_THREADED and not name.startswith(('mimalloc', 'debug')):
            continue   # these builds know no other
        for test in ('a_few_blocks_are_counted_to_the_byte', 'every_kind_of_call_in_every_domain', 'a_storm_of_eight_threads',
                     'in_and_out_a_thousand_times', 'pausing_and_going_on'):
            print(name, test)
            sys.stdout.flush()
            again(test, PYTHONMALLOC=name, SESSIONS=str(bind.length(100, 20)))


@bind.test(limit=120)
def with_tracemalloc_from_the_start():
    for test in bind.several('in_and_out_a_thousand_times', 'pausing_and_going_on', 'out_and_in_without_the_gil'):
        again(test, PYTHONTRACEMALLOC='5', SESSIONS=str(bind.length(200, 50)))


# --- h: finalize and again --------------------------------------------------------------------------------------------


def embedded(mode, count):
    program = os.path.join(bind.BUILD, 'heap_embed')
    if not os.path.exists(program):
        bind.skip('no libpython to link with')
    process = subprocess.Popen([program, mode, str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said, errors = process.communicate(timeout=50)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError('heap_embed %s hangs' % mode)
    bind.equal((process.returncode, errors.decode()), (0, ''), 'exit status and messages of heap_embed ' + mode)
    return {name: int(value) for name, value in (word.split('=') for word in said.decode().split())}


@bind.test
def a_session_in_each_life():
    embedded('lives', 12)


@bind.test
def a_session_across_lives():
    count = 6
    told = embedded('across', count)
    print(told)
    bind.equal(told['seen'] + told['lost'], count, 'lives whose allocations were seen, or told to be lost')
    bind.check(told['seen'] >= 1, 'nothing was seen')
    if sys.version_info >= (3, 12):
        bind.check(told['events'] >= 1, 'nobody was told that the hooks were lost')
    else:
        bind.equal((told['events'], told['lost']), (0, 0), 'events and lives lost')


@bind.test
def a_session_before_the_first_life():
    embedded('early', 1)


@bind.test
def a_session_between_lives():
    embedded('late', 5)


@bind.test(limit=60)
def sessions_beside_lives_that_end():
    """No call is asked of an interpreter that is ending or not yet up: it would print, run Python code, or crash."""
    embedded('beside', 12)


# --- i: fork ----------------------------------------------------------------------------------------------------------


def in_child(function, *arguments):
    """Runs it in a forked child, which must end well within 20 seconds."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            function(*arguments)
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + 20
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return bind.equal(status, 0, 'exit status of the child')
        if time.monotonic() > end:
            os.kill(pid, signal.SIGABRT)   # faulthandler tells where it is
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError('the child hangs')
        time.sleep(0.001)


def child_allocates(session, i):
    kept = shelf(200)
    keep(kept)
    gc.collect()
    held.give(held.take(RAW, 100, 1000))
    bind.fails(bind.STATE, [], session.stats)   # the parent's
    if i % 4 == 0:
        own = start(1 + i // 4 % 2)
        keep(kept)
        profile = own.stop()
        if i // 4 % 2:
            bind.equal(four(at(profile, keep))[:2], [200 * PAGE, 200], 'in the child')
        sane(profile)
    kept = None
    gc.collect()


def forks(count, mode):
    warnings.simplefilter('ignore', DeprecationWarning)   # fork with threads: that is what is tested
    end = threading.Event()

    def churn():
        kept = shelf(50)
        while not end.is_set():
            keep(kept, 900)
            time.sleep(0)
    session = start(mode, heap_interval_bytes=1024 if mode == SAMPLED else 0)
    if mode == EXACT:
        mine = shelf(100)
        keep(mine)
    held.spin(4)   # they hold locks of the tracker at any time: they do not wait for the GIL
    with running(churn, count=8):
        try:
            for i in range(count):
                in_child(child_allocates, session, i)
        finally:
            end.set()
            released.spin_end()
    profile = session.stop()
    sane(profile)
    bind.equal(profile.info().pid, os.getpid(), 'pid')
    if mode == EXACT:
        bind.equal(four(at(profile, keep, thread='MainThread')), blocks(100), 'in the parent')


@bind.test(limit=240)
def forks_while_eight_threads_allocate():
    forks(bind.length(100, 15), EXACT)


@bind.test(limit=240, long=True)
def forks_while_eight_threads_allocate_sampled():
    forks(100, SAMPLED)


def square(x):
    kept = shelf(100)
    keep(kept)
    return x * x


@bind.test(limit=120)
def multiprocessing_by_fork():
    warnings.simplefilter('ignore', DeprecationWarning)
    session = start()
    with multiprocessing.get_context('fork').Pool(3) as pool:
        bind.equal(pool.map(square, range(50)), [x * x for x in range(50)], 'results')
    profile = session.stop()
    bind.equal(four(at(profile, keep)), [0, 0, 0, 0], 'what the children allocated')
    sane(profile)


@bind.test(limit=120)
def a_child_that_ends_as_programs_do():
    """Py_Finalize with the hooks still in, in the child and in the parent."""
    source = '\n'.join([
        'import os, sys, threading',
        'sys.argv = ["x", %r]' % bind.BUILD, 'sys.path.insert(0, %r)' % os.path.dirname(os.path.abspath(FILE)),
        'import bind',
        'session = bind.Session(bind.held, heap=2)',
        'kept = [b"x" * 1000 for _ in range(1000)]',
        'pid = os.fork()',
        'more = [b"x" * 1000 for _ in range(1000)]',
        'if pid: sys.exit(os.waitpid(pid, 0)[1])'])
    for _ in range(5):
        process = subprocess.run([sys.executable, '-W', 'ignore', '-c', source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        bind.equal((process.returncode, process.stdout.decode()), (0, ''), 'exit status and messages')


# --- j: hosts that do odd things --------------------------------------------------------------------------------------

# Each function's name tells the line on which it allocates: whatever lies about names or lines is caught. The tests of
# this part fill in the files' names, too, which tell the same.


def teller(number, path='/heap/teller_%d.py'):
    """A function at_N whose one allocation is on line N, of a file teller_N: fresh code each time."""
    source = '\n' * (number - 2) + 'def at_%d(kept, i, text):\n    kept[i] = b"x" * text\n' % number
    space = {}
    exec(compile(source, path % number, 'exec'), space)
    return space['at_%d' % number]


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


@bind.test(limit=120)
def names_of_code_that_is_gone():
    kept = [shelf(5000) for _ in range(4)]
    session = start()
    with contextlib.ExitStack() as stack:
        for i in range(1, 4):
            stack.enter_context(running(tell, 5000, random.Random(i), kept[i]))
        tell(5000, random.Random(0), kept[0])
    gc.collect()
    bind.equal(true_names(session.snapshot()), 20000, 'live blocks at lines of code that is gone')
    for shelf_of_one in kept:
        del shelf_of_one[2500:]
    profile = session.stop()
    bind.equal(true_names(profile), 10000, 'half of them')
    sane(profile)


WIDE = bind.length(3000, 1000)   # lines that allocate, and nothing else


def wide(number):
    body = ''.join('    kept[%d] = b"x" * text\n' % i for i in range(WIDE))
    space = {}
    exec(compile('def wide_%d(kept, text):\n%s' % (number, body), '/heap/wide_%d.py' % number, 'exec'), space)
    return space['wide_%d' % number]


@bind.test(limit=120)
def snapshots_while_stacks_are_new():
    """Whoever reads the tree while it grows sees whole nodes only: nothing gets lost, and nothing stands in a wrong place."""
    sys.setswitchinterval(0.0002)
    functions, kept, done = [wide(i) for i in range(40)], [shelf(WIDE) for _ in range(2)], threading.Event()
    session = start(timeline_s=-1)

    def look():
        pointer = c_void_p()
        while not done.is_set():
            bind.call('snapshot', session.token, None, byref(pointer))   # without the GIL
            bind.released.profile_free(pointer.value)

    def run(which):
        for function in functions[which::2]:
            function(kept[which], PAGE - HEADER)
    with running(look):
        try:
            with running(run, 1):
                run(0)
        finally:
            done.set()
    profile = session.stop()
    every = profile.top(200000, group=bind.GROUP_LINE)
    found = {(row.name, row.line): row.self[ALLOC_BLOCKS] for row in every
             if row.name.startswith('wide_') and row.line > 1}
    bind.equal({key: count for key, count in found.items() if count != 1}, {}, 'lines with more or fewer blocks than one')
    bind.equal(len(found), 40 * WIDE, 'lines')
    total, domains = profile.info().total, table(profile.info().domains)
    bind.equal([sum(column) for column in zip(*domains)], four(list(total)), 'the domains and the tree')


@bind.test(limit=120)
def names_of_code_that_is_gone_sampled():
    kept = shelf(5000)
    session = start(SAMPLED, heap_interval_bytes=500)
    tell(5000, random.Random(0), kept)
    profile = session.stop()
    found = 0
    for row in profile.top(group=bind.GROUP_LINE):
        if row.name.startswith('at_') and row.self[LIVE_BLOCKS]:
            bind.equal((str(row.line), row.file), (row.name[3:], '/heap/teller_%s.py' % row.name[3:]), 'line of ' + row.name)
            found += row.self[LIVE_BLOCKS]
    bind.near(found, 5000, 0.1, what='live blocks')


@bind.test(limit=120)
def under_trace_and_profile_functions():
    """A debugger, a coverage tool and a profiler of the host's own, which allocate themselves, in every thread."""
    seen, kept = [], [shelf(300) for _ in range(3)]

    def trace(frame, event, argument):
        seen.append((event, frame.f_lineno, 'x%d' % len(seen)))
        if len(seen) > 1000:
            del seen[:]
        return trace

    def profile_function(frame, event, argument):
        seen.append([event] * 3)

    session = start()
    threading.settrace(trace)
    threading.setprofile(profile_function)
    sys.settrace(trace)
    sys.setprofile(profile_function)
    try:
        with running(tell, 300, random.Random(1), kept[1]), running(tell, 300, random.Random(2), kept[2]):
            tell(300, random.Random(0), kept[0])
    finally:
        sys.settrace(None)
        sys.setprofile(None)
        threading.settrace(None)
        threading.setprofile(None)
    profile = session.stop()
    bind.equal(true_names(profile, traced=True), 900, 'live blocks')
    sane(profile)


@bind.test
def under_monitoring():
    """sys.monitoring, as new coverage tools use it: instrumented code has other instructions."""
    if sys.version_info < (3, 12):
        bind.skip('there is no sys.monitoring')
    monitoring, kept, seen = sys.monitoring, shelf(300), []
    monitoring.use_tool_id(2, 'test')
    for event in monitoring.events.LINE, monitoring.events.PY_START, monitoring.events.CALL:
        monitoring.register_callback(2, event, lambda *arguments: seen.append(str(len(seen))))
    session = start()
    monitoring.set_events(2, monitoring.events.LINE | monitoring.events.PY_START | monitoring.events.CALL)
    try:
        tell(300, random.Random(0), kept)
    finally:
        monitoring.set_events(2, 0)
        monitoring.free_tool_id(2)
    bind.equal(true_names(session.stop(), traced=True), 300, 'live blocks')


def generate(kept):
    text = PAGE - HEADER
    for i in range(len(kept)):
        kept[i] = b'x' * text   # here
        yield i


async def co_keep(kept):
    text = PAGE - HEADER
    for i in range(len(kept)):
        kept[i] = b'x' * text   # here
        await asyncio.sleep(0)


def consume(kept):
    for _ in generate(kept):
        pass


def stacks(profile, name, metric=LIVE_BLOCKS):
    """{names from the root: value} of the stacks that end in a function of that name"""
    found = {}
    for item in profile.visit(bind.ITEM_STACK):
        if item.stack[-1].name == name and item.self[metric]:
            key = tuple(frame.name for frame in item.stack)
            found[key] = found.get(key, 0) + item.self[metric]
    return found


@bind.test
def generators_and_coroutines():
    kept, first, second = shelf(100), shelf(50), shelf(50)

    async def both():
        await asyncio.gather(co_keep(first), co_keep(second))

    session = start()
    consume(kept)
    asyncio.new_event_loop().run_until_complete(both())
    profile = session.stop()
    bind.equal(four(at(profile, generate)), blocks(100), 'the generator')
    bind.equal(four(at(profile, co_keep)), blocks(100), 'the coroutines')
    for key in stacks(profile, 'generate'):
        bind.equal(key[-2:], ('consume', 'generate'), 'who called the generator')
    sane(profile)


def dig(depth, kept):
    if depth:
        return dig(depth - 1, kept)
    keep(kept)


def deep(max_depth, expected):
    """expected: frames of dig that are kept, at least"""
    kept = shelf(50)
    session = start(max_depth=max_depth)
    thread = threading.Thread(target=dig, args=(5000, kept))
    thread.start()
    thread.join()
    profile = session.stop()
    bind.equal(four(at(profile, keep)), blocks(50), 'at the bottom')
    found = [item.stack for item in profile.visit(bind.ITEM_STACK, function='keep') if item.self[LIVE_BLOCKS] >= 10]
    bind.equal(len(found), 1, 'stacks of keep')
    names = [frame.name for frame in found[0]]
    print(max_depth, len(names), names[:3])
    bind.equal(names[-1], 'keep', 'the innermost')
    bind.check(len(names) <= (max_depth or 1024) + 1, '%d frames', len(names))
    bind.check(names.count('dig') >= expected - 1, '%d frames of dig: %r ...', names.count('dig'), names[:3])
    bind.check(names.count('dig') == 5001 or names[0] == '<truncated>', 'cut, but untold: %r', names[:3])


@bind.test(limit=120)
def deep_recursion():
    sys.setrecursionlimit(20000)
    threading.stack_size(256 << 20)
    deep(8000, 3 * 1024)   # three quarters of 4096
    deep(0, 3 * 256)
    deep(16, 12)


def fork_of(level):
    return level * 2654435761 >> 13 & 3


def climb(level, top, kept, sides):
    """Goes up to a level, by one of four calls on each, and comes back; now and then makes a detour on the way."""
    kept[0][level] = b'x' * (PAGE - HEADER)   # up
    if level < top:
        way = fork_of(level)
        if way == 0:
            climb(level + 1, top, kept, sides)   # 0
        elif way == 1:
            climb(level + 1, top, kept, sides)   # 1
        elif way == 2:
            climb(level + 1, top, kept, sides)   # 2
        else:
            climb(level + 1, top, kept, sides)   # 3
        if sides and sides.pop() < 30:
            climb(level + 1, min(level + 1 + sides.pop(), 80), kept, sides)   # aside
    kept[1][level] = b'x' * (PAGE - HEADER)   # down


@bind.test
def stacks_that_are_cut_at_any_depth():
    """What is told of a stack that comes and goes around the depth allowed is the end of a true one, and long enough."""
    random_ = random.Random(5)
    kept, sides = [shelf(100), shelf(100)], [random_.randrange(100) for _ in range(250)]
    session = start(max_depth=16)
    while sides:
        climb(0, 80, kept, sides)
    profile = session.stop()
    calls = [line(climb, '# %d' % way) for way in range(4)]
    ends, aside = {line(climb, '# up'), line(climb, '# down')}, line(climb, '# aside')
    lengths = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, function='climb'):
        names = [frame.name for frame in item.stack]
        lines = [frame.line for frame in item.stack if frame.name == 'climb']
        cut = '<truncated>' in names
        below = names.index('<truncated>') + 1 if cut else 0
        if names[-1] != 'climb' or lines[-1] not in ends:
            continue
        fits = [first for first in range(81 - len(lines) + 1 if names[below] == 'climb' else 1)
                if all(at_line in (calls[fork_of(first + i)], aside) for i, at_line in enumerate(lines[:-1]))]
        bind.check(fits, 'no such stack: %r', lines)
        lengths[cut, len(names) - below] += 1
    print(sorted(lengths.items()))
    bind.check(all(12 <= length <= 16 for cut, length in lengths if cut), 'lengths: %r', lengths)
    bind.check({length for cut, length in lengths if cut} >= set(range(12, 17)), 'lengths: %r', lengths)


@bind.test
def a_deep_stack_is_not_built_anew():
    """Each allocation on a stack that is too deep once made a thousand sites of its own."""
    kept = [shelf(3000), shelf(3000)]
    sys.setrecursionlimit(20000)
    threading.stack_size(256 << 20)
    session = start()
    thread = threading.Thread(target=climb, args=(0, 2990, kept, []))
    thread.start()
    thread.join()
    profile = session.stop()
    bind.equal(profile.stats().degraded, b'', 'degraded')
    bind.equal(profile.info().total[LIVE_BLOCKS] >= 2 * 2991, True, 'all are there')


@bind.test
def greenlets():
    try:
        import greenlet
    except ImportError:
        bind.skip('greenlet is not installed')
    kept, others = shelf(100), []

    def work(i):
        for j in range(10):
            teller(10 + i)(kept, 10 * i + j, PAGE - HEADER)
            others[(i + 1) % 10].switch(*([(i + 1) % 10] if j == 0 else []))

    session = start()
    others.extend(greenlet.greenlet(work) for _ in range(10))
    others[0].switch(0)
    bind.equal(true_names(session.stop()), sum(place is not None for place in kept), 'live blocks')


IN_ANOTHER = """
import os
def keep(count):
    kept = [None] * count
    for i in range(count):
        kept[i] = b'x' * (4000 + i %% 2)   # not a constant
    return kept
kept = keep(%d)
os.write(%d, b'.')
os.read(%d, 1)
del kept
"""


def named(profile, name, metric, **query):
    return sum(row.self[metric] for row in profile.top(group=bind.GROUP_FUNCTION, **query) if row.name == name)


@bind.test
def other_interpreters():
    """Four at once, from 3.12 on each with a GIL of its own: what they keep is theirs, and is gone when they end."""
    module, ready, go = bind.interpreters_module(), os.pipe(), os.pipe()
    ids = [module.create() for _ in range(4)]
    session = start()
    source = IN_ANOTHER % (1000, ready[1], go[0])
    runners = [threading.Thread(target=module.run_string, args=(id, source), daemon=True) for id in ids]
    for runner in runners:
        runner.start()
    for _ in ids:
        os.read(ready[0], 1)
    profile = session.snapshot()
    blocks = named(profile, 'keep', LIVE_BLOCKS)
    bind.check(4000 <= blocks <= 4040, '%d live blocks', blocks)   # and each list
    bind.check(named(profile, 'keep', LIVE_BYTES) > 4000 * 4000, 'live bytes')
    kept_by = [row.self[LIVE_BLOCKS] for row in profile.top(group=bind.GROUP_THREAD) if row.self[LIVE_BLOCKS] >= 1000]
    bind.equal(len(kept_by), 4, 'threads that keep 1000 blocks')
    os.write(go[1], b'....')
    for runner in runners:
        runner.join()
    for id in ids:
        module.destroy(id)
    profile = session.stop()
    sane(profile)
    bind.check(named(profile, 'keep', LIVE_BLOCKS) < 100, 'live blocks after their end')
    bind.check(named(profile, 'keep', ALLOC_BLOCKS) >= 4000, 'allocated blocks')


@bind.test
def threads_that_are_filtered():
    """thread_filter is for memory, too; the totals of the process are not filtered."""
    kept = [shelf(100), shelf(100)]
    session = start(thread_filter=b'wanted*')

    def work(kept):
        ident = threading.get_ident()
        thread = threading._active.pop(ident)   # nobody can learn its name at first
        keep(kept)
        time.sleep(0.5)
        threading._active[ident] = thread
        time.sleep(0.5)

    with running(work, kept[0], name='wanted 1'), running(work, kept[1], name='other'):
        pass
    bind.eventually(lambda: at(session.snapshot(), keep)[LIVE_BLOCKS] == 100, 'the blocks of one thread')
    profile = session.stop()
    bind.equal({thread.name for thread in profile.threads() if thread.total[LIVE_BLOCKS]}, {'wanted 1'}, 'threads')
    bind.check(profile.info().domains[OBJ].live_blocks >= 200, 'live blocks of the process')


# --- k: our own memory runs out ---------------------------------------------------------------------------------------


def short_of_memory(first, last, mode):
    """A whole session whose own allocations number first to last fail. True if it began."""
    own = bind.Allocator(alloc=ctypes.cast(held.library.heap_own_alloc, bind.ALLOC_FN),
                         free=ctypes.cast(held.library.heap_own_free, bind.FREE_FN))
    held.fail(first, last)
    try:
        session = bind.Session(bind.held, heap=mode, allocator=own, heap_interval_bytes=0 if mode == EXACT else 512)
    except bind.Error as error:
        bind.check(error.code in (bind.MEMORY, bind.BUDGET), 'start: %s', error)
        return False
    kept = shelf(300)
    tell(300, random.Random(first), kept)
    with running(keep, shelf(100), name='another'):
        pass
    held.stranger(50, 200)
    held.stranger_free()
    for _ in range(2):
        try:
            session.snapshot(reset=1)
        except bind.Error as error:
            bind.check(error.code in (bind.MEMORY, bind.BUDGET), 'snapshot: %s', error)
    kept = None
    stats = session.stats()
    try:
        profile = session.stop()
        bind.check(min(profile.info().total) >= 0, 'negative totals')
        for row in profile.top(group=bind.GROUP_LINE):
            if row.name.startswith('at_') and row.self[ALLOC_BLOCKS]:
                bind.equal(row.name, 'at_%d' % row.line, 'a name')
        profile.free()
    except bind.Error as error:
        bind.check(error.code in (bind.MEMORY, bind.BUDGET), 'stop: %s; %r', error, stats)
    return True


def every_failure(mode):
    before = allocators()
    began = 0
    number = 1
    while True:
        began += short_of_memory(number, number, mode)
        if held.asked() < number:
            break
        short_of_memory(number, 1 << 40, mode)   # and all that follow
        number += 1 if number < bind.length(150, 50) else number // 20
        bind.check(number < 100000, 'no end')
    bind.eventually(lambda: allocators() == before, 'hooks out')
    bind.eventually(lambda: held.out() == 0, 'all that was allocated is given back')
    print('%d allocations can fail; %d sessions began' % (number - 1, began))
    session = start(mode)
    kept = shelf(100)
    keep(kept)
    profile = session.stop()
    if mode == EXACT:
        bind.equal(four(at(profile, keep)), blocks(100), 'afterwards')


@bind.test(limit=240)
def every_allocation_of_our_own_fails():
    every_failure(EXACT)


@bind.test(limit=240, long=True)
def every_allocation_of_our_own_fails_sampled():
    every_failure(SAMPLED)


@bind.test
def a_small_budget():
    """max_bytes: it degrades and says so; nothing is wrong, and frees are seen."""
    session = start(max_bytes=4 << 20)
    kept = shelf(20000)
    rng = random.Random(3)
    for i in range(20000):
        teller(2 + i)(kept, i, PAGE - HEADER)
    profile = session.snapshot()
    stats = session.stats()
    print(stats)
    bind.check(stats.own_bytes <= (4 << 20) + (64 << 20), 'own bytes: %r', stats)
    bind.check(stats.heap_dropped or stats.degraded or true_names(profile) == 20000, 'nothing is told: %r', stats)
    sane(profile)
    true_names(profile)
    kept = rng = None
    total = session.stop().info().total
    bind.check(0 <= total[LIVE_BYTES] < 10 << 20, '%d live bytes', total[LIVE_BYTES])


# --- l: questions -----------------------------------------------------------------------------------------------------


def find(session, address):
    found = bind.Allocation()
    bind.call('find_allocation', session.token, address, byref(found), lib=bind.held)
    return found


def take_of(domain, size, count=10):
    return held.take(domain, size, count)   # here


@bind.test
def finding_an_allocation():
    session = start()
    for domain, size in (RAW, 100), (MEM, 200), (OBJ, 40), (OBJ, 100000), (RAW, 1 << 20), (MEM, 3000), (OBJ, 1):
        before = time.time()
        run = take_of(domain, size)
        for i in range(10):
            address = held.block(run, i)
            for inside in {0, size // 2, size - 1}:
                found = find(session, address + inside)
                bind.equal((found.address, found.size, found.domain), (address, size, domain), 'block, %d inside' % inside)
                bind.equal(found.where.decode(), '%s:%d in take_of' % (FILE, line(take_of)), 'where')
                bind.equal(found.thread_id, threading.get_native_id(), 'thread')
                bind.check(before - 1 <= found.timestamp <= time.time() + 1, 'when: %r, not %r', found.timestamp, before)
        held.give(run)
        with contextlib.suppress(bind.Error):   # it may be another's already
            bind.check(find(session, address).where != found.where, 'a block that is free')
    run = take_of(RAW, 10 << 20, 1)
    address = held.block(run, 0)
    held.give(run)
    bind.fails(bind.STATE, [], find, session, address)
    bind.fails(bind.STATE, [], find, session, 1)
    bind.fails(bind.STATE, [], find, session, id(type))
    kept = []
    with running(lambda: kept.append(take_of(RAW, 64)), name='other') as threads:
        pass
    found = find(session, held.block(kept[0], 3))
    if sys.version_info >= (3, 8):
        bind.equal(found.thread_id, threads[0].native_id, 'thread that ended')
    stranger = held.stranger(5, 300)
    bind.check(stranger != threading.get_native_id(), 'a thread of its own')
    held.stranger_free()
    session.stop()
    bind.fails(bind.STATE, [], find, session, held.block(kept[0], 3))
    held.give(kept[0])
    session = bind.Session(bind.held)
    bind.fails(bind.STATE, [], find, session, id(type))
    session.stop()


@bind.test
def finding_a_sampled_allocation():
    session = start(SAMPLED, heap_interval_bytes=1000)
    run = take_of(OBJ, 500, 1000)
    known = 0
    for i in range(1000):
        try:
            found = find(session, held.block(run, i))
        except bind.Error as error:
            bind.equal(error.code, bind.STATE, 'result')
            continue
        bind.equal((found.size, found.domain), (500, OBJ), 'size and domain')
        bind.equal(found.where.decode(), '%s:%d in take_of' % (FILE, line(take_of)), 'where')
        known += 1
    bind.check(250 < known < 550, '%d of 1000 blocks are known, not 393', known)
    held.give(run)
    session.stop()


def peak_f(count):
    kept = shelf(count)
    for i in range(count):
        kept[i] = b'x' * 10000   # here
    return kept


def peak_g(count):
    kept = shelf(count)
    for i in range(count):
        kept[i] = b'x' * 10000   # here
    return kept


def innermost(kept, i, text=PAGE - HEADER):
    kept[i] = b'x' * text   # here


def between(kept, i):
    innermost(kept, i)


def goes_on(kept):
    between(kept, 0)   # first
    between(kept, 1)   # second
    for i in range(2, 9):
        between(kept, i)   # third


@bind.test
def callers_that_move_on():
    """The frames are the same ones and stand where they stood, but for one of the callers."""
    kept = shelf(9)
    session = start()
    goes_on(kept)
    profile, found = session.stop(), collections.Counter()
    for item in profile.visit(bind.ITEM_STACK):
        for frame in item.stack:   # a first call can allocate for the interpreter itself
            if frame.name == 'goes_on' and item.stack[-1].line == line(innermost):
                found[frame.line] += item.self[LIVE_BLOCKS]
    lines = [line(goes_on, '# ' + mark) for mark in ('first', 'second', 'third')]
    bind.equal([found[at] for at in lines], [1, 1, 7], 'blocks by the line of the caller')


@bind.test
def ages():
    session, kept, young = start(), shelf(100), shelf(100)
    times = [time.monotonic()]
    for places in kept, young:
        keep(places)
        times.append(time.monotonic())
        time.sleep(1 if places is kept else 0)
    values = at(session.snapshot(), keep)
    times.append(time.monotonic())
    least, most = (times[2] - times[1]) * 500, (times[3] - times[0]) * 1000   # of two ages, the younger of which is about 0
    mean = values[LIVE_AGE_MS] / values[LIVE_BLOCKS]
    bind.check(least - 50 <= mean <= most, 'mean age %g ms, expected %g to %g', mean, least, most)


@bind.test
def the_high_water_mark():
    held.install()
    session = start_counted()
    size = 10000 + HEADER
    kept = peak_f(5000)
    kept = None
    kept = peak_g(1000)
    profile = session.snapshot()
    bind.equal(at(profile, peak_f)[PEAK_BYTES:PEAK_BLOCKS + 1], [5000 * size, 5000], 'f at the high-water mark')
    bind.equal(at(profile, peak_g)[PEAK_BYTES:PEAK_BLOCKS + 1], [0, 0], 'g at the high-water mark')
    r = agree(session)
    total = sane(profile)
    bind.equal((r.stats.heap_peak_bytes, total[PEAK_BYTES]), (r.counted_peak, r.counted_peak), 'the peak')
    bind.check(profile.info().start <= profile.info().peak_time <= time.time(), 'when: %r', profile.info().peak_time)
    reset_peak(session)
    more = peak_g(200)
    kept = None
    profile = session.stop()
    bind.equal(at(profile, peak_f)[PEAK_BLOCKS], 0, 'f after reset_peak')
    bind.equal(at(profile, peak_g)[PEAK_BYTES:PEAK_BLOCKS + 1], [1200 * size, 1200], 'g after reset_peak')
    bind.check(1200 * size <= profile.stats().heap_peak_bytes < 1400 * size, 'peak: %r', profile.stats())
    bind.equal(len(more), 200, 'more')
    total = sane(profile)
    bind.equal(total[PEAK_BYTES], profile.stats().heap_peak_bytes, 'the sum')


def reset_peak(session):
    function = session.lib.pyprof_reset_peak
    function.argtypes = [c_void_p]
    bind.equal(function(session.token), 0, 'pyprof_reset_peak')


@bind.test
def a_high_water_mark_that_comes_often():
    """A sawtooth that rises: at each new peak the stacks change."""
    held.install()
    session = start_counted()
    for turn in range(1, 30):
        f, g = peak_f(10 * turn), peak_g(300 - 10 * turn)
        f = None
        g = peak_g(5 * turn)
        if turn % 7 == 0:
            r = agree(session, 'turn %d' % turn)
            total = sane(session.snapshot())
            bind.equal((r.stats.heap_peak_bytes, total[PEAK_BYTES]), (r.counted_peak, r.counted_peak), 'the peak')
    bind.check(f is None and g, 'kept')
    sane(session.stop())


@bind.test
def peaks_of_many_threads():
    """Each thread's part of the peak, freed by others."""
    session = start(rate_hz=1000)
    ready, kept, go = threading.Barrier(5), [None] * 4, threading.Event()

    def work(i):
        kept[i] = peak_f(200)
        ready.wait()
        while not go.wait(0.01):   # until the threads' names are known
            pass
    with contextlib.ExitStack() as stack:
        stack.callback(go.set)
        for i in range(4):
            stack.enter_context(running(work, i, name='peak %d' % i))
        stack.callback(go.set)
        ready.wait()
        names = {'peak %d' % i for i in range(4)}
        bind.eventually(lambda: names <= {thread.name for thread in session.snapshot().threads()}, 'names')
        with running(kept.__delitem__, slice(0, 2)):
            pass
        del kept[:]
    profile = session.stop()
    for i in range(4):
        values = at(profile, peak_f, thread='peak %d' % i)
        bind.equal(values[PEAK_BLOCKS], 200, 'blocks of thread %d at the peak' % i)
        bind.equal(values[LIVE_BLOCKS], 0, 'live blocks of thread %d' % i)
    # threads tell of what they allocated 16 KiB at a time
    bind.near(sane(profile)[PEAK_BYTES], profile.stats().heap_peak_bytes, 0, 5 * 16384, 'the sum')


def passing():
    text = PAGE - HEADER
    for _ in itertools.repeat(None, 1000):
        b'x' * text   # here


def lasting(ring):
    text = PAGE - HEADER
    for i in itertools.islice(itertools.cycle(range(len(ring))), 1000):
        ring[i] = b'x' * text   # here


def after(others):
    return held.temporary(OBJ, 100, others)   # here


def after_3():
    return held.temporary(OBJ, 100, 3)   # here


def after_4():
    return held.temporary(OBJ, 100, 4)   # here


@bind.test
def blocks_that_live_for_a_moment():
    session = start()
    passing()
    lasting(shelf(10))
    runs = [after_3(), after_4()]
    profile = session.stop()
    bind.equal(at(profile, passing)[TEMP_BLOCKS], 1000, 'freed at once')
    bind.check(at(profile, lasting)[TEMP_BLOCKS] <= 4, 'freed after ten others: %d', at(profile, lasting)[TEMP_BLOCKS])
    three, four_others = at(profile, after_3)[TEMP_BLOCKS], at(profile, after_4)[TEMP_BLOCKS]
    bind.check(100 <= three < 110, 'freed before four more: %d', three)
    bind.check(four_others < 10, 'freed after four more: %d', four_others)
    sane(profile)
    for run in runs:
        held.give(run)


# --- m: threads -------------------------------------------------------------------------------------------------------


@bind.test
def blocks_belong_to_the_thread_that_allocated():
    kept = [shelf(100), shelf(70), shelf(30)]
    session = start(rate_hz=1000)
    ready, go = threading.Barrier(4), threading.Event()

    def work(i):
        keep(kept[i])
        ready.wait()
        if i == 1:
            del kept[0][40:]   # those of the thread 0
        while not go.wait(0.01):
            pass
    with running(work, 0, name='zero'), running(work, 1, name='one'), running(work, 2, name='two'):
        try:
            ready.wait()
            bind.eventually(lambda: {'zero', 'one', 'two'} <= {thread.name for thread in session.snapshot().threads()}, 'names')
            # in free-threaded builds the owner frees them, when it gets to it
            bind.eventually(lambda: at(session.snapshot(), keep, thread='zero')[LIVE_BLOCKS] == 40, 'freed')
            profile = session.snapshot()
            for i, (name, live) in enumerate([('zero', 40), ('one', 70), ('two', 30)]):
                bind.equal(four(at(profile, keep, thread=name)), blocks([100, 70, 30][i], live), 'thread ' + name)
        finally:
            go.set()
    del kept[2][:]
    profile = session.stop()
    for i, (name, live) in enumerate([('zero', 40), ('one', 70), ('two', 0)]):   # they have ended
        bind.equal(four(at(profile, keep, thread=name)), blocks([100, 70, 30][i], live), 'ended thread ' + name)
    total = {thread.name: thread.total for thread in profile.threads()}
    for name, live in ('zero', 40), ('one', 70), ('two', 0):
        bind.check(live <= total[name][LIVE_BLOCKS] <= live + 60, 'total of %s: %d', name, total[name][LIVE_BLOCKS])
    sane(profile)


@bind.test
def threads_that_come_and_go():
    """Hundreds of threads, many with the identity of one before; each leaves one block. Nobody samples most of them."""
    kept, ids = shelf(500), shelf(500)
    session = start()

    def work(i):
        ids[i] = threading.get_native_id()
        teller(2 + i)(kept, i, PAGE - HEADER)
    for i in range(0, 500, 5):
        with contextlib.ExitStack() as stack:
            for j in range(5):
                stack.enter_context(running(work, i + j, name='t%d' % (i + j)))
    profile = session.stop()
    bind.equal(true_names(profile), 500, 'live blocks')
    wrong, others = [], {'t%d' % i for i in range(500)}
    for item in profile.visit(bind.ITEM_STACK):
        if item.stack[-1].name.startswith('at_') and item.self[LIVE_BLOCKS]:
            number = int(item.stack[-1].name[3:]) - 2
            if item.thread.thread_id != ids[number] or item.thread.name in others and item.thread.name != 't%d' % number:
                wrong.append((item.thread, ids[number], number))
    bind.equal(wrong, [], 'threads and blocks that do not belong together')
    sane(profile)


@bind.test
def a_thread_that_python_does_not_know():
    session = start()
    tid = held.stranger(50, 700)
    profile = session.snapshot()
    mine = [item for item in profile.visit(bind.ITEM_STACK) if item.thread.thread_id == tid and item.self[LIVE_BLOCKS]]
    bind.equal([(item.self[LIVE_BLOCKS], item.self[LIVE_BYTES]) for item in mine], [(50, 35000)], 'blocks of the thread')
    bind.check(all(frame.kind == bind.KIND_PSEUDO or frame.kind == bind.KIND_NATIVE for item in mine for frame in item.stack),
               'a stack without Python: %r', mine)
    held.stranger_free()
    profile = session.stop()
    mine = [item.self for item in profile.visit(bind.ITEM_STACK) if item.thread.thread_id == tid]
    bind.equal([sum(values[metric] for values in mine) for metric in (ALLOC_BLOCKS, LIVE_BLOCKS)], [50, 0], 'freed')
    sane(profile)


if __name__ == '__main__':
    bind.run()
