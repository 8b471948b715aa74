"""Makes wrong resources out of right ones: every mutant comes with the place that must be blamed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hdg.fhir.definitions import (
    ElementInfo,
    codes,
    element_info,
    is_primitive,
    resource_types,
    type_definition,
)
from hdg.fhir.json import JsonObject

Key = str | int
Path = tuple[Key, ...]


@dataclass(frozen=True)
class Spot:
    """One property of one object in a resource."""

    path: Path  # where the value is in the JSON
    place: str  # its FHIRPath
    owner_type: str
    info: ElementInfo


@dataclass(frozen=True)
class Change:
    """What to do to a resource: set or delete what lies at a JSON path. Made only when it is asked for."""

    resource: JsonObject
    path: Path
    value: Any = None
    is_removal: bool = False

    def made(self) -> JsonObject:
        result = copy.deepcopy(self.resource)
        owner = get(result, self.path[:-1])
        if self.is_removal:
            del owner[self.path[-1]]
        else:
            owner[self.path[-1]] = self.value
        return result


@dataclass(frozen=True)
class Mutant:
    kind: str
    place: str
    change: Change

    @property
    def resource(self) -> JsonObject:
        return self.change.made()


def objects(resource: JsonObject) -> Iterator[tuple[Path, str, str]]:
    """(JSON path, FHIRPath, type) of every object whose type is known."""
    pending: list[tuple[Path, str, str, Any]] = [
        ((), resource["resourceType"], resource["resourceType"], resource)
    ]
    while pending:
        path, place, kind, value = pending.pop()
        yield path, place, kind
        for spot in spots_of(value, path, place, kind):
            if is_primitive(spot.info.type):
                continue
            found = get(resource, spot.path)
            items = list(enumerate(found)) if isinstance(found, list) else [(None, found)]
            for index, item in items:
                at = spot.path if index is None else (*spot.path, index)
                there = spot.place if index is None else f"{spot.place}[{index}]"
                inner = item["resourceType"] if spot.info.type == "Resource" else spot.info.type
                pending.append((at, there, inner, item))


def spots_of(value: JsonObject, path: Path, place: str, kind: str) -> Iterator[Spot]:
    for key in value:
        info = element_info(kind, key)
        if info is not None and not key.startswith("_"):
            yield Spot((*path, key), f"{place}.{info.definition.name}", kind, info)


def every_spot(resource: JsonObject) -> list[Path]:
    """The JSON path of every property of every object."""
    return [
        spot.path
        for path, place, kind in objects(resource)
        for spot in spots_of(get(resource, path), path, place, kind)
    ]


def get(resource: JsonObject, path: Path) -> Any:
    value: Any = resource
    for key in path:
        value = value[key]
    return value


def changed(resource: JsonObject, path: Path, value: Any) -> Change:
    return Change(resource, path, value)


def removed(resource: JsonObject, path: Path) -> Change:
    return Change(resource, path, is_removal=True)


def mutants(resource: JsonObject) -> Iterator[Mutant]:
    """Every mutant of a valid resource."""
    for path, place, kind in objects(resource):
        owner = get(resource, path)
        yield Mutant("unknown element", f"{place}.zz", changed(resource, (*path, "zz"), 1))
        yield Mutant("unknown companion", f"{place}._zz", changed(resource, (*path, "_zz"), {"id": "1"}))
        if path:
            yield Mutant("empty object", place, changed(resource, path, {}))
            yield Mutant("text for an object", place, changed(resource, path, "zz"))
        for element in type_definition(kind).elements:
            names = [name for name, _ in element.json_names()]
            present = [name for name in names if name in owner]
            if element.min and present and not any("_" + name in owner for name in names):
                blamed = f"{place}.{element.name}" if len(owner) > 1 else place  # else nothing is left of it
                yield Mutant("missing required", blamed, removed(resource, (*path, present[0])))
            other = next((name for name in names if name not in owner), None)
            if element.is_choice and present and other:
                double = changed(resource, (*path, other), right_value(dict(element.json_names())[other]))
                yield Mutant("two types of a choice", f"{place}.{element.name}", double)
        for spot in spots_of(owner, path, place, kind):
            yield from property_mutants(resource, spot)


def right_value(kind: str) -> Any:
    texts = {"boolean": True, "decimal": 1, "integer": 1, "positiveInt": 1, "unsignedInt": 1}
    return texts.get(kind, "2000-01-01") if is_primitive(kind) else {"id": "1"}


def property_mutants(resource: JsonObject, spot: Spot) -> Iterator[Mutant]:
    value = get(resource, spot.path)
    if spot.info.is_list:
        yield Mutant("empty array", spot.place, changed(resource, spot.path, []))
        yield Mutant("item for an array", spot.place, changed(resource, spot.path, value[0]))
        yield Mutant(
            "null in an array", f"{spot.place}[{len(value)}]", changed(resource, spot.path, [*value, None])
        )
        path, place, item = (*spot.path, 0), f"{spot.place}[0]", value[0]
    else:
        yield Mutant("array for one", spot.place, changed(resource, spot.path, [value]))
        yield Mutant("null", spot.place, changed(resource, spot.path, None))
        path, place, item = spot.path, spot.place, value
    if item is None:
        return
    yield from value_mutants(resource, spot, path, place, item)


def value_mutants(resource: JsonObject, spot: Spot, path: Path, place: str, item: Any) -> Iterator[Mutant]:
    kind = spot.info.type
    for name, wrong in WRONG_VALUES.get(kind, ()):
        yield Mutant(name, place, changed(resource, path, wrong))
    if is_primitive(kind) and isinstance(item, str):
        yield Mutant("empty string", place, changed(resource, path, ""))
        yield Mutant("number for text", place, changed(resource, path, 7))
        yield Mutant("object for a primitive", place, changed(resource, path, {"value": item}))
    if kind == "code" and spot.info.definition.binding and codes(spot.info.definition.binding) is not None:
        yield Mutant("code outside a required binding", place, changed(resource, path, "zz-no-such-code"))
    if kind == "Reference" and spot.info.definition.targets:
        bad = sorted(resource_types() - set(spot.info.definition.targets))[0]
        yield Mutant("bad reference type", place, changed(resource, path, {"reference": f"{bad}/1"}))
    if kind == "Reference":
        unknown = changed(resource, path, {"reference": "Zzz/1"})
        yield Mutant("reference to no resource type", f"{place}.reference", unknown)
        dangling = changed(resource, path, {"reference": "#zz-no-such-id"})
        yield Mutant("dangling local reference", f"{place}.reference", dangling)


WRONG_VALUES: dict[str, tuple[tuple[str, Any], ...]] = {
    "boolean": (('"true" for a boolean', "true"), ("1 for a boolean", 1)),
    "date": (
        ("31 February", "2023-02-31"),
        ("a date with time", "2023-02-01T10:00:00Z"),
        ("month 13", "2023-13"),
    ),
    "dateTime": (
        ("31 February", "2023-02-31"),
        ("no offset", "2023-02-01T10:00:00"),
        ("hour 25", "2023-02-01T25:00:00Z"),
    ),
    "instant": (("31 February", "2023-02-31T10:00:00Z"), ("a date for an instant", "2023-02-01")),
    "time": (("minute 60", "10:60:00"), ("time without seconds", "10:00")),
    "integer": (("text for a number", "1"), ("a boolean for a number", True), ("beyond 32 bits", 1 << 31)),
    "positiveInt": (("zero for a positiveInt", 0), ("text for a number", "1")),
    "unsignedInt": (("negative unsignedInt", -1), ("text for a number", "1")),
    "decimal": (("text for a number", "1.5"), ("a boolean for a number", True)),
    "id": (("bad id", "a b"), ("long id", "a" * 65)),
    "uri": (("blank in a uri", "urn: x"),),
    "url": (("blank in a url", "http://x y"),),
    "canonical": (("blank in a canonical", "http://x y"),),
    "code": (("blanks around a code", " final "),),
    "base64Binary": (("not base64", "abc"),),
    "oid": (("not an oid", "1.2.3"),),
    "uuid": (("not a uuid", "urn:uuid:1"),),
    "string": (("control character", "a\x00b"),),
    "markdown": (("control character", "a\x07b"),),
    "xhtml": (
        ("script in a narrative", '<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>'),
    ),
}


def sample(
    all_mutants: Callable[[JsonObject], Iterator[Mutant]], resource: JsonObject, count: int
) -> list[Mutant]:
    """A repeatable choice of mutants."""
    every = list(all_mutants(resource))
    return random.Random(str(resource.get("id"))).sample(every, min(count, len(every)))
