#!/bin/bash
# Our JSON: strict parsers read it; every key is in docs/output-formats.md, or a name of the API: a field, a metric.
#
#   tests/interop/json.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

python_json() { # no NaN, no key twice
    python3 - "$1" <<'END'
import json, sys
def once(pairs):
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)
def never(text):
    raise ValueError(text)
document = json.load(open(sys.argv[1], encoding='utf-8'), object_pairs_hook=once, parse_constant=never)
assert document['format'] == 'pyprof'
assert sum(sum(column) for column in document['tree']['self'].values()) > 0
END
}
keys() { # of the document and of its parts, but for names of the program's own
    python3 - "$1" docs/output-formats.md pyprof.h <<'END'
import json, re, sys
document = json.load(open(sys.argv[1], encoding='utf-8'))
documented = open(sys.argv[2], encoding='utf-8').read()
found = set(document)
def walk(value, named):
    for item in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()):
        if isinstance(item, dict) and named:
            found.update(item)
        walk(item, True)
for key, value in document.items():
    if isinstance(value, dict) and key != 'functions':
        found.update(value)
    walk(value, True)
api = open(sys.argv[3], encoding='utf-8').read().split('// [SECTION] PLATFORM')[0]
words = set(re.findall(r'\w+', documented)) | set(re.findall(r'\w+', api)) | {
    name.lower() for name in re.findall(r'PYPROF_(\w+)', api)}
missing = sorted(key for key in found if key not in words and re.sub('^self_', '', key) not in words)
assert not missing, 'not in docs/output-formats.md: %s' % missing
print(len(found), 'keys')
END
}
json() { jq -e '.format == "pyprof" and (.functions | length > 0) and (.threads | length > 0)' "$1"; }
unless "$(has jq || echo no jq)" .json jq json
each .json "a strict parser" python_json
each .json "every key is documented" keys
finish
