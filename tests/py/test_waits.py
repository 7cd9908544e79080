"""What a waiting thread waits for: a test for each way to wait, whose leaf must tell it."""
import collections
import concurrent.futures
import contextlib
import ctypes
import fcntl
import gzip
import multiprocessing
import os
import pty
import queue
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tty

import bind
from bind import IDLE_NS, WAIT_NS, WALL_NS
from states import GIL, POINTS, Worker, clock, matching, nap, recorded, runs, same, spin, time_in, told


class Wait:
    """block waits until release lets it go; release None: for ever. pattern: its leaf. idle: is that an idle call, None:
    either way."""

    def __init__(self, block, release, pattern, idle=False):
        self.block, self.release, self.pattern, self.idle = block, release, pattern, idle


WAITS = collections.OrderedDict()


def wait(function):
    """function(stack of things to end with, folder) makes a Wait; a test of its own for each."""
    WAITS[function.__name__] = function
    bind.test(lambda: wait_for(function), name='wait_for_' + function.__name__)
    return function


def stand(block):
    begin = clock()
    block()
    return clock() - begin


def wait_for(make, seconds=0.6):
    with contextlib.ExitStack() as stack:
        one = make(stack, stack.enter_context(bind.folder()))
        worker = Worker('waiter', stand, one.block)
        with bind.record(rate_hz=1000) as r:
            worker.start()
            begin = clock()
            time.sleep(seconds)
            truth = clock() - begin
            if one.release:
                one.release()
                worker.end()
                truth = worker.result
        profile = r.profile
        leaves = profile.leaves('waiter')
        told(profile, 'waiter')
        print(dict(leaves), one.pattern)
        wall = profile.thread('waiter').total[WALL_NS]
        of = profile.shares('waiter')
        truth = min(1, truth * 1e9 / wall)   # it can begin before it is seen
        same(of['wait'], truth, 'how much it waits')
        same(matching(leaves, one.pattern) / wall, truth, 'the leaf %s, of %r' % (one.pattern, dict(leaves)))
        if one.idle is not None:
            same(of['idle'], truth if one.idle else 0, 'how much it is idle')
        for state in ('gil', 'gil_wait', 'native', 'nogil', 'cpu_wait'):
            same(of[state], 0, state)
        bind.enough(time_in(profile, 'waiter', 'stand') > 0.9 * truth * wall / 1e9, 'the frames above')
        if worker.is_alive():   # for ever
            sys.stdout.flush()
            os._exit(0)


def pipe_of(stack):
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends


def fifo_of(stack, path):
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)   # no other end needed
    stack.callback(os.close, fd)
    return fd


def connected(stack, family=socket.AF_INET, address='127.0.0.1'):
    """Two ends of a loopback connection, and the port of the second."""
    try:
        server = stack.enter_context(socket.socket(family))
        server.bind((address, 0))
    except OSError as error:
        bind.skip('no loopback here: %s' % error)
    server.listen(1)
    near = stack.enter_context(socket.socket(family))
    near.connect(server.getsockname()[:2])
    far = stack.enter_context(server.accept()[0])
    return near, far, server.getsockname()[1]


@wait
def sleep(stack, folder):
    return Wait(lambda: time.sleep(1.2), lambda: None, r'\[sleep\]', True)


@wait
def pipe(stack, folder):
    reader, writer = pipe_of(stack)
    return Wait(lambda: os.read(reader, 1), lambda: os.write(writer, b'.'), r'\[read pipe\]')


@wait
def fifo(stack, folder):
    path = os.path.join(folder, 'slow.fifo')
    fd = fifo_of(stack, path)
    return Wait(lambda: os.read(fd, 1), lambda: os.write(fd, b'.'), r'\[read \w+ %s\]' % re.escape(path))


@wait
def readv(stack, folder):
    path = os.path.join(folder, 'slow.fifo')
    fd = fifo_of(stack, path)
    return Wait(lambda: os.readv(fd, [bytearray(1)]), lambda: os.write(fd, b'.'), r'\[readv? \w+ %s\]' % re.escape(path))


