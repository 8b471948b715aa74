"""A record of a patient in whose place another one stands is in no use, until it stands in that one's place again.

R4 Patient.link: ``replaced-by`` at the record that was merged, ``replaces`` at the one that stays; Patient.active.
A sender that has not heard of a merge goes on saying that the earlier record is active, and a merge may come late.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hdg.ingestion.converted import JsonObject
from hdg.management.store.session import WriteSession

__all__ = ["is_back", "is_survivor", "kept_out", "settle"]


def is_survivor(resource: JsonObject) -> bool:
    """Whether it is a Patient in whose record another one's was merged, as an input says."""
    return resource["resourceType"] == "Patient" and bool(_others(resource, "replaces"))


def is_back(asked: JsonObject, stored: JsonObject) -> bool:
    """Whether a record that was replaced now replaces the one that had taken its place: it is in use again."""
    if stored.get("active") is not False:
        return False
    return not _others(asked, "replaces").isdisjoint(_others(stored, "replaced-by"))


def kept_out(session: WriteSession, patient: JsonObject, survivors: Collection[str]) -> JsonObject:
    """A Patient that an input states, without its word that a record is in use which was merged.

    ``survivors``: ids of the records into which this input merges others.
    """
    if patient.get("active") is not True or patient["id"] in survivors:
        return patient
    known = session.content("Patient", patient["id"])
    if known is None or not _others(known, "replaced-by"):
        return patient
    return {name: value for name, value in patient.items() if name != "active"}


def settle(session: WriteSession, resources: Iterable[JsonObject], survivors: Collection[str]) -> None:
    """Takes out of use those of an input's Patients that were merged, also when their merge came late."""
    for resource in resources:
        if resource["resourceType"] != "Patient" or resource["id"] in survivors:
            continue
        patient = session.current("Patient", resource["id"])
        if patient is not None and patient.get("active") is True and _others(patient, "replaced-by"):
            session.amend({**patient, "active": False})


def _others(patient: JsonObject, kind: str) -> set[str]:
    """The records that links of a kind name."""
    return {link["other"].get("reference", "") for link in patient.get("link", ()) if link["type"] == kind}
