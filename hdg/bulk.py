"""Converts files and folders: the work behind ``hdg convert``.

Small inputs are converted in this process; many files go to one worker process a core, in bounded chunks, so that
memory does not grow with the folder. Every message has an Outcome of its own; one bad file never stops the rest.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hdg.errors import CdaError, DeviceError, DicomError, HdgError, Hl7v2Error, Issue, SourceError
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.helper import tune_collector
from hdg.ingestion.cda.convert import Converter as CdaConverter
from hdg.ingestion.converted import Converted, JsonObject
from hdg.ingestion.device.kinds import HEAD_BYTES, kind_of
from hdg.ingestion.hl7v2.batch import read_batch
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v3.convert import Converter as Hl7v3Converter
from hdg.ingestion.sender import Sender
from hdg.ingestion.sniff import XML, Format, format_of

if TYPE_CHECKING:  # what takes long to import is, when there is such an input
    from hdg.ingestion.device.convert import Converter as DeviceConverter
    from hdg.ingestion.dicom.convert import Converter as DicomConverter
    from hdg.ingestion.dicom.gather import Gathering

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

CHUNK_FILES = 64
"""Files handed to a worker at a time; with 4 chunks a worker in flight this bounds memory."""
POOL_FROM_FILES = 128
"""Below this many files, starting worker processes costs more than it saves."""
HL7_SUFFIXES = frozenset({"", ".hl7", ".hl7v2", ".er7", ".msg", ".txt", ".dat", ".oru", ".adt", ".vxu"})
"""In a folder, a file with another suffix that starts neither like HL7 v2 nor like XML is skipped (and named)."""


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
    """With coverage: how many valued places were mapped, unmapped (a row says why), reported by an issue, lost."""
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


def plan(
    *,
    form: Form,
    source: Format | None = None,
    output: Path | None,
    is_many: bool,
    id_key_file: Path | None = None,
    zone: str | None = None,
    charset: str | None = None,
    mappings: Path | None = None,
    with_coverage: bool = False,
    patient: str = "",
) -> Plan:
    """The Plan for a command line. ``output`` is a folder when it is one already or when there are many inputs.

    ``ndjson`` with an output that is no folder goes to that one file, however many inputs there are.
    """
    is_folder = output is not None and (
        output.is_dir() or (is_many and not (form == "ndjson" and output.suffix))
    )
    sender = None
    if zone or charset or mappings:
        sender = Sender(name="", institution="", zone=zone, charset=charset, mappings=mappings)
    return Plan(
        form=form,
        source=source,
        folder=output if is_folder else None,
        id_key=id_key_file.read_bytes() if id_key_file else ids.PUBLIC_KEY,
        sender=sender,
        with_coverage=with_coverage,
        patient=patient,
    )


def jobs_of(paths: Iterable[str]) -> list[Job]:
    """The files that the arguments name, folders walked in sorted order; ``-`` is standard input.

    Raises SourceError for a path that is not there.
    """
    jobs: list[Job] = []
    taken: set[str] = set()
    for text in paths:
        path = Path(text)
        if text == "-":
            jobs.append(Job(None, "-", _free_name("stdin", taken)))
        elif path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
                name = file.relative_to(path).as_posix()
                jobs.append(Job(file, name, _free_name(name, taken), is_from_folder=True))
        elif path.is_file():
            jobs.append(Job(path, path.name, _free_name(path.name, taken)))
        else:
            raise SourceError("no such file or folder", text)
    return jobs


def _free_name(name: str, taken: set[str]) -> str:
    """An output stem that no other input of this run has: a.hl7 and a.txt must not write the same file."""
    stem = str(Path(name).with_suffix(""))
    candidates = chain((stem, name), (f"{name}~{n}" for n in count(2)))
    free = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(free)
    return free


def run(jobs: list[Job], plan: Plan, workers: int | None = None) -> Iterator[Outcome]:
    """Converts ``jobs`` and yields an Outcome for each message, in input order; DICOM studies in the end."""
    studies: Gathering | None = None
    for outcome in _run(jobs, plan, workers):
        if outcome.part is not None:
            if studies is None:
                from hdg.ingestion.dicom.gather import Gathering

                studies = Gathering(plan.id_key)
            studies.add(outcome.part)
            outcome = replace(outcome, part=None)
        yield outcome
    if studies is not None:
        yield from _studies(studies, jobs, plan)


def _run(jobs: list[Job], plan: Plan, workers: int | None) -> Iterator[Outcome]:
    cores = workers or os.cpu_count() or 1
    if cores == 1 or len(jobs) < POOL_FROM_FILES:
        for job in jobs:
            yield from convert_job(job, plan)
        return
    chunks = (jobs[i : i + CHUNK_FILES] for i in range(0, len(jobs), CHUNK_FILES))
    with _pool(cores) as pool:
        running: deque[Future[list[Outcome]]] = deque()
        for chunk in chunks:
            running.append(pool.submit(_convert_chunk, chunk, plan))
            if len(running) >= 4 * cores:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()


def _pool(cores: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn" if sys.platform == "darwin" else "fork")
    return ProcessPoolExecutor(cores, mp_context=context, initializer=tune_collector)


def _convert_chunk(chunk: list[Job], plan: Plan) -> list[Outcome]:
    return [outcome for job in chunk for outcome in convert_job(job, plan)]


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
    return CdaConverter(id_key=id_key)


@cache
def _hl7v3_converter(id_key: bytes) -> Hl7v3Converter:
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


def _studies(studies: Gathering, jobs: list[Job], plan: Plan) -> Iterator[Outcome]:
    """The resources of each study: one ImagingStudy, and everything else once."""
    found = list(studies.studies())
    taken = {job.output for job in jobs}
    for converted in found:
        uid = converted.source.control_id
        names = chain((f"study-{uid}",), (f"study-{uid}~{n}" for n in count(2)))
        is_alone = len(found) == len(jobs) == 1
        output = jobs[0].output if is_alone else next(name for name in names if name not in taken)
        taken.add(output)
        job = Job(None, f"study {uid}", output)
        yield replace(_outcome(job, plan, 1, 1, converted, (), None), number=0, is_study=True)


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
            yield _outcome(job, plan, number, 0, piece, (), None)
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
    if plan.with_coverage:
        lost = tuple(issue.place for issue in converted.issues if issue.code == "incomplete")
    return _outcome(job, plan, 1, 1, converted, lost, None)


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
    return _outcome(job, plan, number, total, converted, lost, places)


def _outcome(
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
