"""The watch folder: files put there are taken in and answered by a file beside them.

A file is taken once its size and time have stayed the same from one look to the next. Names that begin with
a dot or end in .tmp, .part, .filepart or .ack are left alone: write under such a name and rename.
Taking is a rename into ``.working/``; then the file goes to ``processed/`` when every message was accepted
and the counts agree, else to ``failed/``, with the answer as ``<name>.ack`` beside it. One that is written to
all the same while it is taken is taken again; one that may not be read goes to ``failed/``; one that cannot be read or
put away just now (a fault of the disk) stays and holds up no other. A name too long to have an answer beside it is cut.
While the disk is nearly full (space.py) nothing is taken. A gateway that was
killed in between finds the file in ``.working/`` and takes it again: its messages are known, so they are
answered from their records. One gateway a folder. DICOM files: watch_images.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from hdg.devices import Devices
from hdg.documents import Documents, Taken
from hdg.errors import HdgError
from hdg.fhir import json
from hdg.fhir.outcome import operation_outcome
from hdg.gateway import Gateway
from hdg.imaging import Imaging
from hdg.ingestion.hl7v2.batch import read_batch
from hdg.ingestion.sender import Origin
from hdg.ingestion.sniff import XML, format_of
from hdg.intake import answer, take_all
from hdg.throttle import Throttle
from hdg.watch_images import Images

WORKING, PROCESSED, FAILED = ".working", "processed", "failed"
_UNFINISHED = (".tmp", ".part", ".filepart", ".ack")
_ORIGIN = Origin("folder")
_NAME_BYTES = 200
"""Of a file's name that are kept: most file systems allow 255, and ``.….ack`` and ``~2`` must find room."""
_TELL_S = 60.0

_log = logging.getLogger("hdg.watch")


