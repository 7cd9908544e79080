#!/bin/bash
# Runs the tests against the newest CPythons, in a Debian sid tree of its own.
#
#   tests/sid.sh setup            create the tree, or complete it
#   tests/sid.sh run COMMAND...   run COMMAND in the tree, in this repository, which is /pyprof there
#   tests/sid.sh test             setup, then the whole test suite in the tree
#
# SID is the tree's folder, default ${XDG_CACHE_HOME:-~/.cache}/pyprof/sid; SID.log tells what setup
# did. Mounts are made in a mount namespace of each run's own and end with its last process: nothing
# stays behind. COMMAND gets a clean environment; to add to it: tests/sid.sh run CC=g++ make.
# shellcheck disable=SC2016,SC2086 # inner shells expand; lists of words
set -eu

pythons="python3.13 python3.14 python3.15"
packages="gcc g++ make libc6-dev procps binutils"
for python in $pythons; do packages="$packages $python $python-dev"; done
peers="austin python3-memray python3-scalene" # for the benchmarks: no test needs one
PATH=$PATH:/usr/sbin:/sbin
root=$(cd "$(dirname "$0")/.." && pwd -P)
SID=$(realpath -m "${SID:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/pyprof/sid}")
mark=$SID/.pyprof-sid # exists: this script made the tree; not empty: complete, with the peers tried

say() { echo "sid.sh: $*"; }
die() { echo "sid.sh: $*" >&2; exit 1; }
failed() { die "$1 failed: no network? ($(tail -n 1 "$SID.log"); all: $SID.log) Then again: $0 setup"; }
log() { "$@" </dev/null >>"$SID.log" 2>&1; }

# "${inside[@]}" COMMAND... runs COMMAND in the tree.
inside=(unshare --mount bash -euc '
    tree=$1 root=$2; shift 2; mkdir -p "$tree/pyprof"
    for d in proc dev sys; do mount --rbind "/$d" "$tree/$d"; done
    mount --bind "$root" "$tree/pyprof"
    exec chroot "$tree" "$@"' sid.sh "$SID" "$root"
    env -i -C /pyprof HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    LANG=C.UTF-8 TERM="${TERM:-dumb}" ${CI:+CI="$CI"} ${http_proxy:+http_proxy="$http_proxy"})

apt() { log "${inside[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends "$@"; }

working() { # is all that the tests need installed, and does it work?
    [ -e "$mark" ] && log "${inside[@]}" sh -euc 'pythons=$1; set -- $2
        [ -z "$(dpkg --audit; ls /var/lib/dpkg/updates)" ] # no installation was cut off
        [ "$(dpkg-query -W -f "\${db:Status-Status}\n" "$@" | grep -cx installed)" = $# ]
        for python in $pythons; do
            $python -c "import ctypes, json, threading"
            echo "#include <Python.h>" | gcc -E $($python-config --embed --cflags) - >/dev/null
        done' sh "$pythons" "$packages"
}

create() { # a new tree takes its place only when it is whole
    for need in "$(command -v debootstrap)" /usr/share/keyrings/debian-archive-keyring.gpg; do
        [ -e "$need" ] || die "${need:-debootstrap} is missing: apt-get install -y debootstrap debian-archive-keyring"
    done
    [ ! -e "$SID" ] || [ -e "$mark" ] || [ -d "$SID/debootstrap" ] || rmdir "$SID" 2>/dev/null ||
        die "$SID is not this script's: remove it, or choose another folder: SID=FOLDER $0 setup"
    say "creating a Debian sid tree in $SID (half a minute)"
    rm -rf --one-file-system "$SID.new"
    log unshare --mount debootstrap --force-check-gpg --variant=minbase sid "$SID.new" || failed debootstrap
    touch "$SID.new/${mark##*/}"
    rm -rf --one-file-system "$SID" && mv -T "$SID.new" "$SID"
}

install() {
    say "installing $packages (a minute)"
    cp -L /etc/resolv.conf /etc/hosts "$SID/etc/"
    log "${inside[@]}" dpkg --configure -a && apt install $packages && working
}

setup() ( # one at a time: descriptor 9 is the lock
    flock 9
    if ! working; then
        : >"$SID.log"
        { [ -e "$mark" ] && install; } || { create && install; } || failed apt-get
    fi
    [ -s "$mark" ] || echo complete >"$mark"
    for peer in $peers; do
        if grep -qx "$peer" "$mark"; then continue
        elif ! apt --simulate install "$peer"; then say "peer $peer: sid cannot install it now"
        elif apt install "$peer"; then say "peer $peer: installed"
        else say "peer $peer: failed, see $SID.log" && continue; fi
        echo "$peer" >>"$mark"
    done
    say "ready: $SID"
)

[ "$(id -u)" = 0 ] || die "needs root: sudo env SID=$SID $0 $*"
unshare --mount true 2>/dev/null || die "needs the right to mount (in a container: docker run --privileged)"
case ${1:-} in
setup | test) mkdir -p "$(dirname "$SID")"; setup 9>"$SID.lock" ;;
run) [ -s "$mark" ] || die "no complete tree in $SID: $0 setup"
    exec "${inside[@]}" "${@:2}" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
[ "$1" = setup ] || exec "${inside[@]}" make test-all PYTHONS="$pythons" BUILD=build/sid
