"""Options that commands of several modules have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DataOption", "MappingsOption"]

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder (default ./hdg-data, or HDG_DATA).")
]

# A folder that is not there would leave the shipped tables in force without a word.
MappingsOption = Annotated[
    Path | None,
    typer.Option(help="Tables searched before the shipped ones.", exists=True, file_okay=False),
]
