#!/usr/bin/env python3
"""Find near-duplicate functions in the Python standard library's own sources.

    python3 examples/dedup.py [--seconds 10] [--threads 4] [--quiet] [--keep FILE]

Seven phases, one function each: read, parse, tokenize_all, fingerprint, bucket,
compare, compress.  Names, numbers and strings are normalised away first, so a
copy whose variables were renamed still counts.  Given time for all files and
pairs, the same sources give the same report.  Needs only the standard library
of CPython 3.8 or later, and also runs inside a program that embeds Python,
where sys.argv, sys.stderr or __file__ may be missing.
"""
import argparse
import ast
import bisect
import collections
import concurrent.futures
import difflib
import gzip
import io
import itertools
import json
import keyword
import os
import shutil
import sys
import sysconfig
import tempfile
import time
import tokenize
import warnings
import zlib

SHINGLE = 6        # tokens hashed together; fewer would match everywhere
WINDOW = 4         # winnowing keeps the smallest hash of each window this wide
MIN_TOKENS = 40    # smaller functions (getters, plain __init__) are all alike
MAX_OWNERS = 40    # a hash that more functions have is an idiom, not a copy
MIN_SHARED = 2     # fingerprints in common that make a pair worth comparing
MIN_SIMILAR = 0.7  # what counts as a near-duplicate
SKIPPED = {"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"}

# How much of the time budget is gone when a phase stops taking new work.
# Compare goes from the likeliest pair down, so it can use whatever is left.
STOP = {"parse": 0.25, "tokenize": 0.65, "fingerprint": 0.75, "compare": 0.92}

# Since 3.12 an f-string (3.14: also a t-string) is a run of tokens, not one.
OPENERS = {getattr(tokenize, name, None) for name in ("FSTRING_START", "TSTRING_START")}
CLOSERS = {getattr(tokenize, name, None) for name in ("FSTRING_END", "TSTRING_END")}
LAYOUT = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER}
KEPT_NAMES = set(keyword.kwlist) | {"self", "cls"}
BROKEN = (SyntaxError, tokenize.TokenError, ValueError, RecursionError)

Function = collections.namedtuple("Function", "where path line end")
Print = collections.namedtuple("Print", "function shingles marks")


class Progress:
    """The run's clock: limits each phase and reports on stderr."""

    def __init__(self, seconds, quiet):
        self.start, self.seconds, self.next_tick = time.perf_counter(), seconds, 0
        self.stream = None if quiet else sys.stderr  # None under some hosts
        self.tty = bool(self.stream) and self.stream.isatty()

    def begin(self, phase):
        """Start a phase; returns the moment at which it should stop."""
        self.phase, self.began = phase, time.perf_counter()
        self.deadline = self.start + self.seconds * STOP.get(phase, 1000)
        return self.deadline

    def each(self, items):
        """Yield items until the phase's time is up."""
        for done, item in enumerate(items):
            if time.perf_counter() > self.deadline:
                break
            self.tick(done, len(items))
            yield item

    def tick(self, done, total):
        """Redraw the current line a few times a second, on a terminal only."""
        if self.tty and time.perf_counter() >= self.next_tick:
            self.next_tick = time.perf_counter() + 0.2
            self.write("\r", "%d of %d" % (done, total), "\x1b[K")

    def end(self, text):
        """Close the phase with a line that stays."""
        if self.stream:
            self.write("\r" if self.tty else "", text, "\x1b[K\n" if self.tty else "\n")

    def write(self, left, text, right):
        now = time.perf_counter()
        self.stream.write("%s[%5.1f s] %-11s %5.2f s  %s%s" % (
            left, now - self.start, self.phase, now - self.began, text, right))
        self.stream.flush()


def find_sources():
    """The stdlib's .py files, largest first: a short run then sees most code."""
    for root in (sysconfig.get_paths()["stdlib"], os.path.dirname(os.__file__)):
        if os.path.isfile(os.path.join(root, "os.py")):
            break
    else:
        raise SystemExit("dedup.py: this Python has no standard library as .py files")
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED]
        paths = [os.path.join(folder, name) for name in names if name.endswith(".py")]
        found += [(-os.path.getsize(path), os.path.relpath(path, root))
                  for path in paths if os.path.isfile(path)]  # no dangling links
    return root, [path for _, path in sorted(found)]


