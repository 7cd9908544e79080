"""What threads do in a sample, against what the programs know of themselves (states.py): who runs with the GIL, who
without, who waits for whom; Python or C; collections, imports, exceptions; the facts of the process.
"""
import collections
import contextlib
import gc
import hashlib
import importlib
import mmap
import os
import queue
import random
import re
import resource
import select
import sys
import tempfile
import threading
import time
import zlib

import bind
from bind import (CPU_NS, CPU_WAIT_NS, EXCEPTIONS, GIL_BLOCK_NS, GIL_NS, GIL_WAIT_NS, IDLE_NS, NATIVE_NS, NOGIL_NS,
                  SAMPLES, WAIT_NS, WAIT_SAMPLES, WALL_NS)
from states import GIL, POINTS, Worker, clock, matching, nap, recorded, runs, same, spin, time_in, told

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'oracle'))

import hogs   # noqa: E402

FILE = os.path.abspath(__file__)
TIMES = [WALL_NS, CPU_NS, GIL_BLOCK_NS] + list(bind.STATES.values())
LONG_S = bind.length(4, 2)   # seconds of a recording whose shares are compared
COLUMNS = TIMES + [SAMPLES, WAIT_SAMPLES, EXCEPTIONS]


def line_of(function, words):
    """The number of the line of it that holds these words."""
    with open(FILE) as file:
        lines = file.read().split('\n')
    first = function.__code__.co_firstlineno
    return next(number for number in range(first, len(lines)) if words in lines[number - 1])


# --- who runs, who waits ------------------------------------------------------------------------------------------------


def spinner_and_sleepers(seconds, **config):
    spinner, sleepers = Worker('spinner', spin, seconds), [Worker('sleeper %d' % i, nap, seconds) for i in range(3)]
    profile = recorded(spinner, *sleepers, **config)
    of = profile.shares('spinner')
    halted = 0.0
    if config.get('capture') == bind.CAPTURE_SIGNAL:   # in the signal handler: not running, and not kept from a CPU
        halted = max(0.0, 1 - (spinner.cpu + spinner.delay) / spinner.wall)
    spinner.blur += halted
    runs(profile, spinner)
    same(of['gil'], 1 if GIL else 0, 'how long the spinner has the GIL', halted)
    for state in ('gil_wait', 'idle', 'nogil', 'native'):
        same(of[state], 0, 'the spinner, ' + state, halted)
    for sleeper in sleepers:
        of = profile.shares(sleeper.name)
        for state, truth in (('wait', 1), ('idle', 1), ('gil', 0), ('gil_wait', 0), ('native', 0), ('cpu_wait', 0)):
            same(of[state], truth, '%s, %s' % (sleeper.name, state))
        leaves = profile.leaves(sleeper.name)
        same(leaves['[sleep]'] / sum(leaves.values()), 1, 'leaf [sleep] of %s, of %r' % (sleeper.name, dict(leaves)))
        same(time_in(profile, sleeper.name, 'nap', last=True) / sleeper.wall, 1, 'nap, where it sleeps')
    return profile


@bind.test
def one_spinner_and_three_sleepers():
    profile = spinner_and_sleepers(bind.length(5, 2.5))
    bind.equal({frame.kind for item in profile.visit(bind.ITEM_STACK, leaves=True) for frame in item.stack if frame.name == '[sleep]'},
               {bind.KIND_WAIT}, 'the kind of [sleep]')


for _name, _mode in (('copy', bind.CAPTURE_COPY), ('signal', bind.CAPTURE_SIGNAL)):
    bind.test(lambda mode=_mode: spinner_and_sleepers(2, capture=mode), name='one_spinner_and_three_sleepers_' + _name, long=True)


BUFFER = bytes(16 << 20)


def nap_and_work(seconds, sleep, work):
    end = clock() + seconds
    while clock() < end:
        time.sleep(sleep)
        spin(work)


@bind.test(limit=90)
def naps_beside_busy_processes():
    """How long a thread slept, ran and waited for a CPU is what the kernel counts, to 3 points, however short the spells are, at
    100 Hz, and although the sampler gets its own CPU late."""
    with hogs.hogs(True, each=2, apart=True):
        for sleep, work in ((0.002, 0), (0.005, 0.005), (0.02, 0.01)):
            worker = Worker('napper', nap_and_work, LONG_S, sleep, work)
            profile = recorded(worker, rate_hz=100)
            if not worker.delay:
                bind.skip('this system does not count how long a thread waits for a CPU')
            of = profile.shares('napper')
            same(of['cpu_wait'], worker.delay / worker.wall, 'how much it waits for a CPU')
            same(of['idle'], 1 - (worker.cpu + worker.delay) / worker.wall, 'how much it sleeps')


def wait_briefly(seconds, wait):
    end = clock() + seconds
    while clock() < end:
        wait()


def timed_waits():
    lock = threading.Lock()
    lock.acquire()
    reader, writer = os.pipe()
    return {'[sleep': lambda: time.sleep(0.00001), '[futex': lambda: lock.acquire(timeout=0.00001),
            '[poll': lambda: select.select([reader], [], [], 0.00001)}, (reader, writer)


def short_waits(**config):
    """The timer of a tick ends every wait of its CPU that is due within the 50 us by which the kernel may be late, so that ticks
    find no thread in such waits. Their kind and their time are told all the same."""
    waits, files = timed_waits()
    for leaf, wait in waits.items():
        worker = Worker('worker', wait_briefly, 1.5, wait)
        profile = recorded(worker, rate_hz=100, **config)
        of, leaves = profile.shares('worker'), profile.leaves('worker')
        same(of['unknown'], 0, '%s: the worker, unknown' % leaf)
        same(of['gil_wait'], 0, '%s: the worker, waits for the GIL' % leaf)
        same(of['idle'] if leaf == '[sleep' else of['wait'] - of['cpu_wait'], 1 - (worker.cpu + worker.delay) / worker.wall,
             '%s: how much it waits, but not for a CPU' % leaf)
        there = sum(time for name, time in leaves.items() if name.startswith(leaf))
        same(there / sum(leaves.values()), 1 - (worker.cpu + worker.delay) / worker.wall, '%s, of %r' % (leaf, dict(leaves)))
    for file in files:
        os.close(file)


@bind.test
def short_waits_have_their_names():
    short_waits()


