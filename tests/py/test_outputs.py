"""Every format, read back by an independent reader, with names that mean harm; and all formats agree."""
import collections
import ctypes
import gzip
import json
import locale
import os
import re
import struct
import sys
import threading
import time
import types
import unicodedata
import xml.dom.minidom
import zlib

import bind
from bind import CPU_NS, FOLDED, JSON, PPROF, SAMPLES, SPEEDSCOPE, SVG, TEXT, WALL_NS

HOSTILE = {
    'plain': 'plain', 'empty': '', 'space': ' ', 'quote': 'a"b', 'apostrophe': "a'b", 'backslash': 'a\\b\\', 'semicolon': 'a;b;c',
    'newline': 'a\nb', 'return': 'a\r\nb', 'tab': 'a\tb', 'nul': 'a\x00b', 'controls': ''.join(map(chr, range(1, 32))),
    'delete': 'a\x7fb', 'c1': 'a\x80\x85\x9b31m\x9fb', 'escape': '\x1b[31mred\x1b]0;title\x07', 'script': '</script><script>alert(1)</script>',
    'cdata': ']]><svg onload="alert(1)">', 'comment': '--><!--', 'entity': '&lt;&amp;&#0;&bogus;', 'markup': '<b>bold</b>',
    'attribute': '" onmouseover="alert(1)', 'title': '</title><script>', 'style': '</style>', 'lone high': 'a\ud800b', 'lone low': 'a\udfffb',
    'swapped': '\udc00\ud800', 'escaped byte': 'caf\udce9', 'astral': '\U0001f40d\U0010ffff', 'nonchars': '\ufffe\uffff\ufdd0',
    'bidi': '\u202eevil\u202c\u2066x\u2069\u200f\u200e\u061c', 'separators': 'a\u2028b\u2029c', 'bom': '\ufeffa', 'zero width': 'a\u200bb\u200d\u00ad',
    'combining': 'e' + '\u0301' * 50, 'ends in number': 'f 12', 'ends in float': 'f 1.5', 'only number': '77', 'percent': '%s%n%d%%', 'long': 'n' * 10000,
    'long wide': '\u4e2d' * 5000, 'parens': 'f (x.py:3)', 'paren id': '(1) f', 'proto': '__proto__', 'brackets': '[k]_[i]', 'braces': '{"a": 1}',
    'slash': 'a/b', 'colon': 'a:b', 'hash': '#', 'dollar': '$(id)`id`', 'angle': '<module>', 'unassigned': '\U000e0001\u0378', 'private': '\ue000',
    'dots': '....', 'trailing space': 'f  ', 'leading space': '  f', 'equal': '=1+1', 'rtl word': '\u05e9\u05dc\u05d5\u05dd', 'ring': 'a\u030a\u00e5',
}
FORMATS = sorted(bind.SUFFIXES)


def make(name, filename, call):
    """A function of that name in a file of that name, which calls call."""
    def template():
        return call()

    code = template.__code__.replace(co_name=name, co_filename=filename)
    if hasattr(code, 'co_qualname'):
        code = code.replace(co_qualname=name)
    return types.FunctionType(code, {}, name, None, template.__closure__)


def hostile_chains():
    """For each name, a chain function(file): work; the name of the file is hostile too."""
    for key, name in sorted(HOSTILE.items()):
        yield key, name


