"""The total that a file says it holds, in the unit of pyprof's metric, read by a small reader for each format.

    READERS     {'.folded': function(bytes, metric): (total, resolution), ...}

`metric` is the key of the metric, as 'wall_ns'. The resolution is what one entry of the file may be off by, times the entries.
Readers are strict: what is no file of that format is an error. Only the standard library.
table() tells which formats have a writer, selected() pyprof's own total.
"""
import csv
import gzip
import io
import marshal
import pickle
import re
import struct

import bind
import header

READERS = {}
PYTHON_ONLY = {'.info'}   # lines of Python: time of <lost>, or of a thread without frames, has none
WITHOUT_TOTAL = {'.txt', '.svg', '.html', '.prompt.txt'}   # shares and pictures: read by test_outputs.py


def table():
    """[(format, suffix, metric, is idle time in it by default)] of those with a writer, as the header's table has them."""
    with open(header.PATH, encoding='utf-8') as file:
        rows = re.search(r'\} pyprof__formats\[\] = \{\n(.*?)\n\};', file.read(), re.S).group(1)
    found = re.findall(r'\{ PYPROF_FORMAT_(\w+), +"([^"]+)", +([\w()]+), +PYPROF_(\w+), +(\d),', rows)
    bind.equal(len(found), bind.FORMAT_COUNT - 1, 'rows of the table of formats')
    return [(getattr(bind, name), suffix, metric.lower(), int(whole)) for name, suffix, writer, metric, whole in found if writer != 'NULL']


def selected(profile, suffix, key, whole):
    """pyprof's own total, with idle time or without."""
    if suffix == '.perfetto-trace':
        return sum(sample['count'] for sample in profile.json()['samples'] if whole or sample['state'] != 'idle')
    metric = getattr(bind, key.upper())
    return sum(item.self[metric] for item in profile.visit(bind.ITEM_STACK, include_idle=whole))


def reads(suffix):
    def add(function):
        READERS[suffix] = function
        return function
    return add


def ensure(condition, message, *arguments):
    if not condition:
        raise ValueError(message % arguments)


# --- JSON and what is made of it -----------------------------------------------------------------------------------------

@reads('.json')
def pyprof_json(data, metric):
    document = bind.strict_json(data)
    ensure(document['format'] == 'pyprof', 'format %r', document['format'])
    tree = document['tree']
    nodes = len(tree['parent'])
    ensure(all(len(column) <= nodes for column in tree['self'].values()), 'a column longer than the tree')
    ensure(all(parent < i for i, parent in enumerate(tree['parent'])), 'a parent behind its child')
    ensure(all(frame < len(document['frames']) for frame in tree['frame']), 'a frame that is not there')
    return sum(tree['self'].get(metric, [])), 0


UNITS = {'nanoseconds': 1, 'microseconds': 1000, 'milliseconds': 10 ** 6, 'seconds': 10 ** 9, 'bytes': 1, 'none': 1}


@reads('.speedscope.json')
def speedscope(data, metric):
    """Of several metrics in one file, the one of the profile that is shown first."""
    document = bind.strict_json(data)
    frames = document['shared']['frames']
    ensure(document['$schema'] == 'https://www.speedscope.app/file-format-schema.json', 'the schema')
    profiles = document['profiles']
    ensure(all(isinstance(frame['name'], str) for frame in frames), 'a frame without a name')
    unit = profiles[document.get('activeProfileIndex', 0)]['unit']
    for profile in profiles:
        ensure(profile['type'] == 'sampled' and len(profile['samples']) == len(profile['weights']), 'profile %r', profile['name'])
        ensure(all(0 <= frame < len(frames) for stack in profile['samples'] for frame in stack), 'a frame that is not there')
    names = [profile['name'] for profile in profiles]
    ensure(len(set(names)) == len(names), 'two profiles of one name')
    return sum(sum(profile['weights']) for profile in profiles) * UNITS[unit], 0


