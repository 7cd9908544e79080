"""The profilers of make bench: how each is started, and what can be read from what it wrote.

A Reading has stacks, root first, with samples and weights, or the weight of each function, or nothing: memory profilers.
"""
import collections
import json
import os
import pstats
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SID = os.environ.get('SID') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'pyprof', 'sid')
sys.path.insert(0, os.path.join(ROOT, 'tests', 'oracle'))

import grammar   # noqa: E402
import peers     # noqa: E402

FILE = 'loads.py'
Reading = collections.namedtuple('Reading', 'stacks functions lost')   # lost: percent, as it says itself
NOTHING = Reading(None, None, None)


# --- where the work runs ---------------------------------------------------------------------------------------------

class Place:
    """An interpreter, of this system or of the tree of tests/sid.sh, in which the repository has another path."""

    def __init__(self, name, python, prefix=()):
        self.name, self.python, self.prefix = name, python, list(prefix)

    def path(self, path):
        path = os.path.abspath(path)
        return '/pyprof' + path[len(ROOT):] if self.prefix and path.startswith(ROOT + os.sep) else path

    def command(self, words, environment):
        """(command line, environment)"""
        words = [self.path(word) if os.path.isabs(word) else word for word in words]
        if self.prefix:
            return self.prefix + ['%s=%s' % (name, self.path(value) if os.path.isabs(value) else value)
                                  for name, value in environment.items()] + words, None
        return words, dict(os.environ, **environment)


def of_sid(version):
    """The place of that Python, or None."""
    script = os.path.join(ROOT, 'tests', 'sid.sh')
    if os.getuid() or not os.path.exists(os.path.join(SID, 'usr/bin/python' + version)):
        return None
    return Place('Python %s (Debian sid)' % version, 'python' + version, [script, 'run'])


HOME = Place('Python %d.%d' % sys.version_info[:2], sys.executable)


class Run:
    """One run of a workload: what a profiler's command is made of."""

    def __init__(self, build, place, script, out):
        self.build, self.place, self.script, self.out = build, place, script, out

    def file(self, name):
        return os.path.join(self.out, name)


# --- what they wrote -------------------------------------------------------------------------------------------------

def found_in(folder, suffix):
    return next(os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(suffix))


def ours(run, said):
    """The tree of the recording: its totals are the whole of it, whatever the time line keeps."""
    with open(found_in(run.out, '.json'), encoding='utf-8') as file:
        document = json.load(file)
    tree, frames, stats = document['tree'], document['frames'], document['stats']
    if run.wants_heap and stats['heap_samples'] == 0:
        raise ValueError('memory was not tracked: %s' % stats['degraded'])
    paths, stacks = [], []
    for node, (parent, number) in enumerate(zip(tree['parent'], tree['frame'])):
        frame = frames[number]
        above, lost = paths[parent] if parent >= 0 else ((), False)
        if frame['kind'] == 'python':
            above += (grammar.Frame(frame['name'], frame['file'], frame['line'], frame['first_line'], frame['qualname']),)
        paths.append((above, lost or frame['name'] in ('<lost>', '<between samples>')))
        samples, weight = tree['self']['samples'][node], tree['self']['wall_ns'][node]
        if samples and not paths[node][1]:
            stacks.append((list(paths[node][0]), samples, weight))
    return Reading(stacks, None, 100.0 * (stats['missed'] + stats['rejected']) / max(1, stats['asked']))


def of_stacks(read, loss):
    def reader(run, said):
        return Reading([(real(frames), count, count) for frames, count in read(run.file('stacks'))], None, loss(said))
    return reader


def real(frames):
    """Without those that stand for no Python function: <GC>, <native>."""
    return frames if None in frames else [frame for frame in frames if frame.file not in ('~', '', '<GC>', '<native>')]


def scalene(run, said):
    with open(run.file('scalene.json'), encoding='utf-8') as file:
        document = json.load(file)
    shares = collections.Counter()
    for path, told in document['files'].items():
        if os.path.basename(path) == FILE:
            for one in told['functions']:
                shares[one['line'].split('.')[-1]] += one['n_cpu_percent_python'] + one['n_cpu_percent_c'] + one['n_sys_percent']
    return Reading(None, shares, None)


def pyinstrument(run, said):
    with open(run.file('session.json'), encoding='utf-8') as file:
        todo, shares = [json.load(file)['root_frame']], collections.Counter()
    while todo:
        frame = todo.pop()
        todo += frame['children']
        if os.path.basename(frame['file_path'] or '') == FILE:
            shares[frame['function']] += frame['time'] - sum(child['time'] for child in frame['children']
                                                             if os.path.basename(child['file_path'] or '') == FILE)
    return Reading(None, shares, None)


