# Every target sets up what it needs, on a Debian machine with Python 3.11 to 3.13, make and root;
# without root it works where no Debian package is missing. PYTHON=... chooses the interpreter.

SHELL := /bin/bash
PYTHON ?=
BIN := .venv/bin
# Much of the suite waits for real processes. Each worker takes ports of its own: tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal
INSTALLED := .venv/.installed

.PHONY: setup demo bench bench-list test mutants soak check format clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml $(wildcard requirements/*.txt) scripts/setup.sh
	@PYTHON="$(PYTHON)" scripts/setup.sh
	@touch $@

demo: setup
	@$(BIN)/python scripts/demo.py

# make bench ONLY=write,read JSON=figures.json; what there is: make bench-list; see docs/performance.md
bench: setup
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only "$(ONLY)") $(if $(FILES),--files $(FILES)) $(if $(JSON),--json "$(JSON)")

bench-list: setup
	@$(BIN)/python -m benchmarks --list

test: setup
	@$(PYTEST)

# Searches seeds that find each mutant, keeps them and writes the table of docs/testing.md.
mutants: setup
	@$(BIN)/python -m tests.mutants.search $(if $(SEEDS),--seeds "$(SEEDS)")

# make soak MINUTES=60 HOURS=1 SEED=1: fresh seeds on all cores; plans of runs that fail go to soak/.
soak: setup
	@$(BIN)/python scripts/soak.py --minutes $(or $(MINUTES),60) --hours $(or $(HOURS),1) $(if $(SEED),--seed $(SEED))

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist dolmen.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
