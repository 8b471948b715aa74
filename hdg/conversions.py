"""What messages of late state, so that those that come next need not convert them again to know.

history.py asks what an earlier message had stated; most often that is one of the last few. What is kept is what its own
conversion has made, by the tables of today: under other tables nothing is found. For the writer's thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from hdg.ingestion.converted import Converted, JsonObject
from hdg.ingestion.sender import Sender
from hdg.management.store.ready import Ready, unindexed

__all__ = ["Conversions", "Stated"]

_HELD_BYTES = 24 << 20
_HELD_TYPES = frozenset({"Encounter", "Patient"})
"""Of other types it is hardly ever asked; a message has many of them."""
_FACTS_BYTES = 2000


class Stated:
    """What one message states. What it hands out is shared: never to be changed."""

    __slots__ = ("_made", "_only", "_parsed", "_whole", "facts")

    def __init__(
        self, converted: Converted, made: Sequence[Ready] | None = None, only: frozenset[str] | None = None
    ) -> None:
        """``made``: the resources of ``converted``, made ready elsewhere. ``only``: of these types; None: all."""
        self.facts = converted
        """All but the resources."""
        self._made = made
        self._only = only
        self._parsed: dict[tuple[str, str], JsonObject] = {}
        self._whole = converted if made is None else None

    def holds(self, type_: str) -> bool:
        """Whether it can be asked for resources of a type."""
        return self._only is None or type_ in self._only

    @property
    def is_whole(self) -> bool:
        """Whether it can be asked for everything."""
        return self._only is None

    def resource(self, key: tuple[str, str]) -> JsonObject:
        """The resource of that type and id; {} when there is none."""
        found = self._parsed.get(key)
        if found is None:
            found = self._find(key)
            if self._only is None:  # what is kept of late stays bytes
                self._parsed[key] = found
        return found

    def _find(self, key: tuple[str, str]) -> JsonObject:
        if self._made is not None:
            return next((one.resource() for one in self._made if (one.type, one.id) == key), {})
        return next(
            (one for one in self.facts.resources if (one["resourceType"], one["id"]) == key),
            {},
        )

    def count(self, type_: str) -> int:
        """How many resources of a type there are."""
        if self._made is not None:
            return sum([one.type == type_ for one in self._made])
        return sum([one["resourceType"] == type_ for one in self.facts.resources])

    def whole(self) -> Converted:
        """All of it."""
        if self._whole is None:
            self._whole = replace(self.facts, resources=tuple([one.resource() for one in self._made or ()]))
        return self._whole

    def kept(self) -> tuple[Stated, int]:
        """What is to be kept of it, and how many bytes of memory that takes, about."""
        if self._made is None:
            own = [one for one in self.facts.resources if one["resourceType"] in _HELD_TYPES]
            made, facts = list(map(unindexed, own)), replace(self.facts, resources=())
        else:
            made, facts = [one for one in self._made if one.type in _HELD_TYPES], self.facts
            made = [one._replace(tables=b"") for one in made]
        size = sum([len(one.head) + len(one.tail) for one in made])
        return Stated(facts, made, _HELD_TYPES), size + _FACTS_BYTES


class Conversions:
    """Of the last messages, by the digest of their bytes; the least recently used is let go first."""

    def __init__(self, held_bytes: int = _HELD_BYTES) -> None:
        self._limit = held_bytes
        self._held: OrderedDict[str, tuple[Stated, int, Sender]] = OrderedDict()
        self._bytes = 0
        self._generation: int | None = None

    def find(self, sha256: str, sender: Sender, generation: int) -> Stated | None:
        """What a message states by the tables of ``generation``, as one that this sender sent; None: not known."""
        known = self._held.get(sha256) if generation == self._generation else None
        if known is None or known[2] != sender:
            return None
        self._held.move_to_end(sha256)
        return known[0]

    def keep(self, stated: Stated, sender: Sender, generation: int) -> None:
        """Remembers what a message states of a person and a visit."""
        if generation != self._generation:
            self._generation, self._bytes = generation, 0
            self._held.clear()
        sha256 = stated.facts.source.sha256
        if sha256 in self._held:
            self._bytes -= self._held.pop(sha256)[1]
        kept, weight = stated.kept()
        if weight > self._limit // 4:
            return
        self._held[sha256] = (kept, weight, sender)
        self._bytes += weight
        while self._bytes > self._limit:
            self._bytes -= self._held.popitem(last=False)[1][1]
