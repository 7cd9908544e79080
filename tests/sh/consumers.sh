#!/bin/bash
# Files of ours opened by the programs they are for: the golden ones, and those of a real run if there is BUILD_DIR/host.
# Only what make test can install in a moment, and browsers in make test-long; make interop opens every format.
#
#   tests/sh/consumers.sh BUILD_DIR      TEST_INTEROP: nothing is opened here, as make interop is called as well
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

[ -z "${TEST_INTEROP:-}" ] || { skip "programs that open our files" "left to make interop"; finish; }
has() { command -v "$1" >/dev/null; }
if [ -n "${TEST_LONG:-}" ] && has node && has npm && ! tests/node.sh speedscope playwright-core >"$dir/npm" 2>&1; then
    skip "packages of node" "npm install failed: $(tail -n 1 "$dir/npm")"
fi

real_files() {
    PROFILING=1 PYPROF_FORMATS=svg,folded,speedscope.json,pb.gz PYPROF_OUT=$dir/run "$build/host" examples/dedup.py --seconds 1 || return
    for file in "$dir"/run_profile.*; do mv "$file" "$dir/files/real${file#"$dir/run_profile"}" || return; done
}
mkdir "$dir/files" && cp tests/golden/example.{svg,folded,speedscope.json,pb.gz} "$dir/files" || exit
if [ -x "$build/host" ]; then try "a real run" real_files; else skip "a real run" "no $build/host"; fi
export INTEROP_BUILD=$build
drivers='folded pprof'
if [ -n "${TEST_LONG:-}" ]; then drivers+=' svg speedscope'; else skip "pictures in a browser" "left to make test-long"; fi # seconds of both CPUs for each file
for driver in $drivers; do bash "tests/interop/$driver.sh" "$dir/files" || failed=$((failed + 1)); done
finish
