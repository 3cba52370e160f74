# Every target sets up what it needs: python3 with pip and venv is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test check lint types docs bench clean wheel

run: $(VENV)/.run
	@$(BIN)/lbproxy demo

test: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist loadgroup

check: lint types test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "read docs/_build/html/index.html"

# RIVALS=all: also the rivals from PyPI, in an environment of their own
bench: $(VENV)/.test $(if $(filter all,$(RIVALS)),$(VENV)/rivals/.done)
	RIVALS=$(RIVALS) $(BIN)/python -m tests.bench

$(VENV)/rivals/.done: tests/bench/rivals.py $(VENV)/.test
	@echo "installing the rivals ..."
	@$(PYTHON) -m venv $(VENV)/rivals
	@$(VENV)/rivals/bin/pip install -q --disable-pip-version-check \
		$$($(BIN)/python -c 'from tests.bench.rivals import REQUIREMENTS; print(*REQUIREMENTS)')
	@touch $@

wheel: $(VENV)/.run
	$(BIN)/pip wheel -q --no-deps -w dist .

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@echo "making an environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -U pip

# editable_mode=compat: otherwise twistd does not find the plugin of an editable install
INSTALL = PYTHONWARNINGS=ignore $(BIN)/pip install -q --disable-pip-version-check --config-settings editable_mode=compat -e

$(VENV)/.run: $(BIN)/python setup.cfg pyproject.toml
	@echo "installing lbproxy ..."
	@$(INSTALL) .[fast]
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "installing the test tools ..."
	@$(INSTALL) .[fast,test]
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@$(INSTALL) .[fast,test,dev]
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	@$(INSTALL) .[fast,docs]
	@touch $@
