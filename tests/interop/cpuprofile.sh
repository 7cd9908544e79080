#!/bin/bash
# .cpuprofile: Chromium's own developer tools, the speedscope app, the Firefox Profiler; all of them show the same total.
#
#   tests/interop/cpuprofile.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools
. tests/interop/fox

cp tests/devtools.mjs tests/speedscope.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules"
total() { # as DevTools shows it: (1,234.50 ms); it divides binary fractions, so half a hundredth falls to either side
    python3 -c 'import json, sys
profile = json.load(open(sys.argv[1]))
assert sum(profile["timeDeltas"]) == profile["endTime"] - profile["startTime"]
low, rest = divmod(sum(profile["timeDeltas"]), 10)
print("|".join("Full range ({:,}.{:02} ms)".format(*divmod(low + up, 100)) for up in (0, 1) if rest == 5 or up == (rest > 5)))' "$1"
}
devtools() { # a recording without time has no range
    local sum
    sum=$(total "$1") && timeout 60 node "$dir/devtools.mjs" "$1" timeline @Bottom-up main "$sum"
}
speedscope() { timeout 60 node "$dir/speedscope.mjs" "$node/node_modules/speedscope/dist/release/index.html" "$1" chrome; }
no_app=$no_browser
[ -d "$node/node_modules/speedscope" ] || no_app=${no_app:-no speedscope: make interop installs it}
unless "$no_browser" .cpuprofile "in Chromium's developer tools" devtools
unless "$no_app" .cpuprofile "in speedscope" speedscope
unless "$no_firefox" .cpuprofile "in the Firefox Profiler" firefox MainThread
finish
