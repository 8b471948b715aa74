"""What identifies a person, a place or a statement: the converters of ``id`` rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element, children
from hdg.mapping.context import Facts

__all__ = ["IDENTITIES"]

_NPI: Final = "2.16.840.1.113883.4.6"


def _ids(element: Element) -> list[tuple[str, str]]:
    return sorted(
        (one.get("root", "").strip(), one.get("extension", "").strip())
        for one in children(element, "id")
        if one.get("nullFlavor") is None and (one.get("root") or one.get("extension"))
    )


def _words(element: Element, *path: str) -> str:
    """The texts at a path of children, in lower case."""
    nodes = [element]
    for name in path:
        nodes = [child for node in nodes for child in children(node, name)]
    return " ".join([" ".join(" ".join(node.itertext()).split()).lower() for node in nodes])


def _thing(kind: str, ids: list[tuple[str, str]], otherwise: str) -> Facts:
    """A National Provider Identifier, else the first id with an extension, else what is said of it."""
    for root, extension in ids:
        if root == _NPI and extension:
            return Facts(("cda", kind, root, extension), is_thing=True)
    for root, extension in ids:
        if extension:
            return Facts(("cda", kind, root, extension, otherwise), is_thing=True)
    return Facts(("cda", kind, *(part for pair in ids for part in pair), otherwise), is_thing=True)


def patient(element: Element, state: State) -> Facts:
    """patientRole: its first id."""
    ids = _ids(element)
    first = next((pair for pair in _in_order(element) if pair[1]), ids[0] if ids else None)
    if first is not None:
        return Facts(("cda-patient", *first), is_thing=True)
    said = "|".join((_words(element, "patient", "name"), _birth(element)))
    return Facts(("cda-patient", said), is_thing=True)


def _in_order(element: Element) -> list[tuple[str, str]]:
    return [
        (one.get("root", "").strip(), one.get("extension", "").strip())
        for one in children(element, "id")
        if one.get("nullFlavor") is None
    ]


def _birth(element: Element) -> str:
    for person in children(element, "patient"):
        for time in children(person, "birthTime"):
            return str(time.get("value", ""))
    return ""


def person(element: Element, state: State) -> Facts:
    """assignedAuthor, assignedEntity, associatedEntity: who it is."""
    name = _words(element, "assignedPerson", "name") or _words(element, "associatedPerson", "name")
    name = name or _words(element, "playingEntity", "name") or _words(element, "relatedPerson", "name")
    name = name or _words(element, "informationRecipient", "name")
    return _thing("person", _ids(element), name)


def role(element: Element, state: State) -> Facts:
    """A person at an organization."""
    facts = person(element, state)
    where = next(
        (found for name in _ORGANIZATIONS if (found := _words(element, name, "name"))),
        "",
    )
    numbers = [
        part
        for name in _ORGANIZATIONS
        for one in children(element, name)
        for pair in _ids(one)
        for part in pair
    ]
    return Facts(("role", *facts.parts, where, *numbers), is_thing=True)


_ORGANIZATIONS: Final = ("representedOrganization", "receivedOrganization", "scopingOrganization")


def payor(element: Element, state: State) -> Facts:
    """An insurer: an assignedEntity whose organization has the name."""
    ids = [pair for one in children(element, "representedOrganization") for pair in _ids(one)] + _ids(element)
    return _thing("organization", ids, _words(element, "representedOrganization", "name"))


def organization(element: Element, state: State) -> Facts:
    """Any organization: its ids and its name."""
    return _thing("organization", _ids(element), _words(element, "name"))


def location(element: Element, state: State) -> Facts:
    """A participantRole or healthCareFacility: its ids, its name and where it is."""
    name = _words(element, "playingEntity", "name") or _words(element, "location", "name")
    where = _words(element, "addr") or _words(element, "location", "addr")
    return _thing("location", _ids(element), "|".join(part for part in (name, where) if part))


def device(element: Element, state: State) -> Facts:
    """A device: its ids, what it is called."""
    name = _words(element, "assignedAuthoringDevice") or _words(element, "playingDevice")
    codes = [
        code.get("code", "") for one in children(element, "playingDevice") for code in children(one, "code")
    ]
    name = "|".join(part for part in (name, *codes) if part)
    return _thing("device", _ids(element), name)


def statement(element: Element, state: State) -> Facts:
    """A clinical statement: its ids, else its content."""
    return state.facts_of(element)


def product(element: Element, state: State) -> Facts:
    """A manufacturedProduct: what it says; senders give one id to several."""
    content = state.content_of(element)
    return Facts(("product", content), is_thing=True)


def part(element: Element, state: State) -> Facts:
    """What belongs to a statement: the statement's own facts."""
    parent = element.around
    facts = state.facts_of(element)
    above = state.facts_of(parent) if parent is not None else facts
    return Facts(("part", *above.parts, *facts.parts))


IDENTITIES: Final[dict[str, Callable[[Element, State], Facts]]] = {
    "identity.patient": patient,
    "identity.person": person,
    "identity.role": role,
    "identity.organization": organization,
    "identity.payor": payor,
    "identity.location": location,
    "identity.device": device,
    "identity.statement": statement,
    "identity.product": product,
    "identity.part": part,
}
