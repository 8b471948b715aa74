r"""HL7 v2 messages from bytes: any 2.x version, delimiters, character set. HL7 v2.9 §2.5, §2.6, §2.14.9.

Lazy: the text is decoded once and cut into segments; a segment is split into fields when one is asked for.

Tolerated, because senders do it: a byte order mark, MLLP framing left on, LF or CRLF line ends, blank lines,
MSH-2 with fewer or (2.7+) more than four characters. Reported as Issues: line breaks inside a field
(kept), lines that are no segment (left out), doubtful character sets. Everything else that breaks the grammar
raises Hl7v2Error with its place and HL7 table 0357 condition. Memory and time are linear in the input, which
is capped.
"""

from __future__ import annotations

import codecs
import re
import string
from typing import Final

from hdg.errors import Hl7v2Error, Issue
from hdg.ingestion.hl7v2 import charset as charsets
from hdg.ingestion.hl7v2.encoding import STANDARD, Delimiters, component, repetitions, translate, unescape
from hdg.ingestion.hl7v2.segment import HEADER_SEGMENTS, Segment

__all__ = ["MAX_BYTES", "Message", "Segment", "delimiters_of", "parse"]

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_SEGMENTS: Final = 100_000
MAX_FIELDS: Final = 4_096
"""Fields of one segment; no HL7 segment comes near, and it bounds what splitting a segment can cost."""
MAX_REPETITIONS: Final = 100_000
"""Repetition separators of one message."""

_LEADING: Final = b"\x0b\x1c\r\n\t \x00"
_TRAILING: Final = "\r\n\x0b\x1c\x1a\x00"
_TRUNCATING: Final = Delimiters(truncation="#")
_NO_DELIMITER: Final = frozenset(string.ascii_letters + string.digits + string.whitespace + '"\x7f').union(
    map(chr, range(32))
)
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}(?:\||\Z)")
_COMMON: Final = frozenset(
    {"MSH", "EVN", "PID", "PD1", "NK1", "PV1", "PV2", "ORC", "OBR", "OBX", "NTE", "SPM", "AL1", "DG1", "RXA"}
)
"""Names that need no look at the grammar of names; speed only."""
_NAME_LIKE: Final = re.compile(r"\s*[A-Za-z0-9]{1,4}\s*\|")
_LONE_LINE_FEED: Final = re.compile(r"\n(?=[A-Z][A-Z0-9]{2}(?:\||[\r\n]|\Z)|[\r\n]|\Z)")
_VERSION: Final = re.compile(r"2(?:\.[0-9]{1,2}){0,2}")
_JUNK_NAMED: Final = 10


class Message:
    """One parsed message. ``segments`` and every text in it are in the standard delimiters ``|^~\\&``.

    ``raw`` is the input as received, ``charset`` the name to give to ``unescape``, ``delimiters`` what the
    sender used, ``issues`` what was tolerated.
    """

    __slots__ = ("_by_name", "_control_id", "charset", "delimiters", "issues", "raw", "segments")

    def __init__(
        self,
        raw: bytes,
        segments: list[Segment],
        charset: str,
        delimiters: Delimiters,
        issues: list[Issue],
        by_name: dict[str, list[Segment]],
    ) -> None:
        self.raw = raw
        self.segments = segments
        self.charset = charset
        self.delimiters = delimiters
        self.issues = issues
        self._by_name = by_name
        self._control_id: str | None = None

    def first(self, name: str) -> Segment | None:
        """The first segment of that name, or None."""
        try:
            return self._by_name[name][0]
        except KeyError:
            return None

    def all(self, name: str) -> list[Segment]:
        """All segments of that name, in message order."""
        return self._by_name.get(name, [])

    @property
    def message_type(self) -> tuple[str, str, str]:
        """MSH-9: message code, trigger event, message structure; '' for what is absent."""
        parts = [*self._header(9).split("^"), "", ""][:3]
        return parts[0], parts[1], parts[2]

    @property
    def control_id(self) -> str:
        """MSH-10, unescaped; '' if absent."""
        if self._control_id is None:
            self._control_id = unescape(self._header(10), self.charset)
        return self._control_id

    @property
    def version(self) -> str:
        """MSH-12.1, such as ``2.5.1``; '' if absent."""
        return component(self._header(12), 1)

    def encode(self, *, delimiters: Delimiters | None = None, charset: str | None = None) -> bytes:
        """The message written again: CR after each segment, by default as the sender wrote it.

        MSH-18 is not touched. Raises UnicodeEncodeError when ``charset`` lacks a character.
        """
        target = delimiters or self.delimiters
        source = _TRUNCATING if self.delimiters.truncation else STANDARD
        lines = [_encoded(segment.text, source, target) for segment in self.segments]
        return charsets.encode("".join(lines), charset or self.charset)

    def _header(self, number: int) -> str:
        return (repetitions(self.segments[0].field(number)) or [""])[0]

    def __repr__(self) -> str:
        return f"<Message {'^'.join(self.message_type)} of {len(self.segments)} segments>"


