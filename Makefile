# The product's commands. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
# Plainer instructions in PyTorch, OpenBLAS, MKL and oneDNN, on one thread: other last bits, as on another processor.
PORTABLE := ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=Haswell MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 \
            OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# Where the last bit of a number could decide: searches, kernels, steps, starts, sizes, and whole trainings.
NUMERICAL := $(addprefix tests/somlib/utils/test_,$(addsuffix .py,distances faiss_search fused_search \
             initialization masked_distances neighborhood search smallest smoothing torch_search training)) \
             $(addprefix tests/somlib/core/test_,$(addsuffix .py,scales scan subspace trainer)) \
             tests/somlib/core/growing/test_growth.py

.PHONY: help setup run test test-portable check format gallery year clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything that the project and its tests need

# torch goes first and pinned: left to itself, pip may fetch a CUDA build of several gigabytes.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: Python 3.11 or newer is needed, got " + sys.version.split()[0] + ": use make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: setup ## train, map, cluster and register a map of the shipped weather data
	$(BIN)/som train data/weather.yaml

test: setup ## run the whole test suite, on two cores
	$(BIN)/python -m pytest --numprocesses 2

test-portable: setup ## run the numerical tests with plainer instructions, as on another processor
	$(PORTABLE) $(BIN)/python -m pytest --numprocesses 2 $(NUMERICAL)

check: setup ## lint, types, import contracts and declared dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

year: setup ## retrain a map of the shipped data month by month, and see what it is worth; two minutes
	$(BIN)/python benchmarks/year.py

gallery: setup ## draw every figure on four data sets into build/gallery, and the pictures of the docs
	$(BIN)/python docs/make_gallery.py

format: setup ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv, caches and the results of runs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf mlflow.db mlruns mlartifacts .som
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
