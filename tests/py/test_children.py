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


if __name__ == '__main__':
    bind.run()
