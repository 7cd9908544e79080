"""Tasks of asyncio: the one that runs as a frame, and what the others wait for."""
import asyncio
import collections
import json
import os
import subprocess
import sys
import threading
import time

import bind
from bind import (CAPTURE_AUTO, CAPTURE_COPY, CAPTURE_SIGNAL, ITEM_STACK, ITEM_TASK, KIND_PYTHON, KIND_TASK, SAMPLES, WAIT_NS, WALL_NS,
                  check)

MODES = (('auto', CAPTURE_AUTO), ('copy', CAPTURE_COPY), ('signal', CAPTURE_SIGNAL))
HAS_TASKS = sys.version_info >= (3, 12)
THIS = os.path.basename(__file__)


def in_each_mode(function):
    for name, mode in MODES:
        bind.test(lambda mode=mode: function(mode), name='%s_%s' % (function.__name__, name), limit=120,
                  long=name != 'auto')
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


# Coroutines that end at once, and tasks of other names that come to lie at the places of the ones before.
def spin_a(n):
    for _ in range(n):
        pass


def spin_b(n):
    for _ in range(n):
        pass


async def churn_a():
    spin_a(20)


async def churn_b():
    await asyncio.sleep(0)
    spin_b(20)


async def agen_c():
    for _ in range(2):
        spin_a(20)
        yield 1


async def churn_c():
    async for _ in agen_c():
        spin_b(10)


def gen_d():
    for _ in range(3):
        spin_a(10)
        yield 1


async def churn_d():
    sum(gen_d())
    await churn_b()


CHURN = {   # what a stack may be from the task on
    'churn_a': ['', 'spin_a'], 'churn_b': ['', 'spin_b'],
    'churn_c': ['', 'spin_b', 'agen_c', 'agen_c spin_a'],
    'churn_d': ['', 'gen_d', 'gen_d spin_a', 'churn_b', 'churn_b spin_b'],
}


async def churn(session, seconds):
    check(not HAS_TASKS or known(session), 'no task was shown')
    session.reset()
    end, i, each = time.perf_counter() + seconds, 0, (churn_a, churn_b, churn_c, churn_d)
    while time.perf_counter() < end:
        for _ in range(50):
            i += 1
            task = asyncio.ensure_future(each[i % 4]())
            task.set_name(str(i)[-1:] + ' churn_' + 'abcd'[i % 4])   # a new string for each
            await task
        await asyncio.gather(*[asyncio.create_task(f(), name=f.__name__) for f in each])


@in_each_mode
def a_task_has_its_own_coroutine(mode):
    needs_tasks()
    with bind.record(rate_hz=5000, capture=mode) as r:
        in_loop(churn(r, 4))
    found = paths(r.profile, SAMPLES, thread='MainThread')
    print(found, r.profile.stats())
    seen = 0
    for path, count in found.items():
        first = next((i for i, name in enumerate(path) if name in CHURN), None)
        if first is None:
            check(not any(name.startswith('@') and 'churn_' in name for name in path), 'a task without its coroutine: %r', path)
            continue
        check(path[first - 1] in ('@' + path[first], 'in_loop') or path[first - 1][2:] == ' ' + path[first], 'the task of %r', path)
        check(' '.join(path[first + 1:]) in CHURN[path[first]], 'what a task calls: %r', path)
        seen += count if path[first - 1].startswith('@') else 0
        bind.enough(path[first - 1].startswith('@') or count < 0.05 * sum(found.values()), '%d without a task: %r', count, path)
    # A thread that is read while it runs is mostly found in the loop, which stands still more often; so is one that is stopped by
    # 5,000 signals a second.
    bind.enough(seen > {CAPTURE_AUTO: 1000, CAPTURE_SIGNAL: 20}.get(mode, 0), 'only %d samples of tasks', seen)


async def unnamed():
    for _ in range(20):
        spin(0.005)
        await asyncio.sleep(0)


async def numbered(session):
    check(known(session), 'no task was shown')
    session.reset()
    await asyncio.gather(*[unnamed() for _ in range(5)])
    await asyncio.gather(*[asyncio.create_task(unnamed(), name='Task-%d' % i) for i in range(5)])
    await asyncio.gather(*[asyncio.create_task(unnamed(), name=name) for name in ('Task-', 'Task-1x', 'T\xe4sk-\u4e00\U0001f600' * 40, '')])


