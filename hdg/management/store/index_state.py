"""How much of the search index there is, while it is made anew (refill.py), and which searches cannot do without."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, delete, insert, select

from hdg.errors import IndexIncomplete
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.search import SearchQuery

__all__ = ["IndexState", "Mark", "mark_of", "needs_index", "set_mark"]

_META = table_of(schema.StoreMeta)
_NAME = "index_fill"
_TOLD = select(_META.c.value).where(_META.c.name == _NAME)
_COLUMNS = frozenset({"_id", "_lastUpdated", "_hash"})


@dataclass(frozen=True, slots=True)
class Mark:
    """``digest``: the rules that it is made by; every resource up to the rkey ``position`` of ``until`` is done."""

    digest: str
    position: int
    until: int

    @property
    def done(self) -> int:
        """Percent."""
        return min(99, self.position * 100 // max(1, self.until))


def mark_of(connection: Connection) -> Mark | None:
    """How far it has come; None: the index is complete."""
    told = connection.execute(_TOLD).scalar()
    return Mark(**orjson.loads(told)) if told else None


def set_mark(connection: Connection, mark: Mark | None) -> None:
    """Says how far it has come (None: to its end), in the only writing transaction."""
    connection.execute(delete(_META).where(_META.c.name == _NAME))
    if mark is not None:
        connection.execute(insert(_META).values(name=_NAME, value=orjson.dumps(mark).decode()))


def needs_index(query: SearchQuery) -> bool:
    """Whether the outcome depends on rows of the index: anything but ids and times does."""
    if query.compartment or query.includes or any(key.param not in _COLUMNS for key in query.sort):
        return True
    return any(
        clause.links or not (clause.kind == "list" or clause.param in _COLUMNS) for clause in query.clauses
    )


class IndexState:
    """Whether the index is complete, as one process knows it; once it is, nothing is asked any more."""

    def __init__(self) -> None:
        self._is_complete = False

    def check(self, connection: Connection) -> None:
        """Raises IndexIncomplete as long as something is missing, as the connection's snapshot sees it."""
        if self._is_complete:
            return
        mark = mark_of(connection)
        if mark is not None:
            raise IndexIncomplete(mark.done)
        self._is_complete = True
