#!/bin/bash
# Perfetto: its own messages decode the trace; every name, frame and stack is interned before its use, slices nest.
# trace_processor itself is not in any package: the one of PyPI's perfetto is fetched when it is first used.
#
#   tests/interop/perfetto.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

no_proto=
"$venv/bin/python" -c 'import perfetto.protos.perfetto.trace.perfetto_trace_pb2' 2>/dev/null || no_proto="no perfetto: make interop installs it"
unless "$no_proto" .perfetto-trace "Perfetto's messages decode it" "$venv/bin/python" tests/interop/perfetto_trace.py
finish
