"""Every way a program ends: what was recorded is in the files, all of it or up to the last checkpoint."""
import ctypes
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import bind

PRELOAD = os.path.join(bind.BUILD, 'libpyprof.so')
HERE = os.path.dirname(os.path.abspath(__file__))
WORK_S = bind.length(0.6, 0.15)   # CPU time of each program before it ends
PROGRAM = '''
import ctypes, os, signal, sys, threading, time
how, start, prefix, build, here, work, whole = sys.argv[1:8]
libc = ctypes.CDLL(None)
if start != 'preload':
    sys.argv = ['x', build]
    sys.path.insert(0, here)
    import bind
    session = ctypes.c_void_p()
    if start == 'env': bind.check(bind.released.pyprof_start_from_env(ctypes.byref(session)) == 0, 'not started')
    else:
        config = bind.Config(rate_hz=100, checkpoint=(prefix + '_profile.json').encode(), checkpoint_s=0.2)
        bind.check(bind.released.pyprof_start(ctypes.byref(config), ctypes.byref(session)) == 0, 'not started')
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
def strings(*words):
    return [ctypes.c_char_p(word) for word in words]
def vector(*words):
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
TRUE = %r
burn(float(work))
seen = set()
while not int(whole) and len(seen) < 3:   # what there is, and the next two: the second began after all that work
    seen.add(os.path.exists(prefix + '_profile.json') and os.stat(prefix + '_profile.json').st_mtime_ns)
    time.sleep(0.01)
def leave():
    if how == 'exit': libc.exit(5)
    if how == 'sys.exit': sys.exit(5)
    if how == 'exception': raise SystemError('on purpose')
    if how == '_exit': os._exit(5)
    if how == '_Exit': libc._Exit(5)
    if how == 'quick_exit': libc.quick_exit(5)
    if how == 'exit_group': libc.syscall(%d, 5)
    if how == 'execv': os.execv(TRUE, ['true'])
    if how == 'execve': os.execve(TRUE, ['true'], {})
    if how == 'execvp': libc.execvp(b'true', vector(b'true'))
    if how == 'execvpe': libc.execvpe(b'true', vector(b'true'), vector())
    if how == 'execl': libc.execl(*strings(TRUE.encode(), b'true', b'a', b'b'), None)
    if how == 'execlp': libc.execlp(*strings(b'true', b'true'), None)
    if how == 'execle': libc.execle(*strings(TRUE.encode(), b'true'), None, vector())
    if how == 'fexecve': libc.fexecve(os.open(TRUE, os.O_RDONLY), vector(b'true'), vector())
    if how == 'posix_spawn': os.waitpid(os.posix_spawn(TRUE, ['true'], {}), 0)
    if how == 'abort': libc.abort()
    if how == 'segv': getattr(libc, 'raise')(signal.SIGSEGV)
    if how == 'kill': os.kill(os.getpid(), signal.SIGKILL)
    if how == 'term': os.kill(os.getpid(), signal.SIGTERM)
    if how == 'raised again':
        def handler(number, frame):
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number) if hasattr(signal, 'raise_signal') else os.kill(os.getpid(), number)
        signal.signal(signal.SIGTERM, handler)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    if how == 'interrupt':
        print('ready', flush=True)
        time.sleep(20)
    if how in ('outside term', 'outside kill'):
        print('ready', flush=True)
        time.sleep(20)
    if how == 'thread exits': threading.Thread(target=lambda: os._exit(5)).start(); time.sleep(20)
    if how == 'sys.exit in a thread':
        thread = threading.Thread(target=sys.exit, args=(5,)); thread.start(); thread.join()
    if how == 'pthread_exit': libc.pthread_exit(None)
    if how == 'daemon' and libc.daemon(1, 1) == 0: burn(0.5)
leave()
'''
# name, exit code, is all of it there: with the preload library, otherwise
ENDINGS = [
    ('return', 0, 1, 1), ('exit', 5, 1, 1), ('sys.exit', 5, 1, 1), ('exception', 1, 1, 1), ('_exit', 5, 1, 0), ('_Exit', 5, 1, 0),
    ('quick_exit', 5, 1, 1), ('exit_group', 5, 0, 0), ('execv', 0, 1, 0), ('execve', 0, 1, 0), ('execvp', 0, 1, 0), ('execvpe', 0, 1, 0),
    ('execl', 0, 1, 0), ('execlp', 0, 1, 0), ('execle', 0, 1, 0), ('fexecve', 0, 1, 0), ('posix_spawn', 0, 1, 1), ('abort', -6, 1, 0),
    ('segv', -11, 1, 0), ('kill', -9, 1, 0), ('term', -15, 1, 0), ('raised again', -15, 1, 0), ('interrupt', -2, 1, 0),
    ('outside term', -15, 0, 0), ('outside kill', -9, 0, 0), ('thread exits', 5, 1, 0), ('sys.exit in a thread', 0, 1, 1),
    ('pthread_exit', 0, 1, 1), ('daemon', 0, 1, 0),
]
SIGNALS = {'interrupt': signal.SIGINT, 'outside term': signal.SIGTERM, 'outside kill': signal.SIGKILL}
EXIT_GROUP = {'x86_64': 231, 'aarch64': 94}.get(os.uname().machine)


