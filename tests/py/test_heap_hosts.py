"""The heap tracker in hosts that do odd things: code that is gone, tracing, deep stacks, greenlets, interpreters.

Each function's name tells the line on which it allocates: whatever lies about names or lines is caught. The tests fill
in the files' names, too, which tell the same.
"""
import asyncio
import collections
import contextlib
import gc
import os
import random
import sys
import threading
import time
from ctypes import byref, c_void_p

import bind
from bind import ALLOC_BLOCKS, LIVE_BLOCKS, LIVE_BYTES
from heap import (HEADER, OBJ, PAGE, SAMPLED, at, blocks, four, keep, line, running, sane, shelf, start, table, tell,
                  teller, true_names)

# Each function's name tells the line on which it allocates: whatever lies about names or lines is caught. The tests of
# this part fill in the files' names, too, which tell the same.


@bind.test(limit=120)
def names_of_code_that_is_gone():
    kept = [shelf(5000) for _ in range(4)]
    session = start()
    with contextlib.ExitStack() as stack:
        for i in range(1, 4):
            stack.enter_context(running(tell, 5000, random.Random(i), kept[i]))
        tell(5000, random.Random(0), kept[0])
    gc.collect()
    bind.equal(true_names(session.snapshot()), 20000, 'live blocks at lines of code that is gone')
    for shelf_of_one in kept:
        del shelf_of_one[2500:]
    profile = session.stop()
    bind.equal(true_names(profile), 10000, 'half of them')
    sane(profile)


WIDE = bind.length(3000, 1000)   # lines that allocate, and nothing else
WIDES = bind.length(40, 20)      # functions of such lines


def wide(number):
    body = ''.join('    kept[%d] = b"x" * text\n' % i for i in range(WIDE))
    space = {}
    exec(compile('def wide_%d(kept, text):\n%s' % (number, body), '/heap/wide_%d.py' % number, 'exec'), space)
    return space['wide_%d' % number]


@bind.test(limit=120)
def snapshots_while_stacks_are_new():
    """Whoever reads the tree while it grows sees whole nodes only: nothing gets lost, and nothing stands in a wrong place."""
    sys.setswitchinterval(0.0002)
    functions, kept, done = [wide(i) for i in range(WIDES)], [shelf(WIDE) for _ in range(2)], threading.Event()
    session = start(timeline_s=-1)

    def look():
        pointer = c_void_p()
        while not done.is_set():
            bind.call('snapshot', session.token, None, byref(pointer))   # without the GIL
            bind.released.profile_free(pointer.value)

    def run(which):
        for function in functions[which::2]:
            function(kept[which], PAGE - HEADER)
    with running(look):
        try:
            with running(run, 1):
                run(0)
        finally:
            done.set()
    profile = session.stop()
    every = profile.top(200000, group=bind.GROUP_LINE)
    found = {(row.name, row.line): row.self[ALLOC_BLOCKS] for row in every
             if row.name.startswith('wide_') and row.line > 1}
    bind.equal({key: count for key, count in found.items() if count != 1}, {}, 'lines with more or fewer blocks than one')
    bind.equal(len(found), WIDES * WIDE, 'lines')
    total, domains = profile.info().total, table(profile.info().domains)
    bind.equal([sum(column) for column in zip(*domains)], four(list(total)), 'the domains and the tree')


@bind.test(limit=120)
def names_of_code_that_is_gone_sampled():
    kept = shelf(5000)
    session = start(SAMPLED, heap_interval_bytes=500)
    tell(5000, random.Random(0), kept)
    profile = session.stop()
    found = 0
    for row in profile.top(group=bind.GROUP_LINE):
        if row.name.startswith('at_') and row.self[LIVE_BLOCKS]:
            bind.equal((str(row.line), row.file), (row.name[3:], '/heap/teller_%s.py' % row.name[3:]), 'line of ' + row.name)
            found += row.self[LIVE_BLOCKS]
    bind.near(found, 5000, 0.1, what='live blocks')


