"""A gateway that takes images, on either database, and its listener."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dicom_asking import Asking, Station
from hdg.fhir.json import loads
from hdg.gateway import Gateway
from hdg.imaging import Imaging, Outcome
from hdg.ingestion.dicom.association import Limits
from hdg.ingestion.dicom.scp import Listener
from hdg.ingestion.sender import Origin
from hdg.settings import Settings
from stored import all_of


@dataclass
class Site:
    """A gateway, its imaging and, once asked for, its listener."""

    gateway: Gateway
    imaging: Imaging
    folder: Path
    listener: Listener | None = None

    @property
    def address(self) -> str:
        if self.listener is None:
            limits = Limits(artim_s=60, idle_s=60)
            self.listener = Listener("127.0.0.1", 0, self.imaging, limits=limits, associations=4)
            self.listener.start()
        return self.listener.address

    def take(self, data: bytes, institution: str = "") -> Outcome:
        intake = self.imaging.intake(Origin("folder", institution=institution))
        intake.write(data)
        return intake.finish()

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        return all_of(self.gateway, kind)

    def study(self) -> dict[str, Any]:
        """The one ImagingStudy, made of all that is there."""
        self.imaging.studies.make_due()
        (found,) = self.all_of("ImagingStudy")
        return found

    def leaves(self) -> list[dict[str, Any]]:
        with self.gateway.store.engine.connect() as connection:
            size = self.gateway.store.log.size(connection)
            return [loads(entry) for entry in self.gateway.store.log.entries(connection, 0, size)]

    def vault_files(self) -> list[Path]:
        return [path for path in (self.folder / "vault").rglob("*") if path.is_file()]

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close(2)
        self.imaging.stop()
        self.gateway.close()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(folder: Path | None = None, **settings: Any) -> Site:
        where = folder or tmp_path / f"data{len(made)}"
        gateway = Gateway.open(Settings(data=where, imaging_quiet_s=0.05, **settings))
        made.append(Site(gateway, Imaging(gateway), where))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A database of either kind with nothing in it; None: SQLite, in the data folder."""
    if request.param == "sqlite":
        yield None
        return
    with request.getfixturevalue("postgres_schemas").one() as url:
        yield url


@pytest.fixture
def site_of(database_url: str | None, make_site: Callable[..., Site]) -> Callable[..., Site]:
    """``make_site`` on either database."""
    return partial(make_site, database_url=database_url)


@pytest.fixture
def site(site_of: Callable[..., Site]) -> Site:
    """The same on either database."""
    return site_of()


@pytest.fixture
def station() -> Iterator[Station]:
    made = Station()
    yield made
    made.server.shutdown()


@pytest.fixture
def asking(make_site, station) -> Iterator[Asking]:
    made = Asking(make_site, station)
    yield made
    made.close()
