#!/bin/bash
# pyprof top in a terminal of tmux, whose screen is read back; and without a terminal.
#
#   tests/sh/top.sh BUILD_DIR
# shellcheck disable=SC1091,SC2154 # report sets dir and the like
. tests/sh/report

tool=$(cd "$build" && pwd)/pyprof golden=$root/tests/golden
# shellcheck disable=SC2153 # PYTHON is set by report
python=$("$PYTHON" -c 'import sys; print(sys.executable)')
[ -x "$tool" ] || { skip "pyprof top" "no $tool"; finish; }
mux() { tmux -S "$dir/mux" -f /dev/null -u "$@" 2>"$dir/tmux-said"; }
target='' # the process that is watched
cleanup() { # a subshell that a signal ends right after its fork calls this, too
    [ "$BASHPID" = $$ ] || return
    [ -z "$target" ] || kill "$target" 2>/dev/null
    mux kill-server
    rm -rf "$dir"
}
trap cleanup EXIT

in_tmux=''
down=$(printf '\342\226\274') # of the column that sorts
wait_for() { # COMMAND...: until it succeeds
    local tries=0
    until "$@" >"$dir/waited" 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { echo "waited for: $*"; cat "$dir/waited"; [ -z "$in_tmux" ] || screen; return 1; }
        sleep 0.03
    done
    return 0
}

# ---- without a terminal ------------------------------------------------------------
plain() { env TERM=xterm LC_ALL=C.UTF-8 "$tool" top "$@" </dev/null; }
has() { # FILE WORD...: the file has all of these
    local file=$1 word
    shift
    for word; do grep -qF -e "$word" "$file" || { echo "no '$word' in:"; cat "$file"; return 1; }; done
}
saved() {
    plain --input "$golden/states.json" >"$dir/out" &&
        has "$dir/out" 'pid 4242' 'samples 50 at 100 Hz' 'resident 42.0M' 'CPU 90.0%' 'GIL 84.0%' '0.31s     0.31s  72.0%  64.0%  44.0%' 'load (app.py:4)'
}
sorted() { # what comes first by: self, total, waiting, live memory
    [[ $(plain -q --input "$golden/states.json" | sed -n 2p) = *' load (app.py:4)' ]] &&
        [[ $(plain -q --input "$golden/states.json" --total | sed -n 2p) = *' main (app.py:9)' ]] &&
        [[ $(plain -q --input "$golden/states.json" --group leaf | sed -n 2p) = *'[poll 3 fds]' ]] &&
        [[ $(plain -q --input "$golden/states.json" --threads --sort wait | sed -n 2p) = *'poller  [poll 3 fds] select (/lib/selectors.py:415)' ]] &&
        [[ $(plain -q --input "$golden/memory.json" --sort live | sed -n 2p) = *'6.0M '*' App.load (/srv/app/main.py:10)' ]]
}
merged() { # recordings of one pid, with threads of the same numbers
    "$tool" merge -q "$golden/states.json" "$golden/example.json" -o "$dir/merged.json" && plain --threads --input "$dir/merged.json" >"$dir/out" && has "$dir/out" 'threads 6 in 2 processes' &&
        ! grep -q 'pid 0' "$dir/out" && [ "$(grep -c MainThread "$dir/out")" = 2 ]
}
numbers() { # processes and threads of numbers that a hash by exclusive-or takes for the same
    local i files=() tids=(100 103 102 97)
    for i in 0 1 2 3; do
        sed "s/\"pid\": 4242/\"pid\": 424$i/; s/\"thread_id\": 100\b/\"thread_id\": ${tids[i]}/" "$golden/states.json" >"$dir/of$i.json"
        files+=("$dir/of$i.json")
    done
    "$tool" merge -q "${files[@]}" -o "$dir/merged.json" && plain --threads --input "$dir/merged.json" >"$dir/out" && has "$dir/out" 'threads 12 in 4 processes' &&
        [ "$(grep -c MainThread "$dir/out")" = 4 ]
}
hostile() { # no control characters, no directions of writing
    plain --input "$golden/memory.json" >"$dir/out" && plain --threads --input "$golden/memory.json" >>"$dir/out" &&
        has "$dir/out" '\x0a' '\u202e' '\x7f' "$(printf '\360\237\220\215')" &&
        "$PYTHON" -c 'import sys, unicodedata
text = open(sys.argv[1], encoding="utf-8").read()
sys.exit(repr(text) if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n" for c in text) else 0)' "$dir/out"
}
ascii() { env TERM=xterm LC_ALL=C "$tool" top --input "$golden/memory.json" </dev/null | LC_ALL=C grep -q '[^ -~]' && return 1; true; }
wrong() {
    ! plain --input "$dir/none.json" 2>"$dir/out" && has "$dir/out" 'none.json' &&
        ! plain --pid 999999999 2>"$dir/out" && has "$dir/out" '999999999' && ! plain 2>"$dir/out" && has "$dir/out" '--pid'
}
try "a recording as a table" saved
try "tables are sorted" sorted
try "a recording of several processes" merged
try "threads of several processes, however alike their numbers" numbers
try "hostile names are shown as numbers" hostile
try "without UTF-8 all is ASCII" ascii
try "what cannot be shown" wrong

cat >"$dir/app.py" <<'END'
import sys, threading, time
def spin():
    while True: sum(range(20000)); time.sleep(0.002)
def \u8a08\u7b97\u3059\u308b\u95a2\u6570():
    while True: time.sleep(0.02)
threading.Thread(target=spin, daemon=True, name="\u7dda-\U0001f40d").start()
threading.Thread(target=\u8a08\u7b97\u3059\u308b\u95a2\u6570, daemon=True, name="slee\u0301py").start()
print("begun", flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(7)
END
"$PYTHON" - "$dir/app.py" <<'END'
import re, sys
text = open(sys.argv[1]).read()
text = re.sub(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})", lambda m: chr(int(m.group(1) or m.group(2), 16)), text)
open(sys.argv[1], "w", encoding="utf-8").write(text)
END
begin() { # a program to watch
    "$python" "$dir/app.py" 300 >"$dir/begun" 2>&1 &
    target=$!
    while [ ! -s "$dir/begun" ] && kill -0 "$target"; do sleep 0.02; done
}
end() { kill "$target"; wait "$target" 2>/dev/null; target=''; }
tables() { # one each interval, until the function is seen; Ctrl-C ends it
    local status
    plain --pid "$target" --delay 0.3 --count 2 >"$dir/out" && [ "$(grep -c '^pyprof top' "$dir/out")" = 2 ] || return
    rm "$dir/out" # what is in it is of the next one
    (exec env TERM=xterm LC_ALL=C.UTF-8 "$tool" top --pid "$target" --delay 0.1 --duration 20 </dev/null >"$dir/out") &
    wait_for has "$dir/out" 'spin ('"$dir/app.py:2)"
    status=$?
    kill -INT $! && wait $! && return $status
}
of_status() { # with the status of the command
    plain --delay 0.3 -- "$python" "$dir/app.py" 0.7 >"$dir/out"
    [ $? = 7 ] && has "$dir/out" begun 'pyprof top  app' 'ended with status 7' || return
    plain --delay 0.1 --count 1 -- "$python" "$dir/app.py" 0.3 >"$dir/out" # it goes on after the table
    [ $? = 7 ] && has "$dir/out" begun 'pyprof top  app'
}
begin
said=$(plain --pid "$target" --count 1 --delay 0.1 2>&1) || case $said in
*'not permitted'* | *'not supported'*) skip "live" "$said"; finish ;;
esac
try "live, a table each interval" tables
try "a command, and its status" of_status

