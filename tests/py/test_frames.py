"""The frames of blocked threads against what the interpreter itself says: sys._current_frames().

A worker thread runs one of the workloads and blocks in it in one of several ways. Then pyprof_dump must tell the same
files, lines and names for the whole stack of every thread, exactly.
"""
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time

import bind
from frame_workloads import QUALNAMES, WORKLOADS, NotHere, run_source


# --- ways to block ------------------------------------------------------------------------------------------------


class Lock:
    def __init__(self):
        self.lock = threading.Lock()
        self.lock.acquire()

    def block(self):
        self.lock.acquire()

    def release(self):
        self.lock.release()


class Queue:
    def __init__(self):
        self.queue = queue.Queue()

    def block(self):
        self.queue.get()

    def release(self):
        self.queue.put(None)


class Event:
    def __init__(self):
        self.event = threading.Event()

    def block(self):
        self.event.wait()

    def release(self):
        self.event.set()


class Sleep:
    def block(self):
        time.sleep(3600)

    def release(self):
        pass   # a daemon thread ends with the process


class Select:
    def __init__(self):
        self.pair = socket.socketpair()

    def block(self):
        select.select([self.pair[0]], [], [])

    def release(self):
        self.pair[1].send(b'.')


class Process:
    def __init__(self):
        self.process = subprocess.Popen(['cat'], stdin=subprocess.PIPE)

    def block(self):
        self.process.wait()

    def release(self):
        self.process.stdin.close()


WAYS = [Lock, Queue, Event, Sleep, Select, Process]


# --- comparing ------------------------------------------------------------------------------------------------------


def truth(frame):
    """Root first: (file, line, name, first line of the code) of every frame, as the interpreter tells it."""
    stack = []
    while frame is not None:
        code = frame.f_code
        name = code.co_qualname if QUALNAMES else code.co_name
        stack.append((bind.clean(code.co_filename), frame.f_lineno or 0, bind.clean(name), code.co_firstlineno))
        frame = frame.f_back
    return stack[::-1]


def truths():
    return {ident: truth(frame) for ident, frame in sys._current_frames().items()}


def told(profile, interpreter=0, idents=None):
    stacks = {}
    for item in profile.visit(bind.ITEM_STACK):
        if item.stack[-1].name in bind.UNPLACED:
            continue
        if item.thread.interpreter == interpreter and (idents is None or item.thread.ident in idents):
            assert item.thread.ident not in stacks, 'thread %d has two stacks' % item.thread.ident
            stacks[item.thread.ident] = [
                (f.file, f.line, f.qualname, f.first_line) for f in item.stack if f.kind == bind.KIND_PYTHON]
    return stacks


class Worker:
    """A thread that runs a workload and blocks in it."""

    def __init__(self, workload, way, name=None):
        self.way = way()
        self.ready = threading.Event()
        self.over = False
        self.missing = False
        self.error = None
        self.thread = threading.Thread(target=self.run, args=(workload,), daemon=True, name=name)
        self.thread.start()

    def run(self, workload):
        self.native_id = threading.get_native_id()
        try:
            workload(self.block)
        except NotHere:
            self.missing = True
        except BaseException:   # told by settle
            self.error = sys.exc_info()[1]
        self.ready.set()

    def block(self):
        if not self.over:
            self.ready.set()
            self.way.block()

    def end(self):
        self.over = True
        self.way.release()
        if not isinstance(self.way, Sleep):
            self.thread.join(10)
            assert not self.thread.is_alive()
            if self.error:
                raise self.error


def settle(workers):
    """Waits until each worker is blocked in its system call."""
    for worker in workers:
        assert worker.ready.wait(20)
        if worker.error:
            raise worker.error
        assert not worker.missing
    mine = threading.get_ident()
    calm, last = 0, None
    end = time.monotonic() + 20
    while calm < 3:
        assert time.monotonic() < end, 'the workers do not come to rest'
        time.sleep(0.01)
        now = {ident: stack for ident, stack in truths().items() if ident != mine}
        asleep = True
        for worker in workers:
            with open('/proc/self/task/%d/stat' % worker.native_id, encoding='latin-1') as file:
                asleep = asleep and file.read().rpartition(')')[2].split()[0] == 'S'
        calm, last = (calm + 1 if asleep and now == last else 0), now


