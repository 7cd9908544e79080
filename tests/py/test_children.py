"""Processes below one that is sampled from outside, or that profiles itself: each is one process of the profile, with its own hot function."""
import glob
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

import bind

# A process of a tree: tells its pid and what it has used of its CPU when it has done its work, and then lives on for a moment.
TREE = '''
import os, signal, socket, subprocess, sys, threading, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
def tell(name, line='used', log=%(log)r):
    with open(log, 'a') as file: file.write('%%s %%d %%s %%r\\n' %% (line, os.getpid(), name, time.thread_time()))
LOG = %(log)r
def wait(name='go', folder=os.path.dirname(%(log)r)):
    while not os.path.exists(os.path.join(folder, name)): time.sleep(0.005)
def await_lines(count, line='used', log=%(log)r):
    while not os.path.exists(log) or open(log).read().count(line + ' ') < count: time.sleep(0.005)
'''
HOT = '''
def hot_%(name)s():
    burn(%(seconds)r)
    tell(%(name)r)
'''
SECONDS = bind.length(0.5, 0.15)


class Tree:
    """A program of TREE and body, and what its processes told. hot: names of functions hot_NAME that it can call."""
    def __init__(self, body, hot=(), seconds=SECONDS, command=None):
        self.folder = tempfile.mkdtemp(prefix='pyprof-children-')
        self.log = os.path.join(self.folder, 'log')
        self.path = os.path.join(self.folder, 'tree.py')
        self.source = TREE % {'log': self.log} + ''.join(HOT % {'name': name, 'seconds': seconds} for name in hot)
        with open(os.path.join(self.folder, 'common.py'), 'w') as file:
            file.write(self.source)
        with open(self.path, 'w') as file:
            file.write('from common import *\n' + body)
        self.process = subprocess.Popen(command or [sys.executable, self.path], stdin=subprocess.DEVNULL, cwd=self.folder,
                                        env=dict(os.environ, PYTHONPATH=self.folder))

    def go(self, name='go'):
        open(os.path.join(self.folder, name), 'w').close()

    def told(self, line='used'):
        """(pid, name): CPU seconds of the thread that told it."""
        if not os.path.exists(self.log):
            return {}
        with open(self.log) as file:
            words = [text.split() for text in file.read().splitlines()]
        return {(int(pid), name): float(used) for first, pid, name, used in words if first == line}

    def end(self):
        bind.equal(self.process.wait(100), 0, 'the exit status of the tree')


def record(tree, **config):
    """The profile of the tree from go until its root has ended."""
    session = bind.Session(pid=tree.process.pid, children=1, rate_hz=200, max_cpu=1e6, **config)
    tree.go()
    tree.end()
    time.sleep(0.1)
    return session.stop()


def processes(profile):
    """pid: {name, hot: {function: CPU seconds}, cpu: of all threads}."""
    found = {}
    for thread in profile.threads():
        name = thread.process or '(%d)' % profile.info().pid
        pid = int(re.search(r'\((\d+)', name).group(1))
        one = found.setdefault(pid, {'name': name, 'hot': {}, 'cpu': 0, 'nodes': set()})
        one['cpu'] += thread.total[bind.CPU_NS] / 1e9
        one['nodes'].add(name)
    for item in profile.visit(bind.ITEM_STACK):
        name = item.thread.process or '(%d)' % profile.info().pid
        pid = int(re.search(r'\((\d+)', name).group(1))
        for function in {frame.name for frame in item.stack if frame.name.startswith('hot_')}:
            found[pid]['hot'][function] = found[pid]['hot'].get(function, 0) + item.self[bind.CPU_NS] / 1e9
    return found


def check(profile, tree, names, near=0.25):
    """Each process that told its time is one process of the profile, with that function and near that time."""
    found, told = processes(profile), tree.told()
    bind.equal(sorted(name for _, name in told), sorted(names), 'what was done')
    for (pid, name), used in told.items():
        bind.check(pid in found, '%d, which ran %s, is missing: %r', pid, name, found)
        bind.equal(sorted(found[pid]['hot']), ['hot_' + name], 'hot in %d' % pid)
        bind.equal(len(found[pid]['nodes']), 1, 'process nodes of %d' % pid)
        bind.near(found[pid]['hot']['hot_' + name], SECONDS, near, 0.1, 'time of %s in %d' % (name, pid))
        bind.check(found[pid]['cpu'] < used + 0.2, '%d used %.3f s of CPU, recorded are %.3f', pid, used, found[pid]['cpu'])
    return found


