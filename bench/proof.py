"""What profiling costs and how true it is: workloads under this profiler in every mode, and under every other that is here.

    PYTHON bench/proof.py BUILD_DIR         make bench calls it; what is asked for stands in the environment:

    QUICK=1             two workloads, two rounds: within three minutes
    ROUNDS=5            of each profiler and workload; of workloads that are not in MAIN=calls,alloc,mixed,threads: FEW=2
    WORKLOADS=*         only these: patterns, separated by commas
    MODES=*             only these profilers; none is always there
    SPINNERS=0          with N the MAIN workloads are measured again, beside N busy processes
    SECONDS=0.3         of work without a profiler
    MINUTES=            begins no round of a workload after that time, a quarter of which is for the spinners (QUICK: 1.8)
    CSV=BUILD/bench.csv
"""
import collections
import contextlib
import datetime
import fnmatch
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import figures     # noqa: E402
import loads       # noqa: E402
import profilers   # noqa: E402
from grammar import CALL, DEPTH, ROOT, STALE, Grammar   # noqa: E402

SCRIPT = os.path.join(HERE, profilers.FILE)
SPIN = 'import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(1000000): pass\n'
LIMIT_S = 120
sys.setrecursionlimit(8000)   # pyinstrument nests its JSON as deep as the stack


class Options:
    def __init__(self, build, environment):
        def get(name, default, quick=None):
            return environment.get(name) or (quick if self.quick and quick is not None else default)
        self.build, self.quick = os.path.abspath(build), environment.get('QUICK', '') not in ('', '0')
        self.main = get('MAIN', 'calls,alloc,mixed,threads').split(',')
        self.rounds, self.few = int(get('ROUNDS', '5', '2')), int(get('FEW', '2', '0'))
        self.workloads, self.modes = get('WORKLOADS', '*', 'calls,alloc').split(','), get('MODES', '*').split(',')
        self.spinners, self.seconds = int(get('SPINNERS', '0')), float(get('SECONDS', '0.3', '0.2'))
        self.minutes = float(get('MINUTES', '1e9', '1.8'))
        self.csv = get('CSV', os.path.join(self.build, 'bench.csv'))


def wanted(name, patterns):
    return any(fnmatch.fnmatch(name, pattern.strip()) for pattern in patterns)


# --- what a stack can look like --------------------------------------------------------------------------------------

class Rules:
    """Of one workload: is a stack possible, and whose part is it?"""

    def __init__(self, workload):
        self.parts = loads.ROOT_PARTS[workload][0]
        with open(SCRIPT, encoding='utf-8') as file:
            text = file.read().replace('# -> PARTS', '# -> ' + ', '.join(self.parts))
        self.grammar = Grammar({profilers.FILE: (text, None, 'main')})
        named = {one.path: one for one in self.grammar.functions()}
        named['<module>'].calls[text.rstrip().count('\n') + 1].add(((), named['main']))   # on its last line
        self.owner = {}   # of the functions of a part, by name: the part
        self.work = {named['work'], named['thread_work']}
        for part in self.parts:
            self._own(part, named[part])
        self.known = {}

    def _own(self, part, function):
        self.work.add(function)
        if self.owner.setdefault(function.name, part) != part:
            self.owner[function.name] = None   # of several: tells nothing where only names are told
        for calls in function.calls.values():
            for _, callee in calls:
                if callee not in self.work:
                    self._own(part, callee)

    def judge(self, frames):
        """(was it taken while the work ran?, is it impossible?, its part or None)"""
        if None in frames:
            return True, True, None   # a frame that was never described
        key = tuple(frame[:3] for frame in frames)
        if key not in self.known:
            self.known[key] = self._judge(frames)
        return self.known[key]

    def _judge(self, frames):
        own = [frame for frame in frames if os.path.basename(frame.file or '') == profilers.FILE]
        found = {self.grammar.find(frame)[0] for frame in own}
        part = next((frame.name for frame in own if frame.name in self.parts), None)
        verdict = self.grammar.check(frames) if own else None
        if not found & self.work:   # before and after the work the stacks are not described
            return False, verdict == STALE, None
        bad = verdict in (ROOT, CALL, DEPTH, STALE)
        return True, bad, None if bad else part


# --- one run ---------------------------------------------------------------------------------------------------------

class Failed(Exception):
    pass


def execute(command, environment):
    """(seconds, what it said)"""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    try:
        said = process.communicate(timeout=LIMIT_S)[0].decode('utf-8', 'replace')
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)   # with its children: the group that was made for it
        process.communicate()
        raise Failed('still running after %d s: ended' % LIMIT_S)
    return time.perf_counter() - begin, said


