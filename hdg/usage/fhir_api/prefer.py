"""The Prefer header. RFC 7240; R4 http.html#ops (return), http.html#search (handling)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Prefer", "prefer"]

RETURNS = frozenset({"minimal", "representation", "OperationOutcome"})
_PREFERENCE = re.compile(r"""^\s*([A-Za-z-]+)\s*(?:=\s*"?([A-Za-z-]*)"?)?\s*(?:;.*)?$""")


@dataclass(frozen=True, slots=True)
class Prefer:
    """``returns``: what a write answers; ``is_lenient``: a search leaves out parameters it does not know."""

    returns: str = "representation"
    is_lenient: bool = False


def prefer(header: str | None) -> Prefer:
    """What a client prefers; what is not understood is ignored, and the first of two counts (RFC 7240 §2)."""
    given: dict[str, str] = {}
    for part in (header or "").split(","):
        found = _PREFERENCE.match(part)
        if found is not None:
            given.setdefault(found[1].lower(), found[2] or "")
    wanted = given.get("return", "")
    return Prefer(wanted if wanted in RETURNS else "representation", given.get("handling") == "lenient")
