"""The log, the verifier and the consent predicate on PostgreSQL: the same statements, the same results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, create_engine, delete, insert, select
from sqlalchemy.schema import CreateSchema
from sqlmodel import SQLModel

from hdg.management.consent.decide import AccessRequest, ResourceFacts, decide
from hdg.management.consent.policy import load_policy
from hdg.management.consent.resource import grant
from hdg.management.consent.rules import rows_for, rules_of
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.consent.sql import predicate
from hdg.management.ledger.leaf import Leaf, commit
from hdg.management.ledger.log import Log
from hdg.management.ledger.proof import is_consistent, is_included
from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf, LedgerTile
from hdg.management.ledger.verify import Trust, verify
from hdg.management.store.schema import Compartment, Resource, Version

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RESOURCE, COMPARTMENT, VERSION, RULE, LEAF, TILE, HEAD = (
    model.__table__
    for model in (Resource, Compartment, Version, ConsentRuleRow, LedgerLeaf, LedgerTile, LedgerCheckpoint)
)


@pytest.fixture(scope="module")
def engine(postgres_uri: str) -> Iterator[Engine]:
    """A schema of its own."""
    url = postgres_uri.replace("postgresql://", "postgresql+psycopg://", 1)
    made = create_engine(url, connect_args={"options": "-csearch_path=ledger_tests"})
    with made.begin() as connection:
        connection.execute(CreateSchema("ledger_tests"))
    SQLModel.metadata.create_all(made, tables=[RESOURCE, COMPARTMENT, VERSION, RULE, LEAF, TILE, HEAD])
    yield made
    made.dispose()


def resource_row(rkey: int, type_: str, patients: frozenset[str], institution: str) -> dict[str, Any]:
    return {
        "rkey": rkey,
        "type": type_,
        "id": f"r{rkey}",
        "version": 1,
        "updated_us": 5_000_000,
        "institution": institution,
        "deleted": False,
        "patient": next(iter(patients)) if len(patients) == 1 else None,
        "patients": len(patients),
    }


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in (RULE, COMPARTMENT, VERSION, RESOURCE, LEAF, TILE, HEAD):
            connection.execute(delete(table))


def test_the_log_and_the_verifier_work_on_postgresql(engine: Engine, tmp_path: Path) -> None:
    empty(engine)
    log = Log("example.org/log", SIGNER)
    salt, body = bytes(32), b"body"
    leaves = [
        Leaf("resource", "code", f"Basic/r{n}", 1, "i", 5_000_000, commit(salt, body)) for n in range(700)
    ]
    encoded = [leaf.encode() for leaf in leaves]
    for start in range(0, 700, 140):
        with engine.connect() as connection:
            log.append(connection, [b"lost"], 5_000_000)
            connection.rollback()
            head = log.append(connection, encoded[start : start + 140], 5_000_000)
            rows = [resource_row(n, "Basic", frozenset(), "i") for n in range(start, start + 140)]
            connection.execute(insert(RESOURCE), rows)
            names = ("rkey", "version", "type", "id", "updated_us", "institution", "deleted")
            parts = {"patient_code": "code", "body": salt + body}
            versions = [
                {name: row[name] for name in names} | parts | {"leaf_index": row["rkey"]} for row in rows
            ]
            connection.execute(insert(VERSION), versions)
            connection.commit()
    trust = Trust(log.origin, log.public_key)
    with engine.connect() as connection:
        assert is_included(encoded[300], 300, 700, log.proof(connection, 300, 700), head.root)
        old = log.checkpoint(connection, 280)
        assert old is not None
        assert is_consistent(280, old.root, 700, head.root, log.consistency(connection, 280, 700))
        report = verify(connection, trust, lambda version: (version.sealed[:32], version.sealed[32:]))
        assert (report.findings, report.size, report.versions) == ((), 700, 700)
        connection.execute(VERSION.update().where(VERSION.c.rkey == 300).values(body=salt + b"other"))
        report = verify(connection, trust, lambda version: (version.sealed[:32], version.sealed[32:]))
        assert [finding.place for finding in report.findings] == ["Basic/r300/_history/1"]
        connection.rollback()


def test_the_consent_predicate_says_on_postgresql_what_the_decision_says(engine: Engine) -> None:
    empty(engine)
    random, policy = Random(11), load_policy()
    facts = [
        ResourceFacts(
            random.choice(["Patient", "Observation", "Practitioner", "AuditEvent"]),
            frozenset(random.sample(["p0", "p1", "p2", "p3"], random.choice([0, 1, 1, 2]))),
            random.choice(["i1", "i2"]),
        )
        for _ in range(120)
    ]
    consents = [
        grant(f"p{n}", [actor], ["TREAT"], types, from_us=0, until_us=100)
        for n, (actor, types) in enumerate(
            [("Organization/i1", []), ("Practitioner/u1", ["Patient"]), ("Organization/i2", [])]
        )
    ]
    consents[0]["provision"]["provision"] = [{"type": "deny", "class": consents[1]["provision"]["class"]}]
    rules = [rule for consent in consents for rule in rules_of(consent)]
    with engine.begin() as connection:
        connection.execute(
            insert(RESOURCE),
            [resource_row(k, f.type, f.patients, f.institution) for k, f in enumerate(facts)],
        )
        connection.execute(
            insert(COMPARTMENT),
            [{"rkey": k, "patient": p} for k, f in enumerate(facts) for p in sorted(f.patients)],
        )
        connection.execute(
            insert(RULE), [row for n, made in enumerate(consents) for row in rows_for(made, 1_000 + n)]
        )
    opened = 0
    with engine.connect() as connection:
        for role, user, institution, patient, purpose in (
            ("clinician", "u1", "i3", "", "TREAT"),
            ("clinician", "u2", "i1", "", "ETREAT"),
            ("clinician", "u1", "i2", "", "HPAYMT"),
            ("patient", "", "", "p1", "PATRQT"),
            ("researcher", "u1", "i1", "", "HRESCH"),
            ("operator", "", "", "", "HSYSADMIN"),
        ):
            request = AccessRequest(role, user, institution, patient, purpose, "access", 50)
            selected = set(
                connection.execute(select(RESOURCE.c.rkey).where(predicate(request, policy))).scalars()
            )
            assert selected == {k for k, f in enumerate(facts) if decide(request, f, rules, policy).is_open}
            opened += len(selected)
    assert opened > 60
