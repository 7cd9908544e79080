#!/bin/bash
# build/pyprof as users type it: every command and option, what is written, exit statuses, signals, errors.
#
#   tests/sh/command.sh BUILD_DIR
# shellcheck disable=SC1091,SC2015,SC2094,SC2153,SC2154,SC2317 # report sets build, root and dir; functions are called by try
. tests/sh/report

pyprof=$(realpath "$build")/pyprof golden=$root/tests/golden page=$root/docs/pyprof.1
python=$("$PYTHON" -c 'import sys; print(sys.executable)') # not a script that only starts Python
commands='record top dump report flamegraph diff merge convert completion help'
cd "$dir" || exit
cat >app.py <<'END'
import os, subprocess, sys, threading, time
def spin(seconds): # a fifth of the time: other tests need the CPU
    end = time.time() + seconds
    while time.time() < end:
        for i in range(20): sum(range(2000))
        time.sleep(0.002)
def rest(seconds): time.sleep(seconds)
def wait(event): event.wait()
if __name__ == '__main__':
    seconds = float(sys.argv[1])
    status = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    keep = [bytearray(1000) for i in range(10000)]
    open(sys.argv[3], 'w').close() if len(sys.argv) > 3 else None
    child = subprocess.Popen([sys.executable, 'child.py', str(seconds)]) if os.environ.pop('CHILD', None) else None
    event = threading.Event()
    thread = threading.Thread(target=wait, args=(event,), name='sleeper', daemon=True)
    thread.start()
    spin(seconds / 2)
    rest(seconds / 2)
    event.set()
    thread.join()
    if child: child.wait()
    os.kill(os.getpid(), -status) if status < 0 else sys.exit(status)
END
sed 's/def spin/def offspring/; s/    spin(/    offspring(/' app.py >child.py
cat >ask.py <<'END'
"""A recording as JSON: prints the value of each expression. self: seconds by function, running; wall: in all threads."""
import json, sys
d = json.load(open(sys.argv[1]))
functions = {name.rsplit('.', 1)[-1]: f['self_time'] - f.get('self_wait_time', 0) for name, f in d['functions'].items()}
total = {name.rsplit('.', 1)[-1]: f['time'] for name, f in d['functions'].items()}
threads = {t['name']: t for t in d['threads']}
wall = sum(t.get('wall_ns', 0) for t in d['threads']) / 1e9
for question in sys.argv[2:]: print(eval(question))
END

# ---- what the checks below are made of
ask() { "$PYTHON" ask.py "$@"; } # FILE EXPRESSION...
true_of() { # FILE EXPRESSION: holds
    [ "$(ask "$1" "bool($2)")" = True ] || { echo "$1: not $2"; ask "$1" "d['stats']" functions total; return 1; }
}
true_in() { "$PYTHON" -c 'import json, sys; d = json.load(open(sys.argv[1])); assert eval(sys.argv[2]), d' "$@"; } # FILE EXPRESSION: of any JSON
says() { # STATUS WORD COMMAND...: ends with STATUS, and what it prints has WORD
    local status=$1 word=$2 got
    shift 2
    "$@" >out 2>&1
    got=$?
    cat out
    [ "$got" = "$status" ] || { echo "status $got, not $status"; return 1; }
    grep -qF -e "$word" out
}
await() { # COMMAND...: until it succeeds, 20 s at most
    local i
    for ((i = 0; i < 400; i++)); do "$@" && return; sleep 0.05; done
    echo "in vain: $*"
    return 1
}
start() { # SECONDS [VARIABLE=VALUE...]: the program, in the background; pid
    local seconds=$1
    shift
    rm -f begun
    env "$@" "$python" app.py "$seconds" 0 begun &
    pid=$!
    await test -e begun
}
end() { kill "$pid"; wait "$pid"; } 2>/dev/null
unsupported() { grep -qF 'not supported yet' out; }