def compare(lib=None, workers=()):
    """Dumps and compares every thread. The caller's own newest frame is on another line by then."""
    mine = threading.get_ident()
    profile = bind.dump_profile(lib)
    expected = truths()
    got = told(profile)
    stats = profile.stats()
    bind.equal((stats.rejected, stats.missed, stats.truncated), (0, 0, 0), 'rejected, missed, truncated')
    bind.equal(sorted(got), sorted(expected), 'threads')
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, stack in expected.items():
        if ident == mine:
            stack, own = stack[:-1], got[ident]   # without truths() itself
            while own and own[-1][2].split('.')[-1] in ('call', 'dump_profile'):
                own.pop()
            bind.equal(own[:-1], stack[:-1], 'the calling thread\'s stack')
            bind.equal(own[-1][0::2], stack[-1][0::2], 'the calling function')
        else:
            bind.equal(got[ident], stack, 'the stack of %s' % names.get(ident))
    return profile


def with_workers(pairs, check):
    workers = [Worker(*pair) for pair in pairs]
    try:
        for worker in workers:
            worker.ready.wait(20)
        if any(worker.missing for worker in workers):
            bind.skip('not in this version')
        settle(workers)
        check(workers)
    finally:
        for worker in workers:
            worker.end()


def add_workload_tests():
    for index, name in enumerate(WORKLOADS):
        def one(name=name, index=index):
            function = WORKLOADS[name]
            ways = [WAYS[index % len(WAYS)], WAYS[(index + 1) % len(WAYS)], Lock]
            if name in ('import_in_progress',):
                ways = ways[:1]

            def both(workers):
                compare(bind.released)
                compare(bind.held)

            with_workers([(function, way) for way in ways], both)
        bind.test(one, name='workload_' + name)


add_workload_tests()


def here(name):
    versions = {'match_statement': (3, 10), 'except_star': (3, 11), 'type_parameters': (3, 12), 'under_monitoring': (3, 12)}
    return sys.version_info >= versions.get(name, (3, 8))


@bind.test
def all_ways_to_block():
    pairs = [(WORKLOADS[name], way) for way in WAYS for name in ('plain', 'generators', 'callback_from_sorted')]

    def both(workers):
        for _ in range(20):
            compare(bind.released)
            compare(bind.held)

    with_workers(pairs, both)


@bind.test
def every_workload_at_once():
    pairs = [(WORKLOADS[name], WAYS[i % len(WAYS)]) for i, name in enumerate(WORKLOADS) if here(name)]

    def both(workers):
        for _ in range(3):
            compare(bind.released)
            compare(bind.held)

    with_workers(pairs, both)


@bind.test
def dump_from_another_thread():
    errors = []

    def check(workers):
        def other():
            try:
                settle(workers)   # the main thread comes to rest too
                compare(bind.released)
                compare(bind.held)
            except BaseException:
                errors.append(sys.exc_info()[1])

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()   # the main thread is a blocked one now
        if errors:
            raise errors[0]

    with_workers([(WORKLOADS['recursion'], Lock), (WORKLOADS['generators'], Event)], check)


