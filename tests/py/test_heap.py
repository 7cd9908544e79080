"""The heap tracker against an allocator that counts by itself (tests/heap_count.c).

Exact mode is compared to the byte and to the block, both sides read in one call that holds the GIL. In free-threaded
builds, and where other threads may run, only what stands still is compared.
"""
import contextlib
import ctypes
import gc
import itertools
import math
import os
import random
import subprocess
import sys
import threading
import time
from ctypes import c_uint32

import bind
from bind import (ALLOC_BLOCKS, ALLOC_BYTES, ALLOC_DOUBT, HEAP_STATE_ON, HEAP_STATE_PENDING, LIVE_BLOCKS, LIVE_BYTES,
                  LIVE_DOUBT)
from heap import (EXACT, HEADER, MEM, OBJ, OFF, PAGE, RAW, SAMPLED, agree, allocators, at, blocks, fib, four, held,
                  keep, read, released, rows, running, sane, shelf, start, start_counted, table, tell, teller,
                  true_names)


def numbers(values):
    return (c_uint32 * len(values))(*values)


# --- exact to the byte ------------------------------------------------------------------------------------------------


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
def a_reset_keeps_live_blocks():
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


# --- sampled, without bias --------------------------------------------------------------------------------------------


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
    bind.near(deviation, sigma, bind.length(0.25, 0.35), what='the spread of ' + what)


def covered(pairs, truth, what):
    """How often the truth is within the errors told: about 95 of 100 times, also where blocks are larger than the interval."""
    inside = sum(abs(estimate - truth) <= 1.96 * math.sqrt(INTERVAL * doubt) for estimate, doubt in pairs)
    print('%-30s %d of %d cover the truth' % (what, inside, len(pairs)))
    bind.enough(bind.length(0.88, 0.85) <= inside / len(pairs) <= bind.length(0.995, 1), '%s: %d of %d cover the truth', what, inside, len(pairs))


@bind.test(limit=300)
def sampling_is_without_bias():
    """200 sessions (100 in make test): patterns whose period is that of the sampling, sizes far below it and far above."""
    sizes = {name: numbers(values) for name, values in patterns().items()}
    work = [globals()[name] for name in sizes]
    estimates = {name: [] for name in sizes}
    doubts = {name: [] for name in sizes}
    for _ in range(bind.length(200, 100)):
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
    lines, interval, code = bind.length(20000, 10000), 1000, {}
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


# --- nothing that was not there ---------------------------------------------------------------------------------------


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


# --- in and out -------------------------------------------------------------------------------------------------------


@bind.test(limit=120)
def in_and_out_a_thousand_times():
    before = allocators()
    kept = shelf(1000)
    for i in range(int(os.environ.get('SESSIONS', bind.length(1000, 150)))):
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
        bind.check(session.stats().heap_state in (HEAP_STATE_PENDING, HEAP_STATE_ON), 'state %d', session.stats().heap_state)
        bind.eventually(lambda: session.stats().heap_state == HEAP_STATE_ON, 'hooks in')
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
    dropped = session.stats().heap_dropped - dropped
    bind.equal(four(at(session.snapshot(), keep))[2:], [100 * PAGE, 100], 'kept')
    bind.check(dropped < 10, '%d dropped though there is room', dropped)
    sane(session.stop())


# --- others that hook -------------------------------------------------------------------------------------------------


def again(name, **environment):
    """That test, in a process with this environment."""
    process = subprocess.Popen([sys.executable, os.path.abspath(__file__), bind.BUILD, '--run', name], stdout=subprocess.PIPE,
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


# --- our own memory runs out ------------------------------------------------------------------------------------------


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
        number += 1 if number < bind.length(150, 50) else number // bind.length(20, 8)
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


if __name__ == '__main__':
    bind.run()
