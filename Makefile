# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test corpus interop lint bench clean
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

bench: $(VENV)/made-test  ## every figure beside its limit; writes bench/out/results.json
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) bench/out
