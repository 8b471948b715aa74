"""Converts one input of ``hdg convert``, of whatever format, and writes what it became."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hdg.bulk_jobs import Form, Job, Outcome, Plan
from hdg.errors import CdaError, DeviceError, DicomError, HdgError, Hl7v2Error
from hdg.fhir import bundle
from hdg.fhir import json as fhir_json
from hdg.ingestion.converted import Converted, JsonObject
from hdg.ingestion.device.kinds import HEAD_BYTES, kind_of
from hdg.ingestion.hl7v2.batch import read_batch
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender
from hdg.ingestion.sniff import XML, Format, format_of

if TYPE_CHECKING:  # what takes long to import is, when there is such an input
    from hdg.ingestion.cda.convert import Converter as CdaConverter
    from hdg.ingestion.coverage import Coverage
    from hdg.ingestion.device.convert import Converter as DeviceConverter
    from hdg.ingestion.dicom.convert import Converter as DicomConverter
    from hdg.ingestion.hl7v3.convert import Converter as Hl7v3Converter

__all__ = ["convert_job", "delivered"]

HL7_SUFFIXES = frozenset({"", ".hl7", ".hl7v2", ".er7", ".msg", ".txt", ".dat", ".oru", ".adt", ".vxu"})
"""In a folder, a file with another suffix that starts neither like HL7 v2 nor like XML is skipped (and named)."""


def convert_job(job: Job, plan: Plan) -> Iterable[Outcome]:
    """Converts one input; a file may hold many messages. Errors become Outcomes."""
    if job.path is not None and _is_dicom(job.path, plan):
        return _convert_object(job, plan, None)
    if job.path is not None and _is_personal(job.path, plan):
        return _convert_personal(job, plan, None)
    try:
        data = sys.stdin.buffer.read() if job.path is None else job.path.read_bytes()
    except OSError as error:
        return [Outcome(job.name, 0, "failed", error=f"cannot be read: {error.strerror}")]
    source = plan.source or format_of(data)
    if source is None:
        if job.path is not None and job.is_from_folder and job.path.suffix.lower() not in HL7_SUFFIXES:
            text = "neither HL7 v2 nor XML (neither its name nor its first bytes)"
            return [Outcome(job.name, 0, "skipped", error=text)]
        text = "empty" if not data.strip() else "does not start with MSH, FHS, BHS or an XML element"
        return [Outcome(job.name, 0, "failed", error=text)]
    if source == "dicom":
        return _convert_object(job, plan, data)
    if source == "device":
        return _convert_personal(job, plan, data)
    if source in XML:
        return [_convert_document(job, plan, data, source)]
    try:
        batch = read_batch(data)
    except HdgError as error:
        return [Outcome(job.name, 0, "failed", error=str(error))]
    messages = batch.messages
    outcomes = [_convert_message(job, plan, n, raw, len(messages)) for n, raw in enumerate(messages, 1)]
    wrong = "; ".join(f"{issue.place}: {issue.text}" for issue in batch.errors)
    if wrong:
        outcomes.append(Outcome(job.name, 0, "failed", issues=batch.issues, error=wrong))
    elif not messages:
        outcomes.append(Outcome(job.name, 0, "failed", error="holds no message"))
    return outcomes


@cache
def _converter(id_key: bytes) -> Converter:
    return Converter(id_key=id_key)


@cache
def _device_converter(id_key: bytes) -> DeviceConverter:
    from hdg.ingestion.device.convert import Converter as DeviceConverter

    return DeviceConverter(id_key=id_key)


@cache
def _cda_converter(id_key: bytes) -> CdaConverter:
    from hdg.ingestion.cda.convert import Converter as CdaConverter

    return CdaConverter(id_key=id_key)


@cache
def _hl7v3_converter(id_key: bytes) -> Hl7v3Converter:
    from hdg.ingestion.hl7v3.convert import Converter as Hl7v3Converter

    return Hl7v3Converter(id_key=id_key)


def _is_personal(path: Path, plan: Plan) -> bool:
    """Whether a file is personal health data, which may be far larger than memory."""
    if plan.source is not None:
        return plan.source == "device"
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False  # said when it is read
    return format_of(head) == "device" or (path.suffix.lower() == ".csv" and kind_of(head) == "csv")


@cache
def _dicom_converter(id_key: bytes) -> DicomConverter:
    from hdg.ingestion.dicom.convert import Converter as DicomConverter

    return DicomConverter(id_key=id_key)


def _is_dicom(path: Path, plan: Plan) -> bool:
    """Whether a file is a DICOM object, of which only the header is read."""
    if plan.source is not None:
        return plan.source == "dicom"
    try:
        with path.open("rb") as file:
            return format_of(file.read(132)) == "dicom"
    except OSError:
        return False  # said when it is read


def _convert_object(job: Job, plan: Plan, data: bytes | None) -> Iterator[Outcome]:
    """The Outcome of one DICOM object, whose resources ``run`` writes with its study; those of a DICOMDIR's files."""
    from hdg.ingestion.dicom import directory
    from hdg.ingestion.dicom.document import encapsulated
    from hdg.ingestion.dicom.header import read_header

    try:
        header = read_header(job.path if data is None and job.path is not None else data or b"")
        if directory.is_directory(header):
            yield from _convert_directory(job, plan, directory.files_of(header, (job.path or Path()).parent))
            return
        document = encapsulated(header)
        converted = _dicom_converter(plan.id_key).convert(
            header,
            plan.sender,
            at_us=time.time_ns() // 1000,
            sha256=_sha256(job, data),
            document=document,
        )
    except DicomError as error:
        yield Outcome(job.name, 1, "failed", error=str(error))
        return
    except OSError as error:
        yield Outcome(job.name, 0, "failed", error=f"cannot be read: {error.strerror}")
        return
    lost = tuple(issue.place for issue in converted.issues if issue.code == "incomplete")
    yield Outcome(
        job.name,
        1,
        "converted",
        converted.source.message_type,
        converted.source.control_id,
        issues=converted.issues,
        lost=lost if plan.with_coverage else (),
        part=converted,
    )
    if document is not None and document.is_cda:
        inner = replace(job, output=f"{job.output}-cda")
        yield replace(_convert_document(inner, plan, document.data, "cda"), number=2)


