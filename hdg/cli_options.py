"""Options that commands of several modules have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DataOption"]

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder (default ./hdg-data, or HDG_DATA).")
]
