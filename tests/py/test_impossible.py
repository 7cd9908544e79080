"""Recorded stacks never hold a call that the program does not make (see known_calls.py)."""
import asyncio
import collections
import subprocess
import sys
import time

import bind
from bind import SAMPLES
from known_calls import churn_main, impossible, known_lines, leaf_work, trace_run
from recording import balanced, running


def hunt(seconds, threads, **config):
    steps = trace_run()
    with bind.record(**config) as r:
        with running(churn_main, 0, bind.length(seconds, seconds / 6), name='churn', count=threads):
            pass
    stats = r.profile.stats()
    wrong = impossible(r.profile, steps, known_lines())
    print(dict(wrong), stats)
    balanced(stats)
    good = wrong.pop('good', 0)
    bind.check(good > 1000, 'only %d samples', good)
    bind.equal(dict(wrong), {}, 'impossible stacks')


@bind.test(limit=90)
def no_impossible_stacks():
    hunt(8, 1, rate_hz=5000)


@bind.test(limit=90)
def no_impossible_stacks_of_four_threads():
    sys.setswitchinterval(0.0005)
    hunt(8, 4, rate_hz=2000)


@bind.test(limit=90, alone=True)
def no_impossible_stacks_beside_busy_processes():
    hogs = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass']) for _ in range(3)]
    try:
        hunt(8, 2, rate_hz=2000)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@bind.test(limit=90)
def no_impossible_calls_by_copying():
    """The converging copy may tell an old line of a caller, never a call that is none."""
    steps = trace_run()
    with bind.record(rate_hz=5000, capture=bind.CAPTURE_COPY) as r:
        with running(churn_main, 0, bind.length(8, 2), name='churn'):
            pass
    wrong = impossible(r.profile, steps, {})
    print(dict(wrong), r.profile.stats())
    good = wrong.pop('good', 0)
    lines = wrong.pop('line', 0)
    bind.check(good > 1000, 'only %d samples', good)
    bind.check(lines < 0.08 * good, '%d of %d with an old line', lines, good)
    bind.check(sum(wrong.values()) <= 3e-4 * good, 'impossible stacks: %r', dict(wrong))


async def task_leaf(n):
    await asyncio.sleep(0)
    return leaf_work(n)


async def task_middle(n):
    return await task_leaf(n)


async def task_main(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await asyncio.gather(*[asyncio.ensure_future(task_middle(50)) for _ in range(10)])


@bind.test
def asyncio_stacks():
    legal = {('task_main',), ('task_middle',), ('task_middle', 'task_leaf'), ('task_middle', 'task_leaf', 'leaf_work'), ()}
    files = __file__, leaf_work.__code__.co_filename
    loop = asyncio.new_event_loop()
    with bind.record(rate_hz=3000) as r:
        loop.run_until_complete(task_main(bind.length(4)))
    loop.close()
    seen = collections.Counter()
    for item in r.profile.visit(bind.ITEM_STACK):
        frames = [f for f in item.stack if f.kind == bind.KIND_PYTHON]
        names = [f.name for f in frames]
        if 'run_until_complete' not in names:
            continue
        below = frames[names.index('run_until_complete'):]
        ours = tuple(f.name for f in below if f.file in files and f.name != '<listcomp>')
        bind.check(ours in legal, 'impossible: %r', names)
        seen[ours] += item.self[SAMPLES]
        # ours are called by the loop's _run or by each other, and never call back into the loop, but for gather and sleep
        first = next((i for i, f in enumerate(below) if f.file in files), None)
        if first is not None:
            bind.equal([f.name for f in below[:first]], ['run_until_complete', 'run_forever', '_run_once', '_run'], 'the way in')
    print(dict(seen))
    for stack in (('task_main',), ('task_middle', 'task_leaf', 'leaf_work')):
        bind.check(seen[stack] > 0, 'never seen: %r', stack)


if __name__ == '__main__':
    bind.run()
