#!/bin/bash
# Checks that what a target of the Makefile needs is installed.
#
#   tests/deps.sh TARGET        PYTHON, PYTHONS, CC and BUILD as for make
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
    [ "$target:$1" != test-hosts:all ] || missing_hosts
    [ "$target:$1" != interop:all ] || missing_interop
    [ "$target:$1" != ci:all ] && return # the rest is too large to be installed unasked: tests without them are skipped
    has g++ || echo g++
    has python3 || echo python3
    for tool in clang shellcheck valgrind chromium tmux; do has "$tool" || echo "$tool"; done
    has node || echo nodejs
    has go || echo golang-go
    has jq || echo jq
    compiles "$CC" check.h || echo check
    compiles "$CC" cmocka.h || echo libcmocka-dev
    has aarch64-linux-gnu-gcc || echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross
}

missing_hosts() { # of test-hosts: what is missing is skipped there
    local postgresql
    has gdb || echo gdb
    vim --version 2>/dev/null | grep -q '+python3' || echo vim-nox
    has go || echo golang-go
    rustc --version >/dev/null 2>&1 || [ -x /usr/bin/rustc ] || echo rustc
    compgen -G '/usr/lib/uwsgi/plugins/python3*_plugin.so' >/dev/null || echo uwsgi-core uwsgi-plugin-python3
    [ -e /usr/lib/libreoffice/program/libpythonloaderlo.so ] ||
        echo libreoffice-core-nogui python3-uno libreoffice-script-provider-python
    [ -e /usr/lib/apache2/modules/mod_wsgi.so ] || echo apache2-bin libapache2-mod-wsgi-py3
    compgen -G '/usr/lib*/collectd/python.so' >/dev/null || echo collectd-core
    if ! compgen -G '/usr/lib/postgresql/*/lib/plpython3.so' >/dev/null; then
        postgresql=$(apt-cache search --names-only '^postgresql-plpython3-[0-9]+$' 2>/dev/null | sort -V | tail -1)
        [ -z "$postgresql" ] || { postgresql=${postgresql%% *}; echo "$postgresql postgresql-${postgresql##*-}"; }
    fi
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || ! from_debian || echo "${PYTHON##*/}-venv"
}

missing_interop() { # of interop: the programs that files of ours are for; what is missing is skipped there
    has go || echo golang-go
    has chromium || has chromium-browser || has google-chrome || echo chromium
    has node || echo nodejs
    has npm || echo npm
    has ms_print || echo valgrind
    has xmllint || echo libxml2-utils
    has genhtml || echo lcov
    has promtool || echo prometheus
    has protoc || echo protobuf-compiler
    has jq || echo jq
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

install() {
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    has apt-get && "${root[@]}" true 2>/dev/null || return
    echo "installing $* ..."
    "${root[@]}" apt-get -qq update >/dev/null &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qqy --no-install-recommends install "$@" >/dev/null
}

install_quietly() { # what there is of it; Debian starts no service where this file says so
    local quiet=/usr/sbin/policy-rc.d ours='' package
    if [ ! -e "$quiet" ] && printf '#!/bin/sh\nexit 101\n' 2>/dev/null >"$quiet"; then ours=yes && chmod 755 "$quiet"; fi
    if [ -e "$quiet" ]; then install "$@" || for package; do install "$package"; done; fi
    [ -z "$ours" ] || rm -f "$quiet"
}

venv() { # PYTHON FOLDER WITHOUT PACKAGE...: Python packages
    local python=$1 folder=$2 without=$3
    shift 3
    [ ! -e "$folder/complete" ] || return 0
    echo "installing into $folder: $* ..."
    rm -rf "$folder" && "$python" -m venv "$folder" &&
        "$folder/bin/python" -m pip -q --disable-pip-version-check install "$@" &&
        touch "$folder/complete" || echo "no Python packages: $without"
}

hosts_packages() {
    venv "$PYTHON" "${BUILD:-build}/hosts-venv" "the hosts that need them are skipped" \
        gunicorn uvicorn celery django ipykernel pytest pytest-xdist
}

bench_packages() { # the profilers that ours is compared with, as far as they are not there
    local tool packages=()
    for tool in py-spy austin memray scalene pyinstrument yappi; do
        has $tool || packages+=("${tool/%austin/austin-dist}")
    done
    [ ${#packages[@]} = 0 ] || venv "$PYTHON" "${BUILD:-build}/bench-venv" "the profilers from there are not compared" "${packages[@]}"
}

interop_packages() {
    venv python3 "${BUILD:-build}/interop-venv" "the programs from there are skipped" \
        gprof2dot snakeviz tuna opentelemetry-proto protobuf perfetto prometheus-client jsonschema
    has npm && tests/node.sh speedscope playwright-core axe-core @firefox-devtools/profiler-cli || echo "no packages of node: the programs from there are skipped"
}

target=${1:-test}
case $target in
test-hosts) trap hosts_packages EXIT ;;
interop) trap interop_packages EXIT ;;
bench) trap bench_packages EXIT ;;
esac
wanted=$(missing all | xargs)
[ -n "$wanted" ] || exit 0
# shellcheck disable=SC2086
case $target in
interop) install_quietly $wanted ;;
test-hosts)
    install_quietly $wanted
    wanted=$(missing_hosts | grep postgresql- | xargs) # whose version is known after the first
    [ -z "$wanted" ] || install_quietly $wanted
    ;;
*) install $wanted ;;
esac
needed=$(missing must | xargs) wanted=$(missing all | xargs)
[ -z "$wanted" ] || echo "missing: $wanted. To install: sudo apt-get update && sudo apt-get install -y $wanted"
[ -z "$needed" ] || echo "$target needs $needed" >&2
[ -z "$needed" ]
