"""The datatypes of R4 to those of HL7 v3: identifiers, codes, times, quantities. R4 datatypes.html; CDA R2 datatypes.

Nothing is rounded: digits, precision and offsets stay. What is absent for a reason says so with a nullFlavor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from hdg.terminology.systems import registry
from hdg.usage.ccd.xml import Node, node

__all__ = [
    "absence",
    "code",
    "codings_of",
    "ids",
    "interval",
    "literal",
    "measure",
    "moment",
    "oid",
    "quantity",
    "said",
    "stamp",
    "when",
]

JsonObject = dict[str, Any]

ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
UCUM = "http://unitsofmeasure.org"
_URI = "urn:ietf:rfc:3986"
_URI_OID = "2.16.840.1.113883.4.873"
_TRANSLATION = "http://hl7.org/fhir/StructureDefinition/iso21090-PQ-translation"
_FLAVORS = {
    "unknown": "UNK",
    "asked-unknown": "ASKU",
    "temp-unknown": "NAV",
    "not-asked": "NASK",
    "asked-declined": "ASKU",
    "masked": "MSK",
    "not-applicable": "NA",
    "unsupported": "OTH",
    "as-text": "OTH",
    "error": "NI",
    "not-a-number": "NI",
    "negative-infinity": "NINF",
    "positive-infinity": "PINF",
    "not-performed": "NI",
    "not-permitted": "NI",
}
"""http://terminology.hl7.org/CodeSystem/data-absent-reason → v3 NullFlavor."""
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNIT = re.compile(r"\S+")
_UNFIT_UNIT = re.compile(r"[^!-z|~]+")
_STAMP = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII
)


@cache
def _oids() -> dict[str, str]:
    """URI → the OID by which it is found again."""
    known = registry()
    found: dict[str, str] = {}
    for row in known.rows:
        if row.oid and known.uri(row.oid) == row.uri:
            found.setdefault(row.uri, row.oid)
    return found


def oid(uri: str) -> str:
    """The OID or UUID of a system; for one that has none, a UUID made of its URI (RFC 9562 version 5)."""
    found = _oids().get(uri)
    if found is not None:
        return found
    for prefix, form in (("urn:oid:", _OID), ("urn:uuid:", _UUID)):
        rest = uri.removeprefix(prefix)
        if rest != uri and form.fullmatch(rest):
            return rest
    return str(uuid5(NAMESPACE_URL, uri))


# --- identifiers --------------------------------------------------------------------------------------------------


def ids(identifiers: Iterable[JsonObject], otherwise: str = "") -> list[Node]:
    """II of each; of ``otherwise``, a URL, where there is none; without that, no information."""
    found = [one for one in map(_id, identifiers) if one is not None]
    if found:
        return found
    return [
        node("id", root=str(uuid5(NAMESPACE_URL, otherwise))) if otherwise else node("id", nullFlavor="NI")
    ]


def _id(identifier: JsonObject) -> Node | None:
    system, value = identifier.get("system", ""), identifier.get("value", "")
    if not value:
        return None
    name = (identifier.get("assigner") or {}).get("display")
    if system == _URI:
        rest = value.removeprefix("urn:oid:").removeprefix("urn:uuid:")
        if _OID.fullmatch(rest) or _UUID.fullmatch(rest):
            return node("id", root=rest, assigningAuthorityName=name)
        return node("id", root=_URI_OID, extension=value, assigningAuthorityName=name)
    if not system:
        return node("id", nullFlavor="UNK", extension=value, assigningAuthorityName=name)
    return node("id", root=oid(system), extension=value, assigningAuthorityName=name)


# --- codes --------------------------------------------------------------------------------------------------------


def absence(value: Any) -> str:
    """The nullFlavor that the data-absent-reason of an element names; ''."""
    for one in value.get("extension", ()) if isinstance(value, dict) else ():
        if one.get("url") == REASON:
            return _FLAVORS.get(one.get("valueCode", ""), "UNK")
    for coding in value.get("coding", ()) if isinstance(value, dict) else ():
        if coding.get("system") == ABSENT:
            return _FLAVORS.get(coding.get("code", ""), "UNK")
    return ""


def codings_of(concept: JsonObject | None) -> list[JsonObject]:
    """The codings that say something."""
    given = (concept or {}).get("coding", ())
    return [one for one in given if one.get("code") and one.get("system") != ABSENT]


def said(concept: JsonObject | None) -> str:
    """A concept in words: its text, a display, else a code."""
    if not concept:
        return ""
    codings = codings_of(concept)
    displays = [one["display"] for one in concept.get("coding", ()) if one.get("display")]
    return str(
        concept.get("text") or (displays[0] if displays else "") or (codings[0]["code"] if codings else "")
    )


def _coded(coding: JsonObject) -> dict[str, str]:
    is_fit = _UNIT.fullmatch(coding["code"]) is not None
    found = {"code": coding["code"]} if is_fit else {"nullFlavor": "OTH", "displayName": coding["code"]}
    if coding.get("system"):
        root = oid(coding["system"])
        found["codeSystem"] = root
        if root not in coding["system"] and coding["system"] not in _oids():
            found["codeSystemName"] = coding["system"]  # a UUID made of it says nothing to anybody else
    if coding.get("version"):
        found["codeSystemVersion"] = coding["version"]
    if coding.get("display"):
        found["displayName"] = coding["display"]
    return found


