"""Search parameters that are not R4's own: what a SearchParameter resource asks for, checked, and its index rows.

R4 searchparameter.html. Pure. ``definition_of`` refuses whatever could not be indexed as it says, and names the
element. The numbers of their rows lie above all of R4's (which have 31 bits), and every new or changed definition
gets new ones: rows of two definitions never mix.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from hdg.errors import Issue, ValidationFailed
from hdg.fhir import definitions, path
from hdg.fhir.path_branches import Env
from hdg.management.store.composites import (
    COMBINED_EACH,
    COMBINED_MAX,
    COMPOSITE_BLANK,
    combined,
    composite_slots,
)
from hdg.management.store.emit import Emit, emitters
from hdg.management.store.index import KINDS, IndexRows
from hdg.management.store.values import Hash
from hdg.throttle import Throttle

__all__ = [
    "INDEXED",
    "TEXTS",
    "Component",
    "CustomSet",
    "Definition",
    "Parameter",
    "Rows",
    "TextStand",
    "definition_of",
    "selected",
]

JsonObject = dict[str, Any]

_TEXTS = ("string", "markdown", "code", "id")
_URIS = ("uri", "url", "canonical", "oid", "uuid")
INDEXED: Mapping[str, frozenset[str]] = {
    "token": frozenset(
        {"boolean", "code", "string", "id", *_URIS, "Coding", "CodeableConcept", "Identifier", "ContactPoint"}
    ),
    "reference": frozenset({"Reference", "canonical", "uri", "url"}),
    "string": frozenset({*_TEXTS, "HumanName", "Address"}),
    "uri": frozenset(_URIS),
    "date": frozenset({"date", "dateTime", "instant", "Period", "Timing"}),
    "number": frozenset({"integer", "decimal", "positiveInt", "unsignedInt"}),
    "quantity": frozenset({"Quantity", "Money", "Age", "Duration", "Count", "Distance"}),
}
"""Kind of parameter → the types of values that make rows (R4 search.html#table)."""
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,63}", re.ASCII)
_R4_OWN = "http://hl7.org/fhir/SearchParameter/"
_NUMBERS_FROM = 1 << 31
_NUMBERS_EACH = 1024
"""Numbers of one definition: one a resource type."""
_EXPRESSION_MAX = 4000
_FAILURES = (
    path.PathError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
log = logging.getLogger("hdg.store")
_tell = Throttle(log)


@dataclass(frozen=True, slots=True)
class Component:
    """One of a composite: evaluated on each item that the whole expression yields."""

    code: str
    kind: str
    expression: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What of a SearchParameter decides what is indexed. ``bases``: concrete resource types, sorted."""

    url: str
    code: str
    kind: str
    bases: tuple[str, ...]
    expression: str
    targets: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()

    def as_json(self) -> JsonObject:
        """For the database."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: JsonObject) -> Definition:
        """What ``as_json`` gave."""
        components = tuple(Component(**each) for each in told["components"])
        bases, targets = tuple(told["bases"]), tuple(told["targets"])
        return cls(**{**told, "bases": bases, "targets": targets, "components": components})

    def meets(self, other: Definition) -> bool:
        """Whether both are asked by the same name for some type."""
        return self.code == other.code and not set(self.bases).isdisjoint(other.bases)


def definition_of(content: JsonObject) -> Definition | None:
    """Of a valid SearchParameter. None: there is nothing to index (R4's own, under another URL).

    Raises ValidationFailed with the element that cannot be had.
    """
    code = str(content["code"])
    if not _CODE.fullmatch(code):
        raise _refused("code", "letters, digits, - and _ are expected, a letter first")
    if content.get("modifierExtension") or content.get("xpathUsage", "normal") != "normal":
        raise _refused("xpathUsage", "only what the expression says can be indexed")
    kind, bases = str(content["type"]), _bases(content["base"])
    taken = [type_ for type_ in bases if any(p.code == code for p in definitions.search_parameters(type_))]
    if taken and not _is_r4_own(content):
        text = (
            f"R4 itself defines this code for {taken[0]}; derivedFrom would have to name R4's own parameter"
        )
        raise _refused("code", text, "duplicate")
    bases = tuple(type_ for type_ in bases if type_ not in taken)
    if not bases:
        return None
    expression = str(content.get("expression", ""))
    if not expression:
        raise _refused("expression", "an expression is needed", "required")
    if len(expression) > _EXPRESSION_MAX:
        raise _refused("expression", f"longer than {_EXPRESSION_MAX} characters", "too-long")
    targets = tuple(sorted(content.get("target", ()))) if kind == "reference" else ()
    if not definitions.resource_types().issuperset(targets):
        targets = ()  # Resource: any
    components = _components(content) if kind == "composite" else ()
    made = Definition(str(content["url"]), code, kind, bases, expression, targets, components)
    if kind == "composite":
        _check_composite(made)
    else:
        _check_single(made)
    return made


def _refused(element: str, text: str, code: str = "not-supported") -> ValidationFailed:
    return ValidationFailed([Issue("error", code, f"SearchParameter.{element}", text)])


def _is_r4_own(content: JsonObject) -> bool:
    named = (content["url"], content.get("derivedFrom", ""))
    return any(str(url).startswith(_R4_OWN) for url in named)


def _bases(listed: Iterable[str]) -> tuple[str, ...]:
    every = definitions.resource_types()
    found: set[str] = set()
    for name in listed:
        if name in ("Resource", "DomainResource"):
            found |= every
        elif name in every:
            found.add(name)
    return tuple(sorted(found))


def _components(content: JsonObject) -> tuple[Component, ...]:
    """The components, each with the kind and code of the parameter of R4 that it names."""
    found = []
    for number, each in enumerate(content.get("component", ())):
        place = f"component[{number}]"
        kind = _kind_of(str(each["definition"]))
        if not kind:
            raise _refused(f"{place}.definition", "not a search parameter of R4 whose kind is known")
        found.append(Component(str(number), kind, str(each["expression"])))
    if len(found) < 2:
        raise _refused("component", "a composite has two components or more", "required")
    return tuple(found)


def _kind_of(url: str) -> str:
    """The kind of R4's parameter of that URL (``…/SearchParameter/Observation-value-quantity``), '' if unknown.

    Several types may share one (``clinical-code``): then all that have the code must agree.
    """
    owner, dash, code = url.partition("|")[0].removeprefix(_R4_OWN).partition("-")
    if not url.startswith(_R4_OWN) or not dash:
        return ""
    every = definitions.resource_types()
    owners = [owner] if owner in every else sorted(every)
    kinds = {p.kind for type_ in owners for p in definitions.search_parameters(type_) if p.code == code}
    return kinds.pop() if len(kinds) == 1 else ""


def _compiled(expression: str, element: str, type_: str = "") -> path.Path:
    try:
        return path.compile(expression, type_)
    except path.PathError as error:
        raise _refused(element, f"it cannot be evaluated here: {error}") from None


def _check_single(made: Definition) -> None:
    wanted = INDEXED.get(made.kind)
    if wanted is None:
        raise _refused("type", f"{made.kind} cannot be indexed")
    types = _compiled(made.expression, "expression").types
    if wanted.isdisjoint(types):
        shown = ", ".join(sorted(types)[:3]) or "nothing"
        raise _refused("expression", f"it yields {shown}, which {made.kind} does not index")


def _check_composite(made: Definition) -> None:
    if composite_slots(tuple(each.kind for each in made.components)) is None:
        raise _refused("component", "a composite of these kinds cannot be indexed")
    root = _compiled(made.expression, "expression")
    for number, each in enumerate(made.components):
        place = f"component[{number}].expression"
        wanted = INDEXED.get(each.kind, frozenset())
        for branch in root.branches:
            if wanted.isdisjoint(_compiled(each.expression, place, branch.type).types):
                raise _refused(place, f"it yields nothing that {each.kind} indexes")


@lru_cache(maxsize=1024)
def is_followed(made: Definition) -> bool:
    """Whether the references of a parameter lead to resources; canonical URLs name definitions."""
    return made.kind == "reference" and "Reference" in path.compile(made.expression).types


@lru_cache(maxsize=1024)
def selected(
    expression: str, kind: str, type_: str = ""
) -> Callable[[JsonObject, JsonObject], Iterator[Any]]:
    """(item, resource) → the values that make rows. ``type_``: of the item, '' where it is the resource."""
    wanted = INDEXED[kind]
    runs = [branch.run for branch in path.compile(expression, type_).branches if branch.type in wanted]

    def select(item: JsonObject, resource: JsonObject) -> Iterator[Any]:
        env = Env(resource, resource, item)
        for run in runs:
            yield from run(item, env)

    return select


@dataclass(frozen=True, slots=True)
class Parameter:
    """A definition in use. ``status``: building or ready; ``done``: percent of what there was to index."""

    serial: int
    status: str
    done: int
    definition: Definition

    @property
    def is_ready(self) -> bool:
        """Whether its rows are complete."""
        return self.status == "ready"

    def number(self, type_: str) -> int:
        """``param`` of its rows of a type."""
        return _NUMBERS_FROM + self.serial * _NUMBERS_EACH + _number_of(type_)

    def numbers(self) -> list[int]:
        """``param`` of all its rows."""
        return [self.number(type_) for type_ in self.definition.bases]


@lru_cache(maxsize=256)
def _number_of(type_: str) -> int:
    return sorted(definitions.resource_types()).index(type_)


TEXTS = 0
"""Stands among the serials for the index of words (texts.py)."""


@dataclass(frozen=True, slots=True)
class TextStand:
    """How far the index of words has come: of every resource up to the rkey ``position`` of ``until`` (-1: it has not
    begun). ``version``: of the rules that it is made by.
    """

    version: str
    position: int = 0
    until: int = -1

    @property
    def is_full(self) -> bool:
        """Whether all of them are in it."""
        return 0 <= self.until <= self.position

    @property
    def done(self) -> int:
        """Percent, less than 100."""
        return 0 if self.until <= 0 else min(99, self.position * 100 // self.until)


_Writer = Callable[[JsonObject, int, int, IndexRows], None]


@dataclass(frozen=True, slots=True)
class CustomSet:
    """All that are in use. ``version`` changes whenever one comes, goes, or becomes ready.

    ``texts``: of the index of words; None: there is none.
    """

    version: str
    parameters: tuple[Parameter, ...] = ()
    texts: TextStand | None = None
    _named: dict[tuple[str, str], Parameter] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, version: str, parameters: Iterable[Parameter], texts: TextStand | None = None) -> CustomSet:
        """Of two with the same code and type the older counts (the register lets in none)."""
        every = tuple(sorted(parameters, key=lambda one: one.serial))
        named: dict[tuple[str, str], Parameter] = {}
        for one in every:
            for type_ in one.definition.bases:
                named.setdefault((type_, one.definition.code), one)
        return cls(version, every, texts, named)

    def find(self, type_: str, code: str) -> Parameter | None:
        """The parameter of that code for a type."""
        return self._named.get((type_, code))

    def of_type(self, type_: str) -> list[Parameter]:
        """Those that index a type."""
        return [one for one in self.parameters if type_ in one.definition.bases]

    def are_ready(self, serials: Collection[int]) -> bool:
        """Whether all these can be searched by."""
        return not serials or {one.serial for one in self.parameters if one.is_ready}.issuperset(serials)


class Rows:
    """Makes the rows of a set's parameters. ``hash_``: the keyed hash of values.hasher.

    An expression that fails on a resource (FHIRPath has errors of its own) makes no rows of it: no definition
    may keep data from being stored.
    """

    def __init__(self, hash_: Hash, parameters: Iterable[Parameter] = ()) -> None:
        self._writers: dict[str, list[tuple[_Writer, int]]] = {}
        emit = emitters(hash_)
        for one in parameters:
            try:
                write = _composite(one.definition, emit) if one.definition.components else _single(one, emit)
            except path.PathError:  # it was accepted by a release that could
                log.error("search parameter %d cannot be evaluated by this release", one.serial)
                continue
            for type_ in one.definition.bases:
                self._writers.setdefault(type_, []).append((write, one.number(type_)))

    def has(self, type_: str) -> bool:
        """Whether any of them indexes a type."""
        return type_ in self._writers

    def of(self, resource: JsonObject, rkey: int) -> IndexRows:
        """Their rows of a resource; a row may come twice."""
        found = IndexRows()
        for write, number in self._writers.get(resource["resourceType"], ()):
            own = IndexRows()
            try:
                write(resource, number, rkey, own)
            except _FAILURES as error:
                _tell(logging.WARNING, "parameter %d fails on a resource: %s", number, type(error).__name__)
                continue
            for table, rows in zip(found.tables, own.tables, strict=True):
                table += rows
        return found


def _single(one: Parameter, emit: Mapping[str, Emit]) -> _Writer:
    kind = one.definition.kind
    values, rows_of, table = selected(one.definition.expression, kind), emit[kind], KINDS[kind]

    def write(resource: JsonObject, number: int, rkey: int, found: IndexRows) -> None:
        for item in values(resource, resource):
            for row in rows_of(item):
                found.tables[table].append((number, *row, rkey))

    return write


def _composite(made: Definition, emit: Mapping[str, Emit]) -> _Writer:
    slots = composite_slots(tuple(each.kind for each in made.components)) or ()
    plans = [
        (branch.run, [(selected(c.expression, c.kind, branch.type), emit[c.kind]) for c in made.components])
        for branch in path.compile(made.expression).branches
    ]
    table = KINDS["composite"]

    def write(resource: JsonObject, number: int, rkey: int, found: IndexRows) -> None:
        env = Env(resource, resource, resource)
        for run, parts in plans:
            items = run(resource, env)
            room = COMBINED_MAX + COMBINED_EACH * len(items)
            for item in items:
                values = [[row for v in select(item, resource) for row in rows(v)] for select, rows in parts]
                for chosen in combined(values, room, is_cut=True):
                    room -= 1
                    row: list[Any] = [number, *COMPOSITE_BLANK, rkey]
                    for places, part in zip(slots, chosen, strict=True):
                        for place, value in zip(places, part, strict=False):
                            row[place] = value
                    found.tables[table].append(tuple(row))

    return write
