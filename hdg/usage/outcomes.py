"""What a write finds and what it comes to, as values and errors (R4 http.html#create, #update, #delete)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, bindparam, select

from hdg.errors import Conflict, HdgError
from hdg.management.store import schema
from hdg.management.store.batch import table_of

__all__ = [
    "COLUMNS",
    "Again",
    "CannotCreate",
    "Key",
    "Place",
    "PreconditionFailed",
    "SeveralMatches",
    "Written",
    "place_of",
    "place_query",
]

Key = tuple[str, str]
"""Type and id."""

_RESOURCE = table_of(schema.Resource)
COLUMNS = tuple(
    _RESOURCE.c[name] for name in ("rkey", "type", "id", "version", "updated_us", "deleted", "institution")
)
"""What a Place is made of."""


class Again(Exception):
    """The work met another of its group: run it once more, in the next one."""


class PreconditionFailed(Conflict):
    """If-Match, If-None-Match or the number of matches stands against the write (HTTP 412)."""


class SeveralMatches(PreconditionFailed):
    """A condition finds more than one resource."""

    issue_code = "multiple-matches"


class CannotCreate(HdgError):
    """Nothing to update is here, and the client may not create a resource of that name (HTTP 405)."""

    issue_code = "not-supported"


@dataclass(frozen=True, slots=True)
class Place:
    """A resource that the caller may read, as it is now. ``institution``: who sent the current version."""

    rkey: int
    type: str
    id: str
    version: int
    updated_us: int
    is_deleted: bool
    institution: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to. ``is_changed`` False: nothing new was said, and no version was made.

    ``body``: the stored bytes of the version, b'' for a deletion; ``updated_us``: µs, UTC. ``version`` 0: there
    was nothing to delete.
    """

    type: str
    id: str
    version: int
    updated_us: int
    is_created: bool
    is_changed: bool
    is_deleted: bool
    body: bytes = field(repr=False)


def place_query() -> Select[Any]:
    """The query behind ``Looking.find``, to be prepared with the caller's predicate."""
    named = (_RESOURCE.c.type == bindparam("t"), _RESOURCE.c.id == bindparam("i"))
    return select(*COLUMNS).where(*named)


def place_of(row: Sequence[Any]) -> Place:
    """Of a row of COLUMNS."""
    rkey, type_, id_, version, updated_us, is_deleted, institution = row
    return Place(rkey, type_, id_, version, updated_us, bool(is_deleted), institution)
