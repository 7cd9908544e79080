"""pyprof.h for the tests, through ctypes, and the small test runner that they share.

    PYTHON tests/py/test_frames.py BUILD_DIR [NAME ...]

BUILD_DIR/libpyprof_test.so is tests/dll.c. Every test runs in a process of its own with a time limit. Only the
standard library, CPython 3.8 or later.
"""
import atexit
import collections
import contextlib
import ctypes
import faulthandler
import fnmatch
import gc
import json
import operator
import os
import re
import resource
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

import header

# --- what pyprof.h declares: its constants, structures and types of functions ---------------------------------------

# CPU_NS is PYPROF_CPU_NS, ARGUMENT is PYPROF_ERR_ARGUMENT, JSON is PYPROF_FORMAT_JSON; Config is pyprof_config.
globals().update((re.sub('PYPROF_(ERR_|FORMAT_(?!COUNT))?', '', name), value) for name, value in header.constants.items())
globals().update((structure.__name__, structure) for structure in header.structures.values())
METRICS = c_int64 * METRIC_COUNT
ALLOC_FN, FREE_FN = (kind for _, kind in Allocator._fields_[:2])
LOGGER_FN, EVENT_FN = Logger._fields_[0][1], OnEvent._fields_[0][1]
WRITE_FN, VISIT_FN = header.callbacks['pyprof_write_fn'], header.callbacks['pyprof_visit_fn']

RESULTS = ['OK'] + [name[len('PYPROF_ERR_'):] for name in header.constants if name.startswith('PYPROF_ERR_')]
FORMATS = [name[len('PYPROF_FORMAT_'):].lower() for name in header.constants if name.startswith('PYPROF_FORMAT_')][:FORMAT_COUNT]
STATES = {'gil': GIL_NS, 'gil_wait': GIL_WAIT_NS, 'wait': WAIT_NS, 'native': NATIVE_NS, 'idle': IDLE_NS,
          'cpu_wait': CPU_WAIT_NS, 'nogil': NOGIL_NS, 'unknown': UNKNOWN_NS}   # columns that take the wall time of the samples they are about
SUFFIXES = {JSON: '.json', TEXT: '.txt', SVG: '.svg', HTML: '.html', FOLDED: '.folded', SPEEDSCOPE: '.speedscope.json',
            PPROF: '.pb.gz', OPENMETRICS: '.om.txt', OTLP: '.otlp.pb',
            PERFETTO: '.perfetto-trace'}   # the formats that every recording can be written in
MEMORY_SUFFIXES = {PICKLE: '.pkl'}   # those that need one with memory

# --- the library ---------------------------------------------------------------------------------------------------

BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ''
LIBRARY = os.path.join(BUILD, 'libpyprof_test.so')
VERSION = sys.version.split()[0].rstrip('+')   # "3.15.0rc1"; + is a build from between two releases
FREE_THREADED = bool(sysconfig.get_config_var('Py_GIL_DISABLED'))


def _load(loader):
    library = loader(LIBRARY)
    for name, (result, arguments) in header.functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        setattr(library, name[len('pyprof_'):], function)
    library.pyprof_test_model.argtypes = [c_int, c_uint64]
    library.pyprof_test_model.restype = c_void_p
    library.pyprof_test_model_frame.argtypes = [c_void_p, c_uint32, c_int, c_char_p, c_char_p, c_int]
    library.pyprof_test_model_frame.restype = c_uint32
    library.pyprof_test_model_add.argtypes = [c_void_p, c_uint32, c_int, c_int64]
    library.pyprof_test_model_add.restype = None
    library.pyprof_test_model_seal.argtypes = [c_void_p, c_char_p]
    library.pyprof_test_model_seal.restype = c_void_p
    library.pyprof_test_model_thread.argtypes = [c_void_p, c_char_p, ctypes.POINTER(c_uint32)]
    library.pyprof_test_model_thread.restype = c_uint32
    library.pyprof_test_model_sample.argtypes = [c_void_p, c_uint32, c_uint32, c_int]
    library.pyprof_test_model_sample.restype = None
    library.pyprof_test_big.argtypes = [c_uint32, c_uint32, c_int]
    library.pyprof_test_big.restype = c_void_p
    return library


