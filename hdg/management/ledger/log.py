"""The append-only log: leaves, tiles and one signed checkpoint per group commit, in the caller's transaction.

RFC 6962 §2.1 tree, C2SP tlog-tiles storage, C2SP tlog-checkpoint heads. The database is the only truth: the
edge kept in memory is used only when the newest stored checkpoint is the one it belongs to, so a rolled-back
transaction, a restart or another process in between costs one reload and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Table, select

from hdg.errors import LedgerError
from hdg.management.ledger import merkle
from hdg.management.ledger.checkpoint import NO_PARENT, Checkpoint, check_name, sign, verifier_key
from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf, LedgerTile

__all__ = ["ENTRY_MAX_BYTES", "HEAD_COLUMNS", "SEQUENCER_LOCK", "Log"]

ENTRY_MAX_BYTES = 65_535
"""An entry bundle of C2SP tlog-tiles writes an entry's length in 16 bits."""

SEQUENCER_LOCK = 0x6864676C6F67
"""PostgreSQL advisory lock: one sequencer at a time across processes."""


_LEAF: Table = LedgerLeaf.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_TILE: Table = LedgerTile.__table__  # type: ignore[attr-defined]
_HEAD: Table = LedgerCheckpoint.__table__  # type: ignore[attr-defined]
HEAD_COLUMNS = tuple(_HEAD.c[name] for name in ("size", "root", "parent", "at_us", "note"))
"""Of the row of a checkpoint, as ``Log.append`` takes it."""

_LEAF_SQL = f"INSERT INTO {_LEAF.name} (leaf_index, entry) VALUES (?, ?)"  # noqa: S608  # our own table
_AT_ONCE = 32
"""Leaves of one SQLite statement: after each statement the writer may have to wait for the GIL."""
_LEAVES_SQL = f"{_LEAF_SQL}{', (?, ?)' * (_AT_ONCE - 1)}"
_LEAVES_ARRAYS = f"INSERT INTO {_LEAF.name} (leaf_index, entry) SELECT * FROM unnest(?::bigint[], ?::bytea[])"  # noqa: S608
_GROW_TILE = f"UPDATE {_TILE.name} SET hashes = ? WHERE level = ? AND position = ?"  # noqa: S608
_NEW_TILE = f"INSERT INTO {_TILE.name} (hashes, level, position) VALUES (?, ?, ?)"  # noqa: S608
_TILE_AT = f"SELECT hashes FROM {_TILE.name} WHERE level = ? AND position = ?"  # noqa: S608
_NEW_HEAD = f"INSERT INTO {_HEAD.name} (size, root, parent, at_us, note) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
_NEWEST_HEAD = f"SELECT size, root, parent, at_us, note FROM {_HEAD.name} ORDER BY size DESC LIMIT 1"  # noqa: S608


