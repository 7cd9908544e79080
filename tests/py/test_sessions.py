"""Sessions: pause, reset, snapshots, several at once, what they cost and what they leave behind."""
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time

import bind
from bind import CPU_NS, SAMPLES, WALL_NS
from recording import balanced, late, running, share, spin, spin_hot, spin_on_cpu, thread_of


def outside(seconds):
    spin_on_cpu(seconds)


@bind.test
def pause_and_resume():
    session = bind.Session(rate_hz=1000)
    begin = time.perf_counter()
    spin(0.4)
    session.pause()
    session.pause()
    paused = time.perf_counter()
    paused_at = time.time()
    before = session.stats()
    spin(0.5)
    after = session.stats()
    resumed_at = time.time()
    resumed = time.perf_counter()
    session.resume()
    session.resume()
    spin(0.3)
    recorded = (paused - begin) + (time.perf_counter() - resumed)
    profile = session.stop()
    bind.equal(before.samples, after.samples, 'samples while paused')
    bind.equal(before.asked, after.asked, 'asked while paused')
    bind.near(profile.info().duration_s, recorded, 0.02, 0.02 + late(profile), 'the duration without the pause')
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, recorded, 0.02, 0.02 + late(profile), 'wall time without the pause')
    for sample in profile.json()['samples']:
        bind.check(not paused_at + 0.01 < sample['timestamp'] < resumed_at - 0.01, 'a sample during the pause')
    balanced(profile.stats())


@bind.test
def parts_shorter_than_a_period():
    """A host records a part of each frame: 4 ms of 8, 200 times, at 100 Hz. Few parts have a sample."""
    done = threading.Event()
    with running(done.wait, name='waits') as threads:
        session = bind.Session(rate_hz=100)
        spin(0.1)
        session.pause()
        begin = session.snapshot()
        wall, cpu = [0, 0], [0, 0]   # without the calls, and with them: beside busy processes they take long
        clocks = time.perf_counter, time.thread_time
        for _ in range(200):
            with_calls = [clock() for clock in clocks]
            session.resume()
            without = [clock() for clock in clocks]
            spin_on_cpu(0.004)
            wall[0], cpu[0] = (total + clock() - at for total, clock, at in zip((wall[0], cpu[0]), clocks, without))
            session.pause()
            wall[1], cpu[1] = (total + clock() - at for total, clock, at in zip((wall[1], cpu[1]), clocks, with_calls))
            outside(0.004)
        profile = session.stop()
        done.set()
    balanced(profile.stats())

    def told(name, metric):
        return (thread_of(profile, name).total[metric] - thread_of(begin, name).total[metric]) / 1e9

    expected = ('MainThread', CPU_NS, cpu), ('MainThread', WALL_NS, wall), ('waits', WALL_NS, wall)
    for name, metric, (least, most) in expected:
        bind.near(told(name, metric), (least + most) / 2, 0.03, 0.02 + late(profile) + (most - least) / 2, name)
    bind.near(told('waits', CPU_NS), 0, 0, 0.01, 'its CPU time')
    paused = sum(item.self[CPU_NS] for item in profile.visit(bind.ITEM_STACK)
                  if any(frame.name == 'outside' for frame in item.stack))
    bind.near(paused / 1e9, 0, 0, 0.02, 'CPU time of the pauses')


@bind.test
def sessions_shorter_than_a_period():
    """A harness records each test, 5 ms at 20 Hz. The clocks are read at once, so the CPU time is told, though without
    a sample not its place."""
    told = cpu = 0
    for _ in range(40):
        session = bind.Session(rate_hz=20)
        before = time.thread_time()
        spin_on_cpu(0.005)
        cpu += time.thread_time() - before
        profile = session.stop()
        told += sum(item.total[CPU_NS] for item in profile.visit(bind.ITEM_THREAD)) / 1e9
        balanced(profile.stats())
    bind.check(told < 1.5 * cpu + 0.02, 'CPU time is %.3f s, not %.3f', told, cpu)
    bind.enough(told > 0.7 * cpu, 'CPU time is %.3f s, not %.3f', told, cpu)


