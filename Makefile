# Every target sets up what it needs: python3 with pip and venv is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# 0: everything in pure Python; 1: compiled or an error; empty: compiled where there is a C compiler
COMPILED ?=
ifneq ($(COMPILED),)
export LBPROXY_COMPILED = $(COMPILED)
endif

.PHONY: run test test-long test-all mutants asan check lint types docs man bench count siege clean \
	wheel wheels sdist compiled

run: $(VENV)/.run compiled
	@$(BIN)/lbproxy demo

# tests at a time; those with real servers mostly wait, so four are quicker on a quiet machine
JOBS ?= 2

test: $(VENV)/.test compiled
	$(BIN)/pytest -n $(JOBS) --dist loadgroup $(TESTS)

# the tests marked long; make test-all: all tests
test-long: $(VENV)/.test compiled
	$(BIN)/pytest -n 2 --dist loadgroup -m long $(TESTS)

test-all: test test-long

# small errors in the sources that no test notices; MUTANTS="--sample 50 http/forward.py"
mutants: $(VENV)/.dev
	$(BIN)/python tools/mutants.py $(MUTANTS)

# the tests of heads on a build with AddressSanitizer, some minutes; needs gcc
asan: $(VENV)/.test
	$(BIN)/python tools/asan.py $(TESTS)

check: lint types test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	$(BIN)/pytest -m sphinx tests/docs
	@echo "read docs/_build/html/index.html"

# the manual pages lbproxy(1) and lb.ini(5), which a wheel built afterwards installs
man: $(VENV)/.docs
	$(BIN)/sphinx-build -q -b man -d docs/_build/man docs docs/man

# RIVALS=all: also the rivals from PyPI and npm, in an environment of their own
bench: $(VENV)/.test compiled $(if $(filter all,$(RIVALS)),$(VENV)/rivals/.done)
	RIVALS=$(RIVALS) $(BIN)/python -m tests.bench

# instructions and system calls per unit of work; ROWS="same tls", RIVALS=1: nginx and HAProxy too;
# CHECK=1: fail above the budgets; REASON="why figures rise": write the budgets
count: $(VENV)/.test compiled
	$(BIN)/python -m tests.count $(ROWS) $(if $(RIVALS),--rivals) $(if $(CHECK),--check) \
		$(if $(REASON),--reason "$(REASON)")

# attacks on lbproxy, HAProxy and nginx on loopback, at most ten minutes; ATTACKS="pipelined resets"
siege: $(VENV)/.test compiled
	$(BIN)/python -m tests.siege $(ATTACKS)

$(VENV)/rivals/.done: tests/bench/rivals.py $(VENV)/.test
	@echo "installing the rivals ..."
	@$(PYTHON) -m venv $(VENV)/rivals
	@$(VENV)/rivals/bin/pip install -q --disable-pip-version-check \
		$$($(BIN)/python -c 'from tests.bench.rivals import REQUIREMENTS; print(*REQUIREMENTS)')
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/rivals cors-anywhere || \
		echo "npm cannot install cors-anywhere: the bench goes on without it"
	@touch $@

wheel: $(VENV)/.run compiled
	$(BIN)/pip wheel -q --no-deps -w dist .

# for a release: LBPROXY_URL=https://... names the repository; a wheel for every Python here, each
# tried in a fresh environment; PYTHONS="3.11": only for these
wheels: $(VENV)/.run
	$(BIN)/python tools/wheels.py dist $(PYTHONS)

sdist: $(VENV)/.run
	$(BIN)/python tools/wheels.py --sdist dist

# again whenever a source is newer than the binaries, which are not used then
compiled: $(if $(filter 0,$(COMPILED)),,$(VENV)/.compiled)

$(VENV)/.compiled: $(VENV)/.run setup.py lbproxy/compiled.py $(wildcard lbproxy/*/*.py lbproxy/*/*/*.py)
	@$(BIN)/pip install -q --disable-pip-version-check setuptools
	@$(BIN)/python tools/compile.py
	@touch $@

clean:
	rm -f lbproxy__mypyc.*.so lbproxy/compiled.json
	find lbproxy -name '*.so' -delete
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@echo "making an environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -U pip

# editable_mode=compat: otherwise twistd does not find the plugin of an editable install
# what is compiled, is by the target below: with its own mypyc, and again when sources change
INSTALL = LBPROXY_COMPILED=0 PYTHONWARNINGS=ignore $(BIN)/pip install -q --disable-pip-version-check --config-settings editable_mode=compat -e

$(VENV)/.run: $(BIN)/python setup.cfg pyproject.toml
	@echo "installing lbproxy ..."
	@$(INSTALL) .[fast,cli,guard]
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "installing the test tools ..."
	@$(INSTALL) .[fast,test]
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@$(INSTALL) .[fast,test,dev]
	@touch $@

$(VENV)/.docs: $(VENV)/.test
	@$(INSTALL) .[fast,test,docs]
	@touch $@
