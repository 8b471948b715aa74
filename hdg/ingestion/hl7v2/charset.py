"""Character sets: from MSH-18 to text. HL7 v2.9 §2.14.9.18 (MSH-18), table 0211; ISO/IEC 2022.

How a message's bytes become text, in this order:

1. A byte order mark, or the zero bytes of UTF-16/UTF-32 around ``MSH``, decide over anything declared.
2. Else the sender's override, else MSH-18. Bytes that do not fit a declared set are an error: no guess.
3. Undeclared, or ASCII (which is what the standard takes undeclared to mean): ISO 2022 where its switches stand and
   all can be read so, with an Issue; else UTF-8 if every byte fits; else
   windows-1252 (latin-1 where that has no character), with an Issue. Text that is partly UTF-8 and partly not
   is an error. Switches in a declared set that has none are an Issue.

A charset's name is a Python codec name, or ``iso2022:`` + the codec of the upper half (see iso2022.py).
"""

from __future__ import annotations

import codecs
import contextlib
import re
from functools import lru_cache
from typing import NamedTuple

from hdg.errors import Hl7v2Error, Issue
from hdg.ingestion.hl7v2 import iso2022
from hdg.ingestion.hl7v2.charset_names import ISO2022, TABLE_0211, WIDE, resolve

__all__ = [
    "ISO2022",
    "TABLE_0211",
    "Text",
    "byte_order_mark",
    "decode",
    "decode_fragment",
    "encode",
    "locate",
    "of_ascii",
    "of_header",
    "read",
    "resolve",
    "wide",
    "with_iso2022",
]

_HEADER_MAX = 65_536
_FIELD_MAX = 512
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SWITCH = re.compile(rb"\x1b(?:\([BIJ]|\$(?:[@AB]|\([@A-D]|\)[AC])|\)I|-[A-HLMTb])")
"""Those that iso2022.py reads."""
_UTF8_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def decode(data: bytes, charset: str) -> str:
    """Strictly. Raises UnicodeDecodeError."""
    if charset.startswith(ISO2022):
        return iso2022.decode(data, charset.removeprefix(ISO2022))
    return data.decode(charset)


def encode(text: str, charset: str) -> bytes:
    """Strictly; no byte order mark. Raises UnicodeEncodeError."""
    if charset.startswith(ISO2022):
        return iso2022.encode(text, charset.removeprefix(ISO2022))
    return text.encode(charset)


def decode_fragment(data: bytes, charset: str) -> str:
    """``decode`` for bytes out of context: shift and escape characters that switch nothing are characters.

    Raises UnicodeDecodeError.
    """
    if not charset.startswith(ISO2022):
        return data.decode(charset)
    upper = charset.removeprefix(ISO2022)
    try:
        return iso2022.decode(data, upper) if b"\x1b" in data else data.decode(upper)
    except UnicodeDecodeError:
        return data.decode(upper)


def with_iso2022(charset: str) -> str:
    """The charset that also understands ISO 2022 switches (``\\C..\\`` and ``\\M..\\``) within it."""
    return charset if charset.startswith((ISO2022, *WIDE)) else ISO2022 + charset


class Text(NamedTuple):
    """A message's text, the charset it was read in, and what was doubtful about that."""

    text: str
    charset: str
    issues: tuple[Issue, ...] = ()


PLAIN = Text("", "utf-8")


def read(data: bytes, override: str | None = None) -> Text:
    """The text of a message by the rule in this module's docstring; a byte order mark is dropped.

    Raises Hl7v2Error: an unknown character set (condition 103, at MSH-18), bytes that do not fit (102, at the
    first field that does not).
    """
    if not data.startswith(b"MSH"):
        shown = wide(data)
        if shown:
            return _decoded(data[len(byte_order_mark(data)) :], shown, "the first bytes show")
        if data.startswith(codecs.BOM_UTF8):
            return _decoded(data[3:], "utf-8", "the byte order mark shows")
    field, separator = (override.encode("utf-8", "replace"), b"~") if override else _msh_18(data)
    try:
        charset = _declared(field, separator)
    except LookupError as error:
        raise _unknown(override) from error
    if charset is None:
        return _undeclared(data)
    if charset.startswith(WIDE):  # the bytes are not: rule 1 would have seen it
        issue = Issue("warning", "value", "MSH-18", f"the bytes are not {charset}; read as UTF-8")
        return _decoded(data, "utf-8", "MSH-18 allows")._replace(issues=(issue,))
    found = _decoded(data, charset, "the sender's setting names" if override else "MSH-18 declares")
    switch = None if charset.startswith(ISO2022) else _SWITCH.search(data)
    if switch is None:
        return found
    text = "switches of ISO 2022, which the declared character set does not have"
    return found._replace(issues=(Issue("warning", "value", _field_at(data, switch.start()), text),))


def is_known(name: str) -> bool:
    """Whether a sender's setting (names as in MSH-18, ``~`` between several) names what can be read."""
    try:
        return _of_text(name) is not None
    except LookupError:
        return False


@lru_cache(maxsize=256)
def _declared(field: bytes, separator: bytes) -> str | None:
    """The charset that a field such as MSH-18 names; None for none. Raises LookupError."""
    names = field[:_FIELD_MAX].split(separator) if separator else [field[:_FIELD_MAX]]
    return resolve(tuple(name.decode("ascii", "replace") for name in names))


@lru_cache(maxsize=256)
def _of_text(field: str) -> str | None:
    return _declared(field.encode("utf-8", "replace"), b"~")


