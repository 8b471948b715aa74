"""Whether a resource has a row that no index leads to from the resource: asked as each database does it best.

``idx_token`` and ``idx_composite`` are ordered by code, then resource; from a resource one gets to a row by its code
only. Of any other condition (a whole system, any value) SQLite would read all rows of the parameter again for
every resource, so there they are listed once. PostgreSQL hashes an EXISTS by itself, and reads an IN of many rows
again and again when they do not fit its memory.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Table, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["has_row"]

Condition = ColumnElement[bool]


class _HasRow(FunctionElement[bool]):
    """Of two forms of one condition: (a test against a list, EXISTS)."""

    name = "has_row"
    type = Boolean()
    inherit_cache = True


@compiles(_HasRow)
def _exists(element: _HasRow, compiler: Any, **rest: Any) -> str:
    return str(compiler.process(list(element.clauses)[1], **rest))


@compiles(_HasRow, "sqlite")
def _listed(element: _HasRow, compiler: Any, **rest: Any) -> str:
    return f"({compiler.process(next(iter(element.clauses)), **rest)})"


def has_row(resource: Table, table: Table, terms: list[Condition]) -> Condition:
    """Whether the resource at hand has a row of ``table`` for which the ``terms`` hold."""
    listed = resource.c.rkey.in_(select(table.c.rkey).where(*terms).correlate(None))
    exists = select(1).where(table.c.rkey == resource.c.rkey, *terms).correlate(resource).exists()
    return _HasRow(listed, exists)
