"""Workloads for tests of stacks: functions that call block() from some depth, one for each legal way to reach a point.
"""
import asyncio
import functools
import os
import sys
import threading
import types



QUALNAMES = sys.version_info >= (3, 11)


# --- workloads: functions that call block() from some depth ---------------------------------------------------------


WORKLOADS = {}


def workload(function):
    WORKLOADS[function.__name__] = function
    return function


class NotHere(Exception):
    """This version has no such thing."""


def run_source(source, block, filename='<source>', first_line=1, **names):
    names.update(block=block)
    exec(compile('\n' * (first_line - 1) + source, filename, 'exec'), names)


@workload
def plain(block):
    block()


@workload
def recursion(block):
    def down(n):
        if n:
            return down(n - 1) + 1
        block()
        return 0

    down(60)


@workload
def mutual_recursion(block):
    def even(n):
        return odd(n - 1) if n else block()

    def odd(n):
        return (
            even(
                n - 1
            )
        )

    even(40)


@workload
def generators(block):
    def leaf():
        yield 1
        block()
        yield 2

    def middle(n):
        if n:
            yield from middle(n - 1)
        else:
            yield from leaf()

    def top():
        for x in middle(12):
            yield x

    list(x for x in top())


@workload
def generator_send_throw_close(block):
    def reached():
        try:
            yield 1
        finally:
            block()

    g = reached()
    next(g)
    g.close()


@workload
def generator_throw(block):
    def catches():
        try:
            yield 1
        except ValueError:
            block()
        yield 2

    def outer():
        yield from catches()

    g = outer()
    next(g)
    g.throw(ValueError('thrown in'))


@workload
def callback_from_sorted(block):
    def key(x):
        if x == 3:
            block()
        return -x

    sorted([1, 2, 3, 4], key=key)


@workload
def callbacks_from_c(block):
    def reducer(a, b):
        return functools.reduce(lambda x, y: max([y], key=lambda z: list(filter(lambda w: block() or w, [z]))), [a, b])

    functools.reduce(reducer, [1, 2])


@workload
def specialised_init(block):
    class Base:
        def __init__(self, stop):
            self.stop = stop
            if stop:
                block()

    class Derived(Base):
        def __init__(self, stop):
            super().__init__(stop)

    def make(cls, stop):
        return cls(stop)

    for _ in range(5000):   # until the call is specialised
        make(Base, False)
        make(Derived, False)
    make(Derived, True)


@workload
def specialised_init_direct(block):
    class Point:
        def __init__(self, x):
            if x < 0:
                block()
            self.x = x

    def make(x):
        return Point(x)

    for i in range(5000):
        make(i)
    make(-1)


@workload
def wide_file_name(block):
    run_source('def f():\n\n    block()\nf()\n', block, '/tmp/\u4e2d\u6587/\u0444\u0430\u0439\u043b.py')


@workload
def latin_file_name(block):
    run_source('def f():\n    block()\nf()\n', block, '/tmp/caf\u00e9/na\u00efve.py')


@workload
def astral_file_name(block):
    run_source('def f():\n    block()\nf()\n', block, '/tmp/\U0001f40d/\U0001d4d0.py')


@workload
def surrogate_file_name(block):
    run_source('def f():\n    block()\nf()\n', block, os.fsdecode(b'/tmp/\xff\xfe/bad\x80name.py'))


@workload
def wide_identifiers(block):
    run_source('class \u041a\u043b\u0430\u0441\u0441:\n'
               '    def \u65b9\u6cd5(self):\n'
               '        def caf\u00e9():\n'
               '            \U00010400()\n'
               '        def \U00010400():\n'
               '            block()\n'
               '        caf\u00e9()\n'
               '\u041a\u043b\u0430\u0441\u0441().\u65b9\u6cd5()\n', block)


@workload
def long_names(block):
    name = 'f' * 3000
    run_source('def %s():\n    block()\n%s()\n' % (name, name), block, '/tmp/' + 'd' * 3000 + '/long.py')


