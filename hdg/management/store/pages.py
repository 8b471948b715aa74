"""Pages of a search: order, where a page begins, and the cursor that says so.

R4 http.html#paging, search.html#sort. Keys are picked and ordered first, bodies joined afterwards.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, and_, or_, select

from hdg.errors import BadRequest
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.search import SearchQuery

__all__ = ["decoded", "encoded", "page"]

Condition = ColumnElement[bool]

_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)


def page(
    columns: Sequence[Any], query: SearchQuery, where: list[Condition], position: list[Any] | None
) -> Select[Any]:
    """The page's rows (``columns`` of version and resource): keys first, bodies joined afterwards.

    So sorting never carries bodies.
    """
    rkey, updated = _RESOURCE.c.rkey, _RESOURCE.c.updated_us
    resource = _RESOURCE.c
    keys = select(rkey, updated, resource.version, resource.patient, resource.patients).where(*where)
    if query.sort == "":
        if position is not None:
            keys = keys.where(rkey < position[0])
        keys = keys.order_by(rkey.desc())
    elif query.sort == "_lastUpdated":
        if position is not None:
            at, key = position[1], position[0]
            keys = keys.where(or_(updated > at, and_(updated == at, rkey > key)))
        keys = keys.order_by(updated, rkey)
    elif query.sort == "-_lastUpdated":
        if position is not None:
            at, key = position[1], position[0]
            keys = keys.where(or_(updated < at, and_(updated == at, rkey < key)))
        keys = keys.order_by(updated.desc(), rkey.desc())
    else:
        raise BadRequest(
            "_sort: only _lastUpdated and -_lastUpdated are supported", code="not-supported", place="_sort"
        )
    found = keys.limit(query.count + 1).subquery("found")
    order = {
        "": (found.c.rkey.desc(),),
        "_lastUpdated": (found.c.updated_us, found.c.rkey),
        "-_lastUpdated": (found.c.updated_us.desc(), found.c.rkey.desc()),
    }[query.sort]
    found_columns = [found.c[column.name] if column.table is _RESOURCE else column for column in columns]
    is_found = and_(_VERSION.c.rkey == found.c.rkey, _VERSION.c.version == found.c.version)
    return select(*found_columns).select_from(found.join(_VERSION, is_found)).order_by(*order)


def encoded(position: list[Any]) -> str:
    """A cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).rstrip(b"=").decode()


def decoded(cursor: str, length: int) -> list[Any]:
    """What ``encoded`` was given. Raises BadRequest for anything else."""
    try:
        position = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        position = None
    if (
        not isinstance(position, list)
        or len(position) != length
        or not all(type(part) is int or part is None for part in position)
        or type(position[0]) is not int
    ):
        raise BadRequest("the page cursor is not valid", code="value")
    return position