@bind.test
def one_pauses_while_another_records():
    other = bind.Session(rate_hz=1000)
    session = bind.Session(rate_hz=500)
    spin(0.2)
    session.pause()
    before, others = session.stats(), other.stats()
    spin(0.3)
    bind.equal(session.stats().samples, before.samples, 'samples while paused')
    bind.enough(other.stats().samples > others.samples + 100, 'the other one goes on')
    session.resume()
    spin(0.2)
    bind.enough(session.stats().samples > before.samples + 30, 'samples after it was resumed')
    session, other = session.stop(), other.stop()
    bind.near(thread_of(session, 'MainThread').total[WALL_NS] / 1e9, 0.4, 0, 0.04 + 2 * late(other), 'wall time without the pause')
    bind.near(thread_of(other, 'MainThread').total[WALL_NS] / 1e9, 0.7, 0, 0.05 + late(other), 'wall time of the other')


@bind.test
def two_sessions_with_a_depth_of_their_own():
    def down(n):
        return down(n - 1) if n else spin(0.4)

    shallow, deep = bind.Session(rate_hz=1000, max_depth=10), bind.Session(rate_hz=500, max_depth=500)
    down(100)
    shallow, deep = shallow.stop(), deep.stop()
    for profile, depth, cut in ((shallow, 10, True), (deep, 500, False)):
        stats = profile.stats()
        seen = 0
        for item in profile.visit(bind.ITEM_STACK):
            frames = [frame for frame in item.stack if frame.kind == bind.KIND_PYTHON]
            if item.stack[-1].name == 'spin' and item.self[SAMPLES]:
                bind.equal(len(frames), 10 if cut else len(frames), 'frames')
                bind.check(cut or len(frames) > 100, '%d frames', len(frames))
                bind.equal(item.stack[0].name, '<truncated>' if cut else '<module>', 'the first frame')
                seen += item.self[SAMPLES]
        bind.enough(seen > 50, '%d samples in spin', seen)
        bind.check(stats.truncated >= seen if cut else stats.truncated == 0, 'truncated: %d of %d', stats.truncated, seen)


@bind.test(alone=True)
def a_slower_session_counts_missed_ticks():
    """Ticks that the sampler misses are missed by every session, at its own rate."""
    hogs = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass']) for _ in range(4)]
    try:
        fast = bind.Session(rate_hz=5000)
        with bind.record(rate_hz=100) as r:
            spin(bind.length(3.0, 0.8))
        fast = fast.stop().stats()
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    print(fast, r.profile.stats())
    balanced(r.profile.stats())
    bind.near(r.profile.stats().asked, 100 * r.elapsed, 0.05, 3, 'asked at 100 Hz')
    bind.near(fast.asked + fast.thinned, 5000 * r.elapsed, 0.05, 3, 'asked at 5000 Hz')
    bind.equal(r.profile.stats().thinned, 0, 'left out at 100 Hz')


@bind.test
def ticks_missed_at_the_end_are_counted():
    """A real-time thread starves the sampler until the session ends: no tick happens, and that is told."""
    with bind.record(rate_hz=1000) as r:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError as error:
            bind.skip('no real-time scheduling here: %s' % error)
        spin(0.5)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    stats = r.profile.stats()
    print(stats)
    balanced(stats)
    bind.near(stats.asked, 1000 * r.elapsed, 0.1, 3, 'asked')


@bind.test
def cpu_time_of_a_pause_is_left_out():
    session = bind.Session(rate_hz=500)
    time.sleep(0.2)
    session.pause()
    spin_on_cpu(0.6)
    session.resume()
    time.sleep(0.2)
    cpu = thread_of(session.stop(), 'MainThread').total[CPU_NS]
    bind.check(cpu < 0.2e9, '%.3f s of CPU time recorded', cpu / 1e9)


@bind.test
def reset_drops_earlier_samples():
    session = bind.Session(rate_hz=1000)
    spin(0.5)
    session.reset()
    begin = time.perf_counter()
    spin_hot(0.5)
    elapsed = time.perf_counter() - begin
    profile = session.stop()
    bind.check('spin' not in [item.stack[-1].name for item in profile.visit(bind.ITEM_STACK)], 'spin is still there')
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, elapsed, 0.02, 0.02 + late(profile), 'wall time since the reset')
    bind.near(profile.info().duration_s, elapsed, 0.02, 0.02 + late(profile), 'duration since the reset')
    balanced(profile.stats())


