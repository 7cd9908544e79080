"""Processes below a profiled one: each that goes on in Python has files of its own, however it was made."""
import ctypes
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
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
    burn_a(2 * SECONDS)
    burn_b(SECONDS)
    KEEP.extend(bytearray(250000) for i in range(40))
    with open('done', 'a') as file: file.write('%d ' % os.getpid())
    time.sleep(0.05)   # makes others of a pool take the next one
'''.replace('SECONDS', str(bind.length(0.1, 0.05)))
RATE_HZ = bind.length(250, 500)   # as many samples of a job


def environment(**variables):
    """PROFILING=1 and the preload library; a variable that is None is not set."""
    if not os.path.exists(PRELOAD):
        bind.skip('no %s (it is built from examples/preload.c)' % PRELOAD)
    env = {name: value for name, value in os.environ.items() if name != 'PROFILING' and not name.startswith('PYPROF_')}
    env.update(LD_PRELOAD=PRELOAD, PROFILING='1', PYPROF_OUT='run', PYPROF_RATE=str(RATE_HZ), PYPROF_FORMATS='json,txt')
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
    bind.enough(a > 0 and b > 0, '%s: burn_a %g s, burn_b %g s of %r', what, a, b, one['functions'])
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
        # It is tracked once it is sure to go on: on a busy machine that can come after it has allocated.
        bind.enough(stats['heap_live_bytes'] > 3e6, '%s, pid %d: %r', folder, pid, stats)
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
        for process, took in [(process, float(end(process)[0])) for process in running]:
            one, = documents(process.folder, 'run.*.json')
            bind.enough(one['functions']['app.tight']['cpu_time'] > 0.5 * took, '%s: %g s of %r', process.folder, took, one['functions'])


STARTS = '''
import ctypes
LIBC = ctypes.CDLL(None, use_errno=True)
CHILD = [sys.executable, 'child.py']
def in_fork(call):
    pid = os.fork()
    if pid == 0:
        try: call()
        finally: os._exit(9)
    return os.waitpid(pid, 0)[1]
def strings(items): return (ctypes.c_char_p * (len(items) + 1))(*[os.fsencode(item) for item in items], None)
def spawn(name, path):
    pid = ctypes.c_int()
    if LIBC[name](ctypes.byref(pid), os.fsencode(path), None, None, strings(CHILD + [name]), strings([])): return 9
    return os.waitpid(pid.value, 0)[1]
def popen():
    LIBC.popen.restype = ctypes.c_void_p
    return LIBC.pclose(ctypes.c_void_p(LIBC.popen(b"exec '%s' child.py popen" % os.fsencode(sys.executable), b'w')))
def run(name, env): return subprocess.call(CHILD + [name], env=env)
def list_of(name): return [os.fsencode(sys.executable)] * 2 + [b'child.py', name, None]
FILE = os.open(sys.executable, os.O_RDONLY)
CALLS = {
    'subprocess': lambda: run('subprocess', {}),
    'preexec': lambda: subprocess.call(CHILD + ['preexec'], env={}, preexec_fn=lambda: None),
    'other': lambda: run('other', {'LD_PRELOAD': 'libdl.so.2', 'PYPROF_RATE': '100'}),
    'posix_spawn': lambda: spawn('posix_spawn', sys.executable),
    'posix_spawnp': lambda: spawn('posix_spawnp', sys.executable),
    'execve': lambda: in_fork(lambda: os.execve(sys.executable, CHILD + ['execve'], {})),
    'execvpe': lambda: in_fork(lambda: os.execvpe(sys.executable, CHILD + ['execvpe'], {})),
    'libc_execvpe': lambda: in_fork(lambda: LIBC.execvpe(os.fsencode(sys.executable), strings(CHILD + ['libc_execvpe']), strings([]))),
    'execle': lambda: in_fork(lambda: LIBC.execle(*list_of(b'execle') + [strings([])])),
    'fexecve': lambda: in_fork(lambda: os.execve(FILE, CHILD + ['fexecve'], {})),
    'execveat': lambda: in_fork(lambda: LIBC.execveat(-100, os.fsencode(sys.executable), strings(CHILD + ['execveat']), strings([]), 0)),
    'env': lambda: subprocess.call(['env', '-i'] + CHILD + ['env']),
    'off': lambda: run('off', {'PROFILING': '0'}),
}
CLEARED = {   # once the program itself has no variable any more
    'system': lambda: os.system("exec '%s' child.py system" % sys.executable),
    'popen': popen,
    'execv': lambda: in_fork(lambda: os.execv(sys.executable, CHILD + ['execv'])),
    'execl': lambda: in_fork(lambda: LIBC.execl(*list_of(b'execl'))),
    'inherited': lambda: run('inherited', None),
}
def call(name, function):
    status = function()
    if status: sys.exit('%s: %r' % (name, status))
