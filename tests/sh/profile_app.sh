#!/bin/bash
# examples/profile_app.sh: starts an application, profiles it, ends it and prints the report; what cannot be is an error.
#
#   tests/sh/profile_app.sh BUILD_DIR
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

export LIBPYPROF=$PWD/$build/libpyprof.so
[[ $build != /* ]] || LIBPYPROF=$build/libpyprof.so
export PROFILER=${LIBPYPROF%/*}/pyprof
app=$dir/loop.py
cat >"$app" <<'END'
import sys, time
def hot():
    end = time.thread_time() + 0.01
    while time.thread_time() < end: pass
try:
    while True: hot()
except KeyboardInterrupt: print('politely', sys.argv[1:], flush=True)
END
says() { "$root/examples/profile_app.sh" "$@" >"$dir/told" 2>&1; code=$?; cat "$dir/told"; }
is_hot() { if [ "$1" = cProfile ]; then grep -q ' hot ' "$dir/told"; else grep -q 'hot  .*loop.py' "$dir/told"; fi; } # TOOL
hot_in() { # TOOL NAME ARGUMENT...: a busy machine needs longer until the loop has begun
    for seconds in 1 4 16; do says "$1" $seconds --out "$dir/$2" -- "$PYTHON" "$app" "${@:3}" && is_hot "$1" && break; done
}
preloaded() {
    hot_in pyprof a one 'two words' &&
        [ "$code" = 0 ] && grep -q "politely \['one', 'two words'\]" "$dir/told" &&
        grep -q "^  $dir/a_profile.svg" "$dir/told" && [ -s "$dir/a_profile.json" ]
}
with_cprofile() {
    hot_in cProfile c
    [ "$code" = 0 ] && grep -q 'Functions with what they call' "$dir/told" && grep -q ' hot ' "$dir/told" && [ -s "$dir/c.prof" ]
}
await() { # COMMAND...: until it succeeds
    for ((i = 0; i < 600; i++)); do ! "$@" || return 0; sleep 0.05; done
    return 1
}
by_pid() { # the application was there before, and goes on
    local pid status
    "$PYTHON" "$app" >"$dir/said_by" 2>&1 &
    pid=$!
    await ready "$pid" && says 0.5 --out "$dir/p" --pid "$pid" && [ "$code" = 0 ] && grep -q 'hot  .*loop.py' "$dir/told" && grep -q "^  $dir/p.svg" "$dir/told" && [ -s "$dir/p.json" ] &&
        kill -0 "$pid" && [ ! -s "$dir/said_by" ]
    status=$?
    kill "$pid"
    wait "$pid"
    return $status
}
ready() { "$PROFILER" dump --pid "$1" 2>/dev/null | grep -q hot; }
kept() { # the application goes on afterwards, unprofiled; what was recorded is there
    local pid status
    says 1 --keep --out "$dir/k" -- "$PYTHON" "$app"
    pid=$(sed -n 's/.*the application goes on, pid \([0-9]*\).*/\1/p' "$dir/told")
    [ "$code" = 0 ] && [ -n "$pid" ] && kill -0 "$pid" && [ -s "$dir/k_profile.json" ] && ! grep -q politely "$dir/told" && [ ! -e "$dir/k.switch" ]
    status=$?
    [ -z "$pid" ] || kill "$pid"
    return $status
}
refused() { # MESSAGE ARGUMENTS...
    says "${@:2}"
    [ $code = 2 ] && grep -qF -e "$1" "$dir/told"
}
mistakes() {
    refused "no tool 'nonsense'" nonsense 1 -- true && refused 'is no number' pyprof fast -- true && refused 'which application' 1 &&
        refused "no command 'no-such-command'" 1 -- no-such-command && refused 'no process 999999999' 1 --pid 999999999 &&
        refused 'begins with python' cProfile 1 -- sleep 1 && refused 'no folder' 1 --out /nowhere/x -- true
}

if [ -e "$LIBPYPROF" ]; then try "the preload library for a second" preloaded
    try "--keep" kept
else skip "the preload library" "no $LIBPYPROF"; fi
if [ -e "$PROFILER" ]; then try "--pid" by_pid
else skip "--pid" "no $PROFILER"; fi
try "cProfile for a second" with_cprofile
try "mistakes" mistakes
finish
