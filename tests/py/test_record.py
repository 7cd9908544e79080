"""Recordings of real work: weights, totals, sessions, snapshots, fork, churn, and stacks that cannot be.

Times are measured on machines that do other things too: the limits are wide where they depend on the scheduler, and
exact where they only depend on the arithmetic of the library.
"""
import asyncio
import collections
import contextlib
import ctypes
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time

import bind
from bind import CPU_NS, SAMPLES, WAIT_NS, WAIT_SAMPLES, WALL_NS

FILE = os.path.abspath(__file__)


def name_of(code):
    return getattr(code, 'co_qualname', code.co_name)


def spin(seconds):
    """Busy in this one function."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def spin_on_cpu(seconds):
    """Busy until this thread has used so much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(100):
            pass


def spin_hot(seconds):
    """Half the time in hot, half in warm."""
    def hot():
        for _ in range(5000):
            pass

    def warm():
        for _ in range(5000):
            pass

    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        hot()
        warm()


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


def thread_of(profile, name):
    found = [thread for thread in profile.threads() if thread.name == name]
    bind.equal(len(found), 1, 'threads named %s' % name)
    return found[0]


def share(profile, thread, function, metric=WALL_NS, leaf=False):
    """The share of the thread's time with that function on the stack, or on top."""
    total = part = 0
    for item in profile.visit(bind.ITEM_STACK):
        if item.thread.name == thread:
            total += item.self[metric]
            frames = item.stack[-1:] if leaf else item.stack
            if any(frame.name == function for frame in frames):
                part += item.self[metric]
    bind.check(total > 0, 'no time in thread %s', thread)
    return part / total


def late(profile):
    """How late the sampler woke, at worst, in seconds: on a busy machine the ends of a recording are as blurred."""
    return profile.stats().late_max_ns / 1e9


def balanced(stats):
    bind.equal(stats.asked, stats.samples + stats.missed + stats.rejected, 'asked')
    bind.equal(stats.rejected, sum(stats.rejected_by_cause), 'rejected')


# --- weights and totals -----------------------------------------------------------------------------------------------


@bind.test(alone=True)
def a_spinner_gets_its_time():
    times = []   # on a busy machine it may be long before a thread begins to spin

    def spinner_of(seconds):
        begin, used = time.perf_counter(), time.thread_time()
        spin(seconds)
        times.extend([(time.perf_counter() - begin) * 1e9, (time.thread_time() - used) * 1e9])

    with bind.record(rate_hz=1000) as r:
        with running(spinner_of, 1.5, name='spinner'), running(time.sleep, 1.5, name='sleeper'):
            time.sleep(1.5)
    profile = r.profile
    spinner, sleeper = thread_of(profile, 'spinner'), thread_of(profile, 'sleeper')
    whole = spinner.total[WALL_NS]
    for leaf in (False, True):
        bind.near(share(profile, 'spinner', 'spin', leaf=leaf), times[0] / whole, 0, 0.1, 'the share of spin')
    bind.enough(share(profile, 'spinner', 'spin', CPU_NS) > 0.9, 'CPU time in spin')
    bind.check(sleeper.total[CPU_NS] < 0.05e9, 'the sleeper used %g s of CPU', sleeper.total[CPU_NS] / 1e9)
    bind.check(sleeper.total[WAIT_NS] > 0.9 * sleeper.total[WALL_NS], 'the sleeper did not wait: %r', sleeper.total)
    bind.near(1 - spinner.total[WAIT_NS] / whole, times[1] / whole, 0, 0.1, 'how much the spinner runs')
    balanced(profile.stats())


@bind.test
def two_equal_functions_get_equal_shares():
    with bind.record(rate_hz=2000) as r:
        with running(spin_hot, bind.length(3.0), name='spinner'):
            time.sleep(bind.length(3.0))
    hot, warm = share(r.profile, 'spinner', 'hot', CPU_NS), share(r.profile, 'spinner', 'warm', CPU_NS)
    print('hot %.3f, warm %.3f' % (hot, warm))
    bind.enough(hot + warm > 0.9, 'hot %.3f and warm %.3f are not all', hot, warm)
    bind.near(hot, warm, 0, 0.08, 'the share of hot')


@bind.test
def wall_time_is_elapsed_time():
    stop = threading.Event()
    with running(stop.wait, name='waiter', count=1), running(spin, 2.2, name='spinner'):
        time.sleep(0.1)
        begin = time.perf_counter()
        session = bind.Session(rate_hz=1000)
        time.sleep(2)
        stats = session.stats()
        profile = session.stop()
        elapsed = time.perf_counter() - begin
        stop.set()
    info = profile.info()
    bind.near(info.duration_s, elapsed, 0.02, 0.02 + late(profile), 'the duration')
    for name in ('waiter', 'spinner', 'MainThread'):
        bind.near(thread_of(profile, name).total[WALL_NS] / 1e9, elapsed, 0.02, 0.02 + late(profile), 'wall time of ' + name)
    bind.enough(stats.samples > 500, 'only %d samples', stats.samples)
    balanced(stats)
    balanced(profile.stats())


@bind.test
def cpu_time_is_the_threads_own():
    used = {}

    def work(name, seconds):
        begin = time.thread_time()
        spin_on_cpu(seconds)
        time.sleep(0.3)
        used[name] = time.thread_time() - begin

    with bind.record(rate_hz=1000) as r:
        with running(work, 'one', 0.8, name='one'), running(work, 'two', 0.3, name='two'):
            pass
    for name in used:
        thread = thread_of(r.profile, name)
        bind.near(thread.total[CPU_NS] / 1e9, used[name], 0.05, 0.03, 'CPU time of ' + name)
    for thread in r.profile.threads():
        bind.check(thread.total[CPU_NS] <= 1.1 * thread.total[WALL_NS] + 10e6, '%s: CPU %d, wall %d', thread.name,
                   thread.total[CPU_NS], thread.total[WALL_NS])
        bind.check(thread.total[WAIT_NS] <= thread.total[WALL_NS], '%s waited longer than it lived', thread.name)
        bind.check(thread.total[WAIT_SAMPLES] <= thread.total[SAMPLES], 'more waiting samples than samples')


@bind.test
def samples_come_at_the_rate():
    for rate in (50, 400):
        with bind.record(rate_hz=rate) as r:
            time.sleep(bind.length(1.5))
        stats = r.profile.stats()
        bind.near(stats.asked, rate * r.elapsed, 0.1, 3, 'samples asked for at %d Hz' % rate)
        bind.near(stats.samples + stats.missed + stats.rejected, stats.asked, 0)
        bind.near(r.profile.info().rate_hz, rate, 0.001, 0, 'the rate')


