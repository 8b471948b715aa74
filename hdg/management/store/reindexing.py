"""The index rows of everything stored, made anew from the bodies while the gateway runs, and compared.

DESIGN §6. A window of resources at a time is read as one state of the database: their current bodies, and the index
rows that they have. What the bodies give and what is there must be equal; what is missing is inserted and what is
there without a reason is deleted, in transactions in which every resource must still be at the version that was read
(else it is looked at again). So searches go on meanwhile, and find no less than before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Table, select

from hdg.errors import BadRequest, VaultError
from hdg.fhir import definitions
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom import Rows
from hdg.management.store.custom_register import current_set
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import parse
from hdg.management.store.forms import TABLES, form_numbers
from hdg.management.store.index import Indexer, lookups
from hdg.management.store.meta import get_fact, set_fact
from hdg.management.store.session import WriteSession
from hdg.management.store.versions import StoredVersion, current_versions
from hdg.management.store.writer import Store

__all__ = ["Count", "Reindexing", "Scope"]

WINDOW = 5_000
"""Resources that are compared together; their rows are in memory meanwhile."""
_FIXED_AT_ONCE = 200
_TRIES = 50
_CUSTOM_FROM = 1 << 31
_MARK = "reindex"
Row = tuple[Any, ...]
Progress = Callable[[str, int], None]
_RESOURCE = table_of(schema.Resource)
_OWNER = table_of(schema.OwnerKey)
_INDEXES = tuple(table_of(model) for model in schema.INDEX_TABLES)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is made anew: all, or one ``type``, or one ``parameter`` (its code), or both."""

    type: str = ""
    parameter: str = ""


@dataclass(slots=True)
class Count:
    """What was found: ``resources`` looked at, rows that were ``missing``, rows ``extra`` that nothing gives.

    ``unreadable``: resources (Type/id) whose body does not open though its key is there; their rows are left.
    """

    resources: int = 0
    missing: int = 0
    extra: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, window: _Window) -> None:
        """Counts a window too."""
        self.resources += window.count
        self.missing += window.size(window.missing)
        self.extra += window.size(window.extra)
        self.unreadable += window.unreadable

    @property
    def is_equal(self) -> bool:
        """Whether the rows were those that the bodies give."""
        return not (self.missing or self.extra or self.unreadable)


@dataclass(slots=True)
class _Window:
    """``versions``: rkey → version that was read; ``missing`` and ``extra``: by table, by rkey."""

    last: int
    versions: dict[int, int]
    count: int
    missing: list[dict[int, list[Row]]]
    extra: list[dict[int, list[Row]]]
    unreadable: list[str]
    is_end: bool

    def size(self, of: list[dict[int, list[Row]]]) -> int:
        return sum(len(rows) for table in of for rows in table.values())

    def touched(self) -> list[int]:
        return sorted({rkey for table in (*self.missing, *self.extra) for rkey in table})


