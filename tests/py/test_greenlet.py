"""Greenlets: C code swaps the frames of a thread; no stack may be of two of them."""
import collections
import os
import sys
import threading
import time

import bind
from bind import CAPTURE_AUTO, CAPTURE_COPY, CAPTURE_SIGNAL, ITEM_STACK, KIND_PYTHON, SAMPLES, check

try:
    import greenlet
except ImportError:
    greenlet = None

MODES = (('auto', CAPTURE_AUTO), ('copy', CAPTURE_COPY), ('signal', CAPTURE_SIGNAL))
THIS = os.path.basename(__file__)


def in_each_mode(function):
    for name, mode in MODES:
        bind.test(lambda mode=mode: function(mode), name='%s_%s' % (function.__name__, name), limit=120)
    return function


def needs_greenlet():
    if greenlet is None:
        bind.skip('no greenlet for %s: pip install greenlet' % sys.executable)


# Every greenlet has functions of its own, in a chain of its own length: KEY_0 calls KEY_1 and so on; each of them switches.
SOURCE = '''
def {key}_{level}(run, n):
    run(n)
    for _ in range(2):
        {key}_{next}(run, n)
        run(n)
'''
LAST = '''
def {key}_{level}(run, n):
    for _ in range(3):
        run(n)
        sum([i for i in range(5)])
'''


def chain(key, depth):
    space = {}
    for level in range(depth + 1):
        source = (SOURCE if level < depth else LAST).format(key=key, level=level, next=level + 1)
        exec(compile(source, THIS, 'exec'), space)
    return space[key + '_0']


KEYS = 'abcdef'


def ring(seconds, through_hub):
    """Greenlets that hand on to each other, each for ever, or back to a hub that chooses the next one."""
    end = time.perf_counter() + seconds
    hub = greenlet.getcurrent()
    greens = []

    def hand_on(n):
        (hub if through_hub else greens[(n + 1) % len(greens)]).switch()

    def body_of(n):
        first = chain(KEYS[n], 1 + 3 * n)

        def body():
            while time.perf_counter() < end:
                first(hand_on, n)
            hub.switch()
        return body

    greens[:] = [greenlet.greenlet(body_of(n)) for n in range(len(KEYS))]
    turn = 0
    while time.perf_counter() < end:
        if through_hub:
            greens[turn % len(greens)].switch()
        else:
            greens[0].switch()
        turn += 1
        if turn % 500 == 0 and through_hub:   # some end in the middle, others begin
            n = turn // 500 % len(KEYS)
            greens[n] = greenlet.greenlet(body_of(n))


def legal(names):
    """The frames of this file, root first: is there at most one greenlet's chain, from its beginning, without a gap?"""
    own = [name for name in names if name[1:2] == '_' and name[0] in KEYS]
    if not own:
        return 'body' not in names or names[names.index('body') + 1:] in ([], ['hand_on'])
    key = own[0][0]
    chained = own == ['%s_%d' % (key, level) for level in range(len(own))]
    begin = names.index(own[0])
    inner = [name for name in names[begin + len(own):] if name not in ('hand_on', '<listcomp>')]
    return chained and names[begin - 1] == 'body' and not inner and names[begin:begin + len(own)] == own and names.count('body') == 1


def survey(mode, through_hub, rate, threads=1, cpus=()):
    needs_greenlet()
    if cpus:   # the sampler stays on the first
        os.sched_setaffinity(0, cpus[:1])
    with bind.record(rate_hz=rate, capture=mode) as r:
        if cpus:
            bind.eventually(lambda: r.stats().samples > 0, 'a sample')
            os.sched_setaffinity(0, cpus[1:])
        workers = [threading.Thread(target=ring, args=(4, through_hub), name='ring') for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    good, bad = collections.Counter(), collections.Counter()
    for item in r.profile.visit(ITEM_STACK):
        names = [f.name for f in item.stack if f.kind == KIND_PYTHON and os.path.basename(f.file) == THIS]
        if item.thread.name == 'ring':
            (good if legal(names) else bad)[' '.join(names)] += item.self[SAMPLES]
    stats = r.profile.stats()
    print(stats, len(good), sum(good.values()), bad, good.most_common(40), sep='\n')
    check(not bad, 'stacks of two greenlets: %r', bad)
    bind.enough(sum(good.values()) > (200 if cpus else 1000), 'only %d samples', sum(good.values()))
    seen = {name.split(' ')[-1][0] for name in good if name.split(' ')[-1][1:2] == '_'}
    bind.enough(len(seen) >= (2 if cpus else 4), 'only the greenlets %r', seen)
    return stats, good


@in_each_mode
def greenlets_in_a_ring(mode):
    survey(mode, False, 5000)


@in_each_mode
def greenlets_of_a_hub(mode):
    survey(mode, True, 2000)


@bind.test
def greenlets_read_by_copying():
    """The sampler and the greenlets run at the same time: a stack is what two copies of it agree on."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        bind.skip('one CPU')
    stats, good = survey(CAPTURE_COPY, False, 2000, cpus=cpus)
    bind.enough(stats.unfrozen > 5, 'only %d of %d unfrozen', stats.unfrozen, sum(good.values()))   # each has a root of its own: many are refused


@in_each_mode
def rings_in_two_threads(mode):
    survey(mode, False, 2000, threads=2)


bind.run()