@bind.test
def all_totals_agree():
    with bind.record(rate_hz=1000, timeline_s=60) as r:
        with running(spin_hot, 1.0, name='a'), running(spin_hot, 1.0, name='b'), running(time.sleep, 1.0, name='c'):
            time.sleep(0.7)
    profile = r.profile
    info, stats, document = profile.info(), profile.stats(), profile.json()
    threads = {item.thread.thread_id: item for item in profile.visit(bind.ITEM_THREAD)}
    stacks, nodes, states = (profile.visit(kind) for kind in (bind.ITEM_STACK, bind.ITEM_NODE, bind.ITEM_STATE))
    bind.equal(info.total[SAMPLES], stats.samples, 'samples')
    bind.check(stats.samples > 1000, 'only %d samples', stats.samples)
    bind.equal(info.threads, len(threads), 'threads')
    for metric in (SAMPLES, WALL_NS, CPU_NS, WAIT_NS, WAIT_SAMPLES):
        bind.equal(sum(item.thread.total[metric] for item in threads.values()), info.total[metric], 'metric %d, threads' % metric)
        bind.equal(sum(item.self[metric] for item in stacks), info.total[metric], 'metric %d, stacks' % metric)
        bind.equal(sum(item.self[metric] for item in nodes), info.total[metric], 'metric %d, nodes' % metric)
        roots = [item for item in nodes if len(item.stack) == 1]
        bind.equal(sum(item.total[metric] for item in roots), info.total[metric], 'metric %d, roots' % metric)
        for thread_id, item in threads.items():
            bind.equal(sum(one.self[metric] for one in stacks if one.thread.thread_id == thread_id),
                       item.thread.total[metric], 'metric %d of %s' % (metric, item.thread.name))
            if metric in (SAMPLES, WALL_NS):
                bind.equal(sum((one.count if metric == SAMPLES else one.self[metric]) for one in states
                               if one.thread.thread_id == thread_id),
                           item.thread.total[metric] - (metric == WALL_NS) * sum(
                               one.self[metric] for one in stacks
                               if one.thread.thread_id == thread_id and one.stack[-1].name in bind.UNPLACED),
                           'metric %d of %s in the time line' % (metric, item.thread.name))
    # each node: total = self + its children's
    children = collections.Counter()
    total = {}
    for item in nodes:
        key = (item.thread.thread_id,) + tuple(item.stack)
        bind.check(key not in total, 'a node twice: %r', key)
        total[key] = item.total[SAMPLES] - item.self[SAMPLES]
        children[key[:-1]] += item.total[SAMPLES]
    for key, below in total.items():
        bind.equal(children[key], below, 'samples below a node')
    # the JSON
    bind.equal(sum(sample['count'] for sample in document['samples']), stats.samples, 'samples in the JSON')
    bind.equal(sum(sample['wall_ns'] for sample in document['samples']), info.total[WALL_NS] - bind.lost(profile), 'wall time in the JSON')
    functions = collections.Counter()
    walls = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, leaves=True):   # what is waited for is among the labels
        for label in set(frame.label for frame in item.stack):
            functions[label] += item.self[SAMPLES]
            walls[label] += item.self[WALL_NS]
    bind.equal(sum(one['self_samples'] for one in document['functions'].values()), stats.samples, 'self samples in the JSON')
    bind.equal({label: one['samples'] for label, one in document['functions'].items()}, dict(functions), 'functions')
    for label, one in document['functions'].items():
        bind.near(one['time'], walls[label] / 1e9, 0, 1e-6, 'time of ' + label)
    for key in ('asked', 'samples', 'missed', 'rejected', 'retried', 'unfrozen', 'truncated', 'timeline_dropped', 'threads',
                'interpreters'):
        bind.equal(document['stats'][key], getattr(stats, key), 'stats.' + key)
    balanced(stats)
    top = profile.top(include_idle=1, sort=SAMPLES, by_total=1)
    bind.equal(sum(row.self[SAMPLES] for row in top), stats.samples, 'self samples of the table')
    bind.equal([row.total[SAMPLES] for row in top], sorted((row.total[SAMPLES] for row in top), reverse=True), 'order')
    for row in top:
        bind.check(row.self[SAMPLES] <= row.total[SAMPLES] <= stats.samples, 'row %r', row[:4])


@bind.test
def recursion_counts_once():
    """Inclusive time counts a stack once, however often the function stands on it."""
    def down(n):
        return down(n - 1) if n else spin(0.3)

    with bind.record(rate_hz=500) as r:
        down(30)
    document, stats = r.profile.json(), r.profile.stats()
    label = 'test_record.' + name_of(down.__code__)
    one = document['functions'][label]
    bind.check(one['samples'] <= stats.samples, '%d samples of %d', one['samples'], stats.samples)
    bind.check(one['time'] <= document['duration'] * 1.001, '%g s of %g', one['time'], document['duration'])
    row = [row for row in r.profile.top(include_idle=1) if row.name == 'down'][0]
    bind.equal(row.total[SAMPLES], one['samples'])


@bind.test
def the_table():
    with bind.record(rate_hz=1000) as r:
        with running(spin_hot, 0.8, name='worker one'), running(time.sleep, 0.8, name='idler'):
            pass
    p = r.profile
    names = [row.name for row in p.top()]
    bind.check(names[0] in ('hot', 'warm'), 'the first row is %s', names[:3])
    bind.equal(len(p.top(capacity=1)), 1)
    lines = p.top(group=bind.GROUP_LINE)
    bind.check(any(row.name == 'hot' and row.line > spin_hot.__code__.co_firstlineno for row in lines), 'lines: %r', lines[:3])
    files = p.top(group=bind.GROUP_FILE, include_idle=1)
    bind.check(any(os.path.basename(row.file) == 'test_record.py' for row in files), 'files: %r', [row[:3] for row in files])
    bind.equal(len(set(row.file for row in files)), len(files), 'files')
    threads = p.top(group=bind.GROUP_THREAD, include_idle=1)
    bind.check({'worker one', 'idler', 'MainThread'} <= set(row.name for row in threads), 'threads: %r', [row[:2] for row in threads])
    bind.equal(sum(row.total[SAMPLES] for row in threads), p.stats().samples)
    only = p.top(thread='worker*', include_idle=1)
    bind.equal(sum(row.self[SAMPLES] for row in only), thread_of(p, 'worker one').total[SAMPLES], 'one thread')
    bind.equal(p.top(thread='nobody', include_idle=1), [])
    with_hot = p.top(function='*hot', include_idle=1)
    bind.check('warm' not in [row.name for row in with_hot], 'warm is no part of the stacks with hot')
    bind.check('spin_hot' in [row.name for row in with_hot], 'callers are')
    bind.equal(p.top(file='*no such file*', include_idle=1), [])
    bind.check([row for row in p.top(file='*test_record.py')], 'by file')


@bind.test
def thread_names_and_times():
    with bind.record(rate_hz=1000) as r:
        time.sleep(0.2)
        began = time.time()
        with running(spin, 0.4, name='late\u00e9 \u4e2d'):
            pass
        ended = time.time()
        time.sleep(0.2)
    thread = thread_of(r.profile, 'late\u00e9 \u4e2d')
    bind.near(thread.first_seen, began, 0, 0.1, 'first seen')
    bind.near(thread.last_seen, ended, 0, 0.1, 'last seen')
    bind.near(thread.total[WALL_NS] / 1e9, ended - began, 0, 0.06 + late(r.profile), 'wall time')
    told = {one['thread_id']: one for one in r.profile.json()['threads']}
    bind.equal(told[thread.thread_id]['name'], thread.name)
    bind.equal(told[thread.thread_id]['ident'], thread.ident)
    bind.equal(told[thread.thread_id]['interpreter'], 0)


