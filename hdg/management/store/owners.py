"""The keys of many owners by one question (DESIGN §6): an answer about fifty patients leaves an event for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["find"]

Key = tuple[str, str]
"""Kind and name."""

_LOOKED_UP = 24
"""Owners that one query looks up on SQLite."""
_FIND_ANY = (
    "SELECT k.kind, k.owner, k.code, k.wrapped_kek FROM unnest(%s::text[], %s::text[]) AS asked (k, o) "
    "JOIN owner_key k ON k.kind = asked.k AND k.owner = asked.o"
)
_FIND_EACH = (
    f"WITH asked (k, o) AS (VALUES {', '.join(['(?, ?)'] * _LOOKED_UP)}) "  # noqa: S608  # our own text
    "SELECT k.kind, k.owner, k.code, k.wrapped_kek FROM asked CROSS JOIN owner_key k "
    "ON k.kind = asked.k AND k.owner = asked.o"
)


def find(cursor: Any, keys: Sequence[Key], *, is_postgresql: bool) -> dict[Key, tuple[str, bytes | None]]:
    """(code, wrapped KEK) of those that there are; None in place of a KEK that was destroyed."""
    rows: list[Any] = []
    if is_postgresql:
        cursor.execute(_FIND_ANY, ([key[0] for key in keys], [key[1] for key in keys]))
        rows = cursor.fetchall()
    else:
        for at in range(0, len(keys), _LOOKED_UP):
            asked: list[str | None] = [text for key in keys[at : at + _LOOKED_UP] for text in key]
            asked += [None] * (2 * _LOOKED_UP - len(asked))
            rows += cursor.execute(_FIND_EACH, asked).fetchall()
    return {(kind, owner): (code, kek) for kind, owner, code, kek in rows}
