#!/bin/sh
# What must hold before tests are worth running. Each line says what it looked at; "not run" is never shown as passed.
set -eu
cd "$(dirname "$0")/.."
bin=.venv/bin

step() { printf '== %s\n' "$*"; }

step 'style'
"$bin/ruff" check .
"$bin/ruff" format --check .
step 'types'
"$bin/mypy"
step 'import contracts'
"$bin/lint-imports"
step 'size budget and house rules'
"$bin/python" -m pytest -q tests/architecture
step 'SBOM'
"$bin/cyclonedx-py" requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json
echo 'sbom.json written'
step 'known vulnerabilities'
# The answer of an index that cannot be reached is "cannot tell". Only a report that was really made is judged.
report=$(mktemp)
trap 'rm -f "$report"' EXIT
if "$bin/pip-audit" --requirement requirements.lock --require-hashes --disable-pip --progress-spinner off \
    --timeout 15 --format json --output "$report" 2>"$report.errors"; then
    echo 'pip-audit: no known vulnerability in requirements.lock'
elif [ -s "$report" ]; then
    cat "$report"
    rm -f "$report.errors"
    echo 'pip-audit: vulnerable packages, see above: raise them in pyproject.toml and run make lock' >&2
    exit 1
else
    echo "not run: pip-audit could not reach the advisories ($(tail -n 1 "$report.errors" | cut -c 1-160))"
fi
rm -f "$report.errors"