@bind.test(limit=120)
def forked_spawned_and_executed():
    tree = Tree('''
import multiprocessing
if __name__ == '__main__':
    wait()
    fork, spawn, server = map(multiprocessing.get_context, ('fork', 'spawn', 'forkserver'))
    children = [fork.Process(target=hot_fork), spawn.Process(target=hot_spawn), server.Process(target=hot_server)]
    for child in children: child.start()
    code = subprocess.Popen([sys.executable, '-c', 'from common import *; hot_code()'])
    shell = subprocess.Popen(['sh', '-c', '%s -c "from common import *; hot_shell()"; true' % sys.executable])
    hot_root()
    for child in children: child.join()
    sys.exit(code.wait() or shell.wait())
''', hot=('root', 'fork', 'spawn', 'server', 'code', 'shell'))
    profile = record(tree)
    found = check(profile, tree, ['root', 'fork', 'spawn', 'server', 'code', 'shell'])
    names = {one['name'] for one in found.values()}
    bind.check('tree (%d)' % tree.process.pid in names, 'the root in %r', names)
    stats = profile.stats()
    bind.equal(stats.processes, len(found), 'processes')
    bind.check(abs(sum(one['cpu'] for one in found.values()) - sum(row.self[bind.CPU_NS] for row in profile.top()) / 1e9) < 0.01, 'sum')


@bind.test(limit=120)
def pools():
    tree = Tree('''
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def one(unused):   # each of the two processes gets one
    tell('job', 'began')
    await_lines(2, 'began')
    hot_job()
if __name__ == '__main__':
    wait()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as pool: list(pool.map(one, range(2)))
    with multiprocessing.get_context('spawn').Pool(2, maxtasksperchild=1) as pool: pool.map(hot_apart, range(2), chunksize=1)
''', hot=('job', 'apart'))
    with open(os.path.join(tree.folder, 'common.py'), 'a') as file:
        file.write('_apart = hot_apart\ndef hot_apart(unused): _apart()\n')
    check(record(tree), tree, ['job', 'job', 'apart', 'apart'])


@bind.test(limit=120)
def prefork_server():
    tree = Tree('''
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen(8)
def serve():
    while True:   # each worker answers one request, and then waits for its end
        connection = server.accept()[0]
        hot_request()
        connection.sendall(b'done')
        connection.close()
        signal.pause()
workers = []
for i in range(3):
    pid = os.fork()
    if not pid: serve()
    workers.append(pid)
with open(os.path.join(os.path.dirname(__file__), 'port.new'), 'w') as file: file.write(str(server.getsockname()[1]))
os.rename(file.name, file.name[:-4])
wait()
await_lines(3)
for pid in workers: os.kill(pid, signal.SIGTERM)
for pid in workers: os.waitpid(pid, 0)
''', hot=('request',))
    path = os.path.join(tree.folder, 'port')
    bind.eventually(lambda: os.path.exists(path), 'the server listens', 60)
    session = bind.Session(pid=tree.process.pid, children=1, rate_hz=200, max_cpu=1e6)
    bind.eventually(lambda: session.stats().processes == 4, 'the workers that were there are found', 60)
    tree.go()
    for _ in range(3):
        connection = socket.create_connection(('127.0.0.1', int(open(path).read())))
        bind.equal(connection.recv(4), b'done', 'the answer')
    tree.end()
    profile = session.stop()
    check(profile, tree, ['request'] * 3)
    bind.equal((profile.stats().processes, profile.stats().processes_missed), (4, 0), 'processes, and missed ones')


@bind.test(limit=120)
def short_lived():
    count = bind.length(500, 16)
    tree = Tree('''
wait()
pids = []
for i in range(%d):
    pid = os.fork()
    if pid == 0:
        end = time.monotonic() + (0.005, 0.02, 0.1, 0.3)[i %% 4]
        while time.monotonic() < end: burn(0.002)
        tell('end')
        os._exit(0)
    pids.append(pid)
    time.sleep(0.02)
for pid in pids: os.waitpid(pid, 0)   # until then each can be seen
tell('root')
''' % count)
    profile = record(tree)
    found, told, stats = processes(profile), tree.told(), profile.stats()
    bind.equal(len(told), count + 1, 'children')
    bind.check(set(found) <= {pid for pid, _ in told}, 'strangers: %r', found)
    bind.equal(stats.processes, len(found), 'processes')
    bind.equal(stats.processes + stats.processes_missed, count + 1, 'processes, recorded (%d) and missed' % stats.processes)
    for (pid, name), used in told.items():
        bind.check(pid not in found or found[pid]['cpu'] < used + 0.1, '%d: %r, it used %.3f', pid, found.get(pid), used)


