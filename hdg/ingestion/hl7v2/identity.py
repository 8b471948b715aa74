"""What identifies each resource: facts that go into its deterministic id (DESIGN §3).

A converter here gives Facts; ``is_thing`` marks people, places and the like, whose statements are united.
Where a message lacks what would identify, the facts are the message and the place in it: two things are
never fused by a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hdg.ingestion.hl7v2.authority import authority_facts, part, split
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import SHARED_LENGTH, Facts

_RECORD_TYPES: Final = ("MR", "PI", "PT")
_CODE: Final = 3
_PATH: Final = 4
_TIME: Final = 14
_INSTANCE: Final = 21
"""Fields of OBX."""


def number_of(text: str, state: State) -> tuple[str, str]:
    """(authority, number) of a CX in a field."""
    if not text:
        return "", ""
    parts = text.split("^")
    return _authority(parts[3] if len(parts) > 3 else "", state), part(parts, 1, state)


def _authority(text: str, state: State) -> str:
    """What tells the authority of an HD component from others."""
    if not text:
        return ""
    key = ("authority facts", text)
    found: str | None = state.known.get(key)
    if found is None:
        # Without escapes the text says the same in every message of this sender.
        is_shared = state.shared is not None and "\\" not in text and len(text) <= SHARED_LENGTH
        found = state.shared.get(key) if is_shared and state.shared is not None else None
        if found is None:
            parts = text.split("&")
            mark = len(state.problems)
            names = [part(parts, number, state) for number in (1, 2, 3)]
            found = authority_facts(names[0], names[1], names[2], state)
            if is_shared and len(state.problems) == mark:
                state.keep(key, found)
        state.known[key] = found
    return found


def _entity(text: str, state: State) -> tuple[str, str]:
    """(authority, number) of an EI in a field or component."""
    if not text:
        return "", ""
    key = ("entity", text)
    found: tuple[str, str] | None = state.known.get(key)
    if found is None:
        parts = split(text)
        if len(parts) == 2 and "&" in parts[1]:  # an HD where EI has it flat: seen from many senders
            parts = [parts[0], *parts[1].split("&")]
        found = state.known[key] = (_issuer(parts[1:4], state), part(parts, 1, state))
    return found


def _issuer(parts: list[str], state: State) -> str:
    """What tells the authority of an EI (its components 2 to 4) from others."""
    key = ("issuer", *parts)
    shared = state.shared
    found: str | None = shared.get(key) if shared is not None else None
    if found is None:
        mark = len(state.problems)
        namespace, identifier, kind = (part(parts, number, state) for number in (1, 2, 3))
        found = authority_facts(namespace, identifier, kind, state)
        text = "^".join(parts)
        if len(state.problems) == mark and "\\" not in text and len(text) <= SHARED_LENGTH:
            state.keep(key, found)
    return found


def patient_number(
    state: State, name: str = "PID", field: int = 3, fallbacks: Sequence[int] = (2, 4)
) -> tuple[str, str] | None:
    """(authority, number) that identifies a patient, or None.

    Among repetitions: type MR, then PI, then PT, then the first with an authority, else the first with a
    number; the fallback fields (PID-2, PID-4) last.
    """
    listed = []
    for text in repetitions(state.field(name, field)):
        parts = text.split("^")
        authority = _authority(parts[3], state) if len(parts) > 3 else ""
        number = part(parts, 1, state)
        if number:
            listed.append((part(parts, 5, state), authority, number))
    for kind in _RECORD_TYPES:
        for found, authority, number in listed:
            if found == kind:
                return authority, number
    for _, authority, number in listed:
        if authority:
            return authority, number
    if listed:
        return listed[0][1:]
    for other in fallbacks:
        for text in repetitions(state.field(name, other)):
            authority, number = number_of(text, state)
            if number:
                return authority, number
    return None


def patient_facts(state: State) -> tuple[str, ...]:
    """Facts that stand for the message's patient inside other resources' facts."""
    key = ("patient", state.find("PID"))
    facts: tuple[str, ...] | None = state.known.get(key)
    if facts is None:
        found = patient_number(state)
        none = ("message", state.sender.name, state.message.control_id)
        facts = state.known[key] = none if found is None else scoped(found, state)
    return facts


def scoped(found: tuple[str, str], state: State) -> tuple[str, ...]:
    """A number without authority is the sending system's own."""
    authority, number = found
    return (authority, number) if authority else ("", state.sender.name, number)


