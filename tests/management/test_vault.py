"""Sealing, owner keys, content addressing and blob files (NIST SP 800-38D, multiformats CID)."""

from __future__ import annotations

import os
import stat
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import VaultError
from hdg.management.vault import (
    BlobFiles,
    KekCache,
    cid_of,
    derive,
    make_owner_keys,
    open_sealed,
    seal,
    unwrap,
)

ROOT = b"r" * 32
KEK = AESGCM(b"k" * 32)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_was_sealed_opens_with_the_same_key_and_place_only(plain, binding) -> None:
    sealed = seal(KEK, plain, binding)
    assert open_sealed(KEK, sealed, binding) == plain
    with pytest.raises(VaultError):
        open_sealed(KEK, sealed, binding + b"x")
    with pytest.raises(VaultError):
        open_sealed(AESGCM(b"x" * 32), sealed, binding)


def test_every_changed_byte_is_noticed() -> None:
    sealed = seal(KEK, b"plain", b"place")
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 0x80
        with pytest.raises(VaultError):
            open_sealed(KEK, bytes(damaged), b"place")
    for length in range(len(sealed)):
        with pytest.raises(VaultError):
            open_sealed(KEK, sealed[:length], b"place")


def test_sealing_twice_gives_unrelated_bytes() -> None:
    assert seal(KEK, b"same", b"") != seal(KEK, b"same", b"")


def test_owner_keys_open_with_the_root_key_only_and_in_their_place_only() -> None:
    root = AESGCM(ROOT)
    keys = make_owner_keys(root, "patient", "p1")
    kek = AESGCM(unwrap(root, keys.wrapped_kek, b"kek/" + keys.code.encode()))
    assert open_sealed(kek, seal(keys.kek, b"x", b""), b"") == b"x"
    private = unwrap(root, keys.wrapped_private_key, b"private/" + keys.code.encode())
    assert Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw() == keys.public_key
    for wrong in (
        lambda: unwrap(AESGCM(b"?" * 32), keys.wrapped_kek, b"kek/" + keys.code.encode()),
        lambda: unwrap(root, keys.wrapped_kek, b"kek/other"),
        lambda: unwrap(root, keys.wrapped_kek, b"private/" + keys.code.encode()),
        lambda: unwrap(root, b"", b"kek/"),
    ):
        with pytest.raises(VaultError):
            wrong()
    assert "wrapped" not in repr(keys)


def test_codes_are_random() -> None:
    root = AESGCM(ROOT)
    codes = {make_owner_keys(root, "patient", "p1").code for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code) == 26 and code.islower() | code.isalnum() for code in codes)


def test_the_kek_cache_is_bounded_and_forgets() -> None:
    cache = KekCache(ROOT, limit=2)
    made = [make_owner_keys(cache.root, "patient", str(n)) for n in range(3)]
    for keys in made:
        cache.unwrap(keys.code, keys.wrapped_kek)
    assert [cache.get(keys.code) is not None for keys in made] == [False, True, True]
    cache.forget(made[2].code)
    assert cache.get(made[2].code) is None
    with pytest.raises(VaultError, match="destroyed"):
        cache.unwrap(made[0].code, None)


def test_derived_keys_differ_by_purpose() -> None:
    assert derive(ROOT, "a") != derive(ROOT, "b")
    assert derive(ROOT, "a") == derive(ROOT, "a")
    assert len(derive(ROOT, "a", 64)) == 64


def test_cid_is_the_published_form() -> None:
    """The CIDv1 (raw, sha2-256) of the empty block, as every IPFS tool prints it."""
    assert cid_of(b"") == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def test_blob_files_are_owner_only_checked_and_written_once(tmp_path) -> None:
    files = BlobFiles(tmp_path)
    cid = cid_of(b"sealed")
    files.put(cid, b"sealed")
    files.put(cid, b"sealed")
    assert files.get(cid) == b"sealed"
    assert stat.S_IMODE(files.path(cid).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.rglob("*.part")] == []
    files.path(cid).write_bytes(b"other")
    with pytest.raises(VaultError, match="damaged"):
        files.get(cid)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a/b", "b" * 8, "bafk..", "é" * 20])
def test_only_identifiers_name_files(tmp_path, name) -> None:
    with pytest.raises(VaultError):
        BlobFiles(tmp_path).path(name)


def test_orphans_are_collected_when_old_enough(tmp_path) -> None:
    files = BlobFiles(tmp_path)
    kept, orphan, young = (cid_of(content) for content in (b"1", b"2", b"3"))
    for cid, content in ((kept, b"1"), (orphan, b"2"), (young, b"3")):
        files.put(cid, content)
    now = time.time()
    for cid in (kept, orphan):
        os.utime(files.path(cid), (now - 7200, now - 7200))
    assert files.collect(lambda: [kept], older_than_s=3600, now_s=now) == 1
    assert [files.path(cid).exists() for cid in (kept, orphan, young)] == [True, False, True]
