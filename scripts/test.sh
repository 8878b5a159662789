#!/bin/sh
# Run all tests in parallel with branch coverage, combined over processes. Usage: scripts/test.sh [JOBS]
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python

rm -f .coverage .coverage.*
status=0
"$python" -m coverage run -m pytest -n "${1:-2}" --dist loadscope -m 'not contract' || status=$?
"$python" -m coverage combine --quiet 2>/dev/null || echo 'coverage: not measured'
"$python" -m coverage report | tail -n 40 || true
exit "$status"
