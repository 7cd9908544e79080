"""The workloads: small functions whose stacks are known. What may stand where is told in comments: see grammar.py.

    PYTHON tests/oracle/workloads.py NAME SECONDS TRUTH.json

runs one, and writes what it knows about itself: its root, and how long it was where. Most of them have two families of
functions, a and b, that never call each other: a stack made of two moments mixes them. They run in bursts of random
length, timed with perf_counter_ns, that do a, or b, or both by turns.
"""
import json
import os
import random
import re
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Unavailable(Exception):
    """This cannot run here: the reason."""


class Workload:
    def __init__(self, name, text, most=0, rate=1.0, tops=True, bare=False, setup=None):
        self.name, self.text, self.most, self.rate = name, text, most, rate
        self.tops = tops        # its top functions can be compared with those that a signal handler sees
        self.bare = bare        # the thread can also have states without any frame
        self.setup = setup      # returns more names for the text, or why it cannot run here
        self.file = 'work_%s.py' % name   # no file of the standard library is called so

    def load(self):
        """The module, as a dictionary, and its code object."""
        code = compile(self.text, os.path.join(HERE, self.file), 'exec')
        dice = random.Random(7)
        space = {'__name__': self.name, 'clock': time.perf_counter_ns, 'truth': {}, 'note': note,
                 'SIZES': [dice.randrange(50, 3000) * 1000 for _ in range(999)]}   # ns
        more = self.setup() if self.setup else {}
        if isinstance(more, str):
            raise Unavailable(more)
        space.update(more)
        exec(code, space)
        return space, code

    def grammar(self, code=None):
        from grammar import Grammar
        sources = {self.file: (self.text, code)}
        if self.name == 'interpreters':
            sources['inside.py'] = INSIDE, None, 'interpreter'
        made = Grammar(sources, fresh_source, self.most)
        made.prefixes['thread'] = [('threading.py', name, 0) for name in ('_bootstrap', '_bootstrap_inner', 'run')]
        return made


PREFIX = []


def note():
    """Called by main first: notes what stands above it."""
    frame = sys._getframe(2)
    del PREFIX[:]
    while frame:
        PREFIX.insert(0, (os.path.basename(frame.f_code.co_filename), frame.f_code.co_name, frame.f_lineno))
        frame = frame.f_back


def chain(depth, body, last):
    """body for 0, 1, 2 ... depth - 1, then last. {k} is the number, {n} the next."""
    parts = [body] * depth + [last]
    return ''.join(part.replace('{k}', str(k)).replace('{n}', str(k + 1)) for k, part in enumerate(parts))


def both(text):
    """The same text for both families: what is a_ in it, and b_."""
    return text.replace('@', 'a') + text.replace('@', 'b')


BURSTS = '''
def main(end):  # root main
    note()  # -> ...
    a = b = mixed = turn = 0
    while clock() < end:
        t = clock()
        burst_a(t + SIZES[turn])  # -> burst_a
        u = clock()
        burst_b(u + SIZES[turn + 1])  # -> burst_b
        v = clock()
        burst_mixed(v + SIZES[turn + 2])  # -> burst_mixed
        w = clock()
        a, b, mixed, turn = a + u - t, b + v - u, mixed + w - v, (turn + 3) % 999
    truth['shares'] = {'burst_a': a, 'burst_b': b, 'burst_mixed': mixed}

'''

CALLS = BURSTS + '''
def burst_a(until):
    while clock() < until:
        a0()  # -> a0

def burst_b(until):
    while clock() < until:
        b0()  # -> b0

def burst_mixed(until):
    while clock() < until:
        a0()  # -> a0
        b0()  # -> b0
'''

YOYO = '''
def @{k}():
    return @{n}()  # -> @{n}
''', '''
def @{k}():
    return None
'''

STEADY = BURSTS + '''
def burst_a(until):
    a0(until)  # -> a0

def burst_b(until):
    b0(until)  # -> b0

def burst_mixed(until):
    if until % 2:
        a0(until)  # -> a0
    else:
        b0(until)  # -> b0

def leaf_1():
    return None

def leaf_2():
    return leaf_1()  # -> leaf_1

def leaf_3():
    x = leaf_1()  # -> leaf_1
    return (
        leaf_2()  # -> leaf_2
    )
'''
STEADY_CHAIN = '''
def @{k}(until):
    return @{n}(until)  # -> @{n}
''', '''
def @{k}(until):
    while clock() < until:
        leaf_1()  # -> leaf_1
        leaf_3()  # -> leaf_3
        leaf_2()  # -> leaf_2
'''