@bind.test
def tasks_that_nobody_named_are_one():
    needs_tasks()
    with bind.record(rate_hz=2000) as r:
        in_loop(numbered(r))
    names = {name for path in paths(r.profile) for name in path if name.startswith('@') and 'unnamed' in path}
    long = [name for name in names if name.startswith('@T\xe4sk')]
    check(len(long) == 1 and 150 < len(long[0].encode()) <= 200 and 'T\xe4sk-\u4e00\U0001f600' in long[0], 'the long name: %r', long)
    bind.equal(names - set(long), {'@Task-*', '@Task-', '@Task-1x', '@<unnamed task>'}, 'names')


async def crowd(session):
    check(known(session), 'no task was shown')
    for i in range(3000):
        await asyncio.create_task(work(0.001, 1), name='crowd %d' % i)


@bind.test
def distinct_names_of_tasks_are_bounded():
    needs_tasks()
    with bind.record(rate_hz=4000) as r:
        in_loop(crowd(r))
    names = {name for path in paths(r.profile) for name in path if name.startswith('@')}
    bind.enough(len(names) > 900, 'only %d names', len(names))
    check(len(names) <= 1002 and '@<more tasks>' in names, '%d names', len(names))


async def named(name, session):
    check(known(session), 'no task was shown')
    asyncio.current_task().set_name(name)
    await work(0.02, 40)


@in_each_mode
def two_threads_with_a_loop_each(mode):
    needs_tasks()
    with bind.record(rate_hz=1000, capture=mode) as r:
        threads = [threading.Thread(target=lambda name=name: in_loop(named('task of ' + name, r)), name=name) for name in ('one', 'two')]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name in ('one', 'two'):
        tasks = collections.Counter()
        for path, value in paths(r.profile, thread=name).items():
            if 'work' in path:
                tasks[path[path.index('work') - 2]] += value
        print(name, tasks)
        total = sum(tasks.values())
        bind.near(tasks['@task of ' + name] / total, 1, 0, 0.02, 'the share of the task of %s' % name)


