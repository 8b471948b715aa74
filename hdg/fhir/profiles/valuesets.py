"""Whether a code belongs to a value set: yes, no, or not to be told with what is loaded, and why.

R4 valueset.html#compose, R4 codesystem.html#content. Value sets are worked out from their compose, else from their
expansion, with the code systems of the loaded packages; R4's own required ones come from hdg.fhir.definitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from hdg.fhir import definitions
from hdg.fhir.profiles.library import Library

__all__ = ["CodeSystem", "ValueSets", "Verdict", "listed_codes"]

JsonObject = dict[str, Any]
_CORE = "http://hl7.org/fhir/ValueSet/"
_DEEPEST = 16
"""Value sets that import value sets."""


class Verdict(NamedTuple):
    """``is_in`` None: cannot be told, for the reason ``why``."""

    is_in: bool | None
    why: str = ""


_YES, _NO = Verdict(True), Verdict(False)
Test = Callable[[str | None, str], Verdict]
"""(system, or None for a code that stands alone; code) → verdict."""


def _any(verdicts: Iterable[Verdict]) -> Verdict:
    unknown = None
    for verdict in verdicts:
        if verdict.is_in:
            return _YES
        unknown = verdict if verdict.is_in is None else unknown
    return unknown or _NO


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    unknown = None
    for verdict in verdicts:
        if verdict.is_in is False:
            return _NO
        unknown = verdict if verdict.is_in is None else unknown
    return unknown or _YES


def _unknown(why: str) -> Test:
    verdict = Verdict(None, why)
    return lambda system, code: verdict


class ValueSets:
    """The value sets of a library, compiled when they are first asked for."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._tests: dict[str, Test] = {}
        self._systems: dict[str, CodeSystem | None] = {}

    def test(self, canonical: str) -> Test:
        """The test of a value set."""
        return self._test(canonical, 0)

    def _test(self, canonical: str, depth: int) -> Test:
        known = self._tests.get(canonical)
        if known is None:
            known = self._tests[canonical] = self._made(canonical, depth)
        return known

    def _made(self, canonical: str, depth: int) -> Test:
        if depth > _DEEPEST:
            return _unknown("value sets that import each other")
        found = self._library.find("ValueSet", canonical)
        if found is None:
            core = _core_codes(canonical)
            if core is not None:
                return _listed(core)
            return _unknown("the value set is not loaded")
        compose = found.get("compose")
        expansion = listed_codes(found)
        if not compose or not compose.get("include"):
            return _unknown("the value set lists nothing") if expansion is None else _listed(expansion)
        composed = self._composed(compose, depth)
        if expansion is None:
            return composed
        expanded = _listed(expansion)

        def either(system: str | None, code: str) -> Verdict:
            verdict = composed(system, code)
            return expanded(system, code) if verdict.is_in is None else verdict

        return either

    def _composed(self, compose: JsonObject, depth: int) -> Test:
        includes = [self._part(part, depth) for part in compose["include"]]
        excludes = [self._part(part, depth) for part in compose.get("exclude", ())]

        def test(system: str | None, code: str) -> Verdict:
            inside = _any(one(system, code) for one in includes)
            if not excludes or inside.is_in is False:
                return inside
            outside = _any(one(system, code) for one in excludes)
            if outside.is_in:
                return _NO
            return outside if outside.is_in is None else inside

        return test

    def _part(self, part: JsonObject, depth: int) -> Test:
        """One include or exclude: all that it says must hold."""
        tests = [self._test(url, depth + 1) for url in part.get("valueSet", ())]
        system = part.get("system")
        if system is not None:
            tests.append(self._of_system(system, part))
        if not tests:
            return _unknown("a part of the value set that names neither system nor value set")
        if len(tests) == 1:
            return tests[0]
        return lambda found, code: _all(test(found, code) for test in tests)

    def _of_system(self, url: str, part: JsonObject) -> Test:
        concepts = part.get("concept")
        if concepts:
            return _listed({url: frozenset(one.get("code", "") for one in concepts)})
        if url not in self._systems:
            found = self._library.find("CodeSystem", url)
            is_whole = found is not None and found.get("content") == "complete"
            self._systems[url] = CodeSystem(found) if found is not None and is_whole else None
        loaded = self._systems[url]
        if loaded is None:
            why = Verdict(None, f"the code system {url} is not loaded as a whole")
            return lambda system, code: why if system in (None, url) else _NO
        codes = loaded.codes
        for filter_ in part.get("filter", ()):
            kept = loaded.filtered(filter_)
            if kept is None:
                why = Verdict(None, f"a filter on {url} that is not supported")
                return lambda system, code: why if system in (None, url) and code in codes else _NO
            codes = codes & kept
        return _listed({url: codes})


