# Needs Python 3.11 or later and make. Every target fills .venv with what it uses, and no more;
# stamp files in .venv remember what is there, so a second run installs nothing.

PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --build-constraint constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-cluster demo-processes demo-ray test crash lint bench wheel clean
.SECONDARY:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.with-core ## see it run
	$(RUN) scripts/demo.py

demo-cluster: $(VENV)/.with-demo-cluster ## see a cluster lose a node at work
	$(RUN) scripts/demo_cluster.py

demo-processes: $(VENV)/.with-core ## see every core used, and a process lost at work
	$(RUN) scripts/demo_processes.py

demo-ray: $(VENV)/.with-demo-ray ## see a Ray cluster lose a node at work
	$(RUN) scripts/demo_ray.py

# Two processes, each with servers of its own, run a file of tests at a time. The stress tests run
# by themselves, and without coverage: exceptions that arrive at any bytecode would arrive in
# coverage's own, and it would hang.
test: $(VENV)/.with-test ## run the tests, with branch coverage
	$(RUN) -m pytest --numprocesses 2 --dist loadfile --cov -m "not stress"
	$(RUN) -m pytest -m stress

crash: $(VENV)/.with-test ## kill writers by the hundred and look for what is lost
	$(RUN) scripts/crash.py

lint: $(VENV)/.with-lint ## check style, types and the direction of imports
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.with-bench ## measure, beside other libraries
	$(RUN) scripts/bench

wheel: $(VENV)/.with-wheel ## build the wheel into dist/
	rm -rf dist
	$(RUN) -m build --wheel --dependency-constraints-txt constraints.txt

clean: ## remove .venv and everything else that was made here
	rm -rf $(VENV) build dist bench.json .coverage .coverage.* \
		.pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An empty environment with the pinned pip; another set of pins starts it afresh.
$(VENV)/.with-pip: constraints.txt
	@test -n "$(PYTHON)" || { echo "eskernel needs Python 3.11 or later; name one: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(RUN) -m pip uninstall --quiet --yes setuptools
	@touch $@

# eskernel itself, editable, with its core dependencies.
$(VENV)/.with-core: $(VENV)/.with-pip pyproject.toml
	$(INSTALL) --editable .
	@touch $@

# One dependency group of pyproject.toml.
$(VENV)/.with-%: $(VENV)/.with-core
	$(INSTALL) --group $*
	@touch $@
