"""The .prof, read by the pstats of every Python that this machine has, from a profile made by hand."""
import glob
import json
import marshal
import os
import subprocess
import sys

import bind
from bind import ALLOC_BYTES, LIVE_BLOCKS, LIVE_BYTES, PSTATS, SAMPLES, WALL_NS

MAIN, LIB, FOUR, ODD = '/srv/app/main.py', '/srv/app/lib.py', '/srv/app/four.py', '/srv/\U0001f40d "x"\n(1).py'
ROOT = ('~', 0, 'all')

# Of Python 2.7 as well: loads the file as people do, and prints everything that pstats tells of it.
READER = r'''
import json, os, pstats, sys
stats = pstats.Stats(sys.argv[1], stream=open(os.devnull, "w"))
stats.strip_dirs()
stats = pstats.Stats(sys.argv[1], stream=open(os.devnull, "w"))
for key in "calls", "cumulative", "line", "name", "nfl", "pcalls", "stdname", "time":
    stats.sort_stats(key)
if len(sys.argv) > 2:
    stats.print_stats(5).print_callers(5).print_callees(5)
stats.add(sys.argv[1])
stats = pstats.Stats(sys.argv[1], stream=open(os.devnull, "w"))
rows = [[list(key), list(value[:4]), [[list(caller), list(edge)] for caller, edge in value[4].items()]]
        for key, value in stats.stats.items()]
print(json.dumps({"total_tt": stats.total_tt, "calls": stats.total_calls, "primitive": stats.prim_calls, "rows": rows}))
'''


def pythons():
    """Every CPython that starts, also those too old for the profiler."""
    root = os.environ.get('PYENV_ROOT', os.path.expanduser('~/.pyenv'))
    found = [sys.executable] + glob.glob(os.path.join(root, 'versions', '*', 'bin', 'python'))
    for folder in ['/usr/bin', '/usr/local/bin']:
        found += glob.glob(os.path.join(folder, 'python2.7')) + glob.glob(os.path.join(folder, 'python3.[0-9]*[0-9]'))
    return sorted({os.path.realpath(one) for one in found if not one.endswith('config')})


def sampled(*stacks):
    model = bind.Model()
    for count, frames in stacks:
        node = model.stack(*frames)
        model.add(node, SAMPLES, count)
        model.add(node, WALL_NS, count * 10000000)
    return model


def small():
    """Recursion, a C function, a function with two callers, many samples. All functions are named f and begin in line 1."""
    model = sampled((3, [(MAIN, 1), (LIB, 7)]), (5, [(MAIN, 1), (LIB, 7), (LIB, 7), (LIB, 7)]),
                    (2, [(MAIN, 1), (FOUR, 4), (LIB, 7), '<malloc>']), (1, [(ODD, 9)]), (3000000000, [(MAIN, 1), (FOUR, 4)]))
    model.live(1000, 10, (MAIN, 1), (LIB, 7))
    return model


def load(data):
    return marshal.loads(data)


def close(one, other):
    return abs(one - other) < 1e-6


def agree(stats):
    """What viewers take for granted."""
    roots = [key for key, row in stats.items() if not row[4]]
    bind.equal(roots, [ROOT])
    for key, (calls, primitive, own, total, callers) in stats.items():
        bind.check(isinstance(key, tuple) and len(key) == 3 and isinstance(key[1], int), 'key %r', key)
        bind.check(calls == primitive >= 1 and 0 <= own <= total + 1e-9, '%r: %r', key, (calls, primitive, own, total))
        for caller, edge in callers.items():
            bind.check(caller in stats, '%r called by %r', key, caller)
            bind.check(len(edge) == 4 and edge[0] == edge[1] >= 1, '%r: %r', key, edge)
            bind.check(edge[2] <= own + 1e-9 and edge[3] <= total + 1e-9, '%r: %r in %r', key, edge, total)
        if key != ROOT:
            bind.check(close(sum(edge[2] for edge in callers.values()), own), '%r: %r', key, callers)


@bind.test
def values():
    stats = load(small().seal().write(PSTATS))
    agree(stats)
    main, four, lib = (MAIN, 1, 'f'), (FOUR, 1, 'f'), (LIB, 1, 'f')
    bind.equal(stats[lib][:2], (10, 10))
    bind.check(close(stats[lib][2], 0.08) and close(stats[lib][3], 0.10), '%r', stats[lib])   # recursion counts once
    bind.equal({caller: edge[0] for caller, edge in stats[lib][4].items()}, {main: 8, four: 2, lib: 5})
    bind.equal({caller: round(edge[3], 6) for caller, edge in stats[lib][4].items()}, {main: 0.08, four: 0.02, lib: 0.05})
    bind.equal(stats[four][:2], (3000000002, 3000000002))    # more than 32 bits
    bind.equal([round(value, 6) for value in stats[('~', 0, '<malloc>')][2:4]], [0.02, 0.02])
    bind.equal(list(stats[('~', 0, '<malloc>')][4]), [lib])
    bind.equal(stats[ROOT][:2], (3000000011, 3000000011))
    bind.check((ODD, 1, 'f') in stats, 'names are as they were recorded: %r', list(stats))


@bind.test
def memory():
    stats = load(small().seal().write(PSTATS, metric=LIVE_BYTES))
    agree(stats)
    bind.equal({key: (row[0], row[2], row[3]) for key, row in stats.items()},
               {ROOT: (10, 0, 1000), (MAIN, 1, 'f'): (10, 0, 1000), (LIB, 1, 'f'): (10, 1000, 1000)})
    stats = load(small().seal().write(PSTATS, metric=LIVE_BLOCKS))
    bind.equal((stats[ROOT][0], stats[ROOT][3]), (10, 10))
    stats = load(small().seal().write(PSTATS, metric=ALLOC_BYTES))   # there are none: the root is still there
    bind.equal(stats, {ROOT: (1, 1, 0, 0, {})})


@bind.test
def marshal_of_this_python_agrees():
    data = small().seal().write(PSTATS)
    bind.equal(load(marshal.dumps(load(data), 2)), load(data))
    for cut in range(len(data)):
        try:
            load(data[:cut])
        except (EOFError, ValueError, TypeError):
            continue
        bind.check(False, 'the first %d bytes load', cut)


@bind.test(limit=120)
def every_python_loads_it():
    profile = small().seal()
    want = load(profile.write(PSTATS))
    with bind.folder() as folder:
        path, reader = os.path.join(folder, 'x.prof'), os.path.join(folder, 'reader.py')
        profile.save(path)
        with open(reader, 'w') as file:
            file.write(READER)
        for python in pythons():
            # Python 2 cannot print names that are not ASCII to a file that has no encoding.
            version = subprocess.run([python, '-c', 'import sys; print(sys.version_info[0])'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if version.returncode:
                print('%s does not start' % python)
                continue
            run = subprocess.run([python, reader, path] + ['print'] * (version.stdout.strip() == b'3'), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=dict(os.environ, PYTHONIOENCODING='utf-8'))
            bind.check(run.returncode == 0, '%s: %s', python, run.stderr.decode('utf-8', 'replace'))
            got = json.loads(run.stdout.decode())
            rows = {tuple(key): tuple(row) + ({tuple(caller): tuple(edge) for caller, edge in callers},) for key, row, callers in got['rows']}
            bind.equal(rows, want)
            bind.check(close(got['total_tt'], sum(row[2] for row in want.values())), '%s: %r', python, got['total_tt'])
            bind.equal(got['calls'], got['primitive'])
            print('%s: %d functions' % (python, len(rows)))


if __name__ == '__main__':
    bind.run()
