"""What of the mapped modules no row has read: each such attribute is an Issue."""

from __future__ import annotations

from hdg.errors import Issue
from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.dictionary import keyword, shown
from hdg.ingestion.dicom.state import State

__all__ = ["losses"]

_MOST = 500


def losses(state: State, tags: frozenset[int]) -> list[Issue]:
    """One Issue for each valued attribute that went nowhere. ``tags``: of the mapped modules."""
    found: dict[str, None] = {}
    read = state.read.get(id(state.root), set())
    for tag in state.root.raw.keys() & tags - read:
        if state.root.is_valued(tag):
            found[keyword(tag)] = None
    for item in state.visited:
        for tag in _unread(item, state):
            found[keyword(tag) or shown(tag)] = None
    return [
        Issue("warning", "incomplete", place, "this was not carried over") for place in sorted(found)[:_MOST]
    ]


def _unread(item: Dataset, state: State) -> list[int]:
    """Valued public elements of an item that a table has read in part."""
    read = state.read.get(id(item), set())
    return [
        tag
        for tag in item.raw
        if tag not in read
        and not tag >> 16 & 1
        and tag & 0xFFFF
        and tag != 0x00080005
        and item.is_valued(tag)
    ]
