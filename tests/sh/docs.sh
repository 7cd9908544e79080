#!/bin/bash
# README and documents: their code compiles as pasted, their commands and functions exist.
# shellcheck disable=SC1091,SC2154 # report sets build, root and dir
. tests/sh/report

read -r -a embed < <("$PYTHON" tests/embed.py)
unset 'embed[-1]'
# fence FILE N: the Nth ```c block
fence() { awk -v want="$2" '/^```c$/ { n++; on = 1; next } /^```$/ { on = 0 } on && n == want' "$1"; }
implementation=('#define PYPROF_IMPLEMENTATION') # for fragments; make test has it in an object
[ -n "${TEST_LONG:-}" ] || [ ! -e "$build/inside.o" ] || implementation=('#include <stdio.h>' "$build/inside.o")
fragment() { printf '%s\n#include "pyprof.h"\nvoid run_python(void);\nvoid run_python(void) {}\nint main(void)\n{\n%s\nreturn 0;\n}\n' "${implementation[0]}" "$1" >"$dir/part.c" &&
    "$CC" -Wall -Wextra -Wno-unused-but-set-variable -Werror -I"$root" "$dir/part.c" "${implementation[@]:1}" -o "$dir/part" -pthread -ldl; }
quick_start() { fragment "$(awk '/^QUICK START/ { on = 1 } on && /pyprof \*session;/ { code = 1 } code && /^$/ { exit } code' "$root/pyprof.h")"; }
readme_program() { fence "$root/README.md" 1 >"$dir/readme.c" && [ -s "$dir/readme.c" ] &&
    "$CC" -I"$root" ${implementation[1]:+-DPYPROF__IMPLEMENTED} "$dir/readme.c" "${implementation[@]:1}" "${embed[@]}" -pthread -ldl -o "$dir/readme" && (cd "$dir" && ./readme && [ -s profile.svg ]); }
first_fence() { [ "$(grep -n '^```' "$root/README.md" | head -1 | cut -d: -f1)" -le 25 ] && [ "$(wc -l <"$root/README.md")" -le 150 ]; }
links() { grep -o '](docs/[^)]*)' "$root/README.md" | tr -d '()]' | sed 's,#.*,,' | while read -r file; do [ -e "$root/$file" ] || { echo "$file"; exit 1; }; done; }
functions() { grep '^PYPROF_API' "$root/pyprof.h" | grep -o 'pyprof_[a-z_]*(' | tr -d '(' | sort -u | while read -r name; do
        grep -q "$name" "$root/docs/api.md" || { echo "docs/api.md lacks $name"; exit 1; }; done; }
codes() { grep -o 'PYPROF_ERR_[A-Z_]* = [0-9]*' "$root/pyprof.h" | tr -d '=' | while read -r name value; do
        grep -q "\`$name\` $value" "$root/docs/api.md" || { echo "docs/api.md lacks $name $value"; exit 1; }; done; }
# The rows of the header's table of formats: suffix, writer, metric.
formats() { sed -n '/} pyprof__formats\[\] = {/,/^};/s/.*"\(\.[^"]*\)", *\([A-Za-z_()]*\), *PYPROF_\([A-Z_]*\),.*/\1 \2 \3/p' "$root/pyprof.h"; }
# shellcheck disable=SC2016 # these are the marks of code
suffixes() { # FILE: those in the first column of its table below its heading Formats
    awk -F'|' '/^#+ .*[Ff]ormats$/ { on = 1; next } on && /^#/ { exit } on && /^\| `\./ { print $2 }' "$1" | grep -o '`[^`]*`' | tr -d '`' | sort; }
listed() { # FILE: each format with a writer, and none that the header does not know
    local missing unknown
    missing=$(comm -23 <(formats | awk '$2 != "NULL" { print $1 }' | sort) <(suffixes "$1") | xargs)
    unknown=$(comm -13 <(formats | awk '{ print $1 }' | sort) <(suffixes "$1") | xargs)
    [ -z "$missing$unknown" ] || { echo "$1 lacks '$missing', has no such '$unknown'"; return 1; }; }
metrics() { formats | while read -r suffix _ metric; do
        case $metric in WALL_NS) metric='wall time' ;; SAMPLES) metric=samples ;; LIVE_BYTES) metric='live bytes' ;; esac
        grep -qE "^\| \`$suffix\` \|.*\| (all|(all, by )?$metric) \|\$" "$root/docs/output-formats.md" || { echo "$suffix: not by $metric"; exit 1; }; done; }
headings() { sed -n 's/^## //p' "$root/docs/troubleshooting.md" | sed 's/^Degraded: //' | while read -r text; do
        grep -qF "$text" "$root/pyprof.h" || { echo "no message '$text' in pyprof.h"; exit 1; }; done; }
targets() { grep -ohE '^ +make [a-z-]+' "$root/README.md" | awk '{ print $2 }' | while read -r name; do
        grep -q "^$name:" "$root/Makefile" || { echo "no target $name"; exit 1; }; done; }

try "README: first code by line 25, 150 lines at most" first_fence
try "README: its documents exist" links
try "README: its make targets exist" targets
try "README: its formats are the header's" listed "$root/README.md"
try "output-formats.md: its formats are the header's" listed "$root/docs/output-formats.md"
try "output-formats.md: their metrics, too" metrics
try "the header's QUICK START compiles" quick_start
for n in 1 2; do try "getting-started.md: code $n compiles" fragment "$(fence "$root/docs/getting-started.md" $n)"; done
if [[ ${embed[*]} == *-isystem*-lpython* ]]; then try "README: the program builds and writes its picture" readme_program
else skip "README: the program" "no Python.h or no libpython for $PYTHON"; fi
try "api.md: every function" functions
try "api.md: every result" codes
try "troubleshooting.md: its messages are the header's" headings
finish