def parse(data: bytes, *, charset: str | None = None, max_bytes: int = MAX_BYTES) -> Message:
    """One message. ``charset`` (HL7 table 0211 or Python name) overrides MSH-18.

    Raises Hl7v2Error. ``is_rejection`` is set where no header could be read (acknowledge with AR), not where
    the content is wrong (AE).
    """
    if len(data) > max_bytes:
        raise _rejected(f"{len(data)} bytes; the limit is {max_bytes}")
    start = data if data.startswith(b"MSH") else _start(data)
    if not start.startswith((b"MSH", codecs.BOM_UTF8 + b"MSH")) and not charsets.wide(start):
        raise _no_header(start[:3].decode("latin-1"))
    is_plain = charset is None and start.isascii() and b"\x1b" not in start and start.startswith(b"MSH")
    decoded = charsets.PLAIN if is_plain else charsets.read(start, charset)
    issues = list(decoded.issues)
    text = _line_ends(start.decode("ascii") if is_plain else decoded.text, issues)
    delimiters = delimiters_of(text)
    _check_bounds(text, delimiters)
    if not delimiters.is_standard:
        text = _standard(text, delimiters)
    by_name: dict[str, list[Segment]] = {}
    segments = _segments(text, by_name, issues)
    if not segments[0].field(9):
        raise _rejected("the header is cut short: no message type", "MSH-9", "101")
    version = component(segments[0].field(12), 1)
    if version and not _VERSION.fullmatch(version):
        raise _rejected("not an HL7 version 2 message", "MSH-12", "203")
    used = charsets.of_ascii(segments[0].field(18), issues) if is_plain else decoded.charset
    return Message(data, segments, used, delimiters, issues, by_name)


def _start(data: bytes) -> bytes:
    """The message without what may stand before it: framing, blank lines (a byte order mark stays)."""
    return data if charsets.wide(data) else data.lstrip(_LEADING)


def _rejected(text: str, place: str = "", condition: str = "207") -> Hl7v2Error:
    return Hl7v2Error(text, place, condition=condition, is_rejection=True)


def _line_ends(text: str, issues: list[Issue]) -> str:
    """The text with CR line ends, none at its end. Beside CRs, a line feed before no segment belongs to its field."""
    is_standard = "\r" in text  # the CR of the only segment says so too
    text = text.rstrip(_TRAILING)
    if "\n" not in text:
        return text
    if not is_standard:
        return text.replace("\n", "\r")
    text = text.replace("\r\n", "\r")
    if "\n" in text:
        text = _LONE_LINE_FEED.sub("\r", text)
        if "\n" in text:
            place = _place(text, text.index("\n"))
            issues.append(Issue("warning", "structure", place, "a line feed inside a field was kept"))
    return text


def delimiters_of(text: str) -> Delimiters:
    """The delimiters that a text with CR line ends declares in MSH-1 and MSH-2. Raises Hl7v2Error."""
    if text.startswith(("MSH|^~\\&|", "MSH|^~\\&#|")):
        return STANDARD if text[8] == "|" else _TRUNCATING
    if not text.startswith("MSH"):
        raise _no_header(text)
    line = text[:16].partition("\r")[0]
    if len(line) < 4 or line[3] in _NO_DELIMITER or not line[3].isascii():
        raise _rejected("MSH-1 is not a field separator", "MSH-1", "101")
    msh_2, separator, _ = line[4:].partition(line[3])
    if not msh_2:
        raise _rejected("the encoding characters are missing", "MSH-2", "101")
    if len(msh_2) > 5:
        raise _rejected("MSH-2 has more than five encoding characters", "MSH-2", "102")
    if not separator:
        raise _rejected("the header is cut short", "MSH-2", "101")
    used = line[3] + msh_2
    if len(set(used)) != len(used):
        raise _rejected("two delimiters are the same character", "MSH-2", "102")
    if not used.isascii() or not _NO_DELIMITER.isdisjoint(used):
        raise _rejected("a delimiter is a letter, digit, quote, space or control character", "MSH-2", "102")
    return Delimiters(line[3], *msh_2, *[""] * (5 - len(msh_2)))


def _no_header(text: str) -> Hl7v2Error:
    if not text:
        return _rejected("the message is empty")
    if text.startswith(("FHS", "BHS")):
        return _rejected("a batch header, not a message: split the batch first", text[:3], "100")
    return _rejected("the message does not start with MSH", "", "100")


def _check_bounds(text: str, delimiters: Delimiters) -> None:
    """Raises on what no message holds and what would cost memory out of proportion."""
    if "\x00" in text or "\x1c" in text or "\x0b" in text:
        at = min(found for char in "\x00\x1c\x0b" if (found := text.find(char)) >= 0)
        what = "a NUL character" if text[at] == "\x00" else "a framing byte"
        raise Hl7v2Error(f"{what} inside the message", _place(text, at), condition="102")
    if len(text) <= MAX_FIELDS:
        return
    if text.count("\r") > MAX_SEGMENTS:
        raise Hl7v2Error(f"more than {MAX_SEGMENTS} segments", condition="207")
    if delimiters.repetition and text.count(delimiters.repetition) > MAX_REPETITIONS:
        raise Hl7v2Error(f"more than {MAX_REPETITIONS} repetitions", condition="207")
    if text.count(delimiters.field) > MAX_FIELDS:
        start = 0
        for line in text.split("\r"):
            if line.count(delimiters.field) > MAX_FIELDS:
                raise Hl7v2Error(
                    f"more than {MAX_FIELDS} fields", _segment_place(text, start), condition="207"
                )
            start += len(line) + 1


