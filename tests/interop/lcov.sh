#!/bin/bash
# lcov: genhtml makes its pages, with all lines.
#
#   tests/interop/lcov.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

pages() {
    genhtml --quiet --synthesize-missing -o "$dir/html" "$1" >"$dir/genhtml" 2>&1 || genhtml --quiet --no-source -o "$dir/html" "$1" >"$dir/genhtml" 2>&1 ||
        genhtml --quiet --ignore-errors source -o "$dir/html" "$1" >"$dir/genhtml" 2>&1
    cat "$dir/genhtml"
    grep -q "100.0" "$dir/html/index.html"
}
summary() { lcov --summary "$1" 2>&1 | tee "$dir/summary"; grep -q "($(grep -c ^DA: "$1") of $(grep -c ^DA: "$1") lines)" "$dir/summary"; }
unless "$(has lcov || echo no lcov)" .info "lcov counts the lines" summary
unless "$(has genhtml || echo no genhtml: apt-get install lcov)" .info genhtml pages
finish
