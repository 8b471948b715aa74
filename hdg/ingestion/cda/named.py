"""Named converters of CDA tables: what a row cannot say. Here: statements; people, times and content have their own."""

from __future__ import annotations

from typing import Any, Final

from hdg.ingestion.cda import named_content, named_people, named_times  # noqa: F401  register their converters
from hdg.ingestion.cda.named_registry import NAMED, Named, named
from hdg.ingestion.cda.narrative import narrative
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import absent_reason, kind_of, said_of, text_of, to_any, to_coding, to_concept
from hdg.ingestion.cda.xml import Element, children, local
from hdg.mapping.context import Choice, JsonObject, Unfit
from hdg.terminology.concepts import Target

__all__ = ["NAMED", "Named"]


@named("cda.subject")
def subject(element: Element, state: State) -> JsonObject | None:
    """The patient that the document is about."""
    return None if state.subject is None else state.subject.copy()


@named("cda.narrative", is_whole=True)
def section_text(element: Element, state: State) -> JsonObject | None:
    """The narrative of a section as safe XHTML."""
    return narrative(element)


@named("cda.text", is_whole=True)
def text(element: Element, state: State) -> str | None:
    """The text of an entry, mostly a reference into the narrative."""
    return text_of(element, state) or None


@named("cda.annotation", is_whole=True)
def annotation(element: Element, state: State) -> JsonObject | None:
    """A text as an Annotation."""
    found = text_of(element, state)
    return {"text": found} if found else None


# --- statements -----------------------------------------------------------------------------------------------


@named("cda.Coding")
def bare_coding(value: Any, state: State) -> JsonObject | None:
    """An attribute as a code without system, for a map to translate."""
    return {"code": value} if value else None


@named("cda.denied_twice")
def denied_twice(value: Any, state: State) -> None:
    """That it is denied that nothing is known: senders mean that nothing is known, which the code says."""
    state.problem(
        "a code says that nothing is known, and is negated; what the code says was kept", code="conflict"
    )


@named("cda.ended_and_active")
def ended_and_active(value: Any, state: State) -> None:
    """That a problem is active whose end is given: R4 has one or the other."""
    state.problem("a problem that has ended is said to be active; its end was kept", code="conflict")


@named("cda.true")
def true(element: Element, state: State) -> bool:
    """That it is there says so."""
    return True


@named("cda.is_active")
def is_active(value: Any, state: State) -> bool | None:
    """Whether an ingredient works: ACTI; BASE and ADTV do not; nothing for what does not say."""
    return {"ACTI": True, "ACTIM": True, "ACTIB": True, "BASE": False, "ADTV": False}.get(value)


@named("cda.unknown")
def unknown(value: Any, state: State) -> str:
    """The status that says nothing."""
    return "unknown"


@named("cda.as_needed")
def as_needed(element: Element, state: State) -> bool:
    """A criterion without a value: as needed."""
    return True


def _says_a_value(element: Element, state: State) -> bool:
    """Whether ``ANY.x`` makes something of it; its problems are said there."""
    told = len(state.problems)
    try:
        return to_any(element, state) is not None
    except Unfit:
        return False
    finally:
        del state.problems[told:]


@named("cda.absent")
def absent(element: Element, state: State) -> JsonObject | None:
    """Why a value is absent, as a CodeableConcept."""
    if element.get("nullFlavor") is None or element.get("value") or element.get("code"):
        return None
    if element.inner or (element.text or "").strip() or _says_a_value(element, state):
        return None  # an original text, a translation, a bound, a name: it says something
    reason = absent_reason(element)["extension"][0]["valueCode"]
    return {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": reason}]
    }


def _section_code(element: Element, state: State, map_name: str) -> JsonObject | None:
    """What a map says of the code of the nearest section that it knows."""
    section = element if local(element) == "section" else state.section_of(element)
    if section is None:
        return None
    key = (map_name, section)
    if key not in state.known:
        state.known[key] = _translated(section, state, map_name)
    target: Target | None = state.known[key]
    return None if target is None else {"coding": [target.coding()]}


def _translated(section: Element, state: State, map_name: str) -> Target | None:
    concepts = state.library.concept_map(map_name)
    node: Element | None = section
    while node is not None and concepts is not None:
        for code in children(node, "code"):
            target = concepts.translate(code.get("code", ""), state.named_system(code))
            if target is not None:
                return target
        node = state.section_of(node)
    return None


