# The three commands of this project: make demo, make test, make demo-down. They install what they need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
NODES ?= 3
CLUSTER ?= red
NET ?= 192.168.63.0/24
SUITE ?= trixie
LAB := PYTHONPATH=molecule $(BIN)/python -m lab
SETTINGS := PYTHONPATH=collection $(BIN)/python docs/settings.py
# The virtual environment's programs come first, activated or not; some tools of the tests are in the sbin directories.
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

.PHONY: host
host:
	@molecule/lab/host-setup

# Rebuilt when one of its inputs changes; an interrupted install leaves no stamp file.
$(VENV)/.installed: pyproject.toml constraints.txt | host
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.PHONY: setup
setup: host $(VENV)/.installed ## Virtual environment, packages, container engine

.PHONY: demo
demo: setup ## A cluster on this machine: make demo NODES=5 NET=192.168.63.0/24
	@$(LAB) demo --name $(CLUSTER) --nodes $(NODES) --net $(NET) --suite $(SUITE)

.PHONY: demo-down
demo-down: $(VENV)/.installed ## Remove the demo's containers, network and cards
	@$(LAB) demo-down --name $(CLUSTER)

.PHONY: docs
docs: setup ## Tables of settings in docs/inventory.md and the READMEs of the roles, from the roles
	$(SETTINGS)

.PHONY: lint
lint: setup ## ruff, mypy, ansible-lint, yamllint, shellcheck, tables of settings
	ruff check .
	ruff format --check .
	$(SETTINGS) --check
	mypy docs/settings.py .ci/dist_check.py bootstrap/picluster molecule/lab molecule/boots/*.py collection/ansible_collections/picluster/cloud/plugins
	for platform in darwin win32; do mypy --platform $$platform --cache-dir .mypy_cache/$$platform bootstrap/picluster; done
	yamllint --strict .
	ansible-lint --strict
	shellcheck .ci/run .ci/sanity molecule/lab/host-setup molecule/run-scenarios bootstrap/picluster/firstboot/shell/*.sh
	shellcheck $$(grep -rlE '^#!/bin/(ba)?sh' molecule/boots/systems)

.PHONY: unit
unit: setup ## Unit tests of every module, filter and bootstrap function
	pytest --numprocesses=auto --dist=loadgroup --durations=10

.PHONY: boots
boots: setup ## First boots: burnt cards of each generation, started by a real kernel
	pytest --durations=10 molecule/boots/tests

.PHONY: scenarios
scenarios: setup ## Molecule: base under external tools and faults; three nodes with all layers
	molecule/run-scenarios base cluster

# Unit tests and first boots keep all cores busy; scenarios wait most of their time.
.PHONY: test
test: setup ## All checks for contributors
	@PYTHONPATH=molecule $(BIN)/python -m lab.parts unit,boots then lint base cluster

.PHONY: sanity
sanity: setup ## ansible-test sanity of the collection
	.ci/sanity

.PHONY: dist-check
dist-check: setup ## Wheel, sdist and collection tarball: built, installed and run outside the checkout
	PYTHONPATH=bootstrap/tests python .ci/dist_check.py

.PHONY: test-full
test-full: test ## All checks, sanity, the packages, and the demo twice: from scratch and again
	$(MAKE) sanity dist-check
	$(MAKE) demo
	$(MAKE) demo
	$(MAKE) demo-down

.PHONY: bench
bench: setup ## Benchmarks as ratios: cards against dd (as root), discovery against logins, a rerun of the demo against a ping
	benchmarks/burn
	benchmarks/discover
	benchmarks/rerun inventories/$(CLUSTER)
