# A fresh machine needs Python 3.11 or newer, git and make; all else is set up here, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_DIR ?= build/demo
PYTEST_ARGS ?=

.PHONY: help setup demo test lint protos bench clean lock test-pythons

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | sort

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handfast needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12")'
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

setup: $(READY) ## make the virtual environment

demo: $(READY) ## run the shop: five services, and what they may and may not do
	@$(BIN)/python -m services.demo --dir $(DEMO_DIR)

test: $(READY) ## run the tests, counting branches across all processes
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/python -m coverage run -m pytest $(PYTEST_ARGS)

lint: $(READY) ## check style, types, layers, stubs, and the coverage of the last test run
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python protos/generate.py --check
	@ls build/coverage/data.* >/dev/null 2>&1 || test -f build/coverage/data || { echo "No coverage was counted: run make test first" >&2; exit 1; }
	@ls build/coverage/data.* >/dev/null 2>&1 && $(BIN)/python -m coverage combine --quiet || true
	@$(BIN)/python -m coverage report --fail-under=95

protos: $(READY) ## remake the checked-in stubs from protos/
	@$(BIN)/python protos/generate.py

bench: $(READY) ## run the benchmarks
	@$(BIN)/python -m pytest tests/bench --benchmark-only -q

lock: $(READY) ## resolve the dependencies anew
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --upgrade -o requirements.txt

test-pythons: ## run the tests on each declared Python that is here
	@tests/on_each_python.sh

clean: ## remove what was made here, never what lies in certs/
	rm -rf build dist .venv .venv-3.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
