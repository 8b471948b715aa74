"""Numbers and quantities as ranges, on both sides of a search.

R4 search.html#number, #quantity, #prefix. A row is the range that a value covers: a plain number is a point, ``<5``
all below five, a Range or SampledData what lies between its ends. Quantities in UCUM units have a second row in
canonical units, so that 5.4 mg and 0.0054 g are found by each other; only such rows have the system CANONICAL.

What is kept: ends are computed exactly and rounded once to the nearest 64-bit float, on both sides. Rounding keeps the
order, so no comparison of values that differ within 15 digits is ever wrong; values that differ later count as equal.
What is too large or too small for a float becomes the outermost one, never infinite and never zero.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from math import inf, isinf, nextafter
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, and_, or_

from hdg.management.store.values import Hash
from hdg.terminology import ucum

__all__ = [
    "CANONICAL",
    "MAX",
    "Sought",
    "canonical_code",
    "compare_ranges",
    "measure_emitters",
    "rounded",
    "sought",
]

Condition: TypeAlias = ColumnElement[bool]
Row = tuple[float, float, int, int]
"""Lowest and highest value, hash of the unit, hash of its system."""

CANONICAL = 2
"""``system`` of rows in canonical units: no hash comes to it but by a chance of 1 in 2^64."""
MAX = sys.float_info.max
_LEAST = 5e-324
_CURRENCY = "urn:iso:std:iso:4217"
_DIGITS_MAX = 60
_SHORTER = Context(prec=_DIGITS_MAX, Emax=10**17, Emin=-(10**17))
_EXPONENT_MAX = 400
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_TEXT_MAX = 400
_APPROXIMATE = Fraction(1, 10)
"""R4 search.html#prefix: 10 % of the value."""

Exact = Decimal | int | Fraction
Emit = Callable[[Any], Iterable[tuple[Any, ...]]]


def rounded(value: Exact) -> float:
    """The nearest float: finite, and zero only for zero."""
    try:
        found = float(value)
    except OverflowError:
        return MAX if value > 0 else -MAX
    if isinf(found):
        return MAX if found > 0 else -MAX
    if found == 0.0:
        return 0.0 if not value else _LEAST if value > 0 else -_LEAST
    return found


def _exact(value: Any) -> Decimal | int | None:
    """A number as JSON holds it; None: it is none."""
    if type(value) is int or isinstance(value, Decimal):
        return value
    return Decimal(repr(value)) if type(value) is float else None


def _tame(value: Decimal) -> Decimal:
    """A number cheap to compute with, which rounds to the same float."""
    if not value:
        return Decimal(0)
    size = value.adjusted()
    if abs(size) > _EXPONENT_MAX:
        return Decimal(1 if value > 0 else -1).scaleb(_EXPONENT_MAX if size > 0 else -_EXPONENT_MAX)
    return _SHORTER.plus(value)


@dataclass(frozen=True, slots=True)
class _Measure:
    """A UCUM unit ready for the hot path: canonical = (value * factor + offset) / divisor, all whole numbers."""

    code: int
    factor: int
    offset: int
    divisor: int

    def of(self, value: Decimal | int) -> float:
        """A value in canonical units."""
        top, bottom = (value if type(value) is int else _tame(Decimal(value))).as_integer_ratio()
        top, bottom = top * self.factor + self.offset * bottom, bottom * self.divisor
        try:
            return top / bottom or rounded(Fraction(top, bottom))
        except OverflowError:
            return MAX if top > 0 else -MAX


def canonical_code(dimension: str) -> str:
    """What is hashed of the canonical units."""
    return f"ucum:{dimension}"


def _measure(hash_: Hash, code: str) -> _Measure | None:
    unit = ucum.unit(code)
    if unit is None:
        return None
    divisor = unit.factor.denominator * unit.offset.denominator
    factor, offset = int(unit.factor * divisor), int(unit.offset * divisor)
    return _Measure(hash_(canonical_code(unit.dimension)), factor, offset, divisor)


