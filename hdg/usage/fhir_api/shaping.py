"""Parts of resources: ``_summary`` and ``_elements``. R4 search.html#summary, #elements.

What is left of a resource bears the tag SUBSETTED. Nothing is changed when neither is asked for: stored bytes go
out as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hdg.errors import BadRequest
from hdg.fhir import definitions, json
from hdg.usage.access import Results, Visible
from hdg.usage.fhir_api.query import Pairs, describe

__all__ = ["SHAPING", "Shape", "take_shape"]

JsonObject = dict[str, Any]
SHAPING = frozenset({"_summary", "_elements"})
_SUMMARIES = frozenset({"true", "text", "data", "count", "false"})
_SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules"})


@dataclass(frozen=True, slots=True)
class Shape:
    """``summary``: true, text, data, count or '' for none; ``elements``: names, each perhaps after ``Type.``."""

    summary: str = ""
    elements: frozenset[str] = frozenset()

    @property
    def is_count(self) -> bool:
        """Only the number of matches is asked for."""
        return self.summary == "count"

    def page(self, page: Results) -> Results:
        """The page in this shape; ``_elements`` is about the matches alone."""
        if not self.summary and not self.elements:
            return page
        included = self if self.summary else replace(self, elements=frozenset())
        return replace(
            page,
            matches=tuple(map(self.of, page.matches)),
            included=tuple(map(included.of, page.included)),
        )

    def of(self, visible: Visible) -> Visible:
        """A version in this shape."""
        if not visible.body or not (self.summary or self.elements):
            return visible
        content = json.loads(visible.body)
        kept = self._kept(content)
        meta = kept.get("meta", {})
        tags = [*meta.get("tag", ()), _SUBSETTED]
        return replace(visible, body=json.dumps({**kept, "meta": {**meta, "tag": tags}}))

    def _kept(self, content: JsonObject) -> JsonObject:
        type_: str = content["resourceType"]
        if self.summary == "data":
            return {name: value for name, value in content.items() if name != "text"}
        mandatory = _mandatory(type_)
        if self.summary == "text":
            return _only(content, type_, mandatory | {"text"})
        if self.elements:
            own = {name.removeprefix(f"{type_}.") for name in self.elements}
            return _only(content, type_, mandatory | own)
        return _summarised(content, type_, definitions.summary_elements(type_))


def _mandatory(type_: str) -> frozenset[str]:
    return _ALWAYS | {element.name for element in definitions.type_definition(type_).elements if element.min}


def _only(content: JsonObject, type_: str, names: frozenset[str] | set[str]) -> JsonObject:
    """The properties that are elements of ``names``; a choice and a primitive's companion go by its name."""
    return {key: value for key, value in content.items() if _name(type_, key) in names}


def _name(owner: str, key: str) -> str:
    name = key.removeprefix("_")
    info = definitions.element_info(owner, name)
    return info.definition.name if info is not None else name


def _summarised(content: JsonObject, path: str, listed: dict[str, frozenset[str]]) -> JsonObject:
    names = listed.get(path)
    if names is None:  # what is no resource or backbone element is kept whole
        return content
    names |= _mandatory(path)
    kept: JsonObject = {}
    for key, value in content.items():
        if _name(path, key) not in names:
            continue
        info = definitions.element_info(path, key)
        below = info.type if info is not None and info.type in listed else ""
        if below and type(value) is list:
            value = [_summarised(item, below, listed) for item in value]
        elif below and type(value) is dict:
            value = _summarised(value, below, listed)
        kept[key] = value
    return kept


def take_shape(given: Pairs, types: tuple[str, ...] = ()) -> tuple[Shape, Pairs]:
    """The shape that is asked for, and the other parameters. ``types``: to know the elements of.

    Raises BadRequest.
    """
    found: dict[str, str] = {}
    for name, value in given:
        if name in SHAPING:
            if name in found:
                raise BadRequest(f"{describe(name)} is given twice", code="value")
            found[name] = value
    if not found:
        return Shape(), given
    summary = found.get("_summary", "false")
    if summary not in _SUMMARIES:
        raise BadRequest("parameter '_summary': true, text, data, count or false", code="value")
    elements = frozenset(found["_elements"].split(",")) if "_elements" in found else frozenset()
    if elements and summary != "false":
        raise BadRequest("_summary and _elements cannot be combined", code="not-supported")
    for element in elements:
        if types and not any(_has(type_, element) for type_ in types):
            raise BadRequest("parameter '_elements': the type has no such element", code="value")
    rest = [pair for pair in given if pair[0] not in SHAPING]
    return Shape("" if summary == "false" else summary, elements), rest


def _has(type_: str, element: str) -> bool:
    name = element.removeprefix(f"{type_}.")
    return bool(name) and definitions.type_definition(type_).element(name) is not None
