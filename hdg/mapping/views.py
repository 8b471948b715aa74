"""What is compiled of one format's tables, for each view on them: as shipped, or with a site's own tables and maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from hdg.mapping.library import Library

__all__ = ["SHIPPED", "Views"]

Made = TypeVar("Made")
View = tuple[Path | None, Path | None]
SHIPPED: View = (None, None)


class Views(dict[View, Made], Generic[Made]):
    """By the directory of a site's own tables and that of its own concept maps; made when it is first asked for."""

    def __init__(self, format_name: str, make: Callable[[Library], Made]) -> None:
        super().__init__()
        self._format_name = format_name
        self._make = make

    def __missing__(self, view: View) -> Made:
        override, maps = view
        made = self[view] = self._make(Library(self._format_name, override=override, maps=maps))
        return made