@bind.test(limit=200)
def short_lived_of_all_kinds():
    """Each descendant is recorded, missed or not Python, and counted once: the sum is the parent's own list."""
    count = bind.length(500, 24)
    tree = Tree('''
import multiprocessing
SECONDS = (0.005, 0.02, 0.06, 0.2)
def hot_short(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: burn(0.002)
    tell('python')
def note(pid, name, line='began'):
    with open(LOG, 'a') as file: file.write('%%s %%d %%s 0\\n' %% (line, pid, name))
def forked(seconds):
    pid = os.fork()
    if pid: return pid
    hot_short(seconds)
    os._exit(0)
def code(seconds): return [sys.executable, '-S', '-c', 'import tree; tree.hot_short(%%r)' %% seconds]
def executed(seconds):
    pid = os.fork()
    if pid: return pid
    os.execv(sys.executable, code(seconds))
def spawned(seconds):
    process = multiprocessing.get_context('spawn').Process(target=hot_short, args=(seconds,))
    process.start()
    return process
KINDS = [
    ('python', forked), ('python', executed), ('python', spawned),
    ('python', lambda seconds: os.posix_spawn(sys.executable, code(seconds), os.environ)),
    ('python', lambda seconds: subprocess.Popen(code(seconds))),
    ('other', lambda seconds: subprocess.Popen(['true'])),
    ('other', lambda seconds: subprocess.Popen(['sh', '-c', 'exec sleep %%r' %% seconds])),
    ('other', lambda seconds: os.posix_spawn('/bin/sh', ['sh', '-c', ':'], os.environ)),
]
if __name__ == '__main__':
    wait()
    multiprocessing.process._cleanup = lambda: None   # it would wait for those that have ended
    started = []
    for i in range(%d):
        name, start = KINDS[i %% len(KINDS)]
        child = start(SECONDS[i // len(KINDS) %% 4])
        started.append(child)
        note(child if isinstance(child, int) else child.pid, name)
        time.sleep(0.005)
    from multiprocessing import resource_tracker
    note(resource_tracker._resource_tracker._pid, 'python')   # the first spawned process makes it
    note(os.getpid(), 'python')
    # Until they are waited for, each can be seen.
    for child in started: os.waitid(os.P_PID, child if isinstance(child, int) else child.pid, os.WEXITED | os.WNOWAIT)
    tell('root')
    wait('end')
    for child in started:
        if isinstance(child, int): os.waitpid(child, 0)
        elif hasattr(child, 'wait'): child.wait()
        else: child.join()
''' % count)
    session = bind.Session(pid=tree.process.pid, children=1, rate_hz=200, max_cpu=1e6)
    tree.go()
    bind.eventually(lambda: any(name == 'root' for _, name in tree.told()) or tree.process.poll() is not None, 'all children have ended', 150)
    began = tree.told('began')
    python = {pid for pid, name in began if name == 'python'}
    other = {pid for pid, name in began if name == 'other'}
    bind.equal(len(began), count + 2, 'descendants, with the root and the tracker')

    def is_counted():   # the last one is found within some milliseconds
        stats = session.stats()
        return stats.processes + stats.processes_missed + stats.processes_unknown >= len(python)
    try:
        bind.eventually(is_counted, 'each is counted', 30)
    except AssertionError:
        stats = session.stats()
        raise AssertionError('%d recorded, %d missed, %d unknown; %d were Python, %d others; %s' % (
            stats.processes, stats.processes_missed, stats.processes_unknown, len(python), len(other), stats.degraded))
    finally:
        tree.go('end')
    tree.end()
    profile = session.stop()
    stats, found = profile.stats(), processes(profile)
    print('%d recorded, %d missed, %d unknown; %d were Python, %d others' % (stats.processes, stats.processes_missed, stats.processes_unknown,
                                                                             len(python), len(other)))
    # Before 3.10 subprocess forks without vfork: until its exec such a child is Python.
    forks = other if sys.version_info < (3, 10) else set()
    bind.equal(set(found) - python - forks, set(), 'recorded, but no Python')
    bind.equal(stats.processes, len(found), 'processes')
    # Unknown is one that nobody saw between its fork, or vfork, and its end.
    counted = stats.processes + stats.processes_missed
    bind.check(counted - len(forks) <= len(python) <= counted + stats.processes_unknown <= len(began), '%d recorded, %d missed, %d unknown; %d were Python, %d others',
               stats.processes, stats.processes_missed, stats.processes_unknown, len(python), len(other))
    bind.enough(counted > 0.8 * len(python), '%d of %d are counted, %d unknown', counted, len(python), stats.processes_unknown)
    for (pid, name), used in tree.told().items():
        bind.check(pid not in found or found[pid]['cpu'] < used + 0.1, '%d: %r, it used %.3f', pid, found.get(pid), used)