@reads('.cpuprofile')
def cpuprofile(data, metric):
    """Microseconds between samples; each may be rounded, but their ends are not: one for each."""
    document = bind.strict_json(data)
    nodes = {node['id']: node for node in document['nodes']}
    ensure(len(nodes) == len(document['nodes']) and min(nodes) >= 1, 'ids of nodes')
    ensure(document['nodes'][0]['callFrame']['functionName'] == '(root)', 'the first node is the root')
    children = [child for node in nodes.values() for child in node.get('children', [])]
    ensure(len(set(children)) == len(children) == len(nodes) - 1, 'nodes that are no tree')
    ensure(len(document['samples']) == len(document['timeDeltas']), 'samples and times')
    ensure(all(one in nodes for one in document['samples']), 'a sample of no node')
    ensure(all(delta >= 0 for delta in document['timeDeltas']), 'time goes back')
    total = sum(document['timeDeltas'])
    ensure(abs(document['endTime'] - document['startTime'] - total) <= len(nodes), 'the end is not the sum')
    return total * 1000, 1000 * len(document['samples'])


@reads('.heapprofile')
def heapprofile(data, metric):
    document = bind.strict_json(data)
    total, todo, ids = 0, [document['head']], set()
    while todo:
        node = todo.pop()
        ensure(node['id'] not in ids, 'an id twice')
        ids.add(node['id'])
        total += node['selfSize']
        todo += node['children']
    ensure(sum(sample['size'] for sample in document['samples']) == total, 'samples are not the sum')
    ensure(all(sample['nodeId'] in ids for sample in document['samples']), 'a sample of no node')
    return total, 0


@reads('.trace.json')
def trace(data, metric):
    """What clocks measured for each slice is in its arguments; on each track slices lie inside or beside one another."""
    document = bind.strict_json(data)
    tracks, total = {}, 0
    for event in document['traceEvents']:
        ensure(event['ph'] in 'XMCi', 'event %r', event)
        if event['ph'] == 'X':
            ensure(event['dur'] >= 0, 'event %r', event)
            tracks.setdefault((event['pid'], event['tid']), []).append((event['ts'], -event['dur']))
            total += event.get('args', {}).get(metric, 0)
    for events in tracks.values():
        ends = []
        for start, less in sorted(events):
            while ends and start >= ends[-1] - 1e-2:
                ends.pop()
            ensure(not ends or start - less <= ends[-1] + 1e-2, 'slices cross at %r', start)
            ends.append(start - less)
    return total, 0


@reads('.firefox.json')
def firefox(data, metric):
    document = bind.strict_json(data)
    total = count = 0
    for thread in document['threads']:
        strings = thread.get('stringArray') or document.get('shared', {}).get('stringArray')
        for name in 'funcTable', 'frameTable', 'stackTable':
            table = thread[name]
            ensure(all(len(column) == table['length'] for column in table.values() if isinstance(column, list)), '%s', name)
        ensure(all(0 <= name < len(strings) for name in thread['funcTable']['name']), 'a name that is not there')
        ensure(all(prefix is None or prefix < i for i, prefix in enumerate(thread['stackTable']['prefix'])), 'a prefix behind')
        samples = thread['samples']
        ensure(all(stack is None or stack < thread['stackTable']['length'] for stack in samples['stack']), 'a stack that is not there')
        weights = samples.get('weight') or [1] * samples['length']
        total += sum(weight for weight, stack in zip(weights, samples['stack']) if stack is not None)
        count += samples['length']
    scale = {'tracing-ms': 10 ** 6, 'samples': 1, 'bytes': 1}[document['threads'][0]['samples'].get('weightType', 'samples')]
    return total * scale, 1e-3 * scale * count


@reads('.dhat.json')
def dhat(data, metric):
    document = bind.strict_json(data)
    ensure(document['dhatFileVersion'] == 2, 'version %r', document['dhatFileVersion'])
    frames = len(document['ftbl'])
    ensure(all(0 <= frame < frames for point in document['pps'] for frame in point['fs']), 'a frame that is not there')
    key = {'live_bytes': 'eb', 'alloc_bytes': 'tb', 'peak_bytes': 'gb'}[metric]
    return sum(point[key] for point in document['pps']), 0


# --- lines of text -------------------------------------------------------------------------------------------------------

def lines_of(data):
    text = data.decode('utf-8')
    ensure(text.endswith('\n'), 'the last line has no end')
    return text[:-1].split('\n')


