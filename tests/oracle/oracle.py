"""How true the recordings are: workloads whose stacks are known, recorded and compared with what is known.

    PYTHON tests/oracle/oracle.py BUILD_DIR [--seconds S] [--rate HZ] [--mode freeze,copy,signal] [--workload GLOB]
        [--condition quiet,hogs,wide] [--markdown] [--truth off]

BUILD_DIR holds libpyprof_test.so and, for the comparison with what a signal handler sees, oracle_truth.so. A line of
the table is one recording, in a process of its own:

    quiet, hogs, wide  alone; beside a busy process for each CPU; with the copy taking 100 us longer
    samples            stacks recorded, of all threads
    lost, missed       of the samples asked for: read but refused; not taken, the sampler came too late
    retried, unfrozen  read again; of the samples, taken while the thread ran
    impossible         stacks that the workload cannot have: calls that no function makes, a wrong root
    wrong line         right functions, but a caller on a line where it does not make this call
    stale name         names of code that had died, or name, file and line of different codes
    thread name        samples under the name of another thread
    share              the largest error of a part's share of the time, in points, against what it measured itself
    TV / floor         how far the histogram of the top functions is from what a signal handler sees (0 = the same,
                       1 = nothing in common), beside how far two runs of the signal handler are from each other

Exit status 1: an impossible stack in freeze or signal mode, more than 0.05 % of them in copy mode, a stale name in any.
"""
import argparse
import collections
import ctypes
import fnmatch
import json
import os
import platform
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'py')]

import bind        # noqa: E402
import grammar     # noqa: E402
import workloads   # noqa: E402
from hogs import hogs   # noqa: E402
from grammar import CALL, GOOD, IMPOSSIBLE, LINE, OUTSIDE, ROOT, STALE   # noqa: E402

MODES = {'freeze': bind.CAPTURE_AUTO, 'copy': bind.CAPTURE_COPY, 'signal': bind.CAPTURE_SIGNAL}
CONDITIONS = 'quiet', 'hogs', 'wide'
WINDOW_NS = 100000
NAME = 'thread name'   # the stack of a thread under the name of another
COPY_LIMIT = 0.0005   # of the samples may be impossible when the thread runs on while it is copied
SHOWN = 5


# --- reading a recording: what bind.visit does, but a stack of 100,000 frames may come every 30 ms -------------------

class Reader:
    def __init__(self):
        self.frames = {}   # the frame's bytes: (Frame, kind); its strings stay where they are while the profile lives

    def stack(self, item):
        """(bytes that are equal for equal stacks, function that makes the frames of them)"""
        return ctypes.string_at(item.stack, item.depth * ctypes.sizeof(bind.Frame)) if item.depth else b''

    def decode(self, data):
        size, frames = ctypes.sizeof(bind.Frame), self.frames
        found = []
        for at in range(0, len(data), size):
            part = data[at:at + size]
            if part not in frames:
                f = bind.Frame.from_buffer_copy(part)
                frames[part] = (grammar.Frame(bind.text(f.name), bind.text(f.file), f.line, f.first_line,
                                              bind.text(f.qualname)), f.kind)
            found.append(frames[part])
        return found


Sample = collections.namedtuple('Sample', 'thread interpreter name data begin end count wall')


def visit(profile, reader):
    """The time line, and the stacks with their totals. One visit for both: each tells every node of the tree."""
    found = {bind.ITEM_STATE: [], bind.ITEM_STACK: []}

    def see(_, pointer):
        item = pointer.contents
        if item.kind in found:
            thread = item.thread.contents
            wall = item.self[bind.WALL_NS]
            found[item.kind].append(Sample(thread.thread_id, thread.interpreter, bind.text(thread.name),
                                           reader.stack(item), item.timestamp, item.timestamp + wall / 1e9, item.count,
                                           wall))
        return 0

    bind.call('visit', profile.pointer, ctypes.byref(bind.fill(bind.Query(), include_idle=1)), bind.VISIT_FN(see), None)
    return found[bind.ITEM_STATE], found[bind.ITEM_STACK]


