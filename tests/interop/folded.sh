#!/bin/bash
# Folded stacks: as flamegraph.pl and the like read them; inferno, where cargo has installed it; gprof2dot.
#
#   tests/interop/folded.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools
PATH=$PATH:$HOME/.cargo/bin

lines() { # stack, blank, count; no empty frame, no stack twice; the differences have two counts
    python3 - "$1" <<'END'
import re, sys
seen, total = set(), 0
text = open(sys.argv[1], encoding='utf-8', newline='').read()
assert text.endswith('\n') and '\r' not in text
for line in text[:-1].split('\n'):
    stack, count = re.fullmatch(r'(\S.*) ([1-9]\d*)', line).groups()
    assert stack not in seen and all(frame.strip() for frame in stack.split(';')), line
    seen.add(stack)
    total += int(count)
assert total > 0
print(len(seen), 'stacks', total)
END
}
inferno() {
    inferno-flamegraph "$1" >"$dir/inferno.svg" && python3 -c 'import sys, xml.dom.minidom as dom
titles = dom.parse(sys.argv[1]).getElementsByTagName("title")
total = sum(int(line.rsplit(" ", 1)[1]) for line in open(sys.argv[2], encoding="utf-8"))
assert any("(%s samples, 100%%)" % format(total, ",") in one.firstChild.data for one in titles), total' "$dir/inferno.svg" "$1"
}
collapse() { gprof2dot -f collapse "$1" >"$dir/dot" && grep -q '^digraph' "$dir/dot"; }

each .folded "every line is a stack and a count" lines
unless "$(has inferno-flamegraph || echo no inferno: cargo install inferno)" .folded "inferno draws all of it" inferno
unless "$(has gprof2dot || echo no gprof2dot: make interop installs it)" .folded gprof2dot collapse
finish
