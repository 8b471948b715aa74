"""Acknowledgements: MSH, MSA, and one ERR per error. HL7 v2.9 §2.9.2, §2.14.5, §2.14.8.

An ACK answers in the sender's own delimiters and character set, and also where the header is broken:
whatever can be read of it is echoed, byte for byte. Texts come from Hl7v2Error and Issue, which hold no
patient values. Who is sent which acknowledgement: ack_mode.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from hdg.errors import Hl7v2Error, Issue
from hdg.ingestion.hl7v2 import charset as charsets
from hdg.ingestion.hl7v2.encoding import STANDARD, Delimiters, escape, translate
from hdg.ingestion.hl7v2.parser import Message, delimiters_of

Code = Literal["AA", "AE", "AR", "CA", "CE", "CR"]
"""HL7 table 0008."""

_HEADER_MAX = 65_536
_ECHO_MAX = 1_000
"""Characters echoed of one header field."""
_ERRORS_MAX = 50
"""ERR segments of one ACK."""
_TEXT_MAX = 250
"""ERR-8's length in HL7 v2.5 to 2.6."""

_CONDITIONS = {
    "0": "Message accepted",
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "104": "Value too long",
    "198": "Non-Conformant Cardinality",
    "199": "Other HL7 Error",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application error",
}
"""HL7 table 0357."""

_CONDITION_OF_ISSUE = {
    "structure": "100",
    "required": "101",
    "value": "102",
    "invalid": "102",
    "code-invalid": "103",
    "too-long": "104",
    "duplicate": "205",
}
"""FHIR issue-type → HL7 table 0357; 207 for the rest."""

_SEVERITY = {"fatal": "F", "error": "E", "warning": "W", "information": "I"}
"""Issue severity → HL7 table 0516."""

_CONTROL = re.compile(r"[\x00-\x1a\x1c-\x1f]")
_LINE_END = re.compile(rb"[\r\n]")
_PLACE = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[([0-9]+)\])?(?:-([0-9]+)(?:\[([0-9]+)\])?(?:\.([0-9]+))?(?:\.([0-9]+))?)?"
)


@dataclass(frozen=True, slots=True)
class Header:
    """What could be read of MSH: raw field texts by number, and how to write the answer."""

    fields: tuple[str, ...]
    delimiters: Delimiters
    charset: str
    mark: bytes

    def field(self, number: int) -> str:
        """MSH-``number`` as received; '' if absent or unreadable."""
        return self.fields[number - 1] if number <= len(self.fields) else ""


def acknowledge(
    message: Message | bytes | Header,
    code: Code,
    *,
    errors: Sequence[Hl7v2Error | Issue] = (),
    control_id: str,
    at_us: int,
) -> bytes:
    """The ACK to ``message`` (bytes as received, or what was read of them), ending with CR, not framed.

    ``control_id`` is the ACK's own MSH-10, ``at_us`` its time (microseconds since the epoch). Never raises.
    """
    if isinstance(message, Header):
        header = message
    else:
        header = read_header(message.raw if isinstance(message, Message) else message)
    target = header.delimiters
    lines = [_msh(header, control_id, at_us), _msa(header, code, errors)]
    lines += [error_segment(header, error) for error in errors[:_ERRORS_MAX]]
    text = "".join(line + "\r" for line in lines)
    head = f"MSH{target.field}{target.msh_2}"
    return header.mark + _encoded(head + text, header.charset)


def _encoded(text: str, charset: str) -> bytes:
    try:
        return charsets.encode(text, charset)
    except UnicodeEncodeError:
        return text.encode("ascii", "replace")


def _msh(header: Header, control_id: str, at_us: int) -> str:
    """MSH from MSH-3 on, with its leading separator: the sender becomes the receiver."""
    delimiters = header.delimiters
    trigger = header.field(9).split(delimiters.component)[1:2]
    kind = delimiters.component.join(("ACK", trigger[0], "ACK")) if trigger and trigger[0] else "ACK"
    fields = [header.field(5), header.field(6), header.field(3), header.field(4), _time(at_us), "", kind]
    fields += [_own(control_id, delimiters), header.field(11) or "P", header.field(12) or "2.5.1"]
    if header.field(18):
        fields += ["", "", "", "", "", header.field(18)]
    return delimiters.field + delimiters.field.join(fields)