@named("cda.category")
def category(element: Element, state: State) -> JsonObject | None:
    """The category of an Observation or report, by its section."""
    return _section_code(element, state, "cda-section-category")


@named("cda.condition_category")
def condition_category(element: Element, state: State) -> JsonObject | None:
    """The category of a Condition, by its section."""
    return _section_code(element, state, "cda-condition-category")


@named("cda.refuted_status")
def refuted_status(element: Element, state: State) -> JsonObject | None:
    """``inactive`` for what is refuted on the problem list, of which R4 con-3 asks a status; elsewhere nothing.

    Of the six it is the one that says that there is no evidence of the problem, as for HL7 v2 (PRB-13).
    """
    category = condition_category(element, state)
    concepts = state.library.concept_map("problem-life-cycle")
    target = None if concepts is None else concepts.translate("inactive", "")
    is_listed = category is not None and category["coding"][0].get("code") == "problem-list-item"
    return {"coding": [target.coding()]} if is_listed and target is not None else None


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


def _note(label: str, element: Element, state: State) -> str | None:
    said = said_of(element, state)
    return f"{label}: {said}" if said else None


@named("cda.severity_note", is_whole=True)
def severity_note(element: Element, state: State) -> JsonObject | None:
    """The severity of an allergy, which R4 does not have, as a note."""
    said = _note("Severity", element, state)
    return {"text": said} if said else None


@named("cda.preference", is_whole=True)
def preference(element: Element, state: State) -> str | None:
    """How much somebody prefers it, as the text of a note."""
    return _note("Preference", element, state)


@named("cda.denied", is_whole=True)
def denied(element: Element, state: State) -> str | None:
    """What is denied where R4 has only words for that: its words and its codes, as the text of a note."""
    said = said_of(element, state) or text_of(element, state)
    if not said:
        return None
    codings = (to_concept(element, state) or {}).get("coding", ())
    codes = ", ".join(f"{one.get('system', '')}#{one['code']}" for one in codings if one.get("code"))
    state.problem("what a relative does not have is a note", code="informational", severity="information")
    return f"Denied: {said} ({codes})" if codes else f"Denied: {said}"


@named("cda.method_note", is_whole=True)
def method_note(element: Element, state: State) -> str | None:
    """By which method, as the text of a note."""
    return _note("Method", element, state)


@named("cda.specimen_note", is_whole=True)
def specimen_note(element: Element, state: State) -> str | None:
    """Of which specimen, as the text of a note."""
    return _note("Specimen", element, state)


@named("cda.value_concept", is_whole=True)
def value_concept(element: Element, state: State) -> JsonObject | None:
    """A value where R4 takes only a CodeableConcept: a code, or its text."""
    if kind_of(element) in ("CD", "CE", "CV", "CS", "CO", "") and element.get("code"):
        return to_concept(element, state)
    said = text_of(element, state)
    if not said and element.get("value"):
        said = " ".join(part for part in (element.get("value"), element.get("unit")) if part)
    return {"text": said} if said else to_concept(element, state)


_DETAILS: Final = frozenset(("Quantity", "Range", "CodeableConcept", "String", "Boolean", "Integer", "Ratio"))


@named("cda.goal_detail", is_whole=True)
def goal_detail(element: Element, state: State) -> Choice | None:
    """The value to reach. R4 Goal.target.detail[x]."""
    found = to_any(element, state)
    if found is not None and found.type not in _DETAILS:
        raise Unfit("a goal takes no such value", code="not-supported")
    return found


@named("cda.range_text")
def range_text(element: Element, state: State) -> str | None:
    """A reference range that is no interval of quantities."""
    if kind_of(element) in ("IVL_PQ", "IVL_REAL", "IVL_INT", ""):
        return None
    state.mark(element)
    if kind_of(element) == "PQ":
        return " ".join(part for part in (element.get("value", ""), element.get("unit", "")) if part) or None
    return said_of(element, state) or None


_ACT_CODE: Final = "2.16.840.1.113883.5.4"


@named("cda.encounter_class")
def encounter_class(element: Element, state: State) -> JsonObject | None:
    """The code, or the translation, that is of v3 ActCode; R4 wants one, so that none is said to be unknown."""
    for one in (element, *children(element, "translation")):
        if one.get("codeSystem") == _ACT_CODE:
            return to_coding(one, state)
    return None
