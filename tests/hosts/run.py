"""Real programs that run Python, each plain and with the profiler, which nobody but the profiler's files may notice.

    python3 tests/hosts/run.py BUILD [NAME ...]      all hosts, or those whose name contains a NAME

BUILD holds libpyprof.so and what tests/deps.sh test-hosts installs. Each host of hosts.py runs in a process of its own,
first plain and then with PROFILING=1 LD_PRELOAD=libpyprof.so. The two must agree in status and output, and no process
may stay behind. Hosts with `outside` are recorded by `pyprof record --pid PID --subprocesses` instead, into one profile
in which each process that worked must be, with the share of each function. Of the others each process that worked must have its files, and in them the share of each function that the process
measured itself (apps/work.py). Variables: HOSTS_JOBS, the hosts that run at a time (2); HOSTS_KEEP=1 keeps the folders;
HOSTS_VERBOSE=1 tells what was found; TEST_AGAIN=N: a host that failed has N more tries, which are told.
"""
import contextlib
import ctypes
import glob
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 300   # seconds for both runs of a host
SHARE = 0.10   # how far the share of a function may be off in a second of work; in less there are fewer samples
LEAST = 0.3   # seconds of work that a process must have done before its share is judged
FILES = re.compile(r'prof(?:\.(\d+)(?:-\d+)?)?(?:_profile\.(?:json|svg|txt)|_memory\.svg|_memory_snapshot\.(?:txt|pkl)'
                   r'|_memory_final\.txt|\.log)')


class Trouble(Exception):
    """The host, plain or profiled, does not do what it should."""


class Again(Exception):
    """The host met a race of its own: it may try anew."""


class Skip(Exception):
    """The host cannot be had here; the text says why."""


HOSTS = []


class Host:
    """A row of the table: how to run the host, and what is right."""

    def __init__(self, name, play, workers=1, first=True, load=False, noise=None, outside=False):
        self.name, self.play = name, play
        self.workers = workers   # processes that must have done work
        self.first = first   # the first process has Python, and so the files without a number
        self.load = load   # beside a busy process per CPU, and after the other hosts
        self.outside = outside   # recorded from outside
        self.noise = noise   # lines of output that one run has and another has not


def host(name, **options):
    return lambda play: HOSTS.append(Host(name, play, **options)) or play


# --- processes ---------------------------------------------------------------------------------------------------