def environment(start, prefix):
    env = {name: value for name, value in os.environ.items() if name != 'PROFILING' and not name.startswith('PYPROF_')}
    if start != 'api':
        env.update(PROFILING='1', PYPROF_OUT=prefix, PYPROF_INTERVAL='0.2', PYPROF_FORMATS='json,txt')
    if start == 'preload':
        env['LD_PRELOAD'] = PRELOAD
    return env


def run(folder, how, start, whole):
    """Runs a program to its end. Returns its exit code and what it wrote to stderr."""
    prefix = os.path.join(folder, how.replace(' ', '-') + '-' + start, 'run')
    os.mkdir(os.path.dirname(prefix))
    script = os.path.join(folder, 'app.py')
    process = subprocess.Popen([sys.executable, script, how, start, prefix, bind.BUILD, HERE, str(WORK_S), str(int(whole))], env=environment(start, prefix),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if how in SIGNALS:
        bind.equal(process.stdout.readline(), b'ready\n', how)
        time.sleep(0.1)
        process.send_signal(SIGNALS[how])
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError('%s, %s: hangs: %r' % (how, start, process.communicate()))
    return process.returncode, errors.decode('utf-8', 'replace'), prefix


def check(folder, how, start, code, whole):
    got, errors, prefix = run(folder, how, start, whole)
    what = '%s, %s' % (how, start)
    bind.equal(got, code, '%s: exit code (stderr %s)' % (what, errors))
    with open(prefix + '_profile.json', 'rb') as file:
        document = bind.strict_json(file.read())
    cpu = sum(one['cpu_time'] for name, one in document['functions'].items() if name.endswith('.burn'))
    bind.equal('checkpoint' in document, not whole, '%s: is it a checkpoint?' % what)
    bind.enough(cpu > WORK_S * bind.length(0.8, 0.5), '%s: %.2f s of CPU are in the file: %r', what, cpu, document['stats'])
    if start != 'api':
        with open(prefix + '_profile.txt', encoding='utf-8') as file:
            bind.equal('\nCheckpoint of 20' in file.read(), not whole, what)
    if whole:
        left = [name for name in os.listdir(os.path.dirname(prefix)) if not name.startswith('run')]
        bind.equal(left, [], '%s: left behind' % what)
    if start == 'preload' and how == 'daemon':
        bind.eventually(lambda: [name for name in glob.glob(prefix + '.*_profile.json')], 'the files of the daemon')


def check_all(start, endings):
    if start == 'preload' and not os.path.exists(PRELOAD):
        bind.skip('no ' + PRELOAD)
    with bind.folder() as folder:
        with open(os.path.join(folder, 'app.py'), 'w') as file:
            file.write(PROGRAM % (shutil.which('true'), EXIT_GROUP))
        failed, wrong, waiting = [], [], list(endings)   # wrong: not for want of a CPU

        def work():
            while waiting:
                how, code, preloaded, otherwise = waiting.pop(0)
                try:
                    check(folder, how, start, code, preloaded if start == 'preload' else otherwise)
                except BaseException as error:
                    failed.append('%s, %s: %r' % (how, start, error))
                    wrong.extend([] if isinstance(error, bind.Far) else [how])
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bind.check(not wrong, '%s', '\n'.join(failed))
        bind.enough(not failed, '%s', '\n'.join(failed))


@bind.test(limit=240)
def with_the_preload_library():
    check_all('preload', [one for one in ENDINGS if bind.length(True, one[0] in MORE)])


FEW = ('return', '_exit', 'execv', 'abort', 'outside term')
MORE = ('return', '_exit', 'exit_group', 'execv', 'execvpe', 'posix_spawn', 'abort', 'segv', 'raised again', 'outside term',
        'thread exits', 'pthread_exit')


@bind.test(limit=240)
def started_from_the_environment():
    check_all('env', [one for one in ENDINGS if bind.length(True, one[0] in FEW)])


@bind.test(limit=240)
def with_a_checkpoint_of_the_api():
    check_all('api', [one for one in ENDINGS if bind.length(True, one[0] in FEW)])


@bind.test
def an_exec_that_fails():
    """It goes on recording, to the same files."""
    with bind.folder() as folder:
        text = os.path.join(folder, 'text')
        with open(text, 'w') as file:
            file.write('no program\n')
        os.chmod(text, 0o755)
        with open(os.path.join(folder, 'app.py'), 'w') as file:
            file.write('import os, time\n'
                       'def before(end=time.thread_time() + 0.3):\n    while time.thread_time() < end: pass\n'
                       'def after():\n    end = time.thread_time() + 0.5\n    while time.thread_time() < end: pass\n'
                       'before()\n'
                       'for path in (%r, "/nowhere/x"):\n'
                       '    try: os.execv(path, ["x"])\n'
                       '    except OSError as error: print(error.errno)\n'
                       'after()\n' % text)
        process = subprocess.run([sys.executable, os.path.join(folder, 'app.py')], env=environment('preload', os.path.join(folder, 'run')),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        bind.equal((process.returncode, process.stdout), (0, b'8\n2\n'), process.stderr)
        with open(os.path.join(folder, 'run_profile.json'), 'rb') as file:
            document = bind.strict_json(file.read())
        bind.check(document['functions']['app.before']['cpu_time'] > 0.15 and document['functions']['app.after']['cpu_time'] > 0.3,
                   '%r', document['functions'])
        bind.check('checkpoint' not in document and len(glob.glob(os.path.join(folder, '*.json'))) == 1, 'files %r', os.listdir(folder))


@bind.test
def an_unchanged_session_writes_nothing():
    with bind.folder() as folder:
        path = os.path.join(folder, 'a.json')
        session = bind.Session(rate_hz=100, checkpoint=path.encode(), checkpoint_s=0.1)
        bind.eventually(lambda: os.path.exists(path), 'the first checkpoint')
        session.pause()
        time.sleep(0.5)
        before = os.stat(path)
        time.sleep(0.5)
        after = os.stat(path)
        bind.equal((after.st_ino, after.st_mtime_ns), (before.st_ino, before.st_mtime_ns), 'the file')
        session.resume()
        bind.eventually(lambda: os.stat(path).st_ino != before.st_ino or os.stat(path).st_mtime_ns != before.st_mtime_ns, 'another one')
        session.stop()
        with open(path, 'rb') as file:
            bind.check('checkpoint' not in bind.strict_json(file.read()), 'at the end it is whole')


@bind.test
def a_checkpoint_that_cannot_be_written():
    for path, code in ((b'/nowhere/a.json', bind.IO), (b'/tmp/a.unknown', bind.FORMAT), (b'/tmp/%x.json', bind.ARGUMENT)):
        session = ctypes.c_void_p()
        config = bind.Config(rate_hz=100, checkpoint=path)
        bind.equal(bind.released.pyprof_start(ctypes.byref(config), ctypes.byref(session)), code, path.decode())
        bind.check(path.decode() in bind.text(bind.released.pyprof_last_error()), 'the error names it: %r', bind.released.pyprof_last_error())


@bind.test
def names_with_pid_time_and_host():
    with bind.folder() as folder:
        session = bind.Session(rate_hz=100, checkpoint=(folder + '/%p_%h_%%.json').encode(), checkpoint_s=0.1)
        bind.eventually(lambda: os.listdir(folder), 'a file')
        session.stop()
        bind.equal(os.listdir(folder), ['%d_%s_%%.json' % (os.getpid(), os.uname().nodename)])


if __name__ == '__main__':
    bind.run()