@bind.test(long=True, limit=90)
def short_waits_beside_busy_processes():
    with hogs.hogs(True, each=2, apart=True):
        short_waits()


def produce(seconds, shared, consumers):
    end = clock() + seconds
    while clock() < end:
        time.sleep(0.002)
        shared.put(1)
    for _ in range(consumers):
        shared.put(None)


def consume(shared):
    while shared.get():
        for _ in range(20000):
            pass


@bind.test(limit=90)
def a_queue_beside_busy_processes():
    """Each thread waits for work, for the GIL and for a CPU, in short spells: it does not wait longer for a CPU than the kernel
    counts, and sleeps no longer than remains."""
    shared = queue.Queue(10)
    with hogs.hogs(True, each=2, apart=True):
        workers = [Worker('producer', produce, LONG_S, shared, 3)] + [Worker('consumer %d' % i, consume, shared) for i in range(3)]
        profile = recorded(*workers, rate_hz=100)
    for worker in workers:
        if not worker.delay:
            bind.skip('this system does not count how long a thread waits for a CPU')
        of, cpu, delay = profile.shares(worker.name), worker.cpu / worker.wall, worker.delay / worker.wall
        bind.enough(of['cpu_wait'] < delay + POINTS, '%s waits for a CPU: %.3f', worker.name, of['cpu_wait'])
        bind.enough(of['cpu_wait'] + of['gil_wait'] > delay - POINTS, '%s waits for GIL and CPU: %.3f', worker.name,
                    of['cpu_wait'] + of['gil_wait'])
        bind.enough(of['idle'] < 1 - cpu - delay + POINTS, '%s sleeps: %.3f', worker.name, of['idle'])


def hash_on(seconds):
    """CPU time and time in the hash function, which lets go of the GIL."""
    cpu = inside = 0
    end = clock() + seconds
    while clock() < end:
        begin, used = clock(), time.thread_time()
        hashlib.sha512(BUFFER)
        cpu, inside = cpu + time.thread_time() - used, inside + clock() - begin
    return cpu, inside


@bind.test
def a_hasher_beside_a_spinner():
    hasher, spinner = Worker('hasher', hash_on, LONG_S), Worker('spinner', spin, LONG_S)
    profile = recorded(hasher, spinner)
    cpu, inside = hasher.result
    of = profile.shares('hasher')
    runs(profile, hasher)
    same(of['native'], cpu / hasher.wall, 'how much of it in C', hasher.blur)
    same(of['wait'], (inside - cpu) / hasher.wall, 'how much it waits', hasher.blur)
    if GIL:
        same(of['nogil'], cpu / hasher.wall, 'how much of it without the GIL', hasher.blur)
        same(of['gil'], 0, 'how much the hasher has the GIL')
        same(of['gil_wait'] + of['cpu_wait'], (inside - cpu) / hasher.wall, 'how much it waits for the GIL', hasher.blur)
    leaves = profile.leaves('hasher', 'hash_on')
    named = matching(leaves, r'<native>( .*sha512)?')
    same(named / 1e9 / hasher.wall, cpu / hasher.wall, 'the leaf of sha512, of %r' % dict(leaves), hasher.blur)
    of = profile.shares('spinner')
    runs(profile, spinner)
    same(of['gil'] + of['gil_wait'], 1 if GIL else 0, 'the spinner, with or waiting for the GIL', spinner.blur)
    same(of['nogil'], 0, 'the spinner, without it')
    if GIL:
        bind.enough(of['gil'] > 0.9, 'the spinner has the GIL %.3f of the time', of['gil'])


def fight(seconds):
    spin(seconds)


def fighters(count, seconds):
    workers = [Worker('fighter %d' % i, fight, seconds) for i in range(count)]
    profile = recorded(*workers)
    names = {worker.name for worker in workers}
    pairs = collections.Counter()
    for item in profile.visit(bind.ITEM_GIL):
        pairs[item.thread.name, item.other.name] += item.self[GIL_WAIT_NS] / 1e9
        bind.check(item.thread.thread_id != item.other.thread_id, 'a thread that waits for itself: %s', item.thread.name)
    print({pair: round(seconds, 3) for pair, seconds in sorted(pairs.items())})
    of = {worker.name: profile.shares(worker.name) for worker in workers}
    for worker in workers:
        one = of[worker.name]
        runs(profile, worker)
        # every 5 ms it wakes up to ask for the GIL, and that takes a CPU
        asks = sum(item.self[CPU_WAIT_NS] for item in profile.visit(bind.ITEM_STATE) if item.thread.name == worker.name and not item.self[GIL_NS])
        same(one['gil'] + one['gil_wait'] + (asks / 1e9 / worker.wall if GIL else 0), 1 if GIL else 0, worker.name + ', with and waiting for the GIL',
             worker.blur)
        same(one['nogil'], 0, worker.name + ', without it', worker.blur)
    if not GIL:
        bind.equal((dict(pairs), profile.visit(bind.ITEM_HOLD), profile.info().total[GIL_BLOCK_NS]), ({}, [], 0), 'fights for no GIL')
        return
    same(sum(one['gil'] for one in of.values()), 1, 'one has it at any time', workers[0].blur)
    bind.check(set(name for pair in pairs for name in pair) <= names | {'MainThread'}, 'pairs of others: %r', dict(pairs))
    for worker in workers:
        total = profile.thread(worker.name).total
        waits = sum(seconds for pair, seconds in pairs.items() if pair[0] == worker.name)
        blocks = sum(seconds for pair, seconds in pairs.items() if pair[1] == worker.name)
        same(waits / worker.wall, of[worker.name]['gil_wait'], 'the pairs in which %s waits' % worker.name, worker.blur)
        same(total[GIL_BLOCK_NS] / 1e9 / worker.wall, blocks / worker.wall, 'GIL_BLOCK of %s, and its pairs' % worker.name)
        for other in names - {worker.name}:
            bind.enough(pairs[worker.name, other] > 0, '%s never waits for %s', worker.name, other)
        leaves = profile.leaves(worker.name)
        same(leaves['[GIL]'] / 1e9 / worker.wall, of[worker.name]['gil_wait'], 'leaf [GIL] of %s, of %r' % (worker.name, dict(leaves)))
        same(time_in(profile, worker.name, 'spin', GIL_WAIT_NS, last=True) / worker.wall, of[worker.name]['gil_wait'], 'where it waits')
    if count == 2:   # one's wait is the other's blame; both are about as long
        for one, other in (workers, workers[::-1]):
            same(profile.thread(one.name).total[GIL_BLOCK_NS] / 1e9 / one.wall, of[other.name]['gil_wait'], 'blame of ' + one.name, one.blur)
        bind.near(pairs['fighter 0', 'fighter 1'], pairs['fighter 1', 'fighter 0'], 0.3, 0.1, 'the blame of both')


