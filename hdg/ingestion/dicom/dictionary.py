"""The data dictionary: keyword, tag and value representation. DICOM PS3.6 (part06/PS3.6.html), as pydicom carries it.

pydicom is imported when a header is first read, so that what has nothing to do with DICOM starts without it.
"""

from __future__ import annotations

import re
from functools import cache

__all__ = ["keyword", "shown", "tag_of", "vr_of"]

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)")


@cache
def vr_of(tag: int) -> str:
    """The value representation of a tag; ``UN`` for private and unknown ones, the first of several."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    if tag & 0xFFFF == 0:
        return "UL"  # group length
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # a private creator
    return dictionary_VR(tag).partition(" ")[0] if dictionary_has_tag(tag) else "UN"


@cache
def keyword(tag: int) -> str:
    """``PatientID`` for (0010,0020); '' for private and unknown tags."""
    from pydicom.datadict import keyword_for_tag

    return "" if tag >> 16 & 1 else keyword_for_tag(tag)


def shown(tag: int) -> str:
    """How a tag is called in issues: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def tag_of(text: str) -> int:
    """The tag of a keyword or of ``(gggg,eeee)``. Raises ValueError."""
    match = _TAG.fullmatch(text)
    if match is not None:
        return int(match[1], 16) << 16 | int(match[2], 16)
    from pydicom.datadict import tag_for_keyword

    found = tag_for_keyword(text)
    if found is None:
        raise ValueError(f"{text!r} is no DICOM keyword")
    return int(found)