def _msh_18(data: bytes) -> tuple[bytes, bytes]:
    """MSH-18 and the repetition separator, read before the character set is known."""
    end = data.find(b"\r", 0, _HEADER_MAX)
    head = data[:end] if end > 0 else data[:_HEADER_MAX]
    line_feed = head.find(b"\n")
    if line_feed > 0:
        head = head[:line_feed]
    if len(head) < 6 or not head.startswith(b"MSH"):
        return b"", b""
    if not head.isascii() or b"\x1b" in head:
        head = _plain(head)
    fields = head.split(head[3:4], 18)
    return (fields[17], head[5:6]) if len(fields) > 17 else (b"", b"")


def _plain(head: bytes) -> bytes:
    """A header without its characters beyond ASCII, whose second bytes may look like separators.

    ISO 2022 shows itself by its switches; Big5, GB 18030 and Shift JIS are tried, and believed where MSH-18
    then names a set that reads the header the same.
    """
    for codec in (f"{ISO2022}latin-1",) if b"\x1b" in head else ("gb18030", "big5hkscs", "cp932"):
        try:
            plain = decode(head, codec).encode("ascii", "replace")
            separator = plain[3:4]
            fields = plain.split(separator, 18) if separator else []
            charset = _declared(fields[17], plain[5:6]) if len(fields) > 17 else None
            if charset and decode(head, charset).encode("ascii", "replace") == plain:
                return plain
        except (UnicodeDecodeError, LookupError):
            continue
    return head


def of_ascii(msh_18: str, issues: list[Issue]) -> str:
    """The charset of a message that is ASCII throughout: needed for ``\\X..\\`` and for answering only.

    An unknown name does not matter then, and becomes an Issue.
    """
    if not msh_18:
        return "utf-8"
    try:
        charset = _of_text(msh_18) or "utf-8"
    except LookupError:
        issues.append(
            Issue("warning", "not-supported", "MSH-18", "unknown character set; every byte is ASCII")
        )
        return "utf-8"
    return "utf-8" if charset.startswith(WIDE) else charset


def _unknown(override: str | None) -> Hl7v2Error:
    source = "the sender's setting" if override else "MSH-18"
    text = f"{source} names a character set that cannot be read"
    return Hl7v2Error(text, "MSH-18", condition="103")


def _undeclared(data: bytes) -> Text:
    switch = _SWITCH.search(data)
    if switch is not None:
        doubt = "no character set is declared; its switches show ISO 2022"
        issue = Issue("warning", "value", _field_at(data, switch.start()), doubt)
        with contextlib.suppress(UnicodeDecodeError):
            return Text(iso2022.decode(data, "ascii"), f"{ISO2022}ascii", (issue,))
    try:
        return Text(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        place = locate(data, "utf-8")
        if _UTF8_CHARACTER.search(data):
            raise Hl7v2Error("UTF-8 and another character set are mixed", place, condition="102") from error
    try:
        charset, text = "cp1252", data.decode("cp1252")
    except UnicodeDecodeError:
        charset, text = "latin-1", data.decode("latin-1")
    doubt = f"no character set is declared and this is not UTF-8; read as {charset}"
    issue = Issue("warning", "value", place, doubt)
    return Text(text, charset, (issue,))


def _decoded(data: bytes, charset: str, why: str) -> Text:
    try:
        return Text(decode(data, charset), charset)
    except UnicodeDecodeError as error:
        text = f"bytes that are not {charset}, though {why} it"
        raise Hl7v2Error(text, locate(data, charset), condition="102") from error


def locate(data: bytes, charset: str) -> str:
    """The place (``OBX[3]-5``) of the first field whose bytes are not ``charset``; '' if unknown."""
    if charset.startswith(WIDE):
        return ""
    seen: dict[bytes, int] = {}
    separator = data[3:4] or b"|"
    for line in re.split(rb"[\r\n]+", data):
        name = line[:3]
        seen[name] = seen.get(name, 0) + 1
        if _is_readable(line, charset):
            continue
        for number, field in enumerate(line.split(separator)):
            if not _is_readable(field, charset):
                return _place(name, seen[name], number)
        return _place(name, seen[name], 0)  # a switch that hides the separators
    return ""


def _field_at(data: bytes, index: int) -> str:
    """The field around ``index``, such as ``PID-5``."""
    start = max(data.rfind(end, 0, index) for end in (b"\r", b"\n")) + 1
    name = data[start : start + 3]
    lines = re.split(rb"[\r\n]+", data[: start + 3])
    return _place(name, sum(line[:3] == name for line in lines), data.count(data[3:4], start, index))


def _place(name: bytes, occurrence: int, number: int) -> str:
    if not (name.isascii() and name.isalnum()):
        return ""
    segment = name.decode("ascii") + (f"[{occurrence}]" if occurrence > 1 else "")
    return f"{segment}-{number + (name == b'MSH')}" if number else segment


def _is_readable(data: bytes, charset: str) -> bool:
    try:
        decode(data, charset)
    except UnicodeDecodeError:
        return False
    return True


def wide(data: bytes) -> str | None:
    """UTF-16 or UTF-32, by byte order mark or by the zero bytes around ``MSH``."""
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return charset
    for charset in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        if data.startswith("MSH".encode(charset)):
            return charset
    return None


def byte_order_mark(data: bytes) -> bytes:
    """The UTF-16 or UTF-32 mark that ``data`` begins with, or b''."""
    return next((mark for mark, _ in _MARKS if data.startswith(mark)), b"")


def of_header(data: bytes) -> str:
    """The charset that the header declares, to answer in; latin-1, which keeps every byte, if unclear."""
    try:
        charset = _declared(*_msh_18(data))
    except LookupError:
        return "latin-1"
    return "latin-1" if charset is None or charset.startswith(WIDE) else charset
