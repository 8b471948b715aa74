"""Texts of codes as the index keeps them: unreadable without the key, yet equal beginnings stay equal.

R4 search.html#token (``:text``) asks for texts that begin with something. In plain they would tell the diagnoses
that the hashed codes beside them do not. So each byte is replaced by one that depends on the key and on all bytes
before it, one to one. Who reads the database sees which texts begin alike and how often each occurs, nothing
else (docs/security.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from math import gcd

from hdg.management.store.values import Hash, fold

__all__ = ["VEILED_MAX", "Veil", "veiler"]

Veil = Callable[[str], str]

VEILED_MAX = 64
"""Bytes of a folded text that are kept."""
_PRINTABLE = 95
"""ASCII's, from the space on: each becomes another of them. All other bytes become letters from U+0100 on."""
_FACTORS = [number for number in range(1, _PRINTABLE) if gcd(number, _PRINTABLE) == 1]


@lru_cache(maxsize=8)
def veiler(hash_: Hash) -> Veil:
    """Folded text → veiled text of one symbol per UTF-8 byte: ``a`` begins with ``b`` exactly if the veiled do."""
    key = b"".join(hash_(f"veil {part}").to_bytes(8, "big", signed=True) for part in range(4))

    @lru_cache(maxsize=16_384)
    def veiled(text: str) -> str:
        symbols = []
        state = b""
        for byte in fold(text).encode()[:VEILED_MAX]:
            state = hashlib.blake2b(state, digest_size=16, key=key).digest()
            if 32 <= byte < 32 + _PRINTABLE:
                factor = _FACTORS[state[0] % len(_FACTORS)]
                symbols.append(chr(32 + ((byte - 32) * factor + state[1]) % _PRINTABLE))
            else:
                symbols.append(chr(0x100 + (((byte ^ state[0]) * (state[1] | 1) + state[2]) & 0xFF)))
            state += bytes((byte,))
        return "".join(symbols)

    return veiled
