"""Totals are the same in all formats: a real recording, with and without memory, saved in each and read back."""
import re
import threading
import time

import bind
import header
import totals

WITHOUT_TOTAL = {'.txt', '.svg', '.html'}   # shares and pictures: read by test_outputs.py


def table():
    """[(format, suffix, metric, leaves idle time out)] of those with a writer, as the header's table has them."""
    with open(header.PATH, encoding='utf-8') as file:
        rows = re.search(r'\} pyprof__formats\[\] = \{\n(.*?)\n\};', file.read(), re.S).group(1)
    found = re.findall(r'\{ PYPROF_FORMAT_(\w+), +"([^"]+)", +(\w+), +PYPROF_(\w+), +(\d),', rows)
    bind.equal(len(found), bind.FORMAT_COUNT - 1, 'rows of the table of formats')
    return [(getattr(bind, name), suffix, metric.lower(), int(idle)) for name, suffix, writer, metric, idle in found if writer != 'NULL']


def selected(profile, key, without_idle):
    """pyprof's own total of what the format shows."""
    metric = getattr(bind, key.upper())
    return sum(item.self[metric] for item in profile.visit(bind.ITEM_STACK, include_idle=int(not without_idle)))


def all_agree(profile, memory):
    told = []
    for format, suffix, key, without_idle in table():
        if suffix in WITHOUT_TOTAL or key.endswith(('_bytes', '_blocks')) and not memory:
            continue
        total, resolution = totals.read(suffix, profile.write(format), key)
        want = selected(profile, key, without_idle)
        told.append('%-17s %-10s %20.3f %20d' % (suffix, key, total, want))
        print(told[-1])
        bind.check(want > 0, '%s: the recording has no %s', suffix, key)
        bind.check(abs(total - want) <= resolution, '%s: %s, to within %s; pyprof says %d', suffix, total, resolution, want)
    return told


def busy(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(500))


def sleepy():
    time.sleep(0.05)
    busy(0.05)
    deeper(20)


def deeper(n):
    if n:
        return deeper(n - 1)
    kept.append([bytearray(5000) for _ in range(50)])
    busy(0.05)


kept = []


def recorded(**config):
    with bind.record(rate_hz=1000, **config) as r:
        stop = threading.Event()
        with bind.running(stop.wait, name='idle'):   # waits all the time
            with bind.running(sleepy, name='twin', count=2):
                sleepy()
            deeper(3)
            stop.set()
    return r.profile


@bind.test
def a_recording_without_memory():
    bind.check(len(all_agree(recorded(), False)) >= 3, 'formats')


@bind.test
def a_recording_with_memory():
    profile = recorded(heap=bind.HEAP_EXACT)
    bind.check(profile.info().total[bind.LIVE_BYTES] > 0, 'nothing is alive')
    bind.check(len(all_agree(profile, True)) >= 4, 'formats')


@bind.test
def a_part_of_a_time_line():
    """What is older than the time line is in the totals all the same."""
    all_agree(recorded(timeline_s=0.1), False)


@bind.test
def no_time_line():
    all_agree(recorded(timeline_s=-1), False)


@bind.test
def every_format_has_a_reader():
    missing = [suffix for _, suffix, _, _ in table() if suffix not in totals.READERS and suffix not in WITHOUT_TOTAL]
    bind.equal(missing, [], 'formats without a reader')


if __name__ == '__main__':
    bind.run()
