"""Files of official releases → ``hierarchies.db``: a code system is replaced as a whole, in one transaction.

Told apart by their first line: SNOMED CT RF2 relationships, Snapshot (https://docs.snomed.org, Release File
Specification §5.1.3: active rows of type 116680003, is-a); LOINC's ComponentHierarchyBySystem.csv; a table of the
site's own with the columns system, code, parent. Several files of one system in one call are taken together: the
International Edition and an extension.
"""

from __future__ import annotations

import contextlib
import csv
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from hdg.errors import TableError
from hdg.terminology.hierarchies import FILE, SCHEMA

__all__ = ["LOINC", "SNOMED", "load_hierarchies", "remove_hierarchy"]

SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
_IS_A = "116680003"
_RF2 = [
    "id",
    "effectiveTime",
    "active",
    "moduleId",
    "sourceId",
    "destinationId",
    "relationshipGroup",
    "typeId",
]
_LONGEST = 1_024
Edge = tuple[str, str, str]
"""System, code, parent ('' for none)."""


def load_hierarchies(data: Path, files: Sequence[Path]) -> dict[str, int]:
    """Replaces the systems that the files are about; how many pairs each has now. Raises TableError, OSError."""
    with contextlib.closing(sqlite3.connect(data / FILE, isolation_level=None)) as connection:
        connection.execute(
            "PRAGMA journal_mode = WAL"
        )  # searches read on meanwhile: a release takes a minute
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {'; '.join(SCHEMA)}; COMMIT"
        )  # also if nothing can be loaded
        connection.execute("BEGIN IMMEDIATE")
        try:
            found = _load(connection, files)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    return found


def remove_hierarchy(data: Path, url: str) -> bool:
    """Whether it was there."""
    if not (data / FILE).exists():
        return False
    with contextlib.closing(sqlite3.connect(data / FILE)) as connection, connection:
        connection.execute("DELETE FROM edge WHERE skey IN (SELECT skey FROM system WHERE url = ?)", (url,))
        return connection.execute("DELETE FROM system WHERE url = ?", (url,)).rowcount > 0


def _load(connection: sqlite3.Connection, files: Sequence[Path]) -> dict[str, int]:
    keys: dict[str, int] = {}

    def key_of(url: str) -> int:
        if url not in keys:
            connection.execute(
                "INSERT INTO system (url, edges) VALUES (?, 0) ON CONFLICT (url) DO NOTHING", (url,)
            )
            keys[url] = int(connection.execute("SELECT skey FROM system WHERE url = ?", (url,)).fetchone()[0])
            connection.execute("DELETE FROM edge WHERE skey = ?", (keys[url],))
        return keys[url]

    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            edges = ((key_of(url), parent, code) for url, code, parent in _edges(path, file))
            connection.executemany("INSERT OR IGNORE INTO edge (skey, parent, code) VALUES (?, ?, ?)", edges)
    count = (
        "UPDATE system SET edges = (SELECT count(*) FROM edge WHERE edge.skey = system.skey) WHERE skey = ?"
    )
    connection.executemany(count, [(key,) for key in keys.values()])
    return {
        url: int(connection.execute("SELECT edges FROM system WHERE skey = ?", (key,)).fetchone()[0])
        for url, key in keys.items()
    }


def _edges(path: Path, file: TextIO) -> Iterator[Edge]:
    try:
        first = file.readline().rstrip("\r\n")
        if first.split("\t")[: len(_RF2)] == _RF2:
            yield from _checked(path, _snomed(path, csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)))
            return
        names = next(csv.reader([first]), [])
        reader = _READERS.get(tuple(names))
        if reader is None:
            text = "neither SNOMED CT relationships, LOINC's hierarchy nor the columns system,code,parent"
            raise TableError(str(path), 1, text)
        yield from _checked(path, reader(csv.reader(file)))
    except UnicodeDecodeError:
        raise TableError(str(path), 0, "not UTF-8") from None
    except csv.Error as error:
        raise TableError(str(path), 0, str(error)) from None


def _checked(path: Path, rows: Iterable[Edge | None]) -> Iterator[Edge]:
    for line, edge in enumerate(rows, 2):
        if edge is None:
            continue
        url, code, parent = edge
        if not url or not code or max(map(len, edge)) > _LONGEST:
            raise TableError(str(path), line, "a system and a code are needed")
        yield url, code, parent


def _snomed(path: Path, rows: Iterable[list[str]]) -> Iterator[Edge | None]:
    if any(part in path.name for part in ("Delta", "Full", "Stated")):
        raise TableError(str(path), 0, "the Snapshot of the (inferred) relationships is needed")
    seen: set[str] = set()
    for line, row in enumerate(rows, 2):
        if len(row) < len(_RF2) or row[2] not in ("0", "1"):
            raise TableError(str(path), line, "not a row of a relationship file")
        if row[0] in seen:
            raise TableError(str(path), line, "a relationship twice: the Snapshot is needed")
        seen.add(row[0])
        yield (SNOMED, row[4], row[5]) if row[2] == "1" and row[7] == _IS_A else None


def _loinc(rows: Iterable[list[str]]) -> Iterator[Edge | None]:
    for row in rows:
        yield (LOINC, row[3], row[2]) if len(row) > 3 else (LOINC, "", "")


def _own(rows: Iterable[list[str]]) -> Iterator[Edge | None]:
    for row in rows:
        yield (row[0], row[1], row[2]) if len(row) == 3 else ("", "", "")


_READERS: dict[tuple[str, ...], Callable[[Iterable[list[str]]], Iterator[Edge | None]]] = {
    ("PATH_TO_ROOT", "SEQUENCE", "IMMEDIATE_PARENT", "CODE", "CODE_TEXT"): _loinc,
    ("system", "code", "parent"): _own,
}
