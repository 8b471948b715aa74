"""What a resource costs grows with its size and not with the square of it."""

from __future__ import annotations

from collections import Counter

import pytest

from hdg.errors import ValidationFailed
from hdg.fhir.validate import validate
from hdg.management.store.composites import COMBINED_EACH, COMBINED_MAX
from hdg.management.store.index import KINDS, Indexer

BLANK = {"resourceType": "Observation", "id": "x", "status": "final"}


def coded(count, codes="c"):
    return {"coding": [{"system": "urn:x", "code": f"{codes}{number}"} for number in range(count)]}


def test_more_combinations_than_can_be_indexed_are_refused_before_they_are_made(either):
    """A thousand codes with a thousand values are a million rows for each of six composites."""
    token = either.token("clinician", institution="north")
    bomb = {**BLANK, "code": coded(20_000), "valueCodeableConcept": coded(20_000, "v")}
    entry = {"request": {"method": "POST", "url": "Observation"}, "resource": bomb}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    for place, body in (("Observation", bomb), ("", bundle)):
        answer = either.client.send("POST", f"/fhir/{place}".rstrip("/"), token, body)
        assert answer.status_code == 422, answer.text
        assert "combinations" in answer.json()["issue"][0]["diagnostics"]
    stored = either.observation("ann-0", "ann", "718-7", "2024-01-01")
    patch = [
        {"op": "replace", "path": "/code", "value": bomb["code"]},
        {"op": "remove", "path": "/valueQuantity"},
        {"op": "add", "path": "/valueCodeableConcept", "value": bomb["valueCodeableConcept"]},
    ]
    answer = either.client.send(
        "PATCH", "/fhir/Observation/ann-0", token, patch, content_type="application/json-patch+json"
    )
    assert answer.status_code == 422, answer.text
    assert either.client.get("/fhir/Observation/ann-0", token).json()["code"] == stored["code"]


def test_what_is_large_without_being_a_product_is_stored_and_found(either):
    token = either.token("clinician", institution="north")
    component = [
        {"code": coded(3, f"{number}-"), "valueQuantity": {"value": number}} for number in range(2_000)
    ]
    large = {**BLANK, "code": coded(90), "valueCodeableConcept": coded(90, "v"), "component": component}
    made = either.client.send("POST", "/fhir/Observation", token, large)
    assert made.status_code == 201, made.text
    for query in (
        "component-code-value-quantity=urn:x|1999-2$1999",
        "code-value-concept=urn:x|c89$urn:x|v89",
        "combo-code-value-concept=urn:x|c0$urn:x|v89",
    ):
        assert either.client.get(f"/fhir/Observation?{query}", token).json()["total"] == 1, query


def test_what_is_stored_already_is_indexed_as_far_as_it_goes():
    bomb = {**BLANK, "code": coded(20_000), "valueCodeableConcept": coded(20_000, "v")}
    indexer = Indexer(hash)
    with pytest.raises(ValidationFailed, match="combinations"):
        indexer.heads(bomb)
    rows = indexer.rows(bomb, 1).tables[KINDS["composite"]]
    by_composite = Counter(row[0] for row in rows)
    assert max(by_composite.values()) == COMBINED_MAX + COMBINED_EACH


def test_many_contained_resources_that_refer_to_each_other_are_validated():
    """Each reference looked through all of them: 8,000 took seven seconds."""
    count = 60_000
    contained = [
        {**BLANK, "id": f"o{number}", "code": {"text": "x"}, "hasMember": [{"reference": f"#o{number + 1}"}]}
        for number in range(count)
    ]
    last = {**BLANK, "id": f"o{count}", "code": {"text": "x"}}
    whole = {
        **BLANK,
        "code": {"text": "x"},
        "contained": [*contained, last],
        "hasMember": [{"reference": "#o0"}],
    }
    assert validate(whole) == []
    lost = {**whole, "contained": contained}
    assert [(issue.place, issue.code) for issue in validate(lost)] == [
        (f"Observation.contained[{count - 1}].hasMember[0].reference", "invariant")
    ]
    wrong = {**whole, "subject": {"reference": "#o5"}, "focus": [{"reference": "#"}]}
    assert [(issue.place, issue.code) for issue in validate(wrong)] == [("Observation.subject", "value")]
