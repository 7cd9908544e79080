"""The workloads of make bench: each does a fixed amount of work, in parts whose time it measures itself.

    PYTHON bench/loads.py NAME ROUNDS RESULT.json BENCH_PID [WAKER_HZ LIBRARY]
    PYTHON bench/loads.py NAME calibrate SECONDS

The second prints how many rounds take so long. A part takes a millisecond or more, so the clocks that are read before
and after it cost nothing. The comments say what a stack can look like: see
tests/oracle/grammar.py; PARTS are the parts of the workload. WAKER_HZ: beside a thread that wakes up as often and does nothing.
"""
import asyncio
import collections
import json
import os
import random
import sys
import threading
import time
from time import perf_counter_ns as wall_clock
from time import thread_time_ns as cpu_clock

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT_PARTS = collections.OrderedDict()   # name of the workload: (parts, threads)
DICE = random.Random(5)


def workload(name, *parts, threads=1):
    ROOT_PARTS[name] = parts, threads


# --- calls: nothing is allocated but frames ---------------------------------------------------------------------------

def fib(n):
    if n < 2:
        return n
    return (fib(n - 1) + fib(n - 2)) & 127  # -> fib


def calls_fib():
    fib(15)  # -> fib


def hop_1(n):
    return hop_2(n + 1)  # -> hop_2


def hop_2(n):
    return hop_3(n + 1)  # -> hop_3


def hop_3(n):
    return hop_4(n + 1)  # -> hop_4


def hop_4(n):
    return n & 127


def calls_hops():
    for _ in range(6):
        for i in range(250):
            hop_1(i & 63)  # -> hop_1


class Account:
    def __init__(self, owner):
        self.owner, self.sum = owner, 0

    def put(self, amount):
        self.sum = self.changed(amount)  # -> Account.changed

    def changed(self, amount):
        return (self.sum + amount) & 127


def calls_methods():
    for owner in range(60):
        account = Account(owner)  # -> Account.__init__
        for amount in range(12):
            account.put(amount)  # -> Account.put


workload('calls', 'calls_fib', 'calls_hops', 'calls_methods')


# --- deep recursion --------------------------------------------------------------------------------------------------

def sink(n):
    if n:
        return sink(n - 1)  # -> sink
    return 0


def recursion_yoyo():
    for _ in range(4):
        sink(500)  # -> sink


def rest(n, turns):
    if n:
        return rest(n - 1, turns)  # -> rest
    total = 0
    for i in range(turns):
        total += i * i
    return total


def recursion_rest():
    rest(400, 15000)  # -> rest


workload('recursion', 'recursion_yoyo', 'recursion_rest')


# --- generators ------------------------------------------------------------------------------------------------------

def inner_numbers(n):
    for i in range(n):
        yield i


def middle_numbers(n):
    yield from inner_numbers(n)  # -> inner_numbers


def outer_numbers(n):
    yield from middle_numbers(n)  # -> middle_numbers


def generators_chain():
    total = 0
    for value in outer_numbers(6000):  # -> outer_numbers
        total += value
    return total


def generators_sum():
    return sum(i * i for i in range(12000))  # -> generators_sum.<genexpr>


def pairs(left, right):
    for value in left:  # -> evens
        yield value, next(right)  # -> odds


def evens(n):
    for i in range(0, n, 2):
        yield i


def odds(n):
    for i in range(1, n, 2):
        yield i


def generators_pairs():   # when pairs ends, odds is closed from here
    for _ in pairs(evens(9000), odds(9000)):  # -> pairs, odds
        pass


workload('generators', 'generators_chain', 'generators_sum', 'generators_pairs')


# --- asyncio ---------------------------------------------------------------------------------------------------------

async def pause():
    await asyncio.sleep(0)  # -> ...


async def ask(n):
    await answer(n)  # -> answer


async def answer(n):
    for _ in range(n):
        await pause()  # -> pause


async def many_asks():
    await asyncio.gather(ask(20), ask(20), ask(20), ask(20))  # -> ...


async def compute(n):
    total = 0
    for i in range(n):
        total += i
    await pause()  # -> pause
    return total


