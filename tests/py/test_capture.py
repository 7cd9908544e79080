"""How stacks are captured: the three modes, what they do to the host, weights, starvation, reads that fail.

Machines do other things too: what depends on the scheduler is compared within the run, or tried again (bind.near).
"""
import collections
import contextlib
import ctypes
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time

import bind
from bind import CAPTURE_AUTO, CAPTURE_COPY, CAPTURE_SIGNAL, CPU_NS, SAMPLES, WALL_NS
from known_calls import churn_main, impossible, known_lines, one_round, trace_run
from recording import balanced, exit_storm, in_child, late, running, share, spin, spin_hot, thread_of

MODES = (('auto', CAPTURE_AUTO), ('copy', CAPTURE_COPY), ('signal', CAPTURE_SIGNAL))
FAIL, SHORT, GARBAGE, APART = 1, 2, 4, 8
URG = signal.SIGURG
libc = ctypes.CDLL(None, use_errno=True)
hooks = bind.released


check = bind.enough   # much here hangs on when the scheduler runs whom: what fails is tried again, twice

if hooks:
    hooks.pyprof_test_faults.argtypes = [ctypes.c_double, ctypes.c_uint, ctypes.c_uint64]
    for hook in (hooks.pyprof_test_faults, hooks.pyprof_test_window, hooks.pyprof_test_slow,
                 hooks.pyprof_test_coarse):
        hook.restype = None


def in_each_mode(function):
    """One test for each capture mode, function_auto and so on; make test has the first."""
    for name, mode in MODES:
        bind.test(lambda mode=mode: function(mode), name='%s_%s' % (function.__name__, name), limit=120,
                  long=mode != CAPTURE_AUTO)
    return function


@contextlib.contextmanager
def hogs(count):
    """Processes that take CPU time away from this one."""
    found = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass']) for _ in range(count)]
    try:
        yield
    finally:
        for hog in found:
            hog.kill()
            hog.wait()


def two_cpus():
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        bind.skip('one CPU')
    return cpus[:2]


@contextlib.contextmanager
def setting(event):
    """At the end, however it comes."""
    try:
        yield
    finally:
        event.set()


def nothing():
    pass


def survey(seconds, before=nothing, threads=1, exact=True, **config):
    """Churns while it records: samples by what is wrong with them, and the stats. before() runs between the start of
    the sampler and that of the threads: what it sets on this thread (CPU, signal mask) they have, the sampler not."""
    steps = trace_run()
    with bind.record(max_cpu=1e6, **config) as r:   # no tick is left out
        before()
        with running(churn_main, 0, bind.length(seconds, 0.3 * seconds), name='churn', count=threads):
            pass
    stats = r.profile.stats()
    wrong = impossible(r.profile, steps, known_lines() if exact else {})
    print(dict(wrong), stats)
    balanced(stats)
    return wrong, stats


def all_good(wrong, least, old_lines=0.0):
    """Nothing but good samples, or a share of them with an old line of a caller (those of converging copies)."""
    wrong = dict(wrong)
    good, lines = wrong.pop('good', 0), wrong.pop('line', 0)
    few = 0.005 * good if old_lines else 0   # by copying, a loop of some 100 ns may come round unseen
    check(sum(wrong.values()) <= few, 'impossible stacks: %r', wrong)
    if good <= least:
        raise bind.Far('only %d samples' % good)
    check(lines <= old_lines * good, '%d of %d with an old line', lines, good)
    return good


# --- the modes --------------------------------------------------------------------------------------------------------


@bind.test
def auto_freezes():
    two_cpus()
    wrong, stats = survey(3.5, rate_hz=2000)
    good = all_good(wrong, 1000)
    bind.near(stats.unfrozen / good, 0, 0, 0.05, 'the share of unfrozen samples')


@bind.test(long=True)
def signal_freezes():
    wrong, stats = survey(3.5, rate_hz=2000, capture=CAPTURE_SIGNAL)
    good = all_good(wrong, 1000)
    bind.near(stats.unfrozen / good, 0, 0, 0.05, 'the share of unfrozen samples')


@bind.test
def signal_freezes_on_another_cpu():
    here, there = two_cpus()
    os.sched_setaffinity(0, [here])
    wrong, stats = survey(3.5, lambda: os.sched_setaffinity(0, [there]), rate_hz=2000, capture=CAPTURE_SIGNAL)
    good = all_good(wrong, 1000)
    bind.near(stats.unfrozen / good, 0, 0, 0.05, 'the share of unfrozen samples')


@bind.test
def copy_converges_on_another_cpu():
    """The sampler stays on the CPU of the thread that starts the session, and the thread it reads runs elsewhere."""
    here, there = two_cpus()
    os.sched_setaffinity(0, [here])
    wrong, stats = survey(4, lambda: os.sched_setaffinity(0, [there]), exact=False, rate_hz=2000, capture=CAPTURE_COPY)
    good = all_good(wrong, 1000, 0.08)
    check(stats.unfrozen > 0.01 * good, '%d unfrozen samples of %d', stats.unfrozen, good)
    check(stats.rejected < 0.2 * stats.asked, '%d of %d rejected', stats.rejected, stats.asked)