if os.path.exists(LIBRARY):
    released = _load(ctypes.CDLL)   # calls with the GIL released
    held = _load(ctypes.PyDLL)      # calls with the GIL held: the same library
else:
    released = held = None


class Error(Exception):
    def __init__(self, function, code, detail):
        super().__init__('pyprof_%s: %s: %s' % (function, RESULTS[code], detail))
        self.code, self.detail = code, detail


def call(name, *arguments, lib=None):
    lib = lib or released
    code = getattr(lib, name)(*arguments)
    if code != OK:
        raise Error(name, code, lib.last_error().decode('utf-8'))


def text(data):
    return None if data is None else data.decode('utf-8')


def fill(structure, **fields):
    for name, value in fields.items():
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, Query):
            value = ctypes.pointer(value)
        setattr(structure, name, value)
    return structure


FrameTuple, ThreadTuple, ProcessTuple, RowTuple, WaitTuple, LocalTuple = (
    collections.namedtuple(structure.__name__, [name for name, _ in structure._fields_]) for structure in (Frame, Thread, Process, Row, Wait, Local))
ItemTuple = collections.namedtuple('Item', 'kind thread stack leaf self total timestamp count other process wait local')


def is_leaf(kind, name):
    """Is it what a Python line waits for, or the C function that it called? kind: a number, or a word of the JSON."""
    return kind in (KIND_WAIT, 'wait') or kind in (KIND_NATIVE, 'native') and name.startswith('<native>')


def without_leaves(document):
    """The JSON with the stacks of Python alone: the label of the leaf, or None, stands in sample['leaf']."""
    frames = document['frames']
    for sample in document['samples']:
        sample['leaf'] = None
        if len(sample['frames']) > 1 and is_leaf(*(frames[sample['frames'][-1]][key] for key in ('kind', 'name'))):
            sample['leaf'] = sample['stack'].pop()
            sample['lines'].pop()
            sample['frames'].pop()
    return document


def add_up(items):
    """Items of ITEM_STACK that differ in nothing but their leaf as one. Parents come first: their total has the leaves'."""
    found, whole = collections.OrderedDict(), set()

    def plus(one, other):
        return tuple(map(operator.add, one, other))

    for item in items:
        key = item.thread, item.stack
        if item.leaf is None:
            whole.add(key)
        if key in found:
            before = found[key]
            item = before._replace(self=plus(before.self, item.self),
                                   total=before.total if key in whole else plus(before.total, item.total))
        found[key] = item._replace(leaf=None)
    return list(found.values())


