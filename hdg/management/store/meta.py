"""Facts about the database itself.

Which root key made it, and which index definitions filled its index tables.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, delete, insert, select

from hdg.errors import VaultError
from hdg.fhir import definitions
from hdg.management import vault
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import binding, parse, unpack
from hdg.management.store.index import INDEX_VERSION, Indexer

__all__ = ["check_root", "index_digest", "index_key", "reindex", "reindex_if_needed"]

_META = table_of(schema.StoreMeta)
_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_OWNER = table_of(schema.OwnerKey)
_BATCH_ROWS = 500


def index_key(root: bytes) -> bytes:
    """The key of the index's hashes."""
    return vault.derive(root, "hdg search index v1")


def _get(connection: Connection, name: str) -> str | None:
    return connection.execute(select(_META.c.value).where(_META.c.name == name)).scalar()


def _set(connection: Connection, name: str, value: str) -> None:
    connection.execute(delete(_META).where(_META.c.name == name))
    connection.execute(insert(_META).values(name=name, value=value))


def check_root(connection: Connection, keks: vault.KekCache) -> None:
    """Notes the root key in a new database; raises VaultError when another root key made this one."""
    sealed = _get(connection, "root_check")
    if sealed is None:
        _set(connection, "root_check", vault.seal(keks.root, b"hdg", b"root_check").hex())
    else:
        try:
            vault.open_sealed(keks.root, bytes.fromhex(sealed), b"root_check")
        except VaultError:
            raise VaultError("this database was made with another root key") from None


def index_digest() -> str:
    """What the contents of the index tables depend on.

    The rules of index.py and R4's definitions as shipped.
    """
    total = hashlib.sha256(INDEX_VERSION.encode())
    folder = Path(definitions.__file__).resolve().parent
    for name in ("search.json", "compartment.json"):
        total.update((folder / name).read_bytes())
    return total.hexdigest()


def reindex_if_needed(engine: Engine, keks: vault.KekCache, indexer: Indexer) -> None:
    """Makes the index tables anew when other definitions filled them (after an upgrade)."""
    digest = index_digest()
    with engine.begin() as connection:
        known = _get(connection, "index_digest")
        if known == digest:
            return
        if known is not None:
            reindex(connection, keks, indexer)
        _set(connection, "index_digest", digest)


def reindex(connection: Connection, keks: vault.KekCache, indexer: Indexer) -> int:
    """Empties and refills all index tables in this transaction; returns how many resources it read.

    Resources whose owner's key was destroyed are left out: nothing can find them any more.
    """
    tables = tuple(table_of(model) for model in schema.INDEX_TABLES)
    for table in tables:
        connection.execute(delete(table))
    statements = Statements(connection.dialect)
    cursor = connection.connection.cursor()
    count, last = 0, 0
    while True:
        rows = connection.execute(_live(last)).all()
        if not rows:
            cursor.close()
            return count
        last = rows[-1].rkey
        pending: tuple[set[tuple[Any, ...]], ...] = tuple(set() for _ in tables)
        for row in rows:
            if row.wrapped_kek is None:
                continue
            kek: AESGCM = keks.get(row.patient_code) or keks.unwrap(row.patient_code, row.wrapped_kek)
            body = unpack(vault.open_sealed(kek, row.body, binding(row.type, row.id, row.version))).body
            for buffer, found in zip(pending, indexer.rows(parse(body), row.rkey).tables, strict=True):
                buffer.update(found)
            count += 1
        for table, buffer in zip(tables, pending, strict=True):
            if buffer:
                statements.insert_many(cursor, table, sorted(buffer))


def _live(after: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # Select's type parameters say nothing here
    version, resource = _VERSION.c, _RESOURCE.c
    return (
        select(
            version.rkey,
            version.type,
            version.id,
            version.version,
            version.patient_code,
            version.body,
            _OWNER.c.wrapped_kek,
        )
        .select_from(
            _RESOURCE.join(
                _VERSION, (version.rkey == resource.rkey) & (version.version == resource.version)
            ).join(_OWNER, _OWNER.c.code == version.patient_code)
        )
        .where(resource.rkey > after, resource.deleted.is_(False))
        .order_by(resource.rkey)
        .limit(_BATCH_ROWS)
    )
