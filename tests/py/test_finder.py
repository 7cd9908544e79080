"""Finding CPython in any other process, what its C library tells, and what is said when a right is missing."""
import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import bind

NOBODY = 65534
OWN = os.path.realpath(sys.executable)
SID = os.path.realpath(os.path.expanduser(os.environ.get('SID') or os.path.join(os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'pyprof/sid')))

# A target: three threads that come and go, and their numbers on the standard output.
TARGET = '''
import sys, threading, time
def work():
    while True: sum(range(2000)); time.sleep(0.002)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.daemon = True; thread.start()
native = getattr(threading, 'get_native_id', int)
print(threading.get_ident(), native(), *[part for thread in threads for part in (thread.ident, thread.native_id)])
sys.stdout.flush()
time.sleep(600)
'''

# One thread, nothing but built-in modules.
ALONE = '''
import _thread, os, sys, time
print(_thread.get_ident(), os.getpid())
sys.stdout.flush()
time.sleep(600)
'''


def target_of(pid):   # facts, or (code, message)
    text = ctypes.create_string_buffer(16384)
    code = bind.released.pyprof_test_target(ctypes.c_int64(pid), text, ctypes.c_size_t(len(text)))
    told = text.value.decode('utf-8', 'replace')
    return json.loads(told) if code == 0 else (code, told)


def refused(pid, code, *words):
    found = target_of(pid)
    bind.check(isinstance(found, tuple), 'process %d was opened: %r', pid, found)
    bind.check(found[0] == code, '%r: not %s', found, bind.RESULTS[code])
    for word in words:
        bind.check(re.search(word, found[1]), '%r does not say %r', found[1], word)
    bind.check(len(found[1]) < 500, 'the message is long: %r', found[1])


def found(pid, version=None, **facts):
    target = target_of(pid)
    bind.check(isinstance(target, dict), '%r', target)
    if version:
        bind.equal(target['version'], version, 'version')
    bind.equal(target['leaked'], 0, 'memory left')
    for name, value in facts.items():
        bind.equal(target[name], value, name)
    return target


def command_of(python, code=TARGET):
    return [python, '-c', code]


@contextlib.contextmanager
def started(command, ready=True, **options):   # the process and the words of its first line
    with open(os.devnull) as nothing:
        process = subprocess.Popen(command, stdin=nothing, stdout=subprocess.PIPE, **options)
    try:
        line = process.stdout.readline().decode() if ready else ''
        if ready and not line:
            bind.skip('%s does not start here' % command[0])
        yield process, line.split()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def recorded(pid):   # a profile with samples
    session = bind.Session(pid=pid, rate_hz=200)
    bind.eventually(lambda: session.stats().samples > 30, 'samples')
    return session.stop()


def descendants(pid):
    below = []
    for task in glob.glob('/proc/%d/task/*/children' % pid):
        with contextlib.suppress(OSError), open(task) as file:
            below += [int(child) for child in file.read().split()]
    return below + [pid for child in below for pid in descendants(child)]


def as_user(function, user=NOBODY, caps=True):   # in a child with this user: its exception's text, '' = none
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        told = 'it did not end'
        try:
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            function()
            told = ''
        except BaseException as error:
            told = '%s: %s' % (type(error).__name__, error)
        os.write(write, told.encode())
        os._exit(0)
    os.close(write)
    with open(read) as file:
        told = file.read()
    os.waitpid(child, 0)
    bind.check(not told, '%s', told)


def need_root():
    if os.geteuid() != 0:
        bind.skip('needs root')


def versions():   # (version, executable)
    for python in sorted(glob.glob(os.path.join(os.environ.get('PYENV_ROOT') or os.path.expanduser('~/.pyenv'), 'versions/*/bin/python'))):
        yield python.split('/')[-3], python


def everyones():   # a CPython that every user can start
    for python in [OWN] + sorted(glob.glob('/usr/bin/python3.*[0-9]')):
        told = subprocess.run(['setpriv', '--reuid=%d' % NOBODY, '--regid=%d' % NOBODY, '--clear-groups', python, '-c', 'print(1)'],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) if shutil.which('setpriv') else None
        if told and told.stdout == b'1\n':
            return python
    return bind.skip('no CPython here that another user can start')


