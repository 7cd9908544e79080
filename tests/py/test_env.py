"""PROFILING=1 LD_PRELOAD=BUILD/libpyprof.so: unmodified programs write their files, and nothing happens without it."""
import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.dom.minidom

import bind

PRELOAD = os.path.join(bind.BUILD, 'libpyprof.so')
MEMORY = ['memory.svg', 'memory_final.txt', 'memory_snapshot.pkl', 'memory_snapshot.txt']
FILES = MEMORY + ['profile.json', 'profile.svg', 'profile.txt']

MAIN_S = bind.length(0.5, 0.2)
WORK = '''
import sys, threading, time
def leaf(end):
    while time.perf_counter() < end:
        pass
def work(seconds):
    leaf(time.perf_counter() + seconds)
def main(seconds=MAIN_S):
    thread = threading.Thread(target=work, args=(seconds,), name='worker')
    thread.start()
    work(seconds)
    thread.join()
'''.replace('MAIN_S', str(MAIN_S))


class Result:
    pass


def environment(**variables):
    env = {name: value for name, value in os.environ.items() if name != 'PROFILING' and not name.startswith('PYPROF_')}
    env.update({'LD_PRELOAD': PRELOAD, 'PROFILING': '1'})
    for name, value in variables.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env


def run(folder, body, arguments=(), program='app.py', timeout=30, command=(), **variables):
    """Runs body as a script named program in folder, profiled, with output files in folder/out. command stands before Python."""
    if not os.path.exists(PRELOAD):
        bind.skip('no %s (it is built from examples/preload.c)' % PRELOAD)
    script = os.path.join(folder, program)
    with open(script, 'w') as file:
        file.write(WORK + body)
    out = os.path.join(folder, 'out')
    os.makedirs(out, exist_ok=True)
    variables.setdefault('PYPROF_OUT', os.path.join(out, 'run'))
    process = subprocess.Popen(list(command) + [sys.executable, script] + list(arguments), env=environment(**variables), cwd=folder,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    result = Result()
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError('the program hangs: %r' % (process.communicate(),))
    result.code, result.out, result.err, result.pid = process.returncode, output.decode(), errors.decode('utf-8', 'replace'), process.pid
    result.files = sorted(os.listdir(out))
    return result


def expect(result, code=0, out='', files=None, err=None):
    story = 'exit code %r, stdout %r, stderr %r, files %r' % (result.code, result.out, result.err, result.files)
    bind.check(result.code == code, 'exit code %r expected: %s', code, story)
    bind.check(result.out == out, 'output %r expected: %s', out, story)
    if files is not None:
        bind.check(result.files == sorted(files), 'files %r expected: %s', files, story)
    if err is not None:
        bind.check(result.err == err, 'stderr %r expected: %s', err, story)


def all_files(prefix='run', names=FILES):
    return [prefix + '_' + name for name in names]


def read_json(folder, name='run_profile.json'):
    with open(os.path.join(folder, 'out', name), 'rb') as file:
        return bind.without_leaves(bind.strict_json(file.read()))


def check_files(folder, prefix='run'):
    """The files of a run of main() are whole and tell of it."""
    document = read_json(folder, prefix + '_profile.json')
    bind.check('app.leaf' in document['functions'], 'app.leaf is not among %r', sorted(document['functions'])[:20])
    bind.enough(document['stats']['samples'] > 10, 'samples: %r', document['stats'])
    with open(os.path.join(folder, 'out', prefix + '_profile.svg'), 'rb') as file:
        svg = file.read()
    xml.dom.minidom.parseString(svg)
    bind.enough(b'leaf' in svg, 'leaf is not in the SVG: it never ran')
    with open(os.path.join(folder, 'out', prefix + '_profile.txt'), encoding='utf-8') as file:
        bind.check('leaf' in file.read(), 'leaf is not in the text')
    for name in FILES:
        bind.equal(os.stat(os.path.join(folder, 'out', prefix + '_' + name)).st_mode & 0o777, 0o600, 'mode of ' + name)
    return document


@bind.test
def files_of_a_run():
    with bind.folder() as folder:
        result = run(folder, 'main()\nprint("done")\n')
        expect(result, 0, 'done\n', all_files())
        bind.check(str(result.pid) in result.err, 'the pid is not told: %r', result.err)
        document = check_files(folder)
        bind.equal(document['process_name'], 'app')
        bind.equal(document['pid'], result.pid)
        bind.equal(document['python'], bind.VERSION)
        bind.equal({thread['name'] for thread in document['threads']}, {'MainThread', 'worker'})
        bind.check('app.<module>' in document['functions'], 'app.<module>')
        total = document['functions']['app.main']['time']
        bind.check(0.6 * MAIN_S < total < 1.5, 'app.main took %r s', total)
        stacks = {tuple(sample['stack']) for sample in document['samples'] if sample['thread_id'] == result.pid}
        bind.check(('app.<module>', 'app.main', 'app.work', 'app.leaf') in stacks, 'stacks: %r', stacks)


@bind.test
def keys_of_the_json():
    with bind.folder() as folder:
        run(folder, 'main()\n')
        document = read_json(folder)
    for key in ('process_name', 'pid', 'python', 'samples', 'functions', 'frames', 'threads', 'tree', 'stats', 'format', 'version'):
        bind.check(key in document, 'no key %s', key)
    bind.equal((document['format'], document['version']), ('pyprof', 1))
    for sample in document['samples']:
        bind.check({'thread_id', 'stack', 'timestamp', 'count', 'wall_ns', 'lines', 'frames'} <= set(sample), 'sample %r', sample)
        bind.check(isinstance(sample['thread_id'], int) and isinstance(sample['timestamp'], float), 'sample %r', sample)
    for one in document['functions'].values():
        bind.check({'samples', 'time'} <= set(one), 'function %r', one)
    for frame in document['frames']:
        bind.check({'name', 'qualname', 'file', 'line', 'kind'} <= set(frame), 'frame %r', frame)
    for name, _ in bind.Stats._fields_:
        bind.check(name in document['stats'] or name == 'ended' or name.startswith('rate_'), 'no key %s in stats', name)


@bind.test
def off_means_off():
    body = 'import os\nprint(len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")))\n'
    with bind.folder() as folder:
        plain = run(folder, body, LD_PRELOAD=None, PROFILING=None)
        for value in (None, '', '0'):
            result = run(folder, body + 'main(0.05)\n', PROFILING=value)
            expect(result, 0, plain.out, [], '')


@bind.test
def off_means_off_with_other_variables():
    with bind.folder() as folder:
        result = run(folder, 'main(0.05)\n', PROFILING=None, PYPROF_RATE='abc', PYPROF_FORMATS='bogus')
        expect(result, 0, '', [], '')


@bind.test
def bad_values():
    """An error that names the variable; the program runs on, unprofiled, with its own exit code."""
    for name, value in (('PROFILING', '2'), ('PROFILING', 'yes please'), ('PYPROF_RATE', 'abc'), ('PYPROF_RATE', '-1'),
                        ('PYPROF_RATE', '1e9'), ('PYPROF_RATE', 'nan'), ('PYPROF_RATE', '100x'), ('PYPROF_FORMATS', 'bogus'),
                        ('PYPROF_FORMATS', 'json,bogus,svg'), ('PYPROF_INTERVAL', '-1'), ('PYPROF_INTERVAL', 'x'),
                        ('PYPROF_HEAP', 'maybe'), ('PYPROF_SOURCES', '2'), ('PYPROF_SOURCES', 'yes'), ('PYPROF_OPCODES', 'all'), ('PYPROF_QUIET', 'perhaps')):
        with bind.folder() as folder:
            result = run(folder, 'main(0.05)\nimport os\ntime.sleep(0.1)\nprint(len(os.listdir("/proc/self/task")))\nsys.exit(7)\n', **{name: value})
            if name == 'PYPROF_QUIET' and name not in result.err:
                continue   # any value may mean yes
            expect(result, 7, '1\n', [])
            bind.check(name in result.err, '%s=%s: %r does not name it', name, value, result.err)
            bind.equal(len(result.err.strip().split('\n')), 1, 'lines on stderr: %r' % result.err)


@bind.test
def rates():
    counts = {}
    for rate in ('50', '500'):
        with bind.folder() as folder:
            expect(run(folder, 'main(%g)\n' % bind.length(1, 0.6), PYPROF_RATE=rate), 0, '', all_files())
            counts[rate] = read_json(folder)['stats']['asked']
    bind.check(4 < counts['500'] / counts['50'] < 25, 'samples asked for: %r', counts)
    with bind.folder() as folder:
        result = run(folder, 'main(%g)\n' % bind.length(1, 0.6), PYPROF_RATE='auto', PYPROF_QUIET=None)
        stats = read_json(folder)['stats']
        bind.check(10 <= stats['rate_lowest'] <= stats['rate_now'] <= stats['rate_highest'] <= 10000 and stats['thinned'] == 0, '%r', stats)
        bind.check(' at as many Hz as the cost allows; ' in result.err, 'what is printed: %s', result.err)


@bind.test
def the_verdict_is_printed():
    """At the end, on stderr: what the main thread did; and a picture of memory is written. With PYPROF_QUIET there is only the picture."""
    for quiet in ('', '1'):
        with bind.folder() as folder:
            result = run(folder, 'main(0.5)\n', PYPROF_QUIET=quiet)
            expect(result, 0, '', all_files())
            lines = result.err.splitlines()
            wrote = [number for number, line in enumerate(lines) if line.startswith('pyprof: wrote ')]
            verdict = [number for number, line in enumerate(lines) if re.match(r'pyprof: MainThread [0-9.]+ m?s.*%', line)]
            bind.check(lines == [] if quiet else verdict and verdict[0] > max(wrote), 'stderr: %s', result.err)
            bind.check('</svg>' in report(folder, 'out/run_memory.svg') and 'bytes' in report(folder, 'out/run_memory.svg'), 'no picture of memory')
            told = report(folder).split('\n\n')[0].splitlines()
            bind.check(len(told) <= 24 and (quiet or lines[verdict[0]][8:60] in '\n'.join(told).replace('\n    ', ' ')), 'the report begins with %s', told)


@bind.test
def formats():
    for value, names in (('json', ['profile.json']), ('svg,json', ['profile.json', 'profile.svg']),
                         ('folded', ['profile.folded']), ('json,speedscope,pprof', ['profile.json', 'profile.speedscope.json', 'profile.pb.gz']),
                         ('txt', ['profile.txt'])):
        with bind.folder() as folder:
            result = run(folder, 'main(0.2)\n', PYPROF_FORMATS=value)
            if value == 'json,speedscope,pprof' and 'PYPROF_FORMATS' in result.err:   # named by their extensions, then
                result = run(folder, 'main(0.2)\n', PYPROF_FORMATS='json,speedscope.json,pb.gz')
            expect(result, 0, '', all_files(names=[name for name in MEMORY if name != 'memory.svg' or 'svg' in value] + names))


@bind.test
def sources():
    """Lines of source: by default in the text report, on request in the JSON, too, or nowhere."""
    body = 'main(0.3)   # a line to be seen\n'
    for value, text, document in ((None, True, False), ('0', False, False), ('1', True, True)):
        with bind.folder() as folder:
            expect(run(folder, body, PYPROF_SOURCES=value), 0, '', all_files())
            for name, wanted, what in (('json', document, '# a line to be seen'), ('txt', text, 'The hottest functions, line by line')):
                with open(os.path.join(folder, 'out', 'run_profile.' + name), encoding='utf-8') as file:
                    bind.equal(what in file.read(), wanted, '%s, PYPROF_SOURCES=%s' % (name, value))


@bind.test
def quiet():
    with bind.folder() as folder:
        expect(run(folder, 'main(0.2)\nprint("out")\n', PYPROF_QUIET='1'), 0, 'out\n', all_files(), '')


@bind.test
def where_files_go():
    """The default prefix: the system's folder for temporary files and the program's name."""
    with bind.folder() as folder:
        temp = os.path.join(folder, 'temp')
        os.mkdir(temp)
        expect(run(folder, 'main(0.2)\n', PYPROF_OUT=None, TMPDIR=temp), 0, '', [])
        bind.equal(sorted(os.listdir(temp)), all_files('app'))
    with bind.folder() as folder:   # relative to the folder it was started in
        expect(run(folder, 'import os\nos.chdir("/")\nmain(0.2)\n', PYPROF_OUT='here'), 0, '', [])
        bind.equal(sorted(name for name in os.listdir(folder) if name.startswith('here')), all_files('here'))


@bind.test
def second_run_replaces_the_first():
    with bind.folder() as folder:
        first = run(folder, 'main(0.2)\n')
        second = run(folder, 'main(0.2)\n')
        expect(second, 0, '', all_files())
        bind.equal(read_json(folder)['pid'], second.pid)
        bind.check(first.pid != second.pid)


@bind.test
def two_runs_at_once():
    if not os.path.exists(PRELOAD):
        bind.skip('no ' + PRELOAD)
    with bind.folder() as folder:
        results = []
        threads = [threading.Thread(target=lambda: results.append(run(folder, 'main(1)\n'))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bind.equal(len(results), 2)
        files = sorted(os.listdir(os.path.join(folder, 'out')))
        bind.equal(len(files), 2 * len(FILES), 'files %r' % files)
        pids = {read_json(folder, os.path.basename(path))['pid'] for path in glob.glob(os.path.join(folder, 'out', '*.json'))}
        bind.equal(pids, {result.pid for result in results}, 'the pids in the files')
        bind.check(set(all_files()) < set(files), 'files %r', files)
        more = [name for name in files if name not in all_files()]
        bind.check(any(all(name.startswith('run.%d_' % result.pid) for name in more) for result in results), 'names %r', more)


@bind.test
def child_processes_get_their_own():
    with bind.folder() as folder:
        result = run(folder, 'import subprocess\n'
                             'if len(sys.argv) == 1:\n'
                             '    child = subprocess.Popen([sys.executable, __file__, "child"])\n'
                             '    main(0.6)\n'
                             '    print(child.pid, child.wait())\n'
                             'else:\n'
                             '    main(0.3)\n    sys.exit(5)\n')
        child, code = result.out.split()
        bind.equal(code, '5', 'exit code of the child')
        expect(result, 0, result.out, all_files() + all_files('run.' + child))
        bind.equal(check_files(folder)['pid'], result.pid)
        bind.equal(check_files(folder, 'run.' + child)['pid'], int(child))


@bind.test
def children_after_each_other_and_grandchildren():
    with bind.folder() as folder:
        result = run(folder, 'import subprocess\n'
                             'n = int(sys.argv[1]) if len(sys.argv) > 1 else 0\n'
                             'main(0.1)\n'
                             'if n < 2:\n'
                             '    for i in range(2):\n'
                             '        assert not subprocess.call([sys.executable, __file__, str(n + 1)])\n')
        expect(result, 0, '')
        documents = [read_json(folder, os.path.basename(path)) for path in glob.glob(os.path.join(folder, 'out', '*.json'))]
        bind.equal(len(documents), 7, 'files %r' % result.files)
        bind.equal(len({document['pid'] for document in documents}), 7, 'pids')
        bind.equal(read_json(folder)['pid'], result.pid, 'the first one has the plain name')


@bind.test
def forked_children():
    """They write nothing over their parent's files."""
    with bind.folder() as folder:
        result = run(folder, 'import os\n'
                             'main(0.2)\n'
                             'pids = []\n'
                             'for i in range(3):\n'
                             '    pid = os.fork()\n'
                             '    if not pid:\n'
                             '        main(0.1)\n'
                             '        if i == 0: os._exit(3)\n'
                             '        sys.exit(3)\n'
                             '    pids.append(pid)\n'
                             'codes = [os.waitpid(pid, 0)[1] >> 8 for pid in pids]\n'
                             'main(0.2)\n'
                             'print(codes)\n')
        expect(result, 0, '[3, 3, 3]\n')
        bind.equal(check_files(folder)['pid'], result.pid)
        bind.check(set(all_files()) <= set(result.files), 'files %r', result.files)
        for name in set(result.files) - set(all_files()):
            bind.check(name.split('.')[1].split('_')[0].isdigit(), 'file %s', name)


@bind.test
def multiprocessing():
    for method in ('fork', 'spawn'):
        with bind.folder() as folder:
            result = run(folder, 'import multiprocessing\n'
                                 'if __name__ == "__main__":\n'
                                 '    main(0.1)\n'
                                 '    context = multiprocessing.get_context(%r)\n'
                                 '    with context.Pool(2) as pool:\n'
                                 '        print(pool.map(abs, range(-3, 0)))\n' % method)
            expect(result, 0, '[3, 2, 1]\n')
            bind.equal(read_json(folder)['pid'], result.pid)


@bind.test
def own_exit_codes():
    with bind.folder() as folder:
        expect(run(folder, 'main(0.2)\nsys.exit(3)\n'), 3, '', all_files())
        check_files(folder)
    with bind.folder() as folder:
        result = run(folder, 'main(0.2)\nraise ValueError("uncaught")\n')
        expect(result, 1, '', all_files())
        bind.check('ValueError: uncaught' in result.err, result.err)
        check_files(folder)
    with bind.folder() as folder:
        expect(run(folder, 'main(0.2)\nsys.exit("a message")\n', PYPROF_QUIET='1'), 1, '', all_files(), 'a message\n')


@bind.test
def leaving_in_a_hurry():
    """os._exit and signals: the program's own end; files are there whole or not at all."""
    for body, code in (('import os; os._exit(4)', 4), ('import os; os.kill(os.getpid(), 9)', -9),
                       ('import os; os.kill(os.getpid(), 15)', -15), ('import os; os.abort()', -6)):
        with bind.folder() as folder:
            result = run(folder, 'main(0.2)\n%s\n' % body)
            bind.equal(result.code, code, body)
            for name in result.files:
                bind.check(name in all_files(), 'a file %s is left after %s', name, body)
            if result.files:
                check_files(folder)


@bind.test
def with_daemon_threads_at_the_end():
    with bind.folder() as folder:
        result = run(folder, 'for i in range(4):\n'
                             '    threading.Thread(target=work, args=(100,), daemon=True).start()\n'
                             'main(0.3)\n'
                             'sys.exit(6)\n')
        expect(result, 6, '', all_files())
        check_files(folder)


@bind.test
def exit_from_another_thread():
    with bind.folder() as folder:
        result = run(folder, 'import ctypes\n'
                             'main(0.2)\n'
                             'threading.Thread(target=lambda: ctypes.CDLL(None).exit(9)).start()\n'
                             'time.sleep(10)\n')
        bind.equal(result.code, 9)
        bind.check(result.files in ([], all_files()), 'files %r', result.files)


@bind.test
def a_program_replaced_by_exec():
    with bind.folder() as folder:
        result = run(folder, 'import os\nmain(0.1)\n'
                             'if len(sys.argv) == 1: os.execv(sys.executable, [sys.executable, __file__, "again"])\n'
                             'print("second")\n')
        expect(result, 0, 'second\n')
        documents = [read_json(folder, os.path.basename(path)) for path in glob.glob(os.path.join(folder, 'out', '*.json'))]
        bind.check(documents and documents[0]['pid'] == result.pid, 'files %r', result.files)


@bind.test
def unwritable_folder():
    with bind.folder() as folder:
        prefix = os.path.join(folder, 'nowhere', 'run')
        result = run(folder, 'main(0.2)\nprint("ran")\nsys.exit(8)\n', PYPROF_OUT=prefix)
        expect(result, 8, 'ran\n', [])
        bind.check(prefix in result.err and 'No such file' in result.err, 'stderr %r', result.err)
        bind.check(not os.path.exists(os.path.join(folder, 'nowhere')), 'a folder was made')


@bind.test
def files_of_somebody_else():
    """A target that belongs to somebody else is not touched: the run adds its pid."""
    if os.getuid():
        bind.skip('needs root')
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, 'out'))
        path = os.path.join(folder, 'out', 'run_profile.json')
        with open(path, 'w') as file:
            file.write('theirs')
        os.chown(path, 65534, 65534)
        result = run(folder, 'main(0.2)\n')
        expect(result, 0, '')
        with open(path) as file:
            bind.equal(file.read(), 'theirs')
        bind.check('run.%d_profile.json' % result.pid in result.files, 'files %r', result.files)


@bind.test
def symbolic_link_in_the_way():
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, 'out'))
        with open(os.path.join(folder, 'precious'), 'w') as file:
            file.write('precious')
        os.symlink(os.path.join(folder, 'precious'), os.path.join(folder, 'out', 'run_profile.json'))
        result = run(folder, 'main(0.2)\nsys.exit(2)\n')
        bind.equal(result.code, 2)
        with open(os.path.join(folder, 'precious')) as file:
            bind.equal(file.read(), 'precious')