@wait
def the_other_end_of_a_fifo(stack, folder):
    path = os.path.join(folder, 'other.fifo')
    os.mkfifo(path)
    return Wait(lambda: os.close(os.open(path, os.O_RDONLY)), lambda: os.close(os.open(path, os.O_WRONLY)), r'\[open.*\]')


@wait
def a_buffered_file(stack, folder):
    reader, writer = os.pipe()
    file = stack.enter_context(open(reader))
    stack.callback(os.close, writer)
    return Wait(file.readline, lambda: os.write(writer, b'.\n'), r'\[read pipe\]')


@wait
def a_full_pipe(stack, folder):
    reader, writer = pipe_of(stack)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(65536))
    os.set_blocking(writer, True)
    return Wait(lambda: os.write(writer, b'.'), lambda: os.read(reader, 1 << 20), r'\[write pipe\]')


@wait
def a_socket(stack, folder):
    near, far, port = connected(stack)
    return Wait(lambda: near.recv(1), lambda: far.send(b'.'), r'\[recv 127\.0\.0\.1:%d\]' % port)


@wait
def a_socket_of_ipv6(stack, folder):
    near, far, port = connected(stack, socket.AF_INET6, '::1')
    return Wait(lambda: near.recv(1), lambda: far.send(b'.'), r'\[recv \[?::1\]?:%d\]' % port)


@wait
def a_socket_with_a_timeout(stack, folder):
    near, far, _ = connected(stack)
    near.settimeout(30)   # then CPython polls it
    return Wait(lambda: near.recv(1), lambda: far.send(b'.'), r'\[(poll|recv) .*\]', None)


@wait
def a_datagram(stack, folder):
    near, far = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)), stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    near.bind(('127.0.0.1', 0))   # no peer
    return Wait(lambda: near.recvfrom(1), lambda: far.sendto(b'.', near.getsockname()), r'\[recv( .*)?\]', None)


@wait
def a_unix_socket(stack, folder):
    near, far = map(stack.enter_context, socket.socketpair())
    return Wait(lambda: near.recv(1), lambda: far.send(b'.'), r'\[recv( .*)?\]')


@wait
def a_full_socket(stack, folder):
    near, far, port = connected(stack)
    near.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            near.send(bytes(1 << 20))
    near.setblocking(True)

    def release():
        far.settimeout(0.5)
        with contextlib.suppress(OSError):
            while far.recv(1 << 20):
                pass

    return Wait(lambda: near.sendall(bytes(1 << 20)), release, r'\[send 127\.0\.0\.1:%d\]' % port)


@wait
def a_client(stack, folder):
    server = stack.enter_context(socket.socket())
    server.bind(('127.0.0.1', 0))
    server.listen(1)
    client = stack.enter_context(socket.socket())
    return Wait(lambda: server.accept()[0].close(), lambda: client.connect(server.getsockname()), r'\[accept( .*)?\]', True)


@wait
def a_connection(stack, folder):
    server = stack.enter_context(socket.socket())
    server.bind(('127.0.0.1', 0))
    server.listen(0)
    for _ in range(8):   # until it takes no more
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    client = stack.enter_context(socket.socket())
    return Wait(lambda: client.connect(server.getsockname()), None, r'\[connect( 127\.0\.0\.1:%d)?\]' % server.getsockname()[1])


@wait
def a_lock(stack, folder):
    lock = threading.Lock()
    lock.acquire()
    return Wait(lock.acquire, lock.release, r'\[futex\]')


@wait
def a_lock_with_a_timeout(stack, folder):
    lock = threading.Lock()
    lock.acquire()
    return Wait(lambda: lock.acquire(timeout=30), lock.release, r'\[futex\]')


@wait
def a_queue(stack, folder):
    items = queue.Queue()
    return Wait(items.get, lambda: items.put(1), r'\[futex\]', True)


@wait
def a_queue_with_a_timeout(stack, folder):
    items = queue.Queue()
    return Wait(lambda: items.get(timeout=30), lambda: items.put(1), r'\[futex\]', True)


