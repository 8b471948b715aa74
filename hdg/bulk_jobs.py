"""What ``hdg convert`` works on: inputs, how they are to be converted, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hdg.errors import Issue
from hdg.fhir import ids
from hdg.ingestion.converted import Converted
from hdg.ingestion.sender import Sender
from hdg.ingestion.sniff import Format

__all__ = ["FORMATS", "FORMS", "Form", "Job", "Outcome", "Plan"]

Form = Literal["bundle", "document", "ndjson"]
FORMS: Mapping[str, Form] = {"bundle": "bundle", "document": "document", "ndjson": "ndjson"}
FORMATS: Mapping[str, Format | None] = {
    "auto": None,
    "hl7v2": "hl7v2",
    "cda": "cda",
    "hl7v3": "hl7v3",
    "device": "device",
    "dicom": "dicom",
}
"""What ``--from`` may say; auto: as the first bytes of each input tell."""


@dataclass(frozen=True, slots=True)
class Job:
    """One input. ``path`` None is standard input; ``name`` is how reports call it, ``output`` its outputs' stem."""

    path: Path | None
    name: str
    output: str
    is_from_folder: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How to convert: the output form, where to (None: hand the bytes back), and what every message needs."""

    form: Form = "bundle"
    source: Format | None = None
    """None: as the first bytes of each input tell."""
    folder: Path | None = None
    id_key: bytes = ids.PUBLIC_KEY
    sender: Sender | None = None
    with_coverage: bool = False
    patient: str = ""
    """Id of the patient whose personal health data these are; '' when they say it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message (``number`` is its 1-based place in the file; 0 is the file as a whole)."""

    file: str
    number: int
    status: Literal["converted", "failed", "skipped"]
    message_type: str = ""
    control_id: str = ""
    resources: int = 0
    issues: tuple[Issue, ...] = ()
    error: str = ""
    lost: tuple[str, ...] = ()
    places: Mapping[str, int] | None = None
    """With coverage: how many valued places were mapped (of documents: or put into an extension), unmapped (a row says
    why), reported by an issue, lost.
    """
    output: bytes | None = None
    part: Converted | None = None
    """What one DICOM object states: ``run`` makes one ImagingStudy of all objects of a study."""
    is_study: bool = False
    """Whether this is such a study, whose files have Outcomes of their own."""

    def report_line(self) -> str:
        """One JSON line for ``--report``: places and texts, never a patient's value."""
        return json.dumps(
            {
                "file": self.file,
                "message": self.number,
                "status": self.status,
                "type": self.message_type,
                "controlId": self.control_id,
                "resources": self.resources,
                "error": self.error or None,
                "issues": [[i.severity, i.code, i.place, i.text] for i in self.issues],
                "places": self.places,
                "lost": list(self.lost),
            }
        )
