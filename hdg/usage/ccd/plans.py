"""Encounters, goals and what is planned as entries. C-CDA R2.1 §3."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.medications import PRIORITIES, PRIORITY
from hdg.usage.ccd.observations import value_words
from hdg.usage.ccd.parts import LOINC, comments, first, indications, negation, related, status_code, visit
from hdg.usage.ccd.people import addresses, author, performer, telecoms
from hdg.usage.ccd.problems import problem
from hdg.usage.ccd.values import code, interval, literal, measure, said, span, stamp, when
from hdg.usage.ccd.xml import Node, node

__all__ = ["appointment", "diagnoses", "encounter", "goal", "is_planned", "order"]

JsonObject = dict[str, Any]

_ENCOUNTER = {
    "finished": "completed",
    "in-progress": "active",
    "arrived": "active",
    "triaged": "active",
    "onleave": "suspended",
    "cancelled": "cancelled",
    "planned": "active",
}
_GOAL = {
    "active": "active",
    "accepted": "active",
    "planned": "new",
    "proposed": "new",
    "completed": "completed",
    "cancelled": "cancelled",
    "rejected": "cancelled",
    "on-hold": "suspended",
}
_ORDER = {
    "active": "active",
    "completed": "completed",
    "revoked": "cancelled",
    "on-hold": "suspended",
    "draft": "new",
}
_MOODS = {"plan": "INT", "directive": "INT", "proposal": "PRP", "option": "PRP"}


def is_planned(resource: JsonObject) -> bool:
    """Whether an encounter has not begun."""
    return resource.get("status") == "planned"


def diagnoses(resource: JsonObject, book: Book) -> list[JsonObject]:
    """The encounter's diagnoses that are on no problem list."""
    found = []
    for one in resource.get("diagnosis", ()):
        meant = book.get(one.get("condition"), resource)
        if meant is None or meant["resourceType"] != "Condition":
            continue
        kinds = {first(category) for category in meant.get("category", ())}
        if kinds == {"encounter-diagnosis"}:
            found.append(meant)
    return found


def _class(resource: JsonObject) -> JsonObject:
    """The kinds of an encounter, its class among them."""
    types = resource.get("type", ())
    codings = [coding for one in types for coding in one.get("coding", ())]
    kind = resource.get("class") or {}
    if kind.get("code") and kind.get("system", "").endswith("v3-ActCode"):
        same = [
            one for one in codings if (one.get("system"), one.get("code")) == (kind["system"], kind["code"])
        ]
        codings += [] if same else [kind]
    text = next((one["text"] for one in types if one.get("text")), "")
    return {"coding": codings, **({"text": text} if text else {})}


def encounter(resource: JsonObject, book: Book) -> Node:
    """An encounter activity, or a planned encounter."""
    planned = is_planned(resource)
    section = "plan" if planned else "encounters"
    period = resource.get("period")
    status = resource.get("status", "")
    concept = _class(resource)
    time = " to ".join((period or {})[key] for key in ("start", "end") if (period or {}).get(key))
    book_text = book.row(section, resource, said(concept) or "encounter", time, status)
    effective = interval("effectiveTime", period) if period else node("effectiveTime", nullFlavor="UNK")
    leave = (resource.get("hospitalization") or {}).get("dischargeDisposition")
    acts = []
    for meant in diagnoses(resource, book):
        if not planned and book.begin(meant):
            kind = node("code", code="29308-4", codeSystem=LOINC)
            inner = related("SUBJ", problem(meant, book, section))
            act = node("act", template("80", "2015-08-01"), kind, inner, classCode="ACT", moodCode="EVN")
            acts.append(related("COMP", act))
            book.end(meant)
    return node(
        "encounter",
        template("40", "2014-06-09") if planned else template("49", "2015-08-01"),
        book.ids(resource),
        code("code", concept),
        book_text,
        status_code(_ENCOUNTER.get(status)),
        effective,
        code("sdtc:dischargeDispositionCode", leave) if leave else None,
        code("priorityCode", resource["priority"]) if resource.get("priority") else None,
        [_participant(one, resource, book) for one in resource.get("participant", ())],
        [_place(one, resource, book) for one in resource.get("location", ())],
        indications(resource, book),
        acts,
        classCode="ENC",
        moodCode="INT" if planned else "EVN",
    )


_ASKED = {"proposed": "ARQ", "pending": "ARQ", "waitlist": "ARQ", "booked": "APT"}
"""R4 appointmentstatus → v3 ActMood; what was cancelled or missed is no plan, what was kept is an Encounter."""


def appointment(resource: JsonObject, book: Book) -> Node | None:
    """A planned encounter of an Appointment that is asked for or made; None of any other."""
    mood = _ASKED.get(resource.get("status", ""))
    if mood is None:
        return None
    kinds = resource.get("serviceType", ()) or resource.get("serviceCategory", ())
    concept: JsonObject = next(iter(kinds), {})
    period: JsonObject = {key: resource[key] for key in ("start", "end") if resource.get(key)}
    period = period or next(iter(resource.get("requestedPeriod", ())), {})
    time = " to ".join(period[key] for key in ("start", "end") if period.get(key))
    text = book.row("plan", resource, said(concept) or "appointment", time, resource["status"])
    actors = [one["actor"] for one in resource.get("participant", ()) if one.get("actor")]
    found = [(one, book.get(one, resource) or {}) for one in actors]
    people = [
        one for one, meant in found if meant.get("resourceType") in ("Practitioner", "PractitionerRole")
    ]
    places = [one for one, meant in found if meant.get("resourceType") == "Location"]
    return node(
        "encounter",
        template("40", "2014-06-09"),
        book.ids(resource),
        code("code", concept),
        text,
        status_code("active"),
        interval("effectiveTime", period) if period else None,
        [performer(one, resource, book) for one in people],
        [_place({"location": one}, resource, book) for one in places],
        indications(resource, book),
        _instruction(resource.get("patientInstruction")),
        comments(resource, book, *(f"Also: {said(one)}" for one in kinds[1:] if said(one))),
        classCode="ENC",
        moodCode=mood,
    )


