"""The same workloads under other profilers, judged by the same rules.

    PYTHON tests/oracle/peers.py [--seconds S] [--rate HZ] [--workload GLOB] [--peer GLOB] [--condition quiet,hogs]
        [--markdown]

Looks for py-spy, austin and python3.15 (whose sampler is profiling.sampling) in PATH; those that are missing are left
out. py-spy and austin record PYTHON, python3.15 records itself. The columns are those of oracle.py, but: lost is what
the profiler says itself; a stale name is only seen when name, file and line do not fit together, as most of these
recordings tell no times; what stands above the workload's own script is not compared.
"""
import argparse
import collections
import fnmatch
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE]

import workloads   # noqa: E402
from hogs import hogs   # noqa: E402
from grammar import CALL, DEPTH, GOOD, LINE, OUTSIDE, ROOT, STALE, Frame   # noqa: E402

SCRIPT = os.path.join(HERE, 'workloads.py')


# --- their formats: pairs of (frames root first, samples) ------------------------------------------------------------

def lines_of(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            stack, _, count = line.rstrip('\n').rpartition(' ')
            yield stack.split(';'), int(count)


def frame_of(name, file, line):
    return Frame(name.split('.')[-1], file, int(line), None, None)


def py_spy_raw(path):
    for parts, count in lines_of(path):
        found = [re.match(r'(.*) \((.*):(\d+)\)$', part) for part in parts]
        yield [frame_of(*one.groups()) for one in found if one], count


def collapsed(path):
    for parts, count in lines_of(path):
        found = [part.rsplit(':', 2) for part in parts if part.count(':') >= 2]
        yield [frame_of(name, file, line) for file, name, line in found if line.isdigit()], count


class Mojo:
    """The binary format of austin, version 3: events, each a byte and its values."""

    def __init__(self, path):
        with open(path, 'rb') as file:
            self.data = file.read()
        self.at, self.strings, self.frames = 3, {}, {}

    def number(self):
        byte = self.data[self.at]
        value, shift = byte & 0x3f, 6
        self.at += 1
        while byte & 0x80:
            byte = self.data[self.at]
            value |= (byte & 0x7f) << shift
            shift += 7
            self.at += 1
        return value

    def string(self):
        end = self.data.index(b'\0', self.at)
        text, self.at = self.data[self.at:end], end + 1
        return text.decode('utf-8', 'replace')

    def stacks(self):
        stack, bad = None, False
        self.number()   # the version
        while self.at < len(self.data):
            event = self.data[self.at]
            self.at += 1
            if event == 1:
                self.string(), self.string()
            elif event == 2:
                if stack is not None and not bad:
                    yield stack, 1
                stack, bad = [], False
                self.number(), self.number(), self.string()
            elif event == 3:
                key, file, name, line = self.number(), self.number(), self.number(), self.number()
                self.number(), self.number(), self.number()
                self.frames[key] = frame_of(self.strings.get(name, '?'), self.strings.get(file, '?'), line)
            elif event == 4:
                bad = True
            elif event == 5:
                stack.append(self.frames.get(self.number()))
            elif event == 6:
                self.string()
            elif event in (9, 10):
                self.number()
            elif event == 11:
                key = self.number()
                self.strings[key] = self.string()
            elif event == 12:
                self.number()
        if stack is not None and not bad:
            yield stack, 1


# --- the profilers ---------------------------------------------------------------------------------------------------

class Peer:
    def __init__(self, name, program, command, read, loss):
        self.name, self.program, self.command, self.read, self.loss = name, program, command, read, loss


def share_of(pattern):
    """What it says about its own errors, in percent: two numbers are errors and samples, one is percent."""
    def loss(said):
        found = re.findall(pattern, said)
        if not found:
            return None
        if isinstance(found[-1], tuple):
            errors, samples = map(float, found[-1])
            return 100 * errors / max(samples, 1)
        return float(found[-1])
    return loss


def py_spy_loss(said):
    found = re.findall(r'Samples: (\d+) Errors: (\d+)', said)
    samples, errors = map(int, found[-1]) if found else (0, 0)
    return 100.0 * errors / max(samples + errors, 1) if found else None


def py_spy(*more):
    return lambda options, output: ['py-spy', 'record', '-r', str(int(options.rate)), '--format', 'raw',
                                    '--full-filenames', '-o', output] + list(more) + ['--', sys.executable]


def austin(options, output):
    return ['austin', '-i', str(int(1e6 / options.rate)), '-o', output, sys.executable]


SAMPLING_ERRORS = r'Error rate: ([\d.]+)'


def sampling(*more):
    return lambda options, output: ['python3.15', '-m', 'profiling.sampling', 'run', '-r', str(int(options.rate)), '-a',
                                    '--collapsed', '-o', output] + list(more)


PEERS = [
    Peer('py-spy', 'py-spy', py_spy(), py_spy_raw, py_spy_loss),
    Peer('py-spy --nonblocking', 'py-spy', py_spy('--nonblocking'), py_spy_raw, py_spy_loss),
    Peer('austin', 'austin', austin, lambda path: Mojo(path).stacks(), share_of(r'(\d+)/(\d+)')),
    Peer('profiling.sampling', 'python3.15', sampling(), collapsed, share_of(SAMPLING_ERRORS)),
    Peer('profiling.sampling --blocking', 'python3.15', sampling('--blocking'), collapsed, share_of(SAMPLING_ERRORS)),
]


# --- judging ---------------------------------------------------------------------------------------------------------

def below_script(frames):
    """From the workload's script on: a profiler may leave out what it put above it."""
    begin = next((i for i, frame in enumerate(frames) if os.path.basename(frame[1] or '') == 'workloads.py'), 0)
    return frames[begin:]


def judge(stacks, workload, truth):
    rules, counts, parts = workload.grammar(), collections.Counter(), collections.Counter()
    examples = collections.Counter()
    prefix = [(name, file, line) for file, name, line in truth['prefix']]
    rules.prefixes['main'] = [(file, name, line) for name, file, line in below_script(prefix)]
    for frames, count in stacks:
        if None in frames:
            counts[CALL] += count   # a frame that was never described
            continue
        verdict = rules.check(below_script(frames))
        counts[verdict] += count
        if verdict not in (GOOD, OUTSIDE):
            told = ' > '.join('%s:%d' % (frame.name, frame.line) for frame in frames[-8:])
            examples['%s: %s' % (verdict, told)] += count
        for part in truth.get('shares') or ():
            parts[part] += count * any(frame.name == part for frame in frames)
    return counts, share_error(parts, truth.get('shares')), examples


def share_error(parts, shares):
    measured, known = sum(parts.values()), sum((shares or {}).values())
    if not measured or not known:
        return None
    return max(abs(parts[part] / measured - spent / known) for part, spent in shares.items()) * 100


def run(peer, workload, options):
    """The row's cells and the most frequent wrong stacks."""
    with tempfile.TemporaryDirectory() as folder:
        output, told = os.path.join(folder, 'stacks'), os.path.join(folder, 'truth.json')
        command = peer.command(options, output) + [SCRIPT, workload.name, str(options.seconds), told]
        try:
            process = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, timeout=options.seconds * 10 + 60)
        except subprocess.TimeoutExpired:
            return ['still running: ended'], []
        said = re.sub(r'\x1b\[[\d;]*m', '', process.stdout.decode('utf-8', 'replace'))
        if not os.path.exists(output) or not os.path.exists(told):
            return ['failed: %s' % ' '.join(said.split())[-150:]], []
        with open(told) as file:
            truth = json.load(file)
        counts, share, examples = judge(peer.read(output), workload, truth)
    samples = sum(counts.values())
    bad = counts[ROOT] + counts[CALL] + counts[DEPTH]

    def percent(count):
        return '%.2f' % (100.0 * count / samples) if samples else '-'

    loss = peer.loss(said)
    return [samples, '?' if loss is None else '%.2f' % loss, bad, percent(bad), percent(counts[LINE]),
            percent(counts[STALE]), '-' if share is None else '%.2f' % share], examples.most_common(2)


