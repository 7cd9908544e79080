#!/bin/bash
# Interpreters and shared objects that come and go while the sampler runs.
#
#   tests/sh/lifecycle.sh BUILD_DIR
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

read -r -a embed < <("$PYTHON" tests/embed.py)
libraries=()
for word in "${embed[@]}"; do case $word in -isystem*) ;; -*) libraries+=("$word") ;; esac; done
VERSION=$("$PYTHON" -c 'import platform; print(platform.python_version())')
export VERSION PLUGIN1=$dir/one.so PLUGIN2=$dir/two.so
[ -n "${libraries[*]}" ] || { skip "all of it" "no libpython for $PYTHON"; finish; }

hosts() { # as make test builds them, they are linked to the object that the C tests have
    local linked=()
    [ -n "${TEST_LONG:-}" ] || [ ! -e "$build/inside.o" ] || linked=(-DLINKED -DPYPROF__IMPLEMENTED "$build/inside.o")
    "$CC" ${TEST_LONG:+-O1} -g -Wall -Wextra -Werror -I"$root" tests/sh/host.c "${linked[@]}" -o "$dir/host" "${libraries[@]}" -pthread -ldl &&
        "$CC" ${TEST_LONG:+-O1} -g -I"$root" -shared -fPIC tests/sh/plugin.c "${linked[@]:1}" -o "$PLUGIN1" -pthread -ldl &&
        cp "$PLUGIN1" "$PLUGIN2"
}
host() { timeout 100 "$dir/host" "$1"; }

try "build" hosts || finish
try "started before Py_Initialize" host before
try "Py_Finalize while sampling, stop after it" host finalize
try "interpreters, one after the other, in one session" host again
try "interpreters, a session each" host renew
try "two shared objects and the program, each with a copy, sample at once" host copies
try "dlclose while sampling" host unload
finish
