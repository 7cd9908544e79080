"""The heap tracker's hooks beside other threads, other hooks, lives of the interpreter, and forks."""
import ctypes
import gc
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from ctypes import byref, c_size_t

import bind
from bind import EVENT_HOOKS_LOST, HEAP_STATE_ON, HEAP_STATE_PENDING, LIVE_BYTES
from heap import (EXACT, HEADER, MEM, OBJ, PAGE, RAW, SAMPLED, Errand, allocators, at, blocks, fib, find, four, held,
                  keep, line, read, released, running, sane, shelf, start)


# --- who waits for whom -----------------------------------------------------------------------------------------------


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
        bind.equal((code, errand.state), (0, HEAP_STATE_PENDING), 'start: result and state')
        stats = bind.Stats()

        def state():
            bind.call('get_stats', errand.session, byref(stats))
            return stats.heap_state
        bind.eventually(lambda: state() == HEAP_STATE_ON, 'hooks in')
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
                for i in range(bind.length(200, 20)):
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


# --- others that hook -------------------------------------------------------------------------------------------------


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
def hooks_that_another_library_removes_come_back():
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
        bind.eventually(lambda: session.stats().heap_state == HEAP_STATE_ON, 'hooks in again')
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
    bind.equal(session.stats().heap_state, HEAP_STATE_ON, 'heap state')
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
def a_circle_of_unknown_allocators_gives_no_memory():
    """The same, where no other allocator is known: there is no memory."""
    held.pool(0, *POOLS[0])
    session = start()
    bind.equal(held.circle(0, 5000), None, 'the block')
    bind.eventually(lambda: b'without end' in session.stats().degraded, 'it is told')
    see_all(session)
    session.stop()


# --- finalize and again -----------------------------------------------------------------------------------------------


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
    embedded('lives', bind.length(12, 4))


@bind.test
def a_session_across_lives():
    count = bind.length(6, 3)
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
    embedded('late', bind.length(5, 3))


@bind.test(limit=60)
def sessions_beside_lives_that_end():
    """No call is asked of an interpreter that is ending or not yet up: it would print, run Python code, or crash."""
    embedded('beside', bind.length(12, 5))


# --- fork -------------------------------------------------------------------------------------------------------------


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
                bind.equal(bind.in_child(child_allocates, session, i), 0, 'exit status of the child')
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
    forks(bind.length(100, 10), EXACT)


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
def a_forked_child_finalizes_python():
    """Py_Finalize with the hooks still in, in the child and in the parent."""
    source = '\n'.join([
        'import os, sys, threading',
        'sys.argv = ["x", %r]' % bind.BUILD, 'sys.path.insert(0, %r)' % os.path.dirname(os.path.abspath(__file__)),
        'import bind',
        'session = bind.Session(bind.held, heap=2)',
        'kept = [b"x" * 1000 for _ in range(1000)]',
        'pid = os.fork()',
        'more = [b"x" * 1000 for _ in range(1000)]',
        'if pid: sys.exit(os.waitpid(pid, 0)[1])'])
    for _ in range(5):
        process = subprocess.run([sys.executable, '-W', 'ignore', '-c', source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        bind.equal((process.returncode, process.stdout.decode()), (0, ''), 'exit status and messages')


if __name__ == '__main__':
    bind.run()
