"""The header in plugins: shared objects that are loaded late, several of them, and that may leave again."""
import _ctypes
import ctypes
import os
import shutil
import signal
import subprocess
import sys

import bind
from bind import OK


def compiled(folder, name, source, *options):
    """A shared object of that C source."""
    compiler = shutil.which(os.environ.get('CC', 'cc'))
    if not compiler:
        bind.skip('no compiler')
    path, made = os.path.join(folder, name + '.c'), os.path.join(folder, name + '.so')
    with open(path, 'w') as file:
        file.write(source)
    subprocess.check_call([compiler, '-shared', '-fPIC', path, '-o', made] + list(options))
    return made


def run(body, **variables):
    """What a Python prints that runs body, with bind and the library."""
    start = 'import sys; sys.argv[1:] = [%r]; sys.path.insert(0, %r); import bind\n' % (bind.BUILD, os.path.dirname(bind.__file__))
    process = subprocess.run([sys.executable, '-c', start + body], env=dict(os.environ, **variables), timeout=50,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    bind.equal((process.returncode, process.stderr.decode()), (0, ''), 'exit code and messages; output %r' % process.stdout)
    return process.stdout.decode()


@bind.test
def fifty_copies_in_one_process():
    """What a copy needs of the scarce memory for early thread-local variables is small; each has its own last error."""
    copies = []
    with bind.folder() as folder:
        path = os.path.join(folder, 'plugin.so')
        for i in range(50):
            path = os.path.join(folder, 'plugin%d.so' % i)
            shutil.copy(bind.LIBRARY, path)
            try:
                copies.append(ctypes.CDLL(path))
            except OSError as error:
                raise AssertionError('copy number %d: %s' % (i + 1, error))
            os.unlink(path)
    for copy in copies:
        copy.pyprof_last_error.restype = ctypes.c_char_p
        bind.equal(copy.pyprof_last_error(), b'')
    bind.check(copies[7].pyprof_save(None, b'x.json', None) != OK)
    bind.check(copies[7].pyprof_last_error(), 'no text')
    bind.equal(copies[8].pyprof_last_error(), b'')


@bind.test
def much_thread_local_memory():
    """The program has as much of it as the sampler has stack."""
    with bind.folder() as folder:
        big = compiled(folder, 'big', '__thread char big[1 << 20] = { 1 };\nchar *touch(void) { return big; }\n')
        out = run('with bind.record(rate_hz=1000) as r: bind.eventually(lambda: r.stats().samples > 3, "samples")\n'
                  'bind.dump()\nprint("whole")', LD_PRELOAD=big)
        bind.equal(out, 'whole\n')


def plugin(path):
    """A plugin of that path: the library once more."""
    shutil.copy(bind.LIBRARY, path)
    return bind._load(lambda _: ctypes.CDLL(path))


def leaves(lib, path):
    """It is closed while it records; its threads, hooks and handlers go on."""
    with bind.record(lib=lib, rate_hz=1000, heap=2) as r:
        bind.eventually(lambda: r.stats().samples > 3, 'samples')
        _ctypes.dlclose(lib._handle)
        before = r.stats().samples
        bind.eventually(lambda: r.stats().samples > before + 3, 'samples after it was closed')
        kept = [bytearray(100) for _ in range(1000)]
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        bind.equal(os.waitpid(pid, 0)[1], 0, 'a forked child')
    bind.check(len(kept) == 1000 and r.profile.stats().samples > 3, '%s: no samples', path)


@bind.test
def plugins_that_are_closed():
    """Whatever became of the file."""
    with bind.folder() as folder:
        for name in 'plain.so', 'new\nline.so', 'with (deleted)', 'a b.so':
            path = os.path.join(folder, name)
            leaves(plugin(path), path)


@bind.test
def plugins_whose_files_are_gone():
    with bind.folder() as folder:
        path = os.path.join(folder, 'removed.so')
        lib = plugin(path)
        os.unlink(path)
        leaves(lib, path)
        path = os.path.join(folder, 'replaced.so')
        lib = plugin(path)
        shutil.copy(bind.LIBRARY, path + '.new')
        os.rename(path + '.new', path)
        leaves(lib, path)
        os.chdir(folder)
        lib = plugin('./relative.so')
        os.chdir('/')
        leaves(lib, path)


@bind.test
def a_plugin_that_cannot_stay():
    """It is refused with a reason, and the plugin can be closed."""
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, '$ORIGIN'))
        path = os.path.join(folder, '$ORIGIN', 'plugin.so')
        shutil.copy(bind.LIBRARY, path)
        os.chdir(os.path.dirname(path))
        try:
            lib = bind._load(lambda _: ctypes.CDLL('./plugin.so'))
        except OSError:
            bind.skip('this dynamic linker does not load it')
        try:
            session = bind.Session(lib=lib)
        except bind.Error as error:
            bind.equal(error.code, bind.UNSUPPORTED)
            bind.check('in memory' in error.detail and '$ORIGIN' in error.detail, error.detail)
        else:
            session.stop()
        _ctypes.dlclose(lib._handle)


CHAIN = r'''
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <unistd.h>
static struct sigaction before;
int calls;
static void chain(int number, siginfo_t *info, void *context)
{
    if (++calls > 1000) _exit(9);
    if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) before.sa_handler(number);
}
int put(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = chain;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    return sigaction(SIGURG, &action, &before);
}
'''


@bind.test
def two_copies_hold_threads_by_turns():
    """Each on top of the other's handler for SIGURG, and they leave in any order. A signal of somebody else reaches the
    program's own handler once."""
    with bind.folder() as folder:
        chain = ctypes.CDLL(compiled(folder, 'chain', CHAIN))
        libs = [plugin(os.path.join(folder, 'plugin%d.so' % i)) for i in range(2)]
    calls = ctypes.c_int.in_dll(chain, 'calls')
    bind.equal(chain.put(), 0)

    def urge():
        calls.value = 0
        os.kill(os.getpid(), signal.SIGURG)
        bind.eventually(lambda: calls.value, 'the signal')
        bind.equal(calls.value, 1)

    for order in '0101', '0110', '01001011', '0' + '0101' * 3 + '1', '1001' * 3:
        sessions = [None, None]
        for at in map(int, order):
            if sessions[at]:
                sessions[at].stop()
                sessions[at] = None
            else:
                session = sessions[at] = bind.Session(lib=libs[at], rate_hz=1000, capture=bind.CAPTURE_SIGNAL)
                bind.eventually(lambda: session.stats().samples > 3, 'samples')
            urge()
        for session in sessions:
            if session:
                session.stop()
        urge()


if __name__ == '__main__':
    bind.run()
