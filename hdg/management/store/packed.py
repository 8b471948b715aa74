"""Many rows as one row, from SQLite: its driver gives up the GIL and asks for it again for every row.

Fifty rows cost a busy server fifty waits for whatever its other threads are at; one row costs one. JSON (SQLite
https://www.sqlite.org/json1.html) holds integers of 64 bits and texts as they are. Bytes are joined, and their
lengths stand in their places.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import ColumnElement, LargeBinary, Select, cast, func, select

__all__ = ["packed", "unpacked"]


def packed(rows: Select[Any], *beside: ColumnElement[Any]) -> Select[Any]:
    """One row of what ``rows`` finds: integers and texts, and one column ``body`` of bytes, which is never NULL.

    ``beside``: what else stands in the row; an aggregate is one of ``rows``.
    """
    found = rows.subquery("rows")
    values = [func.length(column) if column.name == "body" else column for column in found.c]
    return select(
        func.json_group_array(func.json_array(*values)),
        cast(func.group_concat(found.c.body, ""), LargeBinary),
        *beside,
    )


def unpacked(text: str, bodies: bytes | None, place: int) -> list[list[Any]]:
    """The rows again, in no order. ``place``: where in a row its body is."""
    rows: list[list[Any]] = orjson.loads(text)
    at = 0
    for row in rows:
        end = at + row[place]
        row[place] = (bodies or b"")[at:end]
        at = end
    if at != len(bodies or b""):
        raise ValueError("the lengths of the bodies are not those of the bytes")
    return rows
