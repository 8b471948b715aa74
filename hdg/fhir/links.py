"""Links between the entries of a Bundle: where they stand in a resource, and pointing them somewhere else.

R4 http.html#trules: a server that gives new ids rewrites whatever names an entry by its fullUrl, in references,
in elements of type uri, url, canonical, oid or uuid, and in ``href`` and ``src`` of narrative. R4
bundle.html#references: a relative reference counts from the root of its own entry's fullUrl.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from html import escape, unescape
from typing import Any

from hdg.fhir.definitions import element_info
from hdg.fhir.json import JsonObject

__all__ = ["OPERATIONS", "Links", "is_condition"]

OPERATIONS = "operations"
"""Where a JSON Patch stands that is looked through like a resource."""

_URIS = frozenset({"uri", "url", "canonical", "oid", "uuid"})
_URN = re.compile(r"urn:(uuid|oid):")
_RELATIVE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_CONDITION = re.compile(r"[A-Z][A-Za-z]+\?.")
_ROOTED = re.compile(r"(https?://\S+)/[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_ATTRIBUTE = re.compile(r"""(\b(?:href|src)\s*=\s*)("[^"]*"|'[^']*')""")
Path = tuple[str | int, ...]


def is_condition(text: str) -> bool:
    """Whether a reference is a search (``Patient?identifier=…``, R4 http.html#trules)."""
    return _CONDITION.match(text) is not None


class Links:
    """The links of one resource, which ``point`` changes in place.

    ``full_url``: its own entry's ('' for none); ``known``: the fullUrls of the Bundle; ``patched``: the type that a
    JSON Patch is for.
    """

    def __init__(
        self, resource: JsonObject, full_url: str, known: Collection[str], patched: str = ""
    ) -> None:
        rooted = _ROOTED.fullmatch(full_url)
        self._root = f"{rooted[1]}/" if rooted else ""
        self._known = known
        self._patched = patched
        self._held: list[tuple[Any, str | int, str]] = []
        self._prose: list[tuple[JsonObject, str]] = []
        self.targets: set[str] = set()
        """The fullUrls that it names."""
        self.conditions: set[str] = set()
        """The searches by which it refers to something."""
        self.dangling: list[str] = []
        """FHIRPath of references by URN to what is no entry."""
        found: list[tuple[Path, Any, str]] = []
        _find(resource, (), known, found)
        for path, holder, text in found:
            self._note(resource, path, holder, text)

    def _note(self, resource: JsonObject, path: Path, holder: Any, text: str) -> None:
        key = path[-1]
        if key == "div":
            if any(name in text for name in ("href", "src")):
                self._prose.append((holder, text))
                found = {unescape(match[2][1:-1]) for match in _ATTRIBUTE.finditer(text)}
                self.targets.update(found.intersection(self._known))
            return
        is_reference = type(holder) is dict and (key == "reference" or _is_patched(path, holder))
        target = text
        if is_reference and self._root and _RELATIVE.fullmatch(text):
            target = self._root + text
        if target in self._known:
            if is_reference or self._type(resource, path) in _URIS:
                self.targets.add(target)
                self._held.append((holder, key, target))
        elif is_reference and is_condition(text):
            self.conditions.add(text)
            self._held.append((holder, key, text))
        elif is_reference and _URN.match(text):
            self.dangling.append(_expression(resource, path))

    def _type(self, resource: JsonObject, path: Path) -> str:
        """The type of an element; of a JSON Patch, of the one that its operation makes (RFC 6901)."""
        if path[0] != OPERATIONS:
            return _type_at(resource, path)
        if len(path) < 3 or path[2] != "value":
            return ""
        pointer = str(resource[OPERATIONS][path[1]].get("path"))
        kind = self._patched
        for step in map(str, (*pointer.split("/")[1:], *path[3:])):
            if step == "-" or step.isdecimal():
                continue
            try:
                info = element_info(kind, step)
            except KeyError:
                return ""
            if info is None:
                return ""
            kind = info.type
        return kind

    def point(self, places: Mapping[str, str]) -> None:
        """Each link to a key of ``places`` now names its value; the others stay. May be called again."""
        for holder, key, target in self._held:
            if target in places:
                holder[key] = places[target]
        for narrative, text in self._prose:
            narrative["div"] = _ATTRIBUTE.sub(lambda match: _pointed(match, places), text)


def _is_patched(path: Path, operation: JsonObject) -> bool:
    """Whether it is the value that an operation of a JSON Patch gives to a reference (RFC 6902 §4)."""
    is_value = len(path) == 3 and path[0] == OPERATIONS and path[2] == "value"
    return is_value and str(operation.get("path")).endswith("/reference")


def _pointed(match: re.Match[str], places: Mapping[str, str]) -> str:
    place = places.get(unescape(match[2][1:-1]))
    return match[0] if place is None else f'{match[1]}"{escape(place)}"'


def _find(value: Any, path: Path, known: Collection[str], found: list[tuple[Path, Any, str]]) -> None:
    """Every text that may be a link, with its path and what holds it."""
    for key, item in value.items() if type(value) is dict else enumerate(value):
        kind = type(item)
        if kind is dict or kind is list:
            _find(item, (*path, key), known, found)
        elif kind is str and (key == "reference" or key == "div" or item in known):
            found.append(((*path, key), value, item))


def _type_at(resource: JsonObject, path: Path) -> str:
    """The R4 type of an element; '' when it is not defined."""
    node: Any = resource
    kind = ""
    for step in path:
        if type(node) is dict:
            if "resourceType" in node and kind in ("", "Resource"):
                kind = str(node["resourceType"])
            try:
                info = element_info(kind, str(step))
            except KeyError:
                return ""
            if info is None:
                return ""
            kind = info.type
        node = node[step]
    return kind


def _expression(resource: JsonObject, path: Path) -> str:
    if OPERATIONS in resource:
        return "Binary.data"
    steps = "".join(f"[{step}]" if type(step) is int else f".{step}" for step in path)
    return f"{resource.get('resourceType')}{steps}"
