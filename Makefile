# make serve   install what is pinned into .venv (once), then start the server
# make test    the same, plus the tools for development, then the tests
# make check   format, lint, types, floors, tests; what CI runs
# make gpu     on a machine with a GPU: the engine's tests there, and its table at 1.7B, in under 8 minutes
# make clients what people have (openai, ai-sdk, langchain, llm, ...) against the server; ONLY=NAME: one of them
# make clients ONLY=schemathesis MINUTES=20   requests made up from the OpenAPI description, for so long
#
# Every COGCORE_* variable reaches the server and the tests: `COGCORE_PORT=9000 make serve` or `make serve COGCORE_PORT=9000`.

VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check --no-input
# Packages for a GPU where an NVIDIA driver answers, else for the CPU. `make serve ACCELERATOR=cpu` overrules.
ACCELERATOR ?= $(shell if nvidia-smi -L >/dev/null 2>&1 || [ -e /proc/driver/nvidia/version ]; then echo gpu; else echo cpu; fi)
OTHER_cpu := gpu
OTHER_gpu := cpu
OTHER  := $(OTHER_$(ACCELERATOR))
ifeq ($(OTHER),)
$(error ACCELERATOR is '$(ACCELERATOR)': say cpu or gpu)
endif
INSTALLED     := $(VENV)/.installed-$(ACCELERATOR)
INSTALLED_DEV := $(VENV)/.installed-dev
ARGS ?=
ONLY ?=
MINUTES ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install serve test lint check gpu clients lock upgrade clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@echo "make lock    resolve requirements/*.txt again (make upgrade: to newer versions)"
	@echo "make clean   remove the environment and what tools left behind; documents in the data folder stay"

install: $(INSTALLED)

serve: $(INSTALLED)
	@exec $(VENV)/bin/cogcore serve $(ARGS)

test: $(INSTALLED_DEV)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(INSTALLED_DEV)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

check: lint test

gpu: $(INSTALLED_DEV)
	$(PY) -m pytest tests/engine/test_flash.py $(ARGS)
	$(VENV)/bin/cogcore bench serve --device cuda --core large --rows 1 2 3 4 5 --streams 64 --context 2048 --minutes 6

clients: $(INSTALLED)
	MINUTES=$(MINUTES) $(PY) -m clients.run $(ONLY)

# The first Python that is new enough: PYTHON if given, python3, then by number.
$(PY):
	@for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$($$candidate --version)"; \
	        $$candidate -m venv $(VENV) && exit 0; \
	        echo "$$candidate could not make $(VENV) (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	        rm -rf $(VENV); exit 1; \
	    fi; \
	done; \
	echo "Cogcore needs Python 3.11 or newer and found none. Name one: make serve PYTHON=/path/to/python3" >&2; exit 1

# The lists are complete, so --no-deps: nothing that is not in them can come in, and pip needs no resolving.
$(INSTALLED): requirements/$(ACCELERATOR).txt requirements/torch.txt pyproject.toml | $(PY)
	@echo "Installing the pinned packages for $(ACCELERATOR) into $(VENV) (the first time takes minutes)"
	@rm -f $(VENV)/.installed-*
	@$(PIP) uninstall --quiet --yes faiss-$(OTHER) 2>/dev/null
	$(PIP) install --no-deps --require-hashes --only-binary=:all: --requirement requirements/$(ACCELERATOR).txt
ifeq ($(ACCELERATOR),cpu)
	$(PIP) install --only-binary=:all: --requirement requirements/torch.txt
endif
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED_DEV): requirements/dev.txt $(INSTALLED)
	$(PIP) install --no-deps --require-hashes --only-binary=:all: --requirement requirements/dev.txt
	@touch $@

lock: | $(INSTALLED_DEV)
	UV=$(VENV)/bin/uv requirements/lock

upgrade: | $(INSTALLED_DEV)
	UV=$(VENV)/bin/uv requirements/lock --upgrade

clean:
	rm -rf $(VENV) clients/*/.venv clients/*/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find app clients index tests -name __pycache__ -type d -prune -exec rm -rf {} +
