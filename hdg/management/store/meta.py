"""Facts about the database itself.

Which root key made it, and which definitions filled the tables that are derived from its bodies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select

from hdg.errors import VaultError
from hdg.fhir import definitions
from hdg.management import vault
from hdg.management.consent.rules import VERSION as RULES_VERSION
from hdg.management.consent.rules import rows_for
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom_register import begin_anew
from hdg.management.store.derived import Derived, walk
from hdg.management.store.engine import Statements
from hdg.management.store.index import INDEX_VERSION, Indexer
from hdg.management.store.index_state import Mark, mark_of, set_mark

__all__ = [
    "UNLEDGERED",
    "begin_fill",
    "check_root",
    "fill_rows",
    "get_fact",
    "index_digest",
    "index_key",
    "make_rules",
    "note_unledgered",
    "reindex",
    "reindex_if_needed",
    "save_rules",
    "set_digest",
    "set_fact",
]

_META = table_of(schema.StoreMeta)
_RULE = table_of(ConsentRuleRow)
_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_INDEXES = tuple(table_of(model) for model in schema.INDEX_TABLES)
_DIGEST = "index_digest"
_RULES = "consent_rules"
AT_ONCE = 2_000
"""Resources of a store that is made anew while it opens: a few seconds."""
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
    """After an upgrade that changed the rules, makes everything that is derived from the bodies anew.

    A small store at once; any other is only prepared here, and filled while it is in use (refill.py).
    """
    digest = index_digest()
    with engine.begin() as connection:
        if _get(connection, _DIGEST) is None:
            set_digest(connection, digest)
            _set(connection, _RULES, RULES_VERSION)
            return
        if _get(connection, _RULES) != RULES_VERSION:
            make_rules(connection, keks, indexer)
        mark = mark_of(connection)
        if (_get(connection, _DIGEST) if mark is None else mark.digest) == digest:
            return
        if _size(connection) <= AT_ONCE or _lacks_columns(connection):
            reindex(connection, keks, indexer)
            set_mark(connection, None)
            set_digest(connection, digest)
        else:
            begin_fill(connection, keks, indexer, digest)


def set_digest(connection: Connection, digest: str) -> None:
    """Notes by which rules everything derived has been made, in the only writing transaction."""
    _set(connection, _DIGEST, digest)


def _size(connection: Connection) -> int:
    some = select(_RESOURCE.c.rkey).limit(AT_ONCE + 1).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _lacks_columns(connection: Connection) -> bool:
    """Whether it comes from a revision without scopes and hashes of ids: without them, old versions are hidden."""
    newest = select(_RESOURCE.c.id_hash).order_by(_RESOURCE.c.rkey.desc()).limit(1)
    scope = select(_VERSION.c.scope).order_by(_VERSION.c.rkey.desc(), _VERSION.c.version.desc()).limit(1)
    return connection.execute(newest).scalar() is None or connection.execute(scope).scalar() is None


def begin_fill(connection: Connection, keks: vault.KekCache, indexer: Indexer, digest: str) -> None:
    """Empties the index, to be filled by the rules of ``digest``; consent rules are made anew at once.

    Access goes by consents, so no answer may depend on how far the fill has come; there are few of them.
    """
    _empty(connection)
    make_rules(connection, keks, indexer)
    highest = connection.execute(select(func.coalesce(func.max(_RESOURCE.c.rkey), 0))).scalar_one()
    set_mark(connection, Mark(digest, 0, int(highest)))


def make_rules(connection: Connection, keks: vault.KekCache, indexer: Indexer) -> None:
    """Makes the rules of all Consents anew in this transaction. One whose body does not open keeps what it had."""
    consents = _VERSION.c.rkey.in_(select(_RESOURCE.c.rkey).where(_RESOURCE.c.type == "Consent"))
    for page in walk(connection, keks, indexer, among=consents, is_lenient=True):
        for made in page:
            if made.is_current and made.content is not None:
                save_rules(connection, made.row.rkey, rows_for(made.content, made.row.rkey))
    _set(connection, _RULES, RULES_VERSION)


def _empty(connection: Connection) -> None:
    begin_anew(connection)
    for table in _INDEXES:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                f"TRUNCATE {connection.dialect.identifier_preparer.format_table(table)}"
            )
        else:
            connection.execute(delete(table))


def reindex(connection: Connection, keks: vault.KekCache, indexer: Indexer) -> int:
    """Makes index tables, compartments, scopes and consent rules anew in this transaction.

    Returns how many current versions it read. Resources whose owner's key was destroyed get no index rows
    (nothing can find them any more) and keep the compartments they had. Search parameters that are not R4's own
    are filled again while the server runs.
    """
    _empty(connection)
    connection.execute(delete(_RULE))
    statements = Statements(connection.dialect)
    count = 0
    for page in walk(connection, keks, indexer):
        fill_rows(connection, statements, indexer, page)
        for version in page:
            if version.is_current and version.content is not None and version.row.type == "Consent":
                save_rules(connection, version.row.rkey, rows_for(version.content, version.row.rkey))
        count += sum(version.is_current and version.content is not None for version in page)
    return count


def fill_rows(
    connection: Connection, statements: Statements, indexer: Indexer, found: Sequence[Derived]
) -> None:
    """Writes hashes of ids, scopes, compartments and index rows of versions; index rows may be there already."""
    cursor = connection.connection.cursor()
    known = [version for version in found if version.patients is not None]
    current = [version for version in known if version.is_current]
    names = [(indexer.id_hash(v.row.id), v.row.rkey) for v in found if v.is_current]
    if names:
        cursor.executemany(statements.of(_ID_HASH), names)
    scopes = [(version.scope, version.row.rkey, version.row.version) for version in known]
    if scopes:
        cursor.executemany(statements.of(_SCOPE), scopes)
    _compartments(cursor, statements, current)
    for number, table in enumerate(_INDEXES):
        made = (version.rows.tables[number] for version in current if version.rows is not None)
        rows = sorted({row for each in made for row in each})
        if rows:
            cursor.executemany(statements.insert_missing(table), rows)
    cursor.close()


def save_rules(connection: Connection, rkey: int, rules: Sequence[dict[str, Any]]) -> None:
    """What a Consent says from now on."""
    connection.execute(delete(_RULE).where(_RULE.c.rkey == rkey))
    if rules:
        connection.execute(insert(_RULE), list(rules))


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
