"""A world with DICOM objects in it, taken in as any gateway takes them."""

from __future__ import annotations

import pytest

from hdg.imaging import Imaging
from hdg.ingestion.sender import Origin


class Pictures:
    """The world, and what takes images in."""

    def __init__(self, world):
        self.world = world
        self.imaging = Imaging(world.gateway)

    def take(self, data, institution="north"):
        intake = self.imaging.intake(Origin("folder", institution=institution))
        intake.write(data)
        outcome = intake.finish()
        assert outcome.status == 0, outcome
        self.imaging.studies.make_due()
        return outcome

    def get(self, path, token, accept="*/*"):
        return self.world.client.get(f"/dicomweb{path}", token, headers={"accept": accept})

    @property
    def clinician(self):
        """Of the institution that sent the images, which reads what it sent itself."""
        return self.world.token("clinician", institution="north")


@pytest.fixture
def pictures(world):
    return Pictures(world)


@pytest.fixture
def on_either(either):
    """The same on either database: for what SQL decides."""
    return Pictures(either)
