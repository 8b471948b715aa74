"""All of a patient that a caller may see, for a document: the patient, the members of the compartment, what they name.

One read, like $everything (R4 patient-operation-everything.html), and then those that the named ones name in turn: the
person and the place of a role, the maker of a medication.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hdg.errors import BadRequest
from hdg.fhir import definitions, json
from hdg.management.store import Reader, StoredVersion
from hdg.management.store.everything import Everything, shared_names
from hdg.management.store.prepared import Prepared

__all__ = ["RECORD_MAX", "gathered"]

RECORD_MAX = 10_000
"""Resources in one document. One that is cut short would say less than the record does, so more is refused."""
_NAMED = (
    "Device",
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
)


def gathered(
    reader: Reader, focus: StoredVersion, types: Sequence[str], visible_to: Prepared
) -> list[StoredVersion]:
    """The Patient ``focus``, then the members of its compartment of ``types``, then what they name.

    Raises BadRequest when there are too many.
    """
    asked = Everything("Patient", focus.id, tuple(dict.fromkeys((*types, *_NAMED))), count=RECORD_MAX)
    page = reader.everything(asked, visible_to.predicate)
    if page.next_cursor or len(page.included) > RECORD_MAX:
        raise BadRequest(f"the document would hold more than {RECORD_MAX} resources", code="too-costly")
    found = {(one.type, one.id): one for one in (focus, *page.versions, *page.included)}
    contents: list[dict[str, Any]] = [json.loads(reader.body(one)) for one in page.included]
    for type_, id_ in shared_names(contents):
        if (type_, id_) not in found and type_ in _NAMED and not definitions.patient_compartment(type_):
            one = reader.read(type_, id_, visible_to)
            if one is not None and not one.deleted:
                found[type_, id_] = one
    return list(found.values())
