"""Recordings in programs that fork, start others, exit or are replaced while they are sampled."""
import multiprocessing
import os
import subprocess
import sys
import time

import bind
from bind import CPU_NS, WALL_NS
from recording import balanced, in_child, late, running, share, spin, spin_hot, thread_of


@bind.test
def fork_while_sampling():
    session = bind.Session(rate_hz=2000)
    begin = time.perf_counter()

    def child():
        bind.equal(len(bind.tasks()), 1, 'threads of the child')
        spin(0.02)
        for function in (session.stats, session.pause, session.snapshot, session.stop):
            try:
                function()   # the parent's session: an answer, not a hang
            except bind.Error as error:
                bind.equal(error.code, bind.STATE, 'the code for the parent\'s session')
        with bind.record(rate_hz=1000) as r:
            while r.stats().samples < 50:
                spin_hot(0.2)
        bind.enough(share(r.profile, 'MainThread', 'spin_hot', CPU_NS) > 0.5, 'CPU time of spin_hot in the child')
        bind.equal(r.profile.info().pid, os.getpid(), 'pid')
        bind.equal([thread.thread_id for thread in r.profile.threads()], [os.getpid()], 'thread ids')
        bind.near(r.profile.info().total[WALL_NS] / 1e9, r.elapsed, 0, 0.1 + late(r.profile), 'wall time of the child')
        balanced(r.profile.stats())
        bind.equal(len(bind.tasks()), 1, 'threads of the child at the end')

    with running(spin, bind.length(1.5, 0.6), name='worker'):
        for _ in range(bind.length(5, 2)):
            bind.equal(in_child(child), 0, 'exit status of the child')
    elapsed = time.perf_counter() - begin
    profile = session.stop()
    bind.near(thread_of(profile, 'MainThread').total[WALL_NS] / 1e9, elapsed, 0.03, 0.05 + late(profile), 'the parent records on')
    bind.check(max(sample['timestamp'] for sample in profile.json()['samples']) > time.time() - 0.5, 'to the end')
    bind.equal(profile.info().pid, os.getpid())
    balanced(profile.stats())


@bind.test
def many_forks():
    """At any moment of the sampler's: its locks may be held then."""
    def child():
        bind.Session().stop()

    with bind.record(rate_hz=20000) as r:
        with running(spin, bind.length(2.0), name='worker'):
            for i in range(bind.length(200, 50)):
                bind.equal(in_child(child), 0)
    balanced(r.profile.stats())


@bind.test
def grandchildren():
    def grandchild():
        with bind.record(rate_hz=1000) as r:
            bind.eventually(lambda: r.stats().samples > 10, 'samples')

    def child():
        with bind.record(rate_hz=1000) as r:
            bind.equal(in_child(grandchild), 0, 'the grandchild')
            bind.eventually(lambda: r.stats().samples > 10, 'samples')

    with bind.record(rate_hz=1000) as r:
        bind.equal(in_child(child), 0, 'the child')
        bind.eventually(lambda: r.stats().samples > 50, 'samples')


@bind.test
def dump_in_a_forked_child():
    def child():
        for lib in (bind.released, bind.held):
            profile = bind.dump_profile(lib)
            bind.equal([thread.thread_id for thread in profile.threads()], [os.getpid()])

    with running(spin, 0.5):
        bind.equal(in_child(child), 0)
        with bind.record(rate_hz=1000):
            bind.equal(in_child(child), 0)


def pool_work(n):
    spin(0.02)
    return n * n


@bind.test
def multiprocessing_fork_and_spawn():
    for method in ('fork', 'spawn'):
        context = multiprocessing.get_context(method)
        with bind.record(rate_hz=1000) as r:
            with context.Pool(2) as pool:
                bind.equal(pool.map(pool_work, range(8)), [n * n for n in range(8)])
        bind.enough(r.profile.stats().samples > 10, 'samples with %s', method)
        balanced(r.profile.stats())


@bind.test
def subprocesses():
    with bind.record(rate_hz=2000) as r:
        for i in range(20):
            bind.equal(subprocess.call([sys.executable, '-S', '-c', 'import sys; sys.exit(7)']), 7)
        bind.equal(subprocess.check_output(['echo', 'x'], preexec_fn=lambda: None), b'x\n')
    balanced(r.profile.stats())


def script(body):
    """Runs body in a process of its own, with bind at hand: (exit code, what it said)."""
    code = 'import sys\nsys.argv = ["x", %r]\nsys.path.insert(0, %r)\nimport bind, os, threading, time\n%s' % (
        bind.BUILD, os.path.dirname(os.path.abspath(__file__)), body)
    process = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    return process.returncode, process.stdout.decode('utf-8', 'replace')


@bind.test
def exits_while_sampling():
    start = 's = bind.Session(rate_hz=5000)\nfor i in range(300000): pass\n'
    thread = 'threading.Thread(target=lambda: time.sleep(3600), daemon=True).start()\n'
    for body, code in (('os._exit(3)', 3), ('sys.exit(4)', 4), ('pass', 0), ('raise SystemExit(5)', 5),
                       ('os.kill(os.getpid(), 15)', -15), ('os.abort()', -6), ('s.stop(); sys.exit(6)', 6),
                       ('s.pause(); sys.exit(7)', 7), ('import atexit; atexit.register(s.stop); sys.exit(8)', 8),
                       ('import ctypes; ctypes.CDLL(None).exit(9)', 9), ('import ctypes; ctypes.CDLL(None).quick_exit(10)', 10),
                       ('threading.Thread(target=lambda: os._exit(11)).start(); time.sleep(5)', 11)):
        for more in bind.several(thread, ''):
            got = script(start + more + body)
            bind.equal(got[0], code, 'exit code of %r, which said %r' % (body, got[1]))
            bind.equal(got[1], '', 'output of %r' % body)
    code, said = script(start + 'raise ValueError("x")')
    bind.equal(code, 1)
    bind.check(said.endswith('ValueError: x\n'), said)


@bind.test
def exec_while_sampling():
    code, said = script('s = bind.Session(rate_hz=5000)\nos.execv("/bin/echo", ["echo", "replaced"])')
    bind.equal((code, said), (0, 'replaced\n'))


if __name__ == '__main__':
    bind.run()
