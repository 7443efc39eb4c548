# One virtual environment for everything; made, and made anew when pyproject.toml changes, by whatever needs it.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

.DEFAULT_GOAL := help
.PHONY: help demo test pictures soak bench docs lint format types check clean

# How long `make soak` makes trouble; its page in docs/ is of 600 seconds.
SECONDS := 600

help: ## list the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml scripts/make-venv
	@echo "setting up $(VENV) with all that this needs: a minute or two, once" >&2
	scripts/make-venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench,docs,lint]'
	@touch $@

demo: $(STAMP) ## set up, and show the whole path: a shop's events from NATS to a data frame
	$(BIN)/fraiseql-events demo

test: $(STAMP) ## set up, and run every test
	scripts/install-r
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/faults --ignore tests/browser --ignore tests/sinks
	$(BIN)/python -m pytest -n 3 tests/faults tests/sinks  # most of their time is waiting
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout 60 --ignore notebooks/07_r.ipynb notebooks
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/browser
	scripts/check-r  # R, its package and its notebook

pictures: $(STAMP) ## take the pictures of docs/pictures anew, in a real browser
	$(BIN)/python -m pytest tests/browser --update-pictures

soak: $(STAMP) ## set up, and make trouble for ten minutes, or for SECONDS=60, under a steady load
	$(BIN)/python -m tests.faults.soak --seconds $(SECONDS)

bench: $(STAMP) ## set up, run every benchmark, and write docs/benchmarks.md; QUICK=1 is a look at small sizes
	scripts/install-r
	$(BIN)/python -m benchmarks.report $(if $(QUICK),--quick)

docs: $(STAMP) ## build the site into docs/_build/html; a warning is an error
	rm -rf docs/_build
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs -d docs/_build/doctrees . docs/_build/html

lint: $(STAMP) ## look for mistakes and for code that is not formatted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## check the types
	$(BIN)/mypy

check: lint types docs test ## all that CI does

format: $(STAMP) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
