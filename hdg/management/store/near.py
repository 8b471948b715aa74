"""Positions on Earth: the index rows of ``Location.position``, and ``near`` over them.

R4 location.html#positional. A row holds the position as a point of the unit sphere, so that the distance is a sum of
squares, which any database can work out exactly enough: to less than a millimetre, on a sphere of Earth's mean radius
(great circles on it are within 0.6 % of the true distance).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from math import cos, pi, radians, sin
from typing import Any

from sqlalchemy import ColumnElement, and_

from hdg.management.store.measures import sought
from hdg.terminology import ucum

__all__ = ["DISTANCE_KM", "near", "position_rows"]

DISTANCE_KM = 100
"""What is near when no distance is given."""
_RADIUS_M = 6_371_008.8
_WHOLE = 10**15
"""``lo`` holds the third coordinate as a whole number of this part."""
_SLACK = 1e-12
Real = float | Decimal | Fraction


def _point(latitude: Real, longitude: Real) -> tuple[float, float, float] | None:
    """Raises no OverflowError: what floats cannot hold is compared as it is."""
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    north, east = radians(float(latitude)), radians(float(longitude))
    return cos(north) * cos(east), cos(north) * sin(east), sin(north)


def position_rows(item: Any) -> Iterable[tuple[Any, ...]]:
    """A position → a row of idx_composite without number and rkey: value, high and lo are x, y and z."""
    if type(item) is not dict:
        return ()
    latitude, longitude = _number(item.get("latitude")), _number(item.get("longitude"))
    point = None if latitude is None or longitude is None else _point(latitude, longitude)
    return () if point is None else ((0, 0, 0, 0, point[0], point[1], round(point[2] * _WHOLE), 0, ""),)


def _number(value: Any) -> Real | None:
    return value if isinstance(value, Decimal | int | float) else None


def near(columns: Any, parts: list[str]) -> ColumnElement[bool]:
    """The rows within a distance. ``parts``: latitude, longitude, distance, UCUM unit; km if it is not given.

    Raises ValueError with what is wrong.
    """
    if not 2 <= len(parts) <= 4:
        raise ValueError("latitude|longitude|distance|units are needed")
    latitude, longitude = sought(parts[0]), sought(parts[1])
    point = None if latitude is None or longitude is None else _point(latitude.value, longitude.value)
    if point is None:
        raise ValueError("no such latitude and longitude")
    x, y, z = point
    reach = min(_metres(*parts[2:]) / _RADIUS_M, pi)
    chord = 2 * sin(reach / 2) + _SLACK
    across, along, up = columns.value - x, columns.high - y, columns.lo * (1 / _WHOLE) - z
    return and_(
        *(
            columns[name] == 0 for name in ("code", "system", "code2", "system2")
        ),  # the index begins with them
        columns.value.between(x - chord, x + chord),
        columns.high.between(y - chord, y + chord),
        across * across + along * along + up * up <= chord * chord,
    )


def _metres(distance: str = "", units: str = "") -> float:
    unit = ucum.unit(units or "km")
    if unit is None or unit.dimension != "m":
        raise ValueError("the distance is in no unit of length")
    number = sought(distance or str(DISTANCE_KM))
    if number is None or number.value < 0:
        raise ValueError("the distance is no number")
    return float(min(unit.canonical(number.value), Fraction(10**9)))
