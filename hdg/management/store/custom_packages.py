"""The SearchParameters of loaded packages, in use as those that were written through the FHIR API are.

R4 searchparameter.html, profiling.html#packages. What the packages of the data folder define and what the database
holds of packages are made equal; what was written through the FHIR API comes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hdg.errors import ValidationFailed
from hdg.fhir.profiles.library import Library
from hdg.fhir.profiles.shelf import Shelf
from hdg.management.store.custom import Definition, definition_of
from hdg.management.store.custom_register import PACKAGE, registered, save, stand
from hdg.management.store.session import WriteSession
from hdg.management.store.writer import Store

__all__ = ["Packages", "Unusable", "definitions_in"]

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unusable:
    """An active SearchParameter that cannot be had, and why."""

    code: str
    url: str
    reason: str


def definitions_in(
    contents: Iterable[JsonObject],
) -> tuple[dict[str, Definition], list[Unusable]]:
    """By URL what can be indexed of the active ones; and what cannot. R4's own are in neither."""
    usable: dict[str, Definition] = {}
    others: list[Unusable] = []
    for content in contents:
        if content.get("status") != "active":
            continue
        try:
            made = definition_of(content)
        except ValidationFailed as error:
            reason = "; ".join(f"{issue.place}: {issue.text}" for issue in error.issues)
            others.append(Unusable(str(content.get("code", "")), str(content["url"]), reason))
            continue
        except (KeyError, TypeError, ValueError) as error:  # it is no valid SearchParameter
            others.append(
                Unusable("", str(content["url"]), f"not a valid definition: {type(error).__name__}")
            )
            continue
        if made is not None:
            usable[made.url] = made
    return usable, others


class Packages:
    """The packages of one data folder over one store. ``sync`` is for one thread at a time."""

    def __init__(self, shelf: Shelf, store: Store) -> None:
        self._shelf = shelf
        self._store = store
        self._seen: object = None

    def sync(self) -> None:
        """Takes over what has come or gone since the last time; quick where nothing has."""
        stamp = self._shelf.stamp()
        with self._store.engine.connect() as connection:
            seen = stamp, connection.execute(stand).scalar()
            if seen == self._seen:
                return
            known = {one.origin: one.definition for one in registered(connection)}
        wanted = {f"{PACKAGE}{url}": made for url, made in self._defined().items()}
        by_resource = {made.url for origin, made in known.items() if not origin.startswith(PACKAGE)}
        wanted = {origin: made for origin, made in wanted.items() if made.url not in by_resource}
        gone = [origin for origin in known if origin.startswith(PACKAGE) and origin not in wanted]
        new = {origin: made for origin, made in wanted.items() if known.get(origin) != made}
        if gone:
            self._store.submit(lambda session: _drop(session, gone)).result()
        if new:
            self._store.submit(lambda session: _add(session, new)).result()
        self._seen = seen

    def _defined(self) -> dict[str, Definition]:
        """What the packages define, of several versions the newest.

        Raises OSError (one is just being removed) and PackageError: then nothing is changed.
        """
        library = Library.of_shelf(self._shelf)
        urls = library.urls("SearchParameter")
        contents = [found for url in urls if (found := library.find("SearchParameter", url)) is not None]
        return definitions_in(contents)[0]


def _drop(session: WriteSession, origins: Iterable[str]) -> None:
    for origin in origins:
        save(session, origin, None)


def _add(session: WriteSession, definitions: dict[str, Definition]) -> None:
    """Those that clash with what is in use are left out; of several new ones the first by URL counts."""
    taken: dict[str, Definition | None] = {}
    for origin, made in sorted(definitions.items()):
        try:
            save(session, origin, made, taken)
        except ValidationFailed:
            continue
        taken[origin] = made
