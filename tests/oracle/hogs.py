"""Busy processes, to measure beside."""
import contextlib
import os
import subprocess
import sys

CODE = 'import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(1000000): pass'


@contextlib.contextmanager
def hogs(wanted):
    """A busy process for each CPU; they end with their parent, whatever happens to it."""
    busy = [subprocess.Popen([sys.executable, '-S', '-c', CODE]) for _ in range(os.cpu_count() if wanted else 0)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()
