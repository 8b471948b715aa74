"""One file, many messages: HL7 batch files, plain concatenation, captured MLLP streams. HL7 v2.9 §2.10.3.

Batch and file headers and trailers (FHS, BHS, BTS, FTS) hold no patient data; their counts are checked.
Anything else between messages is handed out as a message of its own, so that parsing it fails by name: it is
not lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hdg.errors import Issue
from hdg.ingestion.hl7v2 import charset as charsets
from hdg.ingestion.hl7v2.ack import Header, read_header
from hdg.ingestion.hl7v2.encoding import STANDARD

_START = re.compile(rb"(?:\A|(?<=[\r\n\x0b\x1c]))(?:\xef\xbb\xbf)?(MSH|FHS|BHS|BTS|FTS)(?=[^A-Za-z0-9]|\Z)")
_BLANK = b"\x0b\x1c\r\n\t \x1a\x00"
_BLANK_END = b"\x0b\x1c\r\n"
_LINE_END = re.compile(rb"[\r\n\x1c]")
_COUNT_MAX = 12
"""Digits of a count that is believed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a file or a request holds: ``headers`` its FHS and BHS lines, ``issues`` counts that do not agree.

    An issue of severity error is a count that is wrong (messages are missing or too many), a warning one that
    is missing. Their places name the trailer, such as ``BTS[2]-1``.
    """

    messages: tuple[bytes, ...]
    issues: tuple[Issue, ...] = ()
    headers: tuple[bytes, ...] = ()
    wide: str = ""
    """The charset of ``messages`` when it is UTF-16 or UTF-32; the answer is in it throughout."""
    mark: bytes = b""
    """The byte order mark that it began with."""

    @property
    def is_batch(self) -> bool:
        """Whether the answer is a batch too: headers, or not exactly one message."""
        return bool(self.headers) or len(self.messages) != 1

    @property
    def errors(self) -> tuple[Issue, ...]:
        """The counts that are wrong."""
        return tuple(issue for issue in self.issues if issue.severity == "error")


def read_batch(data: bytes) -> Batch:
    """All messages of ``data`` as ``split_messages`` finds them, and whether the trailers' counts agree."""
    wide = charsets.wide(data)
    if wide:
        try:
            narrow = data.decode(wide).removeprefix("\ufeff").encode("utf-8")
        except UnicodeDecodeError:
            return Batch((data,))
        found = read_batch(narrow)
        wide_again = tuple(message.decode("utf-8").encode(wide) for message in found.messages)
        return Batch(wide_again, found.issues, found.headers, wide, charsets.byte_order_mark(data))
    counts = _Counts()
    messages: list[bytes] = []
    headers: list[bytes] = []
    is_empty = True
    for kind, piece in _pieces(data):
        is_empty = False
        counts.add(kind, piece)
        if kind in ("MSH", ""):
            messages.append(piece)
        elif kind in ("FHS", "BHS"):
            headers.append(piece)
    if is_empty:
        messages.append(data)
    return Batch(tuple(messages), tuple(counts.finish()), tuple(headers))