@bind.test
def names_of_short_threads():
    """A thread can be seen before Python knows its name: it gets it all the same, and nobody else's meanwhile."""
    with bind.record(rate_hz=2000) as r:
        for i in range(300):
            with running(spin, 0.005, name='job %d' % i):
                pass
    threads = r.profile.threads()
    bind.equal([thread.thread_id for thread in threads if thread.name == 'MainThread'], [os.getpid()], 'main threads')
    bind.equal([thread.name for thread in threads if thread.thread_id == 0], [], 'threads without a number')
    wrong = [(thread.name, thread.total[SAMPLES]) for thread in threads
             if thread.name != 'MainThread' and not thread.name.startswith('job ') and thread.total[SAMPLES] > 4]
    bind.check(len(wrong) < 5, 'wrong or no names: %r', wrong)


@bind.test
def thread_filter():
    with bind.record(rate_hz=1000, thread_filter='work*') as r:
        with running(spin, 0.5, name='worker'), running(spin, 0.5, name='other'):
            pass
    bind.equal({item.thread.name for item in r.profile.visit(bind.ITEM_STACK)}, {'worker'})
    bind.equal([thread['name'] for thread in r.profile.json()['threads']], ['worker'])
    bind.equal({sample['thread_id'] for sample in r.profile.json()['samples']}, {thread_of(r.profile, 'worker').thread_id})
    balanced(r.profile.stats())


@bind.test
def paths_of_files():
    def files(**config):
        with bind.record(rate_hz=1000, **config) as r:
            while r.stats().samples < 20:
                spin(0.1)
        return {frame['file'] for frame in r.profile.json()['frames'] if frame['kind'] in (0, 'python')}, r.profile

    full, profile = files()
    bind.check(__file__ in full, 'full paths: %r', full)
    base, _ = files(paths=bind.PATHS_BASE)
    bind.check('test_record.py' in base and not [file for file in base if '/' in file], 'base names: %r', base)
    hashed, _ = files(paths=bind.PATHS_HASHED)
    bind.check(not [file for file in hashed if 'test_record' in file or '/' in file], 'hashed: %r', hashed)
    again, _ = files(paths=bind.PATHS_HASHED)
    bind.check(hashed & again, 'the same file twice has the same hash: %r %r', hashed, again)
    later = profile.write(bind.JSON, paths=bind.PATHS_BASE)   # at the time of writing
    bind.check(os.path.dirname(FILE).encode() not in later, 'the folder is still in the output')


@bind.test
def capture_by_copying():
    with bind.record(rate_hz=1000, capture=bind.CAPTURE_COPY) as r:
        spin_hot(0.5)
    bind.check(share(r.profile, 'MainThread', 'spin_hot') > 0.85, 'spin_hot')
    balanced(r.profile.stats())


@bind.test
def the_time_line():
    with bind.record(rate_hz=1000) as r:
        begin = time.time()
        spin(0.3)
        between = time.time()
        time.sleep(0.3)
        end = time.time()
    samples = r.profile.json()['samples']
    last = None
    for sample in samples:
        bind.check(begin - 0.1 <= sample['timestamp'] <= end + 0.1, 'timestamp %r', sample['timestamp'])
        bind.check(last is None or sample['timestamp'] >= last, 'not in order')
        last = sample['timestamp']
        bind.equal(len({len(sample['stack']), len(sample['lines']), len(sample['frames'])}), 1)
    spins = [sample for sample in samples if sample['stack'][-1] == 'test_record.spin']
    bind.enough(spins, 'no sample in spin')
    inside = sum(sample['count'] for sample in spins if begin - 0.01 <= sample['timestamp'] <= between + 0.01)
    bind.check(inside >= 0.95 * sum(sample['count'] for sample in spins), 'samples of spin outside its time')
    sleeps = [sample for sample in samples if sample['timestamp'] > between + 0.05 and sample['timestamp'] < end - 0.05]
    bind.check(len(sleeps) <= 20, 'consecutive identical samples are one entry: %d entries', len(sleeps))


@bind.test
def the_time_line_of_many_threads():
    """A hundred threads that wait: an entry or so for each, not one for each sample."""
    stop = threading.Event()
    with running(stop.wait, name='waiter', count=100):
        time.sleep(0.2)
        with bind.record(rate_hz=200) as r:
            time.sleep(0.5)
        stop.set()
    samples = [sample for sample in r.profile.json()['samples'] if sample['stack'][-1].split(' (')[0].endswith('wait')]
    bind.enough(sum(sample['count'] for sample in samples) > 5000, 'samples: %d', sum(sample['count'] for sample in samples))
    bind.check(len(samples) <= 400, '%d entries', len(samples))


@bind.test
def the_time_line_has_a_length():
    with bind.record(rate_hz=1000, timeline_s=0.3) as r:
        spin_hot(1.0)
    document = r.profile.json()
    first = min(sample['timestamp'] for sample in document['samples'])
    last = max(sample['timestamp'] for sample in document['samples'])
    bind.enough(0.15 < last - first < 0.6, 'the time line spans %.3f s', last - first)
    bind.near(r.profile.info().total[WALL_NS] / 1e9, r.elapsed, 0.03, 0.02 + late(r.profile), 'the tree covers everything')
    with bind.record(rate_hz=1000, timeline_s=-1) as r:
        spin_hot(0.2)
    bind.equal(r.profile.json()['samples'], [])
    bind.enough(r.profile.stats().samples > 50, 'samples without a time line')


# --- sessions ---------------------------------------------------------------------------------------------------------


@bind.test
def pause_and_resume():
    session = bind.Session(rate_hz=1000)
    begin = time.perf_counter()
    spin(0.4)
    session.pause()
    session.pause()
    paused = time.perf_counter()
    paused_at = time.time()
    before = session.stats()
    spin(0.5)
    after = session.stats()
    resumed_at = time.time()
    resumed = time.perf_counter()
    session.resume()
    session.resume()
    spin(0.3)
    recorded = (paused - begin) + (time.perf_counter() - resumed)
    profile = session.stop()
    bind.equal(before.samples, after.samples, 'samples while paused')
    bind.equal(before.asked, after.asked, 'asked while paused')
    bind.near(profile.info().duration_s, recorded, 0.02, 0.02 + late(profile), 'the duration without the pause')
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, recorded, 0.02, 0.02 + late(profile), 'wall time without the pause')
    for sample in profile.json()['samples']:
        bind.check(not paused_at + 0.01 < sample['timestamp'] < resumed_at - 0.01, 'a sample during the pause')
    balanced(profile.stats())


