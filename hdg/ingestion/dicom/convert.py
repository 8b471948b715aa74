"""One DICOM object's header to FHIR R4: by the tables, identified, validated. Pure: no I/O beyond reading tables once.

Deterministic: the same header, sender and key give the same Converted. DESIGN §3, §4.
"""

from __future__ import annotations

from hdg.ingestion.converted import Converted
from hdg.ingestion.dicom.header import Header
from hdg.ingestion.sender import Sender
from hdg.mapping.library import Library

__all__ = ["Converter"]


class Converter:
    """Converts headers with one id key. Tables are read and compiled when a header first needs them."""

    def __init__(self, *, id_key: bytes, library: Library | None = None) -> None:
        self.id_key = id_key

    def convert(
        self,
        header: Header,
        sender: Sender | None = None,
        *,
        at_us: int | None = None,
        sha256: str = "",
    ) -> Converted:
        """What one object states: Patient, ImagingStudy with this series and instance, Device, Practitioner …

        ``at_us``: time of receipt, µs since the epoch (default: now). ``sha256``: hex digest of the whole object as
        received, when the caller has it. A sender without name or institution is called by Institution Name.
        Raises DicomError: the object states nothing (no SOP Instance UID), or no valid resource can be made of it.
        """
        raise NotImplementedError
