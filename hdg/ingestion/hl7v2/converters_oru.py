"""Named converters of the ORU and VXU tables: what an observation takes from its order, comments, doses.

HL7 v2.5.1 §7.4 (OBR, OBX), §2.15.10 (NTE), §4.14.7 (RXA); CDC guide for immunization messaging 1.5.
"""

from __future__ import annotations

from typing import Final

from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.converters import CONVERTERS, coded_text
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.identity import organization, practitioner
from hdg.ingestion.hl7v2.nulls import TakenBack
from hdg.ingestion.hl7v2.primitives import date_time, plain
from hdg.ingestion.hl7v2.segment import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import to_date
from hdg.mapping.context import Choice, Facts, JsonObject, Unfit

_NULL: Final = '""'
_DOSE_MAX: Final = 2**31 - 1
_STATEMENT_DATES: Final = ("publicationDate", "presentationDate")
_ORDERS: Final = frozenset({"OML", "OMG", "ORM", "ORL", "ORG", "ORR"})
_EARLIER: Final = ("ORDER_PRIOR",)


def own_order(state: State) -> Segment | None:
    """The OBR that the segment at hand is a result of; None for an observation about the patient, and for
    what is told with an order: the order's times and section are not those of the answer.
    """
    group = state.group
    while group is not None:
        found = group.first("OBR")
        if found is not None:
            is_result = group.definition.path[-1:] == _EARLIER or _message_code(state) not in _ORDERS
            return found if is_result else None
        group = group.parent
    return None


@CONVERTERS.register("hl7v2.order_without_detail", type="code")
def order_without_detail(text: str, state: State) -> str | None:
    """Nothing: the Issue is that this resource is not what was ordered, which the number leads to (hdg/orders.py)."""
    raise Unfit(
        "an order control without OBR: it is for all that was ordered under this number",
        code="incomplete",
        severity="information",
    )


@CONVERTERS.register("hl7v2.new_order", type="code")
def new_order(text: str, state: State) -> None:
    """Nothing: what an earlier control had said of the order (ORC-1, and why: ORC-16) is taken back."""
    build = state.build
    if build is None:
        return
    state.taken_back.append(TakenBack(build, "extension", "ORC-1"))
    if state.segment.field(16):
        return
    if build.type == "ServiceRequest":
        state.taken_back.append(TakenBack(build, "extension", "ORC-16"))
    else:
        state.delete("statusReason")


@CONVERTERS.register("hl7v2.refused_control", type="code")
def refused_control(text: str, state: State) -> str | None:
    """Nothing: the Issue is that an order has the state of a request that came to nothing. Table 0119 (UC …)."""
    raise Unfit(
        "the control says that what was asked is not done: the order may still have the state of that request",
        code="incomplete",
    )


@CONVERTERS.register("hl7v2.contradicted_control", type="code")
def contradicted_control(text: str, state: State) -> str | None:
    """Nothing: the Issue is that ORC-1 ends an order which ORC-5 calls a running one. HL7 v2.9 §4.5.1.5."""
    raise Unfit("the control ends the order, and ORC-5 says that it goes on: ORC-5 counts", code="conflict")


def _message_code(state: State) -> str:
    return state.message.segments[0].field(9)[:3]


def _time(text: str, state: State) -> str | None:
    """A dateTime; a problem with it was reported where the OBR itself was read."""
    if text == _NULL:
        return None
    mark = len(state.problems)
    try:
        return date_time(text, state)
    except Unfit as problem:
        return problem.kept  # type: ignore[no-any-return]  # the date of a time that was cut, or None
    finally:
        del state.problems[mark:]


@CONVERTERS.register("hl7v2.order_effective")
def order_effective(text: str, state: State) -> Choice | None:
    """OBR-7, with OBR-8 as a Period, of the order that an OBX is under."""
    order = own_order(state)
    if order is None:
        return None
    start, end = _time(order.field(7), state), _time(order.field(8), state)
    if start and not end:
        return Choice("dateTime", start)
    period = {key: value for key, value in (("start", start), ("end", end)) if value}
    return Choice("Period", period) if period else None


@CONVERTERS.register("hl7v2.order_category", type="CodeableConcept")
def order_category(text: str, state: State) -> JsonObject | None:
    """The category that OBR-24 of the OBX's own order stands for, by the map ``observation-category``."""
    group = state.group
    # An OBX that opens its group is under the order around that group.
    if group is not None and group.definition.opener == "OBX" and "OBR" not in group.names:
        group = group.parent
    key = ("category", group)
    try:  # one for all results of the order, and never changed
        return state.known[key]  # type: ignore[no-any-return]  # what _category gave
    except KeyError:
        found = state.known[key] = _category(state)
        return found


def _category(state: State) -> JsonObject | None:
    order = own_order(state)
    if order is None or not order.field(24):
        return None
    table = state.library.concept_map("observation-category")
    section = part(split(order.field(24)), 1, state)
    known = table.translate(section, state.systems.uri("v2-0074")) if table and section else None
    found = {"coding": [known.coding()]} if known else None
    if found is not None and state.values is not None:
        state.values.trust(found)
    return found


