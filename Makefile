# make demo   set up everything and run the whole method on simulated data with a planted network
# make test   set up everything, check style, imports and types, and run the tests
# make ui     open Dagster's UI on the same results
# make docs   build the documentation's site, build/docs/index.html

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes for the tests; each uses one thread.
WORKERS ?= auto

.PHONY: demo ui docs pages test test-ray setup lint types tests browser clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed; name it: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing packages (about 2.5 GB, a few minutes)"
	$(BIN)/pip install --disable-pip-version-check --progress-bar off --quiet -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $(STAMP)

demo: setup
	$(BIN)/scmagnify demo

ui: setup
	$(BIN)/scmagnify ui

docs: pages
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/docs
	@echo build/docs/index.html

# The pages that are made from declarations: the data dictionary, the settings and the families.
pages: setup
	$(BIN)/python -c 'from scmagnify_assets.lake.dictionary import as_markdown; print(as_markdown(), end="")' > docs/dictionary.md
	$(BIN)/python -c 'from scmagnify_core.settings import as_markdown; print(as_markdown(), end="")' > docs/settings.md
	$(BIN)/python docs/families.py

test: setup browser lint types tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

tests: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not ray"

# A Ray head on this machine, and the whole graph on it: minutes, and most of the machine.
test-ray: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -m ray

# The tests of the UI drive a real browser; without one they are skipped, with a reason.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then (apt-get update -qq && apt-get install -y -qq chromium >/dev/null) || echo "Chromium could not be installed."; \
	else echo "No Chromium found: the tests of the UI will be skipped."; fi

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
