"""Small functions that call each other in known ways. A traced run tells which function calls which, on which line; no
sample may hold a step that the traced run does not have.
"""
import collections
import sys
import time

import bind
from bind import SAMPLES
from recording import name_of, running


def leaf_work(n):
    x = 0
    for i in range(n):
        x += i
    return x


def yo(n):
    if n:
        return yo(n - 1)
    return leaf_work(3)


def ping(n):
    return pong(n - 1) if n else leaf_work(2)


def pong(n):
    if n:
        return (
            ping(n - 1)
        )
    return leaf_work(1)


def gen_leaf(n):
    for i in range(n):
        yield leaf_work(i)


def gen_middle(n, depth):
    if depth:
        yield from gen_middle(n, depth - 1)
    else:
        for x in gen_leaf(n):
            yield x


def gen_user():
    total = 0
    for x in gen_middle(4, 5):
        total += x
    return total + sum(gen_leaf(3))


def short_a():
    return short_b()


def short_b():
    return short_c()


def short_c():
    return None


class Node:
    def __init__(self, n):
        self.n = n
        self.below = Node(n - 1) if n else None

    @property
    def depth(self):
        return self.below.depth + 1 if self.below else 0

    def __add__(self, other):
        return self.depth + other.depth

    def __lt__(self, other):
        return self.n < other.n

    def __del__(self):
        short_c()


def nodes():
    a, b = Node(6), Node(3)
    return a + b, sorted([b, a, Node(0)])[0].n


def key_of(x):
    return -x if x % 2 else leaf_work(x)


def callbacks():
    return sorted(range(8), key=key_of), list(map(lambda x: yo(x), [1, 2])), [y for y in (leaf_work(z) for z in [1, 2])]


class Step:
    def __await__(self):
        yield leaf_work(2)


async def co_leaf(n):
    await Step()
    return leaf_work(n)


async def co_middle(n):
    if n:
        return await co_middle(n - 1)
    return await co_leaf(3)


async def agen(n):
    for i in range(n):
        await Step()
        yield i


async def co_main():
    total = await co_middle(4)
    async for x in agen(3):
        total += x
    return total


def drive():
    c = co_main()
    try:
        while True:
            c.send(None)
    except StopIteration as stop:
        return stop.value


def raising(n):
    if not n:
        raise KeyError(n)
    try:
        raising(n - 1)
    finally:
        short_a()


def exceptions():
    try:
        raising(5)
    except KeyError:
        short_b()


def one_round():
    yo(20)
    ping(15)
    gen_user()
    short_a()
    nodes()
    callbacks()
    drive()
    exceptions()


def churn_main(rounds, seconds):
    end = time.perf_counter() + seconds
    while rounds > 0 or time.perf_counter() < end:
        one_round()
        rounds -= 1


def where(code):
    return (code.co_filename, name_of(code), code.co_firstlineno)


def trace_run():
    """Every (caller, its line, callee) of a run."""
    steps, inside = set(), []

    def trace(frame, event, argument):
        if event == 'call':
            while frame.f_code is not churn_main.__code__ and frame.f_back is not None:
                steps.add((where(frame.f_back.f_code), frame.f_back.f_lineno, where(frame.f_code)))
                frame = frame.f_back
        return None

    def traced():
        sys.settrace(trace)
        try:
            churn_main(300, 0)
        finally:
            sys.settrace(None)

    with running(traced):
        pass
    steps.add((where(trace_run.__code__), 0, where(churn_main.__code__)))
    return steps


def lines_of(code, lines):
    """The lines on which each function can stand: its own, and the first one before it begins."""
    lines.setdefault(where(code), {code.co_firstlineno}).update(
        [line for _, _, line in code.co_lines()] if hasattr(code, 'co_lines') else range(1, 100000))
    for constant in code.co_consts:
        if hasattr(constant, 'co_code'):
            lines_of(constant, lines)


def known_lines():
    """The lines of all that runs here."""
    lines = {}
    for value in list(globals().values()):
        if hasattr(value, '__code__'):
            lines_of(value.__code__, lines)
    return lines


def functions_of(steps):
    return {(caller, callee) for caller, _, callee in steps}


def checked(kind, stack, functions, steps, lines):
    """The kind of a stack from the work down, each frame a place and a line: kind, unless its calls are wrong."""
    for (caller, line), (callee, _) in zip(stack, stack[1:]):
        if (caller, callee) not in functions:
            kind = 'call'
        elif (caller, line, callee) not in steps and kind == 'good':
            kind = 'line'
    if kind == 'good' and stack[-1][0] in lines and stack[-1][1] not in lines[stack[-1][0]]:
        kind = 'leaf line'
    return kind


def impossible(profile, steps, lines):
    """Counts samples in churn_main by their fault."""
    wrong, shown, functions = collections.Counter(), 0, functions_of(steps)
    churn = where(churn_main.__code__)
    for item in profile.visit(bind.ITEM_STACK):
        stack = [((f.file, f.qualname, f.first_line), f.line) for f in item.stack if f.kind == bind.KIND_PYTHON]
        places = [place for place, _ in stack]
        count = item.self[SAMPLES]
        if item.thread.name != 'churn':
            continue
        kind = 'good'
        if churn not in places:
            if any(place[0] == __file__ for place in places):
                kind = 'rootless'
        else:
            at = places.index(churn)
            if [place[1].split('.')[-1] for place in places[:at]] != ['_bootstrap', '_bootstrap_inner', 'run']:
                kind = 'root'
            kind = checked(kind, stack[at:], functions, steps, lines)
        wrong[kind] += count
        if kind != 'good' and shown < 5:
            shown += 1
            print('%s, %d samples: %s' % (kind, count, ' > '.join('%s:%d' % (place[1], line) for place, line in stack)))
    return wrong
