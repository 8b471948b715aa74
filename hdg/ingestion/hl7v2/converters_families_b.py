"""Named converters of the tables for orders, specimen results, answers and medication.

HL7 v2.9 §4 (orders, pharmacy), §13.4.3 (SAC), §2.14.5 and §2.14.8 (ERR, MSA).
"""

from __future__ import annotations

from collections.abc import Callable

from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.converters import CONVERTERS, unit_text
from hdg.ingestion.hl7v2.identity import entity_facts, patient_facts
from hdg.ingestion.hl7v2.primitives import decimal, plain
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import to_date
from hdg.mapping.context import Facts, JsonObject, Unfit

_NULL = '""'


@CONVERTERS.register("hl7v2.structured_text", type="string", is_pure=True)
def structured_text(text: str, state: State) -> str | None:
    """An SN as it is read aloud: ``^1^:^10`` is ``1:10``."""
    return "".join(part(split(text), index, state) for index in (1, 2, 3, 4)) or None


def _index(name: str, field: int) -> Callable[[str, State], str | None]:
    """A SAC index with its name and, from the field after it, its unit."""

    def convert(text: str, state: State) -> str | None:
        value = plain(text, state)
        if not value:
            return None
        given = state.segment.field(field + 1)
        unit = unit_text(given, state) if given and given != _NULL else None
        return f"{name} {value} {unit}" if unit else f"{name} {value}"

    return convert


for _name, _field in (("Hemolysis", 32), ("Lipemia", 34), ("Icterus", 36), ("Fibrin", 38)):
    CONVERTERS.register(f"hl7v2.{_name.lower()}_index", type="string")(_index(f"{_name} index", _field))


def _place(parts: list[str]) -> str | None:
    """``PID-3[2].1`` for segment, its sequence, field, repetition, component, subcomponent."""
    segment, sequence, field, repetition, *rest = (*parts, *[""] * 6)[:6]
    if not segment:
        return None
    found = f"{segment}[{sequence}]" if sequence and sequence != "1" else segment
    if field:
        found += f"-{field}"
        found += f"[{repetition}]" if repetition and repetition != "1" else ""
        for number in rest:
            if not number:
                break
            found += f".{number}"
    return found


@CONVERTERS.register("hl7v2.error_location", type="string", is_pure=True)
def error_location(text: str, state: State) -> str | None:
    """An ERL as a place in the message that was refused."""
    parts = split(text)
    return _place([part(parts, number, state) for number in range(1, 7)])


@CONVERTERS.register("hl7v2.error_code_location", type="string", is_pure=True)
def error_code_location(text: str, state: State) -> str | None:
    """An ELD (before v2.5) as a place in the message that was refused."""
    parts = split(text)
    return _place([part(parts, number, state) for number in range(1, 4)])


_OCCURRENCE = {"RXG": (1, 2), "RXD": (1, 3, 7), "RXA": (1, 2, 3, 5)}
"""The fields that tell one dose or dispense of an order from the others."""


def _role(state: State) -> str:
    """What a medication resource tells of its order; RXO alone is the original order in any message."""
    label = state.build.label if state.build is not None else ""
    kind, _, name = label.partition(":")
    if not name and kind in ("MedicationRequest", "Medication") and state.find("RXE") is None:
        return f"{kind}:original"
    return label


@CONVERTERS.register("identity.medication_order", type="id")
def medication_order(text: str, state: State) -> Facts:
    """The order's number (ORC-2, else ORC-3), what is told of it (request, dispense …), and which dose."""
    role = _role(state)
    for field in (2, 3):
        number = entity_facts(state.field("ORC", field), state)
        if number is not None:
            segment = state.segment
            dose = tuple(segment.field(place) for place in _OCCURRENCE.get(segment.name, ()))
            return Facts((*patient_facts(state), "medication", role, str(field), *number, *dose))
    return state.unidentified(role)


@CONVERTERS.register("hl7v2.order_identifier", type="Identifier")
def order_identifier(text: str, state: State) -> JsonObject | None:
    """ORC-2, else ORC-3, of an order that is not in the message itself."""
    for field, kind in ((2, "PLAC"), (3, "FILL")):
        given = state.field("ORC", field).partition("~")[0]
        found: JsonObject | None = state.by_table("EI.Identifier", given) if given else None
        if found:
            system = state.systems.uri("v2-0203")
            return {**found, "type": {"coding": [{"system": system, "code": kind}]}}
    return None


