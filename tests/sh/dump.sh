#!/bin/bash
# The command pyprof dump: what it prints of a program with a deadlock, of one that is stopped, and of bad arguments.
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

if [ ! -x "$build/pyprof" ]; then skip "pyprof dump" "no $build/pyprof"; finish; fi
cat >"$dir/app.py" <<'PY'
import os, threading, time
def transfer(first, second, password):
    with first:
        time.sleep(0.3)
        with second:
            pass
a, b = threading.Lock(), threading.Lock()
for name, locks in ('worker', (a, b)), ('writer\x1b[31m', (b, a)):
    threading.Thread(target=transfer, args=locks + ('hunter2',), name=name, daemon=True).start()
time.sleep(0.6)
with open('ready', 'w') as file:
    file.write(str(os.getpid()))
time.sleep(1000)
PY
(cd "$dir" && export MALLOC_ARENA_MAX=1 && exec "$PYTHON" app.py) &   # one arena: core files are small
target=$!
trap 'kill -9 $target 2>/dev/null; rm -rf "$dir"' EXIT
for _ in $(seq 200); do [ -s "$dir/ready" ] && break; sleep 0.05; done

dump() { "$build/pyprof" dump --pid "$target" "$@"; }
if ! dump >/dev/null 2>"$dir/refused"; then
    if grep -q 'pyprof: .*not supported\|ptrace\|permission' "$dir/refused"; then skip "pyprof dump" "$(cat "$dir/refused")"; finish; fi
fi
has() { grep -qE "$1" "$dir/out" || { echo "no line $1 in:"; cat "$dir/out"; return 1; }; }
head_and_stacks() { dump >"$dir/out" && has "^Process $target: .*app\.py$" && has '^Python v3\.[0-9]+' &&
    has "^Thread $target \(idle\): \"MainThread\"$" && has '^    sleeps, for [0-9.]+ s$' && has '^    transfer \(.*app\.py:5\)$' &&
    has '^    <module> \(.*app\.py:13\)$'; }
deadlock() { dump >"$dir/out" && has '^    waits for lock <_thread.lock object at 0x[0-9a-f]+>, for .* s, held by thread [0-9]+ "worker"$' &&
    has '^DEADLOCK 1: ' && [ "$(grep -c 'DEADLOCK' "$dir/out")" = 1 ] && has 'which the first thread has$'; }
escaped() { dump >"$dir/out" && has 'writer\\x1b\[31m' && ! grep -q $'\x1b' "$dir/out"; }
variables() { dump -l >"$dir/out" && has 'password: <masked>' && has 'first: <_thread.lock object at' && ! grep -q hunter2 "$dir/out" &&
    dump -l --secrets >"$dir/out" && has "password: 'hunter2'" && dump >"$dir/out" && ! grep -q 'Locals\|password' "$dir/out"; }
json() { dump --json -l >"$dir/out" && "$PYTHON" - "$dir/out" "$target" <<'PY'
import json, sys
with open(sys.argv[1]) as file:
    told = json.load(file)
assert told['pid'] == int(sys.argv[2]) and told['halted'] == '', told
threads = {thread['name']: thread for thread in told['threads']}
one, other = threads['worker'], threads['writer\x1b[31m']
assert one['wait']['holder'] == other['thread_id'] and other['wait']['holder'] == one['thread_id']
assert one['wait']['kind'] == 'lock' and one['wait']['waited_s'] > 0 and one['wait']['how'] == 'with'
assert [sorted(ring) for ring in told['deadlocks']] == [sorted([one['thread_id'], other['thread_id']])]
assert one['frames'][0]['name'] == 'transfer' and one['frames'][0]['line'] == 5
assert {'name': 'password', 'value': '<masked>', 'masked': True, 'sure': True} in one['frames'][0]['locals']
PY
}
stopped() { kill -STOP "$target" && sleep 0.1 && dump >"$dir/out" && kill -CONT "$target" && has '^State: stopped by a signal' && has '^DEADLOCK 1: '; }
refused() { ! "$build/pyprof" dump --pid 999999999 2>"$dir/out" && has 'pyprof: ' && ! "$build/pyprof" dump 2>"$dir/out" && has 'which process' &&
    ! "$build/pyprof" dump --core "$dir/app.py" 2>"$dir/out" && has '^pyprof: core file .*app.py: it is no ELF file$' &&
    ! "$build/pyprof" dump --core "$dir/app.py" --pid "$target" 2>"$dir/out" && has 'cannot be used together'; }
core() { "$build/pyprof" dump --core "$dir/core.$target" -l >"$dir/out" && has "^Core file .*core.$target$" && has "^Process $target: " &&
    has "^Thread $target \(idle\): \"MainThread\"$" && has '^    transfer \(.*app\.py:5\)$' && has '^DEADLOCK 1: ' && has 'password: <masked>' &&
    "$build/pyprof" dump --core "$dir/core.$target" --json >"$dir/out" && has '"ended":null'; }

try "the head, states and stacks" head_and_stacks
try "a deadlock is found and drawn" deadlock
try "names cannot control the terminal" escaped
try "variables, masked unless asked for" variables
try "JSON" json
try "a stopped process" stopped
try "what is refused" refused
if command -v gcore >/dev/null; then gcore -o "$dir/core" "$target" >"$dir/gcore" 2>&1 </dev/null; else echo "gdb is not installed" >"$dir/gcore"; fi
if [ -s "$dir/core.$target" ]; then try "a core file" core; else skip "a core file" "$(tail -1 "$dir/gcore")"; fi
finish
