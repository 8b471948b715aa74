"""Who: names, addresses and telecoms; authors, performers and organizations. CDA R2 POCD_MT000040."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book
from hdg.usage.ccd.values import absence, code, ids, moment
from hdg.usage.ccd.xml import Node, node

__all__ = ["addresses", "author", "entity", "name", "organization", "performer", "relative", "telecoms"]

JsonObject = dict[str, Any]

_NAME_USES = {"official": "L", "nickname": "P", "anonymous": "A"}
_ADDRESS_USES = {"home": "HP", "work": "WP", "temp": "TMP", "old": "BAD"}
_TELECOM_USES = {"home": "HP", "work": "WP", "mobile": "MC", "temp": "TMP", "old": "BAD"}
_SCHEMES = {"phone": "tel:", "fax": "fax:", "email": "mailto:", "sms": "sms:"}


def name(given: JsonObject, tag: str = "name") -> Node:
    """PN. A name of old has ended, even when nobody knows when."""
    period = given.get("period") or {}
    over = given.get("use") == "old" and not period.get("end")
    time = None
    if period or over:
        low = moment("low", period["start"]) if period.get("start") else None
        high = moment("high", period.get("end")) if over or period.get("end") else None
        time = node("validTime", low, high)
    qualifier = "BR" if given.get("use") == "maiden" else None
    family = given.get("family")
    parts = [
        [node("prefix", one) for one in given.get("prefix", ()) if one],
        [node("given", one) for one in given.get("given", ()) if one],
        node("family", family, qualifier=qualifier) if family else None,
        [node("suffix", one) for one in given.get("suffix", ()) if one],
    ]
    has_parts = bool(family or any(given.get(key) for key in ("prefix", "given", "suffix")))
    if not has_parts and not given.get("text"):
        return node(tag, nullFlavor=absence(given) or "UNK")
    text = None if has_parts else given["text"]
    return node(tag, text, parts, time, use=_NAME_USES.get(given.get("use", "")))


def addresses(given: Any, *, is_needed: bool = False) -> list[Node]:
    """AD of each; where one is needed and there is none, that it is unknown."""
    found = [_address(one) for one in given or ()]
    return found or ([node("addr", nullFlavor="UNK")] if is_needed else [])


def _address(given: JsonObject) -> Node:
    parts = [node("streetAddressLine", one) for one in given.get("line", ()) if one]
    for key, tag in (
        ("city", "city"),
        ("district", "county"),
        ("state", "state"),
        ("postalCode", "postalCode"),
        ("country", "country"),
    ):
        if given.get(key):
            parts.append(node(tag, given[key]))
    if not parts and not given.get("text"):
        return node("addr", nullFlavor=absence(given) or "UNK")
    return node("addr", None if parts else given["text"], parts, use=_ADDRESS_USES.get(given.get("use", "")))


def telecoms(given: Any, *, is_needed: bool = False) -> list[Node]:
    """TEL of each; where one is needed and there is none, that it is unknown."""
    found = []
    for one in given or ():
        if one.get("value"):
            value = _SCHEMES.get(one.get("system", ""), "") + one["value"]
            found.append(node("telecom", value=value, use=_TELECOM_USES.get(one.get("use", ""))))
    return found or ([node("telecom", nullFlavor="UNK")] if is_needed else [])


def organization(tag: str, given: JsonObject, book: Book) -> Node:
    """An organization."""
    title = given.get("name")
    return node(
        tag,
        book.ids(given),
        node("name", title) if title else None,
        telecoms(given.get("telecom")),
        addresses(given.get("address")),
    )


def entity(tag: str, reference: JsonObject, within: JsonObject, book: Book) -> Node:
    """assignedEntity or assignedAuthor: whom a reference means."""
    found = book.get(reference, within)
    if found is None:
        return _stranger(tag, reference)
    match found["resourceType"]:
        case "PractitionerRole":
            return _role(tag, found, book)
        case "Organization":
            where = organization("representedOrganization", found, book)
            return node(tag, node("id", nullFlavor="NA"), where)
        case "Device":
            return _device(tag, found, book)
    first = next(iter(found.get("name", ())), None)
    person = node("assignedPerson", name(first)) if first else None
    kind = next((one["code"] for one in found.get("qualification", ()) if one.get("code")), None)
    return node(
        tag,
        book.ids(found),
        code("code", kind) if kind else None,
        addresses(found.get("address")),
        telecoms(found.get("telecom")),
        person,
    )


def _stranger(tag: str, reference: JsonObject) -> Node:
    display = reference.get("display")
    person = node("assignedPerson", node("name", display)) if display else None
    identifier = reference.get("identifier")
    return node(tag, ids([identifier] if identifier else ()), person)


def _role(tag: str, role: JsonObject, book: Book) -> Node:
    who = book.get(role.get("practitioner"), role) or {}
    where = book.get(role.get("organization"), role)
    first = next(iter(who.get("name", ())), None)
    kind = next(iter(role.get("code", ())), None)
    display = (role.get("practitioner") or {}).get("display")
    person = node("assignedPerson", name(first)) if first else None
    if person is None and display:
        person = node("assignedPerson", node("name", display))
    return node(
        tag,
        book.ids(who) if who.get("identifier") else book.ids(role),
        code("code", kind) if kind else None,
        addresses(who.get("address")),
        telecoms(who.get("telecom") or role.get("telecom")),
        person,
        organization("representedOrganization", where, book) if where else None,
    )


def _device(tag: str, device: JsonObject, book: Book) -> Node:
    called = next((one["name"] for one in device.get("deviceName", ()) if one.get("name")), "")
    if tag != "assignedAuthor":
        return node(tag, book.ids(device))
    model = device.get("modelNumber") or called or "UNK"
    software = node("softwareName", called) if called else None
    return node(
        tag,
        book.ids(device),
        node("assignedAuthoringDevice", node("manufacturerModelName", model), software),
    )


def author(reference: JsonObject | None, time: str | None, within: JsonObject, book: Book) -> Node | None:
    """The author of a statement; None when nothing is said of one."""
    if not reference and not time:
        return None
    who = entity("assignedAuthor", reference, within, book) if reference else None
    if who is None:
        who = node("assignedAuthor", node("id", nullFlavor="UNK"))
    return node("author", moment("time", time), who)


def performer(
    reference: JsonObject | None, within: JsonObject, book: Book, *, type_code: str = "", function: Any = None
) -> Node | None:
    """Who did it; None when nothing is said."""
    if not reference:
        return None
    return node(
        "performer",
        code("sdtc:functionCode", function) if function else None,
        entity("assignedEntity", reference, within, book),
        typeCode=type_code,
    )


def relative(found: JsonObject, book: Book, class_code: str | None = "PRS") -> Node:
    """participantRole of a RelatedPerson (or of the patient): no assigned entity, which would be a professional."""
    called = next(iter(found.get("name", ())), None)
    is_patient = found["resourceType"] == "Patient"
    relation = None if is_patient else next(iter(found.get("relationship", ())), None)
    return node(
        "participantRole",
        book.ids(found),
        code("code", relation) if relation else None,
        addresses(found.get("address")),
        telecoms(found.get("telecom")),
        node("playingEntity", name(called)) if called else None,
        classCode=class_code,
    )
