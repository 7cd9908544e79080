"""The Python module, examples/04_module.c and pyprof.py: with statements, decorators, python -m pyprof."""
import asyncio
import gc
import glob
import json
import os
import pstats
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import weakref

import bind

SUFFIX = sysconfig.get_config_var('EXT_SUFFIX')


def module_folder():
    """make test has the module around the profiler of the tests; make test-long the one that users build."""
    for folder in (bind.BUILD, os.path.join(bind.BUILD, 'module'))[not bind.LONG:]:
        if os.path.exists(os.path.join(folder, '_pyprof' + SUFFIX)):
            return folder
    return bind.skip('no %s/module/_pyprof%s: no Python.h for this Python?' % (bind.BUILD, SUFFIX))


def module():
    folder = module_folder()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import pyprof
    return pyprof


def burn(seconds):
    """Works so long, and longer, if a recording has no samples of it yet: the machine is busy."""
    import pyprof
    wanted = [(one, one.stats()['samples'] + 5) for one in list(pyprof.profile._running)]
    end, limit = time.thread_time() + seconds, time.monotonic() + 30
    while time.thread_time() < end or any(one.stats()['samples'] < samples for one, samples in wanted):
        for _ in range(2000):
            pass
        if time.monotonic() > limit:
            break


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def names(path):
    """The functions of a .json file."""
    return {name.rsplit('.', 1)[-1] for name in json.loads(read(path))['functions']}


def raises(kind, words, function, *args, **options):
    try:
        function(*args, **options)
    except kind as error:
        bind.check(words in str(error), '%r is not in %r', words, str(error))
        return error
    raise AssertionError('%s did not come: %s' % (kind.__name__, words))


# --- with, start, stop ------------------------------------------------------------------------------------------

@bind.test
def a_with_statement_writes_its_files():
    pyprof = module()
    with bind.folder() as folder:
        paths = [os.path.join(folder, name) for name in ('out.svg', 'out.json', 'out.folded', 'out.prof')]
        with pyprof.profile(*paths, rate=1000) as recording:
            burn(0.1)
        bind.check(read(paths[0]).startswith('<?xml'), 'no picture')
        bind.check('burn' in names(paths[1]), '%r', names(paths[1]))
        bind.check('burn' in read(paths[2]) and 'pyprof.py' not in read(paths[2]), read(paths[2]))
        bind.check(any(name == 'burn' for _, _, name in pstats.Stats(paths[3]).stats), 'pstats')
        top = recording.profile.top(3)
        bind.equal(top[0]['qualname'], 'burn')
        spent = sum(row['self']['cpu_ns'] for row in recording.profile.top(1000))
        bind.enough(spent > 0.07e9, 'CPU time %d', spent)
        bind.equal(recording.stats()['samples'], recording.profile.info()['total']['samples'])
        same = pyprof.load(paths[1])
        bind.equal([row['self'] for row in same.top(3)], [row['self'] for row in top], 'loaded again')
        table = pyprof.Table(recording.profile, 5)
        bind.check('burn' in str(table) and '<td>burn</td>' in table._repr_html_(), str(table))


@bind.test
def every_format_takes_it():
    """Those of the table in pyprof.h, with memory; what cannot be written is an error before the work."""
    pyprof = module()
    import _pyprof
    with bind.folder() as folder:
        paths, unable = [], []
        for name in _pyprof._formats:
            path = os.path.join(folder, 'out.' + name)
            try:
                _pyprof._check_output(path)
                paths.append(path)
            except pyprof.Error as error:
                bind.equal(error.name, 'UNSUPPORTED', name)
                unable.append(name)
        bind.equal(unable, [])
        bind.equal(os.listdir(folder), [], 'checking writes nothing')
        with pyprof.profile(*paths, heap=True, rate=500):
            keep = [bytearray(300000) for _ in range(20)]
            burn(0.05)
        bind.equal(sorted(os.listdir(folder)), sorted(map(os.path.basename, paths)))
        bind.equal(len(keep), 20)


