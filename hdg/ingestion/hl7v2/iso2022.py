"""ISO/IEC 2022: text that switches character sets by escape sequences. HL7 v2.9 §2.14.9.18 (repeated MSH-18).

A small reader for the sets that HL7 and DICOM messages use: each stretch between two switches is handed to a
Python codec. G0 (bytes below 0x80) starts as ASCII, G1 (above) as the declared set's upper half; both start
anew on each line, as senders assume and DICOM PS3.5 §6.1.2.5.3 says.
"""

from __future__ import annotations

import re
from collections.abc import Callable

REGISTERED = {
    6: "ascii",
    13: "iso2022:cp932",
    14: "iso2022:cp932",
    58: "iso2022:gb2312",
    87: "iso2022:ascii",
    100: "iso8859-1",
    101: "iso8859-2",
    109: "iso8859-3",
    110: "iso8859-4",
    126: "iso8859-7",
    127: "iso8859-6",
    138: "iso8859-8",
    144: "iso8859-5",
    148: "iso8859-9",
    149: "iso2022:cp949",
    159: "iso2022:ascii",
    166: "tis-620",
    203: "iso8859-15",
}
"""ISO-IR registration numbers → charset names."""


def _pairs(codec: str) -> Callable[[bytes], str]:
    """A 94x94 set in G0: its bytes with the high bit set are the codec's."""
    return lambda run: bytes(byte | 0x80 for byte in run).decode(codec)


def _jis_x_0212(run: bytes) -> str:
    if len(run) % 2:
        raise UnicodeDecodeError("jisx0212", run, len(run) - 1, len(run), "half a character")
    return b"".join(bytes((0x8F, run[at] | 0x80, run[at + 1] | 0x80)) for at in range(0, len(run), 2)).decode(
        "euc_jp"
    )


def _katakana(run: bytes) -> str:
    return bytes(byte | 0x80 for byte in run).decode("cp932")


def _plain(codec: str) -> Callable[[bytes], str]:
    return lambda run: run.decode(codec)


_G0: dict[bytes, Callable[[bytes], str]] = {
    b"(B": _plain("ascii"),
    b"(J": _plain("ascii"),  # JIS X 0201 romaji: its yen and overline are HL7's \ and ~
    b"(I": _katakana,
    b"$@": _pairs("euc_jp"),
    b"$B": _pairs("euc_jp"),
    b"$(@": _pairs("euc_jp"),
    b"$(B": _pairs("euc_jp"),
    b"$(D": _jis_x_0212,
    b"$A": _pairs("gb2312"),
    b"$(A": _pairs("gb2312"),
    b"$(C": _pairs("euc_kr"),
}
_G1: dict[bytes, str] = {
    b")I": "cp932",
    b"$)A": "gb2312",
    b"$)C": "euc_kr",
    b"-A": "iso8859-1",
    b"-B": "iso8859-2",
    b"-C": "iso8859-3",
    b"-D": "iso8859-4",
    b"-F": "iso8859-7",
    b"-G": "iso8859-6",
    b"-H": "iso8859-8",
    b"-L": "iso8859-5",
    b"-M": "iso8859-9",
    b"-T": "tis-620",
    b"-b": "iso8859-15",
}
_TOKEN = re.compile(
    rb"\x1b(\$?[()\-][0-~]|\$[@AB])|([\r\n]+)|(\x0e)|(\x0f)|([\x00-\x0d\x10-\x1a\x1c-\x20]+)|([\x21-\x7f]+)|([\x80-\xff]+)|(\x1b)"
)


def decode(data: bytes, upper: str) -> str:
    """Strictly; ``upper`` is the codec of G1 at each line's start. Raises UnicodeDecodeError."""
    if b"\x1b" not in data and b"\x0e" not in data:
        return data.decode(upper)
    out: list[str] = []
    ascii_text = _G0[b"(B"]
    lower, high, is_shifted = ascii_text, upper, False
    at = 0
    while at < len(data):
        token = _TOKEN.match(data, at)
        if token is None:  # every byte starts some token
            raise UnicodeDecodeError("iso2022", data, at, at + 1, "no character")
        switch, line, shift_out, shift_in, control, low, above, _lone = token.groups()
        if switch is not None:
            if switch in _G0:
                lower = _G0[switch]
            elif switch in _G1:
                high = _G1[switch]
            else:
                raise UnicodeDecodeError("iso2022", data, at, token.end(), "unknown switch")
        elif line is not None:
            lower, high, is_shifted = ascii_text, upper, False
            out.append(line.decode("ascii"))
        elif shift_out or shift_in:
            is_shifted = bool(shift_out)
        elif control is not None:
            out.append(control.decode("ascii"))
        elif low is not None:
            out.append(_pairs(high)(low) if is_shifted else lower(low))
        elif above is not None:
            out.append(above.decode(high))
        else:
            raise UnicodeDecodeError("iso2022", data, at, at + 1, "lone escape")
        at = token.end()
    return "".join(out)


def encode(text: str, upper: str) -> bytes:
    """Strictly: the upper half where it has the characters, else ISO-2022-JP's. Raises UnicodeEncodeError."""
    try:
        return text.encode(upper)
    except UnicodeEncodeError:
        return text.encode("iso2022_jp_ext" if upper in ("ascii", "cp932") else "iso2022_jp_2")
