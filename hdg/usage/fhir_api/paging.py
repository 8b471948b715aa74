"""Page tokens: a search, its cursor and nothing readable, for the links that the server makes.

R4 http.html#paging leaves the form of the links to the server. A link must not carry patient data, so the
token is the whole query, encrypted and authenticated with AES-SIV (RFC 5297; deterministic: the same search
gives the same link), bound to the resource type and to the principal it was made for. Stateless: any process
with the key opens it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from hdg.errors import BadRequest

_BLOCK_BYTES = 64
"""Plaintexts are padded to multiples of this, so that a link's length says little about the query."""
_CURSOR_CHARS = 128
"""Cursors are padded to multiples of this, apart from the query, whose length the client chooses. A cursor holds the
number of the last resource in the order of creation: its digits would tell how many there are, hidden ones too, and
about when it came.
"""


@dataclass(frozen=True, slots=True)
class PageToken:
    """What a link stands for: the client's parameters as given, and the store's cursor ('': first page)."""

    pairs: tuple[tuple[str, str], ...]
    cursor: str = ""


class PageTokens:
    """Seals and opens page tokens under a key of 64 bytes."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESSIV(key)

    def seal(self, token: PageToken, binding: Sequence[str]) -> str:
        """URL-safe text; ``binding`` is what must be the same at opening (route, principal)."""
        plain = orjson.dumps([token.pairs, token.cursor, " " * (-len(token.cursor) % _CURSOR_CHARS)])
        padded = plain + b" " * (-len(plain) % _BLOCK_BYTES)
        sealed = self._aead.encrypt(padded, [part.encode() for part in binding])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str, binding: Sequence[str]) -> PageToken:
        """Raises BadRequest when the token was not made here, for this principal and this route."""
        try:
            sealed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            plain = self._aead.decrypt(sealed, [part.encode() for part in binding])
        except (binascii.Error, InvalidTag, ValueError):
            raise BadRequest("the page link is not valid for this request", code="value") from None
        pairs, cursor, *_ = orjson.loads(plain)
        return PageToken(tuple((name, value) for name, value in pairs), cursor)