@bind.test
def names_and_ids():
    given = ['plain name', 'caf\u00e9 \u4e2d\u6587 \U0001f40d', 'a "quoted" <name> & more; \\', 'x' * 63, '\udcff\ud800', None]

    def check(workers):
        profile = compare()
        threads = {thread.ident: thread for thread in profile.threads()}
        bind.equal(len(threads), len(workers) + 1)
        for worker in workers:
            thread = threads[worker.thread.ident]
            bind.equal(thread.thread_id, worker.native_id, 'thread id')
            bind.equal(thread.name, bind.clean(worker.thread.name), 'name')
            bind.equal(thread.interpreter, 0, 'interpreter')
        main = threads[threading.get_ident()]
        bind.equal(main.thread_id, os.getpid())
        bind.equal(main.name, 'MainThread')
        told = {thread['thread_id']: thread for thread in profile.json()['threads']}
        bind.equal(sorted(told), sorted([os.getpid()] + [worker.native_id for worker in workers]))
        bind.equal(sorted(thread['name'] for thread in told.values()),
                   sorted(['MainThread'] + [bind.clean(worker.thread.name) for worker in workers]))
        workers[0].thread.name = 'another name'
        threads = {thread.ident: thread for thread in bind.dump_profile().threads()}
        bind.equal(threads[workers[0].thread.ident].name, 'another name', 'the changed name')

    with_workers([(WORKLOADS['plain'], Lock, name) for name in given], check)


@bind.test
def long_thread_names():
    """They may be cut, between characters."""
    given = ['x' * 300, '\u4e2d' * 100, '\U0001f40d' * 100]

    def check(workers):
        threads = {thread.ident: thread for thread in bind.dump_profile().threads()}
        for worker in workers:
            name = threads[worker.thread.ident].name
            kept = name[:-3] if name.endswith('...') else name
            bind.check(worker.thread.name.startswith(kept) and len(kept.encode('utf-8')) >= 56, 'name %r', name)

    with_workers([(WORKLOADS['plain'], Lock, name) for name in given], check)


@bind.test
def no_threading_module_needed():
    """A process that never imported threading: the main thread still has its name."""
    code = ('import sys, ctypes; before = "threading" in sys.modules\n'
            'lib = ctypes.CDLL(%r); p = ctypes.c_void_p()\n'
            'r = lib.pyprof_dump(ctypes.c_int64(0), None, ctypes.byref(p))\n'
            'names = lib.pyprof_save; names.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]\n'
            'r = r or names(p, sys.argv[1].encode(), None)\n'
            'sys.exit(r or 100 * before)\n' % bind.LIBRARY)
    with bind.folder() as path:
        file = os.path.join(path, 'x.json')
        code = subprocess.call([sys.executable, '-S', '-E', '-c', code, file])
        bind.check(code in (0, 100), 'exit code %d', code)
        with open(file, 'rb') as data:
            threads = bind.strict_json(data.read())['threads']
        bind.equal([thread['name'] for thread in threads], ['MainThread'])


@bind.test
def columns():
    if not QUALNAMES:
        bind.skip('no columns before 3.11')

    def spans(frame):
        stack = []
        while frame is not None:
            positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
            line, end_line, column, end_column = positions
            stack.append((line or 0, end_line or 0, -1 if column is None else column,
                          -1 if end_column is None else end_column))
            frame = frame.f_back
        return stack[::-1]

    def check(workers):
        got = {item.thread.ident: [(f.line, f.end_line, f.column, f.end_column) for f in item.stack if f.kind == bind.KIND_PYTHON]
               for item in bind.dump_profile().visit(bind.ITEM_STACK)}
        frames = sys._current_frames()
        for worker in workers:
            bind.equal(got[worker.thread.ident], spans(frames[worker.thread.ident]), 'the spans of ' + worker.thread.name)

    names = [name for name in WORKLOADS if here(name)]
    with_workers([(WORKLOADS[name], Lock, name) for name in names], check)