def busy(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def busy_until_seen(session, samples=8):
    """Until it must have been sampled, however busy the machine is."""
    until = session.stats().samples + samples
    end = time.monotonic() + 10
    while session.stats().samples < until and time.monotonic() < end:
        busy(0.002)


_profile = []


def hostile_profile():
    """Names of functions, files and threads that mean harm; some work in each, and some waiting."""
    if not _profile:
        session = bind.Session(rate_hz=2000)
        for key, name in hostile_chains():
            def run():
                make(name, '/dir/' + name + '.py', lambda: make(name + '2', name, lambda: busy_until_seen(session))())()
                make(name, name, lambda: make('x', '/other/' + name, lambda: busy_until_seen(session, 3))())()

            thread = threading.Thread(target=run, name=name[:12])   # how much is kept of long ones is tested elsewhere
            thread.start()
            thread.join()
        for key in ('quote', 'script', 'semicolon', 'bidi', 'astral', 'long'):   # classes made by exec and by type()
            cls = type(HOSTILE[key], (), {'method': make('method', HOSTILE[key], lambda: busy_until_seen(session))})
            cls.method()
        exec(compile('def f():\n    busy(session)\nf()\n', 'a"b</script>;\n\u202e.py', 'exec'), {'busy': busy_until_seen, 'session': session})
        _profile.append(session.stop())
        text = _profile[0].write(JSON).decode('utf-8')
        for key in ('quote', 'newline', 'bidi', 'long', 'astral'):
            name = HOSTILE[key][:1000]   # very long ones may be cut
            assert json.dumps(name, ensure_ascii=False)[1:-1] in text or json.dumps(name)[1:-1] in text, 'the profile lacks ' + key
    return _profile[0]


# --- readers ------------------------------------------------------------------------------------------------------------


def read_folded(data):
    """{stack: count}; strict: one line each, the last space splits off a positive integer."""
    text = data.decode('utf-8')
    bind.check(text == '' or text.endswith('\n'), 'the last line has no end')
    stacks = {}
    for line in text[:-1].split('\n') if text else []:
        bind.check(not re.search('[\x00-\x1f\x7f]', line), 'a control character in %r', line)
        stack, space, count = line.rpartition(' ')
        bind.check(space and re.match('[1-9][0-9]*$', count), 'no count: %r', line)
        frames = tuple(stack.split(';'))
        bind.check(all(frames), 'an empty frame: %r', line)
        bind.check(frames not in stacks, 'a stack twice: %r', line)
        stacks[frames] = int(count)
    return stacks


def fields(data):
    """The fields of one protobuf message: (number, wire type, value)."""
    at = 0

    def varint():
        nonlocal at
        result = shift = 0
        while True:
            byte = data[at]
            at += 1
            result |= (byte & 127) << shift
            shift += 7
            assert shift <= 70
            if byte < 128:
                return result

    while at < len(data):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            yield number, wire, varint()
        elif wire == 2:
            size = varint()
            bind.check(at + size <= len(data), 'a field runs over the end')
            yield number, wire, data[at:at + size]
            at += size
        elif wire == 1:
            yield number, wire, struct.unpack_from('<Q', data, at)[0]
            at += 8
        else:
            raise AssertionError('wire type %d' % wire)


def varints(value):
    """A repeated number: packed or single."""
    if isinstance(value, int):
        return [value]
    result, one, shift = [], 0, 0
    for byte in value:
        one |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            result.append(one)
            one = shift = 0
    assert not shift
    return result


def signed(n):
    return n - (1 << 64) if n >> 63 else n


class Message:
    def __init__(self, data):
        self.all = collections.defaultdict(list)
        for number, _, value in fields(data):
            self.all[number].append(value)

    def one(self, number, default=0):
        values = self.all.get(number, [default])
        bind.check(len(values) == 1, 'field %d is there %d times', number, len(values))
        return values[0]

    def many(self, number):
        return self.all.get(number, [])

    def numbers(self, number):
        return [n for value in self.many(number) for n in varints(value)]


def read_pprof(data):
    """Checks what pprof's CheckValid does, and more; returns a namespace."""
    bind.equal(data[:3], b'\x1f\x8b\x08', 'the gzip header')
    bind.equal(data[4:8], b'\0\0\0\0', 'the time in the gzip header')
    raw = gzip.decompress(data)   # checks CRC and length
    bind.equal(struct.unpack('<II', data[-8:]), (zlib.crc32(raw), len(raw)), 'the gzip trailer')
    top = Message(raw)
    strings = [string.decode('utf-8') for string in top.many(6)]
    bind.equal(strings[0], '', 'string 0')
    bind.equal(len(set(strings)), len(strings), 'strings that differ')

    def string(index):
        bind.check(0 <= index < len(strings), 'string %d of %d', index, len(strings))
        return strings[index]

    def by_id(number):
        messages = [Message(one) for one in top.many(number)]
        found = {message.one(1): message for message in messages}
        bind.equal(len(found), len(messages), 'ids of field %d' % number)
        bind.check(0 not in found, 'id 0 in field %d', number)
        return found

    mappings, locations, functions = by_id(3), by_id(4), by_id(5)
    types = [(string(Message(one).one(1)), string(Message(one).one(2))) for one in top.many(1)]
    bind.check(types, 'no sample types')
    names = {}
    for id, function in functions.items():
        bind.check(function.one(2), 'a function without a name')
        name, system = string(function.one(2)), string(function.one(3))
        bind.check(system != name or not system, 'system_name equals name: pprof would demangle %r', name)
        names[id] = (name, string(function.one(4)), function.one(5))
    places = {}
    for id, location in locations.items():
        bind.check(location.one(2) == 0 or location.one(2) in mappings, 'mapping %d', location.one(2))
        lines = [Message(one) for one in location.many(4)]
        bind.check(lines, 'a location without a line')
        for line in lines:
            bind.check(line.one(1) in functions, 'function %d', line.one(1))
        places[id] = [(names[line.one(1)], signed(line.one(2))) for line in lines]
    for mapping in mappings.values():
        string(mapping.one(5))
        bind.check(mapping.one(7) and mapping.one(8) and mapping.one(9), 'pprof would look for symbols')
    samples = []
    for one in top.many(2):
        sample = Message(one)
        values = [signed(value) for value in sample.numbers(2)]
        bind.equal(len(values), len(types), 'values of a sample')
        stack = sample.numbers(1)
        bind.check(stack, 'a sample without locations')
        bind.check(all(id in locations for id in stack), 'locations %r', stack)
        labels = {}
        for label in map(Message, sample.many(3)):
            key = string(label.one(1))
            bind.check(key, 'a label without a key')
            bind.check(not (label.one(2) and label.one(3)), 'a label with text and number')
            bind.check(key not in labels, 'label %r twice', key)
            labels[key] = string(label.one(2)) if label.one(2) else label.one(3)
        samples.append(([place for id in reversed(stack) for place in places[id]], values, labels))
    for number in (7, 8, 14, 15):
        string(top.one(number))
    for comment in top.numbers(13):
        string(comment)
    return types_namespace(types=types, samples=samples, time=top.one(9), duration=top.one(10), period=top.one(12),
                           period_type=Message(top.one(11, b'')), default=string(top.one(14)), strings=strings)


def types_namespace(**values):
    return collections.namedtuple('Pprof', sorted(values))(**values)


def read_speedscope(data):
    document = bind.strict_json(data)
    bind.equal(document['$schema'], 'https://www.speedscope.app/file-format-schema.json')
    frames = document['shared']['frames']
    for frame in frames:
        bind.check(isinstance(frame['name'], str), 'frame %r', frame)
        bind.check(set(frame) <= {'name', 'file', 'line', 'col'}, 'frame %r', frame)
        bind.check(isinstance(frame.get('line', 1), int), 'frame %r', frame)
    bind.check(document['profiles'], 'no profiles')
    bind.check(0 <= document.get('activeProfileIndex', 0) < len(document['profiles']), 'the active profile')
    for profile in document['profiles']:
        bind.equal(profile['type'], 'sampled')
        bind.check(profile['unit'] in ('none', 'nanoseconds', 'microseconds', 'milliseconds', 'seconds', 'bytes'), profile['unit'])
        bind.equal(len(profile['samples']), len(profile['weights']), 'samples and weights')
        bind.check(isinstance(profile['name'], str), 'the name')
        for stack in profile['samples']:
            bind.check(all(isinstance(i, int) and 0 <= i < len(frames) for i in stack), 'stack %r', stack)
        bind.check(all(weight >= 0 for weight in profile['weights']), 'a negative weight')
        total = sum(profile['weights'])
        bind.near(profile['endValue'] - profile['startValue'], total, 1e-6, 1e-6, 'endValue - startValue')
    return document


def read_svg(data):
    return xml.dom.minidom.parseString(data)


UNITS = {'nanoseconds': 1, 'microseconds': 1e3, 'milliseconds': 1e6, 'seconds': 1e9}


# --- hostile names --------------------------------------------------------------------------------------------------------


@bind.test
def hostile_names_in_json():
    profile = hostile_profile()
    data = profile.write(JSON)
    document = bind.strict_json(data)
    bind.check(not re.search(b'[\x00-\x09\x0b-\x1f]', data), 'a raw control character')
    bind.check(b'</script' not in data.lower(), 'cannot be put into a page as it is')
    names = {frame['name'] for frame in document['frames']}
    files = {frame['file'] for frame in document['frames']}
    threads = {thread['name'] for thread in document['threads']}
    for key, name in HOSTILE.items():
        bind.check(bind.clean(name) in names, 'function %s is missing', key)
        bind.check(bind.clean(name) in files, 'file %s is missing', key)
        bind.check(bind.clean(name[:12]) in threads or not name, 'thread %s is missing', key)
    known = set(document['functions'])
    for sample in document['samples']:
        bind.check(set(sample['stack']) <= known, 'a label that is no function: %r', set(sample['stack']) - known)
    for split in (0, 1):
        for lines in (0, 1):
            bind.strict_json(profile.write(JSON, split_threads=split, lines=lines, title='</script>"\n\udcff'.encode('utf-8', 'replace').decode()))


@bind.test
def hostile_names_in_svg():
    profile = hostile_profile()
    for output in ({}, {'split_threads': 1}, {'lines': 1}, {'title': '</title><script>alert(1)</script>&"\x01'},
                   {'title': 'a' * 5000}, {'metric': SAMPLES}, {'metric': WALL_NS}):
        data = profile.write(SVG, **output)
        dom = read_svg(data)
        bind.check(not re.search('[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]', data.decode('utf-8')), 'what XML does not allow')
        scripts = dom.getElementsByTagName('script')
        bind.check(len(scripts) <= 1, '%d scripts', len(scripts))
        for script in scripts:
            text = ''.join(node.data for node in script.childNodes)
            bind.check('alert(1)' not in text, 'a name inside the script')
        for element in dom.getElementsByTagName('*'):
            for name, value in element.attributes.items():
                bind.check(not (name.startswith('on') and 'alert' in value), 'a name in %s', name)
                bind.check(name.split(':')[-1] != 'href' or value.startswith('#'), 'a reference to %r', value)
            bind.check(element.tagName not in ('image', 'iframe', 'a', 'b'), 'an element <%s>', element.tagName)
            if element.tagName == 'foreignObject':   # the search box: no name has business there
                bind.check('alert' not in element.toxml() and 'quot;b' not in element.toxml(), 'a name in %s', element.toxml()[:300])
        root = dom.documentElement
        bind.equal(root.tagName, 'svg')
    titles = [''.join(node.data for node in title.childNodes) for title in read_svg(profile.write(SVG)).getElementsByTagName('title')]
    bind.check(any('a"b' in title for title in titles), 'the names are there')
    bind.check(any('\U0001f40d' in title for title in titles), 'astral names')


@bind.test
def hostile_names_in_folded():
    profile = hostile_profile()
    for output in ({}, {'split_threads': 1}, {'lines': 1}, {'metric': CPU_NS}, {'metric': WALL_NS}):
        stacks = read_folded(profile.write(FOLDED, **output))
        bind.check(len(stacks) > 50, '%d stacks', len(stacks))
    expected, got = collections.Counter(), collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, leaves=True):
        expected[len(item.stack)] += item.self[SAMPLES]
    for stack, count in read_folded(profile.write(FOLDED, metric=SAMPLES, filter=EVERYTHING)).items():
        got[len(stack)] += count
    bind.equal(+got, +expected, 'samples by depth')