class Reindexing:
    """Over an open store. ``scope``: raises BadRequest for a type or parameter that does not exist."""

    def __init__(
        self, store: Store, indexer: Indexer, scope: Scope, *, progress: Progress | None = None
    ) -> None:
        self._store = store
        self._indexer = indexer
        self._scope = scope
        self._progress = progress
        self._window = WINDOW
        if scope.type and scope.type not in definitions.resource_types():
            raise BadRequest("there is no such resource type", code="not-supported")
        if scope.parameter:
            with store.engine.connect() as connection:
                if not self._numbers(connection):
                    raise BadRequest("no such search parameter has index rows", code="not-supported")

    def position(self) -> int:
        """Up to which rkey an interrupted run of this scope has come; 0 for none."""
        with self._store.engine.connect() as connection:
            told = get_fact(connection, _MARK)
        mark = orjson.loads(told) if told else {}
        return int(mark["position"]) if mark.get("scope") == self._name else 0

    @property
    def _name(self) -> list[str]:
        return [self._scope.type, self._scope.parameter]

    def repair(self, start: int = 0) -> Count:
        """Makes the rows of every resource behind ``start`` what their bodies give. Raises NotCommitted."""
        count = Count()
        position, is_end = start, False
        while not is_end:
            window = self._compared(position)
            count.add(window)
            position, is_end, begun = window.last, window.is_end, position
            for _ in range(_TRIES):
                if all(self._fixed(window, some) for some in _parts(window.touched())):
                    break
                window = self._compared(begun, position)  # others have written meanwhile
            self._note(None if is_end else position)
            self._tell("resources indexed", count.resources)
        return count

    def verify(self) -> Count:
        """Compares everything once more; changes nothing."""
        count = Count()
        position, is_end = 0, False
        while not is_end:
            window = self._compared(position)
            count.add(window)
            position, is_end = window.last, window.is_end
            self._tell("resources verified", count.resources)
        return count

    def _tell(self, what: str, count: int) -> None:
        if self._progress is not None:
            self._progress(what, count)

    def _note(self, position: int | None) -> None:
        """Where a run that is interrupted goes on; None: it has come to its end."""
        mark = "" if position is None else orjson.dumps({"scope": self._name, "position": position}).decode()
        self._store.submit(lambda session: set_fact(session.connection, _MARK, mark)).result()

    # --- comparing -------------------------------------------------------------------------------------------

    def _compared(self, after: int, until: int | None = None) -> _Window:
        """The next resources behind ``after`` (up to ``until``): one state of bodies and rows."""
        with self._store.engine.connect() as connection:
            terms: list[ColumnElement[bool]] = [_RESOURCE.c.rkey > after, _RESOURCE.c.deleted.is_(False)]
            if self._scope.type:
                terms.append(_RESOURCE.c.type == self._scope.type)
            if until is not None:
                terms.append(_RESOURCE.c.rkey <= until)
            versions = current_versions(connection, terms, self._window if until is None else None)
            is_end = until is None and len(versions) < self._window
            last = until if until is not None else versions[-1].rkey if not is_end else _highest(connection)
            custom = current_set(connection)
            ready = [one for one in custom.parameters if one.is_ready]
            numbers = self._numbers(connection)
            wanted, unreadable = self._wanted(
                connection, versions, Rows(self._indexer.id_hash, ready), numbers
            )
            known = {number for one in ready for number in one.numbers()}
            missing: list[dict[int, list[Row]]] = []
            extra: list[dict[int, list[Row]]] = []
            left_out = {version.rkey for version in versions if f"{version.type}/{version.id}" in unreadable}
            for number in range(len(_INDEXES)):
                there = self._there(connection, number, after, None if is_end else last, numbers)
                there = {row for row in there if row[0] < _CUSTOM_FROM or row[0] in known}
                there = {row for row in there if row[-1] not in left_out}
                missing.append(_by_rkey(wanted[number] - there))
                extra.append(_by_rkey(there - wanted[number]))
            touched = sorted({rkey for table in (*missing, *extra) for rkey in table})
            stands = _stands(connection, touched)
        return _Window(last, stands, len(versions), missing, extra, unreadable, is_end)

    def _wanted(
        self,
        connection: Connection,
        versions: Sequence[StoredVersion],
        custom: Rows,
        numbers: frozenset[int],
    ) -> tuple[list[set[Row]], list[str]]:
        """By table what the bodies give; and what cannot be read. What was erased gives nothing."""
        wanted: list[set[Row]] = [set() for _ in _INDEXES]
        unreadable: list[str] = []
        for version in versions:
            try:
                content = parse(self._store.reader.body(version))
            except VaultError:
                if not _is_erased(connection, version):
                    unreadable.append(f"{version.type}/{version.id}")
                continue
            rows = self._indexer.rows(content, version.rkey), custom.of(content, version.rkey)
            for made in rows:
                for number, found in enumerate(made.tables):
                    wanted[number].update(row for row in found if not numbers or row[0] in numbers)
        return wanted, unreadable

    def _there(
        self, connection: Connection, number: int, after: int, until: int | None, numbers: frozenset[int]
    ) -> set[Row]:
        table = _INDEXES[number]
        terms = [table.c.rkey > after]
        if until is not None:
            terms.append(table.c.rkey <= until)
        if numbers:
            terms.append(table.c.param.in_(sorted(numbers)))
        elif table.name == "idx_reference":  # its index goes by these, then by resource
            terms.append(table.c.param.in_(_params(connection, table)))
        if self._scope.type:
            of_type = select(_RESOURCE.c.rkey).where(_RESOURCE.c.type == self._scope.type)
            terms.append(table.c.rkey.in_(of_type))
        return {tuple(row) for row in connection.execute(select(*table.columns).where(*terms))}

    def _numbers(self, connection: Connection) -> frozenset[int]:
        """``param`` of the rows that the scope's parameter has; empty: of all."""
        code = self._scope.parameter
        if not code:
            return frozenset()
        types = [self._scope.type] if self._scope.type else sorted(definitions.resource_types())
        found = {number for type_ in types for number, _ in lookups(type_, code)}
        found |= {number for type_ in types for name in TABLES for number in form_numbers(type_, code, name)}
        custom = current_set(connection)
        own = ((type_, custom.find(type_, code)) for type_ in types)
        return frozenset(
            found | {one.number(type_) for type_, one in own if one is not None and one.is_ready}
        )

    # --- making equal ----------------------------------------------------------------------------------------

    def _fixed(self, window: _Window, rkeys: Sequence[int]) -> bool:
        """Makes some resources' rows right; False: some have another version by now, and were left."""
        return self._store.submit(lambda session: _fix(session, window, rkeys)).result()


