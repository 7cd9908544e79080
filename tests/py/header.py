"""What pyprof.h declares, for ctypes: read from the header itself, so that nothing is written down twice.

    constants     {'PYPROF_CPU_NS': 3, ...}: the values of all enumerations
    structures    {'pyprof_config': class Config, ...}
    callbacks     {'pyprof_visit_fn': its type, ...}
    functions     {'pyprof_start': (result, [arguments]), ...}

Sessions, profiles and pointers to void are numbers. test_bind.py compares all of it with what the C compiler says.
"""
import ctypes
import os
import re
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_void_p

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'pyprof.h')
BASIC = {name: getattr(ctypes, 'c_' + name.replace('_t', '')) for name in
         ('char', 'int', 'double', 'size_t', 'int32_t', 'int64_t', 'uint32_t', 'uint64_t') if name != 'size_t'}
BASIC['size_t'] = ctypes.c_size_t
BASIC['void'] = None

constants, structures, callbacks, functions = {}, {}, {}, {}


def declarations():
    """The text of the API, without comments and directives."""
    with open(PATH, encoding='utf-8') as file:
        text = ''
        for line in file:
            if line.startswith('// The whole API as functions'):   # stubs
                break
            text += line
    text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.S)
    return re.sub(r'^ *#(.*\\\n)*.*', '', text, flags=re.M)


def type_of(base, stars):
    """The type that `base` with so many stars is in ctypes."""
    if base == 'char' and stars:
        kind, stars = c_char_p, stars - 1
    elif base in BASIC:
        kind = BASIC[base]
    elif base in structures:
        kind = structures[base]
    elif base in callbacks:
        return callbacks[base]
    elif base in ENUMERATIONS:
        kind = c_int
    else:
        kind = None   # opaque
    if kind is None and stars:
        kind, stars = c_void_p, stars - 1
    for _ in range(stars):
        kind = POINTER(kind)
    return kind


def parameter(text):
    base, stars = re.match(r'(?:const )?(\w+) ?(\**)', text.strip()).groups()
    return type_of(base, len(stars))


def parameters(text):
    return [] if text.strip() == 'void' else [parameter(one) for one in text.split(',')]


def fields(body):
    """[(name, type)] of a structure: declarations of one or more names, and pointers to functions."""
    found = []
    for declaration in filter(None, (one.strip() for one in body.split(';'))):
        function = re.match(r'(\w+ \**)\(\*(\w+)\)\((.*)\)$', declaration, re.S)
        if function:
            found.append((function.group(2), CFUNCTYPE(parameter(function.group(1)), *parameters(function.group(3)))))
            continue
        base, names = re.match(r'(?:const )?(\w+) (.*)', declaration, re.S).groups()
        for name in names.split(','):
            stars, name, size = re.match(r'(\**)(\w+)(?:\[(\w+)\])?$', name.strip()).groups()
            kind = type_of(base, len(stars))
            found.append((name, kind * (constants.get(size) or int(size)) if size else kind))
    return found


class Described(ctypes.Structure):
    """Structures tell what is not zero in them."""

    def __repr__(self):
        values = [(name, getattr(self, name)) for name, _ in self._fields_]
        return '%s(%s)' % (type(self).__name__, ', '.join(
            '%s=%r' % (name, list(value) if isinstance(value, ctypes.Array) else value) for name, value in values if value))


ENUMERATIONS = {'pyprof_result'}
for match in re.finditer(r'typedef struct (\w+) \{(.*?)\} \1;|(?:typedef )?enum (\w*) ?\{(.*?)\}|typedef (\w+) (\w+)\(([^()]*)\);'
                         r'|PYPROF_API ((?:const )?\w+ \**)(\w+)\(([^()]*)\);', declarations(), re.S):
    struct, body, enum, values, result, callback, taken, returned, function, arguments = match.groups()
    if struct:
        name = ''.join(word.capitalize() for word in struct[len('pyprof_'):].split('_'))
        structures[struct] = type(name, (Described,), {'_fields_': fields(body)})
    elif values is not None:
        ENUMERATIONS.add(enum)
        constants.update((name, int(value)) for name, value in re.findall(r'(\w+) = (-?\d+)', values))
    elif callback:
        callbacks[callback] = CFUNCTYPE(BASIC[result], *parameters(taken))
    else:
        functions[function] = parameter(returned), parameters(arguments)