def match(target, words, pid):   # does the target's C library tell what Python says, and the CPU what the kernel says?
    numbers = [int(word) for word in words]
    by_ident = dict(zip(numbers[::2], numbers[1::2]))
    bind.equal(sorted(ident for ident, *_ in target['threads']), sorted(by_ident), 'pthread_t of the threads')
    for ident, cpu, tid, outside in target['threads']:
        bind.equal(tid, by_ident[ident], 'the id of the thread in its struct pthread')
        with open('/proc/%d/task/%d/stat' % (pid, outside)) as file:
            where = int(file.read().rsplit(')', 1)[1].split()[36])
        bind.check(target['cpu_word'] == 0 or 0 <= cpu < 1024, 'the CPU of a thread is %r, /proc has %r', cpu, where)


def cpus_agree(pid):   # of a thread that sleeps both tell the same
    for _ in range(50):
        target = found(pid)
        sleeper = min(target['threads'], key=lambda thread: thread[3])   # the main thread
        with open('/proc/%d/task/%d/stat' % (pid, sleeper[3])) as file:
            if sleeper[1] == int(file.read().rsplit(')', 1)[1].split()[36]):
                return
    raise AssertionError('the CPU in the rseq area is never that of /proc')


@bind.test
def every_version():
    tried = 0
    for version, python in versions():
        if version.startswith(('2.', '3.6', '3.7')):
            continue
        with started(command_of(python)) as (process, words):
            target = found(process.pid, version, main=process.pid)
            bind.check('python' in target['where'], '%r', target)
            match(target, words, process.pid)
            if target['cpu_word']:
                cpus_agree(process.pid)
            bind.check(target['waiters_offset'] in (0, 28, 36), '%r', target)
            tried += 1
    if not tried:
        bind.skip('no other CPython here')


@bind.test
def own_facts_are_those_that_another_process_sees():
    """What is read of another process's C library is what this process's own library says of itself."""
    own = target_of(os.getpid())
    with started(command_of(OWN)) as (process, words):
        other = found(process.pid, own['version'])
        bind.equal(other['tid_offset'], own['tid_offset'], 'the offset of the thread id')
        if own['waiters_offset']:
            bind.check(other['waiters_offset'] in (0, own['waiters_offset']), '%r, not %r', other, own)


@bind.test
def what_is_too_old_or_no_python():
    for version, python in versions():
        if version.startswith(('2.', '3.6', '3.7')):
            with started([python, '-c', 'import time, sys; sys.stdout.write("1\\n"); sys.stdout.flush(); time.sleep(600)']) as (process, _):
                refused(process.pid, bind.UNSUPPORTED, r'CPython %s is not supported.*3\.8 to 3\.15' % '.'.join(version.split('.')[:2]))
    with started(['sleep', '600'], ready=False) as (process, _):
        time.sleep(0.05)
        refused(process.pid, bind.NO_PYTHON, 'no CPython in process %d' % process.pid, 'sleep')


@bind.test
def what_is_no_process():
    for pid in (-5, 2 ** 31, 2 ** 22 + 5):
        refused(pid, bind.NO_PROCESS, str(pid))
    with started(command_of(OWN)) as (process, words):
        refused(int(words[-1]), bind.NO_PROCESS, 'a thread of process %d' % process.pid)
    child = os.fork()
    if child == 0:
        os._exit(0)
    bind.eventually(lambda: open('/proc/%d/stat' % child).read().rsplit(')', 1)[1].split()[0] == 'Z', 'the child ended')
    refused(child, bind.NO_PROCESS, 'has ended')
    os.waitpid(child, 0)
    refused(child, bind.NO_PROCESS, 'no process has the number %d' % child)
    if os.path.exists('/proc/2/stat') and open('/proc/2/stat').read().startswith('2 (kthreadd)'):
        refused(2, bind.NO_PYTHON, 'kernel')


