"""The gateway's own keys: made on first start, one file each, readable by the owner only.

DESIGN §6. RFC 8032 (Ed25519). The root key wraps every patient's key; whoever has the folder has the data, so
it is backed up apart from the database.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hdg.errors import SettingsError
from hdg.folders import sync_folder
from hdg.management.locks import exclusive

__all__ = ["KeyRing"]

KEY_BYTES = 32
_NAMES = ("root.key", "id.key", "token.key", "ledger.key", "operator.key")
_NEW = ".new"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All secret keys of one gateway. ``repr`` shows none of them.

    ``root``: 32 bytes, wraps owner keys. ``id_key``: 32 bytes, HMAC key of resource ids. ``token_key``: signs
    access tokens. ``ledger_key``: signs checkpoints. ``operator_credential``: what a local operator shows to
    get a token.
    """

    root: bytes = field(repr=False)
    id_key: bytes = field(repr=False)
    token_key: Ed25519PrivateKey = field(repr=False)
    ledger_key: Ed25519PrivateKey = field(repr=False)
    operator_credential: str = field(repr=False)

    def project_key(self, project: str) -> bytes:
        """32 bytes that are a research project's own: of no other project, and nothing tells the root key."""
        info = b"hdg research project v1\0" + project.encode()
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(self.root)

    @classmethod
    def open(cls, folder: Path) -> KeyRing:
        """The keys in ``folder``; makes all of them when the folder holds none yet.

        Raises SettingsError when some but not all are there, when one has the wrong length, or when others
        than the owner may read it: a lost key must never be replaced silently.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(folder):
            _make(folder)
        found = {name: _read(folder / name) for name in _NAMES}
        return cls.of_bytes(*(found[name] for name in _NAMES))

    @classmethod
    def of_bytes(cls, root: bytes, id_key: bytes, token: bytes, ledger: bytes, operator: bytes) -> KeyRing:
        """A ring of five 32-byte secrets."""
        return cls(
            root,
            id_key,
            Ed25519PrivateKey.from_private_bytes(token),
            Ed25519PrivateKey.from_private_bytes(ledger),
            operator.hex(),
        )


def _make(folder: Path) -> None:
    """Makes what a new folder lacks: all keys are written aside before the first gets its name.

    So a start that is killed in between leaves either none in place, or the others beside it to be named.
    """
    missing = [name for name in _NAMES if not (folder / name).exists()]
    if len(missing) == len(_NAMES):
        for name in _NAMES:
            (folder / (name + _NEW)).unlink(missing_ok=True)
            _write(folder / (name + _NEW), secrets.token_bytes(KEY_BYTES))
        sync_folder(folder)
    if lost := [name for name in missing if not (folder / (name + _NEW)).exists()]:
        raise SettingsError(f"the key folder lacks {', '.join(lost)}; restore it from the backup of the keys")
    for name in missing:
        (folder / (name + _NEW)).rename(folder / name)
    if missing:
        sync_folder(folder)


def _write(path: Path, secret: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secret.hex().encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise SettingsError(f"{path.name} may be read by others than its owner; chmod 600 it")
    try:
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        raise SettingsError(f"{path.name} is not a key file") from None
    if len(secret) != KEY_BYTES:
        raise SettingsError(f"{path.name} is not a key of {KEY_BYTES} bytes")
    return secret