@bind.test
def json_tells_the_same():
    def check(workers):
        profile = bind.dump_profile()
        document = profile.json()
        frames = document['frames']
        idents = {thread['thread_id']: thread['ident'] for thread in document['threads']}
        visited = {item.thread.ident: item for item in profile.visit(bind.ITEM_STACK)}
        expected = truths()
        seen = set()
        for sample in document['samples']:
            ident = idents[sample['thread_id']]
            seen.add(ident)
            bind.equal(sample['count'], 1)
            bind.equal(sample['stack'], [f.label for f in visited[ident].stack], 'stack')
            bind.equal(sample['lines'], [f.line for f in visited[ident].stack], 'lines')
            bind.equal([(frames[i]['name'], frames[i]['qualname'], frames[i]['file'], frames[i]['line'], frames[i]['label'])
                        for i in sample['frames']],
                       [(f.name, f.qualname, f.file, f.line, f.label) for f in visited[ident].stack], 'frames')
            if ident != threading.get_ident():
                bind.equal([(frames[i]['file'], line, frames[i]['qualname'], frames[i]['first_line'])
                            for i, line in zip(sample['frames'], sample['lines']) if frames[i]['kind'] == 'python'], expected[ident])
        bind.equal(sorted(seen), sorted(expected), 'threads with samples')
        for worker in workers:
            labels = [f.label for f in visited[worker.thread.ident].stack]
            if expected[worker.thread.ident][0][2].endswith('_bootstrap'):   # 3.9 cuts it itself where generators throw
                bind.equal(labels[0], 'threading.Thread._bootstrap' if QUALNAMES else 'threading._bootstrap', 'root')
            leaf = 'test_frames.' + ('Lock.block' if QUALNAMES else 'block')
            bind.check(labels[-1] == leaf or labels[-1].startswith(leaf + ' ('), 'leaf %r', labels[-1])

    names = [name for name in WORKLOADS if here(name)]
    with_workers([(WORKLOADS[name], Lock) for name in names], check)


@bind.test
def labels():
    """stem.qualname; the folder's name for __init__.py and __main__.py; two functions of one name get their places."""
    def workload(block):
        space = {'block': block}
        for filename, call in (('/a/pkg/__init__.py', 'block()'), ('/a/app/__main__.py', 'f0()'), ('/x/one.py', 'f1()'),
                               ('/y/one.py', 'f2()'), ('<string>', 'f3()'), ('noslash', 'f4()'), ('/a/b.c.py', 'f5()')):
            index = int(call[1]) + 1 if call[0] == 'f' else 0
            exec(compile('def f%d(): %s' % (index, call), filename, 'exec'), space)
        space['f6'].__code__ = space['f6'].__code__
        for filename in ('/x/same.py', '/y/same.py'):
            exec(compile('def same(next): next()', filename, 'exec'), space)
            space[filename] = space['same']
        space['/x/same.py'](lambda: space['/y/same.py'](space['f6']))

    def check(workers):
        got = {}
        for item in bind.dump_profile().visit(bind.ITEM_STACK):
            if item.thread.ident == workers[0].thread.ident:
                got = {(f.file, f.name): f.label for f in item.stack}
        for (filename, name), label in {
                ('/a/pkg/__init__.py', 'f0'): 'pkg.f0', ('/a/app/__main__.py', 'f1'): 'app.f1',
                ('/x/one.py', 'f2'): 'one.f2', ('/y/one.py', 'f3'): 'one.f3', ('<string>', 'f4'): '<string>.f4',
                ('noslash', 'f5'): 'noslash.f5', ('/a/b.c.py', 'f6'): 'b.c.f6',
                ('/x/same.py', 'same'): 'same.same (/x/same.py:1)',
                ('/y/same.py', 'same'): 'same.same (/y/same.py:1)'}.items():
            bind.equal(got[(filename, name)], label, filename)

    with_workers([(workload, Lock)], check)


@bind.test
def max_depth_cuts_the_outer_frames():
    def check(workers):
        expected = truths()
        for depth in (1, 2, 5, 64, 65, 66, 67):
            profile = bind.dump_profile(max_depth=depth)
            got = told(profile)
            cut = 0
            for worker in workers:
                stack = expected[worker.thread.ident]
                cut += len(stack) > depth
                bind.equal(got[worker.thread.ident], stack[-depth:], 'max_depth %d' % depth)
            cut += len(expected[threading.get_ident()]) > depth
            bind.near(profile.stats().truncated, cut, 0, 1, 'truncated')   # the caller's depth differs by a frame or two
            bind.check(profile.stats().truncated > 0 or depth > 66, 'nothing was truncated at %d', depth)

    with_workers([(WORKLOADS['recursion'], Lock), (WORKLOADS['generators'], Lock)], check)


