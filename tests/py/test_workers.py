"""Processes below a profiled one: each that goes on in Python has files of its own, however it was made."""
import ctypes
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import bind

PRELOAD = os.path.join(bind.BUILD, 'libpyprof.so')
HERE = os.path.dirname(os.path.abspath(__file__))
WORK = '''
import os, signal, subprocess, sys, threading, time
KEEP = []
def burn_a(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
def burn_b(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
def job(unused=None):
    burn_a(0.2)
    burn_b(0.1)
    KEEP.extend(bytearray(250000) for i in range(40))
    with open('done', 'a') as file: file.write('%d ' % os.getpid())
    time.sleep(0.05)   # makes others of a pool take the next one
'''


def environment(**variables):
    """PROFILING=1 and the preload library; a variable that is None is not set."""
    if not os.path.exists(PRELOAD):
        bind.skip('no %s (it is built from examples/preload.c)' % PRELOAD)
    env = {name: value for name, value in os.environ.items() if name != 'PROFILING' and not name.startswith('PYPROF_')}
    env.update(LD_PRELOAD=PRELOAD, PROFILING='1', PYPROF_OUT='run', PYPROF_RATE='250', PYPROF_FORMATS='json,txt')
    env.update(variables)
    return {name: value for name, value in env.items() if value is not None}


def start(folder, body, name='app.py', options=(), command=None, **variables):
    """A program of WORK and body, in that folder, which is made."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'w') as file:
        file.write(WORK + body)
    process = subprocess.Popen(command or [sys.executable] + list(options) + [name], env=environment(**variables), cwd=folder, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.folder = folder
    return process


def end(process, code=0, seconds=50):
    """Waits for it. Returns what it wrote to stdout and stderr."""
    try:
        out, err = (text.decode('utf-8', 'replace') for text in process.communicate(timeout=seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError('%s hangs: %r' % (process.folder, process.communicate()))
    bind.equal(process.returncode, code, 'exit code of %s; stdout %s, stderr %s, files %r' % (process.folder, out, err, os.listdir(process.folder)))
    return out, err


def document(folder, name='run_profile.json'):
    with open(os.path.join(folder, name), 'rb') as file:
        return bind.strict_json(file.read())


def documents(folder, pattern='*.json'):
    return [document(folder, os.path.basename(path)) for path in sorted(glob.glob(os.path.join(folder, pattern)))]


def text(folder, name):
    with open(os.path.join(folder, name), encoding='utf-8') as file:
        return file.read()


def did(folder):
    """The processes that finished a job."""
    return sorted(set(map(int, text(folder, 'done').split())))


def check_share(one, what, module='app'):
    """burn_a has two thirds of the CPU time."""
    times = {name.rsplit('.', 1)[-1]: value['cpu_time'] for name, value in one['functions'].items()}
    a, b = times.get('burn_a', 0), times.get('burn_b', 0)
    bind.check(a > 0 and b > 0, '%s: burn_a %g s, burn_b %g s of %r', what, a, b, one['functions'])
    bind.enough(abs(a / (a + b) - 2 / 3) < 0.15, '%s: burn_a has %.2f s, burn_b %.2f s', what, a, b)


def check_workers(folder, least, memory=True):
    """Each process that finished a job has its files, and its parent's tell of it."""
    found = {one['pid']: one for one in documents(folder)}
    pids = did(folder)
    bind.check(len(pids) >= least, '%s: workers %r', folder, pids)
    for pid in pids:
        bind.check(pid in found, '%s: no file of %d: %r', folder, pid, sorted(os.listdir(folder)))
        check_share(found[pid], '%s, pid %d' % (folder, pid))
        bind.check('checkpoint' not in found[pid], '%s: %d is not whole', folder, pid)
    for pid in pids if memory else ():
        stats = found[pid]['stats']
        bind.check(stats['heap_live_bytes'] > 3e6, '%s, pid %d: %r', folder, pid, stats)
        path = os.path.join(folder, 'run.%d_memory_snapshot.pkl' % pid)
        if not os.path.exists(path):
            path = os.path.join(folder, 'run_memory_snapshot.pkl')
        bind.check(len(tracemalloc.Snapshot.load(path).traces) > 0, '%s: %d has an empty snapshot', folder, pid)
    bind.check('burn_a' in text(folder, 'run.%d_profile.txt' % [pid for pid in pids if pid != document(folder)['pid']][0]), 'the text of a worker')
    return found


