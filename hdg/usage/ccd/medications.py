"""Medications: what is taken and what is ordered, with doses, and supplies. C-CDA R2.1 §3 Medication Activity."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.parts import (
    comments,
    indications,
    negation,
    range_words,
    related,
    span_words,
    status_code,
    visit,
    words_of,
)
from hdg.usage.ccd.people import author, organization, performer
from hdg.usage.ccd.timing import every_of, times, timing_words
from hdg.usage.ccd.values import UCUM, code, interval, literal, measure, moment, quantity, said, span
from hdg.usage.ccd.xml import Node, node

__all__ = [
    "dispense",
    "doses",
    "is_supply",
    "material",
    "medication",
    "product",
    "product_of",
    "refusal",
    "sig_entry",
    "supply",
    "vehicles",
]

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


def material(concept: JsonObject | None, lot: str | None = None) -> Node:
    """manufacturedMaterial."""
    return node(
        "manufacturedMaterial",
        code("code", concept),
        node("lotNumberText", lot) if lot else None,
        classCode="MMAT",
        determinerCode="KIND",
    )


def product_of(resource: JsonObject, book: Book) -> tuple[JsonObject | None, JsonObject | None]:
    """The concept of the medication, and its Medication when there is one."""
    if resource.get("medicationCodeableConcept"):
        return resource["medicationCodeableConcept"], None
    reference = resource.get("medicationReference")
    found = book.get(reference, resource)
    if found is None:
        display = (reference or {}).get("display")
        return ({"text": display} if display else None), None
    return found.get("code"), found


def product(resource: JsonObject, book: Book) -> Node:
    """manufacturedProduct."""
    concept, found = product_of(resource, book)
    lot = (found or {}).get("batch", {}).get("lotNumber")
    maker = book.get((found or {}).get("manufacturer"), found)
    return node(
        "manufacturedProduct",
        template("23", "2014-06-09"),
        material(concept, lot),
        organization("manufacturerOrganization", maker, book) if maker else None,
        classCode="MANU",
    )


def vehicles(resource: JsonObject, book: Book) -> list[Node]:
    """The ingredients that are not active."""
    found = []
    for one in (product_of(resource, book)[1] or {}).get("ingredient", ()):
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
    what = said(product_of(resource, book)[0])
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
        times(resource, dosage, status),
        node("priorityCode", code=PRIORITIES[resource["priority"]], codeSystem=PRIORITY)
        if resource.get("priority") in PRIORITIES
        else None,
        node("repeatNumber", value=literal(repeats)) if repeats is not None else None,
        doses(dosage),
        node("consumable", product(resource, book)),
        performer(resource.get("performer"), resource, book) if is_order else None,
        author(
            resource.get("requester" if is_order else "informationSource"),
            resource.get("authoredOn" if is_order else "dateAsserted"),
            resource,
            book,
        ),
        vehicles(resource, book),
        indications(resource, book),
        [related("REFR", one) for one in visit(resource, book, "context", "encounter")],
        None if is_denied else _orders(resource, book),
        sig_entry(dosages),
        _instruction(dosage),
        _supplied(resource, book),
        comments(resource, book, *refusal(resource), *_further(dosages), _not_supplied(resource)),
        _conditions(dosage),
        classCode="SBADM",
        moodCode=mood,
        negationInd=negation(is_denied, resource),
    )


def refusal(resource: JsonObject) -> list[str]:
    """Why it stands as it does, in words."""
    reasons = (
        [said(one) for one in resource.get("statusReason", ())]
        if isinstance(resource.get("statusReason"), list)
        else [said(resource.get("statusReason"))]
    )
    return [f"Reason for the status: {one}" for one in reasons if one]


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


def doses(dosage: JsonObject) -> list[Node | None]:
    """Route, site, dose and rate of a dosage."""
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
    rest = [timing_words(dosage)]
    ratio = _dose_of(dosage).get("rateRatio")
    if ratio and _rate(ratio) is None:
        rest.append(f"rate {_ratio_words(ratio)}")
    rest += [
        f"{said(one.get('type')) or 'also'} {_dose_words(one)}" for one in dosage.get("doseAndRate", ())[1:]
    ]
    limits = [name for name in ("maxDosePerAdministration", "maxDosePerLifetime") if dosage.get(name)]
    rest += [f"{name} {words_of(dosage[name])}" for name in limits]
    rest += [said(one) for one in dosage.get("additionalInstruction", ())]
    words = "; ".join(part for part in rest if part and part not in dosage.get("text", ""))
    return "; ".join(part for part in (dosage.get("text", ""), words) if part)


def _ratio_words(ratio: JsonObject) -> str:
    return " per ".join(words_of(ratio.get(name) or {}) for name in ("numerator", "denominator"))


def _dose_words(given: JsonObject) -> str:
    """A dose and its rate."""
    forms = {"Quantity": words_of, "Range": range_words, "Ratio": _ratio_words}
    found = {
        stem: [form(given[f"{stem}{kind}"]) for kind, form in forms.items() if given.get(f"{stem}{kind}")]
        for stem in ("dose", "rate")
    }
    return "; ".join([*found["dose"], *(f"rate {words}" for words in found["rate"])])


def sig_entry(dosages: Any) -> Node | None:
    """The instruction in words, as an entry of its own."""
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
        repeat = (one.get("timing") or {}).get("repeat") or {}
        every = every_of(repeat)
        often = f"every {every[0]}{'-' + every[1] if every[1] else ''} {every[2]}" if every else ""
        events = ", ".join(repeat.get("when", ()))
        parts = [
            _dose_words(_dose_of(one)),
            said(one.get("route")),
            often,
            events,
            _sig(one),
            one.get("patientInstruction", ""),
        ]
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
    """Whether an order says only what is to be supplied, not how it is to be taken.

    One that says that nothing is to be supplied is none: POCD_MT000040 has no negation of a supply.
    """
    if resource["resourceType"] != "MedicationRequest" or resource.get("intent") != "plan":
        return False
    if resource.get("doNotPerform") is True:
        return False
    return bool(resource.get("dispenseRequest")) and not resource.get("dosageInstruction")


def supply(resource: JsonObject, book: Book, section: str) -> Node:
    """A medication supply order."""
    book.written.add(book.name(resource))
    dispense = resource.get("dispenseRequest") or {}
    what = said(product_of(resource, book)[0])
    text = book.row(section, resource, f"supply of {what}", "", resource.get("status", ""), "")
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
        node("product", product(resource, book)),
        author(resource.get("requester"), resource.get("authoredOn"), resource, book),
        comments(resource, book),
        classCode="SPLY",
        moodCode="INT",
    )


_DISPENSED = {
    "completed": "completed",
    "in-progress": "active",
    "stopped": "aborted",
    "on-hold": "suspended",
    "cancelled": "cancelled",
    "preparation": "new",
    "declined": "cancelled",
}


def dispense(resource: JsonObject, book: Book) -> Node:
    """A medication dispense; one that was declined is cancelled, with its reason: a supply cannot be negated."""
    status = resource.get("status", "")
    is_denied = status == "declined"
    what = said(product_of(resource, book)[0])
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
        node("product", product(resource, book)),
        performer(who.get("actor"), resource, book),
        comments(resource, book, *(("Not dispensed: declined", *_why(resource)) if is_denied else ())),
        classCode="SPLY",
        moodCode="EVN",
    )


def _why(resource: JsonObject) -> list[str]:
    """Why nothing was dispensed."""
    words = said(resource.get("statusReasonCodeableConcept"))
    return [f"Reason for the status: {words}"] if words else []


def _orders(resource: JsonObject, book: Book) -> list[Node | None]:
    """The supply orders that a statement is based on; not of what is denied, beside which they would be denied too."""
    found = []
    for reference in resource.get("basedOn", ()):
        meant = book.get(reference, resource)
        if meant is not None and is_supply(meant):
            found.append(related("REFR", supply(meant, book, "medications")))
    return found


def _not_supplied(resource: JsonObject) -> str:
    """How much of what is not to be given: a supply beside it would be misread."""
    amount = (resource.get("dispenseRequest") or {}).get("quantity")
    return f"Quantity: {words_of(amount)}" if amount and resource.get("doNotPerform") is True else ""


def _supplied(resource: JsonObject, book: Book) -> Node | None:
    """How much of an order is to be supplied, beside how it is to be taken."""
    dispense = resource.get("dispenseRequest") or {}
    amount = dispense.get("quantity")
    period = dispense.get("validityPeriod")
    if resource.get("doNotPerform") is True or not (amount or period):
        return None
    inner = node(
        "supply",
        template("17", "2014-06-09"),
        node("id", nullFlavor="NI"),
        status_code(_ORDERED.get(resource.get("status", ""))),
        interval("effectiveTime", period, xsi="IVL_TS") if period else None,
        quantity("quantity", amount) if amount else None,
        node("product", product(resource, book)),
        classCode="SPLY",
        moodCode="INT",
    )
    return related("REFR", inner)
