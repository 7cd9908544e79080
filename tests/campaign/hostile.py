"""Python that no profiler wants to meet, for the mode `script`: begin(phase, amount) runs under a session,
end() after it."""
import _thread
import random
import sys
import threading
import time
import types

chance = random.Random(1)
after = []      # what end() does

NAMES = ['x' * 10000000, '\n' * 1000, 'a\0b', '\ud800\udfff', '', '</script><script>alert(1)</script>', ']]>',
         '\u2028\u2029\u202e', '"\\', '\xe9' * 300000, '\U00010348' * 5000,
         '\x1b[31m', 'a;b c', ' ', '%s%n%s']
TABLE = 'co_linetable' if sys.version_info >= (3, 10) else 'co_lnotab'


def allocate(n):
    kept = []
    for i in range(n):
        kept.append(bytearray(i % 50))
        if i % 7 == 0:
            kept = [object(),
                    [i]]
    return kept


def junk(n):
    return bytes(chance.randrange(256) for _ in range(n))


def hostile_table(table):
    kind = chance.randrange(8)
    if kind == 0:
        return junk(chance.randrange(1, 2000))
    if kind == 1:
        return table[:chance.randrange(len(table))]
    if kind == 2:
        return b''
    if kind == 3:
        return bytes([chance.choice([0, 0xff, 0x7f, 0x80, 0xf8, 0xc0])]) * chance.randrange(1, 100000)
    if kind == 4:
        changed = bytearray(table)
        for _ in range(3):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    return table


def code(amount):
    """Code objects with line tables, names and first lines that lie."""
    made = allocate.__code__
    for n in range(amount):
        changes = {TABLE: hostile_table(getattr(made, TABLE)),
                   'co_firstlineno': chance.choice([1, 0, -1, -2**31, 2**31 - 1, 2**30, 7]),
                   'co_name': chance.choice(NAMES) if chance.random() < .5 else 'f%d' % (n % 500),
                   'co_filename': chance.choice(NAMES) if chance.random() < .5 else '/p\n/%d.py' % (n % 300)}
        if sys.version_info >= (3, 11) and chance.random() < .5:
            changes['co_qualname'] = chance.choice(NAMES)
        try:
            function = types.FunctionType(made.replace(**changes), globals())
        except (ValueError, TypeError):     # Python does not want it either
            continue
        for _ in range(chance.randrange(1, 8)):
            function(300)


def many(amount):
    """Functions of as many names."""
    for i in range(amount):
        space = {}
        exec(compile('def fn_%d(n):\n  return [n, [n]]\n' % i, '/many/%d.py' % (i % 1000), 'exec'), space)
        after.append(space['fn_%d' % i](i))


def deep(amount):
    """A recursion of that depth, which allocates at its end."""
    def down(n):
        if n:
            return down(n - 1)
        end, kept = time.perf_counter() + 1, []
        while time.perf_counter() < end:
            kept = (kept + [bytearray(40)])[-100:]
    sys.setrecursionlimit(amount + 1000)
    if sys.version_info < (3, 11):
        threading.stack_size(1000 << 20)
    thread = threading.Thread(target=down, args=(amount,))
    thread.start()
    thread.join()


def stacks(amount):
    """Threads with the smallest stacks that Python gives."""
    threading.stack_size(32768)
    def down(n):
        return down(n - 1) if n else allocate(50)
    def turns():
        for i in range(5):
            down(i)
    for _ in range(amount):
        threads = [threading.Thread(target=turns) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def threads(amount):
    """So many threads at once, with names that are none."""
    go, started = threading.Event(), []
    names = ['n' * 1000000, 'a\0b', '\ud800', '', 'x\ny', '</script>', '\xe9' * 70, '\U00010348' * 100, 5,
             None, b'bytes']
    def turns():
        kept = [bytearray(100) for _ in range(10)]
        go.wait()
        for _ in range(20):
            kept = allocate(20)
        return kept
    for _ in range(amount):
        thread = threading.Thread(target=turns)
        thread._name = chance.choice(names)
        try:
            _thread.start_new_thread(thread.run, ()) if thread._name is None else thread.start()
        # Newer Pythons hand the name to the system
        except (RuntimeError, TypeError, ValueError, UnicodeError):
            thread._name = 'plain'
            if not thread.ident:
                continue
        if thread.ident:
            started.append(thread)
    time.sleep(0.5)
    for thread in started[:50]:
        thread._name = 'renamed'
    time.sleep(0.2)
    go.set()
    for thread in started:
        thread.join()


def lives(amount):
    """So many threads one after the other, that end at once."""
    ended = []
    def turn():
        ended.append(len([bytearray(20)]))
    for i in range(amount):
        _thread.start_new_thread(turn, ())
        while len(ended) < i - 20:
            time.sleep(0.0002)


def begin(phase, amount):
    globals()[phase](amount)
    time.sleep(0.05)


def end():
    del after[:]
