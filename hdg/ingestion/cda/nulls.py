"""What has a nullFlavor has no value, whatever else a sender writes there.

HL7 v3 Data Types Abstract Specification R1 §2.1.2: a nullFlavor says why there is no proper value. Two are left as they
are: ``OTH`` says that the value is of no set that was asked for, ``MSK`` that some of it is hidden (``***-**-2222``).
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["without_nulled"]

_NULL = b"nullFlavor"
_ODD = re.compile(rb"""\s(?:value|code|extension)\s*=|nullFlavor\s*=\s*["']\s*["']""")
_REST = re.compile(rb"""[^>"']*(?:(?:"[^"]*"|'[^']*')[^>"']*)*>""")
"""Of a tag; a quoted ``>`` does not end it."""
_NEAR = 1000
"""Bytes before and after a nullFlavor in which its tag is looked for."""
_VALUES = ("value", "code", "extension")
_KEPT = ("OTH", "MSK")
_PARTS = frozenset({"translation", "qualifier"})
"""What they are a part of counts; a quantity's is in a unit that v3 does not know."""


def without_nulled(root: Any, body: bytes) -> list[tuple[Any, str]]:
    """Takes values from what has a nullFlavor, and nullFlavors that say nothing; the values that were taken.

    ``root``: of elements of either library; ``body``: the document in UTF-8.
    """
    taken: list[tuple[Any, str]] = []
    if not _may_have_any(body):
        return taken
    for element in root.iter():
        null = element.get("nullFlavor")
        if null is None:
            continue
        if not null.strip():
            element.attrib.pop("nullFlavor")
        elif null.strip() not in _KEPT and element.tag.rpartition("}")[2] not in _PARTS:
            is_rootless = element.get("root") is None  # only whose number it is, is not known
            taken += [
                (element, name)
                for name in _VALUES
                if element.get(name) and not (name == "extension" and is_rootless)
            ]
    for element, name in taken:
        element.attrib.pop(name, None)  # elements of a large document share their attributes
    return taken


def _may_have_any(body: bytes) -> bool:
    """Whether some tag has a nullFlavor and a value, or a blank nullFlavor."""
    at = body.find(_NULL)
    while at >= 0:
        rest = _REST.match(body, at, at + _NEAR)
        start = body.rfind(b"<", max(0, at - _NEAR), at)
        if start < 0 or rest is None or _ODD.search(body, start, rest.end()):
            return True
        at = body.find(_NULL, rest.end())
    return False
