"""What the programs of this folder share: what the process holds, an allocator that counts, work for threads to do.

A program is a function that takes the scale (1 = the full length), raises where something is wrong, and returns the
numbers it saw as a short text. run.py runs them; tests/py/test_soak.py runs a short form of each.
"""
import collections
import contextlib
import ctypes
import gc
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, 'py'))

import bind

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
PROGRAMS = collections.OrderedDict()

# Between the middle and the end of a program. The stacks of threads come and go in maps.
MORE_MAPS = 24
MORE_BYTES = MIB

if not bind.FREE_THREADED:   # those know no other
    # For the processes started from here on. Python's own arenas, 1 MiB each, come and go: a leak hides in that.
    os.environ['PYTHONMALLOC'] = 'malloc'

with contextlib.suppress(AttributeError):   # not glibc
    # malloc spreads threads over 16 arenas; each keeps a few hundred KiB of fragments, which looks like a leak for long
    ctypes.CDLL(None).mallopt(-8, 1)        # M_ARENA_MAX


def program(function=None, limit=600, short=0.01):
    """@program, or @program(limit=seconds the full length may take, short=scale for make test)"""
    if function is None:
        return lambda function: program(function, limit, short)
    PROGRAMS[function.__name__] = (function, limit, short)
    return function


# --- what the process holds -------------------------------------------------------------------------------------------

Held = collections.namedtuple('Held', 'descriptors tasks maps memory')


def memory_bytes():
    """Resident, without the pages of files: those come with the first use of a function and stay."""
    kib = {}
    with open('/proc/self/status') as file:
        for line in file:
            if line.startswith(('RssAnon', 'RssShmem')):
                kib[line.split(':')[0]] = int(line.split()[1])
    return sum(kib.values()) * 1024


def held():
    gc.collect()
    with contextlib.suppress(AttributeError):   # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    with open('/proc/self/maps') as file:
        maps = sum(1 for _ in file)
    return Held(sorted(bind.descriptors().items()), len(bind.tasks()), maps, memory_bytes())


class Levels:
    """Made after a warm-up. middle() and end() are called when nothing records and no thread of the program runs."""

    def __init__(self):
        # The kernel still lists a thread for a moment after it was joined.
        bind.eventually(lambda: len(bind.tasks()) == (time.sleep(0.05) or len(bind.tasks())), 'a number of threads that stays')
        self.first = held()
        self.half = None

    def middle(self):
        self._settled()
        self.half = held()

    def end(self, made=0):
        """made: code objects since the middle. Free-threaded builds keep the constants of each for ever (3.13) or long."""
        self._settled()
        now, half, more_bytes = held(), self.half, MORE_BYTES + bind.FREE_THREADED * made * 4096
        bind.check(now.maps <= half.maps + MORE_MAPS, 'maps: %d at the middle, %d at the end', half.maps, now.maps)
        bind.check(now.memory <= half.memory + more_bytes, 'memory: %.2f MiB at the middle, %.2f at the end',
                   half.memory / MIB, now.memory / MIB)
        return 'fds %d, threads %d, maps %+d, memory %+.2f MiB to the middle, %+.2f from there' % (
            len(now.descriptors), now.tasks, now.maps - half.maps, (half.memory - self.first.memory) / MIB,
            (now.memory - half.memory) / MIB)

    def _settled(self):
        bind.eventually(lambda: len(bind.tasks()) == self.first.tasks, 'threads as after the warm-up', 30)
        bind.equal(sorted(bind.descriptors().items()), self.first.descriptors, 'file descriptors')


class Counted:
    """The counting allocator: all of it is back when the sessions and profiles that used it are gone."""

    def __init__(self):
        self.library = ctypes.CDLL(os.path.join(bind.BUILD, 'libsoak_count.so'))
        for name in ('bytes', 'blocks', 'most'):
            getattr(self.library, 'soak_' + name).restype = ctypes.c_longlong

        def pointer(name, kind):
            return kind(ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value)
        self.allocator = bind.Allocator(pointer('soak_alloc', bind.ALLOC_FN), pointer('soak_free', bind.FREE_FN), None)

    def back(self):
        out = (self.library.soak_blocks(), self.library.soak_bytes())
        bind.equal(out, (0, 0), 'blocks and bytes of the allocator that are still out')

    def bytes(self):
        return self.library.soak_bytes()

    def most(self):
        """The most bytes that were out at once, since the last call."""
        return self.library.soak_most()


# --- checks and work --------------------------------------------------------------------------------------------------

def balanced(stats):
    bind.equal(stats.asked, stats.samples + stats.missed + stats.rejected, 'asked')
    bind.equal(stats.rejected, sum(stats.rejected_by_cause), 'rejected')


class Workers:
    """Threads that call functions over and over, until the block ends. An error in one of them is raised there."""

    def __init__(self, **functions):
        self.stop, self.errors = threading.Event(), []
        self.rounds = collections.Counter()
        self.threads = [threading.Thread(target=self._work, args=item, name=item[0]) for item in functions.items()]

    def _work(self, name, function):
        try:
            while not self.stop.is_set():
                function(self.rounds[name])
                self.rounds[name] += 1
        except BaseException:
            self.errors.append(sys.exc_info()[1])

    def check(self):
        if self.errors:
            raise self.errors[0]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.check()


def short_threads(_, target=int, count=8):
    """Eight threads that end at once."""
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