@bind.test(long=True)
def two_fight_for_the_gil():
    fighters(2, 4)


@bind.test
def four_fight_for_the_gil():
    fighters(4, LONG_S)


def grab(numbers):
    """One C call that never lets go of the GIL."""
    return sum(numbers)   # grabbed here


def grab_on(seconds, numbers):
    """[(CPU time, wall time, when it ended)]: somebody may get the GIL before the clock is read."""
    took, end = [], clock() + seconds
    while clock() < end:
        nap(0.2)
        begin, used = clock(), time.thread_time()
        grab(numbers)
        took.append((time.thread_time() - used, clock() - begin, time.time()))
    return took


@bind.test
def a_long_hold():
    if not GIL:
        bind.skip('no GIL')
    begin = time.thread_time()
    sum(range(1000000))
    numbers = range(int(0.35e6 / (time.thread_time() - begin)))
    hog = Worker('hog', grab_on, LONG_S, numbers)
    profile = recorded(hog, Worker('waiter 1', spin, LONG_S), Worker('waiter 2', spin, LONG_S))
    least, most, ended = max(hog.result)
    slack = 0.004 + profile.stats().late_max_ns / 1e9
    holds = {item.thread.name: item for item in profile.visit(bind.ITEM_HOLD)}
    hold = holds['hog'].self[GIL_NS] / 1e9
    print('%d times, the longest %.4f to %.4f s; told: %.4f; the waiters: %r' % (
        len(hog.result), least, most, hold, {name: item.self[GIL_NS] / 1e9 for name, item in holds.items()}))
    bind.enough(least - slack <= hold <= max(wall for _, wall, _ in hog.result) + slack, 'the longest hold is %.4f s, not %.4f to %.4f',
                hold, least, most)
    bind.enough(any(abs(holds['hog'].timestamp - end) < slack + 0.05 for _, _, end in hog.result), 'it ended at %.3f, not at one of %r',
                holds['hog'].timestamp, [round(end, 3) for _, _, end in hog.result])
    frame, line = holds['hog'].stack[-1], line_of(grab, '# grabbed here')
    bind.equal((frame.name, os.path.abspath(frame.file), frame.line), ('grab', FILE, line), 'where it was held')
    rows = profile.top(group=bind.GROUP_LINE, sort=GIL_BLOCK_NS, include_idle=1)
    print([(row.name, row.line, row.self[GIL_BLOCK_NS]) for row in rows[:4]])
    row = next(row for row in rows if row.name == 'grab' and row.line == line)
    lower, upper = (2 * sum(one[i] for one in hog.result) for i in (0, 1))
    bind.enough(0.93 * lower <= row.self[GIL_BLOCK_NS] / 1e9 <= 1.07 * upper + slack, 'GIL_BLOCK at the line: %.3f s, not %.3f to %.3f',
                row.self[GIL_BLOCK_NS] / 1e9, lower, upper)
    bind.enough(rows[0] == row, 'the first by GIL_BLOCK is %r', rows[0][:4])
    bind.enough(0.93 * lower / 2 <= row.self[GIL_NS] / 1e9 <= 1.07 * upper / 2 + slack, 'GIL at the line: %.3f s', row.self[GIL_NS] / 1e9)


# --- Python or C --------------------------------------------------------------------------------------------------------


def in_python():
    total = 0
    for i in range(400000):
        total += i & 7
    return total


def in_sorted():
    return sorted(FLOATS)


def in_zlib():
    return zlib.compress(NOISE, 6)


def in_search():
    return SEARCHED.search(LETTERS)


def in_sum():
    return sum(FLOATS)


FLOATS, NOISE, LETTERS, SEARCHED = [], b'', 'a' * 7000, re.compile('[a-z]+Q')
IN_C = {'in_sorted': 'sorted', 'in_zlib': 'compress', 'in_search': 'search', 'in_sum': 'sum'}


def in_turns(seconds):
    """{function: seconds}"""
    took, end = collections.Counter(), clock() + seconds
    while clock() < end:
        for function in (in_python, in_sorted, in_zlib, in_search, in_sum):
            begin = clock()
            function()
            took[function.__name__] += clock() - begin
    return took


def python_and_c(seconds):
    global FLOATS, NOISE
    dice = random.Random(1)
    FLOATS, NOISE = [dice.random() for _ in range(120000)], bytes(dice.choice(b'abcdefgh') for _ in range(300000))
    worker = Worker('worker', in_turns, seconds)
    return recorded(worker), worker


@bind.test
def time_in_python_and_in_c_functions_is_told_apart():
    profile, worker = python_and_c(LONG_S)
    for name, took in worker.result.items():
        wall, waited, native, nogil = (time_in(profile, 'worker', name, metric) for metric in (WALL_NS, WAIT_NS, NATIVE_NS, NOGIL_NS))
        print('%s: %.3f s, told %.3f; native %.3f, without the GIL %.3f, waiting %.3f' % (name, took, wall, native, nogil, waited))
        same(wall / worker.wall, took / worker.wall, 'the share of ' + name)
        bind.near(native / (wall - waited), 0 if name == 'in_python' else 1, 0, 2 * POINTS, 'what of %s is C' % name)
        if GIL:
            bind.near(nogil / (wall - waited), 1 if name == 'in_zlib' else 0, 0, 2 * POINTS, 'what of %s runs without the GIL' % name)
        leaves = profile.leaves('worker', name, NATIVE_NS)
        print(dict(leaves))
        wrong = [leaf for leaf in leaves if not re.match(r'<native>( .*\b%s)?\Z' % IN_C.get(name, '(range|<native>)'), leaf) and leaves[leaf] > 20e6]
        bind.equal(wrong, [], 'C functions that %s does not call' % name)


