"""A program whose memory does not come for now: userfaultfd has a page of it, and each reader of that page waits. The recorder is
not stuck with it: each call comes back within seconds and says why, and the thread that reads ends with the program."""
import ctypes
import subprocess
import sys
import threading
import time

import bind

# The name of a function fills pages of its own. They are dropped, and nobody fills them in again.
TARGET = '''
import ctypes, os, platform, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def wait():
    began.set()
    time.sleep(1000)
began = threading.Event()
new = {'co_name': 'n' * 300000}
if sys.version_info >= (3, 11): new['co_qualname'] = 'q' * 300000
code = wait.__code__.replace(**new)
function = type(wait)(code, globals())
file = libc.syscall({'x86_64': 323}.get(platform.machine(), 282), os.O_CLOEXEC)
api = (ctypes.c_uint64 * 3)(0xaa, 0, 0)
if file < 0 or libc.ioctl(file, ctypes.c_ulong(0xc018aa3f), api):
    print('no userfaultfd:', os.strerror(ctypes.get_errno()), flush=True)
    sys.exit()
print('ready', flush=True)
sys.stdin.readline()
for name in new:
    page = id(getattr(code, name)) & -4096
    register = (ctypes.c_uint64 * 4)(page, 4096, 1, 0)
    if libc.ioctl(file, ctypes.c_ulong(0xc020aa00), register) or libc.madvise(ctypes.c_void_p(page), ctypes.c_size_t(4096), 4):
        print('no page:', os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
threading.Thread(target=function, daemon=True, name='waits').start()
began.wait()
print('blocked', flush=True)
time.sleep(1000)
'''
SECONDS = 25   # far more than the 5 s after which a call gives up


class Target:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, '-c', TARGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
        self.pid = self.process.pid
        self.said('ready')

    def said(self, word):
        line = self.process.stdout.readline().strip()
        if line != word:
            self.end()
            bind.skip(line)

    def block(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        self.said('blocked')

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def in_time(results, name, call):
    """A thread that notes what the call raised, and how long it took."""
    def run():
        begin = time.monotonic()
        try:
            result = call()
        except bind.Error as error:
            result = error
        results[name] = result, time.monotonic() - begin
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def waits_in(task):
    try:
        with open('/proc/self/task/%s/wchan' % task) as file:
            return file.read()
    except OSError:
        return ''


def dump(pid):
    pointer = ctypes.c_void_p()
    bind.call('dump', pid, None, ctypes.byref(pointer))


@bind.test(limit=60)
def memory_that_does_not_come():
    first, second, results = Target(), Target(), {}
    try:
        session = bind.Session(pid=first.pid, rate_hz=1000)
        bind.eventually(lambda: session.stats().samples > 10, 'it is recorded', 30)
        for target in first, second:
            target.block()
        bind.eventually(lambda: any('userfault' in waits_in(task) for task in bind.tasks()), 'the sampler reads the page', 30)
        calls = [in_time(results, 'dump', lambda: dump(second.pid)), in_time(results, 'stop', session.stop)]
        for thread in calls:
            thread.join(SECONDS)
        refused = ['dump']
        if bind.LONG:   # another 5 s
            in_time(results, 'start', lambda: bind.Session(pid=second.pid)).join(SECONDS)
            refused.append('start')
        bind.equal(set(results), set(refused + ['stop']), 'calls that came back')
        for name in refused:
            error = results[name][0]
            bind.check(isinstance(error, bind.Error) and error.code == bind.BUSY and 'pid %d' % second.pid in error.detail
                       and 'its memory is blocked' in error.detail, '%s: %r', name, error)
        bind.check(b'memory is blocked' in results['stop'][0].stats().degraded, '%r', results['stop'][0].stats())
        own = bind.Session(rate_hz=500)   # this process can be recorded all the same
        bind.eventually(lambda: own.stats().samples > 5, 'samples of its own', 30)
        own.stop().free()
    finally:
        first.end()
        second.end()
    bind.eventually(lambda: len(bind.tasks()) == 1, 'the threads that read end with the programs', 30)


if __name__ == '__main__':
    bind.run()
