"""Compares the section LAYOUT of pyprof.h with CPython's own headers, or writes into it what they say.

    python3 tests/layout.py [FOLDER...]          compare; FOLDER has a Python.h and internal/; without one: all that are found
    python3 tests/layout.py --write FOLDER...    take over what differs: how a new CPython is added (docs/cpython-support.md)

tests/layout.c prints what the headers say; a C compiler is needed ($CC).
"""
import glob
import os
import re
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join(os.path.dirname(HERE), "pyprof.h")
NO = 0xffffffff
FREE_THREADED = 100        # what is added to the minor version
OLDEST, OLDEST_FREE_THREADED = 8, 13

# What no header tells, and where it was read. A version: from that one on the headers tell it.
BY_HAND = {
    "frame_size": ("how much is read of a frame", 11), "module_dict": ("Objects/moduleobject.c", 11), "owner_shim": ("what no frame has", 12),
    "keys_index": ("Objects/dict-common.h", 11), "keys_count": ("Objects/dict-common.h", 11), "keys_indices": ("Objects/dict-common.h", 11),
    "entry_size": ("Objects/dict-common.h", 11), "entry_key": ("Objects/dict-common.h", 11), "values_head": ("a mere array", 11),
    "managed_values": ("Objects/object_layout.md",), "managed_dict": ("Objects/object_layout.md", 13), "attrs_form": ("Objects/object_layout.md",),
    "awaited": ("_PyGen_yf in Objects/genobject.c",),
    "task_coro": ("TaskObj in Modules/_asynciomodule.c",), "task_name": ("TaskObj in Modules/_asynciomodule.c",),
    "kept_coro": ("TaskObj in Modules/_asynciomodule.c",), "kept_name": ("TaskObj in Modules/_asynciomodule.c",),
    "kept_frame": ("PyGenObject",), "kept_state": ("PyGenObject",), "kept_awaits": ("_PyGen_yf in Objects/genobject.c",),
    "kept_top": ("PyFrameObject",), "kept_depth": ("PyFrameObject, _PyInterpreterFrame",),
    "await_units": ("_PyGen_yf in Objects/genobject.c",), "await_opcode": ("_PyGen_yf in Objects/genobject.c",),
    "rlock_owner": ("rlockobject in Modules/_threadmodule.c",),
    "own_state": ("_PyThreadState_GET in Include/internal/pycore_pystate.h",), "stale_ids": ("Python/pystate.c",),
    "counts_threads": ("warn_about_fork_with_threads in Modules/posixmodule.c",), "polls": ("CHECK_EVAL_BREAKER in Python/ceval.c",),
    "lines_form": ("Objects/locations.md, Objects/lnotab_notes.txt",), "instr_form": ("what frame_instr is",),
}


def values(text):
    """{12, 136}, {13, PYPROF__NO} -> [(12, 136), (13, NO)]; names of enumerations stay text."""
    found = []
    for since, value in re.findall(r"\{(\d+), ([^}]+)\}", text):
        found.append((int(since), NO if value == "PYPROF__NO" else int(value, 0) if value[0].isdigit() else value))
    return found


def header():
    with open(HEADER, encoding="utf-8") as file:
        return file.read()


def newest():
    """The minor version that pyprof.h knows last."""
    return int(re.search(r"PYPROF__NEWEST = 0x03([0-9a-f]{2})", header()).group(1), 16)


def table():
    """{name: its values} of PYPROF__FIELDS, and "@name" of pyprof__positions."""
    text = header().replace("\\\n", " ")
    fields = re.search(r"#define PYPROF__FIELDS\(X\)(.*)", text).group(1)
    found = {name: values(rest) for name, rest in re.findall(r"X\((\w+), [^,]+,(.*?\})\)", fields)}
    positions = re.search(r"pyprof__positions\[\] = \{(.*?)\n\};", text, re.S).group(1)
    found.update({"@" + name: values(rest) for name, rest in re.findall(r"PYPROF__X\((\w+), (\{.*)\)", positions)})
    return found


def value_in(history, minor, free_threaded):
    """As pyprof__value_in."""
    found = NO
    for since, value in history:
        if since <= minor or (free_threaded and FREE_THREADED < since <= FREE_THREADED + minor):
            found = value
    return found


