"""What a document holds as it is: texts, pictures and whole documents as Attachment and Binary. R4 binary.html."""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from typing import Final

from hdg.ingestion.cda.named_registry import named
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import said_of, text_of
from hdg.ingestion.cda.values_codes import to_identifier
from hdg.ingestion.cda.xml import Element, children
from hdg.mapping.context import Facts, JsonObject, Unfit

__all__ = ["attachment"]

_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:;.*)?")
_URL: Final = re.compile(r"\S+")


def _content(element: Element, state: State) -> tuple[str, bytes | None, str]:
    """Media type, the bytes, and where they are when they are not here. ED, HL7 v3 datatypes §2.4."""
    kind = element.get("mediaType", "").strip()
    if kind and not _TYPE.fullmatch(kind):
        state.problem("a media type is none")
        kind = ""
    if element.get("compression"):
        raise Unfit("compressed content is not supported", code="not-supported")
    if element.get("representation") == "B64":
        own = "".join((element.text or "").split())
        try:
            return kind, b64decode(own, validate=True), ""
        except (binascii.Error, ValueError):
            raise Unfit("not base64") from None
    for reference in children(element, "reference"):
        value = reference.get("value", "").strip()
        if value and not value.startswith("#"):
            return kind, None, value if _URL.fullmatch(value) else ""
    said = text_of(element, state)
    return kind or "text/plain", said.encode() if said else None, ""


@named("cda.attachment", is_whole=True)
def attachment(element: Element, state: State) -> JsonObject | None:
    """ED as an Attachment: its bytes, the words that it refers to, or where it is."""
    kind, data, url = _content(element, state)
    found: JsonObject = {"contentType": kind} if kind else {}
    if data:
        found["data"] = b64encode(data).decode("ascii")
        if kind == "text/plain":
            found["contentType"] = "text/plain; charset=utf-8"
    elif url:
        found["url"] = url
    else:
        return None
    return found


@named("cda.binary", is_whole=True)
def binary(element: Element, state: State) -> JsonObject | None:
    """ED as an Attachment whose bytes are a Binary of their own."""
    kind, data, url = _content(element, state)
    if data is None:
        return {**({"contentType": kind} if kind else {}), "url": url} if url else None
    content: JsonObject = {
        "resourceType": "Binary",
        "id": "",
        "contentType": kind or "application/octet-stream",
        "data": b64encode(data).decode("ascii"),
    }
    facts = Facts(("cda-binary", content["contentType"], hashlib.sha256(data).hexdigest()))
    made = state.take(content, facts, element)
    return {"contentType": content["contentType"], "url": made["reference"], "size": len(data)}


@named("cda.consent")
def consent(element: Element, state: State) -> JsonObject | None:
    """A consent of the header, named and not made: it may not decide who sees what."""
    state.mark(element)
    found: JsonObject = {"type": "Consent"}
    for one in children(element, "id"):
        identifier = to_identifier(one, state)
        if identifier is not None:
            found.setdefault("identifier", identifier)
    for code in children(element, "code"):
        said = said_of(code, state)
        if said:
            found["display"] = said
    return found if len(found) > 1 else None
