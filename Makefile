# make check   everything a change must pass (the same as CI)
# make test    set up and run the tests
# make demo    set up and run the main job on the default corpus
# make sanitise   the kernel tests under address and undefined-behaviour sanitisers

PYTHON ?= python3
BIN = .venv/bin

.PHONY: check test demo lint setup

check: setup lint
	$(BIN)/python -m pytest -n 2

test: setup
	$(BIN)/python -m pytest -n 2

demo:
	$(PYTHON) -m venv .venv && $(BIN)/pip install -q -c constraints.txt -e . && $(BIN)/seqstate compare

setup:
	$(PYTHON) -m venv .venv && $(BIN)/pip install -q -c constraints.txt -e ".[dev]"

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
