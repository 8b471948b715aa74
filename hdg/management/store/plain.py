"""Searches of the common forms, apart into what their SQL looks like and the values that it binds.

R4 search.html#token, #reference, #date, #string, #chaining. Two searches with the same key become the same text. Which
bound value is which of the values is not said here: single.py finds it out from a twin, which has the same key and none
of the same values. A search of any other form has no shape.
"""

from __future__ import annotations

import re
import secrets
from calendar import isleap
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hdg.fhir import definitions
from hdg.management.store.matching import LAST, Clause
from hdg.management.store.operators import DAY_US, prefixed, split_at, unescape
from hdg.management.store.search import SearchQuery
from hdg.management.store.values import Hash, date_range, fold, split_reference

__all__ = ["Shape", "shape_of", "twin_of"]

Position = Sequence[Any] | None
Value = int | str
_Form = tuple[Hashable, tuple[Value, ...]]
"""What the text depends on, and what may be bound."""

_CLAUSES_MAX, _VALUES_MAX = 8, 8
_YEAR = re.compile(r"\d{4}")


@dataclass(frozen=True, slots=True)
class Shape:
    """``key``: all that the text of the search's SQL depends on, but for who asks. ``values``: what it may bind."""

    key: Hashable
    values: tuple[Value, ...]


def shape_of(query: SearchQuery, position: Position, hash_: Hash) -> Shape | None:
    """The shape of a page of a search (of no rows: of the number of its matches); None: it has none.

    ``position``: as pages.page has it.
    """
    if query.compartment or query.includes or query.custom or (query.sort and query.count):
        return None
    keys: list[Hashable] = []
    values: list[Value] = [] if position is None else [position[0]]
    if not 0 < len(query.clauses) <= _CLAUSES_MAX:
        return None
    for clause in query.clauses:
        form = _clause(clause, hash_)
        if form is None:
            return None
        keys.append(form[0])
        values += form[1]
    key = (query.type, query.types, query.count, query.with_total, position is None, *keys)
    return Shape(key, tuple(values))


def _clause(clause: Clause, hash_: Hash) -> _Form | None:
    if clause.places or clause.codes is not None or clause.param.startswith("_"):
        return None
    if clause.kind in ("chain", "has"):
        return _linked(clause, hash_)
    form = _FORMS.get(clause.kind)
    if form is None or clause.links or not 0 < len(clause.values) <= _VALUES_MAX:
        return None
    found = [form(clause, value, hash_) for value in clause.values]
    keys = [one[0] for one in found if one is not None]
    if len(keys) < len(found):
        return None
    values = tuple(value for one in found if one is not None for value in one[1])
    return (clause.param, clause.kind, clause.modifier, *keys), values


def _linked(clause: Clause, hash_: Hash) -> _Form | None:
    """Of a chain of one step."""
    keys: list[Hashable] = []
    values: list[Value] = []
    places = {inner: number for number, (_, inner) in enumerate(clause.links)}  # equal ones become one step
    for type_, inner in clause.links:
        form = None if inner.links else _clause(inner, hash_)
        if form is None:
            return None
        keys.append((type_, places[inner], form[0]))
        values += form[1]
    return (clause.param, clause.kind, clause.modifier, clause.values, *keys), tuple(values)


def _token(clause: Clause, value: str, hash_: Hash) -> _Form | None:
    parts = [unescape(part) for part in split_at(value, "|")]
    if clause.modifier or len(parts) > 2 or not parts[-1]:
        return None
    if len(parts) == 1:
        return "code", (hash_(parts[0]),)
    if not parts[0]:
        return "code alone", (hash_(parts[1]),)
    return "system and code", (hash_(parts[0]), hash_(parts[1]))


def _reference(clause: Clause, value: str, hash_: Hash) -> _Form | None:
    text, modifier = unescape(value), clause.modifier
    if modifier:
        if modifier not in definitions.resource_types():
            return None
        text = text if "/" in text else f"{modifier}/{text}"
    target = split_reference(text)
    if target is not None:
        return None if modifier and target[0] != modifier else (("to", target[0]), (hash_(target[1]),))
    return None if "/" in text or ":" in text else ("to any", (hash_(text),))


def _date(clause: Clause, value: str, _hash: Hash) -> _Form | None:
    prefix, text = prefixed(unescape(value))
    covered = date_range(text)
    if covered is None or clause.modifier or prefix == "ap":  # which goes by the time that it is
        return None
    start, end = covered
    return (prefix, end - start), (start, end, end - DAY_US + 1)


def _string(clause: Clause, value: str, hash_: Hash) -> _Form | None:
    text = unescape(value)
    folded = fold(text)
    if not folded or clause.modifier not in ("", "exact") or clause.param == "phonetic":
        return None
    return "text", (folded, folded + LAST, hash_(text))


_FORMS: dict[str, Callable[[Clause, str, Hash], _Form | None]] = {
    "token": _token,
    "reference": _reference,
    "date": _date,
    "string": _string,
}


def twin_of(query: SearchQuery, position: Position) -> tuple[SearchQuery, Position]:
    """A search of the same shape with other values, no two of them equal that are not parts of one date."""
    years = iter(range(1904, 2096, 4))
    clauses = tuple(_twin(clause, years) for clause in query.clauses)
    behind = None if position is None else [secrets.randbits(40), *position[1:]]
    return replace(query, clauses=clauses), behind


def _twin(clause: Clause, years: Iterator[int]) -> Clause:
    twins = {inner: _twin(inner, years) for _, inner in clause.links}
    links = tuple((type_, twins[inner]) for type_, inner in clause.links)
    values = clause.values
    if not links:
        values = tuple(_other(clause.kind, value, years) for value in values)
    return replace(clause, links=links, values=values)


def _other(kind: str, value: str, years: Iterator[int]) -> str:
    drawn = secrets.token_hex(8)
    if kind == "token":
        parts = split_at(value, "|")
        return "|".join(f"{drawn}{number}" if part else "" for number, part in enumerate(parts))
    if kind == "reference":
        return f"{value.rpartition('/')[0]}/{drawn}" if "/" in value else drawn
    if kind == "date":
        prefix, text = prefixed(unescape(value))
        year = int(text[:4])
        drawn_year = next(years) + (0 if isleap(year) else 1)
        if drawn_year == year:
            drawn_year = next(years) + (0 if isleap(year) else 1)
        return f"{prefix}{_YEAR.sub(str(drawn_year), text, count=1)}"
    return drawn
