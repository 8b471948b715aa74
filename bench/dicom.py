"""DICOM headers to ImagingStudies, in files a second. One core; seconds are of CPU time, taken in turns.

    python -m bench.dicom [--folder FOLDER]

Without a folder: the files that come with pydicom and are of a patient's study. The limit is pydicom reading the same
headers (``stop_before_pixels``), measured in the same run.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from bench.measure import Figure
from hdg.errors import DicomError
from hdg.fhir import ids
from hdg.fhir.json import dumps
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.header import read_header
from hdg.ingestion.dicom.study import InstanceFacts, facts_of, imaging_study

ROUNDS = 5


def dicom_headers(folder: Path | None = None) -> Figure:
    """File to header to validated resources, with the ImagingStudy of its instance."""
    import pydicom
    import pydicom.data

    converter = Converter(id_key=ids.PUBLIC_KEY)
    files = _convertible(converter, folder or Path(pydicom.data.__file__).parent)

    def ours() -> None:
        for path in files:
            facts_of(converter.convert(read_header(path), at_us=0))

    def theirs() -> None:
        for path in files:
            pydicom.dcmread(path, stop_before_pixels=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, limit = _least(ours, theirs)
    count = len(files)
    return Figure(
        "dicom_headers",
        count / mine,
        "files/s",
        count / limit,
        "pydicom reads the headers alone",
        ">= 1,500",
    )


def dicom_study() -> Figure:
    """Instances a second of a shuffled CT of 1,000 slices; limit: reading their statements as JSON."""
    import orjson
    import pydicom.data

    source = Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm"
    facts = facts_of(Converter(id_key=ids.PUBLIC_KEY).convert(read_header(source), at_us=0))
    if facts is None:
        raise SystemExit("CT_small.dcm states no study")
    instances = [_slice(facts, number) for number in range(1, 1001)]
    expected = dumps(imaging_study(instances)[0])
    random.Random(1).shuffle(instances)
    if dumps(imaging_study(instances)[0]) != expected:
        raise SystemExit("the order of instances makes a difference")
    ours, limit = _least(
        lambda: imaging_study(instances), lambda: [orjson.loads(one.statement) for one in instances]
    )
    return Figure(
        "dicom_study", 1000 / ours, "instances/s", 1000 / limit, "orjson reads their statements", "-"
    )


def _slice(facts: InstanceFacts, number: int) -> InstanceFacts:
    uid = f"{facts.sop_uid[:50]}.{number}"
    text = facts.statement.replace(facts.sop_uid, uid).replace(
        '"number":1,"sopClass"', f'"number":{number},"sopClass"'
    )
    return dataclasses.replace(facts, sop_uid=uid, statement=text)


def _convertible(converter: Converter, folder: Path) -> list[Path]:
    found = []
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                continue
        try:
            converter.convert(read_header(path), at_us=0)
        except DicomError:
            continue
        found.append(path)
    return found


def _least(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Least CPU seconds of each, run in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for work, spent in zip((one, other), times, strict=True):
            started = time.process_time()
            work()
            spent.append(time.process_time() - started)
    return min(times[0]), min(times[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="Objects to read (default: those of pydicom).")
    for figure in (dicom_headers(parser.parse_args().folder), dicom_study()):
        print(
            f"{figure.name}: {figure.value:,.0f} {figure.unit} (goal {figure.goal}); "
            f"limit {figure.limit:,.0f} ({figure.limit_is}), ratio {figure.ratio:.2f}"
        )
