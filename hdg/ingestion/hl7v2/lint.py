"""Lints the v2 tables: ``python -m hdg.ingestion.hl7v2.lint [override folder]`` prints ``file:line:
finding`` lines.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.grammar import (
    SourceError,
    elements,
    is_datatype,
    is_segment,
    parse_source,
    structure,
)
from hdg.ingestion.hl7v2.groups import FOLLOWS
from hdg.ingestion.hl7v2.primitives import PRIMITIVES
from hdg.mapping.convert import Registry
from hdg.mapping.library import Library
from hdg.mapping.lint import Findings, Unit, lint
from hdg.mapping.table import Table


class V2Lint:
    """The LintGrammar of HL7 v2."""

    primitives: frozenset[str] = frozenset(PRIMITIVES)
    converters: Registry = V2Grammar.converters

    def check_source(self, text: str, table: Table) -> int:
        """Field or component number of a source; 0 for the whole, or for another segment in ``when``."""
        unit = table.source if not self.is_message_source(table.name) else text.partition("-")[0]
        source = parse_source(text, unit)
        return source.number if source.unit == table.source else 0

    def units(self, table: Table) -> Sequence[Unit]:
        """Fields of a segment, components of a datatype; withdrawn places without a name need no row."""
        known = elements(table.source)
        if known is None:
            return ()
        return [Unit(element.number, element.name) for element in known if element.datatype != "WD"]

    def check_message_source(self, text: str, table: Table) -> None:
        """A segment name, with enclosing groups before it that the structure has."""
        *groups, segment = text.split(".")
        if not is_segment(segment) and not segment.startswith("Z"):
            raise SourceError(f"HL7 v2 has no segment {segment!r}")
        tree = structure(table.name)
        # A comment stays with what it follows, also where the structure has no place for one.
        path = groups if segment in FOLLOWS else [*groups, segment]
        if tree is not None and groups and not _has(tree, path):
            raise SourceError(f"{table.name} has no {text}")

    def is_message_source(self, name: str) -> bool:
        """Whether a table is a message table: its name is neither segment nor datatype."""
        unit = name.partition(".")[0]
        return not is_segment(unit) and not is_datatype(unit)


def _has(nodes: list[list[object]], path: list[str], above: tuple[str, ...] = ()) -> bool:
    for node in nodes:
        here = (*above, str(node[0]))
        if here[-len(path) :] == tuple(path):
            return True
        if len(node) == 3 and isinstance(node[2], list) and _has(node[2], path, here):
            return True
    return False


def findings(override: Path | None = None, maps: Path | None = None) -> Findings:
    """Every finding in the shipped tables, seen through an override folder and a site's own concept maps."""
    return lint(Library("hl7v2", override=override, maps=maps), V2Lint())


def main() -> int:
    """Print findings; exit code 1 when there are any."""
    found = findings(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
