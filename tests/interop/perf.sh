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
firefox() { # its importer, through the profiler's command line tool: all samples, in their threads
    local tool=$node/node_modules/.bin/profiler-cli
    HOME=$dir timeout 100 "$tool" load "$1" --session-dir "$dir" >"$dir/loaded" 2>&1
    cat "$dir/loaded"
}

unless "$(has gprof2dot || echo no gprof2dot: make interop installs it)" .linux-perf.txt gprof2dot dot
unless "$no_browser" .linux-perf.txt "speedscope" app
finish
