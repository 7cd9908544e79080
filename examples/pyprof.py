"""Profiles Python code with pyprof.h, inside its process. Around the extension module _pyprof (04_module.c).

    import pyprof
    with pyprof.profile("out.svg", "out.json", heap="sampled"): work()
    @pyprof.profile("out.svg")                  # functions, generators, async functions

    python -m pyprof -o out.svg app.py ARGS     # or: -m module ARGS, -c code ARGS
    %load_ext pyprof                            # IPython: %pyprof, %%pyprof

See docs/python-module.md.
"""
import atexit
import functools
import inspect
import os
import sys
import threading
import warnings

import _pyprof
from _pyprof import Error, Profile, Session, __version__, diff, dump, load, merge, start

__all__ = ['Error', 'Profile', 'Session', 'Table', 'diff', 'dump', 'load', 'merge', 'profile', 'start']

_SUFFIXES = sorted(('.' + name for name in _pyprof._formats), key=len, reverse=True)


def _glob(path):
    """A pattern that only this path matches."""
    return ''.join('[%s]' % letter if letter in '*?[' else '\\|' if letter == '|' else letter for letter in path)


_OWN = _glob(__file__)   # frames of this file are left out of what is written, but not of .json


# --- recording ------------------------------------------------------------------------------------------------------

class profile:
    """profile(*outputs, **options): a context manager and a decorator that records and then writes these files.

    The options are those of start(), and split_threads, lines, include_idle, title for the files. Afterwards .profile
    is the recording. Entering it again while it records joins that recording.
    """
    _running = set()

    def __init__(self, *outputs, split_threads=False, lines=False, include_idle=False, title=None, hide=None, **options):
        for path in outputs:
            if callable(path):
                raise TypeError('write @pyprof.profile("out.svg"): the files come first, then the function')
        self.outputs = tuple(map(os.fspath, outputs))
        self.options = options
        self.session = self.profile = None
        self._how = dict(split_threads=split_threads, lines=lines, title=title, include_idle=include_idle)
        self._hide = _OWN + ('|' + hide if hide else '')
        self._lock = threading.Lock()
        self._depth = self._pid = 0

    def start(self):
        """Starts to record, unless it does already. A recording that is not stopped ends with the interpreter."""
        with self._lock:
            if not self._depth:
                for path in self.outputs:
                    _check(path)
                self.session = start(**self.options)
                self._pid = os.getpid()
                self._running.add(self)
            self._depth += 1
        return self

    def stop(self):
        """Ends the recording, writes the files, and returns the Profile; None in a forked child that does not record,
        and where others still need the recording."""
        with self._lock:
            if not self._depth:
                raise RuntimeError('this pyprof.profile was not started')
            self._depth -= 1
            return self._finish() if not self._depth else None

    def _finish(self):
        self._running.discard(self)
        forked = os.getpid() != self._pid
        try:
            self.profile = self.session.stop()
        except Error:
            if forked:
                return None   # the recording is its parent's
            raise
        failed = None
        for path in self.outputs:
            try:
                self._save(_of_child(path) if forked else path)
            except Error as error:
                failed = failed or error   # the others are written all the same
        if failed:
            raise failed
        return self.profile

    def _save(self, path):
        how = dict(self._how)
        if not os.fsdecode(path).endswith('.json') or path == '-':   # our JSON has everything
            how['hide'] = self._hide
        self.profile.save(path, **how)

    def snapshot(self, *args, **options):
        return self.session.snapshot(*args, **options)

    def stats(self):
        return (self.profile or self.session).stats()

    __enter__ = start

    def __exit__(self, kind, value, traceback):
        try:
            self.stop()
        except Error as error:
            if kind is None:
                raise
            warnings.warn('pyprof: %s' % error, RuntimeWarning, 2)   # the exception under way is more important

    def __call__(self, function):
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))
        if not callable(function) or inspect.isclass(function):
            raise TypeError('pyprof.profile decorates functions, not %r' % (function,))
        if inspect.isasyncgenfunction(function):
            async def wrapper(*args, **options):
                with self:
                    values = function(*args, **options)
                    step, sent = values.asend, None
                    while True:
                        try:
                            value = await step(sent)
                        except StopAsyncIteration:
                            return
                        try:
                            step, sent = values.asend, (yield value)
                        except GeneratorExit:
                            await values.aclose()
                            raise
                        except BaseException as error:
                            step, sent = values.athrow, error
        elif inspect.iscoroutinefunction(function):
            async def wrapper(*args, **options):
                with self:
                    return await function(*args, **options)
        elif inspect.isgeneratorfunction(function):
            def wrapper(*args, **options):
                with self:
                    return (yield from function(*args, **options))
        else:
            def wrapper(*args, **options):
                with self:
                    return function(*args, **options)
        wrapper = functools.wraps(function)(wrapper)
        wrapper.pyprof = self
        return wrapper


