"""Devices of an IHE PCD-01 message: what identifies them, and what their attributes say in a FHIR Device.

Shapes of PhdDevice and PhgDevice, https://hl7.org/fhir/uv/phd/StructureDefinition-PhdDevice.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hdg.fhir.json import JsonObject
from hdg.ingestion.device.mdc import ATTRIBUTE, MDC, PROFILE, Mdc, kind_of
from hdg.ingestion.device.observations import PHD
from hdg.ingestion.device.pcd_tree import Node
from hdg.ingestion.device.pcd_values import words
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.identity import entity_facts
from hdg.ingestion.hl7v2.primitives import plain
from hdg.ingestion.hl7v2.state import State

__all__ = ["GATEWAY", "apply", "equipment", "eui_of", "finish", "is_personal"]

GATEWAY, _SIMPLE = 531981, 65573
_EUI_SYSTEM = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680"
_IDENTIFIERS = "http://terminology.hl7.org/CodeSystem/ContinuaDeviceIdentifiers"
_YES_NO = "http://terminology.hl7.org/CodeSystem/v2-0136"
_BITS = "http://terminology.hl7.org/CodeSystem/ASN1ToHL7"
_LISTS = {
    "interface": "http://hl7.org/fhir/uv/phd/CodeSystem/ContinuaPHDInterfaceIDs",
    "upload-class": "http://hl7.org/fhir/uv/phd/CodeSystem/ContinuaHFS",
}
_STRINGS = {
    "model-number": "modelNumber",
    "manufacturer": "manufacturer",
    "serial-number": "serialNumber",
    "part-number": "partNumber",
}
_EUI = re.compile(r"[0-9A-Fa-f]{16}", re.ASCII)


def eui_of(text: str) -> str:
    """An EUI-64 as 16 capital hexadecimal digits, whatever stands between them; '' when it is none."""
    bare = re.sub(r"[\s:.\-]", "", text.removeprefix("0x"))
    return bare.upper() if _EUI.fullmatch(bare) else ""


def equipment(text: str, state: State) -> tuple[tuple[str, ...] | None, JsonObject]:
    """(facts that identify it, Identifier) of one repetition of OBX-18; (None, {}) when it says nothing."""
    parts = [plain(one, state) for one in text.split("^")]
    is_eui = len(parts) > 1 and parts[-1].upper().replace("_", "-") in ("EUI-64", "EUI64")
    for candidate in (parts[2:3], parts[:1]):
        eui = eui_of(candidate[0]) if is_eui and candidate else ""
        if eui:
            vendor = parts[1] if len(parts) > 2 and parts[1] not in ("", eui) else ""
            return ("EUI-64", eui), _system_id(eui, vendor)
    facts = entity_facts(text, state)
    if facts is None:
        return None, {}
    made = state.by_table("EI.Identifier", text)
    return ("EI", *facts), made if isinstance(made, dict) else {}


def _system_id(eui: str, vendor: str = "") -> JsonObject:
    kind = {"system": _IDENTIFIERS, "code": "SYSID", "display": "IEEE 11073 System Identifier"}
    value = "-".join(eui[index : index + 2] for index in range(0, len(eui), 2))
    found: JsonObject = {"type": {"coding": [kind]}, "system": _EUI_SYSTEM, "value": value}
    if vendor:
        found["assigner"] = {"display": vendor}
    return found


def first_equipment(node: Node, state: State) -> tuple[tuple[str, ...] | None, list[JsonObject]]:
    """Facts of the first repetition of OBX-18 that identifies, and all its identifiers."""
    facts, identifiers = None, []
    for text in repetitions(node.segment.field(18)):
        found, identifier = equipment(text, state)
        if identifier:
            identifiers.append(identifier)
        facts = facts or found
    return facts, identifiers


def is_personal(node: Node) -> bool:
    """Whether a device is a personal health device or gateway: then the PHD guide's profiles hold."""
    return node.code == GATEWAY or (bool(node.code) and kind_of(node.code) == PROFILE)


def finish(resource: JsonObject, node: Node, mdc: Mdc) -> None:
    """Type, specialization and profile of a device by its OBX-3."""
    if not is_personal(node):
        return
    concept = mdc.concept(node.code, node.name)
    if node.code == GATEWAY:
        resource["meta"] = {"profile": [PHD + "PhgDevice"]}
        resource["type"] = concept
        return
    resource["meta"] = {"profile": [PHD + "PhdDevice"]}
    resource["type"] = mdc.concept(_SIMPLE)
    _specialize(resource, concept)


