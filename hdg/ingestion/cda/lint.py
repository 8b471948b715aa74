"""Lints the CDA tables: everything compiles, everything that is named exists, what goes nowhere says why."""

from __future__ import annotations

from pathlib import Path

from hdg.errors import TableError
from hdg.ingestion.cda.compile import Compiler
from hdg.ingestion.cda.dispatch import Dispatch
from hdg.mapping.library import Library

__all__ = ["findings", "table_findings"]


def findings(override: Path | None = None, maps: Path | None = None) -> list[str]:
    """``file:line: finding`` for every one in the shipped tables, seen through an override folder."""
    library = Library("cda", override=override, maps=maps)
    compiler = Compiler(library)
    found = table_findings(library, compiler)
    try:
        Dispatch(library, compiler)
    except TableError as error:
        found.append(str(error))
    return [*found, *_dispatched(library, compiler), *_silent(library, "dispatch", "statements")]


def table_findings(library: Library, compiler: Compiler) -> list[str]:
    """Those in the tables that read elements, of any format of this form."""
    found: list[str] = []
    for name in library.names("tables"):
        try:
            compiler.program(name)
        except TableError as error:
            found.append(str(error))
        found += _silent(library, "tables", name)
    return found


def _silent(library: Library, kind: str, name: str) -> list[str]:
    """Rows that lead nowhere and do not say why."""
    table = library.table(kind, name)
    rules = table.rules if table is not None else ()
    return [
        f"{rule.file}:{rule.line}: a row without target needs a note"
        for rule in rules
        if not rule.target and not rule.note
    ]


def _dispatched(library: Library, compiler: Compiler) -> list[str]:
    """Rows of the table of statements whose table is missing, or builds something else than they say."""
    table = library.table("dispatch", "statements")
    found = []
    for rule in table.rules if table is not None else ():
        if not rule.target or rule.as_ == "statements":
            continue
        try:
            built = compiler.program(rule.as_).type
        except TableError as error:
            found.append(f"{rule.file}:{rule.line}: {error.text}")
            continue
        if built != rule.target:
            found.append(f"{rule.file}:{rule.line}: {rule.as_} builds {built}, not {rule.target}")
    return found
