"""Totals are the same in all formats: a real recording, with and without memory, saved in each and read back."""
import threading
import time

import bind
import totals
from totals import PYTHON_ONLY, WITHOUT_TOTAL, selected, table

def all_agree(profile, memory):
    """How many formats were compared."""
    compared, wrong = 0, []
    for format, suffix, key, whole in table():
        if suffix in WITHOUT_TOTAL or key.endswith(('_bytes', '_blocks')) and not memory:
            continue
        compared += 1
        for output, idle in ({}, whole), ({'filter': bind.fill(bind.Query(), include_idle=1)}, 1):
            want = selected(profile, suffix, key, idle)
            try:
                total, resolution = totals.read(suffix, profile.write(format, **output), key)
                if suffix in PYTHON_ONLY and total <= want:
                    resolution += want * 0.05
                print('%-17s %-10s %20.3f %20d' % (suffix, key, total, want))
                bind.check(want > 0 or suffix == '.perfetto-trace', '%s: the recording has no %s', suffix, key)
                bind.check(abs(total - want) <= resolution, '%s: %s, to within %s; pyprof says %d', suffix, total, resolution, want)
                bind.check(not idle or suffix == '.perfetto-trace' or want == profile.info().total[getattr(bind, key.upper())], '%s: the sum of all stacks is not the total', key)
            except (AssertionError, bind.Error) as error:
                wrong.append(str(error))
    bind.equal(wrong, [])
    return compared


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
    with bind.record(rate_hz=1000, max_cpu=100., **config) as r:   # on a busy machine, too, no tick is left out
        stop = threading.Event()
        with bind.running(stop.wait, name='idle'):   # waits all the time
            with bind.running(sleepy, name='twin', count=2):
                sleepy()
            deeper(3)
            stop.set()
    return r.profile


@bind.test
def a_recording_without_memory():
    bind.check(all_agree(recorded(), False) >= 4, 'formats')


@bind.test
def a_recording_with_memory():
    profile = recorded(heap=bind.HEAP_EXACT)
    bind.check(profile.info().total[bind.LIVE_BYTES] > 0, 'nothing is alive')
    bind.check(all_agree(profile, True) >= 6, 'formats')


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
