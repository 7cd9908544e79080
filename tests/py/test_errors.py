"""Bad input: each gives its result code and a sentence that names the thing; the program goes on, and so do its files."""
import ctypes
import errno
import fcntl
import gc
import math
import os
import random
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

import bind
from bind import ARGUMENT, DISABLED, FORMAT, IO, NO_PROCESS, OK, STATE, UNSUPPORTED

P = ctypes.c_void_p


def works():
    """The library still does its work."""
    with bind.record(rate_hz=1000) as r:
        bind.eventually(lambda: r.stats().samples > 3, 'samples')
    return r.profile


def refused(code, words, **config):
    detail = bind.fails(code, words, bind.Session, **config)
    token = P(0x1234)   # NULL on failure
    bind.released.start(ctypes.byref(bind.fill(bind.Config(), **config)), ctypes.byref(token))
    bind.equal(token.value, None, '*session after a failure')
    return detail


def sentence():
    return bind.released.last_error().decode('utf-8')


# --- configurations ---------------------------------------------------------------------------------------------------


@bind.test
def rates():
    for rate, words in ((math.nan, ['rate', 'nan']), (-2.0, ['rate', '-2']), (200000.0, ['rate', '200000']),
                        (100001.0, ['rate', '100001']), (math.inf, ['rate', 'inf']), (-math.inf, ['rate', 'inf']),
                        (-1e-300, ['rate'])):
        detail = refused(ARGUMENT, ['rate'], rate_hz=rate)
        words = [word for word in words if word.lower() not in detail.lower().replace(',', '')]
        bind.check(not words, '%r does not tell %r', detail, words)
    for rate in (100000.0, 0.0, 0.5, 1e-3):
        bind.Session(rate_hz=rate).stop()
    works()


@bind.test
def durations():
    for duration in (-1.0, math.nan, -0.001, math.inf):
        try:
            refused(ARGUMENT, ['duration'], duration_s=duration)
        except AssertionError:
            if duration != math.inf:   # for ever is what 0 means: may be taken
                raise
    works()


@bind.test
def other_fields():
    for name, bad in (('timeline_s', math.nan), ('heap', 7), ('heap', -1), ('capture', 9), ('capture', -1), ('paths', 5),
                      ('paths', -1), ('pid', -5), ('max_depth', 0xffffffff), ('thread_filter', 'x' * 300)):
        try:
            bind.Session(**{name: bad})
        except bind.Error as error:
            bind.check(error.code in (ARGUMENT, UNSUPPORTED), '%s = %r: %s', name, bad, error)
            bind.check(name in error.detail.lower(), '%s = %r: %r does not name it', name, bad, error.detail)
        else:
            raise AssertionError('%s = %r is accepted' % (name, bad))
    config = bind.Config()
    config.reserved[3] = 1
    token = P()
    code = bind.released.start(ctypes.byref(config), ctypes.byref(token))
    bind.equal((code, token.value), (ARGUMENT, None), 'a reserved field that is not 0')
    bind.check('reserved' in sentence(), sentence())
    allocator = bind.Allocator(bind.ALLOC_FN(lambda user, size: None))   # both or none
    refused(ARGUMENT, ['alloc'], allocator=allocator)
    works()


