"""Times that are excluded: a statement is not of the time that its effectiveTime takes out.

HL7 v3 Data Types R1, SetOperator: E excludes. Administrations may have several effective times, or an expression of
them, of which one takes something from the others; R4 has no place for what a time is not.
"""

from __future__ import annotations

import re
from typing import Any, Final

from hdg.ingestion.cda.element import without

__all__ = ["has_excluded", "is_excluded", "operator", "without_excluded"]

_OPERATOR: Final = b"operator"
_SAID: Final = re.compile(rb"""operator\s*=\s*["']\s*[eE]\s*["']""")
_TIMES: Final = ("effectiveTime", "comp")
"""``comp``: of an SXPR_TS."""


def has_excluded(body: bytes) -> bool:
    """Whether a document excludes anything at all, as far as its bytes tell."""
    at = body.find(_OPERATOR)
    while at >= 0:
        if _SAID.match(body, at):
            return True
        at = body.find(_OPERATOR, at + 1)
    return False


def operator(element: Any) -> str:
    """How an element is joined to the others of its set (SetOperator), in upper case; '' where it does not say."""
    said: str = element.get("operator", "")
    return said.strip().upper()


def is_excluded(element: Any) -> bool:
    """Whether an element is taken out of a set."""
    return operator(element) == "E"


def without_excluded(root: Any) -> list[Any]:
    """Takes the values from times that are excluded; these times.

    ``root``: of elements of either library.
    """
    found = [
        one
        for one in root.iter()
        if isinstance(one.tag, str) and one.tag.rpartition("}")[2] in _TIMES and is_excluded(one)
    ]
    for time in found:
        for one in time.iter():
            for name in ("value", "code"):
                if one.get(name) is not None:
                    without(one, name)
    return found