@bind.test
def c_functions_have_names():
    profile, worker = python_and_c(2)
    for name, called in IN_C.items():
        leaves = profile.leaves('worker', name, NATIVE_NS)
        same(matching(leaves, r'<native> .*\b%s' % called) / max(1, sum(leaves.values())), 1, 'the name of %s, of %r' % (called, dict(leaves)))
    kinds = {frame.kind for item in profile.visit(bind.ITEM_STACK, leaves=True) for frame in item.stack if frame.name.startswith('<native> ')}
    bind.equal(kinds, {bind.KIND_NATIVE}, 'their kind')


def key_of(word):
    """Slow enough to be timed from inside."""
    begin = clock()
    for _ in range(1500):
        pass
    KEYS[0] += clock() - begin
    return word


KEYS = [0.0]


def sort_by_key(seconds):
    """(time in sort, time in the key function)"""
    words = ['x' * 30000 + str(i) for i in range(1500)]   # much to compare in C
    random.Random(2).shuffle(words)
    inside, end = 0, clock() + seconds
    while clock() < end:
        again = list(words)
        begin = clock()
        again.sort(key=key_of)
        inside += clock() - begin
    return inside, KEYS[0]


@bind.test
def a_sort_with_a_key_function():
    """The key function's time is Python's, the rest is C."""
    worker = Worker('worker', sort_by_key, LONG_S)
    profile = recorded(worker)
    inside, keys = worker.result
    wall, waited, native = ({name: time_in(profile, 'worker', name, metric, last=True) for name in ('sort_by_key', 'key_of')}
                            for metric in (WALL_NS, WAIT_NS, NATIVE_NS))
    print(inside, keys, wall, waited, native, dict(profile.leaves('worker', 'sort_by_key')))
    bind.check(0.1 < keys / inside < 0.9, 'the mixture: %.3f of %.3f s', keys, inside)
    same(wall['key_of'] / (wall['key_of'] + wall['sort_by_key']), keys / inside, 'the key function')
    for name, truth in (('sort_by_key', 1), ('key_of', 0)):
        bind.near(native[name] / (wall[name] - waited[name]), truth, 0, 2 * POINTS, 'what of %s is C' % name)
    leaves = profile.leaves('worker', 'sort_by_key', NATIVE_NS)
    same(matching(leaves, r'<native>( .*\bsort)?') / max(1, sum(leaves.values())), 1, 'the leaf, of %r' % dict(leaves))


# --- collections, imports, exceptions -------------------------------------------------------------------------------------


@contextlib.contextmanager
def collecting():
    """A list that gets the time of every collection."""
    times, begun = [], []

    def note(phase, info):
        if phase == 'start':
            begun.append(clock())
        else:
            times.append(clock() - begun.pop())

    gc.callbacks.append(note)
    try:
        yield times
    finally:
        gc.callbacks.remove(note)


def collect_some(seconds):
    graph = [[[i], {i: i}] for i in range(60000)]
    end = clock() + seconds
    with collecting() as times:
        while clock() < end:
            spin(0.02)
            gc.collect()
        took = sum(times)
    del graph
    return took


def gc_stacks(profile, thread):
    return [item for item in profile.visit(bind.ITEM_STACK) if item.thread.name == thread and item.stack[-1].name == '<GC>']


@bind.test
def collections_asked_for():
    worker = Worker('worker', collect_some, LONG_S)
    profile = recorded(worker)
    stacks = gc_stacks(profile, 'worker')
    print(worker.result, worker.wall, [([frame.name for frame in item.stack[-3:]], item.self[WALL_NS]) for item in stacks])
    bind.check(worker.result > 0.2 * worker.wall, 'only %.3f s of collections', worker.result)
    same(sum(item.self[WALL_NS] for item in stacks) / 1e9 / worker.wall, worker.result / worker.wall, '<GC>', worker.blur)
    above = sum(item.self[WALL_NS] for item in stacks if item.stack[-2].name == 'collect_some') / 1e9
    same(above / worker.wall, worker.result / worker.wall, '<GC> below collect_some', worker.blur)
    bind.equal({item.stack[-1].kind for item in stacks}, {bind.KIND_PSEUDO}, 'the kind of <GC>')
    row = next(row for row in profile.top(include_idle=1) if row.name == '<GC>')
    bind.equal(row.self[WALL_NS], sum(item.self[WALL_NS] for item in profile.visit(bind.ITEM_STACK) if item.stack[-1].name == '<GC>'), 'its row')


def make_garbage(seconds):
    kept, end = [], clock() + seconds
    with collecting() as times:
        while clock() < end:
            kept.append([[] for _ in range(500)])
            if len(kept) > 600:
                del kept[:300]
        took = sum(times)
    return took


@bind.test
def automatic_collections():
    gc.set_threshold(50000, 2, 2)
    worker = Worker('worker', make_garbage, LONG_S)
    profile = recorded(worker)
    stacks = gc_stacks(profile, 'worker')
    print(worker.result, worker.wall, [([frame.name for frame in item.stack[-3:]], item.self[WALL_NS]) for item in stacks])
    if worker.result < 0.05 * worker.wall:
        bind.skip('this version hardly collects here: %.3f of %.3f s' % (worker.result, worker.wall))
    same(sum(item.self[WALL_NS] for item in stacks) / 1e9 / worker.wall, worker.result / worker.wall, '<GC>')
    bind.check(all('make_garbage' in [frame.name for frame in item.stack] for item in stacks), 'the frame that caused it')


SLOW = '''
import time
_begin = time.perf_counter()
while time.perf_counter() < _begin + %g:
    pass
TOOK = time.perf_counter() - _begin
'''


@contextlib.contextmanager
def big_tree():
    """A package of 200 modules on the path; its name. Five take their time, one of them only its own import."""
    with tempfile.TemporaryDirectory(prefix='pyprof-test-') as folder:
        package = os.path.join(folder, 'big_tree')
        os.mkdir(package)
        names = ['plain_%d' % i for i in range(195)] + ['slow_%d' % i for i in range(5)]
        random.Random(3).shuffle(names)
        for name in names:
            with open(os.path.join(package, name + '.py'), 'w') as file:
                file.write('X = 1\ndef f(): pass\n' if name.startswith('plain') else SLOW % (0.2 + 0.1 * int(name[5:])))
        with open(os.path.join(package, '__init__.py'), 'w') as file:
            file.write(''.join('from . import %s\n' % name for name in names))
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        yield 'big_tree'
        sys.path.remove(folder)


def import_it(name):
    return importlib.import_module(name) if '.' in name else __import__(name)