@bind.test
def programs_without_python():
    for command, code, out in ((['true'], 0, ''), (['false'], 1, ''), (['sh', '-c', 'echo x; exit 3'], 3, 'x\n'),
                               (['cat', '/dev/null'], 0, ''), (['env', 'echo', 'y'], 0, 'y\n')):
        if not os.path.exists(PRELOAD):
            bind.skip('no ' + PRELOAD)
        with bind.folder() as folder:
            process = subprocess.run(command, env=environment(PYPROF_OUT=os.path.join(folder, 'run'), TMPDIR=folder),
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            bind.equal((process.returncode, process.stdout.decode(), process.stderr.decode(), os.listdir(folder)),
                       (code, out, '', []), ' '.join(command))


@bind.test
def python_started_by_a_shell():
    with bind.folder() as folder:
        run(folder, '')   # writes app.py
        for name in os.listdir(os.path.join(folder, 'out')):
            os.unlink(os.path.join(folder, 'out', name))
        with open(os.path.join(folder, 'app.py'), 'a') as file:
            file.write('main(0.2)\n')
        process = subprocess.run(['sh', '-c', '"%s" app.py; echo $?' % sys.executable], cwd=folder, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=environment(PYPROF_OUT=os.path.join(folder, 'out', 'run')))
        bind.equal(process.stdout, b'0\n')
        bind.equal(sorted(os.listdir(os.path.join(folder, 'out'))), all_files())


@bind.test
def short_programs():
    """python -c pass: nothing to tell is no error."""
    for arguments in (['-c', 'pass'], ['-S', '-E', '-c', 'pass'], ['--version'], ['-c', 'import sys; sys.exit(9)'], ['-m', 'this']):
        if not os.path.exists(PRELOAD):
            bind.skip('no ' + PRELOAD)
        with bind.folder() as folder:
            process = subprocess.run([sys.executable] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     env=environment(PYPROF_OUT=os.path.join(folder, 'run')), timeout=30)
            bind.equal(process.returncode, 9 if '9' in arguments[-1] else 0, 'exit code of %r: %r' % (arguments, process.stderr))
            for name in os.listdir(folder):
                bind.check(name in all_files(), 'file %s', name)
                bind.check(os.path.getsize(os.path.join(folder, name)) > 0, 'file %s is empty', name)


@bind.test
def names_of_programs():
    for program, name in (('my tool.py', 'my tool'), ('no_extension', 'no_extension'), ('caf\u00e9.py', 'caf\u00e9')):
        with bind.folder() as folder:
            temp = os.path.join(folder, 'temp')
            os.mkdir(temp)
            result = run(folder, 'main(0.2)\n', program=program, PYPROF_OUT=None, TMPDIR=temp, PYTHONUTF8='1')
            expect(result, 0, '')
            bind.equal(sorted(os.listdir(temp)), sorted(all_files(name)))


@bind.test
def python_m():
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, 'pkg'))
        run(folder, '')
        for name in os.listdir(os.path.join(folder, 'out')):
            os.unlink(os.path.join(folder, 'out', name))
        with open(os.path.join(folder, 'pkg', '__main__.py'), 'w') as file:
            file.write(WORK + 'main(0.3)\n')
        process = subprocess.run([sys.executable, '-m', 'pkg'], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=environment(PYPROF_OUT=os.path.join(folder, 'out', 'run')))
        bind.equal(process.returncode, 0)
        document = read_json(folder)
        bind.check('pkg.leaf' in document['functions'], 'functions %r', sorted(document['functions'])[:10])


