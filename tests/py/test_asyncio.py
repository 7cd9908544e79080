"""Tasks of asyncio, and greenlets: whose frames a stack has."""
import asyncio
import collections
import os
import sys
import threading
import time

import bind
from bind import (CAPTURE_AUTO, CAPTURE_COPY, CAPTURE_SIGNAL, ITEM_STACK, KIND_PYTHON, KIND_TASK, SAMPLES, WALL_NS, check)

MODES = (('auto', CAPTURE_AUTO), ('copy', CAPTURE_COPY), ('signal', CAPTURE_SIGNAL))
HAS_TASKS = sys.version_info >= (3, 12)
THIS = os.path.basename(__file__)


def in_each_mode(function):
    for name, mode in MODES:
        bind.test(lambda mode=mode: function(mode), name='%s_%s' % (function.__name__, name), limit=120)
    return function


def needs_tasks():
    if not HAS_TASKS:
        bind.skip('CPython 3.12 and later tell the running task')


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def paths(profile, metric=WALL_NS, thread=None):
    """{frames of this file and tasks, root first: value}; a task is '@' and its name."""
    found = collections.Counter()
    for item in profile.visit(ITEM_STACK):
        if thread and item.thread.name != thread:
            continue
        names = tuple('@' + f.name if f.kind == KIND_TASK else f.name for f in item.stack
                      if f.kind == KIND_TASK or (f.kind == KIND_PYTHON and os.path.basename(f.file) == THIS))
        found[names] += item.self[metric]
    return found


def in_loop(main):
    """A coroutine in an event loop of its own, as asyncio.run does it, from 3.8 on."""
    return asyncio.run(main)


def known(session):
    """Waits until tasks are shown: the sampler looks for them at most once a second."""
    end = time.perf_counter() + 20
    while time.perf_counter() < end:
        if any(f.kind == KIND_TASK for item in session.snapshot().visit(ITEM_STACK) for f in item.stack):
            return True
        spin(0.05)
    return False


# --- the running task -------------------------------------------------------------------------------------------------


async def work(seconds, rounds):
    for _ in range(rounds):
        spin(seconds)
        await asyncio.sleep(0)


async def shares(session):
    warm = asyncio.current_task()
    check(warm is not None, 'no task')
    if HAS_TASKS:
        check(known(session), 'no task was shown')
    session.reset()
    await asyncio.gather(*[asyncio.create_task(work(0.001 * n, 500), name='share-%d' % n) for n in (1, 2, 3)])


@in_each_mode
def named_tasks_have_their_shares(mode):
    with bind.record(rate_hz=1000, capture=mode) as r:
        in_loop(shares(r))
    found = paths(r.profile, thread='MainThread')
    print(found, r.profile.stats())
    if not HAS_TASKS:
        check(not any(name.startswith('@') for path in found for name in path), 'tasks before 3.12: %r', found)
        return
    total = sum(value for path, value in found.items() if 'work' in path)
    for n in (1, 2, 3):
        mine = sum(value for path, value in found.items() if '@share-%d' % n in path)
        bind.near(mine / total, n / 6, 0, 0.03, 'the share of task %d' % n)
    named = sum(value for path, value in found.items() if 'work' in path and path[path.index('work') - 1].startswith('@share-'))
    bind.near(named / total, 1, 0, 0.01, 'the share below a task')
    for path in found:
        if 'work' in path and any(name.startswith('@') for name in path):
            bind.equal([n for n in path if n in ('work', 'spin') or n.startswith('@')][1:2], ['work'], 'what follows the task in %r' % (path,))


bind.run()
