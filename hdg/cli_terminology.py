"""Commands over hierarchies of code systems that the site brings (docs/fhir-api.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hdg.cli_options import DataOption

terminology_app = typer.Typer(
    no_args_is_help=True, help="Hierarchies of code systems, from files that you are licensed for."
)


@terminology_app.command("load")
def terminology_load(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files of one release together.")],
    data: DataOption = None,
) -> None:
    """Load which codes are kinds of which; what was loaded of the same code systems is replaced.

    SNOMED CT: sct2_Relationship_Snapshot_….txt; LOINC: ComponentHierarchyBySystem.csv; or a table of your own
    with the columns system,code,parent.

    Example: hdg terminology load sct2_Relationship_Snapshot_INT_20260101.txt
    """
    from hdg.errors import HdgError, SettingsError
    from hdg.settings import load
    from hdg.terminology.loading import load_hierarchies

    try:
        folder = load(data=data).data
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no data folder")
        found = load_hierarchies(folder, files)
    except (HdgError, OSError) as error:
        what = error if isinstance(error, HdgError) else f"{error.filename}: {error.strerror}"
        typer.echo(f"hdg: {what}", err=True)
        sys.exit(1)
    for url, count in found.items():
        typer.echo(f"{url}: {count} pairs of code and parent")


@terminology_app.command("list")
def terminology_list(data: DataOption = None) -> None:
    """List the code systems whose hierarchy is loaded.

    Example: hdg terminology list
    """
    from hdg.settings import load
    from hdg.terminology.hierarchies import Hierarchies

    for url, count in Hierarchies(load(data=data).data).loaded():
        typer.echo(f"{url}  {count}")


@terminology_app.command("remove")
def terminology_remove(
    system: Annotated[str, typer.Argument(metavar="URL", help="As list prints it.")], data: DataOption = None
) -> None:
    """Remove the hierarchy of a code system.

    Example: hdg terminology remove http://snomed.info/sct
    """
    from hdg.settings import load
    from hdg.terminology.loading import remove_hierarchy

    if not remove_hierarchy(load(data=data).data, system):
        typer.echo("hdg: it is not loaded", err=True)
        sys.exit(1)
