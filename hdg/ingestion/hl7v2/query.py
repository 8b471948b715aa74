"""The question of an immunization history query: QBP^Q11 of profile Z34. Pure.

HL7 v2.9 §5.4.1 (QBP), §5.5.4 (QPD), §5.5.6 (RCP); CDC HL7 v2.5.1 Implementation Guide for Immunization
Messaging, release 1.5, chapter 6 (Request a Complete Immunization History). What is answered: hdg/query_answer.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.ack import read_header
from hdg.ingestion.hl7v2.authority import declared_uri, uri_among
from hdg.ingestion.hl7v2.encoding import component, repetitions, subcomponent, unescape
from hdg.ingestion.hl7v2.parser import Message
from hdg.terminology.systems import registry

__all__ = ["HISTORY", "Asked", "Number", "echo", "is_query", "read"]

HISTORY = "Z34"
"""The profile that is answered: request an immunization history."""
LIMIT = 10
"""Candidates that are listed when RCP-2 does not say; it may ask for fewer."""
_DATE = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2})(?:\d{2}){0,3}(?:\.\d+)?(?:[+-]\d{4})?)?)?", re.ASCII)
_WHOLE_DATE = 10
_REQUIRED, _DATA, _TABLE = "101", "102", "103"
"""HL7 table 0357."""
_SEXES = {"F": "female", "M": "male", "O": "other"}


@dataclass(frozen=True, slots=True)
class Number:
    """A patient number: its system ('' when no URI is known for the authority), the authority's name, value."""

    system: str
    authority: str
    value: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What QPD and RCP ask. ``birth_date`` as FHIR date, perhaps a month or a year; '' where nothing is said. Texts are
    unescaped.

    ``parameters``: QPD as received, in standard delimiters, for the answer to echo.
    """

    parameters: str
    tag: str
    name: str
    numbers: tuple[Number, ...]
    family: str
    given: str
    birth_date: str
    gender: str
    limit: int

    @property
    def is_named(self) -> bool:
        """Whether a name and a whole date of birth tell whom it is about."""
        return bool(self.family) and len(self.birth_date) == _WHOLE_DATE


def is_query(raw: bytes) -> bool:
    """Whether a message is a QBP^Q11. Never raises; a look at the first bytes tells for most."""
    if b"QBP" not in raw[:1024]:
        return False
    header = read_header(raw)
    kind = header.field(9).split(header.delimiters.component)
    return kind[:2] == ["QBP", "Q11"]


def read(message: Message, authorities: Mapping[str, str]) -> Asked:
    """The question. ``authorities``: those that the sender declares. Raises Hl7v2Error (AE)."""
    qpd = message.first("QPD")
    if qpd is None:
        raise Hl7v2Error("a query needs a QPD", "QPD", condition="100")
    name = qpd.field(1)
    if not name:
        raise Hl7v2Error("a query needs a name", "QPD-1", condition=_REQUIRED)
    if component(name, 1) != HISTORY:
        why = "only Z34 is answered: an immunization history, without evaluation or forecast"
        raise Hl7v2Error(why, "QPD-1", condition=_TABLE)
    if not qpd.field(2):
        raise Hl7v2Error("a query needs a tag", "QPD-2", condition=_REQUIRED)

    def text(raw: str) -> str:
        return "" if raw == '""' else unescape(raw, message.charset).strip()

    person = qpd.field(4).partition("~")[0]
    found = tuple(filter(None, (_number(raw, authorities, text) for raw in repetitions(qpd.field(3)))))
    asked = Asked(
        qpd.text,
        qpd.field(2),
        name,
        found,
        text(subcomponent(component(person, 1), 1)),
        text(component(person, 2)),
        _date(qpd.field(6)),
        _SEXES.get(qpd.field(7), ""),
        _limit(message),
    )
    if not asked.is_named and not any(number.system for number in asked.numbers):
        why = "a query needs a patient number with an authority that has a system, or a name and a date of birth"
        raise Hl7v2Error(why, "QPD-3", condition=_REQUIRED)
    return asked


def _number(raw: str, authorities: Mapping[str, str], text: Callable[[str], str]) -> Number | None:
    value = text(component(raw, 1))
    if not value:
        return None
    authority = component(raw, 4)
    namespace, identifier, kind = (text(subcomponent(authority, number)) for number in (1, 2, 3))
    system = declared_uri(namespace, identifier, authorities) or uri_among(identifier, kind, registry())
    return Number(system or "", namespace or identifier, value)


def echo(message: Message) -> Asked | None:
    """A question that is not answered, for the answer to echo; None without a QPD."""
    qpd = message.first("QPD")
    return None if qpd is None else Asked(qpd.text, qpd.field(2), qpd.field(1), (), "", "", "", "", LIMIT)


def _date(raw: str) -> str:
    """A day, a month or a year. Raises Hl7v2Error."""
    raw = raw.strip()
    if raw in ("", '""'):
        return ""
    found = _DATE.fullmatch(raw)
    parts = [part for part in found.groups() if part] if found else []
    try:
        date(*map(int, (*parts, "1", "1")[:3]))
    except (TypeError, ValueError):
        raise Hl7v2Error("not a date", "QPD-6", condition=_DATA) from None
    return "-".join(parts)


def _limit(message: Message) -> int:
    rcp = message.first("RCP")
    quantity = component(rcp.field(2), 1) if rcp is not None else ""
    return (
        min(int(quantity), LIMIT)
        if quantity.isdecimal() and 0 < len(quantity) < 6 and int(quantity)
        else LIMIT
    )
