"""Immunizations, procedures and family histories as entries. C-CDA R2.1 §3.

What was not given or not done is negated.
"""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.devices import products
from hdg.usage.ccd.medications import material
from hdg.usage.ccd.observations import observation
from hdg.usage.ccd.parts import (
    ACT_CODE,
    LOINC,
    SCT,
    comments,
    finding,
    first,
    indications,
    onset_age,
    related,
    snomed,
    span_words,
    status_code,
    texts,
    visit,
)
from hdg.usage.ccd.people import author, organization, performer
from hdg.usage.ccd.values import code, measure, moment, said, stamp, when
from hdg.usage.ccd.xml import Node, node

__all__ = ["family", "immunization", "procedure"]

JsonObject = dict[str, Any]

_PROCEDURE_STATUS = {
    "completed": "completed",
    "in-progress": "active",
    "stopped": "aborted",
    "on-hold": "suspended",
    "preparation": "new",
    "not-done": "completed",
}


def immunization(resource: JsonObject, book: Book) -> Node:
    """An immunization activity; negated when it was not given."""
    is_refused = resource.get("status") == "not-done"
    what = said(resource.get("vaccineCode"))
    time = resource.get("occurrenceDateTime") or resource.get("occurrenceString") or ""
    text = book.row("immunizations", resource, f"not given: {what}" if is_refused else what, time)
    dose = next(
        (
            str(one["doseNumberPositiveInt"])
            for one in resource.get("protocolApplied", ())
            if one.get("doseNumberPositiveInt")
        ),
        "",
    )
    maker = book.get(resource.get("manufacturer"), resource)
    return node(
        "substanceAdministration",
        template("52", "2015-08-01"),
        book.ids(resource),
        text,
        node("statusCode", code="completed"),
        when(resource, "occurrence")
        if not resource.get("occurrenceString")
        else node("effectiveTime", nullFlavor="OTH"),
        node("repeatNumber", value=dose) if dose else None,
        code("routeCode", resource["route"]) if resource.get("route") else None,
        code("approachSiteCode", resource["site"]) if resource.get("site") else None,
        measure("doseQuantity", resource["doseQuantity"]) if resource.get("doseQuantity") else None,
        node(
            "consumable",
            node(
                "manufacturedProduct",
                template("54", "2014-06-09"),
                material(resource.get("vaccineCode"), resource.get("lotNumber")),
                organization("manufacturerOrganization", maker, book) if maker else None,
                classCode="MANU",
            ),
        ),
        [performer(one.get("actor"), resource, book) for one in resource.get("performer", ())],
        author(None, resource.get("recorded"), resource, book),
        _refusal(resource.get("statusReason")) if is_refused else None,
        indications(resource, book),
        [_immunization_reaction(one, resource, book) for one in resource.get("reaction", ())],
        [related("REFR", one) for one in visit(resource, book)],
        comments(resource, book, *texts(resource, "occurrence"), *_source_words(resource), _why(resource)),
        classCode="SBADM",
        moodCode="EVN",
        negationInd="true" if is_refused else "false",
    )


def _source_words(resource: JsonObject) -> list[str]:
    found = []
    if resource.get("isSubpotent") is True:
        reasons = ", ".join(said(one) for one in resource.get("subpotentReason", ()))
        found.append(f"Subpotent dose{': ' + reasons if reasons else ''}")
    if resource.get("primarySource") is not False:
        return found
    origin = said(resource.get("reportOrigin"))
    return [*found, f"Not recorded by the one who gave it{': ' + origin if origin else ''}"]


def _why(resource: JsonObject) -> str:
    """The reason for the status of what was given: beside it a reason of refusal would be misread."""
    words = said(resource.get("statusReason"))
    return f"Reason for the status: {words}" if words and resource.get("status") != "not-done" else ""


def _refusal(reason: JsonObject | None) -> Node | None:
    if not reason:
        return None
    inner = node(
        "observation",
        template("53"),
        node("id", nullFlavor="NI"),
        code("code", reason),
        node("statusCode", code="completed"),
        classCode="OBS",
        moodCode="EVN",
    )
    return related("RSON", inner)


def _immunization_reaction(reaction: JsonObject, resource: JsonObject, book: Book) -> Node | None:
    meant = book.get(reaction.get("detail"), resource)
    if meant is None or meant["resourceType"] != "Observation":
        return None
    return related("CAUS", observation(meant, book, "immunizations", template("9", "2014-06-09")))


