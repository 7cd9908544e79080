#!/bin/bash
# Checks that what a target of the Makefile needs is installed.
#
#   tests/deps.sh TARGET        PYTHON, PYTHONS and CC as for make
#
# On Debian and Ubuntu what is missing is installed, as root or where sudo asks for no password. Otherwise the command
# that installs it is printed; the exit status is 1 if TARGET cannot do without.
set -u
cd "$(dirname "$0")/.." || exit

CC=${CC:-cc} PYTHON=${PYTHON:-python3}
[[ ${1:-} = *-all ]] && [ -n "${PYTHONS:-}" ] && PYTHON=${PYTHONS%% *}

has() { command -v "$1" >/dev/null 2>&1; }
compiles() { echo "#include <$2>" | "$1" -E -x c - >/dev/null 2>&1; }
embeds() { [[ $("$PYTHON" tests/embed.py 2>/dev/null) == *-isystem*-lpython* ]]; }
from_debian() { [[ $("$PYTHON" -c 'import sys; print(sys.base_prefix)' 2>/dev/null) == /usr ]]; }

missing() { # the Debian packages that are missing: with "must" those that TARGET needs, else those it can use, too
    case $CC in cc | gcc) compiler=gcc ;; *) compiler=${CC##*/} ;; esac
    has "$CC" || echo "$compiler"
    compiles "$CC" pthread.h || echo libc6-dev
    has make || echo make
    case $target in install | lint) ;; *) has "$PYTHON" || echo "${PYTHON##*/}" ;; esac
    if [[ $target = demo || $target = campaign* ]] || [ "$1" != must ]; then # without them, tests that embed Python are skipped
        embeds || { has "$PYTHON" && ! from_debian; } || echo "${PYTHON##*/}-dev"
    fi
    [ "$target:$1" = valgrind:must ] && ! has valgrind && echo valgrind
    [[ $target:$1 = campaign*:all ]] && ! has gdb && echo gdb # tells where a program hangs
    [ "$target:$1" != ci:all ] && return # the rest is too large to be installed unasked: tests without them are skipped
    has g++ || echo g++
    has python3 || echo python3
    for tool in clang shellcheck valgrind chromium; do has "$tool" || echo "$tool"; done
    has node || echo nodejs
    has go || echo golang-go
    has aarch64-linux-gnu-gcc || echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross
}

install() {
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    has apt-get && "${root[@]}" true 2>/dev/null || return
    echo "installing $* ..."
    "${root[@]}" apt-get -qq update >/dev/null &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qqy --no-install-recommends install "$@" >/dev/null
}

target=${1:-test}
wanted=$(missing all | xargs)
[ -n "$wanted" ] || exit 0
# shellcheck disable=SC2086
install $wanted
needed=$(missing must | xargs) wanted=$(missing all | xargs)
[ -z "$wanted" ] || echo "missing: $wanted. To install: sudo apt-get update && sudo apt-get install -y $wanted"
[ -z "$needed" ] || echo "$target needs $needed" >&2
[ -z "$needed" ]
