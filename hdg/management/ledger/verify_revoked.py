"""Checks the revoked tokens against their ``key`` leaves: no row dropped, changed or slipped in. Part of the
verifier.

Shares no code with the log or with what revokes: it knows the table and the leaf's name only (DESIGN §6).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, column, select, table

from hdg.management.ledger.recompute import Findings

__all__ = ["Revocations"]

_HEAD = "RevokedToken/"
_ROWS = table("revoked_token", column("token_id"), column("expires_us"))


class Revocations:
    """Takes the leaves in order; memory: the revoked tokens."""

    def __init__(self) -> None:
        self._ends: dict[str, str] = {}

    def see(self, leaf: dict[str, Any]) -> None:
        """Takes the fields of a ``key`` leaf."""
        if leaf["key"].startswith(_HEAD):
            name, _, end = leaf["key"].removeprefix(_HEAD).rpartition("@")
            self._ends[name] = end

    def finish(self, connection: Connection, findings: Findings) -> None:
        """After the last leaf."""
        rows = {row.token_id: str(row.expires_us) for row in connection.execute(select(_ROWS))}
        for name, end in self._ends.items():
            if name not in rows:
                findings.add("revocation-missing", _HEAD + name, "the token was revoked, and its row is gone")
            elif rows[name] != end:
                findings.add("revocation-changed", _HEAD + name, "its row and its leaf differ")
        for name in rows.keys() - self._ends.keys():
            findings.add("revocation-without-leaf", _HEAD + name, "no leaf says that it was revoked")
