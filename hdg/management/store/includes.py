"""What a page of a search brings along: ``_include`` and ``_revinclude``.

R4 search.html#include. Every resource that comes along is one that the caller may see; it comes once, and none
of the page's own matches comes again. There is a limit to how many come with one page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, select

from hdg.fhir import definitions
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom import selected
from hdg.management.store.everything import named
from hdg.management.store.index import lookups, selectors
from hdg.management.store.search import Include
from hdg.management.store.values import Hash, split_reference

__all__ = ["INCLUDED_MAX", "Found", "included", "rkeys_of"]

INCLUDED_MAX = 1000
"""Resources that come with one page."""
_ROUNDS_MAX = 8
_AT_ONCE = 400
_REFERENCE = table_of(schema.IdxReference)
_RESOURCE = table_of(schema.Resource)
Condition = ColumnElement[bool]
T = TypeVar("T")
Name = tuple[str, str]
Found = tuple[int, str, str]
"""rkey, type, id of a resource."""


def included(
    connection: Connection,
    matches: Sequence[Found],
    includes: Sequence[Include],
    visible: Condition,
    hash_: Hash,
    contents: Callable[[Sequence[int]], Iterable[dict[str, Any]]],
) -> tuple[list[int], bool]:
    """(rkeys of what comes along, whether there may be more: there is a limit to them, and one to the rounds).

    ``contents``: the resources with some rkeys, in any order.
    """
    known = {rkey for rkey, _, _ in matches}
    found: dict[int, None] = {}
    frontier = list(matches)
    asked = list(includes)
    for _ in range(_ROUNDS_MAX):
        new: list[Found] = []
        forward = [include for include in asked if not include.is_reverse]
        names = _names(contents([rkey for rkey, _, _ in frontier]), forward) if forward else ()
        backward = [include for include in asked if include.is_reverse]
        for one in (
            *named(connection, names, visible),
            *_referring(connection, frontier, backward, visible, hash_),
        ):
            if one[0] not in known and one[0] not in found:
                if len(found) >= INCLUDED_MAX:
                    return list(found), True
                found[one[0]] = None
                new.append(one)
        asked = [include for include in includes if include.is_iterated]
        frontier = new
        if not asked or not frontier:
            return list(found), False
    return list(found), True


def _names(contents: Iterable[dict[str, Any]], includes: Sequence[Include]) -> list[Name]:
    """What the references that are asked for name."""
    names: dict[Name, None] = {}
    for content in contents:
        for include in includes:
            if include.type not in (content["resourceType"], "*"):
                continue
            for select_ in _selectors(content["resourceType"], include.param, include.expression):
                for text, target in select_(content):
                    name = split_reference(text)
                    if name is not None and include.target in ("", name[0]) and target in ("", name[0]):
                        names[name] = None
    return list(names)


@lru_cache(maxsize=4096)
def _selectors(
    type_: str, param: str, expression: str
) -> tuple[Callable[[dict[str, Any]], Iterator[tuple[str, str]]], ...]:
    """``expression``: of a parameter that is not R4's own."""
    if expression:
        return (_custom(expression),)
    codes = [
        parameter.code
        for parameter in definitions.search_parameters(type_)
        if parameter.kind == "reference" and param in (parameter.code, "*")
    ]
    return tuple(_texts(type_, code) for code in codes)


def _custom(expression: str) -> Callable[[dict[str, Any]], Iterator[tuple[str, str]]]:
    select = selected(expression, "reference")

    def texts(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for item in select(content, content):
            text = item.get("reference") if type(item) is dict else item
            if type(text) is str:
                yield text, ""

    return texts


def _texts(type_: str, code: str) -> Callable[[dict[str, Any]], Iterator[tuple[str, str]]]:
    """The references that a parameter selects: (text, type to which the parameter is limited)."""
    parts = selectors(type_, code)

    def texts(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for part, target in parts:
            for item in part(content):
                text = item.get("reference") if type(item) is dict else item
                if type(text) is str:
                    yield text, target

    return texts


def _referring(
    connection: Connection,
    targets: Sequence[Found],
    includes: Sequence[Include],
    visible: Condition,
    hash_: Hash,
) -> list[Found]:
    found: list[Found] = []
    for include in includes:
        numbers = rkeys_of(include)
        by_type: defaultdict[str, list[int]] = defaultdict(list)
        for _, type_, id_ in targets:
            if include.target in ("", type_):
                by_type[type_].append(hash_(id_))
        for type_, codes in by_type.items():
            params = [number for number, target in numbers if target in ("", type_)]
            for some in _parts(codes) if params else ():
                refers = select(_REFERENCE.c.rkey).where(
                    _REFERENCE.c.param.in_(params),
                    _REFERENCE.c.code.in_(some),
                    _REFERENCE.c.system == hash_(type_),
                )
                columns = _RESOURCE.c
                query = (
                    select(columns.rkey, columns.type, columns.id)
                    .where(columns.rkey.in_(refers), columns.deleted.is_(False), visible)
                    .order_by(columns.rkey)
                    .limit(INCLUDED_MAX + 1)
                )
                found += [(row[0], row[1], row[2]) for row in connection.execute(query)]
    return found


def rkeys_of(include: Include) -> list[tuple[int, str]]:
    """Where the rows of the parameters of a ``_revinclude`` are (index.lookups)."""
    if include.places:
        return list(include.places)
    return list(_places(include.type, include.param))


@lru_cache(maxsize=1024)
def _places(type_: str, param: str) -> tuple[tuple[int, str], ...]:
    """``*``: of every type; of every parameter."""
    types = definitions.resource_types() if type_ == "*" else (type_,)
    named = [
        (one, parameter.code)
        for one in types
        for parameter in definitions.search_parameters(one)
        if parameter.kind == "reference" and param in (parameter.code, "*")
    ]
    return tuple(sorted({place for name in named for place in lookups(*name)}))


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), _AT_ONCE):
        yield items[at : at + _AT_ONCE]