@bind.test
def a_config_that_was_not_zeroed():
    """Whatever lay there: the sentence asks for it."""
    def start(config):
        token = P()
        code = bind.released.start(ctypes.byref(config), ctypes.byref(token))
        if code == OK:
            bind.call('stop', token, None)
        return code, sentence()

    for name, value in (('thread_filter', 0x5555), ('checkpoint', 0x7fffffffff000), ('checkpoint', 0xdeadbeefdeadbeef)):
        config = bind.Config()
        field = getattr(bind.Config, name)
        ctypes.cast(ctypes.addressof(config) + field.offset, ctypes.POINTER(ctypes.c_uint64))[0] = value
        code, detail = start(config)
        bind.check(code == ARGUMENT and name in detail and 'zeroed?' in detail, '%s %s', code, detail)
    for name, value in (('rate_hz', 6.9e-310), ('heap', 21845), ('capture', -559038737), ('timeline_s', 1e300)):
        code, detail = start(bind.fill(bind.Config(), **{name: value}))
        bind.check(code == ARGUMENT and name in detail and 'zeroed?' in detail, '%s %s', code, detail)
    for value in (7, -1):
        code, detail = start(bind.fill(bind.Config(), heap=value))
        bind.check(code == ARGUMENT and 'EXACT' in detail and 'zeroed?' not in detail, detail)
    wild = 0
    for seed in range(50):   # never a crash; what is left of a stack is mostly recognised
        config = bind.Config()
        random.seed(seed)
        words = ctypes.cast(ctypes.addressof(config), ctypes.POINTER(ctypes.c_uint64))
        for i in range(ctypes.sizeof(config) // 8):
            words[i] = random.choice((0, 0x7fff00000000 + random.getrandbits(30), random.getrandbits(64), random.getrandbits(8)))
        code, detail = start(config)
        bind.check(code != OK, 'accepted')
        wild += 'zeroed?' in detail
    bind.check(wild > 40, '%d of 50 recognised', wild)
    works()


@bind.test
def errors_list_what_is_allowed():
    profile = works()
    with bind.folder() as folder:
        bind.fails(FORMAT, ['json', 'svg', 'folded', 'pb.gz', 'can be written'], profile.save, os.path.join(folder, 'x.unknown'))
        bind.fails(FORMAT, ['json', 'svg', 'can be written'], profile.save, os.path.join(folder, 'x.json'), format=777)
    refused(ARGUMENT, ['0.001', '100000'], rate_hz=1e6)
    refused(ARGUMENT, ['0.001', '100000'], rate_hz=1e-6)


@bind.test
def features_to_come():
    refused(UNSUPPORTED, ['native'], native=1)
    for pid, code, word in (-1, ARGUMENT, 'pid'), (2 ** 31 - 2, NO_PROCESS, str(2 ** 31 - 2)):
        refused(code, [word], pid=pid)
        pointer = P(0x1234)
        bind.equal(bind.released.dump(pid, None, ctypes.byref(pointer)), code)
        bind.equal(pointer.value, None)
        bind.check(sentence(), 'no reason')
    bind.fails(UNSUPPORTED, ['native'], bind.dump_profile, native=1)
    pointer = P(0x1234)
    bind.equal(bind.released.load(b'/no/such/folder/x.json', ctypes.byref(pointer)), IO)
    bind.equal(pointer.value, None)
    bind.check(sentence(), 'no reason')
    profile = works()
    session = bind.Session()
    found = bind.Allocation()
    bind.equal(bind.released.find_allocation(session.token, None, ctypes.byref(found)), STATE)
    bind.check(sentence(), 'no reason')
    session.stop()
    with bind.folder() as folder:
        for format, suffix in bind.MEMORY_SUFFIXES.items():
            bind.fails(UNSUPPORTED, ['memory was not tracked'], profile.save, os.path.join(folder, 'x' + suffix))
            bind.fails(UNSUPPORTED, ['memory was not tracked'], profile.write, format)
        for format in bind.SUFFIXES:
            bind.fails(UNSUPPORTED, ['live bytes', 'memory was not tracked'], profile.write, format, metric=bind.LIVE_BYTES)
        bind.equal(os.listdir(folder), [])


@bind.test
def differences_and_leaks():
    before, after = works(), works()
    delta = after.diff(before)
    bind.equal(delta.info().total[bind.SAMPLES], after.info().total[bind.SAMPLES] - before.info().total[bind.SAMPLES])
    bind.fails(ARGUMENT, ['difference'], after.diff, delta)
    bind.fails(ARGUMENT, ['group'], after.diff, before, group=4)
    for format in (bind.SPEEDSCOPE, bind.OPENMETRICS):
        bind.fails(UNSUPPORTED, [bind.SUFFIXES[format]], delta.write, format)
    bind.fails(ARGUMENT, ['scale'], after.diff, before, scale=3)
    bind.check(delta.json()['diff'], 'no difference')
    for format in bind.TEXT, bind.PPROF, bind.SVG:
        bind.check(delta.write(format), 'not written')
    delta.write(bind.FOLDED)   # maybe nothing was sampled
    bind.fails(ARGUMENT, ['profiles[1]'], after.merged, delta)
    bind.fails(STATE, ['memory'], after.leaks)


@bind.test
def this_process_by_its_number():
    try:
        session = bind.Session(pid=os.getpid())
    except bind.Error as error:
        bind.equal(error.code, UNSUPPORTED)
        bind.check('pid' in error.detail, error.detail)
    else:
        session.stop()


# --- pointers and tokens ------------------------------------------------------------------------------------------------


@bind.test
def null_arguments():
    lib, profile, session = bind.released, works(), bind.Session()
    out, count, info, stats = P(0x1234), ctypes.c_size_t(), bind.Info(), bind.Stats()
    json = bind.Output(format=bind.JSON)
    sink = bind.WRITE_FN(lambda user, data, size: 0)
    see = bind.VISIT_FN(lambda user, item: 0)
    bad = {
        'start': lambda: lib.start(None, None),
        'snapshot': lambda: lib.snapshot(session.token, None, None),
        'get_stats': lambda: lib.get_stats(session.token, None),
        'save, profile': lambda: lib.save(None, b'/tmp/x.json', None),
        'save, path': lambda: lib.save(profile.pointer, None, None),
        'save, empty path': lambda: lib.save(profile.pointer, b'', None),
        'write, profile': lambda: lib.write(None, ctypes.byref(json), sink, None),
        'write, output': lambda: lib.write(profile.pointer, None, sink, None),
        'write, function': lambda: lib.write(profile.pointer, ctypes.byref(json), bind.WRITE_FN(), None),
        'top, profile': lambda: lib.top(None, None, None, ctypes.sizeof(bind.Row), 0, ctypes.byref(count)),
        'top, rows': lambda: lib.top(profile.pointer, None, None, ctypes.sizeof(bind.Row), 5, ctypes.byref(count)),
        'top, row_size': lambda: lib.top(profile.pointer, None, (bind.Row * 2)(), 8, 2, ctypes.byref(count)),
        'visit, profile': lambda: lib.visit(None, None, see, None),
        'visit, function': lambda: lib.visit(profile.pointer, None, bind.VISIT_FN(), None),
        'info, profile': lambda: lib.profile_info(None, ctypes.byref(info)),
        'info, info': lambda: lib.profile_info(profile.pointer, None),
        'stats, profile': lambda: lib.profile_stats(None, ctypes.byref(stats)),
        'stats, stats': lambda: lib.profile_stats(profile.pointer, None),
        'diff, delta': lambda: lib.diff(profile.pointer, profile.pointer, None, None),
        'leaks, profile': lambda: lib.leaks(None, None, None, ctypes.sizeof(bind.Leak), 0, ctypes.byref(count)),
        'leaks, row_size': lambda: lib.leaks(profile.pointer, None, (bind.Leak * 2)(), 8, 2, ctypes.byref(count)),
        'dump': lambda: lib.dump(0, None, None),
    }
    for what, function in bad.items():
        code = function()
        bind.equal(bind.RESULTS[code], 'ARGUMENT', what)
        bind.check(sentence() and '\n' not in sentence(), 'no sentence for %s', what)
    for what, function in (('load', lambda: lib.load(None, ctypes.byref(out))),
                           ('diff', lambda: lib.diff(None, None, None, ctypes.byref(out)))):
        bind.check(function() in (ARGUMENT, UNSUPPORTED), what)
        bind.equal(out.value, None, what)
        out = P(0x1234)
    bind.equal(lib.profile_free(None), None)
    bind.equal(lib.stop(session.token, None), OK)   # may be NULL there
    works()


@bind.test
def null_and_garbage_tokens():
    stats, tokens = bind.Stats(), [None, 1, 2, 8, 9, 0x7f, 0xdeadbeef, 0xffffffffffffffff, 0x8000000000000000, 0x100000001,
                                   id(bind), ctypes.addressof(ctypes.create_string_buffer(64))]
    for token in tokens:
        for lib in (bind.released, bind.held):
            out = P(0x1234)
            for what, code in (('stop', lib.stop(token, ctypes.byref(out))),
                               ('snapshot', lib.snapshot(token, None, ctypes.byref(out))),
                               ('pause', lib.pause(token)), ('resume', lib.resume(token)), ('reset', lib.reset(token)),
                               ('get_stats', lib.get_stats(token, ctypes.byref(stats)))):
                bind.check(code in ((ARGUMENT, STATE) if token is None else (STATE,)), '%s of token %r: %s', what, token,
                           bind.RESULTS[code])
                bind.check(sentence(), 'no sentence')
            bind.equal(out.value, None, '*profile after a failure')
    works()


@bind.test
def ended_sessions():
    session = bind.Session()
    profile = session.stop()
    out = P(0x1234)
    bind.equal(bind.released.stop(session.token, ctypes.byref(out)), STATE, 'stop twice')
    bind.equal(out.value, None)
    bind.check('session' in sentence(), sentence())
    bind.fails(STATE, ['session'], session.snapshot)
    bind.fails(STATE, ['session'], session.stats)
    profile.json()   # the result lives on
    works()


@bind.test
def the_sentence_is_this_threads():
    bind.fails(ARGUMENT, ['rate'], bind.Session, rate_hz=-5)
    mine, others = sentence(), []

    def other():
        others.append(sentence())
        bind.fails(ARGUMENT, ['duration'], bind.Session, duration_s=-5)
        others.append(sentence())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    bind.check('rate' not in others[0], 'another thread sees %r', others[0])
    bind.check('duration' in others[1], others[1])
    bind.equal(sentence(), mine, 'the sentence of this thread')


@bind.test
def result_strings():
    lib = bind.released
    strings = [lib.result_string(code).decode('ascii') for code in range(13)]
    bind.equal(len(set(strings)), 13, 'strings of the results')
    bind.check(all(strings), 'an empty one: %r', strings)
    for code in (-1, 13, 1000, -2147483648, 2147483647):
        bind.check(lib.result_string(code), 'nothing for %d', code)
    parts = lib.version().decode('ascii').split('.')
    bind.check(len(parts) == 3 and all(part.isdigit() for part in parts), 'version %r', parts)


# --- files ----------------------------------------------------------------------------------------------------------------


def untouched(folder, names):
    bind.equal(sorted(os.listdir(folder)), sorted(names), 'files in the folder')


@bind.test
def unknown_formats():
    profile = works()
    with bind.folder() as folder:
        for name in ('x.xyz', 'noextension', 'x.json.bak', '.hidden', 'x.', 'x.JSO', 'x.gz', 'x.pb', 'json'):
            detail = bind.fails(FORMAT, [name], profile.save, os.path.join(folder, name))
        untouched(folder, [])
        for format in (bind.FORMAT_COUNT, 1000, -1):
            try:
                profile.save(os.path.join(folder, 'x.json'), format=format)
            except bind.Error as error:
                bind.check(error.code in (FORMAT, ARGUMENT), '%s', error)
                bind.check(str(format) in error.detail, '%r does not name %d', error.detail, format)
            else:
                raise AssertionError('format %d is accepted' % format)
        bind.check(bind.released.write(profile.pointer, ctypes.byref(bind.Output()), bind.WRITE_FN(lambda u, d, s: 0), None)
                   in (FORMAT, ARGUMENT), 'write without a format')
        untouched(folder, [])
        for format in bind.SUFFIXES:   # a format overrides the name
            profile.save(os.path.join(folder, 'any.name%d' % format), format=format)
        bind.equal(len(os.listdir(folder)), len(bind.SUFFIXES))


@bind.test
def longest_suffix():
    profile = works()
    with bind.folder() as folder:
        def first(name, count):
            profile.save(os.path.join(folder, name))
            with open(os.path.join(folder, name), 'rb') as file:
                return file.read()[:count]

        bind.check(b'speedscope' in first('a.speedscope.json', 200), 'speedscope')
        bind.check(b'process_name' in first('a.json', 4000), 'json')
        bind.equal(first('a.pb.gz', 2), b'\x1f\x8b')
        bind.check(b'<svg' in first('a.svg', 500), 'svg')


@bind.test
def wrong_metric_in_output():
    profile = works()
    for metric in (-1, 33, 32, 1000):
        try:
            profile.write(bind.FOLDED, metric=metric)
        except bind.Error as error:
            bind.check(error.code == ARGUMENT and 'metric' in error.detail, '%s', error)
        else:
            raise AssertionError('metric %d is accepted' % metric)
    for name in ('sort', 'group'):
        for value in (-1, 99):
            try:
                profile.top(**{name: value})
            except bind.Error as error:
                bind.check(error.code == ARGUMENT and name in error.detail, '%s', error)
            else:
                raise AssertionError('%s %d is accepted' % (name, value))


@bind.test
def save_reports_paths_that_cannot_be_written():
    profile = works()
    with bind.folder() as folder:
        def path(name):
            return os.path.join(folder, name)

        detail = bind.fails(IO, [path('none/x.json'), 'No such file'], profile.save, path('none/x.json'))
        os.mkdir(path('dir.json'))
        bind.fails(IO, [path('dir.json')], profile.save, path('dir.json'))
        os.mkfifo(path('fifo.json'))
        begin = time.monotonic()
        bind.fails(IO, [path('fifo.json')], profile.save, path('fifo.json'))
        bind.check(time.monotonic() - begin < 5, 'a FIFO held it up')
        bind.check(stat.S_ISFIFO(os.lstat(path('fifo.json')).st_mode), 'the FIFO is gone')
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path('sock.json'))
            bind.fails(IO, [path('sock.json')], profile.save, path('sock.json'))
            bind.check(stat.S_ISSOCK(os.lstat(path('sock.json')).st_mode), 'the socket is gone')
        with open(path('file'), 'w') as file:
            file.write('x')
        bind.fails(IO, [path('file/x.json'), 'Not a directory'], profile.save, path('file/x.json'))
        bind.fails(IO, ['name too long'], profile.save, path('x' * 5000 + '.json'))
        bind.fails(IO, [], profile.save, '/proc/x.json')
        untouched(folder, ['dir.json', 'fifo.json', 'sock.json', 'file'])
        bind.equal(os.listdir(path('dir.json')), [])
    works()