@bind.test
def one_pauses_while_another_records():
    other = bind.Session(rate_hz=1000)
    session = bind.Session(rate_hz=500)
    spin(0.2)
    session.pause()
    before, others = session.stats(), other.stats()
    spin(0.3)
    bind.equal(session.stats().samples, before.samples, 'samples while paused')
    bind.enough(other.stats().samples > others.samples + 100, 'the other one goes on')
    session.resume()
    spin(0.2)
    bind.enough(session.stats().samples > before.samples + 30, 'samples after it was resumed')
    session, other = session.stop(), other.stop()
    bind.near(thread_of(session, 'MainThread').total[WALL_NS] / 1e9, 0.4, 0, 0.04 + 2 * late(other), 'wall time without the pause')
    bind.near(thread_of(other, 'MainThread').total[WALL_NS] / 1e9, 0.7, 0, 0.05 + late(other), 'wall time of the other')


@bind.test
def two_sessions_with_a_depth_of_their_own():
    def down(n):
        return down(n - 1) if n else spin(0.4)

    shallow, deep = bind.Session(rate_hz=1000, max_depth=10), bind.Session(rate_hz=500, max_depth=500)
    down(100)
    shallow, deep = shallow.stop(), deep.stop()
    for profile, depth, cut in ((shallow, 10, True), (deep, 500, False)):
        stats = profile.stats()
        seen = 0
        for item in profile.visit(bind.ITEM_STACK):
            frames = [frame for frame in item.stack if frame.kind == bind.KIND_PYTHON]
            if item.stack[-1].name == 'spin' and item.self[SAMPLES]:
                bind.equal(len(frames), 10 if cut else len(frames), 'frames')
                bind.check(cut or len(frames) > 100, '%d frames', len(frames))
                bind.equal(item.stack[0].name, '<truncated>' if cut else '<module>', 'the first frame')
                seen += item.self[SAMPLES]
        bind.enough(seen > 50, '%d samples in spin', seen)
        bind.check(stats.truncated >= seen if cut else stats.truncated == 0, 'truncated: %d of %d', stats.truncated, seen)


@bind.test(alone=True)
def a_slower_session_counts_what_was_missed():
    """Ticks that the sampler misses are missed by every session, at its own rate."""
    hogs = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass']) for _ in range(4)]
    try:
        fast = bind.Session(rate_hz=5000)
        with bind.record(rate_hz=100) as r:
            spin(bind.length(3.0))
        fast = fast.stop().stats()
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    print(fast, r.profile.stats())
    balanced(r.profile.stats())
    bind.near(r.profile.stats().asked, 100 * r.elapsed, 0.05, 3, 'asked at 100 Hz')
    bind.near(fast.asked + fast.thinned, 5000 * r.elapsed, 0.05, 3, 'asked at 5000 Hz')
    bind.equal(r.profile.stats().thinned, 0, 'left out at 100 Hz')


@bind.test
def what_is_missed_to_the_end_is_counted():
    """A real-time thread starves the sampler until the session ends: no tick happens, and that is told."""
    with bind.record(rate_hz=1000) as r:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError as error:
            bind.skip('no real-time scheduling here: %s' % error)
        spin(0.5)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    stats = r.profile.stats()
    print(stats)
    balanced(stats)
    bind.near(stats.asked, 1000 * r.elapsed, 0.1, 3, 'asked')


@bind.test
def cpu_time_of_a_pause_is_nobodys():
    session = bind.Session(rate_hz=500)
    time.sleep(0.2)
    session.pause()
    spin_on_cpu(0.6)
    session.resume()
    time.sleep(0.2)
    cpu = thread_of(session.stop(), 'MainThread').total[CPU_NS]
    bind.check(cpu < 0.2e9, '%.3f s of CPU time recorded', cpu / 1e9)


@bind.test
def reset_drops_what_was():
    session = bind.Session(rate_hz=1000)
    spin(0.5)
    session.reset()
    begin = time.perf_counter()
    spin_hot(0.5)
    elapsed = time.perf_counter() - begin
    profile = session.stop()
    bind.check('spin' not in [item.stack[-1].name for item in profile.visit(bind.ITEM_STACK)], 'spin is still there')
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, elapsed, 0.02, 0.02 + late(profile), 'wall time since the reset')
    bind.near(profile.info().duration_s, elapsed, 0.02, 0.02 + late(profile), 'duration since the reset')
    balanced(profile.stats())


@bind.test
def snapshots_grow():
    session = bind.Session(rate_hz=1000)
    last = 0
    for _ in range(5):
        bind.eventually(lambda: spin(0.1) or session.stats().samples > last, 'more samples')
        snapshot = session.snapshot()
        samples = snapshot.stats().samples
        bind.check(samples > last, 'the snapshot did not grow: %d, %d', last, samples)
        bind.equal(snapshot.info().total[SAMPLES], samples)
        balanced(snapshot.stats())
        last = samples
        first = snapshot if _ == 0 else first
        kept = first.write(bind.JSON) if _ == 0 else kept
    profile = session.stop()
    bind.check(profile.stats().samples >= last, 'the end has less than the last snapshot')
    bind.equal(first.write(bind.JSON) == kept, True, 'a snapshot does not change')


@bind.test
def snapshot_with_reset_loses_nothing():
    whole = bind.Session(rate_hz=1000)
    parts = []
    session = bind.Session(rate_hz=1000)
    begin = time.perf_counter()
    with running(spin_hot, 2.0, name='worker'):
        while time.perf_counter() - begin < 2.1:
            time.sleep(0.01)
            parts.append(session.snapshot(reset=1))
    parts.append(session.stop())
    elapsed = time.perf_counter() - begin
    whole = whole.stop()
    bind.check(len(parts) > 50, 'only %d parts', len(parts))

    slack = late(whole) + max(map(late, parts))

    def total(profiles, metric, thread=None):
        return sum(one.total[metric] for profile in profiles for one in profile.threads() if thread in (None, one.name))

    bind.near(total(parts, WALL_NS, 'MainThread') / 1e9, elapsed, 0.005, 0.01 + slack, 'wall time of the parts')
    bind.near(sum(part.info().duration_s for part in parts), elapsed, 0.005, 0.01 + slack, 'duration of the parts')
    for thread in ('MainThread', 'worker'):
        for metric in (WALL_NS, CPU_NS):
            bind.near(total(parts, metric, thread), total([whole], metric, thread), 0.005, 10e6 + slack * 1e9,
                      'metric %d of %s' % (metric, thread))
    bind.near(sum(part.stats().samples for part in parts), whole.stats().samples, 0.002, 6, 'samples')
    for part in parts:
        balanced(part.stats())


@bind.test
def snapshot_of_the_last_seconds():
    session = bind.Session(rate_hz=1000)
    spin(0.8)
    spin_hot(0.5)
    snapshot = session.snapshot(last_s=0.3)
    session.stop()
    names = {frame.name for item in snapshot.visit(bind.ITEM_STACK) for frame in item.stack}
    bind.check('spin_hot' in names, 'spin_hot is missing')
    bind.check('spin' not in names, 'spin was longer ago')
    bind.near(thread_of(snapshot, 'MainThread').total[WALL_NS] / 1e9, 0.3, 0, 0.05 + late(snapshot), 'wall time')


