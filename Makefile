# Two commands do everything on a fresh machine with Python 3.11+: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501

.PHONY: run test check fix demo ablations methods screens assets bench slow clean

run: $(VENV)/.run
	$(BIN)/streamlit run app.py --server.port $(PORT)

test: check
	sh tools/ensure_chromium.sh
	$(BIN)/pytest -n 2 --dist loadgroup -m "not slow and not gpu"

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

slow: $(VENV)/.dev
	$(BIN)/pytest -m slow

demo: $(VENV)/.run
	$(BIN)/python -m tools.record_demo
	$(BIN)/python -m tools.record_plans
	$(BIN)/python -m tools.make_checksums

ablations: $(VENV)/.run
	$(BIN)/python -m tools.record_ablations
	$(BIN)/python -m tools.make_checksums

methods: $(VENV)/.run
	$(BIN)/python -m tools.record_methods
	$(BIN)/python -m tools.make_checksums

screens: $(VENV)/.dev
	$(BIN)/python -m tools.screens

assets: $(VENV)/.run
	$(BIN)/python -m tools.make_assets
	$(BIN)/python -m tools.make_checksums

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.dashboard
	$(BIN)/python -m benchmarks.compression

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "GenComp needs Python 3.11 or newer; set PYTHON=python3.12, for example")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt $(VENV)/bin/python
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt $(VENV)/bin/python
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@ $(VENV)/.run
