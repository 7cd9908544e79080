"""Runs the programs of this folder, each in a process of its own.

    N=SCALE PYTHON tests/soak/run.py BUILD [NAME ...]

N=1 is the full length, N=0.01 the shortest. BUILD holds what `make soak` builds.
"""
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback

import soak
import bind

import bounds, churn, cycles, embed, forks, reuse   # noqa: each adds its program to soak.PROGRAMS


def scale():
    return float(os.environ.get('N') or 1)


def run_here(name):
    for variable in list(os.environ):
        if variable == 'PROFILING' or variable.startswith('PYPROF_'):
            del os.environ[variable]
    try:
        print(soak.PROGRAMS[name][0](scale()))
        return 0
    except bind.Skip as reason:
        print(reason)
        return 77
    except BaseException:
        traceback.print_exc()
        return 1


def run(name):
    """Prints the result line. True if nothing is wrong."""
    suite, begin = 'soak[%s%s]: %s' % (platform.python_version(), 't' if bind.FREE_THREADED else '', name), time.monotonic()
    limit = 120 + soak.PROGRAMS[name][1] * scale()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([sys.executable, '-X', 'faulthandler', __file__, sys.argv[1], '--run', name],
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        code, late = bind._end(process, limit)
        output.seek(0)
        said = output.read().decode('utf-8', 'replace').strip() or '?'
    if code in (0, 77):
        print('%s  %s (%s)' % ('skip' if code else 'ok  ', suite, said.splitlines()[-1]))
    else:
        why = 'still running after %d s' % limit if late else 'exit code %d' % code
        print('FAIL  %s: %s after %.0f s' % (suite, why, time.monotonic() - begin))
        print('\n'.join('      | ' + line for line in said.splitlines()[-60:]))
    sys.stdout.flush()
    return code in (0, 77)


def main():
    if sys.argv[2:3] == ['--run']:
        sys.exit(run_here(sys.argv[3]))
    chosen = sys.argv[2:] or [name for name in soak.PROGRAMS if os.environ.get('T', '') in 'soak ' + name]
    sys.exit(not all([run(name) for name in chosen]))


if __name__ == '__main__':
    main()
