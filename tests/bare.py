"""Makes the Python that the tests start, at PATH: this one in an environment without packages (PEP 405).

    PYTHON tests/bare.py FOLDER/bin/python3

The tests start Python a thousand times. A .pth file of its packages may import much at each start: that can be most of
the time that the tests take, and is not what they test.
"""
import os
import sys


def replaced(path, make):
    """A test that runs at this moment finds the old one or the new one."""
    made = '%s.%d' % (path, os.getpid())
    make(made)
    os.replace(made, path)


def written(text):
    def make(path):
        with open(path, 'w') as file:
            file.write(text)
    return make


path = sys.argv[1]
own = getattr(sys, '_base_executable', None) or sys.executable   # of the Python whose environment this may be
os.makedirs(os.path.dirname(path), exist_ok=True)
replaced(os.path.join(os.path.dirname(os.path.dirname(path)), 'pyvenv.cfg'), written(
    'home = %s\ninclude-system-site-packages = false\n' % os.path.dirname(own)))
replaced(path, lambda made: os.symlink(own, made))