def procedure(resource: JsonObject, book: Book) -> Node:
    """A procedure activity; negated when it was not done."""
    status = resource.get("status", "")
    is_refused = status == "not-done"
    what = said(resource.get("code"))
    text = book.row(
        "procedures",
        resource,
        f"not done: {what}" if is_refused else what,
        status,
        span_words(resource, "performed"),
    )
    time = when(resource, "performed", is_over=status in ("completed", "stopped"))
    done = [
        performer(one.get("actor"), resource, book, function=one.get("function"))
        for one in resource.get("performer", ())
    ]
    found = []
    for reference in resource.get("complicationDetail", ()):
        meant = book.get(reference, resource)
        if meant is not None and meant["resourceType"] == "Observation":
            found.append(related("COMP", observation(meant, book, "procedures")))
    reason = resource.get("statusReason") if is_refused else None
    devices, udi = products(resource, book)
    return node(
        "procedure",
        template("14", "2014-06-09"),
        book.ids(resource),
        code("code", resource.get("code")),
        text,
        status_code(_PROCEDURE_STATUS.get(status)),
        time if time is not None else node("effectiveTime", nullFlavor="UNK"),
        [code("targetSiteCode", site) for site in resource.get("bodySite", ())],
        done,
        author(resource.get("recorder"), resource.get("recordedDate"), resource, book),
        devices,
        udi,
        _not_done(reason),
        [] if is_refused else indications(resource, book),
        found,
        [related("REFR", one) for one in visit(resource, book)],
        comments(
            resource,
            book,
            *texts(resource, "performed"),
            _outcome(resource),
            _reason_words(resource, is_refused),
        ),
        classCode="PROC",
        moodCode="EVN",
        negationInd="true" if is_refused else None,
    )


def _outcome(resource: JsonObject) -> str:
    found = [said(resource.get("outcome")), *(said(one) for one in resource.get("complication", ()))]
    return "; ".join(
        f"{label}: {text}"
        for label, text in zip(("Outcome", *("Complication",) * len(found)), found, strict=False)
        if text
    )


def _reason_words(resource: JsonObject, is_refused: bool) -> str:
    """Why something that was not done would have been done: an indication beside a refusal would be misread."""
    words = "; ".join(text for one in resource.get("reasonCode", ()) if (text := said(one)))
    return f"Would have been for: {words}" if is_refused and words else ""


def _not_done(reason: JsonObject | None) -> Node | None:
    if not reason:
        return None
    kind = node("code", code="77301-0", codeSystem=LOINC)
    inner = finding("2.16.840.1.113883.10.20.24.3.88", "", kind, code("value", reason, xsi="CD"))
    return related("RSON", inner)


def family(resource: JsonObject, book: Book) -> Node:
    """A family history organizer."""
    names = ", ".join(said(one.get("code")) for one in resource.get("condition", ()))
    book.row("family", resource, said(resource.get("relationship")), names)
    sex = {"male": "M", "female": "F", "other": "UN"}.get(first(resource.get("sex")), "")
    gender = node("administrativeGenderCode", code=sex, codeSystem="2.16.840.1.113883.5.1") if sex else None
    born, died = stamp(resource.get("bornDate", "")), stamp(resource.get("deceasedDate", ""))
    dead = resource.get("deceasedBoolean")
    given = resource.get("name")
    subject = node(
        "subject",
        node("name", given) if given else None,
        gender,
        node("birthTime", value=born) if born else None,
        node("sdtc:deceasedInd", value="true" if dead or died else "false")
        if died or isinstance(dead, bool)
        else None,
        node("sdtc:deceasedTime", value=died) if died else None,
    )
    status = {"completed": "completed", "partial": "active"}.get(resource.get("status", ""))
    return node(
        "organizer",
        template("45", "2015-08-01"),
        book.ids(resource),
        status_code(status),
        moment("effectiveTime", resource["date"]) if resource.get("date") else None,
        node(
            "subject",
            node(
                "relatedSubject",
                code("code", resource.get("relationship")),
                subject,
                classCode="PRS",
            ),
        ),
        [node("component", _family_condition(one, book)) for one in resource.get("condition", ())],
        [node("component", one[0]) for one in comments(resource, book) if one is not None],
        classCode="CLUSTER",
        moodCode="EVN",
    )


def _family_condition(given: JsonObject, book: Book) -> Node:
    died = None
    if given.get("contributedToDeath"):
        kind = node("code", code="ASSERTION", codeSystem=ACT_CODE)
        died = finding("47", "", kind, snomed("419099009"))
        died.insert(1, node("id", nullFlavor="NI"))
    return node(
        "observation",
        template("46", "2015-08-01"),
        node("id", nullFlavor="NI"),
        node("code", node("translation", code="75315-2", codeSystem=LOINC), code="64572001", codeSystem=SCT),
        node("statusCode", code="completed"),
        node("effectiveTime", nullFlavor="UNK"),
        code("value", given.get("code"), xsi="CD"),
        onset_age(given.get("onsetAge")),
        related("CAUS", died),
        comments(given, book, *texts(given, "onset")),
        classCode="OBS",
        moodCode="EVN",
    )
