"""Deterministic resource ids: the same facts always get the same id, and only the key's holder can guess one.

An id is HMAC-SHA-256 over (type, institution, facts), cut to 20 bytes and written in lower-case base32
without padding: 32 characters of R4 datatypes.html#id. Each part is preceded by its length (8 bytes, big
endian), so ``("ab", "c")`` and ``("a", "bc")`` differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from mypy_extensions import mypyc_attr

__all__ = ["PUBLIC_KEY", "resource_id", "resource_ids"]

# For `hdg convert` without --id-key: repeatable anywhere, hence guessable; a gateway has its own secret key.
PUBLIC_KEY: Final[bytes] = hashlib.sha256(b"healthcare-data-gateway public id key").digest()

_ID_BYTES: Final = 20
_sha256: Final = hashlib.sha256
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648 §6 in lower case
_LETTERS: Final = bytes.maketrans(bytes(range(32)), _ALPHABET.encode())
_BLOCK_BYTES: Final = 64
_MAX_PARTS: Final = 2048  # parts that are kept
_MAX_PART: Final = 200  # characters of each
_LENGTH: Final = 32  # characters of an id
_MANY: Final = 16  # ids whose letters are made together
_LAST: Final = 4  # facts of a result that its order does not have: code, system, sub-id, time


def resource_id(key: bytes, resource_type: str, institution: str, facts: Sequence[str]) -> str:
    """The id (32 characters of ``a-z2-7``) of the resource that ``facts`` identify at ``institution``.

    Raises ValueError when the key is empty or there are no facts: such an id would identify everything.
    """
    if not key or not facts:
        raise ValueError("an id needs a key and at least one fact")
    keys = _keyed(key)
    head = _packed(resource_type) + _packed(institution)
    return _base32(_digest(keys, head, facts))


def resource_ids(key: bytes, institution: str, identified: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """The ids of many resources, each by its type and facts, for less than one by one. Raises ValueError."""
    if not key or not all(facts for _, facts in identified):
        raise ValueError("an id needs a key and at least one fact")
    keys = _keyed(key)
    ids: list[str] = []
    known, head = "", b""
    most: Sequence[str] = ()  # of the resource before: its type, and its facts but the last
    for start in range(0, len(identified), _MANY):
        digests: list[bytes] = []
        for kind, facts in identified[start : start + _MANY]:
            if (
                kind != known or facts[:-_LAST] != most
            ):  # the results of an order differ in the last facts alone
                known, most = kind, facts[:-_LAST]
                head = b"".join(map(_packed, (kind, institution, *most)))
            digests.append(_digest(keys, head, facts[-_LAST:]))
        letters = _letters(digests, _SOME)
        ids += [letters[at : at + _LENGTH] for at in range(0, len(letters), _LENGTH)]
    return ids


def _digest(keys: tuple[Any, Any], head: bytes, facts: Sequence[str]) -> bytes:
    """HMAC (RFC 2104). ``keys``: of ``_keyed``; ``head``: what stands before ``facts``."""
    inner, outer = keys[0].copy(), keys[1].copy()
    inner.update(head + b"".join(map(_packed, facts)))
    outer.update(inner.digest())
    found: bytes = outer.digest()[:_ID_BYTES]
    return found


@mypyc_attr(native_class=False)
class _Packed(dict[str, bytes]):
    """Parts after their length; kept, since a message's resources have most of their parts in common."""

    def __missing__(self, part: str) -> bytes:
        encoded = part.encode("utf-8", "surrogatepass")
        packed = len(encoded).to_bytes(8, "big") + encoded
        if len(part) <= _MAX_PART:
            if len(self) >= _MAX_PARTS:
                self.clear()
            self[part] = packed
        return packed


_packed: Final = _Packed().__getitem__


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> tuple[Any, Any]:
    """The two hashes of HMAC (RFC 2104), inner and outer, after their first block, the key; each id takes copies,
    which cost half of what new ones do.
    """
    if len(key) > _BLOCK_BYTES:
        key = hashlib.sha256(key).digest()
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    return _sha256(bytes(byte ^ 0x36 for byte in padded)), _sha256(bytes(byte ^ 0x5C for byte in padded))


def _halving(bits: int, many: int) -> tuple[int, int, int]:
    """How to move the upper half of each group of ``bits`` up: masks of both halves, and by how many bits.

    A group of ``n`` bits has ``n * 8 / 5`` bits of room, so that 5 bits have a byte in the end.
    """
    half, places = bits // 2, range(0, 256 * many, bits * 8 // 5)
    lower = sum(((1 << half) - 1) << place for place in places)
    return lower << half, lower, bits * 8 // 10 - half


def _halvings(many: int) -> list[tuple[int, int, int]]:
    return [_halving(bits, many) for bits in (160, 80, 40, 20, 10)]


_SOME: Final = _halvings(_MANY)
_APART: Final = bytes(_LENGTH - _ID_BYTES)


_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
"""Two letters for each number of 10 bits."""


def _base32(digest: bytes) -> str:
    """The letters of 160 bits, ten at a time."""
    letters: list[str] = []
    for at in range(0, _ID_BYTES, 5):
        number = int.from_bytes(digest[at : at + 5], "big")
        letters += (
            _PAIRS[number >> 30],
            _PAIRS[number >> 20 & 1023],
            _PAIRS[number >> 10 & 1023],
            _PAIRS[number & 1023],
        )
    return "".join(letters)


def _letters(digests: Sequence[bytes], halvings: Sequence[tuple[int, int, int]]) -> str:
    """The letters of 160 bits each: halved until each group of 5 bits has a byte of its own."""
    number = int.from_bytes(_APART.join(digests), "big")
    for upper, lower, shift in halvings:
        number = (number & upper) << shift | number & lower
    return number.to_bytes(_LENGTH * len(digests), "big").translate(_LETTERS).decode()
