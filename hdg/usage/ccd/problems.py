"""Problems and allergies as concern acts. C-CDA R2.1 §3.

What FHIR denies is negated, and what is neither certain nor denied says so: nothing is turned round.
"""

from __future__ import annotations

from typing import Any

from hdg.usage.ccd.book import Book, template
from hdg.usage.ccd.parts import (
    ACT_CLASS,
    ACT_CODE,
    LOINC,
    SCT,
    certainty,
    comments,
    finding,
    first,
    is_denied,
    loinc,
    only,
    onset_age,
    related,
    snomed,
    span_words,
    status_code,
    texts,
    visit,
)
from hdg.usage.ccd.people import author, performer
from hdg.usage.ccd.values import code, interval, moment, said
from hdg.usage.ccd.xml import Node, node

__all__ = ["allergy", "condition", "problem"]

JsonObject = dict[str, Any]

_CLINICAL = {
    "active": "55561003",
    "inactive": "73425007",
    "resolved": "413322009",
    "recurrence": "246455001",
    "relapse": "263855007",
    "remission": "277022003",
}
"""R4 condition-clinical and allergyintolerance-clinical → SNOMED CT."""
_CONCERNS = {"active": "active", "recurrence": "active", "relapse": "active"}
_OVER = frozenset(("resolved", "remission", "inactive"))
_NO_ALLERGY = {
    "716186003": "419199007",
    "409137002": "416098002",
    "429625007": "414285001",
    "428607008": "426232007",
}
"""No known allergy, of drugs, of food, of the environment → the kind of allergy that is denied."""
_NO_PROBLEM = "160245001"
_PROBLEM = "55607006"
_CRITICALITY = {"low": "CRITL", "high": "CRITH", "unable-to-assess": "CRITU"}
_SEVERITY = {"mild": "255604002", "moderate": "6736007", "severe": "24484000"}


def condition(resource: JsonObject, book: Book, section: str = "problems") -> Node:
    """A problem concern act around its problem."""
    status = first(resource.get("clinicalStatus"))
    concern = _CONCERNS.get(status, "completed" if status else None)
    since = resource.get("recordedDate") or resource.get("onsetDateTime")
    return node(
        "act",
        template("3", "2015-08-01"),
        node("id", nullFlavor="NI"),
        node("code", code="CONC", codeSystem=ACT_CLASS),
        status_code(concern),
        node("effectiveTime", moment("low", since), moment("high", None) if concern == "completed" else None),
        related("SUBJ", problem(resource, book, section)),
        classCode="ACT",
        moodCode="EVN",
    )


def problem(resource: JsonObject, book: Book, section: str) -> Node:
    """A problem observation."""
    status = first(resource.get("clinicalStatus"))
    denied = is_denied(resource)
    is_none = not denied and only(resource.get("code")) == _NO_PROBLEM
    value = code("value", resource.get("code"), xsi="CD")
    if is_none:
        value = snomed(_PROBLEM)
    about = "no known problem" if is_none else said(resource.get("code"))
    words = f"not present: {about}" if denied else about
    text = book.row(
        section, resource, words, status or certainty(resource), span_words(resource, "onset"), _end(resource)
    )
    return node(
        "observation",
        template("4", "2015-08-01"),
        book.ids(resource),
        node("code", node("translation", code="75326-9", codeSystem=LOINC), code=_PROBLEM, codeSystem=SCT),
        text,
        node("statusCode", code="completed"),
        _problem_time(resource, status),
        value,
        [code("targetSiteCode", site) for site in resource.get("bodySite", ())],
        performer(resource.get("asserter"), resource, book),
        author(resource.get("recorder"), resource.get("recordedDate"), resource, book),
        onset_age(resource.get("onsetAge")),
        _problem_status(status),
        _severity_concept(resource.get("severity")),
        [related("REFR", one) for one in visit(resource, book)],
        comments(resource, book, certainty(resource), *texts(resource, "onset", "abatement")),
        classCode="OBS",
        moodCode="EVN",
        negationInd="true" if denied or is_none else None,
    )


def _problem_time(resource: JsonObject, status: str) -> Node:
    onset = resource.get("onsetDateTime") or (resource.get("onsetPeriod") or {}).get("start")
    end = resource.get("abatementDateTime") or (resource.get("abatementPeriod") or {}).get("end")
    is_over = bool(end) or status == "resolved" or any(one.startswith("abatement") for one in resource)
    return interval("effectiveTime", {"start": onset, "end": end}, is_over=is_over)


def _problem_status(status: str) -> Node | None:
    if status not in _CLINICAL:
        return None
    return related("REFR", finding("6", "2019-06-20", loinc("33999-4"), snomed(_CLINICAL[status])))


def _severity_concept(concept: JsonObject | None) -> Node | None:
    if not concept:
        return None
    kind = node("code", code="SEV", codeSystem=ACT_CODE)
    return related(
        "SUBJ", finding("8", "2014-06-09", kind, code("value", concept, xsi="CD")), is_inverse=True
    )


def _end(resource: JsonObject) -> str:
    return str(resource.get("abatementDateTime") or resource.get("abatementString") or "")


