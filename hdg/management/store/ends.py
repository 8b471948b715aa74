"""Sorted pages of searches that find many, from the end of an index: its rows in order, until the page is full.

R4 search.html#sort. To sort all matches takes as long as they are many. Where an index has the first key of the order,
the rows at its end (or behind the last row of the page before) are those of a few resources; of these the matches are
sorted as all would be. All that come before a certain value are among them. If so many come before it as the page
takes, they are the page; if not, more rows are read, but never more than would be listed without this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, literal_column, select, union_all

from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.operators import DAY_US
from hdg.management.store.probe import counting
from hdg.management.store.search import SearchQuery, Sort
from hdg.management.store.sorting import is_read

__all__ = ["End", "Part", "end_of", "sizes"]

Condition = ColumnElement[bool]
Ask = Callable[[Select[Any]], Sequence[Sequence[Any]]]

_RESOURCE = table_of(schema.Resource).c
_DATE = table_of(schema.IdxDate).c
_NUMBER = table_of(schema.IdxNumber).c
_QUANTITY = table_of(schema.IdxQuantity).c
_FIRST, _GROWTH = 512, 4
"""Rows that are read at first, and how many times as many if the page is not full."""
_COLUMNS = {"_lastUpdated": _RESOURCE.updated_us, "_id": _RESOURCE.id}
_BY_VALUE = {
    "string": table_of(schema.IdxString).c.value,
    "uri": table_of(schema.IdxUri).c.value,
}
_LOWEST = {"date": _DATE.lo, "number": _NUMBER.value, "quantity": _QUANTITY.value}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one index in its order. ``rows``: their rkeys; ``key``: what they are ordered by.

    ``slack``: how far what is sorted by may lie beyond the key. ``is_open``: it may also lie before the key, so that
    the rows behind a value may have any.
    """

    rows: Select[tuple[int]]
    key: ColumnElement[Any]
    slack: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """The order of a search by the rows of indexes: each of its resources with a value has one in one of ``parts``."""

    parts: tuple[Part, ...]
    is_descending: bool

    def among(self, ask: Ask, after: Any, size: int) -> tuple[Select[tuple[int]], Any]:
        """Resources of about ``size`` rows of each part; the value up to which they are all there are (None: any).

        ``after``: the value behind which to begin, None for the first page.
        """
        found = [self._bound(ask, part, after, size) for part in self.parts]
        pick = max if self.is_descending else min
        bound = pick((one for one in found if one is not None), default=None)
        lists = [part.rows.where(*self._within(part, after, bound)).correlate(None) for part in self.parts]
        if len(lists) == 1:
            return lists[0], bound
        every = union_all(*lists).subquery()
        return select(every.c.rkey), bound

    def passed(self, ask: Ask, after: Any, most: int) -> int:
        """How many rows may have to be read again that lie before ``after``; at most ``most``."""
        found = (
            ask(counting(part.rows.where(part.key > after), most))[0][0]
            for part in self.parts
            if part.is_open
        )
        return max(found, default=0)

    def _bound(self, ask: Ask, part: Part, after: Any, size: int) -> Any:
        """The value up to which the next ``size`` rows of a part are all there are; None: it has no more."""
        order = part.key.desc() if self.is_descending else part.key
        keys = part.rows.with_only_columns(part.key).where(*self._behind(part, after))
        rows = ask(keys.order_by(order).limit(1).offset(size))
        return rows[0][0] + part.slack if rows and part.slack else rows[0][0] if rows else None

    def _behind(self, part: Part, after: Any) -> list[Condition]:
        if after is None or part.is_open:
            return []
        return [part.key <= after if self.is_descending else part.key >= after]

    def _within(self, part: Part, after: Any, bound: Any) -> list[Condition]:
        terms = self._behind(part, after)
        if bound is not None:
            last = bound - part.slack if part.slack else bound
            terms.append(part.key >= last if self.is_descending else part.key <= last)
        return terms


def end_of(query: SearchQuery) -> End | None:
    """The order of a sorted search of one type; None: no index has it."""
    if not query.sort or any(map(is_read, query.sort)) or not query.type or query.types:
        return None
    key = query.sort[0]
    parts = tuple(_column_parts(query.type, key) or _parts(query.type, key))
    return End(parts, key.is_descending) if parts else None


def _column_parts(type_: str, key: Sort) -> list[Part]:
    column = _COLUMNS.get(key.param)
    return [] if column is None else [Part(select(_RESOURCE.rkey).where(_RESOURCE.type == type_), column)]


def _parts(type_: str, key: Sort) -> Iterator[Part]:
    """Of each place where the parameter's rows are."""
    for number in sorted({number for number, _ in key.places or lookups(type_, key.param)}):
        yield from _parts_of(number, key)


def _parts_of(number: int, key: Sort) -> list[Part]:
    column = _BY_VALUE.get(key.kind)
    if column is not None or not key.is_descending:
        column = _LOWEST.get(key.kind) if column is None else column
        return [] if column is None else [Part(_of(column, number), column)]
    if key.kind == "date":
        # The index begins with ``lo``. A row's end lies at most a day behind it, or before it, or it is wide.
        is_wide = _DATE.hi - _DATE.lo > literal_column(str(DAY_US))  # as the index has it
        wide = _of(_DATE.hi, number).where(is_wide)
        return [Part(_of(_DATE.lo, number), _DATE.lo, DAY_US, is_open=True), Part(wide, _DATE.hi)]
    if key.kind == "quantity":
        ranges = _of(_QUANTITY.high, number).where(_QUANTITY.value < _QUANTITY.high)
        return [Part(_of(_QUANTITY.value, number), _QUANTITY.value), Part(ranges, _QUANTITY.high)]
    return []


def _of(column: Any, number: int) -> Select[tuple[int]]:
    table = column.table.c
    return select(table.rkey).where(table.param == number)


def sizes(most: int, passed: int) -> Iterator[int]:
    """How many rows to read, one after another, until the page is full; ``most`` in all."""
    size = _FIRST
    left = most
    while passed + size <= left:
        left -= passed + size
        yield passed + size
        size *= _GROWTH