@bind.test
def symbolic_links_are_not_followed():
    profile = works()
    with bind.folder() as folder:
        def path(name):
            return os.path.join(folder, name)

        with open(path('precious'), 'w') as file:
            file.write('precious')
        os.symlink('precious', path('link.json'))
        os.symlink('nowhere', path('dangling.json'))
        for name in ('link.json', 'dangling.json'):
            bind.fails(IO, [path(name), 'symbolic link'], profile.save, path(name))
            bind.check(os.path.islink(path(name)), 'the link is gone')
        with open(path('precious')) as file:
            bind.equal(file.read(), 'precious')
        bind.check(not os.path.exists(path('nowhere')), 'the link was followed')
        untouched(folder, ['precious', 'link.json', 'dangling.json'])
        os.mkdir(path('real'))   # a link on the way is the user's own
        os.symlink('real', path('way'))
        profile.save(path('way/x.json'))
        bind.equal(os.listdir(path('real')), ['x.json'])


@bind.test
def hard_links_are_not_written_through():
    profile = works()
    with bind.folder() as folder:
        precious, linked = os.path.join(folder, 'precious'), os.path.join(folder, 'x.json')
        with open(precious, 'w') as file:
            file.write('precious')
        os.link(precious, linked)
        profile.save(linked)
        with open(precious) as file:
            bind.equal(file.read(), 'precious')
        bind.check(os.path.getsize(linked) > 8, 'nothing written')


