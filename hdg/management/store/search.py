"""Search requests as values, and what they become in SQL.

R4 search.html. ``usage`` parses query strings into these; nothing here reads HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Clause", "SearchQuery"]


@dataclass(frozen=True, slots=True)
class Clause:
    """One search parameter as given once in a query: any of ``values`` must match (R4 search.html#combining).

    ``kind``: token, string, date, reference, number, quantity, uri, composite; ``special`` for ``_id`` and
    ``_lastUpdated`` (any kind is accepted for those two). ``modifier`` without its colon, '' for none. ``values`` are as in the
    URL after percent-decoding and splitting at unescaped commas; ``\\,`` ``\\|`` ``\\$`` escapes still in them.
    """

    param: str
    kind: str
    modifier: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search of one resource type: all ``clauses`` must match.

    ``count``: rows per page (0: only the total). ``cursor``: what the page before gave, '' for the first page.
    ``sort``: '' (newest created first; exactly stable while others write), ``_lastUpdated`` or ``-_lastUpdated``.
    """

    type: str
    clauses: tuple[Clause, ...] = ()
    count: int = 50
    cursor: str = ""
    sort: str = ""
    with_total: bool = True