def _core_codes(canonical: str) -> dict[str, frozenset[str]] | None:
    """The codes of one of R4's own required value sets."""
    url = canonical.partition("|")[0]
    try:
        return definitions.codes(url.removeprefix(_CORE)) if url.startswith(_CORE) else None
    except KeyError:
        return None


def _listed(by_system: dict[str, frozenset[str]]) -> Test:
    every = frozenset().union(*by_system.values())

    def test(system: str | None, code: str) -> Verdict:
        codes = every if system is None else by_system.get(system, ())
        return _YES if code in codes else _NO

    return test


def listed_codes(value_set: JsonObject) -> dict[str, frozenset[str]] | None:
    """System → codes of a value set's expansion, if it is whole; None for any other."""
    expansion = value_set.get("expansion") or {}
    listed = list(_contained(expansion.get("contains", ())))
    if not listed or expansion.get("offset") or expansion.get("total", 0) > len(listed):
        return None
    if any(one.get("url", "").endswith("toocostly") for one in expansion.get("extension", ())):
        return None
    found: dict[str, set[str]] = {}
    for one in listed:
        if "code" in one and not one.get("abstract"):
            found.setdefault(one.get("system", ""), set()).add(one["code"])
    return {system: frozenset(codes) for system, codes in found.items()}


def _contained(contains: Iterable[JsonObject]) -> Iterator[JsonObject]:
    for one in contains:
        yield one
        yield from _contained(one.get("contains", ()))


class CodeSystem:
    """A complete code system: its codes, and which lie below which."""

    def __init__(self, definition: JsonObject) -> None:
        self._parents: dict[str, set[str]] = {}
        self._properties: dict[str, list[JsonObject]] = {}
        self._walk(definition.get("concept", ()), "")
        self.codes = frozenset(self._parents)

    def _walk(self, concepts: Iterable[JsonObject], above: str) -> None:
        for concept in concepts:
            code = concept.get("code", "")
            parents = self._parents.setdefault(code, set())
            properties = concept.get("property", [])
            parents.update({above} if above else ())
            parents.update(one["valueCode"] for one in properties if _is_parent(one))
            self._properties[code] = properties
            self._walk(concept.get("concept", ()), code)

    def filtered(self, filter_: JsonObject) -> frozenset[str] | None:
        """The codes that a filter keeps; None for one that is not supported. R4 valueset-filter-operator."""
        name, how, value = filter_.get("property"), filter_.get("op"), str(filter_.get("value", ""))
        if name in ("concept", "code"):
            if how == "is-a":
                return self.below(value) | ({value} & self.codes)
            if how in ("descendent-of", "is-not-a"):
                below = self.below(value)
                return below if how == "descendent-of" else self.codes - below - {value}
        if how == "in" and name in ("concept", "code"):
            return self.codes & {part.strip() for part in value.split(",")}
        if how == "=" and name == "code":
            return self.codes & {value}
        if how == "regex" and name == "code":
            try:
                pattern = re.compile(value)
            except re.error:
                return None
            return frozenset(code for code in self.codes if pattern.fullmatch(code))
        if how in ("=", "in"):
            wanted = {value} if how == "=" else {part.strip() for part in value.split(",")}
            return self._having(str(name), wanted)
        return None

    def _having(self, name: str, wanted: set[str]) -> frozenset[str] | None:
        """Codes with a property of a value; None when no concept has such a property at all."""
        said = {code: _texts(properties, name) for code, properties in self._properties.items()}
        if not any(said.values()):
            return None
        return frozenset(code for code, texts in said.items() if texts & wanted)

    def above(self, code: str) -> frozenset[str]:
        """The codes that a code is a kind of, without itself."""
        found: set[str] = set()
        todo = [code]
        while todo:
            new = self._parents.get(todo.pop(), set()) - found
            found |= new
            todo += new
        return frozenset(found - {code})

    def below(self, top: str) -> frozenset[str]:
        """The codes that are kinds of a code, without itself."""
        found: set[str] = set()
        todo = [top]
        children: dict[str, list[str]] = {}
        for code, parents in self._parents.items():
            for parent in parents:
                children.setdefault(parent, []).append(code)
        while todo:
            for code in children.get(todo.pop(), ()):
                if code not in found:
                    found.add(code)
                    todo.append(code)
        return frozenset(found)


def _is_parent(property_: JsonObject) -> bool:
    return property_.get("code") in ("parent", "subsumedBy") and "valueCode" in property_


def _texts(properties: Iterable[JsonObject], name: str) -> set[str]:
    found = set()
    for one in properties:
        value = next((one[key] for key in one if key.startswith("value")), None)
        if one.get("code") == name and value is not None and not isinstance(value, dict):
            found.add(str(value).lower() if isinstance(value, bool) else str(value))
    return found
