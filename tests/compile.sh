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
parse=-fsyntax-only

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
    # All warnings of -O2 come in one dialect of each language; where only the text differs, it is parsed.
    check "$1 -std=c11 -O2, implementation" $1 $c -std=c11 -O2 -c implementation.c -o $1-c11.o
    check "$1 -std=gnu11, implementation" $1 $c -std=gnu11 -c implementation.c -o $1-gnu11.o
    check "$1 -std=c17, implementation" $1 $c -std=c17 $parse implementation.c
    for std in c99 c11 c17; do check "$1 -std=$std, declarations" $1 $c -std=$std -c use.c -o $1-use.o; done
    for flags in -DPYPROF_STATIC -DPYPROF_DLL -DPYPROF_DISABLE -DPYPROF_INTERPOSE_MALLOC -DPYPROF_NO_HTML -DPYPROF_MINIMAL; do
        check "$1 $flags" $1 $c -std=c11 $flags -c implementation.c -o $1$flags.o
    done
    check "$1 -DPYPROF_PRELOAD" $1 $c -std=c11 $preload -c implementation.c -o $1-preload.o
    check "$1 -DPYPROF_DISABLE -std=c99, declarations" $1 $c -std=c99 -DPYPROF_DISABLE -c use.c -o $1-use.o
    check "$1, included twice with PYPROF_IMPLEMENTATION" $1 $c -std=c11 $parse twice.c
    check "$1, included again without it" $1 $c -std=c11 $parse then_declarations.c
    check "$1, declarations first" $1 $c -std=gnu11 $parse declarations_then.c
    check "$1 -std=gnu11, after system headers" $1 $c -std=gnu11 $parse late.c
    check "$1 -std=c11, after system headers: one clear error" one_error $1 -std=c11 -I"$root" -c late.c -o $1-late.o
    include=$("$PYTHON" "$root/tests/embed.py" | grep -o -e '-isystem[^ ]*')
    if [ -z "$include" ]; then skip "$1, with Python.h" "none for $PYTHON"; else
        check "$1 -std=c11, after Python.h" $1 $c -std=c11 $include -c after_python.c -o $1-python.o
        check "$1 -std=gnu11, after Python.h" $1 $c -std=gnu11 $include $parse after_python.c
        for std in c11 gnu11; do check "$1 -std=$std, before Python.h" $1 $c -std=$std $include $parse before_python.c; done
    fi

    has "$2" || { skip "$2" "not installed"; return; }
    check "$2 -std=c++17 -O2, implementation" $2 $warn -std=c++17 -O2 -x c++ -c implementation.c -o $2-c++17.o
    check "$2 -std=c++20, implementation" $2 $warn -std=c++20 -x c++ -c implementation.c -o $2-c++20.o
    for std in c++17 c++20; do
        check "$2 -std=$std -DPYPROF_PRELOAD" $2 $warn -std=$std $preload -x c++ -c implementation.c -o $2-preload.o
    done
    for std in c++11 c++17 c++20; do
        check "$2 -std=$std, declarations" $2 $warn -Wold-style-cast -std=$std -x c++ -c use.c -o $2-use.o
    done
    check "$2 -DPYPROF_MINIMAL" $2 $warn -std=c++17 -DPYPROF_MINIMAL -x c++ -c implementation.c -o $2-minimal.o
    check "$2 -DPYPROF_STATIC" $2 $warn -std=c++17 -DPYPROF_STATIC -x c++ -c implementation.c -o $2-static.o
    check "$2 -DPYPROF_DISABLE -std=c++11, declarations" $2 $warn -std=c++11 -DPYPROF_DISABLE -x c++ -c use.c -o $2-use.o
}
matrix clang clang++ >clang.log 2>&1 &
matrix gcc g++
wait
cat clang.log

# --- what links, and what is left behind -------------------------------------