def _check(path):
    """An unusable name is told before the work, not after it."""
    _pyprof._check_output(path)
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise FileNotFoundError('cannot write %s: there is no folder %s' % (os.fsdecode(path), os.fsdecode(folder)))


def _of_child(path):
    """app.svg is app.4711.svg in a forked child, as with PROFILING=1."""
    path = os.fsdecode(path)
    suffix = next((suffix for suffix in _SUFFIXES if path.endswith(suffix)), '')
    return path if '%p' in path or not suffix else '%s.%d%s' % (path[:-len(suffix)], os.getpid(), suffix)


def _at_exit():
    for one in list(profile._running):
        with one._lock:
            one._depth = 0
            try:
                one._finish()
            except Error as error:
                print('pyprof:', error, file=sys.stderr)


def _in_child():
    for one in list(profile._running):
        one._lock = threading.Lock()   # a thread that no longer exists may hold it


atexit.register(_at_exit)
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_in_child)


# --- tables ---------------------------------------------------------------------------------------------------------

class Table:
    """The hottest functions of a profile, as text and, in notebooks, as HTML. sort: wall_ns, cpu_ns, wait_ns,
    live_bytes, alloc_bytes ...; the other options are those of Profile.top."""

    def __init__(self, profile, limit=15, sort='wall_ns', **query):
        self.profile = profile
        self.sort = sort
        query.setdefault('hide', _OWN)
        self.rows = profile.top(limit, sort=sort if sort != 'wall_ns' else None, **query)
        self.stats = profile.stats()
        self.info = profile.info()

    def _value(self, value):
        return '%.3f' % (value / 1e9) if self.sort.endswith('_ns') else '{:,}'.format(value)

    def cells(self):
        """The heading and the rows, as texts."""
        unit = ' s' if self.sort.endswith('_ns') else ''
        kind = '' if self.sort == 'wall_ns' else self.sort.replace('_ns', '').replace('_', ' ') + ' '
        yield kind + 'self' + unit, kind + 'total' + unit, 'function', 'place'
        for row in self.rows:
            at = row['file'] and '%s:%d' % (row['file'], row['line']) if row['line'] else row['file']
            yield self._value(self._of(row['self'])), self._value(self._of(row['total'])), row['qualname'] or row['name'], at

    def _of(self, values):   # time spent running, as in all our reports
        return values['wall_ns'] - values['wait_ns'] if self.sort == 'wall_ns' else values[self.sort]

    def note(self):
        text = '%d samples in %.3f s' % (self.stats['samples'], self.info['duration_s'])
        return text + '; ' + self.stats['degraded'] if self.stats['degraded'] else text

    def __str__(self):
        rows = list(self.cells())
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ['%*s  %*s  %-*s  %s' % (widths[0], row[0], widths[1], row[1], widths[2], row[2], row[3]) for row in rows]
        return '\n'.join([line.rstrip() for line in lines] + [self.note()])

    __repr__ = __str__

    def _repr_html_(self):
        from html import escape
        head, *rows = self.cells()
        return '<table><tr>%s</tr>%s</table><p>%s</p>' % (
            ''.join('<th>%s</th>' % escape(cell) for cell in head),
            ''.join('<tr>%s</tr>' % ''.join('<td>%s</td>' % escape(cell) for cell in row) for row in rows), escape(self.note()))


