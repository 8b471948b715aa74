"""Stores what a message states: every resource of a Converted, under its stamp, with its owner (DESIGN §3, §6).

What counts is decided by management/store/stale.py and merge.py; here a Converted is taken apart for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from hdg import retraction
from hdg.beside import Beside
from hdg.emptied import Emptied
from hdg.fhir.definitions import patient_compartment
from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.ready import Ready
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp

__all__ = ["SHARED_TYPES", "key_of", "store_statements"]

SHARED_TYPES = frozenset(
    {
        "Device",
        "DeviceMetric",
        "Endpoint",
        "Location",
        "Medication",
        "Organization",
        "Practitioner",
        "PractitionerRole",
        "Substance",
    }
)
"""Types that a message mentions but that are not about its patient: kept under the institution's key."""

_ABOUT_MESSAGE = frozenset({"MessageHeader", "Provenance"})

_WHOLE = SHARED_TYPES | _ABOUT_MESSAGE
"""Types of which a message says all that its lists hold: whose messages had a part in them is not kept by patient."""


def store_statements(
    session: WriteSession,
    converted: Converted,
    received_us: int,
    made: Sequence[JsonObject | Ready] | None = None,
    left: Emptied | None = None,
    beside: Beside | None = None,
) -> None:
    """Stores every statement of a message, under its stamp (management/store/stale.py).

    ``made``: the resources of ``converted``, made ready elsewhere; ``left``: of elements of which single fields
    were deleted; ``beside``: of those that other fields feed too.
    """
    source = converted.source
    deleted = _deleted(converted, left)
    gaps: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for default in converted.defaulted:
        gaps[default.resource_type, default.resource_id].append(default.element)
    stamp = Stamp.of(source.stated_us, received_us)
    resources: Sequence[JsonObject | Ready] = converted.resources if made is None else made
    keys = [key_of(resource) for resource in resources]
    session.prefetch(keys)
    is_several = sum([type_ == "Patient" for type_, _ in keys]) > 1
    for key, resource in zip(keys, resources, strict=True):
        if key in converted.deleted:
            retraction.delete(
                session, resource, sender=source.sender, institution=source.institution, stamp=stamp
            )
            continue
        if left is not None and key in left.values:
            resource = left.fill(key, resource.resource() if isinstance(resource, Ready) else resource)
        session.statement(
            resource,
            deleted.get(key, ()),
            sender=source.sender,
            institution=source.institution,
            patient=_owner(key, converted.patient_id, is_several=is_several),
            stamp=stamp,
            gaps=gaps.get(key, ()),
            is_move=key in converted.moved,
            fields=None if key[0] in _WHOLE else beside,
        )
    retraction.settle_links(session, keys)


def _deleted(converted: Converted, left: Emptied | None) -> dict[tuple[str, str], list[str]]:
    """The elements without a value, by resource."""
    deleted: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for deletion in converted.deletions:
        if not deletion.source:
            deleted[deletion.resource_type, deletion.resource_id].append(deletion.element)
    for key, elements in left.deleted.items() if left is not None else ():
        deleted[key] += elements
    return deleted


def key_of(resource: JsonObject | Ready) -> tuple[str, str]:
    """Type and id."""
    if isinstance(resource, Ready):
        return resource.type, resource.id
    return resource["resourceType"], resource["id"]


def _owner(key: tuple[str, str], patient: str | None, *, is_several: bool) -> str | None:
    """The patient that a resource is about: a Patient is about itself, also in another one's message.

    In a message about several patients (A24, A36, A40) the resources that can say themselves whose they are.
    """
    if key[0] in SHARED_TYPES:
        return None
    if key[0] == "Patient":
        return key[1]
    is_own = is_several and key[0] not in _ABOUT_MESSAGE and bool(patient_compartment(key[0]))
    return None if is_own else patient
