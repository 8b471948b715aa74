"""Refused authentications: all of them counted in the audit trail, few of them written (DESIGN §6)."""

from __future__ import annotations

import json

from sqlalchemy import select

from hdg.fhir.validate import validate
from hdg.management.audit import AuditEventRow
from hdg.usage.refusals import ADDRESSES_MAX, PERIOD_US, Refusals

TABLE = AuditEventRow.__table__


def events(world):
    world.store.submit(lambda session: None).result(120)  # everything queued before is committed now
    with world.store.engine.connect() as connection:
        rows = connection.execute(
            select(TABLE).where(TABLE.c.agent == "unauthenticated").order_by(TABLE.c.at_us)
        ).all()
        code = "SELECT code FROM owner_key WHERE kind = 'institution' AND owner = 'north'"
        (owner,) = connection.exec_driver_sql(code).one() if rows else ("",)
    opened = [world.store.reader.open_row(owner, bytes(row.body), f"AuditEvent/{row.id}") for row in rows]
    return [json.loads(each.body) for each in opened]


def test_refusals_within_a_period_are_one_valid_event_with_their_number_and_addresses(world):
    refusals = Refusals(world.store, world.settings, lambda: world.now_us)
    for number in range(1_000):
        refusals.note(f"10.0.0.{number % 100}")
    (first,) = events(world)
    assert first["outcomeDesc"].startswith("1 requests")
    assert refusals.pending == 999
    world.now_us += PERIOD_US
    refusals.write_if_due()
    _, second = events(world)
    assert refusals.pending == 0
    assert second["outcomeDesc"].startswith("999 requests")
    assert len(second["agent"]) == ADDRESSES_MAX + 2
    assert validate(second) == []
    refusals.write_if_due()
    assert len(events(world)) == 2


def test_the_next_valid_request_brings_out_what_is_pending(world):
    for token in ("x.y.z", "x.y.z", None):
        assert world.client.get("/fhir/Patient/ann", token).status_code == 401
    assert len(events(world)) == 1
    world.now_us += PERIOD_US
    world.client.get("/fhir/Patient/ann", world.token("clinician", institution="north"))
    assert [event["outcomeDesc"][:2] for event in events(world)] == ["1 ", "2 "]


def test_a_refusal_is_answered_also_when_nothing_can_be_written(world):
    refusals = Refusals(world.store, world.settings, lambda: world.now_us)
    world.store.close()
    refusals.note("10.0.0.1")
    assert refusals.pending == 1
