"""Identity of what MRG names: the record, visit or account that was merged, changed or moved.

HL7 v2.9 §3.4.10, §3.3.23 to §3.3.50. The facts are those that PID-3, PV1-19 and PID-18 give, so that the ids
are those of the records as they came in. What MRG says about an earlier record besides its number only fills
gaps: it is no full statement about it. What is linked (A24) or deleted (A23, A29) is named here too.
"""

from __future__ import annotations

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.identity import number_of, patient_facts, patient_number, scoped
from hdg.ingestion.hl7v2.segment import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Facts

_REQUIRED = "101"
"""HL7 table 0357: required field missing."""


def prior_patient_facts(state: State) -> tuple[str, ...]:
    """MRG-1 (else MRG-4, MRG-2) by the rule of PID-3. Raises Hl7v2Error: without it nothing can be merged."""
    found = patient_number(state, "MRG", 1, (4, 2))
    if found is None:
        raise Hl7v2Error("no usable prior patient identifier", "MRG-1", condition=_REQUIRED)
    return scoped(found, state)


def _fill_only(state: State, *elements: str) -> None:
    if state.build is not None:
        state.build.defaulted.update(dict.fromkeys(elements))


@CONVERTERS.register("identity.prior_patient", type="id")
def prior_patient(text: str, state: State) -> Facts:
    """The patient that MRG-1 names. Raises Hl7v2Error for none, and for the one that PID-3 names."""
    facts = prior_patient_facts(state)
    if facts == patient_facts(state):
        raise Hl7v2Error("a patient cannot be merged with itself", "MRG-1")
    _fill_only(state, "identifier", "name")
    return Facts(facts, is_thing=True)


@CONVERTERS.register("identity.prior_encounter", type="id")
def prior_encounter(text: str, state: State) -> Facts:
    """The prior patient's visit: MRG-5 (else PV1-19). Raises Hl7v2Error for none, and when nothing moves."""
    patient = prior_patient_facts(state)
    for name, field in (("MRG", 5), ("PV1", 19)):
        for raw in repetitions(state.field(name, field))[:1]:
            authority, number = number_of(raw, state)
            if number:
                if patient == patient_facts(state) and name == "PV1":
                    raise Hl7v2Error("the visit is moved from a patient to the same one", "MRG-1")
                _fill_only(state, "identifier", "status", "class")
                return Facts(("PV1-19", *patient, authority, number), is_thing=True)
    raise Hl7v2Error("no usable prior visit number", "MRG-5", condition=_REQUIRED)


@CONVERTERS.register("identity.prior_account", type="id")
def prior_account(text: str, state: State) -> Facts:
    """The prior patient's account: MRG-3."""
    patient = prior_patient_facts(state)
    for raw in repetitions(state.field("MRG", 3))[:1]:
        authority, number = number_of(raw, state)
        if number:
            _fill_only(state, "identifier", "status")
            return Facts((*patient, "PID-18", authority, number), is_thing=True)
    return state.unidentified()


# --- two numbers of one patient: A35, A36, A41, A42 -----------------------------------------------------------


def _numbers(state: State, name: str, field: int) -> set[tuple[str, str]]:
    return {found for raw in repetitions(state.field(name, field)) if (found := number_of(raw, state))[1]}


def _same_patient(state: State, other: str) -> tuple[str, ...]:
    """Facts of the message's patient. Raises Hl7v2Error when MRG-1 names another one: ``other`` says so."""
    prior = _numbers(state, "MRG", 1)
    if prior and prior.isdisjoint(_numbers(state, "PID", 3)):
        raise Hl7v2Error(f"MRG-1 names another patient than PID-3: {other}", "MRG-1")
    return patient_facts(state)


def _number(state: State, name: str, field: int) -> tuple[str, str]:
    """(authority, number) of a field. Raises Hl7v2Error without one."""
    for raw in repetitions(state.field(name, field))[:1]:
        found = number_of(raw, state)
        if found[1]:
            return found
    raise Hl7v2Error("no usable number", f"{name}-{field}", condition=_REQUIRED)


