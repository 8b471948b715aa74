"""What the connections of all MLLP listeners may hold of messages that are not answered yet.

HL7 Transport Specification: MLLP, Release 1 has no flow control of its own, so it is TCP's: over the limit,
connections are not read. Connections that hold little are always read, so that ordinary messages pass while
large ones wait; of the large ones the one that waits longest is read on, so that there is always one that
ends. Memory is bounded by the limit, SMALL_BYTES and one read a connection, and one message of the largest
size.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["LIMIT_BYTES", "READ_BYTES", "SMALL_BYTES", "Budget", "Holder"]

LIMIT_BYTES = 256 * 1024 * 1024
SMALL_BYTES = 64 * 1024
"""A connection that holds no more is not counted."""
READ_BYTES = 256 * 1024
"""What one read may bring (asyncio's and uvloop's buffer)."""


class Holder(Protocol):
    """A connection."""

    def wait_for_room(self) -> None:
        """Stop reading."""

    def go_on(self) -> None:
        """Read again."""


class Budget:
    """One for all connections of an event loop. Connections say what they hold; it says who waits."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        """Over all connections that hold more than SMALL_BYTES."""
        self._held: dict[Holder, int] = {}  # who has held much for longest comes first
        self._waiting: set[Holder] = set()

    def hold(self, holder: Holder, size_bytes: int) -> None:
        """``holder`` has ``size_bytes`` now."""
        before = self._held.get(holder, 0)
        if size_bytes <= SMALL_BYTES:
            if not before:
                return
            size_bytes = 0
            del self._held[holder]
        else:
            self._held[holder] = size_bytes
        self.held_bytes += size_bytes - before
        if size_bytes > before:
            if self.held_bytes > self.limit_bytes and holder is not next(iter(self._held)):
                self._waiting.add(holder)
                holder.wait_for_room()
        elif self._waiting:
            self._let_go_on()

    def _let_go_on(self) -> None:
        """As many as there is room for, and always whoever waits longest."""
        gone = [holder for holder in self._waiting if holder not in self._held]
        reads = (self.limit_bytes - self.held_bytes) // READ_BYTES
        first = next(iter(self._held), None)
        ready = [holder for holder in self._held if holder in self._waiting]
        for number, holder in enumerate(ready):
            if number < reads or holder is first:
                gone.append(holder)
        self._waiting.difference_update(gone)
        for holder in gone:
            holder.go_on()