@bind.test
def a_closed_stderr():
    with bind.folder() as folder:
        run(folder, 'main(0.2)\nopen("victim", "w").write("x")\n')
        for name in os.listdir(os.path.join(folder, 'out')):
            os.unlink(os.path.join(folder, 'out', name))
        process = subprocess.run(['sh', '-c', '"%s" app.py 2>&- >&- <&-; exit $?' % sys.executable], cwd=folder,
                                 env=environment(PYPROF_OUT=os.path.join(folder, 'out', 'run')))
        bind.equal(process.returncode, 0)
        bind.equal(sorted(os.listdir(os.path.join(folder, 'out'))), all_files())
        with open(os.path.join(folder, 'victim')) as file:
            bind.equal(file.read(), 'x', 'a file that got descriptor 2')
        check_files(folder)


@bind.test
def standard_streams_that_are_closed():
    """Nothing of ours takes their places: Python sees them closed, the program's own files get the same numbers, also with few allowed."""
    body = ('import os, resource, sys, time\n'
            'if __name__ == "__main__": main(0.15)\n'
            'print("to standard output")\n'
            'own = [os.open("app.py", os.O_RDONLY) for i in range(%d)]\n'
            'fds = []\n'
            'for fd in range(%d):\n'
            '    try: fds.append((fd, os.readlink("/proc/self/fd/%%d" %% fd)))\n'
            '    except OSError: pass\n'
            'fds = [one for one in fds if os.path.abspath("out") not in one[1]]   # after 1 s what there is may just be written\n'
            'open("seen", "w").write(repr((sys.stdin is None, sys.stdout is None, sys.stderr is None, own, fds)))\n')
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, 'out'))
        for limit, closed in (1024, '>&-'), (1024, '<&- >&- 2>&-'), (100, '>&-'):
            seen = []
            for variables in dict(PROFILING=None, LD_PRELOAD=None), dict(PYPROF_OUT=os.path.join(folder, 'out', 'run')):
                with open(os.path.join(folder, 'app.py'), 'w') as file:
                    file.write(WORK + body % ((3, 200) if limit > 200 else (1, 3)))   # few: ours are low, too
                command = 'exec "$0" app.py </dev/null >/dev/null 2>/dev/null %s' % closed
                process = subprocess.run(['sh', '-c', 'ulimit -n %d; %s' % (limit, command), sys.executable], cwd=folder,
                                         env=environment(**variables))
                with open(os.path.join(folder, 'seen')) as file:
                    seen.append((process.returncode, file.read()))
                os.unlink(os.path.join(folder, 'seen'))
            bind.equal(seen[1], seen[0], '%s: profiled and not' % closed)
            check_files(folder)


