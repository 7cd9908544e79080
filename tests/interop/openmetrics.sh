#!/bin/bash
# OpenMetrics: prometheus-client's strict parser reads it; promtool, which reads the older text format, finds no error in it
# (it may find the style of another format: exit status 3).
#
#   tests/interop/openmetrics.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

parsed() {
    "$venv/bin/python" -c 'import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = {family.name: family for family in text_string_to_metric_families(open(sys.argv[1], newline="").read())}
assert all(family.documentation and family.samples for family in families.values())
wall, = families["pyprof_wall_seconds"].samples
functions = families["pyprof_function_wall_seconds"].samples
assert wall.name == "pyprof_wall_seconds_total" and wall.value > 0
assert len({sample.labels["function"] for sample in functions}) == len(functions) <= 21
assert abs(sum(sample.value for sample in functions) - wall.value) < 1e-6 * wall.value
assert {"missed", "moved"} <= {sample.labels["reason"] for sample in families["pyprof_lost_samples"].samples}
print(len(families), "families")' "$1"
}
promtool_reads() { promtool check metrics <"$1" || [ $? = 3 ]; }
no_client=
"$venv/bin/python" -c 'import prometheus_client' 2>/dev/null || no_client="no prometheus-client: make interop installs it"
unless "$no_client" .om.txt "prometheus-client parses it" parsed
unless "$(has promtool || echo no promtool)" .om.txt "promtool reads it" promtool_reads
finish
