"""UUIDs that are roots of identifiers, in one letter case: one patient or statement, however a sender writes them.

RFC 9562 §4; CDA takes either case (https://build.fhir.org/ig/HL7/CDA-core-sd/StructureDefinition-uuid.html). Ids are
made of roots, so these are written alike before anything is made of them. Extensions keep their case.
"""

from __future__ import annotations

from typing import Final

from hdg.fhir.urns import plain_uuid
from hdg.ingestion.cda.xml import Tree

__all__ = ["make_roots"]

_ROOT: Final = "root"


def make_roots(tree: Tree) -> None:
    """Puts the UUIDs among the roots into lower case; what is asked for as it was written is asked for before."""
    for element in tree.cased:
        found = plain_uuid(element.get(_ROOT, "").strip())
        if found is not None:
            element.set(_ROOT, found)
            if tree.prefixed is not None:
                tree.prefixed[element].set(_ROOT, found)
    tree.cased = []
