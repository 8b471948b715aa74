"""The ``default`` column: pairs ``path=value`` and at most one bare value, separated by ``;``.

A value may stand in double quotes when it holds ``;``. A ``=`` inside a bracket (a URL) or a value does not
split.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PART = re.compile(r'((?:"[^"]*"|\[[^\]]*\]|[^;"\[]|"|\[)+)')
_PAIR = re.compile(
    r"(@?[A-Za-z_][\w:\-]*(?:\[[^\]]*\])*(?:\.[A-Za-z_]\w*(?:\[[^\]]*\])*)*)\s*=\s*(.*)", re.DOTALL
)


class Pair(NamedTuple):
    """``path=value``."""

    path: str
    value: str


def split_default(text: str) -> tuple[str | None, tuple[Pair, ...]]:
    """The bare value (None: none) and the pairs of a cell. Raises ValueError for two bare values."""
    bare: str | None = None
    pairs: list[Pair] = []
    for part in _PART.findall(text):
        stripped = part.strip()
        if not stripped:
            continue
        match = _PAIR.fullmatch(stripped)
        if match is not None:
            pairs.append(Pair(match[1], _unquoted(match[2].strip())))
        elif bare is not None:
            raise ValueError(f"two bare defaults in {text!r}")
        else:
            bare = _unquoted(stripped)
    return bare, tuple(pairs)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
