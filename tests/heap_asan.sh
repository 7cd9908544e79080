#!/bin/bash
# The memory hooks under AddressSanitizer, which has to be in the process before Python: tests/heap_asan.sh PYTHON BUILD_DIR TEST_FILE
set -eu

asan=$(${CC:-cc} -print-file-name=libasan.so)
if [ ! -e "$asan" ]; then
    echo "skip  $3 under AddressSanitizer: ${CC:-cc} has no libasan.so"
    exit
fi
python=$("$1" -c 'import sys; print(sys.executable)') # "$1" may be a script, which is not to be checked
# Not the slow ones, and not the forks beside threads that allocate: a lock of the sanitizer's allocator stays locked in the child.
tests=('*storm*' 'every_kind*' 'leaks*' 'out_*' '*_full' '*hooks*' '*gil*' '*life*' '*lives' '*names*' 'under_*' 'deep*' 'finding*'
    'threads_*' 'other_*' '*another_thread*' '*high_water*')
[ -z "${T:-}" ] || tests=() # it selects
export LD_PRELOAD=$asan ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
unset TEST_LONG # make test-long has the long forms; here they would take ten times as long
exec "$python" "$3" "$2" "${tests[@]}"
