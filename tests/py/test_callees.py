"""What a call calls. While a call of a Python function is being set up, the innermost frame stands at the call as if a C
function ran: it must not be named as one, nor counted as C. Calls here are short, so that this is a good part of the time."""
import sys
import time
import zlib

import bind
from bind import NATIVE_NS, WAIT_NS, WALL_NS, test

MINOR = sys.version_info[1]


def short(x, *rest):
    return x


class Base:
    def method(self, x):
        return x

    @staticmethod
    def static(x):
        return x

    @classmethod
    def of_class(cls, x):
        return x

    def __call__(self, x):
        return x


class Derived(Base):
    def method(self, x):
        return super().method(x)


one, two, module, holder = Base(), Derived(), sys.modules[__name__], type('Holder', (), {})()
holder.deep, holder.stored = one, short


def call_with(function):
    for _ in range(50):
        function(1)


def make():
    return one


def call_all(end):
    bound, alias = one.method, short

    def inner(x):
        return x

    def closed(x):
        return inner(x)
    while time.perf_counter() < end:
        for i in range(50):
            short(i), alias(i), inner(i), bound(i), closed(i), module.short(i)
            one.method(i), two.method(i), Base.static(i), one.static(i), Base.of_class(i), one(i)
            short(*(1, 2)), short(x=i), holder.deep.method(i), holder.stored(i), make().method(i)
            call_with(short)


PYTHON = ('short', 'alias', 'inner', 'closed', 'bound', 'method', 'static', 'of_class', 'stored', 'call_with', 'function', 'make', 'one')


@test
def python_functions_are_no_leaves():
    with bind.record(rate_hz=10000) as r:
        call_all(time.perf_counter() + 4)
    leaves = r.profile.leaves(metric=1)   # samples
    samples = sum(leaves.values())
    print(samples, dict(leaves))
    wrong = {name: count for name, count in leaves.items() if name.startswith('<native> ') and name.split()[1].split('.')[-1] in PYTHON}
    # what another call returned or super() finds cannot be looked up: up to 3.10 nothing tells until one was seen in its function
    known = {name: count for name, count in wrong.items() if MINOR > 10 or not name.startswith(('<native> make()', '<native> super()'))}
    bind.enough(samples > 5000, '%d samples', samples)
    bind.enough(sum(known.values()) <= samples / 10000, 'Python functions named as C functions: %r of %d', known, samples)
    bind.enough(sum(wrong.values()) <= samples / 500, 'all that are: %r of %d', wrong, samples)


TEXT, NOISE, NUMBERS = 'many words ' * 20000, bytes(range(256)) * 400, [float(i * 7919 % 10007) for i in range(20000)]
held = type('Held', (), {})()


class Words(str):
    """A C type's methods, by a class written in Python."""


def call_c(end):
    held.squeeze, words, table, turned = zlib.compress, Words(TEXT), {}, NUMBERS.copy
    while time.perf_counter() < end:
        sorted(NUMBERS)
        TEXT.split()
        for _ in range(5):
            words.upper()
        zlib.crc32(NOISE * 20)
        held.squeeze(NOISE)
        turned().sort()
        table.update(zip(NUMBERS, NUMBERS))
        ' '.join([TEXT, TEXT])
        list(map(abs, NUMBERS))


NAMES = ('sorted', 'TEXT.split', 'words.upper', 'zlib.crc32', 'held.squeeze', 'turned().sort', 'table.update', 'list')


@test
def c_functions_are():
    with bind.record(rate_hz=1000) as r:
        call_c(time.perf_counter() + bind.length(4, 1))
    leaves = r.profile.leaves(function='call_c', metric=NATIVE_NS)
    print({name: round(ns / 1e9, 3) for name, ns in leaves.items()})
    for name in NAMES:
        bind.enough(leaves['<native> ' + name] > 5e6, '%s: %g s', name, leaves['<native> ' + name] / 1e9)
    row = next(row for row in r.profile.top() if row.name == 'call_c')
    share = row.self[NATIVE_NS] / (row.self[WALL_NS] - row.self[WAIT_NS])   # the rest: the lines free what the calls returned
    bind.enough(share > 0.75, 'how much of it is C: %.3f', share)


def dispatch(function, argument):
    return function(argument)


@test
def a_call_of_now_the_one_now_the_other():
    """Which it is, is looked up each time as long as C was not called there; then the name stays. Its time is C's throughout."""
    def work(end):
        while time.perf_counter() < end:
            for _ in range(300):
                dispatch(short, 1)
            dispatch(sorted, NUMBERS)
    with bind.record(rate_hz=1000) as r:
        work(time.perf_counter() + bind.length(3, 0.8))
    leaves = r.profile.leaves(function='dispatch', metric=NATIVE_NS)
    print(dict(leaves))
    took = [0.0, 0.0]
    for _ in range(5):
        for i, (function, argument, times) in enumerate(((short, 1, 300), (sorted, NUMBERS, 1))):
            begin = time.thread_time()
            for _ in range(times):
                dispatch(function, argument)
            took[i] += time.thread_time() - begin
    row = next(row for row in r.profile.top() if row.name == 'dispatch')
    bind.near(row.total[NATIVE_NS] / (row.total[WALL_NS] - row.total[WAIT_NS]), 1, 0, 0.1 + took[0] / sum(took), 'how much of it is C')


bind.run()
