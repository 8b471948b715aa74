"""Insurance policies as entries. C-CDA R2.1 §3 Coverage Activity, Policy Activity."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.parts import first, loinc, related
from hdg.usage.ccd.people import organization, relative
from hdg.usage.ccd.values import code, ids, interval, literal, said
from hdg.usage.ccd.xml import Node, node

__all__ = ["coverage"]

JsonObject = dict[str, Any]

_STATUS = {"active": "completed", "cancelled": "cancelled", "draft": "new"}
"""That the policy is stated is completed (C-CDA R2.1, Policy Activity), unless it does not stand."""
_ROLES = "http://terminology.hl7.org/CodeSystem/v3-RoleClass"


def coverage(resource: JsonObject, book: Book) -> Node:
    """A coverage activity around one policy."""
    plan, others = _classes(resource)
    payors = [book.get(one, resource) for one in resource.get("payor", ())]
    names = [_payor_words(one, meant) for one, meant in zip(resource.get("payor", ()), payors, strict=True)]
    holder, words = _holder(resource, book)
    text = "; ".join(part for part in (said(resource.get("type")), plan, *others, *words) if part)
    period = resource.get("period") or {}
    time = " to ".join(period[key] for key in ("start", "end") if period.get(key))
    book.row("payers", resource, "; ".join(names), text, resource.get("subscriberId", ""), time)
    policy = node(
        "act",
        template("61", "2015-08-01"),
        _numbers(resource, book),
        code("code", resource.get("type")),
        node("statusCode", code=_STATUS.get(resource.get("status", ""), "completed")),
        [_payor(one, meant, book) for one, meant in zip(resource.get("payor", ()), payors, strict=True)],
        _covered(resource),
        holder,
        _plan(plan),
        classCode="ACT",
        moodCode="EVN",
    )
    place = node("sequenceNumber", value=literal(resource["order"])) if resource.get("order") else None
    inner = node("entryRelationship", place, policy, typeCode="COMP")
    return node(
        "act",
        template("60", "2015-08-01"),
        node("id", nullFlavor="NI"),
        loinc("48768-6"),
        node("statusCode", code="completed"),
        inner,
        classCode="ACT",
        moodCode="EVN",
    )


def _is_member(identifier: JsonObject) -> bool:
    return first(identifier.get("type")) == "MB"


def _numbers(resource: JsonObject, book: Book) -> list[Node]:
    """The numbers of the policy; not those of the member."""
    return book.ids(
        {**resource, "identifier": [o for o in resource.get("identifier", ()) if not _is_member(o)]}
    )


def _covered(resource: JsonObject) -> Node:
    """Who is covered: the patient, under the number that the insurer gave."""
    numbers = [one for one in resource.get("identifier", ()) if _is_member(one)]
    given = resource.get("subscriberId")
    if given and given not in [one.get("value") for one in numbers]:
        numbers = [{"value": given}, *numbers]
    relation = resource.get("relationship")
    period = resource.get("period")
    return node(
        "participant",
        template("89"),
        interval("time", period) if period else None,
        node(
            "participantRole",
            ids(numbers),
            code("code", relation) if relation else None,
            classCode="PAT",
        ),
        typeCode="COV",
    )


def _holder(resource: JsonObject, book: Book) -> tuple[Node | None, list[str]]:
    """Who holds the policy, a person; who else has a part in it, in words."""
    words = []
    people: list[JsonObject] = []
    for label, key in (("held by", "policyHolder"), ("subscriber", "subscriber")):
        meant = book.get(resource.get(key), resource)
        is_person = meant is not None and meant["resourceType"] in ("Patient", "RelatedPerson")
        if meant is not None and is_person and people in ([], [meant]):
            people = [meant]
            continue
        title = (resource.get(key) or {}).get("display") or _title(meant)
        words += [f"{label} {title}"] if title else []
    if not people:
        return None, words
    role = relative(people[0], book, None if people[0]["resourceType"] == "Patient" else "PRS")
    return node("participant", template("90"), role, typeCode="HLD"), words


def _title(meant: JsonObject | None) -> str:
    if meant is None:
        return ""
    given = meant.get("name")
    if isinstance(given, str):
        return given
    called: JsonObject = next(iter(given or ()), {})
    return str(called.get("text") or " ".join([*called.get("given", ()), called.get("family", "")])).strip()


def _payor_words(reference: JsonObject, meant: JsonObject | None) -> str:
    return _title(meant) or str(reference.get("display", ""))


def _payor(reference: JsonObject, meant: JsonObject | None, book: Book) -> Node:
    """Who pays."""
    kind = next(iter((meant or {}).get("type", ())), None)
    default = {"coding": [{"system": _ROLES, "code": "PAYOR"}]}
    where = None
    if meant is not None and meant["resourceType"] == "Organization":
        where = organization("representedOrganization", meant, book)
    elif title := _payor_words(reference, meant):
        tag = "representedOrganization" if meant is None else "assignedPerson"
        where = node(tag, node("name", title))
    entity = node("assignedEntity", node("id", nullFlavor="NI"), code("code", kind or default), where)
    return node("performer", template("87"), entity, typeCode="PRF")


def _classes(resource: JsonObject) -> tuple[str, list[str]]:
    """The name of the plan; the other classes in words."""
    plan, words = "", []
    for one in resource.get("class", ()):
        title = str(one.get("name") or one.get("value") or "")
        if first(one.get("type")) == "plan" and not plan:
            plan = title
        else:
            words.append(f"{said(one.get('type'))} {title}".strip())
    return plan, words


def _plan(title: str) -> Node | None:
    if not title:
        return None
    kind = node("code", nullFlavor="NI")
    inner = node(
        "act", node("id", nullFlavor="NI"), kind, node("text", title), classCode="ACT", moodCode="DEF"
    )
    return related("REFR", inner)