@bind.test
def imports():
    with big_tree() as name:
        worker = Worker('importer', import_it, name)
        profile = recorded(worker)
        tree = worker.result
    inside = collections.Counter()
    unnamed = whole = 0
    for item in profile.visit(bind.ITEM_STACK):
        if item.thread.name != 'importer':
            continue
        names = [frame.name for frame in item.stack]
        for label in {name for name in names if name.startswith('<import')}:
            inside[label] += item.self[WALL_NS] / 1e9
        for i, frame in enumerate(item.stack):
            if frame.name == '_find_and_load':
                whole += item.self[WALL_NS]
                unnamed += item.self[WALL_NS] * (not names[i - 1].startswith('<import '))
            if frame.name.startswith('<import'):
                bind.equal((frame.kind, names[i + 1] if i + 1 < len(names) else None), (bind.KIND_PSEUDO, '_find_and_load'), 'a frame of ' + frame.name)
    print(inside.most_common(8), worker.wall, unnamed, whole)
    same(inside['<import big_tree>'] / worker.wall, 1, 'all of it')
    for i in range(5):
        took = getattr(tree, 'slow_%d' % i).TOOK
        same(inside['<import big_tree.slow_%d>' % i] / worker.wall, took / worker.wall, 'slow_%d' % i)
    bind.check(unnamed <= 0.03 * whole, '%.3f of %.3f s in imports without a name', unnamed / 1e9, whole / 1e9)
    rows = {row.name: row for row in profile.top(include_idle=1)}
    bind.check('<import big_tree.slow_4>' in rows, 'no row of its own: %r', list(rows)[:20])


def raising(n):
    if not n:
        raise KeyError(n)
    raising(n - 1)


def raise_on(seconds):
    end = clock() + seconds
    while clock() < end:
        try:
            raising(10)
        except KeyError:
            pass


def call_on(seconds):
    """The same without the exception."""
    def calling(n):
        if n:
            calling(n - 1)

    end = clock() + seconds
    while clock() < end:
        calling(10)


@bind.test
def exceptions_on_their_way_up():
    profile = recorded(Worker('raiser', raise_on, 2), Worker('calm', call_on, 2))
    by_function = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK):
        bind.check(item.self[EXCEPTIONS] <= item.self[SAMPLES], 'more than samples: %r', item.self)
        by_function[item.thread.name, item.stack[-1].name] += item.self[EXCEPTIONS]
    print({key: value for key, value in by_function.items() if value}, profile.thread('raiser').total[SAMPLES])
    bind.equal(profile.thread('calm').total[EXCEPTIONS], 0, 'exceptions where none is')
    bind.enough(by_function['raiser', 'raising'] > 10, 'exceptions in raising: %d', by_function['raiser', 'raising'])
    bind.equal(profile.thread('MainThread').total[EXCEPTIONS], 0, 'exceptions of the main thread')


# --- the process ----------------------------------------------------------------------------------------------------------


def read_zeros(seconds):
    """(user, system) CPU time of it, in pieces of 32 MiB: all of it the kernel's, the GIL not held."""
    piece = bytearray(32 << 20)
    before = resource.getrusage(resource.RUSAGE_THREAD)
    end = clock() + seconds
    with open('/dev/zero', 'rb', buffering=0) as file:
        while clock() < end:
            file.readinto(piece)
    after = resource.getrusage(resource.RUSAGE_THREAD)
    return after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def gauges(profile):
    return [(item.timestamp, item.process) for item in profile.visit(bind.ITEM_MEMORY)]


@bind.test
def time_in_system_calls_is_told_as_system_time():
    worker = Worker('reader', read_zeros, LONG_S)
    with bind.record(rate_hz=1000) as r:
        time.sleep(0.3)
        before = resource.getrusage(resource.RUSAGE_SELF)
        worker.start()
        worker.end()
        after = resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(0.3)
    profile = r.profile
    told(profile, 'reader', worker)
    user, system = worker.result
    print(user, system, worker.wall)
    of = profile.shares('reader')
    bind.check(system > 4 * user, 'this kernel lets others do the work')
    runs(profile, worker)
    same(of['native'], of['running'], 'how much it runs in C', of['cpu_wait'])
    if GIL:
        same(of['nogil'], of['running'], 'how much it runs without the GIL', of['cpu_wait'])
        same(of['gil'], 0, 'how much it has the GIL', of['cpu_wait'])
    same(of['idle'], 0, 'idle')
    facts = [process for _, process in gauges(profile)]
    for name in ('user', 'system'):
        truth = getattr(after, 'ru_%stime' % name[0]) - getattr(before, 'ru_%stime' % name[0])
        got = (getattr(facts[-1], name + '_ns') - getattr(facts[0], name + '_ns')) / 1e9
        bind.near(got, truth, 0.05, 0.15, name + ' CPU time of the process')