def _sha256(job: Job, data: bytes | None) -> str:
    if data is None and job.path is not None:
        with job.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(data or b"").hexdigest()


def _convert_directory(job: Job, plan: Plan, files: list[Path]) -> Iterator[Outcome]:
    """The objects that a DICOMDIR names; in a folder they are inputs themselves."""
    if job.is_from_folder:
        yield Outcome(job.name, 0, "skipped", error="a DICOMDIR; the files beside it are read themselves")
        return
    for path in files:
        name = path.relative_to((job.path or path).parent).as_posix()
        yield from _convert_object(Job(path, name, name, is_from_folder=True), plan, None)
    if not files:
        yield Outcome(job.name, 0, "failed", error="a DICOMDIR that names no file")


def _convert_personal(job: Job, plan: Plan, data: bytes | None) -> Iterator[Outcome]:
    """An Outcome for each piece (hdg.ingestion.device.convert); ``data`` None: the job's file, as a stream."""
    from hdg.ingestion.device.convert import Input  # its readers take long to import, and most runs need none

    number = 0
    try:
        if data is None and job.path is not None:
            given = Input.of_path(job.path, patient=plan.patient, may_be_anonymous=True)
        else:
            given = Input.of_bytes(data or b"", name=job.name, patient=plan.patient, may_be_anonymous=True)
        at_us = time.time_ns() // 1000
        for number, piece in enumerate(
            _device_converter(plan.id_key).pieces(given, plan.sender, at_us=at_us), 1
        ):
            yield delivered(job, plan, number, 0, piece, (), None)
    except DeviceError as error:
        yield Outcome(job.name, number + 1, "failed", error=str(error))
    except OSError as error:
        yield Outcome(job.name, number + 1, "failed", error=f"cannot be read: {error.strerror}")


