"""Work of a known mixture: two functions, of which each process measures the CPU time that it gave to each."""
import os
import random
import time


def burn_a(seconds):
    begin = time.thread_time()
    while time.thread_time() - begin < seconds:
        for _ in range(2000):
            pass
    return time.thread_time() - begin


def burn_b(seconds):
    begin = time.thread_time()
    while time.thread_time() - begin < seconds:
        for _ in range(2000):
            pass
    return time.thread_time() - begin


def mixture(seconds=None, end='itself'):
    """Burns that much CPU time, two parts of it in burn_a, and notes what it was.

    end tells how this process will end: by itself, killed by somebody who may be late, or shot without a chance.
    """
    seconds = float(os.environ['HOSTS_WORK']) if seconds is None else float(seconds)
    a = b = 0.0
    while a + b < seconds:
        part = random.uniform(0.005, 0.015)   # no beat with the sampler or the scheduler
        a += burn_a(2 * part)
        b += burn_b(part)
    with open(os.path.join(os.environ['HOSTS_MEASURED'], str(os.getpid())), 'a') as file:
        file.write('%.6f %.6f %s %.6f\n' % (a, b, end, time.time()))
    return os.getpid()
