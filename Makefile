# Everything a developer does, by name; `make` alone lists it. Nothing needs to be done before `make run` and `make test`
# on a machine with Python 3.10 or newer, Rust and a C compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 60
# Tasks that start at once came with CPython 3.12, and every asynchronous server gains from them.
ASYNC_PYTHON ?= $(shell tools/newest-python)
ASYNC_VENV = .venv-$(shell $(ASYNC_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export CARGO_TERM_COLOR ?= never

.DEFAULT_GOAL := help
.PHONY: help run build test model sanitize test-python test-pythons test-autobahn lint bench bench-asgi bench-daemon bench-observed bench-edges demo-concurrency soak soak-daemon conformance conformance-peers conformance-edges fuzz docs screenshots clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(BIN)/maturin:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.9,<2'

$(VENV)/.tests-installed: $(BIN)/maturin tests/requirements.txt requirements-lint.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt -r requirements-lint.txt
	touch $@

build: $(BIN)/maturin ## a release build in .venv
	$(BIN)/maturin develop --release --locked --quiet

run: build ## serve examples/clock.py on port 8000
	$(BIN)/tidegate --chdir examples clock:application

test: build $(VENV)/.tests-installed ## every test
	cargo test --locked --quiet --package tidegate-http --package tidegate-engine --package tidegate-supervisor
	tools/test-services
	tools/test-browser $(BIN)/python
	$(BIN)/python -m pytest --quiet -n 2 --dist loadfile tests

model: ## check the models of concurrent code
	RUSTFLAGS='--cfg loom' CARGO_PROFILE_DEV_OPT_LEVEL=2 cargo test --locked --quiet --target-dir target/model \
		--package tidegate-engine --lib model

sanitize: ## the engine's tests under ThreadSanitizer and AddressSanitizer
	tools/sanitize

test-python: build $(VENV)/.tests-installed # what one interpreter must pass: see tools/test-pythons
	tools/test-services
	tools/test-browser $(BIN)/python
	$(BIN)/python -m pytest --quiet -n 2 --dist loadfile tests

test-pythons: ## build and test with every CPython from 3.10 on that is found
	tools/test-pythons $(PYTHONS)

test-autobahn: build ## the Autobahn test suite for WebSockets, which needs a Python 2.7; AUTOBAHN=--write writes its table down
	$(BIN)/python tools/autobahn.py $(AUTOBAHN)

lint: build $(VENV)/.tests-installed ## formatting, lints, types, stubs and boundaries, warnings as errors
	cargo fmt --all --check
	cargo clippy --locked --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/python tools/boundaries.py
	cd bench && cargo fmt --check && cargo clippy --locked --quiet --all-targets -- --deny warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest tidegate._tidegate --ignore-disjoint-bases

bench: build ## measure against the limit and the peers (see bench/README.md)
	$(PYTHON) bench/run.py --interface wsgi $(BENCH)
	$(MAKE) --no-print-directory bench-asgi

bench-asgi: ## its asynchronous half, with the newest CPython up to 3.13 that is found
	$(MAKE) --no-print-directory build PYTHON=$(ASYNC_PYTHON) VENV=$(ASYNC_VENV)
	VENV=$(ASYNC_VENV) $(ASYNC_PYTHON) bench/run.py --interface asgi $(BENCH)

bench-daemon: build $(VENV)/.tests-installed ## what clients notice of reloads, stops and starts; spread, memory
	@failed=; for script in cold_start preload spread stopping broken_reload restarts; do \
		echo; echo "$$script:"; $(BIN)/python bench/$$script.py || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "missed:$$failed"; exit 1; }

bench-observed: build $(VENV)/.tests-installed ## deadlines, bulkheads, health under load; what it costs to look
	@failed=; for script in deadlines health bulkhead shedding scrape observed; do \
		echo; echo "$$script:"; $(BIN)/python bench/$$script.py || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "missed:$$failed"; exit 1; }

bench-edges: build $(VENV)/.tests-installed ## TLS, HTTP/2, uwsgi behind nginx and static files, beside the peers
	@failed=; for script in http2 tls uwsgi_pass static_files; do \
		echo; echo "$$script:"; $(BIN)/python bench/$$script.py || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "missed:$$failed"; exit 1; }

demo-concurrency: build ## the same code and 5,000 clients under each way to wait, as a table
	$(BIN)/python tools/demo_concurrency.py

soak: build $(VENV)/.tests-installed ## random load for SECONDS (60) on each host: is anything left behind?
	PYTHONPATH=.:tests $(BIN)/python -m soak --seconds $(SECONDS) $(SOAK)

soak-daemon: build $(VENV)/.tests-installed ## the same for supervised servers, with reloads, upgrades and recycling
	PYTHONPATH=.:tests $(BIN)/python -m soak --daemon --seconds $(SECONDS) $(SOAK)

conformance: build ## run the conformance suite on this build and print its table
	$(BIN)/python -m conformance --name tidegate -- $(BIN)/tidegate --bind 127.0.0.1:{port} {app}

conformance-peers: build ## run it on other servers too and write docs/conformance.md
	$(BIN)/python -m conformance.peers

conformance-edges: build $(VENV)/.tests-installed ## suites for HTTP/2, TLS and WebSockets over both; EDGES=--write writes their tables down
	@failed=; for suite in rows http2_suite tls_suite 'autobahn --over h2c' 'autobahn --over h2'; do \
		echo; echo "$$suite:"; set -- $$suite; program=$$1; shift; \
		$(BIN)/python tools/$$program.py $$* $(EDGES) || failed="$$failed $$program"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

fuzz: ## run each fuzz target for SECONDS (60)
	fuzz/run $(SECONDS)

docs: ## write the generated pages of docs/ anew
	cargo run --locked --quiet --package tidegate-supervisor --example settings_doc > docs/settings.md
	cargo run --locked --quiet --package tidegate-supervisor --example migrate_doc

screenshots: build $(VENV)/.tests-installed ## take the pictures in docs/images anew, which takes six minutes
	tools/test-browser $(BIN)/python
	$(BIN)/python tools/screenshots.py $(SCREENSHOTS)

clean: ## remove what was built
	rm -rf target $(VENV) .venv-*
