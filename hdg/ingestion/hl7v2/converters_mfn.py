"""Named converters of the staff master file. HL7 v2.9 §15.4.6 (STF), §15.4.5 (PRA)."""

from __future__ import annotations

from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.identity import practitioner
from hdg.ingestion.hl7v2.primitives import plain
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Facts, JsonObject, Unfit

_NULL = '""'


def _staff(state: State) -> Facts:
    """STF-2 as the number of an XCN, an NPI first; else STF-1."""
    listed = [raw.split("^") for raw in repetitions(state.field("STF", 2)) if raw and raw != _NULL]
    listed.sort(key=lambda parts: part(parts, 5, state) != "NPI")
    for parts in listed:
        number, kind = part(parts, 1, state), part(parts, 5, state)
        if number:
            authority = parts[3] if len(parts) > 3 else ""
            found: Facts = practitioner(f"{number}^^^^^^^^{authority}^^^^{kind}", state)
            return found
    key = part(split(state.field("STF", 1)), 1, state)
    return Facts(("STF-1", state.sender.name, key), is_thing=True) if key else state.unidentified()


@CONVERTERS.register("identity.staff", type="id")
def staff(text: str, state: State) -> Facts:
    """The person of an STF: the same as the XCN with that number."""
    return _staff(state)


@CONVERTERS.register("identity.staff_role", type="id")
def staff_role(text: str, state: State) -> Facts:
    """The role of the person of an STF at the sender."""
    found = _staff(state)
    return Facts(("staff role", state.sender.name, *found.parts), is_thing=True, is_local=found.is_local)


@CONVERTERS.register("hl7v2.specialty", type="CodeableConcept")
def specialty(text: str, state: State) -> JsonObject | None:
    """SPD as text: the specialty, then board, certification and its date as sent."""
    parts = [plain(item, state) for item in text.split("^")]
    rest = ", ".join(item for item in parts[1:4] if item and item != _NULL)
    return {"text": f"{parts[0]} ({rest})" if rest else parts[0]} if parts[0] else None


@CONVERTERS.register("hl7v2.entry_without_record", type="code")
def entry_without_record(text: str, state: State) -> str | None:
    """Nothing: the Issue is that MFE has no STF, so that nobody was ended, deactivated or added. HL7 v2.9 §8.5.2."""
    raise Unfit(
        "an entry without STF: whom it means is not told, and nothing was done to it", code="incomplete"
    )


@CONVERTERS.register("hl7v2.file_replaced", type="code")
def file_replaced(text: str, state: State) -> str | None:
    """Nothing: the Issue is that MFI-3 = REP ends who is not in the new file. HL7 v2.9 §8.5.1.3."""
    raise Unfit(
        "the file takes the place of an earlier one: who is not in it any more stays active",
        code="incomplete",
    )