def read_source(path):
    """A file's text in the encoding it declares, or "" if it cannot be read."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except BROKEN + (OSError,):
        return ""


def read(threads, progress):
    """Read all sources in a thread pool; maps path to text."""
    progress.begin("read")
    root, paths = find_sources()
    with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        texts = pool.map(read_source, [os.path.join(root, path) for path in paths])
        sources = {path: text for path, text in zip(progress.each(paths), texts) if text}
    size = sum(map(len, sources.values())) / 1e6
    progress.end("%d of %d files, %.1f MB" % (len(sources), len(paths), size))
    return sources


def find_functions(path, node, scope=""):
    """Yield functions and methods; those inside a function belong to it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            where = "%s:%d %s%s" % (path, child.lineno, scope, child.name)
            yield Function(where, path, child.lineno, child.end_lineno)
        elif isinstance(child, ast.ClassDef):
            yield from find_functions(path, child, scope + child.name + ".")
        elif not isinstance(child, ast.expr):
            yield from find_functions(path, child, scope)


def parse(sources, progress):
    """Map each path to the functions that ast finds in it."""
    progress.begin("parse")
    functions = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about other people's escapes
        for path in progress.each(list(sources)):
            try:
                functions[path] = list(find_functions(path, ast.parse(sources[path], path)))
            except BROKEN:
                pass  # a file for some other version of Python
    count = sum(map(len, functions.values()))
    progress.end("%d of %d files, %d functions" % (len(functions), len(sources), count))
    return functions


def normal_tokens(text):
    """Yield (row, word) for the tokens that matter, with what varies replaced.

    Names after a dot stay: without them `self.a(b)` would equal `self.c(d)`.
    Comments and docstrings go.
    """
    previous, after_layout, nested = "", True, 0
    for kind, string, (row, _), _, _ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind in LAYOUT:
            after_layout = True
            continue
        nested += (kind in OPENERS) - (kind in CLOSERS)
        if kind in OPENERS and nested == 1:
            yield row, "S"
        elif nested or kind in CLOSERS or kind in IGNORED:
            continue
        elif kind == tokenize.STRING:
            if after_layout:
                continue  # a string on its own: a docstring
            yield row, "S"
        elif kind == tokenize.NUMBER:
            yield row, "0"
        elif kind == tokenize.NAME and previous != "." and string not in KEPT_NAMES:
            yield row, "N"
        else:
            yield row, sys.intern(string)
        previous, after_layout = string, False


def tokenize_all(sources, functions, progress):
    """Map each path that has functions to two tuples: its tokens' rows and words."""
    progress.begin("tokenize")
    paths = [path for path, found in functions.items() if found]
    streams = {}
    for path in progress.each(paths):
        try:
            streams[path] = tuple(zip(*normal_tokens(sources[path])))
        except BROKEN:
            pass
    count = sum(len(rows) for rows, _ in streams.values())
    progress.end("%d of %d files, %d tokens" % (len(streams), len(paths), count))
    return streams


