"""What R4 4.0.1 defines: types, elements, codes of required bindings, search parameters, compartments.

The tables beside this file are made by scripts/generate_definitions.py from HL7's own package (CC0) and hold
one JSON line per type; a line is decoded when its type is first asked for. Sources:
R4 structuredefinition.html, R4 terminologies.html#required, R4 searchparameter.html,
R4 compartmentdefinition-patient.html.

    types.json        type → {kind, base, parts: {path: [base, [[name, types, cardinality, value set, targets,
                      content reference], …]]}, invariants: [[key, path, expression], …]}
    systems.json      HL7's own complete code systems by URL → [code or [code, parent, …], …]
    valuesets.json    value set by URL → {include, exclude}: its compose; null = it lists codes that are not HL7's
    codes.json        required value set → {system: [code, …]}; null = open or published elsewhere
    search.json       type, or Resource for all types → [[code, kind, expression, targets, components], …]
    compartment.json  type → search parameters that put a resource into a Patient's compartment
    compartments.json compartment (Device, Encounter, Patient, …) → type → the same

A backbone element's type is named by its path (``Patient.contact``), so it can be asked for like any type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

__all__ = [
    "ElementDefinition",
    "ElementInfo",
    "Invariant",
    "SearchParameter",
    "TypeDefinition",
    "code_system",
    "codes",
    "compartment_parameters",
    "compartments",
    "element_info",
    "is_primitive",
    "patient_compartment",
    "resource_types",
    "search_parameters",
    "type_definition",
    "type_names",
    "value_set",
]

Kind = Literal["resource", "complex", "backbone", "primitive"]
SearchKind = Literal[
    "token", "string", "date", "reference", "number", "quantity", "uri", "composite", "special"
]
_HERE = Path(__file__).resolve().parent
_BACKBONES = ("BackboneElement", "Element")


@dataclass(frozen=True, slots=True)
class Invariant:
    """An error-severity constraint: ``expression`` (FHIRPath) must hold for every item at ``path``."""

    key: str
    path: str
    expression: str


@dataclass(frozen=True, slots=True)
class ElementDefinition:
    """One element of a type.

    ``name`` is without ``[x]``. ``types`` are type names; a backbone element has its path as its type, a
    content reference the path it refers to. ``max`` is None for ``*``. ``binding`` names the required value
    set or is empty. ``targets`` are the resource types a Reference may name (empty: any).
    ``is_simple``: a Quantity that may have no comparator (SimpleQuantity).
    """

    name: str
    types: tuple[str, ...]
    min: int
    max: int | None
    binding: str
    targets: tuple[str, ...]
    is_choice: bool
    is_simple: bool

    @property
    def is_list(self) -> bool:
        """Whether JSON holds an array (maximum above one)."""
        return self.max != 1

    def json_names(self) -> tuple[tuple[str, str], ...]:
        """(property name, type) of each way to write the element: ``("valueQuantity", "Quantity")``, …"""
        if not self.is_choice:
            return ((self.name, self.types[0]),)
        return tuple((self.name + kind[0].upper() + kind[1:], kind) for kind in self.types)


@dataclass(frozen=True, slots=True)
class TypeDefinition:
    """A resource, data type, backbone element (named by its path) or primitive type."""

    name: str
    kind: Kind
    base: str
    is_abstract: bool
    elements: tuple[ElementDefinition, ...]
    invariants: tuple[Invariant, ...]

    def element(self, name: str) -> ElementDefinition | None:
        """The element of that name (a choice by its name without type: ``value``), or None."""
        return next((element for element in self.elements if element.name == name), None)


@dataclass(frozen=True, slots=True)
class ElementInfo:
    """How a JSON property is typed. ``types`` has several entries only for a choice without its type."""

    types: tuple[str, ...]
    is_list: bool
    is_choice: bool
    definition: ElementDefinition

    @property
    def type(self) -> str:
        """The type; for a choice named without its type the first one."""
        return self.types[0]


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """A search parameter of one resource type.

    ``expression`` holds the alternatives for that type. ``targets`` (references) is empty when any type may
    be the target. ``components`` (composites) are evaluated on each item that ``expression`` yields.
    """

    code: str
    kind: SearchKind
    expression: str
    targets: tuple[str, ...] = ()
    components: tuple[SearchParameter, ...] = ()


@cache
def _table(name: str) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode((_HERE / f"{name}.json").read_bytes(), type=dict[str, msgspec.Raw])


@cache
def _line(table: str, key: str) -> Any:
    raw = _table(table).get(key)
    return None if raw is None else msgspec.json.decode(raw)


@cache
def type_names() -> frozenset[str]:
    """Every type that has a definition of its own, abstract and primitive ones included."""
    return frozenset(_table("types"))


@cache
def resource_types() -> frozenset[str]:
    """The 146 concrete resource types."""
    names = (name for name, raw in _table("types").items() if b'"resource"' in bytes(raw)[:20])
    return frozenset(name for name in names if "abstract" not in _line("types", name))


@cache
def is_primitive(name: str) -> bool:
    """Whether the type is written as a JSON string, number or boolean (``xhtml`` included)."""
    line = _line("types", name)
    return line is not None and line["kind"] == "primitive"


@cache
def type_definition(name: str) -> TypeDefinition:
    """The definition of a type, or of a backbone element by its path; raises KeyError for anything else."""
    line = _line("types", name.partition(".")[0])
    if line is None:
        raise KeyError(name)
    if line["kind"] == "primitive":
        return TypeDefinition(name, "primitive", line["base"], False, (), ())
    base, rows = line["parts"][name]
    inherited = type_definition(base).elements if base else ()
    elements = (*inherited, *(_element(name, row) for row in rows))
    own = tuple(
        Invariant(*row)
        for row in line["invariants"]
        if row[1] == name or _owner(row[1], line["parts"]) == name
    )
    kind: Kind = "backbone" if "." in name else line["kind"]
    return TypeDefinition(name, kind, base, line.get("abstract", False), elements, own)


def _owner(path: str, parts: dict[str, Any]) -> str:
    """The part that an invariant on a plain element (``Organization.address``) belongs to."""
    return "" if path in parts else path.rpartition(".")[0]


def _element(owner: str, row: list[str]) -> ElementDefinition:
    name, types, cardinality, binding, targets, content = (*row, *[""] * (6 - len(row)))
    least, _, most = cardinality.partition("..")
    is_choice = name.endswith("[x]")
    if content:
        names: tuple[str, ...] = (content,)
    elif types in _BACKBONES:
        names = (f"{owner}.{name}",)
    else:
        names = tuple(kind.replace("SimpleQuantity", "Quantity") for kind in types.split("|"))
    return ElementDefinition(
        name=name.removesuffix("[x]"),
        types=names,
        min=int(least),
        max=None if most == "*" else int(most),
        binding=binding,
        targets=tuple(targets.split("|")) if targets else (),
        is_choice=is_choice,
        is_simple="SimpleQuantity" in types,
    )


@cache
def _infos(type_name: str) -> dict[str, ElementInfo]:
    infos: dict[str, ElementInfo] = {}
    for element in type_definition(type_name).elements:
        if element.is_choice:
            infos[element.name] = ElementInfo(element.types, element.is_list, True, element)
        for name, kind in element.json_names():
            infos[name] = ElementInfo((kind,), element.is_list, element.is_choice, element)
    return infos


def element_info(type_name: str, element: str) -> ElementInfo | None:
    """How ``element`` of a type (or backbone path) is typed, or None when there is no such element.

    ``valueQuantity`` resolves to type ``Quantity``, ``value`` to all types of the choice, and ``_birthDate``
    (the companion of a primitive) to ``Element``. Raises KeyError for an unknown type.
    """
    infos = _infos(type_name)
    info = infos.get(element)
    if info is None and element.startswith("_"):
        owner = infos.get(element[1:])
        if owner is not None and is_primitive(owner.type):
            return ElementInfo(("Element",), owner.is_list, False, owner.definition)
    return info


@cache
def codes(value_set: str) -> dict[str, frozenset[str]] | None:
    """System → codes of a required value set; None when it is open or its codes are published elsewhere.

    Raises KeyError when no required binding names that value set.
    """
    if value_set not in _table("codes"):
        raise KeyError(value_set)
    line = _line("codes", value_set)
    return None if line is None else {system: frozenset(listed) for system, listed in line.items()}


@cache
def code_system(url: str) -> dict[str, tuple[str, ...]] | None:
    """Code → the codes right above it, of one of HL7's own code systems; None for any other."""
    rows = _line("systems", url)
    if rows is None:
        return None
    return {
        (row if isinstance(row, str) else row[0]): () if isinstance(row, str) else tuple(row[1:])
        for row in rows
    }


