"""Query parameters → the store's SearchQuery, refusing whatever is not understood.

R4 search.html. A parameter, modifier or value that the server does not understand is a BadRequest that names
the parameter and never repeats the value: ignoring it would widen the answer without a word (R4
search.html#errors lets a server choose; this one is always strict).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store.custom_register import Catalog
from hdg.management.store.forms import coded_numbers, form_numbers
from hdg.management.store.index import lookups
from hdg.management.store.paths import routes
from hdg.management.store.search import Clause, SearchQuery, Sort
from hdg.usage.fhir_api.current_lists import current
from hdg.usage.fhir_api.custom_parameters import Custom, NotComplete
from hdg.usage.fhir_api.filters import FILTER, read_filter
from hdg.usage.fhir_api.plain_codes import without_systems
from hdg.usage.fhir_api.query import MAX_VALUES_IN_ALL, Pairs, alternatives, describe
from hdg.usage.fhir_api.results import RESULTS, read_results
from hdg.usage.unstored import UNSTORED

COLUMNS: Final = frozenset({"_id", "_lastUpdated"})
"""Parameters that are columns of every resource."""

MODIFIERS: Final[Mapping[str, frozenset[str]]] = {
    "token": frozenset({"not", "missing"}),
    "string": frozenset({"exact", "contains", "missing"}),
    "date": frozenset({"missing"}),
    "reference": frozenset({"missing"}),  # and the names of its target types
    "uri": frozenset({"above", "below", "missing"}),
    "number": frozenset({"missing"}),
    "quantity": frozenset({"missing"}),
    "composite": frozenset({"missing"}),
    "special": frozenset({"missing"}),
    "text": frozenset(),
}
PAGE: Final = "_page"
_CHAIN_MAX = 8
"""Steps of one chain, ``_has`` included."""
_CHAINED_TYPES_MAX = 8
"""Types that a search with chains goes over: each makes the query longer (146 took four seconds to compile)."""
_LINKS_MAX = 300
"""Clauses that one chain may come to; one without types leads over every type that the reference may name."""
_TRIED_MAX = 2_000
"""Clauses that the chains of a query may be tried as, those that lead nowhere too: each step over every type multiplies
them, and they are tried before anybody else is served."""
_JOINS_MAX = 32
"""Steps of all chains and ``_has`` of a query: each is a search of its own (200 took 7 s of a thread)."""
_OFFSET_SPACE = re.compile(r"(T[0-9:.]+) ([0-9]{2}:[0-9]{2})\Z")


@dataclass(frozen=True, slots=True)
class Limits:
    """Page sizes (``_count``), and the base URL whose references are our own."""

    page_default: int
    page_max: int
    base_url: str
    catalog: Catalog | None = None
    """The parameters that are not R4's own; None: they cannot be asked by."""


class _TooWide(BadRequest):
    """Unlike what one type of a chain does not know, this ends the query."""


@dataclass(slots=True)
class _Own:
    """What belongs to this server: its base URL, its own parameters. ``tried``: clauses of this query so far."""

    base_url: str
    custom: Custom
    tried: int = 0

    def try_one(self, whole: str) -> None:
        """One more clause. Raises _TooWide."""
        self.tried += 1
        if self.tried > _TRIED_MAX:
            text = f"{describe(whole)}: too many types could be meant; name them"
            raise _TooWide(text, code="too-costly")

    def kind(self, type_: str, code: str) -> str | None:
        """The kind of a parameter, None when there is none. Raises NotComplete."""
        return supported(type_).get(code) or self.custom.kind(type_, code)

    def is_followed(self, type_: str, code: str) -> bool:
        """Whether its references lead to resources. Raises NotComplete."""
        known = code in supported(type_)
        return is_followed(type_, code) if known else self.custom.is_followed(type_, code)


@lru_cache(maxsize=256)
def supported(resource_type: str) -> Mapping[str, str]:
    """Parameter code → kind, for every parameter of a type that the store has rows of."""
    return {
        parameter.code: parameter.kind
        for parameter in definitions.search_parameters(resource_type)
        if parameter.code in COLUMNS or lookups(resource_type, parameter.code)
    }


@lru_cache(maxsize=8192)
def modifiers(resource_type: str, code: str, kind: str) -> frozenset[str]:
    """The modifiers of a parameter, without the type names that references take."""
    if code in COLUMNS or (code == "phonetic" and code in supported(resource_type)):
        return frozenset({"missing"})
    named = {name for name in ("text", "of-type", "identifier") if form_numbers(resource_type, code, name)}
    if any(coded_numbers(resource_type, code)):
        named |= {"in", "not-in", "above", "below"}
    return MODIFIERS[kind] | named


