"""Observations and the organizers around them: results, vital signs, social history. C-CDA R2.1 §3."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.parts import visit
from hdg.usage.ccd.people import author, performer, relative
from hdg.usage.ccd.values import (
    absence,
    code,
    codings_of,
    interval,
    literal,
    measure,
    quantity,
    said,
    span,
    stamp,
    when,
)
from hdg.usage.ccd.xml import Node, node

__all__ = ["observation", "panel", "report", "section_of", "value_words"]

JsonObject = dict[str, Any]

_STATUS = {
    "final": "completed",
    "amended": "completed",
    "corrected": "completed",
    "preliminary": "active",
    "partial": "active",
    "appended": "completed",
    "cancelled": "cancelled",
    "registered": "new",
}
"""R4 observation-status and diagnostic-report-status → v3 ActStatus; unknown has none."""
_SECTIONS = {
    "laboratory": "results",
    "imaging": "results",
    "vital-signs": "vitals",
    "social-history": "social",
    "survey": "functional",
    "exam": "exam",
    "42348-3": "directives",
    "observation-adi-documentation": "directives",
}
"""R4 observation-category (of directives: LOINC, and US Core's category) → section."""
_TEMPLATES = {"results": ("2", "2015-08-01"), "vitals": ("27", "2014-06-09"), "social": ("38", "2015-08-01")}
_LOINC = "2.16.840.1.113883.6.1"


def section_of(resource: JsonObject) -> str:
    """The section where an Observation or report stands: by its category; 'history' where that says nothing."""
    for category in resource.get("category", ()):
        for coding in codings_of(category):
            if coding["code"] in _SECTIONS:
                return _SECTIONS[coding["code"]]
    return "results" if resource["resourceType"] == "DiagnosticReport" else "history"


def observation(
    resource: JsonObject, book: Book, section: str, templates: list[Node] | None = None
) -> Node | None:
    """An observation with its members; None for one that is being written (a circle)."""
    if not book.begin(resource):
        return None
    try:
        return _observation(resource, book, section, templates)
    finally:
        book.end(resource)


def _observation(resource: JsonObject, book: Book, section: str, templates: list[Node] | None) -> Node:
    carers = [one for focus in resource.get("focus", ()) if (one := book.get(focus, resource)) is not None]
    what = said(resource.get("code")) + (" (of a caregiver)" if carers else "")
    text = book.row(section, resource, what, value_words(resource), _time(resource))
    members: list[Node] = []
    for name, type_code in (("hasMember", "COMP"), ("derivedFrom", "SPRT")):
        for reference in resource.get(name, ()):
            meant = book.get(reference, resource)
            if meant is not None and meant["resourceType"] == "Observation":
                inner = observation(meant, book, section)
                members += [node("entryRelationship", inner, typeCode=type_code)] if inner is not None else []
    for part in resource.get("component", ()):
        members.append(node("entryRelationship", _component(part, resource, book, section), typeCode="COMP"))
    return node(
        "observation",
        template("72") if carers else _templates(resource, section) if templates is None else templates,
        book.ids(resource),
        code("code", resource.get("code")),
        text,
        _status(resource),
        _effective(resource),
        _value(resource),
        [code("interpretationCode", one) for one in resource.get("interpretation", ())],
        code("methodCode", resource["method"]) if resource.get("method") else None,
        code("targetSiteCode", resource["bodySite"]) if resource.get("bodySite") else None,
        [performer(one, resource, book) for one in resource.get("performer", ())],
        author(None, resource.get("issued"), resource, book),
        [node("participant", relative(one, book, "CAREGIVER"), typeCode="IND") for one in carers],
        [node("entryRelationship", one, typeCode="REFR") for one in visit(resource, book)],
        members,
        _notes(resource, book),
        [node("reference", one, typeCode="REFR") for one in _documents(resource, book)],
        [_range(one) for one in resource.get("referenceRange", ())],
        classCode="OBS",
        moodCode="EVN",
    )


def _notes(resource: JsonObject, book: Book) -> list[Node]:
    found = []
    for note in resource.get("note", ()):
        kind = node("code", code="48767-8", codeSystem=_LOINC)
        said_ = node("text", note.get("text", ""))
        who = note.get("authorReference")
        act = node(
            "act",
            template("64"),
            kind,
            said_,
            author(who, note.get("time"), resource, book),
            classCode="ACT",
            moodCode="EVN",
        )
        found.append(node("entryRelationship", act, typeCode="SUBJ", inversionInd="true"))
    return found


def _documents(resource: JsonObject, book: Book) -> list[Node]:
    """The documents that an observation rests on, such as the one that a directive was signed in."""
    found = []
    for reference in resource.get("derivedFrom", ()):
        meant = book.get(reference, resource)
        if meant is None or meant["resourceType"] != "DocumentReference":
            continue
        attached: JsonObject = next((one.get("attachment", {}) for one in meant.get("content", ())), {})
        kind = code("code", meant["type"]) if meant.get("type") else None
        found.append(
            node(
                "externalDocument",
                book.ids(meant),
                kind,
                _attached(attached),
                classCode="DOCCLIN",
                moodCode="EVN",
            )
        )
    return found


def _attached(attachment: JsonObject) -> Node | None:
    """ED: the bytes, or where they are."""
    kind = attachment.get("contentType")
    if attachment.get("data"):
        return node("text", attachment["data"], mediaType=kind, representation="B64")
    where = node("reference", value=attachment["url"]) if attachment.get("url") else None
    return node("text", where, mediaType=kind) if where is not None else None


def _templates(resource: JsonObject, section: str) -> list[Node]:
    if section == "directives":  # what such a one holds is none
        return template("48", "2015-08-01") if section_of(resource) == section else []
    if section == "social" and any(one["code"] == "72166-2" for one in codings_of(resource.get("code"))):
        return template("78", "2014-06-09")
    return template(*_TEMPLATES[section]) if section in _TEMPLATES else []


def _component(part: JsonObject, whole: JsonObject, book: Book, section: str) -> Node:
    """A component: in CDA an observation of its own, at the time and with the status of the whole."""
    return node(
        "observation",
        template(*_TEMPLATES[section]) if section in _TEMPLATES else [],
        node("id", nullFlavor="NI"),
        code("code", part.get("code")),
        _status(whole),
        _effective(whole),
        _value(part),
        [code("interpretationCode", one) for one in part.get("interpretation", ())],
        [_range(one) for one in part.get("referenceRange", ())],
        classCode="OBS",
        moodCode="EVN",
    )


def _status(resource: JsonObject) -> Node:
    status = _STATUS.get(resource.get("status", ""))
    return node("statusCode", code=status) if status else node("statusCode", nullFlavor="UNK")


def _effective(resource: JsonObject) -> Node:
    found = when(resource, "effective", is_over=True)
    return found if found is not None else node("effectiveTime", nullFlavor="UNK")


def _time(resource: JsonObject) -> str:
    period = resource.get("effectivePeriod") or {}
    joined = " to ".join(period[key] for key in ("start", "end") if period.get(key))
    return str(resource.get("effectiveDateTime") or resource.get("effectiveInstant") or joined)


def _value(resource: JsonObject) -> Node | None:
    if resource.get("valueQuantity"):
        return measure("value", resource["valueQuantity"], xsi=True)
    if resource.get("valueCodeableConcept"):
        return code("value", resource["valueCodeableConcept"], xsi="CD")
    if resource.get("valueString") is not None:
        return node("value", resource["valueString"], xsi="ST")
    if resource.get("valueTime") is not None:
        return node("value", resource["valueTime"], xsi="ST")
    if isinstance(resource.get("valueBoolean"), bool):
        return node("value", xsi="BL", value="true" if resource["valueBoolean"] else "false")
    if resource.get("valueInteger") is not None:
        return node("value", xsi="INT", value=literal(resource["valueInteger"]))
    if resource.get("valueDateTime"):
        return node("value", xsi="TS", value=stamp(resource["valueDateTime"]))
    if resource.get("valuePeriod"):
        return interval("value", resource["valuePeriod"], xsi="IVL_TS")
    if resource.get("valueRange"):
        return span("value", resource["valueRange"], xsi=True)
    if resource.get("valueRatio"):
        return _ratio(resource["valueRatio"])
    if resource.get("valueSampledData"):
        return node("value", value_words(resource), xsi="ST")
    if resource.get("dataAbsentReason"):
        return node("value", xsi="CD", nullFlavor=absence(resource["dataAbsentReason"]) or "UNK")
    return None


def _ratio(ratio: JsonObject) -> Node:
    """RTO. A bound that has a comparator is said in words: RTO has none."""
    parts = [ratio.get(name) or {} for name in ("numerator", "denominator")]
    if any(part.get("comparator") for part in parts):
        return node("value", " : ".join(map(_amount, parts)), xsi="ST")
    return node(
        "value",
        quantity("numerator", parts[0], xsi="PQ"),
        quantity("denominator", parts[1], xsi="PQ"),
        xsi="RTO_PQ_PQ",
    )


def _range(given: JsonObject) -> Node:
    bounds = None
    if given.get("low") or given.get("high"):
        bounds = span("value", given, xsi=True)
    text = given.get("text") or "; ".join(
        words for words in (said(given.get("type")), _bounds(given.get("age"))) if words
    )
    meaning = next(iter(given.get("appliesTo", ())), None)
    return node(
        "referenceRange",
        node(
            "observationRange",
            node("text", text) if text else None,
            bounds,
            code("interpretationCode", meaning) if meaning else None,
        ),
    )


def _amount(given: JsonObject | None) -> str:
    given = given or {}
    value = given.get("value")
    number = "" if value is None else literal(value)
    unit = given.get("unit") or given.get("code") or ""
    return f"{given.get('comparator', '')}{number}{' ' + unit if unit else ''}".strip()


def _bounds(given: JsonObject | None) -> str:
    if not given:
        return ""
    return " to ".join(_amount(given.get(name)) or "?" for name in ("low", "high"))


def value_words(resource: JsonObject) -> str:
    """The value in words, for the narrative."""
    if resource.get("valueQuantity"):
        return _amount(resource["valueQuantity"])
    if resource.get("valueCodeableConcept"):
        return said(resource["valueCodeableConcept"])
    if resource.get("valueRange"):
        return _bounds(resource["valueRange"])
    if resource.get("valueRatio"):
        return " : ".join(_amount(resource["valueRatio"].get(name)) for name in ("numerator", "denominator"))
    if resource.get("valuePeriod"):
        return " to ".join(resource["valuePeriod"].get(name, "?") for name in ("start", "end"))
    if resource.get("valueSampledData"):
        return str(resource["valueSampledData"].get("data", "")) or "a curve"
    for kind in ("String", "DateTime", "Time"):
        if resource.get(f"value{kind}") is not None:
            return str(resource[f"value{kind}"])
    if isinstance(resource.get("valueBoolean"), bool):
        return "yes" if resource["valueBoolean"] else "no"
    if resource.get("valueInteger") is not None:
        return literal(resource["valueInteger"])
    parts = [f"{said(one.get('code'))} {value_words(one)}" for one in resource.get("component", ())]
    return "; ".join(parts) or said(resource.get("dataAbsentReason"))


# --- organizers ---------------------------------------------------------------------------------------------------


def report(resource: JsonObject, book: Book) -> Node:
    """A result organizer of a DiagnosticReport."""
    book.written.add(book.name(resource))
    section = section_of(resource)
    book.row(section, resource, said(resource.get("code")), resource.get("conclusion", ""), _time(resource))
    found = []
    for reference in resource.get("result", ()):
        meant = book.get(reference, resource)
        if meant is not None and meant["resourceType"] == "Observation":
            found.append(observation(meant, book, section))
    conclusion = resource.get("conclusion")
    comment = None
    if conclusion:
        comment = node(
            "act",
            template("64"),
            node("code", code="48767-8", codeSystem=_LOINC),
            node("text", conclusion),
            classCode="ACT",
            moodCode="EVN",
        )
    time = when(resource, "effective", is_over=True)
    return node(
        "organizer",
        template("1", "2015-08-01"),
        book.ids(resource),
        code("code", resource.get("code")),
        _status(resource),
        time,
        [performer(one, resource, book) for one in resource.get("performer", ())],
        author(None, resource.get("issued"), resource, book),
        [node("component", one) for one in (*found, comment, *visit(resource, book)) if one is not None],
        classCode="BATTERY",
        moodCode="EVN",
    )


def panel(resource: JsonObject, book: Book, section: str) -> Node | None:
    """What stands in a section of organizers: one that holds its members, or one around a single observation."""
    holds = resource.get("hasMember") and _value(resource) is None and not resource.get("component")
    if section == "vitals" and holds:
        return _vitals(resource, book)
    inner = observation(resource, book, section)
    if inner is None:
        return None
    if section == "vitals":
        name = node("code", code="46680005", codeSystem="2.16.840.1.113883.6.96", displayName="Vital signs")
        name.append(node("translation", code="74728-7", codeSystem=_LOINC))
        kind, templates = "CLUSTER", template("26", "2015-08-01")
    else:
        name, kind, templates = code("code", resource.get("code")), "BATTERY", template("1", "2015-08-01")
    return node(
        "organizer",
        templates,
        node("id", nullFlavor="NI"),
        name,
        _status(resource),
        when(resource, "effective", is_over=True),
        node("component", inner),
        classCode=kind,
        moodCode="EVN",
    )


def _vitals(resource: JsonObject, book: Book) -> Node | None:
    if not book.begin(resource):
        return None
    book.row("vitals", resource, said(resource.get("code")), "", _time(resource))
    found = []
    for reference in resource.get("hasMember", ()):
        meant = book.get(reference, resource)
        if meant is not None and meant["resourceType"] == "Observation":
            found.append(observation(meant, book, "vitals"))
    book.end(resource)
    return node(
        "organizer",
        template("26", "2015-08-01"),
        book.ids(resource),
        code("code", resource.get("code")),
        _status(resource),
        _effective(resource),
        [performer(one, resource, book) for one in resource.get("performer", ())],
        author(None, resource.get("issued"), resource, book),
        [node("component", one) for one in found if one is not None],
        classCode="CLUSTER",
        moodCode="EVN",
    )
