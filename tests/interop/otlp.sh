#!/bin/bash
# OTLP profiles: opentelemetry-proto decodes them, and every index is one.
#
#   tests/interop/otlp.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

no_proto=
"$venv/bin/python" -c 'import opentelemetry.proto.collector.profiles.v1development' 2>/dev/null || no_proto="no opentelemetry-proto: make interop installs it"
unless "$no_proto" .otlp.pb "opentelemetry-proto decodes it" "$venv/bin/python" tests/interop/otlp.py
finish
