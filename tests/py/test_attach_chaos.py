"""A program that is killed, stopped, continued, that ends, execs, or blocks in a vfork at a random moment while it is recorded
and dumped by another: the recorder neither hangs nor crashes, leaks nothing, and leaves the program as it was."""
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time

import bind

TRIALS = int(os.environ.get('TRIALS', bind.length(200, 24)))   # TRIALS=10000 for a long one
TARGET = '''
import os, signal, sys, threading, time
def work():
    while True: sum(range(200))
def again(number, frame):
    os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', sys.argv[1], sys.argv[1], sys.argv[2]])
def ends(number, frame):
    os._exit(3)
def blocks(number, frame):
    try: os.posix_spawn('/bin/true', ['true'], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[2], os.O_RDONLY, 0)])
    except OSError: pass
signal.signal(signal.SIGUSR1, again)
signal.signal(signal.SIGUSR2, ends)
signal.signal(signal.SIGHUP, blocks)
threading.Thread(target=work, daemon=True).start()
os.write(1, b'ready')
while True: time.sleep(0.0005)
'''
# How an attempt may fail: it is gone, or has no Python yet, or no longer; or Python is just being set up or taken down.
ENDED = bind.NO_PROCESS, bind.NO_PYTHON, bind.STATE, bind.UNSUPPORTED


def state(pid):
    with open('/proc/%d/stat' % pid) as file:
        return file.read().rpartition(')')[2].split()[0]


def dump(pid):
    pointer = ctypes.c_void_p()
    code = bind.released.pyprof_dump(pid, None, ctypes.byref(pointer))
    bind.check(code in (bind.OK,) + ENDED, 'dump: %s: %s', bind.RESULTS[code], bind.text(bind.released.pyprof_last_error()))
    if code == bind.OK:
        bind.Profile(pointer.value).free()
    return code


def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


class Trial:
    def __init__(self, dice, folder):
        self.dice, self.fifo = dice, os.path.join(folder, 'fifo')
        self.process = subprocess.Popen([sys.executable, '-I', '-S', '-c', TARGET, TARGET, self.fifo], stdout=subprocess.PIPE)
        self.pid = self.process.pid
        if dice.random() < 0.85:
            self.process.stdout.read(5)   # else it is recorded while it begins

    def send(self, number):
        try:
            self.process.send_signal(number)
        except ProcessLookupError:
            pass

    def release(self):
        """The child of the vfork opens the pipe, and the program goes on."""
        try:
            os.close(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass

    def harm(self, kind):
        pause = self.dice.random() * 0.02
        time.sleep(pause)
        if kind == 'killed':
            self.send(signal.SIGKILL)
        elif kind == 'terminated':
            self.send(signal.SIGTERM)
        elif kind == 'ends':
            self.send(signal.SIGUSR2)
        elif kind == 'execs':
            for _ in range(self.dice.randrange(1, 3)):
                self.send(signal.SIGUSR1)
                time.sleep(self.dice.random() * 0.02)
        elif kind == 'stopped':
            self.send(signal.SIGSTOP)
        elif kind == 'continued':
            for _ in range(5):
                self.send(signal.SIGSTOP)
                time.sleep(self.dice.random() * 0.003)
                self.send(signal.SIGCONT)
        elif kind == 'blocks':
            self.send(signal.SIGHUP)

    def record(self, kind):
        session = None
        harm = threading.Thread(target=self.harm, args=(kind,))
        harm.start()
        try:
            session = bind.Session(pid=self.pid, rate_hz=2000, timeline_s=-1)
        except bind.Error as error:
            bind.check(error.code in ENDED, '%s: %s', kind, error)
        until = time.monotonic() + self.dice.random() * 0.05
        while True:
            dump(self.pid)
            if session and self.dice.random() < 0.3:
                session.snapshot(reset=self.dice.randrange(2)).free()
            if time.monotonic() > until and not harm.is_alive():
                break
        if session:
            profile = session.stop()
            stats = profile.stats()
            bind.equal(stats.asked, stats.samples + stats.missed + stats.rejected, kind)
            profile.free()

    def end(self, kind):
        """It is as it was, and ends."""
        if kind == 'stopped' and self.process.poll() is None:
            bind.eventually(lambda: self.process.poll() is not None or state(self.pid) in 'Tt', 'stopped as it was')
            self.send(signal.SIGCONT)
        if self.process.poll() is None:
            bind.eventually(lambda: self.process.poll() is not None or state(self.pid) not in 'Tt', 'left stopped (%s)' % kind)
        self.release()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.release()


KINDS = 'killed', 'terminated', 'ends', 'execs', 'stopped', 'continued', 'blocks'


@bind.test(limit=60 + 2 * TRIALS)
def at_random_moments():
    seed = int(os.environ.get('SEED', random.randrange(1 << 30)))
    dice = random.Random(seed)
    print('SEED=%d TRIALS=%d' % (seed, TRIALS))
    worst, before = 0, None
    with bind.folder() as folder:
        os.mkfifo(os.path.join(folder, 'fifo'))
        for i in range(TRIALS):
            kind = KINDS[i % len(KINDS)]
            trial = Trial(dice, folder)
            begin = time.monotonic()
            try:
                trial.record(kind)
            finally:
                trial.end(kind)
            worst = max(worst, time.monotonic() - begin)
            if i in (len(KINDS), TRIALS // 2):
                before = len(bind.descriptors()), resident()
        bind.equal(len(bind.descriptors()), before[0], 'descriptors')
        bind.check(resident() < before[1] + (4 << 20), 'memory grew by %d KiB in half of the trials', (resident() - before[1]) >> 10)
        bind.eventually(lambda: len(bind.tasks()) == 1, 'one thread')
        print('the longest trial took %.2f s' % worst)


if __name__ == '__main__':
    bind.run()
