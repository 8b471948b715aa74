r"""Escape sequences: HL7 v2.9 §2.7 (formatted text §2.7.6, hexadecimal §2.7.7, character sets §2.7.4)."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hdg.ingestion.hl7v2.escape import NULL, escape, unescape

CHARSETS = [
    "utf-8",
    "latin-1",
    "utf-16-be",
    "utf-16-le",
    "utf-32-be",
    "gb18030",
    "big5hkscs",
    "cp932",
    "iso2022:ascii",
]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain", "plain"),
        ("\\F\\\\S\\\\T\\\\R\\\\E\\\\P\\", "|^&~\\#"),
        ("a\\.br\\b", "a\nb"),
        ("a\\.BR\\b", "a\nb"),
        ("a\\.br\\\\.br\\b\\.br\\", "a\n\nb\n"),
        ("a\\.br\\.br\\b", "a\n.br\\b"),
        ("a\\.br\\\\X41\\.br\\b", "a\nA.br\\b"),
        ("\\Zx\\.br\\b", "\\Zx\\.br\\b"),
        ("a\\.br\\b\\T\\", "a\nb&"),
        ("a\\.sp\\b\\.sp2\\c", "a\nb\n\nc"),
        ("a\\.sk3\\b", "a   b"),
        ("\\.ce\\title", "\ntitle"),
        ("\\.in+4\\a\\.ti-2\\b\\.fi\\c\\.nf\\d", "abcd"),
        ("\\H\\bold\\N\\ plain", "bold plain"),
        ("\\X41\\", "A"),
        ("\\X0D0A\\", "\r\n"),
        ("\\XC3A9\\", "é"),
        ("\\XC3\\\\XA9\\", "é"),
        ("\\XE69687E5AD97\\", "文字"),
        ("\\XFF\\", "\\XFF\\"),
        ("\\X4\\", "\\X4\\"),
        ("\\XZZ\\", "\\XZZ\\"),
        ("\\Zany local thing\\", "\\Zany local thing\\"),
        ("\\Zone\\T\\", "\\Zone\\T\\"),
        ("\\.xx\\", "\\.xx\\"),
        ("\\.sp99999\\", "\\.sp99999\\"),
        ("\\Q\\", "\\Q\\"),
        ("N\\A", "N\\A"),
        ("C:\\dir\\T\\x", "C:\\dir&x"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
        ("\\E\\T\\E\\", "\\T\\"),
        ("\\E\\.br\\E\\", "\\.br\\"),
    ],
)
def test_sequence_means(written: str, value: str) -> None:
    assert unescape(written) == value


@pytest.mark.parametrize(
    ("written", "charset", "value"),
    [
        ("\\XE9\\", "latin-1", "é"),
        ("\\XA4A4\\", "big5hkscs", "中"),
        ("\\XA4\\\\XA4\\", "big5hkscs", "中"),
        ("\\XD6D0\\", "gb18030", "中"),
        ("\\X93FA\\", "cp932", "日"),
        ("\\X4E2D\\", "utf-16-be", "中"),
        ("\\X0D\\\\X0A\\", "utf-16-be", "\r\n"),
        ("\\X1B2442467C1B2842\\", "iso2022:ascii", "日"),
    ],
)
def test_hexadecimal_is_read_in_the_messages_charset(written: str, charset: str, value: str) -> None:
    assert unescape(written, charset) == value


@pytest.mark.parametrize(
    ("written", "charset", "value"),
    [
        ("\\M2442\\F|K\\\\C2842\\x", "utf-8", None),
        ("a\\M2442\\F|\\C2842\\b", "utf-8", "a日b"),
        ("a\\M242844\\0!\\C2842\\b", "iso2022:ascii", "a丂b"),
        ("a\\M242843\\GQ19\\C2842\\b", "utf-8", "a한국b"),
        ("\\C2D46\\\xe1\\C2D41\\\xe9", "latin-1", "αé"),
        ("\\C2842\\x", "utf-16-be", None),
    ],
)
def test_character_set_switches_are_applied(written: str, charset: str, value: str | None) -> None:
    got = unescape(written, charset)
    assert got == value if value is not None else got


@given(st.text(), st.sampled_from(CHARSETS))
@example("\x0e", "iso2022:ascii")
@example("\x1b\x0e", "iso2022:ascii")
def test_unescape_takes_back_escape(text: str, charset: str) -> None:
    assert unescape(escape(text), charset) == text


@given(st.text(st.sampled_from("a\\|^~&#FSTREXP0.brZCMHN\n\r\x1b")))
def test_unescape_takes_back_escape_near_sequences(text: str) -> None:
    written = escape(text)
    assert not set(written) & set("|^~&\r\n\x1b")
    assert unescape(written) == text
    assert escape(unescape(written)) == written


@given(st.text(st.sampled_from("a\\XCMFE.sp0129AB")), st.sampled_from(CHARSETS))
def test_unescape_never_raises(text: str, charset: str) -> None:
    unescape(text, charset)


def test_a_value_of_two_quotes_is_not_delete() -> None:
    assert escape(NULL) != NULL
    assert unescape(escape(NULL)) == NULL


def test_text_without_escapes_comes_back_itself() -> None:
    text = "no escapes here"
    assert unescape(text) is text


@pytest.mark.parametrize("piece", ["\\", "\\X", "\\X41\\", "\\Z", "\\.sp", "\\X4", "\\M24", "\\C2842\\"])
def test_time_is_linear(piece: str) -> None:
    started = time.process_time()
    unescape(piece * (1_000_000 // len(piece)))
    assert time.process_time() - started < 5