@bind.test
def errors_carry_their_text():
    pyprof = module()
    began = []
    with bind.folder() as folder:
        def run(path, **options):
            with pyprof.profile(path, **options):
                began.append(path)
        error = raises(pyprof.Error, 'out.xyz: unknown file extension', run, os.path.join(folder, 'out.xyz'))
        bind.equal((error.code, error.name), (6, 'FORMAT'))
        raises(FileNotFoundError, 'there is no folder', run, os.path.join(folder, 'none', 'out.svg'))
        raises(TypeError, "unexpected keyword argument 'rat'", run, os.path.join(folder, 'out.svg'), rat=1)
        raises(ValueError, "heap is 'much': not one of off, sampled, exact", run, os.path.join(folder, 'out.svg'), heap='much')
        raises(pyprof.Error, 'rate_hz', run, os.path.join(folder, 'out.svg'), rate=-2)
        raises(TypeError, 'write @pyprof.profile', pyprof.profile, run)
        raises(TypeError, '', run, os.path.join(folder, 'out.svg'), rate='fast')
        raises(ValueError, 'null', pyprof.load, 'a\0b')
        bind.equal(began, [], 'it failed before the work')
        bind.equal(raises(pyprof.Error, 'none.json', pyprof.load, os.path.join(folder, 'none.json')).name, 'IO')
        session = pyprof.start()
        session.stop()
        for call in session.stop, session.pause, session.snapshot, session.reset:
            bind.equal(raises(pyprof.Error, '', call).name, 'STATE')
        raises(TypeError, 'Profile is needed', pyprof.diff, 1, 2)
        raises(pyprof.Error, '', pyprof.merge, [])
        raises(TypeError, 'cannot create' if sys.version_info >= (3, 8) else '', pyprof.Session)
        for number in range(12):
            try:
                began.append(pyprof.start())
            except pyprof.Error as error:
                bind.equal(error.name, 'BUSY')
        bind.equal(len(began), 8, 'sessions')


@bind.test
def failing_work_is_kept():
    """The files are written, the exception goes on; one that cannot be written is a warning then."""
    import warnings
    pyprof = module()
    with bind.folder() as folder:
        path = os.path.join(folder, 'out.json')

        def work():
            with pyprof.profile(path, rate=1000):
                burn(0.05)
                raise KeyError('mine')
        raises(KeyError, 'mine', work)
        bind.check('burn' in names(path), 'the file')
        path = os.path.join(folder, 'out.pkl')   # needs memory: fails at the end
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            raises(KeyError, 'mine', work)
        bind.equal([str(one.message)[:7] for one in caught], ['pyprof:'])


@bind.test
def nested_and_again():
    pyprof = module()
    with bind.folder() as folder:
        one = pyprof.profile(os.path.join(folder, 'a.json'), rate=1000)
        with one:
            with one:
                burn(0.02)
            bind.equal(one.profile, None, 'still recording')
            bind.check(one.snapshot().info()['pid'] == os.getpid(), 'snapshot')
        first = one.profile
        bind.check(first.info()['duration_s'] > 0.01, 'the first')
        with one:
            pass
        bind.check(one.profile is not first, 'the second')
        raises(RuntimeError, 'was not started', one.stop)


@bind.test
def the_api():
    pyprof = module()
    with pyprof.start(1000, heap='exact', timeline_s=10) as session:
        before = session.snapshot()
        keep = [bytes(1000) for _ in range(500)]
        while session.stats()['samples'] < 5:
            burn(0.05)
        blob = bytearray(100000)
        found = session.find_allocation(id(blob))
        bind.check('test_module.py' in found['where'], '%r', found)
        bind.equal(session.stats()['heap_state'], 'on')
        session.pause()
        session.resume()
        session.reset_peak()
        session.snapshot(last_s=5)
        whole = session.snapshot(reset=True)
    delta = pyprof.diff(before, whole)
    rows = delta.top(5, sort='live_bytes', group='line')
    bind.check(rows[0]['self']['live_bytes'] >= 500000 and rows[0]['file'].endswith('test_module.py'), '%r', rows[:1])
    both = pyprof.merge([before, whole], as_one=True)
    bind.equal(both.info()['recordings'], 2)
    bind.check(isinstance(session.profile.leaks(3), list), 'leaks')
    bind.check('How good it is' in both.text(), both.text())
    bind.check(both.write('folded').endswith(b'\n'), 'bytes')
    raises(ValueError, 'format is', both.write, 'nonsense')
    here = pyprof.dump()
    stacks = [[frame['name'] for frame in one['stack']] for one in here.stacks(states='all')]
    bind.check(any('the_api' in stack for stack in stacks), '%r', stacks)
    bind.check(any(one['name'] == 'MainThread' for one in here.threads()), '%r', here.threads())
    bind.equal(len(keep), 500)


