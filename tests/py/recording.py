"""What tests of recordings share: work that takes a known time, and questions to the profile."""
import threading
import time

import bind
from bind import SAMPLES, WALL_NS, in_child, running   # noqa: F401: the last two for the tests


def name_of(code):
    return getattr(code, 'co_qualname', code.co_name)


def spin(seconds):
    """Busy in this one function."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def spin_on_cpu(seconds):
    """Busy until this thread has used so much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(100):
            pass


def spin_hot(seconds):
    """Half the time in hot, half in warm."""
    def hot():
        for _ in range(5000):
            pass

    def warm():
        for _ in range(5000):
            pass

    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        hot()
        warm()


def thread_of(profile, name):
    found = [thread for thread in profile.threads() if thread.name == name]
    bind.equal(len(found), 1, 'threads named %s' % name)
    return found[0]


def share(profile, thread, function, metric=WALL_NS, leaf=False):
    """The share of the thread's time with that function on the stack, or on top."""
    total = part = 0
    for item in profile.visit(bind.ITEM_STACK):
        if item.thread.name == thread:
            total += item.self[metric]
            frames = item.stack[-1:] if leaf else item.stack
            if any(frame.name == function for frame in frames):
                part += item.self[metric]
    bind.check(total > 0, 'no time in thread %s', thread)
    return part / total


def late(profile):
    """How late the sampler woke, at worst, in seconds: on a busy machine the ends of a recording are as blurred."""
    return profile.stats().late_max_ns / 1e9


def balanced(stats):
    bind.equal(stats.asked, stats.samples + stats.missed + stats.rejected, 'asked')
    bind.equal(stats.rejected, sum(stats.rejected_by_cause), 'rejected')


def exit_storm():
    """Thread states are freed while they are read. None is taken for the thread that made it."""
    with bind.record(rate_hz=10000) as r:
        end = time.perf_counter() + bind.length(4)
        started = 0
        while time.perf_counter() < end:
            threads = [threading.Thread(target=int) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            started += 20
    stats = r.profile.stats()
    print(started, 'threads', stats)
    balanced(stats)
    for item in r.profile.visit(bind.ITEM_STACK):
        names = [frame.name for frame in item.stack]
        bind.check(names, 'an empty stack')
        if item.thread.name != 'MainThread':
            bind.check(names[0] in ('_bootstrap', '<truncated>', '<native>') + bind.UNPLACED, 'root %r', names)
        else:
            # up to 3.11 a state made for a thread that has not started bears its creator's ids: a few slip through
            few = names[0] == '<native>' and item.self[SAMPLES] <= 20
            bind.check(few or names[0] in ('<module>',) + bind.UNPLACED, 'root of the main thread: %r, %d samples', names, item.self[SAMPLES])
    main = thread_of(r.profile, 'MainThread').total[WALL_NS] / 1e9
    bind.check(main <= r.elapsed * 1.02 + 0.02, 'the main thread lived %g s of %g', main, r.elapsed)
