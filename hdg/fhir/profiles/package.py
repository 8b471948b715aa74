"""Reads FHIR packages: npm-style archives with ``package/package.json`` and one JSON file a definition.

https://confluence.hl7.org/display/FHIR/NPM+Package+Specification, R4 profiling.html#packages. A package that is
broken in any way is refused whole; the error names the file in it. Nothing is unpacked onto the disk.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from hdg.errors import SourceError
from hdg.fhir import json

__all__ = ["Entry", "Limits", "Package", "PackageError", "read_package"]

JsonObject = dict[str, Any]

KINDS = frozenset({"StructureDefinition", "ValueSet", "CodeSystem", "SearchParameter"})
"""What is taken from a package; everything else in it (examples, guides) is left out."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_R4 = re.compile(r"4\.0(\.[01])?")
_BASE = "hl7.fhir.r4.core"
_BLOCK_BYTES = 65_536


class PackageError(SourceError):
    """A package that cannot be used; ``place`` is the file in it, or the profile."""

    issue_code = "invalid"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a package may hold. Sizes in bytes, unpacked."""

    file_bytes: int = 128 * 1024 * 1024
    total_bytes: int = 1024 * 1024 * 1024
    files: int = 50_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One definition. ``url`` and ``version``: its canonical; ``body``: its JSON as in the package."""

    file: str
    type: str
    url: str
    version: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Package:
    """A package of R4 definitions. ``dependencies``: (name, version) of others that it builds on."""

    name: str
    version: str
    dependencies: tuple[tuple[str, str], ...]
    entries: tuple[Entry, ...] = field(repr=False)

    @property
    def label(self) -> str:
        """``name#version``, as packages are named everywhere."""
        return f"{self.name}#{self.version}"


class _Head(msgspec.Struct):
    resourceType: str = ""  # FHIR writes it so
    url: str = ""
    version: str = ""
    fhirVersion: str = ""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Bounded:
    """A stream that refuses to yield more than ``most`` bytes: what a small archive may unpack to."""

    def __init__(self, stream: _Readable, most: int) -> None:
        self._stream = stream
        self._left = most

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise PackageError("it unpacks to more than is allowed")
        return data


def read_package(path: Path, limits: Limits | None = None) -> Package:
    """The package in a .tgz file. Raises PackageError, OSError when the file cannot be opened."""
    limits = limits or Limits()
    manifest: JsonObject | None = None
    entries: list[Entry] = []
    with path.open("rb") as raw:
        try:
            with (
                gzip.GzipFile(fileobj=raw) as unzipped,
                tarfile.open(  # type: ignore[call-overload]  # any object with read() will do
                    fileobj=_Bounded(unzipped, limits.total_bytes), mode="r|", bufsize=_BLOCK_BYTES
                ) as archive,
            ):
                for name, data in _files(archive, limits):
                    if name == "package.json":
                        manifest = _manifest(data)
                    else:
                        entry = _entry(name, data)
                        entries += [] if entry is None else [entry]
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError) as error:
            raise PackageError(f"not a readable .tgz archive ({type(error).__name__})") from None
    if manifest is None:
        raise PackageError("the archive has no package/package.json")
    return _package(manifest, entries)


def _files(archive: tarfile.TarFile, limits: Limits) -> Any:
    """(name, bytes) of the JSON files directly in ``package/``. Raises PackageError."""
    for number, member in enumerate(archive):
        name = member.name.removeprefix("./")
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or ":" in parts[0]:
            raise PackageError("an entry's path leads out of the package", place=_shown(member.name))
        if not (member.isfile() or member.isdir()):
            raise PackageError("an entry is neither a file nor a folder", place=_shown(member.name))
        if number >= limits.files:
            raise PackageError("it has more files than are allowed")
        if member.size > limits.file_bytes:
            raise PackageError("an entry is larger than is allowed", place=_shown(member.name))
        is_wanted = len(parts) == 2 and parts[0] == "package" and name.endswith(".json")
        if not is_wanted or parts[1].startswith(".") or not member.isfile():
            continue
        stream = archive.extractfile(member)
        yield parts[1], b"" if stream is None else stream.read()


def _shown(name: str) -> str:
    return name.encode("unicode_escape", "backslashreplace").decode()[:200]


def _manifest(data: bytes) -> JsonObject:
    try:
        manifest = json.loads(data)
    except json.JsonError as error:
        raise PackageError(str(error), place="package.json") from None
    if not isinstance(manifest, dict):
        raise PackageError("not a JSON object", place="package.json")
    return manifest


def _entry(file: str, data: bytes) -> Entry | None:
    """The definition in a file; None for what is not taken. Raises PackageError."""
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.ValidationError:
        return None  # some JSON, and no definition
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(f"not readable JSON ({type(error).__name__})", place=file) from None
    if head.resourceType not in KINDS:
        return None
    if not head.url:
        if head.resourceType != "StructureDefinition":
            return None  # an example, which nothing can refer to
        raise PackageError("a StructureDefinition without url", place=file)
    if head.fhirVersion and not _R4.fullmatch(head.fhirVersion):
        raise PackageError(f"it is for FHIR {head.fhirVersion[:20]}; R4 (4.0.1) is needed", place=file)
    try:
        json.loads(data)
    except json.JsonError as error:
        raise PackageError(str(error), place=file) from None
    return Entry(file, head.resourceType, head.url, head.version, data)


def _package(manifest: JsonObject, entries: list[Entry]) -> Package:
    name, version = manifest.get("name"), manifest.get("version")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PackageError("'name' is missing, or no package name", place="package.json")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise PackageError("'version' is missing, or no version", place="package.json")
    listed = manifest.get("dependencies") or {}
    if not isinstance(listed, dict) or not all(isinstance(value, str) for value in listed.values()):
        raise PackageError("'dependencies' is no object of texts", place="package.json")
    stated = manifest.get("fhirVersions") or manifest.get("fhir-version-list")
    versions = stated or ([listed[_BASE]] if _BASE in listed else [])
    if not isinstance(versions, list) or not versions:
        raise PackageError("'fhirVersions' does not say which FHIR it is for", place="package.json")
    if not any(isinstance(one, str) and _R4.fullmatch(one) for one in versions):
        raise PackageError("'fhirVersions' does not name R4 (4.0.1)", place="package.json")
    if not entries:
        raise PackageError("no StructureDefinition, ValueSet, CodeSystem or SearchParameter is in it")
    return Package(name, version, tuple(sorted(listed.items())), tuple(entries))