class Profile:
    def __init__(self, pointer, lib=None):
        self.pointer, self.lib = pointer, lib or released

    def __del__(self):
        self.free()

    def free(self):
        if self.pointer:
            self.lib.profile_free(self.pointer)
        self.pointer = None

    def write(self, format, **output):
        """The bytes of that format."""
        parts = []
        output = fill(Output(), format=format, **output)
        call('write', self.pointer, byref(output),
             WRITE_FN(lambda user, data, size: parts.append(ctypes.string_at(data, size)) or 0), None, lib=self.lib)
        return b''.join(parts)

    def save(self, path, **output):
        call('save', self.pointer, os.fsencode(path), byref(fill(Output(), **output)) if output else None, lib=self.lib)

    def json(self, leaves=False, **output):
        """leaves: as it is; otherwise see without_leaves."""
        document = strict_json(self.write(JSON, **output))
        return document if leaves else without_leaves(document)

    def info(self):
        info = Info()
        call('profile_info', self.pointer, byref(info), lib=self.lib)
        return info

    def stats(self):
        stats = Stats()
        call('profile_stats', self.pointer, byref(stats), lib=self.lib)
        return stats

    def diff(self, before, **options):
        """This profile's values less those of the one before."""
        pointer = c_void_p()
        call('diff', before.pointer, self.pointer, byref(fill(DiffOptions(), **options)) if options else None, byref(pointer),
             lib=self.lib)
        return Profile(pointer.value, self.lib)

    def merged(self, *others, as_one=0):
        """A profile of this one and the others."""
        pointer = c_void_p()
        pointers = (c_void_p * (len(others) + 1))(self.pointer, *[other.pointer for other in others])
        call('merge', pointers, len(pointers), byref(fill(MergeOptions(), as_one=as_one)), byref(pointer), lib=self.lib)
        return Profile(pointer, self.lib)

    def leaks(self, capacity=100000, **query):
        count = c_size_t()
        query = byref(fill(Query(), **query)) if query else None
        call('leaks', self.pointer, query, None, ctypes.sizeof(Leak), 0, byref(count), lib=self.lib)
        rows = (Leak * max(min(capacity, count.value), 1))()
        call('leaks', self.pointer, query, rows, ctypes.sizeof(Leak), len(rows), byref(count), lib=self.lib)
        return list(rows[:min(capacity, count.value)])

    def visit(self, *kinds, leaves=False, **query):
        """Everything, or only the items of those kinds; idle time included unless the query says otherwise. The stacks of
        samples and holds end in Python's own frame, what was below it stands in item.leaf, and items of ITEM_STACK that
        differ in it alone are one, without it. leaves: all as it is told, with item.leaf."""
        items, errors = [], []
        stacks, frames, threads = {}, {}, {}   # by their bytes: pointers to strings are those of the profile, and stay
        query.setdefault('include_idle', 1)

        def metrics(values):
            return tuple(values[:METRIC_COUNT]) if values else None

        def thread_of(pointer):
            if not pointer:
                return None
            key = ctypes.string_at(pointer, ctypes.sizeof(Thread))
            if key not in threads:
                thread = pointer.contents
                threads[key] = ThreadTuple(thread.thread_id, thread.ident, thread.interpreter, text(thread.name),
                                           thread.first_seen, thread.last_seen, tuple(thread.total), text(thread.process))
            return threads[key]

        def frame_of(key, f):
            if key not in frames:
                frames[key] = FrameTuple(text(f.name), text(f.qualname), text(f.file), text(f.label), f.line, f.end_line,
                                         f.column, f.end_column, f.first_line, f.kind, text(f.opcode))
            return frames[key]

        def stack_of(pointer, depth):
            size = ctypes.sizeof(Frame)
            key = ctypes.string_at(pointer, depth * size)
            if key not in stacks:
                stacks[key] = tuple(frame_of(key[size * i:size * (i + 1)], pointer[i]) for i in range(depth))
            return stacks[key]

        def process_of(process):
            return process and ProcessTuple(*(getattr(process, name) for name in ProcessTuple._fields))

        def wait_of(wait):
            if wait:
                wait = wait.contents
                return WaitTuple(text(wait.kind), text(wait.what), text(wait.how), wait.waited_ns, wait.timed, wait.deadlock)

        def local_of(local):
            if local:
                return LocalTuple(text(local.contents.name), text(local.contents.value), local.contents.masked, local.contents.sure)

        def see(_, pointer):
            try:
                item = pointer.contents
                if kinds and item.kind not in kinds:
                    return 0
                stack = stack_of(item.stack, item.depth) if item.stack else ()
                below = len(stack) > 1 and item.kind != ITEM_NODE and is_leaf(stack[-1].kind, stack[-1].name)
                leaf = stack[-1] if below else None
                items.append(ItemTuple(
                    item.kind, thread_of(item.thread), stack[:-1] if leaf and not leaves else stack, leaf, metrics(item.self),
                    metrics(item.total), item.timestamp, item.count, thread_of(item.other),
                    process_of(item.process.contents if item.process else None), wait_of(item.wait), local_of(item.local)))
            except BaseException:   # ctypes would only print it
                errors.append(sys.exc_info()[1])
                return 1
            return 0

        call('visit', self.pointer, byref(fill(Query(), **query)), VISIT_FN(see), None, lib=self.lib)
        if errors:
            raise errors[0]
        if leaves:
            return items
        stacks = add_up(item for item in items if item.kind == ITEM_STACK)   # they come one after the other
        first = next((i for i, item in enumerate(items) if item.kind == ITEM_STACK), 0)
        others = [item for item in items if item.kind != ITEM_STACK]
        return others[:first] + stacks + others[first:]

    def threads(self, **query):
        return [item.thread for item in self.visit(ITEM_THREAD, **query)]

    def top(self, capacity=100000, **query):
        count = c_size_t()
        query = fill(Query(), **query)
        call('top', self.pointer, byref(query), None, ctypes.sizeof(Row), 0, byref(count), lib=self.lib)
        capacity = min(capacity, count.value)
        rows = (Row * max(capacity, 1))()
        call('top', self.pointer, byref(query), rows, ctypes.sizeof(Row), capacity, byref(count), lib=self.lib)
        return [RowTuple(text(r.name), text(r.qualname), text(r.file), r.line, r.kind, tuple(r.self), tuple(r.total),
                         r.self_before, r.total_before, r.self_error, r.total_error, text(r.process))
                for r in rows[:min(capacity, count.value)]]


    def thread(self, name):
        """The one thread of that name."""
        found = [thread for thread in self.threads() if thread.name == name]
        equal(len(found), 1, 'threads named %s' % name)
        return found[0]

    def shares(self, thread):
        """{state: share of the thread's wall time}, 'running' for what is no waiting"""
        total = self.thread(thread).total
        check(total[WALL_NS] > 0, 'no time in thread %s', thread)
        found = {name: total[metric] / total[WALL_NS] for name, metric in STATES.items()}
        found['running'] = 1 - found['wait']
        return found

    def leaves(self, thread=None, function=None, metric=WALL_NS):
        """{name of the leaf, '' for none: time}, of one thread, of stacks whose innermost Python frame is that function"""
        found = collections.Counter()
        for item in self.visit(ITEM_STACK, leaves=True):
            if thread in (None, item.thread.name):
                at = len(item.stack) - (2 if item.leaf else 1)
                if function is None or at >= 0 and item.stack[at].name == function:
                    found[item.leaf.name if item.leaf else ''] += item.self[metric]
        return found


