"""Nothing that R4's search parameters select is left out of the index (R4 searchparameter-registry.html)."""

from __future__ import annotations

from math import acos, cos, radians, sin
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import true

from hdg.errors import BadRequest
from hdg.fhir import definitions, json
from hdg.fhir.path import compile as compile_path
from hdg.fhir.path_branches import Env
from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.extensions import extension_url
from hdg.management.store.index import KINDS, Indexer, kind_of, lookups
from hdg.management.store.phonetic import phonetic
from hdg.management.store.values import date_range, hasher

HASH = hasher(b"k" * 32)
INDEXER = Indexer(HASH)


def can_be_found(item: object, kind: str) -> bool:
    """Whether R4 says how a value of a parameter of that kind is searched for; by reading it, not by indexing it."""
    if isinstance(item, dict):
        match kind:
            case "token":
                coded = item.get("coding", [item])
                return any("code" in each or "value" in each for each in coded)
            case "reference":
                whole = "resourceType" in item and "id" in item
                return whole or not item.get("reference", "#").startswith("#")
            case "string":
                return any(
                    item.get(key) for key in item if key not in ("use", "period", "type", "id", "extension")
                )
            case "date":
                limits = (item.get("repeat") or {}).get("boundsPeriod") or {}
                return "start" in item or "end" in item or bool(item.get("event")) or bool(limits)
            case "number" | "quantity":
                return bool({"value", "low", "high", "data"}.intersection(item))
            case "special":
                return "latitude" in item
        return False
    if kind == "date":
        return isinstance(item, str) and date_range(item) is not None
    if kind in ("reference", "uri", "string"):
        return isinstance(item, str) and not (kind == "reference" and item.startswith("#"))
    return kind in ("token", "number")


def selected(parameter: definitions.SearchParameter, type_: str, resource: dict) -> bool:
    """By FHIRPath: whether anything that can be found is there."""
    path = compile_path(parameter.expression, type_)
    kind = parameter.kind
    if kind != "composite":
        named = [item for item in path(resource) if not foreign(parameter, item)]
        return any(can_be_found(item, kind) for item in named)
    for branch in path.branches:
        for item in branch.run(resource, Env(resource, resource, resource)):
            if all(component(each, branch.type, item, resource) for each in parameter.components):
                return True
    return False


def foreign(parameter: definitions.SearchParameter, item: object) -> bool:
    """Bundle.composition and .message share one expression; each is about its own type."""
    return isinstance(item, dict) and "resourceType" in item and item["resourceType"] not in parameter.targets


def component(each: definitions.SearchParameter, type_: str, item: dict, resource: dict) -> bool:
    branches = compile_path(each.expression, type_).branches
    env = Env(resource, resource, item)
    return any(can_be_found(value, each.kind) for branch in branches for value in branch.run(item, env))


@pytest.mark.corpus
def test_in_every_r4_example_each_parameter_has_rows_exactly_when_fhirpath_selects_something(
    cases: Path,
) -> None:
    wrong, seen = [], set()
    for file in sorted((cases / "fhir" / "r4-examples").glob("*.json")):
        resource = json.loads(file.read_bytes())
        type_ = resource["resourceType"]
        tables = INDEXER.rows(resource, 1).tables
        systems = [{(row[0], row[2]) for row in rows} for rows in tables]
        for parameter in definitions.search_parameters(type_):
            if parameter.code in ("_id", "_lastUpdated") or extension_url(parameter.expression):
                continue
            should = selected(parameter, type_, resource)
            seen.update({(type_, parameter.code)} if should else ())
            pairs = systems[KINDS[kind_of(parameter)]]
            has_rows = any(
                number == place and (not target or system == HASH(target) or (system == 0 and should))
                for place, target in lookups(type_, parameter.code)
                for number, system in pairs  # of an absolute URL nothing tells the type; it is found by itself
            )
            if has_rows != should:
                wrong.append((file.name, parameter.code, should))
    assert wrong == []
    assert len(seen) > 1000


def put(do, *resources: dict) -> None:
    def work(session) -> None:
        for resource in resources:
            session.put(resource, institution="site")

    do(work)


def found(store: Store, type_: str, param: str, kind: str, value: str, modifier: str = "") -> str:
    query = SearchQuery(type_, (Clause(param, kind, modifier, (value,)),), count=200)
    return " ".join(sorted(version.id for version in store.reader.search(query, true()).versions))


