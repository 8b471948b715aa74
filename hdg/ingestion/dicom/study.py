"""One ImagingStudy out of what its instances state, whatever their order. R4 imagingstudy.html; DICOM PS3.3 A.1.2.

The facts of an instance are the ImagingStudy that it states when it is taken alone: study, one series, one instance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hdg.errors import Issue
from hdg.ingestion.converted import Converted, JsonObject

__all__ = ["InstanceFacts", "facts_of", "imaging_study"]


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What one instance says. ``statement``: its ImagingStudy (with ``id`` and ``subject``), canonical JSON text.

    ``study_id``: the id of the ImagingStudy, made of the patient and the Study Instance UID, so that objects of two
    patients under one UID are never one study. All are texts: ``dataclasses.asdict`` and ``InstanceFacts(**row)`` are
    the way to JSON and back.
    """

    study_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    modality: str
    statement: str


def facts_of(converted: Converted) -> InstanceFacts | None:
    """The facts of a converted object; None when it states no ImagingStudy (a DICOMDIR, a palette)."""
    raise NotImplementedError


def imaging_study(instances: Iterable[InstanceFacts]) -> tuple[JsonObject, tuple[Issue, ...]]:
    """The ImagingStudy of all instances, and where they contradict each other.

    Any order and any duplicates of the same facts give the same resource, byte for byte. Raises ValueError when there
    are none, or when they are of several studies.
    """
    raise NotImplementedError
