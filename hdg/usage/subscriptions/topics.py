"""The topics of ``topics.toml``. Subscriptions R5 Backport, topics.html; in R4 a topic is its canonical URL."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Topic", "topics"]


@dataclass(frozen=True, slots=True)
class Topic:
    """``criteria``: a search of ``resource``, '' for all; ``on``: create, update.

    ``becomes``: only where the version before did not match.
    """

    url: str
    title: str
    resource: str
    criteria: str
    on: tuple[str, ...]
    becomes: bool


@cache
def topics() -> Mapping[str, Topic]:
    """All topics by their canonical URL."""
    with Path(__file__).with_name("topics.toml").open("rb") as file:
        tables = tomllib.load(file)["topic"]
    made = [Topic(**{**table, "on": tuple(table["on"])}) for table in tables]
    return {topic.url: topic for topic in made}
