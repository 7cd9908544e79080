#!/bin/bash
# callgrind: callgrind_annotate, gprof2dot and speedscope read the same total.
#
#   tests/interop/callgrind.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools

annotate() { # its own sum of all lines is the summary; nothing is malformed; no function has more than everything
    # not with --threshold=100: then it also annotates files that only pass time on, and warns of its own missing lines
    callgrind_annotate "$1" >"$dir/self" 2>"$dir/warned" && callgrind_annotate --inclusive=yes --tree=both "$1" >"$dir/tree" 2>>"$dir/warned" || return
    head -n 40 "$dir/tree"
    cat "$dir/warned"
    [ ! -s "$dir/warned" ] && grep -q '(100.0%).*PROGRAM TOTALS' "$dir/tree" || return
    [[ $1 == */real.* ]] && return # imports call imports: each way into a circle counts, as with callgrind's own files
    ! grep -E '\(([2-9]|1[0-9])[0-9]{2}\.[0-9]*%\)|\(10[1-9]\.' "$dir/tree"
}
dot() { gprof2dot -n 0 -e 0 -f callgrind "$1" >"$dir/dot" && cat "$dir/dot" && grep -q -- '->' "$dir/dot" && ! grep -E '[^0-9.]([2-9]|1[0-9])[0-9]{2}\.[0-9]+%' "$dir/dot"; }
release=$node/node_modules/speedscope/dist/release
[ -e "$release/index.html" ] || no_browser=${no_browser:-no speedscope: make interop installs it}
app() { # speedscope knows the format by the name callgrind.NAME
    cp "$1" "$dir/callgrind.file" && cp tests/speedscope.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules" &&
        timeout 60 node "$dir/speedscope.mjs" "$release/index.html" "$dir/callgrind.file" callgrind Wall_us
}

unless "$(has callgrind_annotate || echo no callgrind_annotate: apt-get install valgrind)" .callgrind callgrind_annotate annotate
unless "$(has gprof2dot || echo no gprof2dot: make interop installs it)" .callgrind gprof2dot dot
unless "$no_browser" .callgrind "speedscope" app
finish
