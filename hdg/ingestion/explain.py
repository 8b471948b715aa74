"""``hdg map explain`` over all formats: the rules of a place, where they stand, and what they make of an input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hdg.errors import BadRequest
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.cda import convert as cda
from hdg.ingestion.cda.explain import Watching, is_path, rules
from hdg.ingestion.dicom import explain as dicom
from hdg.ingestion.hl7v2 import explain as hl7v2
from hdg.ingestion.hl7v2.grammar import SourceError
from hdg.ingestion.hl7v3 import convert as hl7v3
from hdg.ingestion.sender import Sender
from hdg.ingestion.sniff import format_of
from hdg.mapping.library import Library
from hdg.mapping.table import Rule

__all__ = ["lines"]


def lines(source: str, data: bytes | None = None, mappings: Path | None = None) -> Iterator[str]:
    """Text for a terminal.

    ``source``: an HL7 v2 field or component (``PID-3``, ``CX.4``), the end of a path of elements
    (``observation/value``, ``administrativeGenderCode/@code``), or a DICOM attribute (``PatientID``,
    ``(0010,0020)``). ``data``: an input to show the rules on.
    Raises BadRequest for what is neither, TableError, and SourceError for the input.
    """
    kind = format_of(data) if data is not None else None
    if kind in (None, "dicom") and dicom.is_attribute(source):
        for rule, made in dicom.explain(source, data, mappings):
            yield from _shown(rule, made)
        return
    try:
        fields = hl7v2.explain(source, data if kind == "hl7v2" else None, mappings)
        found = [line for one in fields for line in _shown(one.rule, one.made)]
    except SourceError:
        found = []
        if not is_path(source):
            raise BadRequest(f"{source} is neither a field (PID-3) nor a path (observation/value)") from None
    yield from found
    if found:
        return
    for name in ("cda", "hl7v3"):
        if kind in (None, "hl7v2", name):
            yield from _element_lines(name, source, data if kind == name else None, mappings)


def _element_lines(name: str, source: str, data: bytes | None, mappings: Path | None) -> Iterator[str]:
    library = Library(name, override=mappings)
    watching = Watching(library)
    if data is not None:
        module = cda if name == "cda" else hl7v3
        converter = module.Converter(id_key=PUBLIC_KEY, compiler=watching)
        converter.convert(data, Sender("explain", "local"), at_us=0)
    for rule in rules(library, source):
        yield from _shown(rule, watching.made.get((rule.file, rule.line), ()))


def _shown(rule: Rule, made: Sequence[tuple[str, str]]) -> Iterator[str]:
    what = f"→ {rule.target}" if rule.target else "not mapped"
    cells = (("as", rule.as_), ("map", rule.map), ("when", rule.when), ("default", rule.default))
    details = "".join(f"  {name}: {text}" for name, text in cells if text)
    yield f"{rule.file}:{rule.line}  {rule.source} {what}{details}"
    if rule.note:
        yield f"    note: {rule.note}"
    for place, value in made:
        yield f"    {place} = {value or 'nothing'}"
