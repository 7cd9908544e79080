#!/bin/bash
# Runs commands that report on tests, passes on what they print, and adds it all up.
#
#   tests/run.sh [-t SECONDS] COMMAND...     each COMMAND is one line of shell, ended after SECONDS
#
# A result is a line that begins with "ok    ", "FAIL  " or "skip  ". A COMMAND that ends badly without a FAIL line, or
# well without any result (unless T selects among the tests), is a failed test itself. COMMANDs may be run.sh again:
# only the last line of the outermost counts. Exit status 1 if anything failed, or nothing ran.
set -u

limit=0
[ "${1:-}" != -t ] || { limit=$2; shift 2; }
ok=0 failed=0 skipped=0 running=''
failures=()
nested=${TEST_NESTED:-}
export TEST_NESTED=1
mark=$'\1' # begins the two lines that tell about the command itself
trap '[ -z "$running" ] || kill "$running"; exit 130' INT TERM

count() {
    case $1 in
    "ok    "*) ok=$((ok + 1)) ;;
    "FAIL  "*) failed=$((failed + 1)); failures+=("${1#FAIL  }   <- $command") ;;
    "skip  "*) skipped=$((skipped + 1)) ;;
    *) [[ $1 =~ ^[0-9]+\ passed,\ [0-9]+\ failed ]] && return ;; # a total: ours replaces it
    esac
    printf '%s\n' "$1"
}

run() { # timeout makes a process group and ends all of it; the end of the output is not waited for: a stray may hold it
    local line status=1 passed_before=$((ok + skipped)) failed_before=$failed
    while IFS= read -r line; do
        case $line in
        "$mark"pid*) running=${line##* } ;;
        *"$mark"end*)
            [ "${line%%"$mark"*}" = "" ] || count "${line%%"$mark"*}" # a last line that no newline ends
            status=${line##* } running=''
            break ;;
        *) count "$line" ;;
        esac
    done < <(timeout -k 5 "$limit" bash -c "$1" </dev/null 2>&1 & echo "${mark}pid $!"; wait $!; echo "${mark}end $?")
    if [ "$status" = 124 ]; then count "FAIL  $1: still running after $limit s, ended"
    elif [ "$status" != 0 ] && [ "$failed" = "$failed_before" ]; then count "FAIL  $1: exit status $status"
    elif [ "$status" = 0 ] && [ -z "${T:-}" ] && [ $((ok + skipped + failed)) = $((passed_before + failed_before)) ]; then
        count "FAIL  $1: no result"
    fi
}

for command; do run "$command"; done
if [ -z "$nested" ] && [ "$failed" != 0 ]; then printf '\nFailed:\n'; printf '  %s\n' "${failures[@]}"; fi
echo "$ok passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && { [ -n "$nested" ] || [ $((ok + skipped)) != 0 ]; }
