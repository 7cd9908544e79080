#!/bin/bash
# pprof: go tool pprof opens it, its time adds up, names are whole.
#
#   tests/interop/pprof.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

pprof() {
    go tool pprof -raw "$1" >"$dir/raw" && go tool pprof -top -unit=ns -nodefraction=0 "$1" >"$dir/top" && go tool pprof -tags "$1" >"$dir/tags" || return
    head -n 12 "$dir/top"
    awk '/^Samples:/ { on = 1; next } /^Locations/ { on = 0 } on && $2 ~ /^[0-9]+$/ { sum += $2 } END { printf "%.0f\n", sum }' "$dir/raw" >"$dir/sum"
    grep -q "of $(cat "$dir/sum")ns total" "$dir/top" && grep -q MainThread "$dir/tags" && grep -q '<module>$' "$dir/top"
}
unless "$(has go || echo no go)" .pb.gz "go tool pprof" pprof
finish
