"""``hdg pull``: studies are fetched from another archive."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hdg.cli_options import DataOption

if TYPE_CHECKING:
    from hdg.pull import Criteria, Pulled
    from hdg.settings import Settings

AUTHORIZATION = "HDG_PULL_AUTHORIZATION"
"""The environment variable with the Authorization header: not an option, which every user of the machine could see."""


def pull(
    archive: Annotated[
        str, typer.Argument(metavar="URL", help="https://HOST/dicom-web or dicom://AE@HOST:PORT")
    ],
    study: Annotated[list[str] | None, typer.Option(help="Study Instance UID; may be repeated.")] = None,
    patient: Annotated[str, typer.Option(help="Patient ID.")] = "",
    date: Annotated[str, typer.Option(help="Study date, or a range: 20240101-20240131.")] = "",
    modality: Annotated[str, typer.Option(help="A modality in the study, e.g. CT.")] = "",
    to: Annotated[
        str, typer.Option(help="C-MOVE: the AE title of our listener, as the archive knows it.")
    ] = "HDG",
    data: DataOption = None,
) -> None:
    """Fetch studies from an archive: by DICOMweb, or by C-MOVE to the listener of a running hdg serve.

    A DICOMweb archive that wants credentials gets HDG_PULL_AUTHORIZATION (the whole header: "Bearer …"). Exit 1 when
    something was not fetched.

    Example: hdg pull https://pacs.example/dicom-web --patient 4711 --date 20240101-
    """
    from hdg.pull import Criteria
    from hdg.settings import load

    attributes = {"PatientID": patient, "StudyDate": date, "ModalitiesInStudy": modality}
    criteria = Criteria(tuple(study or ()), attributes)
    count = failed = 0
    for one in _pulled(archive, criteria, to, load(data=data)):
        count += 1
        failed += bool(one.failures)
        known = f", {one.known} known already" if one.known else ""
        typer.echo(f"{one.study}  {one.stored} objects{known}")
        for reason in one.failures:
            typer.echo(f"hdg: {one.study}: {reason}", err=True)
    typer.echo(f"{count} studies, {failed} not whole")
    if failed:
        sys.exit(1)


def _pulled(archive: str, criteria: Criteria, to: str, settings: Settings) -> Iterator[Pulled]:
    from hdg.gateway import Gateway
    from hdg.imaging import Imaging
    from hdg.pull import by_dicomweb, by_move

    if archive.startswith("dicom:"):
        yield from by_move(archive, criteria, settings.dicom_ae_title or "HDG", to)
        return
    authorization = os.environ.get(AUTHORIZATION)
    headers = {"Authorization": authorization} if authorization else {}
    with Gateway.open(settings) as gateway:
        imaging = Imaging(gateway)
        imaging.start()
        try:
            yield from by_dicomweb(archive, criteria, headers, imaging)
        finally:
            imaging.stop()