@bind.test
def files_that_go_elsewhere_claim_one_name():
    """The claim of the name that cannot be written is given up."""
    body = ('import os\n'
            'def targets():\n'
            '    for fd in os.listdir("/proc/self/fd"):\n'
            '        try: yield os.readlink("/proc/self/fd/" + fd)\n'
            '        except OSError: pass\n'
            'print(sum(target.startswith("socket:") for target in targets()))\n')
    with bind.folder() as folder:
        os.mkdir(os.path.join(folder, 'elsewhere'))
        done = run(folder, body, PYPROF_OUT=os.path.join(folder, 'nowhere', 'run'), TMPDIR=os.path.join(folder, 'elsewhere'))
        bind.equal(done.out.strip(), '1', 'sockets')


@bind.test
def the_program_is_not_disturbed():
    """Its own threads, descriptors, signals and output are as without; only one more thread."""
    body = ('import os, signal\n'
            'main(0.1)\n'
            'def status(): return [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigCgt", "SigIgn"))]\n'
            'print(status(), sorted(os.environ.get(name, "") for name in ("HOME", "PATH")), signal.getsignal(signal.SIGPROF))\n'
            'print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3])\n')
    with bind.folder() as folder:
        plain = run(folder, body, LD_PRELOAD=None, PROFILING=None)
        profiled = run(folder, body)
        bind.equal(profiled.out, plain.out)


