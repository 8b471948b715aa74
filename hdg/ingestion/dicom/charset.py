"""Specific Character Set: the defined terms of DICOM PS3.3 C.12.1.1.2, and ISO 2022 switches (PS3.5 §6.1.2.5)."""

from __future__ import annotations

import re
from codecs import lookup
from typing import NamedTuple

from hdg.errors import Issue
from hdg.ingestion.hl7v2.iso2022 import decode as decode_2022

__all__ = ["Charset", "charset_of", "declared", "decoded"]


class Charset(NamedTuple):
    """``codec`` is Python's for a text without switches; ``is_switching``: escape sequences may stand in it."""

    codec: str
    is_switching: bool


_SINGLE = {
    "": "ascii",
    "6": "ascii",
    "100": "iso8859-1",
    "101": "iso8859-2",
    "109": "iso8859-3",
    "110": "iso8859-4",
    "126": "iso8859-7",
    "127": "iso8859-6",
    "138": "iso8859-8",
    "144": "iso8859-5",
    "148": "iso8859-9",
    "203": "iso8859-15",
    "166": "tis-620",
    "13": "cp932",
    "192": "utf-8",
    "58": "gb2312",
    "87": "ascii",
    "149": "cp949",
    "159": "ascii",
}
"""ISO-IR registration number → codec of the upper half."""
_UNSWITCHED = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
"""Terms that take no switches (PS3.5 §6.1.2.4)."""
_TERM = re.compile(r"ISO[ _]?(?:2022[ _])?IR[ _]?(\d+)", re.IGNORECASE)
PLAIN = Charset("ascii", False)


def charset_of(value: bytes, issues: list[Issue]) -> Charset:
    """The character set that (0008,0005) names; what it does not name rightly is an Issue, and ASCII."""
    terms = [term.strip(" \0") for term in value.decode("latin-1").split("\\")]
    first = terms[0]
    if first in _UNSWITCHED:
        if len(terms) > 1:
            issues.append(_issue("a character set that takes no switches stands among others"))
        return Charset(_UNSWITCHED[first], False)
    codecs = [_codec(term, issues) for term in terms]
    return Charset(codecs[0], len(terms) > 1 or "2022" in first)


def _codec(term: str, issues: list[Issue]) -> str:
    match = _TERM.fullmatch(term)
    found = _SINGLE.get(match[1] if match is not None else term)
    if found is None:
        issues.append(_issue("a character set that DICOM does not define; its text is read as ASCII"))
        return "ascii"
    return found


def declared(name: str, issues: list[Issue]) -> Charset:
    """What a sender's declaration names: a defined term, or a codec of Python's. Objects themselves name terms only."""
    if name and name not in _UNSWITCHED and not _TERM.fullmatch(name.partition("\\")[0]):
        try:
            return Charset(lookup(name).name, False)
        except LookupError:
            pass
    return charset_of(name.encode("ascii", "replace"), issues)


def _issue(text: str) -> Issue:
    return Issue("warning", "value", "(0008,0005)", text)


def decoded(data: bytes, charset: Charset, place: str, issues: list[Issue]) -> str:
    """The text of a value. Bytes that the character set does not have are replaced, with an Issue."""
    try:
        if charset.is_switching or b"\x1b" in data:
            return decode_2022(data, charset.codec)
        return data.decode(charset.codec)
    except UnicodeDecodeError:
        text = "bytes that the declared character set does not have were replaced"
        issues.append(Issue("warning", "value", place, text))
        return data.decode(charset.codec, "replace").replace("\x1b", "�")