# ---- in a terminal ---------------------------------------------------------------------
if ! type -P tmux >/dev/null; then
    skip "in a terminal" "tmux is not installed"
    finish
fi
screen() { mux capture-pane -p; }
seen() { # WORD...: all of them are on the screen; !WORD: is not
    local word now
    now=$(screen)
    for word; do
        case $word in
        !*) [[ $now != *"${word#!}"* ]] || return 1 ;;
        *) [[ $now = *"$word"* ]] || return 1 ;;
        esac
    done
}
sees() { wait_for seen "$@"; }
row() { # N TEXT: the Nth line of the screen has the text
    [[ $(screen | sed -n "$1p") = *"$2"* ]]
}
first() { wait_for row 6 "$1"; } # the first row of the table
keys() { mux send-keys "$@"; }
is_size() { [ "$(stty -F "$(mux display-message -p '#{pane_tty}')" size)" = "$2 $1" ]; }
size() { mux resize-window -x "$1" -y "$2" && wait_for is_size "$1" "$2"; } # tmux tells the program a little later
start() { # ARGUMENT...: top in the terminal; of a test that failed it may be there still
    if [ -s "$dir/pid" ] && kill "$(cat "$dir/pid")" 2>"$dir/tmux-said"; then size 80 24 && sees ready; fi
    rm -f "$dir"/{pid,status,after}
    keys "clear; stty -a >before; sh -c 'echo \$\$ >pid; exec \"\$0\" \"\$@\"' $tool top $*; echo \$? >status; stty -a >after" Enter
    wait_for test -s "$dir/pid"
}
gone() { # STATUS: it ended so, and left the terminal as it was
    wait_for test -s "$dir/after" && [ "$(cat "$dir/status")" = "$1" ] && cmp "$dir/before" "$dir/after" && restored
}
restored() { wait_for of_screen '0 1 1'; }
of_screen() { [ "$(mux display-message -p '#{alternate_on} #{cursor_flag} #{wrap_flag}')" = "$1" ]; }