@workload
def names_at_borders(block):
    """Lengths around the sizes of likely buffers, in each width of CPython's strings."""
    space = {'block': block}
    call = 'block()'
    for first in ('a', '\u00e9', '\u4e2d', '\U00010400'):
        for length in (1, 2, 31, 32, 63, 64, 127, 128, 255, 256, 257, 511, 512, 1023, 1024, 1025):
            name = first + 'x' * (length - 1)
            if name in space:
                continue
            exec(compile('def %s():\n    %s\n' % (name, call), '/%s' % name[:-1], 'exec'), space)
            call = name + '()'
    eval(compile(call, '', 'eval'), space)


@workload
def odd_names(block):
    def f():
        block()

    g = f
    for name in ('', ' ', 'a\nb', '<x>', 'a;b', '"', '\\', '\x00', 'a\x00b', '\udcff', '\x7f', '\u202e', '\u2028'):
        code = f.__code__.replace(co_name=name, co_filename='dir/' + name)
        if QUALNAMES:
            code = code.replace(co_qualname=name + '.q')
        g = types.FunctionType(code, {}, name, None, types.FunctionType(
            (lambda: block).__code__, {}, 'cell', None, (types.CellType(g),)).__closure__)
    g()


@workload
def asyncio_task(block):
    async def leaf():
        await asyncio.sleep(0)
        block()

    async def middle():
        await leaf()

    async def main():
        await asyncio.gather(asyncio.ensure_future(middle()), asyncio.sleep(0))

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@workload
def coroutine(block):
    class Awaitable:
        def __await__(self):
            yield 1
            block()

    async def inner():
        return await Awaitable()

    async def outer():
        return await inner()

    c = outer()
    c.send(None)
    try:
        c.send(None)
    except StopIteration:
        pass


@workload
def async_generator(block):
    async def numbers():
        yield 1
        block()
        yield 2

    async def doubled():
        async for x in numbers():
            yield 2 * x

    async def main():
        return [x async for x in doubled()]

    try:
        main().send(None)
    except StopIteration:
        pass


@workload
def async_with(block):
    class Manager:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *exc):
            block()

    async def main():
        async with Manager():
            pass

    try:
        main().send(None)
    except StopIteration:
        pass


@workload
def comprehension_in_lambda_in_map(block):
    list(map(lambda x: [y or block() for y in [x, 0]], [1]))


@workload
def comprehensions(block):
    def f():
        return {a: {b for b in (list(block() or c for c in [d for d in [1]]) for _ in [1]) if not b} for a in [1]}

    try:
        f()
    except TypeError:   # a list in a set
        pass


@workload
def special_methods(block):
    class Thing:
        @property
        def value(self):
            return self + 1

        def __add__(self, other):
            return self.missing

        def __getattr__(self, name):
            return self[name]

        def __getitem__(self, name):
            return name in self

        def __contains__(self, name):
            return bool(self)

        def __bool__(self):
            return self == 3

        def __eq__(self, other):
            return hash(self) == 1

        def __hash__(self):
            return len(str(self))

        def __repr__(self):
            return '%d' % self()

        def __call__(self):
            with self:
                return 1

        def __enter__(self):
            for _ in self:
                pass

        def __exit__(self, *exc):
            return None

        def __iter__(self):
            return self

        def __next__(self):
            block()
            raise StopIteration

    for _ in range(3):
        Thing().value


@workload
def descriptors(block):
    class Meta(type):
        def __call__(cls, *arguments):
            return super().__call__(*arguments)

        @classmethod
        def __prepare__(mcs, name, bases):
            return {}

    class Descriptor:
        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, instance, owner):
            block()

    class Owner(metaclass=Meta):
        field = Descriptor()

        def __init__(self):
            getattr(self, 'field')

    Owner()


@workload
def finalizer(block):
    class Dying:
        def __del__(self):
            block()

    def drop():
        dying = [Dying()]
        dying.clear()

    drop()


@workload
def weak_callback(block):
    import weakref

    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing, lambda _: block())
    del thing
    return reference


