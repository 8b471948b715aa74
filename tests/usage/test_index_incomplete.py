"""While the search index is made anew: 503 for what would be wrong, answers for the rest (R4 http.html#search)."""

from __future__ import annotations

import pytest

from hdg.management.store.index_state import IndexState, Mark, set_mark


@pytest.fixture
def incomplete(either):
    either.store.submit(lambda session: set_mark(session.connection, Mark("x", 1, 4))).result(120)
    either.store.reader.index.__init__()
    return either


SEARCHES = (
    "/fhir/Observation?code=718-7",
    "/fhir/Observation?_sort=date",
    "/fhir/Patient/ann/Observation",
    "/fhir/Patient/ann/$everything",
    "/fhir/Observation?_id=ann-1&_include=Observation:subject",
    "/fhir/Observation?_id=ann-1&patient.name=x",
    "/fhir/Observation/$lastn?patient=ann&category=laboratory",
)


def test_searches_are_refused_with_the_time_to_ask_again_and_the_progress(incomplete):
    token = incomplete.token("clinician", user="u", institution="north")
    for path in SEARCHES:
        answer = incomplete.client.get(path, token)
        assert answer.status_code == 503, path
        assert answer.headers["retry-after"] == "30"
        (issue,) = answer.json()["issue"]
        assert issue["code"] == "transient"
        assert "25 %" in issue["diagnostics"]


def test_what_needs_no_index_is_answered(incomplete):
    token = incomplete.token("clinician", user="u", institution="north")
    for path in (
        "/fhir/Patient/ann",
        "/fhir/Patient/ann/_history",
        "/fhir/Patient/ann/_history/1",
        "/fhir/metadata",
    ):
        assert incomplete.client.get(path, token).status_code == 200, path
    for path in ("/fhir/Observation?_id=ann-1,bob-1", "/fhir/Observation?_id=ann-1&_lastUpdated=gt2000"):
        assert incomplete.client.get(path, token).json()["total"] == 1


def test_writes_go_on_and_conditional_ones_do_not(incomplete):
    token = incomplete.token("clinician", user="u", institution="north")
    content = {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": "Patient/ann"}}
    assert incomplete.client.send("POST", "/fhir/Basic", token, content).status_code == 201
    refused = incomplete.client.send("POST", "/fhir/Basic", token, content, **{"If-None-Exist": "code=x"})
    assert refused.status_code == 503
    refused = incomplete.client.send("PUT", "/fhir/Basic?identifier=x", token, content)
    assert refused.status_code == 503
    entries = [
        {"resource": content, "request": {"method": "POST", "url": "Basic", "ifNoneExist": f"identifier={n}"}}
        for n in "ab"
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert incomplete.client.send("POST", "/fhir", token, bundle).status_code == 503


def test_once_it_is_complete_searches_are_answered(incomplete):
    token = incomplete.token("clinician", user="u", institution="north")
    assert incomplete.client.get(SEARCHES[0], token).status_code == 503
    incomplete.store.submit(lambda session: set_mark(session.connection, None)).result(120)
    assert incomplete.client.get(SEARCHES[0], token).json()["total"] == 3
    assert isinstance(incomplete.store.reader.index, IndexState)