COLUMNS = ('profiler', 'workload', 'condition', 'samples', 'lost %', 'impossible', 'impossible %', 'wrong line %',
           'stale name %', 'share')
WIDTHS = 31, 13, 10, 9, 8, 12, 14, 14, 14, 7


def line(cells, markdown):
    if markdown:
        return '| %s |' % ' | '.join(map(str, cells))
    return ''.join(str(cell).ljust(width) if i < 3 else str(cell).rjust(width)
                   for i, (cell, width) in enumerate(zip(cells, WIDTHS)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--seconds', type=float, default=3)
    parser.add_argument('--rate', type=float, default=1000)
    parser.add_argument('--workload', default='*')
    parser.add_argument('--peer', default='*')
    parser.add_argument('--condition', default='quiet')
    parser.add_argument('--markdown', action='store_true')
    options = parser.parse_args()
    print('\n%sOther profilers, Python %s, %g s at %g Hz, %d CPUs\n' % (
        '### ' if options.markdown else '', platform.python_version(), options.seconds, options.rate, os.cpu_count()))
    print(line(COLUMNS, options.markdown))
    if options.markdown:
        print('|' + ' --- |' * 3 + ' ---: |' * (len(COLUMNS) - 3))
    notes = []
    for peer in PEERS:
        if not fnmatch.fnmatch(peer.name, options.peer):
            continue
        if not shutil.which(peer.program):
            print(line([peer.name, 'not installed'], options.markdown))
            continue
        for condition in options.condition.split(','):
            for workload in workloads.ALL:
                if fnmatch.fnmatch(workload.name, options.workload):
                    with hogs(condition == 'hogs'):
                        cells, wrong = run(peer, workload, options)
                    print(line([peer.name, workload.name, condition] + cells, options.markdown))
                    sys.stdout.flush()
                    notes += ['%s, %s: %dx %s' % (peer.name, workload.name, count, text) for text, count in wrong]
    if notes and not options.markdown:
        print('\nWhat was wrong, for instance:\n  ' + '\n  '.join(notes))


if __name__ == '__main__':
    main()
