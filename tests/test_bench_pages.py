"""The count of the pages that SQLite's write-ahead log holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bench.pages import frames


def test_each_page_that_a_commit_changes_is_counted_once_for_it(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "it.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE one (a)")
        database.execute("CREATE TABLE other (a)")
        log = tmp_path / "it.db-wal"
        start = len(frames(log))
        database.execute("INSERT INTO one VALUES (1), (2), (3)")
        database.execute("BEGIN")
        database.execute("INSERT INTO one VALUES (4)")
        database.execute("INSERT INTO other VALUES (5)")
        database.execute("COMMIT")
        roots = dict(database.execute("SELECT name, rootpage FROM sqlite_master"))
        written = frames(log)[start:]
    assert written == [(roots["one"], True), (roots["one"], False), (roots["other"], True)]
