# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs dist bench gpu clean

demo: $(VENV)/.installed
	$(BIN)/bench run --attacks ar,lsp,ops --defenses dvae,iss --preset demo

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation site, which opens without network: build/docs/index.html.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/docs/index.html

# The source archive and, built from it, the wheel: build/dist.
dist: $(VENV)/.installed-dev
	rm -rf build/dist
	$(BIN)/python -m build --outdir build/dist

# Each part next to the plain way of doing it, one table. One part: `make bench BENCH="-k jpeg"`.
bench: $(VENV)/.installed-dev
	$(BIN)/pytest tests/benchmarks -o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-quiet $(BENCH)

# One GPU, no network: `make gpu GPU="--data npz:cifar10.npz --minutes 4"`; the same command continues. It uses
# $(PYTHON) if nothing is missing there (docs/start.md: a machine without network), else the environment.
gpu:
	@if $(PYTHON) -m gpu.needs; then $(PYTHON) -m gpu $(GPU); \
	else $(MAKE) --no-print-directory $(VENV)/.installed && $(BIN)/python -m gpu $(GPU); fi

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build/docs build/dist results
