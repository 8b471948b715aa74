"""PQ, IVL_PQ and RTO to Quantity, Range and Ratio. R4 datatypes.html#quantity."""

from __future__ import annotations

import re
from typing import Final

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_basic import converter, number
from hdg.ingestion.cda.xml import Element, children
from hdg.mapping.context import Choice, JsonObject, Unfit

__all__ = ["to_bounded", "to_quantity", "to_range", "to_ratio"]

_UNIT: Final = re.compile(r"[!-~]+")
UCUM: Final = "http://unitsofmeasure.org"


_TRANSLATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-PQ-translation"


def _translated(element: Element) -> JsonObject | None:
    """PQR: the same quantity in another unit, which may be of any code system."""
    text = element.get("value", "").strip()
    if not text:
        return None
    found: JsonObject = {"value": number(text)}
    unit = element.get("displayName", "").strip() or element.get("unit", "").strip()
    unit = unit or next(("".join(one.itertext()).strip() for one in children(element, "originalText")), "")
    unit = unit or element.get("code", "").strip()
    if unit:
        found["unit"] = unit
    return found


@converter("PQ.Quantity")
def to_quantity(element: Element, state: State) -> JsonObject | None:
    """PQ, INT or REAL; units are UCUM's (v3 says so), words in their place are kept as text."""
    text = element.get("value", "").strip()
    if not text:
        return None
    found: JsonObject = {"value": number(text)}
    unit = element.get("unit", "").strip()
    if unit and unit != "1":
        found["unit"] = unit
        if _UNIT.fullmatch(unit):
            found["system"], found["code"] = UCUM, unit
    elif unit == "1":
        found |= {"unit": "1", "system": UCUM, "code": "1"}
    currency = element.get("currency", "").strip()
    if currency and not unit:  # MO
        found |= {"unit": currency, "system": "urn:iso:std:iso:4217", "code": currency}
    for translation in children(element, "translation"):
        other = _translated(translation)
        if other is not None:
            found.setdefault("extension", []).append({"url": _TRANSLATION, "valueQuantity": other})
    return found


@converter("PQ.SimpleQuantity")
def to_simple(element: Element, state: State) -> JsonObject | None:
    """``PQ.Quantity``."""
    return to_quantity(element, state)


def bound_of(element: Element, name: str, state: State) -> tuple[Element | None, JsonObject | None]:
    for found in children(element, name):
        return found, to_quantity(found, state)
    return None, None


def _bounds(element: Element, state: State) -> tuple[JsonObject | None, JsonObject | None]:
    """Both bounds of a Range, which R4 takes to be in it."""
    (low_element, low), (high_element, high) = (bound_of(element, name, state) for name in ("low", "high"))
    for bound, value in ((low_element, low), (high_element, high)):
        if value and bound is not None and bound.get("inclusive") == "false":
            state.problem("a bound that is not in the interval is given as if it were", code="incomplete")
    if (low or high) and not (low and high) and any(one.get("value") for one in children(element, "width")):
        text = "the width of an interval was left out: it seems to be open"
        state.problem(text, code="incomplete", severity="error")
    if (low or high) and element.get("value", "").strip():
        state.problem("a value beside the bounds of its interval was left out", code="incomplete")
    return low, high


@converter("IVL_PQ.Range")
def to_range(element: Element, state: State) -> JsonObject | None:
    """IVL_PQ with its bounds."""
    low, high = _bounds(element, state)
    found = {}
    if low:
        found["low"] = low
    if high:
        found["high"] = high
    return found or None


@converter("IVL_PQ.Quantity")
def to_bounded(element: Element, state: State) -> JsonObject | None:
    """A PQ, or an interval with one bound: a Quantity with a comparator."""
    if element.get("value"):
        return to_quantity(element, state)
    low_element, low = bound_of(element, "low", state)
    high_element, high = bound_of(element, "high", state)
    if low and high:
        if low == high:
            return low
        raise Unfit("an interval where one quantity is wanted")
    if low and low_element is not None:
        return {**low, "comparator": ">" if low_element.get("inclusive") == "false" else ">="}
    if high and high_element is not None:
        return {**high, "comparator": "<" if high_element.get("inclusive") == "false" else "<="}
    for center in children(element, "center"):
        if any(one.get("value") for one in children(element, "width")):
            state.problem("the width of an interval was left out", code="incomplete")
        return to_quantity(center, state)
    return None


@converter("IVL_PQ.dose")
def to_dose(element: Element, state: State) -> Choice | None:
    """A dose: Quantity or Range."""
    low, high = _bounds(element, state)
    if low or high:
        if low and high and low == high:
            return Choice("Quantity", low)
        return Choice("Range", {name: one for name, one in (("low", low), ("high", high)) if one})
    found = to_quantity(element, state)
    for center in () if found else children(element, "center"):
        found = to_quantity(center, state)
        if any(one.get("value") for one in children(element, "width")):
            state.problem("the width of an interval was left out", code="incomplete")
    return Choice("Quantity", found) if found else None


@converter("RTO.Ratio")
def to_ratio(element: Element, state: State) -> JsonObject | None:
    """RTO."""
    found = {}
    for name in ("numerator", "denominator"):
        for part in children(element, name):
            value = to_quantity(part, state)
            if value:
                found[name] = value
    if len(found) == 1:
        raise Unfit("a ratio without its other half")
    return found or None
