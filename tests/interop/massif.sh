#!/bin/bash
# massif: ms_print draws the graph and prints the trees.
#
#   tests/interop/massif.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

printed() {
    ms_print "$1" >"$dir/printed" 2>"$dir/warned" || return
    head -n 60 "$dir/printed"
    cat "$dir/warned"
    [ ! -s "$dir/warned" ] && grep -q '^Number of snapshots: [1-9]' "$dir/printed" && grep -q '(peak)' "$dir/printed" &&
        [ "$(grep -c '^100.00% .* (heap allocation functions)' "$dir/printed")" = 2 ]
}
unless "$(has ms_print || echo no ms_print: apt-get install valgrind)" .massif ms_print printed
finish
