"""What entries of several kinds share: status, comments, reasons, what only words can hold. C-CDA R2.1 §3."""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.people import author
from hdg.usage.ccd.values import code, codings_of, ids, quantity
from hdg.usage.ccd.xml import Node, node

__all__ = [
    "ACT_CLASS",
    "ACT_CODE",
    "LOINC",
    "SCT",
    "SNOMED",
    "certainty",
    "comments",
    "finding",
    "first",
    "indications",
    "is_denied",
    "loinc",
    "negation",
    "only",
    "onset_age",
    "range_words",
    "related",
    "snomed",
    "span_words",
    "status_code",
    "texts",
    "visit",
    "words_of",
]

JsonObject = dict[str, Any]

SCT = "2.16.840.1.113883.6.96"
LOINC = "2.16.840.1.113883.6.1"
ACT_CODE, ACT_CLASS = "2.16.840.1.113883.5.4", "2.16.840.1.113883.5.6"
SNOMED = "http://snomed.info/sct"


def first(concept: JsonObject | None) -> str:
    """The first code."""
    return next((str(one["code"]) for one in codings_of(concept)), "")


def status_code(value: str | None) -> Node:
    """statusCode."""
    return node("statusCode", code=value) if value else node("statusCode", nullFlavor="UNK")


def snomed(value: str) -> Node:
    """A value of SNOMED CT."""
    return node("value", xsi="CD", code=value, codeSystem=SCT, codeSystemName="SNOMED CT")


def finding(number: str, version: str, kind: Node, value: Node) -> Node:
    """An observation that is part of another entry."""
    return node(
        "observation",
        template(number, version),
        kind,
        node("statusCode", code="completed"),
        value,
        classCode="OBS",
        moodCode="EVN",
    )


def related(type_code: str, inner: Node | None, *, is_inverse: bool = False) -> Node | None:
    """entryRelationship; None around nothing."""
    if inner is None:
        return None
    inversion = "true" if is_inverse else None
    return node("entryRelationship", inner, typeCode=type_code, inversionInd=inversion)


def loinc(value: str) -> Node:
    """A code of LOINC."""
    return node("code", code=value, codeSystem=LOINC, codeSystemName="LOINC")


def comments(resource: JsonObject, book: Book, *more: str) -> list[Node | None]:
    """Comment activities of the notes, and of what is said only in words."""
    found = []
    for note in (*resource.get("note", ()), *({"text": text} for text in more if text)):
        who = note.get("authorReference") or (
            {"display": note["authorString"]} if note.get("authorString") else None
        )
        act = node(
            "act",
            template("64"),
            loinc("48767-8"),
            node("text", note.get("text", "")),
            author(who, note.get("time"), resource, book),
            classCode="ACT",
            moodCode="EVN",
        )
        found.append(related("SUBJ", act, is_inverse=True))
    return found


def negation(is_denied: bool, resource: JsonObject) -> str | None:
    """negationInd: what says that it is not denied says so here too."""
    return "true" if is_denied else "false" if resource.get("doNotPerform") is False else None


def visit(resource: JsonObject, book: Book, *names: str) -> list[Node]:
    """The encounter that a statement belongs to, by its identifiers alone; names: where the reference stands."""
    found = []
    for key in names or ("encounter",):
        reference = resource.get(key) or {}
        meant = book.get(reference, resource)
        given = None
        if meant is not None and meant["resourceType"] == "Encounter":
            given = book.ids(meant)
        elif reference.get("identifier"):
            given = ids([reference["identifier"]])
        if given:
            found.append(node("encounter", given, classCode="ENC", moodCode="EVN"))
    return found


def indications(resource: JsonObject, book: Book) -> list[Node | None]:
    """The reasons of a statement."""
    reasons = list(resource.get("reasonCode", ()))
    for reference in resource.get("reasonReference", ()):
        meant = book.get(reference, resource)
        if meant is not None and meant["resourceType"] == "Condition" and not is_denied(meant):
            reasons.append(meant.get("code"))
    found = []
    for reason in reasons:
        kind = node("code", code="404684003", codeSystem=SCT, displayName="Clinical finding")
        made = finding("19", "2014-06-09", kind, code("value", reason, xsi="CD"))
        made.insert(len(template("19", "2014-06-09")), node("id", nullFlavor="NI"))
        found.append(related("RSON", made))
    return found


def is_denied(resource: JsonObject) -> bool:
    """Whether it is said not to be so."""
    return any(one["code"] == "refuted" for one in codings_of(resource.get("verificationStatus")))


def certainty(resource: JsonObject) -> str:
    """What is neither certain nor denied, in words: CDA R2 observations have no place for it."""
    status = first(resource.get("verificationStatus"))
    return "" if status in ("", "confirmed", "refuted") else f"Verification status: {status}"


def only(concept: JsonObject | None) -> str:
    """The code of a concept that is nothing but one SNOMED CT code."""
    codings = codings_of(concept)
    is_one = len(codings) == 1 and codings[0].get("system") == SNOMED
    return str(codings[0]["code"]) if is_one else ""


def texts(resource: JsonObject, *stems: str) -> list[str]:
    """What is said of a time in a form that only words can hold."""
    found = []
    for stem in stems:
        if resource.get(f"{stem}String"):
            found.append(f"{stem.capitalize()}: {resource[f'{stem}String']}")
        if resource.get(f"{stem}Range"):
            found.append(f"{stem.capitalize()}: {range_words(resource[f'{stem}Range'])}")
    age = resource.get("abatementAge")
    if age and "abatement" in stems:
        found.append(f"Abatement at the age of {words_of(age)}")
    later = (resource.get("onsetPeriod") or {}).get("end")
    if later and "onset" in stems:
        found.append(f"Onset not after {later}")
    return found


def words_of(given: JsonObject) -> str:
    """A Quantity in words."""
    value = given.get("value")
    number = "" if value is None else str(getattr(value, "literal", value))
    return " ".join(part for part in (given.get("comparator", ""), number, given.get("unit", "")) if part)


def range_words(given: JsonObject) -> str:
    """A Range in words."""
    return " to ".join(words_of(given.get(name) or {}) or "?" for name in ("low", "high"))


def onset_age(age: JsonObject | None) -> Node | None:
    """The age at onset."""
    if not age:
        return None
    kind = node("code", code="445518008", codeSystem=SCT, displayName="Age at onset")
    return related("SUBJ", finding("31", "", kind, quantity("value", age, xsi="PQ")), is_inverse=True)


def span_words(resource: JsonObject, stem: str) -> str:
    """A time in words, for the narrative."""
    period = resource.get(f"{stem}Period") or {}
    joined = " to ".join(period[key] for key in ("start", "end") if period.get(key))
    return str(resource.get(f"{stem}DateTime") or joined or resource.get(f"{stem}String") or "")
