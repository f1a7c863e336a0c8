# One command from a fresh clone: `make sweep`, `make real` or `make test`. Everything is installed into .venv, nowhere else.
PYTHON ?= python3
OUT ?= results/default
REAL ?= results/real
REAL_LM ?= results/real-lm
ARGS ?=

VENV := .venv
LATEST := .venv-latest
BIN := $(VENV)/bin
SITE := build/site
EXTRAS := sweep,real,notebooks,docs,sensitivity,scale,test
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Byte code is kept: without, each of the hundreds of processes of the tests compiles this project and the tests again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help sweep real real-lm test test-all check notebook notebooks docs latest lock clean
.NOTPARALLEL:

help:
	@echo 'make sweep       compare curricula on simulated learners; tables and figures go to $(OUT)'
	@echo 'make real        finetune the tiny language model with AdaRFT; the record goes to $(REAL)'
	@echo 'make real-lm     the same with SmolLM2-135M on arithmetic; the record goes to $(REAL_LM)'
	@echo 'make test        ruff, mypy and pytest without the longest tests'
	@echo 'make check       the same without all slow tests'
	@echo 'make test-all    the same with every test, as continuous integration runs it'
	@echo 'make notebook    JupyterLab on notebooks/'
	@echo 'make notebooks   run notebooks/*.py and save each as .ipynb beside its source'
	@echo 'make docs        the pages of docs/ as a site, $(SITE)/index.html, with the notebooks executed'
	@echo 'make latest      all tests with the newest release of every package, in $(LATEST)'
	@echo 'make lock        write the newest releases to lock.txt, from which the other commands install'
	@echo 'make clean       remove .venv and caches; results/ stays'
	@echo
	@echo 'The first call sets up .venv, later calls reuse it.'
	@echo 'PYTHON=python3.12  interpreter for .venv, 3.11 or newer (default: python3)'
	@echo 'OUT=results/mine   where the sweep writes (default: results/default)'
	@echo 'REAL=results/mine  where the real run writes (default: results/real); REAL_LM= likewise'
	@echo 'ARGS="..."         more options for sims/sweep.py, real_runs/train.py, JupyterLab or pytest'

sweep: $(VENV)/.sweep
	$(BIN)/python sims/sweep.py --out $(OUT) $(ARGS)

real: $(VENV)/.real
	$(BIN)/python real_runs/train.py --out $(REAL) --resume $(ARGS)

# The model's folder is made once, outside the repository. Then groups of 8 completions, without KL penalty and entropy.
real-lm: $(VENV)/.real
	$(BIN)/python real_runs/smollm2.py
	$(BIN)/python real_runs/train.py --model smollm2 --task arithmetic --plain --shots 4 --stop '\n' \
		--algorithm grpo --set grpo.kl_coef=0 --set grpo.entropy_coef=0 --lr 1e-5 \
		--batch 8 --rollouts 8 --steps 40 --save-every 20 --out $(REAL_LM) --resume $(ARGS)

test: $(VENV)/.full
	$(call tests,$(BIN),-m 'not long' $(ARGS))

test-all: $(VENV)/.full
	$(call tests,$(BIN),$(ARGS))

check: $(VENV)/.full
	$(call tests,$(BIN),-m 'not slow' $(ARGS))

# The settings say that a double click opens a .py file as a notebook; a kernel with its full path is the one it gets.
notebook: $(VENV)/.full
	@$(BIN)/python -m ipykernel install --sys-prefix >/dev/null
	JUPYTER_CONFIG_PATH=$(CURDIR)/notebooks/.jupyter $(BIN)/jupyter-lab notebooks $(ARGS)

notebooks: $(VENV)/.full
	$(BIN)/jupytext --set-kernel python3 --to ipynb --execute notebooks/*.py

# Notebooks run the first time, and again when they change: minutes. Nothing is fetched.
docs: $(VENV)/.full
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs . $(SITE) $(ARGS)
	@echo '$(SITE)/index.html'

latest: $(LATEST)/.full
	$(call tests,$(LATEST)/bin,$(ARGS))

lock: $(LATEST)/.full
	@$(LATEST)/bin/python -m pip freeze --all --exclude-editable | $(pins) > lock.txt.part
	@mv lock.txt.part lock.txt
	@echo 'lock.txt: make test-all proves it'

clean:
	rm -rf $(VENV) $(LATEST) .hypothesis .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define tests
$(1)/ruff check .
$(1)/mypy
$(1)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(2)
endef

# The first lines of lock.txt stay; releases lose the name of a local build; pip itself is the interpreter's.
pins = { grep '^\#' lock.txt; sed -E 's/\+[^ ;]+//' | grep -v '^pip==' | LC_ALL=C sort -f; }

# A stamp is written only after its whole step, so an interrupted set-up starts that step again.
$(VENV)/.made:
	@$(call environment,$(VENV))
	@touch $@

$(VENV)/.sweep: $(VENV)/.made pyproject.toml lock.txt
	@echo 'installing what a sweep needs'
	@$(call install,$(VENV),lock.txt,sweep)
	@touch $@

$(VENV)/.real: $(VENV)/.made pyproject.toml lock.txt
	@echo 'installing what a real run needs: torch and transformers'
	@$(call install,$(VENV),lock.txt,real)
	@touch $(VENV)/.sweep $@

$(VENV)/.full: $(VENV)/.made pyproject.toml lock.txt
	@echo 'installing everything: torch, transformers, jupyterlab and the test tools (minutes the first time)'
	@$(call install,$(VENV),lock.txt,$(EXTRAS))
	@touch $(VENV)/.sweep $(VENV)/.real $@

# Anew each time: what is newest today.
.PHONY: $(LATEST)/.full
$(LATEST)/.full:
	@$(call environment,$(LATEST))
	@echo 'installing the newest release of everything'
	@$(call install,$(LATEST),constraints.txt,$(EXTRAS))

environment = $(if $(python_fault),$(error $(python_fault)))echo 'setting up $(1) with $(PYTHON)'; $(PYTHON) -m venv --clear $(1)

# pip takes a package whose installation was cut off before RECORD for installed: forget it, so that it comes again.
# setuptools, of the release that the list names, builds this project and every package that comes as source.
install = for d in $(1)/lib/python*/site-packages/*.dist-info; do test -e "$$d/RECORD" || rm -rf "$$d"; done; \
	$(1)/bin/python -m pip install --quiet --upgrade --constraint $(2) setuptools wheel && \
	$(1)/bin/python -m pip install --quiet --constraint $(2) --no-build-isolation --editable '.[$(3)]'

# Empty when $(PYTHON) will do, else one line that says why not.
python_fault = $(shell $(PYTHON) -c 'import sys; v = "%d.%d.%d" % sys.version_info[:3]; \
	print("" if sys.version_info >= (3, 11) else "PYTHON: must be Python 3.11 or newer, got $(PYTHON) = " + v)' \
	2>/dev/null || echo 'PYTHON: must name a Python 3.11 or newer, got $(PYTHON), which does not run')