opens() {
    in_tmux=yes
    mux new-session -d -x 80 -y 24 "cd '$dir' && exec env LC_ALL=C.UTF-8 PS1='ready ' bash --norc" && sees 'ready' &&
        start --input "$golden/states.json" && sees 'host  pid 4242  Python 3.12.1' 'samples 50 at 100 Hz  lost 0.0%' 'CPU  90.0%' '[1 functions]' 'load (app.py:4)' &&
        of_screen '1 0 0'
}
views() {
    keys 2 && sees '[2 lines]' 'load (app.py:6)' && keys t && sees '[3 threads]' 'poller' 'idle' && keys 4 && sees '[4 processes]' '  4242  host' &&
        keys w && sees '[5 waits]' '[poll 3 fds]' && keys m && sees '[6 memory]' 'no memory by place' && keys Tab && sees '[1 functions]'
}
sorts() {
    first 'load (app.py' && keys T && sees "$down%Total" && first 'main (app.py:9)' && keys T && sees "${down}TotalTime" && keys '>' && sees "$down%CPU" && first 'load (' &&
        keys R && sees '^%CPU' && first '<GC>' && keys R G && sees "$down%GIL" && keys W && sees "$down%Wait" && keys '<' && sees "$down%GIL" && keys C && sees "$down%CPU" &&
        keys S S && sees "${down}OwnTime" && keys S && sees "$down%Own" && keys i && sees '(idle too)' && sees 'select (' && keys i && sees '!select ('
}
filters() {
    keys / lo && sees 'filter: lo' '!main (app' && keys x && sees 'filter: lox' '!load (' && keys BSpace Enter && sees 'filter: lo' 'load (' &&
        keys / C-u '^ma|gc>$' && sees 'main (app' '<GC>' '!load (' && keys Enter Escape && sees 'load (' '!filter:'
}
helps() { keys '?' && sees 'next view' 'begin anew' '!load (' && keys '?' && sees 'load (' '!next view'; }
focuses() {
    keys t && sees '[3 threads]' && keys Down Enter && sees '[1 functions]' 'thread: worker' 'load (app' '!<GC>' && keys Escape && sees '[3 threads]' '!thread: ' &&
        keys p && sees '[4 processes]' && keys Enter && sees '[3 threads]' 'process: host' && keys Escape && sees '[4 processes]' '!process: ' && keys f && sees '[1 functions]'
}
resizes() {
    size 40 10 && sees "$down%Own" 'load (app.py:4)' '? help' '!tab view' && size 200 50 && sees '%GILwait' 'tab view' && size 20 4 && sees 'load' '? help' &&
        size 1 1 && size 80 24 && sees '[1 functions] 2 lines' 'tab view'
}
quits() { keys q && gone 0 && sees 'ready' '!load (app.py'; }
many() { # more rows than lines: the cursor moves, the table with it
    start --input "$golden/example.json" --idle && first 'Event.wait' && size 80 10 && keys End && sees '<module>' && keys Home && first 'Event.wait' &&
        keys NPage && sees '!Event.wait' && keys PPage && first 'Event.wait' && size 80 24 && sees '<module>' && keys q && gone 0
}
raw() { # what reaches the terminal: sequences of ours, no other control characters, and with NO_COLOR no colours
    mux pipe-pane "cat >'$dir/raw'" && start --input "$golden/memory.json" && sees '[1 functions]' && size 200 24 && sees '\u202e' && keys t &&
        sees '[3 threads]' '\x0a' && size 80 24 && sees '!%GILwait' && keys q && gone 0 && mux pipe-pane && "$PYTHON" - "$dir/raw" <<'END'
import re, sys
raw = open(sys.argv[1], encoding="utf-8").read()
raw = raw[raw.index("\x1b[?1049h"):raw.rindex("\x1b[?1049l")]
rest = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw)
bad = [c for c in rest if c < " " or "\x7f" <= c < "\xa0" or c in "\u202e\u2028\ufeff"]
sys.exit(repr(bad) if bad or "\x1b[0;31m" not in raw else 0)
END
}
colours() {
    keys "export NO_COLOR=1" Enter && mux pipe-pane "cat >'$dir/raw'" && start --input "$golden/states.json" && sees 'load (app' && keys q && gone 0 && mux pipe-pane &&
        ! grep -q '\[0;3[0-9]m' "$dir/raw" && keys "unset NO_COLOR" Enter && keys "clear; TERM=dumb $tool top --input '$golden/states.json'; echo over" Enter &&
        sees 'load (app.py:4)' 'over' 'ready' && restored
}
ended_by() { # SIGNAL STATUS
    start --input "$golden/states.json" && sees 'load (app' && kill "-$1" "$(cat "$dir/pid")" && gone "$2" && sees ready
}
suspends() {
    keys "clear; stty -a >before; $tool top --input '$golden/states.json'" Enter && sees 'load (app' && keys C-z && sees Stopped ready '!load (app' && restored &&
        rm -f "$dir/after" && keys "clear; stty -a >after" Enter && wait_for test -s "$dir/after" && cmp "$dir/before" "$dir/after" &&
        keys "fg; echo \$? >status; stty -a >after" Enter && sees 'load (app' '[1 functions]' && keys t && sees '[3 threads]' && rm -f "$dir/after" && keys q && gone 0
}
live() {
    start --pid "$target" --delay 0.3 && sees 'app  pid ' 'every 0.3s' 'spin (app.py:2)' && row 1 "pid $target" && keys t &&
        sees '[3 threads]' 'MainThread' "$(printf '\347\267\232-\360\237\220\215')" "$(printf 'slee\314\201py')"
}
wide() { # the name is cut at a whole character, and the line ends where the screen does
    keys i f && size 40 24 && sees "$(printf '\350\250\210\347\256\227')" && size 80 24 && sees "$(printf '\350\250\210\347\256\227\343\201\231\343\202\213\351\226\242\346\225\260 (app.py:4)')"
}
pauses() {
    local before
    keys Space && sees PAUSED 'space goes on' && before=$(screen) && keys r && sees 'began anew' && keys Space && sees '!PAUSED' &&
        keys + && sees 'every 0.2s' && keys - - && sees 'every 1s' && keys "]" && sees 'the last 2 s' && [ "$before" != "$(screen)" ]
}
target_ends() { sees 'spin (app.py:2)' && end && sees 'ended. q quits' ENDED 'spin (app.py:2)' && keys T && sees "$down%Total" && keys q && gone 0; }
of_command() { # its output comes after the table
    start -- "$python" "$dir/app.py" 1 && sees 'spin (app.py:2)' '!begun' && sees 'ended with status 7' && keys q && gone 7 && sees begun
}
left_command() { # it ends with the table, and so do its children
    local child
    start --delay 0.2 -- sh -c "'$python $dir/app.py 300 & echo \$! >child; exec $python $dir/app.py 300'" && sees 'spin (app.py:2)' && child=$(cat "$dir/child") &&
        kill -0 "$child" && keys C-c && gone 0 && sees begun && wait_for eval "! kill -0 $child"
}
family() { # a command whose child works: both are rows of the table of processes, and one of them can be looked at
    cat >"$dir/family.py" <<'END'
import os, time
def in_child():
    while True: sum(range(20000)); time.sleep(0.002)
if os.fork(): os.wait()
else: in_child()
END
    start --subprocesses --delay 0.3 -- "$python" "$dir/family.py" && sees 'in 2 processes' 'in_child (family.py:2)' && keys p && sees '[4 processes]' 'family (' &&
        keys Enter && sees '[3 threads]' 'process: family (' && keys Escape && sees '!process: ' && keys f && sees '[1 functions]' &&
        keys q && gone 0
}
try "opens" opens || { skip "in a terminal" "tmux shows nothing: $(cat "$dir/tmux-said")"; finish; }
try "views" views
try "orders" sorts
try "filter" filters
try "help" helps
try "one thread, one process" focuses
try "sizes" resizes
try "q leaves the terminal as it was" quits
try "more rows than lines" many
try "only sequences of ours reach the terminal" raw
try "NO_COLOR, TERM=dumb" colours
for signal in TERM/143 HUP/129 QUIT/131 SEGV/139 INT/0; do try "the terminal after SIG${signal%/*}" ended_by "${signal%/*}" "${signal#*/}"; done
try "suspended and resumed" suspends
try "live" live
try "wide characters" wide
try "pause, reset, delay" pauses
try "the program ends" target_ends
try "a command in a terminal" of_command
try "a command ends with top" left_command
try "processes" family
finish
