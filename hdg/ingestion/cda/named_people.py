"""Who: authors, performers, participants as references; race, ethnicity and language of a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hdg.ingestion.cda.named_registry import named
from hdg.ingestion.cda.state import SELF, State, ids_of
from hdg.ingestion.cda.values import to_coding, to_concept
from hdg.ingestion.cda.xml import HL7, Element, children, first_child, local
from hdg.mapping.context import JsonObject, Several

__all__ = ["actor", "authors_of", "human", "is_patient"]


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


@named("cda.family")
def family(element: Element, state: State) -> JsonObject | None:
    """As ``cda.actor``, where R4 takes the patient and relatives; nothing for anybody else."""
    found = human(element, state)
    is_one = found is not None and found["reference"].startswith(("Patient/", "RelatedPerson/"))
    return found if is_one else None


@named("cda.author")
def author(element: Element, state: State) -> JsonObject | None:
    """The nearest author above a statement: section and document speak for what they hold (context conduction)."""
    return _nearest(element, state, actor)


@named("cda.recorder")
def recorder(element: Element, state: State) -> JsonObject | None:
    """As ``cda.author``, where R4 takes only people."""
    return _nearest(element, state, human)


def _nearest(element: Element, state: State, read: Callable[[Any, State], Any]) -> JsonObject | None:
    around = element.around
    authors = [one for one in children(element, "author") if _has_author(one)]
    for found in authors:
        reference: JsonObject | None = read(found, state)
        if reference is not None:
            return reference
    if authors or around is None:
        return None  # it has an author, whom R4 does not take here
    if state.subject is None or local(around) != "section":
        return _nearest(around, state, read)
    key = (read, around)
    if key not in state.known:
        state.known[key] = _nearest(around, state, read)
    known: JsonObject | None = state.known[key]
    return None if known is None else known.copy()


def authors_of(element: Element, state: State) -> tuple[str, ...] | None:
    """References to all authors that an element itself names; None: it names none."""
    authors = [one for one in children(element, "author") if _has_author(one)]
    if not authors:
        return None
    found = (actor(one, state) for one in authors)
    return tuple(dict.fromkeys(one["reference"] for one in found if one is not None))


def _has_author(element: Element) -> bool:
    """Whether it says anything of the author."""
    return any(bool(ids_of(one)) or _has_text(one) for one in element.inner if one.tag in _HOLDER_TAGS)


_HOLDERS: Final = (
    "assignedAuthor",
    "assignedEntity",
    "relatedEntity",
    "associatedEntity",
    "assignedCustodian",
    "intendedRecipient",
    "participantRole",
)
_HOLDER_TAGS: Final = frozenset(HL7 + name for name in _HOLDERS)


def _actor(element: Element, state: State, kinds: tuple[str, ...]) -> JsonObject | None:
    """Several rows ask for one, and so does who wrote it: once the patient is known, it is worked out once."""
    if state.subject is None:
        return _read_actor(element, state, kinds)
    key = (element, kinds)
    if key not in state.known:
        state.known[key] = _read_actor(element, state, kinds)
    known: JsonObject | None = state.known[key]
    return None if known is None else known.copy()


def _read_actor(element: Element, state: State, kinds: tuple[str, ...]) -> JsonObject | None:
    held = [child for child in element.inner if child.tag in _HOLDER_TAGS]
    inner = (
        held[0]
        if len(held) == 1
        else next((one for name in _HOLDERS for one in children(element, name)), None)
    )
    if inner is None:
        return None
    if state.subject is not None and is_patient(inner, state):
        state.mark(inner)
        return state.subject.copy()
    meant = _elsewhere(inner, state)
    if meant is not inner:
        state.mark(inner)
        inner = meant
    if first_child(inner, "assignedAuthoringDevice") is not None:
        return state.reference("assignedAuthor.Device", inner) if "Device" in kinds else None
    kinship = _kinship(inner)
    if kinship in SELF and state.subject is not None:
        state.mark(inner)
        return state.subject.copy()
    if kinship or (local(inner) in _ENTITIES and inner.get("classCode") in _RELATED):
        return state.reference("relatedEntity.RelatedPerson", inner)
    organization = _organization_of(inner)
    if organization is None or not _has_text(organization):
        return state.reference("assignedEntity.Practitioner", inner)
    if _is_named(inner) or not _says_nothing_else(inner, organization) or "Organization" not in kinds:
        return state.reference("assignedEntity.PractitionerRole", inner)
    for name in ("id", "addr", "telecom"):
        for child in children(inner, name):
            state.mark(child)
    return state.reference("organization.Organization", organization)


def _kinship(inner: Element) -> str:
    """What an author or entity that stands for no organization is to the patient; '' for nothing of the kind.

    C-CDA R2.1, Author Participation: a code of Personal And Legal Relationship Role Type.
    """
    if local(inner) not in ("assignedAuthor", "assignedEntity") or _organization_of(inner) is not None:
        return ""
    codes = (one.get("code", "") for one in children(inner, "code") if one.get("codeSystem") == _ROLE_CODE)
    return next((one for one in codes if one), "")


def _organization_of(inner: Element) -> Element | None:
    for name in _ORGANIZATIONS:
        found = first_child(inner, name)
        if found is not None:
            return found
    return None


def _is_named(inner: Element) -> bool:
    return any(_has_text(child) for child in inner.inner if child.tag in _PEOPLE_TAGS)


def _says_nothing_else(inner: Element, organization: Element) -> bool:
    """Whether a nameless role has neither a number nor an address beside those of its organization."""
    if any(one.get("extension") for one in children(inner, "id")) or any(
        one.get("code") for one in children(inner, "code")
    ):
        return False
    words = "".join(organization.itertext())
    numbers = {one.get("value") for one in children(organization, "telecom")}
    return all(text.strip() in words for one in children(inner, "addr") for text in one.itertext()) and all(
        one.get("value") in numbers for one in children(inner, "telecom") if one.get("value")
    )


def _elsewhere(inner: Element, state: State) -> Element:
    """Who is only named by an id here and described elsewhere in the document; else the element itself.

    C-CDA R2.1, Author Participation: an id may point to an author given before.
    """
    if _is_named(inner) or _organization_of(inner) is not None or any(_has_text(one) for one in inner.inner):
        return inner
    people: dict[tuple[str, str], Element | None] | None = state.known.get("people")
    if people is None:
        people = state.known["people"] = {}
        for one in state.root.iter():
            if one.tag not in _HOLDER_TAGS or not _is_named(one):
                continue
            for id_ in ids_of(one):
                held = people.setdefault(id_, one)
                if held is not None and held is not one and _names(held) != _names(one):
                    people[id_] = None  # two people with one id: nobody knows who is meant
    for id_ in ids_of(inner):
        found = people.get(id_)
        if found is not None:
            return found
    return inner


def _names(inner: Element) -> str:
    words = (text for name in _PEOPLE for child in children(inner, name) for text in child.itertext())
    return " ".join(" ".join(words).split())


_ENTITIES: Final = ("relatedEntity", "associatedEntity", "participantRole")
_PEOPLE: Final = (
    "assignedPerson",
    "relatedPerson",
    "associatedPerson",
    "informationRecipient",
    "playingEntity",
)
_PEOPLE_TAGS: Final = frozenset(HL7 + name for name in _PEOPLE)
_ORGANIZATIONS: Final = ("representedOrganization", "receivedOrganization", "scopingOrganization")
_ROLE_CODE: Final = "2.16.840.1.113883.5.111"
_RELATED: Final = frozenset({"PRS", "NOK", "ECON", "GUARD", "GUAR", "CAREGIVER", "CON", "AGNT"})


def _has_text(element: Element) -> bool:
    return bool("".join(element.itertext()).strip())


def is_patient(inner: Element, state: State) -> bool:
    """Whether an author is the patient: the same number of the same authority."""
    mine = state.patient_ids()
    return any((one.get("root", ""), one.get("extension", "")) in mine for one in children(inner, "id"))


@named("cda.holder")
def holder(element: Element, state: State) -> JsonObject | None:
    """Who holds a policy: the patient, or somebody else. ``element`` is a participantRole of a policy."""
    if state.subject is not None and (is_patient(element, state) or _is_self(element, state)):
        state.mark(element)
        return state.subject.copy()
    return state.reference("relatedEntity.RelatedPerson", element)


def _is_self(element: Element, state: State) -> bool:
    """Whether the policy says that the patient is the subscriber."""
    participant = element.around
    policy = None if participant is None else participant.around
    return policy is not None and any(
        code.get("code") == "SELF"
        for participant in children(policy, "participant")
        if participant.get("typeCode") == "COV"
        for role in children(participant, "participantRole")
        for code in children(role, "code")
    )


@named("cda.organization")
def organization(element: Element, state: State) -> JsonObject | None:
    """The organization of a performer, where R4 takes nothing else."""
    for inner in (one for name in _HOLDERS for one in children(element, name)):
        for found in (one for name in _ORGANIZATIONS for one in children(inner, name)):
            return state.reference("organization.Organization", found)
    return None


@named("cda.custodian_note", is_whole=True)
def custodian_note(element: Element, state: State) -> str | None:
    """Who keeps an advance directive or speaks for the patient, as the text of a note."""
    said = " ".join(" ".join(text.split()) for text in element.itertext() if text.strip())
    numbers = [one.get("value", "") for one in element.iter() if local(one) == "telecom" and one.get("value")]
    found = ", ".join(part for part in (said, *numbers) if part)
    return f"Custodian or agent: {found}" if found else None


# --- the person -----------------------------------------------------------------------------------------------

_OMB_RACE: Final = frozenset({"1002-5", "2028-9", "2054-5", "2076-8", "2106-3"})
_OMB_ETHNICITY: Final = frozenset({"2135-2", "2186-5"})


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


def _proficiency(part: str, element: Element, state: State) -> JsonObject | None:
    coding = to_coding(element, state)
    return None if coding is None else {"url": part, "valueCoding": coding}


@named("cda.proficiency_level", is_whole=True)
def proficiency_level(element: Element, state: State) -> JsonObject | None:
    """How well, as a part of R4's patient-proficiency."""
    return _proficiency("level", element, state)


@named("cda.proficiency_type", is_whole=True)
def proficiency_type(element: Element, state: State) -> JsonObject | None:
    """Spoken, written …, as a part of R4's patient-proficiency."""
    return _proficiency("type", element, state)


@named("cda.name_text", is_whole=True)
def name_text(element: Element, state: State) -> str | None:
    """A name as one text."""
    return " ".join(" ".join(element.itertext()).split()) or None
