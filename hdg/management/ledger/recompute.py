"""The verifier's own reading of the log: leaves to tree, tree to signed checkpoints. Shares no code with the
log.

RFC 6962 §2.1 (tree), C2SP signed-note and tlog-cosignature (signatures), C2SP tlog-tiles (level 0 tiles:
recorded leaf hashes, used to tell which leaf was changed). Reads pages of fixed size; memory does not grow
but for one bit a leaf.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, FromClause, select

from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf, LedgerTile

__all__ = ["Finding", "Findings", "Head", "Trust", "lenient", "recompute", "stored"]

PAGE = 1_024
_WIDTH = 256

_LEAF: FromClause = LedgerLeaf.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_TILE: FromClause = LedgerTile.__table__  # type: ignore[attr-defined]
_HEAD: FromClause = LedgerCheckpoint.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not verify: a code, the place, and what is wrong there; never a patient's value."""

    code: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} at {self.place}: {self.text}"


@dataclass(slots=True)
class Findings:
    """Collects findings, the first ``limit`` of them; ``total`` counts all."""

    limit: int
    total: int = 0
    kept: list[Finding] = field(default_factory=list)

    def add(self, code: str, place: str, text: str) -> None:
        """Records one finding."""
        self.total += 1
        if len(self.kept) < self.limit:
            shown = place.encode(
                "utf-8", "backslashreplace"
            ).decode()  # of what was tampered with, be it no text
            self.kept.append(Finding(code, shown, text))


@dataclass(frozen=True, slots=True)
class Trust:
    """What the verifier believes beforehand: the log's origin and raw Ed25519 public key (32 bytes)."""

    origin: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """A stored checkpoint. ``is_sound``: its note is well-formed and signed, and says what its row says."""

    size: int
    root: bytes
    parent: bytes
    at_us: int
    note: str
    is_sound: bool