@bind.test
def one_that_starts():
    """Opened at any moment from its exec on, it is found."""
    for i in range(12):
        with started(command_of(OWN), ready=False) as (process, _):
            time.sleep(i * 0.004)
            found(process.pid, bind.VERSION)


@bind.test
def one_that_is_stopped():
    with started(command_of(OWN)) as (process, words):
        process.send_signal(signal.SIGSTOP)
        match(found(process.pid), words, process.pid)
        process.send_signal(signal.SIGCONT)


@bind.test
def main_thread_left():
    code = TARGET.replace('time.sleep(600)', 'import ctypes; ctypes.CDLL(None).pthread_exit(None)')
    with started(command_of(OWN, code)) as (process, _):
        try:
            bind.eventually(lambda: open('/proc/%d/stat' % process.pid).read().rsplit(')', 1)[1].split()[0] == 'Z', 'the main thread left', 2)
        except AssertionError:
            bind.skip('the main thread does not leave here')
        found(process.pid, bind.VERSION)


@bind.test
def forked_behind_pythons_back():
    """By C code: Python still has the numbers of the parent's thread. What runs is the child's main thread."""
    code = ('import ctypes, os, sys, time\npid = ctypes.PyDLL(None).fork()\nif pid: os.waitpid(pid, 0)\nelse:\n'
            '    print(os.getpid()); sys.stdout.flush()\n    while True: sum(range(1000))')
    with started(command_of(OWN, code)) as (process, words):
        try:
            profile = recorded(int(words[0]))
            threads = profile.threads()
            bind.equal([thread.thread_id for thread in threads], [int(words[0])], 'thread ids')
            bind.check(threads[0].total[bind.CPU_NS] > 0, 'no CPU time: %r', threads)
        finally:
            os.kill(int(words[0]), signal.SIGKILL)


@bind.test
def memory_that_is_torn():
    """Reads of its memory fail, come short or bring garbage: an answer, not a crash."""
    with started(command_of(OWN)) as (process, _):
        try:
            for seed in range(300 if bind.LONG else 60):
                bind.released.pyprof_test_faults(ctypes.c_double((0.001, 0.01, 0.1, 0.5)[seed % 4]), 7, ctypes.c_uint64(seed))
                target_of(process.pid)
        finally:
            bind.released.pyprof_test_faults(ctypes.c_double(0), 0, ctypes.c_uint64(0))
        found(process.pid, bind.VERSION)


def copied(folder, python=OWN):   # a program and its libraries, which can be deleted; and its environment
    home = subprocess.run([python, '-c', 'import sys; print(sys.base_prefix)'], stdout=subprocess.PIPE).stdout.decode().strip()
    copy = os.path.join(folder, 'python-copy')
    shutil.copy(python, copy)
    for library in glob.glob(os.path.join(home, 'lib', 'libpython3.*.so.1.0')):
        shutil.copy(library, folder)
    return copy, dict(os.environ, PYTHONHOME=home, LD_LIBRARY_PATH=folder)


@bind.test
def files_deleted_and_replaced():
    with bind.folder() as folder:
        copy, environment = copied(folder)
        with started(command_of(copy), env=environment) as (process, words):
            version = found(process.pid)['version']
            for file in os.listdir(folder):
                os.remove(os.path.join(folder, file))
            match(found(process.pid, version), words, process.pid)
            for file in ('python-copy', 'libpython3.12.so.1.0'):   # others of these names
                shutil.copy('/bin/sleep', os.path.join(folder, file))
            match(found(process.pid, version), words, process.pid)


@bind.test
def stripped():
    if not shutil.which('strip'):
        bind.skip('no strip here')
    with bind.folder() as folder:
        copy, environment = copied(folder)
        for file in os.listdir(folder):
            subprocess.check_call(['strip', '--strip-all', os.path.join(folder, file)])
        with started(command_of(copy), env=environment) as (process, words):
            match(found(process.pid, bind.VERSION), words, process.pid)


