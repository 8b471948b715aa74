"""The HL7 v2 grammar as data, and source paths in it. HL7 v2.5.1–2.8.2 chapters 2–11 by way of grammar.json.

scripts/generate_v2_grammar.py writes grammar.json and says which version each entry is of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_HERE = Path(__file__).resolve().parent
_FIELD = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:-([1-9]\d*)(?:\[([1-9]\d*)\])?(?:\.([1-9]\d*)(?:\.([1-9]\d*))?)?)?"
)
_COMPONENT = re.compile(r"([A-Z][A-Z0-9]{1,2})(?:\.([1-9]\d*)(?:\.([1-9]\d*))?)?")


class SourceError(ValueError):
    """The text is not a source path, or names a place that HL7 does not define."""


class Element(NamedTuple):
    """A field of a segment or a component of a datatype; ``number`` is 1-based."""

    number: int
    name: str
    datatype: str


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source path. Numbers are 1-based; 0 means "not named" (repetition 0: every one)."""

    unit: str
    is_segment: bool
    number: int = 0
    repetition: int = 0
    component: int = 0
    subcomponent: int = 0

    @property
    def depth(self) -> int:
        """What a text of this source is made of: 1 components, 2 subcomponents, 3 nothing further."""
        if self.is_segment:
            return 1 + bool(self.component) + bool(self.subcomponent)
        return 1 + bool(self.number) + bool(self.component)


@cache
def _content() -> dict[str, dict[str, Any]]:
    return msgspec.json.decode((_HERE / "grammar.json").read_bytes())  # type: ignore[no-any-return]


@cache
def elements(unit: str) -> Sequence[Element] | None:
    """Fields of a segment or components of a datatype; None when HL7 has neither."""
    content = _content()
    rows = content["segments"].get(unit) or content["datatypes"].get(unit)
    if rows is None:
        return () if unit in _SIMPLE else None
    return tuple(Element(number, row[0], row[1]) for number, row in enumerate(rows, 1))


@cache
def width(segment: str) -> int:
    """Number of places of a segment's view: its fields and its name; no bound for one that HL7 lacks, nor for
    QPD, whose last field stands for all that follow.
    """
    known = elements(segment)
    return len(known) + 1 if known and segment != "QPD" else 1 << 16


_SIMPLE = frozenset(["ST", "TX", "FT", "NM", "SI", "ID", "IS", "DT", "TM", "DTM", "GTS", "SNM"])


def is_segment(name: str) -> bool:
    """Whether HL7 defines a segment of that name."""
    return name in _content()["segments"]


def is_datatype(name: str) -> bool:
    """Whether HL7 defines a datatype of that name."""
    return name in _content()["datatypes"] or name in _SIMPLE


def structure(name: str) -> list[Any] | None:
    """The tree of a message structure as in grammar.json; None when it is not known."""
    return _content()["structures"].get(name)


@cache
def requires(name: str, segment: str) -> bool:
    """Whether a message structure has the segment, and every message of it must."""
    pending = list(structure(name) or ())
    for node, flags, *rest in pending:  # grows while it is gone through
        if node == segment and "!" in flags:
            return True
        pending.extend(rest[0] if rest else ())
    return False


@cache
def parse_source(text: str, unit: str) -> Source:
    """A source path as the tables of ``unit`` (a segment or datatype) write it. Raises SourceError.

    ``when`` operands of any table may name fields of other segments.
    """
    if not is_segment(unit) and is_datatype(unit):
        match = _COMPONENT.fullmatch(text)
        if match is not None and match[1] == unit:
            number, component = (int(part or 0) for part in match.groups()[1:])
            _check(unit, number, text)
            return Source(unit, False, number=number, component=component)
    match = _FIELD.fullmatch(text)
    if match is None:
        raise SourceError(f"{text!r} is not a source path")
    number, repetition, component, subcomponent = (int(part or 0) for part in match.groups()[1:])
    _check(match[1], number, text)
    return Source(match[1], True, number, repetition, component, subcomponent)


def _check(unit: str, number: int, text: str) -> None:
    if unit.startswith("Z"):
        return
    known = elements(unit)
    if known is None:
        raise SourceError(f"HL7 v2 has no {unit!r}")
    if number > max(len(known), 1):
        raise SourceError(f"{text!r}: {unit} ends at {len(known)}")
