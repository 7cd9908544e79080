"""How true recordings are where CPUs are busy, threads many or short, interpreters several: the mixed
workloads (parts.py), which note where their time goes, in situations that real machines have.

    PYTHON tests/oracle/mixed.py BUILD_DIR [--seconds S] [--rate HZ,HZ] [--workload GLOB,GLOB] [--situation NAME,NAME]
        [--py-spy PROGRAM] [--markdown] [--calibrate]

BUILD_DIR holds libpyprof_test.so and oracle_host.so. A line of the table is one recording, in a process of
its own:

    by               pyprof.h, or py-spy on the same workload next to it (--py-spy '' leaves it out)
    lost %           (missed + rejected) / asked; recovered: of the samples, those whose tick was late
    bare late %      ticks that a bare thread with the same timer in the same process was late for by a whole period
    wall running CPU waiting
                     total variation distance between the parts' true shares of that time and those reported, less the
                     sampling floor: what so many independent samples drawn from the true shares are expected to be off
    wall:true        time recorded in the parts, of what they took by their own clock
    run:CPU (+-)     time recorded as running in the parts, of the CPU time they took; in brackets how far it may be from 1
    CPU:clock        the CPU time recorded of a thread, of its clock's: the thread that is furthest from 1
    between % unknown %
                     of the CPU time: spent between samples and never seen; of the wall time: state not known
    verdict          ok, or what is out of bounds

Exit status 1: a recording of ours is out of bounds. docs/accuracy.md tells how each number is made.
"""
import argparse
import collections
import contextlib
import ctypes
import fnmatch
import json
import math
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'py')]

import bind    # noqa: E402
import hogs    # noqa: E402
import oracle   # noqa: E402
import parts   # noqa: E402
import peers   # noqa: E402

UNKNOWN_NS = 26           # PYPROF_UNKNOWN_NS; 0 in libraries that do not know it
BETWEEN, LOST = '<between samples>', '<lost>'
SHARES = 'wall', 'running', 'CPU', 'waiting'
DRAWS = 1000              # simulated recordings
LITTLE = 0.02             # shares of a kind of time that is less than this of the wall time are not compared,
FEW = 20                  # and of one that so few samples can be expected of
MUCH_NS = 50e6            # of a thread's CPU time, to compare it with its clock
QUOTA = 0.6               # of one CPU

# What a recording may be off. far: total variation distance beyond the floor; run: running against the CPU
# clock; wall: time of parts against their own clock; clock: CPU time of a thread; lost: alone and beside
# others.
Bounds = collections.namedtuple('Bounds', 'far run wall clock lost loaded')
STRICT = Bounds(far=0.02, run=0.03, wall=0.03, clock=0.01, lost=0.001, loaded=0.01)

# How each situation is made. hogs: arguments of hogs.hogs. affinity, idle, quota: of the recorded process.
Situation = collections.namedtuple('Situation', 'hogs affinity idle quota')
SITUATIONS = collections.OrderedDict([
    ('quiet', Situation(None, False, False, False)),
    ('spin1', Situation({'each': 1}, False, False, False)),
    ('spin6', Situation({'each': 6}, False, False, False)),
    ('other1', Situation({'each': 1, 'apart': True}, False, False, False)),
    ('other6', Situation({'each': 6, 'apart': True}, False, False, False)),
    ('onecpu', Situation(None, True, False, False)),
    ('starved', Situation({'each': 2, 'nice': 10}, False, True, False)),
    ('quota', Situation(None, False, False, True)),
])


# --- situations ---------------------------------------------------------------------------------------------

@contextlib.contextmanager
def beside(name):
    """Makes the situation; yields what the recorded process does before it begins."""
    situation = SITUATIONS[name]
    with contextlib.ExitStack() as stack:
        join = stack.enter_context(hogs.quota(QUOTA)) if situation.quota else None
        stack.enter_context(hogs.hogs(situation.hogs is not None, **(situation.hogs or {})))

        def begin():
            if join:
                hogs.put(join, '0')
            if situation.affinity:
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            if situation.idle:
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        yield begin


# --- the sampling floor -------------------------------------------------------------------------------------

def distance(a, b):
    """Total variation distance of two {part: amount}, each taken as shares: 0 = the same, 1 = nothing in
    common."""
    whole_a, whole_b = sum(a.values()), sum(b.values())
    if whole_a <= 0 or whole_b <= 0:
        return 1.0
    return sum(abs(a.get(key, 0) / whole_a - b.get(key, 0) / whole_b) for key in set(a) | set(b)) / 2


