"""Search prefixes and value syntax.

R4 search.html#prefix, #date, #escaping; numbers and quantities are in measures.py.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, and_, literal_column, or_

__all__ = ["DAY_US", "PREFIXES", "compare_dates", "end_ranges", "prefixed", "split_at", "unescape"]

Condition = ColumnElement[bool]

PREFIXES = frozenset({"eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"})
_ESCAPE = re.compile(r"\\([\\,|$])")
DAY_US = 86_400_000_000
_APPROXIMATE = 0.1
"""R4 search.html#prefix: 10 % of the distance between a date and now."""


def unescape(text: str) -> str:
    r"""Removes the escapes ``\,`` ``\|`` ``\$`` ``\\``."""
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


def split_at(text: str, separator: str) -> list[str]:
    """Splits at a separator that is not escaped; the escapes stay."""
    if "\\" not in text:
        return text.split(separator)
    parts, current, is_escaped = [], "", False
    for char in text:
        if char == separator and not is_escaped:
            parts.append(current)
            current = ""
        else:
            current += char
        is_escaped = char == "\\" and not is_escaped
    return [*parts, current]


def prefixed(text: str) -> tuple[str, str]:
    """(prefix, rest); without a prefix ``eq``."""
    return (text[:2], text[2:]) if text[:2] in PREFIXES else ("eq", text)


def compare_dates(prefix: str, lo: Any, hi: Any, value: tuple[int, int], now_us: int) -> Condition:
    """Ranges against a range: ``lo``/``hi`` of the row, ``value`` of the search (inclusive microseconds)."""
    start, end = value
    match prefix:
        case "ne":
            return or_(lo < start, hi > end)
        case "gt":
            above: Condition = hi > end
            return above
        case "ge":
            return or_(hi > end, lo >= start)
        case "lt":
            below: Condition = lo < start
            return below
        case "le":
            return or_(lo < start, hi <= end)
        case "sa":
            after: Condition = lo > end
            return after
        case "eb":
            before: Condition = hi < start
            return before
        case "ap":
            slack = int(abs(now_us - (start + end) // 2) * _APPROXIMATE)
            return and_(lo <= end + slack, hi >= start - slack)
        case _:
            return and_(lo >= start, lo <= end, hi <= end)


def end_ranges(prefix: str, lo: Any, hi: Any, value: tuple[int, int]) -> tuple[Condition, ...]:
    """Ranges of the indexes of rows: what ``compare_dates`` finds is in one of them, or () if there are none.

    ``gt`` and ``ge`` ask for the end of a row, and the index begins with its ``lo``: of a row of at most a day that
    tells where the end is (of one whose end comes before its start, too), the others have an index by their end.
    """
    if prefix not in ("gt", "ge"):
        return ()
    start, end = value
    is_wide = hi - lo > literal_column(str(DAY_US))  # as the index has it
    return lo >= min(start, end - DAY_US + 1), and_(is_wide, hi >= start)
