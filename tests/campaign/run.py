"""The fault campaign: does to the profiler what no friendly host would do, and checks what comes of it.

    PYTHON tests/campaign/run.py BUILD [NAME ...] [--scale X] [--jobs N] [--list]

BUILD holds what `make campaign` builds. NAME chooses the cases that contain it. --scale 1 is the full
length, half an hour on two CPUs; 0.02 takes two minutes. Each case is a process of its own, or some of
them, see campaign.h: `campaign` without a mode lists the modes and what is right in each. A case without
progress for long hangs: then the stacks of all its threads are printed, from gdb where it is installed, and
from /proc, and it is ended.
"""
import argparse
import collections
import concurrent.futures
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MOST_LINES = 120        # of the output of a case that failed
MOST_PROCESSES = 6      # whose stacks are printed
RIGHT, WRONG, CANNOT = 0, 1, 77
OWNER, NOBODY = 1000, 65534


class Case:
    """Commands that all must be right; or a function of a folder and an environment."""

    def __init__(self, name, commands=(), tsan=False, function=None):
        self.name, self.commands, self.tsan, self.function = name, commands, tsan, function


Ended = collections.namedtuple('Ended', 'status output')


# --- one process --------------------------------------------------------------------------------------------

def read(path, size=20000):
    try:
        with open(path, 'rb') as file:
            return file.read(size).decode('utf-8', 'replace').strip()
    except (OSError, ValueError):
        return ''


def processes_of(session):
    """The processes of that session: the case and its children."""
    found = []
    for name in os.listdir('/proc'):
        fields = read('/proc/%s/stat' % name).rpartition(') ')[2].split() if name.isdigit() else []
        if len(fields) > 3 and fields[3] == str(session):
            found.append(int(name))
    return sorted(found)


def tasks_of(pid):
    """Where the kernel has each thread: its state, the call it is in, and what it waits for."""
    lines = []
    try:
        tasks = sorted(os.listdir('/proc/%d/task' % pid), key=int)
    except OSError:
        return ['process %d has ended' % pid]
    for task in tasks[:20]:
        at = '/proc/%d/task/%s/' % (pid, task)
        state = read(at + 'stat').rpartition(') ')[2][:1]
        lines.append('process %d thread %s %s: state %s, syscall %s, waits in %s, kernel stack %s' % (
            pid, task, read(at + 'comm'), state, read(at + 'syscall'), read(at + 'wchan'),
            ' < '.join(re.findall(r'\] (\w+)', read(at + 'stack'))) or '?'))
    return lines


def gdb(*words):
    if not shutil.which('gdb'):
        return ['gdb is not installed: no stacks']
    command = ['gdb', '-nx', '-batch', '-iex', 'set debuginfod enabled off', '-ex',
               'thread apply all bt 14'] + list(words)
    try:
        said = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=120)
    except subprocess.TimeoutExpired:
        return ['gdb gave no answer in 120 s']
    return [line[:200] for line in said.stdout.decode('utf-8',
                                                      'replace').splitlines() if line.startswith(('#',
                                                          'Thread'))]


def where(session):
    lines = []
    processes = processes_of(session)
    for pid in processes[:MOST_PROCESSES]:
        lines += tasks_of(pid)
    for pid in processes[:MOST_PROCESSES]:
        lines += ['stacks of process %d' % pid] + gdb('-p', str(pid))
    return lines


