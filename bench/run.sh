#!/bin/bash
# make bench: a table of what profiling costs and how true it is, ours and others', and its CSV: see bench/proof.py.
#   PART=cpu            the sampler in detail: many threads, bounds, outputs
#   PART=memory         memory tracking in detail, 10 million live blocks too: ROUNDS, WORKLOADS, MODES, LIVE, CLOCK in bench/memory.py
#   PART=write          a large recording in every format, loaded and compared
#   PART=attach         other processes
#   PART=instructions   of an allocation, counted by callgrind
#   PART=all            the table, then all of these
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} BUILD=${BUILD:-build} PART=${PART:-proof}
export CC=${CC:-cc}
PATH=$PATH:$(realpath -m "$BUILD")/bench-venv/bin
part() { [ "$PART" = "$1" ] || [ "$PART" = all ]; }
part proof || echo "$("$PYTHON" -V), $("$CC" --version | head -1), $(uname -sr), $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg)"
ran=''
for name in proof cpu memory write attach instructions; do
    part $name || continue
    ran=yes
    if [ $name = cpu ]; then "$PYTHON" bench/cost.py "$BUILD"; else "$PYTHON" bench/$name.py "$BUILD"; fi
done
[ -n "$ran" ] || { echo "PART=$PART: there are proof, cpu, memory, write, attach, instructions and all" >&2; exit 1; }
