"""Names of character sets: HL7 table 0211, ISO-IR numbers, Python's own → a codec. HL7 v2.9 §2.14.9.18."""

from __future__ import annotations

import re
from encodings.aliases import aliases
from functools import lru_cache

from hdg.ingestion.hl7v2 import iso2022

ISO2022 = "iso2022:"

TABLE_0211 = {
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "ISO IR6": "ascii",
    "ISO IR14": "iso2022:cp932",  # JIS X 0201; cp932 holds its katakana, and Shift JIS if that is meant
    "ISO IR87": "iso2022:ascii",
    "ISO IR159": "iso2022:ascii",
    "JIS X 0202": "iso2022:ascii",
    "JAS2020": "iso2022:ascii",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "iso2022:cp949",
    "BIG-5": "big5hkscs",
    "UNICODE": "utf-8",  # deprecated; means UTF-16 where the bytes show it (rule 1)
    "UNICODE UTF-8": "utf-8",
    "UNICODE UTF-16": "utf-16-be",
    "UNICODE UTF-32": "utf-32-be",
}
"""HL7 table 0211, except CNS 11643-1992: Python has no codec for it, so it is refused by name."""

WIDE = ("utf-16", "utf-32")
NAME_MAX = 64
_NOT_TEXT = {
    *("base64-codec", "bz2-codec", "hex-codec", "quopri-codec", "rot-13", "uu-codec", "zlib-codec"),
    *("cp037", "cp1026", "cp1140", "cp273", "cp424", "cp500", "cp864", "cp875"),  # MSH is not ASCII there
    *("hz", "mbcs", "oem", "utf-7", "utf-16", "utf-32"),
}
"""Python codecs that are no character set, or cannot be found out by reading MSH-18 as ASCII."""


def _key(name: str) -> str:
    return re.sub(r"[\s_/-]+", "", name[:NAME_MAX]).upper()


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Every accepted name, as ``_key`` writes it: table 0211, ISO-IR numbers, Python's own names."""
    python = {alias: codec.replace("_", "-") for alias, codec in aliases.items()}
    names = {_key(codec): codec for codec in python.values() if codec not in _NOT_TEXT}
    names |= {_key(alias): codec for alias, codec in python.items() if codec not in _NOT_TEXT}
    names |= {"UTF16": "utf-16-be", "UTF32": "utf-32-be"}
    names |= {f"8859{part}": f"iso8859-{part}" for part in (10, 11, 13, 14, 16)}
    for registered, codec in iso2022.REGISTERED.items():
        names |= {f"ISOIR{registered}": codec, f"ISO2022IR{registered}": codec}
    return names | {"ISOIR192": "utf-8"} | {_key(name): codec for name, codec in TABLE_0211.items()}


def resolve(declared: tuple[str, ...]) -> str | None:
    """The charset that MSH-18's repetitions (or an override's) mean together; None for none, or plain ASCII.

    Raises LookupError with the name that is unknown.
    """
    known = [_codec(name) for name in declared if name.strip()]
    if not known or set(known) == {"ascii"}:
        return None
    if known[0].startswith((*WIDE, "utf-8", "gb18030", "big5")):
        return known[0]  # these hold everything that the further sets could add
    if len(known) == 1:
        return known[0]
    halves = [codec.removeprefix(ISO2022) for codec in known]
    return ISO2022 + next((half for half in halves if half not in ("ascii", "utf-8")), "ascii")


def _codec(name: str) -> str:
    codec = _names().get(_key(name))
    if codec is None:
        raise LookupError(name[:NAME_MAX])
    return codec
