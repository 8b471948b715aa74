"""Facts about the database itself.

Which root key made it, and which definitions filled the tables that are derived from its bodies.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select

from hdg.errors import VaultError
from hdg.fhir import definitions
from hdg.management import vault
from hdg.management.consent.rules import rows_for
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom_register import begin_anew
from hdg.management.store.derived import Derived, walk
from hdg.management.store.engine import Statements
from hdg.management.store.index import INDEX_VERSION, Indexer

__all__ = [
    "UNLEDGERED",
    "check_root",
    "get_fact",
    "index_digest",
    "index_key",
    "note_unledgered",
    "reindex",
    "reindex_if_needed",
    "set_fact",
]

_META = table_of(schema.StoreMeta)
_RULE = table_of(ConsentRuleRow)
_ID_HASH = "UPDATE resource SET id_hash = ? WHERE rkey = ?"
_SCOPE = "UPDATE version SET scope = ? WHERE rkey = ? AND version = ?"
UNLEDGERED = "unledgered"
"""How many groups changed versions (sealed them anew) without a ledger leaf; as text, absent for none."""


def index_key(root: bytes) -> bytes:
    """The key of the index's hashes."""
    return vault.derive(root, "hdg search index v1")


def _get(connection: Connection, name: str) -> str | None:
    return connection.execute(select(_META.c.value).where(_META.c.name == name)).scalar()


def _set(connection: Connection, name: str, value: str) -> None:
    connection.execute(delete(_META).where(_META.c.name == name))
    connection.execute(insert(_META).values(name=name, value=value))


def get_fact(connection: Connection, name: str) -> str | None:
    """What was noted under a name, None for nothing."""
    return _get(connection, name)


def set_fact(connection: Connection, name: str, value: str) -> None:
    """Notes it, in the only writing transaction."""
    _set(connection, name, value)


def note_unledgered(connection: Connection) -> str:
    """Counts one more such group, for the other processes: their memory of versions is out of date.

    The caller's transaction must be the only writing one.
    """
    count = str(int(_get(connection, UNLEDGERED) or "0") + 1)
    _set(connection, UNLEDGERED, count)
    return count


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
    """Makes everything that is derived from the bodies anew when other rules made it (after an upgrade)."""
    digest = index_digest()
    with engine.begin() as connection:
        known = _get(connection, "index_digest")
        if known == digest:
            return
        if known is not None:
            reindex(connection, keks, indexer)
        _set(connection, "index_digest", digest)


def reindex(connection: Connection, keks: vault.KekCache, indexer: Indexer) -> int:
    """Makes index tables, compartments, scopes and consent rules anew in this transaction.

    Returns how many current versions it read. Resources whose owner's key was destroyed get no index rows
    (nothing can find them any more) and keep the compartments they had. Search parameters that are not R4's own
    are filled again while the server runs.
    """
    begin_anew(connection)
    tables = tuple(table_of(model) for model in schema.INDEX_TABLES)
    for table in (*tables, _RULE):
        connection.execute(delete(table))
    statements = Statements(connection.dialect)
    cursor = connection.connection.cursor()
    count = 0
    for page in walk(connection, keks, indexer):
        known = [version for version in page if version.patients is not None]
        current = [version for version in known if version.is_current]
        names = [(indexer.id_hash(v.row.id), v.row.rkey) for v in page if v.is_current]
        if names:
            cursor.executemany(statements.of(_ID_HASH), names)
        scopes = [(version.scope, version.row.rkey, version.row.version) for version in known]
        if scopes:
            cursor.executemany(statements.of(_SCOPE), scopes)
        _compartments(cursor, statements, current)
        for number, table in enumerate(tables):
            found = (version.rows.tables[number] for version in current if version.rows is not None)
            statements.insert_many(cursor, table, sorted({row for rows in found for row in rows}))
        for version in current:
            if version.content is not None and version.row.type == "Consent":
                rules = rows_for(version.content, version.row.rkey)
                if rules:
                    connection.execute(insert(_RULE), rules)
        count += sum(version.content is not None for version in current)
    cursor.close()
    return count


def _compartments(cursor: Any, statements: Statements, current: list[Derived]) -> None:
    if not current:
        return
    patients = [(version.row.rkey, version.patients or frozenset()) for version in current]
    sole = [(version.sole, len(version.patients or ()), version.row.rkey) for version in current]
    cursor.executemany(
        statements.of("DELETE FROM compartment WHERE rkey = ?"), [(rkey,) for rkey, _ in patients]
    )
    rows = [(rkey, patient) for rkey, named in patients for patient in sorted(named)]
    statements.insert_many(cursor, table_of(schema.Compartment), rows)
    cursor.executemany(statements.of("UPDATE resource SET patient = ?, patients = ? WHERE rkey = ?"), sole)