def _specialize(resource: JsonObject, concept: JsonObject, version: str = "") -> None:
    found = {"systemType": concept, **({"version": version} if version else {})}
    held = resource.setdefault("specialization", [])
    codes = [{one.get("code") for one in item["systemType"].get("coding", ())} for item in held]
    for item, known in zip(held, codes, strict=True):
        if known & {one.get("code") for one in concept.get("coding", ())}:
            item.update(found)
            return
    held.append(found)


def apply(
    resource: JsonObject, part: Node, built: JsonObject, mdc: Mdc, bits: Sequence[tuple[int, bool]]
) -> bool:
    """Put one attribute into its Device. ``built``: the Observation that its OBX would be. False: it is unknown, and
    stands as a property.
    """
    role = mdc.role(part.code, part.name)
    texts = [text for text in map(_text, _values(built)) if text]
    if role in _STRINGS and texts and _STRINGS[role] not in resource:
        resource[_STRINGS[role]] = " ".join(texts)
    elif role == "version" and texts:
        kind = mdc.concept(part.code, part.name)
        resource.setdefault("version", []).extend({"type": kind, "value": text} for text in texts)
    elif role == "system-id" and texts:
        eui = eui_of(texts[0])
        identifier = _system_id(eui) if eui else {"value": texts[0]}
        held = resource.setdefault("identifier", [])
        if not any(one.get("value") == identifier["value"] for one in held):
            held.append(identifier)
    elif role == "specialization" and any("coding" in one for one in _values(built) if isinstance(one, dict)):
        _specializations(resource, built, mdc)
    elif role in _LISTS and texts:
        for text in texts:
            code = {"coding": [{"system": _LISTS[role], "code": text}]}
            _property(resource, mdc.concept(part.code, part.name), {"valueCode": [code]})
    elif bits:
        _bit_properties(resource, part, mdc, bits)
    elif role == "container" and not texts:
        return True
    elif role in ("clock", "clock-relative", "clock-relative-us") and part.segment.field(5):
        shown = {"valueCode": [{"text": part.segment.field(5)}]}
        _property(resource, mdc.concept(part.code, part.name), shown)
    else:
        for value in _values(built):
            _property(resource, mdc.concept(part.code, part.name), _property_value(value, mdc))
        return bool(role)
    return True


def _specializations(resource: JsonObject, built: JsonObject, mdc: Mdc) -> None:
    for value in _values(built):
        coding = value["coding"][0] if isinstance(value, dict) and value.get("coding") else {}
        code = str(coding.get("code", ""))
        if coding.get("system") == MDC and code.isdecimal():
            if kind_of(int(code)) != ATTRIBUTE:
                _specialize(resource, mdc.concept(int(code), coding.get("display", "")))
        else:
            _specialize(resource, value if isinstance(value, dict) else {"text": str(value)})


def _bit_properties(resource: JsonObject, part: Node, mdc: Mdc, bits: Sequence[tuple[int, bool]]) -> None:
    """A property for each bit: Y where it is set, N where a state is cleared."""
    known = {bit.number: bit for bit in mdc.bits(part.code)}
    for number, is_set in bits:
        bit = known.get(number)
        if not is_set and bit is not None and not bit.is_state:
            continue
        coding = {"system": _BITS, "code": f"{part.code}.{number}"}
        if bit is not None:
            coding["display"] = bit.name
        answer = {"coding": [{"system": _YES_NO, "code": "Y" if is_set else "N"}]}
        _property(resource, {"coding": [coding]}, {"valueCode": [answer]})


def _values(built: JsonObject) -> list[object]:
    """The values of an OBX: its own, or those of its repetitions."""
    found = [value for key, value in built.items() if key.startswith("value")]
    for component in built.get("component", ()):
        found.extend(value for key, value in component.items() if key.startswith("value"))
    return found


def _text(value: object) -> str:
    """A value in words: a code by its code, a number by its digits."""
    if isinstance(value, dict):
        if value.get("coding"):
            return str(value["coding"][0].get("code") or value["coding"][0].get("display", ""))
        value = value.get("value", value.get("text", ""))
    return str(getattr(value, "literal", value))


def _property_value(value: object, mdc: Mdc) -> JsonObject:
    if isinstance(value, dict) and "value" in value:
        return {"valueQuantity": [value]}
    if isinstance(value, dict) and ("coding" in value or "text" in value):
        coding = (value.get("coding") or [{}])[0]
        code = str(coding.get("code", ""))
        if coding.get("system") == MDC and code.isdecimal() and len(value["coding"]) == 1:
            return {"valueCode": [mdc.concept(int(code), coding.get("display", ""))]}
        return {"valueCode": [value]}
    return {"valueCode": [{"text": _text(value) or words(value) or "unknown"}]}


def _property(resource: JsonObject, kind: JsonObject, value: JsonObject) -> None:
    held = resource.setdefault("property", [])
    found = {"type": kind, **value}
    if found not in held:
        held.append(found)
