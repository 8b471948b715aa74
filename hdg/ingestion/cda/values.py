"""The datatypes of HL7 v3 (R1, as CDA R2 uses them) to the datatypes of R4; here: a value of any type.

HL7 v3 Data Types Abstract Specification R1; R4 datatypes.html.
"""

from __future__ import annotations

from typing import Any

from hdg.ingestion.cda import values_names as _names  # noqa: F401  registers its converters
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_basic import (
    CONVERTERS,
    REASON,
    absent_reason,
    converter,
    kind_of,
    number,
    text_of,
    to_boolean,
    to_integer,
    to_string,
)
from hdg.ingestion.cda.values_codes import to_coding, to_concept
from hdg.ingestion.cda.values_quantities import to_bounded, to_quantity, to_range, to_ratio
from hdg.ingestion.cda.values_times import kept, to_when
from hdg.ingestion.cda.xml import Element, children
from hdg.mapping.context import Choice, JsonObject, Unfit

__all__ = [
    "CONVERTERS",
    "REASON",
    "absent_reason",
    "kind_of",
    "number",
    "said_of",
    "text_of",
    "to_any",
    "to_coding",
    "to_concept",
    "to_when",
]


def said_of(element: Element, state: State) -> str:
    """A code in words: its original text, its display, else the code itself."""
    concept: JsonObject = to_concept(element, state) or {}
    coding = concept.get("coding", [{}])[0]
    return concept.get("text") or coding.get("display") or coding.get("code") or ""


@converter("ANY.x")
def to_any(element: Element, state: State) -> Choice | None:
    """The value of an Observation, by its ``xsi:type``. What has none is told by what it holds."""
    kind = kind_of(element) or _guessed(element)
    match kind:
        case "CD" | "CE" | "CV" | "CS" | "CO":
            return _choice("CodeableConcept", to_concept(element, state))
        case "PQ" | "REAL" | "MO":
            return _choice("Quantity", to_quantity(element, state))
        case "INT":
            whole = to_integer(element, state)
            return None if whole is None else Choice("Integer", whole)
        case "ED" if element.get("representation") == "B64":
            raise Unfit("a value of bytes is not supported", code="not-supported")
        case "II":
            root, extension = element.get("root", ""), element.get("extension", "")
            return _choice("String", extension or root or None)
        case "TEL" | "URL":
            return _choice("String", element.get("value", "").strip() or None)
        case "PN" | "EN" | "ON" | "TN" | "AD":
            said = " ".join(" ".join(element.itertext()).split())
            return _choice("String", said or None)
        case "ST" | "ED" | "SC":
            return _choice("String", to_string(element, state))
        case "BL":
            truth = to_boolean(element, state)
            return None if truth is None else Choice("Boolean", truth)
        case "TS":
            return _choice("DateTime", kept(element, state))
        case "IVL_TS":
            return to_when(element, state)
        case "IVL_PQ" | "IVL_REAL" | "IVL_INT":
            return _interval(element, state)
        case "RTO" | "RTO_PQ_PQ" | "RTO_QTY_QTY":
            return _choice("Ratio", to_ratio(element, state))
    if kind:
        raise Unfit(f"a value of type {kind} is not supported", code="not-supported")
    return None


def _choice(kind: str, value: Any) -> Choice | None:
    return None if value is None else Choice(kind, value)


def _interval(element: Element, state: State) -> Choice | None:
    bounds = [name for name in ("low", "high") if any(one.get("value") for one in children(element, name))]
    if len(bounds) == 2:
        return _choice("Range", to_range(element, state))
    return _choice("Quantity", to_bounded(element, state))


def _guessed(element: Element) -> str:
    if element.get("code"):
        return "CD"
    if element.get("value") and element.get("unit"):
        return "PQ"
    return "ST" if text_of_own(element) else ""


def text_of_own(element: Element) -> str:
    """The text of an element that has no children."""
    return (element.text or "").strip() if not element.inner else ""