# --- rights given up on the way, and clocks from outside -----------------------------------------------------------

WAITS = '''
import os, socket
a, b = socket.socketpair()
def reader():
    a.recv(1)
def sleeper():
    time.sleep(0.6)
def run():
    threads = [threading.Thread(target=f, name=f.__name__) for f in (reader, sleeper)]
    for thread in threads: thread.start()
    work(0.6)
    b.send(b'x')
    for thread in threads: thread.join()
'''
FAKETIME = glob.glob('/usr/lib/*/faketime/libfaketime.so.1') + glob.glob('/usr/lib*/faketime/libfaketime.so.1')


def report(folder, name='out/run_profile.txt'):
    with open(os.path.join(folder, name), encoding='utf-8') as file:
        return file.read()


def waited(text, leaf, place):
    """Did the report's function `place` wait for that?"""
    return re.search(r'\[%s\]( .*)?\s%s\s' % (re.escape(leaf), place), text)


def thread_row(text, name):
    """Seconds of wall time, CPU, running..., idle of a thread in the report; '-' is 0."""
    rows = re.findall(r'^((?: +(?:[0-9.]+ s|-)){9})   %s \(' % name, text, re.M)
    bind.equal(len(rows), 1, 'rows of %s in %s' % (name, text))
    return [0.0 if field == '-' else float(field[:-2]) for field in re.findall(r'[0-9.]+ s|-', rows[0])]


def open_folder(folder):
    """Whoever the program becomes can write there."""
    os.makedirs(os.path.join(folder, 'out'), exist_ok=True)
    for path in (folder, os.path.join(folder, 'out')):
        os.chmod(path, 0o777)


def as_root():
    if os.geteuid() != 0:
        bind.skip('needs root')


