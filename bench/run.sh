#!/bin/bash
# make bench: what profiling costs, as ratios against no profiler in the same run, and what the outputs cost.
# Machines are shared: runs alternate and medians are shown.
#   PART=cpu, memory, write or attach   only that part; write: a large recording in every format, loaded and compared;
#                                       attach: other processes
#   ROUNDS, WORKLOADS, MODES, LIVE, CLOCK   of the memory part: see bench/memory.py
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} CC=${CC:-cc} BUILD=${BUILD:-build}
mkdir -p "$BUILD"
"$CC" -shared -fPIC -O2 -pthread tests/dll.c -o "$BUILD/libpyprof_test.so" -ldl
echo "$("$PYTHON" -V), $("$CC" --version | head -1), $(uname -sr), $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg)"
if [ "${PART:-cpu}" = cpu ]; then
    "$PYTHON" bench/cost.py "$BUILD"
    if command -v py-spy >/dev/null; then "$PYTHON" bench/peer.py py-spy; else echo 'py-spy: not installed'; fi
    if command -v austin >/dev/null; then "$PYTHON" bench/peer.py austin; else echo 'austin: not installed'; fi
fi
if [ "${PART:-memory}" = memory ]; then "$PYTHON" bench/memory.py "$BUILD"; fi
if [ "${PART:-write}" = write ]; then "$PYTHON" bench/write.py "$BUILD"; fi
if [ "${PART:-attach}" = attach ]; then "$PYTHON" bench/attach.py "$BUILD"; fi
