"""Instructions, counted by callgrind: what no other program on the machine changes.

    PYTHON bench/instructions.py BUILD_DIR

A sweep: the sampler's thread, by the sweeps that the library of the tests counts; a thread that runs waits for its turn under
valgrind, so it costs what it costs when it is frozen. An allocation: the program's thread, beyond the same without a profiler.
Each figure is the difference of a long run and a short one, so that start and end do not count.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SWEPT = '''
import sys, threading, time
sys.argv, seconds, depth, waiting, busy = sys.argv[:2], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
sys.path.insert(0, 'tests/py')
import bind
def spin(n):
    while n:
        n -= 1
def down(depth, end):
    if depth:
        return down(depth - 1, end)
    while busy and time.perf_counter() < end:
        spin(50)
    time.sleep(max(0, end - time.perf_counter()))
for _ in range(waiting - 1):
    threading.Thread(target=down, args=(depth, time.perf_counter() + seconds + 2), daemon=True).start()
bind.released.pyprof_test_decided.argtypes = [bind.ctypes.POINTER(bind.c_uint64)] * 3
found = [bind.c_uint64() for _ in range(3)]
with bind.record(rate_hz=200, max_cpu=1e6) as r:
    down(depth, time.perf_counter() + seconds)
bind.released.pyprof_test_decided(*found)
print(found[2].value)
'''
ALLOCATED = '''
import itertools, sys
def down(depth, n):
    if depth:
        return down(depth - 1, n)
    for _ in itertools.repeat(None, n):
        bytes(100)
down(int(sys.argv[2]), int(sys.argv[1]))
'''
SWEEPS = ((5, 1, False), (50, 1, False), (400, 1, False), (50, 8, False), (50, 1, True))   # depth, threads, does one of them run?
DEPTHS = 10, 50, 200
SHORT, LONG = 20000, 60000   # allocations


def counted(text, arguments, environment=()):
    """([instructions of each thread, the program's first], what the program printed)"""
    with tempfile.TemporaryDirectory() as folder:
        values = dict(os.environ, **dict(environment))
        if environment:
            values.update(PROFILING='1', PYPROF_QUIET='1', PYPROF_OUT=os.path.join(folder, 'out.json'))
        command = ['valgrind', '-q', '--tool=callgrind', '--separate-threads=yes', '--callgrind-out-file=' + os.path.join(folder, 'calls'),
                   sys.executable, '-S', '-E', '-c', text] + [str(one) for one in arguments]
        done = subprocess.run(command, env=values, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        totals = []
        for path in sorted(glob.glob(os.path.join(folder, 'calls-*'))):
            with open(path) as file:
                totals.append(int(re.search(r'^(?:totals|summary): (\d+)', file.read(), re.M).group(1)))
        if done.returncode or not totals:
            sys.exit('callgrind: ' + done.stderr.decode().strip()[-200:])
        return totals, done.stdout.decode()


def sweep(build, depth, threads, busy):
    """(instructions, sweeps counted). The sampler is the last thread that begins."""
    some = []
    for seconds in 1, 3:
        totals, said = counted(SWEPT, (build, seconds, depth, threads, int(busy)))
        some.append((totals[threads], int(said)))
    return (some[1][0] - some[0][0]) / max(1, some[1][1] - some[0][1]), some[1][1] - some[0][1]


def allocation(build, depth, mode):
    def total(count):
        environment = dict(PYPROF_RATE='0.01', PYPROF_HEAP=mode, LD_PRELOAD=os.path.join(build, 'libpyprof.so')) if mode else {}
        return counted(ALLOCATED, (count, depth), environment)[0][0]
    return (total(LONG) - total(SHORT)) / (LONG - SHORT)


def main(build):
    if not shutil.which('valgrind'):
        print('instructions: valgrind is not installed')
        return
    print('instructions of a sweep: the sampler\'s thread')
    for depth, threads, busy in SWEEPS:
        print('  depth %3d, %d thread%s, %-10s %10.0f   (%d sweeps)' % (
            (depth, threads, 's' if threads > 1 else ' ', 'one runs' if busy else 'all wait') + sweep(build, depth, threads, busy)), flush=True)
    print('instructions of an allocation and its free, beyond those without a profiler')
    for depth in DEPTHS:
        none = allocation(build, depth, None)
        print('  depth %3d: none %.0f; more when sampled %.0f, exact %.0f' % (
            depth, none, allocation(build, depth, 'sampled') - none, allocation(build, depth, 'exact') - none), flush=True)


if __name__ == '__main__':
    main(os.path.abspath(sys.argv[1]))
