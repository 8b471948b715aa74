"""What fields' texts became, remembered for the next message that has the same text: bounded by size.

A patient's identifiers, names and addresses, an order's codes and people come again in every message of a
stay. What is remembered holds patients' data and lives in the converting process only.
"""

from __future__ import annotations

from typing import Any, Final, Generic, Protocol, TypeVar

from hdg.fhir.json import MAX_DEPTH, JsonError

VALUES_BYTES: Final = 32 << 20
"""Bound of one Remembered, estimated; about 3,000 patients' recurring fields."""
IDS_MAX: Final = 8192
_OFFERED_MAX: Final = 50_000
_ENTRY_BYTES: Final = 600
_CHARACTER_BYTES: Final = 8
"""What a character of source text becomes, with the objects around it."""


class Entry(Protocol):
    """What can be remembered."""

    @property
    def objects(self) -> tuple[Any, ...]:
        """Its JSON objects."""


E = TypeVar("E", bound=Entry)


class Remembered(Generic[E]):
    """Texts to values in two generations: when the young one is full it becomes the old one, whose unused
    entries are forgotten. Only what is offered a second time is kept: most order numbers and times never are.

    Values are shared by everyone who gets them and never changed. May be used by several threads: at worst
    something is worked out twice.
    """

    __slots__ = ("_bytes", "_limit", "_offered", "_old", "ids", "trusted", "young")

    def __init__(self, limit_bytes: int = VALUES_BYTES) -> None:
        self._limit = limit_bytes // 2
        self.young: dict[tuple[str, str], E] = {}
        """What was used lately; to be looked at before ``older``."""
        self._old: dict[tuple[str, str], E] = {}
        self._bytes = 0
        self._offered: set[int] = set()
        """Hashes of keys that were offered once."""
        self.trusted: dict[int, list[Any]] = {}
        """By identity, ``[object, check]``: the check that a remembered object has passed, or None."""
        self.ids: dict[tuple[str, tuple[str, tuple[str, ...]]], str] = {}
        """By institution, type and facts, the ids of what comes again; whoever adds one bounds them (IDS_MAX)."""

    def older(self, key: tuple[str, str]) -> E | None:
        """What the old generation has for (kind, text), which is young again; or None."""
        found = self._old.get(key)
        if found is not None:
            self.keep(key, found)
        return found

    def offer(self, key: tuple[str, str], entry: E) -> None:
        """Remember what (kind, text) became if it has been offered before."""
        if self.is_due(key):
            self.keep(key, entry)

    def is_due(self, key: tuple[str, str]) -> bool:
        """Whether (kind, text) has been offered or asked for before."""
        mark = hash(key)
        if mark in self._offered:
            return True
        if len(self._offered) >= _OFFERED_MAX:
            self._offered.clear()
        self._offered.add(mark)
        return False

    def keep(self, key: tuple[str, str], entry: E) -> None:
        """Remember what (kind, text) became."""
        self._bytes += _ENTRY_BYTES + _CHARACTER_BYTES * len(key[1])
        if self._bytes > self._limit:
            self._old, self.young = self.young, {}
            self._bytes = 0
            self.trusted = {}
        self.young[key] = entry
        for held in entry.objects:
            self.trust(held)

    def trust(self, value: Any) -> Any:
        """Note an object that nobody changes any more; gives it back."""
        if id(value) not in self.trusted:
            self.trusted[id(value)] = [value, None]
        return value


def fresh(value: Any, room: int = MAX_DEPTH) -> Any:
    """A copy of a constant that later steps may change.

    Raises JsonError: more than ``room`` values inside one another.
    """
    if not room:
        raise JsonError("nested too deeply")
    kind = type(value)
    if kind is dict:
        copy = value.copy()
        for key, part in value.items():
            inner = type(part)
            if inner is list or inner is dict:
                copy[key] = fresh(part, room - 1)
        return copy
    if kind is list:
        return [fresh(part, room - 1) for part in value]
    return value
