"""hdg.fhir.bundle and hdg.fhir.outcome: what they build is valid R4."""

from __future__ import annotations

import pytest

from hdg.errors import BadRequest, Hl7v2Error, Issue, NotFound, ValidationFailed
from hdg.fhir import bundle
from hdg.fhir.outcome import issues_of, operation_outcome
from hdg.fhir.validate import validate

PATIENT = {"resourceType": "Patient", "id": "a"}
BASE = "http://localhost/fhir"


@pytest.mark.parametrize("base", [None, BASE])
def test_collections_and_transactions_are_valid(base: str | None) -> None:
    for made in (bundle.collection([PATIENT], base=base), bundle.transaction([PATIENT], base=base)):
        assert validate(made) == []
        assert made["entry"][0]["resource"] is PATIENT
        assert ("fullUrl" in made["entry"][0]) == (base is not None)


def test_a_transaction_puts_each_resource_at_its_id() -> None:
    assert bundle.transaction([PATIENT])["entry"][0]["request"] == {"method": "PUT", "url": "Patient/a"}


def test_an_empty_bundle_has_no_empty_array() -> None:
    assert bundle.searchset([], total=0) == {"resourceType": "Bundle", "type": "searchset", "total": 0}


def test_a_search_result_tells_matches_includes_and_outcomes_apart() -> None:
    outcome = operation_outcome([Issue("warning", "not-found", "", "x")])
    made = bundle.searchset(
        [PATIENT, outcome],
        total=1,
        included=[{"resourceType": "Organization", "id": "o", "name": "x"}],
        links=[("self", BASE + "/Patient?_count=1")],
        base=BASE,
    )
    assert [entry["search"]["mode"] for entry in made["entry"]] == ["match", "outcome", "include"]
    assert validate(made) == []


def test_a_history_names_method_and_version() -> None:
    made = bundle.history(
        [
            bundle.HistoryEntry("Patient/a", 3, "2024-01-03T00:00:00Z", "DELETE", None),
            bundle.HistoryEntry("Patient/a", 2, "2024-01-02T00:00:00Z", "PUT", PATIENT),
            bundle.HistoryEntry("Patient/a", 1, "2024-01-01T00:00:00Z", "POST", PATIENT, is_first=True),
        ],
        total=3,
        base=BASE,
    )
    assert validate(made) == []
    assert [entry["response"]["status"] for entry in made["entry"]] == ["204", "200", "201"]
    assert [entry["request"]["url"] for entry in made["entry"]] == ["Patient/a", "Patient/a", "Patient"]


def test_an_outcome_holds_every_issue_and_is_valid_without_any() -> None:
    made = operation_outcome([Issue("error", "required", "Patient.name", "missing")])
    assert made["issue"] == [
        {"severity": "error", "code": "required", "diagnostics": "missing", "expression": ["Patient.name"]}
    ]
    assert validate(made) == []
    assert validate(operation_outcome([])) == []


def test_an_error_becomes_issues_with_its_own_code() -> None:
    own = Issue("error", "value", "Patient.gender", "x")
    assert issues_of(ValidationFailed([own])) == (own,)
    assert issues_of(NotFound("nothing here"))[0].code == "not-found"
    assert issues_of(BadRequest("x", code="not-supported"))[0].code == "not-supported"
    assert issues_of(Hl7v2Error("broken", "MSH-2"))[0] == Issue("error", "structure", "MSH-2", "broken")
