"""The mixed workloads: threads that compute, wait, wake each other, live shortly or are many, each of which
notes where its time goes.

    PYTHON tests/oracle/parts.py NAME SECONDS TRUTH.json [oracle_host.so]

runs one, and writes what it knows about itself. A thread has a role and parts: functions that are called by
the role's root function, one after the other. At each border it reads the clock and gives what went by to the
part that has ended; what it does in between, the reading included, is the root's own. That gives the wall and
the CPU time of each part in this very run, whatever the machine did meanwhile. The names of roots and parts
are those of their functions, and each is of one role.

The clock of the CPU is read only after a border at which the kernel's count of this thread's switches has
changed: as long as it has not, the thread had the CPU all the time. To read it makes Linux see whether the
thread has used up its share (update_curr): on a busy machine threads would be preempted, and sampled late, at
the borders more than anywhere else.
"""
import collections
import ctypes
import json
import os
import queue
import random
import resource
import sys
import threading
import time
import zlib
from resource import RUSAGE_THREAD
from time import perf_counter_ns as wall_clock
from time import thread_time_ns as cpu_clock

FILE = os.path.basename(__file__)
clock = time.perf_counter


class Unavailable(Exception):
    """This cannot run here: the reason."""


# --- the meter ----------------------------------------------------------------------------------------------

METERS = []


def switches():
    """How often this thread has left its CPU."""
    usage = resource.getrusage(RUSAGE_THREAD)
    return usage.ru_nvcsw + usage.ru_nivcsw


class Meter:
    """A thread's own account. mark(part) ends that part; 0 is what is between the parts."""

    def __init__(self, root, *parts, born=True):
        self.names = (root,) + parts
        self.wall, self.cpu = [0] * len(self.names), [0] * len(self.names)
        self.marks, self.turns, self.tid = 0, 0, threading.get_native_id()
        self.before = 0 if born else cpu_clock()   # born: while it is recorded, so that all its CPU time counts
        self.clock = None
        METERS.append(self)
        self.begin()

    def begin(self):
        self.switches = switches()
        self.last_cpu, self.last_wall = cpu_clock(), wall_clock()

    def mark(self, part):
        wall, count = wall_clock(), switches()
        went = wall - self.last_wall
        self.wall[part] += went
        if count != self.switches:
            cpu = cpu_clock()
            went, self.switches = cpu - self.last_cpu, count
            self.last_cpu, self.last_wall = cpu, wall_clock()
            self.wall[0] += self.last_wall - wall
        else:
            self.last_cpu += went
            self.last_wall = wall
        self.cpu[part] += went
        self.marks += 1

    def end(self):
        self.mark(0)
        self.clock = cpu_clock() - self.before


class NoMeter(Meter):
    """To see what the meter costs: the same calls, and no clocks."""

    def begin(self):
        pass

    def mark(self, part):
        pass

    def end(self):
        self.clock = 0


