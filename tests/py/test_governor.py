"""config.max_cpu: what sampling may cost, and what is told of the ticks that are left out for it.

Nothing here depends on how fast the machine is: bounds are so tight that they are beyond it, or so wide that they are not.
"""
import threading
import time

import bind
from bind import CPU_NS, EVENT_DEGRADED, RATE_AUTO, TEXT


def burn(rounds):
    for _ in range(rounds):
        pass


def twice(rounds, clocks):
    start = time.thread_time()
    burn_more(2 * rounds)
    clocks[0] += time.thread_time() - start


def burn_more(rounds):
    for _ in range(rounds):
        pass


def once(rounds, clocks):
    start = time.thread_time()
    burn(rounds)
    clocks[1] += time.thread_time() - start


def mixture(seconds, clocks):
    """Two functions, of which one takes twice the CPU time of the other, as clocks tell: so many seconds of CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        twice(2000, clocks)
        once(2000, clocks)


def text_of(profile):
    return profile.write(TEXT).decode()


def balanced(stats):
    bind.equal(stats.samples + stats.rejected + stats.missed, stats.asked, 'samples + rejected + missed')


@bind.test
def a_tiny_bound():
    """Most ticks are left out, that is told, and the shares and sums are right all the same."""
    clocks = [0.0, 0.0]
    begin = time.thread_time()
    with bind.record(rate_hz=10000, max_cpu=0.05) as r:
        mixture(bind.length(4.0, 1.0), clocks)
    cpu = time.thread_time() - begin
    stats = r.profile.stats()
    print(stats, clocks)
    balanced(stats)
    bind.check(stats.thinned > stats.asked, '%d left out, %d asked for', stats.thinned, stats.asked)
    bind.near(stats.asked + stats.thinned, 10000 * r.elapsed, 0.03, 300, 'all ticks')
    bind.check(stats.degraded.startswith(b'max_cpu: 10000 Hz cost more than 5 % of the CPU time'), 'degraded: %r', stats.degraded)
    rows = {row.name: row for row in r.profile.top()}
    more, less = rows['burn_more'].total[CPU_NS], rows['burn'].total[CPU_NS]
    bind.near(more / (more + less), clocks[0] / sum(clocks), 0, 0.12, 'the share of burn_more')
    bind.near(sum(row.self[CPU_NS] for row in r.profile.top()) / 1e9, cpu, 0.01, 0.02, 'the CPU time of all functions')


@bind.test
def thinned_ticks_are_told_in_outputs():
    with bind.record(rate_hz=1000, max_cpu=0.001) as r:
        mixture(0.4, [0, 0])
    stats = r.profile.stats()
    document = r.profile.json()
    bind.check(stats.thinned > 0, 'none left out: %r', stats)
    bind.equal(document['stats']['thinned'], stats.thinned, 'in the JSON')
    bind.check(document['stats']['degraded'].startswith('max_cpu: 1000 Hz cost more than 0.1000 % of'), 'degraded: %r', stats.degraded)
    text = text_of(r.profile)
    bind.check('%d more left out on purpose' % stats.thinned in text, 'the text: %s', text)
    bind.check('Degraded: max_cpu: 1000 Hz' in text, 'the text: %s', text)


@bind.test
def none_is_left_out_at_100_hz():
    """At what is usual the bound is not felt, busy or idle."""
    with bind.record() as r:
        mixture(0.6, [0, 0])
        time.sleep(0.6)
    stats = r.profile.stats()
    bind.equal((stats.thinned, stats.degraded), (0, b''), 'left out')
    bind.check('left out' not in text_of(r.profile), 'told for nothing')


@bind.test
def the_rate_is_chosen():
    """The sampler stays within its budget, nothing is left out, and times are right while the rate changes."""
    clocks = [0.0, 0.0]
    begin = time.thread_time()
    with bind.record(rate_hz=RATE_AUTO, max_cpu=0.03) as r:
        mixture(bind.length(4.0, 1.0), clocks)
        time.sleep(0.5)
        mixture(bind.length(4.0, 1.0), clocks)
    cpu = time.thread_time() - begin
    stats, document = r.profile.stats(), r.profile.json()
    print(stats, clocks)
    balanced(stats)
    bind.equal((stats.thinned, stats.degraded), (0, b''), 'left out')
    bind.check(10 <= stats.rate_lowest <= stats.rate_now <= stats.rate_highest <= 10000 and stats.rate_lowest < stats.rate_highest, '%r', stats)
    bind.check(stats.rate_lowest * r.elapsed * 0.9 - 10 < stats.asked < stats.rate_highest * r.elapsed * 1.1 + 10, '%r', stats)
    # 0.03 of a CPU, the sampler's start (which reads all code objects for the first time), and what was saved before
    bind.check(stats.own_cpu_ns / 1e9 < 0.045 * r.elapsed + 0.1, '%d ns of %.2f s', stats.own_cpu_ns, r.elapsed)
    bind.near(document['rate_hz'], stats.asked / r.elapsed, 0.1, 10, 'the average rate')
    bind.equal([document['stats'][name] for name in ('rate_lowest', 'rate_highest')], [stats.rate_lowest, stats.rate_highest], 'in the JSON')
    bind.check('; rate chosen by cost: ' in text_of(r.profile), 'the text')
    rows = {row.name: row for row in r.profile.top()}
    more, less = rows['burn_more'].total[CPU_NS], rows['burn'].total[CPU_NS]
    bind.near(more / (more + less), clocks[0] / sum(clocks), 0, 0.12, 'the share of burn_more')
    bind.near(sum(row.self[CPU_NS] for row in r.profile.top()) / 1e9, cpu, 0.01, 0.02, 'the CPU time of all functions')


@bind.test
def a_large_max_cpu_is_no_bound():
    with bind.record(rate_hz=20000, max_cpu=1e6) as r:
        mixture(0.3, [0, 0])
        time.sleep(0.3)
    bind.equal(r.profile.stats().thinned, 0, 'left out')


@bind.test
def the_smallest_max_cpu_of_running_sessions_holds():
    """A session that is bound more tightly binds the others while it runs; a slow one beside them loses nothing."""
    def grows():
        before = wide.stats().thinned
        time.sleep(0.2)
        return wide.stats().thinned > before
    stop = threading.Event()
    thread = threading.Thread(target=busy, args=(stop,))
    thread.start()
    try:
        wide = bind.Session(rate_hz=2000, max_cpu=1e6)
        bind.check(not grows(), 'left out: %r', wide.stats())
        tight = bind.Session(rate_hz=1000, max_cpu=0.002)
        slow = bind.Session(rate_hz=1, max_cpu=1e6)
        bind.eventually(grows, 'ticks are left out')
        bind.eventually(lambda: tight.stats().thinned, 'of both')
        tight.pause()
        bind.eventually(lambda: not grows(), 'it is paused: no tick is left out any more', 20)
        tight.resume()
        bind.eventually(grows, 'ticks are left out again')
        tight.stop()
        bind.eventually(lambda: not grows(), 'it has ended: no tick is left out any more', 20)
        bind.equal(slow.stop().stats().thinned, 0, 'left out of one a second')
        stats = wide.stop().stats()
        balanced(stats)
        bind.check(b'max_cpu' in stats.degraded, 'degraded: %r', stats.degraded)
    finally:
        stop.set()
        thread.join()


def busy(stop):
    while not stop.is_set():
        burn(10000)


@bind.test
def an_event_tells_of_it():
    told = []
    note = bind.EVENT_FN(lambda user, session, event, detail: told.append((event, detail)))
    session = bind.Session(rate_hz=1000, max_cpu=0.001, on_event=bind.OnEvent(fn=note))
    event = EVENT_DEGRADED, b'sampling costs more than max_cpu allows: ticks are left out'
    end = time.perf_counter() + 20
    while event not in told and time.perf_counter() < end:
        burn(10000)
    session.stop()
    bind.check(event in told, 'told: %r', told)


@bind.test
def a_reset_starts_to_count_anew():
    session = bind.Session(rate_hz=1000, max_cpu=0.001)
    mixture(0.1, [0, 0])
    bind.eventually(lambda: session.stats().thinned > 100, 'ticks are left out', 20)
    before = session.stats()
    session.reset()
    after = session.stats()
    bind.check(before.thinned > 0 and after.thinned < before.thinned, '%r, then %r', before, after)
    balanced(session.stop().stats())


if __name__ == '__main__':
    bind.run()