# ---- help, man page, completions
explains() { # COMMAND: its options, each with a line of help, and examples
    "$pyprof" "$1" --help >out && grep -q '^Usage: pyprof '"$1" out && grep -q '^  pyprof\|^  source' out && grep -q -- '--help' out &&
        "$pyprof" help "$1" | cmp - out && "$pyprof" "$1" -h | cmp - out && [ "$(wc -L <out)" -le 100 ]
}
all_help() {
    local command
    for command in $commands; do explains "$command" || { echo "$command"; return 1; }; done
    "$pyprof" --help >out && for command in $commands; do grep -q "^  $command " out || return 1; done
    "$pyprof" -h | cmp - out && says 2 'Commands:' "$pyprof" && [ -z "$("$pyprof" 2>/dev/null)" ]
}
version() { [ "$("$pyprof" --version)" = "pyprof $(sed -n 's/^#define PYPROF_VERSION_STRING "\(.*\)"/\1/p' "$root/pyprof.h")" ]; }
man_page() { "$pyprof" --man | cmp - "$page"; }
man_renders() {
    local warned
    if command -v groff >/dev/null; then
        warned=$(groff -ww -man -Tutf8 "$page" 2>&1 >page.txt) && [ -z "$warned" ] || { echo "$warned"; return 1; }
        grep -q 'Record a running program' page.txt || return 1
    fi
    ! man --version >/dev/null 2>&1 || { warned=$(man --warnings -l "$page" 2>&1 >/dev/null); [ -z "$warned" ] || { echo "$warned"; return 1; }; }
}
man_has_options() { # those of each command's help
    local option
    for option in $(for c in $commands; do "$pyprof" "$c" --help; done | grep -o '^  .. *--[a-z-]*' | grep -o '\-\-.*' | sort -u); do
        case $option in --help | --version) continue ;; esac
        grep -qF -- "\\fB${option//-/\\-}\\fR" "$page" || { echo "$option"; return 1; }
    done
}
completes() { # WANTED WORD...: the last word, by bash
    local wanted=$1
    shift
    # shellcheck disable=SC2016
    [ "$(bash -c '. ./completion; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pyprof; echo "${COMPREPLY[*]}"' - "$@")" = "$wanted" ] || { echo "$@"; return 1; }
}
bash_completes() {
    "$pyprof" completion bash >completion && bash -n completion && completes 'record report' pyprof re && completes --format pyprof record --for &&
        completes speedscope pyprof record -f sp && completes 'sampled exact' pyprof record --heap = && completes exact pyprof record --heap = ex &&
        completes 'gil gil-wait gil-block' pyprof report --sort gil && completes '' pyprof convert -i '' && completes 'dump diff' pyprof help d &&
        completes "$$" pyprof top --pid "$$"
}
zsh_parses() { "$pyprof" completion zsh >_pyprof && zsh -n _pyprof && zsh -fc 'autoload -U compinit; compinit -u -D; . ./_pyprof; [ "$_comps[pyprof]" = _pyprof ]'; }
fish_completes() {
    "$pyprof" completion fish >f.fish && fish -n f.fish && [ "$(fish -c 'source f.fish; complete -C "pyprof report --sort gil-w"' | cut -f1)" = gil-wait ] &&
        [ "$(fish -c 'source f.fish; complete -C "pyprof con"' | cut -f1)" = convert ]
}
try "--help of each command" all_help
try "--version" version
try "docs/pyprof.1 is what --man prints (make man)" man_page
try "the man page renders without warnings" man_renders
try "the man page has all options" man_has_options
try "completion: bash" bash_completes
if command -v zsh >/dev/null; then try "completion: zsh" zsh_parses; else skip "completion: zsh" "no zsh"; fi
if command -v fish >/dev/null; then try "completion: fish" fish_completes; else skip "completion: fish" "no fish"; fi

