#!/bin/bash
# .firefox.json: the core of the Firefox Profiler, from a terminal: threads, functions, counters, allocations.
#
#   tests/interop/firefox.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools
. tests/interop/fox

counters() {
    if [ "$(jq '.counters | length' "$1")" = 0 ]; then firefox "No counters" "$1"; else firefox "Memory" "Process CPU" "$1"; fi
}
allocations() { # with memory tracked: what lives, as the Profiler adds it up, thread by thread
    local thread bytes whole=yes
    grep -q nativeAllocations "$1" || { echo "no memory"; return; }
    load "$1" || return
    python3 -c 'import json, sys
for number, thread in enumerate(json.load(open(sys.argv[1]))["threads"]):
    print("t-%d" % number, sum(thread.get("nativeAllocations", {}).get("weight", [])))' "$1" >"$dir/live"
    cat "$dir/live"
    while read -r thread bytes; do
        [ "$bytes" -gt 0 ] || continue
        { cli thread select "$thread" && cli strategy native-retained-allocations && cli thread functions --limit 0; } >"$dir/functions" 2>&1 </dev/null
        if ! grep -q 'self: .*B (' "$dir/functions"; then cat "$dir/functions"; whole=no; fi
    done <"$dir/live"
    cli stop --all
    [ $whole = yes ]
}
unless "$no_firefox" .firefox.json "its threads" firefox MainThread
unless "$no_firefox" .firefox.json "its counters" counters
unless "$no_firefox" .firefox.json "its allocations" allocations
finish
