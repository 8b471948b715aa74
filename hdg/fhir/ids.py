"""Deterministic resource ids: the same facts always get the same id, and only the key's holder can guess one.

An id is HMAC-SHA-256 over (type, institution, facts), cut to 20 bytes and written in lower-case base32
without padding: 32 characters of R4 datatypes.html#id. Each part is preceded by its length (8 bytes, big
endian), so ``("ab", "c")`` and ``("a", "bc")`` differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["PUBLIC_KEY", "resource_id"]

# For `hdg convert` without --id-key: repeatable anywhere, hence guessable; a gateway has its own secret key.
PUBLIC_KEY: bytes = hashlib.sha256(b"healthcare-data-gateway public id key").digest()

_ID_BYTES = 20
_LETTERS = bytes.maketrans(bytes(range(32)), b"abcdefghijklmnopqrstuvwxyz234567")  # RFC 4648 §6 in lower case
_BLOCK_BYTES = 64


def resource_id(key: bytes, resource_type: str, institution: str, facts: Sequence[str]) -> str:
    """The id (32 characters of ``a-z2-7``) of the resource that ``facts`` identify at ``institution``.

    Raises ValueError when the key is empty or there are no facts: such an id would identify everything.
    """
    if not key or not facts:
        raise ValueError("an id needs a key and at least one fact")
    inner, outer = _keyed(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(b"".join(map(_packed, (resource_type, institution, *facts))))
    outer.update(inner.digest())
    return _base32(outer.digest())


@lru_cache(maxsize=4096)
def _packed(part: str) -> bytes:
    """A part after its length; kept, since a message's resources have most of their parts in common."""
    encoded = part.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "big") + encoded


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> tuple[_Hash, _Hash]:
    """The two hashes of HMAC (RFC 2104) after the key; to be copied, so that each id starts from there."""
    if len(key) > _BLOCK_BYTES:
        key = hashlib.sha256(key).digest()
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
    return inner, hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))


def _halving(bits: int) -> tuple[int, int, int]:
    """How to move the upper half of each group of ``bits`` up: masks of both halves, and by how many bits.

    A group of ``n`` bits has ``n * 8 / 5`` bits of room, so that 5 bits have a byte in the end.
    """
    half, places = bits // 2, range(0, 256, bits * 8 // 5)
    lower = sum(((1 << half) - 1) << place for place in places)
    return lower << half, lower, bits * 8 // 10 - half


_HALVINGS = [_halving(bits) for bits in (160, 80, 40, 20, 10)]


def _base32(digest: bytes) -> str:
    """The letters of the first 160 bits: halved until each group of 5 bits has a byte of its own."""
    number = int.from_bytes(digest[:_ID_BYTES], "big")
    for upper, lower, shift in _HALVINGS:
        number = (number & upper) << shift | number & lower
    return number.to_bytes(32, "big").translate(_LETTERS).decode()