@bind.test
def hostile_names_in_speedscope():
    profile = hostile_profile()
    for output in ({}, {'lines': 1}, {'split_threads': 1}):
        document = read_speedscope(profile.write(SPEEDSCOPE, **output))
    names = ' '.join(frame['name'] for frame in document['shared']['frames'])
    bind.check('a"b' in names and '\u4e2d' * 1000 in names, 'names')
    threads = ' '.join(one['name'] for one in document['profiles'])
    bind.check('a"b' in threads, 'thread names: %r', threads[:200])


@bind.test
def hostile_names_in_pprof():
    profile = hostile_profile()
    for output in ({}, {'lines': 1}, {'split_threads': 1}):
        read = read_pprof(profile.write(PPROF, **output))
    bind.check(any('a"b' in string for string in read.strings), 'names')
    bind.check(any('n' * 1000 in string for string in read.strings), 'long names')


@bind.test
def hostile_names_in_text():
    for output in ({}, {'split_threads': 1}, {'lines': 1}, {'title': '\x1b[31m\u202e'}):
        text = hostile_profile().write(TEXT, **output).decode('utf-8')
        bad = {c for c in text if c != '\n' and (unicodedata.category(c) in ('Cc', 'Cs') or c in '\u2028\u2029\ufeff'
                                                 or unicodedata.bidirectional(c) in ('LRE', 'RLE', 'LRO', 'RLO', 'PDF', 'LRI', 'RLI', 'FSI', 'PDI')
                                                 or c in '\u200e\u200f\u061c')}
        bind.check(not bad, 'raw: %r', bad)
        bind.check(max(map(len, text.split('\n'))) < 2000, 'a line of %d characters', max(map(len, text.split('\n'))))
        bind.check(not re.search('[ \t]$', text, re.M), 'spaces at the end of a line')


