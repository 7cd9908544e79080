"""The workloads of tests/oracle for a moment each: no stack that cannot be, no name of dead code. And do the rules that
say which stacks can be refuse those that cannot, and are they what really happens? The mixed workloads likewise: where
their time goes, within bounds that hold on a busy machine; and is what is out of bounds told?"""
import os
import random
import sys
import threading
import time

import bind

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'oracle'))

import grammar     # noqa: E402
import hogs        # noqa: E402
import mixed       # noqa: E402
import oracle      # noqa: E402
import parts       # noqa: E402
import workloads   # noqa: E402

SECONDS = bind.length(0.8, 0.5)


def frames_of(frame):
    found = []
    while frame:
        code = frame.f_code
        found.insert(0, grammar.Frame(code.co_name, code.co_filename, frame.f_lineno or 0, code.co_firstlineno,
                                      getattr(code, 'co_qualname', code.co_name)))
        frame = frame.f_back
    return found


# --- the rules against a traced run ----------------------------------------------------------------------------------

def traced(workload, seconds):
    """Runs it under sys.settrace: its rules, the edges seen, and a stack for each edge and thread."""
    space, code = workload.load()
    stacks, main = {}, threading.get_ident()

    def trace(frame, event, argument):
        if event == 'call':
            caller = frame.f_back
            edge = caller and (caller.f_code, caller.f_lineno), frame.f_code, threading.get_ident() == main
            if edge not in stacks:
                stacks[edge] = frames_of(frame)
        return None

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        truth = workloads.enter(space, seconds)
    finally:
        sys.settrace(None)
        threading.settrace(None)
    rules = workload.grammar(code)
    rules.prefixes['main'] = truth['prefix']
    return rules, stacks


def rules_are_what_happens(workload):
    """Every stack of a traced run is allowed; every call that is allowed happens."""
    for seconds in (0.2, 0.6, 2, 8):   # on a busy machine not all of it comes soon
        missing = calls_that_do_not_happen(workload, seconds)
        if not missing:
            return
    bind.equal(sorted(map(repr, missing)), [], 'calls that are allowed but never happened')