# ---- recordings that were saved
converts() { # SUFFIX: the golden file of that format again
    "$pyprof" convert -i "$golden/example.json" -o "example.$1" && cmp "example.$1" "$golden/example.$1"
}
converts_several() {
    "$pyprof" convert "$golden/example.json" -o a.folded -o a.prof -q && cmp a.folded "$golden/example.folded" && cmp a.prof "$golden/example.prof" &&
        "$pyprof" convert -i - -f raw -o - <"$golden/example.json" | cmp - "$golden/example.folded" &&
        "$pyprof" convert -f pb.gz --input "$golden/example.json" --output=b && cmp b "$golden/example.pb.gz"
}
flamegraphs() {
    says 0 'wrote F.svg' "$pyprof" flamegraph --input "$golden/example.json" --output F.svg && cmp F.svg "$golden/example.svg" &&
        cp "$golden/example.json" own.json && says 0 'wrote own.svg' "$pyprof" flamegraph own.json && cmp own.svg F.svg &&
        "$pyprof" flamegraph - -o - <own.json | cmp - F.svg && "$pyprof" flamegraph "$golden/memory.json" -o m.svg --metric live && grep -q 'live bytes' m.svg
}
reports() {
    "$pyprof" report "$golden/example.json" | cmp - "$golden/example.txt" && "$pyprof" report - <"$golden/example.json" | cmp - "$golden/example.txt" &&
        "$pyprof" report "$golden/example.json" --full >full && grep -q '  /srv/app/main.py:10$' full && says 0 'by wall' "$pyprof" report "$golden/example.json" --sort wall --group thread &&
        [ "$(awk 'NR > 1 { all += $1 } END { printf "%.3f", all }' out)" = "$("$PYTHON" ask.py "$golden/example.json" '"%.3f" % (wall - sum(t.get("idle_ns", 0) for t in d["threads"]) / 1e9)')" ]
}
reports_json() { # the rows are those of the table, and all is their sum
    "$pyprof" report "$golden/example.json" --json >r.json && "$pyprof" report "$golden/example.json" --rows 20 >table && "$PYTHON" - r.json table <<'EOF' &&
import json, sys
found, table = json.load(open(sys.argv[1])), open(sys.argv[2], encoding="utf-8").read().splitlines()[1:]
rows = found["rows"]
assert len(rows) == found["count"] == len(table) > 5, (found["count"], len(table))
for row, line in zip(rows, table):
    words = line.split()
    assert "%.3f" % row["self"] == words[0] and "%.3f" % row["total"] == words[3] and "process" not in row, (row, line)
assert abs(sum(row["self"] for row in rows) - found["all"]) < 1e-6 and found["unit"] == "s" and found["pid"] == 4242, found
EOF
        "$pyprof" merge "$golden/example.json" "$golden/states.json" -o both.json -q && "$pyprof" report both.json --json --group thread >r.json && true_in r.json '{r["process"] for r in d["rows"]} == {"host (4242)", "host (4242, 2)"}' &&
        "$pyprof" report "$golden/memory.json" -j --sort live >r.json && true_in r.json 'd["unit"] == "" and d["rows"][0]["self"] == 6291456 == int(d["rows"][0]["self"])'
}
filters() { # each leaves less than all, but something
    local option all
    "$pyprof" convert -i "$golden/example.json" -o - -f raw >all.folded
    all=$(wc -l <all.folded)
    for option in --thread='Main*' --file='*main.py' --function='*run*' --ignore='*run*' --show-from='*run*' --states=running --to=0.05; do
        "$pyprof" convert -i "$golden/example.json" -o - -f raw "$option" >part.folded || return 1
        ! cmp -s all.folded part.folded || { echo "$option: all"; return 1; }
        [ -s part.folded ] && [ "$(wc -l <part.folded)" -le "$all" ] || { echo "$option"; return 1; }
    done
    "$pyprof" convert -i "$golden/example.json" -o - -f raw --hide='*run*' >part.folded && ! grep -q run part.folded &&
        "$pyprof" convert -i "$golden/states.json" -o all.folded -q && "$pyprof" convert -i "$golden/states.json" -o part.folded -q --idle && ! cmp -s all.folded part.folded
}
compares() {
    "$pyprof" diff "$golden/example.json" "$golden/states.json" | grep -q '^A difference' &&
        says 0 'wrote change.svg' "$pyprof" diff "$golden/example.json" "$golden/states.json" -o change.svg -o change.txt --scale time && grep -q '</svg>' change.svg &&
        grep -q '^A difference' change.txt && says 1 'negative' "$pyprof" diff "$golden/example.json" "$golden/states.json" -o change.prof
}
merges() {
    "$pyprof" merge "$golden/example.json" "$golden/states.json" -o both.json -q && grep -q '"merged": 2' both.json &&
        true_of both.json 'len(d["processes"]) == 2' && "$pyprof" merge "$golden/example.json" "$golden/example.json" -o one.json --as-one -q &&
        [ "$(ask one.json 'd["stats"]["samples"]')" = $((2 * $(ask "$golden/example.json" 'd["stats"]["samples"]'))) ]
}
for suffix in json folded speedscope.json pb.gz prof callgrind; do try "convert: .$suffix" converts $suffix; done
try "convert: several files, -, --format" converts_several
try "flamegraph" flamegraphs
try "report: the text, a table" reports
coloured() { # on a terminal only: without the colours it is the same text
    # shellcheck disable=SC2016
    env "$1" TERM=xterm SHELL="$BASH" PYPROF="$pyprof" GOLDEN="$golden" script -qec '$PYPROF report $GOLDEN/example.json' /dev/null </dev/null >screen 2>&1
    tr -d '\r' <screen | sed "s/$(printf '\033')\[[0-9]*m//g" | cmp - "$golden/example.txt"
}
colours() {
    coloured A=1 && grep -q "$(printf '\033')\[1m\* fib" screen && coloured NO_COLOR=1 && ! grep -q "$(printf '\033')" screen
}
if command -v script >/dev/null; then try "report: colours on a terminal" colours; else skip "report: colours on a terminal" "no script"; fi
try "report --json" reports_json
try "convert: filters" filters
try "diff" compares
try "merge" merges

