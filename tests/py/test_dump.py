"""What a dump tells beside stacks: for what each thread waits, which thread has it, and whether that is a deadlock.

Every scene is made by the test itself: which thread has which lock is known.
"""
import fcntl
import os
import queue
import random
import re
import signal
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
        before, waits, after = time.monotonic(), scene.dump(), time.monotonic()
        for name, (kind, what) in expected.items():
            assert waits[name].kind == kind and (what is None or what in waits[name].what), (name, waits[name])
        assert scene.holder('join') == 'sleeper'
        scene.dump(1)
        least, again = time.monotonic() - after, scene.dump(1)
        most, told = time.monotonic() - before, (again['pipe'].waited_ns - waits['pipe'].waited_ns) / 1e9
        assert waits['pipe'].waited_ns > 0 and least - 0.1 < told < most + 0.1, (least, told, most)
    finally:
        child.kill()
        child.wait()


@bind.test
def a_dump_can_be_saved_and_loaded():
    scene = ring(threading.Lock, 2, 'lock', 'with')
    with bind.folder() as folder:
        path = os.path.join(folder, 'a.json')
        scene.profile.save(path)
        again = bind.load(path)
        assert {item.thread.name: (item.wait, item.other and item.other.name) for item in again.visit(bind.ITEM_WAIT)} == {
            name: (item.wait, item.other and item.other.name) for name, item in scene.items.items()}
        assert bind.strict_json(again.write(bind.JSON)) == bind.strict_json(scene.profile.write(bind.JSON))



class Thing:
    pass


def variables():
    """What a dump must tell of each of these variables."""
    thing, recursive = Thing(), [1]
    recursive.append(recursive)
    torn = [object() for _ in range(3)]
    values = {
        'none': None, 'yes': True, 'no': False, 'zero': 0, 'negative': -5, 'large': (1 << 63) + 5, 'pi': 3.14159,
        'third': 1 / 3, 'whole': 100.0, 'minus': -2.5, 'text': 'h\u00e4\u20ac\U0001f600', 'quoted': 'a\t\\ \n', 'raw': b'a\x00\xff',
        'empty': (), 'single': (1,), 'numbers': [1, 2, 3], 'nested': {'a': [1, (2, 'x')], 2: None}, 'unique': {7},
        'frozen': frozenset([8]), 'monkey': 'banana'}
    expected = {name: repr(value) for name, value in values.items()}
    expected.update(
        thing='<%s.Thing object at 0x%x>' % (Thing.__module__, id(thing)), password='<masked>', api_key='<masked>', authToken='<masked>',
        holds="{'user': 'me', 'password': <masked>}", recursive='[1, [1, [1, [1, [...]]]]]', infinite='-inf', small='1.5e-200')
    return values, thing, recursive, expected, torn


def show(ready, values, thing, recursive):
    (none, yes, no, zero, negative, large, pi, third, whole, minus, text, quoted, raw, empty, single, numbers, nested, unique,
     frozen, monkey) = [values[name] for name in (
         'none yes no zero negative large pi third whole minus text quoted raw empty single numbers nested unique frozen monkey').split()]
    password, api_key, authToken, holds = 'hunter2', b'k', 'abc', {'user': 'me', 'password': 'hunter2'}
    infinite, small = float('-inf'), 1.5e-200
    longest, many, deep = 'x' * (64 << 20), list(range(100000)), [[[[[[[[1]]]]]]]]
    huge, ordered = 1 << 4000, {i: str(i) for i in range(5000)}

    def inner():
        return none, captured

    captured = 'in a cell'
    ready.set()
    time.sleep(FOR_EVER)
    return locals()


def shown(name='shows', **options):
    values, thing, recursive, expected, _torn = variables()
    scene, ready = Scene(), threading.Event()
    scene.start(name, show, ready, values, thing, recursive)
    ready.wait()
    scene.dump(**options)
    items = [item for item in scene.profile.visit(bind.ITEM_LOCAL) if item.thread.name == name]
    return scene, items, {item.local.name: item.local for item in items if item.stack[-1].name == 'show'}, expected


@bind.test
def values_of_variables():
    _, items, found, expected = shown(locals=bind.LOCALS_MASKED)
    for name, value in expected.items():
        assert found[name].value == value, (name, found[name], value)
        assert found[name].sure == 1
        assert found[name].masked == (value == '<masked>' or name == 'holds'), found[name]
    assert found['captured'].value == "'in a cell'", found['captured']
    assert all(len(one.value.encode()) <= 123 for one in found.values())
    assert found['longest'].value.startswith("'xxxx") and found['longest'].value.endswith('x...')
    assert found['many'].value.startswith('[0, 1, 2, ') and found['ordered'].value.startswith("{0: '0', 1: '1', ")
    assert found['deep'].value == '[[[[[...]]]]]' and 'int of' in found['huge'].value
    outer = {item.local.name: item.local.value for item in items if item.stack[-1].name == 'run'}
    assert outer['self'].startswith('<threading.Thread object at 0x'), outer


