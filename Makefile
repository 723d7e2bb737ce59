# A fresh machine needs Python 3.11 or newer, git and make; all else is set up here, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The compiler of the stubs has an environment of its own, because it needs an older protobuf.
PROTOS_VENV ?= .venv-protos
PROTOS_READY := $(PROTOS_VENV)/.ready
LOWEST_VENV ?= .venv-lowest
LOWEST_READY := $(LOWEST_VENV)/.ready
CORE_VENV ?= .venv-core
CORE_READY := $(CORE_VENV)/.ready
OPENBAO_VENV ?= .venv-openbao
OPENBAO_READY := $(OPENBAO_VENV)/.ready
DEMO_DIR ?= build/demo
PYTEST_ARGS ?=
# Tests run side by side in this many processes; 0 runs them in one, for a debugger.
WORKERS ?= 2
LOCK_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint protos bench bench-ca bench-rpc bench-start clean docs lock test-core test-faults test-lowest test-postgresql test-pythons wheels

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | sort | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

# The stamp is touched last, so that a set-up that was interrupted is taken up again.
$(READY): requirements.txt pyproject.toml distributions/ca/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. Name a Python 3.11 or newer with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handfast needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt >$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e distributions/ca >$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

$(PROTOS_READY): protos/requirements.txt
	@$(PYTHON) -m venv $(PROTOS_VENV)
	@$(PROTOS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r protos/requirements.txt
	@touch $@

# The lowest declared versions, and the pytest of the lock file: the interop tests run on them too.
$(LOWEST_READY): $(READY) tests/lowest-requirements.txt
	@$(PYTHON) -m venv $(LOWEST_VENV)
	@$(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/lowest-requirements.txt
	@$(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e distributions/ca
	@touch $@

# The core's wheel with what it needs and nothing else, as in the image of a service.
$(CORE_READY): $(READY) tests/core-requirements.txt
	@$(PYTHON) -m venv $(CORE_VENV)
	@$(CORE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/core-requirements.txt
	@touch $@

setup: $(READY) ## make the virtual environment

demo: $(READY) ## run the shop: five services, and what they may and may not do
	@$(BIN)/python -m services.demo --dir "$(DEMO_DIR)"

test: $(READY) ## run the tests, counting branches across all processes
	@rm -rf build/coverage && mkdir -p build/coverage
	@tests/quickly.sh tests/again.sh $(BIN)/python -m coverage run -m pytest -n $(WORKERS) $(PYTEST_ARGS)

# A test run leaves a file for each process; the first lint after it makes one of them.
test-lowest: $(LOWEST_READY) ## run the interop tests on the lowest versions that are declared
	@tests/quickly.sh tests/again.sh $(LOWEST_VENV)/bin/python -m pytest -n $(WORKERS) -m "not documents" tests/interop $(PYTEST_ARGS)

# The same tests of the CA with its ledger in PostgreSQL; they start a server by themselves.
test-postgresql: $(READY) ## run the tests of the CA with ledgers in PostgreSQL
	@tests/quickly.sh tests/again.sh $(BIN)/python -m pytest -n $(WORKERS) --ledger=postgresql tests/unit/authority $(PYTEST_ARGS)

# On the disk, not in memory: where the faults are those of a CA that serves.
test-faults: $(READY) ## kill a CA under load fifty times, and let one stand still for two minutes three times
	@KILLED_ROUNDS=50 STOPPED_SECONDS=120 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -rP tests/fault/test_killed_service.py tests/fault/test_stopped_service.py $(PYTEST_ARGS)

test-core: $(CORE_READY) ## run a server and a client where the core's wheel is installed alone
	@rm -rf build/core && mkdir -p build/core
	@$(BIN)/python -m hatchling build -t wheel -d build/core >build/core/build.log 2>&1 || { cat build/core/build.log >&2; exit 1; }
	@$(CORE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall build/core/*.whl
	@$(BIN)/handfast ca init --trust-domain shop.internal --dir build/core/certs >/dev/null
	@for name in orders payments; do $(BIN)/handfast issue $$name --dir build/core/certs >/dev/null || exit 1; done
	@cd build/core && ../../$(CORE_VENV)/bin/python -W error ../../tests/core_install.py certs

lint: $(READY) $(PROTOS_READY) ## check style, types, layers, stubs, made pages, and the coverage of the last test run
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports
	@$(PROTOS_VENV)/bin/python protos/generate.py --check
	@$(BIN)/python docs/make_failures.py --check
	@ls build/coverage/data* >/dev/null 2>&1 || { echo "No coverage was counted yet: run make test first" >&2; exit 1; }
	@if ls build/coverage/data.* >/dev/null 2>&1; then $(BIN)/python -m coverage combine --quiet; fi
	@$(BIN)/python -m coverage report --fail-under=95

wheels: $(READY) ## build both wheels, of handfast and handfast-ca, in dist/
	@for folder in . distributions/ca; do (cd $$folder && $(abspath $(BIN))/python -m hatchling build -t wheel -d $(CURDIR)/dist) || exit 1; done

docs: $(READY) ## make the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet && echo "Open build/site/index.html"

protos: $(PROTOS_READY) ## make the checked-in stubs anew from protos/
	@$(PROTOS_VENV)/bin/python protos/generate.py

bench: $(READY) ## run the benchmarks
	@if ls tests/bench/test_*.py >/dev/null 2>&1; then $(BIN)/python -m pytest tests/bench --benchmark-only --benchmark-columns=min,median,ops,rounds; else echo "There are no benchmarks yet: they belong in tests/bench/"; fi

bench-rpc: $(READY) ## measure the runtime beside bare gRPC, and hold it to its bars (BENCH_ARGS=--quick)
	@$(BIN)/python -m tests.bench.rpc $(BENCH_ARGS)

# OpenBao is there on Linux alone, and takes 180 MB: elsewhere the CA is measured alone.
$(OPENBAO_READY): $(READY) tests/bench/ca/openbao-requirements.txt
	@$(PYTHON) -m venv $(OPENBAO_VENV)
	@$(OPENBAO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/bench/ca/openbao-requirements.txt || echo "OpenBao can't be installed here"
	@touch $@

bench-ca: $(OPENBAO_READY) ## measure the CA beside OpenBao (BENCH_ARGS=--quick)
	@PATH="$(OPENBAO_VENV)/bin:$$PATH" $(BIN)/python -m tests.bench.ca.run $(BENCH_ARGS)

bench-start: $(READY) ## measure what a start costs in processor time (BENCH_ARGS="--runs 5")
	@$(BIN)/python -m tests.bench.start_up $(BENCH_ARGS)

LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

# handfast-ca lies in this repository, and no index is asked for it.
lock: $(READY) ## write the lock files for pyproject.toml (LOCK_ARGS=--upgrade takes the newest)
	@echo handfast-ca | $(LOCK) --excludes - $(LOCK_ARGS) pyproject.toml --all-extras --group dev -o requirements.txt
	@$(LOCK) $(LOCK_ARGS) protos/requirements.in -o protos/requirements.txt
	@$(LOCK) $(LOCK_ARGS) pyproject.toml tests/core-requirements.in -o tests/core-requirements.txt
	@echo handfast-ca | $(LOCK) --excludes - pyproject.toml --all-extras --group interop --resolution lowest-direct -o tests/lowest-requirements.txt

test-pythons: ## run the tests on each declared Python that is here
	@tests/on_each_python.sh

clean: ## remove all that was made here, never what lies in certs/
	rm -rf build dist .venv .venv-openbao .venv-3.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './certs/*' -prune -exec rm -rf {} +