class Log:
    """One log. ``append`` belongs to the store's single writer; the other methods may run anywhere."""

    def __init__(self, origin: str, signer: Ed25519PrivateKey) -> None:
        self.origin = check_name(origin)
        self.public_key: bytes = signer.public_key().public_bytes_raw()
        self._signer = signer
        self._edge = merkle.EMPTY_EDGE
        self._head: Checkpoint | None = None

    @property
    def verifier_key(self) -> str:
        """The public key in the text form of C2SP signed-note."""
        return verifier_key(self.origin, self.public_key)

    def append(
        self,
        connection: Connection,
        leaves: Sequence[bytes],
        at_us: int,
        newest: Sequence[Any] | None = None,
    ) -> Checkpoint:
        """Adds leaves in order and the checkpoint that covers them (its ``first_index`` numbers them).

        ``newest``: the newest checkpoint's row (HEAD_COLUMNS), read in this transaction, on PostgreSQL behind
        SEQUENCER_LOCK; None: it is asked for.

        Runs inside the caller's transaction and may be rolled back with it. No leaves: the current
        checkpoint, nothing is written; LedgerError if there is none yet, if a leaf is longer than
        ENTRY_MAX_BYTES, or if stored tiles do not fit the stored checkpoint.
        """
        # A group has hundreds of leaves: Core costs more than the databases here, and waits for each answer.
        if not connection.in_transaction():
            connection.begin()  # as Core would
        cursor: Any = connection.connection.cursor()
        is_postgresql = connection.dialect.name == "postgresql"
        if newest is None and is_postgresql:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (SEQUENCER_LOCK,))
        row = cursor.execute(_NEWEST_HEAD).fetchone() if newest is None else newest
        head = None if row is None else self._checkpoint_of(row)
        if not leaves:
            if head is None:
                raise LedgerError("the log is empty: no checkpoint yet")
            return head
        if max(map(len, leaves)) > ENTRY_MAX_BYTES:
            raise LedgerError("a leaf is too long for an entry bundle")
        mark = "%s" if is_postgresql else "?"
        edge = self._edge_at(cursor, head, mark)
        grown, tiles = merkle.extend(edge, map(merkle.leaf_hash, leaves))
        parent, not_before = (head.digest, head.at_us) if head else (NO_PARENT, at_us)
        made_us = max(at_us, not_before)
        checkpoint = sign(
            self.origin, grown.size, grown.root(), parent, made_us, self._signer, self.public_key
        )
        write = self._write_at_once if is_postgresql else self._write
        write(cursor, edge, leaves, tiles, checkpoint)
        cursor.close()
        self._edge, self._head = grown, checkpoint
        return checkpoint

    def _edge_at(self, cursor: Any, head: Checkpoint | None, mark: str) -> merkle.Edge:
        if head is None:
            return merkle.EMPTY_EDGE
        if self._head is not None and (self._head.size, self._head.note) == (head.size, head.note):
            return self._edge
        sql = _TILE_AT.replace("?", mark)

        def read(level: int, position: int) -> bytes:
            row = cursor.execute(sql, (level, position)).fetchone()
            return _tile(level, position, None if row is None else row[0])

        edge = merkle.edge_of(head.size, read)
        if edge.root() != head.root:
            raise LedgerError("the stored tiles do not make the stored checkpoint's root")
        return edge

    def _write(
        self,
        cursor: Any,
        edge: merkle.Edge,
        leaves: Sequence[bytes],
        tiles: dict[tuple[int, int], bytes],
        checkpoint: Checkpoint,
    ) -> None:
        numbered = list(enumerate(leaves, edge.size))
        whole = len(numbered) - len(numbered) % _AT_ONCE
        for start in range(0, whole, _AT_ONCE):
            cursor.execute(_LEAVES_SQL, list(chain.from_iterable(numbered[start : start + _AT_ONCE])))
        cursor.executemany(_LEAF_SQL, numbered[whole:])
        for sql, row in (*_tile_changes(edge, tiles), (_NEW_HEAD, _head_row(checkpoint))):
            cursor.execute(sql, row)

    def _write_at_once(
        self,
        cursor: Any,
        edge: merkle.Edge,
        leaves: Sequence[bytes],
        tiles: dict[tuple[int, int], bytes],
        checkpoint: Checkpoint,
    ) -> None:
        """One statement, for PostgreSQL: each costs its driver more than the rows do."""
        entries = ",".join([f'"\\\\x{leaf.hex()}"' for leaf in leaves])
        numbers = ",".join(map(str, range(edge.size, edge.size + len(leaves))))
        changes = [(_LEAVES_ARRAYS, (f"{{{numbers}}}", f"{{{entries}}}")), *_tile_changes(edge, tiles)]
        parts = ", ".join([f"w{number} AS ({sql})" for number, (sql, _) in enumerate(changes)])
        row = (*chain.from_iterable([values for _, values in changes]), *_head_row(checkpoint))
        cursor.execute(f"WITH {parts} {_NEW_HEAD}".replace("?", "%s"), row)

    def checkpoint(self, connection: Connection, size: int | None = None) -> Checkpoint | None:
        """The newest checkpoint, or the one of exactly that size; None when there is none."""
        query = select(_HEAD).order_by(_HEAD.c.size.desc()).limit(1)
        row = connection.execute(query if size is None else query.where(_HEAD.c.size == size)).first()
        return None if row is None else self._checkpoint_of(row)

    def _checkpoint_of(self, row: Sequence[Any]) -> Checkpoint:
        size, root, parent, at_us, note = row
        return Checkpoint(self.origin, size, bytes(root), bytes(parent), at_us, note)

    def leaf(self, connection: Connection, index: int) -> bytes:
        """The stored bytes of one leaf. Raises LedgerError when there is none."""
        entry = connection.execute(select(_LEAF.c.entry).where(_LEAF.c.leaf_index == index)).scalar()
        if entry is None:
            raise LedgerError(f"no leaf {index}")
        return bytes(entry)

    def proof(self, connection: Connection, index: int, size: int) -> list[bytes]:
        """Inclusion proof of leaf ``index`` in the tree of ``size`` leaves, sibling of the leaf first (RFC
        6962 §2.1.1).
        """
        if not 0 <= index < size:
            raise LedgerError(f"leaf {index} is not in a tree of {size}")
        return _hashes(connection, merkle.inclusion_ranges(index, size))

    def consistency(self, connection: Connection, old: int, new: int) -> list[bytes]:
        """Consistency proof between the trees of ``old`` and ``new`` leaves (RFC 6962 §2.1.2)."""
        if not 0 <= old <= new:
            raise LedgerError(f"no consistency proof from {old} to {new}")
        return _hashes(connection, merkle.consistency_ranges(old, new))


def _tile_changes(
    edge: merkle.Edge, tiles: dict[tuple[int, int], bytes]
) -> list[tuple[str, tuple[Any, ...]]]:
    """The statements that make the stored tiles these, ``edge`` being what they were before."""
    changes: list[tuple[str, tuple[Any, ...]]] = []
    for (level, position), hashes in sorted(tiles.items()):
        count = edge.size >> (merkle.TILE_HEIGHT * level)
        is_begun = count % merkle.TILE_WIDTH and position == count // merkle.TILE_WIDTH
        changes.append((_GROW_TILE if is_begun else _NEW_TILE, (hashes, level, position)))
    return changes


def _head_row(head: Checkpoint) -> tuple[Any, ...]:
    return head.size, head.root, head.parent, head.at_us, head.note


def _hashes(connection: Connection, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    tiles = _Tiles(connection)
    return [merkle.range_hash(low, high, tiles.read) for low, high in ranges]


class _Tiles:
    """Reads tiles, each at most once; lives for one call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, position: int) -> bytes:
        key = (level, position)
        if key not in self._seen:
            query = select(_TILE.c.hashes).where(_TILE.c.level == level, _TILE.c.position == position)
            hashes = self._connection.execute(query).scalar()
            self._seen[key] = _tile(level, position, hashes)
        return self._seen[key]


def _tile(level: int, position: int, hashes: bytes | None) -> bytes:
    if hashes is None:
        raise LedgerError(f"the tile {merkle.tile_path(level, position)} is missing")
    return bytes(hashes)
