# make check   everything a change must pass (the same as CI)
# make test    set up and run the tests
# make docs    the documentation site in build/site, without a network
# make demo    set up and run the main job on the default corpus
# make sanitise   the kernel tests under address, undefined-behaviour and thread sanitisers
# make arm     the kernel tests cross-compiled for 64-bit ARM (NEON), run under qemu (g++-aarch64-linux-gnu, qemu-user)

PYTHON ?= python3
BIN = .venv/bin

.PHONY: check test docs demo lint setup sanitise arm

check: setup lint
	$(BIN)/python -m pytest -n 2

test: setup
	$(BIN)/python -m pytest -n 2

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

demo:
	$(PYTHON) -m venv .venv && $(BIN)/pip install -q -c constraints.txt -e . && $(BIN)/seqstate compare

setup:
	$(PYTHON) -m venv .venv && $(BIN)/pip install -q -c constraints.txt -e ".[dev]"

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

NATIVE = src/seqstate/native
KERNEL = $(filter-out $(NATIVE)/module.cpp, $(wildcard $(NATIVE)/*.cpp))
KERNEL_TESTS = -std=c++17 -pthread -I$(NATIVE) $(wildcard tests/native/sanitise*.cpp) $(KERNEL)
SANITISED = $(CXX) -O1 -g1 -fno-sanitize-recover=all $(KERNEL_TESTS)

sanitise:
	mkdir -p build
	$(SANITISED) -fsanitize=address,undefined -o build/sanitise && build/sanitise
	$(SANITISED) -fsanitize=thread -o build/sanitise && build/sanitise

arm:
	mkdir -p build
	aarch64-linux-gnu-g++ -O2 -fno-math-errno -static $(KERNEL_TESTS) -o build/arm && qemu-aarch64 build/arm
