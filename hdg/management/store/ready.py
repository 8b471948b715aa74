"""A resource made ready for storing apart from the store: its bytes, index rows and compartments.

Everything that depends on the content alone, so that it can be done elsewhere (converting.py does it in the
process that converts) and the writer's thread need not look into a resource that is new. What crosses over is
flat: a few bytes objects per resource. Index rows are opened only for a resource that is written.
"""

from __future__ import annotations

import hashlib
import marshal
from collections import OrderedDict
from typing import NamedTuple

from hdg.fhir.json import dumps
from hdg.management.store.envelope import parse
from hdg.management.store.index import Indexer, IndexRows, Tables
from hdg.management.store.merge import IDENTITY, JsonObject, without_server_meta

__all__ = ["MadeReady", "Ready", "ready", "unindexed"]

DIGEST_BYTES = 16
_HELD_BYTES = 16 << 20
_BESIDE_BYTES = 600
"""Of memory that a Ready takes beside its bytes, about."""
_SAID_AGAIN = frozenset(
    {
        "Account",
        "AllergyIntolerance",
        "Condition",
        "Coverage",
        "Encounter",
        "Patient",
        "RelatedPerson",
    }
)
"""Types of which messages about the same person say the same again; of others each message has new ones."""


class Ready(NamedTuple):
    """``head`` and ``tail``: the JSON of the resource but for what the store puts into ``meta`` between them.

    ``digest``: 16 bytes of BLAKE2b over head and tail, so it is equal only for equal content (the same content
    with its elements in another order has another one). ``patients``: whose compartments its own references
    put it into. ``tables``: the index rows without their last column (rkey), packed.
    """

    type: str
    id: str
    digest: bytes
    head: bytes
    tail: bytes
    patients: frozenset[str]
    tables: bytes

    def resource(self) -> JsonObject:
        """The resource as it was, a fresh dict."""
        found = parse(b"".join((self.head.rstrip(b","), b"}", self.tail)))
        if not found["meta"]:
            del found["meta"]
        return found

    def body(self, version: int, instant: str) -> bytes:
        """The bytes to store as that version, the same as WriteSession makes of a dict."""
        return b'%b"versionId":"%d","lastUpdated":"%b"}%b' % (
            self.head,
            version,
            instant.encode(),
            self.tail,
        )

    def rows(self, rkey: int) -> IndexRows:
        """The index rows of the resource with that number."""
        last = (rkey,)
        opened: Tables = marshal.loads(self.tables)  # noqa: S302  # made by ``ready``
        tables = tuple([[row + last for row in rows] if rows else rows for rows in opened])
        return IndexRows(tables, set(self.patients))


def ready(resource: JsonObject, indexer: Indexer) -> Ready:
    """Makes a validated resource ready (its type and id are plain names)."""
    content = without_server_meta(resource)
    head, tail = _halves(content)
    return _indexed(content, head, tail, _digest(head, tail), indexer)


def unindexed(resource: JsonObject) -> Ready:
    """The bytes of a resource alone, of which no index rows are to be made."""
    head, tail = _halves(without_server_meta(resource))
    return Ready(resource["resourceType"], resource["id"], b"", head, tail, frozenset(), b"")


class MadeReady:
    """``ready``, done once for what is the same to the byte; the least recently used is let go first."""

    def __init__(self, indexer: Indexer, held_bytes: int = _HELD_BYTES) -> None:
        self._indexer = indexer
        self._limit = held_bytes
        self._held: OrderedDict[bytes, Ready] = OrderedDict()
        self._bytes = 0

    def ready(self, resource: JsonObject) -> Ready:
        """The resource, made ready."""
        if resource["resourceType"] not in _SAID_AGAIN:
            return ready(resource, self._indexer)
        content = without_server_meta(resource)
        head, tail = _halves(content)
        digest = _digest(head, tail)
        made = self._held.get(digest)
        if made is not None:
            self._held.move_to_end(digest)
            return made
        made = self._held[digest] = _indexed(content, head, tail, digest, self._indexer)
        self._bytes += _weight(made)
        while self._bytes > self._limit:
            self._bytes -= _weight(self._held.popitem(last=False)[1])
        return made


def _weight(made: Ready) -> int:
    return _BESIDE_BYTES + len(made.head) + len(made.tail) + len(made.tables)


def _indexed(content: JsonObject, head: bytes, tail: bytes, digest: bytes, indexer: Indexer) -> Ready:
    tables, patients = indexer.heads(content)
    return Ready(
        content["resourceType"],
        content["id"],
        digest,
        head,
        tail,
        frozenset(patients),
        marshal.dumps(tables),
    )


def _digest(head: bytes, tail: bytes) -> bytes:
    return hashlib.blake2b(head + tail, digest_size=DIGEST_BYTES).digest()


def _halves(content: JsonObject) -> tuple[bytes, bytes]:
    """What stands before and behind meta.versionId and meta.lastUpdated in the stored bytes."""
    begin = f'{{"resourceType":"{content["resourceType"]}","id":"{content["id"]}"'.encode()
    meta = content.get("meta")
    if not meta and "meta" not in content:
        written = dumps(content)
        if written.startswith(begin):  # as everything that we make begins
            return begin + b',"meta":{', written[len(begin) :]
    own = dumps(meta)[:-1] + b"," if meta else b"{"
    rest = dumps({name: value for name, value in content.items() if name not in IDENTITY})
    return b'%b,"meta":%b' % (begin, own), b"," + rest[1:] if len(rest) > 2 else b"}"