@cache
def value_set(url: str) -> dict[str, Any] | None:
    """The compose of one of R4's own value sets; None when it lists codes that are not HL7's. Raises KeyError."""
    if url not in _table("valuesets"):
        raise KeyError(url)
    composed: dict[str, Any] | None = _line("valuesets", url)
    return composed


@cache
def search_parameters(resource_type: str) -> tuple[SearchParameter, ...]:
    """The search parameters of a resource type by code, those of all resources (``_id``, …) included."""
    rows = [*(_line("search", "Resource") or ()), *(_line("search", resource_type) or ())]
    return tuple(sorted((_parameter(row) for row in rows), key=lambda parameter: parameter.code))


def _parameter(row: list[Any]) -> SearchParameter:
    code, kind, expression, targets, *rest = row
    components = tuple(SearchParameter(*component) for component in (rest[0] if rest else ()))
    if (code, expression) == ("relationship", "DocumentReference.relatesTo"):
        components = _crossed(components)
    return SearchParameter(code, kind, expression, tuple(targets.split("|")) if targets else (), components)


def _crossed(components: tuple[SearchParameter, ...]) -> tuple[SearchParameter, ...]:
    """R4 4.0.1 gives the reference the expression of the code, and the other way round."""
    one, other = components
    return replace(one, expression=other.expression), replace(other, expression=one.expression)


@cache
def patient_compartment(resource_type: str) -> tuple[str, ...]:
    """The search parameters that put a resource into a Patient's compartment; empty: never in one."""
    return tuple(_line("compartment", resource_type) or ())


@cache
def summary_elements(resource_type: str) -> dict[str, frozenset[str]]:
    """Path of the resource or of a backbone element in it → the elements that belong to a summary.

    R4 search.html#summary; choices by their names without a type.
    """
    return {path: frozenset(names) for path, names in (_line("summary", resource_type) or {}).items()}


@cache
def compartments() -> frozenset[str]:
    """The types that have a compartment (R4 compartmentdefinition.html)."""
    return frozenset(_table("compartments"))


@cache
def compartment_parameters(compartment: str, resource_type: str) -> tuple[str, ...]:
    """The search parameters that put a resource into a compartment; empty: never in one.

    The resource that a compartment is of (``Encounter/1`` of its own) belongs to it without any.
    """
    line = _line("compartments", compartment) or {}
    return tuple(line.get(resource_type, ()))
