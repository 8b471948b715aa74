"""Numbers with who issued them: issuer as text, as qualifiers, as an HL7v2 hierarchic designator. DICOM PS3.3 §10.14.

A system is the sender's declared one, or a universal id as a URI. Nothing else becomes a URI.
"""

from __future__ import annotations

import re

from hdg.fhir.urns import spellings, urn_of_uuid, with_one_case
from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.state import State
from hdg.mapping.context import JsonObject

__all__ = ["authority", "identified", "patient_number", "qualified"]

_LOCAL, _UNIVERSAL, _KIND = 0x00400031, 0x00400032, 0x00400033
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_PATIENT_ID, _ISSUER, _QUALIFIERS, _CODE = 0x00100020, 0x00100021, 0x00100024, 0x00400035
_CARRIER = 0x00100022
"""Type of Patient ID: whether the number is a text, a barcode or a radio tag; nothing that is carried."""


def authority(name: str, item: Dataset | None, state: State) -> tuple[str, str]:
    """The URI of an issuer ('' for none), and how it is called."""
    universal = kind = ""
    if item is not None:
        state.mark(item, _LOCAL, _UNIVERSAL, _KIND)
        name = name or item.text(_LOCAL)
        universal, kind = item.text(_UNIVERSAL), item.text(_KIND).upper()
    declared = state.sender.authorities
    if declared:
        found = next((uri for one in (name, *spellings(universal)) if (uri := declared.get(one))), "")
        if found:
            return found, name
    uri = _uri(universal, kind, state)
    return uri, name or ("" if uri else universal)


def _uri(universal: str, kind: str, state: State) -> str:
    if kind == "ISO" and _OID.fullmatch(universal):
        return state.systems.uri(universal) or f"urn:oid:{universal}"
    if kind in ("UUID", "GUID"):
        return urn_of_uuid(universal) or ""
    if kind in ("URI", "URL") and _URI.fullmatch(universal):
        return with_one_case(universal)
    return ""


def identified(value: str, issuer: tuple[str, str], kind: str = "") -> JsonObject:
    """An Identifier. ``kind``: a code of v2-0203, '' for none."""
    system, name = issuer
    found: JsonObject = {}
    if kind:
        found["type"] = {"coding": [{"system": _TYPES, "code": kind}]}
    if system:
        found["system"] = system
    found["value"] = value
    if name:
        found["assigner"] = {"display": name}
    return found


def qualified(value: str, dataset: Dataset, issuers: int, state: State, kind: str = "") -> JsonObject:
    """An Identifier whose issuer stands in a sequence (``issuers``: its tag) of the same data set."""
    items = dataset.items(issuers)
    state.mark(dataset, issuers)
    return identified(value, authority("", items[0] if items else None, state), kind)


def patient_number(dataset: Dataset, state: State) -> tuple[str, tuple[str, str], str]:
    """Patient ID, its issuer, and the code of its type, of the object or of an item with another number."""
    qualifiers = dataset.items(_QUALIFIERS)
    item = qualifiers[0] if qualifiers else None
    state.mark(dataset, _PATIENT_ID, _ISSUER, _QUALIFIERS, _CARRIER)
    kind = ""
    if item is not None:
        state.mark(item, _CODE)
        kind = item.text(_CODE)
    return dataset.single(_PATIENT_ID), authority(dataset.single(_ISSUER), item, state), kind