# ---- errors
wrong() { says 2 "$@"; }
fails() { says 1 "$@"; }
misuses() {
    wrong "'record'?" "$pyprof" recrod && wrong "unknown option" "$pyprof" --pid 5 && wrong '--rate?' "$pyprof" record --rat 5 && wrong '--duration?' "$pyprof" record --druation=5 x &&
        wrong 'belongs to pyprof dump' "$pyprof" record --locals x && wrong 'unknown option -z' "$pyprof" record -z x && wrong 'needs a value: HZ' "$pyprof" record --rate &&
        wrong 'needs a value: PID' "$pyprof" dump -p && wrong 'takes no value' "$pyprof" record --gil=1 x && wrong 'not a number above 0' "$pyprof" record -r -5 x &&
        wrong 'not a number above 0' "$pyprof" record -d 0 x && wrong 'not a number above 0, nor auto' "$pyprof" record -r automatic x && wrong 'not a number above 0' "$pyprof" record -r 1e x && wrong 'not the number of a process' "$pyprof" record -p me &&
        wrong "'speedscope'?" "$pyprof" record -f speedscop x && wrong "'gil-wait'?" "$pyprof" report x.json --sort gil_wai && wrong 'record what?' "$pyprof" record &&
        wrong 'not both' "$pyprof" record --pid 5 true && wrong 'no command after --' "$pyprof" record -- && wrong '--heap needs a command' "$pyprof" record --heap --pid 5 &&
        wrong 'cannot tell the format of x.unknown' "$pyprof" record -o x.unknown true && wrong 'recorded with --heap' "$pyprof" record -o x.massif true &&
        wrong 'which file?' "$pyprof" report && wrong 'too many files' "$pyprof" report a b && wrong 'write where?' "$pyprof" merge a b && wrong 'write what?' "$pyprof" convert -i a &&
        wrong 'which file?' "$pyprof" diff a && wrong 'for which shell?' "$pyprof" completion csh && wrong "no command 'x'" "$pyprof" help x
}
failures() {
    fails 'No such file' "$pyprof" report none.json && fails 'No such file' "$pyprof" convert -i none.json -o a.svg && fails 'expected' "$pyprof" report "$golden/example.speedscope.json" &&
        fails 'there is no folder nowhere' "$pyprof" record -o nowhere/a.svg -- touch began && [ ! -e began ] && fails 'Is a directory' "$pyprof" record -o . -f raw -- touch began && [ ! -e began ] &&
        fails 'there is no folder nowhere' "$pyprof" convert -i "$golden/example.json" -o nowhere/a.svg && fails '4194303' "$pyprof" record --pid 4194303 -o a.svg &&
        fails 'no CPython' "$pyprof" record --pid $$ -o a.svg && fails 'memory was not tracked' "$pyprof" convert -i "$golden/example.json" -o a.massif &&
        fails 'no Python was found' "$pyprof" record -o a.svg true && [ ! -e a.svg ]
}
hostile_words() { # of paths and options: no control characters reach the terminal, no directions of writing, nothing invisible
    local bad words
    bad=$(printf 'no\033]0;x\007\t\n\r\177\302\233\342\200\256\342\201\246\342\200\213\342\200\217\342\200\215\357\273\277\302\255\300\256\377.json')
    for words in 'report' 'record --' 'convert -o a.svg -i' 'top --input' 'dump --core' 'merge -o a.json' '' 'record --rate'; do
        # shellcheck disable=SC2086 # several words
        "$pyprof" $words "$bad" >out 2>&1 </dev/null && { echo "$words did not fail"; return 1; }
        grep -qF '\x1b]0;x\x07' out || { echo "$words: the name is not told"; cat -v out; return 1; }
        "$PYTHON" -c 'import sys, unicodedata
text = open(sys.argv[1], "rb").read().decode()
assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n" for c in text), repr(text)' out || return 1
    done
    grep -qF '\x1b]0;x\x07\x09\x0a\x0d\x7f\x9b\u202e\u2066\u200b\u200f\u200d\ufeff\xad\xc0\xae\xff.json' out || { cat -v out; return 1; }
}
no_command() {
    echo >not.executable
    says 127 'No such file' "$pyprof" record -o a.svg -- ./nothing && says 126 'Permission denied' "$pyprof" record -o a.svg -- ./not.executable && says 7 'no Python was found' "$pyprof" record -o a.svg sh -c 'exit 7' || return
    # Its memory is gone for some time before it can be waited for.
    command -v perl >/dev/null || return 0
    # shellcheck disable=SC2016 # a variable of perl
    says 7 'no Python was found' "$pyprof" record -o a.svg perl -e '$x = "a" x 3e8; exit 7'
}
refused() { # another user's process
    setpriv --reuid 65534 --clear-groups "$pyprof" record -o /dev/null -f raw -d 1 --pid "$pid" >out 2>&1
    [ $? = 1 ] && cat out && grep -q '^pyprof: .*\(ermission\|right\|CAP_\|not permitted\)' out
}
try "wrong command lines: status 2, and the nearest word" misuses
try "what cannot be done: status 1, and the reason" failures
try "hostile paths and words are shown as numbers" hostile_words
try "a command that cannot be started, or is not Python" no_command

