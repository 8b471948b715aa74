"""The Merkle tree of RFC 6962 §2.1 and its tiles, as pure functions.

Hash of a leaf: SHA-256(0x00, bytes); of a node: SHA-256(0x01, left, right). Tiles have the geometry of C2SP
tlog-tiles: height 8, so 256 hashes of tree level ``8 * level`` each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "EMPTY_EDGE",
    "EMPTY_ROOT",
    "Edge",
    "consistency_ranges",
    "edge_of",
    "extend",
    "inclusion_ranges",
    "leaf_hash",
    "node_hash",
    "range_hash",
    "tile_path",
]

HASH_BYTES = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
EMPTY_ROOT = hashlib.sha256(b"").digest()

Range = tuple[int, int]
TileKey = tuple[int, int]
ReadTile = Callable[[int, int], bytes]

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 §2.1, the hash of one leaf."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 §2.1, the hash of an inner node."""
    return _sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree, all that appending needs.

    ``peaks``: roots of its maximal complete subtrees, largest first (one per set bit of ``size``);
    ``tails``: per tile level, the bytes of the tile that is not full yet.
    """

    size: int
    peaks: tuple[bytes, ...]
    tails: tuple[bytes, ...]

    def root(self) -> bytes:
        """The tree's root hash."""
        if not self.peaks:
            return EMPTY_ROOT
        total = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            total = node_hash(peak, total)
        return total


EMPTY_EDGE = Edge(0, (), ())


def extend(edge: Edge, hashes: Iterable[bytes]) -> tuple[Edge, dict[TileKey, bytes]]:
    """The edge after appending leaf hashes, and the new bytes of every changed tile (level, position)."""
    size = edge.size
    peaks = list(edge.peaks)
    tails = [bytearray(tail) for tail in edge.tails]
    tiles: dict[TileKey, bytes] = {}
    for value in hashes:
        level, carry = 0, size
        while True:
            if not level & (TILE_HEIGHT - 1):
                _grow(tails, tiles, level // TILE_HEIGHT, size >> level, value)
            if not carry & 1:
                break
            value = _sha256(b"\x01" + peaks.pop() + value).digest()
            carry >>= 1
            level += 1
        peaks.append(value)
        size += 1
    for level, tail in enumerate(tails):
        count = size >> (TILE_HEIGHT * level)
        if tail and count != edge.size >> (TILE_HEIGHT * level):
            tiles[level, count // TILE_WIDTH] = bytes(tail)
    return Edge(size, tuple(peaks), tuple(bytes(tail) for tail in tails)), tiles


def _grow(tails: list[bytearray], tiles: dict[TileKey, bytes], level: int, index: int, value: bytes) -> None:
    if level == len(tails):
        tails.append(bytearray())
    tail = tails[level]
    tail += value
    if len(tail) == TILE_BYTES:
        tiles[level, index // TILE_WIDTH] = bytes(tail)
        tail.clear()


def edge_of(size: int, read: ReadTile) -> Edge:
    """The edge of a stored tree. ``read(level, position)`` gives a tile's bytes, perhaps of a larger tree."""
    tails: list[bytes] = []
    level = 0
    while size >> (TILE_HEIGHT * level):
        width = (size >> (TILE_HEIGHT * level)) % TILE_WIDTH
        position = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH
        tails.append(read(level, position)[: width * HASH_BYTES] if width else b"")
        level += 1
    peaks: list[bytes] = []
    for tail in reversed(tails):
        peaks += _peaks(_split(tail))
    return Edge(size, tuple(peaks), tuple(tails))


def _split(tile: bytes) -> list[bytes]:
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def _peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """Roots of the maximal complete subtrees over a row of sibling hashes, largest first."""
    peaks, start = [], 0
    for bit in range(TILE_HEIGHT - 1, -1, -1):
        if len(hashes) & (1 << bit):
            peaks.append(_complete(hashes[start : start + (1 << bit)]))
            start += 1 << bit
    return peaks


def _complete(hashes: Sequence[bytes]) -> bytes:
    """Root over a power of two of sibling hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def _split_point(count: int) -> int:
    """The largest power of two smaller than ``count`` (k of RFC 6962 §2.1)."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Leaf ranges whose hashes are PATH(index, D[size]), nearest sibling first (RFC 6962 §2.1.1)."""
    low, high, ranges = 0, size, []
    while high - low > 1:
        middle = low + _split_point(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """Leaf ranges whose hashes are PROOF(old, D[new]) (RFC 6962 §2.1.2); none when old is 0 or new."""
    if old in (0, new):
        return []
    low, high, ranges = 0, new, []
    while old != high:
        middle = low + _split_point(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:
        ranges.append((low, high))
    return ranges[::-1]


def range_hash(low: int, high: int, read: ReadTile) -> bytes:
    """Hash of the subtree over leaves [low, high), as the RFC's recursion splits it, from stored tiles."""
    count = high - low
    if count & (count - 1) == 0:
        return _subtree(count.bit_length() - 1, low // count, read)
    middle = low + _split_point(count)
    return node_hash(range_hash(low, middle, read), range_hash(middle, high, read))


def _subtree(level: int, index: int, read: ReadTile) -> bytes:
    """Root of the complete subtree number ``index`` of tree level ``level``."""
    tile_level, rest = divmod(level, TILE_HEIGHT)
    first = index << rest
    position, offset = divmod(first, TILE_WIDTH)
    tile = read(tile_level, position)
    return _complete(_split(tile[offset * HASH_BYTES : (offset + (1 << rest)) * HASH_BYTES]))


def tile_path(level: int | str, position: int, width: int = TILE_WIDTH) -> str:
    """A tile's path below the log's prefix (C2SP tlog-tiles); level ``entries`` for entry bundles."""
    groups = [f"{position % 1000:03d}"]
    while position >= 1000:
        position //= 1000
        groups.append(f"x{position % 1000:03d}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"
