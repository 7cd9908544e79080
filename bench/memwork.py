"""One measurement of make bench's memory part, in a process of its own: a workload under a memory profiler, or none.

    PYTHON bench/memwork.py WORKLOAD MODE [BUILD_DIR]

MODE is none, sampled, exact, tracemalloc-N, memray or memray-tpa; "+live" after it builds 10 million live blocks first.
Prints JSON: for each unit of work, after a first one that does not count, seconds by the wall's clock and of the
process's CPU time, the profiler's own threads included; resident memory; what else was asked.
"""
import contextlib
import gc
import json
import marshal
import os
import resource
import sys
import tempfile
import threading
import time
import tracemalloc

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 0.3   # of units, and 2 units at least
LIVE = int(float(os.environ.get('LIVE', '1e7')))
RECORDS = 267000   # of 6 blocks each


# --- the work --------------------------------------------------------------------------------------------------------

class Point:
    __slots__ = 'x', 'y'

    def __init__(self, x, y):
        self.x, self.y = x, y


def span(i):
    a, b = Point(i, i + 1), Point(i + 2, i + 3)
    return b.x - a.x


def churn(n):
    """Lists, tuples, strings and small objects, freed at once."""
    for i in range(1000, 1000 + n):
        row = [i, i + 1, i + 2, 'key %d' % i]
        pair = (row[:], tuple(row), str(i))
        span(i)
        pair[0].append({'id': i, 'name': pair[2]})


def depth_here():
    frame, depth = sys._getframe(1), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    return depth


def below(frames, function, argument):
    return below(frames - 1, function, argument) if frames > 0 else function(argument)


def at_depth(depth, n):
    """churn() itself is that deep."""
    below(depth - depth_here() - 2, churn, n)


DOCUMENT = {'users': [{'id': 1000 + i, 'name': 'user %d' % i, 'mail': 'user%d@example.org' % i, 'score': i / 7,
                       'tags': ['alpha', 'beta', 'tag %d' % i], 'active': i % 2 == 0} for i in range(60)]}


def mix(n):
    """What services do: JSON, dictionaries, strings."""
    for _ in range(n):
        text = json.dumps(DOCUMENT)
        counts = {}
        for word in text.replace('"', ' ').replace(',', ' ').split():
            counts[word] = counts.get(word, 0) + 1
        users = {user['name'].upper(): user for user in json.loads(text)['users']}
        ' '.join('%s=%d' % item for item in sorted(counts.items()))
        sorted(users, key=lambda name: users[name]['score'])


def fib(n):
    """Calls and nothing else: no value that the interpreter has not made before."""
    return n if n < 2 else (fib(n - 1) + fib(n - 2)) & 127


