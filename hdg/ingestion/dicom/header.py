"""Reads the header of a DICOM object: all before the pixels, within limits. DICOM PS3.10 §7, PS3.5 §7 and Annex A.

An own reader, for pydicom's takes most of the time that a gateway has for one object, recurses as deep as the sender
likes and inflates a deflated data set whole. The tests hold the two together over all files that come with pydicom.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Protocol

from hdg.errors import DicomError, Issue
from hdg.ingestion.dicom.dataset import Dataset, Deferred, Shared
from hdg.ingestion.dicom.dictionary import shown
from hdg.ingestion.dicom.elements import Ended, Limits, Parser, Short

__all__ = ["DEFLATED", "Header", "Limits", "is_part10", "read_header"]

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
"""Those that deflate the whole data set (PS3.5 §A.5, §A.7, §A.12). 1.2.840.10008.1.2.8.1 deflates frames (§A.4.13)."""
_PREAMBLE_BYTES = 128
_MAGIC = b"DICM"
_TRANSFER_SYNTAX = 0x00020010
_CHUNK_BYTES = 64 * 1024
_PIXELS = 0x7FE00000
"""The group of the pixels: what comes before it is the header."""


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(slots=True)
class Header:
    """An object without its pixels.

    ``meta``: group 0002 (empty for a bare data set); ``data``: the data set. ``header_bytes``: how much was read of the
    (inflated) stream. ``path``: the file that it was read from, for values that were passed over.
    """

    meta: Dataset
    data: Dataset
    transfer_syntax: str
    header_bytes: int
    has_pixels: bool
    path: Path | None = None
    issues: list[Issue] = field(default_factory=list)

    @property
    def sop_class(self) -> str:
        """SOP Class UID; '' when the object does not say."""
        return self.data.text(0x00080016) or self.meta.text(0x00020002)

    @property
    def sop_uid(self) -> str:
        """SOP Instance UID; '' when the object does not say."""
        return self.data.text(0x00080018) or self.meta.text(0x00020003)

    @property
    def study_uid(self) -> str:
        """Study Instance UID; '' when the object does not say."""
        return self.data.text(0x0020000D)

    @property
    def series_uid(self) -> str:
        """Series Instance UID; '' when the object does not say."""
        return self.data.text(0x0020000E)


def is_part10(data: bytes) -> bool:
    """Whether bytes begin as a DICOM file does: a preamble of 128 bytes, then ``DICM``."""
    return data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == _MAGIC


def read_header(
    source: IO[bytes] | Path | str | bytes,
    *,
    transfer_syntax: str | None = None,
    limits: Limits = Limits(),  # noqa: B008  # frozen
) -> Header:
    """The header of a DICOM file (PS3.10), a file without preamble, or a bare data set.

    ``source``: a path, bytes, or a stream, which is read forward from where it stands and left somewhere behind the
    header. ``transfer_syntax``: of a bare data set, as the association says. Raises DicomError, naming the tag.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        with path.open("rb") as stream:
            header = read_header(stream, transfer_syntax=transfer_syntax, limits=limits)
        header.path = path
        return header
    if isinstance(source, bytes):
        source = BytesIO(source)
    return _Reader(source, limits).header(transfer_syntax)


class _Inflating:
    """Inflates as it is read, and no more than the limit."""

    def __init__(self, stream: _Stream, head: bytes, most: int) -> None:
        self._stream, self._rest, self._left = stream, head, most
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, size: int, /) -> bytes:
        found: list[bytes] = []
        while size > 0 and not self._inflate.eof:
            data = self._rest or self._stream.read(_CHUNK_BYTES)
            try:
                made = self._inflate.decompress(data, size)
            except zlib.error as error:
                raise DicomError("the deflated data set is damaged", "(0002,0010)") from error
            self._rest = self._inflate.unconsumed_tail
            if not made and not data:
                break
            self._left -= len(made)
            if self._left < 0:
                raise DicomError("the deflated data set has a longer header than is allowed", "(0002,0010)")
            size -= len(made)
            found.append(made)
        return b"".join(found)