def deep_worker(depth, check):
    """A thread that has called itself depth times."""
    def workload(block):
        def down(n):
            if n:
                return down(n - 1)
            block()
        down(depth)

    sys.setrecursionlimit(depth + 1000)
    threading.stack_size(512 << 20)
    try:
        with_workers([(workload, Lock)], check)
    finally:
        threading.stack_size(0)


@bind.test
def deep_recursion_is_cut_at_1024():
    def check(workers):
        ident = workers[0].thread.ident
        profile = bind.dump_profile()
        stack = truths()[ident]
        bind.check(len(stack) > deep, 'only %d frames', len(stack))
        bind.equal(profile.stats().truncated, 1, 'truncated')
        bind.equal(told(profile)[ident], stack[-1024:])
        for item in profile.visit(bind.ITEM_STACK):
            if item.thread.ident == ident:
                bind.check(len(item.stack) in (1024, 1025), 'depth %d', len(item.stack))

    deep = bind.length(20000, 6000)
    deep_worker(deep, check)


@bind.test
def deep_recursion_whole():
    def check(workers):
        ident = workers[0].thread.ident
        for depth in (deep + 100, 65000):
            profile = bind.dump_profile(max_depth=depth)
            bind.equal(profile.stats().truncated, 0, 'truncated')
            bind.equal(told(profile)[ident], truths()[ident])

    deep = bind.length(20000, 3000)
    deep_worker(deep, check)


@bind.test
def no_frames_or_threads_are_kept_alive():
    """The dump holds no references: what it saw dies when its thread ends."""
    import gc
    import weakref

    class Thing:
        pass

    references = []

    def workload(block):
        thing = Thing()
        references.append(weakref.ref(thing))
        block()

    with_workers([(workload, Lock)], lambda workers: bind.dump_profile())
    gc.collect()
    bind.equal([reference() for reference in references], [None])


