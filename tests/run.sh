#!/bin/bash
# Runs commands that report on tests, passes on what they print, and adds it all up.
#
#   tests/run.sh [-t SECONDS] [-j N] COMMAND...     each COMMAND is one line of shell, ended after SECONDS
#
# A result is a line that begins with "ok    ", "FAIL  " or "skip  ". A COMMAND that ends badly without a FAIL line, or
# well without any result (unless T selects among the tests), is a failed test itself. COMMANDs may be run.sh again:
# only the last line of the outermost counts. Exit status 1 if anything failed, or nothing ran.
#
# With -j, N COMMANDs run at a time, with TEST_BESIDE=1; the output of each is printed, whole, when it ends. A test that
# others disturb is left for the end, where it runs alone: COMMAND is called again with TEST_ONLY="NAME ...", after
#   "alone SUITE: NAME"         has not run yet
#   "again SUITE: NAME ..."     has run, and what it measured was off: this line is printed
# "long  N" tells of N tests that only make test-long runs.
set -u

limit=0 jobs=0
while [[ ${1:-} == -[tj] ]]; do
    case $1 in -t) limit=$2 ;; -j) jobs=$2 ;; esac
    shift 2
done
ok=0 failed=0 skipped=0 long=0 running=''
failures=()
nested=${TEST_NESTED:-}
export TEST_NESTED=1
mark=$'\1' # begins the two lines that tell about the command itself
dir=$(mktemp -d)
declare -A beside=() alone=() # the processes by their commands' numbers; by the command, the tests that it left for the end
# shellcheck disable=SC2086 # several processes
trap 'kill $running "${beside[@]}" 2>/dev/null; exit 130' INT TERM
trap 'rm -rf "$dir"' EXIT

count() {
    local name
    case $1 in
    "ok    "*) ok=$((ok + 1)) ;;
    "FAIL  "*) failed=$((failed + 1)); failures+=("${1#FAIL  }   <- $command") ;;
    "skip  "*) skipped=$((skipped + 1)) ;;
    "long  "*) [ -n "$nested" ] || { long=$((long + ${1#long  })); return; } ;;
    "alone "* | "again "*)
        name=${1#*: }
        [ "$jobs" = 0 ] || alone[$command]+=" ${name%% *}"
        [[ $1 == again* ]] || return ;;
    *) [[ $1 =~ ^[0-9]+\ passed,\ [0-9]+\ failed ]] && return ;; # a total: ours replaces it
    esac
    printf '%s\n' "$1"
}

judge() { # STATUS: how $command ended; since: the results before it
    if [ "$1" = 124 ]; then count "FAIL  $command: still running after $limit s, ended"
    elif [ "$1" != 0 ] && [ "$failed" = "${since##* }" ]; then count "FAIL  $command: exit status $1"
    elif [ "$1" = 0 ] && [ -z "${T:-}" ] && [ "$ok $skipped $failed" = "$since" ] && [ -z "${alone[$command]:-}" ]; then
        count "FAIL  $command: no result"
    fi
}

run() { # timeout makes a process group and ends all of it; the end of the output is not waited for: a stray may hold it
    local line status=1 since="$ok $skipped $failed"
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
    judge "$status"
}

start() { # NUMBER COMMAND: its output goes to a file, its end to descriptor 3
    (
        trap 'kill "$!"' TERM
        TEST_BESIDE=1 timeout -k 5 "$limit" bash -c "$2" </dev/null >"$dir/$1" 2>&1 3>&- &
        wait $!
        echo "$1 $?" >&3
    ) &
    beside[$1]=$!
}

report() { # COMMAND...: waits for one of them and prints what it printed
    local number status line since="$ok $skipped $failed"
    read -r number status <&3
    unset "beside[$number]"
    command=${!number}
    while IFS= read -r line || [ -n "$line" ]; do count "$line"; done <"$dir/$number"
    judge "$status"
}

side_by_side() { # COMMAND...
    local number
    mkfifo "$dir/ends" && exec 3<>"$dir/ends"
    for ((number = 1; number <= $#; number++)); do
        [ ${#beside[@]} -lt "$jobs" ] || report "$@"
        start $number "${!number}"
    done
    while [ ${#beside[@]} != 0 ]; do report "$@"; done
    exec 3>&-
}

if [ "$jobs" = 0 ]; then
    for command; do run "$command"; done
else
    side_by_side "$@"
    jobs=0
    for command; do [ -z "${alone[$command]:-}" ] || TEST_ONLY=${alone[$command]} run "$command"; done
fi
if [ -z "$nested" ] && [ "$failed" != 0 ]; then printf '\nFailed:\n'; printf '  %s\n' "${failures[@]}"; fi
[ "$long" = 0 ] || echo "$long long tests left out: make test-long has them all"
echo "$ok passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && { [ -n "$nested" ] || [ $((ok + skipped)) != 0 ]; }
