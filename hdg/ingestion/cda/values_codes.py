"""II, CD and their kin to Identifier, Coding and CodeableConcept. R4 datatypes.html."""

from __future__ import annotations

import re
from typing import Final

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_basic import OID, converter, kind_of, text_of, urn_of
from hdg.ingestion.cda.xml import Element, children
from hdg.mapping.context import JsonObject, Unfit

__all__ = ["to_coding", "to_concept", "to_identifier"]


@converter("II.Identifier")
def to_identifier(element: Element, state: State) -> JsonObject | None:
    """II. A root without extension is itself the identifier (R4 datatypes.html#Identifier)."""
    root, extension = element.get("root", "").strip(), element.get("extension", "").strip()
    if element.get("nullFlavor") and not extension:
        return None
    if not root and not extension:
        return None
    found: JsonObject = {}
    if not extension:
        found = {"system": "urn:ietf:rfc:3986", "value": urn_of(root) or root}
    else:
        if root:
            found["system"] = _system_of(root, state)
        found["value"] = extension
    name = element.get("assigningAuthorityName", "").strip()
    if name:
        found["assigner"] = {"display": name}
    return found


def _system_of(root: str, state: State) -> str:
    known: str | None = state.known.get(("system", root))
    if known is not None:
        return known
    urn = (state.uri(root) if OID.fullmatch(root) else None) or urn_of(root)
    if urn is None:
        state.problem("the root of an identifier is neither an OID nor a UUID")
        return f"urn:x-root:{root}"
    state.known["system", root] = urn
    return urn


@converter("CD.CodeableConcept")
def to_concept(element: Element, state: State) -> JsonObject | None:
    """CD, CE, CV, CS or CO with all its translations; the original text is the text.

    Qualifiers stand in the text, and beside SNOMED CT codes as a postcoordinated expression.
    """
    if not element.inner and not element.text:
        return _plain(element, state)
    codings: list[JsonObject] = []
    _codings(element, codings, state, 0)
    found: JsonObject = {}
    if codings:
        found["coding"] = codings
    text = next((text_of(one, state) for one in children(element, "originalText")), "")
    if not text and not codings and element.get("nullFlavor"):
        text = element.get("displayName", "").strip()
    if not text and kind_of(element) in ("ST", "ED"):
        text = text_of(element, state)
    qualified = "; ".join(_qualified(element))
    if qualified:
        name = text or element.get("displayName", "").strip() or element.get("code", "").strip()
        text = f"{name} ({qualified})" if name else qualified
    if text:
        found["text"] = text
    return found or None


def _plain(element: Element, state: State) -> JsonObject | None:
    """A concept with nothing in it."""
    coding = to_coding(element, state)
    if coding is not None:
        return {"coding": [coding]}
    text = element.get("displayName", "").strip() if element.get("nullFlavor") else ""
    return {"text": text} if text else None


def _qualified(element: Element) -> list[str]:
    """Each qualifier in words. CR, HL7 v3 datatypes §2.10."""
    found = []
    for one in children(element, "qualifier"):
        parts = [
            part.get("displayName", "").strip() or part.get("code", "").strip()
            for name in ("name", "value")
            for part in children(one, name)
        ]
        if any(parts) and one.get("inverted") == "true":
            parts.insert(0, "inverse of")
        if any(parts):
            found.append(": ".join(part for part in parts if part))
    return found


_SNOMED: Final = "2.16.840.1.113883.6.96"
_NUMBER: Final = re.compile(r"\d{6,18}")


def _expression(element: Element) -> str:
    """A SNOMED CT code with its qualifiers as a compositional expression; '' where one of them is none."""
    refined = []
    for one in children(element, "qualifier"):
        pair = [part for name in ("name", "value") for part in children(one, name)]
        codes = [part.get("code", "") for part in pair if part.get("codeSystem") == _SNOMED]
        if (
            one.get("inverted") == "true"
            or len(codes) != 2
            or not all(_NUMBER.fullmatch(code) for code in codes)
        ):
            return ""
        refined.append("=".join(codes))
    code = element.get("code", "")
    if not refined or element.get("codeSystem") != _SNOMED or not _NUMBER.fullmatch(code):
        return ""
    return f"{code}:{','.join(refined)}"


_DEEPEST: Final = 10


def _codings(element: Element, codings: list[JsonObject], state: State, depth: int) -> None:
    coding = to_coding(element, state)
    if coding is not None and coding not in codings:
        codings.append(coding)
    if depth > _DEEPEST:
        raise Unfit("translations are nested too deeply", code="too-costly")
    for translation in children(element, "translation"):
        _codings(translation, codings, state, depth + 1)
    expression = _expression(element)
    if expression:
        codings.append({"system": "http://snomed.info/sct", "code": expression})


@converter("CD.Coding")
def to_coding(element: Element, state: State) -> JsonObject | None:
    """A code with its system; None for one that only has a nullFlavor."""
    code, oid = element.get("code", "").strip(), element.get("codeSystem", "").strip()
    if not code or (element.get("nullFlavor") and not oid):
        return None
    found: JsonObject = {}
    if oid:
        uri = _uri_of(oid, state)
        if uri is None:
            state.problem("a code system is neither an OID nor a UUID")
        else:
            found["system"] = uri
    version = element.get("codeSystemVersion", "").strip()
    if version:
        found["version"] = version
    found["code"] = " ".join(code.split())
    display = " ".join(element.get("displayName", "").split())
    if display:
        found["display"] = display
    return found


def _uri_of(oid: str, state: State) -> str | None:
    """The URI of a code system; a URN where it has no other, None where the OID is none."""
    known: str | None = state.known.get(("codes", oid))
    if known is None:
        known = state.known["codes", oid] = state.uri(oid) or urn_of(oid)
    return known