def fingerprint_one(function, words):
    """Hash each run of tokens; winnowing samples equal code in equal places."""
    runs = [" ".join(words[i:i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)]
    shingles = [zlib.crc32(run.encode()) for run in runs]
    marks = {min(shingles[i:i + WINDOW]) for i in range(len(shingles) - WINDOW + 1)}
    return Print(function, shingles, marks)


def fingerprint(functions, streams, progress):
    """Fingerprint every function that is long enough to matter."""
    progress.begin("fingerprint")
    wanted = [function for path in streams for function in functions[path]]
    prints = []
    for function in progress.each(wanted):
        rows, words = streams[function.path]
        first = bisect.bisect_left(rows, function.line)
        last = bisect.bisect_right(rows, function.end)
        if last - first >= MIN_TOKENS:
            prints.append(fingerprint_one(function, words[first:last]))
    marks = sum(len(item.marks) for item in prints)
    progress.end("%d of %d functions, %d marks" % (len(prints), len(wanted), marks))
    return prints


def bucket(prints, progress):
    """Pair up functions that share fingerprints; the highest Jaccard index comes first."""
    progress.begin("bucket")
    owners = collections.defaultdict(list)
    for number, item in enumerate(prints):
        for mark in item.marks:
            owners[mark].append(number)
    shared = collections.Counter()
    for group in progress.each(list(owners.values())):
        if 1 < len(group) <= MAX_OWNERS:
            shared.update(itertools.combinations(group, 2))
    sizes = [len(item.marks) for item in prints]
    ranked = sorted((-count / (sizes[a] + sizes[b] - count), a, b)
                    for (a, b), count in shared.items() if count >= MIN_SHARED)
    progress.end("%d of %d pairs worth comparing" % (len(ranked), len(shared)))
    return [(a, b) for _, a, b in ranked]


def compare_some(prints, pairs, deadline):
    """A share of the work: how many pairs it did, and (weight, ratio, a, b) per hit."""
    done, alike = 0, []
    for a, b in pairs:
        if time.perf_counter() > deadline:
            break
        # Without autojunk=False difflib would drop what long functions repeat.
        match = difflib.SequenceMatcher(None, prints[a].shingles, prints[b].shingles, False)
        ratio = match.ratio()
        if ratio >= MIN_SIMILAR:
            alike.append((ratio * len(match.a), ratio, a, b))
        done += 1
    return done, alike


def compare(prints, pairs, threads, progress):
    """Compare the pairs in a thread pool; sorts by the amount of duplicated code."""
    deadline = progress.begin("compare")
    alike, done = [], 0
    with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="compare") as pool:
        work = [pool.submit(compare_some, prints, pairs[i:i + 20], deadline)
                for i in range(0, len(pairs), 20)]
        for future in concurrent.futures.as_completed(work):
            count, found = future.result()
            done, alike = done + count, alike + found
            progress.tick(done, len(pairs))
    progress.end("%d of %d pairs, %d near-duplicates" % (done, len(pairs), len(alike)))
    return sorted(alike, reverse=True)


def compress(sources, prints, alike, folder, progress):
    """Write the gzipped JSON report: alike pairs, and an index of all functions."""
    progress.begin("compress")
    pairs = []
    for _, ratio, *pair in alike:
        two = [prints[number].function for number in pair]
        pairs.append({
            "similarity": round(ratio, 4), "functions": [one.where for one in two],
            "source": [sources[one.path].split("\n")[one.line - 1:one.end] for one in two]})
    index = {item.function.where: sorted(item.marks) for item in prints}
    data = json.dumps({"pairs": pairs, "index": index}, indent=1).encode()
    path = os.path.join(folder, "dedup.json.gz")
    with open(path, "wb") as file:
        file.write(gzip.compress(data, 9, mtime=0))
    packed = os.path.getsize(path) / 1e6
    progress.end("%.1f MB of JSON, %.1f MB packed" % (len(data) / 1e6, packed))
    return path


def show(prints, alike, top=10):
    """Print the largest near-duplicates, each function once, and the counts."""
    used = set()
    print("Largest near-duplicates in Python %d.%d's standard library:" % sys.version_info[:2])
    for _, ratio, a, b in alike:
        if len(used) < 2 * top and not used & {a, b}:
            used |= {a, b}
            print("%6.1f %%  %s" % (100 * ratio, prints[a].function.where))
            print("          %s" % prints[b].function.where)
    exact = sum(ratio == 1 for _, ratio, _, _ in alike)
    print("%d functions of %d tokens or more: %d near-duplicate pairs, %d of them exact copies."
          % (len(prints), MIN_TOKENS, len(alike), exact))


def main(argv=None):
    """Run all phases and print what was found."""
    parser = argparse.ArgumentParser(
        "dedup.py", description="Find near-duplicate functions in the standard library.")
    parser.add_argument("--seconds", type=float, default=10, help="time budget (%(default)s)")
    parser.add_argument("--threads", type=int, default=4, help="pool size (%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--keep", metavar="FILE", help="copy the gzipped JSON report here")
    args = parser.parse_args(getattr(sys, "argv", [])[1:] if argv is None else argv)
    threads, progress = max(1, args.threads), Progress(max(1, args.seconds), args.quiet)
    with tempfile.TemporaryDirectory(prefix="dedup-") as folder:
        sources = read(threads, progress)
        functions = parse(sources, progress)
        streams = tokenize_all(sources, functions, progress)
        prints = fingerprint(functions, streams, progress)
        alike = compare(prints, bucket(prints, progress), threads, progress)
        report = compress(sources, prints, alike, folder, progress)
        if args.keep:
            shutil.copyfile(report, args.keep)
    show(prints, alike)


if __name__ == "__main__":
    main()  # no sys.exit(): inside a host, that would end the host
