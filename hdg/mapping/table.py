"""Reads a mapping table: one CSV file becomes frozen Rules that know their file and line (DESIGN §4).

The columns are ``source,name,target,as,map,when,default,note``; ``mappings/README.md`` explains them to
analysts.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from hdg.errors import TableError

COLUMNS = ("source", "name", "target", "as", "map", "when", "default", "note")


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. ``file`` is relative to the mappings folder; ``line`` is 1-based; empty cells are empty
    strings.
    """

    file: str
    line: int
    source: str
    name: str
    target: str
    as_: str
    map: str
    when: str
    default: str
    note: str

    @property
    def is_mapped(self) -> bool:
        """False for a row that says why its source goes nowhere."""
        return bool(self.target)

    def error(self, text: str) -> TableError:
        """A TableError at this row."""
        return TableError(self.file, self.line, text)


@dataclass(frozen=True, slots=True)
class Table:
    """All rules of one file. ``name`` is the file name without ``.csv``: ``PID.Patient``, ``ORU_R01``."""

    name: str
    file: str
    rules: tuple[Rule, ...]

    @property
    def source(self) -> str:
        """What the table reads: ``PID`` of ``PID.Patient``."""
        return self.name.partition(".")[0]

    @property
    def result(self) -> str:
        """What the table builds: ``Patient`` of ``PID.Patient``; empty for a message table."""
        return self.name.partition(".")[2]


def load_table(path: Path, *, file: str | None = None) -> Table:
    """Read one CSV file; ``file`` is the name used in messages (default: the path itself).

    Raises TableError (file:line) for a wrong header, a wrong number of cells, or bytes that are not UTF-8.
    """
    shown = file if file is not None else str(path)
    rules: list[Rule] = []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        line = 1
        try:
            header = next(reader, [])
            if tuple(header) != COLUMNS:
                raise TableError(shown, 1, f"the header must be {','.join(COLUMNS)}")
            line = reader.line_num + 1
            for cells in reader:
                if cells:
                    rules.append(_rule(shown, line, cells))
                line = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise TableError(shown, line, str(error)) from error
    return Table(path.name.removesuffix(".csv"), shown, tuple(rules))


def _rule(file: str, line: int, cells: list[str]) -> Rule:
    if len(cells) != len(COLUMNS):
        raise TableError(
            file, line, f"{len(cells)} cells, expected {len(COLUMNS)}; quote a cell that holds a comma"
        )
    stripped = [cell.strip() for cell in cells]
    if not stripped[0]:
        raise TableError(file, line, "the source is empty")
    return Rule(file, line, *stripped)
