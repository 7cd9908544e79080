#!/bin/bash
# .trace.json: Perfetto's trace processor, Chromium's own developer tools, the speedscope app, the Firefox Profiler.
#
#   tests/interop/trace.sh FOLDER      TRACE_PROCESSOR: Perfetto's trace_processor_shell (its package on PyPI has none inside)
# shellcheck disable=SC1091,SC2154 # tools sets folder, node and the like
. tests/interop/tools
. tests/interop/fox

cp tests/devtools.mjs tests/speedscope.mjs "$dir" && ln -sfn "$node/node_modules" "$dir/node_modules"
devtools() { timeout 60 node "$dir/devtools.mjs" "$1" timeline 'Full range ('; }
speedscope() { timeout 60 node "$dir/speedscope.mjs" "$node/node_modules/speedscope/dist/release/index.html" "$1" "trace event"; }
perfetto() { # no error of the import; all slices and counters are there
    echo "select name, value from stats where severity in ('error', 'data_loss') and value > 0;
select count(*) from slice; select count(*) from counter;" >"$dir/query"
    "$TRACE_PROCESSOR" -q "$dir/query" "$1" >"$dir/answer" || return
    cat "$dir/answer"
    ! grep -q '^"[a-z_]*",[0-9]' "$dir/answer" && [ "$(jq '[.traceEvents[] | select(.ph == "X")] | length' "$1")" = "$(grep -m 1 '^[0-9]' "$dir/answer")" ]
}
no_app=$no_browser
[ -d "$node/node_modules/speedscope" ] || no_app=${no_app:-no speedscope: make interop installs it}
unless "$no_browser" .trace.json "in Chromium's developer tools" devtools
unless "$no_app" .trace.json "in speedscope" speedscope
unless "$no_firefox" .trace.json "in the Firefox Profiler" firefox MainThread
unless "$([ -x "${TRACE_PROCESSOR:-}" ] || echo 'no TRACE_PROCESSOR: it is downloaded when it first runs')" .trace.json "in Perfetto" perfetto
finish
