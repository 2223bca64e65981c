# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench gpu clean

demo: $(VENV)/.installed
	$(BIN)/bench run --attacks ar,lsp,ops --defenses dvae,iss --preset demo

test: $(VENV)/.installed-dev
	$(BIN)/pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Ours beside the plain way, one table. One part: `make bench BENCH="-k jpeg"`.
bench: $(VENV)/.installed-dev
	$(BIN)/pytest tests/benchmarks -o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-quiet $(BENCH)

# One GPU, no network: `make gpu GPU="--data npz:cifar10.npz --minutes 4"`; the same command goes on. $(PYTHON) itself if
# nothing is missing in it (wheels can be carried: README), else the environment.
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

clean:
	rm -rf $(VENV) results