@bind.test
def files_are_private_and_whole():
    profile = works()
    with bind.folder() as folder:
        old = os.umask(0)
        try:
            for suffix in bind.SUFFIXES.values():
                path = os.path.join(folder, 'x' + suffix)
                for _ in range(2):   # new, and over the old one
                    profile.save(path)
                    bind.equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, 'mode of ' + path)
                    os.chmod(path, 0o666)
        finally:
            os.umask(old)
        untouched(folder, ['x' + suffix for suffix in bind.SUFFIXES.values()])
        here = os.getcwd()
        os.chdir(folder)
        try:
            profile.save('relative.json')
            profile.save('./dots/../relative2.json') if os.path.isdir('dots') else None
        finally:
            os.chdir(here)
        bind.check(os.path.exists(os.path.join(folder, 'relative.json')), 'a relative path')
        profile.save(os.path.join(folder, 'sp ace \u00e9\u4e2d;$(x)\n.json'))
        profile.save(os.path.join(folder, os.fsdecode(b'bad\xff.json')))


def big():
    """A profile whose JSON has some 100 KB."""
    space = {}
    source = ''.join('def f%d(n):\n    return f%d(n)\n' % (i, i + 1) for i in range(300))
    exec(compile(source + 'def f300(n):\n    return dump()\n', '/' + 'long/' * 60 + 'x.py', 'exec'), space)
    space['dump'] = lambda: bind.dump_profile()
    profile = space['f0'](0)
    assert len(profile.write(bind.JSON)) > 50000, len(profile.write(bind.JSON))
    return profile


