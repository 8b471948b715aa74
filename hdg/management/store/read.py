"""Reads: current version, one version, history, search; always under a predicate that is part of the SQL.

R4 http.html#read, #vread, #history; DESIGN §6.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement

from hdg.management.store.search import SearchQuery

__all__ = ["Page", "Reader", "StoredVersion"]


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version's row. ``patient``: the sole patient whose compartment the resource is in, else None.

    ``sealed`` is the encrypted body; ``Reader.body`` opens it. ``leaf_index`` is its place in the ledger.
    """

    rkey: int
    type: str
    id: str
    version: int
    updated_us: int
    institution: str
    deleted: bool
    patient: str | None
    patient_code: str
    leaf_index: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a search or history. ``total`` is None where not asked for; ``next_cursor`` is '' on the last page."""

    versions: tuple[StoredVersion, ...]
    total: int | None
    next_cursor: str


class Reader:
    """Thread-safe; pooled connections. ``predicate`` is SQL over ``Resource`` columns (``sqlalchemy.true()``: all)."""

    def read(self, type_: str, id_: str, predicate: ColumnElement[bool]) -> StoredVersion | None:
        """The current version (``deleted`` set if it is a deletion), or None when absent or hidden."""
        raise NotImplementedError

    def vread(
        self, type_: str, id_: str, version: int, predicate: ColumnElement[bool]
    ) -> StoredVersion | None:
        """One version, or None when absent or hidden."""
        raise NotImplementedError

    def history(
        self, type_: str, id_: str, predicate: ColumnElement[bool], count: int = 50, cursor: str = ""
    ) -> Page:
        """Versions of one resource, newest first; an empty page when absent or hidden."""
        raise NotImplementedError

    def search(self, query: SearchQuery, predicate: ColumnElement[bool]) -> Page:
        """Matching current versions, none of them deleted. Raises BadRequest for a value that cannot be read."""
        raise NotImplementedError

    def body(self, version: StoredVersion) -> bytes:
        """The exact JSON bytes (b'' for a deletion). Raises VaultError when they cannot be opened."""
        raise NotImplementedError
