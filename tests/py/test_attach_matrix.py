"""One library records programs of every CPython that is here, and those of a Debian sid tree (tests/sid.sh), which have another
root: threads that stand still are as the program itself sees them, and no stack is one that it cannot have."""
import collections
import ctypes
import glob
import json
import os
import subprocess
import sys

import bind
import known_calls
from bind import SAMPLES

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SID = os.environ.get('SID') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'pyprof', 'sid')
SECONDS = bind.length(20, 0.7)   # at 5000 samples a second


def pythons():
    """{name: command}, one for each executable."""
    found = collections.OrderedDict()
    candidates = [sys.executable] + sorted(glob.glob(os.path.join(os.environ.get('PYENV_ROOT') or os.path.expanduser('~/.pyenv'), 'versions/*/bin/python')))
    for path in candidates + sorted(glob.glob('/usr/bin/python3.*[0-9]')):
        try:
            version = subprocess.run([path, '-S', '-c', 'import platform, sys; print(platform.python_version() if sys.version_info >= (3, 8) '
                                      'and platform.python_implementation() == "CPython" else "")'], stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, universal_newlines=True).stdout.strip()
        except OSError:
            continue
        if version and os.path.realpath(path) not in [os.path.realpath(command[0]) for command in found.values()]:
            found.setdefault(version + (' of usr' if path.startswith('/usr') else ''), [path, os.path.join(HERE, 'attach_target.py')])
    if os.path.exists(os.path.join(SID, '.pyprof-sid')) and os.getuid() == 0:
        for path in sorted(glob.glob(os.path.join(SID, 'usr/bin/python3.[0-9]*'))):
            name = os.path.basename(path)
            if name.replace('python3.', '').rstrip('t').isdigit():
                found[name + ' of sid'] = [os.path.join(ROOT, 'tests', 'sid.sh'), 'run', name, '/pyprof/tests/py/attach_target.py']
    return found


def by_version(name):
    return [int(part) for part in name.replace('python', '').split()[0].split('.') if part.isdigit()]


def chosen(found):
    """In make test: the oldest and the newest beside this one."""
    if bind.LONG:
        return list(found)
    others = sorted([name for name in found if found[name][0] != sys.executable], key=by_version)
    return others[:1] + others[-1:] if len(others) > 1 else list(found)


def dumped(pid):
    pointer = ctypes.c_void_p()
    bind.call('dump', pid, None, ctypes.byref(pointer))
    return bind.Profile(pointer.value)


def told(item):
    return [[f.file, f.qualname, f.first_line, f.line] for f in item.stack if f.kind == bind.KIND_PYTHON]


def stand_still(target):
    """The threads that do not move, in three dumps."""
    for _ in range(3):
        found = {item.thread.ident: told(item) for item in dumped(target['pid']).visit(bind.ITEM_STACK) if item.self[SAMPLES]}
        for ident, stack in target['stacks'].items():
            bind.equal(found.get(int(ident)), stack, 'thread %s' % ident)


def place(value):
    return tuple(value)


def verdicts(profile, target):
    """Counts samples of the work by their fault."""
    steps = {(place(caller), line, place(callee)) for caller, line, callee in target['steps']}
    functions = known_calls.functions_of(steps)
    lines = {place(where): set(of) for where, of in target['lines']}
    churn, wrong = place(target['churn']), collections.Counter()
    for item in profile.visit(bind.ITEM_STACK):
        stack = [((f[0], f[1], f[2]), f[3]) for f in told(item)]
        places = [where for where, _ in stack]
        kind = 'good'
        if churn not in places:
            kind = 'rootless' if any(where[0] == churn[0] for where in places) else 'other'
        else:
            at = places.index(churn)
            if [where[1].split('.')[-1] for where in places[:at]] != ['_bootstrap', '_bootstrap_inner', 'run', '<lambda>']:
                kind = 'root'
            kind = known_calls.checked(kind, stack[at:], functions, steps, lines)
        if kind not in ('good', 'other') and item.self[SAMPLES]:
            print('%s, %d samples: %s' % (kind, item.self[SAMPLES], ' > '.join('%s:%d' % (where[1], line) for where, line in stack)))
        wrong[kind] += item.self[SAMPLES]
    del wrong['other']
    return wrong


def one(name, command):
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True, cwd=ROOT)
    try:
        target = json.loads(process.stdout.readline() or '{}')
        bind.check(target, '%s: it does not start', name)
        if command[0].endswith('sid.sh'):
            target['pid'] = process.pid   # as seen from here: it execs down to the interpreter
        stand_still(target)
        session = bind.Session(pid=target['pid'], rate_hz=5000, max_cpu=1e6, timeline_s=-1)
        process.stdin.write('%g\n' % SECONDS)
        process.stdin.flush()
        bind.equal(process.stdout.readline(), 'done\n', name)
        profile = session.stop()
        stand_still(target)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()
    stats, wrong = profile.stats(), verdicts(profile, target)
    print(name, dict(wrong), stats)
    good = wrong.pop('good', 0)
    bind.equal(dict(wrong), {}, '%s: impossible stacks' % name)
    bind.enough(good > SECONDS * 300, '%s: only %d samples', name, good)


def register():
    found = pythons()
    short = chosen(found)

    for name in found:
        def attached(name=name):
            one(name, found[name])
        bind.test(limit=180, name='attached_to_' + name.replace(' ', '_'), long=name not in short)(attached)


register()

if __name__ == '__main__':
    bind.run()
