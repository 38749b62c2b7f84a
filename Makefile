# make help lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock up down status wheel clean
BIN := .venv/bin
READY := .venv/.windtunnel
# Hashes for every platform and Python that the project supports; names no host.
LOCK := pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --all-extras --group dev
UV ?= $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(READY) ## make .venv (uv, locked packages, this project)

$(READY): constraints.txt pyproject.toml tools/setup
	@tools/setup

demo: $(READY) ## start the instance and run the main job on real flights
	@$(BIN)/windtunnel demo --home "$${WINDTUNNEL_HOME:-.windtunnel}"

test: $(READY) ## run every test
	$(BIN)/python -m pytest

lint: $(READY) ## ruff, mypy, the layers and wings of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY) ## let ruff format and mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY) ## resolve constraints.txt anew
	$(UV) $(LOCK) pyproject.toml -o constraints.txt

up: $(READY) ## start or repair the embedded instance
	@$(BIN)/windtunnel up --home "$${WINDTUNNEL_HOME:-.windtunnel}"

down: $(READY) ## stop the embedded instance
	@$(BIN)/windtunnel down --home "$${WINDTUNNEL_HOME:-.windtunnel}"

status: $(READY) ## say how the embedded instance is
	@$(BIN)/windtunnel status --home "$${WINDTUNNEL_HOME:-.windtunnel}"

wheel: $(READY) ## build the wheel into dist/
	$(BIN)/python -m hatchling build --target wheel

clean: ## stop the instance; remove what was built, the instance's data too
	@if [ -x $(BIN)/windtunnel ]; then $(BIN)/windtunnel down --home .windtunnel; fi
	rm -rf .windtunnel .venv .uv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
