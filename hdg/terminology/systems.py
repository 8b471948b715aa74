"""The registry of code and identifier systems: short name ⇄ URI ⇄ OID (``terminology/systems.csv``).

Columns ``name,uri,oid,title``. A name is an HL7 table 0396 mnemonic (``LN``), a table (``v2-0005``) or an
alias; several names may share a URI. Sources and licences are in ``terminology/sources.csv``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from hdg.data import folder
from hdg.errors import TableError

_COLUMNS: Final = ["name", "uri", "oid", "title"]
_TABLE: Final = re.compile(r"(?:HL7|v2-)?(\d{4})", re.IGNORECASE)
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")


@dataclass(frozen=True, slots=True)
class System:
    """One row."""

    name: str
    uri: str
    oid: str
    title: str


class Systems:
    """Lookups over the registry; immutable."""

    def __init__(self, rows: tuple[System, ...]) -> None:
        self.rows = rows
        self._by_name: Mapping[str, str] = {row.name.lower(): row.uri for row in reversed(rows)}
        self._exact: Mapping[str, str] = {row.name: row.uri for row in reversed(rows)}
        self._by_oid: Mapping[str, str] = {row.oid: row.uri for row in reversed(rows) if row.oid}
        self._uris = frozenset(row.uri for row in rows)

    def uri(self, name: str) -> str | None:
        """The URI for a name, an alias, ``HL70005``, an OID with or without ``urn:oid:``, or a known URI
        itself.
        """
        found = self._exact.get(name) or self._by_name.get(name.lower())
        if found is not None:
            return found
        if name in self._uris:
            return name
        oid = name.removeprefix("urn:oid:")
        if _OID.fullmatch(oid):
            return self._by_oid.get(oid)
        table = _TABLE.fullmatch(name)
        return self._by_name.get(f"v2-{table[1]}") if table else None

    def declaring(self, names: Mapping[str, str]) -> Systems:
        """The same where ``names`` (OID or name → URI), what a sender declares, goes before the registry."""
        return _Declared(self, names) if names else self

    def __contains__(self, name: str) -> bool:
        return self.uri(name) is not None


class _Declared(Systems):
    """A registry with names before it."""

    def __init__(self, registered: Systems, names: Mapping[str, str]) -> None:
        self.rows = registered.rows
        self._registered = registered
        self._names = {name.removeprefix("urn:oid:"): uri for name, uri in names.items()}

    def uri(self, name: str) -> str | None:
        """As ``Systems.uri``."""
        return self._names.get(name.removeprefix("urn:oid:")) or self._registered.uri(name)


def load_systems(path: Path) -> Systems:
    """Read a registry file. Raises TableError (file:line)."""
    rows: list[System] = []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        if next(reader, []) != _COLUMNS:
            raise TableError(path.name, 1, f"the header must be {','.join(_COLUMNS)}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(_COLUMNS) or not cells[0] or not cells[1]:
                raise TableError(
                    path.name, reader.line_num, "needs name, uri, oid, title; the first two not empty"
                )
            rows.append(System(*(cell.strip() for cell in cells)))
    return Systems(tuple(rows))


@cache
def registry() -> Systems:
    """The shipped registry."""
    return load_systems(folder("terminology") / "systems.csv")