# --- checking it ----------------------------------------------------------------------------------------------------

class Checker:
    """Counts samples by what is wrong with them."""

    def __init__(self, rules, truth, main, bare=False):
        self.rules, self.truth, self.main, self.bare = rules, truth, main, bare
        self.counts, self.examples = collections.Counter(), collections.Counter()
        self.reader, self.known = Reader(), {}
        self.tops, self.parts = collections.Counter(), collections.Counter()
        rules.prefixes['main'] = [tuple(one) for one in truth['prefix']]
        self.offset = truth['clocks'][0] - truth['clocks'][1]

    def role(self, sample):
        if sample.interpreter:
            return 'interpreter'
        return 'main' if sample.thread == self.main else 'thread'

    def _stack(self, data, role):
        """(frames of Python functions, what is wrong, where)"""
        key = data, role
        if key not in self.known:
            decoded, place = self.reader.decode(data), []
            frames = [frame for frame, kind in decoded if kind == bind.KIND_PYTHON]
            if not frames:
                verdict = OUTSIDE
            elif decoded[0][0].name == '<truncated>':
                verdict = self.rules.check_part(frames, place)
            else:
                verdict = self.rules.check(frames, role, place)
            self.known[key] = frames, verdict, place
        return self.known[key]

    def _died(self, frames, sample):
        """Is there a function on it that had returned for the last time before the sample was taken, at the latest at its time stamp?"""
        for frame in frames:
            number = workloads.fresh_number(os.path.basename(frame.file))
            if number and number <= len(self.truth['lives']):
                if sample.begin - self.offset > self.truth['lives'][number - 1][1] / 1e9 + 0.0005:
                    return True
        return False

    def verdict(self, sample):
        role = self.role(sample)
        frames, verdict, place = self._stack(sample.data, role)
        if verdict == OUTSIDE:
            # A sample bears the time at which the sampler woke; on a busy machine the stack can be read much later. The first
            # sweep reads much that is new and has the CPU for some ms: the main thread then stands where it starts the workload.
            inside = role == 'main' and self.truth['began'] + 0.05 < sample.begin and sample.end < self.truth['ended'] - 0.1
            if not frames and self.bare:
                return 'before or after', frames, place
            if role == 'thread' and frames and frames[0].name != '_bootstrap':
                return ROOT, frames, place
            return (OUTSIDE if inside else 'before or after'), frames, place
        if verdict == GOOD and self.truth.get('lives') and self._died(frames, sample):
            return STALE, frames, [frames[-1]]
        if verdict == GOOD and role == 'thread' and not self._family(frames, sample.name):
            return NAME, frames, place
        return verdict, frames, place

    @staticmethod
    def _family(frames, name):
        """A thread that is named "a 17" runs a function of the family a."""
        roots = [frame.name for frame in frames if frame.name.startswith(('work_', 'short_'))]
        return len(name) < 2 or name[1] != ' ' or not roots or roots[0].endswith('_' + name[0])

    def note(self, kind, frames, place, count, thread=''):
        self.counts[kind] += count
        if kind not in (GOOD, 'before or after'):
            where = frames.index(place[-1]) if place and place[-1] in frames else len(frames) - 1
            told = ' > '.join('%s:%d' % (frame.name, frame.line) for frame in frames[max(0, where - 6):where + 6])
            self.examples['%s, in %s: %s%s' % (kind, thread, '... ' if where > 6 else '', told or '(nothing)')] += count

    def read(self, profile):
        states, stacks = visit(profile, self.reader)
        for sample in states:
            kind, frames, place = self.verdict(sample)
            self.note(kind, frames, place, sample.count, sample.name)
            if frames and sample.thread == self.main and not sample.interpreter and kind != 'before or after':
                self.tops[frames[-1].name] += sample.count
        for sample in stacks:
            self._part(sample)

    def _part(self, sample):
        """Time by the part of the workload, and the stacks below which time was lost: they are in no time line."""
        frames = self.reader.decode(sample.data)
        names = {frame.name for frame, _ in frames}
        for part in self.truth.get('shares') or ():
            if part in names and sample.thread == self.main:
                self.parts[part] += sample.wall
        if frames and frames[-1][0].name == '<lost>':
            python = [frame for frame, kind in frames if kind == bind.KIND_PYTHON]
            role = self.role(sample)
            if python and self.rules.check(python, role, leaf=False) in (CALL, ROOT, STALE):
                self.note('lost', python, [], 1, sample.name)

    def share_error(self):
        shares = self.truth.get('shares')
        measured, known = sum(self.parts.values()), sum((shares or {}).values())
        if not measured or not known:
            return None
        return max(abs(self.parts[part] / measured - spent / known) for part, spent in shares.items()) * 100


