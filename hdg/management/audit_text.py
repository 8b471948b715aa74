"""AuditEvents as they are kept: what all of them say alike is one byte, so that an event takes a fifth of the room.

A search of fifty patients' results leaves fifty events of 1.9 kB. Their JSON (R4 auditevent.html) has no control
characters, which JSON escapes (RFC 8259 §7), so these stand for the phrases. What is kept begins with the byte of its
list of phrases; a list never changes, since what was kept with it must be read for ever. A body that does not begin
with such a byte is the event itself, as all were kept once.
"""

from __future__ import annotations

import re

__all__ = ["shortened", "whole"]

_LIST_1 = b"\x01"
_TERMS = b"http://terminology.hl7.org/CodeSystem/"
_DICOM = b'{"type":{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":'
_SOURCE = _DICOM + b'"110153","display":"Source Role ID"}]},"who":{"display":"'
_TARGET = _DICOM + b'"110152","display":"Destination Role ID"}]},"who":{"display":"'
_PERSON = b'"type":{"system":"' + _TERMS + b'audit-entity-type","code":"1","display":"Person"},'
_OBJECT = b'"type":{"system":"' + _TERMS + b'audit-entity-type","code":"2","display":"System Object"},'
_ROLE = b'"role":{"system":"' + _TERMS + b'object-role","code":'
_PHRASES_1 = (
    b'{"resourceType":"AuditEvent","id":"',
    b'","type":{"system":"' + _TERMS + b'audit-event-type","code":"rest","display":"Restful Operation"},'
    b'"subtype":[{"system":"http://hl7.org/fhir/restful-interaction","code":"',
    b'"}],"action":"',
    b'","recorded":"',
    b'","purposeOfEvent":[{"coding":[{"system":"' + _TERMS + b'v3-ActReason","code":"',
    b'"}]}],"agent":[',
    _SOURCE,
    _TARGET,
    b'"},"requestor":false,"network":{"address":"',
    b'","type":"2"}},',
    b'"},"requestor":false},',
    b'{"type":{"coding":[{"system":"' + _TERMS + b'v3-ParticipationType","code":"IRCP",'
    b'"display":"information recipient"}]},"who":{',
    b'"identifier":{"value":"',
    b'"},"requestor":true,"policy":["urn:hdg:token:',
    b'"]}],"source":{"observer":{"display":"',
    b'"},"type":[{"system":"'
    + _TERMS
    + b'security-source-type","code":"4","display":"Application Server"}]},'
    b'"entity":[',
    b'{"what":{"reference":"',
    b'"},' + _PERSON + _ROLE + b'"1","display":"Patient"}}',
    b'"},' + _OBJECT + _ROLE + b'"4","display":"Domain Resource"}}',
    b"{" + _OBJECT + _ROLE + b'"24","display":"Query"},"query":"',
)
_MARKS_1 = tuple(zip(_PHRASES_1, (bytes((number,)) for number in range(2, 32)), strict=False))
_MEANT_1 = {mark: phrase for phrase, mark in _MARKS_1}
_MARK = re.compile(rb"[\x02-\x1f]")


def shortened(*parts: bytes) -> list[bytes]:
    """The parts of an event's JSON, in order from its beginning, each as it is kept."""
    found: list[bytes] = []
    for part in parts:
        for phrase, mark in _MARKS_1:
            part = part.replace(phrase, mark)
        found.append(part)
    return [_LIST_1 + found[0], *found[1:]]


def whole(kept: bytes) -> bytes:
    """The JSON of an event that was kept, shortened or not."""
    if not kept.startswith(_LIST_1):
        return kept
    return _MARK.sub(lambda found: _MEANT_1[found[0]], kept[1:])
