"""The DICOM objects that one caller may see: those whose ImagingStudy the consent predicate shows.

DESIGN §6. Nothing here asks who calls: the gate makes an Archive with the caller's predicate, runs what is to be found
on it, and has the access on disk before anything leaves. An object whose ImagingStudy is not made yet, is deleted or is
hidden is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BufferedIOBase
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Engine

from hdg.errors import BadRequest
from hdg.fhir import json
from hdg.management.store import Reader, SearchQuery, imaging
from hdg.management.store.values import Hash

__all__ = ["STUDIES_MAX", "Archive", "Image", "Told"]

STUDIES_MAX = 5_000
"""ImagingStudies that one query may look into; a query that needs more is refused, never cut short."""

JsonObject = dict[str, Any]


class Told(Protocol):
    """What is told of an object; ``patient``: id of the Patient whom it is about, None for nobody."""

    @property
    def patient(self) -> str | None:
        """For the audit."""


@dataclass(frozen=True, slots=True)
class Image:
    """One object. ``patient``: id of the Patient, None where it names nobody; ``study``: its ImagingStudy, if asked."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    modality: str
    size: int
    imaging_study: str
    patient: str | None
    blob: str = field(repr=False)
    _reader: Reader = field(repr=False)
    study: JsonObject | None = field(default=None, repr=False)

    def open(self) -> BufferedIOBase:
        """The Part 10 file, to be read from any place. Raises VaultError."""
        return self._reader.blob_open(self.blob)


class Archive:
    """What one caller may see. For the duration of one request."""

    def __init__(self, engine: Engine, reader: Reader, hash_: Hash, visible_to: ColumnElement[bool]) -> None:
        self._engine, self._reader, self._hash, self._visible_to = engine, reader, hash_, visible_to

    def studies(self, query: SearchQuery) -> Iterator[JsonObject]:
        """The ImagingStudies that match, newest first. Raises BadRequest when there are more than STUDIES_MAX."""
        seen = 0
        while True:
            page = self._reader.search(query, self._visible_to)
            for version in page.versions:
                seen += 1
                if seen > STUDIES_MAX:
                    text = f"the query has to look into more than {STUDIES_MAX} studies; name the patient or the date"
                    raise BadRequest(text, code="too-costly")
                yield json.loads(self._reader.body(version))
            if not page.next_cursor:
                return
            query = replace(query, cursor=page.next_cursor)

    def images(
        self,
        *,
        study_uid: str = "",
        series_uid: str = "",
        sop_uid: str = "",
        study: JsonObject | None = None,
        only_first: bool = False,
    ) -> Iterator[Image]:
        """The objects under the given UIDs, or those of one ImagingStudy, in the order in which they came."""
        rows = imaging.listed(
            self._engine,
            self._visible_to,
            hash_=self._hash,
            study_uid=study_uid,
            series_uid=series_uid,
            sop_uid=sop_uid,
            imaging_study="" if study is None else study["id"],
            page=1 if only_first else imaging.PAGE,
        )
        for row in rows:
            facts = imaging.open_facts(self._reader, row)
            yield Image(
                facts["study_uid"],
                facts["series_uid"],
                facts["sop_uid"],
                row.sop_class,
                row.transfer_syntax,
                facts["modality"],
                row.size,
                row.imaging_study,
                row.patient,
                row.blob,
                self._reader,
                study,
            )
            if only_first:
                return
