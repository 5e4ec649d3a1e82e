# Everything here works on a machine with Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo setup quick test slow fuzz bench docs lint clean
.DEFAULT_GOAL := demo

.venv/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "penchant needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable .
	@touch $@

.venv/.dev: .venv/.run
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev,torch]'
	@touch $@

# The main job on data that are built in, and where to look.
demo: .venv/.run
	$(BIN)/penchant diagnose digits --optimizer muon --out demo

setup: .venv/.dev

test: .venv/.dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

# The fast heart of the suite, for while one works: about a minute.
quick: .venv/.dev
	$(BIN)/python -m pytest tests/test_package.py tests/norms tests/optimizers \
	  tests/margins/test_certificate.py tests/problems tests/theory/test_predict.py

# Studies and properties that take longer.
slow: .venv/.dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 -m slow

# Ten thousand random inputs from a new seed, which is printed.
fuzz: .venv/.dev
	$(BIN)/python -m pytest tests/fuzz -m fuzz

bench: .venv/.dev
	$(BIN)/python -m benchmarks

docs: .venv/.dev
	$(BIN)/zensical build --strict --clean --config-file mkdocs.yml

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

clean:
	rm -rf .venv site demo penchant-report penchant-study .pytest_cache .ruff_cache