def parse(
    resource_type: str,
    pairs: Pairs,
    limits: Limits,
    cursor: str = "",
    *,
    types: tuple[str, ...] = (),
    compartment: str = "",
    count: int = 0,
) -> SearchQuery:
    """The search that ``pairs`` ask for. Raises BadRequest naming the parameter that is not understood.

    ``types``: of a search over several types, with ``resource_type`` ''; ``compartment``: see SearchQuery;
    ``count``: rows of a page whatever the server's limits, 0 for these.
    """
    searched = types or (resource_type,)
    asked = [pair for pair in pairs if pair[0].partition(":")[0] not in RESULTS]
    own = _Own(limits.base_url, Custom(limits.catalog))
    clauses = tuple(clause for name, value in asked for clause in _clauses(searched, name, value, own))
    if len(searched) > _CHAINED_TYPES_MAX and any(clause.links for clause in clauses):
        text = f"a chain or _has over more than {_CHAINED_TYPES_MAX} types; name fewer by _type"
        raise BadRequest(text, code="too-costly")
    if sum(map(_joins, clauses)) > _JOINS_MAX:
        raise BadRequest(f"more than {_JOINS_MAX} steps in all chains", code="too-costly")
    if sum(map(_size, clauses)) > MAX_VALUES_IN_ALL:
        raise BadRequest(f"more than {MAX_VALUES_IN_ALL} values in all parameters", code="too-costly")
    results = read_results(
        searched,
        [pair for pair in pairs if pair[0].partition(":")[0] in RESULTS],
        limits.page_default,
        limits.page_max,
        own.kind,
        own.is_followed,
    )
    return SearchQuery(
        resource_type,
        clauses,
        count or results.page_size,
        cursor,
        tuple(own.custom.sorting(searched, key) for key in results.sort),
        results.with_total,
        types,
        compartment,
        tuple(map(own.custom.including, results.includes)),
        own.custom.used,
        results.total_max,
    )


def _clauses(types: tuple[str, ...], name: str, value: str, own: _Own) -> tuple[Clause, ...]:
    if name != FILTER:
        return (_clause(types, name, name, value, own),)
    return read_filter(value, lambda inner, text: _clause(types, inner, inner, text, own))


def sorted_by(query: SearchQuery, sort: tuple[Sort, ...]) -> SearchQuery:
    """The same search in another order."""
    return replace(query, sort=sort)


def _size(clause: Clause) -> int:
    """How many values a clause becomes in SQL."""
    return len(clause.values) + sum(_size(inner) for _, inner in clause.links)


def _joins(clause: Clause) -> int:
    """How many steps of chains a clause has; those over several types count as one."""
    inner = [_joins(one) for _, one in clause.links]
    if clause.kind in ("chain", "has"):
        return 1 + max(inner, default=0)
    return sum(inner)


def _clause(types: tuple[str, ...], whole: str, name: str, value: str, own: _Own, depth: int = 0) -> Clause:
    """The clause of a parameter; ``whole``: the name as given, of which ``name`` is what is left of a chain."""
    own.try_one(whole)
    if depth > _CHAIN_MAX:
        raise BadRequest(f"{describe(whole)}: more than {_CHAIN_MAX} steps", code="too-costly")
    if name.startswith("_has:"):
        return _has(types, whole, name, value, own, depth)
    head, dot, rest = name.partition(".")
    if dot:
        return _chain(types, whole, head, rest, value, own, depth)
    code, colon, modifier = name.partition(":")
    if name == "_list" and not depth:
        return _list(types, value)
    kinds = {own.kind(type_, code) for type_ in types}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None or (colon and not modifier):
        where = types[0] if len(types) == 1 else "all the types that are searched"
        raise BadRequest(f"{describe(whole)} is not supported for {where}", code="not-supported")
    if (
        modifier
        and not all(modifier in modifiers(type_, code, kind) for type_ in types)
        and not (kind == "reference" and modifier in _targets(types, code, own))
    ):
        raise BadRequest(f"{describe(whole)}: this modifier is not supported", code="not-supported")
    values = alternatives(whole, value)
    if modifier == "missing":
        if values not in (("true",), ("false",)):
            raise BadRequest(f"{describe(whole)}: true or false", code="value")
    elif kind == "token" and modifier in ("", "not"):
        values = without_systems(types, code, values)
    elif kind == "date":
        values = tuple(_OFFSET_SPACE.sub(r"\1+\2", text) for text in values)
    elif kind == "reference":
        values = tuple(text.removeprefix(own.base_url + "/") for text in values)
    return own.custom.placed(types, Clause(param=code, kind=kind, modifier=modifier, values=values))


