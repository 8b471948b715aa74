"""One DICOM object on its way in: held in memory while it is small, else sealed in a stream; then kept or refused.

What goes wrong is told as a status of C-STORE (PS3.4 §B.2.3), which STOW-RS answers with too.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from dataclasses import dataclass, replace
from io import BufferedIOBase, BytesIO
from typing import Protocol

from hdg.errors import DicomError, HdgError
from hdg.ingestion.dicom.association_dimse import Status
from hdg.ingestion.dicom.scp_file import data_set_at
from hdg.ingestion.sender import Sender
from hdg.management.store.engine import NotCommitted
from hdg.management.store.writer import Store
from hdg.management.vault_stream import Sealer, Stored, open_stream
from hdg.settings import Settings

__all__ = ["Expected", "Intake", "Keeper", "Outcome", "Sink"]

_log = logging.getLogger("hdg.imaging")

_LOOK_BYTES = 64 * 1024 * 1024
"""So often the free space is looked at while an object arrives."""
_PIECE_BYTES = 1024 * 1024
"""So much of a large object is hashed and sealed at a time: each time other threads may take the interpreter."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an object is to be, where that is known before it comes; '' : not known."""

    sop_class: str = ""
    sop_uid: str = ""
    study_uid: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an object. ``status``: PS3.4 §B.2.3, 0: it is stored. ``text``: no patient value."""

    status: int
    text: str = ""
    sop_class: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    is_repeat: bool = False


class Keeper(Protocol):
    """Who keeps objects."""

    @property
    def store(self) -> Store:
        """Where."""

    @property
    def settings(self) -> Settings:
        """How large they may be."""

    def keep(
        self, source: BufferedIOBase, content: bytes | Stored, sha256: str, sender: Sender, expected: Expected
    ) -> Outcome:
        """``source``: the plaintext of ``content``, a Part 10 file; ``sha256``: hex, of its data set.

        Raises DicomError, NotCommitted; of HdgErrors only the latter where it may be that it is kept.
        """


class Intake:
    """One object on its way in. ``write`` any number of times, then ``finish`` or ``abort``. For one thread."""

    def __init__(self, keeper: Keeper, sender: Sender, expected: Expected, head: bytes = b"") -> None:
        """``head``: what is put in front of a bare data set; else a Part 10 file comes."""
        self._keeper, self._sender, self._expected = keeper, sender, expected
        self._digest = hashlib.sha256()
        self._skip: int | None = len(head) or None
        """So much of what comes next is not of the data set; None: not known yet."""
        self._held = bytearray(head)
        """A small object; of a larger one what is not hashed and sealed yet."""
        self._sealer: Sealer | None = None
        self._failure: Outcome | None = None
        self._size = len(head)
        self._look_at = 0

    def write(self, data: bytes | memoryview) -> None:
        """More of it. What goes wrong is told by ``finish``."""
        if self._failure is not None:
            return
        try:
            self._take(data)
        except (OSError, NotCommitted) as error:
            _log.error("a DICOM object could not be kept: %s", type(error).__name__)
            self._fail(Outcome(Status.OUT_OF_RESOURCES, "the gateway's disk is full or failing"))

    def _take(self, data: bytes | memoryview) -> None:
        if self._size >= self._look_at:
            self._keeper.store.space.check()
            self._look_at = self._size + _LOOK_BYTES
        self._size += len(data)
        if self._size > self._keeper.settings.dicom_max_bytes:
            self._fail(Outcome(Status.OUT_OF_RESOURCES, "the object is larger than is allowed"))
            return
        self._held += data
        if self._sealer is None and len(self._held) > self._keeper.settings.inline_blob_bytes:
            self._sealer = Sealer(self._keeper.store.files)
        if self._sealer is not None and len(self._held) >= _PIECE_BYTES:
            self._seal(self._sealer)

    def _seal(self, sealer: Sealer) -> None:
        held, self._held = self._held, bytearray()
        self._hash(held)
        sealer.write(held)

    def _hash(self, data: bytes | bytearray) -> None:
        """Of the data set only: group 0002 is another one each time that an object is sent."""
        if self._skip is None:
            self._skip = data_set_at(data)
        passed = min(self._skip, len(data))
        self._skip -= passed
        self._digest.update(memoryview(data)[passed:])

    def finish(self) -> Outcome:
        """It is whole: stores it, and returns after the commit, or says why not."""
        try:
            return self._failure or self._finish()
        except (OSError, NotCommitted) as error:
            _log.error("a DICOM object was not kept: %s", type(error).__name__)
            return self._refusal(Status.OUT_OF_RESOURCES, "the gateway could not keep it; send it again")
        except DicomError as error:
            return self._refusal(Status.NOT_UNDERSTOOD, error.text)
        except HdgError as error:
            _log.error("a DICOM object was not kept: %s", type(error).__name__)
            return self._refusal(Status.PROCESSING_FAILURE, "the gateway could not keep it")
        except Exception as error:  # a defect of ours: the sender still has the object
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error(
                "a DICOM object failed: %s at %s:%s", type(error).__name__, place.filename, place.lineno
            )
            return self._refusal(Status.PROCESSING_FAILURE, f"internal error ({type(error).__name__})")
        finally:
            self.abort()

    def abort(self) -> None:
        """Nothing is left of it, unless it was stored."""
        if self._sealer is not None:
            self._sealer.abort()
            self._sealer = None
        self._held = bytearray()

    def _fail(self, outcome: Outcome) -> None:
        self.abort()
        expected = self._expected
        self._failure = replace(outcome, sop_class=expected.sop_class, sop_uid=expected.sop_uid)

    def _refusal(self, status: int, text: str) -> Outcome:
        return Outcome(status, text, self._expected.sop_class, self._expected.sop_uid)

    def _finish(self) -> Outcome:
        files = self._keeper.store.files
        content: bytes | Stored
        if self._sealer is None:
            self._hash(self._held)
            content = bytes(self._held)
            source: BufferedIOBase = BytesIO(content)
        else:
            self._seal(self._sealer)
            content = self._sealer.finish()
            self._sealer = None
            source = open_stream(files.path(content.cid), content.dek, content.size)
        outcome = None
        try:
            with source:
                outcome = self._keeper.keep(
                    source, content, self._digest.hexdigest(), self._sender, self._expected
                )
        except HdgError as error:
            if isinstance(content, Stored) and not isinstance(error, NotCommitted):
                files.path(content.cid).unlink()  # else a broken COMMIT may have kept its row
            raise
        if isinstance(content, Stored) and (outcome.status or outcome.is_repeat):
            files.path(content.cid).unlink()
        return outcome


class Sink:
    """An Intake as the SCP sees it."""

    def __init__(self, intake: Intake) -> None:
        self.write, self.abort = intake.write, intake.abort
        self._finish = intake.finish

    def finish(self) -> tuple[int, str]:
        """Status and comment."""
        outcome = self._finish()
        return outcome.status, outcome.text