def unshare(*options):
    """The command before a program that gives it namespaces of its own."""
    command = ['unshare'] + list(options)
    if not shutil.which('unshare') or subprocess.run(command + ['true'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        bind.skip('cannot: ' + ' '.join(command))
    return command


@bind.test
def after_setuid():
    as_root()
    with bind.folder() as folder:
        open_folder(folder)
        result = run(folder, WAITS + 'os.setgid(65534); os.setuid(65534); run()\n')
        expect(result, 0, '', all_files())
        text = report(folder)
        bind.check('the process gave up its rights (setuid, PR_SET_DUMPABLE): what threads wait for is told by the kernel\'s function' in
                   read_json(folder)['stats']['degraded'], 'degraded: %s', text)
        bind.check(waited(text, 'recv', 'reader') and '[sleep]' in text, 'waits: %s', text)
        reader, sleeper = thread_row(text, 'reader'), thread_row(text, 'sleeper')
        bind.check(reader[2] < 0.1 and reader[5] > 0.4 and reader[8] < 0.1, 'reader waits: %s', text)
        bind.check(sleeper[2] < 0.1 and sleeper[8] > 0.4, 'sleeper is idle: %s', text)


@bind.test
def in_a_chroot():
    as_root()
    with bind.folder() as folder:
        open_folder(folder)
        os.makedirs(folder + '/jail' + folder + '/out')
        # The end of a thread loads libgcc_s up to 3.10; join does not wait for that.
        ended = ('one = threading.Thread(target=int); one.start(); one.join()\n'
                 'end = time.monotonic() + 10\n'
                 'while sys.version_info < (3, 11) and "libgcc_s" not in open("/proc/self/maps").read() and time.monotonic() < end: time.sleep(0.01)\n')
        result = run(folder, WAITS + ended + 'os.chroot(%r); run()\n' % (folder + '/jail'))
        bind.equal(result.code, 0, result.err)
        text = report(folder + '/jail' + folder)
        bind.check(text.startswith('app, pid '), 'the name: %s', text)
        bind.check('Degraded' not in text, 'degraded: %s', text)
        bind.check(waited(text, 'recv unix', 'reader'), 'reader: %s', text)
        bind.check(re.search(r'; [1-9][0-9]* threads at the end', text) and 'resident: ' in text, 'the process: %s', text)


def blind(folder, command, words):
    """Of a run where nothing of threads can be read."""
    open_folder(folder)
    result = run(folder, WAITS + 'run()\n', command=command)
    expect(result, 0, '', all_files())
    text = report(folder)
    bind.check(words in read_json(folder)['stats']['degraded'], 'degraded: %s', text)
    bind.check(thread_row(text, 'reader')[2] < 0.1, 'reader does not run: %s', text)
    bind.check(not waited(text, 'recv unix', 'reader'), 'reader: %s', text)
    return text


@bind.test
def without_proc():
    as_root()
    with bind.folder() as folder:
        text = blind(folder, unshare('--mount') + ['sh', '-c', 'mount -t tmpfs none /proc && exec "$@"', 'sh'],
                     '/proc cannot be reached: what threads wait for is unknown')
        bind.check('number of threads not known' in text and 'resident: ' not in text, 'the process: %s', text)


@bind.test
def with_the_proc_of_another_pid_namespace():
    as_root()
    with bind.folder() as folder:
        blind(folder, unshare('--pid', '--fork'), '/proc is that of another pid namespace: what threads wait for is unknown')


@bind.test
def time_namespace():
    as_root()
    with bind.folder() as folder:
        expect(run(folder, 'main()\n', command=unshare('--time', '--monotonic', '100000', '--boottime', '100000', '--fork')), 0, '', all_files())
        stats = check_files(folder)['stats']
        bind.check(stats['gap_ns'] == 0, 'a gap: %r', stats)


@bind.test
def time_is_faked():
    if not FAKETIME:
        bind.skip('no libfaketime (apt-get install faketime)')
    body = 'import os\nend = os.times()[0] + 0.5\nwhile os.times()[0] < end: sum(range(1000))\ntime.sleep(0.01)\n'   # a clock that is true
    for first in (True, False):
        preload = ':'.join([PRELOAD] + FAKETIME[:1] if first else FAKETIME[:1] + [PRELOAD])
        for fake in bind.length(('+10d x5', '-10y', '+1d x0.1'), ('-10y',) if first else ('+10d x5', '+1d x0.1')):
            with bind.folder() as folder:
                begin, unix = time.monotonic(), time.time()
                expect(run(folder, body, LD_PRELOAD=preload, FAKETIME=fake), 0, '', all_files())
                took = time.monotonic() - begin
                document = read_json(folder)
                stats, total = document['stats'], document['functions']['app.<module>']['time']
                bind.check(stats['samples'] > 10, '%s, %s: %r', preload, fake, stats)
                bind.check(0.4 < total < took, '%s: %r s of %r s', fake, total, took)
                bind.check(stats['gap_ns'] == 0, '%s: a gap: %r', fake, stats)
                bind.check(unix - 1 < document['samples'][0]['timestamp'] < unix + took + 1, '%s: at %r', fake, document['samples'][0])


# --- names, words, streams ------------------------------------------------------------------------------------------

def together(cases):
    """Runs main() side by side, each in a folder of its own: {name: variables}. Returns {name: (folder, result)}."""
    found, failed = {}, []
    top = tempfile.mkdtemp(prefix='pyprof-test-')

    def one(name, variables):
        folder = os.path.join(top, name)
        try:
            os.mkdir(folder)
            os.mkdir(os.path.join(folder, 'temp'))
            variables = {key: value.replace('{}', folder) if value else value for key, value in variables.items()}
            body = variables.pop('body', 'main(0.1)\n')
            found[name] = folder, run(folder, body, timeout=50, **dict({'TMPDIR': os.path.join(folder, 'temp')}, **variables))
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=one, args=case) for case in cases.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        shutil.rmtree(top)
        raise failed[0]
    return top, found


def tree(folder):
    """The files below, without the script's."""
    return sorted(os.path.relpath(os.path.join(path, name), folder) for path, _, names in os.walk(folder) for name in names if name != 'app.py')


@bind.test
def output_folders_and_names():
    """PYPROF_OUT: a folder, a prefix or one file; %p, %t and %h in it."""
    top, found = together({
        'folder': {'PYPROF_OUT': '{}/temp/'}, 'there': {'PYPROF_OUT': '{}/temp'}, 'prefix': {'PYPROF_OUT': '{}/temp/x.y'},
        'svg': {'PYPROF_OUT': '{}/one.svg'}, 'json': {'PYPROF_OUT': 'here.json'}, 'filled': {'PYPROF_OUT': '{}/%p-%t-%h-%%', 'PYPROF_FORMATS': 'txt'},
        'letter': {'PYPROF_OUT': '{}/%x'}, 'hidden': {'PYPROF_OUT': '{}/temp/.json', 'PYPROF_FORMATS': 'json', 'PYPROF_HEAP': 'off'}})
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, top)
        files = {name: tree(folder) for name, (folder, _) in found.items()}
        bind.equal(files['folder'], sorted('temp/app_' + name for name in FILES))
        bind.equal(files['there'], sorted('temp/app_' + name for name in FILES))
        bind.equal(files['prefix'], sorted('temp/x.y_' + name for name in FILES))
        bind.equal((files['svg'], files['json']), (['one.svg'], ['here.json']))
        bind.equal(len(files['filled']), 4)
        host = re.escape(os.uname().nodename)
        for name in files['filled']:
            bind.check(re.match(r'%d-20\d{6}-\d{6}-%s-%%_(profile\.txt|memory_)' % (found['filled'][1].pid, host), name), 'name %s', name)
        expect(found['letter'][1], 0, '', [])
        bind.equal(files['letter'], [])
        lines = found['letter'][1].err.splitlines()
        bind.check(len(lines) == 1 and all(word in lines[0] for word in ('PYPROF_OUT', '%x', '%p (pid)', 'unprofiled')), '%r', lines)
        bind.check(all(not os.path.basename(name).startswith('.') or 'temp/.json' in name for name in files['hidden']) and files['hidden'], '%r', files['hidden'])
        with open(os.path.join(found['json'][0], 'here.json'), 'rb') as file:
            bind.check('app.leaf' in bind.strict_json(file.read())['functions'], 'here.json')


