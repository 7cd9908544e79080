"""Other processes, sampled from outside by the recorder of tests/outside.c: this process and targets of its own.

The tests of test_impossible, test_states and others record this process from outside if PYPROF_OUTSIDE is set. ATTACH: more
Pythons for the targets, separated by spaces.
"""
import os
import re
import signal
import subprocess
import sys
import time

import bind
from bind import SAMPLES, WALL_NS
from known_calls import churn_main, impossible, known_lines, trace_run
from recording import balanced, running
from states import Worker, runs, spin, told

LIMIT = 120
PYTHONS = [sys.executable] + os.environ.get('ATTACH', '').split()

TARGET = '''
import os, sys, threading, time

def inner():
    total = 0
    for i in range(300):
        total += i
    return total

def hot(seconds):
    end = time.time() + seconds
    while time.time() < end:
        inner()

def nap():
    time.sleep(600)

def asleep():
    nap()

def stacks():
    frames, names = sys._current_frames(), dict((t.ident, t.name) for t in threading.enumerate())
    found = []
    for ident, frame in frames.items():
        lines = []
        while frame:
            lines.append('%s:%d' % (frame.f_code.co_name, frame.f_lineno))
            frame = frame.f_back
        found.append('%s %s' % (names[ident], ' '.join(reversed(lines))))
    return found

threading.Thread(target=asleep, name='asleep', daemon=True).start()
threading.Thread(target=hot, args=(600,), name='hot', daemon=True).start()
'''


