"""Named converters of CDA tables: what a row cannot say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hdg.ingestion.cda.narrative import narrative
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import absent_reason, kind_of, number, text_of, to_coding, to_concept, to_when
from hdg.ingestion.cda.xml import Element, children, local
from hdg.mapping.context import JsonObject, Several

__all__ = ["NAMED", "Named"]


@dataclass(frozen=True, slots=True)
class Named:
    """A converter. ``is_whole``: it reads all of its element."""

    convert: Callable[[Any, State], Any]
    is_whole: bool


NAMED: dict[str, Named] = {}


def named(
    name: str, *, is_whole: bool = False
) -> Callable[[Callable[[Any, State], Any]], Callable[[Any, State], Any]]:
    """Decorator: registers a converter."""

    def keep(function: Callable[[Any, State], Any]) -> Callable[[Any, State], Any]:
        NAMED[name] = Named(function, is_whole)
        return function

    return keep


@named("cda.subject")
def subject(element: Element, state: State) -> JsonObject | None:
    """The patient that the document is about."""
    return None if state.subject is None else state.subject.copy()


@named("cda.narrative", is_whole=True)
def section_text(element: Element, state: State) -> JsonObject | None:
    """The narrative of a section as safe XHTML."""
    return narrative(element, state)


@named("cda.text", is_whole=True)
def text(element: Element, state: State) -> str | None:
    """The text of an entry, mostly a reference into the narrative."""
    return text_of(element, state) or None


@named("cda.annotation", is_whole=True)
def annotation(element: Element, state: State) -> JsonObject | None:
    """A text as an Annotation."""
    found = text_of(element, state)
    return {"text": found} if found else None


@named("cda.actor")
def actor(element: Element, state: State) -> JsonObject | None:
    """Who did it: what an author, performer, informant or entererer holds, as a Reference."""
    return _actor(
        element,
        state,
        ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Organization", "Device"),
    )


@named("cda.party")
def party(element: Element, state: State) -> JsonObject | None:
    """As ``cda.actor``, where R4 takes no devices."""
    return _actor(
        element, state, ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Organization")
    )


@named("cda.person")
def human(element: Element, state: State) -> JsonObject | None:
    """As ``cda.actor``, where R4 takes only people."""
    return _actor(element, state, ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson"))


@named("cda.author")
def author(element: Element, state: State) -> JsonObject | None:
    """The nearest author above a statement: section and document speak for what they hold (context conduction)."""
    return _nearest(element, state, actor)


@named("cda.recorder")
def recorder(element: Element, state: State) -> JsonObject | None:
    """As ``cda.author``, where R4 takes only people."""
    return _nearest(element, state, human)


def _nearest(element: Element, state: State, read: Callable[[Any, State], Any]) -> JsonObject | None:
    node = element
    while node is not None:
        for found in children(node, "author"):
            reference: JsonObject | None = read(found, state)
            if reference is not None:
                return reference
        node = node.getparent()
    return None


_HOLDERS = (
    "assignedAuthor",
    "assignedEntity",
    "relatedEntity",
    "associatedEntity",
    "assignedCustodian",
    "intendedRecipient",
)


def _actor(element: Element, state: State, kinds: tuple[str, ...]) -> JsonObject | None:
    inner = next((child for name in _HOLDERS for child in children(element, name)), None)
    if inner is None:
        return None
    if state.subject is not None and _is_patient(inner, state):
        return state.subject.copy()
    if next(children(inner, "assignedAuthoringDevice"), None) is not None:
        return state.reference("assignedAuthor.Device", inner) if "Device" in kinds else None
    if local(inner) in ("relatedEntity", "associatedEntity") and inner.get("classCode") in _RELATED:
        return state.reference("relatedEntity.RelatedPerson", inner)
    is_named = any(_has_text(child) for name in _PEOPLE for child in children(inner, name))
    organization = next(children(inner, "representedOrganization"), None)
    if is_named or any(child.get("extension") for child in children(inner, "id")) or organization is None:
        if organization is not None and _has_text(organization):
            return state.reference("assignedEntity.PractitionerRole", inner)
        return state.reference("assignedEntity.Practitioner", inner)
    return state.reference("organization.Organization", organization) if "Organization" in kinds else None


_PEOPLE = ("assignedPerson", "relatedPerson", "associatedPerson", "informationRecipient")
_RELATED = frozenset({"PRS", "NOK", "ECON", "GUARD", "GUAR", "CAREGIVER", "CON", "AGNT"})


def _has_text(element: Element) -> bool:
    return any((text or "").strip() for text in element.itertext())


def _is_patient(inner: Element, state: State) -> bool:
    """Whether an author is the patient: the same number of the same authority."""
    mine: frozenset[tuple[str, str]] | None = state.known.get("patient ids")
    if mine is None:
        roles = [
            role
            for target in children(state.root, "recordTarget")
            for role in children(target, "patientRole")
        ]
        mine = state.known["patient ids"] = frozenset(
            (one.get("root", ""), one.get("extension", ""))
            for role in roles
            for one in children(role, "id")
            if one.get("extension")
        )
    return any((one.get("root", ""), one.get("extension", "")) in mine for one in children(inner, "id"))


# --- the person -----------------------------------------------------------------------------------------------

_OMB_RACE = frozenset({"1002-5", "2028-9", "2054-5", "2076-8", "2106-3"})
_OMB_ETHNICITY = frozenset({"2135-2", "2186-5"})


def _category(element: Element, state: State, categories: frozenset[str]) -> Any:
    """The parts of US Core's extensions of race and ethnicity: coding and text."""
    coding = to_coding(element, state)
    concept = to_concept(element, state)
    if coding is None and concept is None:
        return None
    found: list[JsonObject] = []
    if coding is not None:
        kind = "ombCategory" if coding.get("code") in categories else "detailed"
        found.append({"url": kind, "valueCoding": coding})
    text = (concept or {}).get("text") or (coding or {}).get("display") or (coding or {}).get("code")
    if text:
        found.append({"url": "text", "valueString": text})
    return Several(found)


