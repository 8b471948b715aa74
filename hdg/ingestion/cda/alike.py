"""People and places that a document describes again and again, in the same words: they are read once.

CDA R2 §4.4: each entry may name its author in full, and most do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hdg.ingestion.cda.losses import STRUCTURE, is_lost
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import CONVERTERS
from hdg.ingestion.cda.xml import Element
from hdg.mapping.library import Library

__all__ = ["THINGS", "is_by_itself", "read_once"]

THINGS: Final = frozenset(
    ("Device", "Location", "Organization", "Practitioner", "PractitionerRole", "RelatedPerson")
)
"""Of these equal descriptions are one resource, which a second reading does not change."""
_PLAIN: Final = frozenset(("cda.Coding", "cda.subject"))
"""Named converters that look at nothing but what they are given, and at the patient."""
_KEPT_MAX: Final = 500


def read_once(name: str, element: Element, state: State, read: Callable[[], str | None]) -> str | None:
    """What the table of that name makes of an element, ``Type/id``, as ``read`` finds it.

    What says the same as one that was read whole and without an Issue would become the same again, so it is not read.
    """
    if state.reads_each or state.subject is None:
        return read()
    key = _said(name, element)
    known = state.alike.get(key)
    if known is not None:
        state.consumed[element] = None
        return known
    is_new = not _has_been_read(element, state)
    told = len(state.issues)
    state.reads_each = True
    try:
        found = read()
    finally:
        state.reads_each = False
    if is_new and found is not None and len(state.issues) == told and not is_lost(element, state):
        if len(state.alike) >= _KEPT_MAX:
            state.alike.clear()
        state.alike[key] = found
    return found


def _said(name: str, element: Element) -> tuple[Any, ...]:
    found: list[Any] = [name]
    _put(element, found)
    return tuple(found)


def _put(element: Element, found: list[Any]) -> None:
    """All that it says, with how many attributes and elements it has. Of what is blank nothing depends on how."""
    inner = element.inner
    found.append(element.tag)
    found.append(len(inner))
    attributes = element.attributes
    found.append(len(attributes))
    for name, value in attributes.items():
        found.append(name)
        found.append(value)
    found.append(_text(element.text))
    for child in inner:
        _put(child, found)
        found.append(_text(child.tail))


def _text(text: str | None) -> str | None:
    return " " if text is not None and text.isspace() else text


def _has_been_read(element: Element, state: State) -> bool:
    """Whether something has been read of it, or of what is in it."""
    if element in state.consumed:
        return True
    for name in element.attributes:
        if name not in STRUCTURE and element in state.attributes[name]:
            return True
    for child in element.inner:  # noqa: SIM110  # a generator is slower
        if _has_been_read(child, state):
            return True
    return False


def is_by_itself(library: Library, name: str) -> bool:
    """Whether a table, with those that it asks, reads nothing but the element, and what is one for the document."""
    return _is_by_itself(library, name, set())


def _is_by_itself(library: Library, name: str, asked: set[str]) -> bool:
    if name in asked:
        return True
    asked.add(name)
    table = library.table("tables", name)
    if table is None:
        return False
    for rule in table.rules:
        if ".." in rule.source or ".." in rule.when:
            return False
        as_ = rule.as_
        if not as_ or rule.target == "id" or as_ in CONVERTERS or as_ in _PLAIN:
            continue
        other = as_.removeprefix("Reference(").removesuffix(")")
        if not _is_by_itself(library, other, asked):
            return False
    return True