@wait
def a_simple_queue(stack, folder):
    items = queue.SimpleQueue()
    return Wait(items.get, lambda: items.put(1), r'\[futex\]', None)   # no function of Python's tells that it is one


@wait
def an_event(stack, folder):
    event = threading.Event()
    return Wait(event.wait, event.set, r'\[futex\]', True)


@wait
def a_select(stack, folder):
    (one, writer), (two, _) = pipe_of(stack), pipe_of(stack)
    return Wait(lambda: select.select([one, two], [], []), lambda: os.write(writer, b'.'), r'\[select( 2 fds)?\]', True)


@wait
def a_poll(stack, folder):
    pipes, poll = [pipe_of(stack) for _ in range(3)], select.poll()
    for reader, _ in pipes:
        poll.register(reader, select.POLLIN)
    return Wait(poll.poll, lambda: os.write(pipes[1][1], b'.'), r'\[poll 3 fds\]', True)


@wait
def a_poll_of_one(stack, folder):
    (reader, writer), poll = pipe_of(stack), select.poll()
    poll.register(reader, select.POLLIN)
    return Wait(poll.poll, lambda: os.write(writer, b'.'), r'\[poll (1 fds?|pipe)\]', None)   # as sockets with a timeout do


@wait
def a_poll_with_half_a_number(stack, folder):
    """The kernel takes a 32-bit number of descriptors; what the program left in the upper half of the register is seen all the same."""
    if os.uname().machine != 'x86_64':
        bind.skip('system call numbers of x86-64')
    reader, writer = pipe_of(stack)
    one = ctypes.create_string_buffer(struct.pack('=ihh', reader, select.POLLIN, 0), 8)
    call = ctypes.CDLL(None).syscall
    call.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_long]
    return Wait(lambda: call(7, one, 1 << 63 | 1, -1), lambda: os.write(writer, b'.'), r'\[poll pipe\]')


@wait
def an_epoll(stack, folder):
    pipes, epoll = [pipe_of(stack) for _ in range(3)], stack.enter_context(select.epoll())
    for reader, _ in pipes:
        epoll.register(reader, select.EPOLLIN)
    return Wait(epoll.poll, lambda: os.write(pipes[1][1], b'.'), r'\[epoll\]', True)


@wait
def a_child(stack, folder):
    process = stack.enter_context(subprocess.Popen(['cat'], stdin=subprocess.PIPE))
    return Wait(process.wait, process.stdin.close, r'\[wait child( %d)?\]' % process.pid, None)


@wait
def a_child_by_waitid(stack, folder):
    process = stack.enter_context(subprocess.Popen(['cat'], stdin=subprocess.PIPE))
    return Wait(lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT), process.stdin.close,
                r'\[wait child( %d)?\]' % process.pid, None)


@wait
def a_locked_file(stack, folder):
    path = os.path.join(folder, 'locked.db')
    one, other = (stack.enter_context(open(path, 'a')) for _ in range(2))
    fcntl.flock(one, fcntl.LOCK_EX)
    return Wait(lambda: fcntl.flock(other, fcntl.LOCK_EX), lambda: fcntl.flock(one, fcntl.LOCK_UN),
                r'\[f?lock (file )?%s\]' % re.escape(path))


@wait
def a_terminal(stack, folder):
    try:
        master, slave = pty.openpty()
    except OSError as error:
        bind.skip('no terminals here: %s' % error)
    for fd in (master, slave):
        stack.callback(os.close, fd)
    tty.setraw(slave)
    return Wait(lambda: os.read(slave, 1), lambda: os.write(master, b'.'), r'\[read tty( /dev/pts/\d+)?\]', None)


