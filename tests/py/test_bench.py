"""make bench: its figures, and its smallest form, beside a profiler that is made up."""
import csv
import io
import os
import subprocess
import sys
import tempfile

import bind

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'bench'))
import figures     # noqa: E402
import loads       # noqa: E402
import profilers   # noqa: E402
import proof       # noqa: E402
from grammar import Frame   # noqa: E402

# Writes two stacks in py-spy's format, one of which calls() cannot have, and runs the program.
FAKE = '''#!/bin/sh
[ "$1" = --version ] && { echo py-spy 9.8.7; exit; }
while [ "$1" != -- ]; do
    [ "$1" = -o ] && out=$2
    shift
done
shift
/bin/cat >"$out" <<END
%s
END
"$@"
echo 'Samples: 7 Errors: 3'
'''


def frames_of(*functions):
    """The stack of these functions of bench/loads.py, each at a line on which the next may be called."""
    rules = proof.Rules('calls')
    named, lines = {one.path: one for one in rules.grammar.functions()}, []
    for at, name in enumerate(functions):
        callee = named.get(functions[at + 1]) if at + 1 < len(functions) else None
        calls = [line for line, calls in named[name].calls.items() if ((), callee) in calls]
        lines.append(Frame(named[name].name, os.path.join('bench', profilers.FILE), min(calls) if calls else named[name].first + 1, None, None))
    return lines


WORK = '<module>', 'main', 'section', 'thread_work', 'work'
GOOD = WORK + ('calls_fib', 'fib', 'fib')
BAD = WORK + ('calls_fib', 'hop_2')


def raw(functions, count):
    return ';'.join('%s (%s:%d)' % (frame.name, frame.file, frame.line) for frame in frames_of(*functions)) + ' %d' % count


@bind.test
def intervals_are_those_of_order_statistics():
    """From a table of the binomial distribution: 5 values hold the median with 93.75 %, 8 from the second on with 92.97 %."""
    bind.equal(figures.interval([5, 1, 4, 2, 3]), (1, 5))
    bind.equal(figures.interval([8, 1, 7, 2, 6, 3, 5, 4]), (2, 7))
    bind.equal(figures.interval(range(1, 21)), (6, 15))
    for few in range(5):
        bind.equal(figures.interval(list(range(few))), None, '%d values' % few)
    bind.equal(figures.interval([1, 2, 3, 4, 5], 0.95), None)


@bind.test
def distances_are_between_none_and_all():
    bind.equal(figures.distance({'a': 3, 'b': 1}, {'a': 6, 'b': 2}), 0)
    bind.equal(figures.distance({'a': 1}, {'b': 5}), 1)
    bind.near(figures.distance({'a': 3, 'b': 1}, {'a': 1, 'b': 1}), 0.25, 1e-9)
    bind.equal(figures.distance({}, {'a': 1}), None)
    bind.near(figures.floor_of({'a': 1, 'b': 1}, 10000), 0.00399, 0.01)


@bind.test
def stacks_are_judged_by_the_calls_of_the_workload():
    rules = proof.Rules('calls')
    bind.equal(rules.judge(frames_of(*GOOD)), (True, False, 'calls_fib'))
    bind.equal(rules.judge(frames_of(*BAD)), (True, True, None))
    bind.equal(rules.judge(frames_of('<module>', 'main')), (False, False, None))
    bind.equal(rules.judge([frames_of('<module>')[0]._replace(name='nothing')])[1], True)
    # the part of another workload
    bind.equal(proof.Rules('alloc').judge(frames_of(*GOOD))[1], True)
    bind.equal(rules.judge(frames_of('fib')), (True, True, None), 'a stack without its root')


@bind.test
def every_workload_is_described():
    """The rules of each can be made, and a function belongs to one part of it: some profilers tell functions only."""
    for name, (parts, _) in loads.ROOT_PARTS.items():
        rules = proof.Rules(name)
        for part in parts:
            bind.equal(rules.owner[part], part)
        bind.equal([one for one, part in rules.owner.items() if part is None and one != '__init__'], [], name)


def ran(folder, **environment):
    """(the table, machine, rows by workload and profiler) of a run of the bench, with only what is in the folder beside it."""
    path = os.path.join(folder, 'bench.csv')
    values = dict(os.environ, PATH=folder, SECONDS='0.02', CSV=path, SID=folder, CC='cc', **environment)
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'bench', 'proof.py'), bind.BUILD], env=values, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    bind.equal(done.returncode, 0, done.stdout)
    machine, rows = figures.read(path)
    return done.stdout, machine, {(row['workload'], row['profiler']): row for row in rows}, path


