"""The rules of style that no compiler checks. Each function below is one rule and yields what breaks it.

Prints a result line for each rule. Rules about pyprof.h read `lines`, or `code`: the same without comments, each with
the section that it stands in.
"""
import ast
import math
import os
import re
import subprocess
import sys

RULES = []


def rule(text):
    return lambda function: RULES.append((text, function))


def tracked():
    """Every file of the repository, also those not yet added."""
    git = ["git", "ls-files", "-co", "--exclude-standard"]
    try:
        names = subprocess.run(git, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        names = [os.path.relpath(os.path.join(at, name)) for at, _, names in os.walk(".") for name in names]
    return [name for name in sorted(names) if os.path.isfile(name)]


def texts(*suffixes):
    """(place, line) for each line of the files with these endings."""
    for name in tracked():
        if name.endswith(suffixes):
            with open(name, encoding="utf-8") as file:
                for number, line in enumerate(file.read().split("\n"), 1):
                    yield "%s:%d" % (name, number), line


def sections():
    """(number, line without comment, section) for each line of pyprof.h that is not all comment."""
    section, documentation, page = "API", False, False
    for number, line in enumerate(lines, 1):
        page = (page or line == "// <report.html>") and line != "// </report.html>"   # the text of a page is no code
        if page:
            continue
        banner = re.match(r"// \[SECTION\] (\S+)", line)
        section = banner.group(1) if banner else section
        documentation = documentation or line.startswith("/*")
        if not documentation:
            yield number, re.sub(r"(^|\s)//.*", "", line).rstrip(), section
        documentation = documentation and "*/" not in line


def place(number, text):
    return "pyprof.h:%d: %s" % (number, text.strip())


@rule("ASCII only")
def ascii_only():
    return (at for at, line in texts(".h", ".c", ".sh", "Makefile", ".ci/run") if not line.isascii())


@rule("no tabs, no trailing blanks")
def blanks():
    for at, line in texts(".h", ".c", ".sh", ".py", ".md", ".ci/run"):
        if "\t" in line or line != line.rstrip():
            yield at


@rule("pyprof.h is at most 110 wide")
def width():
    return (place(n, "%d" % len(line)) for n, line in enumerate(lines, 1) if len(line) > 110)


@rule("CONTENTS and banners agree")
def contents():
    start = next(i for i, line in enumerate(lines) if line.startswith("CONTENTS"))
    end = lines.index("", start)
    promised = [line.split(None, 1) for line in lines[start + 1:end]]
    banners = [re.match(r"// \[SECTION\] (\S+)\s+-- (.*)", line) for line in lines if "// [SECTION]" in line]
    found = [list(banner.groups()) if banner else ["a banner", "is not: // [SECTION] NAME -- words"] for banner in banners]
    for i in range(max(len(promised), len(found))):
        pair = [" ".join(column[i]) if i < len(column) else "nothing" for column in (promised, found)]
        if pair[0] != pair[1]:
            yield "CONTENTS: %s; banner: %s" % tuple(pair)


@rule("each banner says Runs on, Uses, Promise")
def banners():
    for number, line in enumerate(lines, 1):
        if line.startswith("// [SECTION]"):
            words = re.findall(r"^//   (Runs on|Uses|Promise) +\S", "\n".join(lines[number:number + 12]), re.M)
            if words != ["Runs on", "Uses", "Promise"]:
                yield place(number, line)


def functions():
    """(line, number of lines, text) of each function at file scope; a mere declaration has 0 lines."""
    start, body = None, False
    for number, line, _ in code:
        if start is None and re.match(r"(?!typedef|struct|enum|union|extern|else)[A-Za-z_][^=;{]*\(", line):
            start, body, text = number, False, line
        if start is None:
            continue
        body = body or "{" in line
        ends = line.startswith("}") or (number == start and line.endswith("}")) if body else line.endswith(";")
        if ends:
            yield start, (number - start + 1) * body, text
        if ends or (not body and (not line or line.startswith("#"))):   # the latter: no function, but a macro
            start = None


@rule("no forward declaration of a static function")
def forward():
    return (place(n, text) for n, length, text in functions() if not length and re.match("static|PYPROF__PRIVATE", text))


@rule("functions are short: median <= 13 lines, 90 % <= 40, all <= 80")
def function_lengths():
    found = [function for function in functions() if function[1]]
    lengths = sorted(length for _, length, _ in found) or [0]
    for share, limit in (0.5, 13), (0.9, 40):
        length = lengths[max(0, math.ceil(share * len(lengths)) - 1)]
        if length > limit:
            yield "%d %% of the %d functions have up to %d lines, not %d" % (100 * share, len(lengths), length, limit)
    for number, length, text in found:
        if length > 80:
            yield place(number, "%d lines: %s" % (length, text))


@rule("the API says threads, GIL and returns")
def api_comments():
    comment, previous = [], ""
    for number, line in enumerate(lines, 1):
        if line.startswith("//"):
            comment = comment + [line] if previous.startswith("//") else [line]
        elif line.startswith("PYPROF_API "):
            if not previous.startswith(("//", "PYPROF_API ")):
                comment = []
            needed = ["threads", "GIL"] + ["returns"] * line.startswith("PYPROF_API pyprof_result ")
            missing = [word for word in needed if word not in " ".join(comment)]
            if missing:
                yield place(number, "no %s: %s" % (", ".join(missing), line))
        previous = line


@rule("the system and the processor are asked for in PLATFORM only")
def platforms():
    asks = re.compile(r"\s*#\s*(el)?if.*(__linux__|__x86_64__|__aarch64__|__LP64__|__GLIBC__|_WIN32|__APPLE__|__FreeBSD__)")
    return (place(n, line) for n, line, section in code if section not in ("API", "PLATFORM") and asks.match(line))


@rule("versions of Python are named and compared in LAYOUT only")
def versions():
    names = re.compile(r'\b0x03(?!00)[0-9a-fA-F]{2}|"3\.[0-9]|(->|\.)minor\b|_form\s*[<>]|version\s*[<>]=?\s*\d')
    return (place(n, line) for n, line, section in code if section != "LAYOUT" and names.search(line))


@rule("offsets within CPython's structures stand in LAYOUT only")
def offsets():
    thing = r"(?:(?:layout|asyncio)(?:->|\.)\w+|\b(?:object|type|dict|keys|values|frame|thread|interp|tuple|task|coroutine|name|str))"
    number = re.compile(r"%s [-+] (?:\d{2,}|[2-9])\b|FIELD_AT\([^,]+, raw, \d|& ~\(uint64_t\)[137]\b" % thing)
    read_by = ("CODE", "FRAMES", "THREADS", "SAMPLER", "HEAP", "RUNTIME", "RECORD", "SESSION", "WRITERS")
    return (place(n, line) for n, line, section in code if section in read_by and number.search(line))


@rule("this process is asked for in PLATFORM's own part only; what reads a target takes its process")
def own_process():
    part = {}
    for number, line in enumerate(lines, 1):
        heading = re.match(r"// (?:---- |\[SECTION\] )(.*)", line)
        part[number] = heading.group(1) if heading else part.get(number - 1, "")
    asks = re.compile(r"\bgetpid *\(|\bSYS_getpid\b|/proc/(self|thread-self)\b")
    own = re.compile(r"\bpyprof__own_(pid|proc)\b|\bPYPROF__OWN_FOLDER\b")
    about_us = ("PLATFORM", "TARGET", "HEAP", "SESSION", "CHECKPOINT", "PUBLIC", "ENVIRONMENT", "PRELOAD")
    for n, line, section in code:
        outside = section != "PLATFORM" or not part[n].startswith("this process")
        if (outside and asks.search(line)) or (section not in about_us and own.search(line)):
            yield place(n, line)


def names_defined():
    """(line, name) of what is defined at file scope; attributes are no names."""
    in_enum = False
    for number, line, _ in code:
        line = re.sub(r"__attribute__\(\(.*?\)\) ?", "", line)
        for pattern in (r"#\s*define (\w+)", r"(?:typedef )?(?:struct|union|enum) (\w+) \{", r"\} (\w+);",
                        r"typedef [^{]*?\(?\*?(\w+)\)?(?:\(.*\)|\[.*\])?;", r"(?:static|PYPROF__PRIVATE) [^={(\[;]*?(\w+) ?[=(\[;]"):
            match = re.match(pattern, line)
            if match:
                yield number, match.group(1)
        enum = re.match(r"(?:typedef )?enum(?: \w+)? \{", line)
        in_enum = in_enum or bool(enum)
        if in_enum:
            for item in line[enum.end() if enum else 0:].split("}")[0].split(","):
                match = re.match(r"\s*([A-Za-z_]\w*)", item)
                if match:
                    yield number, match.group(1)
        in_enum = in_enum and "}" not in line


@rule("every name begins with pyprof")
def names():
    return (place(n, name) for n, name in names_defined() if not re.match(r"pyprof|PYPROF|_GNU_SOURCE$", name))


@rule("configuration macros: the documented ones are those asked for")
def configuration():
    start = next(i for i, line in enumerate(lines) if line.startswith("CONFIGURATION MACROS"))
    documented = set(re.findall(r"\bPYPROF_[A-Z_]+\b", " ".join(re.sub(r"PYPROF_ERR_\w+", "", line)
                                                               for line in lines[start:lines.index("", start)])))
    asked = set(re.findall(r"defined\((PYPROF_[A-Z]\w*)\)", "\n".join(line for _, line, _ in code)))
    return sorted(documented ^ asked - {"PYPROF_H"})


@rule("metrics: pyprof_metric, the table of metrics, docs/api.md and the documents agree")
def metrics():
    text = "\n".join(line for _, line, _ in code)
    enum = text[text.index("typedef enum pyprof_metric"):text.index("} pyprof_metric;")]
    values = {name: int(value) for name, value in re.findall(r"PYPROF_(\w+) = (\d+)", enum) if name != "METRIC_COUNT"}
    table = text[text.index("pyprof__metrics[] = {"):]
    rows = re.findall(r'\{ PYPROF_(\w+), "(\w+)", "[^"]+", (?:"(\w+)"|NULL), (?:"\w+"|NULL),\s+PYPROF__UNIT_\w+, PYPROF__FROM_(\w+), '
                      r'(?:PYPROF_(\w+)|0),', table[:table.index("\n};")])
    if sorted(row[0] for row in rows) != sorted(values):
        yield "the rows are not those of pyprof_metric, one each: %s" % sorted({row[0] for row in rows} ^ set(values))
    there = {"SAMPLES": "always", "HEAP": "with memory tracked", "ESTIMATES": "with memory sampled",
             "GAUGES": "on the time line of the process", "NOTHING": "not yet"}
    wanted = ["| `PYPROF_%s` | `%s` | %s | %s | %s |" % (name, key, "`%s`" % row_key if row_key else "", "`PYPROF_%s`" % whole if whole else "",
                                                    there[source]) for name, key, row_key, source, whole in rows]
    documents = {name: open(name, encoding="utf-8").read() for name in tracked() if re.match(r"docs/.*\.md", name)}
    found = re.findall(r"^\| `PYPROF_.*", documents["docs/api.md"][documents["docs/api.md"].index("## Metrics"):], re.M)
    yield from ("docs/api.md: %s" % line for line in sorted(set(wanted) ^ set(found)))
    for name, key, row_key, source, whole in rows:
        if key != name.lower() or row_key not in ("", key, key.replace("_ns", "_time")):
            yield "PYPROF_%s: odd keys %s, %s" % (name, key, row_key)
    for at, text in documents.items():
        yield from ("%s: PYPROF_%s" % (at, name) for name in re.findall(r"PYPROF_(\w+_(?:NS|BYTES|BLOCKS|MS|DOUBT))\b", text) if name not in values)
    with open("examples/04_module.c", encoding="utf-8") as example:
        listed = re.findall(r'"(\w+)"', re.search(r"metrics\[\] = \{([^}]*)\}", example.read()).group(1))
    if listed != [name.lower() for name in sorted(values, key=values.get)[:len(listed)]]:
        yield "examples/04_module.c: metrics are not in the order of pyprof_metric"


@rule("no path of one machine")
def machine_paths():
    path = re.compile(r"(?<![\w.}])/(roo[t]|wor[k]|home/\w+)/|\.pyenv/versions/\d")
    for at, line in texts(".h", ".c", ".sh", ".py", ".md", ".ci/run", "Makefile", ".csv", ".json", ".txt"):
        if path.search(line):
            yield "%s: %s" % (at, line.strip()[:100])


@rule("Python files are those of 3.8")
def python_files():
    for name in tracked():
        if name.endswith(".py"):
            try:
                with open(name, encoding="utf-8") as file:
                    ast.parse(file.read(), name, feature_version=(3, 8))
            except SyntaxError as error:
                yield "%s:%s: %s" % (name, error.lineno, error.msg)


@rule("the page in pyprof.h is docs/report.html, as make html brings it there")
def page():
    check = subprocess.run([sys.executable, "tests/page.py", "--check"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return check.stdout.splitlines() or ["tests/page.py: exits %d" % check.returncode] * (check.returncode != 0)


with open("pyprof.h", encoding="utf-8") as header:
    lines = header.read().split("\n")
code = list(sections())
for text, function in RULES:
    broken = list(function())
    print("%-5s lint: %s" % ("FAIL" if broken else "ok", text))
    for line in broken[:20]:
        print("      " + line)