def allergy(resource: JsonObject, book: Book) -> Node:
    """An allergy concern act around its observation."""
    status = first(resource.get("clinicalStatus"))
    concern = _CONCERNS.get(status, "completed" if status else None)
    denied = is_denied(resource)
    none = "" if denied or resource.get("reaction") else _NO_ALLERGY.get(only(resource.get("code")), "")
    words = said(resource.get("code"))
    words = f"not allergic: {words or 'to what is not said'}" if denied else words or "allergy"
    reactions = ", ".join(
        said(one) for reaction in resource.get("reaction", ()) for one in reaction.get("manifestation", ())
    )
    text = book.row(
        "allergies", resource, words, reactions, status or certainty(resource), span_words(resource, "onset")
    )
    onset = resource.get("onsetDateTime") or (resource.get("onsetPeriod") or {}).get("start")
    inner = node(
        "observation",
        template("7", "2014-06-09"),
        book.ids(resource),
        node("code", code="ASSERTION", codeSystem=ACT_CODE),
        text,
        node("statusCode", code="completed"),
        interval("effectiveTime", {"start": onset}, is_over=False),
        _allergy_value(resource, none or _allergy_kind(resource)),
        performer(resource.get("asserter"), resource, book),
        author(resource.get("recorder"), resource.get("recordedDate"), resource, book),
        _substance(None if none else resource.get("code")),
        _allergy_status(status),
        [_reaction(one) for one in resource.get("reaction", ())],
        _criticality(resource.get("criticality")),
        [related("REFR", one) for one in visit(resource, book)],
        comments(resource, book, certainty(resource), *texts(resource, "onset"), *_reaction_notes(resource)),
        classCode="OBS",
        moodCode="EVN",
        negationInd="true" if denied or none else None,
    )
    return node(
        "act",
        template("30", "2015-08-01"),
        node("id", nullFlavor="NI"),
        node("code", code="CONC", codeSystem=ACT_CLASS),
        status_code(concern),
        node(
            "effectiveTime",
            moment("low", resource.get("recordedDate") or onset),
            moment("high", None) if concern == "completed" else None,
        ),
        related("SUBJ", inner),
        classCode="ACT",
        moodCode="EVN",
    )


_KINDS = {
    ("allergy", "medication"): "416098002",
    ("intolerance", "medication"): "59037007",
    ("", "medication"): "419511003",
    ("allergy", "food"): "414285001",
    ("intolerance", "food"): "235719002",
    ("", "food"): "418471000",
    ("allergy", "environment"): "426232007",
    ("allergy", ""): "419199007",
}


def _allergy_kind(resource: JsonObject) -> str:
    """Allergy or intolerance, of what; where SNOMED CT in C-CDA has no such pair, the propensity to react."""
    categories = resource.get("category") or [""]
    kind = (resource.get("type", ""), categories[0] if len(categories) == 1 else "")
    return _KINDS.get(kind, "420134006")


def _allergy_value(resource: JsonObject, kind: str) -> Node:
    """A denied allergy to nothing that is named must not say that no allergy is known."""
    if is_denied(resource) and not resource.get("code"):
        return node("value", xsi="CD", nullFlavor="UNK")
    return snomed(kind)


def _substance(concept: JsonObject | None) -> Node:
    what = node("code", nullFlavor="NA") if concept is None else code("code", concept)
    playing = node("playingEntity", what, classCode="MMAT")
    return node("participant", node("participantRole", playing, classCode="MANU"), typeCode="CSM")


def _allergy_status(status: str) -> Node | None:
    if status not in _CLINICAL:
        return None
    return related(
        "SUBJ", finding("28", "2019-06-20", loinc("33999-4"), snomed(_CLINICAL[status])), is_inverse=True
    )


def _criticality(value: str | None) -> Node | None:
    if value not in _CRITICALITY:
        return None
    found = node("value", xsi="CD", code=_CRITICALITY[value], codeSystem="2.16.840.1.113883.5.1063")
    return related("SUBJ", finding("145", "", loinc("82606-5"), found), is_inverse=True)


def _reaction(reaction: JsonObject) -> list[Node | None]:
    """A reaction observation of each manifestation."""
    found = []
    for manifestation in reaction.get("manifestation", ()):
        inner = finding(
            "9",
            "2014-06-09",
            node("code", code="ASSERTION", codeSystem=ACT_CODE),
            code("value", manifestation, xsi="CD"),
        )
        after = len(template("9", "2014-06-09"))
        inner.insert(after, node("id", nullFlavor="NI"))
        if reaction.get("description"):
            inner.insert(after + 2, node("text", reaction["description"]))
        if reaction.get("onset"):
            inner.insert(len(inner) - 1, node("effectiveTime", moment("low", reaction["onset"])))
        severity = _SEVERITY.get(reaction.get("severity", ""))
        if severity:
            kind = node("code", code="SEV", codeSystem=ACT_CODE)
            inner.append(related("SUBJ", finding("8", "2014-06-09", kind, snomed(severity)), is_inverse=True))
        found.append(related("MFST", inner, is_inverse=True))
    return found


def _reaction_notes(resource: JsonObject) -> list[str]:
    found = []
    for reaction in resource.get("reaction", ()):
        if reaction.get("substance"):
            found.append(f"Reaction to {said(reaction['substance'])}")
        found += [note["text"] for note in reaction.get("note", ()) if note.get("text")]
    return found