def _standard(text: str, delimiters: Delimiters) -> str:
    """The text in the standard delimiters."""
    head = 4 + len(delimiters.msh_2)
    target = _TRUNCATING if delimiters.truncation else STANDARD
    return f"MSH|{target.msh_2}{translate(text[head:], delimiters, target)}"


def _segments(text: str, by_name: dict[str, list[Segment]], issues: list[Issue]) -> list[Segment]:
    segments: list[Segment] = []
    strays: list[tuple[int, str]] = []  # lines since the last segment that begin none
    junk: list[tuple[int, str]] = []
    position = skipped = 0
    for line in text.split("\r"):
        position += 1
        name = line[:3]
        if line[3:4] == "|" and name in by_name:
            same = by_name[name]
        elif (line[3:4] == "|" and name in _COMMON) or _NAME.match(line):
            same = by_name.setdefault(name, [])
        else:
            if line.strip():
                strays.append((position + skipped, line))
            position -= 1
            skipped += 1
            continue
        if strays:
            junk += _continued(segments[-1], strays, issues)
            strays = []
        segment = Segment(name, position, len(same) + 1, line)
        same.append(segment)
        segments.append(segment)
    if len(by_name["MSH"]) > 1:
        raise Hl7v2Error("a second header: split the batch first", "MSH[2]", condition="100")
    if strays:
        junk += _continued(segments[-1], strays, issues)
    if junk:
        _report_junk(junk, issues)
    return segments


def _continued(segment: Segment, strays: list[tuple[int, str]], issues: list[Issue]) -> list[tuple[int, str]]:
    """Puts a segment that a line break cut back together; the lines that are no part of it are handed back.

    A stray line with a field separator cannot stand by itself: it and what lies between belong to the segment
    above. A line like ``PID |`` or ``pid|`` is a segment gone wrong, not a continuation.
    """
    lines = [line for _, line in strays]
    for number, line in strays:
        if line.lstrip().startswith("MSH|"):
            raise Hl7v2Error("a second header: split the batch first", f"line {number}", condition="100")
    last = next((at for at in range(len(lines), 0, -1) if _is_continuation(lines[at - 1])), 0)
    if last:
        if len(segment.text) == 3:  # the break stands behind the name: it belongs to no field
            segment.text += "|" + lines.pop(0).removeprefix("|")
            last -= 1
        segment.text = "\n".join((segment.text, *lines[:last]))
        if segment.text.count("|") > MAX_FIELDS:
            raise Hl7v2Error(f"more than {MAX_FIELDS} fields", segment.place(), condition="207")
        issues.append(
            Issue("warning", "structure", segment.place(), "a line break inside the segment was kept")
        )
    return strays[len(strays) - len(lines) + last :]


def _is_continuation(line: str) -> bool:
    return "|" in line and not _NAME_LIKE.match(line)


def _report_junk(junk: list[tuple[int, str]], issues: list[Issue]) -> None:
    """Names the lines (number, line) that are no segments."""
    for number, line in junk[:_JUNK_NAMED]:
        text = f"{len(line)} characters are no segment and were left out"
        issues.append(Issue("error", "structure", f"line {number}", text))
    if len(junk) > _JUNK_NAMED:
        issues.append(Issue("error", "structure", "", f"{len(junk)} lines are no segments and were left out"))


def _segment_place(text: str, index: int) -> str:
    """The segment around ``index`` of a text with CR line ends, such as ``OBX[3]``."""
    start = text.rfind("\r", 0, index) + 1
    name = text[start : start + 3]
    if not (name.isascii() and name.isalnum()):
        return f"line {text.count(chr(13), 0, index) + 1}"
    occurrence = text.count(f"\r{name}", 0, start + 3) + (name == "MSH")
    return name if occurrence <= 1 else f"{name}[{occurrence}]"


def _place(text: str, index: int) -> str:
    """The field around ``index``, such as ``OBX[3]-5``."""
    segment = _segment_place(text, index)
    start = text.rfind("\r", 0, index) + 1
    number = text.count(text[3:4], start, index) + (segment == "MSH")
    return f"{segment}-{number}" if number and text[3:4] and "line" not in segment else segment


def _encoded(text: str, source: Delimiters, target: Delimiters) -> str:
    """One segment and its CR, in ``target``."""
    if text[:3] not in HEADER_SEGMENTS:
        return translate(text, source, target) + "\r"
    _, separator, rest = text[4:].partition("|")
    return text[:3] + target.field + target.msh_2 + translate(separator + rest, source, target) + "\r"
