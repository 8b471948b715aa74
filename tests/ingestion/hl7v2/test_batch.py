"""Batches: HL7 v2.9 §2.10.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.batch import read_batch, response, split_messages
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


def findings(data: bytes) -> list[tuple[str, str, str]]:
    return [(issue.severity, issue.place, issue.text) for issue in read_batch(data).issues]


@pytest.mark.parametrize(
    "data",
    [
        BATCH,
        BATCH.replace(b"\r", b"\r\n"),
        ONE + TWO,
        b"",
        b"BHS|^~\\&|A\rBTS|0\r",
        b"BHS|^~\\&|A\r" + ONE + b"BTS\r",
        b"BHS|^~\\&|A\r" + ONE + b"BTS||comment\r",
        b"BHS*^~\\&*A\r" + ONE + b"BTS*1*\r",
        b"FHS|^~\\&|A\r" + ONE + b"FTS|1\r",
        b"FHS|^~\\&|A\rFTS|0\r",
        b"FHS|^~\\&\rBHS|^~\\&\r" + ONE + b"BTS|1\rBHS|^~\\&\r" + TWO + b"BTS|1\rFTS|2\r",
        BATCH + BATCH,
    ],
)
def test_counts_that_agree_are_no_issue(data: bytes) -> None:
    assert findings(data) == []


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (BATCH.replace(b"BTS|2", b"BTS|3"), ("error", "BTS-1", "3 messages announced, 2 found")),
        (BATCH.replace(b"FTS|1", b"FTS|2"), ("error", "FTS-1", "2 batches announced, 1 found")),
        (BATCH.replace(TWO, b""), ("error", "BTS-1", "2 messages announced, 1 found")),
        (BATCH.replace(b"BTS|2", b"BTS|two"), ("error", "BTS-1", "the count is not a number")),
        (
            BATCH + BATCH.replace(b"BTS|2", b"BTS|1"),
            ("error", "BTS[2]-1", "1 messages announced, 2 found"),
        ),
    ],
)
def test_counts_that_do_not_agree_are_named_and_the_messages_are_there(
    data: bytes, found: tuple[str, str, str]
) -> None:
    assert findings(data) == [found]
    assert read_batch(data).messages == tuple(split_messages(data))


def test_a_file_that_was_cut_short_is_a_warning_for_each_missing_trailer() -> None:
    data = BATCH[: BATCH.index(b"BTS")]
    assert [finding[:2] for finding in findings(data)] == [("warning", "BTS"), ("warning", "FTS")]


def test_a_wide_batch_is_counted_too() -> None:
    batch = read_batch(BATCH.replace(b"BTS|2", b"BTS|1").decode().encode("utf-16"))
    assert [issue.place for issue in batch.issues] == ["BTS-1"]
    assert len(batch.messages) == 2


def test_the_response_is_a_batch_that_counts_its_acknowledgements() -> None:
    data = b"FHS|^~\\&|A|B|C|D|2024||||F9\rBHS|^~\\&|A|B|C|D|2024||||B9\r" + ONE + TWO + b"BTS|3\rFTS|1\r"
    answer = response(read_batch(data), [ONE, TWO], control_id="G1", at="20260101")
    assert answer.startswith(
        b"FHS|^~\\&|C|D|A|B|20260101||||G1|F9\rBHS|^~\\&|C|D|A|B|20260101||||G1|B9\rMSH|"
    )
    assert answer.endswith(b"BTS|2|BTS-1: 3 messages announced, 2 found\rFTS|1\r")
    assert read_batch(answer).issues == ()


@given(
    st.lists(
        st.sampled_from([ONE, TWO, b"FHS|^~\\&|\r", b"BHS|\r", b"BTS|1\r", b"FTS|1\r", b"junk\r", b"\x1c\r"])
    )
)
def test_reading_a_batch_finds_the_same_messages_as_splitting(parts: list[bytes]) -> None:
    data = b"".join(parts)
    batch = read_batch(data)
    assert batch.messages == tuple(split_messages(data))
    response(batch, batch.messages, control_id="G", at="2026")


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_the_answer_to_a_wide_batch_is_wide_throughout(charset: str, mark: str) -> None:
    text = "MSH|^~\\&|Ä|B|||2024||ADT^A01|M1|P|2.5\rPID|1\r" * 2 + "BTS|3\r"
    batch = read_batch((mark + text).encode(charset))
    acks = [acknowledge(message, "AA", control_id="R", at_us=0) for message in batch.messages]
    answer = response(batch, acks, control_id="B1", at="2024").decode(charset)
    assert answer.startswith(mark + "BHS|^~\\&|")
    assert answer.count("\rMSA|AA|M1\r") == 2
    assert "\rBTS|2|BTS-1: 3 messages announced, 2 found\r" in answer
    assert "|Ä|B|" in answer
