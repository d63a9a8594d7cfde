# `make demo` and `make test` set up everything they need on a machine with Python >= 3.11 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# What pytest rewrites, and what each process of a server imports, is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test lint types pytest rewritten check-slow bench bench-serving bench-automl bench-batch bench-start bench-monitoring bench-training bench-bigquery bench-pipelines bench-console screenshots docs lock clean

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

# mypy takes one core: the tests run beside it. Six processes test on two cores, since servers are waited for.
test: lint
	$(MAKE) --no-print-directory -j 2 types pytest

pytest: rewritten
	$(BIN)/python -m pytest -m "not slow" -n 6 --dist loadfile --no-loadscope-reorder

# pytest rewrites assertions: once, not in each of its processes at the same time.
rewritten: install
	$(BIN)/python -m pytest --collect-only -qq > /dev/null || true

lint: install
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/vulture

types: install
	$(BIN)/mypy

check-slow: install
	$(BIN)/python -m pytest -m slow --timeout=3600

bench: bench-start bench-serving bench-batch bench-monitoring bench-training bench-automl bench-bigquery bench-pipelines \
  bench-console
	$(BIN)/python -m bench.page

bench-serving bench-automl bench-batch bench-start bench-monitoring bench-training bench-bigquery bench-pipelines bench-console: bench-%: install
	$(BIN)/python -m bench.$*

screenshots: install
	$(BIN)/python -m tests.console.screenshots

docs: install
	$(BIN)/python -m portico.host.coverage docs/coverage.md

# Versions and hashes, and no registry's name.
lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --override override.txt --extra clients --extra dev pyproject.toml -o requirements.lock
	grep -A 40 '^uv==' requirements.lock | awk 'NR==1 || /^    --hash/ {print; next} {exit}' > uv.lock.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
