"""Lints the tables of registry messages: everything compiles, what goes nowhere says why."""

from __future__ import annotations

from pathlib import Path

from hdg.errors import TableError
from hdg.ingestion.cda.compile import Compiler
from hdg.ingestion.hl7v3.convert import FORMAT
from hdg.mapping.library import Library

__all__ = ["findings"]


def findings(override: Path | None = None, maps: Path | None = None) -> list[str]:
    """``file:line: finding`` for every one in the shipped tables, seen through an override folder."""
    library = Library(FORMAT, override=override, maps=maps)
    compiler = Compiler(library)
    found: list[str] = []
    for name in library.names("tables"):
        try:
            compiler.program(name)
        except TableError as error:
            found.append(str(error))
            continue
        table = library.table("tables", name)
        found += [
            f"{rule.file}:{rule.line}: a row without target needs a note"
            for rule in (table.rules if table is not None else ())
            if not rule.target and not rule.note
        ]
    return found
