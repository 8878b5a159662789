#!/bin/sh
# Run all tests in parallel and report branch coverage over every process they start. Usage: scripts/test.sh [JOBS]
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python

# Coverage starts itself in each Python process that finds these two, pytest-xdist's workers among them.
COVERAGE_PROCESS_START=$PWD/pyproject.toml
COVERAGE_FILE=$PWD/.coverage
export COVERAGE_PROCESS_START COVERAGE_FILE

rm -f .coverage .coverage.*
status=0
# Modules in their order: whole installations first, small unit tests last, so that no process ends on a long module alone.
"$python" -m pytest -n "${1:-2}" --dist loadscope --no-loadscope-reorder -m 'not contract' || status=$?
unset COVERAGE_PROCESS_START
echo '== branch coverage'
"$python" -m coverage combine --quiet && "$python" -m coverage report || echo 'not measured: see the message above'
exit "$status"
