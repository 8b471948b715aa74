"""An empty database gets its tables at once instead of revision by revision: most tests make one, or several.

What it gets is what the revisions themselves made of the first empty database of the run. That these bring older
databases up, and to what the models say, has tests of its own (tests/management/store/test_store_upgrade.py,
test_store_schema.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from sqlalchemy import Engine, event, inspect

__all__ = ["Remembered"]

Upgrade = Callable[[Engine], None]


class Remembered:
    """``migrations.run.upgrade``, remembering what it did to an empty database of either kind."""

    def __init__(self, upgrade: Upgrade) -> None:
        self.upgrade = upgrade
        """The real one."""
        self._sqlite: sqlite3.Connection | None = None
        self._postgresql = ""

    def __call__(self, engine: Engine) -> None:
        """As ``upgrade``."""
        if inspect(engine).get_table_names():
            self.upgrade(engine)
        elif engine.dialect.name == "sqlite":
            self._on_sqlite(engine)
        else:
            self._on_postgresql(engine)

    def _on_sqlite(self, engine: Engine) -> None:
        if self._sqlite is None:
            self.upgrade(engine)
            self._sqlite = sqlite3.connect(":memory:", check_same_thread=False)
            with closing(engine.raw_connection()) as raw:
                raw.driver_connection.backup(self._sqlite)
            return
        with closing(engine.raw_connection()) as raw:
            self._sqlite.backup(raw.driver_connection)

    def _on_postgresql(self, engine: Engine) -> None:
        if self._postgresql:
            with engine.begin() as connection:
                connection.exec_driver_sql(self._postgresql)
            return
        said: list[str] = []

        def note(connection: object, cursor: object, statement: str, given: object, *rest: object) -> None:
            if not statement.lstrip().upper().startswith(("SELECT", "SHOW")):
                assert not given, statement
                said.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            self.upgrade(engine)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        self._postgresql = ";\n".join(said)
