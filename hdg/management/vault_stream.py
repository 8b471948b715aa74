"""Vault objects of any size in constant memory: sealed while they arrive, read from any place.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", 2015, §7) over AES-256-GCM (NIST SP 800-38D): the plaintext is cut into segments of 1 MiB; the nonce
of each is a random prefix, its number and whether it is the last, so that none can be changed, moved, repeated or left
off at the end unseen.

    format(1) | prefix(7) | segment, tag(16) | segment, tag(16) | …

Each object has a key of its own (DEK), as in vault.py, but whose object it is may be known only at its end: so the DEK
is not in the file. It lies in the object's row, wrapped by the owner's key (KEK), bound to the CID. A file without such
a row (left by a cut connection, a crash) can be opened by nobody.

Until it is whole an object lies in ``incoming/`` under a random name, locked by the process that writes it; ``sweep``
removes what no living process holds.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
from base64 import b32encode
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hdg.errors import VaultError
from hdg.management.vault import BlobFiles

__all__ = [
    "SEGMENT_BYTES",
    "Sealer",
    "Stored",
    "StreamFile",
    "chunks",
    "open_stream",
    "sweep",
    "unwrap",
    "wrap",
]

SEGMENT_BYTES = 1 << 20
"""Plaintext of each segment but the last, which may be shorter (and is empty only in an empty object)."""
INCOMING = "incoming"
_FORMAT = b"\x02"
_PREFIX_BYTES = 7
_TAG_BYTES = 16
_NONCE_BYTES = 12
_HEAD_BYTES = 1 + _PREFIX_BYTES
_SEALED_BYTES = SEGMENT_BYTES + _TAG_BYTES
_SEGMENTS_MAX = 1 << 32
_FLUSH_BYTES = 16 << 20
"""So much is written before the disk is told to begin."""
_AHEAD = 2
"""Segments that may wait to be sealed; the one who writes waits for the rest."""
_DROP = getattr(os, "POSIX_FADV_DONTNEED", None)
"""Where there is such advice (not on macOS)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is durable in the vault. ``size``: its bytes as stored; ``plain_size``: as they came.

    Nothing names it yet, and only ``dek`` opens it.
    """

    cid: str
    size: int
    plain_size: int
    dek: bytes = field(repr=False)


class Sealer:
    """Takes plaintext piece by piece. ``finish`` makes the object durable; ``abort`` leaves nothing of it.

    Segments are sealed and written in a thread of their own while the next one arrives, and the disk writes in another
    what it has got; an object of one segment needs neither. What is on disk is not kept in the system's memory too:
    new memory for each byte of a large object takes longer than the rest of the writing, where memory is virtual.

    As a context manager it aborts what was not finished. For one thread.
    """

    def __init__(self, files: BlobFiles) -> None:
        """Raises OSError."""
        self._files = files
        self._dek, self._prefix = secrets.token_bytes(32), secrets.token_bytes(_PREFIX_BYTES)
        self._cipher = AESGCM(self._dek)
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self._count = self._plain = self._size = 0
        self._part, self._file = _new_part(files.folder)
        self._worker: ThreadPoolExecutor | None = None
        self._ahead: deque[Future[None]] = deque()
        """What the worker has to do yet. While there is any, ``_count``, ``_size`` and ``_digest`` are the worker's."""
        self._flushing: Thread | None = None
        self._flushed = 0
        self._failure: OSError | None = None
        """Of the first write or sync that failed."""
        self._put(_FORMAT + self._prefix)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """More of the plaintext. Raises OSError, also for what came before."""
        self._plain += len(data)
        view = memoryview(data)
        while len(self._pending) + len(view) > SEGMENT_BYTES:  # the last is kept back: it is marked as such
            room = SEGMENT_BYTES - len(self._pending)
            self._pending += view[:room]
            view = view[room:]
            self._hand_on(self._pending)
            self._pending = bytearray()
        self._pending += view

    def finish(self) -> Stored:
        """Writes what is left, syncs file and folder, and gives the file its name. Raises OSError."""
        self._wait_for(0)
        self._segment(self._pending, is_last=True)
        self._join()
        self._sync()
        if self._failure is not None:
            raise self._failure
        cid = "b" + b32encode(b"\x01\x55\x12\x20" + self._digest.digest()).decode().rstrip("=").lower()
        self._files.adopt(cid, self._part)
        self._close()
        return Stored(cid, self._size, self._plain, self._dek)

    def abort(self) -> None:
        """Removes what was written, unless it was finished."""
        if self._file >= 0:
            with suppress(OSError):
                self._part.unlink()
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _hand_on(self, plain: bytearray) -> None:
        self._wait_for(_AHEAD - 1)
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "hdg-seal")
        try:
            self._ahead.append(self._worker.submit(self._segment, plain, is_last=False))
        except RuntimeError as error:
            self._failure = OSError(errno.EAGAIN, "the system gives no more threads")
            raise self._failure from error

    def _wait_for(self, left: int) -> None:
        """Until no more than so many segments wait."""
        while len(self._ahead) > left:
            self._ahead.popleft().result()

    def _segment(self, plain: bytearray, *, is_last: bool) -> None:
        if self._failure is not None:
            raise self._failure
        if self._count >= _SEGMENTS_MAX:
            raise VaultError("the object is too large")
        self._put(self._cipher.encrypt(_nonce(self._prefix, self._count, is_last=is_last), plain, None))
        self._count += 1

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            self._failure = error
            raise
        self._size += len(data)
        if self._size - self._flushed >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Has the disk begin with what is there, so that it has little left to do at the end."""
        if self._flushing is not None and self._flushing.is_alive():
            return
        self._flushed = self._size
        flushing = Thread(target=self._sync_and_forget, args=(self._size,), name="hdg-flush", daemon=True)
        with suppress(RuntimeError):  # no thread for it: there is more to do at the end
            flushing.start()
            self._flushing = flushing

    def _sync(self) -> None:
        """An error is told once for each open file (fsync(2)): what is not kept here nobody would hear of."""
        try:
            os.fsync(self._file)
        except OSError as error:
            self._failure = error

    def _sync_and_forget(self, until: int) -> None:
        self._sync()
        if _DROP is not None:
            with suppress(OSError):
                os.posix_fadvise(self._file, 0, until, _DROP)

    def _join(self) -> None:
        if self._flushing is not None:
            self._flushing.join()
            self._flushing = None

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
            self._worker = None
        self._join()
        os.close(self._file)
        self._file = -1


def _new_part(folder: Path) -> tuple[Path, int]:
    """A new file in ``incoming/`` and its descriptor, locked."""
    incoming = folder / INCOMING
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming.mkdir(mode=0o700, exist_ok=True)
    while True:
        path = incoming / secrets.token_hex(16)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        if _lock(descriptor) and os.fstat(descriptor).st_nlink:  # else a sweep was quicker
            return path, descriptor
        os.close(descriptor)


def sweep(folder: Path) -> int:
    """Removes from ``incoming/`` of a vault's folder what no living process writes; how many files."""
    removed = 0
    for path in (folder / INCOMING).glob("*"):
        try:
            descriptor = os.open(path, os.O_WRONLY)
        except FileNotFoundError:
            continue
        try:
            if _lock(descriptor):
                with suppress(
                    OSError
                ):  # another process's sweep; or it is in use, where that is a lock of itself
                    path.unlink()
                    removed += 1
        finally:
            os.close(descriptor)
    return removed


