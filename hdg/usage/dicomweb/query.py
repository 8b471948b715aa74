"""QIDO-RS: which studies, series and instances there are. DICOM PS3.18 §10.6."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from hdg.errors import BadRequest
from hdg.management.store import SearchQuery
from hdg.usage.dicomweb.archive import STUDIES_MAX, Archive, Image
from hdg.usage.dicomweb.datasets import as_json, described
from hdg.usage.dicomweb.matching import (
    MODALITIES,
    RETURNED,
    SERIES_INSTANCES,
    STUDY_INSTANCES,
    STUDY_SERIES,
    Asked,
)

__all__ = ["Match", "Query"]

JsonObject = dict[str, Any]
_RETRIEVE, _AVAILABILITY = "00081190", "00080056"


@dataclass(frozen=True, slots=True)
class Match:
    """One result: what is told of it, and whom it concerns."""

    attributes: JsonObject
    patient: str | None
    imaging_study: str


class Query:
    """One query, run on the gate's own thread. ``base``: of the URLs in the answer."""

    def __init__(
        self, asked: Asked, narrowed: SearchQuery, base: str, *, study_uid: str = "", series_uid: str = ""
    ) -> None:
        self._asked, self._narrowed, self._base = asked, narrowed, base
        self._study_uid, self._series_uid = study_uid, series_uid
        self.is_cut = False
        """Whether there are more results than were asked for."""

    def __call__(self, archive: Archive) -> list[Match]:
        """The results, and behind them one more where there is more (``is_cut``): who asks learns of it, and the audit
        shall name it. Raises BadRequest: too much would have to be looked into.
        """
        find = {"study": self._studies, "series": self._series, "instance": self._instances}
        found: list[Match] = []
        skip = self._asked.offset
        for match in find[self._asked.level](archive):
            if skip:
                skip -= 1
                continue
            found.append(match)
            if len(found) > self._asked.limit:
                self.is_cut = True
                break
        return found

    def _studies(self, archive: Archive) -> Iterator[Match]:
        for study in archive.studies(self._narrowed):
            for image in archive.images(study=study, only_first=True):
                data = described(image)
                if self._fits(data, study):
                    more = {
                        MODALITIES: (
                            "CS",
                            [one["code"] for one in study.get("modality", ()) if "code" in one],
                        ),
                        STUDY_SERIES: ("IS", [study.get("numberOfSeries", 0)]),
                        STUDY_INSTANCES: ("IS", [study.get("numberOfInstances", 0)]),
                    }
                    yield self._match(image, data, more, image.study_uid)

    def _series(self, archive: Archive) -> Iterator[Match]:
        for study in archive.studies(self._narrowed):
            for images in _grouped(self._of_study(archive, study)):
                data = described(images[0])
                if self._fits(data, study):
                    place = f"{images[0].study_uid}/series/{images[0].series_uid}"
                    yield self._match(images[0], data, {SERIES_INSTANCES: ("IS", [len(images)])}, place)

    def _instances(self, archive: Archive) -> Iterator[Match]:
        looked = 0
        for study in archive.studies(self._narrowed):
            for image in self._of_study(archive, study):
                looked += 1
                if looked > 2 * STUDIES_MAX:
                    raise BadRequest(
                        "the query has to look into too many instances; name the study", code="too-costly"
                    )
                data = described(image)
                if self._fits(data, study):
                    place = f"{image.study_uid}/series/{image.series_uid}/instances/{image.sop_uid}"
                    yield self._match(image, data, {}, place)

    def _of_study(self, archive: Archive, study: JsonObject) -> Iterator[Image]:
        """Of the series in the path, if one stands there."""
        for image in archive.images(study=study):
            if not self._series_uid or image.series_uid == self._series_uid:
                yield image

    def _fits(self, data: Dataset, study: JsonObject) -> bool:
        modalities = [one.get("code", "") for one in study.get("modality", ())]
        return all(
            key.is_match(modalities)
            if key.path == (MODALITIES,)
            else key.fits(data, is_fuzzy=self._asked.is_fuzzy)
            for key in self._asked.keys
        )

    def _match(
        self, image: Image, data: Dataset, more: dict[int, tuple[str, list[Any]]], place: str
    ) -> Match:
        asked = self._asked
        wanted: Iterable[int] | None = None
        if asked.fields is not None:
            levels = ("study", "series", "instance")
            upper = levels[: levels.index(asked.level)] if not self._study_uid else ()
            wanted = frozenset().union(asked.fields, RETURNED[asked.level], *(RETURNED[one] for one in upper))
        made = as_json(data, wanted=wanted)
        for tag, (vr, values) in more.items():
            made[f"{tag:08X}"] = {"vr": vr, "Value": values} if values else {"vr": vr}
        made[_RETRIEVE] = {"vr": "UR", "Value": [f"{self._base}/studies/{place}"]}
        made[_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
        return Match(dict(sorted(made.items())), image.patient, image.imaging_study)


def _grouped(images: Iterable[Image]) -> list[list[Image]]:
    """By series, in the order in which they came."""
    found: dict[str, list[Image]] = {}
    for image in images:
        found.setdefault(image.series_uid, []).append(image)
    return list(found.values())
