"""Is a file that the profiler wrote whole? fault(path) tells what is wrong with it, or None."""
import gzip
import json
import pickletools
import re
import xml.parsers.expat

MOST_PARSED = 30 << 20   # larger ones are looked at by their ends only


def refuse(word):
    raise ValueError('%s is not JSON' % word)


def json_fault(data):
    def no_twins(pairs):
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError('a key twice')
        return dict(pairs)
    json.loads(data.decode('utf-8'), parse_constant=refuse, object_pairs_hook=no_twins)


def xml_fault(data):
    xml.parsers.expat.ParserCreate().Parse(data, True)


def gzip_fault(data):
    if not gzip.decompress(data):
        raise ValueError('nothing inside')


def pickle_fault(data):
    last = None
    for last, _, _ in pickletools.genops(data):
        pass
    if last.name != 'STOP':
        raise ValueError('no end')


def folded_fault(data):
    for line in data.decode('utf-8').split('\n')[:-1]:
        if not re.search(r'. \d+$', line):
            raise ValueError('no stack with a number: %r' % line[:100])
    ends_with_newline(data)


def ends_with_newline(data):
    data.decode('utf-8')
    if not data.endswith(b'\n'):
        raise ValueError('the last line has no end')


BY_SUFFIX = {'.json': json_fault, '.svg': xml_fault, '.gz': gzip_fault, '.pkl': pickle_fault,
             '.folded': folded_fault,
             '.txt': ends_with_newline}


def fault(path):
    with open(path, 'rb') as file:
        data = file.read()
    if not data:
        return 'is empty'
    if len(data) > MOST_PARSED:
        return None if data[-1:] in b'\n}.>' else 'ends with %r' % data[-20:]
    try:
        BY_SUFFIX[path[path.rindex('.'):]](data)
    except Exception as error:
        return '%s: %s (%d bytes)' % (type(error).__name__, error, len(data))
    return None