# --- one recording: a process of its own -----------------------------------------------------------------------------

def hook(name, *values):
    if not hasattr(bind.released, name):
        raise workloads.Unavailable('no %s in this library' % name)
    getattr(bind.released, name)(*values)


def start_session(job, workload):
    """The profiler. Returns what makes the result, when the workload has run."""
    if job['condition'] == 'wide':
        hook('pyprof_test_window', ctypes.c_uint(WINDOW_NS))
    if job['faults']:
        hook('pyprof_test_faults', ctypes.c_double(job['faults']), ctypes.c_uint(7), ctypes.c_uint64(1))
    try:
        session = bind.Session(rate_hz=job['rate'] * workload.rate, capture=MODES[job['mode']], timeline_s=1e6,
                               max_depth=max(1024, workload.most + 100), max_bytes=1 << 30)
    except bind.Error as error:
        if error.code != bind.UNSUPPORTED:
            raise
        raise workloads.Unavailable(error.detail)
    return lambda make_rules, truth: judge(session.stop(), make_rules, truth, job)


def judge(profile, make_rules, truth, job):
    if job['faults']:
        hook('pyprof_test_faults', ctypes.c_double(0), ctypes.c_uint(0), ctypes.c_uint64(0))
    checker = Checker(make_rules(), truth, os.getpid(), workloads.NAMED[job['workload']].bare)
    checker.read(profile)
    stats = profile.stats()
    names = 'asked', 'samples', 'missed', 'rejected', 'retried', 'unfrozen', 'late_max_ns', 'own_cpu_ns'
    return {'stats': {name: getattr(stats, name) for name in names}, 'causes': list(stats.rejected_by_cause),
            'degraded': bind.text(stats.degraded), 'counts': checker.counts,
            'examples': checker.examples.most_common(SHOWN),
            'share': checker.share_error(), 'tops': checker.tops}


def start_truth(job, workload):
    """The signal handler instead: the top functions that it sees."""
    library = ctypes.PyDLL(os.path.join(bind.BUILD, 'oracle_truth.so'))
    library.truth_start.argtypes = [ctypes.c_uint, ctypes.c_int, ctypes.c_double, ctypes.c_ulonglong]
    library.truth_stop.restype = ctypes.c_size_t
    if library.truth_start(sys.hexversion, bind.FREE_THREADED, 1e9 / job['rate'], job['seed']):
        raise workloads.Unavailable('the signal handler cannot be set up')

    def finish(make_rules, truth):
        codes = ctypes.POINTER(ctypes.c_uint64)()
        count = library.truth_stop(ctypes.byref(codes))
        names = {id(one.code): one.name for one in make_rules().functions()}
        tops = collections.Counter(names.get(codes[i], '?') for i in range(count))
        unknown = tops.pop('?', 0)   # before main and after it; a frame that could not be read
        if unknown > 20 + count // 50:
            raise workloads.Unavailable('%d of %d signals saw no code that is known' % (unknown, count))
        return {'tops': tops}
    return finish


