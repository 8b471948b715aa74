"""Deterministic resource ids: the same facts always get the same id, and only the key's holder can guess one.

An id is HMAC-SHA-256 over (type, institution, facts), cut to 20 bytes and written in lower-case base32
without padding: 32 characters of R4 datatypes.html#id. Each part is preceded by its length (8 bytes, big
endian), so ``("ab", "c")`` and ``("a", "bc")`` differ.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

__all__ = ["PUBLIC_KEY", "resource_id"]

# For `hdg convert` without --id-key: repeatable anywhere, hence guessable; a gateway has its own secret key.
PUBLIC_KEY: bytes = hashlib.sha256(b"healthcare-data-gateway public id key").digest()

_ID_BYTES = 20
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648 §6 in lower case
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_LENGTHS = [size.to_bytes(8, "big") for size in range(256)]
_SHIFTS = tuple(range(_ID_BYTES * 8 - 10, -1, -10))


def resource_id(key: bytes, resource_type: str, institution: str, facts: Sequence[str]) -> str:
    """The id (32 characters of ``a-z2-7``) of the resource that ``facts`` identify at ``institution``.

    Raises ValueError when the key is empty or there are no facts: such an id would identify everything.
    """
    if not key or not facts:
        raise ValueError("an id needs a key and at least one fact")
    message: list[bytes] = []
    for part in (resource_type, institution, *facts):
        encoded = part.encode("utf-8", "surrogatepass")
        size = len(encoded)
        message.append(_LENGTHS[size] if size < 256 else size.to_bytes(8, "big"))
        message.append(encoded)
    number = int.from_bytes(hmac.digest(key, b"".join(message), "sha256")[:_ID_BYTES], "big")
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])
