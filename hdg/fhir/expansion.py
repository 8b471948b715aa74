"""A value set → its codes, system by system; or that they cannot be told, which is never taken for none.

R4 valueset.html#compose, #expansion, codesystem.html#hierarchy. Unlike hdg.fhir.profiles.valuesets, which asks about
one code, this lists all of them, for a search. Of a code system that is not loaded all codes together are still
something that can be searched: hence the two forms of ``Codes``. Reasons name no value: a value set may be a
stored one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from hdg.fhir import definitions
from hdg.fhir.profiles.valuesets import CodeSystem, listed_codes

__all__ = ["Codes", "Expander", "Expansion", "Hierarchy", "NotExpandable"]

JsonObject = dict[str, Any]

_DEEPEST = 16
"""Value sets that import value sets."""
_TREES = frozenset({"is-a", "descendent-of", "is-not-a"})


class NotExpandable(Exception):
    """Which codes are meant cannot be told; the text says why and names no value."""


class Codes(NamedTuple):
    """Codes of one system: these (or, ``is_rest``, all of its codes but these)."""

    codes: frozenset[str]
    is_rest: bool = False

    def __or__(self, other: Codes) -> Codes:
        if self.is_rest and other.is_rest:
            return Codes(self.codes & other.codes, True)
        if self.is_rest or other.is_rest:
            rest, some = (self, other) if self.is_rest else (other, self)
            return Codes(rest.codes - some.codes, True)
        return Codes(self.codes | other.codes)

    def without(self, other: Codes) -> Codes:
        """These codes, but none of the others."""
        return (self.inverse() | other).inverse()

    def inverse(self) -> Codes:
        """All other codes of the system."""
        return Codes(self.codes, not self.is_rest)


Expansion = dict[str, Codes]
"""System ('' for none) → codes of it."""
_NONE = Codes(frozenset())


_MOST = 20_001
"""Codes of one answer of a hierarchy: so many or more are refused, since a part of them would be a wrong answer."""
_IMPLICIT = "http://snomed.info/sct?"


class Hierarchy(Protocol):
    """Of a code system that is too large to be held as a whole (hdg.terminology.hierarchies)."""

    def has(self, code: str) -> bool:
        """Whether it has that code."""

    def above(self, code: str, most: int) -> frozenset[str]:
        """The codes that a code is a kind of."""

    def below(self, code: str, most: int) -> frozenset[str]:
        """The codes that are kinds of a code."""

    def children(self, code: str, most: int) -> frozenset[str]:
        """The codes right below a code."""


def _no_tree(_url: str) -> None:
    return None


class Expander:
    """Expands. ``find``: (ValueSet or CodeSystem, canonical URL) → what is loaded or stored, None if nothing is;
    ``tree``: the URL of a code system → its hierarchy, where the site has loaded one."""

    def __init__(
        self,
        find: Callable[[str, str], JsonObject | None],
        tree: Callable[[str], Hierarchy | None] = _no_tree,
    ) -> None:
        self._find = find
        self._tree = tree

    def related(self, system: str, code: str, *, is_above: bool) -> Codes:
        """A code and what lies above or below it. Raises NotExpandable."""
        known = self.system(system)
        tree = self._tree(system) if known is None else None
        if known is None and tree is None:
            raise NotExpandable("the hierarchy of the code system is not loaded")
        if not (code in known.codes if known is not None else tree is not None and tree.has(code)):
            raise NotExpandable("the code system has no such code")
        found = frozenset[str]()
        if known is not None:
            found = known.above(code) if is_above else known.below(code)
        elif tree is not None:
            found = _all(tree.above if is_above else tree.below, code)
        return Codes(found | {code})

    def expand(self, canonical: str) -> Expansion:
        """The codes of the value set of that URL. Raises NotExpandable."""
        return self._expand(canonical, 0)

    def of(self, value_set: JsonObject) -> Expansion:
        """The codes of a value set that is at hand. Raises NotExpandable."""
        return self._of(value_set, 0)

    def system(self, url: str) -> CodeSystem | None:
        """A code system that is known as a whole."""
        own = _own_system(url)
        if own is not None:
            return own
        found = self._find("CodeSystem", url)
        return CodeSystem(found) if found is not None and found.get("content") == "complete" else None

    def _expand(self, canonical: str, depth: int) -> Expansion:
        if depth > _DEEPEST:
            raise NotExpandable("value sets import each other too deeply")
        if canonical.startswith(_IMPLICIT):
            return self._implicit(canonical)
        try:
            composed = definitions.value_set(canonical.partition("|")[0])
        except KeyError:
            found = self._find("ValueSet", canonical)
            if found is None:
                raise NotExpandable("there is no such value set here") from None
            return self._of(found, depth)
        if composed is None:
            raise NotExpandable("the value set lists codes of a system that is not shipped")
        return self._composed(composed, depth)

    def _implicit(self, canonical: str) -> Expansion:
        """SNOMED CT's own: all codes, or a code and its kinds. R4 snomedct.html#implicit."""
        system, _, query = canonical.partition("?")
        asked = parse_qs(query, keep_blank_values=True).get("fhir_vs", ["-"])[0]
        if asked == "":
            return {system: Codes(frozenset(), is_rest=True)}
        kind, _, code = asked.partition("/")
        if kind != "isa":
            raise NotExpandable(
                "of SNOMED CT's implicit value sets only fhir_vs and fhir_vs=isa/CODE are supported"
            )
        return {system: self.related(system, code, is_above=False)}

    def _of(self, value_set: JsonObject, depth: int) -> Expansion:
        listed = listed_codes(value_set)
        compose = value_set.get("compose") or {}
        if not compose.get("include"):
            if listed is None:
                raise NotExpandable("the value set lists nothing, and has no whole expansion")
            return _explicit(listed)
        try:
            return self._composed(compose, depth)
        except NotExpandable:
            if listed is None:
                raise
            return _explicit(listed)

    def _composed(self, compose: JsonObject, depth: int) -> Expansion:
        parts = [*compose["include"], *compose.get("exclude", ())]
        if compose.get("inactive") is False and not all(part.get("concept") for part in parts):
            raise NotExpandable("the value set leaves out inactive codes, which are not known")
        included: Expansion = {}
        for part in compose["include"]:
            for system, codes in self._part(part, depth).items():
                included[system] = included.get(system, _NONE) | codes
        for part in compose.get("exclude", ()):
            for system, codes in self._part(part, depth).items():
                included[system] = included.get(system, _NONE).without(codes)
        return {system: codes for system, codes in included.items() if codes != _NONE}

    def _part(self, part: JsonObject, depth: int) -> Expansion:
        """One include or exclude: all that it says must hold."""
        found = [self._expand(url, depth + 1) for url in part.get("valueSet", ())]
        if "system" in part:
            found.append({part["system"]: self._of_system(part["system"], part)})
        if not found:
            raise NotExpandable("a part of the value set names neither system nor value set")
        common = found[0]
        for other in found[1:]:
            common = {
                system: codes.without(other[system].inverse())
                for system, codes in common.items()
                if system in other
            }
        return common

    def _of_system(self, url: str, part: JsonObject) -> Codes:
        if part.get("concept"):
            return Codes(frozenset(one["code"] for one in part["concept"] if "code" in one))
        known = self.system(url)
        filters = part.get("filter", ())
        if known is None:
            tree = self._tree(url) if filters else None
            if filters and tree is None:
                raise NotExpandable("a filter of the value set is on a system whose hierarchy is not loaded")
            some = Codes(frozenset(), is_rest=True)
            if tree is not None:
                for filter_ in filters:
                    some = some.without(_filtered(tree, filter_).inverse())
            return some
        codes = known.codes
        for filter_ in filters:
            kept = known.filtered(filter_)
            if kept is None or (filter_.get("op") in _TREES and filter_.get("value") not in known.codes):
                raise NotExpandable("a filter of the value set cannot be evaluated")
            codes &= kept
        return Codes(codes)