@bind.test
def waits_that_go_on_after_a_stop():
    """After SIGSTOP and SIGCONT the kernel shows timed waits by a number that they share; they are told as before, idle as before."""
    def library_sleep():
        ctypes.CDLL(None).usleep(3000000)

    with contextlib.ExitStack() as stack:
        poll = select.poll()
        poll.register(pipe_of(stack)[0], select.POLLIN)
        block = {'poll': lambda: poll.poll(3000), 'lock': lambda: held.acquire(timeout=3),
                 'sleep': library_sleep}
        held = threading.Lock()
        held.acquire()
        workers = [Worker(name, stand, one) for name, one in block.items()]
        for worker in workers:
            worker.start()
        time.sleep(0.2)   # until all of them wait
        subprocess.check_call(['sh', '-c', '(sleep 0.2; kill -CONT %d) & sleep 0.1; kill -STOP %d' % ((os.getpid(),) * 2)])
        time.sleep(0.5)   # it was stopped, and goes on
        with bind.record(rate_hz=200) as r:
            time.sleep(0.7)
        for worker in workers:
            worker.end()
    profile = r.profile
    for name, pattern, idle in ('poll', r'\[poll pipe\]', 0), ('lock', r'\[futex\]', 0), ('sleep', r'\[sleep\]', 1):
        leaves, wall = profile.leaves(name), profile.thread(name).total[WALL_NS]
        print(name, dict(leaves), profile.shares(name))
        same(matching(leaves, pattern) / wall, 1, 'the leaf of %s, of %r' % (name, dict(leaves)))
        same(profile.shares(name)['idle'], idle, 'how much %s is idle' % name)


@bind.test
def a_child_that_has_not_executed_yet():
    """posix_spawn waits until its child executes a program: here until the child could open its standard input."""
    with bind.folder() as folder:
        path = os.path.join(folder, 'input.fifo')
        os.mkfifo(path)
        opener = subprocess.Popen(['sh', '-c', 'sleep 0.7; exec true > "$1"', 'sh', path])
        with bind.record(rate_hz=200) as r:
            stand(lambda: os.waitpid(os.posix_spawn('/bin/true', ['true'], os.environ,
                                                    file_actions=[(os.POSIX_SPAWN_OPEN, 0, path, os.O_RDONLY, 0)]), 0))
        opener.wait()
    leaves = r.profile.leaves('MainThread')
    print(dict(leaves))
    bind.enough(matching(leaves, r'\[wait child\]') / 1e9 > 0.3, 'the leaf, of %r', dict(leaves))
    bind.check(not matching(leaves, r'\[system call \d+\]'), 'a call without a name: %r', dict(leaves))


VERBS = (r'\[(futex|sleep|read|write|(read|write) (pipe|tty|eventfd)|pipe|open|recv|recv or accept|accept|connect|I/O|send|poll|epoll|'
         r'wait child|flock|lock|blocked|kernel \w+)\]')   # what the names of kernel functions tell: no file, no peer


