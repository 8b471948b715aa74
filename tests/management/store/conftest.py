"""A store on SQLite and on a real PostgreSQL: the same tests for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hdg.management.keys import KeyRing
from hdg.management.store import Store, WriteSession
from hdg.settings import Settings

START_US = 1_780_000_000_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a database (PostgreSQL: schema) of its own with nothing in it."""
    if request.param == "sqlite":
        yield Settings(data=tmp_path)
        return
    schemas = request.getfixturevalue("postgres_schemas")
    is_bare = request.node.get_closest_marker("no_tables") is not None
    with schemas.bare() if is_bare else schemas.one() as url:
        yield Settings(data=tmp_path, database_url=url)


@pytest.fixture
def keys() -> KeyRing:
    return KeyRing.of_bytes(*(bytes([number]) * 32 for number in range(1, 6)))


class Ticking:
    """A clock that moves one second a look."""

    def __init__(self) -> None:
        self.at_us = START_US

    def __call__(self) -> int:
        self.at_us += 1_000_000
        return self.at_us


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def store(settings: Settings, keys: KeyRing, clock: Ticking) -> Iterator[Store]:
    with Store.open(settings, keys, clock) as opened:
        yield opened


Do = Callable[[Callable[[WriteSession], Any]], Any]


@pytest.fixture
def do(store: Store) -> Do:
    """Runs one work and waits for its commit."""
    return lambda work: store.submit(work).result(timeout=120)