@bind.test
def bench_tells_figures_and_whoever_is_missing():
    with tempfile.TemporaryDirectory() as folder:
        fake = os.path.join(folder, 'py-spy')
        with open(fake, 'w') as file:
            file.write(FAKE % '\n'.join((raw(GOOD, 30), raw(BAD, 4), raw(('<module>', 'main'), 9))))
        os.chmod(fake, 0o755)
        said, machine, rows, path = ran(folder, WORKLOADS='calls', ROUNDS='2', MODES='pyprof 1 kHz,py-spy 1 kHz,austin*,tracemalloc 1')
        spy, ours, other = (rows['calls', name] for name in ('py-spy 1 kHz', 'pyprof 1 kHz', 'austin 1 kHz'))
        bind.equal([one['status'] for one in (spy, ours, other)], ['ok', 'ok', 'not installed'])
        bind.equal((spy['got'], spy['impossible'], spy['said_lost_percent'], spy['runs']), (68, 8, 30, 2))
        bind.near(spy['lost_percent'], max(0, 100 * (1 - 68 / spy['asked'])), 0.02, 0.1)
        bind.check(spy['tvd'] > 0.2, 'all of it in one part: %s', spy['tvd'])
        bind.check(ours['impossible'] == 0 and ours['written_bytes'] > 1000, ours)
        bind.enough(ours['got'] > 0, 'no sample')
        bind.check(all(row['slowdown'] > 0 and row['slowdown_low'] is None for row in (spy, ours)), 'two runs have no interval')
        bind.check(rows['calls', 'tracemalloc 1']['asked'] is None and rows['calls', 'tracemalloc 1']['slowdown'] > 0, rows)
        bind.check('Python' in machine[0] and 'CPUs' in machine[0] and 'py-spy 9.8.7' in machine[1], machine)
        bind.check('not installed' in said and 'impossible, calls, py-spy 1 kHz' in said, said)
        with open(path) as file:
            head = [line for line in file if not line.startswith('#')][0]
        bind.equal(tuple(next(csv.reader(io.StringIO(head)))), figures.COLUMNS)


@bind.test
def a_profiler_that_fails_says_why():
    with tempfile.TemporaryDirectory() as folder:
        fake = os.path.join(folder, 'py-spy')
        with open(fake, 'w') as file:
            file.write('#!/bin/sh\n[ "$1" = --version ] && echo py-spy 1.0 && exit\necho Permission denied\nexit 1\n')
        os.chmod(fake, 0o755)
        said, _, rows, _ = ran(folder, WORKLOADS='numeric', FEW='1', MODES='py-spy 1 kHz')
        status = rows['numeric', 'py-spy 1 kHz']['status']
        bind.check('Permission denied' in status and 'result.json: No such file' in status and folder not in status, rows)


def row(profiler, slowdown, between=(None, None), **more):
    found = dict.fromkeys(figures.COLUMNS)
    found.update(situation='quiet', workload='calls', python='Python 3', profiler=profiler, runs=5.0, slowdown=slowdown, target_cpu=1.0,
                 slowdown_low=between[0], slowdown_high=between[1], status='ok', **more)
    return found


@bind.test
def documents_show_where_others_do_better():
    rows = [row('none', 1.0), row('pyprof 1 kHz', 1.1, (1.08, 1.12), lost_percent=0.5, impossible=0.0),
            row('quick', 1.01, (1.0, 1.02), against='pyprof 1 kHz', lost_percent=3.0, impossible=0.0),
            row('unsure', 1.05, (1.0, 1.1), against='pyprof 1 kHz'),
            dict(row('gone', None, against='pyprof 1 kHz'), status='not installed')]
    found = [(one['profiler'], column.column, sure) for one, _, column, sure in figures.better(rows)]
    bind.equal(found, [('quick', 'slowdown', True), ('unsure', 'slowdown', False)])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'x.csv')
        figures.write(path, ['a CPU', 'a day'], rows)
        figures.write_documents(path, folder)
        with open(os.path.join(folder, 'benchmarks.md'), encoding='utf-8') as file:
            text = file.read()
        with open(os.path.join(folder, 'benchmarks.svg'), encoding='utf-8') as file:
            plot = file.read()
    bind.check('    a CPU\n    a day\n' in text and '2 of 4 figures' in text, text)
    bind.check('| quiet | calls | slowdown | quick | 1.010 | 1.100 |  |\n' in text, text)
    bind.check('| quiet | calls | slowdown | unsure | 1.050 | 1.100 | within the noise |\n' in text, text)
    bind.check('| gone | not installed |' in text and '1.080-1.120' in text, text)
    import xml.etree.ElementTree as tree
    bind.check(len(tree.fromstring(plot).findall('.//{*}circle')) == 3, plot)


if __name__ == '__main__':
    bind.run()
