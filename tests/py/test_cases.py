"""The programs of examples/cases: what is said first about the slow form is its trouble, at its place; the mended form and the
healthy programs do not have it."""
import ctypes
import os
import subprocess
import sys

import bind
import header

FINDING = header.constants['PYPROF_ITEM_FINDING']
CASES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'examples', 'cases')
# Of each case: its kind of finding, the function or file at which, and the kinds that may come before it at the same place:
# what a thread does, beside why that is a trouble; and the caller, if it takes about as long.
TROUBLES = {
    'cpu_bound': ('hot-function', 'unique'),
    'small_calls': ('small-calls', 'brighter', 'hot-function', 'convert'),
    'gil_bound': ('gil', 'checksum'),
    'slow_peer': ('peer', 'ask'),
    'lock_held': ('lock', 'price'),
    'leak': ('leak', 'remember'),
    'full_cache': ('cache', 'draw'),
    'churn': ('hot-function', 'message', 'churn'),   # a busy machine may leave too little time for churn to be worth a finding
    'slow_imports': ('imports', 'tables.py'),
    'gc_heavy': ('garbage-collection', 'main'),
    'polling': ('polling', 'next_job'),
    'blocked_loop': ('wait', 'read_device'),
    'copies': ('hot-function', 'settings'),
}
HEALTHY = ('healthy_async', 'healthy_memory', 'healthy_pool', 'healthy_service', 'healthy_timer', 'healthy_workers')
MACHINE = ('starved', 'lost-samples', 'few-samples')   # true of a busy machine, whatever the program does
LEAST = 0.2   # of its time: what a trouble takes at least of a program that has it


def started(folder, name, seconds, *options):
    """The program under PROFILING=1, with its files in the folder."""
    prefix = os.path.join(folder, name + ''.join(options))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(('PYPROF', 'PROFILING', 'PYTHON'))}
    environment.update(PROFILING='1', PYPROF_OUT=prefix, PYPROF_FORMATS='json,txt', PYPROF_QUIET='1',
                       LD_PRELOAD=os.path.join(bind.BUILD, 'libpyprof.so'))
    program = subprocess.Popen([sys.executable, os.path.join(CASES, name + '.py'), '--seconds', str(seconds)] + list(options),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, universal_newlines=True)
    program.prefix = prefix
    return program


def findings(program):
    """Of a program that ends by itself: what is said about it, the most worth first: (kind, function, file, weight, title)."""
    out, errors = program.communicate()
    bind.check(program.returncode == 0 and out.startswith('truth: '), 'it ended with %s: %s%s', program.returncode, out, errors)
    print(os.path.basename(program.prefix), out.strip())
    found = []

    def see(_, pointer):
        item = pointer.contents
        if item.kind == FINDING:
            finding = item.finding.contents
            found.append((finding.key.decode(), finding.name.decode(), os.path.basename(finding.file.decode()), finding.weight, finding.title.decode('utf-8', 'replace')))
        return 0

    profile = bind.load(program.prefix + '_profile.json')
    bind.call('visit', profile.pointer, ctypes.byref(bind.Query(findings=1)), bind.VISIT_FN(see), None)
    for one in found:
        print('   ', *one)
    return found


def about(found):
    """Without what is true of the machine alone. A short run on a busy machine spends much of its time with its start, and that of
    its server, too."""
    return [one for one in found if one[0] not in MACHINE and (one[0] != 'imports' or one[2] == 'tables.py') and one[1] != 'running']


def examine(names, seconds):
    """All of these side by side, slow and mended."""
    with bind.folder() as folder:
        slow = {name: started(folder, name, seconds) for name in names}
        mended = {name: started(folder, name, seconds, '--fixed') for name in names}
        found = {name: about(findings(slow[name])) for name in names}
        gone = {name: about(findings(mended[name])) for name in names}
    for name in names:
        kind, place, before, caller = (TROUBLES[name] + (None, None))[:4]
        there = [one for one in found[name] if place in (one[1].split('.')[-1], one[2])]
        first = [one for one in found[name][:1] if place in (one[1].split('.')[-1], one[2]) or one[:2] == (before, caller)]
        bind.enough(first and first[0][0] in (kind, before), '%s: not %s at %s, but %s', name, kind, place, found[name][:1])
        bind.enough(any(one[0] == kind for one in there), '%s: no %s at %s, but %s', name, kind, place, there)
        for one in gone[name]:
            bind.enough(one[0] != kind or place not in (one[1].split('.')[-1], one[2]) or one[3] < LEAST, '%s, mended: %s', name, one)


def rest(names, seconds):
    """Healthy programs, side by side."""
    with bind.folder() as folder:
        for program in [started(folder, name, seconds) for name in names]:
            for one in about(findings(program)):
                bind.enough(one[3] < LEAST, '%s: %s', program.prefix, one)


@bind.test
def a_case_of_time_and_one_of_memory():
    examine(('slow_peer', 'leak'), 1.2)


@bind.test
def a_healthy_program():
    rest(('healthy_service',), 1.2)


@bind.test(long=True)
def healthy_programs():
    rest(HEALTHY, 4)


def case_of(name):
    bind.test(lambda: examine((name,), 3), name='case_' + name, long=True, alone=True)


for trouble in TROUBLES:
    case_of(trouble)


@bind.test
def every_case_has_a_test():
    files = {os.path.splitext(name)[0] for name in os.listdir(CASES) if name.endswith('.py')}
    bind.equal(files - {'case', 'price_server', 'tables'}, set(TROUBLES) | set(HEALTHY))


if __name__ == '__main__':
    bind.run()