def _lock(descriptor: int) -> bool:
    """Whether nobody else holds the file. Where there is no flock (Windows) it is taken to be free."""
    if os.name != "posix":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _nonce(prefix: bytes, number: int, *, is_last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + (b"\x01" if is_last else b"\x00")


# --- keys -------------------------------------------------------------------------------------------------------


def wrap(kek: AESGCM, code: str, stored: Stored) -> bytes:
    """The object's key under its owner's, for the object's row. ``code``: the owner's."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + kek.encrypt(nonce, stored.dek, _place(code, stored.cid))


def unwrap(kek: AESGCM, code: str, cid: str, wrapped: bytes) -> bytes:
    """The inverse. Raises VaultError: another owner's, another object's, or damaged."""
    try:
        return kek.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _place(code, cid))
    except (InvalidTag, ValueError):
        raise VaultError("the key of a vault object does not open: wrong owner, damaged, or moved") from None


def _place(code: str, cid: str) -> bytes:
    return f"dek/{code}/{cid}".encode()


# --- reading ----------------------------------------------------------------------------------------------------


class StreamFile(io.RawIOBase):
    """A sealed object as a file of its plaintext, to be read from any place. Holds one segment in memory."""

    name = ""
    """What libraries that read files call it in messages: nothing."""

    def __init__(self, path: Path, dek: bytes, size: int) -> None:
        """``size``: the object's bytes as stored. Raises VaultError when they are not there."""
        super().__init__()
        self._cipher = AESGCM(dek)
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by close()
        except OSError:
            raise VaultError(f"the vault object {path.name} cannot be read") from None
        head = self._file.read(_HEAD_BYTES)
        body = size - _HEAD_BYTES
        if head[:1] != _FORMAT or os.fstat(self._file.fileno()).st_size != size or body < _TAG_BYTES:
            self._file.close()
            raise VaultError(f"the vault object {path.name} is damaged")
        self._prefix = head[1:]
        self._count = -(-body // _SEALED_BYTES)
        self.size = body - self._count * _TAG_BYTES
        """Bytes of plaintext."""
        self._at = 0
        self._held: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Offset in the plaintext."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As files do it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # narrower than typeshed's Buffer
        """At most to the end of a segment. Raises VaultError for damaged bytes."""
        number, start = divmod(self._at, SEGMENT_BYTES)
        if self._at >= self.size:
            return 0
        piece = memoryview(self._segment(number))[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Closes the file and forgets the plaintext."""
        if not self.closed:
            self._file.close()
            self._held = (-1, b"")
        super().close()

    def _segment(self, number: int) -> bytes:
        if self._held[0] != number:
            self._held = (-1, b"")
            self._file.seek(_HEAD_BYTES + number * _SEALED_BYTES)
            sealed = self._file.read(_SEALED_BYTES)
            nonce = _nonce(self._prefix, number, is_last=number == self._count - 1)
            try:
                self._held = (number, self._cipher.decrypt(nonce, sealed, None))
            except InvalidTag:
                raise VaultError("a vault object does not open: wrong key, damaged, or cut short") from None
        return self._held[1]


def open_stream(path: Path, dek: bytes, size: int) -> io.BufferedReader:
    """A buffered StreamFile. Raises VaultError."""
    return io.BufferedReader(StreamFile(path, dek, size), 1 << 16)


def chunks(source: io.BufferedIOBase, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The plaintext from ``start`` on, in pieces of at most 1 MiB; closes ``source`` at the end."""
    with source:
        source.seek(start)
        left = length
        while left is None or left > 0:
            piece = source.read(SEGMENT_BYTES if left is None else min(left, SEGMENT_BYTES))
            if not piece:
                return
            if left is not None:
                left -= len(piece)
            yield piece
