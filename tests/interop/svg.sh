#!/bin/bash
# SVG: strict XML, and used in Chromium as a user does.
#
#   tests/interop/svg.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools

in_chromium() { cp tests/svg.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules" && timeout 120 node "$dir/svg.mjs" "$1"; }
unless "$no_browser" .svg "in Chromium" in_chromium
if [ -n "$no_browser" ]; then skip "a difference in Chromium" "$no_browser"; else try "a difference in Chromium" in_chromium tests/golden/diff.svg; fi
unless "$(has xmllint || echo no xmllint)" .svg "is XML" xmllint --noout
finish
