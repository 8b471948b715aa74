"""A care record as a document: REPC_IN004014 (a record is sent) and QUPC_IN043200 (the answer to a query for one).

HL7 v3 Care Provision (REPC_MT004000, careProvisionEvent); IHE PCC-1 and PCC-10. Its statements are those of CDA, or
nearly: ``sourceOf`` is CDA's entryRelationship. So the record is read as a document without sections is.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from hdg.errors import Hl7v3Error
from hdg.ingestion.cda.xml import HL7
from hdg.ingestion.hl7v3.message import REGISTERED, Message, below

__all__ = ["CARE_RECORDS", "record_in"]

CARE_RECORDS = ("REPC_IN004014", "QUPC_IN043200")
_WAY = ("controlActProcess", "subject", "registrationEvent")
_REMOVING = frozenset(("D", "R"))
"""HL7 v3 UpdateMode: remove, replace."""
_WITHDRAWN = frozenset(("nullified", "obsolete", "cancelled", "aborted"))
_PARTS = ("author", "informant")


def record_in(message: Message) -> bytes:
    """The record as a CDA document. Raises Hl7v3Error unless the message holds one of one patient."""
    root: Any = message.tree.as_written(message.root)
    events = list(below(root, *_WAY))
    for event in events:
        for status in below(event, "statusCode"):
            if status.get("code", "").lower() not in REGISTERED:
                text = "a registration that is not active is not supported"
                raise Hl7v3Error(text, "/".join((*_WAY, "statusCode")))
    records = [one for event in events for one in below(event, "subject2", "careProvisionEvent")]
    for record in records:
        if any(one.get("updateMode") in _REMOVING for one in record.iter()):
            raise Hl7v3Error(
                "a care record that takes something back is not supported", "controlActProcess/subject"
            )
        for status in below(record, "statusCode"):
            if status.get("code", "").lower() in _WITHDRAWN:
                raise Hl7v3Error(
                    "a care record that was withdrawn is not supported", "controlActProcess/subject"
                )
    patients = [one for record in records for one in below(record, "recordTarget", "patient")]
    if not records or len(patients) != len(records):
        raise Hl7v3Error("the message holds no care record with its patient", "controlActProcess/subject")
    if len({_numbers(one) for one in patients}) > 1 or not _numbers(patients[0]):
        raise Hl7v3Error("the care records are not of one numbered patient", "controlActProcess/subject")
    return _document(root, message, events, records, patients[0])


def _numbers(patient: Any) -> frozenset[tuple[str, str]]:
    return frozenset(
        (one.get("root", ""), one.get("extension", "")) for one in below(patient, "id") if one.get("root")
    )


def _document(root: Any, message: Message, events: list[Any], records: list[Any], patient: Any) -> bytes:
    made: Any = etree.Element(f"{HL7}ClinicalDocument", nsmap=records[0].nsmap)
    _take(made, below(root, "id"))
    code: Any = next(below(records[0], "code"), None)
    if code is None:
        etree.SubElement(made, f"{HL7}code", nullFlavor="UNK")
    _take(made, [code] if code is not None else [])
    etree.SubElement(made, f"{HL7}title").text = "Care record"
    for time in list(below(root, "creationTime"))[:1]:
        time.tag = f"{HL7}effectiveTime"
        made.append(time)
    _target(made, patient)
    for name in _PARTS:
        _take(made, [one for record in records for one in below(record, name)])
    _custodian(made, events)
    section: Any = made
    for name in ("component", "structuredBody", "component", "section"):
        section = etree.SubElement(section, f"{HL7}{name}")
    for record in records:
        for held in below(record, "pertinentInformation3"):
            held.tag = f"{HL7}entry"
            section.append(held)
        for rest in record:
            if rest.tag not in _READ:
                section.append(rest)  # read by no table, so that it is named as lost
    for one in made.iter(f"{HL7}sourceOf"):
        one.tag = f"{HL7}entryRelationship"
    found: bytes = etree.tostring(made, encoding="UTF-8", with_tail=False)
    return found


_READ = frozenset(
    f"{HL7}{name}"
    for name in ("id", "code", "statusCode", "recordTarget", "templateId", "realmCode", "typeId")
)


def _take(made: Any, parts: Any) -> None:
    for one in list(parts):
        made.append(one)


def _target(made: Any, patient: Any) -> None:
    """patient and patientPerson of the registry are patientRole and patient of a document."""
    target = etree.SubElement(made, f"{HL7}recordTarget")
    patient.tag = f"{HL7}patientRole"
    for person in below(patient, "patientPerson"):
        person.tag = f"{HL7}patient"
        for part in list(person):
            if part.tag in (f"{HL7}addr", f"{HL7}telecom"):
                patient.insert(list(patient).index(person), part)
    target.append(patient)


def _custodian(made: Any, events: list[Any]) -> None:
    for entity in (one for event in events for one in below(event, "custodian", "assignedEntity")):
        keeper = etree.SubElement(made, f"{HL7}custodian")
        assigned = etree.SubElement(keeper, f"{HL7}assignedCustodian")
        organization = etree.SubElement(assigned, f"{HL7}representedCustodianOrganization")
        named = list(below(entity, "assignedOrganization")) or list(below(entity, "representedOrganization"))
        _take(organization, below(entity, "id"))
        _take(organization, [part for one in named for part in below(one, "name")])
        return