@dataclass
class Watch:
    """One folder, looked at every ``poll_s`` seconds."""

    gateway: Gateway
    folder: Path
    poll_s: float = 1.0
    imaging: Imaging | None = None
    """Takes DICOM files; None: they go to ``failed/``."""
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _before: tuple[int, int] = (0, 0)
    """``_mark`` of the file under way, from before it was read."""
    _documents: Documents = field(init=False)
    _images: Images | None = field(init=False, default=None)
    _devices: Devices = field(init=False)
    _tell: Throttle = field(default_factory=lambda: Throttle(_log, every_s=_TELL_S))

    def __post_init__(self) -> None:
        self._documents = Documents(self.gateway)
        if self.imaging is not None:
            places = (self.folder, self.folder / PROCESSED, self.folder / FAILED)
            self._images = Images(self.imaging, *places)
        self._devices = Devices(self.gateway)

    def prepare(self) -> None:
        """Makes the folders. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_folders()

    def _make_folders(self) -> None:
        """Also at each look: who tidies up takes them away. Raises OSError, when the folder itself is away too."""
        for name in (WORKING, PROCESSED, FAILED):
            (self.folder / name).mkdir(exist_ok=True)

    async def run(self, stopping: asyncio.Event) -> None:
        """Takes files until ``stopping`` is set; the file under way is finished."""
        while not stopping.is_set():
            try:
                await self.look(stopping)
            except OSError as error:  # the folder is away: a share, perhaps
                self._tell(logging.ERROR, "the inbox folder cannot be used: %s", error.strerror)
            try:
                await asyncio.wait_for(stopping.wait(), self.poll_s)
            except TimeoutError:
                continue

    async def look(self, stopping: asyncio.Event | None = None) -> int:
        """One look: takes what a former run left, then what is ready. Returns how many files were done."""
        done = 0
        self._make_folders()
        left = sorted(path for path in (self.folder / WORKING).iterdir() if path.is_file())
        for path in [*left, *self._ready()]:
            if (stopping is not None and stopping.is_set()) or self.gateway.store.space.is_low():
                break
            taken = path if path.parent.name == WORKING else self._pick_up(path)
            if taken is None:
                continue
            try:
                if not await self._process(taken):
                    break
            except PermissionError:
                _log.error("a file of the inbox folder may not be read")
                self._put_away(taken, FAILED, b"")
            except FileNotFoundError:
                self._tell(logging.WARNING, "a file of the inbox folder went away while it was taken")
                continue
            except OSError as error:
                text = "a file of the inbox folder stays in %s: %s"
                self._tell(logging.ERROR, text, WORKING, error.strerror)
                continue
            done += 1
        return done

    def _ready(self) -> list[Path]:
        """Files that have not changed since the last look, oldest first."""
        found: dict[str, tuple[int, int]] = {}
        ready: list[tuple[int, str]] = []
        for path in self.folder.iterdir():
            if path.name.startswith(".") or path.name.lower().endswith(_UNFINISHED):
                continue
            try:
                if path.is_symlink() or not path.is_file():
                    continue
                found[path.name] = _mark(path)
            except OSError:
                continue
            if self._seen.get(path.name) == found[path.name]:
                ready.append((found[path.name][1], path.name))
        self._seen = found
        return [self.folder / name for _, name in sorted(ready)]

    def _pick_up(self, path: Path) -> Path | None:
        self._seen.pop(path.name, None)
        try:
            return path.rename(_free(self.folder / WORKING, path.name))
        except OSError as error:
            self._tell(logging.WARNING, "a file of the inbox folder cannot be taken: %s", error.strerror)
            return None

    async def _process(self, path: Path) -> bool:
        """Takes one file in and puts it away. False when messages could not be kept: it stays for later."""
        self._before = _mark(path)
        if self._images is not None and await asyncio.to_thread(self._images.are, path):
            return await self._image(self._images, path)
        size = self._before[0]
        if size > self.gateway.settings.ingest_max_bytes:
            _log.error("a file of the inbox folder has %d bytes, more than ingest_max_bytes", size)
            self._put_away(path, FAILED, b"")
            return True
        data = await asyncio.to_thread(path.read_bytes)
        if format_of(data) in XML:
            return await self._document(path, data, self._documents.take)
        if format_of(data) == "device":
            return await self._document(path, data, self._devices.take)
        batch = read_batch(data)
        outcomes = await take_all(self.gateway, batch.messages, _ORIGIN)
        if any(outcome.is_to_be_sent_again for outcome in outcomes):
            return False
        is_accepted = all(outcome.is_accepted for outcome in outcomes) and not batch.errors
        text = answer(batch, outcomes, self.gateway.clock())
        self._put_away(path, PROCESSED if is_accepted else FAILED, text)
        return True

    async def _document(
        self, path: Path, data: bytes, take: Callable[[bytes, Origin], Awaitable[Taken]]
    ) -> bool:
        """A document, an HL7 v3 message or data of a device; the answer beside it is an OperationOutcome."""
        try:
            taken = await take(data, _ORIGIN)
        except HdgError as error:
            _log.error("a document was not kept: %s", type(error).__name__)
            return False
        text = json.dumps(operation_outcome(taken.issues()))
        self._put_away(path, PROCESSED if taken.is_accepted else FAILED, text)
        return True

    async def _image(self, images: Images, path: Path) -> bool:
        """A DICOM object, of any size, or a DICOMDIR."""
        issues = await asyncio.to_thread(images.take, path)
        if issues is None:
            return False
        is_stored = all(issue.severity != "error" for issue in issues)
        text = json.dumps(operation_outcome(issues))
        self._put_away(path, PROCESSED if is_stored else FAILED, text)
        return True

    def _put_away(self, path: Path, folder: str, text: bytes) -> None:
        """The answer first, so that a file in its last place always has it.

        A file that somebody went on writing stays, to be taken again: what was taken of it is known by then.
        """
        if _mark(path) != self._before:
            _log.warning("a file of the inbox folder was written to while it was taken: it is taken again")
            return
        target = _free(self.folder / folder, path.name)
        if text:
            beside = target.with_name(target.name + ".ack")
            partial = beside.with_name("." + beside.name)
            partial.write_bytes(text)
            partial.replace(beside)
        path.rename(target)


def _mark(path: Path) -> tuple[int, int]:
    """What changes when a file is written to: size and time."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _free(folder: Path, name: str) -> Path:
    """A path in ``folder`` that no file has, nor its answer."""
    name = _short(name)
    names = chain((name,), (f"{name}~{number}" for number in count(2)))
    paths = (folder / candidate for candidate in names)
    return next(path for path in paths if not path.exists() and not Path(f"{path}.ack").exists())


def _short(name: str) -> str:
    """A file's name with room for its answer's; one that is cut keeps its begin and its suffix."""
    encoded = os.fsencode(name)
    if len(encoded) <= _NAME_BYTES:
        return name
    suffix = os.fsencode(Path(name).suffix)[:20]
    return os.fsdecode(encoded[: _NAME_BYTES - len(suffix)] + suffix)