@reads('.folded')
def folded(data, metric):
    total, seen = 0, set()
    for line in lines_of(data):
        ensure(not re.search('[\x00-\x1f\x7f]', line), 'a control character in %r', line)
        stack, space, count = line.rpartition(' ')
        ensure(space and re.match('[1-9][0-9]*$', count) and all(stack.split(';')), 'line %r', line)
        ensure(stack not in seen, 'a stack twice: %r', line)
        seen.add(stack)
        total += int(count)
    return total, 0


@reads('.callgrind')
def callgrind(data, metric):
    """The sum of the lines' own costs, which the totals repeat; behind calls= stands what the callee took."""
    unit, events, total, stated, inclusive, rounded = 1, [], [], [], False, 0
    names = {}
    for line in lines_of(data):
        head = re.match(r'(events|summary|totals|positions|event|part|version|creator|pid|cmd|desc): ?(.*)$', line)
        name = re.match(r'(c?fn|c?fl|cfi|fi|fe|c?ob)=(?:\((\d+)\))?(?: ?(.*))?$', line)
        costs = re.match(r'\+?-?\d+((?: \d+)*)$', line)
        if head:
            word, rest = head.groups()
            if word == 'events':
                events = rest.split()
                total = [0] * len(events)
            elif word in ('summary', 'totals'):
                stated.append([int(number) for number in rest.split()])
        elif name:
            space = {'fn': 'fn', 'ob': 'ob'}.get(name.group(1)[-2:], 'fl')
            if name.group(2) and name.group(3):
                ensure((space, name.group(2)) not in names, 'a name twice: %r', line)
                names[space, name.group(2)] = name.group(3)
            elif name.group(2):
                ensure((space, name.group(2)) in names, 'no such name: %r', line)
        elif line.startswith('calls='):
            inclusive = True
        elif costs:
            if not inclusive:
                for i, number in enumerate(costs.group(1).split()):
                    total[i] += int(number)
                rounded += 1
            inclusive = False
        else:
            ensure(not line or line.startswith('#'), 'line %r', line)
    ensure(stated and all(one == stated[0] for one in stated), 'summary and totals: %r', stated)
    ensure([abs(a - b) <= rounded for a, b in zip(total, stated[0])].count(False) == 0, 'costs %r, totals %r', total, stated[0])
    first = re.search(r'(us|ns|ms|_ns|_us)$', events[0].lower())
    if first:
        unit = {'us': 1000, 'ms': 10 ** 6}.get(first.group(1)[-2:], 1)
    return total[0] * unit, rounded * unit if unit > 1 else 0


@reads('.linux-perf.txt')
def perf(data, metric):
    """Periods; each sample ends in an empty line and has frames."""
    total = 0
    for block in data.decode('utf-8').split('\n\n'):
        if not block.strip():
            continue
        head, *frames = [line for line in block.split('\n') if not line.startswith('#')]
        found = re.match(r'(.+?) +(\d+)(?:/(\d+))? (?:\[\d+\] )?(\d+\.\d+): +(\d+) +(\S+): *$', head)
        ensure(found, 'sample %r', head)
        ensure(frames and all(re.match(r'\s+[0-9a-f]+ .* \(.*\)$', frame) for frame in frames), 'frames %r', frames[:3])
        total += int(found.group(5))
    return total, 0


@reads('.massif')
def massif(data, metric):
    """The last snapshot; for peaks the one that is marked as such. Its tree adds up."""
    snapshots = re.split(r'#-+\nsnapshot=(\d+)\n#-+\n', data.decode('utf-8'))
    ensure(len(snapshots) > 2, 'no snapshot')
    chosen, last = None, None
    for number, body in zip(snapshots[1::2], snapshots[2::2]):
        values = dict(re.findall(r'^(\w+)=(.*)$', body, re.M))
        one = int(values['mem_heap_B']), body
        ensure(last is None or int(number) > 0, 'numbers of snapshots')
        if values['heap_tree'] == 'peak':
            chosen = one
        last = one
        tree = re.search(r'^n(\d+): (\d+) ', body, re.M)
        if values['heap_tree'] != 'empty':
            ensure(int(tree.group(2)) == one[0], 'tree %s of %d', tree.group(2), one[0])
            sums = sum(int(size) for size in re.findall(r'^ n\d+: (\d+) ', body, re.M))
            ensure(sums == one[0] or not int(tree.group(1)), 'the first level adds up to %d of %d', sums, one[0])
    return (chosen if metric == 'peak_bytes' and chosen else last)[0], 0