@bind.test
def snapshots_grow():
    session = bind.Session(rate_hz=1000)
    last = 0
    for _ in range(5):
        bind.eventually(lambda: spin(0.1) or session.stats().samples > last, 'more samples')
        snapshot = session.snapshot()
        samples = snapshot.stats().samples
        bind.check(samples > last, 'the snapshot did not grow: %d, %d', last, samples)
        bind.equal(snapshot.info().total[SAMPLES], samples)
        balanced(snapshot.stats())
        last = samples
        first = snapshot if _ == 0 else first
        kept = first.write(bind.JSON) if _ == 0 else kept
    profile = session.stop()
    bind.check(profile.stats().samples >= last, 'the end has less than the last snapshot')
    bind.equal(first.write(bind.JSON) == kept, True, 'a snapshot does not change')


@bind.test
def snapshot_with_reset_loses_nothing():
    whole = bind.Session(rate_hz=1000)
    parts = []
    session = bind.Session(rate_hz=1000)
    begin = time.perf_counter()
    with running(spin_hot, 2.0, name='worker'):
        while time.perf_counter() - begin < 2.1:
            time.sleep(0.01)
            parts.append(session.snapshot(reset=1))
    parts.append(session.stop())
    elapsed = time.perf_counter() - begin
    whole = whole.stop()
    bind.check(len(parts) > 50, 'only %d parts', len(parts))

    slack = late(whole) + max(map(late, parts))

    def total(profiles, metric, thread=None):
        return sum(one.total[metric] for profile in profiles for one in profile.threads() if thread in (None, one.name))

    bind.near(total(parts, WALL_NS, 'MainThread') / 1e9, elapsed, 0.005, 0.01 + slack, 'wall time of the parts')
    bind.near(sum(part.info().duration_s for part in parts), elapsed, 0.005, 0.01 + slack, 'duration of the parts')
    for thread in ('MainThread', 'worker'):
        for metric in (WALL_NS, CPU_NS):
            bind.near(total(parts, metric, thread), total([whole], metric, thread), 0.005, 10e6 + slack * 1e9,
                      'metric %d of %s' % (metric, thread))
    bind.near(sum(part.stats().samples for part in parts), whole.stats().samples, 0.002, 6, 'samples')
    for part in parts:
        balanced(part.stats())


@bind.test
def snapshot_of_the_last_seconds():
    session = bind.Session(rate_hz=1000)
    spin(0.8)
    spin_hot(0.5)
    snapshot = session.snapshot(last_s=0.3)
    session.stop()
    names = {frame.name for item in snapshot.visit(bind.ITEM_STACK) for frame in item.stack}
    bind.check('spin_hot' in names, 'spin_hot is missing')
    bind.check('spin' not in names, 'spin was longer ago')
    bind.near(thread_of(snapshot, 'MainThread').total[WALL_NS] / 1e9, 0.3, 0, 0.05 + late(snapshot), 'wall time')


@bind.test
def duration_pauses():
    events = []

    def note(user, session, event, detail):
        if event != bind.EVENT_DEGRADED:   # a busy machine starves the sampler
            events.append((session, event))

    on_event = bind.OnEvent(bind.EVENT_FN(note), None)
    session = bind.Session(rate_hz=1000, duration_s=0.4, on_event=on_event)
    spin(1.0)
    bind.eventually(lambda: events, 'the event')
    bind.equal(events, [(session.token, bind.EVENT_DURATION)])
    before = session.stats().samples
    spin(0.1)
    bind.equal(session.stats().samples, before, 'samples after the duration')
    profile = session.stop()
    bind.near(profile.info().duration_s, 0.4, 0, 0.02 + late(profile), 'duration')
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, 0.4, 0, 0.03 + late(profile), 'wall time')


