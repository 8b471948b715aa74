"""Reads: current version, one version, history, search; always under a predicate that is part of the SQL.

R4 http.html#read, #vread, #history; DESIGN §6. Hidden rows never leave the database, so they look like absent
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from io import BufferedIOBase, BytesIO
from typing import Any, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import ColumnElement, Connection, Engine, Select, True_, and_, bindparam, func, select

from hdg.errors import VaultError
from hdg.management import vault, vault_stream
from hdg.management.audit_text import whole
from hdg.management.store import pages, schema
from hdg.management.store.asking import Asker
from hdg.management.store.awaited import Awaited
from hdg.management.store.batch import table_of
from hdg.management.store.connections import ONCE, Connections
from hdg.management.store.derived import Derived, walk
from hdg.management.store.document import gathered
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import Opened, binding, body_in, parse, unpack
from hdg.management.store.everything import Everything, linked_patients, members, named, shared_names
from hdg.management.store.finding import Finder
from hdg.management.store.index import Indexer
from hdg.management.store.index_state import IndexState
from hdg.management.store.prepared import Prepared
from hdg.management.store.search import SearchQuery
from hdg.management.store.single import Single
from hdg.management.store.values import Hash
from hdg.management.store.versions import (
    ALWAYS,
    COLUMNS,
    IS_CURRENT,
    IS_NAMED,
    IS_VERSION,
    PATIENTS_AT,
    Page,
    Span,
    StoredVersion,
    current,
    current_among,
    current_of,
    same_scope,
    stored,
    versions_of,
    within,
)

__all__ = ["Reader"]

Condition = ColumnElement[bool]
Position = Sequence[Any] | None
"""Of the last row of the page before, as pages.page has it."""
FoundRows = tuple[Sequence[Sequence[Any]], int | None, list[Condition]]

_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_READ = (
    "SELECT v.rkey, v.type, v.id, v.version, v.updated_us, v.institution, v.deleted, r.patient, "
    "r.patients, v.patient_code, v.leaf_index, v.body "
    "FROM resource r JOIN version v ON v.rkey = r.rkey AND v.version = r.version "
    "WHERE r.type = ? AND r.id = ?"
)


class Sealed(Protocol):
    """What it takes to open a version: where it belongs, whose key, the sealed bytes."""

    @property
    def type(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def patient_code(self) -> str: ...
    @property
    def sealed(self) -> bytes: ...


class Reader:
    """Thread-safe; pooled connections.

    ``predicate`` is SQL over ``Resource`` columns (``sqlalchemy.true()``: all).
    """

    def __init__(
        self,
        engine: Engine,
        keks: vault.KekCache,
        hash_: Hash,
        files: vault.BlobFiles,
        clock: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._connections = Connections(engine)
        self._asker = Asker(engine.dialect)
        is_sqlite = engine.dialect.name == "sqlite"
        self._awaited = None if is_sqlite else Awaited(engine)
        """What an event loop may ask without a thread (``read_awaited``)."""
        self._keks = keks
        self._hash = hash_
        self._files = files
        self._clock = clock
        self.index = IndexState()
        """Whether searches can be answered."""
        single = Single(self._asker, COLUMNS, hash_, clock, is_sqlite=is_sqlite)
        self._finder = Finder(
            self._connections, self._asker, single, hash_, clock, self.index, self._contents
        )
        statements = Statements(engine.dialect)
        self._read_sql = statements.of(_READ)
        self._kek_sql = statements.of("SELECT wrapped_kek FROM owner_key WHERE code = ?")
        self._blob_sql = statements.of("SELECT key_code, data, dek, size FROM blob WHERE cid = ?")

    def _fetch(self, sql: str, values: Sequence[Any] | dict[str, Any]) -> Any:
        def fetch(connection: Connection) -> Any:
            cursor = connection.connection.cursor()
            cursor.execute(sql, values)
            row = cursor.fetchone()
            cursor.close()
            return row

        return self._connections.once(fetch)

    def close(self) -> None:
        """Closes the idle connections."""
        self._connections.close()
        if self._awaited is not None:
            self._awaited.close()

    def prepare(self, predicate: Condition) -> Prepared:
        """``predicate`` made ready for many calls of ``read``: a fifth of the time for each."""
        return Prepared(current(), predicate, self._asker.dialect)

    def read(self, type_: str, id_: str, predicate: Condition | Prepared) -> StoredVersion | None:
        """The current version (``deleted`` set if it is a deletion), or None when absent or hidden."""
        if isinstance(predicate, Prepared):
            values = predicate.values(type_, id_)
            rows = self._connections.once(lambda c: self._asker.fetched(c, predicate.sql, values))
            row = rows[0] if rows else None
        elif isinstance(predicate, True_):
            row = self._fetch(self._read_sql, (type_, id_))
        else:
            row = self._first(current(predicate), {"t": type_, "i": id_})
        if row is None or row[PATIENTS_AT] < 2:
            return None if row is None else stored(row)
        condition = predicate.predicate if isinstance(predicate, Prepared) else predicate
        return self._with_patients(current(condition), {"t": type_, "i": id_})

    @property
    def is_remote(self) -> bool:
        """Whether the database is another process, to be waited for: then reads that come together share a query."""
        return self._engine.dialect.name == "postgresql"

    def prepare_among(self, predicate: Condition) -> Prepared:
        """``predicate`` made ready for ``read_among``."""
        return Prepared(current_among(), predicate, self._asker.dialect)

    def read_among(
        self, names: Collection[tuple[str, str]], predicate: Prepared
    ) -> dict[tuple[str, str], StoredVersion]:
        """As ``read``, of many (type, id) on PostgreSQL; what is absent or hidden is not in it."""
        types, ids = [name[0] for name in names], [name[1] for name in names]
        values = predicate.values(types, ids)
        rows = self._connections.once(lambda c: self._asker.fetched(c, predicate.sql, values), ONCE)
        found: dict[tuple[str, str], StoredVersion] = {}
        for row in rows:
            version: StoredVersion | None = stored(row)
            if row[PATIENTS_AT] > 1:
                named_ = {"t": row[1], "i": row[2]}
                version = self._with_patients(current(predicate.predicate), named_)
            if version is not None:
                found[version.type, version.id] = version
        return found

    def open_awaited(self) -> None:
        """Connects for ``read_awaited``; in a thread that may wait."""
        if self._awaited is not None:
            self._awaited.open()

    async def read_awaited(
        self, asked: Sequence[tuple[Collection[tuple[str, str]], Prepared]]
    ) -> list[dict[tuple[str, str], StoredVersion]] | None:
        """As ``read_among`` for each, by one exchange on the event loop; None: to be read in another way."""
        if self._awaited is None:
            return None
        queries = []
        for names, predicate in asked:
            types, ids = [name[0] for name in names], [name[1] for name in names]
            queries.append((predicate.sql, list(predicate.values(types, ids))))
        found = await self._awaited.rows(queries)
        if found is None or any(row[PATIENTS_AT] > 1 for rows in found for row in rows):
            return None
        return [{(row[1], row[2]): stored(row) for row in rows} for rows in found]

    def vread(self, type_: str, id_: str, version: int, predicate: Condition) -> StoredVersion | None:
        """One version, or None when absent or hidden (see ``history``)."""
        query = select(*COLUMNS).where(
            IS_VERSION, IS_NAMED, _VERSION.c.version == bindparam("v"), predicate, *same_scope(predicate)
        )
        row = self._first(query, {"t": type_, "i": id_, "v": version})
        if row is None or row[PATIENTS_AT] < 2:
            return None if row is None else stored(row)
        return self._with_patients(query, {"t": type_, "i": id_, "v": version})

    def _with_patients(self, query: Select[Any], values: dict[str, Any]) -> StoredVersion | None:
        """A version about several patients, read with their names in one snapshot."""
        with self._engine.connect() as connection:
            return next(iter(versions_of(connection, connection.execute(query, values).all())), None)

    def history(
        self,
        type_: str,
        id_: str,
        predicate: Condition,
        count: int = 50,
        cursor: str = "",
        span: Span = ALWAYS,
    ) -> Page:
        """Versions of one resource, newest first; an empty page when absent or hidden.

        The predicate speaks of the current version. Under any but ``true()``, versions about other patients
        (a result moved to the right one) or of another institution than the current one are left out: who
        may read the present does not get those.
        """
        before = pages.decoded(cursor, 1)[0] if cursor else 0
        named = (IS_VERSION, IS_NAMED, predicate, *same_scope(predicate), *within(span))
        page = select(*COLUMNS).where(*named).order_by(_VERSION.c.version.desc()).limit(count + 1)
        if before:
            page = page.where(_VERSION.c.version < before)
        values = {"t": type_, "i": id_}
        with self._engine.connect() as connection:
            total = connection.execute(
                select(func.count()).select_from(_RESOURCE.join(_VERSION, IS_VERSION)).where(*named), values
            ).scalar_one()
            rows = versions_of(connection, connection.execute(page, values).all()) if count else []
        next_cursor = pages.encoded([rows[count - 1].version]) if len(rows) > count else ""
        return Page(tuple(rows[:count]), total, next_cursor)

    def changes(
        self, type_: str, predicate: Condition, count: int = 50, cursor: str = "", span: Span = ALWAYS
    ) -> Page:
        """Versions of all resources (of a type, '' for any) in the order in which they were committed, newest first.

        As ``history`` decides which. Nothing is counted. No version is lost or doubled while others write.
        """
        before = pages.decoded(cursor, 1)[0] if cursor else None
        terms = [IS_VERSION, predicate, *same_scope(predicate), *within(span)]
        if type_:
            terms.append(_VERSION.c.type == type_)
        if before is not None:
            terms.append(_VERSION.c.leaf_index < before)
        page = select(*COLUMNS).where(*terms).order_by(_VERSION.c.leaf_index.desc()).limit(count + 1)
        with self._engine.connect() as connection:
            rows = versions_of(connection, connection.execute(page).all()) if count else []
        next_cursor = pages.encoded([rows[count - 1].leaf_index]) if len(rows) > count else ""
        return Page(tuple(rows[:count]), None, next_cursor)

    def committed(
        self, type_: str, predicate: Condition, after: int, until: int, count: int
    ) -> list[StoredVersion]:
        """Versions of a type with a leaf in (``after``, ``until``], in the order in which they were committed.

        As ``history`` decides which; none of a resource that is deleted now.
        """
        terms = [IS_VERSION, _VERSION.c.type == type_, predicate, *same_scope(predicate)]
        terms += [_VERSION.c.leaf_index > after, _VERSION.c.leaf_index <= until]
        terms += [_VERSION.c.deleted.is_(False), _RESOURCE.c.deleted.is_(False)]
        query = select(*COLUMNS).where(*terms).order_by(_VERSION.c.leaf_index).limit(count)
        with self._engine.connect() as connection:
            return versions_of(connection, connection.execute(query).all())

    def search(self, query: SearchQuery, predicate: Condition) -> Page:
        """Matching current versions, none of them deleted.

        Raises BadRequest for a value that cannot be read, IndexIncomplete while the index is made anew.

        The total is counted for the first page and travels in the cursor.
        """
        return self._finder.search(query, predicate)

    def _contents(self, versions: Sequence[StoredVersion]) -> Iterator[dict[str, Any]]:
        return (parse(self.body(version)) for version in versions)

    def everything(self, asked: Everything, predicate: Condition) -> Page:
        """A page of all that belongs to a patient or an encounter, oldest first; empty when it is hidden.

        ``included``: what the page refers to and belongs to no patient. Raises BadRequest for a foreign cursor.
        """
        position = pages.decoded(asked.cursor, 2) if asked.cursor else None
        with self._engine.connect() as connection:
            self.index.check(connection)

            def contents(rkeys: Sequence[int]) -> Iterator[dict[str, Any]]:
                return self._contents(current_of(connection, rkeys, predicate))

            patients: tuple[str, ...] = ()
            if asked.type == "Patient":
                patients = linked_patients(connection, asked.id, predicate, self._hash, contents)
            where = [*members(asked, patients, self._hash), predicate]
            if position is None:
                counted = select(func.count()).select_from(_RESOURCE).where(*where)
                total = connection.execute(counted).scalar_one()
            else:
                total = position[1]
                where.append(_RESOURCE.c.rkey > position[0])
            page = select(*COLUMNS).where(IS_CURRENT, *where).order_by(_RESOURCE.c.rkey)
            rows = connection.execute(page.limit(asked.count + 1)).all() if asked.count else []
            versions = versions_of(connection, rows[: asked.count])
            names = shared_names(self._contents(versions))
            if asked.types:
                names = [name for name in names if name[0] in asked.types]
            rkeys = [row[0] for row in named(connection, names, predicate)]
            shared = current_of(connection, rkeys, predicate)
        next_cursor = pages.encoded([versions[-1].rkey, total]) if len(rows) > asked.count else ""
        return Page(tuple(versions), total, next_cursor, tuple(shared))

    def document(self, id_: str, predicate: Condition) -> list[StoredVersion]:
        """A Composition and what it leads to (document.py); [] when it is hidden. Raises BadRequest."""
        with self._engine.connect() as connection:

            def fetch(names: Sequence[tuple[str, str]]) -> list[StoredVersion]:
                return current_of(
                    connection, [row[0] for row in named(connection, names, predicate)], predicate
                )

            return gathered(("Composition", id_), fetch, lambda version: parse(self.body(version)))

    def derived(
        self, connection: Connection, indexer: Indexer, after: int, until: int
    ) -> Iterator[list[Derived]]:
        """What follows from the versions of the resources behind ``after``, up to ``until`` (derived.walk).

        For the gateway's own work: no predicate is asked, and nothing of it may leave.
        """
        among = and_(_VERSION.c.rkey > after, _VERSION.c.rkey <= until)
        return walk(connection, self._keks, indexer, among=among, is_lenient=True)

    def body(self, version: StoredVersion) -> bytes:
        """The exact JSON bytes (b'' for a deletion). Raises VaultError when they cannot be opened."""
        return body_in(self._plain(version))

    def opened(self, version: Sealed) -> Opened:
        """The whole envelope: the salt of the ledger commitment, list ownership, the body."""
        return unpack(self._plain(version))

    def _plain(self, version: Sealed) -> bytes:
        place = binding(version.type, version.id, version.version)
        return vault.open_sealed(self._kek(version.patient_code), version.sealed, place)

    def open_row(self, owner_code: str, sealed: bytes, key: str) -> Opened:
        """Opens what WriteSession.seal sealed for another module's row; of an AuditEvent the event itself."""
        opened = unpack(vault.open_sealed(self._kek(owner_code), sealed, b"row/" + key.encode()))
        return replace(opened, body=whole(opened.body)) if key.startswith("AuditEvent/") else opened

    def blob(self, cid: str) -> bytes:
        """A vault object's plaintext. Raises VaultError when it is missing or cannot be opened."""
        with self.blob_open(cid) as source:
            return source.read()

    def blob_open(self, cid: str) -> BufferedIOBase:
        """The same as a file to be read from any place: one sealed in a stream in constant memory."""
        row = self._fetch(self._blob_sql, (cid,))
        if row is None:
            raise VaultError(f"there is no vault object {cid}")
        code, data, dek, size = row
        if dek is not None:
            opened = vault_stream.unwrap(self._kek(code), code, cid, bytes(dek))
            return vault_stream.open_stream(self._files.path(cid), opened, size)
        sealed = self._files.get(cid) if data is None else bytes(data)
        return BytesIO(vault.open_sealed(self._kek(code), sealed, b"blob/" + code.encode()))

    def _kek(self, code: str) -> AESGCM:
        kek = self._keks.get(code)
        if kek is None:
            row = self._fetch(self._kek_sql, (code,))
            kek = self._keks.unwrap(code, None if row is None else row[0])
        return kek

    def _first(self, query: Select[Any], values: dict[str, Any]) -> Any:
        return self._connections.once(lambda connection: connection.execute(query, values).first())