def entity_facts(text: str, state: State) -> tuple[str, ...] | None:
    """What tells one EI from others; None without a number."""
    found = _entity(text, state)
    return scoped(found, state) if found[1] else None


@CONVERTERS.register("identity.patient", type="id")
def patient(text: str, state: State) -> Facts:
    """PID-3 by the rule of patient_number; none: this message's own patient, with a warning."""
    facts = patient_facts(state)
    if facts[0] == "message":
        state.problem(
            "no usable patient identifier: this message's patient is never linked to another", code="required"
        )
    return Facts(facts, is_thing=True)


@CONVERTERS.register("identity.encounter", type="id")
def encounter(text: str, state: State) -> Facts:
    """PV1-19 (visit number), else PID-18 (account), else the patient's stay that began at PV1-44."""
    for name, field in (("PV1", 19), ("PID", 18)):
        for raw in repetitions(state.field(name, field))[:1]:
            authority, number = number_of(raw, state)
            if number:
                return Facts((f"{name}-{field}", *patient_facts(state), authority, number), is_thing=True)
    began = state.field("PV1", 44)
    if began and began != '""':
        return Facts(("PV1-44", *patient_facts(state), part([began], 1, state)), is_thing=True)
    return state.unidentified()


def order_facts(state: State) -> tuple[str, ...]:
    """The order that something belongs to: filler number, else placer number, else its place."""
    key = ("order", state.find("OBR"), state.find("ORC"))
    facts: tuple[str, ...] | None = state.known.get(key)
    if facts is None:
        facts = state.known[key] = _order_facts(state)
    return facts


def _order_facts(state: State) -> tuple[str, ...]:
    for kind, places in (("filler", (("OBR", 3), ("ORC", 3))), ("placer", (("OBR", 2), ("ORC", 2)))):
        for name, field in places:
            authority, number = _entity(state.field(name, field), state)
            if number:
                service = part(state.field("OBR", 4).split("^"), 1, state)
                return (kind, *scoped((authority, number), state), service)
    header = state.find("OBR") or state.find("ORC")
    return ("message", state.sender.name, state.message.control_id, header.place() if header else "")


@CONVERTERS.register("identity.report", type="id")
def report(text: str, state: State) -> Facts:
    """The order (filler, else placer) and the service asked for (OBR-4)."""
    return Facts((*patient_facts(state), *order_facts(state)))


@CONVERTERS.register("identity.request", type="id")
def request(text: str, state: State) -> Facts:
    """The placer's order number, else the filler's, with the service."""
    key = ("request", state.find("OBR"), state.find("ORC"))
    found: Facts | None = state.known.get(key)
    if found is None:
        mark = len(state.problems)
        found = _request(state)
        is_named = key[1] is not None or key[2] is not None
        if is_named and len(state.problems) == mark:  # ORC and OBR ask for the one request that both make
            state.known[key] = found
    return found


def _request(state: State) -> Facts:
    for kind, places in (("placer", (("ORC", 2), ("OBR", 2))), ("filler", (("ORC", 3), ("OBR", 3)))):
        for name, field in places:
            authority, number = _entity(state.field(name, field), state)
            if number:
                service = part(state.field("OBR", 4).split("^"), 1, state)
                return Facts((*patient_facts(state), kind, *scoped((authority, number), state), service))
    return Facts((*patient_facts(state), *order_facts(state)))


