"""Sealing and content-addressed keeping of everything that may hold patient data.

DESIGN §6. NIST SP 800-38D (AES-GCM), RFC 5869 (HKDF), multiformats CIDv1
(https://github.com/multiformats/cid).

Each object has a data key (DEK) of its own; the DEK is wrapped by its owner's key (KEK: one per patient, one
per institution for what belongs to no patient); KEKs are wrapped by the gateway's root key. Destroying a
patient's KEK makes all of it unreadable at once. The authenticated data binds each ciphertext to its place
(type, id, version), so that a ciphertext moved to another row does not open.

Objects are addressed by the CID of their *ciphertext*. The CID of a plaintext would be a public fingerprint
of the content: whoever guesses a message could confirm it, and equal messages of different patients would
show as equal. The ciphertext's CID still lets anyone check stored bytes without a key, and erasing stays
possible.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hdg.errors import VaultError
from hdg.folders import sync_folder

__all__ = [
    "BlobFiles",
    "KekCache",
    "OwnerKeys",
    "Randomness",
    "cid_of",
    "derive",
    "joined",
    "make_owner_keys",
    "open_sealed",
    "seal",
    "seal_together",
]

_NONCE_BYTES = 12
_DEK_BYTES = 32
_FORMAT = b"\x01"
_WRAPPED_BYTES = _DEK_BYTES + 16
_HEAD_BYTES = 1 + _NONCE_BYTES
_BODY_AT = _HEAD_BYTES + _WRAPPED_BYTES


def derive(root: bytes, purpose: str, length: int = 32) -> bytes:
    """A key for one purpose from the root key (HKDF-SHA-256)."""
    return HKDF(SHA256(), length, salt=None, info=purpose.encode()).derive(root)


class Randomness:
    """Random bytes from the system, asked for in large pieces. For one thread."""

    _PIECE_BYTES = 8192

    def __init__(self) -> None:
        self._piece, self._at = b"", 0

    def take(self, count: int) -> bytes:
        """``count`` bytes (at most a few hundred), never given twice."""
        end = self._at + count
        if end > len(self._piece):
            self._piece, self._at, end = os.urandom(self._PIECE_BYTES), 0, count
        found = self._piece[self._at : end]
        self._at = end
        return found


def seal(
    kek: AESGCM, plain: bytes, binding: bytes, random: Callable[[int], bytes] = secrets.token_bytes
) -> bytes:
    """format(1) | nonce(12) | wrapped DEK(48) | ciphertext and tag.

    One random nonce serves both layers: the DEK is used once, and under the KEK the nonce is random.
    """
    dek = random(_DEK_BYTES + _NONCE_BYTES)
    nonce = dek[_DEK_BYTES:]
    dek = dek[:_DEK_BYTES]
    return b"".join(
        (_FORMAT, nonce, kek.encrypt(nonce, dek, binding), AESGCM(dek).encrypt(nonce, plain, binding))
    )


def seal_together(
    keks: Sequence[AESGCM], plain: bytes, binding: bytes, random: Callable[[int], bytes]
) -> tuple[bytes, list[bytes]]:
    """One object for several owners: (what they share, each owner's wrapped DEK).

    ``joined`` makes of both what ``seal`` would have made for that owner. The nonce is random, and each KEK uses
    it once: the owners must differ.
    """
    drawn = random(_DEK_BYTES + _NONCE_BYTES)
    dek, nonce = drawn[:_DEK_BYTES], drawn[_DEK_BYTES:]
    shared = _FORMAT + nonce + AESGCM(dek).encrypt(nonce, plain, binding)
    return shared, [kek.encrypt(nonce, dek, binding) for kek in keks]


def joined(shared: bytes, wrapped: bytes) -> bytes:
    """An object of several owners as one of them has it, for ``open_sealed``."""
    return b"".join((shared[:_HEAD_BYTES], wrapped, shared[_HEAD_BYTES:]))


def open_sealed(kek: AESGCM, sealed: Any, binding: bytes) -> bytes:
    """The plaintext. Raises VaultError: wrong key, damaged bytes, or bytes from another place.

    ``sealed``: bytes, as a database gives them; where it is damaged it may give something else.
    """
    if sealed[:1] != _FORMAT or len(sealed) < _BODY_AT:
        raise VaultError("a sealed object has an unknown format or is cut short")
    nonce = sealed[1:_HEAD_BYTES]
    try:
        dek = kek.decrypt(nonce, sealed[_HEAD_BYTES:_BODY_AT], binding)
        return AESGCM(dek).decrypt(nonce, sealed[_BODY_AT:], binding)
    except InvalidTag:
        raise VaultError("a sealed object does not open: wrong key, damaged, or moved") from None


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """New keys of a patient or an institution, as stored (schema.OwnerKey), and the open KEK."""

    kind: str
    owner: str
    code: str
    wrapped_kek: bytes = field(repr=False)
    public_key: bytes
    wrapped_private_key: bytes = field(repr=False)
    kek: AESGCM = field(repr=False)


def make_owner_keys(root: AESGCM, kind: str, owner: str) -> OwnerKeys:
    """A random code (26 characters, 128 bits), a KEK and an Ed25519 key pair, wrapped by the root key."""
    code = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
    kek = secrets.token_bytes(32)
    private = Ed25519PrivateKey.generate()
    return OwnerKeys(
        kind,
        owner,
        code,
        _wrap(root, kek, b"kek/" + code.encode()),
        private.public_key().public_bytes_raw(),
        _wrap(root, private.private_bytes_raw(), b"private/" + code.encode()),
        AESGCM(kek),
    )


def _wrap(root: AESGCM, secret: bytes, binding: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + root.encrypt(nonce, secret, binding)


def unwrap(root: AESGCM, wrapped: bytes, binding: bytes) -> bytes:
    """Raises VaultError when the root key is not the one that wrapped it."""
    try:
        return root.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], binding)
    except (InvalidTag, ValueError):
        raise VaultError("an owner's key does not open with this root key") from None


class KekCache:
    """Open KEKs by owner code, the least recently used dropped first. Thread-safe."""

    def __init__(self, root: bytes, limit: int = 16_384) -> None:
        self._root = AESGCM(root)
        self._limit = limit
        self._lock = Lock()
        self._open: OrderedDict[str, AESGCM] = OrderedDict()

    @property
    def root(self) -> AESGCM:
        """The cipher under the root key."""
        return self._root

    def get(self, code: str) -> AESGCM | None:
        """The KEK if it is open already."""
        with self._lock:
            kek = self._open.get(code)
            if kek is not None:
                self._open.move_to_end(code)
            return kek

    def unwrap(self, code: str, wrapped_kek: bytes | None) -> AESGCM:
        """Opens and keeps a KEK. Raises VaultError when it was destroyed or the root key is wrong."""
        if wrapped_kek is None:
            raise VaultError("the owner's key was destroyed")
        kek = AESGCM(unwrap(self._root, wrapped_kek, b"kek/" + code.encode()))
        self.add(code, kek)
        return kek

    def add(self, code: str, kek: AESGCM) -> None:
        """Keeps an open KEK."""
        self.add_all(((code, kek),))

    def add_all(self, found: Iterable[tuple[str, AESGCM]]) -> None:
        """Keeps open KEKs by their owners' codes."""
        with self._lock:
            for code, kek in found:
                self._open[code] = kek
                self._open.move_to_end(code)
            while len(self._open) > self._limit:
                self._open.popitem(last=False)

    def forget(self, code: str) -> None:
        """Drops a KEK (after an erasure)."""
        with self._lock:
            self._open.pop(code, None)


def cid_of(data: bytes) -> str:
    """CIDv1, codec raw (0x55), multihash sha2-256 (0x12 0x20), multibase base32 lower ('b')."""
    digest = hashlib.sha256(data).digest()
    return "b" + base64.b32encode(b"\x01\x55\x12\x20" + digest).decode().rstrip("=").lower()


class BlobFiles:
    """Large sealed objects as files named by their CID, two letters deep. Immutable once written.

    A file is durable (file and folder synced) before the transaction that names it commits. A crash in
    between leaves a file that no row names: harmless, and removed by ``collect``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._synced: set[str] = set()
        """Folders that are known to be in ``folder`` on disk."""

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self._folder

    def path(self, cid: str) -> Path:
        """Where the object lies (or would lie). Raises VaultError for a name that is no CID."""
        if not (cid.isascii() and cid.isalnum() and len(cid) > 8):
            raise VaultError("not a content identifier")
        return self._folder / cid[-2:] / cid

    def put(self, cid: str, sealed: bytes) -> None:
        """Writes, syncs, renames into place, syncs the folders."""
        target = self.path(cid)
        if target.exists():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # parents= alone would use the umask
        target.parent.mkdir(mode=0o700, exist_ok=True)
        part = target.with_name(f"{cid}.part")
        with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        self.adopt(cid, part)

    def adopt(self, cid: str, part: Path) -> None:
        """Gives a synced file of the same file system its name, and syncs the folders. Raises OSError."""
        target = self.path(cid)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        part.rename(target)
        sync_folder(target.parent)
        if target.parent.name not in self._synced:  # another thread may have made it just now
            sync_folder(self._folder)
            self._synced.add(target.parent.name)

    def get(self, cid: str) -> bytes:
        """The sealed bytes. Raises VaultError when they are missing or do not have this CID any more."""
        try:
            sealed = self.path(cid).read_bytes()
        except OSError:
            raise VaultError(f"the vault object {cid} cannot be read") from None
        if cid_of(sealed) != cid:
            raise VaultError(f"the vault object {cid} is damaged")
        return sealed

    def collect(self, named: Callable[[], Iterable[str]], older_than_s: float, now_s: float) -> int:
        """Removes files older than ``older_than_s`` that are not in ``named()``; returns how many.

        The names are asked for after the files were listed: a file that comes meanwhile is safe, whatever the
        clock says.
        """
        paths = list(self._folder.glob("??/*"))
        keep = set(named())
        removed = 0
        for path in paths:
            with suppress(FileNotFoundError):  # another process's retention
                if path.name not in keep and now_s - path.stat().st_mtime > older_than_s:
                    path.unlink()
                    removed += 1
        return removed
