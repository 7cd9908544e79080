#!/bin/bash
# Files of ours opened by the programs they are for: the golden ones, and those of a real run if there is BUILD_DIR/host.
#
#   tests/sh/consumers.sh BUILD_DIR      CHROMIUM: which; node packages are installed into build/node
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

has() { command -v "$1" >/dev/null; }
node=$root/build/node
index=$node/node_modules/speedscope/dist/release/index.html
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
export CHROMIUM PPROF_TMPDIR=$dir

packages() { # two tests at once wait for each other
    mkdir -p "$node"
    exec 9>"$node/lock"
    flock 9
    [ -e "$index" ] && [ -e "$node/node_modules/playwright-core" ] && return
    timeout 300 npm install --ignore-scripts --no-audit --no-fund --prefix "$node" speedscope playwright-core </dev/null
}
no_browser=''
if ! has node || ! has npm; then no_browser="no node and npm"
elif [ -z "$CHROMIUM" ]; then no_browser="no Chromium"
elif ! packages >"$dir/npm" 2>&1; then no_browser="npm install failed: $(tail -n 1 "$dir/npm")"
else cp tests/svg.mjs tests/speedscope.mjs "$node"; fi

real_files() {
    PROFILING=1 PYPROF_FORMATS=svg,folded,speedscope.json,pb.gz PYPROF_OUT=$dir/real \
        "$build/host" examples/dedup.py --seconds 2 && ls -l "$dir"/real_profile.*
}
speedscope() { timeout 60 node "$node/speedscope.mjs" "$index" "$@"; }
svg() { timeout 120 node "$node/svg.mjs" "$1"; }
pprof() { # FILE: it is valid, the time adds up, the names are whole
    go tool pprof -raw "$1" >"$dir/raw" && go tool pprof -top -unit=ns -nodefraction=0 "$1" >"$dir/top" && go tool pprof -tags "$1" >"$dir/tags" || return
    head -n 12 "$dir/top"
    awk '/^Samples:/ { on = 1; next } /^Locations/ { on = 0 } on && $2 ~ /^[0-9]+$/ { sum += $2 } END { printf "%.0f\n", sum }' "$dir/raw" >"$dir/sum"
    grep -q "of $(cat "$dir/sum")ns total" "$dir/top" && grep -q MainThread "$dir/tags" && grep -q '<module>$' "$dir/top"
}

opened() { # NAME PREFIX SPEEDSCOPE_TEXT...: the files PREFIX.svg, .folded, .speedscope.json, .pb.gz
    local name=$1 prefix=$2
    shift 2
    if [ -n "$no_browser" ]; then skip "$name: speedscope and SVG in a browser" "$no_browser"; else
        try "$name: .speedscope.json in speedscope" speedscope "$prefix.speedscope.json" "speedscope json" "$@"
        try "$name: .folded in speedscope" speedscope "$prefix.folded" "collapsed stack"
        try "$name: .pb.gz in speedscope" speedscope "$prefix.pb.gz" "pprof"
        try "$name: .svg in Chromium" svg "$prefix.svg"
    fi
    if has xmllint; then try "$name: .svg is XML" xmllint --noout "$prefix.svg"; else skip "$name: .svg is XML" "no xmllint"; fi
    if has go; then try "$name: go tool pprof" pprof "$prefix.pb.gz"; else skip "$name: go tool pprof" "no go"; fi
}

opened "golden files" tests/golden/example MainThread
if [ ! -x "$build/host" ]; then skip "a real run" "no $build/host"
elif try "a real run" real_files; then opened "a real run" "$dir/real_profile" MainThread; fi
finish