# ---- recordings of a running program
sums() { # the JSON and the stacks of one recording say the same; spin ran, and the sleeper did not
    true_of F.json 'functions["spin"] > 0 and d["stats"]["samples"] > 20 and "sleeper" in threads and total["wait"] > 0.3' &&
        [ "$(awk '{ all += $NF } END { print all }' F.folded)" = "$(ask F.json 'sum(t["samples"] - t.get("idle_samples", 0) for t in d["threads"])')" ] &&
        grep -q 'spin' F.folded && grep -q '</svg>' F.svg && ! grep -q 'wait;' F.folded
}
by_pid() {
    start 60 && says 0 'wrote F.svg, F.json, F.folded' "$pyprof" record -o F.svg -o F.json -o F.folded --pid "$pid" --rate 100 --duration 0.7 && sums &&
        true_of F.json '0.5 < d["duration"] < 3' && kill -0 "$pid"
}
py_spy_formats() { # as typed for py-spy, also its short options
    "$pyprof" record -o flame -f flamegraph -d 0.3 -r 50 -p "$pid" -t -F -i -g -n --nonblocking --full-filenames --nolineno >out 2>&1 && grep -q '</svg>' flame &&
        says 0 'C functions that Python calls are shown by name' "$pyprof" record --native -o native.folded -d 0.3 --pid "$pid" && says 0 'not unwound' "$pyprof" dump --native --pid "$pid" &&
        "$pyprof" record -o raw.txt --format raw -i -d 0.3 --pid "$pid" -q && grep -q 'app.py\|app\.' raw.txt && grep -q 'wait' raw.txt &&
        "$pyprof" record -o s.json --format speedscope -d 0.3 --pid "$(printf '0x%x' "$pid")" && grep -q speedscope.app s.json &&
        "$pyprof" record -o c.json --format=chrometrace -d0.3 --pid="$pid" && "$PYTHON" -c 'import json; assert json.load(open("c.json"))["traceEvents"]'
}
with_children() { # the line of the users' guide
    start 4 CHILD=1 && "$pyprof" record -o F.json --pid "$pid" --subprocesses --threads --rate 100 --duration 1.5 >out 2>&1
    local status=$?
    cat out
    end
    unsupported || { [ $status = 0 ] && true_of F.json '"spin" in functions and "offspring" in functions and len(d["processes"]) == 2'; }
}
ended_by() { # SIGNAL: of a recording without an end
    rm -f x.json
    "$pyprof" record -o x.json --pid "$pid" >out 2>&1 &
    local recorder=$!
    sleep 0.7
    kill "-$1" $recorder
    wait $recorder && cat out && grep -q 'wrote x.json' out && true_of x.json 'd["stats"]["samples"] > 5' && kill -0 "$pid"
}
goes_on_without_terminal() { # nohup
    rm -f x.json
    nohup "$pyprof" record -o x.json --pid "$pid" -d 0.8 >out 2>&1 &
    local recorder=$!
    sleep 0.4
    kill -HUP $recorder
    wait $recorder && cat out && true_of x.json 'd["duration"] > 0.7'
}
default_name() {
    mkdir names && (cd names && "$pyprof" record --pid "$pid" -d 0.2 2>out && file=$(ls app-*.svg) && grep -qF "wrote $file" out && grep -q '</svg>' "$file" &&
        "$pyprof" record --pid "$pid" -d 0.2 -f raw 2>out && ls app-*.folded)
}
until_it_ends() { # the program's end is the recording's
    start 1 && says 0 'wrote e.json' timeout 20 "$pyprof" record -o e.json --pid "$pid" && true_of e.json 'functions["spin"] > 0'
}
to_pipe() {
    "$pyprof" record -o - -f raw -d 0.3 -i --pid "$pid" 2>/dev/null | grep -q wait && "$pyprof" record -o - -f json -o p.folded -d 0.3 --pid "$pid" 2>out | true
    cat out
    [ "${PIPESTATUS[0]}" = 0 ] && [ -e p.folded ]
}
early_signal() { # before there is any Python
    "$pyprof" record -o none.svg sleep 20 >out 2>&1 &
    local recorder=$!
    sleep 0.3
    kill $recorder
    wait $recorder
    [ $? = 143 ] && cat out && grep -q 'nothing was recorded' out && [ ! -e none.svg ]
}
closed_output() { # standard output that is closed gets no recording and no message
    "$pyprof" report "$golden/example.json" --sort wall >&- 2>out && "$pyprof" convert -i "$golden/example.json" -o closed.folded >&- 2>&- && cmp closed.folded "$golden/example.folded" &&
        ! "$pyprof" report "$golden/example.json" --sort wall >/dev/full 2>out && grep -q 'No space left' out
}
try "standard output: closed, full" closed_output
try "record COMMAND: a signal before there is Python" early_signal
watches() { # the lines that users type, of top and dump; tests/sh/top.sh and dump.sh have the rest
    says 0 sleeper "$pyprof" dump --pid "$pid" && grep -q 'app.py:' out && says 0 spin "$pyprof" top --input F.json && says 0 app "$pyprof" top --pid "$pid" --threads --rate 50 --count 1 --delay 0.3
}
try "record --pid: picture, JSON and stacks agree" by_pid
try "record: py-spy's formats and options" py_spy_formats
try "top --pid, top --input, dump --pid" watches
for signal in INT TERM HUP; do try "record --pid: SIG$signal ends it, and it is written" ended_by $signal; done
try "record: nohup" goes_on_without_terminal
try "record: a name when there is no -o" default_name
try "record -o -: into a pipe, also one that is closed" to_pipe
if command -v setpriv >/dev/null && [ "$(id -u)" = 0 ]; then try "record: another user is refused" refused; else skip "record: another user is refused" "not root"; fi
end
try "record: the program ends" until_it_ends
try "record --pid --subprocesses --threads --rate 100 --duration" with_children
unsupported && skip "record --subprocesses" "$(grep -o 'following.*' out)"