@CONVERTERS.register("identity.observation", type="id")
def observation(text: str, state: State) -> Facts:
    """OBX-21 if given; else the order, what was observed (OBX-3, OBX-4), and when (OBX-14)."""
    fields = state.segment.fields
    size = len(fields)
    if size > _INSTANCE and fields[_INSTANCE] and fields[0] == "OBX":
        authority, number = _entity(fields[_INSTANCE], state)
        if number:
            return Facts(("OBX-21", *scoped((authority, number), state)))
    path, when = fields[_PATH] if size > _PATH else "", fields[_TIME] if size > _TIME else ""
    parts = (*_context(state), *_observed(fields[_CODE] if size > _CODE else "", state), path, when)
    return Facts(parts)


def _observed(text: str, state: State) -> tuple[str, str]:
    """(code or text, system) of what was observed."""
    key = ("observed", text)
    found: tuple[str, str] | None = state.shared.get(key) if state.shared is not None else None
    if found is None:
        parts = text.split("^", 3)
        found = (part(parts, 1, state) or part(parts, 2, state), part(parts, 3, state))
        if "\\" not in text and len(text) <= SHARED_LENGTH and not state.problems:
            state.keep(key, found)
    return found


def _context(state: State) -> tuple[str, ...]:
    """The patient and the order that an observation belongs to; without an order the visit."""
    group = state.group
    # An OBX that opens its group finds everything else around that group: work it out once per order.
    is_inner = group is not None and group.parent is not None and group.definition.opener == "OBX"
    key = ("context", group.parent if group is not None and is_inner else group)
    found: tuple[str, ...] | None = state.known.get(key)
    if found is None:
        has_order = state.find("OBR") is not None or state.find("ORC") is not None
        rest = order_facts(state) if has_order else _visit(state)
        found = state.known[key] = (*patient_facts(state), *rest)
    return found


def _visit(state: State) -> tuple[str, ...]:
    for raw in repetitions(state.field("PV1", 19))[:1]:
        return number_of(raw, state)
    return ("message", state.sender.name, state.message.control_id)


@CONVERTERS.register("identity.specimen", type="id")
def specimen(text: str, state: State) -> Facts:
    """SPM-2 (filler's, else placer's specimen id), else the order and the set id."""
    both = state.field("SPM", 2).split("^")
    for number in (2, 1):
        authority, found = _entity(both[number - 1], state) if number <= len(both) else ("", "")
        if found:
            return Facts((*patient_facts(state), "SPM-2", *scoped((authority, found), state)))
    return Facts((*patient_facts(state), *order_facts(state), state.segment.field(1), state.segment.field(4)))


def _coded(state: State, fields: Sequence[int]) -> tuple[str, ...]:
    """Code, system and text of the first of these fields that is valued."""
    for field in fields:
        parts = state.segment.field(field).split("^")
        found = tuple(part(parts, number, state) for number in (1, 2, 3))
        if any(found):
            return (found[0] or found[1], found[2])
    return ()


def _of_patient(state: State, name: str, fields: Sequence[int], dates: Sequence[int]) -> Facts:
    """Patient, code and dates; without a code the facts of last resort."""
    code = _coded(state, fields)
    if not code:
        return state.unidentified()
    when = tuple(state.segment.field(field) for field in dates)
    return Facts((*patient_facts(state), name, *code, *when))


@CONVERTERS.register("identity.condition", type="id")
def condition(text: str, state: State) -> Facts:
    """DG1-20 if given; else patient, stay, diagnosis (DG1-3, DG1-4), type (DG1-6) and date (DG1-5).

    The stay is known as an Encounter is; of one without any number the diagnosis is told by the rest alone, so
    that the same is not another one in each message.
    """
    name = state.segment.name
    authority, number = _entity(state.segment.field(20 if name == "DG1" else 4), state)
    if number and name == "DG1":
        return Facts((*patient_facts(state), "DG1-20", *scoped((authority, number), state)))
    found = _of_patient(state, name, (3, 4), (5, 6))
    return Facts((*found.parts, *_stay(state)), is_local=found.is_local) if state.find("PV1") else found


def _stay(state: State) -> tuple[str, ...]:
    """PV1-19, else PID-18, else PV1-44; empty: nothing that another message would say too."""
    for name, field in (("PV1", 19), ("PID", 18)):
        for raw in repetitions(state.field(name, field))[:1]:
            found = number_of(raw, state)
            if found[1]:
                return found if name == "PV1" else ("PID-18", *found)
    began = state.field("PV1", 44)
    return ("PV1-44", part([began], 1, state)) if began and began != '""' else ()


