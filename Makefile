# `make run` and `make test` set everything up first. They need Python 3.11 or newer and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PAGE   := src/cannabis_ml/serving/page

export DO_NOT_TRACK = 1
# Where this is set, every process that a test starts compiles the project again.
export PYTHONDONTWRITEBYTECODE =
# Kedro starts MLflow and Jupyter by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run serve page test types suite fast coverage format docs ui viz notebook benchmarks lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY)  ## Run everything on sample photos: from photos to a tracked, exported model
	$(BIN)/kedro run

HOST ?= 127.0.0.1
PORT ?= 8000

serve: $(READY) page  ## Serve the newest bundle of `make run`, with the page that answers on the phone
	@bundle=$$(ls -td data/06_models/bundle/*/bundle 2>/dev/null | head -1); \
	test -n "$$bundle" || { echo "There is no bundle yet: make run"; exit 1; }; \
	mkdir -p data/01_raw/feedback; \
	exec $(BIN)/python -m cannabis_ml.serving "$$bundle" --host $(HOST) --port $(PORT) \
	    --feedback sqlite:///data/01_raw/feedback/feedback.db

page: $(PAGE)/built/page.json  ## Build the page that `make serve` shows

test: $(READY) page  ## Run every check: lint, import contracts, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@# mypy has one process: beside the tests it does not keep the other core waiting.
	@$(MAKE) --no-print-directory -j2 types suite

types: $(READY)
	$(BIN)/mypy

suite: $(READY) page
	$(BIN)/pytest -n 2 --dist worksteal

fast: $(READY) page  ## Run the tests without the slow ones
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# Not part of `test`: on Python 3.11 measuring costs six tenths more CPU time.
coverage: $(READY)  ## Run the tests without the slow ones, and print which lines they reach
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow" --cov --cov-report=term

format: $(READY)  ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## Build the documentation into build/site; dead links fail
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ui: $(READY)  ## Open MLflow on the runs made so far
	$(BIN)/kedro mlflow ui

VIZ := http://localhost:4141/?types=nodes

viz: $(READY)  ## Open kedro-viz on the stages, each a box that opens, and their results
	(for i in $$(seq 120); do sleep 1; \
	  $(BIN)/python -c "import urllib.request as web; web.urlopen('$(VIZ)')" 2>/dev/null && \
	  $(BIN)/python -m webbrowser "$(VIZ)" && break; done) & \
	$(BIN)/kedro viz run --no-browser

notebook: $(READY)  ## Open the notebooks
	$(BIN)/kedro jupyter lab

benchmarks: $(READY)  ## Run the side-by-side measurements of tests/benchmarks
	for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

# Every extra but `tensorflow`: see pyproject.toml.
LOCKED := hub inference pipelines train weights export viz notebook docs dev remote service feedback modal sagemaker \
    vertex cluster wandb assistant

lock: $(READY)  ## Refresh requirements.lock to the newest versions that fit pyproject.toml
	$(BIN)/pip-compile --upgrade $(LOCKED:%=--extra %) --strip-extras --no-annotate --no-header --quiet \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --output-file $(VENV)/lock.new pyproject.toml
	@# A local build of torch (2.13.0+cpu) must not be asked of machines that have another.
	{ echo "# Written by 'make lock'; installs with pip on any machine with Python 3.11 or newer."; \
	  sed 's/+cpu$$//' $(VENV)/lock.new; } > requirements.lock
	@rm $(VENV)/lock.new

clean:  ## Remove the environment and caches; data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Node comes with the environment. Compressing the runtime takes most of a minute, the first time.
$(PAGE)/built/page.json: $(shell find $(PAGE)/source -type f) $(PAGE)/build.mjs \
    $(wildcard src/cannabis_ml/inference/texts/*.json) $(wildcard $(PAGE)/tsconfig*.json) \
    $(PAGE)/node_modules/.package-lock.json
	cd $(PAGE) && npm run --silent build

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package.json $(PAGE)/package-lock.json | $(READY)
	cd $(PAGE) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# The environment is rebuilt only when the lock or the project's metadata change.
$(READY): requirements.lock requirements-tflite.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "cannabis_ml needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=26'
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-tflite.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(READY)
