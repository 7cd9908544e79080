"""A plugin for pytest, one file: copy it beside pyprof.py and _pyprof.*.so, and have that folder on PYTHONPATH. For pytest 8 or later.

    pytest -p pytest_pyprof --pyprof=tests.svg       records the run; --pyprof without a file: only a table at the end

    @pytest.mark.pyprof(max_s=0.5)                   fails if the test takes longer, and tells where the time went
    @pytest.mark.pyprof(max_bytes=1000000)           fails if it has more memory at a time than before it
    @pytest.mark.pyprof(no_leak=True)                runs it again and again, fails if memory grows each time

The limits are for the test itself, without its fixtures. Memory is what Python's allocators hand out, counted exactly;
memory that C extensions take from malloc is not in it. See docs/python-module.md.
"""
import array
import gc
import time

import pyprof
import pytest

LIMITS = {'max_s': 'seconds', 'max_bytes': 'bytes', 'no_leak': 'true or false'}
WARM, ROUNDS = 3, 5   # rounds before memory is measured: caches fill; rounds in each of which it must grow


def _rate(text):
    return -1.0 if text == 'auto' else float(text)   # PYPROF_RATE_AUTO


def pytest_addoption(parser):
    group = parser.getgroup('pyprof', 'profiling with pyprof')
    group.addoption('--pyprof', nargs='?', const='', metavar='FILE',
                    help='record the run; FILE: .svg .json .txt .folded .pb.gz .prof ... (several: separated by commas)')
    group.addoption('--pyprof-rate', type=_rate, default=100, metavar='HZ', help='samples a second, or auto (100)')


def pytest_configure(config):
    config.addinivalue_line('markers', 'pyprof(max_s=None, max_bytes=None, no_leak=False): limits of time and memory for the test')
    config.pluginmanager.register(_Run(config), 'pyprof-run')


def _of_worker(path, worker):
    """out.svg is out.gw1.svg in the worker gw1 of pytest-xdist."""
    head, slash, name = path.rpartition('/')
    stem, dot, suffix = name.partition('.')
    return head + slash + stem + '.' + worker + dot + suffix


class _Run:
    """--pyprof: one recording, from the start of the session to its end."""

    def __init__(self, config):
        given = config.getoption('--pyprof')
        worker = getattr(config, 'workerinput', {}).get('workerid')
        files = [path for path in (given or '').split(',') if path]
        if worker:
            files = [_of_worker(path, worker) for path in files]
        self.recording = None
        if given is not None:
            self.recording = pyprof.profile(*files, rate_hz=config.getoption('--pyprof-rate'), hide='*/_pytest/*|*/pluggy/*')
            try:
                self.recording.start()
            except (pyprof.Error, OSError) as error:
                raise pytest.UsageError('--pyprof: %s' % error)

    def pytest_sessionfinish(self):
        try:
            if self.recording is not None:
                self.recording.stop()
        except pyprof.Error as error:
            raise pytest.UsageError('--pyprof: %s' % error)

    def pytest_terminal_summary(self, terminalreporter):
        if self.recording is None or self.recording.profile is None:
            return
        terminalreporter.section('pyprof')
        terminalreporter.write_line(str(pyprof.Table(self.recording.profile, 10, hide='*/_pytest/*|*/pluggy/*|*/pytest_pyprof.py|*/pyprof.py|*/bin/pytest')))
        for path in self.recording.outputs:
            terminalreporter.write_line('wrote ' + path)


def _limits(item):
    """What the markers of a test ask for, those nearest to it first."""
    limits = {}
    for mark in item.iter_markers('pyprof'):
        unknown = sorted(set(mark.kwargs) - set(LIMITS))
        if unknown or mark.args:
            pytest.fail('@pytest.mark.pyprof takes %s, not %s' % (', '.join(LIMITS), ', '.join(unknown) or repr(mark.args)), pytrace=False)
        for name, value in mark.kwargs.items():
            if isinstance(value, str) or (value is not None and value < 0):
                pytest.fail('@pytest.mark.pyprof: %s is %r: %s are needed' % (name, value, LIMITS[name]), pytrace=False)
            limits.setdefault(name, value)
    return {name: value for name, value in limits.items() if value not in (None, False)}


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    limits = _limits(pyfuncitem)
    if not limits:
        return (yield)
    memory = 'max_bytes' in limits or 'no_leak' in limits
    try:
        session = pyprof.start(1000, heap='exact' if memory else 'off')
    except pyprof.Error as error:
        pytest.fail('pyprof cannot measure this test: %s' % error, pytrace=False)
    with session:
        if memory:
            gc.collect()
            session.reset_peak()
        before = session.stats()['heap_live_bytes']
        begin = time.perf_counter()
        result = yield   # a test that fails by itself is told as usual
        took = time.perf_counter() - begin
        grown = session.stats()['heap_peak_bytes'] - before
        recorded = session.snapshot() if 'max_s' in limits or 'max_bytes' in limits else None
        leak = _leak(pyfuncitem, session) if 'no_leak' in limits else None
    if took > limits.get('max_s', took):
        pytest.fail('took %.3f s: the limit is %g s\n%s' % (took, limits['max_s'], _table(recorded)), pytrace=False)
    if grown > limits.get('max_bytes', grown):
        pytest.fail('had {:,} bytes at a time: the limit is {:,}\n{}'.format(
            grown, limits['max_bytes'], _table(recorded, sort='peak_bytes', group='line')), pytrace=False)
    if leak is not None:
        pytest.fail(leak, pytrace=False)
    return result


def _table(profile, **how):
    """Without pytest's frames, whose memory and time it is not."""
    hidden = '*/_pytest/*|*/pluggy/*|*/pytest_pyprof.py|*/pyprof.py|*/bin/pytest'
    return pyprof.Table(profile, 8, hide=hidden, **how)


def _leak(item, session):
    """Calls the test again with the same fixtures. A leak is memory that grows in each round after the first ones."""
    values = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    lives = array.array('q', [0] * (ROUNDS + 1))   # storing a number allocates nothing
    before = None
    for number in range(-WARM, ROUNDS + 1):
        if number >= -WARM + 1:
            item.obj(**values)
        gc.collect()
        if number == 0:
            before = session.snapshot()
        if number >= 0:
            lives[number] = session.stats()['heap_live_bytes']
    after = session.snapshot()
    grown = [lives[i + 1] - lives[i] for i in range(ROUNDS)]
    if min(grown) <= 0:
        return None
    return 'leaks: each of %d more runs kept memory, %s bytes\n%s' % (
        ROUNDS, ', '.join('{:,}'.format(size) for size in grown),
        _table(pyprof.diff(before, after), sort='live_bytes', group='line'))
