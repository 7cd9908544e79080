#!/bin/bash
# Profiles an application for some time, ends it, and prints the report and the names of the files.
#
#   examples/profile_app.sh [TOOL] SECONDS [OPTIONS] -- COMMAND ARGUMENTS...     starts the application
#   examples/profile_app.sh [TOOL] SECONDS [OPTIONS] --pid PID                   profiles one that runs; it goes on
#
# TOOL: pyprof (the default), py-spy, austin, memray, cProfile or scalene, as far as it is installed. The last three take
# a COMMAND that begins with python.
#   --out PREFIX   where the files go (/tmp/NAME-TIME)
#   --rate HZ      samples a second (100)
#   --keep         lets the application run on afterwards, unprofiled
# The application is ended by SIGINT, after 10 s by SIGTERM, after 5 s more by SIGKILL. The exit status is that of the
# profiling, not that of the application. LIBPYPROF and PROFILER name the preload library and the command, if they
# are not in build/.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
usage() { sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; }
die() { echo "profile_app.sh: $*" >&2; exit 2; }

tool=pyprof seconds='' pid='' keep='' out='' rate=100 command=()
case ${1:-} in
-h | --help) usage; exit ;;
[0-9]*) ;;
pyprof | py-spy | austin | memray | cProfile | scalene) tool=$1; shift ;;
'') usage >&2; exit 2 ;;
*) die "no tool '$1': pyprof, py-spy, austin, memray, cProfile or scalene" ;;
esac
[[ ${1:-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "how many seconds? '${1:-}' is no number"
seconds=$1
shift
while [ $# != 0 ]; do
    case $1 in
    --pid | --out | --rate) [ $# != 1 ] || die "$1 needs a value" ;;&
    --pid) pid=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --rate) rate=$2; shift 2 ;;
    --keep) keep=yes; shift ;;
    --) shift; command=("$@"); break ;;
    *) die "no option '$1' (the application comes after --)" ;;
    esac
done
if [ -n "$pid" ]; then
    [ ${#command[@]} = 0 ] || die "give --pid or a command, not both"
    if ! [[ $pid =~ ^[0-9]+$ ]] || [ ! -d "/proc/$pid" ]; then die "no process $pid"; fi
    name=$(basename "$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | head -1)")
else
    [ ${#command[@]} != 0 ] || die "which application? -- COMMAND, or --pid PID"
    command -v "${command[0]}" >/dev/null || die "no command '${command[0]}'"
    name=$(basename "${command[0]}")
    for word in "${command[@]:1}"; do [[ $word != *.py ]] || { name=$(basename "$word" .py); break; }; done
fi
out=${out:-${TMPDIR:-/tmp}/$name-$(date +%Y%m%d-%H%M%S)}
[ -d "$(dirname "$out")" ] || die "no folder $(dirname "$out")"

library=${LIBPYPROF:-$here/build/libpyprof.so} pyprof=${PROFILER:-$here/build/pyprof}
needs() { command -v "$1" >/dev/null || die "$1 is not installed"; }
python_module() { # MODULE ARGUMENTS...: between python and the rest of the command
    [ -z "$pid" ] || die "$tool cannot attach to a process: give the command"
    [[ $(basename "${command[0]}") == python* ]] || die "$tool needs a command that begins with python, not '${command[0]}'"
    "${command[0]}" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" || die "$1 is not installed for ${command[0]}"
    command=("${command[0]}" -m "$@" "${command[@]:1}")
}

environment=() recorder=()
case $tool in
pyprof)
    if [ -n "$pid" ]; then
        [ -f "$pyprof" ] || die "no $pyprof: make examples builds it"
        recorder=("$pyprof" record --pid "$pid" -d "$seconds" -r "$rate" -o "$out.json" -o "$out.svg" -o "$out.txt")
    else
        [ -e "$library" ] || die "no $library: make examples builds it"
        environment=(PROFILING=1 "LD_PRELOAD=$library${LD_PRELOAD:+:$LD_PRELOAD}" "PYPROF_OUT=$out" "PYPROF_RATE=$rate" PYPROF_QUIET=1)
        [ -z "$keep" ] || environment+=("PYPROF_TRIGGER=$out.switch")
    fi ;;
py-spy) needs py-spy; recorder=(py-spy record -d "$seconds" -r "$rate" -o "$out.svg" --pid) ;;
austin) needs austin; recorder=(austin -i "$(awk "BEGIN { printf \"%d\", 1000000 / $rate }")us" -x "$(printf '%.0f' "$seconds")" -o "$out.austin" -p) ;;
memray) python_module memray run -o "$out.bin" ;;
cProfile) python_module cProfile -o "$out.prof" ;;
scalene) python_module scalene --cli --outfile "$out.txt" ;;
esac

