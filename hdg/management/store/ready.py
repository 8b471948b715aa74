"""A resource made ready for storing apart from the store: its bytes, index rows and compartments.

Everything that depends on the content alone, so that it can be done elsewhere (converting.py does it in the
process that converts) and the writer's thread need not look into a resource that is new.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hdg.fhir.json import dumps
from hdg.management.store.envelope import parse
from hdg.management.store.index import Indexer, IndexRows
from hdg.management.store.merge import IDENTITY, JsonObject, without_server_meta

__all__ = ["Ready", "ready"]


class Ready(NamedTuple):
    """``meta``: JSON of what meta holds beside its version, ``{}`` for nothing.

    ``rest``: JSON of all elements but ``resourceType``, ``id`` and ``meta``. ``tables``: index rows without
    their last column (rkey).
    """

    type: str
    id: str
    meta: bytes
    rest: bytes
    tables: tuple[list[tuple[Any, ...]], ...]
    patients: frozenset[str]

    def resource(self) -> JsonObject:
        """The resource as it was, a fresh dict."""
        meta, rest = parse(self.meta), parse(self.rest)
        head: JsonObject = {"resourceType": self.type, "id": self.id}
        return {**head, "meta": meta, **rest} if meta else {**head, **rest}

    def body(self, version: int, instant: str) -> bytes:
        """The bytes to store as that version, the same as WriteSession makes of a dict."""
        own = self.meta[:-1] + b"," if len(self.meta) > 2 else b"{"
        head = f'{{"resourceType":"{self.type}","id":"{self.id}","meta":'.encode()
        stamp = f'"versionId":"{version}","lastUpdated":"{instant}"}}'.encode()
        rest = b"," + self.rest[1:] if len(self.rest) > 2 else b"}"
        return b"".join((head, own, stamp, rest))

    def rows(self, rkey: int) -> IndexRows:
        """The index rows of the resource with that number."""
        return IndexRows(tuple([(*row, rkey) for row in rows] for rows in self.tables), set(self.patients))


def ready(resource: JsonObject, indexer: Indexer) -> Ready:
    """Makes a validated resource ready (its type and id are plain names)."""
    content = without_server_meta(resource)
    rows = indexer.rows(content, 0)
    return Ready(
        content["resourceType"],
        content["id"],
        dumps(content.get("meta") or {}),
        dumps({name: value for name, value in content.items() if name not in IDENTITY}),
        tuple([row[:-1] for row in table] for table in rows.tables),
        frozenset(rows.patients),
    )
