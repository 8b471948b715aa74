"""The allow-list, compiled: which elements of which types a researcher is shown, and what must then stand there.

elements.csv names the elements (a choice with its types); whatever it does not name is left out. modifiers.json
names those that R4 marks isModifier (R4 conformance-rules.html#isModifier): where one of them is present and not
listed, what remains could say the opposite, so the resource is not shown.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from hdg.errors import TableError
from hdg.fhir.definitions import ElementDefinition, is_primitive, type_definition

__all__ = ["LISTED", "SHOWN", "Member", "Shape", "shape", "shown_elements"]

_HERE = Path(__file__).resolve().parent
_NUMBERS = frozenset({"boolean", "integer", "unsignedInt", "positiveInt", "decimal"})
_TIMES = frozenset({"date", "dateTime", "instant", "time", "Period", "Timing"})
_CODED = frozenset({"code", "CodeableConcept", "Coding", "Quantity", "Age", "Duration", "Range", "Ratio"})
_VALUES = _NUMBERS | _TIMES | _CODED | {"Reference", "SampledData", "Address", "Dosage"}
"""The types whose values can be shown. No string, markdown, uri, id or base64Binary: they take any text."""
_SAMPLES = "SampledData.data"  # a string, shown only where it is numbers


@dataclass(frozen=True, slots=True)
class Member:
    """A property that may be shown.

    ``element``: its name without a type. ``binding``: the required value set of a code, or empty.
    """

    name: str
    element: str
    kind: str
    is_list: bool
    is_primitive: bool
    is_backbone: bool
    is_modifier: bool
    is_simple: bool
    binding: str
    targets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is shown of a type or backbone element.

    ``masks``: property → the member that says, masked, that something is there that is not shown.
    ``modifiers``: properties that are not shown and must not be there. ``required``: the properties of which R4
    wants one, and the member that stands for it.
    """

    members: Mapping[str, Member]
    masks: Mapping[str, Member]
    modifiers: frozenset[str]
    required: tuple[tuple[frozenset[str], Member], ...]


def _read() -> Mapping[str, frozenset[str]]:
    """Element → the types of a choice that are shown (empty: it is no choice)."""
    with (_HERE / "elements.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["element"]: frozenset(filter(None, row["types"].split("|"))) for row in rows}


LISTED = _read()
"""Every row of elements.csv: path → types of a choice that are shown."""
SHOWN: Mapping[str, frozenset[str]] = {
    name: frozenset(element for element in LISTED if element.startswith(name + "."))
    for name in LISTED
    if "." not in name
}
"""Resource type → paths of its shown elements (``Observation.component.code``). Other types are not shown."""


def shown_elements(type_name: str) -> frozenset[str]:
    """Paths of the elements of a resource type that are shown; empty: nothing of the type is.

    A shown CodeableConcept or Coding shows its codes alone, no text or display; a Reference its type and pseudonym.
    """
    return SHOWN.get(type_name, frozenset())


@cache
def _modifiers() -> Mapping[str, frozenset[str]]:
    return msgspec.json.decode((_HERE / "modifiers.json").read_bytes(), type=dict[str, frozenset[str]])


@cache
def shape(owner: str) -> Shape:
    """What is shown of a type, or of a backbone element by its path. Raises TableError for a wrong allow-list."""
    definition = type_definition(owner)
    modifying = _modifiers().get(owner, frozenset())
    members: dict[str, Member] = {}
    masks: dict[str, Member] = {}
    hidden: set[str] = set()
    required: list[tuple[frozenset[str], Member]] = []
    for element in definition.elements:
        own = [_member(element, name, kind, element.name in modifying) for name, kind in element.json_names()]
        every = frozenset(name for member in own for name in (member.name, "_" + member.name))
        path = f"{owner}.{element.name}"
        if path not in LISTED:
            if element.name in modifying:
                hidden |= every
            if element.min:
                required.append((every, own[0]))
            continue
        kinds = LISTED[path]
        if kinds - set(element.types) or element.is_choice is not bool(kinds):
            raise TableError("elements.csv", 0, f"{path}: the types are not those of a choice")
        shown = [member for member in own if not kinds or member.kind in kinds]
        if any(not (member.kind in _VALUES or member.is_backbone) for member in shown) and path != _SAMPLES:
            raise TableError("elements.csv", 0, f"{path}: values of such a type are never shown")
        members |= {member.name: member for member in shown}
        masks |= dict.fromkeys(every, shown[0])
        if element.min:
            required.append((every, shown[0]))
    return Shape(members, masks, frozenset(hidden), tuple(required))


def _member(element: ElementDefinition, name: str, kind: str, is_modifier: bool) -> Member:
    return Member(
        name=name,
        element=element.name,
        kind=kind,
        is_list=element.is_list,
        is_primitive=is_primitive(kind),
        is_backbone="." in kind,
        is_modifier=is_modifier,
        is_simple=element.is_simple,
        binding=element.binding,
        targets=frozenset(element.targets),
    )
