"""``hdg serve`` with a fault built in, named by the variable BENCH_FAULT (run by bench.faults, never by hand).

ledger:N     kill -9 within the N-th ledger checkpoint: between two of its rows
commit:N     kill -9 behind the N-th commit, before anybody is told
wal          SQLite checkpoints its log at every commit, so that a kill meets one
slow:MS      every commit takes so much longer
file:BYTES   no file may grow beyond this (RLIMIT_FSIZE): a full disk for those who may mount none
clock:S      the clock is S seconds ahead (behind, when negative)
raise        the converter fails on control ids with RAISE-CONVERT, the store on those with RAISE-STORE and
             the database refuses the rows of those with RAISE-ROW
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from hdg import statements
from hdg.cli import main
from hdg.ingestion.hl7v2.convert import Converter
from hdg.management.ledger.log import Log
from hdg.management.store import engine, groups
from hdg.management.store.session import WriteSession


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Dying:
    """A cursor that is not there for the statement of that number."""

    def __init__(self, cursor: Any, statements: int) -> None:
        self._cursor = cursor
        self._left = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, *arguments: Any) -> Any:
        if self._left == 0:
            _die()
        self._left -= 1
        return self._cursor.execute(*arguments)


def _ledger(number: str) -> None:
    write, count = Log._write, 0

    def dying(self: Log, cursor: Any, *rest: Any) -> None:
        nonlocal count
        count += 1
        is_last = count == int(number)
        write(self, _Dying(cursor, 1 + count % 2) if is_last else cursor, *rest)
        if is_last:
            _die()

    Log._write = dying  # type: ignore[method-assign]  # what this module is for


def _commit(number: str) -> None:
    tell, count = groups.tell, 0

    def dying(jobs: Any) -> None:
        nonlocal count
        count += 1
        if count == int(number):
            _die()
        tell(jobs)

    groups.tell = dying


def _wal(_: str) -> None:
    prepare = engine._prepare_sqlite

    def eager(made: Any, *, is_writer: bool) -> None:
        prepare(made, is_writer=is_writer)

        @event.listens_for(made, "connect")
        def on_connect(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA wal_autocheckpoint = 8")

    engine._prepare_sqlite = eager


def _slow(ms: str) -> None:
    write = Log._write

    def late(self: Log, *arguments: Any) -> None:
        time.sleep(int(ms) / 1000)
        write(self, *arguments)

    Log._write = late  # type: ignore[method-assign]


def _file(size: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))


def _raise(_: str) -> None:
    convert, store, add = Converter.convert, statements.store_statements, WriteSession.inbox_add

    def failing(self: Converter, data: bytes, *arguments: Any, **named: Any) -> Any:
        if b"|RAISE-CONVERT" in data:
            raise KeyError("a defect")
        return convert(self, data, *arguments, **named)

    def storing(session: WriteSession, converted: Any, *rest: Any) -> None:
        store(session, converted, *rest)
        if converted.source.control_id.startswith("RAISE-STORE"):
            raise RuntimeError("a defect")

    def adding(self: WriteSession, row: Any) -> int:
        ikey = add(self, row)
        if row.control_id.startswith("RAISE-ROW") and row.status == "accepted":
            self.change_later("UPDATE inbox SET status = NULL WHERE ikey = ?", (ikey,))
        return ikey

    Converter.convert = failing  # type: ignore[method-assign]
    statements.store_statements = storing
    WriteSession.inbox_add = adding  # type: ignore[method-assign]


def _ahead(seconds: str) -> None:
    right = time.time_ns
    time.time_ns = lambda: right() + int(seconds) * 1_000_000_000


FAULTS: dict[str, Callable[[str], None]] = {
    "ledger": _ledger,
    "commit": _commit,
    "wal": _wal,
    "slow": _slow,
    "clock": _ahead,
    "file": _file,
    "raise": _raise,
}

if __name__ == "__main__":
    kind, _, argument = os.environ["BENCH_FAULT"].partition(":")
    FAULTS[kind](argument)
    sys.exit(main())
