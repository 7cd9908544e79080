#!/bin/bash
# examples/06_recordings.c on recordings that were saved: each format is what it was when the recording was young.
#
#   tests/sh/recordings.sh BUILD_DIR      compiled here: no other test needs it
# shellcheck disable=SC1091,SC2154 # report sets dir
. tests/sh/report

tool=$dir/recordings golden=tests/golden
says() { # STATUS WORD COMMAND...: ends with STATUS, and what it prints has WORD
    local status=$1 word=$2 got
    shift 2
    "$@" >"$dir/out" 2>&1
    got=$?
    cat "$dir/out"
    [ "$got" = "$status" ] && grep -qF -e "$word" "$dir/out"
}
converts() { # SUFFIX: the golden file of that format again
    "$tool" convert $golden/example.json "$dir/example.$1" && cmp "$dir/example.$1" "$golden/example.$1"
}
compares() {
    "$tool" compare $golden/example.json $golden/states.json "$dir/change.txt" && grep -q '^A difference' "$dir/change.txt" &&
        "$tool" compare $golden/example.json $golden/states.json "$dir/change.svg" && grep -q '</svg>' "$dir/change.svg"
}
merges() {
    "$tool" merge "$dir/both.json" $golden/example.json $golden/states.json && grep -q '"merged": 2' "$dir/both.json" &&
        says 0 running "$tool" top "$dir/both.json"
}
try "it builds" "$CC" -O0 -Wall -Wextra -Werror -pthread examples/06_recordings.c -o "$tool" -ldl || finish
for suffix in json folded speedscope.json pb.gz prof callgrind; do try "convert: .$suffix" converts $suffix; done
try "compare" compares
try "merge, top" merges
try "a file that is not there" says 1 'No such file' "$tool" top "$dir/none.json"
try "another program's file" says 1 'expected' "$tool" convert $golden/example.speedscope.json "$dir/x.svg"
try "a format that is not known" says 1 'unknown file extension' "$tool" convert $golden/example.json "$dir/x.unknown"
try "no arguments" says 2 usage "$tool"
finish