@bind.test
def two_functions_of_one_name():
    """Different functions must not merge in any format that knows only names."""
    one, two = (make('same', '/%s/same.py' % folder, lambda: busy(0.1)) for folder in 'ab')
    with bind.record(rate_hz=1000) as r:
        one()
        two()
    document = r.profile.json()
    same = sorted(label for label in document['functions'] if 'same' in label)
    first = (lambda: 0).__code__.replace(co_firstlineno=make.__code__.co_firstlineno + 2).co_firstlineno
    bind.equal(same, ['same.same (/a/same.py:%d)' % first, 'same.same (/b/same.py:%d)' % first])
    bind.equal(len({frame for stack in read_folded(r.profile.write(FOLDED)) for frame in stack if 'same' in frame}), 2, 'folded')
    bind.equal(len([frame for frame in read_speedscope(r.profile.write(SPEEDSCOPE))['shared']['frames'] if 'same' in frame['name']]), 2)


@bind.test
def two_threads_of_one_name():
    """The lines of folded stacks stay unique, and the counts add up."""
    threads = [threading.Thread(target=busy, args=(0.2,), name='twin') for _ in range(2)]
    with bind.record(rate_hz=1000) as r:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = sum(thread.total[SAMPLES] for thread in r.profile.threads() if thread.name == 'twin')
    stacks = read_folded(r.profile.write(FOLDED, metric=SAMPLES, split_threads=1))
    bind.equal(sum(count for stack, count in stacks.items() if 'twin' in stack[0]), expected)
    read_speedscope(r.profile.write(SPEEDSCOPE, split_threads=1))
    read_pprof(r.profile.write(PPROF, split_threads=1))


@bind.test
def deep_stacks():
    """Deeper than buffers that somebody may have thought big enough: no format cuts or mixes up a stack in silence."""
    def down(n):
        return down(n - 1) if n else bind.dump_profile(max_depth=65000)

    result = []
    for depth in bind.several(3000, 7000, 20000):
        sys.setrecursionlimit(depth + 1000)
        threading.stack_size(1000 << 20)
        thread = threading.Thread(target=lambda: result.append(down(depth)))
        thread.start()
        thread.join()
        profile = result.pop()
        bind.equal(profile.stats().truncated, 0, 'truncated')

        def count(names):
            return sum('down' in name for name in names)

        bind.equal(max(count([frame.name for frame in item.stack]) for item in profile.visit(bind.ITEM_STACK)), depth + 1, 'visit')
        bind.equal(max(count(sample['stack']) for sample in profile.json()['samples']), depth + 1, 'JSON')
        bind.equal(max(map(count, read_folded(profile.write(FOLDED, metric=SAMPLES)))), depth + 1, 'folded')
        bind.equal(max(count([name[0] for name, _ in stack]) for stack, _, _ in read_pprof(profile.write(PPROF)).samples), depth + 1, 'pprof')
        document = read_speedscope(profile.write(SPEEDSCOPE, metric=SAMPLES))
        bind.equal(max(count([document['shared']['frames'][i]['name'] for i in stack]) for one in document['profiles'] for stack in one['samples']),
                   depth + 1, 'speedscope')
        read_svg(profile.write(SVG, metric=SAMPLES))
        profile.write(TEXT)


# --- agreement ----------------------------------------------------------------------------------------------------------------