@bind.test
def streams():
    """Written once, at the end, in the first of the formats."""
    top, found = together({'stdout': {'PYPROF_OUT': '/dev/stdout', 'body': 'print("first", flush=True)\nmain(0.3)\n', 'PYPROF_FORMATS': 'json,txt'},
                           'dash': {'PYPROF_OUT': '-', 'PYPROF_FORMATS': 'txt'}, 'null': {'PYPROF_OUT': '/dev/null'}})
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, top)
        for name, (folder, result) in found.items():
            bind.equal((result.code, tree(folder)), (0, []), '%s: %s' % (name, result.err))
        first, rest = found['stdout'][1].out.split('\n', 1)
        bind.equal(first, 'first')
        bind.enough('app.leaf' in bind.strict_json(rest.encode())['functions'], '%r', rest[:300])
        bind.equal(found['dash'][1].out.count('app, pid '), 1, found['dash'][1].out)
        bind.equal(found['null'][1].out, '')


@bind.test
def a_pipe_with_a_reader():
    with bind.folder() as folder:
        path, got = os.path.join(folder, 'pipe'), []
        os.mkfifo(path)

        def read():
            with open(path, 'rb') as file:
                got.append(file.read())
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        result = run(folder, 'main(0.1)\n', PYPROF_OUT=path, PYPROF_FORMATS='json', TMPDIR=folder)
        expect(result, 0, '', [])
        bind.equal((tree(folder), result.err.splitlines()[1]), (['pipe'], 'pyprof: wrote ' + path))
        reader.join(20)
        bind.check(got and 'app.leaf' in bind.strict_json(got[0])['functions'], 'read: %r', got)


@bind.test
def files_that_cannot_be_written():
    """The reason and the new place are told at the start, and the place at the end."""
    os.umask(0o077)
    with bind.folder() as precious:
        path = os.path.join(precious, 'file')
        with open(path, 'w') as file:
            file.write('precious')
        os.symlink(path, os.path.join(precious, 'run_profile.json'))
        os.symlink(path, os.path.join(precious, 'one.json'))
        top, found = together({'link': {'PYPROF_OUT': precious + '/run'}, 'nowhere': {'PYPROF_OUT': '{}/nowhere/run'}, 'one': {'PYPROF_OUT': precious + '/one.json'},
                               'new': {'PYPROF_OUT': '{}/new/'}, 'device': {'PYPROF_OUT': '/dev/full/x'}})
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, top)
            for name, reason in (('link', 'symbolic link'), ('one', 'symbolic link'), ('nowhere', 'No such file'), ('new', 'No such file')):
                folder, result = found[name]
                bind.equal(result.code, 0, name)
                lines = result.err.splitlines()
                files = tree(folder)
                bind.check(files and all(file.startswith('temp/app') for file in files), '%s: %r; %s', name, files, result.err)
                bind.check(any(reason in line and folder + '/temp/app' in line for line in lines[:2]), '%s: the start: %r', name, lines)
                bind.check(any('wrote %s/temp/app' % folder in line for line in lines[2:]), '%s: the end: %r', name, lines)
            with open(path) as file:
                bind.equal(file.read(), 'precious')
            bind.equal(sorted(os.listdir(precious)), ['file', 'one.json', 'run_profile.json'])


@bind.test
def words_that_switch_it_on_and_off():
    body = ('import glob, os\nmain(0.05)\n'
            'print(any(open(path).read() == "pyprof\\n" for path in glob.glob("/proc/self/task/*/comm") if os.path.exists(path)))\n')
    yes = [{'PROFILING': word} for word in ('true', 'yes', 'on', 'TRUE')]
    top, found = together({'%d' % i: dict(variables, body=body, PYPROF_FORMATS=formats, PYPROF_QUIET='1', PYPROF_HEAP='off') for i, (variables, formats)
                           in enumerate(zip(yes, ('json, svg', '.svg', ' .json , .txt ', 'txt')))})
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, top)
        for (name, (folder, result)), files in zip(sorted(found.items()), (['json', 'svg'], ['svg'], ['json', 'txt'], ['txt'])):
            expect(result, 0, 'True\n', ['run_profile.' + file for file in files], '')
    top, found = together({word: {'PROFILING': word, 'body': body} for word in ('no', 'off', 'False')})
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, top)
        for _, result in found.values():
            expect(result, 0, 'False\n', [], '')


