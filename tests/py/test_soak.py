"""Short forms of the programs in tests/soak: minutes and hours of the same work are `make soak`."""
import os
import sys

import bind

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, 'soak'))

import soak
import bounds, churn, cycles, embed, forks, reuse   # each adds its program to soak.PROGRAMS


def short_form(name):
    run, _, scale = soak.PROGRAMS[name]
    bind.test(lambda: print(run(bind.length(scale, 0.005))), name=name, limit=180)


bind.FRESH = True   # a program each: soak sets the allocator of those that are started from here on
for program in soak.PROGRAMS:
    short_form(program)

if __name__ == '__main__':
    bind.run()
