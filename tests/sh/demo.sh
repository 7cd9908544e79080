#!/bin/bash
# The demo, for two seconds: the host runs, says nothing bad, and writes its files.
#
#   tests/sh/demo.sh BUILD_DIR
set -u

build=$1
name="demo[$("${PYTHON:-python3}" -c 'import platform; print(platform.python_version())')]: a host profiles itself"
[ -x "$build/host" ] || { echo "skip  $name: no $build/host"; exit; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export ASAN_OPTIONS=detect_leaks=0                      # CPython does not free everything at its end
export TSAN_OPTIONS=ignore_noninstrumented_modules=1    # nor does it tell what it locks
if PROFILING=1 PYPROF_OUT=$dir/demo "$build/host" examples/dedup.py --seconds 2 >"$dir/log" 2>&1 &&
    [ -s "$dir/demo_profile.json" ] && [ -s "$dir/demo_profile.svg" ] && [ -s "$dir/demo_profile.txt" ]; then
    echo "ok    $name"
else
    echo "FAIL  $name"
    { ls "$dir"; cat "$dir/log"; } | sed 's/^/      /'
    exit 1
fi
