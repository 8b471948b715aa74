"""Checks the audit trail against its leaves: no entry dropped, changed or slipped in. Part of the verifier.

An ``access`` leaf has one row of ``audit_event``; an ``accesses`` leaf one of ``audit_access``, and one of
``audit_patient`` for each of its tags. Shares no code with the log or with the audit modules: it knows the tables, the
tags and where a wrapped key stands in a sealed object by itself (DESIGN §6).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, column, func, select, table

from hdg.errors import HdgError
from hdg.management.ledger.recompute import Findings, stored

__all__ = ["AuditTrail", "OpenAudit"]

BATCH = 256
BUCKET_BITS = 6
KEY_AT = 13
"""Format and nonce stand before the wrapped key in a sealed object (DESIGN §6)."""
TAG_DIGITS = 24

_EVENT = table("audit_event", column("id"), column("at_us"), column("body"))
_ACCESS = table("audit_access", column("leaf_index"), column("id"), column("at_us"), column("body"))
_PATIENT = table("audit_patient", column("bucket"), column("code"), column("leaf_index"), column("wrapped"))

OpenAudit = Callable[[str, str, bytes], tuple[bytes, bytes] | None]
"""(owner code, ``AuditEvent/id``, sealed bytes) → (salt, body), or None (or any HdgError) if it does not
open.
"""


class AuditTrail:
    """Takes the leaves of the trail in order; memory: one batch, and the patients whose entries do not open."""

    def __init__(self, connection: Connection, findings: Findings, open_audit: OpenAudit) -> None:
        self._connection = connection
        self._findings = findings
        self._open = open_audit
        self._batch: dict[str, dict[str, Any]] = {}
        self._shared: dict[int, dict[str, Any]] = {}
        self._matched: defaultdict[str, int] = defaultdict(int)
        """Rows of each table that belong to a leaf."""
        self._unreadable: dict[str, tuple[str, int]] = {}
        """By subject: the first, and how many."""

    def see(self, index: int, leaf: dict[str, Any]) -> None:
        """Takes the fields of one leaf; what is not of the trail is passed over."""
        if leaf["kind"] == "access":
            self._batch[leaf["key"].removeprefix("AuditEvent/")] = leaf
            if len(self._batch) >= BATCH:
                self._flush()
        elif leaf["kind"] == "accesses":
            if self._shared and next(iter(self._shared)) >> BUCKET_BITS != index >> BUCKET_BITS:
                self._flush_shared()
            self._shared[index] = leaf

    def _flush(self) -> None:
        query = select(_EVENT).where(_EVENT.c.id.in_(list(self._batch)))
        rows = {row.id: row for row in self._connection.execute(query)} if self._batch else {}
        for name, leaf in self._batch.items():
            row = rows.get(name)
            if row is None:
                self._findings.add("audit-missing", leaf["key"], "its leaf has no stored audit entry")
                continue
            self._matched["audit_event"] += 1
            self._check(leaf, [(leaf["subject"], stored(row.body))], is_as_told=row.at_us == leaf["at_us"])
        self._batch.clear()

    def _flush_shared(self) -> None:
        if not self._shared:
            return
        query = select(_ACCESS).where(_ACCESS.c.leaf_index.in_(list(self._shared)))
        rows = {row.leaf_index: row for row in self._connection.execute(query)}
        bucket = next(iter(self._shared)) >> BUCKET_BITS
        entries: defaultdict[int, list[tuple[str, bytes]]] = defaultdict(list)
        for entry in self._connection.execute(select(_PATIENT).where(_PATIENT.c.bucket == bucket)):
            entries[entry.leaf_index].append((entry.code, stored(entry.wrapped)))
        for index, leaf in self._shared.items():
            row = rows.get(index)
            self._matched["audit_patient"] += len(entries[index])
            if row is None:
                self._findings.add("audit-missing", leaf["key"], "its leaf has no stored audit entry")
                continue
            self._matched["audit_access"] += 1
            self._check_shared(row, leaf, entries[index])
        self._shared.clear()

    def _check_shared(self, row: Any, leaf: dict[str, Any], entries: list[tuple[str, bytes]]) -> None:
        name = leaf["key"].removeprefix("AuditEvent/")
        tags = sorted(
            hashlib.sha256(f"{code}/{name}".encode()).hexdigest()[:TAG_DIGITS] for code, _ in entries
        )
        is_as_told = (row.at_us, row.id, " ".join(tags)) == (leaf["at_us"], name, leaf["subject"])
        body = stored(row.body)
        sealed = ((code, body[:KEY_AT] + wrapped + body[KEY_AT:]) for code, wrapped in entries)
        self._check(leaf, sealed, is_as_told=is_as_told)

    def _check(self, leaf: dict[str, Any], sealed: Iterable[tuple[str, bytes]], *, is_as_told: bool) -> None:
        """``sealed``: the entry as each of its subjects has it."""
        for subject, body in sealed:
            try:
                opened = self._open(subject, leaf["key"], body)
            except HdgError:
                opened = None
            if opened is None:
                first, count = self._unreadable.get(subject, (leaf["key"], 0))
                self._unreadable[subject] = first, count + 1
            elif hmac.digest(*opened, "sha256").hex() != leaf["commitment"]:
                is_as_told = False
        if not is_as_told:
            self._findings.add("audit-changed", leaf["key"], "it is not the entry its leaf commits to")

    def finish(self, erased_subjects: set[str], last_us: int, size: int) -> None:
        """After the last leaf; ``last_us``, ``size``: time and leaves of the newest checkpoint that was read."""
        self._flush()
        self._flush_shared()
        for subject, (key, count) in self._unreadable.items():
            if subject not in erased_subjects:
                others = f" (nor do {count - 1} others of the same patient)" if count > 1 else ""
                self._findings.add(
                    "audit-unreadable", key, f"it does not open, and no erasure is recorded{others}"
                )
        for rows, known in (
            (_EVENT, _EVENT.c.at_us <= last_us),
            (_ACCESS, _ACCESS.c.leaf_index < size),
            (_PATIENT, _PATIENT.c.leaf_index < size),
        ):
            query = select(func.count()).select_from(rows).where(known)
            surplus = (self._connection.execute(query).scalar() or 0) - self._matched[rows.name]
            if surplus > 0:
                self._findings.add("audit-without-leaf", rows.name, f"{surplus} audit entries have no leaf")
