"""Who sent a message is read from all of its header, as parser and acknowledgement read it. HL7 v2.9 §2.14.9."""

from __future__ import annotations

import pytest

from hdg.ingestion.hl7v2.ack import read_header
from hdg.ingestion.hl7v2.header import Header, peek
from messages import oru

ONE = Header("LAB", "NORTHGEN", "C1")


@pytest.mark.parametrize("before", [b"", b"\x0b", b"\x0b" * 5_000, b"\r\n" * 3_000, b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_what_stands_before_the_header_hides_nothing_of_it(before: bytes, end: bytes) -> None:
    assert peek(before + oru("C1").replace(b"\r", end)) == ONE


@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be"])
def test_a_wide_header_is_read(charset: str) -> None:
    assert peek(oru("C1").decode().encode(charset)) == ONE


def test_a_long_field_hides_none_behind_it() -> None:
    raw = oru("C1").replace(b"|HDG|", b"|" + b"H" * 6_000 + b"|", 1)
    assert peek(raw) == ONE
    assert read_header(raw).field(10) == "C1"


@pytest.mark.parametrize("raw", [b"", b"\r", b"MSH", b"MSH|^~\\&", b"PID|1\rMSH|^~\\&|A|B\r", b"\xff" * 9])
def test_what_has_no_header_has_no_sender(raw: bytes) -> None:
    assert peek(raw) == Header("", "", "")
