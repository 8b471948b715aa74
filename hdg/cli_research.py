"""``hdg export``: de-identified data of many for a research project, or the record of one patient as a document."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hdg.cli_options import DataOption

if TYPE_CHECKING:
    from hdg.settings import Settings


def export(
    output: Annotated[Path, typer.Option("-o", help="The file to write.")],
    is_deidentified: Annotated[
        bool, typer.Option("--deid", help="What a research project may see, de-identified.")
    ] = False,
    is_ccd: Annotated[
        bool,
        typer.Option("--ccd", help="A patient's record as a C-CDA CCD, as far as its reader may see it."),
    ] = False,
    project: Annotated[str, typer.Option(help="--deid: research project id, as Consents name it.")] = "",
    patient: Annotated[
        list[str] | None, typer.Option(help="Patient id; with --deid it may repeat [all who consent].")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="--deid: ndjson (a resource a line) or bundle.")] = "ndjson",
    reader: Annotated[
        str, typer.Option("--for", help="--ccd: clinician (with --user, --institution) or patient.")
    ] = "clinician",
    user: Annotated[
        str, typer.Option(help="Who reads it, as Consents name them (Practitioner/<user>).")
    ] = "",
    institution: Annotated[str, typer.Option(help="Likewise Organization/<institution>.")] = "",
    purpose: Annotated[str, typer.Option(help="E.g. HRESCH, TREAT [what the reader's role is for].")] = "",
    data: DataOption = None,
) -> None:
    """Write what a research project, a clinician or the patient may see; audited before the first byte.

    Examples: hdg export --deid --project asthma-1 -o asthma-1.ndjson
    hdg export --ccd --patient PATIENT-ID --user dr-lee --institution city-clinic -o summary.xml
    hdg export --ccd --patient PATIENT-ID --for patient -o summary.xml
    """
    from hdg.settings import load

    if is_deidentified == is_ccd:
        _usage("--deid or --ccd is needed, one of them")
    patients = tuple(patient or ())
    try:
        if is_ccd:
            if len(patients) != 1 or project:
                _usage("--ccd needs one --patient, and no --project")
            said = _ccd(load(data=data), (patients[0], reader, user, institution, purpose), output)
        else:
            if not project:
                _usage("--deid needs --project")
            said = _deidentified(load(data=data), (project, patients, user, institution, purpose, to), output)
    except OSError as error:
        typer.echo(f"hdg: {output}: {error.strerror or 'cannot be written'}", err=True)
        sys.exit(1)
    typer.echo(said)


def _ccd(settings: Settings, wanted: tuple[str, str, str, str, str], output: Path) -> str:
    from hdg.errors import BadRequest
    from hdg.usage.ccd.export import Wanted, export

    made = Wanted(*wanted)
    try:
        made.principal()
    except BadRequest as error:
        _usage(str(error))
    return f"a document of {export(settings, made, output)} resources in {output}"


def _deidentified(
    settings: Settings, wanted: tuple[str, tuple[str, ...], str, str, str, str], output: Path
) -> str:
    from hdg.usage.research.export import FORMS, Wanted, export

    project, patients, user, institution, purpose, form = wanted
    if form not in FORMS:
        _usage(f"--to is one of {', '.join(FORMS)}")
    made = export(settings, Wanted(project, patients, user, institution, purpose or "HRESCH", form), output)
    withheld = f"; {made.withheld} withheld (docs/research.md)" if made.withheld else ""
    return f"{made.resources} resources of {made.patients} patients in {output}{withheld}"


def _usage(text: str) -> NoReturn:
    typer.echo(f"hdg: {text}", err=True)
    sys.exit(2)
