"""Reads who sent a message and its control id from the first bytes, before anything is known to be right.

Needed before parsing (a sender may override MSH-18) and when parsing fails (the record of a rejected message). HL7 v2.9
§2.14.9 (MSH). Never raises: what cannot be read is empty.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from hdg.ingestion.hl7v2 import charset

_MAX_FIELD = 200
"""Characters kept of a field: enough for any real name, small enough for an index row."""
_MAX_LINE = 65_536
"""Bytes of the header that are looked at, as for the acknowledgement (ack.py)."""
_LEADING = b"\x0b\x1c\r\n\t \x00"
"""What the parser passes over too."""


@dataclass(frozen=True, slots=True)
class Header:
    """First components of MSH-3 and MSH-4, and MSH-10; empty where they cannot be read."""

    application: str
    facility: str
    control_id: str

    @property
    def sender(self) -> str:
        """The sender's name: ``application|facility``. Another ``|`` is in neither, whatever MSH-1 is."""
        return "|".join([part.replace("|", "\\F\\") for part in (self.application, self.facility)])


def peek(data: bytes) -> Header:
    """The Header of raw message bytes, in any charset that keeps ASCII (UTF-16 by its byte order mark)."""
    wide = charset.wide(data)
    head = data[:_MAX_LINE] if wide else _first_line(data.lstrip(_LEADING))
    codec = wide or charset.of_header(head)
    try:
        text = codecs.decode(head, codec, "replace")
    except (LookupError, ValueError):
        text = head.decode("latin-1")
    text = text.lstrip("\ufeff\xef\xbb\xbf\x0b\r\n\t \x00")
    if not text.startswith("MSH") or len(text) < 8:
        return Header("", "", "")
    line = text.split("\r", 1)[0].split("\n", 1)[0]
    fields = line.split(text[3])
    component = text[4]

    def first(index: int) -> str:
        return fields[index].split(component)[0].strip()[:_MAX_FIELD] if index < len(fields) else ""

    return Header(first(2), first(3), fields[9].strip()[:_MAX_FIELD] if len(fields) > 9 else "")


def _first_line(data: bytes) -> bytes:
    """Up to the first line end, which no character of several bytes contains."""
    ends = [at for end in (b"\r", b"\n") if (at := data.find(end, 0, _MAX_LINE)) >= 0]
    return data[: min(ends, default=_MAX_LINE)]