alive() { [ -d "/proc/$1" ] && [[ $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) != Z* ]]; }
within() { # SECONDS PID: has it ended by then?
    local end
    end=$(($(date +%s%N) + $(awk "BEGIN { printf \"%d\", $1 * 1000000000 }")))
    while alive "$2"; do
        [ "$(date +%s%N)" -lt "$end" ] || return 1
        sleep 0.05
    done
}
finish() { # ends the application that was started here
    alive "$app" || return 0
    kill -INT "$app" 2>/dev/null
    within 10 "$app" && return
    kill -TERM "$app" 2>/dev/null
    within 5 "$app" && { echo "profile_app.sh: SIGINT did not end it, SIGTERM did" >&2; return; }
    kill -KILL "$app" 2>/dev/null
    echo "profile_app.sh: neither SIGINT nor SIGTERM ended it, SIGKILL did" >&2
}
written() { # by an application that goes on: its library is told to stop, also one that has just started
    local i
    touch "$out.asked"
    for ((i = 0; i < 200; i++)); do
        [ $((i % 10)) != 0 ] || echo stop >"$out.switch"
        [ ! "$1" -nt "$out.asked" ] || break
        alive "$app" || break
        sleep 0.05
    done
    rm -f "$out.asked" "$out.switch"
}

status=0 app=''
set -m # a group of its own: it gets SIGINT as from a terminal, and a Ctrl-C here reaches only this script
if [ -z "$pid" ]; then
    env "${environment[@]}" "${command[@]}" &
    app=$!
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
fi
if [ ${#recorder[@]} != 0 ]; then
    if [ -n "$app" ]; then sleep 0.5; alive "$app" || die "the application ended at once"; fi
    [ "$tool" = pyprof ] || recorder+=("${pid:-$app}")
    "${recorder[@]}" || status=$?
else
    within "$seconds" "$app" || true
fi
if [ -n "$app" ] && [ -n "$keep" ]; then
    trap - EXIT
    ! alive "$app" || echo "profile_app.sh: the application goes on, pid $app" >&2
    [ "$tool" != pyprof ] || written "${out}_profile.json"
elif [ -n "$app" ]; then
    finish
    trap - EXIT
    wait "$app" 2>/dev/null
fi

shopt -s nullglob
files=("$out"[._]*)
[ "$status" = 0 ] || { echo "profile_app.sh: $tool failed, exit status $status" >&2; exit "$status"; }
[ ${#files[@]} != 0 ] || { echo "profile_app.sh: $tool wrote nothing: is '${command[*]:-$pid}' a Python program?" >&2; exit 1; }
case $tool in
pyprof) for file in "$out"{_profile,}.txt; do [ ! -e "$file" ] || head -n 60 "$file"; done ;;
cProfile) python3 "$here/examples/analyze_profile.py" "$out.prof" ;;
memray) "${command[0]}" -m memray stats "$out.bin" ;;
scalene) cat "$out.txt" ;;
austin) awk '!/^#/ { n = $NF; sub(/ [0-9-]+$/, ""); m = split($0, part, ";"); own[part[m]] += n } END { for (f in own) print own[f], f }' "$out.austin" |
    sort -rn | head -n 20 ;;
esac
printf '\nFiles:\n'
printf '  %s\n' "${files[@]}"
exit $status
