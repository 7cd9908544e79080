#!/bin/bash
# The compile matrix: the header in every dialect and configuration, and what it leaves behind in an object file.
#
#   tests/compile.sh        PYTHON: the interpreter whose Python.h is tried
#
# Prints a result line for each case, and what the compiler said about those that failed.
set -u
cd "$(dirname "$0")/.." || exit

root=$PWD
PYTHON=${PYTHON:-python3}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
warn="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef -Wcast-qual -Werror -I$root"
c="$warn -Wstrict-prototypes -Wmissing-prototypes"
disabled='-O2 -DPYPROF_DISABLE -DPYPROF_IMPLEMENTATION'
preload='-DPYPROF_INTERPOSE_MALLOC -DPYPROF_PRELOAD'

check() { # NAME COMMAND...: ok if the command succeeds
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then echo "ok    compile: $name"; return; fi
    echo "FAIL  compile: $name"
    head -n 20 <<<"$said" | sed 's/^/      /'
}
skip() { echo "skip  compile: $1: $2"; }
has() { command -v "$1" >/dev/null; }
none() { local said; said=$(cat); [ -z "$said" ] || { echo "$said"; false; }; } # succeeds if there is no input

cd "$dir" || exit
implementation='#define PYPROF_IMPLEMENTATION
#include "pyprof.h"'
use='int main(void) { pyprof *s; pyprof_profile *p; return pyprof_start(0, &s) || pyprof_stop(s, &p) || pyprof_save(p, "x.svg", 0); }'
versions='int main(void) { return !pyprof_version()[0]; }'
echo "$implementation" >implementation.c
printf '#include "pyprof.h"\n%s\n' "$use" >use.c
printf '#include "pyprof.h"\n%s\n' "$versions" | tee main.c >main.cpp
printf '%s\nint other(void);\nint other(void) { return !pyprof_version()[0]; }\n' "$implementation" >other.c
printf '%s\n%s\n' "$implementation" "$versions" >all.c
printf '%s\n#include "pyprof.h"\n' "$implementation" >twice.c
printf '%s\n#undef PYPROF_IMPLEMENTATION\n#include "pyprof.h"\n' "$implementation" >then_declarations.c
printf '#include "pyprof.h"\n%s\n' "$implementation" >declarations_then.c
printf '#include <stdio.h>\n%s\n' "$implementation" >late.c
printf '#include <Python.h>\n%s\n' "$implementation" >after_python.c
printf '%s\n#include <Python.h>\n' "$implementation" >before_python.c

one_error() { # exactly one error, and it is ours
    local said
    said=$("$@" 2>&1 | grep -E '(^|[: ])error:')
    echo "$said"
    [ "$(wc -l <<<"$said")" = 1 ] && [[ $said == *pyprof.h:*PYPROF_IMPLEMENTATION* ]]
}

# shellcheck disable=SC2086 # flags are several words
matrix() { # COMPILER C++COMPILER
    local std flags include
    has "$1" || { skip "$1" "not installed"; return; }
    for std in c11 gnu11 c17; do
        check "$1 -std=$std, implementation" $1 $c -std=$std -O2 -c implementation.c -o $1-$std.o
    done
    for std in c99 c11 c17; do check "$1 -std=$std, declarations" $1 $c -std=$std -c use.c -o $1-use.o; done
    for flags in -DPYPROF_STATIC -DPYPROF_DLL -DPYPROF_DISABLE -DPYPROF_INTERPOSE_MALLOC -DPYPROF_NO_HTML; do
        check "$1 $flags" $1 $c -std=c11 $flags -c implementation.c -o $1$flags.o
    done
    check "$1 -DPYPROF_PRELOAD" $1 $c -std=c11 $preload -c implementation.c -o $1-preload.o
    check "$1 -DPYPROF_DISABLE -std=c99, declarations" $1 $c -std=c99 -DPYPROF_DISABLE -c use.c -o $1-use.o
    check "$1, included twice with PYPROF_IMPLEMENTATION" $1 $c -std=c11 -c twice.c -o $1-twice.o
    check "$1, included again without it" $1 $c -std=c11 -c then_declarations.c -o $1-twice.o
    check "$1, declarations first" $1 $c -std=gnu11 -c declarations_then.c -o $1-twice.o
    check "$1 -std=gnu11, after system headers" $1 $c -std=gnu11 -c late.c -o $1-late.o
    check "$1 -std=c11, after system headers: one clear error" one_error $1 -std=c11 -I"$root" -c late.c -o $1-late.o
    include=$("$PYTHON" "$root/tests/embed.py" | grep -o -e '-isystem[^ ]*')
    if [ -z "$include" ]; then skip "$1, with Python.h" "none for $PYTHON"; else
        for std in c11 gnu11; do
            check "$1 -std=$std, after Python.h" $1 $c -std=$std $include -c after_python.c -o $1-python.o
            check "$1 -std=$std, before Python.h" $1 $c -std=$std $include -c before_python.c -o $1-python.o
        done
    fi

    has "$2" || { skip "$2" "not installed"; return; }
    for std in c++17 c++20; do
        check "$2 -std=$std, implementation" $2 $warn -std=$std -O2 -x c++ -c implementation.c -o $2-$std.o
        check "$2 -std=$std -DPYPROF_PRELOAD" $2 $warn -std=$std $preload -x c++ -c implementation.c -o $2-preload.o
    done
    for std in c++11 c++17 c++20; do
        check "$2 -std=$std, declarations" $2 $warn -Wold-style-cast -std=$std -x c++ -c use.c -o $2-use.o
    done
    check "$2 -DPYPROF_STATIC" $2 $warn -std=c++17 -DPYPROF_STATIC -x c++ -c implementation.c -o $2-static.o
    check "$2 -DPYPROF_DISABLE -std=c++11, declarations" $2 $warn -std=c++11 -DPYPROF_DISABLE -x c++ -c use.c -o $2-use.o
}
matrix clang clang++ >clang.log 2>&1 &
matrix gcc g++
wait
cat clang.log

