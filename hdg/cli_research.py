"""Commands for research: the de-identified export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    project: Annotated[str, typer.Option(help="Research project id, as Consents name it.")],
    output: Annotated[Path, typer.Option("-o", help="The file to write.")],
    is_deidentified: Annotated[
        bool, typer.Option("--deid", help="De-identified; there is no other export.")
    ] = False,
    patient: Annotated[
        list[str] | None, typer.Option(help="Patient id; may repeat [all who consent].")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="ndjson (a resource a line) or bundle.")] = "ndjson",
    user: Annotated[
        str, typer.Option(help="Researcher, where Consents name one (Practitioner/<user>).")
    ] = "",
    institution: Annotated[str, typer.Option(help="Likewise Organization/<institution>.")] = "",
    purpose: Annotated[str, typer.Option(help="HRESCH, or a kind of it.")] = "HRESCH",
    data: Annotated[
        Path | None, typer.Option("--data", help="Data folder (default ./hdg-data, or HDG_DATA).")
    ] = None,
) -> None:
    """Write what a research project may see: patients who consent, de-identified; audited before the first byte.

    Example: hdg export --deid --project asthma-1 -o asthma-1.ndjson
    """
    from hdg.settings import load
    from hdg.usage.research.export import FORMS, Wanted
    from hdg.usage.research.export import export as run

    if not is_deidentified or to not in FORMS:
        wrong = f"--to is one of {', '.join(FORMS)}" if is_deidentified else "--deid is needed"
        typer.echo(f"hdg: {wrong}", err=True)
        sys.exit(2)
    wanted = Wanted(project, tuple(patient or ()), user, institution, purpose, to)
    try:
        made = run(load(data=data), wanted, output)
    except OSError as error:
        typer.echo(f"hdg: {output}: {error.strerror or 'cannot be written'}", err=True)
        sys.exit(1)
    withheld = f"; {made.withheld} withheld (docs/research.md)" if made.withheld else ""
    typer.echo(f"{made.resources} resources of {made.patients} patients in {output}{withheld}")