def measure(options, profiler, workload, rounds, rules):
    """What one run tells, or Failed."""
    with tempfile.TemporaryDirectory(dir=options.build, prefix='bench-') as folder:
        out, result = os.path.join(folder, 'out'), os.path.join(folder, 'result.json')
        os.mkdir(out)
        place = profiler.place
        run = profilers.Run(options.build, place, [SCRIPT, workload, str(rounds), result, str(os.getpid())], out)
        run.wants_heap = profiler.heap
        took, said = execute(*profiler.command(run))
        try:
            with open(result) as file:
                told = json.load(file)
            told.update(took=took, rounds=rounds, written=sum(os.path.getsize(os.path.join(out, name)) for name in os.listdir(out)))
            told.update(judged(profiler.read(run, said), rules, profiler, told))
        except (OSError, ValueError, KeyError, StopIteration, IndexError, TypeError, RecursionError) as error:
            if isinstance(error, OSError) and error.filename:   # without its folder, as the documents show it
                error = '%s: %s' % (os.path.basename(error.filename), error.strerror)
            raise Failed('failed: %s (%s)' % (profilers.last_line(said) or 'it said nothing', error))
        return told


def judged(reading, rules, profiler, told):
    weights, got, impossible, examples = collections.Counter(), 0, 0, []
    if reading.stacks is not None:
        for frames, count, weight in reading.stacks:
            inside, bad, part = rules.judge(frames)
            got += count * inside
            impossible += count * bad
            if bad:
                examples.append(' > '.join('%s:%d' % (frame.name, frame.line) if frame else '?' for frame in frames[-12:]))
            if part:
                weights[part] += weight
        asked = profiler.rate * told['seen'] / 1e9 * told['threads']
        return {'weights': weights, 'got': got, 'asked': asked, 'impossible': impossible, 'said_lost': reading.lost, 'examples': examples}
    for name, weight in (reading.functions or {}).items():
        part = name[len('total of '):] if name.startswith('total of ') else rules.owner.get(name)
        if part in rules.parts:
            weights[part] += weight
    return {'weights': weights}


def calibrated(options, place, workload):
    """Rounds that take the seconds, with this interpreter."""
    command, environment = place.command([place.python, SCRIPT, workload, 'calibrate', str(options.seconds)], {})
    said = execute(command, environment)[1]
    try:
        return int(said.split()[-1])
    except (ValueError, IndexError):
        raise Failed('failed: ' + profilers.last_line(said))