@bind.test
def waits_of_a_process_without_rights():
    """All of the above at once, after setuid: they wait, that is told of each, for what as far as the kernel's functions have names."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)   # PR_SET_DUMPABLE
    with contextlib.ExitStack() as stack:
        waits = {}
        for name, make in WAITS.items():
            try:
                waits[name] = make(stack, stack.enter_context(bind.folder()))
            except bind.Skip:
                pass
        waits = {name: one for name, one in waits.items() if one.release}
        workers = [Worker(name, stand, one.block) for name, one in waits.items()]
        for worker in workers:
            worker.start()
        time.sleep(0.2)   # until all of them wait
        with bind.record(rate_hz=200) as r:
            time.sleep(0.7)
        for one in waits.values():
            one.release()
        for worker in workers:
            worker.end()
    profile = r.profile
    bind.check('gave up its rights' in profile.stats().degraded.decode(), 'degraded: %r', profile.stats().degraded)
    for name in waits:
        leaves, wall = profile.leaves(name), profile.thread(name).total[WALL_NS]
        print(name, dict(leaves))
        bind.enough(profile.shares(name)['wait'] > 0.95, '%s waits %r', name, profile.shares(name))
        bind.enough(matching(leaves, VERBS) / wall > 0.95, 'the leaf of %s, of %r', name, dict(leaves))


@bind.test(long=True)
def files_without_end():
    """After 1,000 different targets new ones are not named, but those that are known still are."""
    def read_all(paths, seconds):
        for path in paths:
            fd = os.open(path, os.O_RDWR)
            timer = threading.Timer(seconds, os.write, (fd, b'.'))
            timer.start()
            os.read(fd, 1)
            timer.join()
            os.close(fd)

    with bind.folder() as folder:
        paths = [os.path.join(folder, 'fifo-%d' % i) for i in range(1300)]
        for path in paths:
            os.mkfifo(path)
        with bind.record(rate_hz=5000) as r:
            for part in [paths[:1]], [paths], [paths[:1]]:
                worker = Worker('reader', read_all, part[0], 0.3 if len(part[0]) == 1 else 0.004)
                worker.start()
                worker.end()
    leaves = collections.Counter()
    for item in r.profile.visit(bind.ITEM_STACK, leaves=True):
        leaves[item.stack[-1].name] += item.self[WALL_NS] / 1e9
    named = [name for name in leaves if 'fifo-' in name]
    print(len(named), leaves['[read pipe %s]' % paths[0]], leaves['[read pipe]'], r.profile.stats().degraded)
    bind.check(len(named) <= 1000, '%d files are named', len(named))
    bind.enough(len(named) > 990, 'only %d files are named', len(named))
    bind.enough(leaves['[read pipe]'] > 0.02, 'files that have no name: %g s', leaves['[read pipe]'])
    bind.enough(leaves['[read pipe %s]' % paths[0]] > 0.5, 'the first file: %g s', leaves['[read pipe %s]' % paths[0]])
    bind.check(b'not named' in r.profile.stats().degraded, 'degraded: %r', r.profile.stats().degraded)


def naps_beside(spinners, seconds, nap, rate_hz):
    """How long who naps is said to want the GIL, and how long it came back too late. It sleeps at the line at which it waits for
    the GIL, and its clock hardly moves."""
    def sleep_on():
        late = 0.0
        end = clock() + seconds
        while clock() < end:
            begin = clock()
            time.sleep(nap)
            late += clock() - begin - nap
        return late

    sleeper = Worker('sleeper', sleep_on)
    profile = recorded(sleeper, *[Worker('spinner %d' % i, spin, seconds) for i in range(spinners)], rate_hz=rate_hz)
    return profile.shares('sleeper')['gil_wait'], sleeper.result / sleeper.wall


@bind.test
def a_sleeper_beside_a_spinner_waits_for_the_gil_only_after_it_wakes():
    got, late = naps_beside(1, 3, 0.05, 200)
    if GIL:
        bind.enough(got < late + 2 * POINTS, 'GIL wait %g, too late by %g', got, late)


@bind.test(long=True)
def a_sleeper_beside_fighters_waits_for_the_gil_only_after_it_wakes():
    """All the time somebody waits for the GIL: who of them is told by how many they are."""
    got, late = naps_beside(3, 4, 0.2, 1000)
    if GIL:
        bind.enough(late / 3 - POINTS < got < late + 2 * POINTS, 'GIL wait %g, too late by %g', got, late)


@bind.test
def an_idle_worker_of_a_pool():
    """It stands in SimpleQueue.get, or in Queue.get of older versions."""
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='pool') as pool:
        pool.submit(int).result()
        with bind.record(rate_hz=1000) as r:
            time.sleep(1)
    told(r.profile, 'pool_0')
    print(dict(r.profile.leaves('pool_0')))
    for state, truth in (('wait', 1), ('idle', 1), ('gil', 0)):
        same(r.profile.shares('pool_0')[state], truth, state)
    same(matching(r.profile.leaves('pool_0'), r'\[futex\]') / r.profile.thread('pool_0').total[WALL_NS], 1, 'the leaf')


@bind.test
def workers_and_helpers_of_multiprocessing_are_idle():
    """They read a pipe or wait for a semaphore, in functions of their own: for work, as readers of a queue.Queue do. A reader of a
    pipe that no queue stands above waits."""
    shared, simple = multiprocessing.Queue(), multiprocessing.SimpleQueue()
    near, far = multiprocessing.Pipe()
    waits = {'shared': shared.get, 'shared 2': shared.get, 'simple': simple.get, 'simple 2': simple.get, 'pipe': near.recv}
    workers = [Worker(name, function) for name, function in waits.items()]
    with multiprocessing.get_context('fork').Pool(1) as pool:
        pool._task_handler.name, pool._result_handler.name = 'tasks', 'results'
        pool.apply(int)
        for worker in workers:
            worker.start()
        time.sleep(0.1)
        with bind.record(rate_hz=1000) as r:
            time.sleep(0.6)
        for end in 2 * [shared.put, simple.put] + [far.send]:
            end(None)
        for worker in workers:
            worker.end()
    for name in [*waits, 'tasks', 'results']:
        told(r.profile, name)
        of = r.profile.shares(name)
        same(of['wait'], 1, 'how much %s waits' % name)
        same(of['idle'], name != 'pipe', 'how much %s is idle' % name)


def read_in_turns(fd, rounds):
    """(time in read, time not in read)"""
    waited, begun = 0, clock()
    for _ in range(rounds):
        begin = clock()
        os.read(fd, 1)
        waited += clock() - begin
        spin(0.03)
    return waited, clock() - begun - waited


@bind.test
def a_slow_pipe():
    """Half waiting for the next byte, half working on it."""
    reader, writer = os.pipe()
    worker = Worker('reader', read_in_turns, reader, 50)

    def feed():
        while worker.is_alive():
            time.sleep(0.06)
            os.write(writer, b'.')

    with bind.record(rate_hz=1000) as r:
        worker.start()
        feed()
        worker.end()
    told(r.profile, 'reader')
    waited, worked = worker.result
    leaves, wall = r.profile.leaves('reader', 'read_in_turns'), r.profile.thread('reader').total[WALL_NS]
    print(waited, worked, dict(leaves))
    same(leaves['[read pipe]'] / wall, waited / (waited + worked), 'leaf [read pipe]')
    same(time_in(r.profile, 'reader', 'spin') * 1e9 / wall, worked / (waited + worked), 'work')
    runs(r.profile, worker)


def read_one_after_another(fd, others, took):
    for name, other in others:
        os.dup2(other, fd)   # whatever fd was: another one now
        begin = clock()
        os.read(fd, 1)
        took[name] += clock() - begin


@bind.test
def a_descriptor_that_becomes_another():
    """One number, one line, one stack: what is told is what the number stands for at the time."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(bind.folder())
        one, two = (fifo_of(stack, os.path.join(folder, name)) for name in ('one.fifo', 'two.fifo'))
        near, far, port = connected(stack)
        reader, writer = pipe_of(stack)
        fd = os.dup(one)
        names = [('one.fifo', one), ('two.fifo', two), ('one.fifo', one), (':%d' % port, near.fileno()), ('pipe]', reader)]
        ends = {'one.fifo': one, 'two.fifo': two, ':%d' % port: far.fileno(), 'pipe]': writer}
        took = collections.Counter()
        worker = Worker('reader', read_one_after_another, fd, names, took)
        with bind.record(rate_hz=1000) as r:
            worker.start()
            for i, (name, _) in enumerate(names):
                time.sleep(0.3 + 0.1 * i)
                os.write(ends[name], b'.')
            worker.end()
        os.close(fd)
        leaves = r.profile.leaves('reader', 'read_one_after_another')
        print(dict(took), dict(leaves))
        for name in took:
            same(sum(value for leaf, value in leaves.items() if name in leaf) / 1e9 / worker.wall, took[name] / worker.wall, 'waiting for ' + name)