def mixed_profile():
    def work(n):
        for _ in range(n):
            busy(bind.length(0.02, 0.01))
            time.sleep(0.01)

    with bind.record(rate_hz=1000) as r:
        threads = [threading.Thread(target=work, args=(n,), name='worker %d' % n) for n in (5, 10, 15)]
        for thread in threads:
            thread.start()
        busy(0.1)
        for thread in threads:
            thread.join()
    return r.profile


EVERYTHING = bind.fill(bind.Query(), include_idle=1)   # idle time, too


@bind.test
def totals_agree():
    profile = mixed_profile()
    info, stats = profile.info(), profile.stats()
    total = {metric: info.total[metric] for metric in (SAMPLES, WALL_NS, CPU_NS)}
    bind.check(all(total.values()), 'totals %r', total)
    document = profile.json()
    bind.equal(sum(sample['count'] for sample in document['samples']), total[SAMPLES], 'JSON, samples')
    bind.equal(sum(sample['wall_ns'] for sample in document['samples']), total[WALL_NS] - bind.lost(profile), 'JSON, wall time')
    bind.equal(document['stats']['samples'], total[SAMPLES], 'JSON, stats')
    # folded: exact in samples; in times as in the tree
    bind.equal(sum(read_folded(profile.write(FOLDED, metric=SAMPLES, filter=EVERYTHING)).values()), total[SAMPLES], 'folded, samples')
    for metric in (WALL_NS, CPU_NS):
        stacks = read_folded(profile.write(FOLDED, metric=metric, filter=EVERYTHING))
        bind.near(sum(stacks.values()) * scale(sum(stacks.values()), total[metric]), total[metric], 0.001, 1e3 * len(stacks), 'folded, metric %d' % metric)
    expected = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, leaves=True):
        if item.self[SAMPLES]:   # lost time has none
            expected[tuple(frame.label.replace(';', ':') for frame in item.stack)] += item.self[SAMPLES]
    got = read_folded(profile.write(FOLDED, metric=SAMPLES, filter=EVERYTHING))
    bind.equal(sorted(got.values()), sorted(expected.values()), 'folded, the counts of the stacks')
    active = total[SAMPLES] - info.total[bind.IDLE_SAMPLES]   # what counts if nothing is asked for
    bind.equal(sum(read_folded(profile.write(FOLDED, metric=SAMPLES)).values()), active, 'folded without idle time, samples')
    # speedscope
    speedscope = read_speedscope(profile.write(SPEEDSCOPE, filter=EVERYTHING))
    weights = sum(sum(one['weights']) * UNITS.get(one['unit'], 1) for one in speedscope['profiles'])
    bind.check(any(abs(weights - total[metric]) <= 1e-6 * total[metric] + 2000 for metric in total), 'speedscope: %r is none of %r', weights, total)
    for metric in (WALL_NS, CPU_NS, SAMPLES):
        speedscope = read_speedscope(profile.write(SPEEDSCOPE, metric=metric, filter=EVERYTHING))
        weights = sum(sum(one['weights']) * UNITS.get(one['unit'], 1) for one in speedscope['profiles'])
        bind.near(weights, total[metric], 1e-6, 2000 if metric != SAMPLES else 0, 'speedscope, metric %d' % metric)
    # pprof
    pprof = read_pprof(profile.write(PPROF, filter=EVERYTHING))
    for i, (kind, unit) in enumerate(pprof.types):
        metric = {'samples': SAMPLES, 'wall': WALL_NS, 'cpu': CPU_NS}.get(kind)
        if metric:
            bind.equal(unit, 'count' if metric == SAMPLES else 'nanoseconds')
            bind.equal(sum(values[i] for _, values, _ in pprof.samples), total[metric], 'pprof, ' + kind)
    bind.check({'samples', 'cpu', 'wall'} <= {kind for kind, _ in pprof.types}, 'pprof: types %r', pprof.types)
    bind.check(pprof.default in [kind for kind, _ in pprof.types], 'pprof: default type %r', pprof.default)
    bind.near(pprof.duration / 1e9, info.duration_s, 0.001, 1e-3, 'pprof, duration')
    bind.near(pprof.time / 1e9, info.start, 0, 1, 'pprof, time')
    by_thread = collections.Counter()
    at = [kind for kind, _ in pprof.types].index('samples')
    for _, values, labels in pprof.samples:
        by_thread[labels['thread']] += values[at]
    bind.equal(dict(by_thread), {thread.name: thread.total[SAMPLES] for thread in profile.threads()}, 'pprof, threads')
    # stacks of pprof are those of the visit
    expected = collections.Counter()
    for item in profile.visit(bind.ITEM_STACK, leaves=True):
        expected[tuple((frame.file, frame.line, frame.first_line) for frame in item.stack)] += item.self[SAMPLES]
    got = collections.Counter()
    for stack, values, _ in pprof.samples:
        got[tuple((name[1], line, name[2]) for name, line in stack)] += values[at]
    bind.equal(got, expected, 'pprof, the stacks')
    # SVG: the root's title tells the total
    svg = profile.write(SVG, metric=SAMPLES, filter=EVERYTHING).decode('utf-8')
    bind.check('%d' % total[SAMPLES] in svg.replace(',', '') or '{:,}'.format(total[SAMPLES]) in svg, 'SVG, samples')
    bind.check(('%d' % stats.samples) in profile.write(TEXT, full=1).decode('utf-8').replace(',', ''), 'text, samples')


