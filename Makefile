# The two commands of the README are `make demo` and `make test`; both set up everything they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
DEMO_OUT ?= demo-output
# Threads that wait should sleep: on a shared machine spinning ones cost more than they win.
export OMP_WAIT_POLICY ?= PASSIVE
SCREEN := scripts/with_screen

.PHONY: help demo test check bench screenshots docs format clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[all]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.user

demo: $(VENV)/.user ## Run the main job on the embedded sample; writes demo-output/report.html
	$(BIN)/bio-superposition demo --out $(DEMO_OUT)

check: $(VENV)/.dev ## Lint, types, layers, plugin manifest
	$(BIN)/ruff check src tests scripts benchmarks docs
	$(BIN)/ruff format --check src tests scripts benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-bio-superposition

test: check ## Everything that has to hold: `check`, then all tests (with a virtual screen)
	$(SCREEN) $(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.dev ## Speed and memory as ratios in one run; writes benchmarks/results/
	$(SCREEN) $(BIN)/python -m benchmarks $(BENCH_ARGS)

screenshots: $(VENV)/.dev ## Make the pictures of README and docs from a real window
	$(SCREEN) $(BIN)/python scripts/make_screenshots.py
	$(SCREEN) $(BIN)/python scripts/explorer_screenshots.py

docs: $(VENV)/.dev ## Build the documentation; warnings are errors
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

format: $(VENV)/.dev ## Bring the code into shape
	$(BIN)/ruff check --fix src tests scripts benchmarks docs
	$(BIN)/ruff format src tests scripts benchmarks docs

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) $(DEMO_OUT) docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