@reads('.om.txt')
def openmetrics(data, metric):
    text = lines_of(data)
    ensure(text[-1] == '# EOF', 'the last line is %r', text[-1])
    total = None
    unit = 10 ** 9 if metric.endswith('_ns') else 1
    family = 'pyprof_' + (metric[:-3] + '_seconds' if metric.endswith('_ns') else metric) + '_total'
    for line in text[:-1]:
        if line.startswith('# '):
            ensure(re.match(r'# (HELP|TYPE|UNIT) \w+ .*$', line), 'line %r', line)
            continue
        found = re.match(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\[\\"n])*",?)*)\})? (\S+)(?: \S+)?$', line)
        ensure(found, 'line %r', line)
        if found.group(1) == family:
            total = (total or 0) + float(found.group(3))
    ensure(total is not None, 'no %s', family)
    return total * unit, 1


@reads('.table.csv')
def table_csv(data, metric):
    rows = list(csv.reader(io.StringIO(data.decode('utf-8'), newline=''), strict=True))
    ensure(len({len(row) for row in rows}) == 1, 'rows of different lengths')
    column = rows[0].index('self_' + metric if 'self_' + metric in rows[0] else metric)
    return sum(int(row[column]) for row in rows[1:]), 0


@reads('.info')
def lcov(data, metric):
    """Values of lines: those of the innermost frames, in microseconds if the metric is one of time."""
    total, inside, lines, hit = 0, False, {}, {}
    for line in lines_of(data):
        word, _, rest = line.partition(':')
        ensure(word in ('TN', 'SF', 'DA', 'LF', 'LH', 'FN', 'FNDA', 'FNF', 'FNH', 'end_of_record'), 'line %r', line)
        if word == 'SF':
            ensure(not inside and rest, 'line %r', line)
            inside, lines = True, {}
        elif word == 'DA':
            number, count = map(int, rest.split(','))
            ensure(number > 0 and count >= 0 and number not in lines, 'line %r', line)
            lines[number] = count
            total += count
        elif word in ('LF', 'LH'):
            hit[word] = int(rest)
        elif word == 'end_of_record':
            ensure(inside and hit == {'LF': len(lines), 'LH': sum(count > 0 for count in lines.values())}, '%r', hit)
            inside = False
    ensure(not inside, 'no end of record')
    scale = 1000 if metric.endswith('_ns') else 1
    return total * scale, scale * data.count(b'SF:')   # a rest for each file


# --- binary --------------------------------------------------------------------------------------------------------------

def fields(data):
    """{number: [value, ...]} of a protobuf message; a strict reader."""
    found, at, size = {}, 0, len(data)

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            ensure(shift <= 70, 'a number too long')
            if byte < 128:
                return value

    while at < size:
        key = varint()
        wire = key & 7
        ensure(key >> 3 and wire in (0, 1, 2, 5), 'field %d, wire type %d', key >> 3, wire)
        if wire == 0:
            value = varint()
        else:
            length = varint() if wire == 2 else 8 if wire == 1 else 4
            ensure(at + length <= size, 'a field runs over the end')
            value = data[at:at + length]
            if wire != 2:
                value = int.from_bytes(value, 'little')
            at += length
        found.setdefault(key >> 3, []).append(value)
    return found


def numbers(values):
    """Repeated numbers, packed or not, as signed ones."""
    found = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        one = shift = 0
        for byte in value:
            one |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                found.append(one)
                one = shift = 0
        ensure(not shift, 'a packed number without an end')
    return [one - (1 << 64) if one >> 63 else one for one in found]


def first(message, number, default=0):
    return message.get(number, [default])[0]