@bind.test
def facts_come_every_100_ms():
    with bind.record(rate_hz=1000) as r:
        used = time.process_time()
        spin(bind.length(3, 1.5))
        used = time.process_time() - used
    times = [when for when, _ in gauges(r.profile)]
    steps = sorted(b - a for a, b in zip(times, times[1:]))
    print(steps, r.profile.stats())
    bind.near(len(times), 10 * r.elapsed, 0.1, 2, 'how many')
    bind.near(steps[len(steps) // 2], 0.1, 0.1, 0.005, 'how far apart')
    bind.check(steps[0] > 0, 'not in order: %r', steps)
    for when in (times[0], times[-1]):
        bind.check(r.profile.info().start - 0.2 < when < time.time(), 'when: %r', when)
    facts = [process for _, process in gauges(r.profile)]
    for name in ('user_ns', 'system_ns', 'voluntary_switches', 'involuntary_switches', 'minor_faults', 'major_faults', 'gc_runs'):
        values = [getattr(process, name) for process in facts]
        bind.equal(values, sorted(values), name + ' that runs backwards')
    bind.near((facts[-1].user_ns + facts[-1].system_ns - facts[0].user_ns - facts[0].system_ns) / 1e9, used, 0.05, 0.2, 'CPU time')
    bind.check(all(process.resident_bytes > 1 << 20 for process in facts), 'resident bytes')


def runs_of_gc():
    return sum(generation['collections'] for generation in gc.get_stats())


@bind.test
def facts_are_right():
    """What happens between two rests is the difference between the facts of these rests."""
    def rest(more=0):
        # a thread that has ended is listed until the kernel is through with it
        bind.eventually(lambda: len(bind.tasks()) == before + more, '%d threads more' % more)
        time.sleep(0.35)
        moments.append((time.time(), runs_of_gc(), resource.getrusage(resource.RUSAGE_SELF), before + more,
                        resource.getrusage(resource.RUSAGE_THREAD)))
        time.sleep(0.35)

    moments, stop = [], threading.Event()
    gc.disable()
    with bind.record(rate_hz=200) as r:
        bind.eventually(lambda: r.stats().samples > 2, 'the first samples')
        before = len(bind.tasks())
        rest()
        gc.collect()
        for generation in (0, 1, 2, 0):
            gc.collect(generation)
        rest()
        memory = mmap.mmap(-1, 64 << 20)
        if hasattr(mmap, 'MADV_NOHUGEPAGE'):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, 64 << 20, 4096):
            memory[at] = 1
        rest()
        for _ in range(300):
            time.sleep(0.0005)
        rest()
        threads = [threading.Thread(target=stop.wait, daemon=True) for _ in range(7)]
        for thread in threads:
            thread.start()
        rest(7)
        stop.set()
        for thread in threads:
            thread.join()
        rest()
    found = gauges(r.profile)
    at = [min(found, key=lambda gauge: abs(gauge[0] - moment[0]))[1] for moment in moments]
    for (_, runs, usage, count, _), process in zip(moments, at):
        print(runs, usage.ru_minflt, usage.ru_nvcsw, usage.ru_nivcsw, count, process)
    bind.equal([process.threads for process in at], [moment[3] for moment in moments], 'threads')
    bind.near(at[2].minor_faults - at[1].minor_faults, moments[2][2].ru_minflt - moments[1][2].ru_minflt, 0.02, 300, 'page faults')
    if hasattr(mmap, 'MADV_NOHUGEPAGE'):
        bind.enough(at[2].minor_faults - at[1].minor_faults > 15000, 'page faults of 64 MiB: %d', at[2].minor_faults - at[1].minor_faults)
    bind.near(at[2].resident_bytes - at[1].resident_bytes, 64 << 20, 0.1, 0, 'resident bytes')
    for name, key in (('voluntary_switches', 'ru_nvcsw'), ('involuntary_switches', 'ru_nivcsw')):
        # without the sampler's 140: those of this thread, as the others do nothing
        bind.near(getattr(at[3], name) - getattr(at[2], name), getattr(moments[3][4], key) - getattr(moments[2][4], key), 0.1, 60, name)
    bind.enough(at[3].voluntary_switches - at[2].voluntary_switches >= 290, 'voluntary switches of 300 naps: %d',
                at[3].voluntary_switches - at[2].voluntary_switches)
    bind.check(at[0].gc_runs != -1, 'runs of the collector are unknown')
    bind.equal([b.gc_runs - a.gc_runs for a, b in zip(at, at[1:])], [b[1] - a[1] for a, b in zip(moments, moments[1:])], 'runs of the collector')
    bind.check(memory[4096] == 1)


# --- it all adds up -------------------------------------------------------------------------------------------------------


def all_kinds_of_work(seconds):
    """Threads in every state there is."""
    reader, writer = os.pipe()
    workers = [Worker('spinner 1', spin, seconds), Worker('spinner 2', spin, seconds), Worker('sleeper', nap, seconds),
               Worker('hasher', hash_on, seconds), Worker('raiser', raise_on, seconds), Worker('collector', collect_some, seconds),
               Worker('reader', os.read, reader, 1)]
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    os.write(writer, b'.')
    for worker in workers:
        worker.end()
    os.close(reader)
    os.close(writer)


def sane(values, what):
    """The rules for the columns of a thread, a stack, a node or a moment."""
    wall, wait = values[WALL_NS], values[WAIT_NS]
    bind.check(all(value >= 0 for value in values), 'below zero: %s %r', what, values)
    bind.check(wait <= wall and values[GIL_NS] <= wall and values[NATIVE_NS] <= wall, 'longer than it was: %s %r', what, values)
    bind.check(values[IDLE_NS] + values[GIL_WAIT_NS] + values[CPU_WAIT_NS] <= wait, 'parts of waiting: %s %r', what, values)
    bind.check(values[NOGIL_NS] <= values[NATIVE_NS], 'a part of native: %s %r', what, values)
    bind.check(values[NOGIL_NS] + wait <= wall, 'running and waiting: %s %r', what, values)
    bind.check(values[GIL_NS] + values[GIL_WAIT_NS] + values[NOGIL_NS] <= wall, 'with, for and without the GIL: %s %r', what, values)
    bind.check(values[EXCEPTIONS] <= values[SAMPLES] and values[WAIT_SAMPLES] <= values[SAMPLES], 'samples: %s %r', what, values)
    if not GIL:
        bind.equal([values[metric] for metric in (GIL_NS, GIL_WAIT_NS, GIL_BLOCK_NS)], [0, 0, 0], 'the GIL that is none: %s' % (what,))


@bind.test(limit=90)
def totals_of_states():
    with bind.record(rate_hz=1000) as r:
        all_kinds_of_work(bind.length(3, 1.2))
    profile, info = r.profile, r.profile.info()
    threads = profile.threads()
    stacks, nodes, states = (profile.visit(kind, leaves=True) for kind in (bind.ITEM_STACK, bind.ITEM_NODE, bind.ITEM_STATE))
    for thread in threads:
        told(profile, thread.name)
        sane(thread.total, thread.name)
    for kind, items in (('stack', stacks), ('node', nodes), ('moment', states)):
        for item in items:
            sane(item.self, (kind, item.thread.name, item.stack[-1].name))
            if item.total:
                sane(item.total, (kind, item.thread.name, item.stack[-1].name))
    lost = {thread.thread_id: [0] * bind.METRIC_COUNT for thread in threads}
    for item in stacks:
        if item.stack[-1].name in bind.UNPLACED:
            lost[item.thread.thread_id] = [a + b for a, b in zip(lost[item.thread.thread_id], item.self)]
    for metric in COLUMNS:
        total = info.total[metric]
        bind.check(total > 0 or not GIL and metric in (GIL_NS, GIL_WAIT_NS, GIL_BLOCK_NS, NOGIL_NS) or metric in (CPU_WAIT_NS, bind.UNKNOWN_NS), 'metric %d is 0', metric)
        bind.equal(sum(thread.total[metric] for thread in threads), total, 'metric %d, threads' % metric)
        bind.equal(sum(item.self[metric] for item in stacks), total, 'metric %d, stacks' % metric)
        bind.equal(sum(item.self[metric] for item in nodes), total, 'metric %d, nodes' % metric)
        bind.equal(sum(item.total[metric] for item in nodes if len(item.stack) == 1), total, 'metric %d, roots' % metric)
        for thread in threads:
            bind.equal(sum(item.self[metric] for item in states if item.thread.thread_id == thread.thread_id),
                       thread.total[metric] - lost[thread.thread_id][metric], 'metric %d of %s in the time line' % (metric, thread.name))
    for item in states:   # a moment is in a state or it is not
        taken = item.self[CPU_WAIT_NS] if item.self[CPU_WAIT_NS] != item.self[WALL_NS] else 0   # the sampler had the CPU, for a moment
        for name, metric in bind.STATES.items():
            bind.check(item.self[metric] in (0, taken, item.self[WALL_NS], item.self[WALL_NS] - taken), '%s of a moment of %d ns: %d',
                       name, item.self[WALL_NS], item.self[metric])
        if item.leaf and item.leaf.kind == bind.KIND_WAIT:
            bind.equal(item.self[WAIT_NS], item.self[WALL_NS], 'a leaf %s, and waiting' % item.leaf.name)
            bind.equal(item.leaf.name == '[GIL]', item.self[WALL_NS] > 0 and item.self[GIL_WAIT_NS] == item.self[WALL_NS], 'a leaf ' + item.leaf.name)
        elif item.leaf:
            bind.equal(item.self[NATIVE_NS], item.self[WALL_NS] - taken, 'a leaf %s, and native' % item.leaf.name)


@bind.test(limit=90)
def tables_have_no_leaves():
    """What lies in a leaf is the own value of the Python frame above it; GROUP_LEAF has the leaves alone."""
    with bind.record(rate_hz=1000) as r:
        all_kinds_of_work(bind.length(2, 1))
    profile, info = r.profile, r.profile.info()
    own = collections.Counter()
    leaves = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, leaves=True):
        frame = item.stack[-2] if item.leaf else item.stack[-1]
        own[frame.name, frame.file, frame.first_line] += item.self[WALL_NS]
        if item.leaf:
            leaves[item.leaf.name] += item.self[WALL_NS]
    bind.check(len(leaves) > 4, 'leaves: %r', dict(leaves))
    for group in (bind.GROUP_FUNCTION, bind.GROUP_LINE, bind.GROUP_FILE, bind.GROUP_THREAD):
        rows = profile.top(group=group, include_idle=1)
        bind.equal([row.name for row in rows if bind.is_leaf(row.kind, row.name)], [], 'leaves as rows of group %d' % group)
        bind.equal(sum(row.self[WALL_NS] for row in rows) or sum(row.total[WALL_NS] for row in rows), info.total[WALL_NS], 'group %d' % group)
        for row in rows:
            bind.check(all(row.self[metric] <= row.total[metric] for metric in COLUMNS), 'self and total of %r', row[:4])
    got = {(row.name, row.file, row.line): row.self[WALL_NS] for row in profile.top(include_idle=1)}
    bind.equal({key: value for key, value in got.items() if value}, {key: value for key, value in own.items() if value}, 'self of the functions')
    rows = profile.top(group=bind.GROUP_LEAF, include_idle=1)
    bind.equal({row.name: row.self[WALL_NS] for row in rows}, dict(leaves), 'the leaves')
    for metric in COLUMNS:
        rows = profile.top(sort=metric, include_idle=1)
        bind.equal([row.self[metric] for row in rows], sorted((row.self[metric] for row in rows), reverse=True), 'sorted by metric %d' % metric)