def _all(ask: Callable[[str, int], frozenset[str]], code: str) -> frozenset[str]:
    """Raises NotExpandable for too many."""
    found = ask(code, _MOST)
    if len(found) >= _MOST - 1:  # it may lack the code itself
        raise NotExpandable("more codes are meant than one search takes")
    return found


def _filtered(tree: Hierarchy, filter_: JsonObject) -> Codes:
    """What a filter keeps of a system whose hierarchy the site has loaded. Raises NotExpandable."""
    name, how, value = filter_.get("property"), filter_.get("op"), str(filter_.get("value", ""))
    if not tree.has(value):
        raise NotExpandable("a filter of the value set cannot be evaluated")
    match name, how:
        case "concept" | "code", "is-a":
            return Codes(_all(tree.below, value) | {value})
        case "concept" | "code", "descendent-of":
            return Codes(_all(tree.below, value))
        case "concept" | "code", "is-not-a":
            return Codes(_all(tree.below, value) | {value}, is_rest=True)
        case "ancestor", "=":
            return Codes(_all(tree.below, value))
        case "parent", "=":
            return Codes(_all(tree.children, value))
    raise NotExpandable("a filter of the value set cannot be evaluated")


def _explicit(listed: dict[str, frozenset[str]]) -> Expansion:
    return {system: Codes(codes) for system, codes in listed.items()}


@lru_cache(maxsize=64)
def _own_system(url: str) -> CodeSystem | None:
    """One of HL7's own code systems."""
    found = definitions.code_system(url)
    if found is None:
        return None
    return CodeSystem(
        {
            "concept": [
                {"code": code, "property": [{"code": "parent", "valueCode": one} for one in above]}
                for code, above in found.items()
            ]
        }
    )
