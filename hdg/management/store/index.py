"""A resource → its search-index rows and the patients whose compartments it is in.

R4 search.html#ptypes, R4 compartmentdefinition-patient.html. One program per resource type, compiled on first
use: first element → (walk, kind, parameter numbers), so the work follows what the resource holds. Indexed are
all R4 search parameters. Known limits: a token on a plain ``code`` has no system; references to contained
resources make no rows, and of what a Bundle holds only the first resource does. What codes are called, types of
identifiers and identifiers of references have rows of their own (forms.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any

from hdg.fhir import definitions
from hdg.management.store.composites import (
    Composite,
    compose,
    composite_id,
    composite_slots,
    file_composites,
)
from hdg.management.store.emit import Emit, emitters
from hdg.management.store.forms import TABLES, Form, Forms, forms_of
from hdg.management.store.paths import Walk, routes
from hdg.management.store.values import Hash, route_id, scope_of, split_reference

__all__ = [
    "INDEX_VERSION",
    "IndexRows",
    "Indexer",
    "Tables",
    "is_sole_date",
    "lookups",
    "selectors",
]

INDEX_VERSION = "9"
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
    "special": COMPOSITE,
    "phonetic": STRING,
}
"""Kind of rows → its table: kinds of parameters, and ``phonetic``, which is a string to whoever asks."""
_SKIPPED = frozenset({"_id", "_lastUpdated"})

_MEMORY_ENTRIES = 32_768
_MEMORY_TEXT_MAX = 200

Row = tuple[Any, ...]
Tables = tuple[list[Row], ...]
# (values selected, parameter number, where rows go)
Write = Callable[[list[Any], int, Callable[[Row], None]], None]
# (walk, writer, number of the table, parameter number, whether a hit names a compartment's patient).
# A plain tuple, since unpacking it is what the innermost loop does most.
_Step = tuple[Walk | None, Write, int, int, bool]
# Adds an element's rows (without rkey) to the tables and the patients it names to the set.
_Field = Callable[[Any, Tables, set[str]], None]


@dataclass(slots=True)
class IndexRows:
    """Whole rows, one list per table of schema.INDEX_TABLES, no row twice; the compartments' patient ids."""

    tables: Tables = field(default_factory=lambda: _no_rows())
    patients: set[str] = field(default_factory=set)


def _no_rows() -> Tables:
    return [], [], [], [], [], [], [], []


class _Memory:
    """Dicts of what texts came to, all let go when they hold too much together. For any threads."""

    def __init__(self) -> None:
        self._kept: list[dict[str, Any]] = []
        self._count = 0

    def part(self) -> dict[str, Any]:
        """A new dict."""
        made: dict[str, Any] = {}
        self._kept.append(made)
        return made

    def keep(self, part: dict[str, Any], text: str, value: Any) -> None:
        """Remembers a value, unless its text is long."""
        if len(text) > _MEMORY_TEXT_MAX:
            return
        self._count += 1
        if self._count > _MEMORY_ENTRIES:
            self._count = 0
            for each in self._kept:
                each.clear()
        part[text] = value


@dataclass(slots=True)
class _Program:
    fields: dict[str, _Field] = field(default_factory=dict)
    composites: dict[str, list[Composite]] = field(default_factory=dict)
    others: list[tuple[Callable[[dict[str, Any]], list[Any]], _Field]] = field(default_factory=list)


