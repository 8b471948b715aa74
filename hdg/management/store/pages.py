"""Pages of a search: order, where a page begins, and the cursor that says so.

R4 http.html#paging, search.html#sort. Keys are picked and ordered first, bodies joined afterwards, so sorting
never carries bodies. What has no value for a sort key comes last in either direction.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    column,
    func,
    literal_column,
    or_,
    select,
    table,
    true,
)
from sqlalchemy.exc import DataError

from hdg.errors import BadRequest
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.measures import CANONICAL
from hdg.management.store.packed import packed, unpacked
from hdg.management.store.probe import FEW
from hdg.management.store.search import LED, Led, SearchQuery, Sort
from hdg.management.store.sorting import READ_KINDS, READ_MAX, Row, is_read, ordered, read_value

__all__ = [
    "BY_HASH",
    "LED_MAX",
    "SORTED_KINDS",
    "decoded",
    "encoded",
    "led_found",
    "led_number",
    "led_page",
    "newest_found",
    "newest_packed",
    "newest_page",
    "page",
    "rows",
    "unsorted",
    "up_to",
]

Ask = Callable[[Select[Any]], Sequence[Sequence[Any]]]
Condition = ColumnElement[bool]

_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_QUANTITY = table_of(schema.IdxQuantity).c
_VALUES = {
    "string": (table_of(schema.IdxString).c.value,) * 2,
    "uri": (table_of(schema.IdxUri).c.value,) * 2,
    "number": (table_of(schema.IdxNumber).c.value, table_of(schema.IdxNumber).c.high),
    "quantity": (_QUANTITY.value, _QUANTITY.high),
    "date": (table_of(schema.IdxDate).c.lo, table_of(schema.IdxDate).c.hi),
}
_FOUND = ("rkey", "updated_us", "version", "patient", "patients")
"""What is picked of resources before their bodies."""
BY_HASH = "_hash"
"""A sort key that no client can name: an order that tells neither ids nor times."""
_COLUMNS = {"_lastUpdated": _RESOURCE.c.updated_us, "_id": _RESOURCE.c.id, BY_HASH: _RESOURCE.c.id_hash}
LED_MAX = 2_000
"""With so many rows of what leads, or fewer, a search is not planned for its values: that takes longer than to read
them.
"""
COUNTED_MAX = 1_000
"""So many matches are counted with the page, by one query; if there are more, another counts them."""
SORTED_KINDS = READ_KINDS.union(_VALUES)
"""Kinds of parameters that can be sorted by."""


def rows(
    connection: Connection,
    ask: Ask,
    columns: Sequence[Any],
    query: SearchQuery,
    where: Sequence[Condition],
    position: Sequence[Any] | None,
    content: Callable[[Sequence[Any]], dict[str, Any]],
) -> tuple[Sequence[Sequence[Any]], int | None]:
    """The rows of ``page``, and how many match in all, None where that was not seen in passing.

    ``ask``: runs a query on the connection; ``content``: the resource of a row's ``columns``. Raises BadRequest.
    """
    if not any(map(is_read, query.sort)):
        is_counted = query.with_total and position is None

        def asked(is_packed: bool) -> Sequence[Sequence[Any]]:
            return ask(page(columns, query, where, position, is_counted=is_counted, is_packed=is_packed))

        # JSON, in which rows are packed, would cut the digits of a number.
        is_packable = connection.dialect.name == "sqlite" and not query.sort
        return unsorted(asked, columns, is_sqlite=is_packable, is_counted=is_counted)
    listed = tuple(key for key in query.sort if not is_read(key))
    every = replace(query, count=READ_MAX, sort=listed)
    found = connection.execute(page(columns, every, where, None)).all()
    if len(found) > READ_MAX:
        text = f"_sort: more than {READ_MAX} matches cannot be sorted by codes or references"
        raise BadRequest(text, code="too-costly", place="_sort")
    by_rkey: dict[int, Sequence[Any]] = {}
    keyed: list[Row] = []
    for row in found:
        shown, known = row[: len(columns)], iter(row[len(columns) :])
        read = content(shown)
        values = tuple(read_value(read, key) if is_read(key) else next(known) for key in query.sort)
        by_rkey[shown[0]] = shown
        keyed.append((shown[0], values))
    after = None if position is None else (position[0], tuple(position[2:]))
    behind = ordered(query.sort, keyed, after)[: query.count + 1]
    return [(*by_rkey[rkey], *values) for rkey, values in behind], len(found)


def _counted(found: Sequence[Sequence[Any]], is_counted: bool) -> tuple[Sequence[Sequence[Any]], int | None]:
    if not is_counted:
        return found, None
    counted = found[0][-1] if found else 0
    return [row[:-1] for row in found], counted if counted <= COUNTED_MAX else None


def led_found(
    found: Sequence[Sequence[Any]], *, is_counted: bool
) -> tuple[Sequence[Sequence[Any]], int | None] | None:
    """``rows`` by what ``led_page`` has found; None: the clause that leads finds more than LED_MAX."""
    if found[0][-1] > LED_MAX:
        return None
    found = [row[:-1] for row in found if row[0] is not None]
    return _counted(sorted(found, key=lambda row: row[0], reverse=True), is_counted)


def newest_found(
    found: Sequence[Sequence[Any]], columns: Sequence[Any]
) -> tuple[Sequence[Sequence[Any]], None] | None:
    """``rows`` by what ``newest_packed`` has found; None: the page is not full, and more rows lead."""
    ((text, bodies, left),) = found
    if left is not None:
        return None
    rows = unpacked(text, bodies, [one.name for one in columns].index("body"))
    return sorted(rows, key=lambda row: row[0], reverse=True), None


def unsorted(
    ask: Callable[[bool], Sequence[Sequence[Any]]],
    columns: Sequence[Any],
    *,
    is_sqlite: bool,
    is_counted: bool,
) -> tuple[Sequence[Sequence[Any]], int | None]:
    """``rows`` of an unsorted page; from SQLite as one row. ``ask``: runs ``page``, packed or not."""
    if is_sqlite:
        with contextlib.suppress(DataError, sqlite3.DataError):  # more than SQLite can hold in one value
            ((text, bodies),) = ask(True)
            found = unpacked(text, bodies, [one.name for one in columns].index("body"))
            return _counted(sorted(found, key=lambda row: row[0], reverse=True), is_counted)
    return _counted(ask(False), is_counted)


def page(
    columns: Sequence[Any],
    query: SearchQuery,
    where: Sequence[Condition],
    position: Sequence[Any] | None,
    *,
    is_counted: bool = False,
    is_packed: bool = False,
) -> Select[Any]:
    """The page's rows: ``columns`` of version and resource, then the value of each sort key.

    ``position``: (rkey, total, values …) of the last row of the page before. ``is_counted``: last comes how many
    match, at most one more than COUNTED_MAX. ``is_packed``: all of them as one row (packed.py), of an unsorted page.
    """
    resource = _RESOURCE.c
    values = [_value(query, key).label(f"s{number}") for number, key in enumerate(query.sort)]
    keys = select(*(resource[name] for name in _FOUND), *values).where(*where)
    if position is not None:
        keys = keys.where(_after(query.sort, [value.element for value in values], position))
    keys = keys.order_by(*_order(query.sort, values, resource.rkey))
    if is_counted:
        keys = _with_total(keys, query, [value.name for value in values])
    if not query.sort:
        unsorted = _shown(tuple(columns), is_counted=is_counted, is_packed=is_packed)
        return unsorted.add_cte(keys.limit(query.count + 1).cte("found"))
    found = keys.limit(query.count + 1).subquery("found")
    shown = [found.c[column.name] if column.table is _RESOURCE else column for column in columns]
    picked = [found.c[f"s{number}"] for number in range(len(values))]
    is_found = and_(_VERSION.c.rkey == found.c.rkey, _VERSION.c.version == found.c.version)
    total = [found.c.total] if is_counted else []
    joined = select(*shown, *picked, *total).select_from(found.join(_VERSION, is_found))
    return joined.order_by(*_order(query.sort, picked, found.c.rkey))


def _with_total(keys: Select[Any], query: SearchQuery, values: Sequence[str]) -> Select[Any]:
    """The first of ``keys``, last how many there are; ``values``: the names of what they are sorted by."""
    some = keys.limit(max(query.count, COUNTED_MAX) + 1).cte("matching").prefix_with("MATERIALIZED")
    counted = select(func.count()).select_from(some).scalar_subquery()
    counting = select(*some.c, counted.label("total"))
    return counting.order_by(*_order(query.sort, [some.c[name] for name in values], some.c.rkey))


def led_page(
    columns: Sequence[Any],
    query: SearchQuery,
    by: Led,
    visible: Condition,
    position: Sequence[Any] | None,
    *,
    is_counted: bool,
) -> Select[Any]:
    """``page`` of an unsorted search as PostgreSQL can plan it once for all values: from the few rows of what leads.

    There is always a row, whose last value is how many rows lead: if they are more than LED_MAX, it is all there is.
    """
    resource = _RESOURCE.c
    few = by.rows.limit(LED_MAX + 1).cte("few").prefix_with("MATERIALIZED")
    fence: ColumnElement[int] = literal_column("0")
    leading = select(few.c.rkey).distinct().order_by(few.c.rkey.desc()).offset(fence)
    are_few = select(func.count()).select_from(few).scalar_subquery() <= LED_MAX
    found = select(LED.c.rkey).where(are_few, *by.terms)
    if position is not None:
        found = found.where(LED.c.rkey < position[0])
    # In order of creation, and lazily: no more resources are looked at than the page takes.
    passed = found.order_by(LED.c.rkey.desc()).offset(fence).subquery("passed")
    keys = select(*(resource[name] for name in _FOUND)).select_from(
        passed.join(_RESOURCE, resource.rkey == passed.c.rkey)
    )
    keys = keys.where(resource.deleted.is_(False), visible).order_by(passed.c.rkey.desc())
    if is_counted:
        keys = _with_total(keys, query, ())
    shown = _led_shown(tuple(columns), is_counted=is_counted)
    return shown.add_cte(leading.cte("led")).add_cte(keys.limit(query.count + 1).cte("found"))


def led_number(by: Led, visible: Condition) -> Select[Any]:
    """How many match of a search that few rows lead, as ``led_page`` finds them; then how many rows lead."""
    few = by.rows.limit(LED_MAX + 1).cte("few").prefix_with("MATERIALIZED")
    number = select(func.count()).select_from(few).scalar_subquery()
    fence: ColumnElement[int] = literal_column("0")
    leading = select(few.c.rkey).distinct().offset(fence).cte("led")
    passed = select(LED.c.rkey).where(number <= LED_MAX, *by.terms).offset(fence).subquery("passed")
    found = select(func.count()).select_from(passed.join(_RESOURCE, _RESOURCE.c.rkey == passed.c.rkey))
    matching = found.where(_RESOURCE.c.deleted.is_(False), visible).scalar_subquery()
    return select(matching, number).add_cte(leading)


def newest_page(
    columns: Sequence[Any], query: SearchQuery, by: Led, visible: Condition, position: Sequence[Any] | None
) -> Select[Any]:
    """``led_page`` of a search whose leading rows lie in order: no more of them are read than the page takes.

    The last value of each row is 0 where the page is full; else how many rows lead (of those behind ``position``).
    """
    resource, (rkey,) = _RESOURCE.c, by.rows.selected_columns
    leading = by.rows if position is None else by.rows.where(rkey < position[0])
    newest = leading.distinct().order_by(rkey.desc()).limit(LED_MAX + 1)
    fence: ColumnElement[int] = literal_column("0")
    passed = select(LED.c.rkey).where(*by.terms).order_by(LED.c.rkey.desc()).offset(fence).subquery("passed")
    keys = select(*(resource[name] for name in _FOUND)).select_from(
        passed.join(_RESOURCE, resource.rkey == passed.c.rkey)
    )
    keys = keys.where(resource.deleted.is_(False), visible).order_by(passed.c.rkey.desc())
    few = leading.limit(LED_MAX + 1).subquery()
    are_all = select(func.count()).select_from(table("found")).scalar_subquery() > query.count
    counted = case((are_all, 0), else_=select(func.count()).select_from(few).scalar_subquery())
    found, values, is_found = _found(tuple(columns), is_counted=False)
    one = select(literal_column("1").label("one")).subquery("always")
    shown = select(*values, counted).select_from(one.outerjoin(found.join(_VERSION, is_found), true()))
    return shown.add_cte(newest.cte("led")).add_cte(keys.limit(query.count + 1).cte("found"))


def newest_packed(
    columns: Sequence[Any], query: SearchQuery, by: Led, visible: Condition, position: Sequence[Any] | None
) -> Select[Any]:
    """``newest_page`` as SQLite can run it lazily, and as one row (packed.py), whose last value is NULL where it is
    the page.

    SQLite sorts what it selects from a limited or distinct query. So what leads is neither: its newest rows are those
    above one of them, and the index has them in the order of the page. They are as many as would lead without a look
    at the other clauses (probe.py).
    """
    resource, (rkey,) = _RESOURCE.c, by.rows.selected_columns
    leading = by.rows if position is None else by.rows.where(rkey < position[0])
    last = leading.order_by(rkey.desc()).limit(1).offset(min(LED_MAX, FEW)).scalar_subquery()
    is_seen = (
        select(1).where(resource.rkey == LED.c.rkey, resource.deleted.is_(False), visible).correlate(LED)
    )
    passed = (
        select(LED.c.rkey).distinct().where(LED.c.rkey > func.coalesce(last, 0), *by.terms, is_seen.exists())
    )
    first = passed.order_by(LED.c.rkey.desc()).limit(query.count + 1).subquery("passed")
    keys = select(*(resource[name] for name in _FOUND)).select_from(
        first.join(_RESOURCE, resource.rkey == first.c.rkey)
    )
    found, values, is_found = _found(tuple(columns), is_counted=False)
    shown = select(*values).select_from(found.join(_VERSION, is_found))
    left = case((func.count() > query.count, None), else_=last)
    return packed(shown, left).add_cte(leading.cte("led")).add_cte(keys.cte("found"))


@lru_cache(maxsize=16)
def _led_shown(columns: tuple[Any, ...], *, is_counted: bool) -> Select[Any]:
    """As ``_shown``, but for the order."""
    found, values, is_found = _found(columns, is_counted=is_counted)
    counted = select(func.count().label("few")).select_from(table("few")).subquery("counted")
    joined = counted.outerjoin(found.join(_VERSION, is_found), true())
    return select(*values, counted.c.few).select_from(joined)


def _found(columns: tuple[Any, ...], *, is_counted: bool) -> tuple[Any, list[Any], Condition]:
    """Rows called ``found``; the ``columns`` of them and their versions; what joins the two."""
    names = [*_FOUND, "total"] if is_counted else _FOUND
    found = table("found", *map(column, names))
    values = [found.c[one.name] if one.table is _RESOURCE else one for one in columns]
    is_found = and_(_VERSION.c.rkey == found.c.rkey, _VERSION.c.version == found.c.version)
    return found, [*values, *([found.c.total] if is_counted else [])], is_found


@lru_cache(maxsize=16)
def _shown(columns: tuple[Any, ...], *, is_counted: bool, is_packed: bool) -> Select[Any]:
    """The page in order of creation, of rows called ``found``: the same in all searches, so it is made once."""
    found, values, is_found = _found(columns, is_counted=is_counted)
    joined = select(*values).select_from(found.join(_VERSION, is_found))
    return packed(joined) if is_packed else joined.order_by(found.c.rkey.desc())


def _value(query: SearchQuery, key: Sort) -> ColumnElement[Any]:
    """What a resource is sorted by: of several values the lowest, or the highest when it is descending."""
    if key.param in _COLUMNS:
        column: ColumnElement[Any] = _COLUMNS[key.param]
        return column
    types = query.types or (query.type,)
    found = key.places or [place for type_ in types for place in lookups(type_, key.param)]
    places = [number for number, _ in found]
    if key.kind not in _VALUES or not places:
        raise BadRequest(f"_sort: {key.param} is not supported", code="not-supported", place="_sort")
    low, high = _VALUES[key.kind]
    pick, end = (func.max, high) if key.is_descending else (func.min, low)
    value: ColumnElement[Any] = pick(end)
    if key.kind == "quantity":  # where it has values in canonical units, by these
        value = func.coalesce(pick(case((_QUANTITY.system == CANONICAL, end))), value)
    table = low.table.c
    rows = select(value).where(table.rkey == _RESOURCE.c.rkey, table.param.in_(sorted(set(places))))
    return rows.correlate(_RESOURCE).scalar_subquery()


def up_to(query: SearchQuery, bound: Any) -> Condition:
    """Of a sorted page: what comes no later than ``bound`` by the first key."""
    key = query.sort[0]
    value = _value(query, key)
    found: Condition = value >= bound if key.is_descending else value <= bound
    return found


def _order(sort: Sequence[Sort], values: Sequence[Any], rkey: Any) -> list[Any]:
    if not sort:
        return [rkey.desc()]
    order: list[Any] = []
    for key, value in zip(sort, values, strict=True):
        if key.param not in _COLUMNS:
            order.append(value.is_(None))
        order.append(value.desc() if key.is_descending else value)
    return [*order, rkey.desc() if sort[0].is_descending else rkey]


def _after(sort: Sequence[Sort], values: Sequence[Any], position: Sequence[Any]) -> Condition:
    """The rows behind a position, in the order of ``_order``."""
    rkey, _, *held = position
    column = _RESOURCE.c.rkey
    is_downwards = not sort or sort[0].is_descending
    terms = [column < rkey if is_downwards else column > rkey]
    for key, value, last in reversed(list(zip(sort, values, held, strict=True))):
        if last is None:
            terms = [and_(value.is_(None), or_(*terms))]
            continue
        beyond = value < last if key.is_descending else value > last
        is_behind = beyond if key.param in _COLUMNS else or_(beyond, value.is_(None))
        terms = [is_behind, and_(value == last, or_(*terms))]
    return or_(*terms)


def encoded(position: Sequence[Any]) -> str:
    """A cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).rstrip(b"=").decode()


def decoded(cursor: str, length: int) -> list[Any]:
    """What ``encoded`` was given. Raises BadRequest for anything else."""
    try:
        position = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        position = None
    if (
        not isinstance(position, list)
        or len(position) != length
        or not all(part is None or type(part) in (int, float, str) for part in position)
        or type(position[0]) is not int
    ):
        raise BadRequest("the page cursor is not valid", code="value")
    return position