def scale(got, expected):
    """Folded counts may be ns, us or ms."""
    return min((1, 1e3, 1e6), key=lambda factor: abs(got * factor - expected))


@bind.test
def threads_stay_apart_when_asked():
    profile = mixed_profile()
    expected = {thread.name: thread.total[SAMPLES] for thread in profile.threads()}
    got = collections.Counter()
    for stack, count in read_folded(profile.write(FOLDED, metric=SAMPLES, split_threads=1, filter=EVERYTHING)).items():
        got[next((name for name in expected if name in stack[0]), stack[0])] += count
    bind.equal(dict(got), expected, 'folded')
    document = read_speedscope(profile.write(SPEEDSCOPE, metric=SAMPLES, split_threads=1, filter=EVERYTHING))
    got = {next((name for name in expected if name in one['name']), one['name']): sum(one['weights']) for one in document['profiles']}
    bind.equal(got, expected, 'speedscope')


@bind.test
def filters():
    profile = mixed_profile()
    worker = next(thread for thread in profile.threads() if thread.name == 'worker 10')
    stacks = read_folded(profile.write(FOLDED, metric=SAMPLES, filter=bind.fill(bind.Query(), thread='worker 10', include_idle=1)))
    bind.equal(sum(stacks.values()), worker.total[SAMPLES], 'folded, one thread')
    pprof = read_pprof(profile.write(PPROF, filter=bind.fill(bind.Query(), function='*busy*', include_idle=1)))
    bind.check(pprof.samples and all(any('busy' in name[0] for name, _ in stack) for stack, _, _ in pprof.samples), 'pprof, one function')


@bind.test
def lines_on_request():
    profile = mixed_profile()
    plain = read_folded(profile.write(FOLDED, metric=SAMPLES))
    lined = read_folded(profile.write(FOLDED, metric=SAMPLES, lines=1))
    bind.equal(sum(plain.values()), sum(lined.values()))
    bind.check(len(lined) >= len(plain), 'lines split stacks')
    bind.check(any(re.search(r':\d+', frame) for stack in lined for frame in stack), 'no line numbers: %r', list(lined)[:2])


# --- memory -------------------------------------------------------------------------------------------------------------

MEMORY = {bind.ALLOC_BYTES: 'alloc_space', bind.ALLOC_BLOCKS: 'alloc_objects', bind.LIVE_BYTES: 'inuse_space',
          bind.LIVE_BLOCKS: 'inuse_objects', bind.PEAK_BYTES: 'peak_space', bind.PEAK_BLOCKS: 'peak_objects', bind.TEMP_BLOCKS: 'temp_objects'}


def memory_profile(heap=1):
    """Made by hand, with hostile names; every metric has values of its own."""
    model = bind.Model(heap, 524288 if heap == 1 else 0)
    for number, (_, name) in enumerate(hostile_chains()):
        frames = [('/srv/app.py', 3), (bind.clean(name), number)]
        for frames in (frames, frames + ['<malloc>']):
            node = model.stack(*frames)
            for metric in MEMORY:
                model.add(node, metric, 1000 * metric + 7 * number)
    model.add(model.stack(('/srv/app.py', 4)), SAMPLES, 3)
    model.add(model.stack(('/srv/app.py', 4)), WALL_NS, 3000)
    return model.seal()


@bind.test
def memory_in_every_format():
    profile = memory_profile()
    total = profile.info().total
    document = profile.json()
    pprof = read_pprof(profile.write(PPROF))
    bind.equal(pprof.default, 'wall')
    for metric, name in MEMORY.items():
        key = {'space': 'bytes', 'objects': 'blocks'}[name.split('_')[1]]
        key = {'alloc': 'alloc_', 'inuse': 'live_', 'peak': 'peak_', 'temp': 'temp_'}[name.split('_')[0]] + key
        bind.equal(sum(document['tree']['self'][key]), total[metric], 'JSON, the tree, ' + key)
        bind.equal(document['memory'][key], total[metric], 'JSON, memory, ' + key)
        bind.equal(sum(one['self_' + key] for one in document['functions'].values()), total[metric], 'JSON, functions, ' + key)
        bind.equal(sum(read_folded(profile.write(FOLDED, metric=metric)).values()), total[metric], 'folded, ' + key)
        speedscope = read_speedscope(profile.write(SPEEDSCOPE, metric=metric))
        bind.equal({one['unit'] for one in speedscope['profiles']}, {'bytes' if 'bytes' in key else 'none'})
        bind.equal(sum(sum(one['weights']) for one in speedscope['profiles']), total[metric], 'speedscope, ' + key)
        at = pprof.types.index((name, 'bytes' if 'bytes' in key else 'count'))
        bind.equal(sum(values[at] for _, values, _ in pprof.samples), total[metric], 'pprof, ' + key)
        bind.equal(read_pprof(profile.write(PPROF, metric=metric)).default, name)
        title = read_svg(profile.write(SVG, metric=metric)).getElementsByTagName('title')[0].firstChild.data
        bind.check(key.split('_')[1] in title, 'the title of the SVG is %r', title)
        text = profile.write(TEXT, metric=metric).decode('utf-8')
        bind.check('\nLines, by ' in text and 'How good' not in text and not re.search('[ \t]$', text, re.M), 'text:\n%s', text)
    bind.equal((document['memory']['mode'], document['memory']['interval_bytes'], document['memory']['timeline']), ('sampled', 524288, []))
    bind.check('Memory: ' in profile.write(TEXT).decode('utf-8'), 'no memory in the whole report')
    untracked = mixed_profile()   # but the resident set may be known
    bind.equal((set(untracked.json().get('memory', {'mode': 'off'})) - {'timeline'}, 'Memory: ' in untracked.write(TEXT).decode('utf-8')), ({'mode'}, False))