def drive(coroutine):
    """What a loop does, by hand: these frames belong to no task of their own."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


async def inner_work():
    spin(0.3)


async def outer_work(session):
    check(known(session), 'no task was shown')
    asyncio.current_task().set_name('outer')
    drive(inner_work())
    loop = asyncio.get_running_loop()
    asyncio.Task(eager_work(), loop=loop, name='eager', eager_start=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(inner_work(), name='grouped')
        group.create_task(cancelled_work(), name='cancelled').cancel()
    task = asyncio.create_task(cancelled_work(), name='cancelled')
    await asyncio.sleep(0)
    task.cancel()


async def eager_work():
    spin(0.3)
    await asyncio.sleep(0)
    spin(0.3)


async def waits_for_ever():
    await asyncio.get_running_loop().create_future()


async def cancelled_work():
    try:
        await waits_for_ever()
    except asyncio.CancelledError:
        spin(0.3)
        raise


@bind.test
def tasks_within_tasks():
    needs_tasks()
    with bind.record(rate_hz=1000) as r:
        in_loop(outer_work(r))
    found = collections.Counter()
    for path, value in paths(r.profile).items():
        if path and path[-1] == 'spin' and 'known' not in path:
            found[path[path.index('in_loop') + 1:]] += value / 1e9
    print(found)
    expected = {('@outer', 'outer_work', 'drive', 'inner_work', 'spin'): 0.3,
                ('outer_work', '@eager', 'eager_work', 'spin'): 0.3,
                ('@eager', 'eager_work', 'spin'): 0.3,
                ('@grouped', 'inner_work', 'spin'): 0.3,
                ('@cancelled', 'cancelled_work', 'spin'): 0.3}
    few = sum(value for path, value in found.items() if path not in expected)
    bind.near(few, 0, 0, 0.02, 'seconds elsewhere')
    for path, seconds in expected.items():
        bind.near(found[path], seconds, 0.1, 0.02, 'seconds in %r' % (path,))


# --- what waiting tasks await -----------------------------------------------------------------------------------------


async def innermost(seconds):
    await asyncio.sleep(seconds)


async def middle(seconds):
    await innermost(seconds)


async def outermost(seconds):
    await middle(seconds)


async def ticks(seconds):
    await innermost(seconds)
    yield 1


async def through_agen(seconds):
    async for _ in ticks(seconds):
        pass


class Waiter:
    def __init__(self, seconds):
        self.seconds = seconds

    def __await__(self):
        return (yield from middle(self.seconds).__await__())


async def through_object(seconds):
    await Waiter(seconds)


async def waiting(session, seconds=2.0):
    asyncio.current_task().set_name('all')
    check(known(session), 'no task was shown')
    session.reset()
    await asyncio.gather(asyncio.create_task(outermost(seconds), name='deep'),
                         asyncio.create_task(through_agen(seconds), name='agen'),
                         asyncio.create_task(through_object(seconds), name='object'),
                         asyncio.create_task(asyncio.sleep(seconds / 2), name='half'),
                         *[asyncio.create_task(middle(seconds), name='three') for _ in range(3)])


CHAINS = {('@all', 'waiting'): 1, ('@deep', 'outermost', 'middle', 'innermost'): 1, ('@agen', 'through_agen', 'ticks', 'innermost'): 1,
          ('@object', 'through_object', '__await__', 'middle', 'innermost'): 1, ('@half',): 0.5, ('@three', 'middle', 'innermost'): 3}


def waited(profile):
    """{the task and its coroutines in this file: (task-seconds, count)}"""
    found = collections.defaultdict(lambda: [0, 0])
    for item in profile.visit(ITEM_TASK):
        path = tuple('@' + f.name if f.kind == KIND_TASK else f.name for f in item.stack
                     if f.kind == KIND_TASK or os.path.basename(f.file) == THIS)
        bind.equal([f.kind for f in item.stack].count(KIND_TASK), 1, 'tasks of %r' % (path,))
        bind.equal(item.stack[0].kind, KIND_TASK, 'the first frame')
        if path[-1] == 'innermost' or path == ('@half',):
            bind.equal((item.stack[-1].name, os.path.basename(item.stack[-1].file)), ('sleep', 'tasks.py'), 'what %r ends with' % (path,))
        found[path][0] += item.self[WAIT_NS] / 1e9
        found[path][1] += item.count
    return found


def needs_waiting():
    if sys.version_info < (3, 14):
        bind.skip('CPython 3.14 and later tell the waiting tasks')


@in_each_mode
def tasks_tell_what_they_await(mode):
    with bind.record(rate_hz=200, capture=mode) as r:
        in_loop(waiting(r)) if sys.version_info >= (3, 14) else in_loop(outermost(0.5))
    found = waited(r.profile)
    print(dict(found), r.profile.stats())
    if sys.version_info < (3, 14):
        check(not found, 'waiting tasks: %r', found)
        return
    bind.equal({path for path in found if found[path][0] > 0.05}, set(CHAINS), 'chains')
    for path, share in CHAINS.items():
        bind.near(found[path][0], 2.0 * share, 0.1, 0.1, 'task-seconds of %r' % (path,))
        check(5 * share <= found[path][1] <= 21 * share, '%r was seen %d times', path, found[path][1])
    total = sum(thread.total[WALL_NS] for thread in r.profile.threads()) / 1e9
    bind.near(total, 2.0 * len(r.profile.threads()), 0.2, 0.2, 'the wall time of the threads')
    tasks = r.profile.json()['tasks']
    bind.near(sum(task['wait_ns'] for task in tasks) / 1e9, sum(value[0] for value in found.values()), 0, 0.000001, 'task-seconds in JSON')
    deep = [task for task in tasks if task['stack'][0] == 'deep']
    bind.equal(deep[0]['stack'], ['deep', 'test_asyncio.outermost', 'test_asyncio.middle', 'test_asyncio.innermost', 'tasks.sleep'], 'the stack')
    text = r.profile.write(bind.TEXT).decode()
    part = text[text.index('Waiting tasks'):].splitlines()
    check(part[2].split() == ['%.2f' % max(value[0] for value in found.values()), 's', 'three:', 'middle', '>', 'innermost', '>', 'sleep',
                              part[2].split()[-1]], 'the text: %r', part[:12])
    few = r.profile.visit(ITEM_TASK, function='innermost')
    check(0 < len(few) < len(r.profile.visit(ITEM_TASK)), '%d with a filter', len(few))
    check(not r.profile.visit(ITEM_TASK, thread='nobody'), 'tasks of nobody')


@bind.test
def lines_where_tasks_wait():
    needs_waiting()
    with bind.record(rate_hz=200) as r:
        in_loop(waiting(r, 1.0))
    source = open(__file__).read().splitlines()
    for item in r.profile.visit(ITEM_TASK):
        for frame in item.stack[1:]:
            if os.path.basename(frame.file) == THIS and item.self[WAIT_NS] > 1e8:
                line = source[frame.line - 1]
                check('await' in line or 'yield from' in line or 'async for' in line, '%s waits on line %d: %r', frame.name, frame.line, line)


async def dumped():
    task = asyncio.create_task(outermost(5), name='dumped')
    await asyncio.sleep(0)
    asyncio.current_task().set_name('dumper')
    profile = bind.dump_profile()
    task.cancel()
    return profile


@bind.test
def a_dump_has_tasks():
    profile = in_loop(dumped())
    found = paths(profile, SAMPLES)
    if HAS_TASKS:
        check(any(path[-2:] == ('@dumper', 'dumped') for path in found), 'the running task: %r', found)
    bind.equal(dict(waited(profile)), {('@dumped', 'outermost', 'middle', 'innermost'): [0, 1]}, 'waiting tasks')


TASKS = r"""
import asyncio, gc, json, sys, threading, time

