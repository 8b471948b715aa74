"""The rows of a CDA table: each made for what its path, its condition and its target need.

Which rows can do anything depends on which children and attributes an element has; that is worked out once for each set
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hdg.ingestion.cda.paths import Find, Path, View, is_said, parse_path
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import absent_reason
from hdg.ingestion.cda.xml import Element
from hdg.mapping.actions import Fire
from hdg.mapping.context import JsonObject
from hdg.mapping.table import Rule
from hdg.mapping.when import Readers, Test, needed, parse_when

__all__ = ["Row", "Rows", "Step", "needs_of", "readers"]

_KEPT_MAX: Final = 10_000
"""Sequences of children and attributes that are remembered for one table."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row. ``fire`` puts what was read; ``fallback`` steps in when nothing came of it.

    ``is_whole``: what is read is read with all that is in it. ``gap``: a required element for whose absence the
    source may give a reason.
    """

    rule: Rule
    path: Path
    test: Test | None
    fire: Fire | None
    fallback: Fire | None
    is_whole: bool
    gap: str = ""
    is_wary: bool = False
    """Whether it passes over statements that are negated or not said: tables know of negation, other rows do not."""


class Row:
    """One row at work: what of its path, its condition and its target it needs is worked out once."""

    __slots__ = (
        "_among",
        "_fallback",
        "_fire",
        "_gap",
        "_is_wary",
        "_is_whole",
        "_name",
        "_path",
        "_plain",
        "_test",
    )

    def __init__(self, step: Step) -> None:
        path = step.path
        self._path = path
        self._plain = path.plain
        self._among = not path.is_own and not path.up
        """Whether the path leads to something below the element."""
        self._name = path.attribute
        """The attribute that is read, or ''."""
        self._test = step.test
        self._fire = step.fire
        self._fallback = step.fallback
        self._gap = step.gap
        self._is_whole = step.is_whole
        self._is_wary = step.is_wary

    def run(self, element: Element, view: View, out: JsonObject, state: State) -> None:
        """``view``: the element's children by tag; ``out``: what is built."""
        hits: Sequence[Element]
        if self._plain:
            hits = view.get(self._plain, ())
        elif self._among:
            hits = self._path.among(element, view)
        else:
            hits = self._path.found(element, state)
        if self._is_wary and hits:
            hits = [hit for hit in hits if is_said(hit)]
        if not hits and self._fallback is None:
            return
        if self._test is not None and not self._test(element, state):
            return
        if hits and self._has_read(hits, out, state):
            return
        if self._fallback is not None:
            self._fallback("", out, state)
            if state.problems:
                state.settle_at(element)
        elif self._gap:
            self._say_absent(hits[0], out)

    def _say_absent(self, hit: Element, out: JsonObject) -> None:
        """Gives the source's reason for the absence of a required element."""
        name = self._gap
        if name not in out and f"_{name}" not in out and hit.get("nullFlavor") is not None:
            out[name] = absent_reason(hit)

    def _has_read(self, hits: Sequence[Element], out: JsonObject, state: State) -> bool:
        """Puts what was found; whether anything came of it."""
        if self._fire is None:
            self._leave(hits, state)
            return False
        if self._name:
            return self._has_read_attribute(self._fire, hits, out, state)
        is_done = False
        for hit in hits:
            has_fired = self._fire(hit, out, state)
            if has_fired:
                is_done = True
            if self._is_whole and (has_fired or state.problems):
                state.consumed[hit] = None  # what nothing has come of, and no problem says why, is a loss
            if state.problems:
                state.settle_at(hit)
        return is_done

    def _has_read_attribute(self, fire: Fire, hits: Sequence[Element], out: JsonObject, state: State) -> bool:
        name = self._name
        is_done = False
        for hit in hits:
            value = hit.get(name)
            if value is None:
                continue
            state.attributes[name][hit] = None
            if value and fire(value, out, state):
                is_done = True
            if state.problems:
                state.settle_at(hit, name)
        return is_done

    def _leave(self, hits: Sequence[Element], state: State) -> None:
        """What is left out on purpose has been read."""
        name = self._name
        for hit in hits:
            if name and hit.get(name) is not None:
                state.attributes[name][hit] = None
            elif not name and self._is_whole:
                state.consumed[hit] = None


class Rows:
    """The rows of one table, in its order."""

    __slots__ = ("_all", "_needed")

    def __init__(self, steps: Sequence[tuple[frozenset[str], Step]]) -> None:
        """``steps``: each with the children and attributes without which it does nothing."""
        self._all: tuple[tuple[frozenset[str], Row], ...] = tuple(
            [(needs, Row(step)) for needs, step in steps]
        )
        self._needed: dict[tuple[str, ...], tuple[Row, ...]] = {}

    def needed(self, names: tuple[str, ...]) -> tuple[Row, ...]:
        """Those that may do something with an element that has children of these tags and these attributes."""
        found = self._needed.get(names)
        if found is None:
            found = tuple([row for needs, row in self._all if needs.issubset(names)])
            if len(self._needed) < _KEPT_MAX:
                self._needed[names] = found
        return found


def needs_of(step: Step) -> frozenset[str]:
    """The children and attributes of an element without which a row does nothing."""
    paths = [parse_path(one) for one in needed(parse_when(step.rule.when))] if step.rule.when else []
    own = parse_path(step.rule.source)
    if step.fallback is None and not (own.is_own and step.gap):
        paths.append(own)
    return frozenset(path.attribute if path.is_own else path.first for path in paths) - {""}


def readers(operand: str) -> Readers:
    """How ``when`` reads a path below the element. Raises PathError."""
    path = parse_path(operand)
    name = path.attribute
    if path.is_own:

        def own(element: Element, state: State) -> str:
            return element.get(name, "").strip()

        return Readers(own, lambda e, s: bool(own(e, s)), lambda e, s: int(bool(own(e, s))))

    found = path.found if path.up else _below(path.find)

    def text(element: Element, state: State) -> str:
        for one in found(element, state):
            said = (one.get(name, "") if name else "".join(one.itertext())).strip()
            if said:
                return said
        return ""

    if name:
        return Readers(
            text,
            lambda e, s: bool(text(e, s)),
            lambda e, s: sum(1 for one in found(e, s) if one.get(name, "").strip()),
        )
    return Readers(
        text,
        lambda e, s: any(_has_value(one) for one in found(e, s)),
        lambda e, s: len(found(e, s)),
    )


def _below(find: Find) -> Callable[[Element, State], Sequence[Element]]:
    return lambda element, state: find(element)


def _has_value(element: Element) -> bool:
    if element.get("nullFlavor") is not None:
        return False
    return bool(element.inner or (element.text or "").strip() or element.attributes)
