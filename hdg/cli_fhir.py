"""Commands over FHIR packages: profiles, value sets and code systems that resources are checked against."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hdg.cli_options import DataOption

fhir_app = typer.Typer(no_args_is_help=True, help="FHIR packages: profiles and value sets to check against.")


@fhir_app.command("load")
def fhir_load(
    packages: Annotated[list[Path], typer.Argument(metavar="PACKAGE.tgz…", help="npm-style package files.")],
    data: DataOption = None,
) -> None:
    """Load package files into the data folder; a running server uses them from the next $validate on.

    Example: hdg fhir load hl7.fhir.us.core-6.1.0.tgz
    """
    from hdg.errors import HdgError
    from hdg.fhir.profiles.loading import load_package
    from hdg.fhir.profiles.shelf import FOLDER, Shelf
    from hdg.management.store.custom_packages import definitions_in
    from hdg.settings import load

    shelf = Shelf(load(data=data).data / FOLDER)
    has_failed = False
    for path in packages:
        try:
            loaded = load_package(path, shelf)
        except (HdgError, OSError) as error:
            reason = str(error) if isinstance(error, HdgError) else error.strerror or "cannot be read"
            typer.echo(f"hdg: {path}: {reason}", err=True)
            has_failed = True
            continue
        count = len(loaded.package.entries)
        typer.echo(f"{loaded.package.label}: {count} definitions loaded")
        if loaded.generated:
            typer.echo(f"  {loaded.generated} profiles without a snapshot are laid over their bases")
        for one in definitions_in(loaded.search_parameters)[1]:
            typer.echo(f"  not searchable: {one.code or one.url}: {one.reason}", err=True)
        for label in loaded.missing:
            typer.echo(f"  it builds on {label}, which is not loaded", err=True)
    if has_failed:
        sys.exit(1)


@fhir_app.command("list")
def fhir_list(data: DataOption = None) -> None:
    """List the loaded packages: name and version, how many definitions of each type.

    Example: hdg fhir list
    """
    from hdg.fhir.profiles.shelf import FOLDER, Shelf
    from hdg.settings import load

    for package in Shelf(load(data=data).data / FOLDER).packages():
        counts = ", ".join(f"{count} {type_}" for type_, count in sorted(package.counts.items()))
        typer.echo(f"{package.label}  {counts}")


@fhir_app.command("remove")
def fhir_remove(
    label: Annotated[str, typer.Argument(metavar="NAME#VERSION", help="As list prints it.")],
    data: DataOption = None,
) -> None:
    """Take a package away; what it defined is not checked any more.

    Example: hdg fhir remove hl7.fhir.us.core#6.1.0
    """
    from hdg.fhir.profiles.shelf import FOLDER, Shelf
    from hdg.settings import load

    Shelf(load(data=data).data / FOLDER).remove(label)
    typer.echo(f"{label} removed")
