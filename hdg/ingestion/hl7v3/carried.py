"""The CDA document that a message carries: RCMR_IN000002, with the document as XML, as text or in Base64.

HL7 v3 Medical Records (RCMR_MT000002: Document Event with content); CDA R2 §3 (exchange). In data types of release 2
the bytes are in ``text/data``; senders put them into ``storageCode/originalText`` too (registries after WS/T 500).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from lxml import etree

from hdg.errors import Hl7v3Error
from hdg.ingestion.cda.xml import HL7, Element
from hdg.ingestion.hl7v3.message import Message, below

__all__ = ["DOCUMENT", "document_in"]

DOCUMENT = "RCMR_IN000002"
_SUBJECT = ("controlActProcess", "subject")
_TEXTS = (("text",), ("text", "data"), ("storageCode", "originalText"))
_BYTES = f"{HL7}data", f"{HL7}originalText"
"""What holds Base64 without saying so."""


def document_in(message: Message) -> bytes:
    """The bytes of the document. Raises Hl7v3Error unless there is exactly one."""
    root: Any = message.tree.as_written(message.root)
    around = root.getparent()
    if around is not None:
        around.remove(root)  # the envelope's declarations are none of the document's
    found: list[bytes] = [
        etree.tostring(one, encoding="UTF-8", with_tail=False)
        for subject in _written(root)
        for one in subject.iter(f"{HL7}ClinicalDocument")
    ]
    texts = [one for way in _TEXTS for one in below(message.root, *_SUBJECT, "clinicalDocument", *way)]
    found += [held for one in texts if (held := _held(one))]
    if len(found) != 1:
        raise Hl7v3Error("the message does not carry one CDA document", "/".join(_SUBJECT))
    return found[0]


def _written(root: Any) -> list[Any]:
    """The subjects, as elements of lxml."""
    return list(below(root, *_SUBJECT))


def _held(text: Element) -> bytes:
    """What an ED holds; b'' for what is no XML."""
    inner = (text.get("value") or "".join(text.itertext())).strip()
    if inner.startswith("<"):
        return inner.encode("utf-8")
    if text.get("representation") != "B64" and text.tag not in _BYTES:
        return b""
    try:
        return base64.b64decode("".join(inner.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Hl7v3Error("the document is not Base64", "clinicalDocument/text") from None
