"""What a recording is made beside: busy processes, one CPU, a quota of CPU time.

The processes that are busy come as one family. Linux gives each session of its own (setsid: a terminal, a
service) its own part of the CPUs where /proc/sys/kernel/sched_autogroup_enabled is 1, as it gives each
container one: ours is then shared by the profiler and its program, and with `apart` the family has another.
"""
import contextlib
import os
import signal
import subprocess
import sys
import time

CODE = '''
import os, sys
parent = os.getppid()
for _ in range(%d):
    if os.fork() == 0:
        parent = os.getppid()
        break
os.nice(%d)
while os.getppid() == parent:
    for _ in range(1000000): pass
'''


@contextlib.contextmanager
def hogs(wanted, each=1, apart=False, nice=0):
    """Busy processes, so many for each CPU, in this session or in one of their own. They end with their
    parent, whatever happens to it."""
    if not wanted:
        yield
        return
    code = CODE % (os.cpu_count() * each - 1, nice)
    # the first of them leads a group of processes, so that all can be ended by one signal
    family = subprocess.Popen([sys.executable, '-S', '-c', code], start_new_session=apart,
                              preexec_fn=None if apart else os.setpgrp)
    time.sleep(0.3)   # until they are all there
    try:
        yield
    finally:
        os.killpg(family.pid, signal.SIGKILL)
        family.wait()


def autogroup():
    try:
        with open('/proc/sys/kernel/sched_autogroup_enabled') as file:
            return file.read().strip() == '1'
    except OSError:
        return False


# --- a quota ------------------------------------------------------------------------------------------------

class Refused(Exception):
    """The situation cannot be had here: the reason."""


def own_group(controller):
    """This process's folder in that hierarchy of control groups, below its mount; '' is that of version 2."""
    with open('/proc/self/cgroup') as file:
        for line in file:
            _, names, path = line.rstrip('\n').split(':', 2)
            if controller in names.split(','):
                return path.strip('/')
    raise Refused('no control group %s' % (controller or 'of version 2'))


def put(path, text):
    with open(path, 'w') as file:
        file.write(text)


def folder_for_quota():
    """(the folder in which a group with a quota can be made, does it speak version 2?)"""
    for mount in ('/sys/fs/cgroup/cpu', '/sys/fs/cgroup/cpu,cpuacct'):
        if os.path.exists(os.path.join(mount, 'cgroup.procs')):
            own = os.path.join(mount, own_group('cpu'))
            return own if os.path.isdir(own) else mount, False   # a container may see its own group as the root
    for mount in ('/sys/fs/cgroup', '/sys/fs/cgroup/unified'):
        if os.path.exists(os.path.join(mount, 'cgroup.controllers')):
            own = os.path.join(mount, own_group(''))
            return own if os.path.isdir(own) else mount, True
    raise Refused('no control groups are mounted')


@contextlib.contextmanager
def quota(share, period_us=100000):
    """A control group whose processes get that share of one CPU; yields what a process writes its number into
    to be of it."""
    try:
        parent, second = folder_for_quota()
        folder = os.path.join(parent, 'oracle-%d' % os.getpid())
        os.mkdir(folder)
    except OSError as error:
        raise Refused('no control group can be made: %s' % error.strerror)
    try:
        try:
            limit(parent, folder, second, int(share * period_us), period_us)
        except OSError as error:
            raise Refused('no quota can be set: %s' % error.strerror)
        yield os.path.join(folder, 'cgroup.procs')
    finally:
        remove(folder)


def limit(parent, folder, second, quota_us, period_us):
    if not second:
        put(os.path.join(folder, 'cpu.cfs_period_us'), '%d' % period_us)
        put(os.path.join(folder, 'cpu.cfs_quota_us'), '%d' % quota_us)
        return
    if not os.path.exists(os.path.join(folder, 'cpu.max')):
        put(os.path.join(parent, 'cgroup.subtree_control'), '+cpu')
    put(os.path.join(folder, 'cpu.max'), '%d %d' % (quota_us, period_us))


def remove(folder):
    for _ in range(100):   # its last process may be about to end
        try:
            os.rmdir(folder)
            return
        except OSError:
            time.sleep(0.02)
