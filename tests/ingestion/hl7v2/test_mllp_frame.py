"""MLLP framing: HL7 Transport Specification: MLLP, Release 1 §2."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.ingestion.hl7v2.mllp_frame import FrameDecoder, Oversize, frame

CONTENT = st.binary(max_size=40).map(lambda data: data.replace(b"\x0b", b"").replace(b"\x1c", b""))


def feed_all(decoder: FrameDecoder, stream: bytes, cuts: list[int]) -> list[bytes | Oversize]:
    """The frames of ``stream``, fed in pieces that end at ``cuts``."""
    frames: list[bytes | Oversize] = []
    points = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for begin, end in pairwise(points):
        frames += decoder.feed(stream[begin:end])
    return frames


@given(st.lists(CONTENT), st.lists(st.integers(0, 10_000)))
def test_frames_come_out_however_the_stream_is_cut(contents: list[bytes], cuts: list[int]) -> None:
    decoder = FrameDecoder()
    assert feed_all(decoder, b"".join(map(frame, contents)), cuts) == contents
    assert not decoder.is_inside


@given(st.lists(CONTENT), st.lists(st.integers(0, 10_000)), CONTENT)
def test_junk_between_frames_is_dropped_and_counted(
    contents: list[bytes], cuts: list[int], junk: bytes
) -> None:
    decoder = FrameDecoder()
    stream = b"".join(junk + frame(content) for content in contents)
    assert feed_all(decoder, stream, cuts) == contents
    assert decoder.junk_bytes == len(contents) * len(junk.replace(b"\r", b"").replace(b"\n", b""))


@given(st.integers(0, 300), st.lists(st.integers(0, 10_000)))
def test_a_frame_over_the_cap_is_skipped_to_its_end(size: int, cuts: list[int]) -> None:
    decoder = FrameDecoder(max_bytes=100)
    frames = feed_all(decoder, frame(b"a") + frame(b"x" * size) + frame(b"b"), cuts)
    assert frames[0] == b"a"
    assert frames[2] == b"b"
    middle = frames[1]
    assert middle == b"x" * size if isinstance(middle, bytes) else (size > 100 and middle.size_bytes == size)


def test_the_head_of_an_oversize_frame_is_kept() -> None:
    decoder = FrameDecoder(max_bytes=10)
    (found,) = decoder.feed(frame(b"MSH|" + b"x" * 10_000))
    assert isinstance(found, Oversize)
    assert found.head.startswith(b"MSH|x")
    assert len(found.head) <= 4096


def test_an_endless_frame_keeps_memory_bounded() -> None:
    decoder = FrameDecoder(max_bytes=1000)
    decoder.feed(b"\x0b")
    for _ in range(2000):
        assert decoder.feed(b"x" * 10_000) == []
        assert len(decoder._buffer) <= 1001
    (found,) = decoder.feed(b"\x1c\r")
    assert isinstance(found, Oversize)
    assert found.size_bytes == 20_000_000


@pytest.mark.parametrize("stream", [b"x" * 100_000, b"\x0b" + b"\x1c" * 100_000, b"\x0b\x1c\r" * 30_000])
def test_time_is_linear_byte_by_byte(stream: bytes) -> None:
    decoder = FrameDecoder()
    started = time.process_time()
    for at in range(len(stream)):
        decoder.feed(stream[at : at + 1])
    assert time.process_time() - started < 5


def test_a_lone_file_separator_is_content() -> None:
    assert FrameDecoder().feed(b"\x0ba\x1cb\x1c\r") == [b"a\x1cb"]


@given(st.lists(CONTENT), st.lists(st.integers(0, 10_000)))
def test_a_lenient_decoder_takes_frames_without_cr(contents: list[bytes], cuts: list[int]) -> None:
    decoder = FrameDecoder(is_lenient=True)
    stream = b"".join(b"\x0b" + content + b"\x1c" for content in contents)
    assert feed_all(decoder, stream, cuts) + decoder.end_of_pause() == contents
    assert decoder.end_of_pause() == []
    assert not decoder.is_inside


@given(st.lists(CONTENT), st.lists(st.integers(0, 10_000)))
def test_a_lenient_decoder_takes_frames_with_cr_as_the_strict_one_does(
    contents: list[bytes], cuts: list[int]
) -> None:
    decoder = FrameDecoder(is_lenient=True)
    assert feed_all(decoder, b"".join(map(frame, contents)), cuts) == contents


def test_a_cr_that_comes_after_the_pause_is_dropped() -> None:
    decoder = FrameDecoder(is_lenient=True)
    assert decoder.feed(b"\x0ba\x1c") == []
    assert decoder.is_at_end
    assert decoder.end_of_pause() == [b"a"]
    assert decoder.feed(b"\r" + frame(b"b")) == [b"b"]
    assert decoder.junk_bytes == 0


def test_without_the_option_a_pause_ends_nothing() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"\x0ba\x1c") == []
    assert decoder.end_of_pause() == []
    assert decoder.feed(b"\x0bb\x1c\r") == [b"a\x1c\x0bb"]
