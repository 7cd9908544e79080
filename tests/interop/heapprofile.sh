#!/bin/bash
# .heapprofile: Chromium's own developer tools and the speedscope app.
#
#   tests/interop/heapprofile.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools

cp tests/devtools.mjs tests/speedscope.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules"
devtools() { timeout 60 node "$dir/devtools.mjs" "$1" heap-profiler '@(Loaded)' 'Self size' 'main'; }
speedscope() { timeout 60 node "$dir/speedscope.mjs" "$node/node_modules/speedscope/dist/release/index.html" "$1" heap; }
no_app=$no_browser
[ -d "$node/node_modules/speedscope" ] || no_app=${no_app:-no speedscope: make interop installs it}
unless "$no_browser" .heapprofile "in Chromium's developer tools" devtools
unless "$no_app" .heapprofile "in speedscope" speedscope
finish