def static_program(folder, home, version, *options):   # NULL: cannot be built here
    archive = glob.glob(os.path.join(home, 'lib/python%s/config-*/libpython%s.a' % (version, version)))
    if not archive or not shutil.which('gcc'):
        return None
    program = os.path.join(folder, 'host%s' % version.replace('.', '_'))
    with open(program + '.c', 'w') as file:
        file.write('int Py_BytesMain(int, char **); int main(int n, char **v) { return Py_BytesMain(n, v); }\n')
    libraries = [archive[0], '-lpthread', '-ldl', '-lutil', '-lm']
    if glob.glob('/usr/include/zlib.h'):
        libraries.append('-lz')
    done = subprocess.run(['gcc', '-o', program, program + '.c'] + list(options) + libraries, stderr=subprocess.PIPE)
    return program if done.returncode == 0 else None


def hidden(options, steps):
    tried = 0
    for version, python in versions():
        minor = '.'.join(version.split('.')[:2])
        if minor in ('2.7', '3.6', '3.7'):
            continue
        home = os.path.dirname(os.path.dirname(python))
        with bind.folder() as folder:
            program = static_program(folder, home, minor, *options)
            if not program:
                continue
            for step in steps:
                if step == 'strip':
                    subprocess.check_call(['strip', '--strip-all', program])
                if step == 'no section headers':
                    with open(program, 'r+b') as file:
                        file.seek(0x28)
                        file.write(bytes(8))
                        file.seek(0x3c)
                        file.write(bytes(4))
                with started(command_of(program, ALONE), env=dict(os.environ, PYTHONHOME=home)) as (process, words):
                    target = found(process.pid)
                    bind.equal(target['version'].split('.')[:2], minor.split('.'), 'version')
                    if target['tid_offset']:
                        match(target, words, process.pid)
                    bind.check(target['cpu_word'] or '-static' in options, 'no rseq: %r', target)
                    tried += 1
    if not tried:
        bind.skip('no libpython3.x.a that can be linked here')


@bind.test(limit=120, long=True)
def hidden_in_a_program_without_symbols():
    """_PyRuntime is not exported, the program is stripped: the section, the table's first bytes, or its shape are left."""
    hidden([], ['strip', 'no section headers'])


@bind.test(limit=120, long=True)
def a_static_program():
    """No dynamic linker and no libpython: symbols in the file, if it was not stripped."""
    hidden(['-static'], ['', 'strip'])


@bind.test
def two_in_one_process():
    """The one with interpreters is taken, the other one is told."""
    others = [library for version, python in versions() for library in glob.glob(os.path.dirname(python) + '/../lib/libpython3.*.so.1.0')
              if version[:4] in ('3.11', '3.12', '3.13') and version != bind.VERSION]
    if not others:
        bind.skip('no other libpython here')
    code = 'import ctypes; ctypes.CDLL(%r, ctypes.RTLD_LOCAL)\n' % os.path.realpath(others[0]) + TARGET
    with started(command_of(OWN, code)) as (process, words):
        target = found(process.pid, bind.VERSION)
        match(target, words, process.pid)
        bind.check('beside' in target['where'], '%r', target)


# --- other roots and other namespaces --------------------------------------------------------------------------------

def unshared(options, command, **more):
    if not shutil.which('unshare') or subprocess.run(['unshare'] + options + ['true'], stderr=subprocess.DEVNULL).returncode != 0:
        bind.skip('no unshare %s here' % ' '.join(options))
    return started(['unshare'] + options + command, **more)


def python_below(process):
    for pid in descendants(process.pid):
        with contextlib.suppress(OSError):
            if open('/proc/%d/cmdline' % pid).read().split('\0')[1:2] == ['-c'] and 'python' in os.readlink('/proc/%d/exe' % pid):
                return pid
    raise AssertionError('no python below %d' % process.pid)


