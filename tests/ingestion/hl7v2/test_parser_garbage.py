"""Garbage in: an Hl7v2Error with place and HL7 table 0357 condition, in bounded memory and linear time."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.parser import MAX_BYTES, MAX_FIELDS, MAX_REPETITIONS, MAX_SEGMENTS, parse

HEAD = b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|1|P|2.5\r"


@pytest.mark.parametrize(
    ("data", "place", "condition", "is_rejection"),
    [
        (b"", "", "207", True),
        (b"\r\n\r\n", "", "207", True),
        (b"\x0b\x1c\r", "", "207", True),
        (b"\x00" * 100, "", "207", True),
        (b"hello", "", "100", True),
        (b"PID|1\r", "", "100", True),
        (b"FHS|^~\\&|\rBHS|^~\\&|\r" + HEAD, "FHS", "100", True),
        (b"MSH", "MSH-1", "101", True),
        (b"MSH\r", "MSH-1", "101", True),
        (b"MSHX^~\\&X", "MSH-1", "101", True),
        (b"MSH|", "MSH-2", "101", True),
        (b"MSH||A|B", "MSH-2", "101", True),
        (b"MSH|^~", "MSH-2", "101", True),
        (b"MSH|^~\\&", "MSH-2", "101", True),
        (b"MSH|^~\\&#@|A", "MSH-2", "102", True),
        (b"MSH|^~\\&" + b"x" * 40, "MSH-2", "102", True),
        (b"MSH|^^\\&|A|B|C|D|2024||ADT^A01|1|P|2.5\r", "MSH-2", "102", True),
        (b"MSH|^|\\&|A|B|C|D|2024||ADT^A01|1|P|2.5\r", "MSH-9", "101", True),
        (b"MSH|^~a&|A|B|C|D|2024||ADT^A01|1|P|2.5\r", "MSH-2", "102", True),
        (b'MSH|^~"&|A|B|C|D|2024||ADT^A01|1|P|2.5\r', "MSH-2", "102", True),
        (b"MSH|^~\\&|", "MSH-9", "101", True),
        (b"MSH|^~\\&|A|B|C|D|2024", "MSH-9", "101", True),
        (b"MSH|^~\\&|A|B|C|D|2024|||1|P|2.5\r", "MSH-9", "101", True),
        (HEAD + b"PID|1||12\x003\r", "PID-3", "102", False),
        (HEAD + b"OBX|1\rOBX|2|ST\x00|\r", "OBX[2]-2", "102", False),
        (HEAD + b"PID|1||\x1c\r\x0b" + HEAD, "PID-3", "102", False),
        (HEAD + b"PID|1\r" + HEAD, "MSH[2]", "100", False),
        (HEAD + b"PID|1\r " + HEAD, "line 3", "100", False),
        (HEAD + b"OBX|1\rOBX|" + b"|" * (MAX_FIELDS + 1), "OBX[2]", "207", False),
        (HEAD + b"NTE\r" * (MAX_SEGMENTS + 1), "", "207", False),
        (HEAD + b"PID|" + b"~" * (MAX_REPETITIONS + 1), "", "207", False),
        (b"|" * 100_000, "", "100", True),
    ],
)
def test_garbage_is_refused_with_place_and_condition(
    data: bytes, place: str, condition: str, is_rejection: bool
) -> None:
    with pytest.raises(Hl7v2Error) as caught:
        parse(data)
    error = caught.value
    assert (error.place, error.condition, error.is_rejection) == (place, condition, is_rejection)


def test_the_size_cap_is_named() -> None:
    with pytest.raises(Hl7v2Error, match=str(MAX_BYTES)):
        parse(b"|" * (50 * 1024 * 1024))
    with pytest.raises(Hl7v2Error, match="the limit is 10"):
        parse(HEAD, max_bytes=10)


@pytest.mark.parametrize(
    "head", [b"", HEAD + b"PID|", b"MSH|^~\\&|", b"MSH|"], ids=["bare", "pid", "msh", "short"]
)
@pytest.mark.parametrize(
    "filler", [b"|", b"~", b"\r", b"\n", b"x\r", b"^", b"\\", b"\x00", b"\xff", b"\\X41\\"]
)
def test_megabytes_of_one_byte_cost_linear_time_and_bounded_memory(head: bytes, filler: bytes) -> None:
    data = head + filler * (2_000_000 // len(filler))
    tracemalloc.start()
    started = time.process_time()
    try:
        parse(data)
    except Hl7v2Error:
        pass
    finally:
        seconds = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 30 * len(data)
    assert seconds < 5


@given(st.binary(max_size=300))
@example(b"\x01\x00\x810\x810")
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for candidate in (data, b"MSH" + data, b"MSH|^~\\&|" + data, HEAD + data):
        try:
            message = parse(candidate)
        except Hl7v2Error:
            continue
        for segment in message.segments:
            assert segment.field(3) == (segment.fields[3] if segment.count >= 3 else "")


def test_random_megabyte_is_refused() -> None:
    with pytest.raises(Hl7v2Error):
        parse(random.Random(1).randbytes(1_000_000))


def test_error_texts_hold_no_values() -> None:
    with pytest.raises(Hl7v2Error) as caught:
        parse(HEAD + b"PID|1||||Secretname\x00|\r")
    assert "Secret" not in str(caught.value)