def perform(job):
    """One function for both: where a stack begins decides at which depth a chunk of it is full, which costs time."""
    workload = workloads.NAMED[job['workload']]
    space, code = workload.load()
    finish = (start_truth if job['mode'] == 'truth' else start_session)(job, workload)
    truth = workloads.enter(space, job['seconds'])
    return finish(lambda: workload.grammar(code), truth)


def child(text):
    job = json.loads(text)
    try:
        result = perform(job)
    except workloads.Unavailable as reason:
        result = {'skip': str(reason.args[0])}
    print('RESULT ' + json.dumps(result))


def result_of(script, build, job, begin=None):
    """The result of a script's child, or {'failed': why}. begin: called in the child first."""
    process = subprocess.Popen([sys.executable, os.path.abspath(script), build, '--child', json.dumps(job)], preexec_fn=begin,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said = process.communicate(timeout=job['seconds'] * 10 + 60)[0].decode('utf-8', 'replace')
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {'failed': 'still running'}
    for line in said.splitlines():
        if line.startswith('RESULT '):
            return json.loads(line[7:])
    return {'failed': 'exit status %d: %s' % (process.returncode, said.strip()[-2000:])}


def run(build, job):
    return result_of(__file__, build, job)


# --- distances -------------------------------------------------------------------------------------------------------

def thin(tops, count):
    """So many samples of them, by chance: distances of histograms depend on how many there are."""
    everything = [name for name in sorted(tops) for _ in range(tops[name])]
    return collections.Counter(random.Random(1).sample(everything, count))


def distance(a, b, count):
    a, b = thin(a, count), thin(b, count)
    return sum(abs(a[name] - b[name]) for name in set(a) | set(b)) / (2.0 * count)


class Truths:
    """Runs of the signal handler: two for each workload and condition, taken when first asked for."""

    def __init__(self, options):
        self.options, self.runs = options, {}

    def compare(self, name, condition, tops):
        """(distance, floor), or None"""
        key = name, condition == 'hogs'
        if not workloads.NAMED[name].tops or self.options.truth == 'off':
            return None
        if key not in self.runs:
            self.runs[key] = [self._run(name, condition, seed) for seed in (1, 2)]
        first, second = self.runs[key]
        if not first or not second:
            return None
        count = min(sum(one.values()) for one in (first, second, tops))
        if count < 100:
            return None
        floor = distance(first, second, count)
        return (distance(tops, first, count) + distance(tops, second, count)) / 2, floor

    def _run(self, name, condition, seed):
        if not os.path.exists(os.path.join(self.options.build, 'oracle_truth.so')):
            return None
        job = {'workload': name, 'mode': 'truth', 'condition': condition, 'seconds': self.options.seconds,
               'rate': self.options.rate, 'seed': seed}
        with hogs(condition == 'hogs'):
            result = run(self.options.build, job)
        if 'tops' not in result:
            print('      no signal truth for %s: %s' % (name, result.get('skip') or result.get('failed')))
        return result.get('tops')


# --- the table -------------------------------------------------------------------------------------------------------

COLUMNS = ('workload', 'condition', 'samples', 'lost %', 'missed %', 'retried', 'unfrozen %', 'impossible',
           'wrong line', 'stale name', 'thread name', 'share', 'TV / floor')
WIDTHS = 13, 10, 8, 7, 9, 8, 11, 11, 11, 11, 12, 7, 15


def percent(part, whole):
    return '%.2f' % (100.0 * part / whole) if whole else '-'


def row(job, result, tv):
    stats, counts = result['stats'], collections.Counter(result['counts'])
    return [job['workload'], job['condition'], stats['samples'], percent(stats['rejected'], stats['asked']),
            percent(stats['missed'], stats['asked']), stats['retried'], percent(stats['unfrozen'], stats['samples']),
            impossible(counts), counts[LINE], counts[STALE], counts[NAME],
            '-' if result['share'] is None else '%.2f' % result['share'], '%.3f / %.3f' % tv if tv else '-']


def impossible(counts):
    return sum(counts.get(kind, 0) for kind in IMPOSSIBLE) + counts.get('lost', 0)


def line(cells, markdown):
    if markdown:
        return '| %s |' % ' | '.join(str(cell) for cell in cells)
    return ''.join(str(cell).rjust(width) if i > 1 else str(cell).ljust(width)
                   for i, (cell, width) in enumerate(zip(cells, WIDTHS)))


def wrong(mode, result):
    """Why this must not be, or None."""
    counts = result['counts']
    bad = impossible(counts)
    if counts.get(STALE):
        return '%d stale names' % counts[STALE]
    if mode != 'copy' and bad:
        return '%d impossible stacks' % bad
    if mode == 'copy' and bad > COPY_LIMIT * result['stats']['samples'] and bad > 1:
        return '%d impossible stacks, more than %g %%' % (bad, 100 * COPY_LIMIT)
    return None


def table(options, mode, truths):
    failures = []
    print('\n%sPython %s%s, %s mode, %g s at %g Hz, %d CPUs\n' % (
        '### ' if options.markdown else '', platform.python_version(), 't' if bind.FREE_THREADED else '', mode,
        options.seconds, options.rate, os.cpu_count()))
    print(line(COLUMNS, options.markdown))
    if options.markdown:
        print('|' + ' --- |' * 2 + ' ---: |' * (len(COLUMNS) - 2))
    notes = []
    for condition in options.condition.split(','):
        for workload in workloads.ALL:
            if not fnmatch.fnmatch(workload.name, options.workload):
                continue
            job = {'workload': workload.name, 'mode': mode, 'condition': condition, 'seconds': options.seconds,
                   'rate': options.rate, 'faults': options.faults}
            with hogs(condition == 'hogs'):
                result = run(options.build, job)
            if 'skip' in result or 'failed' in result:
                print(line([workload.name, condition], options.markdown) + ' %s: %s' % (
                    ('skipped', result['skip']) if 'skip' in result else ('FAILED', result['failed'])))
                if 'failed' in result:
                    failures.append('%s, %s: %s' % (workload.name, condition, result['failed'].splitlines()[-1]))
                elif mode == 'signal':
                    return failures   # the rest would say the same
                continue
            print(line(row(job, result, truths.compare(workload.name, condition, result['tops'])), options.markdown))
            sys.stdout.flush()
            why = wrong(mode, result)
            if why:
                failures.append('%s, %s: %s' % (workload.name, condition, why))
            notes += ['%s, %s: %dx %s' % (workload.name, condition, count, text) for text, count in result['examples']]
            if result['degraded']:
                notes.append('%s, %s: degraded: %s' % (workload.name, condition, result['degraded']))
    if notes and not options.markdown:
        print('\nWhat was wrong, for instance:\n  ' + '\n  '.join(notes))
    return failures


def main():
    parser = argparse.ArgumentParser(usage=__doc__.replace('%', '%%'))
    parser.add_argument('build')
    parser.add_argument('--seconds', type=float, default=3)
    parser.add_argument('--rate', type=float, default=1000)
    parser.add_argument('--mode', default='freeze,copy,signal')
    parser.add_argument('--workload', default='*')
    parser.add_argument('--condition', default='quiet,hogs,wide')
    parser.add_argument('--truth', default='on', choices=['on', 'off'])
    parser.add_argument('--faults', type=float, default=0, help='the chance that a guarded read fails or is wrong')
    parser.add_argument('--markdown', action='store_true')
    parser.add_argument('--child')
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    truths, failures = Truths(options), []
    for mode in options.mode.split(','):
        failures += ['%s mode: %s' % (mode, failure) for failure in table(options, mode, truths)]
    for failure in failures:
        print('FAIL  %s' % failure)
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