def big(n):
    """Large buffers: most of the time is the kernel's."""
    for i in range(n):
        buffer = bytearray(65536 << i % 7)
        buffer[::4096] = b'x' * (len(buffer) // 4096)
        buffer.extend(bytes(buffer[:65536]))


def in_threads(n):
    threads = [threading.Thread(target=churn, args=(n // 4,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


WORK = {   # name: function of a number, the number that makes a unit
    'churn': (churn, 10000),
    'mix': (mix, 20),
    'depth10': (lambda n: at_depth(10, n), 10000),
    'deep50': (lambda n: at_depth(50, n), 5000),
    'deep200': (lambda n: at_depth(200, n), 5000),
    'calls': (fib, 24),
    'bigbuf': (big, 28),
    'threads': (in_threads, 20000),
}


def units(function, argument):
    wall, cpu, begin = [], [], time.perf_counter()
    function(argument)
    while len(wall) < 2 or time.perf_counter() - begin < SECONDS:
        start, spent = time.perf_counter(), time.process_time()
        function(argument)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
    return {'wall': wall, 'cpu': cpu}


# --- blocks that stay ------------------------------------------------------------------------------------------------

def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def build(n):
    return [(i, 'name %d' % i, [i * 0.5]) for i in range(1000, 1000 + n)]


def retain(before):
    build(1000)
    blocks, start, spent = sys.getallocatedblocks(), time.perf_counter(), time.process_time()
    kept = build(RECORDS)
    return {'wall': [time.perf_counter() - start], 'cpu': [time.process_time() - spent], 'blocks': sys.getallocatedblocks() - blocks, 'resident': resident() - before,
            'kept': len(kept)}


class Keeper:
    """Blocks that stay, made in batches by one instruction: a list, its items, and bytes of these sizes."""

    SIZES = [2, 5, 10, 15, 20, 25, 30, 40, 60, 90]
    BATCH = len(SIZES) + 2

    def __init__(self):
        self.batch = marshal.dumps([bytes(size) for size in self.SIZES], 2)
        self.kept, self.wall, self.cpu = [], 0.0, 0.0

    def keep(self):
        """The longest batch, by the wall's clock and by the CPU clock, which does not count the time of others."""
        start, spent = time.perf_counter(), time.thread_time()
        self.kept.append(marshal.loads(self.batch))
        wall, cpu = time.perf_counter() - start, time.thread_time() - spent
        if wall > self.wall:
            self.wall = wall
        if cpu > self.cpu:
            self.cpu = cpu


def many_stacks(keep, lines=(10, 10, 10, 10, 5)):
    """A function that calls keep() by as many paths as the product says: each line of a level's functions calls another
    function of the next level."""
    code = []
    for level, width in enumerate(lines):
        for i in range(1 if level == 0 else lines[level - 1]):
            code.append('def level%d_%d():' % (level, i))
            last = level + 1 == len(lines)
            code += ['    keep()' if last else '    level%d_%d()' % (level + 1, line) for line in range(width)]
    names = {'keep': keep}
    exec(compile('\n'.join(code), 'many.py', 'exec'), names)
    return names['level0_0'], names['level1_0']


def times(function, n):
    """The results, and the seconds of each call."""
    results, taken = [], []
    for _ in range(n):
        start = time.perf_counter()
        results.append(function())
        taken.append(time.perf_counter() - start)
    return results, taken


def ask(session, more):
    """What the session's owner waits for: snapshots, their difference, files."""
    import bind
    stats, profiles = session.stats(), []
    told = {name: getattr(stats, name) for name in ('heap_samples', 'heap_dropped', 'heap_live_blocks', 'own_bytes')}
    told['snapshot'] = []
    for _ in range(9):
        results, taken = times(session.snapshot, 1)
        profiles += results
        told['snapshot'] += taken
        more()

    def compare():
        delta = bind.c_void_p()
        bind.call('diff', profiles[0].pointer, profiles[-1].pointer, None, bind.byref(delta))
        return bind.Profile(delta.value)

    def save(suffix):
        path = os.path.join(folder, 'live' + suffix)
        profiles[-1].save(path)
        return os.path.getsize(path)
    with tempfile.TemporaryDirectory() as folder:
        for name, function in (('diff', compare), ('.json', lambda: save('.json')), ('.pkl', lambda: save('.pkl'))):
            try:
                results, taken = times(function, 9 if name == 'diff' else 1)
                told[name] = taken
                if name != 'diff':
                    told['size ' + name] = results[0]
            except bind.Error as error:
                told[name] = str(error)
    told['nodes'] = profiles[0].info().nodes
    return told


def live(before, session):
    """Millions of live blocks that came by 50,000 stacks. The garbage collector is off: its pauses are longer."""
    gc.disable()
    keeper = Keeper()
    entry, part = many_stacks(keeper.keep)
    for turn in range(1 + LIVE // 50000 // Keeper.BATCH):
        if turn == 1:   # the stacks are known now
            keeper.wall, keeper.cpu, start = 0.0, 0.0, time.process_time()
        entry()
    told = {'cpu': [time.process_time() - start], 'blocks': len(keeper.kept) * Keeper.BATCH,
            'resident': resident() - before, 'pause': keeper.wall, 'pause_cpu': keeper.cpu}
    if session:
        told.update(ask(session, part))
    return told


# --- the profilers ---------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def none():
    yield None


@contextlib.contextmanager
def traced(frames):
    tracemalloc.start(frames)
    yield None
    tracemalloc.stop()


@contextlib.contextmanager
def memray(tracker, **options):
    with tempfile.TemporaryDirectory() as folder:
        with tracker(os.path.join(folder, 'memray.bin'), **options):
            yield None


@contextlib.contextmanager
def ours(bind, heap):
    """Stacks are hardly sampled: what that costs is measured elsewhere."""
    try:
        session = bind.Session(bind.held, heap=heap, rate_hz=1)
    except bind.Error as error:
        if error.code != bind.UNSUPPORTED:
            raise
        print(json.dumps({'unsupported': error.detail}))
        sys.exit()
    deadline = time.monotonic() + 5
    while session.stats().heap_state != 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    yield session
    stats = session.stats()
    session.stop()
    if stats.heap_state != 2 or stats.heap_dropped:
        print('heap_state %d, %d blocks dropped: %s' % (stats.heap_state, stats.heap_dropped, stats.degraded.decode()),
              file=sys.stderr)


def profiler(mode):
    """A context manager. What it takes to use the profiler is imported before, and not measured."""
    if mode == 'none':
        return none()
    if mode.startswith('tracemalloc-'):
        return traced(int(mode.split('-')[1]))
    if mode.startswith('memray'):
        from memray import Tracker
        return memray(Tracker, trace_python_allocators=mode == 'memray-tpa')
    sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'py'))
    sys.argv[1:] = sys.argv[3:4]
    import bind
    if not bind.released:
        sys.exit('no %s' % bind.LIBRARY)
    return ours(bind, {'sampled': 1, 'exact': 2}[mode])


def main():
    workload, mode = sys.argv[1:3]
    profiling = profiler(mode.replace('+live', ''))
    before = resident()
    with profiling as session:
        if mode.endswith('+live'):
            kept = [float(i) for i in range(LIVE)]
            gc.freeze()   # not to be visited by every collection
        if workload == 'retain':
            told = retain(before)
        elif workload == 'live':
            told = live(before, session)
        else:
            told = units(*WORK[workload])
    print(json.dumps(told))
    kept = None   # noqa: F841


if __name__ == '__main__':
    main()
