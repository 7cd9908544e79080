#!/bin/bash
# The text report: whole lines of UTF-8 that a terminal shows as they are, with the functions in it.
#
#   tests/interop/text.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

report() {
    python3 - "$1" <<'END'
import sys, unicodedata
text = open(sys.argv[1], encoding='utf-8', newline='').read()
assert text.endswith('\n')
for number, line in enumerate(text.split('\n'), 1):
    bad = [c for c in line if unicodedata.category(c) in ('Cc', 'Cf', 'Cs', 'Zl', 'Zp')]
    assert not bad, (number, bad)
    assert line == line.rstrip(), (number, 'ends in blanks')
assert 'MainThread' in text and '<module>' in text
END
}
each .txt "harmless on a terminal" report
finish