@bind.test
def duration_pauses():
    events = []

    def note(user, session, event, detail):
        if event != bind.EVENT_DEGRADED:   # a busy machine starves the sampler
            events.append((session, event))

    on_event = bind.OnEvent(bind.EVENT_FN(note), None)
    session = bind.Session(rate_hz=1000, duration_s=0.4, on_event=on_event)
    spin(1.0)
    bind.eventually(lambda: events, 'the event')
    bind.equal(events, [(session.token, bind.EVENT_DURATION)])
    before = session.stats().samples
    spin(0.1)
    bind.equal(session.stats().samples, before, 'samples after the duration')
    profile = session.stop()
    bind.near(profile.info().duration_s, 0.4, 0, 0.02 + late(profile), 'duration')
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, 0.4, 0, 0.03 + late(profile), 'wall time')


@bind.test
def on_event_may_call_the_library():
    done = []

    def event(user, session, event, detail):
        try:
            pointer = ctypes.c_void_p()
            bind.call('stop', session, ctypes.byref(pointer))
            done.append(bind.Profile(pointer.value))
        except BaseException:
            done.append(sys.exc_info()[1])

    on_event = bind.OnEvent(bind.EVENT_FN(event), None)
    session = bind.Session(rate_hz=1000, duration_s=0.2, on_event=on_event)
    spin(0.3)
    bind.eventually(lambda: done, 'the event')
    bind.check(isinstance(done[0], bind.Profile), 'stop in the callback: %r', done[0])
    bind.enough(done[0].stats().samples > 20, 'samples')
    bind.fails(bind.STATE, [], session.stop)
    with bind.record(rate_hz=1000) as r:   # the sampler works on
        bind.eventually(lambda: r.stats().samples > 10, 'samples afterwards')


@bind.test
def eight_sessions_and_no_more():
    rates = [10, 50, 100, 200, 250, 333, 500, 1000]
    begin = time.perf_counter()
    sessions = [bind.Session(rate_hz=rate) for rate in rates]
    detail = bind.fails(bind.BUSY, [], bind.Session, rate_hz=100)
    bind.check('8' in detail or 'eight' in detail or 'session' in detail, 'the reason: %r', detail)
    spin(2.0)
    profiles = [session.stop() for session in sessions]
    elapsed = time.perf_counter() - begin
    for rate, profile in zip(rates, profiles):
        stats = profile.stats()
        balanced(stats)
        bind.near(stats.asked, rate * elapsed, 0.1, 5, 'asked at %d Hz' % rate)
        bind.near(profile.info().total[WALL_NS] / 1e9, elapsed, 0.02, 2.0 / rate + late(profile), 'wall time at %d Hz' % rate)
        bind.enough(share(profile, 'MainThread', 'spin') > 0.8, 'spin at %d Hz', rate)
        bind.near(profile.info().rate_hz, rate, 0.001)
    session = bind.Session()   # there is room again
    session.stop()


@bind.test
def dead_tokens():
    token = bind.Session().token
    session = bind.Session()
    session.stop()
    for function in (session.stop, session.snapshot, session.pause, session.resume, session.reset, session.stats):
        bind.fails(bind.STATE, [], function)
    again = bind.Session()   # in the same slot, perhaps
    bind.check(again.token != session.token, 'the token of an ended session came back')
    for function in (session.stop, session.snapshot, session.pause, session.resume, session.reset, session.stats):
        bind.fails(bind.STATE, [], function)
    again.stop()
    session.token = token
    session.stop()


@bind.test
def stop_without_a_profile():
    for lib in (bind.released, bind.held):
        session = bind.Session(lib)
        bind.call('stop', session.token, None, lib=lib)
        bind.fails(bind.STATE, [], session.stop)


@bind.test
def the_gil_may_be_held():
    """Every call through PyDLL: the sampler must not need the GIL to answer."""
    lib = bind.held
    with running(spin_hot, 1.0, name='worker'):
        for _ in range(20):
            session = bind.Session(lib, rate_hz=5000)
            time.sleep(0.01)
            session.stats()
            session.snapshot()
            session.pause()
            session.resume()
            session.snapshot(reset=1)
            session.reset()
            profile = session.stop()
            profile.json()
            bind.dump_profile(lib)


@bind.test
def threads_and_descriptors_return():
    with bind.record():
        pass
    tasks, descriptors = bind.tasks(), bind.descriptors()
    for _ in range(50):
        with bind.record(rate_hz=10000) as r:
            bind.check(len(bind.tasks()) > len(tasks), 'no sampler thread')
        r.profile.free()
    bind.eventually(lambda: bind.tasks() == tasks, 'threads as before: %r, %r' % (bind.tasks(), tasks))
    bind.equal(bind.descriptors(), descriptors, 'file descriptors')


@bind.test
def the_sampler_blocks_signals():
    """No signal of the program ends up on the sampler; none of its handlers is changed."""
    def masks(task):
        with open('/proc/self/task/%d/status' % task) as file:
            return {line.split(':')[0]: int(line.split()[1], 16) for line in file if line.startswith(('SigBlk', 'SigCgt', 'SigIgn'))}

    with running(int):   # glibc's own handler, of the first thread
        pass
    mine = masks(os.getpid())
    before = set(bind.tasks())
    with bind.record(rate_hz=1000):
        time.sleep(0.05)
        sampler = set(bind.tasks()) - before
        bind.check(sampler, 'no sampler')
        for task in sampler:
            all_but_two = masks(task)['SigBlk'] | 1 << signal.SIGKILL - 1 | 1 << signal.SIGSTOP - 1
            bind.equal(all_but_two & 0x7fffffff, 0x7fffffff, 'blocked signals of thread %d' % task)
        bind.equal(masks(os.getpid()), mine, 'signal masks and handlers of the main thread')


@bind.test
def system_calls_are_not_interrupted():
    """poll, sleep and select run to their end: nothing sends signals."""
    libc = ctypes.CDLL(None, use_errno=True)
    with bind.record(rate_hz=5000):
        for _ in range(3):
            begin = time.perf_counter()
            ctypes.set_errno(0)
            bind.equal(libc.poll(None, 0, 150), 0, 'poll')
            bind.equal(libc.usleep(100000), 0, 'usleep')
            bind.equal(ctypes.get_errno(), 0, 'errno')
            bind.check(time.perf_counter() - begin > 0.24, 'too short')


