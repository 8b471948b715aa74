"""The verifier over what the real store writes: sealed bodies, deletions, audit leaves, an erasure's gap."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from hdg.management.audit import Access, AuditEventRow, Event, audit_event, seal_event
from hdg.management.identity import Principal
from hdg.management.keys import KeyRing
from hdg.management.ledger.verify import Report, SealedVersion, Trust, verify
from hdg.management.store import Store, WriteSession
from hdg.settings import Settings

PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female"}


def observation(number: int, value: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"text": "test"},
        "subject": {"reference": "Patient/p1"},
        "valueString": value,
    }


def record(session: WriteSession, name: str) -> None:
    """An audit entry as hdg.usage.trail writes it."""

    def seal(data: bytes, key: str) -> tuple[str, bytes, bytes]:
        return session.seal(data, key, patient="p1", institution="i1")

    principal = Principal("clinician", "u1", "i1", "", "TREAT", "", "t1", 0)
    event = audit_event(principal, Access("read", "0", "Patient/p1"), at_us=session.at_us, server="here")
    event["id"] = name
    whole = Event(name, "p1", orjson.dumps(event))
    sealed = seal_event(whole, seal, at_us=session.at_us, principal=principal, institution="i1")
    session.leaf(sealed.leaf)
    session.insert_later(AuditEventRow.__table__, sealed.row)


def open_store(folder: Path) -> Store:
    ticks = iter(range(1_700_000_000_000_000, 2_000_000_000_000_000, 1_000_000))
    return Store.open(Settings(data=folder), KeyRing.open(folder / "keys"), lambda: next(ticks))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with 62 versions, some audit leaves and a deletion."""
    with open_store(tmp_path) as opened:
        for value in ("1", "2", "3"):

            def work(session: WriteSession, value: str = value) -> None:
                session.put(PATIENT, institution="i1", patient="p1")
                for number in range(20):
                    session.put(observation(number, value), institution="i1", patient="p1")
                record(session, f"a{value}")

            opened.submit(work).result()
        opened.submit(lambda session: session.delete("Observation", "o3", institution="i1")).result()
    return tmp_path


def check(store: Store, only: str = "") -> Report:
    def open_version(version: SealedVersion) -> tuple[bytes, bytes]:
        opened = store.reader.opened(version)
        return opened.salt, opened.body

    def open_audit(owner: str, key: str, sealed: bytes) -> tuple[bytes, bytes]:
        opened = store.reader.open_row(owner, sealed, key)
        return opened.salt, opened.body

    trust = Trust(store.log.origin, store.log.public_key)
    with store.engine.connect() as connection:
        return verify(connection, trust, open_version, only=only, open_audit=open_audit)


def tamper(folder: Path, statement: str) -> None:
    (file,) = folder.glob("*.db")
    connection = sqlite3.connect(file)
    with connection:
        assert connection.execute(statement).rowcount >= 1
    connection.close()


def test_what_the_store_writes_verifies(folder: Path) -> None:
    with open_store(folder) as store:
        report = check(store)
        assert report.findings == ()
        assert (report.size, report.versions) == (1 + 20 * 3 + 3 + 1, 1 + 20 * 3 + 1)
        assert check(store, "Observation/o3").versions == 4


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        (
            "UPDATE version SET body = (SELECT body FROM version WHERE id = 'o2' LIMIT 1) WHERE id = 'o1'",
            "body-unreadable",
        ),
        ("UPDATE resource SET version = 2, updated_us = 1 WHERE id = 'o1'", "current-wrong"),
        ("UPDATE resource SET deleted = 0 WHERE id = 'o3'", "current-wrong"),
        ("DELETE FROM version WHERE id = 'o3' AND version = 4", "version-missing"),
        ("UPDATE version SET institution = 'i2' WHERE id = 'o1' AND version = 3", "version-changed"),
        ("DELETE FROM audit_event WHERE id = 'a2'", "audit-missing"),
        ("UPDATE audit_event SET at_us = at_us - 1 WHERE id = 'a2'", "audit-changed"),
        ("UPDATE audit_event SET body = x'0102' WHERE id = 'a2'", "audit-unreadable"),
        (
            "INSERT INTO audit_event SELECT 'a9', at_us, patient, agent, body FROM audit_event LIMIT 1",
            "audit-without-leaf",
        ),
        ("UPDATE owner_key SET wrapped_kek = NULL WHERE kind = 'patient'", "body-unreadable"),
    ],
)
def test_tampering_with_the_store_s_rows_is_found(folder: Path, statement: str, code: str) -> None:
    tamper(folder, statement)
    with open_store(folder) as store:
        assert code in {finding.code for finding in check(store).findings}
