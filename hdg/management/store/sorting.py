"""Sorting by codes and references, of which the index has keyed hashes only: by the matches' own content.

R4 search.html#sort. Each match is opened, so there is a limit to how many. The order is that of pages.py: of several
values the lowest counts (descending the highest), and what has no value comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cmp_to_key
from typing import Any

from hdg.management.store.index import selectors
from hdg.management.store.search import Sort
from hdg.management.store.values import fold

__all__ = ["READ_KINDS", "READ_MAX", "Row", "is_read", "ordered", "read_value"]

READ_KINDS = frozenset({"token", "reference"})
READ_MAX = 2000
"""Matches of one search that are sorted so; each costs about 20 µs."""
_COLUMNS = ("_id", "_lastUpdated")
Row = tuple[int, tuple[Any, ...]]
"""rkey, and the value of each sort key (None: it has none)."""


def is_read(key: Sort) -> bool:
    """Whether its values are read from the resources."""
    return key.kind in READ_KINDS and key.param not in _COLUMNS


def read_value(content: dict[str, Any], key: Sort) -> str | None:
    """What a resource is sorted by."""
    parts = selectors(content["resourceType"], key.param)
    texts = {fold(text) for select, target in parts for text in _texts(select(content), key.kind, target)}
    return (max if key.is_descending else min)(texts, default=None)


def _texts(items: Iterable[Any], kind: str, target: str) -> Iterator[str]:
    for item in items:
        if kind == "reference":
            text = item.get("reference") if type(item) is dict else item
            if type(text) is str and text.startswith(f"{target}/" if target else ""):
                yield text
        elif type(item) is bool:
            yield "true" if item else "false"
        elif type(item) is str:
            yield item
        elif type(item) is dict:
            for coding in item.get("coding") or (item,):
                code = coding.get("code") or coding.get("value")
                if type(code) is str:
                    yield code


def ordered(sort: Sequence[Sort], rows: Iterable[Row], position: Row | None) -> list[Row]:
    """The rows behind a position, in order."""
    is_descending = sort[0].is_descending

    def compare(one: Row, other: Row) -> int:
        for key, left, right in zip(sort, one[1], other[1], strict=True):
            if left == right:
                continue
            if left is None or right is None:
                return 1 if left is None else -1
            return -1 if (left > right if key.is_descending else left < right) else 1
        is_first = one[0] > other[0] if is_descending else one[0] < other[0]
        return 0 if one[0] == other[0] else -1 if is_first else 1

    behind = rows if position is None else [row for row in rows if compare(row, position) > 0]
    return sorted(behind, key=cmp_to_key(compare))
