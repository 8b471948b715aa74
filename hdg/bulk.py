"""Converts files and folders: the work behind ``hdg convert``.

Small inputs are converted in this process; many files go to one worker process a core, in bounded chunks, so that
memory does not grow with the folder. Every message has an Outcome of its own; one bad file never stops the rest.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from hdg.bulk_convert import convert_job, delivered
from hdg.bulk_jobs import Form, Job, Outcome, Plan
from hdg.errors import SettingsError, SourceError
from hdg.fhir import ids
from hdg.helper import tune_collector
from hdg.ingestion.sender import Sender
from hdg.ingestion.sniff import Format

if TYPE_CHECKING:  # what takes long to import is, when there is such an input
    from hdg.ingestion.dicom.gather import Gathering

CHUNK_FILES = 64
"""Files handed to a worker at a time; with 4 chunks a worker in flight this bounds memory."""
POOL_FROM_FILES = 128
"""Below this many files, starting worker processes costs more than it saves."""


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
    Raises SettingsError for a zone or a charset that is none.
    """
    if zone or charset:
        from hdg.ingestion.hl7v2.charset import is_known
        from hdg.ingestion.times import zone as parsed

        parsed(zone)
        if charset and not is_known(charset):
            raise SettingsError(f"{charset!r} names no character set that can be read")
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
        yield replace(delivered(job, plan, 1, 1, converted, (), None), number=0, is_study=True)