@bind.test
def variables_are_shown_only_if_asked_for():
    scene, items, _, _ = shown()
    assert not items and 'locals' not in scene.profile.json()
    _, _, found, _ = shown('all', locals=bind.LOCALS_ALL, max_value=4096)
    assert found['password'].value == "'hunter2'" and not found['password'].masked
    assert found['holds'].value == "{'user': 'me', 'password': 'hunter2'}"
    assert 4000 < len(found['longest'].value) < 4100
    _, items, found, _ = shown('few', locals=bind.LOCALS_MASKED, max_locals=3)
    assert len(found) == 3, found


@bind.test
def variables_can_be_saved_and_loaded():
    scene, _, _, _ = shown(locals=bind.LOCALS_MASKED)
    with bind.folder() as folder:
        path = os.path.join(folder, 'a.json')
        scene.profile.save(path)
        again = bind.load(path)
        assert [item.local for item in again.visit(bind.ITEM_LOCAL)] == [item.local for item in scene.profile.visit(bind.ITEM_LOCAL)]


@bind.test
def objects_that_change_while_they_are_read():
    """Lists, dicts and strings are made and freed all the time: every value is some text, and the dumps end."""
    stop = []

    def churn(seed):
        while not stop:
            made = [[seed, str(seed) * 50, {i: [i] for i in range(20)}] for _ in range(50)]
            joined = ''.join(made[0][1:2])
            made.clear()
            del joined

    threads = [threading.Thread(target=churn, args=(i,), name='churn') for i in range(2)]
    for thread in threads:
        thread.start()
    count = 0
    begin = time.monotonic()
    try:
        while time.monotonic() - begin < bind.length(5, 0.6):
            profile = bind.dump_profile(locals=bind.LOCALS_MASKED)
            found = [item.local for item in profile.visit(bind.ITEM_LOCAL) if item.thread.name == 'churn']
            assert all(len(one.value) < 500 for one in found)
            bind.strict_json(profile.write(bind.JSON))
            count += len(found)
    finally:
        stop.append(1)
        for thread in threads:
            thread.join()
    assert count


# --- another process ------------------------------------------------------------------------------------------------

PRELUDE = """
import fcntl, os, socket, sys, threading, time
def start(name, function, *arguments):
    threading.Thread(target=function, args=arguments, name=name, daemon=True).start()
def told(*what):
    print(*what)
    sys.stdout.flush()
    time.sleep(1000)
"""


class Other:
    """Another process, with what it told when it was ready."""

    def __init__(self, source):
        self.process = subprocess.Popen([sys.executable, '-c', PRELUDE + source], stdout=subprocess.PIPE, universal_newlines=True)
        self.told = self.process.stdout.readline().split()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def dump(self, *names, **options):
        """{name: item} once the threads of these names wait."""
        for _ in range(50):
            time.sleep(0.1)
            try:
                self.profile = bind.dump_profile(pid=self.process.pid, **options)
            except bind.Error as error:
                if 'DENIED' in str(error) or 'UNSUPPORTED' in str(error):
                    bind.skip(str(error))
                raise
            items = {item.thread.name: item for item in self.profile.visit(bind.ITEM_WAIT)}
            if all(name in items for name in names):
                return items
        raise AssertionError('not all wait: %s' % sorted(items))