GENERATORS = BURSTS + '''
def burst_a(until):
    while clock() < until:
        for x in a0():  # -> a0
            pass

def burst_b(until):
    while clock() < until:
        for x in b0():  # -> b0
            touch(x)  # -> touch
        sum(touch(x) for x in THREE)  # -> <genexpr>; <genexpr>: touch

def burst_mixed(until):
    while clock() < until:
        other = b0()
        for x in a0():  # -> a0
            next(other)  # -> b0
        next(other, None)  # -> b0

def touch(x):
    return x

THREE = 1, 2, 3
'''
GENERATOR_CHAIN = '''
def @{k}():
    yield {k}
    yield from @{n}()  # -> @{n}
''', '''
def @{k}():
    for x in THREE:
        yield x
'''

COROUTINES = BURSTS + '''
def burst_a(until):
    while clock() < until:
        drive_a()  # -> drive_a

def burst_b(until):
    while clock() < until:
        drive_b()  # -> drive_b

def burst_mixed(until):
    while clock() < until:
        drive_a()  # -> drive_a
        drive_b()  # -> drive_b

def drive_a():
    c = a0()
    try:
        while True:
            c.send(None)  # -> a0
    except StopIteration:
        pass

def drive_b():
    c = each_b()
    try:
        while True:
            c.send(None)  # -> each_b
    except StopIteration:
        pass

async def each_b():
    async for x in some_b():  # -> some_b
        touch(x)  # -> touch

async def some_b():
    for x in THREE:
        await b0()  # -> b0
        yield x

def touch(x):
    return x

class Step:
    def __await__(self):
        yield touch(2)  # -> touch

THREE = 1, 2, 3
'''
COROUTINE_CHAIN = '''
async def @{k}():
    return await @{n}()  # -> @{n}
''', '''
async def @{k}():
    await Step()  # -> __await__
    touch(3)  # -> touch
'''

ASYNCIO = '''
import asyncio

def main(end):  # root main
    note()  # -> ...
    loop = asyncio.new_event_loop()  # -> ...
    turn = 0
    while clock() < end:
        t = clock()
        loop.run_until_complete(tasks_a(t + SIZES[turn]))  # -> ..., LOOP/tasks_a, LOOP/a0
        u = clock()
        loop.run_until_complete(tasks_b(u + SIZES[turn + 1]))  # -> ..., LOOP/tasks_b, LOOP/b0
        turn = (turn + 2) % 998
    loop.close()  # -> ...

async def tasks_a(until):
    while clock() < until:
        await asyncio.gather(a0(), a0(), a0(), a0())  # -> ...

async def tasks_b(until):
    while clock() < until:
        await asyncio.gather(b0(), b0(), b0(), b0())  # -> ...

async def yielding():
    await asyncio.sleep(0)  # -> ...

def touch(x):
    return x
'''.replace('LOOP', 'run_until_complete/run_forever/_run_once/_run')
TASK_CHAIN = '''
async def @{k}():
    await @{n}()  # -> @{n}
''', '''
async def @{k}():
    touch(1)  # -> touch
    await yielding()  # -> yielding
    touch(2)  # -> touch
'''

CALLBACK_CHAIN = '''
def @{k}(*x):
    return sorted(ONE, key=@{n})  # -> @{n}
''', '''
def @{k}(*x):
    return list(map(@{n}, ONE))  # -> @{n}
''', '''
def @{k}(*x):
    return reduce(@{n}, TWO)  # -> @{n}
'''
CALLBACKS = '''
from functools import reduce
ONE, TWO = [1], [1, 2]
''' + CALLS

EXCEPTIONS = BURSTS + '''
class Up(Exception):
    pass

def burst_a(until):
    turn = 0
    while clock() < until:
        a0(LOWS[turn], HIGHS[turn])  # -> a0
        turn = (turn + 1) % 900

def burst_b(until):
    turn = 0
    while clock() < until:
        try:
            b0(LOWS[turn], HIGHS[turn])  # -> b0
        except Up:
            tidy()  # -> tidy
        turn = (turn + 1) % 900

def burst_mixed(until):
    turn = 0
    while clock() < until:
        turn = (turn + 1) % 900
        try:
            a0(LOWS[turn], HIGHS[turn])  # -> a0
            b0(LOWS[turn], HIGHS[turn])  # -> b0
        except Up:
            pass

def tidy():
    return None

LOWS = [size // 1000 % 29 for size in SIZES]
HIGHS = [low + 1 + size // 1000 % (29 - low) for low, size in zip(LOWS, SIZES[99:])]
'''
CATCHING = '''
def a{k}(low, high):
    if high == {k}:
        raise Up({k})
    try:
        return a{n}(low, high)  # -> a{n}
    except Up:
        if low < {k}:
            raise
        return tidy()  # -> tidy
''', '''
def a{k}(low, high):
    raise Up({k})
'''
FINALLY = '''
def b{k}(low, high):
    if high == {k}:
        raise Up({k})
    try:
        return b{n}(low, high)  # -> b{n}
    finally:
        tidy()  # -> tidy
''', '''
def b{k}(low, high):
    raise Up({k})
'''

