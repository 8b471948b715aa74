"""Pseudonyms: what ids are to one research project. They can be read back with the project's key alone.

R4 datatypes.html#id. A pseudonym is 32 hexadecimal digits: the keyed hashes of id and type (64 bits each, the key
derived from the root key), as one block under AES-256 with a key of the project's own (FIPS 197). To whoever lacks
that key it is what a keyed HMAC would be: two projects' pseudonyms have nothing in common. Unlike an HMAC it needs
no table of who is who, which would have to be written at every read and guarded ever after: the hash that it holds
is found in the index of ``resource``. Who has a project's key learns hashes, and needs the root key to test a guess.
"""

from __future__ import annotations

import re
import struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hdg.fhir import definitions
from hdg.management.store.values import Hash

__all__ = ["Pseudonyms"]

_FORM = re.compile(r"[0-9a-f]{32}\Z")


class Pseudonyms:
    """Of one project. ``project_key``: 32 bytes; ``hash_``: the keyed hash that ``resource.id_hash`` is made with."""

    def __init__(self, project_key: bytes, hash_: Hash) -> None:
        key = HKDF(SHA256(), 32, salt=None, info=b"hdg pseudonym v1").derive(project_key)
        # One block, and no two equal ones: a permutation under the key is all that is wanted.
        self._cipher = Cipher(AES(key), ECB())  # noqa: S305
        self._hash = hash_
        self._types = {hash_(name): name for name in sorted(definitions.resource_types())}

    def of(self, type_: str, id_: str) -> str:
        """The pseudonym of a resource's id."""
        block = struct.pack(">qq", self._hash(id_), self._hash(type_))
        return self._cipher.encryptor().update(block).hex()

    def opened(self, text: str) -> tuple[str, int] | None:
        """(type, keyed hash of the id) of a pseudonym of this project; None for any other text."""
        if not _FORM.match(text):
            return None
        id_hash, type_hash = struct.unpack(">qq", self._cipher.decryptor().update(bytes.fromhex(text)))
        name = self._types.get(type_hash)
        return None if name is None else (name, id_hash)
