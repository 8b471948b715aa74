"""``hdg map explain``: the rules of a field, where they stand, and what they make of a message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.grammar import Source, SourceError, parse_source
from hdg.ingestion.sender import Sender
from hdg.mapping.context import Choice, Event, Several
from hdg.mapping.library import Library
from hdg.mapping.table import Rule


@dataclass(frozen=True, slots=True)
class Explained:
    """A rule and, for a message, each (place, value as JSON) that it made; '' when nothing came of it."""

    rule: Rule
    made: tuple[tuple[str, str], ...] = ()


def explain(source: str, message: bytes | None = None, mappings: Path | None = None) -> list[Explained]:
    """The rules for a field or component (``PID-3``, ``PID-3.1``, ``CX.4``), in file order.

    Raises SourceError for what is no source path, TableError for a broken table, Hl7v2Error for the message.
    """
    unit = source.partition("-")[0].partition(".")[0]
    wanted = parse_source(source, unit)
    library = Library("hl7v2", override=mappings)
    events = _events(message, mappings) if message is not None else []
    return [
        Explained(rule, tuple(_made(event) for event in events if _is_same(event.rule, rule)))
        for rule in _rules(library, unit)
        if _concerns(rule, wanted)
    ]


def _rules(library: Library, unit: str) -> Iterator[Rule]:
    for kind in ("messages", "segments", "datatypes"):
        for name in library.names(kind):
            if kind != "messages" and name.partition(".")[0] != unit:
                continue
            table = library.table(kind, name)
            for rule in table.rules if table is not None and name != "triggers" else ():
                if kind != "messages" or rule.source.rpartition(".")[2] == unit:
                    yield rule


def _concerns(rule: Rule, wanted: Source) -> bool:
    try:
        found = parse_source(
            rule.source.rpartition(".")[2] if "-" not in rule.source and wanted.is_segment else rule.source,
            wanted.unit,
        )
    except SourceError:
        return False
    if found.unit != wanted.unit or found.number != wanted.number:
        return False
    return not wanted.component or not found.component or found.component == wanted.component


def _events(message: bytes, mappings: Path | None) -> list[Event]:
    converter = Converter(id_key=PUBLIC_KEY, is_tracing=True)
    sender = Sender("explain", "local", mappings=mappings)
    return converter.run(message, sender, at_us=0)[1].trace or []


def _is_same(one: Rule, other: Rule) -> bool:
    return (one.file, one.line) == (other.file, other.line)


def _made(event: Event) -> tuple[str, str]:
    number, *rest = event.trail or (0,)
    place = event.origin.place(number or None)
    if rest and rest[0] > 1:
        place += f"[{rest[0]}]"
    place = ".".join((place, *(str(part) for part in rest[1:])))
    return place, _shown(event.made) if event.outcome and event.made is not None else ""


def _shown(made: Any) -> str:
    if isinstance(made, Choice):
        return f"{made.type} {_shown(made.value)}"
    return dumps(list(made) if isinstance(made, Several) else made).decode("utf-8")