# --- python -m pyprof -----------------------------------------------------------------------------------------------

_USAGE = """\
usage: python -m pyprof [OPTIONS] (FILE | -m MODULE | -c CODE | -) [ARGUMENTS]

Runs a program as python does, records all of its threads, and writes the files when the interpreter ends.

  -o, --output FILE       .svg .json .txt .folded .speedscope.json .pb.gz .prof ...; can be given several times.
                          Without it a report is printed to stderr
  -r, --rate HZ           samples a second (100)
      --heap[=MODE]       memory, too: sampled (the default) or exact
  -d, --duration SECONDS  records only so long
      --threads           threads apart, in formats that merge them
      --idle              idle time, too
      --subprocesses      child processes, too
  -q, --quiet             does not print which files were written
      --version, -h, --help
"""


def _rate(text):
    return -1.0 if text == 'auto' else float(text)   # PYPROF_RATE_AUTO


def _usage_error(text):
    print('pyprof: %s\n%s' % (text, _USAGE.split('\n', 1)[0]), file=sys.stderr)
    sys.exit(2)


def _arguments(words):
    """-> (options, kind of program, program, its arguments); everything after the program is the program's."""
    long = {'output': '-o', 'rate': '-r', 'duration': '-d', 'quiet': '-q', 'help': '-h'}
    options, words = {'-o': []}, list(words)
    while words:
        word = words.pop(0)
        if word == '-' or not word.startswith('-'):
            return options, 'file', word, words
        if word.startswith('--'):
            name, equals, value = word[2:].partition('=')
            name, value = long.get(name, '--' + name), value if equals else None
        else:
            name, value = word[:2], word[2:] or None
        if name in ('-o', '-r', '-d', '-m', '-c'):
            if value is None:
                if not words:
                    _usage_error('%s needs a value' % word)
                value = words.pop(0)
            if name in ('-m', '-c'):
                return options, {'-m': 'module', '-c': 'code'}[name], value, words
            try:
                options[name] = options['-o'] + [value] if name == '-o' else _rate(value) if name == '-r' else float(value)
            except ValueError:
                _usage_error('%s: %r is no number' % (word, value))
        elif name == '--heap':
            options[name] = value or 'sampled'
        elif name in ('--threads', '--idle', '--subprocesses', '--version', '-q', '-h') and value is None:
            options[name] = True
        else:
            _usage_error('there is no option %s' % word)
        if '-h' in options or '--version' in options:
            break
    return options, '', '', []


def _find(kind, program):
    """-> (code, spec, file name, sys.argv[0], sys.path[0] or None)."""
    import importlib.machinery
    import importlib.util
    if kind == 'code':
        code = compile(program, '<string>', 'exec')
        if sys.version_info >= (3, 13):   # tracebacks show its lines
            import linecache
            getattr(linecache, '_register_code', lambda *_: None)(code, program, '<string>')
        return code, None, None, '-c', ''
    if kind == 'module':
        try:
            spec = importlib.util.find_spec(program)
            if spec is not None and spec.submodule_search_locations is not None:
                found = importlib.util.find_spec(program + '.__main__')
                if found is None:
                    sys.exit("%s: No module named %s.__main__; '%s' is a package and cannot be directly executed"
                             % (sys.executable, program, program))
                spec = found
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name and (program + '.').startswith(error.name + '.'):
                spec = None
            else:
                raise
        if spec is None or spec.loader is None:
            sys.exit('%s: No module named %s' % (sys.executable, program))
        code = spec.loader.get_code(spec.name)
        if code is None:
            sys.exit('%s: No code object available for %s' % (sys.executable, program))
        return code, spec, spec.origin, spec.origin, None
    if program == '-':
        return compile(sys.stdin.read(), '<stdin>', 'exec'), None, '<stdin>', '-', ''
    name = os.path.abspath(program) if sys.version_info >= (3, 9) else program
    finder = importlib.machinery.PathFinder if os.path.isdir(program) or _is_zip(program) else None
    spec = finder and finder.find_spec('__main__', [program])
    if spec is not None:
        return spec.loader.get_code('__main__'), spec, spec.origin, program, name
    if finder is not None:
        sys.exit("%s: can't find '__main__' module in %r" % (sys.executable, name))
    try:
        with open(program, 'rb') as file:
            source = file.read()
    except OSError as error:
        print("%s: can't open file %r: [Errno %d] %s" % (sys.executable, name, error.errno, error.strerror), file=sys.stderr)
        sys.exit(2)
    return compile(source, name, 'exec'), None, name, program, os.path.dirname(os.path.realpath(program))