@bind.test
def names_of_variables():
    """One that nobody reads is told, with the one that was meant. PYPROF_MAX_CPU bounds what sampling costs."""
    top, found = together({'unknown': {'PYPROF_FORMAT': 'json', 'PYPROF_OUTPUT': 'x', 'PYPROF_HAEP': 'off'},
                           'bound': {'PYPROF_MAX_CPU': '0.001', 'PYPROF_RATE': '5000', 'PYPROF_HEAP': 'off', 'body': 'main(0.5)\n'},
                           'short': {'PYPROF_TIMELINE': '0.2', 'body': 'main(0.5)\n'}, 'bad': {'PYPROF_MAX_CPU': 'much'}, 'formats': {'PYPROF_FORMATS': 'png'}})
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, top)
        for name, meant in (('FORMAT', 'FORMATS'), ('OUTPUT', 'OUT'), ('HAEP', 'HEAP')):
            bind.check('PYPROF_%s is no variable of pyprof: PYPROF_%s?' % (name, meant) in found['unknown'][1].err, '%s: %s', name, found['unknown'][1].err)
        expect(found['unknown'][1], 0, '', all_files())
        bind.check(found['bound'][1].files, 'stderr: %s', found['bound'][1].err)
        stats = read_json(found['bound'][0])['stats']
        bind.check(stats['thinned'] > 0 and 'max_cpu' in stats['degraded'], '%r', stats)
        bind.equal(read_json(found['short'][0])['timeline_s'], 0.2, 'PYPROF_TIMELINE')
        expect(found['bad'][1], 0, '', [])
        bind.check('PYPROF_MAX_CPU=much' in found['bad'][1].err, found['bad'][1].err)
        bind.check(all(word in found['formats'][1].err for word in ('png', 'json', 'svg', 'pb.gz')), found['formats'][1].err)


# --- switched while it runs -------------------------------------------------------------------------------------------

TRIGGERED = '''
import os
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
def before(): burn(0.3)
def during(): burn(0.3)
def after(): burn(0.3)
def tell(word):
    print(word, flush=True)
    sys.stdin.readline()
'''


def triggered(folder, body):
    """A program that starts idle. It says when it waits for the test."""
    run(folder, '', PROFILING='0')
    with open(os.path.join(folder, 'app.py'), 'w') as file:
        file.write(WORK + TRIGGERED + body)
    process = subprocess.Popen([sys.executable, 'app.py'], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                               env=environment(PROFILING='wait', PYPROF_TRIGGER='trigger', PYPROF_OUT='out/run', PYPROF_FORMATS='json', PYPROF_HEAP='off'))
    return process


def told(process, words):
    """Reads its stderr up to a line with these words."""
    lines = []
    while not lines or words not in lines[-1]:
        lines.append(process.stderr.readline().decode())
        bind.check(lines[-1], 'it ended: %r', lines)
    return lines


def wait_for(process, word):
    bind.equal(process.stdout.readline().decode().strip(), word)


def pull(folder, word):
    with open(os.path.join(folder, 'trigger.new'), 'w') as file:
        file.write(word + '\n')
    os.rename(os.path.join(folder, 'trigger.new'), os.path.join(folder, 'trigger'))


@bind.test
def switched_by_a_file():
    with bind.folder() as folder:
        with open(os.path.join(folder, 'trigger'), 'w') as file:
            file.write('start\n')   # it is old
        process = triggered(folder, 'before()\ntell("before")\nduring()\ntell("during")\nafter()\ntell("after")\n')
        try:
            bind.check('idle' in ''.join(told(process, 'idle until it is told to start: echo start >%s/trigger' % folder)), 'the start')
            wait_for(process, 'before')
            pull(folder, 'start')
            told(process, 'pid %d: start' % process.pid)
            process.stdin.write(b'\n')
            wait_for(process, 'during')
            pull(folder, 'dump')
            told(process, 'pid %d: dump' % process.pid)
            names = read_json(folder)['functions']
            bind.check('app.during' in names and 'app.before' not in names, 'dumped: %r', names)
            pull(folder, 'begin')
            bind.check('start, stop, dump or reset' in told(process, 'begin')[-1], 'a wrong word')
            pull(folder, 'reset')
            told(process, 'pid %d: reset' % process.pid)
            process.stdin.write(b'\n')
            wait_for(process, 'after')
            pull(folder, 'stop')
            told(process, 'pid %d: stop' % process.pid)
            names = read_json(folder)['functions']
            bind.check('app.after' in names and 'app.during' not in names, 'after the reset: %r', names)
            process.stdin.write(b'\n')
            out, err = process.communicate(timeout=40)
            bind.equal((process.returncode, out), (0, b''), err)
            bind.check('app.after' in read_json(folder)['functions'], 'at the end')
        finally:
            process.kill()
            process.communicate()


@bind.test
def idle_to_the_end():
    """Never told to start: no profile, or one that says that nothing was asked for."""
    with bind.folder() as folder:
        process = triggered(folder, 'before()\n')
        out, err = process.communicate(timeout=40)
        bind.equal((process.returncode, out), (0, b''), err)
        for name in os.listdir(os.path.join(folder, 'out')):
            bind.equal(read_json(folder, name)['stats']['samples'], 0, name)


@bind.test
def resumed_by_the_host():
    """PROFILING=wait of a program that calls pyprof_start_from_env itself, and pyprof_resume."""
    with bind.folder() as folder:
        script = os.path.join(folder, 'own.py')
        with open(script, 'w') as file:
            file.write('import ctypes, sys, time\n'
                       'sys.argv = ["x", %r]\n'
                       'sys.path.insert(0, %r)\n'
                       'import bind\n' % (bind.BUILD, os.path.dirname(os.path.abspath(__file__))) + TRIGGERED +
                       'session = ctypes.c_void_p()\n'
                       'bind.equal(bind.released.pyprof_start_from_env(ctypes.byref(session)), 0)\n'
                       'before()\n'
                       'bind.equal(bind.released.pyprof_resume(session), 0)\n'
                       'during()\n'
                       'bind.equal(bind.released.pyprof_pause(session), 0)\n'
                       'after()\n')
        process = subprocess.run([sys.executable, script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50,
                                 env=environment(LD_PRELOAD=None, PROFILING='wait', PYPROF_OUT='run', PYPROF_HEAP='off', PYPROF_FORMATS='json'))
        bind.equal(process.returncode, 0, process.stderr)
        bind.check(b'idle until it is told to start' in process.stderr, '%r', process.stderr)
        with open(os.path.join(folder, 'run_profile.json'), 'rb') as file:
            names = bind.strict_json(file.read())['functions']
        bind.check('own.during' in names and 'own.before' not in names and 'own.after' not in names, '%r', names)


if __name__ == '__main__':
    bind.run()