def _pair(state: State, prior: tuple[str, int], name: str, field: int) -> tuple[str, str]:
    """The number that is no longer used. Raises Hl7v2Error: one of the two is missing, or they are one."""
    old, new = (_number(state, *place) for place in (prior, (name, field)))
    if old == new:
        raise Hl7v2Error("a number cannot be merged with itself", f"{prior[0]}-{prior[1]}")
    return old


@CONVERTERS.register("identity.merged_account", type="id")
def merged_account(text: str, state: State) -> Facts:
    """The same patient's other account: MRG-3. Raises Hl7v2Error as ``_pair`` and ``_same_patient``."""
    patient = _same_patient(state, "merging accounts of two records is A36, moving one is A44")
    number = _pair(state, ("MRG", 3), "PID", 18)
    _fill_only(state, "identifier")
    return Facts((*patient, "PID-18", *number), is_thing=True)


@CONVERTERS.register("identity.account_of_merged", type="id")
def account_of_merged(text: str, state: State) -> Facts:
    """The account of the record that was merged: MRG-3 under MRG-1. Raises Hl7v2Error as ``_pair``."""
    number = _pair(state, ("MRG", 3), "PID", 18)
    _fill_only(state, "identifier")
    return Facts((*prior_patient_facts(state), "PID-18", *number), is_thing=True)


@CONVERTERS.register("identity.merged_encounter", type="id")
def merged_encounter(text: str, state: State) -> Facts:
    """The same patient's other visit: MRG-5. Raises Hl7v2Error as ``_pair`` and ``_same_patient``."""
    patient = _same_patient(state, "moving a visit is A45")
    number = _pair(state, ("MRG", 5), "PV1", 19)
    _fill_only(state, "identifier", "status", "class")
    return Facts(("PV1-19", *patient, *number), is_thing=True)


@CONVERTERS.register("identity.moved_account", type="id")
def moved_account(text: str, state: State) -> Facts:
    """The other patient's account: MRG-3 under MRG-1. Raises Hl7v2Error: none, or nothing moves."""
    patient = prior_patient_facts(state)
    if patient == patient_facts(state):
        raise Hl7v2Error("the account is moved from a patient to the same one", "MRG-1")
    number = _number(state, "MRG", 3)
    _fill_only(state, "identifier", "status")
    state.problem(
        "visits of the account stay with the earlier patient until A45 names them", code="incomplete"
    )
    return Facts((*patient, "PID-18", *number), is_thing=True)


# --- one number of a record or visit is changed, and it stays the same one: A46, A48, A51 ---------------------


@CONVERTERS.register("hl7v2.same_record", type="boolean")
def same_record(text: str, state: State) -> None:
    """Nothing. Raises Hl7v2Error when MRG-1 names another record, or PID none."""
    _same_patient(state, "a record under a new number is A47, a merge A40")
    if patient_number(state) is None:
        raise Hl7v2Error("no usable patient identifier", "PID-3", condition=_REQUIRED)


@CONVERTERS.register("hl7v2.same_visit", type="boolean")
def same_visit(text: str, state: State) -> None:
    """Nothing. Raises Hl7v2Error when MRG names another record or visit, or there is no PV1-19."""
    same_record(text, state)
    number = _number(state, "PV1", 19)
    prior = _numbers(state, "MRG", 5)
    if prior and number not in prior:
        raise Hl7v2Error("MRG-5 names another visit than PV1-19: a visit under a new number is A50", "MRG-5")


# --- a record under a new number, or attached to another person: A43 ------------------------------------------


def _has_moved(state: State) -> bool:
    """Whether the record itself got another number, so that there are two (HL7 v2.9 §3.3.43)."""
    prior = _numbers(state, "MRG", 1)
    if not prior:
        raise Hl7v2Error("no usable prior patient identifier", "MRG-1", condition=_REQUIRED)
    return prior.isdisjoint(_numbers(state, "PID", 3))


