"""The IEEE 11073-10101 nomenclature (MDC) as far as devices need it: names, LOINC and UCUM equivalents, bits.

A code is partition × 65536 + term. What is known lies in ``terminology/maps/mdc-*.csv``; a code that is not there
is kept as it came, never guessed at. PHD guide, https://hl7.org/fhir/uv/phd/Nomenclaturecodes.html.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hdg.fhir.json import JsonObject
from hdg.terminology.concepts import ConceptMap, Target, concept_map

__all__ = ["ATTRIBUTE", "DEVICE", "MDC", "METRIC", "PROFILE", "UCUM", "Bit", "Mdc", "kind_of"]

MDC = "urn:iso:std:iso:11073:10101"
UCUM = "http://unitsofmeasure.org"
DEVICE, PROFILE, ATTRIBUTE, METRIC = "device", "profile", "attribute", "metric"
"""Kinds of codes: a part of a device, a device specialization, an attribute of something else, a measurement."""

_MAPS_MAX = 4096
_TEXT_MAX = 200
_TREES_MAX = 64
_TREE_TEXT_MAX = 100_000
"""Characters of what decides about a tree that is remembered."""
_OBJECTS, _EVENTS, _INFRASTRUCTURE = 1, 3, 8
_TERM_BITS = 16
_PROFILES = range(4096, 5120)
_DEVICES_FROM = 4096
_CLASSES_TO = 256
_GATEWAY, _SIMPLE = 531981, 65573
_BATTERY = 67996
"""An attribute in name, a measurement by what it says."""


def kind_of(code: int) -> str:
    """What a code names, by the partition and the range that 11073-10101 gives such terms."""
    partition, term = divmod(code, 1 << _TERM_BITS)
    if code in (_GATEWAY, _SIMPLE):
        return DEVICE
    if code == _BATTERY:
        return METRIC
    if partition == _OBJECTS:
        return DEVICE if term < _CLASSES_TO or term >= _DEVICES_FROM else ATTRIBUTE
    if partition == _INFRASTRUCTURE:
        return PROFILE if term in _PROFILES else ATTRIBUTE
    return METRIC


class Bit(NamedTuple):
    """One bit of a BITs value. ``number``: 0 is the highest. ``is_state``: being cleared says something too."""

    number: int
    name: str
    is_state: bool


class Mdc:
    """The nomenclature through one site's concept maps. What it gives is shared and must not be changed."""

    def __init__(self, maps: Callable[[str], ConceptMap | None] = concept_map) -> None:
        """``maps``: finds a concept map by name, such as ``Library.concept_map``."""
        self._maps = maps
        self._concepts: dict[tuple[int, str], JsonObject] = {}
        self._units: dict[tuple[int, str], JsonObject] = {}
        self._categories: dict[str, JsonObject] = {}
        self._category: dict[int, JsonObject | None] = {}
        self.identified: dict[str, tuple[int, str, str]] = {}
        """(code, name, kind) by the text of an OBX-3; fill it by ``identify``."""
        self.trees: dict[tuple[str, ...], Any] = {}
        """Containment trees by what decides about them (pcd_tree.py); fill it by ``keep_tree``."""
        self._bits: dict[int, tuple[Bit, ...]] | None = None
        self._codes: dict[str, int] | None = None

    def concept(self, code: int, name: str = "") -> JsonObject:
        """A CodeableConcept: the MDC code with its reference identifier, and the LOINC code where one is mapped.

        ``name``: the reference identifier that the source gave, for codes that no map knows.
        """
        key = (code, name)
        found = self._concepts.get(key)
        if found is None:
            coding = {"system": MDC, "code": str(code)}
            display = self.name(code) or name
            if display:
                coding["display"] = display
            loinc = self._target("mdc-loinc", str(code))
            found = {"coding": [coding, loinc.coding()] if loinc else [coding]}
            if len(self._concepts) < _MAPS_MAX:
                self._concepts[key] = found
        return found

    def unit(self, code: int, name: str = "") -> JsonObject:
        """Unit, system and code of a Quantity: UCUM where mapped, else the MDC code itself."""
        key = (code, name)
        found = self._units.get(key)
        if found is None:
            target = self._target("mdc-unit", str(code))
            if target is not None:
                found = {"unit": target.code, "system": UCUM, "code": target.code}
            else:
                found = {"unit": name or str(code), "system": MDC, "code": str(code)}
            if len(self._units) < _MAPS_MAX:
                self._units[key] = found
        return found

    def has_unit(self, code: int) -> bool:
        """Whether a unit has a UCUM equivalent."""
        return self._target("mdc-unit", str(code)) is not None

    def name(self, code: int) -> str:
        """The reference identifier (``MDC_PULS_OXIM_SAT_O2``) of a code; '' for one that no map knows."""
        found = self._target("mdc-reference-id", str(code))
        return found.code if found else ""

    def code(self, name: str) -> int | None:
        """The code of a reference identifier."""
        if self._codes is None:
            table = self._maps("mdc-reference-id")
            rows = table.by_code.items() if table else ()
            self._codes = {target.code: int(code) for code, target in rows}
        return self._codes.get(name)

    def category(self, code: int) -> JsonObject | None:
        """The category that a measurement has beside that of its profile (vital signs), as a CodeableConcept."""
        if code not in self._category:
            target = self._target("mdc-category", str(code))
            made = {"coding": [target.coding()]} if target is not None else None
            if made is not None and target is not None:
                made = self._categories.setdefault(target.code, made)
            if len(self._category) >= _MAPS_MAX:
                return made
            self._category[code] = made
        return self._category[code]

    def identify(self, text: str, found: tuple[int, str, str]) -> tuple[int, str, str]:
        """Remember what a text of OBX-3 names; bounded."""
        if len(self.identified) < _MAPS_MAX and len(text) <= _TEXT_MAX:
            self.identified[text] = found
        return found

    def keep_tree(self, key: tuple[str, ...], tree: Any) -> None:
        """Remember a containment tree; bounded."""
        if len(self.trees) >= _TREES_MAX:
            self.trees.clear()
        if sum(map(len, key)) <= _TREE_TEXT_MAX:
            self.trees[key] = tree

    def role(self, code: int, name: str = "") -> str:
        """What an attribute says of the thing it belongs to (``serial-number``, ``sample-rate`` …); '' unknown."""
        found = self._target("mdc-attribute", str(code)) or self._target("mdc-attribute", name)
        return found.code if found else ""

    def bits(self, code: int) -> tuple[Bit, ...]:
        """The bits that a BITs value of this code may have; empty when none are known."""
        if self._bits is None:
            listed: dict[int, list[Bit]] = {}
            table = self._maps("mdc-bit")
            for place, target in (table.by_code if table else {}).items():
                whole, _, number = place.partition(".")
                listed.setdefault(int(whole), []).append(
                    Bit(int(number), target.display, target.code == "state")
                )
            self._bits = {whole: tuple(sorted(bits)) for whole, bits in listed.items()}
        return self._bits.get(code, ())

    def _target(self, name: str, code: str) -> Target | None:
        table = self._maps(name)
        return table.translate(code) if table and code else None
