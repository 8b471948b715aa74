"""One file, many messages: HL7 batch files, plain concatenation, captured MLLP streams. HL7 v2.9 §2.10.3.

Batch and file headers and trailers (FHS, BHS, BTS, FTS) hold no patient data and are passed over. Anything
else between messages is handed out as a message of its own, so that parsing it fails by name: it is not lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hdg.ingestion.hl7v2 import charset as charsets

_START = re.compile(rb"(?:\A|(?<=[\r\n\x0b\x1c]))(?:\xef\xbb\xbf)?(MSH|FHS|BHS|BTS|FTS)(?=[^A-Za-z0-9]|\Z)")
_BLANK = b"\x0b\x1c\r\n\t \x1a\x00"
_BLANK_END = b"\x0b\x1c\r\n"
_LINE_END = re.compile(rb"[\r\n\x1c]")


def split_messages(data: bytes) -> Iterator[bytes]:
    """The messages of ``data``, in order, without what frames them. Lazy; each is a copy of its part.

    A file without any MSH comes back whole (an empty one too), so that its parse error names it; a batch
    without messages yields none.
    """
    wide = charsets.wide(data)
    if wide:
        yield from _wide(data, wide)
        return
    is_empty = True
    for piece in _pieces(data):
        is_empty = False
        if piece:
            yield piece
    if is_empty:
        yield data


def _wide(data: bytes, charset: str) -> Iterator[bytes]:
    """The same for UTF-16 and UTF-32; what does not decode comes back whole."""
    try:
        text = data.decode(charset).removeprefix("\ufeff")
    except UnicodeDecodeError:
        yield data
        return
    for piece in split_messages(text.encode("utf-8")):
        yield piece.decode("utf-8").encode(charset)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Messages and unexplained stretches; b'' stands for a header or trailer line."""
    at = 0
    while at < len(data):
        found = _START.search(data, at)
        begin = found.start() if found else len(data)
        between = data[at:begin].strip(_BLANK)
        if between:
            yield between
        if found is None:
            return
        if found[1] == b"MSH":
            following = _START.search(data, found.end())
            at = following.start() if following else len(data)
            yield _trimmed(data[begin:at])
        else:
            end = _LINE_END.search(data, found.end())
            at = end.end() if end else len(data)
            yield b""


def _trimmed(message: bytes) -> bytes:
    """Without the framing that follows; the last segment keeps its own line end."""
    end = len(message.rstrip(_BLANK_END))
    while message[end : end + 1] in (b"\r", b"\n"):
        end += 1
    return message[:end]
