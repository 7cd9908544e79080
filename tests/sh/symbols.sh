#!/bin/bash
# The runtime is found in every way a host can carry it, without a symbol if it has to be.
#
#   tests/sh/symbols.sh BUILD_DIR
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

var() { "$PYTHON" -c 'import sys, sysconfig; print(*(sysconfig.get_config_var(name) or "" for name in sys.argv[1:]))' "$@"; }
read -r -a embed < <("$PYTHON" tests/embed.py)
include='' libraries=()
for word in "${embed[@]}"; do
    case $word in -isystem*) include=$word ;; -*) libraries+=("$word") ;; esac
done
version=$("$PYTHON" -c 'import platform; print(platform.python_version())')
export VERSION=$version
shared=$(var LIBDIR)/$(var INSTSONAME)
archive=''
for folder in "$(var LIBPL)" "$(var LIBDIR)"; do
    [ -n "$archive" ] || [ ! -e "$folder/libpython$(var LDVERSION).a" ] || archive=$folder/libpython$(var LDVERSION).a
done
read -r -a needs < <(var LIBS SYSLIBS MODLIBS LOCALMODLIBS)

compiled() { "$CC" ${TEST_LONG:+-O1} -g -Wall -Wextra -Wno-unused-const-variable -Werror -I"$root" -I"$build" tests/sh/host.c "$@"; }
host() { # -o FILE, and how. A host of the same -D is compiled once, and linked to inside.o or, after Python.h, to upper.o; in test-long it is compiled as the options say
    local define=-DWITH_NOTHING option
    if [ -n "${TEST_LONG:-}" ]; then compiled "$@" -pthread -ldl; return; fi
    local linked=("-DLINKED" "$build/inside.o")
    for option; do [[ $option != -D* ]] || define=$option; done
    if [ "$define" = -DWITH_PYTHON_H ]; then linked=('-DTEST_HEADER="lower.h"' "$build/upper.o"); fi
    [ -e "$dir/host$define.o" ] || compiled "$define" "${linked[0]}" ${include:+"$include"} -c -o "$dir/host$define.o" || return
    "$CC" "$dir/host$define.o" "${linked[@]:1}" "$@" -pthread -ldl
}
found() { timeout 60 "$dir/$1" found; }
stripped() { strip -s "$dir/$1" && [ -z "$(nm "$dir/$1" 2>/dev/null)" ] && found "$1"; }
no_symbol() { ! nm -D "$dir/$1" | grep -q ' [BDR] _PyRuntime'; }

if [ -n "${libraries[*]}" ] && [ -e "$shared" ] && [[ $shared == *.so* ]]; then
    export LIBPYTHON=$shared
    if try "build: linked to libpython" host -o "$dir/linked" "${libraries[@]}"; then
        try "linked to libpython" found linked
        try "linked to libpython, stripped" stripped linked
    fi
    if try "build: libpython loaded RTLD_LOCAL" host -DWITH_DLOPEN -o "$dir/plugin_host"; then
        try "libpython loaded RTLD_LOCAL; before, there was none" found plugin_host
    fi
    if [ -z "$include" ]; then skip "Python.h" "none for $PYTHON"
    elif try "build: after Python.h" host -DWITH_PYTHON_H "$include" -o "$dir/bound" "${libraries[@]}"; then
        try "after Python.h" found bound
        try "after Python.h, stripped" stripped bound
    fi
else skip "libpython.so" "none for $PYTHON"; fi

static() { host "$@" "$archive" "${needs[@]}" -lutil -lm; }
if [ -n "$archive" ] && static -no-pie -o "$dir/static_trial" 2>&1 | grep -q 'cannot find '; then   # Debian's 3.13: parts of it are not installed
    skip "libpython.a" "it wants archives that are not here"
elif [ -n "$archive" ]; then
    for how in -rdynamic -no-pie -pie; do
        name=static$how
        if [ $how = -pie ] && ! static -pie -o "$dir/$name" 2>/dev/null; then skip "libpython.a, -pie" "it is not position-independent"; continue; fi
        try "build: libpython.a, $how" static "$how" "${how/-rdynamic/-no-pie}" -o "$dir/$name" || continue
        [ $how = -rdynamic ] || try "libpython.a, $how: no dynamic symbol" no_symbol "$name"
        try "libpython.a, $how" found "$name"
        try "libpython.a, $how, stripped" stripped "$name"
    done
    if [ -n "$include" ] && try "build: libpython.a, after Python.h" static -no-pie -DWITH_PYTHON_H "$include" -o "$dir/static_bound"; then
        try "libpython.a, after Python.h, stripped" stripped static_bound
    fi
else skip "libpython.a" "none for $PYTHON"; fi
finish
