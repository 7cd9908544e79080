"""Which stacks a workload can have, and what is wrong with one that it cannot have.

The workloads (workloads.py) say it themselves, in comments:

    a1()                                     # -> a1             on this line a1 may be running, called from here
    sum(a1(x) for x in ONE)                  # -> <genexpr>; <genexpr>: a1     the second is called by the first
    loop.run_until_complete(task())          # -> run/_run_once/task           through functions that are not ours
    thread.join()                            # -> ...            in functions that are not ours, whichever
    exec(code, space)                        # -> FRESH          code made at run time
    def work():                              # root thread       stacks begin here, below the functions of that root

A line without such a comment calls nothing: it can only be the innermost one.
"""
import collections
import dis
import os
import re

# What is wrong with a stack: the first that applies.
GOOD = 'good'
STALE = 'stale'        # a name whose code had died, or name, file and line of different codes
ROOT = 'root'          # it does not begin where it must
CALL = 'call'          # a call that no function makes
DEPTH = 'depth'        # deeper than it can be
LINE = 'line'          # right functions, but the caller makes this call on other lines, or the line is of others
OUTSIDE = 'outside'    # none of our functions on it, though one was running
IMPOSSIBLE = (ROOT, CALL, DEPTH, OUTSIDE)

Frame = collections.namedtuple('Frame', 'name file line first_line qualname')   # the last two None: not known


class Function:
    def __init__(self, path, code, file):
        self.path, self.file, self.name = path, file, code.co_name
        self.qualname = getattr(code, 'co_qualname', code.co_name)
        self.first, self.code = code.co_firstlineno, code
        self.lines, self.last = own_lines(code), last_line(code)
        self.calls = collections.defaultdict(set)   # line: {(names of functions between, callee)}
        self.leaves = set()                         # lines below which anything may stand that is not ours
        self.fresh = set()                          # lines that call code made at run time
        self.root = None

    def __repr__(self):
        return '%s:%s' % (self.file, self.path)


def own_lines(code):
    """The lines on which a frame of this code can stand: before the first instruction it stands on the first line."""
    if hasattr(code, 'co_lines'):
        return {line or 0 for _, _, line in code.co_lines()} | {code.co_firstlineno}
    return {line for _, line in dis.findlinestarts(code)} | {code.co_firstlineno}


def inner(code):
    return [constant for constant in code.co_consts if hasattr(constant, 'co_code')]


def last_line(code):
    return max([max(own_lines(code))] + [last_line(one) for one in inner(code)])


