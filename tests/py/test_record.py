"""Recordings of real work: weights and totals, names of code that is gone, threads that come and go.

Times are measured on machines that do other things too: the limits are wide where they depend on the scheduler, and
exact where they only depend on the arithmetic of the library.
"""
import collections
import ctypes
import os
import threading
import time

import bind
from bind import CPU_NS, SAMPLES, WAIT_NS, WAIT_SAMPLES, WALL_NS
from recording import balanced, exit_storm, late, name_of, running, share, spin, spin_hot, spin_on_cpu, thread_of


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
        with running(spin_hot, bind.length(3.0, 0.8), name='spinner'):
            time.sleep(bind.length(3.0, 0.8))
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
    bind.check(any(os.path.basename(row.file) == 'recording.py' for row in files), 'files: %r', [row[:3] for row in files])
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
    bind.check([row for row in p.top(file='*recording.py')], 'by file')


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
        for i in range(bind.length(300, 120)):
            with running(spin, 0.005, name='job %d' % i):
                pass
    threads = r.profile.threads()
    bind.equal([thread.thread_id for thread in threads if thread.name == 'MainThread'], [os.getpid()], 'main threads')
    bind.equal([thread.name for thread in threads if thread.thread_id == 0], [], 'threads without a number')
    wrong = [(thread.name, thread.total[SAMPLES]) for thread in threads
             if thread.name != 'MainThread' and not thread.name.startswith('job ') and thread.total[SAMPLES] > 4]
    bind.check(len(wrong) < bind.length(5, 3), 'wrong or no names: %r', wrong)


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
    bind.check(spin.__code__.co_filename in full, 'full paths: %r', full)
    base, _ = files(paths=bind.PATHS_BASE)
    bind.check('recording.py' in base and not [file for file in base if '/' in file], 'base names: %r', base)
    hashed, _ = files(paths=bind.PATHS_HASHED)
    bind.check(not [file for file in hashed if 'recording' in file or '/' in file], 'hashed: %r', hashed)
    again, _ = files(paths=bind.PATHS_HASHED)
    bind.check(hashed & again, 'the same file twice has the same hash: %r %r', hashed, again)
    later = profile.write(bind.JSON, paths=bind.PATHS_BASE)   # at the time of writing
    bind.check(os.path.dirname(os.path.abspath(__file__)).encode() not in later, 'the folder is still in the output')


@bind.test
def capture_by_copying():
    with bind.record(rate_hz=1000, capture=bind.CAPTURE_COPY) as r:
        spin_hot(0.5)
    bind.enough(share(r.profile, 'MainThread', 'spin_hot') > 0.85, 'spin_hot')
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
    spins = [sample for sample in samples if sample['stack'][-1] == 'recording.spin']
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
        with running(lambda: made.append(churn(bind.length(4, 0.8))), name='churner'):
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


# --- threads that come and go ----------------------------------------------------------------------------------------------


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


if __name__ == '__main__':
    bind.run()
