"""Opens an Apple Health export, ``export.xml`` or the ``export.zip`` around it, as a stream of XML without its DTD.

XML 1.0 §2.8 (https://www.w3.org/TR/xml/#sec-prolog-dtd). The file that HealthKit writes begins with an internal DTD of
ELEMENT and ATTLIST declarations. Nothing else is let through: no entity, no notation, no external subset, no parameter
entity, no default value. The parser never sees any of it, which also reads the releases whose DTD is not well-formed.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from hdg.errors import DeviceError

__all__ = ["Beside", "XmlStream", "opened"]

DTD_MAX_BYTES = 256 * 1024
UNPACKED_MAX_BYTES = 16 * 1024**3
"""Of the XML inside a ZIP file; it streams, so this bounds time and not memory."""
ENTRIES_MAX = 500_000

_BLANKS = rb"[ \t\r\n]"
_PROLOG = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:<\?xml[^>]{0,200}\?>)?(?:" + _BLANKS + rb"+|<!--(?:(?!--).)*-->)*", re.DOTALL
)
_OPENING = re.compile(rb"<!DOCTYPE" + _BLANKS + rb"+[A-Za-z_:][\w:.-]*" + _BLANKS + rb"*(\[?)")
_DECLARATION = re.compile(
    rb"(?:" + _BLANKS + rb"+|<!--(?:(?!--).)*-->|<!(?:ELEMENT|ATTLIST)[^<>%&\"'\[\]]*>?)+",
    re.DOTALL,
)
"""The last ``>`` of a declaration may be missing: releases of iOS have written such."""
_CLOSING = re.compile(rb"\]" + _BLANKS + rb"*>")
_ENCODING = re.compile(rb"encoding" + _BLANKS + rb"*=" + _BLANKS + rb"*[\"']([A-Za-z0-9._-]+)[\"']")


class XmlStream:
    """What lxml reads: the bytes of the file from its root element on. ``read_bytes``: how many were taken."""

    def __init__(self, stream: BinaryIO, limit: int = UNPACKED_MAX_BYTES) -> None:
        self.read_bytes = 0
        self._stream = stream
        self._limit = limit
        self._head = self._without_dtd()

    def read(self, size: int = 65_536) -> bytes:
        """The next bytes. Raises DeviceError when the file is larger than is taken."""
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._take(max(size, 65_536))

    def _take(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (
            zipfile.BadZipFile,
            EOFError,
            OSError,
            NotImplementedError,
            ValueError,
            RuntimeError,
        ) as error:
            raise DeviceError(
                f"cannot be unpacked ({type(error).__name__})", f"byte {self.read_bytes}"
            ) from None
        except Exception as error:  # zlib.error has no common ancestor with the others
            if type(error).__module__ != "zlib":
                raise
            raise DeviceError("cannot be unpacked (damaged data)", f"byte {self.read_bytes}") from None
        self.read_bytes += len(data)
        if self.read_bytes > self._limit:
            raise DeviceError("larger than is taken", f"byte {self._limit}")
        return data

    def _without_dtd(self) -> bytes:
        data = self._take(DTD_MAX_BYTES)
        prolog = _PROLOG.match(data)
        at = prolog.end() if prolog else 0
        encoding = _ENCODING.search(data, 0, at)
        if encoding is not None and encoding[1].lower() not in (b"utf-8", b"us-ascii", b"ascii"):
            raise DeviceError("an export is written in UTF-8", "line 1")
        end = _end_of_dtd(data, at) if data.startswith(b"<!", at) else at
        rest = _PROLOG.match(data, end)
        if not data.startswith(b"<HealthData", rest.end() if rest else end):
            raise DeviceError("not an Apple Health export: the root is not HealthData", "line 1")
        return data[:at] + b"\n" * data.count(b"\n", at, end) + data[end:]


def _end_of_dtd(data: bytes, at: int) -> int:
    """Where the DTD ends. Raises DeviceError for anything in it but plain declarations."""
    opening = _OPENING.match(data, at)
    if opening is None or not opening[1]:
        raise _refused(data, at)
    at = opening.end()
    body = _DECLARATION.match(data, at)
    at = body.end() if body else at
    closing = _CLOSING.match(data, at)
    if closing is None:
        raise _refused(data, at)
    return closing.end()


def _refused(data: bytes, at: int) -> DeviceError:
    line = data.count(b"\n", 0, at) + 1
    return DeviceError("a document type definition may only declare elements and attributes", f"line {line}")


class Beside:
    """What lies beside the XML in a ZIP file. ``names``: in the archive's order, each once."""

    def __init__(self, archive: zipfile.ZipFile | None = None, export: zipfile.ZipInfo | None = None) -> None:
        self._archive = archive
        entries = archive.filelist if archive is not None else []
        self._entries = {one.filename: one for one in entries if one is not export and not one.is_dir()}
        self.names = tuple(self._entries)

    def read(self, name: str, limit: int) -> bytes:
        """The whole of a small file. Raises DeviceError: larger than ``limit`` bytes, encrypted or damaged."""
        entry = self._entries[name]
        if self._archive is None or entry.flag_bits & 1:
            raise DeviceError("an encrypted file of an export is left out")
        try:
            with self._archive.open(entry) as file:
                data = file.read(limit + 1)
        except (
            Exception
        ) as error:  # zipfile lets out what zlib, bz2 and lzma raise, which have no common ancestor
            raise DeviceError(
                f"a file of an export cannot be unpacked ({type(error).__name__}): left out"
            ) from None
        if len(data) > limit:
            raise DeviceError("a file of an export is larger than is taken: left out")
        return data


@contextmanager
def opened(open_: Callable[[], BinaryIO]) -> Iterator[tuple[XmlStream, Beside]]:
    """The XML of an export, and what lies beside it in a ZIP file. Raises DeviceError."""
    with open_() as file:
        head = file.read(4)
        file.seek(0)
        if head[:2] != b"PK":
            yield XmlStream(file), Beside()
            return
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DeviceError(f"not a ZIP file ({type(error).__name__})") from None
        with archive:
            if len(archive.filelist) > ENTRIES_MAX:
                raise DeviceError("a ZIP file of too many files")
            entry = _export(archive)
            beside = Beside(archive, entry)
            with archive.open(entry) as inner:
                yield XmlStream(inner), beside  # type: ignore[arg-type]  # IO[bytes] reads as BinaryIO does


def _export(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The export among the files: HealthKit names it in the phone's language, so it is known by its root."""
    for entry in archive.filelist:
        name = entry.filename
        if name.lower().endswith(".xml") and name.count("/") <= 1 and not name.lower().endswith("_cda.xml"):
            if entry.flag_bits & 1:
                raise DeviceError("an encrypted ZIP file")
            try:
                with archive.open(entry) as inner:
                    head = inner.read(4096)
            except Exception as error:
                raise DeviceError(f"cannot be unpacked ({type(error).__name__})") from None
            if b"HealthData" in head:
                return entry
    raise DeviceError("a ZIP file without an Apple Health export")