@bind.test
def on_event_may_call_the_library():
    done = []

    def event(user, session, event, detail):
        try:
            pointer = ctypes.c_void_p()
            bind.call('stop', session, ctypes.byref(pointer))
            done.append(bind.Profile(pointer.value))
        except BaseException:
            done.append(sys.exc_info()[1])

    on_event = bind.OnEvent(bind.EVENT_FN(event), None)
    session = bind.Session(rate_hz=1000, duration_s=0.2, on_event=on_event)
    spin(0.3)
    bind.eventually(lambda: done, 'the event')
    bind.check(isinstance(done[0], bind.Profile), 'stop in the callback: %r', done[0])
    bind.enough(done[0].stats().samples > 20, 'samples')
    bind.fails(bind.STATE, [], session.stop)
    with bind.record(rate_hz=1000) as r:   # the sampler works on
        bind.eventually(lambda: r.stats().samples > 10, 'samples afterwards')


@bind.test
def eight_sessions_and_no_more():
    rates = [10, 50, 100, 200, 250, 333, 500, 1000]
    begin = time.perf_counter()
    sessions = [bind.Session(rate_hz=rate) for rate in rates]
    detail = bind.fails(bind.BUSY, [], bind.Session, rate_hz=100)
    bind.check('8' in detail or 'eight' in detail or 'session' in detail, 'the reason: %r', detail)
    spin(2.0)
    profiles = [session.stop() for session in sessions]
    elapsed = time.perf_counter() - begin
    for rate, profile in zip(rates, profiles):
        stats = profile.stats()
        balanced(stats)
        bind.near(stats.asked, rate * elapsed, 0.1, 5, 'asked at %d Hz' % rate)
        bind.near(profile.info().total[WALL_NS] / 1e9, elapsed, 0.02, 2.0 / rate + late(profile), 'wall time at %d Hz' % rate)
        bind.enough(share(profile, 'MainThread', 'spin') > 0.8, 'spin at %d Hz', rate)
        bind.near(profile.info().rate_hz, rate, 0.001)
    session = bind.Session()   # there is room again
    session.stop()


@bind.test
def dead_tokens():
    token = bind.Session().token
    session = bind.Session()
    session.stop()
    for function in (session.stop, session.snapshot, session.pause, session.resume, session.reset, session.stats):
        bind.fails(bind.STATE, [], function)
    again = bind.Session()   # in the same slot, perhaps
    bind.check(again.token != session.token, 'the token of an ended session came back')
    for function in (session.stop, session.snapshot, session.pause, session.resume, session.reset, session.stats):
        bind.fails(bind.STATE, [], function)
    again.stop()
    session.token = token
    session.stop()


@bind.test
def stop_without_a_profile():
    for lib in (bind.released, bind.held):
        session = bind.Session(lib)
        bind.call('stop', session.token, None, lib=lib)
        bind.fails(bind.STATE, [], session.stop)


@bind.test
def the_gil_may_be_held():
    """Every call through PyDLL: the sampler must not need the GIL to answer."""
    lib = bind.held
    with running(spin_hot, 1.0, name='worker'):
        for _ in range(20):
            session = bind.Session(lib, rate_hz=5000)
            time.sleep(0.01)
            session.stats()
            session.snapshot()
            session.pause()
            session.resume()
            session.snapshot(reset=1)
            session.reset()
            profile = session.stop()
            profile.json()
            bind.dump_profile(lib)


@bind.test
def threads_and_descriptors_return():
    with bind.record():
        pass
    tasks, descriptors = bind.tasks(), bind.descriptors()
    for _ in range(50):
        with bind.record(rate_hz=10000) as r:
            bind.check(len(bind.tasks()) > len(tasks), 'no sampler thread')
        r.profile.free()
    bind.eventually(lambda: bind.tasks() == tasks, 'threads as before: %r, %r' % (bind.tasks(), tasks))
    bind.equal(bind.descriptors(), descriptors, 'file descriptors')


@bind.test
def the_sampler_blocks_signals():
    """No signal of the program ends up on the sampler; none of its handlers is changed."""
    def masks(task):
        with open('/proc/self/task/%d/status' % task) as file:
            return {line.split(':')[0]: int(line.split()[1], 16) for line in file if line.startswith(('SigBlk', 'SigCgt', 'SigIgn'))}

    with running(int):   # glibc's own handler, of the first thread
        pass
    mine = masks(os.getpid())
    before = set(bind.tasks())
    with bind.record(rate_hz=1000):
        time.sleep(0.05)
        sampler = set(bind.tasks()) - before
        bind.check(sampler, 'no sampler')
        for task in sampler:
            all_but_two = masks(task)['SigBlk'] | 1 << signal.SIGKILL - 1 | 1 << signal.SIGSTOP - 1
            bind.equal(all_but_two & 0x7fffffff, 0x7fffffff, 'blocked signals of thread %d' % task)
        bind.equal(masks(os.getpid()), mine, 'signal masks and handlers of the main thread')


