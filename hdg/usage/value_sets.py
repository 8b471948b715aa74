"""What a search names and must be read before it can be asked: value sets, hierarchies, Lists.

R4 search.html#token (``:in``, ``:not-in``, ``:above``, ``:below``), #list. Read under the caller's own view: a
ValueSet or List that is hidden is one that is not there. A value set or hierarchy that cannot be told is refused, since
finding nothing (or everything, by ``:not-in``) would be a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement

from hdg.errors import BadRequest
from hdg.fhir.expansion import Codes, Expander, Expansion, Hierarchy, NotExpandable
from hdg.management.store import SearchQuery
from hdg.management.store.envelope import parse
from hdg.management.store.operators import split_at, unescape
from hdg.management.store.prepared import Prepared
from hdg.management.store.read import Reader
from hdg.management.store.search import Clause, CodesOf
from hdg.management.store.values import split_reference
from hdg.management.store.versions import StoredVersion

__all__ = ["Resolver", "is_resolved"]

JsonObject = dict[str, Any]

_VALUE_SETS = ("in", "not-in")
_TREES = ("above", "below")
_CODES_MAX = 20_000
"""Codes, and resources of Lists, in one query; SQLite takes 32,766 values."""
_SAME_URL_MAX = 50


def is_resolved(query: SearchQuery) -> bool:
    """Whether a query can be asked as it is."""
    return not any(map(_is_open, query.clauses))


def _is_open(clause: Clause) -> bool:
    return clause.kind == "_list" or _names_codes(clause) or any(_is_open(inner) for _, inner in clause.links)


def _names_codes(clause: Clause) -> bool:
    return clause.kind == "token" and clause.modifier in (*_VALUE_SETS, *_TREES) and clause.codes is None


class Resolver:
    """For one query of one caller. ``loaded``: definitions of loaded packages by type and canonical URL; ``tree``:
    hierarchies that the site has loaded, by the URL of the code system.

    ``consulted``: the versions that were read, for the audit. Raises BadRequest throughout.
    """

    def __init__(
        self,
        reader: Reader,
        visible: Prepared | ColumnElement[bool],
        loaded: Callable[[str, str], JsonObject | None],
        base_url: str,
        tree: Callable[[str], Hierarchy | None],
    ) -> None:
        self._reader = reader
        self._visible = visible
        self._loaded = loaded
        self._base = base_url + "/"
        self._expander = Expander(self._find, tree)
        self._size = 0
        self.consulted: list[StoredVersion] = []

    def query(self, query: SearchQuery) -> SearchQuery:
        """The query with all that it names read."""
        return replace(
            query, clauses=tuple(self._clause(query.types or (query.type,), one) for one in query.clauses)
        )

    def _clause(self, types: tuple[str, ...], clause: Clause) -> Clause:
        if not _is_open(clause):
            return clause
        if clause.links:
            links = tuple((type_, self._clause((type_,), inner)) for type_, inner in clause.links)
            return replace(clause, links=links)
        try:
            if clause.kind == "_list":
                return replace(clause, kind="list", values=self._listed(types, clause))
            found: Expansion = {}
            for value in clause.values:
                codes = (
                    self._value_set(value) if clause.modifier in _VALUE_SETS else self._tree(clause, value)
                )
                for system, some in codes.items():
                    found[system] = found.get(system, Codes(frozenset())) | some
            self._count(sum(len(some.codes) for some in found.values()))
        except NotExpandable as error:
            text = f"parameter '{clause.param}': {error}"
            raise BadRequest(text, code="not-supported", place=clause.param) from None
        listed = (CodesOf(system, tuple(sorted(some.codes)), some.is_rest) for system, some in found.items())
        return replace(clause, codes=tuple(sorted(listed, key=lambda one: one.system)))

    def _count(self, more: int) -> None:
        self._size += more
        if self._size > _CODES_MAX:
            raise BadRequest(f"more than {_CODES_MAX} codes or entries are named", code="too-costly")

    # --- codes ----------------------------------------------------------------------------------------------

    def _value_set(self, value: str) -> Expansion:
        """The codes of a value set by URL, by ``ValueSet/id`` or by id."""
        text = unescape(value).removeprefix(self._base)
        named = split_reference(text)
        if named is None and ":" not in text:
            named = ("ValueSet", text)
        if named is None:
            return self._expander.expand(text)
        found = self._read(*named) if named[0] == "ValueSet" else None
        if found is None:
            raise NotExpandable("there is no such value set here")
        return self._expander.of(found)

    def _tree(self, clause: Clause, value: str) -> Expansion:
        """A code and what lies above or below it."""
        system, code = _pair(value)
        if not system or not code:
            raise BadRequest(
                f"parameter '{clause.param}': system|code is needed", code="value", place=clause.param
            )
        return {system: self._expander.related(system, code, is_above=clause.modifier == "above")}

    def _find(self, type_: str, canonical: str) -> JsonObject | None:
        """A definition: of a loaded package, else a ValueSet of the store."""
        loaded = self._loaded(type_, canonical)
        if loaded is not None or type_ != "ValueSet":
            return loaded
        url, _, version = canonical.partition("|")
        escaped = url.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$")
        clause = Clause("url", "uri", "", (escaped,))
        query = SearchQuery("ValueSet", (clause,), _SAME_URL_MAX, with_total=False)
        predicate = self._visible.predicate if isinstance(self._visible, Prepared) else self._visible
        for stored in self._reader.search(query, predicate).versions:
            content: JsonObject = parse(self._reader.body(stored))
            if content.get("url") == url and version in ("", content.get("version", "")):
                self.consulted.append(stored)
                return content
        return None

    # --- Lists ----------------------------------------------------------------------------------------------

    def _listed(self, types: tuple[str, ...], clause: Clause) -> tuple[str, ...]:
        """``Type/id`` of what Lists name, of the types that are searched. A List that is not there names nothing."""
        names: dict[str, None] = {}
        for value in clause.values:
            content = self._read("List", unescape(value).removeprefix(self._base).removeprefix("List/"))
            for entry in (content or {}).get("entry", ()):
                text = entry["item"].get("reference", "") if "item" in entry else ""
                named = split_reference(text.removeprefix(self._base))
                if named is not None and named[0] in types and not entry.get("deleted"):
                    names["/".join(named)] = None
        self._count(len(names))
        return tuple(names)

    def _read(self, type_: str, id_: str) -> JsonObject | None:
        stored = self._reader.read(type_, id_, self._visible)
        if stored is None or stored.deleted:
            return None
        self.consulted.append(stored)
        content: JsonObject = parse(self._reader.body(stored))
        return content


def _pair(value: str) -> tuple[str, str]:
    """(system, code), '' where one is missing."""
    parts = [unescape(part) for part in split_at(value, "|")]
    return (parts[0], parts[1]) if len(parts) == 2 else ("", "")