class Watched:
    """A process of a session of its own, and its progress as it writes it down."""

    def __init__(self, words, folder, environment, before=None):
        self.folder, self.words = folder, words
        self.state = os.path.join(folder, '.state')
        self.output = tempfile.TemporaryFile()
        environment = dict(environment, CAMPAIGN_STATE=self.state)

        def begins():
            most = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
            if before:
                before()
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=subprocess.STDOUT, cwd=folder,
                                        env=environment, start_new_session=True, preexec_fn=begins)

    def progress(self):
        try:
            with open(self.state, 'rb') as file:
                return file.read(208)
        except OSError:
            return b''

    def wait(self, stuck):
        """Waits for its end. Returns what tells of a hang, if there was one."""
        last, since = self.progress(), time.monotonic()
        while True:
            try:
                self.process.wait(0.2)
                return []
            except subprocess.TimeoutExpired:
                now = self.progress()
                if now != last:
                    last, since = now, time.monotonic()
                elif time.monotonic() - since > stuck:
                    step = last[8:].split(b'\0')[0].decode('utf-8', 'replace')
                    return ['no progress for %d s in: %s' % (stuck, step)] + where(self.process.pid)

    def end(self):
        for pid in processes_of(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def crash(self):
        if self.process.returncode >= 0:
            return []
        lines = ['ended by signal %d' % -self.process.returncode]
        for core in [name for name in os.listdir(self.folder) if name.startswith('core')][:1]:
            lines += gdb([word for word in self.words if word.startswith('/')][0],
                         os.path.join(self.folder, core))
        return lines


def run(words, folder, environment, patience=1, before=None):
    watched = Watched(words, folder, environment, before)
    try:
        hang = watched.wait(options.stuck * patience)
    finally:
        watched.end()
    watched.output.seek(0)
    output = watched.output.read().decode('utf-8', 'replace').strip()
    lines = [line[:400] for line in output.splitlines()]
    if hang:
        return Ended(WRONG, lines + hang)
    if watched.process.returncode not in (RIGHT, CANNOT):
        lines = lines or ['exit status %d and nothing said' % watched.process.returncode]
        return Ended(WRONG, lines + watched.crash())
    return Ended(watched.process.returncode, lines or ['?'])


# --- the cases ----------------------------------------------------------------------------------------------

def count(full, least=1):
    return max(least, int(full * options.scale))


def grid(program, *words):
    """Commands, one for each combination of those words that are lists."""
    lists = [word if isinstance(word, list) else [word] for word in words]
    return [program + [str(word) for word in chosen] for chosen in itertools.product(*lists)]


def built(name):
    return os.path.join(options.build, name)


def modes(*words):
    return grid([built('campaign')], *words)


def preloaded(library, *words):
    return grid(['env', 'LD_PRELOAD=' + built(library), built('campaign')], *words)


def under_tsan(*words):
    fixed = ['setarch', '-R']       # addresses by chance are more than some versions bear
    if not shutil.which('setarch') or subprocess.call(fixed + ['true'], stderr=subprocess.DEVNULL):
        fixed = []
    return grid(fixed + [built('campaign_tsan')], *words)


def lines_of(mode):
    said = subprocess.run([built('campaign'), mode], stdout=subprocess.PIPE, check=True)
    return said.stdout.decode().splitlines()


def thinned(commands):
    """Short campaigns take some of them, spread over all; longer than the full one there is nothing more."""
    wanted = max(2, int(len(commands) * min(1, options.scale * 5)))
    return [commands[i * len(commands) // wanted] for i in range(wanted)]


OFF, SAMPLED, EXACT = 0, 1, 2       # pyprof_heap_mode
AUTO, COPY, SIGNAL = 0, 1, 2        # pyprof_capture
WHEN, MEMORY = ['before', 'after'], [OFF, EXACT]


def fault_cases():
    for kind in lines_of('kinds'):
        yield Case('fault ' + kind, preloaded('libcampaign_shim.so', 'faults', kind, count(100, 3)))


def file_cases():
    yield Case('kill saves', modes('kill-saves', count(8000, 60), 'without'))
    yield Case('kill saves beside a neighbour', modes('kill-saves', count(2000, 40), 'with'))
    yield Case('kill checkpoints', modes('kill-checkpoints', count(300, 6)))
    for folder in 'sticky', 'open':
        yield Case('plants in a folder that is ' + folder, modes('planted', count(3000, 100), folder))
    yield Case('plants at the path', modes('at-target'))


def fork_cases():
    full = {'quick': 3000, 'plain': 1000, 'heap': 500, 'python': 1000, 'clone': 1000, 'spawn': 1000}
    for manner in full:
        yield Case('forks ' + manner, modes('forks', manner, 4, count(full[manner], 15)))


def thread_cases():
    for heap, full in (OFF, 20000), (SAMPLED, 5000), (EXACT, 5000):
        yield Case('cycles, heap %d' % heap, modes('cycles', 8, count(full, 50), heap))
    for heap in MEMORY:
        commands = under_tsan('cycles', 8, count(500, 10), heap)
        yield Case('cycles under TSan, heap %d' % heap, commands, tsan=True)
    yield Case('cancels', modes('cancels', count(2000, 50)))
    yield Case('callback waits for the GIL', modes('callback-gil', count(100, 3)))


def life_cases():
    for heap in OFF, SAMPLED, EXACT:
        yield Case('lives, heap %d' % heap, modes('lives', count(250, 4), heap, [0, 1]))
        yield Case('life race, heap %d' % heap, modes('life-race', count(250, 6), heap))
    yield Case('interpreters', modes('interpreters', count(150, 3), MEMORY, [0, 1]))
    yield Case('main thread leaves', modes('main-leaves', MEMORY))
    for manner in 'exit', 'quick_exit', '_exit':
        yield Case('ends by ' + manner, modes('endings', count(150, 4), manner, MEMORY))
    yield Case('set-user-id', function=set_user_id)


def heap_cases():
    for when in 'first', 'last', 'on-top':
        yield Case('pooling allocator ' + when, modes('pooling', when, ['small', 'all'], count(50, 3)))
    for seed in range(1, 9):
        with_debug = seed // 3 % 2
        commands = modes('orders', count(20000, 200), seed, with_debug)
        yield Case('orders of allocators, seed %d' % seed, commands)
    full = {'code': 6000, 'many': 100000, 'stacks': 300, 'threads': 2000, 'lives': 70000}
    for phase in full:
        amount = count(full[phase], full[phase] // 50)
        yield Case('hostile ' + phase, modes('script', phase, amount, 2000, [4096, 65536]))
    yield Case('hostile deep', modes('script', 'deep', [1000, count(20000, 5000)], 200, 65536))
    yield Case('bounds', modes('bounds', count(240, 8), 200, 5000))


def signal_cases():
    orders = ['cbre', 'bcrebrue', 'bcrebrebre', 'pbrebre', 'bprebre', 'bbcrerebre', 'bcrubrer', 'cbrburee']
    yield Case('SIGURG of the host', modes('sigurg', orders))
    yield Case('SIGURG at a high rate', modes('sigurg-storm', count(600, 15)))


def plugin_cases():
    yield Case('16 plugins', modes('many', 16))
    for what in 'keep', 'unlink', 'replace', 'no-proc', 'newline':
        commands = modes('unloaded', what, MEMORY, [AUTO, SIGNAL], ['stop', 'go-on'])
        yield Case('plugin unloaded, ' + what, commands)
    yield Case('plugin loaded again and again', modes('reloads', count(1000, 20)))
    yield Case('plugin with big TLS', modes('big-tls'))
    yield Case('host with big TLS', preloaded('libcampaign_tls.so', 'many', 1))
    for seed in 1, 2:
        yield Case('two plugins, memory, seed %d' % seed, modes('two', count(2000, 60), seed, AUTO))
        yield Case('two plugins, signals, seed %d' % seed, modes('two', count(1000, 40), seed, SIGNAL))


def filter_cases():
    errors, ends = ['EPERM', 'ENOSYS'], ['KILL_THREAD']
    for line in lines_of('filters'):
        name, need = line.split()
        commands = modes('inner-filter', name, errors + ends, [AUTO, SIGNAL])
        if need != '2':
            commands += modes('filtered', WHEN, name, errors, MEMORY)
        if need == '0':     # before the start it would be the end of the thread that starts
            commands += modes('filtered', 'after', name, ends, MEMORY)
        yield Case('filter ' + name, thinned(commands))


def limit_cases():
    values = {'as': [1000, 5000, 20000, 60000, 300000], 'data': [1000, 20000, 300000], 'fsize': [0, 1, 4096],
              'nofile': [0, 3, 4, 5, 6, 8, 12, 20], 'nproc': [0, 1], 'stack': [16384, 65536]}
    for name in values:
        yield Case('limit ' + name, thinned(modes('limited', WHEN, name, values[name], MEMORY)))


def become_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def set_user_id(folder, environment):
    """A copy of the program with the set-user-id bit, and one without it, run by a user without rights."""
    if os.geteuid() != 0:
        return Ended(CANNOT, ['only root has other users'])
    said = []
    environment = {name: value for name, value in environment.items() if name != 'PYTHONHOME'}
    for name, bits, file_wanted in ('from-environment', 0o755, True), ('as-another', 0o4755, False):
        inside = os.path.join(folder, name)
        program, out = os.path.join(inside, 'program'), os.path.join(inside, 'out')
        os.mkdir(inside)
        shutil.copy(built('campaign'), program)
        os.chown(program, OWNER, OWNER)
        os.chmod(program, bits)
        os.mkdir(out)
        os.chmod(out, 0o777)
        os.chmod(inside, 0o777)
        wanted = dict(environment, PROFILING='1', PYPROF_OUT=os.path.join(out, 'run'), PYPROF_QUIET='1')
        ended = run([program, name], inside, wanted, before=become_nobody)
        if re.search('cannot open shared|Permission denied|Python path config', ' '.join(ended.output)):
            return Ended(CANNOT, ['other users cannot read Python or the build folder'])
        if ended.status != RIGHT:
            return ended
        files = os.listdir(out)
        if bool(files) != file_wanted:
            return Ended(WRONG, ended.output + ['%s: files: %s' % (name, files)])
        said.append('%s: %d files' % (name, len(files)))
    return Ended(RIGHT, ['; '.join(said)])


def all_cases():
    for cases in (fault_cases, file_cases, fork_cases, thread_cases, life_cases, heap_cases, signal_cases,
                  plugin_cases,
                  filter_cases, limit_cases):
        yield from cases()


# --- running them -------------------------------------------------------------------------------------------

def environment_of_cases():
    kept = {name: value for name,
            value in os.environ.items() if name != 'PROFILING' and not name.startswith('PYPROF_')}
    # The embedded Python is the one that runs this
    home = os.pathsep.join([sys.base_prefix, sys.base_exec_prefix])
    return dict(kept, PYTHONHOME=home, CAMPAIGN_FOLDER=HERE,
                CAMPAIGN_PLUGIN=os.path.join(options.build, 'campaign_plugin.so'),
                CAMPAIGN_BIG_PLUGIN=os.path.join(options.build, 'campaign_big_plugin.so'),
                TSAN_OPTIONS='halt_on_error=0 exitcode=66 report_signal_unsafe=0 history_size=4')


def races(output):
    """What ThreadSanitizer found, each once, and the first report whole."""
    found = collections.Counter(line for line in output if line.startswith('SUMMARY: ThreadSanitizer'))
    if not found:
        return []
    ends = [number for number, line in enumerate(output) if line.startswith('SUMMARY')]
    return ['%d times %s' % (times, line) for line, times in found.most_common(30)] + output[:ends[0]]


def outcome(case, folder):
    environment = environment_of_cases()
    if case.function:
        return case.function(folder, environment)
    said, skipped = [], 0
    for number, words in enumerate(case.commands):
        inside = os.path.join(folder, str(number))
        os.mkdir(inside)
        os.chmod(folder, 0o755)
        ended = run(words, inside, environment, 5 if case.tsan else 1)
        found = races(ended.output) if case.tsan else []
        if ended.status == WRONG or found:
            said = ['command: ' + ' '.join(words)] + (found or ended.output)
            return Ended(WRONG, said)
        skipped += ended.status == CANNOT
        said.append(ended.output[-1])
        shutil.rmtree(inside, ignore_errors=True)
    if skipped and skipped == len(case.commands):
        return Ended(CANNOT, said)
    runs = '' if len(said) == 1 else '%d runs%s, the last: ' % (len(said),
        ', %d skipped' % skipped if skipped else '')
    return Ended(RIGHT, [runs + said[-1]])


printing = threading.Lock()
totals = collections.Counter()


def attempt(case):
    folder = tempfile.mkdtemp(prefix='campaign-')
    os.chmod(folder, 0o755)
    try:
        return outcome(case, folder)
    except Exception as error:      # a fault of ours is a failed case
        return Ended(WRONG, ['%s: %s' % (type(error).__name__, error)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(case):
    begin = time.monotonic()
    ended = attempt(case)
    took = ''
    # As _tries in tests/py/bind.py; but what ThreadSanitizer saw once is there.
    for again in range(0 if case.tsan else int(os.environ.get('TEST_AGAIN', '0'))):
        if ended.status != WRONG:
            break
        took += '; before: ' + ' '.join(ended.output[-2:])
        ended = attempt(case)
    took = '%.0f s' % (time.monotonic() - begin) + took
    with printing:
        if ended.status == WRONG:
            print('FAIL  campaign: %s (%s)' % (case.name, took))
            print('\n'.join('      | ' + line for line in ended.output[:MOST_LINES]))
        else:
            word = 'skip' if ended.status == CANNOT else 'ok  '
            print('%s  campaign: %s (%s) (%s)' % (word, case.name, ended.output[-1], took))
        sys.stdout.flush()
        totals[ended.status] += 1


def main():
    chosen = [case for case in all_cases()
              if not options.names or any(name in case.name for name in options.names)]
    if options.list:
        print('\n'.join(case.name for case in chosen))
        return
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(report, chosen))
    print('%d passed, %d failed, %d skipped' % (totals[RIGHT], totals[WRONG], totals[CANNOT]))
    sys.exit(totals[WRONG] != 0 or not chosen)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('build')
parser.add_argument('names', nargs='*')
parser.add_argument('--scale', type=float, default=1)
parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
parser.add_argument('--stuck', type=float, default=90, help='seconds without progress that are a hang')
parser.add_argument('--list', action='store_true')
options = parser.parse_args()
options.build = os.path.abspath(options.build)
main()
