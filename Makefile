# `make help` lists the commands. Each works from a clean clone and installs what it needs.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MINUTES := 10
SEED := 1
RUNS := 3
SIDE_BY_SIDE := --numprocesses 7 --dist worksteal
GENERATED := crds charts/taskqueue-operator/files/crds docs/reference.md

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test test-fast e2e checks e2e-alone e2e-together soak simulate growth bench plots lint generate lock images cluster-up cluster-down

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(READY) ## Bring up a cluster, install everything, run the example Tasks and show them
	@$(BIN)/python -m e2e.demo up

demo-down: $(READY) ## Take the demo and its cluster down
	@$(BIN)/python -m e2e.demo down

test: $(READY) ## Run lint, types, unit tests and the e2e suite on a real cluster
	@# What breaks the cluster mostly waits: there is time for the rest beside it.
	@$(MAKE) --no-print-directory --jobs=2 checks e2e-alone
	@$(MAKE) --no-print-directory e2e-together

test-fast: $(READY) ## Run the unit tests alone: a minute, no cluster
	@$(BIN)/python -m pytest tests

e2e: $(READY) ## Run the end-to-end suite alone, on the real cluster
	@$(MAKE) --no-print-directory e2e-alone
	@$(MAKE) --no-print-directory e2e-together

checks: $(READY)
	@echo "== lint, types and unit tests; what they print comes at their end"
	@printed=$$($(MAKE) --no-print-directory lint test-fast 2>&1); result=$$?; \
	  printf '%s\n' "$$printed"; exit $$result

e2e-alone: images
	@echo "== end-to-end tests that break what others need, one by one"
	@$(BIN)/python -m pytest e2e -m disruptive

# Those that end their operator come last: each has one of its own, and that of all is off then.
e2e-together: images
	@echo "== end-to-end tests, side by side"
	@$(BIN)/python -m pytest e2e -m "not disruptive and not own_operator" $(SIDE_BY_SIDE)
	@echo "== end-to-end tests that end their operator, side by side"
	@$(BIN)/python -m pytest e2e -m own_operator $(SIDE_BY_SIDE)

soak: $(READY) ## Run random Tasks under random faults, and account for each: MINUTES=10 SEED=1
	@$(BIN)/python -m e2e.soak --minutes $(MINUTES) --seed $(SEED)

simulate: $(READY) ## Compare scaling with KEDA's and the HPA's on made-up arrivals, without a cluster: SEED=1
	@$(BIN)/python -m bench.scaling --seed $(SEED)

growth: $(READY) ## Say what 1, 10 and 100 times as many Tasks need, without a cluster
	@$(BIN)/python -m bench.simulate

bench: $(READY) ## Measure speed and cost, beside what others take: ONLY=tasks RUNS=3
	@$(BIN)/python -m bench --runs $(RUNS) $(if $(ONLY),--only $(ONLY))

plots: $(READY) ## Draw the last results of bench into docs/images
	@$(BIN)/python -m bench.plots

lint: $(READY) ## Check style, types, layers, and that generated files are fresh
	@echo "== ruff, mypy, import-linter, generated files"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m taskqueue_api.generate --check $(GENERATED)

generate: $(READY) ## Write the CustomResourceDefinitions, the chart's copy and docs/reference.md from the models
	@$(BIN)/python -m taskqueue_api.generate $(GENERATED)

lock: $(READY) ## Resolve the versions anew and lock them with their hashes
	@$(BIN)/python requirements/lock.py

images: cluster-up ## Build the images and load them into the cluster
	@$(BIN)/python -m e2e.node images

cluster-up: $(READY) ## Bring up a disposable real cluster; its kubeconfig is .cluster/kubeconfig
	@$(BIN)/python -m e2e.node up

cluster-down: $(READY) ## Take the cluster down and leave nothing behind
	@$(BIN)/python -m e2e.node down

$(READY): requirements/dev.txt crds/pyproject.toml operator/pyproject.toml worker_image/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed as '$(PYTHON)'; set another with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "== installing the locked Python packages into $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "The venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  -e crds -e operator -e worker_image
	@touch $(READY)
