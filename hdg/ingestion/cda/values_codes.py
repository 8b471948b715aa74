"""II, CD and their kin to Identifier, Coding and CodeableConcept. R4 datatypes.html."""

from __future__ import annotations

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_basic import BLANKS, OID, converter, kind_of, text_of, urn_of
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
    uri = state.systems.uri(root) if OID.fullmatch(root) else None
    if uri is not None:
        return uri
    urn = urn_of(root)
    if urn is None:
        state.problem("the root of an identifier is neither an OID nor a UUID")
    return urn or f"urn:x-root:{root}"


@converter("CD.CodeableConcept")
def to_concept(element: Element, state: State) -> JsonObject | None:
    """CD, CE, CV, CS or CO with all its translations; the original text is the text."""
    codings: list[JsonObject] = []
    _codings(element, codings, state, 0)
    found: JsonObject = {}
    if codings:
        found["coding"] = codings
    text = next((text_of(one, state) for one in children(element, "originalText")), "")
    if text:
        found["text"] = text
    elif not codings and element.get("nullFlavor") and element.get("displayName", "").strip():
        found["text"] = element.get("displayName").strip()
    elif kind_of(element) in ("ST", "ED"):
        plain = text_of(element, state)
        if plain:
            found["text"] = plain
    return found or None


_DEEPEST = 10


def _codings(element: Element, codings: list[JsonObject], state: State, depth: int) -> None:
    coding = to_coding(element, state)
    if coding is not None and coding not in codings:
        codings.append(coding)
    if depth > _DEEPEST:
        raise Unfit("translations are nested too deeply", code="too-costly")
    for translation in children(element, "translation"):
        _codings(translation, codings, state, depth + 1)
    for _ in children(element, "qualifier"):
        state.problem("a qualifier of a code was left out", code="incomplete")


@converter("CD.Coding")
def to_coding(element: Element, state: State) -> JsonObject | None:
    """A code with its system; None for one that only has a nullFlavor."""
    code, oid = element.get("code", "").strip(), element.get("codeSystem", "").strip()
    if not code or (element.get("nullFlavor") and not oid):
        return None
    found: JsonObject = {}
    if oid:
        uri = state.systems.uri(oid)
        found["system"] = uri or urn_of(oid) or oid
        if uri is None and urn_of(oid) is None:
            del found["system"]
            state.problem("a code system is neither an OID nor a UUID")
    version = element.get("codeSystemVersion", "").strip()
    if version:
        found["version"] = version
    code = BLANKS.sub(" ", code)
    found["code"] = code
    display = BLANKS.sub(" ", element.get("displayName", "")).strip()
    if display:
        found["display"] = display
    return found
