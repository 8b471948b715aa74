"""A resource → its search-index rows and the patients whose compartments it is in.

R4 search.html#ptypes, R4 compartmentdefinition-patient.html. One program per resource type, compiled on first
use: first element → (walk, kind, parameter numbers), so the work follows what the resource holds. Indexed are
all R4 search parameters but ``special`` ones and those on extensions. Known limits: a token on a plain
``code`` has no system; a Reference by identifier only, a Range, a SampledData and a resource inside a Bundle
make no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
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
    route_id,
    scope_of,
    split_reference,
)

__all__ = ["INDEX_VERSION", "IndexRows", "Indexer", "composite_slots", "lookups"]

INDEX_VERSION = "2"
"""Part of what decides whether a database must be indexed anew; raise it when rows, compartments or
consent rules change.
"""

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

Row = tuple[Any, ...]
Emit = Callable[[Any], Iterable[Row]]
# (values selected, parameter number, rkey, where rows go)
Write = Callable[[list[Any], int, int, Callable[[Row], None]], None]
# (walk, writer, number of the table, parameter number, whether a hit names a compartment's patient).
# A plain tuple, since unpacking it is what the innermost loop does most.
_Step = tuple[Walk | None, Write, int, int, bool]


@dataclass(slots=True)
class IndexRows:
    """Whole rows, one list per table of schema.INDEX_TABLES (a row may come twice).

    The compartments' patient ids.
    """

    tables: tuple[list[Row], ...] = field(default_factory=lambda: ([], [], [], [], [], [], [], []))
    patients: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Composite:
    base: Route
    components: tuple[tuple[tuple[Route, ...], Emit], ...]
    slots: tuple[tuple[int, ...], ...]
    number: int


@dataclass(slots=True)
class _Program:
    by_key: dict[str, list[_Step]] = field(default_factory=dict)
    composites: dict[str, list[_Composite]] = field(default_factory=dict)
    others: list[tuple[Callable[[dict[str, Any]], list[Any]], _Step]] = field(default_factory=list)


class Indexer:
    """Compiles and runs the programs. ``hash_`` is the keyed hash of values.hasher."""

    def __init__(self, hash_: Hash) -> None:
        self._scope = lru_cache(maxsize=4096)(partial(scope_of, hash_))
        self._emitters = emitters(hash_)
        self._writers = {kind: _writer(emit) for kind, emit in self._emitters.items()}
        self._writers["token"] = _token_writer(hash_, self._emitters["token"])
        self._programs: dict[str, _Program] = {}

    def rows(self, resource: dict[str, Any], rkey: int) -> IndexRows:
        """All index rows of ``resource``, and whose compartments its own references put it into."""
        type_ = resource["resourceType"]
        program = self._programs.get(type_)
        if program is None:
            program = self._programs[type_] = self._compile(type_)
        rows = IndexRows()
        by_key, composites = program.by_key, program.composites
        for key, value in resource.items():
            steps = by_key.get(key)
            if steps is not None:
                _run(steps, value if type(value) is list else [value], rkey, rows)
            if key in composites:
                for composite in composites[key]:
                    _compose(composite, resource, rkey, rows.tables[COMPOSITE])
        for select, step in program.others:
            _run([step], select(resource), rkey, rows)
        if type_ == "Patient":
            rows.patients = {resource["id"]}  # a Patient.link does not put it into the other's compartment
        return rows

    def scope(self, institution: str, patients: Iterable[str]) -> int:
        """``version.scope`` of what that institution sent about those patients."""
        return self._scope(institution, frozenset(patients))

    def _compile(self, type_: str) -> _Program:
        program = _Program()
        # R4 gives Device, Task and others no compartment, though they name a patient: it is that patient's.
        compartment = definitions.patient_compartment(type_) or ("patient",)
        grouped: dict[tuple[str, str, str], tuple[Walk | None, bool]] = {}
        for parameter in definitions.search_parameters(type_):
            if not is_indexed(parameter):
                continue
            is_compartment = parameter.code in compartment
            found = routes(type_, parameter.expression)
            if parameter.kind == "composite":
                self._add_composites(program, type_, parameter, found or [])
            elif found is None:
                select = _fallback(parameter.expression)
                if select is not None:
                    step = self._step(type_, None, parameter.kind, parameter.expression, is_compartment)
                    program.others.append((select, step))
            else:
                for route in found:
                    for key in route.keys:
                        group = (key, route.text, parameter.kind)
                        before = grouped.get(group, (None, False))[1]
                        grouped[group] = (route.walk, before or is_compartment)
        for (key, text, kind), (walk, is_compartment) in grouped.items():
            step = self._step(type_, walk, kind, text, is_compartment)
            program.by_key.setdefault(key, []).append(step)
        return program

    def _step(self, type_: str, walk: Walk | None, kind: str, text: str, is_compartment: bool) -> _Step:
        return walk, self._writers[kind], KINDS[kind], route_id(type_, kind, text), is_compartment

    def _add_composites(
        self, program: _Program, type_: str, parameter: definitions.SearchParameter, bases: list[Route]
    ) -> None:
        """Files each base under the elements that its *last* component begins with.

        The rarest (a value's type).
        """
        slots = composite_slots(tuple(component.kind for component in parameter.components))
        for base in bases if slots else ():
            parts = [routes(base.type, component.expression) for component in parameter.components]
            if not base.type or not all(parts):
                continue
            components = tuple(
                (tuple(part or ()), self._emitters[component.kind])
                for part, component in zip(parts, parameter.components, strict=True)
            )
            number = composite_id(type_, base, parameter)
            last = [key for route in components[-1][0] for key in route.keys]
            for key in base.keys if base.keys != ("",) else last:
                filed = program.composites.setdefault(key, [])
                if all(other.number != number for other in filed):
                    filed.append(_Composite(base, components, slots or (), number))


def is_indexed(parameter: definitions.SearchParameter) -> bool:
    """Whether a search parameter has rows (``_id`` and ``_lastUpdated`` are columns of ``resource``)."""
    return parameter.code not in _SKIPPED and parameter.kind in KINDS and bool(parameter.expression)


def composite_id(type_: str, base: Route, parameter: definitions.SearchParameter) -> int:
    """The number of one base of a composite; equal for composites that make equal rows."""
    parts = [f"{component.kind}:{component.expression}" for component in parameter.components]
    return route_id(type_, "composite", "$".join((base.text, *parts)))


def lookups(type_: str, code: str) -> list[tuple[int, str]]:
    """Where a search parameter's rows are: (number, target type of references or ''). Empty: it has none.

    Rows are kept by route, not by parameter: Observation's ``code`` and ``combo-code`` share those of
    Observation.code.
    """
    parameter = next((p for p in definitions.search_parameters(type_) if p.code == code), None)
    if parameter is None or not is_indexed(parameter):
        return []
    found = routes(type_, parameter.expression)
    if parameter.kind == "composite":
        if composite_slots(tuple(component.kind for component in parameter.components)) is None:
            return []
        return [(composite_id(type_, base, parameter), "") for base in found or ()]
    if found is None:
        is_there = _fallback(parameter.expression) is not None
        return [(route_id(type_, parameter.kind, parameter.expression), "")] if is_there else []
    return [(route_id(type_, parameter.kind, route.text), route.target) for route in found]


def _run(steps: list[_Step], values: list[Any], rkey: int, rows: IndexRows) -> None:
    tables = rows.tables
    for walk, write, table, number, is_compartment in steps:
        items = values if walk is None else walk(values)
        if items:
            write(items, number, rkey, tables[table].append)
            if is_compartment:
                _add_patients(items, rows.patients)


def _add_patients(items: list[Any], patients: set[str]) -> None:
    for item in items:
        if type(item) is dict:
            target = split_reference(item.get("reference") or "")
            if target is not None and target[0] == "Patient":
                patients.add(target[1])


def _writer(emit: Emit) -> Write:
    def write(items: list[Any], number: int, rkey: int, append: Callable[[Row], None]) -> None:
        for item in items:
            for found in emit(item):
                append((number, *found, rkey))

    return write


def _token_writer(hash_: Hash, emit: Emit) -> Write:
    """As ``_writer``, with the commonest shape (CodeableConcept) written out."""

    def write(items: list[Any], number: int, rkey: int, append: Callable[[Row], None]) -> None:
        for item in items:
            codings = item.get("coding") if type(item) is dict else None
            if codings is None:
                for found in emit(item):
                    append((number, *found, rkey))
                continue
            for coding in codings:
                code = coding.get("code")
                if code is not None:
                    append((number, hash_(code), hash_(coding.get("system", "")), rkey))

    return write


def _compose(composite: _Composite, resource: dict[str, Any], rkey: int, table: list[Row]) -> None:
    for item in composite.base.of(resource):
        tuples: list[list[Any]] = [[composite.number, 0, 0, 0, 0, 0.0, 0, 0, "", rkey]]
        for (alternatives, emit), slots in zip(composite.components, composite.slots, strict=True):
            values = [row for route in alternatives for found in route.of(item) for row in emit(found)]
            tuples = [_filled(row, slots, value) for row in tuples for value in values]
            if not tuples:
                break
        table += map(tuple, tuples)


def _filled(row: list[Any], slots: tuple[int, ...], values: tuple[Any, ...]) -> list[Any]:
    row = row.copy()
    for slot, value in zip(slots, values, strict=False):
        row[slot] = value
    return row


def composite_slots(kinds: tuple[str, ...]) -> tuple[tuple[int, ...], ...] | None:
    """For each component the places of its values in an idx_composite row (1 code … 8 text).

    None: does not fit.
    """
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


@cache
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