@bind.test
def stacks_are_grouped_by_what_they_wait_for():
    """GROUP_LEAF adds up by what was waited for, whoever did."""
    with contextlib.ExitStack() as stack:
        one, two = pipe_of(stack), pipe_of(stack)
        workers = [Worker('a', nap, 1.0), Worker('b', nap, 0.5), Worker('c', stand, lambda: os.read(one[0], 1)),
                   Worker('d', lambda: os.read(two[0], 1))]
        with bind.record(rate_hz=1000) as r:
            for worker in workers:
                worker.start()
            time.sleep(0.8)
            os.write(one[1], b'.')
            os.write(two[1], b'.')
            for worker in workers:
                worker.end()
    late = r.profile.stats().late_max_ns / 1e9
    for sort in (WALL_NS, WAIT_NS):
        rows = r.profile.top(group=bind.GROUP_LEAF, sort=sort, include_idle=1)
        print([(row.name, row.kind, row.self[WALL_NS]) for row in rows])
        bind.equal([row.name for row in rows], sorted({row.name for row in rows}, key=[row.name for row in rows].index), 'rows twice')
        bind.equal([row.self[sort] for row in rows], sorted((row.self[sort] for row in rows), reverse=True), 'the order')
        got = {row.name: row for row in rows}
        bind.near(got['[read pipe]'].self[WAIT_NS] / 1e9, workers[2].wall + workers[3].wall, 0.02, 0.01 + 2 * late, '[read pipe]')
        bind.near(got['[sleep]'].self[IDLE_NS] / 1e9, 0.8 + 1.5, 0.02, 0.02 + 3 * late, '[sleep], this thread included')
        for row in rows:
            bind.equal(row.self, row.total, 'self and total of ' + row.name)
            bind.check(row.kind in (bind.KIND_WAIT, bind.KIND_NATIVE), 'the kind of %s is %d', row.name, row.kind)


