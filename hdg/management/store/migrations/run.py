"""Runs the migrations with Alembic's API; no ini file."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

__all__ = ["upgrade"]


def config(engine: Engine) -> Config:
    """Alembic's configuration for these migrations over ``engine``."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).resolve().parent).replace("%", "%%"))
    found.attributes["engine"] = engine
    return found


def upgrade(engine: Engine) -> None:
    """Applies every revision that is missing, in one transaction."""
    command.upgrade(config(engine), "head")
