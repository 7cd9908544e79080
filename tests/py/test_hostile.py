"""Names that mean harm, many thousands of them, through every writer: strict parsers read all, and nothing is lost."""
import ctypes
import random
import re
import unicodedata
import xml.parsers.expat

import bind
import totals
from totals import PYTHON_ONLY, WITHOUT_TOTAL, selected, table

PARTS = [chr(i) for i in range(1, 0xa1)] + [
    '</script>', '<script>', ']]>', '<![CDATA[', '-->', '<!--', '&amp;', '&#0;', '&', '<', '>', '"', "'", '\\', '\\u0000', '\\"', '`', '$(id)',
    '%s', '%n', '%d%%', '%p', ';', ' 12', ' 1.5', '\n', '\r\n', '\n\n', '\t', ',', '=1+1', '\ud800', '\udfff', '\udc00\ud800', '\ufeff', '\ufffe',
    '\uffff', '\u202e', '\u202c', '\u2066', '\u2069', '\u200f', '\u061c', '\u2028', '\u2029', '\u200b', '\u00ad', '\x85', '\U0001f40d',
    '\U0010ffff', '\U000e0001', '\ufdd0', '\u4e2d', 'e\u0301', '(1)', '(1) f', 'fn=(2)', 'calls=1 1', 'n1: 5 0x0', '# EOF', '# ', '}{', '[]',
    'end_of_record', 'DA:1,1', 'SF:', '__proto__', 'constructor', '/', '//', '..', '.py', ':', '0x7f (lib.so)', '<module>', '<locals>', '[sleep]',
    'a' * 300, 'n' * 5000, ' ', '  ', '',
]


def names(count):
    """The same in each run; each part alone, then two to four together."""
    chance = random.Random(count)
    for part in PARTS[:count]:
        yield part
    for _ in range(count - len(PARTS)):
        yield ''.join(chance.choice(PARTS) for _ in range(chance.randint(2, 4)))


def encoded(name):
    """As names are when they come out of Python's memory: half of a surrogate pair is U+FFFD, a zero byte ends a text."""
    return name.replace('\x00', '').encode('utf-16', 'surrogatepass').decode('utf-16', 'replace').encode()


def hostile_profile(count):
    """Each name is a function and another one its file; 40 of them are threads; samples, a time line and memory."""
    model, library, chance = bind.Model(heap=bind.HEAP_EXACT), bind.held, random.Random(1)
    threads = []
    for name in list(names(len(PARTS) + 40))[-40:]:
        node = ctypes.c_uint32()
        threads.append([library.pyprof_test_model_thread(model.pointer, encoded(name)[:200], ctypes.byref(node)), node.value])
    chosen = list(map(encoded, names(count)))
    for i, name in enumerate(chosen):
        thread = threads[i % len(threads)]
        parent = thread[1] if chance.random() < 0.3 else thread[-1]
        node = library.pyprof_test_model_frame(model.pointer, parent, bind.KIND_PYTHON, chosen[-i], name, chance.randint(0, 3))
        thread[1:] = [thread[1], node]
        library.pyprof_test_model_sample(model.pointer, thread[0], node, int(i % 3 == 0))
        for metric, value in (bind.LIVE_BYTES, 64), (bind.LIVE_BLOCKS, 1), (bind.ALLOC_BYTES, 128), (bind.ALLOC_BLOCKS, 2), (bind.PEAK_BYTES, 64), (bind.PEAK_BLOCKS, 1):
            model.add(node, metric, value)
    return model.seal('3.12.1')


BIDIRECTIONAL = {'LRE', 'RLE', 'LRO', 'RLO', 'PDF', 'LRI', 'RLI', 'FSI', 'PDI'}
HARMFUL = {c for c in map(chr, range(0x110000)) if c != '\n' and (
    unicodedata.category(c) in ('Cc', 'Cs') or unicodedata.bidirectional(c) in BIDIRECTIONAL or c in '\u2028\u2029\ufeff\u200e\u200f\u061c')}


def harmless(text, what):
    bind.equal(sorted(HARMFUL & set(text)), [], what)


def read_svg(data):
    """What an XML parser sees: no element, attribute or reference that a name has brought in."""
    seen, scripts = set(), []
    parser = xml.parsers.expat.ParserCreate()

    def start(element, attributes):
        seen.add(element)
        for name, value in attributes.items():
            bind.check(not name.startswith('on') and not (name.split(':')[-1] == 'href' and not value.startswith('#')), '%s=%r', name, value)
        if element == 'script':
            scripts.append('')

    def text(part):
        if scripts and parser.CurrentByteIndex:
            scripts[-1] += part if inside[-1:] == ['script'] else ''

    inside = []
    parser.StartElementHandler = lambda element, attributes: (inside.append(element), start(element, attributes))
    parser.EndElementHandler = lambda element: inside.pop()
    parser.CharacterDataHandler = text
    parser.Parse(data, True)
    bind.check(len(scripts) <= 1 and not any('$(id)' in script for script in scripts), 'a name inside the script')
    bind.check(not {'b', 'a', 'image', 'iframe'} & seen, 'elements %r', seen)
    harmless(re.sub(b'&#\\d+;', b'', data).decode('utf-8').replace('\t', '').replace('\r', ''), 'the picture')


def through_every_writer(count):
    profile, wrong, read = hostile_profile(count), [], 0
    for format, suffix, key, whole in table():
        data = profile.write(format)
        read += 1
        try:
            if suffix == '.svg':
                read_svg(data)
            elif suffix == '.txt':
                harmless(data.decode('utf-8'), 'the report')
            elif suffix not in WITHOUT_TOTAL:
                total, resolution = totals.read(suffix, data, key)
                want = selected(profile, suffix, key, whole)
                bind.check(total <= want if suffix in PYTHON_ONLY else abs(total - want) <= resolution, '%s: %s, not %d', suffix, total, want)
        except (AssertionError, xml.parsers.expat.ExpatError, UnicodeDecodeError) as error:
            wrong.append('%s: %s' % (suffix, error))
        print('%-17s %9d bytes' % (suffix, len(data)))
    bind.equal(wrong, [])
    bind.check(read >= 7, '%d formats', read)


@bind.test
def many_hostile_names():
    through_every_writer(bind.length(2000, 700))


@bind.test(long=True, limit=600)
def a_hundred_thousand_hostile_names():
    through_every_writer(100000)


@bind.test
def hostile_options():
    """Titles and filters come from elsewhere, too."""
    profile = hostile_profile(bind.length(10, 2))
    for title in list(map(encoded, names(len(PARTS))))[::bind.length(1, 3)]:
        for format, suffix, key, _ in table():
            if suffix in ('.json', '.svg', '.speedscope.json', '.folded', '.txt'):
                data = profile.write(format, title=title)
                read_svg(data) if suffix == '.svg' else harmless(data.decode('utf-8'), 'the report') if suffix == '.txt' else totals.read(suffix, data, key)


if __name__ == '__main__':
    bind.run()
