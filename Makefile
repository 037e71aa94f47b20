# The two commands: `make up` runs the service on this machine, `make test` tests it. Both set up what they need.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip
INSTALLED := $(VENV)/.installed
# The exporters of pyannote's checkpoints have an environment of their own: constraints-pyannote.txt says why.
PYANNOTE_VENV := .venv-pyannote
PYANNOTE_INSTALLED := $(PYANNOTE_VENV)/.installed
# The exporter of F5-TTS takes its packages from a folder: its requirements say why.
F5_TTS := .f5-tts
F5_TTS_INSTALLED := $(F5_TTS)/.installed
F5_TTS_REQUIREMENTS := export_scripts/requirements-voice_cloner.txt

.PHONY: help up test bench check format pyannote f5-tts clean

help: ## What there is
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed 's/:[^#]*## /\t/' | expand -t 10

up: $(INSTALLED) ## Start Triton and the API with the demo models (PORT, TRITONE_HOME)
	@exec $(VENV)/bin/tritone up

test: $(INSTALLED) $(PYANNOTE_INSTALLED) $(F5_TTS_INSTALLED) ## Run all tests
	$(VENV)/bin/pytest

bench: $(INSTALLED) ## Measure under load and write it to docs/performance.md, six minutes (BENCH: its options)
	$(VENV)/bin/python -m bench.load $(BENCH)

check: $(INSTALLED) ## Lint, types, layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy api export_scripts tests bench
	for kind in model_repository/*/1; do (cd $$kind && $(abspath $(VENV))/bin/mypy --config-file $(abspath pyproject.toml) *.py) || exit 1; done
	$(VENV)/bin/lint-imports

format: $(INSTALLED) ## Format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

pyannote: $(PYANNOTE_INSTALLED) ## Set up the environment that exports pyannote's speaker models

f5-tts: $(F5_TTS_INSTALLED) ## Get the packages that export F5-TTS, the voice cloner

clean: ## Remove the environments and what the service wrote
	rm -rf $(VENV) $(PYANNOTE_VENV) $(F5_TTS) .tritone

# torch comes first and pinned: asked for by another package, pip would take the build with several GB of CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): some minutes, the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(PIP) install --quiet --disable-pip-version-check -c constraints.txt --editable '.[models,export,operate,recipe,local,bench,dev]'
	@touch $@

$(PYANNOTE_INSTALLED): constraints-pyannote.txt
	@echo "Setting up $(PYANNOTE_VENV): some minutes, the first time"
	@$(PYTHON) -m venv $(PYANNOTE_VENV)
	@$(PYANNOTE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-pyannote.txt
	@touch $@

$(F5_TTS_INSTALLED): $(INSTALLED) $(F5_TTS_REQUIREMENTS)
	@rm -rf $(F5_TTS)
	@$(PIP) install --quiet --disable-pip-version-check --no-deps --target $(F5_TTS) -r $(F5_TTS_REQUIREMENTS)
	@touch $@
