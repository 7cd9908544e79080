"""The figures of make bench: medians with intervals, distances, tables, and docs/benchmarks.md with its plot, from a CSV.

    PYTHON bench/figures.py BENCH.csv DOCS_DIR      writes benchmarks.md and benchmarks.svg there
"""
import collections
import csv
import html
import math
import os
import statistics
import sys

LEVEL = 0.9
COLUMNS = ('situation', 'workload', 'python', 'profiler', 'against', 'rate_hz', 'runs', 'slowdown', 'slowdown_low', 'slowdown_high',
           'target_cpu', 'profiler_cpu_percent', 'memory_mb', 'around_ms', 'asked', 'got', 'lost_percent', 'said_lost_percent',
           'impossible', 'tvd', 'tvd_floor', 'written_bytes', 'status')
Better = collections.namedtuple('Better', 'name column digits')
# Of these columns less is better.
JUDGED = [Better('slowdown', 'slowdown', 3), Better('its CPU, % of a core', 'profiler_cpu_percent', 2), Better('memory, MB', 'memory_mb', 1),
          Better('before and after, ms', 'around_ms', 0), Better('lost, %', 'lost_percent', 2), Better('impossible stacks', 'impossible', 0),
          Better('distance from the truth', 'tvd', 3), Better('bytes written', 'written_bytes', 0)]


# --- figures ---------------------------------------------------------------------------------------------------------

def interval(values, level=LEVEL):
    """Two of the values, between which the median of all such values lies with this probability at least, whatever their
    distribution: the k-th from each end, k as large as can be. None if there are too few of them."""
    ordered, n = sorted(values), len(values)
    below, tail, k = 0.0, 0.0, 0
    while k < n // 2:
        tail += math.comb(n, k) * 0.5 ** n   # that k of them or fewer are below the median
        if 1 - 2 * tail < level:
            break
        below, k = tail, k + 1
    return (ordered[k - 1], ordered[n - k]) if k else None


def shares(weights):
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else {}


def distance(some, truth):
    """Total variation distance of two distributions: 0 = the same, 1 = nothing in common. None without one of them."""
    some, truth = shares(some), shares(truth)
    if not some or not truth:
        return None
    return sum(abs(some.get(name, 0) - truth.get(name, 0)) for name in set(some) | set(truth)) / 2


def floor_of(truth, samples):
    """The distance to be expected of so many samples by chance alone."""
    if not samples or not truth:
        return None
    return sum(math.sqrt(2 * p * (1 - p) / (math.pi * samples)) for p in shares(truth).values()) / 2


