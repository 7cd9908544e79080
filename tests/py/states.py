"""What tests of thread states share: workers that time themselves, and the comparison of shares.

The truth is measured in the same run, by clocks in the program: machines are shared, and shares are compared within 3
points. Where that depends on when the scheduler lets the sampler run, it is tried again (bind.near, bind.enough).
"""
import re
import sys
import threading
import time

import bind
from bind import CPU_NS, WALL_NS

POINTS = 0.03
GIL = not bind.FREE_THREADED
clock = time.perf_counter


def run_delay():
    """Seconds for which this thread was ready to run, and another one had the CPU."""
    try:
        with open('/proc/thread-self/schedstat') as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        return 0.0


class Worker(threading.Thread):
    """A thread that tells how long its function took, by the clock and by that of its CPU. blur: where others want the CPUs,
    too, who of them has one in a sample is known with less precision."""

    def __init__(self, name, function, *arguments):
        super().__init__(name=name, daemon=True)
        self.function, self.arguments = function, arguments
        self.error = self.result = None

    def run(self):
        begin, cpu, delay = clock(), time.thread_time(), run_delay()
        try:
            self.result = self.function(*self.arguments)
        except BaseException:   # told by end
            self.error = sys.exc_info()[1]
        self.began, self.ended = begin, clock()
        self.wall, self.cpu, self.delay = self.ended - begin, time.thread_time() - cpu, run_delay() - delay
        self.blur = 0.3 * self.delay / self.wall

    def end(self):
        self.join()
        if self.error:
            raise self.error


def recorded(*workers, **config):
    """The profile of all that they do; 1 kHz."""
    config.setdefault('rate_hz', 1000)
    with bind.record(**config) as r:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.end()
    print(r.profile.stats())
    for worker in workers:
        told(r.profile, worker.name, worker)
    return r.profile


def told(profile, name, worker=None):
    print('%s: %s%s' % (name, ', '.join('%s %.3f' % one for one in sorted(profile.shares(name).items())),
                        '; truth: running %.3f, cpu_wait %.3f' % (worker.cpu / worker.wall, worker.delay / worker.wall) if worker else ''))


def same(got, truth, what, blur=0.0):
    """Two shares."""
    bind.near(got, truth, 0, POINTS + blur, what)


def runs(profile, worker):
    """Did it run, and wait for a CPU, as long as its clocks say?"""
    of = profile.shares(worker.name)
    taken = profile.stats().own_cpu_ns / 1e9 / worker.wall   # what the sampler took counts as if the thread had run on
    same(of['running'], worker.cpu / worker.wall + taken / 2, 'how much %s runs' % worker.name, worker.blur + taken / 2)
    if of['gil_wait'] < POINTS:
        same(of['cpu_wait'], worker.delay / worker.wall - taken / 2, 'how much %s waits for a CPU' % worker.name, worker.blur + taken / 2)
    else:   # who wants the GIL waits for that, and needs a CPU every 5 ms to ask for it
        bind.enough(of['cpu_wait'] < worker.delay / worker.wall + POINTS + worker.blur, '%s waits for a CPU: %.3f', worker.name, of['cpu_wait'])
    same(profile.thread(worker.name).total[CPU_NS] / 1e9 / worker.wall, worker.cpu / worker.wall, 'CPU time of ' + worker.name)


def time_in(profile, thread, function, metric=WALL_NS, last=False):
    """Seconds of that thread with that function on the stack, or at its end but for the leaf."""
    found = 0
    for item in profile.visit(bind.ITEM_STACK):
        frames = item.stack[-1:] if last else item.stack
        if item.thread.name == thread and any(frame.name == function for frame in frames):
            found += item.self[metric]
    return found / 1e9


def matching(leaves, pattern):
    return sum(value for name, value in leaves.items() if re.match(pattern + r'\Z', name))


def spin(seconds):
    """Busy in Python: not even the clock is looked at often."""
    end = clock() + seconds
    while clock() < end:
        for _ in range(3000):
            pass


def nap(seconds):
    time.sleep(seconds)