class Session:
    def __init__(self, lib=None, **config):
        self.lib = lib or released
        self.config = fill(Config(), **config)
        token = c_void_p()
        call('start', byref(self.config), byref(token), lib=self.lib)
        self.token = token.value

    def _profile(self, function, *arguments):
        pointer = c_void_p()
        call(function, self.token, *arguments, byref(pointer), lib=self.lib)
        return Profile(pointer.value, self.lib)

    def stop(self):
        return self._profile('stop')

    def snapshot(self, **options):
        return self._profile('snapshot', byref(fill(SnapshotOptions(), **options)) if options else None)

    def pause(self):
        call('pause', self.token, lib=self.lib)

    def resume(self):
        call('resume', self.token, lib=self.lib)

    def reset(self):
        call('reset', self.token, lib=self.lib)

    def stats(self):
        stats = Stats()
        call('get_stats', self.token, byref(stats), lib=self.lib)
        return stats


class Outside:
    """A recording of a process, by a program that samples it from outside: tests/outside.c. What it tells is read from a
    file."""

    def __init__(self, pid=None, rate_hz=100, capture=0, max_depth=0, opcodes=0):
        self.process = subprocess.Popen([os.path.join(BUILD, 'outside')] + [str(value) for value in (
            pid or os.getpid(), rate_hz, capture, max_depth, opcodes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        universal_newlines=True)
        self._answer('start')

    def _answer(self, function):
        code, _, detail = (self.process.stdout.readline() or '%d it died\n' % STATE).strip().partition(' ')
        if int(code) != OK:
            self.end()
            raise Error(function, int(code), detail)

    def _ask(self, command):
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()
        self._answer(command.split()[0])

    def _profile(self, command):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'outside.json')
            self._ask('%s %s' % (command, path))
            return load(path)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def stop(self):
        profile = self._profile('stop')
        self.end()
        return profile

    def snapshot(self, reset=0):
        return self._profile('reset' if reset else 'snapshot')

    def dump(self):
        return self._profile('dump')

    def pause(self):
        self._ask('pause')

    def resume(self):
        self._ask('resume')


def load(path):
    pointer = c_void_p()
    call('load', os.fsencode(path), byref(pointer))
    return Profile(pointer.value)


OUTSIDE = bool(os.environ.get('PYPROF_OUTSIDE'))   # the tests of recordings, by a recorder in another process


@contextlib.contextmanager
def record(lib=None, **config):
    """with record(rate_hz=1000) as r: work()   then r.profile, r.elapsed (seconds between start and stop)"""
    session = Outside(**config) if OUTSIDE and not lib else Session(lib, **config)
    start = time.perf_counter()
    try:
        yield session
    finally:
        session.elapsed = time.perf_counter() - start
        session.profile = session.stop()


class Model:
    """A profile made by hand: one thread, frames below it, values for their nodes."""
    THREAD = 1

    def __init__(self, heap=2, interval=0):
        self.pointer = held.pyprof_test_model(heap, interval)

    def stack(self, *frames):
        """Frames are (file, line), root first; a name alone is '<native>' and the like, or '<malloc>'. Returns the node."""
        node = self.THREAD
        for frame in frames:
            if isinstance(frame, str):
                kind = KIND_NATIVE if frame == '<malloc>' else KIND_PSEUDO
                node = held.pyprof_test_model_frame(self.pointer, node, kind, b'', frame.encode(), 0)
            else:
                file, line = frame
                file = file if isinstance(file, bytes) else file.encode('utf-8', 'surrogatepass')
                node = held.pyprof_test_model_frame(self.pointer, node, KIND_PYTHON, file, b'f', line)
        return node

    def add(self, node, metric, value):
        held.pyprof_test_model_add(self.pointer, node, metric, value)

    def live(self, size, blocks, *frames):
        """So many live blocks of so many bytes together."""
        node = self.stack(*frames)
        self.add(node, LIVE_BYTES, size)
        self.add(node, LIVE_BLOCKS, blocks)

    def seal(self, python=VERSION):
        return Profile(held.pyprof_test_model_seal(self.pointer, python.encode()))


def dump_profile(lib=None, pid=0, **options):
    pointer = c_void_p()
    call('dump', pid, byref(fill(DumpOptions(), **options)) if options else None, byref(pointer), lib=lib)
    return Profile(pointer.value, lib)


def dump(lib=None, **options):
    """The parsed JSON of pyprof_dump."""
    return dump_profile(lib, **options).json()


def strict_json(data):
    """Parses JSON that keeps every rule: UTF-8, no NaN, no key twice, no half of a surrogate pair."""
    def refuse(constant):
        raise ValueError('%s is not JSON' % constant)

    def pairs(items):
        result = dict(items)
        if len(result) != len(items):
            keys = [key for key, _ in items]
            raise ValueError('keys twice: %r' % [key for key in result if keys.count(key) > 1][:5])
        return result

    text = data.decode('utf-8')   # which holds no half of a pair: it takes an escape
    result = json.loads(text, parse_constant=refuse, object_pairs_hook=pairs)
    if re.search(r'\\u[dD][89a-fA-F]', text):
        json.dumps(result, ensure_ascii=False).encode('utf-8')
    return result


# --- what tests ask -------------------------------------------------------------------------------------------------

class Skip(Exception):
    pass


def skip(reason):
    raise Skip(reason)


def check(condition, message='', *arguments):
    if not condition:
        raise AssertionError(message % arguments if arguments else message)


def equal(got, expected, what=''):
    if got != expected:
        import difflib   # here: each test would pay for it
        import pprint
        lines = list(difflib.unified_diff(pprint.pformat(expected, width=140).splitlines(),
                                          pprint.pformat(got, width=140).splitlines(), 'expected', 'got', lineterm=''))
        more = ['... %d lines more' % (len(lines) - 60)] if len(lines) > 60 else []
        raise AssertionError('\n'.join(['%s differs' % (what or 'the value')] + lines[:60] + more))


class Far(AssertionError):
    """A measured value is off. Machines are shared: such a test gets two more tries, which its result line tells. Side by
    side with others it gets none, but runs again at the end, alone."""


def enough(condition, message, *arguments):
    """As check, for what only takes that the sampler gets a CPU often enough."""
    if not condition:
        raise Far(message % arguments if arguments else message)


@contextlib.contextmanager
def running(target, *arguments, name=None, count=1):
    """Threads that run while the block does; they are waited for."""
    threads = [threading.Thread(target=target, args=arguments, name=name) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()


def in_child(function, *arguments):
    """Runs it in a forked child: its exit status. A value that is off there is off here. A child that hangs for 20 seconds is
    told where it is, and killed."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            function(*arguments)
            code = 0
        except BaseException as error:
            traceback.print_exc()
            code = 75 if isinstance(error, Far) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + 20
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done and os.WIFEXITED(status) and os.WEXITSTATUS(status) == 75:
            raise Far('in the child: see above')
        if done:
            return status
        if time.monotonic() > end:
            os.kill(pid, signal.SIGABRT)   # faulthandler tells where it is
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError('the child hangs')
        time.sleep(0.001)


def near(got, expected, relative, absolute=0.0, what='the value'):
    if not abs(got - expected) <= abs(expected) * relative + absolute:
        raise Far('%s is %.6g, not %.6g (+- %g %% and %g)' % (what, got, expected, 100 * relative, absolute))


def fails(code, words, function, *arguments, **keywords):
    """function must raise Error of that code, and its sentence must hold each of the words. Returns the sentence."""
    try:
        function(*arguments, **keywords)
    except Error as error:
        check(error.code == code, 'expected %s, got: %s', RESULTS[code], error)
        check(error.detail.strip() and '\n' not in error.detail, 'not one sentence: %r', error.detail)
        for word in [words] if isinstance(words, str) else words:
            check(word.lower() in error.detail.lower(), '%r does not name %r', error.detail, word)
        return error.detail
    raise AssertionError('%s expected, but it worked' % RESULTS[code])


def clean(name):
    """A name as the library tells it: what UTF-8 and C strings cannot hold becomes the replacement character, and very
    long ones are cut, which is seen."""
    cut = ''.join('\ufffd' if c == '\0' or 0xd800 <= ord(c) < 0xe000 else c for c in name[:4096])
    return cut + '...' if len(name) > 4096 else cut


def tasks():
    """The kernel's ids of this process's threads."""
    return sorted(int(task) for task in os.listdir('/proc/self/task'))


def descriptors():
    """The open file descriptors, and what they are."""
    found = {}
    for fd in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):   # the one that read the list
            found[int(fd)] = os.readlink('/proc/self/fd/' + fd)
    return found


def interpreters_module():
    for name in ('_interpreters', '_xxsubinterpreters'):
        try:
            return __import__(name)
        except ImportError:
            pass
    skip('no module for sub-interpreters')


def eventually(condition, what, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, 'not within %g s: %s', seconds, what)
        time.sleep(0.005)


UNPLACED = ('<lost>', '<between samples>')   # in the totals, but no samples of the time line


def lost(profile):
    """Wall time whose stacks were rejected, or of which there are no samples: it is in the totals, but not in the time line."""
    return sum(item.self[WALL_NS] for item in profile.visit(ITEM_STACK, leaves=True) if item.stack[-1].name in UNPLACED)


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix='pyprof-test-') as path:
        yield path


# --- the runner -----------------------------------------------------------------------------------------------------

TESTS = collections.OrderedDict()
LIMIT_S = 60
LONG = bool(os.environ.get('TEST_LONG'))       # make test-long: all tests, and all that each can do
BESIDE = bool(os.environ.get('TEST_BESIDE'))   # other programs' tests run at the same time
FRESH = bool(os.environ.get('TEST_FRESH'))     # each test is a program of its own here, too
AGAIN = int(os.environ.get('TEST_AGAIN', '0'))   # CI: see _tries
PART = os.environ.get('T', '')                 # make test T=part
Test = collections.namedtuple('Test', 'function limit long alone')


def test(function=None, limit=LIMIT_S, name=None, long=False, alone=False):
    """@test, or @test(limit=seconds). long: only make test-long runs it. alone: it measures what others would disturb."""
    if function is None:
        return lambda function: test(function, limit, name, long, alone)
    name = name or function.__name__
    assert name not in TESTS, name
    TESTS[name] = Test(function, limit, long, alone)
    return function


def length(full, short=None):
    """How long, or how often: full in make test-long, otherwise short, which is 0.4 of it unless said."""
    return full if LONG else 0.4 * full if short is None else short


def several(first, *others):
    """What to try: all of these in make test-long, otherwise the first."""
    return (first,) + others if LONG else (first,)


def _run_here(name):
    faulthandler.enable()
    for variable in list(os.environ):
        if variable == 'PROFILING' or variable.startswith('PYPROF_'):
            del os.environ[variable]
    try:
        TESTS[name].function()
    except Skip as reason:
        print('skipped: %s' % reason)
        return 77
    except Far:
        traceback.print_exc()
        return 75
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(process, seconds):
    """Waits for it; past the limit it tells where its threads are (faulthandler) and ends."""
    try:
        return process.wait(seconds), False
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGABRT)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            pass
        return -signal.SIGKILL, True
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)   # its own session: whatever it left behind
        except ProcessLookupError:
            pass
        process.wait()


def _cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Forked:
    """A test in a fork of this process, which has the modules already. The child begins anew in run()."""

    def __init__(self, name, output):
        sys.stdout.flush()
        self.pid, self.code = os.fork(), None
        if self.pid == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            raise Child(name)

    def wait(self, seconds=None):
        end = None if seconds is None else time.monotonic() + seconds
        pause = 0.001
        while self.code is None:
            pid, status = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            if pid:
                self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.pid, seconds)
            else:
                time.sleep(pause)
                pause = min(2 * pause, 0.02)
        return self.code


class Child(BaseException):
    """We are the process of the test of that name."""


def _started(name, output):
    """make test-long starts each test as a program of its own, which costs a tenth of a second."""
    if not LONG and not FRESH:
        return Forked(name, output)
    return subprocess.Popen([sys.executable, sys.argv[0], sys.argv[1], '--run', name], stdin=subprocess.DEVNULL,
                            stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def _attempt(name):
    """Runs the test in a process of its own. Returns its exit code, whether it came to its limit, how long it took, and
    what it printed."""
    with tempfile.TemporaryFile() as output:
        start, cpu = time.monotonic(), _cpu_of_children()
        process = _started(name, output)
        code, late = _end(process, TESTS[name].limit)
        took = '%.2f s' % (time.monotonic() - start)
        if os.environ.get('TEST_TIMES'):
            took += ', CPU %.2f s' % (_cpu_of_children() - cpu)
        output.seek(0)
        return code, late, took, output.read().decode('utf-8', 'replace').strip()


def _reason(told):
    lines = told.rsplit('bind.Far: ', 1)
    return lines[1].splitlines()[0] if len(lines) > 1 else (told.splitlines() or ['no output'])[-1]


def _tries(code):
    """How many tries a test has that ended with this code: a measured value that was off has three. CI (TEST_AGAIN=2) gives
    any other failure so many more: nobody knows what else its machine does."""
    return {0: 1, 77: 1, 75: 3}.get(code, 1 + AGAIN)


def _tried(name):
    """As _attempt, with more tries where _tries allows them, which the time tells. Beside other programs it has none:
    it is to be called again (75)."""
    before = []
    while True:
        code, late, took, told = _attempt(name)
        if BESIDE and _tries(code) > 1:
            code = 75
        if BESIDE or len(before) + 1 >= _tries(code):
            return code, late, '; before: '.join([took] + before), told
        before.append(_reason(told))


def _report(suite, name):
    """Runs the test and prints its result. Returns which it is."""
    code, late, took, told = _tried(name)
    label = '%s: %s' % (suite, name)
    if code == 0:
        print('ok    %s (%s)' % (label, took))
        return 'passed'
    if code == 77 and told:
        print('skip  %s: %s' % (label, told.splitlines()[-1].replace('skipped: ', '', 1)))
        return 'skipped'
    if code == 75 and BESIDE:
        print('again %s (%s), alone at the end: %s' % (label, took, _reason(told)))
        return 'again'
    if late:
        why = 'still running after %d s' % TESTS[name].limit
    elif code < 0:
        why = 'ended by %s' % signal.Signals(-code).name
    else:
        why = 'exit code %d' % code
    print('FAIL  %s (%s): %s' % (label, took, why))
    lines = told.splitlines()
    if len(lines) > 150:
        lines[100:-50] = ['... %d lines left out' % (len(lines) - 150)]
    print(''.join('      | %s\n' % line for line in lines), end='')
    return 'failed'


def _chosen(suite, patterns):
    """The tests that the command line names, or else those of make test or of make test-long. T selects among them: by
    the name of the file, or by that of the test, and then among the long ones, too."""
    only = os.environ.get('TEST_ONLY')   # tests/run.sh, at the end
    if only:
        return [name for name in TESTS if name in only.split()]
    if patterns:
        names = [name for name in TESTS if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    else:
        names = [name for name, test in TESTS.items() if LONG or not test.long or (PART and PART in name)]
    return names if PART in suite else [name for name in names if PART in name]


def run():
    """The end of every test file: runs the tests named on the command line, or all of them."""
    arguments = sys.argv[2:]
    if arguments[:1] == ['--run']:
        sys.exit(_run_here(arguments[1]))
    suite = '%s[%s%s]' % (os.path.splitext(os.path.basename(sys.argv[0]))[0], VERSION, 't' if FREE_THREADED else '')
    if not os.path.exists(LIBRARY):
        sys.exit('%s: no %s: build it from tests/dll.c, then: %s %s BUILD_DIR'
                 % (suite, LIBRARY, sys.executable, sys.argv[0]))
    names = _chosen(suite, arguments)
    if not names and not PART:
        sys.exit('%s: no test is named %s; there are: %s' % (suite, ' '.join(arguments), ' '.join(TESTS)))
    gc.freeze()   # otherwise each fork copies them all when it looks for garbage
    try:
        _run_all(suite, names, not arguments)
    except Child as child:
        name = child.args[0]
    sys.argv[2:] = ['--run', name]
    _leave(_run_here(name))


def _leave(code):
    """As sys.exit, but that the objects of a fork are not freed one by one, which takes longer than many a test."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_all(suite, names, whole):
    counts = collections.Counter()
    for name in names:
        if BESIDE and TESTS[name].alone:
            print('alone %s: %s' % (suite, name))   # tests/run.sh calls again for these
        else:
            counts[_report(suite, name)] += 1
        sys.stdout.flush()
    if whole and not PART and 'TEST_ONLY' not in os.environ and len(names) < len(TESTS):
        print('long  %d' % (len(TESTS) - len(names)))
    print('%d passed, %d failed, %d skipped' % (counts['passed'], counts['failed'], counts['skipped']))
    sys.exit(1 if counts['failed'] else 0)
