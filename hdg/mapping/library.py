"""Finds mapping tables: an override directory first, then the shipped ones; a file there replaces a file
here whole.

An override directory is laid out like ``mappings/``; its ``maps/`` may replace concept maps of
``terminology/maps``.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from hdg.data import digest, folder
from hdg.mapping.table import Table, load_table
from hdg.terminology.concepts import ConceptMap, before, concept_map, load_map
from hdg.terminology.systems import Systems, registry


def unread(override: Path) -> list[Path]:
    """The CSV files of an override directory that nothing reads, sorted: they lie where no shipped table does.

    Below a folder of ``mappings/`` any name is read (a message table may name a table of the site's own).
    """
    shipped = folder("mappings")
    known = {path.parent.relative_to(shipped) for path in shipped.rglob("*.csv")} | {Path("maps")}
    return sorted(path for path in override.rglob("*.csv") if path.parent.relative_to(override) not in known)


class Library:
    """The tables of one source format (``hl7v2``), seen through at most one override directory.

    Tables are read when first asked for and kept; a Library never notices later changes of its files.
    """

    def __init__(
        self,
        format_name: str,
        *,
        override: Path | None = None,
        base: Path | None = None,
        maps: Path | None = None,
    ) -> None:
        """``maps``: a directory of a site's own concept maps, whose rows go before those of the same map."""
        self.format_name = format_name
        self._own_maps = maps
        self._override = override
        self._roots = tuple(root for root in (override, base or folder("mappings")) if root is not None)
        self._tables: dict[tuple[str, str], Table | None] = {}
        self._maps: dict[str, ConceptMap | None] = {}

    @property
    def systems(self) -> Systems:
        """The system registry."""
        return registry()

    def table(self, kind: str, name: str) -> Table | None:
        """The table ``<format>/<kind>/<name>.csv``, or None. Raises TableError."""
        key = (kind, name)
        if key not in self._tables:
            self._tables[key] = self._find(kind, name)
        return self._tables[key]

    def _find(self, kind: str, name: str) -> Table | None:
        file = f"{self.format_name}/{kind}/{name}.csv"
        for root in self._roots:
            path = root / file
            if path.is_file():
                return load_table(path, file=file if root is self._roots[-1] else str(path))
        return None

    def names(self, kind: str) -> list[str]:
        """Every table name of a kind, sorted."""
        found: set[str] = set()
        for root in self._roots:
            found.update(
                path.name.removesuffix(".csv") for path in (root / self.format_name / kind).glob("*.csv")
            )
        return sorted(found)

    def concept_map(self, name: str) -> ConceptMap | None:
        """The concept map of that name: the override's own, else the shipped one. Raises TableError."""
        if name not in self._maps:
            own = self._override / "maps" / f"{name}.csv" if self._override else None
            found = load_map(own, self.systems) if own and own.is_file() else concept_map(name)
            site = self._own_maps / f"{name}.csv" if self._own_maps else None
            if site is not None and site.is_file():
                found = before(load_map(site, self.systems), found)
            self._maps[name] = found
        return self._maps[name]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over all tables, concept maps and the registry, so that a resource says what made
        it.
        """
        maps = (self._own_maps,) if self._own_maps else ()
        return digest(*self._roots, *maps, folder("terminology"))
