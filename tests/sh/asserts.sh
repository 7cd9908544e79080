#!/bin/bash
# examples/pyprof_assert.h in plain C, with cmocka and with Check: the shop as it should be passes, the worse one fails and says why.
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

read -r -a embed < <("$PYTHON" tests/embed.py)
unset 'embed[-1]'
implementation=() # make test has it in an object
[ -n "${TEST_LONG:-}" ] || [ ! -e "$build/inside.o" ] || implementation=(-DLINKED "$build/inside.o")

compiled() { # NAME LIBRARIES...
    local name=$1
    shift
    "$CC" -std=gnu11 -Wall -Wextra -Wconversion -Wshadow -Werror "$root/examples/asserts/$name.c" "${implementation[@]}" -o "$dir/$name" "$@" "${embed[@]}" -pthread -ldl
}
passes() { # NAME: a busy machine may leave something undecided, but nothing fails
    "$dir/$1" >"$dir/out" 2>&1
    local got=$?
    cat "$dir/out"
    [ "$got" = 0 ] || [ "$got" = 77 ] || return 1
    ! grep -qE 'allowed|was called|grows' <(grep -v undecided "$dir/out")
}
# What allocates is seen however little of it the sampler sees.
regresses() { "$dir/$1" --regress >"$dir/out" 2>&1; local got=$?; cat "$dir/out"; [ "$got" = 1 ] && grep -q "$1.c:[0-9]*: debug_dump was called: .*serve > render > debug_dump" "$dir/out"; }
works() { compiled "$@" && passes "$1" && regresses "$1"; }
installed() { echo "#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <$1>" | "$CC" -E -x c - >/dev/null 2>&1; }
# shellcheck disable=SC2317 # called by try
declares() { # the header alone, as C99, C11 and C++17, with strict warnings
    echo "#include \"$root/examples/pyprof_assert.h\"" >"$dir/alone.c"
    local strict=(-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Werror -fsyntax-only)
    "$CC" -std=gnu99 "${strict[@]}" "$dir/alone.c" && "$CC" -std=c11 "${strict[@]}" "$dir/alone.c" || return
    if command -v g++ >/dev/null; then g++ -x c++ -std=c++17 "${strict[@]}" "$dir/alone.c"; fi
}

try "the header alone, with strict warnings" declares
if [[ ${embed[*]} != *-isystem*-lpython* ]]; then
    skip "all programs" "no Python.h or no libpython for $PYTHON"
    finish
fi
try "plain C" works plain
if installed cmocka.h; then try "cmocka" works with_cmocka -lcmocka; else skip "cmocka" "not installed: libcmocka-dev"; fi
if installed check.h; then
    read -r -a check < <(pkg-config --libs check 2>/dev/null || echo "-lcheck -lsubunit -lrt -lm")
    try "Check" works with_check "${check[@]}"
else skip "Check" "not installed: check"; fi
finish
