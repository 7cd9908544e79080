"""Ten thousand sessions, one after the other and beside each other, while threads come and go."""
import random
import time

import bind
import soak


def cycle(i, rng, config):
    """One session; every so often with a little of what else there is."""
    session = bind.Session(bind.held if i % 4 == 0 else bind.released, rate_hz=rng.choice([100, 1000, 10000]), **config)
    if i % 5 == 0:
        time.sleep(0.001)
    if i % 7 == 0:
        session.snapshot(reset=i % 2).free()
    if i % 11 == 0:
        session.pause()
        session.resume()
    if i % 3 == 0:
        bind.call('stop', session.token, None)
    else:
        profile = session.stop()
        if i % 10 == 1:
            soak.balanced(profile.stats())
        profile.free()
    if i % 13 == 0:
        bind.fails(bind.STATE, [], session.stats)


def beside(config):
    """A function for a thread: sessions that overlap those of the main thread, and now and then keep them company."""
    rng = random.Random(2)

    def one(i):
        if i % 3 == 0:
            cycle(i, rng, config)
        time.sleep(rng.random() * 0.003)
    return one


def all_slots_are_free():
    sessions = [bind.Session() for _ in range(8)]
    bind.fails(bind.BUSY, [], bind.Session)
    for session in sessions:
        session.stop().free()


def run(count, config):
    rng = random.Random(count)
    workers = soak.Workers(short=soak.short_threads, beside=beside(config))
    with workers:
        for i in range(count):
            cycle(i, rng, config)
    all_slots_are_free()
    return workers.rounds


@soak.program(limit=900, short=0.03)
def cycles(scale):
    """Ten thousand times start and stop."""
    half = max(int(5000 * scale), 50)
    counted = soak.Counted()
    run(min(half, 200), {})
    run(min(half, 200), {'allocator': counted.allocator})
    levels, begin = soak.Levels(), time.perf_counter()
    rounds = run(half, {'allocator': counted.allocator})
    counted.back()
    levels.middle()
    rounds += run(half, {})
    return '%d start/stop in %.0f s, %d more beside them, %d threads; %s' % (
        2 * half, time.perf_counter() - begin, rounds['beside'] // 3, rounds['short'] * 8, levels.end())
