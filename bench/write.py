"""What it takes to write, load and compare a large recording: 1,000,000 samples over 50,000 stacks, some 20 frames deep, of 8
threads, with memory. Beside it other profilers on a run that also has 50,000 stacks.

    python bench/write.py BUILD_DIR

Each row is a process of its own. Extra memory is what it grows by, at most, beyond the recording. Writing goes to /dev/null: the
disk is not measured. Limits: 1 s and 64 MB.
"""
import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'py'))
import bind  # noqa: E402
import totals  # noqa: E402

STACKS, SAMPLES = 50000, 1000000
MOST_SECONDS, MOST_BYTES = 1, 64e6


def big(stacks=STACKS):
    return bind.Profile(bind.released.pyprof_test_big(stacks, SAMPLES, 1))


def status(key):
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key + ':'))


def row(name, work):
    """Runs it in a child and prints seconds and memory; work returns the size of a file, or None."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        with open('/proc/self/clear_refs', 'w') as file:   # the high-water mark begins anew
            file.write('5')
        before, begin = status('VmRSS'), time.perf_counter()
        size = work()
        took, extra = time.perf_counter() - begin, status('VmHWM') - before
        over = [word for word, bad in (('time', took > MOST_SECONDS), ('memory', extra > MOST_BYTES)) if bad]
        print('%-26s %7.2f s %8.1f MB extra %10s   %s' % (name, took, extra / 1e6, '' if size is None else '%.1f MB' % (size / 1e6),
                                                         'over: ' + ', '.join(over) if over else ''))
    except bind.Error as error:
        print('%-26s %s' % (name, error))
    sys.stdout.flush()
    os._exit(0)


def size_of(profile, format):
    """Of what it writes, counted in a run of its own."""
    size = [0]
    output = bind.Output()
    output.format = format
    count = bind.WRITE_FN(lambda user, data, n: size.__setitem__(0, size[0] + n) or 0)
    bind.call('write', profile.pointer, ctypes.byref(output), count, None)
    return size[0]


def load(path):
    pointer = ctypes.c_void_p()
    bind.call('load', os.fsencode(path), ctypes.byref(pointer))


def ours():
    profile, other = big(), big(STACKS - 8)
    stats = profile.info()
    print('%d samples, %d nodes, %d functions, %d threads' % (stats.total[bind.SAMPLES], stats.nodes, stats.functions, stats.threads))
    for format, suffix, _, _ in totals.table():
        row('write ' + suffix, lambda: profile.save('/dev/null', format=format))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'big.json')
        row('save .json to a file', lambda: profile.save(path) or os.path.getsize(path))
        row('load .json', lambda: load(path))
    row('diff', lambda: profile.diff(other) and None)
    print('file sizes: ' + ', '.join('%s %.1f MB' % (suffix, size_of(profile, format) / 1e6) for format, suffix, _, _ in totals.table()))


# --- the others ------------------------------------------------------------------------------------------------------------

PATHS = os.path.join(HERE, 'paths.py')


def timed(name, command, output, less=0):
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took = time.perf_counter() - begin - less
    if done.returncode or not os.path.exists(output):
        print('%-40s does not run here: %s' % (name, done.stdout.decode(errors='replace').strip().split('\n')[-1][:100]))
        return False
    print('%-40s %7.2f s %27.1f MB' % (name, took, os.path.getsize(output) / 1e6))
    return True


def peers(folder):
    file = os.path.join(folder, 'out')
    if not shutil.which('memray'):
        print('memray: not installed')
    else:   # with the interpreter that it is installed for
        memray = shutil.which('memray')
        if timed('memray run', [memray, 'run', '-q', '-o', file + '.bin', PATHS], file + '.bin'):
            for command in 'flamegraph', 'table':
                timed('memray ' + command, [memray, command, '-o', file + command, file + '.bin'], file + command)
    if not shutil.which('py-spy'):
        print('py-spy: not installed')
    else:
        for kind in 'flamegraph', 'speedscope', 'raw':
            timed('py-spy record -f %s, beyond its 5 s' % kind, ['py-spy', 'record', '-r', '1000', '-d', '5', '-f', kind, '-o', file + kind, '--',
                                                            sys.executable, PATHS, '60'], file + kind, 5)
    python = next((found for found in map(shutil.which, ('python3.15', 'python3.16')) if found), None)
    if not python:
        print("CPython 3.15's sampler: not installed")
    elif timed('profiling.sampling run --binary', [python, '-m', 'profiling.sampling', 'run', '--binary', '-o', file + '.sampled', PATHS, '5'], file + '.sampled'):
        timed('profiling.sampling replay --flamegraph', [python, '-m', 'profiling.sampling', 'replay', '--flamegraph', '-o', file + '.html', file + '.sampled'], file + '.html')


ours()
with tempfile.TemporaryDirectory() as folder:
    peers(folder)
