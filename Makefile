# `make demo` and `make test` set up everything they need in .venv first.
PYTHON ?= python3
VENV := .venv
EXACT :=  # packages that have to be in it in exactly this version
BIN := $(VENV)/bin
PROCESSES ?= 4  # on two cores, six were slower: each has a Ray of its own
SHARED := --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
# Of what `make test-longest` does more often.
FEWER := OUTLIVE_KILLS=100 OUTLIVE_KILLS_OF_ACTORS=1 OUTLIVE_EXAMPLES=40 OUTLIVE_TRIM_TASKS=800
# Of what `make test-all` does more often; and workers are forked. The longer forms have them start as Ray starts them.
SHORT := $(FEWER) OUTLIVE_KILLS=50 OUTLIVE_EXAMPLES=20 OUTLIVE_SHORT=1 OUTLIVE_FORKED=1

# Tests start hundreds of processes. Where containers forbid it, each would compile all of outlive: 0.3 s of CPU.
export PYTHONDONTWRITEBYTECODE :=

# The short forms; see CONTRIBUTING.md for the long ones.
.PHONY: help demo test test-all test-longest all-tests test-busy lint docs pages dist types bench simulate test-oldest clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         watch arrays survive what kills Ray's (about two minutes)"
	@echo "make test         the tests of every promise, in their short form"
	@echo "make test-all     these, and the long ones (tests/long.py); .ci/run runs these"
	@echo "make test-longest all tests, none cut short"
	@echo "make test-busy    make test ten times in a row beside four busy processes (RUNS=10 BUSY=4)"
	@echo "make lint         ruff, mypy, import-linter"
	@echo "make dist         a wheel and an sdist, checked, and the wheel tried where there is no Ray"
	@echo "make types        what pyright says, strictly, of a program that uses the public API"
	@echo "make bench        every figure, side by side with Ray (about an hour)"
	@echo "make simulate     ten million schedules of a simulated cluster (SCHEDULES=20000: about five minutes)"
	@echo "make docs         the documentation as a site, in build/site; it needs no network to be read"
	@echo "make pages        writes into docs/ what the commands of its pages print now"
	@echo "make test-oldest  make test-all with Python 3.10 and Ray 2.49.1 (TESTS=test: another of these)"

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "outlive needs Python 3.10 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@echo "Installing Ray and the rest into $(VENV), once: a few minutes, without a word"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]' $(EXACT)
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/outlive demo

# A virtual environment beside the other: it has that one's packages, and the extra $(1). Where that cannot be installed
# (no network), it says $(2).
define beside
$(PYTHON) -m venv --without-pip $(VENV)/$(1)
echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
  > "$$($(VENV)/$(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
timeout 300 $(BIN)/pip --python $(VENV)/$(1)/bin/python install --quiet --retries 1 'outlive[$(1)]' && touch $@ || \
  { rm -rf $(VENV)/$(1); echo "$(2)"; }
endef

# What tests/pages/test_programs.py and examples/dicom_serve need: with ray[serve] beside the tests' packages, each Ray of the tests would
# start more. Without it only their own tests are skipped.
$(VENV)/pages/.ready: $(VENV)/.ready
	$(call beside,pages,the programs with Ray Serve are not tried: their packages cannot be installed)

# What builds the site. Without it the tests of the site are skipped.
$(VENV)/docs/.ready: $(VENV)/.ready
	$(call beside,docs,the site is not built: its packages cannot be installed)

test: $(VENV)/.ready
	$(SHORT) $(BIN)/python -m pytest $(SHARED) -m 'not long'

test-all: $(VENV)/.ready $(VENV)/docs/.ready
	$(FEWER) $(BIN)/python -m pytest $(SHARED) -m 'not longest'

test-longest: $(VENV)/pages/.ready $(VENV)/docs/.ready all-tests

# Those that are marked `alone` are looked for in the files that name the mark: pytest would read all for seconds.
all-tests: $(VENV)/.ready
	$(BIN)/python -m pytest $(SHARED) -m 'not alone'
	$(BIN)/python -m pytest -m alone $$(grep -rl --include='test_*.py' 'mark\.alone' tests)

test-busy: $(VENV)/.ready
	$(BIN)/python -m tests.busy --runs $(or $(RUNS),10) --busy $(or $(BUSY),4)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/docs/.ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/python -m mkdocs build --strict --config-file website/mkdocs.yml
	@echo "build/site/index.html is the first page"

pages: $(VENV)/pages/.ready
	$(BIN)/python -m tests.pages.write idle-memory.md howto/serve.md

$(VENV)/dist/bin/twine:
	$(PYTHON) -m venv --clear $(VENV)/dist
	$(VENV)/dist/bin/pip install --quiet 'build>=1' 'twine>=5' && touch $@

dist: $(VENV)/.ready $(VENV)/dist/bin/twine
	rm -rf dist
	$(VENV)/dist/bin/python -m build --quiet
	$(VENV)/dist/bin/twine check --strict dist/*
	OUTLIVE_DIST=dist $(BIN)/python -m pytest -q tests/package/test_wheel.py

# basedpyright is pyright as wheels of PyPI, Node included: pyright's own wheel downloads both when it is run.
# Without it this fails, with or without a network: a check that was not made is no pass.
PYRIGHT := $(VENV)/types/bin/basedpyright
$(PYRIGHT):
	$(PYTHON) -m venv --clear $(VENV)/types
	timeout 300 $(VENV)/types/bin/pip install --quiet --retries 1 'basedpyright>=1.20' && touch $@ || \
	  { echo "no program is read by pyright: basedpyright cannot be installed"; exit 1; }

types: $(VENV)/.ready $(PYRIGHT)
	$(PYRIGHT) --level error --pythonpath $(BIN)/python tests/package/typed_program.py

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks

simulate: $(VENV)/.ready
	$(BIN)/python -m outlive.testing.simulation --count $(or $(SCHEDULES),10000000)

test-oldest:
	@for python in python3.10 "$$HOME"/.pyenv/versions/3.10.*/bin/python; do \
	  "$$python" -c '' 2>/dev/null || continue; \
	  exec $(MAKE) VENV=.venv-oldest PYTHON="$$python" EXACT=ray==2.49.1 $(or $(TESTS),test-all); \
	done; echo "skipped: there is no Python 3.10 here"

clean:
	rm -rf $(VENV) .venv-oldest
