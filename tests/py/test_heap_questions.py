"""Questions to the heap tracker: leaks, one allocation, ages, peaks, threads."""
import collections
import contextlib
import itertools
import sys
import threading
import time
from ctypes import c_void_p

import bind
from bind import (ALLOC_BLOCKS, GROWTH_GROWING, GROWTH_PLATEAU, GROWTH_STEADY, GROWTH_UNSURE, LIVE_AGE_MS, LIVE_BLOCKS,
                  LIVE_BYTES, PEAK_BLOCKS, PEAK_BYTES, TEMP_BLOCKS)
from heap import (EXACT, HEADER, MEM, OBJ, PAGE, RAW, SAMPLED, agree, at, blocks, find, four, held, keep, line, running,
                  sane, shelf, start, start_counted, teller, true_names)

FILE = sys._getframe().f_code.co_filename   # as profiles tell it: 3.8 keeps the path as it was given


# --- leaks ------------------------------------------------------------------------------------------------------------


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


# --- questions --------------------------------------------------------------------------------------------------------


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


# --- threads ----------------------------------------------------------------------------------------------------------


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
