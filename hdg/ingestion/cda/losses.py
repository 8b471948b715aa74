"""What of a document no row has read: each such place is an Issue.

Structure says nothing by itself (class, mood, template ids); what has a nullFlavor and nothing else is no fact.
"""

from __future__ import annotations

from collections.abc import Iterator

from hdg.errors import Issue
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import XSI_TYPE, Element, local, place_of

__all__ = ["losses"]

_STRUCTURE = frozenset(
    {
        "classCode",
        "moodCode",
        "typeCode",
        "determinerCode",
        "contextConductionInd",
        "contextControlCode",
        "nullFlavor",
        "inversionInd",
        "ID",
        "use",
        "operator",
        "institutionSpecified",
        "mediaType",
        "representation",
        "language",
        "codeSystemName",
        "displayName",
        "codeSystem",
        "codeSystemVersion",
        "assigningAuthorityName",
        "unit",
        XSI_TYPE,
    }
)
"""Attributes that say nothing without others, or how something is to be read."""
_SILENT = frozenset({"templateId", "realmCode", "typeId"})
_MOST = 500


def losses(state: State) -> list[Issue]:
    """One Issue for each place whose content went nowhere."""
    found: dict[str, None] = {}
    for place in _unread(state.root, state):
        found[place] = None
        if len(found) >= _MOST:
            break
    return [Issue("warning", "incomplete", place, "this was not carried over") for place in found]


def _unread(element: Element, state: State) -> Iterator[str]:
    if element in state.consumed or local(element) in _SILENT:
        return
    for name, value in element.attrib.items():
        if name in _STRUCTURE or name.startswith("{") or not value.strip():
            continue
        if name == "negationInd" and value == "false":
            continue
        if (element, name) not in state.attributes:
            yield place_of(element, name)
    if (element.text or "").strip():
        yield place_of(element)
    for child in element:
        yield from _unread(child, state)
        if (child.tail or "").strip():
            yield place_of(element)