@bind.test
def variables_and_waits():
    """As pyprof dump --locals tells them: secrets are masked, unless all is asked for."""
    pyprof = module()
    code = '''
import threading
def stuck(count, password):
    text = "\\u8a08"
    lock = threading.Lock()
    lock.acquire()
    print("ready", flush=True)
    lock.acquire()
stuck(42, "hush")
'''
    child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    try:
        child.stdout.read(5)
        bind.eventually(lambda: pyprof.dump(child.pid).waits(states='all'), 'it waits')
        bind.equal(pyprof.dump(child.pid).locals(states='all'), [], 'without being asked')
        masked = pyprof.dump(child.pid, locals=True)
        shown = pyprof.dump(child.pid, locals='all', max_value=3)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    wait, = masked.waits(states='all')
    bind.equal((wait['kind'], wait['thread']['name'], wait['timed'], wait['deadlock']), ('lock', 'MainThread', False, 0))
    found = {}
    for profile in masked, shown:
        for one in profile.locals(states='all'):
            if one['stack'][-1]['name'] == 'stuck':
                found.setdefault(one['name'], []).append((one['value'], one['masked']))
    bind.equal(sorted(found), ['count', 'lock', 'password', 'text'])
    bind.equal((found['count'], found['text'][0]), ([('42', False)] * 2, (repr('\u8a08'), False)))
    bind.equal(found['password'][0], ('<masked>', True))
    bind.check(found['password'][1][0].startswith("'") and 'hush' not in found['password'][1][0] and not found['password'][1][1], '3 bytes of %r', found['password'])
    raises(ValueError, 'locals is', pyprof.dump, child.pid, locals='some')
    raises(pyprof.Error, 'nothing-here', pyprof.dump, core='/nothing-here')


@bind.test
def another_process():
    """Recorded and dumped by its pid; a session tells that it ended. Rows of several processes tell theirs."""
    pyprof = module()
    child = subprocess.Popen([sys.executable, '-c', 'print("ready", flush=True)\ndef only_there():\n    while True: pass\nonly_there()'], stdout=subprocess.PIPE)
    try:
        child.stdout.read(5)
        bind.eventually(lambda: any(frame['name'] == 'only_there' for one in pyprof.dump(child.pid).stacks(states='all') for frame in one['stack']), 'dump')
        with pyprof.start(500, pid=child.pid) as session:
            bind.eventually(lambda: session.stats()['samples'] > 5, 'samples')
            bind.equal((session.stats()['ended'], session.stats()['processes'], session.stats()['processes_missed']), (False, 0, 0))
            child.kill()
            bind.eventually(lambda: session.stats()['ended'], 'the end is told')
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    bind.equal((session.profile.info()['pid'], session.profile.stats()['ended']), (child.pid, True))
    with pyprof.start(1000) as own:
        for _ in range(200):
            burn(0.02)
            if own.stats()['samples'] > 10:
                break
    bind.equal({row['process'] for row in session.profile.top()}, {None})
    rows = {row['name']: row['process'] for row in pyprof.merge([session.profile, own.profile]).top(1000)}
    bind.check(rows['only_there'].endswith(' (%d)' % child.pid) and rows['burn'].endswith(' (%d)' % os.getpid()), '%r', rows)


# --- decorators -------------------------------------------------------------------------------------------------