def all_of(folder, bodies, least=2, memory=True, **variables):
    """Runs these programs side by side."""
    running = [start(os.path.join(folder, name), body, **variables) for name, body in bodies.items()]
    told = {}
    for process in running:
        out, err = end(process)
        bind.equal(out, '', process.folder)
        lines = [line for line in err.splitlines() if not line.startswith('pyprof: ')]
        bind.equal(lines, [], '%s: stderr' % process.folder)
        told[os.path.basename(process.folder)] = check_workers(process.folder, least, memory)
    return told


# --- workers ----------------------------------------------------------------------------------------------------

MAIN = 'if __name__ == "__main__":\n    import multiprocessing\n    context = multiprocessing.get_context(%r)\n'
PROCESS = ('    workers = [context.Process(target=job) for i in range(2)]\n'
           '    for worker in workers: worker.start()\n'
           '    for worker in workers: worker.join()\n')
POOL = ('    pool = context.Pool(2)\n'
        '    pool.map(job, range(4), 1)\n'
        '    pool.close()\n'
        '    pool.join()\n')
FUTURES = ('    import concurrent.futures\n'
           '    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool: list(pool.map(job, range(4)))\n')
FORK = ('pids = []\n'
        'for i in range(2):\n'
        '    pid = os.fork()\n'
        '    if not pid:\n'
        '        job()\n'
        '        os._exit(0)\n'
        '    pids.append(pid)\n'
        'job()\n'
        'for pid in pids: os.waitpid(pid, 0)\n')


@bind.test
def forked():
    with bind.folder() as folder:
        told = all_of(folder, {'os.fork': FORK, 'process': MAIN % 'fork' + PROCESS, 'pool': MAIN % 'fork' + POOL})
        one = told['os.fork'][document(os.path.join(folder, 'os.fork'))['pid']]
        check_share(one, 'the parent goes on')
        bind.equal({child['pid'] for child in one['children']}, set(told['os.fork']) - {one['pid']})


@bind.test
def forked_without_memory():
    with bind.folder() as folder:
        for name in all_of(folder, {'os.fork': FORK, 'futures': MAIN % 'fork' + FUTURES}, memory=False, PYPROF_HEAP='off'):
            bind.equal(glob.glob(os.path.join(folder, name, '*memory*')), [])


@bind.test
def spawned():
    with bind.folder() as folder:
        all_of(folder, {'spawn process': MAIN % 'spawn' + PROCESS, 'spawn pool': MAIN % 'spawn' + POOL})


@bind.test
def by_a_fork_server():
    with bind.folder() as folder:
        all_of(folder, {'process': MAIN % 'forkserver' + PROCESS, 'futures': MAIN % 'forkserver' + FUTURES})


@bind.test
def grandchildren():
    """A child forks at once, and that one's child, too: nothing was ready in between."""
    with bind.folder() as folder:
        all_of(folder, {'at once': 'def down(n):\n'
                                   '    pid = os.fork()\n'
                                   '    if not pid:\n'
                                   '        if n: down(n - 1)\n'
                                   '        job()\n'
                                   '        os._exit(0)\n'
                                   '    os.waitpid(pid, 0)\n'
                                   'down(2)\n',
                        'later': 'def down(n):\n'
                                 '    pid = os.fork()\n'
                                 '    if not pid:\n'
                                 '        job()\n'
                                 '        if n: down(n - 1)\n'
                                 '        os._exit(0)\n'
                                 '    os.waitpid(pid, 0)\n'
                                 'down(1)\n'}, least=2)