def _convert_document(job: Job, plan: Plan, data: bytes, source: Format) -> Outcome:
    converter = _hl7v3_converter(plan.id_key) if source == "hl7v3" else _cda_converter(plan.id_key)
    try:
        converted = converter.convert(data, plan.sender, at_us=time.time_ns() // 1000)
    except CdaError as error:
        return Outcome(job.name, 1, "failed", error=str(error))
    lost: tuple[str, ...] = ()
    places = None
    if plan.with_coverage:
        covered = _document_coverage(source)(data, plan.sender)
        lost = covered.lost
        places = Counter[str](place.status for place in covered.places)
    return delivered(job, plan, 1, 1, converted, lost, places)


def _document_coverage(source: Format) -> Callable[[bytes, Sender | None], Coverage]:
    if source == "hl7v3":
        from hdg.ingestion.hl7v3.coverage import coverage as of_message

        return of_message
    from hdg.ingestion.cda.coverage import coverage as of_document

    return of_document


def _convert_message(job: Job, plan: Plan, number: int, raw: bytes, total: int) -> Outcome:
    converter = _converter(plan.id_key)
    try:
        converted = converter.convert(raw, plan.sender, at_us=time.time_ns() // 1000)
    except Hl7v2Error as error:
        return Outcome(job.name, number, "failed", error=str(error))
    lost: tuple[str, ...] = ()
    places = None
    if plan.with_coverage:
        from hdg.ingestion.hl7v2.coverage import coverage

        covered = coverage(raw, plan.sender)
        lost = covered.lost
        places = Counter[str](place.status for place in covered.places)
    return delivered(job, plan, number, total, converted, lost, places)


def delivered(
    job: Job,
    plan: Plan,
    number: int,
    total: int,
    converted: Converted,
    lost: tuple[str, ...],
    places: Mapping[str, int] | None,
) -> Outcome:
    """Writes what was converted, where it goes to a folder."""
    output = _encode(converted, plan.form)
    if plan.folder is not None:
        try:
            _write(plan, job, number, total, output)
        except OSError as error:
            return Outcome(job.name, number, "failed", error=f"output cannot be written: {error.strerror}")
    return Outcome(
        job.name,
        number,
        "converted",
        converted.source.message_type,
        converted.source.control_id,
        len(converted.resources),
        converted.issues,
        lost=lost,
        places=places,
        output=None if plan.folder is not None else output,
    )


def _encode(converted: Converted, form: Form) -> bytes:
    if form == "ndjson":
        return b"".join(fhir_json.dumps(resource) + b"\n" for resource in converted.resources)
    if form == "document" and converted.resources[0]["resourceType"] == "Composition":
        return fhir_json.dumps(_document(converted)) + b"\n"
    return fhir_json.dumps(bundle.transaction(converted.resources)) + b"\n"


def _document(converted: Converted) -> JsonObject:
    """What a document became, as a document again."""
    composition, *_, provenance = converted.resources
    fallback = {"system": "urn:hdg:sha256", "value": converted.source.sha256}
    identifier = composition.get("identifier") or fallback
    return bundle.document(converted.resources, identifier=identifier, timestamp=provenance["recorded"])


def _write(plan: Plan, job: Job, number: int, total: int, output: bytes) -> None:
    """``total`` 0: pieces of one input, nobody knows how many; as ndjson they make one file."""
    if plan.folder is None:
        return
    suffix = ".ndjson" if plan.form == "ndjson" else ".json"
    is_one = total == 1 or (total == 0 and (number == 1 or plan.form == "ndjson"))
    target = plan.folder / (f"{job.output}{suffix}" if is_one else f"{job.output}.{number}{suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab" if is_one and number > 1 and total == 0 else "wb") as file:
        file.write(output)