@bind.test(limit=120)
def under_trace_and_profile_functions():
    """A debugger, a coverage tool and a profiler of the host's own, which allocate themselves, in every thread."""
    seen, kept = [], [shelf(300) for _ in range(3)]

    def trace(frame, event, argument):
        seen.append((event, frame.f_lineno, 'x%d' % len(seen)))
        if len(seen) > 1000:
            del seen[:]
        return trace

    def profile_function(frame, event, argument):
        seen.append([event] * 3)

    session = start()
    threading.settrace(trace)
    threading.setprofile(profile_function)
    sys.settrace(trace)
    sys.setprofile(profile_function)
    try:
        with running(tell, 300, random.Random(1), kept[1]), running(tell, 300, random.Random(2), kept[2]):
            tell(300, random.Random(0), kept[0])
    finally:
        sys.settrace(None)
        sys.setprofile(None)
        threading.settrace(None)
        threading.setprofile(None)
    profile = session.stop()
    bind.equal(true_names(profile, traced=True), 900, 'live blocks')
    sane(profile)


@bind.test
def under_monitoring():
    """sys.monitoring, as new coverage tools use it: instrumented code has other instructions."""
    if sys.version_info < (3, 12):
        bind.skip('there is no sys.monitoring')
    monitoring, kept, seen = sys.monitoring, shelf(300), []
    monitoring.use_tool_id(2, 'test')
    for event in monitoring.events.LINE, monitoring.events.PY_START, monitoring.events.CALL:
        monitoring.register_callback(2, event, lambda *arguments: seen.append(str(len(seen))))
    session = start()
    monitoring.set_events(2, monitoring.events.LINE | monitoring.events.PY_START | monitoring.events.CALL)
    try:
        tell(300, random.Random(0), kept)
    finally:
        monitoring.set_events(2, 0)
        monitoring.free_tool_id(2)
    bind.equal(true_names(session.stop(), traced=True), 300, 'live blocks')


def generate(kept):
    text = PAGE - HEADER
    for i in range(len(kept)):
        kept[i] = b'x' * text   # here
        yield i


async def co_keep(kept):
    text = PAGE - HEADER
    for i in range(len(kept)):
        kept[i] = b'x' * text   # here
        await asyncio.sleep(0)


def consume(kept):
    for _ in generate(kept):
        pass


def stacks(profile, name, metric=LIVE_BLOCKS):
    """{names from the root: value} of the stacks that end in a function of that name"""
    found = {}
    for item in profile.visit(bind.ITEM_STACK):
        if item.stack[-1].name == name and item.self[metric]:
            key = tuple(frame.name for frame in item.stack)
            found[key] = found.get(key, 0) + item.self[metric]
    return found


@bind.test
def generators_and_coroutines():
    kept, first, second = shelf(100), shelf(50), shelf(50)

    async def both():
        await asyncio.gather(co_keep(first), co_keep(second))

    session = start()
    consume(kept)
    asyncio.new_event_loop().run_until_complete(both())
    profile = session.stop()
    bind.equal(four(at(profile, generate)), blocks(100), 'the generator')
    bind.equal(four(at(profile, co_keep)), blocks(100), 'the coroutines')
    for key in stacks(profile, 'generate'):
        bind.equal(key[-2:], ('consume', 'generate'), 'who called the generator')
    sane(profile)


def dig(depth, kept):
    if depth:
        return dig(depth - 1, kept)
    keep(kept)


def deep(max_depth, expected):
    """expected: frames of dig that are kept, at least"""
    kept = shelf(50)
    session = start(max_depth=max_depth)
    thread = threading.Thread(target=dig, args=(5000, kept))
    thread.start()
    thread.join()
    profile = session.stop()
    bind.equal(four(at(profile, keep)), blocks(50), 'at the bottom')
    found = [item.stack for item in profile.visit(bind.ITEM_STACK, function='keep') if item.self[LIVE_BLOCKS] >= 10]
    bind.equal(len(found), 1, 'stacks of keep')
    names = [frame.name for frame in found[0]]
    print(max_depth, len(names), names[:3])
    bind.equal(names[-1], 'keep', 'the innermost')
    bind.check(len(names) <= (max_depth or 1024) + 1, '%d frames', len(names))
    bind.check(names.count('dig') >= expected - 1, '%d frames of dig: %r ...', names.count('dig'), names[:3])
    bind.check(names.count('dig') == 5001 or names[0] == '<truncated>', 'cut, but untold: %r', names[:3])