class _Quantities:
    """Makes the rows of quantities."""

    def __init__(self, hash_: Hash) -> None:
        self._hash = hash_
        self._measure = lru_cache(maxsize=4096)(lambda code: _measure(hash_, code))

    def rows(self, item: Any) -> list[Row]:
        """Of a Quantity (Age, Duration, Money …), Range or SampledData; [] of anything else."""
        if type(item) is not dict:
            return []
        value = _exact(item.get("value"))
        if value is not None:
            comparator = item.get("comparator")
            return self._point(item, value) if comparator is None else self._open(item, value, comparator)
        if "origin" in item:
            return self._sampled(item)
        return self._range(item) if "low" in item or "high" in item else []

    def _point(self, item: dict[str, Any], value: Decimal | int) -> list[Row]:
        hash_, number = self._hash, rounded(value)
        code, unit, system = item.get("code", ""), item.get("unit", ""), item.get("system", "")
        if "currency" in item:
            code, system = item["currency"], _CURRENCY
        rows = [(number, number, hash_(code), hash_(system))]
        if unit and unit != code:
            rows.append((number, number, hash_(unit), 0))
        if system == ucum.SYSTEM and (measure := self._measure(code)) is not None:
            number = measure.of(value)
            rows.append((number, number, measure.code, CANONICAL))
        return rows

    def _open(self, item: dict[str, Any], value: Decimal | int, comparator: str) -> list[Row]:
        """``<5``: the value bounds what is meant, which has no other bound."""
        found = []
        for number, _, code, system in self._point(item, value):
            match comparator:
                case "<":
                    found.append((-MAX, nextafter(number, -inf), code, system))
                case "<=":
                    found.append((-MAX, number, code, system))
                case ">":
                    found.append((nextafter(number, inf), MAX, code, system))
                case ">=":
                    found.append((number, MAX, code, system))
                case _:
                    found.append((number, number, code, system))
        return [(max(low, -MAX), min(high, MAX), code, system) for low, high, code, system in found]

    def _range(self, item: dict[str, Any]) -> list[Row]:
        """From low to high in each unit that both have; in a unit that one alone has there is no other bound."""
        ends: list[dict[tuple[int, int], float]] = []
        for name in ("low", "high"):
            end = item.get(name) or {}
            value = _exact(end.get("value"))
            rows = [] if value is None else self._point(end, value)
            ends.append({(code, system): number for number, _, code, system in rows})
        low, high = ends
        return [(low.get(unit, -MAX), high.get(unit, MAX), *unit) for unit in {**low, **high}]

    def _sampled(self, item: dict[str, Any]) -> list[Row]:
        """From the least to the greatest sample (R4 datatypes.html#sampleddata); L and U have no other bound."""
        origin = item["origin"]
        start, factor = _exact(origin.get("value")), _exact(item.get("factor", 1))
        samples = str(item.get("data", "")).split()
        numbers = [text for text in samples if _NUMBER.fullmatch(text)]
        if start is None or factor is None:
            return []
        if not numbers and not {"L", "U"}.intersection(samples):
            return []
        ways = [(min, "L"), (max, "U")] if factor >= 0 else [(max, "U"), (min, "L")]
        ends: list[list[Row]] = []
        for (pick, mark), bound in zip(ways, (-MAX, MAX), strict=True):
            if mark in samples or not numbers:
                ends.append([(bound, bound, code, system) for *_, code, system in self._point(origin, start)])
            else:
                ends.append(self._point(origin, _along(start, factor, Decimal(pick(numbers, key=float)))))
        return [(low[0], high[0], *low[2:]) for low, high in zip(*ends, strict=True)]


def _along(start: Decimal | int, factor: Decimal | int, sample: Decimal) -> Decimal:
    return _SHORTER.fma(_tame(Decimal(factor)), _tame(sample), _tame(Decimal(start)))


def measure_emitters(hash_: Hash) -> tuple[Emit, Emit]:
    """(of numbers, of quantities): a value as it stands in JSON → (lowest, highest) or Rows."""
    quantities = _Quantities(hash_)

    def number(item: Any) -> Iterable[tuple[float, float]]:
        value = _exact(item)
        if value is not None:
            point = rounded(value)
            return ((point, point),)
        if type(item) is not dict:
            return ()
        rows = quantities.rows(item)
        one = hash_(canonical_code("1"))  # 50 % is 0.5
        canonical = [row[:2] for row in rows if row[2:] == (one, CANONICAL)]
        return canonical or [row[:2] for row in rows if row[3] != CANONICAL][:1]

    return number, quantities.rows


@dataclass(frozen=True, slots=True)
class Sought:
    """A number that is searched for, with half a unit of its last digit."""

    value: Fraction
    half: Fraction

    def converted(self, unit: ucum.Unit | None) -> Callable[[Fraction], float]:
        """What makes the bounds of rows of its values, in canonical units if there is a unit."""
        return rounded if unit is None else lambda value: rounded(unit.canonical(value))


def sought(text: str) -> Sought | None:
    """The number of a search value; None: it is none.

    ``100`` is 99.5 to 100.5, ``100.00`` is 99.995 to 100.005. R4's own example has ``1e2`` for 95 to 105, though it has
    a single figure: with an exponent two figures at least are taken for meant.
    """
    if len(text) > _TEXT_MAX or _NUMBER.fullmatch(text) is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    exponent = int(value.as_tuple().exponent)
    if "e" in text.lower() and len(value.as_tuple().digits) == 1:
        exponent -= 1
    return Sought(Fraction(value), Fraction(5) * Fraction(10) ** (exponent - 1))


def compare_ranges(
    prefix: str,
    low: Any,
    high: Any,
    number: Sought,
    unit: ucum.Unit | None = None,
    of: Condition | None = None,
) -> Condition:
    """The rows whose range is to a number as its prefix says; ``unit``: of the number, for canonical rows.

    Eq and ne heed the number's precision, the others compare with exactly it (R4 search.html#number). What is
    redundant is there for the index, which begins with the parameter and ``low``: rows that are points are looked
    for by it, the few others by an index of their own. ``of``: the parameter's rows.
    """
    own = () if of is None else (of,)
    return or_(*(and_(*own, *terms) for terms in _alternatives(prefix, low, high, number, unit)))


def _alternatives(
    prefix: str, low: Any, high: Any, number: Sought, unit: ucum.Unit | None
) -> tuple[tuple[Condition, ...], ...]:
    bound, value, half = number.converted(unit), number.value, number.half
    exactly = bound(value)
    start, end = bound(value - half), bound(value + half)
    is_wide = end > exactly  # else the whole range is one float
    match prefix:
        case "ne":
            return (low < start,), ((high >= end if is_wide else high > end),)
        case "gt":
            return (low > exactly,), (low < high, high > exactly)
        case "ge":
            return (low >= exactly,), (low < high, high >= exactly)
        case "sa":
            return ((low > exactly,),)
        case "lt":
            return ((low < exactly,),)
        case "le":
            return ((low <= exactly,),)
        case "eb":
            return ((low < exactly, high < exactly),)
        case "ap":
            slack = max(abs(value) * _APPROXIMATE, half)
            near, far = bound(value - slack), bound(value + slack)
            return (low >= near, low <= far), (low < high, high >= near, low <= far)
        case _:
            is_below = (low < end, high < end) if is_wide else (low <= end, high <= end)
            return ((low >= start, *is_below),)
