"""Work for profilers that write files: calls along many paths, each of which allocates a block and keeps it.

    python bench/paths.py [SECONDS]     again and again until the time is over; without it once
"""
import random
import sys
import time

FUNCTIONS, PATHS, DEPTH = 300, 50000, 20
source = ''.join('def handle_%d(path, at, kept):\n'
                 '    if at < len(path): path[at](path, at + 1, kept)\n'
                 '    else: kept.append(bytearray(600))\n' % i for i in range(FUNCTIONS))
made = {}
exec(compile(source, 'handlers.py', 'exec'), made)
chance = random.Random(1)
handlers = [made['handle_%d' % i] for i in range(FUNCTIONS)]
paths = [[chance.choice(handlers) for _ in range(DEPTH)] for _ in range(PATHS)]
end = time.monotonic() + float(sys.argv[1]) if len(sys.argv) > 1 else 0
while True:
    kept = []
    for path in paths:
        path[0](path, 1, kept)
    if time.monotonic() >= end:
        break
