"""Ledger leaves: one canonical JSON line per event, with no patient value in it (DESIGN §6).

A leaf names a patient only by a random code, and a body only by a salted commitment: HMAC-SHA-256 (RFC 2104)
keyed with 32 random bytes that are kept inside the ciphertext, because a bare hash of a date of birth can be
guessed.

Kinds. ``resource`` and ``consent``: exactly one leaf per stored version, ``consent`` for versions of a
Consent (the version row carries the leaf's index). ``access``: an audit entry, ``key`` names it.
``accesses``: an audit entry that many patients share; ``subject`` has a tag of each (audit_shared.py).
``member``, ``key``, ``erasure`` and ``policy``: changes of institutions, keys, patients' keys and the policy
file. ``object``: an object in the vault that is no resource (a DICOM object; store/imaging.py says what its
commitment is of).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from hdg.errors import LedgerError

__all__ = ["KINDS", "SALT_BYTES", "VERSION_KINDS", "Leaf", "commit", "decode", "encode"]

KINDS = frozenset(
    {"resource", "consent", "access", "member", "key", "erasure", "policy", "object", "accesses"}
)
VERSION_KINDS = frozenset({"resource", "consent"})
SALT_BYTES = 32
_BLOCK_BYTES = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
"""HMAC's two pads (RFC 2104 §2) as translation tables. OpenSSL's HMAC lets go of the GIL for every body, and the
writer would wait for it among busy threads; a plain hash does so for large ones only."""

_FIELDS = ("at_us", "commitment", "institution", "key", "kind", "subject", "version")


def commit(salt: bytes, body: bytes) -> bytes:
    """The 32-byte commitment to ``body`` under ``salt`` (``SALT_BYTES`` random bytes)."""
    key = salt.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(key.translate(_INNER))
    inner.update(body)
    return sha256(key.translate(_OUTER) + inner.digest()).digest()


@dataclass(frozen=True, slots=True)
class Leaf:
    """One event.

    ``subject``: random code of the patient (or of the institution, where no patient is concerned; may be
    empty); ``key``: ``Type/id`` of what changed; ``version``: of a resource, else 0; ``commitment``: 32
    bytes, or empty where there is no body.
    """

    kind: str
    subject: str
    key: str
    version: int
    institution: str
    at_us: int
    commitment: bytes

    def encode(self) -> bytes:
        """The bytes that the tree hashes: JSON, keys sorted, no spaces, commitment in lower-case hex."""
        return encode(
            self.kind,
            self.subject,
            self.key,
            self.version,
            self.institution,
            self.at_us,
            self.commitment,
        )


def encode(
    kind: str, subject: str, key: str, version: int, institution: str, at_us: int, commitment: bytes
) -> bytes:
    """``Leaf.encode`` without a Leaf, for the many that are written and not kept."""
    return orjson.dumps(
        {
            "at_us": at_us,
            "commitment": commitment.hex(),
            "institution": institution,
            "key": key,
            "kind": kind,
            "subject": subject,
            "version": version,
        }
    )


def decode(entry: bytes) -> Leaf:
    """The inverse of ``Leaf.encode``. Raises LedgerError for any bytes that ``encode`` does not make."""
    try:
        fields: Any = orjson.loads(entry)
        leaf = Leaf(
            kind=fields["kind"],
            subject=fields["subject"],
            key=fields["key"],
            version=fields["version"],
            institution=fields["institution"],
            at_us=fields["at_us"],
            commitment=bytes.fromhex(fields["commitment"]),
        )
        is_canonical = tuple(fields) == _FIELDS and leaf.encode() == entry
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError("a leaf is not in canonical form") from error
    if not is_canonical or leaf.kind not in KINDS:
        raise LedgerError("a leaf is not in canonical form")
    return leaf
