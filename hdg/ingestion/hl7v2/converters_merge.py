"""Identity of what MRG names: the record, visit or account that was merged, changed or moved.

HL7 v2.9 §3.4.10. The facts are those that PID-3, PV1-19 and PID-18 give, so that the ids are those of the
records as they came in. What MRG says about an earlier record besides its number only fills gaps: it is no
full statement about it.
"""

from __future__ import annotations

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.identity import number_of, patient_facts, patient_number, scoped
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
