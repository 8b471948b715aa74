"""Named converters of reports and of encapsulated documents. DICOM PS3.3 C.17, C.24."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hdg.ingestion.dicom import sr
from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.document import attachment
from hdg.ingestion.dicom.named import (
    NAMED,
    accession_request,
    filler_request,
    named,
    person,
    placer_request,
)
from hdg.ingestion.dicom.state import State
from hdg.ingestion.dicom.values import names_of, uid_of
from hdg.mapping.context import JsonObject, Several

__all__ = ["NAMED"]

_STUDY, _SERIES_SEQUENCE, _SOP_SEQUENCE, _SOP = 0x0020000D, 0x00081115, 0x00081199, 0x00081155
_HL7_ID = re.compile(r"([0-2](?:\.(?:0|[1-9]\d*))+)(?:\^(\S.*))?")


def _whole(name: str, make: Callable[[Dataset, State], Any]) -> None:
    def convert(hit: Dataset, state: State) -> Any:
        return make(hit, state)

    named(name)(convert)


_whole("dicom.document", attachment)
_whole("dicom.report_status", sr.report_status)
_whole("dicom.results", sr.results)
_whole("dicom.report_text", sr.report_text)
_whole("dicom.conclusion", sr.conclusion)
_whole("dicom.key_images", sr.key_images)


@named("dicom.observer")
def observer(hit: Dataset, state: State) -> JsonObject | None:
    """Verifying Observer or Author Observer: a person with an identification, or an institution by name."""
    state.mark(hit, 0x0040A084, 0x0040A027, 0x0040A030, 0x0040A075, 0x0040A123, 0x0040A088, 0x00080080)
    outer = state.dataset, state.tag
    for tag in (0x0040A075, 0x0040A123):
        name = hit.text(tag)
        if name and names_of(name):
            state.dataset, state.tag = hit, tag
            found: JsonObject | None = person(name, state)
            state.dataset, state.tag = outer
            return found
    place = hit.text(0x0040A027) or hit.text(0x00080080)
    return {"display": place} if place else None


@named("dicom.evidence")
def evidence(hit: Dataset, state: State) -> JsonObject | None:
    """A study that a report is about: the object's own, or another by its UID."""
    state.mark(hit, _STUDY, _SERIES_SEQUENCE)
    uid = hit.text(_STUDY)
    if not uid:
        return None
    if uid == state.header.study_uid:
        return state.reference("object.ImagingStudy", state.root)
    return {
        "type": "ImagingStudy",
        "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid_of(uid, state)}"},
    }


@named("dicom.request")
def request(hit: Dataset, state: State) -> Any:
    """Referenced Request Sequence: the order by its accession, placer and filler numbers."""
    outer = state.dataset, state.tag
    state.dataset = hit
    found = []
    for tag, make in (
        (0x00080050, accession_request),
        (0x00402016, placer_request),
        (0x00402017, filler_request),
    ):
        if hit.text(tag):
            found.append(make(hit.text(tag), state))
    state.dataset, state.tag = outer
    return Several(found) if found else None


def _sops(hit: Dataset) -> list[str]:
    found = [hit.text(_SOP)]
    for series in (hit, *hit.items(_SERIES_SEQUENCE)):
        found += [one.text(_SOP) for one in series.items(_SOP_SEQUENCE)]
    return [uid for uid in found if uid]


@named("dicom.predecessor")
def predecessor(hit: Dataset, state: State) -> Any:
    """Predecessor Documents: what this one was made from."""
    found = [
        {
            "code": "transforms",
            "target": {
                "type": "DocumentReference",
                "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid_of(uid, state)}"},
            },
        }
        for uid in _sops(hit)
    ]
    return Several(found) if found else None


@named("dicom.sop_reference")
def sop_reference(hit: Dataset, state: State) -> Any:
    """Objects, by their UIDs."""
    found = [
        {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid_of(uid, state)}"}}
        for uid in _sops(hit)
    ]
    return Several(found) if found else None


@named("dicom.hl7_identifier")
def hl7_identifier(hit: str, state: State) -> JsonObject:
    """HL7 Instance Identifier: root^extension of the CDA document within."""
    match = _HL7_ID.fullmatch(hit)
    if match is None:
        return {"value": hit}
    urn = state.systems.uri(match[1]) or f"urn:oid:{match[1]}"
    if match[2]:
        return {"system": urn, "value": match[2]}
    return {"system": "urn:ietf:rfc:3986", "value": f"urn:oid:{match[1]}"}
