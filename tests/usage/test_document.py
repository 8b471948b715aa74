"""$document under the caller's own view (R4 composition-operation-document.html, documents.html)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from hdg.fhir.validate import validate
from hdg.management.audit import AuditEventRow
from hdg.management.store import document


@pytest.fixture
def letter(either):
    """Ann's letter, by a practitioner of a practice, over two of her results; and what leads to it."""
    put = lambda resource, owner=None: either.put(resource, "north", owner)  # noqa: E731
    put({"resourceType": "Organization", "id": "practice", "name": "Practice"})
    put({"resourceType": "Practitioner", "id": "dr", "name": [{"family": "Doc"}]})
    put(
        {
            "resourceType": "PractitionerRole",
            "id": "role",
            "practitioner": {"reference": "Practitioner/dr"},
            "organization": {"reference": "Organization/practice"},
        }
    )
    put(composition("older", entry=["Observation/ann-2"]), "ann")
    put(
        composition(
            "letter",
            entry=["Observation/ann-1", "Observation/ann-0", "Observation/bob-0", "Observation/gone"],
        ),
        "ann",
    )
    return either


def composition(id_, entry=()):
    return {
        "resourceType": "Composition",
        "id": id_,
        "status": "final",
        "type": {"text": "Letter"},
        "subject": {"reference": "Patient/ann"},
        "date": "2024-01-05",
        "author": [{"reference": "PractitionerRole/role"}],
        "title": "Letter",
        "relatesTo": [{"code": "replaces", "targetReference": {"reference": "Composition/older"}}],
        "section": [{"title": "Results", "entry": [{"reference": one} for one in entry]}],
    }


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def asked(world, token, path, status=200):
    answer = world.client.get(f"/fhir/{path}", token)
    assert answer.status_code == status, answer.text
    return answer.json()


def names(bundle):
    return [entry["fullUrl"].removeprefix("https://gateway.example/fhir/") for entry in bundle["entry"]]


def test_a_document_is_the_composition_first_and_then_what_it_leads_to(letter, north):
    bundle = asked(letter, north, "Composition/letter/$document")
    assert validate(bundle) == []
    assert bundle["type"] == "document"
    assert names(bundle) == [
        "Composition/letter",
        "Patient/ann",
        "PractitionerRole/role",
        "Observation/ann-1",
        "Observation/ann-0",
        "Practitioner/dr",
        "Organization/practice",
    ]
    again = asked(letter, north, "Composition/$document?id=letter&persist=false")
    assert again["entry"] == bundle["entry"]
    assert again["identifier"] != bundle["identifier"]
    body = {"resourceType": "Parameters", "parameter": [{"name": "id", "valueUri": "letter"}]}
    posted = letter.client.send("POST", "/fhir/Composition/$document", north, body)
    assert posted.json()["entry"] == bundle["entry"]


def test_a_document_is_the_same_whether_something_is_hidden_or_absent(letter, north):
    before = asked(letter, north, "Composition/letter/$document")["entry"]
    letter.delete("Observation", "bob-0", "south")
    assert asked(letter, north, "Composition/letter/$document")["entry"] == before


def test_who_may_not_see_the_composition_gets_no_document(letter, north):
    south = letter.token("clinician", user="s", institution="south")
    hidden = letter.client.get("/fhir/Composition/letter/$document", south)
    absent = letter.client.get("/fhir/Composition/nothing/$document", south)
    assert (hidden.status_code, hidden.content) == (404, absent.content)
    asked(letter, north, "Observation/ann-0/$document", 404)
    letter.delete("Composition", "letter", "north")
    asked(letter, north, "Composition/letter/$document", 410)


def test_a_document_is_audited_for_every_patient_in_it_and_when_there_is_none(letter, north):
    def audited():
        table = AuditEventRow.__table__
        with letter.store.engine.connect() as connection:
            return sorted(connection.scalars(select(table.c.patient)))

    letter.grant("bob", "Organization/north")
    asked(letter, north, "Composition/letter/$document")
    assert audited() == ["ann", "bob"]
    asked(letter, north, "Composition/nothing/$document", 404)
    assert audited() == ["", "ann", "bob"]


def test_what_cannot_be_done_is_said(letter, north, monkeypatch):
    for query in ("persist=true", "graph=x", "id=letter"):
        asked(letter, north, f"Composition/letter/$document?{query}", 400)
    for query in ("", "?id=http://elsewhere/Composition/x", "?id="):
        asked(letter, north, f"Composition/$document{query}", 400)
    monkeypatch.setattr(document, "DOCUMENT_MAX", 3)
    outcome = asked(letter, north, "Composition/letter/$document", 400)
    assert outcome["issue"][0]["code"] == "too-costly"
