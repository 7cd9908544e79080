#!/bin/bash
# Files of every format, opened by the programs they are for: the drivers are tests/interop/*.sh.
#
#   tests/interop.sh BUILD_DIR      T=pprof: only drivers whose name contains this; KEEP=FOLDER: keeps the files there
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

folder=${KEEP:-$dir/files}
mkdir -p "$folder" && folder=$(cd "$folder" && pwd)
formats=$("$build/interop_make" -l)

real() { # the names as those of the files made by hand: real.svg, real.pkl
    local file
    PROFILING=1 PYPROF_FORMATS=$formats PYPROF_OUT=$folder/run "$build/host" examples/dedup.py --seconds 3 || return
    for file in "$folder"/run_profile.*; do mv "$file" "$folder/real${file#"$folder/run_profile"}" || return; done
    mv "$folder/run_memory_snapshot.pkl" "$folder/real.pkl" && rm -f "$folder"/run_*
}

try "files of recordings made by hand: $formats" "$build/interop_make" "$folder" pages
if [ -x "$build/host" ]; then try "files of a real run" real; else skip "files of a real run" "no $build/host"; fi
export INTEROP_BUILD=$build
drivers=()
for driver in tests/interop/*"${T:-}"*.sh; do drivers+=("bash $driver $folder"); done
tests/run.sh -t 1500 -j 2 "${drivers[@]}" || failed=$((failed + 1))
finish
