"""MLLP framing, without I/O. HL7 Transport Specification: MLLP, Release 1 (§2: <SB> content <EB><CR>)."""

from __future__ import annotations

from dataclasses import dataclass

START = b"\x0b"
END = b"\x1c\r"
_END_BYTE = END[:1]
MAX_BYTES = 16 * 1024 * 1024
_HEAD_BYTES = 4_096


def frame(message: bytes) -> bytes:
    """The message in an MLLP frame."""
    return START + message + END


@dataclass(frozen=True, slots=True)
class Oversize:
    """A frame over the size cap, skipped to its end. ``head`` is its first bytes."""

    head: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A frame that has not ended. ``head`` is its first bytes, ``size_bytes`` what had come of it."""

    head: bytes
    size_bytes: int


class FrameDecoder:
    """Cuts a byte stream into frames, however it arrives. Holds at most ``max_bytes`` plus one ``feed``.

    Bytes between frames are dropped and counted in ``junk_bytes`` (CR and LF are not counted).

    ``is_lenient``: for senders that end a frame with FS alone. FS directly before the next start then ends a
    frame too, and ``end_of_pause`` takes a frame that stops at FS when its sender has paused there. Strict by
    default: an FS inside a message (which no message may hold) could otherwise cut it short unnoticed.
    """

    __slots__ = (
        "_buffer",
        "_head",
        "_is_inside",
        "_is_lenient",
        "_max_bytes",
        "_scanned",
        "_skipped",
        "junk_bytes",
    )

    def __init__(self, max_bytes: int = MAX_BYTES, *, is_lenient: bool = False) -> None:
        self._max_bytes = max_bytes
        self._is_lenient = is_lenient
        self._buffer = bytearray()
        self._is_inside = False
        self._scanned = 0  # how far the buffer is known to hold no end
        self._head: bytes | None = None  # set while an oversize frame is skipped
        self._skipped = 0
        self.junk_bytes = 0

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._is_inside

    @property
    def held_bytes(self) -> int:
        """What is kept of a frame that has not ended."""
        return len(self._buffer) + len(self._head or b"")

    @property
    def frame_bytes(self) -> int:
        """What has come of a frame that has not ended."""
        return self._skipped + len(self._buffer) if self._is_inside else 0

    def cut(self) -> Cut:
        """Gives up the frame that has not ended."""
        found = Cut(self._head or bytes(self._buffer[:_HEAD_BYTES]), self.frame_bytes)
        self._buffer.clear()
        self._head, self._skipped, self._scanned, self._is_inside = None, 0, 0, False
        return found

    @property
    def is_at_end(self) -> bool:
        """Whether a pause of the sender would end the frame: lenient, and FS is the last byte so far."""
        return self._is_lenient and self._is_inside and self._buffer.endswith(_END_BYTE)

    def end_of_pause(self) -> list[bytes | Oversize]:
        """The frame that the sender has left at FS, if there is one; a CR that comes later is dropped."""
        return self.feed(b"\r") if self.is_at_end else []

    def feed(self, data: bytes) -> list[bytes | Oversize]:
        """The frames that ``data`` completes, in order."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes | Oversize] = []
        at = 0
        while True:
            if not self._is_inside:
                start = buffer.find(START, at)
                self._count_junk(buffer[at:] if start < 0 else buffer[at:start])
                at = len(buffer) if start < 0 else start + 1
                if start < 0:
                    break
                self._is_inside, self._scanned = True, at
            end = self._end(max(self._scanned, at))
            if end < 0:
                break
            frames.append(self._frame(at, end))
            self._is_inside = False
            at = end + 1  # the CR counts as a byte between frames
        del buffer[:at]
        if self._is_inside:
            self._hold_back()
        return frames

    def _end(self, begin: int) -> int:
        """Where the frame's end bytes begin, or -1."""
        end = self._buffer.find(END, begin)
        if self._is_lenient:
            bare = self._buffer.find(_END_BYTE + START, begin, end if end >= 0 else len(self._buffer))
            return bare if bare >= 0 else end
        return end

    def _frame(self, at: int, end: int) -> bytes | Oversize:
        if self._head is not None:
            size = self._skipped + end - at
            head, self._head, self._skipped = self._head, None, 0
            return Oversize(head, size)
        if end - at > self._max_bytes:
            return Oversize(bytes(self._buffer[at : at + _HEAD_BYTES]), end - at)
        return bytes(memoryview(self._buffer)[at:end])

    def _hold_back(self) -> None:
        """Bounds what an unfinished frame keeps; the last byte may be the first of its end."""
        buffer = self._buffer
        if self._head is None and len(buffer) > self._max_bytes + 1:
            self._head = bytes(buffer[:_HEAD_BYTES])
        if self._head is not None and len(buffer) > 1:
            self._skipped += len(buffer) - 1
            del buffer[:-1]
        self._scanned = max(len(buffer) - 1, 0)

    def _count_junk(self, junk: bytes | bytearray) -> None:
        if junk:
            self.junk_bytes += len(junk) - junk.count(b"\r") - junk.count(b"\n")
