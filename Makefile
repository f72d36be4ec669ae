# What can be done in a checkout. Each target sets up what it needs; git, make and Python are all that must be there.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# What was compiled once is kept, whatever the caller's environment says: pytest rewrites every test otherwise, in each
# process of its own.
export PYTHONDONTWRITEBYTECODE :=
# A cache of the checkout's own: stevedore keeps there which plugins it found.
RUN := XDG_CACHE_HOME=$(CURDIR)/.cache .venv/bin/python
# Cleaning up needs nothing set up: the lab rests on the standard library only.
PYTHON_OR_VENV := $(firstword $(wildcard .venv/bin/python) /usr/bin/python3)
# `make unit ARGS="-k pools"` hands further arguments to pytest.
ARGS ?=
# Of these, what exists by now.
CHECKED := $(wildcard conftest.py benchmarks cli core demo lab plugins soak tests)
PACKAGES := $(notdir $(patsubst %/__init__.py,%,$(wildcard core/holdfast/__init__.py cli/holdfast_*/__init__.py \
	plugins/*/holdfast_*/__init__.py lab/__init__.py demo/__init__.py benchmarks/__init__.py soak/__init__.py)))
TESTS = $(shell find $(wildcard conftest.py tests benchmarks/tests lab/tests soak/tests core/tests cli/tests plugins/*/tests) -name '*.py')

.PHONY: help
help: ## Show what can be done
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## Install what is missing: Debian packages, .venv with the pinned Python packages
	@tools/set-up

.PHONY: setup-lab
setup-lab: ## The same, and check that virtual nodes can run here
	@tools/set-up lab

.PHONY: demo
demo: setup-lab ## Run the main job on two virtual nodes; KEEP=1 leaves them up
	@$(RUN) -m demo $(if $(KEEP),--keep)

.PHONY: test
test: setup-lab ## Run every test but the long ones, those in virtual nodes last
	@$(RUN) tools/run-tests $(ARGS)

.PHONY: test-long
test-long: setup-lab ## Run the long tests: rarer faults in virtual nodes, larger searches, for some minutes
	@$(RUN) -m pytest -m long $(ARGS)

.PHONY: soak
soak: setup-lab ## Random faults under load, each audited: N=1000, SEED= replays, HOURS=, FROM=, RESULT=
	@$(RUN) -m soak $(if $(N),--faults $(N)) $(if $(SEED),--seed $(SEED)) $(if $(HOURS),--hours $(HOURS)) \
		$(if $(FROM),--from $(FROM)) $(if $(RESULT),--result $(RESULT)) $(ARGS)

.PHONY: unit
unit: setup ## Run the tests that need no virtual nodes
	@$(RUN) tools/run-tests unit $(ARGS)

.PHONY: check
check: setup lint types imports unit ## All that must hold before a push: format, lint, types, import rules, unit tests

.PHONY: lint
lint: setup ## Check format and lint
	@$(RUN) -m ruff format --check --quiet $(CHECKED) || { echo 'run `make format`' >&2; exit 1; }
	@$(RUN) -m ruff check --quiet $(CHECKED)

.PHONY: types
types: setup ## Check types, strictly
	@$(RUN) -m mypy $(addprefix -p ,$(PACKAGES))
	@$(RUN) -m mypy --config-file tools/mypy-tests.ini $(TESTS)

.PHONY: imports
imports: setup ## Check that each package imports only what it may
	@.venv/bin/lint-imports --cache-dir .cache/import-linter

.PHONY: format
format: setup ## Format the code and mend what the linter can mend
	@$(RUN) -m ruff check --quiet --fix $(CHECKED) || true
	@$(RUN) -m ruff format $(CHECKED)

.PHONY: lock
lock: setup ## Write requirements.lock anew; ARGS=--upgrade takes newer versions
	@tools/lock $(ARGS)

.PHONY: clean-lab
clean-lab: ## Remove whatever an aborted demo or test left: nodes, namespaces, disks
	@for lab in .lab $(filter-out .lab .lab-failures,$(wildcard .lab-*)); do \
		HOLDFAST_LAB_DIR="$(CURDIR)/$$lab" $(PYTHON_OR_VENV) -m lab clean || exit 1; \
	done