# --- what links, and what is left behind -------------------------------------

has gcc || exit 0
build_and_run() { "$@" -o program -pthread -ldl && ./program; }
exports() { nm -D --defined-only "$1" | awk '$2 != "A" && $3 !~ /^(_init|_fini|_edata|_end|__bss_start)$/ { print $3 }'; }
shared() { gcc -std=c11 -I"$root" "$@" -shared -fPIC implementation.c -pthread -ldl; }
macros() { # those that the file pyprof.h defined and that are still there at the end
    gcc -std=c11 -I"$root" -E -dD "$1" | awk '
        $1 == "#" { ours = $3 ~ /pyprof\.h"$/ }
        $1 == "#define" && ours { name = $2; sub(/\(.*/, "", name); left[name] = 1 }
        $1 == "#undef" { delete left[$2] }
        END { for (name in left) print name }'
}
default_exports() { shared -o default.so && exports default.so | none; }
dll_exports() {
    shared -DPYPROF_DLL -o dll.so && exports dll.so | grep -v '^pyprof_[a-z]' | none && exports dll.so | grep -qx pyprof_start
}
globals() { nm -g --defined-only gcc-c11.o | awk '{ print $3 }' | grep -v -e '^pyprof_[a-z]' -e '^pyprof_IMPLEMENTATION_' | none; }
# shellcheck disable=SC2086
disabled_leaves() { gcc $disabled -I"$root" -c use.c -o use.o && nm use.o | grep -E 'pyprof|pthread' | none; }
leaked_macros() { macros implementation.c | grep -v -e '^PYPROF' -e '^_GNU_SOURCE$' | none; }
few_lines() {
    local lines
    lines=$(gcc -std=c11 -I"$root" -E -P use.c | grep -c .)
    echo "$lines lines"; [ "$lines" -le 600 ]
}
# shellcheck disable=SC2086
other_platform() { # compiles, links, and says so
    printf '%s\nint main(void) { pyprof *s; return pyprof_start(0, &s) != PYPROF_ERR_UNSUPPORTED; }\n' "$implementation" >stub.c
    build_and_run gcc $c -std=c11 -U__linux__ stub.c
}
without_page() { # the format is refused, and the reason named
    { echo "$implementation"; echo 'int main(void) { pyprof_profile *p; if (pyprof_load(RECORDING, &p)) return 1;
    return pyprof_save(p, "x.html", 0) != PYPROF_ERR_UNSUPPORTED || !strstr(pyprof_last_error(), "PYPROF_NO_HTML"); }'; } >page.c
    build_and_run gcc -std=gnu11 -O0 -DPYPROF_NO_HTML -DRECORDING="\"$root/tests/golden/example.json\"" -I"$root" page.c
}
two_copies() {
    shared -DPYPROF_DLL -o one.so && shared -DPYPROF_DLL -O1 -o two.so && "$PYTHON" - ./one.so ./two.so <<'END'
import ctypes, sys
started = []
for path in sys.argv[1:]:
    library, session = ctypes.CDLL(path), ctypes.c_void_p()
    result = library.pyprof_start(None, ctypes.byref(session))
    assert result == 0, "%s: pyprof_start gives %d" % (path, result)
    started.append((library, session))
for library, session in started:
    assert library.pyprof_stop(session, None) == 0
END
}

twice_in_a_program() { # COMPILER FLAGS: the linker says what is wrong, first
    local said
    said=$("$@" -I"$root" all.c other.c -o program -pthread -ldl 2>&1) && return 1
    grep -m1 -i -e 'multiple definition' -e 'duplicate symbol' <<<"$said" | grep pyprof_IMPLEMENTATION_is_in_two_files
}

check "two files with the implementation: the linker names the mistake" twice_in_a_program gcc -O0
check "two files with the implementation, in C++" twice_in_a_program g++ -O0 -x c++
check "two files, one with the implementation" build_and_run gcc -std=c11 -I"$root" main.c implementation.c
check "C++ program, C implementation" build_and_run g++ -I"$root" main.cpp gcc-c11.o
check "two files, each with a static implementation" build_and_run gcc -DPYPROF_STATIC -I"$root" all.c other.c
check "two shared objects in one process, each with a copy" two_copies
check "a shared object exports nothing" default_exports
check "with PYPROF_DLL it exports the API only" dll_exports
check "no global symbol without prefix" globals
check "PYPROF_DISABLE leaves no symbol, no thread" disabled_leaves
check "no macro without prefix" leaked_macros
check "declarations: at most 600 preprocessed lines" few_lines
check "another system: functions that say so" other_platform
check "PYPROF_NO_HTML: the format says so" without_page
# shellcheck disable=SC2086
check "a 32-bit system" gcc $c -std=c11 -m32 -ffreestanding -c implementation.c -o 32.o
if has aarch64-linux-gnu-gcc; then
    # shellcheck disable=SC2086
    check "aarch64" aarch64-linux-gnu-gcc $c -std=c11 -O2 -c implementation.c -o aarch64.o
else skip aarch64 "no aarch64-linux-gnu-gcc"; fi
