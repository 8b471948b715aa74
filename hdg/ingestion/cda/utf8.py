"""The bytes of a document as UTF-8, from its root element on: byte order marks, declarations, what is wrongly declared.

XML 1.0 §4.3.3. What is mended on the way is an Issue.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from hdg.errors import CdaError, Issue

__all__ = ["CHUNK", "START_TAG", "mended"]

CHUNK = 1 << 16
_HEAD: Final = 1 << 12
"""Bytes in which most roots begin."""
_NO_CHARSETS: Final = ("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "charmap")
"""Python's codecs that are no charset: punycode takes quadratic time, the escapes would change what is written."""
_BEFORE_ROOT: Final = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|\s)*", re.DOTALL)
_ENCODING: Final = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_MARK: Final = b"\xef\xbb\xbf"
_MARKS: Final = (
    (_MARK, "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
START_TAG: Final = re.compile(r"<[A-Za-z_][^\s/>]*")


def mended(data: bytes, issues: list[Issue]) -> bytes:
    """The root element in UTF-8. Raises CdaError: there is none, or a DTD before it."""
    plain = _plain(data)
    if plain is not None:
        return plain
    text = _decoded(data, issues)
    start = _BEFORE_ROOT.match(text)
    at = start.end() if start else 0
    if text.startswith("<!", at):
        raise CdaError("a document type definition is not allowed")
    if at >= len(text):
        raise CdaError("the document is empty")
    try:
        return (text[at:] if at else text).encode("utf-8")
    except UnicodeEncodeError:
        raise CdaError("not well-formed XML") from None


def _plain(data: bytes) -> bytes | None:
    """The root element of a document in UTF-8 that begins as most do, None for any other; no text is made of it all."""
    declared = _ENCODING.match(data[:200])
    if data.startswith(_MARK) or (declared and declared[1].lower() not in (b"utf-8", b"utf8")):
        return None
    head = data[:_HEAD].decode("utf-8", "ignore")
    before = _BEFORE_ROOT.match(head)
    at = before.end() if before else 0
    if not START_TAG.match(head, at):
        return None
    if not data.isascii() and not _is_utf8(data):
        return None
    return data[len(head[:at].encode("utf-8")) :]


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), CHUNK):
            decoder.decode(data[start : start + CHUNK])
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


def _decoded(data: bytes, issues: list[Issue]) -> str:
    """The text without byte order mark and XML declaration's encoding. Raises CdaError."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return _text(data[len(mark) :], codec, issues)
    if data[:4] == b"<\x00?\x00" or data[:2] == b"<\x00":
        return _text(data, "utf-16-le", issues)
    if data[:2] == b"\x00<":
        return _text(data, "utf-16-be", issues)
    declared = _ENCODING.match(data[:200])
    codec = declared[1].decode("ascii").lower() if declared else "utf-8"
    if codec.startswith(("utf-16", "ucs-2", "utf-32")):  # the bytes say otherwise
        codec = "utf-8"
    return _text(data, codec, issues)


def _text(data: bytes, codec: str, issues: list[Issue]) -> str:
    try:
        if codecs.lookup(codec).name.replace("-", "_") not in _NO_CHARSETS:
            return data.decode(codec)
    except LookupError:
        pass
    except UnicodeError:
        if codec.startswith("utf-16"):
            raise CdaError("the bytes are not of the declared encoding") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("windows-1252", errors="replace")
    issues.append(
        Issue(
            "warning",
            "structure",
            "/",
            f"not {codec if codec.isascii() else ''} as declared; read as it seems",
        )
    )
    return text