@bind.test
def start_and_stop_from_four_threads():
    errors, stop = [], threading.Event()
    cycles = []

    def cycle(lib, seed):
        rng = random.Random(seed)
        try:
            for i in range(50):
                session = bind.Session(lib, rate_hz=rng.choice([100, 1000, 5000]), timeline_s=rng.choice([-1, 1]))
                if i % 3 == 0:
                    spin(0.003)
                elif i % 3 == 1:
                    time.sleep(0.002)
                if i % 5 == 0:
                    session.snapshot(reset=i % 2).free()
                if i % 7 == 0:
                    session.pause()
                session.stop().free()
                cycles.append(i)   # counting up loses some without the GIL
        except BaseException:
            errors.append(sys.exc_info()[1])

    def churn():
        while not stop.is_set():
            threads = [threading.Thread(target=spin, args=(0.0005,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    with bind.record():
        pass
    tasks, descriptors = bind.tasks(), bind.descriptors()
    with running(churn):
        with running(cycle, bind.released, 1), running(cycle, bind.released, 2):
            with running(cycle, bind.held, 3), running(cycle, bind.released, 4):
                pass
        stop.set()
    if errors:
        raise errors[0]
    bind.equal(len(cycles), 200, 'cycles')
    bind.eventually(lambda: bind.tasks() == tasks, 'threads as before')
    bind.equal(bind.descriptors(), descriptors, 'file descriptors')


@bind.test
def memory_stays_in_its_bounds():
    """Fresh stacks all the time, and little memory for them."""
    limit = 4 << 20
    try:
        session = bind.Session(rate_hz=5000, max_bytes=limit)
    except bind.Error as error:
        if error.code != bind.BUDGET:
            raise
        limit = 16 << 20
        session = bind.Session(rate_hz=5000, max_bytes=limit)
    end = time.perf_counter() + bind.length(4)
    i = 0
    while time.perf_counter() < end:
        i += 1
        space = {}
        exec(compile('def f%d_%s(n):\n    if n: f%d_%s(n - 1)\n    for _ in range(3000): pass\n' % ((i, 'x' * 500) * 2),
                     '/%d/%s.py' % (i, 'y' * 500), 'exec'), space)
        space['f%d_%s' % (i, 'x' * 500)](i % 50)
    stats = session.stats()
    profile = session.stop()
    print(stats)
    bind.check(stats.own_bytes <= limit, '%d bytes, the limit is %d', stats.own_bytes, limit)
    balanced(profile.stats())
    document = profile.json()
    bind.equal(sum(item.self[SAMPLES] for item in profile.visit(bind.ITEM_STACK)), profile.stats().samples)
    bind.check(document['stats']['samples'] == profile.stats().samples, 'samples')


@bind.test
def the_sampler_is_cheap():
    with bind.record(rate_hz=100) as r:
        spin(2.0)
    own = r.profile.stats().own_cpu_ns / 1e9
    bind.check(0 < own < 0.1 * r.elapsed, 'the sampler used %.3f of %.3f s', own, r.elapsed)


# --- code that goes -----------------------------------------------------------------------------------------------------


@bind.test
def names_of_code_that_is_gone():
    """Function name, file name and first line all tell the same number: a stale name or file would not match."""
    def churn(seconds):
        end = time.perf_counter() + seconds
        i = 0
        while time.perf_counter() < end:
            i += 1
            first = i % 97 + 1
            space = {}
            source = '\n' * (first - 1) + 'def name_%d(n):\n    for _ in range(n): pass\n    return %d\n' % (i, i)
            exec(compile(source, '/churn/%d_%d.py' % (i, first), 'exec'), space)
            space['name_%d' % i](3000)
        return i

    made = []
    with bind.record(rate_hz=5000) as r:
        with running(lambda: made.append(churn(bind.length(4))), name='churner'):
            pass
    seen = set()
    frames = [frame for item in r.profile.visit(bind.ITEM_STACK) for frame in item.stack]
    for frame in frames:
        if frame.name.startswith('name_'):
            number, first = frame.file[len('/churn/'):-len('.py')].split('_')
            bind.equal((frame.name, frame.qualname, frame.first_line, frame.file.startswith('/churn/')),
                       ('name_' + number, 'name_' + number, int(first), True), 'frame %r' % (frame,))
            bind.check(int(first) <= frame.line <= int(first) + 2, 'line of %r', frame)
            seen.add(frame.name)
        elif frame.file.startswith('/churn/'):
            bind.equal(frame.name, '<module>', 'frame %r' % (frame,))
    print('%d functions made, %d seen, %r' % (made[0], len(seen), r.profile.stats()))
    bind.enough(len(seen) > 100, 'only %d functions seen', len(seen))
    balanced(r.profile.stats())


# --- fork, children, exits ------------------------------------------------------------------------------------------------


def in_child(function):
    """Runs it in a forked child; tells its exit status, or that it hangs."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            function()
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
            return status
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError('the child hangs')
        time.sleep(0.002)


@bind.test
def fork_while_sampling():
    session = bind.Session(rate_hz=2000)
    begin = time.perf_counter()

    def child():
        bind.equal(len(bind.tasks()), 1, 'threads of the child')
        spin(0.02)
        for function in (session.stats, session.pause, session.snapshot, session.stop):
            try:
                function()   # the parent's session: an answer, not a hang
            except bind.Error as error:
                bind.equal(error.code, bind.STATE, 'the code for the parent\'s session')
        with bind.record(rate_hz=1000) as r:
            while r.stats().samples < 50:
                spin_hot(0.2)
        bind.check(share(r.profile, 'MainThread', 'spin_hot') > 0.5, 'spin_hot in the child')
        bind.equal(r.profile.info().pid, os.getpid(), 'pid')
        bind.equal([thread.thread_id for thread in r.profile.threads()], [os.getpid()], 'thread ids')
        bind.near(r.profile.info().total[WALL_NS] / 1e9, r.elapsed, 0, 0.1 + late(r.profile), 'wall time of the child')
        balanced(r.profile.stats())
        bind.equal(len(bind.tasks()), 1, 'threads of the child at the end')

    with running(spin, 1.5, name='worker'):
        for _ in range(5):
            bind.equal(in_child(child), 0, 'exit status of the child')
    elapsed = time.perf_counter() - begin
    profile = session.stop()
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, elapsed, 0.03, 0.05 + late(profile), 'the parent records on')
    bind.check(max(sample['timestamp'] for sample in profile.json()['samples']) > time.time() - 0.5, 'to the end')
    bind.equal(profile.info().pid, os.getpid())
    balanced(profile.stats())


@bind.test
def many_forks():
    """At any moment of the sampler's: its locks may be held then."""
    def child():
        bind.Session().stop()

    with bind.record(rate_hz=20000) as r:
        with running(spin, bind.length(2.0), name='worker'):
            for i in range(bind.length(200, 50)):
                bind.equal(in_child(child), 0)
    balanced(r.profile.stats())


@bind.test
def grandchildren():
    def grandchild():
        with bind.record(rate_hz=1000) as r:
            bind.eventually(lambda: r.stats().samples > 10, 'samples')

    def child():
        with bind.record(rate_hz=1000) as r:
            bind.equal(in_child(grandchild), 0, 'the grandchild')
            bind.eventually(lambda: r.stats().samples > 10, 'samples')

    with bind.record(rate_hz=1000) as r:
        bind.equal(in_child(child), 0, 'the child')
        bind.eventually(lambda: r.stats().samples > 50, 'samples')


@bind.test
def dump_in_a_forked_child():
    def child():
        for lib in (bind.released, bind.held):
            profile = bind.dump_profile(lib)
            bind.equal([thread.thread_id for thread in profile.threads()], [os.getpid()])

    with running(spin, 0.5):
        bind.equal(in_child(child), 0)
        with bind.record(rate_hz=1000):
            bind.equal(in_child(child), 0)


def pool_work(n):
    spin(0.02)
    return n * n


@bind.test
def multiprocessing_fork_and_spawn():
    for method in ('fork', 'spawn'):
        context = multiprocessing.get_context(method)
        with bind.record(rate_hz=1000) as r:
            with context.Pool(2) as pool:
                bind.equal(pool.map(pool_work, range(8)), [n * n for n in range(8)])
        bind.enough(r.profile.stats().samples > 10, 'samples with %s', method)
        balanced(r.profile.stats())


@bind.test
def subprocesses():
    with bind.record(rate_hz=2000) as r:
        for i in range(20):
            bind.equal(subprocess.call([sys.executable, '-S', '-c', 'import sys; sys.exit(7)']), 7)
        bind.equal(subprocess.check_output(['echo', 'x'], preexec_fn=lambda: None), b'x\n')
    balanced(r.profile.stats())


def script(body):
    """Runs body in a process of its own, with bind at hand: (exit code, what it said)."""
    code = 'import sys\nsys.argv = ["x", %r]\nsys.path.insert(0, %r)\nimport bind, os, threading, time\n%s' % (
        bind.BUILD, os.path.dirname(FILE), body)
    process = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    return process.returncode, process.stdout.decode('utf-8', 'replace')


@bind.test
def exits_while_sampling():
    start = 's = bind.Session(rate_hz=5000)\nfor i in range(300000): pass\n'
    thread = 'threading.Thread(target=lambda: time.sleep(3600), daemon=True).start()\n'
    for body, code in (('os._exit(3)', 3), ('sys.exit(4)', 4), ('pass', 0), ('raise SystemExit(5)', 5),
                       ('os.kill(os.getpid(), 15)', -15), ('os.abort()', -6), ('s.stop(); sys.exit(6)', 6),
                       ('s.pause(); sys.exit(7)', 7), ('import atexit; atexit.register(s.stop); sys.exit(8)', 8),
                       ('import ctypes; ctypes.CDLL(None).exit(9)', 9), ('import ctypes; ctypes.CDLL(None).quick_exit(10)', 10),
                       ('threading.Thread(target=lambda: os._exit(11)).start(); time.sleep(5)', 11)):
        for more in bind.several(thread, ''):
            got = script(start + more + body)
            bind.equal(got[0], code, 'exit code of %r, which said %r' % (body, got[1]))
            bind.equal(got[1], '', 'output of %r' % body)
    code, said = script(start + 'raise ValueError("x")')
    bind.equal(code, 1)
    bind.check(said.endswith('ValueError: x\n'), said)


@bind.test
def exec_while_sampling():
    code, said = script('s = bind.Session(rate_hz=5000)\nos.execv("/bin/echo", ["echo", "replaced"])')
    bind.equal((code, said), (0, 'replaced\n'))


def exit_storm():
    """Thread states are freed while they are read. None is taken for the thread that made it."""
    with bind.record(rate_hz=10000) as r:
        end = time.perf_counter() + bind.length(4)
        started = 0
        while time.perf_counter() < end:
            threads = [threading.Thread(target=int) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            started += 20
    stats = r.profile.stats()
    print(started, 'threads', stats)
    balanced(stats)
    for item in r.profile.visit(bind.ITEM_STACK):
        names = [frame.name for frame in item.stack]
        bind.check(names, 'an empty stack')
        if item.thread.name != 'MainThread':
            bind.check(names[0] in ('_bootstrap', '<truncated>', '<native>') + bind.UNPLACED, 'root %r', names)
        else:
            # up to 3.11 a state made for a thread that has not started bears its creator's ids: a few slip through
            few = names[0] == '<native>' and item.self[SAMPLES] <= 20
            bind.check(few or names[0] in ('<module>',) + bind.UNPLACED, 'root of the main thread: %r, %d samples', names, item.self[SAMPLES])
    main = thread_of(r.profile, 'MainThread').total[WALL_NS] / 1e9
    bind.check(main <= r.elapsed * 1.02 + 0.02, 'the main thread lived %g s of %g', main, r.elapsed)


@bind.test
def threads_that_end_at_once():
    exit_storm()


@bind.test
def foreign_threads():
    """Threads that CPython did not make enter and leave it: callbacks through ctypes from pthreads."""
    libc = ctypes.CDLL(None)
    start_t = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    libc.pthread_create.argtypes = [ctypes.POINTER(ctypes.c_ulong), ctypes.c_void_p, start_t, ctypes.c_void_p]
    libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]

    def foreign_work(_):
        spin(0.05)
        return 0

    entry = start_t(foreign_work)
    with bind.record(rate_hz=2000) as r:
        for _ in range(10):
            threads = []
            for _ in range(4):
                thread = ctypes.c_ulong()
                bind.equal(libc.pthread_create(ctypes.byref(thread), None, entry, None), 0)
                threads.append(thread)
            for thread in threads:
                libc.pthread_join(thread, None)
    stacks = [[frame.name for frame in item.stack] for item in r.profile.visit(bind.ITEM_STACK)]
    bind.enough(['foreign_work', 'spin'] in stacks, 'the foreign threads were not seen')
    balanced(r.profile.stats())


# --- stacks that cannot be ------------------------------------------------------------------------------------------------
# Small functions that call each other in known ways. A traced run tells which function calls which, on which line; no
# sample may hold a step that the traced run does not have.

def leaf_work(n):
    x = 0
    for i in range(n):
        x += i
    return x


def yo(n):
    if n:
        return yo(n - 1)
    return leaf_work(3)


def ping(n):
    return pong(n - 1) if n else leaf_work(2)


def pong(n):
    if n:
        return (
            ping(n - 1)
        )
    return leaf_work(1)


def gen_leaf(n):
    for i in range(n):
        yield leaf_work(i)


def gen_middle(n, depth):
    if depth:
        yield from gen_middle(n, depth - 1)
    else:
        for x in gen_leaf(n):
            yield x


def gen_user():
    total = 0
    for x in gen_middle(4, 5):
        total += x
    return total + sum(gen_leaf(3))


def short_a():
    return short_b()


def short_b():
    return short_c()


def short_c():
    return None


class Node:
    def __init__(self, n):
        self.n = n
        self.below = Node(n - 1) if n else None

    @property
    def depth(self):
        return self.below.depth + 1 if self.below else 0

    def __add__(self, other):
        return self.depth + other.depth

    def __lt__(self, other):
        return self.n < other.n

    def __del__(self):
        short_c()


def nodes():
    a, b = Node(6), Node(3)
    return a + b, sorted([b, a, Node(0)])[0].n


def key_of(x):
    return -x if x % 2 else leaf_work(x)


def callbacks():
    return sorted(range(8), key=key_of), list(map(lambda x: yo(x), [1, 2])), [y for y in (leaf_work(z) for z in [1, 2])]


class Step:
    def __await__(self):
        yield leaf_work(2)


async def co_leaf(n):
    await Step()
    return leaf_work(n)


async def co_middle(n):
    if n:
        return await co_middle(n - 1)
    return await co_leaf(3)


async def agen(n):
    for i in range(n):
        await Step()
        yield i


async def co_main():
    total = await co_middle(4)
    async for x in agen(3):
        total += x
    return total


def drive():
    c = co_main()
    try:
        while True:
            c.send(None)
    except StopIteration as stop:
        return stop.value


def raising(n):
    if not n:
        raise KeyError(n)
    try:
        raising(n - 1)
    finally:
        short_a()


def exceptions():
    try:
        raising(5)
    except KeyError:
        short_b()


def one_round():
    yo(20)
    ping(15)
    gen_user()
    short_a()
    nodes()
    callbacks()
    drive()
    exceptions()


def churn_main(rounds, seconds):
    end = time.perf_counter() + seconds
    while rounds > 0 or time.perf_counter() < end:
        one_round()
        rounds -= 1


def where(code):
    return (code.co_filename, name_of(code), code.co_firstlineno)


def trace_run():
    """Every (caller, its line, callee) of a run."""
    steps, inside = set(), []

    def trace(frame, event, argument):
        if event == 'call':
            while frame.f_code is not churn_main.__code__ and frame.f_back is not None:
                steps.add((where(frame.f_back.f_code), frame.f_back.f_lineno, where(frame.f_code)))
                frame = frame.f_back
        return None

    def traced():
        sys.settrace(trace)
        try:
            churn_main(300, 0)
        finally:
            sys.settrace(None)

    with running(traced):
        pass
    steps.add((where(trace_run.__code__), 0, where(churn_main.__code__)))
    return steps


def lines_of(code, lines):
    """The lines on which each function can stand: its own, and the first one before it begins."""
    lines.setdefault(where(code), {code.co_firstlineno}).update(
        [line for _, _, line in code.co_lines()] if hasattr(code, 'co_lines') else range(1, 100000))
    for constant in code.co_consts:
        if hasattr(constant, 'co_code'):
            lines_of(constant, lines)


def impossible(profile, steps, lines):
    """Counts samples in churn_main by what is wrong with them."""
    wrong, shown = collections.Counter(), 0
    churn = where(churn_main.__code__)
    for item in profile.visit(bind.ITEM_STACK):
        stack = [((f.file, f.qualname, f.first_line), f.line) for f in item.stack if f.kind == bind.KIND_PYTHON]
        places = [place for place, _ in stack]
        count = item.self[SAMPLES]
        if item.thread.name != 'churn':
            continue
        kind = 'good'
        if churn not in places:
            if any(place[0] == __file__ for place in places):
                kind = 'rootless'
        else:
            at = places.index(churn)
            if [place[1].split('.')[-1] for place in places[:at]] != ['_bootstrap', '_bootstrap_inner', 'run']:
                kind = 'root'
            functions = {(caller, callee) for caller, _, callee in steps}
            for (caller, line), (callee, _) in zip(stack[at:], stack[at + 1:]):
                if (caller, callee) not in functions:
                    kind = 'call'
                elif (caller, line, callee) not in steps and kind == 'good':
                    kind = 'line'
            if kind == 'good' and stack[-1][0] in lines and stack[-1][1] not in lines[stack[-1][0]]:
                kind = 'leaf line'
        wrong[kind] += count
        if kind != 'good' and shown < 5:
            shown += 1
            print('%s, %d samples: %s' % (kind, count, ' > '.join('%s:%d' % (place[1], line) for place, line in stack)))
    return wrong


def hunt(seconds, threads, **config):
    steps, lines = trace_run(), {}
    for value in list(globals().values()):
        code = getattr(value, '__code__', None)
        if code is not None:
            lines_of(code, lines)
    with bind.record(**config) as r:
        with running(churn_main, 0, bind.length(seconds), name='churn', count=threads):
            pass
    stats = r.profile.stats()
    wrong = impossible(r.profile, steps, lines)
    print(dict(wrong), stats)
    balanced(stats)
    good = wrong.pop('good', 0)
    bind.check(good > 1000, 'only %d samples', good)
    bind.equal(dict(wrong), {}, 'impossible stacks')


@bind.test(limit=90)
def no_impossible_stacks():
    hunt(8, 1, rate_hz=5000)


@bind.test(limit=90)
def no_impossible_stacks_of_four_threads():
    sys.setswitchinterval(0.0005)
    hunt(8, 4, rate_hz=2000)


@bind.test(limit=90, alone=True)
def no_impossible_stacks_beside_busy_processes():
    hogs = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass']) for _ in range(3)]
    try:
        hunt(8, 2, rate_hz=2000)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@bind.test(limit=90)
def no_impossible_calls_by_copying():
    """The converging copy may tell an old line of a caller, never a call that is none."""
    steps = trace_run()
    with bind.record(rate_hz=5000, capture=bind.CAPTURE_COPY) as r:
        with running(churn_main, 0, bind.length(8), name='churn'):
            pass
    wrong = impossible(r.profile, steps, {})
    print(dict(wrong), r.profile.stats())
    good = wrong.pop('good', 0)
    lines = wrong.pop('line', 0)
    bind.check(good > 1000, 'only %d samples', good)
    bind.check(lines < 0.08 * good, '%d of %d with an old line', lines, good)
    bind.check(sum(wrong.values()) <= 3e-4 * good, 'impossible stacks: %r', dict(wrong))


async def task_leaf(n):
    await asyncio.sleep(0)
    return leaf_work(n)


async def task_middle(n):
    return await task_leaf(n)


async def task_main(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await asyncio.gather(*[asyncio.ensure_future(task_middle(50)) for _ in range(10)])


@bind.test
def asyncio_stacks():
    legal = {('task_main',), ('task_middle',), ('task_middle', 'task_leaf'), ('task_middle', 'task_leaf', 'leaf_work'), ()}
    loop = asyncio.new_event_loop()
    with bind.record(rate_hz=3000) as r:
        loop.run_until_complete(task_main(bind.length(4)))
    loop.close()
    seen = collections.Counter()
    for item in r.profile.visit(bind.ITEM_STACK):
        frames = [f for f in item.stack if f.kind == bind.KIND_PYTHON]
        names = [f.name for f in frames]
        if 'run_until_complete' not in names:
            continue
        below = frames[names.index('run_until_complete'):]
        ours = tuple(f.name for f in below if f.file == __file__ and f.name != '<listcomp>')
        bind.check(ours in legal, 'impossible: %r', names)
        seen[ours] += item.self[SAMPLES]
        # ours are called by the loop's _run or by each other, and never call back into the loop, but for gather and sleep
        first = next((i for i, f in enumerate(below) if f.file == __file__), None)
        if first is not None:
            bind.equal([f.name for f in below[:first]], ['run_until_complete', 'run_forever', '_run_once', '_run'], 'the way in')
    print(dict(seen))
    for stack in (('task_main',), ('task_middle', 'task_leaf', 'leaf_work')):
        bind.check(seen[stack] > 0, 'never seen: %r', stack)


if __name__ == '__main__':
    bind.run()