def keeps_the_old_file(folder, words):
    """Every format, with room for nothing: the old file stays, whole, and no temporary one."""
    profile = big()
    for suffix in ('.json', '.svg', '.speedscope.json', '.txt', '.folded', '.pb.gz'):
        path = os.path.join(folder, 'x' + suffix)
        if len(profile.write(next(f for f, s in bind.SUFFIXES.items() if s == suffix))) < 9000:
            continue   # fits in the room there is
        bind.fails(IO, [path] + words, profile.save, path)
        with open(path, 'rb') as file:
            bind.equal(file.read(), b'old', suffix)
    untouched(folder, ['x' + suffix for suffix in bind.SUFFIXES.values()])


def old_files(folder):
    for suffix in bind.SUFFIXES.values():
        with open(os.path.join(folder, 'x' + suffix), 'wb') as file:
            file.write(b'old')


@bind.test
def full_disk():
    if os.getuid():
        bind.skip('a tmpfs needs root')
    with bind.folder() as folder:
        mount = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=96k', 'pyprof-test', folder],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if mount.returncode:
            bind.skip('no tmpfs here: %s' % mount.stdout.decode().strip())
        try:
            old_files(folder)
            with open(os.path.join(folder, 'filler'), 'wb', buffering=0) as file:
                try:
                    while True:
                        file.write(b'x' * 4096)
                except OSError as error:
                    bind.equal(error.errno, errno.ENOSPC)
            os.truncate(os.path.join(folder, 'filler'), 4096)
            profile = big()
            for suffix in ('.json', '.svg'):
                path = os.path.join(folder, 'x' + suffix)
                bind.fails(IO, [path, 'No space left'], profile.save, path)
                with open(path, 'rb') as file:
                    bind.equal(file.read(), b'old', suffix)
            untouched(folder, ['filler'] + ['x' + suffix for suffix in bind.SUFFIXES.values()])
            os.unlink(os.path.join(folder, 'filler'))
        finally:
            subprocess.run(['umount', folder])
    works()


