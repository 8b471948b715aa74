"""What a request accepts, and multipart/related answers. DICOM PS3.18 §8.7; RFC 9110 §12.5.1; RFC 2387."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Range", "boundary", "multipart", "ranges"]

_PART = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+))')


@dataclass(frozen=True, slots=True)
class Range:
    """One media range: ``multipart/related`` is told by what its parts are (``type``). ``syntax``: a transfer syntax.

    ``syntax`` '': none is named; ``*``: any.
    """

    type: str
    is_multipart: bool
    syntax: str
    quality: float

    def takes(self, type_: str) -> bool:
        """Whether this media type is meant."""
        return self.type in (type_, "*/*") or self.type == f"{type_.partition('/')[0]}/*"


def ranges(accept: str | None, parameter: str = "") -> list[Range]:
    """The ranges of an Accept header, the preferred first; everything when there is none.

    ``parameter``: the query parameter ``accept`` (PS3.18 §8.3.3.1), which goes before the header.
    """
    found = [_range(one) for one in _cut(parameter or accept or "*/*", ",") if one.strip()]
    kept = [one for one in found if one.quality > 0]
    return sorted(kept, key=lambda one: -one.quality)


def _cut(text: str, sign: str) -> list[str]:
    """Cut at a sign outside quotes."""
    found, start, is_quoted = [], 0, False
    for at, letter in enumerate(text):
        if letter == '"':
            is_quoted = not is_quoted
        elif letter == sign and not is_quoted:
            found.append(text[start:at])
            start = at + 1
    return [*found, text[start:]]


def _range(text: str) -> Range:
    name, *rest = _cut(text, ";")
    given = {}
    for one in rest:
        match = _PART.fullmatch(one.rstrip())
        if match is not None:
            given[match[1].lower()] = match[2] if match[2] is not None else match[3]
    kind = name.strip().lower()
    is_multipart = kind == "multipart/related"
    inner = given.get("type", "*/*").lower() if is_multipart else kind
    try:
        quality = float(given.get("q", "1"))
    except ValueError:
        quality = 0.0
    return Range(inner, is_multipart, given.get("transfer-syntax", ""), quality)


def boundary() -> str:
    """One that no content has, for it is random."""
    return f"hdg-{secrets.token_hex(16)}"


def multipart(parts: Iterable[tuple[Mapping[str, str], Iterable[bytes]]], mark: str) -> Iterator[bytes]:
    """Parts, each with its headers, piece by piece."""
    for headers, content in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"--{mark}\r\n{lines}\r\n".encode()
        yield from content
        yield b"\r\n"
    yield f"--{mark}--\r\n".encode()
