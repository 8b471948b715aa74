"""A store on SQLite and on a real PostgreSQL: the same tests for both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hdg.management.keys import KeyRing
from hdg.management.store import Store, WriteSession
from hdg.settings import Settings

START_US = 1_780_000_000_000_000


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of an empty database (PostgreSQL: schema) of its own."""
    if request.param == "sqlite":
        return Settings(data=tmp_path)
    uri = request.getfixturevalue("postgres_uri")
    name = f"t{next(_numbers)}"
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    joint = "&" if "?" in uri else "?"
    url = uri.replace("postgresql://", "postgresql+psycopg://") + f"{joint}options=-csearch_path%3D{name}"
    return Settings(data=tmp_path, database_url=url)


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