async def innermost(): await asyncio.sleep(1000)
async def middle(): await innermost()
async def outermost(): await middle()

async def ticks():
    await innermost()
    yield 1

async def through_agen():
    async for _ in ticks():
        pass

class Waiter:
    def __await__(self):
        return (yield from middle().__await__())

async def through_object(): await Waiter()

class Yields:                                   # it awaits nothing: a generator is on its value stack, but only as an iterator
    def __init__(self, future):
        self.future = future

    def __await__(self):
        for future in (one for one in [self.future]):
            future._asyncio_future_blocking = True
            yield future

async def yields(): await Yields(asyncio.get_running_loop().create_future())
async def gathers(): await asyncio.gather(outermost(), middle())
async def timed(): await asyncio.wait_for(middle(), 1000)
async def locked(lock):
    async with lock:
        pass
async def ends(): pass

def chain(task):
    # What the interpreter itself tells: root first.
    rows, at = [], task.get_coro()
    while at is not None:
        kind = type(at).__name__
        if kind in ('coroutine_wrapper', 'async_generator_asend'):
            at = next(one for one in gc.get_referents(at) if type(one).__name__ in ('coroutine', 'async_generator'))
            continue
        of = {'coroutine': 'cr', 'generator': 'gi', 'async_generator': 'ag'}.get(kind)
        if not of:
            break
        frame = getattr(at, of + '_frame')
        rows.append((frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno))
        at = getattr(at, 'gi_yieldfrom' if of == 'gi' else of + '_await')
    return rows

def name_of(task):
    name = task.get_name()
    return 'Task-*' if name.startswith('Task-') and name[5:].isdigit() else name

told, kept = {}, []

def tell(loop, thread, done):
    kept.append(loop.create_task(outermost(), **named('new')))      # it has not begun
    told[thread] = sorted((name_of(task), chain(task)) for task in asyncio.all_tasks(loop))
    done.set()
    time.sleep(1000)                            # the loop stands still from now on

def named(name):
    return dict(name=name)

async def main(thread, done):
    loop = asyncio.get_running_loop()
    lock = asyncio.Lock()
    await lock.acquire()
    for function, arguments in ((outermost, ()), (through_agen, ()), (through_object, ()), (yields, ()), (gathers, ()), (timed, ()),
                                (locked, (lock,)), (ends, ())):
        kept.append(asyncio.create_task(function(*arguments), name=function.__name__ + ' ' + thread))
    for i in range(50):
        kept.append(asyncio.create_task(middle(), name='many %d' % i))
        asyncio.create_task(ends())
    stopped = asyncio.create_task(middle(), name='cancelled')
    await asyncio.sleep(0.1)
    stopped.cancel()
    loop.call_later(0.1, tell, loop, thread, done)
    await asyncio.sleep(1000)