@bind.test
def decorated():
    """A function, a method, a generator, coroutines: what is recorded, and what they give back."""
    pyprof = module()
    with bind.folder() as folder:
        def out(name):
            return pyprof.profile(os.path.join(folder, name + '.json'), rate=1000)

        @out('plain')
        def plain(a, *, b=2):
            """Its text."""
            burn(0.03)
            return a + b
        bind.equal((plain(1), plain.__name__, plain.__doc__), (3, 'plain', 'Its text.'))

        @out('recursive')
        def recursive(n):
            burn(0.002)
            return n and 1 + recursive(n - 1)
        bind.equal(recursive(20), 20)

        class Thing:
            @out('method')
            def method(self):
                burn(0.03)
                return self

            @out('static')
            @staticmethod
            def static():
                burn(0.03)
                return 7
        thing = Thing()
        bind.check(thing.method() is thing and Thing.static() == 7, 'method')

        @out('generator')
        def generator():
            got = yield 1
            burn(0.03)
            try:
                yield got
            except KeyError:
                yield 'caught'
            return 'end'
        one = generator()
        bind.equal((next(one), one.send(5), one.throw(KeyError())), (1, 5, 'caught'))
        bind.check(not os.path.exists(os.path.join(folder, 'generator.json')), 'too early')
        bind.equal(raises(StopIteration, 'end', next, one).value, 'end')

        @out('coroutine')
        async def coroutine(value):
            await asyncio.sleep(0)
            burn(0.03)
            return value

        @out('agenerator')
        async def agenerator():
            try:
                got = yield 1
                burn(0.03)
                yield got
            except KeyError:
                yield 'caught'

        async def main():
            values = agenerator()
            first, second, third = await values.asend(None), await values.asend(5), await values.athrow(KeyError())
            rest = [value async for value in values]
            return await asyncio.gather(coroutine(1), coroutine(2)), first, second, third, rest
        bind.equal(asyncio.run(main()), ([1, 2], 1, 5, 'caught', []))
        for name in 'plain', 'recursive', 'method', 'static', 'generator', 'coroutine', 'agenerator':
            bind.check('burn' in names(os.path.join(folder, name + '.json')), name)
        bind.check(plain.pyprof.profile.info()['duration_s'] > 0, 'the recording')
        raises(TypeError, 'decorates functions', pyprof.profile('x.svg'), Thing)


# --- references ---------------------------------------------------------------------------------------------------

