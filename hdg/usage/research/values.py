"""Values of R4's data types as researchers see them: numbers, codes, units and moved dates, no text.

R4 datatypes.html. A function returns what is shown, or None where nothing can be: the caller then says "masked".
Ages over 89 are folded into "> 89 a" (45 CFR 164.514(b)(2)(i)(C)), places to the state and ZIP3 (…(B)).
"""

from __future__ import annotations

import decimal
import re
from typing import Any

from hdg.fhir.json import JsonObject
from hdg.fhir.times import is_time
from hdg.usage.research import coding, places, units
from hdg.usage.research.dates import Calendar

__all__ = [
    "MOST_YEARS",
    "REASONS",
    "absent",
    "address",
    "bound_code",
    "clock",
    "codeable",
    "number",
    "period",
    "quantity",
    "range_",
    "ratio",
    "samples",
]

MOST_YEARS = 89
REASONS = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_OLD: JsonObject = {"value": MOST_YEARS, "comparator": ">", "system": coding.UCUM, "code": "a"}
_COMPARATORS = ("<", "<=", ">=", ">")
_MICRO = str.maketrans("\u00b5\u03bc", "uu")  # µ as people write it; UCUM writes u
_SAMPLES = re.compile(r"(?:[+-]?[0-9]+(?:\.[0-9]+)?|E|U|L)(?: (?:[+-]?[0-9]+(?:\.[0-9]+)?|E|U|L))*")
_WHOLE = frozenset({"integer", "unsignedInt", "positiveInt"})


def absent(element: Any = None) -> JsonObject:
    """What stands for a value that is not shown: the reason that ``element`` gives itself, or ``masked``."""
    listed = element.get("extension") if type(element) is dict else None
    for item in listed if type(listed) is list else ():
        if (
            type(item) is dict
            and item.get("url") == _ABSENT
            and coding.is_code(REASONS, item.get("valueCode"))
        ):
            return {"extension": [{"url": _ABSENT, "valueCode": item["valueCode"]}]}
    return {"extension": [{"url": _ABSENT, "valueCode": "masked"}]}


def number(value: Any, kind: str) -> Any:
    """A boolean or number of the kind it should be, with its digits; or None."""
    if kind == "boolean":
        return value if type(value) is bool else None
    if type(value) is int:
        return value
    is_decimal = kind not in _WHOLE and isinstance(value, decimal.Decimal) and value.is_finite()
    return value if is_decimal else None


def bound_code(value: Any, binding: str) -> str | None:
    """A code of a required value set, or None."""
    return value if coding.is_bound(binding, value) else None


def clock(value: Any) -> str | None:
    """A time of day, as it is."""
    return value if type(value) is str and is_time(value) else None


def samples(value: Any) -> str | None:
    """SampledData.data: numbers and E, U, L."""
    return value if type(value) is str and _SAMPLES.fullmatch(value) else None


def codeable(value: JsonObject) -> JsonObject | None:
    """A CodeableConcept: its codings of listed systems."""
    listed = value.get("coding")
    found = [coding.coding(item) for item in listed if type(item) is dict] if type(listed) is list else []
    kept = [item for item in found if item is not None]
    return {"coding": kept} if kept else None


def quantity(value: JsonObject, is_simple: bool = False) -> JsonObject | None:
    """A Quantity, Age or Duration. ``is_simple``: no comparator may stand there."""
    size, comparator, unit = number(value.get("value"), "decimal"), value.get("comparator"), _unit(value)
    if size is None or unit is None or comparator not in (None, *_COMPARATORS):
        return None
    if units.is_age(str(unit.get("code", unit.get("unit", ""))), size):
        return None if is_simple else dict(_OLD)
    order = {"value": size} if comparator is None else {"value": size, "comparator": comparator}
    return order | unit


def _unit(value: JsonObject) -> JsonObject | None:
    """The unit as a code, or as text that is one by UCUM; {}: there is none; None: there is one, not shown."""
    system, code, unit = value.get("system"), value.get("code"), value.get("unit")
    if code is None and unit is None:
        return {}
    if system == coding.UCUM and type(code) is str and (bare := units.plain(code)) is not None:
        return {"system": system, "code": bare}
    if coding.is_code(system, code):
        return {"system": system, "code": code}
    if code is not None or type(unit) is not str:
        return None
    spelled = unit.translate(_MICRO)
    return {"unit": unit} if units.plain(spelled) == spelled else None


def range_(value: JsonObject) -> JsonObject | None:
    """A Range; an end over 89 years is open."""
    shown: JsonObject = {}
    for name in ("low", "high"):
        side = value.get(name)
        if side is None:
            continue
        end = quantity(side) if type(side) is dict else None
        if end == _OLD:
            end = {key: item for key, item in _OLD.items() if key != "comparator"} if name == "low" else {}
        if end is None or "comparator" in end:
            return None
        if end:
            shown[name] = end
    return shown or None


def ratio(value: JsonObject) -> JsonObject | None:
    """A Ratio with both its parts."""
    parts = [value.get("numerator"), value.get("denominator")]
    above, below = (quantity(part) if type(part) is dict else None for part in parts)
    return {"numerator": above, "denominator": below} if above is not None and below is not None else None


def period(value: JsonObject, calendar: Calendar) -> JsonObject | None:
    """A Period; an end that is there and not shown is masked, or it would last until today."""
    shown: JsonObject = {}
    for name, moved in zip(
        ("start", "end"), calendar.period(value.get("start"), value.get("end")), strict=True
    ):
        if moved is not None:
            shown[name] = moved
        elif name in value or "_" + name in value:
            shown["_" + name] = absent(value.get("_" + name))
    return shown or None


def address(value: JsonObject, calendar: Calendar) -> JsonObject | None:
    """An Address: use, state, ZIP3, country, period."""
    shown: JsonObject = {}
    if (use := value.get("use")) is not None:
        if bound_code(use, "address-use") is None:
            return None
        shown["use"] = use
    where = places.place(value.get("country"), value.get("state"), value.get("postalCode"))
    if type(lasted := value.get("period")) is dict and (moved := period(lasted, calendar)) is not None:
        where["period"] = moved
    return shown | where if where else None