INIT = CALLS + '''
class Base:
    def __init__(self, n):
        self.n = n
        leaf()  # -> leaf

def leaf():
    return None

def a0():
    class Thing:  # -> Thing
        def __init__(self, n):
            self.n = n
            leaf()  # -> leaf
    for n in HUNDRED:
        Thing(n)  # -> a0.Thing.__init__

def b0():
    class Other(Base):  # -> Other
        def __new__(cls, n):
            return object.__new__(cls)
        def __init__(self, n):
            super().__init__(n)  # -> Base.__init__
    for n in HUNDRED:
        Other(n)  # -> Other.__init__, Other.__new__

HUNDRED = range(100)
'''

FRESH = '''
def main(end):  # root main
    note()  # -> ...
    lives, number = [], 0
    while clock() < end:
        number += 1
        space = {'clock': clock}
        code = compile(fresh_text(number), FRESH_FILE % number, 'exec')  # -> ...
        born = now()
        exec(code, space)  # -> FRESH
        space['f_%d' % number](clock() + SIZES[number % 999])  # -> FRESH
        lives.append((born, now()))
        del code
        space.clear()
    truth['lives'] = lives
'''

PHASES = '''
def main(end):  # root main
    note()  # -> ...
    spent, turn = [0, 0, 0], 0
    while clock() < end:
        t = clock()
        which = SIZES[turn] // 1000 % 3
        if which == 0:
            phase_a(t + SIZES[turn] * 5)  # -> phase_a
        elif which == 1:
            phase_b(t + SIZES[turn] * 3)  # -> phase_b
        else:
            phase_c(t + SIZES[turn])  # -> phase_c
        spent[which] += clock() - t
        turn = (turn + 1) % 999
    truth['shares'] = {'phase_a': spent[0], 'phase_b': spent[1], 'phase_c': spent[2]}

def phase_a(until):
    x = 0
    while clock() < until:
        for i in HUNDRED:
            x += i

def phase_b(until):
    while clock() < until:
        tiny()  # -> tiny

def phase_c(until):
    while clock() < until:
        for i in HUNDRED:
            down_0(i)  # -> down_0

def tiny():
    return None

HUNDRED = range(100)
'''
DOWN = '''
def down_{k}(i):
    return down_{n}(i + 1)  # -> down_{n}
''', '''
def down_{k}(i):
    return i
'''

THREADS = '''
from threading import Thread

def main(end):  # root main
    note()  # -> ...
    number = 0
    while clock() < end:
        threads = []  # -> ...
        for i in range(4):
            number += 1
            family, target = (('a', work_a), ('b', work_b), ('a', short_a), ('b', short_b))[i]
            threads.append(Thread(target=target, name='%s %d' % (family, number)))  # -> ...
            threads[-1].start()  # -> ...
        for thread in threads:  # -> ...
            thread.join()  # -> ...
    truth['threads'] = number

def work_a():  # root thread
    until = clock() + 1000000
    while clock() < until:
        a0()  # -> a0

def work_b():  # root thread
    until = clock() + 500000
    while clock() < until:
        b0()  # -> b0

def short_a():  # root thread
    a0()  # -> a0

def short_b():  # root thread
    b0()  # -> b0
'''

DEEP = '''
from threading import Thread, stack_size
from sys import setrecursionlimit

def main(end):  # root main
    note()  # -> ...
    stack_size(STACK)
    setrecursionlimit(DEEP + 1000)
    while clock() < end:
        thread = Thread(target=deep, args=(end,), name='deep')  # -> ...
        thread.start()  # -> ...
        thread.join()  # -> ...

def deep(end):  # root thread
    down_a(DEEP)  # -> down_a

def down_a(n):
    if n:
        return down_b(n - 1)  # -> down_b
    hold()  # -> hold

def down_b(n):
    return down_c(n - 1)  # -> down_c

def down_c(n):
    return down_a(n - 1)  # -> down_a

def hold():
    until = clock() + 200000000
    while clock() < until:
        leaf()  # -> leaf

def leaf():
    return None
'''
DEPTH = 100002   # a multiple of 3

