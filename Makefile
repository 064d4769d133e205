# `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install constraints demo test check bench chaos interleave fuzz mutants up down schemas

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.installed  ## make .venv with everything in it

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

constraints: install  ## pin what is installed now
	@(head -1 constraints.txt; $(BIN)/pip freeze --exclude-editable) > constraints.new && mv constraints.new constraints.txt

up: install  ## start the five servers of this machine
	$(BIN)/python -m devstack up

down: install  ## stop them
	$(BIN)/python -m devstack down

demo: install  ## the main job, from nothing to verified, on real servers
	$(BIN)/python -m demo

check: install  ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Before 3.11.9, Python dies where a finalizer's traceback is formatted, and for it parsed, in the middle of parsing.
test: check  ## check, and every test, on real servers
	PYTHONNODEBUGRANGES=1 $(BIN)/pytest

bench: install  ## measure on this machine, into docs/
	$(BIN)/python -m bench --write

chaos: install  ## faults under load for MINUTES (10), drawn from SEED (1); then all stores are judged
	$(BIN)/python -m chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),10) --steps $(or $(STEPS),0) --summary .chaos/seed-$(or $(SEED),1).json

interleave: install  ## small scenes in every order that SEEDS (1-2000) draw, on real servers, with faults at each step
	$(BIN)/python -m interleave --seeds $(or $(SEEDS),1-2000)

fuzz: install  ## look for inputs that break the decoder or the stand-in, for MINUTES (10)
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m fuzz --minutes $(or $(MINUTES),10)

mutants: install  ## take out each safeguard in turn: a test must notice
	$(BIN)/python -m mutants

schemas: install  ## write schemas/ from the models
	$(BIN)/wallex schemas
