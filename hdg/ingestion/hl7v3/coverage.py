"""What the conversion of a message carried over, place by place; as for documents (hdg/ingestion/cda/coverage.py)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.cda.coverage import Tracing, judged
from hdg.ingestion.cda.coverage import coverage as of_document
from hdg.ingestion.coverage import Coverage, Place
from hdg.ingestion.hl7v3.care_record import CARE_RECORDS, record_in
from hdg.ingestion.hl7v3.carried import DOCUMENT, document_in
from hdg.ingestion.hl7v3.convert import FORMAT, Converter
from hdg.ingestion.hl7v3.message import REGISTRATIONS, opened
from hdg.ingestion.sender import Sender
from hdg.mapping.library import Library

__all__ = ["coverage"]


_STATUS = tuple(f"subject/{name}/statusCode/@code" for name in REGISTRATIONS)


@cache
def _converter(mappings: Path | None, terminology: Path | None) -> tuple[Converter, Tracing]:
    tracing = Tracing(Library(FORMAT, override=mappings, maps=terminology))
    return Converter(id_key=PUBLIC_KEY, compiler=tracing), tracing


def coverage(data: bytes, sender: Sender | None = None) -> Coverage:
    """What the tables make of one message, or of the document that it carries. Raises CdaError."""
    sender = sender or Sender("", "")
    message = opened(data, [])
    if message.interaction.startswith(CARE_RECORDS):
        return of_document(record_in(message), sender)
    if message.interaction.startswith(DOCUMENT):
        return of_document(document_in(message), sender)
    converter, tracing = _converter(sender.mappings, sender.terminology)
    tracing.events.clear()
    converted, state = converter.run(data, replace(sender, mappings=None, terminology=None), at_us=0)
    if state is None:
        return Coverage(())
    return Coverage(tuple(map(_registered, judged(state, tracing, converted.resources).places)))


def _registered(place: Place) -> Place:
    """The status of a registration decides whether the message is taken at all (convert.py)."""
    is_status = re.sub(r"\[\d+\]", "", place.place).endswith(_STATUS)
    return (
        Place(place.place, "unmapped", "a registration that is not active is refused") if is_status else place
    )
