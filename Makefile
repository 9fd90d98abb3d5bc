# Everything runs in the virtual environment .venv, which is made when it is missing or out of date.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= runs/demo
export PYTHON

.PHONY: help setup demo test check bench formats race docs results clean

help:
	@echo 'make demo     teach a small network with a larger one on real digits, and ship it'
	@echo 'make test     run the tests'
	@echo 'make check    lint, types, import contracts, tests, docs, a quick demo: what CI runs'
	@echo 'make bench    print the speed ratios'
	@echo 'make formats  measure the file formats that a label store could have, in an environment of their own'
	@echo 'make race     race against the peer libraries in an environment of their own, and write docs/races.md (RACE=NAME: one)'
	@echo 'make docs     build the documentation into site/'
	@echo 'make results  write the table of methods and the docs pages from results/'

$(READY): pyproject.toml constraints.txt tools/setup.sh tools/torch_cpu_hook.py
	@tools/setup.sh $(VENV)

setup: $(READY)

demo: $(READY)
	$(BIN)/tutelage distill --teacher tutelage:cnn --student tutelage:small-cnn?widths=4,8 --data mnist-5k --teacher-epochs 10 --epochs 30 --clip 1 --out $(DEMO) --resume

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

check: $(READY)
	tools/check.sh $(VENV)

bench: $(READY)
	$(BIN)/python -m benchmarks

.venv-formats/.ready: benchmarks/requirements-formats.txt constraints.txt
	$(PYTHON) -m venv .venv-formats
	PIP_CONSTRAINT=constraints.txt .venv-formats/bin/pip install --quiet --requirement benchmarks/requirements-formats.txt
	@touch $@

formats: .venv-formats/.ready
	.venv-formats/bin/python -m benchmarks.formats
	.venv-formats/bin/python -m benchmarks.pages

race:
	@tools/setup-peers.sh .venv-peers
	.venv-peers/bin/python -m benchmarks.races $(or $(RACE),all) --rounds $(or $(ROUNDS),5) --write

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

results: $(READY)
	$(BIN)/tutelage results --write
	$(BIN)/python -m benchmarks.pages

clean:
	rm -rf site runs .mypy_cache .ruff_cache .pytest_cache
