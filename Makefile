# What is needed beside Rust: bash, Go (for the Kubernetes control plane and what Argo CD and Flux evaluate health with), Python 3, openssl and, for the demo, curl.
.DEFAULT_GOAL := help
.PHONY: help demo test soak bench lint crds clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: ## run Rolecall against a real Kubernetes API and an emulated AWS (under a minute once everything is built)
	tests/setup controlplane emulators
	cargo build
	tests/demo

test: ## run all tests
	tests/setup controlplane emulators controller-manager gitops
	@# What is not run is kept fit to be run.
	cargo build --quiet --bench operator
	@# Most integration tests wait most of the time, so more of them run than there are processors.
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} cargo test

soak: ## a thousand lives on the model, ten thousand histories of mistakes, ten million requests put to the reference, ten minutes of each fuzz target (about an hour)
	tests/setup controlplane emulators controller-manager gitops
	ROLECALL_SEEDS=1000 cargo test --test it -- convergence::life
	ROLECALL_SEEDS=10000 cargo test --test it -- convergence::harm
	ROLECALL_SAMPLES=10000000 cargo test --lib -- covered_is_sound
	fuzz/run 600

bench: ## measure calls, times and memory (docs/performance.md; about half an hour, most of it building)
	tests/setup controlplane
	cargo build --release
	cargo bench --profile measure --bench operator -- $(BENCH)

lint: ## check formatting, clippy and, where cargo-deny is installed, dependencies
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	@# Advisories are left out: they need a database from elsewhere.
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; else echo "cargo-deny is not installed: dependencies are not checked"; fi

crds: ## write crds/ anew from the types
	cargo run -- crds --dir crds

clean: ## remove what cargo built; .tools/ stays, because it takes ten minutes to make
	cargo clean