def geometric(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


# --- the file --------------------------------------------------------------------------------------------------------

def write(path, machine, rows):
    with open(path, 'w', newline='', encoding='utf-8') as file:
        for line in machine:
            file.write('# %s\n' % line)
        writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows({name: told(row.get(name)) for name in COLUMNS} for row in rows)


def told(value):
    return '' if value is None else '%.6g' % value if isinstance(value, float) else value


def read(path):
    """(the lines about the machine, the rows: numbers where there are some, None where there is nothing)"""
    with open(path, newline='', encoding='utf-8') as file:
        lines = file.read().split('\n')
    machine = [line[2:] for line in lines if line.startswith('# ')]
    rows = [{name: number(value) for name, value in row.items()} for row in csv.DictReader(line for line in lines if not line.startswith('# '))]
    return machine, rows


def number(text):
    try:
        return float(text)
    except ValueError:
        return text or None


# --- tables ----------------------------------------------------------------------------------------------------------

HEADS = ('profiler', 'slowdown', '90 %', 'target CPU', 'its CPU', 'memory', 'around', 'asked', 'got', 'lost', 'impossible', 'TVD (chance)', 'written', 'runs')
WIDTHS = 51, 9, 14, 11, 9, 10, 10, 8, 8, 9, 11, 15, 9, 5


def cell(value, pattern):
    return '-' if value is None else pattern % value


def size(value):
    if not value:
        return '-'
    return '%.1f MB' % (value / 1e6) if value >= 1e6 else '%.0f kB' % (value / 1e3)


def cells(row):
    between = '-' if row['slowdown_low'] is None else '%.3f-%.3f' % (row['slowdown_low'], row['slowdown_high'])
    far = cell(row['tvd'], '%.3f') + ('' if row['tvd_floor'] is None else ' (%.3f)' % row['tvd_floor'])
    return (title(row), cell(row['slowdown'], '%.3fx'), between, cell(row['target_cpu'], '%.3fx'), cell(row['profiler_cpu_percent'], '%.2f %%'),
            cell(row['memory_mb'], '%+.1f MB'), cell(row['around_ms'], '%+.0f ms'), cell(row['asked'], '%.0f'), cell(row['got'], '%.0f'),
            cell(row['lost_percent'], '%.2f %%'), cell(row['impossible'], '%.0f'), far, size(row['written_bytes']), cell(row['runs'], '%.0f'))


def title(row):
    return row['profiler'] if row['python'] == '' or row.get('home') else '%s, %s' % (row['profiler'], row['python'])


def mark_home(rows):
    """Rows of the first interpreter do not name it."""
    home = rows[0]['python'] if rows else None
    for row in rows:
        row['home'] = row['python'] == home
    return rows


def groups(rows):
    """[((situation, workload), its rows)], in their order"""
    found = collections.OrderedDict()
    for row in rows:
        found.setdefault((row['situation'], row['workload']), []).append(row)
    return list(found.items())


def line(values):
    return (values[0].ljust(WIDTHS[0]) + ''.join(value.rjust(width) for value, width in zip(values[1:], WIDTHS[1:]))).rstrip()


def print_table(rows, file=sys.stdout):
    for (situation, workload), some in groups(mark_home(rows)):
        print('\n%s, %s' % (workload, situation), file=file)
        print(line(HEADS), file=file)
        for row in some:
            print(line(cells(row)) if row['status'] == 'ok' else '%-51s %s' % (title(row), row['status']), file=file)
    lost = better(rows)
    print('\nWhere another profiler does better than ours at the same rate: %d of %d figures' % (len(lost), compared(rows)), file=file)
    for row, ours, column, sure in lost:
        print('  %-11s %-11s %-24s %-51s %s, ours %s%s' % (row['situation'], row['workload'], column.name, title(row), value(row, column),
                                                        value(ours, column), '' if sure else '   (within the noise)'), file=file)


def value(row, column):
    return '%.*f' % (column.digits, row[column.column])


# --- where others do better ------------------------------------------------------------------------------------------

def pairs_of(rows):
    """[(row of another profiler, ours that it is compared with)]"""
    known = {(row['situation'], row['workload'], row['python'], row['profiler']): row for row in rows if row['status'] == 'ok'}
    found = []
    for row in rows:
        ours = known.get((row['situation'], row['workload'], row['python'], row['against']))
        if row['status'] == 'ok' and ours:
            found.append((row, ours))
    return found


def compared(rows):
    return sum(row[column.column] is not None and ours[column.column] is not None for row, ours in pairs_of(rows) for column in JUDGED)


def better(rows):
    """[(row, ours, column, is it beyond the noise?)] for each figure in which another profiler is better than ours"""
    found = []
    for row, ours in pairs_of(rows):
        for column in JUDGED:
            theirs, own = row[column.column], ours[column.column]
            if theirs is not None and own is not None and round(theirs, column.digits) < round(own, column.digits):
                found.append((row, ours, column, beyond_noise(row, ours, column.column)))
    return found


def beyond_noise(row, ours, column):
    """Slowdowns whose intervals overlap, or that have none, and distances that chance explains, tell nothing."""
    if column == 'slowdown':
        return row['slowdown_high'] is not None and ours['slowdown_low'] is not None and row['slowdown_high'] < ours['slowdown_low']
    if column == 'tvd':
        return ours['tvd'] > 2 * (ours['tvd_floor'] or 0)
    return True


# --- docs/benchmarks.md ----------------------------------------------------------------------------------------------

ABOUT = '''# Benchmarks

Written by `make bench-docs` from one run of `make bench`, on this machine:

%s

Each profiler records the same unmodified programs ([bench/loads.py](../bench/loads.py)), a fixed amount of work, in a process of its
own; all of them take turns in every round. A slowdown is the median, over the rounds, of the wall time of the work divided by that
without a profiler in the same round; the interval holds the median of such ratios with a probability of 90 %% (order statistics; none
below five runs). *None again* is no profiler once more: its figures are what this machine's noise does to all others.
*Idle waker* is a thread that wakes up as often as the sampler and does nothing.

| column | |
| --- | --- |
| target CPU | CPU time of the program's own threads, as a ratio of the same kind |
| its CPU | CPU time of the profiler while the work runs, in percent of a core: its threads, and its process if it has one; of those that run in the program's own threads it is in the target's |
| memory | peak resident memory of both by the end of the work, beyond that of the program alone |
| around | time before and after the work, beyond that of the program alone: to start, and to write the files |
| asked, got, lost | rate x time x threads that work; samples that came, of all runs; the rest in percent. Each profiler is asked for waiting threads, too |
| impossible | samples whose stack the program cannot produce: calls that no function of it makes |
| TVD (chance) | total variation distance of the shares of the program's parts from those that it measures itself (0 = the same, 1 = nothing in common): by the wall clock in the same runs if stacks are sampled, by its CPU clock without a profiler for those that run in its threads and change what they measure; in parentheses what is to be expected by chance of so many samples |
| written | size of its files |

'''


def markdown(rows):
    lines = []
    if rows:
        lines += ['| %s |' % ' | '.join(HEADS), '| --- |' + ' ---: |' * (len(HEADS) - 1)]
        lines += ['| %s |' % ' | '.join(cells(row)) if row['status'] == 'ok' else
                  '| %s | %s |%s' % (title(row), row['status'].replace('|', '/'), ' |' * (len(HEADS) - 2)) for row in rows]
    return lines + ['']


def summary(rows):
    """By profiler: the geometric mean over the workloads, and the worst of them; not ordered by what is found."""
    lines = ['| profiler | workloads | slowdown | worst | its CPU | memory | lost, at most | impossible | TVD, at most |',
             '| --- |' + ' ---: |' * 8]
    for name, some in by_profiler(rows):
        good = [row for row in some if row['slowdown'] is not None]
        if not good:
            lines.append('| %s | %s |%s' % (name, some[0]['status'], ' |' * 7))
            continue
        lost, bad, far, memory = (known(good, column) for column in ('lost_percent', 'impossible', 'tvd', 'memory_mb'))
        lines.append('| %s | %d | %.3fx | %.3fx | %s | %s | %s | %s | %s |' % (
            name, len(good), geometric([row['slowdown'] for row in good]), max(row['slowdown'] for row in good),
            cell(mean(known(good, 'profiler_cpu_percent')), '%.2f %%'), cell(max(memory, default=None), '%+.1f MB'),
            cell(max(lost, default=None), '%.2f %%'), cell(sum(bad) if bad else None, '%d'), cell(max(far, default=None), '%.3f')))
    return lines + ['']


def mean(values):
    return statistics.mean(values) if values else None


def known(rows, column):
    return [row[column] for row in rows if row[column] is not None]


def by_profiler(rows):
    found = collections.OrderedDict()
    for row in rows:
        if row['profiler'] != 'none':
            found.setdefault(title(row), []).append(row)
    return list(found.items())


def lost_figures(rows):
    found = better(rows)
    lines = ['%d of %d figures of other profilers are better than ours at the same rate.' % (len(found), compared(rows)), '']
    if found:
        lines += ['| situation | workload | figure | profiler | its | ours | |', '| --- | --- | --- | --- | ---: | ---: | --- |']
        lines += ['| %s | %s | %s | %s | %s | %s | %s |' % (
            row['situation'], row['workload'], column.name, title(row), value(row, column), value(ours, column),
            '' if sure else 'within the noise') for row, ours, column, sure in found]
        lines.append('')
    return lines


def document(machine, rows):
    rows = mark_home(rows)
    situations = list(collections.OrderedDict.fromkeys(row['situation'] for row in rows))
    lines = (ABOUT % '\n'.join('    ' + one for one in machine)).split('\n')
    lines += ['![Slowdown of each profiler, by workload](benchmarks.svg)', '']
    for situation in situations:
        lines += ['## All workloads, %s' % situation, ''] + summary([row for row in rows if row['situation'] == situation])
    lines += ['## Where another profiler does better', ''] + lost_figures(rows)
    for (situation, workload), some in groups(rows):
        lines += ['## %s, %s' % (workload, situation), ''] + markdown(some)
    return '\n'.join(lines).rstrip('\n') + '\n'


# --- the plot --------------------------------------------------------------------------------------------------------

LEFT, RIGHT, ROW, TOP = 330, 620, 20, 60
TICKS = 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100
APART = 34   # of two labels of the scale


def plot(rows):
    """A dot for each workload, a bar at the geometric mean, on a logarithmic scale."""
    rows = mark_home(rows)
    first = rows[0]['situation'] if rows else ''
    found = [(name, [row['slowdown'] for row in some if row['slowdown'] is not None])
             for name, some in by_profiler([row for row in rows if row['situation'] == first])]
    most = max([max(values) for _, values in found if values] or [2]) * 1.05
    least = min([min(values) for _, values in found if values] + [0.9])

    def x(value):
        return LEFT + RIGHT * math.log(value / least) / math.log(most / least)
    height = TOP + ROW * len(found) + 40
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (LEFT + RIGHT + 40, height),
             '<rect width="100%" height="100%" fill="#fff"/>',
             '<text x="12" y="24" font-size="15">Slowdown of the program, %s: a dot for each workload, a bar at the geometric mean</text>' % html.escape(first)]
    last = None
    for tick in sorted((tick for tick in TICKS if least <= tick <= most), key=lambda tick: (tick < 1, tick)):
        parts.append('<path d="M%.1f %d V%d" stroke="%s"/>' % (x(tick), TOP - 8, height - 32, '#888' if tick == 1 else '#ddd'))
        if last is None or abs(x(tick) - last) >= APART and tick > 1:
            last = x(tick)
            parts.append('<text x="%.1f" y="%d" text-anchor="middle">%gx</text>' % (last, height - 14, tick))
    for i, (name, values) in enumerate(found):
        y = TOP + ROW * i
        parts.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (LEFT - 12, y + 4, html.escape(name)))
        if not values:
            parts.append('<text x="%d" y="%d" fill="#888">no figures: see the table</text>' % (x(1) + 6, y + 4))
            continue
        parts += ['<circle cx="%.1f" cy="%d" r="3" fill="#36c" fill-opacity="0.45"/>' % (x(value), y) for value in values]
        parts.append('<path d="M%.1f %d v14" stroke="#c33" stroke-width="2.5"/>' % (x(geometric(values)), y - 7))
    return '\n'.join(parts + ['</svg>']) + '\n'


def write_documents(source, folder):
    machine, rows = read(source)
    for name, text in ('benchmarks.md', document(machine, rows)), ('benchmarks.svg', plot(rows)):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
            file.write(text)


if __name__ == '__main__':
    write_documents(*sys.argv[1:3])
