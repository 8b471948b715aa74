"""One sender a destination: a lock that ends with its process, however that ends.

A file lock in the data folder (all processes of this machine), with PostgreSQL an advisory lock as well (all
machines that share the database).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

__all__ = ["LaneLock"]


class LaneLock:
    """Not held at first. For one thread."""

    def __init__(self, folder: Path, engine: Engine, name: str) -> None:
        self._path = folder / f"outbox-{name}.lock"
        self._engine = engine
        key = hashlib.blake2b(f"hdg/outbox/{name}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(key, "big", signed=True)
        self._file: int | None = None
        self._connection: Connection | None = None
        self._is_held = False
        """The advisory lock, by the connection."""

    def hold(self) -> bool:
        """Takes the lock, or makes sure that it is still held; False while another process has it."""
        if self._file is None:
            file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
            if not _lock(file):
                os.close(file)
                return False
            self._file = file
        if self._engine.dialect.name != "postgresql" or self._hold_advisory():
            return True
        self._let_go_of_the_file()
        return False

    def _hold_advisory(self) -> bool:
        """On a connection of its own, which stays for the next time where another has the lock."""
        try:
            if self._connection is None:
                made = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._connection = made
                made.detach()
            if self._is_held:
                self._connection.execute(text("SELECT 1"))
                return True
            query = text("SELECT pg_try_advisory_lock(:key)")
            self._is_held = bool(self._connection.execute(query, {"key": self._key}).scalar())
        except SQLAlchemyError:
            self._hang_up()
        return self._is_held

    def release(self) -> None:
        """Gives it up."""
        self._hang_up()
        self._let_go_of_the_file()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._is_held = False
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):  # it may be lost
                connection.close()

    def _let_go_of_the_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
