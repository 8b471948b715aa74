"""A resource → its search-index rows and the patients whose compartments it is in.

R4 search.html#ptypes, R4 compartmentdefinition-patient.html. One program per resource type, compiled on first use:
first element → (walk, kind, parameter numbers), so the work follows what the resource holds. Indexed are all R4 search
parameters but ``special`` ones and those on extensions. Known limits: a token on a plain ``code`` has no system; a Reference
by identifier only, a Range, a SampledData and a resource inside a Bundle make no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hdg.fhir import definitions
from hdg.management.store.paths import Route, Walk, routes
from hdg.management.store.values import (
    MAX_US,
    MIN_US,
    Hash,
    date_range,
    fold,
    index_text,
    param_id,
    split_reference,
)

__all__ = ["INDEX_VERSION", "IndexRows", "Indexer", "composite_slots"]

INDEX_VERSION = "1"
"""Part of what decides whether a database must be indexed anew; raise it when rows change."""

TOKEN, REFERENCE, STRING, URI, DATE, NUMBER, QUANTITY, COMPOSITE = range(8)
KINDS = {
    "token": TOKEN,
    "reference": REFERENCE,
    "string": STRING,
    "uri": URI,
    "date": DATE,
    "number": NUMBER,
    "quantity": QUANTITY,
    "composite": COMPOSITE,
}
_TEXT_KEYS = (
    "text",
    "family",
    "given",
    "prefix",
    "suffix",
    "line",
    "city",
    "district",
    "state",
    "postalCode",
    "country",
)
_SKIPPED = frozenset({"_id", "_lastUpdated"})

Rows = tuple[set[tuple[Any, ...]], ...]
Emit = Callable[[Any], Iterable[tuple[Any, ...]]]


@dataclass(slots=True)
class IndexRows:
    """Rows without their ``rkey``, one set per table of schema.INDEX_TABLES; and the compartments' patient ids."""

    tables: Rows = field(default_factory=lambda: tuple(set() for _ in range(8)))
    patients: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Step:
    walk: Walk | None
    emit: Emit
    table: int
    params: tuple[int, ...]
    is_compartment: bool


@dataclass(frozen=True, slots=True)
class _Composite:
    base: Route
    components: tuple[tuple[tuple[Route, ...], Emit], ...]
    slots: tuple[tuple[int, ...], ...]
    param: int


@dataclass(slots=True)
class _Program:
    by_key: dict[str, list[_Step]] = field(default_factory=dict)
    composites: dict[str, list[_Composite]] = field(default_factory=dict)
    others: list[tuple[Callable[[dict[str, Any]], list[Any]], _Step]] = field(default_factory=list)


class Indexer:
    """Compiles and runs the programs. ``hash_`` is the keyed hash of values.hasher."""

    def __init__(self, hash_: Hash) -> None:
        self._emitters = emitters(hash_)
        self._programs: dict[str, _Program] = {}

    def rows(self, resource: dict[str, Any]) -> IndexRows:
        """All index rows of ``resource`` and the patients in whose compartments it is by its own references."""
        type_ = resource["resourceType"]
        program = self._programs.get(type_)
        if program is None:
            program = self._programs[type_] = self._compile(type_)
        rows = IndexRows()
        by_key, composites = program.by_key, program.composites
        for key, value in resource.items():
            steps = by_key.get(key)
            if steps is not None:
                items = value if type(value) is list else [value]
                for step in steps:
                    _run(step, items, rows)
            if key in composites:
                for composite in composites[key]:
                    _compose(composite, resource, rows.tables[COMPOSITE])
        for select, step in program.others:
            _run(step, select(resource), rows)
        if type_ == "Patient":
            rows.patients = {resource["id"]}  # a Patient.link does not put it into the other's compartment
        return rows

    def _compile(self, type_: str) -> _Program:
        program = _Program()
        compartment = definitions.patient_compartment(type_)
        grouped: dict[tuple[str, str, str, bool], tuple[Walk | None, list[int]]] = {}
        for parameter in definitions.search_parameters(type_):
            if parameter.code in _SKIPPED or parameter.kind not in KINDS or not parameter.expression:
                continue
            number = param_id(type_, parameter.code)
            is_compartment = parameter.code in compartment
            found = routes(type_, parameter.expression)
            if parameter.kind == "composite":
                self._add_composites(program, parameter, found or [], number)
            elif found is None:
                select = _fallback(parameter.expression)
                if select is not None:
                    program.others.append(
                        (select, self._step(None, parameter.kind, [number], is_compartment))
                    )
            else:
                for route in found:
                    for key in route.keys:
                        group = (key, route.text, parameter.kind, is_compartment)
                        grouped.setdefault(group, (route.walk, []))[1].append(number)
        for (key, _, kind, is_compartment), (walk, numbers) in grouped.items():
            program.by_key.setdefault(key, []).append(self._step(walk, kind, numbers, is_compartment))
        return program

    def _step(self, walk: Walk | None, kind: str, params: list[int], is_compartment: bool) -> _Step:
        return _Step(walk, self._emitters[kind], KINDS[kind], tuple(params), is_compartment)

    def _add_composites(
        self, program: _Program, parameter: definitions.SearchParameter, bases: list[Route], number: int
    ) -> None:
        slots = composite_slots(tuple(component.kind for component in parameter.components))
        for base in bases if slots else ():
            parts = [routes(base.type, component.expression) for component in parameter.components]
            if not base.type or not all(parts):
                continue
            components = tuple(
                (tuple(part or ()), self._emitters[component.kind])
                for part, component in zip(parts, parameter.components, strict=True)
            )
            composite = _Composite(base, components, slots or (), number)
            first = (
                base.keys if base.keys != ("",) else [key for route in components[0][0] for key in route.keys]
            )
            for key in first:
                program.composites.setdefault(key, []).append(composite)