def texts_of(profile, **output):
    """What every format tells, as bytes."""
    for format in sorted(bind.SUFFIXES):
        data = profile.write(format, **output)
        yield bind.FORMATS[format], gzip.decompress(data) if format == bind.PPROF else data


@bind.test
def path_modes_keep_secrets():
    with contextlib.ExitStack() as stack:
        folder = os.path.join(stack.enter_context(bind.folder()), 'secret-client')
        os.mkdir(folder)
        fd = fifo_of(stack, os.path.join(folder, 'private.fifo'))
        locked = os.path.join(folder, 'private.db')
        one, other = (stack.enter_context(open(locked, 'a')) for _ in range(2))
        server, client = stack.enter_context(socket.socket(socket.AF_UNIX)), stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(os.path.join(folder, 'private.socket'))
        server.listen(1)
        client.connect(server.getsockname())
        accepted = stack.enter_context(server.accept()[0])
        near, far, port = connected(stack)
        full = None
        for mode in (bind.PATHS_FULL, bind.PATHS_BASE, bind.PATHS_HASHED):
            fcntl.flock(one, fcntl.LOCK_EX)
            workers = [Worker('fifo', os.read, fd, 1), Worker('lock', fcntl.flock, other, fcntl.LOCK_EX), Worker('unix', client.recv, 1),
                       Worker('accept', server.accept), Worker('inet', near.recv, 1)]
            with bind.record(rate_hz=1000, paths=mode) as r:
                for worker in workers:
                    worker.start()
                time.sleep(0.5)
                os.write(fd, b'.')
                fcntl.flock(one, fcntl.LOCK_UN)
                accepted.send(b'.')
                far.send(b'.')
                again = stack.enter_context(socket.socket(socket.AF_UNIX))
                again.connect(server.getsockname())
                for worker in workers:
                    worker.end()
            fcntl.flock(other, fcntl.LOCK_UN)
            leaves = {worker.name: dict(r.profile.leaves(worker.name)) for worker in workers}
            print(mode, leaves)
            main = {worker.name: max(leaves[worker.name], key=leaves[worker.name].get) for worker in workers}
            if mode == bind.PATHS_FULL:
                full = r.profile
                bind.check(os.path.join(folder, 'private.fifo') + ']' in main['fifo'], 'the whole path: %r', main)
                bind.check(locked + ']' in main['lock'], 'the whole path: %r', main)
                bind.check(':%d]' % port in main['inet'], 'the peer: %r', main)
                continue
            for name, data in texts_of(r.profile):
                bind.check(b'secret-client' not in data, 'the folder is in %s', name)
                bind.check(mode == bind.PATHS_BASE or b'private.' not in data, 'the name is in %s', name)
            if mode == bind.PATHS_BASE:
                bind.check(main['fifo'].endswith(' private.fifo]') and main['lock'].endswith(' private.db]'), 'base names: %r', main)
            else:
                bind.check(re.match(r'\[read \w+\]\Z', main['fifo']) and '127.0.0.1' not in main['inet'], 'no targets: %r', main)
        for name, data in texts_of(full, paths=bind.PATHS_BASE):   # decided when it is written
            bind.check(b'secret-client' not in data, 'the folder is in %s that was to have base names', name)
        for name, data in texts_of(full, paths=bind.PATHS_HASHED):
            bind.check(b'secret-client' not in data and b'private.' not in data, 'the path is in %s that was to be hashed', name)