@CONVERTERS.register("identity.allergy", type="id")
def allergy(text: str, state: State) -> Facts:
    """AL1: patient and allergen (AL1-3). IAM: IAM-7 if given, else patient and allergen."""
    if state.segment.name == "IAM":
        authority, number = _entity(state.segment.field(7), state)
        if number:
            return Facts((*patient_facts(state), "IAM-7", *scoped((authority, number), state)))
    found = _coded(state, (3,))
    return Facts((*patient_facts(state), "allergy", *found)) if found else state.unidentified()


@CONVERTERS.register("identity.procedure", type="id")
def procedure(text: str, state: State) -> Facts:
    """PR1-19 if given; else patient, procedure (PR1-3) and time (PR1-5)."""
    authority, number = _entity(state.segment.field(19), state)
    if number:
        return Facts((*patient_facts(state), "PR1-19", *scoped((authority, number), state)))
    return _of_patient(state, "PR1", (3, 4), (5,))


@CONVERTERS.register("identity.immunization", type="id")
def immunization(text: str, state: State) -> Facts:
    """ORC-3 (filler) with the vaccine; else patient, vaccine (RXA-5), time (RXA-3), lot (RXA-15)."""
    vaccine = state.field("RXA", 5).split("^")
    code = (part(vaccine, 1, state) or part(vaccine, 2, state), part(vaccine, 3, state))
    authority, number = _entity(state.field("ORC", 3), state)
    if number:
        return Facts((*patient_facts(state), "ORC-3", *scoped((authority, number), state), *code))
    if not any(code):
        return state.unidentified()
    return Facts((*patient_facts(state), *code, state.field("RXA", 3), state.field("RXA", 15)))


@CONVERTERS.register("identity.coverage", type="id")
def coverage(text: str, state: State) -> Facts:
    """Patient, plan (IN1-2), company (IN1-3), group (IN1-8) and member or policy number (IN1-36, IN1-49)."""
    fields = tuple(state.field("IN1", field) for field in (2, 3, 8, 36, 49))
    if not any(fields):
        return state.unidentified()
    return Facts((*patient_facts(state), "IN1", *fields), is_thing=True)


@CONVERTERS.register("identity.related_person", type="id")
def related_person(text: str, state: State) -> Facts:
    """The patient, and the person's number (NK1-33, GT1-2, PID-21), or else name and relationship."""
    segment = state.segment
    numbers, name, relation = {
        "NK1": (33, 2, 3),
        "GT1": (2, 3, 11),
        "IN1": (49, 16, 17),
        "PID": (21, 6, 21),
    }.get(segment.name, (0, 2, 3))
    for raw in repetitions(segment.field(numbers))[:1] if numbers else ():
        found = number_of(raw, state)
        if found[1]:
            return Facts((*patient_facts(state), segment.name, *found), is_thing=True)
    person = segment.field(name)
    if not person.strip("^~&"):
        return state.unidentified()
    return Facts((*patient_facts(state), segment.name, person, segment.field(relation)), is_thing=True)


@CONVERTERS.register("identity.account", type="id")
def account(text: str, state: State) -> Facts:
    """PID-18."""
    for raw in repetitions(state.field("PID", 18))[:1]:
        authority, number = number_of(raw, state)
        if number:
            return Facts((*patient_facts(state), "PID-18", authority, number), is_thing=True)
    return state.unidentified()


@CONVERTERS.register("identity.message_header", type="id")
def message_header(text: str, state: State) -> Facts:
    """Sender and message control id (MSH-10); with the time (MSH-7), because control ids start over."""
    header = state.message.segments[0]
    return Facts(("MSH", state.sender.name, state.message.control_id, header.field(7)))