class Indexer:
    """Compiles and runs the programs. ``hash_`` is the keyed hash of values.hasher."""

    def __init__(self, hash_: Hash) -> None:
        self.id_hash = hash_
        """What an id is in ``idx_reference.code`` and ``resource.id_hash``."""
        self._scope = lru_cache(maxsize=4096)(partial(scope_of, hash_))
        self._emitters = emitters(hash_)
        self._writers = {kind: _writer(emit) for kind, emit in self._emitters.items()}
        self._writers["token"] = _token_writer(hash_, self._emitters["token"])
        self._forms = Forms(hash_)
        self._memory = _Memory()
        self._reference = _named(self._emitters["reference"], self._memory)
        self._programs: dict[str, _Program] = {}

    def rows(self, resource: dict[str, Any], rkey: int) -> IndexRows:
        """All index rows of ``resource``, and whose compartments its own references put it into."""
        tables, patients = self._distinct(resource, is_cut=True)
        last = (rkey,)
        return IndexRows(tuple([[row + last for row in rows] for rows in tables]), patients)

    def heads(self, resource: dict[str, Any]) -> tuple[Tables, set[str]]:
        """``rows`` without the last column (rkey), and the patients.

        Raises ValidationFailed for what has more combinations than COMBINED_MAX; ``rows`` leaves the rest out, so that
        what is stored already can be indexed anew.
        """
        return self._distinct(resource, is_cut=False)

    def _distinct(self, resource: dict[str, Any], *, is_cut: bool) -> tuple[Tables, set[str]]:
        tables, patients = self._heads(resource, is_cut=is_cut)
        return tuple([list(dict.fromkeys(rows)) if len(rows) > 1 else rows for rows in tables]), patients

    def _heads(self, resource: dict[str, Any], *, is_cut: bool) -> tuple[Tables, set[str]]:
        """The same; a row may come twice."""
        type_ = resource["resourceType"]
        program = self._programs.get(type_)
        if program is None:
            program = self._programs[type_] = self._compile(type_)
        tables, patients = _no_rows(), set[str]()
        fields, composites = program.fields, program.composites
        for key, value in resource.items():
            run = fields.get(key)
            if run is not None:
                run(value, tables, patients)
            if key in composites:
                for composite in composites[key]:
                    compose(composite, resource, tables[COMPOSITE], is_cut=is_cut)
        for select, run in program.others:
            run(select(resource), tables, patients)
        if type_ == "Patient":
            patients = {resource["id"]}  # a Patient.link does not put it into the other's compartment
        return tables, patients

    def scope(self, institution: str, patients: Iterable[str]) -> int:
        """``version.scope`` of what that institution sent about those patients."""
        return self._scope(institution, frozenset(patients))

    def _compile(self, type_: str) -> _Program:
        program = _Program()
        # R4 gives Device, Task and others no compartment, though they name a patient: it is that patient's.
        compartment = definitions.patient_compartment(type_) or ("patient",)
        grouped: dict[tuple[str, str, str], tuple[Walk | None, bool]] = {}
        forms: dict[tuple[str, Form], Walk | None] = {}
        for parameter in definitions.search_parameters(type_):
            if not is_indexed(parameter):
                continue
            is_compartment = parameter.code in compartment
            found = routes(type_, parameter.expression)
            if parameter.kind == "composite":
                file_composites(program.composites, type_, parameter, found or [], self._emitters)
            elif found is None:
                select = _fallback(parameter.expression)
                if select is not None:
                    step = self._step(type_, None, kind_of(parameter), parameter.expression, is_compartment)
                    program.others.append((select, _running([step])))
            else:
                for route in found:
                    for key in route.keys:
                        group = (key, route.text, kind_of(parameter))
                        before = grouped.get(group, (None, False))[1]
                        grouped[group] = (route.walk, before or is_compartment)
                        for form in forms_of(type_, parameter.kind, route):
                            forms[key, form] = route.walk
        steps: dict[str, list[_Step]] = {}
        for (key, text, kind), (walk, is_compartment) in grouped.items():
            steps.setdefault(key, []).append(self._step(type_, walk, kind, text, is_compartment))
        others: dict[str, list[_Step]] = {}
        for (key, form), walk in forms.items():
            step = (walk, self._forms.write(form), KINDS[TABLES[form.name]], form.number, False)
            others.setdefault(key, []).append(step)
        program.fields = {key: self._field(found, others.get(key, [])) for key, found in steps.items()}
        if type_ == "Binary":  # no parameter leads there, and it says whose it is: R4 binary.html#security
            program.fields["securityContext"] = _secured
        return program

    def _field(self, steps: list[_Step], forms: list[_Step]) -> _Field:
        if all(walk is None and table == REFERENCE for walk, _, table, _, _ in steps):
            named = [(number, is_compartment) for *_, number, is_compartment in steps]
            return _referring(named, self._reference, [(write, number) for _, write, _, number, _ in forms])
        return _remembering(_running([*steps, *forms]), self._memory)

    def _step(self, type_: str, walk: Walk | None, kind: str, text: str, is_compartment: bool) -> _Step:
        return walk, self._writers[kind], KINDS[kind], route_id(type_, kind, text), is_compartment


def is_indexed(parameter: definitions.SearchParameter) -> bool:
    """Whether a search parameter has rows (``_id`` and ``_lastUpdated`` are columns of ``resource``)."""
    return parameter.code not in _SKIPPED and parameter.kind in KINDS and bool(parameter.expression)


def kind_of(parameter: definitions.SearchParameter) -> str:
    """The kind of its rows."""
    return parameter.code if parameter.code == "phonetic" else parameter.kind


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
        if _fallback(parameter.expression) is None:
            return []
        target = parameter.targets[0] if len(parameter.targets) == 1 else ""
        return [(route_id(type_, kind_of(parameter), parameter.expression), target)]
    return [(route_id(type_, kind_of(parameter), route.text), route.target) for route in found]


