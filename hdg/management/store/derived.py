"""What the plain columns must say, derived anew from the sealed bodies: compartments, scope, index rows.

R4 compartmentdefinition-patient.html; docs/access-policy.md. Both the rebuilding of those columns (meta.py)
and their check (check.py) walk the versions this way. A resource is in the compartments that its references
name and in that of the patient under whose key it lies; a deletion is in those of the version before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select, tuple_

from hdg.errors import VaultError
from hdg.management import vault
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.envelope import binding, parse, unpack
from hdg.management.store.index import Indexer, IndexRows
from hdg.management.store.merge import JsonObject

__all__ = ["Derived", "walk"]

PAGE = 256

_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_OWNER = table_of(schema.OwnerKey)


@dataclass(frozen=True, slots=True)
class Derived:
    """One version's ``row`` (of ``_query``) and what follows from its body.

    ``patients`` and ``scope`` are None where the owner's key was destroyed (or the body does not open);
    ``content`` and ``rows`` are None for deletions as well.
    """

    row: Row[Any]
    content: JsonObject | None
    rows: IndexRows | None
    patients: frozenset[str] | None
    scope: int | None

    @property
    def is_current(self) -> bool:
        """It is its resource's current version."""
        return bool(self.row.version == self.row.current)

    @property
    def sole(self) -> str | None:
        """``resource.patient``: the one patient, if there is exactly one."""
        return next(iter(self.patients)) if self.patients is not None and len(self.patients) == 1 else None


def walk(
    connection: Connection,
    keks: vault.KekCache,
    indexer: Indexer,
    *,
    only: str = "",
    among: ColumnElement[bool] | None = None,
    is_lenient: bool = False,
) -> Iterator[list[Derived]]:
    """All versions (``only``, Type/id: that resource's; ``among``: those), oldest first, PAGE at a time.

    Raises VaultError for a body that does not open though its key is there, unless ``is_lenient``.
    """
    query = _query(only)
    if among is not None:
        query = query.where(among)
    rkey, before = -1, None
    page = connection.execute(query).all()
    while page:
        found: list[Derived] = []
        for row in page:
            if row.rkey != rkey:
                rkey, before = row.rkey, frozenset[str]()
            made = _derived(row, before, keks, indexer, is_lenient=is_lenient)
            before = made.patients
            found.append(made)
        yield found
        after = tuple_(page[-1].rkey, page[-1].version)
        page = connection.execute(query.where(tuple_(_VERSION.c.rkey, _VERSION.c.version) > after)).all()


def _query(only: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  # Select's type parameters say nothing here
    version, resource, owner = _VERSION.c, _RESOURCE.c, _OWNER.c
    query = (
        select(
            version.rkey,
            version.type,
            version.id,
            version.version,
            version.institution,
            version.deleted,
            version.patient_code,
            version.scope,
            version.body,
            resource.version.label("current"),
            resource.patient,
            resource.patients,
            owner.kind,
            owner.owner,
            owner.wrapped_kek,
        )
        .select_from(
            _VERSION.join(_RESOURCE, resource.rkey == version.rkey).join(
                _OWNER, owner.code == version.patient_code, isouter=True
            )
        )
        .order_by(version.rkey, version.version)
        .limit(PAGE)
    )
    if only:
        type_, _, id_ = only.partition("/")
        query = query.where(and_(resource.type == type_, resource.id == id_))
    return query


def _derived(
    row: Row[Any],
    before: frozenset[str] | None,
    keks: vault.KekCache,
    indexer: Indexer,
    *,
    is_lenient: bool,
) -> Derived:
    content = rows = None
    patients = before
    if row.wrapped_kek is None:
        patients = None
    elif not row.deleted:
        try:
            kek = keks.get(row.patient_code) or keks.unwrap(row.patient_code, row.wrapped_kek)
            body = unpack(vault.open_sealed(kek, row.body, binding(row.type, row.id, row.version))).body
        except VaultError:
            if not is_lenient:
                raise
            patients = None
        else:
            content = parse(body)
            rows = indexer.rows(content, row.rkey)
            patients = frozenset(rows.patients | ({row.owner} if row.kind == "patient" else set()))
    scope = None if patients is None else indexer.scope(row.institution, patients)
    return Derived(row, content, rows, patients, scope)
