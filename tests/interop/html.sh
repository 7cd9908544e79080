#!/bin/bash
# HTML: used in Chromium as a user does, by mouse and by keyboard, on a screen, a phone and paper.
#
#   tests/interop/html.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools

in_chromium() { cp tests/html.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules" && timeout 400 node "$dir/html.mjs" "$1"; }
unless "$no_browser" .html "in Chromium" in_chromium
finish