@CONVERTERS.register("hl7v2.answer_of_nobody", type="code")
def answer_of_nobody(text: str, state: State) -> str | None:
    """Nothing: the Issue is that an answer (ORL, ORG, ORR) without PID makes no order of its own (hdg/answers.py).
    HL7 v2.9 §4.4.7.
    """
    raise Unfit(
        "an answer without PID: it is for the order that is known under its number",
        code="incomplete",
        severity="information",
    )


@CONVERTERS.register("hl7v2.order_confidentiality", type="Coding")
def order_confidentiality(text: str, state: State) -> JsonObject | None:
    """ORC-28 for what is told under the order."""
    given = state.field("ORC", 28).partition("~")[0]
    if not given or given == _NULL:
        return None
    found: JsonObject | None = state.by_table("CWE.Coding", given)
    return found or None


@CONVERTERS.register("hl7v2.administration_time_absent", type="code")
def administration_time_absent(text: str, state: State) -> str | None:
    """``unknown`` when neither RXA-3 nor RXA-4 is a time that can be read; R4 requires one."""
    for field in (3, 4):
        given = state.segment.field(field).partition("^")[0].strip()
        if given and given != _NULL:
            try:
                to_date(given)
            except Unfit:
                continue
            return None
    return "unknown"


@CONVERTERS.register("hl7v2.dose_in_words", type="string")
def dose_in_words(text: str, state: State) -> str | None:
    """RXE-3, RXO-2 where they hold words; a number has its own place."""
    try:
        decimal(text, state)
    except Unfit:
        return plain(text, state) or None
    return None


@CONVERTERS.register("hl7v2.further_route", type="CodeableConcept")
def further_route(text: str, state: State) -> JsonObject | None:
    """RXR-1 or RXR-2 of all but the first RXR of an order, dose or vaccination."""
    if state.group is None or state.group.first("RXR") is state.segment:
        return None
    return state.by_table("CWE.CodeableConcept", text)


def _by_word(text: str, state: State, name: str) -> str | None:
    """A code of the map ``name`` for a CWE: by its code and system, else by one of its words in any case.

    Raises Unfit for a value that the map has not.
    """
    table = state.library.concept_map(name)
    parts = split(text)
    words = [word.replace("_", " ") for number in (1, 2, 9) if (word := part(parts, number, state))]
    if table is None or not words or words == [_NULL]:
        return None
    system = state.named_system(text)
    for word in (words[0], words[0].casefold(), *map(str.casefold, words[1:])):
        found = table.translate(word, system) or table.translate(word, "")
        if found is not None:
            return found.code
    raise Unfit(f"the code is not in the map {name}", code="not-found")


@CONVERTERS.register("hl7v2.problem_confirmation", type="code")
def problem_confirmation(text: str, state: State) -> str | None:
    """PRB-13, which has no table of its own, by the map ``problem-confirmation``. HL7 v2.9 §12.4.2."""
    return _by_word(text, state, "problem-confirmation")


@CONVERTERS.register("hl7v2.refuted_status", type="CodeableConcept")
def refuted_status(text: str, state: State) -> JsonObject | None:
    """``inactive`` where PRB-13 refutes the problem; else nothing: the row's default fills the gap.

    R4 con-3 asks for a status of what is on the problem list and not entered in error; ``inactive`` is the one that
    says that there is no evidence of it (any more).
    """
    table = state.library.concept_map("problem-life-cycle")
    try:
        is_refuted = _by_word(state.segment.field(13), state, "problem-confirmation") == "refuted"
    except Unfit:  # PRB-13's own row reports it
        return None
    found = table.translate("inactive", "") if table is not None and is_refuted else None
    return {"coding": [found.coding()]} if found is not None else None


@CONVERTERS.register("hl7v2.problem_life_cycle", type="code")
def problem_life_cycle(text: str, state: State) -> str | None:
    """PRB-14 by the map ``problem-life-cycle``. HL7 v2.9 §12.4.2.

    One that the map has not takes the stored status away: what it says now is not that.
    """
    try:
        return _by_word(text, state, "problem-life-cycle")
    except Unfit:
        state.delete("clinicalStatus")
        raise