@CONVERTERS.register("identity.device", type="id")
def device(text: str, state: State) -> Facts:
    """An EI: authority and number. A segment (SFT …): its content."""
    if not text or text == state.segment.name:
        return Facts(("segment", state.sender.name, state.segment.text), is_thing=True)
    found = _entity(text, state)
    return Facts(("EI", *scoped(found, state)), is_thing=True) if found[1] else state.unidentified(text)


@CONVERTERS.register("identity.practitioner", type="id")
def practitioner(text: str, state: State) -> Facts:
    """XCN.1 with XCN.9, or CNN.1 with CNN.9; a name alone identifies nobody beyond this message."""
    parts = split(text)
    number = part(parts, 1, state)
    if not number:
        here = ("message", state.sender.name, state.message.control_id, text)
        return Facts(here, is_thing=True, is_local=True)
    if "^" not in text and len(parts) > 8:
        names = [part(parts, index, state) for index in (9, 10, 11)]
        authority = authority_facts(names[0], names[1], names[2], state)
        kind = ""
    else:
        kind = part(parts, 13, state)
        authority = _authority(parts[8] if len(parts) > 8 else "", state)
    if kind == "NPI":  # one issuer in the world, whoever sends it
        return Facts(("NPI", number), is_thing=True)
    return Facts((kind, *scoped((authority, number), state)), is_thing=True)


@CONVERTERS.register("identity.organization", type="id")
def organization(text: str, state: State) -> Facts:
    """XON.10 or XON.3 with XON.6; HD by its universal id; a name alone is the sending system's own."""
    parts = split(text)
    if len(parts) <= 3 and not (len(parts) == 3 and part(parts, 3, state).isdigit()):
        namespace, identifier, kind = (part(parts, number, state) for number in (1, 2, 3))
        facts = authority_facts(namespace, identifier, kind, state)
        own = () if identifier else (state.sender.name,)
        return Facts(("HD", *own, facts), is_thing=True)
    number = part(parts, 10, state) or part(parts, 3, state)
    if not number:
        return Facts(("name", state.sender.name, part(parts, 1, state)), is_thing=True)
    authority = _authority(parts[5] if len(parts) > 5 else "", state)
    return Facts(("XON", *scoped((authority, number), state)), is_thing=True)


@CONVERTERS.register("identity.coded_organization", type="id")
def coded_organization(text: str, state: State) -> Facts:
    """A CE or CWE that names an organization: code and coding system, else its text; the sending system's
    own.
    """
    parts = split(text)
    found = (part(parts, 1, state) or part(parts, 2, state), part(parts, 3, state))
    return Facts(("CWE", state.sender.name, *found), is_thing=True)


@CONVERTERS.register("identity.location", type="id")
def location(text: str, state: State) -> Facts:
    """All of HD or LA2 as sent: places are the sending system's own."""
    return Facts((state.sender.name, text.rstrip("^&")), is_thing=True)


@CONVERTERS.register("identity.place", type="id")
def place(text: str, state: State) -> Facts:
    """PL as sent, without what is only said of a place: the same bed is occupied today and free tomorrow."""
    return Facts((state.sender.name, _place(text)), is_thing=True)


def _place(text: str) -> str:
    """PL without PL.5 (status), PL.6 (type) and PL.9 (description), where a unit, room or bed is named."""
    parts = text.split("^")
    if len(parts) > 4 and any(each.strip('&"') for each in parts[:3]):
        parts[4:6] = ["", ""]
        parts[8:9] = [""]
    return "^".join(parts).rstrip("^&")


@CONVERTERS.register("identity.bed", type="id")
def bed(text: str, state: State) -> Facts:
    """NPU-1: the place that PV1-3 names with the same text."""
    place = state.segment.field(1).partition("~")[0]
    if place.strip('^&"'):
        return Facts((state.sender.name, _place(place)), is_thing=True)
    state.problem("a bed status without a bed: it is nobody's", code="required")
    return state.unidentified()


@CONVERTERS.register("identity.coded_location", type="id")
def coded_location(text: str, state: State) -> Facts:
    """A coded place: as sent."""
    return Facts((state.sender.name, text.rstrip("^&")), is_thing=True)
