# `make demo` and `make test` need nothing but Python 3.11-3.14 and git; both set up .venv first.
PYTHON ?= python3
DATA ?=
BIN := .venv/bin

.PHONY: demo test check docs reference links figures clean

demo: .venv/run  ## the main job, from spectra to the Δq map; of your own spectra: make demo DATA=path/to/data.nc
	$(BIN)/glassmap demo $(if $(DATA),--data $(DATA))

test: .venv/installed check  ## everything that CI runs
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

check: .venv/installed  ## style and types, seconds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

docs: .venv/installed  ## the documentation as a site, which opens from its files: build/docs/index.html
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet --jobs auto docs build/docs

reference: .venv/installed  ## the pages that are made of the code: campaign-file.md, commands.md
	$(BIN)/python docs/make_reference.py

links: .venv/installed  ## whether the addresses that the documentation names still answer; needs a network
	$(BIN)/python -m sphinx --builder linkcheck --quiet docs build/links

figures: .venv/installed  ## the tables and pictures of docs/results.md: make figures SHARED=path/to/shared/data
	PATH="$(CURDIR)/$(BIN):$$PATH" docs/make-results $(SHARED)

.venv/run: pyproject.toml constraints.txt  # what a user installs
	@echo "Setting up .venv: some minutes, 2 GB."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all]' --constraint constraints.txt
	touch $@

.venv/installed: .venv/run  # and what its developers need
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all,dev,docs]' --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