events = [threading.Event(), threading.Event()]
threading.Thread(target=lambda: asyncio.run(main('other', events[1])), name='other', daemon=True).start()

def report():
    for event in events:
        event.wait()
    print(json.dumps(told), flush=True)

threading.Thread(target=report, daemon=True).start()
asyncio.run(main('MainThread', events[0]))
"""


@bind.test
def a_dump_has_every_task_of_another_process():
    """Names and stacks are those that the program found itself, by asyncio.all_tasks, cr_await and so on."""
    process = subprocess.Popen([sys.executable, '-c', TASKS], stdout=subprocess.PIPE, universal_newlines=True)
    try:
        told = json.loads(process.stdout.readline())
        for tries in range(20):
            try:
                profile = bind.dump_profile(pid=process.pid)
            except bind.Error as error:
                if 'DENIED' in str(error) or 'UNSUPPORTED' in str(error):
                    bind.skip(str(error))
                raise
            found = collections.defaultdict(list)
            for item in profile.visit(ITEM_TASK):
                row = (item.stack[0].name, [[f.name, f.file, f.line] for f in item.stack[1:]])
                found[item.thread.name] += [row] * item.count
            if all(len(found[thread]) >= len(rows) for thread, rows in told.items()):
                break
            time.sleep(0.1)                     # report() may not have ended its last system call
        check(set(told) == {'MainThread', 'other'}, 'threads: %r', list(told))
        for thread, rows in told.items():
            bind.equal(sorted(found[thread]), [(name, stack) for name, stack in rows], 'the tasks of ' + thread)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def many(session, count):
    check(known(session), 'no task was shown')
    session.reset()
    tasks = [asyncio.create_task(outermost(1.5), name='many') for _ in range(count)]
    for _ in range(10):
        spin(0.05)
        await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)


@bind.test
def thousands_of_tasks_cost_little():
    needs_waiting()
    with bind.record(rate_hz=100) as r:
        in_loop(many(r, 5000))
    stats = r.profile.stats()
    seen = waited(r.profile)[('@many', 'outermost', 'middle', 'innermost')]
    print(seen, stats)
    check(seen[1] >= 1000, 'seen %d times', seen[1])
    check(b'too many tasks' in stats.degraded, 'degraded: %r', stats.degraded)
    check(stats.own_cpu_ns < 0.12 * 1e9 * r.profile.info().duration_s, 'it took %.3f s', stats.own_cpu_ns / 1e9)


@bind.test
def waiting_tasks_of_a_busy_loop():
    """The loop never waits: what the others await is read while its thread is off its CPU."""
    needs_waiting()

    async def busy(session):
        check(known(session), 'no task was shown')
        session.reset()
        tasks = [asyncio.create_task(outermost(60), name='idle %d' % i) for i in range(5)]
        end = time.perf_counter() + 2
        while time.perf_counter() < end:
            await asyncio.gather(*[churn_b() for _ in range(10)], churn_c(), churn_d())
        for task in tasks:
            task.cancel()

    with bind.record(rate_hz=1000) as r:
        in_loop(busy(r))
    found = waited(r.profile)
    print(dict(found), r.profile.stats())
    legal = {'churn_a': [''], 'churn_b': [''], 'churn_c': ['', 'agen_c'], 'churn_d': ['', 'churn_b'], 'busy': ['']}
    for path, value in found.items():
        if path[0].startswith('@idle'):
            bind.equal(path[1:], ('outermost', 'middle', 'innermost'), 'what an idle task awaits') if len(path) > 2 else None
            bind.near(value[0], 2.0, 0.15, 0.1, 'seconds of %r' % (path,)) if len(path) > 2 else None
        else:
            check(path[1] in legal and ' '.join(path[2:]) in legal[path[1]], 'what a task awaits: %r', path)


bind.run()
