"""What memory profiling costs, ours and others': slowdown, memory per live block, pauses, snapshots.

    [ROUNDS=3] [WORKLOADS=churn,deep*] [MODES=none,exact,tracemalloc-1] [LIVE=1e7] [CLOCK=wall] PYTHON bench/memory.py BUILD_DIR

Each measurement is a process of its own (memwork.py). In every round all modes take turns; a figure is the median over
the rounds of the ratio to no profiler in the same round, and in parentheses the ratio of the fastest units of all. Time
is the process's CPU time, which does not count what other processes take; CLOCK=wall for machines that are idle.
"""
import collections
import fnmatch
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get('ROUNDS', '3'))
WANTED = os.environ.get('WORKLOADS', '*').split(',')
MODES = os.environ.get('MODES', '*').split(',')
WORKLOADS = 'churn', 'mix', 'retain', 'depth10', 'deep50', 'deep200', 'calls', 'bigbuf', 'threads'
Mode = collections.namedtuple('Mode', 'key title base slow')
COLUMNS = [   # slow: half the rounds are enough
    Mode('none', 'none again', 'none', False), Mode('sampled', 'sampled', 'none', False),
    Mode('sampled+live', 'sampled+live', 'none+live', False), Mode('exact', 'exact', 'none', False),
    Mode('memray', 'memray', 'none', False), Mode('memray-tpa', 'memray tpa', 'none', True),
    Mode('tracemalloc-1', 'tracemalloc 1', 'none', True), Mode('tracemalloc-25', 'tracemalloc 25', 'none', True),
]
CLOCK = os.environ.get('CLOCK', 'cpu')
gone = {}   # modes that do not run here, and why


def live_blocks():
    with open('/proc/meminfo') as file:
        available = next(int(line.split()[1]) * 1024 for line in file if line.startswith('MemAvailable'))
    return float(os.environ.get('LIVE', '1e7' if available > 3 << 30 else '1.6e6'))


LIVE = live_blocks()


def wanted(name, patterns):
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def measure(workload, mode):
    """What the process told, or None."""
    if mode in gone:
        return None
    environment = dict(os.environ, PYTHONHASHSEED='0', LIVE=str(LIVE), MALLOC_MMAP_THRESHOLD_='131072')   # does not adapt
    command = [sys.executable, os.path.join(HERE, 'memwork.py'), workload, mode] + sys.argv[1:2]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=environment, timeout=300)
    except subprocess.TimeoutExpired:
        print('%s, %s: still running after 5 minutes: ended' % (workload, mode))
        return None
    said = done.stderr.decode('utf-8', 'replace').strip().splitlines()
    if done.returncode:
        print('%s, %s: failed: %s' % (workload, mode, said[-1] if said else 'exit code %d' % done.returncode))
        return None
    told = json.loads(done.stdout.decode().splitlines()[-1])
    if 'unsupported' in told:
        gone[mode] = told['unsupported']
        return None
    for line in said:
        print('%s, %s: %s' % (workload, mode, line))
    return told


def rounds_of(workload, columns):
    """{column: [(seconds of units, those of its base)]}, {mode: what it told last}"""
    pairs, told = {column: [] for column in columns}, {}
    for number in range(ROUNDS):
        bases = {}
        for column in columns:
            if column.slow and number >= math.ceil(ROUNDS / 2):
                continue
            if column.base not in bases:
                bases[column.base] = measure(workload, column.base)
            one = measure(workload, column.key)
            if one and bases[column.base]:
                pairs[column].append((one[CLOCK], bases[column.base][CLOCK]))
                told[column.key] = one
    return pairs, told


def ratio(pairs):
    return statistics.median(statistics.median(some) / statistics.median(base) for some, base in pairs)


def best(pairs):
    return min(min(some) for some, _ in pairs) / min(min(base) for _, base in pairs)


def cell(pairs):
    return '%.2fx (%.2f)' % (ratio(pairs), best(pairs)) if pairs else '-'