def own_all():
    """What loses its parent below this process becomes its child, and this process is told when its own parent ends."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)


def descendants():
    """{pid: name} of the processes below this one that have not ended."""
    parents, names = {}, {}
    for path in glob.glob('/proc/[0-9]*/stat'):
        with contextlib.suppress(OSError):
            with open(path) as file:
                pid, name, state, parent = re.match(r'(\d+) \((.*)\) (\S) (\d+)', file.read(), re.S).groups()
            if state not in 'ZX':
                parents[int(pid)], names[int(pid)] = int(parent), name
    found, fresh = {}, {os.getpid()}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh}
        found.update((pid, names[pid]) for pid in fresh)
    return found


def until(condition, what, limit=60.0):
    """Waits for the condition and returns what it gave."""
    end = time.monotonic() + limit
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Trouble('waited %g s for %s' % (limit, what))
        time.sleep(0.02)


@contextlib.contextmanager
def busy(processes):
    """That many processes that take all the time they get, in sessions of their own."""
    code = 'import ctypes; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\nwhile 1: pass'   # ends with its parent
    hogs = [subprocess.Popen([sys.executable, '-c', code], start_new_session=True) for _ in range(processes)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


# --- one run of a host ---------------------------------------------------------------------------------------------

class Run:
    """One run, plain or profiled: a folder, an environment, and what happened."""

    def __init__(self, build, name, profiled, outside=False):
        self.build, self.profiled, self.outside, self.recorder = build, profiled, outside, None
        self.folder = tempfile.mkdtemp(prefix='hosts-%s-' % name)
        self.out = os.path.join(self.folder, 'out')
        self.work = 1.0 if profiled else 0.05   # CPU seconds that each worker does
        self.statuses, self.lines, self.old, self.started, self.pids = [], [], set(), [], []
        self.venv = os.path.join(build, 'hosts-venv', 'bin')
        for folder in self.folder, self.out, self.path('measured'), self.path('tmp'):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o777)   # a host may change its user
        shutil.copytree(os.path.join(HERE, 'apps'), self.path('apps'))
        # Debian's programs find their Python by PATH: not that of pyenv.
        self.plain = {'PATH': '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', 'HOME': self.folder, 'LANG': 'C.UTF-8', 'TMPDIR': self.path('tmp'),
                      'PYTHONPATH': self.path('apps'), 'PYTHONDONTWRITEBYTECODE': '1',
                      'HOSTS_MEASURED': self.path('measured'), 'HOSTS_WORK': str(self.work)}
        self.env = dict(self.plain)
        if profiled and not outside:
            shutil.copy(os.path.join(build, 'libpyprof.so'), self.folder)
            self.env.update(PROFILING='1', LD_PRELOAD=self.path('libpyprof.so'), PYPROF_OUT=os.path.join(self.out, 'prof'),
                            PYPROF_RATE='500')

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        with open(self.path(name), 'w') as file:
            file.write(text)
        return self.path(name)

    def start(self, *argv, **options):
        """The host, profiled in a profiled run; its output is compared."""
        options.setdefault('env', self.env)
        with open(self.path('stdout'), 'ab') as out, open(self.path('stderr'), 'ab') as err:
            self.started.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.folder,
                                                 start_new_session=True, **options))
        self.pids.append(self.started[-1].pid)
        if self.profiled and self.outside and not self.recorder:
            self.record(self.started[-1].pid)
        return self.started[-1]

    def record(self, pid):
        """Records this process and those below it from outside, until it ends."""
        command = [os.path.join(self.build, 'pyprof'), 'record', '--pid', str(pid), '--subprocesses', '--rate', '200']
        for name in 'prof.json', 'prof.folded':
            command += ['-o', os.path.join(self.out, name)]
        with open(self.path('recorder'), 'wb') as told:
            self.recorder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd=self.folder, env=self.plain)

    def recorded(self):
        """Waits for the recorder, which ends with the host: {pid: {function: samples}} and the numbers of the profile."""
        try:
            status = self.recorder.wait(60)
        except subprocess.TimeoutExpired:
            self.recorder.kill()
            self.recorder.wait()
            raise Trouble('the recorder hangs')
        if status:
            raise Trouble('the recorder ended with %d: %s' % (status, self.output('recorder')))
        found = {}
        with open(os.path.join(self.out, 'prof.folded'), encoding='utf-8') as file:
            for line in file:
                stack, samples = line.rsplit(' ', 1)
                stack = stack.split(';')
                pid = int((re.search(r'\((\d+)', stack[0]) or [0, self.pids[0]])[1])
                for name in 'burn_a', 'burn_b':
                    if any(frame.endswith('work.' + name) for frame in stack):
                        found.setdefault(pid, {'burn_a': 0, 'burn_b': 0})[name] += int(samples)
        with open(os.path.join(self.out, 'prof.json'), encoding='utf-8') as file:
            return found, json.load(file)

    def until(self, condition, what, limit=60.0):
        """Waits for the condition, as long as the host lives."""
        def alive():
            if any(process.poll() is not None for process in self.started):
                raise Trouble('ended with %s while we waited for %s' % ([each.poll() for each in self.started], what))
            return condition()
        return until(alive, what, limit)

    def end(self, process, number=None, group=False, limit=100):
        """Sends a signal, waits for the end and keeps the status."""
        if number is not None:
            (os.killpg if group else os.kill)(process.pid, number)
        try:
            self.statuses.append(process.wait(limit))
        except subprocess.TimeoutExpired:
            raise Trouble('still running after %g s%s' % (limit, ' and signal %d' % number if number else ''))
        self.started.remove(process)

    def call(self, *argv, **options):
        """The host as a command that ends by itself."""
        self.end(self.start(*argv, **options))

    def tool(self, *argv, **options):
        """A helper that is never profiled; what it prints."""
        options.setdefault('env', self.plain)
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, cwd=self.folder, timeout=90, **options)
        if done.returncode:
            raise Trouble('%s: status %d: %s' % (' '.join(argv)[:80], done.returncode, (done.stdout + done.stderr)[-600:]))
        return done.stdout

    def measured(self):
        """{pid: [(seconds in burn_a, in burn_b, how the process will end, Unix seconds then), ...]}, as workers noted it."""
        found = {}
        for name in os.listdir(self.path('measured')):
            with open(self.path('measured', name)) as file:
                lines = [line.split() for line in file if line.endswith('\n')]
            found[int(name)] = [(float(a), float(b), end, float(when)) for a, b, end, when in lines]
        return found

    def workers(self):
        """The processes that began to work after the last reload and have done enough."""
        return [pid for pid, notes in self.measured().items() if pid not in self.old and sum(worked(notes)) >= 0.9 * self.work]

    def reloaded(self):
        self.old = set(self.measured())

    def get(self, port, path, limit=100):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=limit)
        try:
            connection.request('GET', path)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise Trouble('%s: %d: %s' % (path, answer.status, text[:300]))
        return text

    def up(self, port):
        """Waits for the server's first answer."""
        def answers():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.get(port, '/')
        self.until(answers, 'the server')

    def drive(self, port, workers, path='/burn', limit=100.0):
        """Asks until that many processes have done their work since the last reload."""
        end = time.monotonic() + limit

        def client():
            while len(self.workers()) < workers and time.monotonic() < end:
                with contextlib.suppress(Trouble, OSError, http.client.HTTPException):   # a reload may refuse a moment
                    self.get(port, '%s/%g' % (path, self.work / 4))
        clients = [threading.Thread(target=client) for _ in range(2 * workers)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        if len(self.workers()) < workers:
            raise Trouble('%d of %d workers did their work in %g s' % (len(self.workers()), workers, limit))
        time.sleep(0.5)   # a client has its answer a moment before the server is done with it

    def output(self, name):
        """The lines of an output, sorted, without what differs from run to run."""
        with contextlib.suppress(OSError):
            with open(self.path(name), encoding='utf-8', errors='backslashreplace') as file:
                return file.read().replace(self.folder, 'FOLDER').split('\n')
        return []


def worked(notes, until=float('inf')):
    """Seconds in burn_a and in burn_b, of what ended before then."""
    return [sum(note[which] for note in notes if note[3] <= until) for which in (0, 1)]


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(('127.0.0.1', 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def owner(run, name):
    """Popen options that run as this user, who gets the folder; none where we are not root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam(name)
    for path, folders, files in os.walk(run.folder):
        for each in [path] + [os.path.join(path, file) for file in files]:
            os.chown(each, user.pw_uid, user.pw_gid)

    def change():
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    return {'preexec_fn': change}


# --- what is right ---------------------------------------------------------------------------------------------------

def plain_lines(lines, noise):
    """Sorted, with any number as N: what two runs of a program have in common."""
    return sorted(re.sub(r'0x[0-9a-f]+|\d+(?:[.:]\d+)*', 'N', line).rstrip() for line in lines
                  if not noise or not re.search(noise, line))


def same_output(row, name, plain, lines):
    plain, lines = plain_lines(plain.output(name), row.noise), plain_lines(lines, row.noise)
    for line in sorted(set(plain) | set(lines)):
        if plain.count(line) != lines.count(line):
            yield '%s: %d times plain, %d profiled: %s' % (name, plain.count(line), lines.count(line), line[:160])


def profiles(run):
    """{pid: [recording, ...]} of the files in the folder, and what is wrong with them."""
    found, wrong = {}, []
    for name in sorted(os.listdir(run.out)):
        match = FILES.fullmatch(name)
        if not match:
            wrong.append('a file that nobody expects: ' + name)
        elif name.endswith('_profile.json'):
            try:
                with open(os.path.join(run.out, name), encoding='utf-8') as file:
                    recording = json.load(file)
            except ValueError as error:
                wrong.append('%s: %s' % (name, error))
                continue
            recording['name'] = name
            found.setdefault(recording['pid'], []).append(recording)
            if match.group(1) and int(match.group(1)) != recording['pid']:
                wrong.append('%s is of pid %d' % (name, recording['pid']))
            for suffix in '.svg', '.txt':
                if not os.path.exists(os.path.join(run.out, name[:-len('.json')] + suffix)):
                    wrong.append('%s has no %s beside it' % (name, suffix))
    return found, wrong


def seconds(recordings, function):
    return sum(each['functions'].get('work.' + function, {}).get('cpu_time', 0.0) for each in recordings)


def judge_worker(pid, notes, recordings):
    """What is wrong with what was recorded of a process that worked."""
    if not recordings:
        return 'pid %d worked for %.2f s and has no file' % (pid, sum(worked(notes)))
    ended, last = notes[-1][2:]
    begin = recordings[0]['start']   # a machine that stands still leaves a gap, which is not in the duration
    until_when = max(each['start'] + each['duration'] + each['stats']['gap_ns'] / 1e9 for each in recordings)
    complete = not any(each.get('checkpoint') for each in recordings)
    if complete == (ended == 'shot') and ended != 'killed':
        return 'pid %d: its file is %s' % (pid, 'not marked as a checkpoint' if complete else 'just a checkpoint')
    if ended == 'itself' and until_when < last - 0.2:
        return 'pid %d: its file ends %.1f s before its last work' % (pid, last - until_when)
    if not complete and until_when - begin < 0.4 * (last - begin) - 0.5:
        return 'pid %d: worked for %.1f s after its start, its checkpoint is of %.1f s' % (pid, last - begin, until_when - begin)
    found, truth = [seconds(recordings, function) for function in ('burn_a', 'burn_b')], worked(notes, until_when)
    if sum(found) < 0.7 * sum(truth):
        return 'pid %d worked for %.2f s, its file has %.2f s' % (pid, sum(truth), sum(found))
    if sum(found) >= LEAST and abs(found[0] / sum(found) - worked(notes)[0] / sum(worked(notes))) > SHARE / min(1, sum(found)) ** 0.5:
        return 'pid %d: burn_a has %.2f s of %.2f, not of %.2f, %.2f' % (pid, found[0], sum(found), *worked(notes))
    return None


def judge_outside(row, plain, run):
    """What is wrong with a run that was recorded from outside, given the plain one."""
    if plain.statuses != run.statuses:
        yield 'status %s, plain %s' % (run.statuses, plain.statuses)
    for name in 'stdout', 'stderr':
        for line in same_output(row, name, plain, run.output(name)):
            yield line
    found, profile = run.recorded()
    stats, pids = profile['stats'], {each['pid'] for each in profile.get('processes', [])} | {profile['pid']}
    run.lines.append('      %d processes, %d missed, %d unknown; %s' % (
        stats['processes'], stats['processes_missed'], stats['processes_unknown'], stats['degraded']))
    measured = {pid: notes for pid, notes in run.measured().items() if sum(worked(notes)) >= LEAST}
    if len(measured) < row.workers:
        yield '%d of %d processes worked' % (len(measured), row.workers)
    for pid, notes in sorted(measured.items()):
        one, truth = found.get(pid, {'burn_a': 0, 'burn_b': 0}), worked(notes)
        total = sum(one.values())
        run.lines.append('      pid %d measured %.2f:%.2f s, found %d:%d samples' % (pid, *truth, one['burn_a'], one['burn_b']))
        if pid not in pids:
            yield 'pid %d worked for %.2f s and is not in the profile' % (pid, sum(truth))
        elif total < 20 or not one['burn_a'] or not one['burn_b']:
            yield 'pid %d worked for %.2f s, recorded are %r' % (pid, sum(truth), one)
        elif abs(one['burn_a'] / total - truth[0] / sum(truth)) > 1.6 / total ** 0.5 + 0.05:
            yield 'pid %d: burn_a has %d of %d samples, not the share of %.2f, %.2f' % (pid, one['burn_a'], total, *truth)


def verbose(run, found):
    for pid, notes in sorted(run.measured().items()):
        for each in found.get(pid, [None]):
            run.lines.append('      pid %d (%s) measured %.2f:%.2f  %s' % (pid, notes[-1][2], *worked(notes), 'no file' if each is None else
                             'found %.2f:%.2f of %.1f s in %s%s %s' % (
                                 seconds([each], 'burn_a'), seconds([each], 'burn_b'), each['duration'], each['name'],
                                 ' (checkpoint)' * bool(each.get('checkpoint')), each['stats']['degraded'][:60])))
    run.lines.append('      others: ' + ' '.join(each['name'] for pid in found if pid not in run.measured() for each in found[pid]))


def promised(run, lines, firsts):
    """What the first process said that is not so, and the others that spoke."""
    for prefix in {os.path.basename(each) for line in lines for each in re.findall(r'it writes (\S+)_profile\.', line)}:
        if not os.path.exists(os.path.join(run.out, prefix + '_profile.json')):
            yield 'stderr promises %s_profile.json, which is not there' % prefix
    for line in sorted({line for line in lines if lines.count(line) > 1 and re.search(r'profiling pid|: wrote ', line)}):
        yield 'said %d times: %s' % (lines.count(line), line)
    speakers = {int(pid) for line in lines for pid in re.findall(r'pid (\d+)', line)}
    if not speakers <= set(run.pids) | set(firsts):
        yield 'pids %s speak on stderr, not just the first process, %s' % (sorted(speakers), firsts or run.pids)


def judge(row, plain, run):
    """What is wrong with a profiled run, given the plain one."""
    if plain.statuses != run.statuses:
        yield 'status %s, plain %s' % (run.statuses, plain.statuses)
    ours = [line for line in run.output('stderr') if line.startswith('pyprof: ')]
    rest = [line for line in run.output('stderr') if not line.startswith('pyprof: ')]
    for line in same_output(row, 'stdout', plain, run.output('stdout')):
        yield line
    for line in same_output(row, 'stderr', plain, rest):
        yield line
    found, wrong = profiles(run)
    for line in wrong:
        yield line
    verbose(run, found)
    firsts = [pid for pid in found for each in found[pid] if each['name'] == 'prof_profile.json']
    if row.first and not firsts:
        yield 'no prof_profile.json of the first process'
    for line in promised(run, ours, firsts):
        yield line
    measured = {pid: notes for pid, notes in run.measured().items() if sum(worked(notes)) >= LEAST}
    if len(measured) < row.workers:
        yield '%d of %d processes worked' % (len(measured), row.workers)
    for pid, notes in measured.items():
        fault = judge_worker(pid, notes, found.get(pid, []))
        if fault:
            yield fault


# --- running them --------------------------------------------------------------------------------------------------

def ends(run, label):
    """Nothing stays behind: what is left of it, after a while."""
    try:
        until(lambda: not descendants(), 'the processes to end', 15)
    except Trouble:
        left = descendants()
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        yield '%s: left behind: %s' % (label, ', '.join('%s (%d)' % (name, pid) for pid, name in sorted(left.items())))


def attempt(row, build, label, folders):
    """One run, which ends up as the last of folders; yields what is wrong."""
    run = Run(build, row.name, label == 'profiled', row.outside)
    folders.append(run)
    try:
        with busy(os.cpu_count() if row.load else 0):
            row.play(run)
    except (Trouble, OSError, subprocess.SubprocessError) as error:
        yield '%s: %s: %s' % (label, type(error).__name__, error)
        for name in 'stdout', 'stderr':
            run.lines += ['      %s %s: %s' % (label, name, line[:160]) for line in run.output(name)[-12:] if line]
    if run.recorder:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.recorder.wait(30)
    for line in ends(run, label):
        yield line


def play(row, build, folders):
    """Both runs; yields what is wrong."""
    runs = []
    for label in 'plain', 'profiled':
        for _ in range(3):
            try:
                wrong = list(attempt(row, build, label, folders))
                break
            except Again as reason:
                list(ends(folders[-1], label))
                wrong = ['%s: %s, three times' % (label, reason)]
        runs.append(folders[-1])
        for line in wrong:
            yield line
    for line in (judge_outside if row.outside else judge)(row, *runs):
        yield line


def one(row, build):
    """Runs a host and prints its result."""
    def too_long(*_):
        raise Trouble('longer than %d s' % LIMIT)
    own_all()
    signal.signal(signal.SIGALRM, too_long)
    start, folders, wrong = time.monotonic(), [], []
    try:
        for again in range(int(os.environ.get('TEST_AGAIN') or 0), -1, -1):
            signal.alarm(LIMIT)
            wrong = list(play(row, build, folders))
            if not wrong or not again:
                break
            print('a try of hosts: %s: %s' % (row.name, '; '.join(wrong)))
        result = 'FAIL ' if wrong else 'ok   '
    except Skip as reason:
        print('skip  hosts: %s: %s' % (row.name, reason))
        return 0
    except Exception as error:   # a fault of the test: told as one
        result, wrong = 'FAIL ', [type(error).__name__ + ': ' + str(error)] + traceback.format_exc().split('\n')[-6:]
    finally:
        signal.alarm(0)
        for pid in descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for run in folders:
            if not os.environ.get('HOSTS_KEEP'):
                shutil.rmtree(run.folder, ignore_errors=True)
    print('%s hosts: %s (%.1f s)' % (result, row.name, time.monotonic() - start))
    for line in wrong:
        print('      ' + line)
    if wrong or os.environ.get('HOSTS_VERBOSE'):
        for run in folders:
            for line in run.lines:
                print(line)
            run.lines = []
    if wrong and os.environ.get('HOSTS_KEEP'):
        print('      kept: ' + ' '.join(sorted({run.folder for run in folders})))
    return 1 if wrong else 0


def side_by_side(rows, build, jobs):
    """Runs rows in processes of their own and passes on what they print."""
    waiting, running, total = list(rows), [], {'ok': 0, 'FAIL': 0, 'skip': 0}
    while waiting or running:
        while waiting and len(running) < jobs:
            row = waiting.pop(0)
            command = [sys.executable, os.path.abspath(__file__), build, '--one', row.name]
            running.append((row, tempfile.TemporaryFile(mode='w+')))
            running[-1] += (subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=running[-1][1],
                                             stderr=subprocess.STDOUT, start_new_session=True),)
        row, output, process = next((each for each in running if each[2].poll() is not None), (None, None, None))
        if process is None:
            time.sleep(0.05)
            continue
        running.remove((row, output, process))
        output.seek(0)
        text = output.read()
        result = re.search(r'^(ok|FAIL|skip)  ', text, re.M)   # after the tries before it
        if not result:
            text = 'FAIL  hosts: %s: exit status %d\n%s' % (row.name, process.returncode, text)
        total[result.group(1) if result else 'FAIL'] += 1
        print(text, end='', flush=True)
    return total


def main():
    import hosts   # fills HOSTS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build = os.path.abspath(sys.argv[1])
    names = [name for name in sys.argv[2:] if name]
    if names[:1] == ['--one']:
        sys.exit(one(next(row for row in HOSTS if row.name == names[1]), build))
    exact = {row.name for row in hosts.HOSTS} & set(names)
    rows = [row for row in hosts.HOSTS if not names or row.name in exact or
            any(name in row.name for name in names if name not in exact)]
    jobs = int(os.environ.get('HOSTS_JOBS') or 2)
    total = side_by_side([row for row in rows if not row.load], build, jobs)
    for key, number in side_by_side([row for row in rows if row.load], build, 1).items():
        total[key] += number
    print('%(ok)d passed, %(FAIL)d failed, %(skip)d skipped' % total)
    sys.exit(1 if total['FAIL'] else 0)


if __name__ == '__main__':
    sys.modules['run'] = sys.modules['__main__']
    sys.path.insert(0, HERE)
    main()
