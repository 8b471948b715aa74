r"""Escape sequences: reading and writing them. HL7 v2.9 §2.7 (2.10 in older versions); character sets §2.7.4.

What a sequence becomes:

    \F\ \S\ \T\ \R\ \E\ \P\   | ^ & ~ \ #
    \Xdd..\                   the bytes dd.. in the message's character set; neighbours are joined, so that
                              one character may be spread over several sequences
    \Cxxyy\ \Mxxyyzz\         ISO 2022 switches: what follows is read in that set
    \.br\ \.ce\               a line feed
    \.sp<n>\ \.sk<n>\         that many line feeds, spaces (no number: 1)
    \.in<n>\ \.ti<n>\ \.fi\ \.nf\ \H\ \N\   nothing (layout)
    anything else             stays as it is, \Zxx\ and undecodable \X..\ included: nothing is guessed or lost
"""

from __future__ import annotations

import re
from typing import Final

from hdg.ingestion.hl7v2 import charset as charsets

NULL: Final = '""'
"""HL7's explicit "delete this value" (HL7 v2.9 §2.5.3); differs from an absent field."""

_DELIMITER: Final = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "P": "#"}
_BREAK: Final = "\\.br\\"
_LAYOUT_MAX: Final = 99

_SEQUENCE: Final = re.compile(
    r"\\(?:([FSTREP])\\"
    r"|((?:X(?:[0-9A-Fa-f]{2})+\\)(?:\\X(?:[0-9A-Fa-f]{2})+\\)*)"
    r"|\.([A-Za-z]{2})([+-]?[0-9]{0,5})\\"
    r"|([HN])\\"
    r"|(Z[^\\]{0,64})\\)"
)
_SWITCH: Final = re.compile(r"\\(?:[CM]((?:[0-9A-Fa-f]{2}){2,3})|[A-Z.][^\\]*)\\")
"""A switch with its bytes. Other sequences match too: what stands between two of them is no switch."""

_UNSAFE: Final = re.compile(r"[|^~\\&#\x00-\x1f\x7f]")
_ESCAPED: Final = {char: f"\\{code}\\" for code, char in _DELIMITER.items() if char != "#"}
_ESCAPED["#"] = "#"  # only a value's last '#' can be mistaken for the truncation mark
_ESCAPED["\n"] = _BREAK


def unescape(text: str, charset: str = "utf-8") -> str:
    """The value that ``text`` (a field, component or subcomponent in standard delimiters) stands for.

    ``charset`` is ``Message.charset``. Never raises: what cannot be read stays as it was written.
    """
    if "\\" not in text:
        return text
    breaks = text.count(_BREAK)
    if breaks and text.count("\\") == 2 * breaks:  # a report: it has no other sequence
        return text.replace(_BREAK, "\n")
    may_switch = "\\C" in text or "\\M" in text
    if may_switch and any(found[1] for found in _SWITCH.finditer(text)):
        text = _switched(text, charset)
    return _SEQUENCE.sub(lambda found: _meaning(found, charset), text)


def escape(text: str) -> str:
    r"""``text`` written without delimiters or control characters: ``unescape(escape(text)) == text``.

    A line feed becomes ``\.br\``, other control characters ``\X..\``; a value of two quotes is kept from
    being read as delete.
    """
    if text == NULL:
        return '\\X22\\"'
    if not _UNSAFE.search(text):
        return text
    written = _UNSAFE.sub(lambda found: _ESCAPED.get(found[0]) or f"\\X{ord(found[0]):02X}\\", text)
    return written[:-1] + "\\P\\" if written.endswith("#") else written


def _meaning(found: re.Match[str], charset: str) -> str:
    delimiter, hexes, command, number, _highlight, local = found.groups()
    if delimiter:
        return _DELIMITER[delimiter]
    if hexes:
        return _hex(found[0], charset)
    if command:
        return _layout(found[0], command.lower(), number)
    return found[0] if local else ""


def _layout(written: str, command: str, number: str) -> str:
    if command in {"in", "ti", "fi", "nf"}:
        return ""
    if command in {"br", "ce"}:
        return "\n"
    if command not in {"sp", "sk"} or (number and not 0 <= int(number) <= _LAYOUT_MAX):
        return written
    return ("\n" if command == "sp" else " ") * int(number or 1)


def _hex(run: str, charset: str) -> str:
    """A run of neighbouring ``\\X..\\`` sequences."""
    parts = [bytes.fromhex(part) for part in run[2:-1].split("\\\\X")]
    try:
        if charset.startswith(("utf-16", "utf-32")):  # two neighbours could read as one unit
            return "".join(_unit(part, charset) for part in parts)
        return charsets.decode_fragment(b"".join(parts), charset)
    except UnicodeDecodeError:
        return run


def _unit(data: bytes, charset: str) -> str:
    return chr(data[0]) if len(data) == 1 and data[0] < 0x80 else charsets.decode(data, charset)


def _switched(text: str, charset: str) -> str:
    """``text`` with its ``\\C..\\`` and ``\\M..\\`` switches applied; unchanged where that cannot be done."""
    marked = _SWITCH.sub(lambda found: _mark(found[1]) if found[1] else found[0], text)
    try:
        return charsets.decode(charsets.encode(marked, charset), charsets.with_iso2022(charset))
    except UnicodeError:
        return text


def _mark(hexes: str) -> str:
    return "\x1b" + bytes.fromhex(hexes).decode("latin-1")
