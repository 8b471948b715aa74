"""Which codes are kinds of which, of code systems whose tables a site brings: SNOMED CT, LOINC, its own.

Nothing licensed is shipped: the site loads the files that it is licensed for (loading.py), into ``hierarchies.db`` of
its data folder. R4 codesystem.html#hierarchy, snomedct.html, loinc.html. A look-up opens the file anew, so what is
loaded counts from the next search on; the codes below one are found in the database, since SNOMED CT has 350,000.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FILE", "SCHEMA", "Hierarchies", "Tree"]

FILE = "hierarchies.db"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS system (skey INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, edges INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS edge (skey INTEGER NOT NULL, parent TEXT NOT NULL, code TEXT NOT NULL, "
    "PRIMARY KEY (skey, parent, code)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS ix_edge_code ON edge (skey, code, parent)",
)
"""``parent`` '' for a code without one."""
_BELOW = (
    "WITH RECURSIVE found (code) AS (SELECT code FROM edge WHERE skey = :skey AND parent = :code "
    "UNION SELECT e.code FROM found f JOIN edge e ON e.skey = :skey AND e.parent = f.code) "
    "SELECT code FROM found LIMIT :most"
)
_ABOVE = (
    "WITH RECURSIVE found (code) AS (SELECT parent FROM edge WHERE skey = :skey AND code = :code AND parent <> '' "
    "UNION SELECT e.parent FROM found f JOIN edge e ON e.skey = :skey AND e.code = f.code AND e.parent <> '') "
    "SELECT code FROM found LIMIT :most"
)
_NEXT = "SELECT code FROM edge WHERE skey = :skey AND parent = :code LIMIT :most"
_HAS = "SELECT 1 FROM edge WHERE skey = :skey AND (code = :code OR parent = :code) LIMIT 1"


@dataclass(frozen=True, slots=True)
class Tree:
    """One code system's hierarchy. At most ``most`` codes come back from each question."""

    path: Path
    skey: int

    def has(self, code: str) -> bool:
        """Whether the tables name that code."""
        return bool(code and self._ask(_HAS, code, 1))

    def above(self, code: str, most: int) -> frozenset[str]:
        """The codes that a code is a kind of, without itself."""
        return self._ask(_ABOVE, code, most) - {code}

    def below(self, code: str, most: int) -> frozenset[str]:
        """The codes that are kinds of a code, without itself."""
        return self._ask(_BELOW, code, most) - {code}

    def children(self, code: str, most: int) -> frozenset[str]:
        """The codes right below a code."""
        return self._ask(_NEXT, code, most) - {code}

    def _ask(self, sql: str, code: str, most: int) -> frozenset[str]:
        with _opened(self.path) as connection:
            rows = connection.execute(sql, {"skey": self.skey, "code": code, "most": most})
            return frozenset(str(row[0]) for row in rows)


class Hierarchies:
    """Those of a data folder. For any thread."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE

    def tree(self, url: str) -> Tree | None:
        """The hierarchy of the code system of that URL; None: it is not loaded."""
        if not self._path.exists():
            return None
        with _opened(self._path) as connection:
            row = connection.execute("SELECT skey FROM system WHERE url = ?", (url,)).fetchone()
        return Tree(self._path, int(row[0])) if row is not None else None

    def loaded(self) -> list[tuple[str, int]]:
        """(URL, number of pairs of code and parent) of each system."""
        if not self._path.exists():
            return []
        with _opened(self._path) as connection:
            return [
                (str(url), int(edges)) for url, edges in connection.execute("SELECT url, edges FROM system")
            ]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        yield connection
