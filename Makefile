# `make demo` and `make test` set up everything they need on a machine with Python >= 3.11 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: install demo test lint types pytest check-slow bench bench-serving bench-automl bench-batch bench-start bench-monitoring bench-training bench-bigquery bench-pipelines docs lock clean

install: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Portico needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r uv.lock.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	touch $@

demo: install
	$(BIN)/portico demo

# mypy takes one core: the tests run beside it. Four processes test on two cores, since servers are waited for.
test: lint
	$(MAKE) --no-print-directory -j 2 types pytest

pytest: install
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/vulture

types: install
	$(BIN)/mypy

check-slow: install
	$(BIN)/python -m pytest -m slow --timeout=3600

bench: bench-start bench-serving bench-batch bench-monitoring bench-training bench-automl bench-bigquery bench-pipelines
	$(BIN)/python -m bench.page

bench-serving bench-automl bench-batch bench-start bench-monitoring bench-training bench-bigquery bench-pipelines: bench-%: install
	$(BIN)/python -m bench.$*

docs: install
	$(BIN)/python -m portico.host.coverage docs/coverage.md

# Versions and hashes, and no registry's name.
lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --override override.txt --extra clients --extra dev pyproject.toml -o requirements.lock
	grep -A 40 '^uv==' requirements.lock | awk 'NR==1 || /^    --hash/ {print; next} {exit}' > uv.lock.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
