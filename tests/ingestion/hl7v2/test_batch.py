"""Batches: HL7 v2.9 §2.10.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.parser import parse

ONE = b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|1|P|2.5\rPID|1\r"
TWO = b"MSH|^~\\&|A|B|C|D|2024||ADT^A08|2|P|2.5\rPID|2\r"
BATCH = b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + ONE + TWO + b"BTS|2\rFTS|1\r"


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (ONE, [ONE]),
        (ONE + TWO, [ONE, TWO]),
        (ONE + b"\r\n\r\n" + TWO, [ONE + b"\r\n\r\n", TWO]),
        (BATCH, [ONE, TWO]),
        (BATCH.replace(b"\r", b"\n"), [ONE.replace(b"\r", b"\n"), TWO.replace(b"\r", b"\n")]),
        (b"\xef\xbb\xbf" + BATCH, [ONE, TWO]),
        (b"\x0b" + ONE + b"\x1c\r\x0b" + TWO + b"\x1c\r", [ONE, TWO]),
        (b"\x0b" + ONE + b"\x1c\r\n\x0b" + TWO + b"\x1c\r\n", [ONE, TWO]),
        (b"MSH*%~!$*" + ONE[9:] + TWO, [b"MSH*%~!$*" + ONE[9:], TWO]),
        (b"BHS|^~\\&|A\rBTS|0\r", []),
        (b"FHS|^~\\&|A\r", []),
        (b"", [b""]),
        (b"\r\n", [b"\r\n"]),
        (b"nothing", [b"nothing"]),
        (b"junk\r" + ONE, [b"junk", ONE]),
        (BATCH + b"junk\r", [ONE, TWO, b"junk"]),
        (ONE[:-1] + b"MSH|\r", [ONE[:-1] + b"MSH|\r"]),
    ],
)
def test_messages_come_out_in_order(data: bytes, messages: list[bytes]) -> None:
    assert list(split_messages(data)) == messages


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_files_are_split_too(charset: str) -> None:
    pieces = list(split_messages((ONE + TWO).decode().encode(charset)))
    assert [parse(piece).control_id for piece in pieces] == ["1", "2"]


def test_a_cut_wide_file_comes_back_whole() -> None:
    data = ONE.decode().encode("utf-16")[:-1]
    assert list(split_messages(data)) == [data]


def test_it_is_lazy() -> None:
    assert next(iter(split_messages(ONE + b"x" * 1000 + b"\r" + TWO))).startswith(ONE)


@given(
    st.lists(
        st.sampled_from([ONE, TWO, b"FHS|^~\\&|\r", b"BTS|1\r", b"junk\r", b"\x0b", b"\x1c\r", b"\r", b"MSH"])
    )
)
def test_no_message_is_lost(parts: list[bytes]) -> None:
    found = b"".join(split_messages(b"".join(parts)))
    data = b"".join(parts)
    for mark in (b"MSH|", b"PID|1", b"PID|2", b"junk"):
        assert found.count(mark) == data.count(mark)


def test_stretches_that_are_no_message_fail_by_name() -> None:
    outcomes = []
    for piece in split_messages(b"junk\r" + ONE):
        try:
            outcomes.append(parse(piece).control_id)
        except Hl7v2Error as error:
            outcomes.append(error.condition)
    assert outcomes == ["100", "1"]