@bind.test(limit=300, long=True)   # go may have to build the tool first
def go_tool_pprof():
    import shutil
    import subprocess
    if not shutil.which('go'):
        bind.skip('go is not installed')
    profile = memory_profile(heap=2)
    with bind.folder() as folder:
        path = os.path.join(folder, 'x.pb.gz')
        profile.save(path)
        for metric, name in MEMORY.items():
            done = subprocess.run(['go', 'tool', 'pprof', '-top', '-nodecount=5', '-unit=B', '-sample_index=' + name, path], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env=dict(os.environ, PPROF_TMPDIR=folder))
            said = done.stdout.decode('utf-8')
            bind.equal(done.returncode, 0, done.stderr.decode())
            bind.check('Type: ' + name in said and '%d' % profile.info().total[metric] in said, 'it says:\n%s', said)


# --- the same bytes every time ------------------------------------------------------------------------------------------


@bind.test
def the_same_bytes_every_time():
    for profile in (mixed_profile(), hostile_profile()):
        for format in FORMATS:
            first = profile.write(format)
            bind.check(first, 'nothing written as %s', bind.FORMATS[format])
            for _ in range(2):
                bind.check(profile.write(format) == first, '%s differs', bind.FORMATS[format])
            with bind.folder() as folder:
                path = os.path.join(folder, 'x' + bind.SUFFIXES[format])
                profile.save(path)
                with open(path, 'rb') as file:
                    bind.check(file.read() == first, 'save and write differ in %s', bind.FORMATS[format])