@bind.test(limit=120)
def deep_recursion():
    sys.setrecursionlimit(20000)
    threading.stack_size(256 << 20)
    deep(8000, 3 * 1024)   # three quarters of 4096
    deep(0, 3 * 256)
    deep(16, 12)


def fork_of(level):
    return level * 2654435761 >> 13 & 3


def climb(level, top, kept, sides):
    """Goes up to a level, by one of four calls on each, and comes back; now and then makes a detour on the way."""
    kept[0][level] = b'x' * (PAGE - HEADER)   # up
    if level < top:
        way = fork_of(level)
        if way == 0:
            climb(level + 1, top, kept, sides)   # 0
        elif way == 1:
            climb(level + 1, top, kept, sides)   # 1
        elif way == 2:
            climb(level + 1, top, kept, sides)   # 2
        else:
            climb(level + 1, top, kept, sides)   # 3
        if sides and sides.pop() < 30:
            climb(level + 1, min(level + 1 + sides.pop(), 80), kept, sides)   # aside
    kept[1][level] = b'x' * (PAGE - HEADER)   # down


@bind.test
def stacks_that_are_cut_at_any_depth():
    """What is told of a stack that comes and goes around the depth allowed is the end of a true one, and long enough."""
    random_ = random.Random(5)
    kept, sides = [shelf(100), shelf(100)], [random_.randrange(100) for _ in range(250)]
    session = start(max_depth=16)
    while sides:
        climb(0, 80, kept, sides)
    profile = session.stop()
    calls = [line(climb, '# %d' % way) for way in range(4)]
    ends, aside = {line(climb, '# up'), line(climb, '# down')}, line(climb, '# aside')
    lengths = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, function='climb'):
        names = [frame.name for frame in item.stack]
        lines = [frame.line for frame in item.stack if frame.name == 'climb']
        cut = '<truncated>' in names
        below = names.index('<truncated>') + 1 if cut else 0
        if names[-1] != 'climb' or lines[-1] not in ends:
            continue
        fits = [first for first in range(81 - len(lines) + 1 if names[below] == 'climb' else 1)
                if all(at_line in (calls[fork_of(first + i)], aside) for i, at_line in enumerate(lines[:-1]))]
        bind.check(fits, 'no such stack: %r', lines)
        lengths[cut, len(names) - below] += 1
    print(sorted(lengths.items()))
    bind.check(all(12 <= length <= 16 for cut, length in lengths if cut), 'lengths: %r', lengths)
    bind.check({length for cut, length in lengths if cut} >= set(range(12, 17)), 'lengths: %r', lengths)


@bind.test
def a_deep_stack_is_not_built_anew():
    """Each allocation on a stack that is too deep once made a thousand sites of its own."""
    kept = [shelf(3000), shelf(3000)]
    sys.setrecursionlimit(20000)
    threading.stack_size(256 << 20)
    session = start()
    thread = threading.Thread(target=climb, args=(0, 2990, kept, []))
    thread.start()
    thread.join()
    profile = session.stop()
    bind.check(b'max_bytes' not in profile.stats().degraded, 'degraded: %r', profile.stats().degraded)
    bind.equal(profile.info().total[LIVE_BLOCKS] >= 2 * 2991, True, 'all are there')


def descend(depth, kept, i):
    """Allocates at the bottom, where every stack is the same but for one frame in the middle."""
    if depth == 37 and i & 1:
        descend(36, kept, i)   # odd
    elif depth:
        descend(depth - 1, kept, i)   # even
    else:
        kept[i] = b'x' * (PAGE - HEADER)


def through(depth, kept, i):
    """The same, with generators between the frames, which suspend and go on in the same place."""
    if depth == 37 and i & 1:
        yield from through(36, kept, i)   # odd
    elif depth % 8:
        descend(7, [None], 0)
        yield from through(depth - 1, kept, i)   # even
    elif depth:
        list(through(depth - 1, kept, i))   # even, anew
    else:
        kept[i] = b'x' * (PAGE - HEADER)


