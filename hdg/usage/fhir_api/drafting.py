"""Large transactions made ready in a helper process: read, checked, linked, validated, indexed.

R4 http.html#transaction. It is an optimization and nothing else (helper.py): a Bundle with anything in it but
creates and updates by id, or with anything wrong, is left to the gateway's own process, which then says why.
What crosses over is flat: no resource is read in the gateway's process at all.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

from hdg.helper import Process, serve
from hdg.management.store.index import Indexer
from hdg.management.store.ready import Ready
from hdg.management.store.values import hasher
from hdg.usage.drafts import Draft, draft
from hdg.usage.fhir_api.bodies import parsed
from hdg.usage.fhir_api.changes import Change
from hdg.usage.fhir_api.entries import Entry, EntryFailed, entries_of
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.fhir_api.transaction import Step, id_of, pointed, steps_of

__all__ = ["FROM_BYTES", "MODULE", "made_ready", "steps_from"]

MODULE = "hdg.usage.fhir_api.drafting"
FROM_BYTES = 32_768
"""From this size of the body on the helper is asked."""
Row = tuple[Any, ...]


async def steps_from(helper: Process | None, body: bytes, limits: Limits) -> list[Step] | None:
    """The steps of a transaction without their contents; None: make them here."""
    if helper is None or len(body) < FROM_BYTES:
        return None
    alone = replace(limits, catalog=None)  # parameters are asked by in conditions, which are left to us
    rows = await helper.ask((body, alone), len(body))
    return None if rows is None else [_step(row) for row in rows]


def _step(row: Row) -> Step:
    index, full_url, likely, named, method, type_, id_, query, asked, if_match, only_new, ready = row
    made = Draft(type_, id_of(likely), Ready(*ready))
    change = Change(method, type_, id_, query, asked, if_match, only_new, made)
    return Step(index, full_url, change, likely, named=named)


def made_ready(body: bytes, limits: Limits, indexer: Indexer) -> list[Row] | None:
    """What ``steps_from`` makes steps of; None for what is not for here. Raises HdgError."""
    given = parsed(body)
    if not isinstance(given, dict) or (given.get("resourceType"), given.get("type")) != (
        "Bundle",
        "transaction",
    ):
        return None
    entries: list[Entry] = []
    for entry in entries_of(given, limits.base_url):
        if (
            isinstance(entry, EntryFailed)
            or entry.method not in ("POST", "PUT")
            or entry.query
            or not entry.is_write
        ):
            return None
        entries.append(entry)
    steps = steps_of(entries, limits)
    if any(step.links is not None and step.links.conditions for step in steps):
        return None
    pointed(steps)
    return [_row(step, indexer) for step in steps]


def _row(step: Step, indexer: Indexer) -> Row:
    made = draft(step.content or {}, id_of(step.likely), indexer).ready
    change = step.change
    return (
        step.index,
        step.full_url,
        step.likely,
        tuple(step.named),
        change.method,
        change.type,
        change.id,
        change.query,
        change.asked,
        change.if_match,
        change.only_new,
        tuple(made),
    )


class _Worker:
    """The helper's end."""

    def __init__(self, index_key: bytes) -> None:
        self._indexer = Indexer(hasher(index_key))

    def answer(self, body: bytes, limits: Limits) -> bytes:
        """The pickled rows; nothing for whatever went wrong: the parent will meet the same and say so."""
        try:
            rows = made_ready(body, limits, self._indexer)
        except Exception:
            return b""
        return b"" if rows is None else pickle.dumps(rows, 5)


if __name__ == "__main__":
    serve(lambda index_key: _Worker(index_key).answer)
