"""All that is about a patient, or belongs to an encounter, page by page. R4 patient-operation-everything.html.

Members are those of the compartment (of a patient's linked records too). What they refer to and what belongs to
no patient (practitioners, organizations, locations, medications …) comes along with the page that names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from hdg.fhir import definitions
from hdg.fhir.references import reference_texts
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.values import Hash, split_reference

__all__ = ["Everything", "linked_patients", "members", "named", "shared_names"]

_COMPARTMENT = table_of(schema.Compartment)
_REFERENCE = table_of(schema.IdxReference)
_RESOURCE = table_of(schema.Resource)
_DATE = table_of(schema.IdxDate)
_LINKED_MAX = 50
_NO_CARE = frozenset({"birthdate", "death-date", "value-date", "target-date", "payment-date"})
"""Dates that are no time of care."""
_LASTING = frozenset({"AllergyIntolerance", "Condition", "Goal"})
"""Their dates say when something began, was noted or ended, not when somebody was cared for."""
_AT_ONCE = 400
Condition = ColumnElement[bool]
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Everything:
    """What is asked. ``type``: Patient or Encounter; ``types``: only these, () for all; ``since_us``: only what
    was changed at or after this time (µs, 0 for all). ``cared_us``: only what is about care between two times (µs;
    None for all; see ``_within``). ``cursor``: what the page before gave, '' for the first.
    """

    type: str
    id: str
    types: tuple[str, ...] = ()
    since_us: int = 0
    cared_us: tuple[int, int] | None = None
    count: int = 50
    cursor: str = ""


def members(asked: Everything, patients: Sequence[str], hash_: Hash) -> list[Condition]:
    """The WHERE terms over ``resource``. ``patients``: whose records they are, of a Patient's everything."""
    columns = _RESOURCE.c
    terms: list[Condition] = [columns.deleted.is_(False)]
    if asked.type == "Patient":
        about = select(_COMPARTMENT.c.rkey).where(_COMPARTMENT.c.patient.in_(patients))
        terms.append(columns.rkey.in_(about))
    else:
        itself = and_(columns.type == asked.type, columns.id == asked.id)
        terms.append(or_(itself, columns.rkey.in_(_referring(asked, hash_))))
    if asked.types:
        terms.append(columns.type.in_(asked.types))
    if asked.since_us:
        terms.append(columns.updated_us >= asked.since_us)
    if asked.cared_us is not None:
        terms.append(_within(*asked.cared_us))
    return terms


def _within(start_us: int, end_us: int) -> Condition:
    """What has no date of care, or one between the two times; what lasts, if it began before the end.

    R4 patient-operation-everything.html (start, end): care dates, not those of the record.
    """
    columns = _DATE.c
    at, lasting = care_dates()

    def has(*terms: Condition) -> Condition:
        return select(1).where(columns.rkey == _RESOURCE.c.rkey, *terms).correlate(_RESOURCE).exists()

    return or_(
        ~has(columns.param.in_([*at, *lasting])),
        has(columns.param.in_(at), columns.lo <= end_us, columns.hi >= start_us),
        has(columns.param.in_(lasting), columns.lo <= end_us),
    )


@cache
def care_dates() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The date parameters that say when care was given, and those of what lasts from then on (numbers of rows)."""
    found: dict[bool, set[int]] = {False: set(), True: set()}
    for type_ in definitions.resource_types():
        for parameter in definitions.search_parameters(type_):
            if (
                parameter.kind == "date"
                and parameter.code not in _NO_CARE
                and not parameter.code.startswith("_")
            ):
                found[type_ in _LASTING].update(number for number, _ in lookups(type_, parameter.code))
    return tuple(sorted(found[False])), tuple(sorted(found[True]))


def _referring(asked: Everything, hash_: Hash) -> Select[Any]:
    """The resources that refer to the one asked about in a way that puts them into its compartment."""
    numbers = sorted(
        {
            number
            for type_ in asked.types or sorted(definitions.resource_types())
            for code in definitions.compartment_parameters(asked.type, type_)
            for number, _ in lookups(type_, code)
        }
    )
    columns = _REFERENCE.c
    is_named = and_(columns.code == hash_(asked.id), columns.system == hash_(asked.type))
    return select(columns.rkey).where(columns.param.in_(numbers), is_named)


def linked_patients(
    connection: Connection,
    id_: str,
    visible: Condition,
    hash_: Hash,
    links_of: Callable[[Sequence[int]], Iterable[dict[str, Any]]],
) -> tuple[str, ...]:
    """The ids of a patient's records: its own, and those that links join to it in either direction.

    Only over records that the caller may see. ``links_of``: the resources with some rkeys.
    """
    places = [number for number, _ in lookups("Patient", "link")]
    found: dict[str, None] = {}
    frontier = [id_]
    while frontier and len(found) < _LINKED_MAX:
        rows = named(connection, [("Patient", name) for name in frontier], visible)
        found.update(dict.fromkeys(row[2] for row in rows))
        next_: dict[str, None] = {}
        for content in links_of([row[0] for row in rows]):
            for link in content.get("link", ()):
                other = split_reference((link.get("other") or {}).get("reference") or "")
                if other is not None and other[0] == "Patient":
                    next_[other[1]] = None
        columns = _REFERENCE.c
        refers = select(columns.rkey).where(
            columns.param.in_(places),
            columns.code.in_([hash_(row[2]) for row in rows]),
            columns.system == hash_("Patient"),
        )
        is_one = and_(_RESOURCE.c.type == "Patient", _RESOURCE.c.rkey.in_(refers))
        query = select(_RESOURCE.c.id).where(is_one, _RESOURCE.c.deleted.is_(False), visible)
        next_.update(dict.fromkeys(connection.scalars(query)))
        frontier = [name for name in next_ if name not in found]
    return tuple(found)


def named(connection: Connection, names: Iterable[Name], visible: Condition) -> list[tuple[int, str, str]]:
    """(rkey, type, id) of the resources of those names that the caller may see."""
    by_type: defaultdict[str, list[str]] = defaultdict(list)
    for type_, id_ in names:
        by_type[type_].append(id_)
    found: list[tuple[int, str, str]] = []
    columns = _RESOURCE.c
    for type_, ids in by_type.items():
        for at in range(0, len(ids), _AT_ONCE):
            is_named = and_(columns.type == type_, columns.id.in_(ids[at : at + _AT_ONCE]))
            query = select(columns.rkey, columns.type, columns.id).where(
                is_named, columns.deleted.is_(False), visible
            )
            found += [(row[0], row[1], row[2]) for row in connection.execute(query)]
    return found


def shared_names(contents: Iterable[dict[str, Any]]) -> list[Name]:
    """What resources refer to, of types that are in no patient's compartment."""
    names: dict[Name, None] = {}
    for content in contents:
        for text in reference_texts(content):
            name = split_reference(text)
            if name is not None and name[0] != "Patient" and not definitions.patient_compartment(name[0]):
                names[name] = None
    return list(names)