def _fix(session: WriteSession, window: _Window, rkeys: Sequence[int]) -> bool:
    connection = session.connection
    statements = Statements(connection.dialect)
    now = _stands(connection, rkeys)
    same = [rkey for rkey in rkeys if now.get(rkey) == window.versions.get(rkey)]
    cursor = connection.connection.cursor()
    for table, missing, extra in zip(_INDEXES, window.missing, window.extra, strict=True):
        gone = sorted(row for rkey in same for row in extra.get(rkey, ()))
        new = sorted(row for rkey in same for row in missing.get(rkey, ()))
        if gone:
            cursor.executemany(statements.delete(table), gone)
        if new:
            cursor.executemany(statements.insert_missing(table), new)
    cursor.close()
    return len(same) == len(rkeys)


def _parts(rkeys: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(rkeys), _FIXED_AT_ONCE):
        yield rkeys[at : at + _FIXED_AT_ONCE]


def _by_rkey(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row[-1], []).append(row)
    return found


def _params(connection: Connection, table: Table) -> list[int]:
    """All that a table has, each by one look at its index."""
    found: list[int] = []
    query = select(table.c.param).order_by(table.c.param).limit(1)
    one = connection.execute(query).scalar()
    while one is not None:
        found.append(one)
        one = connection.execute(query.where(table.c.param > one)).scalar()
    return found


def _stands(connection: Connection, rkeys: Sequence[int]) -> dict[int, int]:
    """rkey → version; what does not exist is not in it."""
    columns = _RESOURCE.c
    found: dict[int, int] = {}
    for some in _parts(rkeys):
        query = select(columns.rkey, columns.version).where(columns.rkey.in_(some))
        found.update({row[0]: row[1] for row in connection.execute(query)})
    return found


def _highest(connection: Connection) -> int:
    return (
        connection.execute(select(_RESOURCE.c.rkey).order_by(_RESOURCE.c.rkey.desc()).limit(1)).scalar() or 0
    )


def _is_erased(connection: Connection, version: StoredVersion) -> bool:
    key = select(_OWNER.c.wrapped_kek).where(_OWNER.c.code == version.patient_code)
    row = connection.execute(key).first()
    return row is not None and row[0] is None