@bind.test
def dumps_at_once_from_many_threads():
    errors = []

    def many(lib):
        try:
            for _ in range(bind.length(200, 25)):
                profile = bind.dump_profile(lib)
                assert profile.stats().threads >= 2
                profile.free()
        except BaseException:
            errors.append(sys.exc_info()[1])

    threads = [threading.Thread(target=many, args=(lib,)) for lib in (bind.released, bind.held) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@bind.test
def dump_leaves_nothing_behind():
    bind.dump_profile().free()
    tasks, descriptors = bind.tasks(), bind.descriptors()
    for _ in range(100):
        bind.dump_profile().free()
    bind.equal(bind.descriptors(), descriptors, 'file descriptors')
    bind.equal(bind.tasks(), tasks, 'threads')


@bind.test
def dump_while_a_session_runs():
    def check(workers):
        with bind.record(rate_hz=2000):
            for _ in range(bind.length(50, 20)):
                compare(bind.released)
                compare(bind.held)

    with_workers([(WORKLOADS[name], Lock) for name in ('recursion', 'generators', 'asyncio_task')], check)


@bind.test
def samples_are_as_exact_as_dumps():
    """The recorder's own samples of blocked threads: one stack each, the right one."""
    def check(workers):
        expected = truths()
        with bind.record(rate_hz=1000) as r:
            time.sleep(0.3)
        got = told(r.profile, idents={worker.thread.ident for worker in workers})   # this thread moves
        for worker in workers:
            bind.equal(got[worker.thread.ident], expected[worker.thread.ident], worker.thread.name)

    names = [name for name in WORKLOADS if here(name)]
    with_workers([(WORKLOADS[name], Lock, name) for name in names], check)


@bind.test
def after_code_was_moved():
    """A new function in the memory of an old one: names and lines are the new one's."""
    def one(i, block):
        filename = '/code/%d.py' % i
        source = '\n' * (i % 40) + 'def f%d(x):\n%s    block()\nf%d(1)\n' % (i, '    x += 1\n' * (i % 7), i)
        run_source(source, block, filename)

    seen = []

    def block():
        frame = sys._getframe(1)
        dumped = told(bind.dump_profile())[threading.get_ident()]
        position = max(i for i, entry in enumerate(dumped) if entry[2].split('.')[-1] == 'block') - 1
        expected = truth(frame)
        bind.equal(dumped[position], expected[-1])
        seen.append(expected[-1])

    for i in range(bind.length(1000, 150)):
        one(i, block)
    bind.equal(len(set(seen)), bind.length(1000, 150))


# --- sub-interpreters -----------------------------------------------------------------------------------------------


SUB_SOURCE = '''
import os
def sub_outer(n):
    if n:
        return sub_outer(n - 1)
    return sub_inner()
def sub_inner():
    os.write({ready}, b'.')
    os.read({go}, 1)
def sub_thread():
    os.write({ready}, b'.')
    os.read({go}, 1)
if {threads}:
    import threading
    thread = threading.Thread(target=sub_thread, name='sub thread')
    thread.start()
sub_outer(7)
if {threads}:
    thread.join()
'''


def sub_interpreters(count, threads, **create):
    """Destroying an interpreter that had threads, or ending with one that was not destroyed, crashes some versions of
    CPython by itself: then the process just leaves."""
    try:
        ids, module = sub_interpreters_compared(count, threads, create)
    except bind.Skip:
        raise
    except BaseException:
        import traceback
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    if threads and sys.version_info < (3, 13):
        os._exit(0)
    for id in ids:
        module.destroy(id)
    bind.equal(bind.dump_profile().info().interpreters, 1, 'interpreters at the end')


def sub_interpreters_compared(count, threads, create):
    module = bind.interpreters_module()
    ready, go = os.pipe(), os.pipe()
    source = SUB_SOURCE.format(ready=ready[1], go=go[0], threads=threads)
    if sys.version_info >= (3, 13):
        create = ['legacy'] if create else []
        ids = [module.create(*create) for _ in range(count)]
    else:
        ids = [module.create(**create if sys.version_info >= (3, 9) else {}) for _ in range(count)]
    errors = []

    def enter(id):
        try:
            result = module.run_string(id, source)
            if result is not None:
                errors.append(result)
        except BaseException:
            errors.append(sys.exc_info()[1])

    runners = [threading.Thread(target=enter, args=(id,), daemon=True, name='runner') for id in ids]
    for runner in runners:
        runner.start()
    expected = count * (2 if threads else 1)
    for _ in range(expected):
        if not select.select([ready[0]], [], [], 10)[0]:
            raise AssertionError('the sub-interpreters do not start: %r' % errors)
        os.read(ready[0], 1)
    time.sleep(0.1)
    for lib in (bind.released, bind.held):
        compare_sub_interpreters(bind.dump_profile(lib), runners, count, threads)
    os.write(go[1], b'.' * 100)
    for runner in runners:
        runner.join(10)
    bind.check(not errors, 'in the sub-interpreter: %r', errors)
    for fd in ready + go:
        os.close(fd)
    return ids, module


def compare_sub_interpreters(profile, runners, count, threads):
    found = {}
    for item in profile.visit(bind.ITEM_STACK):
        names = [f.name for f in item.stack]
        if 'sub_inner' in names:
            bind.equal(names[-9:], ['sub_outer'] * 8 + ['sub_inner'])
            bind.equal([f.line for f in item.stack[-9:]], [5] * 7 + [6, 9])
            found.setdefault('main', []).append(item)
        if 'sub_thread' in names:
            bind.equal(item.stack[-1].line, 12)
            bind.equal(item.thread.name, 'sub thread', 'name of a thread in a sub-interpreter')
            found.setdefault('thread', []).append(item)
    bind.equal(profile.stats().rejected, 0, 'rejected; %r' % profile.stats())
    bind.equal(len(found.get('main', [])), count, 'stacks in sub-interpreters')
    bind.equal(len(set(item.thread.interpreter for item in found['main'])), count, 'interpreters')
    bind.check(all(item.thread.interpreter != 0 for item in found['main']), 'a sub-interpreter numbered 0')
    bind.equal(len(found.get('thread', [])), count if threads else 0, 'threads of sub-interpreters')
    bind.equal(profile.info().interpreters, count + 1, 'interpreters')
    # the main interpreter's threads as ever: the runners stand where they entered
    # sys._current_frames makes frame objects for all interpreters with this one's allocator; since 3.12 the others free
    # them with their own, and crash
    got, expected_stacks = told(profile), truths() if sys.version_info < (3, 12) else None
    for runner in runners:
        bind.equal(got[runner.ident][-1][2].split('.')[-1], 'enter')
        if expected_stacks:
            bind.equal(got[runner.ident], expected_stacks[runner.ident])
    bind.check(threading.get_ident() in got, 'the main thread is missing')


@bind.test
def sub_interpreters_are_seen():
    sub_interpreters(3, False)


@bind.test
def threads_of_sub_interpreters_are_seen():
    sub_interpreters(2, True, **({'isolated': False} if sys.version_info < (3, 12) else {}))


@bind.test
def sub_interpreters_that_share_the_gil():
    if sys.version_info < (3, 12):
        bind.skip('they all share it before 3.12')
    sub_interpreters(2, True, isolated=False)


@bind.test
def sub_interpreters_come_and_go():
    module = bind.interpreters_module()
    with bind.record(rate_hz=2000) as r:
        for _ in range(bind.length(30, 10)):
            id = module.create()
            module.run_string(id, 'def f():\n    for i in range(20000): pass\nf()\n')
            module.destroy(id)
    stats = r.profile.stats()
    bind.equal(stats.asked, stats.samples + stats.missed + stats.rejected)
    for item in r.profile.visit(bind.ITEM_STACK):
        bind.check(item.stack, 'a stack without frames')


# --- ends -------------------------------------------------------------------------------------------------------------


@bind.test
def signal_handler_frames():
    import signal
    seen = []

    def handler(number, frame):
        for lib in (bind.released, bind.held):
            seen.append((told(bind.dump_profile(lib))[threading.get_ident()], truth(sys._getframe())))

    signal.signal(signal.SIGUSR1, handler)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.01)
    bind.equal(len(seen), 2)
    for got, expected in seen:
        bind.equal(got[:len(expected) - 1], expected[:-1])
        bind.equal(got[len(expected) - 1][2], expected[-1][2])


@bind.test
def perf_trampoline():
    if not hasattr(sys, 'activate_stack_trampoline'):
        bind.skip('not in this version')
    try:
        sys.activate_stack_trampoline('perf')
    except ValueError as error:
        bind.skip(str(error))
    try:
        with_workers([(WORKLOADS[name], Lock) for name in ('recursion', 'generators', 'special_methods')],
                     lambda workers: compare())
    finally:
        sys.deactivate_stack_trampoline()
        for path in ('/tmp/perf-%d.map' % os.getpid(),):
            if os.path.exists(path):
                os.unlink(path)


@bind.test
def generators_resumed_by_another_thread():
    """Generators resumed by another thread than the one that began them."""
    def counter(block):
        yield 1
        block()
        yield 2

    def workload(block):
        g = counter(block)
        first = threading.Thread(target=next, args=(g,))
        first.start()
        first.join()
        next(g)

    with_workers([(workload, Lock), (workload, Queue)], lambda workers: compare())


if __name__ == '__main__':
    bind.run()