def _is_zip(path):
    import zipfile
    return os.path.isfile(path) and not path.endswith(('.py', '.pyw')) and zipfile.is_zipfile(path)


def _as_main(spec, file):
    """A new module __main__, with the attributes that python gives it."""
    import importlib.machinery
    import types
    module = types.ModuleType('__main__')
    module.__builtins__ = sys.modules['builtins']
    module.__spec__ = spec
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    if file == '<stdin>':   # Python names it, but nothing loads it
        module.__file__, module.__cached__ = file, None
        module.__loader__ = importlib.machinery.BuiltinImporter
    elif spec is not None:
        module.__loader__, module.__package__ = spec.loader, spec.parent
        module.__file__, module.__cached__ = spec.origin, spec.cached
        if not spec.has_location:
            del module.__file__
    elif file is not None:
        module.__file__, module.__cached__ = file, None
        module.__loader__ = importlib.machinery.SourceFileLoader('__main__', file)
    else:
        module.__loader__ = importlib.machinery.BuiltinImporter
    return module


def _below(traceback, code):
    """The part of the traceback below the frame of this code."""
    while traceback is not None and traceback.tb_frame.f_code is not code:
        traceback = traceback.tb_next
    return traceback and traceback.tb_next


def _run(one, find):
    """Runs the program. The text of an exception that ends it is as python prints it without us."""
    spec = None
    try:
        try:
            code, spec, file, argument, folder = find()
        except SystemExit:   # there is no such program
            one.outputs, one.quiet = (), True
            raise
        sys.argv[0] = argument
        if folder is not None and not getattr(sys.flags, 'safe_path', False):
            sys.path[0] = folder
        sys.modules['__main__'] = module = _as_main(spec, file)
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        below = _below(error.__traceback__, sys._getframe().f_code)
        if isinstance(error, SyntaxError) and below is not None and spec is None and below.tb_frame.f_code.co_filename == __file__:
            below = None   # it did not compile
        _hide_ours(below, spec is not None)
        raise


def _hide_ours(below, by_runpy):
    """Our frames are cut out of the traceback; python's own runpy, which runs modules, is shown as without us."""
    hook = sys.excepthook

    def excepthook(kind, value, traceback):
        last = traceback if by_runpy and traceback.tb_frame.f_code.co_filename != __file__ else None
        while last is not None and last.tb_next is not None and last.tb_next.tb_frame.f_code.co_filename != __file__:
            last = last.tb_next
        if last is None:
            traceback = below
        else:
            last.tb_next = below
        sys.excepthook, sys.last_traceback = hook, traceback
        hook(kind, value.with_traceback(traceback), traceback)
    sys.excepthook = excepthook


def main(words=None):
    """python -m pyprof: the recording is ended and written by _at_exit, after the last thread of the program."""
    options, kind, program, arguments = _arguments(sys.argv[1:] if words is None else words)
    if '--version' in options:
        print('pyprof', __version__)
    elif '-h' in options:
        print(_USAGE, end='')
    elif not kind:
        _usage_error('no program to run')
    else:
        _record(options, program, arguments, lambda: _find(kind, program))


