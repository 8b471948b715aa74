"""The loaded packages, one folder each: ``NAME#VERSION/index.json`` and ``definitions`` (JSON texts, end to end).

A package is written beside its place, brought to the disk and then renamed: it is there whole or not at all,
also for a server that is running. Nothing here holds patient data.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdg.errors import Conflict, NotFound
from hdg.fhir import json
from hdg.fhir.profiles.package import Package, PackageError
from hdg.folders import sync_folder

__all__ = ["FOLDER", "Listed", "Shelf", "Slot"]

FOLDER = "fhir-packages"
"""Its name in the data folder."""
_INDEX, _BODIES = "index.json", "definitions"


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one definition lies: bytes ``start`` to ``start + length`` of ``file``."""

    type: str
    url: str
    version: str
    file: Path
    start: int
    length: int

    def read(self) -> bytes:
        """The definition's JSON. Raises OSError when the package was removed meanwhile."""
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.length)


@dataclass(frozen=True, slots=True)
class Listed:
    """A loaded package. ``counts``: definitions by type."""

    label: str
    counts: dict[str, int]
    dependencies: tuple[tuple[str, str], ...]


class Shelf:
    """The packages in one folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Changes whenever a package is added or removed."""
        found = []
        for home in self._homes():
            about = (home / _INDEX).stat()
            found.append((home.name, about.st_ino, about.st_mtime_ns))
        return tuple(found)

    def packages(self) -> list[Listed]:
        """Every loaded package, by name."""
        found = []
        for home in self._homes():
            index = self._index(home)
            counts: dict[str, int] = {}
            for row in index["entries"]:
                counts[row[0]] = counts.get(row[0], 0) + 1
            found.append(Listed(home.name, counts, tuple((n, v) for n, v in index["dependencies"])))
        return found

    def slots(self) -> Iterator[Slot]:
        """Every definition of every package."""
        for home in self._homes():
            for type_, url, version, start, length in self._index(home)["entries"]:
                yield Slot(type_, url, version, home / _BODIES, start, length)

    def add(self, package: Package) -> None:
        """Keeps a package; on disk when this returns. Raises Conflict when that version is there already."""
        home = self._folder / package.label
        if home.exists():
            raise Conflict(f"{package.label} is loaded already; remove it first")
        self._folder.mkdir(parents=True, exist_ok=True)
        made = self._folder / f".new-{secrets.token_hex(8)}"
        made.mkdir()
        try:
            self._write(made, package)
            try:
                made.rename(home)
            except OSError:
                if home.exists():
                    raise Conflict(f"{package.label} is loaded already; remove it first") from None
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
        sync_folder(self._folder)

    def remove(self, label: str) -> None:
        """Takes a package (``NAME#VERSION``) away. Raises NotFound."""
        if label not in {home.name for home in self._homes()}:
            raise NotFound(f"no package {label} is loaded")
        gone = self._folder / f".old-{secrets.token_hex(8)}"
        (self._folder / label).rename(gone)
        sync_folder(self._folder)
        shutil.rmtree(gone)

    def _homes(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(
            path for path in self._folder.iterdir() if "#" in path.name and (path / _INDEX).is_file()
        )

    @staticmethod
    def _index(home: Path) -> Any:
        try:
            return json.loads((home / _INDEX).read_bytes())
        except json.JsonError:
            raise PackageError("its index is damaged; remove it and load it again", place=home.name) from None

    @staticmethod
    def _write(made: Path, package: Package) -> None:
        rows = []
        start = 0
        with (made / _BODIES).open("wb") as stream:
            for entry in package.entries:
                stream.write(entry.body)
                rows.append([entry.type, entry.url, entry.version, start, len(entry.body)])
                start += len(entry.body)
            stream.flush()
            os.fsync(stream.fileno())
        index = {"dependencies": package.dependencies, "entries": rows}
        with (made / _INDEX).open("wb") as stream:
            stream.write(json.dumps(index))
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(made)
