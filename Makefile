.DEFAULT_GOAL := help
.PHONY: help demo test test-all ecosystem coverage torture check wheel floors bench gpu predictions picture format clean

# Hundreds of processes start in the tests: each would compile the package anew where this is set.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
VENV   := .venv
# Tests of hostile input, whose counts INITBENCH_TORTURE multiplies, too.
HOSTILE := $(addprefix tests/test_,fetch_faults.py damaged_data.py inert_output.py recipe_any.py stays_inside.py)
TEST   := pytest -n 2 --dist worksteal
SHORT  := -m "not long and not ecosystem" --hypothesis-profile ci
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

demo: $(VENV)/.installed ## install, compare the default schemes on real digits, and say where plots and report are
	$(BIN)/initbench compare --name demo

test: $(VENV)/.dev ## install what tests need and run the tests that hold every promise once (under 5 minutes)
	$(BIN)/$(TEST) $(SHORT)

test-all: $(VENV)/.dev ## every test, with all cases
	$(BIN)/$(TEST)

ecosystem: $(VENV)/.ecosystem ## install the tools that exports are for and read exports back with them
	$(BIN)/pytest -rs -m ecosystem

coverage: $(VENV)/.dev ## line and branch coverage of the package by the tests of `make test`
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(TEST) $(SHORT) --ignore tests/torture # those kill processes, whose figures would be torn
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

torture: $(VENV)/.torture ## the tests of what may go wrong, ten times as long, and a fuzzer (most of an hour)
	INITBENCH_TORTURE=10 $(BIN)/pytest -n 2 --timeout 7200 -rP tests/torture $(HOSTILE)
	$(BIN)/python -m tests.torture.fuzz 60

check: $(VENV)/.dev ## lint, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

wheel: $(VENV)/.dev ## build sdist and wheel, install the wheel into a fresh environment, use it
	$(BIN)/python tests/wheel.py

floors: ## unit tests with the lowest versions allowed, and on Python 3.12 and 3.13 where found (downloads gigabytes)
	$(PYTHON) tests/floors.py

bench: $(VENV)/.bench ## measure against other ways to train and against the floor (BENCH=--quick: see that it runs)
	$(BIN)/python tests/benchmarks $(BENCH)
	$(BIN)/python -m tests.benchmarks.costs
	$(BIN)/python -m tests.benchmarks.ends

gpu: $(VENV)/.installed ## settle what a GPU does: answers, verdicts, speed (GPU="--device cpu --quick": rehearse without one)
	$(BIN)/python -m tests.gpu $(GPU)

predictions: $(VENV)/.dev ## measured over predicted at step 0, for every built-in model and scheme (most of an hour)
	$(BIN)/python -m tests.benchmarks.predictions $(BENCH)

picture: $(VENV)/.dev ## record the terminal at the top of README.md from a real run of the default comparison
	$(BIN)/python -m tests.demo_picture

format: $(VENV)/.dev ## mend formatting and what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and caches; results stay
	rm -rf $(VENV) .venv-floors .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps make the second call cost nothing: pip runs again only when what it reads has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@echo "Compiling the training loops for this machine, once (some 3 s) …"
	@$(BIN)/python -m initbench.training.compiled
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable '.[dev,browser]'
	@touch $@

$(VENV)/.torture: $(VENV)/.installed
	$(PIP) --editable '.[dev,torture]'
	@touch $@

$(VENV)/.ecosystem: $(VENV)/.installed
	$(PIP) --editable '.[dev,parquet,mlflow,frameworks]' mlflow
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(PIP) --editable '.[dev,bench]'
	@touch $@