@bind.test
def peers_and_locks_of_another_process():
    with bind.folder() as folder, open(os.path.join(folder, 'a.lock'), 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with Other("""
listening = socket.create_server(('127.0.0.1', 0))
near = socket.create_connection(listening.getsockname())
far, _ = listening.accept()
local = socket.socket(socket.AF_UNIX)
local.bind(%r)
local.listen(1)
start('recv', near.recv, 1)
start('accept', listening.accept)
start('unix', local.accept)
start('flock', fcntl.flock, open(%r, 'w'), fcntl.LOCK_EX)
lock = threading.Lock()
def hold():
    with lock:
        time.sleep(1000)
start('hold', hold)
time.sleep(0.2)
start('want', lock.acquire)
told(listening.getsockname()[1])
""" % (os.path.join(folder, 'a.sock'), os.path.join(folder, 'a.lock'))) as other:
            items = other.dump('recv', 'accept', 'unix', 'flock', 'hold', 'want')
            port = other.told[0]
            for name, kind, what in (('recv', 'socket', 'recv 127.0.0.1:' + port), ('accept', 'socket', 'accept 127.0.0.1:' + port),
                                     ('unix', 'socket', 'unix:' + os.path.join(folder, 'a.sock')),
                                     ('flock', 'file lock', ', held by pid %d' % os.getpid())):
                assert items[name].wait.kind == kind and what in items[name].wait.what, items[name]
            assert items['want'].other.name == 'hold' and not items['want'].wait.deadlock


@bind.test
def a_deadlock_in_a_stopped_process():
    with Other("""
a, b = threading.Lock(), threading.RLock()
def take(first, second):
    with first:
        time.sleep(0.3)
        with second:
            pass
start('one', take, a, b)
start('two', take, b, a)
time.sleep(0.6)
told()
""") as other:
        other.dump('one', 'two')
        os.kill(other.process.pid, signal.SIGSTOP)
        items = other.dump('one', 'two', locals=bind.LOCALS_MASKED)
        assert (items['one'].other.name, items['two'].other.name) == ('two', 'one'), items
        assert items['one'].wait.deadlock == items['two'].wait.deadlock > 0, items
        frames = {item.thread.name: item.stack[-1].name for item in other.profile.visit(bind.ITEM_STATE)}
        assert frames['one'] == frames['two'] == 'take', frames
        with open('/proc/%d/stat' % other.process.pid) as file:
            assert file.read().rsplit(') ', 1)[1][0] == 'T'   # it was not set going


@bind.test
def c_code_that_keeps_the_gil():
    with Other("""
import ctypes
def keep():
    time.sleep(0.3)
    ctypes.PyDLL(None).sleep(1000)
start('keeps', keep)
print()
sys.stdout.flush()
while 1:
    pass
""") as other:
        if bind.FREE_THREADED:
            bind.skip('there is no GIL')
        for _ in range(20):   # at first it sleeps without the GIL
            items = other.dump('keeps', 'MainThread')
            if items['MainThread'].wait.kind == 'GIL' and items['MainThread'].other:
                break
        assert items['MainThread'].wait.kind == 'GIL' and items['MainThread'].other.name == 'keeps', items
        keeps = [item for item in other.profile.visit(bind.ITEM_STATE) if item.thread.name == 'keeps'][-1]
        assert keeps.self[bind.GIL_SAMPLES] > 0 and keeps.self[bind.WAIT_SAMPLES] > 0, keeps
        assert items['keeps'].wait.kind == 'sleep' and items['keeps'].wait.waited_ns > 0, items


@bind.test
def programs_that_become_python():
    """A shell's child that was only forked, and a script that is about to start Python, are waited for; another program is not."""
    work = '%s -S -c "import time; time.sleep(60)"' % sys.executable
    for script in ('(sleep 0.3; exec %s) & echo $!; wait', 'echo $$; sleep 0.3; exec %s'):
        for opens in (lambda pid: bind.Session(pid=pid).stop(), lambda pid: bind.dump_profile(pid=pid)):
            shell = subprocess.Popen(['sh', '-c', script % work], stdout=subprocess.PIPE)
            pid = int(shell.stdout.readline())
            try:
                bind.equal(opens(pid).info().pid, pid)
            except bind.Error as error:
                # on a busy machine a second may be too short
                bind.enough(False, '%s: %s', script, error)
            finally:
                os.kill(pid, signal.SIGKILL)
                shell.wait()
                shell.stdout.close()
    other = subprocess.Popen(['sleep', '60'])
    try:
        bind.fails(bind.NO_PYTHON, str(other.pid), bind.Session, pid=other.pid)
    finally:
        other.kill()
        other.wait()


@bind.test
def programs_that_begin_or_end():
    """A dump at any moment of their life gives a profile, or says that the process has ended, or Python not begun or ended."""
    results = {}
    chance = random.Random(4)
    for i in range(bind.length(500, 24)):
        process = subprocess.Popen([sys.executable, '-S', '-c', 'pass' if i % 2 else 'import threading; '
                                    't = threading.Thread(target=print); t.start(); t.join()'], stdout=subprocess.DEVNULL)
        if i % 3:
            time.sleep(chance.random() * 0.03)
        while True:
            session = None
            try:
                if i % 4 == 3:
                    session = bind.Session(pid=process.pid)
                    session.stop()
                else:
                    bind.dump_profile(pid=process.pid)
                what = 'a profile'
            except bind.Error as error:
                what = re.sub(r'\d+', 'N', str(error).split(': ', 1)[1])
                if 'DENIED' in what:
                    bind.skip(what)
            results[what] = results.get(what, 0) + 1
            if 'NO_PROCESS' in what or process.poll() is not None:
                break
        process.wait()
    print(results)
    for what in results:
        assert re.match('a profile$|NO_PROCESS: |STATE: Python (is ending|has not begun yet) in process N$', what), results


bind.run()