@named("cda.race", is_whole=True)
def race(element: Element, state: State) -> Any:
    """raceCode as a part of US Core's race."""
    return _category(element, state, _OMB_RACE)


@named("cda.ethnicity", is_whole=True)
def ethnicity(element: Element, state: State) -> Any:
    """ethnicGroupCode as a part of US Core's ethnicity."""
    return _category(element, state, _OMB_ETHNICITY)


@named("cda.language", is_whole=True)
def language(element: Element, state: State) -> JsonObject | None:
    """languageCode: a code of BCP 47 whatever it names as its system."""
    code = element.get("code", "").strip()
    if not code:
        return None
    return {"coding": [{"system": "urn:ietf:bcp:47", "code": code}]}


@named("cda.name_text", is_whole=True)
def name_text(element: Element, state: State) -> str | None:
    """A name as one text."""
    return " ".join(" ".join(element.itertext()).split()) or None


# --- statements -----------------------------------------------------------------------------------------------


@named("cda.Coding")
def bare_coding(value: Any, state: State) -> JsonObject | None:
    """An attribute as a code without system, for a map to translate."""
    return {"code": value} if value else None


@named("cda.true")
def true(element: Element, state: State) -> bool:
    """That it is there says so."""
    return True


@named("cda.as_needed")
def as_needed(element: Element, state: State) -> bool:
    """A criterion without a value: as needed."""
    return True


@named("cda.absent")
def absent(element: Element, state: State) -> JsonObject | None:
    """Why a value is absent, as a CodeableConcept."""
    if element.get("nullFlavor") is None or element.get("value") or element.get("code"):
        return None
    if len(element) or (element.text or "").strip():
        return None  # an original text, a translation, a bound: it says something
    reason = absent_reason(element)["extension"][0]["valueCode"]
    return {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": reason}]
    }


