# Everything a contributor runs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

MUSL := x86_64-unknown-linux-musl
# By package, so that features which only tests need stay out of the daemons.
DAEMONS := -p network-driver-discovery -p network-driver-dra-plugin -p network-driver-nri-hook
# cargo-nextest runs each test in a process of its own; plain cargo test serves where it is not installed.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
NEXTEST_PROFILE ?= default

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: build ## Run the main job on this machine: a pod gets a real interface and gives it back
	@target/debug/demo

.PHONY: build
build: ## Build the three daemons and the demo
	@cargo build --locked --bins

.PHONY: test
test: build ## Run unit and integration tests (network tests need root or user namespaces)
ifeq ($(NEXTEST),yes)
	cargo nextest run --locked --workspace --no-run
	@code=0; .ci/with-namespaces cargo nextest run --offline --workspace --profile $(NEXTEST_PROFILE) || code=$$?; \
	.ci/tell-skipped target/nextest/$(NEXTEST_PROFILE)/junit.xml; exit $$code
else
	cargo test --locked --workspace --no-run
	.ci/with-namespaces cargo test --offline --workspace
endif

.PHONY: fuzz
fuzz: ## Fuzz each parser of outside data with libFuzzer (SECONDS=600 each; TARGETS="config mark")
	@FUZZ_SECONDS=$(or $(SECONDS),600) tests/fuzzing/run $(TARGETS)

.PHONY: mutants
mutants: ## Break the driver on purpose, one bug after another, and see that tests notice (NAMES="open-the-gate")
	@tests/mutants/run $(NAMES)

# The model and the store have their short forms in `make test`.
.PHONY: torture
torture: ## Kill the daemons at every fail point and worse, thousands of times (SHORT=1: minutes; TORTURE="--point NAME --seed N"; PREVIOUS=v0.1.0)
	@dir=$$(tests/fail-points) && previous=$$(tests/previous $(PREVIOUS)) && \
		target/debug/torture --bin-dir "$$dir" $${previous:+--previous "$$previous"} $(if $(SHORT),--short) $(TORTURE)
ifeq ($(TORTURE)$(SHORT),)
	@MODEL_SEED=$${MODEL_SEED:-$$RANDOM} MODEL_SEQUENCES=$(or $(LIVES),100000) .ci/with-namespaces \
		cargo test --locked --profile ci --package network-driver-nri-hook --lib -- --nocapture netns_whatever_happens
	@set -o pipefail; NETWORK_DRIVER_TEST_STORE_KILLS=2000 NETWORK_DRIVER_TEST_STORE_DAMAGES=10000 \
		cargo test --locked --workspace --lib store::disk -- --nocapture | grep -oE 'store, (cut|killed).*'
endif

.PHONY: bench
bench: ## Measure the driver on this machine, each figure beside its floor (BENCH="--rounds 200 --json", BENCH="--only storm")
	@cargo build --locked --profile ci --bins
	@target/ci/bench $(BENCH)

.PHONY: e2e
e2e: ## Run the driver on a real one-node Kubernetes (root; KUBERNETES=1.31, CONTAINERD=1.7, RUNTIME=crio, CASES="words of stories", KEEP=1)
	@tests/e2e/run $(CASES)

.PHONY: e2e-matrix
e2e-matrix: ## Run its core stories on every supported Kubernetes and containerd, and print a table (root; docs/versions.md)
	@tests/e2e/matrix

.PHONY: vm
vm: ## Run the kernel tests, stories of real cards in an emulated machine, kernels 6.1 and 6.12, and a cluster in there (root; KERNELS=6.12, QUICK=1, TESTS="words of names")
	@TORTURE="$(TORTURE)" tests/vm/run $(TESTS)
ifeq ($(QUICK)$(TESTS),)
	@tests/vm/cluster
endif

.PHONY: check
check: fmt-check clippy doc check-arrows check-mutants deny check-chart lint-dockerfile ## Run every check that is not a test

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

.PHONY: clippy
clippy: ## Lint; a warning is an error
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: doc
doc: ## Build the API documentation; a broken link is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: check-arrows
check-arrows: ## Check that no crate depends on one it must not know
	.ci/check-arrows

.PHONY: check-mutants
check-mutants: ## Check that the bugs of `make mutants` can still be made
	tests/mutants/run --check

.PHONY: deny
deny: ## Check licences, bans and sources of all dependencies (cargo-deny)
	.ci/check-dependencies

# Profile of the images' binaries: release, or ci for tests, which builds in half the time.
IMAGE_PROFILE ?= release
IMAGE_REPOSITORY ?= registry.example.com/network-driver
IMAGE_TARGETS := $(MUSL) $(filter aarch64-unknown-linux-musl,$(shell rustup target list --installed 2>/dev/null))
IMAGE_ARCH_x86_64-unknown-linux-musl := amd64
IMAGE_ARCH_aarch64-unknown-linux-musl := arm64

.PHONY: images
images: ## Write an OCI archive per component to target/images (arm64 too where that target is installed)
	rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL)
	cargo build --locked --profile $(IMAGE_PROFILE) $(IMAGE_TARGETS:%=--target %) $(DAEMONS)
	deploy/images --repository $(IMAGE_REPOSITORY) $(foreach t,$(IMAGE_TARGETS),$(IMAGE_ARCH_$(t))=target/$(t)/$(IMAGE_PROFILE))

# Helm of the machine, else the one that was built for the e2e tests.
HELM ?= $(or $(shell command -v helm),$(lastword $(wildcard $(or $(NETWORK_DRIVER_CACHE),$(HOME)/.cache/network-driver)/tools/*/helm)))
export HELM

.PHONY: check-chart
check-chart: ## Check the chart, its README and deploy/install.yaml (Helm)
ifeq ($(HELM),)
	@echo "SKIPPED: check-chart: no helm here; HELM=PATH names one, tests/e2e/tools/build helm builds one" >&2
else
	.ci/check-chart
endif

.PHONY: lint-dockerfile
lint-dockerfile: ## Lint deploy/Dockerfile (hadolint)
	.ci/lint-dockerfile

.PHONY: chart-docs
chart-docs: ## Write the chart's table of values from the comments in values.yaml
	deploy/chart-docs

.PHONY: install-yaml
install-yaml: ## Write deploy/install.yaml from the chart (Helm)
	deploy/install-yaml > target/install.yaml && mv target/install.yaml deploy/install.yaml

.PHONY: kind-cluster
kind-cluster: ## Make a cluster with kind, with two interfaces to give away on its worker
	kind create cluster --config deploy/kind.yaml
	for n in 1 2; do docker exec network-driver-worker sh -c "ip link add nic$$n type veth peer wire$$n && ip link set nic$$n up && ip link set wire$$n up"; done

.PHONY: kind-image
kind-image: images ## Build the images and load them into the kind cluster
	for image in target/images/*.tar; do kind load image-archive --name network-driver "$$image"; done

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
