"""Query parameters → the store's SearchQuery, refusing whatever is not understood.

R4 search.html. A parameter, modifier or value that the server does not understand is a BadRequest that names
the parameter and never repeats the value: ignoring it would widen the answer without a word (R4
search.html#errors lets a server choose; this one is always strict).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store.index import lookups
from hdg.management.store.search import Clause, SearchQuery
from hdg.usage.fhir_api.query import MAX_VALUES_IN_ALL, Pairs, alternatives, describe

COLUMNS: Final = frozenset({"_id", "_lastUpdated"})
"""Parameters that are columns of every resource; they take no modifier."""

MODIFIERS: Final[Mapping[str, frozenset[str]]] = {
    "token": frozenset({"not", "missing"}),
    "string": frozenset({"exact", "contains", "missing"}),
    "date": frozenset({"missing"}),
    "reference": frozenset({"missing"}),  # and the names of its target types
    "uri": frozenset({"below", "missing"}),
    "number": frozenset({"missing"}),
    "quantity": frozenset({"missing"}),
    "composite": frozenset({"missing"}),
}
SORTS: Final = frozenset({"_lastUpdated", "-_lastUpdated"})

PAGE: Final = "_page"
_COUNT = re.compile(r"[0-9]{1,9}\Z")
_OFFSET_SPACE = re.compile(r"(T[0-9:.]+) ([0-9]{2}:[0-9]{2})\Z")


@dataclass(frozen=True, slots=True)
class Limits:
    """Page sizes (``_count``), and the base URL whose references are our own."""

    page_default: int
    page_max: int
    base_url: str


@lru_cache(maxsize=256)
def supported(resource_type: str) -> Mapping[str, str]:
    """Parameter code → kind, for every parameter of a type that the store has rows of."""
    return {
        parameter.code: parameter.kind
        for parameter in definitions.search_parameters(resource_type)
        if parameter.code in COLUMNS or lookups(resource_type, parameter.code)
    }


def modifiers(code: str, kind: str) -> frozenset[str]:
    """The modifiers of a parameter, without the type names that references take."""
    return frozenset() if code in COLUMNS else MODIFIERS[kind]


def parse(resource_type: str, pairs: Pairs, limits: Limits, cursor: str = "") -> SearchQuery:
    """The search that ``pairs`` ask for. Raises BadRequest naming the parameter that is not understood."""
    known = supported(resource_type)
    clauses: list[Clause] = []
    results: dict[str, str] = {}
    for name, value in pairs:
        if name not in ("_count", "_total", "_sort"):
            clauses.append(_clause(resource_type, known, name, value, limits.base_url))
        elif name in results:
            raise BadRequest(f"{describe(name)} is given twice", code="value")
        else:
            results[name] = value
    if sum(len(clause.values) for clause in clauses) > MAX_VALUES_IN_ALL:
        raise BadRequest(f"more than {MAX_VALUES_IN_ALL} values in all parameters", code="too-costly")
    return SearchQuery(
        type=resource_type,
        clauses=tuple(clauses),
        count=_count(results["_count"], limits.page_max) if "_count" in results else limits.page_default,
        cursor=cursor,
        sort=_sort(results["_sort"]) if "_sort" in results else "",
        with_total=_total(results.get("_total", "accurate")) != "none",
    )


def _sort(value: str) -> str:
    if value not in SORTS:
        raise BadRequest("parameter '_sort': only _lastUpdated and -_lastUpdated", code="not-supported")
    return value


def _count(value: str, most: int) -> int:
    """Page size; 0 asks for the total alone, too much is cut to the most (R4 search.html#count)."""
    if not _COUNT.match(value):
        raise BadRequest("parameter '_count': not a number of entries", code="value")
    return min(int(value), most)


def _total(value: str) -> str:
    if value not in ("none", "estimate", "accurate"):
        raise BadRequest("parameter '_total': none, estimate or accurate", code="value")
    return value


def _clause(resource_type: str, known: Mapping[str, str], name: str, value: str, base_url: str) -> Clause:
    code, colon, modifier = name.partition(":")
    kind = known.get(code)
    if kind is None or (colon and not modifier):
        raise BadRequest(f"{describe(name)} is not supported for {resource_type}", code="not-supported")
    if (
        modifier
        and modifier not in modifiers(code, kind)
        and not _is_type_modifier(resource_type, code, kind, modifier)
    ):
        raise BadRequest(f"{describe(name)}: this modifier is not supported", code="not-supported")
    values = alternatives(name, value)
    if modifier == "missing":
        if values not in (("true",), ("false",)):
            raise BadRequest(f"{describe(name)}: true or false", code="value")
    elif kind == "date":
        values = tuple(_OFFSET_SPACE.sub(r"\1+\2", text) for text in values)
    elif kind == "reference":
        values = tuple(text.removeprefix(base_url + "/") for text in values)
    return Clause(param=code, kind=kind, modifier=modifier, values=values)


def _is_type_modifier(resource_type: str, code: str, kind: str, modifier: str) -> bool:
    """Whether ``subject:Patient`` names a type that this reference parameter may point at."""
    if kind != "reference":
        return False
    return any(
        parameter.code == code and modifier in parameter.targets
        for parameter in definitions.search_parameters(resource_type)
    )