def calls_that_do_not_happen(workload, seconds):
    rules, stacks = traced(workload, seconds)
    seen, checked = set(), 0
    for (_, _, is_main), stack in stacks.items():
        where = []
        got = rules.check(stack, 'main' if is_main else 'thread', where)
        if got == grammar.OUTSIDE:
            continue
        bind.check(got == grammar.GOOD, '%s at %r: %r', got, where, [frame[:3] for frame in stack])
        checked += 1
        found = [rules.find(frame)[0] for frame in stack]
        for i, function in enumerate(found):
            above = [j for j in range(i) if found[j]]
            if function and above:
                between = tuple(frame.name for frame in stack[above[-1] + 1:i])
                seen.add((found[above[-1]], stack[above[-1]].line, between, function))
    inside = {edge for edge in rules.edges() if edge[0].file == 'inside.py'}   # another interpreter is not traced
    enough = 3 if workload.name in ('deep', 'interpreters') else min(30, len(rules.edges()) // 2)
    bind.check(checked >= enough, 'only %d stacks', checked)
    return {edge for edge in rules.edges() if edge not in seen and edge not in inside}


# --- wrong stacks must be refused ------------------------------------------------------------------------------------

class Refusals:
    def __init__(self, rules, stack, role):
        self.rules, self.stack, self.role = rules, stack, role
        self.first = next(i for i, frame in enumerate(stack) if rules.find(frame)[0])
        self.last = max(i for i, frame in enumerate(stack) if rules.find(frame)[0])

    def changed(self, at, **values):
        return self.stack[:at] + [self.stack[at]._replace(**values)] + self.stack[at + 1:]

    def refused(self, stack, *verdicts):
        got = self.rules.check(stack, self.role)
        bind.check(got in verdicts, '%s, not one of %r: %r', got, verdicts, [frame[:3] for frame in stack])

    def roots(self):
        self.refused(self.stack[self.first + 1:], grammar.ROOT)
        if self.first:
            self.refused(self.stack[1:], grammar.ROOT)
            self.refused(self.stack[:self.first - 1] + self.stack[self.first:], grammar.ROOT)
            self.refused(self.changed(0, name='other'), grammar.ROOT)
            self.refused(self.stack[:1] + self.stack, grammar.ROOT)
        self.refused([self.stack[i]._replace(file='other.py') for i in range(len(self.stack))], grammar.OUTSIDE)

    def names(self):
        for at in (self.first, self.last):
            self.refused(self.changed(at, name='no_such'), grammar.STALE)
            self.refused(self.changed(at, first_line=self.stack[at].first_line + 1), grammar.STALE)
            self.refused(self.changed(at, qualname=self.stack[at].qualname + '_'), grammar.STALE)

    def lines(self):
        for at in range(self.first, self.last + 1):
            self.refused(self.changed(at, line=99999), grammar.LINE)
            if at < self.last:
                self.refused(self.changed(at, line=self.stack[at].first_line), grammar.LINE, grammar.CALL)

    def calls(self):
        """Frames that are missing, double, or in another order."""
        for at in range(self.first + 1, self.last):
            self.refused(self.stack[:at] + self.stack[at + 1:], grammar.CALL, grammar.ROOT, grammar.LINE)
            self.refused(self.stack[:at + 1] + self.stack[at:], grammar.CALL, grammar.ROOT)

    def mixtures(self, other):
        """The outer part of this one, the inner part of another: only where both hold the same function it can be."""
        a, b = self.stack[self.first:self.last + 1], other
        for i in range(1, len(a)):
            for j in range(1, len(b)):
                caller, callee = self.rules.find(a[i - 1])[0], self.rules.find(b[j])[0]
                legal = not caller or not callee or any((between, callee) in calls for calls in caller.calls.values()
                                                        for between, _ in calls)
                if not legal and callee.root is None:
                    self.refused(self.stack[:self.first] + a[:i] + b[j:], grammar.CALL, grammar.ROOT)


@bind.test
def wrong_stacks_are_refused():
    for name in ('yoyo10', 'steady50', 'generators', 'coroutines', 'callbacks', 'exceptions', 'init', 'phases',
                 'threads'):
        rules, stacks = traced(workloads.NAMED[name], 0.3)
        dice = random.Random(name)
        deep = [(key[2], stack) for key, stack in stacks.items() if rules.check(stack) == grammar.GOOD
                and rules.find(stack[-1])[0] and sum(rules.find(frame)[0] is not None for frame in stack) > 3]
        for is_main, stack in dice.sample(deep, min(bind.length(6, 3), len(deep))):
            wrong = Refusals(rules, stack, 'main' if is_main else 'thread')
            wrong.refused(stack, grammar.GOOD)
            wrong.roots()
            wrong.names()
            wrong.lines()
            wrong.calls()
            wrong.mixtures(dice.choice(deep)[1])


@bind.test
def stacks_too_deep_are_refused():
    rules, stacks = traced(workloads.Workload('yoyo10', workloads.NAMED['yoyo10'].text, most=13), 0.1)
    stack = max(stacks.values(), key=len)
    bind.equal(rules.check(stack), grammar.GOOD)
    rules.most = 12
    bind.equal(rules.check(stack), grammar.DEPTH)


@bind.test
def names_of_dead_code_are_refused():
    """Of code that was made at run time: another's name, another's lines, and its own name after its end."""
    rules, stacks = traced(workloads.NAMED['fresh'], 0.2)
    stack = next(stack for stack in stacks.values()
                 if stack[-1].name.startswith('g_') and rules.check(stack) == grammar.GOOD)
    number = workloads.fresh_number(os.path.basename(stack[-1].file))
    other = workloads.FRESH_FILE % (number + 1)
    for changes in ({'name': 'g_%d' % (number + 1)}, {'file': other}, {'first_line': 1}, {'qualname': 'h_1'},
                    {'name': 'g_%d' % (number + 1), 'qualname': 'g_%d' % (number + 1)}):
        bind.equal(rules.check(stack[:-1] + [stack[-1]._replace(**changes)]), grammar.STALE, repr(changes))
    bind.equal(rules.check(stack[:-1] + [stack[-1]._replace(line=stack[-1].line + 100)]), grammar.LINE)
    now = time.monotonic()
    truth = {'prefix': rules.prefixes['main'], 'clocks': [1000.0, 0.0], 'began': 1000.0, 'ended': 1e9,
             'lives': [(0, 0)] * (number - 1) + [(int(now * 1e9), int((now + 1) * 1e9))]}
    checker = oracle.Checker(rules, truth, 1)
    sample = oracle.Sample(1, 0, 'x', b'', 1000 + now, 1000 + now + 0.9, 1, 1)
    checker._stack = lambda data, role: (stack, rules.check(stack, role), [])
    bind.equal(checker.verdict(sample)[0], grammar.GOOD)
    bind.equal(checker.verdict(sample._replace(begin=1000 + now + 1.1, end=1000 + now + 1.2))[0], grammar.STALE)
    checker._stack = lambda data, role: ([], grammar.OUTSIDE, [])
    bind.equal(checker.verdict(sample)[0], grammar.OUTSIDE)
    bind.equal(checker.verdict(sample._replace(begin=999.0))[0], 'before or after')


# --- recordings ------------------------------------------------------------------------------------------------------

def recorded(name, mode):
    if name == 'deep' and not bind.LONG:   # each frame is read, of each stack: with 100,000 that can take a minute
        workloads.DEPTH = 4999
        workloads.NAMED[name].most = 5003
    try:
        result = oracle.perform({'workload': name, 'mode': mode, 'condition': 'quiet', 'seconds': SECONDS, 'rate': 1000,
                                 'faults': 0})
    except workloads.Unavailable as reason:
        bind.skip(str(reason))
    counts = result['counts']
    print(dict(counts), result['stats'])
    for text, count in result['examples']:
        print('%dx %s' % (count, text))
    bad = oracle.impossible(counts)
    if mode == 'freeze':
        bind.equal((counts[grammar.STALE], bad), (0, 0), 'stale names, impossible stacks')
    elif counts[grammar.STALE] > 2 or bad > 8:   # of a second's samples; docs/accuracy.md has what is usual
        raise bind.Far('%d stale names, %d impossible stacks' % (counts[grammar.STALE], bad))


# --- where the time of mixed workloads goes ---------------------------------------------------------------------------

# On a machine that others use, too, and in two seconds: wider than in the long form, but a fault that it is about
# (a wait shown as running, CPU time in a sleep, a thread's clock counted for each interpreter) is far beyond.
BUSY = mixed.Bounds(far=0.06, run=0.12, wall=0.06, clock=0.02, lost=0.05, loaded=0.05)
MIXED = {   # workload: situations
    'spin': ['quiet', 'other1', 'onecpu'], 'wakes': ['quiet', 'onecpu'], 'pingpong': ['quiet'], 'calls': ['quiet'],
    'requests': ['quiet'], 'interpreters': ['quiet'], 'bursty': ['quiet', 'spin1'], 'convoy': ['quiet'],
    'queues': ['quiet'], 'nogil': ['quiet'],
}
MIXED_SECONDS = bind.length(2, 1.5)


def mixed_recording(name, situation):
    job = {'workload': name, 'situation': situation, 'rate': 1000, 'seconds': MIXED_SECONDS}
    if name in ('calls', 'interpreters') and not os.path.exists(os.path.join(bind.BUILD, 'oracle_host.so')):
        bind.skip('oracle_host.so is not built')
    try:
        with mixed.beside(situation) as begin:
            row = mixed.run(bind.BUILD, job, begin, BUSY)
    except hogs.Refused as reason:
        bind.skip(str(reason))
    if 'skip' in row:
        bind.skip(row['skip'])
    bind.check('failed' not in row, '%s', row.get('failed'))
    print(mixed.line(mixed.COLUMNS, False))
    print(mixed.line(mixed.cells('pyprof.h', job, row), False))
    mixed.details(row)
    bind.enough(not row['wrong'], 'out of bounds: %s', ' '.join(row['wrong']))


def told_truth(**changes):
    """A recording that tells the truth of a thread with two parts that run and one that waits; then what is wrong once
    these numbers of it are changed: PART_KIND=by how many ns more, or the name of a number of mixed.judge."""
    times = {'bursts': [10, 10], 'burn_a': [1600, 1600], 'burn_b': [800, 800], 'nap': [3590, 0]}   # ms: wall, CPU
    truth = {'parts': {part: [1e6 * wall, 1e6 * cpu] for part, (wall, cpu) in times.items()},
             'roles': dict.fromkeys(times, 'bursts'), 'clocks': [[2410e6, [7]]]}
    found = {}
    for part, (wall, cpu) in truth['parts'].items():
        one = found[part] = mixed.amounts()
        one.update(wall=wall, running=cpu, CPU=cpu, waiting=wall - cpu, samples=int(wall / 1e6), ran=int(cpu / 1e6))
    stats = {'asked': 12000, 'missed': 0, 'rejected': 0}
    clocks, job = {7: 2410e6}, {'workload': 'bursty', 'situation': 'quiet', 'rate': 1000, 'threads': 2}
    for name, more in changes.items():
        part, _, kind = name.rpartition('_')
        if name in stats:
            stats[name] += more
        elif name == 'clock':
            clocks[7] += more
        else:
            found[part][kind] += more
    return mixed.judge(truth, found, clocks, 0, stats, job)['wrong']


@bind.test
def mixed_faults_are_told():
    """What was wrong with recordings once, in a small dose: each fault must be told by its own name, and nothing else."""
    bind.equal(told_truth(), [], 'the truth itself')
    for wrong, changes in (
            (['CPU'], {'burn_a_CPU': -300e6, 'nap_CPU': 300e6}),                          # the CPU time of a sleep
            (['running'], {'burn_a_running': 200e6, 'burn_b_running': -200e6}),
            (['wall'], {'burn_a_wall': 400e6, 'nap_wall': -400e6}),
            (['waiting'], {'burn_a_waiting': 250e6, 'nap_waiting': -250e6}),
            (['run:CPU'], {'burn_a_running': 330e6, 'burn_b_running': 165e6}),            # waits that are shown as running
            (['wall:true'], {'burn_a_wall': -133e6, 'burn_b_wall': -67e6, 'nap_wall': -300e6}),
            (['CPU:clock'], {'clock': 30e6}),
            (['CPU:clock'], {'clock': 3 * 2410e6}),                                       # for each interpreter once
            (['CPU:clock'], {'clock': -2410e6}),
            (['lost'], {'missed': 20}),
            (['lost'], {'rejected': 20})):
        bind.equal(told_truth(**changes), wrong, repr(changes))
    bind.equal(told_truth(missed=13), [], 'one tick of two threads, and 0.1 %')
    bind.equal(told_truth(clock=20e6), [], 'within 1 %')
    bind.equal(told_truth(burn_a_CPU=-40e6, nap_CPU=40e6), [], 'within 2 points')


@bind.test
def sampling_floors_are_those_of_chance():
    """Of two equal parts the distance is |k/n - 1/2|, whose mean is known: 1 / sqrt(2 pi n)."""
    for count in (100, 1000, 20000):
        mean, most = mixed.floor({'a': 5, 'b': 5}, count)
        bind.check(abs(mean * (2 * 3.14159265 * count) ** 0.5 - 1) < 0.1, 'of %d samples: %g', count, mean)
        bind.check(2 * mean < most < 8 * mean, 'of %d samples at most %g', count, most)
    bind.equal(mixed.floor({'a': 1, 'b': 0}, 1000), (0.0, 0.0), 'one part')
    bind.equal(mixed.distance({'a': 1, 'b': 3}, {'a': 2, 'b': 2}), 0.25)
    bind.equal(mixed.distance({'a': 1}, {}), 1.0)


@bind.test
def meters_agree_with_the_clocks():
    """What a workload says its parts took is what its thread's clocks say it took altogether."""
    for name in ('spin', 'wakes', 'convoy', 'queues', 'bursty'):
        del parts.METERS[:]
        run = parts.Run(0.6)
        parts.ALL[name].prepare(run)
        parts.ALL[name].run(run)
        for meter in parts.METERS:
            print(name, meter.names, meter.wall, meter.cpu, meter.clock, meter.turns)
            bind.near(sum(meter.cpu), meter.clock, 0.02, 1e6, 'CPU time of the parts of ' + name)
            bind.check(sum(meter.cpu) <= 1.02 * sum(meter.wall), 'more CPU than time')
            bind.near(sum(meter.wall) / 1e9, 0.6, 0.3, 0.2, 'time of the parts of ' + name)


def register():
    for workload in workloads.ALL:
        def follow(workload=workload):
            if workload.name == 'deep':   # each call is traced: fewer
                workloads.DEPTH = 300
                workload.most = 304
            try:
                rules_are_what_happens(workload)
            except workloads.Unavailable as reason:
                bind.skip(str(reason))
        bind.test(follow, name='the_rules_of_' + workload.name)
        for mode in ('freeze', 'copy'):
            bind.test(lambda name=workload.name, mode=mode: recorded(name, mode),
                      name='%s_by_%s' % (workload.name, mode), long=mode == 'copy')
    for name, situations in MIXED.items():
        for situation in situations:
            bind.test(lambda name=name, situation=situation: mixed_recording(name, situation),
                      name='mixed_%s_%s' % (name, situation))


register()
if __name__ == '__main__':
    bind.run()
