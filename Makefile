# Everything a person or CI runs here. `make` lists it.
.DEFAULT_GOAL := help

PYTHON ?= python3
UV     := uv==0.13.9
BIN    := .venv/bin
READY  := .venv/.ready
PIP    := -m pip --quiet --disable-pip-version-check install

# Neither an activated environment nor a path of somebody's shell reaches a recipe.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

.PHONY: help setup run test quick soak bench lint format schemas lock test-deps clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv from requirements.lock (PYTHON=python3.12 chooses another interpreter)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Waitline needs Python 3.11 or newer; $(PYTHON) is %d.%d. Try: make setup PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Making .venv from requirements.lock …"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python $(PIP) --require-hashes -r requirements.lock
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

run: setup ## a living call centre in var/demo (DESK=clinic, SPEED=, PORT=, LANG_=zh-CN|en, ARGS= for anything else)
	@$(BIN)/waitline demo $(if $(DESK),--config deploy/desks/$(DESK).toml) \
		--data var/demo$(if $(DESK),-$(DESK)) $(if $(SPEED),--speed $(SPEED)) $(if $(PORT),--port $(PORT)) $(if $(LANG_),--lang $(LANG_)) $(ARGS)

test: setup test-deps lint ## all that CI runs: what the tests need, lint, every test that is not slow
	@$(BIN)/pytest -m "not slow"

quick: setup lint ## lint and the quick half of the tests: no broker, no browser, nothing thorough
	@$(BIN)/pytest -m "not broker and not browser and not slow and not thorough"

soak: setup test-deps ## the slow tests: long simulated days, storms (MINUTES= of the long storm, 10)
	@$(BIN)/pytest -m slow $(if $(MINUTES),--minutes $(MINUTES)) --durations=20

bench: setup ## measure speed (ONLY=name for one)
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

lint: setup ## format, ruff, types and import directions, changing nothing
	@$(BIN)/ruff format --check --quiet || { echo "Not formatted as agreed: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

format: setup ## format, and mend what ruff can mend by itself
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

schemas: setup ## write schemas/ anew from the messages
	@$(BIN)/python -m schemas.generate

lock: ## resolve pyproject.toml anew into the two lock files (UPGRADE=1 for the newest versions)
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/python $(PIP) $(UV)
	@lock() { .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" pyproject.toml "$$@"; } && \
	lock --extra dev -o requirements.lock $(if $(UPGRADE),--upgrade) && \
	lock -c requirements.lock -o requirements-runtime.lock

test-deps: setup ## chromium, a second Python, Kafka's jars and npm's packages for the tests, where they can be had
	@scripts/need-chromium
	@scripts/need-other-python
	@scripts/need-kafka
	@scripts/need-node-modules

clean: ## remove what was made here: environments, caches, artefacts, the demo's data
	@rm -rf .venv .venv-lock .venv-other .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	@rm -rf tests/artefacts tests/kafka/node/node_modules benchmarks/last.json var/demo var/demo-*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