R4 = "http://hl7.org/fhir/StructureDefinition/"
GENETICS = {
    "resourceType": "Observation",
    "id": "g",
    "extension": [
        {
            "url": f"{R4}observation-geneticsGene",
            "valueCodeableConcept": {"coding": [{"system": "s", "code": "EGFR"}]},
        },
        {
            "url": f"{R4}observation-geneticsVariant",
            "extension": [
                {
                    "url": "Name",
                    "valueCodeableConcept": {"coding": [{"display": "NG_1:g.1T>G"}], "text": "change"},
                },
                {"url": "Source", "valueCodeableConcept": {"text": "somatic"}},
            ],
        },
        {"url": f"{R4}observation-geneticsAminoAcidChangeName", "valueString": "p.Gly12Asp"},
        {"url": "urn:other", "valueString": "none"},
    ],
}
RESPONSE = {
    "resourceType": "QuestionnaireResponse",
    "id": "q",
    "item": [
        {
            "extension": [{"url": f"{R4}questionnaireresponse-isSubject", "valueBoolean": True}],
            "answer": [{"valueReference": {"reference": "Patient/x"}}, {"valueString": "no"}],
        },
        {"answer": [{"valueReference": {"reference": "Patient/y"}}]},
    ],
}


def test_parameters_on_extensions_find_their_values(store: Store, do) -> None:
    put(
        do,
        GENETICS,
        RESPONSE,
        {
            "resourceType": "Device",
            "id": "d",
            "extension": [{"url": f"{R4}device-din", "valueIdentifier": {"value": "7"}}],
        },
        {
            "resourceType": "Patient",
            "id": "p",
            "extension": [{"url": f"{R4}patient-mothersMaidenName", "valueString": "Łuczak"}],
        },
        {
            "resourceType": "DiagnosticReport",
            "id": "r",
            "extension": [
                {
                    "url": f"{R4}DiagnosticReport-geneticsAssessedCondition",
                    "valueReference": {"reference": "Condition/c"},
                }
            ],
        },
    )
    assert found(store, "Observation", "gene-identifier", "token", "s|EGFR") == "g"
    assert found(store, "Observation", "dna-variant", "string", "ng_1") == "g"
    assert found(store, "Observation", "gene-dnavariant", "string", "change") == "g"
    assert found(store, "Observation", "dna-variant", "string", "somatic") == ""
    assert found(store, "Observation", "amino-acid-change", "string", "p.gly12") == "g"
    assert found(store, "Observation", "gene-amino-acid-change", "string", "none") == ""
    assert found(store, "Device", "din", "token", "7") == "d"
    assert found(store, "Patient", "mothersMaidenName", "string", "łucz") == "p"
    assert found(store, "DiagnosticReport", "assessed-condition", "reference", "Condition/c") == "r"
    assert found(store, "QuestionnaireResponse", "item-subject", "reference", "Patient/x") == "q"
    assert found(store, "QuestionnaireResponse", "item-subject", "reference", "Patient/y") == ""


def test_composites_of_two_numbers_over_the_resource_and_of_documents(store: Store, do) -> None:
    chromosome = {"coding": [{"system": "c", "code": "7"}]}
    window = {
        "chromosome": chromosome,
        "windowStart": 100,
        "windowEnd": 200,
        "referenceSeqId": {"coding": [{"code": "NC"}]},
    }
    put(
        do,
        {
            "resourceType": "MolecularSequence",
            "id": "m",
            "coordinateSystem": 0,
            "referenceSeq": window,
            "variant": [{"start": 120, "end": 130}, {"start": 150, "end": 160}],
        },
        {
            "resourceType": "DocumentReference",
            "id": "d",
            "relatesTo": [{"code": "appends", "target": {"reference": "DocumentReference/e"}}],
        },
    )
    for code, value, should in [
        ("chromosome-window-coordinate", "7$ge100$le200", "m"),
        ("chromosome-window-coordinate", "c|7$100$200", "m"),
        ("chromosome-window-coordinate", "8$ge100$le200", ""),
        ("chromosome-window-coordinate", "7$200$100", ""),
        ("chromosome-variant-coordinate", "7$120$130", "m"),
        ("chromosome-variant-coordinate", "7$120$160", ""),
        ("referenceseqid-variant-coordinate", "NC$gt140$lt170", "m"),
        ("referenceseqid-window-coordinate", "NC$lt100$gt0", ""),
    ]:
        assert found(store, "MolecularSequence", code, "composite", value) == should, value
    assert (
        found(store, "DocumentReference", "relationship", "composite", "DocumentReference/e$appends") == "d"
    )
    assert (
        found(store, "DocumentReference", "relationship", "composite", "DocumentReference/e$replaces") == ""
    )


