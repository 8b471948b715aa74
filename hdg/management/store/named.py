"""Resources by type and id, as the writer looks them up: their rows with those of their current versions.

R4 http.html#read. A row: type, id, rkey, version, deleted, updated_us, institution, patient_code, body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["FIND_ONE", "ask", "find"]

Key = tuple[str, str]

_LOOKED_UP = 24
"""Resources that one query looks up on SQLite."""
_FOUND = (
    "SELECT r.type, r.id, r.rkey, r.version, r.deleted, v.updated_us, v.institution, v.patient_code, v.body "
)
_CURRENT = "JOIN version v ON v.rkey = r.rkey AND v.version = r.version"
_FIND_ANY = (
    f"{_FOUND} FROM unnest(%s::text[], %s::text[]) AS asked (t, i) "
    f"JOIN resource r ON r.type = asked.t AND r.id = asked.i {_CURRENT}"
)
_FIND_EACH = (
    f"WITH asked (t, i) AS (VALUES {', '.join(['(?, ?)'] * _LOOKED_UP)}) "
    f"{_FOUND} FROM asked CROSS JOIN resource r ON r.type = asked.t AND r.id = asked.i {_CURRENT}"
)
FIND_ONE = f"{_FOUND} FROM resource r {_CURRENT} WHERE r.type = ? AND r.id = ?"


def ask(cursor: Any, keys: Sequence[Key]) -> None:
    """Asks PostgreSQL for all of them."""
    cursor.execute(_FIND_ANY, ([key[0] for key in keys], [key[1] for key in keys]))


def find(cursor: Any, keys: Sequence[Key], *, is_postgresql: bool) -> list[Any]:
    """The rows of those that exist."""
    if is_postgresql:
        ask(cursor, keys)
        return list(cursor.fetchall())
    rows: list[Any] = []
    for at in range(0, len(keys), _LOOKED_UP):
        asked: list[str | None] = [text for key in keys[at : at + _LOOKED_UP] for text in key]
        asked += [None] * (2 * _LOOKED_UP - len(asked))
        cursor.execute(_FIND_EACH, asked)
        rows += cursor.fetchall()
    return rows