@bind.test(limit=120)
def children_of_the_command():
    """pyprof record goes on after the end of a child, until the program itself ends."""
    program = os.path.join(bind.BUILD, 'pyprof')
    if not os.path.exists(program):
        bind.skip('no %s' % program)
    tree = Tree('''
import multiprocessing
if __name__ == '__main__':
    wait()
    for work in hot_first, hot_second:
        child = multiprocessing.get_context('fork').Process(target=work)
        child.start()
        child.join()
    hot_root()
''', hot=('first', 'second', 'root'))
    told, out = os.path.join(tree.folder, 'told'), os.path.join(tree.folder, 'out.folded')
    with open(told, 'wb') as file:
        recorder = subprocess.Popen([program, 'record', '--pid', str(tree.process.pid), '--subprocesses', '--rate', '200', '-o', out],
                                    stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    bind.eventually(lambda: len(os.listdir('/proc/%d/task' % recorder.pid)) > 2, 'it samples, and follows children', 60)
    tree.go()
    tree.end()
    bind.equal(recorder.wait(60), 0, 'its exit status: %s' % open(told).read())
    found = {}
    with open(out) as file:
        for line in file:
            for name in re.findall(r'hot_(\w+)', line):
                found.setdefault(name, set()).add(int(re.search(r'\((\d+)', line).group(1)))
    bind.equal(found, {name: {pid} for pid, name in tree.told()}, 'processes of each function')


@bind.test(limit=120)
def daemon():
    tree = Tree('''
wait()
pid = os.fork()
if pid == 0:
    os.setsid()
    if os.fork() == 0:
        hot_daemon()
        tell('daemon', 'over')
    os._exit(0)
os.waitpid(pid, 0)
await_lines(1, 'over')
''', hot=('daemon',))
    check(record(tree), tree, ['daemon'])


@bind.test(limit=120)
def another_version():
    pythons = glob.glob(os.path.join(os.environ.get('PYENV_ROOT') or os.path.expanduser('~/.pyenv'), 'versions/3.[89].*/bin/python'))
    pythons += glob.glob(os.path.join(os.environ.get('PYENV_ROOT') or os.path.expanduser('~/.pyenv'), 'versions/3.1[0-9].*/bin/python'))
    pythons = [python for python in pythons if '/%d.%d.' % sys.version_info[:2] not in python]
    if not pythons:
        bind.skip('no other CPython')
    tree = Tree('''
wait()
code = 'from common import *; hot_before(); os.execv(sys.argv[1], ["python", "-c", "from common import *; hot_after()"])'
child = subprocess.Popen([sys.executable, '-c', code, %r])
other = subprocess.Popen([%r, '-c', 'from common import *; hot_other()'])
sys.exit(child.wait() or other.wait())
''' % (pythons[0], pythons[-1]), hot=('before', 'after', 'other'))
    profile = record(tree)
    found, told = processes(profile), tree.told()
    bind.equal(sorted(name for _, name in told), ['after', 'before', 'other'], 'what was done')
    bind.equal(len({pid for pid, _ in told}), 2, 'processes that did it')
    for pid, name in told:
        bind.check(pid in found, '%d, which ran %s, is missing: %r', pid, name, found)
        bind.near(found[pid]['hot'].get('hot_' + name, 0), SECONDS, 0.25, 0.12, 'time of %s in %d of %r' % (name, pid, found))


@bind.test(limit=120)
def reset_and_what_is_left():
    count = bind.length(200, 12)
    tasks, descriptors = bind.tasks(), bind.descriptors()
    tree = Tree('''
wait()
for i in range(%d):
    pid = os.fork()
    if pid == 0:
        hot_part()
        time.sleep(0.03)
        os._exit(0)
    if i %% 4 == 3:
        while True:
            try: os.wait()
            except ChildProcessError: break
hot_root()
wait('end')
''' % count, hot=('part', 'root'), seconds=0.06)
    session = bind.Session(pid=tree.process.pid, children=1, rate_hz=200, max_cpu=1e6)
    tree.go()
    profiles = []
    while not any(name == 'root' for _, name in tree.told()):
        time.sleep(0.1)
        profiles.append(session.snapshot(reset=1))
    tree.go('end')
    tree.end()
    profiles.append(session.stop())
    told, hot = tree.told(), {}
    for profile in profiles:
        for pid, one in processes(profile).items():
            for function, used in one['hot'].items():
                hot[pid, function[4:]] = hot.get((pid, function[4:]), 0) + used
    bind.equal(set(hot) - set(told), set(), 'what nobody did')
    for key, used in told.items():
        bind.check(hot.get(key, 0) < 0.06 + 0.06, '%r used %.3f, recorded are %.3f', key, used, hot.get(key, 0))
    # Before it is found a child may have done most of its work: on a busy machine that says nothing.
    bind.enough(sum(hot.values()) > 0.5 * 0.06 * (count + 1), 'recorded %.3f s of %d times 0.06', sum(hot.values()), count + 1)
    stats = profiles[-1].stats()
    bind.check(stats.processes + stats.processes_missed <= count + 1, '%d processes, %d missed', stats.processes, stats.processes_missed)
    bind.check(stats.processes >= len({pid for pid, _ in hot}), '%d processes, recorded are %d', stats.processes, len(hot))
    bind.eventually(lambda: bind.tasks() == tasks, 'no thread is left', 10)
    bind.equal(bind.descriptors(), descriptors, 'descriptors')


@bind.test(limit=120)
def workers_of_a_server():
    """A prefork server like gunicorn: workers accept on one socket; one ends and another takes its place. And a pool."""
    tree = Tree('''
import concurrent.futures, multiprocessing, socket
if __name__ == '__main__':
    wait()
    server = socket.socket()
    server.bind(('127.0.0.1', 0))
    server.listen(10)
    def worker(work):
        connection = server.accept()[0]
        work()
        connection.close()
        os._exit(0)
    def ask():
        with socket.create_connection(server.getsockname()) as client: client.recv(1)
    def fork(work):
        pid = os.fork()
        if pid == 0: worker(work)
        return pid
    for round in range(2):
        pids = [fork(hot_worker) for _ in range(2)]
        for thread in [threading.Thread(target=ask) for _ in pids]: thread.start()
        for pid in pids: os.waitpid(pid, 0)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool: pool.submit(hot_pool).result()
''', hot=('worker', 'pool'))
    check(record(tree), tree, ['worker'] * 4 + ['pool'])


@bind.test(limit=120)
def below_a_shell():
    tree = Tree('''
if __name__ == '__main__':
    wait()
    hot_below()
''', hot=('below',))
    tree.go('never')
    tree.process.kill()
    tree.process.wait()
    tree.process = subprocess.Popen(['sh', '-c', '%s %s; true' % (sys.executable, tree.path)], cwd=tree.folder, env=dict(os.environ, PYTHONPATH=tree.folder))
    profile = record(tree)
    found = check(profile, tree, ['below'])
    bind.equal((len(found), profile.stats().processes), (1, 1), 'processes')


@bind.test(limit=120)
def below_this_process():
    """Without a pid: a forked child profiles itself, a started one is sampled; memory and the state of the session are not disturbed."""
    folder = tempfile.mkdtemp(prefix='pyprof-children-')
    code = '''
import time
def hot_started():
    end = time.thread_time() + %r
    while time.thread_time() < end: pass
hot_started()
''' % SECONDS
    session = bind.Session(children=1, rate_hz=200, max_cpu=1e6, checkpoint=os.path.join(folder, 'own.json'))
    forked = os.fork()
    if forked == 0:
        end = time.thread_time() + SECONDS
        while time.thread_time() < end:
            [object() for _ in range(100)]
        session.stop()
        os._exit(0)
    started = subprocess.Popen([sys.executable, '-c', code])
    bind.equal(started.wait(60), 0, 'the started child')
    os.waitpid(forked, 0)
    before = session.snapshot()
    found = processes(before)
    bind.equal(sorted(found), sorted([os.getpid(), started.pid]), 'processes of the snapshot')
    bind.near(found[started.pid]['hot']['hot_started'], SECONDS, 0.25, 0.1, 'time of the started child')
    bind.check(os.path.exists(os.path.join(folder, 'own.%d.json' % forked)), 'the forked child wrote no file: %r', os.listdir(folder))
    session.reset()
    time.sleep(0.1)
    after = session.stop()
    bind.equal(sorted(processes(after)), [os.getpid()], 'processes after the reset')
    bind.check(not any(thread.process for thread in after.threads()), 'a profile of one process has process nodes')


if __name__ == '__main__':
    bind.run()
