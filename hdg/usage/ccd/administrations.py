"""Medications that were given, once and by somebody. C-CDA R2.1, Medications Administered Section."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.medications import doses, product, product_of, refusal, sig_entry, vehicles
from hdg.usage.ccd.parts import comments, indications, negation, related, span_words, status_code, visit
from hdg.usage.ccd.people import performer
from hdg.usage.ccd.values import said, when
from hdg.usage.ccd.xml import Node, node

__all__ = ["administration"]

JsonObject = dict[str, Any]

_STATUSES = {
    "completed": "completed",
    "in-progress": "active",
    "on-hold": "suspended",
    "stopped": "aborted",
    "not-done": "completed",
}


def administration(resource: JsonObject, book: Book) -> Node:
    """A medication activity; negated when it was not given."""
    status = resource.get("status", "")
    is_denied = status == "not-done"
    dosage = _dosage(resource.get("dosage") or {})
    what = said(product_of(resource, book)[0])
    text = book.row(
        "administered",
        resource,
        f"not given: {what}" if is_denied else what,
        dosage.get("text", ""),
        status,
        span_words(resource, "effective"),
    )
    return node(
        "substanceAdministration",
        template("16", "2014-06-09"),
        book.ids(resource),
        text,
        status_code(_STATUSES.get(status)),
        _time(resource),
        doses(dosage),
        node("consumable", product(resource, book)),
        [performer(one.get("actor"), resource, book) for one in resource.get("performer", ())],
        vehicles(resource, book),
        indications(resource, book),
        [related("REFR", one) for one in visit(resource, book, "context")],
        sig_entry([dosage]),
        comments(resource, book, *refusal(resource)),
        classCode="SBADM",
        moodCode="EVN",
        negationInd=negation(is_denied, resource),
    )


def _dosage(given: JsonObject) -> JsonObject:
    """What was given, in the shape of a Dosage."""
    rate: JsonObject = {name: given[name] for name in ("rateRatio", "rateQuantity") if name in given}
    dose: JsonObject = {"doseQuantity": given["dose"]} if "dose" in given else {}
    kept: JsonObject = {name: given[name] for name in ("text", "site", "route", "method") if name in given}
    return {**kept, "doseAndRate": [{**dose, **rate}]}


def _time(resource: JsonObject) -> Node:
    made = when(resource, "effective", xsi="IVL_TS")
    return node("effectiveTime", nullFlavor="UNK") if made is None else made