def _list(types: tuple[str, ...], value: str) -> Clause:
    """Resources that a List names, or a functional list. R4 search.html#list."""
    values = alternatives("_list", value)
    if any(text.startswith("$") for text in values):
        return current(types, values)
    return Clause("_list", "_list", "", values)


def _targets(types: tuple[str, ...], code: str, own: _Own) -> frozenset[str]:
    """The types that a reference parameter may point at; R4 names none where it may be any."""
    given = [
        parameter.targets
        for type_ in types
        for parameter in definitions.search_parameters(type_)
        if parameter.code == code and parameter.kind == "reference"
    ]
    given += [found for type_ in types if (found := own.custom.targets(type_, code)) is not None]
    return frozenset().union(*given) if all(given) else definitions.resource_types()


@lru_cache(maxsize=4096)
def is_followed(resource_type: str, code: str) -> bool:
    """Whether a parameter's references lead to resources: canonical URLs name definitions, which is not resolved."""
    if supported(resource_type).get(code) != "reference" or resource_type in {*UNSTORED, "Bundle"}:
        return (
            False  # a Bundle's first resource lies in it and has no rows of its own; an AuditEvent has none
        )
    parameters = definitions.search_parameters(resource_type)
    found = routes(resource_type, next(each.expression for each in parameters if each.code == code))
    return found is None or any(route.type not in ("canonical", "uri") for route in found)


def _chain(
    types: tuple[str, ...], whole: str, head: str, rest: str, value: str, own: _Own, depth: int
) -> Clause:
    """``subject:Patient.name``: the clause about what a reference leads to, for each type that knows it."""
    code, colon, target = head.partition(":")
    if target in UNSTORED:
        raise BadRequest(f"{describe(whole)}: no chain leads to such a type", code="not-supported")
    targets = _targets(types, code, own)
    is_reference = all(own.is_followed(type_, code) for type_ in types)
    if not is_reference or (colon and target not in targets):
        raise BadRequest(f"{describe(whole)}: no such chain", code="not-supported")
    links: list[tuple[str, Clause]] = []
    for type_ in [target] if colon else sorted(targets):
        if colon or _knows(type_, rest, own):
            try:
                links.append((type_, _clause((type_,), whole, rest, value, own, depth + 1)))
            except (NotComplete, _TooWide):
                raise
            except BadRequest:
                if colon or len(targets) == 1:
                    raise
    if not links:
        raise BadRequest(f"{describe(whole)}: no type has what the chain ends in", code="not-supported")
    return _linked(own.custom.placed(types, Clause(code, "chain", "", links=tuple(links))), whole)


def _knows(type_: str, rest: str, own: _Own) -> bool:
    """Whether a type has the parameter that the rest of a chain begins with."""
    code = rest.partition(".")[0].partition(":")[0]
    return rest.startswith("_has:") or code in supported(type_) or own.custom.find(type_, code) is not None


def _has(types: tuple[str, ...], whole: str, name: str, value: str, own: _Own, depth: int) -> Clause:
    """``_has:Observation:patient:code``: the clause about what refers to the resource at hand."""
    _, source, code, rest = (*name.split(":", 3), "", "", "")[:4]
    known = source in definitions.resource_types() and own.is_followed(source, code)
    if not known or not rest or not _targets((source,), code, own).intersection(types):
        raise BadRequest(
            f"{describe(whole)}: _has:Type:reference:parameter is expected", code="not-supported"
        )
    inner = _clause((source,), whole, rest, value, own, depth + 1)
    return _linked(own.custom.placed(types, Clause(code, "has", "", links=((source, inner),))), whole)


def _linked(clause: Clause, whole: str) -> Clause:
    if _links(clause) > _LINKS_MAX:
        raise BadRequest(f"{describe(whole)}: too many types could be meant; name them", code="too-costly")
    return clause


def _links(clause: Clause) -> int:
    return 1 + sum(_links(inner) for _, inner in clause.links)
