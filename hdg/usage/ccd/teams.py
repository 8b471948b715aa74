"""Care teams and plans of care as entries. C-CDA R2.1 §3 Care Team Organizer, Planned Intervention Act."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.parts import comments, loinc, related, status_code
from hdg.usage.ccd.people import author, performer, relative
from hdg.usage.ccd.plans import order
from hdg.usage.ccd.values import code, ids, interval, said
from hdg.usage.ccd.xml import Node, node

__all__ = ["care_plan", "care_team"]

JsonObject = dict[str, Any]

_VERSION = "2022-06-01"
_TEAM = {"active": "active", "inactive": "completed", "suspended": "suspended", "proposed": "new"}
_PLAN = {
    "active": "active",
    "completed": "completed",
    "revoked": "cancelled",
    "on-hold": "suspended",
    "draft": "new",
}
_ACTIVITY = {
    "not-started": "draft",
    "scheduled": "active",
    "in-progress": "active",
    "on-hold": "on-hold",
    "completed": "completed",
    "cancelled": "revoked",
    "stopped": "revoked",
}
"""R4 care-plan-activity-status → request-status."""


def _span(period: JsonObject | None) -> str:
    return " to ".join((period or {})[key] for key in ("start", "end") if (period or {}).get(key))


# --- teams --------------------------------------------------------------------------------------------------------


def care_team(resource: JsonObject, book: Book) -> Node:
    """A care team organizer; a member is an act with who it is."""
    status = resource.get("status", "")
    members = [one for one in resource.get("participant", ()) if one.get("member")]
    names = "; ".join(filter(None, (_member_words(one, resource, book) for one in members)))
    book.row("teams", resource, resource.get("name", ""), names, status, _span(resource.get("period")))
    concept: JsonObject = {"coding": [{"system": "http://loinc.org", "code": "86744-0"}]}
    if resource.get("name"):
        concept["text"] = resource["name"]
    reasons = [f"Reason: {words}" for one in resource.get("reasonCode", ()) if (words := said(one))]
    acts = [relation[0] for relation in comments(resource, book, *reasons) if relation is not None]
    period = resource.get("period")
    return node(
        "organizer",
        template("500", _VERSION),
        book.ids(resource),
        code("code", concept),
        status_code(_TEAM.get(status)),
        interval("effectiveTime", period) if period else None,
        [node("component", _kind(one)) for one in resource.get("category", ())],
        [node("component", _member(one, role, resource, book)) for one in members for role in _roles(one)],
        [node("component", one) for one in acts],
        classCode="CLUSTER",
        moodCode="EVN",
    )


def _kind(category: JsonObject) -> Node:
    return node(
        "observation",
        template("500.2", "2019-07-01"),
        node("id", nullFlavor="NI"),
        loinc("86744-0"),
        node("statusCode", code="completed"),
        code("value", category, xsi="CD"),
        classCode="OBS",
        moodCode="EVN",
    )


def _roles(member: JsonObject) -> list[JsonObject | None]:
    return list(member.get("role", ())) or [None]


def _member_words(member: JsonObject, resource: JsonObject, book: Book) -> str:
    meant = book.get(member["member"], resource)
    if meant is not None and meant["resourceType"] == "PractitionerRole":
        meant = book.get(meant.get("practitioner"), meant) or meant
    given = (meant or {}).get("name") or member["member"].get("display", "")
    if not isinstance(given, str):
        called: JsonObject = next(iter(given), {})
        given = called.get("text") or " ".join([*called.get("given", ()), called.get("family", "")])
    roles = ", ".join(words for one in member.get("role", ()) if (words := said(one)))
    return f"{given.strip()} ({roles})" if roles else str(given.strip())


def _member(member: JsonObject, role: JsonObject | None, resource: JsonObject, book: Book) -> Node:
    meant = book.get(member["member"], resource)
    period = member.get("period")
    is_relative = meant is not None and meant["resourceType"] == "RelatedPerson"
    time = interval("time", period) if period else None
    if meant is not None and is_relative:
        who = _relative(meant, role, time, book)
    else:
        who = performer(member["member"], resource, book, function=role)
        if who is not None and time is not None:
            who.insert(len(who) - 1, time)
    return node(
        "act",
        template("500.1", _VERSION),
        node("id", nullFlavor="NI"),
        loinc("85847-2"),
        node("statusCode", code=_TEAM.get(resource.get("status", ""), "active")),
        interval("effectiveTime", period) if period else None,
        who,
        classCode="PCPR",
        moodCode="EVN",
    )


def _relative(meant: JsonObject, function: JsonObject | None, time: Node | None, book: Book) -> Node:
    """Somebody close to the patient."""
    what = code("functionCode", function) if function else None
    return node("participant", what, time, relative(meant, book), typeCode="IND")


# --- plans --------------------------------------------------------------------------------------------------------


def care_plan(resource: JsonObject, book: Book) -> Node:
    """A planned intervention that names its activities, goals and problems by their numbers."""
    status = resource.get("status", "")
    categories = list(resource.get("category", ()))
    title = resource.get("title") or "; ".join(filter(None, map(said, categories))) or "plan of care"
    period = resource.get("period")
    text = book.row("plan", resource, title, _span(period), status)
    default = {"coding": [{"system": "http://snomed.info/sct", "code": "362956003"}]}
    activities: list[Node | None] = []
    for number, one in enumerate(resource.get("activity", ()), 1):
        activities += _activity(one, number, resource, book)
    named = [(one, "RSON") for one in resource.get("goal", ())]
    named += [(one, "SPRT") for one in resource.get("addresses", ())]
    words = [resource.get("title", ""), resource.get("description", "")]
    return node(
        "act",
        template("146", "2015-08-01"),
        book.ids(resource),
        code("code", categories[0] if categories else default),
        text,
        status_code(_PLAN.get(status)),
        interval("effectiveTime", period) if period else None,
        author(resource.get("author"), resource.get("created"), resource, book),
        activities,
        [_named(reference, type_code, resource, book) for reference, type_code in named],
        comments(resource, book, *words, *(f"Category: {said(one)}" for one in categories[1:])),
        classCode="ACT",
        moodCode="INT",
    )


def _activity(given: JsonObject, number: int, resource: JsonObject, book: Book) -> list[Node | None]:
    made = [_planned(given["reference"], resource, book)] if given.get("reference") else []
    made += [_named(one, "GEVL", resource, book) for one in given.get("outcomeReference", ())]
    detail = given.get("detail")
    if detail and detail.get("status") != "entered-in-error":
        notes = [*given.get("progress", ()), *({"text": t} for t in (detail.get("description"),) if t)]
        period = detail.get("scheduledPeriod")
        planned = {
            "resourceType": "ServiceRequest",
            "id": f"{resource.get('id', '')}-{number}",
            "intent": "plan",
            "status": _ACTIVITY.get(detail.get("status", ""), "unknown"),
            "code": detail.get("code") or detail.get("productCodeableConcept"),
            "doNotPerform": detail.get("doNotPerform"),
            "reasonCode": detail.get("reasonCode", ()),
            "performer": detail.get("performer", ()),
            "note": notes,
            **({"occurrencePeriod": period} if period else {}),
        }
        made.append(related("COMP", order(planned, book)))
    return made


def _planned(reference: JsonObject, within: JsonObject, book: Book) -> Node | None:
    """What is planned, by its number; whole, where something else has that number too."""
    meant = book.get(reference, within)
    if meant is not None and meant["resourceType"] == "ServiceRequest" and not book.is_alone(meant):
        return related("COMP", order(meant, book))
    return _named(reference, "COMP", within, book)


def _named(reference: JsonObject, type_code: str, within: JsonObject, book: Book) -> Node | None:
    """An entry by its number (C-CDA R2.1, Entry Reference); what is not here by what is said of it."""
    meant = book.get(reference, within)
    identifier = reference.get("identifier")
    if meant is None and not identifier:
        return None
    numbers = book.ids(meant) if meant is not None else ids([identifier or {}])
    inner = node(
        "act",
        template("122"),
        numbers,
        node("code", nullFlavor="NP"),
        node("statusCode", code="completed"),
        classCode="ACT",
        moodCode="EVN",
    )
    return related(type_code, inner)