@workload
def six_hundred_statements(block):
    lines = ['def long(x):']
    for i in range(300):
        lines.append('    v%d = x + %d' % (i, i * 7 + 100000))
    lines.append('    if x:')
    lines.append('        block()')
    for i in range(300):
        lines.append('    w%d = v%d - x' % (i, i))
    lines.append('    return [' + ', '.join('w%d' % i for i in range(300)) + ']')
    lines.append('long(1)')
    run_source('\n'.join(lines), block, '<long>')


@workload
def jump_over_six_hundred(block):
    lines = ['def loop(x):', '    while x < 3:']
    for i in range(600):
        lines.append('        v%d = x * %d' % (i, i + 1000))
    lines += ['        x += 1', '    return (x,', '', '', '            block())', 'loop(1)']
    run_source('\n'.join(lines), block, '<long loop>')


@workload
def decorators(block):
    def decorate(n):
        def decorator(f):
            @functools.wraps(f)
            def wrapper(*arguments, **keywords):
                return f(*arguments, n=n, **keywords)
            return wrapper
        return decorator

    @decorate(1)
    def f(n):
        return block()

    f()


@workload
def decorator_runs(block):
    def decorator(f):
        block()
        return f

    @decorator
    @functools.lru_cache(
        maxsize=3
    )
    def f(
        x,
        y=1
    ):
        return x

    return f


@workload
def decorated_class(block):
    def decorator(cls):
        block()
        return cls

    def other(cls):
        return cls

    @other
    @decorator
    class Decorated(
        object
    ):
        x = 1

    return Decorated


@workload
def class_body(block):
    class Outer:
        x = 1

        class Inner:
            y = [z for z in [1, 2]]
            block()
            z = 3


@workload
def executed_code(block):
    run_source('exec(compile("eval(compile(\'\\\\n\\\\nblock()\', \'<evaluated>\', \'eval\'))", "<executed>", "exec"))',
               block, '<outer \u00e9>')


@workload
def high_line_numbers(block):
    run_source('def f():\n    g()' + '\n' * 200 + 'def g():\n' + '\n' * 70000 + '    block()\nf()\n', block,
               '<high>', 1000000)


@workload
def long_lines(block):
    blanks = ' ' * 70000
    run_source('def f(x=1):\n    return (x,' + blanks + 'block(),' + blanks + 'x,\n' + blanks + 'x)\nf()\n', block,
               '<wide>')


@workload
def statements_backwards(block):
    """Lines that go down and up inside one expression."""
    run_source('def f(*a):\n    return a\n\ndef g():\n    x = f(\n' + '\n' * 150 + '        f(1,\n          2),'
               + '\n' * 300 + '        f(\n            f(3), f(\n 4)).__class__(\n            [block()]))\n    return x\ng()\n',
               block, '<backwards>')


@workload
def many_on_one_line(block):
    run_source('def a(): block()\ndef b(): return [a() for _ in [1]]; pass\nx = 1; y = lambda: b(); y()', block,
               '<one line>')


@workload
def exception_handlers(block):
    def deep():
        try:
            raise ValueError(1)
        except ValueError as error:
            try:
                raise KeyError(2) from error
            except KeyError:
                try:
                    return 1
                finally:
                    for i in range(2):
                        if i:
                            block()

    try:
        deep()
    finally:
        pass


@workload
def with_statements(block):
    import contextlib

    @contextlib.contextmanager
    def manager():
        try:
            yield 1
        finally:
            block()

    with contextlib.ExitStack() as stack:
        stack.enter_context(manager())
        with manager() as a, \
                manager() as b:
            assert a == b
            block()


@workload
def import_in_progress(block):
    import builtins
    import shutil
    import tempfile
    path = tempfile.mkdtemp()
    try:
        with open(os.path.join(path, 'slow_%d_module.py' % threading.get_ident()), 'w') as file:
            file.write('import builtins\n\n\nbuiltins.pyprof_block()\n')
        builtins.pyprof_block = block
        sys.path.insert(0, path)
        __import__('slow_%d_module' % threading.get_ident())
    finally:
        sys.path.remove(path)
        shutil.rmtree(path)


