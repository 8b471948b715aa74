"""Named converters of the ADT cancel events, documents, charges, referrals and problems.

HL7 v2.9 §3.3.13 (A13), §9.5 (TXA), §6.5.1 (FT1), §11.6 (RF1, PRD), §12.4 (PRB, GOL).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.converters import CONVERTERS, coded_text
from hdg.ingestion.hl7v2.encoding import repetitions, unescape
from hdg.ingestion.hl7v2.identity import entity_facts, organization, patient_facts, practitioner
from hdg.ingestion.hl7v2.primitives import date_time, decimal, instant, plain
from hdg.ingestion.hl7v2.segment import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Facts, Unfit

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@CONVERTERS.register("hl7v2.discharge_undone", type="Period")
def discharge_undone(text: str, state: State) -> None:
    """A cancelled discharge: the stored end and disposition go, unless the message gives them anew."""
    state.delete("period")
    state.delete("hospitalization")


_NULL = '""'
_TEXT = ("", "TX", "FT", "ST")
_FILES = ("ED", "RP")
_PARTS = (*_TEXT, *_FILES)


def fill_only(state: State, *elements: str) -> None:
    """These elements only fill a gap: a stored value stays."""
    if state.build is not None:
        state.build.defaulted.update(dict.fromkeys(elements))


def _withdrawn(element: str) -> Callable[[str, State], None]:
    def convert(text: str, state: State) -> None:
        state.delete(element)

    return convert


CONVERTERS.register("hl7v2.withdraw_clinical_status", type="CodeableConcept")(_withdrawn("clinicalStatus"))
CONVERTERS.register("hl7v2.withdraw_cancelation_reason", type="CodeableConcept")(
    _withdrawn("cancelationReason")
)


@CONVERTERS.register("hl7v2.unknown_action", type="string")
def unknown_action(text: str, state: State) -> str | None:
    """PRB-1, GOL-1: an action that table 0287 does not have. Raises Unfit: it may have been meant to end something."""
    raise Unfit("not an action of table 0287: what it asks for was not done, the rest is an update")


@CONVERTERS.register("hl7v2.unknown_transaction", type="string")
def unknown_transaction(text: str, state: State) -> str | None:
    """FT1-6: a type that table 0017 does not have. Raises Unfit: it may have been meant to take a charge back."""
    raise Unfit("not a type of table 0017: it was taken for a charge of which the status is not known")


@CONVERTERS.register("hl7v2.accepted_order", type="code", is_filling=True)
def accepted_order(text: str, state: State) -> str:
    """``active`` for an order that is accepted (ORC-1 = OK): it only fills a gap, and starts nothing again."""
    fill_only(state, "status")
    return "active"


@CONVERTERS.register("hl7v2.service_without_control", type="code")
def service_without_control(text: str, state: State) -> str | None:
    """Raises Unfit: an OBR of an order message has no ORC of its own. HL7 v2.9 §4.4.1 has one for each."""
    raise Unfit(
        "an OBR without an ORC of its own: what the ORC before it asks for was not done here",
        code="incomplete",
    )


@CONVERTERS.register("hl7v2.status_by_class", type="code", is_filling=True)
def status_by_class(text: str, state: State) -> str | None:
    """PV1-2 by the map ``encounter-status``, for events that do not say the status: it only fills a gap."""
    table = state.library.concept_map("encounter-status")
    found = table.translate(plain(text, state)) if table else None
    if found is not None:
        fill_only(state, "status")
    return found.code if found else None


def _value_type(segment: Segment) -> str:
    return segment.field(2).partition("^")[0].strip()


def _has_value(segment: Segment) -> bool:
    return segment.field(5).strip("~^& ") not in ("", _NULL)


def _text_lines(state: State) -> list[tuple[str, list[str]]]:
    """(heading, lines) of each OBX with text, in message order; worked out once per message."""
    found: list[tuple[str, list[str]]] | None = state.known.get("document text")
    if found is None:
        found = state.known["document text"] = []
        for segment in state.message.all("OBX"):
            if _value_type(segment) in _TEXT and _has_value(segment):
                heading = coded_text(segment.field(3), state) or ""
                lines = [_line(text, state) for text in segment.field(5).split("~") if text != _NULL]
                found.append((heading, lines))
    return found


def _line(text: str, state: State) -> str:
    """One repetition as it was typed: blanks at its start are layout, and senders leave ``^`` unescaped."""
    text = unescape(text, state.charset) if "\\" in text else text
    return _CONTROL.sub("", text).rstrip()


@CONVERTERS.register("hl7v2.document_text", type="base64Binary", takes="field")
def document_text(text: str, state: State) -> str | None:
    """OBX-5 of every OBX with text, joined in message order, as base64 of UTF-8.

    A line with the name of OBX-3 goes before each part when the parts have different names.
    """
    held: str | None = state.known.get("document data")
    if held is None:
        parts = _text_lines(state)
        has_headings = len({heading for heading, _ in parts}) > 1
        lines: list[str] = []
        before = ""
        for heading, own in parts:
            if has_headings and heading != before:
                lines += [*([""] if lines else []), heading]
                before = heading
            lines += own
        held = base64.b64encode("\n".join(lines).strip("\n").encode("utf-8")).decode("ascii")
        state.known["document data"] = held
    return held or None


@CONVERTERS.register("hl7v2.document_headings", type="string", takes="field")
def document_headings(text: str, state: State) -> str | None:
    """The names (OBX-3) of all parts of the text, each once."""
    return "; ".join(dict.fromkeys(heading for heading, _ in _text_lines(state) if heading)) or None


@CONVERTERS.register("hl7v2.document_absent", type="code")
def document_absent(text: str, state: State) -> str | None:
    """``unknown`` when no OBX carries any of the document: content is elsewhere, and R4 requires one."""
    for segment in state.message.all("OBX"):
        if _value_type(segment) in _PARTS and _has_value(segment):
            return None
    fill_only(state, "content")
    return "unknown"


@CONVERTERS.register("hl7v2.content_elsewhere", type="code")
def content_elsewhere(text: str, state: State) -> str:
    """``unknown`` for the content of a document that the message only names."""
    fill_only(state, "content")
    return "unknown"


def _document_facts(number: str, state: State) -> Facts | None:
    found = entity_facts(number, state)
    return Facts((*patient_facts(state), "TXA-12", *found)) if found else None


@CONVERTERS.register("identity.document", type="id")
def document(text: str, state: State) -> Facts:
    """TXA-12 (unique document number); the same number is the same document in all its events."""
    return _document_facts(state.segment.field(12), state) or state.unidentified()


@CONVERTERS.register("identity.parent_document", type="id")
def parent_document(text: str, state: State) -> Facts:
    """TXA-13 (parent document number), the TXA-12 of another document."""
    return _document_facts(state.segment.field(13), state) or state.unidentified("parent")


@CONVERTERS.register("hl7v2.parent_document_reference", type="string")
def parent_document_reference(text: str, state: State) -> str | None:
    """``DocumentReference/…`` of the document that a replacement (T09, T10) takes the place of."""
    facts = _document_facts(text, state)
    return f"DocumentReference/{state.resource_id('DocumentReference', facts)}" if facts else None


@CONVERTERS.register("hl7v2.known_instant", type="instant")
def known_instant(text: str, state: State) -> str | None:
    """A time as an instant when it is one; nothing otherwise (another row keeps it as a dateTime)."""
    try:
        return instant(text, state)
    except Unfit:
        return None


@CONVERTERS.register("hl7v2.other_date_time", type="dateTime")
def other_date_time(text: str, state: State) -> str | None:
    """A dateTime that is no instant; nothing when it is one."""
    return None if known_instant(text, state) else date_time(text, state)


@CONVERTERS.register("identity.charge", type="id")
def charge(text: str, state: State) -> Facts:
    """FT1-2: the sending system's own number of a transaction."""
    number = plain(state.segment.field(2), state)
    return (
        Facts((*patient_facts(state), "FT1-2", state.sender.name, number)) if number else state.unidentified()
    )