@bind.test
def file_size_limit():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)   # as CPython does by itself
    with bind.folder() as folder:
        old_files(folder)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        try:
            keeps_the_old_file(folder, ['too large'])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    works()


@bind.test
def read_only_folder():
    with bind.folder() as folder:
        old_files(folder)
        os.chmod(folder, 0o500)
        code = 0
        if os.getuid():
            keeps_the_old_file(folder, ['denied'])
        else:   # root may write anywhere: as somebody else, in a child
            os.chmod(folder, 0o755)
            pid = os.fork()
            if not pid:
                try:
                    os.setresgid(65534, 65534, 65534)
                    os.setresuid(65534, 65534, 65534)
                    profile = bind.dump_profile()   # which then needs no right either
                    bind.fails(IO, [os.path.join(folder, 'x.json'), 'denied'], profile.save, os.path.join(folder, 'x.json'))
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    code = 1
                finally:
                    os._exit(code)
            bind.equal(os.waitpid(pid, 0)[1], 0, 'the child')
        with open(os.path.join(folder, 'x.json'), 'rb') as file:
            bind.equal(file.read(), b'old')
        untouched(folder, ['x' + suffix for suffix in bind.SUFFIXES.values()])
        os.chmod(folder, 0o700)


@bind.test
def no_descriptors_left():
    profile = works()
    session = bind.Session(rate_hz=1000)
    with bind.folder() as folder:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        path = os.path.join(folder, 'x.json')
        resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 1, limits[1]))   # the lowest that was free
        try:
            bind.fails(IO, [path, 'too many open files'], profile.save, path)
            try:   # works without descriptors, or says why not
                bind.dump_profile()
                bind.Session().stop()
            except bind.Error as error:
                bind.check(error.code in (bind.IO, bind.DENIED, bind.MEMORY), '%s', error)
            time.sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        untouched(folder, [])
    bind.check(session.stop().stats().samples > 10, 'the session goes on')
    works()


@bind.test
def no_thread_can_be_made():
    """pthread_create fails: a code, a sentence, and the next start works."""
    pid, code = os.fork(), 1
    if not pid:
        try:
            if not os.getuid():   # no limit holds for root
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            limits = resource.getrlimit(resource.RLIMIT_NPROC)
            resource.setrlimit(resource.RLIMIT_NPROC, (1, limits[1]))
            for function in (bind.Session, bind.dump_profile):
                try:
                    function()
                except bind.Error as error:
                    bind.check(error.code in (bind.MEMORY, bind.BUSY, bind.DENIED) and 'thread' in error.detail, '%s', error)
                else:
                    bind.check(function is bind.dump_profile, 'a session without a sampler')
            token = P(0x1234)
            bind.check(bind.released.start(None, ctypes.byref(token)) != OK)
            bind.equal(token.value, None)
            resource.setrlimit(resource.RLIMIT_NPROC, limits)
            works()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    bind.equal(os.waitpid(pid, 0)[1], 0, 'the child')


