"""What a document said that another one has replaced: it is in force no longer, unless something else says it too.

CDA R2 §4.2.2 (relatedDocument, RPLC): the parent document is superseded as a whole. R4 has a word for a statement that
is not to be counted, ``entered-in-error``: the resource stays, with all that is in it and its history. Who says what is
read off the Provenance of each input, so the order in which the documents come does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hdg.fhir.times import microseconds, moment
from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.merge import IDENTITY
from hdg.management.store.replaced import is_replaced
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp

__all__ = ["ERROR", "restore", "withdraw"]

ERROR: Final = "entered-in-error"
_CLINICAL: Final = "clinicalStatus"
"""Not beside ``entered-in-error`` (R4 con-5, ait-2)."""
_VERIFIED: Final = {
    "AllergyIntolerance": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
    "Condition": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
}
_STATUS: Final = {
    "Goal": "lifecycleStatus",
    **dict.fromkeys(
        (
            "Appointment",
            "CarePlan",
            "CareTeam",
            "Communication",
            "Consent",
            "Coverage",
            "DeviceRequest",
            "DeviceUseStatement",
            "DiagnosticReport",
            "Encounter",
            "FamilyMemberHistory",
            "Immunization",
            "Media",
            "MedicationAdministration",
            "MedicationDispense",
            "MedicationRequest",
            "MedicationStatement",
            "Observation",
            "Procedure",
            "RiskAssessment",
            "ServiceRequest",
            "Specimen",
            "SupplyDelivery",
            "SupplyRequest",
        ),
        "status",
    ),
}
"""The element of a clinical statement that takes ``entered-in-error``; persons and places are only mentioned."""
_SECOND_US: Final = 1_000_000
_BY: Final = "replaced document"
"""Who withdraws, among those who state something."""


@dataclass(frozen=True, slots=True)
class _Told:
    """One Provenance: the digest of its input, when that was stated (µs), what it says (``Type/id``)."""

    sha256: str
    recorded_us: int
    targets: frozenset[str]

    def documents(self) -> list[str]:
        """Ids of the documents among them."""
        kind = "DocumentReference/"
        return [target.removeprefix(kind) for target in self.targets if target.startswith(kind)]


def restore(session: WriteSession, converted: Converted, received_us: int) -> None:
    """What was withdrawn with a replaced document holds when an older one that stands says it too, but comes later."""
    for resource in converted.resources:
        type_, id_ = resource["resourceType"], resource["id"]
        name = _element(type_)
        if name is None or _is_error(resource, name):
            continue
        held = session.content(type_, id_)
        if held is None or not _is_error(held, name):
            continue
        stamp, by = session.stated(type_, id_)[name]
        if by != _BY:
            continue
        session.statement(
            {key: value for key, value in resource.items() if key in (*IDENTITY, name, _CLINICAL)},
            sender=converted.source.sender,
            institution=converted.source.institution,
            patient=converted.patient_id,
            stamp=Stamp(stamp.stated_us, max(received_us, stamp.received_us)),
        )


def _element(type_: str) -> str | None:
    return "verificationStatus" if type_ in _VERIFIED else _STATUS.get(type_)


def _is_error(resource: JsonObject, name: str) -> bool:
    value = resource.get(name)
    if isinstance(value, dict):
        return any(coding.get("code") == ERROR for coding in value.get("coding", ()))
    return bool(value == ERROR)


def withdraw(session: WriteSession, subject: str, received_us: int, institution: str) -> bool:
    """Makes ``entered-in-error`` what only replaced documents about ``subject`` (Patient/ID) say; whether that is news.

    To be called when a document was stored that replaces another one, or was replaced.
    """
    told = list(_told(session, subject.partition("/")[2]))
    gone = {one.sha256 for one in told if any(is_replaced(session, id_, subject) for id_ in one.documents())}
    standing = frozenset[str]().union(*(one.targets for one in told if one.sha256 not in gone))
    is_news = False
    over = [one for one in told if one.sha256 in gone]
    for target in sorted(frozenset[str]().union(*(one.targets for one in over)) - standing):
        stated_us = max(one.recorded_us for one in over if target in one.targets)
        stamp = Stamp.of(
            stated_us + _SECOND_US, received_us
        )  # after the last of them, before all that is newer
        is_news |= _withdraw(session, target, subject, stamp, institution)
    return is_news


def _told(session: WriteSession, patient: str) -> Iterator[_Told]:
    for key in session.about(("Provenance",), (patient,)):
        found = session.content(*key)
        if found is None:
            continue
        digests = [
            entity["what"].get("identifier", {}).get("value", "") for entity in found.get("entity", ())
        ]
        targets = frozenset(one["reference"] for one in found["target"] if "reference" in one)
        yield _Told("".join(digests[:1]), microseconds(moment(found["recorded"])), targets)


def _withdraw(session: WriteSession, target: str, subject: str, stamp: Stamp, institution: str) -> bool:
    type_, _, id_ = target.partition("/")
    held = session.content(type_, id_)
    if held is None:
        return False
    name = _element(type_)
    if name is None:
        return False
    statement: JsonObject = {"resourceType": type_, "id": id_, name: ERROR}
    deletions: tuple[str, ...] = ()
    if type_ in _VERIFIED:
        statement[name] = {"coding": [{"system": _VERIFIED[type_], "code": ERROR}]}
        deletions = (_CLINICAL,)
    put = session.statement(
        statement,
        deletions,
        sender=_BY,
        institution=institution,
        patient=subject.partition("/")[2],
        stamp=stamp,
    )
    return put.is_changed
