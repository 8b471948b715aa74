# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The suite starts hundreds of processes: each would compile all of hdg anew where this is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test corpus interop lint bench bench-source wheels compiled typeguard bench-compiled clean
.DELETE_ON_ERROR:

$(VENV)/made: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/made-test: $(VENV)/made
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,models,postgres,bench]'
	touch $@

demo: $(VENV)/made  ## the main job on examples/
	$(BIN)/hdg demo

test: $(VENV)/made-test  ## the whole suite
	$(BIN)/python -m compileall -q hdg bench
	$(BIN)/pytest -n 3 --dist worksteal

corpus: $(VENV)/made-test  ## tests over the real inputs in ../shared/cases
	$(BIN)/pytest -n 3 --dist worksteal -m "corpus and not interop"

interop: $(VENV)/made-test  ## clients that others wrote, in Java (Maven), Node, Python and R; a browser
	tests/interop/tools.sh
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[interop]'
	npm --prefix tests/interop/medplum ci --no-audit --no-fund
	npm --prefix tests/interop/fhir_node ci --no-audit --no-fund
	mvn --quiet --file tests/interop/hapi/pom.xml package
	mvn --quiet --file tests/interop/hapi_fhir/pom.xml package
	mvn --quiet --file tests/interop/hapi_validator/pom.xml package
	mvn --quiet --file tests/interop/cda_schema/pom.xml package
	$(BIN)/pytest -m "interop $(if $(wildcard ../shared/cases),,and not corpus)" tests/interop

lint: $(VENV)/made-test  ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Where it can be built, the wheel that pip would take on this machine is measured: the compiled one.
HAS_HEADERS := import os, sysconfig; raise SystemExit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))

bench: $(VENV)/made-test  ## every figure beside its limit, of the compiled wheel; writes bench/out/results.json
	@if command -v cc >/dev/null && $(BIN)/python -c "$(HAS_HEADERS)"; then $(MAKE) bench-compiled; \
	else echo "No C compiler or no headers of this Python: the source is measured, not the compiled wheel."; \
	$(MAKE) bench-source; fi

bench-source: $(VENV)/made-test  ## the same of the source as it lies here
	$(BIN)/python -m bench

# The compiled wheel (docs/wheels.md). Everything above runs the source as it lies here and needs no C compiler.
# Wheels are built from an unpacked sdist, so that no compiled module ever lies beside its source.
MYPYC := HATCH_BUILD_HOOK_ENABLE_MYPYC=1
COMPILED := build/compiled
WITH_COMPILED := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR):$(CURDIR)/tests

CONVERSIONS := tests/fhir tests/mapping tests/terminology tests/ingestion tests/devices tests/simulate tests/test_public_api.py
# These put a function of their own in the place of one of the module's, which compiled code does not look up.
OF_SOURCE := tests/mapping/test_blocks.py::test_from_the_third_time_on_a_segment_is_not_read_again \
	tests/mapping/test_blocks.py::test_what_a_segment_reports_is_reported_each_time_at_its_own_place \
	tests/ingestion/cda/test_cda_rows.py::test_rows_that_are_not_asked_would_have_done_nothing

wheels: $(VENV)/made-test  ## the wheel for every machine, and the compiled one for this; in dist/
	$(BIN)/python -m build --outdir dist
	$(MYPYC) $(BIN)/python -m build --outdir dist

$(COMPILED)/made: pyproject.toml $(VENV)/made-test $(shell find hdg mappings terminology -type f ! -name '*.pyc')
	rm -rf build
	$(MYPYC) $(BIN)/python -m build --outdir build/wheel
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(COMPILED) build/wheel/*.whl
	touch $@

compiled: $(COMPILED)/made  ## the tests of what is compiled, with the compiled modules
	$(WITH_COMPILED) $(BIN)/pytest -n 3 --dist worksteal -p compiled_only -o "pythonpath=$(COMPILED) . tests" \
		-m "not soak and not interop $(if $(wildcard ../shared/cases),,and not corpus)" \
		$(addprefix --deselect=,$(OF_SOURCE)) $(CONVERSIONS)

typeguard: $(VENV)/made-test  ## the same tests, with every annotation of what is compiled looked at (in Python)
	$(BIN)/pytest -n 3 --dist worksteal --typeguard-packages=$$($(BIN)/python scripts/compiled.py) \
		-W ignore::typeguard.TypeHintWarning $(CONVERSIONS)

bench-compiled: $(COMPILED)/made  ## the same of the compiled wheel
	$(WITH_COMPILED) $(BIN)/python -m bench

clean:
	rm -rf $(VENV) bench/out build dist