def folders():
    """The folders with a Python.h, of this Python and of others that are installed."""
    import sysconfig
    mine = [sysconfig.get_path("include")]
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    others = glob.glob("/usr/include/python3*") + glob.glob("/usr/local/include/python3*") + glob.glob(pyenv + "/versions/*/include/python3*")
    found = {os.path.realpath(folder): None for folder in mine + sorted(others) if os.path.exists(os.path.join(folder, "Python.h"))}
    return [folder for folder in found if version(folder)[1] >= OLDEST]


def version(folder):
    """(3.13.0, 13)"""
    with open(os.path.join(folder, "patchlevel.h"), encoding="utf-8") as file:
        text = file.read()
    return (re.search(r'PY_VERSION\s+"([^"]+)"', text).group(1), int(re.search(r"PY_MINOR_VERSION\s+(\d+)", text).group(1)))


def dump(folder, free_threaded):
    """{name: value} as tests/layout.c prints it; or why not, as text."""
    if not os.path.isdir(os.path.join(folder, "internal")):
        return "no internal headers in %s" % folder
    with tempfile.TemporaryDirectory() as scratch:
        program = os.path.join(scratch, "layout")
        build = shlex.split(os.environ.get("CC", "cc")) + ["-w", "-std=gnu11", "-DPy_BUILD_CORE"] + ["-DPy_GIL_DISABLED=1"] * free_threaded
        build += ["-I" + os.path.join(folder, part) for part in ("", "internal", "internal/mimalloc")]
        made = subprocess.run(build + [os.path.join(HERE, "layout.c"), "-o", program], stderr=subprocess.PIPE, universal_newlines=True)
        if made.returncode:
            return "tests/layout.c does not compile with it: " + next((line for line in made.stderr.split("\n") if "error" in line), "?")
        said = subprocess.run([program], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    return {name: int(value) for name, value in (line.split() for line in said.splitlines())}


def differences(ours, theirs, minor, free_threaded):
    """[(name, our value, theirs)]. NO = none."""
    found = []
    for name, history in ours.items():
        mine, said = value_in(history, minor, free_threaded), theirs.get(name, NO)
        by_hand = BY_HAND.get(name)
        if said == NO and by_hand and (len(by_hand) == 1 or minor < by_hand[1]):
            continue
        if mine != said:
            found.append((name, mine, said))
    found += [(name, NO, said) for name, said in theirs.items() if name not in ours]
    return [one for one in found if not (free_threaded and one[0][0] == "@")]   # its own table is that of the default build


def text_of(value):
    return "PYPROF__NO" if value == NO else str(value)


def written(text, changes, since):
    """The text of pyprof.h with {since, value} among each field's values, instead of that of the same version."""
    for name, _, value in changes:
        start = r"PYPROF__X\(%s" if name[0] == "@" else r"\bX\(%s, [^{]*?"
        place = re.search("(" + start % name.lstrip("@") + r"), (\{[^()]*\})\)", text)
        if not place:
            print("%s is not in pyprof.h: add its line by hand" % name)
            continue
        entries = {int(old): is_ for old, is_ in re.findall(r"\{(\d+), ([^}]+)\}", place.group(2))}
        entries[since] = text_of(value)
        line = place.group(1) + "".join(", {%d, %s}" % entry for entry in sorted(entries.items())) + ")"
        if len(line) > 120:
            line = line.replace(", {1%02d" % OLDEST_FREE_THREADED, ", \\\n      {1%02d" % OLDEST_FREE_THREADED)
        text = text[:place.start()] + line + text[place.end():]
    return text


def main(arguments):
    writing = "--write" in arguments
    for folder in [argument for argument in arguments if argument != "--write"] or folders():
        name, minor = version(folder)
        for free_threaded in range(1 + (minor >= OLDEST_FREE_THREADED)):
            title = "%s%s (%s)" % (name, "t" * free_threaded, folder)
            theirs = dump(folder, free_threaded)
            if isinstance(theirs, str):
                print("%s: %s" % (title, theirs))
                continue
            changes = differences(table(), theirs, minor, free_threaded)
            for field, mine, said in changes:
                print("%s: %s: pyprof.h has %s, the headers %s" % (title, field, text_of(mine), text_of(said)))
            print("%s: %d values, %d differ" % (title, len(theirs), len(changes)))
            if writing:
                text = written(header(), changes, minor + FREE_THREADED * free_threaded)
                with open(HEADER, "w", encoding="utf-8") as file:
                    file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
