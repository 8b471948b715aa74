"""Elements of type code are found by system|code: their system is the one of their value set (R4 search.html#token)."""

from __future__ import annotations

import pytest

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store.paths import routes
from hdg.usage.fhir_api.plain_codes import without_systems

GENDER = "http://hl7.org/fhir/administrative-gender"
STATUS = "http://hl7.org/fhir/observation-status"
FOUND = [
    (f"Patient?gender={GENDER}|female", ["ann"]),
    (f"Patient?gender={GENDER}|male", ["cee"]),
    (f"Patient?gender={GENDER}|", ["ann", "cee"]),
    (f"Patient?gender={GENDER}|female,male", ["ann", "cee"]),
    (f"Patient?gender:not={GENDER}|female", ["cee", "dee"]),
    (f"Patient?gender:not={GENDER}|", ["dee"]),
    ("Patient?gender=urn:other|female", []),
    ("Patient?gender=urn:other|", []),
    ("Patient?gender:not=urn:other|female", ["ann", "cee", "dee"]),
    (f"Patient?gender={GENDER}|no-such-code", []),
    ("Patient?gender=|female", ["ann"]),
    (f"Patient?_filter=gender eq {GENDER}|female", ["ann"]),
    (f"Patient?_filter=gender ne {GENDER}|female", ["cee", "dee"]),
    (f"Patient?_has:Observation:patient:status={STATUS}|final", ["ann"]),
    (f"Observation?status={STATUS}|final&patient.gender={GENDER}|female", ["ann-0", "ann-1", "ann-2"]),
    (f"Observation?status={STATUS}|amended", []),
    ("?_type=Observation,DiagnosticReport&status=final", ["ann-0", "ann-1", "ann-2"]),
]


def test_a_code_is_found_with_the_system_of_its_value_set(either):
    token = either.token("clinician", institution="north")
    either.put({**either.patient("ann", "Eve", "F"), "gender": "female"}, "north", "ann")
    either.put({**either.patient("cee", "Cy", "F"), "gender": "male"}, "north", "cee")
    either.put(either.patient("dee", "Di", "F"), "north", "dee")
    for query, ids in FOUND:
        answer = either.client.get(f"/fhir/{query}", token)
        assert answer.status_code == 200, (query, answer.text)
        found = sorted(entry["resource"]["id"] for entry in answer.json().get("entry", ()))
        assert (query, found, answer.json()["total"]) == (query, ids, len(ids))
    made = either.client.send(
        "POST", "/fhir/Patient", token, {"resourceType": "Patient"}, if_none_exist=f"gender={GENDER}|male"
    )
    assert made.status_code == 200
    assert made.json()["id"] == "cee"


@pytest.mark.parametrize("query", ["Subscription?payload=urn:x|json", "CodeSystem?code:not=urn:x|a"])
def test_a_system_that_cannot_be_told_is_refused_and_never_empty(world, query):
    answer = world.client.get(f"/fhir/{query}", world.token("clinician", institution="north"))
    assert answer.status_code == 400
    assert "ask by the code alone" in answer.json()["issue"][0]["diagnostics"]
    plain = world.client.get(
        f"/fhir/{query.replace('urn:x|', '')}", world.token("clinician", institution="north")
    )
    assert plain.status_code == 200


def test_a_code_of_two_systems_is_not_looked_for_in_both_types():
    encounters = "http://hl7.org/fhir/encounter-status"
    assert without_systems(("Encounter", "Patient"), "status", (f"{encounters}|finished",)) == ("finished",)
    assert without_systems(("Encounter", "Task"), "status", (f"{encounters}|finished",)) == ("finished",)
    with pytest.raises(BadRequest, match="search one type"):
        without_systems(("Encounter", "Task"), "status", (f"{encounters}|cancelled",))


def test_every_code_of_every_required_value_set_is_found_with_its_system():
    """A parameter about plain codes has no other elements, so nothing else loses its system."""
    count = 0
    for type_ in definitions.resource_types():
        for parameter in definitions.search_parameters(type_):
            found = routes(type_, parameter.expression) if parameter.kind == "token" else None
            if not any(route.type == "code" for route in found or ()):
                continue
            assert {route.type for route in found} == {"code"}, (type_, parameter.code)
            for binding in _bindings(type_, found):
                for system, codes in (definitions.codes(binding) or {}).items():
                    values = tuple(f"{system}|{code}" for code in sorted(codes))
                    assert without_systems((type_,), parameter.code, values) == tuple(sorted(codes))
                    count += len(codes)
    assert count > 1000


def _bindings(type_, found):
    for route in found:
        info, at = None, type_
        for name in route.text.split("."):
            info = definitions.element_info(at, name)
            at = info.type
        if info.definition.binding:
            yield info.definition.binding


def test_other_tokens_keep_their_system():
    for type_, code, value in [
        ("Observation", "code", "http://loinc.org|718-7"),
        ("Patient", "identifier", "urn:x|1"),
        ("Patient", "active", "urn:x|true"),
        ("Patient", "deceased", "urn:x|true"),
        ("Patient", "colour", "urn:x|blue"),
        ("Patient", "gender", "a|b|c"),
    ]:
        assert without_systems((type_,), code, (value,)) == (value,)
