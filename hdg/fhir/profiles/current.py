"""The profiles of a data folder as they are now: a package that came or went is seen by the next validation."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from hdg.errors import Issue
from hdg.fhir.json import JsonObject
from hdg.fhir.profiles.check import Profiles
from hdg.fhir.profiles.library import Library
from hdg.fhir.profiles.shelf import FOLDER, Shelf

__all__ = ["Current"]


class Current:
    """Threads may share it. ``data``: the data folder."""

    def __init__(self, data: Path) -> None:
        self._shelf = Shelf(data / FOLDER)
        self._lock = threading.Lock()
        self._stamp: object = None
        self._profiles = Profiles(Library())

    def profiles(self) -> Profiles:
        """The checks of what is loaded."""
        with self._lock:
            stamp = self._shelf.stamp()
            if stamp != self._stamp:
                self._profiles = Profiles(Library.of_shelf(self._shelf))
                self._stamp = stamp
            return self._profiles

    def find(self, type_: str, canonical: str) -> JsonObject | None:
        """A loaded definition by its canonical URL."""
        try:
            return self.profiles().library.find(type_, canonical)
        except OSError:  # its package was removed meanwhile
            return None

    def check(
        self, resource: JsonObject, profiles: Sequence[str] = (), *, with_claimed: bool = True
    ) -> list[Issue]:
        """As Profiles.check; once more when a package is removed while its definitions are read."""
        try:
            return self.profiles().check(resource, profiles, with_claimed=with_claimed)
        except OSError:
            self._stamp = None
            return self.profiles().check(resource, profiles, with_claimed=with_claimed)