def _msa(header: Header, code: Code, errors: Sequence[Hl7v2Error | Issue]) -> str:
    fields = ["MSA", code, header.field(10)]
    if errors and not _is_from(header, 2, 7):  # MSA-3 was withdrawn in 2.7
        fields.append(_own(errors[0].text[:80], header.delimiters))
    return header.delimiters.field.join(fields)


def error_segment(header: Header, error: Hl7v2Error | Issue) -> str:
    """ERR-2 location, ERR-3 condition, ERR-4 severity, ERR-8 text; before 2.5 also ERR-1."""
    if isinstance(error, Issue):
        condition, severity = _CONDITION_OF_ISSUE.get(error.code, "207"), _SEVERITY[error.severity]
    else:
        condition, severity = error.condition, "E"
    found = _PLACE.fullmatch(error.place)
    text = error.text if found or not error.place else f"{error.place}: {error.text}"
    name = _CONDITIONS.get(condition, "")
    old = ""
    if not _is_from(header, 2, 5):
        place = (found[1], found[2] or "1", found[3] or "") if found else ("", "", "")
        old = "^".join((*place, f"{condition}&{name}&HL70357"))
    fields = ["ERR", old, _location(found), f"{condition}^{name}^HL70357", severity]
    line = "|".join([*fields, "", "", "", escape(text[:_TEXT_MAX])])
    return translate(line, STANDARD, header.delimiters)


def _location(found: re.Match[str] | None) -> str:
    """ERL: segment, its occurrence, field, repetition, component, subcomponent."""
    if found is None:
        return ""
    segment, occurrence, field, repetition, component, subcomponent = found.groups()
    parts = [segment, occurrence or "1", field, repetition or ("1" if field else ""), component, subcomponent]
    return "^".join(part or "" for part in parts).rstrip("^")


def _is_from(header: Header, major: int, minor: int) -> bool:
    """Whether MSH-12 says at least that version; an unreadable one counts as new."""
    found = re.match(r"([0-9]{1,3})\.([0-9]{1,3})", header.field(12))
    return found is None or (int(found[1]), int(found[2])) >= (major, minor)


def _own(text: str, delimiters: Delimiters) -> str:
    return translate(escape(text), STANDARD, delimiters)


def _time(at_us: int) -> str:
    """DTM in UTC, to the millisecond (HL7 v2.9 §2A.2.21)."""
    return f"{_second(at_us // 1_000_000)}.{at_us // 1000 % 1000:03d}+0000"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d%H%M%S}"


def read_header(data: bytes) -> Header:
    """Whatever can be read of the first line; never raises."""
    text, charset, mark = _first_line(data)
    try:
        delimiters = delimiters_of(text + "\r")
    except Hl7v2Error:
        delimiters = STANDARD
        is_split = text.startswith("MSH|")
    else:
        is_split = True
    if not is_split:
        return Header((), STANDARD, charset, mark)
    fields = ["", *text[:_HEADER_MAX].split(delimiters.field, 20)[1:20]]
    return Header(tuple([_printable(field)[:_ECHO_MAX] for field in fields]), delimiters, charset, mark)


def _first_line(data: bytes) -> tuple[str, str, bytes]:
    """The header's text, the charset to answer in, and the byte order mark to answer with."""
    wide = charsets.wide(data)
    if wide:
        mark = charsets.byte_order_mark(data)
        text = data[len(mark) : _HEADER_MAX].decode(wide, "ignore")
        return next(_lines(text), ""), wide, mark
    head = data[:_HEADER_MAX].lstrip(b"\x0b\r\n\t \x00").removeprefix(b"\xef\xbb\xbf")
    line = _LINE_END.split(head, 1)[0]
    charset = charsets.of_header(line)
    try:
        return charsets.decode(line, charset), charset, b""
    except UnicodeDecodeError:
        return line.decode("latin-1"), "latin-1", b""  # every byte comes back as it was


def _lines(text: str) -> Iterator[str]:
    return iter(re.split(r"[\r\n]", text, maxsplit=1))


def _printable(text: str) -> str:
    """Without control characters (which could end the ACK's own frame or segment)."""
    return text if text.isprintable() else _CONTROL.sub("", text)
