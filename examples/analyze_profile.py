#!/usr/bin/env python3
"""What a profile says, as text: of a .prof file (cProfile, or pyprof's) or of pyprof's .json (compact, merged and
differences, too). Only the standard library, Python 3.8 or later.

    analyze_profile.py FILE... [--sort total|self|calls|waiting|cpu|samples|METRIC] [--limit N] [--filter WORD] [--json]

Of each file: the functions by their own time and with the functions they call, the callers of the hottest ones, the
shares of files and packages, and how often functions were called, if the file tells that.
"""
import argparse
import json
import marshal
import os
import sys

LEAVES = ('native', 'wait')   # kinds of nodes whose time is that of the function above them


class Function:
    """self and total: values by name of metric; callers: {Function: total}."""

    def __init__(self, name, file, line):
        self.name, self.file, self.line = name, file, line
        self.own, self.total, self.callers, self.calls = {}, {}, {}, None

    def place(self):
        return '%s:%d' % (self.file, self.line) if self.file and self.line else self.file

    def add(self, to, values, sign=1):
        for name, value in values.items():
            to[name] = to.get(name, 0) + sign * value


def of_prof(data, path):
    """-> (heading, functions): pstats' own data, a marshalled dictionary."""
    try:
        stats = marshal.loads(data)
        found = {key: Function(key[2], key[0] if key[0] != '~' else '', key[1]) for key in stats}
        for key, (primitive, calls, own, total, callers) in stats.items():
            one = found[key]
            one.own, one.total, one.calls = {'time': own}, {'time': total}, (calls, primitive)
            for caller, value in callers.items():
                if caller in found:
                    one.callers[found[caller]] = {'time': value[3] if isinstance(value, tuple) else 0}
    except (ValueError, EOFError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise SystemExit('%s: neither a .prof file nor a .json of pyprof (%s)' % (path, error))
    heading = '%d functions, %d calls' % (len(found), sum(one.calls[0] for one in found.values()))
    return heading, list(found.values())


def seconds(values):
    """Nanoseconds as seconds; time is time spent running, as in pyprof's own tables."""
    out = {name[:-3] if name.endswith('_ns') else name: value / 1e9 if name.endswith('_ns') else value for name, value in values.items()}
    out['time'] = (values.get('wall_ns', 0) - values.get('wait_ns', 0)) / 1e9
    out['waiting'] = (values.get('wait_ns', 0) - values.get('idle_ns', 0)) / 1e9
    return out


def of_tree(document):
    """The functions of the call tree: a function that is several times in a stack counts once."""
    frames, tree = document['frames'], document['tree']
    parents, columns = tree['parent'], tree['self']
    own = [{name: column[i] for name, column in columns.items() if column[i]} for i in range(len(parents))]
    found, above = {}, []   # above: of each node, the function it belongs to, and those of its stack

    def function(frame):
        key = frame['function']
        if key not in found:
            found[key] = Function(frame['qualname'] or frame['name'], frame['file'], frame['first_line'])
        return found[key]
    for i, parent in enumerate(parents):
        frame = frames[tree['frame'][i]]
        stack = above[parent] if parent >= 0 else ()
        if frame['kind'] in ('thread', 'process'):
            above.append(stack)
            continue
        leaf = frame['kind'] in LEAVES
        if not (leaf and stack):
            stack = stack + (function(frame),)
        above.append(stack)
        values = own[i]
        if not values:
            continue
        stack[-1].add(stack[-1].own, values)
        for one in set(stack):
            one.add(one.total, values)
        for caller, callee in set(zip(stack, stack[1:])):
            callee.add(callee.callers.setdefault(caller, {}), values)
    for one in found.values():
        one.own, one.total = seconds(one.own), seconds(one.total)
        one.callers = {caller: seconds(values) for caller, values in one.callers.items()}
    return list(found.values())


def of_json(document, path):
    if not isinstance(document, dict) or document.get('format') != 'pyprof' or 'tree' not in document:
        raise SystemExit('%s: a JSON file, but not one of pyprof' % path)
    title = 'recording of %s, pid %s' % (document.get('process_name'), document.get('pid'))
    if document.get('diff'):
        title = 'difference of two recordings: all values are changes'
    elif document.get('merged'):
        title = '%d recordings as one' % document['merged']
    heading = '%s, CPython %s, %.3f s, %d samples' % (title, document.get('python'), document.get('duration', 0), document['stats']['samples'])
    if 'checkpoint' in document:
        heading += '; the program was still running when this was written'
    if document['stats'].get('degraded'):
        heading += '; ' + document['stats']['degraded']
    return heading, of_tree(document)


def load(path):
    """-> (heading, functions)"""
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise SystemExit('cannot read %s: %s' % (path, error.strerror))
    if data[:1] != b'{' or data[:2] == b'{(':   # marshal's mark of a dictionary is the brace, too
        return of_prof(data, path)
    try:
        document = json.loads(data.decode('utf-8'))
    except ValueError:
        return of_prof(data, path)
    return of_json(document, path)


def package_of(file):
    """The distribution package, the standard library, or the program's own folder."""
    parts = file.split('/')
    for mark in ('site-packages', 'dist-packages'):
        if mark in parts[:-1]:
            return os.path.splitext(parts[parts.index(mark) + 1])[0]
    if any(part.startswith('python3') and i and parts[i - 1] == 'lib' for i, part in enumerate(parts)) or file.startswith('<frozen '):
        return '(standard library)'
    return os.path.dirname(file) or '(built in)'


def shares(functions, key, metric):
    sums = {}
    for one in functions:
        sums[key(one)] = sums.get(key(one), 0) + one.own.get(metric, 0)
    return sorted(((value, name) for name, value in sums.items() if value), key=lambda pair: (-abs(pair[0]), pair[1]))


def text_of(value):
    return '%.3f' % value if isinstance(value, float) else '{:,}'.format(value)


def rows_of(functions, metric, by_total, limit):
    order = sorted(functions, key=lambda one: (-abs((one.total if by_total else one.own).get(metric, 0)), one.name, one.place()))
    return [one for one in order if one.total.get(metric) or one.own.get(metric)][:limit]


def analysis(path, options):
    """What is printed, as data."""
    heading, functions = load(path)
    known = sorted({name for one in functions for name in one.total})
    sort = options.sort
    metric = 'time' if sort in ('total', 'self', 'calls') else sort
    if functions and metric not in known:
        raise SystemExit('%s has no %s: there are total, self, calls, %s' % (path, metric, ', '.join(known)))
    if sort == 'calls' and not any(one.calls for one in functions):
        raise SystemExit('%s: samples were taken, calls were not counted' % path)
    whole = sum(one.own.get(metric, 0) for one in functions)
    chosen = [one for one in functions if not options.filter or options.filter.lower() in (one.name + ' ' + one.place()).lower()]

    def row(one):
        return {'self': one.own.get(metric, 0), 'total': one.total.get(metric, 0), 'calls': one.calls and one.calls[0], 'name': one.name, 'place': one.place()}
    result = {'file': path, 'what': heading, 'metric': metric, 'whole': whole}
    if sort != 'calls':
        result['by_self'] = [row(one) for one in rows_of(chosen, metric, False, options.limit)]
        result['by_total'] = [row(one) for one in rows_of(chosen, metric, True, options.limit)]
    if any(one.calls for one in functions):
        result['by_calls'] = [row(one) for one in sorted(chosen, key=lambda one: (-one.calls[0], one.name))[:options.limit]]
    result['callers'] = [dict(row(one), callers=[
        {'total': values.get(metric, 0), 'name': caller.name, 'place': caller.place()}
        for caller, values in sorted(one.callers.items(), key=lambda pair: (-abs(pair[1].get(metric, 0)), pair[0].name))[:options.limit]])
        for one in rows_of(chosen, metric, False, 3)]
    result['files'] = [{'self': value, 'name': name} for value, name in shares(chosen, lambda one: one.file or '(built in)', metric)[:options.limit]]
    result['packages'] = [{'self': value, 'name': name} for value, name in shares(chosen, lambda one: package_of(one.file), metric)[:options.limit]]
    return result


def show(result, sort):
    unit = ' s' if isinstance(result['whole'], float) else ''
    share = (lambda value: '%5.1f %%' % (100.0 * value / result['whole'])) if result['whole'] else (lambda value: '      -')
    print('%s: %s' % (result['file'], result['what']))
    tables = [('by_self', 'Functions by their own %s' % result['metric']), ('by_total', 'Functions with what they call')]
    if sort == 'total' or sort not in ('self', 'calls'):
        tables.reverse()
    for key, title in tables + [('by_calls', 'Functions by calls (in a file of pyprof: by samples)')]:
        if not result.get(key):
            continue
        print('\n%s\n%12s        %12s        %10s  function' % (title, 'self' + unit, 'total' + unit, 'calls' if 'by_calls' in result else ''))
        for row in result[key]:
            print('%12s %s %12s %s %10s  %s  %s' % (text_of(row['self']), share(row['self']), text_of(row['total']), share(row['total']),
                                                text_of(row['calls']) if row['calls'] is not None else '', row['name'], row['place']))
    for row in result['callers']:
        print('\nWhat calls %s  %s' % (row['name'], row['place']))
        for caller in row['callers']:
            print('%12s  %s  %s' % (text_of(caller['total']), caller['name'], caller['place']))
        if not row['callers']:
            print('%12s  (nothing: it is outermost)' % '')
    for key, title in (('files', 'Files'), ('packages', 'Packages')):
        print('\n%s, by the own %s of their functions' % (title, result['metric']))
        for row in result[key]:
            print('%12s %s  %s' % (text_of(row['self']), share(row['self']), row['name']))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', metavar='FILE')
    parser.add_argument('--sort', default='total', help='total (the default), self, calls; of .json also waiting, cpu, samples, live_bytes ...')
    parser.add_argument('--limit', type=int, default=15, help='rows of a table (15)')
    parser.add_argument('--filter', help='only functions with this word in their name or file')
    parser.add_argument('--json', action='store_true', help='the same as JSON')
    options = parser.parse_args()
    results = [analysis(path, options) for path in options.files]
    if options.json:
        json.dump(results, sys.stdout, indent=1)
        print()
    else:
        for i, result in enumerate(results):
            print('\n' if i else '', end='')
            show(result, options.sort)


if __name__ == '__main__':
    try:
        main()
    except BrokenPipeError:
        sys.stderr.close()