@bind.test
def from_many_threads_at_once():
    profile = hostile_profile()
    expected = {format: profile.write(format) for format in FORMATS}
    errors = []

    def work(format):
        try:
            for _ in range(5):
                assert profile.write(format) == expected[format], bind.FORMATS[format]
        except BaseException:
            errors.append(sys.exc_info()[1])

    threads = [threading.Thread(target=work, args=(format,)) for format in FORMATS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@bind.test
def the_locale_changes_nothing():
    profile = mixed_profile()
    expected = {format: profile.write(format) for format in FORMATS}
    for name in ('de_DE.UTF-8', 'de_DE', 'fr_FR.UTF-8', 'C.UTF-8'):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        for format in FORMATS:
            bind.check(profile.write(format) == expected[format], '%s differs under %s', bind.FORMATS[format], name)
        if locale.localeconv()['decimal_point'] == ',':
            return
    import subprocess   # none installed: make one
    with bind.folder() as folder:
        with open(os.path.join(folder, 'comma'), 'w') as file:   # all else as in C: a whole locale takes seconds
            file.write('comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point ","\nthousands_sep "."\ngrouping 3;3\nEND LC_NUMERIC\n')
        made = subprocess.run(['localedef', '-c', '-i', os.path.join(folder, 'comma'), '-f', 'ANSI_X3.4-1968', os.path.join(folder, 'de_DE.UTF-8')],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if not os.path.isdir(os.path.join(folder, 'de_DE.UTF-8')):
            bind.skip('no locale with a decimal comma, and none can be made: %s' % made.stdout.decode().strip())
        libc = ctypes.CDLL(None)
        libc.setlocale.restype = ctypes.c_char_p
        os.environ['LOCPATH'] = folder
        libc.setenv(b'LOCPATH', folder.encode(), 1)
        if not libc.setlocale(6, b'de_DE.UTF-8'):
            bind.skip('the locale that was made cannot be set')
        buffer = ctypes.create_string_buffer(20)
        libc.snprintf(buffer, 20, b'%.1f', ctypes.c_double(0.5))
        bind.equal(buffer.value, b'0,5', 'the locale is active')
        for format in FORMATS:
            bind.check(profile.write(format) == expected[format], '%s differs with a decimal comma', bind.FORMATS[format])
        bind.strict_json(mixed_profile().write(JSON))


# --- shapes -------------------------------------------------------------------------------------------------------------------


@bind.test
def the_shape_of_the_json():
    document = mixed_profile().json()
    for key, kind in {'process_name': str, 'pid': int, 'python': str, 'samples': list, 'functions': dict, 'frames': list,
                      'threads': list, 'tree': (list, dict), 'stats': dict, 'format': str, 'version': int}.items():
        bind.check(isinstance(document[key], kind), '%s is %r', key, type(document[key]))
    bind.equal((document['format'], document['version'], document['pid']), ('pyprof', 1, os.getpid()))
    bind.equal(document['python'], bind.VERSION)
    bind.equal(document['process_name'], 'test_outputs')
    for sample in document['samples']:
        for key, kind in {'thread_id': int, 'stack': list, 'timestamp': float, 'count': int, 'wall_ns': int, 'lines': list,
                          'frames': list}.items():
            bind.check(isinstance(sample[key], kind), '%s is %r', key, type(sample[key]))
        bind.check(sample['count'] >= 1 and abs(sample['timestamp'] - time.time()) < 60, 'sample %r', sample)
        bind.check(all(isinstance(name, str) for name in sample['stack']), 'stack')
    for label, one in document['functions'].items():
        bind.check(isinstance(one['samples'], int) and isinstance(one['time'], (int, float)), 'function %r', one)
        bind.check(one['time'] >= 0, 'function %r', one)
    for frame in document['frames']:
        bind.check({'name', 'qualname', 'file', 'line', 'kind'} <= set(frame), 'frame %r', frame)
    for thread in document['threads']:
        bind.check({'thread_id', 'ident', 'name', 'interpreter'} <= set(thread), 'thread %r', thread)
    known = {thread['thread_id'] for thread in document['threads']}
    bind.check({sample['thread_id'] for sample in document['samples']} <= known, 'thread ids')
    # There once a process has ended, and with PYPROF_RATE_AUTO.
    names = {name for name, _ in bind.Stats._fields_} - {'ended', 'rate_now', 'rate_lowest', 'rate_highest'}
    bind.check(names <= set(document['stats']), 'stats: %r', names - set(document['stats']))
    main = 'test_outputs.<module>'
    bind.check(main in document['functions'], 'no %s in %r', main, list(document['functions'])[:5])
    roots = {sample['stack'][0] for sample in document['samples'] if sample['thread_id'] == os.getpid()}
    bind.equal(roots, {main}, 'root first')


@bind.test
def nothing_recorded():
    """An empty profile is valid in every format."""
    session = bind.Session(rate_hz=1)
    session.pause()
    session.reset()
    profile = session.stop()
    bind.strict_json(profile.write(JSON))
    read_svg(profile.write(SVG))
    bind.equal(read_folded(profile.write(FOLDED)), {})
    bind.check(profile.write(TEXT).decode('utf-8'), 'text')
    raw = gzip.decompress(profile.write(PPROF))
    bind.check(Message(raw).many(1), 'sample types')
    bind.equal(Message(raw).many(2), [], 'samples')
    document = bind.strict_json(profile.write(SPEEDSCOPE))
    bind.equal(sum(sum(one['weights']) for one in document['profiles']), 0)


@bind.test
def the_text_is_one_page():
    text = mixed_profile().write(TEXT).decode('utf-8')
    lines = text.split('\n')
    bind.check(15 < len(lines) < 200, '%d lines', len(lines))
    for word in ('busy', 'worker 5', 'MainThread', 'test_outputs', 'samples'):
        bind.check(word in text, '%r is missing:\n%s', word, text)
    bind.check(re.search('missed|lost|rejected', text), 'the quality of the recording is missing')


@bind.test
def every_format_tells_the_quality():
    """What was lost is told in every output that has room for words."""
    profile = mixed_profile()
    for format in (JSON, TEXT, SVG):
        data = profile.write(format).decode('utf-8')
        bind.check(re.search('missed|lost|rejected', data), 'nothing about it in %s', bind.FORMATS[format])
    strings = read_pprof(profile.write(PPROF)).strings
    bind.check(any(re.search('missed|lost|rejected', string) for string in strings), 'nothing in pprof\'s comments')


@bind.test
def the_svg_stands_alone():
    data = mixed_profile().write(SVG).decode('utf-8')
    dom = read_svg(data.encode())
    root = dom.documentElement
    bind.equal(root.getAttribute('xmlns'), 'http://www.w3.org/2000/svg')
    urls = set(re.findall(r'https?://[^"\'\s)<]+', data)) - {'http://www.w3.org/2000/svg', 'http://www.w3.org/1999/xlink', 'http://www.w3.org/1999/xhtml'}
    bind.equal({url for url in urls if 'w3.org' not in url}, set(), 'addresses')
    bind.check(not re.search('@import|url\\((?!#)', data), 'outside resources')
    titles = [''.join(node.data for node in title.childNodes) for title in dom.getElementsByTagName('title')]
    bind.check(any('busy' in title and '%' in title for title in titles), 'titles %r', titles[:3])
    bind.check(len(dom.getElementsByTagName('rect')) > 5, 'rectangles')
    bind.check('busy' in ''.join(node.data for text in dom.getElementsByTagName('text') for node in text.childNodes if hasattr(node, 'data')), 'readable without scripts')


@bind.test
def no_secrets():
    """Locals, arguments, environment and arguments of the program are not written. Source lines are: the word is not in them."""
    word = 'can' + 'ary'
    os.environ['SECRET_ENV'] = word + '-in-environment'
    sys.argv.append(word + '-in-argv')

    def f(argument, other=word + '-in-default'):
        local = word + '-in-local'
        busy(0.2)
        return local

    with bind.record(rate_hz=1000) as r:
        f(word + '-in-argument')
    for format in FORMATS:
        data = r.profile.write(format)
        data = gzip.decompress(data) if format == PPROF else data
        bind.check(word.encode() not in data, 'a secret in %s', bind.FORMATS[format])


@bind.test
def a_title():
    profile = mixed_profile()
    for format in (SVG, TEXT, SPEEDSCOPE):
        bind.check('the title of "this"' in profile.write(format, title='the title of "this"').decode('utf-8').replace('&quot;', '"').replace('\\"', '"'),
                   'no title in %s', bind.FORMATS[format])


if __name__ == '__main__':
    bind.run()
