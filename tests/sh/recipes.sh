#!/bin/bash
# docs/recipes.md and docs/ci.md: each block of code on them runs, and prints what the page promises in the comment below it.
#
#   tests/sh/recipes.sh BUILD_DIR
# shellcheck disable=SC1091,SC2154,SC2317 # report sets build, root and dir; functions are called by try
. tests/sh/report

build=$(realpath "$build")
mkdir "$dir/bin" "$dir/files" "$dir/blocks"
ln -s "$build/pyprof" "$dir/bin/pyprof"
printf '#!/bin/sh\nexec "%s" "$@"\n' "$("$PYTHON" -c 'import sys; print(sys.executable)')" >"$dir/bin/python3"
chmod +x "$dir/bin/python3"
PATH=$dir/bin:$PATH
implementation=() # make test has it in an object
[ -n "${TEST_LONG:-}" ] || [ ! -e "$build/inside.o" ] || implementation=(-DLINKED "$build/inside.o")

# Cuts a page: blocks/N.LANGUAGE, blocks/N.prints, blocks/N.title.
cut_blocks() { # PAGE PREFIX
    awk -v to="$dir/blocks/$2" '
        /^## / { title = substr($0, 4) }
        /^```(sh|jq|c)$/ { n++; file = sprintf("%s%02d.%s", to, n, substr($0, 4)); print title > sprintf("%s%02d.title", to, n); on = 1; next }
        /^```$/ { on = 0; close(file); next }
        on { print > file }
        /^<!-- prints: .* -->$/ { sub(/^<!-- prints: /, ""); sub(/ -->$/, ""); print > sprintf("%s%02d.prints", to, n) }' "$root/docs/$1"
}

recorded() { # NAME OPTION: the program of the page
    PROFILING=1 PYPROF_QUIET=1 PYPROF_RATE=200 PYPROF_OUT=$dir/files/$1.json LD_PRELOAD=$build/libpyprof.so "$PYTHON" tests/sh/recipes.py "${@:2}"
}
bench() { # SECONDS: docs/ci.md's program of that name; score has 60 % of its time, or more
    cat >"$dir/files/bench.py" <<PROGRAM
import time
def score():
    end = time.thread_time() + $1
    while time.thread_time() < end: sum(range(100))
def rest():
    end = time.thread_time() + 0.2
    while time.thread_time() < end: sum(range(100))
score()
rest()
PROGRAM
}
recordings() { # side by side
    recorded before & local before=$!
    recorded after slower & local after=$!
    bench 0.3
    pyprof record -q -r 500 -o "$dir/files/baseline.json" -- "$PYTHON" "$dir/files/bench.py" || return
    bench 0.9
    wait $before && wait $after && cp "$dir/files/before.json" "$dir/files/app.json"
}
compiled() { # FILE
    printf '#ifndef LINKED\n#define PYPROF_IMPLEMENTATION\n#endif\n#include "pyprof.h"\n#include <stdio.h>\nint main(void)\n{\n%s\nreturn 0;\n}\n' "$(cat "$1")" >"$dir/block.c" &&
        "$CC" -std=gnu11 -Wall -Wextra -Werror -I"$root" "$dir/block.c" "${implementation[@]}" -o "$dir/block" -pthread -ldl
}
answers() { # N.LANGUAGE
    local file=$dir/blocks/$1 name=${1%.*}
    if [ "${1##*.}" = c ]; then
        compiled "$file" || return
        (cd "$dir/files" && "$dir/block") >"$dir/out" 2>&1 || { cat "$dir/out"; return 1; }
    else (cd "$dir/files" && pid=${pid:-} bash -euo pipefail "$file") >"$dir/out" 2>&1 || { cat "$dir/out"; return 1; }; fi
    cat "$dir/out"
    [ -e "$dir/blocks/$name.prints" ] || return 0
    grep -qE -e "$(cat "$dir/blocks/$name.prints")" "$dir/out" || { echo "nothing like: $(cat "$dir/blocks/$name.prints")"; return 1; }
}
hanging() { # a program for the questions about one: its thread waits for a lock that the main thread has
    cat >"$dir/files/hangs.py" <<'PROGRAM'
import sys, threading
def reader(lock):
    with lock: pass
def main():
    lock = threading.Lock()
    with lock:
        thread = threading.Thread(target=reader, args=(lock,), name='reader', daemon=True)
        thread.start()
        print('ready', flush=True)
        sys.stdin.read()
main()
PROGRAM
    coproc "$PYTHON" "$dir/files/hangs.py"
    pid=$COPROC_PID
    trap 'kill "$pid"; rm -rf "$dir"' EXIT
    read -r <&"${COPROC[0]}"
    local i
    for ((i = 0; i < 100; i++)); do # until the thread waits
        pyprof dump --pid "$pid" 2>&1 | grep -q 'waits for lock' && return
        sleep 0.1
    done
    pyprof dump --pid "$pid"
    return 1
}

gil=$("$PYTHON" -c 'import sys; print(int(getattr(sys, "_is_gil_enabled", lambda: True)()))')
cut_blocks recipes.md recipe
cut_blocks ci.md ci
try "the recordings" recordings || finish
try "a program that hangs" hanging
for file in "$dir"/blocks/*.sh "$dir"/blocks/*.jq "$dir"/blocks/*.c; do
    name=$(basename "$file")
    title=$(cat "${file%.*}.title")
    if [[ $title = *GIL* ]] && [ "$gil" = 0 ]; then skip "$title" "this Python has no GIL"
    elif [[ $name = *.jq ]] && ! command -v jq >/dev/null; then skip "$title" "jq is not installed"
    else try "$title" answers "$name"; fi
done
unchanged() { # the program of docs/ci.md says nothing about a recording that is the same
    compiled "$dir/blocks/ci03.c" && cp "$dir/files/baseline.json" "$dir/files/now.json" && (cd "$dir/files" && "$dir/block") >"$dir/out" 2>&1
    cat "$dir/out"
    grep -q '^nothing is slower' "$dir/out"
}
try "ci.md: nothing is slower than itself" unchanged
twenty() { [ "$(grep -c '^## [0-9]' "$root/docs/recipes.md")" = 20 ]; }
try "recipes.md: twenty questions" twenty
finish