def _section_code(element: Element, state: State, map_name: str) -> JsonObject | None:
    """What a map says of the code of the nearest section that it knows."""
    concepts = state.library.concept_map(map_name)
    node = element
    while node is not None and concepts is not None:
        if local(node) == "section":
            for code in children(node, "code"):
                target = concepts.translate(code.get("code", ""), state.named_system(code))
                if target is not None:
                    return {"coding": [target.coding()]}
        node = node.getparent()
    return None


@named("cda.category")
def category(element: Element, state: State) -> JsonObject | None:
    """The category of an Observation or report, by its section."""
    return _section_code(element, state, "cda-section-category")


@named("cda.condition_category")
def condition_category(element: Element, state: State) -> JsonObject | None:
    """The category of a Condition, by its section."""
    return _section_code(element, state, "cda-condition-category")


def _mapped(element: Element, state: State, map_name: str) -> str | None:
    """What a map says of a code; None, and nothing to report, where it says nothing."""
    concepts = state.library.concept_map(map_name)
    code = element.get("code", "")
    target = concepts.translate(code, state.named_system(element)) if concepts is not None and code else None
    return None if target is None else target.code


@named("cda.allergy_type", is_whole=True)
def allergy_type(element: Element, state: State) -> str | None:
    """allergy or intolerance, where the value says which."""
    return _mapped(element, state, "cda-allergy-type")


@named("cda.allergy_category", is_whole=True)
def allergy_category(element: Element, state: State) -> str | None:
    """food, medication or environment, where the value says which."""
    return _mapped(element, state, "cda-allergy-category")


@named("cda.severity_note", is_whole=True)
def severity_note(element: Element, state: State) -> JsonObject | None:
    """The severity of an allergy, which R4 does not have, as a note."""
    concept = to_concept(element, state)
    if concept is None:
        return None
    coding = concept.get("coding", [{}])[0]
    said = concept.get("text") or coding.get("display") or coding.get("code")
    return {"text": f"Severity: {said}"} if said else None


@named("cda.range_text")
def range_text(element: Element, state: State) -> str | None:
    """A reference range that is no interval of quantities."""
    if kind_of(element) in ("IVL_PQ", "IVL_REAL", "IVL_INT", ""):
        return None
    state.mark(element)
    if kind_of(element) == "PQ":
        return " ".join(part for part in (element.get("value", ""), element.get("unit", "")) if part) or None
    concept = to_concept(element, state) or {}
    coding = concept.get("coding", [{}])[0]
    found: str | None = concept.get("text") or coding.get("display") or coding.get("code")
    return found


# --- times ----------------------------------------------------------------------------------------------------

_PERIOD_UNITS = {"s": "s", "min": "min", "h": "h", "d": "d", "wk": "wk", "mo": "mo", "a": "a", "y": "a"}
_EVENTS = frozenset(
    (
        "HS",
        "WAKE",
        "C",
        "CM",
        "CD",
        "CV",
        "AC",
        "ACM",
        "ACD",
        "ACV",
        "PC",
        "PCM",
        "PCD",
        "PCV",
        "MORN",
        "AFT",
        "EVE",
        "NIGHT",
    )
)


@named("cda.period", is_whole=True)
def period(element: Element, state: State) -> JsonObject | None:
    """IVL_TS, or a moment as the beginning of a period whose end is not known."""
    choice = to_when(element, state)
    if choice is None:
        return None
    return choice.value if choice.type == "Period" else {"start": choice.value}


@named("cda.when_text", is_whole=True)
def when_text(element: Element, state: State) -> str | None:
    """A time where R4 takes only text."""
    choice = to_when(element, state)
    if choice is None:
        return None
    if choice.type == "Period":
        return " to ".join(str(choice.value.get(name, "?")) for name in ("start", "end"))
    return str(choice.value)