class Run:
    """What a workload gets."""

    def __init__(self, seconds, host=None, meter=Meter):
        self.seconds, self.meter = seconds, meter
        self.host = ctypes.CDLL(host) if host and os.path.exists(host) else None
        self.host_held = ctypes.PyDLL(host) if self.host else None

    def need_host(self):
        if not self.host:
            raise Unavailable('oracle_host.so is not built')

    def threads(self, *targets):
        """Runs them all to their end."""
        end = clock() + self.seconds
        threads = [threading.Thread(target=target, args=(self, end), name=target.__name__) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Workload:
    rates = 10, 100, 1000
    busy = 1        # threads that want a CPU all the time, of all its processes
    short = False   # its threads, or what Python knows of them, live for a few ticks at most
    unseen = False  # a thread can live between two ticks: its time is known by chance

    def prepare(self, run):
        """Before the recording."""

    def run(self, run):
        raise NotImplementedError


ALL = collections.OrderedDict()


def workload(kind):
    ALL[kind.__name__] = kind()
    return kind


def sums(n):
    s = 0
    for i in range(n):
        s += i * i
    return s


def burn(seconds):
    """Until this thread has used so much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(100):
            pass


def dice(seed):
    return random.Random(seed).random


# --- one thread at a time -----------------------------------------------------------------------------------

def spin_a(size):
    return sums(size)


def spin_b(size):
    return sums(size)


def spinner(run, end):
    meter, chance = run.meter('spinner', 'spin_a', 'spin_b'), dice(1)
    while clock() < end:
        a, b = int(20000 * chance()), int(10000 * chance())
        meter.mark(0)
        spin_a(a)
        meter.mark(1)
        spin_b(b)
        meter.mark(2)
        meter.turns += 1
    meter.end()


@workload
class spin(Workload):
    """One thread that computes: two parts, 2 to 1."""

    def run(self, run):
        run.threads(spinner)


def compute():
    return sums(20000)


def wake(pipe):
    os.write(pipe, b'x')


def waker(run, end):
    meter = run.meter('waker', 'compute', 'wake')
    while clock() < end:
        meter.mark(0)
        compute()
        meter.mark(1)
        wake(run.pipe)
        meter.mark(2)
        meter.turns += 1
    meter.end()


@workload
class wakes(Workload):
    """A line that wakes another process is preempted there nearly always; one that computes, hardly ever."""
    busy = 2

    def prepare(self, run):
        get, run.pipe = os.pipe()
        if os.fork() == 0:
            os.close(run.pipe)
            while os.read(get, 1):
                sums(4000)
            os._exit(0)
        os.close(get)

    def run(self, run):
        run.threads(waker)


def think():
    return sums(random.randrange(8000))


def send(pipe):
    os.write(pipe, b'x')


def receive(pipe):
    os.read(pipe, 1)


def player(run, end):
    meter = run.meter('player', 'think', 'send', 'receive')
    while clock() < end:
        meter.mark(0)
        think()
        meter.mark(1)
        send(run.there)
        meter.mark(2)
        receive(run.back)
        meter.mark(3)
        meter.turns += 1
    meter.end()


@workload
class pingpong(Workload):
    """Two processes that wake each other."""

    def prepare(self, run):
        get, run.there = os.pipe()
        run.back, put = os.pipe()
        if os.fork() == 0:
            os.close(run.there)
            os.close(run.back)
            while os.read(get, 1):
                think()
                os.write(put, b'x')
            os._exit(0)
        os.close(get)
        os.close(put)

    def run(self, run):
        run.threads(player)


def call_a():
    burn(0.0002)


def call_b():
    burn(0.0002)


def call_c():
    burn(0.0002)


@workload
class calls(Workload):
    """A thread of C that calls Python again and again: a thread state for each call, shorter than a tick."""
    short = True

    def prepare(self, run):
        run.need_host()

    def run(self, run):
        made = []

        def callback():
            if not made:
                made.append(run.meter('callback', 'call_a', 'call_b', 'call_c'))
            meter = made[0]
            meter.begin()
            call_a()
            meter.mark(1)
            call_b()
            meter.mark(2)
            call_c()
            meter.mark(3)
            meter.turns += 1
            meter.mark(0)

        call = ctypes.CFUNCTYPE(None)(callback)
        values = (ctypes.c_uint64 * 3)()
        run.host.host_calls_start(call)
        time.sleep(run.seconds)
        run.host.host_calls_stop(values)
        made[0].clock, made[0].tid = values[0], values[2]


def job_a():
    burn(0.004)


def job_b():
    burn(0.002)


def request(run):
    meter = run.meter('request', 'job_a', 'job_b')
    job_a()
    meter.mark(1)
    job_b()
    meter.mark(2)
    meter.turns += 1
    meter.end()


@workload
class requests(Workload):
    """A thread a request, 6 ms of work each."""
    short = unseen = True

    def run(self, run):
        end = clock() + run.seconds
        while clock() < end:
            thread = threading.Thread(target=request, args=(run,), name='request')
            thread.start()
            thread.join()


@workload
class interpreters(Workload):
    """Three interpreters idle on the thread that made them, which works in the main one."""

    def prepare(self, run):
        run.need_host()
        if run.host_held.host_interpreters(3) != 3:
            raise Unavailable('no interpreters could be made')

    def run(self, run):
        meter = run.meter('run', 'job_a', 'job_b', born=False)
        end = clock() + run.seconds
        while clock() < end:
            meter.mark(0)
            job_a()
            meter.mark(1)
            job_b()
            meter.mark(2)
            meter.turns += 1
        meter.end()


# --- many that wait, or want to run -------------------------------------------------------------------------

def burn_a():
    burn(0.002)


def burn_b():
    burn(0.001)


def nap():
    time.sleep(0.03)


def bursts(run, end):
    meter = run.meter('bursts', 'burn_a', 'burn_b', 'nap')
    while clock() < end:
        burn_a()
        meter.mark(1)
        burn_b()
        meter.mark(2)
        nap()
        meter.mark(3)
        meter.turns += 1
    meter.end()


@workload
class bursty(Workload):
    """Three threads that burn a little and sleep long: no CPU time belongs to the sleep."""

    def run(self, run):
        run.threads(bursts, bursts, bursts)


LOCK = threading.Lock()
TOTAL = [0]


def step():
    return sums(3000)


def add_result(value):
    with LOCK:
        TOTAL[0] += value


def worker(run, end):
    meter = run.meter('worker', 'step', 'add_result')
    while clock() < end:
        meter.mark(0)
        value = step()
        meter.mark(1)
        add_result(value)
        meter.mark(2)
        meter.turns += 1
    meter.end()


@workload
class convoy(Workload):
    """Four threads that compute a little and queue for one lock."""

    def run(self, run):
        run.threads(worker, worker, worker, worker)


@workload
class twelve(Workload):
    """Twelve threads that compute."""
    busy = 12

    def run(self, run):
        run.threads(*[spinner] * 12)


def doze(seconds):
    time.sleep(seconds)


def sleeper(run, end):
    meter, chance = run.meter('sleeper', 'doze'), dice(threading.get_native_id())
    while clock() < end:
        seconds = 0.5 * chance()
        meter.mark(0)
        doze(seconds)
        meter.mark(1)
        meter.turns += 1
    meter.end()


@workload
class sleepers(Workload):
    """One that computes, and twenty that sleep."""

    def run(self, run):
        run.threads(spinner, *[sleeper] * 20)


@workload
class many(Workload):
    """One that computes beside 3,000 threads that wait for an event."""
    rates = 10, 100
    count = 3000

    def prepare(self, run):
        threading.stack_size(1 << 17)
        event = threading.Event()
        try:
            for _ in range(self.count):
                threading.Thread(target=event.wait, daemon=True).start()
        except RuntimeError as error:
            raise Unavailable('%d threads: %s' % (self.count, error))
        threading.stack_size(0)

    def run(self, run):
        run.threads(spinner)


def make():
    return sums(int(4000 * random.random()))


def put_one(box, value):
    box.put(value)


def take_one(box):
    return box.get()


def use(value):
    return value and sums(2500)


def producer(run, end):
    meter = run.meter('producer', 'make', 'put_one')
    while clock() < end:
        meter.mark(0)
        value = make()
        meter.mark(1)
        put_one(run.box, value)
        meter.mark(2)
        meter.turns += 1
    run.box.put(None)
    meter.end()


def consumer(run, end):
    meter, value = run.meter('consumer', 'take_one', 'use'), 0
    while value is not None:
        meter.mark(0)
        value = take_one(run.box)
        meter.mark(1)
        use(value)
        meter.mark(2)
        meter.turns += 1
    meter.end()


@workload
class queues(Workload):
    """One makes, one uses what it makes."""

    def run(self, run):
        run.box = queue.Queue(10)
        run.threads(producer, consumer)


def pack(data):
    return zlib.compress(data, 6)


def shape(data):
    return sum(data[:20000])


def packer(run, end):
    meter = run.meter('packer', 'pack', 'shape')
    while clock() < end:
        meter.mark(0)
        pack(run.data)
        meter.mark(1)
        shape(run.data)
        meter.mark(2)
        meter.turns += 1
    meter.end()


@workload
class nogil(Workload):
    """One computes in C without the GIL, one in Python with it."""
    busy = 2

    def prepare(self, run):
        run.data = bytes(random.Random(3).randrange(64) for _ in range(100000))

    def run(self, run):
        run.threads(packer, spinner)


# --- what it knows about itself -----------------------------------------------------------------------------

def truth(name):
    """roots: role of each function's name; parts: [wall, CPU] in ns by name; clocks: [CPU, [thread numbers]]
    of each thread, of short ones all together."""
    roles, parts, clocks, together = {}, {}, [], {}
    for meter in METERS:
        for i, part in enumerate(meter.names):
            roles[part] = meter.names[0]
            found = parts.setdefault(part, [0, 0])
            found[0] += meter.wall[i]
            found[1] += meter.cpu[i]
        if ALL[name].short:
            one = together.setdefault(meter.names[0], [0, []])
            one[0] += meter.clock
            one[1].append(meter.tid)
        else:
            clocks.append([meter.clock, [meter.tid]])
    return {'roles': roles, 'parts': parts, 'clocks': clocks + list(together.values()),
            'turns': sum(meter.turns for meter in METERS), 'marks': sum(meter.marks for meter in METERS)}


def mark_ns():
    """What a mark costs this thread, on its own CPU clock."""
    meter = Meter('x')
    METERS.remove(meter)
    begin = cpu_clock()
    for _ in range(20000):
        meter.mark(0)
    return (cpu_clock() - begin) / 20000


def main():
    name, seconds, path = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    run = Run(seconds, sys.argv[4] if len(sys.argv) > 4 else None)
    try:
        ALL[name].prepare(run)
        ALL[name].run(run)
        found = truth(name)
    except Unavailable as reason:
        found = {'skip': str(reason)}
    with open(path, 'w') as output:
        json.dump(found, output)
    output.close()
    os._exit(0)   # interpreters and thousands of threads are still there


if __name__ == '__main__':
    main()