@CONVERTERS.register("identity.moved_patient", type="id")
def moved_patient(text: str, state: State) -> Facts:
    """The record of MRG-1; that of PID-3 when it kept its number. Raises Hl7v2Error without MRG-1."""
    facts = prior_patient_facts(state) if _has_moved(state) else patient_facts(state)
    _fill_only(state, "identifier", "name")
    return Facts(facts, is_thing=True)


@CONVERTERS.register("hl7v2.moved_away", type="boolean")
def moved_away(text: str, state: State) -> bool | None:
    """False (not active) for a record that has another number now."""
    return False if _has_moved(state) else None


def _reference(facts: tuple[str, ...], state: State) -> str:
    return f"Patient/{state.resource_id('Patient', Facts(facts, is_thing=True))}"


@CONVERTERS.register("hl7v2.moved_from", type="string")
def moved_from(text: str, state: State) -> str | None:
    """The record of MRG-1, when there are two."""
    return _reference(prior_patient_facts(state), state) if _has_moved(state) else None


@CONVERTERS.register("hl7v2.moved_to", type="string")
def moved_to(text: str, state: State) -> str | None:
    """The record of PID-3, when there are two."""
    return _reference(patient_facts(state), state) if _has_moved(state) else None


@CONVERTERS.register("hl7v2.link_replaces", type="code")
def link_replaces(text: str, state: State) -> str | None:
    """``replaces`` when there are two records."""
    return "replaces" if _has_moved(state) else None


@CONVERTERS.register("hl7v2.link_replaced_by", type="code")
def link_replaced_by(text: str, state: State) -> str | None:
    """``replaced-by`` when there are two records."""
    return "replaced-by" if _has_moved(state) else None


# --- two records that are linked and both stay: A24, A37 ------------------------------------------------------


def _facts_of(segment: Segment, state: State) -> tuple[str, ...]:
    """Facts of the patient of one of the message's PID segments."""
    here, state.segment = state.segment, segment
    try:
        found = patient_number(state)
    finally:
        state.segment = here
    if found is None:
        raise Hl7v2Error("no usable patient identifier", segment.place(3), condition=_REQUIRED)
    return scoped(found, state)


def _linked(state: State) -> list[tuple[str, ...]]:
    """Facts of the two patients. Raises Hl7v2Error unless there are exactly two."""
    found = [_facts_of(segment, state) for segment in state.message.all("PID")]
    if len(found) != 2 or found[0] == found[1]:
        raise Hl7v2Error("a link is between two records", "PID", condition=_REQUIRED)
    return found


@CONVERTERS.register("identity.linkage", type="id")
def linkage(text: str, state: State) -> Facts:
    """Both records, in an order of their own."""
    first, second = sorted(_linked(state))
    return Facts(("linkage", str(len(first)), *first, *second), is_thing=True)


@CONVERTERS.register("hl7v2.own_patient", type="string")
def own_patient(text: str, state: State) -> str:
    """The record of this PID."""
    return _reference(_facts_of(state.segment, state), state)


@CONVERTERS.register("hl7v2.linked_patient", type="string")
def linked_patient(text: str, state: State) -> str:
    """The record of the message's other PID."""
    own = _facts_of(state.segment, state)
    return next(_reference(facts, state) for facts in _linked(state) if facts != own)


# --- what is deleted: A23, A29 --------------------------------------------------------------------------------


@CONVERTERS.register("identity.deleted_encounter", type="id")
def deleted_encounter(text: str, state: State) -> Facts:
    """The visit of PV1-19. Raises Hl7v2Error without it: an event that deletes names what it deletes."""
    number = _number(state, "PV1", 19)
    _known_patient(state)
    _fill_only(state, "identifier", "class")
    return Facts(("PV1-19", *patient_facts(state), *number), is_thing=True)


def _known_patient(state: State) -> None:
    if patient_number(state) is None:
        raise Hl7v2Error("no usable patient identifier: nothing can be deleted", "PID-3", condition=_REQUIRED)


@CONVERTERS.register("identity.deleted_patient", type="id")
def deleted_patient(text: str, state: State) -> Facts:
    """PID-3. Raises Hl7v2Error without it."""
    _known_patient(state)
    return Facts(patient_facts(state), is_thing=True)
