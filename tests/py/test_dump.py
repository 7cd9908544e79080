"""What a dump tells beside stacks: for what each thread waits, which thread has it, and whether that is a deadlock.

Every scene is made by the test itself: which thread has which lock is known.
"""
import ctypes
import os
import queue
import socket
import subprocess
import sys
import threading
import time

import bind

FOR_EVER = 1000


class Scene:
    """Threads that wait. They are daemons: the process of the test ends with them."""

    def __init__(self):
        self.threads = []

    def start(self, name, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, name=name, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def dump(self, tries=50, **options):
        """{name: wait} once all threads that were started wait; with the item in .item."""
        for _ in range(tries):
            time.sleep(0.05)
            self.profile = bind.dump_profile(**options)
            self.items = {item.thread.name: item for item in self.profile.visit(bind.ITEM_WAIT)}
            if all(thread.name in self.items or not thread.is_alive() for thread in self.threads):
                break
        else:
            raise AssertionError('not all wait: %s' % sorted(self.items))
        return {name: item.wait for name, item in self.items.items()}

    def holder(self, name):
        other = self.items[name].other
        return other and other.name


def hold(*locks):
    """A thread's work: takes one lock after the other; after the first, all threads of the scene have their first one."""
    first, ready, others = locks[0], locks[1], locks[2:]
    with first:
        ready.wait()
        take(*others)


def take(*locks):
    if locks:
        with locks[0]:
            take(*locks[1:])
    else:
        time.sleep(FOR_EVER)


class Meeting:
    """A barrier whose waiters hold no lock of threading themselves."""

    def __init__(self, count):
        self.left = count

    def wait(self):
        self.left -= 1
        while self.left > 0:
            time.sleep(0.001)


def ring(make, count, kind, how, name='ring'):
    """count threads, each has a lock and wants that of the next."""
    scene, ready, locks = Scene(), Meeting(count), [make() for _ in range(count)]
    for i in range(count):
        scene.start(name + '-%d' % i, hold, locks[i], ready, locks[(i + 1) % count])
    time.sleep(0.2)
    waits = scene.dump()
    for i in range(count):
        wait = waits[name + '-%d' % i]
        assert (wait.kind, wait.how, wait.timed) == (kind, how, 0), wait
        assert scene.holder(name + '-%d' % i) == name + '-%d' % ((i + 1) % count), scene.items
        assert wait.deadlock == waits[name + '-0'].deadlock > 0, waits
        lock = locks[(i + 1) % count]
        assert '0x%x>' % id(getattr(lock, '_lock', lock)) in wait.what, wait
    return scene


@bind.test
def two_locks_in_opposite_order():
    scene = ring(threading.Lock, 2, 'lock', 'with')
    rows = {row['thread']: row for row in scene.profile.json()['waits']}
    assert len(rows) == len(scene.items)
    assert all(row['deadlock'] and row['holder_thread'] in rows for row in rows.values() if row['kind'] == 'lock'), rows


@bind.test
def a_ring_of_three():
    ring(threading.Lock, 3, 'lock', 'with')


@bind.test
def recursive_locks():
    ring(threading.RLock, 2, 'rlock', 'owner')


@bind.test
def conditions():
    ring(threading.Condition, 2, 'rlock', 'owner')
    ring(lambda: threading.Condition(threading.Lock()), 2, 'lock', 'with', 'plain')


@bind.test
def a_thread_that_takes_its_lock_twice():
    scene, lock = Scene(), threading.Lock()
    scene.start('twice', take, lock, lock)
    wait = scene.dump()['twice']
    assert wait.deadlock and scene.holder('twice') == 'twice', wait


@bind.test
def a_join_and_a_lock():
    """One waits for a thread to end, that one for the lock of the first."""
    scene, lock, ready = Scene(), threading.Lock(), threading.Event()

    def first():
        with lock:
            ready.set()
            second.join()

    def other():
        ready.wait()
        with lock:
            pass

    second = scene.start('second', other)
    scene.start('first', first)
    waits = scene.dump()
    assert (waits['first'].kind, waits['first'].how, waits['second'].kind) == ('thread', 'join', 'lock'), waits
    assert (scene.holder('first'), scene.holder('second')) == ('second', 'first')
    assert waits['first'].deadlock == waits['second'].deadlock > 0, waits


@bind.test
def what_is_no_deadlock():
    """A chain, a ring with a timeout, and a condition whose lock was given back."""
    scene, ready = Scene(), Meeting(2)
    chain, a, b = threading.Lock(), threading.Lock(), threading.Lock()
    given = threading.Condition(threading.Lock())

    def patient(first, second):
        with first:
            ready.wait()
            second.acquire(timeout=FOR_EVER)

    def waits_for_news():
        with given:
            given.wait()

    scene.start('end', take, chain)
    time.sleep(0.1)
    scene.start('chain', take, chain)
    scene.start('ring-a', patient, a, b)
    scene.start('ring-b', hold, b, ready, a)
    scene.start('news', waits_for_news)
    time.sleep(0.1)
    scene.start('has', take, given)
    time.sleep(0.1)
    scene.start('wants', take, given)
    time.sleep(0.2)
    waits = scene.dump()
    assert all(wait.deadlock == 0 for wait in waits.values()), waits
    assert scene.holder('chain') == 'end' and waits['end'].kind == 'sleep', waits
    assert (scene.holder('ring-a'), scene.holder('ring-b')) == ('ring-b', 'ring-a')
    assert (waits['ring-a'].timed, waits['ring-b'].timed) == (1, 0)
    assert waits['news'].kind == 'condition' and scene.holder('news') is None
    assert scene.holder('wants') == 'has', scene.items['wants']   # not 'news', which is inside its with statement, too


@bind.test
def a_holder_that_cannot_be_known():
    """acquire() leaves no trace: no thread is named."""
    scene, lock = Scene(), threading.Lock()

    def silent():
        lock.acquire()
        time.sleep(FOR_EVER)

    scene.start('silent', silent)
    time.sleep(0.1)
    scene.start('wants', take, lock)
    wait = scene.dump()['wants']
    assert wait.kind == 'lock' and wait.how == '' and scene.holder('wants') is None, wait
    assert '0x%x>' % id(lock) in wait.what


@bind.test
def what_threads_wait_for():
    scene = Scene()
    full, empty = queue.Queue(1), queue.Queue()
    full.put(None)
    event, semaphore, barrier = threading.Event(), threading.Semaphore(0), threading.Barrier(2)
    listening = socket.create_server(('127.0.0.1', 0)) if sys.version_info >= (3, 8) else None
    near = socket.create_connection(listening.getsockname())
    far, _ = listening.accept()
    read, _write = os.pipe()
    child = subprocess.Popen(['sleep', '1000'])
    sleeper = scene.start('sleeper', time.sleep, FOR_EVER)
    expected = {'sleeper': ('sleep', None)}

    def add(name, kind, what, function, *arguments):
        expected[name] = kind, what
        scene.start(name, function, *arguments)

    add('get', 'queue', '<queue.Queue object at 0x%x>' % id(empty), empty.get)
    add('put', 'queue', '<queue.Queue object at 0x%x>' % id(full), full.put, None)
    add('event', 'event', '<threading.Event object at 0x%x>' % id(event), event.wait)
    add('semaphore', 'semaphore', '<threading.Semaphore object at 0x%x>' % id(semaphore), semaphore.acquire)
    add('barrier', 'barrier', '<threading.Barrier object at 0x%x>' % id(barrier), barrier.wait)
    add('join', 'thread', '<threading.Thread object at 0x%x>' % id(sleeper), sleeper.join)
    add('recv', 'socket', '127.0.0.1:%d' % listening.getsockname()[1], near.recv, 1)
    add('accept', 'socket', '127.0.0.1:%d' % listening.getsockname()[1], listening.accept)
    add('pipe', 'pipe', 'read pipe', os.read, read, 1)
    add('child', 'child', 'pid %d' % child.pid, child.wait)
    try:
        waits = scene.dump()
        for name, (kind, what) in expected.items():
            assert waits[name].kind == kind and (what is None or what in waits[name].what), (name, waits[name])
        assert scene.holder('join') == 'sleeper'
        begin = time.monotonic()
        scene.dump(1)
        again = scene.dump(1)
        told, passed = (again['pipe'].waited_ns - waits['pipe'].waited_ns) / 1e9, time.monotonic() - begin
        assert waits['pipe'].waited_ns > 0 and -0.1 < told - passed < passed + 1, (told, passed)
    finally:
        child.kill()
        child.wait()


@bind.test
def a_dump_can_be_saved_and_loaded():
    scene = ring(threading.Lock, 2, 'lock', 'with')
    with bind.folder() as folder:
        path = os.path.join(folder, 'a.json')
        scene.profile.save(path)
        pointer = ctypes.c_void_p()
        bind.call('load', path.encode(), ctypes.byref(pointer))
        again = bind.Profile(pointer.value)
        assert {item.thread.name: (item.wait, item.other and item.other.name) for item in again.visit(bind.ITEM_WAIT)} == {
            name: (item.wait, item.other and item.other.name) for name, item in scene.items.items()}
        assert bind.strict_json(again.write(bind.JSON)) == bind.strict_json(scene.profile.write(bind.JSON))



bind.run()
