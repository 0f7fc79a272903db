# The two main commands are `make run` and `make test`; each sets up what it needs.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: run test check lint types defs tests bench bench-accuracy ui lock setup chromium postgresql clean

PYTHON ?= python3
PORT ?= 3000
REPORT_PORT = $(shell expr $(PORT) + 1)
UV_VERSION := 0.13.9
BIN := .venv/bin
export FORECAST_VAR ?= $(CURDIR)/var
export DAGSTER_HOME ?= $(FORECAST_VAR)/dagster
# One thread per process: models and folds run in parallel.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
# Without stored bytecode, as many containers ask for, each process compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

run: setup $(DAGSTER_HOME)/dagster.yaml
	@$(BIN)/forecast-assets run

# The checks run beside the tests, of which many wait for a server or a process.
test: lint $(DAGSTER_HOME)/dagster.yaml chromium postgresql
	@$(MAKE) --no-print-directory --jobs=3 defs types tests

check: lint $(DAGSTER_HOME)/dagster.yaml
	@$(MAKE) --no-print-directory --jobs=2 types defs

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types:
	$(BIN)/mypy

defs: .venv/compiled
	$(BIN)/dg check defs

# Four files at a time on two cores.
tests: .venv/compiled
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

bench: setup
	$(BIN)/python benchmarks/bench.py

bench-accuracy: setup
	$(BIN)/python benchmarks/accuracy.py

# `make ui PORT=3010` where 3000 or 3001, the port of the reports, is in use.
ui: export FORECAST_REPORTS_URL = http://127.0.0.1:$(REPORT_PORT)
ui: setup $(DAGSTER_HOME)/dagster.yaml
	@echo "Open http://127.0.0.1:$(PORT); the reports are on http://127.0.0.1:$(REPORT_PORT)"
	@cd $(DAGSTER_HOME) && exec $(CURDIR)/$(BIN)/python -m forecast_assets.reporting.server \
	  $(FORECAST_VAR)/reports $(REPORT_PORT) $(CURDIR)/$(BIN)/dagster dev --host 127.0.0.1 \
	  --port $(PORT) --workspace $(CURDIR)/workspace.yaml

setup: .venv/ready

# uv installs from its cache in seconds, pip in minutes; pip remains for networks that only pip is
# configured for.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed: make run PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv (once; about a minute where nothing is cached)"
	@test -e .venv/made || { $(PYTHON) -m venv --clear .venv && touch .venv/made; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
	  || $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# In a new environment each of the processes that begin at once would compile the same 40 MB.
# The tests report what is wrong with a file.
.venv/compiled: .venv/ready
	@$(BIN)/pytest --collect-only -q >/dev/null 2>&1 || true
	@touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(@D)
	@cp $< $@

# The browser of the UI's tests: Debian's package, if this user may install it.
chromium:
	@command -v chromium >/dev/null || { \
	  echo "Installing Chromium for the tests of the UI"; \
	  sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium >/dev/null; } \
	  || echo "No Chromium: the tests of the UI will fail and say how to install it" >&2

# The server that the tests of the source `sql` start: Debian's package, as above.
postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  echo "Installing PostgreSQL for the tests of the source sql"; \
	  sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq postgresql >/dev/null; } \
	  || echo "No PostgreSQL: the tests of the source sql will fail and say how to install it" >&2

# Pin every dependency for every platform, without the name of a registry.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --quiet \
	  --output-file requirements.lock

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
