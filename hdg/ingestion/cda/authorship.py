"""Who wrote what of a document, and where it stands there: Provenance.

CDA R2 §4.4 (context conduction): the author of the document speaks for its sections, that of a section for its entries,
unless they name their own. R4 provenance.html: one Provenance for all that the same authors wrote; each target carries
the XPath of the element that it was made of (names are in the namespace ``urn:hl7-org:v3``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from hdg.fhir.validate import is_accepted
from hdg.ingestion.cda.named_people import authors_of
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element, local
from hdg.ingestion.provenance import ASSEMBLER, provenance, role
from hdg.mapping.context import JsonObject

__all__ = ["SOURCE_XPATH", "Authorship"]

SOURCE_XPATH: Final = "https://hdg.dev/fhir/StructureDefinition/source-xpath"
_THINGS: Final = frozenset(
    ("Device", "Location", "Organization", "Patient", "Practitioner", "PractitionerRole", "RelatedPerson")
)
"""What statements name; nobody is said to have written it beside the author of the document."""


_UNNAMED: Final = ("",)
"""What an author wrote of whom nothing is said."""
_SHORT: Final = 20
"""Children that are counted each time."""
_PLACE_MAX: Final = 4096
"""Characters."""
_PATHS_MAX: Final = 1000
"""Elements of which is kept where they lie, or who wrote them."""


class Authorship:
    """The authors of what one document became. They are read when this is made, so that losses count them as read."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._numbers: dict[Element, dict[Element, str]] = {}
        self._paths: dict[Element, str] = {}
        self._above: dict[Element, tuple[str, ...]] = {}
        self._document = self._authors(state.root)
        self._by_key: dict[tuple[str, str], tuple[str, ...]] = {}
        """Of what others wrote than those who wrote the document."""
        for key, element in list(state.sources.items()):
            authors = self._document if key[0] in _THINGS else self._authors(element)
            if authors != self._document:
                self._by_key[key] = authors
        self._above.clear()
        self._places: dict[tuple[str, str], str] = {}

    def place(self) -> None:
        """Notes where everything stands; the document is not asked after that."""
        self._places = {key: self._xpath(element) for key, element in self._state.sources.items()}
        self._numbers.clear()
        self._paths.clear()

    def _authors(self, element: Element) -> tuple[str, ...]:
        """References to the nearest authors."""
        known = self._above.get(element)
        if known is None:
            known = authors_of(element, self._state)
            if known is None:
                parent = element.around
                known = () if parent is None else self._authors(parent)
            if len(self._above) >= _PATHS_MAX:
                self._above.clear()
            self._above[element] = known
        return known

    def provenances(
        self, resources: Sequence[JsonObject], *, sha256: str, mapping_digest: str, recorded: str
    ) -> list[JsonObject]:
        """One for each group of authors, the document's first. ``recorded``: an instant.

        ``resources``: what is there to be told of; an author who is not among it is not named.
        """
        there = {f"{one['resourceType']}/{one['id']}" for one in resources}
        groups: dict[tuple[str, ...], list[JsonObject]] = {self._document: []}
        for resource in resources:
            key = (resource["resourceType"], resource["id"])
            groups.setdefault(self._by_key.get(key, self._document), []).append(resource)
        found = []
        for authors, targets in groups.items():
            is_document = authors == self._document
            made = provenance(
                targets,
                id_key=self._state.id_key,
                sender=self._state.sender,
                sha256=sha256,
                mapping_digest=mapping_digest,
                recorded=recorded,
                agents=[*_agents(one for one in authors if one in there), ASSEMBLER],
                what="document",
                part=() if is_document else authors or _UNNAMED,
            )
            made["target"] = [
                self._placed(target, one) for target, one in zip(made["target"], targets, strict=True)
            ]
            found.append(made)
        return found

    def is_sound(self, made: JsonObject) -> bool:
        """Whether R4 takes a Provenance of ``provenances``. Its targets are all of one make: one is looked at."""
        targets: list[JsonObject] = made["target"]
        return all(map(_is_plain, targets)) and is_accepted({**made, "target": targets[:1]}, None)

    def _placed(self, target: JsonObject, resource: JsonObject) -> JsonObject:
        place = self._places.get((resource["resourceType"], resource["id"]))
        if place is None:
            return target
        return {"extension": [{"url": SOURCE_XPATH, "valueString": place}], **target}

    def _xpath(self, element: Element) -> str:
        known = self._paths.get(element)
        if known is None:
            parent = element.around
            known = (
                f"/{local(element)}"
                if parent is None
                else f"{self._xpath(parent)}/{self._step(parent, element)}"
            )
            if len(self._paths) >= _PATHS_MAX:  # what follows mostly lies elsewhere
                self._paths.clear()
            self._paths[element] = known
        return known

    def _step(self, parent: Element, element: Element) -> str:
        """What a child is called there: numbered where it has siblings of its name."""
        if len(parent.inner) > _SHORT:
            return self._steps(parent)[element]
        name = local(element)
        if len(parent.inner) == 1:
            return name
        tag = element.tag
        same = [child for child in parent.inner if child.tag == tag or local(child) == name]
        return f"{name}[{same.index(element) + 1}]" if len(same) > 1 else name

    def _steps(self, parent: Element) -> dict[Element, str]:
        """``_step`` of each child."""
        known = self._numbers.get(parent)
        if known is None:
            named: dict[str, list[Element]] = {}
            for child in parent.inner:
                named.setdefault(local(child), []).append(child)
            known = self._numbers[parent] = {}
            for name, inner in named.items():
                if len(inner) == 1:
                    known[inner[0]] = name
                else:
                    known.update((child, f"{name}[{number}]") for number, child in enumerate(inner, 1))
        return known


def _is_plain(target: JsonObject) -> bool:
    """Whether a text that may stand anywhere says where the target lies."""
    said = target.get("extension")
    if said is None:
        return True
    place: str = said[0]["valueString"]
    return place.isprintable() and len(place) < _PLACE_MAX


def _agents(authors: Iterable[str]) -> Iterator[JsonObject]:
    return ({"type": role("author"), "who": {"reference": one}} for one in authors)
