"""Orders as an answer tells them that does not say whose they are (ORL, ORG, ORR without PID). HL7 v2.9 §4.4.7.

No resource of their own comes of them: R4 asks for the subject of an order. The gateway says what they say of the
stored orders that bear their numbers (hdg/answers.py). What no order holds (specimens, observations, the drug of a
prescription, a ``""``) is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hdg.errors import Hl7v2Error, Issue, SourceError
from hdg.fhir.validate import refused
from hdg.ingestion.converted import JsonObject
from hdg.ingestion.hl7v2.groups import Grouped
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.repair import made_valid
from hdg.mapping.context import Build

__all__ = ["answers_of", "is_answer"]

_ANSWER: Final = "ServiceRequest:answer"
"""Label of an order that is answered without telling whose it is."""
_UNTOLD: Final = frozenset({"id", "intent", "resourceType", "subject"})
_SUBJECT: Final[JsonObject] = {"display": "not told"}
_DETAILS: Final = frozenset({"OBX", "RXO", "SAC", "SPM"})
_COMMENTS: Final = frozenset({"NTE", "PRT"})
_NOT_STORED: Final = (
    "an answer without PID: whose specimen, observation or medicine it is is not told; it was not stored"
)
_NOT_DELETED: Final = "a delete in an answer without PID was not carried out"


def is_answer(build: Build) -> bool:
    """Whether it is an order of which the message does not say whose it is."""
    return build.label == _ANSWER


def answers_of(builds: Sequence[Build], grouped: Grouped, state: State) -> tuple[JsonObject, ...]:
    """What answers without a patient tell of orders, without values that only fill a gap; Issues for the rest.

    ``builds``: those of which ``is_answer`` holds, linked. Raises Hl7v2Error: one cannot be made valid.
    """
    for segment, place in grouped.placed:
        group = next(iter(place.definition.path[-1:]), "")
        is_comment = segment.name in _COMMENTS and group.startswith("SPECIMEN")
        if segment.name in _DETAILS or is_comment:
            state.issues.append(Issue("warning", "not-supported", segment.place(), _NOT_STORED))
    held = {id(build) for build in builds}
    for null in state.nulls or ():
        if id(null.build) in held:
            places = map(null.segment.place, null.numbers)
            state.issues.extend(Issue("warning", "not-supported", place, _NOT_DELETED) for place in places)
    state.taken_back[:] = [one for one in state.taken_back if id(one.build) not in held]
    return tuple({build.id: _told(build, state) for build in builds}.values())


def _told(build: Build, state: State) -> JsonObject:
    whole = {**build.resource, "subject": _SUBJECT}
    whole.setdefault("status", "unknown")
    if refused([whole], None):
        try:
            made_valid(whole, state.issues, None)
        except SourceError as error:
            raise Hl7v2Error(error.text, error.place) from None
    return {
        name: value
        for name, value in whole.items()
        if name not in _UNTOLD and name in build.resource and name not in build.defaulted
    }