@CONVERTERS.register("hl7v2.comment_text", type="markdown", takes="field")
def comment_text(text: str, state: State) -> str | None:
    """NTE-3 with all its repetitions, one line each."""
    lines = [plain(line, state) for line in repetitions(text) if line != _NULL]
    return "\n".join(lines).strip() or None


@CONVERTERS.register("hl7v2.occurrence_text", type="string")
def occurrence_text(text: str, state: State) -> str | None:
    """RXA-3 as text when it is no time, ``unknown`` when it is absent; nothing when it is a time."""
    given = state.field("RXA", 3).partition("^")[0].strip()
    if not given or given == _NULL:
        return "unknown"
    try:
        to_date(given)
    except Unfit:
        return plain(given, state) or "unknown"
    return None


@CONVERTERS.register("hl7v2.administration_note", type="string")
def administration_note(text: str, state: State) -> str | None:
    """RXA-9 as a note; nothing for a coded information source (NIP001), which has its own elements."""
    parts = split(text)
    sources = state.library.concept_map("primary-source")
    is_source = sources is not None and sources.translate(part(parts, 1, state), state.systems.uri("NIP001"))
    return None if is_source and part(parts, 3, state) in ("NIP001", "") else coded_text(text, state)


def _facts_beside(state: State) -> dict[str, Segment]:
    """OBX segments of the same RXA with the same OBX-4, by what they state (map ``immunization-fact``)."""
    segments, here = state.message.segments, state.segment
    first = last = here.position - 1
    while first > 0 and segments[first - 1].name in ("OBX", "NTE", "PRT"):
        first -= 1
    while last + 1 < len(segments) and segments[last + 1].name in ("OBX", "NTE", "PRT"):
        last += 1
    found: dict[str, Segment] = {}
    for segment in segments[first : last + 1]:
        if segment.name == "OBX" and segment.field(4) == here.field(4):
            found.setdefault(_fact(segment, state), segment)
    return found


def _fact(segment: Segment, state: State) -> str:
    """What an OBX states about an immunization; '' for anything else."""
    table = state.library.concept_map("immunization-fact")
    code = part(split(segment.field(3)), 1, state)
    target = table.translate(code, state.systems.uri("LN")) if table is not None else None
    return target.code if target is not None else ""


@CONVERTERS.register("hl7v2.education_document", type="Immunization.education")
def education_document(text: str, state: State) -> JsonObject | None:
    """An information statement: its type, with the publication and presentation dates of the same OBX-4.

    A vaccine type is one's only beside such a date, and where no document is named: it also says which vaccine a dose
    number is of.
    """
    facts = _facts_beside(state)
    is_named = _fact(state.segment, state) == "documentType"
    if not is_named and ("documentType" in facts or facts.keys().isdisjoint(_STATEMENT_DATES)):
        return None
    kind = coded_text(text, state)
    if kind is None:
        return None
    found: JsonObject = {"documentType": kind}
    for element in _STATEMENT_DATES:
        beside = facts.get(element)
        when = _time(beside.field(5), state) if beside is not None else None
        if when:
            found[element] = when
    return found


@CONVERTERS.register("hl7v2.protocol_applied", type="Immunization.protocolApplied")
def protocol_applied(text: str, state: State) -> JsonObject | None:
    """The dose number, with the vaccine and the number of doses in the series of the same OBX-4."""
    number = plain(text.partition("^")[0], state)
    if not number:
        return None
    facts = _facts_beside(state)
    kind = _first(facts.get("vaccineType"), (2, 1), state)
    doses = _first(facts.get("seriesDoses"), (1,), state)
    found = {"series": kind} if kind else {}
    found |= _dose("doseNumber", number)
    return found | _dose("seriesDoses", doses) if doses else found


def _first(segment: Segment | None, numbers: tuple[int, ...], state: State) -> str:
    """The first of these components of OBX-5 that is valued; '' without one."""
    parts = split(segment.field(5)) if segment is not None else []
    return next(filter(None, (part(parts, number, state) for number in numbers)), "")


def _dose(element: str, text: str) -> JsonObject:
    if text.isascii() and text.isdecimal() and 0 < int(text) <= _DOSE_MAX:
        return {f"{element}PositiveInt": int(text)}
    return {f"{element}String": text}


@CONVERTERS.register("identity.ordering_role", type="id")
def ordering_role(text: str, state: State) -> Facts:
    """Who ordered (ORC-12, else OBR-16) for which facility (ORC-21)."""
    people = repetitions(state.field("ORC", 12)) or repetitions(state.field("OBR", 16))
    person = practitioner(people[0], state).parts if people and people[0] else ()
    facilities = repetitions(state.field("ORC", 21))
    facility = organization(facilities[0], state).parts if facilities and facilities[0] else ()
    return Facts(("orderer", *person, "for", *facility), is_thing=True)