INTERPRETERS = '''
def main(end):  # root main
    note()  # -> ...
    made = 0
    while clock() < end:
        one = create()
        for i in range(3):
            run(one, SCRIPT)
        destroy(one)
        made += 1
    truth['interpreters'] = made
'''
# What runs inside: compiled there, under a name of its own.
INSIDE = both(chain(20, *YOYO)) + '''
def inside():  # root interpreter
    until = clock() + 1000000
    while clock() < until:
        a0()  # -> a0
        b0()  # -> b0
'''


# --- code that lives for one call ------------------------------------------------------------------------------------

FRESH_TEXT = '''%sdef f_%d(until):  # root fresh
    while True:
        g_%d()  # -> g_%d
        h_%d()  # -> h_%d
        if clock() > until:
            break

def g_%d():
    return 1

def h_%d():
    return g_%d()  # -> g_%d
'''
FRESH_FILE = os.path.join(HERE, 'fresh_%d.py')


def fresh_line(number):
    """Where the text of that number begins: few share their lines."""
    return 1 + number * 11 % 5000


def fresh_text(number):
    return FRESH_TEXT % (('\n' * (fresh_line(number) - 1),) + (number,) * 9)


def fresh_number(file):
    """The number in a file's name, or 0."""
    found = re.match(r'fresh_(\d+)\.py$', file)
    return int(found.group(1)) if found else 0


def fresh_source(file):
    number = fresh_number(file)
    return (fresh_text(number), None, 'fresh') if number else None


def fresh_setup():
    return {'now': time.monotonic_ns, 'fresh_text': fresh_text, 'FRESH_FILE': FRESH_FILE}


# --- interpreters ----------------------------------------------------------------------------------------------------

def interpreters_setup():
    for name in ('_interpreters', '_xxsubinterpreters'):
        try:
            module = __import__(name)
        except ImportError:
            continue
        run = module.run_string
        script = 'from time import perf_counter_ns as clock\nexec(compile(%r, %r, "exec"))\ninside()' % (
            INSIDE, os.path.join(HERE, 'inside.py'))
        return {'create': module.create, 'run': run, 'destroy': module.destroy, 'SCRIPT': script}
    return 'no module for interpreters'


def deep_setup():
    if sys.version_info < (3, 11):   # each call takes C stack
        return {'DEEP': DEPTH, 'STACK': 1 << 30}
    return {'DEEP': DEPTH, 'STACK': 1 << 26}


def callbacks_text():
    middle = [CALLBACK_CHAIN[k % 3].replace('{k}', str(k)).replace('{n}', str(k + 1)) for k in range(24)]
    return CALLBACKS + both(''.join(middle) + '\ndef @24(*x):\n    return 1\n')


ALL = [
    Workload('yoyo10', CALLS + both(chain(10, *YOYO))),
    Workload('yoyo50', CALLS + both(chain(50, *YOYO))),
    Workload('yoyo200', CALLS + both(chain(200, *YOYO))),
    Workload('steady50', STEADY + both(chain(50, *STEADY_CHAIN))),
    Workload('generators', GENERATORS + both(chain(50, *GENERATOR_CHAIN))),
    Workload('coroutines', COROUTINES + both(chain(30, *COROUTINE_CHAIN))),
    Workload('asyncio', ASYNCIO + both(chain(10, *TASK_CHAIN)), tops=False),
    Workload('callbacks', callbacks_text()),
    Workload('exceptions', EXCEPTIONS + chain(29, *CATCHING) + chain(29, *FINALLY)),
    Workload('init', INIT),
    Workload('phases', PHASES + chain(8, *DOWN)),
    Workload('fresh', FRESH, tops=False, setup=fresh_setup),
    Workload('threads', THREADS + both(chain(10, *YOYO)), tops=False),
    # bare: 3.13 and later make another thread state in the main interpreter to initialise old extension modules
    # (switch_to_main_interpreter in Python/import.c)
    Workload('interpreters', INTERPRETERS, tops=False, bare=True, setup=interpreters_setup),
    Workload('deep', DEEP, most=DEPTH + 4, rate=0.03, tops=False, setup=deep_setup),
]
NAMED = {one.name: one for one in ALL}


def enter(space, seconds):
    """Runs the workload; what it knows about itself."""
    truth = space['truth']
    truth['clocks'] = [time.time(), time.monotonic()]
    truth['began'] = time.time()
    space['main'](time.perf_counter_ns() + int(seconds * 1e9))
    truth['ended'] = time.time()
    truth['prefix'] = PREFIX
    return truth


if __name__ == '__main__':
    made = enter(NAMED[sys.argv[1]].load()[0], float(sys.argv[2]))
    with open(sys.argv[3], 'w') as output:
        json.dump(made, output)
