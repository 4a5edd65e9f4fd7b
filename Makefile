# make demo   the demo generator's mouth and eyes, factorized: pictures in out/demo
# make test   the test suite
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test clean

# torch first and pinned: a bare `torch` would take the newest build with several GB of CUDA packages.
$(VENV)/.core: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,biggan,ui,video]'
	touch $@

test: $(VENV)/.test
	$(BIN)/python -m pytest

demo: $(VENV)/.core
	$(BIN)/resefa factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --region=eyes --quick --num-directions=5 --outdir=out/demo

clean:
	rm -rf $(VENV) build dist *.egg-info
