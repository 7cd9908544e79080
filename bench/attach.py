"""What it costs to be recorded from outside, beside the other profilers that are installed.

    attach.py BUILD_DIR         ROUNDS=9 for more or less

A program does the same work again and again, without a recorder and with each in turn; a round's ratio is of neighbours in
time. Then: the recorder's own CPU time, also for 20 processes of 4 threads; the time to the first sample, and of a dump.
"""
import ctypes
import glob
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SID = os.environ.get('SID') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'pyprof', 'sid')
ROUNDS = int(os.environ.get('ROUNDS', 9))
UNIT_S = 1.0


# --- the recorded programs --------------------------------------------------------------------------------------------

def leaf(n):
    return sum(i * i for i in range(n))


def branch(depth, n):
    return branch(depth - 1, n) if depth else leaf(n)


def work(rounds):
    for i in range(rounds):
        branch(i % 40, 30)


def target():
    """Each line of input asks for a unit of work; the answer is its wall time and its CPU time."""
    begin = time.perf_counter()
    work(2000)
    rounds = int(2000 * UNIT_S / (time.perf_counter() - begin))
    print('ready', flush=True)
    for _ in sys.stdin:
        begin, used = time.perf_counter(), time.thread_time()
        work(rounds)
        print('%.6f %.6f' % (time.perf_counter() - begin, time.thread_time() - used), flush=True)


def nap(seconds):
    while True:
        work(5)
        time.sleep(seconds)


def many():
    """20 processes of 4 threads, which work for a tenth of a CPU altogether."""
    for i in range(20):
        if os.fork() == 0:
            for _ in range(3):
                threading.Thread(target=nap, args=(0.1,), daemon=True).start()
            nap(0.1)
    print('ready', flush=True)
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


class Program:
    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True, cwd=ROOT, **options)
        self.pid = self.process.pid
        if self.process.stdout.readline() != 'ready\n':
            raise RuntimeError('%s does not start' % command)

    def unit(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        return tuple(map(float, self.process.stdout.readline().split()))

    def end(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


# --- the recorders ----------------------------------------------------------------------------------------------------

def cpu_ns(pid):
    """Of all its threads, including those that have ended: the clock of a process, as the kernel numbers it."""
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)
    except OSError:   # it has ended
        return 0


def family_cpu_ns(pid):
    """The same, with its children: a tool may be a script that starts the program."""
    total = cpu_ns(pid)
    for path in glob.glob('/proc/%d/task/*/children' % pid):
        try:
            with open(path) as file:
                total += sum(family_cpu_ns(int(child)) for child in file.read().split())
        except OSError:
            pass
    return total


class Recorder:
    def __init__(self, command, folder):
        with open(os.path.join(folder, 'said'), 'wb') as said:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=ROOT)
        time.sleep(1.0)   # it begins
        self.begin, self.used = time.perf_counter(), family_cpu_ns(self.process.pid)

    def end(self):
        """Its CPU time as a share of a core since it had begun; None if it has ended by itself."""
        share = (family_cpu_ns(self.process.pid) - self.used) / 1e9 / (time.perf_counter() - self.begin)
        if self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return share


def recorders(build, folder):
    """{name: (command without the pid, or None if it is not installed)}; {pid} stands for the pid, {rate} for the rate."""
    ours, spy, austin = os.path.join(build, 'pyprof'), shutil.which('py-spy'), shutil.which('austin')
    out = os.path.join(folder, 'out')
    return {
        'pyprof': [ours, 'record', '--pid', '{pid}', '-r', '{rate}', '-d', '600', '-o', out + '.json'],
        'py-spy': spy and [spy, 'record', '--pid', '{pid}', '-r', '{rate}', '-d', '600', '-f', 'raw', '-o', out + '.raw'],
        'py-spy --nonblocking': spy and [spy, 'record', '--nonblocking', '--pid', '{pid}', '-r', '{rate}', '-d', '600', '-f', 'raw', '-o', out + '.raw'],
        'austin': austin and [austin, '-i', '{period_us}', '-o', out + '.austin', '-p', '{pid}'],
    }