@bind.test
def dumps_name_what_each_thread_waits_for():
    with contextlib.ExitStack() as stack:
        reader, writer = pipe_of(stack)
        near, far, port = connected(stack)
        workers = [Worker('pipe', os.read, reader, 1), Worker('socket', near.recv, 1), Worker('sleep', nap, 0.6)]
        for worker in workers:
            worker.start()
        time.sleep(0.3)
        profile = bind.dump_profile()
        os.write(writer, b'.')
        far.send(b'.')
        for worker in workers:
            worker.end()
    got = {item.thread.name: item.leaf and item.leaf.name for item in profile.visit(bind.ITEM_STACK, leaves=True)}
    bind.equal({name: got[name] for name in ('pipe', 'socket', 'sleep')},
               {'pipe': '[read pipe]', 'socket': '[recv 127.0.0.1:%d]' % port, 'sleep': '[sleep]'}, 'leaves')


QUIET = '''
import sys
sys.argv = ['x', %r]
sys.path.insert(0, %r)
import bind, os, socket, threading, time
near, far = socket.socketpair()
reader, writer = os.pipe()
lock = threading.Lock()
lock.acquire()
for i in range(30):
    wait = [lambda: time.sleep(60), lambda: os.read(reader, 1), lock.acquire, lambda: near.recv(1), threading.Event().wait][i %% 5]
    threading.Thread(target=wait, daemon=True).start()
session = bind.Session(rate_hz=1000)
time.sleep(1)
before = session.stats().samples
os.access('/marker-begin', 0)
time.sleep(3)
os.access('/marker-end', 0)
print(session.stats().samples - before)
sys.stdout.flush()
os._exit(0)
'''


@bind.test
def waiting_on_costs_nothing():
    """What a thread waits for is read once a spell: the system calls of the sampler, counted from outside."""
    if not shutil.which('strace'):
        bind.skip('no strace')
    with bind.folder() as folder:
        log = os.path.join(folder, 'log')
        code = QUIET % (bind.BUILD, os.path.dirname(os.path.abspath(__file__)))
        done = subprocess.run(['strace', '-f', '-o', log, sys.executable, '-S', '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if not os.path.exists(log) or done.returncode == 1 and b'ptrace' in done.stderr:
            bind.skip('strace may not trace here: %s' % done.stderr.decode().strip()[-100:])
        bind.equal((done.returncode, done.stderr), (0, b''), 'the program')
        with open(log, errors='replace') as file:
            lines = file.read().split('\n')
    begin, end = (next(i for i, line in enumerate(lines) if 'marker-' + word in line) for word in ('begin', 'end'))
    calls = collections.Counter(found.group(1) for found in (re.match(r'\d+ +(?:<\.\.\. )?(\w+)', line) for line in lines[begin + 1:end]) if found)
    samples = int(done.stdout)
    print(samples, calls.most_common(15))
    bind.enough(samples > 3000, 'only %d samples', samples)
    looks = sum(calls[name] for name in ('open', 'openat', 'openat2', 'readlink', 'readlinkat', 'stat', 'fstat', 'lstat', 'newfstatat', 'statx',
                                         'getpeername', 'getsockname', 'pread64', 'read'))
    bind.check(looks < 0.05 * samples, '%d system calls that look something up, for %d samples: %r', looks, samples, calls.most_common(15))


if __name__ == '__main__':
    bind.run()
