# `make search` and `make test` work on a fresh clone: each first makes .venv, once. ARGS reaches the command:
#   make search ARGS="study.num_trials=48 data=mosi_utterance data.path=clips.parquet"
#   make test ARGS="tests/diffusion -x"

PYTHON ?= python3
ARGS ?=
VENV := .venv
comma := ,
RUN := $(VENV)/bin/python
USED := hydra, matplotlib.pyplot, optuna, pandas, plotly, ray.train.torch, ray.tune, tensorboardX, torch
INSTALLED := $(VENV)/.installed
INSTALLED_DEMO := $(VENV)/.installed-demo
INSTALLED_DEV := $(VENV)/.installed-dev
STUDY := runs/demo

# What is set in many a container image: without bytecode, each process that is started, each of Ray's too, would compile
# torch and all else that it imports anew (seconds each, half of what the quick tests take).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help search report demo test test-all lint format docs clean

help:
	@echo "make search    find the quality/speed Pareto front (study in $(STUDY))"
	@echo "make report    draw the report of that study again"
	@echo "make demo      train its best configuration, serve it, and ask it about clips with modalities switched off"
	@echo "make test      the quick tests; make test-all adds the slow ones"
	@echo "make lint      ruff and mypy; make format mends what ruff can"
	@echo "make docs      the documentation, into build/docs (open build/docs/index.html)"
	@echo "make clean     remove caches and .venv (studies and models stay)"

search: $(INSTALLED)
	@$(RUN) -m imer_ray.search $(ARGS)

report: $(INSTALLED)
	@$(RUN) -m analysis $(or $(ARGS),$(STUDY))

demo: $(INSTALLED_DEMO)
	@$(RUN) examples/live.py $(ARGS)

# Three processes on two cores: they wait for Ray and for a browser now and then. Each one more would read all tests again.
test: $(INSTALLED_DEV)
	@$(RUN) -m pytest -q -n 3 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: $(INSTALLED_DEV)
	@$(RUN) -m pytest -q -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder -m "slow or not slow" $(ARGS)

lint: $(INSTALLED_DEV)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: $(INSTALLED_DEV)
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

docs: $(INSTALLED_DEV)
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

clean:
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installs into .venv what $(1) says. .incomplete marks the time in between: an environment left half made by an
# interrupted run is made anew. torch comes first and alone, at its pinned version: with a CPU wheel among pip's
# find-links, no CUDA package is fetched. --no-compile: of all that is installed only what $(USED) imports is compiled, which
# halves the set-up.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (once; a minute or two) ..."
	@if [ -e $(VENV)/.incomplete ] || [ ! -x $(RUN) ]; then rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); fi
	@rm -f $(INSTALLED) $(INSTALLED_DEMO) $(INSTALLED_DEV) && touch $(VENV)/.incomplete
	@$(RUN) -m pip install -qq --no-compile --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@$(RUN) -m pip install -qq --no-compile --disable-pip-version-check -c constraints.txt -e "$(1)"
	@$(RUN) -c "import $(USED)"
	@rm $(VENV)/.incomplete
endef

$(INSTALLED): pyproject.toml constraints.txt
	$(call install,.)
	@touch $@

$(INSTALLED_DEMO): pyproject.toml constraints.txt
	$(call install,.[onnx$(comma)serve])
	@touch $(INSTALLED) $@

$(INSTALLED_DEV): pyproject.toml constraints.txt
	$(call install,.[dev])
	@touch $(INSTALLED) $(INSTALLED_DEMO) $@
