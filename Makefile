# `make demo` and `make test` need Python 3.11 or later and make, nothing else: they make their own environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
IMAGES ?= 200k
BASELINES ?=

.DEFAULT_GOAL := help
.PHONY: help env demo model docs test lint types unit bench clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(VENV)/.installed  ## Make the environment: the pinned versions and gankit itself, editable

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: env  ## Train on faces, export, and write blond faces, a grid of hair colours and an animation: 4 to 12 minutes
	$(BIN)/gan-train cgan --data avatars --size 32 --images $(IMAGES) --out $(DEMO)/run
	$(BIN)/gan-export $(DEMO)/run --onnx --torchscript --name faces -o $(DEMO)
	$(BIN)/gan-gen -m $(DEMO)/faces.onnx -n 64 --label blond --scale 2 -o $(DEMO)/blond
	$(BIN)/gan-gen -m $(DEMO)/faces.onnx -n 10 --compare hair --scale 3 -o $(DEMO)/hair.png
	$(BIN)/gan-gen -m $(DEMO)/faces.onnx --interpolate 0,7,42 --frames 90 --loop --scale 4 -o $(DEMO)/interpolation.gif
	@printf '%s\n' '' 'The generator:  $(DEMO)/faces.onnx and $(DEMO)/faces.ts' 'Blond faces:    $(DEMO)/blond/grid.png' \
		'Hair colours:   $(DEMO)/hair.png' 'Interpolation:  $(DEMO)/interpolation.gif' 'The training:   $(DEMO)/run/report.html'

model: env  ## Train the bundled faces again, and export them
	$(BIN)/gan-train cgan --data avatars --size 32 --images 600k --out build/avatars
	$(BIN)/gan-export build/avatars --onnx --name avatars -o runtime/gankit/models

docs: env  ## Build the documentation site in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

test: env lint types unit  ## Linters, type checks and all tests

lint: env  ## Linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: env  ## Type checks
	$(BIN)/mypy

unit: env  ## Tests
	$(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal

bench: env  ## Run all benchmarks, about an hour; writes benchmarks/results/, docs/benchmarks.md and the README's table
	$(BIN)/python -m benchmarks run all $(addprefix --baseline-dir ,$(BASELINES))
	$(BIN)/python -m benchmarks profile
	$(BIN)/python -m benchmarks chart
	$(BIN)/python -m benchmarks table --write

clean:  ## Remove the environment, caches and what the demo wrote
	rm -rf $(VENV) $(DEMO) .cache .mypy_cache .ruff_cache .pytest_cache dist build docs/_build
