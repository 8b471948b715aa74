"""Checks the audit trail against its ``access`` leaves: no entry dropped, changed or slipped in. Part of the
verifier.

Shares no code with the log or with the audit module: it knows the table by name only (DESIGN §6).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, column, func, select, table

from hdg.errors import HdgError
from hdg.management.ledger.recompute import Findings, stored

__all__ = ["AuditTrail", "OpenAudit"]

BATCH = 256

_EVENT = table("audit_event", column("id"), column("at_us"), column("body"))

OpenAudit = Callable[[str, str, bytes], tuple[bytes, bytes] | None]
"""(owner code, ``AuditEvent/id``, sealed bytes) → (salt, body), or None (or any HdgError) if it does not
open.
"""


class AuditTrail:
    """Takes the access leaves in order; memory: one batch."""

    def __init__(self, connection: Connection, findings: Findings, open_audit: OpenAudit) -> None:
        self._connection = connection
        self._findings = findings
        self._open = open_audit
        self._batch: dict[str, dict[str, Any]] = {}
        self._matched = 0
        self._unreadable: list[tuple[str, str]] = []

    def see(self, leaf: dict[str, Any]) -> None:
        """Takes the fields of one access leaf."""
        self._batch[leaf["key"].removeprefix("AuditEvent/")] = leaf
        if len(self._batch) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        query = select(_EVENT).where(_EVENT.c.id.in_(list(self._batch)))
        rows = {row.id: row for row in self._connection.execute(query)} if self._batch else {}
        for name, leaf in self._batch.items():
            row = rows.get(name)
            if row is None:
                self._findings.add("audit-missing", leaf["key"], "its leaf has no stored audit entry")
                continue
            self._matched += 1
            self._check(row, leaf)
        self._batch.clear()

    def _check(self, row: Any, leaf: dict[str, Any]) -> None:
        try:
            opened = self._open(leaf["subject"], leaf["key"], stored(row.body))
        except HdgError:
            opened = None
        if opened is None:
            if len(self._unreadable) < self._findings.limit:
                self._unreadable.append((leaf["subject"], leaf["key"]))
        elif row.at_us != leaf["at_us"] or hmac.digest(*opened, "sha256").hex() != leaf["commitment"]:
            self._findings.add("audit-changed", leaf["key"], "it is not the entry its leaf commits to")

    def finish(self, erased_subjects: set[str], last_us: int) -> None:
        """After the last leaf; ``last_us``: time of the newest checkpoint that was read."""
        self._flush()
        for subject, key in self._unreadable:
            if subject not in erased_subjects:
                self._findings.add("audit-unreadable", key, "it does not open, and no erasure is recorded")
        query = select(func.count()).select_from(_EVENT).where(_EVENT.c.at_us <= last_us)
        surplus = (self._connection.execute(query).scalar() or 0) - self._matched
        if surplus > 0:
            self._findings.add("audit-without-leaf", "audit_event", f"{surplus} audit entries have no leaf")
