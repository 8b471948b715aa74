"""What of a document no row has read: each such place is an Issue.

Structure says nothing by itself (class, mood, template ids); what has a nullFlavor and nothing else is no fact.
"""

from __future__ import annotations

from typing import Final

from hdg.errors import Issue
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import HL7, XSI_TYPE, Element

__all__ = ["SILENT", "STRUCTURE", "is_lost", "losses"]

STRUCTURE: Final = frozenset(
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
SILENT: Final = frozenset({f"{HL7}templateId", f"{HL7}realmCode", f"{HL7}typeId"})
_MOST: Final = 500


def losses(state: State) -> list[Issue]:
    """One Issue for each place whose content went nowhere."""
    places = list(_unread(state.root, state, _MOST))[:_MOST]
    return [Issue("warning", "incomplete", place, "this was not carried over") for place in places]


def is_lost(element: Element, state: State) -> bool:
    """Whether something of an element, or of what is in it, has not been read so far."""
    return bool(_unread(element, state, 1))


def _unread(root: Element, state: State, most: int) -> dict[str, None]:
    """Places of what nothing has read: all, or ``most`` and more."""
    found: dict[str, None] = {}
    consumed, attributes = state.consumed, state.attributes
    stack = [] if root in consumed or root.tag in SILENT else [root]
    while stack and len(found) < most:
        element = stack.pop()
        for name, value in element.attributes.items():
            if name in STRUCTURE or name[0] == "{" or ((read := attributes.get(name)) and element in read):
                continue
            if value and not value.isspace() and not (name == "negationInd" and value == "false"):
                found[state.place_of(element, name)] = None
        text = element.text
        if text and not text.isspace():
            found[state.place_of(element)] = None
        if element.inner:
            is_told = False
            inner: list[Element] = []
            for child in element.inner:
                if child not in consumed and child.tag not in SILENT:
                    inner.append(child)
                text = child.tail
                if text and not text.isspace():
                    is_told = True
            if is_told:
                found[state.place_of(element)] = None
            inner.reverse()
            stack += inner
    return found
