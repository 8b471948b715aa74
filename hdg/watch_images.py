"""DICOM files of the watch folder: single objects of any size, and a DICOMDIR with the files that it names.

A DICOMDIR (PS3.10 §8) is taken once the files that it names, in folders beside it, have stayed the same from one look
to the next. They go where it goes, each under its own path: to ``processed/`` when it was stored, else to ``failed/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hdg.errors import DicomError, Issue
from hdg.imaging import Imaging, is_dicom
from hdg.ingestion.dicom.association_dimse import Status
from hdg.ingestion.dicom.directory import files_of, is_directory
from hdg.ingestion.dicom.header import read_header
from hdg.ingestion.sender import Origin

__all__ = ["Images"]

_ORIGIN = Origin("folder")
Stats = dict[Path, tuple[int, int]]


@dataclass
class Images:
    """For one watch folder. Its methods block: for a thread."""

    imaging: Imaging
    folder: Path
    processed: Path
    failed: Path
    _seen: dict[str, Stats] = field(default_factory=dict)

    def are(self, path: Path) -> bool:
        """Whether a file is DICOM. Raises OSError."""
        return is_dicom(path)

    def take(self, path: Path) -> list[Issue] | None:
        """What became of a file of ``.working/``, errors first; None: it is to be taken later. Raises OSError."""
        try:
            header = read_header(path)
        except DicomError as error:
            return [_refused(Status.NOT_UNDERSTOOD, error.text)]
        if is_directory(header):
            try:
                return self._directory(path.name, files_of(header, self.folder))
            except DicomError as error:
                return [_refused(Status.NOT_UNDERSTOOD, error.text)]
        outcome = self.imaging.take_file(path, _ORIGIN)
        if outcome.status == Status.OUT_OF_RESOURCES:
            return None
        return [_refused(outcome.status, outcome.text)] if outcome.status else [_stored(1)]

    def _directory(self, name: str, files: list[Path]) -> list[Issue] | None:
        if not files:
            return [_refused(Status.NOT_UNDERSTOOD, "the DICOMDIR names no file")]
        found = self._found(files)
        if self._seen.get(name) != found:
            self._seen[name] = found
            return None
        issues: list[Issue] = []
        stored = 0
        for file in files:
            if file not in found:
                if (self.processed / file.relative_to(self.folder)).exists():
                    stored += 1  # of a former run
                else:
                    issues.append(
                        Issue("error", "not-found", "", "a file that the DICOMDIR names is not there")
                    )
                continue
            outcome = self.imaging.take_file(file, _ORIGIN)
            if outcome.status == Status.OUT_OF_RESOURCES:
                return None
            if outcome.status:
                issues.append(_refused(outcome.status, outcome.text))
            stored += not outcome.status
            self._put_away(file, self.failed if outcome.status else self.processed)
        del self._seen[name]
        return [*issues, _stored(stored)]

    def _found(self, files: list[Path]) -> Stats:
        """The files that are there, really in this folder."""
        found: Stats = {}
        home = self.folder.resolve()
        for file in files:
            if file.is_file() and file.resolve() == home / file.relative_to(self.folder):
                status = file.stat()
                found[file] = status.st_size, status.st_mtime_ns
        return found

    def _put_away(self, file: Path, to: Path) -> None:
        target = to / file.relative_to(self.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def _stored(count: int) -> Issue:
    return Issue("information", "informational", "", f"{count} objects stored")


def _refused(status: int, text: str) -> Issue:
    return Issue("error", "processing", "", f"status {status:#06x}: {text}")
