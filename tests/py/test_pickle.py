"""The .pkl, read by the tracemalloc of the interpreter that runs this, from profiles made by hand."""
import collections
import os
import pickle
import pickletools
import sys
import time
import tracemalloc

import bind
from bind import (ALLOC_BLOCKS, ALLOC_BYTES, ARGUMENT, LIVE_BLOCKS, LIVE_BYTES, PEAK_BLOCKS, PEAK_BYTES, PICKLE, UNSUPPORTED,
                  WALL_NS)

NATIVE_DOMAIN = 0x70797072
APP, LIB = '/srv/app/main.py', '/srv/app/lib.py'


def load(profile, **output):
    """As people do: the file is written, then loaded."""
    with bind.folder() as folder:
        path = os.path.join(folder, 'x.pkl')
        profile.save(path, **output)
        return tracemalloc.Snapshot.load(path)


def small():
    model = bind.Model()
    model.live(1000, 10, (APP, 3), (LIB, 7))
    model.live(103, 4, (APP, 3), (LIB, 8))          # 103 cannot be shared out evenly
    model.live(50, 1, (APP, 4))
    model.live(3 << 32, 2, (APP, 4), '<malloc>')    # more than 32 bits
    model.live(7, 1, '<native>')
    model.live(9, 3, '<native>', (APP, 5))
    model.live(0, 2, (LIB, 9))                      # blocks of no bytes
    return model


def totals(statistics):
    return {(str(one.traceback), one.size, one.count) for one in statistics}


@bind.test
def statistics():
    snapshot = load(small().seal())
    bind.equal(len(snapshot.traces), 10 + 4 + 1 + 2 + 1 + 3 + 2)
    bind.equal(totals(snapshot.statistics('lineno')),
               {(LIB + ':7', 1000, 10), (LIB + ':8', 103, 4), (APP + ':4', 50 + (3 << 32), 3), ('<native>:0', 7, 1), (APP + ':5', 9, 3),
                (LIB + ':9', 0, 2)})
    bind.equal({(one.traceback[0].filename, one.size, one.count) for one in snapshot.statistics('filename')},
               {(LIB, 1103, 16), (APP, 59 + (3 << 32), 6), ('<native>', 7, 1)})
    # from the oldest frame to the most recent one
    bind.equal({(tuple((frame.filename, frame.lineno) for frame in one.traceback), one.size, one.count)
                for one in snapshot.statistics('traceback')},
               {(((APP, 3), (LIB, 7)), 1000, 10), (((APP, 3), (LIB, 8)), 103, 4), (((APP, 4),), 50 + (3 << 32), 3),
                ((('<native>', 0),), 7, 1), ((('<native>', 0), (APP, 5)), 9, 3), (((LIB, 9),), 0, 2)})
    bind.equal(dict((str(one.traceback), one.size) for one in snapshot.statistics('lineno', cumulative=True))[APP + ':3'], 1103)
    bind.check(snapshot.traceback_limit >= 2, 'traceback_limit %r', snapshot.traceback_limit)


@bind.test
def sizes_of_one_stack_differ_by_one_at_most():
    sizes = collections.Counter(trace.size for trace in load(small().seal()).traces if str(trace.traceback[-1]) == LIB + ':8')
    bind.equal(sizes, {26: 3, 25: 1})


@bind.test
def tracemalloc_shows_the_same_statistics():
    """str, repr, format: whatever a report may call."""
    snapshot = load(small().seal())
    for one in snapshot.statistics('traceback') + snapshot.statistics('lineno'):
        bind.check(str(one) and repr(one) and one.traceback.format() and one.traceback.format(most_recent_first=True), 'nothing')
    for trace in snapshot.traces:
        bind.check(str(trace) and repr(trace) and trace in snapshot.traces, 'nothing')
        if sys.version_info >= (3, 9):
            bind.equal(trace.traceback.total_nframe, len(trace.traceback))
    bind.check(snapshot.traces == load(small().seal()).traces, 'traces compare')