@CONVERTERS.register("identity.credit", type="id")
def credit(text: str, state: State) -> Facts:
    """FT1-2, when it was credited (FT1-4, FT1-5) and how much (FT1-10, FT1-11): a charge may have several."""
    number = plain(state.segment.field(2), state)
    if not number:
        return state.unidentified()
    what = (state.segment.field(at).strip() for at in (4, 5, 10, 11))
    return Facts((*patient_facts(state), "FT1-2 credit", state.sender.name, number, *what))


@CONVERTERS.register("hl7v2.credited", type="decimal")
def credited(text: str, state: State) -> Any:
    """An amount or a number that is taken back: below zero, with its digits, whichever sign is sent."""
    found = decimal(text, state)
    return found if found is None or found < 0 else -found


@CONVERTERS.register("identity.referral", type="id")
def referral(text: str, state: State) -> Facts:
    """RF1-6 (the originator's referral number), else the first RF1-11; with the patient."""
    for kind, number in (("RF1-6", 6), ("RF1-11", 11)):
        for raw in repetitions(state.segment.field(number))[:1]:
            found = entity_facts(raw, state)
            if found:
                return Facts((*patient_facts(state), kind, *found))
    return state.unidentified()


def _provider(state: State) -> Facts:
    """PRD-7 as the number of an XCN, an NPI first; else PRD-2, who is then nobody beyond this message."""
    listed = [split(raw) for raw in repetitions(state.segment.field(7)) if raw and raw != _NULL]
    listed.sort(key=lambda parts: part(split(parts[1]) if len(parts) > 1 else [], 1, state) != "NPI")
    for parts in listed:
        number = part(parts, 1, state)
        kind = part(parts[1].split("&"), 1, state) if len(parts) > 1 else ""
        if number:
            found: Facts = practitioner(f"{number}^^^^^^^^^^^^{kind}", state)
            return found
    name = next(iter(repetitions(state.segment.field(2))), "")
    nobody: Facts = practitioner(f"^{name}", state)
    return nobody