# ---- recordings of commands
from_start() { # the interpreter's own start is in it, the status is passed on
    says 3 'wrote F.json' "$pyprof" record -r 500 -o F.json -- "$python" app.py 1 3 && true_of F.json 'functions["spin"] > 0 and d["functions"]["app.<module>"]["time"] > 0.3' &&
        grep -q 'importlib' F.json && says 0 'wrote G.svg' "$pyprof" record -o G.svg "$python" app.py 0.3
}
by_signal() { says $((128 + 9)) 'wrote F.json' "$pyprof" record -o F.json "$python" app.py 0.5 -9 && true_of F.json 'd["stats"]["samples"] > 5'; }
goes_on() { # after --duration the files are written, and the command ends when it does
    rm -f F.json
    "$pyprof" record -o F.json -d 0.4 "$python" app.py 2 5 >out 2>&1 &
    local recorder=$! status
    await test -e F.json && kill -0 $recorder && true_of F.json 'd["duration"] < 1.5' || return 1
    wait $recorder
    status=$?
    cat out
    [ $status = 5 ]
}
passed_on() { # SIGTERM to pyprof reaches the command
    rm -f begun F.json
    "$pyprof" record -o F.json "$python" app.py 30 0 begun >out 2>&1 &
    local recorder=$! status
    await test -e begun && sleep 0.4 && kill $recorder
    wait $recorder
    status=$?
    cat out
    [ $status = $((128 + 15)) ] && true_of F.json 'd["stats"]["samples"] > 5'
}
memory() {
    says 4 'wrote F.json' "$pyprof" record --heap=exact -o F.json -o F.svg --threads "$python" app.py 0.4 4 && true_of F.json '"alloc_bytes" in d["functions"]["app.<module>"] and d["stats"]["samples"] > 10' &&
        "$pyprof" report F.json --sort live --group line --rows 3 >table && cat table && awk '/app.py:12/ { found = $1 } END { exit !(found > 1e7 && found < 1.3e7) }' table &&
        "$pyprof" convert -i F.json -o F.massif -q && [ -s F.massif ] && says 0 'wrote H.dhat.json' "$pyprof" record --heap -o H.dhat.json "$python" app.py 0.2
}
memory_duration() { # the recording ends before the command
    says 0 'wrote M.json' "$pyprof" record --heap -d 0.5 -o M.json "$python" app.py 2 && true_of M.json 'd["duration"] < 1.8 and d["timeline_s"] > 1e8'
}
on_terminal() { # SECONDS VARIABLE=VALUE OPTION...: what a terminal shows
    # shellcheck disable=SC2016
    env "$2" TERM=xterm SHELL="$BASH" PY="$python" PYPROF="$pyprof" SECONDS_="$1" OPTIONS="${*:3}" script -qec 'stty cols 100; $PYPROF record $OPTIONS -o T.json "$PY" app.py $SECONDS_ 6' /dev/null </dev/null >screen 2>&1
    [ $? = 6 ] && tr '\r' '\n' <screen | cat -v
}
progress() {
    on_terminal 3 A=1 >text && grep -q 's, [0-9]* samples, [0-9]* lost, [0-9]* % in spin of app.py' text && grep -qF '^[[2m' text && grep -q 'wrote T.json' text
}
no_color() { on_terminal 1 NO_COLOR=1 >text && grep -q 'samples' text && ! grep -qF '^[[2m' text; }
quiet() { on_terminal 1 A=1 -q >text && ! grep -q . text; }
ctrl_c() { # on a terminal it reaches both, and the shell between, which must outlive it: bash does, dash does not
    rm -f C.json
    # shellcheck disable=SC2016
    (sleep 1.5; printf '\003'; sleep 1) | SHELL="$BASH" PY="$python" PYPROF="$pyprof" script -qec '$PYPROF record -o C.json "$PY" app.py 20; echo status $?' /dev/null >screen 2>&1
    cat screen
    grep -q 'status 130' screen && grep -q KeyboardInterrupt screen && true_of C.json 'd["stats"]["samples"] > 5'
}
try "record COMMAND: from its start, its status" from_start
try "record COMMAND: one that a signal ends" by_signal
try "record COMMAND: --duration ends the recording only" goes_on
try "record COMMAND: SIGTERM is passed on" passed_on
try "record --heap=exact: the line that allocates" memory
try "record --heap --duration" memory_duration
if command -v script >/dev/null; then
    try "progress on a terminal" progress
    try "progress: NO_COLOR" no_color
    try "progress: --quiet" quiet
    try "Ctrl-C on a terminal" ctrl_c
else skip "progress on a terminal" "no script"; fi
cd "$root" || exit
finish
