"""Medications: what is taken and what is ordered, with doses and times. C-CDA R2.1 §3 Medication Activity.

What the times of CDA cannot say exactly is said in words: nothing is rounded to fit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.parts import (
    comments,
    indications,
    negation,
    related,
    span_words,
    status_code,
    visit,
    words_of,
)
from hdg.usage.ccd.people import author, organization, performer
from hdg.usage.ccd.values import UCUM, code, interval, literal, measure, moment, quantity, said, span, stamp
from hdg.usage.ccd.xml import Node, node

__all__ = ["dispense", "is_supply", "material", "medication", "supply"]

JsonObject = dict[str, Any]

_TAKEN = {
    "active": "active",
    "completed": "completed",
    "stopped": "aborted",
    "on-hold": "suspended",
    "intended": "new",
    "not-taken": "completed",
}
_ORDERED = {
    "active": "active",
    "completed": "completed",
    "stopped": "aborted",
    "on-hold": "suspended",
    "cancelled": "cancelled",
    "draft": "new",
}
_MOODS = {"plan": "INT", "proposal": "PRP", "option": "PRP"}
PRIORITIES = {"stat": "S", "urgent": "UR", "asap": "A", "routine": "R"}
PRIORITY = "2.16.840.1.113883.5.7"
_OVER = frozenset(("completed", "stopped"))
_TIMING = "2.16.840.1.113883.5.139"
_EVENTS = frozenset("HS WAKE C CM CD CV AC ACM ACD ACV PC PCM PCD PCV MORN AFT EVE NIGHT".split())  # noqa: SIM905  a list fills a screen
"""The events of the day that are the same in v3 TimingEvent (or known to its readers) and R4 event-timing."""
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}
"""Seconds; months and years have no fixed length."""


def material(concept: JsonObject | None, lot: str | None = None) -> Node:
    """manufacturedMaterial."""
    return node(
        "manufacturedMaterial",
        code("code", concept),
        node("lotNumberText", lot) if lot else None,
        classCode="MMAT",
        determinerCode="KIND",
    )


def _product_of(resource: JsonObject, book: Book) -> tuple[JsonObject | None, JsonObject | None]:
    """The concept of the medication, and its Medication when there is one."""
    if resource.get("medicationCodeableConcept"):
        return resource["medicationCodeableConcept"], None
    reference = resource.get("medicationReference")
    found = book.get(reference, resource)
    if found is None:
        display = (reference or {}).get("display")
        return ({"text": display} if display else None), None
    return found.get("code"), found


def _product(resource: JsonObject, book: Book) -> Node:
    concept, found = _product_of(resource, book)
    lot = (found or {}).get("batch", {}).get("lotNumber")
    maker = book.get((found or {}).get("manufacturer"), found)
    return node(
        "manufacturedProduct",
        template("23", "2014-06-09"),
        material(concept, lot),
        organization("manufacturerOrganization", maker, book) if maker else None,
        classCode="MANU",
    )


def _vehicles(resource: JsonObject, book: Book) -> list[Node]:
    """The ingredients that are not active."""
    found = []
    for one in (_product_of(resource, book)[1] or {}).get("ingredient", ()):
        if one.get("isActive") is False and one.get("itemCodeableConcept"):
            kind = node("code", code="412307009", codeSystem="2.16.840.1.113883.6.96")
            playing = node("playingEntity", code("code", one["itemCodeableConcept"]), classCode="MMAT")
            role = node("participantRole", template("24"), kind, playing, classCode="MANU")
            found.append(node("participant", role, typeCode="CSM"))
    return found


def medication(resource: JsonObject, book: Book, section: str) -> Node:
    """A medication activity of a MedicationStatement, or of a MedicationRequest in the mood of its intent."""
    is_order = resource["resourceType"] == "MedicationRequest"
    status = resource.get("status", "")
    is_denied = resource.get("doNotPerform") is True if is_order else status == "not-taken"
    dosages = resource.get("dosageInstruction" if is_order else "dosage", ())
    dosage = dosages[0] if dosages else {}
    mood = _MOODS.get(resource.get("intent", ""), "RQO") if is_order else "EVN"
    what = said(_product_of(resource, book)[0])
    denial = "not to be given: " if is_order else "not taken: "
    sigs = [words for words in map(_sig, dosages) if words]
    text = book.row(
        section,
        resource,
        f"{denial}{what}" if is_denied else what,
        "; ".join(sigs),
        status,
        span_words(resource, "effective"),
    )
    number = "42" if mood not in ("EVN", "INT") else "16"
    codes = _ORDERED if is_order else _TAKEN
    dispense = resource.get("dispenseRequest") or {}
    repeats = dispense.get("numberOfRepeatsAllowed")
    return node(
        "substanceAdministration",
        template(number, "2014-06-09"),
        book.ids(resource),
        text,
        status_code(codes.get(status)),
        _times(resource, dosage, status),
        node("priorityCode", code=PRIORITIES[resource["priority"]], codeSystem=PRIORITY)
        if resource.get("priority") in PRIORITIES
        else None,
        node("repeatNumber", value=literal(repeats)) if repeats is not None else None,
        _doses(dosage),
        node("consumable", _product(resource, book)),
        performer(resource.get("performer"), resource, book) if is_order else None,
        author(
            resource.get("requester" if is_order else "informationSource"),
            resource.get("authoredOn" if is_order else "dateAsserted"),
            resource,
            book,
        ),
        _vehicles(resource, book),
        indications(resource, book),
        [related("REFR", one) for one in visit(resource, book, "context", "encounter")],
        _orders(resource, book),
        _sig_entry(dosages),
        _instruction(dosage),
        _supplied(resource, book),
        comments(resource, book, *_refusal(resource), *_further(dosages)),
        _conditions(dosage),
        classCode="SBADM",
        moodCode=mood,
        negationInd=negation(is_denied, resource),
    )


def _refusal(resource: JsonObject) -> list[str]:
    reasons = (
        [said(one) for one in resource.get("statusReason", ())]
        if isinstance(resource.get("statusReason"), list)
        else [said(resource.get("statusReason"))]
    )
    return [f"Reason for the status: {one}" for one in reasons if one]


# --- times --------------------------------------------------------------------------------------------------------


def _times(resource: JsonObject, dosage: JsonObject, status: str) -> list[Node]:
    period = resource.get("effectivePeriod")
    repeat = (dosage.get("timing") or {}).get("repeat") or {}
    if period is None and resource["resourceType"] == "MedicationRequest":
        period = repeat.get("boundsPeriod")
    found = []
    if resource.get("effectiveDateTime"):
        found.append(node("effectiveTime", value=stamp(resource["effectiveDateTime"])))
    elif period is not None:
        found.append(interval("effectiveTime", period, xsi="IVL_TS", is_over=status in _OVER))
    else:
        events = (dosage.get("timing") or {}).get("event", ())
        found += [node("effectiveTime", value=stamp(one)) for one in events[:1]]
    if not found:
        found.append(node("effectiveTime", node("low", nullFlavor="UNK"), xsi="IVL_TS"))
    periodic = _periodic(repeat)
    if periodic is not None:
        found.append(periodic)
    if not _is_offset(repeat):
        found += [
            node("effectiveTime", node("event", code=one, codeSystem=_TIMING), xsi="EIVL_TS", operator="A")
            for one in repeat.get("when", ())
            if one in _EVENTS
        ]
    return found


def _is_offset(repeat: JsonObject) -> bool:
    return bool(repeat.get("offset"))


def _every(repeat: JsonObject) -> tuple[str, str, str] | None:
    """How often: period, its longest and unit; None where CDA cannot say it exactly."""
    period, unit, count = repeat.get("period"), repeat.get("periodUnit"), repeat.get("frequency", 1)
    if period is None or unit is None or repeat.get("frequencyMax") is not None:
        return None
    if count == 1:
        return literal(period), literal(repeat.get("periodMax", "")), unit
    if unit not in _UNITS or repeat.get("periodMax") is not None or not count:
        return None
    seconds = Decimal(literal(period)) * _UNITS[unit]
    for name in ("wk", "d", "h", "min", "s"):
        every, rest = divmod(seconds, Decimal(count) * _UNITS[name])
        if every and not rest:
            return f"{every:f}", "", name
    return None


def _periodic(repeat: JsonObject) -> Node | None:
    every = _every(repeat)
    if every is None:
        return None
    period, longest, unit = every
    if longest:
        length = node(
            "period",
            node("low", value=period, unit=unit),
            node("high", value=longest, unit=unit),
            xsi="IVL_PQ",
        )
    else:
        length = node("period", value=period, unit=unit)
    return node(
        "effectiveTime",
        length,
        xsi="PIVL_TS",
        institutionSpecified="true" if repeat.get("frequency", 1) != 1 else None,
        operator="A",
    )


_WORDS = ("dayOfWeek", "timeOfDay", "count", "countMax", "duration", "durationMax", "durationUnit", "offset")


def _timing_words(dosage: JsonObject) -> str:
    """What of the timing CDA cannot hold."""
    timing = dosage.get("timing") or {}
    repeat = timing.get("repeat") or {}
    found = [said(timing.get("code"))]
    if _every(repeat) is None and repeat.get("period") is not None:
        most = f" to {literal(repeat['frequencyMax'])}" if repeat.get("frequencyMax") is not None else ""
        often = f"{literal(repeat.get('frequency', 1))}{most} times per {literal(repeat['period'])}"
        longest = f" to {literal(repeat['periodMax'])}" if repeat.get("periodMax") is not None else ""
        found.append(f"{often}{longest} {repeat.get('periodUnit', '')}".strip())
    for name in _WORDS:
        given = repeat.get(name)
        if given is not None:
            values = given if isinstance(given, list) else [given]
            found.append(f"{name} {', '.join(map(literal, values))}")
    bounds = repeat.get("boundsDuration")
    if bounds:
        found.append(f"for {words_of(bounds)}")
    unheard = [one for one in repeat.get("when", ()) if one not in _EVENTS or _is_offset(repeat)]
    if unheard:
        found.append(f"when {', '.join(unheard)}")
    later = timing.get("event", ())[1:]
    if later:
        found.append(f"also {', '.join(later)}")
    return "; ".join(part for part in found if part)


# --- doses --------------------------------------------------------------------------------------------------------


def _dose_of(dosage: JsonObject) -> JsonObject:
    given = dosage.get("doseAndRate") or [{}]
    return dict(given[0])


def _amount(tag: str, given: JsonObject, stem: str) -> Node | None:
    if given.get(f"{stem}Quantity"):
        return measure(tag, given[f"{stem}Quantity"])
    if given.get(f"{stem}Range"):
        return span(tag, given[f"{stem}Range"])
    ratio = given.get(f"{stem}Ratio")
    if ratio:
        rate = _rate(ratio)
        return quantity(tag, rate) if rate else None
    return None


def _rate(ratio: JsonObject) -> JsonObject | None:
    """A rate as one quantity, where the denominator is one of a unit."""
    above, below = ratio.get("numerator") or {}, ratio.get("denominator") or {}
    if above.get("comparator") or below.get("comparator"):
        return None
    if above.get("value") is None or literal(below.get("value", "")) != "1":
        return None
    units = [one.get("code") or one.get("unit") or "1" for one in (above, below)]
    return {"value": above["value"], "system": UCUM, "code": f"{units[0]}/{units[1]}"}


def _doses(dosage: JsonObject) -> list[Node | None]:
    given = _dose_of(dosage)
    most = dosage.get("maxDosePerPeriod")
    return [
        code("routeCode", dosage["route"]) if dosage.get("route") else None,
        code("approachSiteCode", dosage["site"]) if dosage.get("site") else None,
        _amount("doseQuantity", given, "dose"),
        _amount("rateQuantity", given, "rate"),
        node(
            "maxDoseQuantity",
            quantity("numerator", most.get("numerator"), xsi="PQ"),
            quantity("denominator", most.get("denominator"), xsi="PQ"),
        )
        if most
        else None,
        code("administrationUnitCode", dosage["method"]) if dosage.get("method") else None,
    ]


def _sig(dosage: JsonObject) -> str:
    """The instruction in words: its own, and what else CDA cannot hold."""
    rest = [_timing_words(dosage)]
    given = _dose_of(dosage)
    if given.get("rateRatio") and _rate(given["rateRatio"]) is None:
        parts = [words_of(given["rateRatio"].get(name) or {}) for name in ("numerator", "denominator")]
        rest.append(f"rate {parts[0]} per {parts[1]}")
    limits = [name for name in ("maxDosePerAdministration", "maxDosePerLifetime") if dosage.get(name)]
    rest += [f"{name} {words_of(dosage[name])}" for name in limits]
    rest += [said(one) for one in dosage.get("additionalInstruction", ())]
    words = "; ".join(part for part in rest if part and part not in dosage.get("text", ""))
    return "; ".join(part for part in (dosage.get("text", ""), words) if part)


def _sig_entry(dosages: Any) -> Node | None:
    words = _sig(dosages[0]) if dosages else ""
    if not words:
        return None
    inner = node(
        "substanceAdministration",
        template("147"),
        node("code", code="76662-6", codeSystem="2.16.840.1.113883.6.1"),
        node("text", words),
        node("consumable", node("manufacturedProduct", node("manufacturedLabeledDrug", nullFlavor="NA"))),
        classCode="SBADM",
        moodCode="EVN",
    )
    return related("COMP", inner)


def _further(dosages: Any) -> list[str]:
    """The dosages after the first: an entry has room for one."""
    found = []
    for one in dosages[1:]:
        given = _dose_of(one)
        dose = words_of(given.get("doseQuantity") or {})
        repeat = (one.get("timing") or {}).get("repeat") or {}
        every = _every(repeat)
        often = f"every {every[0]}{'-' + every[1] if every[1] else ''} {every[2]}" if every else ""
        events = ", ".join(repeat.get("when", ()))
        parts = [dose, said(one.get("route")), often, events, _sig(one), one.get("patientInstruction", "")]
        found.append("Further dosage: " + "; ".join(part for part in parts if part))
    return found


def _instruction(dosage: JsonObject) -> Node | None:
    words = dosage.get("patientInstruction")
    if not words:
        return None
    inner = node(
        "act",
        template("20", "2014-06-09"),
        node("code", code="409073007", codeSystem="2.16.840.1.113883.6.96"),
        node("text", words),
        node("statusCode", code="completed"),
        classCode="ACT",
        moodCode="INT",
    )
    return related("SUBJ", inner, is_inverse=True)


def _conditions(dosage: JsonObject) -> Node | None:
    """As needed."""
    what = dosage.get("asNeededCodeableConcept")
    if not what and dosage.get("asNeededBoolean") is not True:
        return None
    value = code("value", what, xsi="CD") if what else None
    kind = node("code", code="ASSERTION", codeSystem="2.16.840.1.113883.5.4")
    return node(
        "precondition",
        node("criterion", template("25", "2014-06-09") if what else None, kind, value),
        typeCode="PRCN",
    )


# --- supplies -----------------------------------------------------------------------------------------------------


def is_supply(resource: JsonObject) -> bool:
    """Whether an order says only what is to be supplied, not how it is to be taken."""
    if resource["resourceType"] != "MedicationRequest" or resource.get("intent") != "plan":
        return False
    return bool(resource.get("dispenseRequest")) and not resource.get("dosageInstruction")


def supply(resource: JsonObject, book: Book, section: str) -> Node:
    """A medication supply order."""
    book.written.add(book.name(resource))
    dispense = resource.get("dispenseRequest") or {}
    is_denied = resource.get("doNotPerform") is True
    what = said(_product_of(resource, book)[0])
    text = book.row(
        section,
        resource,
        f"not to be supplied: {what}" if is_denied else f"supply of {what}",
        "",
        resource.get("status", ""),
        "",
    )
    repeats, amount, period = (
        dispense.get(name) for name in ("numberOfRepeatsAllowed", "quantity", "validityPeriod")
    )
    return node(
        "supply",
        template("17", "2014-06-09"),
        book.ids(resource),
        text,
        status_code(_ORDERED.get(resource.get("status", ""))),
        interval("effectiveTime", period, xsi="IVL_TS") if period else None,
        node("repeatNumber", value=literal(repeats)) if repeats is not None else None,
        quantity("quantity", amount) if amount else None,
        node("product", _product(resource, book)),
        author(resource.get("requester"), resource.get("authoredOn"), resource, book),
        comments(resource, book),
        classCode="SPLY",
        moodCode="INT",
        negationInd=negation(is_denied, resource),
    )


_DISPENSED = {
    "completed": "completed",
    "in-progress": "active",
    "stopped": "aborted",
    "on-hold": "suspended",
    "cancelled": "cancelled",
    "preparation": "new",
    "declined": "completed",
}


def dispense(resource: JsonObject, book: Book) -> Node:
    """A medication dispense; negated when it was declined."""
    status = resource.get("status", "")
    is_denied = status == "declined"
    what = said(_product_of(resource, book)[0])
    time = resource.get("whenHandedOver") or resource.get("whenPrepared")
    words = f"not dispensed: {what}" if is_denied else f"dispensed: {what}"
    text = book.row("medications", resource, words, "", status, time or "")
    who: JsonObject = next(iter(resource.get("performer", ())), {})
    return node(
        "supply",
        template("18", "2014-06-09"),
        book.ids(resource),
        text,
        status_code(_DISPENSED.get(status)),
        moment("effectiveTime", time) if time else None,
        quantity("quantity", resource["quantity"]) if resource.get("quantity") else None,
        node("product", _product(resource, book)),
        performer(who.get("actor"), resource, book),
        comments(resource, book),
        classCode="SPLY",
        moodCode="EVN",
        negationInd=negation(is_denied, resource),
    )


def _orders(resource: JsonObject, book: Book) -> list[Node | None]:
    """The supply orders that a statement is based on."""
    found = []
    for reference in resource.get("basedOn", ()):
        meant = book.get(reference, resource)
        if meant is not None and is_supply(meant):
            found.append(related("REFR", supply(meant, book, "medications")))
    return found


def _supplied(resource: JsonObject, book: Book) -> Node | None:
    """How much of an order is to be supplied, beside how it is to be taken."""
    dispense = resource.get("dispenseRequest") or {}
    amount = dispense.get("quantity")
    period = dispense.get("validityPeriod")
    if not amount and not period:
        return None
    inner = node(
        "supply",
        template("17", "2014-06-09"),
        node("id", nullFlavor="NI"),
        status_code(_ORDERED.get(resource.get("status", ""))),
        interval("effectiveTime", period, xsi="IVL_TS") if period else None,
        quantity("quantity", amount) if amount else None,
        node("product", _product(resource, book)),
        classCode="SPLY",
        moodCode="INT",
        negationInd=negation(resource.get("doNotPerform") is True, resource),
    )
    return related("REFR", inner)
