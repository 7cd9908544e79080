#!/bin/bash
# Installs packages of node into build/node, unless they are there: tests/node.sh PACKAGE...
set -u
cd "$(dirname "$0")/.." || exit

folder=build/node
mkdir -p "$folder" && exec 9>"$folder/lock" && flock 9 || exit # two at once wait for each other
missing=()
for package; do [ -d "$folder/node_modules/$package" ] || missing+=("$package"); done
[ ${#missing[@]} = 0 ] || timeout 300 npm install --ignore-scripts --no-audit --no-fund --prefix "$folder" "${missing[@]}" </dev/null
