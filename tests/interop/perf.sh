#!/bin/bash
# perf script text: gprof2dot, speedscope and the Firefox Profiler count as many samples, and as much time, as there are.
#
#   tests/interop/perf.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools

release=$node/node_modules/speedscope/dist/release
[ -e "$release/index.html" ] || no_browser=${no_browser:-no speedscope: make interop installs it}
app() {
    cp tests/speedscope.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules" &&
        timeout 60 node "$dir/speedscope.mjs" "$release/index.html" "$1" "linux perf script" "tid: "
}
dot() { # every event has a stack; the module of a function is its file
    gprof2dot -n 0 -e 0 -f perf "$1" >"$dir/dot" && python3 - "$1" "$dir/dot" <<'END'
import re, sys
text = open(sys.argv[1], encoding='utf-8').read()
events = text.count('\n\n')
heads = re.findall(r'^\S+ \d+/\d+ \d+\.\d{6}: \d+ \w+: $', text, re.M)
assert events == len(heads) > 0, (events, len(heads))
functions = set(re.findall(r'^\t *[0-9a-f]+ (.*) \((\S*)\)$', text, re.M))
assert len(functions) == len(re.findall(r'^\t"(?:[^"\\]|\\.)*" \[', open(sys.argv[2], encoding='utf-8').read(), re.M)), len(functions)
END
}
firefox() { # its importer, through profiler-cli: the thread with most samples has all of them
    local tool=$node/node_modules/.bin/profiler-cli i found=1
    export PROFILER_CLI_SESSION_DIR=$dir/session HOME=$dir
    timeout 60 "$tool" load "$1"
    for i in 1 2 3 4 5 6 7 8 9 10; do timeout 20 "$tool" profile info >"$dir/info" 2>&1 && break; sleep 1; done
    cat "$dir/info"
    for ((i = 0; i < 40; i++)); do
        timeout 20 "$tool" thread select "t-$i" || break
        timeout 20 "$tool" thread samples --include-idle >"$dir/samples" 2>&1 || break
        grep -o 'Categories ([0-9]*' "$dir/samples"
    done | tee "$dir/counts"
    timeout 20 "$tool" stop
    [ "$(grep -o '[0-9]*$' "$dir/counts" | awk '{ n += $1 } END { print n + 0 }')" = "$(grep -c '^[^\t].*: $' "$1")" ] && found=0
    return $found
}

unless "$(has gprof2dot || echo no gprof2dot: make interop installs it)" .linux-perf.txt gprof2dot dot
unless "$no_browser" .linux-perf.txt "speedscope" app
no_firefox=$(has node || echo no node)
[ -e "$node/node_modules/.bin/profiler-cli" ] || no_firefox="no profiler-cli: make interop installs it"
unless "$no_firefox" .linux-perf.txt "the Firefox Profiler" firefox
finish
