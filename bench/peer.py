"""A peer samples the same work: its CPU in percent of a core, and the slowdown of the work."""
import os
import resource
import statistics
import subprocess
import sys

WORK = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'work.py')
COMMANDS = {
    'py-spy': lambda rate: ['py-spy', 'record', '-r', str(rate), '-f', 'raw', '-o', os.devnull, '--'],
    'austin': lambda rate: ['austin', '-i', str(1000000 // rate), '-o', os.devnull],
}


def run(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command + [sys.executable, WORK, '1500'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    walls = [float(line) for line in done.stdout.decode().split() if '.' in line and line.replace('.', '').isdigit()]
    return (walls or [0])[0], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


for rate in 100, 1000:
    ratios, extra, walls = [], [], []
    for _ in range(3):
        plain, plain_cpu = run([])
        wall, cpu = run(COMMANDS[sys.argv[1]](rate))
        if wall:
            ratios.append(wall / plain)
            extra.append(cpu - plain_cpu)
            walls.append(wall)
    if not ratios:
        print('%s at %d Hz: does not run here' % (sys.argv[1], rate))
    else:
        print('%-34s %8.3fx %8.2f%%' % ('%s, %d Hz' % (sys.argv[1], rate), statistics.median(ratios), 100 * statistics.median(extra) / statistics.median(walls)))