def pstat(run, said):
    """Of a part only the part itself: the time below it is in its total."""
    shares = collections.Counter()
    for (path, _, name), (_, _, _, total, _) in pstats.Stats(run.file('pstats')).stats.items():
        if os.path.basename(path) == FILE:
            shares['total of ' + name] += total
    return Reading(None, shares, None)


def nothing(run, said):
    return NOTHING


# --- the profilers ---------------------------------------------------------------------------------------------------

class Profiler:
    """begin(run): (words before the script, environment, words after it). against: ours that does the same. tool: the program that
    must be there. heap: it tracks memory. inside: it runs in the program's own threads. share: of the work, which it slows down much"""

    def __init__(self, name, begin, read=nothing, rate=0, against=None, tool=None, heap=False, place=HOME, inside=False, share=1):
        self.name, self.begin, self.read, self.rate, self.against, self.tool = name, begin, read, rate, against, tool
        self.heap, self.place, self.inside, self.share = heap, place, inside, share
        self.missing = None   # why it does not run here

    def command(self, run):
        before, environment, after = self.begin(run)
        return run.place.command(before + run.script + after, environment)


def plain(run):
    return [run.place.python], {}, []


def waker(hz):
    return lambda run: ([run.place.python], {}, [str(hz), run.place.path(os.path.join(run.build, 'libpyprof_test.so'))])


def preloaded(rate=None, heap=None, out='recording.json'):
    def begin(run):
        values = {'PROFILING': '1', 'PYPROF_QUIET': '1', 'PYPROF_OUT': run.file(out),
                  'LD_PRELOAD': os.path.join(run.build, 'libpyprof.so')}
        if rate:
            values.update(PYPROF_RATE=str(rate), PYPROF_HEAP=heap or 'off')
        return [run.place.python], values, []
    return begin


def recorded(rate):
    return lambda run: ([os.path.join(run.build, 'pyprof'), 'record', '-q', '-r', str(rate), '-o', run.file('recording.json'), '--', run.place.python], {}, [])


def py_spy(rate, *more):
    return lambda run: (['py-spy', 'record', '-r', str(rate), '--idle', '--format', 'raw', '--full-filenames', '-o', run.file('stacks'), *more,
                         '--', run.place.python], {}, [])