def _participant(given: JsonObject, resource: JsonObject, book: Book) -> Node | None:
    function = next(iter(given.get("type", ())), None)
    return performer(given.get("individual"), resource, book, function=function)


def _place(given: JsonObject, resource: JsonObject, book: Book) -> Node | None:
    found = book.get(given.get("location"), resource)
    title = (found or {}).get("name") or (given.get("location") or {}).get("display")
    if found is None and not title:
        return None
    kind = next(iter((found or {}).get("type", ())), None)
    address = (found or {}).get("address")
    playing = node("playingEntity", node("name", title) if title else None, classCode="PLC")
    role = node(
        "participantRole",
        template("32"),
        book.ids(found) if found and found.get("identifier") else None,
        code("code", kind),
        addresses([address] if address else ()),
        telecoms((found or {}).get("telecom")),
        playing if title else None,
        classCode="SDLOC",
    )
    return node("participant", role, typeCode="LOC")


def goal(resource: JsonObject, book: Book) -> Node:
    """A goal observation. One target is a value with its date; more are said in the narrative."""
    status = resource.get("lifecycleStatus", "")
    concept = resource.get("description")
    target: JsonObject = next(iter(resource.get("target", ())), {})
    start = resource.get("startDate")
    value = _detail(target)
    book.row("goals", resource, said(concept), status, start or "", target.get("dueDate") or "")
    low = node("low", value=stamp(start)) if start else None
    high = node("high", value=stamp(target["dueDate"])) if target.get("dueDate") else None
    time = node("effectiveTime", low, high) if low is not None or high is not None else None
    return node(
        "observation",
        template("121"),
        book.ids(resource),
        code("code", concept),
        status_code(_GOAL.get(status)),
        time,
        value,
        author(resource.get("expressedBy"), resource.get("statusDate"), resource, book),
        comments(resource, book, *_goal_words(resource)),
        classCode="OBS",
        moodCode="GOL",
    )


def _goal_words(resource: JsonObject) -> list[str]:
    """What of a goal CDA has no place for: how far it is reached, how important it is, the targets after the first."""
    found = [
        f"{label}: {words}"
        for label, name in (("Achievement", "achievementStatus"), ("Priority", "priority"))
        if (words := said(resource.get(name)))
    ]
    for target in resource.get("target", ())[1:]:
        value = value_words({name.replace("detail", "value"): one for name, one in target.items()})
        parts = [said(target.get("measure")), value, target.get("dueDate", "")]
        found.append("Further target: " + "; ".join(part for part in parts if part))
    return found


def _detail(target: JsonObject) -> Node | None:
    if target.get("detailQuantity"):
        return measure("value", target["detailQuantity"], xsi=True)
    if target.get("detailRange"):
        return span("value", target["detailRange"], xsi=True)
    if target.get("detailCodeableConcept"):
        return code("value", target["detailCodeableConcept"], xsi="CD")
    if target.get("detailString"):
        return node("value", target["detailString"], xsi="ST")
    if isinstance(target.get("detailBoolean"), bool):
        return node("value", xsi="BL", value="true" if target["detailBoolean"] else "false")
    if target.get("detailInteger") is not None:
        return node("value", xsi="INT", value=literal(target["detailInteger"]))
    return None


def order(resource: JsonObject, book: Book) -> Node:
    """A planned act of a ServiceRequest; negated when it is not to be done."""
    is_denied = resource.get("doNotPerform") is True
    what = said(resource.get("code"))
    status = resource.get("status", "")
    text = book.row(
        "plan",
        resource,
        f"not to be done: {what}" if is_denied else what,
        resource.get("occurrenceDateTime", ""),
        status,
    )
    details = "; ".join(words for one in resource.get("orderDetail", ()) if (words := said(one)))
    sites = "; ".join(words for one in resource.get("bodySite", ()) if (words := said(one)))
    urgent = resource.get("priority")
    return node(
        "act",
        template("39", "2014-06-09"),
        book.ids(resource),
        code("code", resource.get("code")),
        text,
        status_code(_ORDER.get(status)),
        when(resource, "occurrence"),
        node("priorityCode", code=PRIORITIES[urgent], codeSystem=PRIORITY) if urgent in PRIORITIES else None,
        [performer(one, resource, book) for one in resource.get("performer", ())],
        author(resource.get("requester"), resource.get("authoredOn"), resource, book),
        [related("REFR", one) for one in visit(resource, book)],
        indications(resource, book),
        _instruction(resource.get("patientInstruction")),
        comments(resource, book, f"Details: {details}" if details else "", f"Site: {sites}" if sites else ""),
        classCode="ACT",
        moodCode=_MOODS.get(resource.get("intent", ""), "RQO"),
        negationInd=negation(is_denied, resource),
    )


def _instruction(words: str | None) -> Node | None:
    if not words:
        return None
    kind = node("code", code="409073007", codeSystem="2.16.840.1.113883.6.96")
    done = node("statusCode", code="completed")
    inner = node(
        "act", template("20", "2014-06-09"), kind, node("text", words), done, classCode="ACT", moodCode="INT"
    )
    return related("SUBJ", inner, is_inverse=True)