signal.alarm(100)
wanted = WANTED or sorted(CALLS) + sorted(CLEARED)
for name in wanted:
    if name in CALLS: call(name, CALLS[name])
os.environ.clear()
for name in wanted:
    if name in CLEARED: call(name, CLEARED[name])
'''


def starts(folder, wanted=None, **variables):
    """name of the start: (pid, its file or None, its LD_PRELOAD)."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'child.py'), 'w') as file:
        file.write(WORK + 'signal.alarm(60)\nburn_a(%g)\nopen(sys.argv[1] + ".did", "w").write("%%d %%s" %% (os.getpid(), os.environ.get("LD_PRELOAD", "")))\n' % (30 / RATE_HZ))
    # Neither a quote nor a blank in the name of the output may end a variable.
    end(start(folder, 'WANTED = %r\n' % wanted + STARTS, PYPROF_OUT=os.path.join(os.path.abspath(folder), "it's a run"), PYPROF_FORMATS='json', **variables))
    found = {one['pid']: one for one in documents(folder)}
    told = {}
    for path in glob.glob(os.path.join(folder, '*.did')):
        with open(path) as file:
            pid, preload = file.read().split(' ', 1)
        told[os.path.basename(path)[:-4]] = int(pid), found.get(int(pid)), preload
    return told


# make test leaves out those that end in the same function of the C library as another one.
SOME_STARTS = bind.length(None, ['subprocess', 'other', 'posix_spawn', 'execve', 'libc_execvpe', 'execle', 'fexecve', 'execveat', 'env', 'off',
                                 'system', 'popen', 'execv', 'inherited'])


@bind.test(limit=200)
def environments_of_their_own():
    """A child whose environment the program made, or that the program itself has cleared, is profiled all the same."""
    with bind.folder() as folder:
        told = starts(folder, SOME_STARTS)
    bind.equal(len(told), len(SOME_STARTS or range(18)), 'children: %r' % sorted(told))
    for name, (pid, one, preload) in told.items():
        bind.equal(one is None, name == 'off', 'no file of %s, pid %d' % (name, pid))
        bind.enough(name == 'off' or any(key.endswith('burn_a') for key in one['functions']), '%s: %r', name, one and one['functions'])
    bind.equal(told['other'][2], PRELOAD + ':libdl.so.2', 'LD_PRELOAD with another library')
    bind.equal(told['off'][2], '', 'LD_PRELOAD of a child that is not to be profiled')


@bind.test(limit=200)
def environments_are_left_alone():
    wanted = ['execvpe', 'posix_spawn', 'subprocess', 'system']
    with bind.folder() as folder:
        told = starts(folder, wanted, PYPROF_FOLLOW='0')
    # A forked child that waits long for a CPU before its exec writes a file, as it should; the program that it executes does not.
    ran = {name: bool(one) and any(key.endswith('burn_a') for key in one['functions']) for name, (_, one, _) in told.items()}
    bind.equal(sorted((name, ran[name], preload) for name, (_, _, preload) in told.items()), [(name, False, '') for name in wanted], 'children')


MERGED = '''
def hot_main(): job()
def hot_fork(unused=None): job()
def hot_spawn(unused=None): job()
def hot_server(unused=None): job()
def hot_pool(unused=None): job()
if __name__ == '__main__':
    import concurrent.futures, multiprocessing
    signal.alarm(100)
    fork, spawn, server = map(multiprocessing.get_context, ('fork', 'spawn', 'forkserver'))
    workers = [fork.Process(target=hot_fork), spawn.Process(target=hot_spawn), server.Process(target=hot_server)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as pool: pool.submit(hot_pool).result()
    hot_main()
'''


def sums(one):
    """What a recording has in all, of numbers that a join of recordings adds."""
    threads, stats = one['threads'], one['stats']
    found = {'threads': len(threads)}
    for name in 'samples', 'wall_ns', 'cpu_ns':
        found[name] = sum(thread.get(name, 0) for thread in threads)
    for name in 'asked', 'samples', 'missed', 'heap_samples', 'heap_live_bytes', 'heap_live_blocks':
        found['stats.' + name] = stats[name]
    return found


@bind.test(limit=200)
def files_are_joined():
    """pyprof merge makes one recording of the files of all processes: its sums are theirs, and each keeps its functions."""
    program = os.path.join(bind.BUILD, 'pyprof')
    if not os.path.exists(program):
        bind.skip('no %s' % program)
    with bind.folder() as folder:
        end(start(folder, MERGED, PYPROF_FORMATS='json'))
        parts = {one['pid']: one for one in documents(folder)}
        bind.check(len(did(folder)) == 5 and set(did(folder)) <= set(parts), 'files of %r, work of %r', sorted(parts), did(folder))
        files = sorted(glob.glob(os.path.join(folder, '*_profile.json')))
        bind.equal(len(files), len(parts), 'files')
        for name in 'joined.json', 'joined.folded':
            subprocess.check_call([program, 'merge'] + files + ['-o', os.path.join(folder, name)], stdin=subprocess.DEVNULL)
        joined, want = document(folder, 'joined.json'), {}
        for one in parts.values():
            for name, value in sums(one).items():
                want[name] = want.get(name, 0) + value
        bind.equal(sums(joined), want, 'sums of %d files' % len(files))
        bind.equal({one['pid'] for one in joined['processes']}, set(parts), 'processes')
        hot = {}
        for line in text(folder, 'joined.folded').splitlines():
            for name in re.findall(r'\bhot_(\w+);', line):
                hot.setdefault(name, set()).add(int(re.search(r'\((\d+)', line).group(1)))
        bind.equal(sorted(hot), ['fork', 'main', 'pool', 'server', 'spawn'], 'functions')
        bind.equal(sorted(pid for pids in hot.values() for pid in pids), did(folder), 'processes with such a function: %r' % hot)


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
            bind.equal(children[pids[2]]['exit_status'], 1, 'false')
            bind.enough(not children[pids[2]]['profiled'], 'false was in Python for long before its exec')
            bind.equal(children[pids[3]]['exit_status'], None, 'of the one that lives')
            told = text(process.folder, 'run_profile.txt')
            for pid, words in zip(pids, ('profiled, exit status 3', 'profiled, ended by signal 15', 'not profiled, exit status 1', 'end not known')):
                bind.check(re.search(r'%d\b.*%s' % (pid, words), told), '%d, %s: %s', pid, words, told)


@bind.test
def sampler_without_cpu():
    """Children that end before their sampler thread had a CPU: each has its file, with a sample."""
    body = ('cpu = min(os.sched_getaffinity(0))\n'
            'os.sched_setaffinity(0, {cpu})\n'
            'pids = []\n'
            'for how in "forked", "spawned":\n'
            '    pid = os.fork()\n'
            '    if not pid:\n'
            '        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\n'   # from now on no other thread runs on this CPU
            '        if how == "spawned": os.execv(sys.executable, [sys.executable, "child.py"])\n'
            '        burn_a(0.1)\n'
            '        os._exit(3)\n'
            '    os.waitpid(pid, 0)\n'
            '    pids.append(pid)\n'
            'print(*pids)\n')
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, *before)
    except OSError as error:
        bind.skip('a thread cannot be made to keep its CPU: %s' % error)
    with bind.folder() as folder:
        with open(os.path.join(folder, 'child.py'), 'w') as file:
            file.write(WORK + 'burn_a(0.1)\n')
        process = start(folder, body, PYPROF_HEAP='off')
        pids = list(map(int, end(process)[0].split()))
        children = {child['pid']: child for child in document(folder)['children']}
        bind.equal([(children[pid]['profiled'], children[pid]['exit_status']) for pid in pids], [(True, 3), (True, 0)])
        for pid in pids:
            bind.check(document(folder, 'run.%d_profile.json' % pid)['stats']['asked'] > 0, 'pid %d has no sample', pid)


@bind.test
def gone_at_once():
    """A child that exits or execs at once has no files, and no thread that would hold it up."""
    body = ('def child(how):\n'
            '    pid = os.fork()\n'
            '    if pid: return pid\n'
            '    if how == 0: os._exit(0)\n'
            '    if how == 1: os.execv("/bin/true", ["true"])\n'
            '    os.kill(os.getpid(), signal.SIGKILL)\n'
            'longest = 0\n'
            'for i in range(18):\n'
            '    begin = time.monotonic()\n'
            '    os.waitpid(child(i % 3), 0)\n'
            '    longest = max(longest, time.monotonic() - begin)\n'
            'for i in range(6): subprocess.run(["true"])\n'
            'burn_a(0.1)\n'
            'print(longest)\n')
    with bind.folder() as folder:
        running = [start(os.path.join(folder, heap), body, PYPROF_HEAP=heap) for heap in ('off', 'sampled')]
        for process in running:
            longest = float(end(process)[0])
            bind.enough(longest < 0.2, 'a child lived for %.2f s: after 0.25 s it writes files', longest)
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


HEAP_ON = 2


def own_profile(session, first, heap):
    """In a child: its token, and with that a recording of its own."""
    if heap:
        bind.equal(session.stats().heap_state, HEAP_ON, 'memory: the hooks are those of the parent')
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
            if heap:
                bind.eventually(lambda: session.stats().heap_state == HEAP_ON, 'memory is tracked', 20)
            pid = in_a_child(lambda: own_profile(session, 'before_the_fork', heap))
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
            session.stats()   # its token is good at once
        del keep
    threads = [threading.Thread(target=target) for target in (allocate, allocate, sessions)]
    for thread in threads:
        thread.start()
    try:
        for i in range(bind.length(200, 20)):
            in_a_child(lambda: child(i))
    finally:
        over.append(1)
        for thread in threads:
            thread.join()
    session.stop()


# --- names ------------------------------------------------------------------------------------------------------------

@bind.test
def a_pid_comes_again():
    """Nothing is overwritten: a number is added. In a pid namespace: other programs get no strange pids."""
    space = ['unshare', '--pid', '--fork', '--mount-proc']
    if not shutil.which('unshare') or subprocess.run(space + ['sh', '-c', 'echo 9 >/proc/sys/kernel/ns_last_pid'], stderr=subprocess.DEVNULL).returncode:
        bind.skip('pids cannot be chosen: needs root, and %s' % ' '.join(space))
    body = ('def again(pid, made):\n'
            '    for i in range(1000):\n'
            '        with open("/proc/sys/kernel/ns_last_pid", "w") as file: file.write(str(pid - 1))\n'
            '        child = made(i)\n'
            '        if child: return child\n'
            'def forked(i):\n'
            '    child = os.fork()\n'
            '    if not child:\n'
            '        if os.getpid() == PID: job()\n'
            '        os._exit(0)\n'
            '    os.waitpid(child, 0)\n'
            '    return child if child == PID else None\n'
            'PID = os.fork()\n'
            'if not PID:\n'
            '    job()\n'
            '    os._exit(0)\n'
            'os.waitpid(PID, 0)\n'
            'for i in range(2): again(PID, forked)\n'
            'print(PID)\n')
    with bind.folder() as folder:
        process = start(folder, body, command=space + [sys.executable, 'app.py'])
        pid = int(end(process)[0])
        bind.equal(text(folder, 'done').split(), [str(pid)] * 3, 'jobs')
        names = sorted(name for name in os.listdir(folder) if name.endswith('.json'))
        bind.equal(names, sorted('run%s_profile.json' % tag for tag in ('', '.%d' % pid, '.%d-1' % pid, '.%d-2' % pid)))
        for one in documents(folder, 'run.*.json'):
            bind.equal(one['pid'], pid)
            check_share(one, 'pid %d' % pid)


@bind.test
def a_name_is_taken():
    """Files of that name are there already: before a child begins, and before a program replaces itself."""
    child = 'echo theirs >run.$$_profile.json; exec "%s" -c "exec(open(\'work.py\').read()); job()"' % sys.executable
    body = 'if not os.path.exists("done"):\n    job()\n    os.execv(sys.executable, [sys.executable, __file__])\njob()\n'
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, 'child'))
        with open(os.path.join(folder, 'child', 'work.py'), 'w') as file:
            file.write(WORK)
        taken = start(os.path.join(folder, 'child'), 'process = subprocess.Popen(["sh", "-c", %r])\nprint(process.pid)\nprocess.wait()\nburn_a(0.1)\n' % child)
        itself = start(os.path.join(folder, 'exec'), body)
        pid = int(end(taken)[0])
        bind.equal(text(taken.folder, 'run.%d_profile.json' % pid), 'theirs\n')
        check_share(document(taken.folder, 'run.%d-1_profile.json' % pid), 'the child')
        end(itself)
        for name in ('run', 'run.%d' % itself.pid):
            one = document(itself.folder, name + '_profile.json')
            bind.equal(one['pid'], itself.pid)
            check_share(one, name)


@bind.test
def runs_after_each_other():
    """Those of one command are all kept; the next command begins anew."""
    command = ['sh', '-c', 'for i in 1 2; do "%s" app.py; done' % sys.executable]
    with bind.folder() as folder:
        seen = []
        for i in (1, 2):
            end(start(folder, 'job()\nprint(os.getpid())\n', command=command))
            pids = did(folder)
            os.unlink(os.path.join(folder, 'done'))
            bind.equal(len(pids), 2)
            found = {one['pid'] for one in documents(folder)}
            bind.check(set(pids) <= found, 'command %d: processes %r, files of %r', i, pids, found)
            bind.check(document(folder)['pid'] in pids, 'command %d: the plain name is of %d, not one of %r', i, document(folder)['pid'], pids)
            seen.append(document(folder)['pid'])
        bind.equal(len(glob.glob(os.path.join(folder, '*.json'))), 3, 'the first of the first command is replaced: %r' % os.listdir(folder))


# --- what is said ---------------------------------------------------------------------------------------------------

@bind.test
def children_say_nothing():
    """What a program captures of them is what they print; the first process speaks, unless it is told not to."""
    body = ('import multiprocessing\n'
            'if __name__ == "__main__":\n'
            '    done = subprocess.run([sys.executable, "-c", "import time; time.sleep(0.1); print(1)"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n'
            '    print(done.stdout, done.stderr)\n'
            '    sys.stdout.flush()\n'
            '    if not os.fork():\n'
            '        burn_a(0.1)\n'
            '        os._exit(0)\n'
            '    os.wait()\n'
            '    worker = multiprocessing.get_context("spawn").Process(target=burn_a, args=(0.1,))\n'
            '    worker.start()\n'
            '    worker.join()\n')
    with bind.folder() as folder:
        running = [start(os.path.join(folder, 'quiet' if quiet else 'loud'), body, PYPROF_QUIET=quiet) for quiet in (None, '1')]
        for process in running:
            out, err = end(process)
            bind.equal(out, "b'1\\n' b''\n")
            bind.check(not os.path.exists(os.path.join(process.folder, 'run.log')), 'run.log')
            lines = err.splitlines()
            if process is running[1]:
                bind.equal(lines, [])
                continue
            bind.equal([line for line in lines if 'profiling pid' in line], [line for line in lines if 'profiling pid %d ' % process.pid in line], err)
            bind.equal(sorted(line.rsplit('/', 1)[1] for line in lines if line.startswith('pyprof: wrote')),
                       ['run_memory_final.txt', 'run_memory_snapshot.pkl', 'run_memory_snapshot.txt', 'run_profile.json', 'run_profile.txt'])


@bind.test
def problems_of_children():
    """They stand in PREFIX.log: a folder that cannot be written, a bad value."""
    body = ('for name, value in (("PYPROF_OUT", "/nowhere/run"), ("PYPROF_RATE", "many")):\n'
            '    environment = dict(os.environ)\n'
            '    environment[name] = value\n'
            '    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.1)"], env=environment)\n'
            '    print(process.pid)\n'
            '    process.wait()\n'
            'burn_a(0.1)\n')
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, 'temp'))
        out, err = end(start(folder, body, TMPDIR=os.path.join(folder, 'temp')))
        first, second = out.split()
        bind.check('nowhere' not in err and 'many' not in err, 'stderr: %s', err)
        log = text(folder, 'run.log').splitlines()
        bind.check(any(line.startswith('pid %s: ' % first) and '/nowhere/run' in line and folder in line for line in log), 'run.log: %r', log)
        bind.check(any(line.startswith('pid %s: ' % second) and 'PYPROF_RATE=many' in line for line in log), 'run.log: %r', log)
        bind.check(os.listdir(os.path.join(folder, 'temp')), 'the files of the first child')


@bind.test
def no_warning_of_forks():
    """CPython 3.12 and later warn of a fork where there are other threads: ours are not meant."""
    body = ('import multiprocessing, warnings\n'
            'def child():\n'
            '    job()\n'
            'pid = os.fork()\n'
            'if not pid:\n'
            '    job()\n'
            '    os._exit(0)\n'
            'os.waitpid(pid, 0)\n'
            'worker = multiprocessing.get_context("fork").Process(target=job)\n'
            'worker.start()\n'
            'worker.join()\n'
            'if sys.version_info >= (3, 12):\n'
            '    thread = threading.Thread(target=time.sleep, args=(1,))\n'
            '    thread.start()\n'
            '    warnings.simplefilter("always")\n'
            '    with warnings.catch_warnings(record=True) as caught:\n'
            '        pid = os.fork()\n'
            '        if not pid: os._exit(0)\n'
            '    os.waitpid(pid, 0)\n'
            '    print(len(caught))\n')
    with bind.folder() as folder:
        out, _ = end(start(folder, body, options=['-W', 'error::DeprecationWarning'], PYPROF_QUIET='1'))
        bind.equal(out, '1\n' if sys.version_info >= (3, 12) else '', 'a thread of its own is worth a warning')
        bind.equal(len(did(folder)), 2)


# --- Python that comes late -----------------------------------------------------------------------------------------------

HOST = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static const char *how, *name, *work;
static void *library;
static void *of(const char *symbol)
{
    void *found = dlsym(library, symbol);
    if (!found) { fprintf(stderr, "no %s\n", symbol); exit(9); }
    return found;
}
static void load(int mode)
{
    library = dlopen(name, RTLD_NOW | mode);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); exit(8); }
}
static void run(void)
{
    ((void (*)(int))of("Py_InitializeEx"))(0);
    ((int (*)(const char *, void *))of("PyRun_SimpleStringFlags"))(work, NULL);
    ((int (*)(void))of("Py_FinalizeEx"))();
}
static void *on_a_thread(void *unused)
{
    int state = ((int (*)(void))of("PyGILState_Ensure"))();
    ((int (*)(const char *, void *))of("PyRun_SimpleStringFlags"))(work, NULL);
    ((void (*)(int))of("PyGILState_Release"))(state);
    return unused;
}
int main(int argc, char **argv)
{
    if (argc < 4) return 7;
    how = argv[1]; name = argv[2]; work = argv[3];
    if (!strcmp(how, "deep")) { load(RTLD_LOCAL | RTLD_DEEPBIND); run(); }
    else if (!strcmp(how, "global")) { load(RTLD_GLOBAL); run(); }
    else if (!strcmp(how, "again")) { load(RTLD_LOCAL); dlclose(library); load(RTLD_LOCAL); run(); }
    else if (!strcmp(how, "never")) { load(RTLD_LOCAL); usleep((useconds_t)(atof(work) * 1e6)); }
    else if (!strcmp(how, "fork")) {
        pid_t pid = fork();
        if (!pid) { load(RTLD_LOCAL); run(); exit(0); }
        printf("%d\n", (int)pid);
        wait(NULL);
    } else if (!strcmp(how, "leaves")) {
        pthread_t thread;
        load(RTLD_LOCAL);
        ((void (*)(int))of("Py_InitializeEx"))(0);
        ((void *(*)(void))of("PyEval_SaveThread"))();
        pthread_create(&thread, NULL, on_a_thread, NULL);
        pthread_detach(thread);
        pthread_exit(NULL);
    } else { load(RTLD_LOCAL); run(); }
    return 0;
}
'''


LATE = WORK.replace(' signal, subprocess, sys, threading,', '')   # extension modules want a global libpython


def libpython():
    """The path of the shared library of this Python."""
    get = sysconfig.get_config_var
    for path in [os.path.join(get('LIBDIR') or '', get(name) or '-') for name in ('INSTSONAME', 'LDLIBRARY')]:
        if '.so' in path and os.path.exists(path):
            return path
    bind.skip('no shared libpython of %s' % sys.executable)


def host(folder):
    """Compiles HOST. It looks for libraries in lib beside it, where libpython has another name."""
    compiler = shutil.which(os.environ.get('CC', 'cc').split()[0])
    if not compiler:
        bind.skip('no C compiler')
    path = os.path.join(folder, 'host')
    with open(path + '.c', 'w') as file:
        file.write(HOST)
    subprocess.run([compiler, path + '.c', '-o', path, '-pthread', '-ldl', '-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib'], check=True)
    os.mkdir(os.path.join(folder, 'lib'))
    os.symlink(libpython(), os.path.join(folder, 'lib', 'libsnake.so'))
    return path


def start_host(program, folder, how, library, work=LATE + 'job()\n', **variables):
    variables.setdefault('PYTHONHOME', sys.base_prefix)
    return start(os.path.join(os.path.dirname(program), folder), '', command=[program, how, library, work], **variables)


@bind.test
def python_comes_late():
    path = libpython()
    with bind.folder() as folder:
        program = host(folder)
        running = [start_host(program, *arguments, **variables) for arguments, variables in (
            (('local', 'local', path), {}),
            (('deep', 'deep', path), {}),
            (('global', 'global', path), {}),
            (('again', 'again', path), {}),
            (('by name', 'local', os.path.basename(path)), {'LD_LIBRARY_PATH': os.path.dirname(path)}),
            (('by the RUNPATH', 'local', 'libsnake.so'), {}))]
        for process in running:
            out, err = end(process)
            check_share(document(process.folder), process.folder)
            bind.equal(sorted(os.listdir(process.folder)), ['app.py', 'done'] + ['run_' + name for name in (
                'memory_final.txt', 'memory_snapshot.pkl', 'memory_snapshot.txt', 'profile.json', 'profile.txt')], process.folder)
            bind.check('profiling pid %d ' % process.pid in err, '%s: %s', process.folder, err)


@bind.test
def python_comes_in_a_child():
    """As in PostgreSQL: the child writes files of its own name, and says nothing. Or it never comes."""
    path = libpython()
    with bind.folder() as folder:
        program = host(folder)
        forks = start_host(program, 'fork', 'fork', path)
        begin = time.monotonic()
        short, long = (start_host(program, 'never ' + work, 'never', path, work) for work in ('0', '2.1'))
        out, err = end(short)
        if time.monotonic() - begin < 1.9:
            bind.equal((out, err), ('', ''), 'gone soon')
        out, err = end(forks)
        bind.equal(err, '')
        check_share(document(forks.folder, 'run.%d_profile.json' % int(out)), 'the child')
        bind.equal([name for name in os.listdir(forks.folder) if name.startswith('run_')], [], 'files of the parent')
        out, err = end(long)
        bind.check(out == '' and len(err.splitlines()) == 1 and str(long.pid) in err and 'Python' in err, 'never: %r', err)
        for process in (short, long):
            bind.equal(os.listdir(process.folder), ['app.py'])


# --- the main thread leaves first -----------------------------------------------------------------------------------

@bind.test
def the_main_thread_leaves():
    """The process ends with its last own thread, and its files are whole."""
    path = libpython()
    with bind.folder() as folder:
        process = start_host(host(folder), 'leaves', 'leaves', path)
        end(process)
        one = document(process.folder)
        check_share(one, 'the thread')
        bind.check('checkpoint' not in one, 'it is whole')


@bind.test
def only_our_threads_are_left():
    """Such a process ends by itself, and certainly when it is told to."""
    body = ('import ctypes\n'
            'sys.argv = ["x", %r]\n'
            'sys.path.insert(0, %r)\n'
            'import bind\n'
            'session = bind.Session(rate_hz=100)\n'
            'print("ready", flush=True)\n'
            'ctypes.CDLL(None).pthread_exit(None)\n' % (bind.BUILD, HERE))
    with bind.folder() as folder:
        running = [start(os.path.join(folder, which), body, LD_PRELOAD=None, PROFILING=None) for which in ('alone', 'told')]
        for process in running:
            bind.equal(process.stdout.readline(), b'ready\n')
        running[1].send_signal(signal.SIGTERM)
        for process in running:
            process.communicate(timeout=50)
        bind.check(running[0].returncode == 0 and running[1].returncode in (0, -15), 'exit codes %r', [process.returncode for process in running])


if __name__ == '__main__':
    bind.run()