has gcc || exit 0
build_and_run() { "$@" -o program.$BASHPID -pthread -ldl && ./program.$BASHPID; }
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
minimal() { # it records and writes JSON and text; whatever it lacks is refused, and the reason named
    shared -DPYPROF_DLL -DPYPROF_MINIMAL -O2 -o minimal.so && "$PYTHON" - "$root" ./minimal.so <<'END' || return
import ctypes, json, sys, time
sys.path.insert(0, sys.argv[1] + '/tests/py')
import header
library, session, profile, other = ctypes.CDLL(sys.argv[2]), *[ctypes.c_void_p() for _ in range(3)]
Config, result = header.structures['pyprof_config'], ctypes.byref(other)
library.pyprof_last_error.restype = ctypes.c_char_p
def refused(code):
    said = library.pyprof_last_error().decode()
    assert code == 8 and 'PYPROF_MINIMAL' in said, (code, said)
def burn(end):
    while time.monotonic() < end:
        json.dumps(list(range(1000)))
for field in 'heap', 'children', 'pid':
    refused(library.pyprof_start(ctypes.byref(Config(**{field: 1})), result))
assert library.pyprof_start(ctypes.byref(Config(rate_hz=1000)), ctypes.byref(session)) == 0
burn(time.monotonic() + .5)
refused(library.pyprof_find_allocation(session, None, ctypes.create_string_buffer(4096)))
assert library.pyprof_stop(session, ctypes.byref(profile)) == 0
for suffix in b'json', b'txt':
    assert library.pyprof_save(profile, b'minimal.' + suffix, None) == 0, library.pyprof_last_error()
with open('minimal.json') as recording, open('minimal.txt') as text:
    functions = json.load(recording)['functions']
    assert sum(one['samples'] for name, one in functions.items() if name.endswith('burn')) > 0, functions
    assert 'burn' in text.read()
for suffix in b'svg', b'html', b'folded', b'pb.gz', b'prof', b'pkl', b'speedscope.json':
    refused(library.pyprof_save(profile, b'minimal.' + suffix, None))
refused(library.pyprof_load(b'minimal.json', result))
refused(library.pyprof_diff(profile, profile, None, result))
refused(library.pyprof_merge((ctypes.c_void_p * 1)(profile), ctypes.c_size_t(1), None, result))
refused(library.pyprof_dump(ctypes.c_int64(0), None, result))
refused(library.pyprof_visit(profile, ctypes.byref(header.structures['pyprof_query'](findings=1)),
                             ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0), None))
END
    PROFILING=1 PYPROF_QUIET=1 PYPROF_OUT=./by_itself "$PYTHON" -c 'if True:
        import ctypes, time
        assert ctypes.CDLL("./minimal.so").pyprof_start_from_env(None) == 0
        time.sleep(.3)' && printf '%s\n' by_itself* | cmp - <(printf 'by_itself_profile.%s\n' json txt)
}
small() { # OBJECT MOST: its code has at most so many bytes
    local bytes
    bytes=$(size -A "$1" | awk '/^\.text/ { sum += $2 } END { print sum }')
    echo "$bytes bytes of code, more than $2"; [ "$bytes" -le "$2" ]
}
one_optimize() { # a macro with two of these pragmas has the first one's options only; each region ends
    gcc -std=c11 -O2 -I"$root" -E implementation.c | awk '
        /^#pragma GCC optimize/ { if (++set > 1) print "line " NR ": a second GCC optimize"; all++ }
        /^#pragma GCC (push|pop)_options/ { set = 0; depth += /push/ ? 1 : -1; if (depth < 0) print "line " NR ": ends no region" }
        END { if (!all || depth) print all + 0 " regions, " depth + 0 " of them without an end" }' | none
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
    said=$("$@" -I"$root" all.c other.c -o twice -pthread -ldl 2>&1) && return 1
    grep -m1 -i -e 'multiple definition' -e 'duplicate symbol' <<<"$said" | grep pyprof_IMPLEMENTATION_is_in_two_files
}

linked() {
    check "two files with the implementation: the linker names the mistake" twice_in_a_program gcc -O0
    check "two files with the implementation, in C++" twice_in_a_program g++ -O0 -x c++
    check "two files, one with the implementation" build_and_run gcc -std=c11 -I"$root" main.c implementation.c
    check "C++ program, C implementation" build_and_run g++ -I"$root" main.cpp gcc-c11.o
    check "two files, each with a static implementation" build_and_run gcc -DPYPROF_STATIC -I"$root" all.c other.c
    check "two shared objects in one process, each with a copy" two_copies
    check "a shared object exports nothing" default_exports
    check "with PYPROF_DLL it exports the API only" dll_exports
}
linked >linked.log 2>&1 &
check "no global symbol without prefix" globals
check "PYPROF_DISABLE leaves no symbol, no thread" disabled_leaves
check "no macro without prefix" leaked_macros
check "declarations: at most 600 preprocessed lines" few_lines
check "another system: functions that say so" other_platform
check "PYPROF_MINIMAL: it records, and refuses what it lacks" minimal
# The numbers of gcc 12 and a tenth more
check "each region for the optimiser has one pragma, and an end" one_optimize
check "the code is small" small gcc-c11.o 505000
check "the code with PYPROF_MINIMAL is small" small minimal.so 228000
check "PYPROF_NO_HTML: the format says so" without_page
# shellcheck disable=SC2086
check "a 32-bit system" gcc $c -std=c11 -m32 -ffreestanding -c implementation.c -o 32.o
if has aarch64-linux-gnu-gcc; then
    # shellcheck disable=SC2086
    check "aarch64" aarch64-linux-gnu-gcc $c -std=c11 -O2 -c implementation.c -o aarch64.o
else skip aarch64 "no aarch64-linux-gnu-gcc"; fi
wait
cat linked.log