def _run(step: _Step, items: list[Any], rows: IndexRows) -> None:
    if step.walk is not None:
        items = step.walk(items)
    table, emit = rows.tables[step.table], step.emit
    for item in items:
        for values in emit(item):
            for param in step.params:
                table.add((param, *values))
        if step.is_compartment and type(item) is dict:
            target = split_reference(item.get("reference") or "")
            if target is not None and target[0] == "Patient":
                rows.patients.add(target[1])


def _compose(composite: _Composite, resource: dict[str, Any], table: set[tuple[Any, ...]]) -> None:
    for item in composite.base.of(resource):
        tuples: list[list[Any]] = [[composite.param, 0, 0, 0, 0, 0.0, 0, 0, ""]]
        for (alternatives, emit), slots in zip(composite.components, composite.slots, strict=True):
            values = [row for route in alternatives for found in route.of(item) for row in emit(found)]
            tuples = [_filled(row, slots, value) for row in tuples for value in values]
            if not tuples:
                break
        table.update(map(tuple, tuples))


def _filled(row: list[Any], slots: tuple[int, ...], values: tuple[Any, ...]) -> list[Any]:
    row = row.copy()
    for slot, value in zip(slots, values, strict=False):
        row[slot] = value
    return row


def composite_slots(kinds: tuple[str, ...]) -> tuple[tuple[int, ...], ...] | None:
    """For each component the places of its values in an idx_composite row (1 code … 8 text); None: does not fit."""
    codes, singles = [(1, 2), (3, 4)], {"quantity", "number", "date", "string", "uri"}
    slots: list[tuple[int, ...]] = []
    for kind in kinds:
        if kind in singles and not singles.isdisjoint(kinds[: len(slots)]):
            return None
        if kind in {"token", "reference", "quantity"} and not codes:
            return None
        if kind in {"token", "reference"}:
            slots.append(codes.pop(0))
        elif kind == "quantity":
            slots.append((5, *codes.pop(0)))
        else:
            slots.append({"number": (5,), "date": (6, 7), "string": (8,), "uri": (8,)}[kind])
    return tuple(slots)


def _fallback(expression: str) -> Callable[[dict[str, Any]], list[Any]] | None:
    if "extension(" in expression.lower():
        return None  # R4 gives the Extension itself, which no kind can index
    from hdg.fhir import path

    try:
        return path.compile(expression)
    except path.PathError:
        return None


def emitters(hash_: Hash) -> dict[str, Emit]:
    """For each kind: a value as it stands in JSON → its index tuples."""

    def token(item: Any) -> Iterable[tuple[Any, ...]]:
        if type(item) is dict:
            codings = item.get("coding")
            if codings is not None:
                return [(hash_(c["code"]), hash_(c.get("system", ""))) for c in codings if "code" in c]
            code = item.get("code") or item.get("value")
            return ((hash_(code), hash_(item.get("system", ""))),) if type(code) is str else ()
        if type(item) is bool:
            return ((hash_("true" if item else "false"), 0),)
        return ((hash_(str(item)), 0),)

    def reference(item: Any) -> Iterable[tuple[Any, ...]]:
        text = item.get("reference") if type(item) is dict else item
        if type(text) is not str or text.startswith("#"):
            return ()
        target = split_reference(text)
        if target is not None:
            return ((hash_(target[1]), hash_(target[0])),)
        url, has_version, _ = text.partition("|")
        return ((hash_(text), 0), (hash_(url), 0)) if has_version else ((hash_(text), 0),)

    def string(item: Any) -> Iterable[tuple[Any, ...]]:
        if type(item) is dict:
            return [(fold(text), hash_(text)) for text in _texts(item)]
        return ((fold(item), hash_(item)),) if type(item) is str else ()

    def quantity(item: Any) -> Iterable[tuple[Any, ...]]:
        value = _float(item.get("value")) if type(item) is dict else None
        if value is None:
            return ()
        if "currency" in item:
            return ((value, hash_(item["currency"]), hash_("urn:iso:std:iso:4217")),)
        code, unit = item.get("code", ""), item.get("unit", "")
        rows = [(value, hash_(code), hash_(item.get("system", "")))]
        if unit and unit != code:
            rows.append((value, hash_(unit), 0))
        return rows

    return {
        "token": token,
        "reference": reference,
        "string": string,
        "uri": _uri,
        "date": _date,
        "number": _number,
        "quantity": quantity,
    }


def _texts(item: dict[str, Any]) -> Iterable[str]:
    for key in _TEXT_KEYS:
        value = item.get(key)
        if type(value) is str:
            yield value
        elif type(value) is list:
            yield from (text for text in value if type(text) is str)


def _uri(item: Any) -> Iterable[tuple[Any, ...]]:
    return ((index_text(item),),) if type(item) is str else ()


def _date(item: Any) -> Iterable[tuple[Any, ...]]:
    if type(item) is str:
        covered = date_range(item)
        return () if covered is None else (covered,)
    if type(item) is not dict:
        return ()
    if "start" in item or "end" in item:
        start, end = date_range(item.get("start", "")), date_range(item.get("end", ""))
        return ((start[0] if start else MIN_US, end[1] if end else MAX_US),)
    events = [covered for event in item.get("event", ()) if (covered := date_range(event or "")) is not None]
    bounds = (item.get("repeat") or {}).get("boundsPeriod")
    return [*events, *(_date(bounds) if bounds else ())]


def _number(item: Any) -> Iterable[tuple[Any, ...]]:
    value = _float(item)
    return () if value is None else ((value,),)


def _float(value: Any) -> float | None:
    if value is None or type(value) is str or type(value) is bool:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
