"""Core files: what a dump tells of a process that is gone. The truth is what the process itself said before."""
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

import bind

SOURCE = r"""
import json, os, sys, threading, time
threading.stack_size(256 * 1024)

def hold(first, second, ready, password):
    with first:
        ready.wait()
        with second:
            pass

def idle(event):
    event.wait()

def read(fd):
    os.read(fd, 1)

def start(name, function, *arguments):
    threading.Thread(target=function, args=arguments, name=name, daemon=True).start()

a, b, ready, event = threading.Lock(), threading.Lock(), threading.Barrier(2), threading.Event()
start('one', hold, a, b, ready, 'hunter2')
start('two', hold, b, a, ready, 'hunter2')
start('idle', idle, event)
start('reader', read, os.pipe()[0])

def stacks():
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = {}
    for ident, frame in sys._current_frames().items():
        told[names[ident]] = rows = []
        while frame:
            rows.append((frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
    return told

def told():
    last = ends = None
    while last is None or last != ends:      # until all of them wait
        last = ends
        time.sleep(0.2)
        ends = {name: rows for name, rows in stacks().items() if name != 'MainThread'}
    print(json.dumps(dict(pid=os.getpid(), stacks=ends, b='0x%x' % id(b))), flush=True)
"""
WAITS = SOURCE + 'told()\ntime.sleep(1000)\n'
CRASHES = SOURCE + r"""
import ctypes
def crash(address):
    told()
    ctypes.string_at(address)
start('crash', crash, 16)
time.sleep(1000)
"""


def started(source, folder, python=sys.executable, library=None, **options):
    # One arena: gdb writes all memory that malloc has reserved.
    environment = dict(os.environ, MALLOC_ARENA_MAX='1', PYTHONDONTWRITEBYTECODE='1', **{'LD_PRELOAD': library} if library else {})
    with open(os.path.join(folder, 'target.py'), 'w') as file:
        file.write(source)
    return subprocess.Popen([python, os.path.join(folder, 'target.py')], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
                            universal_newlines=True, env=environment, **options)