@bind.test
def in_another_pid_namespace():
    """It knows other numbers for itself and its threads than /proc here has."""
    need_root()
    with unshared(['--pid', '--fork', '--mount-proc'], command_of(OWN)) as (process, words):
        pid = python_below(process)
        target = found(pid, bind.VERSION, main=1)
        bind.equal(int(words[1]), 1, 'its number for itself')
        match(target, words, pid)
        profile = recorded(pid)
        bind.equal(profile.info().pid, pid, 'pid of the profile')
        bind.equal(sorted(thread.thread_id for thread in profile.threads()), sorted(int(word) for word in words[1::2]), 'thread ids: the target\'s own')
        for _, _, inside, outside in target['threads']:
            bind.check(inside < 20 and outside != inside and os.path.exists('/proc/%d/task/%d' % (pid, outside)), '%r', target)


@bind.test
def in_a_chroot():
    need_root()
    with bind.folder() as folder:
        script = ('set -e; cd "$1"; shift; for d in /bin /lib /lib64 /usr /etc /dev %s; do [ -e $d ] || continue; mkdir -p .$d; mount --rbind $d .$d; done;'
                  ' mkdir proc; exec chroot . "$@"' % sys.base_prefix)
        with unshared(['--mount'], ['sh', '-c', script, 'sh', folder] + command_of(OWN)) as (process, words):
            match(found(process.pid, bind.VERSION), words, process.pid)
            bind.check(os.readlink('/proc/%d/root' % process.pid) != '/', 'it has the root of this process')


@bind.test(limit=60)
def in_another_system():
    """A Debian of its own: other versions, another C library."""
    need_root()
    pythons = sorted(glob.glob(SID + '/usr/bin/python3.1?'))
    if not pythons:
        bind.skip('no tree: tests/sid.sh setup makes one')
    for python in pythons:
        with unshared(['--mount'], ['chroot', SID] + command_of('/usr/bin/' + os.path.basename(python))) as (process, words):
            target = found(process.pid)
            bind.check(os.path.basename(python) == 'python' + '.'.join(target['version'].split('.')[:2]), '%r: %r', python, target)
            match(target, words, process.pid)
            cpus_agree(process.pid)
            bind.check(target['waiters_offset'] in (0, 28, 36), '%r', target)
            profile = recorded(process.pid)
            bind.equal(len(profile.threads()), 3, 'threads')
            bind.check('work' in [row.name for row in profile.top()], 'no function work: %r', profile.top())


# --- rights ----------------------------------------------------------------------------------------------------------

@bind.test
def another_user():
    need_root()
    with started(command_of(OWN)) as (process, _):
        as_user(lambda: refused(process.pid, bind.DENIED, 'runs as user 0, this process as %d' % NOBODY, 'as that user or as root', 'CAP_SYS_PTRACE', '--cap-add'))
        found(process.pid, bind.VERSION)


@bind.test
def the_same_user():
    need_root()
    python = everyones()
    line = ['setpriv', '--reuid=%d' % NOBODY, '--regid=%d' % NOBODY, '--clear-groups']
    scope = 0
    with contextlib.suppress(OSError), open('/proc/sys/kernel/yama/ptrace_scope') as file:
        scope = int(file.read())
    with started(line + command_of(python)) as (process, words):
        if scope == 0:
            as_user(lambda: match(found(process.pid), words, process.pid))
        else:
            as_user(lambda: refused(process.pid, bind.DENIED, 'ptrace_scope is %d' % scope, 'sysctl'))
    with started(line + command_of(python, 'import ctypes; ctypes.CDLL(None).prctl(4, 0)\n' + TARGET)) as (process, words):
        as_user(lambda: refused(process.pid, bind.DENIED, 'not dumpable', 'root', 'CAP_SYS_PTRACE'))
        match(found(process.pid), words, process.pid)   # root may


@bind.test
def each_ptrace_scope():
    """What Yama refuses, each scope in turn."""
    need_root()
    path = '/proc/sys/kernel/yama/ptrace_scope'
    if not os.access(path, os.W_OK):
        bind.skip('this kernel has no Yama')
    with open(path) as file:
        before = file.read()
    python = everyones()
    try:
        with started(['setpriv', '--reuid=%d' % NOBODY, '--regid=%d' % NOBODY, '--clear-groups'] + command_of(python)) as (process, _):
            for scope in (1, 2):   # 3 cannot be undone
                with open(path, 'w') as file:
                    file.write(str(scope))
                as_user(lambda: refused(process.pid, bind.DENIED, 'ptrace_scope is %d' % scope, 'sysctl kernel.yama.ptrace_scope=0', 'CAP_SYS_PTRACE'))
    except PermissionError:
        bind.skip('ptrace_scope cannot be set here')
    finally:
        with contextlib.suppress(OSError), open(path, 'w') as file:
            file.write(before)


