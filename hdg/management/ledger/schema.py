"""The ledger's tables: leaves, hash tiles, checkpoints. Rows are only ever added, except the right-most
tiles, which grow.

Geometry of C2SP tlog-tiles (https://c2sp.org/tlog-tiles): the tile (level, position) holds up to 256 hashes
of the tree's level ``8 * level``, left to right, each of a complete subtree. A partial tile's bytes are a
prefix of its later bytes, so a tree of any earlier size reads the same rows.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

__all__ = ["LedgerCheckpoint", "LedgerLeaf", "LedgerTile"]


def _int64(*, primary: bool = False) -> Column[int]:
    """A 64-bit integer; SQLite's clustered key needs the exact type INTEGER."""
    kind = BigInteger().with_variant(Integer(), "sqlite")
    return Column(kind, primary_key=primary, nullable=False, autoincrement=False)


class LedgerLeaf(SQLModel, table=True):
    """``entry``: the exact bytes that the tree hashes (Leaf.encode), at 0-based ``leaf_index``."""

    __tablename__ = "ledger_leaf"
    leaf_index: int = Field(sa_column=_int64(primary=True))
    entry: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class LedgerTile(SQLModel, table=True):
    """``hashes``: 32 bytes each, 1 to 256 of them."""

    __tablename__ = "ledger_tile"
    level: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    position: int = Field(sa_column=_int64(primary=True))
    hashes: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class LedgerCheckpoint(SQLModel, table=True):
    """One row per group commit. ``parent``: SHA-256 of the previous row's ``note`` (first: zeros)."""

    __tablename__ = "ledger_checkpoint"
    size: int = Field(sa_column=_int64(primary=True))
    root: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    parent: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    at_us: int = Field(sa_column=_int64())
    note: str = Field(sa_column=Column(Text, nullable=False))
