# What can be done in this repository: `make help` lists it. Every target sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
# Empty: the default index. A CPU wheel index with matching torch, torchvision and torchaudio saves gigabytes.
TORCH_INDEX_URL ?=
ARGS ?=
BENCH ?= benchmarks/*.py
DATA ?=
MODEL ?=
FIGURES ?= runs/figures
ABLATION ?= runs/ablation
CURVE ?= runs/curve

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
# The stamps carry this folder's name, since an editable install belongs to one checkout.
HERE := $(subst /,_,$(CURDIR))
RUN_STAMP := $(VENV)/.htav-run$(HERE)
DEV_STAMP := $(VENV)/.htav-dev$(HERE)
# A development install holds all that running needs.
READY_TO_RUN := $(if $(wildcard $(DEV_STAMP)),$(DEV_STAMP),$(RUN_STAMP))
CODE := app indexer model migrations tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types unit coverage bench train-compact test-figures ablate learning-curve image-check lock hooks clean

help: ## list the targets
	@echo 'usage: make TARGET [VENV=.venv] [PORT=8000] [ARGS="..."]'; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(READY_TO_RUN) ## build the sample library, index it, serve it at localhost:8000
	@exec $(BIN)/htav demo --host $(HOST) --port $(PORT) $(ARGS)

test: lint types unit ## everything that must pass: ruff, mypy, pytest (ARGS goes to pytest)

lint: $(DEV_STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV_STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV_STAMP) ## mypy, strict
	$(BIN)/mypy

unit: $(DEV_STAMP) ## pytest alone
	@command -v chromium >/dev/null || echo 'note: no chromium on this machine: tests/browser will be skipped'
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo 'note: no PostgreSQL server on this machine: its tests will be skipped'
	$(BIN)/python -m pytest $(ARGS)

coverage: $(DEV_STAMP) ## pytest with line coverage of the three rooms (at least 85 %)
	$(BIN)/python -m pytest --cov=model --cov=indexer --cov=app --cov-report=term-missing:skip-covered --cov-fail-under=85 $(ARGS)

bench: $(DEV_STAMP) ## latency and throughput on this machine; ARGS needs one script: BENCH=benchmarks/service.py ARGS=...
	@set -e; for script in $(BENCH); do echo "== $$script"; $(BIN)/python $$script $(ARGS); done

test-figures: $(DEV_STAMP) ## the figures of a checkpoint on the test sets (the large one if it was made): DATA=FOLDER [MODEL=FOLDER] [FIGURES=runs/figures]
	@test -d "$(DATA)/texts" || { echo 'DATA=FOLDER must name the data that docs/evaluation.md describes'; exit 2; }
	$(BIN)/htav testset $(FIGURES)/sets --data $(DATA)
	$(BIN)/htav figures $(FIGURES) --data $(DATA) --sets $(FIGURES)/sets $(if $(MODEL),--model $(MODEL)) $(ARGS)

train-compact: $(DEV_STAMP) ## train a checkpoint by the shipped one's recipe: DATA=FOLDER (two processes; resumes)
	$(BIN)/python -m model.training.recipe --data $(DATA) $(ARGS)

ablate: $(DEV_STAMP) ## what each mechanism of the paper and two of our own are worth: DATA=FOLDER [MODEL=FOLDER] [ABLATION=runs/ablation]
	@test -d "$(DATA)/flickr8k" || { echo 'DATA=FOLDER must hold flickr8k'; exit 2; }
	$(BIN)/htav synth $(ABLATION)/speech --kind utterances --count 1500 --seed 41 --overwrite --sentences $(DATA)/flickr8k
	$(BIN)/htav synth $(ABLATION)/speech --kind utterances --count 1000 --seed 42 --split val --overwrite --sentences $(DATA)/flickr8k
	$(BIN)/htav ablate $(ABLATION) --photos $(DATA)/flickr8k --speech $(ABLATION)/speech $(if $(MODEL),--model $(MODEL)) $(ARGS)

learning-curve: $(DEV_STAMP) ## what more training photographs and names would give, on the publishers' trunks: DATA=FOLDER [CURVE=runs/curve]
	@test -d "$(DATA)/flickr8k" -a -d "$(DATA)/clips" || { echo 'DATA=FOLDER must hold flickr8k and clips'; exit 2; }
	$(BIN)/python -m model.training.curve $(CURVE) --data $(DATA) $(ARGS)

image-check: ## carry out the Dockerfile's steps without a container engine
	$(PYTHON) .ci/image_steps.py

lock: ## rewrite constraints.txt from the versions in VENV (make it anew first, and run the tests in it)
	@test -e $(DEV_STAMP) || { echo 'first: make test VENV=SOME_NEW_FOLDER, then: make lock VENV=THAT_FOLDER'; exit 2; }
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(nvidia|cuda|triton)'; } > constraints.new
	mv constraints.new constraints.txt

hooks: $(DEV_STAMP) ## install the git hooks (pre-commit)
	$(PIP) pre-commit
	$(BIN)/pre-commit install

clean: ## remove caches and build output (never data, never the venv)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage *.egg-info
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'HTAV needs Python 3.11 or newer: make ... PYTHON=python3.11'; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(if $(TORCH_INDEX_URL),$(PIP) --index-url $(TORCH_INDEX_URL) torch torchvision torchaudio)
	$(PIP) --editable '.[synth]'
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(if $(TORCH_INDEX_URL),$(PIP) --index-url $(TORCH_INDEX_URL) torch torchvision torchaudio)
	$(PIP) --editable '.[dev]'
	@touch $@