def odd_and_even(function, kept, profile):
    """Half of the blocks came by either line."""
    odd, counts = line(function, '# odd'), collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, function=function.__name__):
        lines = [frame.line for frame in item.stack if frame.name == function.__name__]
        if item.self[LIVE_BYTES] >= PAGE * len(kept) // 4 and len(lines) == 61:
            counts[lines.count(odd)] += item.self[LIVE_BYTES]
    each = PAGE * len(kept) // 2
    bind.equal(dict(counts), {0: each, 1: each}, 'bytes by frames at the odd line')


@bind.test
def a_frame_far_below_moves_on():
    kept = shelf(200), shelf(200)
    session = start()
    for i in range(200):
        descend(60, kept[0], i)
    for i in range(200):
        list(through(60, kept[1], i))
    profile = session.stop()
    odd_and_even(descend, kept[0], profile)
    odd_and_even(through, kept[1], profile)


@bind.test
def greenlets():
    try:
        import greenlet
    except ImportError:
        bind.skip('greenlet is not installed')
    kept, others = shelf(100), []

    def work(i):
        for j in range(10):
            teller(10 + i)(kept, 10 * i + j, PAGE - HEADER)
            others[(i + 1) % 10].switch(*([(i + 1) % 10] if j == 0 else []))

    session = start()
    others.extend(greenlet.greenlet(work) for _ in range(10))
    others[0].switch(0)
    bind.equal(true_names(session.stop()), sum(place is not None for place in kept), 'live blocks')


IN_ANOTHER = """
import os
def keep(count):
    kept = [None] * count
    for i in range(count):
        kept[i] = b'x' * (4000 + i %% 2)   # not a constant
    return kept
kept = keep(%d)
os.write(%d, b'.')
os.read(%d, 1)
del kept
"""


def named(profile, name, metric, **query):
    return sum(row.self[metric] for row in profile.top(group=bind.GROUP_FUNCTION, **query) if row.name == name)


@bind.test
def other_interpreters():
    """Four at once, from 3.12 on each with a GIL of its own: what they keep is theirs, and is gone when they end."""
    module, ready, go = bind.interpreters_module(), os.pipe(), os.pipe()
    ids = [module.create() for _ in range(4)]
    session = start()
    source = IN_ANOTHER % (1000, ready[1], go[0])
    runners = [threading.Thread(target=module.run_string, args=(id, source), daemon=True) for id in ids]
    for runner in runners:
        runner.start()
    for _ in ids:
        os.read(ready[0], 1)
    profile = session.snapshot()
    blocks = named(profile, 'keep', LIVE_BLOCKS)
    bind.check(4000 <= blocks <= 4040, '%d live blocks', blocks)   # and each list
    bind.check(named(profile, 'keep', LIVE_BYTES) > 4000 * 4000, 'live bytes')
    kept_by = [row.self[LIVE_BLOCKS] for row in profile.top(group=bind.GROUP_THREAD) if row.self[LIVE_BLOCKS] >= 1000]
    bind.equal(len(kept_by), 4, 'threads that keep 1000 blocks')
    os.write(go[1], b'....')
    for runner in runners:
        runner.join()
    for id in ids:
        module.destroy(id)
    profile = session.stop()
    sane(profile)
    bind.check(named(profile, 'keep', LIVE_BLOCKS) < 100, 'live blocks after their end')
    bind.check(named(profile, 'keep', ALLOC_BLOCKS) >= 4000, 'allocated blocks')


@bind.test
def threads_that_are_filtered():
    """thread_filter is for memory, too; the totals of the process are not filtered."""
    kept = [shelf(100), shelf(100)]
    session = start(thread_filter=b'wanted*')

    def work(kept):
        ident = threading.get_ident()
        thread = threading._active.pop(ident)   # nobody can learn its name at first
        keep(kept)
        time.sleep(0.5)
        threading._active[ident] = thread
        time.sleep(0.5)

    with running(work, kept[0], name='wanted 1'), running(work, kept[1], name='other'):
        pass
    bind.eventually(lambda: at(session.snapshot(), keep)[LIVE_BLOCKS] == 100, 'the blocks of one thread')
    profile = session.stop()
    bind.equal({thread.name for thread in profile.threads() if thread.total[LIVE_BLOCKS]}, {'wanted 1'}, 'threads')
    bind.check(profile.info().domains[OBJ].live_blocks >= 200, 'live blocks of the process')


if __name__ == '__main__':
    bind.run()