async def many_computes():
    await asyncio.gather(compute(9000), compute(9000))  # -> ...


LOOP = asyncio.new_event_loop()


def asyncio_asks():
    LOOP.run_until_complete(many_asks())  # -> ..., run_until_complete/run_forever/_run_once/_run/many_asks, run_until_complete/run_forever/_run_once/_run/ask


def asyncio_computes():
    LOOP.run_until_complete(many_computes())  # -> ..., run_until_complete/run_forever/_run_once/_run/many_computes, run_until_complete/run_forever/_run_once/_run/compute


workload('asyncio', 'asyncio_asks', 'asyncio_computes')


# --- four threads that fight for the GIL -----------------------------------------------------------------------------

def twist(n):
    return n * 3 & 255


def threads_twist():
    for i in range(9000):
        twist(i)  # -> twist


def threads_loop():
    total = 0
    for i in range(12000):
        total += i & 7
    return total


workload('threads', 'threads_twist', 'threads_loop', threads=4)


# --- loops that call nothing -----------------------------------------------------------------------------------------

def numeric_integers():
    total = 0
    for i in range(30000):
        total += i * i & 63
    return total


def numeric_floats():
    x = 0.5
    for _ in range(20000):
        x = 3.7 * x * (1.0 - x)
    return x


workload('numeric', 'numeric_integers', 'numeric_floats')


# --- memory ----------------------------------------------------------------------------------------------------------

class Point:
    __slots__ = 'x', 'y'

    def __init__(self, x, y):
        self.x, self.y = x, y


def alloc_rows():
    for i in range(1000, 3500):
        row = [i, i + 1, i + 2, 'key %d' % i]
        row[:].append({'id': i, 'name': tuple(row)})


def alloc_points():
    for i in range(1000, 3000):
        a, b = Point(i, i + 1), Point(i + 2, i + 3)  # -> Point.__init__
        a.x = b.x


def alloc_texts():
    for i in range(4000):
        str(i + 1000) + 'x'


workload('alloc', 'alloc_rows', 'alloc_points', 'alloc_texts')

KEPT = []


def stay_records():
    KEPT.extend((i, 'name %d' % i, [i * 0.5]) for i in range(1000, 2500))  # -> stay_records.<genexpr>


def stay_bytes():
    for i in range(2500):
        KEPT.append(bytes(i & 127))


workload('stay', 'stay_records', 'stay_bytes')


def deep_rows(n, turns):
    if n:
        return deep_rows(n - 1, turns)  # -> deep_rows
    for i in range(1000, 1000 + turns):
        row = [i, i + 1, 'key %d' % i]
        row[:].append(tuple(row))


def deep200_rows():
    deep_rows(196, 3000)  # -> deep_rows


def deep_texts(n, turns):
    if n:
        return deep_texts(n - 1, turns)  # -> deep_texts
    for i in range(turns):
        str(i + 1000) + 'x'


def deep200_texts():
    deep_texts(196, 5000)  # -> deep_texts


workload('deep200', 'deep200_rows', 'deep200_texts')


# --- what services do ------------------------------------------------------------------------------------------------

PEOPLE = []
for number in range(50):
    PEOPLE.append({'id': 1000 + number, 'name': 'user %d' % number, 'mail': 'user%d@example.org' % number, 'score': number / 7,
                   'tags': ['alpha', 'beta', 'tag %d' % number], 'active': number % 2 == 0})
TEXT = json.dumps(PEOPLE)


def mixed_json():
    for _ in range(3):
        json.dumps(json.loads(TEXT))  # -> ...


def mixed_words():
    counts = {}
    for word in TEXT.replace('"', ' ').replace(',', ' ').split():
        counts[word] = counts.get(word, 0) + 1
    return ' '.join(sorted(counts))


def score(user):
    return user['score']


def mixed_objects():
    for _ in range(25):
        best = sorted(PEOPLE, key=score)  # -> score
        names = {}
        for user in best[:9]:
            names[user['name'].upper()] = user['tags'][:]


workload('mixed', 'mixed_json', 'mixed_words', 'mixed_objects')


def dumps_flat():
    json.dumps(list(range(4000)))  # -> ...


