"""Whoever writes to the database cannot widen access through its plain columns unnoticed (hdg verify)."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from sqlalchemy import text

from hdg.management.consent import resource as consents
from hdg.management.store import Store, derived
from hdg.management.store.check import check

CONSENT = consents.grant("a", ["Organization/x"], ["TREAT"], ["Observation"], from_us=0, until_us=1)
RULE = "INSERT INTO consent_rule SELECT {rkey}, 9, 'a', kind, role, '*', purpose, action, class, start_us, "
RULE += "end_us FROM consent_rule WHERE ordinal = 0"


def observation(number: int) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/a"},
    }


@pytest.fixture
def filled(store: Store, do) -> Store:
    """rkey 1 Patient, 2 to 4 Observations, 5 Consent, 6 Practitioner, 7 a deleted Consent."""
    do(lambda s: s.put({"resourceType": "Patient", "id": "a"}, institution="north", patient="a"))
    for number in range(3):
        do(lambda s, n=number: s.put(observation(n), institution="north", patient="a"))
    do(lambda s: s.put(CONSENT | {"id": "c"}, institution="north", patient="a"))
    do(lambda s: s.put({"resourceType": "Practitioner", "id": "p"}, institution="north"))
    do(lambda s: s.put(CONSENT | {"id": "gone"}, institution="north", patient="a"))
    do(lambda s: s.delete("Consent", "gone", institution="north"))
    both = observation(0) | {"performer": [{"reference": "Patient/b"}]}
    do(lambda s: s.put(both, institution="north", patient="a"))
    return store


def found(store: Store, keys, only: str = "") -> list[tuple[str, str]]:
    with store.engine.connect() as connection:
        findings = check(connection, keys.root, only=only)
    return [(finding.code, finding.place) for finding in findings.kept]


@pytest.mark.parametrize("page", [1, 2, 256])
def test_what_the_store_wrote_is_what_the_bodies_give(filled: Store, keys, monkeypatch, page: int) -> None:
    monkeypatch.setattr(derived, "PAGE", page)
    assert found(filled, keys) == []
    assert found(filled, keys, "Observation/o0") == []


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE compartment SET patient = 'eve' WHERE rkey = 3", ("compartment-wrong", "Observation/o1")),
        ("INSERT INTO compartment (rkey, patient) VALUES (6, 'x')", ("compartment-wrong", "Practitioner/p")),
        ("DELETE FROM compartment WHERE rkey = 2 AND patient = 'b'", ("compartment-wrong", "Observation/o0")),
        ("UPDATE resource SET patients = 0 WHERE rkey = 3", ("compartment-wrong", "Observation/o1")),
        ("UPDATE resource SET patient = 'eve' WHERE rkey = 3", ("compartment-wrong", "Observation/o1")),
        ("UPDATE compartment SET patient = 'eve' WHERE rkey = 7", ("compartment-wrong", "Consent/gone")),
        (
            "UPDATE version SET scope = (SELECT scope FROM version WHERE rkey = 2 AND version = 2) "
            "WHERE rkey = 2 AND version = 1",
            ("scope-wrong", "Observation/o0/_history/1"),
        ),
        ("UPDATE version SET scope = NULL WHERE rkey = 4", ("scope-wrong", "Observation/o2/_history/1")),
        (
            "UPDATE consent_rule SET actor = 'Organization/evil' WHERE rkey = 5",
            ("consent-rules-wrong", "Consent/c"),
        ),
        ("UPDATE consent_rule SET end_us = end_us + 1 WHERE rkey = 5", ("consent-rules-wrong", "Consent/c")),
        ("DELETE FROM consent_rule WHERE rkey = 5", ("consent-rules-wrong", "Consent/c")),
        (RULE.format(rkey=5), ("consent-rules-wrong", "Consent/c")),
        (RULE.format(rkey=7), ("consent-rules-wrong", "Consent/gone")),
        (RULE.format(rkey=99), ("stray-rows", "consent_rule")),
        (RULE.format(rkey=3), ("stray-rows", "consent_rule")),
        ("UPDATE owner_key SET owner = 'eve' WHERE owner = 'a'", ("owner-wrong", "Patient/a/_history/1")),
    ],
)
def test_a_change_that_decides_about_access_is_found(filled: Store, do, keys, statement, finding) -> None:
    do(lambda s: s.connection.execute(text(statement)) and None)
    places = found(filled, keys)
    assert finding in places
    assert len(places) == 1 or "owner_key" in statement


def test_compartment_rows_laid_out_for_the_next_resource_are_found(filled: Store, settings, keys, do) -> None:
    if settings.database_url is not None:
        return  # PostgreSQL's foreign key refuses them
    with contextlib.closing(
        sqlite3.connect(settings.data / "hdg.db")
    ) as database:  # its foreign keys are off
        database.execute("INSERT INTO compartment (rkey, patient) VALUES (8, 'eve')")
        database.commit()
    assert found(filled, keys) == [("stray-rows", "compartment")]
    do(lambda s: s.put(observation(9), institution="north", patient="a"))
    assert found(filled, keys) == [("compartment-wrong", "Observation/o9")]
