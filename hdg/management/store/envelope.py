"""What is inside a sealed body: salt of the ledger commitment, list ownership, times of statements, the
exact bytes.

Layout: salt (32) | length of parts (4, big endian) | parts, or [parts, said] (JSON; merge.py, stale.py) |
body. The salt lies inside the ciphertext, so that a leaf's commitment to a guessable body tells nothing to
who cannot open it (DESIGN §6).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import orjson

from hdg.errors import VaultError
from hdg.fhir.json import Decimal
from hdg.management.store.merge import JsonObject, Parts
from hdg.management.store.stale import Said

__all__ = ["SALT_BYTES", "Opened", "binding", "body_in", "owned", "pack", "parse", "unpack"]

SALT_BYTES = 32
_HEAD = SALT_BYTES + 4
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(frozen=True, slots=True)
class Opened:
    """An open envelope. HMAC-SHA-256 of ``body`` under ``salt`` is the version's ledger commitment."""

    salt: bytes = field(repr=False)
    parts: Parts = field(repr=False)
    body: bytes = field(repr=False)
    said: Said = field(default_factory=list, repr=False)


def binding(type_: str, id_: str, version: int) -> bytes:
    """The authenticated data that ties a sealed body to its version."""
    return f"version/{type_}/{id_}/{version}".encode()


def pack(salt: bytes, parts: Parts, body: bytes, said: Said | None = None) -> bytes:
    """The envelope's plaintext."""
    return b"".join((salt, owned(parts, said), body))


def owned(parts: Parts, said: Said | None = None) -> bytes:
    """What stands between salt and body."""
    packed = orjson.dumps([parts, said] if said else parts)
    return len(packed).to_bytes(4, "big") + packed


def body_in(plain: bytes) -> bytes:
    """The body alone. Raises VaultError when the plaintext is no envelope."""
    return plain[_body_at(plain) :]


def _body_at(plain: bytes) -> int:
    end = _HEAD + int.from_bytes(plain[SALT_BYTES:_HEAD], "big")
    if len(plain) < max(end, _HEAD):
        raise VaultError("a stored envelope is cut short")
    return end


def unpack(plain: bytes) -> Opened:
    """Raises VaultError when the plaintext is no envelope."""
    end = _body_at(plain)
    found = orjson.loads(plain[_HEAD:end])
    parts, said = found if isinstance(found, list) else (found, [])
    return Opened(plain[:SALT_BYTES], parts, plain[end:], said)


def parse(body: bytes) -> JsonObject:
    """Stored bytes as a resource; they were checked when they came in, so nothing is checked again."""
    resource: JsonObject = _decode(body)
    return resource