def austin(program, rate):
    return lambda run: ([program, '-i', str(1000000 // rate), '-o', run.file('stacks'), run.place.python], {}, [])


def tachyon(python, rate, *more):
    return lambda run: ([python, '-m', 'profiling.sampling', 'run', '-r', str(rate), '-a', '--collapsed', '-o', run.file('stacks'), *more], {}, [])


def script_of(*words):
    """{}: the folder for what it writes."""
    return lambda run: ([word.replace('{}', run.out) for word in words], {}, [])


def scalene_of(*more):
    def begin(run):
        name, arguments = run.script[0], run.script[1:]
        run.script = [name, '---'] + arguments
        return ['scalene', 'run', '-o', run.file('scalene.json'), *more], {}, []
    return begin


def option(*words):
    return lambda run: ([run.place.python, *words], {}, [])


EXACT = 'pyprof memory exact'


def of_ours(rate):
    return 'pyprof %s' % {100: '100 Hz', 1000: '1 kHz', 10000: '10 kHz'}[rate]


def at(name, rate):
    return '%s %s' % (name, {100: '100 Hz', 1000: '1 kHz', 10000: '10 kHz'}[rate])


def home_profilers():
    found = [Profiler('none', plain), Profiler('none again', plain)]
    for rate in 100, 1000, 10000:
        found.append(Profiler(at('idle waker', rate), waker(rate), rate=rate))
    for rate in 100, 1000, 10000:
        found.append(Profiler(at('pyprof', rate), preloaded(rate), ours, rate))
    found += [
        Profiler('pyprof record 1 kHz', recorded(1000), ours, 1000),
        Profiler('pyprof memory sampled', preloaded(1, 'sampled'), nothing, heap=True),
        Profiler(EXACT, preloaded(1, 'exact'), nothing, heap=True),
        Profiler('pyprof PROFILING=1', preloaded(out='app'), ours, 100, heap=True),
    ]
    for rate in 100, 1000:
        for words in (), ('--nonblocking',):
            found.append(Profiler(at(' '.join(('py-spy',) + words), rate), py_spy(rate, *words), of_stacks(peers.py_spy_raw, peers.py_spy_loss),
                                  rate, of_ours(rate), 'py-spy'))
    for rate in 100, 1000:
        found.append(austin_at(rate, 'austin', HOME))
    found += [
        Profiler('scalene --cpu-only', scalene_of('--cpu-only'), scalene, 100, of_ours(100), 'scalene', inside=True),
        Profiler('scalene', scalene_of(), scalene, 100, 'pyprof PROFILING=1', 'scalene', inside=True),
        Profiler('memray', script_of('memray', 'run', '-q', '-o', '{}/memray.bin'), nothing, 0, EXACT, 'memray', inside=True),
        Profiler('memray, Python allocators', script_of('memray', 'run', '-q', '--trace-python-allocators', '-o', '{}/memray.bin'), nothing,
                 0, EXACT, 'memray', inside=True, share=0.5),
        Profiler('tracemalloc 1', option('-X', 'tracemalloc=1'), nothing, 0, EXACT, inside=True, share=0.5),
        Profiler('tracemalloc 25', option('-X', 'tracemalloc=25'), nothing, 0, EXACT, inside=True, share=0.1),
        Profiler('cProfile', lambda run: ([run.place.python, '-m', 'cProfile', '-o', run.file('pstats')], {}, []), pstat, 0, of_ours(1000),
                 inside=True, share=0.5),
        Profiler('pyinstrument', script_of('pyinstrument', '--show-all', '-r', 'json', '-o', '{}/session.json'), pyinstrument, 1000,
                 of_ours(1000), 'pyinstrument', inside=True, share=0.5),
        Profiler('yappi', script_of('yappi', '-f', 'pstat', '-o', '{}/pstats'), pstat, 0, of_ours(1000), 'yappi', inside=True, share=0.2),
    ]
    return found


def austin_at(rate, program, place):
    return Profiler(at('austin', rate), austin(program, rate), of_stacks(lambda path: peers.Mojo(path).stacks(), peers.share_of(r'(\d+)/(\d+)')),
                    rate, of_ours(rate), 'austin', place=place)


def tachyon_profilers(place):
    read = of_stacks(peers.collapsed, peers.share_of(peers.SAMPLING_ERRORS))
    return [Profiler('none', plain, place=place), Profiler(of_ours(1000), preloaded(1000), ours, 1000, place=place),
            Profiler('Tachyon 1 kHz', tachyon(place.python, 1000), read, 1000, of_ours(1000), place=place),
            Profiler('Tachyon --blocking 1 kHz', tachyon(place.python, 1000, '--blocking'), read, 1000, of_ours(1000), place=place)]


def elsewhere(build, found):
    """Those that need another interpreter than PYTHON: Tachyon is of 3.15, austin's wheel wants a newer libc than some systems have."""
    python, place = shutil.which('python3.15'), of_sid('3.15')
    if python:
        place = Place('Python 3.15', python)
    if place:
        found += tachyon_profilers(place)
    else:
        found.append(Profiler('Tachyon 1 kHz', plain))
        found[-1].missing = 'not installed: needs CPython 3.15 (tests/sid.sh setup)'
    program, place = shutil.which('austin'), of_sid('3.14')
    if program and place and next(one for one in found if one.tool == 'austin').missing:
        here = os.path.join(build, 'austin')
        shutil.copyfile(program, here)
        os.chmod(here, 0o755)
        found += [Profiler('none', plain, place=place), Profiler(of_ours(1000), preloaded(1000), ours, 1000, place=place)]
        found += [austin_at(rate, here, place) for rate in (100, 1000)]
        for one in found[-2:]:
            one.tool = None


# --- which of them are here ------------------------------------------------------------------------------------------

def said_by(command):
    """(exit status, what it said)"""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout.decode('utf-8', 'replace').strip()


def interpreter_of(program):
    """The command of the Python that a script is for, or None."""
    with open(program, 'rb') as file:
        begin = file.readline(300)
    if not begin.startswith(b'#!') or b'python' not in begin:
        return None
    return begin[2:].decode().split()


ABOUT_SCRIPT = 'import importlib.metadata, sys; print(sys.version.split()[0], importlib.metadata.version(sys.argv[1]))'


def probe(tool):
    """(its version, None), or (None, why it does not run here)"""
    program = shutil.which(tool)
    if not program:
        return None, 'not installed'
    python = interpreter_of(program)
    status, said = said_by(python + ['-c', ABOUT_SCRIPT, tool] if python else [program, '--version'])
    if status:
        return None, 'does not run here: ' + last_line(said)
    if python and said.split()[0] != sys.version.split()[0]:
        return None, 'installed for Python %s, not %s' % (said.split()[0], sys.version.split()[0])
    version = re.findall(r'\d+(?:\.\d+)+', said)
    return version[-1] if version else '', None


def last_line(said):
    """Without colours, and without the folders of this machine."""
    lines = re.sub(r'\x1b\[[\d;]*m', '', said).strip().split('\n')
    return re.sub(r'(?<![\w.])/\S*/', '', lines[-1].strip())[:140]


def all_profilers(build):
    """(the profilers, {tool: version})"""
    found, versions, reasons = home_profilers(), {}, {}
    for one in found:
        if one.tool and one.tool not in reasons:
            versions[one.tool], reasons[one.tool] = probe(one.tool)
        one.missing = reasons.get(one.tool)
    elsewhere(build, found)
    return found, {tool: version for tool, version in versions.items() if version is not None}