def slowdown(columns):
    """The table. Returns {workload: {key: pairs}}, and what the workload retain told."""
    found, retained = {}, {}
    if any(wanted(workload, WANTED) for workload in WORKLOADS):
        print('%-9s %9s' % ('slowdown', 'none') + ''.join('%17s' % column.title for column in columns))
    for workload in WORKLOADS:
        if not wanted(workload, WANTED):
            continue
        used = [column for column in columns if workload == 'churn' or column.base == 'none']
        pairs, told = rounds_of(workload, used)
        found[workload] = {column.key: pairs[column] for column in used if pairs[column]}
        if workload == 'retain':
            retained = told
        units = [second for pair in pairs.values() for _, base in pair for second in base]
        print('%-9s %6.1f ms' % (workload, 1000 * statistics.median(units) if units else 0) +
              ''.join('%17s' % cell(pairs.get(column)) for column in columns).rstrip())
        sys.stdout.flush()
    return found, retained


def compared(found):
    for other in 'tracemalloc-1', 'memray-tpa':
        parts = ['%s %.1f' % (workload, ratio(pairs[other]) / ratio(pairs['exact']))
                 for workload, pairs in found.items() if other in pairs and 'exact' in pairs]
        if parts:
            print('%s, its slowdown as a multiple of exact: %s' % (other, ', '.join(parts)))


def per_block(retained):
    if 'none' not in retained:
        return
    base = retained['none']
    print('\n%.1f million live blocks: %.0f MB without a profiler; bytes more for each block, of the resident set:' % (
        base['blocks'] / 1e6, base['resident'] / 1e6))
    print('    ' + ', '.join('%s %.1f' % (key, (told['resident'] - base['resident']) / base['blocks'])
                             for key, told in retained.items() if key != 'none'))


def timing(told, key):
    if isinstance(told.get(key), str):
        return told[key]
    if key not in told:
        return '-'
    taken = [1000 * seconds for seconds in told[key]]
    return '%.1f ms' % statistics.median(taken) + (' (%.1f to %.1f)' % (min(taken), max(taken)) if len(taken) > 1 else '')


def live():
    print('\n%.1f million live blocks of 50,000 stacks, the garbage collector off' % (LIVE / 1e6))
    print('%-9s %9s %9s %9s   %s' % ('', 'built in', 'resident', 'a block', 'longest 12 allocations, CPU alone'))
    base = None
    asked = {}
    for mode in 'none', 'sampled', 'exact':
        told = measure('live', mode) if wanted(mode, MODES + ['none']) else None
        if not told:
            continue
        base = base or told
        more = '%.1f B' % ((told['resident'] - base['resident']) / told['blocks']) if told is not base else '-'
        print('%-9s %7.1f s %6.0f MB %9s   %.2f ms, %.2f ms' % (
            mode, told['cpu'][0], told['resident'] / 1e6, more, 1000 * told['pause'], 1000 * told['pause_cpu']))
        sys.stdout.flush()
        if 'snapshot' in told:
            asked[mode] = told
    for mode, told in asked.items():
        print('%s: %d nodes, %d blocks noted, %d live, %d dropped, %.0f MB its own' % (
            mode, told['nodes'], told['heap_samples'], told['heap_live_blocks'], told['heap_dropped'], told['own_bytes'] / 1e6))
        for key, title in ('snapshot', 'snapshot'), ('diff', 'diff'), ('.json', '.json'), ('.pkl', '.pkl'):
            size = told.get('size ' + key)
            print('    %-10s %s%s' % (title, timing(told, key), ', %d bytes' % size if size else ''))


def main():
    columns = [column for column in COLUMNS if wanted(column.key, MODES)]
    if importlib.util.find_spec('memray') is None:
        for column in columns:
            if column.key.startswith('memray'):
                gone[column.key] = 'not installed'
    columns = [column for column in columns if column.key not in gone]
    found, retained = slowdown(columns)
    compared(found)
    per_block(retained)
    if wanted('live', WANTED):
        live()
    for key, why in gone.items():
        print('%s: %s' % (key, why))


main()