@CONVERTERS.register("identity.provider", type="id")
def provider(text: str, state: State) -> Facts:
    """The person of a PRD."""
    return _provider(state)


@CONVERTERS.register("identity.provider_role", type="id")
def provider_role(text: str, state: State) -> Facts:
    """The person of a PRD, the roles (PRD-1) and the organization (PRD-10)."""
    person = _provider(state)
    facility = next(iter(repetitions(state.segment.field(10))), "")
    place = organization(facility, state).parts if facility else ()
    role = state.segment.field(1)
    is_local = person.is_local and not place
    return Facts(("provider", *person.parts, role, "for", *place), is_thing=True, is_local=is_local)


def _instance(name: str, state: State) -> Facts:
    """A problem, goal or pathway: its own number, else the patient and what it is."""
    number, code = (3, 2) if name == "PTH" else (4, 3)
    found = entity_facts(state.segment.field(number), state)
    if found:
        return Facts((*patient_facts(state), f"{name}-{number}", *found))
    parts = split(state.segment.field(code))
    known = (part(parts, 1, state) or part(parts, 2, state), part(parts, 3, state))
    return Facts((*patient_facts(state), name, *known)) if known[0] else state.unidentified()


def _identity(name: str) -> Callable[[str, State], Facts]:
    def convert(text: str, state: State) -> Facts:
        return _instance(name, state)

    return convert


for _name, _what in (("PRB", "problem"), ("GOL", "goal"), ("PTH", "pathway")):
    CONVERTERS.register(f"identity.{_what}", type="id")(_identity(_name))


@CONVERTERS.register("hl7v2.whole_text", type="string")
def whole_text(text: str, state: State) -> str | None:
    """A composite as it was sent, for people to read."""
    return plain(text, state) or None