@bind.test
def filters():
    snapshot = load(small().seal())
    for filters, size, count in [
            ([tracemalloc.Filter(True, LIB)], 1103, 16), ([tracemalloc.Filter(False, LIB)], 66 + (3 << 32), 7),
            ([tracemalloc.Filter(True, LIB, 7)], 1000, 10), ([tracemalloc.Filter(True, APP, 3, all_frames=True)], 1103, 14),
            ([tracemalloc.Filter(True, '*/app/*')], 1162 + (3 << 32), 22),
            ([tracemalloc.DomainFilter(True, NATIVE_DOMAIN)], 3 << 32, 2), ([tracemalloc.DomainFilter(False, NATIVE_DOMAIN)], 1169, 21),
            ([tracemalloc.DomainFilter(True, 0), tracemalloc.Filter(False, '<native>')], 1162, 20),
            ([tracemalloc.Filter(True, APP, domain=NATIVE_DOMAIN)], 3 << 32, 2)]:
        traces = snapshot.filter_traces(filters).traces
        bind.equal((sum(trace.size for trace in traces), len(traces)), (size, count), repr(filters[0].__dict__))
    bind.equal({trace.domain for trace in snapshot.traces}, {0, NATIVE_DOMAIN})


@bind.test
def comparing():
    before, more = small(), small()
    more.live(5000, 5, (APP, 3), (LIB, 7))
    more.live(11, 1, ('new.py', 1))
    before, after = load(before.seal()), load(more.seal())
    changed = {(str(one.traceback), one.size_diff, one.count_diff) for one in after.compare_to(before, 'lineno') if one.size_diff}
    bind.equal(changed, {(LIB + ':7', 5000, 5), ('new.py:1', 11, 1)})
    for key in ('filename', 'traceback'):
        bind.equal(sum(one.size_diff for one in after.compare_to(before, key)), 5011, key)
        bind.equal(sum(one.size_diff for one in before.compare_to(after, key)), -5011, key)
    bind.equal([one.size_diff for one in after.compare_to(after, 'lineno') if one.size_diff or one.count_diff], [])


@bind.test
def comparing_with_a_snapshot_of_tracemalloc_itself():
    tracemalloc.start(5)
    try:
        kept = [bytearray(1000) for _ in range(10)]
        own = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    ours = load(small().seal())
    bind.check(kept and own.compare_to(ours, 'lineno') and ours.compare_to(own, 'traceback'), 'nothing')
    with bind.folder() as folder:   # and it can be stored by tracemalloc
        ours.dump(os.path.join(folder, 'y'))
        again = tracemalloc.Snapshot.load(os.path.join(folder, 'y'))
    bind.equal(again.pyprof, ours.pyprof)
    bind.check(again.traces == ours.traces, 'the traces differ')


@bind.test
def the_pickle_describes_the_recording():
    about = load(small().seal()).pyprof
    bind.equal((about['metric'], about['mode'], about['interval_bytes'], about['blocks'], about['traces'], about['blocks_not_noted']),
               ('live_bytes', 'exact', 0, 23, 23, 0))
    bind.equal((about['bytes'], about['native_domain'], about['note']), (1169 + (3 << 32), NATIVE_DOMAIN, 'a trace is a block'))
    bind.equal(about['exporter'], 'pyprof.h ' + bind.released.version().decode())
    model = bind.Model(heap=1, interval=1 << 40)
    model.live(1 << 41, 0, (APP, 3))   # an estimate of less than half a block
    snapshot = load(model.seal())
    bind.equal(totals(snapshot.statistics('lineno')), {(APP + ':3', 1 << 41, 1)})
    bind.equal((snapshot.pyprof['mode'], snapshot.pyprof['interval_bytes']), ('sampled', 1 << 40))
    bind.check('estimated' in snapshot.pyprof['note'], snapshot.pyprof['note'])


@bind.test
def the_peak_and_all_that_was_allocated():
    model = small()
    for metric, value in ((ALLOC_BYTES, 500), (ALLOC_BLOCKS, 50), (PEAK_BYTES, 30), (PEAK_BLOCKS, 3)):
        model.add(model.stack((APP, 3), (LIB, 7)), metric, value)
    profile = model.seal()
    for metric, size, count in ((PEAK_BYTES, 30, 3), (PEAK_BLOCKS, 30, 3), (ALLOC_BYTES, 500, 50), (ALLOC_BLOCKS, 500, 50)):
        snapshot = load(profile, metric=metric)
        bind.equal(totals(snapshot.statistics('lineno')), {(LIB + ':7', size, count)}, 'metric %d' % metric)
        bind.equal(snapshot.pyprof['metric'], 'peak_bytes' if metric in (PEAK_BYTES, PEAK_BLOCKS) else 'alloc_bytes')
    bind.equal(sum(trace.size for trace in load(profile, metric=LIVE_BLOCKS).traces), 1169 + (3 << 32))
    bind.fails(UNSUPPORTED, ['.pkl', 'wall time'], profile.write, PICKLE, metric=WALL_NS)