def drawn(mean, dice):
    """A number of Poisson's distribution."""
    if mean > 100:
        return max(0, int(dice.gauss(mean, math.sqrt(mean)) + 0.5))
    count, chance = 0, dice.random()
    while chance > math.exp(-mean):
        chance *= dice.random()
        count += 1
    return count


def floor(shares, count, seed=1):
    """(mean, what only 1 in 1,000 exceeds) of the distance between these shares and what `count` independent
    samples of them show."""
    whole, dice, found = sum(shares.values()), random.Random(seed), []
    if whole <= 0 or count <= 0:
        return 0.0, 0.0
    for _ in range(DRAWS):   # numbers of Poisson's, given their sum, are a draw of the multinomial distribution
        sample = {key: drawn(count * value / whole, dice) for key, value in shares.items()}
        found.append(distance(sample, shares) if any(sample.values()) else 1.0)
    found.sort()
    return sum(found) / len(found), found[-max(1, DRAWS // 1000)]


# --- reading a recording ------------------------------------------------------------------------------------

def part_of(names, known):
    """The innermost function that is a part, or the root of one."""
    return next((name for name in reversed(names) if name in known), None)


def amounts():
    return {'wall': 0, 'running': 0, 'CPU': 0, 'waiting': 0, 'unknown': 0, 'samples': 0, 'ran': 0}


def read(profile, truth):
    """({part: amounts}, {thread: CPU time}, CPU time between samples)"""
    found = {part: amounts() for part in truth['parts']}
    clocks, between = collections.Counter(), 0
    for item in profile.visit(bind.ITEM_STACK, leaves=True):
        names = [frame.name for frame in item.stack if os.path.basename(frame.file or '') == parts.FILE]
        between += item.self[bind.CPU_NS] * (item.stack[-1].name == BETWEEN)
        part = part_of(names, truth['parts'])
        if part is None or item.stack[-1].name == LOST:
            continue
        one, values = found[part], item.self
        one['wall'] += values[bind.WALL_NS]
        one['CPU'] += values[bind.CPU_NS]
        one['waiting'] += values[bind.WAIT_NS]
        one['unknown'] += values[UNKNOWN_NS]
        one['running'] += values[bind.WALL_NS] - values[bind.WAIT_NS]   # what is unknown is part of waiting
        one['samples'] += values[bind.SAMPLES]
        one['ran'] += values[bind.SAMPLES] - values[bind.WAIT_SAMPLES]
    for thread in profile.threads():
        clocks[thread.thread_id] += thread.total[bind.CPU_NS]
    return found, clocks, between


# --- judging ------------------------------------------------------------------------------------------------

def true_shares(truth, kind):
    """What a part took: its CPU time is when it ran, and otherwise it waited."""
    value = {'wall': lambda wall, cpu: wall, 'running': lambda wall, cpu: cpu, 'CPU': lambda wall, cpu: cpu,
             'waiting': lambda wall, cpu: max(0, wall - cpu)}[kind]
    return {part: value(*times) for part, times in truth['parts'].items()}


def far(truth, found, bounds):
    """({kind: distance beyond the floor}, [kinds that are too far])"""
    beyond, wrong = {}, []
    wall = sum(true_shares(truth, 'wall').values())
    ran, samples = (sum(one[key] for one in found.values()) for key in ('ran', 'samples'))
    for kind in SHARES:
        true = true_shares(truth, kind)
        for root in set(truth['roles'].values()) if len(true) > 2 else ():   # most of its time is the meter's, which truth does not know
            true.pop(root, None)
        share = sum(true.values()) / wall
        if share < LITTLE or 0 < samples * share < FEW:
            continue
        count = {'wall': samples, 'waiting': samples - ran}.get(kind, ran)
        mean, most = floor(true, count)
        got = distance(true, {part: one[kind] for part, one in found.items() if part in true})
        beyond[kind] = got - mean
        if got - mean > bounds.far and got > most:
            wrong.append(kind)
    return beyond, wrong


def running_error(truth, found):
    """The standard deviation of the time found running, of that time, as chance has it: what a sample of a
    role shows is drawn from how much of its time it ran."""
    variance = mean = 0.0
    for root in set(truth['roles'].values()):
        mine = [part for part, role in truth['roles'].items() if role == root]
        wall, cpu = (sum(truth['parts'][part][i] for part in mine) for i in (0, 1))
        count = sum(found[part]['samples'] for part in mine)
        p = min(1.0, cpu / wall) if wall else 0.0
        variance, mean = variance + count * p * (1 - p), mean + count * p
    return math.sqrt(variance) / mean if mean else 1.0


def worst_clock(truth, clocks, rate, short):
    """Of the thread whose CPU time is furthest from its clock's: (the ratio, how far), or (None, 0). CPU time that a
    thread used since the sampler last looked cannot be known once it has ended: a period is no fault, but for
    short ones, which are many."""
    worst, far = None, 0.0
    for clock, tids in truth['clocks']:
        if clock > MUCH_NS:
            got = sum(clocks.get(tid, 0) for tid in tids)
            off = max(0.0, abs(got - clock) - (0 if short else 1e9 / rate)) / clock
            if worst is None or off > far:
                worst, far = got / clock, off
    return worst, far


def by_chance(truth, workload, rate):
    """How far the time of short lives is off by chance, three standard deviations, of that time."""
    if not workload.short:
        return 0.0
    return 3 / math.sqrt(max(1.0, sum(true_shares(truth, 'wall').values()) / 1e9 * rate))


def judge(truth, found, clocks, between, stats, job, bounds=STRICT):
    """The row's numbers, and what is out of bounds."""
    workload = parts.ALL[job['workload']]
    total = {key: sum(one[key] for one in found.values()) for key in amounts()}
    wall, cpu = (sum(true_shares(truth, kind).values()) for kind in ('wall', 'CPU'))
    beyond, wrong = far(truth, found, bounds)
    chance = by_chance(truth, workload, job['rate'])
    clock, off = worst_clock(truth, clocks, job['rate'], workload.short)
    row = {'beyond': beyond, 'wall': total['wall'] / wall, 'run': total['running'] / cpu,
           'may': bounds.run + 3 * running_error(truth, found), 'clock': clock,
           'between': between / cpu, 'unknown': total['unknown'] / max(1, total['wall'])}
    row['lost'] = (stats['missed'] + stats['rejected']) / max(1, stats['asked'])
    alone = job['situation'] == 'quiet' and workload.busy <= os.cpu_count()
    # A tick: recordings are short. And where a bare thread with this timer is late for more, so may the sampler be.
    share = max(bounds.lost if alone else bounds.loaded, job.get('bare', 0))
    allowed = share * stats['asked'] + job['threads']
    checks = [
        ('wall:true', abs(row['wall'] - 1) > bounds.wall + chance),
        ('run:CPU', abs(row['run'] - 1) > row['may'] + chance),
        ('CPU:clock', off > bounds.clock + (chance if workload.unseen else 0)),
        ('lost', stats['missed'] + stats['rejected'] > allowed),
        ('no samples', not total['samples']),
    ]
    row['wrong'] = wrong + [name for name, bad in checks if bad]
    return row


# --- one recording: a process of its own --------------------------------------------------------------------

def numbers(stats):
    names = 'asked', 'samples', 'missed', 'rejected', 'unfrozen', 'recovered', 'own_cpu_ns', 'gap_ns'
    return {name: getattr(stats, name, 0) for name in names}


def perform(job, bounds):
    """Records the workload in this process: the row."""
    workload, host = parts.ALL[job['workload']], os.path.join(bind.BUILD, 'oracle_host.so')
    run, bare = parts.Run(job['seconds'], host), (ctypes.c_uint64 * 2)()
    workload.prepare(run)
    session = bind.Session(rate_hz=job['rate'], timeline_s=-1)
    if run.host:
        run.host.host_bare_start(ctypes.c_double(job['rate']))
    workload.run(run)
    if run.host:
        run.host.host_bare_stop(bare)
    profile = session.stop()
    stats, truth = profile.stats(), parts.truth(job['workload'])
    found, clocks, between = read(profile, truth)
    ticks = job['rate'] * profile.info().duration_s
    row = judge(truth, found, clocks, between, numbers(stats), dict(job, threads=stats.asked / max(1, ticks), bare=bare[1] / max(1, bare[0])),
                bounds)
    row.update(stats=numbers(stats), degraded=bind.text(stats.degraded), bare=list(bare), truth=truth['parts'], found=found,
               meter=truth['marks'] * parts.mark_ns() / max(1, sum(cpu for _, cpu in truth['parts'].values())))
    return row


def calibrate(job):
    """How often the workload came round for each second of its CPU time, with its meter or without."""
    run = parts.Run(job['seconds'], os.path.join(bind.BUILD, 'oracle_host.so'),
                    parts.Meter if job['meter'] else parts.NoMeter)
    parts.ALL[job['workload']].prepare(run)
    begin = os.times()
    parts.ALL[job['workload']].run(run)
    end = os.times()
    turns = sum(meter.turns for meter in parts.METERS)
    return {'turns': turns / max(1e-3, end.user + end.system - begin.user - begin.system)}


def child(text):
    job = json.loads(text)
    try:
        result = calibrate(job) if 'meter' in job else perform(job, Bounds(*job.pop('bounds')))
    except parts.Unavailable as reason:
        result = {'skip': str(reason)}
    print('RESULT ' + json.dumps(result))
    sys.stdout.flush()
    os._exit(0)   # interpreters and thousands of threads are still there


def run(build, job, begin=None, bounds=STRICT):
    """The child's result, or {'failed': why}."""
    job = dict(job, bounds=bounds)
    return oracle.result_of(__file__, build, job, begin)


# --- py-spy, on the same workload in the same situation -----------------------------------------------------

def py_spy(program, options, job, begin, *more):
    """Its row: it tells what ran only."""
    with tempfile.TemporaryDirectory() as folder:
        output, told = os.path.join(folder, 'stacks'), os.path.join(folder, 'truth.json')
        command = [program, 'record', '-r', '%d' % job['rate'], '--format', 'raw', '--full-filenames', '-o', output]
        command += list(more) + ['--', sys.executable, os.path.join(HERE, parts.FILE), job['workload'], str(job['seconds']),
                                 told, os.path.join(options.build, 'oracle_host.so')]
        try:
            process = subprocess.run(command, preexec_fn=begin, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, timeout=job['seconds'] * 10 + 60)
        except subprocess.TimeoutExpired:
            return {'failed': 'still running: ended'}
        said = re.sub(r'\x1b\[[\d;]*m', '', process.stdout.decode('utf-8', 'replace'))
        if not os.path.exists(output) or not os.path.exists(told):
            return {'failed': ' '.join(said.split())[-150:]}
        with open(told) as file:
            truth = json.load(file)
        if 'skip' in truth:
            return truth
        return judge_py_spy(peers.py_spy_raw(output), truth, said, job)


def judge_py_spy(stacks, truth, said, job):
    found = {part: amounts() for part in truth['parts']}
    for frames, count in stacks:
        part = part_of([frame.name for frame in frames if os.path.basename(frame.file) == parts.FILE], truth['parts'])
        if part:
            found[part]['ran'] += count
            found[part]['samples'] += count
            found[part]['running'] += count * 1e9 / job['rate']
    taken = re.findall(r'Samples: (\d+) Errors: (\d+)', said)
    ticks, errors = map(int, taken[-1]) if taken else (0, 0)
    cpu = sum(true_shares(truth, 'CPU').values())
    return {'beyond': {'running': far(truth, found, STRICT)[0].get('running', 0)},
            'run': sum(one['running'] for one in found.values()) / cpu, 'wrong': None,
            'samples': sum(one['samples'] for one in found.values()),
            'lost': max(0, 1 - (ticks - errors) / (job['rate'] * job['seconds']))}


# --- the table ----------------------------------------------------------------------------------------------

COLUMNS = ('by', 'workload', 'situation', 'rate', 'Python', 'samples', 'lost %', 'recovered %', 'bare late %') + SHARES + (
    'wall:true', 'run:CPU (+-)', 'CPU:clock', 'between %', 'unknown %', 'verdict')
WIDTHS = 21, 13, 10, 6, 9, 9, 8, 12, 12, 8, 8, 8, 8, 10, 14, 10, 10, 10, 8
WORDS = 0, 1, 2, 4, len(COLUMNS) - 1   # columns that are no numbers
VERSION = platform.python_version() + ('t' if bind.FREE_THREADED else '')


def told(value, pattern='%.3f'):
    return '-' if value is None else pattern % value


def percent(value):
    return told(None if value is None else 100 * value, '%.2f')


def cells(by, job, row):
    stats = row.get('stats', {})
    samples = stats.get('samples', row.get('samples'))
    bare = row.get('bare')
    return [by, job['workload'], job['situation'], '%g' % job['rate'], VERSION, samples, percent(row['lost']),
            percent(stats['recovered'] / max(1, samples) if stats else None),
            percent(bare[1] / bare[0] if bare and bare[0] else None)] + \
        [told(row['beyond'].get(kind), '%+.3f') for kind in SHARES] + \
        [told(row.get('wall')), told(row['run']) + (' (%.2f)' % row['may'] if 'may' in row else ''), told(row.get('clock')),
         percent(row.get('between')), percent(row.get('unknown')),
         '-' if row['wrong'] is None else ' '.join(row['wrong']) or 'ok']


def line(values, markdown, columns=COLUMNS, widths=WIDTHS):
    if markdown:
        return '| %s |' % ' | '.join(map(str, values))
    return ''.join(str(value).ljust(width) if i in WORDS else (str(value) + ' ').rjust(width)
                   for i, (value, width) in enumerate(zip(values, widths))).rstrip()


def head(columns, markdown):
    print(line(columns, markdown))
    if markdown:
        print('|' + ''.join(' --- |' if i in WORDS else ' ---: |' for i in range(len(columns))))


def chosen(options):
    return [one for name, one in parts.ALL.items() if any(fnmatch.fnmatch(name, glob) for glob in options.workload.split(','))]


def shown(by, job, row, options):
    """Prints it; what is wrong with it, or None."""
    if 'skip' in row or 'failed' in row:
        why = ('skipped: ' + row['skip']) if 'skip' in row else 'FAILED: ' + row['failed']
        print(line([by, job['workload'], job['situation'], '%g' % job['rate'], VERSION, why], options.markdown))
        return why if 'failed' in row else None
    print(line(cells(by, job, row), options.markdown))
    sys.stdout.flush()
    if options.verbose and 'found' in row:
        details(row)
    return ' '.join(row['wrong'] or ()) or None


def details(row):
    """The shares themselves, in percent: true / reported."""
    for kind in SHARES:
        true, got = true_shares({'parts': row['truth']}, kind), {part: one[kind] for part, one in row['found'].items()}
        print('      %-8s %s' % (kind, ', '.join('%s %.1f/%.1f' % (
            part, 100 * true[part] / max(1, sum(true.values())), 100 * got[part] / max(1, sum(got.values())))
            for part in true)))
    print('      meter %.2f %% of the CPU time; %r%s' % (100 * row['meter'], row['stats'],
                                                        '; degraded: ' + row['degraded'] if row['degraded'] else ''))


def measure(options, situation, rate):
    failures = []
    for workload in chosen(options):
        job = {'workload': type(workload).__name__, 'situation': situation, 'rate': rate, 'seconds': options.seconds}
        if rate not in workload.rates:
            shown('pyprof.h', job, {'skip': 'not at this rate'}, options)
            continue
        try:
            with beside(situation) as begin:
                why = shown('pyprof.h', job, run(options.build, job, begin), options)
                for more in ([], ['--nonblocking']) if options.py_spy else ():
                    shown(' '.join(['py-spy'] + more), job, py_spy(options.py_spy, options, job, begin, *more), options)
        except hogs.Refused as reason:
            why = shown('pyprof.h', job, {'skip': str(reason)}, options)
        if why:
            failures.append('%s, %s, %g Hz: %s' % (job['workload'], situation, rate, why))
    return failures


def table_of_meters(options):
    """What the meters cost: rounds of the same work for each second of CPU time, with and without."""
    print(line(('workload', 'with', 'without', 'cost %'), options.markdown, widths=(16, 12, 12, 10)))
    for workload in chosen(options):
        turns, name = {True: [], False: []}, type(workload).__name__
        for meter in (True, False) * 3:
            result = run(options.build, {'workload': name, 'seconds': options.seconds, 'meter': meter})
            turns[meter].append(result.get('turns', 0))
        best = max(turns[True]), max(turns[False])
        print(line((name, '%.1f' % best[0], '%.1f' % best[1], '%.2f' % (100 * (best[1] / best[0] - 1) if best[0] else 0)),
                   options.markdown, widths=(16, 12, 12, 10)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__.replace('%', '%%'))
    parser.add_argument('build')
    parser.add_argument('--seconds', type=float, default=4)
    parser.add_argument('--rate', default='100,1000')
    parser.add_argument('--workload', default='*')
    parser.add_argument('--situation', default=','.join(SITUATIONS))
    parser.add_argument('--py-spy', default='py-spy')
    parser.add_argument('--markdown', action='store_true')
    parser.add_argument('--verbose', action='store_true', help='the shares themselves')
    parser.add_argument('--calibrate', action='store_true', help='what the meters cost')
    parser.add_argument('--child')
    options = parser.parse_args()
    if options.child:
        child(options.child)
    if options.calibrate:
        table_of_meters(options)
        return
    print('\n%sPython %s, %g s, %d CPUs, Linux %s, sched_autogroup %s\n' % (
        '### ' if options.markdown else '', VERSION, options.seconds, os.cpu_count(), platform.release(),
        'on' if hogs.autogroup() else 'off'))
    if options.py_spy and not shutil.which(options.py_spy):
        print('py-spy: not installed\n')
        options.py_spy = ''
    head(COLUMNS, options.markdown)
    failures = []
    for situation in options.situation.split(','):
        for rate in options.rate.split(','):
            failures += measure(options, situation, float(rate))
    for failure in failures:
        print('FAIL  %s' % failure)
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
