"""The acknowledgement of an HL7 v3 message: MCCI_IN000002UV01, in a SOAP envelope when the message came in one.

HL7 v3 Transmission Infrastructure (MCCI_MT000200UV01); IHE ITI-44 §3.44.4.1.3
(https://profiles.ihe.net/ITI/TF/Volume2/ITI-44.html). AA: stored; AE: not, with the reason.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lxml import etree

from hdg.errors import CdaError, Issue
from hdg.ingestion.cda.xml import HL7, children
from hdg.ingestion.cda.xml import Element as Read
from hdg.ingestion.hl7v3.message import Message, below, opened

__all__ = ["acknowledge"]

Element = Any
"""An lxml element; the stubs make of every child a union."""
_NAME = "MCCI_IN000002UV01"
_INTERACTIONS = "2.16.840.1.113883.1.6"
_NAMESPACES: dict[Any, str] = {None: "urn:hl7-org:v3"}


def acknowledge(raw: bytes, issues: Sequence[Issue], *, at_us: int) -> bytes | None:
    """The answer to a message. An issue that is an error makes it AE; ``at_us``: now, µs since the epoch.

    None when the message asks for none (acceptAckCode NE never, ER only for errors). What cannot be read is answered
    without the number of a message.
    """
    message = _opened(raw)
    is_accepted = all(issue.severity not in ("error", "fatal") for issue in issues)
    asked = _code_of(message, "acceptAckCode", "AL")
    if asked == "NE" or (asked == "ER" and is_accepted):
        return None
    return _written(message, issues, at_us, is_accepted=is_accepted)


def _written(message: Message | None, issues: Sequence[Issue], at_us: int, *, is_accepted: bool) -> bytes:
    root = etree.Element(f"{HL7}{_NAME}", {"ITSVersion": "XML_1.0"}, nsmap=_NAMESPACES)
    _put(root, "id", root=str(uuid.uuid4()))
    _put(root, "creationTime", value=f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y%m%d%H%M%S}+0000")
    _put(root, "interactionId", root=_INTERACTIONS, extension=_NAME)
    _put(root, "processingCode", code=_code_of(message, "processingCode", "P"))
    _put(root, "processingModeCode", code=_code_of(message, "processingModeCode", "T"))
    _put(root, "acceptAckCode", code="NE")
    _device(root, "receiver", "RCV", message, "sender")
    _device(root, "sender", "SND", message, "receiver")
    ack = _put(root, "acknowledgement")
    _put(ack, "typeCode", code="AA" if is_accepted else "AE")
    if message is not None:
        for one in list(children(message.root, "id"))[:1]:
            _copy(one, _put(ack, "targetMessage"))
    for issue in () if is_accepted else issues:
        detail = _put(ack, "acknowledgementDetail", typeCode="E")
        _put(detail, "text").text = issue.text
        if issue.place:
            _put(detail, "location").text = issue.place
    etree.cleanup_namespaces(root)
    found = root if message is None or not message.soap else _enveloped(root, message.soap)
    answer: bytes = etree.tostring(found, xml_declaration=True, encoding="UTF-8")
    return answer


def _opened(raw: bytes) -> Message | None:
    try:
        return opened(raw, [])
    except CdaError:
        return None


def _copy(one: Read, parent: Element) -> None:
    """Puts a copy of what was read into what is written."""
    made = etree.SubElement(parent, one.tag, one.attributes)
    made.text, made.tail = one.text, one.tail
    for child in one:
        _copy(child, made)


def _put(parent: Element, name: str, **attributes: str) -> Element:
    return etree.SubElement(parent, HL7 + name, attributes)


def _code_of(message: Message | None, name: str, otherwise: str) -> str:
    if message is None:
        return otherwise
    return next((code for one in children(message.root, name) if (code := one.get("code"))), otherwise)


def _device(root: Element, name: str, kind: str, message: Message | None, from_: str) -> None:
    """Who gets the answer is who sent the message, and the other way round."""
    device = _put(_put(root, name, typeCode=kind), "device", classCode="DEV", determinerCode="INSTANCE")
    ids = [] if message is None else list(below(message.root, from_, "device", "id"))
    if not ids:
        _put(device, "id", nullFlavor="UNK")
    for one in ids:
        _copy(one, device)


def _enveloped(root: Element, uri: str) -> Element:
    envelope = etree.Element(f"{{{uri}}}Envelope", nsmap={"soap": uri})
    etree.SubElement(envelope, f"{{{uri}}}Body").append(root)
    return envelope