@workload
def under_settrace(block):
    def traced(x):
        y = x
        block()
        return y

    def trace(frame, event, argument):
        return trace

    sys.settrace(trace)
    try:
        traced(1)
    finally:
        sys.settrace(None)


@workload
def inside_trace_function(block):
    seen = []

    def traced(x):
        y = x
        z = (y +
             1)
        return z

    def trace(frame, event, argument):
        if frame.f_code is traced.__code__ and event == 'line':
            seen.append(1)
            if len(seen) == 2:
                block()
        return trace

    sys.settrace(trace)
    try:
        traced(1)
    finally:
        sys.settrace(None)


@workload
def inside_profile_function(block):
    done = []

    def profile(frame, event, argument):
        if event == 'c_call' and not done:
            done.append(1)
            block()

    sys.setprofile(profile)
    try:
        len([])
    finally:
        sys.setprofile(None)


@workload
def under_monitoring(block):
    if not hasattr(sys, 'monitoring'):
        raise NotHere
    events = sys.monitoring.events

    def traced():
        for i in range(3):
            if i == 2:
                block()

    for tool in range(6):
        if sys.monitoring.get_tool(tool) is None:
            break
    sys.monitoring.use_tool_id(tool, 'test')
    try:
        sys.monitoring.register_callback(tool, events.LINE, lambda code, line: None)
        sys.monitoring.register_callback(tool, events.INSTRUCTION, lambda code, offset: None)
        sys.monitoring.set_local_events(tool, traced.__code__, events.LINE | events.INSTRUCTION)
        traced()
    finally:
        sys.monitoring.set_local_events(tool, traced.__code__, 0)
        sys.monitoring.free_tool_id(tool)


@workload
def match_statement(block):
    if sys.version_info < (3, 10):
        raise NotHere
    run_source('''
class P:
    __match_args__ = ('x',)
    @property
    def x(self):
        block()
        return 3
def f(p):
    match p:
        case [1, *_]: return 1
        case {'a': 1}: return 2
        case (
            P(3)
        ): return 3
f(P())
''', block, '<match>')


@workload
def except_star(block):
    if sys.version_info < (3, 11):
        raise NotHere
    run_source('''
def f():
    try:
        raise ExceptionGroup('g', [ValueError(1), KeyError(2)])
    except* ValueError:
        pass
    except* KeyError:
        block()
f()
''', block, '<except star>')


@workload
def type_parameters(block):
    if sys.version_info < (3, 12):
        raise NotHere
    run_source('''
def bound():
    block()
    return int
def f[T: bound()](x: T) -> T:
    class C[U](list[U]):
        y = f'{x!r:{"<"}{10}} {[z for z in [1] if not block()]}'
    return C
f.__type_params__[0].__bound__
f(1)
''', block, '<types>')


@workload
def lambda_default_and_walrus(block):
    run_source('f = lambda x=(y := 3), *z, **k: (w := x) and block()\nf()\n', block, '<lambda>')


@workload
def hot_loop_then_block(block):
    """Long enough to be specialised, quickened and, where there is a JIT, compiled."""
    def inner(i, last):
        return i if i != last else block() or i

    def loop(n):
        total = 0
        for i in range(n):
            total += inner(i, n - 1)
        return total

    loop(20000)


@workload
def many_locals_and_arguments(block):
    """Big frames: new chunks of the data stack in 3.11 and later."""
    names = ['v%d' % i for i in range(240)]
    source = 'def f(n, %s):\n    if n:\n        return f(n - 1, %s)\n    block()\nf(100%s)\n' % (
        ', '.join(names), ', '.join(names), ', 1' * len(names))
    run_source(source, block, '<big frames>')


@workload
def cell_and_free_variables(block):
    def outer(a, b):
        c = a
        def inner(d):
            nonlocal c
            c = b + d
            return (lambda: [c, a, block()])()
        return inner(3)

    outer(1, 2)
