"""The files beside ``export.xml`` in an Apple Health export: electrocardiograms, clinical records, routes of workouts.

Each is opened by itself and is small; what is larger, damaged or none of these is noted and left out, and the rest
stands. HealthKit writes no specification of them: ``electrocardiograms/*.csv``, ``clinical-records/*.json``,
``workout-routes/*.gpx``, whatever the folder around them is called.
"""

from __future__ import annotations

from collections.abc import Iterator

from hdg.errors import DeviceError
from hdg.ingestion.device.apple_clinical import FILE_MAX_BYTES, Clinical
from hdg.ingestion.device.apple_ecg import read_ecg
from hdg.ingestion.device.apple_xml import Beside
from hdg.ingestion.device.home import Home
from hdg.mapping.context import JsonObject

__all__ = ["read_files"]

ECG_MAX_BYTES = 16 * 1024 * 1024
_ECG, _CLINICAL, _ROUTES = "electrocardiograms", "clinical-records", "workout-routes"


def read_files(beside: Beside, home: Home, clinical: Clinical) -> Iterator[JsonObject]:
    """The resources of all files; what is not carried over is noted by its kind."""
    records: list[str] = []
    for name in beside.names:
        folder = name.split("/")[-2] if "/" in name else ""
        if folder == _ECG and name.lower().endswith(".csv"):
            yield from _ecg(beside, name, home)
        elif folder == _CLINICAL and name.lower().endswith(".json"):
            records.append(name)
        elif folder == _ROUTES:
            home.note("warning", "incomplete", folder, "the route of a workout (GPX) is not carried over")
        elif not name.endswith("_cda.xml"):
            home.note("information", "incomplete", "", "a file that is not known is left out")
    yield from _clinical(beside, records, home, clinical)


def _ecg(beside: Beside, name: str, home: Home) -> Iterator[JsonObject]:
    try:
        text = beside.read(name, ECG_MAX_BYTES).decode("utf-8-sig")
        if not home.patient:
            yield home.nobody()
        yield from read_ecg(iter(text.splitlines()), home, _ECG)
    except UnicodeDecodeError:
        home.note("error", "structure", _ECG, "an electrocardiogram that is not UTF-8 is left out")
    except DeviceError as error:
        if not home.patient:
            raise
        home.note("error", "value", _ECG, f"an electrocardiogram is left out: {error.text}")


def _clinical(beside: Beside, names: list[str], home: Home, clinical: Clinical) -> Iterator[JsonObject]:
    """Twice over: first what they are called, so that they can refer to each other in any order."""
    missing = set(clinical.listed)
    taken: list[tuple[str, str]] = []
    for name in names:
        path = "/".join(name.split("/")[-2:])
        missing.discard(path)
        if clinical.is_taken(path):
            taken.append((name, path))
    if missing:
        text = "a clinical record that the export lists is not in it (export.zip has them as files)"
        for _ in missing:
            home.note("warning", "incomplete", _CLINICAL, text)
    for name, path in taken:
        data = _read(beside, name, home)
        if data is not None:
            clinical.announce(path, data)
    if taken and not home.patient:
        yield home.nobody()
    by_source = sorted(
        taken, key=lambda one: clinical.listed[one[1]].source
    )  # a piece of data has one author
    for name, path in by_source:
        data = _read(beside, name, None)
        if data is not None:
            yield from clinical.read(path, data)
    home.provider = ""


def _read(beside: Beside, name: str, home: Home | None) -> bytes | None:
    """``home``: whom to tell of a file that cannot be read; None: it knows already."""
    try:
        return beside.read(name, FILE_MAX_BYTES)
    except DeviceError as error:
        if home is not None:
            home.note("error", "value", _CLINICAL, error.text)
        return None
