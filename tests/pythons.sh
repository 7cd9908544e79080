#!/bin/bash
# Runs a command for every CPython 3.8 or later on this machine, or for those named in PYTHONS="...".
#
#   tests/pythons.sh COMMAND     one line of shell; it finds PYTHON=path and VERSION=3.12.1 in the environment
#
# The others are reported as skipped, with the reason. Exit status 1 if COMMAND failed for any.
set -u

candidates() {
    local folder
    # shellcheck disable=SC2086 # several words
    if [ -n "${PYTHONS:-}" ]; then printf '%s\n' $PYTHONS; return; fi
    compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/*/bin/python"
    while IFS= read -r -d : folder; do
        [ "${folder##*/}" = shims ] || compgen -G "$folder/python3*" | grep -E '/python3(\.[0-9]+t?)?$'
    done <<<"$PATH:"
}

describe() { # VERSION EXECUTABLE REASON, in the words of Python 2 and 3
    "$1" -c 'import os, platform, sys
reason = ""
if platform.python_implementation() != "CPython": reason = "this is " + platform.python_implementation()
elif sys.version_info < (3, 8): reason = "older than 3.8"
flags = getattr(sys, "abiflags", "")
sys.stdout.write("%s %s %s" % (platform.python_version() + flags, os.path.realpath(sys.executable), reason))' 2>/dev/null ||
        echo "? $1 does not start"
}

failed=0
seen=' '
for candidate in $(candidates | sort -V); do
    read -r VERSION PYTHON reason < <(describe "$candidate")
    [[ $seen != *" $PYTHON "* ]] || continue
    seen="$seen$PYTHON "
    [ -z "$reason" ] || { echo "skip  Python $VERSION ($PYTHON): $reason"; continue; }
    echo "== Python $VERSION ($PYTHON)"
    export VERSION PYTHON
    bash -c "$1" || failed=1
done
exit $failed
