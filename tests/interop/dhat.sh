#!/bin/bash
# DHAT: Valgrind's own viewer, in Chromium; the Firefox Profiler reads it as well.
#
#   tests/interop/dhat.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools

for viewer in /usr/libexec/valgrind/dh_view.html /usr/lib/valgrind/dh_view.html ''; do [ -e "$viewer" ] && break; done
[ -n "$viewer" ] || no_browser=${no_browser:-no dh_view.html: apt-get install valgrind}
view() { # the totals are those of the file
    cp tests/dhat.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules" && timeout 60 node "$dir/dhat.mjs" "$viewer" "$1"
}
unless "$no_browser" .dhat.json dh_view view
finish