def dumps_nested():
    json.dumps(PEOPLE, indent=1, sort_keys=True)  # -> ...


workload('dumps', 'dumps_flat', 'dumps_nested')


def dedup_parse():
    DEDUP.parse(SOURCES, DEDUP.Progress(1e9, True))  # -> ...


def dedup_tokenize():
    DEDUP.tokenize_all(SOURCES, {path: True for path in SOURCES}, DEDUP.Progress(1e9, True))  # -> ...


def dedup_prints():
    for _ in range(8):
        DEDUP.fingerprint_one(None, WORDS)  # -> ...


def dedup_prepare():
    """examples/dedup.py on three small files of the standard library."""
    global DEDUP, SOURCES, WORDS
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'examples'))
    import dedup as DEDUP
    names = 'bisect.py', 'keyword.py', 'stat.py'
    SOURCES = {name: DEDUP.read_source(os.path.join(os.path.dirname(os.__file__), name)) for name in names}
    WORDS = [word for _, word in DEDUP.normal_tokens(SOURCES['stat.py'])]


workload('dedup', 'dedup_parse', 'dedup_tokenize', 'dedup_prints')


# --- two in the manner of pyperformance ------------------------------------------------------------------------------

class Body:
    def __init__(self):
        self.place = [DICE.random() * 10, DICE.random() * 10, DICE.random() * 10]
        self.speed = [DICE.random(), DICE.random(), DICE.random()]
        self.mass = 0.1 + DICE.random()


def nbody_prepare():
    global BODIES
    BODIES = []
    for _ in range(5):
        BODIES.append(Body())  # -> Body.__init__


def pull(one, other, dt):
    dx = one.place[0] - other.place[0]
    dy = one.place[1] - other.place[1]
    dz = one.place[2] - other.place[2]
    force = dt / (dx * dx + dy * dy + dz * dz + 0.01) ** 1.5
    for axis, d in ((0, dx), (1, dy), (2, dz)):
        one.speed[axis] -= d * other.mass * force
        other.speed[axis] += d * one.mass * force


def nbody_pull():
    for _ in range(40):
        for i in range(5):
            for k in range(i):
                pull(BODIES[i], BODIES[k], 0.001)  # -> pull


def energy(body):
    return 0.5 * body.mass * sum(v * v for v in body.speed)  # -> energy.<genexpr>


def nbody_energy():
    total = 0.0
    for _ in range(100):
        for body in BODIES:
            total += energy(body)  # -> energy
    return total


workload('nbody', 'nbody_pull', 'nbody_energy')


class Packet:
    def __init__(self, to, kind):
        self.to, self.kind, self.hops = to, kind, 0


class Worker:
    """A task of a simulated operating system: it takes packets and passes them on."""

    def __init__(self, number):
        self.number, self.box = number, collections.deque()

    def step(self, system):
        packet = self.box.popleft()
        packet.hops += 1
        self.handle(packet, system)  # -> Device.handle, Router.handle


class Device(Worker):
    def handle(self, packet, system):
        packet.kind = packet.kind * 5 + 1 & 15
        system.send((self.number + packet.kind) % 6, packet)  # -> System.send


class Router(Worker):
    def handle(self, packet, system):
        system.send((packet.to + packet.hops) % 6, packet)  # -> System.send


class System:
    def __init__(self):
        self.workers = [Device(0), Router(1), Device(2), Router(3), Device(4), Router(5)]  # -> Worker.__init__
        for number in range(9):
            self.workers[number % 6].box.append(Packet(number % 6, number))  # -> Packet.__init__

    def send(self, to, packet):
        self.workers[to].box.append(packet)

    def schedule(self, turns):
        for turn in range(turns):
            worker = self.workers[turn % 6]
            if worker.box:
                worker.step(self)  # -> Worker.step


def richards_prepare():
    global SYSTEM
    SYSTEM = System()  # -> System.__init__


def richards_schedule():
    SYSTEM.schedule(4000)  # -> System.schedule


def richards_start():
    for _ in range(80):
        System()  # -> System.__init__


workload('richards', 'richards_schedule', 'richards_start')