@bind.test(limit=90)
def the_json_tells_the_same():
    with bind.record(rate_hz=1000) as r:
        all_kinds_of_work(bind.length(2, 1))
    profile = r.profile
    document, info = profile.json(leaves=True), profile.info()
    keys = {WALL_NS: 'wall_ns', CPU_NS: 'cpu_ns', GIL_NS: 'gil_ns', GIL_WAIT_NS: 'gil_wait_ns', WAIT_NS: 'wait_ns', NATIVE_NS: 'native_ns',
            EXCEPTIONS: 'exceptions', IDLE_NS: 'idle_ns', CPU_WAIT_NS: 'cpu_wait_ns', NOGIL_NS: 'nogil_ns', GIL_BLOCK_NS: 'gil_block_ns',
            WAIT_SAMPLES: 'wait_samples', SAMPLES: 'samples'}
    tree, frames, threads = document['tree'], document['frames'], document['threads']
    for metric, key in keys.items():
        if info.total[metric]:
            bind.equal(sum(tree['self'][key]), info.total[metric], 'the tree, ' + key)
    # every node, by its stack
    got = collections.Counter()
    for node, parent in enumerate(tree['parent']):
        path, at = [], node
        while at > 0:
            path.append(frames[tree['frame'][at]]['name'])
            at = tree['parent'][at]
        for metric, key in keys.items():
            if tree['self'].get(key) and tree['self'][key][node]:
                got[tuple(path[::-1][1:]), metric] += tree['self'][key][node]
    expected = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, leaves=True):
        for metric in keys:
            if item.self[metric]:
                expected[tuple(frame.name for frame in item.stack), metric] += item.self[metric]
    bind.equal(got, expected, 'the nodes')
    kinds = {frame['name']: frame['kind'] for frame in frames}
    visited = {frame.name: frame.kind for item in profile.visit(bind.ITEM_NODE) for frame in item.stack}
    words = {bind.KIND_PYTHON: 'python', bind.KIND_NATIVE: 'native', bind.KIND_PSEUDO: 'pseudo', bind.KIND_WAIT: 'wait', bind.KIND_TASK: 'task'}
    for name, kind in visited.items():
        if name in kinds:
            bind.equal(kinds[name], words[kind], 'the kind of ' + name)
    # the time line
    moments = profile.visit(bind.ITEM_STATE, leaves=True)
    bind.equal(len(document['samples']), len(moments), 'entries of the time line')
    for sample, item in zip(document['samples'], moments):
        bind.equal((sample['thread_id'], sample['stack'], sample['count'], sample['wall_ns'], sample['waiting']),
                   (item.thread.thread_id, [frame.label for frame in item.stack], item.count, item.self[WALL_NS], item.self[WAIT_SAMPLES] > 0), 'an entry')
    bind.equal(sorted(thread['name'] for thread in threads), sorted(thread.name for thread in profile.threads()), 'threads')
    facts = gauges(profile)
    bind.equal([(round(entry[0], 3), entry[1], entry[2]) for entry in document['memory']['timeline']],
               [(round(when, 3), process.resident_bytes, process.traced_bytes) for when, process in facts], 'facts of the process')