@reads('.pb.gz')
def pprof(data, metric):
    """The column that is shown by default."""
    profile = fields(gzip.decompress(data))
    strings = [one.decode('utf-8') for one in profile[6]]
    ensure(strings[0] == '', 'string 0')
    types = [[strings[first(fields(one), i)] for i in (1, 2)] for one in profile[1]]
    functions = {first(fields(one), 1): fields(one) for one in profile.get(5, [])}
    locations = {first(fields(one), 1): fields(one) for one in profile.get(4, [])}
    for function in functions.values():
        ensure(strings[first(function, 2)] and first(function, 4) < len(strings), 'a function without a name')
    for location in locations.values():
        ensure(all(first(fields(line), 1) in functions for line in location[4]), 'a location without a function')
    column = [name for name, _ in types].index(strings[first(profile, 14)])
    total = 0
    for one in profile.get(2, []):
        sample = fields(one)
        values = numbers(sample[2])
        ensure(len(values) == len(types), 'values of a sample')
        ensure(all(place in locations for place in numbers(sample[1])), 'a location that is not there')
        total += values[column]
    return total, 0


@reads('.otlp.pb')
def otlp(data, metric):
    """The profile whose type is the metric's; every one has one type."""
    request = fields(data)
    tables = fields(request[2][0])
    strings = [one.decode('utf-8') for one in tables[5]]
    stacks = len(tables[7])
    ensure(strings[0] == '' and tables[7][0] == b'' and tables[2][0] == b'', 'the first of each table is empty')
    totals = {}
    for resource in request[1]:
        for scope in fields(resource)[2]:
            for one in fields(scope)[2]:
                profile = fields(one)
                kind = fields(first(profile, 1, b''))
                name = strings[first(kind, 1)]
                ensure(name not in totals, 'two profiles of %s', name)
                totals[name] = 0
                for sample in map(fields, profile.get(2, [])):
                    ensure(0 <= first(sample, 1) < stacks, 'a stack that is not there')
                    totals[name] += sum(numbers(sample.get(4, [])))
    names = metric, re.sub('_(ns|bytes|blocks)$', '', metric), {'live_bytes': 'inuse_space'}.get(metric)
    found = [totals[name] for name in names if name in totals]
    ensure(found, 'no %s in %r', metric, sorted(totals))
    return found[0], 0


@reads('.prof')
def pstats(data, metric):
    """Seconds as floating point numbers."""
    rows = marshal.loads(data)
    total = 0.0
    for (file, line, name), (primitive, calls, own, cumulative, callers) in rows.items():
        ensure(isinstance(file, str) and isinstance(line, int) and isinstance(name, str), 'a key')
        ensure(1 <= primitive <= calls, 'calls %d, primitive ones %d', calls, primitive)
        ensure(0 <= own <= cumulative * (1 + 1e-9) + 1e-9, 'own %r of %r', own, cumulative)
        ensure(all(caller in rows and len(values) == 4 for caller, values in callers.items()), 'callers')
        total += own
    ensure(any(not row[4] for row in rows.values()), 'no root')
    return total * 1e9, max(1, total) * 1e9 * 1e-9


class Traces(pickle.Unpickler):
    """A snapshot of tracemalloc, without tracemalloc."""

    class Shell(object):
        def __setstate__(self, state):
            self.__dict__.update(state)

    def find_class(self, module, name):
        ensure(module == 'tracemalloc' and name in ('Snapshot', '_Traces'), 'it names %s.%s', module, name)
        return self.Shell


@reads('.pkl')
def snapshot(data, metric):
    traces = Traces(io.BytesIO(data)).load().traces._traces
    for trace in traces:
        ensure(len(trace) in (3, 4) and trace[1] >= 0 and all(isinstance(file, str) for file, _ in trace[2]), 'trace %r', trace)
    return sum(trace[1] for trace in traces), 0


@reads('.perfetto-trace')
def perfetto(data, metric):
    """Samples of the time line: the format has no place for a weight. Slices end where they begin."""
    total, depth = 0, {}
    for packet in map(fields, fields(data).get(1, [])):
        total += len(packet.get(66, []))
        for event in map(fields, packet.get(11, [])):
            kind, track = first(event, 9), first(event, 11)
            depth[track] = depth.get(track, 0) + (kind == 1) - (kind == 2)
            ensure(depth[track] >= 0, 'an end without a beginning')
    ensure(not any(depth.values()), 'a slice without an end')
    return total, 0


def read(suffix, data, metric):
    """(total, resolution) of that format, or the reader's complaint, which names the format."""
    try:
        return READERS[suffix](data, metric)
    except (ValueError, KeyError, IndexError, TypeError, EOFError, struct.error, AttributeError) as error:
        raise AssertionError('%s: %s: %s' % (suffix, type(error).__name__, error)) from error
