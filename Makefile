# wisp: `make demo` and `make test` do all the set-up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COVERAGE := .coverage
# At these network sizes one thread a process is fastest. Tests run three processes on two cores: some of them wait, and with four all take longer.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test bench bench-front lint types unit setup clean lock

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,search,cluster,dev]'
	# torchvision is a test peer only (its weights' names, its models); its dependencies are ours already.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt torchvision
	touch $@

demo: setup
	$(BIN)/wisp data synthetic --out demo/photos --images 1800 --seed 0 --if-missing
	$(BIN)/wisp optimize demo/photos --out demo/run --budget 2m --seed 0 --recipe examples/demo.toml --overwrite

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

# Compiled once: the tests start hundreds of processes, and some of these may not write what they compile. All tests of
# a file run in one process, so that what they share (a trained run, a Ray cluster) is not made twice; the files in the
# order of tests/conftest.py.
unit: setup
	$(BIN)/python -m compileall -q src
	rm -rf $(COVERAGE)
	mkdir $(COVERAGE)
	LINE_COVERAGE=$(COVERAGE) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m slipcover --merge $(COVERAGE)/*.json --out $(COVERAGE)/all.json --skip-covered --fail-under 90

# Side by side: the types are checked while tests wait.
test:
	$(MAKE) --no-print-directory setup
	$(MAKE) --no-print-directory --jobs=2 lint types unit

bench: setup
	$(BIN)/python -m benchmarks

# Hours: our networks against known families, e.g. make bench-front DATA=photos FRONT='--epochs 100 --limit-minutes 60'
RUNS ?= runs/front
bench-front: setup
	@test -n "$(DATA)" || { echo "bench-front: which photos? make bench-front DATA=photos" >&2; exit 2; }
	$(BIN)/python -m benchmarks.front $(DATA) --out $(RUNS) $(FRONT)

# Write constraints.txt anew from the ranges of pyproject.toml.
lock:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' -e '.[train,search,cluster,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'torchvision==0.28.0'
	# local version labels (+cpu) are a property of one index, not of the release
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' > constraints.txt

clean:
	rm -rf $(VENV) demo runs build dist .pytest_cache .mypy_cache .ruff_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