@bind.test
def nothing_is_allocated():
    """A child that goes on in a loop which asks nobody for memory, nor for anything else."""
    body = ('from itertools import repeat\n'
            'def tight(times):\n'
            '    for x in times: pass\n'
            'count = 1000\n'
            'took = 0\n'
            'while took < 0.1:\n'
            '    count *= 2\n'
            '    begin = time.thread_time()\n'
            '    for x in repeat(None, count): pass\n'
            '    took = time.thread_time() - begin\n'
            'times = repeat(None, 4 * count)\n'
            'pid = os.fork()\n'
            'if not pid:\n'
            '    tight(times)\n'
            '    print(time.thread_time(), flush=True)\n'
            '    os._exit(0)\n'
            'os.waitpid(pid, 0)\n')
    with bind.folder() as folder:
        running = [start(os.path.join(folder, heap), body, PYPROF_HEAP=heap) for heap in ('off', 'sampled')]
        for process in running:
            took = float(end(process)[0])
            one, = documents(process.folder, 'run.*.json')
            bind.enough(one['functions']['app.tight']['cpu_time'] > 0.75 * took, '%s: %g s of %r', process.folder, took, one['functions'])


@bind.test
def children_are_listed():
    """With what they were, and how they ended."""
    body = ('def child(what):\n'
            '    pid = os.fork()\n'
            '    if not pid:\n'
            '        what()\n'
            '        os._exit(0)\n'
            '    return pid\n'
            'def three():\n'
            '    burn_a(0.1)\n'
            '    os._exit(3)\n'
            'def lives():\n'
            '    for fd in range(3): os.close(fd)\n'
            '    time.sleep(60)\n'
            'pids = [child(three), child(lambda: time.sleep(60)), child(lambda: os.execvp("false", ["false"])), child(lives)]\n'
            'process = subprocess.Popen(["sh", "-c", "exit 7"])\n'
            'burn_a(0.3)\n'
            'os.kill(pids[1], signal.SIGTERM)\n'
            'os.waitpid(pids[0], 0)\n'
            'os.waitid(os.P_PID, pids[1], os.WEXITED)\n'
            'os.waitpid(pids[2], 0)\n'
            'process.wait()\n'
            'print(*pids, process.pid)\n')
    with bind.folder() as folder:
        running = [start(os.path.join(folder, heap), body, PYPROF_HEAP=heap) for heap in ('off', 'sampled')]
        for process in running:
            pids = list(map(int, end(process)[0].split()))
            os.kill(pids[3], signal.SIGKILL)
            children = {child['pid']: child for child in document(process.folder)['children']}
            bind.check(set(pids[:4]) <= set(children), 'pids %r, children %r', pids, children)
            bind.equal(children[pids[0]], {'pid': pids[0], 'name': children[pids[0]]['name'], 'profiled': True, 'exit_status': 3})
            bind.equal({key: value for key, value in children[pids[1]].items() if key != 'name'},
                       {'pid': pids[1], 'profiled': True, 'exit_status': -15})
            bind.equal((children[pids[2]]['profiled'], children[pids[2]]['exit_status']), (False, 1), 'false')
            bind.equal(children[pids[3]]['exit_status'], None, 'of the one that lives')
            told = text(process.folder, 'run_profile.txt')
            for pid, words in zip(pids, ('profiled, exit status 3', 'profiled, ended by signal 15', 'not profiled, exit status 1', 'end not known')):
                bind.check(re.search(r'%d\b.*%s' % (pid, words), told), '%d, %s: %s', pid, words, told)


@bind.test
def gone_at_once():
    """A child that exits or execs at once has no files, and no thread that would hold it up."""
    body = ('def child(how):\n'
            '    pid = os.fork()\n'
            '    if pid: return pid\n'
            '    if how == 0: os._exit(0)\n'
            '    if how == 1: os.execv("/bin/true", ["true"])\n'
            '    os.kill(os.getpid(), signal.SIGKILL)\n'
            'for i in range(18): os.waitpid(child(i % 3), 0)\n'
            'for i in range(6): subprocess.run(["true"])\n'
            'burn_a(0.1)\n')
    with bind.folder() as folder:
        running = [start(os.path.join(folder, heap), body, PYPROF_HEAP=heap) for heap in ('off', 'sampled')]
        for process in running:
            end(process)
            files = [name for name in os.listdir(process.folder) if not name.startswith(('run_', 'app.py'))]
            bind.equal(files, [], 'files')