class _Program(profile):
    def _finish(self):
        done = super()._finish()
        if done is not None and not self.outputs and not self.quiet and os.getpid() == self._pid:
            sys.stderr.write(done.write('txt', hide=self._hide).decode('utf-8', 'replace'))
        elif done is not None and not self.quiet and os.getpid() == self._pid:
            names = [path for path in self.outputs if path != '-']
            if names:
                print('pyprof: wrote', ', '.join(names), file=sys.stderr)
        return done


def _record(options, program, arguments, find):
    sys.argv[:] = ['-m'] + arguments
    config = dict(rate_hz=options.get('-r'), duration_s=options.get('-d'), heap=options.get('--heap'),
                  children=options.get('--subprocesses'))
    one = _Program(*options['-o'], split_threads='--threads' in options, include_idle='--idle' in options,
                   hide='runpy._run_module_as_main|runpy._run_code|<frozen runpy>', **config)
    one.quiet = '-q' in options
    try:
        one.start()
    except (Error, OSError, ValueError) as error:
        _usage_error(error)
    _run(one, find)


# --- IPython --------------------------------------------------------------------------------------------------------

_MAGIC = """%pyprof [OPTIONS] STATEMENT profiles a statement, %%pyprof [OPTIONS] a cell, and shows the hottest functions.

    -o FILE   writes a file, too: .svg .json .txt ... (can be given several times)
    -r HZ     samples a second (1000)
    --heap    memory, too, exactly; --heap=sampled: by samples
    -s NAME   sorted by wall_ns, cpu_ns, wait_ns, samples; with memory live_bytes, alloc_bytes ...
    -l N      rows of the table (15)
    -q        no table
    -R        returns the Profile
"""
_VALUES = {'-o': str, '-r': _rate, '-s': str, '-l': int}


def _magic_options(line):
    """-> ({option: value}, the rest of the line as it is)."""
    import re
    options = {'-o': [], '-r': 1000.0, '-s': None, '-l': 15, '--heap': 'off'}
    while True:
        match = re.match(r'\s*(--heap=\w+|--heap(?=\s|$)|-[A-Za-z](?=\s|$)|--(?=\s|$))\s*', line)
        if not match or match.group(1) == '--':
            return options, line[match.end():] if match else line
        name, line = match.group(1), line[match.end():]
        if name.startswith('--heap'):
            options['--heap'] = name[len('--heap='):] or 'exact'
        elif name in _VALUES:
            match = re.match(r'("[^"]*"|\'[^\']*\'|\S+)\s*', line)
            if not match:
                raise ValueError('%s needs a value' % name)
            value, line = _VALUES[name](match.group(1).strip('"\'')), line[match.end():]
            options[name] = options['-o'] + [value] if name == '-o' else value
        elif name in ('-q', '-R'):
            options[name] = True
        else:
            raise ValueError('there is no option %s\n%s' % (name, _MAGIC))


def _magic(shell, line, cell):
    from IPython.display import display
    options, statement = _magic_options(line)
    source = shell.transform_cell(statement if cell is None else cell)
    hide = '*/IPython/*|*/ipykernel/*|*/traitlets/*|*/tornado/*|' + _OWN
    recording = profile(*options['-o'], rate_hz=options['-r'], heap=options['--heap'], hide=hide)
    code = compile(source, shell.compile.cache(source), 'exec')   # so that its lines can be shown
    try:
        with recording:
            exec(code, shell.user_ns)
    finally:
        if recording.profile is not None:
            sort = options['-s'] or ('wall_ns' if options['--heap'] == 'off' else 'alloc_bytes')
            if '-q' not in options:
                display(Table(recording.profile, options['-l'], sort, hide=hide))
            for path in options['-o']:
                print('pyprof: wrote', path)
    return recording.profile if '-R' in options else None


def load_ipython_extension(shell):
    """%load_ext pyprof"""
    def pyprof(line, cell=None):
        return _magic(shell, line, cell)
    pyprof.__doc__ = _MAGIC
    shell.register_magic_function(pyprof, 'line_cell')


if __name__ == '__main__':
    import pyprof   # this file once more, as the module that the program can import
    pyprof.main()
