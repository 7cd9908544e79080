"""Cuts pyprof.h in two, so that the C tests, which see its inside, need not compile it all anew, each for itself.

    inside.py pyprof.h BUILD_DIR

BUILD_DIR/inside.h declares all functions and variables of the header, which are visible to other files then. upper.c has
the bodies of the sections named below, which no macro of a user changes and which call no function of the API: one object
of them serves all that is built for make test. lower.h has all other bodies: a file that changes these by macros of its
own includes it in place of pyprof.h. whole.h has all. Constant tables whose length the compiler counts are in each: they hold the same, but at two places.
"""
import re
import sys

STATIC = re.compile(r'(#define PYPROF__\w+ +|__attribute__\(\(\w+\)\) )?static (inline (__attribute__\(\(always_inline\)\))?)?')


UPPER = 'LAYOUT', 'FAMILY', 'CODE', 'FRAMES', 'THREADS', 'PROFILE', 'RECORD', 'LOCKS', 'SNAPSHOT', 'LOAD', 'REPORT', 'FINDINGS', 'WRITERS'


def visible(lines):
    """What stands at the left margin is at file scope."""
    return [STATIC.sub(r'\1', line, count=1) if STATIC.match(line) else line for line in lines]


def without_body(lines, start):
    """Of a definition that begins in that line: (its declaration, the line after it); (None, _) if it is none."""
    head = ''
    for at in range(start, len(lines)):
        line = re.sub(r'\s*//.*', '', lines[at])
        if at > start and line == '{':
            return head + ';', lines.index('}', at) + 1
        if at > start and not line.startswith(' '):
            break
        head += ('\n' if head else '') + line
        one_line = re.match(r'(.*\)) \{ .*\}$|(.*\)) \{\}$', head, re.S) if head.endswith('}') else None
        if one_line:
            return (one_line.group(1) or one_line.group(2)) + ';', at + 1
        if head.endswith((';', '}')):
            break
    return None, start


def declared(lines):
    """The header without bodies of functions and values of variables."""
    found, at = [], 0
    while at < len(lines):
        line = lines[at]
        if re.match(r'PYPROF__[A-Z_]+\(.*\)$|__asm__\(|const char pyprof_IMPL', line):   # these define functions
            while not re.search(r'[);]$', lines[at]):
                found.append('')
                at += 1
            found.append('')
            at += 1
            continue
        begins = re.match(r'static |PYPROF__(DEF|HOT|EARLY_TLS|INTERPOSED) |__attribute__\(\(\w+\)\) static |(?!typedef|struct|enum|union|extern)\w.*\)$', line)
        declaration, after = without_body(lines, at) if begins else (None, at)
        if declaration:
            found += STATIC.sub(r'\1', declaration).split('\n') + [''] * (after - at - declaration.count('\n') - 1)
            at = after
            continue
        if STATIC.match(line) and line.startswith('#'):
            found.append(STATIC.sub(r'\1', line))
            at += 1
            continue
        code = re.sub(r'\s*//.*', '', line)
        variable = re.match(r'static (struct \{.*\} [^;=]*|(?!inline)[^{=;]*)( = .*|;)$', code)
        if variable and '[]' not in line:
            found.append('extern %s;' % variable.group(1))
            while not re.search(r';\s*(//.*)?$', lines[at]):
                at += 1
                found.append('')
        elif re.match(r'static (const )?struct \{$', code):
            found.append('extern ' + line[len('static '):])
        elif line.startswith('PYPROF__EARLY_TLS '):
            found.append('extern ' + line)
        else:
            found.append(line)
        at += 1
    return found


def sections(lines):
    """The header in pieces: (is the piece of UPPER?, its lines)."""
    pieces = [(False, [])]
    for line in lines:
        name = re.match(r'// \[SECTION\] (\w+) ', line)
        if name and (name.group(1) in UPPER) != pieces[-1][0]:
            pieces.append((name.group(1) in UPPER, []))
        pieces[-1][1].append(line)
    return pieces


def cut(pieces, upper, lower):
    return [line for is_upper, lines in pieces for line in (upper if is_upper else lower)(lines)]


with open(sys.argv[1], encoding='utf-8') as file:
    pieces = sections(file.read().split('\n'))
for name, upper, lower in (('whole.h', visible, visible), ('inside.h', declared, declared), ('upper.c', visible, declared), ('lower.h', declared, visible)):
    with open('%s/%s' % (sys.argv[2], name), 'w', encoding='utf-8') as file:
        file.write('#ifndef PYPROF_IMPLEMENTATION\n#define PYPROF_IMPLEMENTATION\n#endif\n#line 1 "%s"\n%s' % (sys.argv[1], '\n'.join(cut(pieces, upper, lower))))
