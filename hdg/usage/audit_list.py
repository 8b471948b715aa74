"""``hdg audit list``: one patient's trail for the operator who looks into a complaint.

The same events as over the FHIR API, as an auditor sees them (audit_view.py), and recorded like any other look into the
trail before the first line is written. Who runs this holds the data folder with its keys, so no policy is asked.
"""

from __future__ import annotations

import asyncio
import getpass
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from hdg.errors import NotFound
from hdg.fhir import json
from hdg.gateway import Gateway, now_us
from hdg.management.audit import Access
from hdg.management.audit_read import ALWAYS, Span
from hdg.management.identity import DEFAULT_PURPOSE, Principal
from hdg.replay import since_us
from hdg.settings import Settings, existing
from hdg.usage.access import Gate
from hdg.usage.trail import Caller, Trail

__all__ = ["lines"]

JsonObject = dict[str, Any]
_OUTCOMES = {"0": "done", "4": "refused", "8": "failed", "12": "failed"}


def lines(
    settings: Settings,
    patient: str,
    *,
    since: str = "",
    until: str = "",
    is_json: bool = False,
    clock: Callable[[], int] = now_us,
) -> Iterator[str]:
    """A line an event, newest first. Raises NotFound (no such patient, or erased), BadRequest, Unavailable."""
    now = clock()
    span = Span(
        since_us(since, now) if since else ALWAYS.first_us, since_us(until, now) if until else ALWAYS.last_us
    )
    with closing(Gateway.open(existing(settings), clock)) as gateway:
        gate = Gate.open(settings, gateway.keys, gateway.store, gateway.clock)
        of = gate.accesses.of_patient(patient)
        if not of:
            raise NotFound("nothing is recorded about such a patient, or the record was erased")
        caller = Caller(_operator())
        access = Access("search", "0", query=f"AuditEvent?patient=Patient/{patient}")
        trail = Trail(gateway.store, settings)
        asyncio.run(trail.record(caller, access, [record.patient for record in of]))
        for event in gate.accesses.listed(of, span):
            yield json.dumps(event).decode() if is_json else _line(event)


def _operator() -> Principal:
    """Who runs the command, as far as the system tells."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    name = f"audit-{secrets.token_hex(8)}"
    return Principal("operator", user, "", "", DEFAULT_PURPOSE["operator"], "", name, 0)


def _line(event: JsonObject) -> str:
    parts = [
        event["recorded"],
        _who(event),
        "for " + ", ".join(one["code"] for told in event.get("purposeOfEvent", ()) for one in told["coding"]),
        ", ".join(one["code"] for one in event.get("subtype", ())),
        _OUTCOMES.get(event["outcome"], event["outcome"]),
        ", ".join(one["what"]["reference"] for one in event.get("entity", ()) if "what" in one),
    ]
    return "  ".join(parts)


def _who(event: JsonObject) -> str:
    """The user, in what role and where."""
    who: JsonObject = next((agent["who"] for agent in event["agent"] if agent.get("requestor")), {})
    name = who.get("reference") or who.get("identifier", {}).get("value", "")
    return f"{name} ({who.get('display', '')})"
