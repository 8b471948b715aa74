"""Which table reads which clinical statement (``mappings/cda/dispatch/statements.csv``).

``source`` is ``observation[section='…'][templateId='…']`` (the LOINC code of the section around it, and a template),
``observation[templateId='…']``, ``observation[section='…']`` or ``observation``; they are asked in this order. A row is
for what has happened (EVN) unless its ``when`` asks for a mood.
``as``: the table, or ``statements`` for what only holds others. A blank target says why nothing is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hdg.errors import Issue, TableError
from hdg.ingestion.cda.compile import STATEMENTS, Compiler, is_negated, readers
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element, children, local
from hdg.mapping.context import JsonObject
from hdg.mapping.library import Library
from hdg.mapping.table import Rule
from hdg.mapping.when import Test, compile_when, operands, parse_when

__all__ = ["Dispatch"]

_SOURCE: Final = re.compile(r"([A-Za-z]+)(?:\[section='([^']+)'\])?(?:\[templateId='([^']+)'\])?")
_HOLDERS: Final = ("entryRelationship", "component", "reference")
_OF_HOLDERS: Final = frozenset({"code", "statusCode", "text"})
"""What says only that something holds others, and how far holding them has come."""
_ASKED_MAX: Final = 10_000
_EVENTS: Final = frozenset({"", "EVN"})


@dataclass(frozen=True, slots=True)
class _Row:
    rule: Rule
    test: Test | None
    is_any_mood: bool


class Dispatch:
    """The compiled table."""

    def __init__(self, library: Library, compiler: Compiler) -> None:
        self._compiler = compiler
        self._rows: dict[tuple[str, str, str], list[_Row]] = {}
        """By name of the statement, code of the section and template; '' where a row does not ask for it."""
        self._asked: dict[tuple[str, tuple[str, ...], tuple[str, ...]], tuple[_Row, ...]] = {}
        """Rows by name, templates and sections, as statements came with them; bounded."""
        self._is_paired: set[str] = set()
        """Names of which some row asks for both."""
        table = library.table("dispatch", "statements")
        if table is None:
            raise TableError("cda/dispatch/statements.csv", 1, "there is no such table")
        for rule in table.rules:
            found = _SOURCE.fullmatch(rule.source)
            if found is None or found[1] not in STATEMENTS:
                raise rule.error(
                    "the source is a statement, with [section='…'] and [templateId='…'] if need be, in this order"
                )
            test = compile_when(parse_when(rule.when), readers) if rule.when else None
            is_any = bool(rule.when) and "@moodCode" in operands(parse_when(rule.when))
            key = (found[1], found[2] or "", found[3] or "")
            self._rows.setdefault(key, []).append(_Row(rule, test, is_any))
            if found[2] and found[3]:
                self._is_paired.add(found[1])

    def statement(self, element: Element, state: State) -> list[JsonObject]:
        """References to what a statement becomes; once, however often it is asked for."""
        told = state.told.get(element)
        if told is None:
            state.told[element] = ()
            state.depth += 1
            try:
                found = self._read(element, state)
            finally:
                state.depth -= 1
            if found:
                references = tuple([one["reference"] for one in found])
                state.told[element] = references[0] if len(references) == 1 else references
            return found
        return [{"reference": one} for one in (told if isinstance(told, tuple) else (told,))]

    def _read(self, element: Element, state: State) -> list[JsonObject]:
        if local(element) not in STATEMENTS:
            return []
        if element.get("nullFlavor") is not None:
            return self._inside(element, state)
        row = self._row(element, state)
        if row is None:
            text = "no table reads such a statement; its narrative is kept"
            state.issues.append(Issue("warning", "not-supported", state.place_of(element), text))
            return self._inside(element, state)
        if not row.rule.target:
            state.mark(element)
            return []
        if row.rule.as_ == "statements":
            return self._holder(element, state)
        reference = self._compiler.resource(row.rule.as_, element, state)
        inner = self._inside(element, state)
        return inner if reference is None else [reference]

    def _row(self, element: Element, state: State) -> _Row | None:
        name = local(element)
        mood = element.get("moodCode", "")
        templates = tuple([one.get("root", "") for one in children(element, "templateId")])
        sections = tuple(_sections(element, state)) if _stands_alone(element, state) else ()
        key = (name, templates, sections)
        rows = self._asked.get(key)
        if rows is None:
            rows = self._in_order(*key)
            if len(self._asked) < _ASKED_MAX:
                self._asked[key] = rows
        for row in rows:
            if not row.is_any_mood and mood not in _EVENTS:
                continue
            if row.test is None or row.test(element, state):
                return row
        return None

    def _in_order(self, name: str, templates: Sequence[str], sections: Sequence[str]) -> tuple[_Row, ...]:
        """The rows for such a statement, the most exact first."""
        pairs = (
            [(section, one) for section in sections for one in templates] if name in self._is_paired else []
        )
        asked = (
            *pairs,
            *(("", one) for one in templates),
            *((section, "") for section in sections),
            ("", ""),
        )
        return tuple(row for section, one in asked for row in self._rows.get((name, section, one), ()))

    def _holder(self, element: Element, state: State) -> list[JsonObject]:
        """A statement that is nothing by itself."""
        if is_negated(element):
            text = "a negated holder of statements was left out with all that is in it"
            state.issues.append(Issue("error", "not-supported", state.place_of(element), text))
            return []
        for child in element.inner:
            if local(child) in _OF_HOLDERS:
                state.mark(child)
        return self._inside(element, state)

    def _inside(self, element: Element, state: State) -> list[JsonObject]:
        """The statements in a statement that no row of its table has read."""
        found: list[JsonObject] = []
        is_so = not is_negated(element)
        for name in _HOLDERS:
            for holder in children(element, name):
                if is_negated(holder):
                    continue  # losses.py says so
                if not is_so and holder.get("typeCode") != "RSON":
                    continue  # it says more of what is not so; why that is not so does hold
                for inner in holder.inner:
                    if not is_so and local(inner) == "supply":
                        continue  # an order is no reason, and may leave it to what is denied to say of what
                    if local(inner) in STATEMENTS and not state.is_read(inner):
                        found += self.statement(inner, state)
        return found


def _stands_alone(element: Element, state: State) -> bool:
    """Whether a statement is what its section is about: an entry, or what a concern or an organizer holds."""
    holder = element.around
    if holder is None or local(holder) == "entry":
        return True
    around = holder.around
    return (
        around is not None
        and local(around) in ("act", "organizer")
        and holder.get("typeCode") not in ("MFST", "CAUS", "RSON")
    )


def _sections(element: Element, state: State) -> list[str]:
    """The codes of the sections around an element, the nearest first."""
    node = state.section_of(element)
    if node is None:
        return []
    found: list[str] | None = state.known.get(("sections", node))
    if found is None:
        own = [one.get("code", "") for one in children(node, "code") if one.get("code")]
        above = node.around
        found = state.known["sections", node] = own if above is None else [*own, *_sections(node, state)]
    return found