@bind.test
def a_filter_chooses_traces():
    profile = small().seal()
    snapshot = load(profile, filter=bind.fill(bind.Query(), file='*/lib.py'))
    bind.equal((sum(trace.size for trace in snapshot.traces), len(snapshot.traces), snapshot.pyprof['bytes']), (1103, 16, 1103))
    bind.equal(len(load(profile, filter=bind.fill(bind.Query(), thread='nobody')).traces), 0)


@bind.test
def nothing_is_alive():
    snapshot = load(bind.Model().seal())
    bind.equal((len(snapshot.traces), snapshot.statistics('traceback'), snapshot.pyprof['traces']), (0, [], 0))
    with bind.folder() as folder:
        profile = bind.Model(heap=0).seal()
        bind.fails(UNSUPPORTED, ['memory was not tracked'], profile.save, os.path.join(folder, 'x.pkl'))
        bind.equal(os.listdir(folder), [])


@bind.test
def without_a_frame():
    """As tracemalloc shows it itself: a trace has a frame."""
    model = bind.Model()
    model.add(model.THREAD, LIVE_BYTES, 100)
    model.add(model.THREAD, LIVE_BLOCKS, 1)
    model.live(60, 2, '<malloc>')
    snapshot = load(model.seal())
    bind.equal(totals(snapshot.statistics('lineno')), {('<unknown>:0', 160, 3)})
    bind.equal(sorted((trace.domain, trace.size) for trace in snapshot.traces), [(0, 100), (NATIVE_DOMAIN, 30), (NATIVE_DOMAIN, 30)])


@bind.test
def for_other_pythons():
    """The shape is that of the Python that was recorded, unless another one is asked for."""
    def items(data):
        return {len(trace) for trace in pickle.loads(data).traces._traces}

    for python, count in (('3.8.18', 3), ('3.9.18', 4), ('3.12.1', 4), ('3.13.0rc1', 4), ('3.100.0', 4), ('', 4)):
        profile = small().seal(python)
        bind.equal(items(profile.write(PICKLE)), {count}, python)
        bind.equal(items(profile.write(PICKLE, python=0x0308)), {3})
        bind.equal(items(profile.write(PICKLE, python=0x0309)), {4})
        bind.equal(items(profile.write(PICKLE, python=0x030f)), {4})
    for python in (-1, 1, 0x0207, 0x0305, 0x0400, 0x030000):
        bind.fails(ARGUMENT, ['python'], profile.write, PICKLE, python=python)


@bind.test
def only_protocol_2_and_only_tracemalloc():
    for python in ('3.8.18', '3.12.1'):
        data = small().seal(python).write(PICKLE)
        names = set()
        for opcode, argument, _ in pickletools.genops(data):
            bind.check(opcode.proto <= 2, 'opcode %s', opcode.name)
            if opcode.name == 'GLOBAL':
                names.add(argument)
            bind.check(opcode.name != 'REDUCE', 'a call')
        bind.equal(names, {'tracemalloc Snapshot', 'tracemalloc _Traces'})


@bind.test
def hostile_file_names():
    names = ['', ' ', 'a"b', "a'b", 'a\\b', 'a\nb', 'a\r\n', '\t', '<b>', '\u202eevil', '\U0001f40d', 'caf\xe9', '\ufffe\uffff', 'n' * 70000,
             '%s%n', '.', 'cos\nsystem\n(S"id"\ntR.', '\x80\x02', 'a' * 255, 'b' * 256, ')', '\x1b[31m']
    broken = {b'caf\xe9.py': 'caf\ufffd.py', b'\xff\xfe': '\ufffd\ufffd', b'a\xe2\x82': 'a\ufffd\ufffd', b'\xc0\x80': '\ufffd\ufffd',
              '\ud800'.encode('utf-8', 'surrogatepass'): '\ufffd' * 3, '\udcff.py'.encode('utf-8', 'surrogatepass'): '\ufffd' * 3 + '.py'}
    model = bind.Model()
    for number, name in enumerate(names):
        model.live(100, 1, (name, number + 1))
    for number, name in enumerate(broken):
        model.live(100, 1, (name, 1000 + number))
    snapshot = load(model.seal())
    expected = {(name, number + 1) for number, name in enumerate(names)}
    expected |= {(name, 1000 + number) for number, name in enumerate(broken.values())}
    bind.equal({(frame.filename, frame.lineno) for trace in snapshot.traces for frame in trace.traceback}, expected)
    bind.equal(sum(one.size for one in snapshot.statistics('filename')), 100 * len(expected))