@bind.test
def standard_output():
    code = ('import sys; sys.argv = ["x", %r]; sys.path.insert(0, %r); import bind\n'
            'bind.dump_profile().save("-", format=bind.JSON)' % (bind.BUILD, os.path.dirname(os.path.abspath(__file__))))
    with bind.folder() as folder:
        data = subprocess.check_output([sys.executable, '-c', code], cwd=folder)
        bind.check('samples' in bind.strict_json(data), data[:100])
        bind.equal(os.listdir(folder), [])
        with open('/dev/full', 'wb') as full:
            process = subprocess.run([sys.executable, '-c', code], cwd=folder, stdout=full, stderr=subprocess.PIPE)
        bind.equal(process.returncode, 1)
        bind.check(b'No space left' in process.stderr, process.stderr.decode())
        reader, writer = os.pipe()   # nobody reads: a code, no death by SIGPIPE (CPython ignores it)
        os.close(reader)
        process = subprocess.run([sys.executable, '-c', code], cwd=folder, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        bind.equal(process.returncode, 1)
        bind.check(b'pipe' in process.stderr.lower(), process.stderr.decode())
    profile = works()
    code = bind.released.save(profile.pointer, b'-', None)
    bind.check(code in (FORMAT, ARGUMENT), 'standard output has no extension: %s', bind.RESULTS[code])


@bind.test
def aborted_writes():
    profile = big()
    for format in bind.SUFFIXES:
        whole = profile.write(format)
        for allowed in (0, 1, 2):
            calls = []

            def sink(user, data, size):
                calls.append(size)
                return 1 if len(calls) > allowed else 0

            code = bind.released.write(profile.pointer, ctypes.byref(bind.Output(format=format)), bind.WRITE_FN(sink), None)
            if sum(calls) < len(whole) or len(calls) > allowed:
                bind.equal(code, IO, '%s, aborted' % bind.FORMATS[format])
                bind.equal(len(calls), allowed + 1, 'calls after the abort')
                bind.check(sentence(), 'no sentence')
            else:
                bind.equal(code, OK)
        bind.equal(profile.write(format), whole, 'the next one')


@bind.test
def the_user_pointer():
    seen = []
    profile = works()
    sink = bind.WRITE_FN(lambda user, data, size: seen.append(user) or 0)
    bind.equal(bind.released.write(profile.pointer, ctypes.byref(bind.Output(format=bind.TEXT)), sink, 0x1234), OK)
    bind.equal(set(seen), {0x1234})
    seen.clear()
    see = bind.VISIT_FN(lambda user, item: seen.append(user) or 1)   # nonzero ends it early
    bind.equal(bind.released.visit(profile.pointer, None, see, 0x77), OK)
    bind.equal(seen, [0x77])


@bind.test
def disabled_without_the_variable():
    for value in (None, '', '0'):
        if value is None:
            os.environ.pop('PROFILING', None)
        else:
            os.environ['PROFILING'] = value
        token = P(0x1234)
        tasks = bind.tasks()
        bind.equal(bind.released.start_from_env(ctypes.byref(token)), DISABLED, 'PROFILING=%r' % value)
        bind.equal(token.value, None)
        bind.equal(bind.tasks(), tasks, 'threads')
        bind.check(sentence(), 'no sentence')


@bind.test
def nothing_is_printed():
    """No logger, no PROFILING: errors do not print."""
    code = ('import sys; sys.argv = ["x", %r]; sys.path.insert(0, %r); import bind, os\n'
            'for config in ({"rate_hz": -1}, {"pid": 2147483646}, {"duration_s": -1}):\n'
            '    try: bind.Session(**config)\n'
            '    except bind.Error: pass\n'
            'with bind.record(rate_hz=1000) as r: sum(range(3000000))\n'
            'try: r.profile.save("/nowhere/x.json")\n'
            'except bind.Error: pass\n' % (bind.BUILD, os.path.dirname(os.path.abspath(__file__))))
    bind.equal(subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout, b'')


@bind.test
def a_sandbox_that_ends_the_sampler_thread():
    """A seccomp filter ends every thread that calls process_vm_writev, and only the sampler does: stop returns all the same."""
    number = {'x86_64': 311, 'aarch64': 271}.get(os.uname().machine)

    class Program(ctypes.Structure):
        _fields_ = [('count', ctypes.c_ushort), ('code', ctypes.c_char_p)]

    code = b''.join(struct.pack('=HBBI', *line) for line in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number or 0), (0x06, 0, 0, 0), (0x06, 0, 0, 0x7fff0000)))   # SECCOMP_RET_KILL_THREAD, _ALLOW
    session = bind.Session(rate_hz=1000, heap=0)
    bind.eventually(lambda: session.stats().samples > 10, 'samples', 20)
    threads = bind.tasks()
    libc = ctypes.CDLL(None, use_errno=True)
    if number is None or libc.prctl(38, 1, 0, 0, 0) != 0 or libc.syscall(
            {'x86_64': 317, 'aarch64': 277}[os.uname().machine], 1, 1, ctypes.byref(Program(4, code))) != 0:   # TSYNC
        bind.skip('no seccomp filters here')
    bind.eventually(lambda: len(bind.tasks()) < len(threads), 'the sampler thread is gone')
    begin = time.monotonic()
    profile = session.stop()
    bind.check(time.monotonic() - begin < 3, 'stop took %r s', time.monotonic() - begin)
    bind.check(profile.stats().samples > 10, 'samples: %r', profile.stats())


