#!/bin/bash
# pprof: go tool pprof opens it, its time adds up, names are whole.
#
#   tests/interop/pprof.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

has go && tool=$(go tool -n pprof) # go tool itself looks each time whether it is built
pprof() {
    "$tool" -raw "$1" >"$dir/raw" && "$tool" -top -unit=ns -nodefraction=0 "$1" >"$dir/top" && "$tool" -tags "$1" >"$dir/tags" || return
    head -n 12 "$dir/top"
    awk '/^Samples:/ { on = 1; next } /^Locations/ { on = 0 } on && $2 ~ /^[0-9]+$/ { sum += $2 } END { printf "%.0f\n", sum }' "$dir/raw" >"$dir/sum"
    grep -q "of $(cat "$dir/sum")ns total" "$dir/top" && grep -q MainThread "$dir/tags" && grep -q '<module>$' "$dir/top"
}
views() { # every other way to look at it; against itself nothing differs
    local view
    for view in -tree -traces -tags '-list module' '-peek module' '-top -sample_index=gil_wait' '-top -tagroot=thread'; do
        # shellcheck disable=SC2086
        "$tool" $view "$1" >"$dir/view" 2>&1 || { echo "$view"; cat "$dir/view"; return 1; }
    done
    "$tool" -top -diff_base "$1" "$1" >"$dir/view" && grep -q 'Showing nodes accounting for 0, ' "$dir/view"
}
unless "$(has go || echo no go)" .pb.gz "its other views" views
unless "$(has go || echo no go)" .pb.gz "go tool pprof" pprof
finish