class Grammar:
    """sources: {file name: (text, its code object or None, root of the module's own frame)}
    more: file name -> the same for code made at run time, or None; called once for each file
    most: how deep a stack can be below its root"""

    def __init__(self, sources, more=None, most=0):
        self.files, self.more, self.most = {}, more, most
        self.prefixes = {}   # root: [(file, name, line or 0)] above it; missing = anything
        self.found = {}
        for file, source in sources.items():
            self._source(file, *source)

    def _source(self, file, text, code=None, root=None):
        code = code or compile(text, file, 'exec')
        functions = self.files[file] = []
        for one in inner(code):
            self._add(one, file, '', functions)
        for number, line in enumerate(text.split('\n'), 1):
            self._line(functions, number, line)
        functions.append(Function('<module>', code, file))
        functions[-1].root = root

    def _add(self, code, file, above, functions):
        path = above + code.co_name
        functions.append(Function(path, code, file))
        for one in inner(code):
            self._add(one, file, path + '.', functions)

    @staticmethod
    def _owner(functions, number):
        around = [one for one in functions if one.first < number <= one.last]
        return max(around, key=lambda one: one.first) if around else None

    @staticmethod
    def _named(functions, name):
        found = [one for one in functions if ('.' + one.path).endswith('.' + name)]
        if len(found) != 1:
            raise ValueError('%d functions are called %s' % (len(found), name))
        return found[0]

    def _line(self, functions, number, line):
        root = re.search(r'# root (\w+)$', line)
        if root:
            [one for one in functions if one.first == number][0].root = root.group(1)
        calls = re.search(r'# -> (.*)$', line)
        for part in calls.group(1).split('; ') if calls else ():
            owner, _, names = part.rpartition(': ')
            caller = self._named(functions, owner) if owner else self._owner(functions, number)
            for name in names.split(', '):
                if name == '...':
                    caller.leaves.add(number)
                elif name == 'FRESH':
                    caller.fresh.add(number)
                else:
                    between = name.split('/')
                    caller.calls[number].add((tuple(between[:-1]), self._named(functions, between[-1])))

    def functions(self):
        return [one for functions in self.files.values() for one in functions]

    def edges(self):
        return {(caller, line, between, callee) for caller in self.functions() for line, calls in caller.calls.items()
                for between, callee in calls}

    def find(self, frame):
        """(function, None), (None, None) for one that is not ours, or (function or None, what is wrong)"""
        if frame not in self.found:
            self.found[frame] = self._find(frame)
        return self.found[frame]

    def _find(self, frame):
        file = os.path.basename(frame.file or '')
        if file not in self.files:
            source = self.more and self.more(file)
            if not source:
                return None, None
            self._source(file, *source)
        named = [one for one in self.files[file] if one.name == frame.name]
        if frame.first_line is not None:
            named = [one for one in named if one.first == frame.first_line and one.qualname == frame.qualname]
        if not named:
            return None, STALE    # of another code, or of none
        at = [one for one in named if frame.line == 0 or one.first <= frame.line <= one.last]
        return (at[0], None) if at else (named[0], LINE)

    def check_part(self, frames, where=None):
        """The same for the inner part of a stack."""
        return self.check(frames, None, where, root=False)

    def check(self, frames, thread=None, where=None, root=True, leaf=True):
        """What is wrong with this stack, root first. thread: its root's name, if known. where: a list for the place.
        root, leaf: it begins with a root, it ends with what was running"""
        place = [] if where is None else where
        found = []
        for frame in frames:
            function, wrong = self.find(frame)
            if wrong == STALE:
                place.append(frame)
                return STALE
            found.append(function)
        begin = next((i for i, one in enumerate(found) if one), None)
        if begin is None:
            return OUTSIDE
        worst = GOOD
        if self.most and len(frames) - begin > self.most:
            return DEPTH
        wrong = self._root(frames[:begin], frames[begin], found[begin], thread) if root else GOOD
        if wrong in IMPOSSIBLE:
            place.append(frames[begin])
            return wrong
        worst = wrong if wrong != GOOD else worst
        at, between = begin, []
        for i in range(begin + 1, len(frames)):
            if found[i] is None:
                between.append(frames[i].name)
                continue
            wrong = self._call(found[at], frames[at].line, tuple(between), found[i])
            if wrong != GOOD:
                place.append(frames[at])
                worst = wrong
            if wrong == CALL:
                return CALL
            at, between = i, []
        wrong = self._leaf(found[at], frames[at].line, tuple(between)) if leaf else GOOD
        if wrong != GOOD:
            place.append(frames[at])
        return worst if wrong == GOOD else wrong

    def _root(self, above, frame, function, thread):
        if function.root is None or (thread and function.root != thread):
            return ROOT
        prefix = self.prefixes.get(function.root)
        if prefix is None:
            return GOOD
        have = [(os.path.basename(one.file or ''), one.name) for one in above]
        if have != [one[:2] for one in prefix]:
            return ROOT
        lines = [a.line for a, b in zip(above, prefix) if b[2] and a.line != b[2]]
        return LINE if lines else GOOD

    @staticmethod
    def _call(caller, line, between, callee):
        if callee.root == 'fresh' and not between and caller.fresh:
            return GOOD if line in caller.fresh else LINE
        if (between, callee) in caller.calls.get(line, ()):
            return GOOD
        return LINE if any((between, callee) in calls for calls in caller.calls.values()) else CALL

    @staticmethod
    def _leaf(function, line, between):
        if not between:
            return GOOD if line in function.lines else LINE
        if line in function.leaves or any(path[:len(between)] == between for path, _ in function.calls.get(line, ())):
            return GOOD
        return LINE if function.leaves else CALL
