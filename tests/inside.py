"""Cuts pyprof.h in two, so that the C tests, which see its inside, need not compile it all anew, each for itself.

    inside.py pyprof.h BUILD_DIR

BUILD_DIR/inside.c is the header with its functions and variables visible to other files; inside.h declares them. A file
that changes the header by macros of its own includes pyprof.h itself. Constant tables whose length the compiler counts
are in both: they hold the same, but at two places.
"""
import re
import sys

STATIC = re.compile(r'(#define PYPROF__\w+ +|__attribute__\(\(\w+\)\) )?static (inline (__attribute__\(\(always_inline\)\))?)?')


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
        one_line = re.match(r'(.*\)) \{ .*\}$|(.*\)) \{\}$', head, re.S)
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


with open(sys.argv[1], encoding='utf-8') as file:
    lines = file.read().split('\n')
for name, cut in ('inside.c', visible), ('inside.h', declared):
    with open('%s/%s' % (sys.argv[2], name), 'w', encoding='utf-8') as file:
        file.write('#define PYPROF_IMPLEMENTATION\n#line 1 "%s"\n%s' % (sys.argv[1], '\n'.join(cut(lines))))
