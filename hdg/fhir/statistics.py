"""Statistics over measured values, in exact decimal arithmetic. R4 valueset-observation-statistics.html.

Only the average is rounded: to four decimal places more than the values have, half to even.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from decimal import Context, Decimal

__all__ = ["CODES", "TooWide", "computed"]

CODES = ("average", "maximum", "minimum", "count", "total-count", "median", "sum")
"""What can be asked for; ``total-count`` also counts what has no usable value, which is the caller's to know."""
_EXACT = Context(prec=200, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow])
_ROUNDED = Context(prec=400, rounding=decimal.ROUND_HALF_EVEN, traps=[decimal.InvalidOperation])
_PLACES_MORE = 4


class TooWide(ArithmeticError):
    """The values differ so much in size that their sum has more digits than is sensible."""


def computed(code: str, values: Sequence[Decimal]) -> Decimal | None:
    """One statistic; None where there is none of no values. ``values``: at most some thousands, all finite.

    Raises TooWide.
    """
    if code == "count":
        return Decimal(len(values))
    try:
        if code == "sum":
            return _sum(values)
        if not values:
            return None
        if code == "average":
            return _average(values)
        ordered = sorted(values)
        if code == "minimum":
            return ordered[0]
        if code == "maximum":
            return ordered[-1]
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return low if low == high else _EXACT.divide(_EXACT.add(low, high), Decimal(2))
    except (decimal.Inexact, decimal.InvalidOperation, decimal.Overflow):
        raise TooWide from None


def _sum(values: Sequence[Decimal]) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    return total


def _average(values: Sequence[Decimal]) -> Decimal:
    places = max(0, *(-int(value.as_tuple().exponent) for value in values))
    quotient = _ROUNDED.divide(_sum(values), Decimal(len(values)))
    for more in range(_PLACES_MORE + 1):
        rounded = quotient.quantize(Decimal(1).scaleb(-places - more), context=_ROUNDED)
        if rounded == quotient:
            break
    return rounded