# --- many runs -------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def beside(spinners):
    """Busy processes, which end with this one at the latest."""
    busy = [subprocess.Popen([sys.executable, '-S', '-c', SPIN]) for _ in range(spinners)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


class Bench:
    def __init__(self, options, found):
        self.options, self.profilers = options, [one for one in found if one.name == 'none' or wanted(one.name, options.modes)]
        self.places = list(collections.OrderedDict.fromkeys(one.place for one in self.profilers))
        self.rules, self.rounds, self.runs, self.failed = {}, {}, collections.defaultdict(list), {}
        self.begin = time.monotonic()

    def go(self):
        options = self.options
        some = [name for name in loads.ROOT_PARTS if wanted(name, options.workloads)]
        main = [name for name in some if name in options.main]
        end = self.begin + 60 * options.minutes
        self.situation('quiet', 0, [(name, options.rounds) for name in main] + [(name, options.few) for name in some if name not in main],
                       end - 15 * options.minutes * (options.spinners > 0))
        if options.spinners:
            self.situation('%d spinners' % options.spinners, options.spinners, [(name, options.rounds) for name in main or some], end)

    def situation(self, situation, spinners, workloads, end):
        with beside(spinners):
            for number in range(max([rounds for _, rounds in workloads], default=0)):
                for workload, rounds in workloads:
                    if number < rounds and time.monotonic() < end:
                        progress('%s, round %d: %s' % (situation, number + 1, workload))
                        self.round(situation, workload, number)
        progress('')

    def round(self, situation, workload, number):
        if workload not in self.rules:
            self.rules[workload] = Rules(workload)
        for place in self.places:
            here = [one for one in self.profilers if one.place is place and one.name != 'none']
            turn = number * 5 % max(1, len(here))   # so that it is not always the same that follows the run without
            base = next(one for one in self.profilers if one.place is place and one.name == 'none')
            if self.one(situation, workload, base, number):
                for profiler in here[turn:] + here[:turn]:
                    self.one(situation, workload, profiler, number)

    def one(self, situation, workload, profiler, number):
        key = situation, workload, profiler
        if profiler.missing or key in self.failed:
            return False
        try:
            if (profiler.place, workload) not in self.rounds:
                self.rounds[profiler.place, workload] = calibrated(self.options, profiler.place, workload)
            rounds = self.rounds[profiler.place, workload]
            if workload != 'stay':   # whose memory is that of all rounds
                rounds = max(2, int(rounds * profiler.share))
            told = measure(self.options, profiler, workload, rounds, self.rules[workload])
        except Failed as why:
            self.failed[key] = str(why)
            return False
        self.runs[key].append((number, told))
        return True

    def rows(self):
        keys = collections.OrderedDict.fromkeys(key[:2] for key in list(self.runs) + list(self.failed))
        return [self.row(situation, workload, profiler) for situation, workload in keys for profiler in self.profilers]

    def wrong(self):
        """Impossible stacks, for instance."""
        for (_, workload, profiler), runs in self.runs.items():
            found = [one for _, told in runs for one in told.get('examples', ())]
            if found:
                yield '  impossible, %s, %s: %s' % (workload, profiler.name, found[0])

    def row(self, situation, workload, profiler):
        row = dict.fromkeys(figures.COLUMNS)
        row.update(situation=situation, workload=workload, python=profiler.place.name, profiler=profiler.name, against=profiler.against,
                   rate_hz=profiler.rate or None, status=profiler.missing or self.failed.get((situation, workload, profiler)) or 'ok')
        runs = self.runs[situation, workload, profiler]
        if row['status'] == 'ok' and not runs:
            row['status'] = 'not run'
        if row['status'] == 'ok':
            base = next(one for one in self.profilers if one.place is profiler.place and one.name == 'none')
            row.update(figures_of(runs, self.runs[situation, workload, base], self.runs['quiet', workload, base]))
            if profiler.inside:
                row['profiler_cpu_percent'] = None   # it is in the program's
        return row


def figures_of(runs, bases, quiet):
    plain = dict(bases)
    ratios = {name: [told[name] / told['rounds'] / (plain[number][name] / plain[number]['rounds']) for number, told in runs]
              for name in ('wall', 'target')}
    between = figures.interval(ratios['wall']) or (None, None)

    def median(values):
        return figures.statistics.median(values)
    row = {'runs': len(runs), 'slowdown': median(ratios['wall']), 'slowdown_low': between[0], 'slowdown_high': between[1],
           'target_cpu': median(ratios['target']), 'profiler_cpu_percent': median([100.0 * told['own'] / told['wall'] for _, told in runs]),
           'memory_mb': median([(told['peak'] - plain[number]['peak']) / 1e6 for number, told in runs]),
           'around_ms': median([1e3 * (told['took'] - plain[number]['took']) - (told['seen'] - plain[number]['seen']) / 1e6 for number, told in runs]),
           'written_bytes': int(median([told['written'] for _, told in runs])) or None}   # tracemalloc writes nothing
    truth, weights = collections.Counter(), collections.Counter()
    samples = 'asked' in runs[0][1]
    for _, told in runs if samples else quiet or bases:
        truth.update(told['walls' if samples else 'parts'])   # profilers that run inside change what they measure
    for _, told in runs:
        weights.update(told['weights'])
    row['tvd'] = figures.distance(weights, truth)
    if samples:
        asked, got = (sum(told[name] for _, told in runs) for name in ('asked', 'got'))
        said = [told['said_lost'] for _, told in runs if told['said_lost'] is not None]
        row.update(asked=int(asked), got=got, lost_percent=max(0.0, 100.0 * (1 - got / asked)), impossible=sum(told['impossible'] for _, told in runs),
                   said_lost_percent=median(said) if said else None, tvd_floor=figures.floor_of(truth, got))
    return row


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write('\r%s\x1b[K' % text)
        sys.stderr.flush()


# --- the machine -----------------------------------------------------------------------------------------------------

def machine(options, versions, load):
    name = 'unknown CPU'
    with contextlib.suppress(OSError), open('/proc/cpuinfo') as file:
        name = next((line.split(':', 1)[1].strip() for line in file if line.startswith('model name')), platform.machine())
    compiler = profilers.said_by([os.environ.get('CC', 'cc'), '--version'])[1].split('\n')[0]
    return ['%s, %d CPUs, %s %s, Python %s, %s, load %.2f' % (name, os.cpu_count(), platform.system(), platform.release(),
                                                            platform.python_version(), compiler, load),
            '%s, %g s of work a run, up to %d runs; %s' % (
                datetime.date.today().isoformat(), options.seconds, options.rounds,
                ', '.join('%s %s' % (tool, version) for tool, version in sorted(versions.items())) or 'no other profiler')]


def main():
    options = Options(sys.argv[1], os.environ)
    load = os.getloadavg()[0]
    found, versions = profilers.all_profilers(options.build)
    bench = Bench(options, found)
    about = machine(options, versions, load)
    print('\n'.join(about))
    bench.go()
    rows = bench.rows()
    figures.write(options.csv, about, rows)
    figures.print_table(rows)
    for line in bench.wrong():
        print(line)
    print('\n%d runs in %.0f s; all figures: %s' % (sum(map(len, bench.runs.values())), time.monotonic() - bench.begin,
                                                   os.path.relpath(options.csv)))


if __name__ == '__main__':
    main()