# --- by the API ---------------------------------------------------------------------------------------------------

def burn_a(seconds):
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def burn_b(seconds):
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def in_a_child(function):
    """Calls it in a forked child, which must return without an error. Returns the child's pid."""
    pid = os.fork()
    if not pid:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            print('in the child: %r' % error, flush=True)
            os._exit(1)
    bind.equal(os.waitpid(pid, 0)[1], 0, 'the end of the child')
    return pid


def own_profile(session, first):
    """In a child: its token, and with that a recording of its own."""
    burn_a(0.2)
    burn_b(0.1)
    profile = session.stop()
    info = profile.info()
    bind.equal(info.pid, os.getpid())
    rows = {row.name: row.total[bind.CPU_NS] for row in profile.top(by_total=1)}
    bind.check(first not in rows, 'what its parent did: %r', rows)
    bind.enough(abs(rows['burn_a'] / (rows['burn_a'] + rows['burn_b']) - 2 / 3) < 0.15, 'shares %r', rows)


def before_the_fork(seconds):
    burn_a(seconds)


@bind.test
def a_session_goes_on():
    for heap in (0, 1):
        with bind.folder() as folder:
            path = os.path.join(folder, 'api.json')
            session = bind.Session(rate_hz=250, heap=heap, after_fork=1, checkpoint=path.encode(), checkpoint_s=0.2)
            before_the_fork(0.1)
            pid = in_a_child(lambda: own_profile(session, 'before_the_fork'))
            burn_b(0.05)
            profile = session.stop()
            names = {row.name for row in profile.top(by_total=1)}
            bind.check('before_the_fork' in names and 'own_profile' not in names, 'the parent: %r', names)
            bind.equal(sorted(os.listdir(folder)), ['api.%d.json' % pid, 'api.json'])
            bind.equal([one['pid'] for one in documents(folder)], [pid, os.getpid()])


@bind.test
def a_session_ends():
    """By default: the child's token is of no session, and it has no thread of ours."""
    def dead(session):
        bind.fails(bind.STATE, '', session.stop)
        bind.equal(len(bind.tasks()), 1, 'threads')
        bind.Session(rate_hz=250).stop()   # it can have its own
    with bind.folder() as folder:
        session = bind.Session(rate_hz=250, heap=1, checkpoint=(folder + '/api.json').encode(), checkpoint_s=0.1)
        in_a_child(lambda: dead(session))
        session.stop()
        bind.equal(os.listdir(folder), ['api.json'])


@bind.test
def forks_beside_threads():
    """They allocate, start and stop sessions: whatever they hold when a child is made, that goes on."""
    over = []
    session = bind.Session(rate_hz=1000, heap=1, after_fork=1)

    def allocate():
        while not over:
            [bytearray(3000) for _ in range(200)]

    def sessions():
        while not over:
            other = bind.Session(rate_hz=500, after_fork=len(over) % 2)
            other.stop()

    def child(i):
        signal.alarm(40)   # a child that hangs ends by this
        keep = [bytearray(50000) for _ in range(20)]
        if i % 10 == 0:
            bind.Session(rate_hz=500).stop()
            bind.eventually(lambda: session.stats().samples >= 0, 'the session goes on', 30)
        del keep
    threads = [threading.Thread(target=target) for target in (allocate, allocate, sessions)]
    for thread in threads:
        thread.start()
    try:
        for i in range(bind.length(200, 100)):
            in_a_child(lambda: child(i))
    finally:
        over.append(1)
        for thread in threads:
            thread.join()
    session.stop()


if __name__ == '__main__':
    bind.run()
