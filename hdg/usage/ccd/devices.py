"""Devices in use and those of procedures. C-CDA R2.1 Medical Equipment; UDI Organizer of the supplemental templates."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.parts import comments, indications, loinc, related, span_words, status_code, texts
from hdg.usage.ccd.people import author
from hdg.usage.ccd.values import code, codings_of, ids, moment, said, when
from hdg.usage.ccd.xml import Node, node

__all__ = ["device_use", "products"]

JsonObject = dict[str, Any]

_UDI_VERSION = "2019-06-21"
_FDA = "2.16.840.1.113883.3.3719"
_NCI = "2.16.840.1.113883.3.26.1.1"
_STATUS = {
    "active": "active",
    "completed": "aborted",
    "intended": "new",
    "stopped": "aborted",
    "on-hold": "suspended",
}
"""A supply that is completed says that the device was handed over; that its use is over is said by its end."""
_TEXTS = (
    ("315", "C101672", "lotNumber"),
    ("319", "C101671", "serialNumber"),
    ("308", "C113843", "distinctIdentifier"),
    ("302", "C99286", "partNumber"),
)
_TIMES = (("316", "C101669", "manufactureDate"), ("309", "C101670", "expirationDate"))
_SAFETY = {"C106044": "318", "C160938": "314", "C160939": "305"}
"""The codes of MRI safety, latex and state of an implant (NCI Thesaurus) → the template of the observation."""


def device_use(resource: JsonObject, book: Book) -> Node:
    """A supply of a device that is in use."""
    status = resource.get("status", "")
    device = book.get(resource.get("device"), resource)
    what = _called(device) or str((resource.get("device") or {}).get("display", ""))
    text = book.row("equipment", resource, what, status, span_words(resource, "timing"))
    time = when(resource, "timing", xsi="IVL_TS")
    words = ["The device is no longer in use"] if status == "completed" else []
    sites = said(resource.get("bodySite"))
    return node(
        "supply",
        template("50", "2014-06-09"),
        book.ids(resource),
        text,
        status_code(_STATUS.get(status)),
        time if time is not None else node("effectiveTime", nullFlavor="UNK"),
        author(resource.get("source"), resource.get("recordedOn"), resource, book),
        _participant("PRD", device, book) if device is not None else _named("PRD", resource.get("device")),
        _udi(device) if device is not None else None,
        indications(resource, book),
        comments(resource, book, *words, *texts(resource, "timing"), f"Site: {sites}" if sites else ""),
        classCode="SPLY",
        moodCode="EVN",
    )


def products(resource: JsonObject, book: Book) -> tuple[list[Node], Node | None]:
    """The devices of a procedure as participants; of a single one all its numbers, in an organizer."""
    references = [one.get("manipulated") for one in resource.get("focalDevice", ())]
    found = [one for one in (book.get(reference, resource) for reference in references) if one is not None]
    devices = [one for one in found if one["resourceType"] == "Device"]
    made = [_participant("DEV", one, book) for one in devices]
    return made, _udi(devices[0]) if len(devices) == 1 else None


def _called(device: JsonObject | None) -> str:
    names = [one["name"] for one in (device or {}).get("deviceName", ()) if one.get("name")]
    return said((device or {}).get("type")) or next(iter(names), "")


def _named(type_code: str, reference: JsonObject | None) -> Node | None:
    """A device of which only the name or the number is given."""
    if not reference:
        return None
    identifier, display = reference.get("identifier"), reference.get("display")
    kind = node("playingDevice", code("code", {"text": display} if display else None))
    role = node(
        "participantRole", template("37"), ids([identifier] if identifier else ()), kind, classCode="MANU"
    )
    return node("participant", role, typeCode=type_code)


def _participant(type_code: str, device: JsonObject, book: Book) -> Node:
    """A product instance."""
    udi = _carrier(device)
    numbers = book.ids(device)
    if udi and udi not in [one.get("extension") for one in numbers]:
        numbers = [node("id", root=_FDA, extension=udi), *(numbers if device.get("identifier") else [])]
    model = device.get("modelNumber")
    role = node(
        "participantRole",
        template("37"),
        numbers,
        node(
            "playingDevice",
            code("code", device.get("type")),
            node("manufacturerModelName", model) if model else None,
        ),
        node("scopingEntity", node("id", nullFlavor="NI"), _maker(device)),
        classCode="MANU",
    )
    return node("participant", role, typeCode=type_code)


def _maker(device: JsonObject) -> Node | None:
    return node("desc", device["manufacturer"]) if device.get("manufacturer") else None


def _carrier(device: JsonObject) -> str:
    """The UDI as people read it."""
    found = (one["carrierHRF"] for one in device.get("udiCarrier", ()) if one.get("carrierHRF"))
    return str(next(found, ""))


def _udi(device: JsonObject) -> Node | None:
    """The numbers of a device one by one."""
    found = []
    given = next((one for one in device.get("udiCarrier", ()) if one.get("deviceIdentifier")), None)
    if given is not None:
        value = node("value", xsi="II", root=_FDA, extension=given["deviceIdentifier"])
        found.append(_fact("304", "C101722", value))
    found += [
        _fact(number, kind, node("value", device[name], xsi="ED"))
        for number, kind, name in _TEXTS
        if device.get(name)
    ]
    found += [
        _fact(number, kind, moment("value", device[name], xsi="TS"))
        for number, kind, name in _TIMES
        if device.get(name)
    ]
    brand: JsonObject = next(
        (one for one in device.get("deviceName", ()) if one.get("type") == "user-friendly-name"), {}
    )
    if brand.get("name"):
        found.append(_fact("301", "C71898", node("value", brand["name"], xsi="ED")))
    for one in device.get("property", ()):
        kind = next((c["code"] for c in codings_of(one.get("type")) if c["code"] in _SAFETY), "")
        found += [
            _fact(_SAFETY[kind], kind, code("value", v, xsi="CD")) for v in one.get("valueCode", ()) if kind
        ]
    if not found:
        return None
    udi = _carrier(device)
    organizer = node(
        "organizer",
        template("311", _UDI_VERSION),
        node("id", root=_FDA, extension=udi) if udi else node("id", nullFlavor="UNK"),
        loinc("74711-3"),
        status_code("completed"),
        [node("component", one) for one in found],
        classCode="CLUSTER",
        moodCode="EVN",
    )
    return related("COMP", organizer)


def _fact(number: str, kind: str, value: Node) -> Node:
    return node(
        "observation",
        template(number, _UDI_VERSION),
        node("code", code=kind, codeSystem=_NCI, codeSystemName="NCI Thesaurus"),
        value,
        classCode="OBS",
        moodCode="EVN",
    )