@bind.test
def system_calls_are_not_interrupted():
    """poll, sleep and select run to their end: nothing sends signals."""
    libc = ctypes.CDLL(None, use_errno=True)
    with bind.record(rate_hz=5000):
        for _ in range(3):
            begin = time.perf_counter()
            ctypes.set_errno(0)
            bind.equal(libc.poll(None, 0, 150), 0, 'poll')
            bind.equal(libc.usleep(100000), 0, 'usleep')
            bind.equal(ctypes.get_errno(), 0, 'errno')
            bind.check(time.perf_counter() - begin > 0.24, 'too short')


@bind.test
def start_and_stop_from_four_threads():
    errors, stop = [], threading.Event()
    cycles = []

    def cycle(lib, seed):
        rng = random.Random(seed)
        try:
            for i in range(50):
                session = bind.Session(lib, rate_hz=rng.choice([100, 1000, 5000]), timeline_s=rng.choice([-1, 1]))
                if i % 3 == 0:
                    spin(0.003)
                elif i % 3 == 1:
                    time.sleep(0.002)
                if i % 5 == 0:
                    session.snapshot(reset=i % 2).free()
                if i % 7 == 0:
                    session.pause()
                session.stop().free()
                cycles.append(i)   # counting up loses some without the GIL
        except BaseException:
            errors.append(sys.exc_info()[1])

    def churn():
        while not stop.is_set():
            threads = [threading.Thread(target=spin, args=(0.0005,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    with bind.record():
        pass
    tasks, descriptors = bind.tasks(), bind.descriptors()
    with running(churn):
        with running(cycle, bind.released, 1), running(cycle, bind.released, 2):
            with running(cycle, bind.held, 3), running(cycle, bind.released, 4):
                pass
        stop.set()
    if errors:
        raise errors[0]
    bind.equal(len(cycles), 200, 'cycles')
    bind.eventually(lambda: bind.tasks() == tasks, 'threads as before')
    bind.equal(bind.descriptors(), descriptors, 'file descriptors')


@bind.test
def memory_stays_in_its_bounds():
    """Fresh stacks all the time, and little memory for them."""
    limit = 4 << 20
    try:
        session = bind.Session(rate_hz=5000, max_bytes=limit)
    except bind.Error as error:
        if error.code != bind.BUDGET:
            raise
        limit = 16 << 20
        session = bind.Session(rate_hz=5000, max_bytes=limit)
    end = time.perf_counter() + bind.length(4, 1)
    i = 0
    while time.perf_counter() < end:
        i += 1
        space = {}
        exec(compile('def f%d_%s(n):\n    if n: f%d_%s(n - 1)\n    for _ in range(3000): pass\n' % ((i, 'x' * 500) * 2),
                     '/%d/%s.py' % (i, 'y' * 500), 'exec'), space)
        space['f%d_%s' % (i, 'x' * 500)](i % 50)
    stats = session.stats()
    profile = session.stop()
    print(stats)
    bind.check(stats.own_bytes <= limit, '%d bytes, the limit is %d', stats.own_bytes, limit)
    balanced(profile.stats())
    document = profile.json()
    bind.equal(sum(item.self[SAMPLES] for item in profile.visit(bind.ITEM_STACK)), profile.stats().samples)
    bind.check(document['stats']['samples'] == profile.stats().samples, 'samples')


@bind.test
def the_sampler_is_cheap():
    with bind.record(rate_hz=100) as r:
        spin(2.0)
    own = r.profile.stats().own_cpu_ns / 1e9
    bind.check(0 < own < 0.1 * r.elapsed, 'the sampler used %.3f of %.3f s', own, r.elapsed)


if __name__ == '__main__':
    bind.run()
