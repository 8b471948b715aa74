"""The Merkle tree of RFC 6962 §2.1 against the vectors of Certificate Transparency and against the RFC's
recursion.
"""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdg.management.ledger import merkle
from hdg.management.ledger.proof import is_consistent, is_included

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1, word for word."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: list[bytes], is_whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 §2.1.2, word for word."""
    if m == len(entries):
        return [] if is_whole else [mth(entries)]
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m <= k:
        return [*subproof(m, entries[:k], is_whole), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


class Tiles:
    """Stored tiles; a grown tile must start with what it was."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], bytes] = {}

    def add(self, changed: dict[tuple[int, int], bytes]) -> None:
        for key, content in changed.items():
            assert content.startswith(self.rows.get(key, b""))
            self.rows[key] = content

    def read(self, level: int, position: int) -> bytes:
        return self.rows[level, position]


def grown(entries: list[bytes], batches: list[int]) -> tuple[merkle.Edge, Tiles]:
    edge, tiles, at = merkle.EMPTY_EDGE, Tiles(), 0
    for count in [*batches, len(entries)]:
        edge, changed = merkle.extend(edge, map(merkle.leaf_hash, entries[at : at + count]))
        tiles.add(changed)
        at += count
    assert edge.size == len(entries)
    return edge, tiles


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_certificate_transparency_vectors(size: int) -> None:
    edge, _ = grown(LEAVES[:size], [])
    assert edge.root().hex() == ROOTS[size]
    assert mth(LEAVES[:size]).hex() == ROOTS[size]


def test_every_proof_of_a_small_tree_is_the_one_of_the_rfc() -> None:
    entries = [bytes([number]) for number in range(21)]
    _, tiles = grown(entries, [])
    for size in range(1, 22):
        for index in range(size):
            ranges = merkle.inclusion_ranges(index, size)
            assert [merkle.range_hash(*pair, tiles.read) for pair in ranges] == path(index, entries[:size])
        for old in range(1, size + 1):
            ranges = merkle.consistency_ranges(old, size)
            expected = subproof(old, entries[:size], True)
            assert [merkle.range_hash(*pair, tiles.read) for pair in ranges] == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=4), st.integers(1, 700), st.data())
def test_any_batching_gives_the_same_tree_and_proofs_that_verify(
    batches: list[int], size: int, data: st.DataObject
) -> None:
    entries = [number.to_bytes(2, "big") for number in range(size)]
    edge, tiles = grown(entries, batches)
    assert edge.root() == mth(entries)
    assert merkle.edge_of(size, tiles.read) == edge
    older = data.draw(st.integers(1, size))
    index = data.draw(st.integers(0, older - 1))
    old_root = mth(entries[:older])
    proof = [merkle.range_hash(*pair, tiles.read) for pair in merkle.inclusion_ranges(index, older)]
    assert is_included(entries[index], index, older, proof, old_root)
    steps = [merkle.range_hash(*pair, tiles.read) for pair in merkle.consistency_ranges(older, size)]
    assert is_consistent(older, old_root, size, edge.root(), steps)


def test_a_proof_for_another_leaf_index_root_or_path_is_refused() -> None:
    entries = [bytes([number]) for number in range(13)]
    root, proof = mth(entries), path(5, entries)
    assert is_included(entries[5], 5, 13, proof, root)
    assert not is_included(entries[4], 5, 13, proof, root)
    assert not is_included(entries[5], 4, 13, proof, root)
    assert not is_included(entries[5], 5, 13, proof[:-1], root)
    assert not is_included(entries[5], 5, 13, [*proof, root], root)
    assert not is_included(entries[5], 5, 13, proof, mth(entries[:12]))
    assert not is_included(entries[5], 13, 13, proof, root)


def test_a_consistency_proof_between_forked_trees_is_refused() -> None:
    entries = [bytes([number]) for number in range(13)]
    proof = subproof(6, entries, True)
    assert is_consistent(6, mth(entries[:6]), 13, mth(entries), proof)
    assert not is_consistent(6, mth([*entries[:5], b"x"]), 13, mth(entries), proof)
    assert not is_consistent(6, mth(entries[:6]), 13, mth([*entries[:12], b"x"]), proof)
    assert not is_consistent(6, mth(entries[:6]), 13, mth(entries), proof[1:])
    assert not is_consistent(7, mth(entries[:6]), 13, mth(entries), proof)
    assert is_consistent(0, merkle.EMPTY_ROOT, 13, mth(entries), [])
    assert not is_consistent(14, mth(entries), 13, mth(entries), [])


def test_tile_paths_are_those_of_tlog_tiles() -> None:
    assert merkle.tile_path(0, 0) == "tile/0/000"
    assert merkle.tile_path(1, 1234067) == "tile/1/x001/x234/067"
    assert merkle.tile_path("entries", 5, 7) == "tile/entries/005.p/7"