class _Reader:
    """Reads forward: ``window`` holds what was read and is not done with."""

    def __init__(self, stream: _Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._shared = Shared()
        self._window = b""
        self._base = 0  # offset of the window in the stream
        self._is_end = False
        self._stop = 0

    def header(self, transfer_syntax: str | None) -> Header:
        meta = Dataset(self._shared)
        self._more(_CHUNK_BYTES)
        if transfer_syntax is None:
            if is_part10(self._window):
                self._drop(_PREAMBLE_BYTES + len(_MAGIC))
            self._read(meta, Parser(meta, self._limits, is_explicit=True), first=0x00020000, stop=0x00030000)
            transfer_syntax = meta.text(_TRANSFER_SYNTAX)
        said = transfer_syntax
        if said in DEFLATED:
            window, self._window = self._window, b""
            self._stream = _Inflating(self._stream, window, self._limits.header_bytes)
            self._base, self._is_end = 0, False
            self._more(_CHUNK_BYTES)
        data = Dataset(self._shared, is_little=said != EXPLICIT_BIG)
        self._read(data, self._parser(data, said), first=0, stop=_PIXELS)
        if not data.raw or not (meta.raw or any(tag >> 16 == 8 for tag in data.raw)):
            raise DicomError("this holds no data set", "(0008,0005)")
        return Header(
            meta, data, said, self._base, self._stop >> 16 == _PIXELS >> 16, None, self._shared.issues
        )

    def _parser(self, data: Dataset, said: str) -> Parser:
        """As the transfer syntax says; where the first element shows that it is wrong, as that one is."""
        vr = self._window[4:6]
        looks_explicit = vr.isalpha() and vr.isupper() and vr.isascii()
        is_explicit = said != IMPLICIT_LITTLE
        if not said or is_explicit != looks_explicit:
            self._shared.issues.append(
                Issue(
                    "warning",
                    "value",
                    "(0002,0010)",
                    "the transfer syntax is not the one of the data set, or not said; it was read as it lies",
                )
            )
            is_explicit = looks_explicit
            if not said and len(self._window) >= 2 and is_explicit:
                data.is_little = self._window[0] != 0 or self._window[1] == 0
        return Parser(data, self._limits, is_explicit=is_explicit)

    def _read(self, out: Dataset, parser: Parser, *, first: int, stop: int) -> None:
        """Elements from ``first`` up to ``stop``."""
        is_little = out.is_little
        while True:
            try:
                at = parser.elements(self._window, out, first, stop)
            except Short as short:
                # what was read before the element that is cut off stays; the window begins with that element
                self._drop(short.at)
                if not self._more(max(short.needed, len(self._window), _CHUNK_BYTES)):
                    raise DicomError(
                        "the data ends in the middle of this element", shown(short.tag)
                    ) from None
                continue
            except Ended as ended:
                self._drop(ended.at)
                self._stop = ended.tag
                return
            passed = parser.deferred
            if passed is not None:
                parser.deferred = None
                tag, vr, length = passed
                self._drop(at)
                out.raw[tag] = (vr, Deferred(self._base, length))
                self._skip(length, tag)
                continue
            self._drop(at)
            if not self._more(_CHUNK_BYTES):
                if self._window.strip(b"\0"):
                    raise DicomError(
                        "the data ends in the middle of an element", _place(self._window, is_little)
                    )
                return

    def _drop(self, count: int) -> None:
        if count:
            self._window = self._window[count:]
            self._base += count

    def _more(self, size: int) -> bool:
        """Reads on; False at the end. Raises DicomError beyond the limit."""
        if self._is_end:
            return False
        data = self._stream.read(size)
        while len(data) < size:  # a stream may give less than it was asked for
            more = self._stream.read(size - len(data))
            if not more:
                self._is_end = True
                break
            data += more
        self._window += data
        if len(self._window) > self._limits.header_bytes:
            raise DicomError("the header is longer than is allowed", shown(self._stop))
        return bool(data)

    def _skip(self, length: int, tag: int) -> None:
        """Passes over a value."""
        if length <= len(self._window):
            self._drop(length)
            return
        left = length - len(self._window)
        self._drop(len(self._window))
        while left:
            data = self._stream.read(min(left, 1 << 20))
            if not data:
                raise DicomError("the data ends in the middle of this element", shown(tag))
            left -= len(data)
            self._base += len(data)


def _place(window: bytes, is_little: bool) -> str:
    if len(window) < 4:
        return ""
    order = "little" if is_little else "big"
    return shown(int.from_bytes(window[:2], order) << 16 | int.from_bytes(window[2:4], order))  # type: ignore[arg-type]  # one of the two
