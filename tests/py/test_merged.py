"""Several recordings as one, and differences of recordings of other checkouts: real recordings."""
import os

import bind
import test_totals

bind.TESTS.clear()   # those of test_totals run there

SOURCE = '''
import time
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
def stays(seconds):
    spin(seconds)
def grows(seconds):
    spin(seconds)
'''
MORE = '''
def only_here():
    spin(0.05)
'''


def checkout(folder, text):
    """The module of that text in the folder."""
    path = os.path.join(folder, 'project', 'work.py')
    os.makedirs(os.path.dirname(path))
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
    names = {}
    exec(compile(text, path, 'exec'), names)
    return names, path


def recorded(names, grows, only=()):
    with bind.record(rate_hz=1000) as r:
        names['stays'](0.15)
        names['grows'](grows)
        for name in only:
            names[name]()
    return r.profile


@bind.test
def merged_totals_agree_in_all_formats():
    first, second = test_totals.recorded(heap=bind.HEAP_EXACT), test_totals.recorded()
    for as_one in bind.several(0, 1):
        merged = first.merged(second, as_one=as_one)
        for metric in bind.SAMPLES, bind.WALL_NS, bind.CPU_NS, bind.LIVE_BYTES:
            bind.equal(merged.info().total[metric], first.info().total[metric] + second.info().total[metric], 'metric %d' % metric)
        bind.check(test_totals.all_agree(merged, True) >= 6, 'formats')
        bind.equal(merged.info().recordings, 2)
        bind.check(b'merged: ' in merged.stats().degraded, merged.stats().degraded)


@bind.test
def processes_are_named():
    first, second = test_totals.recorded(), test_totals.recorded()
    merged = first.merged(second)
    document = merged.json()
    bind.equal([process['pid'] for process in document['processes']], [os.getpid()] * 2)
    bind.equal({thread['process'] for thread in document['threads']}, {0, 1})
    name = '%s (%d' % (document['process_name'], os.getpid())
    lines = merged.write(bind.FOLDED).decode().splitlines()
    bind.check(lines and all(line.startswith(name) for line in lines), lines[:3])
    stamps = [sample['timestamp'] for sample in document['samples']]
    bind.equal(stamps, sorted(stamps))
    bind.equal(first.merged(second, as_one=1).info().threads, len({thread.name for thread in merged.threads()}))


@bind.test
def another_checkout_is_compared_function_by_function():
    with bind.folder() as folder:
        one, old = checkout(os.path.join(folder, 'one'), SOURCE)
        two, new = checkout(os.path.join(folder, 'two'), '# moved by a line' + SOURCE + MORE)
        before, after = recorded(one, 0.1), recorded(two, 0.4, ['only_here'])
        delta = after.diff(before)
        rows = {row.name: row for row in delta.top(sort=bind.CPU_NS, by_total=1, include_idle=1)}
        bind.check(not any(row.file == old for row in rows.values()), 'the old path is left: %s', old)
        bind.equal(rows['grows'].file, new)
        bind.near(rows['grows'].total[bind.CPU_NS], 3e8, 0.1)
        bind.near(rows['grows'].total_before, 1e8, 0.2)
        bind.check(rows['grows'].total[bind.CPU_NS] > rows['grows'].total_error > 0, 'this is no chance')
        bind.near(rows['only_here'].total[bind.CPU_NS], 5e7, 0.3)
        bind.equal(rows['only_here'].total_before, 0)
        text = delta.write(bind.TEXT).decode()
        bind.check('Alike: ' in text and '\nNew: ' not in text.replace('\nNew: functions', ''), text)
        counts = [line.rsplit(' ', 2) for line in delta.write(bind.FOLDED).decode().splitlines()]
        bind.equal(sum(int(count[1]) for count in counts), before.info().total[bind.SAMPLES])
        bind.equal(sum(int(count[2]) for count in counts), after.info().total[bind.SAMPLES])


@bind.test
def scaled_by_time():
    with bind.folder() as folder:
        names, _ = checkout(folder, SOURCE)
        before, after = recorded(names, 0.15), recorded(names, 0.45)
        delta = after.diff(before, scale=bind.SCALE_COUNT)
        total = delta.info().total   # what only one of the two has, as a wait, cannot be scaled
        bind.check(abs(total[bind.SAMPLES]) <= abs(total[bind.WAIT_SAMPLES]) <= 20, 'samples')
        bind.check(abs(total[bind.WALL_NS]) <= abs(total[bind.WAIT_NS]) <= 2e7, 'wall time')
        rows = {row.name: row for row in delta.top(sort=bind.WALL_NS, by_total=1, include_idle=1)}
        bind.enough(rows['stays'].total[bind.WALL_NS] < 0 < rows['grows'].total[bind.WALL_NS], 'shares')   # 1/2 to 1/4, 1/2 to 3/4
        factor = after.info().duration_s / before.info().duration_s
        delta = after.diff(before, scale=bind.SCALE_TIME)
        want = after.info().total[bind.WALL_NS] - before.info().total[bind.WALL_NS] * factor
        bind.check(abs(delta.info().total[bind.WALL_NS] - want) < 10, want)


if __name__ == '__main__':
    bind.run()
