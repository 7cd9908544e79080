"""A thousand interpreters, one after the other, in a program that embeds Python: one session sees all of them."""
import os
import subprocess
import time

import bind
import soak

MAX_BYTES = 8 * soak.MIB   # as in embed.c


def host(count, how):
    """The numbers that embed.c prints."""
    process = subprocess.Popen([os.path.join(bind.BUILD, 'soak_embed'), str(count), how], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    said, errors = process.communicate()
    bind.equal((process.returncode, errors.decode()), (0, ''), 'exit status and messages of soak_embed ' + how)
    return {name: int(value) for name, value in (word.split('=') for word in said.decode().split())}


def check(count, numbers, plain):
    bind.equal(numbers['after_live'], 0, 'bytes that the profiler did not give back')
    bind.equal((numbers['after_fds'], numbers['after_tasks']), (numbers['before_fds'], numbers['before_tasks']),
               'descriptors and threads after the session')
    for what in 'fds', 'tasks':
        bind.equal(numbers['last_' + what], numbers['middle_' + what], what)
    bind.check(numbers['last_live'] <= MAX_BYTES, 'the session holds %d bytes', numbers['last_live'])
    maps = numbers['last_maps'] - numbers['middle_maps'] - (plain['last_maps'] - plain['middle_maps'])
    bind.check(maps <= soak.MORE_MAPS, '%d maps more than without the profiler', maps)
    # what CPython 3.12 loses, a MiB and more at a time, differs by one per cent from run to run
    bind.check(growth(numbers) <= growth(plain) * 1.02 + soak.MORE_BYTES / 1024,
               'memory grows by %d KiB, without the profiler by %d', growth(numbers), growth(plain))
    bind.enough(numbers['blind'] <= 2 + count // 20, '%d of %d interpreters were not seen', numbers['blind'], count)


def growth(numbers):
    """KiB from the middle to the end, without what the session holds: that has a limit of its own."""
    return numbers['last_kib'] - numbers['middle_kib'] - (numbers['last_live'] - numbers['middle_live']) // 1024


@soak.program(limit=900, short=0.03)
def embed(scale):
    """A thousand times Py_Initialize and Py_Finalize."""
    if not os.path.exists(os.path.join(bind.BUILD, 'soak_embed')):
        bind.skip('no libpython to link with')
    count, begin = max(int(1000 * scale), 10), time.perf_counter()
    numbers = host(count, 'with')
    took = time.perf_counter() - begin
    plain = host(count, 'without')
    check(count, numbers, plain)
    return '%d interpreters in %.0f s, without the profiler %.0f; %d samples, missed %d, rejected %d; not seen %d; fds %d, threads ' \
        '%d; memory from the middle on %+d KiB, without the profiler %+d; the session holds %d KiB' % (
            count, took, time.perf_counter() - begin - took, numbers['samples'], numbers['missed'], numbers['rejected'],
            numbers['blind'], numbers['after_fds'], numbers['after_tasks'], growth(numbers), growth(plain),
            numbers['last_live'] // 1024)
