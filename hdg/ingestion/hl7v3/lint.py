"""Lints the tables of registry messages: everything compiles, what goes nowhere says why."""

from __future__ import annotations

from pathlib import Path

from hdg.ingestion.cda.compile import Compiler
from hdg.ingestion.cda.lint import table_findings
from hdg.ingestion.hl7v3.convert import FORMAT
from hdg.mapping.library import Library

__all__ = ["findings"]


def findings(override: Path | None = None, maps: Path | None = None) -> list[str]:
    """``file:line: finding`` for every one in the shipped tables, seen through an override folder."""
    library = Library(FORMAT, override=override, maps=maps)
    return table_findings(library, Compiler(library))
