"""Where named converters are kept: Python for what a row cannot say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hdg.ingestion.cda.state import State

__all__ = ["NAMED", "Named", "named"]


@dataclass(frozen=True, slots=True)
class Named:
    """A converter. ``is_whole``: it reads all of its element."""

    convert: Callable[[Any, State], Any]
    is_whole: bool


NAMED: Final[dict[str, Named]] = {}


def named(
    name: str, *, is_whole: bool = False
) -> Callable[[Callable[[Any, State], Any]], Callable[[Any, State], Any]]:
    """Decorator: registers a converter."""

    def keep(function: Callable[[Any, State], Any]) -> Callable[[Any, State], Any]:
        NAMED[name] = Named(function, is_whole)
        return function

    return keep
