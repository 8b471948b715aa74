"""Concept maps (``terminology/maps/<name>.csv``): code → code, looked up exactly, never guessed (DESIGN §5).

Columns ``source_system,source_code,target_system,target_code,target_display,relationship,note``; systems are
registry names. A row with a blank source system matches any. A blank target code says that the map has no
equivalent.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from hdg.data import folder
from hdg.errors import TableError
from hdg.terminology.systems import Systems, registry

_COLUMNS: Final = [
    "source_system",
    "source_code",
    "target_system",
    "target_code",
    "target_display",
    "relationship",
    "note",
]


class Target(NamedTuple):
    """What a code becomes. ``system`` is a URI; it and ``display`` may be empty."""

    system: str
    code: str
    display: str

    def coding(self) -> dict[str, str]:
        """A new R4 Coding."""
        found = {"system": self.system} if self.system else {}
        if self.code:
            found["code"] = self.code
        if self.display:
            found["display"] = self.display
        return found


@dataclass(frozen=True, slots=True)
class ConceptMap:
    """One map; keys are (source system URI or '', source code)."""

    name: str
    rows: dict[tuple[str, str], Target]
    by_code: dict[str, Target]
    """First row of each code; for codes whose system the source leaves to the place they stand in."""

    def translate(self, code: str, system: str | None = None) -> Target | None:
        """The target of a code. A row for the code's own system wins over a row for any system.

        ``system`` is a URI; None: the source names none, and the map's own source system is meant.
        """
        if system is None:
            return self.by_code.get(code)
        found = self.rows.get((system, code))
        return found if found is not None else self.rows.get(("", code))


def load_map(path: Path, systems: Systems) -> ConceptMap:
    """Read one map. Raises TableError (file:line) for unknown systems, double rows and a wrong header."""
    rows: dict[tuple[str, str], Target] = {}
    file = f"maps/{path.name}"
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        if next(reader, []) != _COLUMNS:
            raise TableError(file, 1, f"the header must be {','.join(_COLUMNS)}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(_COLUMNS):
                raise TableError(file, reader.line_num, f"{len(cells)} cells, expected {len(_COLUMNS)}")
            source, code, target, target_code, display = (cell.strip() for cell in cells[:5])
            uris = [_uri(name, systems, file, reader.line_num) for name in (source, target)]
            key = (uris[0], code)
            if not code or key in rows:
                raise TableError(
                    file, reader.line_num, "the source code is empty" if not code else "a double row"
                )
            if target_code:
                rows[key] = Target(uris[1], target_code, display)
    by_code: dict[str, Target] = {}
    for (_, code), target_row in rows.items():
        by_code.setdefault(code, target_row)
    return ConceptMap(path.name.removesuffix(".csv"), rows, by_code)


def before(own: ConceptMap, standard: ConceptMap | None) -> ConceptMap:
    """One map with the rows of ``own`` first."""
    if standard is None:
        return own
    rows = {**standard.rows, **own.rows}
    return ConceptMap(own.name, rows, {**standard.by_code, **own.by_code})


def _uri(name: str, systems: Systems, file: str, line: int) -> str:
    uri = systems.uri(name) if name else ""
    if uri is None:
        raise TableError(file, line, f"the system {name!r} is not in systems.csv")
    return uri


@cache
def concept_map(name: str) -> ConceptMap | None:
    """The shipped map of that name, or None."""
    path = folder("terminology") / "maps" / f"{name}.csv"
    return load_map(path, registry()) if path.is_file() else None


def translate(map_name: str, code: str, system: str | None = None) -> Target | None:
    """What a code (of ``system``, a URI) becomes by a shipped map; None when there is no such row."""
    found = concept_map(map_name)
    return found.translate(code, system) if found else None