def both(seconds):
    spin(seconds)
    nap(seconds)


@bind.test
def windows_of_the_time_line():
    worker = Worker('worker', both, 1.5)
    with bind.record(rate_hz=1000) as r:
        worker.start()
        time.sleep(2.8)
        window, whole = r.snapshot(last_s=1), r.snapshot()
        worker.end()
    for profile in (window, whole):
        told(profile, 'worker')
        sane(profile.thread('worker').total, 'worker')
    of = window.shares('worker')
    for state, truth in (('wait', 1), ('idle', 1), ('gil', 0), ('gil_wait', 0), ('native', 0)):
        same(of[state], truth, 'the last second, ' + state)
    bind.near(window.thread('worker').total[IDLE_NS] / 1e9, 1, 0, 0.03 + window.stats().late_max_ns / 1e9, 'idle in the last second')
    leaves = window.leaves('worker')
    same(leaves['[sleep]'] / sum(leaves.values()), 1, 'the leaf')
    of = whole.shares('worker')
    same(of['idle'], 1.3 / 2.8, 'the whole, idle')
    same(of['gil'], 1.5 / 2.8 if GIL else 0, 'the whole, with the GIL')


@bind.test
def windows_of_time_cut_every_table():
    """Facts, pairs and holds of a window are of the window alone."""
    workers = [Worker('one', both, 1), Worker('other', both, 1)]
    with bind.record(rate_hz=1000) as r:
        for worker in workers:
            worker.start()
        time.sleep(2.7)   # they have shared the GIL for 2 s or less, and sleep
        window = r.snapshot(last_s=0.5)
        for worker in workers:
            worker.end()
    last = max(when for when, _ in gauges(r.profile))
    times = [round(when - last, 2) for when, _ in gauges(window)]
    print(times, window.visit(bind.ITEM_GIL), window.visit(bind.ITEM_HOLD))
    bind.enough(times, 'no facts in the window')
    bind.check(min(times) > -1.6, 'facts from before the window: %r', times)
    bind.equal(window.info().total[GIL_WAIT_NS] // 50000000, 0, 'waiting for the GIL')
    bind.check(sum(item.self[GIL_WAIT_NS] for item in window.visit(bind.ITEM_GIL)) < 50e6, 'pairs from before the window')
    if GIL:
        bind.enough(sum(item.self[GIL_WAIT_NS] for item in r.profile.visit(bind.ITEM_GIL)) > 0.5e9, 'pairs of the whole')


@bind.test(limit=90)
def snapshots_with_reset():
    """What falls into the parts is what falls into the whole, in every column; and pairs and holds start afresh."""
    whole, session, parts = bind.Session(rate_hz=1000), bind.Session(rate_hz=1000), []
    work = threading.Thread(target=all_kinds_of_work, args=(bind.length(2.5, 1.5),), name='all')
    work.start()
    while work.is_alive():
        time.sleep(0.05)
        parts.append(session.snapshot(reset=1))
    spin(0.3)   # alone
    session.snapshot(reset=1)
    spin(0.3)
    last = session.stop()
    whole = whole.stop()
    slack = sum(part.stats().late_max_ns for part in parts + [whole]) * 8
    for metric in TIMES:
        got, expected = sum(part.info().total[metric] for part in parts), whole.info().total[metric]
        if metric in (WALL_NS, CPU_NS, GIL_NS, NATIVE_NS):
            expected -= sum(item.self[metric] for item in whole.visit(bind.ITEM_STACK) if item.stack[-1].name == 'spin'
                            and item.thread.name == 'MainThread')
        bind.near(got / 1e9, expected / 1e9, 0.03, 0.05 + slack / 1e9, 'metric %d' % metric)

    def waits(profiles):
        return sum(item.self[GIL_WAIT_NS] for profile in profiles for item in profile.visit(bind.ITEM_GIL)) / 1e9

    bind.near(waits(parts), waits([whole]), 0.03, 0.05, 'pairs')
    if GIL:
        bind.enough(waits([whole]) > bind.length(1, 0.5), 'pairs: %.3f s', waits([whole]))
    bind.equal((last.visit(bind.ITEM_GIL), last.visit(bind.ITEM_HOLD), last.info().total[GIL_BLOCK_NS]), ([], [], 0), 'nobody waited any more')


@bind.test
def a_pause_is_in_no_column():
    worker = Worker('sleeper', nap, 3)
    spinner = Worker('spinner', spin, 3)
    with bind.record(rate_hz=1000) as r:
        worker.start()
        spinner.start()
        time.sleep(1)
        asked = clock()
        r.pause()
        paused = clock()
        time.sleep(1)
        resumed = clock()
        r.resume()
        took = paused - asked + clock() - resumed
        worker.end()
        spinner.end()
    late = r.profile.stats().late_max_ns / 1e9 + took
    for name, metric in (('sleeper', WALL_NS), ('sleeper', WAIT_NS), ('sleeper', IDLE_NS)) + ((('spinner', GIL_NS),) if GIL else ()):
        one = worker if name == 'sleeper' else spinner
        recorded_s = paused - one.began + one.ended - resumed
        bind.near(r.profile.thread(name).total[metric] / 1e9, recorded_s, 0.03 + one.blur, 0.02 + late, 'metric %d of %s' % (metric, name))
    leaves = r.profile.leaves('sleeper')
    bind.near(leaves['[sleep]'] / 1e9, paused - worker.began + worker.ended - resumed, 0.03 + worker.blur, 0.02 + late, 'the leaf')
    bind.check(all(item.self[WALL_NS] < 1.3e9 * 1.03 + late * 1e9 for item in r.profile.visit(bind.ITEM_STATE)), 'an entry that goes over the pause')


if __name__ == '__main__':
    bind.run()