@bind.test
def nothing_is_left_behind():
    """Many rounds: the same number of objects, of Python's blocks and of descriptors at the end."""
    pyprof = module()

    class Text(str):
        pass
    marks = []

    def around(n):
        for _ in range(n):
            session = pyprof.start(rate=100)
            profile = session.stop()
            profile.top(3), profile.stats(), profile.info(), profile.threads(), profile.stacks(), profile.text(), profile.leaks
            mark = Text('folded')
            marks.append(weakref.ref(mark))
            profile.write(mark, title=Text('a title'), hide='x')
            pyprof.diff(profile, profile, scale='none')
            pyprof.merge((profile, profile))
            for call in (lambda: pyprof.start(rate=-2), lambda: pyprof.start(heap='x'), lambda: pyprof.start(x=1),
                         lambda: profile.top(1, sort='gpu_ns'), lambda: pyprof.load('/none'), lambda: profile.save('a.xyz')):
                try:
                    call()
                except (pyprof.Error, ValueError, TypeError):
                    pass
            del mark
        gc.collect()
    if hasattr(sys, 'getallocatedblocks') and not bind.FREE_THREADED:
        blocks = sys.getallocatedblocks
    else:
        def blocks():
            return 0
    around(10)
    del marks[:]
    objects, before, files, none = len(gc.get_objects()), blocks(), len(bind.descriptors()), sys.getrefcount(pyprof.Profile)
    rounds = bind.length(300, 40)
    around(rounds)
    bind.check(all(mark() is None for mark in marks), 'strings stay')
    del marks[:]
    gc.collect()
    bind.check(blocks() - before < rounds, '%d blocks more in %d rounds', blocks() - before, rounds)
    bind.check(len(gc.get_objects()) - objects < rounds // 2, 'objects')
    bind.equal(len(bind.descriptors()), files, 'descriptors')
    bind.equal(sys.getrefcount(pyprof.Profile), none, 'references to the type')


@bind.test
def on_many_threads():
    """Sessions, snapshots and files from several threads at once; the GIL is released meanwhile."""
    pyprof = module()
    failed = []

    def work(number):
        try:
            for _ in range(bind.length(30, 5)):
                with pyprof.start() as session:
                    session.snapshot().write('json')
                session.profile.text()
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bind.equal(failed, [])


@bind.test
def subinterpreters():
    """Each can import it and has types of its own."""
    interpreters = bind.interpreters_module()
    folder = module_folder()
    code = ('import sys\nsys.path.insert(0, %r)\nimport pyprof\n'
            'with pyprof.start() as session: sum(range(1000))\n'
            'assert session.profile.info()["pid"] > 0\n'
            'try: pyprof.start(rate=-2)\nexcept pyprof.Error: pass\n' % folder)
    module()
    for _ in range(3):
        one = interpreters.create()
        error = interpreters.run_string(one, code)
        bind.check(not error, '%s', error)
        interpreters.destroy(one)


# --- the end of the interpreter, and forks ------------------------------------------------------------------------

def python(folder, *words, **options):
    env = {name: value for name, value in os.environ.items() if name != 'PROFILING' and not name.startswith(('PYPROF_', 'PYTHON'))}
    env['PYTHONPATH'] = module_folder()
    env.update(options.pop('env', {}))
    done = subprocess.run([sys.executable] + list(words), cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=100, **options)
    return done.returncode, done.stdout, done.stderr


BURN = '''
import os, sys, threading, time
def burn(seconds):
    pyprof = sys.modules.get("pyprof")
    def samples():
        counts = []
        for one in list(pyprof.profile._running) if pyprof else []:
            try: counts.append(one.stats()["samples"])
            except pyprof.Error: pass   # of the parent
        return min(counts or [9])
    first = samples()
    end, limit = time.thread_time() + seconds, time.monotonic() + 30
    while time.thread_time() < end or (pyprof and samples() < first + 5 and time.monotonic() < limit):
        for i in range(2000): pass
'''


@bind.test
def the_end_of_the_interpreter():
    """A recording that still runs is ended and written, with the work of threads and of atexit; a child writes nothing of it."""
    with bind.folder() as folder:
        told = python(folder, '-c', BURN + '''
import atexit, pyprof
def late(): burn(0.05)
def threaded(): time.sleep(0.1); burn(0.05)
pyprof.profile("a.json", rate=1000).start()
pyprof.profile("b.json", rate=1000, after_fork="start").start()
pyprof.start()   # lost at once
kept = pyprof.start()
atexit.register(late)
threading.Thread(target=threaded).start()
pid = os.fork()
if not pid:
    burn(0.2)
    sys.exit(0)
os.waitpid(pid, 0)
print(pid)
''')
        bind.equal((told[0], told[2].replace('\n', '')[:0]), (0, ''), told[2])
        bind.check({'late', 'threaded'} <= names(os.path.join(folder, 'a.json')), '%r', names(os.path.join(folder, 'a.json')))
        child = 'b.%s.json' % told[1].strip()
        bind.equal(sorted(os.listdir(folder)), sorted(['a.json', 'b.json', child]))
        bind.check('burn' in names(os.path.join(folder, child)), 'the child')


# --- python -m pyprof ---------------------------------------------------------------------------------------------

PROGRAM = BURN + '''
import __main__
def fails(): raise ValueError("no")
print(sys.argv[1:], sys.path[0], __name__, __main__ is sys.modules[__name__], __main__.burn is burn, __spec__ and __spec__.name,
      __package__, globals().get("__file__"), sorted(set(globals()) - {"__loader__"}), os.path.basename(sys.argv[0]))
print(__loader__ if isinstance(__loader__, type) else type(__loader__).__name__)
burn(0.05)
what = sys.argv[-1]
if what == "fails": fails()
if what == "seven": sys.exit(7)
if what == "text": sys.exit("the reason")
if what == "chained":
    try: fails()
    except ValueError: {}["x"]
if what == "interrupted": raise KeyboardInterrupt
if what == "hook":
    sys.excepthook = lambda kind, value, tb: print("hooked", kind.__name__, value, tb.tb_frame.f_code.co_name)
    fails()
if what == "killed":
    import signal
    os.kill(os.getpid(), signal.SIGTERM)
if what == "nothing": __main__.__dict__.clear()
if what == "after": threading.Thread(target=lambda: (time.sleep(0.1), burn(0.05), print("after"))).start()
if what == "pickled":
    import pickle
    class Own: pass
    print(type(pickle.loads(pickle.dumps(Own()))) is Own)
'''


def compare(folder, words, expected_code=None, files=True, **options):
    """The same output, errors and exit status with and without the profiler."""
    plain = python(folder, *words, **options)
    ours = python(folder, '-m', 'pyprof', '-q', '-r', '500', '-o', 'out.json', *words, **options)
    bind.equal(ours[:2], plain[:2], '%r: %s' % (words, ours[2]))
    def lines(text):   # those of -c are not shown by 3.13.0's own means
        return [line for line in text.splitlines() if words[0] != '-c' or not line.startswith('    ')]
    bind.equal(lines(ours[2]), lines(plain[2]), '%r' % (words[:2],))
    if expected_code is not None:
        bind.equal(plain[0], expected_code, '%r' % (words,))
    path = os.path.join(folder, 'out.json')
    bind.equal(os.path.exists(path), files, '%r: the file' % (words,))
    if files:
        found = names(path)
        os.remove(path)
        return found
    return None


def programs(folder):
    os.makedirs(os.path.join(folder, 'package', 'inner'))
    for path in 'app.py', 'package/__main__.py', 'package/part.py', 'package/inner/__main__.py':
        with open(os.path.join(folder, path), 'w') as file:
            file.write(PROGRAM)
    for path in 'package/__init__.py', 'package/inner/__init__.py', 'empty.py':
        open(os.path.join(folder, path), 'w').close()
    with open(os.path.join(folder, 'wrong.py'), 'w') as file:
        file.write('x = 1\nif x\n  y = 2\n')


@bind.test(limit=120)
def as_python_runs_it():
    with bind.folder() as folder:
        programs(folder)
        bind.check('burn' in compare(folder, ['app.py', '-x', '--', 'two words'], 0), 'burn')
        for what, code in (('fails', 1), ('seven', 7), ('chained', 1), ('pickled', 0)) + bind.several(
                ('interrupted', None), ('text', 1), ('hook', 1), ('after', 0), ('nothing', None)):
            compare(folder, ['app.py', what], code)
        compare(folder, ['-m', 'package', '-q', 'fails'], 1)
        compare(folder, ['-c', PROGRAM, 'fails'], 1)
        compare(folder, ['wrong.py'], 1)
        for words in bind.several(['-m', 'package.part', '-m', 'x'], ['-m', 'package.inner'], ['package', 'fails'], ['-m', 'empty'], ['empty.py'],
                                  ['package/part.py']):
            compare(folder, words)
        if bind.LONG:
            compare(folder, ['app.py', 'killed'], -signal.SIGTERM, files=False)
            compare(folder, ['-'], 0, input=PROGRAM)


@bind.test
def what_it_cannot_run():
    with bind.folder() as folder:
        programs(folder)
        for words, code, message in ((['none.py'], 2, "can't open file"), (['-m', 'no_such_module'], 1, 'No module named no_such_module')):
            plain = python(folder, *words)
            ours = python(folder, '-m', 'pyprof', '-o', 'out.svg', *words)
            bind.equal((ours[0], plain[0]), (code, code), ours[2])
            bind.check(message in ours[2] and message in plain[2], ours[2])
        for words, message in ((['-o', 'out.xyz', 'app.py'], 'unknown file extension'), (['--nonsense', 'app.py'], 'no option --nonsense'),
                               ([], 'no program'), (['-r', 'fast', 'app.py'], "'fast' is no number"), (['-o'], 'needs a value'),
                               (['--heap=much', 'app.py'], "heap is 'much'"), (['-r', '0.00001', 'app.py'], 'rate_hz'))[:None if bind.LONG else 4]:
            code, out, told = python(folder, '-m', 'pyprof', *words)
            bind.check(code == 2 and message in told and 'Traceback' not in told and out == '', '%r: %d %s', words, code, told)
        code, out, told = python(folder, '-m', 'pyprof', '--heap', '-r500', '--output=a.svg', '-o', 'b.txt', 'app.py')
        bind.check(code == 0 and told == 'pyprof: wrote a.svg, b.txt\n', told)
        bind.check('burn' in read(os.path.join(folder, 'b.txt')) and 'runpy' not in read(os.path.join(folder, 'b.txt')), 'the text')
        code, out, told = python(folder, '-m', 'pyprof', 'app.py')
        bind.check(code == 0 and 'burn' in told and 'How good it is' in told, told)
        bind.equal(sorted(glob.glob(os.path.join(folder, '*.svg'))), [os.path.join(folder, 'a.svg')])


# --- pytest, IPython: where they are installed (TEST_VENV: a venv that has them) -----------------------------------

def installed(name):
    venv = os.environ.get('TEST_VENV')
    python3 = os.path.join(venv, 'bin', 'python') if venv else sys.executable
    if subprocess.call([python3, '-c', 'import sys, %s; sys.exit(sys.version_info[:2] != %r)' % (name, sys.version_info[:2])], stderr=subprocess.DEVNULL):
        bind.skip('%s has no %s, or is another version' % (python3, name))
    return python3


def outside(python3, folder, *words):
    env = dict({name: value for name, value in os.environ.items() if not name.startswith(('PYPROF', 'PYTEST'))}, PYTHONPATH=module_folder(), HOME=folder)
    done = subprocess.run([python3] + list(words), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=100)
    return done.returncode, done.stdout


@bind.test
def the_pytest_plugin():
    python3 = installed('pytest')
    with bind.folder() as folder:
        with open(os.path.join(folder, 'test_it.py'), 'w') as file:
            file.write('''
import time, pytest
KEPT = []
@pytest.mark.pyprof(max_s=1000, max_bytes=50_000_000)
def test_good(tmp_path): bytearray(100000)
@pytest.mark.pyprof(max_s=0.05)
def test_slow():
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end: pass
@pytest.mark.pyprof(max_bytes=1000000)
def test_big(): x = [bytearray(100000) for i in range(30)]
@pytest.mark.pyprof(no_leak=True)
def test_leaks(): KEPT.append(bytearray(5000))
@pytest.mark.pyprof(no_leak=True)
def test_cycle(): d = {i: str(i) for i in range(1000)}; d["self"] = d
@pytest.mark.pyprof(max=1)
def test_wrong(): pass
@pytest.mark.pyprof(max_s=1000)
def test_fails(): assert 1 == 2
def test_plain(): pass
''')
        code, out = outside(python3, folder, '-m', 'pytest', '-p', 'pytest_pyprof', '-p', 'no:cacheprovider', '--pyprof=out.svg,out.json', 'test_it.py')
        for word in ('5 failed, 3 passed', 'the limit is 0.05 s', 'the limit is 1,000,000', 'leaks: each of 5 more runs', 'not max', 'assert 1 == 2',
                     'wrote out.json'):
            bind.check(word in out, '%s: %s', word, out)
        bind.check('warnings' not in out and code == 1, out)
        bind.check('test_slow' in names(os.path.join(folder, 'out.json')), 'the recording')
        code, out = outside(python3, folder, '-m', 'pytest', '-p', 'pytest_pyprof', '--pyprof=out.xyz', 'test_it.py')
        bind.check('unknown file extension' in out and code == 4, out)


@bind.test
def in_ipython():
    python3 = installed('IPython')
    with bind.folder() as folder:
        with open(os.path.join(folder, 'cells.ipy'), 'w') as file:
            file.write('''
%load_ext pyprof
import time
def hot(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
%pyprof -o out.svg hot(0.1)
%pyprof --heap x = [bytearray(1000) for i in range(300)]; y = "a -o b"
p = %pyprof -q -R hot(0.1)
print(type(p).__name__, p.top(1)[0]["name"], len(x), y)
get_ipython().run_cell_magic("pyprof", "-l 3 -s cpu_ns", "z = 5\\nhot(0.1)")
print("z", z, pyprof if "pyprof" in globals() else "unnamed")
get_ipython().run_line_magic("pyprof", "-Z 1")
''')
        code, out = outside(python3, folder, '-m', 'IPython', '--no-banner', '--colors=NoColor', 'cells.ipy')
        for word in ('self s  total s  function', 'pyprof: wrote out.svg', 'Profile hot 300 a -o b', 'z 5 unnamed', 'alloc bytes self', 'there is no option -Z'):
            bind.check(word in out, '%s: %s', word, out)
        bind.check(os.path.exists(os.path.join(folder, 'out.svg')), 'the file')


# --- examples/analyze_profile.py ------------------------------------------------------------------------------------

def analyzed(path, *options):
    script = os.path.join(os.path.dirname(bind.__file__), '..', '..', 'examples', 'analyze_profile.py')
    done = subprocess.run([sys.executable, script, path] + list(options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@bind.test
def analyzed_profiles():
    """What it prints of a .json is what Profile.top tells, of a .prof what pstats does."""
    import cProfile
    pyprof = module()

    def recursive(n):
        burn(0.002)
        return n and recursive(n - 1)
    with bind.folder() as folder:
        paths = [os.path.join(folder, name) for name in ('a.json', 'a.prof', 'c.json', 'm.json', 'd.json', 'own.prof')]
        with pyprof.profile(*paths[:2], rate=1000) as recording:
            recursive(20)
            burn(0.05)
        profile = pyprof.load(paths[0])
        profile.save(paths[2], compact=True)
        pyprof.merge([profile, profile]).save(paths[3])
        pyprof.diff(profile, pyprof.merge([profile, profile], as_one=True)).save(paths[4])
        for path in paths[0], paths[2], paths[3], paths[4]:
            code, out, told = analyzed(path, '--json', '--limit', '1000')
            bind.equal(code, 0, told)
            result = json.loads(out)[0]
            for key, by_total in ('by_self', False), ('by_total', True):
                found = {(row['name'], row['place']): row for row in result[key]}
                top = pyprof.load(path).top(1000, by_total=by_total)
                bind.check(len(top) > 1, 'rows')
                for row in top:
                    if row['kind'] != 'python':
                        continue
                    other = found.get((row['qualname'], '%s:%d' % (row['file'], row['line'])), {'self': 0, 'total': 0})
                    for what in 'self', 'total':
                        value = (row[what]['wall_ns'] - row[what]['wait_ns']) / 1e9
                        bind.check(abs(other[what] - value) < 1e-8, '%s %s: %r is not %r', path, row['qualname'], other, value)
        with cProfile.Profile() as own:
            recursive(3)
            json.dumps([1])
        own.dump_stats(paths[5])
        for path in paths[1], paths[5]:
            code, out, told = analyzed(path, '--json', '--limit', '1000')
            bind.equal(code, 0, told)
            rows = {(row['name'], row['place']): row for row in json.loads(out)[0]['by_total']}
            for (file, line, name), (_, calls, spent, total, _) in pstats.Stats(path).stats.items():
                row = rows.get((name, '%s:%d' % (file, line) if file != '~' and line else '' if file == '~' else file))
                bind.check(row or not (spent or total), '%r', (file, line, name))
                if row and file != '~':
                    bind.equal((row['calls'], row['self'], row['total']), (calls, spent, total), name)
        for path, word in (paths[3], '2 recordings as one'), (paths[4], 'all values are changes'), (paths[0], 'What calls'), (paths[5], 'Functions by calls'):
            code, out, told = analyzed(path)
            bind.check(code == 0 and word in out, '%s: %s%s', word, out, told)
        for words, message in (([paths[0], '--sort', 'calls'], 'calls were not counted'), ([paths[0], '--sort', 'fun'], 'has no fun: there are'),
                               ([folder + '/none'], 'cannot read'), ([__file__], 'neither a .prof file nor')):
            code, out, told = analyzed(*words)
            bind.check(code == 1 and message in told and 'Traceback' not in told, told)
        bind.equal(recording.profile.info()['heap'], 'off')


bind.run()
