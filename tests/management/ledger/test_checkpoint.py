"""Checkpoints: C2SP signed-note and tlog-checkpoint."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hdg.errors import LedgerError
from hdg.management.ledger.checkpoint import (
    NO_PARENT,
    block_view,
    key_id,
    parse,
    sign,
    verifier_key,
    verify_note,
)
from hdg.management.ledger.leaf import Leaf, commit, decode

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SIGNER.public_key().public_bytes_raw()
ROOT = hashlib.sha256(b"root").digest()


def test_the_key_id_is_that_of_a_published_verifier_key() -> None:
    # The key of the example in the documentation of Go's note package.
    published = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    material = base64.b64decode(published.split("+", 2)[2])
    assert material[0] == 1
    assert key_id("PeterNeumann", material[1:]).hex() == "c74f20a3"
    assert verifier_key("PeterNeumann", material[1:]) == published


def test_a_checkpoint_is_three_lines_a_blank_one_and_the_log_s_signatures() -> None:
    checkpoint = sign("example.org/log", 5, ROOT, NO_PARENT, 1_700_000_000_999_999, SIGNER)
    text, signatures = checkpoint.note.split("\n\n")
    assert text == f"example.org/log\n5\n{base64.b64encode(ROOT).decode()}"
    plain, timed = signatures.splitlines()
    assert plain.startswith("\u2014 example.org/log ")
    raw = base64.b64decode(plain.split(" ")[2])
    assert raw[:4] == hashlib.sha256(b"example.org/log\n\x01" + PUBLIC).digest()[:4]
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(raw[4:], f"{text}\n".encode())
    raw = base64.b64decode(timed.split(" ")[2])
    assert raw[:4] == hashlib.sha256(b"example.org/log\n\x04" + PUBLIC).digest()[:4]
    assert int.from_bytes(raw[4:12], "big") == 1_700_000_000
    message = f"cosignature/v1\ntime 1700000000\n{text}\n".encode()
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(raw[12:], message)


def test_a_note_verifies_only_unchanged_and_under_its_own_key_and_origin() -> None:
    note = sign("example.org/log", 5, ROOT, NO_PARENT, 0, SIGNER).note
    assert verify_note(note, "example.org/log", PUBLIC) == (5, ROOT)
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for changed, origin, key in (
        (note.replace("\n5\n", "\n6\n"), "example.org/log", PUBLIC),
        (note, "example.org/other", PUBLIC),
        (note, "example.org/log", stranger),
    ):
        with pytest.raises(LedgerError):
            verify_note(changed, origin, key)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "a\n1\n\n",
        "a\n01\n" + base64.b64encode(ROOT).decode() + "\n\n\u2014 a AAAAAAAA\n",
        "a\n1\nAAAA\n\n\u2014 a AAAAAAAA\n",
        "a\n1\n" + base64.b64encode(ROOT).decode() + "\n\n- a AAAAAAAA\n",
        "a\n1\n" + base64.b64encode(ROOT).decode() + "\n\n\u2014 a !!!!\n",
    ],
)
def test_anything_else_is_not_a_checkpoint(note: str) -> None:
    with pytest.raises(LedgerError):
        parse(note)


def test_the_block_view_shows_header_fields() -> None:
    first = sign("example.org/log", 5, ROOT, NO_PARENT, 7_000_000, SIGNER)
    block = block_view(sign("example.org/log", 9, ROOT, first.digest, 8_000_000, SIGNER))
    assert block.version == 1
    assert block.height == 9
    assert block.parent_hash == hashlib.sha256(first.note.encode()).hexdigest()
    assert block.merkle_root == ROOT.hex()
    assert (block.timestamp_us, block.issuer, len(block.signatures)) == (8_000_000, "example.org/log", 2)


def test_a_leaf_is_canonical_and_reads_back() -> None:
    leaf = Leaf("resource", "code", "Patient/x", 2, "clinic", 5, commit(b"s" * 32, b"body"))
    entry = leaf.encode()
    assert entry == (
        b'{"at_us":5,"commitment":"'
        + leaf.commitment.hex().encode()
        + b'","institution":"clinic","key":"Patient/x",'
        b'"kind":"resource","subject":"code","version":2}'
    )
    assert decode(entry) == leaf
    for wrong in (b"{}", b"[]", b"", entry.replace(b":2", b": 2"), entry.replace(b"resource", b"unheard")):
        with pytest.raises(LedgerError):
            decode(wrong)


def test_the_commitment_is_hmac_sha_256_of_rfc_4231_case_2() -> None:
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert commit(b"Jefe", b"what do ya want for nothing?").hex() == expected