@bind.test
def auto_that_may_not_move_converges():
    """The sampler keeps to the CPUs it inherited: what runs elsewhere is read by copying, and told as unfrozen."""
    here, there = two_cpus()
    os.sched_setaffinity(0, [here])
    seen = []

    def before():
        os.sched_setaffinity(0, [there])
        bind.eventually(samplers, 'the sampler')
        seen.extend(samplers())
        bind.equal([os.sched_getaffinity(task) for task in seen], [{here}], 'CPUs of the sampler')

    wrong, stats = survey(3, before, exact=False, rate_hz=2000)
    good = all_good(wrong, 1000, 0.08)
    check(stats.unfrozen > 0.01 * good, '%d unfrozen samples of %d', stats.unfrozen, good)


@bind.test
def the_sampler_follows():
    """A thread is put from one CPU onto the other and back, time and again."""
    cpus = two_cpus()
    steps, stop = trace_run(), threading.Event()
    seen = set()
    with bind.record(rate_hz=1000) as r:
        with running(churn_main, 0, bind.length(3), name='churn') as threads:
            for i in range(bind.length(50, 20)):
                with contextlib.suppress(ProcessLookupError):   # at the end
                    os.sched_setaffinity(threads[0].native_id, [cpus[i % 2]])
                stop.wait(0.05)
                seen.update(tuple(sorted(os.sched_getaffinity(task))) for task in samplers())
    stats = r.profile.stats()
    wrong = impossible(r.profile, steps, known_lines())
    print(dict(wrong), stats, seen)
    good = all_good(wrong, 500)
    bind.near(stats.unfrozen / good, 0, 0, 0.1, 'the share of unfrozen samples')
    check({(cpu,) for cpu in cpus} <= seen, 'where the sampler was: %r', seen)


def samplers():
    found = []
    for task in bind.tasks():
        with contextlib.suppress(OSError), open('/proc/self/task/%d/comm' % task) as file:
            if file.read() == 'pyprof\n':
                found.append(task)
    return found


def placement(task):
    """Everything that says when and where the scheduler runs a thread."""
    raw = ctypes.create_string_buffer(48)
    number = {'x86_64': 315, 'aarch64': 275}[os.uname().machine]   # sched_getattr
    libc.syscall(number, task, raw, 48, 0)
    slack = None
    with contextlib.suppress(OSError), open('/proc/%d/timerslack_ns' % task) as file:
        slack = file.read()
    return (sorted(os.sched_getaffinity(task)), os.getpriority(os.PRIO_PROCESS, task), os.sched_getscheduler(task),
            os.sched_getparam(task).sched_priority, slack, raw.raw)


@in_each_mode
def only_the_sampler_is_tuned(mode):
    """Affinity, nice value, policy, slice and timer slack of the program's threads stay as they are."""
    def mine():
        return {task: placement(task) for task in bind.tasks() if task not in known}

    cpus, known, stop = two_cpus(), set(), threading.Event()

    def pinned(cpu):
        os.sched_setaffinity(0, [cpu])
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 3)
        while not stop.is_set():
            spin_hot(0.01)

    with running(stop.wait), running(pinned, cpus[0]), running(pinned, cpus[1]), running(pinned, cpus[0]), setting(stop):
        time.sleep(0.2)
        before = mine()
        with bind.record(rate_hz=2000, capture=mode) as r:
            bind.eventually(samplers, 'the sampler')
            known.update(samplers())
            bind.equal(len(known), 1, 'samplers')
            for _ in range(bind.length(15, 3)):
                time.sleep(0.1)
                bind.equal(mine(), before, 'placement of threads, meanwhile')
                sampler = set(os.sched_getaffinity(min(known)))
                check(sampler <= os.sched_getaffinity(0), 'the sampler is on %r', sampler)
                check(mode == CAPTURE_AUTO or len(sampler) > 1, 'the sampler is on %r', sampler)
        stats = r.profile.stats()
        bind.equal(mine(), before, 'placement of threads, afterwards')
    check(stats.samples > 1000, 'only %d samples', stats.samples)


@bind.test
def threads_that_end_while_reads_are_slow():
    """What is read of a state may be of the thread before, or after: addresses, ids and the GIL's holder change meanwhile."""
    hooks.pyprof_test_slow(40000)
    exit_storm()


@bind.test(limit=90, long=True, alone=True)
def a_wide_window_of_fine_clocks():
    hooks.pyprof_test_window(100000)
    with hogs(3):
        wrong, stats = survey(4, rate_hz=2000)
    all_good(wrong, 200)


@bind.test(limit=90, alone=True)
def a_wide_window_of_coarse_clocks():
    """Where CPU clocks prove nothing, only a look at the sampler's own CPU from beginning to end does."""
    hooks.pyprof_test_coarse(1)
    hooks.pyprof_test_window(100000)
    with hogs(3):
        wrong, stats = survey(bind.length(5, 1.5), rate_hz=2000)
    good = all_good(wrong, bind.length(200, 50))
    print('frozen: %.1f %%' % (100 - 100.0 * stats.unfrozen / good))


