"""A million samples of a program in which nothing lasts: calls, generators, code objects, exceptions, threads."""
import os
import re
import sys
import threading
import time

import bind
import soak

FILE = os.path.abspath(__file__)
RATE = 10000
PART = 20000   # samples between two snapshots

# Who of this file calls whom. A stack with another step in it was never on any thread.
STEPS = {
    'calls': {'descend', 'leaf'}, 'descend': {'descend', 'leaf'}, 'leaf': set(),
    'generators': {'outer'}, 'outer': {'inner'}, 'inner': {'leaf'},
    'exceptions': {'catch'}, 'catch': {'throw'}, 'throw': {'throw'},
    'fresh': set(), 'threads': set(), 'brief': {'leaf'}, 'sleeps': set(),
}
WORKERS = ('calls', 'generators', 'exceptions', 'fresh', 'threads', 'sleeps')
LOST = ('<lost>', '<native>', '<truncated>', '<between samples>')


def leaf(n):
    total = 0
    for i in range(n):
        total += i
    return total


def descend(n):
    return descend(n - 1) + 1 if n else leaf(5)


def calls(i):
    for _ in range(50):
        leaf(3)
    descend(i % 60)


def inner(n):
    for i in range(n):
        yield leaf(i)


def outer(n):
    for _ in range(3):
        yield from inner(n)


def generators(i):
    for value in outer(i % 10):
        if value > 30:
            break   # the rest of the generator is dropped


def throw(n):
    if n == 0:
        raise ValueError(n)
    throw(n - 1)


def catch(n):
    try:
        throw(n)
    except ValueError:
        return n


def exceptions(i):
    catch(i % 20)


def fresh(i):
    """Code that lives for one call. Its file, name and first line tell the same number; the names come round again,
    as some versions keep names for ever."""
    first = i % 97 + 1
    source = '%sdef fresh_%d(n):\n    for _ in range(n): pass\n' % ('\n' * (first - 1), i % 997)
    space = {}
    exec(compile(source, '/fresh/%d_%d_%d.py' % (i, i % 997, first), 'exec'), space)
    space['fresh_%d' % (i % 997)](2000)


def brief():
    leaf(200)


def threads(i):
    soak.short_threads(i, brief)


def sleeps(_):
    time.sleep(0.0003)


def fresh_is_itself(frame, caller, oldest):
    number, name, first = re.match(r'/fresh/(\d+)_(\d+)_(\d+)\.py$', frame.file).groups()
    bind.check(int(number) >= oldest, 'code of round %s was gone by round %d', number, oldest)
    if frame.name == '<module>':
        bind.equal(caller, 'fresh', 'who called %r' % (frame,))
        return
    bind.equal((frame.name, frame.first_line), ('fresh_' + name, int(first)), 'frame %r' % (frame,))
    bind.check(int(first) <= frame.line <= int(first) + 1, 'line of %r', frame)
    bind.equal(caller, 'fresh', 'who called %r' % (frame,))


def check_stack(item, oldest):
    names = [frame.name for frame in item.stack]
    bind.check(names, 'an empty stack of %s', item.thread.name)
    roots = ('<module>',) if item.thread.name == 'MainThread' else ('_bootstrap',)
    bind.check(names[0] in roots + LOST, 'root of %s: %r', item.thread.name, names)
    for caller, frame in zip(item.stack, item.stack[1:]):
        if frame.file.startswith('/fresh/'):
            fresh_is_itself(frame, caller.name, oldest)
        elif caller.file == frame.file == FILE and (caller.name in STEPS or frame.name in STEPS):
            bind.check(frame.name in STEPS.get(caller.name, ()), 'nobody calls %s so: %r', frame.name, names)


class Seen:
    """What the snapshots of a recording held."""

    def __init__(self):
        self.samples = self.missed = self.rejected = self.unfrozen = self.stacks = self.rootless = 0

    def look(self, profile, oldest):
        """oldest: the round of fresh in which the recording, or the part since the last reset, began."""
        stats = profile.stats()
        soak.balanced(stats)
        bind.check(b'max_bytes' not in stats.degraded, 'degraded: %r', stats.degraded)   # a busy machine may starve it
        samples = 0
        for item in profile.visit(bind.ITEM_STACK):
            check_stack(item, oldest)
            samples += item.self[bind.SAMPLES]
            self.stacks += 1
            if item.thread.name == 'MainThread' and item.stack[0].name == '<native>':
                self.rootless += item.self[bind.SAMPLES]   # up to 3.11, the state of a thread not yet started
        bind.equal(samples, stats.samples, 'samples of all stacks')
        self.samples += stats.samples
        self.missed += stats.missed
        self.rejected += stats.rejected
        self.unfrozen += stats.unfrozen
        profile.free()


def samples_of_churn(count, seen, **config):
    """One session, looked at and emptied every PART samples."""
    end, oldest = seen.samples + count, 0
    session = bind.Session(rate_hz=RATE, **config)
    workers = soak.Workers(calls=calls, generators=generators, exceptions=exceptions, fresh=fresh, threads=threads,
                           sleeps=sleeps)
    with workers:
        while seen.samples < end or min(workers.rounds[name] for name in WORKERS) < 2:   # a busy machine lets some wait long
            wanted = min(PART, max(1, end - seen.samples))
            while True:
                now = workers.rounds['fresh']   # well before the reset: a sample is taken before it is recorded
                workers.check()
                time.sleep(0.02)
                if session.stats().samples >= wanted:
                    break
            seen.look(session.snapshot(reset=1), oldest)
            oldest = now
    seen.look(session.stop(), oldest)
    for name in WORKERS:
        bind.check(workers.rounds[name] > 1, '%s never ran', name)
    return workers.rounds


@soak.program(limit=900, short=0.03)
def churn(scale):
    """A million samples."""
    half = max(int(500000 * scale), 3000)
    counted, seen, before = soak.Counted(), Seen(), sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    samples_of_churn(min(half, 20000), Seen())
    levels, begin = soak.Levels(), time.perf_counter()
    rounds = samples_of_churn(half, seen, allocator=counted.allocator, timeline_s=0.2)
    counted.back()
    levels.middle()
    more = samples_of_churn(half, seen, timeline_s=-1)
    rounds += more
    took = time.perf_counter() - begin
    sys.setswitchinterval(before)
    bind.check(seen.rootless <= 20 + seen.samples // 1000, 'the main thread had no stack in %d samples', seen.rootless)
    asked = seen.samples + seen.missed + seen.rejected
    return '%d samples in %.0f s, %d stacks looked at; missed %.2f %%, rejected %.3f %%, unfrozen %.3f %%; %d threads, %d code ' \
        'objects; most memory %.1f MiB; %s' % (
            seen.samples, took, seen.stacks, 100 * seen.missed / asked, 100 * seen.rejected / asked,
            100 * seen.unfrozen / asked, rounds['threads'] * 8, rounds['fresh'], counted.most() / soak.MIB,
            levels.end(made=more['fresh']))
