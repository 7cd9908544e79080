"""What must not grow in a session that never ends: memory, the time line, the cache of names, the table of threads."""
import threading
import time

import bind
import soak

LIMIT = 4 * soak.MIB   # the least there is
KEEP_S = 0.25
NO_MEMORY = 6   # PYPROF_CAUSE_MEMORY


def fresh_stack(i, depth):
    """Code never seen before, with long names, a number of calls deep."""
    name = 'deep_%d_%s' % (i % 997, 'x' * 100)
    source = 'def %s(n):\n    if n: return %s(n - 1)\n    for _ in range(20000): pass\n' % (name, name)
    space = {}
    exec(compile(source, '/fresh/%d/%s.py' % (i, 'y' * 300), 'exec'), space)
    space[name](depth)


def within(stats, counted):
    """What it says of itself, and what it took from the allocator; no snapshot is out."""
    bind.check(stats.own_bytes <= LIMIT, '%d bytes of its own, the limit is %d', stats.own_bytes, LIMIT)
    bind.check(counted.bytes() <= LIMIT, '%d bytes allocated, the limit is %d', counted.bytes(), LIMIT)
    soak.balanced(stats)


def moments(profile):
    """When each entry of the time line ended. profile.visit would make objects of all their stacks."""
    times = []

    def see(_, item):
        entry = item.contents
        if entry.kind == bind.ITEM_STATE:
            times.append(entry.timestamp + entry.self[bind.WALL_NS] / 1e9)
        return 0
    bind.call('visit', profile.pointer, None, bind.VISIT_FN(see), None)
    return times


def time_line_is_short(session):
    """No entry is much older than was asked for; and it does reach to the present."""
    profile, now = session.snapshot(), time.time()
    times = moments(profile)
    profile.free()
    late = session.stats().late_max_ns / 1e9
    bind.check(times, 'no time line')
    bind.enough(now - min(times) < KEEP_S + 0.75 + late, 'a time line of %g s goes back %.2f s', KEEP_S, now - min(times))
    bind.enough(now - max(times) < 1 + late, 'the time line ends %.2f s ago', now - max(times))
    return len(times)


class Rest:
    """A thread that sleeps in a stack that is known, while the cache of names is emptied again and again."""

    def __init__(self):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.outer, name='rest')

    def outer(self):
        self.inner(5)

    def inner(self, n):
        self.inner(n - 1) if n else self.over.wait()

    def check(self, profile):
        for item in profile.visit(bind.ITEM_STACK):
            names = [frame.name for frame in item.stack]
            full = len(names) == 1 and names[0].startswith('[')   # max_bytes was used up before its stack was met: told at the thread
            full = full or names[0] == '_bootstrap' and 'run' not in names   # it begins or ends
            if item.thread.name == 'rest' and not full and names[-1] not in ('<lost>', '<native>', '<between samples>'):
                # It goes in and comes out again; once max_bytes is used up a stack ends at its deepest known frame.
                rest = ['_bootstrap', '_bootstrap_inner', 'run', 'outer'] + 6 * ['inner']
                bind.equal(names[:10], rest[:len(names)], 'the stack of a thread at rest')

    def __enter__(self):
        self.thread.start()
        time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def reset_makes_room(session, workers, rest):
    """Afterwards new stacks are kept again, and told as they are."""
    def has_new_functions():
        profile = session.snapshot()
        rest.check(profile)
        names = {frame.name for item in profile.visit(bind.ITEM_STACK) for frame in item.stack}
        profile.free()
        return any(name.startswith('deep_') for name in names)

    session.reset()
    begin = workers.rounds['fresh']
    bind.eventually(lambda: workers.rounds['fresh'] > begin + 20 and session.stats().samples > 100, 'samples after the reset', 60)
    bind.eventually(has_new_functions, 'a new function after the reset', 60)


def endless(count, counted):
    """Fresh code objects through one session, until it had so many."""
    workers = soak.Workers(fresh=lambda i: fresh_stack(i, i % 40), short=soak.short_threads)
    full = entries = 0
    with Rest() as rest, workers:
        session = bind.Session(rate_hz=10000, max_bytes=LIMIT, timeline_s=KEEP_S, allocator=counted.allocator, max_cpu=1e6)
        end = time.monotonic() + (2 if count > 20000 else 1 if count > 500 else 0.4)
        while workers.rounds['fresh'] < count or time.monotonic() < end:
            time.sleep(0.1)
            workers.check()
            stats = session.stats()
            within(stats, counted)
            full = full or (b'max_bytes' in stats.degraded and workers.rounds['fresh'])
            wrong = stats.rejected - stats.rejected_by_cause[NO_MEMORY]   # new threads find no place when it is full
            bind.check(wrong <= 20 + stats.asked // 100, 'rejected: %r', stats)
            entries = max(entries, time_line_is_short(session)) if stats.samples > 1000 else entries
        reset_makes_room(session, workers, rest)
    profile = session.stop()
    soak.balanced(profile.stats())
    rest.check(profile)
    profile.free()
    counted.back()
    return workers.rounds, full, entries


@soak.program(limit=900, short=0.03)
def bounds(scale):
    """Two hundred thousand code objects through 4 MiB."""
    half = max(int(100000 * scale), 300)
    counted = soak.Counted()
    endless(min(half, 2000), counted)
    levels, begin = soak.Levels(), time.perf_counter()
    rounds, full, entries = endless(half, counted)
    levels.middle()
    more = endless(half, counted)[0]
    rounds += more
    most = counted.most()
    bind.check(most <= 4 * LIMIT, '%d bytes with a snapshot, the limit without is %d', most, LIMIT)
    return '%d code objects in %.0f s, full after %s, at most %d entries of the time line, most memory %.1f of %.0f MiB with the ' \
        'snapshots; %s' % (rounds['fresh'], time.perf_counter() - begin, full or 'none', entries, most / soak.MIB,
                           LIMIT / soak.MIB, levels.end(made=more['fresh']))