@bind.test
def failures_leave_nothing_behind():
    works()
    profile = works()
    gc.collect()
    tasks, descriptors = bind.tasks(), bind.descriptors()
    for _ in range(300):
        for config in ({'rate_hz': -2}, {'pid': 2 ** 31 - 2}, {'duration_s': -1}, {'native': 1}):
            try:
                bind.Session(**config)
            except bind.Error:
                pass
        for path in ('/nowhere/x.json', 'x.unknown', '/tmp'):
            try:
                profile.save(path)
            except bind.Error:
                pass
    bind.equal(bind.tasks(), tasks, 'threads')
    bind.equal(bind.descriptors(), descriptors, 'file descriptors')
    bind.check(not [name for name in os.listdir('.') if name.startswith('x.unknown')], 'a file is left')


def started_within(spare, **config):
    """Whether a session starts when so many more bytes of addresses can be had."""
    with open('/proc/self/statm') as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (size + spare, before[1]))
        session = bind.Session(rate_hz=10, **config)
    except bind.Error as error:
        bind.check(error.code in (bind.MEMORY, bind.BUSY), 'with %d bytes: %s', spare, error)   # BUSY: no thread
        return False
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    session.stop()
    return True


@bind.test(limit=120)
def a_start_without_memory_leaves_nothing_half_made():
    """What the session before made is used, and freed, once."""
    for beside in False, True:
        other = bind.Session(rate_hz=10) if beside else None
        for heap in 2, 1:
            bind.Session(rate_hz=10, heap=heap).stop()
            worked = []
            for spare in range(-3 << 20, 1 << 20, 64 << 10):   # some of what is there is given back first
                worked.append(started_within(spare, heap=heap))
                if not worked[-1] and len(worked) % 2:
                    bind.Session(rate_hz=10, heap=heap).stop()
            bind.check(not all(worked) and any(worked), "%r", worked)
        if other:
            other.stop()
    works()


SECCOMP, CLOCK_GETTIME, FSTAT, NEWFSTATAT, STATX = {   # numbers of system calls
    'x86_64': (317, 228, 5, 262, 332), 'aarch64': (277, 113, 80, 79, 291)}.get(os.uname().machine, [0] * 5)


def refuse(*calls):
    """From now on these system calls fail, in all threads of this process."""
    if not SECCOMP:
        bind.skip('numbers of system calls are not known here')
    steps = [(0x20, 0, 0, 0)]
    for call in calls:
        steps += [(0x15, 0, 1, call), (0x06, 0, 0, 0x00050000 | errno.EPERM)]
    code = b''.join(struct.pack('HBBI', *step) for step in steps + [(0x06, 0, 0, 0x7fff0000)])
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.syscall(SECCOMP, 1, 1, ctypes.byref(program)) != 0:
        bind.skip('no filters of system calls here')


@bind.test
def ticks_without_clocks_of_threads_are_told():
    """Before the start and after it: nothing can be read, each tick counts as missed, and the reason is told."""
    early = bind.Session(rate_hz=200)
    bind.eventually(lambda: early.stats().samples > 3, 'samples')
    refuse(CLOCK_GETTIME)   # of threads: those are no calls of the vDSO
    late = bind.Session(rate_hz=200)
    for session in early, late:
        bind.eventually(lambda: 'CPU clocks' in session.stats().degraded.decode(), 'a reason')
        bind.eventually(lambda: session.stats().missed > 20, 'missed ticks')
    stats = [session.stop().stats() for session in (early, late)]
    print([(each.samples, each.missed, each.asked, each.degraded) for each in stats])
    # A sweep that was under way when the second one began may still have read the clocks.
    bind.check(stats[1].samples <= 3 < stats[0].samples, 'samples')
    for each in stats:
        bind.check(each.missed > 20 and b'CPU clocks' in each.degraded, 'missed %d: %r', each.missed, each.degraded)


def open_descriptors():   # without the calls that are refused
    def is_open(number):
        try:
            return fcntl.fcntl(number, fcntl.F_GETFD) >= 0
        except OSError:
            return False
    return [number for number in range(400) if is_open(number)]


@bind.test
def no_descriptor_stays_open_where_fstat_is_refused():
    """Where fstat is refused no session leaves one behind."""
    session = bind.Session(rate_hz=10)
    refuse(FSTAT, NEWFSTATAT, STATX)
    session.stop()
    before = open_descriptors()
    for _ in range(5):
        session = bind.Session(rate_hz=10)
        session.stats()
        session.stop()
    bind.equal(open_descriptors(), before, 'open descriptors')


if __name__ == '__main__':
    bind.run()