# --- running one -----------------------------------------------------------------------------------------------------

class Spent:
    """A thread's times, ns: of its parts by both clocks, and its CPU time altogether."""

    def __init__(self):
        self.parts, self.walls, self.cpu = collections.defaultdict(int), collections.defaultdict(int), 0


def work(parts, rounds, spent):
    for _ in range(rounds):
        for name, part in parts:
            wall, begin = wall_clock(), cpu_clock()
            part()  # -> PARTS
            spent.parts[name] += cpu_clock() - begin
            spent.walls[name] += wall_clock() - wall


def thread_work(parts, rounds, spent):  # root thread
    begin = cpu_clock()
    work(parts, rounds, spent)  # -> work
    spent.cpu += cpu_clock() - begin


def section(parts, threads, rounds):
    """What the profilers are judged by: the work, and nothing before or after it."""
    each = []
    for _ in range(threads):
        each.append(Spent())  # -> Spent.__init__
    if threads == 1:
        thread_work(parts, rounds, each[0])  # -> thread_work
        return each
    started = []
    for spent in each:
        started.append(threading.Thread(target=thread_work, args=(parts, rounds, spent)))  # -> ...
        started[-1].start()  # -> ...
    for thread in started:
        thread.join()  # -> ...
    return each


def named(name):
    prepare = globals().get(name + '_prepare')
    if prepare:
        prepare()  # -> dedup_prepare, nbody_prepare, richards_prepare
    parts, threads = ROOT_PARTS[name]
    found = []
    for part in parts:
        found.append((part, globals()[part]))
    return found, threads


def calibrate(name, seconds):
    """The rounds that take so long, and the second half of them."""
    parts, threads = named(name)
    section(parts, threads, 1)
    rounds, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        section(parts, threads, 1)
        rounds += 1
    return max(2, int(rounds * seconds / (time.perf_counter() - begin)))


def parent_clock(bench):
    """CPU time of the process that records this one from outside, ns: the clock of a process as the kernel numbers it."""
    parent = os.getppid()
    if parent in (0, 1, bench):
        return 0
    try:
        return time.clock_gettime_ns(~parent << 3 | 2)
    except OSError:
        return 0


def peak(pid):
    """The most memory that the process ever had, bytes."""
    try:
        with open('/proc/%s/status' % pid) as file:
            for line in file:
                if line.startswith('VmHWM:'):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def waker(hz, path):
    """Starts the idle waker. Returns what stops it."""
    import ctypes
    library = ctypes.CDLL(path)
    library.pyprof_test_sleeper_start.argtypes = [ctypes.c_double]
    library.pyprof_test_sleeper_start(hz)
    return library.pyprof_test_sleeper_stop


def main():
    name = sys.argv[1]
    sys.setrecursionlimit(5000)
    if sys.argv[2] == 'calibrate':
        print(calibrate(name, float(sys.argv[3])))  # -> ...
        return
    rounds, path, bench = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    parts, threads = named(name)  # -> named
    stop = waker(float(sys.argv[5]), sys.argv[6]) if len(sys.argv) > 5 else None  # -> ...
    warm = time.perf_counter_ns()
    section(parts, threads, 1)  # -> section
    warm = time.perf_counter_ns() - warm
    outside, process, begin = parent_clock(bench), time.process_time_ns(), time.perf_counter_ns()  # -> ...
    each = section(parts, threads, rounds)  # -> section
    wall, process, outside = time.perf_counter_ns() - begin, time.process_time_ns() - process, parent_clock(bench) - outside  # -> ...
    target = sum(spent.cpu for spent in each)  # -> ...
    told = {'wall': wall, 'seen': wall + warm, 'target': target, 'own': max(0, process - target) + outside,
            'peak': peak('self') + (peak(os.getppid()) if outside else 0), 'threads': threads,
            'parts': {part: sum(spent.parts[part] for spent in each) for part, _ in parts},
            'walls': {part: sum(spent.walls[part] for spent in each) for part, _ in parts}}
    if stop:
        stop()
    with open(path, 'w') as file:  # -> ...
        json.dump(told, file)  # -> ...


if __name__ == '__main__':
    main()
