"""How single values are put into the index: keyed hashes, folded text, date ranges, references.

R4 search.html#token, #string, #date, #reference. Both sides of a search use these functions, so they cannot
drift.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from hdg.fhir.urns import with_one_case

__all__ = [
    "MAX_US",
    "MIN_US",
    "TEXT_MAX",
    "date_range",
    "fold",
    "hasher",
    "index_text",
    "route_id",
    "scope_of",
    "split_reference",
]

Hash = Callable[[str], int]

TEXT_MAX = 200
"""Characters of a text that are indexed; a PostgreSQL B-tree entry must stay below 2,700 bytes."""
MIN_US = -62_135_596_800_000_000
MAX_US = 253_402_300_799_999_999

_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)
_RELATIVE = re.compile(
    r"(?:(.*)/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


def hasher(key: bytes) -> Hash:
    """A cached keyed hash (BLAKE2b, 64 bits, signed): identifiers do not lie readable in the index.

    '' is 0. UUIDs and OIDs as URNs are one in any letter case (urns.py).
    """

    @lru_cache(maxsize=65_536)
    def hashed(text: str) -> int:
        if not text:
            return 0
        said = with_one_case(text).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(said, digest_size=8, key=key).digest()
        return int.from_bytes(digest, "big", signed=True) or 1

    return hashed


def scope_of(hash_: Hash, institution: str, patients: Iterable[str]) -> int:
    """What a version's institution and patients come to; equal only where both are equal."""
    return hash_(f"scope {json.dumps([institution, *sorted(patients)])}")


@lru_cache(maxsize=8192)
def route_id(resource_type: str, kind: str, text: str) -> int:
    """The stable 31-bit number of what a parameter selects (a test holds that R4's do not collide)."""
    digest = hashlib.sha256(f"{resource_type}/{kind}/{text}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


@lru_cache(maxsize=16_384)
def fold(text: str) -> str:
    """Lower case, no diacritics, single spaces (R4 search.html#string), cut to TEXT_MAX."""
    if text.isascii():
        folded = text.lower()
    else:
        parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        folded = unicodedata.normalize("NFC", "".join(c for c in parts if not unicodedata.combining(c)))
    return index_text(" ".join(folded.replace("\0", "").split()))


def index_text(text: str) -> str:
    """Text that every database takes: no NUL, no lone surrogates, at most TEXT_MAX characters."""
    if not text.isprintable():
        text = text.replace("\0", "").encode("utf-8", "replace").decode()
    return text[:TEXT_MAX]


@lru_cache(maxsize=16_384)
def date_range(text: str) -> tuple[int, int] | None:
    """First and last microsecond that a FHIR date, dateTime or instant covers; None if it is none.

    A value without a zone (every plain date) covers its UTC day, month or year: where the data names no zone,
    none is invented. Digits beyond microseconds are cut.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        start = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), tzinfo=_zone(zone)
        )
    except ValueError:
        return None
    if second is not None:
        lo = (start - _EPOCH) // _US + min(int(second), 59) * 1_000_000
        if fraction is None:
            return lo, lo + 999_999
        digits = fraction[:6]
        step = 10 ** (6 - len(digits))
        lo += int(digits) * step
        return lo, lo + step - 1
    lo = (start - _EPOCH) // _US
    if hour is not None:
        return lo, lo + 59_999_999
    if day is not None:
        return lo, lo + 86_399_999_999
    if month is not None:
        next_year, next_month = (int(year) + 1, 1) if month == "12" else (int(year), int(month) + 1)
    else:
        next_year, next_month = int(year) + 1, 1
    if next_year > 9999:
        return lo, MAX_US
    return lo, (datetime(next_year, next_month, 1, tzinfo=UTC) - _EPOCH) // _US - 1


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[4:6])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


@lru_cache(maxsize=16_384)
def split_reference(text: str) -> tuple[str, str] | None:
    """(type, id) of a relative reference, else None (absolute URL, ``urn:``, ``#contained``)."""
    match = _RELATIVE.fullmatch(text)
    if match is None or match[1] is not None:
        return None
    return match[2], match[3]
