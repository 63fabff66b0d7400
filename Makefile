# Everything a contributor runs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

MUSL := x86_64-unknown-linux-musl
# cargo-nextest runs each test in a process of its own; plain cargo test does too well enough.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
NEXTEST_PROFILE ?= default

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

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
	.ci/with-namespaces cargo nextest run --offline --workspace --profile $(NEXTEST_PROFILE)
else
	cargo test --locked --workspace --no-run
	.ci/with-namespaces cargo test --offline --workspace
endif

.PHONY: check
check: fmt-check clippy doc check-arrows deny musl ## Run every check that is not a test

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

.PHONY: deny
deny: ## Check licences, bans and sources of all dependencies (cargo-deny)
	.ci/check-dependencies

.PHONY: musl
musl: ## Build the daemons for static musl, the target of the images
	rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL)
	cargo build --locked --target $(MUSL) --bin discovery --bin dra-plugin --bin nri-hook

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