@bind.test(limit=90, long=True, alone=True)
def coarse_clocks():
    hooks.pyprof_test_coarse(1)
    with hogs(2):
        wrong, stats = survey(4, threads=2, rate_hz=2000)
    good = all_good(wrong, 500)
    print('frozen: %.1f %%' % (100 - 100.0 * stats.unfrozen / good))


# --- the cost of a sweep ----------------------------------------------------------------------------------------------


def copied_in_a_sweep(rate, of_bytes=0, stretches=bind.length(8, 5)):
    """Guarded copies, or their bytes, of each sweep. A lone thread is busy, and its stack grows and shrinks: the least of
    some stretches."""
    found = [ctypes.c_uint64() for _ in range(3)]
    hooks.pyprof_test_copies.restype = ctypes.c_uint64
    hooks.pyprof_test_decided.argtypes = [ctypes.POINTER(ctypes.c_uint64)] * 3

    def down(depth):
        return down(depth - 1) + down(depth - 2) if depth > 1 else 1

    def work(sweeps):
        copied = hooks.pyprof_test_copies(of_bytes)
        hooks.pyprof_test_decided(*found)
        seen = 0
        while seen < sweeps:
            for depth in 3, 9, 14:
                down(depth)
            sum(i * i for i in range(2000))
            hooks.pyprof_test_decided(*found)
            seen += found[2].value
        return (hooks.pyprof_test_copies(of_bytes) - copied) / seen

    with bind.record(rate_hz=rate) as r:
        work(300)
        each = [work(200) for _ in range(stretches)]
    balanced(r.profile.stats())
    print('%d Hz: %s %s a sweep' % (rate, ' '.join('%.2f' % one for one in each), 'bytes' if of_bytes else 'copies'))
    return min(each)


@bind.test(limit=90)
def a_sweep_is_one_copy():
    if bind.FREE_THREADED:
        bind.skip('threads are read while they run')
    check(copied_in_a_sweep(1000) < 1.6, 'a sweep takes several copies')


@bind.test(limit=90)
def threads_that_wait_are_not_copied():
    """Each has a thread state of some 300 bytes, that of the busy one included."""
    if bind.FREE_THREADED:
        bind.skip('threads are read while they run')
    alone = copied_in_a_sweep(1000, 1)
    stop = threading.Event()
    with running(stop.wait, count=24):
        many = copied_in_a_sweep(1000, 1)
        stop.set()
    check(many - alone < 24 * 200, '%.0f bytes a sweep for one thread, %.0f with 24 that wait', alone, many)


# --- signals ----------------------------------------------------------------------------------------------------------


def action():
    """The C library's view of SIGURG: handler, mask (the part that the kernel has), flags."""
    raw = ctypes.create_string_buffer(256)
    bind.equal(libc.sigaction(URG, None, raw), 0, 'sigaction')
    flags = struct.unpack_from('I', raw, 136)[0]
    return struct.unpack_from('QQ', raw) + (flags & ~0x04000000,)   # SA_RESTORER: the C library adds it, it says nothing


def voluntary(task):
    """How often a thread has gone to sleep: a system call that is interrupted and begun again counts."""
    with open('/proc/self/task/%d/status' % task) as file:
        return int([line for line in file if line.startswith('voluntary')][0].split()[1])


