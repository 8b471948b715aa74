"""What qualifiers of a code say of what it names: that it is absent, or somebody else's.

SNOMED CT, Situation with explicit context: finding context, procedure context, subject relationship context.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hdg.ingestion.cda.xml import HL7, Element, children, first_child

__all__ = ["is_known_absent", "is_known_absent_or_anothers"]

_CODE: Final = HL7 + "code"
_VALUE: Final = HL7 + "value"
_CONTEXT: Final = "408729009"
_RELATIONSHIP: Final = "408732007"
_PROCEDURE_CONTEXT: Final = "408730004"
_NOT_DONE: Final = ("385660001", "262008008", "410521004", "410534003", "410536001", "443390004")
"""SNOMED CT: not done, not performed, not to be done, not indicated, contraindicated, refused."""
_ABSENT: Final = ("410516002", "410593006", "410594000", "723511001")
_OF_RECORD: Final = ("", "410604004")


def is_known_absent_or_anothers(element: Element) -> bool:
    """Whether a qualifier of its code or value says that what it names is absent, or is somebody else's."""
    return any(_is_absent(kind, said) or _is_anothers(kind, said) for kind, said in _contexts(element))


def _contexts(element: Element) -> list[tuple[str, str]]:
    """Name and value of each qualifier of its code and value, and of the code of what is given or supplied."""
    found: list[tuple[str, str]] = []
    for code in (*children(element, "code"), *children(element, "value"), *_products(element)):
        for qualifier in children(code, "qualifier"):
            name, value = first_child(qualifier, "name"), first_child(qualifier, "value")
            kind = "" if name is None else name.get("code", "")
            found.append((kind, "" if value is None else value.get("code", "")))
    return found


def _products(element: Element) -> Iterator[Element]:
    """The codes of what a substanceAdministration or a supply is about."""
    for name in ("consumable", "product"):
        for participation in children(element, name):
            for product in children(participation, "manufacturedProduct"):
                for material in children(product, "manufacturedMaterial"):
                    yield from children(material, "code")


def _is_absent(kind: str, said: str) -> bool:
    return (kind == _CONTEXT and said in _ABSENT) or (kind == _PROCEDURE_CONTEXT and said in _NOT_DONE)


def _is_anothers(kind: str, said: str) -> bool:
    return kind == _RELATIONSHIP and said not in _OF_RECORD


def is_known_absent(element: Element) -> bool:
    """Whether a qualifier of the code or value of a statement says that what it names is absent."""
    for child in element.inner:
        if child.inner and (child.tag == _VALUE or child.tag == _CODE):
            return any(_is_absent(kind, said) for kind, said in _contexts(element))
    return False
