"""Processes below one that is sampled from outside, or that profiles itself: each is one process of the profile, with its own hot function."""
import os
import re
import subprocess
import sys
import tempfile
import time

import bind

LONG = bool(os.environ.get('TEST_LONG'))
# A process of a tree: tells its pid and what it has used of its CPU when it has done its work, and then lives on for a moment.
TREE = '''
import atexit, os, signal, subprocess, sys, threading, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
def tell(name, line='used', log=%(log)r):
    with open(log, 'a') as file: file.write('%%s %%d %%s %%r\\n' %% (line, os.getpid(), name, time.thread_time()))
def wait(name='go', folder=os.path.dirname(%(log)r)):
    while not os.path.exists(os.path.join(folder, name)): time.sleep(0.005)
'''
HOT = '''
def hot_%(name)s():
    burn(%(seconds)r)
    tell(%(name)r)
'''
SECONDS = 0.5


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
def daemons_and_another_program():
    """A daemon that forked twice; a forked child that executes a Python of its own; below a shell, which has no Python itself."""
    tree = Tree('''
if __name__ == '__main__':
    wait()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            hot_daemon()
            tell('daemon', 'done')
        os._exit(0)
    os.wait()
    pid = os.fork()
    if pid == 0: os.execv(sys.executable, [sys.executable, '-c', 'from common import *; hot_exec()'])
    os.waitpid(pid, 0)
    while not any(line.startswith('done') for line in open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'log'))): time.sleep(0.01)
    time.sleep(0.1)
''', hot=('daemon', 'exec'), command=None)
    check(record(tree), tree, ['daemon', 'exec'])


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


@bind.test(limit=180)
def short_lives():
    """Each is recorded or missed, none twice; those that live for long enough are recorded."""
    count = 500 if LONG else 20
    tree = Tree('''
if __name__ == '__main__':
    wait()
    for i in range(%d):
        pid = os.fork()
        if pid == 0:
            if i %% 5 == 4:
                hot_long()
            else:
                time.sleep((0.005, 0.02, 0.05, 0.1)[i %% 5])
            os._exit(0)
        os.waitpid(pid, 0)
''' % count, hot=('long',))
    profile = record(tree)
    check(profile, tree, ['long'] * (count // 5))
    stats = profile.stats()
    bind.equal(len(processes(profile)), stats.processes, 'processes')
    bind.check(stats.processes + stats.processes_missed <= count + 1, 'too many: %d, %d missed', stats.processes, stats.processes_missed)


@bind.test(limit=120)
def below_this_process():
    """Without a pid: a forked child profiles itself, a started one is sampled; memory and the state of the session are not disturbed."""
    folder = tempfile.mkdtemp(prefix='pyprof-children-')
    code = '''
import time
def hot_started():
    end = time.thread_time() + 0.5
    while time.thread_time() < end: pass
hot_started()
'''
    session = bind.Session(children=1, rate_hz=200, max_cpu=1e6, checkpoint=os.path.join(folder, 'own.json'))
    forked = os.fork()
    if forked == 0:
        end = time.thread_time() + 0.5
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
    bind.near(found[started.pid]['hot']['hot_started'], 0.5, 0.25, 0.1, 'time of the started child')
    bind.check(os.path.exists(os.path.join(folder, 'own.%d.json' % forked)), 'the forked child wrote no file: %r', os.listdir(folder))
    session.reset()
    time.sleep(0.1)
    after = session.stop()
    bind.equal(sorted(processes(after)), [os.getpid()], 'processes after the reset')
    bind.check(not any(thread.process for thread in after.threads()), 'a profile of one process has process nodes')


if __name__ == '__main__':
    bind.run()
