"""The header in plugins: shared objects that are loaded late, several of them, and that may leave again."""
import _ctypes
import ctypes
import os
import shutil
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


if __name__ == '__main__':
    bind.run()
