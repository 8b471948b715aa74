"""Loads a package: read, every definition looked at, kept. Nothing is kept of a package that is broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdg.fhir import json
from hdg.fhir.profiles.library import Library, core_type
from hdg.fhir.profiles.package import Entry, Limits, Package, PackageError, read_package
from hdg.fhir.profiles.shelf import Shelf
from hdg.fhir.profiles.tree import tree_of
from hdg.fhir.validate import validate

__all__ = ["Loaded", "load_package"]

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded. ``missing``: packages that it names as dependencies and that are not loaded."""

    package: Package
    missing: tuple[str, ...]
    generated: int
    """Profiles without a snapshot, which are laid over their bases instead."""
    search_parameters: tuple[JsonObject, ...] = field(default=(), repr=False)


def load_package(path: Path, shelf: Shelf, limits: Limits | None = None) -> Loaded:
    """Loads the package in a .tgz file. Raises PackageError, Conflict (that version is loaded), OSError."""
    package = read_package(path, limits)
    resources = [_definition(entry) for entry in package.entries]
    library = Library.of_shelf(shelf).with_resources(resources)
    generated = 0
    for resource in resources:
        if not _is_profile(resource):
            continue
        tree_of(resource, library)
        generated += not (resource.get("snapshot") or {}).get("element")
    shelf.add(package)
    loaded = {one.label for one in shelf.packages()}
    wanted = [f"{name}#{version}" for name, version in package.dependencies]
    missing = tuple(label for label in wanted if label not in loaded)
    parameters = tuple(one for one in resources if one["resourceType"] == "SearchParameter")
    return Loaded(package, missing, generated, parameters)


def _definition(entry: Entry) -> JsonObject:
    """A definition that is built as R4 says, so that nothing has to ask that again. Raises PackageError."""
    resource: JsonObject = json.loads(entry.body)
    for issue in validate(resource):
        if issue.code in ("structure", "too-costly"):
            raise PackageError(f"not a {entry.type} of R4: {issue.place}: {issue.text}", place=entry.file)
    return resource


def _is_profile(resource: JsonObject) -> bool:
    """Whether it constrains an R4 type; logical models and R4's own types are not for validating."""
    if resource["resourceType"] != "StructureDefinition" or resource.get("kind") == "logical":
        return False
    return not core_type(resource["url"]) and resource.get("derivation") != "specialization"
