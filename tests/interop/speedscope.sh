#!/bin/bash
# The speedscope app, with the formats that it reads; the JSON against the app's own schema.
#
#   tests/interop/speedscope.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools

release=$node/node_modules/speedscope/dist/release
app() { # KIND TEXT... FILE: it is imported as that, the page shows the texts
    cp tests/speedscope.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules" &&
        timeout 60 node "$dir/speedscope.mjs" "$release/index.html" "${@: -1}" "${@:1:$#-1}"
}
schema() {
    "$venv/bin/python" -c 'import json, jsonschema, sys
jsonschema.validate(json.load(open(sys.argv[2])), json.load(open(sys.argv[1])))' "$release/file-format-schema.json" "$1"
}
[ -e "$release/index.html" ] || no_browser=${no_browser:-no speedscope: make interop installs it}
unless "$no_browser" .speedscope.json "in the app" app "speedscope json" MainThread
unless "$no_browser" .folded "in the app" app "collapsed stack"
unless "$no_browser" .pb.gz "in the app" app pprof
no_schema=$no_browser
"$venv/bin/python" -c 'import jsonschema' 2>/dev/null || no_schema="no jsonschema: make interop installs it"
unless "$no_schema" .speedscope.json "fits the schema" schema
finish
