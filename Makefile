# `make demo` sets everything up and runs the main job; `make test` sets everything up and passes the tests.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-models test-gpu easyeditor test-easyeditor lint format pins clean distclean
BIN := .venv/bin
# Files of tests run side by side in this many processes.
TEST_JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## build or refresh .venv (ACCELERATOR=cpu|cuda, PYTHON=python3.12); seconds when nothing changed
	@requirements/install

demo: setup ## the whole path on a real model: edits, RECT, vLLM, eight tasks, report (about 10 minutes on 2 cores)
	$(BIN)/sweeps run configs/demo.yaml

test: setup ## unit tests, and the core path with the real model and vLLM
	$(PYTEST) -m "not slow and not gpu and not easyeditor and not gemma"

test-slow: setup ## kill-and-resume and other long tests
	$(PYTEST) -m "slow and not gpu and not easyeditor and not gemma"

test-models: setup ## tests with Gemma 3 270M, where `sweeps models get gemma-3-270m` has fetched it
	$(BIN)/python -m pytest -m "gemma and not gpu"

test-gpu: setup ## what has to hold on a CUDA device, in order of risk; leaves results/gpu/*.json to be sent back
	$(BIN)/python -m pytest -p tests.gpu.bundle --bundle results/gpu tests/gpu

easyeditor: setup ## build .venv-easyeditor, in which the methods easyeditor:ROME and others run
	@requirements/install-easyeditor

test-easyeditor: easyeditor ## tests of those methods
	$(BIN)/python -m pytest -m "easyeditor and not gpu"

lint: setup ## ruff, format check, mypy, which way imports go
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

format: setup ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pins: setup ## pin all dependencies again (requirements/*.in -> *.txt)
	requirements/compile $(BIN)/uv

clean: ## remove caches of tools and builds; results/ and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*/*' -exec rm -rf {} +

distclean: clean ## also remove .venv and .venv-easyeditor
	rm -rf .venv .venv-easyeditor .venv-easyeditor-source
