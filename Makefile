# The one definition of every verb; CI and hooks call these too. `make help` lists them.
.DEFAULT_GOAL := help
BIN := .venv/bin
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: demo check test bench docs help clean

demo: ## Run the guide's experiment on a real database and print its table (sets itself up)
	@scripts/setup demo
	@$(BIN)/warmline lab run --scenario guide

check: ## Format, lint, types and boundaries
	@scripts/setup test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --quiet -- --deny warnings

test: ## All tests, on real servers
	@scripts/setup test
	cargo build --quiet --package warmline-proxy
	cargo test --quiet
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

bench: ## Every benchmark, interleaved with its peers; results into benchmarks/*/results
	@scripts/setup test
	@for script in benchmarks/*/run.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

docs: ## Run the examples in the docs and regenerate the generated pages
	@scripts/setup test
	$(BIN)/python scripts/docs.py

help: ## List these verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

clean: ## Remove what the other verbs made
	rm -rf .venv .cache target runs .mypy_cache .ruff_cache .pytest_cache