def _intervals(element: Element) -> list[Element]:
    return [one for one in children(element, "effectiveTime") if kind_of(one) in ("IVL_TS", "TS", "")]


@named("cda.medication_time")
def medication_time(element: Element, state: State) -> Any:
    """The interval among the effective times of an administration."""
    for one in _intervals(element):
        state.mark(one)
        found = to_when(one, state)
        if found is not None:
            return found
    return None


@named("cda.timing")
def timing(element: Element, state: State) -> JsonObject | None:
    """PIVL_TS and EIVL_TS among the effective times of an administration."""
    return _timing(element, state)


@named("cda.timing_bounded")
def timing_bounded(element: Element, state: State) -> JsonObject | None:
    """``cda.timing`` with the interval as its bounds."""
    found = _timing(element, state) or {}
    for one in _intervals(element):
        state.mark(one)
        choice = to_when(one, state)
        if choice is None:
            continue
        if choice.type == "Period":
            found.setdefault("repeat", {})["boundsPeriod"] = choice.value
        elif "repeat" not in found:
            found.setdefault("event", []).append(choice.value)
        else:
            found["repeat"]["boundsPeriod"] = {"start": choice.value}
    return found or None


def _timing(element: Element, state: State) -> JsonObject | None:
    found: JsonObject = {}
    for one in children(element, "effectiveTime"):
        match kind_of(one):
            case "PIVL_TS":
                state.mark(one)
                _add(found, _periodic(one, state), state)
            case "EIVL_TS":
                state.mark(one)
                _add(found, _eventful(one, state), state)
            case kind if kind not in ("IVL_TS", "TS", ""):
                state.problem(f"a time of type {kind} is not supported", code="not-supported")
    return found or None


def _add(found: JsonObject, repeat: JsonObject, state: State) -> None:
    if not repeat:
        return
    held = found.setdefault("repeat", {})
    for name, value in repeat.items():
        if name == "when":
            held.setdefault("when", []).extend(value)
        elif name in held and held[name] != value:
            state.problem("a second frequency was left out", code="incomplete")
        else:
            held[name] = value


def _periodic(element: Element, state: State) -> JsonObject:
    """Every so often."""
    found: JsonObject = {}
    for one in children(element, "period"):
        low = next(children(one, "low"), None)
        high = next(children(one, "high"), None)
        first = one if one.get("value") else low if low is not None else high
        if first is None or not first.get("value"):
            continue
        unit = _PERIOD_UNITS.get(first.get("unit", ""))
        if unit is None:
            state.problem("the unit of a period is none of time", code="value")
            continue
        found = {"frequency": 1, "period": number(first.get("value")), "periodUnit": unit}
        if low is not None and high is not None and low.get("value") and high.get("value"):
            if low.get("unit") != high.get("unit"):
                state.problem("the bounds of a period have different units", code="value")
            else:
                found["periodMax"] = number(high.get("value"))
    for _ in children(element, "phase"):
        state.problem("the phase of a period was left out", code="incomplete")
    return found


def _eventful(element: Element, state: State) -> JsonObject:
    """At an event of the day."""
    codes = [one.get("code", "") for one in children(element, "event")]
    known = [code for code in codes if code in _EVENTS]
    if len(known) < len([code for code in codes if code]):
        state.problem("an event of the day that R4 does not know was left out", code="code-invalid")
    for one in children(element, "offset"):
        if one.get("value") or len(one):
            state.problem("the offset from an event was left out", code="incomplete")
    return {"when": known} if known else {}


_ACT_CODE = "2.16.840.1.113883.5.4"


@named("cda.encounter_class")
def encounter_class(element: Element, state: State) -> JsonObject | None:
    """The code, or the translation, that is of v3 ActCode; R4 wants one, so that none is said to be unknown."""
    for one in (element, *children(element, "translation")):
        if one.get("codeSystem") == _ACT_CODE:
            return to_coding(one, state)
    return None