def test_a_bundle_is_found_by_its_first_resource(store: Store, do) -> None:
    for kind, first in (("document", "Composition"), ("message", "MessageHeader")):
        resource = {"resourceType": first, "id": "one"}
        put(do, {"resourceType": "Bundle", "id": kind, "type": kind, "entry": [{"resource": resource}]})
    assert found(store, "Bundle", "composition", "reference", "one") == "document"
    assert found(store, "Bundle", "composition", "reference", "Composition/one") == "document"
    assert found(store, "Bundle", "message", "reference", "one") == "message"
    assert found(store, "Bundle", "message", "reference", "Composition/one") == ""
    assert found(store, "Bundle", "composition", "reference", "true", "missing") == "message"


PLACES = {
    "berlin": (52.52, 13.405),
    "potsdam": (52.39, 13.06),
    "paris": (48.8566, 2.3522),
    "suva": (-18.1416, 178.4415),
    "apia": (-13.8333, -171.7667),
    "pole": (90, 0),
    "null": (0, 0),
}


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """By the law of cosines, which the store does not use."""
    (a, b), (c, d) = [tuple(map(radians, place)) for place in (one, other)]
    return 6371.0088 * acos(min(1.0, max(-1.0, sin(a) * sin(c) + cos(a) * cos(c) * cos(b - d))))


def test_near_finds_what_is_within_the_great_circle_distance(store: Store, do) -> None:
    put(
        do,
        *(
            {
                "resourceType": "Location",
                "id": name,
                "position": {
                    "latitude": json.decimal(f"{north:.4f}"),
                    "longitude": json.decimal(f"{east:.4f}"),
                },
            }
            for name, (north, east) in PLACES.items()
        ),
        {"resourceType": "Location", "id": "nowhere"},
        {"resourceType": "Location", "id": "wrong", "position": {"latitude": 91, "longitude": 0}},
        {
            "resourceType": "Location",
            "id": "beyond",  # what no float holds
            "position": {"latitude": 10**400, "longitude": json.decimal("-1e400")},
        },
    )
    for north, east in [*PLACES.values(), (0.0, 180.0), (0.0, -180.0), (-90.0, 77.0), (52.5, 13.4)]:
        for distance in (1, 30, 1000, 1500, 5000, 12000, 20037):
            should = " ".join(
                sorted(name for name, place in PLACES.items() if kilometres((north, east), place) <= distance)
            )
            assert found(store, "Location", "near", "special", f"{north}|{east}|{distance}|km") == should
            assert (
                found(store, "Location", "near", "special", f"{north}|{east}|{distance * 1000}|m") == should
            )
    assert found(store, "Location", "near", "special", "52.52|13.405|0") == "berlin"
    assert found(store, "Location", "near", "special", "52.52|13.405") == "berlin potsdam"
    assert found(store, "Location", "near", "special", "52.52|13.405|19|[mi_i]") == "berlin potsdam"
    assert found(store, "Location", "near", "special", "true", "missing") == "beyond nowhere wrong"
    for wrong in (
        "52",
        "52|x",
        "91|0|1|km",
        "0|181|1|km",
        "1e400|0|1|km",
        "0|-1e400",
        "0|0|-1|km",
        "0|0|1|kg",
        "0|0|1|furlong",
        "0|0|1|km|1",
        "",
    ):
        with pytest.raises(BadRequest, match="near"):
            found(store, "Location", "near", "special", wrong)


def test_phonetic_finds_names_that_sound_alike(store: Store, do) -> None:
    names = {
        "a": {"family": "Smith", "given": ["Catherine", "Anne"]},
        "b": {"family": "Schmidt", "given": ["Philip"]},
        "c": {"text": "Robert Meyer"},
        "d": {"family": "김", "given": ["민준"]},
    }
    put(do, *({"resourceType": "Patient", "id": key, "name": [name]} for key, name in names.items()))
    for value, should in [
        ("Smyth", "a b"), ("katharine", "a"), ("Filip", "b"), ("Rupert", "c"), ("Maier", "c"), ("robert mayer", "c"),
        ("Roberson", ""), ("김", "d"), ("Annie", "a"),
    ]:  # fmt: skip
        assert found(store, "Patient", "phonetic", "string", value) == should, value
    with pytest.raises(BadRequest):
        found(store, "Patient", "phonetic", "string", "…")
    with pytest.raises(BadRequest):
        found(store, "Patient", "phonetic", "string", "Smyth", "exact")
    assert found(store, "Patient", "name", "string", "Smyth") == ""


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("Robert", "r163"),
        ("Rupert", "r163"),
        ("Tymczak", "t522"),
        ("Honeyman", "h555"),
        ("Ashcraft", "a261"),
        ("Lee", "l000"),
    ],
)
def test_the_code_is_soundex(word, code) -> None:
    assert phonetic(word) == code


@given(st.text())
def test_any_text_has_a_code_or_none(text) -> None:
    assert phonetic(text) == phonetic(text.strip())
