"""The parts of a multipart/related body while it arrives, in constant memory. RFC 2046 §5.1.1, RFC 2387, PS3.18 §8.6.

Feed it bytes; it hands on what belongs to which part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hdg.errors import DicomError

__all__ = ["Multipart", "boundary_of"]

_HEADERS_MAX = 16 * 1024
# RFC 2046 §5.1.1 allows 70 letters; Orthanc sends 73.
_BOUNDARY = re.compile(r'(?i)(?:^|;)\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))')
_END = b"\r\n\r\n"


def boundary_of(content_type: str) -> bytes:
    """Raises DicomError when the header names none."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise DicomError("the request names no boundary of its parts", "Content-Type")
    return (match[1] or match[2]).encode("latin-1", "replace")


@dataclass(slots=True)
class Multipart:
    """``feed`` yields events: ``dict`` headers of a part that begins, ``bytes`` of it, ``None`` where it ends."""

    boundary: bytes
    is_done: bool = False
    _state: str = "preamble"
    _held: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[dict[str, str] | bytes | None]:
        """Raises DicomError for a body that is no multipart."""
        self._held += data
        is_more = True
        while is_more and not self.is_done:
            if self._state == "preamble":
                is_more = self._preamble()
            elif self._state == "delimiter":
                is_more = self._delimiter()
            elif self._state == "headers":
                end = self._headers_end()
                is_more = end >= 0
                if is_more:
                    yield self._headers(end)
            else:
                piece, is_end = self._body()
                if piece:
                    yield piece
                if is_end:
                    yield None
                is_more = is_end

    def close(self) -> None:
        """The body has ended. Raises DicomError when it should not have."""
        if not self.is_done:
            raise DicomError("the body ends before its last part does")

    def _preamble(self) -> bool:
        mark = b"--" + self.boundary
        at = 0 if self._held.startswith(mark) else self._held.find(b"\r\n" + mark)
        if at < 0:
            if len(self._held) > _HEADERS_MAX:
                raise DicomError("the body does not begin with its boundary")
            return False
        del self._held[: at + len(mark) + (2 if at or self._held[:2] == b"\r\n" else 0)]
        self._state = "delimiter"
        return True

    def _delimiter(self) -> bool:
        """Behind a boundary: the end, or a line end and another part."""
        if self._held.startswith(b"--"):
            self.is_done = True
            self._held.clear()
            return False
        end = self._held.find(b"\r\n")
        if end < 0:
            if len(self._held) > _HEADERS_MAX:
                raise DicomError("a boundary does not end")
            return False
        if self._held[:end].strip(b" \t"):
            raise DicomError("a boundary is followed by what has no place there")
        del self._held[:end]  # the line end stays: headers may be none
        self._state = "headers"
        return True

    def _headers_end(self) -> int:
        end = self._held.find(_END)
        if end < 0 and len(self._held) > _HEADERS_MAX:
            raise DicomError("the headers of a part are longer than is allowed")
        return end

    def _headers(self, end: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in bytes(self._held[:end]).decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip():
                found[name.strip().lower()] = value.strip()
        del self._held[: end + len(_END)]
        self._state = "body"
        return found

    def _body(self) -> tuple[bytes, bool]:
        """What surely belongs to the part, and whether it ends there."""
        mark = b"\r\n--" + self.boundary
        at = self._held.find(mark)
        if at >= 0:
            piece = bytes(self._held[:at])
            del self._held[: at + len(mark)]
            self._state = "delimiter"
            return piece, True
        sure = len(self._held) - len(mark)
        piece = bytes(self._held[:sure]) if sure > 0 else b""
        del self._held[: len(piece)]
        return piece, False
