#!/bin/bash
# The pickle: tracemalloc.Snapshot.load of every Python found, with all that can be done with a snapshot.
#
#   tests/interop/pickle.sh FOLDER      PYTHONS: these Pythons only
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

snapshot() { # PYTHON FILE; up to 3.8 a trace has three parts, and a file of a later version is no file for them
    "$1" - "$2" <<'END'
import sys, tracemalloc
snapshot = tracemalloc.Snapshot.load(sys.argv[1])
assert len(snapshot.traces) > 0 and snapshot.traceback_limit >= 1
total = sum(trace.size for trace in snapshot.traces)
assert total > 0
for key in 'filename', 'lineno', 'traceback':
    rows = snapshot.statistics(key)
    assert sum(row.size for row in rows) == total and sum(row.count for row in rows) == len(snapshot.traces), key
    assert all(str(row) and row.traceback.format() is not None for row in rows)
assert all(row.size_diff == 0 for row in snapshot.compare_to(snapshot, 'lineno'))
assert not snapshot.filter_traces([tracemalloc.Filter(False, '*')]).traces
print(total, 'bytes in', len(snapshot.traces), 'blocks')
END
}
pythons=()
for python in ${PYTHONS:-$(printf '%s\n' "$HOME"/.pyenv/versions/*/bin/python3 "$(type -p pyenv >/dev/null && pyenv root)"/versions/*/bin/python3 /usr/bin/python3.{[0-9],[0-9][0-9]} python3 | sort -u)}; do
    "$python" -c 'import sys, tracemalloc; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1 || continue
    version=$("$python" -c 'import platform; print(platform.python_version())')
    [[ " ${pythons[*]} " == *" $version "* ]] || { pythons+=("$version"); each .pkl "tracemalloc of $version" snapshot "$python"; }
done
finish
