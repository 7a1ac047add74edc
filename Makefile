# Switchboard. A fresh clone needs Rust, a C toolchain, Python 3.11 or newer and make; every other tool is
# installed into .venv, from pinned lists.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# What `make build` builds for: x86_64 or arm64. The default is this machine's.
ARCHITECTURE ?= $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)
# Which stage `make deploy` deploys: a table of samconfig.toml and a file of infra/parameters.
STAGE ?= dev
# Where the local AWS keeps its state.
STATE ?= .local
# How long `make fuzz` gives to each target, and which (all, if empty).
MINUTES ?= 10
PROVIDER ?=
# The sample that `make invoke` sends.
F ?= twilio
E ?= completed

export SAM_CLI_TELEMETRY := 0
export SWITCHBOARD_STATE := $(abspath $(STATE))

VENV := .venv
RUN := $(VENV)/tools/bin/python
SAM := $(VENV)/sam/bin/sam
FUNCTIONS := --package switchboard-api --package switchboard-hooks --package switchboard-workers
BINARIES := $(notdir $(basename $(wildcard functions/*/src/bin/*.rs)))

.PHONY: help
help: ## Show this
	@echo "make <target>"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

# --- Tools --------------------------------------------------------------------------------------------
# Several environments, because MiniStack, the SAM CLI and boto3 pin different versions of botocore, and what tests the
# API brings much of its own.

.PHONY: tools
tools: $(VENV)/aws.stamp $(VENV)/sam.stamp $(VENV)/tools.stamp $(VENV)/api.stamp ## Install the pinned tools into .venv

$(VENV)/%.stamp: infra/local/requirements-%.txt
	@echo "installing $$(grep -c == $<) pinned packages into $(VENV)/$* (once)"
	@rm -rf $(VENV)/$* $@
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)/$*
	@$(VENV)/$*/bin/pip install --disable-pip-version-check --no-deps --requirement $< \
		| awk '/^(Collecting|Downloading|Installing)/ { n += /^Collecting/; printf "\r\033[K  %d %s", n, substr($$0, 1, 70) > "/dev/stderr"; fflush("/dev/stderr") } END { print "" > "/dev/stderr" }'
	@touch $@

.PHONY: pin
pin: ## Renew the pinned lists from infra/local/requirements.in
	@for name in aws sam tools api; do \
		rm -rf $(VENV)/pin && $(PYTHON) -m venv $(VENV)/pin; \
		echo "resolving the packages of $$name"; \
		sed -n "s/^$$name: *//p" infra/local/requirements.in | xargs $(VENV)/pin/bin/pip install --quiet; \
		{ echo "# Every package of .venv/$$name. Made from requirements.in by: make pin"; $(VENV)/pin/bin/pip freeze --all --exclude pip; } \
			> infra/local/requirements-$$name.txt; \
	done; rm -rf $(VENV)/pin

# --- Build --------------------------------------------------------------------------------------------

.PHONY: build
build: $(VENV)/tools.stamp ## Build release binaries for Lambda into target/lambda (ARCHITECTURE=arm64 or x86_64)
	@echo "building for $(ARCHITECTURE): each binary takes a minute or so to link"
	PATH="$(abspath $(VENV)/tools/bin):$$PATH" cargo lambda build --release --locked \
		--$(subst x86_64,x86-64,$(ARCHITECTURE)) $(FUNCTIONS)

.PHONY: build-local
# `--examples`, of which there are none, gives the dependencies the features that the tests need: `make test` compiles
# none of them again.
build-local: ## Build quick binaries for this machine into target/debug and target/lambda-local
	cargo build --locked --workspace --bins --examples
	@for name in $(BINARIES); do \
		mkdir -p target/lambda-local/$$name; \
		strip -o target/lambda-local/$$name/bootstrap target/debug/$$name; \
	done

# --- The local AWS --------------------------------------------------------------------------------------

.PHONY: run
run: build-local tools ## Run it all locally and send every sample through it (ONCE=1: end by itself)
	$(RUN) tools/local/run.py --state $(STATE) $(if $(ONCE),--once)

.PHONY: local
local: build-local tools ## Start a local AWS and deploy to it
	@$(RUN) infra/local/start.py
	@$(RUN) infra/local/deploy.py

.PHONY: invoke
invoke: build-local tools ## Run one function of this checkout with one event (F=twilio E=completed)
	@$(RUN) infra/local/invoke.py $(F) $(E)

.PHONY: samples
samples: $(VENV)/tools.stamp ## Sign the samples, make API Gateway events of them, and write the vectors
	$(RUN) tools/samples/make_events.py
	$(RUN) tools/samples/make_vectors.py

.PHONY: stop
stop: ## Stop the local AWS
	@$(PYTHON) infra/local/stop.py

# --- Checks -------------------------------------------------------------------------------------------

.PHONY: lint
lint: $(VENV)/sam.stamp ## Formatting, clippy, purity, structure, template
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	infra/check/purity.sh
	$(PYTHON) infra/check/structure.py
	$(SAM) validate --lint --region eu-central-1

.PHONY: test
test: build-local tools ## Every test: of the crates, and end to end on a local AWS of its own
	cargo test --locked --workspace
	$(RUN) -m pytest tests $(PYTEST)

.PHONY: fuzz
fuzz: ## Fuzz every parser and authenticator, as many at a time as there are processors (MINUTES=10 PROVIDER=twilio)
	FUZZ_SECONDS=$$(( $(MINUTES) * 60 )) FUZZ_PROVIDER=$(PROVIDER) \
		cargo test --locked --profile fuzz --package switchboard-providers --test fuzz -- --nocapture

# --- Measuring --------------------------------------------------------------------------------------------

# What is measured are the binaries that are deployed: other linkers and flags make other instructions.
BENCH_BUILD := target/bench/build
BENCH := $(BENCH_BUILD)/harness/bench

.PHONY: bench-build
bench-build: build
	cargo build --locked --profile harness --package switchboard-bench --target-dir $(BENCH_BUILD)

.PHONY: bench
bench: bench-build bench-peers ## Measure every function and its peers; write docs/performance.md
	$(BENCH) run --write

.PHONY: cost
cost: $(VENV)/aws.stamp ## Compute what a million calls cost, from the newest figures of `make bench`; write docs/cost.md
	$(VENV)/aws/bin/python tools/bench/cost.py --write

# With the harness that `make test` builds.
BUDGETS := target/debug/bench budgets

.PHONY: budgets-build
budgets-build: build
	cargo build --locked --workspace --all-targets

.PHONY: budgets
budgets: budgets-build ## Fail if a function takes more than tools/bench/budgets.json allows (needs valgrind)
	$(BUDGETS) --check

.PHONY: budgets-write
budgets-write: budgets-build ## Record the current figures of the functions as their budgets (needs valgrind)
	$(BUDGETS) --write

# The programs that the hook is compared with.
PEERS := tools/bench/peers
# Lambda's Python is built with the compiler's profiling. So are those of the distributions; one that
# pyenv built is slower by a fifth.
BENCH_PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11) python3.11)
BENCH_PIP := $(VENV)/tools/bin/pip --disable-pip-version-check --python $(VENV)/bench-python/bin/python install --quiet --no-deps

.PHONY: bench-peers
bench-peers: $(PEERS)/node/dist/index.mjs $(PEERS)/python/dist/handler.py $(PEERS)/floor/dist/bootstrap ## Make the programs that the functions are compared with, and check that they do the same (needs Node 20)
	cargo test --locked --package switchboard-bench peers -- --ignored

$(PEERS)/node/dist/index.mjs: $(wildcard $(PEERS)/node/*.mjs $(PEERS)/node/package*.json)
	cd $(PEERS)/node && npm ci --ignore-scripts --no-audit --no-fund && rm -rf dist && npm run build

$(VENV)/bench-python.stamp: $(PEERS)/python/requirements-runtime.txt | $(VENV)/tools.stamp
	@rm -rf $(VENV)/bench-python
	$(BENCH_PYTHON) -m venv --without-pip $(VENV)/bench-python
	$(BENCH_PIP) --only-binary :all: --requirement $<
	@touch $@

$(PEERS)/python/dist/handler.py: $(PEERS)/python/handler.py $(PEERS)/python/requirements.txt $(VENV)/bench-python.stamp
	@rm -rf $(@D)
	$(BENCH_PIP) --target $(@D) --requirement $(PEERS)/python/requirements.txt
	cp $< $@
	$(VENV)/bench-python/bin/python -m compileall -q $@

$(PEERS)/floor/dist/bootstrap: $(wildcard $(PEERS)/floor/Cargo.* $(PEERS)/floor/src/*.rs)
	cargo build --release --locked --manifest-path $(PEERS)/floor/Cargo.toml --target-dir target/bench-floor
	@mkdir -p $(@D)
	cp target/bench-floor/release/floor $@

# --- A real account ---------------------------------------------------------------------------------------

.PHONY: deploy
deploy: build $(VENV)/sam.stamp ## Build, and deploy to the AWS account you are signed in to (STAGE=prod)
	infra/check/glibc.sh
	$(SAM) deploy --config-env $(STAGE) \
		--parameter-overrides file://infra/parameters/$(STAGE).yaml Architecture=$(ARCHITECTURE)

.PHONY: clean
clean: stop ## Stop the local AWS; delete what was built and installed
	rm -rf target $(VENV) $(STATE) $(PEERS)/*/dist $(PEERS)/node/node_modules
