"""What FHIRPath says about single values: equality, order, text, truth (FHIRPath N1 §6).

Values are plain JSON: dict, str, bool, int, Decimal. A date or time is its text, so its precision is kept.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterable
from typing import Any

__all__ = [
    "Shadow",
    "compare",
    "contains_value",
    "distinct",
    "is_distinct",
    "same",
    "same_all",
    "text_of",
    "truth",
]


class Shadow:
    """A primitive element without a value: all it has is ``_name`` (its id and extensions)."""

    __slots__ = ("companion",)

    def __init__(self, companion: Any) -> None:
        self.companion = companion


def truth(items: list[Any]) -> bool | None:
    """The items as a condition: empty is None (unknown), a boolean is itself, any other item is true."""
    if not items:
        return None
    first = items[0]
    return first if type(first) is bool else True


def same(left: Any, right: Any) -> bool:
    """Equality of two items; numbers by value, true is not 1."""
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right)


def same_all(left: list[Any], right: list[Any]) -> bool:
    """Equality of two collections, in order."""
    return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))


def contains_value(items: list[Any], value: Any) -> bool:
    """Whether an equal item is among ``items``."""
    return any(same(item, value) for item in items)


def is_distinct(items: list[Any]) -> bool:
    """Whether no two items are equal."""
    try:
        return len({(type(item) is bool, item) for item in items}) == len(items)
    except TypeError:  # dicts are not hashable
        return not any(contains_value(items[:index], item) for index, item in enumerate(items))


def distinct(items: Iterable[Any]) -> list[Any]:
    """The items without those that equal an earlier one."""
    out: list[Any] = []
    for item in items:
        if not contains_value(out, item):
            out.append(item)
    return out


def compare(left: Any, right: Any) -> int | None:
    """-1, 0 or 1; None when the two have no order (unlike units, different precision, different types)."""
    if isinstance(left, str) and isinstance(right, str):
        return _compare_text(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return _compare_quantities(left, right)
    if _is_number(left) and _is_number(right):
        return int(left > right) - int(left < right)
    return None


def text_of(value: Any) -> str:
    """The text of a primitive item."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(getattr(value, "literal", value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | decimal.Decimal) and not isinstance(value, bool)


def _compare_text(left: str, right: str) -> int | None:
    if left[:4].isdigit() and right[:4].isdigit() and left[4:5] in ("", "-") and right[4:5] in ("", "-"):
        from hdg.fhir.times import compare_times

        return compare_times(left, right)
    return (left > right) - (left < right)


def _compare_quantities(left: dict[str, Any], right: dict[str, Any]) -> int | None:
    unit = ("system", "code") if "code" in left or "code" in right else ("unit",)
    if any(left.get(key) != right.get(key) for key in unit):
        return None
    a, b = left.get("value"), right.get("value")
    return compare(a, b) if _is_number(a) and _is_number(b) else None
