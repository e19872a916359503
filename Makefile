# Two commands matter: `make demo` and `make test`. Both make the virtual environment first, with exactly the versions of
# constraints.txt. They need Python 3.11 to 3.13, git and make; nothing else, and no root.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
ARGS ?=
# One more than there are processors, at most four: many tests wait for processes and servers.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, 1 + len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 3))')

.DEFAULT_GOAL := help
.PHONY: help demo test check format lock schemas clean

help: ## What there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## Everything on this machine: shop, simulated ad platforms, Dagster's UI. Ctrl-C ends it
	@$(BIN)/audience-syncs demo $(ARGS)

test: $(STAMP) ## The whole test suite
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(STAMP) ## Lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(STAMP) ## Make the JSON schemas for editors again
	$(BIN)/python -m audience_syncs.project.schemas

lock: $(STAMP) ## Choose the newest versions that resolve together, for every Python and system
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras --no-emit-index-url --no-annotate \
		--custom-compile-command 'make lock' --upgrade pyproject.toml -o constraints.txt

clean: ## Remove the virtual environment and caches; the demo's state in .audience_syncs stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 with venv is needed, and none was found."; \
		echo "Debian: apt-get install python3 python3-venv    macOS: brew install python@3.13"; exit 1; }
	@echo "installing into $(VENV) with $(PYTHON), a minute or two the first time"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)