class _Counts:
    """Counts messages and batches while they pass, and compares them with BTS-1 and FTS-1."""

    def __init__(self) -> None:
        self._issues: list[Issue] = []
        self._seen = {"BTS": 0, "FTS": 0}
        self._messages = self._batches = 0
        self._is_file = self._is_batch = False

    def add(self, kind: str, line: bytes) -> None:
        """Takes the next piece: a header, a trailer, a message, or '' for what is none of them."""
        if kind == "MSH":
            self._messages += 1
        elif kind == "FHS":
            self._close_file()
            self._is_file, self._batches, self._messages = True, 0, 0
        elif kind == "BHS":
            self._close_batch()
            self._is_batch = True
        elif kind == "BTS":
            self._check(kind, line, self._messages, "messages")
            self._is_batch = False
            self._batches += 1
            self._messages = 0
        elif kind == "FTS":
            self._close_batch()
            self._check(kind, line, self._batches, "batches")
            self._is_file, self._batches = False, 0

    def finish(self) -> list[Issue]:
        """Every finding, once all pieces have passed."""
        self._close_file()
        return self._issues

    def _close_batch(self) -> None:
        """A batch that ends without BTS (which is optional), also one without BHS."""
        if self._is_batch:
            text = "the batch has no trailer: whether it is complete cannot be told"
            self._issues.append(Issue("warning", "incomplete", "BTS", text))
        if self._is_batch or self._messages:
            self._batches += 1
        self._is_batch, self._messages = False, 0

    def _close_file(self) -> None:
        self._close_batch()
        if self._is_file:
            text = "the file has no trailer: whether it is complete cannot be told"
            self._issues.append(Issue("warning", "incomplete", "FTS", text))
        self._is_file, self._batches = False, 0

    def _check(self, kind: str, line: bytes, counted: int, what: str) -> None:
        self._seen[kind] += 1
        place = f"{kind}-1" if self._seen[kind] == 1 else f"{kind}[{self._seen[kind]}]-1"
        stated = line[4:].split(line[3:4] or b"|", 1)[0].strip()
        if not stated:
            return
        if not stated.isdigit() or len(stated) > _COUNT_MAX:
            self._issues.append(Issue("error", "value", place, "the count is not a number"))
        elif int(stated) != counted:
            text = f"{int(stated)} {what} announced, {counted} found"
            self._issues.append(Issue("error", "invalid", place, text))


def response(batch: Batch, acks: Sequence[bytes], *, control_id: str, at: str) -> bytes:
    """The answers to a batch as one batch, in the same nesting of file and batch. HL7 v2.9 §2.10.3.3.

    The counts that do not agree stand in BTS-2. ``at``: the time as DTM. Each ACK keeps its own charset.
    """
    headers = [read_header(b"MSH" + line[3:]) for line in batch.headers]
    kinds = [line[:3] for line in batch.headers]
    lines = []
    for kind in (b"FHS", b"BHS"):
        if kind in kinds or kind == b"BHS":
            asked = headers[kinds.index(kind)] if kind in kinds else None
            lines.append(kind + _header_fields(asked, control_id, at) + b"\r")
    comment = "; ".join(f"{issue.place}: {issue.text}" for issue in batch.issues)
    tail = [f"BTS|{len(acks)}|{comment}\r".encode("ascii", "replace")]
    if b"FHS" in kinds:
        tail.append(b"FTS|1\r")
    if not batch.wide:
        return b"".join([*lines, *acks, *tail])
    own = [[line.decode("utf-8").encode(batch.wide) for line in part] for part in (lines, tail)]
    return batch.mark + b"".join([*own[0], *acks, *own[1]])


def _header_fields(asked: Header | None, control_id: str, at: str) -> bytes:
    """FHS or BHS from its first separator on: sender and receiver exchanged, the control id referred to."""

    def echo(number: int) -> str:
        text = asked.field(number) if asked is not None and asked.delimiters == STANDARD else ""
        return text.replace("\r", "")

    fields = [echo(5), echo(6), echo(3), echo(4), at, "", "", "", control_id, echo(11)]
    return ("|^~\\&|" + "|".join(fields)).rstrip("|").encode("utf-8")


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
    for kind, piece in _pieces(data):
        is_empty = False
        if kind in ("MSH", ""):
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


def _pieces(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Messages (MSH), header and trailer lines by their names, and '' with any unexplained stretch."""
    at = 0
    while at < len(data):
        found = _START.search(data, at)
        begin = found.start() if found else len(data)
        between = data[at:begin].strip(_BLANK)
        if between:
            yield "", between
        if found is None:
            return
        kind = found[1].decode("ascii")
        if kind == "MSH":
            following = _START.search(data, found.end())
            at = following.start() if following else len(data)
            yield kind, _trimmed(data[begin:at])
        else:
            end = _LINE_END.search(data, found.end())
            at = end.end() if end else len(data)
            yield kind, data[found.start(1) : end.start() if end else len(data)]


def _trimmed(message: bytes) -> bytes:
    """Without the framing that follows; the last segment keeps its own line end."""
    end = len(message.rstrip(_BLANK_END))
    while message[end : end + 1] in (b"\r", b"\n"):
        end += 1
    return message[:end]
