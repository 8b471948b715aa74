"""Index extraction.

Equal to FHIRPath, R4's compartments, stable numbers, single values (R4 search.html#ptypes).
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir import definitions, json
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.path import compile as compile_path
from hdg.management.store.composites import composite_slots
from hdg.management.store.extensions import extension_url
from hdg.management.store.index import Indexer, is_indexed, lookups
from hdg.management.store.paths import routes
from hdg.management.store.values import MAX_US, TEXT_MAX, date_range, fold, hasher, split_reference

HASH = hasher(b"k" * 32)
INDEXER = Indexer(HASH)
TABLES = ("token", "reference", "string", "uri", "date", "number", "quantity", "composite")


def selected(type_: str, parameter: definitions.SearchParameter, resource) -> Counter[bytes] | None:
    found = routes(type_, parameter.expression)
    if found is None:
        return None
    items: Counter[bytes] = Counter()
    for route in found:
        for item in route.of(resource):
            if not route.target or names(item, route.target):
                items[canonical_bytes({"item": item})] += 1
    return items


def names(item, target: str) -> bool:
    reference = item.get("reference", "")
    return reference.startswith(f"{target}/") or f"/{target}/" in reference or item.get("type") == target


def check(resource) -> None:
    type_ = resource["resourceType"]
    for parameter in definitions.search_parameters(type_):
        if not is_indexed(parameter) or parameter.kind == "composite" or extension_url(parameter.expression):
            continue  # of an extension its value is indexed
        ours = selected(type_, parameter, resource)
        if ours is None or ("resolve()" in parameter.expression and "contained" in resource):
            continue  # a contained target has no row of its own
        path = compile_path(parameter.expression, type_)
        theirs = Counter(canonical_bytes({"item": item}) for item in path(resource))
        assert ours == theirs, (type_, parameter.code)


OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "meta": {"profile": ["http://example.org/p|1"], "tag": [{"code": "t"}]},
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
    "subject": {"reference": "Patient/p1"},
    "focus": [{"reference": "Patient/p3"}],
    "performer": [
        {"reference": "Patient/p2/_history/4"},
        {"reference": "Organization/x"},
        {"reference": "#c"},
    ],
    "effectivePeriod": {"start": "2026-01-01", "end": "2026-01-02"},
    "valueQuantity": {"value": json.decimal("1.50"), "code": "mg", "unit": "milligram"},
    "component": [
        {"code": {"coding": [{"code": "a"}]}, "valueCodeableConcept": {"coding": [{"code": "b"}]}},
        {"code": {"coding": [{"code": "c"}]}, "valueQuantity": {"value": 2}},
    ],
}
PATIENT = {
    "resourceType": "Patient",
    "id": "me",
    "link": [{"other": {"reference": "Patient/other"}, "type": "seealso"}],
    "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}],
    "generalPractitioner": [{"reference": "Practitioner/a"}, {"reference": "Organization/b"}],
    "deceasedDateTime": "2026",
}


@pytest.mark.parametrize("resource", [OBSERVATION, PATIENT], ids=lambda r: r["resourceType"])
def test_routes_select_what_fhirpath_selects(resource) -> None:
    check(resource)


@pytest.mark.corpus
def test_routes_select_what_fhirpath_selects_in_every_r4_example(cases: Path) -> None:
    files = sorted((cases / "fhir" / "r4-examples").glob("*.json"))
    assert len(files) > 700
    for file in files:
        check(json.loads(file.read_bytes()))


@pytest.mark.corpus
def test_every_r4_example_can_be_indexed_without_a_row_too_wide(cases: Path) -> None:
    for file in sorted((cases / "fhir" / "r4-examples").glob("*.json")):
        resource = json.loads(file.read_bytes())
        rows = INDEXER.rows(resource, 1)
        for table in rows.tables:
            for row in table:
                assert all(len(value) <= TEXT_MAX for value in row if type(value) is str)


def test_route_numbers_do_not_collide() -> None:
    seen: dict[int, set[str]] = {}
    for type_ in definitions.resource_types():
        for parameter in definitions.search_parameters(type_):
            for number, _ in lookups(type_, parameter.code):
                seen.setdefault(number, set()).add(f"{type_}.{parameter.code}")
    mixed = [names for names in seen.values() if len({name.partition(".")[0] for name in names}) > 1]
    assert mixed == []
    assert len(seen) > 1500


def test_every_search_parameter_of_r4_has_rows() -> None:
    without = {
        f"{type_}.{parameter.code}"
        for type_ in definitions.resource_types()
        for parameter in definitions.search_parameters(type_)
        if parameter.code not in ("_id", "_lastUpdated") and not lookups(type_, parameter.code)
    }
    assert without == set()


def test_compartments_follow_r4_and_a_patient_is_in_its_own_only() -> None:
    assert INDEXER.rows(OBSERVATION, 1).patients == {"p1", "p2"}
    assert INDEXER.rows(PATIENT, 1).patients == {"me"}
    assert INDEXER.rows({"resourceType": "Organization", "id": "x"}, 1).patients == set()


def test_rows_are_one_per_tuple() -> None:
    tables = dict(zip(TABLES, INDEXER.rows(OBSERVATION, 7).tables, strict=True))
    assert all(row[-1] == 7 for rows in tables.values() for row in rows)
    quantities = {(row[1], row[2]) for row in tables["quantity"]}
    assert quantities == {(1.5, 1.5), (2.0, 2.0)}
    assert {row[3] for row in tables["quantity"]} == {HASH("mg"), HASH("milligram"), 0}
    # Two codes with a value each, and the quantity of the whole once by code and once by unit.
    assert len(tables["composite"]) == 4
    references = {row[1] for row in tables["reference"]}
    assert references == {HASH(name) for name in ("p1", "p2", "p3", "x")}


def test_composites_that_do_not_fit_have_no_slots() -> None:
    assert composite_slots(("token", "quantity")) == ((1, 2), (5, 6, 3, 4))
    assert composite_slots(("token", "date")) == ((1, 2), (7, 8))
    assert composite_slots(("token", "number", "number")) == ((1, 2), (5,), (6,))
    assert composite_slots(("token", "token", "quantity")) is None
    assert composite_slots(("quantity", "quantity")) is None
    assert composite_slots(("token", "number", "quantity")) is None
    assert composite_slots(("string", "uri")) is None
    assert composite_slots(("token", "token", "token")) is None


def test_hashes_are_keyed_signed_64_bit_and_zero_for_nothing() -> None:
    assert HASH("") == 0
    assert HASH("a") != hasher(b"x" * 32)("a")
    assert all(-(2**63) <= HASH(str(n)) < 2**63 for n in range(200))


@pytest.mark.parametrize(
    ("text", "start", "length"),
    [
        ("1970-01-01T00:00:00.000001Z", 1, 1),
        ("1970-01-01T00:00:00.12Z", 120_000, 10_000),
        ("1970-01-01T00:00:01Z", 1_000_000, 1_000_000),
        ("1970-01-01T01:00:00+01:00", 0, 1_000_000),
        ("1969-12-31T22:30:00-01:30", 0, 1_000_000),
        ("1970-01-01T00:01", 60_000_000, 60_000_000),
        ("1970-01-02", 86_400_000_000, 86_400_000_000),
        ("1970-02", 31 * 86_400_000_000, 28 * 86_400_000_000),
        ("1972-02", 761 * 86_400_000_000, 29 * 86_400_000_000),
        ("1970", 0, 365 * 86_400_000_000),
    ],
)
def test_a_date_covers_its_precision(text, start, length) -> None:
    assert date_range(text) == (start, start + length - 1)


@pytest.mark.parametrize(
    "text", ["", "x", "197", "1970-13", "2026-02-30", "1970-01-01T25:00:00Z", "1970-01-01T", "0000"]
)
def test_what_is_no_date_covers_nothing(text) -> None:
    assert date_range(text) is None


def test_the_last_year_ends() -> None:
    assert date_range("9999") is not None
    assert date_range("9999")[1] == date_range("9999-12")[1] == MAX_US


@given(st.datetimes().map(lambda d: d.isoformat(timespec="microseconds")))
def test_more_precision_lies_inside_less(text) -> None:
    ranges = [date_range(text[:length]) for length in (4, 7, 10, 16, 19, 21, 26)]
    for outer, inner in pairwise(ranges):
        assert outer[0] <= inner[0] <= inner[1] <= outer[1]


@given(st.text())
def test_folding_twice_is_folding_once_and_fits_every_database(text) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert "\0" not in folded
    folded.encode()


def test_folding_drops_case_diacritics_and_doubled_spaces() -> None:
    assert fold("  MÜLLER   Şen-ÉÅ ") == "muller sen-ea"
    assert fold("Straße") == "strasse"
    assert fold("김민준") == "김민준"
    assert len(fold("x" * 1000)) == TEXT_MAX


def test_references_are_split_only_when_relative() -> None:
    assert split_reference("Patient/1") == ("Patient", "1")
    assert split_reference("Patient/1/_history/2") == ("Patient", "1")
    for text in ("http://x.org/fhir/Patient/1", "urn:uuid:1", "#a", "patient/1", "Patient/", "Patient/a b"):
        assert split_reference(text) is None
