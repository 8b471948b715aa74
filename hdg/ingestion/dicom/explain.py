"""``hdg map explain`` for DICOM: which rows read an attribute, and what they make of an object."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.ingestion.dicom.compile import Compiler, Step
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.dictionary import tag_of
from hdg.ingestion.dicom.header import read_header
from hdg.ingestion.dicom.paths import PathError, parse_path
from hdg.ingestion.dicom.state import State
from hdg.ingestion.sender import Sender
from hdg.mapping.actions import Fire
from hdg.mapping.context import JsonObject
from hdg.mapping.library import Library
from hdg.mapping.table import Rule

__all__ = ["explain", "is_attribute"]


def is_attribute(source: str) -> bool:
    """Whether it names DICOM attributes: keywords or ``(gggg,eeee)``, with points between."""
    try:
        return source != "." and bool(parse_path(source).tag)
    except PathError:
        return False


def explain(
    source: str, data: bytes | None = None, mappings: Path | None = None
) -> Iterator[tuple[Rule, list[tuple[str, str]]]]:
    """Each row that reads an attribute, with (source, what came of it as JSON) for each time it did in an object.

    Raises TableError, and DicomError for the object.
    """
    library = Library("dicom", override=mappings)
    compiler = _Watching(library)
    if data is not None:
        converter = Converter(id_key=PUBLIC_KEY, library=library, compiler=compiler)
        converter.convert(read_header(data), Sender("explain", "local"), at_us=0)
    wanted = [tag_of(step.partition("[")[0]) for step in source.split(".")]
    for name in library.names("tables"):
        table = library.table("tables", name)
        for rule in table.rules if table is not None else ():
            path = parse_path(rule.source)
            tags = [*(tag for tag, _ in path.way), path.tag]
            if any(tags[at : at + len(wanted)] == wanted for at in range(len(tags))):
                yield rule, compiler.made.get((rule.file, rule.line), [])


class _Watching(Compiler):
    """A second compilation of the same rows, which also keeps what each made: the hot path pays nothing."""

    def __init__(self, library: Library) -> None:
        super().__init__(library)
        self.made: dict[tuple[str, int], list[tuple[str, str]]] = {}

    def _step(self, rule: Rule, root: str) -> Step:
        step = super()._step(rule, root)
        return replace(step, fire=self._watch(rule, step.fire), fallback=self._watch(rule, step.fallback))

    def _watch(self, rule: Rule, fire: Fire | None) -> Fire | None:
        if fire is None:
            return None

        def watch(value: str, out: JsonObject, state: State) -> bool:
            before = deepcopy(out)
            done = fire(value, out, state)
            added = {name: part for name, part in out.items() if part != before.get(name)} if done else {}
            text = dumps(added).decode("utf-8") if added else ""
            self.made.setdefault((rule.file, rule.line), []).append((rule.source, text))
            return done

        return watch
