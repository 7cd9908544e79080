"""A thousand children of a process that is recorded; some record, some have children themselves."""
import collections
import os
import time
import warnings

import bind
import soak


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def records():
    """A session of the child's own: it sees the child and nobody else."""
    with bind.record(rate_hz=2000) as r:
        end = time.monotonic() + 10
        while r.stats().samples < 10 and time.monotonic() < end:
            spin(0.005)
    soak.balanced(r.profile.stats())
    bind.equal([thread.thread_id for thread in r.profile.threads()], [os.getpid()], 'thread ids')
    bind.check(r.profile.stats().samples >= 10, 'no samples: %r', r.profile.stats())
    bind.equal(len(bind.tasks()), 1, 'threads of the child at the end')


def child(i, session):
    def live():
        bind.equal(len(bind.tasks()), 1, 'threads of the child')
        if i % 7 == 0:
            bind.fails(bind.STATE, [], session.stats)   # the parent's: an answer, not a hang
        if i % 10 == 0:
            records()
        if i % 50 == 0:
            with bind.record(rate_hz=1000):
                bind.equal(bind.in_child(records), 0, 'exit status of the child')
    return live


def run(count, kinds, **config):
    with bind.record(rate_hz=5000, timeline_s=1, **config) as r:
        with soak.Workers(spin=lambda i: spin(0.01), short=soak.short_threads, sleep=lambda i: time.sleep(0.001)):
            for i in range(count):
                bind.equal(bind.in_child(child(i, r)), 0, 'exit status of the child')
                kinds['forks'] += 1
                kinds['recorded'] += i % 10 == 0
                kinds['grandchildren'] += i % 50 == 0
    stats = r.profile.stats()
    soak.balanced(stats)
    bind.equal(r.profile.info().pid, os.getpid(), 'pid')
    bind.check(stats.samples > 10 * count, 'the parent has %d samples', stats.samples)
    kinds['samples'] += stats.samples
    r.profile.free()


@soak.program(limit=900, short=0.05)
def forks(scale):
    """A thousand forks while sampling."""
    warnings.simplefilter('ignore', DeprecationWarning)   # fork with threads: that is what is tested
    half = max(int(500 * scale), 10)
    counted, kinds = soak.Counted(), collections.Counter()
    run(min(half, 20), collections.Counter())
    levels, begin = soak.Levels(), time.perf_counter()
    run(half, kinds, allocator=counted.allocator)
    counted.back()
    levels.middle()
    run(half, kinds)
    return '%d forks in %.0f s, %d recorded themselves, %d grandchildren, %d samples in the parent; %s' % (
        kinds['forks'], time.perf_counter() - begin, kinds['recorded'], kinds['grandchildren'], kinds['samples'], levels.end())
