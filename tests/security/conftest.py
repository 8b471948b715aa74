"""A running gateway for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running gateway for the tests of one module."""
    made = Site(tmp_path_factory.mktemp("site") / "data").start()
    yield made
    made.stop()
