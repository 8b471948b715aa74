"""Code systems and concept maps: looked up, never guessed (DESIGN §5)."""

from __future__ import annotations

from hdg.terminology.concepts import ConceptMap, Target, concept_map, translate
from hdg.terminology.systems import Systems, registry

__all__ = ["ConceptMap", "Systems", "Target", "concept_map", "registry", "translate"]
