"""The rows of a CDA table as closures: each made for what its path, its condition and its target need.

Which rows can do anything depends on which children and attributes an element has; that is worked out once for each set
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hdg.ingestion.cda.paths import Find, Path, View, is_said, parse_path
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import absent_reason
from hdg.ingestion.cda.xml import Element
from hdg.mapping.actions import Fire
from hdg.mapping.context import JsonObject
from hdg.mapping.table import Rule
from hdg.mapping.when import Readers, Test, needed, parse_when

__all__ = ["Rows", "Step", "needs_of", "readers"]

Run = Callable[[Element, View, JsonObject, State], None]
"""``(element, its children by tag, what is built, state)``."""
Look = Callable[[Element, State], Sequence[Element]]
_KEPT_MAX = 10_000
"""Sets of children and attributes that are remembered for one table."""


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


class Rows:
    """The rows of one table, in its order."""

    __slots__ = ("_all", "_needed")

    def __init__(self, steps: Sequence[tuple[frozenset[str], Step]]) -> None:
        """``steps``: each with the children and attributes without which it does nothing."""
        self._all: tuple[tuple[frozenset[str], Run], ...] = tuple(
            [(needs, _run(step)) for needs, step in steps]
        )
        self._needed: dict[frozenset[str], tuple[Run, ...]] = {}

    def needed(self, names: frozenset[str]) -> tuple[Run, ...]:
        """Those that may do something with an element that has children of these tags and these attributes."""
        found = self._needed.get(names)
        if found is None:
            found = tuple([run for needs, run in self._all if needs <= names])
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


def _run(step: Step) -> Run:
    read = _reading(step)
    path, test, fallback, gap = step.path, step.test, step.fallback, step.gap
    plain, among, look, is_wary = path.plain, path.among, _looking(path), step.is_wary

    def run(element: Element, view: View, out: JsonObject, state: State) -> None:
        hits: Sequence[Element]
        if plain:
            hits = view.get(plain, ())
        elif look is None:
            hits = among(element, view, state.parents)
        else:
            hits = look(element, state)
        if is_wary and hits:
            hits = [hit for hit in hits if is_said(hit)]
        if not hits and fallback is None:
            return
        if test is not None and not test(element, state):
            return
        if hits and read(hits, out, state):
            return
        if fallback is not None:
            fallback("", out, state)
            if state.problems:
                state.settle_at(element)
        elif gap and gap not in out and f"_{gap}" not in out and hits[0].get("nullFlavor") is not None:
            out[gap] = absent_reason(hits[0])

    return run


def _looking(path: Path) -> Look | None:
    """What a path finds that does not lead to children of the element; None for one that does."""
    if path.is_own:
        return lambda element, state: (element,)
    return path.found if path.up else None


def _reading(step: Step) -> Callable[[Sequence[Element], JsonObject, State], bool]:
    """Puts what was found; whether anything came of it."""
    if step.fire is None:
        return _leaving(step.path.attribute, is_whole=step.is_whole)
    if step.path.attribute:
        return _reading_attribute(step.fire, step.path.attribute)
    return _reading_element(step.fire, is_whole=step.is_whole)


def _leaving(name: str, *, is_whole: bool) -> Callable[[Sequence[Element], JsonObject, State], bool]:
    """What is left out on purpose has been read."""

    def read(hits: Sequence[Element], out: JsonObject, state: State) -> bool:
        for hit in hits:
            if name and hit.get(name) is not None:
                state.attributes[name][hit] = None
            elif not name and is_whole:
                state.consumed[hit] = None
        return False

    return read


def _reading_attribute(fire: Fire, name: str) -> Callable[[Sequence[Element], JsonObject, State], bool]:
    def read(hits: Sequence[Element], out: JsonObject, state: State) -> bool:
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

    return read


def _reading_element(fire: Fire, *, is_whole: bool) -> Callable[[Sequence[Element], JsonObject, State], bool]:
    convert: Callable[[Any, JsonObject, State], bool] = fire

    def read(hits: Sequence[Element], out: JsonObject, state: State) -> bool:
        is_done = False
        for hit in hits:
            has_fired = convert(hit, out, state)
            if has_fired:
                is_done = True
            if is_whole and (has_fired or state.problems):
                state.consumed[hit] = None  # what nothing has come of, and no problem says why, is a loss
            if state.problems:
                state.settle_at(hit)
        return is_done

    return read


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
    return lambda element, state: find(element, state.parents)


def _has_value(element: Element) -> bool:
    if element.get("nullFlavor") is not None:
        return False
    return len(element) > 0 or bool((element.text or "").strip()) or bool(element.keys())