class Target:
    """A Python that runs TARGET and more code, and says what it printed."""

    def __init__(self, code, python=sys.executable, before=TARGET):
        self.process = subprocess.Popen([python, '-c', before + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        universal_newlines=True)
        self.pid = self.process.pid
        bind.equal(self.line(), 'ready', 'the target')

    def line(self):
        return self.process.stdout.readline().strip()

    def ask(self, code):
        self.process.stdin.write(code + '\n')
        self.process.stdin.flush()
        return self.line()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


WAITS = "print('ready', flush=True)\nfor line in sys.stdin:\n    exec(line)\n"


def frames(item):
    return ' '.join('%s:%d' % (f.name, f.line) for f in item.stack if f.kind == bind.KIND_PYTHON)


def samples(profile, thread, pattern):
    return sum(item.self[SAMPLES] for item in profile.visit(bind.ITEM_STACK) if item.thread.name == thread
               and re.search(pattern, frames(item)))


def recorder_dump(pid):
    recorder = bind.Outside(pid=pid, rate_hz=0)
    try:
        return recorder.dump()
    finally:
        recorder.end()


@bind.test(limit=LIMIT)
def no_impossible_stacks_from_outside():
    steps = trace_run()
    recorder = bind.Outside(rate_hz=5000)
    with running(churn_main, 0, bind.length(20, 2), name='churn', count=2):
        pass
    profile = recorder.stop()
    stats = profile.stats()
    wrong = impossible(profile, steps, known_lines())
    print(dict(wrong), stats)
    balanced(stats)
    good = wrong.pop('good', 0)
    bind.check(good > 1000, 'only %d samples', good)
    bind.equal(dict(wrong), {}, 'impossible stacks')
    bind.check(stats.unfrozen < 0.05 * stats.samples, '%d of %d read while they ran', stats.unfrozen, stats.samples)


@bind.test(limit=LIMIT)
def the_targets_own_frames():
    """A thread that waits has the frames that sys._current_frames() shows; what runs is at a line of the function that runs."""
    for python in PYTHONS:
        with Target(WAITS, python) as target:
            recorder = bind.Outside(pid=target.pid, rate_hz=500)
            time.sleep(1)
            truth = dict(one.split(' ', 1) for one in target.ask('print("|".join(stacks()), flush=True)').split('|'))
            profile = recorder.stop()
            print(python, truth, profile.stats())
            seen = {frames(item) for item in profile.visit(bind.ITEM_STACK) if item.thread.name == 'asleep' and item.self[SAMPLES]}
            bind.equal(seen, {truth['asleep']}, 'frames of the thread that waits')
            inside = samples(profile, 'hot', r'hot:\d+ inner:[456789]$')
            of = samples(profile, 'hot', '')
            bind.check(of > 50 and inside > 0.5 * of, 'hot: %d samples, in inner %d', of, inside)
            names = {item.thread.name for item in profile.visit(bind.ITEM_STACK)}
            bind.equal(names, {'MainThread', 'asleep', 'hot'}, 'threads')
            dumped = recorder_dump(target.pid)
            bind.equal({frames(item) for item in dumped.visit(bind.ITEM_STACK) if item.thread.name == 'asleep'}, {truth['asleep']}, 'a dump')


@bind.test(limit=LIMIT)
def threads_run_and_wait_as_their_clocks_say():
    recorder = bind.Outside(rate_hz=1000)
    workers = [Worker('spinner', spin, 2), Worker('sleeper', time.sleep, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.end()
    profile = recorder.stop()
    for worker in workers:
        told(profile, worker.name, worker)
    runs(profile, workers[0])
    bind.enough(profile.shares('sleeper')['idle'] > 0.95, 'the sleeper: %r', profile.shares('sleeper'))


STEPS = '''
import sys, threading, time
spent, turns = [0, 0], 0

def first():
    time.sleep(0.01)

def second():
    time.sleep(0.02)

def steps():
    global turns
    while True:
        marks = [time.perf_counter()]
        for i, step in enumerate((first, second)):
            step()
            marks.append(time.perf_counter())
            spent[i] += marks[-1] - marks[-2]
        turns += 1

threading.Thread(target=steps, name='steps', daemon=True).start()
'''


@bind.test(limit=LIMIT)
def each_step_of_a_process_that_rests():
    """All its threads are blocked at nearly every sweep, and yet each step from one wait to the next is seen."""
    with Target(WAITS, before=STEPS) as target:
        recorder = bind.Outside(pid=target.pid, rate_hz=1000)
        before = [float(word) for word in target.ask('print(turns, *spent, flush=True)').split()]
        time.sleep(1.5)
        turns, *truth = (float(word) - value for word, value in zip(target.ask('print(turns, *spent, flush=True)').split(), before))
        profile = recorder.stop()
    where = [item.stack[-1].name for item in sorted(profile.visit(bind.ITEM_STATE), key=lambda item: item.timestamp) if item.thread.name == 'steps']
    seen = sum(one != other for one, other in zip(where, where[1:]) if {one, other} == {'first', 'second'})
    print('%d turns, %d steps seen' % (turns, seen), truth, profile.stats())
    bind.enough(turns > 20, 'the target had %d turns', turns)
    bind.enough(seen > 0.7 * 2 * turns, '%d of %d steps were seen', seen, 2 * turns)
    got = [sum(item.self[WALL_NS] for item in profile.visit(bind.ITEM_STACK) if item.thread.name == 'steps' and item.stack[-1].name == name)
           for name in ('first', 'second')]
    bind.near(got[0] / sum(got), truth[0] / sum(truth), 0, 0.05, 'the share of the first wait')


@bind.test(limit=LIMIT)
def a_target_that_is_killed():
    with Target(WAITS) as target:
        recorder = bind.Outside(pid=target.pid, rate_hz=500)
        time.sleep(0.5)
        target.process.kill()
        target.process.wait()
        time.sleep(0.3)
        profile = recorder.stop()
        bind.equal(profile.stats().ended, 1, 'ended')
        bind.enough(samples(profile, 'hot', 'inner') > 20, 'what was recorded is lost: %s', profile.stats())
        try:
            bind.Outside(pid=target.pid).stop()
        except bind.Error as error:
            bind.equal(error.code, bind.NO_PROCESS, 'a pid of no process')
        else:
            bind.check(False, 'a process that has ended was opened')


@bind.test(limit=LIMIT)
def a_target_that_executes_another_program():
    code = WAITS + "os.execv(sys.executable, [sys.executable, '-c', 'import time\\ndef second():\\n    while 1: pass\\nsecond()'])\n"
    with Target(code) as target:
        recorder = bind.Outside(pid=target.pid, rate_hz=500)
        time.sleep(0.5)
        target.process.stdin.close()
        bind.eventually(lambda: samples(recorder.snapshot(), 'MainThread', 'second'), 'the second program')
        profile = recorder.stop()
        bind.enough(samples(profile, 'hot', 'inner') > 20, 'what was recorded is lost: %s', profile.stats())
        bind.check('another program' in profile.stats().degraded.decode(), 'degraded: %s', profile.stats().degraded)


@bind.test(limit=LIMIT)
def a_target_that_is_stopped_goes_on():
    with Target(WAITS) as target:
        recorder = bind.Outside(pid=target.pid, rate_hz=500)
        os.kill(target.pid, signal.SIGSTOP)
        time.sleep(0.4)
        stopped = recorder.snapshot(reset=1)
        os.kill(target.pid, signal.SIGCONT)
        time.sleep(0.8)
        profile = recorder.stop()
        print(stopped.stats(), profile.stats())
        with open('/proc/%d/status' % target.pid) as file:
            status = file.read()
        bind.check('TracerPid:\t0' in status and not re.search(r'State:\t[tT]', status), 'left stopped or traced: %s', status)
        bind.check(samples(profile, 'hot', 'inner') > 20, 'it does not go on: %s', profile.stats())


@bind.test(limit=LIMIT)
def memory_is_refused():
    session = bind.c_void_p()
    config = bind.fill(bind.Config(), pid=os.getppid(), heap=bind.HEAP_SAMPLED)
    result = bind.released.start(bind.byref(config), bind.byref(session))
    bind.equal(result, bind.ARGUMENT, 'heap of another process')
    bind.check(b'libpyprof.so' in bind.released.last_error(), 'detail: %s', bind.released.last_error())


if __name__ == '__main__':
    bind.run()
