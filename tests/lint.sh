#!/bin/bash
# The rules of style: tests/lint.py has those that are ours, shellcheck those for scripts.
set -u
cd "$(dirname "$0")/.." || exit

"${PYTHON:-python3}" tests/lint.py || echo "FAIL  lint: tests/lint.py itself"

if ! command -v shellcheck >/dev/null; then echo "skip  lint: shellcheck: not installed"
elif said=$(shopt -s nullglob; shellcheck tests/*.sh tests/sh/*.sh tests/interop/*.sh bench/*.sh .ci/run); then echo "ok    lint: shellcheck"
else echo "FAIL  lint: shellcheck"; echo "$said"; fi