def code(name: str, concept: JsonObject | None, *, xsi: str = "", flavor: str = "UNK") -> Node:
    """CD: the first coding is the code, the others are translations, the text is the original text.

    ``flavor``: why there is no code where the concept does not say.
    """
    concept = concept or {}
    codings = codings_of(concept)
    displays = [one["display"] for one in concept.get("coding", ()) if one.get("display")]
    text = concept.get("text") or (displays[0] if displays and not codings else "")
    original = node("originalText", text) if text else None
    if not codings:
        why = absence(concept) or ("OTH" if text else flavor)
        return node(name, original, xsi=xsi, nullFlavor=why)
    codings.sort(
        key=lambda one: _UNIT.fullmatch(one["code"]) is None
    )  # CDA's cs has no blanks, R4's code may
    rest = [node("translation", **_coded(one)) for one in codings[1:]]
    return node(name, original, rest, xsi=xsi, **_coded(codings[0]))


# --- times --------------------------------------------------------------------------------------------------------


def stamp(text: str) -> str:
    """A date, dateTime or instant as TS, as precise as it is; '' for what is none."""
    found = _STAMP.fullmatch(text)
    if found is None:
        return ""
    offset = (found[8] or "").replace(":", "").replace("Z", "+0000")
    return "".join(part or "" for part in found.groups()[:7]) + offset


def moment(name: str, text: str | None, flavor: str = "UNK", *, xsi: str = "") -> Node:
    """TS."""
    value = stamp(text or "")
    return node(name, xsi=xsi, value=value) if value else node(name, xsi=xsi, nullFlavor=flavor)


def interval(name: str, period: JsonObject, *, xsi: str = "", is_over: bool = False) -> Node:
    """IVL_TS. An end that is not known is absent; of what is over it is unknown."""
    end = period.get("end")
    high = moment("high", end) if end or is_over else None
    return node(name, moment("low", period.get("start")), high, xsi=xsi)


def when(
    resource: JsonObject, stem: str, name: str = "effectiveTime", *, is_over: bool = False, xsi: str = ""
) -> Node | None:
    """The choice ``stem``[x] of a resource: a moment or an interval; None when nothing is said.

    ``xsi``: the type of an interval, where the schema says less than that (POCD_MT000040: SXCM_TS).
    """
    for kind in ("DateTime", "Instant", "Date", "Time"):
        if resource.get(f"{stem}{kind}"):
            return moment(name, resource[f"{stem}{kind}"])
        why = absence(resource.get(f"_{stem}{kind}"))
        if why:
            return node(name, nullFlavor=why)
    period = resource.get(f"{stem}Period")
    return interval(name, period, xsi=xsi, is_over=is_over) if period else None


# --- quantities ---------------------------------------------------------------------------------------------------


def literal(value: Any) -> str:
    """A number with the digits that it was sent with."""
    return str(getattr(value, "literal", value))


def _unit(given: JsonObject) -> str:
    unit = str((given.get("code") if given.get("system", UCUM) == UCUM else "") or given.get("unit") or "")
    if not unit or _UNIT.fullmatch(unit):
        return unit
    return "{" + _UNFIT_UNIT.sub("_", unit) + "}"  # UCUM §12: an annotation


def quantity(name: str, given: JsonObject | None, *, xsi: str = "") -> Node:
    """PQ; a comparator is the caller's."""
    given = given or {}
    if given.get("value") is None:
        return node(name, xsi=xsi, nullFlavor=absence(given.get("_value")) or absence(given) or "UNK")
    others = [
        _translation(one["valueQuantity"])
        for one in given.get("extension", ())
        if one.get("url") == _TRANSLATION and one.get("valueQuantity")
    ]
    return node(name, others, xsi=xsi, value=literal(given["value"]), unit=_unit(given))


def _translation(given: JsonObject) -> Node:
    """PQR: the unit is a code of any system, or only its name."""
    unit = given.get("code", "") if given.get("system") == UCUM else ""
    return node(
        "translation",
        value=literal(given["value"]) if given.get("value") is not None else None,
        code=unit,
        codeSystem=oid(UCUM) if unit else None,
        displayName=given.get("unit"),
    )


def measure(name: str, given: JsonObject, *, xsi: bool = False) -> Node:
    """PQ, or IVL_PQ with one bound for a quantity with a comparator."""
    comparator = given.get("comparator", "")
    if not comparator or given.get("value") is None:
        return quantity(name, given, xsi="PQ" if xsi else "")
    bound = quantity("low" if comparator[0] == ">" else "high", given)
    bound.set("inclusive", "true" if comparator.endswith("=") else "false")
    return node(name, bound, xsi="IVL_PQ" if xsi else "")


def span(name: str, given: JsonObject, *, xsi: bool = False) -> Node:
    """IVL_PQ of a Range."""
    low = quantity("low", given["low"]) if given.get("low") else None
    high = quantity("high", given["high"]) if given.get("high") else None
    return node(name, low, high, xsi="IVL_PQ" if xsi else "")
