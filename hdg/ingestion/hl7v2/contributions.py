"""What of a list's items a field can have made at all: told by the tables alone, without any message.

PID-12 gives the district of an address and nothing else, so an address without one is not of its making. docs/hl7v2.md
states the rule that rests on it (beside.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.deletes import base_of_target, fed
from hdg.mapping.library import Library
from hdg.mapping.table import Rule

__all__ = ["Contributions", "contributions"]

_TRIGGERS = "triggers"
_ELEMENT = re.compile(r"_?[A-Za-z]+(\[[^\]]*\])*\.?")
"""What a target begins with: the element and its selectors, which may hold a URL."""
_NAME = re.compile(r"_?([A-Za-z]+)")
_LIBRARIES = 8

Properties = frozenset[str] | None
"""Names of an item's properties; None: any."""


class Contributions:
    """Which properties of an element's items each field can give, whatever the message."""

    def __init__(self, library: Library, grammar: V2Grammar) -> None:
        """Raises TableError."""
        self._library = library
        self._grammar = grammar
        self._rules = [
            rule
            for name in library.names("messages")
            if name != _TRIGGERS and (table := library.table("messages", name)) is not None
            for rule in table.rules
            if rule.target
        ]
        self._known: dict[tuple[str, str], Mapping[str, Properties]] = {}

    def may_be_of_others(self, item: Any, claimed: Collection[str], kind: str, element: str) -> bool:
        """Whether another field than the ``claimed`` ones (``PID-11``) can have had a part in an item."""
        fields = self.of(kind, element)
        if not isinstance(item, dict):
            return any(name not in claimed for name in fields)
        own = {name.removeprefix("_") for name in item}
        return any(
            name not in claimed and (given is None or not own.isdisjoint(given))
            for name, given in fields.items()
        )

    def of(self, kind: str, element: str) -> Mapping[str, Properties]:
        """Field (``PID-13``; ``NK1-0`` for a segment as a whole) → what it can give of an item."""
        known = self._known.get((kind, element))
        if known is None:
            found: dict[str, Properties] = {}
            for field, given in self._all(kind, element):
                before = found.get(field, frozenset())
                found[field] = None if before is None or given is None else before | given
            known = self._known[kind, element] = found
        return known

    def _all(self, kind: str, element: str) -> Iterator[tuple[str, Properties]]:
        tables: set[tuple[str, str]] = set()
        for rule in self._rules:
            segment = rule.source.rpartition(".")[2]
            for target in _linked(rule):
                label, _, path = target.partition(".")
                if label.partition(":")[0] == kind and path and base_of_target(kind, path) == element:
                    yield f"{segment}-0", None
            label, _, path = rule.target.partition(".")
            if label.partition(":")[0] == kind and not path:
                tables.add((segment, rule.as_))
        for segment, name in tables:
            for base, number, rule in fed(self._library.table("segments", name), kind, self._grammar):
                if base == element:
                    yield f"{segment}-{number}", _properties(rule)


@lru_cache(maxsize=_LIBRARIES)
def contributions(library: Library) -> Contributions:
    """Those of a site's tables, which never change once they are read. Raises TableError."""
    return Contributions(library, V2Grammar())


def _linked(rule: Rule) -> list[str]:
    """The elements that a row of a message table fills as a whole: its own, and those of its ``default``."""
    own, _, _ = rule.target.partition(".")
    names = [part.partition("=")[0].strip() for part in rule.default.split(";")]
    return [rule.target, *(name[1:] if name.startswith("@") else f"{own}.{name}" for name in names if name)]


def _properties(rule: Rule) -> Properties:
    """``address[only].district`` gives a district; ``address[]`` anything."""
    path = _ELEMENT.sub("", rule.target, count=1)
    if not path:
        return None
    names = [path, *(part.strip() for part in rule.default.split(";"))]
    return frozenset(found[1] for name in names if (found := _NAME.match(name)))
