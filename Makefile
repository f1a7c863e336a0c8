# One command from a fresh clone: `make sweep`, `make real` or `make test`. Everything is installed into .venv, nowhere else.
PYTHON ?= python3
OUT ?= results/default
REAL ?= results/real
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
EXTRAS := real,notebooks,sensitivity,test
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help sweep real test notebooks clean
.NOTPARALLEL:

help:
	@echo 'make sweep       compare curricula on simulated learners; tables and figures go to $(OUT)'
	@echo 'make real        finetune the tiny language model with AdaRFT; the record goes to $(REAL)'
	@echo 'make test        ruff, mypy and pytest'
	@echo 'make notebooks   run notebooks/*.py and save each as .ipynb beside its source'
	@echo 'make clean       remove .venv and caches; results/ stays'
	@echo
	@echo 'The first call sets up .venv, later calls reuse it.'
	@echo 'PYTHON=python3.12  interpreter for .venv, 3.11 or newer (default: python3)'
	@echo 'OUT=results/mine   where the sweep writes (default: results/default)'
	@echo 'REAL=results/mine  where the real run writes (default: results/real)'
	@echo 'ARGS="..."         more options for sims/sweep.py, real_runs/train.py or pytest'

sweep: $(VENV)/.core
	$(BIN)/python sims/sweep.py --out $(OUT) $(ARGS)

real: $(VENV)/.real
	$(BIN)/python real_runs/train.py --out $(REAL) --resume $(ARGS)

test: $(VENV)/.full
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

notebooks: $(VENV)/.full
	$(BIN)/jupytext --set-kernel python3 --to ipynb --execute notebooks/*.py

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written only after its whole step, so an interrupted set-up starts that step again.
$(VENV)/.made:
	$(if $(python_fault),$(error $(python_fault)))
	@echo 'setting up $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	@echo 'installing what a sweep needs'
	@$(call install,.)
	@touch $@

$(VENV)/.real: $(VENV)/.made pyproject.toml constraints.txt
	@echo 'installing what a real run needs: torch and transformers'
	@$(call install,.[real])
	@touch $(VENV)/.core $@

$(VENV)/.full: $(VENV)/.made pyproject.toml constraints.txt
	@echo 'installing everything: torch, transformers, jupyterlab and the test tools (minutes the first time)'
	@$(call install,.[$(EXTRAS)])
	@touch $(VENV)/.core $(VENV)/.real $@

# pip takes a package whose installation was cut off before RECORD for installed: forget it, so that it comes again.
install = for d in $(VENV)/lib/python*/site-packages/*.dist-info; do test -e "$$d/RECORD" || rm -rf "$$d"; done; \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(1)'

# Empty when $(PYTHON) will do, else one line that says why not.
python_fault = $(shell $(PYTHON) -c 'import sys; v = "%d.%d.%d" % sys.version_info[:3]; \
	print("" if sys.version_info >= (3, 11) else "PYTHON: must be Python 3.11 or newer, got $(PYTHON) = " + v)' \
	2>/dev/null || echo 'PYTHON: must name a Python 3.11 or newer, got $(PYTHON), which does not run')
