"""Signed checkpoints of the log, and their presentation as block headers.

The note text is a tlog-checkpoint (https://c2sp.org/tlog-checkpoint): origin, size, base64 root. It carries
two signature lines of the log's Ed25519 key: the plain one of https://c2sp.org/signed-note (type 0x01), which
any third-party tool verifies, and a timestamped one of https://c2sp.org/tlog-cosignature (type 0x04), which
binds the time. Verifiers ignore lines whose key id they do not know, and notaries append theirs later.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hdg.errors import LedgerError

__all__ = [
    "NO_PARENT",
    "Block",
    "Checkpoint",
    "block_view",
    "key_id",
    "parse",
    "sign",
    "verifier_key",
    "verify_note",
]

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
NO_PARENT = bytes(32)

_DASH = "\u2014 "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: ``size`` leaves, 32-byte ``root``; ``parent``: SHA-256 of the previous note."""

    origin: str
    size: int
    root: bytes
    parent: bytes
    at_us: int
    note: str

    def first_index(self, count: int) -> int:
        """Index of the first of the ``count`` leaves that this checkpoint added."""
        return self.size - count

    @property
    def digest(self) -> bytes:
        """What the next checkpoint's ``parent`` must be."""
        return hashlib.sha256(self.note.encode()).digest()


@dataclass(frozen=True, slots=True)
class Block:
    """A checkpoint as a block header; a quorum of ``signatures`` stands where others have nonce and nBits."""

    version: int
    height: int
    parent_hash: str
    merkle_root: str
    timestamp_us: int
    issuer: str
    signatures: tuple[str, ...]


def key_id(name: str, public_key: bytes, kind: int = ED25519) -> bytes:
    """SHA-256(name, newline, type byte, key) cut to 4 bytes (C2SP signed-note, Signatures)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes((kind,)) + public_key).digest()[:4]


def verifier_key(name: str, public_key: bytes) -> str:
    """The key in the text form that note tools take: name, hex key id, base64 of type byte and key."""
    encoded = base64.b64encode(bytes((ED25519,)) + public_key).decode()
    return f"{name}+{key_id(name, public_key).hex()}+{encoded}"


def check_name(name: str) -> str:
    """``name`` if it can be an origin and a key name, else LedgerError (C2SP signed-note, Format)."""
    if not name or "+" in name or any(char.isspace() or ord(char) < 0x20 for char in name):
        raise LedgerError("the log's origin must be non-empty, without spaces and without '+'")
    return name


def _line(name: str, identifier: bytes, signature: bytes) -> str:
    return f"{_DASH}{name} {base64.b64encode(identifier + signature).decode()}\n"


def sign(
    origin: str,
    size: int,
    root: bytes,
    parent: bytes,
    at_us: int,
    signer: Ed25519PrivateKey,
    public: bytes = b"",
) -> Checkpoint:
    """A checkpoint with both signature lines; the signed time is ``at_us`` cut to whole seconds.

    ``public``: the signer's public key, where it is known; to make it costs as much as a signature.
    """
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    public = public or signer.public_key().public_bytes_raw()
    seconds = at_us // 1_000_000
    timed = signer.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
    lines = _line(origin, key_id(origin, public), signer.sign(text.encode()))
    lines += _line(origin, key_id(origin, public, COSIGNATURE_V1), seconds.to_bytes(8, "big") + timed)
    return Checkpoint(origin, size, root, parent, at_us, f"{text}\n{lines}")


def parse(note: str) -> tuple[str, int, bytes, list[tuple[str, bytes, bytes]]]:
    """(origin, size, root, [(key name, key id, signature)]) of a note. Raises LedgerError on other forms."""
    text, blank, tail = note.rpartition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) < 3 or not note.endswith("\n"):
        raise LedgerError("not a checkpoint note")
    origin, size, root = lines[:3]
    try:
        raw_root = base64.b64decode(root, validate=True)
        signatures = [_signature(line) for line in tail.rstrip("\n").split("\n")]
    except (binascii.Error, ValueError) as error:
        raise LedgerError("not a checkpoint note") from error
    if not (size.isascii() and size.isdigit()) or str(int(size)) != size or len(raw_root) != 32:
        raise LedgerError("not a checkpoint note")
    return origin, int(size), raw_root, signatures


def _signature(line: str) -> tuple[str, bytes, bytes]:
    dash, name, encoded = line.split(" ")
    raw = base64.b64decode(encoded, validate=True)
    if dash != _DASH.strip() or not name or len(raw) < 5:
        raise ValueError("signature line")
    return name, raw[:4], raw[4:]


def verify_note(note: str, origin: str, public_key: bytes) -> tuple[int, bytes]:
    """(size, root) of a note of this origin, signed by this key. Raises LedgerError when it is not."""
    name, size, root, signatures = parse(note)
    text = note.rpartition("\n\n")[0] + "\n"
    identifier = key_id(origin, public_key)
    matching = [signature for key, found, signature in signatures if (key, found) == (origin, identifier)]
    if name != origin or not matching:
        raise LedgerError("the checkpoint is not signed by this log")
    try:
        for signature in matching:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text.encode())
    except InvalidSignature as error:
        raise LedgerError("the checkpoint's signature is wrong") from error
    return size, root


def block_view(checkpoint: Checkpoint, cosigners: Sequence[str] = ()) -> Block:
    """A checkpoint as a block header. ``height``: tree size; ``cosigners``: signers shown (none: all)."""
    signatures = [
        f"{name} {(identifier + signature).hex()}"
        for name, identifier, signature in parse(checkpoint.note)[3]
        if not cosigners or name in cosigners
    ]
    return Block(
        version=1,
        height=checkpoint.size,
        parent_hash=checkpoint.parent.hex(),
        merkle_root=checkpoint.root.hex(),
        timestamp_us=checkpoint.at_us,
        issuer=checkpoint.origin,
        signatures=tuple(signatures),
    )