def from_debugger(folder, python=sys.executable, library=None):
    """A core file that gdb wrote of a program that waits, and what the program had told."""
    if not shutil.which('gcore'):
        bind.skip('gdb is not installed')
    process = started(WAITS, folder, python, library)
    try:
        told = json.loads(process.stdout.readline())
        made = subprocess.run(['gcore', '-o', os.path.join(folder, 'core'), str(process.pid)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    path = os.path.join(folder, 'core.%d' % process.pid)
    if not os.path.exists(path):
        bind.skip('gcore wrote no core file: %s' % made.stdout.decode(errors='replace')[-200:])
    return path, told


def from_kernel(folder):
    """A core file that the kernel wrote of a program that ended by a signal."""
    with open('/proc/sys/kernel/core_pattern') as file:
        pattern = file.read().strip()
    if pattern != 'core' or resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        bind.skip('core files are not written here: the pattern is %r' % pattern)
    process = started(CRASHES, folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2))
    told = json.loads(process.stdout.readline())
    process.wait()
    process.stdout.close()
    bind.equal(process.returncode, -signal.SIGSEGV, 'how it ended')
    path = next((name for name in ('core', 'core.%d' % process.pid) if os.path.exists(os.path.join(folder, name))), None)
    if not path:
        bind.skip('the kernel wrote no core file')
    return os.path.join(folder, path), told


def dumped(path, **options):
    """The profile of a core file, and its items by thread."""
    profile = bind.dump_profile(core=path, **options)
    states = {item.thread.name: item for item in profile.visit(bind.ITEM_STATE)}
    waits = {item.thread.name: item for item in profile.visit(bind.ITEM_WAIT)}
    return profile, states, waits


def frames(item):
    return [(f.name, f.file, f.line) for f in reversed(item.stack) if f.kind == bind.KIND_PYTHON]


def same_stacks(told, states):
    for name, rows in told['stacks'].items():
        if name == 'crash':
            continue
        # Condition.wait and others look at their own line in a C call: the frames are the same to the letter.
        bind.equal(frames(states[name]), [tuple(row) for row in rows], 'the stack of ' + name)


def is_deadlock(told, waits):
    for name, other in (('one', 'two'), ('two', 'one')):
        item = waits[name]
        bind.equal((item.wait.kind, item.wait.how, item.other and item.other.name), ('lock', 'with', other), 'the wait of ' + name)
        bind.check(item.wait.deadlock > 0 and item.wait.waited_ns == -1, 'the wait of %s: %r', name, item.wait)
    bind.check(told['b'] in waits['one'].wait.what, 'what one waits for: %r', waits['one'].wait)


@bind.test
def a_core_file_of_a_debugger():
    with bind.folder() as folder:
        path, told = from_debugger(folder)
        profile, states, waits = dumped(path, locals=bind.LOCALS_MASKED)
        info = profile.info()
        bind.equal(info.pid, told['pid'], 'pid')
        bind.equal(profile.stats().degraded, b'', 'degraded')
        bind.equal(info.python.decode(), '.'.join(map(str, sys.version_info[:3])), 'the version')
        bind.equal(set(states), set(told['stacks']) | {'MainThread'}, 'threads')
        same_stacks(told, states)
        is_deadlock(told, waits)
        bind.equal(frames(states['MainThread'])[0][0], '<module>', 'the main thread')
        bind.equal((waits['idle'].wait.kind, waits['MainThread'].wait.kind), ('event', 'sleep'), 'waits')
        bind.check(waits['reader'].wait.what.startswith('read'), 'the reader: %r', waits['reader'].wait)
        bind.check(not any(item.wait.kind == 'ended' for item in waits.values()), 'no signal ended it: %r', waits)
        values = {(item.thread.name, item.local.name): item.local for item in profile.visit(bind.ITEM_LOCAL)}
        bind.equal(values['one', 'password'].value, '<masked>', 'a secret')
        bind.check(told['b'] in values['one', 'second'].value and values['one', 'second'].sure, 'a lock: %r', values['one', 'second'])
        kept = os.path.join(folder, 'kept.json')
        profile.save(kept)
        bind.equal([item.wait for item in bind.load(kept).visit(bind.ITEM_WAIT)], [item.wait for item in profile.visit(bind.ITEM_WAIT)], 'loaded')
        # Cut: said to be, and the rest told or the lack named.
        size = os.path.getsize(path)
        for part in (0.9, 0.3):
            os.truncate(path, int(size * part))
            try:
                profile, states, _ = dumped(path)
                bind.check(b'truncated' in profile.stats().degraded, 'degraded: %r', profile.stats().degraded)
            except bind.Error as error:
                bind.check('truncated' in str(error), 'the error: %s', error)


@bind.test
def a_core_file_of_the_kernel():
    with bind.folder() as folder:
        path, told = from_kernel(folder)
        profile, states, waits = dumped(path)
        bind.equal(profile.info().pid, told['pid'], 'pid')
        same_stacks(told, states)
        is_deadlock(told, waits)
        crash = waits['crash']
        bind.equal((crash.wait.kind, crash.wait.what), ('ended', 'SIGSEGV at 0x10'), 'the signal')
        bind.equal([name for name, item in states.items() if item.self[bind.GIL_SAMPLES]], ['crash'], 'who has the GIL')
        bind.equal([row[0] for row in frames(states['crash'])[:2]], ['string_at', 'crash'], 'its frames')
        bind.check(not states['crash'].self[bind.WAIT_SAMPLES], 'it ran')
        bind.equal(waits['idle'].wait.kind, 'event', 'the wait of idle')
        torn(path)


def torn(path):
    """200 copies with bytes flipped or the end cut: each gives a profile or an error, and soon."""
    with open(path, 'rb') as file:
        whole = file.read()
    chance = random.Random(20261127)
    headers = 64 + 56 * struct.unpack_from('<H', whole, 56)[0]
    notes = next((struct.unpack_from('<Q', whole, at + 8)[0] for at in range(struct.unpack_from('<Q', whole, 32)[0], headers, 56)
                  if struct.unpack_from('<I', whole, at)[0] == 4), 64)
    results = {}
    begin, limit = time.monotonic(), bind.length(60, 3)
    with open(path, 'r+b') as file:
        for i in range(bind.length(2000, 200)):
            if time.monotonic() - begin > limit and i > 20:
                break
            kind, changed = i % 4, []
            if kind == 3:
                file.truncate(chance.randrange(len(whole)))
            else:
                low, high = ((0, headers), (notes, min(notes + 65536, len(whole) - 8)), (0, len(whole) - 8))[kind]
                for _ in range(chance.choice((1, 3, 30))):
                    at = chance.randrange(low, max(low + 1, high))
                    value = chance.choice((b'\0', b'\xff', b'\xff' * 8, bytes([chance.randrange(256)]), b'\0\0\0\0\0\0\0\x7f'))
                    changed.append(at)
                    file.seek(at)
                    file.write(value)
            file.flush()
            try:
                profile = bind.dump_profile(core=path, locals=bind.LOCALS_MASKED)
                bind.strict_json(profile.write(bind.JSON))
                what = 'a profile'
            except bind.Error as error:
                what = str(error).split()[1] if ' ' in str(error) else str(error)
            results[what] = results.get(what, 0) + 1
            if kind == 3:
                file.truncate(len(whole))
                file.seek(0)
                file.write(whole)
            for at in changed:
                file.seek(at)
                file.write(whole[at:at + 8])
    print(results, "in %.1f s" % (time.monotonic() - begin))
    bind.check(results.get('a profile', 0) >= 3, 'profiles: %r', results)


def refused(path, name, *words, **options):
    try:
        bind.dump_profile(core=path, **options)
    except bind.Error as error:
        bind.check(name in str(error) and all(word in str(error) for word in words), 'the error for %s: %s', path, error)
        return
    raise AssertionError('%s was read' % path)


@bind.test
def bad_core_files():
    with bind.folder() as folder:
        def made(name, data):
            path = os.path.join(folder, name)
            with open(path, 'wb') as file:
                file.write(data)
            return path

        machine = {'x86_64': 62, 'aarch64': 183}[os.uname().machine]
        head = struct.pack('<16sHHIQQQIHHHHHH', b'\x7fELF\2\1\1', 4, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        load = struct.pack('<IIQQQQQQ', 1, 4, 4096, 4096, 0, 1 << 63, 1 << 63, 4096)
        refused(os.path.join(folder, 'none'), 'IO', 'none', 'No such file')
        refused(folder, 'FORMAT', folder, 'regular file')
        refused('/dev/null', 'FORMAT', '/dev/null', 'regular file')
        refused(made('empty', b''), 'FORMAT', 'empty', 'too short')
        refused(made('text', b'#!/bin/sh\n' * 100), 'FORMAT', 'text', 'no ELF file')
        refused(sys.executable, 'FORMAT', 'no core file')
        refused(made('32', b'\x7fELF\1\1\1' + head[7:]), 'FORMAT', '64-bit')
        refused(made('other', head[:18] + struct.pack('<H', 8) + head[20:]), 'FORMAT', 'processor')
        refused(made('headless', head), 'NO_PYTHON', 'headless', 'truncated')
        refused(made('huge', head + load), 'NO_PYTHON', 'huge', 'truncated')
        refused(made('many', head[:56] + struct.pack('<H', 0xfffe) + head[58:] + load * 100), 'NO_PYTHON', 'truncated')
        os.mkfifo(os.path.join(folder, 'pipe'))
        refused(os.path.join(folder, 'pipe'), 'FORMAT', 'regular file')
        refused(made('text', b'x' * 100), 'ARGUMENT', 'pid', pid=os.getpid())


def libpython():
    """The library with this Python's code; None = it is in the program."""
    with open('/proc/self/maps') as file:
        return next((line.split()[-1] for line in file if re.match(r'libpython[0-9.]+\w*\.so', os.path.basename(line.split()[-1]))), None)


@bind.test
def a_program_that_was_replaced():
    """The core file leaves its code out: it is read from the program's file, if that is still the same."""
    with bind.folder() as folder:
        python, kept = os.path.join(folder, 'python-copy'), os.path.join(folder, 'kept')
        shutil.copy(os.path.realpath(sys.executable), python)
        if subprocess.run([python, '-c', 'import threading'], stderr=subprocess.DEVNULL).returncode:
            bind.skip('a copy of this Python does not run')
        shared = libpython()
        code = os.path.join(folder, os.path.basename(shared)) if shared else python   # the file with Python's code
        if shared:
            shutil.copy(shared, code)
        path, told = from_debugger(folder, python, shared and code)   # a library of that name is there already, and no other is loaded
        os.rename(code, kept)
        for other in (None, '/bin/sh'):
            if other:
                shutil.copy(os.path.realpath(other), code)
            why = 'is not the file that ran' if other else 'cannot be read'
            try:
                dumped(path)
            except bind.Error as error:
                bind.check(('NO_PYTHON' in str(error) or 'UNSUPPORTED' in str(error)) and code in str(error) and why in str(error), 'the error: %s', error)
            else:
                raise AssertionError('it was told although %s %s' % (code, why))
        if shared:
            os.rename(kept, code)
        profile, states, waits = dumped(path, **{} if shared else {'executable': kept})
        same_stacks(told, states)
        is_deadlock(told, waits)
        bind.equal(profile.stats().degraded, b'', 'degraded')


bind.run()