class _Tree:
    """Roots of the complete subtrees of a growing tree, largest first."""

    def __init__(self, size: int = 0, peaks: tuple[bytes, ...] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    def add(self, leaf: bytes) -> None:
        """Appends a leaf hash."""
        rest = self.size
        while rest % 2:
            leaf = hashlib.sha256(b"\x01" + self._peaks.pop() + leaf).digest()
            rest //= 2
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root hash over all leaves so far."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        *others, total = self._peaks
        for peak in reversed(others):
            total = hashlib.sha256(b"\x01" + peak + total).digest()
        return total

    def copy(self) -> _Tree:
        """An independent tree of the same leaves."""
        return _Tree(self.size, tuple(self._peaks))


def stored(value: Any) -> bytes:
    """The bytes of a column; also where somebody has put a text there, as SQLite lets them; b'' for anything else."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


@contextmanager
def lenient(connection: Connection) -> Iterator[None]:
    """Reads texts that are no UTF-8 too, so that what was tampered with is named and no failure (SQLite)."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    held, driver.text_factory = driver.text_factory, lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = held


def heads(connection: Connection, trust: Trust, findings: Findings) -> Iterator[Head]:
    """All checkpoints by size, each checked on its own and against the one before it."""
    after, parent, at_us = 0, bytes(32), None
    while True:
        query = select(_HEAD).where(_HEAD.c.size > after).order_by(_HEAD.c.size).limit(PAGE)
        rows = connection.execute(query).all()
        if not rows:
            return
        for row in rows:
            place = f"checkpoint {row.size}"
            problem = _note_problem(row, trust)
            if problem:
                findings.add("checkpoint-changed", place, problem)
            if stored(row.parent) != parent:
                findings.add(
                    "checkpoint-chain", place, "its parent hash is not that of the checkpoint before it"
                )
            if at_us is not None and row.at_us < at_us:
                findings.add("checkpoint-time", place, "it is older than the checkpoint before it")
            after, at_us = row.size, row.at_us
            parent = hashlib.sha256(stored(row.note)).digest()
            yield Head(row.size, stored(row.root), stored(row.parent), row.at_us, row.note, not problem)


def _note_problem(row: Any, trust: Trust) -> str:
    """What is wrong with a checkpoint row by itself; '' if nothing."""
    text, _, tail = row.note.rpartition("\n\n")
    text += "\n"
    if text != f"{trust.origin}\n{row.size}\n{base64.b64encode(stored(row.root)).decode()}\n":
        return "its note does not say what its row says, or is of another log"
    expected = {1: None, 4: row.at_us // 1_000_000}
    for kind, seconds in expected.items():
        signature = _signature(tail, trust, kind)
        if signature is None:
            return "it is not signed by the log's key"
        message = text
        if seconds is not None:
            if int.from_bytes(signature[:8], "big") != seconds:
                return "its signed time is not the recorded one"
            message, signature = f"cosignature/v1\ntime {seconds}\n{text}", signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(trust.public_key).verify(signature, message.encode())
        except InvalidSignature:
            return "its signature is wrong"
    return ""


def _signature(tail: str, trust: Trust, kind: int) -> bytes | None:
    """The signature by the log's key of one type (C2SP signed-note, Signatures); None if there is none."""
    material = trust.origin.encode() + b"\n" + bytes((kind,)) + trust.public_key
    wanted = hashlib.sha256(material).digest()[:4]
    for line in tail.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        if (dash, name, raw[:4]) == ("\u2014", trust.origin, wanted):
            return raw[4:]
    return None


def _leaves(connection: Connection, size: int) -> Iterator[bytes | None]:
    """The stored bytes of leaves 0 to size - 1; None for one that is not there."""
    for start in range(0, size, PAGE):
        end = min(start + PAGE, size)
        query = select(_LEAF).where(_LEAF.c.leaf_index >= start, _LEAF.c.leaf_index < end)
        page = {row.leaf_index: stored(row.entry) for row in connection.execute(query)}
        for index in range(start, end):
            yield page.get(index)


def _recorded(connection: Connection, size: int) -> Iterator[bytes | None]:
    """The leaf hashes that the level 0 tiles record; None for one that is not there."""
    for position in range((size + _WIDTH - 1) // _WIDTH):
        query = select(_TILE.c.hashes).where(_TILE.c.level == 0, _TILE.c.position == position)
        tile = stored(connection.execute(query).scalar() or b"")
        for at in range(min(_WIDTH, size - position * _WIDTH)):
            yield bytes(tile[at * 32 : at * 32 + 32]) if len(tile) >= at * 32 + 32 else None


class _Replay:
    """Rebuilds the tree from the leaves' bytes, and beside it from recorded hashes once they differ."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._tree = _Tree()
        self._other: _Tree | None = None
        self._doubtful: list[int] = []
        self._is_off = False

    def add(self, index: int, entry: bytes | None, recorded: bytes | None) -> None:
        """Takes one leaf and its recorded hash."""
        found = None if entry is None else hashlib.sha256(b"\x00" + entry).digest()
        if found is None:
            self._findings.add("leaf-missing", f"leaf {index}", "the log has no bytes for it")
        elif recorded != found:
            self._doubtful.append(index)
            self._other = self._other or self._tree.copy()
        self._tree.add(found or recorded or bytes(32))
        if self._other is not None:
            self._other.add(recorded or found or bytes(32))

    def check(self, head: Head) -> None:
        """Compares with a checkpoint of this many leaves; says which leaves or tiles are to blame."""
        if self._tree.root() == head.root:
            self._settle(
                "tile-changed", "its recorded hash is not that of its bytes, and its bytes are right"
            )
            self._is_off = False
        elif self._other is not None and self._other.root() == head.root:
            self._tree = self._other
            self._settle("leaf-changed", "its bytes do not have the hash that the signed checkpoint covers")
            self._is_off = False
        else:
            self._settle("leaf-changed", "its bytes do not have its recorded hash")
            if not self._is_off:
                text = "the leaves do not make its root: leaves were changed, dropped or put in another order"
                self._findings.add("checkpoint-root", f"checkpoint {head.size}", text)
            self._is_off = True

    def _settle(self, code: str, text: str) -> None:
        for index in self._doubtful:
            self._findings.add(code, f"leaf {index}", text)
        self._doubtful.clear()
        self._other = None

    def root(self) -> bytes:
        """The root over everything so far."""
        return self._tree.root()


def recompute(
    connection: Connection,
    trust: Trust,
    findings: Findings,
    see: Callable[[int, bytes | None], None],
    *,
    known: str | None = None,
) -> Head | None:
    """Replays the whole log; calls ``see(index, entry)`` for every leaf; returns the newest checkpoint.

    ``known``: a checkpoint note seen earlier and kept elsewhere, which the log must still contain as a
    prefix: the only way to notice that the log's end was cut off together with its checkpoints.
    """
    last = None
    size = connection.execute(select(_HEAD.c.size).order_by(_HEAD.c.size.desc()).limit(1)).scalar() or 0
    seen = _known_size(known, trust, findings)
    replay, found = _Replay(findings), False
    leaves, recorded = _leaves(connection, size), _recorded(connection, size)
    at = 0
    for head in heads(connection, trust, findings):
        if head.size > size:
            break
        for index in range(at, head.size):
            entry = next(leaves)
            see(index, entry)
            replay.add(index, entry, next(recorded))
            if seen is not None and index + 1 == seen[0]:
                found = replay.root() == seen[1]
        at, last = head.size, head
        replay.check(head)
    if seen is not None and not found:
        findings.add(
            "history-rewritten", f"checkpoint {seen[0]}", "the log no longer contains the known checkpoint"
        )
    return last


def _known_size(known: str | None, trust: Trust, findings: Findings) -> tuple[int, bytes] | None:
    """(size, root) of the note kept elsewhere; a finding if the log's key did not sign it."""
    if known is None:
        return None
    text, _, tail = known.rpartition("\n\n")
    signature = _signature(tail, trust, 1)
    try:
        origin, size, root = text.split("\n")[:3]
        Ed25519PublicKey.from_public_bytes(trust.public_key).verify(signature or b"", f"{text}\n".encode())
        if origin == trust.origin:
            return int(size), base64.b64decode(root, validate=True)
    except (ValueError, InvalidSignature):
        pass
    findings.add("known-checkpoint", "known checkpoint", "it is not a checkpoint signed by this log")
    return None