@bind.test
def memo_numbers_and_lines_of_every_width():
    model = bind.Model()
    expected = set()
    for number in range(70000):
        line = (number * 37) % 90000 if number % 2 else 2**31 - 1 - number
        model.live(number, 1, ('file %d' % (number % 700), line))
        expected.add(('file %d' % (number % 700), line, number))
    got = {(trace.traceback[0].filename, trace.traceback[0].lineno, trace.size) for trace in load(model.seal()).traces}
    bind.check(got == expected, '%d of %d differ', len(got ^ expected), len(expected))


@bind.test
def sizes_of_every_width():
    sizes = sorted({base + d for bits in (0, 7, 8, 15, 16, 31, 32, 47, 62) for base in [1 << bits] for d in (-1, 0, 1)} | {2**63 - 1})
    for size in sizes:
        model = bind.Model()
        model.live(size, 1, (APP, 1))
        bind.equal([trace.size for trace in load(model.seal()).traces], [size])


@bind.test
def deep_stacks():
    frames = [('/a/%d.py' % (i % 50), i) for i in range(20000)]
    model = bind.Model()
    model.live(100, 10, *frames)
    snapshot = load(model.seal())
    bind.equal(len(snapshot.traces), 10)
    bind.check([(frame.filename, frame.lineno) for frame in snapshot.traces[3].traceback] == frames, 'the frames differ')
    bind.check(snapshot.traceback_limit >= 20000, 'traceback_limit %r', snapshot.traceback_limit)


def many(blocks_of):
    model = bind.Model()
    for number, blocks in enumerate(blocks_of):
        model.live(blocks * 100 + number, blocks, (APP, 1 + number % 1000), ('/lib/%d.py' % (number % 70), number))
    return model.seal(), sum(blocks_of), sum(blocks * 100 + number for number, blocks in enumerate(blocks_of))


@bind.test
def up_to_200000_blocks_each_is_a_trace():
    profile, blocks, size = many([200] * 1000)
    snapshot = load(profile)
    bind.equal((len(snapshot.traces), sum(trace.size for trace in snapshot.traces)), (blocks, size))
    bind.equal(snapshot.pyprof['note'], 'a trace is a block')


@bind.test
def more_blocks_are_brought_together():
    for blocks_of in bind.several([200] * 1000 + [1], [1000] * 999 + [1, 1], [10**9, 1, 1, 50], [3] * 100000):
        profile, blocks, size = many(blocks_of)
        bind.check(blocks > 200000, 'too few')
        snapshot = load(profile)
        about = snapshot.pyprof
        bind.check(200000 - len(blocks_of) <= len(snapshot.traces) <= 200000 + len(blocks_of), '%d traces', len(snapshot.traces))
        bind.equal((about['blocks'], about['traces'], about['bytes']), (blocks, len(snapshot.traces), size))
        bind.check('several blocks' in about['note'], about['note'])
        found = {(one.traceback[-1].lineno, one.size): one.count for one in snapshot.statistics('traceback')}
        bind.equal(len(found), len(blocks_of))
        for number, count in enumerate(blocks_of):   # sizes are exact, counts in proportion
            got = found[number, count * 100 + number]
            bind.check(1 <= got and abs(got - count * 200000 / blocks) <= 1, '%d traces for %d of %d blocks', got, count, blocks)


@bind.test
def a_million_blocks_in_time():
    profile, blocks, _ = many([20] * 50000)
    start = time.perf_counter()
    data = profile.write(PICKLE)
    took = time.perf_counter() - start
    bind.equal(blocks, 1000000)
    print('%.3f s, %d bytes' % (took, len(data)))
    if took > 2:
        raise bind.Far('%.3f s' % took)
    bind.check(len(data) < 10e6, '%d bytes', len(data))


if __name__ == '__main__':
    bind.run()
