"""The binding that the tests use (header.py) against the C compiler: names, values, sizes and offsets."""
import ctypes
import os
import re
import subprocess

import bind
import header

CC = os.environ.get('CC', 'cc').split()
ROOT = os.path.dirname(header.PATH)


def compiled(statements):
    """The numbers that a program of these statements prints, one a line."""
    with bind.folder() as folder:
        program = os.path.join(folder, 'program')
        with open(program + '.c', 'w') as file:
            file.write('#include <stddef.h>\n#include <stdio.h>\n#include "pyprof.h"\n'
                       'int main(void)\n{\n%s\nreturn 0;\n}\n' % '\n'.join(statements))
        subprocess.check_call(CC + ['-I', ROOT, program + '.c', '-o', program])
        return [int(word) for word in subprocess.check_output([program]).split()]


def compare(expected):
    """{C expression: value}"""
    got = compiled('printf("%%lld\\n", (long long)(%s));' % expression for expression in expected)
    bind.equal(dict(zip(expected, got)), expected, 'what the compiler says')


def preprocessed():
    said = subprocess.check_output(CC + ['-E', '-P', '-I', ROOT, '-x', 'c', header.PATH])
    return re.sub(r'\s+', ' ', said.decode())


@bind.test
def every_constant_has_its_value():
    bind.equal(sorted(header.constants), sorted(re.findall(r'\b(PYPROF_[A-Z0-9_]+) = ', preprocessed())), 'constants')
    compare(dict(header.constants))


@bind.test
def every_structure_has_its_size_and_each_field_its_place():
    bind.equal(sorted(header.structures), sorted(re.findall(r'typedef struct (pyprof_\w+) {', preprocessed())), 'structures')
    expected = {}
    for name, structure in header.structures.items():
        expected['sizeof(%s)' % name] = ctypes.sizeof(structure)
        for field, kind in structure._fields_:
            expected['offsetof(%s, %s)' % (name, field)] = getattr(structure, field).offset
            expected['sizeof(((%s *)NULL)->%s)' % (name, field)] = ctypes.sizeof(kind)
    compare(expected)


@bind.test
def no_structure_has_fields_that_are_not_known():
    warn = ['-std=c99', '-fsyntax-only', '-Werror=missing-field-initializers', '-Wno-missing-braces', '-Wno-int-conversion']
    code = ''.join('extern %s x_%s; %s x_%s = {%s};\n' % (name, name, name, name, ', '.join(['{0}'] * len(structure._fields_)))
                   for name, structure in header.structures.items())
    done = subprocess.run(CC + warn + ['-I', ROOT, '-include', 'pyprof.h', '-x', 'c', '-'], input=code.encode(), stderr=subprocess.PIPE)
    bind.check(done.returncode == 0, '%s', done.stderr.decode())


@bind.test
def every_function_takes_what_is_declared():
    declared = {}
    for returned, name, arguments in re.findall(r'extern (?:__attribute__\S+ )?((?:const )?\w+ \**)(pyprof_\w+)\(([^()]*)\)', preprocessed()):
        declared[name] = returned.strip() != 'void', 0 if arguments == 'void' else arguments.count(',') + 1
    bind.equal({name: (result is not None, len(arguments)) for name, (result, arguments) in header.functions.items()}, declared, 'functions')


if __name__ == '__main__':
    bind.run()
