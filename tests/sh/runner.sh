#!/bin/bash
# tests/run.sh itself: output stays whole, what others disturb runs again at the end, nothing that fails is hidden.
#
#   tests/sh/runner.sh BUILD_DIR
# shellcheck disable=SC1091,SC2154 # report sets dir
. tests/sh/report

runs() { env -u T -u TEST_NESTED -u TEST_BESIDE -u TEST_ONLY tests/run.sh "$@" >"$dir/got"; } # its output: to $dir/got
said() { diff -u - "$dir/got"; }                                                 # the same as standard input?

cat >"$dir/program" <<'END'
case ${TEST_ONLY:-} in
'') printf 'ok    %s: first' "$1"; sleep 0.2; echo " beside=${TEST_BESIDE:-}"
    printf '%s\n' "alone $1: second" "again $1: third (0.1 s), alone at the end: off" 'long  2' '1 passed, 0 failed, 0 skipped' ;;
*) for name in $TEST_ONLY; do echo "ok    $1: $name beside=${TEST_BESIDE:-}"; done ;;
esac
END

side_by_side() {
    runs -j 2 "bash $dir/program a" "sleep 1; bash $dir/program b" && said <<'END'
ok    a: first beside=1
again a: third (0.1 s), alone at the end: off
ok    b: first beside=1
again b: third (0.1 s), alone at the end: off
ok    a: second beside=
ok    a: third beside=
ok    b: second beside=
ok    b: third beside=
4 long tests left out: make test-long has them all
6 passed, 0 failed, 0 skipped
END
}
commands=("echo 'ok    a: a'; exit 3" "echo 'FAIL  b: b'; exit 1" "true" "printf 'skip  c: c'" "sleep 9")
badly_ended() { # one by one, or all at a time, which tells the same in the order of the ends
    ! runs -t 1 "$@" "${commands[@]}" && tail -n 7 "$dir/got" >"$dir/end" && sort "$dir/end" -o "$dir/got" && LC_ALL=C sort <<'END' | said

Failed:
  echo 'ok    a: a'; exit 3: exit status 3   <- echo 'ok    a: a'; exit 3
  b: b   <- echo 'FAIL  b: b'; exit 1
  true: no result   <- true
  sleep 9: still running after 1 s, ended   <- sleep 9
1 passed, 4 failed, 1 skipped
END
}
sleeping() { grep -qsxz '98[.]7' /proc/[0-9]*/cmdline; }
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    while ! "${@:2}"; do [ $SECONDS -lt $end ] && sleep 0.1 || return; done
}
no_longer() { ! "$@"; }
interrupted() { # the commands end with it
    local pid
    env -u TEST_NESTED tests/run.sh -j 2 "sleep 98.7" "sleep 98.7; true" >/dev/null &
    pid=$!
    within 20 sleeping
    kill "$pid"
    wait "$pid"
    [ $? = 130 ] && within 20 no_longer sleeping
}

try "side by side, then alone" side_by_side
try "bad ends are failures" badly_ended
try "bad ends are failures, side by side" badly_ended -j 5
try "an interrupt ends the commands" interrupted
finish
