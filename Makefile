# Two commands do everything: `make demo` and `make test`. Each installs what it needs first.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python
JOBS ?= 2
COMPILE := uv pip compile --quiet --generate-hashes --no-emit-index-url --universal --python-version 3.11

.PHONY: help install install-dev demo test explore check contract bench bench-chaos docs lock clean

help:  ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

install:  ## make .venv from the lock file and see to SoftHSM2
	@scripts/install.sh run

install-dev:  ## the same with the tools for testing
	@scripts/install.sh dev

demo: install  ## replay a real incident against a service started for it, and show what happened
	@$(PY) -m drills demo

test: check  ## check, then run all tests on the embedded servers and report branch coverage
	@scripts/test.sh $(JOBS)

explore: install-dev  ## run the property tests on examples drawn anew; prints the seed, SEED=N draws the same again
	@seed=$(if $(SEED),$(SEED),$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')); echo "SEED=$$seed"; \
	HYPOTHESIS_PROFILE=explore $(PY) -m pytest -m hypothesis -n $(JOBS) -q --hypothesis-seed=$$seed

check: install-dev  ## style, types, import contracts, SBOM, known vulnerabilities
	@scripts/check.sh

contract: install-dev  ## validate every request and response against SPEC=fireblocks-openapi.yaml
	@test -n "$(SPEC)" || { echo 'usage: make contract SPEC=path/to/fireblocks-openapi.yaml' >&2; exit 2; }
	@PORTCULLIS_CONTRACT_SPEC="$(abspath $(SPEC))" $(PY) -m pytest -m contract -q

bench: install-dev  ## detection, engine, intake and keys beside their yardsticks, containment row by row; DATA=FILE.parquet: on the handbook's payments
	@$(PY) -m pip --disable-pip-version-check --quiet --no-input install --require-hashes -r requirements-bench.lock
	@$(PY) -m bench.detection $(if $(DATA),--data "$(DATA)") --simulate
	@$(PY) -m bench.engine
	@$(PY) -m bench.intake
	@$(PY) -m bench.intake_more
	@$(PY) -m bench.keys
	@$(PY) -m bench.containment

bench-chaos: install-dev  ## 50 incidents while 34 faults kill everything; prove that nothing is lost or doubled; then the gate at 500 questions/s; SEED=N repeats a run
	@$(PY) -m bench.chaos $(if $(SEED),--seed $(SEED)) $(if $(PICTURE),--picture $(PICTURE))
	@$(PY) -m bench.gate

docs: install-dev  ## write docs/generated from the registries
	@$(PY) -m service.cli docs docs/generated

lock:  ## renew the lock files (needs uv)
	@command -v uv >/dev/null || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	echo 'setuptools>=77' | $(COMPILE) --allow-unsafe - -o requirements-build.lock
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --extra dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) --extra dev --extra bench pyproject.toml -o requirements-bench.lock

clean:  ## remove what was made here, but never .portcullis
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist sbom.json *.egg-info
