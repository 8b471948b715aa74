"""Many searches for one token each, such as ``identifier=SYSTEM|VALUE``, in one query.

R4 http.html#ccreate, #trules: a transaction may bear thousands of such conditions. Which search found what is
told by the index rows themselves. A search of any other form is not for here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.matching import Matching
from hdg.management.store.operators import split_at, unescape
from hdg.management.store.search import SearchQuery
from hdg.management.store.values import Hash

__all__ = ["TokenSearches", "token_searches"]

_RESOURCE = table_of(schema.Resource)
_TOKEN = table_of(schema.IdxToken).alias("asked")
"""Under a name of its own: what the caller may see is asked of the same tables."""
_ASKED_AT_ONCE = 500
_ROWS_MAX = 4
"""Rows for each search that is asked; with more the searches are no identifiers, and go one by one."""
Key = tuple[int | None, int]
"""Hashes of system (None: any; 0: none) and code."""


@dataclass(frozen=True, slots=True)
class TokenSearches:
    """Searches of one type by one parameter; ``keys``: what each of them asks for."""

    keys: dict[SearchQuery, Key]
    places: ColumnElement[bool]

    def find(
        self, connection: Connection, columns: Sequence[Any], visible: ColumnElement[bool] | None = None
    ) -> dict[SearchQuery, list[Any]]:
        """The rows (``columns`` of Resource, rkey first) of each search; one that is missing was not asked."""
        found: dict[SearchQuery, list[Any]] = {}
        queries = list(self.keys)
        for at in range(0, len(queries), _ASKED_AT_ONCE):
            some = queries[at : at + _ASKED_AT_ONCE]
            rows = self._rows(connection, columns, visible, {self.keys[query][1] for query in some})
            if rows is None:
                continue
            by_key: defaultdict[Key, dict[int, Any]] = defaultdict(dict)
            for *row, system, code in rows:
                for key in ((system, code), (None, code)):
                    by_key[key][row[0]] = row
            found.update({query: list(by_key.get(self.keys[query], {}).values()) for query in some})
        return found

    def _rows(
        self,
        connection: Connection,
        columns: Sequence[Any],
        visible: ColumnElement[bool] | None,
        codes: Collection[int],
    ) -> Sequence[Any] | None:
        most = _ROWS_MAX * len(codes)
        statement = (
            select(*columns, _TOKEN.c.system, _TOKEN.c.code)
            .select_from(_TOKEN.join(_RESOURCE, _RESOURCE.c.rkey == _TOKEN.c.rkey))
            .where(self.places, _TOKEN.c.code.in_(sorted(codes)), _RESOURCE.c.deleted.is_(False))
            .limit(most + 1)
        )
        if visible is not None:
            statement = statement.where(visible)
        rows = connection.execute(statement).all()
        return None if len(rows) > most else rows


def token_searches(queries: Collection[SearchQuery], hash_: Hash) -> Iterator[TokenSearches]:
    """Those among the searches that ask for one code each (``system|code``, ``|code`` or ``code``)."""
    groups: defaultdict[tuple[str, str], dict[SearchQuery, Key]] = defaultdict(dict)
    for query in queries:
        key = _key(query, hash_)
        if key is not None:
            groups[query.type, query.clauses[0].param][query] = key
    for (type_, param), keys in groups.items():
        places = lookups(type_, param)
        if len(keys) > 1 and places:
            clause = next(iter(keys)).clauses[0]
            yield TokenSearches(keys, Matching(type_, clause, hash_, 0).places(_TOKEN.c, places))


def _key(query: SearchQuery, hash_: Hash) -> Key | None:
    is_plain = len(query.clauses) == 1 and query.type and not query.compartment
    clause = query.clauses[0] if is_plain else None
    if clause is None or clause.kind != "token" or clause.modifier or len(clause.values) != 1:
        return None
    if clause.links or clause.param.startswith("_"):
        return None
    parts = [unescape(part) for part in split_at(clause.values[0], "|")]
    if len(parts) > 2 or not parts[-1]:
        return None
    return (hash_(parts[0]) if len(parts) == 2 else None, hash_(parts[-1]))