class Program(ctypes.Structure):
    _fields_ = [('count', ctypes.c_ushort), ('code', ctypes.c_char_p)]


def refuse_calls(error, *numbers):   # a seccomp filter: these system calls have this error
    code = struct.pack('=HBBI', 0x20, 0, 0, 0)
    for number in numbers:
        code += struct.pack('=HBBI', 0x15, 0, 1, number) + struct.pack('=HBBI', 0x06, 0, 0, 0x50000 | error)
    code += struct.pack('=HBBI', 0x06, 0, 0, 0x7fff0000)
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp = {'x86_64': 317, 'aarch64': 277}[os.uname().machine]
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.syscall(seccomp, 1, 1, ctypes.byref(Program(len(code) // 8, code))) != 0:
        raise OSError('no seccomp filters here')


@bind.test
def a_filter_refuses_process_vm_readv():
    """EPERM as docker has it, ENOSYS as podman: /proc/PID/mem is another way."""
    calls = {'x86_64': (310, 311), 'aarch64': (270, 271)}.get(os.uname().machine)
    if not calls:
        bind.skip('unknown processor')
    with started(command_of(OWN)) as (process, words):
        for error in (1, 38):
            def look():
                refuse_calls(error, *calls)
                target = found(process.pid, bind.VERSION)
                bind.equal(target['method'], 3, 'the way its memory is read')
                match(target, words, process.pid)
            as_user(look, user=0)

            def record():
                refuse_calls(error, *calls)
                recorded(process.pid)
            as_user(record, user=0)


def elsewhere(line, code):   # runs the code, which knows this file's names, in a process that this command starts
    code = ('import sys; sys.argv = ["x", %r]; sys.path.insert(0, %r)\nimport bind\nfrom test_finder import *\n'
            % (bind.BUILD, os.path.dirname(os.path.abspath(__file__)))) + code
    try:
        done = subprocess.run(line + [OWN, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        bind.skip(str(error))
    told = done.stdout.decode()
    if re.search('^(mount|unshare|setpriv):', told, re.M):
        bind.skip(told.strip())
    bind.check(done.returncode == 0, '%s', told)


@bind.test
def without_the_capability():
    """Root without CAP_SYS_PTRACE, beside a process that has it."""
    need_root()
    if not shutil.which('setpriv'):
        bind.skip('no setpriv here')
    with started(command_of(OWN)) as (process, _):
        elsewhere(['setpriv', '--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace'],
                  'refused(%d, bind.DENIED, "capabilities", "CAP_SYS_PTRACE")' % process.pid)


@bind.test
def hidden_processes():
    """/proc mounted with hidepid: the process exists, but /proc does not show it."""
    need_root()
    with started(command_of(OWN)) as (process, _):
        elsewhere(['unshare', '--mount', 'sh', '-c', 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', 'sh'],
                  'as_user(lambda: refused(%d, bind.DENIED, "hidepid", "root"))' % process.pid)


@bind.test
def from_another_user_namespace():
    """Root there has all capabilities, but none over processes outside."""
    with started(command_of(OWN)) as (process, _):
        elsewhere(['unshare', '--user', '--map-root-user'], 'refused(%d, bind.DENIED, "user namespace above", "outside of its container")' % process.pid)


@bind.test
def from_another_pid_namespace():
    """/proc there has other numbers than system calls take: the number is the one of /proc, and nothing is read of any other process."""
    need_root()
    with started(command_of(OWN)) as (process, words):
        elsewhere(['unshare', '--pid', '--fork'], 'match(found(%d, method=3), %r, %d); recorded(%d)' % (process.pid, words, process.pid, process.pid))


if __name__ == '__main__':
    bind.run()
