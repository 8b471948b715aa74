"""Where a message says ``""``: a field that takes back what it had said. HL7 v2.9 §2.5.3.2 (Delete).

Other fields may feed the same element of a resource, so it is noted which field said it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hdg.ingestion.hl7v2.encoding import NULL

if TYPE_CHECKING:
    from hdg.ingestion.hl7v2.parser import Message, Segment
    from hdg.mapping.context import Build

__all__ = ["Null", "TakenBack", "has_nulls", "names_nothing", "nulls_of"]

_NULL = NULL.encode()
_WIDE = {NULL.encode("utf-16-le"), NULL.encode("utf-16-be")}


class Null(NamedTuple):
    """Fields of one segment that say ``""``, where a row of the message reads the segment into a resource."""

    build: Build
    table: str
    segment: Segment
    numbers: tuple[int, ...]


class TakenBack(NamedTuple):
    """What a field (``ORC-16``) had stated of an element, and the message takes back without a ``""``."""

    build: Build
    element: str
    field: str


_NAMED_BY = {"AL1": (3, 0), "DG1": (3, 20), "IAM": (3, 7), "PR1": (3, 19)}
"""What an entry of a list is about, and its number, by which it can be deleted (0: there is none)."""


def names_nothing(name: str, view: list[str]) -> bool:
    """Whether a segment says ``""`` for what it is about and does not say which one it means.

    It is no entry of the list: an allergy to nothing would be one that is active.
    """
    fields = _NAMED_BY.get(name)
    if fields is None or len(view) <= fields[0] or view[fields[0]] != NULL:
        return False
    number = view[fields[1]] if 0 < fields[1] < len(view) else ""
    return number in ("", NULL)


def has_nulls(message: Message) -> bool:
    """Whether any field may say it: a look at the bytes, which nearly always have no such text."""
    raw = message.raw
    return _NULL in raw or (b"\0" in raw and any(wide in raw for wide in _WIDE))


def nulls_of(view: list[str]) -> tuple[int, ...]:
    """The fields that say it."""
    return tuple(number for number, text in enumerate(view) if text == NULL)