def is_sole_date(type_: str, code: str) -> bool:
    """Whether a date parameter has at most one row of a resource: an element of the resource that is no list.

    A Period or a Timing makes one row (emit.py). A choice has one type at a time, or the resource is not stored
    (hdg.fhir.validate).
    """
    parameter = next((p for p in definitions.search_parameters(type_) if p.code == code), None)
    if parameter is None or parameter.kind != "date":
        return False
    found = routes(type_, parameter.expression) or []
    if len(found) != 1 or found[0].walk is not None:
        return False
    infos = [definitions.element_info(type_, key) for key in found[0].keys]
    return all(info is not None and not info.is_list for info in infos)


def selectors(type_: str, code: str) -> list[tuple[Callable[[dict[str, Any]], list[Any]], str]]:
    """What a parameter selects from a resource: functions, each with the type that it is limited to or ''."""
    parameter = next((p for p in definitions.search_parameters(type_) if p.code == code), None)
    if parameter is None or not parameter.expression:
        return []
    found = routes(type_, parameter.expression)
    if found is not None:
        return [(route.of, route.target) for route in found]
    fallback = _fallback(parameter.expression)
    return [] if fallback is None else [(fallback, "")]


def _running(steps: list[_Step]) -> _Field:
    def run(value: Any, tables: Tables, patients: set[str]) -> None:
        values = value if type(value) is list else [value]
        for walk, write, table, number, is_compartment in steps:
            items = values if walk is None else walk(values)
            if items:
                write(items, number, tables[table].append)
                if is_compartment:
                    _add_patients(items, patients)

    return run


def _remembering(run: _Field, memory: _Memory) -> _Field:
    """As ``run``, which is done once for each text."""
    known = memory.part()

    def remembered(value: Any, tables: Tables, patients: set[str]) -> None:
        if type(value) is not str:
            run(value, tables, patients)
            return
        found = known.get(value)
        if found is None:
            own = _no_rows()
            run(value, own, set())  # a text names no patient: _add_patients
            found = tuple((table, rows) for table, rows in enumerate(own) if rows)
            memory.keep(known, value, found)
        for table, rows in found:
            tables[table].extend(rows)

    return remembered


_Referred = tuple[tuple[Row, ...], str]
"""Of a reference: what follows the parameter number in its rows, and the Patient's id if it names one."""
_Named = tuple[dict[str, _Referred], Callable[[str], _Referred]]


def _named(emit: Emit, memory: _Memory) -> _Named:
    """(what is known by the reference's text, what to ask when it is not there)."""
    known = memory.part()

    def named(text: str) -> _Referred:
        target = split_reference(text)
        patient = target[1] if target is not None and target[0] == "Patient" else ""
        found = tuple(emit(text)), patient
        memory.keep(known, text, found)
        return found

    return known, named


def _referring(numbers: list[tuple[int, bool]], named: _Named, identified: list[tuple[Write, int]]) -> _Field:
    """An element that holds nothing but references. ``identified``: what writes the rows of their identifiers."""
    known, ask = named

    def run(value: Any, tables: Tables, patients: set[str]) -> None:
        append = tables[REFERENCE].append
        for number, is_compartment in numbers:
            for item in value if type(value) is list else (value,):
                is_object = type(item) is dict
                text = item.get("reference") if is_object else item
                if type(text) is not str:
                    continue
                rows, patient = known.get(text) or ask(text)
                for code, system in rows:
                    append((number, code, system))
                if patient and is_compartment and is_object:
                    patients.add(patient)
        if identified:
            items = value if type(value) is list else [value]
            if any(type(item) is dict and "identifier" in item for item in items):
                for write, number in identified:
                    write(items, number, tables[TOKEN].append)

    return run


def _secured(value: Any, tables: Tables, patients: set[str]) -> None:
    _add_patients([value], patients)


def _add_patients(items: list[Any], patients: set[str]) -> None:
    for item in items:
        if type(item) is dict:
            target = split_reference(item.get("reference") or "")
            if target is not None and target[0] == "Patient":
                patients.add(target[1])


def _writer(emit: Emit) -> Write:
    def write(items: list[Any], number: int, append: Callable[[Row], None]) -> None:
        for item in items:
            for found in emit(item):
                append((number, *found))

    return write


def _token_writer(hash_: Hash, emit: Emit) -> Write:
    """As ``_writer``, with the commonest shape (CodeableConcept) written out."""

    def write(items: list[Any], number: int, append: Callable[[Row], None]) -> None:
        for item in items:
            codings = item.get("coding") if type(item) is dict else None
            if codings is None:
                for found in emit(item):
                    append((number, *found))
                continue
            for coding in codings:
                code = coding.get("code")
                if code is not None:
                    append((number, hash_(code), hash_(coding.get("system", ""))))

    return write


@cache
def _fallback(expression: str) -> Callable[[dict[str, Any]], list[Any]] | None:
    from hdg.fhir import path

    try:
        return path.compile(expression)
    except path.PathError:
        return None
