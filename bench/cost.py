"""Slowdown of a busy thread, the sampler's CPU, and the time and size of each output."""
import ctypes
import hashlib
import os
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'py'))
import bind  # noqa: E402
from work import loop, work  # noqa: E402

REPEAT = 5


def recorded(function, **config):
    with bind.record(**config) as r:
        wall = function()
    return wall, r.profile


def beside_a_sleeper(function, rate):
    """The same beside a thread that wakes up as often as the sampler, on the same CPU, and does nothing."""
    bind.released.pyprof_test_sleeper_start.argtypes = [ctypes.c_double]
    bind.released.pyprof_test_sleeper_stop.restype = ctypes.c_uint64
    bind.released.pyprof_test_sleeper_start(rate)
    wall = function()
    return wall, bind.released.pyprof_test_sleeper_stop()


def busy():
    print('%-34s %9s %9s %8s %8s %9s   %s' % ('one busy thread', 'slowdown', 'sampler', 'lost', 'retried', 'unfrozen',
                                              'a thread that only wakes up as often'))
    work(50)
    for rate in 100, 1000, 10000:
        ratios, floors, stats = [], [], None
        own = wall_sum = idle = idle_sum = 0.0
        for _ in range(REPEAT):
            plain = work()
            wall, profile = recorded(work, rate_hz=rate)
            ratios.append(wall / plain)
            stats = profile.stats()
            own += stats.own_cpu_ns / 1e9
            wall_sum += wall
            wall, cpu_ns = beside_a_sleeper(work, rate)
            floors.append(wall / plain)
            idle += cpu_ns / 1e9
            idle_sum += wall
        print('%-34s %8.3fx %8.2f%% %7.2f%% %8d %8.2f%%   %.3fx %.2f%%   (slowdown %.3f to %.3f)' % (
            '%d Hz' % rate, statistics.median(ratios), 100 * own / wall_sum, 100 * (stats.missed + stats.rejected) / max(1, stats.asked),
            stats.retried, 100 * stats.unfrozen / max(1, stats.samples), statistics.median(floors), 100 * idle / idle_sum,
            min(ratios), max(ratios)))


def changing(depth, rounds):
    """A stack whose frames all change, again and again. Returns seconds of wall time."""
    def down(n):
        return down(n - 1) if n else 0
    begin = time.perf_counter()
    for _ in range(rounds):
        down(depth)
    return time.perf_counter() - begin


def governed():
    """What the host loses with a bound on the cost, and without."""
    for depth, rounds in (300, 60000), (10, 1200000):
        ratios, stats = {0.25: [], 1e6: []}, {}
        for _ in range(REPEAT):
            plain = changing(depth, rounds)
            for bound in ratios:
                wall, profile = recorded(lambda: changing(depth, rounds), rate_hz=10000, max_cpu=bound)
                ratios[bound].append(wall / plain)
                stats[bound] = profile.stats()
        for bound in ratios:
            print('%-34s %8.3fx %9s %7.2f%%   %.0f %% of the ticks left out' % (
                '10 kHz, %d frames change, %s' % (depth, 'bound' if bound < 1 else 'no bound'), statistics.median(ratios[bound]), '',
                100 * (stats[bound].missed + stats[bound].rejected) / max(1, stats[bound].asked),
                100 * stats[bound].thinned / max(1, stats[bound].asked + stats[bound].thinned)))


def waiting():
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(31)]
    for thread in threads:
        thread.start()
    wall, profile = recorded(work, rate_hz=100)
    print('%-34s %9s %8.2f%%' % ('32 threads, 31 waiting, 100 Hz', '', 100 * profile.stats().own_cpu_ns / 1e9 / wall))
    stop.set()
    for thread in threads:
        thread.join()


def fighting():
    def fight():
        threads = [threading.Thread(target=work, args=(60,)) for _ in range(4)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin
    wall, profile = recorded(fight, rate_hz=1000)
    stats = profile.stats()
    print('%-34s %9s %8.2f%% %7.2f%%' % ('4 threads fight for the GIL, 1 kHz', '', 100 * stats.own_cpu_ns / 1e9 / wall,
                                         100 * (stats.missed + stats.rejected) / max(1, stats.asked)))


def deciding():
    """What it costs to tell what each thread does, of the sampler's CPU."""
    found = [ctypes.c_uint64() for _ in range(3)]
    bind.released.pyprof_test_decided.argtypes = [ctypes.POINTER(ctypes.c_uint64)] * 3
    for count, rate, what, body in ((31, 1000, 'wait', wait_on), (1, 1000, 'hashes', hash_on), (4, 1000, 'fight for the GIL', spin_on),
                                    (31, 1000, 'fight for the GIL', spin_on), (31, 100, 'fight for the GIL', spin_on)):
        end = time.perf_counter() + 2
        threads = [threading.Thread(target=body, args=(end,)) for _ in range(count)]
        bind.released.pyprof_test_decided(*found)
        with bind.record(rate_hz=rate):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        bind.released.pyprof_test_decided(*found)
        ns, seen, sweeps = [one.value for one in found]
        print('%-37s %6.2f us a sweep, %.3f us a thread' % ('states, %d Hz: %d %s' % (rate, count, what), ns / sweeps / 1e3, ns / seen / 1e3))


def wait_on(end):
    time.sleep(end - time.perf_counter())


def hash_on(end):
    buffer = bytes(1 << 22)
    while time.perf_counter() < end:
        hashlib.sha256(buffer).digest()


def spin_on(end):
    while time.perf_counter() < end:
        loop(1000)


def outputs():
    """100,000 samples: ten threads of different depths at 10 kHz, until there are enough."""
    stop = []

    def spin(depth):
        if depth:
            return spin(depth - 1)
        while not stop:
            loop(1000)
    threads = [threading.Thread(target=spin, args=(3 * i,)) for i in range(10)]
    session = bind.Session(rate_hz=5000)
    for thread in threads:
        thread.start()
    while session.stats().samples < 100000:
        time.sleep(0.05)
    begin = time.perf_counter()
    profile = session.snapshot()
    took = time.perf_counter() - begin
    stop.append(True)
    for thread in threads:
        thread.join()
    session.stop()
    print('%d samples: snapshot %.1f ms' % (profile.stats().samples, took * 1000))
    with tempfile.TemporaryDirectory() as folder:
        for suffix in 'json', 'txt', 'svg', 'folded', 'speedscope.json', 'pb.gz':
            path = os.path.join(folder, 'x.' + suffix)
            begin = time.perf_counter()
            profile.save(path)
            print('    %-18s %8.1f ms %10d bytes' % (suffix, (time.perf_counter() - begin) * 1000, os.path.getsize(path)))


busy()
governed()
waiting()
fighting()
deciding()
if "-q" not in sys.argv: outputs()
