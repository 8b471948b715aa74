"""What a message deletes: the whole of an element, or what one field of several had contributed to it.

HL7 v2.9 §2.5.3.2. Whoever feeds an element alone deletes it with ``""``. Of an element that other fields feed too,
and of which the message says nothing else, only the field's own contribution is deleted: a Deletion with its
``source``, which takes what is stored to carry out. Where the message gives the element a value, that value takes
the place of all that the sender had said about it, and nothing is left to delete. What an event takes back of single
fields without naming them (a new order: the control of before) goes beside a value of other fields too. docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from hdg.fhir.definitions import element_info
from hdg.ingestion.converted import Deletion
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.nulls import Null, TakenBack
from hdg.mapping.context import Build
from hdg.mapping.library import Library
from hdg.mapping.table import Rule, Table

__all__ = ["Feeds", "base_of_target", "deletions", "fed"]

Field = tuple[str, int]
"""(segment, number); number 0 for what a segment puts there as a part of its own."""


class Program(Protocol):
    """What is asked of a message's program."""

    def feeds(self) -> Feeds:
        """Which fields feed which elements."""


class Feeds:
    """Which fields feed which elements, by the tables of one kind of message. All forms of a choice are one element."""

    def __init__(self, table: Table, library: Library, grammar: V2Grammar) -> None:
        self._library = library
        self._grammar = grammar
        self._by_label: dict[str, dict[str, set[Field]]] = {}
        self._fields: dict[tuple[str, str], Mapping[str, frozenset[int]]] = {}
        self._names: dict[tuple[str, str], frozenset[str]] = {}
        for rule in table.rules:
            if not rule.target:
                continue
            label, _, path = rule.target.partition(".")
            kind, segment = label.partition(":")[0], rule.source.rpartition(".")[2]
            found = self._by_label.setdefault(label, {})
            if path:
                found.setdefault(base_of_target(kind, path), set()).add((segment, 0))
                continue
            for element, numbers in self.of_table(rule.as_, kind).items():
                found.setdefault(element, set()).update((segment, number) for number in numbers)

    def of_table(self, name: str, kind: str) -> Mapping[str, frozenset[int]]:
        """Element → fields of a segment that feed it, whatever the rows ask for."""
        known = self._fields.get((name, kind))
        if known is not None:
            return known
        found: dict[str, set[int]] = {}
        for element, number, _ in fed(self._library.table("segments", name), kind, self._grammar):
            if number:
                found.setdefault(element, set()).add(number)
        known = {element: frozenset(numbers) for element, numbers in found.items()}
        self._fields[name, kind] = known
        return known

    def of(self, label: str, element: str) -> set[Field]:
        """All fields of a message that feed an element of the resources of a label."""
        return self._by_label.get(label, {}).get(element, set())

    def names(self, kind: str, element: str) -> frozenset[str]:
        """All fields of a message that feed an element of the resources of a type: ``PID-13``, ``NK1-0``."""
        known = self._names.get((kind, element))
        if known is None:
            labels = [label for label in self._by_label if label.partition(":")[0] == kind]
            fields = set().union(*(self.of(label, element) for label in labels))
            known = self._names[kind, element] = frozenset(f"{name}-{number}" for name, number in fields)
        return known


def fed(table: Table | None, kind: str, grammar: V2Grammar) -> Iterator[tuple[str, int, Rule]]:
    """The elements that the rows of a segment's table feed, each with the number of the field and the row."""
    for rule in table.rules if table is not None else ():
        if table is not None and rule.target and rule.target != "id":
            yield base_of_target(kind, rule.target), grammar.slot(rule.source, table, 0).number, rule


def deletions(
    builds: Sequence[Build],
    nulls: Sequence[Null] | None,
    program: Program,
    taken_back: Sequence[TakenBack] = (),
) -> tuple[Deletion, ...]:
    """What the sender deleted, except of elements for which the same message gives a value.

    ``nulls`` None: nothing says ``""``; what an event deletes is in the builds.
    """
    found: dict[Deletion, None] = {}
    emptied = _emptied(nulls, program.feeds()) if nulls else {}
    for build in builds:
        if not (build.deletions or emptied):
            continue
        whole = {base_of_target(build.type, element): element for element in build.deletions}
        fields = emptied.get(id(build), {})
        for stem, element in whole.items():
            is_all = build.deletions[element] or (
                stem in fields and fields[stem] >= program.feeds().of(build.label, stem)
            )
            if is_all and not _is_stated(stem, build):
                found[Deletion(build.type, build.id, element)] = None
        for stem, sources in fields.items():
            element = whole.get(stem, stem)
            if _is_stated(stem, build) or Deletion(build.type, build.id, element) in found:
                continue
            for name, number in sorted(sources):
                found[Deletion(build.type, build.id, element, f"{name}-{number}")] = None
    for build, element, field in taken_back:
        found[Deletion(build.type, build.id, element, field)] = None
    return tuple(found)


def _emptied(nulls: Sequence[Null], feeds: Feeds) -> dict[int, dict[str, set[Field]]]:
    """By build (its identity): element → fields that say ``""`` and feed it."""
    found: dict[int, dict[str, set[Field]]] = {}
    for build, table, segment, numbers in nulls:
        for element, fields in feeds.of_table(table, build.type).items():
            here = {(segment.name, number) for number in fields.intersection(numbers)}
            if here:
                found.setdefault(id(build), {}).setdefault(element, set()).update(here)
    return found


@lru_cache(maxsize=4096)
def base_of_target(kind: str, path: str) -> str:
    """The element that a target or the name of a property belongs to: ``_birthDate``, ``valueQuantity`` → ``value``."""
    name = path.partition(".")[0].partition("[")[0].removeprefix("_")
    try:
        info = element_info(kind, name)
    except KeyError:
        return name
    return info.definition.name if info is not None and info.is_choice else name


def _is_stated(stem: str, build: Build) -> bool:
    return any(base_of_target(build.type, name) == stem for name in build.resource)
