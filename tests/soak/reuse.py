"""Kernel thread ids that come back: thousands of threads share ten ids, and none is taken for another."""
import collections
import os
import re
import threading
import time

import bind
import soak

LAST = '/proc/sys/kernel/ns_last_pid'
IDS = 10
KINDS = 7      # functions; the next thread with an id runs another one
SOURCE = 'def life_%d(end):\n    while clock() < end: pass\n'
TABLE = 4096   # threads that a session tells apart
MERGED = 0.01  # how many may be taken for another: none that lived for a few samples


def functions():
    space = {'clock': time.perf_counter}
    for i in range(KINDS):
        exec(SOURCE % i, space)
    return [space['life_%d' % i] for i in range(KINDS)]


def free_ids():
    """Ids in the range that nobody has now, a few apart: another process may take some."""
    with open(LAST) as file, open('/proc/sys/kernel/pid_max') as most:
        first = (int(file.read()) + 500) % (int(most.read()) - 1000) + 500
    return [first + 10 * i for i in range(IDS)
            if not os.path.exists('/proc/%d' % (first + 10 * i))]


class Ids:
    """Kernel ids come back after thousands of others, and a thread's start is known to 10 ms: no sooner than that."""

    def __init__(self):
        self.last_use, self.too_soon, self.as_asked = {}, set(), 0

    def live(self, wanted, name, function):
        time.sleep(max(0, self.last_use.get(wanted, 0) + 0.03 - time.monotonic()))
        begin = time.monotonic()
        had = live(wanted, name, function)
        if had != wanted and begin < self.last_use.get(had, 0) + 0.03:
            self.too_soon.add(had)   # somebody else has the one asked for, and the kernel took the next again
        self.last_use[had] = time.monotonic()
        self.as_asked += had == wanted


def live(wanted, name, function):
    """A thread that lives for 2 ms, if the kernel does as asked, with that id. Tells the id that it had."""
    had = []

    def work():
        had.append(threading.get_native_id())
        function(time.perf_counter() + 0.002)

    thread = threading.Thread(target=work, name=name)
    with open(LAST, 'w') as file:
        file.write(str(wanted - 1))
    thread.start()
    thread.join()
    return had[0]


def check_lives(profile, too_soon, kinds):
    """A thread of the recording ran one function, and where it has a name, it is that function's: but for a few that had
    ended before the profiler could ask when they began, or what they are called. Python knows names by pthread_t, the same
    for all of them here: it can be that of the one before or after."""
    ran = collections.defaultdict(set)
    for item in profile.visit(bind.ITEM_STACK):
        told = [frame.name for frame in item.stack if frame.name.startswith('life_')]
        if told and item.thread.name != '<more threads>' and item.thread.thread_id not in too_soon:
            ran[item.thread.thread_id, item.thread.ident, item.thread.first_seen, item.thread.name].update(told)
            kinds['samples'] += item.self[bind.SAMPLES]
    for thread, names in ran.items():
        kinds['merged'] += len(names) > 1
        number = re.match(r'life-(\d+)$', thread[3])
        right = number and int(number.group(1)) % KINDS == int(names.pop()[5:])
        kinds['named' if right else 'misnamed' if number else 'unnamed'] += 1
    kinds['ids'] = max(kinds['ids'], len({thread[0] for thread in ran}))


def run(count, kinds, **config):
    try:
        ids = free_ids()
        open(LAST, 'w').close()
    except OSError as error:
        bind.skip('thread ids cannot be chosen: %s' % error)
    work, used = functions(), Ids()
    with bind.record(rate_hz=5000, timeline_s=0.5, **config) as r:
        for i in range(count):
            used.live(ids[i % len(ids)], 'life-%d' % i, work[i % KINDS])
    soak.balanced(r.profile.stats())
    threads = r.profile.threads()
    bind.check(len(threads) <= TABLE, '%d threads in the table', len(threads))
    if count > TABLE * 1.5:
        bind.check('<more threads>' in [thread.name for thread in threads], 'where are the threads beyond %d?', TABLE)
    check_lives(r.profile, used.too_soon, kinds)
    kinds['reused'] += used.as_asked
    r.profile.free()


@soak.program(limit=900, short=0.02)
def reuse(scale):
    """Eighteen thousand threads with ten ids."""
    half = max(int(9000 * scale), 50)
    counted, kinds = soak.Counted(), collections.Counter()
    run(min(half, 200), collections.Counter())
    levels, begin = soak.Levels(), time.perf_counter()
    run(half, kinds, allocator=counted.allocator)
    counted.back()
    levels.middle()
    run(half, kinds)
    bind.check(kinds['reused'] > half, 'only %d of %d threads got the id asked for', kinds['reused'], 2 * half)
    apart = kinds['named'] + kinds['misnamed'] + kinds['unnamed']
    bind.check(apart > min(half, TABLE) // 2, 'only %d threads told apart', apart)
    bind.check(kinds['merged'] <= MERGED * apart + 2, '%d of %d threads are two', kinds['merged'], apart)
    bind.check(kinds['misnamed'] <= 2 + apart // 50, '%d of %d threads under the name of another', kinds['misnamed'], apart)
    return '%d threads in %.0f s, %d got one of ten ids as asked; %d ids, %d told apart: %d by their names, %d without, %d under ' \
        'the name of another; %d are two; %d samples; %s' % (
            2 * half, time.perf_counter() - begin, kinds['reused'], kinds['ids'], apart, kinds['named'], kinds['unnamed'],
            kinds['misnamed'], kinds['merged'], kinds['samples'], levels.end())
