# make demo       the demo generator's mouth and eyes, factorized: pictures in out/demo
# make test       the test suite
# make lint       ruff and mypy
# make docs       the documentation site, in build/site; a broken link or reference is an error
# make coverage   the test suite, and how much of the package it runs
# make dist       sdist and wheel, and the demo's generator run by the wheel in an empty environment
# make fuzz       damaged and forged files of every kind, thousands of them, with new ones each time
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two processes, of which one runs what needs large networks, first; see tests/conftest.py.
PYTEST := pytest -n 2 --dist loadgroup --no-loadscope-reorder

# The package as it is installed, with third_party/ and patches/ inside: mypy knows no other way to find them.
HOUSE := build/house

.PHONY: demo test lint docs coverage fuzz dist clean

# torch first and pinned: a bare `torch` would take the newest build with several GB of CUDA packages.
$(VENV)/.core: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs,biggan,ui,video]'
	touch $@

test: $(VENV)/.test
	$(BIN)/python -m $(PYTEST)

lint: $(VENV)/.test
	$(BIN)/ruff check
	rm -rf $(HOUSE) && mkdir -p $(HOUSE)/resefa_plugin
	cd $(HOUSE)/resefa_plugin && ln -s ../../../resefa_plugin/* ../../../third_party ../../../patches .
	cd $(HOUSE) && $(abspath $(BIN))/mypy --config-file=../../pyproject.toml --cache-dir=../../.mypy_cache -p resefa_plugin

# mkdocs-material would print with every build what comes after it.
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

coverage: $(VENV)/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz

demo: $(VENV)/.core
	$(BIN)/resefa factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --region=eyes --quick --num-directions=5 --outdir=out/demo

# The wheel is made of the sdist. It is run in a folder from which the sources are not seen.
dist: $(VENV)/.core
	rm -rf dist build/empty
	$(BIN)/python setup.py --quiet sdist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist dist/*.tar.gz
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd build/empty && bin/resefa --version && bin/resefa factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --space=s --layers=20 --resolution=64 --num-directions=1 --other-seeds=1 --outdir=out && bin/resefa info out && test -s out/report.html

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .coverage*
