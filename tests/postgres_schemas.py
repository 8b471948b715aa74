"""Schemas of the suite's PostgreSQL, used one after the other: a hundred relations to make one, a dozen to empty it.

A schema that a test leaves in the shape that migrations give it is emptied, and is the next test's: tables without
a page or a statistic, sequences at their start, as if a gateway had just been opened on it for the first time. One
of another shape (an older revision, an index that a test dropped) is dropped; one that somebody is still connected
to is left alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import create_engine

__all__ = ["Schemas"]

_PATIENCE_S = 1.0
"""A connection that was closed is gone from the list of connections a little later."""
_REVISION = "alembic_version"
"""The only table that migrations leave a row in."""
_CONNECTED = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND backend_start >= to_timestamp(%s)
"""
_SHAPE = """
SELECT md5(string_agg(replace(line, current_schema() || '.', ''), E'\\n' ORDER BY line COLLATE "C")) FROM (
  SELECT concat_ws(' ', relname, relkind, relpersistence, reloptions) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace
  UNION ALL SELECT concat_ws(' ', attname, attnum, relname, atttypid, attnotnull, attcollation, attstattarget,
      attidentity, pg_get_expr(adbin, adrelid))
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
      LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND attnum > 0
  UNION ALL SELECT concat_ws(' ', indisvalid, pg_get_indexdef(indexrelid))
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = current_schema()::regnamespace
  UNION ALL SELECT concat_ws(' ', conname, conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
  UNION ALL SELECT concat_ws(' ', tgname, relname, tgenabled) FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE relnamespace = current_schema()::regnamespace AND NOT tgisinternal
  UNION ALL SELECT concat_ws(' ', proname, prosrc) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
  UNION ALL SELECT concat_ws(' ', stxname) FROM pg_statistic_ext WHERE stxnamespace = current_schema()::regnamespace
) AS lines (line)
"""
_TOUCHED = f"""
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname <> '{_REVISION}'
  AND (pg_relation_size(oid) > 0 OR reltuples >= 0)
"""
_LOOKED_AT = """
DELETE FROM pg_statistic USING pg_class WHERE pg_class.oid = starelid AND relnamespace = current_schema()::regnamespace
"""
_COUNTED = (
    "SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() AND last_value IS NOT NULL"
)


class Schemas:
    """Those of one server, which only this process uses. ``uri``: its database ``postgres``."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._numbers = itertools.count()
        self._free: list[str] = []
        self._usual = ""

    @contextmanager
    def one(self) -> Iterator[str]:
        """The SQLAlchemy URL of a schema for one test: new, or with empty tables."""
        if not self._usual:
            self._begin()
        name = self._free.pop() if self._free else self._new()
        begun = time.time()
        yield self._url(name)
        self._take_back(name, begun)

    @contextmanager
    def bare(self) -> Iterator[str]:
        """The same of a schema without tables, for tests of how these come to be."""
        name = self._new()
        begun = time.time()
        yield self._url(name)
        with self._admin(name) as admin:
            if _is_left(admin, begun):
                _drop(admin, name)

    def _begin(self) -> None:
        """What the shape is that migrations make."""
        from hdg.management.store.migrations import run

        name = self._new()
        engine = create_engine(self._url(name))
        run.upgrade(engine)
        engine.dispose()
        with self._admin(name) as admin:
            self._usual = _shape(admin)
        self._free.append(name)

    def _new(self) -> str:
        name = f"t{next(self._numbers)}"
        with psycopg.connect(self._uri, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return name

    def _take_back(self, name: str, begun: float) -> None:
        with self._admin(name) as admin:
            if not _is_left(admin, begun):
                return
            if _shape(admin) == self._usual:
                _make_empty(admin)
                self._free.append(name)
            else:
                _drop(admin, name)

    def _url(self, name: str) -> str:
        joint = "&" if "?" in self._uri else "?"
        return f"{self._uri.replace('postgresql://', 'postgresql+psycopg://')}{joint}options=-csearch_path%3D{name}"

    def _admin(self, name: str) -> psycopg.Connection:
        return psycopg.connect(self._uri, autocommit=True, options=f"-csearch_path={name}")


def _is_left(admin: psycopg.Connection, begun: float) -> bool:
    """Whether nobody is connected any more who came since then."""
    until = time.monotonic() + _PATIENCE_S
    while admin.execute(_CONNECTED, (begun,)).fetchone() != (0,):
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def _shape(admin: psycopg.Connection) -> str:
    """A digest of what there is, and of the revision."""
    found = admin.execute(_SHAPE).fetchone()
    is_migrated = admin.execute("SELECT to_regclass(%s) IS NOT NULL", (_REVISION,)).fetchone()
    revision = admin.execute(f"SELECT * FROM {_REVISION}").fetchall() if is_migrated == (True,) else []
    return f"{found} {revision}"


def _make_empty(admin: psycopg.Connection) -> None:
    touched = [sql.Identifier(name) for (name,) in admin.execute(_TOUCHED)]
    if touched:
        admin.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(touched)))
    admin.execute(_LOOKED_AT)
    for (name,) in admin.execute(_COUNTED).fetchall():
        admin.execute(sql.SQL("ALTER SEQUENCE {} RESTART").format(sql.Identifier(name)))


def _drop(admin: psycopg.Connection, name: str) -> None:
    admin.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
