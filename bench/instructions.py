"""Instructions of an allocation and its free, counted by callgrind: what no other program on the machine changes.

    PYTHON bench/instructions.py BUILD_DIR

Of the program's thread, beyond those of the same without a profiler. Each figure is the difference of a long run and a short one,
so that start and end do not count. The sampler's thread cannot be counted so: under valgrind it is late, and most of what it does
is to try again.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM = '''
import itertools, sys
def one(n):
    for _ in itertools.repeat(None, n):
        bytes(100)
def make():
    bytes(100)
def each(n):
    for _ in itertools.repeat(None, n):
        make()
def down(depth, n):
    if depth:
        return down(depth - 1, n)
    work(n)
work = globals()[sys.argv[3]]
down(int(sys.argv[2]), int(sys.argv[1]))
'''
DEPTHS = 10, 50, 200
WAYS = ('one', 'again and again from one line'), ('each', 'each in a call of its own')
SHORT, LONG = 10000, 30000   # allocations


def counted(build, arguments, mode):
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if mode:
            environment.update(PROFILING='1', PYPROF_QUIET='1', PYPROF_OUT=os.path.join(folder, 'out.json'), PYPROF_RATE='0.01',
                               PYPROF_HEAP=mode, LD_PRELOAD=os.path.join(build, 'libpyprof.so'))
        command = ['valgrind', '-q', '--tool=callgrind', '--separate-threads=yes', '--callgrind-out-file=' + os.path.join(folder, 'calls'),
                   sys.executable, '-S', '-E', '-c', PROGRAM] + [str(one) for one in arguments]
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            with open(os.path.join(folder, 'calls-01')) as file:   # the first thread
                return int(re.search(r'^totals: (\d+)', file.read(), re.M).group(1))
        except OSError:
            sys.exit('callgrind: ' + done.stderr.decode().strip()[-200:])


def allocation(build, depth, way, mode=None):
    return (counted(build, (LONG, depth, way), mode) - counted(build, (SHORT, depth, way), mode)) / (LONG - SHORT)


def main(build):
    if not shutil.which('valgrind'):
        print('instructions: valgrind is not installed')
        return
    print('instructions of an allocation and its free, and those that memory tracking adds')
    for way, title in WAYS:
        for depth in DEPTHS:
            none = allocation(build, depth, way)
            sampled, exact = (allocation(build, depth, way, mode) - none for mode in ('sampled', 'exact'))
            print('  %-30s depth %3d %7.0f   sampled %+6.0f   exact %+6.0f' % (title, depth, none, sampled, exact), flush=True)


if __name__ == '__main__':
    main(os.path.abspath(sys.argv[1]))
