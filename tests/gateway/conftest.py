"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from bench.measure import Running
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.settings import Settings


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of its own on a new folder."""
    with Gateway.open(Settings(data=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def on_either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of its own, on either database."""
    is_postgresql = request.param == "postgresql"
    with (
        request.getfixturevalue("postgres_schemas").one() if is_postgresql else nullcontext() as url,
        Gateway.open(Settings(data=tmp_path / "data", database_url=url)) as opened,
    ):
        yield opened


@pytest.fixture
def client(running: Running) -> Iterator[MllpClient]:
    """A connection to the module's running gateway."""
    with MllpClient(*running.mllp, timeout_s=120) as opened:
        yield opened