@contextlib.contextmanager
def counted():
    """C counts the SIGURGs that reach Python's handler: a byte each. Python itself would merge them."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    count = []

    def look():
        with contextlib.suppress(BlockingIOError):
            count.extend(os.read(reader, 100000))
        return len(count)

    yield look
    signal.set_wakeup_fd(old)
    os.close(reader)
    os.close(writer)


@bind.test
def foreign_signals_reach_their_handler():
    heard = []
    signal.signal(URG, lambda number, frame: heard.append(number))
    with counted() as count:
        with running(spin, bind.length(3, 0.8), name='spinner'):
            with bind.record(rate_hz=2000, capture=CAPTURE_SIGNAL) as r:
                bind.eventually(lambda: r.stats().samples > 100, 'samples')
                for i in range(100):
                    os.kill(os.getpid(), URG)
                    bind.eventually(lambda: count() > i, 'signal %d' % i)
            check(action() and signal.getsignal(URG) is not None, 'the handler is gone')
            os.kill(os.getpid(), URG)
            bind.eventually(lambda: count() > 100, 'a signal afterwards')
        time.sleep(0.1)
        bind.equal(count(), 101, 'signals')
    check(heard, 'Python heard none')
    balanced(r.profile.stats())


@bind.test
def the_handler_returns():
    def handler(number, frame):
        pass

    for host in (signal.SIG_DFL, signal.SIG_IGN, handler):
        signal.signal(URG, host)
        before = action()
        with bind.record(rate_hz=1000, capture=CAPTURE_SIGNAL) as r:
            bind.eventually(lambda: r.stats().samples > 20, 'samples')
            check(action() != before, 'no handler of ours')
            bind.equal(signal.getsignal(URG), host, 'the handler as Python knows it')
        bind.equal(action(), before, 'the handler as C knows it, after %r' % (host,))
        bind.equal(signal.getsignal(URG), host)


@bind.test
def other_modes_have_no_handler():
    before = action()
    for mode in (CAPTURE_AUTO, CAPTURE_COPY):
        with bind.record(rate_hz=1000, capture=mode) as r:
            bind.eventually(lambda: r.stats().samples > 20, 'samples')
            bind.equal(action(), before, 'the handler')


@bind.test
def a_handler_put_on_top_stays():
    """The host installs its own while the session runs: it is not taken away, and hears none of our signals."""
    with counted() as count:
        with running(spin, bind.length(3, 1.5), name='spinner'):
            session = bind.Session(rate_hz=2000, capture=CAPTURE_SIGNAL)
            bind.eventually(lambda: session.stats().samples > 100, 'samples')
            signal.signal(URG, lambda number, frame: None)
            mine, before = action(), session.stats().samples
            time.sleep(1)
            ours = count()
            os.kill(os.getpid(), URG)
            bind.eventually(lambda: count() > ours, 'a signal')
            bind.equal(action(), mine, 'the handler meanwhile')
            stats = session.stop().stats()
            bind.equal(action(), mine, 'the handler afterwards')
        heard = count()
        os.kill(os.getpid(), URG)
        bind.eventually(lambda: count() > heard, 'a signal afterwards')
    print('%d signals of ours reached the host' % ours, stats)
    check(stats.samples > before + 100, 'samples go on')
    check(ours <= 1, '%d signals of ours reached the handler of the host', ours)   # 1: it was on its way


@bind.test
def threads_that_block_the_signal():
    """They cannot be held: they are read by copying, and that is told."""
    here, there = two_cpus()

    def before():
        os.sched_setaffinity(0, [there])
        signal.pthread_sigmask(signal.SIG_BLOCK, [URG])

    os.sched_setaffinity(0, [here])
    wrong, stats = survey(3, before, exact=False, rate_hz=1000, capture=CAPTURE_SIGNAL)
    good = all_good(wrong, 500, 0.08)
    check(stats.unfrozen > 0.01 * good, '%d unfrozen samples of %d', stats.unfrozen, good)


@bind.test
def no_signal_is_left_behind():
    """A thread that blocked the signal all the while hears nothing of it when it no longer does."""
    signal.signal(URG, lambda number, frame: None)
    with counted() as count:
        signal.pthread_sigmask(signal.SIG_BLOCK, [URG])
        with bind.record(rate_hz=1000, capture=CAPTURE_SIGNAL):
            spin(1)
        left = signal.sigpending() & {URG}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [URG])
        time.sleep(0.1)
        bind.equal((left, count()), (set(), 0), 'signals pending, and heard by the handler of the host')


class Nap(ctypes.Structure):
    _fields_ = [('seconds', ctypes.c_long), ('ns', ctypes.c_long)]


@bind.test
def waiting_threads_are_left_alone():
    """Threads that wait in the kernel all the while go to sleep once: no system call of theirs is interrupted."""
    reader, writer = os.pipe()
    lock, event = threading.Lock(), threading.Event()
    lock.acquire()
    results = []
    waits = [lambda: os.read(reader, 1), lambda: time.sleep(2.5), lock.acquire, event.wait,
             lambda: select.select([reader], [], [], 2.5),
             lambda: results.append(libc.nanosleep(ctypes.byref(Nap(2, 500000000)), None)),
             lambda: results.append(libc.poll(None, 0, 2500)), lambda: results.append(libc.usleep(2500000))]
    with contextlib.ExitStack() as stack:
        tasks = [stack.enter_context(running(wait))[0].native_id for wait in waits]
        stack.enter_context(running(spin, 2))
        time.sleep(0.4)
        before = [voluntary(task) for task in tasks]
        with bind.record(rate_hz=5000, capture=CAPTURE_SIGNAL) as r:
            time.sleep(1.3)
        after = [voluntary(task) for task in tasks]
        os.write(writer, b'xx')
        lock.release()
        event.set()
    print(r.profile.stats())
    bind.equal(after, before, 'how often they went to sleep')
    bind.equal(results, [0, 0, 0], 'results of nanosleep, poll, usleep')


@bind.test
def short_sleeps_end_early_now_and_then_at_most():
    """Between the look that finds a thread running and the signal it may go to sleep: that has to be rare."""
    results = collections.Counter()

    def naps():
        nap = Nap(0, 200000)
        end = time.perf_counter() + bind.length(3)
        while time.perf_counter() < end:
            results[libc.nanosleep(ctypes.byref(nap), None)] += 1

    with bind.record(rate_hz=5000, capture=CAPTURE_SIGNAL) as r:
        with running(naps):
            pass
    print(dict(results), r.profile.stats())
    check(results[-1] <= 0.02 * results[0], '%d of %d sleeps were interrupted', results[-1], results[0])


@bind.test
def threads_that_end_while_held():
    with bind.record(rate_hz=5000, capture=CAPTURE_SIGNAL) as r:
        end = time.perf_counter() + bind.length(3)
        started = 0
        while time.perf_counter() < end:
            with running(spin, 0.0002, count=20):
                started += 20
    stats = r.profile.stats()
    print(started, 'threads', stats)
    balanced(stats)
    check(stats.samples > 500, 'only %d samples', stats.samples)
    for item in r.profile.visit(bind.ITEM_STACK):
        if item.thread.name != 'MainThread':
            check(item.stack[0].name in ('_bootstrap', '<truncated>', '<native>') + bind.UNPLACED, 'root %r', item.stack[0])


EXEC = '''
import sys
left, build, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.argv[1:] = [build]
sys.path.insert(0, folder)
import bind, os, threading
def go():
    if not left:
        print('done')
        sys.stdout.flush()
        os._exit(7)
    session = bind.Session(rate_hz=10000, capture=bind.CAPTURE_SIGNAL)
    while session.stats().samples < 20: pass
    for i in range(left * 1000): pass
    os.execv(sys.executable, [sys.executable, '-S', '-c', os.environ['EXEC'], str(left - 1), build, folder])
def spin():
    while True: pass
threading.Thread(target=spin, daemon=True).start()
if left % 2: go()
thread = threading.Thread(target=go)
thread.start()
thread.join()
'''


@bind.test(limit=180)
def exec_while_held():
    """A signal that is under way when the program executes another one must not end that: a chain of programs."""
    folder = os.path.dirname(os.path.abspath(__file__))
    process = subprocess.run([sys.executable, '-S', '-c', EXEC, str(bind.length(100, 10)), bind.BUILD, folder],
                             env=dict(os.environ, EXEC=EXEC), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=170)
    bind.equal((process.returncode, process.stdout), (7, b'done\n'), 'end of the chain')


@bind.test
def fork_while_held():
    signal.signal(URG, signal.SIG_DFL)
    default = action()

    def child():
        with bind.record(rate_hz=2000, capture=CAPTURE_SIGNAL) as r:
            for i in range(100):   # beside busy processes the first samples can all be of where it lost its CPU
                if i >= 4 and r.stats().samples >= 50:
                    break
                spin_hot(0.05)
        check(share(r.profile, 'MainThread', 'spin_hot') > 0.1, 'spin_hot in the child')
        bind.equal(action(), default, 'the handler of the child, afterwards')
        balanced(r.profile.stats())

    with running(spin, bind.length(3), name='worker'):
        with bind.record(rate_hz=5000, capture=CAPTURE_SIGNAL) as r:
            bind.eventually(lambda: r.stats().samples > 50, 'samples')
            for _ in range(bind.length(15, 5)):
                bind.equal(in_child(child), 0, 'exit status of the child')
        bind.equal(action(), default, 'the handler of the parent, afterwards')
    balanced(r.profile.stats())


@bind.test
def cycles_of_signal_sessions():
    before = action()
    with running(spin, bind.length(2.5), count=2):
        tasks = bind.tasks()
        for i in range(bind.length(50, 20)):
            with bind.record(rate_hz=5000, capture=CAPTURE_SIGNAL):
                spin(0.001 * (i % 10))
            bind.equal(action(), before, 'the handler')
        bind.eventually(lambda: set(bind.tasks()) <= set(tasks), 'threads as before')


@bind.test
def sessions_of_other_modes_come_and_go():
    """The handler is there as long as one session wants it."""
    before = action()
    outer = bind.Session(rate_hz=500)
    for _ in range(10):
        with bind.record(rate_hz=1000, capture=CAPTURE_SIGNAL) as r:
            bind.eventually(lambda: r.stats().samples > 10, 'samples')
            check(action() != before, 'no handler of ours')
        bind.eventually(lambda: action() == before, 'the handler is back')
    balanced(outer.stop().stats())


# --- weights ----------------------------------------------------------------------------------------------------------


@in_each_mode
def totals_are_time(mode):
    """Wall time of a thread is elapsed time, its CPU time what its clock says, whatever the rate and the mode."""
    for rate in bind.several(1000, 100):
        with running(spin, 3.6, name='spinner') as threads, running(time.sleep, 3.6, name='sleeper'):
            clock = time.pthread_getcpuclockid(threads[0].ident)
            session = bind.Session(rate_hz=rate, capture=mode)
            begin, cpu = time.perf_counter(), time.clock_gettime(clock)
            time.sleep(3.1)
            if not all(thread.is_alive() for thread in threads):
                raise bind.Far('the spinner had ended: the machine is busy')
            cpu = time.clock_gettime(clock) - cpu
            elapsed = time.perf_counter() - begin
            profile = session.stop()
        slack = 1.0 / rate + late(profile)
        print(rate, elapsed, slack, profile.stats())
        for name in ('spinner', 'sleeper', 'MainThread'):
            wall = thread_of(profile, name).total[WALL_NS] / 1e9
            bind.near(wall, elapsed, 0.01, slack, 'wall time of %s at %d Hz' % (name, rate))
        bind.near(thread_of(profile, 'spinner').total[CPU_NS] / 1e9, cpu, 0.02, slack, 'CPU time at %d Hz' % rate)
        balanced(profile.stats())


STOP = '''
import os, signal, sys, time
begin = time.perf_counter()
os.kill(os.getppid(), signal.SIGSTOP)
time.sleep(2.5)
end = time.perf_counter()
os.kill(os.getppid(), signal.SIGCONT)
print(end - begin)
'''


@in_each_mode
def a_stopped_process_leaves_a_gap(mode):
    with running(spin, 5.5, name='spinner'):
        session = bind.Session(rate_hz=200, capture=mode)
        begin = time.perf_counter()
        time.sleep(0.5)
        stopped = float(subprocess.check_output([sys.executable, '-S', '-c', STOP]))
        before, resumed, at = session.stats().asked, time.perf_counter(), time.time()
        time.sleep(0.5)
        asked = session.stats().asked - before
        slept = time.perf_counter() - resumed
        elapsed = time.perf_counter() - begin
        profile = session.stop()
    stats = profile.stats()
    print(stopped, elapsed, stats)
    balanced(stats)
    bind.near(stats.gap_ns / 1e9, stopped, 0.02, 0.1, 'the gap')
    for name in ('spinner', 'MainThread'):
        bind.near(thread_of(profile, name).total[WALL_NS] / 1e9, elapsed - stopped, 0.02, 0.12, 'wall time of ' + name)
    bind.near(profile.info().duration_s, elapsed - stopped, 0.02, 0.12, 'the duration')
    bind.near(asked, 2 * 200 * slept, 0.1, 6, 'asked after the stop')   # two threads
    bind.near(stats.asked, 2 * 200 * (elapsed - stopped), 0.1, 12, 'asked')
    longest = max(item.self[WALL_NS] / item.count for item in profile.visit(bind.ITEM_STATE) if item.timestamp < at)
    bind.near(longest / 1e9, 0, 0, 0.5, 'the longest sample')


def deep(n, seconds, done=None):
    if n:
        deep(n - 1, seconds, done)
    else:
        churn_leaves(seconds, done)


def churn_leaves(seconds, done):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and not (done and done.is_set()):
        one_round()


@in_each_mode
def lost_time_stays_in_the_totals(mode):
    for rate in bind.several(0.01, 0.3):
        with running(deep, 40, 3.6, name='deep') as threads:
            time.sleep(0.2)
            session = bind.Session(rate_hz=1000, capture=mode)
            begin = time.perf_counter()
            time.sleep(0.3)
            hooks.pyprof_test_faults(rate, FAIL, 5)
            time.sleep(2.5)
            hooks.pyprof_test_faults(0, 0, 0)
            bind.enough(threads[0].is_alive(), 'the thread had ended: the machine is busy')
            elapsed = time.perf_counter() - begin
            profile = session.stop()
        stats = profile.stats()
        balanced(stats)
        wall = thread_of(profile, 'deep').total[WALL_NS] / 1e9
        print('faults %g: %.3f of %.3f s' % (rate, wall, elapsed), stats)
        if rate < 0.1:
            bind.near(wall, elapsed, 0.02, 0.01 + late(profile), 'wall time')


@bind.test
def lost_time_is_below_the_outer_frames():
    """As far as the last good stack and the latest doubtful one are the same, if there is one: when a thread lost its CPU
    between two stores of the interpreter, each attempt reads the same broken chain."""
    here, there = two_cpus()
    os.sched_setaffinity(0, [here])
    session = bind.Session(rate_hz=400, capture=CAPTURE_COPY, max_cpu=1e6)
    os.sched_setaffinity(0, [there])
    done = threading.Event()
    with running(deep, 40, 6, done, name='deep'), setting(done):
        time.sleep(0.4)
        hooks.pyprof_test_faults(1, APART, 5)   # nothing that is read of a running thread agrees
        end = time.monotonic() + 5
        while session.stats().rejected < 100 and time.monotonic() < end:   # a busy machine may leave it little time
            time.sleep(0.1)
        hooks.pyprof_test_faults(0, 0, 0)
    profile = session.stop()
    balanced(profile.stats())
    lost = [(len(item.stack) - 1, item.self[CPU_NS] / 1e9) for item in profile.visit(bind.ITEM_STACK)
            if item.thread.name == 'deep' and item.stack[-1].name == '<lost>']
    total = sum(cpu for _, cpu in lost)
    deep_down = sum(cpu for depth, cpu in lost if depth >= 40)
    bind.enough(total > 0.02, 'only %.3f s of CPU time are lost: %r', total, profile.stats())
    bind.enough(deep_down > total / 8, 'of %.3f s that are lost only %.3f lie below the outer frames', total, deep_down)


# --- starvation -------------------------------------------------------------------------------------------------------


@bind.test(limit=90, alone=True)
def a_real_time_thread_starves_the_sampler():
    """It keeps away from that CPU, tells so, and goes on."""
    here, there = two_cpus()
    refused = []

    def real_time():
        os.sched_setaffinity(0, [here])
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError as error:
            refused.append(error)
            return
        try:
            for _ in range(16):   # all who share this machine feel it
                if b'starved' in session.stats().degraded:
                    break
                spin(0.25)
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    session = bind.Session(rate_hz=500)
    os.sched_setaffinity(0, [there])
    with running(real_time, name='real time'):
        pass
    if refused:
        session.stop()
        bind.skip('no real-time scheduling here: %s' % refused[0])
    starved = session.stats()
    with running(churn_main, 0, bind.length(4, 1), name='churn'):
        pass
    stats = session.stats()
    profile = session.stop()
    print(starved, stats)
    balanced(stats)
    reason = profile.stats().degraded.decode()
    if 'starved' not in reason:
        raise bind.Far('degraded: %r' % reason)
    check(reason in profile.write(bind.TEXT).decode(), 'the text does not tell')
    bind.equal(profile.json()['stats']['degraded'], reason, 'the reason in the JSON')
    asked, samples = stats.asked - starved.asked, stats.samples - starved.samples
    check(samples >= 0.3 * asked, '%d samples of %d', samples, asked)
    missed = starved.missed / max(1, starved.asked)
    print('missed %.3f meanwhile, %.3f afterwards' % (missed, 1 - samples / asked))


# --- reads that fail --------------------------------------------------------------------------------------------------


def fresh_code(seconds):
    end = time.perf_counter() + seconds
    i = 0
    while time.perf_counter() < end:
        i += 1
        space = {}
        exec(compile('def name_%d(n):\n    for _ in range(n): pass\n' % i, '/fresh/%d.py' % i, 'exec'), space)
        space['name_%d' % i](500)


def short_threads(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        with running(spin, 0.001, count=4):
            pass


def all_kinds_of_work(seconds):
    with running(churn_main, 0, seconds, name='churn', count=2), running(fresh_code, seconds, name='fresh'):
        short_threads(seconds)


def faults_of(kind):
    steps, lines = trace_run(), known_lines()
    try:
        for rate in bind.several(0.01, 0.0001, 0.001, 0.1):
            session = bind.Session(rate_hz=2000)
            hooks.pyprof_test_faults(rate, kind, 7)
            all_kinds_of_work(bind.length(1.5, 1))
            hooks.pyprof_test_faults(0, 0, 0)
            faulty = session.snapshot(reset=1)
            if kind == GARBAGE:   # names once read are kept as long as there is a session
                session.stop()
                session = bind.Session(rate_hz=2000)
            with running(churn_main, 0, bind.length(1, 0.5), name='churn'):
                pass
            after = session.stop()
            wrong, wrong_after = impossible(faulty, steps, lines), impossible(after, steps, lines)
            print('%d at %g: %r, %r' % (kind, rate, dict(wrong), faulty.stats()))
            print('    afterwards: %r, %r' % (dict(wrong_after), after.stats()))
            for profile in (faulty, after):
                balanced(profile.stats())
                profile.json()
            if kind != GARBAGE:
                wrong.pop('good', 0)
                check(sum(wrong.values()) <= 3, 'impossible stacks at %g: %r', rate, dict(wrong))
            all_good(wrong_after, 100)
            stats = after.stats()
            bind.near(stats.rejected / max(1, stats.asked - stats.missed), 0, 0, 0.02, 'rejected after %g' % rate)
    finally:
        hooks.pyprof_test_faults(0, 0, 0)


for number, kind_name in ((FAIL, 'fail'), (SHORT, 'come_short'), (GARBAGE, 'return_garbage')):
    bind.test(lambda number=number: faults_of(number), name='reads_that_' + kind_name, limit=120, long=number == SHORT)


def attempt(function, *arguments, **keywords):
    """What it returns, or None: then it has told why."""
    try:
        return function(*arguments, **keywords)
    except bind.Error as error:
        check(error.detail.strip(), 'no reason: %s', error)
        seen[(error.args[0].split(':')[0], bind.RESULTS[error.code])] += 1
        return None


seen = collections.Counter()


@bind.test(limit=120)
def faults_at_any_time():
    """During start, snapshot, dump, stop and while names are read: it works or says why not, and later works again."""
    def cycle():
        session = attempt(bind.Session, rate_hz=2000)
        attempt(bind.dump_profile)
        if not session:
            return
        with running(spin, 0.005, name='a short one', count=3):
            time.sleep(0.01)
        for profile in (attempt(session.snapshot), attempt(session.snapshot, reset=1), attempt(session.stop)):
            if profile:
                balanced(profile.stats())
                profile.json()

    def churn():
        while not stop.is_set():
            one_round()

    stop = threading.Event()
    with running(churn, name='churn'), setting(stop):
        for rate in (0.001, 0.01, 0.1, 0.5, 1.0)[::bind.length(1, 2)]:
            for seed in range(bind.length(20, 1)):
                for kinds in (FAIL, SHORT, GARBAGE, 7):
                    hooks.pyprof_test_faults(rate, kinds, seed)
                    if seed < 6 or kinds == 7:
                        cycle()
            hooks.pyprof_test_faults(0, 0, 0)
            print('faults %g: %r' % (rate, dict(seen)))
            seen.clear()
            profile = bind.dump_profile()
            check('churn' in [thread.name for thread in profile.threads()], 'dump without faults: %r', profile.threads())
            with bind.record(rate_hz=1000) as r:
                bind.eventually(lambda: r.stats().samples > 20, 'samples without faults, after %g' % rate)


# --- deadlines --------------------------------------------------------------------------------------------------------


def busy_until(end):
    while time.perf_counter() < end:
        pass


def tick(end):
    busy_until(end)


def tock(end):
    busy_until(end)


@bind.test
def samples_are_in_step_with_nothing():
    """Two functions take turns, each exactly a period long: a sampler with a fixed period would see one of them only."""
    def turns(seconds):
        end = begin = time.perf_counter()
        while end < begin + seconds:
            end += period
            tick(end)
            end += period
            tock(end)

    period = bind.length(0.01, 0.004)
    with bind.record(rate_hz=1 / period) as r:
        with running(turns, 500 * period, name='turns'):
            pass
    shares = [share(r.profile, 'turns', name, SAMPLES) for name in ('tick', 'tock')]
    print(shares, r.profile.stats())
    bind.near(shares[0] / sum(shares), 0.5, 0, 0.08, 'the share of tick')


# --- code that goes ---------------------------------------------------------------------------------------------------


def clocks_apart():
    """Unix time minus the clock that does not jump: the least of many, as anything can come between two readings."""
    return min(-time.perf_counter() + time.time() for _ in range(1000))


@in_each_mode
def names_are_of_living_code(mode):
    """Functions that live a moment, each with a name, file and line of its own: none is mixed up with another, and none
    is seen after its end."""
    life = {}

    def work(seconds):
        stop = time.perf_counter() + seconds
        i = 0
        while time.perf_counter() < stop:
            i += 1
            first = i % 89 + 1
            source = '\n' * (first - 1) + 'def name_%d(n):\n    for _ in range(n): pass\n' % i
            space = {}
            begin = time.perf_counter()
            exec(compile(source, '/gone/%d_%d.py' % (i, first), 'exec'), space)
            space['name_%d' % i](2000)
            space.clear()
            life[i] = (begin, time.perf_counter())

    cpus = sorted(os.sched_getaffinity(0))
    if mode != CAPTURE_AUTO:   # the harder case: what is read runs on another CPU meanwhile
        os.sched_setaffinity(0, cpus[:1])
    with bind.record(rate_hz=2000, capture=mode) as r:
        os.sched_setaffinity(0, cpus[-1:] if mode != CAPTURE_AUTO else cpus)
        with running(work, bind.length(3), name='worker'):
            pass
    offset = clocks_apart()
    known, late_ones, early, mixed = set(), [], [], []
    states = sorted((item for item in r.profile.visit(bind.ITEM_STATE) if item.thread.name == 'worker'), key=lambda item: item.timestamp)
    for item, after in zip(states, states[1:]):
        frame = item.stack[-1]
        if not frame.name.startswith('name_'):
            continue
        number, first = frame.name[len('name_'):], frame.first_line
        if frame.file != '/gone/%s_%d.py' % (number, first) or not 0 <= frame.line - first <= 1:
            mixed.append((frame.name, frame.file, frame.first_line, frame.line))
            continue
        begin, end = life[int(number)]
        known.add(number)
        # Seen after its own time stamp, which is that of the look before, and not after the next one.
        if item.timestamp - offset > end + 0.0005:
            late_ones.append((number, item.timestamp - offset - end))
        if after.timestamp - offset < begin - 0.0005:
            early.append((number, begin - after.timestamp + offset))
    print('%d made, %d seen, %d too late, %d too early' % (len(life), len(known), len(late_ones), len(early)), r.profile.stats())
    few = 0.005 * r.profile.stats().samples if mode == CAPTURE_COPY else 0   # 3.11 can make them faster than they are read
    check(len(mixed) <= few, 'name, file, first line and line of %d samples that mix functions: %r', len(mixed), mixed[:10])
    check(len(known) > 30, 'only %d functions seen', len(known))
    balanced(r.profile.stats())
    # Between its time stamp and its look the sampler can lose its CPU, for a turn of another program: seldom, and not for long.
    if mode != CAPTURE_AUTO and len(early) <= 0.01 * len(states):
        early = [one for one in early if one[1] > 0.02]
    if late_ones or early:
        raise bind.Far('seen after their end: %r; before their beginning: %r' % (late_ones[:5], early[:5]))


if __name__ == '__main__':
    bind.run()
