"""Lints the DICOM tables: all compile, what goes nowhere says why, no attribute of a mapped module is forgotten."""

from __future__ import annotations

from pathlib import Path

from hdg.errors import TableError
from hdg.ingestion.dicom.compile import Compiler
from hdg.ingestion.dicom.convert import DISPATCH, dispatched
from hdg.ingestion.dicom.modules import modules
from hdg.mapping.library import Library

__all__ = ["findings"]


def findings(override: Path | None = None, maps: Path | None = None) -> list[str]:
    """``file:line: finding`` for every one in the shipped tables, seen through an override folder."""
    library = Library("dicom", override=override, maps=maps)
    compiler = Compiler(library)
    found: list[str] = []
    tags: set[int] = set()
    for name in library.names("tables"):
        try:
            tags |= compiler.program(name).tags
        except TableError as error:
            found.append(str(error))
        found += _silent(library, "tables", name)
    found += _silent(library, *DISPATCH)
    try:
        for row in dispatched(library):
            if compiler.program(row.table).type != row.rule.target:
                found.append(str(row.rule.error(f"{row.table} does not build a {row.rule.target}")))
    except TableError as error:
        found.append(str(error))
    try:
        mapped = modules(library)
    except TableError as error:
        return [*found, str(error)]
    found += [
        str(rule.error(f"no table has a row for {rule.source} ({rule.name})"))
        for tag, rule in mapped.items()
        if tag not in tags
    ]
    return found


def _silent(library: Library, kind: str, name: str) -> list[str]:
    """Rows that lead nowhere and do not say why."""
    table = library.table(kind, name)
    return [
        f"{rule.file}:{rule.line}: a row without target needs a note"
        for rule in (table.rules if table is not None else ())
        if not rule.target and not rule.note
    ]