def filled(command, pid, rate):
    return [word.format(pid=pid, rate=rate, period_us=1000000 // rate) for word in command]


def slowdown(name, command, program, rate, folder):
    pairs, shares = [], []
    for i in range(ROUNDS):
        without = program.unit() if i % 2 else None
        recorder = Recorder(filled(command, program.pid, rate), folder)
        took = program.unit()
        share = recorder.end()
        pairs.append((took, without or program.unit()))
        if share is None:
            print('%-24s %5d Hz   failed: %s' % (name, rate, reason(folder)))
            return
        shares.append(share)
    print('%-24s %5d Hz   %s   recorder %5.2f %% of a core' % (name, rate, ratios(pairs), 100 * statistics.median(shares)), flush=True)


def reason(folder):
    with open(os.path.join(folder, 'said'), errors='replace') as said:
        return ' '.join(said.read().split())[:120]


def ratios(pairs):
    """On a machine that others use, too, the CPU time is the steadier one; waits for the recorder are in the other alone."""
    wall, cpu = (statistics.median(took[i] / without[i] for took, without in pairs) - 1 for i in (0, 1))
    return 'slowdown %+6.2f %%, of CPU time %+6.2f %%' % (100 * wall, 100 * cpu)


def noise(program):
    values = [program.unit() for _ in range(2 * ROUNDS)]
    print('%-24s            %s' % ('none', ratios(list(zip(values[1::2], values[::2])))), flush=True)


def table(title, command, tools, folder):
    print('\n' + title)
    program = Program(command)
    try:
        noise(program)
        for rate in (100, 1000):
            for name, recorder in tools.items():
                if recorder:
                    slowdown(name, recorder, program, rate, folder)
                elif rate == 100:
                    print('%-24s not installed' % name)
    finally:
        program.end()


def processes(command, tools, folder):
    """The first of the tools is the one that the others are compared with."""
    print('\n20 processes of 4 threads at 100 Hz')
    program = Program(command, start_new_session=True)
    first = None
    try:
        for name, tool in tools.items():
            if not tool:
                print('%-26s not installed' % name)
                continue
            recorder = Recorder(filled(tool, program.pid, 100), folder)
            time.sleep(3)
            share = recorder.end()
            first = first or share
            print('%-26s %s' % (name, 'failed: ' + reason(folder) if share is None else
                                'recorder %6.2f %% of a core%s' % (100 * share, '' if share is first else ', %.1f times as much' % (share / first))),
                  flush=True)
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.process.wait()


def of_children(tools):
    """The same commands, with the option that also records child processes."""
    options = {'austin': '-C'}
    return {name: tool and tool[:1] + ([] if name == 'austin' else tool[1:2]) + [options.get(name, '--subprocesses')] + tool[1 if name == 'austin' else 2:]
            for name, tool in tools.items()}


def median_ms(action, count):
    took = []
    for _ in range(count):
        begin = time.perf_counter()
        action()
        took.append(1000 * (time.perf_counter() - begin))
    return statistics.median(took)


def moments(build, tools):
    print('\nms, medians')
    sys.argv[1:] = [build]
    sys.path.insert(0, os.path.join(ROOT, 'tests', 'py'))
    import bind
    program = Program([sys.executable, os.path.abspath(__file__), '--target'])

    def first():
        session = bind.Session(pid=program.pid, rate_hz=1000)
        while not session.stats().samples:
            time.sleep(0.0002)
        took.append(1000 * (time.perf_counter() - begin[0]))
        session.stop()

    def dump():
        profile = ctypes.c_void_p()
        bind.call('dump', program.pid, None, ctypes.byref(profile))
        bind.Profile(profile.value).free()

    took, begin = [], [0.0]
    try:
        for _ in range(15):
            begin[0] = time.perf_counter()
            first()
        print('pyprof_start to the first sample at 1000 Hz  %7.2f' % statistics.median(took))
        print('pyprof_dump                                  %7.2f' % median_ms(dump, 30))
        for name in ('pyprof', 'py-spy'):
            if tools[name]:
                command = [tools[name][0], 'dump', '--pid', str(program.pid)]
                print('%-44s %7.2f' % (name + ' dump, the whole command', median_ms(
                    lambda: subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 15)))
            else:
                print('%-44s not installed' % name)
    finally:
        program.end()


def main(build):
    with tempfile.TemporaryDirectory() as folder:
        tools = recorders(build, folder)
        table('Python %s recorded' % sys.version.split()[0], [sys.executable, os.path.abspath(__file__), '--target'], tools, folder)
        processes([sys.executable, os.path.abspath(__file__), '--many'], of_children(tools), folder)
        moments(build, tools)
        sid = os.path.join(ROOT, 'tests', 'sid.sh')
        if os.path.exists(os.path.join(SID, 'usr/bin/python3.15')) and os.getuid() == 0:
            # It looks for the files of the process in its own tree, so it runs in that of the process.
            sampler = ['nsenter', '-t', '{pid}', '-m', '-r', '-w', '/usr/bin/python3.15', '-m', 'profiling.sampling', 'attach', '-d', '600', '-r', '{rate}', '--collapsed', '-o', '/tmp/out', '{pid}']
            both = {'pyprof': tools['pyprof'], "3.15's profiling.sampling": sampler}
            table('Python 3.15 recorded (Debian sid)', [sid, 'run', 'python3.15', '/pyprof/bench/attach.py', '--target'], both, folder)
            both["3.15's profiling.sampling"] = sampler[:-1] + ['--subprocesses', '-a'] + sampler[-1:]
            processes([sid, 'run', 'python3.15', '/pyprof/bench/attach.py', '--many'], dict(both, pyprof=of_children(tools)['pyprof']), folder)
        else:
            print("\n3.15's profiling.sampling: not installed (tests/sid.sh setup)")


if __name__ == '__main__':
    {'--target': target, '--many': many}.get(sys.argv[1], lambda: main(os.path.abspath(sys.argv[1])))()
